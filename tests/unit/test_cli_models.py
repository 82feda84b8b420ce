"""The commands with language models: dry run, live counter, budget, tape, doctor, a person at the terminal."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import simworld as sw
from simworld.cli._main import cli
from tests.server import Latency, ModelServer


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("SIMWORLD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(words), input=answer, prog_name="simworld", standalone_mode=False)


def runs(lab: Path) -> list[str]:
    return sorted(p.name for p in (lab / "runs").glob("*")) if (lab / "runs").exists() else []


def model(server: ModelServer, *more: str) -> list[str]:
    return ["--model", "local/scripted", "--api-base", server.base, "--agents", "8", "--steps", "2", *more]


def test_a_dry_run_shows_prompts_and_an_interval_and_asks_nobody(server: ModelServer, lab: Path) -> None:
    sent = server.app.n
    done = call("run", "friendship_paradox", *model(server, "--dry-run", "--price", "local/scripted=1,4"))
    assert done.exit_code == 0, done.stderr
    for decision in ("Act", "Follow"):
        assert f"{decision}: what agent " in done.stdout
    assert "[system]" in done.stdout
    assert "You are one person on a small social network" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("  local/scripted")]
    # calls, tokens in, tokens out, dollars and time, each from less to more
    spans = re.findall(r"([\d,.:]+) to ([\d,.:]+)", row)
    assert len(spans) == 5
    numbers = [[float(x.replace(",", "").replace(":", ".")) for x in span] for span in spans]
    assert all(0 <= low < high for low, high in numbers)
    assert "a server may reuse it" in done.stdout
    assert server.app.n == sent
    assert runs(lab) == []


def test_what_the_run_takes_lies_in_the_interval(server: ModelServer, lab: Path) -> None:
    from simworld.run import rehearse

    how = {"params": {"n_agents": 30}, "steps": 4, "models": ("local/scripted",)}
    (expected,) = rehearse("friendship_paradox", **how).models
    run = sw.run("friendship_paradox", n_agents=30, steps=4, model="local/scripted", api_base=server.base)
    assert expected.calls.low * 0.8 <= run.calls.height <= expected.calls.high
    assert expected.input_tokens.low * 0.8 <= run.calls["input_tokens"].sum() <= expected.input_tokens.high
    assert run.calls["output_tokens"].sum() <= expected.output_tokens.high
    assert expected.usd is None


def test_a_dry_run_without_models_says_so(lab: Path) -> None:
    done = call("run", "friendship_paradox", "--agents", "5", "--steps", "1", "--dry-run")
    assert done.exit_code == 0
    assert "costs nothing" in done.stdout
    assert runs(lab) == []


def test_a_run_says_what_it_takes_and_show_says_how_it_answered(server: ModelServer, lab: Path) -> None:
    done = call("run", "friendship_paradox", *model(server))
    assert done.exit_code == 0, done.stderr
    assert "mind: local/scripted (language model)" in done.stdout
    assert re.search(r"spent +local/scripted: \d+ calls, [\d,]+ tokens in, [\d,]+ out, price unknown", done.stdout)
    shown = call("show", "last").stdout
    assert "answers, as shares of what was asked" in shown
    assert re.search(r"local/scripted +Act +16 +1\.000 +0\.000 +0\.000 +0\.000 +16 +\?", shown)
    verified = call("verify", "last")
    assert verified.exit_code == 0
    assert "answers from the tape" in verified.stdout


def test_calls_are_counted_while_the_step_goes_on(lab: Path) -> None:
    with ModelServer(latency=Latency(1.2)) as slow:
        words = ["run", "friendship_paradox", "--model", "local/x", "--api-base", slow.base]
        words += ["--agents", "8", "--steps", "1", "--concurrency", "2"]
        done = subprocess.run(
            [sys.executable, "-m", "simworld", *words], cwd=lab, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    counted = [int(n) for n in re.findall(r"step 0/1 .*?(\d+) calls, [\d,]+ tokens", done.stdout)]
    assert counted
    assert counted == sorted(counted)
    assert 0 < counted[0] < 8


def test_a_budget_exits_3_and_resumes(server: ModelServer, lab: Path) -> None:
    words = model(server, "--price", "local/scripted=1,4", "--max-tokens", "60")
    done = call("run", "friendship_paradox", *words, "--budget", "0.006", "--quiet")
    assert done.exit_code == 3
    (line,) = done.stderr.splitlines()
    assert "of the budget of $0.006 are spent" in line
    assert "simworld resume" in line
    again = call("resume", "last", "--budget", "5", "--quiet")
    assert again.exit_code == 0, again.stderr
    assert call("verify", "last").exit_code == 0


def test_a_tape_is_repeated_and_nothing_else_may_differ(server: ModelServer, lab: Path) -> None:
    call("run", "friendship_paradox", *model(server, "--quiet"))
    (first,) = runs(lab)
    sent = server.app.n
    again = call("run", "friendship_paradox", "--tape", first, "-o", "clustering", "--quiet")
    assert again.exit_code == 0, again.stderr
    assert server.app.n == sent
    assert len(runs(lab)) == 2
    refused = call("run", "friendship_paradox", "--tape", first, "--seed", "4")
    assert refused.exit_code == 2
    assert "--seed cannot differ" in refused.stderr


def test_a_run_folder_with_its_tape_can_be_mailed(server: ModelServer, lab: Path) -> None:
    call("run", "friendship_paradox", *model(server, "--quiet", "--out", "mine"))
    shutil.make_archive("letter", "zip", "mine")
    shutil.unpack_archive("letter.zip", "elsewhere/theirs")
    done = subprocess.run(
        [sys.executable, "-m", "simworld", "verify", "theirs"],
        cwd=lab / "elsewhere", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answers from the tape" in done.stdout


@pytest.mark.parametrize(
    "words, said",
    [
        (["--model", "local/x"], "--api-base"),
        (["--model", "gpt-4o-mini:0.9", "--model", "local/x:0.5"], "add up to 1.4"),
        (["--seat", "3=nul"], "did you mean 'null'"),
        (["--seat", "99=null"], "no agent '99'"),
        (["--seat", "3"], "is not NAME=VALUE"),
        (["--api-base", "ftp://x", "--model", "local/x"], "is no address"),
        (["--model", "local/x", "--api-base", "http://127.0.0.1:9/v1", "--price", "local/x=1"], "is not IN,OUT"),
        (["--model", "local/x", "--api-base", "http://127.0.0.1:9/v1", "--temperature", "9"], "temperature = 9.0"),
        (["--model", "local/x", "--api-base", "http://127.0.0.1:9/v1", "--concurrency", "0"], "concurrency = 0"),
        (["--model", "local/x", "--api-base", "other=http://127.0.0.1:9/v1"], "'other'"),
        (["--tape", "nowhere"], "no run 'nowhere'"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_line(words: list[str], said: str, lab: Path) -> None:
    done = call("run", "friendship_paradox", "--agents", "5", "--steps", "1", *words)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert runs(lab) == []


def test_a_person_answers_field_by_field(lab: Path) -> None:
    words = ["run", "friendship_paradox", "--agents", "3", "--steps", "1", "--seat", "1=human"]
    # A wrong choice first, then a post: choice, target_post, content, reason.
    done = call(*words, answer="dance\n\n\n\npost\n\nHello from the terminal.\nno reason\n")
    assert done.exit_code == 0, done.stderr
    assert "You are agent 1." in done.stderr
    assert "cannot be used" in done.stderr
    run = sw.load_run(lab / "runs" / runs(lab)[0])
    assert "Hello from the terminal." in run.table("posts")["text"].to_list()
    assert run.verify()


def test_a_person_who_leaves_is_a_refusal(lab: Path) -> None:
    done = call("run", "friendship_paradox", "--agents", "3", "--steps", "1", "--seat", "1=human", answer="")
    assert done.exit_code == 0, done.stderr
    run = sw.load_run(lab / "runs" / runs(lab)[0])
    assert run.answers["refused"].to_list() == [1]


def test_doctor_says_what_answers_and_what_to_do_next(
    server: ModelServer, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    done = call("doctor", "--api-base", server.base)
    assert done.exit_code == 0, done.stderr
    assert "sk-planted" not in done.stdout + done.stderr
    assert re.search(r"key +OpenAI", done.stdout)
    assert re.search(rf"answers +given +{re.escape(server.base)} +scripted", done.stdout)
    assert f"--model local/scripted --api-base {server.base} --dry-run" in done.stdout
    assert "litellm" in done.stdout
    silent = call("doctor", "--api-base", "http://127.0.0.1:9/v1")
    assert silent.exit_code == 0
    assert "nothing answers" in silent.stdout

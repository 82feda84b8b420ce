"""The commands, from the first run to the last export, in a lab of their own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import networkx as nx
import polars as pl
import pytest
from click.testing import CliRunner, Result

from simworld.cli._main import cli
from simworld.observe import describe
from simworld.run import FORMATS, load_run

SOCIETY = '''"""Friends."""
import time

import simworld as sw


class FriendsParams(sw.Params):
    n_agents: int = sw.field(8, doc="Agents.", unit="agents", ge=2)
    pause_s: float = sw.field(0.0, doc="Pause in a step.", unit="s", ge=0)
    label: str = sw.field("none", doc="Any text.")


class Friends(sw.World):
    """A few friends."""

    Params = FriendsParams
    directed = True
    starting_graph = "gnp_random_graph:p=0.4,directed=true"
    observers = ("reciprocity", "friendship_paradox", "degrees")
    default_steps = 4

    def setup(self):
        if self.params.label != "none":
            self.notes.append(f"labelled {self.params.label}")

    def step(self):
        time.sleep(self.params.pause_s)
        self.emit("tick")
        self.graph.add(self.t % self.n_agents, (self.t + 1) % self.n_agents)

    def metrics(self):
        return {"ties": float(self.graph.n_ties())}
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "friends.py").write_text(SOCIETY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str, **env: str) -> Result:
    done = CliRunner(env=env).invoke(cli, args, prog_name="simworld")
    assert done.stderr == "", done.stderr
    return done


def started(args: list[str], folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    whole = {**os.environ, **env}
    command = [sys.executable, "-m", "simworld", *args]
    return subprocess.run(command, cwd=folder, env=whole, capture_output=True, text=True, check=False)


def test_run_tells_what_it_does_what_it_found_and_what_is_next(lab: Path) -> None:
    done = call("run", "friends", "--seed", "3", "-p", "label=a b")
    assert done.exit_code == 0
    (folder,) = (lab / "runs").iterdir()
    run = load_run(folder)
    text = done.stdout
    lines = text.splitlines()
    assert lines[0] == "friends, seed 3, 4 steps"
    assert "rule policy" in lines[1]
    assert lines[2] == "note: labelled a b"
    assert lines[3].startswith("step 4/4")
    assert text.count("labelled a b") == 1
    for row in run.summary():
        assert row[0] == "note" or re.search(rf"^{row[0]}\s+{re.escape(row[1])}$", text, re.M)
    # The friendship paradox comes before the scenario's other observers, each value beside its null.
    found = {(f["observer"], f["metric"]): f for f in run.findings.to_dicts()}
    weak = found["friendship_paradox", "weak_in_out"]
    row = next(line for line in lines if line.startswith("  weak_in_out "))
    numbers = [f"{weak['value']:.3f}", f"{weak['null_mean']:.3f}", f"{weak['gap']:+.3f}", f"{weak['p_value']:.3f}"]
    assert row.split()[1:5] == numbers
    assert row.endswith(describe("friendship_paradox")["weak_in_out"])
    assert text.index("\nfriendship_paradox\n") < text.index("\nreciprocity\n")
    assert "null: in-degree permuted over the nodes" in text
    assert all(f"\n  simworld {verb} {folder.name}" in text for verb in ("show", "verify", "export"))


def test_options_reach_the_plan(lab: Path) -> None:
    args = ["--agents", "5", "--steps", "2", "--seed", "9", "--mind", "null", "-o", "density", "-o", "components"]
    done = call("run", "friends", *args, "-p", 'label="7"', "--state-every", "2", "--no-events", "--out", "deep/er")
    assert done.exit_code == 0
    run = load_run("deep/er")
    plan = run.plan
    assert (plan.params["n_agents"], plan.steps, plan.seed, plan.mind) == (5, 2, 9, "null")
    assert plan.params["label"] == "7"  # JSON, so that a text may look like a number
    assert (plan.observers, plan.state_every, plan.record_events) == (("density", "components"), 2, False)
    assert "null policy" in done.stdout
    assert "not recorded" in call("show", "deep/er").stdout
    call("run", "friends", "--graph", "karate", "--steps", "1", "--out", "k")
    assert load_run("k").plan.params["n_agents"] == 34


def test_quiet_prints_the_folder_alone(lab: Path) -> None:
    assert call("run", "friends", "--quiet", "--out", "mine").stdout == "mine\n"
    assert call("resume", "mine", "--quiet").stdout == "mine\n"


def test_the_environment_sets_options_and_the_command_line_wins(lab: Path) -> None:
    env = {
        "SIMWORLD_RUN_STEPS": "2",
        "SIMWORLD_RUN_PARAM": "label='a b' n_agents=4",
        "SIMWORLD_RUN_OBSERVER": "density",
    }
    call("run", "friends", "--out", "one", **env)
    assert load_run("one").plan.params == {"label": "a b", "n_agents": 4, "pause_s": 0.0}
    assert load_run("one").plan.steps == 2
    assert load_run("one").plan.observers == ("density",)
    call("run", "friends", "--out", "two", "--steps", "1", "-p", "n_agents=3", **env)
    assert (load_run("two").plan.steps, load_run("two").plan.params["label"]) == (1, "none")


def test_every_option_names_its_variable() -> None:
    for name, command in cli.commands.items():
        text = CliRunner().invoke(cli, [name, "--help"], auto_envvar_prefix="SIMWORLD").stdout.replace("\n", " ")
        for param in command.params:
            if isinstance(param, click.Option):
                long = max(param.opts, key=len).removeprefix("--").replace("-", "_")
                assert f"SIMWORLD_{name}_{long}".upper() in re.sub(r"\s+", " ", text)


def test_the_commands_are_those_that_exist_in_their_order() -> None:
    assert list(cli.commands) == [
        "list", "run", "resume", "verify", "show", "export", "view", "sweep", "report", "fork", "diff", "ask",
        "memory", "new", "doctor",
    ]  # fmt: skip
    text = CliRunner().invoke(cli, []).stdout
    assert re.findall(r"^  (\w+)  ", text.partition("Commands:")[2], re.M) == list(cli.commands)
    assert "..." not in text.partition("Commands:")[2]
    assert all(f in CliRunner().invoke(cli, ["export", "--help"]).stdout for f in FORMATS)


@pytest.mark.slow
def test_a_dotenv_file_is_read_and_overrides_nothing(lab: Path) -> None:
    (lab / ".env").write_text("SIMWORLD_RUN_STEPS=1\nSIMWORLD_RUN_SEED=5\n")
    done = started(["run", "friends", "--out", "mine", "--quiet"], lab, SIMWORLD_RUN_SEED="6")
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")
    assert (load_run("mine").plan.steps, load_run("mine").plan.seed) == (1, 6)
    (lab / ".env").write_bytes(b"\xff\xfe\x00")
    done = started(["list"], lab)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_show_lists_the_runs_newest_first_and_last_is_the_newest(lab: Path) -> None:
    assert "no run in runs yet" in call("show").stdout
    call("run", "friends", "--steps", "1", "--quiet", "--out", "runs/b_first")
    call("run", "friends", "--steps", "2", "--quiet", "--out", "runs/a_second", "--seed", "8")
    first, second = load_run("b_first"), load_run("a_second")
    text = call("show").stdout
    assert [line.split()[0] for line in text.splitlines()] == ["name", "a_second", "b_first"]
    assert text.splitlines()[1].split() == ["a_second", "friends", "8", "2/2", "finished", (second.digest or "")[:8]]
    assert call("show", COLUMNS="80").stdout.splitlines()[0].split() == ["name", "seed", "steps", "status", "digest"]
    assert (first.digest or "x") in call("show", "b_").stdout
    assert (second.digest or "x") in call("show", "last").stdout


def test_show_gives_metrics_with_meanings_findings_and_events(lab: Path) -> None:
    call("run", "friends", "--quiet", "--out", "mine")
    run = load_run("mine")
    text = call("show", "mine").stdout
    assert "metrics after step 4" in text
    last = run.metrics.tail(1).to_dicts()[0]
    assert re.search(rf"^ +ties +{last['ties']:.0f}$", text, re.M)
    gini, sentence = last["degrees.gini_in"], describe("degrees")["gini_in"]
    assert 0 < gini < 1
    assert re.search(rf"^ +gini_in +{gini:.3f} +{re.escape(sentence)}$", text, re.M)
    shown = text.partition("findings")[2]
    assert all(re.search(rf"^  {name} ", shown, re.M) for name in run.findings["metric"])
    assert re.search(r"^  tick +4$", text, re.M)


@pytest.mark.parametrize("width", [80, 120])
def test_everything_fits_the_width(lab: Path, width: int) -> None:
    call("run", "friends", "--quiet", "--out", "runs/mine")
    for args in (
        ["show"],
        ["show", "mine"],
        ["list"],
        ["list", "friends"],
        ["list", "--observers"],
        ["verify", "mine"],
    ):
        for line in call(*args, COLUMNS=str(width)).stdout.splitlines():
            # A folder is kept whole, to be copied, and a progress line is one line.
            assert len(line) <= width or line.startswith(("folder", "step", str(lab))), (args, line)


def test_findings_that_do_not_fit_are_counted(lab: Path) -> None:
    from simworld.cli import _tables

    out = _tables.console()
    row = {"value": 0.5, "null_mean": 0.4, "null_sd": 0.1, "gap": 0.1, "p_value": 0.5, "closed_form": float("nan")}
    rows = [
        {"observer": who, "metric": f"m{i}", **row, "null": "n", "note": "", "n": 3}
        for who, many in (("long", 20), ("friendship_paradox", 9), ("short", 2))
        for i in range(many)
    ]
    with out.capture() as captured:
        left = _tables.findings(out, pl.DataFrame(rows), 12)
    assert left == 20  # the long one, whole: half an observer would mislead
    assert [line for line in captured.get().split() if line in ("friendship_paradox", "short", "long")] == [
        "friendship_paradox", "short",
    ]  # fmt: skip
    with out.capture() as captured:
        assert _tables.findings(out, pl.DataFrame(rows[:20]), 12) == 8


def test_verify_says_what_matches_and_what_does_not(lab: Path) -> None:
    call("run", "friends", "--quiet", "--out", "mine")
    good = call("verify", "mine")
    assert good.exit_code == 0
    checks = [line for line in good.stdout.splitlines() if line.startswith("ok ")]
    assert len(checks) == 3
    assert "4 steps give the same digest" in checks[-1]
    assert len(call("verify", "mine", "--files-only").stdout.splitlines()) == 2
    segment = min((lab / "mine" / "events").iterdir())
    segment.write_bytes(segment.read_bytes()[:-20])
    bad = CliRunner().invoke(cli, ["verify", "mine", "--files-only"])
    assert bad.exit_code == 1
    assert re.search(rf"^MISMATCH  files .*{segment.name}", bad.stdout, re.M)


def test_export_writes_tables_and_graphs(lab: Path) -> None:
    call("run", "friends", "--quiet", "--out", "runs/mine")
    run = load_run("mine")
    written = call("export", "mine", "csv").stdout.splitlines()
    assert "mine-csv/metrics.csv" in written
    assert pl.read_csv("mine-csv/metrics.csv").height == 5
    call("export", "mine", "parquet", "--to", "elsewhere")
    assert pl.read_parquet("elsewhere/events.parquet").equals(run.events)
    call("export", "mine", "jsonl")
    rows = [json.loads(line) for line in Path("mine-jsonl/metrics.jsonl").read_text().splitlines()]
    assert rows[2]["step"] == 2
    (file,) = call("export", "last", "graphml", "--step", "0").stdout.split()
    assert nx.read_graphml(file).number_of_edges() == run.graph(0).number_of_edges()
    (file,) = call("export", "last", "gexf", "--kind", "tie").stdout.split()
    assert nx.read_gexf(file).number_of_nodes() == 8


def test_list_shows_scenarios_parameters_observers_casts(lab: Path) -> None:
    text = call("list").stdout
    assert re.search(r"^friends +A few friends\.$", text, re.M)
    assert "friendship_paradox" in text
    text = call("list", "friends").stdout
    assert re.search(r"^n_agents +8 agents  >= 2\n +Agents\.$", text, re.M)
    assert re.search(r"^label +none$", text, re.M)
    assert "simworld run friends -p n_agents=8" in text
    text = " ".join(call("list", "--observers").stdout.split())
    assert [sentence for sentence in describe().values() if sentence not in text] == []
    assert "book_club" in call("list", "--casts").stdout


def test_new_makes_a_lab_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("new", "my lab").stdout
    assert "cd 'my lab' && simworld list" in text
    assert (tmp_path / "my lab/scenarios/friendship_paradox/world.py").is_file()
    (tmp_path / "my lab/README.md").write_text("mine")
    assert call("new", "my lab", "--force").exit_code == 0
    assert (tmp_path / "my lab/README.md").read_text() == "mine"


@pytest.mark.slow
def test_ctrl_c_ends_the_step_and_resume_gives_the_same_digest(lab: Path) -> None:
    args = [sys.executable, "-m", "simworld", "run", "friends", "--steps", "20", "-p", "pause_s=0.05"]
    with subprocess.Popen([*args, "--out", "cut"], cwd=lab, stdout=-1, stderr=-1, text=True) as process:
        deadline = time.monotonic() + 60
        while not (lab / "cut" / "journal.sqlite").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    (line,) = stderr.splitlines()
    assert line.endswith("simworld resume cut")
    assert load_run("cut").status == "interrupted"
    assert load_run("cut").steps < 20
    done = call("resume", "cut")
    assert done.exit_code == 0
    assert "step 20/20" in done.stdout
    call("run", "friends", "--steps", "20", "-p", "pause_s=0.05", "--quiet", "--out", "whole")
    assert load_run("cut").digest == load_run("whole").digest
    assert "nothing to resume" in call("resume", "cut").stdout


def test_a_second_ctrl_c_says_how_to_go_on(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import simworld.run

    def cut(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simworld.run, "execute", cut)
        done = CliRunner().invoke(cli, ["run", "friends", "--out", "mine"])
    assert done.exit_code == 3
    assert (
        done.stderr
        == "simworld: stopped in the middle of a step, which is not kept; go on with: simworld resume mine\n"
    )
    assert call("resume", "mine").exit_code == 0
    assert load_run("mine").steps == 4


def test_a_folder_called_last_is_a_folder(lab: Path) -> None:
    call("run", "friends", "--quiet", "--steps", "1", "--out", "last")
    call("run", "friends", "--quiet", "--steps", "2", "--out", "runs/newer")
    assert "1 of 1" in call("show", "last").stdout


@pytest.mark.slow
def test_a_reader_that_leaves_stops_no_run(lab: Path) -> None:
    command = [sys.executable, "-m", "simworld", "run", "friends", "--out", "mine", "-p", "pause_s=0.05"]
    with subprocess.Popen(command, cwd=lab, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert load_run("mine").status == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
def test_in_a_terminal_a_bar_lives_and_in_a_dumb_one_lines_do(lab: Path, term: str) -> None:
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    env |= {"TERM": term, "COLUMNS": "80", "LINES": "40", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "simworld", "run", "friends", "-p", "pause_s=0.3", "--out", "mine"]
    with subprocess.Popen(command, cwd=lab, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end closes
                break
            if not chunk:
                break
            seen += chunk
    os.close(ours)
    assert process.returncode == 0
    text = seen.decode()
    plain = click.unstyle(text)
    if term == "dumb":
        assert "\x1b" not in text
        assert "step 4/4" in plain
    else:
        assert "━" in plain
        assert "\x1b[?25l" in text  # the cursor is hidden while the display lives
        assert "\x1b[?25h" in text  # and comes back
        assert re.search(r"running +━.* [1-3]/4 .*steps/s .*left", plain)
        assert re.search(r"done +━+ +4/4", plain)
        assert max(len(part) for part in re.split(r"[\r\n]+", plain) if not part.startswith("folder")) <= 80

"""Bad calls: one clear line on stderr, exit code 2, and nothing on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from simworld.cli._main import cli

TINY = '''"""Tiny."""
import simworld as sw


class TinyParams(sw.Params):
    n_agents: int = sw.field(6, doc="Agents.", unit="agents", ge=2)
    heat: float = sw.field(0.5, doc="Heat.", ge=0, le=1)


class Tiny(sw.World):
    """A tiny society."""

    Params = TinyParams
    default_steps = 3

    def step(self):
        if self.params.heat == 1:
            raise ValueError("too\\nhot")
        self.emit("tick")
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "tiny.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*args: str, **env: str) -> Result:
    return CliRunner(env=env).invoke(cli, args, prog_name="simworld")


def everything_under(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts)


REFUSED: list[tuple[list[str], list[str]]] = [
    (["rnu", "tiny"], ["no command 'rnu'", "did you mean 'run'?", "(simworld --help)"]),
    (["--trace"], ["no option '--trace'", "'--traceback'"]),
    (["run"], ["missing argument 'SCENARIO'", "(simworld run --help)"]),
    (["run", "tiny", "more"], ["unexpected extra argument (more)"]),
    (["run", "tiny", "--stpes", "3"], ["no option '--stpes'", "did you mean '--steps'?", "(simworld run --help)"]),
    (["run", "tiny", "--steps"], ["'--steps' requires an argument"]),
    (["run", "tiny", "--seed", "seven"], ["'--seed'", "'seven' is not a valid integer"]),
    (["run", "tiny", "--seed", "1.5"], ["'--seed'", "'1.5' is not a valid integer"]),
    (["run", "tiny", "--seed", "-1"], ["seed = -1", "0 to 2**63 - 1"]),
    (["run", "tiny", "--steps", "-2"], ["steps = -2", "0 or more"]),
    (["run", "tiny", "--state-every", "-1"], ["state_every = -1"]),
    (["run", "tiny", "--agents", "0"], ["n_agents = 0", "2"]),
    (["run", "tiny", "--agents", "many"], ["'--agents'", "'many'"]),
    (["run", "tiny", "--agents", "5", "-p", "n_agents=5"], ["'n_agents' is given twice", "--agents"]),
    (["run", "tiny", "-p", "heat=0", "-p", "heat=1"], ["'heat' is given twice"]),
    (["run", "tiny", "-p", "heat"], ["'heat' is not name=value", "-p n_agents=50"]),
    (["run", "tiny", "-p", "=3"], ["'=3' is not name=value"]),
    (["run", "tiny", "-p", "heat=2"], ["heat = 2", "1"]),
    (["run", "tiny", "-p", "heat=warm"], ["heat = 'warm'"]),
    (["run", "tiny", "-p", "haet=1"], ["no parameter 'haet'", "did you mean 'heat'?"]),
    (["run", "tinny"], ["no scenario 'tinny'", "did you mean 'tiny'?"]),
    (["run", "tiny", "--mind", "rulse"], ["no mind 'rulse'", "'rules'"]),
    (["run", "tiny", "-o", "reciprocty"], ["no observer 'reciprocty'", "did you mean 'reciprocity'?"]),
    (["run", "tiny", "--graph", "karat"], ["no graph source 'karat'", "did you mean 'karate'?"]),
    (["run", "tiny", "--graph", "ties.csv"], ["ties.csv", "no such file"]),
    (["run", "tiny", "--cast", "nobody"], ["no cast 'nobody'"]),
    (["run", "tiny", "--out", "scenarios"], ["scenarios exists", "name another"]),
    (["resume", "nothing"], ["no run 'nothing'", "simworld show"]),
    (["resume", "scenarios"], ["scenarios is not a run", "manifest.json"]),
    (["verify", "last"], ["no run in", "simworld run"]),
    (["show", "last"], ["no run in"]),
    (["export", "last"], ["csv, parquet", "--html"]),
    (["list", "tinny"], ["no scenario 'tinny'", "did you mean 'tiny'?"]),
    (["list", "tiny", "--casts"], ["list shows one thing"]),
    (["new", "scenarios"], ["is not empty", "--force"]),
]


@pytest.mark.parametrize("args, said", REFUSED, ids=[" ".join(args) for args, _ in REFUSED])
def test_a_wrong_call_gets_one_line_and_leaves_nothing(lab: Path, args: list[str], said: list[str]) -> None:
    before = everything_under(lab)
    done = call(*args)
    assert done.exit_code == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("simworld: ")
    assert all(part in line for part in said), line
    assert everything_under(lab) == before


def test_an_unknown_format_is_refused(lab: Path) -> None:
    assert call("run", "tiny", "--out", "mine", "--quiet").exit_code == 0
    before = everything_under(lab)
    done = call("export", "mine", "cvs")
    assert done.exit_code == 2
    assert "'cvs'; did you mean 'csv'?" in done.stderr
    assert everything_under(lab) == before


def test_a_value_from_the_environment_is_named(lab: Path) -> None:
    done = call("run", "tiny", SIMWORLD_RUN_STEPS="ten")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "SIMWORLD_RUN_STEPS" in line
    assert "'ten'" in line


def test_a_failing_step_is_one_line_with_its_place_and_exit_1(lab: Path) -> None:
    done = call("run", "tiny", "-p", "heat=1", "--out", "mine")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "step 1" in line
    assert "tiny.py:18" in line  # `raise` in TINY
    assert "ValueError: too hot" in line
    assert "simworld resume --allow-changed mine" in line
    assert "failed" in call("show", "mine").stdout


@pytest.mark.parametrize("args, env", [(["--traceback"], {}), ([], {"SIMWORLD_TRACEBACK": "1"})])
def test_a_traceback_is_shown_when_asked_for(lab: Path, args: list[str], env: dict[str, str]) -> None:
    done = call(*args, "run", "tinny", **env)
    assert done.exit_code == 2
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.splitlines()[-1].startswith("simworld: no scenario 'tinny'")


def test_a_bug_keeps_its_traceback(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import simworld.scenario

    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(simworld.scenario, "list_scenarios", broken)
    done = call("list")
    assert isinstance(done.exception, ZeroDivisionError)


def test_a_damaged_run_does_not_hide_the_others(lab: Path) -> None:
    for name in ("good", "torn", "empty"):
        assert call("run", "tiny", "--out", f"runs/{name}", "--quiet").exit_code == 0
    (lab / "runs/torn/manifest.json").write_text('{"format": 1, "pl')
    (lab / "runs/empty/manifest.json").write_text('{"format": 1}')
    done = call("show")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("good") and "finished" in line for line in lines)
    assert any(line.startswith("torn") and "manifest.json" in line for line in lines)
    assert any(line.startswith("empty") for line in lines)
    torn = call("show", "runs/torn")
    assert torn.exit_code == 1
    assert len(torn.stderr.splitlines()) == 1
    assert call("show", "last").stdout.startswith("scenario")

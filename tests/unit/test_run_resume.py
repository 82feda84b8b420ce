"""Killed at any point, a run resumes to the digest, and to every row, of a run that nobody disturbed."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
import simworld.run._store as store
from simworld.errors import UsageError
from simworld.run import Run
from tests.unit.test_run_society import (
    assert_same_run,
    begin_and_cut,
    finished_by,
    hashes,
    read_everything,
    spawn,
    write_hamlet,
)

STEPS = 14
SCHELLING = "mesa.examples.basic.schelling.model@Schelling"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hamlet(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def undisturbed(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """The run by ``state_every``."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return {
        every: sw.run(scenario, seed=8, steps=STEPS, state_every=every, out=folder / str(every)) for every in (1, 3, 0)
    }


def no_stray_files(run: Run) -> bool:
    """Whether the folder holds what the manifest knows, and nothing left over."""
    files = set(hashes(run.path)) - {"manifest.json", "journal.sqlite", "metrics.parquet", "findings.parquet"}
    return {f for f in files if not f.startswith("inputs/")} == {s["file"] for s in run.manifest["segments"]}


# -- in one process: the society is thrown away, only the folder stays ---------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 0])
def test_cut_after_every_step_and_resumed(
    scenario: str, undisturbed: dict[int, Run], tmp_path: Path, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SEAL_STEPS", 4)
    for after in (0, 1, 5, 9, 12, STEPS):
        out = begin_and_cut(scenario, tmp_path / f"{after}", after, seed=8, steps=STEPS, state_every=every)
        assert sw.load_run(out).status == "interrupted"
        assert sw.load_run(out).digest is None
        assert_same_run(sw.resume(out), undisturbed[every])
    assert sw.load_run(out).verify()


def test_cut_and_resumed_again_and_again(scenario: str, undisturbed: dict[int, Run], tmp_path: Path) -> None:
    out = begin_and_cut(scenario, tmp_path / "run", 2, seed=8, steps=STEPS)
    for after in (3, 4, 9):
        with pytest.raises(BaseException, match=r"^$"):
            sw.resume(out, progress=lambda t, n, m, after=after: cut_when(t == after))
        assert sw.load_run(out).status == "interrupted"
    run = sw.resume(out)
    assert_same_run(run, undisturbed[1])
    assert run.verify()


def cut_when(now: bool) -> None:
    if now:
        raise KeyboardInterrupt


def test_a_finished_run_is_returned_unchanged(scenario: str, tmp_path: Path) -> None:
    run = sw.run(scenario, seed=8, steps=4, out=tmp_path / "run")
    before = hashes(run.path)
    assert not any(name.endswith((".tmp", "-wal", "-shm", ".lock")) for name in before)
    again = sw.resume(run)
    assert again.digest == run.digest
    assert sw.resume(str(run.path)).digest == run.digest
    read_everything(sw.load_run(run.path))
    assert sw.load_run(run.path).verify()
    assert hashes(run.path) == before


def test_reading_an_unfinished_run_does_not_hinder_it(
    scenario: str, undisturbed: dict[int, Run], tmp_path: Path
) -> None:
    out = begin_and_cut(scenario, tmp_path / "run", 6, seed=8, steps=STEPS)
    begun = sw.load_run(out)
    read_everything(begun)
    kept, begun_events = begun.steps, begun.events
    assert kept in range(2, 7)
    run = sw.resume(out)
    assert_same_run(run, undisturbed[1])
    assert run.events.filter(pl.col("step") <= kept).equals(begun_events)


def test_a_society_that_stopped_by_itself_stays_stopped(scenario: str, tmp_path: Path) -> None:
    whole = sw.run(scenario, seed=8, steps=STEPS, stop_after=5, out=tmp_path / "whole")
    assert whole.steps == 5
    out = begin_and_cut(scenario, tmp_path / "cut", 5, seed=8, steps=STEPS, stop_after=5)
    assert_same_run(sw.resume(out), whole)


@pytest.mark.parametrize("activation", ["simultaneous", "sequential"])
@pytest.mark.parametrize("rules", ["paper", "released_code"])
def test_friendship_paradox_cut_and_resumed(tmp_path: Path, activation: str, rules: str) -> None:
    call: dict[str, Any] = {"n_agents": 30, "steps": 6, "seed": 4, "activation": activation, "rules": rules}
    whole = sw.run("friendship_paradox", out=tmp_path / "whole", **call)
    for after in (2, 5):
        out = begin_and_cut("friendship_paradox", tmp_path / f"cut{after}", after, **call)
        assert_same_run(sw.resume(out), whole)


@pytest.mark.parametrize("every", [1, 4])
def test_a_plain_mesa_model_cut_and_resumed(tmp_path: Path, every: int) -> None:
    call: dict[str, Any] = {"steps": 7, "seed": 2, "width": 12, "height": 12, "state_every": every}
    whole = sw.run(SCHELLING, out=tmp_path / "whole", **call)
    assert whole.steps > 4
    out = begin_and_cut(SCHELLING, tmp_path / "cut", 4, **call)
    assert_same_run(sw.resume(out), whole)


# -- real processes, really killed ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("every, seed", [(1, 0), (3, 1), (0, 2)])
def test_killed_at_random_moments(
    scenario: str, undisturbed: dict[int, Run], tmp_path: Path, every: int, seed: int
) -> None:
    """Three kills of one run, each at a moment nobody chose; resumes are killed too."""
    chance = np.random.default_rng(seed)
    call = {"seed": 8, "steps": STEPS, "state_every": every}
    order = {"scenario": scenario, "call": call, "out": str(tmp_path / "run"), "seal_steps": 2}
    kills = 0
    for _ in range(3):
        process = spawn(order)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        time.sleep(chance.uniform(0.0, 0.15))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if sw.load_run(tmp_path / "run").status == "finished":
            break
    assert kills
    run = sw.resume(tmp_path / "run")
    assert_same_run(run, undisturbed[every])
    assert run.verify(again=False)


PLACES = [
    ("before events/events", 2),
    ("after events/events", 1),
    ("after state/agents", 2),
    ("after state/ties", 3),
    ("rename events-0000005-0000009.parquet", 1),
    ("in transaction", 6),
    ("after transaction", 7),
    ("count", 3),
    ("after metrics.parquet", 1),
    ("rename findings.parquet", 1),
    ("rename manifest.json", 2),
]
"""Where a process dies: around each rename, each transaction and each file of the end."""


@pytest.mark.slow
@pytest.mark.parametrize("place, time_", PLACES)
def test_killed_where_it_hurts(
    scenario: str, undisturbed: dict[int, Run], tmp_path: Path, place: str, time_: int
) -> None:
    call = {"seed": 8, "steps": STEPS, "state_every": 1}
    order = {"scenario": scenario, "call": call, "out": str(tmp_path / "run"), "seal_steps": 5}
    finished_by({**order, "die": [place, time_]}, code=9)
    assert sw.load_run(tmp_path / "run").status == "interrupted"
    read_everything(sw.load_run(tmp_path / "run"))
    run = sw.resume(tmp_path / "run")
    assert_same_run(run, undisturbed[1])
    assert run.verify(again=False)
    assert hashes(run.path) == hashes(sw.resume(run).path)


@pytest.mark.slow
def test_a_kill_leaves_no_stray_file_behind(scenario: str, tmp_path: Path) -> None:
    """A segment that was renamed but not entered is written again or removed; so is a temporary file."""
    call = {"seed": 8, "steps": STEPS, "state_every": 1}
    order = {"scenario": scenario, "call": call, "out": str(tmp_path / "run"), "seal_steps": 5}
    finished_by({**order, "die": ["after state/agents", 1]}, code=9)
    finished_by({**order, "die": ["rename", 2]}, code=9)
    assert no_stray_files(sw.resume(tmp_path / "run"))


@pytest.mark.slow
def test_killed_before_the_first_step_is_recorded(scenario: str, undisturbed: dict[int, Run], tmp_path: Path) -> None:
    order = {"scenario": scenario, "call": {"seed": 8, "steps": STEPS}, "out": str(tmp_path / "run")}
    finished_by({**order, "die": ["in transaction", 2]}, code=9)
    assert sw.load_run(tmp_path / "run").steps == 0
    assert_same_run(sw.resume(tmp_path / "run"), undisturbed[1])


@pytest.mark.slow
def test_killed_while_its_folder_is_made(scenario: str, tmp_path: Path) -> None:
    """A folder without a manifest is no run, and says so; nothing was computed yet, so nothing is lost."""
    order = {"scenario": scenario, "call": {"seed": 8, "steps": 2}, "out": str(tmp_path / "run")}
    finished_by({**order, "die": ["rename manifest.json", 1]}, code=9)
    with pytest.raises(UsageError, match=r"run is not a run: it has no manifest\.json"):
        sw.load_run(tmp_path / "run")
    with pytest.raises(UsageError, match="exists"):
        sw.run(scenario, out=tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["simultaneous", "sequential"])
def test_friendship_paradox_killed_and_resumed(tmp_path: Path, activation: str) -> None:
    call = {"seed": 4, "steps": 6, "params": {"n_agents": 30, "activation": activation}}
    order = {"scenario": "friendship_paradox", "call": call, "out": str(tmp_path / "run"), "seal_steps": 2}
    finished_by({**order, "die": ["after state/posts", 1]}, code=9)
    finished_by({**order, "die": ["step 4", 1]}, code=9)
    whole = sw.run("friendship_paradox", seed=4, steps=6, n_agents=30, activation=activation, out=tmp_path / "whole")
    assert_same_run(sw.resume(tmp_path / "run"), whole)


@pytest.mark.slow
def test_a_plain_mesa_model_killed_and_resumed(tmp_path: Path) -> None:
    call = {"seed": 2, "steps": 7, "params": {"width": 12, "height": 12}}
    order = {"scenario": SCHELLING, "call": call, "out": str(tmp_path / "run"), "seal_steps": 2}
    finished_by({**order, "die": ["after state/agents", 2]}, code=9)
    whole = sw.run(SCHELLING, seed=2, steps=7, width=12, height=12, out=tmp_path / "whole")
    assert_same_run(sw.resume(tmp_path / "run"), whole)


# -- what a resume must not forget ---------------------------------------------------------------------------------

SMALL = """
import numpy as np
import simworld as sw


class P(sw.Params):
    n_agents: int = sw.field(4, doc="Agents.", ge=0)


class A(sw.Agent):
    x: float = 0.0


class W(sw.World):
    '''A society.'''

    Params = P
    agent_classes = (A,)

    def step(self):
"""


def assert_resumes_exactly(folder: Path, body: str) -> None:
    file = folder / "small.py"
    file.write_text(SMALL + "".join(f"        {line}\n" for line in body.splitlines()))
    whole = sw.run(str(file), steps=6, out=folder / "whole")
    for after in (1, 2, 3, 4):
        out = begin_and_cut(str(file), folder / f"cut{after}", after, steps=6)
        assert_same_run(sw.resume(out), whole)


def test_the_sign_of_zero_survives(tmp_path: Path) -> None:
    assert_resumes_exactly(tmp_path, "self.table['x'] *= -1.0\nself.emit('x', text=str(self.table['x'][0]))")


def test_an_agent_retired_by_its_row_is_gone_in_both_lives(tmp_path: Path) -> None:
    body = "n = len(self.agents)\nif self.t == 2: self.retire(1)\nself.emit('n', item=n, value=len(self.agents))"
    assert_resumes_exactly(tmp_path, body)


def test_agents_sorted_in_place_are_found_in_the_same_order(tmp_path: Path) -> None:
    """``model.agents`` is the set itself; to shuffle it in place is legal Mesa."""
    body = "self.agents.shuffle(inplace=True)\nself.emit('order', text=str([a.row for a in self.agents]))"
    assert_resumes_exactly(tmp_path, body)


def test_numbers_json_has_no_word_for_survive_in_metrics_and_events(tmp_path: Path) -> None:
    body = (
        "for v in (np.nan, np.inf, -np.inf, -0.0, 5e-324): self.emit('v', value=v)\n"
        "self.metrics = lambda t=self.t: {'a': np.nan, 'b': np.inf, 'c': -0.0, 'd': np.float32(0.1), 'e': t % 2 == 0}"
    )
    assert_resumes_exactly(tmp_path, body)


def test_a_nan_that_was_computed_is_the_nan_that_was_read_back(tmp_path: Path) -> None:
    """0/0 and inf - inf give a NaN with the sign bit set on x86; ``np.nan`` has none."""
    text = SMALL.replace(
        "    def step(",
        "    def metrics(self):\n        return {'r': np.copysign(np.nan, -1) if self.t > 2 else 0.5}\n\n    def step(",
    )
    (tmp_path / "small.py").write_text(text + "        self.emit('tick')\n")
    whole = sw.run(str(tmp_path / "small.py"), steps=9, out=tmp_path / "whole")
    out = begin_and_cut(str(tmp_path / "small.py"), tmp_path / "cut", 8, steps=9)
    assert sw.load_run(out).steps > 2
    assert_same_run(sw.resume(out), whole)


def test_an_agents_handle_survives_with_what_it_knows(tmp_path: Path) -> None:
    body = "a = self.agents[self.t % 4]\na.x += self.random.random()\nself.emit('x', agent=a.unique_id, value=a.x)"
    assert_resumes_exactly(tmp_path, body)


def test_a_class_whose_last_agent_left_is_still_a_class(tmp_path: Path) -> None:
    file = tmp_path / "small.py"
    text = SMALL.replace("class W", "class B(A):\n    y: int = 1\n\n\nclass W").replace("(A,)", "(A, B)")
    body = "if self.t == 1: B(self)\nif self.t == 2: self.agents[4].remove()\n"
    body += "self.emit('b', value=len(self.agents_by_type[B]))"
    file.write_text(text + "".join(f"        {line}\n" for line in body.splitlines()))
    whole = sw.run(str(file), steps=5, out=tmp_path / "whole")
    assert whole.events.filter(pl.col("kind") == "b")["value"].to_list() == [1, 0, 0, 0, 0]
    out = begin_and_cut(str(file), tmp_path / "cut", 4, steps=5)
    assert_same_run(sw.resume(out), whole)

"""One plan, one digest: whatever the process, the folder, the clock, the threads, and whoever looks on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

import simworld as sw
import simworld.run._store as store
from simworld.run import Run
from tests.unit.test_run_society import assert_same_run, finished_by, write_hamlet

STEPS = 9


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hamlet(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def once(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(scenario, seed=3, steps=STEPS, out=tmp_path_factory.mktemp("runs") / "once")


def test_same_seed_same_digest_in_another_folder(scenario: str, once: Run, tmp_path: Path) -> None:
    assert_same_run(sw.run(scenario, seed=3, steps=STEPS, out=tmp_path / "elsewhere" / "deep"), once)


def test_each_seed_has_its_own_digest(scenario: str, once: Run, tmp_path: Path) -> None:
    others = [sw.run(scenario, seed=s, steps=3, out=tmp_path / str(s)) for s in (0, 1, 2**63 - 1)]
    assert len({run.digest for run in [*others, once]}) == 4
    assert len({run.manifest["parts"]["events"] for run in others}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("env", [
    {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
    {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "TZ": "Asia/Tokyo"},
])  # fmt: skip
def test_same_digest_in_any_process(scenario: str, once: Run, tmp_path: Path, env: dict[str, str]) -> None:
    call = {"seed": 3, "steps": STEPS}
    finished_by({"scenario": scenario, "call": call, "out": str(tmp_path / "run")}, **env)
    assert_same_run(sw.load_run(tmp_path / "run"), once)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["simultaneous", "sequential"])
def test_friendship_paradox_has_one_digest_in_any_process(tmp_path: Path, activation: str) -> None:
    call = {"seed": 2, "steps": 4, "params": {"n_agents": 20, "activation": activation}}
    digests = set()
    for seed, threads in (("0", "1"), ("77", "2")):
        out = tmp_path / seed
        env = {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        finished_by({"scenario": "friendship_paradox", "call": call, "out": str(out)}, **env)
        digests.add(sw.load_run(out).digest)
    assert len(digests) == 1
    assert None not in digests


@pytest.mark.parametrize("steps, rows", [(1, 500_000), (2, 500_000), (50, 1), (50, 60)])
def test_seal_cadence_is_not_in_the_digest(
    scenario: str, once: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, rows: int
) -> None:
    monkeypatch.setattr(store, "SEAL_STEPS", steps)
    monkeypatch.setattr(store, "SEAL_ROWS", rows)
    run = sw.run(scenario, seed=3, steps=STEPS, out=tmp_path / "run")
    assert len(run.manifest["segments"]) > len(once.manifest["segments"])
    assert_same_run(run, once)
    assert run.verify(again=False)


def test_a_callback_that_only_looks_changes_nothing(scenario: str, once: Run, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    run = sw.run(
        scenario, seed=3, steps=STEPS, out=tmp_path / "run", progress=lambda t, n, metrics: seen.append((t, n))
    )
    assert seen == [(t, STEPS) for t in range(STEPS + 1)]
    assert_same_run(run, once)


def test_a_callback_that_writes_into_its_metrics_changes_nothing(scenario: str, once: Run, tmp_path: Path) -> None:
    def tidy(t: int, n: int, metrics: Any) -> None:
        metrics["step"] = t
        metrics.pop("grain", None)

    assert_same_run(sw.run(scenario, seed=3, steps=STEPS, out=tmp_path / "run", progress=tidy), once)


def test_an_observer_more_changes_what_was_measured_and_nothing_else(scenario: str, once: Run, tmp_path: Path) -> None:
    names = ["density", "components", "clustering"]
    run = sw.run(scenario, seed=3, steps=STEPS, out=tmp_path / "run", observers=names)
    ours, theirs = run.manifest["parts"], once.manifest["parts"]
    assert (ours["events"], ours["state"]) == (theirs["events"], theirs["state"])
    assert ours["metrics"] != theirs["metrics"]
    assert run.digest != once.digest
    assert_frame_equal(run.metrics.select(once.metrics.columns), once.metrics)


def test_recording_less_changes_what_is_recorded_and_not_what_happens(scenario: str, once: Run, tmp_path: Path) -> None:
    run = sw.run(scenario, seed=3, steps=STEPS, out=tmp_path / "run", state_every=0, record_events=False)
    assert run.events.is_empty()
    assert sorted(set(run.states["step"].to_list())) == [0, STEPS]
    assert_frame_equal(run.state(), once.state())
    assert_frame_equal(run.ties, once.ties)
    assert_frame_equal(run.metrics, once.metrics)
    assert run.verify()


def test_the_digest_is_no_part_of_the_clock(once: Run) -> None:
    """Started, ended and seconds are in the manifest; of the recorded metrics none is a time."""
    assert {"started", "ended", "seconds"} <= set(once.manifest)
    assert not {"started", "ended", "seconds"} & set(once.metrics.columns)
    assert len(json.dumps(once.manifest["parts"])) > 3 * 64


@pytest.mark.slow
def test_a_set_among_a_models_reporters_is_the_same_text_in_any_process(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(
        "import mesa\n"
        "class Plain(mesa.Model):\n"
        "    def __init__(self, rng=None):\n"
        "        super().__init__(rng=rng)\n"
        "        words = {'ant', 'bee', 'cat', 'dog', 'eel'}\n"
        "        self.datacollector = mesa.DataCollector(model_reporters={'words': lambda m: words})\n"
        "    def step(self):\n"
        "        self.datacollector.collect(self)\n"
    )
    digests = set()
    for seed in ("1", "2"):
        out = tmp_path / seed
        order = {"scenario": str(tmp_path / "plain.py"), "call": {"steps": 2}, "out": str(out)}
        finished_by(order, PYTHONHASHSEED=seed)
        digests.add(sw.load_run(out).digest)
    assert len(digests) == 1

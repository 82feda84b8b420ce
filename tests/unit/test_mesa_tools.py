"""Mesa's own tools on a simworld scenario: the batch runner and its reporters.

``mesa.batch_run`` sets the start method of the whole process to spawn, so it runs in processes of its own here; a
spawned worker imports the main module again, which must therefore be a file with a guard.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOWN = '''
import json
import sys
import warnings

warnings.simplefilter("error")

import mesa
import simworld as sw


class Give(sw.Decision):
    amount: int = sw.field(doc="Gift.", ge=0, le=3)


class Person(sw.Agent):
    wealth: int = 10


class Town(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(5, ge=1, doc="Agents.")
        gift: int = sw.field(1, ge=0, doc="Largest gift.")
        stop_at: int = sw.field(99, doc="Last step.")

    agent_classes = (Person,)
    policies = {"rules": {Give: lambda persona, seen, memory, rng: rng.integers(0, seen + 1)}}

    def step(self):
        answers = self.decide(Give, None, lambda agent: self.params.gift)
        self.table["wealth"] -= answers.column("amount", refused=0)

    def finished(self):
        return self.t >= self.params.stop_at

    def metrics(self):
        return {"total": int(self.column("wealth").sum())}


class Watched(Town):
    """With a collector of its own: agents' columns beside the model's."""

    def __init__(self, **named):
        super().__init__(**named)
        self.datacollector = mesa.DataCollector(
            model_reporters={"n": "n_agents"}, agent_reporters={"wealth": "wealth", "rich": lambda a: a.wealth > 8}
        )

    def step(self):
        super().step()
        self.datacollector.collect(self)


if __name__ == "__main__":
    how = json.loads(sys.argv[1])
    rows = mesa.batch_run({"Town": Town, "Watched": Watched}[how.pop("cls")], display_progress=False, **how)
    print(json.dumps(sorted(rows, key=lambda r: (r["RunId"], r["Step"], r.get("AgentID", 0)))))
'''


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mesa") / "town.py"
    path.write_text(TOWN)
    return path


def batch(town: Path, **how: Any) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(town), json.dumps(how)],
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_batch_run_sweeps_parameters_and_seeds(town: Path) -> None:
    rows = batch(town, cls="Town", parameters={"gift": [0, 3], "n_agents": 6}, rng=[1, 2], max_steps=4)
    assert len(rows) == 4
    found = {(r["gift"], r["rng"]): r["total"] for r in rows}
    assert found[0, 1] == found[0, 2] == 60
    assert found[3, 1] != found[3, 2]
    assert all(r["Step"] == 4 and r["n_agents"] == 6 for r in rows)


@pytest.mark.slow
def test_batch_run_in_two_processes_is_batch_run_in_one(town: Path) -> None:
    how: dict[str, Any] = {
        "cls": "Town", "parameters": {"gift": [1, 2, 3]}, "rng": [5, 6], "max_steps": 3, "data_collection_period": 1,
    }  # fmt: skip
    rows = batch(town, number_processes=2, **how)
    assert rows == batch(town, number_processes=1, **how)
    assert [r["Step"] for r in rows] == [1, 2, 3] * 6


@pytest.mark.slow
def test_batch_run_collects_agents_and_stops_when_the_world_does(town: Path) -> None:
    rows = batch(
        town, cls="Watched", parameters={"stop_at": 2, "gift": 3}, rng=[1], max_steps=50, data_collection_period=1
    )
    assert {r["Step"] for r in rows} == {1, 2}
    last = [r for r in rows if r["Step"] == 2]
    assert [r["AgentID"] for r in last] == [0, 1, 2, 3, 4]
    assert all(r["rich"] == (r["wealth"] > 8) and r["n"] == 5 for r in rows)
    assert sum(r["wealth"] for r in last) < 50


@pytest.mark.slow
def test_importing_simworld_does_not_set_the_start_method() -> None:
    """Trap: ``import mesa`` once set multiprocessing to spawn for everybody; our import must not, nor load Mesa."""
    code = (
        "import multiprocessing, sys, simworld\n"
        "assert multiprocessing.get_start_method(allow_none=True) is None\n"
        "assert 'mesa' not in sys.modules\n"
        "simworld.World\n"
        "print(multiprocessing.get_start_method(allow_none=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"


def test_the_start_method_of_this_process_is_nobodys_business() -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    from simworld.world import World

    World(rng=1).step()
    assert multiprocessing.get_start_method(allow_none=True) == before

"""The clock: steps under Mesa's own drivers, events between steps, the collector, the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mesa
import numpy as np
import pytest

import simworld as sw
from simworld.world import World


class Person(sw.Agent):
    wealth: int = 1


class Town(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(4, ge=0, doc="Agents.")
        stop_at: int = sw.field(99, doc="Last step.")

    agent_classes = (Person,)

    def setup(self) -> None:
        self.told: list[Any] = [("setup", self.t)]

    def step(self) -> None:
        self.told.append(("step", self.t, self.steps, self.time))
        self.table["wealth"] += 1
        self.emit_many("earn", agent=self.ids)

    def finished(self) -> bool:
        return self.t >= self.params.stop_at

    def metrics(self) -> Mapping[str, float]:
        return {"total": float(self.column("wealth").sum()), "earned": float(self.happened.get("earn", 0))}


def test_time_is_completed_steps_and_within_a_step_its_number() -> None:
    town = Town(rng=1)
    assert (town.t, town.time, town.steps) == (0, 0.0, 0)
    town.step()
    town.step()
    assert town.told == [("setup", 0), ("step", 1, 1, 1.0), ("step", 2, 2, 2.0)]
    assert (town.t, town.time, town.steps) == (2, 2.0, 2)


@pytest.mark.parametrize(
    "drive", [lambda w: w.run_for(5), lambda w: w.run_until(5), lambda w: [w.step() for _ in range(5)]]
)
def test_all_of_mesas_drivers_take_the_same_steps(drive: Any) -> None:
    town = Town(rng=1)
    drive(town)
    assert [s[1] for s in town.told[1:]] == [1, 2, 3, 4, 5]
    assert town.table["wealth"].tolist() == [6] * 4


def test_the_public_run_runs_to_its_end() -> None:
    """Trap: a world class whose public ``run()`` raises because its tests call a private step."""
    town = Town(rng=1, stop_at=3)
    town.run_model()
    assert (town.t, town.running) == (3, False)


def test_a_world_that_stopped_can_be_stepped_on_and_one_that_stops_itself_is_heard() -> None:
    class Impatient(Town):
        def step(self) -> None:
            if self.t == 2:
                self.running = False

    town = Impatient(rng=1)
    town.run_model()
    assert town.t == 2
    town.step()
    assert town.t == 3


def test_a_step_that_fails_is_heard() -> None:
    class Broken(Town):
        def step(self) -> None:
            raise ValueError("the bank is empty")

    with pytest.raises(ValueError, match="the bank is empty"):
        Broken(rng=1).step()


def test_a_fraction_of_a_step_is_no_step() -> None:
    town = Town(rng=1)
    town.run_for(0.5)
    assert (town.t, town.time, len(town.told)) == (0, 0.5, 1)
    town.run_for(0.75)
    assert (town.t, town.time, len(town.told)) == (1, 1.25, 2)
    town.run_until(3)
    assert (town.t, [s[1] for s in town.told[1:]]) == (3, [1, 2, 3])


def test_scheduled_events_come_between_the_steps_in_time() -> None:
    town = Town(rng=1)

    def shock() -> None:
        town.told.append(("shock", town.t, town.time))
        town.table["wealth"] = 0
        town.emit("shock")

    town.schedule_event(shock, at=1.5)
    town.schedule_event(shock, at=3.0)
    town.run_for(3)
    assert [entry[0] for entry in town.told] == ["setup", "step", "shock", "step", "step", "shock"]
    assert town.told[2] == ("shock", 1, 1.5)
    assert town.table["wealth"].tolist() == [0] * 4


def test_a_shock_before_a_step_is_an_event_of_the_record() -> None:
    town = Town(rng=1)
    town.drain()

    def shock() -> None:
        town.emit("shock")

    town.schedule_event(shock, at=1.5)
    town.step()
    town.drain()
    town.step()
    assert [chunk.columns["kind"] for chunk in town.drain().events] == [("shock",), "earn"]


def test_unrecorded_steps_do_not_pile_up() -> None:
    """Memory: without a recorder, what happened is forgotten when the next step begins."""
    town = Town(rng=1)
    for _ in range(50):
        town.step()
        town.graph.strengthen(0, 1)
    assert dict(town.happened) == {"earn": 4}
    record = town.drain()
    assert sum(c.n for c in record.events) == 4
    assert len(record.ties) == 1


def test_mesas_generators_are_keyed_by_seed_and_step() -> None:
    """What an agent draws Mesa's way in step t does not depend on what was drawn in the steps before."""

    def drawn(greedy: bool) -> list[Any]:
        town = Town(rng=7)
        out = []
        for _ in range(3):
            town.step()
            out.append((town.random.random(), float(town.rng.random()), town.agents[0].random.random()))
            if greedy:
                [town.random.random() for _ in range(100)]
                town.rng.random(100)
        return out

    assert drawn(False) == drawn(True)
    assert len({x for turn in drawn(False) for x in turn}) == 9


# -- the collector --------------------------------------------------------------------------------------------------


def test_a_worlds_metrics_are_collected_at_every_step() -> None:
    town = Town(rng=1)
    town.run_for(3)
    frame = town.datacollector.get_model_vars_dataframe()
    assert frame["total"].tolist() == [8.0, 12.0, 16.0]
    assert frame["earned"].tolist() == [4.0, 4.0, 4.0]


def test_a_collector_of_ones_own_is_ones_own() -> None:
    town = Town(rng=1)
    town.datacollector = mesa.DataCollector(
        model_reporters={"n": "n_agents", "richest": lambda m: m.agents.agg("wealth", max)},
        agent_reporters={"wealth": "wealth", "double": lambda a: 2 * a.wealth},
        agenttype_reporters={Person: {"w": "wealth"}},
    )
    for _ in range(2):
        town.step()
        town.datacollector.collect(town)
    town.agents[1].remove()
    town.step()
    town.datacollector.collect(town)
    assert town.datacollector.get_model_vars_dataframe()["richest"].tolist() == [2, 3, 4]
    assert town.datacollector.get_model_vars_dataframe()["n"].tolist() == [4, 4, 3]
    agents = town.datacollector.get_agent_vars_dataframe()
    assert agents.loc[3.0]["double"].to_dict() == {0: 8, 2: 8, 3: 8}
    assert town.datacollector.get_agenttype_vars_dataframe(Person).loc[1.0]["w"].tolist() == [2] * 4


def test_a_collector_made_in_setup_is_kept() -> None:
    class Watched(Town):
        def setup(self) -> None:
            super().setup()
            self.datacollector = mesa.DataCollector({"n": "n_agents"}, {"wealth": "wealth"})

        def step(self) -> None:
            super().step()
            self.datacollector.collect(self)

    town = Watched(rng=1)
    town.run_for(2)
    assert "n" in town.datacollector.model_vars
    assert len(town.datacollector.get_agent_vars_dataframe()) == 8


def test_metrics_without_agents_or_names_are_no_fault() -> None:
    world = World(rng=1)
    world.run_for(2)
    assert world.datacollector.model_vars == {}


# -- what an observer reads -----------------------------------------------------------------------------------------


def test_observers_see_the_living_only() -> None:
    town = Town(rng=1, graph="cycle_graph", n_agents=5)
    assert town.adjacency().sum() == 10
    town.retire(2)
    assert town.adjacency().toarray().tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 0]]
    town.table["wealth"] = [5, 6, 7, 8, 9]
    assert town.column("wealth").tolist() == [5, 6, 8, 9]
    assert town.tie_kinds == ("tie",)
    assert np.array_equal(town.ids, [0, 1, 3, 4])

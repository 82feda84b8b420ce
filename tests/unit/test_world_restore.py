"""Recording and restoring: a society put back at step t is the society that was there, and goes on as it did."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.world import StepRecord, TieChanges, World


class Person(sw.Agent):
    wealth: int = 1


class Town(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(4, ge=0, doc="Agents.")

    class Globals(sw.Globals):
        best: float = -math.inf
        shocks: int = 0
        seen: dict[int, list[str]] = {}
        pair: tuple[int, ...] = ()

    agent_classes = (Person,)


class Tape:
    """Keeps what a world hands over, and puts a fresh world where the tape ends."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.records: list[StepRecord] = [world.drain()]

    def run(self, steps: int) -> Tape:
        for _ in range(steps):
            self.world.step()
            self.records.append(self.world.drain())
        return self

    def put(self, fresh: World, t: int) -> World:
        tables: dict[str, dict[str, Any]] = {}
        for record in self.records[: t + 1]:
            for name, (rows, columns) in record.tables.items():
                table = tables.setdefault(name, {c: np.empty(0, v.dtype) for c, v in columns.items()})
                for c, values in columns.items():
                    size = max(len(table[c]), int(rows.max()) + 1 if len(rows) else 0)
                    table[c] = np.concatenate([table[c], np.zeros(size - len(table[c]), table[c].dtype)])
                    table[c][rows] = values
        ties = TieChanges.concat([r.ties for r in self.records[1 : t + 1]])
        fresh.restore(t, tables, ties, self.records[t].globals)
        return fresh


def restored(make: Callable[[], World], t: int) -> tuple[World, World]:
    """A world stepped to t under record, and a fresh one put there."""
    tape = Tape(make()).run(t)
    fresh = tape.put(make(), t)
    fresh.drain()
    return tape.world, fresh


def test_nothing_handed_over_is_alive() -> None:
    """Trap: a checkpoint that aliases the live state, so that two forks share memory."""
    tape = Tape(Town(rng=1, graph="cycle_graph:n=4")).run(1)
    world = tape.world
    world.globals.seen[1] = ["a"]
    before = repr(tape.records)
    fork, other = (tape.put(Town(rng=1, graph="cycle_graph:n=4"), 1) for _ in range(2))
    for one in (world, fork):
        one.table["wealth"] = 99
        one.graph.add(0, 2)
        one.graph.remove(0, 1)
        one.globals.seen[7] = ["x"]
        one.retire(3)
        one.emit("noise")
    assert repr(tape.records) == before
    assert other.table["wealth"].tolist() == [1] * 4
    assert other.globals.seen == {}
    assert other.graph.n_ties() == 4


def test_draining_again_hands_over_nothing() -> None:
    world = Town(rng=1, graph="cycle_graph:n=4")
    first, second = world.drain(), world.drain()
    assert (len(first.ties), len(first.tables["agents"][0])) == (4, 4)
    assert (len(second.ties), len(second.tables["agents"][0]), second.events) == (0, 0, [])
    world.table["wealth"][2] = 5
    third = world.drain(state=False)
    assert third.tables == {}
    rows, columns = world.drain().tables["agents"]
    assert (rows.tolist(), columns["wealth"].tolist()) == ([2], [5])


@pytest.mark.parametrize("best", [0.1 + 0.2, -0.0, 5e-324, 1e308, math.inf, -math.inf, math.nan])
def test_globals_come_back_to_the_bit(best: float) -> None:
    def make() -> World:
        world = Town(rng=1)
        world.globals.best = best
        world.globals.seen = {3: ["é\n", '"']}
        world.globals.pair = (2**70, -1)
        return world

    tape = Tape(make())
    fresh = tape.put(Town(rng=1), 0)
    assert fresh.globals.best.hex() == best.hex()
    assert (fresh.globals.seen, fresh.globals.pair) == ({3: ["é\n", '"']}, (2**70, -1))


class Swinging(Town):
    """Finished at even steps, as seen from outside; Mesa's ``running`` goes its own way too."""

    def step(self) -> None:
        if self.t == 3:
            self.running = False

    def finished(self) -> bool:
        return self.t % 2 == 0


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_whether_it_runs_is_restored(t: int) -> None:
    world, fresh = restored(lambda: Swinging(rng=1), t)
    assert world.running == fresh.running == (t < 2)


class Shocked(Town):
    """Schedules in setup what comes at 2, and in the step at 3 what comes at 4."""

    def setup(self) -> None:
        self.schedule_event(self.shock, at=2)

    def shock(self) -> None:
        self.globals.shocks += 1
        self.table["wealth"] += 10


@pytest.mark.parametrize("t", [0, 1, 2, 3, 5])
def test_what_is_over_does_not_happen_again(t: int) -> None:
    """Trap: a resume that applies a step's effects twice."""
    world, fresh = restored(lambda: Shocked(rng=1), t)
    assert fresh.globals == world.globals
    for _ in range(3):
        world.step()
        fresh.step()
        assert (fresh.t, fresh.time) == (world.t, world.time)
    assert fresh.globals.shocks == world.globals.shocks == 1
    assert fresh.table["wealth"].tolist() == world.table["wealth"].tolist()


class Caching(Town):
    def setup(self) -> None:
        self.total = int(self.table["wealth"].sum())

    def step(self) -> None:
        self.table["wealth"] += self.t
        self.total = int(self.table["wealth"].sum())

    def restored(self) -> None:
        self.setup()


def test_caches_are_rebuilt_from_what_was_restored() -> None:
    world, fresh = restored(lambda: Caching(rng=1), 3)
    assert fresh.total == world.total == 4 * 7


def test_the_clock_goes_on_where_it_was() -> None:
    world, fresh = restored(lambda: Town(rng=1), 3)
    assert (fresh.t, fresh.steps, fresh.time) == (3, 3, 3.0)
    fresh.run_for(2)
    world.run_for(2)
    assert (fresh.t, fresh.steps, fresh.time) == (world.t, world.steps, world.time) == (5, 5, 5.0)


class MesaMade(Town):
    """Makes its agents Mesa's way, so that handles exist before anything is restored."""

    def populate(self) -> None:
        Person.create_agents(self, self.params.n_agents)

    def step(self) -> None:
        if self.t == 1:
            self.agents[1].remove()
        if self.t == 2:
            Person(self, wealth=50)
        self.agents.shuffle_do(lambda a: setattr(a, "wealth", a.wealth + self.random.randrange(10)))


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_handles_are_those_of_the_restored_agents(t: int) -> None:
    world, fresh = restored(lambda: MesaMade(rng=1), t)
    assert [(a.row, a.unique_id, a.wealth) for a in fresh.agents] == [
        (a.row, a.unique_id, a.wealth) for a in world.agents
    ]
    for one in (world, fresh):
        one.run_for(4 - t)
    assert [(a.row, a.wealth) for a in fresh.agents] == [(a.row, a.wealth) for a in world.agents]
    assert Person(fresh).unique_id == Person(world).unique_id == 5


class Salon(Town):
    with_personas = True

    def step(self) -> None:
        self.add_agents(Person, self.t % 3)


@pytest.mark.parametrize("t", [1, 2, 4, 5])
def test_latecomers_are_the_same_people_after_a_resume(t: int) -> None:
    world, fresh = restored(lambda: Salon(rng=1), t)
    assert fresh.personas == world.personas
    for one in (world, fresh):
        one.run_for(4)
    assert fresh.personas == world.personas
    assert len({p.name for p in world.personas or ()}) == world.table.n

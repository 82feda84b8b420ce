"""What every observer owes. Subclass `ObserverContract` and return your observer::

class TestMyObserver(ObserverContract):
    def observer(self):
        return MyObserver()
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, Literal

import networkx as nx
import numpy as np
import pytest

import simworld as sw
from simworld.observe import Finding, Observer, StillSociety


class Member(sw.Agent):
    wealth: float = 1.0
    mood: Literal["calm", "angry"] = "calm"
    cooperated: float = 0.0
    moves: int = 0
    payoff: float = 0.0


class SmallTown(sw.World):
    """Ties come and go, one agent leaves, events happen: enough for any observer to have something to see."""

    class Params(sw.Params):
        n_agents: int = sw.field(20, ge=0, doc="Agents.")

    agent_classes = (Member,)

    def step(self) -> None:
        rng = self.stream("ties")
        for u, v in rng.integers(0, self.table.n, (10, 2)).tolist():
            if u != v and self.table["alive"][u] and self.table["alive"][v]:
                self.graph.add(u, v)
                self.emit("meet", agent=u, target=v)
        self.table["wealth"] += rng.normal(size=self.table.n)
        plays = self.stream("games").random(self.table.n) < 0.7
        self.table["moves"] += plays
        self.table["cooperated"] += plays * self.stream("moves").random(self.table.n)
        self.table["payoff"] += plays
        if self.t == 2:
            self.retire(3)


class SmallTownOneWay(SmallTown):
    directed = True


def games(n: int) -> dict[str, Any]:
    """Return the columns that observers of games read, of n agents; the first of them never had a chance."""
    at = np.arange(n)
    return {"moves": at, "cooperated": at * (at % 3) / 2.0, "payoff": 10.0 - at}


def societies() -> Iterator[tuple[str, Any]]:
    """Yield the societies an observer must bear: empty, tieless, real, with the dead among the living."""
    for directed in (False, True):
        make: Any = nx.DiGraph if directed else nx.Graph
        for n in (0, 1, 2):
            yield (
                f"{n} nodes, directed={directed}",
                StillSociety(nx.empty_graph(n, create_using=make), directed=directed, columns=games(n)),
            )
        tieless = nx.empty_graph(7, create_using=make)
        yield f"tieless, directed={directed}", StillSociety(tieless, directed=directed, columns=games(7))
        complete = nx.complete_graph(6, create_using=make)
        yield f"complete, directed={directed}", StillSociety(complete, directed=directed, columns=games(6))
    traits = {"A": np.sin(np.arange(34.0))}
    yield (
        "karate",
        StillSociety(nx.karate_club_graph(), directed=False, happened={"meet": 3}, columns=games(34), traits=traits),
    )
    yield "random arcs", StillSociety(nx.gnp_random_graph(40, 0.1, seed=1, directed=True), columns=games(40))
    for cls in (SmallTown, SmallTownOneWay):
        world = cls(rng=4)
        yield f"{cls.__name__} at 0", world
        world = cls(rng=4)
        world.run_for(4)
        yield f"{cls.__name__} at 4", world


SOCIETIES = [name for name, _ in societies()]


def state(society: Any) -> Any:
    """Return everything about a society that an observer might have changed."""
    kinds = [society.adjacency(kind) for kind in society.tie_kinds]
    ties = [(m.shape, m.indptr.tolist(), m.indices.tolist(), m.data.tolist()) for m in kinds]
    more: Any = ()
    if isinstance(society, sw.World):
        columns = {name: column.tolist() for name, column in society.table.columns.items()}
        more = (columns, society.random.getstate(), str(society.rng.bit_generator.state), society.globals)
    return society.t, society.n_agents, ties, dict(society.happened), more, random.getstate()


class ObserverContract:
    """The obligations; ``steady`` is one that an observer may not claim."""

    @property
    def steady(self) -> bool:
        """Whether a metric that was there once is there at every step after."""
        return True

    def observer(self) -> Observer:
        """Return the observer under test, fresh."""
        raise NotImplementedError

    @pytest.fixture(params=SOCIETIES)
    def society(self, request: pytest.FixtureRequest) -> Any:
        return dict(societies())[request.param]

    def test_it_is_an_observer_with_a_name(self) -> None:
        observer = self.observer()
        assert isinstance(observer, Observer)
        assert observer.name.isidentifier()

    def test_metrics_are_plain_numbers_under_short_names(self, society: Any) -> None:
        metrics = self.observer().observe(society)
        for name, value in metrics.items():
            assert isinstance(name, str)
            assert name == name.strip() != ""
            assert isinstance(value, int | float), f"{name} is a {type(value).__name__}"

    def test_looking_changes_nothing(self, society: Any) -> None:
        before = state(society)
        observer = self.observer()
        observer.observe(society)
        observer.conclude(society)
        assert state(society) == before

    def test_looking_again_finds_the_same(self, society: Any) -> None:
        """Chance comes from the society's named streams, so it repeats, and nothing depends on who looked before."""
        observer = self.observer()
        first, found = dict(observer.observe(society)), list(observer.conclude(society))
        for again in (observer, self.observer()):
            assert repr(dict(again.observe(society))) == repr(first)
            assert repr(list(again.conclude(society))) == repr(found)

    def test_metrics_are_the_same_ones_at_every_step(self) -> None:
        for cls in (SmallTown, SmallTownOneWay) if self.steady else ():
            world = cls(rng=4)
            observer = self.observer()
            names = list(observer.observe(world))
            for _ in range(4):
                world.step()
                now = list(observer.observe(world))
                assert set(names) <= set(now), "a metric that was there is gone"
                names = now

    def test_findings_are_typed_and_their_numbers_fit(self, society: Any) -> None:
        observer = self.observer()
        for finding in observer.conclude(society):
            assert isinstance(finding, Finding)
            assert finding.observer == observer.name
            assert finding.n >= 0
            assert math.isnan(finding.p_value) or 0 < finding.p_value <= 1
            assert math.isnan(finding.null_sd) or finding.null_sd >= 0
            assert math.isnan(finding.null_mean) == math.isnan(finding.gap) or math.isnan(finding.value)
            if not math.isnan(finding.gap):
                assert math.isclose(finding.gap, finding.value - finding.null_mean, rel_tol=1e-12, abs_tol=1e-12)
            if not math.isnan(finding.null_mean):
                assert finding.null, "a null without words"

    def test_a_silent_observer_changes_nothing(self) -> None:
        def told(watched: bool) -> Any:
            world = SmallTown(rng=9)
            observer = self.observer()
            for _ in range(4):
                world.step()
                if watched:
                    observer.observe(world)
            if watched:
                observer.conclude(world)
            return state(world)

        assert told(True) == told(False)

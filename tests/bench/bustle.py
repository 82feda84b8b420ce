"""Bustle: a large society whose ties, columns and talk change in every step; what `tests.bench.viewer` looks at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import simworld as sw

CHANGED = 0.01
"""Share of ties that are replaced in a step."""
MOVED = 0.05
"""Share of agents whose columns change in a step."""
SAID = 0.01
"""Messages an agent and step."""


class Person(sw.Agent):
    wealth: float = 0.0
    camp: int = 0


class Bustle(sw.World):
    """What does a viewer show of a society that never rests?"""

    class Params(sw.Params):
        n_agents: int = sw.field(1000, ge=2, unit="agents", doc="Number of people.")
        n_ties: int = sw.field(3000, ge=1, unit="ties", doc="Ties at the start; their number hardly changes.")

    agent_classes = (Person,)
    directed = True
    ties = ("follows",)
    policies = {"rules": {}}

    def setup(self) -> None:
        rng, n = self.chance.stream("start"), self.table.n
        # Camps of people who stand in a row: most ties lead to somebody near, as in a society with places.
        sources = rng.integers(0, n, self.params.n_ties)
        self.graph.add_many(sources, self.near(rng, sources))
        self.table["camp"][:] = np.arange(n) * 8 // n
        self.table["wealth"][:] = rng.random(n)

    def near(self, rng: np.random.Generator, sources: np.ndarray) -> np.ndarray:
        """Draw somebody else for each: nine in ten within fifty places."""
        n = self.table.n
        step = np.where(
            rng.random(len(sources)) < 0.9, rng.integers(1, 51, len(sources)), rng.integers(1, n, len(sources))
        )
        return (sources + 1 + step % (n - 1)) % n

    def step(self) -> None:
        rng, n = self.chance.stream("step", self.t), self.table.n
        sources, targets, _ = self.graph.edges()
        gone = rng.choice(len(sources), max(1, int(CHANGED * len(sources))), replace=False)
        self.graph.remove_many(sources[gone], targets[gone])
        # Some are drawn twice, or were there already: as many more keep the number up.
        new = rng.choice(sources, max(len(gone), self.params.n_ties - len(sources) + len(gone)))
        self.graph.add_many(new, self.near(rng, new))
        moved = rng.choice(n, max(1, int(MOVED * n)), replace=False)
        self.table["wealth"][moved] += rng.normal(0.0, 0.1, len(moved))
        self.table["camp"][moved[: len(moved) // 10 + 1]] = rng.integers(0, 8, len(moved) // 10 + 1)
        speakers = rng.choice(n, max(1, int(SAID * n)), replace=False)
        self.emit_many("say", agent=speakers, target=self.near(rng, speakers), value=rng.random(len(speakers)))

    def metrics(self) -> Mapping[str, float]:
        return {"wealth": float(self.table["wealth"].mean()), "ties": float(self.graph.n_ties())}

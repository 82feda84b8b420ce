"""An opinion model written agent by agent: adopt with probability 0.1 + 0.8 × share of neighbours who hold it.

As a scenario whose policy is an ordinary Python function of one agent, and in `opinion_mesa` as a plain Mesa model.
Six columns are kept: opinion, exposure (sum of shares seen), changes, age, streak (steps since the last change) and
last_share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

import simworld as sw

COLUMNS = ("opinion", "exposure", "changes", "age", "streak", "last_share")


class Adopt(sw.Decision):
    """Whether to hold the opinion next."""

    opinion: bool


class Person(sw.Agent):
    """Somebody who may hold the opinion."""

    opinion: bool = False
    exposure: float = 0.0
    changes: int = 0
    age: int = 0
    streak: int = 0
    last_share: float = 0.0


def adopt(persona: Any, seen: Any, memory: Any, rng: Any) -> bool:
    """Adopt more likely, the more neighbours have."""
    return rng.random() < 0.1 + 0.8 * seen.share


class Opinion(sw.World):
    """The opinion model; everybody decides on the same snapshot."""

    class Params(sw.Params):
        n_agents: int = 1000

    agent_classes = (Person,)
    policies = {"rules": {Adopt: adopt}}

    def setup(self) -> None:
        self.table["opinion"][:] = self.chance.stream("start").random(self.table.n) < 0.5
        self.inverse = 1.0 / np.maximum(self.graph.out_degrees(), 1)

    def step(self) -> None:
        t = self.table
        share = (self.graph.csr() @ t["opinion"].astype(np.float64)) * self.inverse
        new = self.decide(Adopt, None, {"share": share}).column("opinion", refused=False)
        changed = new != t["opinion"]
        t["opinion"][:] = new
        t["exposure"] += share
        t["changes"] += changed
        t["age"] += 1
        t["streak"] += 1
        t["streak"][changed] = 0
        t["last_share"][:] = share

    def metrics(self) -> Mapping[str, float]:
        return {"share": float(np.count_nonzero(self.table["opinion"])) / self.table.n}


def named_ties(n: int, names: int = 5, seed: int = 2) -> Any:
    """Return a network in which everybody named five others: mean degree about ten, nobody alone; csr of ones."""
    rng = np.random.default_rng(seed)
    u = np.repeat(np.arange(n), names)
    v = (u + rng.integers(1, n, len(u))) % n
    once = sparse.csr_array((np.ones(len(u)), (u, v)), shape=(n, n))
    both = (once + once.T).tocsr()
    both.data[:] = 1.0
    return both

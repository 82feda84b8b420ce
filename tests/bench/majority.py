"""The majority model with noise (Liggett 1985; de Oliveira 1992, doi:10.1007/BF01060069): everybody at once takes the
opinion of most neighbours, keeps its own on a tie, and with probability 1 % does the opposite.

As a scenario whose policy is vectorised over columns, and as the same update in plain NumPy and SciPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse

import simworld as sw

NOISE = 0.01


class Adopt(sw.Decision):
    """Which opinion to hold next."""

    opinion: bool


class Person(sw.Agent):
    """Somebody with one of two opinions."""

    opinion: bool = False


@sw.vectorised
def majority(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, np.ndarray]:
    """Follow most neighbours; err with probability `NOISE`."""
    return {"opinion": np.where(seen.share == 0.5, seen.own, seen.share > 0.5) ^ (rng.random() < NOISE)}


class Majority(sw.World):
    """The majority model; every change of opinion is an event."""

    class Params(sw.Params):
        n_agents: int = 1000
        start: float = 0.5
        """Share who hold the opinion at first: from 0.5 the two sides struggle for hundreds of steps, and a fifth of
        all agents changes its mind in one; from 0.8 one has won soon, and noise is all that happens."""

    agent_classes = (Person,)
    policies = {"rules": {Adopt: majority}}

    def setup(self) -> None:
        self.table["opinion"][:] = self.chance.stream("start").random(self.table.n) < self.params.start
        self.inverse = inverse_degrees(self.graph.csr())

    def step(self) -> None:
        own = self.table["opinion"]
        share = (self.graph.csr() @ own.astype(np.float64)) * self.inverse
        answers = self.decide(Adopt, None, {"share": share, "own": own})
        new = answers.column("opinion", refused=False)
        flipped = np.flatnonzero(new != own)
        own[:] = new
        self.emit_many("flip", agent=flipped, value=new[flipped])

    def metrics(self) -> Mapping[str, float]:
        return {"share": float(np.count_nonzero(self.table["opinion"])) / self.table.n}


class PlainMajority:
    """The same update and nothing else: one sparse product, one column of Philox uniforms, one comparison."""

    def __init__(self, ties: Any, seed: int) -> None:
        self.ties = ties
        self.inverse = inverse_degrees(ties)
        self.seed = seed
        self.t = 0
        self.opinion = self.generator().random(ties.shape[0]) < 0.5

    def generator(self) -> np.random.Generator:
        """Return the generator of this step: counter-based and keyed, as simworld's streams are."""
        return np.random.Generator(np.random.Philox(key=[self.seed, self.t]))

    def step(self, uniforms: Callable[[], np.ndarray] | None = None) -> None:
        """Move one step on, with uniforms of the caller's when a comparison needs them."""
        self.t += 1
        own = self.opinion
        share = (self.ties @ own.astype(np.float64)) * self.inverse
        u = self.generator().random(len(own)) if uniforms is None else uniforms()
        own[:] = np.where(share == 0.5, own, share > 0.5) ^ (u < NOISE)


def inverse_degrees(ties: Any) -> np.ndarray:
    """Return 1 / degree of every node; 1 for a node without ties."""
    return 1.0 / np.maximum(np.diff(ties.indptr), 1)


def random_ties(n: int, mean_degree: int = 6, seed: int = 1) -> Any:
    """Return a random undirected network of this mean degree (Erdős and Rényi), as a csr array of ones."""
    rng = np.random.default_rng(seed)
    u, v = rng.integers(0, n, (2, n * mean_degree // 2))
    apart = u != v
    once = sparse.csr_array((np.ones(apart.sum()), (u[apart], v[apart])), shape=(n, n))
    return compact(once + once.T)


def compact(ties: Any) -> Any:
    """Return the ties as a sorted csr array of ones with 32-bit indices, the faster ones for the plain product."""
    ties = ties.tocsr()
    ties.sort_indices()
    n_ties = len(ties.indices)
    return sparse.csr_array(
        (np.ones(n_ties), ties.indices.astype(np.int32), ties.indptr.astype(np.int32)), shape=ties.shape
    )

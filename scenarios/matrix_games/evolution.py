"""Who takes over whose strategy. Every component of the graph is a population of its own; all move on at once.

Each function returns who learns and from whom, two arrays of agents of the same length. Chance comes as ``luck``, which
gives agents their next uniform numbers; a population draws by its first agent. So a tie that is cut, or a population
that falls apart, moves nobody else's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

type Ids = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]
type Pairs = tuple[Ids, Ids]
type Luck = Callable[[Ids], Floats]
"""Uniform numbers in [0, 1) of these agents, new ones at every call."""


class Populations:
    """The components of the graph, and its ties as arrays."""

    def __init__(self, ties: Any) -> None:
        from scipy.sparse.csgraph import connected_components

        self.n, self.labels = connected_components(ties, directed=False)
        self.members: Ids = np.argsort(self.labels, kind="stable")
        """Agents, population by population."""
        self.sizes: Ids = np.bincount(self.labels, minlength=self.n)
        self.starts: Ids = np.cumsum(self.sizes) - self.sizes
        self.first: Ids = self.members[self.starts]
        """The lowest agent of each population."""
        self.degrees: Ids = np.diff(ties.indptr).astype(np.int64)
        self.first_arc: Ids = ties.indptr[:-1].astype(np.int64)
        self.neighbours: Ids = ties.indices.astype(np.int64)

    def share_fixed(self, strategy: npt.NDArray[Any]) -> float:
        """Return the share of populations of one strategy."""
        ordered = strategy[self.members]
        return float(np.mean(np.minimum.reduceat(ordered, self.starts) == np.maximum.reduceat(ordered, self.starts)))


def chosen(weights: Floats, starts: Ids, sizes: Ids, u: Floats) -> Ids:
    """Return one position of each run ``starts … starts + sizes``, with probability proportional to its weight.

    A run of no weight at all chooses uniformly. ``u`` is uniform in [0, 1), one number a run; no run is empty.
    """
    total = np.add.reduceat(weights, starts)
    flat = np.repeat(total <= 0, sizes)
    if flat.any():
        weights = np.where(flat, 1.0, weights)
        total = np.add.reduceat(weights, starts)
    sums = np.cumsum(weights)
    before = sums[starts] - weights[starts]
    at = np.searchsorted(sums, before + u * total, side="right")
    return np.clip(at, starts, starts + sizes - 1)


def neighbour(who: Ids, places: Populations, u: Floats) -> Ids:
    """Return a uniform neighbour of each, all of whom have one."""
    at = np.minimum((u * places.degrees[who]).astype(np.int64), places.degrees[who] - 1)
    return places.neighbours[places.first_arc[who] + at]


def parents(fitness: Floats, places: Populations, luck: Luck) -> Ids:
    """Return one agent of each population, chosen by fitness."""
    at = chosen(fitness[places.members], places.starts, places.sizes, luck(places.first))
    return places.members[at]


def anybody(places: Populations, luck: Luck) -> Ids:
    """Return one agent of each population, chosen uniformly."""
    return places.members[places.starts + (luck(places.first) * places.sizes).astype(np.int64)]


def moran(fitness: Floats, places: Populations, luck: Luck) -> Pairs:
    """One birth by fitness and one uniform death among all, the parent included (Moran 1958)."""
    born_of = parents(fitness, places, luck)
    return anybody(places, luck), born_of


def birth_death(fitness: Floats, places: Populations, luck: Luck) -> Pairs:
    """One birth by fitness; the offspring takes the place of a uniform neighbour (Lieberman, Hauert, Nowak 2005)."""
    born_of = parents(fitness, places, luck)
    u = luck(places.first)
    able = places.degrees[born_of] > 0
    return neighbour(born_of[able], places, u[able]), born_of[able]


def death_birth(fitness: Floats, places: Populations, luck: Luck) -> Pairs:
    """One uniform death; the neighbours compete for the place by fitness (Ohtsuki et al. 2006)."""
    dead = anybody(places, luck)
    u = luck(places.first)
    able = places.degrees[dead] > 0
    dead, u = dead[able], u[able]
    sizes = places.degrees[dead]
    starts = np.cumsum(sizes) - sizes
    arcs = np.repeat(places.first_arc[dead] - starts, sizes) + np.arange(sizes.sum())
    rivals = places.neighbours[arcs]
    return dead, rivals[chosen(fitness[rivals], starts, sizes, u)] if len(dead) else dead


def imitation(payoff: Floats, places: Populations, luck: Luck) -> Pairs:
    """Everybody takes over the strategy of its best neighbour, if that did better than itself (Nowak, May 1992).

    Among equally good neighbours one is drawn.
    """
    tied = np.flatnonzero(places.degrees)
    if not len(tied):
        return tied, tied
    starts, sizes = places.first_arc[tied], places.degrees[tied]
    theirs = payoff[places.neighbours]
    best = np.maximum.reduceat(theirs, starts)
    is_best = theirs == np.repeat(best, sizes)
    models, counts = places.neighbours[is_best], np.add.reduceat(is_best, starts, dtype=np.int64)
    pick = np.minimum((luck(tied) * counts).astype(np.int64), counts - 1)
    model = models[np.cumsum(counts) - counts + pick]
    better = best > payoff[tied]
    return tied[better], model[better]


def fermi(payoff: Floats, places: Populations, luck: Luck, beta: float) -> Pairs:
    """Everybody looks at a uniform neighbour and copies it with probability 1/(1 + exp(−β·(theirs − own))).

    Szabó, Tőke 1998, doi:10.1103/PhysRevE.58.69; everybody at once here.
    """
    tied = np.flatnonzero(places.degrees)
    model = neighbour(tied, places, luck(tied))
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-beta * (payoff[model] - payoff[tied])))
    copies = luck(tied) < p
    return tied[copies], model[copies]

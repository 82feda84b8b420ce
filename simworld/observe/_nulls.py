"""The shuffle null: permute an attribute over the nodes, keep the graph, compute again.

What remains after the shuffle is due to the graph's shape alone, so the finding is the gap between the value and the
null's mean. The p-value counts the observed arrangement among the draws and is never 0 (Phipson, Smyth 2010,
doi:10.2202/1544-6115.1585).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from simworld.errors import ParameterError
from simworld.observe._graph import Floats, Graph, adjacency
from simworld.observe._paradox import (
    Attribute,
    Hood,
    degree_attributes,
    hood,
    in_order,
    share,
    strongly_below,
    uphill,
    values,
    weakly_below,
)
from simworld.schema import Record

type Alternative = Literal["two-sided", "greater", "less"]

PERMUTATIONS = 200
"""Permutations by default; the smallest p-value is then 1/201."""

CELLS_AT_ONCE = 500_000
"""Arcs × permutations evaluated together; arbitrary, small enough to stay in a processor's cache."""

TIE = 1e-14
"""Relative difference below which a draw equals the observed value: sums taken in another order differ by as much."""


class Null(Record):
    """A value, and what it would be if the attribute had nothing to do with the graph."""

    model_config = ConfigDict(allow_inf_nan=True)

    value: float
    """The statistic as observed."""
    mean: float
    """Mean of the draws; NaN without any."""
    sd: float
    """Sample standard deviation of the draws; NaN below two."""
    low: float
    """2.5 % quantile of the draws."""
    median: float
    """Median of the draws."""
    high: float
    """97.5 % quantile of the draws."""
    p_value: float
    """In [1/(permutations + 1), 1]; NaN where value or draws are undefined."""
    permutations: int
    """Draws that gave a number."""

    @property
    def gap(self) -> float:
        """Value minus mean of the draws: the finding."""
        return self.value - self.mean


def null_of(value: float, draws: npt.ArrayLike, alternative: Alternative = "two-sided") -> Null:
    """Return the null of an observed value and its draws under the null hypothesis, shape (permutations,).

    Undefined draws (NaN) are left out. The two-sided p-value is twice the smaller one-sided one, at most 1.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ParameterError(f"alternative is 'two-sided', 'greater' or 'less', got {alternative!r}")
    d = np.asarray(draws, dtype=np.float64)
    d = d[~np.isnan(d)]
    if np.isnan(value) or not len(d):
        nan = float("nan")
        return Null(value=value, mean=nan, sd=nan, low=nan, median=nan, high=nan, p_value=nan, permutations=0)
    slack = TIE * max(1.0, abs(value))
    above = (1 + np.count_nonzero(d >= value - slack)) / (1 + len(d))
    below = (1 + np.count_nonzero(d <= value + slack)) / (1 + len(d))
    p = {"greater": above, "less": below, "two-sided": min(1.0, 2.0 * min(above, below))}[alternative]
    low, median, high = np.quantile(d, (0.025, 0.5, 0.975))
    return Null(
        value=float(value),
        mean=float(d.mean()),
        sd=float(d.std(ddof=1)) if len(d) > 1 else float("nan"),
        low=float(low),
        median=float(median),
        high=float(high),
        p_value=float(p),
        permutations=len(d),
    )


def shuffle_test(
    statistic: Callable[[npt.NDArray[Any]], Any],
    x: npt.ArrayLike,
    rng: np.random.Generator,
    permutations: int = PERMUTATIONS,
    *,
    alternative: Alternative = "two-sided",
    vectorised: bool = False,
) -> Null:
    """Test a statistic of a node attribute against random assignments of the attribute to the nodes.

    Args:
        statistic: takes an attribute like ``x`` and returns a number; with ``vectorised``, takes an array of shape
            (n, p), one assignment a column, and returns p numbers.
        x: the attribute, first axis one entry a node; shape (n,) with ``vectorised``.
        rng: the stream the permutations come from.
        permutations: how many, at least 1.
        alternative: which side counts as extreme; the draws that tie with the observed value always do.
        vectorised: see ``statistic``.

    Returns:
        The `Null`; it does not depend on ``vectorised``.

    Raises:
        ParameterError: fewer than one permutation.
    """
    a = np.asarray(x)
    if not vectorised:
        value = float(statistic(a))
        draws = np.array([float(statistic(a[order])) for order in orders(len(a), rng, permutations)])
        return null_of(value, draws, alternative)
    value = float(np.asarray(statistic(a[:, None]))[0])
    drawn = [np.asarray(statistic(a[block]), dtype=np.float64) for block in blocks(len(a), rng, permutations, len(a))]
    return null_of(value, np.concatenate(drawn), alternative)


def shuffle_tests(
    statistics: Callable[[npt.NDArray[np.int64]], Mapping[str, Floats]],
    n: int,
    rng: np.random.Generator,
    permutations: int,
    cells: int,
    alternative: Alternative = "two-sided",
) -> dict[str, Null]:
    """Test several statistics at once: one permutation of the n nodes serves all.

    Args:
        statistics: takes orders of the nodes, shape (n, p), one a column, and returns p numbers of each statistic.
        n: how many nodes.
        rng: the stream the permutations come from.
        permutations: how many, at least 1.
        cells: what one permutation costs; decides how many are evaluated together.
        alternative: as in `shuffle_test`.
    """
    observed = statistics(np.arange(n)[:, None])
    drawn: dict[str, list[Floats]] = {name: [] for name in observed}
    for block in blocks(n, rng, permutations, cells):
        for name, draws in statistics(block).items():
            drawn[name].append(draws)
    return {name: null_of(float(observed[name][0]), np.concatenate(d), alternative) for name, d in drawn.items()}


def orders(n: int, rng: np.random.Generator, permutations: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw permutations of n nodes one after another."""
    if permutations < 1:
        raise ParameterError(f"permutations is a whole number of at least 1, got {permutations!r}")
    for _ in range(permutations):
        yield rng.permutation(n)


def blocks(n: int, rng: np.random.Generator, permutations: int, cells: int) -> Iterator[npt.NDArray[np.int64]]:
    """Draw the permutations of `orders`, several at a time, as columns of shape (n, p); each costs ``cells``."""
    width = max(1, CELLS_AT_ONCE // max(cells, 1))
    held: list[npt.NDArray[np.int64]] = []
    for order in orders(n, rng, permutations):
        held.append(order)
        if len(held) == width:
            yield np.stack(held, axis=1)
            held = []
    if held:
        yield np.stack(held, axis=1)


def paradox_nulls(
    graph: Graph,
    rng: np.random.Generator,
    attributes: Mapping[str, Attribute] | None = None,
    permutations: int = PERMUTATIONS,
    *,
    neighbourhoods: tuple[str, ...] = ("out", "in"),
    alternative: Alternative = "two-sided",
) -> dict[str, Null]:
    """Test every paradox of several node attributes at once against the shuffle null.

    Args:
        graph: any graph `adjacency` reads, n nodes.
        rng: the stream the permutations come from; one permutation serves every attribute.
        attributes: name to one number a node; ``{"in": in-degree, "out": out-degree}`` when left out.
        permutations: how many.
        neighbourhoods: which sides to look at.
        alternative: as in `shuffle_test`.

    Returns:
        ``{weak|strong}_{attribute}_{neighbourhood}``, named as by `directed_paradoxes`, and ``hierarchy_{attribute}``.
    """
    a = adjacency(graph)
    n = a.shape[0]
    given = degree_attributes(a) if attributes is None else attributes
    columns = {name: values(in_order(graph, x), n) for name, x in given.items()}
    hoods = {where: hood(a, where) for where in neighbourhoods}

    def everything(order: npt.NDArray[np.int64]) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for name, x in columns.items():
            picked = x[order]
            for where, h in hoods.items():
                found[f"weak_{name}_{where}"] = _shares(weakly_below(h, picked), h)
                found[f"strong_{name}_{where}"] = _shares(strongly_below(h, picked), h)
            found[f"hierarchy_{name}"] = np.array([share(c, a.nnz) for c in uphill(a, picked)])
        return found

    return shuffle_tests(everything, n, rng, permutations, a.nnz, alternative)


def _shares(count: npt.NDArray[np.int64], h: Hood) -> Floats:
    return np.array([share(c, h.counted) for c in count])

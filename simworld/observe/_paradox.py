"""The friendship paradox: weak, strong and generalised, its exact identities, hierarchy and rare contacts.

Weak: most people have less of x than the mean of their friends (Feld 1991, doi:10.1086/229693). Strong: less than
their median friend, which shuffled attributes do not reproduce (Kooti, Hodas, Lerman 2014, arXiv:1403.7242). Directed
graphs have four forms, x in {in-degree, out-degree} by neighbourhood in {out, in} (Hodas, Kooti, Lerman 2013,
arXiv:1304.3480). Arcs count by presence, never by weight.

How strictness survives rounding: "x_u < mean" is decided as ``x_u * deg < sum`` and "x_u < median" by counting the
friends above u, so that no mean is ever formed. Whole numbers are compared exactly. Fractions are compared up to a few
units in the last place, so that 0.2 is not below the mean of 0.1 and 0.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.observe._graph import (
    Adjacency,
    Floats,
    Graph,
    Ints,
    adjacency,
    aligned,
    in_degrees,
    out_degrees,
    projection,
    sources,
)

type Neighbourhood = Literal["out", "in"]
type Form = Literal["weak", "strong"]
type Attribute = npt.ArrayLike | Mapping[Any, float]
"""One number a node: an array in the order of the graph's nodes, or a mapping from node to number."""
type Values = npt.NDArray[np.int64] | npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

LARGEST_WHOLE = 2.0**53
"""Above it a float no longer tells a whole number from the next."""

LARGEST = 1e150
"""Arbitrary bound of a fractional attribute, so that no sum overflows."""


# Neighbourhoods -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hood:
    """Everybody's neighbours, one segment a node: ``ids[starts[u]:starts[u + 1]]`` are the neighbours of u."""

    starts: npt.NDArray[Any]
    ids: npt.NDArray[Any]
    degree: Ints

    @property
    def counted(self) -> int:
        """Nodes with a neighbour: the only ones that count."""
        return int(np.count_nonzero(self.degree))


def hood(a: Adjacency, neighbourhood: str) -> Hood:
    """Return whom everybody follows (``"out"``) or who follows everybody (``"in"``)."""
    if neighbourhood not in ("out", "in"):
        raise ParameterError(f"neighbourhood is 'out' (whom u follows) or 'in' (who follows u), got {neighbourhood!r}")
    if neighbourhood == "out":
        return Hood(a.indptr, a.indices, out_degrees(a))
    back = a.tocsc()
    return Hood(back.indptr, back.indices, np.diff(back.indptr).astype(np.int64))


def in_order(graph: Graph, x: Attribute) -> npt.ArrayLike:
    """Return an attribute as an array in the order of the graph's nodes.

    Raises:
        ParameterError: a mapping without a value for a node.
    """
    if not isinstance(x, Mapping):
        return x
    nodes: Any = graph if hasattr(graph, "nodes") else range(adjacency(graph).shape[0])
    missing = [node for node in nodes if node not in x]
    if missing:
        raise ParameterError(f"an attribute has one value a node, got none for {missing[0]!r}; add it")
    return np.array([x[node] for node in nodes])


def values(x: npt.ArrayLike, n: int) -> Values:
    """Return a node attribute ready to compare: int64 where it is whole (shifted to start at 0), else float64.

    Raises:
        ParameterError: not one number a node (first axis), not finite, or too large to be compared.
    """
    a = np.asarray(x)
    if a.ndim == 0 or a.shape[0] != n:
        raise ParameterError(
            f"an attribute has one value a node: expected {n} values, got an array of shape {a.shape!r}"
        )
    if a.dtype.kind not in "biuf":
        raise ParameterError(f"an attribute holds numbers, got values of type {a.dtype.name!r}")
    if not a.size:
        return a.astype(np.int64)
    if a.dtype.kind == "f":
        if not np.isfinite(a).all():
            raise ParameterError(
                "an attribute is not a finite number for every node; leave the nodes without a value out of the graph"
            )
        a = a.astype(np.float64)
        size = float(np.abs(a).max())
        if size > LARGEST:
            raise ParameterError(f"an attribute is at most {LARGEST:g} in size, got {size!r}; rescale it")
        if size > LARGEST_WHOLE or (a != np.rint(a)).any():
            return a
    low, high = int(a.min()), int(a.max())
    if (high - low) * n >= 2**62:
        if max(-low, high) > LARGEST_WHOLE:
            raise ParameterError(f"a whole-number attribute of this size loses digits, got {high!r}; rescale it")
        return a.astype(np.float64)
    # A shift changes no comparison with a mean or a median and keeps every product within 64 bits.
    if a.dtype.kind == "b":
        return a.astype(np.int64)
    shifted: Values = (a - a.dtype.type(low)).astype(np.int64) if low > 0 else a.astype(np.int64) - low
    return shifted


# Counting who is below their friends ----------------------------------------------------------------------------------


def weakly_below(h: Hood, x: Values) -> Ints:
    """Count nodes below the mean of their neighbours, for every column of ``x`` (n, p); shape (p,)."""
    from scipy import sparse

    n = len(h.degree)
    pattern = sparse.csr_array((np.ones(len(h.ids), dtype=x.dtype), h.ids, h.starts), shape=(n, n))
    degree = h.degree[:, None]
    gap = pattern @ x - degree * x
    if x.dtype.kind == "i":
        return count(gap > 0)
    size = np.abs(x)
    return count(gap > EPS * (degree + 2) * (pattern @ size + degree * size))


def strongly_below(h: Hood, x: Values) -> Ints:
    """Count nodes below the median of their neighbours, for every column of ``x`` (n, p); shape (p,).

    With more than half of the neighbours above u the median is above u, with fewer it is not. With exactly half, the
    median is the mean of the lowest neighbour above and the highest one not above.
    """
    from scipy import sparse

    n, m = len(h.degree), len(h.ids)
    other, own = x.take(h.ids, axis=0), x.repeat(h.degree, axis=0)
    exact = x.dtype.kind == "i"
    above = other > own if exact else other - own > 2 * EPS * (np.abs(other) + np.abs(own))
    segments = sparse.csr_array(
        (np.ones(m, dtype=np.int32), np.arange(m, dtype=h.starts.dtype), h.starts), shape=(n, m)
    )
    balance = 2 * (segments @ above.astype(np.int32)) - h.degree[:, None]
    below = count(balance > 0)

    node, column = np.nonzero((balance == 0) & (h.degree > 0)[:, None])
    if not len(node):
        return below
    length = h.degree[node]
    first = np.cumsum(length) - length
    arc = np.arange(int(length.sum())) + np.repeat(h.starts[:-1].astype(np.int64)[node] - first, length)
    wide = np.repeat(column, length)
    theirs, is_above = other[arc, wide], above[arc, wide]
    top: Any = np.iinfo(np.int64).max if exact else np.inf
    lowest_above = np.minimum.reduceat(np.where(is_above, theirs, top), first)
    highest_other = np.maximum.reduceat(np.where(is_above, -top, theirs), first)
    mine = x[node, column]
    # As differences: the sum of two whole numbers near the bound would not fit.
    gap = (lowest_above - mine) + (highest_other - mine)
    if exact:
        won = gap > 0
    else:
        won = gap > 2 * EPS * (np.abs(lowest_above) + np.abs(highest_other) + 2 * np.abs(mine))
    ties: Ints = np.bincount(column[won], minlength=x.shape[1])
    return below + ties


def uphill(a: Adjacency, x: Values) -> Ints:
    """Count arcs u -> v with x_v > x_u, for every column of ``x`` (n, p); shape (p,)."""
    return count(x.take(a.indices, axis=0) > x.repeat(out_degrees(a), axis=0))


def count(true: npt.NDArray[np.bool_]) -> Ints:
    """Count the true entries of every column."""
    number: Ints = np.count_nonzero(true, axis=0)
    return number


def share(part: float, whole: float) -> float:
    """Return part / whole, NaN of nothing."""
    return float(part) / float(whole) if whole else float("nan")


# What a user calls ----------------------------------------------------------------------------------------------------


def friendship_paradox(
    graph: Graph, x: Attribute | None = None, neighbourhood: Neighbourhood = "out", form: Form = "weak"
) -> float:
    """Return the share of nodes whose x is below the mean (weak) or the median (strong) of their neighbours' x.

    Args:
        graph: any graph `adjacency` reads.
        x: one number a node, an array in the order of ``list(graph)`` or a mapping by node; in-degree when left out.
            Any other attribute gives the generalised paradox (Eom and Jo 2014, doi:10.1038/srep04603).
        neighbourhood: ``"out"``, whom u follows, or ``"in"``, who follows u.
        form: ``"weak"`` or ``"strong"``.

    Returns:
        A share in [0, 1] of the nodes that have a neighbour; NaN if none has. The comparison is strict; the median of
        an even number is the mean of the middle two.

    Raises:
        ParameterError: an attribute of the wrong length or with undefined values, an unknown neighbourhood or form.
    """
    if form not in ("weak", "strong"):
        raise ParameterError(f"form is 'weak' (mean) or 'strong' (median), got {form!r}")
    a = adjacency(graph)
    h = hood(a, neighbourhood)
    column = values(in_degrees(a) if x is None else in_order(graph, x), a.shape[0])
    if column.ndim != 1:
        raise ParameterError(f"an attribute has one value a node, got an array of shape {column.shape!r}")
    below = weakly_below if form == "weak" else strongly_below
    return share(below(h, column[:, None])[0], h.counted)


def directed_paradoxes(graph: Graph) -> dict[str, float]:
    """Return the eight degree paradoxes, ``{weak|strong}_{x}_{neighbourhood}`` with x and neighbourhood in {in, out}.

    ``weak_in_out``, the one people mean, is the share of nodes with fewer followers than the mean of those they follow.
    Values as in `friendship_paradox`. In an undirected graph the four of each form are one number.
    """
    a = adjacency(graph)
    return dict(zip(*paradox_columns(a, degree_attributes(a)), strict=True))


def hierarchy(graph: Graph, x: Attribute | None = None) -> float:
    """Return the share of arcs u -> v that point uphill, x_v > x_u (in-degree when left out); NaN without arcs."""
    a = adjacency(graph)
    column = values(in_degrees(a) if x is None else in_order(graph, x), a.shape[0])
    return share(uphill(a, column[:, None])[0], a.nnz)


def degree_attributes(a: Adjacency) -> dict[str, Ints]:
    """Return the two attributes of the degree paradoxes, by name."""
    return {"in": in_degrees(a), "out": out_degrees(a)}


def paradox_columns(
    a: Adjacency, attributes: Mapping[str, npt.ArrayLike], hoods: tuple[str, ...] = ("out", "in")
) -> tuple[list[str], list[float]]:
    """Return names ``{form}_{attribute}_{neighbourhood}`` and values; whole attributes are evaluated side by side."""
    names: list[str] = []
    shares: list[float] = []
    columns = {name: values(x, a.shape[0]) for name, x in attributes.items()}
    for where in hoods:
        h = hood(a, where)
        for kind in "if":
            chosen = [name for name, x in columns.items() if x.dtype.kind == kind]
            if not chosen:
                continue
            x: Any = np.stack([columns[name] for name in chosen], axis=1)
            for form, below in (("weak", weakly_below(h, x)), ("strong", strongly_below(h, x))):
                names += [f"{form}_{name}_{where}" for name in chosen]
                shares += [share(b, h.counted) for b in below]
    return names, shares


# Exact identities -----------------------------------------------------------------------------------------------------


def edge_mean(graph: Graph) -> float:
    """Return ⟨k²⟩/⟨k⟩ = ⟨k⟩ + Var(k)/⟨k⟩: the mean degree met at the end of a random edge (Feld 1991).

    Of the undirected projection. NaN without edges.
    """
    k = out_degrees(projection(graph)).astype(np.float64)
    return share(float(k @ k), float(k.sum()))


def neighbour_degrees(graph: Graph) -> Floats:
    """Return k_nn(u), the mean degree of u's neighbours in the undirected projection, shape (n,); NaN without any."""
    return _neighbour_degrees(projection(graph))


def _neighbour_degrees(both: Adjacency) -> Floats:
    k = out_degrees(both).astype(np.float64)
    total = both @ k
    k_nn: Floats = np.divide(total, k, out=np.full(len(k), np.nan), where=k > 0)
    return k_nn


def node_mean(graph: Graph) -> float:
    """Return ⟨k_nn⟩: the mean over nodes of the mean degree of their neighbours; nodes without any do not count."""
    k_nn = neighbour_degrees(graph)
    k_nn = k_nn[~np.isnan(k_nn)]
    return share(float(k_nn.sum()), len(k_nn))


def degree_means(graph: Graph) -> dict[str, float]:
    """Return the pieces of ``edge_mean - node_mean = covariance / mean_degree``, which holds exactly.

    Of the undirected projection without its isolated nodes: ``mean_degree`` ⟨k⟩, ``variance_degree``, ``edge_mean``
    ⟨k²⟩/⟨k⟩, ``node_mean`` ⟨k_nn⟩ and ``covariance``, the population covariance of k and k_nn. Its sign says which of
    the two means is larger (Kumar, Krackhardt, Feld 2024, doi:10.1073/pnas.2306412121). NaN without edges.
    """
    both = projection(graph)
    k_nn = _neighbour_degrees(both)
    tied = ~np.isnan(k_nn)
    if not tied.any():
        names = ("mean_degree", "variance_degree", "edge_mean", "node_mean", "covariance")
        return dict.fromkeys(names, float("nan"))
    k, k_nn = out_degrees(both)[tied].astype(np.float64), k_nn[tied]
    return {
        "mean_degree": float(k.mean()),
        "variance_degree": float(k.var()),
        "edge_mean": float(k @ k) / float(k.sum()),
        "node_mean": float(k_nn.mean()),
        "covariance": float(((k - k.mean()) * (k_nn - k_nn.mean())).mean()),
    }


def arc_averages(graph: Graph) -> dict[str, float]:
    """Return the means over arcs u -> v of the degrees at their two ends; NaN without arcs.

    ``target_in`` E[k_in(v)] = ⟨k_in²⟩/⟨k⟩; ``target_out`` E[k_out(v)] and ``source_in`` E[k_in(u)], both
    ⟨k_in·k_out⟩/⟨k⟩; ``source_out`` E[k_out(u)] = ⟨k_out²⟩/⟨k⟩. Computed along the arcs, so that the identities are a
    check on them.
    """
    a = adjacency(graph)
    k_in, k_out, source, target = in_degrees(a), out_degrees(a), sources(a), a.indices
    ends = {
        "target_in": k_in[target],
        "target_out": k_out[target],
        "source_in": k_in[source],
        "source_out": k_out[source],
    }
    return {name: share(int(k.sum()), a.nnz) for name, k in ends.items()}


# Rare contacts --------------------------------------------------------------------------------------------------------


def rare_contacts(
    graph: Graph,
    interactions: Graph,
    theta_max: int = 5,
    x: Attribute | None = None,
    neighbourhood: Neighbourhood = "out",
) -> dict[str, npt.NDArray[Any]]:
    """Ask whether rarely met friends carry the paradox: the paradox on arcs of many, and of few, interactions.

    The arcs are those of ``graph``; each has the weight ``w_uv`` of ``interactions``, 0 where there is none (an
    interaction without an arc does not count). The attribute x stays that of the whole graph (in-degree when left out):
    only whose company is counted changes.

    Args:
        graph: who follows whom, n nodes.
        interactions: how often u reacted to v, not negative: the same nodes in the same order, or, where both are
            networkx graphs, some of the same nodes.
        theta_max: the largest threshold, in interactions, at least 1.
        x: as in `friendship_paradox`.
        neighbourhood: as in `friendship_paradox`.

    Returns:
        Columns of ``theta_max`` + 1 rows, a table for any frame library. ``theta`` 0 … theta_max; ``weak_at_least`` and
        ``strong_at_least`` on arcs with w >= theta; ``weak_at_most`` and ``strong_at_most`` on arcs with w <= theta;
        ``arcs`` and ``target_in_degree``, the number of arcs with theta <= w < theta + 1 and the mean in-degree of
        their targets (the last row also takes all heavier arcs). NaN where nothing counts. The row of theta 0 is the
        whole graph (at least) and the arcs that never carried anything (at most).

    Raises:
        ParameterError: ``theta_max`` below 1, or a negative number of interactions.
        GraphError: ``interactions`` has nodes that ``graph`` has not.
    """
    from scipy import sparse

    a, w = adjacency(graph), aligned(interactions, graph)
    if theta_max < 1:
        raise ParameterError(f"theta_max is a whole number of interactions of at least 1, got {theta_max!r}")
    if w.nnz and float(w.data.min()) < 0.0:
        raise ParameterError(f"a number of interactions is not negative, got {float(w.data.min())!r}")
    n = a.shape[0]
    k_in = in_degrees(a)
    column = values(k_in if x is None else in_order(graph, x), n)[:, None]
    source, target = sources(a), a.indices
    weight = np.asarray(w[source, target], dtype=np.float64).ravel() if a.nnz else np.zeros(0)

    def paradox(keep: npt.NDArray[np.bool_]) -> tuple[float, float]:
        part = sparse.csr_array((np.ones(int(keep.sum())), (source[keep], target[keep])), shape=(n, n))
        h = hood(part, neighbourhood)
        return share(weakly_below(h, column)[0], h.counted), share(strongly_below(h, column)[0], h.counted)

    thetas = np.arange(theta_max + 1)
    at_least = np.array([paradox(weight >= theta) for theta in thetas])
    at_most = np.array([paradox(weight <= theta) for theta in thetas])
    bins = np.minimum(weight, theta_max).astype(np.int64)
    arcs = np.bincount(bins, minlength=theta_max + 1)
    total = np.bincount(bins, weights=k_in[target].astype(np.float64), minlength=theta_max + 1)
    return {
        "theta": thetas,
        "weak_at_least": at_least[:, 0],
        "strong_at_least": at_least[:, 1],
        "weak_at_most": at_most[:, 0],
        "strong_at_most": at_most[:, 1],
        "arcs": arcs,
        "target_in_degree": np.divide(total, arcs, out=np.full(theta_max + 1, np.nan), where=arcs > 0),
    }

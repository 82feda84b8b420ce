"""Network metrics over sparse arrays. A tie counts by presence, never by weight; self-loops never count.

Where networkx has the metric the value is the same to 1e-12. Functions that need an undirected graph say that they use
the projection, u -- v where u -> v or v -> u.
"""

from __future__ import annotations

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
    in_degrees,
    ones,
    out_degrees,
    projection,
    sources,
)

type End = Literal["in", "out"]

LARGEST_PARTITIONED = 10_000
"""Nodes above which `communities` gives up: networkx' Louvain takes about 10 s there (50,000 arcs, 2 cores)."""

WEDGES_AT_ONCE = 500_000
"""Two-paths checked together in `triangles`; arbitrary, about 30 MB; the fastest of those tried."""

NAN = float("nan")


# Degrees and density --------------------------------------------------------------------------------------------------


def degree_summary(graph: Graph) -> dict[str, float]:
    """Return the ``mean`` degree (arcs a node), and ``max_in``, ``variance_in``, ``gini_in``, ``max_out`` and so on.

    Variances are population variances. In an undirected graph in and out agree. NaN for a graph without nodes; the Gini
    index also without arcs.
    """
    a = adjacency(graph)
    n = a.shape[0]
    summary = {"mean": a.nnz / n if n else NAN}
    for end, k in (("in", in_degrees(a)), ("out", out_degrees(a))):
        summary[f"max_{end}"] = float(k.max()) if n else NAN
        summary[f"variance_{end}"] = float(k.var()) if n else NAN
        summary[f"gini_{end}"] = gini(k)
    return summary


def gini(x: npt.ArrayLike) -> float:
    """Return the Gini index of non-negative values: 0 all equal, (n - 1)/n one has all; NaN of nothing.

    Half the relative mean absolute difference, Σ_ij |x_i - x_j| / (2 n² mean) (Gini 1912, *Variabilità e mutabilità*).
    """
    ordered = np.sort(np.asarray(x, dtype=np.float64))
    n, total = len(ordered), float(ordered.sum())
    if not n or total == 0.0:
        return NAN
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ordered / (n * total))


def density(graph: Graph) -> float:
    """Return arcs / (n(n - 1)) in [0, 1]; 0 for fewer than two nodes, as networkx has it."""
    a = adjacency(graph)
    n = a.shape[0]
    return a.nnz / (n * (n - 1)) if n > 1 else 0.0


def reciprocity(graph: Graph) -> float:
    """Return the share of arcs u -> v with v -> u; NaN without arcs.

    A random graph of the same density has that density as its expectation (Garlaschelli, Loffredo 2004,
    doi:10.1103/PhysRevLett.93.268701).
    """
    a = ones(adjacency(graph))
    return a.multiply(a.T.tocsr()).nnz / a.nnz if a.nnz else NAN


# Triangles ------------------------------------------------------------------------------------------------------------


def triangles(graph: Graph) -> Ints:
    """Return the number of triangles through every node of the undirected projection, shape (n,).

    Every edge points from its end of lower degree to the other, so that a hub's neighbours are never paired and at most
    m·√(2m)/2 two-paths are checked in m edges (Chiba, Nishizeki 1985, doi:10.1137/0214017).
    """
    both = projection(graph)
    n = both.shape[0]
    k = out_degrees(both)
    rank = np.empty(n, dtype=np.int64)
    rank[np.argsort(k, kind="stable")] = np.arange(n)
    source, target = rank[sources(both)], rank[both.indices]
    upward = source < target
    edges = np.sort(source[upward] * n + target[upward])
    low, high = edges // max(n, 1), edges % max(n, 1)
    starts = np.searchsorted(low, np.arange(n + 1))
    count = np.zeros(n, dtype=np.int64)
    # Edge (u, v) is paired with the edges of u after it, (u, w) with w > v; the triangle closes if v -> w is an edge.
    pairs = starts[low + 1] - np.arange(len(edges)) - 1
    ends = np.cumsum(pairs)
    begin = 0
    while begin < len(edges):
        done = ends[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(ends, done + WEDGES_AT_ONCE, side="right")), begin + 1)
        here = pairs[begin:stop]
        first = np.repeat(np.arange(begin, stop), here)
        second = first + 1 + np.arange(len(first)) - np.repeat(ends[begin:stop] - here - done, here)
        wanted = high[first] * n + high[second]
        at = np.minimum(np.searchsorted(edges, wanted), len(edges) - 1)
        closed = edges[at] == wanted
        for corner in (low[first], high[first], high[second]):
            count += np.bincount(corner[closed], minlength=n)
        begin = stop
    return count[rank]


def transitivity(graph: Graph) -> float:
    """Return 3 × triangles / connected triples of the undirected projection; 0 without triples, as networkx has it.

    Newman, Strogatz, Watts 2001, doi:10.1103/PhysRevE.64.026118.
    """
    both = projection(graph)
    return _closed(triangles(both), out_degrees(both))


def local_clustering(graph: Graph) -> Floats:
    """Return the share of pairs of neighbours that are tied, of every node of the undirected projection, shape (n,).

    0 for a node with fewer than two neighbours, as networkx has it (Watts, Strogatz 1998, doi:10.1038/30918).
    """
    both = projection(graph)
    return _local(triangles(both), out_degrees(both))


def average_clustering(graph: Graph) -> float:
    """Return the mean of `local_clustering` over all nodes; NaN without nodes."""
    local = local_clustering(graph)
    return float(local.mean()) if len(local) else NAN


def clustering_summary(graph: Graph) -> dict[str, float]:
    """Return `transitivity` and `average_clustering` of one count of the triangles."""
    both = projection(graph)
    through, k = triangles(both), out_degrees(both)
    return {
        "transitivity": _closed(through, k),
        "average": float(_local(through, k).mean()) if len(k) else NAN,
    }


def _closed(through: Ints, k: Ints) -> float:
    triples = int((k * (k - 1)).sum())
    return 2.0 * int(through.sum()) / triples if triples else 0.0


def _local(through: Ints, k: Ints) -> Floats:
    possible = (k * (k - 1)).astype(np.float64)
    local: Floats = np.divide(2.0 * through, possible, out=np.zeros(len(k)), where=possible > 0)
    return local


# Mixing, components, communities --------------------------------------------------------------------------------------


def assortativity(graph: Graph, source: End = "out", target: End = "in") -> float:
    """Return the degree assortativity: Pearson's correlation, over arcs u -> v, of two degrees.

    Of the ``source`` degree of u with the ``target`` degree of v; by default u's out-degree with v's in-degree, as
    networkx has it. In [-1, 1]. For an undirected graph the choice makes no difference. NaN without arcs or where an
    end does not vary (Newman 2003, doi:10.1103/PhysRevE.67.026126).
    """
    a = adjacency(graph)
    k = {"in": in_degrees(a), "out": out_degrees(a)}
    for end in (source, target):
        if end not in k:
            raise ParameterError(f"a degree is 'in' or 'out', got {end!r}")
    x, y = k[source][sources(a)], k[target][a.indices]
    if not a.nnz or x.min() == x.max() or y.min() == y.max():
        return NAN
    dx, dy = x - x.mean(), y - y.mean()
    return float(np.clip((dx @ dy) / np.sqrt((dx @ dx) * (dy @ dy)), -1.0, 1.0))


def components(graph: Graph) -> dict[str, float]:
    """Return the number of ``weak`` and ``strong`` components and the share of nodes in the largest, ``largest_weak`` …

    Shares are NaN for a graph without nodes.
    """
    from scipy.sparse import csgraph

    a = adjacency(graph)
    found: dict[str, float] = {}
    for kind in ("weak", "strong"):
        if not a.shape[0]:
            found |= {kind: 0.0, f"largest_{kind}": NAN}
            continue
        number, label = csgraph.connected_components(a, directed=True, connection=kind)
        found |= {kind: float(number), f"largest_{kind}": float(np.bincount(label).max() / a.shape[0])}
    return found


def modularity(graph: Graph, partition: npt.ArrayLike) -> float:
    """Return the modularity of a partition; NaN without arcs.

    Args:
        graph: directed or undirected, n nodes.
        partition: one label a node, shape (n,), of any sortable kind.

    Returns:
        Σ_c [L_c/m - K_out,c·K_in,c/m²] over groups c, with m arcs, L_c of them inside c (Leicht, Newman 2008,
        doi:10.1103/PhysRevLett.100.118703); for an undirected graph this is Newman, Girvan 2004,
        doi:10.1103/PhysRevE.69.026113.

    Raises:
        ParameterError: not one label a node.
    """
    a = adjacency(graph)
    label = np.asarray(partition)
    if label.shape != (a.shape[0],):
        raise ParameterError(
            f"a partition has one label a node: expected {a.shape[0]}, got an array of shape {label.shape!r}"
        )
    if not a.nnz:
        return NAN
    names, group = np.unique(label, return_inverse=True)
    m = float(a.nnz)
    inside = np.count_nonzero(group[sources(a)] == group[a.indices])
    k_out = np.bincount(group, weights=out_degrees(a), minlength=len(names))
    k_in = np.bincount(group, weights=in_degrees(a), minlength=len(names))
    return float(inside / m - (k_out @ k_in) / (m * m))


def communities(graph: Graph, seed: int = 0, largest: int = LARGEST_PARTITIONED) -> Ints | None:
    """Return a partition by Louvain's method: one label a node, groups numbered by their first node.

    Directed if the graph is not symmetric. Louvain maximises modularity greedily in an order drawn from ``seed``, so
    another seed may give another partition (Blondel et al. 2008, doi:10.1088/1742-5468/2008/10/P10008).

    Returns:
        Labels of shape (n,), or None above ``largest`` nodes, where it would take too long, and without arcs.
    """
    a = adjacency(graph)
    n = a.shape[0]
    if n > largest or not a.nnz:
        return None
    import networkx as nx

    present: Any = ones(a)
    kind: Any = nx.Graph if (present != present.T).nnz == 0 else nx.DiGraph
    net = nx.from_scipy_sparse_array(present, create_using=kind)
    label = np.empty(n, dtype=np.int64)
    groups = nx.community.louvain_communities(net, weight=None, seed=seed)
    for number, group in enumerate(sorted(groups, key=min)):
        label[list(group)] = number
    return label


def centralisation(graph: Graph, of: Literal["degree", "in"] = "degree") -> float:
    """Return Freeman's centralisation in [0, 1]: 0 all equal, 1 a star.

    Freeman 1978, doi:10.1016/0378-8733(78)90021-7.

    Args:
        graph: directed or undirected.
        of: ``"degree"``, of the undirected projection, Σ(k_max - k)/((n - 1)(n - 2)); or ``"in"``, of in-degrees,
            Σ(k_max - k)/(n - 1)².

    Returns:
        NaN where no graph of that size is more central than another: below 3 nodes for the degree, 2 for in-degree.
    """
    if of not in ("degree", "in"):
        raise ParameterError(f"centralisation is of 'degree' or 'in', got {of!r}")
    a: Adjacency = projection(graph) if of == "degree" else adjacency(graph)
    k, n = in_degrees(a), a.shape[0]
    if n < (3 if of == "degree" else 2):
        return NAN
    spread = int((k.max() - k).sum())
    return spread / ((n - 1) * (n - 2)) if of == "degree" else spread / (n - 1) ** 2

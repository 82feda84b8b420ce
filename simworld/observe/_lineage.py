"""Lineage: who descends from whom, of strategies as of anything that is handed down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.observe._network import gini

if TYPE_CHECKING:
    import networkx as nx

NAN = float("nan")


def lineage(children: npt.ArrayLike, parents: npt.ArrayLike, **attributes: npt.ArrayLike) -> nx.DiGraph[int]:
    """Return who descends from whom: an arc parent -> child for each pair.

    Args:
        children: ids, shape (m,), whole numbers of at least 0. A child with several parents is named once for each.
        parents: the parent of each, shape (m,); −1 for none, a root.
        attributes: of the children, by name, one value for each, shape (m,).

    Returns:
        Nodes in the order in which they are first named as children, then parents that are nobody's child. Write it
        down with ``nx.write_graphml`` or ``nx.write_gexf``.

    Raises:
        ParameterError: arrays of different shapes, ids that are no whole numbers.
    """
    import networkx as nx

    born, of = _ids("children", children), _ids("parents", parents)
    if of.shape != born.shape:
        raise ParameterError(f"every child has a parent or -1: {len(born)} children, parents of shape {of.shape!r}")
    if len(born) and born.min() < 0:
        raise ParameterError(f"the id of a child is at least 0, got {int(born.min())!r}")
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(born.tolist())
    for name, given in attributes.items():
        x = np.asarray(given)
        if x.shape[:1] != born.shape:
            raise ParameterError(f"{name} has one value a child: expected {len(born)}, got shape {x.shape!r}")
        for child, value in zip(born.tolist(), x.tolist(), strict=True):
            graph.nodes[child][name] = value
    graph.add_edges_from((p, c) for c, p in zip(born.tolist(), of.tolist(), strict=True) if p >= 0)
    return graph


def descent(graph: nx.DiGraph[Any]) -> dict[str, float]:
    """Return how a lineage went.

    The last generation is the nodes whose attribute ``last`` is true, or, where there are none, those without children.

    Args:
        graph: arcs parent -> child, without cycles, as `lineage` makes it.

    Returns:
        ``roots``: nodes without a parent; ``surviving_roots``: those with a descendant in the last generation, or in
        it themselves; ``depth``: arcs of the longest line; ``largest_share``: share of the last generation that
        descends from the commonest root; ``offspring_gini``: Gini index of the numbers of children of all before the
        last generation. The last two are NaN where there is nobody to count.

    Raises:
        ParameterError: a lineage with a cycle.
    """
    import networkx as nx

    if not nx.is_directed_acyclic_graph(graph):
        raise ParameterError("a lineage has no cycles, but somebody in this one descends from themselves")
    last = {v for v, is_last in graph.nodes(data="last") if is_last} or {v for v, k in graph.out_degree() if not k}
    roots_of: dict[Any, frozenset[Any]] = {}
    depth: dict[Any, int] = {}
    for v in nx.topological_sort(graph):
        parents = list(graph.predecessors(v))
        roots_of[v] = roots_of[parents[0]].union(*(roots_of[p] for p in parents[1:])) if parents else frozenset((v,))
        depth[v] = 1 + max(depth[p] for p in parents) if parents else 0
    descendants: dict[Any, int] = {}
    for v in last:
        for root in roots_of[v]:
            descendants[root] = descendants.get(root, 0) + 1
    return {
        "roots": float(sum(1 for _, k in graph.in_degree() if not k)),
        "surviving_roots": float(len(descendants)),
        "depth": float(max(depth.values(), default=0)),
        "largest_share": max(descendants.values()) / len(last) if last else NAN,
        "offspring_gini": gini([k for v, k in graph.out_degree() if v not in last]),
    }


def _ids(name: str, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    ids = np.asarray(x)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise ParameterError(f"{name} are whole numbers of shape (m,), got {ids.dtype.name!r} of shape {ids.shape!r}")
    return ids.astype(np.int64)

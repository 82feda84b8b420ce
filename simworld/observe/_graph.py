"""One converter: whatever graph a caller holds becomes a sparse adjacency array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simworld.errors import GraphError

if TYPE_CHECKING:
    import networkx as nx
    from scipy import sparse

type Floats = npt.NDArray[np.float64]
type Ints = npt.NDArray[np.int64]
type Adjacency = sparse.csr_array[np.float64]
type Graph = (
    nx.Graph[Any]
    | sparse.sparray
    | sparse.spmatrix
    | npt.NDArray[np.number[Any] | np.bool_]
    | Sequence[Sequence[float]]
)
"""A networkx graph of any kind, a square scipy sparse array, or a square dense array."""


def adjacency(graph: Graph) -> Adjacency:
    """Return the graph as a square csr array of weights in which ``A[u, v] != 0`` means u -> v (u follows v).

    Rows and columns stand in the order of ``list(graph)`` for a networkx graph. An undirected graph gives a symmetric
    array, parallel edges are summed, an edge without a ``weight`` weighs 1. An arc of weight zero is no arc. Self-loops
    are dropped: nobody is their own friend, and every metric of this room is meant for a graph without them.

    The result may share memory with what was handed in; treat it as read-only. The argument is never changed.

    Raises:
        GraphError: not a graph, not square, or a weight that is not a finite number.
    """
    from scipy import sparse

    a: Any = graph
    if isinstance(a, np.ndarray | Sequence):
        a = _dense(a)
    elif not sparse.issparse(graph):
        a = _networkx(a)
    elif not isinstance(a, sparse.csr_array):
        a = sparse.csr_array(a)
    if a.dtype.kind not in "biuf":
        raise GraphError(f"an adjacency array holds numbers, got values of type {a.dtype.name!r}; convert it to float")
    if a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise GraphError(f"an adjacency array is square, got shape {a.shape!r}; pass one row and one column a node")
    if a.dtype != np.float64:
        a = a.astype(np.float64)
    if not a.has_canonical_format:
        a = a.copy()
        a.sum_duplicates()
    if not np.isfinite(a.data).all():
        raise GraphError("a tie has a weight that is not a finite number; give every weight a value, or drop that tie")
    loops = a.diagonal().any()
    if loops or not a.data.all():
        a = a.copy()
        if loops:
            a.data[a.indices == np.repeat(np.arange(a.shape[0]), np.diff(a.indptr))] = 0.0
        a.eliminate_zeros()
    result: Adjacency = a
    return result


def _dense(graph: Any) -> Any:
    from scipy import sparse

    try:
        array = np.asarray(graph, dtype=np.float64)
    except (TypeError, ValueError) as exc:
        raise GraphError(f"a dense adjacency array holds numbers in equal rows: {exc}") from exc
    if array.ndim != 2:
        raise GraphError(f"an adjacency array has two dimensions, got {array.ndim}; pass one row and one column a node")
    return sparse.csr_array(array)


def _networkx(graph: Any) -> Any:
    import networkx as nx
    from scipy import sparse

    convert: Any = nx.to_scipy_sparse_array  # its stubs know only graphs with string keys
    if not isinstance(graph, nx.Graph):
        raise GraphError(
            f"{type(graph).__name__!r} is not a graph; pass a networkx graph, a scipy sparse array or a square array"
        )
    if not len(graph):
        return sparse.csr_array((0, 0), dtype=np.float64)
    try:
        return convert(graph, dtype=np.float64, format="csr")
    except (TypeError, ValueError) as exc:
        raise GraphError(f"a tie has a weight that is not a number: {exc}; give every 'weight' a number") from exc


def aligned(other: Graph, graph: Graph) -> Adjacency:
    """Return ``other`` with its rows in the order of ``graph``: by node where both are networkx graphs, else as it is.

    Raises:
        GraphError: ``other`` has nodes that ``graph`` has not, or as an array another size.
    """
    given: Any = other
    if hasattr(other, "nodes") and hasattr(graph, "nodes"):
        ties = given.edges(data=True)
        given = type(given)()
        given.add_nodes_from(graph)
        given.add_edges_from(ties)
    a, n = adjacency(given), adjacency(graph).shape[0]
    if a.shape[0] != n:
        raise GraphError(f"the second graph has {a.shape[0]} nodes and the first {n}; give both the same nodes")
    return a


def projection(graph: Graph) -> Adjacency:
    """Return the undirected projection: a symmetric array of ones, u -- v where u -> v or v -> u."""
    a = ones(adjacency(graph))
    both: Adjacency = (a + a.T).tocsr()
    both.sort_indices()
    return ones(both)


def ones(a: Adjacency) -> Adjacency:
    """Return the presence of arcs: the same array with every weight 1."""
    from scipy import sparse

    present: Adjacency = sparse.csr_array((np.ones(a.nnz), a.indices, a.indptr), shape=a.shape)
    return present


def sources(a: Adjacency) -> Ints:
    """Return the source of every stored arc, shape (arcs,), in the order of ``a.indices`` (their targets)."""
    return np.repeat(np.arange(a.shape[0], dtype=np.int64), np.diff(a.indptr))


def in_degrees(a: Adjacency) -> Ints:
    """Return the number of followers of every node, shape (n,)."""
    return np.bincount(a.indices, minlength=a.shape[0]).astype(np.int64)


def out_degrees(a: Adjacency) -> Ints:
    """Return the number of followees of every node, shape (n,)."""
    return np.diff(a.indptr).astype(np.int64)

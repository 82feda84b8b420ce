"""The society's ties as arrays: fast over everybody at once, and still quick for one tie at a time.

Each kind of tie is held as two parallel arrays sorted by key, ``source * 2**32 + target`` (int64) and the weight
(float64): 16 bytes an arc. An undirected tie is two arcs. The arrays are never written in place; a change makes new
ones, so that a sparse array or a copy handed out earlier may share their memory and stays what it was.

A single write goes to a small dictionary per node (the pending writes), which every read of one node or one pair looks
at first; it costs microseconds whatever the size of the graph. Pending writes are merged into the arrays in one
vectorised pass ("fold") when somebody asks for a whole array, when a bulk write comes, or when they outgrow a fixed
share of the graph. The fold's cost, linear in arcs, is thus spread over at least that share of writes:
alternating one write and one read never folds, and nothing is quadratic. `predecessors` of a directed graph keeps a
second array of reversed keys (8 bytes an arc), made when first asked for and merged like the first.

Every change is also kept, in the order made, until `SocialGraph.drain` takes it: that is what a run records and what
`SocialGraph.apply` replays. Nothing depends on the order of a set or a dictionary: whole-array reads are sorted by
(source, target), reads of one node by node.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from simworld.errors import GraphError, did_you_mean

if TYPE_CHECKING:
    import networkx as nx
    from scipy.sparse import csr_array

__all__ = ["SocialGraph", "TieChanges"]

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]
type Bools = npt.NDArray[np.bool_]
type Node = int | SupportsIndex
type Rows = dict[int, dict[int, float]]

SHIFT = 32
TARGET_MASK = (1 << SHIFT) - 1
MAX_NODES = 2**31 - 1
"""Node ids are recorded as int32."""

ABSENT = -1.0
"""Stands for "no tie" where a weight is expected; weights are never negative."""

PENDING_FLOOR = 4096
"""Pending writes a kind may always hold; arbitrary, a fold of a small graph costs about as much as 2,000 writes."""

PENDING_SHARE = 128
"""Beyond the floor, a kind may hold one pending write for this many stored arcs. A pending write costs up to 600 bytes
and a fold about 20 ns an arc, so 128 keeps the first below 5 bytes an arc and the second near 2.5 µs a write."""

SET, REMOVED = 0, 1


@dataclass(frozen=True, slots=True, eq=False)
class TieChanges:
    """Changes of ties in the order they were made: equal-length arrays, one element a change."""

    kind: npt.NDArray[np.int16]
    """Index in the graph's ``kinds``."""
    op: npt.NDArray[np.int8]
    """0: the tie was added or its weight changed; 1: it was removed."""
    source: npt.NDArray[np.int32]
    """Node the tie starts from; in an undirected graph the smaller of the two."""
    target: npt.NDArray[np.int32]
    """Node the tie goes to."""
    weight: npt.NDArray[np.float64]
    """Weight after the change, at least 0; 0.0 when removed."""

    def __post_init__(self) -> None:
        sizes = {self.kind.shape, self.op.shape, self.source.shape, self.target.shape, self.weight.shape}
        if len(sizes) != 1 or self.kind.ndim != 1:
            raise GraphError(f"the five columns of tie changes must be flat and of one length, got shapes {sizes!r}")

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def empty(cls) -> Self:
        """Return no changes."""
        return cls(
            np.empty(0, np.int16), np.empty(0, np.int8), np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0)
        )

    @classmethod
    def concat(cls, parts: Sequence[TieChanges]) -> Self:
        """Return the changes of all parts, in order, in arrays of their own."""
        if not parts:
            return cls.empty()
        return cls(
            np.concatenate([p.kind for p in parts]),
            np.concatenate([p.op for p in parts]),
            np.concatenate([p.source for p in parts]),
            np.concatenate([p.target for p in parts]),
            np.concatenate([p.weight for p in parts]),
        )


class _ChangeLog:
    """Changes not drained yet: single ones in buffers, bulk ones as blocks whose constant columns take no memory."""

    __slots__ = ("_blocks", "_kind", "_source", "_target", "_weight")

    def __init__(self) -> None:
        self._blocks: list[TieChanges] = []
        self._start_buffers()

    def _start_buffers(self) -> None:
        self._kind = array("h")
        self._source = array("i")
        self._target = array("i")
        self._weight = array("d")

    def one(self, kind: int, u: int, v: int, weight: float) -> None:
        self._kind.append(kind)
        self._source.append(u)
        self._target.append(v)
        self._weight.append(weight)

    def many(self, kind: int, sources: Ints, targets: Ints, weights: Floats) -> None:
        self._seal()
        self._blocks.append(
            _changes(np.broadcast_to(np.int16(kind), sources.shape), sources.astype(np.int32), targets, weights)
        )

    def _seal(self) -> None:
        if self._kind:
            self._blocks.append(
                _changes(
                    np.array(self._kind, np.int16),
                    np.array(self._source, np.int32),
                    np.array(self._target, np.int32),
                    np.array(self._weight, np.float64),
                )
            )
            self._start_buffers()

    def take(self) -> TieChanges:
        self._seal()
        taken = TieChanges.concat(self._blocks)
        self._blocks.clear()
        return taken


def _changes(
    kind: npt.NDArray[np.int16], source: npt.NDArray[Any], target: npt.NDArray[Any], new: Floats
) -> TieChanges:
    removed = new < 0.0
    if removed.any():
        op, weight = removed.astype(np.int8), np.where(removed, 0.0, new)
    else:
        op, weight = np.broadcast_to(np.int8(SET), new.shape), new
    return TieChanges(kind, op, source.astype(np.int32, copy=False), target.astype(np.int32, copy=False), weight)


def _reversed(keys: Ints) -> Ints:
    return ((keys & TARGET_MASK) << SHIFT) | (keys >> SHIFT)


def _frozen[A: npt.NDArray[Any]](values: A) -> A:
    values.flags.writeable = False
    return values


def _found(keys: Ints, wanted: Ints) -> tuple[Ints, Bools]:
    """Return where each wanted key is, or would go, in the sorted ``keys``, and whether it is there."""
    at = np.searchsorted(keys, wanted)
    if not keys.size:
        return at, np.zeros(wanted.size, np.bool_)
    return at, keys[np.minimum(at, keys.size - 1)] == wanted


def _merged(keys: Ints, weights: Floats | None, wanted: Ints, new: Floats) -> tuple[Ints, Floats | None]:
    """Merge sorted distinct changes (``ABSENT`` removes) into sorted arrays; returns new arrays."""
    if not keys.size:
        # The start of every society: the general way below takes half a gigabyte more at a million agents.
        present = new >= 0.0
        return _frozen(wanted[present]), None if weights is None else _frozen(new[present])
    at, found = _found(keys, wanted)
    gone = new < 0.0
    if weights is not None and (put := found & ~gone).any():
        weights = weights.copy()
        weights[at[put]] = new[put]
    if (lost := found & gone).any():
        keep = np.ones(keys.size, np.bool_)
        keep[at[lost]] = False
        keys = keys[keep]
        weights = None if weights is None else weights[keep]
        at = np.searchsorted(keys, wanted)
    if (fresh := ~found & ~gone).any():
        # Each newcomer moves right by the newcomers before it; everybody else fills the places left.
        place = at[fresh] + np.arange(np.count_nonzero(fresh))
        old = np.ones(keys.size + place.size, np.bool_)
        old[place] = False
        grown = np.empty(old.size, np.int64)
        grown[place], grown[old] = wanted[fresh], keys
        keys = grown
        if weights is not None:
            grown_weights = np.empty(old.size)
            grown_weights[place], grown_weights[old] = new[fresh], weights
            weights = grown_weights
    return _frozen(keys), None if weights is None else _frozen(weights)


def _row(keys: Ints, pending: Rows, u: int) -> Ints:
    low = keys.searchsorted(u << SHIFT)
    row: Ints = keys[low : keys.searchsorted((u + 1) << SHIFT)] & TARGET_MASK
    written = pending.get(u)
    if written is None:
        return row
    others = np.fromiter(written, np.int64, len(written))
    present = np.fromiter(written.values(), np.float64, len(written)) >= 0.0
    if row.size:
        at, found = _found(row, others)
        keep = np.ones(row.size, np.bool_)
        keep[at[found]] = False
        row = row[keep]
    row = np.concatenate((row, others[present]))
    row.sort()
    return row


class _Ties:
    """The ties of one kind: sorted arrays, the writes not merged yet, degrees."""

    __slots__ = (
        "backward",
        "csr",
        "directed",
        "in_degree",
        "keys",
        "n_pending",
        "n_ties",
        "out_degree",
        "pending",
        "pending_back",
        "weights",
    )

    def __init__(self, n: int, directed: bool) -> None:
        self.directed = directed
        self.keys: Ints = _frozen(np.empty(0, np.int64))
        self.weights: Floats = _frozen(np.empty(0, np.float64))
        self.pending: Rows = {}
        self.n_pending = 0
        self.backward: Ints | None = None
        self.pending_back: Rows = {}
        self.out_degree: npt.NDArray[np.int32] = np.zeros(n, np.int32)
        self.in_degree: npt.NDArray[np.int32] = np.zeros(n, np.int32) if directed else self.out_degree
        self.n_ties = 0
        self.csr: csr_array[np.float64] | None = None

    def copy(self) -> _Ties:
        self.fold()
        twin = _Ties(0, self.directed)
        twin.keys, twin.weights, twin.backward, twin.csr = self.keys, self.weights, self.backward, self.csr
        twin.out_degree = self.out_degree.copy()
        twin.in_degree = self.in_degree.copy() if self.directed else twin.out_degree
        twin.n_ties = self.n_ties
        return twin

    def grow(self, n: int) -> None:
        more = np.zeros(n - self.out_degree.size, np.int32)
        self.out_degree = np.concatenate((self.out_degree, more))
        self.in_degree = np.concatenate((self.in_degree, more)) if self.directed else self.out_degree
        self.csr = None

    def weight(self, u: int, v: int) -> float:
        row = self.pending.get(u)
        if row is not None:
            weight = row.get(v)
            if weight is not None:
                return weight
        key = (u << SHIFT) | v
        keys = self.keys
        at = keys.searchsorted(key)
        return self.weights.item(at) if at < keys.size and keys.item(at) == key else ABSENT

    def write(self, u: int, v: int, new: float, old: float) -> None:
        """Record one change; ``old`` and ``new`` differ and may be ``ABSENT``."""
        self.csr = None
        row = self.pending.setdefault(u, {})
        self.n_pending += v not in row
        row[v] = new
        if not self.directed:
            row = self.pending.setdefault(v, {})
            self.n_pending += u not in row
            row[u] = new
        elif self.backward is not None:
            self.pending_back.setdefault(v, {})[u] = new
        by = (new >= 0.0) - (old >= 0.0)
        if by:
            self.n_ties += by
            self.out_degree[u] += by
            self.in_degree[v] += by
        if self.n_pending > PENDING_FLOOR and self.n_pending * PENDING_SHARE > self.keys.size:
            self.fold()

    def write_many(self, keys: Ints, new: Floats, old: Floats) -> None:
        """Merge changes given by sorted distinct keys (undirected: source <= target); nothing may be pending."""
        self.csr = None
        by = (new >= 0.0).astype(np.int32) - (old >= 0.0)
        turned = np.flatnonzero(by)
        if turned.size:
            self.n_ties += int(by.sum())
            np.add.at(self.out_degree, keys[turned] >> SHIFT, by[turned])
            np.add.at(self.in_degree, keys[turned] & TARGET_MASK, by[turned])
        self._merge(keys, new, mirror=not self.directed)

    def fold(self) -> None:
        """Merge the pending writes into the arrays; costs a few passes over the arcs, nothing when none is pending."""
        if not self.n_pending:
            return
        rows = self.pending
        sizes = np.fromiter(map(len, rows.values()), np.int64, len(rows))
        keys = np.repeat(np.fromiter(rows, np.int64, len(rows)), sizes) << SHIFT
        keys |= np.fromiter(chain.from_iterable(rows.values()), np.int64, self.n_pending)
        new = np.fromiter(chain.from_iterable(r.values() for r in rows.values()), np.float64, self.n_pending)
        order = np.argsort(keys)
        self.pending, self.pending_back, self.n_pending = {}, {}, 0
        self._merge(keys[order], new[order], mirror=False)

    def _merge(self, keys: Ints, new: Floats, *, mirror: bool) -> None:
        if mirror:
            keys, new = np.concatenate((keys, _reversed(keys))), np.concatenate((new, new))
            order = np.argsort(keys)
            keys, new = keys[order], new[order]
        merged, weights = _merged(self.keys, self.weights, keys, new)
        assert weights is not None
        self.keys, self.weights = merged, weights
        if self.backward is not None:
            back = _reversed(keys)
            order = np.argsort(back)
            self.backward = _merged(self.backward, None, back[order], new[order])[0]

    def successors(self, u: int) -> Ints:
        return _row(self.keys, self.pending, u)

    def predecessors(self, v: int) -> Ints:
        if not self.directed:
            return self.successors(v)
        if self.backward is None:
            self.fold()
            self.backward = _frozen(np.sort(_reversed(self.keys)))
        return _row(self.backward, self.pending_back, v)


class SocialGraph:
    """Who is tied to whom: weighted ties of one or several kinds between nodes 0..n-1, changing over time.

    ``kind=None`` means the first kind, except in `to_networkx`. No node is tied to itself; a weight is a finite number
    of at least 0 (a tie of weight 0 is still a tie). In an undirected graph (u, v) and (v, u) are one tie. A change
    that changes nothing is not recorded. Reads of one node or pair, and single writes, cost microseconds; whole-array
    reads cost a few passes over the arcs after a change, nothing otherwise.

    Every method raises GraphError for a node outside 0..n-1, an unknown kind, a self-tie or a bad weight, and changes
    nothing then.
    """

    def __init__(self, n: int, kinds: Sequence[str] = ("tie",), *, directed: bool = False) -> None:
        self._n = _node_count(n)
        self._kinds = tuple(kinds)
        if not self._kinds or len(set(self._kinds)) < len(self._kinds) or isinstance(kinds, str):
            raise GraphError(
                f"kinds of tie must be one or more distinct names, got {kinds!r}; for example ('follows',)"
            )
        self._directed = bool(directed)
        self._index = {kind: i for i, kind in enumerate(self._kinds)}
        self._ties = [_Ties(self._n, self._directed) for _ in self._kinds]
        self._log = _ChangeLog()
        self.labels: list[str] | None = None
        """Names of the nodes, or None when they have none but their number."""

    @property
    def n(self) -> int:
        """Number of nodes."""
        return self._n

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of tie; a kind's index here is what `TieChanges` records."""
        return self._kinds

    @property
    def directed(self) -> bool:
        """Whether (u, v) and (v, u) are different ties."""
        return self._directed

    def __repr__(self) -> str:
        ties = ", ".join(f"{kind}={ties.n_ties}" for kind, ties in zip(self._kinds, self._ties, strict=True))
        return f"SocialGraph(n={self._n}, {ties}, directed={self._directed})"

    def copy(self) -> SocialGraph:
        """Return a graph with the same ties and labels and nothing to drain; shares memory until either changes."""
        twin = SocialGraph(0, self._kinds, directed=self._directed)
        twin._n = self._n
        twin._ties = [ties.copy() for ties in self._ties]
        twin.labels = None if self.labels is None else list(self.labels)
        return twin

    def grow(self, n: int) -> None:
        """Have ``n`` nodes from now on; the new ones have no ties, and their number as label if the graph has labels.

        Not recorded as a change: who replays changes grows the graph first.
        """
        n = _node_count(n)
        if n < self._n:
            raise GraphError(f"a graph of {self._n} nodes cannot shrink to {n}; isolate the nodes that leave")
        if n > self._n:
            for ties in self._ties:
                ties.grow(n)
            if self.labels is not None:
                self.labels.extend(map(str, range(self._n, n)))
            self._n = n

    # -- changing one tie ------------------------------------------------------------------------------------------

    def add(self, u: Node, v: Node, weight: float = 1.0, kind: str | None = None) -> bool:
        """Tie u to v, or give an existing tie this weight; True when the tie is new."""
        k = self._kind(kind)
        u, v = self._pair(u, v)
        return self._write(k, u, v, _weight(u, v, weight)) < 0.0

    def remove(self, u: Node, v: Node, kind: str | None = None) -> bool:
        """Untie u from v; False when they were not tied."""
        k = self._kind(kind)
        u, v = self._pair(u, v)
        return self._write(k, u, v, ABSENT) >= 0.0

    def strengthen(self, u: Node, v: Node, by: float = 1.0, kind: str | None = None) -> float:
        """Add ``by`` (may be negative) to the weight, from 0 when they were not tied; returns the new weight."""
        k = self._kind(kind)
        u, v = self._pair(u, v)
        weight = _weight(u, v, max(self._ties[k].weight(u, v), 0.0) + by)
        self._write(k, u, v, weight)
        return weight

    def isolate(self, u: Node) -> int:
        """Remove every tie of u, of every kind, outgoing first; returns how many there were."""
        u = self._node(u)
        removed = 0
        for k, ties in enumerate(self._ties):
            out = ties.successors(u)
            into = ties.predecessors(u) if self._directed else out[:0]
            sources = np.concatenate((np.full(out.size, u), into))
            targets = np.concatenate((out, np.full(into.size, u)))
            removed += self._write_many(k, sources, targets, np.full(sources.size, ABSENT))[1]
        return removed

    # -- changing many ties ----------------------------------------------------------------------------------------

    def add_many(
        self, sources: npt.ArrayLike, targets: npt.ArrayLike, weights: npt.ArrayLike = 1.0, kind: str | None = None
    ) -> int:
        """Tie ``sources[i]`` to ``targets[i]``, (m,); weights (m,) or one number. Returns the number of new ties.

        A pair given twice counts once, with its last weight, and is recorded at its last place. All or nothing: a bad
        pair anywhere (the error names the first) changes nothing.
        """
        k = self._kind(kind)
        u, v, w = self._pairs(sources, targets, weights, negative=False)
        return self._write_many(k, u, v, w)[0]

    def remove_many(self, sources: npt.ArrayLike, targets: npt.ArrayLike, kind: str | None = None) -> int:
        """Untie ``sources[i]`` from ``targets[i]``; returns how many ties there were. Other pairs are passed over."""
        k = self._kind(kind)
        u, v, _ = self._pairs(sources, targets, 0.0, negative=False)
        return self._write_many(k, u, v, np.full(u.size, ABSENT))[1]

    def strengthen_many(
        self, sources: npt.ArrayLike, targets: npt.ArrayLike, by: npt.ArrayLike = 1.0, kind: str | None = None
    ) -> int:
        """Add ``by`` (m,) or one number to the weights, tying who was not; returns the number of new ties.

        A pair given twice is strengthened twice, in the order given, and recorded once. Ends with the weights that
        `strengthen` in that order gives.
        """
        k = self._kind(kind)
        u, v, w = self._pairs(sources, targets, by, negative=True)
        return self._write_many(k, u, v, w, relative=True)[0]

    # -- reading one node or tie -----------------------------------------------------------------------------------

    def has(self, u: Node, v: Node, kind: str | None = None) -> bool:
        """Return whether u is tied to v."""
        return self._ties[self._kind(kind)].weight(self._node(u), self._node(v)) >= 0.0

    def weight(self, u: Node, v: Node, kind: str | None = None) -> float:
        """Return the weight of the tie from u to v, 0.0 when there is none."""
        return max(self._ties[self._kind(kind)].weight(self._node(u), self._node(v)), 0.0)

    def neighbors(self, u: Node, kind: str | None = None) -> Ints:
        """Return the nodes u is tied to, ascending (directed: those its ties go to)."""
        return self._ties[self._kind(kind)].successors(self._node(u))

    def predecessors(self, u: Node, kind: str | None = None) -> Ints:
        """Return the nodes tied to u, ascending (undirected: the same as `neighbors`)."""
        return self._ties[self._kind(kind)].predecessors(self._node(u))

    # -- reading everybody -----------------------------------------------------------------------------------------

    def out_degrees(self, kind: str | None = None) -> Ints:
        """Return how many ties leave each node, shape (n,)."""
        return self._ties[self._kind(kind)].out_degree.astype(np.int64)

    def in_degrees(self, kind: str | None = None) -> Ints:
        """Return how many ties reach each node, shape (n,); undirected: the same as `out_degrees`."""
        return self._ties[self._kind(kind)].in_degree.astype(np.int64)

    def n_ties(self, kind: str | None = None) -> int:
        """Return the number of ties; an undirected tie counts once."""
        return self._ties[self._kind(kind)].n_ties

    def csr(self, kind: str | None = None) -> csr_array[np.float64]:
        """Return the adjacency, n × n, ``A[u, v]`` the weight: canonical, read-only, the same object until a change.

        An undirected graph gives a symmetric matrix. A tie of weight 0 is an explicit zero.
        """
        ties = self._ties[self._kind(kind)]
        if ties.csr is None:
            from scipy.sparse import csr_array

            ties.fold()
            index = np.int32 if max(ties.keys.size, self._n) <= MAX_NODES else np.int64
            starts: npt.NDArray[Any] = np.zeros(self._n + 1, index)
            np.cumsum(ties.out_degree, out=starts[1:])
            columns: npt.NDArray[Any] = (ties.keys & TARGET_MASK).astype(index)
            matrix = csr_array((ties.weights, _frozen(columns), _frozen(starts)), shape=(self._n, self._n))
            matrix.has_canonical_format = True
            ties.csr = matrix
        return ties.csr

    def edges(self, kind: str | None = None) -> tuple[Ints, Ints, Floats]:
        """Return (sources, targets, weights) sorted by (source, target); undirected: each tie once, source < target."""
        ties = self._ties[self._kind(kind)]
        ties.fold()
        sources, targets, weights = ties.keys >> SHIFT, ties.keys & TARGET_MASK, ties.weights
        if self._directed:
            return sources, targets, weights.copy()
        once = sources < targets
        return sources[once], targets[once], weights[once]

    def to_networkx(self, kind: str | None = None) -> nx.Graph[int] | nx.DiGraph[int]:
        """Return the ties of one kind as a networkx (Di)Graph with ``weight``, nodes with ``label`` if there are any.

        With several kinds and ``kind=None``: all of them, as a Multi(Di)Graph whose edge keys are the kinds.
        """
        import networkx as nx

        several = kind is None and len(self._kinds) > 1
        made: Any
        if several:
            made = nx.MultiDiGraph() if self._directed else nx.MultiGraph()
        else:
            made = nx.DiGraph() if self._directed else nx.Graph()
        made.add_nodes_from(range(self._n))
        if self.labels is not None:
            nx.set_node_attributes(made, dict(enumerate(self.labels)), "label")
        for name in self._kinds if several else (self._kinds[self._kind(kind)],):
            columns = (column.tolist() for column in self.edges(name))
            if several:
                made.add_edges_from((u, v, name, {"weight": w}) for u, v, w in zip(*columns, strict=True))
            else:
                made.add_weighted_edges_from(zip(*columns, strict=True))
        return made  # type: ignore[no-any-return]

    # -- the record of changes -------------------------------------------------------------------------------------

    def drain(self) -> TieChanges:
        """Return every change since the last call, in the order made, and forget it."""
        return self._log.take()

    def apply(self, changes: TieChanges) -> None:
        """Make recorded changes again without recording them: on the graph they started from, gives the same graph."""
        if not len(changes):
            return
        kinds = changes.kind.astype(np.int64)
        if kinds.min() < 0 or kinds.max() >= len(self._kinds):
            raise GraphError(
                f"recorded ties of kind number {kinds.max()}, but this graph has the kinds {self._kinds!r}"
            )
        if not np.isin(changes.op, (SET, REMOVED)).all():
            raise GraphError("recorded changes of ties must be 0 (set) or 1 (removed)")
        u, v, w = self._pairs(changes.source, changes.target, changes.weight, negative=False)
        new = np.where(changes.op == REMOVED, ABSENT, w)
        for k in range(len(self._kinds)):
            mine = kinds == k
            if mine.any():
                self._write_many(k, u[mine], v[mine], new[mine], record=False)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _write(self, k: int, u: int, v: int, new: float) -> float:
        """Set one tie's weight (``ABSENT``: remove it), record it if that is a change; returns the old weight."""
        if v < u and not self._directed:
            u, v = v, u
        ties = self._ties[k]
        old = ties.weight(u, v)
        if old != new:
            ties.write(u, v, new, old)
            self._log.one(k, u, v, new)
        return old

    def _write_many(
        self, k: int, u: Ints, v: Ints, new: Floats, *, relative: bool = False, record: bool = True
    ) -> tuple[int, int]:
        """Set many weights; ``relative`` adds to what is there. Returns the numbers of ties added and removed."""
        if not u.size:
            return 0, 0
        if not self._directed:
            u, v = np.minimum(u, v), np.maximum(u, v)
        keys = (u << SHIFT) | v
        # group[i]: which of the sorted distinct keys pair i has; last[g]: where key g was given last.
        group = last = np.arange(keys.size)
        if not (keys[1:] > keys[:-1]).all():
            order = np.argsort(keys, kind="stable")
            ends = np.append(np.flatnonzero(np.diff(keys[order])), keys.size - 1)
            last = order[ends]
            if relative:
                group = np.empty(keys.size, np.int64)
                group[order] = np.repeat(np.arange(ends.size), np.diff(ends, prepend=-1))
            keys = keys[last]
        ties = self._ties[k]
        few = keys.size * PENDING_SHARE <= ties.keys.size
        if few:
            at = zip((keys >> SHIFT).tolist(), (keys & TARGET_MASK).tolist(), strict=True)
            old = np.fromiter((ties.weight(a, b) for a, b in at), np.float64, keys.size)
        else:
            ties.fold()
            at_key, found = _found(ties.keys, keys)
            old = np.full(keys.size, ABSENT)
            old[found] = ties.weights[at_key[found]]
        if relative:
            total = np.maximum(old, 0.0)
            with np.errstate(over="ignore"):
                np.add.at(total, group, new)
            bad = ~((total >= 0.0) & (total < math.inf))
            if bad.any():
                first = last[bad].min()
                raise _bad_weight(int(u[first]), int(v[first]), float(total[bad][last[bad].argmin()]))
            new = total
        else:
            new = new[last]
        changed = new != old
        keys, new, old, last = keys[changed], new[changed], old[changed], last[changed]
        if not keys.size:
            return 0, 0
        if record or few:
            which = np.full(u.size, -1)
            which[last] = np.arange(last.size)
            in_order = which[which >= 0]
        if few:
            columns = (keys[in_order] >> SHIFT, keys[in_order] & TARGET_MASK, new[in_order], old[in_order])
            for a, b, w, was in zip(*(column.tolist() for column in columns), strict=True):
                ties.write(a, b, w, was)
        else:
            ties.write_many(keys, new, old)
        if record:
            self._log.many(k, keys[in_order] >> SHIFT, keys[in_order] & TARGET_MASK, new[in_order])
        return int(np.count_nonzero(old < 0.0)), int(np.count_nonzero(new < 0.0))

    def _kind(self, kind: str | None) -> int:
        if kind is None:
            return 0
        k = self._index.get(kind)
        if k is None:
            hint = did_you_mean(kind, self._kinds) if isinstance(kind, str) else ""
            raise GraphError(f"no kind of tie {kind!r}{hint or f'; this graph has {self._kinds!r}'}")
        return k

    def _node(self, u: Node) -> int:
        if type(u) is not int:
            try:
                u = operator.index(u)
            except TypeError as exc:
                raise GraphError(f"a node is an integer, got {u!r}") from exc
        if not 0 <= u < self._n:
            raise GraphError(f"no node {u} in a graph of {self._n} nodes; nodes are 0 to {self._n - 1}")
        return u

    def _pair(self, u: Node, v: Node) -> tuple[int, int]:
        u, v = self._node(u), self._node(v)
        if u == v:
            raise GraphError(f"node {u} cannot be tied to itself")
        return u, v

    def _pairs(
        self, sources: npt.ArrayLike, targets: npt.ArrayLike, weights: npt.ArrayLike, *, negative: bool
    ) -> tuple[Ints, Ints, Floats]:
        u, v = _node_array(sources, "sources"), _node_array(targets, "targets")
        try:
            w = np.asarray(weights, np.float64) + 0.0
        except (TypeError, ValueError) as exc:
            raise GraphError(f"weights must be numbers, got {weights!r}") from exc
        if u.size != v.size or w.ndim > 1 or (w.ndim == 1 and w.size != u.size):
            sizes = f"{u.size} sources, {v.size} targets and weights of shape {w.shape}"
            raise GraphError(f"got {sizes}; give as many targets as sources, and as many weights or one number")
        bad_weight = ~np.isfinite(w) if negative else ~((w >= 0.0) & (w < math.inf))
        bad = (u < 0) | (u >= self._n) | (v < 0) | (v >= self._n) | (u == v) | bad_weight
        if bad.any():
            first = int(bad.argmax())
            a, b = self._pair(int(u[first]), int(v[first]))
            raise _bad_weight(a, b, float(w[first] if w.ndim else w))
        return u, v, np.broadcast_to(w, u.shape)


def _bad_weight(u: int, v: int, weight: object) -> GraphError:
    return GraphError(
        f"the tie from {u} to {v} cannot have weight {weight!r}; a weight is a finite number of at least 0"
    )


def _weight(u: int, v: int, weight: float) -> float:
    try:
        weight = float(weight)
    except (TypeError, ValueError) as exc:
        raise _bad_weight(u, v, weight) from exc
    if not 0.0 <= weight < math.inf:
        raise _bad_weight(u, v, weight)
    return weight + 0.0  # -0.0 would be another byte in the record


def _node_count(n: int) -> int:
    try:
        count = operator.index(n)
    except TypeError as exc:
        raise GraphError(f"a number of nodes is an integer, got {n!r}") from exc
    if not 0 <= count <= MAX_NODES:
        raise GraphError(f"a graph cannot have {count} nodes; between 0 and {MAX_NODES} are possible")
    return count


def _node_array(values: npt.ArrayLike, what: str) -> Ints:
    nodes = np.asarray(values)
    if nodes.ndim != 1 or (nodes.size and nodes.dtype.kind not in "iu"):
        raise GraphError(f"{what} must be a flat array of integers, got {nodes.dtype} of shape {nodes.shape}")
    if nodes.size and nodes.dtype == np.uint64 and nodes.max() > MAX_NODES:
        raise GraphError(f"no node {nodes.max()}; a graph has at most {MAX_NODES} nodes")
    return nodes.astype(np.int64, copy=False)

"""The arena: what retrieval looks at, one slab of equal length an agent, so that one matrix product serves many agents.

Agents lie in slabs by capacity, 16, 32, 64, … records; one that outgrows its slab moves to the next. Slots are in the
order of ids, which is the order of storing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

type Ids = npt.NDArray[np.int64]

SMALLEST = 16
"""Records of the smallest slab; arbitrary."""
MOST_TERMS = 64
"""Content words of one record that word matching sees; what a longer text has more counts for its length only."""
SHARED_FROM = 8
"""Pieces of `CELLS` from which a second thread takes half; below, handing over costs more than it saves."""
CELLS = 1 << 18
"""Vector components turned into floats at once: 1 MiB, which stays in a processor's cache. OpenBLAS shares a product of
more than 460,800 components among threads, which on a busy machine took 59 ms instead of 1 for 10,000 records."""


class Slab:
    """Agents with room for the same number of records; arrays of shape (rows, capacity, …)."""

    def __init__(self, capacity: int, dimensions: int) -> None:
        self.capacity = capacity
        self.rows = 0
        self.width = 8
        """Words kept a record; doubled when a longer text comes, up to `MOST_TERMS`."""
        self._room = 0
        self._free: list[int] = []
        self.ids: Ids = np.full((0, capacity), -1, np.int64)
        self.vectors: npt.NDArray[np.int8] = np.zeros((0, capacity, dimensions), np.int8)
        self.norms: npt.NDArray[np.float32] = np.zeros((0, capacity), np.float32)
        self.terms: npt.NDArray[np.uint32] = np.zeros((0, capacity, self.width), np.uint32)
        self.lengths: npt.NDArray[np.int32] = np.zeros((0, capacity), np.int32)
        self.used: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def new_rows(self, n: int) -> Ids:
        """Return rows for ``n`` more agents, empty."""
        reused = [self._free.pop() for _ in range(min(n, len(self._free)))]
        first, more = self.rows, n - len(reused)
        if first + more > self._room:
            room = max(first + more, self._room * 2, 4)
            for name in ("ids", "vectors", "norms", "terms", "lengths", "used"):
                old = getattr(self, name)
                grown = np.full((room, *old.shape[1:]), -1 if name == "ids" else 0, old.dtype)
                grown[: self.rows] = old[: self.rows]
                setattr(self, name, grown)
            self._room = room
        self.rows += more
        rows = np.array([*reused, *range(first, first + more)], np.int64)
        self.ids[rows] = -1
        self.used[rows] = 0
        return rows

    def release(self, row: int) -> None:
        """Give up a row whose agent moved."""
        self.ids[row] = -1
        self.used[row] = 0
        self._free.append(row)

    def widen(self, words: int) -> None:
        """Make room for texts of so many words."""
        while self.width < min(words, MOST_TERMS):
            grown = np.zeros((*self.terms.shape[:2], self.width * 2), np.uint32)
            grown[..., : self.width] = self.terms
            self.terms, self.width = grown, self.width * 2

    def copy(self) -> Slab:
        """Return a slab of its own."""
        other = Slab.__new__(Slab)
        other.__dict__.update(
            {k: v.copy() if isinstance(v, np.ndarray | list) else v for k, v in self.__dict__.items()}
        )
        return other


class Arena:
    """The slabs of one store; owners are numbers from 0."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._slabs: dict[int, Slab] = {}
        self._capacity: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self._row: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def grow(self, owners: int) -> None:
        """Know so many owners."""
        more = owners - len(self._capacity)
        if more > 0:
            self._capacity = np.concatenate([self._capacity, np.zeros(more, np.int64)])
            self._row = np.concatenate([self._row, np.zeros(more, np.int64)])

    def _slab(self, capacity: int) -> Slab:
        if capacity not in self._slabs:
            self._slabs[capacity] = Slab(capacity, self.dimensions)
        return self._slabs[capacity]

    def used(self, owners: Ids) -> Ids:
        """Return how many records each owner has here, shape (n,)."""
        out = np.zeros(len(owners), np.int64)
        for at, slab, rows in self.groups(owners):
            out[at] = slab.used[rows]
        return out

    def add(
        self,
        owners: Ids,
        ids: Ids,
        vectors: npt.NDArray[np.int8],
        norms: npt.NDArray[np.float32],
        terms: list[npt.NDArray[np.uint32]],
    ) -> None:
        """Add records, sorted by owner and then by id; ids are above all that were added before."""
        if not len(owners):
            return
        self.grow(int(owners.max()) + 1)
        first = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
        whose = owners[first]
        counts = np.diff(np.concatenate([first, [len(owners)]]))
        self._make_room(whose, self.used(whose) + counts)
        slots = np.arange(len(owners)) - np.repeat(first, counts) + np.repeat(self.used(whose), counts)
        lengths = np.array([len(t) for t in terms], np.int64)
        for at, slab, rows in self.groups(owners):
            where = slots[at]
            slab.widen(int(lengths[at].max(initial=0)))
            slab.ids[rows, where] = ids[at]
            slab.vectors[rows, where] = vectors[at]
            slab.norms[rows, where] = norms[at]
            slab.lengths[rows, where] = lengths[at]
            padded = np.zeros((len(at), slab.width), np.uint32)
            for i, one in enumerate(at.tolist()):
                kept = terms[one][: slab.width]
                padded[i, : len(kept)] = kept
            slab.terms[rows, where] = padded
            np.maximum.at(slab.used, rows, where + 1)

    def _make_room(self, owners: Ids, need: Ids) -> None:
        now = self._capacity[owners]
        short = need > now
        if not short.any():
            return
        wanted = np.maximum(SMALLEST, 1 << np.ceil(np.log2(np.maximum(need[short], 1))).astype(np.int64))
        for capacity in np.unique(wanted).tolist():
            movers = owners[short][wanted == capacity]
            slab = self._slab(capacity)
            rows = slab.new_rows(len(movers))
            for owner, row in zip(movers.tolist(), rows.tolist(), strict=True):
                old = int(self._capacity[owner])
                if old:
                    source, at = self._slabs[old], int(self._row[owner])
                    n = int(source.used[at])
                    slab.widen(source.width)
                    for name in ("ids", "vectors", "norms", "lengths"):
                        getattr(slab, name)[row, :n] = getattr(source, name)[at, :n]
                    slab.terms[row, :n] = 0
                    slab.terms[row, :n, : source.width] = source.terms[at, :n]
                    slab.used[row] = n
                    source.release(at)
                self._capacity[owner], self._row[owner] = capacity, row

    def remove(self, owner: int, gone: Ids) -> None:
        """Take records of one owner out; the others close up."""
        slab, row = self._slabs[int(self._capacity[owner])], int(self._row[owner])
        n = int(slab.used[row])
        kept = np.flatnonzero(~np.isin(slab.ids[row, :n], gone))
        for name in ("ids", "vectors", "norms", "terms", "lengths"):
            array = getattr(slab, name)
            array[row, : len(kept)] = array[row, kept]
        slab.ids[row, len(kept) :] = -1
        slab.used[row] = len(kept)

    def groups(self, owners: Ids) -> Iterator[tuple[Ids, Slab, Ids]]:
        """Yield (positions in ``owners``, slab, rows of the slab), a slab at a time; who has nothing is left out."""
        if len(owners) == 1:
            if one := self._place(int(owners[0])):
                yield np.zeros(1, np.int64), one[0], self._row[owners]
            return
        known = owners < len(self._capacity)
        capacities = np.where(known, self._capacity[np.where(known, owners, 0)] if len(self._capacity) else 0, 0)
        for capacity in np.unique(capacities).tolist():
            if capacity:
                at = np.flatnonzero(capacities == capacity)
                yield at, self._slabs[capacity], self._row[owners[at]]

    def _place(self, owner: int) -> tuple[Slab, int] | None:
        """Return the slab and the row of one owner; None for who has nothing."""
        capacity = int(self._capacity[owner]) if owner < len(self._capacity) else 0
        return (self._slabs[capacity], int(self._row[owner])) if capacity else None

    def ids_of(self, owner: int) -> Ids:
        """Return the ids of one owner's records, ascending."""
        if one := self._place(owner):
            slab, row = one
            return slab.ids[row, : slab.used[row]]
        return np.zeros(0, np.int64)

    def last(self, owners: Ids, m: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
        """Return the vectors of each owner's latest ``m`` records, (n, m, dimensions), and their norms; 0 for none."""
        vectors = np.zeros((len(owners), m, self.dimensions), np.int8)
        norms = np.zeros((len(owners), m), np.float32)
        for at, slab, rows in self.groups(owners):
            back = slab.used[rows][:, None] - 1 - np.arange(m)
            there = back >= 0
            rows2, back = np.broadcast_to(rows[:, None], back.shape)[there], back[there]
            i, j = np.nonzero(there)
            vectors[at[i], j] = slab.vectors[rows2, back]
            norms[at[i], j] = slab.norms[rows2, back]
        return vectors, norms

    def vectors_of(self, owner: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
        """Return the vectors of one owner's records and their norms, in the order of ids."""
        if one := self._place(owner):
            slab, row = one
            n = int(slab.used[row])
            return slab.vectors[row, :n], slab.norms[row, :n]
        return np.zeros((0, self.dimensions), np.int8), np.zeros(0, np.float32)

    def copy(self) -> Arena:
        """Return an arena of its own."""
        other = Arena(self.dimensions)
        other._slabs = {capacity: slab.copy() for capacity, slab in self._slabs.items()}
        other._capacity, other._row = self._capacity.copy(), self._row.copy()
        return other


def taken(array: npt.NDArray[Any], rows: Ids, width: int) -> npt.NDArray[Any]:
    """Return the first ``width`` slots of some rows; a view where the rows follow each other."""
    return array[_span(rows), :width]


def _span(rows: Ids) -> slice | Ids:
    """Return the slice that some rows are, or the rows."""
    n = len(rows)
    follow = n == 1 or (n and rows[-1] - rows[0] == n - 1 and (np.diff(rows) == 1).all())
    return slice(int(rows[0]), int(rows[0]) + len(rows)) if follow else rows


def dots(slab: Slab, rows: Ids, width: int, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the dot products of each row's records with its query.

    Components are small integers, so float32 sums are exact whatever their order, and the same on every machine.

    Args:
        slab: holds the records.
        rows: shape (b,).
        width: slots looked at.
        queries: shape (b, dimensions).

    Returns:
        Shape (b, width).
    """
    b, d = len(rows), queries.shape[1]
    out = np.empty((b, width), np.float32)
    slots = max(1, min(width, CELLS // d))
    height = max(1, CELLS // (slots * d))
    span = _span(rows)
    pieces = [(row, first) for row in range(0, b, height) for first in range(0, width, slots)]

    def work(some: list[tuple[int, int]]) -> None:
        room = np.empty((height, slots, d), np.float32)
        for row, first in some:
            here, there = slice(row, min(row + height, b)), slice(first, min(first + slots, width))
            which = slice(span.start + here.start, span.start + here.stop) if isinstance(span, slice) else span[here]
            floats = room[: here.stop - here.start, : there.stop - there.start]
            np.copyto(floats, slab.vectors[which, there])
            out[here, there] = np.matmul(floats, queries[here, :, None])[..., 0]

    if len(pieces) < SHARED_FROM:
        work(pieces)
    else:
        # NumPy lets go of the interpreter meanwhile, and sums are exact, so who does which does not show.
        half = _helper().submit(work, pieces[len(pieces) // 2 :])
        work(pieces[: len(pieces) // 2])
        half.result()
    return out


@functools.cache
def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "simworld-memory")

"""The log of memories: every write, recall and change as one row, in order; replayed, it gives the same store.

The rows of a run are the stream ``memory`` of its folder, hashed and sealed with the state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

OPS = (
    "add", "recall", "close", "flag", "core", "tree", "reflected", "forget", "evict", "episode", "refused", "archetype",
)  # fmt: skip
"""add: a record. recall: records found for a question, touched where flags is 1. close: a fact ends. flag: a record's
marks change. core, tree: a core block or a leaf has a new text. reflected: an agent reflected. forget, evict: records
leave the index. episode: an episode was closed. refused: an operation was not possible. archetype: an agent reads an
owner's records."""

LOG: dict[str, tuple[str, Any]] = {
    "op": ("text", ""),
    "agent": ("int32", -1),
    "id": ("int64", -1),
    "kind": ("text", ""),
    "t_event": ("int32", -1),
    "importance": ("float64", np.nan),
    "value": ("float64", np.nan),
    "source": ("int32", -1),
    "subject": ("text", ""),
    "predicate": ("text", ""),
    "object": ("text", ""),
    "place": ("text", ""),
    "valid_from": ("int32", -1),
    "valid_to": ("int32", -1),
    "depth": ("int32", 0),
    "flags": ("int32", 0),
    "text": ("text", ""),
    "refs": ("text", ""),
    "links": ("text", ""),
    "data": ("text", ""),
}
"""Columns of the log: type, and the value that means none. ``refs`` and ``links`` are ids with spaces between them."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """Rows of the log in order: a column is a list or array of ``n``, or one value for all; left out, it is none."""

    n: int
    columns: Mapping[str, Any]


def ids_text(ids: Sequence[int]) -> str:
    """Return ids as the log writes them."""
    return " ".join(map(str, ids))


def ids_of_text(text: str) -> tuple[int, ...]:
    """Return ids that the log wrote."""
    return tuple(map(int, text.split())) if text else ()


def columns_of(parts: Sequence[LogPart]) -> tuple[int, dict[str, Any]]:
    """Return the parts as whole columns: arrays for numbers, lists for texts, one value where all rows agree."""
    n = sum(part.n for part in parts)
    out: dict[str, Any] = {}
    for name, (kind, none) in LOG.items():
        values = [(part.columns.get(name, none), part.n) for part in parts]
        if all(not isinstance(v, list | np.ndarray) and _same(v, values[0][0]) for v, _ in values):
            out[name] = values[0][0] if values else none
        elif kind == "text":
            out[name] = [text for v, m in values for text in (v if isinstance(v, list) else [v] * m)]
        else:
            wide = [np.asarray(v, kind) if isinstance(v, list | np.ndarray) else np.full(m, v, kind) for v, m in values]
            out[name] = np.concatenate(wide)
    return n, out


def _same(a: Any, b: Any) -> bool:
    return bool(a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)))


def rows_of(n: int, columns: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part of the log as dicts of plain values."""
    lists = []
    for name, (_, none) in LOG.items():
        column = columns.get(name, none)
        if isinstance(column, np.ndarray):
            lists.append(column.tolist())
        elif isinstance(column, list):
            lists.append(column)
        else:
            lists.append([column] * n)
    names = tuple(LOG)
    for row in zip(*lists, strict=True):
        yield dict(zip(names, row, strict=True))


class Growing:
    """Columns that grow together: NumPy arrays with room to spare."""

    def __init__(self, types: Mapping[str, tuple[Any, Any]]) -> None:
        """``types``: by column its dtype and the value a new row has."""
        self._types = dict(types)
        self._room = 256
        self.n = 0
        """Rows."""
        self._arrays: dict[str, npt.NDArray[Any]] = {
            name: np.full(self._room, none, dtype) for name, (dtype, none) in self._types.items()
        }

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return a column, shape (n,); it may be written to until the next `extend`."""
        return self._arrays[name][: self.n]

    def extend(self, m: int) -> None:
        """Add ``m`` rows of none."""
        need = self.n + m
        if need > self._room:
            self._room = max(need, self._room * 2)
            for name, (dtype, none) in self._types.items():
                grown = np.full(self._room, none, dtype)
                grown[: self.n] = self._arrays[name][: self.n]
                self._arrays[name] = grown
        self.n = need

    def copy(self) -> Growing:
        """Return columns of their own."""
        other = Growing(self._types)
        other.extend(self.n)
        for name in self._types:
            other[name][:] = self[name]
        return other

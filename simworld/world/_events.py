"""What happened in a step, one row an event, gathered as cheap appends or as whole columns."""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NUMBERS: dict[str, tuple[Any, Any]] = {
    "agent": (np.int32, -1),
    "target": (np.int32, -1),
    "item": (np.int64, -1),
    "value": (np.float64, np.nan),
}
"""Numeric event columns with dtype and the value that means *none*."""

TEXTS = ("kind", "text", "data")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events of one kind, or single events: columns of equal length; a constant column may be one scalar."""

    n: int
    columns: Mapping[str, Any]


def checked_text(value: Any) -> Any:
    """Return a text that can be written as UTF-8.

    Raises:
        ValueError: it is no text, or holds half a surrogate pair.
    """
    if not isinstance(value, str):
        raise ValueError(f"a text was expected, got {value!r:.100}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text {value!r:.100} cannot be written as UTF-8") from error
    return value


def _exactly(name: str, array: npt.NDArray[Any]) -> Any:
    dtype = NUMBERS[name][0]
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype)
        same = (cast == array) | (np.isnan(cast) if cast.dtype.kind == "f" else False)
    if array.dtype.kind not in "iufb" or not same.all():
        raise ValueError(f"event column {name!r} takes {np.dtype(dtype).name}, got {array!r:.100}")
    if cast.dtype.kind == "f":
        cast = cast + 0.0  # one zero, as for single events: -0.0 would hash otherwise
    return cast if array.ndim else cast[()]


class EventBuffer:
    """Events since the last `drain`, in the order in which they were committed."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._rows: list[tuple[str, int, int, int, float, str, str]] = []
        self.counts: Counter[str] = Counter()
        """Events by kind since the last drain."""

    def one(self, kind: str, agent: int, target: int, item: int, value: float, text: str, data: Any) -> None:
        """Append one event."""
        packed = "" if data is None else json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)
        for what in (kind, text, packed):
            checked_text(what)
        agent, target, item = operator.index(agent), operator.index(target), operator.index(item)
        if not (-1 <= agent < 2**31 and -1 <= target < 2**31):
            raise ValueError(f"event {kind!r}: agent {agent} and target {target} must be ids, or -1 for none")
        self._rows.append((kind, agent, target, item, value + 0.0, text, packed))
        self.counts[kind] += 1

    def many(self, kind: str, columns: Mapping[str, npt.ArrayLike]) -> None:
        """Append events of one kind, given as numeric columns (numbers or shape (n,))."""
        arrays = {k: np.asarray(v) for k, v in columns.items()}
        n = max((len(a) for a in arrays.values() if a.ndim), default=1)
        if n == 0:
            return
        if any(a.ndim > 1 or (a.ndim == 1 and len(a) != n) for a in arrays.values()):
            raise ValueError(f"event columns of {kind!r} differ in length: { {k: a.shape for k, a in arrays.items()} }")
        self._flush()
        # Copied: the caller may hand over live columns of the table.
        typed = {k: _exactly(k, a) for k, a in arrays.items()}
        self._chunks.append(Chunk(n, {"kind": kind, **typed}))
        self.counts[kind] += n

    def _flush(self) -> None:
        if self._rows:
            kind, agent, target, item, value, text, data = zip(*self._rows, strict=True)
            columns = {
                "kind": kind,
                "agent": np.array(agent, np.int32),
                "target": np.array(target, np.int32),
                "item": np.array(item, np.int64),
                "value": np.array(value, np.float64),
                "text": text,
                "data": data,
            }
            self._chunks.append(Chunk(len(self._rows), columns))
            self._rows = []

    def drain(self) -> list[Chunk]:
        """Return what was gathered and start anew."""
        self._flush()
        chunks, self._chunks = self._chunks, []
        self.counts = Counter()
        return chunks

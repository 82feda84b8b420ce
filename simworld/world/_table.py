"""The state table: one row an agent (or entity), one typed array a declared column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.agent import ColumnSpec
from simworld.errors import ScenarioError
from simworld.world._events import checked_text

ALIVE = ColumnSpec("alive", np.dtype(np.bool_), True)


class Table:
    """Columns over rows 0..n-1. Rows are only ever added; a row that left has ``alive`` False."""

    def __init__(self, specs: Mapping[str, ColumnSpec]) -> None:
        self.specs: dict[str, ColumnSpec] = {"alive": ALIVE, **specs}
        self.n = 0
        self._buffers = {name: np.empty(0, spec.dtype) for name, spec in self.specs.items()}
        self.columns: dict[str, npt.NDArray[Any]] = dict(self._buffers)
        """Arrays of shape (n,), live views until rows are added: writing to them changes the state."""
        self._shown: dict[str, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        try:
            return self.columns[name]
        except KeyError:
            raise ScenarioError(f"no column {name!r}; there are {list(self.columns)}") from None

    def __setitem__(self, name: str, values: Any) -> None:
        column = self[name]
        column[:] = self._fitting(name, values, self.n)

    def append(self, n: int, values: Mapping[str, Any] | None = None) -> int:
        """Add ``n`` rows, with values given as one for all or shape (n,), and return the first new row."""
        if n < 0:
            raise ValueError(f"cannot add {n} rows")
        # Everything is checked before anything changes.
        new = {name: self._fitting(name, value, n) for name, value in (values or {}).items()}
        first, self.n = self.n, self.n + n
        for name, spec in self.specs.items():
            buffer = self._buffers[name]
            if len(buffer) < self.n:
                grown = np.empty(self.n if not len(buffer) else max(self.n, 2 * len(buffer)), spec.dtype)
                grown[:first] = buffer[:first]
                self._buffers[name] = buffer = grown
            self.columns[name] = view = buffer[: self.n]
            view[first:] = new.get(name, spec.default)
        return first

    def _fitting(self, name: str, value: Any, n: int) -> npt.NDArray[Any]:
        spec = self.specs[name]
        array = np.asarray(spec.encode(value), object if spec.dtype == object else None)
        whole = array.dtype.kind in "iu" and spec.dtype.kind in "iu" and bool((array.astype(spec.dtype) == array).all())
        if not whole and not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise ValueError(f"column {name!r} is of {spec.dtype}, got {array.dtype}")
        return np.broadcast_to(array, (n,))

    def text(self, name: str) -> npt.NDArray[np.object_]:
        """Return a categorical column as its labels, shape (n,)."""
        labels: npt.NDArray[np.object_] = np.array(self.specs[name].categories, object)[self[name]]
        return labels

    def changed(self) -> npt.NDArray[np.int64]:
        """Return the rows that differ from what the last call saw (all rows the first time), ascending."""
        shown = self._shown
        known = len(next(iter(shown.values()))) if shown else 0
        differs = np.zeros(self.n, bool)
        differs[known:] = True
        for name, column in self.columns.items():
            if known:
                old, new = shown[name], column[:known]
                if new.dtype.kind == "f":
                    # By bits, so that 0.0 turning into -0.0 is seen; a NaN is a NaN.
                    bits = f"u{new.itemsize}"
                    unequal = (old.view(bits) != new.view(bits)) & ~(np.isnan(old) & np.isnan(new))
                else:
                    unequal = old != new
                differs[:known] |= unequal
        rows = np.flatnonzero(differs)
        if shown and known == self.n:
            for name, column in self.columns.items():
                shown[name][rows] = column[rows]
        else:
            self._shown = {name: column.copy() for name, column in self.columns.items()}
        return rows

    def rows(self, at: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Return the given rows as columns, labels in place of codes."""
        out = {}
        for name, spec in self.specs.items():
            out[name] = self.text(name)[at] if spec.categories else self.columns[name][at]
            if spec.dtype == object:
                for text in out[name]:
                    checked_text(text)
        return out

    def restore(self, columns: Mapping[str, Any]) -> None:
        """Replace the whole content by columns as `rows` gave them, row 0 first."""
        n = len(columns["alive"])
        self._shown = {}
        if n > self.n:
            self.append(n - self.n)
        self.n = n
        for name, spec in self.specs.items():
            self.columns[name] = self._buffers[name][:n]
            self.columns[name][:] = spec.encode(np.asarray(columns[name], object) if spec.categories else columns[name])
        self.changed()

"""Blocks: typed columns in one answer, read by a page without parsing, and JSON that holds nothing but JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNED = 8
"""Every column begins at a multiple of so many bytes: the page reads float64 in place."""
TYPES = {"f32": "<f4", "f64": "<f8", "i32": "<i4", "u32": "<u4", "u16": "<u2", "u8": "<u1"}
"""Types of a column by name."""
_NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
_LARGEST = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of codes into a list of texts; the largest code of the type is none."""

    codes: npt.NDArray[Any]
    labels: Sequence[str]


def code_type(n_labels: int) -> npt.DTypeLike:
    """Return the type of codes into so many labels, with one code more for none."""
    return np.uint8 if n_labels < 255 else np.uint16 if n_labels < 65_535 else np.uint32


def narrow(values: npt.NDArray[Any], *, exact: bool = False) -> npt.NDArray[Any]:
    """Return a column in a type that blocks have: whole numbers as i32 where they fit, others as f32 (exact: f64)."""
    values = np.asarray(values)
    if values.dtype in _NAMES and values.dtype.kind != "f":
        return values
    if values.dtype.kind == "b":
        return values.astype("<u1")
    if values.dtype.kind in "iu":
        fits = not len(values) or (values.min() >= _LARGEST.min and values.max() <= _LARGEST.max)
        return values.astype("<i4" if fits else "<f8")
    with np.errstate(over="ignore"):
        return values.astype("<f8" if exact else "<f4")


def pack(columns: Mapping[str, npt.NDArray[Any] | Coded], *, rows: int | None = None, **more: Any) -> bytes:
    """Return a block: length of the header (u32), header (JSON), and the columns as they lie in memory."""
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    at = 0
    for name, column in columns.items():
        values = np.ascontiguousarray(column.codes if isinstance(column, Coded) else column)
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
        entry: dict[str, Any] = {
            "name": name, "type": _NAMES[values.dtype], "offset": at, "length": len(values),
        }  # fmt: skip
        if isinstance(column, Coded):
            entry["labels"] = list(column.labels)
        entries.append(entry)
        raw = values.tobytes()
        raw += b"\0" * (-len(raw) % ALIGNED)
        parts.append(raw)
        at += len(raw)
    n = rows if rows is not None else entries[0]["length"] if entries else 0
    header = to_json({"rows": n, "columns": entries, **more})
    # The body starts at a multiple of eight, counted from the beginning of the block.
    header += b" " * (-(4 + len(header)) % ALIGNED)
    return b"".join([len(header).to_bytes(4, "little"), header, *parts])


def unpack(block: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header of a block, and its columns: arrays, or lists of texts (None for none) where it has labels."""
    start = 4 + int.from_bytes(block[:4], "little")
    header = json.loads(block[4:start])
    columns: dict[str, Any] = {}
    for entry in header["columns"]:
        values = np.frombuffer(block, TYPES[entry["type"]], entry["length"], start + entry["offset"])
        labels = entry.get("labels")
        columns[entry["name"]] = values if labels is None else [
            labels[code] if code < len(labels) else None for code in values.tolist()
        ]  # fmt: skip
    return header, columns


def to_json(value: Any) -> bytes:
    """Return JSON as browsers read it: no NaN, no lone surrogates."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(finite(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def finite(value: Any) -> Any:
    """Return a value with None for every number that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value


def cut(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, saying how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"

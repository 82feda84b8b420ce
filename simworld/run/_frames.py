"""Between a society and the tables of a run: what a step changed as frames, their canonical hash, their journal form.

A `Frame` is a dict of columns, each a NumPy array, a list of texts, or one value that holds for every row. Most event
columns say one thing a step, so they are hashed and kept once; polars comes in when rows are sealed or read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from simworld.memory import LOG
from simworld.world import NUMBERS, TEXTS, Chunk, StepRecord, TieChanges

TEXT = "text"
"""Type name of a text column; numeric columns are named by their NumPy dtype."""

EVENTS: dict[str, str] = {
    "step": "int32",
    "kind": TEXT,
    "agent": "int32",
    "target": "int32",
    "item": "int64",
    "value": "float64",
    "text": TEXT,
    "data": TEXT,
}
"""One row an event; -1, NaN and "" mean none; ``data`` is JSON."""

TIES: dict[str, str] = {
    "step": "int32",
    "kind": TEXT,
    "op": TEXT,
    "source": "int32",
    "target": "int32",
    "weight": "float64",
}
"""One row a change of a tie; ``op`` is ``set`` (made, or weight changed) or ``removed``."""

MEMORY: dict[str, str] = {"step": "int32", **{name: kind for name, (kind, _) in LOG.items()}}
"""One row a write, recall or change of a memory, in order; see `simworld.memory.LOG`."""

_POLARS = {
    "int8": pl.Int8, "int16": pl.Int16, "int32": pl.Int32, "int64": pl.Int64, "uint8": pl.UInt8, "uint16": pl.UInt16,
    "uint32": pl.UInt32, "uint64": pl.UInt64, "float32": pl.Float32, "float64": pl.Float64, "bool": pl.Boolean,
    TEXT: pl.String,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """A table of ``n`` rows: ``types`` by column; a column is an array, a list of texts, or one value for all."""

    n: int
    types: Mapping[str, str]
    columns: Mapping[str, Any]

    def polars(self, *, sealing: bool = False) -> pl.DataFrame:
        """Return the frame as a table; ``sealing`` leaves nulls for a column of empty texts."""
        series = []
        for name, kind in self.types.items():
            dtype, column = _POLARS[kind], self.columns[name]
            if isinstance(column, np.ndarray | list):
                series.append(pl.Series(name, column, dtype=dtype))
            else:
                # Parquet takes a column of empty texts ten times longer than one of nulls; `without_nulls` undoes it.
                one = None if sealing and column == "" else column
                series.append(pl.Series(name, [one], dtype=dtype).new_from_index(0, self.n))
        return pl.DataFrame(series)


def without_nulls(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table with "" where a text column of a stream has nulls, which stand for nothing else there."""
    return table.with_columns(pl.col(pl.String).fill_null(""))


def frame_of(table: pl.DataFrame) -> Frame:
    """Return the frame of a table that was read back."""
    types = {n: TEXT if t == pl.String else str(t).lower().replace("boolean", "bool") for n, t in table.schema.items()}
    columns = {
        n: table[n].to_list() if k == TEXT or table[n].null_count() else table[n].to_numpy() for n, k in types.items()
    }
    return Frame(table.height, types, columns)


def empty(types: Mapping[str, str]) -> pl.DataFrame:
    """Return a table without rows."""
    return pl.DataFrame(schema={name: _POLARS[kind] for name, kind in types.items()})


def events_frame(t: int, chunks: Sequence[Chunk]) -> Frame:
    """Return the events of one step, in the order committed."""
    n = sum(chunk.n for chunk in chunks)
    columns: dict[str, Any] = {"step": t}
    for name in list(EVENTS)[1:]:
        none = "" if name in TEXTS else NUMBERS[name][1]
        parts = [(chunk.columns.get(name, none), chunk.n) for chunk in chunks]
        if len(parts) == 1:
            columns[name] = _plain(parts[0][0])
        elif name in TEXTS:
            columns[name] = [text for part, m in parts for text in ([part] * m if isinstance(part, str) else part)]
        else:
            dtype = NUMBERS[name][0]
            wide = [part if isinstance(part, np.ndarray) else np.full(m, part, dtype) for part, m in parts]
            columns[name] = one_nan(np.concatenate(wide)) if wide else np.zeros(0, dtype)
    return Frame(n, EVENTS, columns)


def _plain(part: Any) -> Any:
    if isinstance(part, tuple):
        return list(part)
    return part.item() if isinstance(part, np.generic) else one_nan(part)


def one_nan(column: Any) -> Any:
    """Return a column with one NaN for all: its sign depends on the processor, and JSON does not keep it."""
    if isinstance(column, np.ndarray) and column.dtype.kind == "f":
        missing = np.isnan(column)
        if missing.any():
            return np.where(missing, column.dtype.type(np.nan), column)
    return column


def ties_frame(t: int, changes: TieChanges, kinds: Sequence[str]) -> Frame:
    """Return the tie changes of one step, in the order made."""
    columns = {
        "step": t,
        "kind": _labels(kinds, changes.kind),
        "op": _labels(("set", "removed"), changes.op),
        "source": np.asarray(changes.source, np.int32),
        "target": np.asarray(changes.target, np.int32),
        "weight": np.asarray(changes.weight, np.float64),
    }
    return Frame(len(changes), TIES, columns)


def _labels(labels: Sequence[str], codes: Any) -> Any:
    if len(codes) and codes.min() == codes.max():
        return labels[codes[0]]
    return np.array(labels, object)[codes].tolist()


def changes_of(table: pl.DataFrame, kinds: Sequence[str]) -> TieChanges:
    """Return tie changes from their table."""
    codes = {kind: i for i, kind in enumerate(kinds)}
    return TieChanges(
        kind=np.array([codes[k] for k in table["kind"].to_list()], np.int16),
        op=(table["op"] == "removed").to_numpy().astype(np.int8),
        source=table["source"].to_numpy().astype(np.int32),
        target=table["target"].to_numpy().astype(np.int32),
        weight=table["weight"].to_numpy().astype(np.float64),
    )


def memory_frame(t: int, n: int, columns: Mapping[str, Any]) -> Frame:
    """Return the log of memories of one step, in the order written."""
    return Frame(n, MEMORY, {"step": t, **{name: one_nan(column) for name, column in columns.items()}})


def memory_parts(table: pl.DataFrame) -> list[tuple[int, int, dict[str, Any]]]:
    """Return the log of memories from its table: step, rows and columns, a step at a time."""
    parts = []
    for (step,), part in table.partition_by("step", as_dict=True, maintain_order=True).items():
        columns: dict[str, Any] = {
            name: part[name].to_list() if kind == TEXT else part[name].to_numpy() for name, (kind, _) in LOG.items()
        }
        parts.append((int(step), part.height, columns))
    return parts


def table_frame(t: int, rows: Any, columns: Mapping[str, Any]) -> Frame:
    """Return the changed rows of one table after step ``t``: ``step``, ``id`` and a column each."""
    types = {"step": "int32", "id": "int64"}
    out: dict[str, Any] = {"step": t, "id": np.asarray(rows, np.int64)}
    for name, column in columns.items():
        array = np.asarray(column)
        types[name] = TEXT if array.dtype == object else array.dtype.name
        out[name] = array.tolist() if array.dtype == object else one_nan(array)
    return Frame(len(rows), types, out)


def frames_of(record: StepRecord, kinds: Sequence[str]) -> dict[str, Frame]:
    """Return all frames of one step by stream: ``events``, ``ties``, ``memory`` if it is kept, and one a table."""
    frames = {"events": events_frame(record.t, record.events), "ties": ties_frame(record.t, record.ties, kinds)}
    if record.memory is not None:
        frames["memory"] = memory_frame(record.t, *record.memory)
    for name, (rows, columns) in record.tables.items():
        frames[name] = table_frame(record.t, rows, columns)
    return frames


def _one_value(column: Any) -> tuple[bool, Any]:
    """Whether a column says one thing in every row, and what."""
    if isinstance(column, list):
        return column.count(column[0]) == len(column), column[0]
    if not isinstance(column, np.ndarray):
        return True, column
    # Bits, not values: 0.0 and -0.0 are two things, a NaN is itself.
    bits = np.ascontiguousarray(column).view(f"u{column.itemsize}")
    return bool((bits == bits[0]).all()), column[0].item()


def update_hash(digest: Any, name: str, frame: Frame) -> None:
    """Feed one frame into a hash, by content: independent of how the rows were chunked, stored or compressed."""
    digest.update(f"{name}:{frame.n}\n".encode())
    if not frame.n:
        return
    for column, kind in frame.types.items():
        values = frame.columns[column]
        is_one, first = _one_value(values)
        digest.update(f"{column}:{kind}:{'one' if is_one else 'all'}\n".encode())
        if is_one or isinstance(values, list):
            text = json.dumps(_canonical(first, kind) if is_one else values, ensure_ascii=False)
            digest.update(text.encode("utf-8", "surrogatepass"))
        else:
            digest.update(
                np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).view(np.uint8)
            )


def _canonical(value: Any, kind: str) -> Any:
    # 1 and 1.0 and True are one number in Python and three texts in JSON. A None in a list of metrics stays None.
    if kind == TEXT or value is None:
        return value
    return float(value) if kind.startswith("float") else bool(value) if kind == "bool" else int(value)


def chained(previous: str, frames: Iterable[tuple[str, Frame]], rest: str = "") -> str:
    """Return the next link of a hash chain: sha256 over the previous link, the frames of a step, and the rest."""
    digest = hashlib.sha256(f"{previous}:{rest}".encode())
    for name, frame in frames:
        update_hash(digest, name, frame)
    return digest.hexdigest()


def pack(frame: Frame) -> bytes:
    """Return a frame as bytes for the journal: a JSON header with what is constant, then the raw arrays."""
    kept: dict[str, Any] = {}
    raw: list[bytes] = []
    for name, column in frame.columns.items():
        is_one, first = _one_value(column)
        if is_one:
            kept[name] = {"one": first}
        elif isinstance(column, list):
            kept[name] = {"all": column}
        else:
            narrow = _narrowed(column)
            raw.append(np.ascontiguousarray(narrow.astype(narrow.dtype.newbyteorder("<"), copy=False)).tobytes())
            kept[name] = {"bytes": len(raw[-1]), "as": narrow.dtype.name}
    header = json.dumps({"n": frame.n, "types": dict(frame.types), "columns": kept}).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *raw])


def _narrowed(column: Any) -> Any:
    # Counts, codes and moves kept as float64 are mostly small whole numbers: an eighth of the bytes says the same.
    if column.dtype == np.float64 and abs(column[0]) <= 127:
        with np.errstate(invalid="ignore"):
            small = column.astype(np.int8)
        if (small == column).all() and not (np.signbit(column) & (small == 0)).any():
            return small
    if column.dtype.kind in "iu" and column.itemsize > 1:
        low, high = column.min(), column.max()
        for narrow in (np.int8, np.int16, np.int32):
            if (
                np.iinfo(narrow).min <= low
                and high <= np.iinfo(narrow).max
                and np.dtype(narrow).itemsize < column.itemsize
            ):
                return column.astype(narrow)
    return column


def unpack(blob: bytes) -> Frame:
    """Return the frame that `pack` took."""
    at = 4 + int.from_bytes(blob[:4], "little")
    header = json.loads(blob[4:at])
    columns: dict[str, Any] = {}
    for name, kind in header["types"].items():
        kept = header["columns"][name]
        if "bytes" in kept:
            dtype = np.dtype(kept["as"]).newbyteorder("<")
            columns[name] = np.frombuffer(blob, dtype, kept["bytes"] // dtype.itemsize, at).astype(kind, copy=False)
            at += kept["bytes"]
        else:
            columns[name] = kept["one"] if "one" in kept else kept["all"]
    return Frame(header["n"], header["types"], columns)


def state_at(frame: pl.DataFrame, t: int) -> pl.DataFrame:
    """Return a table as it was after step ``t``, row 0 first, from its changed rows in step order."""
    rows = frame.lazy().filter(pl.col("step") <= t).group_by("id", maintain_order=True).last().sort("id").collect()
    return rows.with_columns(pl.lit(t, pl.Int32).alias("step")).select(frame.columns)


def panel(frame: pl.DataFrame, steps: Sequence[int]) -> pl.DataFrame:
    """Return the full table at each of the steps, from its changed rows: one row an id and step."""
    if not frame.height:
        return frame
    born = frame.group_by("id").agg(pl.col("step").min().alias("_born"))
    grid = born.join(pl.DataFrame({"step": pl.Series(sorted(steps), dtype=pl.Int32)}), how="cross")
    grid = grid.filter(pl.col("step") >= pl.col("_born")).drop("_born").sort("step")
    full = grid.join_asof(frame.sort("step"), on="step", by="id", strategy="backward", check_sortedness=False)
    return full.sort("step", "id").select(frame.columns)

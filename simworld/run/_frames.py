"""Between a society and the tables of a run: what a step changed as polars frames, and the frames' canonical hash."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from simworld.world import NUMBERS, TEXTS, Chunk, StepRecord, TieChanges

EVENTS_SCHEMA: dict[str, pl.DataType] = {
    "step": pl.Int32(),
    "kind": pl.String(),
    "agent": pl.Int32(),
    "target": pl.Int32(),
    "item": pl.Int64(),
    "value": pl.Float64(),
    "text": pl.String(),
    "data": pl.String(),
}
"""One row an event; -1, NaN and "" mean none; ``data`` is JSON."""

TIES_SCHEMA: dict[str, pl.DataType] = {
    "step": pl.Int32(),
    "kind": pl.String(),
    "op": pl.String(),
    "source": pl.Int32(),
    "target": pl.Int32(),
    "weight": pl.Float64(),
}
"""One row a change of a tie; ``op`` is ``set`` (made, or weight changed) or ``removed``."""

_OPS = np.array(["set", "removed"], object)


def events_frame(t: int, chunks: Sequence[Chunk]) -> pl.DataFrame:
    """Return the events of one step, in the order committed."""
    frames = []
    for chunk in chunks:
        given, n = chunk.columns, chunk.n
        columns: dict[str, Any] = {"step": np.full(n, t, np.int32)}
        for name in EVENTS_SCHEMA:
            if name == "step":
                continue
            value = given.get(name, "" if name in TEXTS else NUMBERS[name][1])
            if isinstance(value, str):
                columns[name] = pl.repeat(value, n, dtype=pl.String, eager=True)
            elif np.ndim(value) == 0:
                columns[name] = np.full(n, value, NUMBERS[name][0])
            else:
                columns[name] = value if isinstance(value, np.ndarray) else list(value)
        frames.append(pl.DataFrame(columns, schema=EVENTS_SCHEMA))
    return pl.concat(frames) if frames else pl.DataFrame(schema=EVENTS_SCHEMA)


def ties_frame(t: int, changes: TieChanges, kinds: Sequence[str]) -> pl.DataFrame:
    """Return the tie changes of one step, in the order made."""
    if not len(changes):
        return pl.DataFrame(schema=TIES_SCHEMA)
    return pl.DataFrame(
        {
            "step": np.full(len(changes), t, np.int32),
            "kind": np.array(kinds, object)[changes.kind],
            "op": _OPS[changes.op],
            "source": changes.source,
            "target": changes.target,
            "weight": changes.weight,
        },
        schema=TIES_SCHEMA,
    )


def changes_of(frame: pl.DataFrame, kinds: Sequence[str]) -> TieChanges:
    """Return tie changes from their frame."""
    codes = {kind: i for i, kind in enumerate(kinds)}
    return TieChanges(
        kind=np.array([codes[k] for k in frame["kind"].to_list()], np.int16),
        op=(frame["op"] == "removed").to_numpy().astype(np.int8),
        source=frame["source"].to_numpy().astype(np.int32),
        target=frame["target"].to_numpy().astype(np.int32),
        weight=frame["weight"].to_numpy().astype(np.float64),
    )


def table_frame(t: int, rows: Any, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Return the changed rows of one table after step ``t``: ``step``, ``id`` and a column each."""
    frame: dict[str, Any] = {
        "step": pl.Series(np.full(len(rows), t, np.int32)),
        "id": pl.Series(np.asarray(rows, np.int64)),
    }
    for name, column in columns.items():
        array = np.asarray(column)
        frame[name] = pl.Series(array.tolist(), dtype=pl.String) if array.dtype == object else pl.Series(array)
    return pl.DataFrame(frame)


def frames_of(record: StepRecord, kinds: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return all frames of one step by stream: ``events``, ``ties``, and one a table."""
    frames = {"events": events_frame(record.t, record.events), "ties": ties_frame(record.t, record.ties, kinds)}
    for name, (rows, columns) in record.tables.items():
        frames[name] = table_frame(record.t, rows, columns)
    return frames


def update_hash(digest: Any, name: str, frame: pl.DataFrame) -> None:
    """Feed one frame into a hash, by content: independent of how the rows were chunked, stored or compressed."""
    digest.update(f"{name}:{frame.height}\n".encode())
    if not frame.height:
        return
    for series in frame.get_columns():
        digest.update(f"{series.name}\n".encode())
        if series.dtype == pl.String or series.null_count():
            runs = [(value, len(list(same))) for value, same in itertools.groupby(series.to_list())]
            digest.update(json.dumps(runs, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        else:
            array = series.to_numpy()
            digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data.cast("B"))


def chained(previous: str, frames: Iterable[tuple[str, pl.DataFrame]]) -> str:
    """Return the next link of a hash chain: sha256 over the previous link and the frames of one step."""
    digest = hashlib.sha256(previous.encode())
    for name, frame in frames:
        update_hash(digest, name, frame)
    return digest.hexdigest()


def state_at(frame: pl.DataFrame | pl.LazyFrame, t: int) -> pl.DataFrame:
    """Return a table as it was after step ``t``, row 0 first, from its changed rows in step order."""
    rows = frame.lazy().filter(pl.col("step") <= t).group_by("id").last().sort("id").collect()
    return rows.with_columns(pl.lit(t, pl.Int32).alias("step")).select(frame.lazy().collect_schema().names())


def panel(frame: pl.DataFrame, steps: Sequence[int]) -> pl.DataFrame:
    """Return the full table at each of the steps, from its changed rows: one row an id and step."""
    if not frame.height:
        return frame
    born = frame.group_by("id").agg(pl.col("step").min().alias("_born"))
    grid = born.join(pl.DataFrame({"step": pl.Series(sorted(steps), dtype=pl.Int32)}), how="cross")
    grid = grid.filter(pl.col("step") >= pl.col("_born")).drop("_born").sort("step")
    full = grid.join_asof(frame.sort("step"), on="step", by="id", strategy="backward", check_sortedness=False)
    return full.sort("step", "id").select(frame.columns)

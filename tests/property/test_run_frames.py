"""The canonical hash and the journal form of a frame: any content, one hash, bit for bit back."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from simworld.run._frames import (
    EVENTS,
    TEXT,
    Frame,
    chained,
    empty,
    events_frame,
    frame_of,
    pack,
    panel,
    state_at,
    ties_frame,
    unpack,
    update_hash,
)
from simworld.run._plan import metrics_frame, plain
from simworld.world import TieChanges
from simworld.world._events import EventBuffer

NUMERIC = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "bool"]
TEXTS = st.text(st.characters(exclude_categories=()), max_size=6)
"""Every code point, lone surrogates and NUL too."""
SANE = st.text(max_size=6)


def hashed(frame: Frame) -> str:
    digest = hashlib.sha256()
    update_hash(digest, "table", frame)
    return digest.hexdigest()


@st.composite
def numeric_columns(draw: st.DrawFn, n: int, kind: str) -> np.ndarray:
    dtype = np.dtype(kind)
    constant = draw(st.booleans())
    if dtype.kind == "f" and draw(st.booleans()):
        # Raw bits: NaNs with payloads, signed zeros, subnormals.
        bits = hnp.arrays(f"u{dtype.itemsize}", n)
        column = draw(bits).view(dtype)
    elif dtype.kind == "f" and draw(st.booleans()):
        column = draw(hnp.arrays(np.int8, n)).astype(dtype)
        column[draw(st.integers(0, n - 1))] = draw(st.sampled_from([-0.0, 0.5, 128.0, np.nan, np.inf]))
    else:
        column = draw(hnp.arrays(dtype, n))
    return np.full(n, column[0]) if constant else column


@st.composite
def frames(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> Frame:
    n = draw(st.integers(1, 12))
    types: dict[str, str] = {}
    columns: dict[str, Any] = {}
    for i, kind in enumerate(draw(st.lists(st.sampled_from([*NUMERIC, TEXT]), min_size=1, max_size=4))):
        types[f"c{i}"] = kind
        if kind == TEXT:
            columns[f"c{i}"] = draw(st.one_of(st.lists(texts, min_size=n, max_size=n), texts.map(lambda t: [t] * n)))
        else:
            columns[f"c{i}"] = draw(numeric_columns(n, kind))
    return Frame(n, types, columns)


def whole(frame: Frame, name: str) -> Any:
    """Return a column in full, whatever form it is kept in."""
    column = frame.columns[name]
    if isinstance(column, np.ndarray | list):
        return column
    return [column] * frame.n if frame.types[name] == TEXT else np.full(frame.n, column, frame.types[name])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def is_constant_nan(column: Any) -> bool:
    """A column of one NaN is kept as *NaN*; its payload is no part of the record."""
    return isinstance(column, np.ndarray) and column.dtype.kind == "f" and bool(np.isnan(column).all())


@given(frames(TEXTS))
def test_a_packed_frame_comes_back_bit_for_bit(frame: Frame) -> None:
    again = unpack(pack(frame))
    assert (again.n, dict(again.types)) == (frame.n, dict(frame.types))
    for name, kind in frame.types.items():
        if kind == TEXT:
            assert whole(again, name) == frame.columns[name]
        elif not is_constant_nan(frame.columns[name]):
            assert same_bits(whole(again, name), frame.columns[name])
        else:
            assert np.isnan(whole(again, name)).all()
    assert hashed(again) == hashed(frame)
    assert pack(again) == pack(frame)


@given(frames(SANE))
def test_a_frame_read_back_from_polars_has_the_same_hash(frame: Frame) -> None:
    table = frame.polars()
    assert hashed(frame_of(table)) == hashed(frame)
    assert hashed(frame_of(unpack(pack(frame)).polars())) == hashed(frame)


@settings(max_examples=30)
@given(frames(SANE), st.integers(0, 12))
def test_a_frame_read_back_from_parquet_has_the_same_hash_however_it_was_chunked(frame: Frame, cut: int) -> None:
    import io

    table = frame.polars()
    table = pl.concat([table[:cut], table[cut:]], rechunk=False)
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd", compression_level=1)
    buffer.seek(0)
    assert hashed(frame_of(pl.read_parquet(buffer))) == hashed(frame)


@given(frames(SANE), st.data())
def test_one_bit_more_is_another_hash(frame: Frame, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(frame.types)))
    row = data.draw(st.integers(0, frame.n - 1))
    column = whole(frame, name)
    changed = list(column) if isinstance(column, list) else column.copy()
    if isinstance(changed, list):
        changed[row] = changed[row] + "x"
    elif changed.dtype == bool:
        changed[row] = ~changed[row]
    elif changed.dtype.kind == "f" and (np.isnan(changed[row]) or is_constant_nan(column)):
        changed[row] = 1.0
    else:
        changed.view(f"u{changed.itemsize}")[row] ^= 1
    assert hashed(Frame(frame.n, frame.types, {**frame.columns, name: changed})) != hashed(frame)


def test_what_looks_alike_is_not_the_same() -> None:
    def one(kind: str, *values: Any) -> str:
        column = list(values) if kind == TEXT else np.array(values, kind)
        return hashed(Frame(len(values), {"c": kind}, {"c": column}))

    assert one("float64", 0.0) != one("float64", -0.0)
    assert one("float64", 0.0, 1.0) != one("float64", -0.0, 1.0)
    assert one("int64", 1) != one("float64", 1.0) != one("bool", True)
    assert one(TEXT, "1") != one("int64", 1)
    assert one(TEXT, "a", "b") != one(TEXT, "b", "a") != one(TEXT, "ab", "")
    assert one(TEXT, "nan") != one("float64", np.nan)
    assert one("int64", 1, 1) != one("int64", 1)
    assert one("uint64", 2**64 - 1) != one("int64", -1)


def test_the_hash_is_the_documented_one() -> None:
    """Worked by hand: a header, then a constant as JSON, or little-endian bytes, or all texts as one JSON list."""
    types = {"step": "int32", "x": "float64", "w": TEXT}
    columns = {"step": 3, "x": np.array([1.0, 2.5]), "w": ["a", "é"]}
    text = b"table:2\n" + b"step:int32:one\n" + b"3" + b"x:float64:all\n" + np.array([1.0, 2.5], "<f8").tobytes()
    text += b"w:text:all\n" + '["a", "é"]'.encode()
    assert hashed(Frame(2, types, columns)) == hashlib.sha256(text).hexdigest()
    chain = chained("ab", [("table", Frame(2, types, columns)), ("none", frame_of(empty(EVENTS)))])
    assert chain == hashlib.sha256(b"ab:" + text + b"none:0\n").hexdigest()
    assert chained("ab", [], "rest") == hashlib.sha256(b"ab:rest").hexdigest()


EVENT = st.tuples(
    st.sampled_from(["a", "b", "é"]), st.integers(-1, 5), st.integers(-1, 5), st.integers(-1, 2**62),
    st.floats(), SANE, st.none() | st.dictionaries(SANE, st.integers() | SANE, max_size=2),
)  # fmt: skip


@given(st.lists(EVENT, max_size=10), st.data())
def test_the_hash_of_events_does_not_depend_on_how_they_were_gathered(events: list[Any], data: st.DataObject) -> None:
    together = EventBuffer()
    for event in events:
        together.one(*event)
    pieces = EventBuffer()
    chunks = []
    for event in events:
        kind, agent, target, item, value, text, more = event
        if data.draw(st.booleans()) and not text and more is None:
            columns = {"agent": [agent], "target": target, "item": [item], "value": value}
            pieces.many(kind, columns)
        else:
            pieces.one(*event)
        if data.draw(st.booleans()):
            chunks += pieces.drain()
    chunks += pieces.drain()
    a, b = events_frame(4, together.drain()), events_frame(4, chunks)
    assert a.n == b.n == len(events)
    assert hashed(a) == hashed(b)
    if a.n:
        assert hashed(unpack(pack(b))) == hashed(frame_of(a.polars()))
        rows = a.polars().rows()
        for row, event in zip(rows, events, strict=True):
            assert row[:5] == (4, *event[:4])
            assert repr(row[5]) == repr(event[4] + 0.0)  # one zero
            assert row[6] == event[5]
            assert row[7] == ("" if event[6] is None else json.dumps(event[6], sort_keys=True, ensure_ascii=False))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 9), st.integers(0, 9))))
def test_tie_changes_keep_their_order_and_their_words(rows: list[tuple[int, int, int, int]]) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    changes = TieChanges(
        columns[0].astype(np.int16), columns[1].astype(np.int8), columns[2].astype(np.int32),
        columns[3].astype(np.int32), np.arange(len(rows)) / 4,
    )  # fmt: skip
    frame = ties_frame(2, changes, ("likes", "owes"))
    expected = [(2, ("likes", "owes")[k], ("set", "removed")[op], u, v, i / 4) for i, (k, op, u, v) in enumerate(rows)]
    assert frame.polars().rows() == expected


@st.composite
def histories(draw: st.DrawFn) -> list[dict[int, tuple[float, str]]]:
    """Return full tables by step; rows are only added, cells change at will."""
    now: dict[int, tuple[float, str]] = {}
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        for _ in range(draw(st.integers(0, 3))):
            now[len(now)] = (0.0, "new")
        for i in draw(st.sets(st.sampled_from(sorted(now)), max_size=3)) if now else ():
            now[i] = (draw(st.sampled_from([0.0, 1.0, 2.0])), draw(st.sampled_from(["new", "", "old"])))
        steps.append(dict(now))
    return steps


@given(histories(), st.data())
def test_the_panel_and_the_state_are_the_tables_there_were(
    history: list[dict[int, tuple[float, str]]], data: st.DataObject
) -> None:
    recorded = [t for t in range(len(history)) if t in (0, len(history) - 1) or data.draw(st.booleans())]
    rows, before = [], {}
    for t in recorded:
        rows += [(t, i, *cell) for i, cell in history[t].items() if before.get(i) != cell]
        before = history[t]
    schema = {"step": pl.Int32, "id": pl.Int64, "x": pl.Float64, "w": pl.String}
    changes = pl.DataFrame(rows, schema=schema, orient="row")
    expected = [(t, i, *cell) for t in recorded for i, cell in sorted(history[t].items())]
    assert panel(changes, recorded).rows() == expected
    for t in recorded:
        assert state_at(changes, t).rows() == [(t, i, *cell) for i, cell in sorted(history[t].items())]


METRIC = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.just(math.nan) | SANE


def test_a_nan_with_a_sign_is_a_nan_after_the_journal() -> None:
    measured: list[tuple[int, dict[str, Any]]] = [(0, {"a": 0.5}), (1, {"a": plain(np.copysign(np.nan, -1.0))})]
    again = [(t, json.loads(json.dumps(row))) for t, row in measured]
    assert hashed(frame_of(metrics_frame(measured))) == hashed(frame_of(metrics_frame(again)))


@given(st.lists(st.dictionaries(st.sampled_from("abc"), METRIC), min_size=1, max_size=5))
def test_metrics_are_the_same_table_after_the_journal(rows: list[dict[str, Any]]) -> None:
    measured = [(t, {name: plain(value) for name, value in row.items()}) for t, row in enumerate(rows)]
    again = [(t, json.loads(json.dumps(row))) for t, row in measured]
    a, b = metrics_frame(measured), metrics_frame(again)
    assert a.equals(b)
    assert hashed(frame_of(a)) == hashed(frame_of(b))


@pytest.mark.parametrize("value, text", [
    (np.float64(0.5), 0.5), (np.int32(3), 3), (np.bool_(True), True), (np.array([1, 2]), "[1, 2]"),
    ({"b": np.int64(1), "a": [1.5]}, '{"a": [1.5], "b": 1}'), ((1, 2), "[1, 2]"), (object(), '"<object>"'),
    ([object()], '["<object>"]'), (None, None), ({1: "x", (2, 3): "y"}, "{1: 'x', (2, 3): 'y'}"),
])  # fmt: skip
def test_a_metric_that_is_no_number_becomes_text_that_is_the_same_everywhere(value: Any, text: Any) -> None:
    assert plain(value) == text
    assert type(plain(value)) is type(text)

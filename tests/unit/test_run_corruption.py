"""A file that was truncated, altered, swapped or lost: named by `verify`, refused by whoever reads it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
import simworld.run._store as store
from simworld.errors import CorruptRunError, SimworldError, StorageError, UsageError
from simworld.run import Run
from tests.unit.test_run_society import begin_and_cut, read_everything, write_hamlet


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seals."""
    folder = tmp_path_factory.mktemp("original")
    patch = pytest.MonkeyPatch()
    patch.setattr(store, "SEAL_STEPS", 4)
    sw.run(write_hamlet(folder), seed=6, steps=6, out=folder / "run")
    patch.undo()
    return folder / "run"


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


@pytest.fixture
def unfinished(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interrupted run with a sealed part and a part in the journal."""
    monkeypatch.setattr(store, "SEAL_STEPS", 4)
    return begin_and_cut(str(original.parent / "hamlet.py"), tmp_path / "cut", 6, seed=6, steps=9)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def cut_to_nothing(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(bytes(content))


def scribble(file: Path) -> None:
    file.write_bytes(b"not what was here before")


DAMAGE = [truncate, cut_to_nothing, flip, scribble, Path.unlink]
SEGMENTS = [
    "events/events-0000000-0000003.parquet", "state/agents-0000004-0000006.parquet",
    "state/ties-0000000-0000003.parquet", "state/parcels-0000000-0000003.parquet",
]  # fmt: skip
SINGLE = ["metrics.parquet", "findings.parquet"]


def test_the_run_is_whole_before_it_is_damaged(run: Path) -> None:
    assert sw.load_run(run).verify()
    assert all((run / file).exists() for file in (*SEGMENTS, *SINGLE))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", SEGMENTS)
def test_a_damaged_segment_is_named_by_verify(run: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(run / file)
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert str(run / file) in str(outcome)
    whole = sw.load_run(run).verify()
    assert [c.ok for c in whole.checks if c.what == "run again"] == [True]


@pytest.mark.parametrize("damage", [truncate, cut_to_nothing, scribble, Path.unlink])
@pytest.mark.parametrize("file", SEGMENTS)
def test_who_reads_a_damaged_segment_is_told_its_name(run: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(run / file)
    with pytest.raises(CorruptRunError, match=str(run / file)):
        read_everything(sw.load_run(run))


def test_two_segments_swapped(run: Path) -> None:
    a, b = (run / f"events/events-{span}.parquet" for span in ("0000000-0000003", "0000004-0000006"))
    one, other = a.read_bytes(), b.read_bytes()
    a.write_bytes(other)
    b.write_bytes(one)
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert str(a) in str(outcome)


def test_every_damaged_segment_is_named_not_the_first_alone(run: Path) -> None:
    """verify does not stop at the first segment that does not match."""
    for file in SEGMENTS:
        flip(run / file)
    text = str(sw.load_run(run).verify(again=False))
    assert all(file in text for file in SEGMENTS)


def test_a_segment_altered_by_someone_who_knows_parquet_is_refused_on_reading(run: Path) -> None:
    """Altered rows must not be shown as the run's."""
    file = run / SEGMENTS[1]
    pl.read_parquet(file).with_columns(wealth=pl.lit(1e9)).write_parquet(file)
    with pytest.raises(CorruptRunError, match=str(file)):
        _ = sw.load_run(run).states


def test_a_resume_refuses_a_segment_that_was_altered(unfinished: Path) -> None:
    """It must not go on from altered rows and call the run finished."""
    file = next((unfinished / "state").glob("agents-*"))
    pl.read_parquet(file).with_columns(wealth=pl.lit(1e9)).write_parquet(file)
    with pytest.raises(CorruptRunError, match=str(file)):
        sw.resume(unfinished)


def test_a_resume_refuses_when_sealed_events_are_damaged(unfinished: Path) -> None:
    """It must not finish a folder that could not verify."""
    file = next((unfinished / "events").glob("events-*"))
    scribble(file)
    with pytest.raises(CorruptRunError, match=str(file)):
        sw.resume(unfinished)


@pytest.mark.parametrize("damage", [truncate, cut_to_nothing, scribble, Path.unlink])
@pytest.mark.parametrize("stream", ["agents", "ties", "parcels"])
def test_a_resume_refuses_state_it_cannot_read(unfinished: Path, stream: str, damage: Callable[[Path], None]) -> None:
    file = next((unfinished / "state").glob(f"{stream}-*"))
    damage(file)
    with pytest.raises(CorruptRunError, match=str(file)):
        sw.resume(unfinished)
    assert sw.load_run(unfinished).status != "finished"


@pytest.mark.parametrize("damage", [truncate, cut_to_nothing, scribble])
@pytest.mark.parametrize("file", SINGLE)
def test_damaged_metrics_and_findings_are_named(run: Path, file: str, damage: Callable[[Path], None]) -> None:
    damage(run / file)
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert file in str(outcome)
    with pytest.raises(CorruptRunError, match=str(run / file)):
        read_everything(sw.load_run(run))


def test_lost_findings_are_named_by_verify(run: Path) -> None:
    (run / "findings.parquet").unlink()
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert "findings.parquet is missing" in str(outcome)


def test_lost_findings_are_not_shown_as_no_findings(run: Path) -> None:
    """A finished run without its findings.parquet reads as one that found nothing."""
    (run / "findings.parquet").unlink()
    with pytest.raises(CorruptRunError, match=r"findings\.parquet"):
        _ = sw.load_run(run).findings


@pytest.mark.parametrize("file", SINGLE)
def test_altered_metrics_are_named_by_verify(run: Path, file: str) -> None:
    """Metrics and findings have no sha256 in the manifest: verify says the digest is another and names no file."""
    table = pl.read_parquet(run / file)
    column = next(name for name, kind in table.schema.items() if kind == pl.Float64)
    table.with_columns(pl.col(column).fill_nan(0.0) + 1.0).write_parquet(run / file)
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert file in str(outcome)


@pytest.mark.parametrize("file", ["inputs/graph.parquet", "inputs/personas.parquet"])
def test_altered_inputs_are_named_by_verify(run: Path, file: str) -> None:
    """Inputs have no sha256 in the manifest; files-only verify passes, and a resume would start from them."""
    flip(run / file)
    outcome = sw.load_run(run).verify(again=False)
    assert not outcome
    assert file in str(outcome)


@pytest.mark.parametrize("file", ["inputs/graph.parquet", "inputs/personas.parquet"])
def test_inputs_that_cannot_be_read_fail_the_repetition(run: Path, file: str) -> None:
    scribble(run / file)
    outcome = sw.load_run(run).verify()
    assert not outcome
    assert str(run / file) in str(outcome)


@pytest.mark.parametrize("damage", [cut_to_nothing, scribble, Path.unlink])
def test_a_damaged_journal_of_a_finished_run_is_named(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / "journal.sqlite")
    outcome = sw.load_run(run).verify()
    assert not outcome
    assert str(run / "journal.sqlite") in str(outcome)
    with pytest.raises(CorruptRunError, match=str(run / "journal.sqlite")):
        _ = sw.load_run(run).states
    # What is sealed can still be read.
    assert sw.load_run(run).events.height


@pytest.mark.parametrize("damage", [cut_to_nothing, scribble, Path.unlink])
def test_a_damaged_journal_of_an_unfinished_run_is_refused_and_left_alone(
    unfinished: Path, damage: Callable[[Path], None]
) -> None:
    """A lost journal is made anew and the run started over, or the advice is to free space; it is corruption."""
    for log in unfinished.glob("journal.sqlite-*"):
        log.unlink()
    file = unfinished / "journal.sqlite"
    damage(file)
    with pytest.raises(CorruptRunError, match=str(file)):
        sw.resume(unfinished)
    assert not list(unfinished.glob(".lock"))


def test_a_blob_of_the_journal_that_was_altered_is_refused(unfinished: Path) -> None:
    """unpack() raises what json and NumPy raise."""
    with sqlite3.connect(unfinished / "journal.sqlite") as db:
        db.execute("UPDATE pending SET frame = x'0000000900'")
    db.close()
    with pytest.raises(CorruptRunError, match=r"journal\.sqlite"):
        _ = sw.load_run(unfinished).events


def test_globals_altered_in_the_journal_are_noticed(unfinished: Path) -> None:
    """The Globals are in the hash chain: a resume does not believe whatever the journal says."""
    with sqlite3.connect(unfinished / "journal.sqlite") as db:
        db.execute("UPDATE steps SET globals = replace(globals, 'day 1', 'day X')")
    db.close()
    with pytest.raises(CorruptRunError, match=r"journal\.sqlite"):
        sw.resume(unfinished)


# -- the manifest --------------------------------------------------------------------------------------------------


def edit(run: Path, **changes: Any) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize("damage", [truncate, cut_to_nothing, scribble])
def test_a_damaged_manifest_is_named(run: Path, damage: Callable[[Path], None]) -> None:
    damage(run / "manifest.json")
    with pytest.raises(CorruptRunError, match=str(run / "manifest.json")):
        sw.load_run(run)


def test_a_lost_manifest_is_no_run(run: Path) -> None:
    (run / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"is not a run: it has no manifest\.json"):
        sw.load_run(run)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"text"', '{"format": 2}', '{"format": "1"}', "{}"])
def test_json_that_is_no_manifest_is_named(run: Path, content: str) -> None:
    (run / "manifest.json").write_text(content)
    with pytest.raises(CorruptRunError, match=str(run / "manifest.json")):
        sw.load_run(run)


def test_a_digest_edited_in_the_manifest(run: Path) -> None:
    edit(run, digest="0" * 64)
    outcome = sw.load_run(run).verify()
    assert {c.what: c.ok for c in outcome.checks} == {"files": False, "content": False, "run again": False}
    assert "manifest.json was altered" in str(outcome)
    assert "the manifest says " + "0" * 64 in str(outcome)


def test_a_segment_dropped_from_the_manifest(run: Path) -> None:
    segments = sw.load_run(run).manifest["segments"]
    edit(run, segments=segments[1:])
    assert not sw.load_run(run).verify(again=False)


@pytest.mark.parametrize("change", [{"seed": 7}, {"steps": 5}, {"mind": "null"}])
def test_a_plan_edited_in_the_manifest_does_not_repeat_the_run(run: Path, change: dict[str, Any]) -> None:
    plan = sw.load_run(run).manifest["plan"]
    edit(run, plan={**plan, **change})
    assert not sw.load_run(run).verify()


@pytest.mark.parametrize("change", [
    {"steps_done": 3}, {"parts": {}}, {"notes": ["all is well"]}, {"versions": {}}, {"mind_note": "a language model"},
])  # fmt: skip
def test_any_field_edited_in_the_manifest_is_noticed(run: Path, change: dict[str, Any]) -> None:
    """Nothing vouches for the manifest itself; a sha256 of the rest of it would."""
    edit(run, **change)
    assert not sw.load_run(run).verify()


def read_and_verify(run: Path) -> None:
    read_everything(sw.load_run(run))
    sw.load_run(run).verify(again=False)


@pytest.mark.parametrize("name", ["status", "plan", "notes", "tie_kinds", "steps_done", "segments", "digest"])
def test_a_field_missing_from_the_manifest_is_named(run: Path, name: str) -> None:
    """KeyError, TypeError or pydantic's ValidationError come through."""
    manifest = json.loads((run / "manifest.json").read_text())
    del manifest[name]
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptRunError, match=str(run / "manifest.json")):
        read_and_verify(run)


# -- a byte anywhere -----------------------------------------------------------------------------------------------


def shown(run: Run) -> list[Any]:
    return [run.metrics, run.findings, run.events, run.ties, run.states, run.table("parcels"), run.digest]


def one_bit(content: bytes, chance: np.random.Generator) -> bytes:
    altered = bytearray(content)
    altered[chance.integers(len(content))] ^= 1 << int(chance.integers(8))
    return bytes(altered)


@pytest.mark.slow
@pytest.mark.parametrize("file", SEGMENTS)
def test_one_bit_anywhere_in_a_segment_fails_verify(run: Path, file: str) -> None:
    content, chance = (run / file).read_bytes(), np.random.default_rng(1)
    for _ in range(40):
        (run / file).write_bytes(one_bit(content, chance))
        outcome = sw.load_run(run).verify(again=False)
        assert not outcome
        assert str(run / file) in str(outcome)


@pytest.mark.slow
@pytest.mark.parametrize("file", SEGMENTS)
def test_one_bit_anywhere_in_a_segment_is_refused_or_changes_nothing(run: Path, file: str) -> None:
    """Without the sha256, polars shows other rows without a word, or panics (not even an Exception)."""
    right = shown(sw.load_run(run))
    content, chance = (run / file).read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        (run / file).write_bytes(one_bit(content, chance))
        try:
            seen = shown(sw.load_run(run))
        except CorruptRunError:
            continue
        except BaseException as error:  # a polars panic is one
            raise AssertionError("a foreign error came through") from error
        assert all(a.equals(b) if isinstance(a, pl.DataFrame) else a == b for a, b in zip(seen, right, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["manifest.json", "journal.sqlite"])
def test_one_bit_anywhere_never_crashes_verify(run: Path, file: str) -> None:
    content, chance = (run / file).read_bytes(), np.random.default_rng(2)
    foreign = []
    for _ in range(60):
        (run / file).write_bytes(one_bit(content, chance))
        try:
            sw.load_run(run).verify(again=False)
        except SimworldError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever is foreign is the finding
            foreign.append(type(error).__name__)
    assert not foreign


def test_errors_are_of_the_documented_kinds() -> None:
    assert issubclass(CorruptRunError, SimworldError)
    assert issubclass(StorageError, SimworldError)
    assert not issubclass(CorruptRunError, UsageError)

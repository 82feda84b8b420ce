"""The folder of one run on disk: a SQLite journal for what is not sealed yet, sealed Parquet segments for what is.

A step is one transaction of the journal. At a checkpoint the journal's frames are sealed: each stream is written to a
temporary file, synced, renamed, and only then, in one transaction, entered in the table of segments and dropped from
the journal. Killed in between, the file without an entry is removed by the next resume and its rows sealed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from simworld.errors import CorruptRunError, StorageError, UsageError
from simworld.run._frames import Frame, pack, unpack, without_nulls

SEAL_STEPS = 50
"""Steps between seals; arbitrary."""
SEAL_ROWS = 150_000
"""Rows after which a seal does not wait for the steps; small enough that sealing goes on beside the stepping."""

WAL_PAGES = 2_048
"""Pages (32 KiB) of the write-ahead log before SQLite folds it in, with a sync; arbitrary, 64 MiB."""

_TABLES = """
CREATE TABLE IF NOT EXISTS steps (
    step INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL, globals TEXT NOT NULL, metrics TEXT NOT NULL,
    events_chain TEXT NOT NULL, state_chain TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pending (
    step INTEGER NOT NULL, stream TEXT NOT NULL, rows INTEGER NOT NULL, frame BLOB NOT NULL,
    PRIMARY KEY (step, stream)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS segments (
    stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, file TEXT NOT NULL, rows INTEGER NOT NULL,
    sha256 TEXT NOT NULL, chain TEXT NOT NULL, PRIMARY KEY (stream, first)) WITHOUT ROWID;
"""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Map what the disk says to an error that names the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or permissions, then: simworld resume"
        ) from error
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error) or "malformed" in str(error):
            raise CorruptRunError(f"{path} was altered or is damaged: {error}") from error
        raise StorageError(f"cannot write {path}: {error}; free space or permissions, then: simworld resume") from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write what is inside whole or not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def write_whole(path: Path, content: bytes) -> str:
    """Write a file so that it is there whole or not at all, and return its sha256."""
    temporary = path.with_name(path.name + ".tmp")
    with writing(path):
        try:
            if path.parent.name in ("events", "state", "inputs"):
                path.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def parquet_bytes(frame: pl.DataFrame) -> bytes:
    """Return a frame as zstd Parquet."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return buffer.getvalue()


def is_being_written(path: Path) -> bool:
    """Whether a process is writing the run in this folder right now."""
    from filelock import FileLock, Timeout

    if not (path / ".lock").exists():
        return False
    try:
        with FileLock(path / ".lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # a disk that cannot be written is not being written


class Store:
    """One run's folder, open for writing by one process; one thread of it at a time."""

    def __init__(self, path: Path, *, is_new: bool = False, has_tape: bool = False) -> None:
        """Open a folder; a new one gets a journal. With a tape beside it, every step is synced to the disk.

        Raises:
            UsageError: another process is writing it.
            CorruptRunError: its journal is missing or cannot be read.
        """
        from filelock import FileLock, Timeout

        self.path = path
        self._has_tape = has_tape
        journal = path / "journal.sqlite"
        if not is_new and not (journal.exists() and journal.stat().st_size):
            raise CorruptRunError(f"{journal} is missing or empty; without it the run cannot be resumed")
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(f"another process is writing {path}; wait for it or stop it first") from None
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
        self.journal = path / "journal.sqlite"
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with writing(self.journal):
            self._db = sqlite3.connect(self.journal, isolation_level=None, check_same_thread=False, timeout=60)
            self._db.execute("PRAGMA page_size=32768")  # large blobs: a long chain of small pages is slow
            self._db.execute("PRAGMA journal_mode=WAL")
            # NORMAL survives kill -9; a power cut may lose the last steps, which rules recompute. Never a torn file.
            # With a tape the step's commit is synced, and with it all that the tape wrote before: that was paid for.
            self._db.execute(f"PRAGMA synchronous={'FULL' if self._has_tape else 'NORMAL'}")
            self._db.execute("PRAGMA secure_delete=OFF")  # sealed frames need no overwriting with zeros
            self._db.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
            self._db.executescript(_TABLES)
        self._count()

    def _count(self) -> None:
        self._pending_rows: int = self._db.execute("SELECT coalesce(sum(rows), 0) FROM pending").fetchone()[0]
        self._sealed: int = self._db.execute("SELECT coalesce(max(last), -1) FROM segments").fetchone()[0]

    def commit(
        self,
        t: int,
        frames: Mapping[str, Frame],
        *,
        checkpoint: bool,
        globals_json: str,
        metrics: str,
        events_chain: str,
        state_chain: str,
    ) -> None:
        """Add one step, whole or not at all."""
        blobs = [(t, stream, frame.n, pack(frame)) for stream, frame in frames.items() if frame.n]
        with writing(self.journal), transaction(self._db):
            row = (t, int(checkpoint), globals_json, metrics, events_chain, state_chain)
            self._db.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?)", row)
            self._db.executemany("INSERT INTO pending VALUES (?, ?, ?, ?)", blobs)
        self._pending_rows += sum(frame.n for frame in frames.values())
        if checkpoint and (self._pending_rows > SEAL_ROWS or t - self._sealed >= SEAL_STEPS):
            self.seal()

    def seal(self) -> None:
        """Move everything up to the last checkpoint from the journal into sealed segments."""
        checkpoint = "SELECT step, events_chain, state_chain FROM steps WHERE checkpoint ORDER BY step DESC LIMIT 1"
        found = self._db.execute(checkpoint).fetchone()
        first = self._sealed + 1
        if found is None or found[0] < first:
            return
        last, events_chain, state_chain = found
        entries = []
        streams = self._db.execute("SELECT DISTINCT stream FROM pending WHERE step <= ? ORDER BY stream", (last,))
        for (stream,) in streams.fetchall():
            query = "SELECT frame FROM pending WHERE stream = ? AND step <= ? ORDER BY step"
            frame = pl.concat([unpack(b).polars(sealing=True) for (b,) in self._db.execute(query, (stream, last))])
            file = f"{'events' if stream == 'events' else 'state'}/{stream}-{first:07d}-{last:07d}.parquet"
            sha256 = write_whole(self.path / file, parquet_bytes(frame))
            chain = events_chain if stream == "events" else state_chain
            entries.append((stream, first, last, file, frame.height, sha256, chain))
        if not entries:
            return
        with writing(self.journal), transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", entries)
            self._db.execute("DELETE FROM pending WHERE step <= ?", (last,))
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._count()

    def rewind(self) -> int:
        """Forget the steps after the last checkpoint, to be computed again; return it (-1: nothing is there)."""
        with writing(self.journal), transaction(self._db):
            last = self._db.execute("SELECT coalesce(max(step), -1) FROM steps WHERE checkpoint").fetchone()[0]
            self._db.execute("DELETE FROM steps WHERE step > ?", (last,))
            self._db.execute("DELETE FROM pending WHERE step > ?", (last,))
            if self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'tallies'").fetchone():
                self._db.execute("DELETE FROM tallies WHERE step > ?", (last,))
        known = {self.path / entry["file"] for entry in _entries(self._db)}
        strays = [f for d in ("events", "state") for f in sorted((self.path / d).glob("*")) if f not in known]
        for stray in strays:
            # The one kind that is lawful begins where the known ones end: its writer died before it was entered.
            if stray.suffix == ".parquet" and int(stray.stem.split("-")[-2]) > self._sealed + 1:
                raise CorruptRunError(
                    f"{stray} was sealed, but {self.journal} does not know what came before it (its -wal file is "
                    "missing, or it was replaced); put it back"
                )
        for stray in strays:
            stray.unlink()
        return int(last)

    def finish(self) -> list[dict[str, Any]]:
        """Seal the rest, fold the write-ahead log into the journal, and return the segments."""
        self.seal()
        # Without a log beside it, a reader of the finished run creates no file. A reader of this moment may hinder it.
        self._db.execute("PRAGMA busy_timeout=2000")
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA journal_mode=DELETE")
        return _entries(self._db)

    def close(self) -> None:
        """Close the journal and let go of the folder."""
        if hasattr(self, "_db"):
            self._db.close()
        (self.path / ".lock").unlink(missing_ok=True)
        self._lock.release()


def _entries(db: sqlite3.Connection) -> list[dict[str, Any]]:
    names = ("stream", "first", "last", "file", "rows", "sha256", "chain")
    rows = db.execute(f"SELECT {', '.join(names)} FROM segments ORDER BY stream, first").fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


NEEDED = {"status", "plan", "mind_note", "notes", "tie_kinds", "directed", "tables", "files", "versions"}
NEEDED_AT_THE_END = {"steps_done", "digest", "parts", "segments"}


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """Return the sha256 of what a manifest says."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


class Contents:
    """What a run's folder holds, for reading; finished, interrupted or still growing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text("utf-8"))
            version = self.manifest["format"]
        except FileNotFoundError:
            raise UsageError(f"{path} is not a run: it has no manifest.json (simworld show lists runs)") from None
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise CorruptRunError(f"{path / 'manifest.json'} cannot be read: {error}") from error
        missing = (NEEDED | (NEEDED_AT_THE_END if self.is_finished else set())) - self.manifest.keys()
        if missing:
            raise CorruptRunError(f"{path / 'manifest.json'} lacks {sorted(missing)}; it was altered or is damaged")
        entry = {"stream", "first", "last", "file", "rows", "sha256", "chain"}
        if any(entry - e.keys() for e in self.manifest.get("segments", ())):
            raise CorruptRunError(f"{path / 'manifest.json'} has an incomplete segment; it was altered or is damaged")
        if version != 1:
            raise CorruptRunError(f"{path / 'manifest.json'} has format {version!r}; this simworld reads format 1")

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end; its files are then final."""
        return bool(self.manifest.get("status") == "finished")

    @contextmanager
    def _journal(self) -> Iterator[sqlite3.Connection]:
        file = self.path / "journal.sqlite"
        if not file.exists():
            raise CorruptRunError(f"{file} is missing; an unfinished run cannot be read without it")
        db = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)
        try:
            yield db
        except sqlite3.Error as error:
            raise CorruptRunError(f"{file} cannot be read: {error}") from error
        finally:
            db.close()

    def segments(self) -> list[dict[str, Any]]:
        """Return the sealed segments, in order of stream and step."""
        if self.is_finished:
            return list(self.manifest["segments"])
        with self._journal() as db:
            return _entries(db)

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps: number, checkpoint, globals, metrics, chains."""
        names = ("step", "checkpoint", "globals", "metrics", "events_chain", "state_chain")
        with self._journal() as db:
            rows = db.execute(f"SELECT {', '.join(names)} FROM steps ORDER BY step").fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def check_files(self) -> None:
        """Compare every file with the sha256 that was taken when it was written.

        Raises:
            CorruptRunError: it names each file that is missing, truncated or altered.
        """
        faults = []
        stated = {k: v for k, v in self.manifest.items() if k != "sha256"}
        if self.manifest.get("sha256") != manifest_hash(stated):
            faults.append(f"{self.path / 'manifest.json'} was altered")
        for entry in self.segments():
            try:
                self.segment(entry)
            except CorruptRunError as error:
                faults.append(str(error))
        for name in self.manifest["files"]:
            try:
                self.parquet(name)
            except CorruptRunError as error:
                faults.append(str(error))
        if faults:
            raise CorruptRunError("; ".join(faults))

    def segment(self, entry: Mapping[str, Any]) -> pl.DataFrame:
        """Read one segment.

        Raises:
            CorruptRunError: it is missing, truncated or altered.
        """
        file = self.path / str(entry["file"])
        try:
            content = file.read_bytes()
        except FileNotFoundError as error:
            raise CorruptRunError(f"{file} is missing") from error
        except OSError as error:
            raise CorruptRunError(f"{file} cannot be read: {error.strerror or error}") from error
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise CorruptRunError(f"{file} was truncated or altered: its sha256 is not the one in the manifest")
        try:
            return pl.read_parquet(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise CorruptRunError(f"{file} is not whole Parquet: {error}") from error

    def stream(self, name: str) -> pl.DataFrame | None:
        """Return all rows of a stream, sealed or not, in step order; None when it never had any."""
        if self.is_finished:
            entries, blobs = self.segments(), []
        else:
            with self._journal() as db:
                # One transaction: the writer may seal while we read.
                db.execute("BEGIN")
                entries = _entries(db)
                query = "SELECT frame FROM pending WHERE stream = ? ORDER BY step"
                blobs = db.execute(query, (name,)).fetchall()
        frames = [without_nulls(self.segment(s)) for s in entries if s["stream"] == name]
        try:
            frames += [unpack(b).polars() for (b,) in blobs]
        except (ValueError, KeyError, TypeError, IndexError, pl.exceptions.PolarsError) as error:
            raise CorruptRunError(f"{self.path / 'journal.sqlite'} holds an unreadable frame: {error}") from error
        return pl.concat(frames) if frames else None

    def streams(self) -> dict[str, pl.DataFrame]:
        """Return all rows of every stream that has any."""
        names = ("events", "ties", "memory", *self.manifest["tables"])
        return {name: frame for name in names if (frame := self.stream(name)) is not None}

    def parquet(self, name: str) -> pl.DataFrame | None:
        """Read one of the run's single files, or None when it has none.

        Raises:
            CorruptRunError: it is missing, truncated or altered.
        """
        sha256 = self.manifest["files"].get(name)
        return None if sha256 is None else self.segment({"file": name, "sha256": sha256})

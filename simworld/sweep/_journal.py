"""The folder of a campaign: its plan, a journal with the outcome of every run, and the tables made of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simworld.errors import CampaignError, StorageError
from simworld.sweep._work import Outcome

_FORMAT = 2
"""Of the journal; kept in its ``user_version``."""

_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    key TEXT PRIMARY KEY, status TEXT NOT NULL, error TEXT NOT NULL, measured TEXT NOT NULL, series TEXT NOT NULL,
    digest TEXT NOT NULL, steps INTEGER NOT NULL, usd REAL NOT NULL, tokens INTEGER NOT NULL, seconds REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    at TEXT NOT NULL, digest TEXT NOT NULL, content_hash TEXT NOT NULL, planned INTEGER NOT NULL,
    finished INTEGER NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS frozen (at TEXT NOT NULL, digest TEXT NOT NULL, content_hash TEXT NOT NULL);
"""
"""As format 1 had them."""

_SINCE_2 = """
ALTER TABLE runs ADD COLUMN version INTEGER;
ALTER TABLE runs ADD COLUMN call INTEGER;
ALTER TABLE runs ADD COLUMN folder TEXT NOT NULL DEFAULT '';
ALTER TABLE calls ADD COLUMN began TEXT NOT NULL DEFAULT '';
UPDATE calls SET began = strftime('%Y-%m-%dT%H:%M:%S+00:00', at, '-' || seconds || ' seconds');
CREATE TABLE versions (id INTEGER PRIMARY KEY, said TEXT NOT NULL UNIQUE);
CREATE TABLE plan (
    point INTEGER NOT NULL, replicate INTEGER NOT NULL, key TEXT NOT NULL, folder TEXT NOT NULL,
    PRIMARY KEY (point, replicate)) WITHOUT ROWID;
CREATE INDEX plan_by_key ON plan (key);
CREATE TABLE manifest (said TEXT NOT NULL);
"""
"""``runs`` point to what made them: ``version`` last, ``call`` first; ``folder`` is under ``runs/``. ``calls.at`` is
when a call ended, empty for one that was killed. ``plan`` holds the runs that are wanted, ``manifest`` what
``campaign.json`` says; both change in one transaction."""


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"cannot use {path}: {error}; free space or permissions, then call it again") from error


def now() -> str:
    """Return the time as it is written down."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Journal:
    """Outcomes of runs, one transaction each; what is in it survives kill -9. Written by one process at a time."""

    def __init__(self, folder: Path, *, is_read_only: bool = False) -> None:
        """Open, and if need be make, the folder's journal.

        Raises:
            CampaignError: another process is at work on the campaign.
            StorageError: it cannot be used.
        """
        from filelock import FileLock, Timeout

        self.folder = folder
        self.file = folder / "campaign.sqlite"
        self._lock = FileLock(folder / ".lock")
        self._call: int | None = None
        self._version: int | None = None
        self._still: tuple[int, int] | None = None
        """Of a file that nobody writes to while it is read: its size and time."""
        if not is_read_only:
            with _mapped(folder):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise CampaignError(f"another process is at work on {folder}; wait for it, or stop it first") from None
            except OSError as error:
                raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
        try:
            with _mapped(self.file):
                mode = "?mode=ro" if is_read_only else ""
                if is_read_only and not self._is_written:
                    # Nobody is at work. SQLite would make files beside it, which a folder may not allow.
                    mode += "&immutable=1"
                    self._still = self._state_of_file()
                self._db = sqlite3.connect(f"{self.file.resolve().as_uri()}{mode}", uri=True, isolation_level=None)
                if not is_read_only:
                    self._db.execute("PRAGMA journal_mode=WAL")
                    self._db.execute("PRAGMA synchronous=NORMAL")
                    self._make_tables()
        except StorageError:
            self._release()
            raise

    @property
    def _is_written(self) -> bool:
        """Whether a process is at work on it, or was killed at it."""
        wal = self.file.with_name(self.file.name + "-wal")
        return wal.exists() and wal.stat().st_size > 0

    def _state_of_file(self) -> tuple[int, int]:
        found = self.file.stat()
        return found.st_size, found.st_mtime_ns

    @property
    def was_disturbed(self) -> bool:
        """Whether somebody began to write to a file that was being read as one that does not change."""
        return self._still is not None and (self._is_written or self._state_of_file() != self._still)

    def _make_tables(self) -> None:
        if self._format >= _FORMAT:
            return
        self._db.executescript(f"BEGIN IMMEDIATE;{_TABLES}{_SINCE_2}PRAGMA user_version = {_FORMAT};COMMIT;")

    @property
    def _format(self) -> int:
        with _mapped(self.file):
            return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @property
    def has_tables(self) -> bool:
        """Whether anything was written that can be read: not when a process died while making it."""
        return self._format >= _FORMAT

    def close(self) -> None:
        """Close it."""
        self._db.close()
        self._release()

    def _release(self) -> None:
        if self._lock.is_locked:
            (self.folder / ".lock").unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, outcome: Outcome) -> None:
        """Keep the outcome of one run, with what made it."""
        # What a scenario says of its error may be anything: text that no file can hold, or megabytes.
        said = outcome.error[:_LONGEST_ERROR].encode("utf-8", "backslashreplace").decode()
        row = (
            outcome.key, outcome.status, said, _json(outcome.values), _json(outcome.series), outcome.digest,
            outcome.steps, outcome.usd, outcome.tokens, outcome.seconds, self._version, self._call, outcome.key,
        )  # fmt: skip
        with _mapped(self.file):
            self._db.execute(_KEEP, row)

    def made_by(self, versions: Mapping[str, str]) -> None:
        """Say what makes the runs that are kept from now on: names and versions."""
        said = json.dumps(versions, sort_keys=True)
        with _mapped(self.file):
            self._db.execute("INSERT OR IGNORE INTO versions (said) VALUES (?)", (said,))
            self._version = self._db.execute("SELECT id FROM versions WHERE said = ?", (said,)).fetchone()[0]

    def versions(self) -> list[tuple[int, dict[str, str]]]:
        """Return how many runs of the plan were made by which versions, the most first."""
        query = """SELECT count(*), said FROM (SELECT DISTINCT key FROM plan) JOIN runs USING (key)
                   JOIN versions ON versions.id = runs.version GROUP BY said ORDER BY count(*) DESC, said"""
        with _mapped(self.file):
            return [(int(n), _read(said)) for n, said in self._db.execute(query)]

    def plan(self, manifest: str, tasks: Iterable[tuple[int, int, str, str]]) -> None:
        """Replace the plan: what is in ``campaign.json``, and point, replicate, key and folder of every run."""
        with _mapped(self.file), self._transaction():
            self._db.execute("DELETE FROM manifest")
            self._db.execute("INSERT INTO manifest VALUES (?)", (manifest,))
            self._db.execute("DELETE FROM plan")
            self._db.executemany("INSERT INTO plan VALUES (?, ?, ?, ?)", tasks)

    def extend(self, tasks: Iterable[tuple[int, int, str, str]]) -> None:
        """Add runs to the plan."""
        with _mapped(self.file), self._transaction():
            self._db.executemany("INSERT INTO plan VALUES (?, ?, ?, ?)", tasks)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def manifest(self) -> dict[str, Any] | None:
        """Return what ``campaign.json`` says of the plan that is here; None before there is one."""
        with _mapped(self.file):
            row = self._db.execute("SELECT said FROM manifest").fetchone()
        return None if row is None else _read(row[0])

    def tasks(self) -> Iterator[tuple[int, int, str]]:
        """Yield point, replicate and key of every run of the plan, in order."""
        with _mapped(self.file):
            yield from self._db.execute("SELECT point, replicate, key FROM plan ORDER BY point, replicate")

    def planned_at(self) -> dict[int, int]:
        """Return how many runs each point has in the plan."""
        with _mapped(self.file):
            return dict(self._db.execute("SELECT point, count(*) FROM plan GROUP BY point").fetchall())

    def folder_of(self, point: int, replicate: int) -> str:
        """Return the name of a run's folder under ``runs/``; empty when it is not in the plan, or has none."""
        with _mapped(self.file):
            row = self._db.execute(
                "SELECT folder FROM plan WHERE point = ? AND replicate = ?", (point, replicate)
            ).fetchone()
        return "" if row is None else str(row[0])

    def paid(self) -> dict[str, tuple[str, float, int]]:
        """Return status, dollars and tokens of every run that has a folder, by its name."""
        with _mapped(self.file):
            rows = self._db.execute("SELECT folder, status, usd, tokens FROM runs WHERE folder != ''").fetchall()
        return {folder: (status, usd, tokens) for folder, status, usd, tokens in rows}

    def state(self, points: Sequence[Mapping[str, Any]]) -> str:
        """Return the sha256 of all that the tables are made of: points, plan, and what came of each run.

        What a run measures is known by its key and its digest. Campaigns that are equal have one state.
        """
        found = hashlib.sha256(json.dumps([_FORMAT, list(points)], sort_keys=True).encode())
        query = """SELECT point, replicate, key, status, error, digest, steps, usd, tokens
                   FROM plan LEFT JOIN runs USING (key) ORDER BY point, replicate"""
        with _mapped(self.file):
            for row in self._db.execute(query):
                found.update(repr(row).encode())
        return found.hexdigest()

    def statuses(self) -> dict[str, str]:
        """Return the status of every run that is there, by key."""
        with _mapped(self.file):
            return dict(self._db.execute("SELECT key, status FROM runs").fetchall())

    def outcomes(self, keys: Sequence[str]) -> Iterator[Outcome | None]:
        """Yield the outcomes of these runs, in this order; None for one that is not there."""
        for key in keys:
            with _mapped(self.file):
                row = self._db.execute(f"SELECT {_OUTCOME} FROM runs WHERE key = ?", (key,)).fetchone()
            if row is None:
                yield None
            else:
                name, status, error, values, series, *rest = row
                yield Outcome(name, status, error, _read(values), _read(series), *rest)

    def value(self, key: str, column: str) -> float:
        """Return what one run gave for a measure; NaN when it failed or has none."""
        with _mapped(self.file):
            row = self._db.execute("SELECT status, measured FROM runs WHERE key = ?", (key,)).fetchone()
        if row is None or row[0] != "done":
            return math.nan
        return float(_read(row[1]).get(column, math.nan))

    def spent(self) -> tuple[float, int]:
        """Return dollars and tokens of all runs that are there."""
        with _mapped(self.file):
            row = self._db.execute("SELECT total(usd), total(tokens) FROM runs").fetchone()
        return float(row[0]), int(row[1])

    def seconds(self) -> list[float]:
        """Return how long each finished run took."""
        with _mapped(self.file):
            return [row[0] for row in self._db.execute("SELECT seconds FROM runs WHERE status = 'done'")]

    def freeze(self, digest: str, content_hash: str) -> str:
        """Write down what is going to be run, before anything was; return when.

        Raises:
            CampaignError: runs are there already, or something else was frozen.
        """
        before = self.frozen()
        if before is not None:
            if (before["digest"], before["content_hash"]) != (digest, content_hash):
                raise CampaignError(
                    f"{self.folder} was frozen at {before['at']} with another plan; name a new campaign"
                )
            return str(before["at"])
        if self.statuses():
            raise CampaignError(f"{self.folder} has runs already; what is frozen must be frozen before the first")
        at = now()
        with _mapped(self.file):
            self._db.execute("INSERT INTO frozen VALUES (?, ?, ?)", (at, digest, content_hash))
        return at

    def frozen(self) -> dict[str, str] | None:
        """Return what was frozen, and when; None when nothing was."""
        with _mapped(self.file):
            row = self._db.execute("SELECT at, digest, content_hash FROM frozen").fetchone()
        return None if row is None else dict(zip(("at", "digest", "content_hash"), row, strict=True))

    def called(self, digest: str, content_hash: str, planned: int, finished: int) -> None:
        """Keep that the campaign is called, and with what plan; a call that is killed stays like this."""
        with _mapped(self.file):
            row = (now(), "", digest, content_hash, planned, finished, 0.0)
            self._call = self._db.execute(
                "INSERT INTO calls (began, at, digest, content_hash, planned, finished, seconds) "
                f"VALUES ({', '.join('?' * 7)})", row,
            ).lastrowid  # fmt: skip

    def ended(self, planned: int, finished: int, seconds: float) -> None:
        """Keep what came of the call."""
        with _mapped(self.file):
            row = (now(), planned, finished, seconds, self._call)
            self._db.execute("UPDATE calls SET at = ?, planned = ?, finished = ?, seconds = ? WHERE rowid = ?", row)

    def calls(self) -> list[dict[str, Any]]:
        """Return every call so far: ``ended`` is empty for one under way or killed, ``made`` counts its new runs."""
        names = ("began", "ended", "digest", "content_hash", "planned", "finished", "seconds", "made")
        query = """SELECT began, at, calls.digest, content_hash, planned, finished, calls.seconds, count(runs.key)
                   FROM calls LEFT JOIN runs ON runs.call = calls.rowid GROUP BY calls.rowid ORDER BY calls.rowid"""
        with _mapped(self.file):
            return [dict(zip(names, row, strict=True)) for row in self._db.execute(query)]


_LONGEST_ERROR = 10_000
"""Characters of an error that are kept; arbitrary."""
_OUTCOME = "key, status, error, measured, series, digest, steps, usd, tokens, seconds"
_NEW = ("status", "error", "measured", "series", "digest", "steps", "usd", "tokens", "seconds", "version")
_KEEP = f"""
INSERT INTO runs ({_OUTCOME}, version, call, folder)
VALUES ({", ".join("?" * 12)}, coalesce((SELECT folder FROM plan WHERE key = ?), ''))
ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _NEW)}
"""


def reading[T](folder: Path, read: Callable[[Journal], T]) -> T:
    """Return what a function reads from the journal of a folder, which may be read-only or written to meanwhile.

    Raises:
        CampaignError: it is not there, or an earlier version wrote it.
        StorageError: it cannot be read.
    """
    if not (folder / "campaign.sqlite").is_file():
        raise CampaignError(f"{folder} has no campaign.sqlite, in which the outcome of every run is; call sweep again")
    for attempt in range(_LOOKS):
        try:
            with Journal(folder, is_read_only=True) as journal:
                if not journal.has_tables:
                    raise CampaignError(f"{journal.file} is of an earlier version or empty; call simworld sweep again")
                found = read(journal)
                if not journal.was_disturbed:
                    return found
        except StorageError:
            if attempt == _LOOKS - 1:
                raise
    raise StorageError(f"{folder / 'campaign.sqlite'} changes while it is read; try again")


_LOOKS = 3
"""How often a journal is read anew because somebody began to write to it; arbitrary."""


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values)  # NaN and infinity as Python reads them back


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def chunks[T](items: Iterable[T], n: int) -> Iterator[list[T]]:
    """Yield items n at a time."""
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) == n:
            yield held
            held = []
    if held:
        yield held

"""The folder of a campaign: its plan, a journal with the outcome of every run, and the tables made of it."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from simworld.errors import CampaignError, StorageError
from simworld.sweep._work import Outcome

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
        if not is_read_only:
            with _mapped(folder):
                folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise CampaignError(f"another process is at work on {folder}; wait for it, or stop it first") from None
            except OSError as error:
                raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
        with _mapped(self.file):
            mode = "?mode=ro" if is_read_only else ""
            self._db = sqlite3.connect(f"{self.file.resolve().as_uri()}{mode}", uri=True, isolation_level=None)
            if not is_read_only:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_TABLES)

    @property
    def has_tables(self) -> bool:
        """Whether anything was ever written: not when a process died while making it."""
        with _mapped(self.file):
            return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() is not None

    def close(self) -> None:
        """Close it."""
        self._db.close()
        if self._lock.is_locked:
            (self.folder / ".lock").unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def keep(self, outcome: Outcome) -> None:
        """Keep the outcome of one run."""
        row = (
            outcome.key, outcome.status, outcome.error, _json(outcome.values), _json(outcome.series), outcome.digest,
            outcome.steps, outcome.usd, outcome.tokens, outcome.seconds,
        )  # fmt: skip
        with _mapped(self.file):
            self._db.execute(f"INSERT OR REPLACE INTO runs VALUES ({', '.join('?' * 10)})", row)

    def statuses(self) -> dict[str, str]:
        """Return the status of every run that is there, by key."""
        with _mapped(self.file):
            return dict(self._db.execute("SELECT key, status FROM runs").fetchall())

    def outcomes(self, keys: Sequence[str]) -> Iterator[Outcome | None]:
        """Yield the outcomes of these runs, in this order; None for one that is not there."""
        for key in keys:
            with _mapped(self.file):
                row = self._db.execute("SELECT * FROM runs WHERE key = ?", (key,)).fetchone()
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

    def called(self, digest: str, content_hash: str, planned: int, finished: int, seconds: float) -> None:
        """Keep that the campaign was called, with what plan, and what came of it."""
        with _mapped(self.file):
            row = (now(), digest, content_hash, planned, finished, seconds)
            self._db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?)", row)

    def calls(self) -> list[dict[str, Any]]:
        """Return every call so far."""
        names = ("at", "digest", "content_hash", "planned", "finished", "seconds")
        with _mapped(self.file):
            rows = self._db.execute(f"SELECT {', '.join(names)} FROM calls ORDER BY rowid").fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]


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

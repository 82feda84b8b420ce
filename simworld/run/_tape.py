"""The tape of a run, in its journal: every call of a language model, each text once, kept the moment it arrives."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from simworld.errors import CorruptRunError
from simworld.mind.llm import Call, Hold, Position, Reply, Sampling, Spent, Tally, text_hash
from simworld.run._store import transaction, writing

_TABLES = """
CREATE TABLE IF NOT EXISTS texts (hash BLOB PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    step INTEGER NOT NULL, purpose TEXT NOT NULL, agent INTEGER NOT NULL, occurrence INTEGER NOT NULL,
    attempt INTEGER NOT NULL, replicate INTEGER NOT NULL, model TEXT NOT NULL, prompt BLOB NOT NULL,
    messages TEXT NOT NULL, temperature REAL, max_tokens INTEGER NOT NULL, seed INTEGER NOT NULL, reply BLOB NOT NULL,
    finish TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, is_counted INTEGER NOT NULL,
    usd REAL, seconds REAL NOT NULL, retries INTEGER NOT NULL, served_by TEXT NOT NULL, is_cached INTEGER NOT NULL,
    PRIMARY KEY (step, purpose, agent, occurrence, attempt, replicate)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tallies (
    step INTEGER NOT NULL, model TEXT NOT NULL, decision TEXT NOT NULL, asked INTEGER NOT NULL,
    first_try INTEGER NOT NULL, repaired INTEGER NOT NULL, again INTEGER NOT NULL, refused INTEGER NOT NULL,
    PRIMARY KEY (step, model, decision)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (
    step INTEGER NOT NULL, purpose TEXT NOT NULL, agent INTEGER NOT NULL, occurrence INTEGER NOT NULL,
    attempt INTEGER NOT NULL, model TEXT NOT NULL, usd REAL NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (step, purpose, agent, occurrence, attempt)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS earlier AS SELECT * FROM calls WHERE 0;
CREATE INDEX IF NOT EXISTS earlier_by_step ON earlier (step);
CREATE TABLE IF NOT EXISTS lost (model TEXT NOT NULL, usd REAL NOT NULL, tokens INTEGER NOT NULL);
"""

_SAID = "model, prompt, messages, temperature, max_tokens, seed, reply, finish, input_tokens, output_tokens, is_counted"
_KEY = "step, purpose, agent, occurrence, attempt, replicate"
_ALL = f"{_KEY}, {_SAID}, usd, seconds, retries, served_by, is_cached"
_AT = "step = ? AND purpose = ? AND agent = ? AND occurrence = ? AND attempt = ?"

_WHOLE = ("calls", "input_tokens", "output_tokens", "retries", "estimated", "cached")

CALLS = {
    "step": pl.Int32, "agent": pl.Int32, "purpose": pl.String, "occurrence": pl.Int32, "attempt": pl.Int32,
    "model": pl.String, "served_by": pl.String, "system": pl.String, "user": pl.String, "reply": pl.String,
    "finish": pl.String, "input_tokens": pl.Int64, "output_tokens": pl.Int64, "is_counted": pl.Boolean,
    "usd": pl.Float64, "seconds": pl.Float64, "retries": pl.Int32, "seed": pl.Int64,
}  # fmt: skip


class SqliteTape:
    """The tape in a run's journal; one thread at a time."""

    def __init__(self, journal: Path, *, replicate: int = 0, is_read_only: bool = False) -> None:
        """Open the tape of a journal, which must exist.

        Raises:
            StorageError: it cannot be written.
            CorruptRunError: it cannot be read.
        """
        self.journal = journal
        self._replicate = replicate
        self._is_read_only = is_read_only
        self._systems: set[bytes] = set()
        """Hashes of system texts that are there; they are said again and again."""
        self._step = -1
        self._rows: dict[Position, tuple[Any, ...]] = {}
        """Calls of `_step` that were there when the tape was opened."""
        self._earlier: dict[Position, tuple[Any, ...]] = {}
        """Calls of `_step` of the run that this one was forked from."""
        self._has_holds = False
        self.tallies: list[Tally] = []
        """Counted since it was opened, where it is only read."""
        if is_read_only and not journal.is_file():
            raise CorruptRunError(f"{journal} is missing; the tape was in it")
        with writing(journal):
            mode = "?mode=ro" if is_read_only else ""
            self._db = sqlite3.connect(
                f"file:{quote(str(journal))}{mode}", uri=True, isolation_level=None, check_same_thread=False, timeout=60
            )
            if not is_read_only:
                # kill -9 loses nothing that is in the log; the journal's own commit of the step syncs it to the disk.
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_TABLES)
                # What a process that died had sent may be billed.
                with transaction(self._db):
                    self._db.execute("INSERT INTO lost SELECT model, usd, tokens FROM holds")
                    self._db.execute("DELETE FROM holds")
        self._last = self._last_step()

    # -- as a tape ------------------------------------------------------------------------------------------------

    def find(self, position: Position) -> Call | None:
        """Return the call that stood at a position when the tape was opened."""
        if position.step > self._last:
            return None
        if position.step != self._step:
            self._step = position.step
            query = f"SELECT {_ALL} FROM {{}} WHERE step = ? AND replicate = ?"
            rows = self._read(query.format("calls"), position.step, self._replicate)
            self._rows = {Position(*row[:5]): row for row in rows}
            # What is only repeated must have been asked in this run.
            before = [] if self._is_read_only else self._read(query.format("earlier"), position.step, self._replicate)
            self._earlier = {Position(*row[:5]): row for row in before}
        row = self._rows.get(position)
        is_earlier = row is None
        if row is None and (row := self._earlier.get(position)) is None:
            return None
        _, _, _, _, _, _, model, prompt, messages, temperature, max_tokens, seed, reply, *more = row
        said = [(role, bytes.fromhex(name)) for role, name in json.loads(messages)]
        return Call(
            position, model, prompt, tuple((role, self._text(name)) for role, name in said),
            tuple(name for _, name in said), Sampling(temperature, max_tokens), seed, _reply(self._text(reply), more),
            is_earlier,
        )  # fmt: skip

    def write(self, calls: Sequence[Call], holds: Sequence[Hold] = (), freed: Sequence[Position] = ()) -> None:
        """Keep calls and holds, in one transaction."""
        texts: list[tuple[bytes, str]] = []
        systems: set[bytes] = set()
        rows = []
        for call in calls:
            reply, sampling = call.reply, call.sampling
            heard = text_hash(reply.text)
            texts.append((heard, reply.text))
            for (role, text), name in zip(call.messages, call.hashes, strict=True):
                if role != "system":
                    texts.append((name, text))
                elif name not in self._systems:
                    systems.add(name)
                    texts.append((name, text))
            pairs = ", ".join(
                f'["{role}", "{name.hex()}"]' for (role, _), name in zip(call.messages, call.hashes, strict=True)
            )
            rows.append(
                (
                    *call.position, self._replicate, call.model, call.prompt, f"[{pairs}]", sampling.temperature,
                    sampling.max_tokens, call.seed, heard, reply.finish, reply.input_tokens, reply.output_tokens,
                    reply.is_counted, reply.usd, reply.seconds, reply.retries, reply.served_by, reply.is_cached,
                )
            )  # fmt: skip
        with writing(self.journal), transaction(self._db):
            # Another prompt at a position of an earlier session (a changed scenario): its answer was paid for too.
            for position in [call.position for call in calls if call.position in self._rows]:
                self._db.execute(
                    "INSERT INTO lost SELECT model, coalesce(usd, 0), input_tokens + output_tokens FROM calls "
                    f"WHERE {_AT} AND replicate = ? AND NOT is_cached",
                    (*position, self._replicate),
                )
            if holds or freed or self._has_holds:
                self._has_holds = True
                self._db.executemany(f"DELETE FROM holds WHERE {_AT}", [*freed, *(call.position for call in calls)])
                rows_held = [(*hold.position, hold.model, hold.usd, hold.tokens) for hold in holds]
                self._db.executemany(f"INSERT OR REPLACE INTO holds VALUES ({', '.join('?' * 8)})", rows_held)
            self._db.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", texts)
            self._db.executemany(f"INSERT OR REPLACE INTO calls VALUES ({', '.join('?' * 22)})", rows)
        self._systems |= systems  # only now are they there

    def count(self, tallies: Sequence[Tally]) -> None:
        """Keep how answers turned out; without a journal to write into, only here."""
        if self._is_read_only:
            self.tallies += tallies
            return
        sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in Tally._fields[3:])
        with writing(self.journal), transaction(self._db):
            self._db.executemany(
                f"INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}", tallies
            )

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Keep what a sending without a reply may have cost."""
        with writing(self.journal), transaction(self._db):
            self._db.execute("INSERT INTO lost VALUES (?, ?, ?)", (model, usd, tokens))

    def copy_from(self, journal: Path) -> None:
        """Take over every call of another run's tape.

        Raises:
            CorruptRunError: there is none.
        """
        with contextlib.closing(SqliteTape(journal, is_read_only=True)) as other:
            texts, calls = other._read("SELECT * FROM texts"), other._read("SELECT * FROM calls")
        with writing(self.journal), transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", texts)
            self._db.executemany(f"INSERT OR REPLACE INTO calls VALUES ({', '.join('?' * 22)})", calls)
        self._step, self._rows, self._last = -1, {}, self._last_step()

    def fork_from(self, journal: Path, step: int) -> None:
        """Take over another run's tape: up to ``step`` as one's own, and what came later to be used where it fits.

        What was paid for there costs nothing here.

        Raises:
            CorruptRunError: there is none.
        """
        with contextlib.closing(SqliteTape(journal, is_read_only=True)) as other:
            texts = other._read("SELECT * FROM texts")
            calls = other._read("SELECT * FROM calls ORDER BY step")
            has_earlier = other._read("SELECT 1 FROM sqlite_master WHERE name = 'earlier'")
            # What a fork that is not finished could still have used, this one can.
            unused = other._read("SELECT * FROM earlier WHERE step > ?", step) if has_earlier else []
            known = {tuple(call[:6]) for call in calls}
            calls += [call for call in unused if tuple(call[:6]) not in known]
            tallies = other._read("SELECT * FROM tallies WHERE step <= ?", step)
        free = [(*call[:-1], 1) for call in calls]
        with writing(self.journal), transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO texts VALUES (?, ?)", texts)
            for table, is_own in (("calls", True), ("earlier", False)):
                rows = [call for call in free if (call[0] <= step) is is_own]
                self._db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * 22)})", rows)
            self._db.executemany("INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", tallies)
        self._step, self._rows, self._last = -1, {}, self._last_step()

    def forget_earlier(self) -> None:
        """Drop what another run's models answered and nobody asked for in this one."""
        with writing(self.journal), transaction(self._db):
            self._db.execute("DELETE FROM earlier")

    def close(self) -> None:
        """Close the journal."""
        self._db.close()

    # -- as a record ----------------------------------------------------------------------------------------------

    def digest(self) -> str:
        """Return the sha256 of what was said and answered, in order of position; no timing, no cost is in it."""
        digest = hashlib.sha256()
        for row in self._read(f"SELECT {_KEY}, {_SAID} FROM calls ORDER BY {_KEY}"):
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def check(self, expected: str | None) -> int:
        """Compare the tape with its digest, and each text with its hash; return how many calls there are.

        Raises:
            CorruptRunError: it was altered.
        """
        for name, text in self._read("SELECT hash, text FROM texts"):
            if not isinstance(text, str) or text_hash(text) != name:
                raise CorruptRunError(f"a text on the tape in {self.journal} was altered: {text[:60]!r}")
        if expected is not None and self.digest() != expected:
            raise CorruptRunError(f"the tape in {self.journal} was altered: it does not hash to what the manifest says")
        missing = self._read(
            "SELECT count(*) FROM calls LEFT JOIN texts ON reply = hash WHERE hash IS NULL"
        )[0][0]  # fmt: skip
        if missing:
            raise CorruptRunError(f"{missing} replies on the tape in {self.journal} have lost their text")
        there = {name for (name,) in self._read("SELECT hash FROM texts")}
        for (messages,) in self._read("SELECT DISTINCT messages FROM calls"):
            if not all(bytes.fromhex(name) in there for _, name in json.loads(messages)):
                raise CorruptRunError(f"a prompt on the tape in {self.journal} has lost its text")
        return int(self._read("SELECT count(*) FROM calls")[0][0])

    def spending(self) -> list[dict[str, Any]]:
        """Return what each model took: calls, tokens, US dollars (None where a price is unknown), seconds, lost.

        Answers from a cache cost nothing and are counted apart.
        """
        query = """
            SELECT model, count(*) FILTER (WHERE NOT is_cached), total(input_tokens) FILTER (WHERE NOT is_cached),
                   total(output_tokens) FILTER (WHERE NOT is_cached),
                   CASE WHEN count(usd) = count(*) THEN total(usd) END, total(retries) FILTER (WHERE NOT is_cached),
                   total(NOT is_counted) FILTER (WHERE NOT is_cached),
                   coalesce(avg(seconds) FILTER (WHERE NOT is_cached), 0), max(served_by),
                   count(*) FILTER (WHERE is_cached)
            FROM calls GROUP BY model"""
        names = (
            "model", "calls", "input_tokens", "output_tokens", "usd", "retries", "estimated", "mean_seconds",
            "served_by", "cached",
        )  # fmt: skip
        rows = {row[0]: dict(zip(names, row, strict=True)) for row in self._read(query)}
        nothing = dict(zip(names, ("", 0, 0, 0, 0.0, 0, 0, 0.0, "", 0), strict=True))
        lost = {
            model: (usd, tokens)
            for model, usd, tokens in self._read("SELECT model, total(usd), total(tokens) FROM lost GROUP BY model")
        }
        found = []
        for model in sorted({*rows, *lost}):
            usd, tokens = lost.get(model, (0.0, 0))
            row = {**nothing, **rows.get(model, {}), "model": model, "lost_usd": usd, "lost_tokens": int(tokens)}
            found.append({k: int(v) if k in _WHOLE else v for k, v in row.items()})
        return found

    def totals(self) -> Spent:
        """Return what all calls on it took."""
        usd, calls, said, wrote = self._read(
            "SELECT coalesce(sum(usd), 0), count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0) "
            "FROM calls WHERE NOT is_cached"
        )[0]
        lost, lost_tokens = self._read("SELECT coalesce(sum(usd), 0), coalesce(sum(tokens), 0) FROM lost")[0]
        return Spent(usd, lost, calls, said, wrote, lost_tokens)

    def answers(self) -> pl.DataFrame:
        """Return how answers turned out, one row a step, model and decision."""
        rows = self._read("SELECT * FROM tallies ORDER BY step, model, decision")
        schema = {name: pl.String if name in ("model", "decision") else pl.Int64 for name in Tally._fields}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def calls(self) -> pl.DataFrame:
        """Return every call with its texts, in order of position."""
        texts = _Texts(self._read("SELECT hash, text FROM texts"))
        texts.journal = self.journal
        out = []
        for row in self._read(f"SELECT {_ALL} FROM calls ORDER BY {_KEY}"):
            (step, purpose, agent, occurrence, attempt, _, model, _, messages, _, _, seed, reply, finish, said, wrote,
             is_counted, usd, seconds, retries, served_by, _) = row  # fmt: skip
            parts = [(role, texts[bytes.fromhex(name)]) for role, name in json.loads(messages)]
            system = "\n\n".join(text for role, text in parts if role == "system")
            user = "\n\n".join(
                text if role == "user" else f"[answered] {text}" for role, text in parts if role != "system"
            )
            out.append(
                (step, agent, purpose, occurrence, attempt, model, served_by, system, user, texts[reply], finish, said,
                 wrote, bool(is_counted), usd, seconds, retries, seed)
            )  # fmt: skip
        return pl.DataFrame(out, schema=CALLS, orient="row")

    # -- the file -------------------------------------------------------------------------------------------------

    def _last_step(self) -> int:
        tables = ("calls",) if self._is_read_only else ("calls", "earlier")
        return max(int(self._read(f"SELECT coalesce(max(step), -1) FROM {table}")[0][0]) for table in tables)

    def _text(self, name: bytes) -> str:
        found = self._read("SELECT text FROM texts WHERE hash = ?", name)
        if not found:
            raise CorruptRunError(f"the tape in {self.journal} has lost the text {name.hex()}")
        return str(found[0][0])

    def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise CorruptRunError(f"the tape in {self.journal} cannot be read: {error}") from error


class _Texts(dict[bytes, str]):
    journal: Path

    def __missing__(self, name: bytes) -> str:
        raise CorruptRunError(f"the tape in {self.journal} has lost the text {name.hex()}")


def _reply(text: str, more: Sequence[Any]) -> Reply:
    finish, said, wrote, is_counted, usd, seconds, retries, served_by, is_cached = more
    return Reply(text, finish, said, wrote, bool(is_counted), usd, seconds, retries, served_by, bool(is_cached))

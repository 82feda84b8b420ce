"""A cache across runs: an answer is used again when all that could change it is the same, its replicate included."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from simworld.errors import StorageError
from simworld.mind.llm._model import LanguageModel, Reply, Request


def cache_key(request: Request, server: str = "") -> bytes:
    """Return what an answer is filed under: model, server, sampling, schema, prompt, replicate and position.

    The position is in it because two agents may be told the same: they are two samples, never one.
    """
    parts = (
        request.model, server, repr(request.sampling), request.seed, request.schema.text, request.prompt.hex(),
        request.replicate, *request.position,
    )  # fmt: skip
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


class Cache:
    """Answers in one SQLite file that several processes may share."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            StorageError: it cannot be opened.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=60)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT NOT NULL, finish TEXT NOT NULL, "
                "input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, is_counted INTEGER NOT NULL, "
                "served_by TEXT NOT NULL)"
            )
        except (OSError, sqlite3.Error) as error:
            raise StorageError(
                f"the cache {path} cannot be opened: {error}; name another or leave --cache out"
            ) from error

    def find(self, key: bytes) -> Reply | None:
        """Return the answer filed under a key; it costs nothing."""
        query = "SELECT text, finish, input_tokens, output_tokens, is_counted, served_by FROM answers WHERE key = ?"
        try:
            row = self._db.execute(query, (key,)).fetchone()
        except sqlite3.Error as error:
            raise StorageError(f"the cache {self.path} cannot be read: {error}; name another or remove it") from error
        return (
            None
            if row is None
            else Reply(row[0], row[1], row[2], row[3], bool(row[4]), usd=0.0, served_by=row[5], is_cached=True)
        )

    def put(self, key: bytes, reply: Reply) -> None:
        """File an answer; the first one stays."""
        row = (
            key,
            reply.text,
            reply.finish,
            reply.input_tokens,
            reply.output_tokens,
            reply.is_counted,
            reply.served_by,
        )
        try:
            self._db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            raise StorageError(f"the cache {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Cached:
    """A model whose answers are looked up in a cache first."""

    def __init__(self, inner: LanguageModel, cache: Callable[[], Cache], server: str = "") -> None:
        """``cache`` opens the cache, or returns the one that is open; ``server`` is the address of the model."""
        self._inner = inner
        self._cache = cache
        self._server = server

    async def complete(self, request: Request) -> Reply:
        """Return the cached answer, else ask and file it."""
        cache, key = self._cache(), cache_key(request, self._server)
        found = cache.find(key)
        if found is not None:
            return found
        reply = await self._inner.complete(request)
        cache.put(key, reply)
        return reply

    async def close(self) -> None:
        """Close what is behind; the cache is closed by whoever opened it."""
        await self._inner.close()

"""Vectors of embedders that give other bytes elsewhere: kept in the run's journal, so that the run repeats itself.

What a model of somebody else's, or one whose last bits depend on the machine, says of a text is asked once. A resume or
a verification reads it from the journal, as answers from the tape.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from simworld.errors import CorruptRunError, ParameterError, TapeError
from simworld.memory import Embedder, EmbedderIdentity, check_identity, embedder
from simworld.mind.llm import LiteLLMEmbedder, Service, without_credentials
from simworld.run._store import transaction, writing

OWN = ("hashed", "chroma-default", "sentence-transformers/")
"""Begin the names of embedders that need no provider."""

_TABLES = """
CREATE TABLE IF NOT EXISTS embedder (name TEXT NOT NULL, dimensions INTEGER NOT NULL, normalised INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB NOT NULL) WITHOUT ROWID;
"""


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class ProviderEmbedder:
    """A provider's embedding model, as memory wants it."""

    is_exact = False

    def __init__(self, model: LiteLLMEmbedder, dimensions: int | None = None) -> None:
        self._model = model
        self._dimensions = dimensions

    @property
    def identity(self) -> EmbedderIdentity:
        """Whose vectors these are; asks the model for one word when nobody knows its dimensions."""
        return EmbedderIdentity(
            name=self._model.name, dimensions=self._dimensions or self._model.dimensions, normalised=True
        )

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a text."""
        return self._model.embed(texts)


class RecordedEmbedder:
    """Looks in the journal first, and keeps there what it had to ask for."""

    is_exact = False

    def __init__(
        self,
        inner: Embedder | None,
        identity: EmbedderIdentity,
        known: dict[bytes, bytes],
        known_in: Path | None = None,
    ) -> None:
        """
        Args:
            inner: what is asked; None where only the journal may answer.
            identity: whose vectors these are.
            known: vectors by the hash of their text, as float32 bytes.
            known_in: the journal that they came from.
        """
        self._inner = inner
        self.identity = identity
        self._known = known
        self._known_in = known_in
        self._fresh: dict[bytes, bytes] = {}
        self._journal: Path | None = None

    def keep(self, journal: Path) -> None:
        """Write to this journal from now on, and what came before."""
        if journal != self._known_in:  # that of a fork, or of a repeated tape
            self._fresh = dict(self._known)
        self._journal = journal
        with writing(journal), contextlib.closing(_connect(journal)) as db:
            db.executescript(_TABLES)
            if db.execute("SELECT 1 FROM embedder").fetchone() is None:
                one = self.identity
                db.execute("INSERT INTO embedder VALUES (?, ?, ?)", (one.name, one.dimensions, int(one.normalised)))
        self._write()

    def _write(self) -> None:
        if self._journal is None or not self._fresh:
            return
        with writing(self._journal), contextlib.closing(_connect(self._journal)) as db, transaction(db):
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", list(self._fresh.items()))
        self._fresh.clear()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a text.

        Raises:
            TapeError: only the journal may answer, and it does not know a text.
        """
        keys = [_hash(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        if missing:
            if self._inner is None:
                raise TapeError(
                    f"the run's journal holds no vector of {next(iter(missing.values()))!r:.80} by "
                    f"{self.identity.name!r}; only the embedder itself could say (simworld memory rebuild --embedder)"
                )
            rows = self._inner.embed(list(missing.values())).astype("<f4")
            new = {key: row.tobytes() for key, row in zip(missing, rows, strict=True)}
            self._known |= new
            self._fresh |= new
            self._write()
        found = [np.frombuffer(self._known[key], "<f4") for key in keys]
        return np.array(found, np.float32).reshape(len(texts), self.identity.dimensions)


def _connect(journal: Path, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(journal))}?mode={mode}", uri=True, isolation_level=None, timeout=60)


def recorded_vectors(journal: Path) -> tuple[EmbedderIdentity | None, dict[bytes, bytes]]:
    """Return what a journal holds: whose vectors, and these by the hash of their text.

    Raises:
        CorruptRunError: it cannot be read.
    """
    if not journal.is_file():
        return None, {}
    try:
        with contextlib.closing(_connect(journal, "ro")) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'embedder'").fetchone() is None:
                return None, {}
            row = db.execute("SELECT name, dimensions, normalised FROM embedder").fetchone()
            known = dict(db.execute("SELECT text, vector FROM vectors").fetchall())
    except sqlite3.DatabaseError as error:
        raise CorruptRunError(f"{journal} cannot be read: {error}") from error
    if row is None:
        return None, {}
    if any(len(vector) != 4 * row[1] for vector in known.values()):
        raise CorruptRunError(f"{journal} holds vectors that are not of {row[1]} dimensions; it was altered")
    return EmbedderIdentity(name=row[0], dimensions=row[1], normalised=bool(row[2])), known


class Embedders:
    """Makes the embedder of one run by its name; the one it made waits for the run's journal (`keep`)."""

    def __init__(
        self,
        service: Service,
        journal: Path | None = None,
        *,
        only_tape: bool = False,
        dimensions: int | None = None,
    ) -> None:
        """
        Args:
            service: how a provider is reached.
            journal: holds vectors already.
            only_tape: whether nothing but the journal may answer.
            dimensions: numbers in a vector, where somebody knows them; else a model is asked.
        """
        self._dimensions = dimensions
        self._service = service
        self._journal = journal
        self._only_tape = only_tape
        self.made: RecordedEmbedder | None = None
        self._model: LiteLLMEmbedder | None = None
        self._was_reached = False

    def __call__(self, name: str) -> Embedder:
        """Return an embedder.

        Raises:
            ParameterError: there is none of this name, or it is not the one whose vectors the run has.
        """
        identity, known = (None, {}) if self._journal is None else recorded_vectors(self._journal)
        if identity is not None and self._only_tape:
            self.made = RecordedEmbedder(None, identity, known, self._journal)
            return self.made
        inner = self._inner(name, self._dimensions if identity is None else identity.dimensions)
        if inner.is_exact:
            return inner
        if identity is not None:
            check_identity(identity, inner.identity)
        self.made = RecordedEmbedder(inner, inner.identity, known, self._journal)
        return self.made

    def _inner(self, name: str, dimensions: int | None) -> Embedder:
        if name.startswith(OWN) or "/" not in name:
            try:
                return embedder(name)
            except ParameterError:
                if name.startswith(OWN) or "embed" not in name:
                    raise
        bases: Mapping[str, Any] = self._service.api_base
        base = bases.get(name) or bases.get("")
        self._was_reached = True
        self._model = model = LiteLLMEmbedder(
            name, base, timeout_s=self._service.timeout_s, retries=self._service.retries,
            backoff_s=self._service.backoff_s, dimensions=dimensions,
        )  # fmt: skip
        return ProviderEmbedder(model, dimensions)

    def close(self) -> None:
        """Close what was opened to reach a provider."""
        if self._model is not None:
            self._model.close()
            self._model = None

    def keep(self, journal: Path) -> None:
        """Keep in this journal what the embedder is asked, where that is needed; of a repeated tape, what it knew."""
        if self.made is not None:
            self.made.keep(journal)

    @property
    def reached(self) -> dict[str, Any] | None:
        """How a provider was reached, for the manifest; None where none was."""
        if self._model is None and not self._was_reached:
            return None
        said = self._service.model_dump(mode="json")
        return {**said, "api_base": {name: without_credentials(url) for name, url in said["api_base"].items()}}


class Unasked:
    """Makes the offline embedder in the place of any that there is: for a rehearsal, which asks nobody."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, name: str) -> Embedder:
        """Return the offline embedder.

        Raises:
            ParameterError: a run would refuse this name.
        """
        made = Embedders(self._service, dimensions=1)
        try:
            made(name)
        finally:
            made.close()
        return embedder("hashed")

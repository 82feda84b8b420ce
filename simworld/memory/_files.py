"""Stores on disk and stores of the past: snapshots, exports, and one agent's memory as it was after some step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simworld.errors import ParameterError, StorageError
from simworld.memory._embed import Embedder, EmbedderIdentity, check_identity, embedder
from simworld.memory._held import NUMBERS, SYMBOLS
from simworld.memory._records import Memory, Recollection, Symbol, symbol_text
from simworld.memory._settings import MemorySettings
from simworld.memory._store import MemoryStore
from simworld.rng import Chance

FORMAT = 1
"""Layout of a snapshot."""

type Part = tuple[int, int, Mapping[str, Any]]
"""Rows of a log: step, how many, columns."""


def replay(
    parts: Iterable[Part],
    settings: MemorySettings,
    n_agents: int,
    *,
    until: int | None = None,
    embed: Embedder | None = None,
    chance: Chance | None = None,
    name_of: Callable[[int], str] | None = None,
    start: MemoryStore | None = None,
) -> MemoryStore:
    """Return the store that a log leads to.

    Args:
        parts: the log, in order of steps.
        settings, n_agents, embed, chance, name_of: as for `MemoryStore`.
        until: last step that is repeated; all when None.
        start: a store (of a snapshot, say) that the parts go on from; it is changed.
    """
    store = start
    if store is None:
        store = MemoryStore(n_agents, settings, embed=embed, chance=chance, name_of=name_of)
    for t, n, columns in parts:
        if until is not None and t > until:
            break
        store.apply(t, n, columns)
    if until is not None:
        store.now = until
    return store


def snapshot(store: MemoryStore, path: Path) -> None:
    """Write a store to one Parquet file: columns, texts and vectors, the rest in its metadata; whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    import polars as pl

    columns = {name: np.asarray(store.column(name)) for name in NUMBERS}
    columns |= {name: [symbol_text(store.symbol(c)) for c in store.column(name).tolist()] for name in SYMBOLS}  # type: ignore[misc]
    texts, refs, links, data = store.texts()
    vectors, norms = store.vectors()
    frame = pl.DataFrame({
        **columns, "text": texts, "refs": refs, "links": links, "data": data,
        "vector": pl.Series([v.tobytes() for v in vectors], dtype=pl.Binary), "norm": norms,
    }, schema_overrides=dict.fromkeys([*SYMBOLS, "text", "refs", "links", "data"], pl.String))  # fmt: skip
    rest = {"format": FORMAT, "embedder": store.embedder.identity.model_dump(), "state": store.state()}
    temporary = path.with_name(path.name + ".tmp")
    try:
        frame.write_parquet(temporary, compression="zstd", metadata={"simworld_memory": json.dumps(rest)})
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror or error}; free space or permissions") from error


def restore(
    path: Path,
    settings: MemorySettings,
    *,
    embed: Embedder | None = None,
    chance: Chance | None = None,
    name_of: Callable[[int], str] | None = None,
) -> MemoryStore:
    """Return the store of a snapshot.

    Raises:
        ParameterError: it is none, or its vectors are another embedder's.
    """
    import polars as pl

    try:
        rest = json.loads(pl.read_parquet_metadata(path)["simworld_memory"])
        frame = pl.read_parquet(path)
    except (OSError, KeyError, ValueError, pl.exceptions.PolarsError) as error:
        raise ParameterError(f"{path} is no snapshot of a memory: {error}") from error
    if rest["format"] != FORMAT:
        raise ParameterError(f"{path} has format {rest['format']!r}; this simworld reads format {FORMAT}")
    own = embed if embed is not None else embedder(settings.embedder)
    check_identity(EmbedderIdentity.model_validate(rest["embedder"]), own.identity)
    store = MemoryStore(rest["state"]["n_agents"], settings, embed=own, chance=chance, name_of=name_of)
    columns: dict[str, Any] = {
        name: frame[name].to_list() if dtype == pl.String else frame[name].to_numpy()
        for name, dtype in frame.schema.items()
        if name != "vector"
    }
    d = own.identity.dimensions
    rows = [np.frombuffer(v, np.int8) for v in frame["vector"].to_list()]
    store.load(columns, np.array(rows, np.int8).reshape(frame.height, d), rest["state"])
    return store


def export(store: MemoryStore, path: Path, format: Literal["jsonl", "parquet"] = "jsonl") -> None:
    """Write every record ever stored for other programs, one row each; agents as numbers, kinds and marks by name."""
    import polars as pl

    rows = [
        {
            **memory._asdict(), "subject": symbol_text(memory.subject), "object": symbol_text(memory.object),
            "evidence": list(memory.evidence), "links": list(memory.links),
        }
        for memory in map(store.get, range(len(store)))
    ]  # fmt: skip
    schema = {name: (pl.List(pl.Int64) if name in ("evidence", "links") else None) for name in Memory._fields}
    frame = pl.DataFrame(rows, schema=list(Memory._fields) if not rows else None,
                         schema_overrides={k: v for k, v in schema.items() if v is not None})  # fmt: skip
    try:
        frame.write_ndjson(path) if format == "jsonl" else frame.write_parquet(path, compression="zstd")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; free space or permissions") from error


class MemoryView:
    """One agent's memory to be read; nothing that is done with it reaches the store."""

    def __init__(self, store: MemoryStore, agent: int) -> None:
        if not 0 <= agent < store.n_agents:
            raise ParameterError(f"no agent {agent!r}; there are 0 to {store.n_agents - 1}")
        self._store = store
        self.agent = agent
        self.step = store.now

    @property
    def core(self) -> dict[str, str]:
        """Core blocks by label."""
        return self._store.core(self.agent)

    @property
    def tree(self) -> dict[str, str]:
        """Filled leaves of the persona tree by path."""
        return self._store.tree(self.agent)

    @property
    def records(self) -> list[Memory]:
        """What is in the index, in order of storing."""
        return self._store.records(self.agent)

    def get(self, record: int) -> Memory:
        """Return a record, also one that is forgotten.

        Raises:
            ParameterError: it is another agent's.
        """
        memory = self._store.get(record)
        if memory.agent not in (self.agent, self._store.owner_read_by(self.agent)):
            raise ParameterError(f"memory {record} is not agent {self.agent}'s")
        return memory

    def facts(self, subject: Symbol = None, predicate: str | None = None) -> tuple[Memory, ...]:
        """Return facts that hold."""
        return self._store.facts(self.agent, subject, predicate)

    def insights(self, subject: Symbol = None) -> tuple[Memory, ...]:
        """Return reflections that hold, the newest first."""
        return self._store.insights(self.agent, subject)

    def recall(self, question: str, **how: Any) -> Recollection:
        """Return what the agent would recall; nothing is touched. Arguments as for `MemoryStore.retrieve`."""
        return self._store.retrieve([self.agent], [question], **{**how, "touch": False})[0]

    def evidence(self, record: int) -> Iterator[tuple[int, Memory]]:
        """Yield a record and all it rests on, as (depth, record), a tree in order."""
        stack = [(0, record)]
        while stack:
            depth, one = stack.pop()
            memory = self.get(one)
            yield depth, memory
            stack += [(depth + 1, e) for e in reversed(memory.evidence)]

    def digest(self) -> str:
        """Return the hash of what this agent remembers."""
        return self._store.digest(self.agent)

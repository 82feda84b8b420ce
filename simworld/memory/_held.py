"""What is remembered, to be read: columns by id, texts, links, core blocks and trees, and who reads what is shared."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.memory._arena import Arena
from simworld.memory._embed import Embedder, embedder, quantised
from simworld.memory._log import Growing, LogPart
from simworld.memory._operations import CORE_LABELS
from simworld.memory._records import (
    CODES,
    KINDS,
    THOUGHTS,
    Flag,
    Memory,
    NewMemory,
    Recollection,
    Symbol,
    symbol_text,
)
from simworld.memory._retrieve import policy_of
from simworld.memory._settings import MemorySettings, capacity_for
from simworld.rng import Chance

type Ids = npt.NDArray[np.int64]

CORE = CORE_LABELS
"""Labels of the core blocks."""
KEPT_TEXTS = 100_000
"""Texts whose vectors are kept; arbitrary."""

COLUMNS: dict[str, tuple[Any, Any]] = {
    "agent": (np.int32, -1), "kind": (np.int8, 0), "t_created": (np.int32, 0), "t_event": (np.int32, 0),
    "t_access": (np.int32, 0), "n_access": (np.int32, 0), "importance": (np.float64, 0.0),
    "strength": (np.float32, 1.0), "value": (np.float64, np.nan), "source": (np.int32, -1),
    "subject": (np.int32, 0), "predicate": (np.int32, 0), "object": (np.int32, 0), "place": (np.int32, 0),
    "valid_from": (np.int32, -1), "valid_to": (np.int32, -1), "t_closed": (np.int32, -1), "depth": (np.int8, 0),
    "flags": (np.int16, 0),
}  # fmt: skip
SYMBOLS = ("subject", "predicate", "object", "place")
"""Columns that hold codes of symbols."""
NUMBERS = tuple(name for name in COLUMNS if name not in SYMBOLS)
IS_THOUGHT = np.array([kind in THOUGHTS for kind in KINDS])
"""By code of a kind, whether an agent made it of other records."""


class Held:
    """What agents 0 to n−1 remember, to be read: by id, by agent, by structure."""

    def __init__(
        self,
        n_agents: int = 0,
        settings: MemorySettings | None = None,
        *,
        embed: Embedder | None = None,
        chance: Chance | None = None,
        name_of: Callable[[int], str] | None = None,
    ) -> None:
        """
        Args:
            n_agents: number of agents; more may come (`grow`).
            settings: how they remember.
            embed: turns texts into vectors; by default the embedder that the settings name.
            chance: draws of the policy ``random_retrieval`` and of forgetting by chance.
            name_of: an agent's name, for insights.

        Raises:
            ParameterError: no such policy or embedder.
        """
        self.settings = settings or MemorySettings()
        self.policy = policy_of(self.settings.policy)
        self.embedder = embed if embed is not None else embedder(self.settings.embedder)
        self.chance = chance or Chance(0)
        self.name_of = name_of or (lambda agent: f"agent {agent}")
        self.now = 0
        """The step at hand."""
        self.capacity = self.settings.capacity or capacity_for(n_agents)
        """Records an agent keeps."""
        self.n_agents = 0
        self.refused: Counter[str] = Counter()
        """Operations that were not possible, by reason."""
        self._arena = Arena(self.embedder.identity.dimensions)
        self._shared = Arena(self.embedder.identity.dimensions)
        self._archetype = np.zeros(0, np.int32)
        self._columns = Growing(COLUMNS)
        self._texts: list[str] = []
        self._symbols: list[Symbol] = [None]
        self._codes: dict[Symbol, int] = {None: 0}
        self._refs: dict[int, tuple[int, ...]] = {}
        self._links: dict[int, tuple[int, ...]] = {}
        self._data: dict[int, str] = {}
        self._edges: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._cited_by: dict[int, list[int]] = defaultdict(list)
        self._gathered = np.zeros(0, np.int64)
        self._since = np.zeros(0, np.int64)
        self._episode: dict[int, list[int]] = defaultdict(list)
        self._core: dict[int, dict[str, str]] = {}
        self._tree: dict[int, dict[str, str]] = {}
        self._vectors: dict[str, tuple[npt.NDArray[np.int8], np.float32]] = {}
        self._waiting: list[NewMemory] = []
        self._recalled: list[tuple[int, str, int, str, str, int, tuple[int, ...], tuple[float, ...]]] = []
        self._log: list[LogPart] = []
        self.grow(n_agents)

    # -- who and what ---------------------------------------------------------------------------------------------

    def grow(self, n_agents: int) -> None:
        """Know so many agents."""
        more = n_agents - self.n_agents
        if more > 0:
            self._gathered = np.concatenate([self._gathered, np.zeros(more, np.int64)])
            self._since = np.concatenate([self._since, np.zeros(more, np.int64)])
            self._archetype = np.concatenate([self._archetype, np.full(more, -1, np.int32)])
            self._arena.grow(n_agents)
            self.n_agents = n_agents

    def __len__(self) -> int:
        """Return how many records were ever stored."""
        return self._columns.n

    def _code(self, symbol: Symbol) -> int:
        if symbol == "":
            symbol = None
        code = self._codes.get(symbol)
        if code is None:
            code = self._codes[symbol] = len(self._symbols)
            self._symbols.append(symbol)
        return code

    def get(self, record: int) -> Memory:
        """Return a record by its id, forgotten or not.

        Raises:
            ParameterError: there is none.
        """
        if not 0 <= record < len(self):
            raise ParameterError(f"no memory {record!r}; this store has 0 to {len(self) - 1}")
        return self.get_all(np.array([record], np.int64))[0]

    def get_all(self, records: Ids) -> list[Memory]:
        """Return records by their ids, which exist; one look at each column instead of one a record."""
        if not len(records):
            return []
        s = self._symbols
        column = {name: self._columns[name].take(records).tolist() for name in COLUMNS}
        column["kind"] = [KINDS[k] for k in column["kind"]]
        for name in SYMBOLS:
            column[name] = [s[code] for code in column[name]]
        for name in ("predicate", "place"):
            column[name] = [symbol_text(symbol) for symbol in column[name]]
        ids = records.tolist()
        column["id"], column["text"] = ids, [self._texts[i] for i in ids]
        column["evidence"] = [self._refs.get(i, ()) for i in ids]
        column["links"] = [self._links.get(i, ()) for i in ids]
        return list(map(Memory._make, zip(*(column[name] for name in Memory._fields), strict=True)))

    def data(self, record: int) -> dict[str, Any]:
        """Return what else was kept with a record."""
        text = self._data.get(record)
        return {} if text is None else dict(json.loads(text))

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column by id, shape (n,), read-only; ``subject`` and the like as codes."""
        view = self._columns[name].view()
        view.flags.writeable = False
        return view

    @property
    def n_symbols(self) -> int:
        """Number of codes of ``subject``, ``predicate``, ``object`` and ``place``."""
        return len(self._symbols)

    def symbol(self, code: int) -> Symbol:
        """Return what a code of one of these columns stands for."""
        return self._symbols[code]

    def is_kind(self, kind: str) -> npt.NDArray[np.bool_]:
        """Whether each record is of this kind, shape (n,)."""
        return np.asarray(self._columns["kind"] == CODES[kind])

    def ids_of(self, agent: int) -> Ids:
        """Return the ids of the records an agent has in its index, ascending."""
        return self._arena.ids_of(agent) if agent >= 0 else self._shared.ids_of(-2 - agent)

    def records(self, agent: int) -> list[Memory]:
        """Return what an agent has in its index, in order of storing."""
        return self.get_all(self.ids_of(agent))

    def recent(self, agent: int, n: int, kinds: Iterable[str] | None = None) -> list[Memory]:
        """Return an agent's latest ``n`` records of these kinds (all when None), in order of storing."""
        ids = self._without_probes(self.ids_of(agent))
        if kinds is not None:
            ids = ids[np.isin(self._columns["kind"][ids], [CODES[k] for k in kinds])]
        return self.get_all(ids[-n:]) if n > 0 else []

    def _without_probes(self, ids: Ids) -> Ids:
        return np.asarray(ids[self._columns["flags"][ids] & int(Flag.PROBE) == 0])

    def _holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether records hold now: begun, not ended, not expired."""
        c, now = self._columns, self.now
        to = c["valid_to"][ids]
        ok = (c["valid_from"][ids] <= now) & ((to < 0) | (to > now))
        if self.settings.thought_expiry is not None:
            expired = c["t_created"][ids] + self.settings.thought_expiry <= now
            ok &= ~(expired & (c["kind"][ids] == CODES["reflection"]))
        return np.asarray(ok)

    def _where(
        self,
        agent: int,
        kind: str | None,
        subject: Symbol,
        predicate: str | None,
        *,
        own: bool = False,
        public: bool = False,
    ) -> Ids:
        ids = self.ids_of(agent)
        if not own and 0 <= agent < self.n_agents and self._archetype[agent] >= 0:
            ids = np.sort(np.concatenate([ids, self._shared.ids_of(int(self._archetype[agent]))]))
        ids = self._without_probes(ids)
        c = self._columns
        ok = c["flags"][ids] & int(Flag.PRIVATE) == 0 if public else np.ones(len(ids), bool)
        if kind is not None:
            ok &= c["kind"][ids] == CODES[kind]
        if subject is not None:
            ok &= c["subject"][ids] == self._codes.get(subject, -1)
        if predicate is not None:
            ok &= c["predicate"][ids] == self._codes.get(predicate, -1)
        return np.asarray(ids[ok])

    def insights(self, agent: int, subject: Symbol = None, *, public: bool = False) -> tuple[Memory, ...]:
        """Return an agent's reflections that hold and are not stale, about somebody or all; newest first."""
        ids = self._where(agent, "reflection", subject, None, public=public)
        ids = ids[self._holds(ids) & (self._columns["flags"][ids] & Flag.STALE == 0)]
        return tuple(self.get_all(ids[::-1]))

    def about(
        self, agent: int, subject: Symbol, predicate: str | None = None, *, public: bool = False
    ) -> tuple[Memory, ...]:
        """Return an agent's records whose subject this is, oldest first, thoughts and facts left out."""
        ids = self._where(agent, None, subject, predicate, public=public)
        kind = self._columns["kind"][ids]
        return tuple(self.get_all(ids[~IS_THOUGHT[kind] & (kind != CODES["fact"])]))

    def facts(
        self, agent: int, subject: Symbol = None, predicate: str | None = None, *, public: bool = False
    ) -> tuple[Memory, ...]:
        """Return an agent's facts that hold now, oldest first."""
        ids = self._where(agent, "fact", subject, predicate, public=public)
        return tuple(self.get_all(ids[self._holds(ids)]))

    def _own_facts(self, agent: int, subject: Symbol = None, predicate: str | None = None) -> list[Memory]:
        """Return the facts an agent may change: not those it shares."""
        ids = self._where(agent, "fact", subject, predicate, own=True)
        return self.get_all(ids[self._holds(ids)])

    def core(self, agent: int) -> dict[str, str]:
        """Return an agent's core blocks by label; empty ones are left out."""
        blocks = self._core.get(agent, {})
        return {label: blocks[label] for label in CORE if blocks.get(label)}

    def tree(self, agent: int) -> dict[str, str]:
        """Return the filled leaves of an agent's persona tree by path, sorted."""
        return dict(sorted(self._tree.get(agent, {}).items()))

    def _known(self, agents: Ids) -> Ids:
        wrong = agents[(agents < 0) | (agents >= self.n_agents)]
        if len(wrong):
            raise ParameterError(f"no agent {int(wrong[0])}; there are 0 to {self.n_agents - 1}")
        return agents

    def only_reading(self, agent: int) -> Recollection:
        """Return a recollection for which nothing was looked up: core, insights, facts."""
        return Recollection((), [f"{label}: {text}" for label, text in self.core(agent).items()], Reader(self, agent))

    def _embed(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
        d = self.embedder.identity.dimensions
        missing = [t for t in dict.fromkeys(texts) if t not in self._vectors]
        if missing:
            if len(self._vectors) + len(missing) > KEPT_TEXTS:
                self._vectors.clear()
                missing = list(dict.fromkeys(texts))
            rows, norms = quantised(self.embedder.embed(missing))
            self._vectors.update(zip(missing, zip(rows, norms, strict=True), strict=True))
        vectors, lengths = np.empty((len(texts), d), np.int8), np.empty(len(texts), np.float32)
        for i, text in enumerate(texts):
            vectors[i], lengths[i] = self._vectors[text]
        return vectors, lengths

    def owner_read_by(self, agent: int) -> int:
        """Return the owner of the shared records an agent reads; the agent itself where there is none."""
        archetype = int(self._archetype[agent])
        return agent if archetype < 0 else owner_of(archetype)

    def _write(self, **columns: Any) -> None:
        self._log.append(LogPart(1, columns))

    def says_already(self, agent: int, text: str) -> bool:
        """Whether an insight of an agent's that holds says nearly the same, by the settings' ``duplicate_above``."""
        ids = [m.id for m in self.insights(agent)]
        if not ids:
            return False
        vectors, norms = self._embed([text, *(self._texts[i] for i in ids)])
        products = vectors[1:].astype(np.float64) @ vectors[0].astype(np.float64)
        below = norms[1:].astype(np.float64) * float(norms[0])
        return bool((products >= self.settings.duplicate_above * np.maximum(below, 1e-30)).any())


class Reader:
    """What one agent can read of its memory by structure, until something is committed."""

    def __init__(self, store: Held, agent: int, *, public: bool = False) -> None:
        self._store = store
        self._agent = agent
        self._public = public

    def insights(self, subject: Symbol = None) -> tuple[Memory, ...]:
        """As `MemoryStore.insights`."""
        return self._store.insights(self._agent, subject, public=self._public)

    def about(self, subject: Symbol, predicate: str | None = None) -> tuple[Memory, ...]:
        """As `MemoryStore.about`."""
        return self._store.about(self._agent, subject, predicate, public=self._public)

    def facts(self, subject: Symbol = None, predicate: str | None = None) -> tuple[Memory, ...]:
        """As `MemoryStore.facts`."""
        return self._store.facts(self._agent, subject, predicate, public=self._public)


def owner_of(archetype: int) -> int:
    """Return the agent number under which an archetype's shared records are stored."""
    return -2 - archetype

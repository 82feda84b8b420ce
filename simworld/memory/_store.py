"""MemoryStore: the memories of all agents of one society.

Columns by id hold what a record is; the arena holds what retrieval looks at; the log says how it came about. A step
reads one snapshot: what is remembered and recalled meanwhile waits in buffers until `commit`, the barrier.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError, RunError
from simworld.memory._arena import Arena, Slab, dots, taken
from simworld.memory._embed import Embedder, embedder, quantised
from simworld.memory._log import Growing, LogPart, columns_of, ids_of_text, ids_text, rows_of
from simworld.memory._operations import Operation, fault_of, path_of
from simworld.memory._records import (
    CODES,
    KINDS,
    THOUGHTS,
    Flag,
    Memory,
    NewMemory,
    Recalled,
    Recollection,
    Symbol,
    symbol_of,
    symbol_text,
)
from simworld.memory._retrieve import Candidates, Policy, best, bm25, policy_of, scores
from simworld.memory._settings import KIND_IMPORTANCE, MemorySettings, capacity_for
from simworld.memory._text import noun_set, term_ids
from simworld.rng import Chance

type Ids = npt.NDArray[np.int64]
type Block = tuple[Slab, Ids, int]
"""Some rows of a slab, and how many of their slots are looked at."""

CORE = ("self", "goals", "relationships", "working")
"""Labels of the core blocks."""
STRONGEST = 6
"""Largest strength of a record. [design]"""
RECENT = 20
"""Latest records that surprise is measured against. [design]"""
UNIT = 1_000_000
"""Importance is gathered in millionths, so that sums are exact."""
MOST_ASKED = 32
"""Distinct content words of a question that word matching looks for."""
AT_ONCE = 1 << 18
"""Records scored at once; bounds what retrieval needs beside the arena."""
KEPT_TEXTS = 100_000
"""Texts whose vectors are kept; arbitrary."""

_COLUMNS: dict[str, tuple[Any, Any]] = {
    "agent": (np.int32, -1), "kind": (np.int8, 0), "t_created": (np.int32, 0), "t_event": (np.int32, 0),
    "t_access": (np.int32, 0), "n_access": (np.int32, 0), "importance": (np.float64, 0.0),
    "strength": (np.float32, 1.0), "value": (np.float64, np.nan), "source": (np.int32, -1),
    "subject": (np.int32, 0), "predicate": (np.int32, 0), "object": (np.int32, 0), "place": (np.int32, 0),
    "valid_from": (np.int32, -1), "valid_to": (np.int32, -1), "t_closed": (np.int32, -1), "depth": (np.int8, 0),
    "flags": (np.int16, 0),
}  # fmt: skip
SYMBOLS = ("subject", "predicate", "object", "place")
"""Columns that hold codes of symbols."""
NUMBERS = tuple(name for name in _COLUMNS if name not in SYMBOLS)
_IS_THOUGHT = np.array([kind in THOUGHTS for kind in KINDS])


class Found(NamedTuple):
    """What retrieval found for m questions."""

    ids: Ids
    """Shape (m, k), best first or in the policy's order; −1 for none."""
    scores: npt.NDArray[np.float64]
    """Shape (m, k)."""
    parts: Mapping[str, npt.NDArray[np.float64]]
    """By component, shape (m, k)."""


class MemoryStore:
    """The memories of agents 0 to n−1."""

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
        self._columns = Growing(_COLUMNS)
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
        column = {name: self._columns[name].take(records).tolist() for name in _COLUMNS}
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

    def _where(self, agent: int, kind: str | None, subject: Symbol, predicate: str | None, *, own: bool = False) -> Ids:
        ids = self.ids_of(agent)
        if not own and 0 <= agent < self.n_agents and self._archetype[agent] >= 0:
            ids = np.concatenate([ids, self._shared.ids_of(int(self._archetype[agent]))])
        ids = self._without_probes(ids)
        c = self._columns
        ok = np.ones(len(ids), bool)
        if kind is not None:
            ok &= c["kind"][ids] == CODES[kind]
        if subject is not None:
            ok &= c["subject"][ids] == self._codes.get(subject, -1)
        if predicate is not None:
            ok &= c["predicate"][ids] == self._codes.get(predicate, -1)
        return ids[ok]

    def insights(self, agent: int, subject: Symbol = None) -> tuple[Memory, ...]:
        """Return an agent's reflections that hold and are not stale, about somebody or all; newest first."""
        ids = self._where(agent, "reflection", subject, None)
        ids = ids[self._holds(ids) & (self._columns["flags"][ids] & Flag.STALE == 0)]
        return tuple(self.get_all(ids[::-1]))

    def about(self, agent: int, subject: Symbol, predicate: str | None = None) -> tuple[Memory, ...]:
        """Return an agent's records whose subject this is, oldest first, thoughts and facts left out."""
        ids = self._where(agent, None, subject, predicate)
        kind = self._columns["kind"][ids]
        return tuple(self.get_all(ids[~_IS_THOUGHT[kind] & (kind != CODES["fact"])]))

    def facts(self, agent: int, subject: Symbol = None, predicate: str | None = None) -> tuple[Memory, ...]:
        """Return an agent's facts that hold now, oldest first."""
        ids = self._where(agent, "fact", subject, predicate)
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

    # -- storing --------------------------------------------------------------------------------------------------

    def remember(self, new: NewMemory) -> None:
        """Keep a record until the barrier, where it is stored.

        Raises:
            ParameterError: no such agent or kind, or an importance outside [0, 1].
        """
        if self.settings.enabled:
            self._check(new)
            self._waiting.append(new)

    def _known(self, agents: Ids) -> Ids:
        wrong = agents[(agents < 0) | (agents >= self.n_agents)]
        if len(wrong):
            raise ParameterError(f"no agent {int(wrong[0])}; there are 0 to {self.n_agents - 1}")
        return agents

    def _check(self, new: NewMemory) -> None:
        if isinstance(new.subject, numbers.Integral):
            new.subject = int(new.subject)
        if isinstance(new.object, numbers.Integral):
            new.object = int(new.object)
        new.flags = int(new.flags) | (int(Flag.SHARED) if new.agent < 0 else 0)
        if not -(2**30) < new.agent < self.n_agents or new.agent == -1:
            raise ParameterError(f"a memory for agent {new.agent!r}; there are 0 to {self.n_agents - 1}")
        if new.kind not in CODES:
            raise ParameterError(f"no kind of memory {new.kind!r}; there are {', '.join(KINDS)}")
        if new.importance is not None and not 0.0 <= new.importance <= 1.0:
            raise ParameterError(f"importance = {new.importance!r}; it lies in [0, 1], a raw scale goes into 'data'")
        for name, text in (("text", new.text), ("predicate", new.predicate), ("place", new.place)):
            if not isinstance(text, str) or (not text.isascii() and text.encode("utf-8", "replace").decode() != text):
                raise ParameterError(f"the {name} of a memory is text that UTF-8 can hold, got {text!r:.80}")
        try:
            json.dumps(dict(new.data), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"the data of a memory is what JSON can hold: {error}") from None
        self._check_refs(new)

    def waiting(self) -> list[tuple[NewMemory, float]]:
        """Return what waits for the barrier, in the order in which it will be stored, with its importance by rule."""
        new = sorted(self._waiting, key=NewMemory.key)
        if not new:
            return []
        importance = self._importance(new, *self._embed([one.text for one in new]))
        return list(zip(new, importance.tolist(), strict=True))

    def says_already(self, agent: int, text: str) -> bool:
        """Whether an insight of an agent's that holds says nearly the same, by the settings' ``duplicate_above``."""
        ids = [m.id for m in self.insights(agent)]
        if not ids:
            return False
        vectors, norms = self._embed([text, *(self._texts[i] for i in ids)])
        products = vectors[1:].astype(np.float64) @ vectors[0].astype(np.float64)
        below = norms[1:].astype(np.float64) * float(norms[0])
        return bool((products >= self.settings.duplicate_above * np.maximum(below, 1e-30)).any())

    def only_reading(self, agent: int) -> Recollection:
        """Return a recollection for which nothing was looked up: core, insights, facts."""
        return Recollection((), [f"{label}: {text}" for label, text in self.core(agent).items()], Reader(self, agent))

    def commit(self) -> Ids:
        """Store what waits, agent by agent, and count what was recalled; return the new ids.

        Whatever the order in which records came, they are stored in the order of agents, turns and contents.
        """
        recalls, self._recalled = sorted(self._recalled), []
        touched: list[int] = []
        for agent, purpose, occurrence, question, policy, touches, ids, found in recalls:
            data = {"purpose": purpose, "occurrence": occurrence, "policy": policy, "scores": found}
            self._write(op="recall", agent=agent, text=question, refs=ids_text(ids), flags=touches,
                        data=json.dumps(data, sort_keys=True))  # fmt: skip
            if touches:
                touched += ids
        self._touch(touched, self.now)
        stored = self.add(sorted(self._waiting, key=NewMemory.key))
        self._waiting = []
        return stored

    def add(self, new: Sequence[NewMemory]) -> Ids:
        """Store records at once, in this order; return their ids.

        Raises:
            ParameterError: a record that cannot be, or evidence that is not its owner's, or not earlier.
        """
        if not self.settings.enabled or not new:
            return np.zeros(0, np.int64)
        for one in new:
            self._check(one)
        vectors, norms = self._embed([one.text for one in new])
        importance = self._importance(new, vectors, norms)
        text = {
            "kind": [n.kind for n in new], "subject": [symbol_text(n.subject) for n in new],
            "predicate": [n.predicate for n in new], "object": [symbol_text(n.object) for n in new],
            "place": [n.place for n in new], "text": [n.text for n in new],
            "refs": [ids_text(n.evidence) for n in new], "links": [ids_text(n.links) for n in new],
            "data": [json.dumps(dict(n.data), sort_keys=True, ensure_ascii=False) if n.data else "" for n in new],
        }  # fmt: skip
        depth = [
            1 + max(int(self._columns["depth"][e]) for e in n.evidence) if n.kind == "reflection" and n.evidence else 0
            for n in new
        ]
        columns: dict[str, Any] = {
            "op": "add", "id": np.arange(len(self), len(self) + len(new)),
            "agent": np.array([n.agent for n in new], np.int32),
            "t_event": np.array([self.now if n.t_event is None else n.t_event for n in new], np.int32),
            "importance": importance, "value": np.array([n.value for n in new], np.float64),
            "source": np.array([n.source for n in new], np.int32),
            "valid_from": np.array([n.valid_from for n in new], np.int32),
            "depth": np.array(depth, np.int32), "flags": np.array([int(n.flags) for n in new], np.int32),
            **{name: _one(column) for name, column in text.items()},
        }  # fmt: skip
        self._log.append(LogPart(len(new), columns))
        return self._store(len(new), columns, self.now, vectors, norms)

    def _check_refs(self, new: NewMemory) -> None:
        c = self._columns
        for ref in (*new.evidence, *new.links):
            if not 0 <= ref < len(self):
                raise ParameterError(f"{new.kind} of agent {new.agent} cites memory {ref!r}, which does not exist")
            owner = int(c["agent"][ref])
            if new.agent >= 0 and owner not in (new.agent, self.owner_read_by(new.agent)):
                raise ParameterError(f"{new.kind} of agent {new.agent} cites memory {ref}, which is another agent's")
            if new.agent < 0 and owner >= 0 and self._archetype[owner] != -2 - new.agent:
                raise ParameterError(f"a shared {new.kind} cites memory {ref} of agent {owner}, who does not read it")
            if new.agent < 0 and c["flags"][ref] & Flag.PRIVATE:
                raise ParameterError(f"a shared {new.kind} cites memory {ref}, which is private")
        if any(c["flags"][ref] & Flag.PRIVATE for ref in new.evidence):
            new.flags |= int(Flag.PRIVATE)  # what is concluded from it says it again

    def _store(self, n: int, columns: Mapping[str, Any], now: int, vectors: npt.NDArray[np.int8], norms: Any) -> Ids:
        c, first = self._columns, len(self)
        ids = np.arange(first, first + n)
        c.extend(n)
        agents = np.broadcast_to(np.asarray(columns["agent"], np.int32), n)
        kinds = _all(columns.get("kind", ""), n)
        c["agent"][ids] = agents
        c["kind"][ids] = [CODES[k] for k in kinds]
        c["t_created"][ids] = c["t_access"][ids] = now
        for name in ("t_event", "importance", "value", "source", "valid_from", "depth", "flags"):
            c[name][ids] = columns[name]
        for name in SYMBOLS:
            column = columns.get(name, "")
            if column != "":
                c[name][ids] = [self._code(symbol_of(text)) for text in _all(column, n)]
        texts = _all(columns.get("text", ""), n)
        self._texts += texts
        for name, kept in (("refs", self._refs), ("links", self._links)):
            column = columns.get(name, "")
            if column == "":
                continue
            for i, text in zip(ids.tolist(), _all(column, n), strict=True):
                if text:
                    kept[i] = ids_of_text(text)
                    for other in kept[i]:
                        self._edges[int(c["agent"][i])].append((i, other))
                        if name == "refs":
                            self._cited_by[other].append(i)
        if columns.get("data", "") != "":
            self._data.update((i, t) for i, t in zip(ids.tolist(), _all(columns["data"], n), strict=True) if t)
        owner = np.where(agents < 0, -2 - agents.astype(np.int64), agents)
        for arena, mine in ((self._arena, agents >= 0), (self._shared, agents < 0)):
            at = np.flatnonzero(mine)
            at = at[np.argsort(owner[at], kind="stable")]
            if len(at):
                arena.add(owner[at], ids[at], vectors[at], norms[at], [term_ids(texts[i]) for i in at.tolist()])
        self._gather(ids, agents)
        return ids

    def _gather(self, ids: Ids, agents: Any) -> None:
        """Count importance towards the next reflection; what an agent thinks does not count."""
        c = self._columns
        kind = c["kind"][ids]
        counts = ~_IS_THOUGHT[kind] & (kind != CODES["formative"]) & (agents >= 0)
        counts &= c["flags"][ids] & int(Flag.PROBE) == 0
        units = np.rint(c["importance"][ids[counts]] * UNIT).astype(np.int64)
        np.add.at(self._gathered, agents[counts], units)
        if self.settings.episodes:
            for i, agent in zip(ids[counts].tolist(), agents[counts].tolist(), strict=True):
                self._episode[agent].append(i)

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

    def _importance(self, new: Sequence[NewMemory], vectors: Any, norms: Any) -> npt.NDArray[np.float64]:
        """Return the importance of new records: what was said, else the table's, and how new it is to its owner."""
        table = self.settings.importance_table
        base = [
            table.get(n.predicate, table.get(n.kind, KIND_IMPORTANCE[n.kind])) if n.importance is None else n.importance
            for n in new
        ]
        out = np.array(base, np.float64)
        weight = self.settings.surprise
        asked = np.array([i for i, n in enumerate(new) if n.importance is None and n.agent >= 0], np.int64)
        if weight and len(asked):
            for first in range(0, len(asked), 1024):
                at = asked[first : first + 1024]
                earlier, lengths = self._arena.last(np.array([new[i].agent for i in at.tolist()], np.int64), RECENT)
                products = np.matmul(earlier.astype(np.float32), vectors[at].astype(np.float32)[:, :, None])[..., 0]
                below = lengths.astype(np.float64) * norms[at].astype(np.float64)[:, None]
                cosines = np.where(below > 0, products / np.maximum(below, 1e-30), 0.0)
                surprise = 1.0 - np.clip(cosines.max(axis=1), 0.0, 1.0)
                out[at] = (1 - weight) * out[at] + weight * surprise
        return np.round(out, 6)

    # -- finding --------------------------------------------------------------------------------------------------

    def retrieve(
        self,
        agents: Sequence[int] | Ids,
        questions: Sequence[str],
        *,
        policy: str | Policy | None = None,
        k: int | None = None,
        touch: bool = False,
        kinds: Iterable[str] | None = None,
        cold: bool = False,
        public: bool = False,
        purpose: str = "",
        occurrences: Sequence[int] | None = None,
    ) -> list[Recollection]:
        """Return what each agent recalls for its question.

        Args:
            agents: whose memory, shape (m,); an agent may occur several times.
            questions: what is to be found, one each.
            policy: the settings' by default.
            k: how many records each; the settings', else the policy's.
            touch: whether it counts as recalled, from the barrier on; else nothing changes and nothing is logged.
            kinds: kinds of record; all when None.
            cold: whether records that a summary covers are wanted although the policy skips them.
            public: leave out what is private.
            purpose, occurrences: names what the recall was for, in the log.
        """
        rule = self.policy if policy is None else policy if isinstance(policy, Policy) else policy_of(policy)
        agents = self._known(np.asarray(agents, np.int64))
        wanted = None if kinds is None else tuple(kinds)
        more: dict[str, Any] = {"kinds": wanted, "cold": cold, "public": public}
        if rule.touches_between and len(np.unique(agents)) < len(agents):
            found = self._one_after_the_other(rule, agents, questions, k, more)
        else:
            found = self._find(rule, agents, questions, k, **more)
        out = []
        for i, agent in enumerate(agents.tolist()):
            here = found.ids[i][found.ids[i] >= 0]
            ids = here.tolist()
            out.append(Recollection(
                [
                    Recalled(memory, float(found.scores[i, at]),
                             {name: float(part[i, at]) for name, part in found.parts.items()})
                    for at, memory in enumerate(self.get_all(here))
                ],
                [f"{label}: {text}" for label, text in self.core(agent).items()],
                Reader(self, agent), rule.highest,
            ))  # fmt: skip
            if touch and self.settings.enabled:
                rounded = tuple(round(float(s), 6) for s in found.scores[i, : len(ids)])
                turn = 0 if occurrences is None else int(occurrences[i])
                self._recalled.append(
                    (agent, purpose, turn, questions[i], rule.name, int(rule.touches), tuple(ids), rounded)
                )
        return out

    def _one_after_the_other(
        self, rule: Policy, agents: Ids, questions: Sequence[str], k: int | None, more: Mapping[str, Any]
    ) -> Found:
        """Let each agent recall for its questions in turn, what it recalled for one being fresh for the next."""
        turn = np.zeros(len(agents), np.int64)
        seen: Counter[int] = Counter()
        for i, agent in enumerate(agents.tolist()):
            turn[i] = seen[agent]
            seen[agent] += 1
        access = self._columns["t_access"].copy()
        parts: dict[int, Found] = {}
        for t in range(int(turn.max()) + 1):
            at = np.flatnonzero(turn == t)
            found = self._find(rule, agents[at], [questions[i] for i in at.tolist()], k, **more)
            ids = found.ids[found.ids >= 0]
            self._columns["t_access"][ids] = self.now
            for row, i in enumerate(at.tolist()):
                parts[i] = Found(found.ids[row], found.scores[row], {n: p[row] for n, p in found.parts.items()})
        self._columns["t_access"][:] = access
        rows = [parts[i] for i in range(len(agents))]
        return Found(
            np.stack([r.ids for r in rows]),
            np.stack([r.scores for r in rows]),
            {name: np.stack([r.parts[name] for r in rows]) for name in rows[0].parts},
        )

    def find(self, agents: Sequence[int] | Ids, questions: Sequence[str], **how: Any) -> Found:
        """Return what `retrieve` finds as arrays, without touching: for many agents at once.

        Args:
            agents: shape (m,).
            questions: one each.
            how: ``policy``, ``k``, ``kinds``, ``cold``, ``public`` as for `retrieve`.
        """
        policy, k = how.pop("policy", None), how.pop("k", None)
        rule = self.policy if policy is None else policy if isinstance(policy, Policy) else policy_of(policy)
        return self._find(rule, self._known(np.asarray(agents, np.int64)), questions, k, **how)

    def _find(
        self,
        rule: Policy,
        agents: Ids,
        questions: Sequence[str],
        k: int | None,
        *,
        kinds: tuple[str, ...] | None = None,
        cold: bool = False,
        public: bool = False,
    ) -> Found:
        k = k or self.settings.k or rule.k
        m = len(agents)
        if m != len(questions):
            raise ParameterError(f"{len(questions)} questions for {m} agents; give one each")
        ids = np.full((m, k), -1, np.int64)
        total = np.zeros((m, k))
        names = ["recency", "relevance", "topic"] if rule.special == "ldagent" else list(rule.weights)
        parts = {name: np.zeros((m, k)) for name in names}
        vectors, norms = self._embed(questions)
        queries = vectors.astype(np.float32)
        asked = _padded([np.unique(term_ids(q))[:MOST_ASKED] for q in questions]) if "words" in rule.weights else None
        for at, pieces in self._groups(agents):
            size = max(1, AT_ONCE // sum(slab.capacity for slab, _ in pieces))
            for first in range(0, len(at), size):
                here = slice(first, first + size)
                block = [(slab, rows[here], int(slab.used[rows[here]].max())) for slab, rows in pieces]
                if not any(width for _, _, width in block):
                    continue  # everything is forgotten
                q = at[here]
                c = self._candidates(rule, agents[q], block, queries[q], norms[q], kinds, cold, public)
                if asked is not None:
                    terms, lengths = _words(block)
                    c.words = bm25(terms, lengths, c.ok, asked[q])
                if "links" in rule.weights:
                    c.links = self._linked(agents[q], c)
                if "chance" in rule.weights:
                    c.chance = self._chance(agents[q], c.ids)
                if rule.special == "ldagent":
                    slots, value = self._by_topic(rule, c, [questions[i] for i in q.tolist()], k)
                    order_parts = c.parts
                else:
                    value, order = scores(rule, c)
                    slots = best(value, c.ok, k, order, newer=rule.ties == "newer")
                    order_parts = c.parts
                there = slots >= 0
                pick = np.arange(len(q))[:, None], np.maximum(slots, 0)
                ids[q] = np.where(there, c.ids[pick], -1)
                total[q] = np.where(there, value[pick], 0.0)
                for name in names:
                    parts[name][q] = np.where(there, order_parts[name][pick], 0.0)
        if rule.order == "creation":
            order = np.argsort(np.where(ids < 0, np.iinfo(np.int64).max, ids), axis=1, kind="stable")
            ids, total = np.take_along_axis(ids, order, axis=1), np.take_along_axis(total, order, axis=1)
            parts = {name: np.take_along_axis(part, order, axis=1) for name, part in parts.items()}
        return Found(ids, total, parts)

    def _groups(self, agents: Ids) -> Iterator[tuple[Ids, list[tuple[Slab, Ids]]]]:
        """Yield positions of agents whose records lie in slabs of the same shape, and these slabs with their rows."""
        archetype = self._archetype[agents] if self.n_agents else np.zeros(len(agents), np.int32)
        own: list[tuple[Slab | None, int]] = [(None, -1)] * len(agents)
        for at, slab, rows in self._arena.groups(agents):
            if not (archetype >= 0).any():
                yield at, [(slab, rows)]
            else:
                for i, row in zip(at.tolist(), rows.tolist(), strict=True):
                    own[i] = slab, row
        if not (archetype >= 0).any():
            return
        shared: list[tuple[Slab | None, int]] = [(None, -1)] * len(agents)
        for at, slab, rows in self._shared.groups(np.where(archetype >= 0, archetype.astype(np.int64), 2**31)):
            for i, row in zip(at.tolist(), rows.tolist(), strict=True):
                shared[i] = slab, row
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for i, pair in enumerate(zip(own, shared, strict=True)):
            groups[tuple(0 if s is None else s.capacity for s, _ in pair)].append(i)  # type: ignore[index]
        for _, members in sorted(groups.items()):
            pieces = []
            for side in (own, shared):
                slab_or_none = side[members[0]][0]
                if slab_or_none is not None:
                    pieces.append((slab_or_none, np.array([side[i][1] for i in members], np.int64)))
            if pieces:
                yield np.array(members, np.int64), pieces

    def _candidates(
        self,
        rule: Policy,
        agents: Ids,
        block: Sequence[Block],
        queries: npt.NDArray[np.float32],
        norms: npt.NDArray[np.float32],
        kinds: tuple[str, ...] | None,
        cold: bool,
        public: bool,
    ) -> Candidates:
        c = self._columns
        ids = _joined([taken(slab.ids, rows, width) for slab, rows, width in block])
        products = _joined([dots(slab, rows, width, queries) for slab, rows, width in block])
        lengths = _joined([taken(slab.norms, rows, width) for slab, rows, width in block])
        below = np.multiply(lengths, norms[:, None], dtype=np.float64)
        there = ids >= 0
        at = ids if there.all() else np.where(there, ids, 0)
        flags, kind = c["flags"].take(at), c["kind"].take(at)
        barred = Flag.GONE | Flag.PROBE
        barred |= Flag.COLD if rule.skips_cold and not cold else Flag(0)
        barred |= Flag.PRIVATE if public else Flag(0)
        ok = there & (flags & int(barred) == 0)
        if kinds is not None:
            ok &= np.array([name in kinds for name in KINDS])[kind]
        if rule.kinds != "all":
            ok &= kind != CODES["fact"]
        ends = c["valid_to"].take(at).max(initial=-1) >= 0
        begins = c["valid_from"].take(at).max(initial=-1) > self.now
        if ends or begins or self.settings.thought_expiry is not None:
            ok &= self._holds(at)
        for word in rule.skips:
            barred_words = [[word in self._texts[i] for i in row] for row in np.where(ok, at, -1).tolist()]
            ok &= ~np.array(barred_words, bool).reshape(ok.shape)
        access = c["t_access"].take(at).astype(np.int64)
        hours = self.settings.hours_per_step
        if rule.drops_after_days is not None:
            ok &= (self.now - access) * hours < rule.drops_after_days * 24
        tau = 24.0 / hours if rule.name == "memorybank" else self.settings.tau_steps or 24.0 / hours
        return Candidates(
            ids=ids, ok=ok, now=self.now, t_access=access, importance=c["importance"].take(at),
            strength=c["strength"].take(at).astype(np.float64) if "retention" in rule.weights else None,
            stale=flags & int(Flag.STALE) != 0,
            is_thought=_IS_THOUGHT[kind] if rule.recency.startswith("rank") else None,
            relevance=np.divide(products, below, out=np.zeros(ids.shape), where=below > 0),
            hours_per_step=hours, tau_steps=tau,
        )  # fmt: skip

    def _linked(self, agents: Ids, c: Candidates) -> npt.NDArray[np.float64]:
        out = np.zeros(c.ids.shape)
        if not self._edges:
            return out
        for row, agent in enumerate(agents.tolist()):
            pairs = self._edges.get(agent, [])
            if agent >= 0 and self._archetype[agent] >= 0:
                pairs = pairs + self._edges.get(-2 - int(self._archetype[agent]), [])
            if not pairs:
                continue
            # An id and its slot: ids ascend, but for what is shared and for empty slots.
            slots = np.argsort(c.ids[row], kind="stable")
            ids, both = c.ids[row, slots], np.array(pairs)
            at = np.minimum(np.searchsorted(ids, both), len(ids) - 1)
            a, b = slots[at[(ids[at] == both).all(axis=1)]].T
            relevance = np.where(c.ok[row], c.relevance[row], -np.inf)
            near = np.full(len(c.ids[row]), -np.inf)
            np.maximum.at(near, a, relevance[b])
            np.maximum.at(near, b, relevance[a])
            out[row] = np.where(np.isfinite(near), near, 0.0)
        return out

    def _chance(self, agents: Ids, ids: Ids) -> npt.NDArray[np.float64]:
        draws = [
            self.chance.stream("step", self.now, "random retrieval", int(agent)).random(ids.shape[1])
            for agent in agents.tolist()
        ]
        return np.array(draws).reshape(ids.shape)

    def _by_topic(
        self, rule: Policy, c: Candidates, questions: Sequence[str], k: int
    ) -> tuple[Ids, npt.NDArray[np.float64]]:
        """LD-Agent: of the ten nearest by their nouns, exp(−1e−7·Δt in s) × topic overlap; the later of equals."""
        slots = np.full((len(questions), k), -1, np.int64)
        value = np.zeros(c.ids.shape)
        for name in ("recency", "relevance", "topic"):
            c.parts[name] = np.zeros(c.ids.shape)
        for row, question in enumerate(questions):
            asked = noun_set(question)
            here = np.flatnonzero(c.ok[row])
            if not asked or not len(here):
                continue
            nouns = [noun_set(self._texts[i]) for i in c.ids[row, here].tolist()]
            vectors, norms = self._embed([" ".join(sorted(asked)), *(" ".join(sorted(n)) for n in nouns)])
            products = vectors[1:].astype(np.float32) @ vectors[0].astype(np.float32)
            below = norms[1:].astype(np.float64) * float(norms[0])
            near = np.divide(products, below, out=np.zeros(len(here)), where=below > 0)
            nearest = np.argsort(-near, kind="stable")[:10]
            ranked = []
            for j in nearest.tolist():
                shared = len(asked & nouns[j])
                if not shared:
                    continue
                topic = 0.5 * (shared / len(asked) + shared / len(nouns[j]))
                age_s = (self.now - int(c.t_access[row, here[j]])) * c.hours_per_step * 3600.0
                recency = math.exp(-1e-7 * age_s)
                slot = int(here[j])
                c.parts["recency"][row, slot], c.parts["topic"][row, slot] = recency, topic
                c.parts["relevance"][row, slot] = near[j]
                value[row, slot] = recency * topic
                ranked.append((-recency * topic, -int(c.ids[row, slot]), slot))
            for at, (_, _, slot) in enumerate(sorted(ranked)[:k]):
                slots[row, at] = slot
        return slots, value

    # -- changing -------------------------------------------------------------------------------------------------

    def _write(self, **columns: Any) -> None:
        self._log.append(LogPart(1, columns))

    def _touch(self, ids: Sequence[int], now: int) -> None:
        c = self._columns
        # What an archetype's members share is not theirs to strengthen.
        mine = [i for i in ids if c["agent"][i] >= 0]
        if mine:
            at, times = np.unique(np.array(mine, np.int64), return_counts=True)
            c["t_access"][at] = now
            c["n_access"][at] += times.astype(np.int32)
            c["strength"][at] = np.minimum(c["strength"][at] + times, STRONGEST)

    def close(self, record: int, valid_to: int | None = None) -> None:
        """Say that a fact or a reflection ends at a step (now by default); what rests on it goes stale.

        Raises:
            ParameterError: there is no such record, or it ended already.
        """
        memory = self.get(record)
        if memory.t_closed >= 0:
            raise ParameterError(f"memory {record} ended at step {memory.valid_to} already")
        end = self.now if valid_to is None else valid_to
        self._write(op="close", agent=memory.agent, id=record, valid_to=end)
        self._close(record, end, self.now)

    def _close(self, record: int, end: int, now: int) -> None:
        self._columns["valid_to"][record], self._columns["t_closed"][record] = end, now
        stack = list(self._cited_by.get(record, ()))
        while stack:
            one = stack.pop()
            if KINDS[self._columns["kind"][one]] == "reflection" and not self._columns["flags"][one] & Flag.STALE:
                self._columns["flags"][one] |= int(Flag.STALE)
                stack += self._cited_by.get(one, ())

    def flag(self, record: int, flag: Flag) -> None:
        """Mark a record."""
        memory = self.get(record)
        self._write(op="flag", agent=memory.agent, id=record, flags=int(memory.flags | flag))
        self._columns["flags"][record] = memory.flags | flag

    def reflected(self, agent: int) -> None:
        """Start counting anew: this agent has reflected."""
        self._write(op="reflected", agent=agent)
        self._gathered[agent], self._since[agent] = 0, len(self)

    def due_reflection(self) -> Ids:
        """Return the agents whose gathered importance calls for a reflection, ascending."""
        if not (self.settings.enabled and self.settings.reflection):
            return np.zeros(0, np.int64)
        return np.flatnonzero(self._gathered >= round(self.settings.reflect_at * UNIT))

    def gathered(self, agent: int) -> float:
        """Return the importance gathered since an agent's last reflection."""
        return float(self._gathered[agent] / UNIT)

    def since_reflection(self, agent: int) -> list[Memory]:
        """Return an agent's records since its last reflection, at most ``reflect_over``; thoughts are left out."""
        ids = self._without_probes(self.ids_of(agent))
        ids = ids[ids >= self._since[agent]]
        ids = ids[~_IS_THOUGHT[self._columns["kind"][ids]]]
        return self.get_all(ids[-self.settings.reflect_over :])

    def share_archetypes(self, archetypes: Sequence[int]) -> None:
        """Give agents an archetype each (−1 for none), whose shared records they read but do not own.

        An archetype's records are stored under the agent number ``owner_of(archetype)``.
        """
        for agent, archetype in enumerate(archetypes):
            if archetype != self._archetype[agent]:
                self._write(op="archetype", agent=agent, id=archetype)
                self._archetype[agent] = archetype

    def apply_ops(self, agent: int, operations: Sequence[Operation]) -> list[str]:
        """Carry out memory operations of one agent, all or none.

        Returns:
            What is wrong with each that is not possible; nothing was changed unless the list is empty.
        """
        self._known(np.array([agent]))
        if not self.settings.enabled:
            return []
        faults = []
        trial = self._trial(agent)
        for operation in operations:
            fault = fault_of(operation, trial, self.settings)
            if fault:
                faults.append(fault)
        if faults:
            for fault in faults:
                self.refused[fault] += 1
                self._write(op="refused", agent=agent, text=fault)
            return faults
        for operation in operations:
            self._carry_out(agent, operation)
        return []

    def _trial(self, agent: int) -> dict[str, Any]:
        open_facts = {(f.subject, f.predicate): f for f in self._own_facts(agent)}
        return {"core": dict(self._core.get(agent, {})), "tree": dict(self._tree.get(agent, {})), "facts": open_facts,
                "n_agents": self.n_agents}  # fmt: skip

    def _carry_out(self, agent: int, operation: Operation) -> None:
        if operation.op == "NO_OP":
            return
        target, rest = path_of(operation.path)
        if target == "core":
            old = self._core.get(agent, {}).get(rest, "")
            new = {"ADD": f"{old}\n{operation.value}".strip(), "UPDATE": operation.value, "DELETE": ""}[operation.op]
            self._write(op="core", agent=agent, predicate=rest, text=new)
            self._core.setdefault(agent, {})[rest] = new
        elif target == "persona":
            new = "" if operation.op == "DELETE" else operation.value
            self._write(op="tree", agent=agent, predicate=rest, text=new)
            self._set_leaf(agent, rest, new)
        else:
            subject, predicate = rest.split("/", 1)
            old_facts = self._own_facts(agent, symbol_of(subject), predicate)
            if operation.op != "ADD" and old_facts:
                self.close(old_facts[-1].id)
            if operation.op != "DELETE":
                links = (old_facts[-1].id,) if operation.op == "UPDATE" and old_facts else ()
                words = self.name_of(int(subject[1:])) if isinstance(symbol_of(subject), int) else subject
                self.add([NewMemory(
                    agent, f"{words} {predicate}: {operation.value}", "fact", subject=symbol_of(subject),
                    predicate=predicate, object=operation.value, valid_from=self.now, links=links,
                )])  # fmt: skip

    def _set_leaf(self, agent: int, path: str, text: str) -> None:
        leaves = self._tree.setdefault(agent, {})
        leaves.pop(path, None)
        if text:
            leaves[path] = text

    # -- forgetting -----------------------------------------------------------------------------------------------

    def retention(self, ids: Ids) -> npt.NDArray[np.float64]:
        """Return R = exp(−Δt/(S·τ)) of records, in [0, 1].

        Raises:
            ParameterError: the settings have no ``tau_steps``.
        """
        from simworld.memory._retrieve import retention

        if self.settings.tau_steps is None:
            raise ParameterError("retention needs 'tau_steps', the τ of the retention curve in steps; set it")
        c = self._columns
        ages = (self.now - c["t_access"][ids]).astype(np.int64)
        strength = np.minimum(c["strength"][ids].astype(np.float64), self.policy.levels)
        return retention(ages, strength, self.settings.tau_steps)

    def forget(self) -> tuple[list[int], list[int]]:
        """Drop what is forgotten, then evict what is over the capacity; return both as ids, ascending.

        Formative and pinned records stay. What is dropped leaves the index, not the log, and evidence still resolves.
        """
        s, c = self.settings, self._columns
        flags = c["flags"]
        here = np.flatnonzero((flags & int(Flag.GONE) == 0) & (c["agent"] >= 0))
        stays = flags[here] & int(Flag.FORMATIVE | Flag.PINNED) != 0
        r = self.retention(here) if s.tau_steps is not None else np.ones(len(here))
        gone = np.zeros(len(here), bool)
        if s.forgetting == "threshold":
            gone = (r < s.forget_below) & ~stays
        elif s.forgetting == "bernoulli":
            draws = self.chance.uniforms(len(self), "step", self.now, "forget", only=here)
            gone = (draws < 1.0 - r) & ~stays
        forgotten = here[gone]
        for agent, ids in self._by_agent(forgotten):
            self._drop("forget", agent, ids)
        evicted: list[int] = []
        for agent in np.flatnonzero(self._arena.used(np.arange(self.n_agents)) > self.capacity).tolist():
            evicted += self._evict(agent)
        return forgotten.tolist(), sorted(evicted)

    def _evict(self, agent: int) -> list[int]:
        ids = self.ids_of(agent)
        stays = self._columns["flags"][ids] & int(Flag.FORMATIVE | Flag.PINNED) != 0
        free = ids[~stays]
        worth = self._columns["importance"][free]
        if self.settings.tau_steps is not None:
            worth = worth * self.retention(free)
        out = np.sort(free[np.argsort(worth, kind="stable")[: len(ids) - self.capacity]])
        if len(out):
            self._drop("evict", agent, out)
        return [int(i) for i in out]

    def _by_agent(self, ids: Ids) -> Iterator[tuple[int, Ids]]:
        agents = self._columns["agent"][ids]
        for agent in np.unique(agents).tolist():
            yield agent, ids[agents == agent]

    def _drop(self, op: str, agent: int, ids: Ids) -> None:
        self._write(op=op, agent=agent, refs=ids_text(ids.tolist()))
        self._leave(agent, ids)

    def _leave(self, agent: int, ids: Ids) -> None:
        self._columns["flags"][ids] |= int(Flag.GONE)
        self._arena.remove(agent, ids)

    # -- episodes -------------------------------------------------------------------------------------------------

    def closed_episodes(self, *, everything: bool = False) -> dict[int, list[int]]:
        """Return, by agent, the records of episodes that are over: a gap, a change of place, or enough records."""
        s, c = self.settings, self._columns
        over: dict[int, list[int]] = {}
        for agent, ids in sorted(self._episode.items()):
            if not ids:
                continue
            last = ids[-1]
            end = 0
            for i in range(1, len(ids)):
                apart = c["t_created"][ids[i]] - c["t_created"][ids[i - 1]] > s.episode_gap
                moved = c["place"][ids[i]] != c["place"][ids[i - 1]] and c["place"][ids[i - 1]] != 0
                if apart or moved:
                    end = i
                    break
            if not end and len(ids) >= s.episode_records:
                end = len(ids)
            if not end and (everything or self.now - int(c["t_created"][last]) > s.episode_gap):
                end = len(ids)
            if end:
                over[agent] = ids[:end]
        return over

    def summarise(self, agent: int, ids: Sequence[int], text: str) -> int | None:
        """Store the summary of an episode; its records turn cold. One record alone is no episode; it stays as it is."""
        if len(ids) < 2:
            self.end_episode(agent, ids)
            return None
        self.end_episode(agent, ids, cold=True)
        importance = float(self._columns["importance"][list(ids)].max())
        (summary,) = self.add([NewMemory(
            agent, text, "summary", importance=importance, evidence=tuple(ids),
            t_event=int(self._columns["t_event"][ids[0]]),
        )]).tolist()  # fmt: skip
        return int(summary)

    def end_episode(self, agent: int, ids: Sequence[int], *, cold: bool = False) -> None:
        """Close an episode; ``cold`` where a summary covers its records."""
        self._write(op="episode", agent=agent, refs=ids_text(ids), flags=int(cold))
        self._end_episode(agent, ids, cold)

    def _end_episode(self, agent: int, ids: Sequence[int], cold: bool) -> None:
        gone = set(ids)
        self._episode[agent] = [i for i in self._episode[agent] if i not in gone]
        if cold:
            self._columns["flags"][list(ids)] |= int(Flag.COLD)

    # -- log, digest, copies --------------------------------------------------------------------------------------

    def drain(self) -> tuple[int, dict[str, Any]]:
        """Hand over the log since the last call as columns; whoever takes it keeps it."""
        parts, self._log = self._log, []
        return columns_of(parts)

    def apply(self, t: int, n: int, columns: Mapping[str, Any]) -> None:
        """Repeat rows of the log, written at step ``t``; nothing is logged again."""
        self.now = t
        adds: list[dict[str, Any]] = []

        def store() -> None:
            if adds:
                block = {name: [row[name] for row in adds] for name in adds[0]}
                for name in ("agent", "t_event", "source", "valid_from", "depth", "flags"):
                    block[name] = np.array(block[name], np.int32)  # type: ignore[assignment]
                self._store(len(adds), block, t, *self._embed(block["text"]))
                adds.clear()

        for row in rows_of(n, columns):
            op, agent, record = row["op"], row["agent"], row["id"]
            if op in ("close", "flag") and not 0 <= record < len(self) + len(adds):
                raise RunError(f"the log of memories changes record {record}, which is not there; it was altered")
            if op == "add":
                if record != len(self) + len(adds):
                    raise RunError(f"the log of memories has record {record} where {len(self) + len(adds)} should be")
                adds.append(row)
                continue
            store()
            if op == "recall":
                if row["flags"]:
                    self._touch(ids_of_text(row["refs"]), t)
            elif op == "close":
                self._close(record, row["valid_to"], t)
            elif op == "flag":
                self._columns["flags"][record] = row["flags"]
            elif op == "core":
                self._core.setdefault(agent, {})[row["predicate"]] = row["text"]
            elif op == "tree":
                self._set_leaf(agent, row["predicate"], row["text"])
            elif op == "reflected":
                self._gathered[agent], self._since[agent] = 0, len(self)
            elif op in ("forget", "evict"):
                self._leave(agent, np.array(ids_of_text(row["refs"]), np.int64))
            elif op == "episode":
                self._end_episode(agent, ids_of_text(row["refs"]), bool(row["flags"]))
            elif op == "archetype":
                self._archetype[agent] = record
            elif op == "refused":
                self.refused[row["text"]] += 1
        store()

    def digest(self, agent: int | None = None) -> str:
        """Return blake2b over what is remembered, by id, of one agent or all; vectors are not in it."""
        c = self._columns
        ids = np.arange(len(self)) if agent is None else np.flatnonzero(c["agent"] == agent)
        made = hashlib.blake2b(digest_size=16)
        for name, (dtype, _) in _COLUMNS.items():
            column = c[name][ids]
            if name in SYMBOLS:
                # Codes depend on what was interned before; the words do not.
                made.update(json.dumps([symbol_text(self._symbols[i]) for i in column.tolist()]).encode())
            else:
                made.update(np.ascontiguousarray(column.astype(np.dtype(dtype).newbyteorder("<"))).tobytes())
        for i in ids.tolist():
            rest = (self._texts[i], self._refs.get(i, ()), self._links.get(i, ()), self._data.get(i, ""))
            made.update(json.dumps(rest, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        whose = range(self.n_agents) if agent is None else (agent,)
        for one in whose:
            state = [
                self.core(one), self.tree(one), int(self._gathered[one]), self._episode.get(one, []),
                int(self._archetype[one]),
            ]  # fmt: skip
            if state != [{}, {}, 0, [], -1]:
                made.update(json.dumps([one, state], sort_keys=True).encode())
        return made.hexdigest()

    def texts(self) -> tuple[list[str], list[str], list[str], list[str]]:
        """Return text, evidence, links and data of every record, by id, as the log writes them."""
        n = range(len(self))
        refs = [ids_text(self._refs.get(i, ())) for i in n]
        return (
            list(self._texts),
            refs,
            [ids_text(self._links.get(i, ())) for i in n],
            [self._data.get(i, "") for i in n],
        )

    def vectors(self) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
        """Return the vector of every record, by id, shape (n, dimensions), and their norms."""
        return self._embed(self._texts)

    def vectors_of(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of texts as retrieval compares them, of length 1 or 0, shape (n, dimensions)."""
        vectors, norms = self._embed(texts)
        return np.asarray(vectors / np.maximum(norms, 1.0)[:, None], np.float32)

    def state(self) -> dict[str, Any]:
        """Return what is kept beside the records, as JSON holds it."""

        def by_text(mapping: Mapping[int, Any]) -> dict[str, Any]:
            return {str(agent): value for agent, value in sorted(mapping.items()) if value}

        return {
            "n_agents": self.n_agents, "capacity": self.capacity, "now": self.now, "gathered": self._gathered.tolist(),
            "since": self._since.tolist(), "archetype": self._archetype.tolist(), "core": by_text(self._core),
            "tree": by_text(self._tree), "episode": by_text(self._episode), "refused": dict(self.refused),
        }  # fmt: skip

    def load(self, columns: Mapping[str, Any], vectors: npt.NDArray[np.int8], state: Mapping[str, Any]) -> None:
        """Fill an empty store with what `texts`, `vectors`, `state` and the columns of another said."""
        n = len(columns["text"])
        norms = np.asarray(columns["norm"], np.float32)
        self._vectors.update(zip(columns["text"], zip(vectors, norms, strict=True), strict=True))
        kinds = [KINDS[k] for k in columns["kind"]]
        self._store(n, {**columns, "kind": kinds}, 0, vectors, norms)
        for name in NUMBERS:
            self._columns[name][:] = columns[name]
        gone = np.flatnonzero((self._columns["flags"] & int(Flag.GONE) != 0) & (self._columns["agent"] >= 0))
        for agent, ids in self._by_agent(gone):
            self._arena.remove(agent, ids)
        self._gathered = np.array(state["gathered"], np.int64)
        self._since = np.array(state["since"], np.int64)
        self._archetype = np.array(state["archetype"], np.int32)
        self._core = {int(k): dict(v) for k, v in state["core"].items()}
        self._tree = {int(k): dict(v) for k, v in state["tree"].items()}
        self._episode = defaultdict(list, {int(k): list(v) for k, v in state["episode"].items()})
        self.refused, self.now, self.capacity = Counter(state["refused"]), int(state["now"]), int(state["capacity"])

    def owner_read_by(self, agent: int) -> int:
        """Return the owner of the shared records an agent reads; the agent itself where there is none."""
        archetype = int(self._archetype[agent])
        return agent if archetype < 0 else owner_of(archetype)

    def fork(self) -> MemoryStore:
        """Return a store of its own with the same memories; nothing written to it reaches this one."""
        other = MemoryStore.__new__(MemoryStore)
        other.__dict__.update(self.__dict__)
        other._columns, other._arena, other._shared = self._columns.copy(), self._arena.copy(), self._shared.copy()
        other._texts, other._symbols, other._codes = list(self._texts), list(self._symbols), dict(self._codes)
        other._refs, other._links, other._data = dict(self._refs), dict(self._links), dict(self._data)
        other._edges = defaultdict(list, {k: list(v) for k, v in self._edges.items()})
        other._cited_by = defaultdict(list, {k: list(v) for k, v in self._cited_by.items()})
        other._episode = defaultdict(list, {k: list(v) for k, v in self._episode.items()})
        other._gathered, other._since = self._gathered.copy(), self._since.copy()
        other._archetype = self._archetype.copy()
        other._core = {k: dict(v) for k, v in self._core.items()}
        other._tree = {k: dict(v) for k, v in self._tree.items()}
        other._vectors, other.refused = dict(self._vectors), Counter(self.refused)
        other._waiting, other._recalled, other._log = list(self._waiting), list(self._recalled), []
        return other


class Reader:
    """What one agent can read of its memory by structure, as of now."""

    def __init__(self, store: MemoryStore, agent: int) -> None:
        self._store = store
        self._agent = agent

    def insights(self, subject: Symbol = None) -> tuple[Memory, ...]:
        """As `MemoryStore.insights`."""
        return self._store.insights(self._agent, subject)

    def about(self, subject: Symbol, predicate: str | None = None) -> tuple[Memory, ...]:
        """As `MemoryStore.about`."""
        return self._store.about(self._agent, subject, predicate)

    def facts(self, subject: Symbol = None, predicate: str | None = None) -> tuple[Memory, ...]:
        """As `MemoryStore.facts`."""
        return self._store.facts(self._agent, subject, predicate)


def owner_of(archetype: int) -> int:
    """Return the agent number under which an archetype's shared records are stored."""
    return -2 - archetype


def _one(column: list[Any]) -> Any:
    return column[0] if column and column.count(column[0]) == len(column) else column


def _all(column: Any, n: int) -> list[Any]:
    return column if isinstance(column, list) else [column] * n


def _joined(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)


def _words(block: Sequence[Block]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[Any]]:
    most = max(slab.width for slab, _, _ in block)
    terms = [taken(slab.terms, rows, width) for slab, rows, width in block]
    if len(terms) > 1:
        terms = [np.pad(part, ((0, 0), (0, 0), (0, most - part.shape[2]))) for part in terms]
    return _joined(terms), _joined([taken(slab.lengths, rows, width) for slab, rows, width in block])


def _padded(words: Sequence[npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
    out = np.zeros((len(words), max((len(w) for w in words), default=0)), np.uint32)
    for i, each in enumerate(words):
        out[i, : len(each)] = each
    return out

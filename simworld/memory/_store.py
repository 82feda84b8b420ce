"""MemoryStore: the memories of all agents of one society.

Columns by id hold what a record is; the arena holds what retrieval looks at; the log says how it came about. A step
reads one snapshot: what is remembered and recalled meanwhile waits in buffers until `commit`, the barrier.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError, RunError
from simworld.memory._finding import Finding
from simworld.memory._held import COLUMNS, IS_THOUGHT, NUMBERS, SYMBOLS
from simworld.memory._log import LogPart, columns_of, ids_of_text, ids_text, rows_of
from simworld.memory._operations import Operation, fault_of, path_of
from simworld.memory._records import (
    CODES,
    KINDS,
    Flag,
    Memory,
    NewMemory,
    Symbol,
    symbol_of,
    symbol_text,
)
from simworld.memory._settings import KIND_IMPORTANCE
from simworld.memory._text import term_ids

type Ids = npt.NDArray[np.int64]

STRONGEST = 6
"""Largest strength of a record. [design]"""
RECENT = 20
"""Latest records that surprise is measured against. [design]"""
UNIT = 1_000_000
"""Importance is gathered in millionths, so that sums are exact."""


class MemoryStore(Finding):
    """The memories of agents 0 to n−1."""

    # -- storing --------------------------------------------------------------------------------------------------

    def remember(self, new: NewMemory) -> None:
        """Keep a record until the barrier, where it is stored.

        Raises:
            ParameterError: no such agent or kind, or an importance outside [0, 1].
        """
        if self.settings.enabled:
            self._check(new)
            self._waiting.append(new)

    def _check(self, new: NewMemory) -> None:
        """Look at a record before it is kept, so that nothing is wrong with it at the barrier.

        Raises:
            ParameterError: a field is of the wrong type or out of range.
        """
        if new.kind not in CODES:
            raise ParameterError(f"no kind of memory {new.kind!r}; there are {', '.join(KINDS)}")
        try:
            new.agent, new.flags = operator.index(new.agent), operator.index(new.flags)
            new.source = operator.index(new.source)
            new.t_event = None if new.t_event is None else operator.index(new.t_event)
            new.valid_from, new.order = operator.index(new.valid_from), operator.index(new.order)
            new.value = float(new.value)
            new.evidence = tuple(operator.index(e) for e in new.evidence)
            new.links = tuple(operator.index(e) for e in new.links)
            new.subject, new.object = self._symbol(new.subject), self._symbol(new.object)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"a field of a {new.kind} of agent {new.agent!r} is of the wrong type: {error}"
            ) from None
        new.flags |= int(Flag.SHARED) if new.agent < 0 else 0
        if not -(2**30) < new.agent < self.n_agents or new.agent == -1:
            raise ParameterError(f"a memory for agent {new.agent!r}; there are 0 to {self.n_agents - 1}")
        if not -1 <= new.source < self.n_agents:
            raise ParameterError(f"source = {new.source}; it is an agent, 0 to {self.n_agents - 1}, or -1 for none")
        for name, step in (("t_event", new.t_event or 0), ("valid_from", new.valid_from), ("order", new.order)):
            if not -(2**31) < step < 2**31:
                raise ParameterError(f"{name} = {step} is no step")
        if not 0 <= new.flags < 2 * max(Flag):
            raise ParameterError(f"flags = {new.flags} is no sum of simworld.memory.Flag")
        if new.importance is not None and not 0.0 <= new.importance <= 1.0:
            raise ParameterError(f"importance = {new.importance!r}; it lies in [0, 1], a raw scale goes into 'data'")
        for name, text in (("text", new.text), ("predicate", new.predicate), ("place", new.place)):
            self._check_text(name, text)
        try:
            self._check_text("data", json.dumps(dict(new.data), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"the data of a memory is what JSON can hold: {error}") from None
        self._check_refs(new)

    def _check_text(self, name: str, text: Any) -> None:
        if not isinstance(text, str) or (not text.isascii() and text.encode("utf-8", "replace").decode() != text):
            raise ParameterError(f"the {name} of a memory is text that UTF-8 can hold, got {text!r:.80}")

    def _symbol(self, symbol: Any) -> Symbol:
        """Return who or what is meant: an agent as an int, anything else as text.

        Raises:
            ParameterError: an agent that there is not, or text that cannot be written.
        """
        if symbol is None or isinstance(symbol, str):
            if symbol is not None:
                self._check_text("subject or object", symbol)
            return symbol
        agent = operator.index(symbol)
        if not 0 <= agent < self.n_agents:
            raise ParameterError(f"a memory about agent {agent}; there are 0 to {self.n_agents - 1}")
        return agent

    def waiting(self) -> list[tuple[NewMemory, float]]:
        """Return what waits for the barrier, in the order in which it will be stored, with its importance by rule."""
        new = sorted(self._waiting, key=NewMemory.key)
        if not new:
            return []
        importance = self._importance(new, *self._embed([one.text for one in new]))
        return list(zip(new, importance.tolist(), strict=True))

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
            if new.agent < 0 and owner < 0 and owner != new.agent:
                raise ParameterError(f"a shared {new.kind} cites memory {ref}, which is another archetype's")
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
        counts = ~IS_THOUGHT[kind] & (kind != CODES["formative"]) & (agents >= 0)
        counts &= c["flags"][ids] & int(Flag.PROBE) == 0
        units = np.rint(c["importance"][ids[counts]] * UNIT).astype(np.int64)
        np.add.at(self._gathered, agents[counts], units)
        if self.settings.episodes:
            for i, agent in zip(ids[counts].tolist(), agents[counts].tolist(), strict=True):
                self._episode[agent].append(i)

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

    # -- changing -------------------------------------------------------------------------------------------------

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
        ids = ids[~IS_THOUGHT[self._columns["kind"][ids]]]
        return self.get_all(ids[-self.settings.reflect_over :])

    def share_archetypes(self, archetypes: Sequence[int]) -> None:
        """Give agents an archetype each (−1 for none), whose shared records they read but do not own.

        An archetype's records are stored under the agent number ``owner_of(archetype)``.
        """
        for agent, archetype in enumerate(archetypes):
            if archetype != self._archetype[agent]:
                self._write(op="archetype", agent=agent, id=archetype)
                self._archetype[agent] = archetype

    def apply_ops(self, agent: int, operations: Sequence[Operation], *, private: bool = False) -> list[str]:
        """Carry out memory operations of one agent, all or none; ``private`` marks the facts that come of them.

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
                self.refused[kind_of_fault(fault)] += 1
                self._write(op="refused", agent=agent, text=fault)
            return faults
        for operation in operations:
            self._carry_out(agent, operation, private)
        return []

    def _trial(self, agent: int) -> dict[str, Any]:
        open_facts = {(f.subject, f.predicate): f for f in self._own_facts(agent)}
        return {"core": dict(self._core.get(agent, {})), "tree": dict(self._tree.get(agent, {})), "facts": open_facts,
                "n_agents": self.n_agents, "capacity": self.capacity}  # fmt: skip

    def _carry_out(self, agent: int, operation: Operation, private: bool) -> None:
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
            # Contradicting facts are both kept, and the older one ends.
            old_facts = self._own_facts(agent, symbol_of(subject), predicate)
            for each in old_facts:
                self.close(each.id)
            if operation.op != "DELETE":
                who = symbol_of(subject)
                words = self.name_of(who) if isinstance(who, int) else subject
                self.add([NewMemory(
                    agent, f"{words} {predicate}: {operation.value}", "fact", subject=who, predicate=predicate,
                    object=operation.value, valid_from=self.now, links=tuple(each.id for each in old_facts),
                    flags=int(Flag.PRIVATE) if private else 0,
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
        forgotten: list[int] = []
        if s.forgetting != "none":
            here = np.flatnonzero((c["flags"] & int(Flag.GONE) == 0) & (c["agent"] >= 0))
            here = here[~self._stays(here)]
            r = self.retention(here)
            if s.forgetting == "threshold":
                gone = here[r < s.forget_below]
            else:
                draws = self.chance.uniforms(len(self), "step", self.now, "forget", only=here)
                gone = here[draws < 1.0 - r]
            for agent, ids in self._by_agent(gone):
                self._drop("forget", agent, ids)
            forgotten = gone.tolist()
        evicted: list[int] = []
        for agent in np.flatnonzero(self._arena.used(np.arange(self.n_agents)) > self.capacity).tolist():
            evicted += self._evict(agent)
        return forgotten, sorted(evicted)

    def _stays(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether records are never dropped: formative and pinned ones, and facts that hold."""
        c = self._columns
        is_open = (c["kind"][ids] == CODES["fact"]) & (c["t_closed"][ids] < 0)
        return np.asarray((c["flags"][ids] & int(Flag.FORMATIVE | Flag.PINNED) != 0) | is_open)

    def _evict(self, agent: int) -> list[int]:
        ids = self.ids_of(agent)
        free = ids[~self._stays(ids)]
        worth = self._columns["importance"][free]
        if self.settings.tau_steps is not None:
            worth = worth * self.retention(free)
        # Facts that hold are a layer of their own, and do not crowd out the stream.
        is_fact = (self._columns["kind"][ids] == CODES["fact"]) & (self._columns["t_closed"][ids] < 0)
        over = len(ids) - int(is_fact.sum()) - self.capacity
        out = np.sort(free[np.argsort(worth, kind="stable")[: max(over, 0)]])
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
        if agent in self._edges:
            gone = set(ids.tolist())
            self._edges[agent] = [(a, b) for a, b in self._edges[agent] if a not in gone and b not in gone]

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
            if agent >= self.n_agents:
                self.grow(agent + 1)
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
                self.refused[kind_of_fault(row["text"])] += 1
        store()

    def digest(self, agent: int | None = None) -> str:
        """Return blake2b over what is remembered, by id, of one agent or all; vectors are not in it."""
        c = self._columns
        ids = np.arange(len(self)) if agent is None else np.flatnonzero(c["agent"] == agent)
        made = hashlib.blake2b(digest_size=16)
        for name, (dtype, _) in COLUMNS.items():
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
                self.core(one), self.tree(one), int(self._gathered[one]), int(self._since[one]),
                self._episode.get(one, []), int(self._archetype[one]),
            ]  # fmt: skip
            if state != [{}, {}, 0, 0, [], -1]:
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


def _one(column: list[Any]) -> Any:
    return column[0] if column and column.count(column[0]) == len(column) else column


def _all(column: Any, n: int) -> list[Any]:
    return column if isinstance(column, list) else [column] * n


def kind_of_fault(fault: str) -> str:
    """Return what is wrong without what a model wrote: what comes before the first quotation."""
    return fault.partition("'")[0].strip()[:60]

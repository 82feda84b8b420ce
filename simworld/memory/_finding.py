"""Finding: what agents recall for their questions, by the policy, over the arena."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.memory._arena import Slab, dots, taken
from simworld.memory._held import IS_THOUGHT, Held, Reader
from simworld.memory._records import (
    CODES,
    KINDS,
    Flag,
    Recalled,
    Recollection,
)
from simworld.memory._retrieve import Candidates, Policy, best, bm25, policy_of, scores
from simworld.memory._text import noun_set, term_ids

type Ids = npt.NDArray[np.int64]
type Block = tuple[Slab, Ids, int]
"""Some rows of a slab, and how many of their slots are looked at."""

MOST_ASKED = 32
"""Distinct content words of a question that word matching looks for."""
AT_ONCE = 1 << 18
"""Records scored at once; bounds what retrieval needs beside the arena."""


class Found(NamedTuple):
    """What retrieval found for m questions."""

    ids: Ids
    """Shape (m, k), best first or in the policy's order; −1 for none."""
    scores: npt.NDArray[np.float64]
    """Shape (m, k)."""
    parts: Mapping[str, npt.NDArray[np.float64]]
    """By component, shape (m, k)."""


class Finding(Held):
    """The part of a store that finds."""

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
        turns = [0] * len(agents) if occurrences is None else [int(o) for o in occurrences]
        whats = [(purpose, turn) for turn in turns]
        more: dict[str, Any] = {"kinds": wanted, "cold": cold, "public": public, "whats": whats}
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
                () if public else [f"{label}: {text}" for label, text in self.core(agent).items()],
                Reader(self, agent, public=public), rule.highest,
            ))  # fmt: skip
            if touch and self.settings.enabled:
                rounded = tuple(round(float(s), 6) for s in found.scores[i, : len(ids)])
                turn = turns[i]
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
            some = {**more, "whats": [more["whats"][i] for i in at.tolist()]}
            found = self._find(rule, agents[at], [questions[i] for i in at.tolist()], k, **some)
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
        whats: Sequence[tuple[str, int]] | None = None,
    ) -> Found:
        k = k if k is not None else self.settings.k or rule.k
        if k < 1:
            raise ParameterError(f"k = {k}; at least one record is asked for")
        if unknown := set(kinds or ()) - set(KINDS):
            raise ParameterError(f"no kind of memory {min(unknown)!r}; there are {', '.join(KINDS)}")
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
                    what = [("", 0)] * len(q) if whats is None else [whats[i] for i in q.tolist()]
                    c.chance = self._chance(agents[q], c.ids, what)
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
            is_thought=IS_THOUGHT[kind] if rule.recency.startswith("rank") else None,
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

    def _chance(self, agents: Ids, ids: Ids, names: Sequence[tuple[str, int]]) -> npt.NDArray[np.float64]:
        """Return a draw for each record, its own for every question."""
        out = np.zeros(ids.shape)
        for row, (agent, (purpose, turn)) in enumerate(zip(agents.tolist(), names, strict=True)):
            there = ids[row] >= 0
            name = ("step", self.now, "random retrieval", agent, purpose, turn)
            out[row, there] = self.chance.uniforms(len(self), *name, only=ids[row, there])
        return out

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

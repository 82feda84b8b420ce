"""What a society does with its agents' memories: remember what happens, recall it for decisions, look back on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.memory import (
    MODEL_UP_TO,
    MOST_CITED,
    NULLS,
    RULES,
    Consolidation,
    Embedder,
    EpisodeView,
    Flag,
    Importance,
    ImportanceView,
    Memory,
    MemorySettings,
    MemoryStore,
    NewMemory,
    Recollection,
    Reflection,
    ReflectionView,
    usable,
)
from simworld.mind import Mind, RuleMind, uniform_policy
from simworld.persona import Persona
from simworld.rng import Chance
from simworld.schema import Refusal
from simworld.world._table import Table

type Ids = npt.NDArray[np.int64]
type Recall = str | Sequence[str] | Callable[[int], str] | Sequence[Recollection] | None
"""What agents look for in their memory: one question for all, one each, or a function of the agent's id; or what they
found already. An empty one looks for nothing, but lets a policy read insights and facts; None leaves memory out."""

MODEL_ABOVE = 0.6
"""Importance by rule above which ``importance = "hybrid"`` asks a model. [design]"""
NULL_RECALL = {"policy": "random_retrieval"}
FOCAL = 3
"""Focal memories whose neighbours a reflection sees too (Park et al. 2023: three questions)."""


def rule_of_memory(decision: type[Any]) -> Any:
    """Return how rule minds answer what agents are asked about their memories; None for any other decision."""
    return RULES.get(decision)


def null_of(decision: type[Any]) -> Any:
    """Return the null's policy of a decision the scenario says nothing about."""
    return NULLS.get(decision) or uniform_policy(decision)


def wants_memory(given: Mapping[str, Any]) -> list[str]:
    """Return the settings that make no sense where nothing is remembered: all but what takes memory away."""
    return [name for name, value in given.items() if name not in ("enabled", "reflection") or value is not False]


class Remembering:
    """The part of a `World` that deals with memory. A scenario that sets ``remembers`` has agents who remember."""

    remembers: ClassVar[MemorySettings | None] = None
    """How agents remember; a property may make it from ``params``. None: this society keeps no memory."""

    # What the World has, for the type checker.
    table: Table
    chance: Chance
    policies: Mapping[str, Any]
    personas: list[Persona] | None
    notes: list[str]
    decide: Callable[..., Any]
    emit: Callable[..., None]
    _minds: list[Mind]
    memory: MemoryStore
    """What every agent remembers; empty, and deaf, where nothing is remembered."""

    def start_memory(self, given: Mapping[str, Any], embed: Callable[[str], Embedder] | None = None) -> None:
        """Make the store of this society; called once, when it has agents and personas.

        Args:
            given: settings that differ from the scenario's own.
            embed: makes an embedder by name.

        Raises:
            ParameterError: a setting that does not exist, or settings for a society that keeps no memory.
        """
        from simworld.world._world import checked_params

        own = self.remembers
        if own is None:
            if wants_memory(given):
                raise ParameterError(
                    f"{type(self).__name__} keeps no memory with these parameters, so {', '.join(given)} has nothing "
                    "to do; leave it out (simworld list SCENARIO shows what makes it remember)"
                )
            settings = MemorySettings(enabled=False)
        else:
            settings = checked_params(MemorySettings, {**own.model_dump(), **given})
        self._memory_kept = own is not None and settings.enabled
        if settings.importance != "rule" and self.table.n > MODEL_UP_TO:
            settings = settings.model_copy(update={"importance": "rule"})
            self.notes.append(
                f"more than {MODEL_UP_TO:,} agents: the rule says how important memories are, no language model"
            )
        self.memory = MemoryStore(
            0 if not self._memory_kept else self.table.n,
            settings, embed=embed(settings.embedder) if self._memory_kept and embed is not None else None,
            chance=self.chance, name_of=self.name_of,
        )  # fmt: skip
        self._remember_lives(0)

    @property
    def has_memory(self) -> bool:
        """Whether the store was made, and keeps anything."""
        return getattr(self, "_memory_kept", False)

    def check_memory_minds(self) -> None:
        """Note where a language model is to weigh memories and there is none."""
        is_wanted = self._memory_kept and self.memory.settings.importance != "rule"
        if is_wanted and all(isinstance(mind, RuleMind) or mind.label == "human" for mind in self._minds):
            self.notes.append("no agent has a language model, so the rule says how important memories are")

    def new_store(self) -> MemoryStore:
        """Return an empty store like the one at hand, for repeating a log."""
        old = self.memory
        return MemoryStore(
            old.n_agents, old.settings, embed=old.embedder, chance=self.chance, name_of=self.name_of
        )  # fmt: skip

    def drain_memory(self) -> tuple[int, dict[str, Any]] | None:
        """Hand over the log of memories since the last call; None where none are kept."""
        return self.memory.drain() if self._memory_kept else None

    @property
    def keeps_memory(self) -> bool:
        """Whether anything is remembered in this run."""
        return self._memory_kept

    def name_of(self, agent: int) -> str:
        """Return an agent's name, ``agent 3`` where there are no personas."""
        people = self.personas or ()
        return people[agent].name if 0 <= agent < len(people) else f"agent {agent}"

    def _remember_lives(self, first: int) -> None:
        """Give agents from ``first`` on what they have lived through: formative memories, their secrets private."""
        if not self._memory_kept:
            return
        self.memory.grow(self.table.n)
        for agent, person in enumerate((self.personas or ())[first:], first):
            lived = int(Flag.FORMATIVE | Flag.PINNED)
            for i, event in enumerate(person.backstory.events):
                self.memory.remember(NewMemory(
                    agent, event.text, "formative", importance=event.importance, flags=lived, order=i,
                    subject=agent, data={} if event.age is None else {"age": event.age},
                ))  # fmt: skip
            for i, secret in enumerate(person.secrets):
                self.memory.remember(NewMemory(
                    agent, secret.text, "formative", importance=secret.sensitivity / 5, order=1000 + i,
                    flags=lived | int(Flag.PRIVATE), subject=agent,
                ))  # fmt: skip
        self.memory.commit()

    # -- in a step ------------------------------------------------------------------------------------------------

    def remember(self, agent: int, text: str, kind: str = "observation", **fields: Any) -> None:
        """Have an agent remember something from the next barrier on; fields as of `simworld.memory.NewMemory`."""
        if self._memory_kept:
            self.memory.remember(NewMemory(int(agent), text, kind, **fields))

    def commit_memories(self) -> Ids:
        """Store what agents remember since the last barrier, and return the new ids. The end of a step is one too."""
        if self._memory_kept and self.memory.settings.importance != "rule":
            self._weigh()
        return self.memory.commit()

    def recall(self, who: Sequence[int] | Ids, recall: Recall, *, purpose: str = "", **how: Any) -> list[Recollection]:
        """Return what agents recall, one an agent asked; it counts as recalled from the next barrier on.

        Args:
            who: ids.
            recall: what each looks for.
            purpose: what for, in the log.
            how: as for `MemoryStore.retrieve`.
        """
        ids = np.asarray(who, np.int64)
        questions = self._questions(ids, recall)
        turns = np.broadcast_to(np.asarray(how.pop("occurrences", 0)), len(ids))
        is_null = np.array([self.mind_of(i).label == "null" for i in ids.tolist()], bool)
        out: list[Any] = [None] * len(ids)
        looks = np.array([bool(q) and self._memory_kept for q in questions], bool)
        # The null recalls at random: what it does must not depend on a policy of retrieval.
        for at, policy in ((np.flatnonzero(looks & ~is_null), {}), (np.flatnonzero(looks & is_null), NULL_RECALL)):
            if len(at):
                found = self.memory.retrieve(
                    ids[at], [questions[i] for i in at.tolist()], touch=True, purpose=purpose,
                    occurrences=turns[at].tolist(), **{**how, **policy},
                )  # fmt: skip
                for i, one in zip(at.tolist(), found, strict=True):
                    out[i] = one
        return [one or self.memory.only_reading(agent) for one, agent in zip(out, ids.tolist(), strict=True)]

    def _questions(self, ids: Ids, recall: Any) -> list[str]:
        if recall is None or isinstance(recall, str):
            return [recall or ""] * len(ids)
        if callable(recall):
            return [recall(i) for i in ids.tolist()]
        if len(recall) != len(ids):
            raise ParameterError(f"{len(recall)} questions to the memory of {len(ids)} agents; give one each")
        return list(recall)

    def memories_for(self, ids: Ids, recall: Recall, purpose: str, occurrences: Any) -> list[Recollection] | None:
        """Return what goes with a question to agents: None where nothing is remembered or asked for."""
        if recall is None or not self._memory_kept:
            return None
        if isinstance(recall, list | tuple) and all(isinstance(one, Recollection) for one in recall):
            if len(recall) != len(ids):
                raise ParameterError(f"{len(recall)} recollections for {len(ids)} agents; give one each")
            return list(recall)
        return self.recall(ids, recall, purpose=purpose, occurrences=np.broadcast_to(np.asarray(occurrences), len(ids)))

    # -- looking back ---------------------------------------------------------------------------------------------

    def reflect(self, who: Any = None) -> dict[int, list[int]]:
        """Have agents look back whose gathered importance calls for it; return the ids of their new insights.

        A language model is asked for insights and their evidence in one call; rule minds compute theirs from the
        structured fields of records. An insight without standing evidence is dropped, and counted in an event.
        """
        if not self._memory_kept:
            return {}
        self.commit_memories()
        due = self.memory.due_reflection()
        due = due[np.isin(due, self.ids if who is None else np.asarray(who))]
        if not len(due):
            return {}
        views = {agent: self._look_back(agent) for agent in due.tolist()}
        answers = self.decide(Reflection, due, views.__getitem__, recall="")
        drawn: dict[int, list[int]] = {}
        for agent, answer in answers.pairs():
            self.memory.reflected(agent)
            if not isinstance(answer, Refusal):
                drawn[agent] = self._conclude(agent, answer, views[agent])
        return drawn

    def _look_back(self, agent: int) -> ReflectionView:
        memory, settings = self.memory, self.memory.settings
        records = {m.id: m for m in memory.since_reflection(agent)}
        # Earlier encounters with the same ones, so that an insight can count them all.
        met = {(m.subject, m.predicate) for m in records.values() if m.predicate in settings.phrases}
        for subject, predicate in sorted(met, key=repr):
            if isinstance(subject, int):
                records |= {m.id: m for m in memory.about(agent, subject, predicate)[-MOST_CITED:]}
        focal = sorted(records.values(), key=lambda m: (-m.importance, -m.id))[:FOCAL]
        for found in memory.retrieve([agent] * len(focal), [m.text for m in focal]):
            records |= {m.id: m for m in found}
        shown = tuple(records[i] for i in sorted(records))
        known = memory.insights(agent)[: FOCAL * settings.insights]
        return ReflectionView(shown, known, settings.insights, settings.phrases, self.name_of)

    def _conclude(self, agent: int, answer: Reflection, view: ReflectionView) -> list[int]:
        memory, settings = self.memory, self.memory.settings
        cards = {m.id: m for m in view.records}
        kept, faults = usable(
            answer.insights, set(cards), lambda i: cards[i].depth, settings.depth, settings.insights
        )  # fmt: skip
        before = [m for m in memory.insights(agent) if m.agent == agent]
        ids: list[int] = []
        for insight in kept:
            cited = [cards[i] for i in sorted(set(insight.evidence))]
            subject, predicate, value = common(cited)
            # A newer count of encounters with somebody stands for the older one; any other insight stands beside it.
            is_count = isinstance(subject, int) and predicate in settings.phrases and math.isfinite(value)
            same = [m for m in before if is_count and (m.subject, m.predicate) == (subject, predicate)]
            if any(m.text == insight.insight for m in before) or (
                not same and memory.says_already(agent, insight.insight)
            ):
                faults.append("it says what was concluded before")
                continue
            for old in same:
                memory.close(old.id)
            before = [m for m in before if m not in same]
            ids += memory.add([NewMemory(
                agent, insight.insight, "reflection", subject=subject, predicate=predicate, value=value,
                importance=round(0.8 * insight.confidence, 6), evidence=tuple(m.id for m in cited),
                links=tuple(m.id for m in same), data={"confidence": insight.confidence},
            )]).tolist()  # fmt: skip
        if ids or faults:
            self.emit("reflect", agent=agent, value=len(ids), data={"dropped": faults} if faults else None)
        return ids

    def consolidate(self, who: Any = None, *, everything: bool = False) -> dict[int, int]:
        """Sum up episodes that are over; return the ids of the summaries by agent.

        Args:
            who: agents; all when None.
            everything: also close the episode at hand: at the end of a day, say.
        """
        if not (self._memory_kept and self.memory.settings.episodes):
            return {}
        self.commit_memories()
        memory = self.memory
        over = memory.closed_episodes(everything=everything)
        wanted = set((self.ids if who is None else np.asarray(who)).tolist())
        over = {agent: ids for agent, ids in over.items() if agent in wanted}
        long = np.array([agent for agent, ids in over.items() if len(ids) > 1], np.int64)
        views = {
            agent: EpisodeView(
                tuple(memory.get(i) for i in over[agent]),
                self.name_of,
            )
            for agent in long.tolist()
        }
        for agent, ids in over.items():
            if len(ids) == 1:
                memory.end_episode(agent, ids)
        summaries: dict[int, int] = {}
        for agent, answer in self.decide(Consolidation, long, views.__getitem__, recall="").pairs():
            if isinstance(answer, Refusal):
                memory.end_episode(agent, over[agent])  # or it would grow with every attempt
                continue
            made = memory.summarise(agent, over[agent], answer.summary)
            if made is not None:
                summaries[agent] = made
            is_private = any(m.flags & Flag.PRIVATE for m in views[agent].records)
            faults = memory.apply_ops(agent, answer.operations, private=is_private)
            if faults:
                self.emit("memory_refused", agent=agent, data={"faults": faults})
        return summaries

    def _weigh(self) -> None:
        """Ask agents with a language model how much their new memories matter; one call an agent."""
        memory = self.memory
        waiting = memory.waiting()
        hybrid = memory.settings.importance == "hybrid"
        by_rule = {"rules", "null", "human", *self.policies}
        by_agent: dict[int, list[NewMemory]] = {}
        for new, importance in waiting:
            is_asked = new.importance is None and new.agent >= 0 and (not hybrid or importance > MODEL_ABOVE)
            if is_asked and self.mind_of(new.agent).label not in by_rule:
                by_agent.setdefault(new.agent, []).append(new)
        ids = np.array(sorted(by_agent), np.int64)
        if not len(ids):
            return
        views = {agent: ImportanceView(tuple(n.text for n in by_agent[agent])) for agent in ids.tolist()}
        answers = self.decide(Importance, ids, views.__getitem__, check=_scores_fit)
        for agent, answer in answers.pairs():
            for i, new in enumerate(by_agent[agent]):
                # A refusal is routine, and counted as what it is.
                if isinstance(answer, Refusal):
                    new.importance = 0.1
                else:
                    new.importance, new.data = answer.scores[i] / 10, {**new.data, "importance_raw": answer.scores[i]}

    # The next two are the World's own; here they tell the type checker what this part calls.

    def mind_of(self, agent: int) -> Mind:
        """Return the mind that decides for an agent."""
        raise NotImplementedError

    @property
    def ids(self) -> Ids:
        """Ids of living agents."""
        raise NotImplementedError


def common(cited: Sequence[Memory]) -> tuple[Any, str, float]:
    """Return what records that an insight cites have in common: subject, predicate, mean outcome (NaN for none)."""
    subjects, predicates = {m.subject for m in cited}, {m.predicate for m in cited}
    values = [m.value for m in cited if m.value == m.value]
    return (
        next(iter(subjects)) if len(subjects) == 1 else None,
        next(iter(predicates)) if len(predicates) == 1 else "",
        sum(values) / len(values) if values else float("nan"),
    )


def _scores_fit(agent: int, answer: Importance, view: ImportanceView) -> tuple[str, str] | None:
    if len(answer.scores) != len(view.records):
        return "scores", f"{len(answer.scores)} scores for {len(view.records)} memories; give one each, in order"
    wrong = [s for s in answer.scores if not 1 <= s <= 10]
    return ("scores", f"{wrong[0]} is not between 1 and 10") if wrong else None

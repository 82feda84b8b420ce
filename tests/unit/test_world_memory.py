"""Societies that remember: each agent is given its own, by position; what is private stays; a resume remembers all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.agent import PromptBook
from simworld.errors import ParameterError
from simworld.memory import RULES, Flag, Insight, MemorySettings, NewMemory, Reflection
from simworld.mind import Answers, Question, RuleMind
from simworld.mind.llm import answer_schema
from simworld.persona import Persona
from simworld.world import StepRecord, TieChanges, World


class Person(sw.Agent):
    mood: float = 0.0


class Tell(sw.Decision):
    """Say what you remember."""

    text: str = sw.field(doc="What is said.")


def tell(persona: Any, seen: Any, memory: Any, rng: Any) -> str:
    """Say for whom this is and what came to mind."""
    return "nothing" if memory is None else f"{seen}: " + " / ".join(m.text for m in memory)


def person(i: int, **fields: Any) -> Persona:
    whole = {
        "id": f"p{i}", "name": f"Person {i}", "provenance": {"source": "test", "rights": "open"},
        "demographics": {"age": 20 + i},
        "backstory": {"events": [{"text": f"childhood of {i}", "age": 7, "importance": 0.25}, {"text": f"war of {i}"}]},
        "secrets": [{"text": f"secret-{i}-stolen", "sensitivity": 4}], **fields,
    }  # fmt: skip
    return Persona.model_validate(whole)


class Village(sw.World):
    """Everybody sees something of its own in every step, tells what it remembers, and reflects."""

    class Params(sw.Params):
        n_agents: int = sw.field(5, ge=0, doc="Agents.")
        joins: int = sw.field(-1, doc="Step in which somebody joins.")

    agent_classes = (Person,)
    with_personas = True
    policies = {"rules": {Tell: tell}, "null": {Tell: tell}}
    remembers = MemorySettings(
        reflect_at=1.5, importance_table={"observation": 0.5}, surprise=0.0, capacity=30, tau_steps=9.0,
        forgetting="bernoulli", episodes=True, episode_records=4,
    )  # fmt: skip

    def step(self) -> None:
        if self.t == self.params.joins:
            self.add_agents(Person, 2)
        answers = self.decide(Tell, None, str, recall=lambda agent: f"bread of {agent}")
        self.emit_many("tell", agent=answers.ids, value=[len(a.text) for a in answers])
        for agent in self.ids.tolist():
            other = (agent + 1 + self.t // 3) % self.table.n
            self.remember(agent, f"agent {other} baked bread on day {self.t}", subject=other, predicate="baked")
        self.reflect()
        self.consolidate()


class Seated:
    """Waits for somebody else, answers by a policy, and keeps the questions it was asked."""

    label = "seated"

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self._rules = RuleMind({**RULES, Tell: tell}, "seated")

    def begin(self, question: Question) -> Callable[[], Answers]:
        self.asked.append(question)
        return lambda: self._rules.decide(question)

    def decide(self, question: Question) -> Answers:
        return self.begin(question)()


def village(n: int = 5, *, rng: int = 3, cls: type[World] = Village, **more: Any) -> Any:
    return cls(rng=rng, n_agents=n, personas=[person(i) for i in range(n)], **more)


def events(world: World, kind: str) -> list[dict[str, Any]]:
    rows = []
    for chunk in world.drain(state=False).events:
        for i in range(chunk.n):
            rows.append({k: v[i] if isinstance(v, np.ndarray | list | tuple) else v for k, v in chunk.columns.items()})
    return [row for row in rows if row["kind"] == kind]


# -- recalling for a decision ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
def test_each_agent_is_given_its_own_memories_by_position(mixed: bool) -> None:
    """Also one that is asked twice, and where some minds wait for others."""
    seated = Seated()
    minds: Any = ["rules", seated, "rules", seated, "rules"] if mixed else "rules"
    world = village(mind=minds)
    for agent in range(5):
        world.remember(agent, f"bread {agent}")
        world.remember(agent, f"violin {agent}")
    world.commit_memories()
    who = [3, 1, 3, 0, 4, 1]
    questions = ["bread", "violin", "violin", "bread", "", "bread"]
    answers = world.decide(Tell, who, str, recall=questions)
    for agent, question, answer in zip(who, questions, answers, strict=True):
        whose, _, told = answer.text.partition(": ")
        assert whose == str(agent)
        if question:
            first, *others = told.split(" / ")
            assert first == f"{question} {agent}"
            assert all(text.split()[-1] in (str(agent), f"secret-{agent}-stolen") for text in others)
        else:
            assert told == ""
    if mixed:
        (asked,) = seated.asked
        assert asked.ids.tolist() == [3, 1, 3, 1]
        assert [{m.agent for m in one} for one in asked.memories or ()] == [{3}, {1}, {3}, {1}]
        assert [one[0].text for one in asked.memories or ()] == ["bread 3", "violin 1", "violin 3", "bread 1"]


def test_questions_may_be_one_for_all_one_each_or_a_function() -> None:
    world = village()
    told = [
        [a.text for a in world.decide(Tell, [2, 4], str, recall=recall)]
        for recall in ("war", ["war", "war"], lambda agent: "war" if agent % 2 == 0 else "")
    ]
    assert told[0] == told[1] == told[2]
    assert told[0][0].startswith("2: war of 2")
    assert [a.text for a in world.decide(Tell, [2, 4], str)] == ["nothing", "nothing"]
    with pytest.raises(ParameterError, match="1 questions to the memory of 2 agents"):
        world.decide(Tell, [2, 4], str, recall=["war"])


def test_recall_counts_once_the_step_is_over() -> None:
    world = village()
    before = world.memory.digest()
    world.decide(Tell, [0], str, recall="war")
    assert world.memory.digest() == before
    world.commit_memories()
    assert world.memory.digest() != before
    assert sum(m.n_access for m in world.memory.records(0)) == 3
    assert sum(m.n_access for a in range(1, 5) for m in world.memory.records(a)) == 0


def test_what_was_recalled_already_may_be_given_and_counts_once() -> None:
    world = village()
    asked = ["war", "childhood", ""]
    found = world.recall([2, 4, 1], asked, purpose="Tell")
    told = [a.text for a in world.decide(Tell, [2, 4, 1], str, recall=found)]
    assert told == [f"{a}: " + " / ".join(m.text for m in one) for a, one in zip((2, 4, 1), found, strict=True)]
    assert told[0].startswith("2: war of 2")
    assert told[2] == "1: "
    assert told == [a.text for a in village().decide(Tell, [2, 4, 1], str, recall=asked)]
    world.commit_memories()
    assert [m.n_access for a in (2, 4) for m in world.memory.records(a)] == [1] * 6
    assert sum(m.n_access for m in world.memory.records(1)) == 0
    with pytest.raises(ParameterError, match="2 recollections for 3 agents"):
        world.decide(Tell, [2, 4, 1], str, recall=found[:2])


def test_the_null_recalls_at_random_whatever_the_policy() -> None:
    """Also beside others, and where a policy is asked for by name; what it recalls depends on no question."""
    world = village(6, mind=["null", "rules"] * 3, memory={"policy": "paper", "k": 2})
    for agent in range(6):
        for i in range(20):
            world.remember(agent, f"bread {i}" if i else "zebra")
    world.commit_memories()
    drained = world.drain_memory()
    assert drained is not None
    found = [world.recall(range(6), question) for question in ("zebra", "bread")]
    world.recall(range(6), "zebra", policy="cosine")
    world.commit_memories()
    n, columns = world.drain_memory() or (0, {})
    policies = {(a, json.loads(d)["policy"]) for a, d in zip(columns["agent"], columns["data"], strict=True)}
    assert n == 18
    assert {p for a, p in policies if a % 2 == 0} == {"random_retrieval"}
    assert {p for a, p in policies if a % 2} == {"paper", "cosine"}
    for agent in range(6):
        ids = [[m.id for m in one[agent]] for one in found]
        assert (ids[0] == ids[1]) == (agent % 2 == 0)
        if agent % 2:
            assert found[0][agent][0].text == "zebra"


# -- switched off ---------------------------------------------------------------------------------------------------


def test_no_memory_and_no_reflection() -> None:
    off = village(memory={"enabled": False})
    answers = off.decide(Tell, None, str, recall="war")
    assert {a.text for a in answers} == {"nothing"}
    off.run_for(4)
    assert (len(off.memory), off.keeps_memory, off.drain_memory(), off.reflect(), off.consolidate()) == (
        0, False, None, {}, {},
    )  # fmt: skip
    assert off.drain().memory is None
    dull, wise = village(memory={"reflection": False}), village()
    for world in (dull, wise):
        world.run_for(5)
    assert not dull.memory.is_kind("reflection").any()
    assert wise.memory.is_kind("reflection").any()
    assert len(dull.memory) > 30


def test_where_nothing_is_remembered_nothing_is_recalled() -> None:
    world = village(memory={"enabled": False})
    for question in ("war", ""):
        found = world.recall([0, 3], question)
        assert [(len(one), one.core, one.insights()) for one in found] == [(0, (), ())] * 2
        assert [a.text for a in world.decide(Tell, [0, 3], str, recall=found)] == ["nothing", "nothing"]


def test_settings_that_there_are_not_and_societies_without_memory() -> None:
    class Forgetful(Village):
        remembers = None

    plain = village(cls=Forgetful)
    plain.run_for(2)
    assert (len(plain.memory), plain.drain().memory) == (0, None)
    with pytest.raises(ParameterError, match="keeps no memory"):
        village(cls=Forgetful, memory={"policy": "paper"})
    with pytest.raises(ParameterError, match="polic"):
        village(memory={"polic": "paper"})
    with pytest.raises(ParameterError, match="no retrieval policy 'papre'"):
        village(memory={"policy": "papre"})


# -- lives and secrets ----------------------------------------------------------------------------------------------


def test_lives_are_formative_memories_and_secrets_private_ones() -> None:
    world = village(3)
    for agent in range(3):
        records = world.memory.records(agent)
        assert [(m.text, m.kind, m.importance) for m in records] == [
            (f"childhood of {agent}", "formative", 0.25), (f"war of {agent}", "formative", 0.5),
            (f"secret-{agent}-stolen", "formative", 0.8),
        ]  # fmt: skip
        kept = Flag.FORMATIVE | Flag.PINNED
        assert [m.flags for m in records] == [kept, kept, kept | Flag.PRIVATE]
        assert world.memory.data(records[0].id) == {"age": 7}
        assert world.memory.gathered(agent) == 0.0
        public = world.memory.retrieve([agent], ["secret stolen"], public=True)[0]
        assert [m.text for m in public if "secret" in m.text] == []
        assert world.memory.retrieve([agent], ["secret stolen"])[0][0].text == f"secret-{agent}-stolen"


@pytest.mark.parametrize("card", ["full", "none"])
def test_no_prompt_holds_another_agents_private_memories(card: str) -> None:
    seated = Seated()
    world = village(6, mind=seated, memory={"reflection": False, "episodes": False})
    for agent in range(6):
        world.remember(agent, f"diary-{agent}-entry about the secret", flags=int(Flag.PRIVATE))
    world.run_for(3)
    world.decide(Tell, [5, 0, 3, 3, 1, 2, 4], str, recall="secret diary entry stolen")
    book = PromptBook(world.params, card)
    prompts = 0
    for question in (q for q in seated.asked if q.decision is Tell):
        rendered = book.render(question, answer_schema(question.decision))
        for agent, prompt in zip(question.ids.tolist(), rendered, strict=True):
            text = "".join(str(part) for part in prompt)
            prompts += 1
            for other in range(6):
                for private in (f"secret-{other}-stolen", f"diary-{other}-entry"):
                    assert other == agent or private not in text
        if question is seated.asked[-1]:
            assert all(
                f"diary-{a}-entry" in str(p) and f"secret-{a}-stolen" in str(p)
                for a, p in zip(question.ids.tolist(), rendered, strict=True)
            )
    assert prompts == 6 * 3 + 7


# -- reflecting -----------------------------------------------------------------------------------------------------


def test_insights_that_cite_what_was_not_shown_are_dropped_and_counted() -> None:
    def careless(persona: Any, view: Any, memory: Any, rng: Any) -> Reflection:
        own = view.records[-1]
        others = 0 if own.agent else int(world.memory.ids_of(1)[0])
        said = [
            ("good", [own.id]), ("of nobody", [999_999]), ("of another", [others]), ("half", [own.id, others]),
            ("nothing to show", []), ("  ", [own.id]),
        ]  # fmt: skip
        return Reflection(insights=[Insight(insight=text, evidence=ids) for text, ids in said])

    world = village(mind=RuleMind({Reflection: careless, Tell: tell}, "careless"))
    for agent in (0, 2):
        for day in range(4):
            world.remember(agent, f"day {day}", importance=0.5)
    events(world, "")
    drawn = world.reflect()
    assert {agent: [world.memory.get(i).text for i in ids] for agent, ids in drawn.items()} == {
        0: ["good"],
        2: ["good"],
    }
    told = events(world, "reflect")
    assert [(e["agent"], e["value"]) for e in told] == [(0, 1.0), (2, 1.0)]
    for event in told:
        dropped = json.loads(event["data"])["dropped"]
        assert len(dropped) == 5
        assert sum("was not shown" in fault for fault in dropped) == 3
    for ids in drawn.values():
        m = world.memory.get(ids[0])
        assert (m.kind, m.depth, [world.memory.get(e).agent for e in m.evidence]) == ("reflection", 1, [m.agent])
    assert world.reflect() == {}
    assert world.memory.gathered(0) == 0.0


def test_a_refusal_reflects_nothing_and_starts_anew() -> None:
    def refusing(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        return {"insights": "none"}

    world = village(mind=RuleMind({Reflection: refusing}, "refusing"))
    for day in range(4):
        world.remember(1, f"day {day}", importance=0.5)
    assert world.reflect() == {}
    assert not world.memory.is_kind("reflection").any()
    assert world.memory.gathered(1) == 0.0
    assert all(len(m.text.strip()) > 0 for a in range(5) for m in world.memory.records(a))


def test_the_null_does_not_reflect_and_rules_cite_what_they_read() -> None:
    null, rules = village(mind="null"), village()
    for world in (null, rules):
        world.run_for(6)
    assert not null.memory.is_kind("reflection").any()
    found = 0
    for record in range(len(rules.memory)):
        m = rules.memory.get(record)
        if m.kind == "reflection":
            found += 1
            assert m.evidence
        assert all(e < record and rules.memory.get(e).agent == m.agent for e in m.evidence)
    assert found > 5


# -- recording and resuming -----------------------------------------------------------------------------------------


class Tape:
    """Keeps what a world hands over, and puts a fresh world where the tape ends."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.records: list[StepRecord] = [world.drain()]

    def run(self, steps: int) -> Tape:
        for _ in range(steps):
            self.world.step()
            self.records.append(self.world.drain())
        return self

    def put(self, fresh: World, t: int) -> World:
        tables: dict[str, dict[str, Any]] = {}
        for record in self.records[: t + 1]:
            for name, (rows, columns) in record.tables.items():
                table = tables.setdefault(name, {c: np.empty(0, v.dtype) for c, v in columns.items()})
                for c, values in columns.items():
                    size = max(len(table[c]), int(rows.max()) + 1 if len(rows) else 0)
                    table[c] = np.concatenate([table[c], np.zeros(size - len(table[c]), table[c].dtype)])
                    table[c][rows] = values
        ties = TieChanges.concat([r.ties for r in self.records[1 : t + 1]])
        logs = [(r.t, *r.memory) for r in self.records[: t + 1] if r.memory is not None]
        fresh.restore(t, tables, ties, self.records[t].globals, logs)
        fresh.drain()
        return fresh


def log_of(record: StepRecord) -> str:
    assert record.memory is not None
    n, columns = record.memory
    return repr((n, {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in columns.items()}))


@pytest.mark.parametrize("t", [0, 1, 4, 7])
@pytest.mark.parametrize("joins", [-1, 3])
def test_restored_after_some_steps_a_society_remembers_as_if_never_stopped(t: int, joins: int) -> None:
    tape = Tape(village(joins=joins)).run(9)
    fresh = tape.put(village(joins=joins), t)
    half = Tape(village(joins=joins)).run(t).world
    assert fresh.memory.digest() == half.memory.digest()
    assert fresh.memory.state() == half.memory.state()
    for record in tape.records[t + 1 :]:
        fresh.step()
        again = fresh.drain()
        assert log_of(again) == log_of(record)
        assert repr(again.events) == repr(record.events)
    assert fresh.memory.digest() == tape.world.memory.digest()
    assert fresh.memory.state() == tape.world.memory.state()


def test_who_joins_later_remembers_too() -> None:
    world = village(joins=2)
    world.run_for(6)
    assert world.table.n == world.memory.n_agents == 7
    for agent in (5, 6):
        records = world.memory.records(agent)
        assert any(m.t_created >= 2 and "baked bread" in m.text for m in records)
        assert {m.agent for m in records} == {agent}
        events_of = [e.text for e in world.personas[agent].backstory.events]
        assert [m.text for m in records if m.kind == "formative" and not m.flags & Flag.PRIVATE] == events_of


def test_the_capacity_is_that_of_the_start_also_after_a_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here up to five agents keep 12 records each and more keep 4; two join five."""
    monkeypatch.setattr("simworld.memory._settings.TIERS", ((5, 12),))
    monkeypatch.setattr("simworld.memory._settings.FEWEST_KEPT", 4)
    options: dict[str, Any] = {"joins": 2, "memory": {"capacity": None, "forgetting": "none"}}
    assert village(6, **options).memory.capacity == 4
    tape = Tape(village(**options)).run(8)
    assert (tape.world.memory.n_agents, tape.world.memory.capacity) == (7, 12)
    fresh = tape.put(village(**options), 4)
    assert fresh.memory.capacity == 12
    fresh.run_for(4)
    assert fresh.memory.digest() == tape.world.memory.digest()


def test_two_societies_with_one_seed_remember_the_same_and_looking_changes_nothing() -> None:
    one, other, third = village(), village(), village(rng=4)
    for _ in range(5):
        one.step()
        other.step()
        third.step()
        for agent in range(5):
            other.memory.retrieve([agent], ["bread"])
            other.memory.find([agent], ["secret"], policy="paper")
            other.memory.digest(agent)
    assert one.memory.digest() == other.memory.digest()
    assert one.memory.digest() != third.memory.digest()
    assert one.memory.settings == other.memory.settings


def test_what_is_remembered_in_the_setup_is_there_in_the_first_step() -> None:
    class Prepared(Village):
        def setup(self) -> None:
            for agent in self.ids.tolist():
                self.remember(agent, f"plague of {agent}", "event", importance=1.0, order=3)

    world = village(cls=Prepared)
    assert world.recall([2], "plague")[0][0].text == "plague of 2"
    world.memory.remember(NewMemory(1, "by the way"))
    assert len(world.memory.waiting()) == 1

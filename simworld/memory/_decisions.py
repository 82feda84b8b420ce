"""What agents are asked about their own memories, and how rule minds and the null answer.

A language model is asked for the same decisions by the prompts of this room. The rules compute: they read the
structured fields of records (who did what to whom, with what outcome) and cite what they read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from simworld.memory._operations import Operation
from simworld.memory._records import Memory, Symbol
from simworld.memory._settings import Phrase
from simworld.schema import Decision, Record, field

FEWEST = 2
"""Records about one thing from which a rule draws an insight. [design]"""
MOST_CITED = 20
"""Records one insight of a rule cites. [design]"""
QUOTED = 3
"""Memories a rule mind's answer quotes; arbitrary."""
LONGEST, LONGEST_NAME = 500, 100
"""Characters of an insight, and of what it is about."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Insight(Record):
    """One thing an agent concludes from what it remembers."""

    insight: str = field(doc="What you conclude, in one sentence.", max_length=500)
    evidence: list[int] = field(doc="Numbers of the memories it rests on; at least one, only numbers you were shown.")
    confidence: float = field(1.0, doc="How sure you are, from 0 to 1.", ge=0, le=1)


class Reflection(Decision):
    """Look back at what you remember and say what you conclude from it."""

    insights: list[Insight] = field(doc="At most five insights, each resting on memories you were shown.")


class Importance(Decision):
    """Say how much each of these memories matters to you."""

    scores: list[int] = field(doc="One score a memory, in the order shown: 1 is routine, 10 is life-changing.")


class Consolidation(Decision):
    """Sum up a stretch of your life, and note what you want to keep knowing."""

    summary: str = field(doc="The stretch in one or two sentences.", max_length=600)
    operations: list[Operation] = field(
        [],
        doc="Changes of what you always know: core/self, core/goals, core/relationships, fact/<who>/<what>.",
        max_length=20,
    )


class Answer(Decision):
    """Answer a question that somebody asks you, from what you remember."""

    answer: str = field(doc="What you say.", max_length=2000)
    memories: list[int] = field([], doc="Numbers of the memories your answer rests on; only numbers you were shown.")


@dataclass(frozen=True)
class ReflectionView:
    """What an agent sees when it reflects."""

    records: tuple[Memory, ...]
    """What it may cite."""
    known: tuple[Memory, ...] = ()
    """Insights that hold."""
    most: int = 5
    """Insights it may draw."""
    phrases: Mapping[str, Phrase] = dataclass_field(default_factory=dict)
    names: Callable[[int], str] = "agent {}".format


@dataclass(frozen=True)
class ImportanceView:
    """What an agent sees when it weighs its memories."""

    records: tuple[str, ...]


@dataclass(frozen=True)
class EpisodeView:
    """What an agent sees when it sums up."""

    records: tuple[Memory, ...]
    names: Callable[[int], str] = "agent {}".format


@dataclass(frozen=True)
class AnswerView:
    """What an agent sees when it is asked something."""

    question: str


def times(n: int) -> str:
    """Return how often, in words."""
    return {1: "once", 2: "twice"}.get(n) or f"{number(n)} times"


def number(n: int) -> str:
    """Return a small number as a word."""
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def reflect_by_rule(persona: Any, view: ReflectionView, memory: Any, rng: Any) -> Reflection:
    """Conclude from outcomes of encounters, then from what comes up again and again; the most frequent first."""
    encounters: dict[tuple[int, str], list[Memory]] = defaultdict(list)
    topics: dict[Symbol, list[Memory]] = defaultdict(list)
    for record in view.records:
        who, what = record.subject, record.predicate
        if what in view.phrases and isinstance(who, int) and who != record.agent:
            encounters[who, what].append(record)
        elif who != record.agent and (about := record.object if record.object is not None else who) is not None:
            topics[about].append(record)
    drawn: list[tuple[int, float, Insight]] = []
    for (who, what), found in encounters.items():
        every = [m for m in found if m.value == m.value][-MOST_CITED:]
        if len(every) >= FEWEST:
            text = f"{view.names(who)} {outcomes(every, view.phrases[what])}."[:LONGEST]
            cited = [m.id for m in every]
            drawn.append((len(every), sum(m.importance for m in every), Insight(insight=text, evidence=cited)))
    for about, every in topics.items():
        # What somebody was born with is no encounter, and one conversation is one, however many words it had.
        found = [m for m in every if m.kind != "formative"]
        if len({m.t_event for m in found}) >= FEWEST:
            drawn.append((len(found), sum(m.importance for m in found), _topic(about, found, view.names)))
    known = {m.text for m in view.known}
    drawn = sorted((d for d in drawn if d[2].insight not in known), key=lambda d: (-d[0], -d[1], d[2].insight))
    return Reflection(insights=[insight for _, _, insight in drawn[: view.most]])


def _topic(about: Symbol, found: Sequence[Memory], names: Callable[[int], str]) -> Insight:
    cited = [m.id for m in found[-MOST_CITED:]]
    if isinstance(about, int):
        often = times(len({m.t_event for m in found}))
        return Insight(insight=f"I meet {names(about)} again and again, {often}."[:LONGEST], evidence=cited)
    told = list(dict.fromkeys(m.source for m in found if m.source >= 0))
    *most, last = [names(s) for s in told[:3]] or [""]
    whom = f", from {', '.join(most)}{' and ' if most else ''}{last}" if told else ""
    text = f"I keep hearing of {str(about)[:LONGEST_NAME]}: {times(len(found))}{whom}."
    return Insight(insight=text[:LONGEST], evidence=cited)


def outcomes(found: Sequence[Memory], phrase: Phrase) -> str:
    """Return in words how encounters turned out: "gave less than half in three of four encounters"."""
    below, n = sum(m.value < phrase.threshold for m in found), len(found)
    more, words = (below, phrase.below) if 2 * below >= n else (n - below, phrase.above)
    return f"{words} in {number(more)} of {number(n)} encounters"


def weigh_by_rule(persona: Any, view: ImportanceView, memory: Any, rng: Any) -> Importance:
    """Every memory is routine: a rule's importance comes from the store's table, not from here."""
    return Importance(scores=[1] * len(view.records))


def sum_up_by_rule(persona: Any, view: EpisodeView, memory: Any, rng: Any) -> Consolidation:
    """Name the stretch, and what mattered most in it."""
    records = view.records
    first, last = records[0].t_event, records[-1].t_event
    place = records[-1].place
    best = sorted(sorted(records, key=lambda m: (-m.importance, m.id))[:3], key=lambda m: m.id)
    when = f"step {first}" if first == last else f"steps {first} to {last}"
    where = f" at {place}" if place else ""
    told = "; ".join(" ".join(m.text.split())[:150].rstrip(".") for m in best)
    return Consolidation(summary=f"{when}{where}: {told}.", operations=[])


def answer_by_rule(persona: Any, view: AnswerView, memory: Any, rng: Any) -> Answer:
    """Say the best of what is found, word for word; a rule mind composes no sentences of its own."""
    found = [] if memory is None else memory.found[:QUOTED]
    if not found:
        return Answer(answer="I remember nothing about that.")
    words = [" ".join(f.memory.text.split())[:500] for f in found]
    return Answer(answer=f"What comes to mind: {' / '.join(words)}", memories=[f.memory.id for f in found])


def nothing(persona: Any, view: Any, memory: Any, rng: Any) -> Reflection:
    """Conclude nothing: the null does not reflect."""
    return Reflection(insights=[])


RULES: dict[type[Decision], Callable[..., Any]] = {
    Reflection: reflect_by_rule, Importance: weigh_by_rule, Consolidation: sum_up_by_rule, Answer: answer_by_rule,
}  # fmt: skip
"""How rule minds answer where the scenario has no policy of its own."""
NULLS: dict[type[Decision], Callable[..., Any]] = {**RULES, Reflection: nothing}
"""How the null answers: no reflection."""


def usable(
    insights: Sequence[Insight], shown: set[int], depth_of: Callable[[int], int], deepest: int, most: int
) -> tuple[list[Insight], list[str]]:
    """Return the insights whose evidence stands, and why each of the others does not.

    Args:
        insights: as given.
        shown: ids that could be cited.
        depth_of: depth of a record.
        deepest: largest depth of a reflection.
        most: insights that are kept.
    """
    kept: list[Insight] = []
    faults = []
    for one in insights:
        unknown = [e for e in one.evidence if e not in shown]
        if not one.insight.strip():
            faults.append("it says nothing")
        elif not one.evidence:
            faults.append("it cites nothing")
        elif unknown:
            faults.append(f"it cites {unknown[0]}, which was not shown")
        elif 1 + max(depth_of(e) for e in one.evidence) > deepest:
            faults.append(f"it would be deeper than {deepest}")
        elif len(kept) >= most:
            faults.append(f"more than {most} were given")
        else:
            kept.append(one)
    return kept, faults

"""The rule policy and the null policy of the village. All coefficients are placeholders, not calibrated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from simworld.persona import trait_z

from .decisions import Attend, AttendView, Chunk, Meet, MeetView, Plan, PlanView, Stretch, Talk, TalkView
from .places import merged

COEFFICIENTS = {
    "talk": -1.0,  # logit of talking to somebody here
    "talk_extraversion": 0.5,  # a standard deviation of E
    "talk_tie": 1.0,  # an acquaintance
    "end": 0.35,  # chance that a turn is the last
    "plan": 0.5,  # logit of planning to go
    "plan_conscientiousness": 0.5,  # a standard deviation of C
}
"""Placeholders [design]: that extraverts talk more and the conscientious follow through is the model's; how much is not
known."""

PACE_MINUTES = 10
"""Minutes that the chance to talk is meant for: those of the default step."""

SMALL_TALK = (
    "How is it going with {topic}?", "I have been busy with {topic}.", "Nothing new with me, {topic} apart.",
    "Lovely to see you. I was just thinking about {topic}.",
)  # fmt: skip
ASK = ("Any news?", "What have you been up to?", "And how are you?")


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def _topic(persona: Any, rng: Any) -> str:
    liked = [p.topic for p in persona.preferences if p.polarity > 0] if persona is not None else []
    return rng.choice(liked) if liked else "the weather"


def _stretches(chunks: list[Chunk]) -> list[Stretch]:
    return [Stretch(start=c.start, end=c.end, place=c.place, activity=c.activity) for c in chunks]


def plan(persona: Any, view: PlanView, memory: Any, rng: Any) -> Plan:
    """The usual day, and what it has decided to go to, unless it would miss work."""
    kept = [Chunk(*a[:4]) for a in view.appointments if a.is_own or not a.clash]
    return Plan(chunks=_stretches(merged(view.usual, kept)))


def often(p: float, paces: float) -> float:
    """Return the chance of at least one in so many paces."""
    return 1.0 - (1.0 - p) ** paces


def meet(persona: Any, view: MeetView, memory: Any, rng: Any, paces: float = 1.0) -> Meet:
    c = COEFFICIENTS
    person = rng.choice(view.people)
    logit = c["talk"] + c["talk_extraversion"] * trait_z(persona, "E") + c["talk_tie"] * person.is_known
    return Meet(talk_to=person.agent if rng.random() < often(sigmoid(logit), paces) else None)


def talk(persona: Any, view: TalkView, memory: Any, rng: Any) -> Talk:
    """Mention each piece of news with probability score / largest score, the score with which its memory came to mind.

    Under the paper's policy the largest is 3.
    """
    told = []
    for known in view.known:
        score = 0.0 if memory is None else memory.score(known.record) / memory.highest
        if rng.random() < score and known.text not in " ".join(view.said):
            told.append(known)
    if told:
        words = " ".join(["Have you heard?", *(k.text for k in told)])
    else:
        words = rng.choice(SMALL_TALK).format(topic=_topic(persona, rng)) if len(view.said) % 2 else rng.choice(ASK)
    return Talk(utterance=words[:400], mentions=[k.news for k in told], end=rng.random() < COEFFICIENTS["end"])


def attend(persona: Any, view: AttendView, memory: Any, rng: Any) -> Attend:
    if view.is_host:
        return Attend(attend=True, reason="It is my own.")
    c = COEFFICIENTS
    goes = rng.random() < sigmoid(c["plan"] + c["plan_conscientiousness"] * trait_z(persona, "C"))
    return Attend(attend=goes, reason="I am free then." if goes else "I will not get round to it.")


def null_meet(persona: Any, view: MeetView, memory: Any, rng: Any, paces: float = 1.0) -> Meet:
    """A uniform partner, as often as an average villager talks to a stranger or an acquaintance: one time in two."""
    return Meet(talk_to=rng.choice(view.people).agent if rng.random() < often(0.5, paces) else None)


def null_talk(persona: Any, view: TalkView, memory: Any, rng: Any) -> Talk:
    told = [rng.choice(view.known)] if view.known and rng.random() < 0.5 else []
    words = told[0].text if told else "(small talk)"
    return Talk(utterance=words, mentions=[k.news for k in told], end=rng.random() < 0.5)


def null_attend(persona: Any, view: AttendView, memory: Any, rng: Any) -> Attend:
    return Attend(attend=view.is_host or rng.random() < 0.5, reason="(random)")


def policies(params: Any) -> dict[str, Mapping[Any, Callable[..., Any]]]:
    """Return the tables of policies; a chance to talk is one of ten minutes, whatever the length of a step."""

    def at_this_pace(policy: Callable[..., Any]) -> Callable[..., Any]:
        return lambda persona, view, memory, rng: policy(persona, view, memory, rng, params.step_minutes / PACE_MINUTES)

    return {
        "rules": {Plan: plan, Meet: at_this_pace(meet), Talk: talk, Attend: attend},
        "null": {Plan: plan, Meet: at_this_pace(null_meet), Talk: null_talk, Attend: null_attend},
    }

"""What villagers see and must answer."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from pydantic import field_validator, model_validator

import simworld as sw


class Chunk(NamedTuple):
    """A stretch of a day: where, and what for."""

    start: str
    end: str
    place: str
    activity: str


class Known(NamedTuple):
    """A piece of news that the agent holds in memory."""

    news: int
    text: str
    record: int
    """The memory it is held in."""


class Appointment(NamedTuple):
    """Something that the agent has decided to go to."""

    start: str
    end: str
    place: str
    activity: str
    clash: str
    """Work that it would miss; empty for none."""
    is_own: bool
    """Whether the agent gives it."""


class PlanView(NamedTuple):
    day: int
    weekday: str
    usual: tuple[Chunk, ...]
    """The usual day of this kind."""
    appointments: tuple[Appointment, ...]
    """What the agent has decided to go to today."""
    home: str
    places: tuple[str, ...]
    """Every place of the village."""


class Person(NamedTuple):
    agent: int
    name: str
    activity: str
    is_known: bool
    """Whether they are acquainted."""


class MeetView(NamedTuple):
    time: str
    place: str
    activity: str
    people: tuple[Person, ...]
    """Who is here, at most three."""


class TalkView(NamedTuple):
    time: str
    place: str
    partner: int
    partner_name: str
    said: tuple[str, ...]
    """The conversation so far, oldest first."""
    by: tuple[int, ...]
    """Who said each of it."""
    known: tuple[Known, ...]
    """News that the agent holds and that comes to its mind."""


class AttendView(NamedTuple):
    news: int
    text: str
    when: str
    place: str
    usual: str
    """What the agent usually does then; empty when it is at home, or there anyway."""
    is_host: bool


_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")


class Stretch(sw.Record):
    """A stretch of the day."""

    start: str = sw.field(doc="When it begins, HH:MM.")
    end: str = sw.field(doc="When it ends, HH:MM, later on the same day.")
    place: str = sw.field(doc="Where: one of the places of the village.")
    activity: str = sw.field(doc="What you do there, in a few words.", max_length=120)

    @field_validator("start", "end")
    @classmethod
    def _clock(cls, value: str) -> str:
        if not _CLOCK.fullmatch(value):
            raise ValueError("write a time as HH:MM, from 00:00 to 24:00")
        return value

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"it ends at {self.end}, which is not after {self.start}")
        return self


class Plan(sw.Decision):
    """Plan your day: where you are when, and what for."""

    chunks: list[Stretch] = sw.field(
        doc="Stretches that do not overlap, in order; the rest of the day you are at home."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for before, after in zip(self.chunks, self.chunks[1:], strict=False):
            if after.start < before.end:
                raise ValueError(f"{after.start} begins before {before.end} ends; no two stretches may overlap")
        return self


class Meet(sw.Decision):
    """Decide whether to talk to somebody who is here, or to go on with what you do."""

    talk_to: int | None = sw.field(doc="Number of the person you talk to, one of those shown; null to go on.")
    reason: str = sw.field("", doc="Why, in a few words.", max_length=200)


class Talk(sw.Decision):
    """Say the next thing in a conversation."""

    utterance: str = sw.field(doc="What you say, one or two sentences.", max_length=400)
    mentions: list[int] = sw.field([], doc="Numbers of the pieces of news that you mention; only news that you know.")
    end: bool = sw.field(False, doc="Whether the conversation ends here.")


class Attend(sw.Decision):
    """Decide whether you will go to something you have heard of."""

    attend: bool = sw.field(doc="Whether you will go.")
    reason: str = sw.field("", doc="Why, in a few words.", max_length=200)

"""What players see and must answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import field_validator, model_validator

import simworld as sw

PHASES = ("introduction", "statement", "reaction", "aftermath")
"""When something is said in public."""

# An observation is given as columns, one element an agent asked; arrays of shape (n, n_players) one element a seat.
# These records are single elements of it, so that every agent of a game can share one.


@dataclass(frozen=True, slots=True)
class Said:
    """Words of the round at hand."""

    agent: int
    name: str
    phase: str
    text: str
    """Empty for somebody who said nothing."""


@dataclass(frozen=True, slots=True)
class Public:
    """What everybody in one game knows."""

    first: int
    """Number of the agent in seat 0; seat s is agent first + s."""
    names: tuple[str, ...]
    """By seat."""
    past: tuple[str, ...]
    """Votes, banishments with the revealed role, and murders so far."""
    summaries: tuple[str, ...]
    """Who accused and defended whom in the last rounds before this one, a line a round."""
    said: tuple[Said, ...]
    """What was said in this round so far."""


class Notebook(sw.Record):
    """What an agent wrote for itself of late, oldest first."""

    notes: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Meeting:
    """What was said in the traitors' meeting of this night, for traitors alone."""

    said: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A public statement that a judge is asked about."""

    by: int
    name: str
    text: str
    accuses: tuple[int, ...]
    defends: tuple[int, ...]


class Speak(sw.Decision):
    """Say something that everybody in the game hears."""

    public: str = sw.field(doc="What you say aloud, 50 to 100 words.", max_length=2000)
    inner: str = sw.field("", doc="What you think and tell nobody, one or two sentences.", max_length=1000)
    accuses: list[int] = sw.field([], doc="Numbers of the living players whom your words accuse of being traitors.")
    defends: list[int] = sw.field([], doc="Numbers of the living players whom your words defend as faithful.")

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        for name, listed in (("accuses", self.accuses), ("defends", self.defends)):
            if len(set(listed)) < len(listed):
                raise ValueError(f"{name} names somebody twice")
        both = set(self.accuses) & set(self.defends)
        if both:
            raise ValueError(f"{min(both)} is both accused and defended")
        return self


class Suspicion(sw.Record):
    """How far one player is suspected."""

    player: int = sw.field(doc="Number of a living player other than you.")
    suspicion: float = sw.field(doc="Probability that this player is a traitor.", ge=0.0, le=1.0)


class Note(sw.Decision):
    """Bring your private notes up to date."""

    suspicion: list[Suspicion] = sw.field(doc="One entry for every other living player.")
    notes: str = sw.field("", doc="What you want to keep in mind, one to three sentences.", max_length=1000)
    strategy: str = sw.field("", doc="What you mean to do next, and with whom, one or two sentences.", max_length=1000)

    @field_validator("suspicion")
    @classmethod
    def _once(cls, entries: list[Suspicion]) -> list[Suspicion]:
        players = [entry.player for entry in entries]
        if len(set(players)) < len(players):
            raise ValueError("a player stands there twice")
        return entries


class Vote(sw.Decision):
    """Vote for the player who is to be banished."""

    target: int = sw.field(doc="Number of a living player other than you.")
    confidence: float = sw.field(0.5, doc="How sure you are that this player is a traitor.", ge=0.0, le=1.0)


class Confer(sw.Decision):
    """Speak in the traitors' meeting; only the traitors hear it."""

    private: str = sw.field(doc="What you say to the other traitors, at most 60 words.", max_length=2000)
    proposes: int | None = sw.field(doc="Number of the living faithful player you want murdered, or null.")


class Night(sw.Decision):
    """Vote for the player who is to be murdered in the night."""

    target: int = sw.field(doc="Number of a living faithful player.")


class Judge(sw.Decision):
    """Say whether a statement is a lie: whether it contradicts what its speaker believes."""

    is_lie: bool = sw.field(doc="Whether the speaker says what it does not believe.")
    confidence: float = sw.field(0.5, doc="How sure you are.", ge=0.0, le=1.0)

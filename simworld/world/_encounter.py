"""Encounters: small groups that meet side by side and speak in turns inside.

All encounters advance together: turn k of every open encounter is one question to its speakers, so a thousand
dialogues cost as many rounds as the longest one, and nobody's turn depends on which dialogue was answered first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(slots=True)
class Encounter:
    """One meeting of a group of agents."""

    members: tuple[int, ...]
    """Agent ids in speaking order."""
    turns: list[tuple[int, Any]] = field(default_factory=list)
    """(speaker, what was said), in order."""
    is_open: bool = True
    topic: Any = None
    """What the meeting is about, for the scenario's own use."""

    def say(self, speaker: int, what: Any) -> None:
        """Add a turn."""
        self.turns.append((speaker, what))

    def close(self) -> None:
        """End the encounter; no more turns are asked."""
        self.is_open = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of all open encounters: who speaks in which."""

    number: int
    encounters: list[Encounter]
    speakers: npt.NDArray[np.int64]


def turns(encounters: Sequence[Encounter], max_turns: int) -> Iterator[Turn]:
    """Yield turn after turn until every encounter is closed or ``max_turns`` are over; speakers go round."""
    for number in range(max_turns):
        still = [e for e in encounters if e.is_open]
        if not still:
            return
        speakers = np.array([e.members[number % len(e.members)] for e in still], np.int64)
        yield Turn(number, still, speakers)

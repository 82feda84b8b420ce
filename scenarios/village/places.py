"""Where villagers are when: clock times, usual days, and homes and schedules for people whose persona has none."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from simworld.persona import Persona, trait_z

from .decisions import Chunk

PUBLIC = ("the café", "the shop", "the pub", "the park", "the library", "the workshop", "the town hall", "the school")
"""Places of a village whose people name none. [design]"""
HOUSEHOLD = 3
"""People who share a home where personas name none. [design]"""
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ASLEEP = ("asleep", "sleep")
"""What is in an activity that nobody can be talked to in."""
WAKE, SLEEP = 7 * 60, 23 * 60
"""Minutes of the day between which people at home are awake. [design]"""


def minutes(clock: str) -> int:
    """Return a clock time as minutes from midnight."""
    hours, _, rest = clock.partition(":")
    return 60 * int(hours) + int(rest)


def clock(minute: int) -> str:
    """Return minutes from midnight as a clock time."""
    return f"{minute // 60:02}:{minute % 60:02}"


def is_weekend(day: int) -> bool:
    """Whether a day, counted from 1, a Monday, is a Saturday or a Sunday."""
    return (day - 1) % 7 >= 5


def usual_day(person: Persona, day: int) -> tuple[Chunk, ...]:
    """Return a person's usual stretches on this day, in order."""
    kind = "weekend" if is_weekend(day) else "workday"
    stays = [s for s in person.schedule if s.days in ("every day", kind)]
    return tuple(Chunk(s.start, s.end, s.place, s.activity) for s in sorted(stays, key=lambda s: s.start))


def merged(usual: Sequence[Chunk], appointments: Sequence[Chunk]) -> list[Chunk]:
    """Return the day with its appointments, which cut short what they overlap."""
    out: list[Chunk] = []
    for chunk in usual:
        left = [chunk]
        for other in appointments:
            left = [part for piece in left for part in _without(piece, other)]
        out += left
    return sorted([*out, *appointments])


def _without(chunk: Chunk, other: Chunk) -> list[Chunk]:
    if other.end <= chunk.start or other.start >= chunk.end:
        return [chunk]
    before = [chunk._replace(end=other.start)] if chunk.start < other.start else []
    return before + ([chunk._replace(start=other.end)] if other.end < chunk.end else [])


def packed(chunks: Sequence[Chunk]) -> str:
    """Return a plan as a column keeps it."""
    return json.dumps([list(c) for c in chunks], ensure_ascii=False)


@functools.lru_cache(maxsize=65536)
def unpacked(plan: str) -> tuple[Chunk, ...]:
    """Return the plan that a column keeps."""
    return tuple(Chunk(*c) for c in json.loads(plan)) if plan else ()


def where(plan: str, home: str, minute: int) -> tuple[str, str]:
    """Return place and activity at a minute of the day."""
    for chunk in unpacked(plan):
        if minutes(chunk.start) <= minute < minutes(chunk.end):
            return chunk.place, chunk.activity
    return home, "at home" if WAKE <= minute < SLEEP else "asleep"


def settled(
    people: Sequence[Persona], chance: Any
) -> tuple[list[str], list[tuple[Chunk, ...]], list[tuple[Chunk, ...]]]:
    """Return home, usual workday and usual weekend of everybody; drawn for those whose persona says nothing.

    Work is at a place drawn evenly; the evening is spent out with probability σ(z_E) (placeholder, from no literature).
    """
    named = sorted({s.place for p in people for s in p.schedule} - {p.home for p in people})
    public = named or list(PUBLIC)
    homes, workdays, weekends = [], [], []
    lodgers = 0
    for i, person in enumerate(people):
        if person.home is None:
            homes.append(f"house {lodgers // HOUSEHOLD + 1}")
            lodgers += 1
        else:
            homes.append(person.home)
        if person.schedule:
            workdays.append(usual_day(person, 1))
            weekends.append(usual_day(person, 6))
            continue
        rng = chance.stream("schedule", i)
        work, lunch, evening, trip = (public[k] for k in rng.integers(0, len(public), 4))
        goes_out = rng.random(2) < 1 / (1 + math.exp(-trait_z(person, "E")))
        title = person.occupation.title if person.occupation is not None else "odd jobs"
        out = (Chunk("18:30", "20:30", evening, "spends the evening"),) if goes_out[0] else ()
        workdays.append((
            Chunk("09:00", "12:00", work, f"works ({title})"), Chunk("12:00", "13:00", lunch, "has lunch"),
            Chunk("13:00", "17:00", work, f"works ({title})"), *out,
        ))  # fmt: skip
        late = (Chunk("18:00", "21:00", evening, "spends the evening"),) if goes_out[1] else ()
        weekends.append((Chunk("10:30", "12:30", trip, "takes some time off"), *late))
    return homes, workdays, weekends


def is_asleep(activity: str) -> bool:
    """Whether somebody who does this can neither see nor be talked to."""
    return any(word in activity.lower() for word in ASLEEP)


def every_place(homes: Sequence[str], *days: Sequence[Sequence[Chunk]]) -> tuple[str, ...]:
    """Return every place that anybody lives in or goes to, sorted."""
    return tuple(sorted({*homes, *(c.place for kind in days for day in kind for c in day)}))


def together(places: Mapping[int, str]) -> dict[str, list[int]]:
    """Return who is where, places sorted, people ascending."""
    out: dict[str, list[int]] = {}
    for agent, place in sorted(places.items()):
        out.setdefault(place, []).append(agent)
    return dict(sorted(out.items()))

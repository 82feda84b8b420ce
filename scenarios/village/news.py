"""Pieces of news: who had them first, who heard them from whom, and whether that is in anybody's memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simworld.errors import ParameterError, did_you_mean
from simworld.memory import Flag
from simworld.persona import trait_z

HELD_BY = ("seeded", "told")
"""Predicates of the memories by which somebody knows a piece of news."""
LONGEST_NAME = 40
"""Characters of the short name of a piece of news; arbitrary."""
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
_BRACKET = re.compile(r"\[\s*day\b", re.I)
_WHEN = re.compile(
    r"\[day\s+(?P<day>\d+),?\s+(?P<start>\d\d:\d\d)\s*-\s*(?P<end>\d\d:\d\d)\s+at\s+(?P<place>[^\]]+)\]", re.I
)


class Event(NamedTuple):
    """When and where a piece of news takes place."""

    day: int
    start: str
    end: str
    place: str


class News(NamedTuple):
    """One piece of news."""

    number: int
    name: str
    text: str
    holder: int
    """Agent who has it first."""
    event: Event | None


class Heard(NamedTuple):
    """How somebody came to know."""

    record: int
    source: int
    """Who told them; -1 for the one who had it first."""
    step: int


def named(who: str, people: Sequence[Any]) -> int | None:
    """Return the agent of this id, name or number, capitals aside; None where there is none."""
    asked = who.strip().casefold()
    for i, person in enumerate(people):
        if asked in (person.id.casefold(), person.name.casefold(), str(i)):
            return i
    return None


def find_agent(who: str, people: Sequence[Any], notes: list[str], what: str, taken: Sequence[int] = ()) -> int:
    """Return the agent of this id, name or number; where there is none, the most extraverted one, with a note."""
    here = named(who, people)
    if here is not None:
        return here
    free = [i for i in range(len(people)) if i not in taken] or list(range(len(people)))
    found = max(free, key=lambda i: (trait_z(people[i], "E"), -i))
    notes.append(f"no {who!r} lives here; {what} is {people[found].name}, the most extraverted")
    return found


def parse(text: str, params: Any, people: Sequence[Any], place_of: Any, notes: list[str]) -> list[News]:
    """Return the pieces of news of the parameter ``news``.

    Args:
        text: pieces separated by ``;``: ``party``, ``candidacy``, or ``WHO: TEXT``, with
            ``[day 2 18:00-20:00 at PLACE]`` in the text of something that takes place.
        params: the parameters.
        people: personas by agent.
        place_of: a host's place, by agent.
        notes: gets a line where somebody is replaced.

    Raises:
        ParameterError: a piece that reads as none of these, or of somebody who does not live here.
    """
    found: list[News] = []
    for piece in (p.strip() for p in text.split(";")):
        if not piece:
            continue
        number, taken = len(found), [n.holder for n in found]
        if piece == "party":
            host = find_agent(params.host, people, notes, "the host of the party", taken)
            event = checked(Event(params.party_day, params.party_start, params.party_end, place_of(host)), piece)
            when = f"on day {event.day} from {event.start} to {event.end}"
            found.append(News(
                number, "the party", f"{people[host].name} is giving a party {when} at {event.place}.", host, event
            ))  # fmt: skip
        elif piece == "candidacy":
            who = find_agent(params.candidate, people, notes, "the candidate", taken)
            found.append(News(
                number, "the candidacy", f"{people[who].name} is standing for the village council.", who, None
            ))  # fmt: skip
        else:
            found.append(_own(number, piece, people))
    names = [n.name for n in found]
    said = [(n.text, n.holder) for n in found]
    if twice := next((n for n in names if names.count(n) > 1), None) or next(
        (words for words, holder in said if said.count((words, holder)) > 1), None
    ):
        raise ParameterError(f"news {text!r} has {twice!r} twice; say each once")
    return found


def checked(event: Event, piece: str) -> Event:
    """Return an event whose times are clock times in order.

    Raises:
        ParameterError: they are not.
    """
    for time in (event.start, event.end):
        if not _TIME.fullmatch(time):
            raise ParameterError(f"news {piece!r} has the time {time!r}; write HH:MM, from 00:00 to 24:00")
    if event.end <= event.start:
        raise ParameterError(f"news {piece!r} ends at {event.end}, which is not after {event.start}")
    if event.day < 1:
        raise ParameterError(f"news {piece!r} is on day {event.day}; days count from 1")
    return event


def _own(number: int, piece: str, people: Sequence[Any]) -> News:
    who, colon, words = (part.strip() for part in piece.partition(":"))
    if not colon or not words:
        raise ParameterError(f"news {piece!r} is not 'party', 'candidacy' or WHO: TEXT (odile: the mill will close)")
    holder = named(who, people)
    if holder is None:
        names = [name for p in people for name in (p.id, p.name)]
        raise ParameterError(f"news of {who!r}, who does not live here{did_you_mean(who, names)}")
    match = _WHEN.search(words)
    if len(_BRACKET.findall(words)) != (match is not None) or (match is not None and not match["place"].strip()):
        raise ParameterError(f"news {piece!r}: write an event once, as [day 2 18:00-20:00 at PLACE]")
    event = None
    if match is not None:
        event = checked(Event(int(match["day"]), match["start"], match["end"], match["place"].strip()), piece)
        when = f"on day {event.day} from {event.start} to {event.end} at {event.place}"
        words = _WHEN.sub(when, words)
    short = " ".join(words.split()[:4])[:LONGEST_NAME].rstrip(".,: ")
    return News(number, f"news {number}: {short}", words, holder, event)


class Knowledge:
    """Who knows what, read from the memories of all; a cache that looks at new records only."""

    def __init__(self, news: Sequence[News]) -> None:
        self._news = {item.name: item.number for item in news}
        self._seen = 0
        self.heard: list[dict[int, list[Heard]]] = [{} for _ in news]
        """By piece of news: every telling that each agent remembers, or its own beginning, in order."""
        self.met: set[tuple[int, int]] = set()
        """(agent, other): the other is the subject of one of the agent's memories."""

    def update(self, memory: Any) -> None:
        """Read what was stored since the last call."""
        n = len(memory)
        if n == self._seen:
            return
        here = slice(self._seen, n)
        agents, subjects, predicates, objects, sources, created = (
            memory.column(name)[here] for name in ("agent", "subject", "predicate", "object", "source", "t_created")
        )
        symbols = [memory.symbol(code) for code in range(memory.n_symbols)]
        about = np.array([isinstance(s, int) for s in symbols], bool)[subjects]
        self.met |= {
            (a, symbols[s])
            for a, s in zip(agents[about].tolist(), subjects[about].tolist(), strict=True)
            if a != symbols[s]
        }
        held = np.array([s in HELD_BY for s in symbols], bool)[predicates]
        for at in np.flatnonzero(held).tolist():
            number = self._news.get(symbols[objects[at]])
            if number is not None:
                heard = Heard(self._seen + at, int(sources[at]), int(created[at]))
                self.heard[number].setdefault(int(agents[at]), []).append(heard)
        self._seen = n

    def first(self, number: int) -> dict[int, Heard]:
        """Return how each agent that ever heard of a piece of news did so first."""
        return {agent: tellings[0] for agent, tellings in self.heard[number].items()}

    def held(self, agent: int, number: int, memory: Any) -> list[int]:
        """Return the records in which an agent holds a piece of news in its memory now."""
        tellings = self.heard[number].get(agent, ())
        flags = memory.column("flags")
        return [h.record for h in tellings if not flags[h.record] & Flag.GONE]

    def sourced(self, item: News) -> dict[int, Heard]:
        """Return by whom each agent first came to know from a source whose own chain reaches the first holder.

        Each source knew in an earlier step than the one whom it told.
        """
        good: dict[int, Heard] = {}
        every = sorted(
            ((heard, agent) for agent, tellings in self.heard[item.number].items() for heard in tellings),
            key=lambda pair: (pair[0].step, pair[0].source >= 0, pair[0].record),
        )
        for heard, agent in every:
            from_seed = agent == item.holder and heard.source < 0
            told = heard.source in good and good[heard.source].step < heard.step
            if agent not in good and (from_seed or told):
                good[agent] = heard
        return good

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
_WHEN = re.compile(
    r"\[day (?P<day>\d+) (?P<start>[012]\d:[0-5]\d)-(?P<end>[012]\d:[0-5]\d) at (?P<place>[^\]]+)\]", re.I
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


def find_agent(who: str, people: Sequence[Any], notes: list[str], what: str, taken: Sequence[int] = ()) -> int:
    """Return the agent of this id, name or number; where there is none, the most extraverted one, with a note."""
    for i, person in enumerate(people):
        if who in (person.id, person.name, str(i)):
            return i
    found = max((i for i in range(len(people)) if i not in taken), key=lambda i: (trait_z(people[i], "E"), -i))
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
            host = find_agent(params.host, people, notes, "the host of the party")
            event = Event(params.party_day, params.party_start, params.party_end, place_of(host))
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
    if twice := next((n for n in names if names.count(n) > 1), None):
        raise ParameterError(f"news {text!r} has {twice!r} twice; say each once")
    return found


def _own(number: int, piece: str, people: Sequence[Any]) -> News:
    who, colon, words = (part.strip() for part in piece.partition(":"))
    if not colon or not words:
        raise ParameterError(f"news {piece!r} is not 'party', 'candidacy' or WHO: TEXT (odile: the mill will close)")
    names = {name: i for i, p in enumerate(people) for name in (p.id, p.name, str(i))}
    if who not in names:
        raise ParameterError(f"news of {who!r}, who does not live here{did_you_mean(who, names)}")
    match = _WHEN.search(words)
    event = None
    if match is not None:
        event = Event(int(match["day"]), match["start"], match["end"], match["place"].strip())
        if event.end <= event.start or event.end > "24:00":
            raise ParameterError(f"news {piece!r} ends at {event.end}, which is not after {event.start}")
        when = f"on day {event.day} from {event.start} to {event.end} at {event.place}"
        words = _WHEN.sub(when, words)
    short = " ".join(words.split()[:4]).rstrip(".,:")
    return News(number, f"news {number}: {short}", words, names[who], event)


class Knowledge:
    """Who knows what, read from the memories of all; a cache that looks at new records only."""

    def __init__(self, news: Sequence[News], n_agents: int) -> None:
        self._news = {item.name: item.number for item in news}
        self._seen = 0
        self.first: list[dict[int, Heard]] = [{} for _ in news]
        """By piece of news: how each agent came to know first."""
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
        is_person = np.array([isinstance(s, int) for s in symbols], bool)
        about = is_person[subjects]
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
                self.first[number].setdefault(int(agents[at]), heard)
        self._seen = n

    def knows(self, agent: int, number: int, memory: Any) -> bool:
        """Whether an agent holds a piece of news in its memory now."""
        heard = self.first[number].get(agent)
        return heard is not None and not memory.get(heard.record).flags & Flag.GONE

    def sourced(self, item: News) -> dict[int, Heard]:
        """Return those whose chain of sources reaches the first holder, each source having known earlier."""
        first = self.first[item.number]
        good: dict[int, Heard] = {}
        for agent, heard in sorted(first.items(), key=lambda pair: (pair[1].step, pair[1].source >= 0)):
            from_seed = agent == item.holder and heard.source < 0
            told = heard.source in good and good[heard.source].step < heard.step
            if from_seed or told:
                good[agent] = heard
        return good

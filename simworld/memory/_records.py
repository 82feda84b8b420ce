"""What a memory is: one record of the stream, what is new and not yet stored, and what was found with its score."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

KINDS = (
    "observation", "action", "utterance", "reflection", "plan", "fact", "event", "summary", "formative",
)  # fmt: skip
"""Kinds of record; a kind's code is its place here."""
_AGENT = re.compile(r"#[0-9]{1,9}")
CODES = {kind: code for code, kind in enumerate(KINDS)}
THOUGHTS = frozenset({"reflection", "plan", "summary"})
"""Kinds that the agent made of other records; the rest came from outside, or from what it did."""
LONGEST = 2_000
"""Characters of one record that a prompt shows; arbitrary."""


class Flag(enum.IntFlag):
    """Marks of a record."""

    PRIVATE = 1
    """Never shown to anybody but its owner, and no evidence for what is shared."""
    FORMATIVE = 2
    """From before the run; never forgotten."""
    PINNED = 4
    """Never forgotten."""
    PROBE = 8
    """Made by asking about the run, not by the run; never found."""
    COLD = 16
    """Covered by a summary."""
    STALE = 32
    """A reflection some of whose evidence no longer holds."""
    SHARED = 64
    """Held once for all agents of an archetype."""
    GONE = 128
    """Forgotten or evicted: in the log, not in the store's index."""


type Symbol = int | str | None
"""Who or what a statement is about: an agent by its id, anything else by its name, None for nothing."""


def symbol_text(symbol: Symbol) -> str:
    """Return a symbol as the log writes it: an agent as ``#12``, nothing as an empty text."""
    return "" if symbol is None else f"#{symbol}" if isinstance(symbol, int) else symbol


def symbol_of(text: str) -> Symbol:
    """Return the symbol that the log wrote."""
    if _AGENT.fullmatch(text):
        return int(text[1:])
    return text or None


@dataclass(slots=True)
class NewMemory:
    """One record to be stored."""

    agent: int
    """Whose it is."""
    text: str
    kind: str = "observation"
    importance: float | None = None
    """From 0, forgettable, to 1, life-changing; None: by the store's rule."""
    value: float = float("nan")
    """Outcome of what happened, in the scenario's unit; NaN for none."""
    source: int = -1
    """Agent it was learned from; -1: seen by the owner itself."""
    subject: Symbol = None
    """Who did it."""
    predicate: str = ""
    """What was done."""
    object: Symbol = None
    """To whom or what."""
    place: str = ""
    """Where; a change of place closes an episode."""
    t_event: int | None = None
    """Step at which it happened; None: now."""
    valid_from: int = -1
    """First step at which a fact holds; -1: always did."""
    flags: int = 0
    evidence: tuple[int, ...] = ()
    """Ids of the owner's records it rests on."""
    links: tuple[int, ...] = ()
    """Ids of the owner's records it belongs with."""
    order: int = 0
    """Place among what the agent stores at the same barrier: the turn of a conversation."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What else is to be kept, as JSON holds it; a raw importance scale, for example."""

    def key(self) -> tuple[Any, ...]:
        """Return what records of one barrier are sorted by: agent, turn, then content, never the order of arrival."""
        return (
            self.agent, self.order, CODES[self.kind], self.text, self.source, symbol_text(self.subject),
            self.predicate, symbol_text(self.object), repr(self.value), repr(self.importance), self.flags,
            self.evidence, self.links, self.place, -1 if self.t_event is None else self.t_event, self.valid_from,
            json.dumps(dict(self.data), sort_keys=True),
        )  # fmt: skip


class Memory(NamedTuple):
    """One record as it is at some moment; times in steps."""

    id: int
    agent: int
    kind: str
    text: str
    t_created: int
    t_event: int
    t_access: int
    n_access: int
    importance: float
    strength: float
    value: float
    source: int
    subject: Symbol
    predicate: str
    object: Symbol
    place: str
    valid_from: int
    valid_to: int
    t_closed: int
    depth: int
    flags: int
    evidence: tuple[int, ...]
    links: tuple[int, ...]

    def __str__(self) -> str:
        """Return the record as a prompt shows it: words quoted, for they may be anybody's."""
        text = " ".join(self.text.split())
        words = json.dumps(text if len(text) <= LONGEST else f"{text[:LONGEST]}…", ensure_ascii=False)
        told = f", from agent {self.source}" if self.source >= 0 else ""
        when = "before" if self.flags & Flag.FORMATIVE else f"step {self.t_event}"
        return f"[{self.id}] {when}, {self.kind}{told}: {words}"


class Recalled(NamedTuple):
    """A record that was found, and why."""

    memory: Memory
    score: float
    parts: Mapping[str, float]
    """Each component of the score, scaled to [0, 1] and weighted; they add up to the score before it is halved."""


class Recollection(Sequence[Memory]):
    """What one agent recalls for one question: the records found, and its core; iterating gives the records.

    ``insights``, ``about`` and ``facts`` read the rest of its memory by structure, not by words, until something is
    committed.
    """

    def __init__(
        self, found: Sequence[Recalled], core: Sequence[str] = (), reader: Any = None, highest: float = 1.0
    ) -> None:
        self.found = tuple(found)
        """The records with their scores, in the policy's order."""
        self.core = tuple(core)
        """Core blocks, as a prompt shows them."""
        self._reader = reader
        self.highest = highest
        """The largest score that the policy can give."""

    @overload
    def __getitem__(self, at: int) -> Memory: ...
    @overload
    def __getitem__(self, at: slice) -> list[Memory]: ...
    def __getitem__(self, at: int | slice) -> Memory | list[Memory]:
        return [f.memory for f in self.found[at]] if isinstance(at, slice) else self.found[at].memory

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Memory]:
        return (f.memory for f in self.found)

    def score(self, record: int) -> float:
        """Return the score of a record; 0 when it was not found."""
        return next((f.score for f in self.found if f.memory.id == record), 0.0)

    def insights(self, subject: Symbol = None) -> tuple[Memory, ...]:
        """Return reflections that hold and are not stale, about somebody or all; newest first."""
        return () if self._reader is None else self._reader.insights(subject)

    def about(self, subject: Symbol, predicate: str | None = None) -> tuple[Memory, ...]:
        """Return every record whose subject this is, oldest first."""
        return () if self._reader is None else self._reader.about(subject, predicate)

    def facts(self, subject: Symbol = None, predicate: str | None = None) -> tuple[Memory, ...]:
        """Return facts that hold now, oldest first."""
        return () if self._reader is None else self._reader.facts(subject, predicate)

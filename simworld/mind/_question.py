"""What a mind is asked: one decision class, many agents, what each of them observes."""

from __future__ import annotations

import dataclasses
import functools
import keyword
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.persona import Persona, trait_z
from simworld.rng import Chance, Draws
from simworld.schema import Decision

type Ids = npt.NDArray[np.int64]
type Traits = Callable[[str], npt.NDArray[np.float64]]
"""Gives a standardised trait of all agents by its letter, shape (n_agents,)."""
type Check = Callable[[int, Any, Any], tuple[str, str] | None]
"""``check(agent id, decision, observation) -> (field, reason)`` when the answer is impossible, else None."""


@functools.cache
def _row_type(names: tuple[str, ...]) -> Any:
    return namedtuple("Observation", names)


class Columns:
    """Observations as columns: ``observation.share`` is an array of shape (n,), one element an agent asked."""

    def __init__(self, columns: Mapping[str, Any], n: int) -> None:
        for name, column in columns.items():
            if name in ("rows", "take") or name.startswith("_") or not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"an observation column cannot be called {name!r}; choose another name")
            if len(column) != n:
                raise ValueError(f"observation column {name!r} has {len(column)} values for {n} agents asked")
        self._columns = {name: _read_only(column) for name, column in columns.items()}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    def rows(self) -> Iterator[Any]:
        """Yield one named tuple an agent, its fields plain Python values."""
        lists = [c.tolist() if isinstance(c, np.ndarray) else list(c) for c in self._columns.values()]
        make = functools.partial(tuple.__new__, _row_type(tuple(self._columns)))
        return map(make, zip(*lists, strict=True))

    def take(self, index: npt.NDArray[np.intp]) -> Columns:
        """Return the rows at these positions."""
        return Columns({k: np.asarray(v)[index] for k, v in self._columns.items()}, len(index))


def _read_only(column: Any) -> Any:
    if not isinstance(column, np.ndarray):
        return column
    # It may be a live column of the table.
    view = column.view()
    view.flags.writeable = False
    return view


class Personas(Sequence[Persona | None]):
    """The personas of the agents asked, and their traits as columns."""

    def __init__(self, everyone: Sequence[Persona] | None, ids: Ids, traits: Traits | None = None) -> None:
        """
        Args:
            everyone: all personas, by agent.
            ids: the agents asked.
            traits: gives a trait of everyone, computed once; without it, it is read from each persona.
        """
        self._everyone = everyone
        self._ids = ids
        self._traits = traits

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return list(self)[at]
        return None if self._everyone is None else self._everyone[self._ids[at]]

    def __iter__(self) -> Iterator[Persona | None]:
        if self._everyone is None:
            return iter([None] * len(self._ids))
        everyone = self._everyone
        return (everyone[i] for i in self._ids.tolist())

    def z(self, letter: str) -> npt.NDArray[np.float64]:
        """Return the standardised trait of every agent asked, shape (n,), in [-3, 3]; 0 where unknown."""
        if self._traits is not None and self._everyone is not None:
            found: npt.NDArray[np.float64] = self._traits(letter)[self._ids]
            return found
        return np.array([0.0 if p is None else trait_z(p, letter) for p in self], dtype=np.float64)


class ColumnDraws:
    """Draws for many agents at once: element i belongs to agent ``ids[i]`` whoever else is asked."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._calls = 0

    def random(self) -> npt.NDArray[np.float64]:
        """Return uniforms in [0, 1), shape (n,)."""
        self._calls += 1
        return self._question.uniforms(self._calls - 1)

    def bernoulli(self, p: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Return True with probability ``p`` (a number or shape (n,))."""
        return np.asarray(self.random() < np.asarray(p))

    def integers(self, low: npt.ArrayLike, high: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return integers in [low, high), shape (n,); bounds are numbers or shape (n,)."""
        low, high = np.asarray(low, np.int64), np.asarray(high, np.int64)
        if (high <= low).any():
            raise ValueError("an empty range among the bounds of integers()")
        return np.asarray(low + (self.random() * (high - low)).astype(np.int64))


@dataclass(frozen=True, slots=True)
class Question:
    """One decision asked of many agents at one moment; everybody sees the same snapshot."""

    decision: type[Decision]
    purpose: str
    """Names the draws and the tape position; the decision's class name unless the scenario says otherwise."""
    ids: Ids
    """Agents asked, in the order in which the answers are wanted; an agent may occur twice."""
    occurrences: Ids | int
    """How often each was asked this before in this step; one number when it is the same for all."""
    observe: Sequence[Any] | Columns
    """What each agent asked sees, in that order: taken before anybody decides, so that all see one snapshot."""
    chance: Chance
    step: int
    n_agents: int
    """Rows of the state table; ids are below it."""
    everyone: Sequence[Persona] | None = None
    memories: Sequence[Any] | None = None
    """What each agent asked recalls, in that order; None where nothing is remembered."""
    traits: Traits | None = None
    """Gives a trait of everyone; without it policies read it from each persona."""
    check: Check | None = None
    asks_everyone: bool = False
    """Whether ``ids`` is 0..n_agents-1 in order."""

    @property
    def stream_name(self) -> tuple[str | int, ...]:
        """Name of the draws of this question, without agent and occurrence."""
        return ("step", self.step, "decide", self.purpose)

    def observations(self) -> Iterator[Any]:
        """Yield what each agent sees, in the order asked."""
        return self.observe.rows() if isinstance(self.observe, Columns) else iter(self.observe)

    def personas(self) -> Personas:
        """Return the personas of the agents asked."""
        return Personas(self.everyone, self.ids, self.traits)

    def uniforms(self, k: int) -> npt.NDArray[np.float64]:
        """Return the k-th draw of every agent asked, shape (n,)."""
        if isinstance(self.occurrences, int):
            only = None if self.asks_everyone else self.ids
            return self.chance.uniforms(self.n_agents, *self.stream_name, self.occurrences, k, only=only)
        out = np.empty(len(self.ids))
        # Of few bits they are sorted by radix, in a tenth of the time.
        few_bits = self.occurrences.astype(np.min_scalar_type(int(self.occurrences.max(initial=0))))
        order = np.argsort(few_bits, kind="stable")
        counts = np.bincount(self.occurrences)
        ends = np.cumsum(counts)
        for occurrence in np.flatnonzero(counts).tolist():
            at = order[ends[occurrence] - counts[occurrence] : ends[occurrence]]
            out[at] = self.chance.uniforms(self.n_agents, *self.stream_name, occurrence, k, only=self.ids[at])
        return out

    def draws(self) -> Draws:
        """Return the draws of the agents asked, one agent at a time."""
        return Draws(lambda k: self.uniforms(k).tolist())

    def column_draws(self) -> ColumnDraws:
        """Return draws for all agents asked, as columns."""
        return ColumnDraws(self)

    def only(self, at: npt.NDArray[np.intp]) -> Question:
        """Return the same question to the agents at these positions."""
        return dataclasses.replace(
            self,
            ids=self.ids[at],
            occurrences=self.occurrences if isinstance(self.occurrences, int) else self.occurrences[at],
            observe=self.observe.take(at) if isinstance(self.observe, Columns) else [self.observe[i] for i in at],
            memories=None if self.memories is None else [self.memories[i] for i in at],
            asks_everyone=False,
        )

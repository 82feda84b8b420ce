"""The games and the named strategies, and how they are read from parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from simworld.errors import did_you_mean

from .theory import Floats, Game, generosity, zero_determinant

Name = Literal[
    "ALLC", "ALLD", "RANDOM", "TFT", "STFT", "GTFT", "WSLS", "GRIM", "JOSS", "EXTORT", "GENEROUS", "PERSONA",
    "MEMORY_ONE",
]  # fmt: skip
NAMES: tuple[str, ...] = get_args(Name)
PERSONA = NAMES.index("PERSONA")
UNNAMED = "MEMORY_ONE"
"""Name of every strategy given as five chances."""

GAMES = {
    "prisoners_dilemma": Game(3, 0, 5, 1),
    "stag_hunt": Game(4, 0, 3, 2),
    "chicken": Game(3, 1, 4, 0),
}
"""Payoffs (R, S, T, P): the prisoner's dilemma of Axelrod's tournaments [code], the others our choice [design]."""

CONDITIONS = {
    "prisoners_dilemma": "T > R > P > S and 2R > T + S",
    "stag_hunt": "R > T ≥ P > S",
    "chicken": "T > R > S > P",
}

FIXED: dict[str, tuple[float, float, float, float, float]] = {
    "ALLC": (1, 1, 1, 1, 1),
    "ALLD": (0, 0, 0, 0, 0),
    "RANDOM": (0.5, 0.5, 0.5, 0.5, 0.5),
    "TFT": (1, 1, 0, 1, 0),
    "STFT": (0, 1, 0, 1, 0),
    "WSLS": (1, 1, 0, 0, 1),
    "GRIM": (1, 1, 0, 0, 0),
    "JOSS": (1, 0.9, 0, 0.9, 0),
    "PERSONA": (0.7, 0.9, 0.3, 0.6, 0.3),
}
"""Chance of C in the first round and after CC, CD, DC, DD, own move first. Tit for tat, its suspicious form, grim
trigger, Joss: Axelrod 1984; win-stay lose-shift: Nowak, Sigmund 1993, doi:10.1038/364056a0. PERSONA: at average
traits, placeholders [design]."""


class Share(NamedTuple):
    """One part of the society at the start."""

    name: str
    weight: float
    plan: tuple[float, ...]
    """Chance of C in the first round and after CC, CD, DC, DD."""

    @property
    def label(self) -> str:
        """What reports call it: its name, or its five chances if it has none."""
        return self.name if self.name != UNNAMED else "/".join(f"{x:.12g}" for x in self.plan)


def holds(game: Game, what: str) -> bool:
    """Return whether payoffs meet the conditions of a named game."""
    r, s, t, p = game
    return {
        "prisoners_dilemma": t > r > p > s and 2 * r > t + s,
        "stag_hunt": r > t >= p > s,
        "chicken": t > r > s > p,
    }[what]


def read_game(name: str, payoffs: str) -> Game:
    """Return the payoffs of a named game, or those given as ``R,S;T,P``.

    Raises:
        ValueError: they are not two rows of two finite numbers, or a table is asked for and none given.
    """
    if not payoffs.strip():
        if name == "table":
            raise ValueError("game = 'table' needs payoffs 'R,S;T,P', for example '3,0;5,1'")
        return GAMES[name]
    try:
        (r, s), (t, p) = ([float(x) for x in row.split(",")] for row in payoffs.split(";"))
    except ValueError:
        raise ValueError(f"payoffs = {payoffs!r}: write two rows of two numbers, 'R,S;T,P'") from None
    if not np.isfinite((r, s, t, p)).all():
        raise ValueError(f"payoffs = {payoffs!r}: every payoff is a finite number")
    return Game(r, s, t, p)


def plan_of(word: str, game: Game, chi: float) -> tuple[str, tuple[float, ...]]:
    """Return name and five chances of a strategy given by name, or as ``first/CC/CD/DC/DD``.

    Raises:
        ValueError: nobody knows it, a chance lies outside [0, 1], or the game does not allow it.
    """
    word = word.strip()
    if "/" in word:
        try:
            plan = tuple(float(x) for x in word.split("/"))
        except ValueError:
            plan = ()
        if len(plan) != 5 or not all(0 <= x <= 1 for x in plan):
            raise ValueError(f"strategy {word!r}: write five chances of C, first/CC/CD/DC/DD, each in [0, 1]")
        return UNNAMED, plan
    name = word.upper()
    if name in FIXED:
        return name, tuple(map(float, FIXED[name]))
    if name == "GTFT":
        forgives = generosity(game)
        return name, (1.0, 1.0, forgives, 1.0, forgives)
    if name in ("EXTORT", "GENEROUS"):
        baseline = game.punishment if name == "EXTORT" else game.reward
        return name, (1.0, *zero_determinant(game, baseline, chi).tolist())
    known = [n for n in NAMES if n != UNNAMED]
    hint = did_you_mean(name, known) or f"; there are {', '.join(known)}, or five chances first/CC/CD/DC/DD"
    raise ValueError(f"no strategy {word!r}{hint}")


def read_mix(text: str, game: Game, chi: float) -> tuple[Share, ...]:
    """Return the parts of ``TFT:0.5, ALLD:0.5``; a weight left out is 1, and those of equal ones are added up.

    Raises:
        ValueError: an unknown strategy, a weight that is no positive number, or nothing at all.
    """
    parts: dict[tuple[str, tuple[float, ...]], float] = {}
    for piece in filter(str.strip, text.split(",")):
        word, _, weight = piece.partition(":")
        try:
            number = float(weight or 1)
        except ValueError:
            number = 0.0
        if not (number > 0 and np.isfinite(number)):
            raise ValueError(f"strategies: the weight of {word.strip()!r} is a positive number, got {weight.strip()!r}")
        part = plan_of(word, game, chi)
        parts[part] = parts.get(part, 0.0) + number
    if not parts:
        raise ValueError("strategies = '': name at least one, for example 'TFT:0.5, ALLD:0.5'")
    return tuple(Share(name, weight, plan) for (name, plan), weight in parts.items())


def apportioned(weights: Sequence[float], n: int) -> np.ndarray:
    """Return how many of n each weight gets, by largest remainder (Hamilton's method); of equal ones the first."""
    exact = n * np.asarray(weights, float) / float(np.sum(weights))
    counts = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    return counts


def plans(mix: Sequence[Share]) -> Floats:
    """Return the five chances of every part, shape (parts, 5)."""
    return np.array([share.plan for share in mix], float)

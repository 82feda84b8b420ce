"""The games: payoffs, the behaviour theory gives for them, and the trustees that follow a formula."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

AMOUNT_GAMES = ("trust", "dictator", "repeated_trust")
"""Games in which money is sent."""
BATTERY = ("trust", "dictator", "map_trust", "risky_dictator", "lottery_people", "lottery_gamble", "repeated_trust")
"""Every game of the battery, in the order in which it is played. [reported]"""
SWEEP = tuple(k / 10 for k in range(1, 11))
"""Chances p at which a swept game is asked. [reported]"""
ARCHETYPES = (1, 3, 5)
"""Most dollars that the trustees M1, M3 and M5 return. [reported]"""
NONE = -1.0
"""Stands for an amount, a payoff or a chance that there is not; a cell of the tables holds no empty value."""


class Gamble(NamedTuple):
    """A binary game: payoffs in dollars, the chooser's own first, then the other person's (None: nobody else)."""

    safe: tuple[float, float | None]
    """Not trusting."""
    honoured: tuple[float, float | None]
    """Trusting, with probability p."""
    betrayed: tuple[float, float | None]
    """Trusting, with probability 1 − p."""
    is_trust: bool
    """Whether a person's choice, not a draw, decides."""
    chances: tuple[float, ...]
    """Values of p asked."""


GAMBLES: dict[str, Gamble] = {
    "map_trust": Gamble((10, 10), (15, 15), (8, 22), True, SWEEP),
    "risky_dictator": Gamble((10, 10), (15, 15), (8, 22), False, SWEEP),
    "lottery_people": Gamble((5, 0), (10, 10), (0, 20), True, (0.46,)),
    "lottery_gamble": Gamble((5, None), (10, None), (0, None), False, (0.46,)),
}
"""Payoffs and chances of Xie et al. 2024 (arXiv 2402.04559). [reported]"""


def utility(own: float, other: float | None, alpha: float = 0.0, beta: float = 0.0) -> float:
    """Return own payoff less what inequity costs, dollars (Fehr and Schmidt 1999, doi:10.1162/003355399556151).

    Args:
        own: own payoff.
        other: the other person's; None where there is nobody else.
        alpha: weight of being behind, at least 0.
        beta: weight of being ahead, in [0, 1).
    """
    if other is None:
        return own
    return own - alpha * max(other - own, 0.0) - beta * max(own - other, 0.0)


def gain(game: Gamble, p: float, alpha: float = 0.0, beta: float = 0.0, betrayal: float = 0.0) -> float:
    """Return the expected utility of trusting less that of not trusting, dollars.

    Args:
        game: the payoffs.
        p: probability that trust is honoured.
        alpha, beta: as in `utility`.
        betrayal: dollars that a betrayal by a person costs beside its payoff; nothing where a draw decides.
    """
    cost = betrayal if game.is_trust else 0.0
    honoured, betrayed = utility(*game.honoured, alpha, beta), utility(*game.betrayed, alpha, beta) - cost
    return p * honoured + (1.0 - p) * betrayed - utility(*game.safe, alpha, beta)


def best_amount(
    endowment: float, multiplier: float, share: float, alpha: float = 0.0, beta: float = 0.0, step: float = 1.0
) -> float:
    """Return the least amount that maximises a Fehr–Schmidt trustor's utility when a fixed share comes back.

    Args:
        endowment: the trustor's dollars; the trustee has none of its own.
        multiplier: of what is sent.
        share: of the multiplied amount that is returned, in [0, 1].
        alpha, beta: as in `utility`.
        step: amounts are whole multiples of it.
    """
    amounts = np.arange(0.0, endowment + step / 2, step)
    back = share * multiplier * amounts
    own, other = endowment - amounts + back, multiplier * amounts - back
    worth = own - alpha * np.maximum(other - own, 0.0) - beta * np.maximum(own - other, 0.0)
    return float(amounts[np.flatnonzero(worth >= worth.max() - 1e-9)[0]])


def archetype_returns(dollars: float, received: float) -> float:
    """Return what M_i gives back of the multiplied amount it received: min(i dollars, all of it)."""
    return min(float(dollars), float(received))

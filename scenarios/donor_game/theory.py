"""What theory says of the donor game: constant giving in closed form, and games played again with other shares."""

from __future__ import annotations

import math

import numpy as np


def constant_giving(share: float, multiplier: float, rounds: int, endowment: float) -> float:
    """Return the mean final holding, in units, when every donor always gives the same share of what it holds. [exact]

    Donors alternate strictly. Mean holdings of the next donors and of the next recipients, v, obey v ← M·v with
    M = [[m·f, 1], [1 − f, 0]] and v = (E, E) at the start; the mean of all is half their sum. As holdings are linear in
    every share, it is also the expectation when shares are drawn independently with mean ``share``: uniform giving has
    that of f = ½.
    """
    matrix = np.array([[multiplier * share, 1.0], [1.0 - share, 0.0]])
    return float(np.linalg.matrix_power(matrix, rounds).sum() * endowment / 2.0)


def growth(share: float, multiplier: float) -> float:
    """Return the growth a round of that process in the long run: ½·(m·f + √(m²f² + 4(1 − f))). [exact]"""
    first = multiplier * share
    return 0.5 * (first + math.sqrt(first**2 + 4.0 * (1.0 - share)))


def full_cooperation(multiplier: float, rounds: int, endowment: float) -> float:
    """Return the mean final holding, in units, when everybody gives everything: (1 + m)·E·m^(R − 1) / 2. [exact]"""
    return (1.0 + multiplier) * endowment * multiplier ** (rounds - 1) / 2.0


def replay(
    pairs: np.ndarray, shares: np.ndarray, punishes: np.ndarray, endowment: float, multiplier: float
) -> np.ndarray:
    """Return final holdings of a game played with these shares, shape (n, p): p games side by side.

    Args:
        pairs: donor and recipient as places 0 to n − 1, shape (rounds, pairs, 2).
        shares: of the donor's holding, given or spent, shape (rounds, pairs, p).
        punishes: whether it is spent to punish, same shape.
        endowment: holding at the start, units.
        multiplier: m.
    """
    held = np.full((int(pairs.max()) + 1, shares.shape[2]), float(endowment))
    for pair, share, punish in zip(pairs, shares, punishes, strict=True):
        donor, recipient = pair.T
        spent = share * held[donor]
        gain = np.where(punish, -np.minimum(2.0 * spent, held[recipient]), multiplier * spent)
        held[donor] -= spent
        held[recipient] += gain
    return held

"""What theory says of two-player games: memory-one play, extortion, tit for tat's thresholds, fixation.

States are CC, CD, DC, DD from one player's view, its own move first. A memory-one strategy is (p_CC, p_CD, p_DC, p_DD),
the chance of C after each state; with the chance of C in the first round before them, five numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]

SWAPPED = [0, 2, 1, 3]
"""The same states from the partner's view."""
SQUARINGS = 60
"""Powers of the lazy chain up to 2^60: enough for any gap above 1e-15."""


class Game(NamedTuple):
    """A symmetric game of two moves: own payoff for both moves, in points."""

    reward: float
    """R: both C."""
    sucker: float
    """S: own C against D."""
    temptation: float
    """T: own D against C."""
    punishment: float
    """P: both D."""

    @property
    def own(self) -> Floats:
        """Own payoff over CC, CD, DC, DD, shape (4,)."""
        return np.array(self, float)

    @property
    def theirs(self) -> Floats:
        """The partner's payoff over the same states, shape (4,)."""
        return self.own[SWAPPED]

    @property
    def by_moves(self) -> Floats:
        """Own payoff at ``2 * own move + partner's move``, C being 1 and D 0, shape (4,)."""
        return self.own[::-1].copy()

    @property
    def pair_range(self) -> tuple[float, float]:
        """The least and the largest sum of both payoffs in one round."""
        pairs = self.own + self.theirs
        return float(pairs.min()), float(pairs.max())


# Memory-one play ------------------------------------------------------------------------------------------------------


def with_errors(p: npt.ArrayLike, noise: float) -> Floats:
    """Return the chances of C when a move comes out as the other one with probability ``noise``."""
    return np.asarray(p, float) * (1 - 2 * noise) + noise


def outcomes(x: float, y: float) -> Floats:
    """Return the chances of CC, CD, DC, DD when the two play C with chances x and y."""
    return np.array([x * y, x * (1 - y), (1 - x) * y, (1 - x) * (1 - y)])


def chain(
    p: Sequence[float], q: Sequence[float], noise: float = 0.0, continuation: float = 1.0
) -> tuple[Floats, Floats]:
    """Return the first state's distribution (4,) and the transition matrix (4, 4) of two memory-one players.

    Press, Dyson 2012, doi:10.1073/pnas.1206569109. After each round the match ends with probability 1 − continuation
    and a new one begins.

    Args:
        p: own five numbers, the first round's chance first.
        q: the partner's, from its own view.
        noise: chance that a move comes out as the other one.
        continuation: w, the chance that a match goes on.
    """
    a, b = with_errors(p, noise), with_errors(q, noise)
    first = outcomes(a[0], b[0])
    stays = np.array([outcomes(x, y) for x, y in zip(a[1:], b[1:][SWAPPED], strict=True)])
    return first, continuation * stays + (1 - continuation) * first


def average(
    p: Sequence[float], q: Sequence[float], rounds: int, noise: float = 0.0, continuation: float = 1.0
) -> Floats:
    """Return the expected share of each state over the first ``rounds`` rounds, shape (4,)."""
    state, stays = chain(p, q, noise, continuation)
    total = np.zeros(4)
    for _ in range(rounds):
        total += state
        state = state @ stays
    return total / rounds


def stationary(p: Sequence[float], q: Sequence[float], noise: float = 0.0, continuation: float = 1.0) -> Floats:
    """Return the share of each state over an endless play from the first round on, shape (4,).

    Where the chain has several closed classes the first round decides. The lazy chain (M + I)/2 has the same long-run
    shares and no period, so its powers converge.
    """
    first, stays = chain(p, q, noise, continuation)
    power = (stays + np.eye(4)) / 2
    for _ in range(SQUARINGS):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    return first @ power


def discounted(p: Sequence[float], q: Sequence[float], continuation: float, noise: float = 0.0) -> Floats:
    """Return the expected number of rounds in each state over one match that goes on with probability w < 1, (4,)."""
    first, stays = chain(p, q, noise)
    return np.linalg.solve((np.eye(4) - continuation * stays).T, first)


def zero_determinant(game: Game, baseline: float, chi: float, phi: float | None = None) -> Floats:
    """Return (p_CC, p_CD, p_DC, p_DD) that enforces ``own − baseline = chi · (theirs − baseline)`` on long-run payoffs.

    Extortion with the baseline P (Press, Dyson 2012, doi:10.1073/pnas.1206569109), generosity with the baseline R
    (Stewart, Plotkin 2013, doi:10.1073/pnas.1306246110). ``phi`` is in units of 1/(P − S); left out, half the largest
    possible one.

    Raises:
        ValueError: no such strategy exists in this game.
    """
    line = (game.own - baseline) - chi * (game.theirs - baseline)
    largest = 1 / np.abs(line).max() if line.any() else 0.0
    scale = largest / 2 if phi is None else phi / (game.punishment - game.sucker)
    p = np.array([1.0, 1.0, 0.0, 0.0]) + scale * line
    if not line.any() or p.min() < -1e-12 or p.max() > 1 + 1e-12:
        raise ValueError(f"no strategy enforces a line of slope {chi:g} through {baseline:g} in the game {tuple(game)}")
    return np.clip(p, 0.0, 1.0)


def generosity(game: Game) -> float:
    """Return how often generous tit for tat forgives: min(1 − (T−R)/(R−S), (R−P)/(T−P)), in [0, 1].

    Nowak, Sigmund 1992, doi:10.1038/355250a0; made for the prisoner's dilemma, cut to [0, 1] elsewhere.
    """
    r, s, t, p = game
    if r == s or t == p:
        return 0.0
    return min(max(min(1 - (t - r) / (r - s), (r - p) / (t - p)), 0.0), 1.0)


def tft_thresholds(game: Game) -> tuple[float, float]:
    """Return the least w at which tit for tat resists ALLD, and alternation of D and C: (T−R)/(T−P), (T−R)/(R−S).

    Axelrod, Hamilton 1981, doi:10.1126/science.7466396.
    """
    r, s, t, p = game
    return (t - r) / (t - p), (t - r) / (r - s)


# Fixation -------------------------------------------------------------------------------------------------------------


def transitions(update: str, mutant: npt.ArrayLike, resident: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the chances that one event adds a mutant to, and takes one from, j = 1 … N−1 of a well-mixed population.

    Args:
        update: ``moran`` (anybody dies), ``birth_death`` (anybody but the parent dies), ``death_birth`` (the others
            compete for the place of the dead).
        mutant: fitness f_j of a mutant among j mutants, shape (N−1,).
        resident: fitness g_j of a resident then.
    """
    f, g = np.asarray(mutant, float), np.asarray(resident, float)
    n = len(f) + 1
    j = np.arange(1, n)
    if update == "death_birth":
        return (n - j) / n * _share(j, f, n - j - 1, g), j / n * _share(n - j, g, j - 1, f)
    births, others = _share(j, f, n - j, g), n if update == "moran" else n - 1
    return births * (n - j) / others, (1 - births) * j / others


def _share(a: npt.ArrayLike, f: Floats, b: npt.ArrayLike, g: Floats) -> Floats:
    """Return the share of a with fitness f beside b with fitness g; by numbers where nobody has any fitness."""
    total = a * f + b * g
    share: Floats = np.divide(a * f, total, out=np.asarray(a / (np.asarray(a) + b), float), where=total > 0)
    return share


def absorption(up: Floats, down: Floats, at: int = 1) -> tuple[float, float]:
    """Return the chance that ``at`` mutants take over, and the mean number of events until one side has.

    A birth–death chain on 0 … N (Karlin, Taylor 1975): (u + d)·x_j = u·x_{j+1} + d·x_{j−1}, x_0 = 0, x_N = 1, and
    (u + d)·t_j = 1 + u·t_{j+1} + d·t_{j−1}, t_0 = t_N = 0.
    """
    from scipy.linalg import solve_banded

    m = len(up)
    bands = np.zeros((3, m))
    bands[0, 1:], bands[1], bands[2, :-1] = -up[:-1], up + down, -down[1:]
    right = np.stack([np.r_[np.zeros(m - 1), up[-1]], np.ones(m)], axis=1)
    chance, events = solve_banded((1, 1), bands, right)[at - 1]
    return float(chance), float(events)


def moran_fixation(r: float, n: int) -> float:
    """Return (1 − 1/r)/(1 − r^−N), 1/N for r = 1: one mutant of constant fitness r (Moran 1958)."""
    return 1 / n if r == 1 else (1 - 1 / r) / (1 - r**-n)


def mixed_payoffs(game: Game, n: int) -> tuple[Floats, Floats]:
    """Return the mean payoff a match of a cooperator and of a defector among j cooperators of n, j = 1 … n−1."""
    r, s, t, p = game
    j = np.arange(1, n)
    return (r * (j - 1) + s * (n - j)) / (n - 1), (t * j + p * (n - j - 1)) / (n - 1)

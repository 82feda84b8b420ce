"""What random play gives, exactly and by simulation, and what votes tell at best: the posterior over traitor sets."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.rng import stream

from .beliefs import Bools, Floats, evidence, logit, others, sigmoid, softmax_chances, traitor_chances
from .measures import agreement, correct

SIMULATED = 4000
"""Games of random play behind a null; arbitrary, enough for a mean to a hundredth."""


@functools.cache
def win_chance(faithful: int, traitors: int) -> Fraction:
    """Return the exact probability that the traitors win when a uniformly random living player is banished each day.

    W(f, t) = 0 if t = 0; 1 if t ≥ f; else f/(f+t) · W(f−2, t) + t/(f+t) · W(f−1, t−1), the win checked after the
    night [exact] (random play: Braverman, Etesami, Mossel 2008, doi:10.1214/07-AAP456). Looking after each removal
    gives the same winners: where t ≥ f holds after a banishment, the night only adds to it.
    """
    f, t = faithful, traitors
    if t == 0:
        return Fraction(0)
    if t >= f:
        return Fraction(1)
    hit_traitor = Fraction(0) if t == 1 else win_chance(f - 1, t - 1)
    return Fraction(f, f + t) * win_chance(f - 2, t) + Fraction(t, f + t) * hit_traitor


def simulate(
    n: int, n_traitors: int, games: int, rng: np.random.Generator, *, bloc: bool = False,
    win_check: str = "after_night",
) -> dict[str, Floats]:  # fmt: skip
    """Play games of uniform votes with random ties, and return what each game gave, shape (games,).

    Args:
        n: players, of whom the first ``n_traitors`` are traitors.
        n_traitors: traitors.
        games: how many.
        rng: the stream of draws.
        bloc: whether traitors never vote for traitors.
        win_check: as in the scenario.

    Returns:
        ``won`` (1 for the traitors), ``tsr``, ``fsr``, ``rounds``, and ``fcr``, ``fas``, ``tas`` averaged over rounds.
    """
    guilty = np.arange(n) < n_traitors
    alive = np.ones((games, n), bool)
    going = np.ones(games, bool)
    rounds, won = np.zeros(games), np.zeros(games)
    sums = {name: np.zeros(games) for name in ("fcr", "fas", "tas")}

    def check() -> None:
        t, f = (alive & guilty).sum(axis=1), (alive & ~guilty).sum(axis=1)
        ends = going & ((t >= f) | (t == 0))
        won[ends & (t > 0)] = 1.0
        going[ends] = False

    for _ in range(n):
        if not going.any():
            break
        g = np.flatnonzero(going)
        there = alive[g]
        can = there[:, None, :] & there[:, :, None] & ~np.eye(n, dtype=bool)
        if bloc:
            can &= ~(guilty[:, None] & guilty[None, :])
        votes = np.where(there, np.argmax(np.where(can, rng.random(can.shape), -1.0), axis=2), -1)
        counts = (votes[:, :, None] == np.arange(n)).sum(axis=1)
        for name, found in (
            ("fcr", correct(votes, there & ~guilty, guilty)), ("fas", agreement(votes, there & ~guilty)),
            ("tas", agreement(votes, there & guilty)),
        ):  # fmt: skip
            sums[name][g] += found
        rounds[g] += 1
        alive[g, np.argmax(counts + rng.random(counts.shape) / 2, axis=1)] = False
        if win_check == "after_each_removal":
            check()
        sleeping = going & (alive & guilty).any(axis=1)
        s = np.flatnonzero(sleeping)
        prey = alive[s] & ~guilty
        alive[s, np.argmax(np.where(prey, rng.random(prey.shape), -1.0), axis=1)] &= ~prey.any(axis=1)
        check()
    means = {name: total / rounds for name, total in sums.items()}
    return {
        "won": won, "tsr": (alive & guilty).sum(axis=1) / n_traitors,
        "fsr": (alive & ~guilty).sum(axis=1) / (n - n_traitors), "rounds": rounds, **means,
    }  # fmt: skip


@functools.cache
def random_play(n: int, n_traitors: int, win_check: str, bloc: bool) -> Mapping[str, Floats]:
    """Return what `SIMULATED` games of `simulate` gave; the same games in every run, whatever its seed."""
    draws = stream(0, "traitors", "random play", "bloc" if bloc else "uniform")
    found = simulate(n, n_traitors, SIMULATED, draws, bloc=bloc, win_check=win_check)
    for values in found.values():
        values.setflags(write=False)
    return MappingProxyType(found)


@dataclass(frozen=True)
class Day:
    """What is public of one round of one game; arrays by seat."""

    living: Bools
    """Who is alive at the start, shape (n,)."""
    accused: npt.NDArray[np.int64]
    """How often k accused j before the vote, shape (n, n)."""
    later: npt.NDArray[np.int64]
    """The same after the banishment."""
    ballots: npt.NDArray[np.int64]
    """Seat voted for, −1 for none, shape (n,)."""
    banished: int
    """Seat, −1 for nobody."""
    guilty: bool
    """Whether that was a traitor."""
    murdered: int
    """Seat, −1 for nobody."""


def posterior(
    days: Sequence[Day], n: int, n_traitors: int, coefficients: Mapping[str, float], own: int | None = None
) -> tuple[list[Floats], Floats]:
    """Return what the votes and the revealed roles say of each player, if all follow the rule policy without noise.

    Bayes over all C(n, n_traitors) sets of traitors, uniform at first. Evidence is: the day votes, with the rule
    policy's chances as likelihood; roles of banished players; that murdered ones were faithful; that the game went on.
    Accusations enter as what the votes depend on, not as evidence of their own. Exact where ``noise_sd`` is 0 and
    accusations do not depend on roles; else a plug-in that replaces each private belief by its noiseless value.

    Args:
        days: rounds, in order.
        n: players.
        n_traitors: traitors at the start.
        coefficients: those of the rule policy.
        own: seat of a faithful player who knows its own role; None: an onlooker.

    Returns:
        For every round, the probability of being a traitor by seat just before its vote; and the same after the last.
    """
    sets = np.zeros((len(list(itertools.combinations(range(n), n_traitors))), n), bool)
    for row, members in enumerate(itertools.combinations(range(n), n_traitors)):
        sets[row, list(members)] = True
    weight = np.zeros(len(sets))
    if own is not None:
        weight[sets[:, own]] = -np.inf
    seats = np.arange(n)
    belief = np.where(np.eye(n, dtype=bool), 0.0, n_traitors / (n - 1))
    accusations = np.zeros(n)
    nobody, unsaid = np.full(n, -1), np.zeros(n, bool)
    before: list[Floats] = []
    for day in days:
        before.append(_marginals(sets, weight))
        there = np.broadcast_to(day.living, (n, n))
        belief = _moved(belief, day.accused, np.full((n, n), -1), nobody, unsaid, seats, coefficients)
        heat = day.accused.sum(axis=0)
        accusations = accusations + heat
        by_faithful = softmax_chances(belief, others(there, seats), coefficients["temperature"])
        votes = np.flatnonzero(day.ballots >= 0)
        honest = np.log(np.maximum(by_faithful[votes, day.ballots[votes]], 1e-300))
        at, voter = np.nonzero(sets[:, votes] & day.living[votes])
        own_seat = votes[voter]
        mates = sets[at].copy()
        mates[np.arange(len(at)), own_seat] = False
        m = len(at)
        options = others(np.broadcast_to(day.living, (m, n)), own_seat)
        shown, ever = np.broadcast_to(heat, (m, n)), np.broadcast_to(accusations, (m, n))
        by_traitor = traitor_chances(shown, ever, options, mates, coefficients["betray"])
        with np.errstate(divide="ignore"):
            false = np.log(by_traitor[np.arange(m), day.ballots[own_seat]])
        weight = weight + np.where(sets[:, votes], 0.0, honest).sum(axis=1)
        np.add.at(weight, at, false)
        living = day.living.copy()
        if day.banished >= 0:
            weight[sets[:, day.banished] != day.guilty] = -np.inf
            living[day.banished] = False
        ballots = np.broadcast_to(day.ballots, (n, n))
        belief = _moved(
            belief, day.later, ballots, np.full(n, day.banished), np.full(n, day.guilty), seats, coefficients
        )
        accusations = accusations + day.later.sum(axis=0)
        if day.murdered >= 0:
            weight[sets[:, day.murdered]] = -np.inf
            living[day.murdered] = False
        if day is not days[-1]:
            t = (sets & living).sum(axis=1)
            weight[(t == 0) | (2 * t >= living.sum())] = -np.inf
    return before, _marginals(sets, weight)


def _moved(
    belief: Floats, accused: Any, ballots: Any, banished: Any, guilty: Any, seats: Any, coefficients: Any
) -> Floats:
    n = len(belief)
    more = evidence(belief, np.broadcast_to(accused, (n, n, n)), ballots, banished, guilty, seats, coefficients)
    new = sigmoid(logit(belief) + more)
    new[np.eye(n, dtype=bool)] = 0.0
    for seat, is_guilty in zip(banished.tolist(), guilty.tolist(), strict=True):
        if seat >= 0:
            new[:, seat] = float(is_guilty)
    return new


def _marginals(sets: Bools, weight: Floats) -> Floats:
    if not np.isfinite(weight).any():
        return np.full(sets.shape[1], np.nan)  # not played by the rule policy
    p = np.exp(weight - weight.max())
    return np.asarray((p / p.sum()) @ sets)

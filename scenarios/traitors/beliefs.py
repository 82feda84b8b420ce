"""How the rule policy believes and votes, as functions of arrays: its policies and the exact posterior share them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Bools = npt.NDArray[np.bool_]

NEVER_SURE = 1e-6
"""Probabilities nearer to 0 or 1 count as this far from it, so that log-odds stay finite; arbitrary."""


def logit(p: npt.ArrayLike) -> Floats:
    """Return log-odds of probabilities, any shape."""
    x = np.clip(np.asarray(p, np.float64), NEVER_SURE, 1.0 - NEVER_SURE)
    return np.asarray(np.log(x) - np.log1p(-x))


def sigmoid(x: npt.ArrayLike) -> Floats:
    """Return probabilities of log-odds, any shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, np.float64))))


def evidence(
    suspicion: npt.ArrayLike, accused: npt.ArrayLike, ballots: npt.ArrayLike, banished: npt.ArrayLike,
    guilty: npt.ArrayLike, own: npt.ArrayLike, c: Any,
) -> Floats:  # fmt: skip
    """Return what public events add to the log-odds of suspicion, shape (n, players).

    Args:
        suspicion: of each of n holders toward each player, shape (n, players).
        accused: how often player k accused player j since the last update, shape (n, players k, players j).
        ballots: seat each player voted for in this round, −1 for nobody or not yet, shape (n, players).
        banished: seat of who was banished since the last update, −1 for nobody, shape (n,).
        guilty: whether that was a traitor, shape (n,).
        own: seat of the holder, whose own accusations teach it nothing, shape (n,).
        c: coefficients ``accusation`` (w_a) and ``vote`` (w_v).
    """
    s, who = np.asarray(suspicion, np.float64), np.asarray(banished)
    trust = 1.0 - s
    trust[np.arange(len(s)), np.asarray(own)] = 0.0
    heard = np.einsum("nk,nkj->nj", trust, np.asarray(accused, np.float64))
    voted = (np.asarray(ballots) == who[:, None]) & (who >= 0)[:, None]
    return c["accusation"] * heard + c["vote"] * np.where(np.asarray(guilty)[:, None], -1.0, 1.0) * voted


def others(living: npt.ArrayLike, own: npt.ArrayLike) -> Bools:
    """Return living players other than oneself, shape (n, players)."""
    there = np.array(living, bool)
    there[np.arange(len(there)), np.asarray(own)] = False
    return there


def softmax_chances(suspicion: npt.ArrayLike, options: Bools, temperature: float) -> Floats:
    """Return the chances of a faithful player's vote, softmax(L/τ) over ``options``, shape (n, players)."""
    x = np.where(options, logit(suspicion) / temperature, -np.inf)
    weights = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def top(score: npt.ArrayLike, options: Bools) -> Bools:
    """Return who has the highest score among the options, all of them where several do, shape (n, players)."""
    x = np.where(options, score, -np.inf)
    return np.asarray(options & (x >= x.max(axis=1, keepdims=True) - 1e-9))


def even(options: Bools) -> Floats:
    """Return equal chances over the options, shape (n, players); 0 where there are none."""
    return np.asarray(options / np.maximum(options.sum(axis=1, keepdims=True), 1))


def traitor_chances(
    heat: npt.ArrayLike, accusations: npt.ArrayLike, options: Bools, partners: npt.ArrayLike, p_betray: float
) -> Floats:
    """Return the chances of a traitor's day vote, shape (n, players).

    The plurality that can be seen before a simultaneous vote is that of this round's accusations. It is followed where
    it points at a faithful player; where it points at partners alone, one of them gets the vote with probability
    ``p_betray``; else the vote goes to the faithful player who was accused most in the game. Ties are even.

    Args:
        heat: accusations of each player in this round, shape (n, players).
        accusations: those in the whole game.
        options: living players other than the voter.
        partners: the other traitors.
        p_betray: chance of voting for a partner who is about to fall.
    """
    x, mates = np.asarray(heat), np.asarray(partners, bool)
    faithful = options & ~mates
    # The voter itself may lead too; then it is no leader to follow.
    lead = top(x, options) & (x > 0)
    follow = even(np.where((lead & faithful).any(axis=1, keepdims=True), lead & faithful, top(accusations, faithful)))
    falls = lead.any(axis=1, keepdims=True) & ~(lead & faithful).any(axis=1, keepdims=True)
    p = np.where(falls, p_betray, 0.0)
    return np.asarray(p * even(lead & mates) + (1.0 - p) * follow)


def chosen(chances: Floats, u: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return one seat a row, drawn by a uniform number each, shape (n,)."""
    bounds = np.cumsum(chances, axis=1)
    at = (np.asarray(u)[:, None] * bounds[:, -1:] >= bounds).sum(axis=1)
    # The last seat with a chance, should rounding pass all of them.
    last = chances.shape[1] - 1 - np.argmax(chances[:, ::-1] > 0.0, axis=1)
    return np.asarray(np.minimum(at, last), np.int64)

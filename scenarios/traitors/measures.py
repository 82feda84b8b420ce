"""The game's measures by definition, of many games at once: votes are seats, shape (games, players), −1 for none."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Votes = npt.NDArray[np.integer[Any]]
type Bools = npt.NDArray[np.bool_]

NAN = float("nan")


def ratio(count: npt.ArrayLike, size: npt.ArrayLike) -> Floats:
    """Return count / size, NaN where size is 0."""
    a, b = np.asarray(count, np.float64), np.asarray(size, np.float64)
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.full(a.shape, NAN), where=b > 0)


def tally(votes: Votes, voters: Bools) -> npt.NDArray[np.int64]:
    """Return the votes for each player by these voters, shape (games, players)."""
    cast = (votes[:, :, None] == np.arange(votes.shape[1])) & voters[:, :, None]
    return np.asarray(cast.sum(axis=1))


def agreement(votes: Votes, members: Bools) -> Floats:
    """Return TAS or FAS of a round: max_x #{i in members : V_i = x} / #members, shape (games,)."""
    return ratio(tally(votes, members).max(axis=1), members.sum(axis=1))


def correct(votes: Votes, members: Bools, guilty: Bools) -> Floats:
    """Return FCR of a round: #{i in members : V_i is guilty} / #members, shape (games,)."""
    guilty = np.broadcast_to(guilty, votes.shape)
    hit = np.take_along_axis(guilty, np.maximum(votes, 0), axis=1) & (votes >= 0)
    return ratio((hit & members).sum(axis=1), members.sum(axis=1))


def switched(before: Votes, after: Votes, both: Bools) -> Floats:
    """Return VSF of a round: share of players alive in both rounds whose day vote changed; TNS is 1 − that."""
    return ratio(((before != after) & both).sum(axis=1), both.sum(axis=1))


def weight_on_traitors(suspicion: Floats, living: Bools, guilty: Bools) -> Floats:
    """Return P̄ of a round: mean over living faithful i of Σ_{j in T} S_ij / Σ_{j ≠ i} S_ij over living j, 0 for 0/0.

    Args:
        suspicion: shape (games, players, players), the diagonal 0.
        living: shape (games, players).
        guilty: shape (games, players).
    """
    s = suspicion * living[:, None, :]
    total, on = s.sum(axis=2), (s * guilty[:, None, :]).sum(axis=2)
    share = np.divide(on, total, out=np.zeros_like(on), where=total > 0)
    holders = living & ~guilty
    return ratio((share * holders).sum(axis=1), holders.sum(axis=1))


def pairs(living: Bools) -> Bools:
    """Return pairs of different living players, shape (games, players, players)."""
    n = living.shape[1]
    return np.asarray(living[:, :, None] & living[:, None, :] & ~np.eye(n, dtype=bool))


def belief_before_consensus(votes: Any, voters: Bools, guilty: Bools, plurality: Any) -> float:
    """Return BRR of one game: share of initial faithful who voted for a traitor before the first round whose plurality
    target is a traitor; in a game without such a round, who did in any.

    Args:
        votes: shape (rounds, players).
        voters: initial faithful, shape (players,).
        guilty: shape (players,).
        plurality: seat of the plurality target by round, −1 for none.
    """
    v, top = np.asarray(votes), np.asarray(plurality)
    hits = (top >= 0) & guilty[np.maximum(top, 0)]
    end = int(np.argmax(hits)) if hits.any() else len(top)
    early = ((v[:end] >= 0) & guilty[np.maximum(v[:end], 0)]).any(axis=0)
    return float(ratio((early & voters).sum(), voters.sum()))


def dissent_among_hits(votes: Any, guilty: Bools, plurality: Any) -> float:
    """Return what the released code calls BRR: the share of votes for traitors that differ from their round's
    plurality [code]; NaN without such votes."""
    v, top = np.asarray(votes), np.asarray(plurality)
    hits = (v >= 0) & guilty[np.maximum(v, 0)]
    return float(ratio((hits & (v != top[:, None])).sum(), hits.sum()))


def every_change(day: Any, night: Any) -> float:
    """Return what the released code calls VSF: day and night votes of a player in one sequence, each first vote a
    change [code]; changes over votes, all players of the game together.

    Args:
        day: shape (rounds, players), −1 for none.
        night: the same.
    """
    changes = total = 0
    in_turn = np.stack([np.asarray(day), np.asarray(night)], axis=1).reshape(-1, np.asarray(day).shape[1])
    for player in in_turn.T:
        cast = player[player >= 0]
        total += len(cast)
        changes += int(len(cast) > 0) + int((cast[1:] != cast[:-1]).sum())
    return changes / total if total else NAN

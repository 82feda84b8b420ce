"""Cooperation: how much of it, between whom, in return for what, what it is worth, and whose traits go with it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.observe._graph import Adjacency, Floats, Graph, Ints, ones, projection
from simworld.observe._network import gini
from simworld.observe._nulls import PERMUTATIONS, Null, null_of, shuffle_test

type Kind = Literal["direct", "downstream", "upstream"]
type Bools = npt.NDArray[np.bool_]

FEWEST_PAIRS = 3
"""Below this a correlation says nothing: two points always lie on a line."""
MOST_FITS = 500
"""Rounds of fitting the means of actors and steps; some ten do where acts are many, more where few meet in a step."""
NAN = float("nan")


class Moves(NamedTuple):
    """Acts in order of play, arrays of shape (m,). Acts of the same step are simultaneous: none answers another."""

    step: npt.ArrayLike
    """When, whole numbers that never fall."""
    actor: npt.ArrayLike
    """Who acts, ids of at least 0."""
    partner: npt.ArrayLike
    """Toward whom, ids of at least 0."""
    share: npt.ArrayLike
    """Share in [0, 1] of what could be given; 1 cooperates and 0 defects where there is no more and no less."""


# How much, and where --------------------------------------------------------------------------------------------------


def cooperation_rate(acts: npt.ArrayLike, chances: npt.ArrayLike | None = None) -> float:
    """Return Σ acts / Σ chances, in [0, 1]; NaN without chances.

    Args:
        acts: cooperation of each agent, shape (n,): the sum of the shares it gave.
        chances: times each could have cooperated, shape (n,); left out, one each.

    Raises:
        ParameterError: not one number of chances for each agent.
    """
    given, could = _acts(acts, chances)
    total = float(could.sum())
    return float(given.sum()) / total if total else NAN


def rate_by(groups: npt.ArrayLike, acts: npt.ArrayLike, chances: npt.ArrayLike | None = None) -> dict[Any, float]:
    """Return `cooperation_rate` of each group by its label, labels in order; NaN for a group without chances.

    Args:
        groups: a label of each agent, shape (n,), of any sortable kind.
        acts: as for `cooperation_rate`.
        chances: as for `cooperation_rate`.

    Raises:
        ParameterError: not one label, or number of chances, for each agent.
    """
    given, could = _acts(acts, chances)
    labels = np.asarray(groups)
    _same_shape("groups", labels, "acts", given)
    names, group = np.unique(labels, return_inverse=True)
    total = np.bincount(group, could, len(names))
    rates = np.divide(np.bincount(group, given, len(names)), total, out=np.full(len(names), NAN), where=total > 0)
    return dict(zip(names.tolist(), rates.tolist(), strict=True))


def tie_cooperation(graph: Graph, cooperates: npt.ArrayLike) -> dict[str, float]:
    """Return the share of ties of which ``both`` ends, ``one`` end or ``none`` cooperates; they add up to 1.

    Args:
        graph: any graph `adjacency` reads, n nodes; ties are those of the undirected projection.
        cooperates: whether each node cooperates, shape (n,).

    Returns:
        Three shares in [0, 1]; NaN without ties.

    Raises:
        ParameterError: not one truth value a node.
    """
    a = ones(projection(graph))
    x = np.asarray(cooperates, dtype=np.bool_)
    _one_a_node("cooperates", x, a)
    shares = tie_shares(a, x[:, None].astype(np.float64))
    return {name: float(share[0]) for name, share in shares.items()}


def tie_shares(a: Adjacency, x: Floats) -> dict[str, Floats]:
    """Return `tie_cooperation` of several assignments at once: ``a`` symmetric of ones, ``x`` 0 or 1, shape (n, p)."""
    if not a.nnz:
        return {name: np.full(x.shape[1], NAN) for name in ("both", "one", "none")}
    both = np.einsum("np,np->p", x, a @ x)
    ends = np.asarray(a.sum(axis=1)) @ x
    # Every tie stands in the array twice, and so does an end that cooperates alone.
    return {"both": both / a.nnz, "one": 2.0 * (ends - both) / a.nnz, "none": 1.0 - (2.0 * ends - both) / a.nnz}


def assortment(graph: Graph, x: npt.ArrayLike) -> float:
    """Return Pearson's correlation of an attribute over the two ends of ties, in [-1, 1].

    Newman 2003, doi:10.1103/PhysRevE.67.026126, equation 21, on the undirected projection. A tie with an end whose
    attribute is NaN is left out.

    Args:
        graph: any graph `adjacency` reads, n nodes.
        x: one number a node, shape (n,).

    Returns:
        NaN without ties, and where the attribute does not vary over the ends of ties.

    Raises:
        ParameterError: not one number a node.
    """
    a = ones(projection(graph))
    values = np.asarray(x, dtype=np.float64)
    _one_a_node("x", values, a)
    known = ~np.isnan(values)
    return float(end_correlation(a[known][:, known], values[known][:, None])[0])


def end_correlation(a: Adjacency, x: Floats) -> Floats:
    """Return `assortment` of several attributes at once: ``a`` symmetric of ones, ``x`` without NaN, shape (n, p)."""
    if not a.nnz:
        return np.full(x.shape[1], NAN)
    k: Floats = np.asarray(a.sum(axis=1))
    centred = x - (k @ x) / a.nnz
    variance = k @ centred**2
    covariance = np.einsum("np,np->p", centred, a @ centred)
    # Where every end is the same the variance is nothing but rounding.
    varies = variance > a.nnz * (1e-12 * np.maximum(1.0, np.abs(x).max(axis=0))) ** 2
    r: Floats = np.divide(covariance, variance, out=np.full(x.shape[1], NAN), where=varies)
    return np.clip(r, -1.0, 1.0)


# In return for what ---------------------------------------------------------------------------------------------------


def reciprocity_of_acts(moves: Moves, kind: Kind) -> float:
    """Return Pearson's correlation between an act of i toward j and an earlier one that it may answer, in [-1, 1].

    Args:
        moves: acts in order of play; leave refused ones out.
        kind: which act may be answered, always the latest one of a strictly earlier step.
            ``"direct"``: of j toward i.
            ``"downstream"``: of j toward anybody but i, as image scoring has it.
            ``"upstream"``: of anybody but j toward i, passed on.
            (Nowak, Sigmund 2005, doi:10.1038/nature04131.)

    Returns:
        NaN below 3 pairs of acts, or where either side does not vary.

    Raises:
        ParameterError: another kind, arrays of different shapes, steps that fall, shares outside [0, 1].
    """
    m = _moves(moves)
    act, answered = _answered(m, kind)
    return _pearson(m.share[act], m.share[answered])


def reciprocity_null(moves: Moves, kind: Kind, rng: np.random.Generator, permutations: int = PERMUTATIONS) -> Null:
    """Test `reciprocity_of_acts` against acts that answer nothing.

    Every share is an actor's mean plus a step's mean plus a rest (additive fit, least squares). The rests are permuted
    among the acts of each actor, both means are added again, and the correlation is measured anew. So everybody stays
    as generous as they are, a trend common to all stays, who meets whom and when stays, and only what an act might
    answer is lost: players who always do the same, or who all give less round after round whatever the others do, are
    in the value and in the null alike. Trends of single actors are not kept. The fewer act in one step, the more of
    what they answer is taken for the mean of the step: of two, half; of one, all, and the p-value is 1.

    Permuted residuals of a linear model: Freedman, Lane 1983, doi:10.1080/07350015.1983.10509354.

    Args:
        moves: as for `reciprocity_of_acts`.
        kind: as for `reciprocity_of_acts`.
        rng: the stream the permutations come from.
        permutations: how many, at least 1.

    Raises:
        ParameterError: as for `reciprocity_of_acts`, and fewer than one permutation.
    """
    if permutations < 1:
        raise ParameterError(f"permutations is a whole number of at least 1, got {permutations!r}")
    m = _moves(moves)
    act, answered = _answered(m, kind)
    fitted = _actors_and_steps(m)
    rest = m.share - fitted
    places = np.argsort(m.actor, kind="stable")
    drawn = np.empty(permutations)
    for p in range(permutations):
        share = fitted.copy()
        share[places] += rest[np.lexsort((rng.random(len(rest)), m.actor))]
        drawn[p] = _pearson(share[act], share[answered])
    return null_of(_pearson(m.share[act], m.share[answered]), drawn)


def _actors_and_steps(m: _Moves) -> Floats:
    """Return the least-squares fit of the shares by a mean of each actor and one of each step, shape (m,)."""
    fitted = np.zeros_like(m.share)
    if not len(fitted):
        return fitted
    actor = np.unique(m.actor, return_inverse=True)[1]
    acts = [(code, np.bincount(code).astype(np.float64)) for code in (m.step, actor)]
    # In turns, each a projection of what the other left; one round is exact where everybody acts in every step.
    for _ in range(MOST_FITS):
        moved = 0.0
        for code, number in acts:
            means = (np.bincount(code, m.share - fitted) / number)[code]
            fitted += means
            moved = max(moved, float(np.abs(means).max()))
        if moved < 1e-12:
            break
    return fitted


class _Moves(NamedTuple):
    step: Ints
    """Rank of the step, from 0."""
    actor: Ints
    partner: Ints
    share: Floats


def _moves(moves: Moves) -> _Moves:
    share = np.asarray(moves.share, dtype=np.float64)
    if share.ndim != 1:
        raise ParameterError(f"shares are an array of shape (m,), got shape {share.shape!r}")
    wrong = share[~((share >= 0.0) & (share <= 1.0))]
    if len(wrong):
        raise ParameterError(f"a share lies in [0, 1], got {float(wrong[0])!r}; leave refused acts out")
    whole = {}
    for name in ("step", "actor", "partner"):
        x = np.asarray(getattr(moves, name))
        _same_shape(name, x, "share", share)
        if len(x) and x.dtype.kind not in "iu":
            raise ParameterError(f"{name} is an array of whole numbers, got values of type {x.dtype.name!r}")
        whole[name] = x.astype(np.int64)
    if (np.diff(whole["step"]) < 0).any():
        raise ParameterError("moves stand in order of play, but their steps fall; sort them by step")
    for name in ("actor", "partner"):
        if len(share) and whole[name].min() < 0:
            raise ParameterError(f"an id of {name} is at least 0, got {int(whole[name].min())!r}")
    rank = np.unique(whole["step"], return_inverse=True)[1].astype(np.int64)
    return _Moves(rank, whole["actor"], whole["partner"], share)


def _answered(m: _Moves, kind: Kind) -> tuple[Ints, Ints]:
    """Return pairs of acts, two arrays of indices: the act, and the earlier one that it may answer."""
    if kind == "direct":
        # An act of i toward j belongs to pair (i, j); it may answer the latest of pair (j, i).
        n = int(max(m.actor.max(), m.partner.max())) + 1 if len(m.share) else 1
        group, wanted, but = m.actor * n + m.partner, m.partner * n + m.actor, None
        other = m.partner
    elif kind == "downstream":
        group, wanted, but, other = m.actor, m.partner, m.actor, m.partner
    elif kind == "upstream":
        group, wanted, but, other = m.partner, m.actor, m.partner, m.actor
    else:
        raise ParameterError(f"reciprocity is 'direct', 'downstream' or 'upstream', got {kind!r}")
    found = _latest(m.step, group, other, wanted, but)
    act = np.flatnonzero(found >= 0)
    return act, found[act]


def _latest(step: Ints, group: Ints, other: Ints, wanted: Ints, but: Ints | None) -> Ints:
    """Return for every act the latest earlier one of group ``wanted`` whose ``other`` is not ``but``; −1 for none."""
    m = len(step)
    if not m:
        return np.empty(0, np.int64)
    names, code = np.unique(group, return_inverse=True)
    steps = int(step[-1]) + 1
    order = np.lexsort((np.arange(m), code))
    keys = (code * steps + step)[order]
    named = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    at = np.searchsorted(keys, named * steps + step) - 1
    in_order = code[order]
    there = (names[named] == wanted) & (at >= 0) & (in_order[at] == named)
    if but is not None:
        # Acts of one group toward the same other stand in runs; before the run stands one toward somebody else.
        others = other[order]
        starts = np.r_[True, (in_order[1:] != in_order[:-1]) | (others[1:] != others[:-1])]
        start = np.maximum.accumulate(np.where(starts, np.arange(m), 0))
        at = np.where(there & (others[at] == but), start[at] - 1, at)
        there &= (at >= 0) & (in_order[at] == named)
    return np.where(there, order[at], -1)


# What it is worth -----------------------------------------------------------------------------------------------------


def welfare(payoffs: npt.ArrayLike) -> dict[str, float]:
    """Return ``total``, ``mean`` and ``min`` of payoffs, shape (n,), and their ``gini`` index.

    All NaN of nobody, but the total, which is 0. The Gini index is NaN where a payoff is negative or all are 0.
    """
    x = np.asarray(payoffs, dtype=np.float64).ravel()
    if not len(x):
        return {"total": 0.0, "mean": NAN, "min": NAN, "gini": NAN}
    least = float(x.min())
    return {"total": float(x.sum()), "mean": float(x.mean()), "min": least, "gini": gini(x) if least >= 0 else NAN}


def efficiency(total: float, worst: float, best: float) -> float:
    """Return (total − worst) / (best − worst): 0 at the worst outcome, 1 at the best; NaN where they are the same.

    Outside [0, 1] where the total lies outside the two, as below the outcome without cooperation after punishment.
    """
    return (total - worst) / (best - worst) if best != worst else NAN


# Who is thought of how, and who does it -------------------------------------------------------------------------------


def reputation_accuracy(
    believed: npt.ArrayLike, actual: npt.ArrayLike, known: npt.ArrayLike | None = None
) -> dict[str, float]:
    """Return how far images fit those they are of.

    Args:
        believed: what is thought of somebody, any shape: truth values (good or not) or numbers.
        actual: what they are, same shape.
        known: whether there is an image at all, same shape; left out, everywhere.

    Returns:
        ``share`` of the known images that are right (truth values; NaN for numbers), and Pearson's ``correlation`` over
        the known images; NaN below 3 of them or where either side does not vary.

    Raises:
        ParameterError: arrays of different shapes.
    """
    thought, are = np.asarray(believed), np.asarray(actual)
    _same_shape("actual", are, "believed", thought)
    there = np.ones(thought.shape, np.bool_) if known is None else np.asarray(known, np.bool_)
    _same_shape("known", there, "believed", thought)
    x, y = thought[there], are[there]
    binary = x.dtype.kind == "b" and y.dtype.kind == "b"
    return {
        "share": float((x == y).mean()) if binary and len(x) else NAN,
        "correlation": _pearson(x.astype(np.float64), y.astype(np.float64)),
    }


def trait_association(
    z: npt.ArrayLike, behaviour: npt.ArrayLike, rng: np.random.Generator, permutations: int = PERMUTATIONS
) -> Null:
    """Test Spearman's rank correlation of a trait with a behaviour against shuffled personas.

    Args:
        z: trait of each agent, shape (n,).
        behaviour: what each did, shape (n,); a row with a NaN on either side is left out.
        rng: the stream the permutations come from.
        permutations: how many, at least 1.

    Returns:
        The `Null` of the correlation, in [-1, 1], ties by mean rank (Spearman 1904, doi:10.2307/1412159); its draws
        give every agent the trait of another. NaN below 3 rows or where either side does not vary.

    Raises:
        ParameterError: arrays of different shapes, fewer than one permutation.
    """
    x, y = ranks(z, behaviour)
    if len(x) < FEWEST_PAIRS or not x.any() or not y.any():
        return null_of(NAN, ())
    return shuffle_test(lambda p: np.clip(y @ p, -1.0, 1.0), x, rng, permutations, vectorised=True)


def trait_correlation(z: npt.ArrayLike, behaviour: npt.ArrayLike) -> float:
    """Return the correlation of `trait_association` alone."""
    return rank_correlation(*ranks(z, behaviour))


def rank_correlation(x: Floats, y: Floats) -> float:
    """Return the correlation of two columns of `ranks`."""
    return float(np.clip(x @ y, -1.0, 1.0)) if len(x) >= FEWEST_PAIRS and x.any() and y.any() else NAN


def ranks(z: npt.ArrayLike, behaviour: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the centred ranks of both, of length 1, rows with a NaN left out; zeros where one does not vary."""
    x, y = np.asarray(z, dtype=np.float64), np.asarray(behaviour, dtype=np.float64)
    if x.ndim != 1:
        raise ParameterError(f"a trait is an array of shape (n,), got shape {x.shape!r}")
    _same_shape("behaviour", y, "z", x)
    there = ~(np.isnan(x) | np.isnan(y))
    return centred_ranks(x[there]), centred_ranks(y[there])


def centred_ranks(x: Floats) -> Floats:
    """Return the ranks of numbers, centred and of length 1; zeros where they do not vary."""
    # The mean rank of equal numbers; `scipy.stats`, which has it, takes a second to import.
    _, at, times = np.unique(x, return_inverse=True, return_counts=True)
    r: Floats = (np.cumsum(times) - (times - 1) / 2.0)[at]
    r = r - (len(r) + 1) / 2.0
    return r / np.sqrt(r @ r) if r.any() else np.zeros(len(r))


# Within this module ---------------------------------------------------------------------------------------------------


def _pearson(x: Floats, y: Floats) -> float:
    if len(x) < FEWEST_PAIRS or x.min() == x.max() or y.min() == y.max():
        return NAN
    dx, dy = x - x.mean(), y - y.mean()
    return float(np.clip((dx @ dy) / np.sqrt((dx @ dx) * (dy @ dy)), -1.0, 1.0))


def _acts(acts: npt.ArrayLike, chances: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    given = np.asarray(acts, dtype=np.float64)
    could = np.ones(given.shape) if chances is None else np.asarray(chances, dtype=np.float64)
    _same_shape("chances", could, "acts", given)
    return given, could


def _same_shape(name: str, x: npt.NDArray[Any], like: str, y: npt.NDArray[Any]) -> None:
    if x.shape != y.shape:
        raise ParameterError(f"{name} has one value for each of {like}, shape {y.shape!r}, got shape {x.shape!r}")


def _one_a_node(name: str, x: npt.NDArray[Any], a: Adjacency) -> None:
    if x.shape != (a.shape[0],):
        raise ParameterError(f"{name} has one value a node: expected {a.shape[0]}, got an array of shape {x.shape!r}")

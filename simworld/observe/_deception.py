"""Deception: what is claimed against what the speaker believes and what is so, and what listeners make of it.

A lie is a public claim that contradicts the speaker's own recorded belief, whatever the truth (Mahon 2016, *The
Definition of Lying and Deception*); nobody has to judge it. An accusation contradicts a belief that holds somebody less
suspect than a player picked blindly, a defence one that holds it more suspect.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError
from simworld.observe._graph import Floats

type Bools = npt.NDArray[np.bool_]

NAN = float("nan")
SAME = 1e-9
"""Probabilities nearer to each other than this are equal, so that rounding makes no liar; arbitrary."""


class Claims(NamedTuple):
    """Public statements in order of play, arrays of shape (m,)."""

    step: npt.ArrayLike
    """When."""
    speaker: npt.ArrayLike
    """Id of who speaks."""
    about: npt.ArrayLike
    """Id of whom it is about."""
    claimed: npt.ArrayLike
    """Probability in [0, 1] of guilt that the statement gives ``about``: 1 accused, 0 defended."""
    believed: npt.ArrayLike
    """Probability in [0, 1] that the speaker had recorded at that moment; 0 or 1 where it knows."""
    truth: npt.ArrayLike
    """1 guilty, 0 not."""


class Ledger(NamedTuple):
    """Claims by kind, boolean arrays of shape (m,); every claim is exactly one of them."""

    false_lie: Bools
    """Against the speaker's own belief, and false."""
    lucky_lie: Bools
    """Against the speaker's own belief, and true nonetheless."""
    mistake: Bools
    """Sincere, and false."""
    true: Bools
    """Sincere, and true."""

    @property
    def lie(self) -> Bools:
        """Against the speaker's own belief, whatever the truth."""
        return self.false_lie | self.lucky_lie


# What is said ---------------------------------------------------------------------------------------------------------


def ledger(claims: Claims, base_rate: npt.ArrayLike = 0.5) -> Ledger:
    """Sort claims into lies, false and lucky ones, mistakes and truths.

    A claim above one half is an accusation, one below it a defence, and one half is neither, so it contradicts nothing.
    A claim is false when it is farther than one half from the truth, whatever the base rate.

    Args:
        claims: what was said; leave those without a recorded belief out.
        base_rate: suspicion of a player picked blindly, in [0, 1], a number or shape (m,): accusing whom one suspects
            less than this is a lie, and so is defending whom one suspects more. At it both are sincere.

    Raises:
        ParameterError: a base rate, probability or truth outside its range, arrays of different shapes.
    """
    claimed = _probabilities("claimed", claims.claimed)
    believed = _probabilities("believed", claims.believed, claimed.shape)
    truth = _truth(claims.truth, claimed.shape)
    for name in ("step", "speaker", "about"):
        _shape(name, np.asarray(getattr(claims, name)), claimed.shape)
    blindly = _probabilities("base_rate", base_rate)
    if blindly.ndim:
        _shape("base_rate", blindly, claimed.shape)
    lie = (claimed > 0.5) & (believed < blindly - SAME) | (claimed < 0.5) & (believed > blindly + SAME)
    false = np.abs(claimed - truth) > 0.5
    return Ledger(lie & false, lie & ~false, ~lie & false, ~lie & ~false)


def ledger_summary(claims: Claims, ledger: Ledger) -> dict[str, float]:
    """Return ``claims`` and, adding up to them, ``false_lies``, ``lucky_lies``, ``mistakes`` and ``truths``; counts.

    And ``lies``, false and lucky ones, and ``lie_rate``, lies over claims; NaN without claims.

    Raises:
        ParameterError: a ledger of other claims.
    """
    said = np.asarray(claims.claimed)
    _shape("the ledger", ledger.true, said.shape)
    counts = {
        "claims": float(said.size),
        "lies": float(np.count_nonzero(ledger.lie)),
        "false_lies": float(np.count_nonzero(ledger.false_lie)),
        "lucky_lies": float(np.count_nonzero(ledger.lucky_lie)),
        "mistakes": float(np.count_nonzero(ledger.mistake)),
        "truths": float(np.count_nonzero(ledger.true)),
    }
    return counts | {"lie_rate": counts["lies"] / said.size if said.size else NAN}


# What is believed -----------------------------------------------------------------------------------------------------


def belief_shift(before: npt.ArrayLike, after: npt.ArrayLike, toward: npt.ArrayLike) -> Floats:
    """Return how far beliefs moved toward what was claimed, in [-1, 1]: positive, it was believed.

    Args:
        before: probabilities that listeners held before the claim, any shape.
        after: those after it, same shape.
        toward: what was claimed, same shape.

    Returns:
        ``|before − toward| − |after − toward|``; NaN where one of the three is.

    Raises:
        ParameterError: a probability outside [0, 1], arrays of different shapes.
    """
    x = _probabilities("before", before, missing=True)
    y = _probabilities("after", after, x.shape, missing=True)
    z = _probabilities("toward", toward, x.shape, missing=True)
    return np.asarray(np.abs(x - z) - np.abs(y - z))


def brier(
    belief: npt.ArrayLike, truth: npt.ArrayLike, mask: npt.ArrayLike | None = None, axis: int | None = None
) -> Any:
    """Return the mean squared difference of belief and truth, in [0, 1]: 0 certain and right, 1 certain and wrong.

    Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, the form for two outcomes.

    Args:
        belief: probabilities, any shape.
        truth: 1 or 0, same shape.
        mask: which count, same shape; left out, all.
        axis: the axis to average over; left out, all, and a number is returned.

    Returns:
        A float, or an array without the axis; NaN where nothing counts.

    Raises:
        ParameterError: values outside their range, arrays of different shapes.
    """
    p, t, there = _beliefs(belief, truth, mask)
    counted = np.asarray(there.sum(axis=axis), dtype=np.float64)
    squares = np.where(there, (p - t) ** 2, 0.0).sum(axis=axis)
    score = np.divide(squares, counted, out=np.full(counted.shape, NAN), where=counted > 0)
    return float(score) if axis is None else score


def detection(
    belief: npt.ArrayLike, truth: npt.ArrayLike, mask: npt.ArrayLike | None = None, threshold: float = 0.5
) -> dict[str, float]:
    """Return how well beliefs tell the guilty from the others, beside what a constant answer would do.

    Args:
        belief: probabilities of guilt, any shape.
        truth: 1 guilty or 0 not, same shape.
        mask: which count, same shape; left out, all.
        threshold: somebody is held for guilty above it, in [0, 1].

    Returns:
        ``accuracy``; ``hit_rate`` and ``false_alarm``, shares of the guilty and of the others held for guilty;
        ``precision``, share of those held for guilty who are; ``auc``, chance that a guilty one is suspected more than
        another, ties half (Mann, Whitney 1947, doi:10.1214/aoms/1177730491); ``chance``, accuracy of the better
        constant answer; ``brier``; ``brier_chance``, p(1 − p), the score of believing the base rate p; ``n``, how many
        counted. NaN where there is nothing to divide by.

    Raises:
        ParameterError: values outside their range, arrays of different shapes.
    """
    if not 0.0 <= threshold <= 1.0:
        raise ParameterError(f"the threshold of suspicion lies in [0, 1], got {threshold!r}")
    p, t, there = _beliefs(belief, truth, mask)
    p, guilty = p[there], t[there] == 1.0
    held = p > threshold
    n, n_guilty, n_held = len(p), int(guilty.sum()), int(held.sum())
    hits = int((held & guilty).sum())
    rate = _over(n_guilty, n)
    return {
        "accuracy": _over(int((held == guilty).sum()), n),
        "hit_rate": _over(hits, n_guilty),
        "false_alarm": _over(n_held - hits, n - n_guilty),
        "precision": _over(hits, n_held),
        "auc": _auc(p, guilty),
        "chance": max(rate, 1.0 - rate),
        "brier": float(brier(p, guilty)),
        "brier_chance": rate * (1.0 - rate),
        "n": float(n),
    }


def _auc(p: Floats, guilty: Bools) -> float:
    from scipy.stats import rankdata

    n, m = int(guilty.sum()), int((~guilty).sum())
    return (float(rankdata(p)[guilty].sum()) - n * (n + 1) / 2.0) / (n * m) if n and m else NAN


# Trust ----------------------------------------------------------------------------------------------------------------


def trust_matrix(suspicion: npt.ArrayLike) -> Floats:
    """Return 1 − suspicion, shape (n, n), rows those who trust; the diagonal is NaN, for nobody is asked of themselves.

    Raises:
        ParameterError: not square, a suspicion outside [0, 1] (NaN: there is none).
    """
    trust = 1.0 - _square("suspicion", suspicion)
    np.fill_diagonal(trust, NAN)
    return trust


def trust_drift(before: npt.ArrayLike, after: npt.ArrayLike, mask: npt.ArrayLike | None = None) -> float:
    """Return how far trust moved: the Frobenius norm of the change, the diagonal left out.

    Args:
        before: trust or suspicion, shape (n, n).
        after: the same later.
        mask: pairs that were there both times, shape (n, n); left out, those that are numbers in both.

    Returns:
        At least 0; NaN where no pair was there both times.

    Raises:
        ParameterError: not square, values outside [0, 1], arrays of different shapes.
    """
    x = _square("before", before)
    y = _square("after", after)
    _shape("after", y, x.shape)
    there = ~(np.isnan(x) | np.isnan(y) | np.eye(len(x), dtype=np.bool_))
    if mask is not None:
        kept = np.asarray(mask, np.bool_)
        _shape("mask", kept, x.shape)
        there &= kept
    return float(np.sqrt(((y - x)[there] ** 2).sum())) if there.any() else NAN


# Raters ---------------------------------------------------------------------------------------------------------------


def cohen_kappa(a: Sequence[Hashable] | npt.ArrayLike, b: Sequence[Hashable] | npt.ArrayLike) -> float:
    """Return the agreement of two raters beyond chance: 1 always, 0 as often as by chance, below 0 less.

    Cohen 1960, doi:10.1177/001316446002000104.

    Args:
        a: labels that one rater gave, shape (n,), of any sortable kind.
        b: those of the other for the same things.

    Returns:
        (p_o − p_e)/(1 − p_e); NaN without labels, and where both give one and the same label throughout.

    Raises:
        ParameterError: not equally many labels.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape:
        raise ParameterError(f"both raters label the same things, shape (n,); got shapes {x.shape!r} and {y.shape!r}")
    if not len(x):
        return NAN
    names, code = np.unique(np.concatenate((x, y)), return_inverse=True)
    one, other = code[: len(x)], code[len(x) :]
    n = len(x)
    # In whole numbers, so that chance agreement of 1 is exactly that.
    by_chance = int(np.bincount(one, minlength=len(names)) @ np.bincount(other, minlength=len(names)))
    agreed = int(np.count_nonzero(one == other)) * n
    return (agreed - by_chance) / (n * n - by_chance) if by_chance < n * n else NAN


# Within this module ---------------------------------------------------------------------------------------------------


def _over(count: int, n: int) -> float:
    return count / n if n else NAN


def _shape(name: str, x: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ParameterError(f"{name} has shape {x.shape!r}; the others have {shape!r}")


def _probabilities(name: str, x: npt.ArrayLike, shape: tuple[int, ...] | None = None, missing: bool = False) -> Floats:
    p = np.asarray(x, dtype=np.float64)
    if shape is not None:
        _shape(name, p, shape)
    wrong = p[~(((p >= 0.0) & (p <= 1.0)) | (np.isnan(p) & missing))]
    if len(wrong):
        raise ParameterError(f"{name} is a probability in [0, 1], got {float(wrong[0])!r}")
    return p


def _truth(x: npt.ArrayLike, shape: tuple[int, ...]) -> Floats:
    t = np.asarray(x, dtype=np.float64)
    _shape("truth", t, shape)
    wrong = t[~((t == 0.0) | (t == 1.0))]
    if len(wrong):
        raise ParameterError(f"truth is 0 or 1, got {float(wrong[0])!r}")
    return t


def _beliefs(belief: npt.ArrayLike, truth: npt.ArrayLike, mask: npt.ArrayLike | None) -> tuple[Floats, Floats, Bools]:
    """Return belief, truth and what counts; what does not count may be anything."""
    p, t = np.asarray(belief, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    there = np.ones(p.shape, np.bool_) if mask is None else np.asarray(mask, np.bool_)
    _shape("mask", there, p.shape)
    _shape("truth", t, p.shape)
    _probabilities("belief", p[there])
    _truth(t[there], p[there].shape)
    return p, t, there


def _square(name: str, x: npt.ArrayLike) -> Floats:
    p = _probabilities(name, x, missing=True)
    if p.ndim != 2 or p.shape[0] != p.shape[1]:
        raise ParameterError(f"{name} is a square array, one row and one column an agent; got shape {p.shape!r}")
    return p

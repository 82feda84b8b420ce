"""Statistics of orderings, effect sizes and forecasts. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

type Floats = npt.NDArray[np.float64]
type Codes = npt.NDArray[np.int64]

NAN = float("nan")
CLOSE = 0.10
"""Change of the returned share below which it counts as stable. [reported]"""


def unit_ranks(x: npt.ArrayLike) -> Floats:
    """Return ranks along the last axis, ties by their mean, centred and of length 1; NaN without two that differ.

    By counting who is below, quadratic in the axis: it is short here, levels or rounds, and ranked thousands of times.
    """
    a = np.asarray(x, float)
    below, above = a[..., :, None] > a[..., None, :], a[..., :, None] < a[..., None, :]
    ranks = (below.sum(-1) - above.sum(-1)) / 2.0
    length = np.sqrt((ranks**2).sum(-1, keepdims=True))
    good = (length > 0) & ~np.isnan(a).any(-1, keepdims=True)
    return np.divide(ranks, length, out=np.full(a.shape, NAN), where=good)


def spearman(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Return Spearman's rank correlation (1904, doi:10.2307/1412159), ties by mean rank; NaN where undefined."""
    return correlation(unit_ranks(x), unit_ranks(y))


def correlation(a: Floats, b: Floats) -> float:
    """Return the correlation of two columns of `unit_ranks`."""
    return float(np.clip(a @ b, -1.0, 1.0)) if len(a) else NAN


def level_means(codes: Codes, x: Floats, k: int) -> Floats:
    """Return the mean of x at each of k levels, shape (k,); NaN at a level nobody has; code −1 is left out."""
    there = codes >= 0
    count = np.bincount(codes[there], minlength=k)
    total = np.bincount(codes[there], weights=x[there], minlength=k)
    return np.divide(total, count, out=np.full(k, NAN), where=count > 0)


def eta_squared(codes: Codes, x: Floats, k: int) -> float:
    """Return η² = SS_between / SS_total of a one-way analysis of variance; NaN where x does not vary."""
    there = codes >= 0
    codes, x = codes[there], x[there]
    if len(x) < 2:
        return NAN
    total = float(((x - x.mean()) ** 2).sum())
    if total <= 1e-12 * max(float((x**2).sum()), 1e-300):
        return NAN
    count = np.bincount(codes, minlength=k)
    means = np.nan_to_num(level_means(codes, x, k))
    return float((count * (means - x.mean()) ** 2).sum() / total)


def stated_eta_squared(means: npt.ArrayLike, sds: npt.ArrayLike, n: int = 100) -> float:
    """Return η̂² = SSB / (SSB + Σ (n − 1)·sd²), SSB = n·Σ (mean − grand mean)², of means and s.d. stated per level.

    0 for equal means; NaN without any spread at all but 0 for equal means there too.

    Args:
        means, sds: dollars, one a level.
        n: people assumed at each level.
    """
    m, s = np.asarray(means, float), np.asarray(sds, float)
    between = float(n * ((m - m.mean()) ** 2).sum())
    if between <= 1e-12 * max(float(n * (m**2).sum()), 1e-300):
        return 0.0
    return between / (between + float(((n - 1) * s**2).sum()))


def possible_correlations(k: int) -> tuple[float, ...]:
    """Return the values that Spearman's ρ of two orderings of k levels without ties can take, ascending."""
    return tuple(sorted({round(_distance_rho(p), 12) for p in permutations(range(k))}))


def _distance_rho(order: Sequence[int]) -> float:
    k = len(order)
    return 1.0 - 6.0 * sum((i - j) ** 2 for i, j in enumerate(order)) / (k * (k * k - 1))


def perturbed[T](ordering: Sequence[T], rho: float, rng: np.random.Generator) -> tuple[T, ...]:
    """Return a rearrangement whose rank correlation with the ordering is nearest to ρ, drawn among those equally near.

    All k! rearrangements are compared, so the nearest is exact. Of two values of ρ equally near the larger is taken.
    """
    k = len(ordering)
    if k < 2:
        return tuple(ordering)
    found = [(abs(r - rho), -r, p) for p in permutations(range(k)) for r in (round(_distance_rho(p), 12),)]
    best = min((round(d, 12), r) for d, r, _ in found)
    near = [p for d, r, p in found if (round(d, 12), r) == best]
    chosen = near[int(rng.integers(len(near)))]
    return tuple(ordering[i] for i in chosen)


def horizon_errors(forecast: Floats, played: Floats) -> Floats:
    """Return the mean absolute error at each horizon, dollars, shape (rounds,); rows are people, NaN is left out."""
    error = np.abs(forecast - played)
    there = ~np.isnan(error)
    count = there.sum(0)
    return np.divide(np.where(there, error, 0.0).sum(0), count, out=np.full(error.shape[1], NAN), where=count > 0)


def mean_absolute_error(forecast: Floats, played: Floats) -> float:
    """Return (1/R)·Σ |ŝ_r − s_r| over the rounds of each person, averaged over people; NaN without any."""
    error = np.abs(forecast - played)
    return float(np.nanmean(error)) if (~np.isnan(error)).any() else NAN


class Pattern(NamedTuple):
    """What the repeated game of one pair shows."""

    exceeds: bool
    """More comes back than was sent, in more than half of the rounds in which something was sent."""
    stable: bool
    """The returned share moves by less than 0.10 between rounds, in more than half of the changes."""
    steady: bool
    """The amount sent turns back (up then down, or down then up) in fewer than half of the places where it could."""


def pattern(sent: Sequence[float], returned: Sequence[float], multiplier: float) -> Pattern | None:
    """Return the patterns of one pair; None without two rounds in which something was sent.

    That a pair shows one in more than half of its rounds is [design].

    Args:
        sent, returned: dollars, one a round that was played.
        multiplier: of what was sent.
    """
    s, r = np.asarray(sent, float), np.asarray(returned, float)
    given = s > 0
    if given.sum() < 2:
        return None
    share = r[given] / (multiplier * s[given])
    moves = np.abs(np.diff(share))
    change = np.sign(np.diff(s))
    change = change[change != 0]
    turns = int((change[1:] != change[:-1]).sum())
    return Pattern(
        bool((r[given] > s[given]).mean() > 0.5), bool((moves < CLOSE).mean() > 0.5), turns < max(len(s) - 2, 1) / 2
    )


def full_patterns(sent: Floats, returned: Floats, multiplier: float) -> npt.NDArray[np.bool_]:
    """Return the three patterns of many pairs that sent something in every round, no amount twice in a row.

    Args:
        sent, returned: dollars, shape (pairs, rounds).
        multiplier: of what was sent.

    Returns:
        As `pattern`, shape (pairs, 3); False throughout where there is one round.
    """
    rounds = sent.shape[1]
    if rounds < 2:
        return np.zeros((len(sent), 3), np.bool_)
    stable = np.abs(np.diff(returned / (multiplier * sent), axis=1)) < CLOSE
    change = np.diff(sent, axis=1) > 0
    turns = (change[:, 1:] != change[:, :-1]).sum(1)
    exceeds = (returned > sent).mean(1) > 0.5
    return np.stack([exceeds, stable.mean(1) > 0.5, turns < max(rounds - 2, 1) / 2], axis=1)


def least_trusted(chances: Sequence[float], trusts: Sequence[bool]) -> float:
    """Return the least p at which somebody trusts: the minimum acceptable probability; NaN where at none."""
    return min((p for p, yes in zip(chances, trusts, strict=True) if yes), default=NAN)


def interval(draws: npt.ArrayLike) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of bootstrap draws, NaN left out; NaN without any."""
    d = np.asarray(draws, float)
    d = d[~np.isnan(d)]
    low, high = np.quantile(d, (0.025, 0.975)) if len(d) else (NAN, NAN)
    return float(low), float(high)

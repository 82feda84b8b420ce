"""When a point has replicates enough: confidence sequences, intervals that hold at every look together.

With bounds the sequence is exact: the hedged capital of Waudby-Smith, Ramdas 2024 (doi:10.1093/jrsssb/qkad009,
arXiv 2010.09686), for independent values of one mean in known bounds. Without bounds it is asymptotic: Waudby-Smith,
Arbour, Sinha, Kennedy, Ramdas 2021 (arXiv 2103.06476), which is an approximation after few, rare or skewed values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simworld.errors import CampaignError
from simworld.sweep._campaign import Until

type Floats = npt.NDArray[np.float64]

BATCH = 5
"""Replicates added between two looks, at least; arbitrary, so that workers have something to do while few points are
open."""
BATCH_SHARE = 20
"""Of many replicates one in so many is added between two looks, so that looking stays cheap; arbitrary."""
LARGEST_BET = 0.5
"""Share of the capital that may be lost at once; the paper names 1/2 and 3/4. With 1/2 intervals of 50 values or more
are narrower where values vary by a tenth of the bounds or more, else wider by up to a third."""
HALVINGS = 40
"""Bisections of an end of the interval: 1e-12 of the bounds, outwards."""
ROUNDING = 1e-9
"""Share of the bounds' distance by which a value may lie outside and still be rounding."""
EQUAL = 1e-12
"""Relative difference below which values are one and the same."""


def half_width(n: int, sd: float, confidence: float, best_at: int) -> float:
    """Return the half width of the asymptotic confidence sequence for a mean after ``n`` independent values.

    Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas 2021 (arXiv 2103.06476), theorem 2.2:
    sd · sqrt(2(nρ² + 1) / (n²ρ²) · log(sqrt(nρ² + 1) / α)), α = 1 − confidence, with ρ chosen so that it is narrowest
    about ``best_at`` values: ρ² = (−2 log α + log(1 − 2 log α)) / best_at. It holds for all n at once as n grows,
    whatever the distribution with a finite variance; for the first few values it is an approximation.
    """
    if n < 2:
        return math.inf
    alpha = 1.0 - confidence
    rho2 = (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))) / best_at
    spread = n * rho2 + 1.0
    return sd * math.sqrt(2.0 * spread / (n * n * rho2) * math.log(math.sqrt(spread) / alpha))


def betting_interval(values: npt.ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Return both ends of the exact confidence sequence for a mean after the last of some values in [0, 1].

    The hedged capital process (Waudby-Smith, Ramdas 2024, theorem 3) with predictable plug-in bets
    sqrt(2 log(2/α) / (σ² t log(1 + t))), σ² the variance of the values before, and the running intersection: a mean
    is refuted once somebody who bets that the true one is larger, or smaller, has made 2/α of every unit. It covers
    at all n together with at least ``confidence``, whatever the distribution.

    Args:
        values: in the order they came, shape (..., n); each row is a sequence of its own.
        confidence: coverage, in (0, 1).

    Returns:
        Lower and upper ends, shape (...).
    """
    x = np.asarray(values, np.float64)
    alpha = 1.0 - confidence
    t = np.arange(1, x.shape[-1] + 1)
    means = (0.5 + x.cumsum(-1)) / (t + 1)
    variances = (0.25 + ((x - means) ** 2).cumsum(-1)) / (t + 1)
    before = np.concatenate([np.full((*x.shape[:-1], 1), 0.25), variances], -1)[..., :-1]  # a bet sees only the past
    bets = np.sqrt(2.0 * math.log(2.0 / alpha) / (before * t * np.log1p(t)))
    wanted = math.log(2.0 / alpha)
    low, high = _refuted_up_to(x, bets, wanted), 1.0 - _refuted_up_to(1.0 - x, bets, wanted)
    # The two cross only if the mean was lost on the way, of which α is the probability; what lies between is shown.
    return np.minimum(low, high), np.maximum(low, high)


def _refuted_up_to(x: Floats, bets: Floats, wanted: float) -> Floats:
    """Return the largest mean that bets on a larger one have refuted, by halving: their capital falls with it."""
    if not x.shape[-1]:
        return np.zeros(x.shape[:-1])
    low, high = np.zeros(x.shape[:-1]), np.ones(x.shape[:-1])
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        m = middle[..., None]
        capital = np.log1p(np.minimum(bets, LARGEST_BET / m) * (x - m)).cumsum(-1).max(-1)
        low, high = np.where(capital >= wanted, middle, low), np.where(capital >= wanted, high, middle)
    return low


def interval(values: Sequence[float] | Floats, until: Until, confidence: float | None = None) -> tuple[float, float]:
    """Return the confidence sequence's interval for the mean after the last value, whenever one stops.

    Args:
        values: of the replicates, in order; failures are NaN and left out.
        until: the rule; with ``bounds`` the exact sequence, without the asymptotic one.
        confidence: coverage; the rule's own when None.

    Returns:
        Both ends; infinite where nothing is known: without bounds, of fewer than two values, or of equal ones.

    Raises:
        CampaignError: a value lies outside the bounds.
    """
    good = np.asarray(values, np.float64)
    good = good[np.isfinite(good)]
    wanted = until.confidence if confidence is None else confidence
    if until.bounds is None:
        if len(good) < 2 or np.ptp(good) <= EQUAL * float(np.abs(good).max()):
            return -math.inf, math.inf
        half = half_width(len(good), float(good.std(ddof=1)), wanted, until.first)
        return float(good.mean()) - half, float(good.mean()) + half
    least, greatest = until.bounds
    outside = beyond(good, until.bounds)
    if len(outside):
        raise CampaignError(
            f"a run gave {until.metric} = {float(outside[0])!r}, outside until.bounds = [{least:g}, {greatest:g}]; "
            "correct the bounds, or leave them out"
        )
    scaled = np.clip((good - least) / (greatest - least), 0.0, 1.0)
    low, high = (float(end) for end in betting_interval(scaled, wanted))
    return least + low * (greatest - least), least + high * (greatest - least)


def beyond(values: Floats, bounds: tuple[float, float]) -> Floats:
    """Return the values that lie outside the bounds by more than rounding."""
    slack = ROUNDING * (bounds[1] - bounds[0])
    return values[(values < bounds[0] - slack) | (values > bounds[1] + slack)]


def next_replicates(values: Sequence[float], until: Until) -> int:
    """Return how many replicates a point should have, given the values of those it has, in order; failures are NaN.

    The same number means that it has enough.

    Raises:
        CampaignError: a value lies outside ``until.bounds``.
    """
    have = len(values)
    if have < until.first:
        return min(until.first, until.max_replicates)
    low, high = interval(values, until)
    if high - low <= until.ci_width or have >= until.max_replicates:
        return have
    return min(have + max(BATCH, have // BATCH_SHARE), until.max_replicates)

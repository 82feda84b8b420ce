"""When a point has replicates enough: an asymptotic confidence sequence, valid at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from simworld.sweep._campaign import Until

BATCH = 5
"""Replicates added between two looks; arbitrary, so that workers have something to do while few points are open."""


def half_width(n: int, sd: float, confidence: float, best_at: int) -> float:
    """Return the half width of the confidence sequence for a mean after ``n`` independent values.

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


def next_replicates(values: Sequence[float], until: Until) -> int:
    """Return how many replicates a point should have, given the values of those it has, in order; failures are NaN.

    The same number means that it has enough.
    """
    have = len(values)
    if have < until.first:
        return min(until.first, until.max_replicates)
    good = np.asarray(values, np.float64)
    good = good[np.isfinite(good)]
    sd = float(good.std(ddof=1)) if len(good) > 1 else math.nan
    is_enough = len(good) > 1 and 2.0 * half_width(len(good), sd, until.confidence, until.first) <= until.ci_width
    return have if is_enough or have >= until.max_replicates else min(have + BATCH, until.max_replicates)

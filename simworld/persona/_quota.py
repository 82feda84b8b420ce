"""Integer quotas: how many of n personas fall into each category."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def largest_remainder(n: int, shares: Sequence[float]) -> list[int]:
    """Split ``n`` units over categories: floor(n·p) each, the rest to the largest fractional parts (Hamilton's method).

    Ties go to the category declared first. Shares are taken as the decimal numbers they are written as and divided by
    their sum, so 0.29 of 100 is 29.

    Args:
        n: units, at least 0.
        shares: non-negative, not all zero; one a category.

    Returns:
        Counts that sum to ``n``, one a category.
    """
    exact = [Fraction(repr(float(share))) for share in shares]
    total = sum(exact)
    quotas = [n * share / total for share in exact]
    counts = [int(quota) for quota in quotas]
    order = sorted(range(len(counts)), key=lambda i: counts[i] - quotas[i])
    for i in order[: n - sum(counts)]:
        counts[i] += 1
    return counts

"""The variance card: how much of an outcome's variance comes from personas, graph, schedule, seed, models."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from simworld.sweep._analysis import CONFIDENCE, check_interval, must_be, per_point
from simworld.sweep._campaign import Campaign
from simworld.sweep._design import points

LISTED = ("card", "model")
"""Components whose values are all there are; those of the others are drawn, each anew within the component before."""
NONE = 1e-12
"""Standard deviation relative to the size of the values below which it is rounding."""


def variance_card(
    campaign: Campaign, results: pl.DataFrame, measure: str, *, confidence: float = CONFIDENCE
) -> pl.DataFrame:
    """Return how much of a measure's variance each component of a nested design accounts for.

    The analysis of variance of a balanced nested design, by the method of moments (Searle, Casella, McCulloch 1992,
    doi:10.1002/9780470316856, chapter 5): each component's mean square is set equal to what it is expected to be. The
    values of ``card`` and ``model`` are not drawn but listed, and the same ones occur within everything outside them;
    such a finite population, seen whole, adds nothing to the mean squares of the components outside (Cornfield, Tukey
    1956, doi:10.1214/aoms/1177728067), so those are compared with the next component that is drawn. With all
    components drawn, or the listed one outermost, this is the classical analysis.

    An estimate may be negative, where the component is small beside those within it: it is shown as it is, and counts
    as 0 in the shares. The variance of a listed component is that of its effects, those that depend on the components
    outside included, with divisor values − 1.

    Args:
        campaign: with ``design.kind = "variance"``.
        results: one row a run.
        measure: the column that was measured.
        confidence: coverage of the intervals, in (0, 1).

    Returns:
        One row a component, the outermost first: ``component``; ``values``: how many within one of the component
        before; ``is_listed``; ``df``; ``sum_sq``; ``mean_sq``; ``expected_mean_sq``: a formula in ``V[component]``;
        ``variance``: the estimate, in squared units of the measure; ``low``, ``high``: its interval, by the modified
        large-sample method (Burdick, Graybill 1992, doi:10.1201/9781482277142, section 3.3), exact for the innermost,
        on the assumption of normal effects, not cut at 0; ``share``: of the sum of the variances, in [0, 1], NaN when
        nothing varies; ``note``.

    Raises:
        CampaignError: the design is another, or a run is missing or failed.
    """
    check_interval(confidence)
    must_be(campaign, "variance")
    names = campaign.design.components
    listed = {name: levels for name, levels in campaign.factors.items() if isinstance(levels, tuple)}
    sizes = [len(listed[name]) if name in listed else campaign.design.repeats for name in names]
    y = per_point(campaign, results, measure, len(points(campaign))).reshape(sizes)
    df, squares = nested_squares(y)
    mean_sq = [ss / d for ss, d in zip(squares, df, strict=True)]
    drawn = [name not in LISTED for name in names]
    below = [math.prod(sizes[i + 1 :]) for i in range(len(names))]
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        inner = next((j for j in range(i + 1, len(names)) if drawn[j]), None)
        if inner is None:
            variance = mean_sq[i] / below[i]
            low, high = _interval_of_one(mean_sq[i] / below[i], df[i], confidence)
        else:
            variance = (mean_sq[i] - mean_sq[inner]) / below[i]
            a, b = mean_sq[i] / below[i], mean_sq[inner] / below[i]
            low, high = _interval_of_difference(a, df[i], b, df[inner], confidence)
        parts = [(below[j], names[j]) for j in range(i, len(names)) if j == i or drawn[j]]
        said = " + ".join((f"{k} " if k > 1 else "") + f"V[{part}]" for k, part in reversed(parts))
        notes = []
        if i == len(names) - 1:
            notes.append("the residual: how runs differ that agree in everything above")
        if not drawn[i]:
            notes.append("its values are listed, not drawn")
        if variance < 0:
            notes.append("a negative estimate counts as 0 in the share")
        rows.append({
            "component": name, "values": sizes[i], "is_listed": not drawn[i], "df": df[i], "sum_sq": squares[i],
            "mean_sq": mean_sq[i], "expected_mean_sq": said, "variance": variance, "low": low, "high": high,
            "note": "; ".join(notes),
        })  # fmt: skip
    total = sum(max(row["variance"], 0.0) for row in rows)
    for row in rows:
        row["share"] = max(row["variance"], 0.0) / total if total > 0 else math.nan
    order = [
        "component", "values", "is_listed", "df", "sum_sq", "mean_sq", "expected_mean_sq", "variance", "low", "high",
        "share", "note",
    ]  # fmt: skip
    return pl.DataFrame(rows).select(order)


def nested_squares(y: npt.ArrayLike) -> tuple[list[int], list[float]]:
    """Return degrees of freedom and sums of squares of a balanced nested design, the outermost component first.

    Args:
        y: one value a run, one axis a component: index i on an axis is the i-th value within those before it.
    """
    a = np.asarray(y, np.float64)
    size = float(np.abs(a).max()) if a.size else 0.0
    df, squares = [], []
    outer: npt.NDArray[np.float64] = a.mean(keepdims=True)
    for i in range(a.ndim):
        inner = a.mean(axis=tuple(range(i + 1, a.ndim)), keepdims=True)
        times = math.prod(a.shape[i + 1 :])
        ss = float(((inner - outer) ** 2).sum()) * times
        df.append(math.prod(a.shape[:i]) * (a.shape[i] - 1))
        squares.append(ss if ss > a.size * (NONE * size) ** 2 else 0.0)
        outer = inner
    return df, squares


def _interval_of_one(value: float, df: int, confidence: float) -> tuple[float, float]:
    """Return the interval of a variance from one mean square: df · value / chi-square."""
    from scipy import stats

    tail = (1 - confidence) / 2
    return value * df / float(stats.chi2.isf(tail, df)), value * df / float(stats.chi2.ppf(tail, df))


def _interval_of_difference(a: float, df_a: int, b: float, df_b: int, confidence: float) -> tuple[float, float]:
    """Return the interval of E[a] − E[b], of two independent mean squares (Burdick, Graybill 1992, section 3.3).

    Exact where the difference is 0, and where one of the two is.
    """
    from scipy import stats

    tail = (1 - confidence) / 2
    f_high, f_low = float(stats.f.isf(tail, df_a, df_b)), float(stats.f.ppf(tail, df_a, df_b))

    def g(df: int) -> float:
        return 1 - df / float(stats.chi2.isf(tail, df))

    def h(df: int) -> float:
        return df / float(stats.chi2.ppf(tail, df)) - 1

    g12 = ((f_high - 1) ** 2 - (g(df_a) * f_high) ** 2 - h(df_b) ** 2) / f_high
    h12 = ((1 - f_low) ** 2 - (h(df_a) * f_low) ** 2 - g(df_b) ** 2) / f_low
    below = (g(df_a) * a) ** 2 + (h(df_b) * b) ** 2 + g12 * a * b
    above = (h(df_a) * a) ** 2 + (g(df_b) * b) ** 2 + h12 * a * b
    return a - b - math.sqrt(max(below, 0.0)), a - b + math.sqrt(max(above, 0.0))

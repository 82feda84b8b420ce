"""What a campaign says: means, effect sizes, analysis of variance, sensitivity indices; pure functions over tables.

Each takes the table of results (one row a run), the names of the columns that hold factors, and the column that was
measured, and returns a table. A run that failed, or whose measure is no finite number, is left out (and, in `means`,
counted). Two rows of one run (the same ``key``: a sampled design may name a point twice) count once. What is undefined
is NaN. Random numbers come from streams named by what they are for, so a row does not change when others are added.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from simworld.errors import CampaignError, did_you_mean
from simworld.rng import derive_seed, stream
from simworld.sweep._campaign import Campaign, Until
from simworld.sweep._design import problem, unit_sample
from simworld.sweep._sequential import beyond, interval

if TYPE_CHECKING:
    from simworld.sweep._results import CampaignResults

type Floats = npt.NDArray[np.float64]
type Interval = tuple[float, float]

CONFIDENCE = 0.95
"""Coverage of intervals by default."""
DRAWS = 2000
"""Bootstrap samples by default; the ends of a 95 % interval then rest on 50 of them each (Efron, Tibshirani 1993, 1,000
or more for BCa)."""
BOOTSTRAP_UP_TO = 500
"""Values above which an interval comes from the normal theory: arbitrary; the two then differ in the third digit, and
the bootstrap's jackknife costs the square of the number."""
CELLS_AT_ONCE = 4_000_000
"""Resampled values held at once, 32 MB; arbitrary."""
SMALL = 10
"""Values in the smaller group (or pairs) below which a permutation test replaces the t-test; arbitrary."""
PERMUTATIONS = 9999
"""Random permutations where there are more than these; with at most as many, all are taken."""
PAIRS = 40
"""Comparisons a factor; with more pairs of levels than these, each level is compared with the first alone."""
COLUMNS = 400
"""Columns of the linear model of an analysis of variance; arbitrary, a few seconds at 10,000 runs."""
ROUNDING = 1e-20
"""Share of the sum of squares that is rounding: the square of a relative error of 1e-10."""

_EQUAL = 1e-12
"""Relative difference below which two values are one: sums taken in another order differ by as much."""
_VALUE = "analysis:value"
_NAN = math.nan


def means(
    results: pl.DataFrame,
    factors: Sequence[str],
    measure: str,
    *,
    confidence: float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    until: Until | None = None,
    common: bool = False,
) -> pl.DataFrame:
    """Return the mean of a measure at each combination of the factors' values, with its interval.

    The interval is the BCa bootstrap (Efron 1987, doi:10.1080/01621459.1987.10478410), the percentile bootstrap where
    BCa is undefined, and Student's above `BOOTSTRAP_UP_TO` values. With fewer than about ten values it is too narrow.

    Where the number of replicates depended on what they gave, none of these covers as often as it says. Such
    intervals are the confidence sequence's at the stop (see `Until`): the asymptotic one for measures other than the
    rule's, and where a value lies outside the rule's bounds. Where k points are taken together, the interval is the
    mean of theirs, each at 1 − (1 − confidence) / k (Bonferroni) and weighted by its number of runs: it is for the
    mean of these points.

    Args:
        results: one row a run.
        factors: columns that make a point; none takes all runs together.
        measure: the column that was measured.
        confidence: coverage, in (0, 1); by default that of ``until``, else `CONFIDENCE`.
        draws: bootstrap samples, at least 1.
        seed: of the bootstrap's streams.
        until: the rule of adaptive replication that decided how many runs there are.
        common: whether runs of one replicate have random numbers in common. Where several points are taken together
            these are no independent draws: mean and interval (unless ``until`` is given) are then those of the
            replicates' means.

    Returns:
        The factors, in order of first appearance, and ``n`` (runs with a number), ``missing`` (runs without), ``mean``,
        ``sd`` (sample standard deviation, NaN below two), ``low``, ``high`` (NaN below two, and where an asymptotic
        sequence has equal values only), ``method`` of the interval: ``bootstrap``, ``student``, ``sequence`` (exact),
        ``asymptotic sequence``, or ``none``.

    Raises:
        CampaignError: a column that is not there, or a measure that is no number.
    """
    if confidence is None:
        confidence = CONFIDENCE if until is None else until.confidence
    check_interval(confidence, draws)
    kept = [*factors, "point"] if until is not None and "point" in results.columns else factors
    runs = _runs(results, kept, measure)
    groups = _groups(runs, factors)
    usable = [found[np.isfinite(found)] for _, found in groups]
    units = usable
    if until is None:
        if common:
            units = [found[np.isfinite(found)] for _, found in _groups(_of_replicates(runs, factors), factors)]
        bounds = _intervals_of_means(units, confidence, draws, seed, ("analysis", "means", measure))
        methods = ["bootstrap" if len(x) <= BOOTSTRAP_UP_TO else "student" for x in units]
    else:
        limits = until.bounds if until.metric == measure else None
        if limits is not None and any(len(beyond(x, limits)) for x in usable):  # the campaign ended there
            limits = None
        rule = until.model_copy(update={"bounds": limits})
        bounds = _stopped_intervals(runs, factors, rule, confidence)
        methods = ["asymptotic sequence" if rule.bounds is None else "sequence"] * len(groups)
    rows = [
        (*values, len(x), len(found) - len(x), _mean(u), _sd(x), *bound, "none" if math.isnan(bound[0]) else method)
        for (values, found), x, u, bound, method in zip(groups, usable, units, bounds, methods, strict=True)
    ]
    schema: dict[str, Any] = {name: runs.schema[name] for name in factors}
    schema |= {"n": pl.Int64, "missing": pl.Int64, **_floats("mean", "sd", "low", "high"), "method": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _stopped_intervals(runs: pl.DataFrame, factors: Sequence[str], until: Until, confidence: float) -> list[Interval]:
    """Return the confidence sequence's interval of each combination of values, in order of first appearance."""
    found: list[Interval] = []
    whole = [runs] if runs.height else []
    for rows in runs.partition_by(list(factors), maintain_order=True) if factors else whole:
        parts = [rows] if "point" not in rows.columns else rows.partition_by("point", maintain_order=True)
        values = [part[_VALUE].drop_nulls().to_numpy() for part in parts]
        values = [x for x in values if len(x)]
        of_each = 1.0 - (1.0 - confidence) / max(len(values), 1)
        n = sum(map(len, values))
        ends = [(len(x) / n, interval(x, until, of_each)) for x in values]
        low, high = (sum(share * end[side] for share, end in ends) for side in (0, 1))
        found.append((low, high) if n > 1 and math.isfinite(low) else (_NAN, _NAN))
    return found


def effects(
    results: pl.DataFrame,
    factors: Sequence[str],
    measure: str,
    *,
    compare: Sequence[str] | None = None,
    paired: bool = False,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> pl.DataFrame:
    """Compare the levels of each factor, over all values of the other factors together.

    All pairs of levels are compared, or, where that would be more than `PAIRS`, each level with the first (column
    ``compared`` says which). Signs: the difference, d and delta are positive when level b has more than level a.

    Args:
        results: one row a run.
        factors: all factors of the campaign; a pair of runs agrees in all but the one that is compared.
        measure: the column that was measured.
        compare: the factors whose levels are compared; all when None.
        paired: whether runs of one replicate have random numbers in common, and are to be compared in pairs: one pair
            a replicate, its mean difference over the other factors' values that both levels have, since differences
            that share random numbers are no independent draws. Where there is no pair, the replicates' means are
            compared as if not.
        confidence: coverage of each interval, in (0, 1); not corrected for the number of comparisons.
        draws: bootstrap samples of each interval.
        seed: of the streams of bootstrap and permutations.

    Returns:
        ``factor``, ``level_a``, ``level_b`` (text), ``n_a``, ``n_b``, ``mean_a``, ``mean_b``; ``difference`` of the
        means with ``low``, ``high`` (bootstrap as in `means`, when ``paired`` over the replicates' means; Welch's
        interval above `BOOTSTRAP_UP_TO` values);
        ``cohens_d``: the difference over the pooled standard deviation (Cohen 1988), NaN where that is 0;
        ``cliffs_delta``: P(b > a) − P(b < a), in [−1, 1] (Cliff 1993, doi:10.1037/0033-2909.114.3.494);
        ``n_pairs`` (replicates), ``paired_difference``, ``paired_low``, ``paired_high``: the mean difference within
        pairs (0 pairs and NaN unless ``paired``); ``test``: ``welch`` or ``paired t``, with fewer than `SMALL` values,
        or when nothing varies within the groups, ``permutation`` or ``sign flips``; ``p``: its two-sided p-value;
        ``p_holm``: the same corrected for all rows (Holm 1979, doi:10.2307/4615733); ``compared``: ``all pairs`` or
        ``with the first``.

    Raises:
        CampaignError: a column that is not there, a measure that is no number, a factor with more than 41 levels, or
            pairs that are not unique.
    """
    check_interval(confidence, draws)
    runs = _runs(results, factors, measure)
    if paired and "replicate" not in runs.columns:
        raise CampaignError("runs can be compared in pairs only by a column 'replicate'; pass paired=False")
    rows: list[tuple[Any, ...]] = []
    for factor in factors if compare is None else compare:
        groups = {values[0]: found for values, found in _groups(runs.select(factor, _VALUE), [factor])}
        levels = list(groups)
        if len(levels) > PAIRS + 1:
            raise CampaignError(f"factor {factor!r} has {len(levels)} levels, too many to compare; see correlations")
        is_all = len(levels) * (len(levels) - 1) // 2 <= PAIRS
        chosen = itertools.combinations(levels, 2) if is_all else ((levels[0], level) for level in levels[1:])
        others = [name for name in factors if name != factor]
        units = groups
        if paired:
            means_of = _of_replicates(runs, [factor])
            units = {values[0]: found for values, found in _groups(means_of, [factor])}
        for a, b in chosen:
            name = ("analysis", "effects", measure, factor, _text(a), _text(b))
            x, y = (found[np.isfinite(found)] for found in (groups[a], groups[b]))
            u, v = (found[np.isfinite(found)] for found in (units[a], units[b]))
            low, high = _interval_of_difference(u, v, confidence, draws, stream(seed, *name, "difference"))
            within = _within_pairs(runs, factor, a, b, others) if paired else np.empty(0)
            rng = stream(seed, *name, "test")
            test, p = _paired_test(within, rng) if len(within) else _two_sample_test(u, v, rng)
            (bounds,) = _intervals_of_means([within], confidence, draws, seed, (*name, "pairs"))
            rows.append((
                factor, _text(a), _text(b), len(x), len(y), _mean(x), _mean(y), _mean(y) - _mean(x), low, high,
                cohens_d(x, y), cliffs_delta(x, y), len(within), _mean(within), *bounds, test, p, _NAN,
                "all pairs" if is_all else "with the first",
            ))  # fmt: skip
    frame = pl.DataFrame(rows, orient="row", schema={
        "factor": pl.String, "level_a": pl.String, "level_b": pl.String, "n_a": pl.Int64, "n_b": pl.Int64,
        **_floats("mean_a", "mean_b", "difference", "low", "high", "cohens_d", "cliffs_delta"), "n_pairs": pl.Int64,
        **_floats("paired_difference", "paired_low", "paired_high"), "test": pl.String, **_floats("p", "p_holm"),
        "compared": pl.String,
    })  # fmt: skip
    return frame.with_columns(pl.Series("p_holm", holm(frame["p"].to_numpy())))


def cohens_d(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return (mean of b − mean of a) / pooled sample standard deviation (Cohen 1988); NaN where that is 0."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(x) + len(y) < 3 or not (len(x) and len(y)) or (_is_constant(x) and _is_constant(y)):
        return _NAN
    squares = float(((x - x.mean()) ** 2).sum() + ((y - y.mean()) ** 2).sum())
    return float(y.mean() - x.mean()) / math.sqrt(squares / (len(x) + len(y) - 2))


def cliffs_delta(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return P(b > a) − P(b < a) over all pairs, in [−1, 1] (Cliff 1993, doi:10.1037/0033-2909.114.3.494)."""
    x, y = np.sort(np.asarray(a, np.float64)), np.asarray(b, np.float64)
    if not (len(x) and len(y)):
        return _NAN
    below, above = np.searchsorted(x, y, "left"), len(x) - np.searchsorted(x, y, "right")
    return float(below.sum() - above.sum()) / (len(x) * len(y))


def holm(p: npt.ArrayLike) -> Floats:
    """Return p-values corrected so that one wrong rejection among all has at most the level (Holm 1979).

    Undefined ones (NaN) count as tests that were not made, and stay undefined.
    """
    from statsmodels.stats.multitest import multipletests

    given = np.asarray(p, np.float64)
    found = np.full(len(given), _NAN)
    if (is_tested := np.isfinite(given)).any():
        found[is_tested] = multipletests(given[is_tested], method="holm")[1]
    return found


def anova(results: pl.DataFrame, factors: Sequence[str], measure: str, *, interactions: bool = True) -> pl.DataFrame:
    """Return the analysis of variance by main effects and two-way interactions, type II, factors as categories.

    Type II (Yates 1934; Langsrud 2003, doi:10.1023/A:1023260610025): a term's sum of squares is what it adds to all
    terms that do not contain it; in a balanced design the order of terms does not matter and they add up to the total.
    Runs count as independent. A factor with one level is left out.

    Args:
        results: one row a run.
        factors: columns that hold factors.
        measure: the column that was measured.
        interactions: whether two-way interactions are terms; else they are part of the residual.

    Returns:
        One row a term (``a``, ``a × b``) and ``residual``: ``term``, ``df``, ``sum_sq``, ``F``, ``p`` (NaN where the
        residual is 0), ``eta_sq``: share of the total sum of squares, ``partial_eta_sq``: share of the term's and the
        residual's together (Cohen 1973, doi:10.1177/001316447303300111); NaN for the residual.

    Raises:
        CampaignError: no factor has two levels, the residual has no degrees of freedom, or the points that ran do not
            tell the terms apart.
    """
    import pandas as pd
    from scipy import stats
    from statsmodels.formula.api import wls
    from statsmodels.stats.anova import anova_lm

    runs = _runs(results, factors, measure).drop_nulls(_VALUE)
    levels = {name: runs[name].n_unique() for name in factors}
    kept = [name for name in factors if levels[name] > 1]
    if not kept:
        raise CampaignError(f"no factor of {list(factors)} has two levels among the runs with a number; vary one")
    terms = [(name,) for name in kept] + (list(itertools.combinations(kept, 2)) if interactions else [])
    df = [math.prod(levels[name] - 1 for name in term) for term in terms]
    if sum(df) + 1 > COLUMNS:
        raise CampaignError(
            f"{sum(df) + 1} cells are too many for an analysis of variance; take fewer factors or levels"
        )
    hint = "; run more replicates, or leave interactions out" if interactions else "; run more replicates"
    left = runs.height - 1 - sum(df)
    if left < 1:
        raise CampaignError(f"{runs.height} runs leave no degrees of freedom beside {sum(df)} of the terms{hint}")
    middle = float(runs[_VALUE].to_numpy().mean())
    by_cell = [(values, found - middle) for values, found in _groups(runs, kept)]
    n = np.array([len(found) for _, found in by_cell])
    mean = np.array([found.mean() for _, found in by_cell])
    within = float(sum(((found - found.mean()) ** 2).sum() for _, found in by_cell))
    total = float(n @ mean**2) + within
    if total <= runs.height * (_EQUAL * middle) ** 2:
        total = 0.0
    # The terms' sums of squares depend on the cells' means and sizes alone, so the model is fitted to two rows a cell
    # and not to every run. The distance between the two is arbitrary; it keeps a perfect fit from dividing by 0.
    apart = math.sqrt(total / runs.height) if total else 1.0
    short = {name: f"f{i}" for i, name in enumerate(kept)}
    columns = {short[name]: [_text(values[i]) for values, _ in by_cell] * 2 for i, name in enumerate(kept)}
    data = pd.DataFrame({"y": np.concatenate([mean - apart, mean + apart]), **columns})
    said = " + ".join(":".join(f"C({short[name]}, Sum)" for name in term) for term in terms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the fit is not unique is said below
        fit = wls(f"y ~ {said}", data, weights=np.concatenate([n, n]) / 2).fit()
    if fit.model.rank < fit.model.exog.shape[1]:
        raise CampaignError(f"the points that ran do not tell the terms apart{hint if interactions else ''}")
    squares = [float(value) for value in anova_lm(fit, typ=2)["sum_sq"]]
    residual = within + float(n @ (mean - np.asarray(fit.fittedvalues)[: len(mean)]) ** 2)
    residual = residual if total and residual > ROUNDING * total else 0.0
    rows: list[tuple[Any, ...]] = []
    for term, d, found in zip(terms, df, squares[:-1], strict=True):
        ss = found if total and found > ROUNDING * total else 0.0
        f = (ss / d) / (residual / left) if residual else _NAN
        rows.append((
            " × ".join(term), d, ss, f, float(stats.f.sf(f, d, left)), ss / total if total else _NAN,
            ss / (ss + residual) if ss + residual else _NAN,
        ))  # fmt: skip
    rows.append(("residual", left, residual, _NAN, _NAN, residual / total if total else _NAN, _NAN))
    schema = {"term": pl.String, "df": pl.Int64, **_floats("sum_sq", "F", "p", "eta_sq", "partial_eta_sq")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def correlations(
    results: pl.DataFrame,
    factors: Sequence[str],
    measure: str,
    *,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> pl.DataFrame:
    """Return Spearman's rank correlation of each numeric factor with a measure.

    Meant for designs whose points are independent draws: where there is a column ``point``, the measure is the mean of
    each point's runs, which are no independent draws of one another. The interval is the bootstrap's over points, as
    in `means`; above `BOOTSTRAP_UP_TO` it is Fisher's z with standard error sqrt((1 + rho²/2)/(n − 3)) (Bonett, Wright
    2000, doi:10.1007/BF02294183).

    Returns:
        ``factor``, ``n`` (points), ``rho``, ``low``, ``high``, ``p`` (two-sided, t distribution), ``p_holm`` (over
        all rows);
        factors that are no numbers, or have one value, are left out.

    Raises:
        CampaignError: a column that is not there, or a measure that is no number.
    """
    from scipy import stats

    check_interval(confidence, draws)
    is_by_point = "point" in results.columns
    runs = _runs(results, [*factors, "point"] if is_by_point else factors, measure).drop_nulls(_VALUE)
    if is_by_point:
        first = [pl.col(name).first() for name in factors]
        runs = runs.group_by("point", maintain_order=True).agg(*first, pl.col(_VALUE).mean())
    rows: list[tuple[Any, ...]] = []
    for factor in factors:
        if not runs.schema[factor].is_numeric():
            continue
        both = runs.select(pl.col(factor).cast(pl.Float64), _VALUE).drop_nulls()
        x, y = both[factor].to_numpy(), both[_VALUE].to_numpy()
        if len(set(x.tolist())) < 2:
            continue
        rho = p = low = high = _NAN
        if len(x) > 2 and np.ptp(y) > 0:
            found = stats.spearmanr(x, y)
            rho, p = float(found.statistic), float(found.pvalue)
            rng = stream(seed, "analysis", "correlations", measure, factor)
            if len(x) <= BOOTSTRAP_UP_TO:
                low, high = map(float, _bootstrap((x, y), _spearman, confidence, draws, rng, paired=True))
            elif abs(rho) < 1:
                half = float(stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
                low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
            else:
                low = high = rho
        rows.append((factor, len(x), rho, low, high, p, _NAN))
    schema = {"factor": pl.String, "n": pl.Int64, **_floats("rho", "low", "high", "p", "p_holm")}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.Series("p_holm", holm(frame["p"].to_numpy())))


def sobol_indices(
    campaign: Campaign, results: pl.DataFrame, measure: str, *, confidence: float = CONFIDENCE, draws: int = DRAWS
) -> pl.DataFrame:
    """Return Sobol' indices: shares of the variance of a measure over the factors' ranges, by SALib.

    First order and total by Saltelli et al. 2010 (doi:10.1016/j.cpc.2009.09.018), second order by Saltelli 2002
    (doi:10.1016/S0010-4655(02)00280-1), of the mean of each point's replicates. What chance is left in those means
    counts as a factor nobody varies: it lowers the first order and, differing between points, raises the totals.
    Estimates may lie a little outside [0, 1].

    Returns:
        ``order``: ``first``, ``total`` or ``second`` (the latter where the design allows); ``factor``, ``other``: the
        second factor of a second-order index, else empty; ``index``; ``low``, ``high``: plus and minus SALib's
        bootstrap error of the given confidence.

    Raises:
        CampaignError: the design is another, a run is missing or failed, or the measure is the same everywhere.
    """
    from SALib.analyze import sobol

    check_interval(confidence, draws)
    must_be(campaign, "sobol")
    y = per_point(campaign, results, measure, len(unit_sample(campaign)))
    if _is_constant(y):
        raise CampaignError(f"{measure!r} is the same in all runs; there is no variance to share out")
    names, is_second = list(campaign.factors), campaign.design.second_order
    found = sobol.analyze(
        problem(campaign), y, calc_second_order=is_second, num_resamples=draws, conf_level=confidence,
        seed=_seed(campaign),
    )  # fmt: skip
    rows: list[tuple[Any, ...]] = []
    for order, key in (("first", "S1"), ("total", "ST")):
        rows += [(order, name, "", *_around(found[key][i], found[f"{key}_conf"][i])) for i, name in enumerate(names)]
    if is_second:
        for i, j in itertools.combinations(range(len(names)), 2):
            rows.append(("second", names[i], names[j], *_around(found["S2"][i, j], found["S2_conf"][i, j])))
    text = {"order": pl.String, "factor": pl.String, "other": pl.String}
    return pl.DataFrame(rows, schema={**text, **_floats("index", "low", "high")}, orient="row")


def morris_indices(
    campaign: Campaign, results: pl.DataFrame, measure: str, *, confidence: float = CONFIDENCE, draws: int = DRAWS
) -> pl.DataFrame:
    """Return Morris' elementary effects of each factor, by SALib, of the mean of each point's replicates.

    An effect is the change of the measure when a factor goes through its whole range, in units of the measure (Morris
    1991, doi:10.1080/00401706.1991.10484804; mu* by Campolongo, Cariboni, Saltelli 2007,
    doi:10.1016/j.envsoft.2006.10.004).

    Returns:
        ``factor``; ``mu``: mean effect; ``mu_star``: mean absolute effect, with ``low``, ``high`` (SALib's bootstrap
        error); ``sigma``: standard deviation of the effects, from curvature, interactions and chance.

    Raises:
        CampaignError: the design is another or has one trajectory, or a run is missing or failed.
    """
    from SALib.analyze import morris

    check_interval(confidence, draws)
    must_be(campaign, "morris")
    if campaign.design.n == 1:
        raise CampaignError("one trajectory gives no spread of the effects; set design.n to 2 or more")
    sample = unit_sample(campaign)
    y = per_point(campaign, results, measure, len(sample))
    found = morris.analyze(
        problem(campaign), sample, y, num_resamples=draws, conf_level=confidence, num_levels=campaign.design.levels,
        seed=_seed(campaign),
    )  # fmt: skip
    rows = [
        (name, float(found["mu"][i]), *_around(found["mu_star"][i], found["mu_star_conf"][i]), float(found["sigma"][i]))
        for i, name in enumerate(campaign.factors)
    ]
    schema = {"factor": pl.String, **_floats("mu", "mu_star", "low", "high", "sigma")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def per_point(campaign: Campaign, results: pl.DataFrame, measure: str, n: int) -> Floats:
    """Return the mean over replicates of a measure at each of ``n`` points, shape (n,), in the design's order.

    Raises:
        CampaignError: a run is missing, failed or has no finite number; says at which points.
    """
    runs = _runs(results, ["point"], measure, is_each_row=True)
    good = runs.drop_nulls(_VALUE).group_by("point").agg(pl.len().alias("n"), pl.col(_VALUE).mean())
    whole = set(good.filter(pl.col("n") >= campaign.replicates)["point"].to_list())
    if bad := [point for point in range(n) if point not in whole]:
        shown = ", ".join(map(str, bad[:10])) + (" …" if len(bad) > 10 else "")
        raise CampaignError(
            f"{measure!r} needs every run of the design; runs are missing or failed at {len(bad)} of {n} points "
            f"({shown}); call simworld sweep again, with --retry-failed"
        )
    return good.filter(pl.col("point") < n).sort("point")[_VALUE].to_numpy().astype(np.float64)


def summary(found: CampaignResults, measure: str | None = None) -> dict[str, Any]:
    """Return every analysis that fits a campaign's design, of one measure; never raises because data are missing.

    Returns:
        ``measure``; those of ``means``, ``effects``, ``anova``, ``correlations``, ``sobol``, ``morris``, ``variance``
        (tables) that apply; ``notes``: sentences on what could not be computed, was left out, or must be kept in mind.
    """
    from simworld.sweep._variance import variance_card

    notes: list[str] = []
    made: dict[str, Any] = {"measure": measure or "", "notes": notes}

    def attempt(name: str, make: Callable[[], pl.DataFrame]) -> bool:
        try:
            made[name] = make()
        except CampaignError as error:
            notes.append(f"{name}: {error}.")
        return name in made

    try:
        chosen = made["measure"] = measure or found.outcome
        campaign, results, factors = found.campaign, found.results, found.factors
        unusable = results.height - _runs(results, factors, chosen, is_each_row=True)[_VALUE].count()
    except CampaignError as error:
        notes.append(f"There is nothing to analyse: {error}.")
        return made
    kind = campaign.design.kind
    if unusable:
        notes.append(f"{unusable} of {results.height} runs failed or gave no finite {chosen}; they are left out.")
    if kind == "variance":
        attempt("variance", lambda: variance_card(campaign, results, chosen))
        return made
    attempt("means", lambda: means(results, factors, chosen, until=campaign.until))
    if campaign.until is not None:
        notes.append(
            f"Replicates were added until the mean of {campaign.until.metric} was known well enough. Intervals of "
            "means are the confidence sequence's, which hold whenever one stops; those of effects, and all p-values, "
            "are for a fixed number of replicates and only a guide."
        )
    few = made["means"]["n"].min() if "means" in made and campaign.until is None else None
    if few is not None and few < SMALL:
        notes.append(
            f"Some points have only {few} run{'' if few == 1 else 's'}: bootstrap intervals of means of fewer than "
            f"{SMALL} cover less often than they say."
        )
    compared = _compared(found, notes)
    if compared and kind in ("latin_hypercube", "random") and results["replicate"].n_unique() > 1:
        notes.append(
            "effects: runs of one point have the values of all factors in common and are no independent draws; "
            "intervals and p-values take them as such, and are too narrow and too small."
        )
    if compared:
        paired = campaign.common_random_numbers
        attempt("effects", lambda: effects(results, factors, chosen, compare=compared, paired=paired))
    if kind in ("factorial", "points") and compared:
        is_whole = attempt("anova", lambda: anova(results, compared, chosen)) or len(compared) == 1
        if not is_whole and attempt("anova", lambda: anova(results, compared, chosen, interactions=False)):
            notes.append("anova: interactions are left out, and are part of its residual.")
        if "anova" in made and campaign.common_random_numbers:
            notes.append("anova: runs share random numbers and are no independent draws; its p-values are not exact.")
    if kind in ("latin_hypercube", "random", "sobol"):
        base = results
        if kind == "sobol":
            # Points between the first and the last of a block repeat their coordinates; the two are independent.
            block = len(campaign.factors) * (2 if campaign.design.second_order else 1) + 2
            base = results.filter((pl.col("point") % block).is_in([0, block - 1]))
        attempt("correlations", lambda: correlations(base, factors, chosen))
    if kind == "sobol":
        attempt("sobol", lambda: sobol_indices(campaign, results, chosen))
    if kind == "morris":
        attempt("morris", lambda: morris_indices(campaign, results, chosen))
    return made


def _compared(found: CampaignResults, notes: list[str]) -> list[str]:
    """Return the factors whose levels can be compared one with another."""
    kind, kept = found.campaign.design.kind, []
    for name, column in zip(dict.fromkeys(n for point in found.points for n in point), found.factors, strict=True):
        if kind in ("latin_hypercube", "random") and not isinstance(found.campaign.factors.get(name), tuple):
            continue
        n = found.results[column].n_unique()
        if n > PAIRS + 1:
            notes.append(f"effects: factor {name} has {n} levels, too many to compare one with another; left out.")
        elif n > 1:
            kept.append(column)
    return [] if kind in ("sobol", "morris") else kept


def check_interval(confidence: float, draws: int = 1) -> None:
    """Refuse a confidence or a number of draws that is none."""
    if not 0 < confidence < 1:
        raise CampaignError(f"confidence is a number between 0 and 1, got {confidence!r}")
    if draws < 1:
        raise CampaignError(f"draws is a whole number of at least 1, got {draws!r}")


def must_be(campaign: Campaign, kind: str) -> None:
    """Refuse a campaign of another design."""
    if campaign.design.kind != kind:
        raise CampaignError(f"this needs a {kind} design, and the campaign's is {campaign.design.kind!r}")


def _runs(results: pl.DataFrame, factors: Sequence[str], measure: str, *, is_each_row: bool = False) -> pl.DataFrame:
    """Return factors, replicate and value of each run, in order of point and replicate; null where there is none."""
    for name in (*factors, measure):
        if name not in results.columns:
            known = did_you_mean(name, results.columns) or f"; there are {results.columns}"
            raise CampaignError(f"no column {name!r} in the results{known}")
    dtype = results.schema[measure]
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise CampaignError(f"{measure!r} is no number but {dtype}; choose a measure")
    value = pl.col(measure).cast(pl.Float64)
    value = pl.when(value.is_finite()).then(value)
    if "status" in results.columns:
        value = pl.when(pl.col("status") == "done").then(value)
    order = [name for name in ("point", "replicate") if name in results.columns]
    frame = results.sort(order, maintain_order=True) if order else results
    if "key" in results.columns and not is_each_row:
        frame = frame.unique("key", keep="first", maintain_order=True)
    kept = list(dict.fromkeys([*factors, *(name for name in order if name == "replicate")]))
    return frame.select(*kept, value.alias(_VALUE))


def _groups(runs: pl.DataFrame, factors: Sequence[str]) -> list[tuple[tuple[Any, ...], Floats]]:
    """Return each combination of values, in order of first appearance, with its values; NaN where there is none."""
    if not factors:
        return [((), runs[_VALUE].fill_null(_NAN).to_numpy())] if runs.height else []
    held = runs.group_by(list(factors), maintain_order=True).agg(pl.col(_VALUE).fill_null(_NAN))
    return [(tuple(row[:-1]), np.asarray(row[-1], np.float64)) for row in held.iter_rows()]


def _of_replicates(runs: pl.DataFrame, factors: Sequence[str]) -> pl.DataFrame:
    """Return the mean of each replicate at each combination of the factors' values, in order of first appearance."""
    if "replicate" not in runs.columns:
        raise CampaignError("runs that have random numbers in common are known by a column 'replicate'")
    by = [*factors, "replicate"]
    return runs.group_by(by, maintain_order=True).agg(pl.col(_VALUE).mean())


def _within_pairs(runs: pl.DataFrame, factor: str, a: Any, b: Any, others: Sequence[str]) -> Floats:
    """Return the mean of b − a over the values of the other factors that both have, of every replicate."""
    by = ["replicate", *others]
    sides = [runs.filter(pl.col(factor).eq_missing(pl.lit(level))).drop_nulls(_VALUE) for level in (a, b)]
    if any(side.select(by).is_duplicated().any() for side in sides):
        raise CampaignError(f"runs of one replicate are no pairs: some agree in {by}; name every factor that varies")
    both = sides[0].join(sides[1], on=by, how="inner", nulls_equal=True, suffix=":b", maintain_order="left")
    before, after = (both[name].to_numpy().astype(np.float64) for name in (_VALUE, f"{_VALUE}:b"))
    is_same = np.isclose(before, after, rtol=_EQUAL, atol=0.0)  # a difference that is rounding has no sign
    within = both.select("replicate", pl.Series(_VALUE, np.where(is_same, 0.0, after - before)))
    return _of_replicates(within, [])[_VALUE].to_numpy()


def _bootstrap(
    samples: tuple[Floats, ...],
    statistic: Callable[..., Any],
    confidence: float,
    draws: int,
    rng: np.random.Generator,
    *,
    paired: bool = False,
) -> tuple[Floats, Floats]:
    """Return both ends: of one sample (or several that make one statistic), or of each row of a table."""
    from scipy import stats

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of degenerate samples, for which BCa is NaN
        made: Any = stats.bootstrap(
            samples, statistic, n_resamples=draws, confidence_level=confidence, method="BCa", paired=paired, rng=rng,
            vectorized=True, axis=-1,
        )  # fmt: skip
        low, high = (np.asarray(end, np.float64) for end in made.confidence_interval)
        is_bca = np.isfinite(low) & np.isfinite(high)
        if not is_bca.all():
            tail = (1 - confidence) / 2
            ends = np.nanquantile(made.bootstrap_distribution, (tail, 1 - tail), axis=-1)
            low, high = np.where(is_bca, low, ends[0]), np.where(is_bca, high, ends[1])
    return low, high


def _intervals_of_means(
    samples: Sequence[Floats], confidence: float, draws: int, seed: int, name: tuple[str, ...]
) -> list[Interval]:
    """Return an interval for the mean of each sample; those of one size are resampled together, by the same draws."""
    from scipy import stats

    found: list[Interval] = [(_NAN, _NAN)] * len(samples)
    of_size: dict[int, list[int]] = {}
    for i, x in enumerate(samples):
        if len(x) < 2:
            continue
        if _is_constant(x):
            found[i] = _mean(x), _mean(x)
        elif len(x) > BOOTSTRAP_UP_TO:
            half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1)) * _sd(x) / math.sqrt(len(x))
            found[i] = _mean(x) - half, _mean(x) + half
        else:
            of_size.setdefault(len(x), []).append(i)
    for n, which in of_size.items():
        at_once = max(1, CELLS_AT_ONCE // (n * max(draws, n)))
        for first in range(0, len(which), at_once):
            some = which[first : first + at_once]
            rows = np.stack([samples[i] for i in some])
            low, high = _bootstrap((rows,), np.mean, confidence, draws, stream(seed, *name, n))
            for i, a, b in zip(some, low.tolist(), high.tolist(), strict=True):
                found[i] = a, b
    return found


def _interval_of_difference(x: Floats, y: Floats, confidence: float, draws: int, rng: np.random.Generator) -> Interval:
    from scipy import stats

    if len(x) < 2 or len(y) < 2:
        return _NAN, _NAN
    difference = _mean(y) - _mean(x)
    if _is_constant(x) and _is_constant(y):
        return difference, difference
    if max(len(x), len(y)) > BOOTSTRAP_UP_TO:
        a, b = _sd(x) ** 2 / len(x), _sd(y) ** 2 / len(y)
        df = (a + b) ** 2 / (a**2 / (len(x) - 1) + b**2 / (len(y) - 1))
        half = float(stats.t.ppf((1 + confidence) / 2, df)) * math.sqrt(a + b)
        return difference - half, difference + half
    low, high = _bootstrap((x, y), _gap, confidence, draws, rng)
    return float(low), float(high)


def _gap(a: Floats, b: Floats, axis: int = -1) -> Any:
    return np.mean(b, axis=axis) - np.mean(a, axis=axis)


def _spearman(a: Floats, b: Floats, axis: int = -1) -> Any:
    from scipy import stats

    x, y = (stats.rankdata(each, axis=axis) for each in (a, b))
    x, y = (each - each.mean(axis=axis, keepdims=True) for each in (x, y))
    return (x * y).sum(axis=axis) / np.sqrt((x * x).sum(axis=axis) * (y * y).sum(axis=axis))


def _two_sample_test(x: Floats, y: Floats, rng: np.random.Generator) -> tuple[str, float]:
    """Return the test of equal means, and its two-sided p-value."""
    from scipy import stats

    if not (len(x) and len(y)):
        return "", _NAN
    if _is_constant(x) and _is_constant(y):
        # Of all ways to split the values one is as extreme as this on its side; both sides count.
        is_same = _is_constant(np.concatenate([x, y]))
        return "permutation", 1.0 if is_same else min(1.0, 2 / math.comb(len(x) + len(y), len(x)))
    if min(len(x), len(y)) < 2:
        return "", _NAN
    if min(len(x), len(y)) < SMALL and max(len(x), len(y)) <= BOOTSTRAP_UP_TO:
        found = stats.permutation_test((x, y), _gap, vectorized=True, n_resamples=PERMUTATIONS, rng=rng)
        return "permutation", float(found.pvalue)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy says that a group without variance has lost precision
        return "welch", float(stats.ttest_ind(y, x, equal_var=False).pvalue)


def _paired_test(within: Floats, rng: np.random.Generator) -> tuple[str, float]:
    """Return the test of a mean difference of 0, and its two-sided p-value."""
    from scipy import stats

    if _is_constant(within):
        return "sign flips", 1.0 if within[0] == 0 else min(1.0, 2 / 2 ** len(within))
    if len(within) < SMALL:
        found = stats.permutation_test(
            (within,), _mean_of, permutation_type="samples", vectorized=True, n_resamples=PERMUTATIONS, rng=rng
        )
        return "sign flips", float(found.pvalue)
    return "paired t", float(stats.ttest_1samp(within, 0.0).pvalue)


def _mean_of(a: Floats, axis: int = -1) -> Any:
    return np.mean(a, axis=axis)


def _is_constant(x: Floats) -> bool:
    """Return whether values differ by no more than rounding."""
    return bool(np.ptp(x) <= _EQUAL * float(np.abs(x).max())) if len(x) else True


def _mean(x: Floats) -> float:
    return float(x.mean()) if len(x) else _NAN


def _sd(x: Floats) -> float:
    return float(x.std(ddof=1)) if len(x) > 1 else _NAN


def _around(value: Any, half: Any) -> tuple[float, float, float]:
    return float(value), float(value - half), float(value + half)


def _seed(campaign: Campaign) -> int:
    # SALib takes 0 for no seed.
    return (derive_seed(campaign.seed, "analysis", campaign.design.kind) & 0x7FFFFFFF) | 1


def _floats(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, pl.Float64)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)

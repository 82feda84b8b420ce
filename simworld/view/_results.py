"""What a campaign's results say: means, curves, heat maps, effects, sensitivity, variance, courses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from simworld.sweep import Span, means
from simworld.view import _figures as figures
from simworld.view._page import Block, Drawing, Grid, Words, grid
from simworld.view._subject import POINTS_SHOWN, Subject, what_is
from simworld.view._text import clean, counted, interval, level, number, p_value

ENDS_SHOWN = 20
"""Of a large design so many points with the highest and so many with the lowest mean are shown; arbitrary."""
CURVES = 6
"""Factors with a curve of the outcome, and other measures with a curve; arbitrary."""
ROWS_SHOWN = 80
"""Rows of a table of an analysis; arbitrary, two screens."""
PARTS = 10
"""Parts of a factor's values in a curve; arbitrary."""
CELLS = 6
"""Parts of each factor's values in the heat map of a sampled design; arbitrary."""
CELLS_FROM = 100
"""Runs from which such a heat map is drawn: some three a cell; arbitrary."""
MINDS = 3
"""Heat maps, one a mind; arbitrary."""
STEPS_SHOWN = 200
"""Steps of a course that are drawn; of longer ones every k-th; arbitrary, as many as can be told apart."""

HOW = "Intervals are 95 %, by bootstrap over runs (BCa; Student's above 500 runs)."
HOW_COMMON = "Intervals are 95 %, by bootstrap over replicates, whose runs share random numbers (BCa)."
STOPPED = (
    "Intervals are {:g} %, by the {} confidence sequence that holds whenever replicates stop; none where all values "
    "are equal and their bounds unknown."
)


def _how(subject: Subject, frame: pl.DataFrame) -> str:
    """Return how the intervals of a table of means are made."""
    until = subject.campaign.until
    if until is None:
        return HOW_COMMON if subject.campaign.common_random_numbers else HOW
    return STOPPED.format(100 * until.confidence, "exact" if "sequence" in frame["method"] else "asymptotic")


def outcome(subject: Subject) -> list[Block]:
    """Return the outcome over all runs and at every point."""
    measure, factors = subject.outcome, subject.found.factors
    if not measure:
        return [Words("No run has given anything yet.", "note")]
    played, null = subject.parted(subject.results)
    lead = [_overall(played, measure, "without the null policy's" if null.height else "")]
    lead += [_overall(null, measure, "the null policy's")] if null.height else []
    blocks: list[Block] = [Words(clean(" ".join(lead)))]
    if not factors or subject.kind == "variance":
        return blocks
    whole: pl.DataFrame = subject.analysis.get("means", pl.DataFrame())
    if not whole.height:
        return blocks
    frame, left_out = whole, ""
    if whole.height > POINTS_SHOWN:
        known = whole.filter(pl.col("mean").is_finite()).sort("mean", descending=True, maintain_order=True)
        frame = pl.concat([known.head(ENDS_SHOWN), known.tail(min(ENDS_SHOWN, max(known.height - ENDS_SHOWN, 0)))])
        left_out = (
            f" Of {whole.height:,} points those with the {ENDS_SHOWN} highest and the {ENDS_SHOWN} lowest means are "
            "shown; being chosen for it, they look more extreme than they are. All runs are in results.parquet."
        )
    names = [" · ".join(level(value) for value in row) for row in frame.select(factors).iter_rows()]
    hollow = [value == "null" for value in frame["mind"].to_list()] if subject.has_null else []
    how, until = _how(subject, whole), subject.campaign.until
    caption = f"{' · '.join(factors)}: mean over replicates. {how}{left_out}"
    caption += " Hollow: the null policy." if any(hollow) else ""
    drawn = figures.dots(
        f"{measure} at each point", caption, frame, names, measure, theory=subject.campaign.theory.get(measure),
        hollow=hollow,
    )  # fmt: skip
    heads = [(name, subject.title_of(name)) for name in factors]
    heads += [("n", "Runs"), ("missing", "Without")] if whole["missing"].sum() else [("n", "Runs")]
    covers = 0.95 if until is None else until.confidence
    heads += [("mean", "Mean"), ("interval", f"{100 * covers:g} % interval"), ("sd", "SD")]
    table = frame.with_columns(_intervals(frame))
    return [*blocks, drawn, grid(f"{measure} at each point", table, heads, note=how + left_out)]


def _overall(runs: pl.DataFrame, measure: str, which: str) -> str:
    """Return how a measure is spread over some runs, in a sentence.

    Without an interval: runs of different points, or of a nested design, are no independent draws of one thing.
    """
    spread = _spread(runs, measure)
    of = f" ({which})" if which else ""
    if not spread["n"]:
        return f"No run{of} has given {measure} yet."
    return (
        f"Over {counted(spread['n'], 'run')}{of} the mean of {measure} is {number(spread['mean'])}, the standard "
        f"deviation {number(spread['sd'])}, the range {interval(spread['least'], spread['greatest'])}."
    )


def _spread(runs: pl.DataFrame, measure: str) -> dict[str, Any]:
    """Return n, mean, sd, least and greatest of a measure over the runs that gave a number."""
    value = pl.col(measure).cast(pl.Float64)
    kept = runs.filter((pl.col("status") == "done") & value.is_finite()).unique("key", maintain_order=True)
    found = kept.select(
        pl.len().cast(pl.Int64).alias("n"), value.mean().alias("mean"), value.std().alias("sd"),
        value.min().alias("least"), value.max().alias("greatest"),
    )  # fmt: skip
    return found.row(0, named=True)


def _intervals(frame: pl.DataFrame, name: str = "interval", low: str = "low", high: str = "high") -> pl.Series:
    return pl.Series(name, [interval(a, b) for a, b in frame.select(low, high).iter_rows()], dtype=pl.String)


def _p_values(frame: pl.DataFrame, column: str) -> pl.Series:
    return pl.Series("p_shown", [p_value(p) for p in frame[column].to_list()], dtype=pl.String)


def _in_parts(runs: pl.DataFrame, factor: str, parts: int) -> pl.DataFrame:
    """Return runs with a factor's value replaced by the mean of its part, as many runs in each."""
    known = runs.filter(pl.col(factor).is_not_null())
    part = ((pl.col(factor).rank("ordinal") - 1) * parts // max(known.height, 1)).alias("part")
    held = known.with_columns(part, pl.col(factor).cast(pl.Float64))
    return held.with_columns(pl.col(factor).mean().over("part")).drop("part").sort(factor, maintain_order=True)


def curves(subject: Subject) -> list[Block]:
    """Return the outcome against each numeric factor; against the others where there is none."""
    if not subject.outcome:
        return []
    along = _along(subject)
    blocks: list[Block] = [_curve(subject, subject.outcome, name) for name in along[:CURVES]]
    if len(along) > CURVES:
        blocks.append(Words(f"Curves of {counted(len(along) - CURVES, 'more factor')} are left out.", "note"))
    return blocks


def _along(subject: Subject) -> list[str]:
    """Return the factors that a curve can go along."""
    numeric = [name for name in subject.varied if subject.results.schema[name].is_numeric()]
    return numeric or [name for name in subject.varied if name != "mind"] or subject.varied


def _curve(subject: Subject, measure: str, x: str) -> Drawing:
    """Draw a measure against one factor, a line a value of a second, the null policy beside them."""
    played, null = subject.parted(subject.independent, x)
    others = [name for name in subject.varied if name != x and not subject.is_many(played, name)]
    others = [name for name in others if 1 < played[name].n_unique() <= figures.LINES]
    # Who decides is what a reader asks first; then whatever needs the fewest lines.
    others.sort(key=lambda name: (name not in ("mind", "model"), played[name].n_unique()))
    by = None if subject.is_sampled else next(iter(others), None)
    said = []
    if subject.is_many(played, x):
        played, null = (_in_parts(runs, x, PARTS) for runs in (played, null))
        said.append("Runs are taken together in tenths of the factor's values.")
    until, common = subject.campaign.until, subject.campaign.common_random_numbers
    frame = means(played, [x] if by is None else [x, by], measure, until=until, common=common)
    beside = means(null, [x], measure, until=until, common=common) if null.height else None
    rest = [name for name in subject.varied if name not in (x, by) and (name != "mind" or beside is None)]
    if beside is not None:
        said.append("Grey: the null policy, its mean and interval.")
    if subject.kind == "morris":
        said.append("Runs of a trajectory share coordinates, so intervals are only a guide.")
    if subject.kind == "sobol":
        said.append("Only points that are independent of one another are taken.")
    caption = f"Mean of {measure} against {x}{f', a line a value of {by}' if by else ''}{_over(rest)}."
    said.append(_how(subject, frame))
    spec = subject.campaign.factors.get(x)
    return figures.curves(
        f"{measure} against {x}{f' by {by}' if by else ''}", " ".join([caption, *said]), frame, x, by,
        subject.title_of(x), measure, by_title=by or "", null=beside, theory=subject.campaign.theory.get(measure),
        log=isinstance(spec, Span) and spec.log, data=_together(frame, beside),
    )  # fmt: skip


def _over(rest: Sequence[str]) -> str:
    return f", over all values of {', '.join(rest)} together" if rest else ""


def _together(frame: pl.DataFrame, null: pl.DataFrame | None) -> pl.DataFrame:
    """Return both as one table, for whoever downloads it."""
    if null is None:
        return frame
    return pl.concat([frame, null.with_columns(pl.lit("null").alias("mind"))], how="diagonal_relaxed")


def heat_maps(subject: Subject) -> list[Block]:
    """Return the outcome over the two factors with the most values; one map a mind where that is a third factor."""
    if not subject.outcome or subject.kind == "morris":
        return []
    runs = subject.independent
    chosen = [name for name in subject.varied if name != "mind"]
    facets: list[tuple[str, pl.DataFrame]] = [("", runs)]
    if len(chosen) < 2:
        chosen = subject.varied
    elif "mind" in subject.varied:
        minds = runs["mind"].unique(maintain_order=True).to_list()
        facets = [(level(mind), runs.filter(pl.col("mind").eq_missing(pl.lit(mind)))) for mind in minds]
    if len(chosen) < 2:
        return []
    # The sort is stable: of factors with as many values the first come first.
    x, y = sorted(chosen, key=lambda name: -subject.levels[name])[:2]
    blocks: list[Block] = []
    for mind, some in facets[:MINDS]:
        many = [factor for factor in (x, y) if subject.is_many(some, factor)]
        if many and some.height < CELLS_FROM:
            continue
        held = some
        for factor in many:
            held = _in_parts(held, factor, CELLS)
        rest = [factor for factor in subject.varied if factor not in (x, y) and not (mind and factor == "mind")]
        which = f", mind {mind}" if mind else ""
        caption = f"Mean of {subject.outcome}{which}{_over(rest)}."
        caption += f" {' and '.join(many)}: means of sixths of the values." if many else ""
        campaign = subject.campaign
        frame = means(held, [x, y], subject.outcome, until=campaign.until, common=campaign.common_random_numbers)
        blocks.append(figures.heat_map(
            f"{subject.outcome} over {x} and {y}{which}", caption, frame, x, y,
            subject.title_of(x), subject.title_of(y), subject.outcome,
        ))  # fmt: skip
    if len(facets) > MINDS:
        blocks.append(Words(f"Maps of {counted(len(facets) - MINDS, 'more mind')} are left out.", "note"))
    return blocks


def effects(subject: Subject) -> list[Block]:
    """Return differences between levels, and the analysis of variance."""
    compared, variance = subject.analysis.get("effects"), subject.analysis.get("anova")
    return [
        *(_differences(subject, compared) if compared is not None and compared.height else []),
        *(_anova(subject, variance) if variance is not None and variance.height else []),
    ]


def _differences(subject: Subject, found: pl.DataFrame) -> list[Block]:
    levels = [f"{level(b)} − {level(a)}" for a, b in found.select("level_a", "level_b").iter_rows()]
    table = found.with_columns(
        pl.Series("levels", levels, dtype=pl.String), _intervals(found),
        _intervals(found, "paired_interval", "paired_low", "paired_high"), _p_values(found, "p_holm"),
    )  # fmt: skip
    is_paired = bool(found["n_pairs"].sum())
    # Where runs are pairs, the difference within them is what was asked for.
    drawn = table.head(POINTS_SHOWN).with_columns(
        pl.when(pl.col("n_pairs") > 0).then(pl.col(f"paired_{name}")).otherwise(pl.col(name)).alias(name)
        for name in ("difference", "low", "high")
    )
    heads = [("factor", "Factor"), ("levels", "Levels"), ("difference", "Difference"), ("interval", "95 % interval")]
    if is_paired:
        heads += [("paired_difference", "In pairs"), ("paired_interval", "95 % interval"), ("n_pairs", "Pairs")]
    heads += [("cohens_d", "Cohen's d"), ("cliffs_delta", "Cliff's δ"), ("test", "Test"), ("p_shown", "p (Holm)")]
    note = (
        "p is corrected for all rows (Holm), intervals are not. Cohen's d: the difference over the pooled standard "
        "deviation. Cliff's δ: how much more often the first is above the second than below, −1 to 1."
    )
    names = [f"{a}: {b}" for a, b in drawn.select("factor", "levels").iter_rows()]
    caption = "Difference of the means at two values of a factor, over all values of the others together"
    caption += ", within replicates, whose runs share random numbers" if is_paired else ""
    title = f"Differences of {subject.outcome}"
    kept = ["factor", "level_a", "level_b", "difference", "low", "high"]
    return [
        figures.dots(
            title, f"{caption}. {HOW_COMMON if is_paired else HOW}", drawn.select(kept), names,
            f"difference of {subject.outcome}", value="difference", zero=True,
        ),
        grid(title, table, heads, limit=ROWS_SHOWN, note=note),
    ]  # fmt: skip


def _anova(subject: Subject, found: pl.DataFrame) -> list[Block]:
    heads = [
        ("term", "Term"), ("df", "df"), ("sum_sq", "Sum of squares"), ("F", "F"), ("p_shown", "p"), ("eta_sq", "η²"),
        ("partial_eta_sq", "partial η²"),
    ]  # fmt: skip
    note = "Type II, factors as categories. η²: share of the whole variance; partial η²: beside the residual alone."
    shown = found.head(POINTS_SHOWN)
    caption = (
        "η²: what each factor, and each pair of factors beyond the two alone, accounts for. Residual: chance, and what "
        "no pair explains."
    )
    return [
        figures.bars(
            f"Shares of the variance of {subject.outcome}", caption, shown, shown["term"].to_list(), "eta_sq",
            "η², share of the variance", percent=True,
        ),
        grid(
            f"Analysis of variance of {subject.outcome}", found.with_columns(_p_values(found, "p")), heads,
            limit=ROWS_SHOWN, note=note,
        ),
    ]  # fmt: skip


def sensitivity(subject: Subject) -> list[Block]:
    """Return Sobol' indices, elementary effects and rank correlations, where the design allows them."""
    sobol, morris, known = (subject.analysis.get(name) for name in ("sobol", "morris", "correlations"))
    return [
        *(_sobol(subject, sobol) if sobol is not None and sobol.height else []),
        *(_morris(subject, morris) if morris is not None and morris.height else []),
        *(_correlations(subject, known) if known is not None and known.height else []),
    ]


def _sobol(subject: Subject, found: pl.DataFrame) -> list[Block]:
    single = found.filter(pl.col("order") != "second")
    caption = (
        "First order: what a factor does by itself; total: with all its interactions. Shares of the variance over the "
        "factors' ranges; 95 % intervals by SALib's bootstrap."
    )
    blocks: list[Block] = [figures.bars(
        f"Sobol' indices of {subject.outcome}", caption, single, single["factor"].to_list(), "index",
        "share of the variance", by=single["order"].to_list(),
    )]  # fmt: skip
    second = found.filter(pl.col("order") == "second").sort("index", descending=True, maintain_order=True)
    if second.height:
        shown = second.head(POINTS_SHOWN)
        names = [f"{a} × {b}" for a, b in shown.select("factor", "other").iter_rows()]
        blocks.append(figures.dots(
            f"Second-order Sobol' indices of {subject.outcome}",
            "What two factors do together beyond what each does alone; the greatest first.", shown, names,
            "share of the variance", value="index", zero=True,
        ))  # fmt: skip
    heads = [("order", "Order"), ("factor", "Factor"), ("other", "With"), ("index", "Index")]
    heads = [
        *(heads if second.height else [head for head in heads if head[0] != "other"]),
        ("interval", "95 % interval"),
    ]
    table = found.with_columns(_intervals(found), pl.col("other").replace("", "–"))
    return [*blocks, grid("Sobol' indices", table, heads, limit=ROWS_SHOWN)]


def _morris(subject: Subject, found: pl.DataFrame) -> list[Block]:
    caption = (
        "Morris' method, in units of the measure over a factor's whole range. To the right: factors that matter. "
        "Further up: factors whose effect depends on the others, on their own value, or on chance."
    )
    heads = [("factor", "Factor"), ("mu_star", "μ*"), ("interval", "95 % interval"), ("mu", "μ"), ("sigma", "σ")]
    return [
        figures.cloud(
            f"Elementary effects on {subject.outcome}", caption, found, "mu_star", "sigma", found["factor"].to_list(),
            "μ*, mean absolute effect", "σ, their standard deviation",
        ),
        grid("Elementary effects", found.with_columns(_intervals(found)), heads, limit=ROWS_SHOWN),
    ]  # fmt: skip


def _correlations(subject: Subject, found: pl.DataFrame) -> list[Block]:
    shown = found.head(POINTS_SHOWN)
    heads = [("factor", "Factor"), ("n", "Points"), ("rho", "ρ"), ("interval", "95 % interval")]
    heads.append(("p_shown", "p (Holm)"))
    table = found.with_columns(_intervals(found), _p_values(found, "p_holm"))
    return [
        figures.dots(
            f"Rank correlations with {subject.outcome}", "Spearman's ρ of each numeric factor, with 95 % intervals.",
            shown, shown["factor"].to_list(), "ρ", value="rho", zero=True,
        ),
        grid("Spearman's rank correlations", table, heads, limit=ROWS_SHOWN),
    ]  # fmt: skip


def variance(subject: Subject) -> list[Block]:
    """Return the variance card."""
    card: pl.DataFrame | None = subject.analysis.get("variance")
    if card is None or not card.height:
        return []
    total = float(card["variance"].clip(0).sum())
    if total <= 0:
        return [Words(f"{clean(subject.outcome)} is the same in every run: there is no variance to share out.", "note")]
    drawn = card.with_columns((pl.col(name) / total).clip(0, 1).alias(name) for name in ("low", "high"))
    caption = (
        "How much of the variance over runs comes from each component, the outermost of the nested design first. "
        "Intervals: 95 % of the component's variance (modified large-sample method), over the sum of the estimates, "
        "cut at 0 and 100 %."
    )
    shares = pl.Series("percent", [f"{share:.1%}" for share in card["share"].to_list()], dtype=pl.String)
    heads = [
        ("component", "Component"), ("percent", "Share"), ("variance", "Variance"), ("interval", "95 % interval"),
        ("df", "df"), ("mean_sq", "Mean square"), ("expected_mean_sq", "Expected mean square"), ("note", "Note"),
    ]  # fmt: skip
    table = card.with_columns(_intervals(card), shares, pl.col("note").replace("", "–"))
    return [
        figures.bars(
            f"Where the variance of {subject.outcome} comes from", caption, drawn, drawn["component"].to_list(),
            "share", "share of the variance", percent=True,
        ),
        grid(f"Variance card of {subject.outcome}", table, heads),
    ]  # fmt: skip


def other_measures(subject: Subject) -> list[Block]:
    """Return the means of the measures that are not the outcome, and a curve of those that were asked for."""
    schema = subject.results.schema
    names = [name for name in subject.found.measures if name != subject.outcome and schema[name].is_numeric()]
    if not subject.outcome or not names:
        return []
    blocks: list[Block] = [_means_of(subject, names)]
    wanted = {measure.column for measure in subject.campaign.measures}
    drawn = [name for name in names if name in wanted]
    along = _along(subject)[:1]
    blocks += [_curve(subject, name, x) for x in along for name in drawn[:CURVES]]
    if along and len(drawn) > CURVES:
        blocks.append(Words(f"Curves of {counted(len(drawn) - CURVES, 'more measure')} are left out.", "note"))
    return blocks


def _means_of(subject: Subject, names: Sequence[str]) -> Grid:
    shown = names[:ROWS_SHOWN]
    played, null = subject.parted(subject.results)
    said = [what_is(name) for name in shown]
    frame = pl.DataFrame([{"measure": name, **_spread(played, name)} for name in shown], infer_schema_length=None)
    frame = frame.with_columns(pl.Series("what", said, dtype=pl.String).replace("", "–"))
    heads = [("measure", "Measure"), ("n", "Runs"), ("mean", "Mean"), ("sd", "SD"), ("least", "Least")]
    heads.append(("greatest", "Greatest"))
    if null.height:
        beside = [_spread(null, name)["mean"] for name in shown]
        frame = frame.with_columns(pl.Series("null", beside, dtype=pl.Float64))
        heads.append(("null", "Null policy"))
    heads += [("what", "What it is")] if any(said) else []
    more = len(names) - len(shown)
    note = f"{more:,} more measures are left out." if more else ""
    return grid("Over all runs" + (", without the null policy's" if null.height else ""), frame, heads, note=note)


def courses(subject: Subject) -> list[Block]:
    """Return how the wanted metrics went: mean with band over steps, a line a value of the first factor."""
    series = subject.found.series
    if not series.height:
        return []
    by = next((name for name in subject.varied if not subject.is_many(subject.results, name)), None)
    columns = dict.fromkeys([*([by] if by else []), *(["mind"] if subject.has_null else [])])
    own = subject.results.select("point", *columns).unique("point", maintain_order=True)
    steps = series["step"].unique().sort()
    stride = max(1, math.ceil(steps.len() / STEPS_SHOWN))
    kept = series.filter((pl.col("step") % stride == 0) | (pl.col("step") == steps[-1]))
    played, null = subject.parted(kept.join(own, on="point", how="left", maintain_order="left"), by)
    blocks: list[Block] = []
    for name in subject.campaign.series:
        if name not in series.columns:
            continue
        common = subject.campaign.common_random_numbers
        frame = _course(played, ["step", *([by] if by else [])], name, common)
        beside = _course(null, ["step"], name, common) if null.height else None
        said = [f"Mean of {name} over runs after each step{f', a line a value of {by}' if by else ''}."]
        said.append("Bands: 95 % intervals of the mean (Student's).")
        said += [f"Every {stride}th step is drawn."] if stride > 1 else []
        said += ["Grey: the null policy."] if beside is not None else []
        more = frame[by].n_unique() - figures.LINES if by else 0
        said += [f"{counted(more, 'more value')} of {by} left out."] if more > 0 else []
        blocks.append(figures.curves(
            f"{name} over time", " ".join(said), frame, "step", by, "step", name, by_title=by or "", null=beside,
            theory=subject.campaign.theory.get(name), band=True, data=_together(frame, beside),
        ))  # fmt: skip
    return blocks


def _course(runs: pl.DataFrame, by: Sequence[str], name: str, common: bool) -> pl.DataFrame:
    """Return the mean of a metric with its interval, by step and what else is named.

    Over runs, or over the means of replicates, whose runs have random numbers in common.
    """
    from scipy import stats

    value = pl.when(pl.col(name).is_finite()).then(pl.col(name))
    if common:
        runs = runs.group_by([*by, "replicate"], maintain_order=True).agg(value.mean().alias(name))
    frame = runs.group_by(by, maintain_order=True).agg(
        value.count().alias("n"), value.mean().alias("mean"), value.std().alias("sd")
    )
    n = frame["n"].to_numpy()
    errors = pl.Series(np.asarray(stats.t.ppf(0.975, n - 1.0))) * pl.col("sd") / pl.col("n").sqrt()
    frame = frame.with_columns((pl.col("mean") - errors).alias("low"), (pl.col("mean") + errors).alias("high"))
    return frame.sort("step", maintain_order=True)

"""What the report of a campaign says, from the plan to what ran."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from simworld.errors import ScenarioError, SimworldError
from simworld.observe import meaning
from simworld.scenario import ScenarioCard, describe, resolve
from simworld.sweep import CampaignResults, Draw, Span, means, summary
from simworld.view import _figures as figures
from simworld.view._page import Block, Code, Drawing, Page, Pairs, Section, Words, grid
from simworld.view._text import clean, counted, interval, level, number, p_value, span_of_time

POINTS_SHOWN = 60
"""Points of a design in tables and in the figure of all points; arbitrary, two screens."""
ENDS_SHOWN = 20
"""Of a larger design: so many with the highest and so many with the lowest mean."""
CURVES = 6
"""Factors with a response curve of the outcome, and other measures with a curve; arbitrary."""
MEASURES_SHOWN = 12
"""Measures in one table; arbitrary, the width of the page."""
FAILURES_SHOWN = 20
"""Different errors that are shown; arbitrary."""
ERROR_SHOWN = 300
"""Characters of an error that are shown; arbitrary, three lines."""
ROWS_SHOWN = 80
"""Rows of a table of an analysis; arbitrary, two screens."""
DISTINCT = 15
"""Values of a factor above which runs are taken together in tenths of its values; arbitrary."""
PARTS = 10
CELLS = 6
"""Parts of each factor in the heat map of a sampled design; arbitrary."""
BINNED_FROM = 100
"""Runs from which such a heat map is drawn: some three a cell; arbitrary."""
FACETS = 3
"""Heat maps side by side, one a mind; arbitrary."""
STEPS_SHOWN = 200
"""Steps of a course that are drawn; of longer ones every k-th; arbitrary, as many as can be told apart."""
SAMPLED = ("latin_hypercube", "random", "sobol", "morris")
NORMAL_95 = 1.96
"""Half the width of a 95 % interval in standard errors."""

INTERVALS = "Intervals are 95 %, by bootstrap over runs (BCa; Student's above 500 runs)."


class _Report:
    """A campaign with what several parts of its page need."""

    def __init__(self, found: CampaignResults) -> None:
        self.found = found
        self.campaign = found.campaign
        self.factors = found.factors
        self.results = found.results
        self.card = _card(found.campaign.scenario)
        self.analysis: dict[str, Any] = summary(found)
        self.measure = str(self.analysis["measure"])
        self.theory = self.campaign.theory.get(self.measure)
        self.levels = {name: self.results[name].n_unique() for name in self.factors if name in self.results.columns}
        is_mind = self.levels.get("mind", 0) > 1 and self.results["mind"].dtype == pl.String
        self.has_null = is_mind and "null" in self.results["mind"].to_list()

    @property
    def is_sampled(self) -> bool:
        """Whether points are a sample and no grid."""
        return self.campaign.design.kind in SAMPLED

    @property
    def played(self) -> pl.DataFrame:
        """The runs that are compared with the null; all when there is none."""
        return self.results.filter(pl.col("mind").ne_missing(pl.lit("null"))) if self.has_null else self.results

    @property
    def null(self) -> pl.DataFrame:
        """The runs of the null policy."""
        return self.results.filter(pl.col("mind") == "null") if self.has_null else self.results.clear()

    def title_of(self, factor: str) -> str:
        """Return a factor's name with its unit."""
        unit = next((card.unit for card in (self.card.params or ()) if card.name == factor), "") if self.card else ""
        return f"{factor} ({unit})" if unit else factor


def _card(scenario: str) -> ScenarioCard | None:
    try:
        return describe(resolve(scenario))
    except ScenarioError:
        return None  # the scenario may be gone; what it gave is still there


def campaign_page(found: CampaignResults) -> Page:
    """Return the report of a campaign.

    Raises:
        CampaignError: its tables cannot be read.
    """
    report = _Report(found)
    parts: list[tuple[str, Callable[[_Report], list[Block]]]] = [
        ("Question", _question), ("Pre-registration", _registration), ("Plan", _plan), ("Completeness", _completeness),
        ("Outcome", _outcome), ("Response curves", _curves), ("Heat map", _heat_maps), ("Effects", _effects),
        ("Sensitivity", _sensitivity), ("Variance card", _variance), ("Other measures", _others),
        ("Over time", _courses), ("What to keep in mind", _notes), ("Cost", _cost), ("Failures", _failures),
        ("Manifest", _manifest),
    ]  # fmt: skip
    sections = [Section(title, blocks) for title, make in parts if (blocks := make(report))]
    title = clean(found.campaign.title) or f"Campaign {clean(found.name)}"
    return Page(
        title, f"Campaign {clean(found.name)} of {clean(found.campaign.scenario)}" if found.campaign.title else
        clean(found.campaign.scenario), sections, f"Made by simworld {_version()} from {clean(found.path.name)}.",
    )  # fmt: skip


def _version() -> str:
    from importlib.metadata import version

    return version("simworld")


def _question(report: _Report) -> list[Block]:
    campaign, card = report.campaign, report.card
    blocks: list[Block] = []
    if card is not None and card.title:
        blocks.append(Words(clean(card.title)))
    rows = [("scenario", clean(campaign.scenario))]
    if card is not None:
        rows += [("source", clean(source)) for source in card.sources]
    rows.append(("outcome", _named(report.measure) if report.measure else "nothing was measured yet"))
    rows += [("theory", f"{clean(name)} = {number(value)}") for name, value in campaign.theory.items()]
    return [*blocks, Pairs(rows)]


def _named(measure: str) -> str:
    """Return a measure with what it means, where somebody said."""
    observer, _, metric = measure.partition(":")[0].rpartition(".")
    said = meaning(observer, metric) if observer else ""
    return clean(f"{measure}: {said}" if said else measure)


def _registration(report: _Report) -> list[Block]:
    text, tone = pre_registration(report.found)
    return [Words(text, tone)]


def pre_registration(found: CampaignResults) -> tuple[str, str]:
    """Return whether what ran is what was frozen, in one sentence, and its tone."""
    frozen, calls = found.record["frozen"], found.record["calls"]
    if frozen is None:
        return "Not pre-registered: nothing was frozen, so these results are exploratory.", "note"
    plan = (frozen["digest"], frozen["content_hash"])
    when = f"Frozen at {clean(frozen['at'])}"
    differs = []
    if found.campaign.digest() != plan[0]:
        differs.append(f"the plan (digest {found.campaign.digest()[:12]} instead of {plan[0][:12]})")
    if found.manifest.get("content_hash") != plan[1]:
        differs.append(
            f"the scenario's files (hash {clean(found.manifest.get('content_hash'), 12)} instead of {plan[1][:12]})"
        )
    if differs:
        return f"{when}, but what ran is not what was frozen: {' and '.join(differs)} changed afterwards.", "bad"
    made = [call for call in calls if call["finished"]]
    if not made:
        return f"{when}; nothing has run yet.", "note"
    # A call is written down when it ends, to the second.
    began = datetime.fromisoformat(made[0]["at"]) - timedelta(seconds=made[0]["seconds"])
    if datetime.fromisoformat(frozen["at"]) > began + timedelta(seconds=1):
        return f"{when}, but after the first run, so it is no pre-registration.", "bad"
    others = sum((call["digest"], call["content_hash"]) != plan for call in calls)
    aside = (
        f" ({counted(others, 'call')} of another plan went by in between; nothing of it is shown here)"
        if others
        else ""
    )
    return (
        f"What ran is what was frozen: plan, measures and stop rules (digest {plan[0][:12]}) and the scenario's files "
        f"(hash {plan[1][:12]}) were written down at {clean(frozen['at'])}, before the first run{aside}."
    ), "good"


def _plan(report: _Report) -> list[Block]:
    campaign, params = report.campaign, {card.name: card for card in (report.card.params or ())} if report.card else {}
    rows = [("design", _design(report))]
    common = ", with random numbers in common across points" if campaign.common_random_numbers else ""
    until = campaign.until
    if until is None:
        rows.append(("replicates", f"{campaign.replicates:,}{common}"))
    else:
        rows.append(("replicates", (
            f"at least {max(until.first, campaign.replicates):,}, then until the {until.confidence:.0%} interval of "
            f"{clean(until.metric)} is at most {until.ci_width:g} wide, {until.max_replicates:,} at most{common} "
            "(asymptotic confidence sequence, arXiv 2103.06476)"
        )))  # fmt: skip
    rows += [
        ("seeds", f"all from {campaign.seed} (numpy's SeedSequence); no two runs share a stream" + (
            ", but for the common random numbers" if common else ""
        )),
        ("steps", "the scenario's own" if campaign.steps is None else f"{campaign.steps:,}"),
        ("measures", "\n".join(_measure(each) for each in campaign.measures) or "every metric at the end, every finding"),
    ]  # fmt: skip
    if campaign.series:
        rows.append(("courses", clean(", ".join(campaign.series))))
    if campaign.observers:
        rows.append(("observers", clean(", ".join(campaign.observers))))
    stop = campaign.stop
    rules = [f"a run fails after {stop.timeout_s:g} s"] if stop.timeout_s is not None else []
    rules += (
        [f"the campaign stops after {counted(stop.max_failed, 'failed run')}"] if stop.max_failed is not None else []
    )
    rows.append(("stop rules", "; ".join(rules) or "none"))
    budget = campaign.budget
    limits = [f"${budget.usd:,.2f}"] if budget.usd is not None else []
    limits += [f"{budget.tokens:,} tokens"] if budget.tokens is not None else []
    if limits:
        rows.append(("budget", ", ".join(limits)))
    rows += [
        ("fixed", f"{clean(name)} = {_value(value)}") for name, value in (campaign.params | campaign.settings).items()
    ]
    blocks: list[Block] = [Pairs(rows)]
    if campaign.factors:
        frame = pl.DataFrame({
            "factor": list(campaign.factors), "values": [_values(factor) for factor in campaign.factors.values()],
            "unit": [params[name].unit if name in params else "" for name in campaign.factors],
            "what": [params[name].doc if name in params else "" for name in campaign.factors],
        })  # fmt: skip
        kept = [("factor", "Factor"), ("values", "Values")]
        kept += [
            (name, head) for name, head in (("unit", "Unit"), ("what", "What it is")) if any(frame[name].to_list())
        ]
        frame = frame.with_columns(pl.col("unit", "what").replace("", "–"))
        blocks.append(grid("Factors", frame, kept))
    return blocks


def _design(report: _Report) -> str:
    design, n = report.campaign.design, len(report.found.points)
    said = {
        "factorial": "every combination of the factors' values", "points": "a list of points",
        "latin_hypercube": "Latin hypercube", "random": "random sample", "sobol": "Saltelli's scheme for Sobol' indices",
        "morris": "Morris' trajectories", "variance": "nested: " + " > ".join(design.components),
    }[design.kind]  # fmt: skip
    more = f", n = {design.n:,}" if design.n is not None else ""
    more += f", {design.levels} levels" if design.kind == "morris" else ""
    more += f", {design.repeats} values of each component" if design.kind == "variance" else ""
    return f"{said}{more}: {counted(n, 'point')}"


def _measure(measure: Any) -> str:
    where = {"final": "at the end", "mean": "mean over steps", "max": "greatest", "min": "least"}[measure.at]
    after = f" after step {measure.after:,}" if measure.after and measure.at != "final" else ""
    name = f" (as {measure.name})" if measure.name else ""
    return clean(f"{measure.metric}{name}, {where}{after}")


def _values(factor: Any) -> str:
    if isinstance(factor, Span):
        kind = f"{factor.levels} levels, " if factor.levels else ""
        kind += "whole numbers, " if factor.integer else ""
        kind += "logarithmic, " if factor.log else ""
        return f"{kind}{number(factor.low)} to {number(factor.high)}"
    if isinstance(factor, Draw):
        said = factor.model_dump(exclude_defaults=True)
        return ", ".join(f"{name} {level(value)}" for name, value in said.items() if name != "distribution").join(
            (f"{factor.distribution} (", ")")
        )
    return clean(", ".join(level(value) for value in factor), 400)


def _value(value: Any) -> str:
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean(said, 200)


def _completeness(report: _Report) -> list[Block]:
    found, campaign, results = report.found, report.campaign, report.results
    calls = found.record["calls"]
    done = found.done.height
    failed = results.height - done
    planned = max(int(calls[-1]["planned"]) if calls else 0, results.height)
    missing = planned - results.height
    share = f" ({done / planned:.1%})" if planned else ""
    rows = [("planned", f"{planned:,} runs"), ("done", f"{done:,}{share}"), ("failed", f"{failed:,}")]
    rows += [("missing", f"{missing:,}; call simworld sweep again to make them")] if missing else []
    if campaign.until is not None and results.height:
        sizes = results.group_by("point").len()["len"]
        rows.append(
            (
                "replicates",
                f"{sizes.min():,} to {sizes.max():,} a point, {results.height / len(found.points):,.1f} on average",
            )
        )
    blocks: list[Block] = [Pairs(rows)]
    if not missing and not failed:
        return [Words("Every run of the plan is there.", "good"), *blocks]
    words = f"{missing + failed:,} of {planned:,} runs of the plan gave nothing."
    by_point = (
        pl.DataFrame({"point": pl.Series(range(len(found.points)), dtype=pl.Int32)})
        .join(
            results.group_by("point").agg(
                (pl.col("status") == "done").sum().alias("done"), (pl.col("status") != "done").sum().alias("failed")
            ),
            on="point", how="left", maintain_order="left",
        )
        .with_columns(pl.col("done", "failed").fill_null(0).cast(pl.Int64))
        .with_columns((pl.lit(_planned_a_point(report)) - pl.col("done") - pl.col("failed")).clip(0).alias("missing"))
        .filter((pl.col("failed") > 0) | (pl.col("missing") > 0))
    )  # fmt: skip
    by_point = by_point.with_columns(
        pl.Series("values", [_point(report, found.points[i]) for i in by_point["point"].to_list()], dtype=pl.String)
    )
    heads = [("point", "Point"), ("values", "Values"), ("done", "Done"), ("failed", "Failed"), ("missing", "Missing")]
    table = grid("Points that are not complete", by_point, heads, limit=POINTS_SHOWN)
    return [Words(words, "bad"), *blocks, table] if by_point.height else [Words(words, "bad"), *blocks]


def _planned_a_point(report: _Report) -> int:
    until, least = report.campaign.until, report.campaign.replicates
    return least if until is None else min(max(until.first, least), until.max_replicates)


def _point(report: _Report, point: dict[str, Any]) -> str:
    return clean(", ".join(f"{name} = {level(value)}" for name, value in point.items()), 120) or "the only point"


def _outcome(report: _Report) -> list[Block]:
    """Return the outcome at every point: a table and a figure."""
    if not report.measure:
        return [Words("No run has given anything yet.", "note")]
    factors = report.factors
    frame: pl.DataFrame | None = report.analysis.get("means")
    if frame is None:
        frame = means(report.results, factors if report.campaign.design.kind != "variance" else [], report.measure)
    overall = means(report.results, [], report.measure)
    whole = frame
    said = f"{INTERVALS}"
    if overall.height and overall["n"][0]:
        row = overall.row(0, named=True)
        lead = f"Over all {counted(row['n'], 'run')} the mean of {report.measure} is {number(row['mean'])} (95 % interval {interval(row['low'], row['high'])}, standard deviation {number(row['sd'])})."
    else:
        lead = f"No run has given {report.measure} yet."
    blocks: list[Block] = [Words(clean(lead))]
    if not frame.height or not factors or report.campaign.design.kind == "variance":
        return blocks
    if frame.height > POINTS_SHOWN:
        known = frame.filter(pl.col("mean").is_finite()).sort("mean", descending=True, maintain_order=True)
        frame = pl.concat([known.head(ENDS_SHOWN), known.tail(min(ENDS_SHOWN, max(known.height - ENDS_SHOWN, 0)))])
        said += (
            f" Of {whole.height:,} points the {ENDS_SHOWN} with the highest and the {ENDS_SHOWN} with the lowest mean are "
            "shown; being chosen for it, they look more extreme than they are. All runs are in results.parquet."
        )
    names = [" · ".join(level(value) for value in row) for row in frame.select(factors).iter_rows()]
    hollow = [value == "null" for value in frame["mind"].to_list()] if report.has_null else []
    caption = f"{' · '.join(factors)}; mean over replicates. {said}" + (
        " Hollow: the null policy." if any(hollow) else ""
    )
    drawn = figures.dots(
        f"{report.measure} at each point", caption, frame, names, report.measure, theory=report.theory, hollow=hollow
    )
    heads = [(name, report.title_of(name)) for name in factors]
    heads += [("n", "Runs"), ("missing", "Without")] if whole["missing"].sum() else [("n", "Runs")]
    heads += [("mean", "Mean"), ("interval", "95 % interval"), ("sd", "SD")]
    table = frame.with_columns(_intervals(frame).alias("interval"))
    return [*blocks, drawn, grid(f"{clean(report.measure)} at each point", table, heads, note=said)]


def _intervals(frame: pl.DataFrame, low: str = "low", high: str = "high") -> pl.Series:
    return pl.Series([interval(a, b) for a, b in frame.select(low, high).iter_rows()], dtype=pl.String)


def _binned(frame: pl.DataFrame, factor: str, parts: int) -> pl.DataFrame:
    """Return the runs with a factor's value replaced by the mean of its part: as many runs in each."""
    known = frame.filter(pl.col(factor).is_not_null())
    rank = pl.col(factor).rank("ordinal") - 1
    part = (rank * parts // max(known.height, 1)).alias("part")
    held = known.with_columns(part, pl.col(factor).cast(pl.Float64))
    return held.with_columns(pl.col(factor).mean().over("part")).drop("part").sort(factor, maintain_order=True)


def _is_many(frame: pl.DataFrame, factor: str) -> bool:
    return frame.schema[factor].is_numeric() and frame[factor].n_unique() > DISTINCT


def _curves(report: _Report) -> list[Block]:
    varied = [name for name in report.factors if report.levels.get(name, 0) > 1 and name in report.results.columns]
    if not report.measure or report.campaign.design.kind == "variance":
        return []
    along = [name for name in varied if report.results.schema[name].is_numeric()]
    along = along or [name for name in varied if name != "mind"] or varied
    blocks: list[Block] = [_curve(report, report.measure, name, varied) for name in along[:CURVES]]
    if len(along) > CURVES:
        blocks.append(Words(f"Curves of {counted(len(along) - CURVES, 'more factor')} are left out.", "note"))
    return blocks


def _curve(report: _Report, measure: str, x: str, varied: Sequence[str]) -> Drawing:
    """Draw a measure against one factor, a line a level of a second, the null beside it."""
    base = report.results
    if report.campaign.design.kind == "sobol":
        base = _independent(report)
    played = base.filter(pl.col("mind").ne_missing(pl.lit("null"))) if report.has_null and x != "mind" else base
    null = base.filter(pl.col("mind") == "null") if report.has_null and x != "mind" else base.clear()
    others = [name for name in varied if name != x and not _is_many(played, name)]
    others = [name for name in others if 1 < played[name].n_unique() <= figures.LINES]
    # Who decides is what a reader asks first; then whatever has the fewest lines.
    others.sort(key=lambda name: (name not in ("mind", "model"), played[name].n_unique()))
    by = None if report.is_sampled else next(iter(others), None)
    said = []
    if _is_many(played, x):
        played = _binned(played, x, PARTS)
        null = _binned(null, x, PARTS) if null.height else null
        said.append("Runs are taken together in tenths of the factor's values.")
    frame = means(played, [x] if by is None else [x, by], measure)
    beside = means(null, [x], measure) if null.height else None
    rest = [name for name in varied if name not in (x, by) and not (name == "mind" and report.has_null)]
    caption = f"Mean of {measure} against {x}" + (f", a line a value of {by}" if by else "")
    caption += f", over all values of {', '.join(rest)} together. " if rest else ". "
    if report.has_null and x != "mind":
        said.append("Grey: the null policy, its mean and interval.")
    if report.campaign.design.kind in ("sobol", "morris"):
        said.append(
            "Runs of the design share coordinates, so that intervals are a guide only."
            if report.campaign.design.kind == "morris"
            else "Only points that are independent of one another are taken."
        )
    spec = report.campaign.factors.get(x)
    return figures.curves(
        f"{measure} against {x}" + (f" by {by}" if by else ""), clean(f"{caption}{' '.join(said)} {INTERVALS}"), frame, x,
        by, report.title_of(x), measure, by_title=by or "", null=beside, theory=report.campaign.theory.get(measure),
        log=isinstance(spec, Span) and spec.log, data=_with_null(frame, beside),
    )  # fmt: skip


def _independent(report: _Report) -> pl.DataFrame:
    """Return the runs of Saltelli's scheme at points that are independent draws: the first and last of each block."""
    design = report.campaign.design
    block = len(report.campaign.factors) * (2 if design.second_order else 1) + 2
    return report.results.filter((pl.col("point") % block).is_in([0, block - 1]))


def _heat_maps(report: _Report) -> list[Block]:
    kind = report.campaign.design.kind
    if not report.measure or kind in ("variance", "morris"):
        return []
    base = _independent(report) if kind == "sobol" else report.results
    varied = [name for name in report.factors if report.levels.get(name, 0) > 1]
    chosen = [name for name in varied if name != "mind"]
    facets: list[tuple[str, pl.DataFrame]] = [("", base)]
    if len(chosen) < 2:
        chosen = varied
    elif "mind" in varied and not report.is_sampled:
        minds = base["mind"].unique(maintain_order=True).to_list()
        facets = [(level(mind), base.filter(pl.col("mind").eq_missing(pl.lit(mind)))) for mind in minds[:FACETS]]
    if len(chosen) < 2:
        return []
    # A stable sort: of factors with as many values the first come first.
    x, y = sorted(chosen, key=lambda name: -report.levels[name])[:2]
    blocks: list[Block] = []
    for name, runs in facets:
        many = [factor for factor in (x, y) if _is_many(runs, factor)]
        if many and runs.height < BINNED_FROM:
            continue
        held = runs
        for factor in many:
            held = _binned(held, factor, CELLS)
        frame = means(held, [x, y], report.measure)
        frame = frame.sort(
            [factor for factor in (x, y) if frame.schema[factor].is_numeric()] or ["n"], maintain_order=True
        )
        said = f", mind {name}" if name else ""
        rest = [factor for factor in varied if factor not in (x, y) and not (name and factor == "mind")]
        caption = (
            f"Mean of {report.measure}{said}"
            + (f", over all values of {', '.join(rest)} together" if rest else "")
            + "."
        )
        caption += f" {' and '.join(many)} in sixths of the values." if many else ""
        blocks.append(figures.heat_map(
            f"{report.measure} over {x} and {y}{said}", clean(caption), frame, x, y, report.title_of(x),
            report.title_of(y), report.measure,
        ))  # fmt: skip
    return blocks


def _effects(report: _Report) -> list[Block]:
    blocks: list[Block] = []
    frame: pl.DataFrame | None = report.analysis.get("effects")
    if frame is not None and frame.height:
        is_paired = bool(frame["n_pairs"].sum())
        table = frame.with_columns(
            pl.Series("levels", [f"{b} − {a}" for a, b in frame.select("level_a", "level_b").iter_rows()], dtype=pl.String),
            _intervals(frame).alias("interval"),
            _intervals(frame, "paired_low", "paired_high").alias("paired_interval"),
            pl.Series("p_shown", [p_value(p) for p in frame["p_holm"].to_list()], dtype=pl.String),
        )  # fmt: skip
        heads = [
            ("factor", "Factor"),
            ("levels", "Levels"),
            ("difference", "Difference"),
            ("interval", "95 % interval"),
        ]
        if is_paired:
            heads += [("paired_difference", "Within pairs"), ("paired_interval", "95 % interval"), ("n_pairs", "Pairs")]
        heads += [("cohens_d", "Cohen's d"), ("cliffs_delta", "Cliff's δ"), ("test", "Test"), ("p_shown", "p (Holm)")]
        note = "p is corrected by Holm for all rows; intervals are not. Cohen's d: difference over the pooled standard deviation; Cliff's δ: how much more often one exceeds the other, −1 to 1."
        blocks.append(
            grid(f"Differences of {clean(report.measure)} between levels", table, heads, limit=ROWS_SHOWN, note=note)
        )
        shown = table.head(POINTS_SHOWN)
        names = [f"{row['factor']}: {row['levels']}" for row in shown.iter_rows(named=True)]
        blocks.insert(0, figures.dots(
            f"Differences of {report.measure}", f"Difference of means between two levels of a factor, over all values of the others together. {INTERVALS}",
            shown.select(frame.columns), names, f"difference of {report.measure}", value="difference", zero=True,
        ))  # fmt: skip
    anova: pl.DataFrame | None = report.analysis.get("anova")
    if anova is not None and anova.height:
        table = anova.with_columns(pl.Series("p_shown", [p_value(p) for p in anova["p"].to_list()], dtype=pl.String))
        heads = [
            ("term", "Term"),
            ("df", "df"),
            ("sum_sq", "Sum of squares"),
            ("F", "F"),
            ("p_shown", "p"),
            ("eta_sq", "η²"),
            ("partial_eta_sq", "partial η²"),
        ]
        note = "Type II, factors as categories. η² is the share of the whole variance, partial η² that beside the residual."
        blocks.append(
            grid(f"Analysis of variance of {clean(report.measure)}", table, heads, limit=ROWS_SHOWN, note=note)
        )
        shares = anova.head(POINTS_SHOWN)
        blocks.append(figures.bars(
            f"Shares of the variance of {report.measure}", "η²: what each factor, and each pair of factors beyond both, accounts for; residual: chance and what no pair explains.",
            shares, shares["term"].to_list(), "eta_sq", "η², share of the variance", percent=True,
        ))  # fmt: skip
    return blocks


def _sensitivity(report: _Report) -> list[Block]:
    blocks: list[Block] = []
    measure = report.measure
    sobol: pl.DataFrame | None = report.analysis.get("sobol")
    if sobol is not None and sobol.height:
        single = sobol.filter(pl.col("order") != "second")
        caption = "First order: what a factor does by itself; total: with all its interactions. Shares of the variance over the factors' ranges, with SALib's bootstrap intervals (95 %)."
        blocks.append(figures.bars(
            f"Sobol' indices of {measure}", caption, single, single["factor"].to_list(), "index", "share of the variance",
            by=single["order"].to_list(),
        ))  # fmt: skip
        second = sobol.filter(pl.col("order") == "second")
        if second.height:
            pairs = second.sort("index", descending=True, maintain_order=True).head(POINTS_SHOWN)
            names = [f"{a} × {b}" for a, b in pairs.select("factor", "other").iter_rows()]
            blocks.append(
                figures.dots(
                    f"Second-order Sobol' indices of {measure}",
                    "What two factors do together beyond what each does alone; the greatest first.",
                    pairs,
                    names,
                    "share of the variance",
                    value="index",
                    zero=True,
                )
            )
        table = sobol.with_columns(_intervals(sobol).alias("interval"))
        heads = [
            ("order", "Order"),
            ("factor", "Factor"),
            ("other", "With"),
            ("index", "Index"),
            ("interval", "95 % interval"),
        ]
        heads = heads if second.height else [head for head in heads if head[0] != "other"]
        blocks.append(grid("Sobol' indices", table, heads, limit=ROWS_SHOWN))
    morris: pl.DataFrame | None = report.analysis.get("morris")
    if morris is not None and morris.height:
        blocks.append(figures.cloud(
            f"Elementary effects on {measure}", "Morris' method. To the right: factors that matter; above: factors whose effect depends on the others, on their own value, or on chance.",
            morris, "mu_star", "sigma", morris["factor"].to_list(), "μ*, mean absolute effect", "σ, standard deviation of effects",
        ))  # fmt: skip
        table = morris.with_columns(_intervals(morris).alias("interval"))
        heads = [("factor", "Factor"), ("mu_star", "μ*"), ("interval", "95 % interval"), ("mu", "μ"), ("sigma", "σ")]
        blocks.append(grid("Elementary effects", table, heads, limit=ROWS_SHOWN))
    known: pl.DataFrame | None = report.analysis.get("correlations")
    if known is not None and known.height:
        table = known.with_columns(
            _intervals(known).alias("interval"),
            pl.Series("p_shown", [p_value(p) for p in known["p_holm"].to_list()], dtype=pl.String),
        )
        shown = known.head(POINTS_SHOWN)
        blocks.append(
            figures.dots(
                f"Rank correlations with {measure}",
                "Spearman's ρ of each numeric factor, 95 % intervals.",
                shown,
                shown["factor"].to_list(),
                "ρ",
                value="rho",
                zero=True,
            )
        )
        heads = [
            ("factor", "Factor"),
            ("n", "Runs"),
            ("rho", "ρ"),
            ("interval", "95 % interval"),
            ("p_shown", "p (Holm)"),
        ]
        blocks.append(grid("Spearman's rank correlations", table, heads, limit=ROWS_SHOWN))
    return blocks


def _variance(report: _Report) -> list[Block]:
    card: pl.DataFrame | None = report.analysis.get("variance")
    if card is None or not card.height:
        return []
    total = float(card["variance"].clip(0).sum())
    if total <= 0:
        return [Words(f"{clean(report.measure)} is the same in every run: there is no variance to share out.", "note")]
    scaled = card.with_columns(
        pl.col("share").alias("mean"),
        (pl.col("low").clip(0) / total).alias("low"),
        (pl.col("high") / total).alias("high"),
    )
    drawn = scaled.with_columns(pl.col("low").clip(upper_bound=1), pl.col("high").clip(upper_bound=1))
    caption = (
        "How much of the variance over runs comes from each component, the outermost of the nested design first. Intervals: 95 % of each component's variance "
        "(modified large-sample method), over the sum of the estimates, cut at 0 and 100 %."
    )
    table = card.with_columns(
        _intervals(card).alias("interval"),
        pl.Series("percent", [f"{share:.1%}" for share in card["share"].to_list()], dtype=pl.String),
    )
    heads = [
        ("component", "Component"), ("percent", "Share"), ("variance", "Variance"), ("interval", "95 % interval"), ("df", "df"),
        ("mean_sq", "Mean square"), ("expected_mean_sq", "Expected mean square"), ("note", "Note"),
    ]  # fmt: skip
    return [
        figures.bars(f"Where the variance of {report.measure} comes from", caption, drawn, drawn["component"].to_list(), "mean", "share of the variance", percent=True),
        grid(f"Variance card of {clean(report.measure)}", table, heads),
    ]  # fmt: skip


def _others(report: _Report) -> list[Block]:
    """Return the measures that are not the outcome: their means, and a curve of some."""
    if not report.measure:
        return []
    names = [name for name in report.found.measures if name != report.measure]
    names = [name for name in names if report.results.schema[name].is_numeric()]
    if not names:
        return []
    rows = [means(report.results, [], name).with_columns(pl.lit(name).alias("measure")) for name in names]
    frame = pl.concat(rows)
    said = [_named(name).partition(": ")[2] for name in names]
    frame = frame.with_columns(_intervals(frame).alias("interval"), pl.Series("what", said, dtype=pl.String))
    heads = [("measure", "Measure"), ("n", "Runs"), ("mean", "Mean"), ("interval", "95 % interval"), ("sd", "SD")]
    heads += [("what", "What it is")] if any(said) else []
    frame = frame.with_columns(pl.col("what").replace("", "–"))
    blocks: list[Block] = [grid("Over all runs", frame, heads, limit=POINTS_SHOWN)]
    varied = [name for name in report.factors if report.levels.get(name, 0) > 1]
    along = [name for name in varied if report.results.schema[name].is_numeric()] or varied
    if report.campaign.design.kind == "variance" or not along:
        return blocks
    wanted = {measure.column for measure in report.campaign.measures}
    kept = [name for name in names if name in wanted][:CURVES]
    return [*blocks, *(_curve(report, name, along[0], varied) for name in kept)]


def _courses(report: _Report) -> list[Block]:
    """Return the courses of the wanted metrics: mean with band over steps, a line a level of the first factor."""
    series, kind = report.found.series, report.campaign.design.kind
    if not series.height:
        return []
    varied = [name for name in report.factors if 1 < report.levels.get(name, 0)]
    by = next((name for name in varied if not _is_many(report.results, name)), None) if kind != "variance" else None
    is_apart = report.has_null and by != "mind"
    columns = [*([by] if by else []), *(["mind"] if is_apart else [])]
    own = report.results.select("point", *columns).unique("point", maintain_order=True)
    steps = series["step"].unique().sort()
    stride = max(1, math.ceil(steps.len() / STEPS_SHOWN))
    kept = series.filter((pl.col("step") % stride == 0) | (pl.col("step") == steps[-1]))
    joined = kept.join(own, on="point", how="left", maintain_order="left")
    is_null = pl.col("mind").eq_missing(pl.lit("null"))
    played, null = (joined.filter(~is_null), joined.filter(is_null)) if is_apart else (joined, joined.clear())
    blocks: list[Block] = []
    for name in report.campaign.series:
        if name not in series.columns:
            continue
        frame = _course(played, ["step", *([by] if by else [])], name)
        beside = _course(null, ["step"], name) if null.height else None
        caption = f"Mean of {name} over runs after each step" + (f", a line a value of {by}" if by else "")
        caption += ". Bands: 95 % intervals of the mean (normal)."
        caption += f" Every {stride}th step is drawn." if stride > 1 else ""
        caption += " Grey: the null policy." if beside is not None else ""
        more = frame[by].n_unique() - figures.LINES if by else 0
        caption += f" {counted(more, 'more value')} of {by} left out." if more > 0 else ""
        blocks.append(figures.curves(
            f"{name} over time", clean(caption), frame, "step", by, "step", name, by_title=by or "", band=True,
            null=beside, theory=report.campaign.theory.get(name), data=_with_null(frame, beside),
        ))  # fmt: skip
    return blocks


def _course(runs: pl.DataFrame, by: Sequence[str], name: str) -> pl.DataFrame:
    """Return the mean of a metric over runs with its interval, by step and what else is named."""
    value = pl.when(pl.col(name).is_finite()).then(pl.col(name))
    half = NORMAL_95 * pl.col("sd") / pl.col("n").sqrt()
    return (
        runs.group_by(by, maintain_order=True)
        .agg(value.count().alias("n"), value.mean().alias("mean"), value.std().alias("sd"))
        .with_columns((pl.col("mean") - half).alias("low"), (pl.col("mean") + half).alias("high"))
    )


def _with_null(frame: pl.DataFrame, null: pl.DataFrame | None) -> pl.DataFrame:
    """Return both as one table, for whoever downloads it."""
    if null is None:
        return frame
    return pl.concat([frame, null.with_columns(pl.lit("null").alias("mind"))], how="diagonal_relaxed")


def _notes(report: _Report) -> list[Block]:
    return [Words(clean(note), "note") for note in report.analysis["notes"]]


def _cost(report: _Report) -> list[Block]:
    record, results = report.found.record, report.results
    usd, tokens = results["usd"].sum() or 0.0, results["tokens"].sum() or 0
    seconds = record["seconds"]
    has_model = "model" in (*report.campaign.settings, *report.campaign.factors) or usd or tokens
    rows = [("models", "none was asked")] if not has_model else [("money", f"${usd:,.4f}"), ("tokens", f"{tokens:,}")]
    if seconds:
        rows.append(
            (
                "computing",
                f"{span_of_time(sum(seconds))} in all, {span_of_time(statistics.median(seconds))} a run (median), {span_of_time(max(seconds))} the longest",
            )
        )
    whole = sum(call["seconds"] for call in record["calls"])
    rows.append(("elapsed", f"{span_of_time(whole)} in {counted(len(record['calls']), 'call')}"))
    spent_usd, spent_tokens = record["spent"]
    if spent_tokens > tokens or spent_usd > usd + 1e-9:
        rows.append(
            (
                "beside",
                f"${spent_usd - usd:,.4f} and {spent_tokens - tokens:,} tokens for runs that are not part of this plan",
            )
        )
    return [Pairs(rows)]


def _failures(report: _Report) -> list[Block]:
    failed = report.results.filter(pl.col("status") != "done")
    if not failed.height:
        return []
    groups = (
        failed.group_by("error", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("runs"), pl.col("point").n_unique().cast(pl.Int64).alias("points"), pl.col("point").first().alias("first"))
        .sort("runs", descending=True, maintain_order=True)
    )  # fmt: skip
    groups = groups.with_columns(
        pl.Series("said", [clean(error, ERROR_SHOWN) for error in groups["error"].to_list()], dtype=pl.String)
    )
    heads = [("said", "Error"), ("runs", "Runs"), ("points", "Points"), ("first", "First point")]
    return [grid(f"{counted(failed.height, 'run')} failed", groups, heads, limit=FAILURES_SHOWN)]


def _manifest(report: _Report) -> list[Block]:
    found = report.found
    rows = [
        ("name", clean(found.name)), ("digest of the plan", found.campaign.digest()),
        ("scenario's files", clean(found.manifest.get("content_hash", "unknown"))),
    ]  # fmt: skip
    rows += [
        (f"version of {clean(name)}", clean(value)) for name, value in (found.manifest.get("versions") or {}).items()
    ]
    blocks: list[Block] = [Pairs(rows)]
    calls = found.record["calls"]
    if calls:
        frame = pl.DataFrame(
            [
                {**call, "digest": call["digest"][:12], "content_hash": call["content_hash"][:12],
                 "seconds": span_of_time(call["seconds"])}
                for call in calls
            ]  # fmt: skip
        )
        heads = [
            ("at", "Ended at"),
            ("digest", "Plan"),
            ("content_hash", "Files"),
            ("planned", "Planned"),
            ("finished", "There after it"),
            ("seconds", "Took"),
        ]
        blocks.append(grid("Calls of the campaign", frame.reverse(), heads, limit=POINTS_SHOWN))
    said = found.manifest["campaign"]
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in said.items()]
    blocks.append(Code(clean("\n".join(lines)), "The campaign as it ran"))
    return blocks

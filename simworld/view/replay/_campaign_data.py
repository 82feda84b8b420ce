"""What the page asks of a campaign, and of two runs side by side."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from simworld.errors import ParameterError, SimworldError, UsageError
from simworld.run import Run, diff
from simworld.sweep import CampaignResults
from simworld.view.replay._pack import cut

MOST_RUNS = 20_000
"""Rows of results that are sent; arbitrary, a few megabytes."""
LONGEST_PROMPTS = 40_000
"""Characters of the difference of two prompts."""
LONGEST_ROW = 4_000
"""Characters of a row that differs."""


def campaign(found: CampaignResults) -> dict[str, Any]:
    """Return the plan of a campaign, its results, and the mean of every measure at every point."""
    results = found.results
    measures = found.measures
    factors = [name for name in found.factors if name in results.columns]
    levels = {name: results[name].unique(maintain_order=True).to_list() for name in factors}
    try:
        outcome = found.outcome
    except SimworldError:
        outcome = ""
    means = []
    for measure in measures:
        for row in _means(found, factors, measure):
            means.append({"measure": measure, **row})
    keeps = found.campaign.record == "runs"
    some = results.head(MOST_RUNS)
    return {
        "name": found.name, "title": found.campaign.title, "scenario": found.campaign.scenario,
        "points": [{name: _value(value) for name, value in point.items()} for point in found.points],
        "factors": [{"name": name, "values": sorted(levels[name], key=_order)} for name in factors],
        "outcome": outcome, "measures": measures, "results": some.to_dicts(), "n_results": results.height,
        "means": means, "keeps_runs": keeps,
        "runs": [[p, k, f"point {p}, replicate {k}" if keeps and status == "done" else None]
                 for p, k, status in some.select("point", "replicate", "status").iter_rows()],
    }  # fmt: skip


def _means(found: CampaignResults, factors: list[str], measure: str) -> list[dict[str, Any]]:
    """Return one row a point: its factors, how many runs, mean, standard deviation, least and largest of a measure."""
    column = pl.col(measure).cast(pl.Float64)
    rows = found.done.filter(column.is_finite())
    return (
        rows.group_by("point", *factors, maintain_order=True)
        .agg(column.len().alias("n"), column.mean().alias("mean"), column.std().alias("sd"), column.min().alias("low"),
             column.max().alias("high"))
        .sort("point").to_dicts()
    )  # fmt: skip


def _order(value: Any) -> tuple[int, float, str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0 if value is None else 1 if is_number else 2, float(value) if is_number else 0.0, str(value))


def _value(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def compare(a: Run, b: Run) -> dict[str, Any]:
    """Return where two runs part and what follows; ``{"error": words}`` for runs of different scenarios."""
    try:
        found = diff(a, b)
    except (ParameterError, UsageError) as error:
        return {"error": str(error)}
    first = found.first
    return {
        "same_until": found.same_until,
        "first": None if first is None else {
            "step": first.step, "stream": first.stream, "agents": list(first.agents), "a": cut(first.a, LONGEST_ROW),
            "b": cut(first.b, LONGEST_ROW), "prompts": cut(first.prompts, LONGEST_PROMPTS),
        },
        "reached": [list(row) for row in found.reached.select("agent", "step").iter_rows()],
        "metrics": _finite(found.metrics), "findings": _finite(found.findings),
    }  # fmt: skip


def _finite(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in row.items()}
        for row in frame.iter_rows(named=True)
    ]

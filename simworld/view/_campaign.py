"""The report of a campaign, from the question to what ran."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

import polars as pl

from simworld.sweep import CampaignResults, Draw, Measure, Span
from simworld.view import _results as results
from simworld.view._page import Block, Code, Page, Pairs, Section, Words, grid
from simworld.view._subject import POINTS_SHOWN, Subject, what_is
from simworld.view._text import clean, counted, level, listing, number, span_of_time

FAILURES_SHOWN = 20
"""Different errors that are shown; arbitrary."""
ERROR_SHOWN = 300
"""Characters of an error that are shown; arbitrary, three lines."""
VALUES_SHOWN = 400
"""Characters of the values of a factor; arbitrary, four lines."""
HASH_SHOWN = 12
"""Digits of a hash where it is compared with another."""
ROUNDING_S = 1
"""Times in a campaign's folder are whole seconds."""

DESIGNS = {
    "factorial": "every combination of the factors' values", "points": "a list of points",
    "latin_hypercube": "Latin hypercube", "random": "random sample", "sobol": "Saltelli's scheme for Sobol' indices",
    "morris": "Morris' trajectories", "variance": "nested, for the variance card",
}  # fmt: skip


def campaign_page(found: CampaignResults) -> Page:
    """Return the report of a campaign.

    Raises:
        CampaignError: its tables cannot be read.
    """
    subject = Subject(found)
    parts: list[tuple[str, Callable[[Subject], list[Block]]]] = [
        ("Question", _question), ("Pre-registration", _registration), ("Plan", _plan), ("Completeness", _completeness),
        ("Outcome", results.outcome), ("Response curves", results.curves), ("Heat map", results.heat_maps),
        ("Effects", results.effects), ("Sensitivity", results.sensitivity), ("Variance card", results.variance),
        ("Other measures", results.other_measures), ("Over time", results.courses),
        ("What to keep in mind", _notes), ("Cost", _cost), ("Failures", _failures), ("Manifest", _manifest),
    ]  # fmt: skip
    sections = [Section(title, blocks) for title, make in parts if (blocks := make(subject))]
    name, scenario = f"Campaign {clean(found.name)}", clean(found.campaign.scenario)
    title = clean(found.campaign.title)
    footer = f"Made by simworld {version('simworld')} from {clean(found.path.resolve().name)}."
    return Page(title or name, f"{name} of {scenario}" if title else scenario, sections, footer)


def _question(subject: Subject) -> list[Block]:
    campaign, card = subject.campaign, subject.card
    blocks: list[Block] = [Words(clean(card.title))] if card is not None and card.title else []
    rows = [("scenario", clean(campaign.scenario))]
    if card is not None and card.sources:
        rows.append(("sources", "\n".join(clean(source) for source in card.sources)))
    meaning = what_is(subject.outcome)
    named = f"{clean(subject.outcome)}: {meaning}" if meaning else clean(subject.outcome)
    rows.append(("outcome", named or "nothing was measured yet"))
    theory = "\n".join(f"{clean(name)} = {number(value)}" for name, value in campaign.theory.items())
    return [*blocks, Pairs([*rows, ("theory", theory)] if theory else rows)]


def _registration(subject: Subject) -> list[Block]:
    return [Words(*pre_registration(subject.found))]


def pre_registration(found: CampaignResults) -> tuple[str, str]:
    """Return in one sentence whether what ran is what was frozen, and the sentence's tone."""
    frozen, calls = found.record["frozen"], found.record["calls"]
    if frozen is None:
        return "Not pre-registered: nothing was frozen before the first run, so these results are exploratory.", "note"
    wanted = (frozen["digest"], frozen["content_hash"])
    had = (found.campaign.digest(), str(found.manifest.get("files_hash") or found.manifest.get("content_hash")))
    when = f"Frozen at {clean(frozen['at'])}"
    named = ("plan, measures or stop rules (digest", "the scenario's files (hash")
    changed = [
        f"{what} {clean(now[:HASH_SHOWN])} instead of {clean(then[:HASH_SHOWN])})"
        for what, now, then in zip(named, had, wanted, strict=True) if now != then
    ]  # fmt: skip
    if changed:
        return f"{when}, but what ran is not what was frozen: {' and '.join(changed)} changed afterwards.", "bad"
    made = [call for call in calls if call["finished"] or call["made"]]
    if not made:
        return f"{when}; nothing has run yet.", "note"
    began = datetime.fromisoformat(made[0]["began"])
    if datetime.fromisoformat(frozen["at"]) > began + timedelta(seconds=ROUNDING_S):
        return f"{when}, but after the first run, so it is no pre-registration.", "bad"
    others = sum((call["digest"], call["content_hash"]) != wanted for call in calls)
    aside = f" ({counted(others, 'call')} with another plan came between; nothing of it is shown)" if others else ""
    return (
        f"What ran is what was frozen: plan, measures and stop rules (digest {wanted[0][:HASH_SHOWN]}) and the "
        f"scenario's files (hash {wanted[1][:HASH_SHOWN]}) were written down at {clean(frozen['at'])}, before the "
        f"first run{aside}."
    ), "good"


def _plan(subject: Subject) -> list[Block]:
    campaign = subject.campaign
    common = ", with random numbers in common across points" if campaign.common_random_numbers else ""
    seeds = f"all from {campaign.seed} by numpy's SeedSequence; "
    if subject.kind == "variance":
        seeds += "runs share those of the components in which they agree"
    else:
        seeds += "the k-th replicates of all points share one" if common else "no two runs share a stream"
    measures = "\n".join(_measure(each) for each in campaign.measures)
    rows = [
        ("design", _design(subject)), ("replicates", _replicates(subject) + common), ("seeds", seeds),
        ("steps", "the scenario's own" if campaign.steps is None else f"{campaign.steps:,}"),
        ("measures", measures or "every metric after the last step, and every finding"),
    ]  # fmt: skip
    rows += [("courses", clean(", ".join(campaign.series)))] if campaign.series else []
    rows += [("observers", clean(", ".join(campaign.observers)))] if campaign.observers else []
    stop, budget = campaign.stop, campaign.budget
    rules = [f"a run fails after {stop.timeout_s:g} s"] if stop.timeout_s is not None else []
    if stop.max_failed is not None:
        rules.append(f"the campaign stops after more than {counted(stop.max_failed, 'failed run')}")
    rows.append(("stop rules", "; ".join(rules) or "none"))
    limits = [f"${budget.usd:,.2f}"] if budget.usd is not None else []
    limits += [f"{budget.tokens:,} tokens"] if budget.tokens is not None else []
    rows += [("budget", ", ".join(limits))] if limits else []
    fixed = "\n".join(
        f"{clean(name)} = {_plain(value)}" for name, value in (campaign.params | campaign.settings).items()
    )
    rows += [("fixed", fixed)] if fixed else []
    return [Pairs(rows), *_factors(subject)]


def _factors(subject: Subject) -> list[Block]:
    factors = subject.campaign.factors
    if not factors:
        return []
    params = (subject.card.params or ()) if subject.card is not None else ()
    known = {param.name: param for param in params}
    frame = pl.DataFrame({
        "factor": list(factors), "values": [_values(factor) for factor in factors.values()],
        "unit": [known[name].unit if name in known else "" for name in factors],
        "what": [known[name].doc if name in known else "" for name in factors],
    })  # fmt: skip
    heads = [("factor", "Factor"), ("values", "Values")]
    heads += [(name, head) for name, head in (("unit", "Unit"), ("what", "What it is")) if any(frame[name].to_list())]
    return [grid("Factors", frame.with_columns(pl.col("unit", "what").replace("", "–")), heads)]


def _design(subject: Subject) -> str:
    design, n = subject.campaign.design, len(subject.found.points)
    more = f", n = {design.n:,}" if design.n is not None else ""
    more += f", {design.levels} levels" if design.kind == "morris" else ""
    if design.kind == "variance":
        more = f": {' > '.join(design.components)}, {design.repeats} values of each within the one before"
    return f"{DESIGNS[design.kind]}{more}; {counted(n, 'point')}"


def _replicates(subject: Subject) -> str:
    until, least = subject.campaign.until, subject.campaign.replicates
    if until is None:
        return f"{least:,}"
    enough = f"the {until.confidence:.0%} interval of {clean(until.metric)} is at most {until.ci_width:g} wide"
    rule = "asymptotic confidence sequence, arXiv 2103.06476: after few values, of a rare event or a skewed outcome it "
    rule += "may have stopped too early; until.bounds makes it exact"
    if until.bounds is not None:
        rule = f"exact confidence sequence for values from {until.bounds[0]:g} to {until.bounds[1]:g}, arXiv 2010.09686"
    return f"{_at_first(subject):,}, then more until {enough}, {until.max_replicates:,} at most ({rule})"


def _at_first(subject: Subject) -> int:
    """Return how many replicates of every point are planned before any is looked at."""
    until, least = subject.campaign.until, subject.campaign.replicates
    return least if until is None else min(max(until.first, least), until.max_replicates)


def _measure(measure: Measure) -> str:
    when = {"final": "at the end", "mean": "mean over steps", "max": "greatest", "min": "least"}[measure.at]
    after = f" from step {measure.after:,} on" if measure.after and measure.at != "final" else ""
    return clean(f"{measure.metric}{f' (as {measure.name})' if measure.name else ''}, {when}{after}")


def _values(factor: Any) -> str:
    if isinstance(factor, Span):
        parts = [f"{number(factor.low)} to {number(factor.high)}"]
        parts += [counted(factor.levels, "level")] if factor.levels else []
        parts += ["whole numbers"] if factor.integer else []
        parts += ["logarithmic"] if factor.log else []
        return ", ".join(parts)
    if isinstance(factor, Draw):
        said = factor.model_dump(exclude_defaults=True, exclude={"distribution"})
        return f"{factor.distribution}({', '.join(f'{name} = {level(value)}' for name, value in said.items())})"
    return clean(", ".join(level(value) for value in factor), VALUES_SHOWN)


def _plain(value: Any) -> str:
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), VALUES_SHOWN)


def _completeness(subject: Subject) -> list[Block]:
    table, record = subject.results, subject.found.record
    done = subject.found.done.height
    failed = table.height - done
    planned = max(sum(record["planned_at"].values()), table.height)
    missing = planned - table.height
    share = f" ({done / planned:.1%})" if planned else ""
    rows = [("planned", counted(planned, "run")), ("done", f"{done:,}{share}"), ("failed", f"{failed:,}")]
    rows += [("missing", f"{missing:,}; call simworld sweep again to make them")] if missing else []
    if subject.campaign.until is not None and table.height:
        sizes = table.group_by("point").len()["len"].to_list()
        mean = table.height / len(subject.found.points)
        rows.append(("replicates", f"{min(sizes):,} to {max(sizes):,} a point, {mean:,.1f} on average"))
    if record["calls"] and not record["calls"][-1]["ended"]:
        rows.append(
            ("last call", f"begun at {clean(record['calls'][-1]['began'])}, and not ended: under way or killed")
        )
    notes: list[Block] = [Words(clean(_sentence(note)), "bad") for note in subject.found.notes]
    if not missing and not failed:
        return [Words("Every run of the plan is there.", "good"), *notes, Pairs(rows)]
    words = f"{missing + failed:,} of {counted(planned, 'run')} of the plan gave nothing."
    return [Words(words, "bad"), *notes, Pairs(rows), *_incomplete(subject)]


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _incomplete(subject: Subject) -> list[Block]:
    """Return the points at which runs are missing or failed."""
    points = subject.found.points
    is_done = pl.col("status") == "done"
    counts = subject.results.group_by("point").agg(is_done.sum().alias("done"), (~is_done).sum().alias("failed"))
    frame = pl.DataFrame({"point": pl.Series(range(len(points)), dtype=pl.Int32)})
    frame = frame.join(counts, on="point", how="left", maintain_order="left").with_columns(
        pl.col("done", "failed").fill_null(0).cast(pl.Int64)
    )
    planned = subject.found.record["planned_at"]
    wanted = pl.Series([planned.get(i, 0) for i in range(len(points))], dtype=pl.Int64)
    missing = (wanted - pl.col("done") - pl.col("failed")).clip(0)
    frame = frame.with_columns(missing.alias("missing")).filter((pl.col("failed") > 0) | (pl.col("missing") > 0))
    if not frame.height:
        return []
    said = pl.Series("values", [_point(points[i]) for i in frame["point"].to_list()], dtype=pl.String)
    heads = [("point", "Point"), ("values", "Values"), ("done", "Done"), ("failed", "Failed"), ("missing", "Missing")]
    return [grid("Points that are not complete", frame.with_columns(said), heads, limit=POINTS_SHOWN)]


def _point(point: Mapping[str, Any]) -> str:
    return clean(", ".join(f"{name} = {level(value)}" for name, value in point.items()), 120) or "the only one"


def _notes(subject: Subject) -> list[Block]:
    return [Words(clean(note), "note") for note in subject.analysis["notes"]]


def _cost(subject: Subject) -> list[Block]:
    record, table, campaign = subject.found.record, subject.results, subject.campaign
    usd, tokens = float(sum(table["usd"].to_list())), int(sum(table["tokens"].to_list()))
    spent_usd, spent_tokens = record["spent"]
    rows = [("money", f"${usd:,.4f}"), ("tokens", f"{tokens:,}")]
    if "model" not in (*campaign.settings, *campaign.factors) and not spent_tokens and not spent_usd:
        rows = [("models", "none was asked")]
    elif spent_tokens > tokens or spent_usd > usd + 1e-9:  # sums in another order differ by less
        more = f"${max(spent_usd - usd, 0.0):,.4f} and {spent_tokens - tokens:,} tokens"
        rows.append(("beside", f"{more} for runs that are not part of this plan"))
    if seconds := record["seconds"]:
        longest = span_of_time(max(seconds))
        each = f"{span_of_time(statistics.median(seconds))} a run (median), {longest} the longest"
        rows.append(("computing", f"{span_of_time(sum(seconds))} in all, {each}"))
    whole = sum(call["seconds"] for call in record["calls"])
    rows.append(("elapsed", f"{span_of_time(whole)} in {counted(len(record['calls']), 'call')}"))
    return [Pairs(rows)]


def _failures(subject: Subject) -> list[Block]:
    failed = subject.results.filter(pl.col("status") != "done")
    if not failed.height:
        return []
    point = pl.col("point").cast(pl.Int64)
    groups = (
        failed.group_by("error", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("runs"), point.n_unique().alias("points"), point.first().alias("first"))
        .sort("runs", descending=True, maintain_order=True)
    )
    said = pl.Series("said", [clean(error, ERROR_SHOWN) for error in groups["error"].to_list()], dtype=pl.String)
    heads = [("said", "Error"), ("runs", "Runs"), ("points", "Points"), ("first", "First point")]
    caption = f"{counted(failed.height, 'run')} failed"
    return [grid(caption, groups.with_columns(said), heads, limit=FAILURES_SHOWN)]


def _manifest(subject: Subject) -> list[Block]:
    found = subject.found
    rows = [
        ("name", clean(found.name)), ("digest of the plan", found.campaign.digest()),
        ("scenario's files", clean(found.manifest.get("content_hash", "unknown"))),
    ]  # fmt: skip
    known = found.manifest.get("versions") or {}
    rows += [(f"version of {clean(name)}", clean(value)) for name, value in known.items()]
    return [Pairs(rows), *_calls(subject), Code(listing(found.manifest["campaign"]), "The campaign as it ran")]


def _calls(subject: Subject) -> list[Block]:
    calls = subject.found.record["calls"]
    if not calls:
        return []
    frame = pl.DataFrame([
        {**call, "digest": call["digest"][:HASH_SHOWN], "content_hash": call["content_hash"][:HASH_SHOWN],
         "ended": call["ended"] or "not ended", "seconds": span_of_time(call["seconds"]) if call["ended"] else "–"}
        for call in reversed(calls)
    ])  # fmt: skip
    heads = [
        ("began", "Began at"), ("ended", "Ended at"), ("digest", "Plan"), ("content_hash", "Files"),
        ("planned", "Planned"), ("made", "New runs"), ("finished", "There after it"), ("seconds", "Took"),
    ]  # fmt: skip
    return [grid("Calls of the campaign, the last first", frame, heads, limit=POINTS_SHOWN)]

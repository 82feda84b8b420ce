"""What the report of a run says."""

from __future__ import annotations

import json
import math

import polars as pl

from simworld.observe import meaning
from simworld.run import Run
from simworld.view import _figures as figures
from simworld.view._page import Block, Code, Page, Pairs, Section, Words, grid
from simworld.view._text import clean, counted, interval, p_value

LINES_A_FIGURE = 6
"""Metrics in one figure: as many as there are colours."""
FIGURES = 12
"""Figures of metrics; arbitrary."""
STEPS_SHOWN = 500
"""Steps that are drawn; of longer runs every k-th; arbitrary, half a pixel each."""
ROWS_SHOWN = 80
"""Rows of a table; arbitrary, two screens."""


def run_page(run: Run) -> Page:
    """Return the report of a run."""
    parts = [
        ("Summary", _summary(run)), ("Findings", _findings(run)), ("Metrics", _metrics(run)), ("Events", _events(run)),
        ("Spending", _spending(run)), ("Notes", _notes(run)), ("Manifest", _manifest(run)),
    ]  # fmt: skip
    sections = [Section(title, blocks) for title, blocks in parts if blocks]
    name = clean(run.path.resolve().name)
    return Page(f"Run of {clean(run.plan.scenario)}", name, sections, f"Made by simworld from {name}.")


def _summary(run: Run) -> list[Block]:
    tone = {"finished": "good", "failed": "bad"}.get(run.status, "note")
    rows = [(label, clean(text)) for label, text in run.summary() if label not in ("note", "folder")]
    # Who decided is said first: rules are not a language model.
    return [Words(f"{run.status}; decided by {clean(run.mind)}", tone), Pairs(rows)]


def _findings(run: Run) -> list[Block]:
    found = run.findings
    if not found.height:
        return []
    table = found.with_columns(
        pl.Series("p_shown", [p_value(p) for p in found["p_value"].to_list()], dtype=pl.String),
        pl.Series("what", [_what(a, b) for a, b in found.select("observer", "metric").iter_rows()], dtype=pl.String),
    )  # fmt: skip
    heads = [
        ("observer", "Observer"), ("metric", "Finding"), ("value", "Value"), ("null_mean", "Null"), ("gap", "Gap"),
        ("p_shown", "p"),
    ]  # fmt: skip
    policy = run.null_policy.filter("is_finding") if run.null_policy.height else run.null_policy
    if policy.height:
        policy = policy.with_columns(pl.Series("policy", [
            f"{a:.4g} ({interval(b, c)})" for a, b, c in policy.select("mean", "low", "high").iter_rows()
        ], dtype=pl.String))  # fmt: skip
        table = table.join(
            policy.select("observer", "metric", "policy"), on=["observer", "metric"], how="left", maintain_order="left"
        )
        table = table.with_columns(pl.col("policy").fill_null("–"))
        heads.append(("policy", "Null policy"))
    heads += [("what", "What it is")] if any(table["what"].to_list()) else []
    table = table.with_columns(pl.col("what").replace("", "–"))
    note = "Null: what chance gives with the same graph (shuffles) or what theory says; gap: value minus null."
    note += (
        " Null policy: the same society deciding at random, mean and 2.5 to 97.5 % of its runs."
        if policy.height
        else ""
    )
    return [grid("Findings at the end", table, heads, limit=ROWS_SHOWN, note=note)]


def _what(observer: str, metric: str) -> str:
    return clean(meaning(observer, metric))


def _metrics(run: Run) -> list[Block]:
    frame = run.metrics
    if frame.height < 2:
        return []
    stride = max(1, math.ceil(frame.height / STEPS_SHOWN))
    kept = frame.filter((pl.col("step") % stride == 0) | (pl.col("step") == frame["step"].max()))
    groups: dict[str, list[str]] = {}
    for name in frame.columns:
        if name != "step" and (frame.schema[name].is_numeric() or frame.schema[name] == pl.Boolean):
            groups.setdefault(name.rpartition(".")[0], []).append(name)
    blocks: list[Block] = []
    drawn = 0
    for observer, names in groups.items():
        for start in range(0, len(names), LINES_A_FIGURE):
            if (drawn := drawn + 1) > FIGURES:
                continue
            some = names[start : start + LINES_A_FIGURE]
            more = f" ({start // LINES_A_FIGURE + 1})" if len(names) > LINES_A_FIGURE else ""
            wide = kept.select("step", *(pl.col(name).cast(pl.Float64) for name in some))
            long = wide.unpivot(some, index="step", variable_name="metric", value_name="mean")
            long = long.with_columns(
                pl.col("metric").str.strip_prefix(f"{observer}." if observer else ""), pl.lit(None, pl.Float64).alias("low"),
                pl.lit(None, pl.Float64).alias("high"),
            )  # fmt: skip
            said = [
                f"{name.rpartition('.')[2]}: {text}"
                for name in some
                if (text := _what(observer, name.rpartition(".")[2]))
            ]
            blocks.append(figures.curves(
                f"{observer or 'Metrics of the scenario'}{more}",
                " ".join(said) or "After each step.", long, "step", "metric", "step", "value", band=True, data=wide,
            ))  # fmt: skip
    if drawn > FIGURES:
        blocks.append(Words(f"{counted(drawn - FIGURES, 'more figure')} left out; run.metrics has them all.", "note"))
    return blocks


def _events(run: Run) -> list[Block]:
    counts = run.events.group_by("kind").agg(
        pl.len().cast(pl.Int64).alias("n"), pl.col("step").min().alias("first"), pl.col("step").max().alias("last")
    )
    if not counts.height:
        return []
    heads = [("kind", "Kind"), ("n", "Events"), ("first", "First step"), ("last", "Last step")]
    table = counts.sort("n", "kind", descending=[True, False])
    return [grid("Events by kind", table, heads, limit=ROWS_SHOWN)]


def _spending(run: Run) -> list[Block]:
    spent = run.manifest.get("spending", ())
    if not spent:
        return []
    rows = [{
        "model": each["model"], "calls": each["calls"], "input": each["input_tokens"], "output": each["output_tokens"],
        "usd": None if each["usd"] is None else float(each["usd"]), "lost": float(each["lost_usd"] or 0.0),
    } for each in spent]  # fmt: skip
    frame = pl.DataFrame(rows, schema={"model": pl.String, "calls": pl.Int64, "input": pl.Int64, "output": pl.Int64,
                                       "usd": pl.Float64, "lost": pl.Float64})  # fmt: skip
    heads = [
        ("model", "Model"),
        ("calls", "Calls"),
        ("input", "Tokens in"),
        ("output", "Tokens out"),
        ("usd", "US dollars"),
        ("lost", "At most more, without a reply"),
    ]
    said = "This run repeats a tape: another run spent this." if run.plan.is_replay else ""
    blocks: list[Block] = [grid("By model", frame, heads, note=said)]
    answers = run.answers
    if answers.height:
        numbers = [name for name in answers.columns if name not in ("step", "model", "decision")]
        by = answers.group_by("model", "decision", maintain_order=True).agg(pl.col(numbers).sum())
        named = [("model", "Model"), ("decision", "Decision"), *((name, name.replace("_", " ")) for name in numbers)]
        blocks.append(grid("How answers turned out", by, named, limit=ROWS_SHOWN))
    return blocks


def _notes(run: Run) -> list[Block]:
    return [Words(clean(note), "note") for note in run.manifest["notes"]]


def _manifest(run: Run) -> list[Block]:
    kept = {name: value for name, value in run.manifest.items() if name not in ("files", "notes")}
    return [Code(clean(json.dumps(kept, indent=1, ensure_ascii=False, default=str)), "The manifest")]

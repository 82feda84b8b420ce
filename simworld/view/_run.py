"""What the report of a run says."""

from __future__ import annotations

import math

import polars as pl

from simworld.run import Run
from simworld.view import _figures as figures
from simworld.view._page import Block, Code, Page, Pairs, Section, Words, grid
from simworld.view._subject import what_is
from simworld.view._text import clean, counted, interval, listing, p_value

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
    said = [what_is(f"{a}.{b}") for a, b in found.select("observer", "metric").iter_rows()]
    table = found.with_columns(
        pl.Series("p_shown", [p_value(p) for p in found["p_value"].to_list()], dtype=pl.String),
        pl.Series("what", said, dtype=pl.String),
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
    heads += [("what", "What it is")] if any(said) else []
    table = table.with_columns(pl.col("what").replace("", "–"))
    note = "Null: what chance gives with the same graph (shuffles) or what theory says; gap: value minus null."
    note += (
        " Null policy: the same society deciding at random, mean and 2.5 to 97.5 % of its runs."
        if policy.height
        else ""
    )
    return [grid("Findings at the end", table, heads, limit=ROWS_SHOWN, note=note)]


def _metrics(run: Run) -> list[Block]:
    frame = run.metrics
    if frame.height < 2:
        return []
    stride = max(1, math.ceil(frame.height / STEPS_SHOWN))
    kept = frame.filter((pl.col("step") % stride == 0) | (pl.col("step") == frame["step"].max()))
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in frame.columns:
        if name != "step" and (frame.schema[name].is_numeric() or frame.schema[name] == pl.Boolean):
            # Shares beside counts would all lie on the axis.
            is_share = bool(frame[name].cast(pl.Float64).fill_nan(None).drop_nulls().is_between(0, 1).all())
            groups.setdefault((name.rpartition(".")[0], is_share), []).append(name)
    parts = [
        (observer, names[i : i + LINES_A_FIGURE])
        for (observer, _), names in groups.items() for i in range(0, len(names), LINES_A_FIGURE)
    ]  # fmt: skip
    seen: dict[str, int] = {}
    several = {observer for observer, _ in parts if [each for each, _ in parts].count(observer) > 1}
    blocks: list[Block] = []
    for observer, names in parts[:FIGURES]:
        seen[observer] = seen.get(observer, 0) + 1
        title = observer or "Metrics of the scenario"
        title += f" ({seen[observer]})" if observer in several else ""
        wide = kept.select("step", *(pl.col(name).cast(pl.Float64) for name in names))
        said = [f"{each}: {text}" for name in names if (text := what_is(name)) and (each := name.rpartition(".")[2])]
        caption = " ".join([*said, *([f"Every {stride}th step is drawn."] if stride > 1 else [])])
        blocks.append(figures.curves(
            title, caption or "After each step.", _long(wide, observer), "step", "metric", "step", "value", band=True,
            data=wide,
        ))  # fmt: skip
    if len(parts) > FIGURES:
        more = counted(len(parts) - FIGURES, "more figure")
        blocks.append(Words(f"{more} left out; metrics.parquet of the run has them all.", "note"))
    return blocks


def _long(wide: pl.DataFrame, observer: str) -> pl.DataFrame:
    """Return one row a step and metric, without intervals."""
    names = [name for name in wide.columns if name != "step"]
    nothing = pl.lit(None, pl.Float64)
    return wide.unpivot(names, index="step", variable_name="metric", value_name="mean").with_columns(
        pl.col("metric").str.strip_prefix(f"{observer}." if observer else ""),
        nothing.alias("low"),
        nothing.alias("high"),
    )


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
    # The digest stands for the hashes of single files and segments, which are in the folder.
    kept = {name: value for name, value in run.manifest.items() if name not in ("files", "segments", "notes")}
    return [Code(listing(kept))]

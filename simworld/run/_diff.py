"""Two runs side by side: where they part, whom the difference reaches, and what it does to every metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from simworld.errors import ParameterError
from simworld.mind.llm import difference
from simworld.run._chain import by_step
from simworld.run._load import Run
from simworld.run._store import Contents

NO_ROWS: Mapping[int, pl.DataFrame] = {}


@dataclass(frozen=True)
class Divergence:
    """Where two runs part."""

    step: int
    """The first step that differs."""
    stream: str
    """What differs there first: ``events``, ``ties``, ``memory``, a state table, or ``globals``: its `Globals`
    and whether it goes on."""
    agents: tuple[int, ...]
    """Agents whose rows in that step differ."""
    a: str
    """The first row that only the first run has, or has first; empty when there is none."""
    b: str
    """The same of the second run."""
    prompts: str = ""
    """Where a language model was asked something else in that step: what the first of these agents was told in either,
    as a unified diff."""


@dataclass(frozen=True)
class Difference:
    """How two runs differ."""

    first: Divergence | None
    """None when every recorded step is the same, but for what says that something was changed from outside."""
    same_until: int
    """The last step that both have and that is the same; -1 when there is none."""
    reached: pl.DataFrame
    """One row an agent whose events or state ever differ: agent, step (the first)."""
    metrics: pl.DataFrame
    """One row a metric: a, b and their difference b - a after the last step both have; the mean of the difference over
    the steps from the first divergence on, and the largest, with its step."""
    findings: pl.DataFrame
    """One row a finding that both have: observer, metric, a, b, difference."""

    def __bool__(self) -> bool:
        return self.first is not None


def diff(a: Run, b: Run) -> Difference:
    """Compare two runs of one scenario, step by step.

    Paired: under the same seed both draw from the same streams, so what differs after a fork follows from what was
    changed. Compared with a run under another seed it is chance as well.

    Raises:
        ParameterError: they are runs of different scenarios.
    """
    if a.plan.scenario != b.plan.scenario:
        raise ParameterError(
            f"{a.path.name} is a run of {a.plan.scenario!r} and {b.path.name} of {b.plan.scenario!r}; take two of one"
        )
    both = [Contents(run.path) for run in (a, b)]
    steps = [{s["step"]: s for s in contents.steps()} for contents in both]
    shared = sorted(steps[0].keys() & steps[1].keys())
    if a.plan.state_every == b.plan.state_every:
        links = [{t: (s["events_chain"], s["state_chain"]) for t, s in each.items()} for each in steps]
        parted = next((t for t in shared if links[0][t] != links[1][t]), None)
    else:
        parted = shared[0] if shared else None  # states are hashed at other steps, so only their rows can say
    reached = pl.DataFrame(schema={"agent": pl.Int64, "step": pl.Int32})
    first: Divergence | None = None
    if parted is not None:
        recorded = {t for t in shared if steps[0][t]["checkpoint"] and steps[1][t]["checkpoint"]}
        streams = [_compared(contents, parted, shared[-1], recorded) for contents in both]
        rest = [{t: s["globals"] for t, s in each.items() if t >= parted} for each in steps]
        # The step at which the chains part says it in almost every case.
        at_once = [{name: rows.filter(pl.col("step") == parted) for name, rows in each.items()} for each in streams]
        first = _first(a, b, at_once[0], at_once[1], {parted: rest[0][parted]}, {parted: rest[1][parted]}) or _first(
            a, b, streams[0], streams[1], rest[0], rest[1]
        )
        reached = _reached(streams[0], streams[1])
        if first is None and a.plan.state_every != b.plan.state_every:
            parted = None
    same_until = max((t for t in shared if parted is None or t < (first.step if first else parted)), default=-1)
    return Difference(first, same_until, reached, _metrics(a, b, parted), _findings(a, b))


def _compared(contents: Contents, first: int, last: int, recorded: set[int]) -> dict[str, pl.DataFrame]:
    """Return the rows that two runs are compared by: tables only where both recorded their state."""
    step, tables = pl.col("step"), set(contents.manifest["tables"])
    found = {}
    for name, frame in _without_interventions(contents.streams()).items():
        rows = frame.filter(step.is_between(first, last))
        found[name] = rows.filter(step.is_in(sorted(recorded))) if name in tables else rows
    return found


def _without_interventions(streams: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Leave out what says that something was changed from outside: what follows from it is asked for."""
    if "events" not in streams:
        return streams
    return {**streams, "events": streams["events"].filter(pl.col("kind") != "intervention")}


def _words(row: Mapping[str, Any]) -> str:
    """Return a row in words, without what says nothing."""

    def is_said(name: str, value: Any) -> bool:
        return value not in (None, "") and not (isinstance(value, float) and math.isnan(value)) and name != "step"

    return ", ".join(f"{k} {v}" for k, v in row.items() if is_said(k, v) and (v != -1 or k == "value"))


def _first(
    a: Run,
    b: Run,
    ours: dict[str, pl.DataFrame],
    theirs: dict[str, pl.DataFrame],
    rest: Mapping[int, str],
    other: Mapping[int, str],
) -> Divergence | None:
    parts = [by_step(streams) for streams in (ours, theirs)]
    names = list(dict.fromkeys([*ours, *theirs]))
    for t in sorted(rest.keys() & other.keys()):
        for name in names:
            x, y = (each.get(name, NO_ROWS).get(t) for each in parts)
            if x is not None and y is not None and x.equals(y, null_equal=True):
                continue
            if x is None and y is None:
                continue
            rows = [[] if each is None else [repr(row) for row in each.rows(named=True)] for each in (x, y)]
            at = next((i for i, (p, q) in enumerate(zip(*rows, strict=False)) if p != q), min(map(len, rows)))
            if all(at >= len(each) for each in rows):
                continue  # NaN beside NaN
            shown = [
                _words(each.row(at, named=True)) if each is not None and at < each.height else "" for each in (x, y)
            ]
            agents = _agents_at(t, ours, theirs)
            return Divergence(t, name, agents, shown[0], shown[1], _prompts(a, b, t))
        if rest[t] != other[t]:
            return Divergence(t, "globals", (), rest[t], other[t])
    return None


def _agents_at(t: int, ours: dict[str, pl.DataFrame], theirs: dict[str, pl.DataFrame]) -> tuple[int, ...]:
    now = [{name: frame.filter(pl.col("step") == t) for name, frame in each.items()} for each in (ours, theirs)]
    return tuple(_reached(now[0], now[1])["agent"].to_list())


def _prompts(a: Run, b: Run, t: int) -> str:
    """Return what the first agent that was told something else in a step was told in either run."""
    key = ["agent", "purpose", "occurrence", "attempt"]
    told = [run.calls.filter(pl.col("step") == t).select(*key, "system", "user") for run in (a, b)]
    joined = told[0].join(told[1], on=key, how="inner", suffix="_b").sort(key)
    other = joined.filter((pl.col("user") != pl.col("user_b")) | (pl.col("system") != pl.col("system_b")))
    if not other.height:
        return ""
    row = other.row(0, named=True)
    then = (("system", row["system"]), ("user", row["user"]))
    now = (("system", row["system_b"]), ("user", row["user_b"]))
    return f"{row['purpose']} of agent {row['agent']}\n{difference(then, now, a.path.name, b.path.name)}"


_AGENTS = {"events": ("agent", "target"), "ties": ("source", "target"), "memory": ("agent",), "agents": ("id",)}
"""Columns that name agents, by stream; entities belong to nobody."""


def _reached(ours: dict[str, pl.DataFrame], theirs: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Return the agents whose rows differ, and the first step in which they do."""
    found = []
    for name, columns in _AGENTS.items():
        given = [each[name] for each in (ours, theirs) if name in each]
        if not given:
            continue
        sides = [each.get(name, given[0].clear()) for each in (ours, theirs)]
        for column in columns:
            sums = [
                side.with_columns(side.drop("step").hash_rows(seed=0).alias("_row"))
                .group_by("step", pl.col(column).cast(pl.Int64).alias("agent"))
                .agg(pl.col("_row").sort().alias("_rows"))
                for side in sides
            ]
            joined = sums[0].join(sums[1], on=["step", "agent"], how="full", coalesce=True, suffix="_b")
            found.append(joined.filter(pl.col("_rows").ne_missing(pl.col("_rows_b"))).select("agent", "step"))
    if not found:
        return pl.DataFrame(schema={"agent": pl.Int64, "step": pl.Int32})
    every = pl.concat(found).filter(pl.col("agent") >= 0)
    return every.group_by("agent").agg(pl.col("step").min()).sort("step", "agent")


def _metrics(a: Run, b: Run, parted: int | None) -> pl.DataFrame:
    """Return how each numeric metric differs, paired by step."""
    kinds = {
        "metric": pl.String, "a": pl.Float64, "b": pl.Float64, "difference": pl.Float64,
        "mean_difference": pl.Float64, "largest": pl.Float64, "largest_at": pl.Int32,
    }  # fmt: skip
    rows = []
    for name in a.metrics.columns:
        if name == "step" or name not in b.metrics.columns:
            continue
        if not (a.metrics[name].dtype.is_numeric() and b.metrics[name].dtype.is_numeric()):
            continue
        both = a.metrics.select("step", pl.col(name).cast(pl.Float64).alias("a")).join(
            b.metrics.select("step", pl.col(name).cast(pl.Float64).alias("b")), on="step", how="inner"
        )
        both = both.sort("step").with_columns((pl.col("b") - pl.col("a")).alias("d"))
        if not both.height:
            continue
        last = both.row(-1, named=True)
        since = (
            both.filter((pl.col("step") >= parted) & pl.col("d").is_finite()) if parted is not None else both.clear()
        )
        top = since.sort(pl.col("d").abs(), descending=True, maintain_order=True).head(1)
        if last["d"] is None or math.isnan(last["d"]):
            same = [last[side] is None or math.isnan(last[side]) for side in ("a", "b")]
            if all(same) and not top.height:
                continue  # nothing to measure in either
        rows.append((
            name, last["a"], last["b"], last["d"], since["d"].mean(),
            top["d"].item() if top.height else None, top["step"].item() if top.height else None,
        ))  # fmt: skip
    return pl.DataFrame(rows, schema=kinds, orient="row")


def _findings(a: Run, b: Run) -> pl.DataFrame:
    key = ["observer", "metric"]
    return (
        a.findings.select(*key, pl.col("value").alias("a"))
        .join(b.findings.select(*key, pl.col("value").alias("b")), on=key, how="inner", maintain_order="left")
        .with_columns((pl.col("b") - pl.col("a")).alias("difference"))
    )

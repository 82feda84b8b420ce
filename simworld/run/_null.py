"""The null policy beside a run: the same society deciding at random, several times, measured by the same observers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping

import polars as pl

from simworld.errors import Interrupted
from simworld.observe import null_of
from simworld.run._plan import plain
from simworld.run._prepare import Prepared
from simworld.run._vectors import Unasked

NULL_RUNS = 20
"""Null runs when the user gives no number; arbitrary, enough for a mean and its spread."""

COLUMNS = {
    "null_run": pl.Int32, "seed": pl.Int64, "observer": pl.String, "metric": pl.String, "is_finding": pl.Boolean,
    "value": pl.Float64,
}  # fmt: skip
"""One row a null run and measure: findings, and metrics of the last step (the scenario's own have no observer)."""


def null_policy_runs(
    prepared: Prepared, stop: threading.Event | None = None, done: Callable[[int], None] | None = None
) -> pl.DataFrame:
    """Run the null policy on a run's own inputs, each time under another seed derived from the run's.

    Personas, graph, parameters and settings of memory are those of the run; interventions of forks are left out.

    Args:
        prepared: the run; its society is not touched.
        stop: when set, the runs end with `Interrupted`.
        done: told of every null run.
    """
    rows = [row for i in range(prepared.plan.null_runs) for row in _one(prepared, i, stop, done)]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _one(
    prepared: Prepared, i: int, stop: threading.Event | None, done: Callable[[int], None] | None
) -> Iterator[tuple[int, int, str, str, bool, float]]:
    plan, own = prepared.plan, prepared.society
    seed = own.chance.seed_of("null", i)
    people = prepared.inputs.personas
    society = type(own)(
        rng=seed, graph=prepared.inputs.graph, personas=None if people is None else list(people), mind="null",
        memory=plan.memory, embed=Unasked(prepared.seating.board.service) if prepared.seating is not None else None,
        **plan.params,
    )  # fmt: skip
    while society.t < plan.steps and society.running:
        if stop is not None and stop.is_set():
            raise Interrupted(f"stopped in run {i + 1} of {plan.null_runs} of the null policy, which are begun anew")
        society.step()
    measured = {("", name): plain(value) for name, value in society.metrics().items()}
    for observer in prepared.observers:
        measured |= {(observer.name, name): plain(value) for name, value in observer.observe(society).items()}
    for (name, metric), value in measured.items():
        if isinstance(value, int | float):
            yield i, seed, name, metric, False, float(value)
    for observer in prepared.observers:
        for finding in observer.conclude(society):
            yield i, seed, finding.observer, finding.metric, True, finding.value
    if done is not None:
        done(i + 1)


def summed_up(rows: pl.DataFrame, values: Mapping[tuple[str, str, bool], float] | None = None) -> pl.DataFrame:
    """Return what the null policy gives for each measure.

    Columns: observer, metric, is_finding, n, mean, sd, low, high, p_value.

    ``low`` and ``high`` are the 2.5 and 97.5 % quantiles over its runs; runs without a number are left out of ``n``.
    ``p_value`` is how often the null policy is at least as far out as the run's own value (rank, two-sided, never 0);
    with 20 runs it is 2/21 at least.

    Args:
        rows: one row a null run and measure.
        values: what the run itself gave, by observer, metric and is_finding.
    """
    value = pl.col("value")
    draws = {
        key: part["value"].to_numpy()
        for key, part in rows.partition_by("observer", "metric", "is_finding", as_dict=True).items()
    }
    own = values or {}
    p_values = pl.DataFrame(
        [(*key, null_of(own.get(key, math.nan), found).p_value) for key, found in draws.items()],
        schema={"observer": pl.String, "metric": pl.String, "is_finding": pl.Boolean, "p_value": pl.Float64},
        orient="row",
    )
    summed = (
        rows.filter(value.is_not_nan())
        .group_by("observer", "metric", "is_finding", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            value.mean().alias("mean"),
            value.std().alias("sd"),
            value.quantile(0.025, "linear").alias("low"),
            value.quantile(0.975, "linear").alias("high"),
        )
    )
    return summed.join(p_values, on=["observer", "metric", "is_finding"], how="left", maintain_order="left")

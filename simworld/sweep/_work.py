"""One run of a campaign, in whatever process it is given to."""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import json
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import (
    BudgetSpent,
    CampaignError,
    Interrupted,
    SimworldError,
    StorageError,
    UsageError,
    did_you_mean,
)
from simworld.run import Loaded, Run, execute, load_scenario, measured, prepare, resume, start_run
from simworld.sweep._campaign import Measure
from simworld.sweep._files import Files
from simworld.sweep._process import resident_mb
from simworld.world import World

GRACE_S = 5.0
"""Seconds a run that is over its time has to end by itself before its process is ended, and no more than it had at
first; arbitrary."""
AGAIN_S = 1.0
"""Seconds after which a run that is over its time and goes on is told so again; arbitrary."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run that is to be made; plain data, so that it travels to another process or machine."""

    point: int
    """Index of the point in the design."""
    replicate: int
    scenario: str
    content_hash: str
    """Of the scenario's files; a worker that finds others refuses."""
    call: dict[str, Any]
    """Keyword arguments of `simworld.run.prepare`, the seed included."""
    measures: tuple[Measure, ...]
    series: tuple[str, ...]
    folder: str | None
    """Where the run is recorded; None keeps only what is measured."""
    timeout_s: float | None
    files: dict[str, str] = field(default_factory=dict)
    """The sha256 of the files that the call names, by what they are."""

    @property
    def run_key(self) -> str:
        """Names the run by what decides its result, 16 hexadecimal digits."""
        # What it may cost and how a server is reached decide nothing.
        call = {name: value for name, value in self.call.items() if name != "service"}
        said = json.dumps(
            [self.scenario, self.content_hash, call, *([self.files] if self.files else [])], sort_keys=True
        )
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        """Names the run and what is read from it."""
        read = _read_from(self.measures, self.series, self.folder is not None)
        return hashlib.sha256(f'["{self.run_key}", {read}]'.encode()).hexdigest()[:16]


@cache
def _read_from(measures: tuple[Measure, ...], series: tuple[str, ...], is_recorded: bool) -> str:
    """Return what is read from a run, as JSON; the same for all runs of a campaign, so it is written once."""
    return json.dumps([[measure.model_dump(mode="json") for measure in measures], list(series), is_recorded])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    key: str
    status: str
    """``done``, ``failed``, or ``stopped``: nothing is known of it, so it is not kept."""
    error: str = ""
    values: dict[str, float] = field(default_factory=dict)
    """What was measured, by column of the results."""
    series: dict[str, list[float]] = field(default_factory=dict)
    """``step`` and the wanted series."""
    digest: str = ""
    steps: int = 0
    usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    """Wall-clock time; in no table of results."""


class TimedOut(BaseException):
    """A run took longer than it may; no `Exception`, so that no scenario takes it for an error of its own."""


@cache
def _loaded(scenario: str, content_hash: str) -> Loaded:
    """Return the scenario with these files, loaded once in a process; with another hash it is looked at anew."""
    return load_scenario(scenario)


def weighed_work(task: Task) -> tuple[Outcome, float]:
    """Make one run; return what came of it, and the memory of this process after it, mebibytes."""
    here = os.getcwd()
    try:
        return work(task), resident_mb()
    finally:
        os.chdir(here)  # a scenario may have gone elsewhere, and relative paths of the next run are of this folder


def work(task: Task) -> Outcome:
    """Make one run; whatever goes wrong in it is its outcome."""
    began = time.perf_counter()
    try:
        with at_most(task.timeout_s):
            loaded = _loaded(task.scenario, task.content_hash)
            if loaded.content_hash != task.content_hash:
                raise CampaignError(
                    f"the files of {task.scenario!r} are not those the campaign began with; call simworld sweep again"
                )
            if issubclass(loaded.cls, World) and Files().of(loaded.cls, task.call) != task.files:
                raise CampaignError(
                    "a graph or cast file is not what the campaign began with; call simworld sweep again"
                )
            found = _recorded(task, loaded) if task.folder is not None else _measured(task, loaded)
    except Interrupted as error:
        if not isinstance(error, BudgetSpent):
            return Outcome(task.key, "stopped", str(error), seconds=time.perf_counter() - began)
        why = str(error)
    except StorageError as error:  # a full disk is no fault of the run, and the next would fare no better
        return Outcome(task.key, "stopped", str(error), seconds=time.perf_counter() - began)
    except (SimworldError, TimedOut) as error:
        why = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a scenario's own code; the campaign goes on
        why = f"{type(error).__name__}: {error}"
    else:
        values, series, rest = found
        return Outcome(task.key, "done", "", values, series, **rest, seconds=time.perf_counter() - began)
    # What failed may have been paid for.
    return Outcome(task.key, "failed", why, **cost_of(task.folder), seconds=time.perf_counter() - began)


type Found = tuple[dict[str, float], dict[str, list[float]], dict[str, Any]]


def _measured(task: Task, loaded: Loaded) -> Found:
    prepared = prepare(task.scenario, **task.call, loaded=loaded)
    metrics, findings, digest, steps = measured(prepared)
    return (*read(metrics, findings, task.measures, task.series), {"digest": digest, "steps": steps})


def _recorded(task: Task, loaded: Loaded) -> Found:
    folder = Path(task.folder or "")
    if (folder / "manifest.json").exists():
        run = resume(folder, service=task.call.get("service"))
    else:
        # A folder without a manifest was being made when its process died; nothing was asked or paid before.
        shutil.rmtree(folder, ignore_errors=True)
        prepared = prepare(task.scenario, **task.call, loaded=loaded)
        try:
            path = start_run(prepared, folder)
        except UsageError as error:  # the folder is the campaign's choice: that it cannot be made is the disk's doing
            raise StorageError(str(error)) from error
        execute(prepared, path)
        run = Run(folder)
    rest = {"digest": run.digest or "", "steps": run.steps, **cost_of(task.folder)}
    return (*read(run.metrics, run.findings, task.measures, task.series), rest)


def cost_of(folder: str | None) -> dict[str, Any]:
    """Return what the models of a recorded run took: dollars and tokens; of a run that was cut off, what is on tape."""
    spent: Sequence[Mapping[str, Any]] = ()
    with contextlib.suppress(SimworldError, OSError):
        if folder is not None:
            run = Run(Path(folder))
            spent = run.manifest["spending"] if "spending" in run.manifest else run.spending.to_dicts()
    return {
        "usd": float(sum((each["usd"] or 0.0) + each.get("lost_usd", 0.0) for each in spent)),
        "tokens": int(sum(
            each["input_tokens"] + each["output_tokens"] + each.get("lost_tokens", 0) for each in spent
        )),
    }  # fmt: skip


def read(
    metrics: pl.DataFrame, findings: pl.DataFrame, measures: Sequence[Measure], series: Sequence[str]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return what a run gives for each measure, and the wanted series.

    Raises:
        CampaignError: a metric that the run does not have, or that is no number.
    """
    numeric = {
        name for name in metrics.columns if metrics[name].dtype.is_numeric() or metrics[name].dtype == pl.Boolean
    }
    found = {f"{row['observer']}.{row['metric']}": row["value"] for row in findings.iter_rows(named=True)}
    values: dict[str, float] = {}
    if not measures:
        values = {name: _number(metrics[name][-1]) for name in metrics.columns if name in numeric and name != "step"}
        values |= {name: _number(value) for name, value in found.items() if name not in values}
    for measure in measures:
        values[measure.column] = _value(measure, metrics, numeric, found)
    wanted: dict[str, list[float]] = {}
    for name in series:
        if name not in numeric:
            raise CampaignError(f"no series {name!r}; this run has the metrics {sorted(numeric - {'step'})}")
        wanted[name] = [_number(value) for value in metrics[name].to_list()]
    return values, {"step": [float(t) for t in metrics["step"].to_list()], **wanted} if wanted else {}


def _value(measure: Measure, metrics: pl.DataFrame, numeric: set[str], found: Mapping[str, float]) -> float:
    name = measure.metric
    if measure.at == "final" and name not in numeric and name in found:
        return _number(found[name])
    if name not in numeric:
        known = sorted({*numeric - {"step"}, *found})
        raise CampaignError(f"no metric {name!r}{did_you_mean(name, known) or f'; this run has {known}'}")
    if measure.at == "final":
        return _number(metrics[name][-1])
    column = metrics.filter(pl.col("step") >= measure.after)[name].cast(pl.Float64).drop_nulls().drop_nans()
    reduce = {"mean": column.mean, "max": column.max, "min": column.min}[measure.at]
    return _number(reduce())


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


@contextlib.contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """End what is inside after so many seconds: by an exception where Python runs, else with its whole process."""
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    is_inside = True

    def over(number: int, frame: Any) -> None:
        if is_inside:
            raise TimedOut(f"it took longer than timeout_s = {seconds:g}")

    before = signal.signal(signal.SIGALRM, over)
    with open(os.devnull, "w") as nowhere:
        # Code that never comes back to Python hears no signal; the campaign then sees its worker die.
        faulthandler.dump_traceback_later(seconds + min(GRACE_S, seconds), exit=True, file=nowhere)
        try:
            try:
                # Again and again: where it is raised in a callback, or in a finalizer, Python only prints it.
                signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
                yield
            finally:
                is_inside = False
        finally:
            faulthandler.cancel_dump_traceback_later()
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)

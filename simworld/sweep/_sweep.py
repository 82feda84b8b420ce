"""A campaign at work: what is missing is run, whatever happened before; then the tables are made."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simworld.errors import CampaignError, Interrupted, did_you_mean
from simworld.run import Loaded, load_scenario, versions, write_whole
from simworld.scenario import find_lab
from simworld.sweep._campaign import SETTINGS, Campaign, checked, read_campaign
from simworld.sweep._design import Point, call_of, points, seeds_of
from simworld.sweep._executors import ATTEMPTS, Executor, Lost, check_executor, executor
from simworld.sweep._journal import Journal
from simworld.sweep._results import CampaignResults, write_tables
from simworld.sweep._sequential import next_replicates
from simworld.sweep._work import Outcome, Task
from simworld.world import World

LOOK_EVERY_S = 0.5
"""Seconds between looks at whether somebody asked to stop; arbitrary."""


@dataclass(frozen=True)
class Progress:
    """How far a campaign is."""

    planned: int
    """Runs of the plan as it is now; adaptive replication adds to it."""
    finished: int
    """Runs that are there, failed ones included."""
    failed: int
    usd: float
    tokens: int
    seconds: float
    """Since this call began."""
    made: int
    """Runs made by this call."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at the pace so far; None before there is one."""
        return self.seconds / self.made * (self.planned - self.finished) if self.made else None


@dataclass
class Plan:
    """A campaign made ready: its points, and the task of every replicate."""

    name: str
    campaign: Campaign
    folder: Path
    loaded: Loaded
    points: list[Point]
    calls: list[dict[str, Any]]
    """By point, without seeds."""
    budget_a_run: tuple[float | None, int | None] = (None, None)

    def task(self, point: int, replicate: int) -> Task:
        """Return one run."""
        campaign = self.campaign
        own = seeds_of(campaign, self.points[point], replicate)
        call = {**self.calls[point], **own}
        if "seeds" in self.calls[point] and "seeds" in own:
            call["seeds"] = {**self.calls[point]["seeds"], **own["seeds"]}
        usd, tokens = self.budget_a_run
        limits = {"budget_usd": usd, "max_tokens_total": tokens}
        if said := {name: value for name, value in limits.items() if value is not None}:
            call["service"] = {**call.get("service", {}), **said}
        made = Task(
            point, replicate, campaign.scenario, self.loaded.content_hash, call, campaign.measures, campaign.series,
            None, campaign.stop.timeout_s,
        )  # fmt: skip
        if campaign.record == "metrics":
            return made
        folder = str(self.folder / "runs" / made.run_key)
        return replace(made, folder=folder)

    def dump(self) -> dict[str, Any]:
        """Return the plan as plain data, for the folder."""
        return {
            "format": 1,
            "name": self.name,
            "campaign": self.campaign.model_dump(mode="json"),
            "digest": self.campaign.digest(),
            "content_hash": self.loaded.content_hash,
            "versions": versions(),
            "points": self.points,
        }


def plan(given: Campaign | Mapping[str, Any] | str | Path, name: str | None = None, out: Path | None = None) -> Plan:
    """Check a campaign against its scenario, and make it ready.

    Args:
        given: a campaign, the same as a dict, or a campaign file.
        name: of the campaign's folder; by default the file's, or the scenario's.
        out: the folder itself; by default ``runs/NAME`` of the lab.

    Raises:
        CampaignError: the campaign is malformed, contradicts itself, or does not fit the scenario.
    """
    if isinstance(given, Campaign):
        campaign, own = given, ""
    elif isinstance(given, Mapping):
        campaign, own = checked(given), ""
    else:
        campaign, own = read_campaign(given), Path(given).stem
    loaded = load_scenario(campaign.scenario)
    own = own or re.sub(r"[^\w.-]+", "_", f"{loaded.ref.name}_campaign").lstrip(".")
    called = name or own
    if not called.replace("-", "").replace("_", "").replace(".", "").isalnum() or called.startswith("."):
        raise CampaignError(f"{called!r} is no name of a folder; use letters, digits, - and _")
    folder = out or find_lab().runs / called
    params = frozenset(getattr(getattr(loaded.cls, "Params", None), "model_fields", ()))
    if not issubclass(loaded.cls, World):  # a plain Mesa model's own constructor says what it takes
        params = frozenset(campaign.factors.keys() - {"steps"})
    else:
        _check_names(campaign, params)
    made = points(campaign)
    if not made:
        raise CampaignError("the design has no point; give factors values, or leave them out")
    unique = list({json.dumps(point, sort_keys=True): point for point in made}.values())
    keeps_all = campaign.design.kind in ("sobol", "morris")
    chosen = made if keeps_all else unique
    calls = [call_of(campaign, point, params) for point in chosen]
    ready = Plan(called, campaign, folder, loaded, chosen, calls)
    n = len(chosen) * max(campaign.replicates, campaign.until.max_replicates if campaign.until else 1)
    budget = campaign.budget
    ready.budget_a_run = (
        None if budget.usd is None else budget.usd / n,
        None if budget.tokens is None else budget.tokens // n,
    )
    if ready.budget_a_run[1] == 0 or (budget.usd is not None and budget.usd == 0):
        raise CampaignError(f"the budget is nothing for each of {n:,} runs; raise it, or run fewer")
    return ready


def _check_names(campaign: Campaign, params: frozenset[str]) -> None:
    """Refuse a factor or setting that is nothing the scenario or a run knows."""
    for what, names in (("factor", campaign.factors), ("setting", campaign.settings), ("parameter", campaign.params)):
        for name in names:
            place, dot, inner = name.partition(".")
            if name in params:
                continue
            if what == "parameter":
                raise CampaignError(
                    f"no parameter {name!r} in {campaign.scenario!r}{did_you_mean(name, params)}; "
                    f"there are {sorted(params)}"
                )
            is_known = name in SETTINGS or (dot and place in ("memory", "seeds") and inner) or (
                dot and place == "params" and inner in params
            )  # fmt: skip
            if not is_known and not (what == "setting" and name in ("seats", "api_base", "prices")):
                known = [*sorted(params), *SETTINGS]
                raise CampaignError(
                    f"no {what} {name!r}{did_you_mean(name, known)}; it is a parameter of {campaign.scenario!r} "
                    f"{sorted(params)}, one of {list(SETTINGS)}, or memory.NAME"
                )


def sweep(
    campaign: Campaign | Mapping[str, Any] | str | Path | Plan,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    executor: str | Executor = "processes",
    workers: int | None = None,
    retry_failed: bool = False,
    freeze: bool = False,
    progress: Callable[[Progress], None] | None = None,
    stop: threading.Event | None = None,
) -> CampaignResults:
    """Run what is missing of a campaign, and return its results.

    Called again, after a kill, with more workers, or with an extended design, it makes only the runs not there yet.

    Args:
        campaign: a campaign file, a `Campaign`, or the same as a dict.
        name: of the campaign's folder under ``runs/``; by default the file's.
        out: the folder itself.
        executor: ``"processes"``, ``"ray"``, ``"ray:ADDRESS"``, ``"here"``, or an executor.
        workers: processes; as many as there are processors when None.
        retry_failed: whether runs that failed are made again.
        freeze: whether the plan is written down before the first run (pre-registration).
        progress: told of every run.
        stop: when set, no more runs are started and those under way are given up.

    Raises:
        CampaignError: the campaign is wrong, or another process is at work on it.
        Interrupted: somebody asked to stop, too many runs failed, or the budget is spent; call it again to go on.
    """
    ready = campaign if isinstance(campaign, Plan) else plan(campaign, name, None if out is None else Path(out))
    if isinstance(executor, str):
        check_executor(executor, workers)
    _check_folder(ready)
    with Journal(ready.folder) as journal:
        if freeze:
            journal.freeze(ready.campaign.digest(), ready.loaded.content_hash)
        write_whole(ready.folder / "campaign.json", json.dumps(ready.dump(), indent=1).encode() + b"\n")
        work = _Work(ready, journal, retry_failed)
        began = time.perf_counter()
        try:
            if not work.is_done:
                crew = _executor(executor, workers)
                try:
                    work.make(crew, progress, stop)
                finally:
                    crew.close()
        finally:
            seconds = time.perf_counter() - began
            journal.called(ready.campaign.digest(), ready.loaded.content_hash, work.planned, work.finished, seconds)
            write_tables(ready.folder, ready.points, work.tasks(), journal)
    return CampaignResults(ready.folder)


def missing_runs(ready: Plan, *, retry_failed: bool = False) -> int:
    """Return how many runs of a plan are not there yet, as far as it is known; adaptive replication may add to it."""
    if not (ready.folder / "campaign.sqlite").exists():
        return _Work(ready, None, retry_failed).missing
    with Journal(ready.folder, is_read_only=True) as journal:
        return _Work(ready, journal if journal.has_tables else None, retry_failed).missing


def _check_folder(ready: Plan) -> None:
    """Refuse a folder that holds a campaign of another scenario, which would replace its tables."""
    there = ready.folder / "campaign.json"
    if not there.is_file():
        return
    try:
        scenario = json.loads(there.read_text("utf-8"))["campaign"]["scenario"]
    except (ValueError, KeyError, OSError):
        return  # it is written anew
    if scenario != ready.campaign.scenario:
        raise CampaignError(f"{ready.folder} holds a campaign of {scenario!r}; give this one another name (--name)")


def _executor(given: str | Executor, workers: int | None) -> Executor:
    return executor(given, workers) if isinstance(given, str) else given


class _Work:
    """What is to be done: the set difference between the plan and the journal."""

    def __init__(self, ready: Plan, journal: Journal | None, retry_failed: bool) -> None:
        self._plan = ready
        self._journal: Any = journal
        known = {} if journal is None else journal.statuses()
        self._status = {key: status for key, status in known.items() if status == "done" or not retry_failed}
        until = ready.campaign.until
        first = ready.campaign.replicates if until is None else max(until.first, ready.campaign.replicates)
        first = first if until is None else min(first, until.max_replicates)
        self._replicates = [0] * len(ready.points)
        self._keys: list[list[str]] = [[] for _ in ready.points]
        self._wanted: set[str] = set()
        self._queue: deque[tuple[int, int]] = deque()
        self.planned = self.finished = self.failed = 0
        self._open = [0] * len(ready.points)
        """Runs of a point that are not there yet."""
        self._suspects: deque[tuple[int, int]] = deque()
        """Runs that were lost with a worker: one of those that were under way ended it, and each is tried alone."""
        self._lost: dict[str, int] = {}
        for point in range(len(ready.points)):
            self._extend(point, first)
        for point in range(len(ready.points)):
            self._look(point)

    @property
    def missing(self) -> int:
        """Runs that are not there."""
        return len(self._queue)

    @property
    def is_done(self) -> bool:
        """Whether nothing is missing."""
        return not self._queue

    def tasks(self) -> Iterator[tuple[int, int, str]]:
        """Yield point, replicate and key of every run of the plan as it is now, in order."""
        for point, keys in enumerate(self._keys):
            for replicate, key in enumerate(keys):
                yield point, replicate, key

    def _extend(self, point: int, replicates: int) -> None:
        for replicate in range(self._replicates[point], replicates):
            key = self._plan.task(point, replicate).key
            self._keys[point].append(key)
            if key in self._wanted:
                continue  # a sampled design may name a point twice: it is one run
            self._wanted.add(key)
            self.planned += 1
            if (status := self._status.get(key)) is None:
                self._queue.append((point, replicate))
                self._open[point] += 1
            else:
                self.finished += 1
                self.failed += status != "done"
        self._replicates[point] = max(self._replicates[point], replicates)

    def _look(self, point: int) -> None:
        """Add replicates to a point whose runs are all there, if the sequential rule wants more."""
        until = self._plan.campaign.until
        while until is not None and not self._open[point]:
            values = [self._journal.value(key, until.metric) for key in self._keys[point]]
            wanted = next_replicates(values, until)
            if wanted <= self._replicates[point]:
                return
            self._extend(point, wanted)

    def make(self, crew: Executor, progress: Callable[[Progress], None] | None, stop: threading.Event | None) -> None:
        """Make what is missing."""
        under_way: dict[str, tuple[int, int]] = {}
        began, made = time.perf_counter(), 0
        limit = self._plan.campaign.stop.max_failed
        usd, tokens = self._journal.spent()

        def tell() -> None:
            if progress is not None:
                progress(Progress(
                    self.planned, self.finished, self.failed, usd, tokens, time.perf_counter() - began, made
                ))  # fmt: skip

        tell()
        while self._queue or self._suspects or under_way:
            if stop is not None and stop.is_set():
                raise Interrupted(f"stopped after {self.finished:,} of {self.planned:,} runs; call it again to go on")
            if limit is not None and self.failed > limit:
                raise Interrupted(
                    f"{self.failed} runs failed, more than max_failed = {limit}; mend it, then: --retry-failed"
                )
            while self._may_start(len(under_way), crew.room):
                point, replicate = (self._suspects or self._queue).popleft()
                task = self._plan.task(point, replicate)
                under_way[task.key] = point, replicate
                crew.submit(task)
            is_alone = len(under_way) == 1
            for found in crew.done(LOOK_EVERY_S):
                outcome = self._given_up(found, is_alone) if isinstance(found, Lost) else found
                if outcome is None:
                    self._suspects.append(under_way.pop(found.task.key))  # type: ignore[union-attr]
                    continue
                if outcome.status == "stopped":
                    raise Interrupted(
                        f"stopped after {self.finished:,} of {self.planned:,} runs; call it again to go on"
                    )
                if outcome.key not in under_way:
                    continue  # of a run that was given to another worker meanwhile
                point, _ = under_way.pop(outcome.key)
                self._journal.keep(outcome)
                self.finished += 1
                made += 1
                self.failed += outcome.status != "done"
                usd, tokens = usd + outcome.usd, tokens + outcome.tokens
                self._open[point] -= 1
                self._look(point)
                tell()

    def _may_start(self, under_way: int, room: int) -> bool:
        if self._suspects:
            return not under_way
        return bool(self._queue) and room > 0

    def _given_up(self, lost: Lost, is_alone: bool) -> Outcome | None:
        """Return the outcome of a run that ends its worker whenever it is alone; None when it is tried again."""
        key = lost.task.key
        if is_alone:
            self._lost[key] = self._lost.get(key, 0) + 1
        if self._lost.get(key, 0) < ATTEMPTS:
            return None
        return Outcome(key, "failed", f"{lost.why}, {ATTEMPTS} times, with no other run beside it")

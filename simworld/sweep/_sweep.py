"""A campaign at work: what is missing is run, whatever happened before; then the tables are made."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simworld.errors import BudgetSpent, CampaignError, Interrupted, SimworldError
from simworld.run import Run, versions, write_whole
from simworld.sweep._campaign import Campaign
from simworld.sweep._executors import ATTEMPTS, MOVES, Executor, Lost, check_executor, executor
from simworld.sweep._journal import Journal
from simworld.sweep._plan import Plan, most_runs, plan
from simworld.sweep._process import refuse_import
from simworld.sweep._results import CampaignResults, write_tables
from simworld.sweep._sequential import next_replicates
from simworld.sweep._work import Outcome, cost_of

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


def sweep(
    campaign: Campaign | Mapping[str, Any] | str | Path | Plan,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    executor: str | Executor | None = None,
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
        executor: ``"processes"``, ``"ray"``, ``"ray:ADDRESS"``, ``"here"``, or an executor; the campaign's when None.
        workers: processes; the campaign's when None, else as many as there are processors.
        retry_failed: whether runs that failed are made again.
        freeze: whether the plan is written down before the first run (pre-registration).
        progress: told of every run.
        stop: when set, no more runs are started and those under way are given up.

    Raises:
        CampaignError: the campaign is wrong, or another process is at work on it.
        Interrupted: somebody asked to stop, too many runs failed, or the budget is spent; call it again to go on.
    """
    refuse_import()
    ready = campaign if isinstance(campaign, Plan) else plan(campaign, name, None if out is None else Path(out))
    executor, workers = crew_of(ready.campaign, executor, workers)
    if isinstance(executor, str):
        check_executor(executor, workers)
    _check_folder(ready)
    with Journal(ready.folder) as journal:
        if freeze:
            journal.freeze(ready.campaign.digest(), ready.files_hash)
        manifest = json.dumps(ready.dump(), indent=1)
        work = _Work(ready, journal, retry_failed)
        journal.plan(manifest, work.new_in_plan())
        write_whole(ready.folder / "campaign.json", manifest.encode() + b"\n")
        journal.made_by({**versions(), "scenario's files": ready.loaded.content_hash})
        journal.called(ready.campaign.digest(), ready.files_hash, work.planned, work.finished)
        began = time.perf_counter()

        def told(now: Progress) -> None:
            if added := work.new_in_plan():
                journal.extend(added)
            if progress is not None:
                progress(now)

        try:
            if not work.is_done:
                _share_budget(ready, work, journal)
                crew = _executor(executor, workers)
                try:
                    work.make(crew, told, stop)
                finally:
                    crew.close()
        finally:
            journal.extend(work.new_in_plan())
            journal.ended(work.planned, work.finished, time.perf_counter() - began)
            write_tables(ready.folder, ready.points, work.tasks(), journal)
    return CampaignResults(ready.folder)


def crew_of(
    campaign: Campaign, executor: str | Executor | None, workers: int | None
) -> tuple[str | Executor, int | None]:
    """Return where runs are made and by how many: what a call says, else what the campaign says."""
    chosen = campaign.executor if executor is None else executor
    if workers is None and chosen != "here":
        workers = campaign.workers
    return chosen, workers


def freeze(ready: Plan) -> dict[str, str]:
    """Write down what is going to be run, before anything was, and return it: ``at``, ``digest``, ``content_hash``.

    Raises:
        CampaignError: runs are there already, something else was frozen, or another process is at work on it.
    """
    _check_folder(ready)
    digest, files_hash = ready.campaign.digest(), ready.files_hash
    with Journal(ready.folder) as journal:
        at = journal.freeze(digest, files_hash)
    return {"at": at, "digest": digest, "content_hash": files_hash}


def _share_budget(ready: Plan, work: _Work, journal: Journal) -> None:
    """Share what is left of the budget among the runs that are missing: no run may spend more than its part.

    Raises:
        BudgetSpent: nothing is left.
    """
    budget, until = ready.campaign.budget, ready.campaign.until
    if budget.usd is None and budget.tokens is None:
        return
    missing = work.missing if until is None else most_runs(ready) - work.finished
    usd, tokens = journal.spent()
    paid = journal.paid()
    ready.begun = {name: (had_usd, had_tokens) for name, (status, had_usd, had_tokens) in paid.items()
                   if status != "done"}  # fmt: skip
    with contextlib.suppress(FileNotFoundError):
        for folder in (ready.folder / "runs").iterdir():
            if folder.name not in paid:  # it was under way when its process was stopped
                ready.begun[folder.name] = had = _spent_by(folder)
                usd, tokens = usd + had[0], tokens + had[1]
    left_usd = None if budget.usd is None else budget.usd - usd
    left_tokens = None if budget.tokens is None else budget.tokens - tokens
    if (left_usd is not None and left_usd <= 0) or (left_tokens is not None and left_tokens < missing):
        is_money = left_usd is not None and left_usd <= 0
        spent = f"${usd:,.4f} of ${budget.usd:,.4f}" if is_money else f"{tokens:,} of {budget.tokens:,} tokens"
        raise BudgetSpent(
            f"the budget is spent: {spent}, with {missing:,} runs missing; raise budget."
            f"{'usd' if is_money else 'tokens'} in the file, then call it again"
        )
    ready.budget_a_run = (
        None if left_usd is None else left_usd / missing,
        None if left_tokens is None else left_tokens // missing,
    )


def _spent_by(folder: Path) -> tuple[float, int]:
    """Return dollars and tokens of a run that was not finished, as far as its tape says."""
    try:
        spent = Run(folder).spending
    except SimworldError:
        return 0.0, 0  # nothing was asked before there is a manifest
    tokens = sum(spent["input_tokens"].to_list()) + sum(spent["output_tokens"].to_list())
    return float(sum(usd or 0.0 for usd in spent["usd"].to_list())), int(tokens)


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
        self._new: list[tuple[int, int, str, str]] = []
        self._queue: deque[tuple[int, int]] = deque()
        self.planned = self.finished = self.failed = 0
        self._open = [0] * len(ready.points)
        """Runs of a point that are not there yet."""
        self._lost: dict[tuple[str, bool], int] = {}
        """How often a run was lost, by its key and whether it may have been its own doing."""
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

    def new_in_plan(self) -> list[tuple[int, int, str, str]]:
        """Return point, replicate, key and folder's name of the runs that were planned since this was last asked."""
        found, self._new = self._new, []
        return found

    def _extend(self, point: int, replicates: int) -> None:
        for replicate in range(self._replicates[point], replicates):
            task = self._plan.task(point, replicate)
            key = task.key
            self._keys[point].append(key)
            self._new.append((point, replicate, key, "" if task.folder is None else Path(task.folder).name))
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
        while self._queue or under_way:
            if stop is not None and stop.is_set():
                raise Interrupted(f"stopped after {self.finished:,} of {self.planned:,} runs; call it again to go on")
            if limit is not None and self.failed > limit:
                raise Interrupted(
                    f"{self.failed} runs failed, more than max_failed = {limit}; mend it, then: --retry-failed"
                )
            while self._queue and crew.room > 0:
                point, replicate = self._queue.popleft()
                task = self._plan.task(point, replicate)
                under_way[task.key] = point, replicate
                crew.submit(task)
            for found in crew.done(LOOK_EVERY_S):
                outcome = self._given_up(found) if isinstance(found, Lost) else found
                if outcome is None:
                    self._queue.append(under_way.pop(found.task.key))  # type: ignore[union-attr]
                    continue
                if outcome.status == "stopped":
                    # Its own error says what to do with a run; here the campaign is called again.
                    why = f": {outcome.error.partition(';')[0]}" if outcome.error else ""
                    raise Interrupted(
                        f"stopped after {self.finished:,} of {self.planned:,} runs{why}; call it again to go on"
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

    def _given_up(self, lost: Lost) -> Outcome | None:
        """Return the outcome of a run that was lost too often; None when it is tried again, after the others."""
        key, most = lost.task.key, ATTEMPTS if lost.is_own else MOVES
        times = self._lost[key, lost.is_own] = self._lost.get((key, lost.is_own), 0) + 1
        if times < most:
            return None
        return Outcome(key, "failed", f"{lost.why}, {times} times", **cost_of(lost.task.folder))

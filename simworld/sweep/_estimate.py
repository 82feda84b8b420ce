"""What a campaign would take: runs, time, and for language models tokens and money, each as an interval."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from simworld.errors import CampaignError, UsageError
from simworld.run import Interval, Loaded, load_scenario, prepare, rehearse
from simworld.sweep._journal import Journal
from simworld.sweep._plan import Plan
from simworld.sweep._process import GUARD, UNGUARDED, exit_code, refuse_import, start_process

PILOTS = 3
"""Points of the design that are tried: the first, the last, and one between; arbitrary."""
PILOT_S = 2.0
"""Seconds a pilot may take in steps; arbitrary, longer runs are scaled up from what was done in it."""
LIMIT_S = 30.0
"""Seconds after which a pilot is given up, however long its steps; arbitrary. A rehearsal, which goes through a run
twice, has twice as long."""
START_LIMIT_S = 120.0
"""Seconds a worker process may take until it answers, its imports and the scenario's; arbitrary, two are usual."""
NOTHING = Interval(0.0, 0.0)


@dataclass(frozen=True)
class CampaignEstimate:
    """What a campaign would take."""

    runs: Interval
    """In all; an interval with adaptive replication."""
    missing: int
    """Those that are not there yet, of the low end."""
    seconds: Interval
    """Wall-clock time with ``workers`` processes, for what is missing."""
    workers: int
    calls: Interval
    """Calls of language models."""
    tokens: Interval
    """Input and output tokens."""
    usd: Interval | None
    """US dollars; None where a price, or what is asked, is unknown."""
    has_model: bool
    notes: tuple[str, ...]


def estimate(ready: Plan, missing: int, workers: int, *, limit_s: float = LIMIT_S) -> CampaignEstimate:
    """Try a few points for a short while, and scale up.

    Rules are run; language models are rehearsed, which asks nobody. Both happen in a worker process, as they will in
    the campaign: a point that ends its process, or does not come back, is a note and no end of this one.

    Args:
        ready: the campaign.
        missing: runs that are not there yet.
        workers: processes that will work on it.
        limit_s: seconds after which a pilot is given up, and half of those of a rehearsal.

    Raises:
        UsageError: a point cannot be run as it is, or worker processes cannot be started.
    """
    refuse_import()
    campaign = ready.campaign
    n = len(ready.points)
    least = n * campaign.replicates
    until = campaign.until
    most = least if until is None else n * until.max_replicates
    if until is not None:
        least = max(least, n * min(until.first, until.max_replicates))
    notes: list[str] = []
    seconds: list[float] = []
    tried: list[_Tried] = []
    has_model = False
    worker = _Worker()
    try:
        for point in sorted({0, n // 2, n - 1})[:PILOTS]:
            call = dict(ready.task(point, 0).call)
            is_asking = bool(call.get("models"))
            has_model |= is_asking
            work, limit = (_rehearsal, 2 * limit_s) if is_asking else (_pilot, limit_s)
            over = limit if campaign.stop.timeout_s is None or is_asking else min(campaign.stop.timeout_s, limit)
            try:
                found = worker.ask(over, work, campaign.scenario, call)
            except TimeoutError:
                notes.append(f"point {point} takes more than {over:g} s")
                seconds += [] if is_asking else [over]
            except BrokenProcessPool:
                notes.append(f"point {point} ends its process")
            else:
                tried += [found] if not found.fault else []
                notes += [f"point {point} fails: {found.fault}"] if found.fault else []
                notes += [note for note in found.notes if note not in notes]
                seconds += found.seconds
    finally:
        worker.end()
    share = missing / max(least, 1)
    runs = Interval(missing, missing + most - least)
    low, high = (
        worker.start_s + count / max(workers, 1) * each
        for count, each in ((runs.low, min(seconds, default=0.0)), (runs.high, max(seconds, default=0.0)))
    )
    calls, tokens = [each.calls for each in tried], [each.tokens for each in tried]
    usd = [each.usd for each in tried if each.usd is not None]
    return CampaignEstimate(
        Interval(least, most), missing, Interval(low, high), workers, _scaled(calls, runs), _scaled(tokens, runs),
        _scaled(usd, runs) if len(usd) == len(tried) and (tried or not has_model) else None,
        has_model, (*notes, *([] if share >= 1 else [f"{least - missing:,} runs are there already"])),
    )  # fmt: skip


def check_budget(ready: Plan, found: CampaignEstimate) -> None:
    """Refuse a budget that does not even pay the least that the missing runs are expected to take.

    Raises:
        CampaignError: says what is left, what is needed, and what to do.
    """
    budget = ready.campaign.budget
    usd, tokens = 0.0, 0
    if (ready.folder / "campaign.sqlite").exists():
        with Journal(ready.folder, is_read_only=True) as journal:
            usd, tokens = journal.spent() if journal.has_tables else (usd, tokens)
    limits = [
        ("tokens", budget.tokens, tokens, found.tokens, "{:,.0f}"),
        ("usd", budget.usd, usd, found.usd, "${:,.2f}"),
    ]
    for name, limit, spent, needed, shown in limits:
        if limit is not None and needed is not None and limit - spent < needed.low:
            left, low, high = (shown.format(value) for value in (max(limit - spent, 0), needed.low, needed.high))
            raise CampaignError(
                f"budget.{name} = {limit:g} leaves {left} for {found.missing:,} missing runs, which are expected to "
                f"take {low} to {high}; raise it, or run fewer"
            )


@dataclass(frozen=True)
class _Tried:
    """What one point took, or would take."""

    seconds: list[float]
    calls: Interval = NOTHING
    tokens: Interval = NOTHING
    usd: Interval | None = NOTHING
    notes: tuple[str, ...] = ()
    fault: str = ""


class _Worker:
    """One spawned process that tries points; when it dies or is given up, the next point gets a new one."""

    def __init__(self) -> None:
        self.start_s = 0.0
        """Seconds until it can begin: imports, the scenario's too."""
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None

    def ask(self, limit_s: float, work: Callable[..., _Tried], scenario: str, call: dict[str, Any]) -> _Tried:
        """Return what came of one point.

        Raises:
            UsageError: the point cannot be run as it is, or a worker cannot be started.
            TimeoutError: it took longer than ``limit_s`` seconds.
            BrokenProcessPool: the process ended.
        """
        pool = self._pool or self._started(scenario)
        try:
            return pool.submit(work, scenario, call).result(limit_s)
        except (TimeoutError, BrokenProcessPool):
            self.end()
            raise

    def _started(self, scenario: str) -> ProcessPoolExecutor:
        began = time.perf_counter()
        started = start_process(_import, scenario)  # as a campaign's own workers are started
        self._pool, self._process = started.pool, started.process
        try:
            started.first.result(START_LIMIT_S)
        except BrokenProcessPool:
            is_unguarded = exit_code(started.process) == UNGUARDED
            raise CampaignError(GUARD if is_unguarded else "a worker process ended at its start") from None
        except TimeoutError:
            raise CampaignError(f"a worker process does not answer within {START_LIMIT_S:g} s of its start") from None
        self.start_s = time.perf_counter() - began
        return started.pool

    def end(self) -> None:
        """End the process, whatever it is doing."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            self._process.kill()  # nothing is written there
            self._process.join()


def _import(scenario: str) -> None:
    """Import what every run of a scenario needs."""
    load_scenario(scenario)


def _rehearsal(scenario: str, call: dict[str, Any]) -> _Tried:
    """Return what a run of one point with language models would ask."""
    try:
        found = rehearse(scenario, **call)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - the scenario's own; such a run will count as failed
        return _Tried([], fault=str(error) or type(error).__name__)
    costs = [one.usd for one in found.models if one.usd is not None]
    return _Tried(
        [bound for one in found.models for bound in (one.seconds.low, one.seconds.high)],
        _sum([one.calls for one in found.models]),
        _sum([one.input_tokens for one in found.models] + [one.output_tokens for one in found.models]),
        _sum(costs) if len(costs) == len(found.models) else None,
        tuple(found.notes),
    )


def _pilot(scenario: str, call: dict[str, Any]) -> _Tried:
    """Return how long a run of one point would take."""
    loaded = load_scenario(scenario)
    began = time.perf_counter()
    try:
        return _Tried([_timed(scenario, call, loaded)])
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the scenario's own; such a run will count as failed
        return _Tried([time.perf_counter() - began], fault=f"{type(error).__name__}: {error}")


def _timed(scenario: str, call: dict[str, Any], loaded: Loaded) -> float:
    began = time.perf_counter()
    prepared = prepare(scenario, **call, loaded=loaded)
    made = time.perf_counter()
    society, steps = prepared.society, prepared.plan.steps
    while society.t < steps and society.running and time.perf_counter() - made < PILOT_S:
        society.step()
    done = time.perf_counter()
    is_over = not society.running or society.t >= steps
    stepping = (done - made) * (1.0 if is_over else steps / max(society.t, 1))
    for observer in prepared.observers:
        observer.observe(society)
        observer.conclude(society)
    return (made - began) + stepping + (time.perf_counter() - done)


def _sum(intervals: Sequence[Interval]) -> Interval:
    return Interval(sum(each.low for each in intervals), sum(each.high for each in intervals))


def _scaled(intervals: Sequence[Interval], runs: Interval) -> Interval:
    """Return what so many runs take: between all like the cheapest pilot and all like the dearest."""
    if not intervals:
        return NOTHING
    return Interval(
        runs.low * min(each.low for each in intervals), runs.high * max(each.high for each in intervals)
    )  # fmt: skip

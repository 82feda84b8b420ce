"""What a campaign would take: runs, time, and for language models tokens and money, each as an interval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from simworld.errors import UsageError
from simworld.run import Interval, prepare, rehearse
from simworld.sweep._sweep import Plan
from simworld.sweep._work import at_most

PILOTS = 3
"""Points of the design that are tried: the first, the last, and one between; arbitrary."""
PILOT_S = 2.0
"""Seconds a pilot may take in steps; arbitrary, longer runs are scaled up from what was done in it."""
PILOT_LIMIT_S = 30.0
"""Seconds after which a pilot is given up, however long its steps; arbitrary."""
START_S = 3.0
"""Seconds a worker process takes until its first run: imports; measured, about 3 s on two cores."""


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
    """US dollars; None where a price is unknown."""
    has_model: bool
    notes: tuple[str, ...]


def estimate(ready: Plan, missing: int, workers: int) -> CampaignEstimate:
    """Try a few points for a short while, and scale up.

    Rules are run; language models are rehearsed, which asks nobody.

    Args:
        ready: the campaign.
        missing: runs that are not there yet.
        workers: processes that will work on it.

    Raises:
        UsageError: a point cannot be run as it is.
    """
    campaign = ready.campaign
    n = len(ready.points)
    least = n * campaign.replicates
    until = campaign.until
    most = least if until is None else n * until.max_replicates
    if until is not None:
        least = max(least, n * min(until.first, until.max_replicates))
    notes: list[str] = []
    seconds: list[float] = []
    calls: list[Interval] = []
    tokens: list[Interval] = []
    usd: list[Interval | None] = []
    has_model = False
    for point in sorted({0, n // 2, n - 1})[:PILOTS]:
        task = ready.task(point, 0)
        call = dict(task.call)
        if call.get("models"):
            has_model = True
            found = rehearse(campaign.scenario, **call)
            notes += [note for note in found.notes if note not in notes]
            calls.append(_sum([one.calls for one in found.models]))
            tokens.append(
                _sum([one.input_tokens for one in found.models] + [one.output_tokens for one in found.models])
            )
            costs = [one.usd for one in found.models if one.usd is not None]
            usd.append(_sum(costs) if len(costs) == len(found.models) else None)
            seconds += [bound for one in found.models for bound in (one.seconds.low, one.seconds.high)]
        else:
            try:
                with at_most(min(campaign.stop.timeout_s or PILOT_LIMIT_S, PILOT_LIMIT_S)):
                    seconds.append(_pilot(ready, call))
            except UsageError:
                raise
            except Exception as error:  # noqa: BLE001 - the scenario's own; such a run will count as failed
                notes.append(f"point {point} fails: {type(error).__name__}: {error}")
    share = missing / max(least, 1)
    start = START_S if missing else 0.0
    per_worker = missing / max(workers, 1)
    low, high = (min(seconds, default=0.0), max(seconds, default=0.0))
    scale = most / max(least, 1)
    return CampaignEstimate(
        Interval(least, most), missing, Interval(start + per_worker * low, start + per_worker * high * scale), workers,
        _scaled(calls, missing, scale), _scaled(tokens, missing, scale),
        None if any(each is None for each in usd) else _scaled([each for each in usd if each], missing, scale),
        has_model, (*notes, *([] if share >= 1 else [f"{least - missing:,} runs are there already"])),
    )  # fmt: skip


def _pilot(ready: Plan, call: dict[str, object]) -> float:
    """Return how long a run of one point would take, seconds."""
    began = time.perf_counter()
    prepared = prepare(ready.campaign.scenario, **call, loaded=ready.loaded)  # type: ignore[arg-type]
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


def _scaled(intervals: Sequence[Interval], runs: int, scale: float) -> Interval:
    """Return what so many runs take: between all like the cheapest pilot and all like the dearest."""
    if not intervals:
        return Interval(0.0, 0.0)
    return Interval(
        runs * min(each.low for each in intervals), runs * scale * max(each.high for each in intervals)
    )  # fmt: skip

"""`friendship_paradox` as a user runs it, recorded, and where its time goes."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from simworld.run import execute, prepare, start_run
from tests.bench.measure import ROOT, Goal, Lap, Peak, Report, Size, lap, row

# (agents, steps, agents of the smaller run that shows the growth)
SIZES = {Size.FULL: (1_000, 100, 500), Size.QUICK: (300, 30, 150), Size.TINY: (20, 4, 10)}

ENGINE = str(ROOT / "simworld")
SCENARIO = str(ROOT / "scenarios")

RECOMMENDER = {"suggestions", "_candidate", "top", "top_by", "persona_vectors"}
FEED = {"view"}

type Function = tuple[str, int, str]


def bench(size: Size) -> Report:
    """Run it, run a smaller one, and profile it."""
    n, steps, fewer = SIZES[size]
    report = Report("friendship_paradox, rule policy, recorded: events, state every step, all its observers")
    peak = Peak()
    built, ran = one_run(n, steps)
    peak_mb = peak.mb()
    _, small = one_run(fewer, steps)
    report.rows += [
        row("friendship_paradox", [ran], n, steps, peak_mb),
        row("friendship_paradox, fewer agents", [small], fewer, steps),
    ]
    times = (ran.cpu / n) / (small.cpu / fewer)
    note = f"{ran.wall:.1f} s, CPU {ran.cpu:.1f} s; and {built.wall:.1f} s to make the society"
    report.goals += [
        Goal("CPU per agent-step", 1e6 * ran.cpu / (n * steps), "µs", note=note),
        Goal(f"CPU per agent-step, {n:,} / {fewer:,} agents", times, "×", note="1: linear in agents, 2: quadratic"),
    ]
    groups, functions, seconds, beside = profiled(n, steps)
    shares = ", ".join(f"{name} {100 * part / seconds:.0f} %" for name, part in groups)
    report.notes.append(
        f"where the time goes ({seconds:.1f} s under cProfile, the society's thread; library time is charged to the "
        f"function of ours that called): {shares}; beside it the recorder's thread used {beside:.1f} s of CPU"
    )
    top = ", ".join(f"{name} {100 * part / seconds:.0f} %" for name, part in functions[:12])
    report.notes.append(f"functions: {top}")
    return report


def one_run(n: int, steps: int, profile: cProfile.Profile | None = None) -> tuple[Lap, Lap]:
    """Make the society, then run it into a folder that is thrown away; return both laps."""
    made: list[Any] = []
    built = lap(lambda: made.append(prepare("friendship_paradox", params={"n_agents": n}, seed=7, steps=steps)))
    with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
        path = start_run(made[0], Path(folder) / "run")

        def work() -> None:
            if profile is not None:
                profile.enable()
            execute(made[0], path)
            if profile is not None:
                profile.disable()

        return built, lap(work)


def profiled(n: int, steps: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]], float, float]:
    """Return seconds by group and by function, in all, and CPU seconds of the recorder's thread."""
    profile = cProfile.Profile()
    mine = time.thread_time()
    _, ran = one_run(n, steps, profile)
    beside = threads_cpu(ran, time.thread_time() - mine)
    stats: dict[Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    groups, functions = charged(stats, group_of), charged(stats, name_of)
    return groups, functions, sum(seconds for _, seconds in groups), beside


def threads_cpu(ran: Lap, mine: float) -> float:
    """Return CPU seconds that other threads than this one used in a lap."""
    assert threading.current_thread() is threading.main_thread()
    return max(0.0, ran.cpu - mine)


def group_of(function: Function) -> str | None:
    """Return what a function of ours is for; None for libraries, whose time belongs to who called them."""
    file, _, name = function
    if file.startswith(SCENARIO):
        module = Path(file).stem
        if name in RECOMMENDER or module == "similarity":
            return "recommender"
        if name in FEED:
            return "feed"
        if module == "observers":
            return "observers"
        if module == "rules" or name.endswith("_check"):
            return "deciding"
        return "effects"
    if file.startswith(ENGINE):
        room = Path(file).relative_to(ENGINE).parts[0]
        if room == "observe":
            return "observers"
        if room == "run" or name in ("drain", "changed", "rows"):
            return "recording"
        if room == "mind" or name in ("decide", "_route", "_occurrences"):
            return "deciding"
        # Ties, draws, tables and events serve whoever asked.
        return None
    return None


def name_of(function: Function) -> str | None:
    """Return the name of a function of ours."""
    file, _, name = function
    if not file.startswith((SCENARIO, ENGINE)) or name.startswith("<"):
        return None
    return f"{Path(file).stem}.{name}"


def charged(stats: dict[Function, Any], owner: Any) -> list[tuple[str, float]]:
    """Charge every function's own time to an owner: itself, or those who called it, as their calls took time."""
    known: dict[Function, dict[str, float]] = {}

    def shares(function: Function, above: frozenset[Function]) -> dict[str, float]:
        if (name := owner(function)) is not None:
            return {name: 1.0}
        if function in known:
            return known[function]
        callers = {f: edge for f, edge in stats[function][4].items() if f not in above and f in stats}
        weight = {f: edge[3] or 1e-9 for f, edge in callers.items()}
        whole, out = sum(weight.values()), dict[str, float]()
        for caller, part in weight.items():
            for name, share in shares(caller, above | {function}).items():
                out[name] = out.get(name, 0.0) + share * part / whole
        out = out or {"other": 1.0}
        if not above:
            known[function] = out
        return out

    total: dict[str, float] = {}
    for function, (_, _, own, _, _) in stats.items():
        for name, share in shares(function, frozenset()).items():
            total[name] = total.get(name, 0.0) + share * own
    return sorted(total.items(), key=lambda one: -one[1])

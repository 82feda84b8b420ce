"""`friendship_paradox` as a user runs it, recorded, and where its time goes."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from simworld.run import execute, prepare, start_run
from tests.bench.measure import ROOT, Goal, Lap, Peak, Report, Size, lap, row

# (agents, steps, agents of the smaller run that shows the growth)
SIZES = {Size.FULL: (1_000, 100, 500), Size.QUICK: (200, 20, 100), Size.TINY: (12, 3, 6)}

ENGINE = str(ROOT / "simworld")
SCENARIO = str(ROOT / "scenarios")

RECOMMENDER = {"suggestions", "_strangers", "_candidate"}
FEED = {"view", "feed"}

LONGEST_CHAIN = 60
"""Calls of libraries among themselves that are followed; arbitrary, far beyond what occurs."""

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
    half = max(1, steps // 2)
    groups, functions, seconds = profiled(n, half)
    shares = ", ".join(f"{name} {100 * part / seconds:.0f} %" for name, part in groups)
    top = ", ".join(f"{name} {100 * part / seconds:.0f} %" for name, part in functions[:12])
    report.notes += [
        f"where the time of {half} steps goes ({seconds:.1f} s under cProfile, the society's thread; library time is "
        f"charged to the function of ours that called): {shares}",
        f"functions: {top}",
        f"beside it, unprofiled, in all {steps} steps, other threads (recorder, BLAS) used {ran.cpu - ran.own:.1f} s "
        f"of the {ran.cpu:.1f} s CPU",
    ]
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


def profiled(n: int, steps: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]], float]:
    """Return seconds by group, by function, and in all, of the society's thread."""
    profile = cProfile.Profile()
    one_run(n, steps, profile)
    stats: dict[Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    groups, functions = charged(stats, group_of), charged(stats, name_of)
    return groups, functions, sum(seconds for _, seconds in groups)


def group_of(function: Function) -> str | None:
    """Return what a function of ours is for; None for libraries, whose time belongs to who called them."""
    file, _, name = function
    if file.startswith(SCENARIO):
        module = Path(file).stem
        if module == "similarity":
            return None
        if name in RECOMMENDER:
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


def charged(stats: dict[Function, Any], owner: Callable[[Function], str | None]) -> list[tuple[str, float]]:
    """Charge every function's own time to an owner: itself, or those who called it, as their calls took time.

    Libraries call each other, in circles too, so their shares are found by repeated substitution.
    """
    owners = {function: owner(function) for function in stats}
    names = [*dict.fromkeys(name for name in owners.values() if name is not None), "other"]
    libraries = {function: at for at, function in enumerate(f for f, name in owners.items() if name is None)}
    column = {name: at for at, name in enumerate(names)}
    own = np.zeros((len(libraries), len(names)))
    rows, columns, weights = [], [], []
    for function, at in libraries.items():
        edges = {f: max(edge[3], 1e-9) for f, edge in stats[function][4].items() if f in stats and f != function}
        whole = sum(edges.values())
        for caller, part in edges.items():
            if (name := owners[caller]) is not None:
                own[at, column[name]] += part / whole
            else:
                rows.append(at)
                columns.append(libraries[caller])
                weights.append(part / whole)
        if not edges:
            own[at, column["other"]] = 1.0
    passed = sparse.csr_array((weights, (rows, columns)), shape=(len(libraries), len(libraries)))
    shares = own
    for _ in range(LONGEST_CHAIN):
        shares = own + passed @ shares
    total = np.array([stats[f][2] for f in libraries]) @ shares
    for function, name in owners.items():
        if name is not None:
            total[column[name]] += stats[function][2]
    return sorted(zip(names, total.tolist(), strict=True), key=lambda one: -one[1])

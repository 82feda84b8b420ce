"""``python -m tests.bench [NAME ...] [--quick]``: run benchmarks, each in a process of its own, and print their tables.

Exit code 0 whether goals are met or not, unless ``--strict``: a busy machine is no broken build. A benchmark that finds
a wrong result fails.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tests.bench.measure import Report, Size, in_fresh_process

BENCHMARKS = {
    "vectorised": "majority model over columns, against NumPy/SciPy",
    "recorded": "the same with metrics and events recorded",
    "memory": "bytes an agent at a million agents",
    "policies": "one Python call an agent, against Mesa",
    "matrix_games": "repeated games at 100,000 agents, against NumPy/SciPy",
    "donor_game": "a default run of the donor game, recorded, against the same by chance",
    "traitors": "1,000 games side by side by rules, against the same by chance",
    "paradox": "network metrics at 100,000 nodes",
    "society": "friendship_paradox, with a profile",
    "memories": "retrieval of memories against one NumPy pass; storing; the village; its index",
    "campaigns": "many short runs on two workers, against the ideal and mesa.batch_run",
    "viewer": "the replay viewer in headless Chromium: first paint, memory, scrubbing, jumps",
    "llm": "language-model minds, against bare loops over both clients",
    "startup": "simworld --help, import simworld",
}


def benchmark(name: str) -> Callable[[Size], Report]:
    """Return a benchmark by name."""
    found: Callable[[Size], Report] = importlib.import_module(f"tests.bench.{name}").bench
    return found


def main() -> int:
    """Run what the command line asks for."""
    known = "\n".join(f"  {name:<12}{about}" for name, about in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", epilog=f"benchmarks:\n{known}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks; all by default")
    parser.add_argument("--quick", action="store_true", help="smaller, about half a minute")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a goal is missed")
    parser.add_argument("--inside", choices=[str(s) for s in Size], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    if asked.inside:
        print(benchmark(asked.names[0])(Size(asked.inside)).to_json())
        return 0

    # The width matters in a file too, where there is no terminal to ask.
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    console.print(f"{os.cpu_count()} processors{load}; medians of laps in turns; × are ratios within one run\n")
    size, began, missed, failed = Size.QUICK if asked.quick else Size.FULL, time.perf_counter(), [], []
    for name in asked.names or BENCHMARKS:
        start = time.perf_counter()
        try:
            report = Report.from_json(in_fresh_process("tests.bench", name, "--inside", size).splitlines()[-1])
        except RuntimeError as error:
            console.print(f"{name} FAILED\n{error}", style="red", markup=False)
            failed.append(name)
            continue
        show(console, name, report, time.perf_counter() - start)
        missed += [
            f"{name}: {goal.what} {goal.value:.3g} {goal.unit}" for goal in report.goals if goal.verdict == "MISSED"
        ]
    console.print(f"{time.perf_counter() - began:.0f} s; " + ("goals missed:" if missed else "every goal met"))
    for line in missed:
        console.print(f"  {line}", markup=False)
    return 1 if failed or (missed and asked.strict) else 0


def show(console: Console, name: str, report: Report, seconds: float) -> None:
    """Print one report: what was timed, how it compares with its goals, and what a reader should know."""
    timed = Table(title=f"{name}: {report.title}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    timed.add_column("")
    for heading in ("agents", "steps", "seconds", "CPU µs/agent-step", "peak MB"):
        timed.add_column(heading, justify="right")
    for one in report.rows:
        timed.add_row(
            one.what,
            f"{one.agents:,}" if one.agents else "",
            f"{one.steps:,}" if one.steps else "",
            f"{one.seconds:.4g}",
            "" if one.cpu_us is None else f"{one.cpu_us:.3g}",
            "" if one.peak_mb is None else f"{one.peak_mb:.0f}",
        )
    goals = Table(box=None, pad_edge=False)
    goals.add_column("")
    goals.add_column("measured", justify="right")
    goals.add_column("goal", justify="right")
    goals.add_column("")
    goals.add_column("note")
    for goal in report.goals:
        bound = "" if goal.at_most is None else f"≤ {goal.at_most:g}"
        bound = bound if goal.at_least is None else f"≥ {goal.at_least:g}"
        verdict = f"[{'green' if goal.verdict == 'ok' else 'bold red'}]{goal.verdict}[/]" if goal.verdict else ""
        goals.add_row(goal.what, f"{goal.value:.3g} {goal.unit}", bound, verdict, goal.note)
    console.print(timed)
    console.print()
    console.print(goals)
    for note in report.notes:
        console.print(f"- {note}", style="dim", markup=False)
    console.print(f"({seconds:.0f} s)\n", style="dim")


if __name__ == "__main__":
    sys.exit(main())

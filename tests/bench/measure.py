"""Laps, ratios and memory, measured so that a busy machine does less harm.

Two sides are timed in turns, A B A B, and a ratio is the median of the ratios of neighbouring laps: a disturbance
longer than a lap hits both sides, a shorter one spoils one pair. CPU time counts every thread of the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
"""The repository, from which ``python -m tests.bench`` runs."""

MB = 1e6


class Size(StrEnum):
    """How much work a benchmark does."""

    FULL = "full"
    """The sizes the goals are stated for."""
    QUICK = "quick"
    """Smaller where it saves time; a goal is judged all the same."""
    TINY = "tiny"
    """Only enough to see that the benchmark works."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    agents: int
    steps: int
    """Steps of one lap."""
    seconds: float
    """Wall clock of one lap, median over laps."""
    cpu_us: float | None = None
    """CPU microseconds per agent and step, all threads."""
    peak_mb: float | None = None
    """Peak memory beyond what the process held before the side was built, 10**6 bytes."""


@dataclass(frozen=True)
class Goal:
    """One figure with the bound it is held to; without a bound it is for information."""

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``ok``, ``MISSED``, or nothing when there is no bound."""
        if self.at_most is None and self.at_least is None:
            return ""
        low = self.at_least is None or self.value >= self.at_least
        high = self.at_most is None or self.value <= self.at_most
        return "ok" if low and high else "MISSED"


@dataclass
class Report:
    """What one benchmark found."""

    title: str
    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is inside the timing, and what a reader should know to judge it."""

    def to_json(self) -> str:
        """Return the report as JSON, for the process that prints."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        rows, goals = [Row(**r) for r in found["rows"]], [Goal(**g) for g in found["goals"]]
        return cls(found["title"], rows, goals, found["notes"])


@dataclass(frozen=True)
class Lap:
    """One timed stretch."""

    wall: float
    cpu: float
    """Of every thread of the process."""
    own: float = 0.0
    """CPU of the thread that was timed."""


def lap(work: Callable[[], Any]) -> Lap:
    """Time one call, with nothing to collect left over from what came before."""
    gc.collect()
    wall, cpu, own = time.perf_counter(), time.process_time(), time.thread_time()
    work()
    return Lap(time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - own)


def alternating(sides: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Lap]]:
    """Time each side once a round, in turns."""
    laps: dict[str, list[Lap]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, work in sides.items():
            laps[name].append(lap(work))
    return laps


def ratio(over: Sequence[Lap], under: Sequence[Lap]) -> float:
    """Return the median ratio of wall clock of neighbouring laps."""
    return statistics.median(a.wall / b.wall for a, b in zip(over, under, strict=True))


def cpu_ratio(over: Sequence[Lap], under: Sequence[Lap]) -> float:
    """Return the median ratio of CPU time of neighbouring laps."""
    return statistics.median(a.cpu / b.cpu for a, b in zip(over, under, strict=True))


def row(what: str, laps: Sequence[Lap], agents: int, steps: int, peak_mb: float | None = None) -> Row:
    """Return the table line of one side: medians over its laps."""
    wall = statistics.median(one.wall for one in laps)
    cpu = statistics.median(one.cpu for one in laps)
    return Row(what, agents, steps, wall, 1e6 * cpu / (agents * steps), peak_mb)


def rss() -> int:
    """Return the memory this process holds now, bytes."""
    return int(psutil.Process().memory_info().rss)


class Peak:
    """The highest memory since it was made. Linux lets a process forget its earlier peak; elsewhere the peak is the
    process's own, which is at least as high."""

    def __init__(self) -> None:
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            # Else what an earlier side freed would be used again unseen (glibc only).
            ctypes.CDLL(None).malloc_trim(0)
        self.base = rss()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int:
        """Return the peak since then beyond what was held then."""
        status = Path("/proc/self/status")
        if status.exists():
            # VmHWM and not ru_maxrss: the latter is inherited from the process that started this one.
            line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024 - self.base
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - self.base

    def mb(self) -> float:
        """Return `bytes` in megabytes."""
        return self.bytes() / MB


def in_fresh_process(module: str, *words: str) -> str:
    """Run ``python -m module words`` from the repository and return what it printed.

    Raises:
        RuntimeError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"python -m {module} {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout

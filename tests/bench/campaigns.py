"""Campaigns: many short runs on two workers, against the ideal and `mesa.batch_run`; memory; the report."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mesa
import psutil

import simworld as sw
from simworld.scenario import load, resolve
from simworld.sweep import plan
from tests.bench.measure import Goal, Peak, Report, Row, Size, in_fresh_process

WORKERS = 2
IDEAL_AT_LEAST = 0.85
"""Share of the ideal: processes that compute as long and do nothing else, on the machine as busy as it is."""
BATCH_RUN_AT_LEAST = 3.0
"""Times faster than `mesa.batch_run`, start-up included."""
PARENT_MIB = 300.0
"""Peak memory of the parent at 10,000 runs, all that it holds, in mebibytes."""
REPORT_S = 20.0
"""Seconds to write the report of 10,000 runs."""

# (runs timed, runs whose memory is measured, milliseconds of a run)
SIZES = {Size.FULL: (1_000, 10_000, 10.0), Size.QUICK: (400, 2_000, 10.0), Size.TINY: (4, 8, 1.0)}

BUSY = '''"""A model that computes for so many milliseconds."""

import time

import simworld as sw


class Params(sw.Params):
    n_agents: int = sw.field(10, ge=1, unit="agents", doc="Agents.")
    busy_ms: float = sw.field(10.0, ge=0, unit="ms", doc="Processor time of a run.")
    level: float = sw.field(0.0, ge=0, unit="units", doc="What is measured.")


class Busy(sw.World):
    """How long does it take?"""

    Params = Params
    default_steps = 1

    def step(self):
        end = time.process_time() + self.params.busy_ms / 1000
        while time.process_time() < end:
            pass

    def metrics(self):
        return {"level": self.params.level + self.stream("level").random()}
'''


def campaign(scenario: str, runs: int, busy_ms: float) -> dict[str, Any]:
    """Return a campaign of so many runs at four points."""
    return {
        "scenario": scenario, "params": {"busy_ms": busy_ms}, "factors": {"level": [0.0, 1.0, 2.0, 3.0]},
        "replicates": runs // 4, "measures": ["level"],
    }  # fmt: skip


def bench(size: Size) -> Report:
    """Run a campaign on worker processes; the same by `mesa.batch_run`; a long one for its memory and its report."""
    runs, many, busy_ms = SIZES[size]
    report = Report(f"campaigns of {runs:,} runs of {busy_ms:g} ms on {WORKERS} workers")
    with tempfile.TemporaryDirectory() as folder:
        lab = Path(folder)
        (lab / "busy.py").write_text(BUSY, "utf-8")
        scenario = str(lab / "busy.py")

        start = _seconds(lambda: sw.sweep(campaign(scenario, 4, 0.0), workers=WORKERS, out=lab / "start"))
        whole = _seconds(lambda: sw.sweep(campaign(scenario, runs, busy_ms), workers=WORKERS, out=lab / "timed"))
        ideal = _seconds(lambda: _alone(runs * busy_ms / 1000 / WORKERS))
        model = load(resolve(scenario))
        by_mesa = _seconds(lambda: mesa.batch_run(
            model, {"level": [0.0, 1.0, 2.0, 3.0], "busy_ms": busy_ms}, number_processes=WORKERS,
            rng=list(range(runs // 4)), max_steps=1, data_collection_period=-1, display_progress=False,
        ))  # fmt: skip
        assert sw.load_campaign(lab / "timed").done.height == runs
        long = json.loads(in_fresh_process("tests.bench.campaigns", scenario, str(lab / "long"), str(many)))
        again = _seconds(lambda: sw.sweep(plan(campaign(scenario, many, 0.0), out=lab / "long")))

        from simworld.view import write_report

        page = _seconds(lambda: write_report(sw.load_campaign(lab / "long"), lab / "long.html"))
    report.rows += [
        Row(f"{runs:,} runs of {busy_ms:g} ms", 10, 1, whole),
        Row("the ideal: the runs alone", 10, 1, ideal),
        Row("start-up: four runs of nothing", 10, 1, start),
        Row("mesa.batch_run, the same model", 10, 1, by_mesa),
        Row(f"{many:,} runs of nothing", 10, 1, long["seconds"]),
        Row("called again: nothing is missing", 10, 1, again),
        Row(f"report of {many:,} runs", 10, 1, page),
    ]
    steady = max(whole - start, 1e-9)
    report.goals += [
        Goal("share of the ideal, after start-up", ideal / steady, "", at_least=IDEAL_AT_LEAST),
        Goal("mesa.batch_run / sweep, start-up included", by_mesa / whole, "×", at_least=BATCH_RUN_AT_LEAST),
        Goal(f"peak memory of the parent, {many:,} runs", long["peak_mib"], "MiB", at_most=PARENT_MIB),
        Goal("milliseconds a run of nothing", 1000 * max(long["seconds"] - start, 0.0) / many, "ms"),
        Goal("processor time a run of nothing, parent", 1000 * long["parent_s"] / many, "ms"),
        Goal("processor time a run of nothing, workers", 1000 * long["workers_s"] / many, "ms"),
        Goal(f"report of {many:,} runs", page, "s", at_most=REPORT_S),
    ]
    report.notes.append(
        f"mesa.batch_run makes the same runs of {busy_ms:g} ms, which no scheduler can make faster: at best the ratio "
        "is its own overhead over ours."
    )
    return report


def _alone(seconds: float) -> None:
    """Compute for so many seconds of processor time in each of as many processes: what the runs are without us."""
    code = f"import time\nwhile time.process_time() < {seconds!r}: pass"
    processes = [subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) for _ in range(WORKERS)]
    assert not any(process.wait() for process in processes)


def _seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _long(scenario: str, folder: str, runs: str) -> None:
    """Make a campaign of runs of nothing, in a process of its own; print what it took as JSON."""
    peak = Peak()
    seconds = _seconds(lambda: sw.sweep(campaign(scenario, int(runs), 0.0), workers=WORKERS, out=Path(folder)))
    cpu = psutil.Process().cpu_times()
    print(json.dumps({
        "seconds": seconds, "parent_s": cpu.user + cpu.system, "workers_s": cpu.children_user + cpu.children_system,
        "peak_mib": (peak.base + peak.bytes()) / 2**20,
    }))  # fmt: skip


if __name__ == "__main__":
    _long(*sys.argv[1:])

"""The same scenario with metrics and events recorded to a real run folder, against recording off."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simworld.run import load_run, prepare, start_run
from simworld.run._recorder import Recorder
from simworld.run._runner import write_manifest
from simworld.run._store import Store, parquet_bytes, write_whole
from tests.bench.majority import Majority, random_ties
from tests.bench.measure import Goal, Lap, Peak, Report, Row, Size, cpu_ratio, lap, ratio, row

AT_MOST = 1.25
BLOCK = 10
"""Steps timed as one; the recorder's thread is waited for at the end of each."""

# (agents, steps, runs)
SIZES = {
    Size.FULL: [(100_000, 100, 5), (1_000_000, 50, 3)],
    Size.QUICK: [(100_000, 50, 3), (1_000_000, 20, 1)],
    Size.TINY: [(2_000, 20, 1)],
}


@dataclass
class Recorded:
    """Laps of one recorded run and of its twin without recording."""

    off: list[Lap] = field(default_factory=list)
    on: list[Lap] = field(default_factory=list)
    start: float = 0.0
    """Seconds to record the starting graph and state."""
    end: float = 0.0
    """Seconds of the last step with its state, of sealing, metrics and manifest."""
    mb: float = 0.0
    """Size of the run's folder, 10**6 bytes."""
    peak_mb: float = 0.0
    events: int = 0

    @property
    def whole(self) -> float:
        """Recorded over not recorded: all steps, and the run's end with its sealing; not its start."""
        one_more = (len(self.off) * BLOCK + 1) / (len(self.off) * BLOCK)
        return (sum(one.wall for one in self.on) + self.end) / (one_more * sum(one.wall for one in self.off))


def one_run(ties: Any, n: int, steps: int, state_every: int, folder: Path) -> Recorded:
    """Record one run as the runner does, its twin without recording stepping in turns with it."""
    found = Recorded()
    twin = Majority(n_agents=n, rng=1, graph=ties)
    peak = Peak()
    spec = f"{Path(__file__).parent / 'majority.py'}@Majority"
    # The last step carries the last state and the sealing: it belongs to the end.
    prepared = prepare(spec, params={"n_agents": n}, seed=1, steps=steps + 1, graph=ties, state_every=state_every)
    society, path = prepared.society, folder / "run"
    open_run: list[tuple[Store, Recorder]] = []

    def start() -> None:
        start_run(prepared, path)
        store = Store(path)
        recorder = Recorder(prepared.plan, society, prepared.observers, store)
        recorder.take()
        recorder.flush()
        store.seal()
        open_run.append((store, recorder))

    found.start = lap(start).wall
    store, recorder = open_run[0]

    def recorded_steps() -> None:
        for _ in range(BLOCK):
            society.step()
            recorder.take()
        recorder.flush()

    def twin_steps() -> None:
        for _ in range(BLOCK):
            twin.step()

    for _ in range(steps // BLOCK):
        found.off.append(lap(twin_steps))
        found.on.append(lap(recorded_steps))

    def end() -> None:
        society.step()
        recorder.take()
        metrics, findings, digest = recorder.conclude()
        write_whole(path / "metrics.parquet", parquet_bytes(metrics))
        write_whole(path / "findings.parquet", parquet_bytes(findings))
        segments = store.finish()
        parts = {k: v for k, v in digest.items() if k != "digest"}
        write_manifest(
            path, prepared.plan, society, "finished",
            digest=digest["digest"], parts=parts, segments=segments, steps_done=steps + 1,
        )  # fmt: skip
        recorder.close()
        store.close()

    found.end = lap(end).wall
    found.peak_mb = peak.mb()
    found.mb = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
    found.events = load_run(path).events.height
    if found.events < n * 0.005 * steps:
        raise AssertionError(f"the run recorded {found.events} flips, fewer than its noise alone makes")
    return found


def bench(size: Size) -> Report:
    """Record and do not record, in turns."""
    report = Report("majority model, metrics and events recorded, against recording off")
    for n, steps, runs in SIZES[size]:
        ties = random_ties(n)
        for state_every in (0, 10):
            found = []
            for _ in range(runs if state_every == 0 else 1):
                with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
                    found.append(one_run(ties, n, steps, state_every, Path(folder)))
            _report(report, n, steps, state_every, found)
    report.notes += [
        "recording off: step() with Mesa's DataCollector collecting the one metric, events made and dropped.",
        "recorded, events and metrics: the same steps, plus measuring, draining, framing, hashing, one SQLite "
        "transaction a step, the end of the run: last state, sealing to Parquet with fsync, metrics, manifest. "
        f"The recorder's thread is waited for every {BLOCK} steps.",
        "not in that ratio, shown as its own line: the one-time start (inputs and starting ties and state to journal "
        "and sealed Parquet, manifest), and state recorded every 10 steps.",
    ]
    return report


def _report(report: Report, n: int, steps: int, state_every: int, found: list[Recorded]) -> None:
    off = [one for run in found for one in run.off]
    on = [one for run in found for one in run.on]
    end = statistics.median(run.end for run in found)
    start = statistics.median(run.start for run in found)
    whole = statistics.median(run.whole for run in found)
    what = "metrics and events" if state_every == 0 else f"and state every {state_every}"
    if state_every == 0:
        report.rows.append(row("recording off", off, n, BLOCK))
    report.rows += [
        row(f"recorded: {what}", on, n, BLOCK, found[0].peak_mb),
        Row("  once: the end, with sealing", n, 1, end),
    ]
    if state_every == 0:
        report.rows.append(Row("  once: the start, with graph and state", n, 1, start))
    note = f"steps alone {ratio(on, off):.2f}, their CPU {cpu_ratio(on, off):.2f}; "
    note += f"{found[0].events / (n * steps):.2f} events an agent-step, {found[0].mb:.0f} MB on disk"
    goal = AT_MOST if state_every == 0 else None
    label = f"recorded ({what}) / off, {n:,} agents, {steps} steps"
    report.goals.append(Goal(label, whole, "×", at_most=goal, note=note))
    if state_every == 0:
        in_steps = start / (sum(one.wall for one in off) / len(off) / BLOCK)
        report.goals.append(Goal(f"recording the start, {n:,} agents", in_steps, "steps", note=f"{start:.2f} s, once"))

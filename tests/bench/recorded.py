"""The same scenario with metrics and events recorded to a real run folder, against recording off."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simworld.run import load_run, prepare, start_run
from simworld.run._recorder import Recorder
from simworld.run._store import Store
from tests.bench.majority import Majority, random_ties
from tests.bench.measure import Goal, Lap, Peak, Report, Row, Size, cpu_ratio, lap, ratio, row

AT_MOST = 1.25
BLOCK = 25
"""Steps timed as one; the recorder's thread is waited for at the end of each."""

# (agents, steps, runs)
SIZES = {
    Size.FULL: [(100_000, 100, 3), (1_000_000, 50, 2)],
    Size.QUICK: [(100_000, 50, 1)],
    Size.TINY: [(2_000, 25, 1)],
}


@dataclass(frozen=True)
class Variant:
    """What is recorded of which society."""

    what: str
    start: float
    """Share who hold the opinion at first, see `majority`: it decides how much happens."""
    state_every: int = 0


VARIANTS = (
    Variant("contested", start=0.5),
    Variant("settled", start=0.8),
    Variant("settled, state every 10", start=0.8, state_every=10),
)


@dataclass
class Recorded:
    """Laps of one recorded run and of its twin without recording."""

    off: list[Lap] = field(default_factory=list)
    on: list[Lap] = field(default_factory=list)
    start: float = 0.0
    """Seconds to record the starting graph and state."""
    seal: Lap | None = None
    """One more step, and sealing all events and metrics so far."""
    end: float = 0.0
    """Seconds of the last step with its state, of sealing that, and of the digest."""
    mb: float = 0.0
    """Size of the run's folder, 10**6 bytes."""
    peak_mb: float = 0.0
    events: int = 0

    def whole(self, clock: str) -> float:
        """Return recorded over not recorded: all steps and the sealing of what they made; neither start nor end."""
        assert self.seal is not None
        on, off = (sum(getattr(one, clock) for one in laps) for laps in ([*self.on, self.seal], self.off))
        steps = len(self.off) * BLOCK
        return on / (off * (steps + 1) / steps)


def one_run(ties: Any, n: int, steps: int, variant: Variant, folder: Path) -> Recorded:
    """Record one run as the runner does, its twin without recording stepping in turns with it."""
    found = Recorded()
    params = {"n_agents": n, "start": variant.start}
    twin = Majority(rng=1, graph=ties, **params)
    peak = Peak()
    spec = f"{Path(__file__).parent / 'majority.py'}@Majority"
    # Two more steps: one is sealed after, one is the last, which carries the state.
    prepared = prepare(
        spec, params=params, seed=1, steps=steps + 2, graph=ties, state_every=variant.state_every
    )  # fmt: skip
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

    def seal() -> None:
        # A checkpoint without a state, which no run has: it lets the store seal the events and nothing else.
        society.step()
        recorder._write(society.drain(state=False), checkpoint=True, measured=dict(society.metrics()))
        store.seal()

    def end() -> None:
        society.step()
        recorder.take()
        recorder.conclude()
        store.finish()
        recorder.close()
        store.close()

    found.seal = lap(seal)
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
        for variant in VARIANTS:
            found = []
            for _ in range(1 if variant.state_every else runs):
                with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
                    found.append(one_run(ties, n, steps, variant, Path(folder)))
            _report(report, n, steps, variant, found)
    report.notes += [
        "recording off: step() with Mesa's DataCollector collecting the one metric, events made and dropped.",
        "recorded / off holds the same steps, plus measuring, draining, framing, hashing and one SQLite transaction a "
        f"step (the recorder's thread is waited for every {BLOCK} steps), plus sealing all of it to Parquet with "
        "fsync. CPU is the same ratio in CPU time of all threads.",
        "not in it, lines of their own: the start, once a run (inputs, starting ties and state to the journal and to "
        "sealed Parquet, manifest), and the end (last state, digest). With state: for information.",
    ]
    return report


def _report(report: Report, n: int, steps: int, variant: Variant, found: list[Recorded]) -> None:
    off = [one for run in found for one in run.off]
    on = [one for run in found for one in run.on]
    start, end = (statistics.median(getattr(run, name) for run in found) for name in ("start", "end"))
    whole, cpu = (statistics.median(run.whole(clock) for run in found) for clock in ("wall", "cpu"))
    report.rows += [
        row(f"{variant.what}: recording off", off, n, BLOCK),
        row(f"{variant.what}: recorded", on, n, BLOCK, found[0].peak_mb),
        row("  once: sealing all that", [run.seal for run in found if run.seal], n, steps),
        Row("  once: the end, with the last state", n, 1, end),
        Row("  once: the start, with graph and state", n, 1, start),
    ]
    note = f"CPU {cpu:.2f}; before sealing {ratio(on, off):.2f}, CPU {cpu_ratio(on, off):.2f}; "
    note += f"{found[0].events / (n * steps):.2f} events an agent-step, {found[0].mb:.0f} MB on disk"
    goal = None if variant.state_every or "contested" in variant.what else AT_MOST
    label = f"recorded / off, {n:,} agents, {steps} steps, {variant.what}"
    report.goals.append(Goal(label, whole, "×", at_most=goal, note=note))
    if not variant.state_every:
        in_steps = start / (sum(one.wall for one in off) / len(off) / BLOCK)
        report.goals.append(Goal("  its start, in steps", in_steps, "steps", note=f"{start:.2f} s, once a run"))

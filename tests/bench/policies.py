"""Policies that are Python functions of one agent, against the same model in plain Mesa collecting the same columns."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simworld.run import Prepared, load_run, prepare, start_run
from simworld.run._recorder import Recorder
from simworld.run._store import Store
from tests.bench.measure import Goal, Lap, Peak, Report, Size, cpu_ratio, lap, ratio, row
from tests.bench.opinion import COLUMNS, named_ties
from tests.bench.opinion_mesa import MesaOpinion

AT_LEAST = 5.0
SIGMAS = 5.0
"""Standard errors a mean may be off; chance alone does it about once in a million."""

# (agents, steps, rounds)
SIZES = {Size.FULL: (10_000, 50, 5), Size.QUICK: (10_000, 20, 3), Size.TINY: (300, 5, 2)}


def prepared_run(ties: Any, steps: int, seed: int) -> Prepared:
    """Return the scenario, ready to be recorded with its state at every step."""
    spec = f"{Path(__file__).parent / 'opinion.py'}@Opinion"
    return prepare(spec, params={"n_agents": ties.shape[0]}, seed=seed, steps=steps, graph=ties, state_every=1)


def bench(size: Size) -> Report:
    """Time simworld, recorded to disk, and Mesa, collecting in memory, in turns; compare what they reached."""
    n, steps, rounds = SIZES[size]
    report = Report("opinion model, one Python call an agent, against Mesa shuffle_do with a DataCollector")
    ties = named_ties(n)
    ours, kept, bare, theirs = [], [], [], []
    reached: dict[str, list[dict[str, float]]] = {"simworld": [], "mesa": []}
    peaks: dict[str, float] = {}
    for seed in range(1, rounds + 1):
        peak = Peak()
        model = MesaOpinion(ties, seed)
        theirs.append(lap(lambda model=model: [model.step() for _ in range(steps)]))
        peaks.setdefault("mesa", peak.mb())
        reached["mesa"].append(summary(model.columns()))
        if len(model.datacollector._agent_records) != steps:
            raise AssertionError("Mesa did not collect every step")
        del model
        peak = Peak()
        prepared = prepared_run(ties, steps, seed)
        with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
            ours.append(recorded(prepared, Path(folder) / "run", steps))
        peaks.setdefault("simworld", peak.mb())
        society = prepared.society
        reached["simworld"].append(summary({name: society.table[name] for name in COLUMNS}))
        world = prepared_run(ties, steps, seed).society
        bare.append(lap(lambda world=world: [world.step() for _ in range(steps)]))
        world = prepared_run(ties, steps, seed).society
        world.drain()
        kept.append(lap(lambda world=world: [(world.step(), world.drain()) for _ in range(steps)]))
    report.rows += [
        row("simworld, events, metrics, state of every step on disk", ours, n, steps, peaks["simworld"]),
        row("simworld, changes of every step in memory", kept, n, steps),
        row("simworld, recording off", bare, n, steps),
        row("Mesa, six columns of every step in memory", theirs, n, steps, peaks["mesa"]),
    ]
    note = f"CPU {cpu_ratio(theirs, ours):.2f}; recording off {ratio(theirs, bare):.2f}"
    report.goals += [
        Goal("Mesa / simworld, both keeping every step in memory", ratio(theirs, kept), "×", at_least=AT_LEAST),
        Goal("Mesa in memory / simworld recorded to disk", ratio(theirs, ours), "×", note=note),
    ]
    report.notes.append(
        "inside: stepping, measuring, framing, hashing, journalling every step, sealing to Parquet at the end; "
        "building the society and recording its start are not, on either side."
    )
    report.notes.append(compared(reached, n, steps))
    return report


def recorded(prepared: Prepared, path: Path, steps: int) -> Lap:
    """Record one run as the runner does; time what comes after its start."""
    start_run(prepared, path)
    store = Store(path)
    recorder = Recorder(prepared.plan, prepared.society, prepared.observers, store)
    recorder.take()
    recorder.flush()

    def work() -> None:
        for _ in range(steps):
            prepared.society.step()
            recorder.take()
        recorder.flush()
        store.seal()

    timed = lap(work)
    recorder.close()
    store.close()
    rows = load_run(path).states
    if rows["step"].max() != steps:
        raise AssertionError(f"the run holds states to step {rows['step'].max()}, not {steps}")
    return timed


def summary(columns: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return numbers that both models must agree in, whatever the order in which agents act.

    The rule is read back from the last decision: the regression of opinion on the share seen has slope 0.8 and
    intercept 0.1.
    """
    opinion, share = columns["opinion"].astype(np.float64), columns["last_share"]
    slope = np.cov(opinion, share, bias=True)[0, 1] / share.var()
    return {
        "mean opinion": float(opinion.mean()),
        "mean exposure a step": float((columns["exposure"] / columns["age"]).mean()),
        "slope": float(slope),
        "intercept": float(opinion.mean() - slope * share.mean()),
    }


def expected(n: int, steps: int) -> dict[str, tuple[float, float]]:
    """Return what each number of `summary` is in theory, and its standard deviation over runs.

    Opinion and exposure by symmetry, slope and intercept by the rule. The mean follows m' = 0.1 + 0.8 m with binomial
    noise of variance 1/(4n), so its variance is 1/(4n) / (1 - 0.8²); over many steps its mean has 1.8 / 0.2 = 9 times
    the variance of independent ones. A share of ten neighbours has a standard deviation of about 0.17.
    """
    mean = np.sqrt(0.25 / (1 - 0.8**2) / n)
    slope = 0.5 / 0.17 / np.sqrt(n)
    return {
        "mean opinion": (0.5, mean),
        "mean exposure a step": (0.5, mean * np.sqrt(min(1.0, 9.0 / steps))),
        "slope": (0.8, slope),
        "intercept": (0.1, slope / 2 + mean),
    }


def compared(reached: Mapping[str, list[dict[str, float]]], n: int, steps: int) -> str:
    """Return both models' numbers beside theory, in one line; fail if either is off by more than chance."""
    parts = []
    for name, (theory, spread) in expected(n, steps).items():
        found = {side: [run[name] for run in runs] for side, runs in reached.items()}
        tolerance = SIGMAS * spread / np.sqrt(len(found["mesa"]))
        ours, theirs = (float(np.mean(found[side])) for side in ("simworld", "mesa"))
        parts.append(f"{name} {ours:.4f} and {theirs:.4f} ({theory} ± {tolerance:.4f})")
        if max(abs(ours - theory), abs(theirs - theory)) > tolerance:
            raise AssertionError(f"simworld and Mesa do not run the same model: {parts[-1]}")
    return f"same distribution, simworld and Mesa (theory ± {SIGMAS:g} standard errors): " + "; ".join(parts)

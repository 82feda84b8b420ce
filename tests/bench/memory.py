"""Memory at a million agents, beyond the graph, in a process that does nothing else."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from tests.bench.measure import MB, Goal, Peak, Report, Row, Size, in_fresh_process, rss

AT_MOST = 600.0
STEPS = 3

# agents
SIZES = {Size.FULL: 1_000_000, Size.QUICK: 1_000_000, Size.TINY: 5_000}


def bench(size: Size) -> Report:
    """Measure simworld, recording off and on, and the plain update, each in a fresh process."""
    from tests.bench.majority import random_ties

    n = SIZES[size]
    report = Report("memory beyond the graph, majority model of mean degree 6")
    kinds = {"simworld": "recording off", "plain": "plain NumPy/SciPy", "recorded": "metrics and events recorded"}
    if size == Size.QUICK:
        del kinds["recorded"]
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
        ties = random_ties(n)
        # The network comes from a file, so that making it leaves no trace in the peak.
        np.save(Path(folder) / "indices.npy", ties.indices)
        np.save(Path(folder) / "indptr.npy", ties.indptr)
        del ties
        for kind, label in kinds.items():
            found[kind] = one = json.loads(in_fresh_process("tests.bench.memory", kind, folder))
            report.rows.append(Row(label, n, STEPS, one["seconds"], peak_mb=one["peak"] / MB))
    for kind, label in kinds.items():
        one = found[kind]
        peak, rest = ((one[key] - one["graph"]) / n for key in ("peak", "rest"))
        note = f"at rest {rest:.0f}; graph {one['graph'] / n:.0f}"
        goal = AT_MOST if kind == "simworld" else None
        report.goals.append(Goal(f"peak beyond the graph, {label}", peak, "B/agent", at_most=goal, note=note))
    report.notes.append(
        "peak resident memory from before the network is loaded to after three steps, construction included, minus the "
        "arrays that hold the network (those handed in, and simworld's own, each counted once). At rest: the same "
        "after the steps. Nothing of what the plain update needs is taken off."
    )
    return report


def measured(kind: str, folder: Path) -> dict[str, float]:
    """Run one kind and return bytes: ``peak`` and ``rest`` beyond the process's own, ``graph`` of the network."""
    import time

    from tests.bench.majority import Majority, PlainMajority, random_ties

    # Everything imported, compiled and cached before the clock of memory starts.
    Majority(n_agents=500, rng=1, graph=random_ties(500)).step()
    if kind == "recorded":
        _record(folder / "warm", random_ties(500), 1)
    peak = Peak()
    indices, indptr = np.load(folder / "indices.npy"), np.load(folder / "indptr.npy")
    n = len(indptr) - 1
    ties = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(n, n))
    began = time.perf_counter()
    if kind == "plain":
        side: Any = PlainMajority(ties, seed=1)
        for _ in range(STEPS):
            side.step()
        arrays = [ties.data, ties.indices, ties.indptr]
    elif kind == "simworld":
        side = Majority(n_agents=n, rng=1, graph=ties)
        for _ in range(STEPS):
            side.step()
        arrays = [ties.data, ties.indices, ties.indptr, *graph_arrays(side)]
    else:
        side = _record(folder / "run", ties, STEPS)
        arrays = [ties.data, ties.indices, ties.indptr, *graph_arrays(side)]
    seconds = time.perf_counter() - began
    graph = {id(base): base.nbytes for base in map(_owner, arrays)}
    return {"peak": peak.bytes(), "rest": rss() - peak.base, "graph": sum(graph.values()), "seconds": seconds}


def graph_arrays(world: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in which a society holds its network: what it started from, and what it has."""
    start, ties = world.start_graph, world.graph._ties[0]
    yield from (start.sources, start.targets, start.weights)
    yield from (ties.keys, ties.weights, ties.out_degree)
    matrix = world.graph.csr()
    yield from (matrix.data, matrix.indices, matrix.indptr)


def _owner(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _record(out: Path, ties: Any, steps: int) -> Any:
    from simworld.run import execute, prepare, start_run

    spec = f"{Path(__file__).parent / 'majority.py'}@Majority"
    prepared = prepare(spec, params={"n_agents": ties.shape[0]}, seed=1, steps=steps, graph=ties, state_every=0)
    execute(prepared, start_run(prepared, out))
    return prepared.society


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))

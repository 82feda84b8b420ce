"""The eight directed friendship paradoxes on a large network, and their equality with networkx on a small one."""

from __future__ import annotations

import statistics
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

from simworld.observe import directed_paradoxes
from tests.bench.majority import compact
from tests.bench.measure import Goal, Peak, Report, Size, alternating, cpu_ratio, ratio, row

AT_MOST_S = 0.2
SAME = 1e-12

# (nodes, arcs, rounds)
SIZES = {
    Size.FULL: (100_000, 500_000, 15),
    Size.QUICK: (100_000, 500_000, 5),
    Size.TINY: (2_000, 10_000, 2),
}


def bench(size: Size) -> Report:
    """Time all eight numbers against one sparse product and one sort of the arcs."""
    n, arcs, rounds = SIZES[size]
    report = Report("friendship paradox, weak and strong, four directions, on sparse arrays")
    for seed in range(3):
        check_against_networkx(seed)
    for kind in ("uniform", "heavy-tailed"):
        ties = random_arcs(n, arcs, heavy=kind == "heavy-tailed")
        if kind == "uniform":
            peak = Peak()
            directed_paradoxes(ties)
            peak_mb = peak.mb()
        degree = np.bincount(ties.indices, minlength=n).astype(np.float64)
        column = degree.take(ties.indices)

        def floor(ties: Any = ties, degree: Any = degree, column: Any = column) -> Any:
            return ties @ degree, np.argsort(column)

        laps = alternating({"all": lambda ties=ties: directed_paradoxes(ties), "floor": floor}, rounds)
        report.rows += [
            row(f"eight paradoxes, {kind} followers", laps["all"], n, 1, peak_mb if kind == "uniform" else None),
            row("floor: one sparse product, one argsort of the arcs", laps["floor"], n, 1),
        ]
        note = f"CPU {cpu_ratio(laps['all'], laps['floor']):.1f}; best {min(one.wall for one in laps['all']):.3f} s"
        seconds = statistics.median(one.wall for one in laps["all"])
        report.goals += [
            Goal(f"eight paradoxes, {kind}, {ties.nnz:,} arcs", seconds, "s", at_most=AT_MOST_S, note=note),
            Goal(f"eight paradoxes / floor, {kind}", ratio(laps["all"], laps["floor"]), "×"),
        ]
    report.notes.append(
        f"equal to networkx and the definitions, node by node, at 300 nodes, within {SAME:g} (checked on three "
        "networks). Agents are nodes here; eight numbers are one step."
    )
    return report


def random_arcs(n: int, arcs: int, *, heavy: bool, seed: int = 5) -> Any:
    """Return a directed network of exactly so many arcs; followers uniform, or with a Pareto tail of exponent 1.5."""
    rng = np.random.default_rng(seed)
    appeal = rng.pareto(1.5, n) + 1.0 if heavy else np.ones(n)
    bounds = np.cumsum(appeal / appeal.sum())
    keys = np.empty(0, np.int64)
    while len(keys) < arcs:
        u = rng.integers(0, n, arcs)
        v = np.minimum(np.searchsorted(bounds, rng.random(arcs)), n - 1)
        keys = np.unique(np.concatenate([keys, (u * n + v)[u != v]]))
    keys = np.sort(rng.permutation(keys)[:arcs])
    return compact(sparse.csr_array((np.ones(arcs), (keys // n, keys % n)), shape=(n, n)))


def check_against_networkx(seed: int, n: int = 300) -> None:
    """Fail unless all eight agree with the definition, written out over a networkx graph."""
    graph = nx.gnp_random_graph(n, (1 + 3 * seed) / n, seed=seed, directed=True)
    degrees = {"in": dict(graph.in_degree()), "out": dict(graph.out_degree())}
    around = {"in": graph.predecessors, "out": graph.successors}
    middle = {"weak": statistics.fmean, "strong": statistics.median}
    found = directed_paradoxes(graph)
    for form, average in middle.items():
        for x, k in degrees.items():
            for where, neighbours in around.items():
                below = [k[u] < average([k[v] for v in near]) for u in graph if (near := list(neighbours(u)))]
                name, share = f"{form}_{x}_{where}", sum(below) / len(below)
                if abs(found[name] - share) > SAME:
                    raise AssertionError(f"{name}: {found[name]!r}, by definition {share!r}")

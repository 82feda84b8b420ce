"""Print the measured tables of this folder's README: python scenarios/matrix_games/compare.py

Deterministic: the same version gives the same figures. Runs go into a temporary folder; progress goes to stderr.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
from scipy import sparse

import simworld as sw
from simworld.scenario import load, resolve

SEEDS = range(10)
SETTINGS: dict[str, dict[str, Any]] = {
    "null policy": {"mind": "null"},
    "rules: PERSONA (default)": {},
    "the same, `--shuffle-personas`": {"shuffle_personas": True},
    "the same, `scope=agent`": {"scope": "agent"},
    "the same, `reputation=true`": {"reputation": True},
    "the same, stag hunt": {"game": "stag_hunt"},
    "the same, chicken": {"game": "chicken"},
    "TFT": {"strategies": "TFT"},
    "TFT, noise 0.05": {"strategies": "TFT", "noise": 0.05},
    "GTFT, noise 0.05": {"strategies": "GTFT", "noise": 0.05},
    "WSLS, noise 0.05": {"strategies": "WSLS", "noise": 0.05},
    "TFT, ALLD": {"strategies": "TFT, ALLD"},
    "TFT, ALLD, new match every round": {"strategies": "TFT, ALLD", "continuation": 0.0},
    "TFT, ALLD, new match every round, `reputation=true`": {
        "strategies": "TFT, ALLD",
        "continuation": 0.0,
        "reputation": True,
    },
}
METRICS = {
    "cooperation": "play.cooperation",
    "mean payoff": "play.mean_payoff",
    "efficiency": "play.efficiency",
    "Gini": "inequality.gini",
    "assortment": "cooperation.assortment",
    "trait A": "persona_effects.trait_A",
    "direct answering": "answering.direct",
}
ENTRANTS = "ALLC, ALLD, RANDOM, TFT, STFT, GTFT, WSLS, GRIM, JOSS, EXTORT, GENEROUS"
POPULATIONS = 2000


def side_by_side(graph: nx.Graph, k: int) -> Any:
    """Return k copies of a graph, each a population of its own."""
    return sparse.csr_array(sparse.block_diag([nx.to_scipy_sparse_array(graph)] * k))


CONSTANT = {"game": "table", "payoffs": "1.5,1.5;1,1"}
FIXATION: dict[str, tuple[nx.Graph, dict[str, Any]]] = {
    "well mixed, r = 1.5, moran": (nx.complete_graph(10), {"update": "moran", **CONSTANT}),
    "well mixed, r = 1, moran": (nx.complete_graph(10), {"update": "moran", "game": "table", "payoffs": "1,1;1,1"}),
    "star, r = 1.5, birth_death": (nx.star_graph(9), {"update": "birth_death", **CONSTANT}),
    "star, r = 1.5, death_birth": (nx.star_graph(9), {"update": "death_birth", **CONSTANT}),
}
FIXATION |= {
    f"cycle, k = 2, b/c = {b}, {update}": (
        nx.cycle_graph(10),
        {"update": update, "game": "table", "payoffs": f"{b - 1},-1;{b},0", "selection": 0.15},
    )
    for update in ("death_birth", "birth_death")
    for b in (1, 2, 3, 6)
}


def found(folder: Path, number: int, seed: int, **options: Any) -> pl.DataFrame:
    """Run once and return its findings."""
    run = sw.run(
        "matrix_games", seed=seed, out=folder / f"{number}-{seed}", state_every=0, log_moves=False, **options,
    )  # fmt: skip
    return run.findings.with_columns(metric=pl.col("observer") + "." + pl.col("metric"))


def of(findings: pl.DataFrame, metric: str, what: str = "value") -> float:
    rows = findings.filter(pl.col("metric") == metric)[what].to_list()
    return float(rows[0]) if rows else float("nan")


def spread(x: list[float], digits: int = 2) -> str:
    """Return mean (sd); nothing where there is no number."""
    known = np.array([v for v in x if np.isfinite(v)])
    return f"{known.mean():.{digits}f} ({known.std(ddof=1):.{digits}f})" if len(known) > 1 else ""


def play(folder: Path) -> Iterator[str]:
    """Yield the table of settings; in square brackets the closed form."""
    yield f"| | {' | '.join(METRICS)} |"
    yield "|---" * (len(METRICS) + 1) + "|"
    for number, (label, options) in enumerate(SETTINGS.items()):
        runs = [found(folder, number, seed, **options) for seed in SEEDS]
        cells = []
        for metric in METRICS.values():
            form = np.nanmean([of(r, metric, "closed_form") for r in runs]) if metric.startswith("play.") else np.nan
            cells.append(spread([of(r, metric) for r in runs]) + (f" [{form:.2f}]" if np.isfinite(form) else ""))
        yield f"| {label} | {' | '.join(cells)} |"
        sys.stderr.write(f"{label}\n")


def tournament(folder: Path) -> Iterator[str]:
    """Yield the table of a round robin, two of each strategy, 200 rounds."""
    levels = (0.0, 0.05)
    names = ENTRANTS.split(", ")
    runs = {
        noise: [
            found(folder, 100 + i, seed, n_agents=2 * len(names), tournament=True, strategies=ENTRANTS, noise=noise)
            for seed in SEEDS
        ]
        for i, noise in enumerate(levels)
    }
    yield "| points a round | " + " | ".join(f"noise {x:g} | closed form" for x in levels) + " |"
    yield "|---" * (1 + 2 * len(levels)) + "|"
    for name in sorted(names, key=lambda name: -of(runs[0.0][0], f"tournament.score_{name}", "closed_form")):
        metric = f"tournament.score_{name}"
        cells = [
            text
            for noise in levels
            for text in (
                spread([of(r, metric) for r in runs[noise]], 3),
                f"{of(runs[noise][0], metric, 'closed_form'):.3f}",
            )
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def fixation() -> Iterator[str]:
    """Yield the table of one mutant's chance to take over, many populations of ten side by side."""
    yield "| one ALLC among nine ALLD | fixation (standard error) | closed form | rounds to fixation | closed form |"
    yield "|---|---|---|---|---|"
    # Without a run's observers, which look at every step; nobody here reads a persona, so one serves all.
    world_class = load(resolve("matrix_games"))
    people = sw.sample_population(2, 1)[:1] * (10 * POPULATIONS)
    for label, (graph, options) in FIXATION.items():
        world = world_class(
            rng=1, graph=side_by_side(graph, POPULATIONS), personas=people, strategies="ALLC:1, ALLD:9", scope="agent",
            stop_at_fixation=True, log_moves=False, **options,
        )  # fmt: skip
        while world.running:
            world.step()
        measured = next(o for o in type(world).observers if getattr(o, "name", "") == "strategies")().conclude(world)
        of_metric = {f.metric: f for f in measured}
        rho, rounds = of_metric["fixation_ALLC"], of_metric["fixation_time"]
        error = np.sqrt(rho.value * (1 - rho.value) / POPULATIONS)
        forms = ["" if np.isnan(f.closed_form) else f"{f.closed_form:.{d}f}" for f, d in ((rho, 4), (rounds, 1))]
        yield f"| {label} | {rho.value:.4f} ({error:.4f}) | {forms[0]} | {rounds.value:.1f} | {forms[1]} |"
        sys.stderr.write(f"{label}\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for table in (play(Path(folder)), tournament(Path(folder)), fixation()):
            sys.stdout.write("\n".join(table) + "\n\n")
            sys.stdout.flush()

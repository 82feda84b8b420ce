"""Print the measured tables of this folder's README: python scenarios/indirect_reciprocity/compare.py

Deterministic: the same version gives the same figures. Runs go into a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import simworld as sw

SEEDS = range(20)
SETTINGS: dict[str, dict[str, Any]] = {
    "default: q = 0.7, 10 % defectors": {},
    "`known=0.5`": {"known": 0.5},
    "`known=0.3`": {"known": 0.3},
    "`defectors=0.01`": {"defectors": 0.01},
    "`noise=0.05`": {"noise": 0.05},
    "`--mind persona`": {"mind": "persona"},
    "`--mind persona --shuffle-personas`": {"mind": "persona", "shuffle_personas": True},
    "null": {"mind": "null"},
}
EVOLVING: dict[str, dict[str, Any]] = {
    "q = 1": {"known": 1.0},
    "q = 0.7": {},
    "q = 0.3": {"known": 0.3},
    "q = 0.1": {"known": 0.1},
}
SLOW = {"generation": 10, "steps": 500, "benefit": 5.0, "defectors": 0.2, "imitation": 0.2, "mutation": 0.002}


def cell(x: np.ndarray) -> str:
    return "–" if np.isnan(x).any() else f"{x.mean():.3f} ({x.std(ddof=1):.3f})"


def runs(options: dict[str, Any]) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        made = [
            sw.run("indirect_reciprocity", seed=seed, out=Path(folder) / str(seed), state_every=0, **options)
            for seed in SEEDS
        ]
        return [(run.metrics.to_dicts()[-1], {f["metric"]: f for f in run.findings.to_dicts()}) for run in made]


def line(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def heading(*cells: str) -> None:
    line(*cells)
    line(*["---"] * len(cells))


def main() -> None:
    heading(
        "setting", "donations", "closed form", "advantage", "closed form", "discrimination", "accuracy", "its null",
        "trait A",
    )  # fmt: skip
    for setting, options in SETTINGS.items():
        found = np.array([
            [
                f["donations"]["value"], f["donations"]["closed_form"], f["advantage"]["value"],
                f["advantage"]["closed_form"], f["discrimination"]["value"], f["accuracy"]["value"],
                f["accuracy"]["null_mean"], f["trait_A"]["value"],
            ]
            for _, f in runs(options)
        ], float)  # fmt: skip
        line(setting, *map(cell, found.T))
    sys.stdout.write("\n")
    heading("setting", "cooperators", "defectors", "discriminators", "donations")
    for setting, options in EVOLVING.items():
        names = ("cooperators", "defectors", "discriminators", "reputation.donations")
        found = np.array([[last[name] for name in names] for last, _ in runs({**SLOW, **options})], float)
        line(setting, *map(cell, found.T))


if __name__ == "__main__":
    main()

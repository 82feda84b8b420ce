"""Print the measured table of this folder's README: python scenarios/public_goods/compare.py

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
    "rules, partners": {},
    "rules, strangers": {"matching": "strangers"},
    "rules, partners, punishment": {"punishment": True},
    "rules, strangers, punishment": {"matching": "strangers", "punishment": True},
    "rules, partners, `--shuffle-personas`": {"shuffle_personas": True},
    "null": {"mind": "null"},
    "null, punishment": {"mind": "null", "punishment": True},
    "`--mind 'always(0)'`": {"mind": "always(0)"},
    "`--mind 'always(1)'`": {"mind": "always(1)"},
}


def figures(run: Any) -> list[float]:
    """Return first and last share, efficiency, punishment, antisocial punishment, and the effect of agreeableness."""
    course, last = run.metrics["contributions.last_share"], run.metrics.to_dicts()[-1]
    return [
        course[1], course[-1], last["contributions.efficiency"], last.get("contributions.punishment", np.nan),
        last.get("contributions.antisocial", np.nan), last["persona_effects.trait_A"],
    ]  # fmt: skip


def cell(x: np.ndarray) -> str:
    return "–" if np.isnan(x).any() else f"{x.mean():.3f} ({x.std(ddof=1):.3f})"


def line(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    line("setting", "share, round 1", "share, round 10", "efficiency", "punished", "antisocial", "trait A")
    line(*["---"] * 7)
    for number, (setting, options) in enumerate(SETTINGS.items()):
        with tempfile.TemporaryDirectory() as folder:
            found = np.array([
                figures(sw.run("public_goods", seed=seed, out=Path(folder) / f"{number}-{seed}", **options))
                for seed in SEEDS
            ], float)  # fmt: skip
        line(setting, *map(cell, found.T))


if __name__ == "__main__":
    main()

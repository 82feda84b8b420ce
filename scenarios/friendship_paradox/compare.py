"""Print the measured tables of this folder's README: python scenarios/friendship_paradox/compare.py

Deterministic: the same version gives the same figures. Runs go into a temporary folder; progress goes to stderr.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

import simworld as sw

SEEDS = range(20)
SETTINGS: dict[str, dict[str, Any]] = {
    "null policy": {"mind": "null"},
    "similarity (default: λ = 4, γ = 0)": {},
    "similarity × popularity (λ = 2, γ = 1)": {"homophily": 2.0, "attachment": 1.0},
    "visibility (λ = 4, v = 1)": {"visibility": 1.0},
    "sequential, fixed order": {"activation": "sequential"},
    "sequential, shuffled order": {"activation": "sequential", "agent_order": "shuffled"},
    "`rules=released_code`": {"rules": "released_code"},
    "control: one persona for all": {"cast": "one for all"},
    "control: posts are noise (`post_noise=5`)": {"post_noise": 5.0},
    "control: uniform among all who posted": {"homophily": 0.0, "follow_candidates": 100},
}
METRICS = {
    "FP(k_in, Out)": "friendship_paradox.{}_in_out",
    "FP(k_out, Out)": "friendship_paradox.{}_out_out",
    "GFP(posts)": "generalised_paradox.{}_posts",
    "GFP(interactions received)": "generalised_paradox.{}_interactions_received",
    "FP on w ≥ 2": "rare_contacts.{}_at_least_2",
}
THETAS = (0, 1, 2, 3, 4)


def one_persona(seed: int) -> list[sw.Persona]:
    """The sampled population, all with the topics and the politics of its first member: who is alike means nothing."""
    people = sw.sample_population(100, seed)
    first = people[0]
    return [p.model_copy(update={"preferences": first.preferences, "demographics": first.demographics}) for p in people]


def measure(folder: Path) -> pl.DataFrame:
    """Return every finding of every run: setting, seed, metric, value, null_mean, null_sd, gap."""
    frames: list[pl.DataFrame] = []
    for number, (setting, options) in enumerate(SETTINGS.items()):
        for seed in SEEDS:
            given = {**options, "cast": one_persona(seed)} if "cast" in options else options
            run = sw.run(
                "friendship_paradox", seed=seed, out=folder / f"{number}-{seed}", record_events=False, state_every=0,
                **given,
            )  # fmt: skip
            frames.append(
                run.findings.select(
                    pl.lit(setting).alias("setting"), pl.lit(seed).alias("seed"),
                    (pl.col("observer") + "." + pl.col("metric")).alias("metric"), "value", "null_mean", "gap",
                )
            )  # fmt: skip
        sys.stderr.write(f"{len(frames)} of {len(SETTINGS) * len(SEEDS)} runs: {setting}\n")
    return pl.concat(frames)


def interval(x: np.ndarray, digits: int = 2) -> str:
    """Return mean ± half width of the 95 % interval over the seeds with a number (Student's t)."""
    x = x[np.isfinite(x)]
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return f"{x.mean():.{digits}f} ± {half:.{digits}f}"


def column(found: pl.DataFrame, setting: str, metric: str, what: str = "value") -> np.ndarray:
    """Return a column by seed, shape (20,)."""
    rows = found.filter((pl.col("setting") == setting) & (pl.col("metric") == metric)).sort("seed")
    return rows[what].to_numpy()


def cell(found: pl.DataFrame, setting: str, metric: str) -> str:
    """Return the interval of a metric and, in brackets, the mean of its shuffle null."""
    value = column(found, setting, metric)
    if not len(value):
        return ""
    return f"{interval(value)} ({np.nanmean(column(found, setting, metric, 'null_mean')):.2f})"


def tables(found: pl.DataFrame) -> Iterator[str]:
    """Yield the lines of three Markdown tables."""
    for form in ("weak", "strong"):
        yield f"| {form} form | {' | '.join(METRICS)} |"
        yield "|---" * (len(METRICS) + 1) + "|"
        for setting in SETTINGS:
            cells = [cell(found, setting, pattern.format(form)) for pattern in METRICS.values()]
            yield f"| {setting} | {' | '.join(cells)} |"
        yield ""
    null, default, *others = SETTINGS
    pairs = [(s, null) for s in (default, *others)]
    pairs += [(s, default) for s in others if s.startswith(("sequential", "`rules", "control"))]
    yield "| difference, seed by seed | weak FP(k_in, Out) | strong FP(k_in, Out) | weak gap to shuffle | strong gap |"
    yield "|---|---|---|---|---|"
    for one, other in pairs:
        cells = [
            interval(column(found, one, metric, what) - column(found, other, metric, what))
            for what in ("value", "gap")
            for metric in ("friendship_paradox.weak_in_out", "friendship_paradox.strong_in_out")
        ]
        yield f"| {one} − {other.partition(' (')[0]} | {' | '.join(cells)} |"
    yield ""
    yield f"| rare contacts, θ = | {' | '.join(map(str, THETAS))} |"
    yield "|---" * (len(THETAS) + 1) + "|"
    for setting in list(SETTINGS)[:4]:
        for label, metric in (
            ("weak FP(w ≥ θ)", "weak_at_least"),
            ("weak FP(w ≤ θ)", "weak_at_most"),
            ("mean k_in of targets", "target_in_degree"),
        ):
            cells = [cell(found, setting, f"rare_contacts.{metric}_{theta}") for theta in THETAS]
            yield f"| {setting.partition(' (')[0]}: {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    sys.stdout.write("\n".join(tables(found)) + "\n")

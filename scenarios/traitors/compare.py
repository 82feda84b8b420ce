"""Print the measured tables of this folder's README: python scenarios/traitors/compare.py [GAMES] [SEEDS]

GAMES is how many a seed, 200 by default, SEEDS how many seeds, 5 by default. Deterministic: the same version gives the
same figures. Runs go into a temporary folder; progress goes to stderr.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import simworld as sw

SETTINGS: dict[str, dict[str, Any]] = {
    "rules (default)": {},
    "rules, nobody speaks (`talk=false`)": {"talk": False},
    "`rules=released_code`": {"rules": "released_code"},
    "control: personas shuffled": {"shuffle_personas": True},
    "traitors by rules, faithful by chance": {"seats": "faithful"},
    "faithful by rules, traitors by chance": {"seats": "traitors"},
    "null: uniform votes": {"mind": "null"},
    "null: a plain traitor bloc": {"mind": "bloc"},
}
TRAITORS = "7,8,9"
"""Seats of the traitors where the two sides have different minds; roles are uniform otherwise."""
VOTES = {
    "traitors win": "outcome.traitors_win", "TSR": "outcome.tsr", "FSR": "outcome.fsr", "rounds": "outcome.rounds",
    "TAS": "votes.tas", "FAS": "votes.fas", "FCR": "votes.fcr", "FCR, round 1": "votes.fcr_round_1", "DES": "votes.des",
    "VSF": "votes.vsf", "BRR": "votes.brr", "deception success": "votes.deception_success",
}  # fmt: skip
BELIEFS = {
    "P̄ on traitors": "beliefs.on_traitors", "IDR": "beliefs.idr", "Brier": "beliefs.brier",
    "Brier of the posterior": "beliefs.brier_of_posterior", "AUC": "beliefs.auc",
    "trust in traitors": "beliefs.trust_in_traitors", "trust in each other": "beliefs.trust_in_faithful",
    "drift": "beliefs.trust_drift",
    "lie rate": "deception.lie_rate", "of traitors": "deception.lie_rate_of_traitors",
    "of faithful": "deception.lie_rate_of_faithful", "belief in lies": "deception.belief_in_lies",
    "belief in sincere claims": "deception.belief_in_sincere_claims", "invalid": "votes.invalid",
    "abstentions": "votes.abstentions",
}  # fmt: skip
REPORTED = {
    "GPT-4o, 10 games *[reported]*": {"TAS": "1.00", "TSR": "0.93", "FCR": "0.10"},
    "DeepSeek-V3, 10 games *[reported]*": {"TAS": "1.00"},
    "GPT-4o-mini, 10 games *[reported]*": {"TAS": "1.00"},
}
"""Other cells of the published table are not known. TSR is a share of traitors, not the share of games won."""
EXACT = {
    "W of random play *[exact]*": {"traitors win": "0.931", "FCR, round 1": "0.333"},
    "uniform votes, 40,000 games *[exact]*": {
        "traitors win": "0.931", "TSR": "0.709", "FSR": "0.337", "FCR": "0.348", "FAS": "0.373", "rounds": "2.79",
    },
    "plain bloc, simulated *[exact]*": {"traitors win": "0.971", "TSR": "0.852", "FCR": "0.357", "rounds": "2.41"},
}  # fmt: skip


def call(options: dict[str, Any], games: int) -> dict[str, Any]:
    """Return the arguments of `simworld.run` for one setting."""
    by_chance = options.get("seats")
    if by_chance is None:
        return options
    agents = [a for a in range(10 * games) if (a % 10 >= 7) == (by_chance == "traitors")]
    return {"traitors": TRAITORS, "seats": {str(a): "null" for a in agents}}


def measure(folder: Path, games: int, seeds: int) -> pl.DataFrame:
    """Return every finding of every run: setting, seed, metric, value."""
    frames: list[pl.DataFrame] = []
    for number, (setting, options) in enumerate(SETTINGS.items()):
        for seed in range(seeds):
            run = sw.run(
                "traitors", seed=seed, games=games, out=folder / f"{number}-{seed}", record_events=False,
                state_every=0, **call(options, games),
            )  # fmt: skip
            metric = (pl.col("observer") + "." + pl.col("metric")).alias("metric")
            frames.append(
                run.findings.select(pl.lit(setting).alias("setting"), pl.lit(seed).alias("seed"), metric, "value")
            )
        sys.stderr.write(f"{len(frames)} of {len(SETTINGS) * seeds} runs: {setting}\n")
    return pl.concat(frames)


def cell(found: pl.DataFrame, setting: str, metric: str) -> str:
    """Return mean (sd) over the seeds; empty where a metric is not defined."""
    x = found.filter((pl.col("setting") == setting) & (pl.col("metric") == metric))["value"].to_numpy()
    x = x[np.isfinite(x)]
    if not len(x):
        return ""
    sd = f" ({x.std(ddof=1):.3f})" if len(x) > 1 else ""
    return f"{x.mean():.3f}{sd}" if abs(x.mean()) < 100 else f"{x.mean():,.0f}"


def table(found: pl.DataFrame, columns: dict[str, str], beside: dict[str, dict[str, str]]) -> Iterator[str]:
    """Yield the lines of one Markdown table."""
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for setting in SETTINGS:
        yield f"| {setting} | {' | '.join(cell(found, setting, m) for m in columns.values())} |"
    for row, known in beside.items():
        yield f"| {row} | {' | '.join(known.get(name, '') for name in columns)} |"


if __name__ == "__main__":
    games, seeds = (int(given) for given in (*sys.argv[1:3], *("200", "5")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), games, seeds)
    lines = [*table(found, VOTES, EXACT | REPORTED), "", *table(found, BELIEFS, {})]
    sys.stdout.write("\n".join(lines) + "\n")

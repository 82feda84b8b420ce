"""Print the measured tables of this folder's README: python scenarios/donor_game/compare.py [SEEDS]

SEEDS is how many, 20 by default. Deterministic: the same version gives the same figures. Runs go into a temporary
folder; progress goes to stderr.
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

FREE_RIDERS = {str(agent): "always(0)" for agent in range(4)}
SETTINGS: dict[str, dict[str, Any]] = {
    "rules (default)": {},
    "null policy: uniform": {"mind": "null"},
    "always ½": {"mind": "always(0.5)"},
    "copy, ½ at first": {"mind": "copy(0.5)"},
    "no conditioning (α = β = 0)": {"alpha": 0.0, "beta": 0.0},
    "drift: survivors at random": {"selection": "random"},
    "inheritance null: advice of random agents": {"inheritance": "random"},
    "`mu_mut=0.03`": {"mu_mut": 0.03},
    "`mu_mut=-0.03`": {"mu_mut": -0.03},
    "`multiplier=1.5`": {"multiplier": 1.5},
    "`multiplier=3`": {"multiplier": 3.0},
    "`trace_depth=1`": {"trace_depth": 1},
    "`noise=0.1`": {"noise": 0.1},
    "four who never give": {"seats": FREE_RIDERS},
    "four who never give, punishment": {"seats": FREE_RIDERS, "punishment": True},
    "punishment": {"punishment": True},
    "punishment, null policy": {"punishment": True, "mind": "null"},
    "partner choice, null policy": {"partner_choice": True, "mind": "null"},
    "`rules=released_code`": {"rules": "released_code"},
}
REPORTED = (
    ("mean final resources: Claude 3.5 Sonnet thousands, Gemini 1.5 Flash hundreds, GPT-4o tens", "level"),
    ("Claude runs with an initial mean donation of 50–54 % take off, with 44–47 % they do not", "take-off"),
    ("punishment raises Claude and lowers Gemini", "punishment"),
    ("share of punish moves: Gemini 14.29 %, GPT-4o 1.65 %, Claude 0.06 %", "punish rate"),
    ("multipliers 1.5 and 3 keep the ranking of models", "multiplier"),
    ("trace depth 1 weakens Claude and removes cooperation in Gemini", "trace"),
    ("new Claude agents give more than survivors, new GPT-4o agents less", "bias"),
    ("means per generation and per seed: not known", ""),
)
"""All [reported], but the last."""


def measure(folder: Path, seeds: int) -> pl.DataFrame:
    """Return every finding of every run: setting, seed, metric, value, null_mean, closed_form."""
    frames: list[pl.DataFrame] = []
    for number, (setting, options) in enumerate(SETTINGS.items()):
        for seed in range(seeds):
            run = sw.run(
                "donor_game", seed=seed, out=folder / f"{number}-{seed}", record_events=False, state_every=0, **options
            )
            frames.append(run.findings.select(
                pl.lit(setting).alias("setting"), pl.lit(seed).alias("seed"),
                (pl.col("observer") + "." + pl.col("metric")).alias("metric"), "value", "null_mean", "closed_form",
            ))  # fmt: skip
        sys.stderr.write(f"{len(frames)} of {len(SETTINGS) * seeds} runs: {setting}\n")
    return pl.concat(frames)


def column(found: pl.DataFrame, setting: str, metric: str, what: str = "value") -> np.ndarray:
    """Return a column by seed, shape (seeds,); empty where the metric was not measured."""
    rows = found.filter((pl.col("setting") == setting) & (pl.col("metric") == metric)).sort("seed")
    return rows[what].to_numpy()


def interval(x: np.ndarray, digits: int = 3) -> str:
    """Return mean ± half width of the 95 % interval over the seeds with a number (Student's t); empty without any."""
    x = x[np.isfinite(x)]
    if not len(x):
        return ""
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else float("nan")
    return f"{number(x.mean(), digits)} ± {number(half, digits)}"


def average(x: np.ndarray, digits: int = 0) -> str:
    """Return the mean of the seeds with a number; empty without any."""
    x = x[np.isfinite(x)]
    return number(x.mean(), digits) if len(x) else ""


def number(x: float, digits: int) -> str:
    """Return a number without a negative zero."""
    return f"{round(x, digits) + 0.0:,.{digits}f}"


def tables(found: pl.DataFrame) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    yield "| final generation | seeds | mean final | sd of seeds | shuffled shares | closed form | efficiency | Gini |"
    yield "|---" * 8 + "|"
    for setting in SETTINGS:
        final = column(found, setting, "generations.mean_final")
        yield "| " + " | ".join([
            setting, str(len(final)), interval(final, 0), f"{final.std(ddof=1):,.0f}" if len(final) > 1 else "",
            average(column(found, setting, "generations.mean_final", "null_mean")),
            average(column(found, setting, "generations.mean_final", "closed_form")),
            interval(column(found, setting, "generations.efficiency")),
            interval(column(found, setting, "generations.gini")),
        ]) + " |"  # fmt: skip
    yield ""
    yield "| shares given | opening | final generation | change | selection | newcomers − survivors | punished |"
    yield "|---" * 7 + "|"
    for setting in SETTINGS:
        metrics = ("share_opening", "share", "share_change", "selection", "inheritance_bias", "punish_rate")
        yield f"| {setting} | {' | '.join(interval(column(found, setting, f'generations.{m}')) for m in metrics)} |"
    yield ""
    yield "| reciprocity, lineage and traits: value (null) | direct | downstream | upstream | surviving roots | A | N |"
    yield "|---" * 7 + "|"
    metrics = (
        *(f"reciprocity_of_acts.{kind}" for kind in ("direct", "downstream", "upstream")), "lineage.surviving_roots",
        "traits.trait_A", "traits.trait_N",
    )  # fmt: skip
    for setting in SETTINGS:
        cells = []
        for metric in metrics:
            null = average(column(found, setting, metric, "null_mean"), 2)
            cells.append(interval(column(found, setting, metric), 2) + (f" ({null})" if null else ""))
        yield f"| {setting} | {' | '.join(cells)} |"
    yield ""
    yield "| reported [reported] | here, rules minus or beside |"
    yield "|---|---|"
    for words, what in REPORTED:
        yield f"| {words} | {here(found, what)} |"


def here(found: pl.DataFrame, what: str) -> str:
    """Return what stands beside a reported result: differences are seed by seed."""
    rules, final = "rules (default)", "generations.mean_final"
    values = column(found, rules, final)

    def minus(setting: str, other: str = rules, metric: str = final, digits: int = 0) -> str:
        return interval(column(found, setting, metric) - column(found, other, metric), digits)

    if what == "level":
        return f"rules {interval(values, 0)}; null {interval(column(found, 'null policy: uniform', final), 0)}"
    if what == "take-off":
        opening = column(found, rules, "generations.share_opening")
        test = stats.spearmanr(opening, values)
        words = "rank correlation over seeds of opening share and final resources"
        return f"{words} {test.statistic:.2f}, p {test.pvalue:.2f}"
    if what == "punishment":
        riders = minus("four who never give, punishment", "four who never give")
        null = minus("punishment, null policy", "null policy: uniform")
        return f"rules {minus('punishment')}; with four who never give {riders}; null {null}"
    if what == "punish rate":
        rate = "generations.punish_rate"
        rules, riders, null = (
            interval(column(found, f"{who}punishment{how}", rate))
            for who, how in (("", ""), ("four who never give, ", ""), ("", ", null policy"))
        )
        return f"rules {rules}; with four who never give {riders}; null {null}"
    if what == "multiplier":
        efficiency = "generations.efficiency"
        return "; ".join(f"m = {m}: efficiency {interval(column(found, s, efficiency))}" for m, s in (
            ("1.5", "`multiplier=1.5`"), ("2", rules), ("3", "`multiplier=3`"),
        ))  # fmt: skip
    if what == "trace":
        return f"{minus('`trace_depth=1`')}; share {minus('`trace_depth=1`', metric='generations.share', digits=3)}"
    if what == "bias":
        bias = "generations.inheritance_bias"
        signs = (("0.03", "`mu_mut=0.03`"), ("0", rules), ("−0.03", "`mu_mut=-0.03`"))
        return "; ".join(f"mu_mut {mu}: {interval(column(found, s, bias))}" for mu, s in signs)
    return ""


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    sys.stdout.write("\n".join(tables(measured)) + "\n")

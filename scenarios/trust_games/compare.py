"""Print the tables of this folder's README: python scenarios/trust_games/compare.py [RUN ...]

Rules and null over twenty seeds: mean (sd over seeds). Then the folders of recorded runs that are named: value and its
interval over personas. Then what is reported. The same version gives the same figures. Runs go into a temporary folder;
progress goes to stderr.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import simworld as sw

_SPEC = importlib.util.spec_from_file_location("trust_games_reported", Path(__file__).with_name("reported.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
reported = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(reported)

SEEDS = range(20)
BANK = 300
"""Personas in the consistency study here; the study has 3,505 [code]."""
BATTERY_ROWS = {
    "trust_sent": "Trust: mean sent of $10",
    "trust_returned_share": "Trust: share returned",
    "dictator_sent": "Dictator: mean sent of $10",
    "map_trust_least_p": "MAP trust: least p",
    "risky_dictator_least_p": "Risky dictator: least p",
    "lottery_people_rate": "Lottery, people: trust rate",
    "lottery_gamble_rate": "Lottery, gamble: trust rate",
    "repeated_trust_sent": "Repeated: mean sent of $10",
    "returns_exceed_sent": "Repeated: returns exceed sent, share of pairs",
    "stable_share": "Repeated: stable ratio, share of pairs",
    "no_swings": "Repeated: no frequent swings, share of pairs",
}
SLUGS = {"NOCTX+TR": "noctx_tr", "CTX+TR": "ctx_tr", "CTX+$": "ctx_usd"}
CONSISTENCY = {
    "rules": {},
    "rules, say_do_noise=1": {"say_do_noise": 1.0},
    "null": {"mind": "null"},
}


def findings(folder: Path, seeds: Sequence[int], **call: Any) -> pl.DataFrame:
    """Return the findings of one run a seed, with a column ``seed``."""
    frames = []
    for seed in seeds:
        run = sw.run("trust_games", seed=seed, out=folder / f"{len(list(folder.iterdir()))}", state_every=0,
                     record_events=False, **call)  # fmt: skip
        frames.append(run.findings.with_columns(pl.lit(seed).alias("seed")))
    sys.stderr.write(f"{len(seeds)} runs of {call or 'the battery'}\n")
    return pl.concat(frames)


def cell(found: pl.DataFrame, metric: str, *, with_n: bool = False, digits: int = 2) -> str:
    """Return mean (sd over seeds) of a metric, or its value in a single run, with N and VRR where they are kept."""
    rows = found.filter(pl.col("metric") == metric)
    x = rows["value"].to_numpy()
    x = x[np.isfinite(x)]
    if not len(x):
        return ""
    inside = re.search(r"95 % over personas (\S+ to [^\s;]+)", rows["note"][0])
    spread = f" ({x.std(ddof=1):.{digits}f})" if len(x) > 1 else f" ({inside[1]})" if inside else ""
    game = metric.rpartition("_")[0]
    vrr = found.filter(pl.col("metric") == f"{game}_vrr")["value"].mean() if with_n else None
    told = f"; N {rows['n'].mean():.0f}, VRR {vrr:.2f}" if vrr is not None else ""
    return f"{x.mean():.{digits}f}{spread}{told}"


def theory(found: pl.DataFrame, metric: str) -> str:
    """Return the closed form of a metric."""
    x = found.filter(pl.col("metric") == metric)["closed_form"].to_numpy()
    return f"{x[0]:.2f}" if len(x) and np.isfinite(x[0]) else ""


def said(metric: str, who: str) -> str:
    """Return a reported value with its tag."""
    value = reported.BATTERY.get(metric, {}).get(who)
    return "" if value is None else f"{value[0]:g} {value[1]}"


def battery(folder: Path, runs: Sequence[sw.Run]) -> Iterator[str]:
    """Yield the lines of the table of the battery."""
    columns = {
        "rules": findings(folder, SEEDS), "null": findings(folder, SEEDS, mind="null"),
        **{run.path.name: run.findings for run in runs},
    }  # fmt: skip
    people = ("people", "gpt-4", "gpt-3.5")
    yield f"| | {' | '.join(columns)} | selfish play | {' | '.join(people)} |"
    yield "|---" * (len(columns) + len(people) + 2) + "|"
    for metric, words in BATTERY_ROWS.items():
        ours = [cell(found, metric, with_n=True) for found in columns.values()]
        yield f"| {words} | {' | '.join(ours)} | {theory(columns['rules'], metric)} | {
            ' | '.join(said(metric, who) for who in people)
        } |"


def consistency(folder: Path, runs: Sequence[sw.Run]) -> Iterator[str]:
    """Yield the lines of the table of the consistency study: median |Δη²| / median ρ over attributes."""
    columns = {
        name: findings(folder, SEEDS, study="consistency", n_agents=BANK, **call) for name, call in CONSISTENCY.items()
    }
    columns |= {run.path.name: run.findings for run in runs}
    yield f"| median | {' | '.join(columns)} | permuted personas | {' | '.join(reported.MODELS)} |"
    yield "|---" * (len(columns) + len(reported.MODELS) + 2) + "|"
    for strategy, slug in SLUGS.items():
        for i, what in enumerate(("gap", "rho")):
            metric = f"median_{what}_{slug}"
            digits = 3 if what == "gap" else 2
            ours = [cell(found, metric, digits=digits) for found in columns.values()]
            null = columns["rules"].filter(pl.col("metric") == metric)["null_mean"].mean()
            theirs = [f"{cells[i]:.2f}" for cells in reported.MEDIANS[strategy]]
            yield f"| {'Δη²' if what == 'gap' else 'ρ'}, {strategy} | {' | '.join(ours)} | {null:.{digits}f} | {
                ' | '.join(theirs)
            } |"
    for kind in (1, 3, 5):
        metric = f"mae_M{kind}"
        ours = [cell(found, metric) for found in columns.values()]
        null = columns["rules"].filter(pl.col("metric") == metric)["null_mean"].mean()
        yield f"| MAE of forecasts, M{kind} | {' | '.join(ours)} | {null:.2f} | | | |"


def traits(folder: Path) -> Iterator[str]:
    """Yield the lines of the table of traits: rank correlation with the amount sent in Trust."""
    trust: dict[str, Any] = {"games": "trust", "n_agents": 150}
    columns = {
        "rules": findings(folder, SEEDS, **trust),
        "rules, `--shuffle-personas`": findings(folder, SEEDS, shuffle_personas=True, **trust),
        "null": findings(folder, SEEDS, mind="null", **trust),
    }
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for metric in ("trait_A", "trait_E", "trait_N", "trait_O", "trait_age", "trait_C", "trait_A_of_trustee"):
        yield f"| `{metric}` | {' | '.join(cell(found, metric) for found in columns.values())} |"


if __name__ == "__main__":
    given = [sw.load_run(path) for path in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as made:
        for table, study in ((battery, "battery"), (consistency, "consistency")):
            mine = [run for run in given if run.manifest["plan"]["params"]["study"] == study]
            sys.stdout.write("\n".join(table(Path(made), mine)) + "\n\n")
        sys.stdout.write("\n".join(traits(Path(made))) + "\n")

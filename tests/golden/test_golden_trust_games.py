"""The digest of `trust_games` is the same today as it was, by rules and by chance, and so are its prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.run import Run, rehearse

CALLS: dict[str, dict[str, Any]] = {
    "trust_games": {},
    "trust_games-null": {"mind": "null"},
    "trust_games-consistency": {"study": "consistency", "conditioning": "weak", "say_do_noise": 0.5},
    "trust_games-released_code": {"rules": "released_code"},
}
SHORT: dict[str, Any] = {"seed": 1, "n_agents": 12}


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    done = run.events.filter(pl.col("kind").is_in(["send", "return", "choose", "believe", "forecast"]))
    first = done.group_by("step", maintain_order=True).head(2)
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "what was done": [
            f"{r['step']} {r['kind']} {r['agent']}>{r['target']} #{r['item']} {r['value']!r}"
            for r in first.iter_rows(named=True)
        ],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f["value"]), repr(f["null_mean"]), repr(f["closed_form"])]
            for f in run.findings.to_dicts()
        },
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    golden(name, portrait(sw.run("trust_games", out=tmp_path / "run", **SHORT, **CALLS[name])))


def test_prompts_are_what_they_were(golden: Callable[[str, Any], None]) -> None:
    shown: dict[str, Any] = {}
    variants: list[dict[str, Any]] = [
        {},
        {"chain_of_thought": False, "partner": "model", "partner_gender": "woman", "instruction": "must_not_trust"},
        {"study": "consistency", "conditioning": "own"},
    ]
    for params in variants:
        found = rehearse("trust_games", params={**params, "n_agents": 8}, seed=1, models=("local/scripted",))
        for decision, (step, agent, prompt) in found.samples.items():
            shown.setdefault(decision, {
                "step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines(),
            })  # fmt: skip
    assert set(shown) == {
        "Send", "SendPlainly", "Return", "Choose", "ChoosePlainly", "Forecast", "Rank", "Estimate",
    }  # fmt: skip
    golden("trust_games-prompts", shown)

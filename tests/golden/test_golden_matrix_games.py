"""The digest of `matrix_games` is the same today as it was, by rules and by chance, and so are its prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
from simworld.run import Run, rehearse

CALLS: dict[str, dict[str, Any]] = {
    "matrix_games": {},
    "matrix_games-null": {"mind": "null"},
    "matrix_games-agent": {"scope": "agent", "strategies": "PERSONA, WSLS", "noise": 0.05, "reputation": True},
    "matrix_games-tournament": {
        "n_agents": 8, "tournament": True, "strategies": "TFT, GTFT, EXTORT, ALLD", "noise": 0.05, "continuation": 0.9,
    },
    "matrix_games-fermi": {
        "game": "chicken", "strategies": "ALLC, ALLD, TFT", "update": "fermi", "generation": 3, "mutation": 0.02,
    },
    "matrix_games-moran": {"graph": "caveman_graph:l=6,k=5", "strategies": "ALLC, ALLD", "update": "moran"},
}  # fmt: skip
SHORT: dict[str, Any] = {"seed": 1, "steps": 12, "n_agents": 20}


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "first events": [f"{s} {kind} {a}>{t} {v:g}" for s, kind, a, t, _, v, *_ in run.events.head(12).iter_rows()],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f[name]) for name in ("value", "null_mean", "closed_form")]
            for f in run.findings.to_dicts()
        },
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    call = {**SHORT, **CALLS[name]}
    if "graph" in call:
        del call["n_agents"]
    golden(name, portrait(sw.run("matrix_games", out=tmp_path / "run", **call)))


@pytest.mark.parametrize("scope", ["tie", "agent"])
def test_prompts_are_what_they_were(scope: str, golden: Callable[[str, Any], None]) -> None:
    params = {"scope": scope, "reputation": True, "noise": 0.05, "n_agents": 6}
    params |= {"continuation": 0.9} if scope == "tie" else {"game": "stag_hunt"}
    found = rehearse("matrix_games", params=params, seed=1, steps=3, models=("local/scripted",))
    shown = {
        decision: {"step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines()}
        for decision, (step, agent, prompt) in found.samples.items()
    }
    assert set(shown) == {"Move"}
    golden(f"matrix_games-prompts-{scope}", shown)

"""The digest of `donor_game` is the same as it was, by rules, by chance and by a script, and so are its prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
from simworld.run import Run, rehearse

VARIANTS: dict[str, Any] = {"punishment": True, "partner_choice": True}
CALLS: dict[str, dict[str, Any]] = {
    "donor_game": {},
    "donor_game-null": {"mind": "null", "noise": 0.2, **VARIANTS},
    "donor_game-released_code": {"rules": "released_code"},
    "donor_game-scripted": {"mind": "copy(0.4)", "seats": {"0": "always(0)", "1": "always(1)"}, **VARIANTS},
}
SHORT: dict[str, Any] = {"seed": 1, "generations": 3, "rounds": 4, "n_agents": 8}


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    strategies = run.events.filter(run.events["kind"] == "strategy")
    log = run.state(table="moves").sort("id").head(8)
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "strategies": [f"{e['agent']}<{e['target']}: {e['text']}" for e in strategies.to_dicts()],
        "first moves": [
            f"{m['round']} {m['donor']}>{m['recipient']} {m['kind']} {m['amount']!r}" for m in log.to_dicts()
        ],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f["value"]), repr(f["null_mean"]), repr(f["closed_form"])]
            for f in run.findings.to_dicts()
        },
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    golden(name, portrait(sw.run("donor_game", out=tmp_path / "run", **SHORT, **CALLS[name])))


def test_prompts_are_what_they_were(golden: Callable[[str, Any], None]) -> None:
    params = {"generations": 2, "rounds": 3, "n_agents": 4, "noise": 0.1, **VARIANTS}
    found = rehearse("donor_game", params=params, seed=1, steps=12, models=("local/scripted",))
    assert set(found.samples) == {"Strategy", "Move"}
    shown = {
        decision: {"step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines()}
        for decision, (step, agent, prompt) in found.samples.items()
    }
    golden("donor_game-prompts", shown)

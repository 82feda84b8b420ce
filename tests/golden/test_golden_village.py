"""The digest of `village` is the same today as it was, by rules and by chance, and so are the prompts of its people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.run import Run, rehearse

CALLS: dict[str, dict[str, Any]] = {
    "village": {},
    "village-null": {"mind": "null"},
    "village-released_code": {"rules": "released_code"},
}
SHORT: dict[str, Any] = {"seed": 1, "steps": 14, "party_day": 1, "memory": {"reflect_at": 4.0}}
"""From 07:00 to 09:20; people look back sooner than they would, so that the golden files hold insights."""


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    told = run.events.filter(pl.col("kind").is_in(["seed", "tell", "decide to go", "decide not to go"])).head(12)
    memories = run.memory.filter(pl.col("op") == "add")
    thoughts = memories.filter(pl.col("kind") == "reflection").head(6)
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "memories by kind": dict(memories.group_by("kind").len().sort("kind").iter_rows()),
        "what was told": [f"{s} {kind} {a}>{t} #{i} {text[:60]}" for s, kind, a, t, i, _, text, _ in told.iter_rows()],
        "thoughts": [f"{r['step']} {r['agent']}: {r['text']} [{r['refs']}]" for r in thoughts.iter_rows(named=True)],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f["value"]), repr(f["null_mean"])] for f in run.findings.to_dicts()
        },
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    golden(name, portrait(sw.run("village", out=tmp_path / "run", **SHORT, **CALLS[name])))


def test_prompts_are_what_they_were(golden: Callable[[str, Any], None]) -> None:
    found = rehearse(
        "village", params={"party_day": 1}, memory={"reflect_at": 4.0}, seed=1, steps=12, models=("local/scripted",),
        cast="village",
    )  # fmt: skip
    assert set(found.samples) == {"Plan", "Meet", "Talk", "Attend", "Reflection"}
    shown = {
        decision: {"step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines()}
        for decision, (step, agent, prompt) in found.samples.items()
    }
    golden("village-prompts", shown)

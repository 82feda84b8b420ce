"""The digest of `traitors` is the same today as it was, by rules and by chance, and so are its prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.run import Run, rehearse

CALLS: dict[str, dict[str, Any]] = {
    "traitors": {},
    "traitors-null": {"mind": "null"},
    "traitors-bloc": {"mind": "bloc", "games": 3},
    "traitors-released_code": {"rules": "released_code", "judge": True},
}
SHORT: dict[str, Any] = {"seed": 1, "n_players": 7, "n_traitors": 2}


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    course = run.events.filter(pl.col("kind").is_in(["vote", "banished", "murdered", "eliminated", "end"])).head(24)
    said = run.events.filter(pl.col("kind") == "say").head(20)
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "course": [f"{r['step']} {r['kind']} {r['agent']}>{r['target']} {r['text']}" for r in course.to_dicts()],
        "said": [f"{r['agent']}: {r['text'][:80]}" for r in said.to_dicts()],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f["value"]), repr(f["null_mean"]), repr(f["closed_form"])]
            for f in run.findings.to_dicts()
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    golden(name, portrait(sw.run("traitors", out=tmp_path / "run", **SHORT, **CALLS[name])))


def test_prompts_are_what_they_were(golden: Callable[[str, Any], None]) -> None:
    found = rehearse(
        "traitors", params={"n_players": 7, "n_traitors": 2, "judge": True}, seed=2, steps=2,
        models=("local/scripted",),
    )  # fmt: skip
    assert set(found.samples) == {"Speak", "Note", "Vote", "Confer", "Night", "Judge"}
    shown = {
        decision: {"step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines()}
        for decision, (step, agent, prompt) in found.samples.items()
    }
    golden("traitors-prompts", shown)

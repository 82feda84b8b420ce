"""The digest of `friendship_paradox` is the same today as it was: byte for byte, in both orders and by both rules.

Beside the digest stand its parts, the first events and the last metrics, so that a change can be read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.run import Run

CALLS: dict[str, dict[str, Any]] = {
    "friendship_paradox": {},
    "friendship_paradox-sequential": {"activation": "sequential", "agent_order": "shuffled"},
    "friendship_paradox-released_code": {"rules": "released_code"},
    "friendship_paradox-null": {"mind": "null"},
}


def portrait(run: Run) -> dict[str, Any]:
    """Return what tells one run from another, small enough to read in a diff."""
    kinds = run.events.group_by("kind").len().sort("kind")
    first = run.events.filter(pl.col("step") <= 2).head(12)
    return {
        "digest": run.digest,
        "parts": run.manifest["parts"],
        "events by kind": dict(kinds.iter_rows()),
        "first events": [f"{s} {kind} {a}>{t} #{i} {text[:60]}" for s, kind, a, t, i, _, text, _ in first.iter_rows()],
        "last metrics": {name: repr(v) for name, v in run.metrics.tail(1).to_dicts()[0].items()},
        "findings": {
            f"{f['observer']}.{f['metric']}": [repr(f["value"]), repr(f["null_mean"])] for f in run.findings.to_dicts()
        },
    }


@pytest.mark.parametrize("name", CALLS)
def test_the_run_is_what_it_was(name: str, golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    run = sw.run("friendship_paradox", seed=1, n_agents=24, steps=5, out=tmp_path / "run", **CALLS[name])
    golden(name, portrait(run))

"""Every shipped campaign is planned, is small, and measures what it says."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import simworld as sw
from simworld.sweep import plan, read_campaign

REPO = Path(__file__).parents[2]
FILES = sorted((REPO / "scenarios").glob("*/sweeps/*.toml"))

each = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}-{file.stem}")


def test_there_is_one_for_each_study_that_was_promised() -> None:
    assert {file.parts[-3] for file in FILES} >= {"donor_game", "friendship_paradox", "village", "traitors"}


@each
def test_it_is_planned_and_small(file: Path, tmp_path: Path) -> None:
    campaign = read_campaign(file)
    ready = plan(file, out=tmp_path / "campaign")
    assert campaign.scenario == file.parts[-3]
    assert campaign.title
    assert campaign.outcome in {measure.column for measure in campaign.measures}
    assert 1 < len(ready.points) * campaign.replicates <= 120
    assert file.read_text("utf-8").startswith("# ")  # what it asks, and how long it takes
    readme = (file.parent.parent / "README.md").read_text("utf-8")
    assert f"simworld sweep scenarios/{campaign.scenario}/sweeps/{file.name}" in readme


@each
def test_its_first_and_last_point_measure_what_it_says(file: Path, tmp_path: Path) -> None:
    campaign = read_campaign(file)
    ready = plan(file, out=tmp_path / "all")
    ends = (ready.points[0], ready.points[-1])
    few = campaign.model_dump() | {
        "replicates": 1, "steps": 6, "design": {"kind": "points", "points": ends},
    }  # fmt: skip
    found = sw.sweep(few, executor="here", out=tmp_path / "campaign")
    assert found.results["error"].to_list() == ["", ""]
    assert set(found.measures) == {measure.column for measure in campaign.measures}
    assert found.results.select(pl.col(campaign.outcome).is_finite().all()).item()
    assert set(campaign.series) <= set(found.series.columns)

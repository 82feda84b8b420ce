"""Finding the lab: the user's own, else the one that comes with the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

import simworld
from simworld.scenario import bundled_lab, find_lab

CHECKOUT = Path(simworld.__file__).resolve().parents[1]


def test_the_nearest_folder_with_scenarios_is_the_lab(tmp_path: Path) -> None:
    deep = tmp_path / "mine" / "scenarios" / "game" / "prompts"
    deep.mkdir(parents=True)
    (tmp_path / "scenarios").mkdir()
    lab = find_lab(deep)
    assert lab.root == tmp_path / "mine"
    assert (lab.scenarios, lab.agents) == (lab.root / "scenarios", lab.root / "agents")
    assert lab.runs == tmp_path / "mine" / "runs"
    assert not lab.is_bundled


def test_the_working_directory_is_where_the_search_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path / "notes")
    assert find_lab().root == tmp_path


def test_a_file_stands_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    file = tmp_path / "scenarios" / "x.py"
    file.write_text("")
    assert find_lab(file).root == tmp_path


def test_without_a_lab_the_bundled_one_stands_in_and_runs_stay_here(tmp_path: Path) -> None:
    lab = find_lab(tmp_path)
    assert lab.is_bundled
    assert lab.root == CHECKOUT
    assert lab.runs == tmp_path / "runs"
    assert lab == bundled_lab(tmp_path)


def test_inside_the_checkout_runs_go_to_its_own_folder() -> None:
    lab = find_lab(CHECKOUT / "tests")
    assert lab.is_bundled
    assert lab.runs == CHECKOUT / "runs"


def test_a_file_called_scenarios_makes_no_lab(tmp_path: Path) -> None:
    (tmp_path / "scenarios").write_text("")
    assert find_lab(tmp_path).is_bundled

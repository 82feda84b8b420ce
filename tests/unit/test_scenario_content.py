"""Casts and recipes by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from simworld.errors import PersonaError
from simworld.scenario import Lab, find_cast, find_lab, find_recipe, list_casts, list_recipes


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    bundled = tmp_path / "bundled"
    for file in (
        "mine/scenarios/x.py",
        "mine/agents/casts/village.toml",
        "mine/agents/casts/study/pilot.jsonl",
        "mine/agents/casts/notes.txt",
        "mine/agents/casts/.hidden/x.toml",
        "mine/agents/recipes/students.toml",
        "bundled/scenarios/x.py",
        "bundled/agents/casts/village.jsonl",
        "bundled/agents/casts/town.json",
        "bundled/agents/recipes/adults.toml",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.setattr("simworld.scenario._lab._bundled_root", lambda: bundled)
    monkeypatch.chdir(tmp_path / "mine")
    return find_lab()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("village", "mine/agents/casts/village.toml"),
        ("village.toml", "mine/agents/casts/village.toml"),
        ("village.jsonl", "bundled/agents/casts/village.jsonl"),
        ("study/pilot", "mine/agents/casts/study/pilot.jsonl"),
        ("town", "bundled/agents/casts/town.json"),
        ("agents/casts/village.toml", "mine/agents/casts/village.toml"),
        ("agents/casts/town.json", "bundled/agents/casts/town.json"),
        ("../bundled/agents/casts/town.json", "bundled/agents/casts/town.json"),
    ],
)
def test_a_cast_by_name_or_path(lab: Lab, tmp_path: Path, name: str, file: str) -> None:
    assert find_cast(name, lab) == tmp_path / file


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("vilage", r"^no cast 'vilage' in this lab; did you mean 'village'\? \(looked in agents/casts"),
        ("zzz", r"^no cast 'zzz' in this lab \(looked in"),
        ("", r"^no cast '' in this lab"),
        ("students", r"^no cast 'students'"),
        ("x" * 5000, r"^no cast"),
        ("agents/casts/notes.txt", r"is not a \.toml, \.jsonl, \.json file"),
        ("agents/casts", r"^no cast"),
    ],
)
def test_no_such_cast(lab: Lab, name: str, says: str) -> None:
    with pytest.raises(PersonaError, match=says):
        find_cast(name, lab)


def test_two_files_of_one_name(lab: Lab) -> None:
    (lab.agents / "casts" / "village.json").write_text("")
    with pytest.raises(
        PersonaError, match=r"cast 'village' is both .*village\.json and .*village\.toml; give the name with"
    ):
        find_cast("village", lab)
    assert find_cast("village.json", lab).suffix == ".json"


def test_listing(lab: Lab, tmp_path: Path) -> None:
    cards = list_casts(lab)
    assert [(card.name, card.is_bundled) for card in cards] == [
        ("study/pilot", False),
        ("village", False),
        ("town", True),
    ]
    assert cards[1].shadows == tmp_path / "bundled" / "agents" / "casts" / "village.jsonl"
    assert [card.name for card in list_recipes(lab)] == ["students", "adults"]


def test_recipes(lab: Lab) -> None:
    assert find_recipe("adults", lab).name == "adults.toml"
    with pytest.raises(PersonaError, match=r"no recipe 'adult' in this lab; did you mean 'adults'\?"):
        find_recipe("adult", lab)


def test_a_lab_without_agents(tmp_path: Path) -> None:
    (tmp_path / "bare" / "scenarios").mkdir(parents=True)
    assert [card for card in list_casts(find_lab(tmp_path / "bare")) if not card.is_bundled] == []

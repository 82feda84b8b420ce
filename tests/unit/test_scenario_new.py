"""Copying the bundled lab out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from simworld.errors import StorageError, UsageError
from simworld.scenario import Lab, find_lab, list_scenarios, new_lab


@pytest.fixture
def source(tmp_path: Path) -> Lab:
    for file in (
        "scenarios/game/world.py",
        "scenarios/game/prompts/a.md",
        "scenarios/game/__pycache__/world.pyc",
        "scenarios/.keep",
        "agents/casts/village.toml",
    ):
        path = tmp_path / "engine" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {file}\n")
    return find_lab(tmp_path / "engine")


MADE = [
    "README.md",
    "agents/casts/village.toml",
    "runs/README.md",
    "scenarios/game/prompts/a.md",
    "scenarios/game/world.py",
]


def _tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_new_lab(source: Lab, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    made = new_lab(target, source=source)
    assert [path.relative_to(target).as_posix() for path in made] == MADE == _tree(target)
    assert (target / "scenarios/game/world.py").read_text() == "# scenarios/game/world.py\n"
    assert find_lab(target).root == target
    readme = (target / "README.md").read_text()
    assert sum(line.startswith("    simworld ") for line in readme.splitlines()) == 3
    assert sorted(os.listdir(tmp_path)) == ["engine", "mine"]
    assert target.stat().st_mode & 0o777 == source.root.stat().st_mode & 0o777


def test_the_bundled_lab_is_the_default(tmp_path: Path) -> None:
    new_lab(tmp_path / "mine")
    lab = find_lab(tmp_path / "mine")
    assert not lab.is_bundled
    assert lab.agents.is_dir()
    assert lab.runs.is_dir()
    assert not any(card.is_bundled for card in list_scenarios(lab))


def test_the_working_directory_can_become_one(source: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    inode = here.stat().st_ino
    monkeypatch.chdir(here)
    new_lab(Path("."), source=source)
    assert _tree(here) == MADE
    assert here.stat().st_ino == inode  # the shell that stands in it still does


def test_a_folder_that_holds_something_is_refused(source: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"^'mine' is not empty; name a new folder, or .* --force$"):
        new_lab(Path("mine"), source=source)
    assert _tree(tmp_path / "mine") == ["thesis.tex"]


def test_force_adds_and_never_overwrites(source: Lab, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    (target / "scenarios" / "game").mkdir(parents=True)
    (target / "scenarios" / "game" / "world.py").write_text("mine")
    (target / "README.md").write_text("mine")
    made = new_lab(target, force=True, source=source)
    assert (target / "scenarios" / "game" / "world.py").read_text() == "mine"
    assert (target / "README.md").read_text() == "mine"
    assert [path.relative_to(target).as_posix() for path in made] == [
        "agents/casts/village.toml",
        "runs/README.md",
        "scenarios/game/prompts/a.md",
    ]
    assert _tree(target) == MADE


def test_other_targets_that_cannot_be(source: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file' is a file; name a folder that does not exist yet"):
        new_lab(tmp_path / "file", source=source)
    with pytest.raises(UsageError, match=r"^no folder '.*gone' to make 'mine' in; create it first$"):
        new_lab(tmp_path / "gone" / "mine", source=source)


def test_a_copy_of_read_only_files_can_be_edited(source: Lab, tmp_path: Path) -> None:
    file = source.scenarios / "game" / "world.py"
    file.chmod(0o444)
    new_lab(tmp_path / "mine", source=source)
    assert (tmp_path / "mine" / "scenarios" / "game" / "world.py").stat().st_mode & 0o200


def test_a_failure_leaves_nothing(source: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copyfile

    def full_disk(src: Path, dst: Path) -> None:
        if Path(src).suffix == ".toml":
            raise OSError(28, "No space left on device", str(dst))
        copy(src, dst)

    monkeypatch.setattr(shutil, "copyfile", full_disk)
    with pytest.raises(StorageError, match=r"No space left on device.*village\.toml.*nothing was left"):
        new_lab(tmp_path / "mine", source=source)
    assert sorted(os.listdir(tmp_path)) == ["engine"]


def test_a_failure_half_way_into_a_folder_takes_everything_back(source: Lab, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "scenarios").write_text("a file where a folder must be")
    with pytest.raises(StorageError, match="File exists"):
        new_lab(target, force=True, source=source)
    assert os.listdir(target) == ["scenarios"]

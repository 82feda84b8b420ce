"""Mounting: content folders as packages that nothing else can be confused with."""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

from simworld.errors import UsageError
from simworld.scenario import mount
from simworld.scenario.mounted import MOUNTS_VARIABLE, lab_id, package_of


@pytest.fixture(autouse=True)
def _no_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as it is for a user
    monkeypatch.setenv(MOUNTS_VARIABLE, "")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_relative_imports_across_folders_without_init(tmp_path: Path) -> None:
    _write(tmp_path / "scenarios/game/world.py", "from .rules import a\nfrom . import deep\nfrom ..other import b\n")
    _write(tmp_path / "scenarios/game/rules.py", "from ...agents.people import a\n")
    _write(tmp_path / "scenarios/game/deep/leaf.py", "")
    _write(tmp_path / "scenarios/other.py", "b = 2\n")
    _write(tmp_path / "agents/people.py", "a = 1\n")
    world = import_module(f"{mount(tmp_path)}.scenarios.game.world")
    assert (world.a, world.b) == (1, 2)
    assert world.__file__ == str(tmp_path / "scenarios/game/world.py")


def test_an_init_is_honoured(tmp_path: Path) -> None:
    _write(tmp_path / "pack/__init__.py", "from .part import x\n")
    _write(tmp_path / "pack/part.py", "x = 4\n")
    assert import_module(f"{mount(tmp_path)}.pack").x == 4


def test_two_labs_with_a_scenario_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number, place in enumerate(("one/lab", "two/lab")):
        _write(tmp_path / place / "scenarios/game.py", f"number = {number}\n")
    first, second = (mount(tmp_path / place) for place in ("one/lab", "two/lab"))
    assert first != second
    assert [import_module(f"{package}.scenarios.game").number for package in (first, second)] == [0, 1]


def test_a_foreign_package_called_agents_is_neither_hidden_nor_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "site/agents/__init__.py", "whose = 'theirs'\n")
    _write(tmp_path / "lab/agents/__init__.py", "whose = 'ours'\n")
    _write(tmp_path / "lab/scenarios/game.py", "import agents as theirs\nfrom ..  import agents as ours\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "agents", raising=False)
    game = import_module(f"{mount(tmp_path / 'lab')}.scenarios.game")
    assert (game.theirs.whose, game.ours.whose) == ("theirs", "ours")
    del sys.modules["agents"]


def test_the_id_is_readable_stable_and_an_identifier(tmp_path: Path) -> None:
    folder = tmp_path / "2024 my-lab.v2"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    identity = lab_id(folder)
    assert identity.isidentifier()
    assert identity.startswith("lab_2024_my_lab_v2_")
    assert identity == lab_id(tmp_path / "link") == lab_id(tmp_path / "link" / ".." / folder.name)
    assert mount(folder) == mount(tmp_path / "link") == package_of(folder) == f"simworld.scenario.mounted.{identity}"
    assert lab_id(Path("/")).isidentifier()
    # Worked by hand: the first ten hexadecimal digits of sha256("/").
    assert lab_id(Path("/")) == "lab__8a5edab282"


def test_mounts_are_announced(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        mount(tmp_path / name)
    assert json.loads(os.environ[MOUNTS_VARIABLE]) == {lab_id(tmp_path / n): str(tmp_path / n) for n in ("a", "b")}


def test_mounting_leaves_sys_path_and_the_folder_alone(tmp_path: Path) -> None:
    _write(tmp_path / "scenarios/game.py", "x = 1\n")
    before = list(sys.path)
    import_module(f"{mount(tmp_path)}.scenarios.game")
    assert sys.path == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["game.py", "scenarios"]


def test_what_is_not_there_is_an_ordinary_import_error(tmp_path: Path) -> None:
    package = mount(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        import_module(f"{package}.nothing")
    with pytest.raises(ModuleNotFoundError, match="never_mounted_0123456789"):
        import_module("simworld.scenario.mounted.never_mounted_0123456789.x")


def test_a_file_written_after_the_folder_was_read_is_found_at_once(tmp_path: Path) -> None:
    package = mount(tmp_path)
    for number in range(20):
        name = f"late_{number}"
        with pytest.raises(ModuleNotFoundError):
            import_module(f"{package}.{name}")
        (tmp_path / f"{name}.py").write_text(f"x = {number}\n")
        assert import_module(f"{package}.{name}").x == number


def test_resources_beside_the_script_are_reached(tmp_path: Path) -> None:
    _write(
        tmp_path / "game/world.py",
        "from importlib.resources import files\ntext = (files(__package__) / 'p.md').read_text()\n",
    )
    _write(tmp_path / "game/p.md", "Give?")
    package = mount(tmp_path)
    assert import_module(f"{package}.game.world").text == "Give?"
    assert (files(f"{package}.game") / "p.md").is_file()


def test_bad_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"cannot mount '.*gone': no such folder"):
        mount(tmp_path / "gone")
    for value in ("{", "[]", '{"a": 1}'):
        monkeypatch.setenv(MOUNTS_VARIABLE, value)
        with pytest.raises(UsageError, match=r"SIMWORLD_MOUNTS=.* is not a JSON object of lab id to folder"):
            mount(tmp_path)

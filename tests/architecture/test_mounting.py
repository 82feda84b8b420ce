"""Mounted scenarios in other processes, and what importing the room costs them."""

from __future__ import annotations

import json
import multiprocessing
import operator
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import simworld
from simworld.scenario import find_lab, load, mount, resolve

ENGINE = Path(simworld.__file__).resolve().parent

GAME = '''\
from __future__ import annotations

import os
from dataclasses import dataclass

from pydantic import BaseModel

from .rules import double


class Choice(BaseModel):
    """What was given."""

    amount: int


@dataclass(frozen=True)
class Move:
    """One move."""

    choice: Choice

    def doubled(self) -> Move:
        return Move(Choice(amount=double(self.choice.amount)))

    def leave(self, path: str) -> None:
        with open(path, "w") as out:
            out.write(f"{os.getpid()} {double(self.choice.amount)}")
'''


@pytest.fixture
def game(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SIMWORLD_MOUNTS", "")
    folder = tmp_path / "lab" / "scenarios" / "game"
    folder.mkdir(parents=True)
    (folder / "moves.py").write_text(GAME)
    (folder / "rules.py").write_text("def double(n: int) -> int:\n    return 2 * n\n")
    return import_module(f"{mount(tmp_path / 'lab')}.scenarios.game.moves")


def test_a_spawned_process_unpickles_a_mounted_class(game: Any, tmp_path: Path) -> None:
    move = game.Move(game.Choice(amount=21))
    child = multiprocessing.get_context("spawn").Process(target=move.leave, args=(str(tmp_path / "left"),))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    pid, doubled = (tmp_path / "left").read_text().split()
    assert (int(pid) != os.getpid(), doubled) == (True, "42")


def test_a_process_pool_sends_them_both_ways(game: Any) -> None:
    moves = [game.Move(game.Choice(amount=n)) for n in range(4)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(operator.methodcaller("doubled"), moves)) == [m.doubled() for m in moves]


def test_a_fresh_interpreter_needs_the_variable_and_no_call(game: Any, tmp_path: Path) -> None:
    (tmp_path / "move").write_bytes(pickle.dumps(game.Move(game.Choice(amount=3))))
    code = "import pickle, sys; print(pickle.load(open('move', 'rb')).doubled().choice.amount)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("6", "")
    env = {name: value for name, value in os.environ.items() if name != "SIMWORLD_MOUNTS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=env
    )
    assert "ModuleNotFoundError" in done.stderr


def _python(code: str, cwd: Path, **env: str) -> str:
    # Bytecode on, as it is for a user: the folders must stay clean all the same.
    ours = ("SIMWORLD_", "PYTHONDONTWRITEBYTECODE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | env,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_importing_and_listing_load_nothing_heavy_and_leave_sys_path(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "game.py").write_text("import mesa\nclass Game(mesa.Model): ...\n")
    code = (
        "import sys, json; path = list(sys.path)\n"
        "import simworld.scenario as s\n"
        "s.describe(s.resolve('game')); s.list_scenarios(); s.list_casts(); s.resolve('game').content_hash()\n"
        "heavy = {'mesa', 'numpy', 'pydantic', 'polars', 'networkx', 'scipy', 'plotly', 'litellm', 'chromadb'}\n"
        "print(json.dumps([sys.path == path, sorted(heavy & set(sys.modules))]))"
    )
    assert json.loads(_python(code, tmp_path)) == [True, []]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["game.py", "scenarios"]


def test_loading_leaves_sys_path_and_the_folder(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "game.py").write_text("import mesa\nclass Game(mesa.Model): ...\n")
    code = (
        "import sys; path = list(sys.path)\n"
        "from simworld.scenario import load, resolve\n"
        "print(load(resolve('game')).__name__, sys.path == path)"
    )
    assert _python(code, tmp_path).split() == ["Game", "True"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["game.py", "scenarios"]


def test_a_read_only_lab_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setenv("SIMWORLD_MOUNTS", "")
    folder = tmp_path / "lab" / "scenarios" / "game"
    folder.mkdir(parents=True)
    (folder / "world.py").write_text("import mesa\nclass Game(mesa.Model): ...\n")
    folders = [folder, *folder.parents][:3]
    try:
        for each in folders:
            each.chmod(0o555)
        assert load(resolve("game", find_lab(tmp_path / "lab"))).__name__ == "Game"
        assert [path.name for path in folder.iterdir()] == ["world.py"]
    finally:
        for each in folders:
            each.chmod(0o755)


def test_an_installed_wheel_serves_its_own_lab(tmp_path: Path) -> None:
    """What the wheel holds: the package, and the content folders inside it as ``_lab``."""
    site = tmp_path / "site"
    shutil.copytree(ENGINE, site / "simworld", ignore=shutil.ignore_patterns("__pycache__"))
    scenarios = site / "simworld" / "_lab" / "scenarios"
    (scenarios / "game").mkdir(parents=True)
    (scenarios / "game" / "world.py").write_text("import mesa\nclass Game(mesa.Model):\n    'A game.'\n")
    (site / "simworld" / "_lab" / "agents" / "casts").mkdir(parents=True)
    for foreign in ("scenarios", "agents"):  # other people's packages beside ours
        (site / foreign).mkdir()
    here = tmp_path / "here"
    here.mkdir()
    code = (
        "import json, pathlib, simworld.scenario as s\n"
        "lab = s.find_lab()\n"
        "name = s.load(s.resolve('game')).__name__\n"
        "made = s.new_lab(pathlib.Path('mine'))\n"
        "names = [card.name for card in s.list_scenarios()]\n"
        "print(json.dumps([str(lab.root), str(lab.runs), lab.is_bundled, name, names, len(made)]))"
    )
    found = json.loads(_python(code, here, PYTHONPATH=str(site)))
    assert found == [str(site / "simworld" / "_lab"), str(here / "runs"), True, "Game", ["game"], 3]
    assert not list(scenarios.rglob("__pycache__"))

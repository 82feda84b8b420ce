"""The house: rooms say what they own, exports change on purpose, importing does nothing, and the README is true."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import simworld as sw

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(p.name for p in (ROOT / "simworld").iterdir() if (p / "__init__.py").exists())
README = (ROOT / "README.md").read_text("utf-8")
EXPORTS = Path(__file__).with_name("exports.txt")


def run_python(code: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=cwd, env=env or {}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_opens_with_what_it_owns(room: str) -> None:
    doc = ast.get_docstring(ast.parse((ROOT / "simworld" / room / "__init__.py").read_text("utf-8"))) or ""
    assert re.match(rf"{room} owns ", doc), f"simworld/{room}/__init__.py must open with what the room owns"


def test_exports_change_on_purpose() -> None:
    names = ["simworld", "simworld.errors", *(f"simworld.{room}" for room in ROOMS)]
    now = "".join(f"{name}: {' '.join(sorted(importlib.import_module(name).__all__))}\n" for name in sorted(names))
    if os.environ.get("UPDATE_EXPORTS"):
        EXPORTS.write_text(now, "utf-8")
    assert now == EXPORTS.read_text("utf-8"), (
        "public names changed; if on purpose: UPDATE_EXPORTS=1 pytest tests/architecture"
    )


def test_every_public_name_is_there() -> None:
    for name in sw.__all__:
        assert getattr(sw, name) is not None
    with pytest.raises(AttributeError):
        _ = sw.no_such_name  # type: ignore[attr-defined]


def test_importing_does_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    code = """
import os, socket, sys, multiprocessing
def refuse(*a, **k): raise AssertionError("network at import")
socket.socket.connect = refuse
before = dict(os.environ), list(sys.path), list(sys.meta_path), multiprocessing.get_start_method(allow_none=True)
import simworld, simworld.cli, simworld.errors
after = dict(os.environ), list(sys.path), list(sys.meta_path), multiprocessing.get_start_method(allow_none=True)
assert before == after
heavy = {"litellm", "chromadb", "plotly", "mesa", "numpy", "pydantic", "polars", "networkx", "rich"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_running_loads_no_provider_vector_store_or_charts(tmp_path: Path) -> None:
    code = """
import sys
import simworld as sw
sw.run("friendship_paradox", n_agents=5, steps=1, out="r")
heavy = {"litellm", "chromadb", "plotly"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_traced_run_names_what_exists() -> None:
    rows = [line for line in README.splitlines() if re.match(r"\| \d+ \|", line)]
    assert 7 <= len(rows) <= 12
    for row in rows:
        for file, names in re.findall(r"`([\w/]+\.py)` ((?:`\w+`(?:, )?)+)", row):
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            for name in re.findall(r"`(\w+)`", names):
                assert name in defined, f"README row {row!r}: {file} defines no {name}"


def readme_scenario() -> str:
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, re.S) if "class Rumour" in b)
    assert 30 <= len([line for line in block.splitlines() if line.strip()]) <= 50
    return block


def test_the_scenario_of_the_readme_runs_and_verifies(tmp_path: Path) -> None:
    (tmp_path / "rumour.py").write_text(readme_scenario(), "utf-8")
    runs = {
        mind: sw.run(str(tmp_path / "rumour.py"), seed=1, mind=mind, out=tmp_path / mind) for mind in ("rules", "null")
    }
    for run in runs.values():
        assert run.metrics["informed"][-1] == 1.0
        assert run.events["kind"].unique().to_list() == ["told"]
        assert run.events.height == 199
        assert run.verify()
    # Null agents toss a fair coin, rule agents tell with about one chance in five: the null is faster.
    assert runs["null"].steps < runs["rules"].steps


def test_no_path_of_a_machine_and_no_index_host_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    bad = re.compile(r"/(?:work|root|farm)/\w|/home/\w|files\.python" + r"hosted|index[-_]" + r"url =")
    for name in filter(None, listed.stdout.split("\0")):
        text = (ROOT / name).read_text("utf-8", errors="replace") if (ROOT / name).exists() else ""
        found = bad.search(text)
        assert not found or name == "tests/architecture/test_house.py", f"{name}: {found and found.group()}"


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_folder(tmp_path: Path) -> None:
    """Built, unpacked beside nothing of the checkout, it still finds its bundled scenarios and copies them out."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    site, empty = tmp_path / "site", tmp_path / "empty"
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(tmp_path), "COLUMNS": "200"}

    def simworld(*args: str) -> str:
        # -P keeps the checkout's folder out of the path; the installed packages stay.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "simworld", *args],
            cwd=empty,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [sys.executable, "-P", "-c", "import simworld; print(simworld.__file__)"],
        cwd=empty, env=env, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert str(site) in where
    assert "digest" in simworld("run", "friendship_paradox", "--agents", "10", "--steps", "2")
    # Its prompts and the engine's are in the wheel too.
    few = ("--agents", "5", "--steps", "1", "--model", "local/x", "--dry-run")
    assert "[system]" in simworld("run", "friendship_paradox", *few)
    assert [p.name for p in empty.iterdir()] == ["runs"]
    simworld("new", "mine")
    assert (empty / "mine" / "scenarios" / "friendship_paradox" / "world.py").exists()
    assert "friendship_paradox" in simworld("list")

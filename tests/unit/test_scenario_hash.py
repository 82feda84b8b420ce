"""The content hash changes with what a run depends on, and with nothing else."""

from __future__ import annotations

import hashlib
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from simworld.errors import ScenarioError
from simworld.scenario import Lab, ScenarioRef, find_lab, resolve


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    game = tmp_path / "scenarios" / "game"
    (game / "prompts").mkdir(parents=True)
    (game / "sweeps").mkdir()
    (game / "world.py").write_text("from .rules import rule\nfrom ..shared import deal\n")
    (game / "rules.py").write_text("rule = 1\n")
    (game / "prompts" / "donate.md").write_text("Give?")
    (game / "sweeps" / "multiplier.toml").write_text("n = 3\n")
    (game.parent / "shared.py").write_text("from . import deep\ndeal = 1\n")
    (game.parent / "deep.py").write_text("x = 1\n")
    (game.parent / "unrelated.py").write_text("x = 1\n")
    return find_lab(tmp_path)


def _hash(lab: Lab, spec: str = "game") -> str:
    return resolve(spec, lab).content_hash()


def test_the_format_is_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "a.py").write_bytes(b"x = 1\n")
    assert _hash(find_lab(tmp_path), "a") == hashlib.sha256(b"4:a.py6:x = 1\n").hexdigest()


@pytest.mark.parametrize(
    "file",
    ["game/world.py", "game/rules.py", "game/prompts/donate.md", "shared.py", "deep.py"],
)
def test_what_is_used_counts(lab: Lab, file: str) -> None:
    before = _hash(lab)
    with (lab.scenarios / file).open("a") as out:
        out.write("# changed\n")
    assert _hash(lab) != before


@pytest.mark.parametrize("new", ["game/notes.md", "game/deep/table.csv", "game/prompts/odd.txt2", "game/cast.jsonl"])
def test_a_new_file_counts(lab: Lab, new: str) -> None:
    before = _hash(lab)
    (lab.scenarios / new).parent.mkdir(exist_ok=True)
    (lab.scenarios / new).write_text("1")
    assert _hash(lab) != before


@pytest.mark.parametrize(
    "new",
    [
        "game/__pycache__/world.cpython-312.pyc",
        "game/sweeps/out/report.md",
        "game/.notes.md",
        "game/README.md",
        "game/plot.png",
        "unrelated.py",
    ],
)
def test_what_changes_no_run_does_not_count(lab: Lab, new: str) -> None:
    before = _hash(lab)
    (lab.scenarios / new).parent.mkdir(parents=True, exist_ok=True)
    (lab.scenarios / new).write_text("1")
    assert _hash(lab) == before


def test_renaming_a_file_counts_and_moving_the_lab_does_not(lab: Lab, tmp_path: Path) -> None:
    before = _hash(lab)
    copy = tmp_path / "copy"
    shutil.copytree(lab.scenarios, copy / "scenarios")
    assert _hash(find_lab(copy)) == before
    (copy / "scenarios" / "game" / "rules.py").rename(copy / "scenarios" / "game" / "rule.py")
    assert _hash(find_lab(copy)) != before


def test_a_file_that_is_no_python_still_has_a_hash(lab: Lab) -> None:
    (lab.scenarios / "game" / "world.py").write_text("def :\n")
    assert len(_hash(lab)) == 64


def test_a_link_that_leads_up_ends(lab: Lab) -> None:
    before = _hash(lab)
    (lab.scenarios / "game" / "loop").symlink_to(lab.scenarios)
    assert _hash(lab) == before


def test_a_module_is_its_distribution_and_its_file(lab: Lab) -> None:
    ref = resolve("mesa.examples.basic.schelling.model@Schelling", lab)
    assert ref.path is not None
    name, dist, source = ref.module.encode(), f"Mesa=={version('mesa')}".encode(), ref.path.read_bytes()
    digests = {
        hashlib.sha256(
            b"%d:%b%d:%b" % (len(name), name, len(dist), dist) + b"8:model.py%d:%b" % (len(source), source)
        ).hexdigest()
        for dist in (dist, dist.lower())
    }
    assert ref.content_hash() in digests
    assert ref.content_hash() == resolve("mesa.examples.basic.schelling.model", lab).content_hash()


def test_a_module_of_no_distribution(tmp_path: Path) -> None:
    file = tmp_path / "loose.py"
    file.write_text("x = 1\n")
    ref = ScenarioRef("no_such_distribution.loose", "module", file, "no_such_distribution.loose", None)
    before = ref.content_hash()
    file.write_text("x = 2\n")
    assert ref.content_hash() != before


def test_a_file_that_went_away(lab: Lab) -> None:
    ref = resolve("unrelated", lab)
    (lab.scenarios / "unrelated.py").unlink()
    with pytest.raises(ScenarioError, match=r"unrelated\.py cannot be read: No such file"):
        ref.content_hash()
    game = resolve("game", lab)
    shutil.rmtree(lab.scenarios / "game")
    with pytest.raises(ScenarioError, match=r"game cannot be read: No such file"):
        game.content_hash()

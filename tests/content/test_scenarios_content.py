"""Every scenario of the lab loads, says what it is, and runs two steps with each of its minds."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Any

import annotated_types
import pytest

import simworld as sw
from simworld.mind import uniform_policy
from simworld.scenario import Lab, find_lab, list_scenarios, load, resolve
from tests.server import ModelServer

REPO = Path(__file__).parents[2]
LAB = Lab(REPO, REPO / "runs")
CARDS = [card for card in list_scenarios(LAB) if card.path is not None and card.path.is_relative_to(LAB.scenarios)]
ODD = (
    "Purpose",
    "Entities, state variables and scales",
    "Process overview and scheduling",
    "Design concepts",
    "Initialization",
    "Input data",
    "Submodels",
)
"""Sections of the ODD protocol (Grimm et al. 2020, doi:10.18564/jasss.4259)."""

each = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)


def loaded(card: Any) -> Any:
    return load(resolve(str(card.path) + (f"@{card.class_name}" if "@" in card.name else "")))


def decisions(cls: Any) -> list[type[sw.Decision]]:
    """The decision classes that the scenario's own modules define."""
    package = cls.__module__.rpartition(".")[0] if Path(inspect.getfile(cls)).name == "world.py" else cls.__module__
    modules = [m for name, m in sorted(sys.modules.items()) if name == package or name.startswith(f"{package}.")]
    found = {
        value
        for module in modules
        if isinstance(module, types.ModuleType)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, sw.Decision) and value is not sw.Decision
    }
    return sorted(found, key=lambda decision: decision.__name__)


def test_there_are_scenarios() -> None:
    assert "friendship_paradox" in {card.name for card in CARDS}


def test_the_labs_own_scenarios_are_what_a_user_finds() -> None:
    assert {card.name for card in CARDS} == {card.name for card in list_scenarios(find_lab(REPO))}


@each
def test_it_is_listed_with_its_purpose_and_source(card: Any) -> None:
    assert card.error is None
    assert card.title.endswith((".", "?"))
    assert card.sources
    assert card.params is not None


def test_listing_executes_nothing() -> None:
    code = (
        "import json, sys\n"
        "from simworld.scenario import list_scenarios\n"
        "names = [card.name for card in list_scenarios()]\n"
        "print(json.dumps([names, sorted(m for m in sys.modules if 'scenarios' in m or m == 'mesa')]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    names, modules = json.loads(done.stdout)
    assert names == [card.name for card in list_scenarios(LAB)]
    assert modules == []


@each
def test_its_readme_follows_the_odd_protocol(card: Any) -> None:
    folder = card.path if card.path.is_dir() else card.path.parent
    readme = (folder / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^##+ (.+?)\s*$", readme, flags=re.MULTILINE)
    at = [headings.index(section) for section in ODD]
    assert at == sorted(at)
    assert "Source" in headings
    assert "doi:10.18564/jasss.4259" in readme
    assert f"simworld run {card.name}" in readme
    for section in (*ODD, "Source"):
        text = readme.split(f"# {section}\n", 1)[1].split("\n#", 1)[0]
        assert len(text.split()) >= 4, f"section {section!r} says nothing"


@each
def test_every_parameter_says_what_it_is(card: Any) -> None:
    for name, info in loaded(card).Params.model_fields.items():
        assert info.description, name
        assert info.description.endswith("."), name
        if info.annotation in (int, float):
            bounds = [m for m in info.metadata if isinstance(m, annotated_types.Ge | annotated_types.Gt)]
            assert bounds, f"{name} has no lower bound"
            unit = (info.json_schema_extra or {}).get("unit") if isinstance(info.json_schema_extra, dict) else None
            upper = [m for m in info.metadata if isinstance(m, annotated_types.Le | annotated_types.Lt)]
            source = (info.json_schema_extra or {}).get("source") if isinstance(info.json_schema_extra, dict) else None
            assert unit or upper or source, f"{name} has neither unit, range nor source"
        else:
            assert info.annotation in (bool, str) or typing.get_origin(info.annotation) is typing.Literal, name


@each
def test_every_decision_has_a_rule_a_null_and_words(card: Any) -> None:
    cls = loaded(card)
    found = decisions(cls)
    policies = cls(rng=1).policies
    assert set(policies["rules"]) == set(found)
    for decision in found:
        assert decision.__doc__
        assert decision.__doc__ != sw.Decision.__doc__
        assert all(info.description for info in decision.model_fields.values()), decision.__name__
        if decision not in policies.get("null", {}):
            uniform_policy(decision)


@each
@pytest.mark.parametrize("mind", ["rules", "null"])
def test_it_runs_two_steps_with_each_mind(card: Any, mind: str, tmp_path: Path) -> None:
    run = sw.run(card.name, steps=2, seed=3, mind=mind, out=tmp_path / "run")
    assert run.status == "finished"
    assert run.steps == 2
    assert run.digest
    assert run.metrics["step"].to_list() == [0, 1, 2]
    again = sw.run(card.name, steps=2, seed=3, mind=mind, out=tmp_path / "again")
    assert again.digest == run.digest
    assert sw.run(card.name, steps=2, seed=4, mind=mind, out=tmp_path / "other").digest != run.digest


@each
@pytest.mark.parametrize("memory", [{"enabled": False}, {"reflection": False}], ids=["no memory", "no reflection"])
def test_it_runs_two_steps_without(card: Any, memory: dict[str, bool], tmp_path: Path) -> None:
    run = sw.run(card.name, steps=2, seed=3, memory=memory, out=tmp_path / "run")
    assert run.status == "finished"
    assert (memory == {"reflection": False}) or run.memory.is_empty()
    assert run.verify()


@each
def test_every_decision_has_a_prompt_and_every_prompt_a_decision(card: Any) -> None:
    cls = loaded(card)
    found = {decision.__name__ for decision in decisions(cls)}
    files = {file.stem for file in (Path(inspect.getfile(cls)).parent / "prompts").glob("*.md")}
    assert files == {*found, "world"}


@each
def test_it_runs_two_steps_with_a_language_model(card: Any, tmp_path: Path) -> None:
    """The prompts are filled, the answers fit, and the tape alone gives the same run."""
    with ModelServer() as server:
        run = sw.run(card.name, steps=2, seed=3, model="local/scripted", api_base=server.base, out=tmp_path / "run")
    assert run.steps == 2
    assert run.answers["asked"].sum() > 0
    assert run.answers["refused"].sum() == 0
    own = [name for name in run.manifest["prompts"] if name.startswith(f"{card.path.name}/prompts/")]
    # What any agent is asked about its own memory has its prompts in the engine.
    asked = set(run.answers["decision"]) & {decision.__name__ for decision in decisions(loaded(card))}
    assert {Path(name).stem for name in own} >= {"world", *asked}
    assert run.verify()

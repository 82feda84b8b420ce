"""Importing scenarios: what is taken for one, and what is said when the import fails."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import mesa
import pytest

from simworld.errors import ScenarioError
from simworld.scenario import Lab, describe, find_lab, load, resolve


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "scenarios").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIMWORLD_MOUNTS", "{}")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as it is for a user
    return find_lab()


def _write(lab: Lab, name: str, text: str) -> None:
    file = lab.scenarios / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _refused(spec: str, lab: Lab) -> ScenarioError:
    with pytest.raises(ScenarioError) as caught:
        load(resolve(spec, lab))
    assert "\n" not in str(caught.value)
    return caught.value


GAME = "import mesa\n\nfrom .rules import LEVEL\n\n\nclass Game(mesa.Model):\n    level = LEVEL\n"


def test_a_folder_scenario_with_a_file_beside_it(lab: Lab) -> None:
    _write(lab, "game/world.py", GAME)
    _write(lab, "game/rules.py", "LEVEL = 7\n")
    game = load(resolve("game", lab))
    assert issubclass(game, mesa.Model)
    assert game.level == 7
    assert load(resolve("scenarios/game", lab)) is game
    assert pickle.loads(pickle.dumps(game)) is game
    assert not list(lab.root.rglob("__pycache__"))


def test_helpers_imported_classes_and_private_ones_are_not_scenarios(lab: Lab) -> None:
    _write(
        lab,
        "one.py",
        "import mesa\nfrom mesa import Model\n\nclass _Part(Model): ...\nclass One(_Part): ...\nAlso = One\n",
    )
    assert load(resolve("one", lab)).__name__ == "One"
    assert load(resolve("one@_Part", lab)).__name__ == "_Part"


def test_several_must_be_told_apart(lab: Lab) -> None:
    _write(lab, "two.py", "import mesa\nclass A(mesa.Model): ...\nclass B(A): ...\n")
    message = str(_refused("two", lab))
    assert message == "'two' holds several scenarios: A, B; name one, for example two@A"
    assert load(resolve("two@B", lab)).__name__ == "B"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("one@Onee", "no class 'Onee' in scenarios/one.py; did you mean 'One'?"),
        ("one@Zebra", "no class 'Zebra' in scenarios/one.py; it holds One"),
        ("one@Other", "'Other' in scenarios/one.py is not a scenario: it must inherit simworld.World or mesa.Model"),
        ("one@LIMIT", "'LIMIT' in scenarios/one.py is not a scenario: it must inherit simworld.World or mesa.Model"),
        ("none", "scenarios/none.py holds no scenario; define a class that inherits simworld.World (or mesa.Model)"),
        (
            "only_imports",
            "scenarios/only_imports.py holds no scenario (it imports One: name it with @); "
            "define a class that inherits simworld.World (or mesa.Model)",
        ),
    ],
)
def test_a_class_that_is_not_there(lab: Lab, spec: str, message: str) -> None:
    _write(lab, "one.py", "import mesa\nLIMIT = 3\nclass One(mesa.Model): ...\nclass Other: ...\n")
    _write(lab, "none.py", "x = 1\n")
    _write(lab, "only_imports.py", "from .one import One\nfrom mesa import Model\n")
    assert str(_refused(spec, lab)) == message


def test_a_class_made_elsewhere_counts_when_it_is_named(lab: Lab) -> None:
    _write(lab, "one.py", "import mesa\nclass One(mesa.Model): ...\n")
    _write(lab, "again.py", "from .one import One\n")
    assert load(resolve("again@One", lab)) is load(resolve("one", lab))


def test_an_installed_model(lab: Lab) -> None:
    model = load(resolve("mesa.examples.basic.schelling.model@Schelling", lab))
    assert model.__module__ == "mesa.examples.basic.schelling.model"
    assert load(resolve("mesa.examples.basic.schelling.model", lab)) is model


EXAMPLES = Path(mesa.__file__).parent / "examples"
MODELS = sorted(".".join(path.parts[-3:-1]) for path in EXAMPLES.glob("*/*/model.py"))


@pytest.mark.parametrize("name", MODELS)
def test_every_mesa_example_is_found_and_the_text_tells_its_class(lab: Lab, name: str) -> None:
    ref = resolve(f"mesa.examples.{name}.model", lab)
    card = describe(ref)
    assert load(ref).__name__ == card.class_name
    assert card.params


def test_there_are_ten_mesa_examples() -> None:
    assert len(MODELS) == 10


def test_a_society_of_ours(lab: Lab) -> None:
    _write(lab, "ours.py", "from simworld.world import World\nclass Ours(World):\n    'Ours.'\n")
    assert issubclass(load(resolve("ours", lab)), mesa.Model)
    assert describe(resolve("ours", lab)).class_name == "Ours"


@pytest.mark.parametrize(
    ("text", "says", "cause"),
    [
        ("x = 1\ny = x / 0\n", "scenarios/bad.py:2: ZeroDivisionError: division by zero", ZeroDivisionError),
        ("x = 1\n\ndef (:\n", "scenarios/bad.py:3: SyntaxError: invalid syntax", SyntaxError),
        ("raise ValueError('two\\nlines')\n", "scenarios/bad.py:1: ValueError: two lines", ValueError),
        ("import sys\nsys.exit(3)\n", "scenarios/bad.py:2: SystemExit: 3", SystemExit),
        ("assert False\n", "scenarios/bad.py:1: AssertionError", AssertionError),
        (
            "import json\n\njson.loads('{')\n",
            "scenarios/bad.py:3: JSONDecodeError: Expecting property name",
            ValueError,
        ),
        (
            "import no_such_thing\n",
            "scenarios/bad.py:1: ModuleNotFoundError: No module named 'no_such_thing'; "
            "install 'no_such_thing' where simworld is installed",
            ModuleNotFoundError,
        ),
        (
            "\nimport beside\n",
            "scenarios/bad.py:2: ModuleNotFoundError: No module named 'beside'; "
            "to import a file beside it, write: from .beside import ...",
            ModuleNotFoundError,
        ),
        ("from .beside import y\n", "scenarios/bad.py:1: ImportError: cannot import name 'y'", ImportError),
        ("from . import broken\n", "scenarios/broken.py:2: NameError: name 'undefined' is not defined", NameError),
        ("from . import garbled\n", "scenarios/garbled.py:1: SyntaxError:", SyntaxError),
    ],
)
def test_a_failing_import_names_file_line_and_reason(
    lab: Lab, text: str, says: str, cause: type[BaseException]
) -> None:
    _write(lab, "bad.py", text)
    _write(lab, "beside.py", "x = 1\n")
    _write(lab, "broken.py", "x = 1\nundefined\n")
    _write(lab, "garbled.py", "x = = 1\n")
    error = _refused("bad", lab)
    assert str(error).startswith(f"scenario 'bad' cannot be imported: {says}")
    assert isinstance(error.__cause__, cause)


def test_a_module_that_fails_names_its_own_line(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site" / "a_package_that_fails"
    package.mkdir(parents=True)
    (package / "model.py").write_text("import json\njson.loads('')\n")
    monkeypatch.syspath_prepend(str(package.parent))
    message = str(_refused("a_package_that_fails.model@M", lab))
    assert "site/a_package_that_fails/model.py:2: JSONDecodeError" in message


def test_bytes_that_are_no_text(lab: Lab) -> None:
    (lab.scenarios / "bad.py").write_bytes(b"x = '\xff'\n")
    assert "scenarios/bad.py" in str(_refused("bad", lab))


def test_stopping_is_not_swallowed(lab: Lab) -> None:
    _write(lab, "bad.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load(resolve("bad", lab))


def test_after_a_correction_the_scenario_loads(lab: Lab) -> None:
    _write(lab, "game/world.py", GAME)
    _write(lab, "game/rules.py", "LEVEL = undefined\n")
    assert "rules.py:1: NameError" in str(_refused("game", lab))
    _write(lab, "game/rules.py", "LEVEL = 8\n")
    assert load(resolve("game", lab)).level == 8


def test_an_edit_of_the_same_length_in_the_same_second_is_seen(lab: Lab) -> None:
    _write(lab, "game/world.py", GAME)
    for level in range(1, 5):
        _write(lab, "game/rules.py", f"LEVEL = {level}\n")
        assert load(resolve("game", lab)).level == level


def test_an_unchanged_scenario_is_not_executed_again(lab: Lab) -> None:
    _write(
        lab,
        "counted.py",
        "import sys\nimport mesa\nsys.counted_ = getattr(sys, 'counted_', 0) + 1\nclass C(mesa.Model): ...\n",
    )
    try:
        assert load(resolve("counted", lab)) is load(resolve("counted", lab))
        assert sys.counted_ == 1  # type: ignore[attr-defined]
    finally:
        del sys.counted_  # type: ignore[attr-defined]

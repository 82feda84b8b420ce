"""What a user may type to name a scenario, and what he is told when nothing has that name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simworld.errors import ScenarioError
from simworld.scenario import Lab, find_lab, resolve

WORLD = "import mesa\n\n\nclass Game(mesa.Model):\n    '''A game.'''\n"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    scenarios = tmp_path / "lab" / "scenarios"
    for name in ("donor_game", "classical/voter"):
        (scenarios / name).mkdir(parents=True)
        (scenarios / name / "world.py").write_text(WORLD)
    (scenarios / "tiny.py").write_text(WORLD)
    (scenarios / "classical" / "ising.py").write_text(WORLD)
    monkeypatch.chdir(tmp_path / "lab")
    return find_lab()


@pytest.mark.parametrize(
    ("spec", "kind", "path", "module"),
    [
        ("donor_game", "folder", "donor_game", "donor_game.world"),
        ("classical/voter", "folder", "classical/voter", "classical.voter.world"),
        ("tiny", "file", "tiny.py", "tiny"),
        ("classical/ising", "file", "classical/ising.py", "classical.ising"),
    ],
)
def test_a_name_a_path_and_an_absolute_path_find_the_same(
    lab: Lab, spec: str, kind: str, path: str, module: str
) -> None:
    ref = resolve(spec, lab)
    assert (ref.spec, ref.kind, ref.path, ref.class_name) == (spec, kind, lab.scenarios / path, None)
    assert ref.root == lab.root
    assert ref.module.split(".")[:3] == ["simworld", "scenario", "mounted"]
    assert ref.module.partition(".scenarios.")[2] == module
    assert resolve(f"scenarios/{path}", lab) == ref
    assert resolve(lab.scenarios / path, lab) == ref
    assert resolve(f"{spec}/", lab) == ref
    assert ref.file is not None
    assert resolve(ref.file, lab) == ref


def test_a_path_from_the_lab_is_found_from_below_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lab.scenarios / "classical")
    assert resolve("scenarios/tiny.py").spec == "tiny"
    assert resolve("./ising.py").spec == "classical/ising"
    assert resolve("../donor_game").spec == "donor_game"


def test_a_class_is_named_after_an_at_sign(lab: Lab) -> None:
    ref = resolve("tiny@Game", lab)
    assert (ref.spec, ref.class_name, ref.name) == ("tiny@Game", "Game", "tiny")
    assert resolve("scenarios/tiny.py@Game", lab) == ref


def test_short_names(lab: Lab) -> None:
    assert resolve("classical/voter", lab).name == "voter"
    assert resolve("classical/ising", lab).name == "ising"
    assert resolve("mesa.examples.basic.schelling.model@Schelling", lab).name == "Schelling"
    assert resolve("mesa.examples.basic.schelling.model", lab).name == "model"


def test_a_file_anywhere(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "drafts" / "my-model.py"
    file.parent.mkdir()
    file.write_text(WORLD)
    ref = resolve("../drafts/my-model.py@Game", lab)
    assert (ref.spec, ref.kind, ref.path, ref.root) == (f"{file}@Game", "file", file, file.parent)
    assert resolve(ref.spec, lab) == ref


def test_a_folder_anywhere(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "world.py").write_text(WORLD)
    ref = resolve(folder, lab)
    assert (ref.spec, ref.kind, ref.path, ref.file) == (str(folder), "folder", folder, folder / "world.py")
    assert resolve(folder / "world.py", lab).kind == "file"


def test_a_file_of_a_real_package_keeps_its_parents_so_that_relative_imports_climb(lab: Lab, tmp_path: Path) -> None:
    inner = tmp_path / "top" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "__init__.py").write_text("")
    (inner / "model.py").write_text(WORLD)
    ref = resolve(inner / "model.py", lab)
    assert ref.root == tmp_path
    assert ref.module.endswith(".top.inner.model")


def test_a_scenario_of_another_lab_is_known_by_its_path(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other" / "scenarios"
    other.mkdir(parents=True)
    (other / "tiny.py").write_text(WORLD)
    (other / "only_here.py").write_text(WORLD)
    here, there = resolve("tiny", lab), resolve(other / "tiny.py", lab)
    assert there.spec == str(other / "tiny.py")
    assert here.module != there.module
    assert resolve(other / "only_here.py", lab).spec == str(other / "only_here.py")


def test_the_users_lab_comes_before_the_bundled_one(lab: Lab) -> None:
    (lab.scenarios / "friendship_paradox.py").write_text(WORLD)
    assert resolve("friendship_paradox", lab).root == lab.root


def test_a_linked_scenario_is_mounted_where_the_link_is(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "git" / "linked").mkdir(parents=True)
    (tmp_path / "git" / "linked" / "world.py").write_text(WORLD)
    (lab.scenarios / "linked").symlink_to(tmp_path / "git" / "linked")
    assert resolve("linked", lab).root == lab.root
    assert resolve("linked", lab) == resolve("scenarios/linked", lab)


def test_an_installed_module(lab: Lab) -> None:
    before = set(sys.modules)
    ref = resolve("mesa.examples.basic.schelling.model@Schelling", lab)
    assert (ref.kind, ref.module, ref.class_name) == ("module", "mesa.examples.basic.schelling.model", "Schelling")
    assert ref.root is None
    assert ref.path is not None
    assert ref.path.parts[-3:] == ("basic", "schelling", "model.py")
    assert not [name for name in set(sys.modules) - before if name.startswith("mesa")]


def test_a_module_below_a_folder_without_init(lab: Lab) -> None:
    # Mesa 3.5 ships this example with a misnamed `__init__ .py`.
    ref = resolve("mesa.examples.advanced.alliance_formation.model", lab)
    assert ref.path is not None
    assert ref.path.parent.name == "alliance_formation"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("donor_gme", "no scenario 'donor_gme' in this lab; did you mean 'donor_game'? (simworld list)"),
        ("voter", "no scenario 'voter' in this lab; did you mean 'classical/voter'? (simworld list)"),
        ("clasical/votr", "no scenario 'clasical/votr' in this lab; did you mean 'classical/voter'? (simworld list)"),
        ("zzz", "no scenario 'zzz' in this lab (simworld list)"),
        ("donor_gme@Game", "no scenario 'donor_gme' in this lab; did you mean 'donor_game'? (simworld list)"),
        ("", "no scenario named in ''; give a name, a path or a module (simworld list)"),
        ("  ", "no scenario named in '  '; give a name, a path or a module (simworld list)"),
        ("tiny@", "no class named after '@' in 'tiny@'; write, for example, path/to/my.py@MyWorld"),
        ("tiny@2x", "no class named after '@' in 'tiny@2x'; write, for example, path/to/my.py@MyWorld"),
        ("@Game", "no class named after '@' in '@Game'; write, for example, path/to/my.py@MyWorld"),
        (
            "mesa.exampels.basic",
            "no module 'mesa.exampels.basic': 'mesa' holds no 'exampels'; did you mean 'examples'?",
        ),
        (
            "no_such_package.model@M",
            "no module 'no_such_package.model': 'no_such_package' is not installed; "
            "install it, or name a scenario (simworld list)",
        ),
        ("mesa.model.Model", "no module 'mesa.model.Model': 'mesa.model' holds no 'Model'"),
        ("scenarios/classical", None),
        ("../gone/x.py", None),
        ("x" * 5000, None),
        ("a\0b", None),
        ("~nobody_at_all/x.py", None),
    ],
)
def test_what_is_not_found_is_said_in_one_line(lab: Lab, spec: str, message: str | None) -> None:
    with pytest.raises(ScenarioError) as caught:
        resolve(spec, lab)
    text = str(caught.value)
    assert "\n" not in text
    assert message is None or text == message


def test_a_folder_of_scenarios_says_what_it_holds(lab: Lab) -> None:
    with pytest.raises(ScenarioError, match=r"no world.py; it holds classical/ising, classical/voter$"):
        resolve("scenarios/classical", lab)


def test_a_missing_file_and_a_file_that_is_no_python(lab: Lab) -> None:
    with pytest.raises(ScenarioError, match=r"^no scenario file '\.\./gone/x\.py'; give the path from '.*lab'"):
        resolve("../gone/x.py", lab)
    (lab.root / "notes.md").write_text("# no")
    with pytest.raises(ScenarioError, match=r"^'notes\.md' is not a Python file"):
        resolve("notes.md", lab)


def test_a_name_that_is_two_things_is_refused(lab: Lab) -> None:
    (lab.scenarios / "donor_game.py").write_text(WORLD)
    with pytest.raises(ScenarioError, match=r"is both .*donor_game.world\.py and .*donor_game\.py; rename one"):
        resolve("donor_game", lab)


def test_a_dot_in_a_name_is_refused(lab: Lab) -> None:
    (lab.scenarios / "v1.2.py").write_text(WORLD)
    with pytest.raises(ScenarioError, match=r"^'v1\.2' cannot name a scenario: .*'v1_2'$"):
        resolve("scenarios/v1.2.py", lab)


def test_a_name_never_leaves_the_lab(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text(WORLD)
    with pytest.raises(ScenarioError):
        resolve("../outside", lab)


def test_content_is_not_imported_by_dotted_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(lab.root))
    with pytest.raises(ScenarioError, match=r"is a file of this lab; name the scenario 'donor_game'"):
        resolve("scenarios.donor_game.world", lab)


def test_an_installed_package_is_no_scenario_by_accident(lab: Lab) -> None:
    with pytest.raises(ScenarioError, match=r"^no scenario 'json' in this lab"):
        resolve("json", lab)
    assert resolve("json@Game", lab).kind == "module"


def test_an_at_sign_in_a_path(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "world.py").write_text(WORLD)
    assert resolve(str(folder), lab).class_name is None
    assert resolve(f"{folder}@Game", lab).class_name == "Game"

"""Listing and describing from the text alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from simworld.errors import ScenarioError
from simworld.scenario import Lab, ParamCard, ScenarioCard, describe, find_lab, list_scenarios, resolve


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "scenarios").mkdir()
    monkeypatch.chdir(tmp_path)
    return find_lab()


def _write(lab: Lab, name: str, text: str) -> None:
    file = lab.scenarios / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _own(lab: Lab) -> dict[str, ScenarioCard]:
    return {card.name: card for card in list_scenarios(lab) if not card.is_bundled}


GAME = '''\
"""The module."""
from typing import ClassVar, Literal

import simworld as sw

TOP = 9


class Game(sw.World):
    """Give or keep.

    More about it.
    """

    class Params(sw.Params):
        n_agents: int = sw.field(12, ge=2, le=1000, unit="agents", doc="How many there are.")
        multiplier: float = sw.field(doc="What a gift is "
                                         "multiplied by.", gt=0, source="Trivers 1971")
        order: Literal["random", "fixed"] = field("random", doc="Who goes first.")
        share: float = sw.field(default=-0.5, ge=-1, lt=1, doc="A share.")
        cap: int = sw.field(TOP, le=TOP, doc=f"{TOP}")
        plain: int = 3
        needed: str
        """Said beneath."""
        names: list[str] = Field(default_factory=list, description="Names.")
        kept: ClassVar[int] = 1
        _hidden: int = 1
        model_config: dict = {}
'''


def test_a_card_tells_what_the_file_says(lab: Lab) -> None:
    _write(lab, "game/world.py", GAME)
    _write(lab, "game/README.md", "# Game\n\nFrom the readme.\n\nSource: Trivers 1971, doi:10.1086/406755\n")
    card = _own(lab)["game"]
    assert (card.class_name, card.title, card.path) == ("Game", "Give or keep.", lab.scenarios / "game")
    assert card.sources == ("Trivers 1971, doi:10.1086/406755",)
    assert card.error is None
    assert card.shadows is None
    assert card.params == (
        ParamCard("n_agents", "int", "12", "How many there are.", "agents", "[2, 1000]"),
        ParamCard("multiplier", "float", None, "What a gift is multiplied by.", "", "> 0", "Trivers 1971"),
        ParamCard("order", "Literal['random', 'fixed']", "'random'", "Who goes first."),
        ParamCard("share", "float", "-0.5", "A share.", "", "[-1, 1)"),
        ParamCard("cap", "int", "TOP", "", "", "<= TOP"),
        ParamCard("plain", "int", "3"),
        ParamCard("needed", "str", None, "Said beneath."),
        ParamCard("names", "list[str]", "list()", "Names."),
    )
    assert describe(resolve("game", lab)) == card


def test_nothing_is_executed(lab: Lab) -> None:
    _write(
        lab,
        "loud.py",
        f"open({str(lab.root / 'written')!r}, 'w')\nraise SystemExit\nclass Loud(World):\n    '''Loud.'''\n",
    )
    assert _own(lab)["loud"].title == "Loud."
    assert describe(resolve("loud", lab)).class_name == "Loud"
    assert len(resolve("loud", lab).content_hash()) == 64
    assert not (lab.root / "written").exists()
    assert sorted(path.name for path in lab.root.rglob("*")) == ["loud.py", "scenarios"]


@pytest.mark.parametrize(
    ("body", "title"),
    [
        ('"""Module.\n\nMore."""\nclass G(World):\n    """\n    Class.\n    """\n', "Class."),
        ('"""Module.\n\nMore."""\nclass G(World): ...\n', "Module."),
        ("class G(World): ...\n", "From the readme, two lines."),
    ],
)
def test_the_title_comes_from_the_class_the_module_or_the_readme(lab: Lab, body: str, title: str) -> None:
    _write(lab, "g/world.py", body)
    _write(lab, "g/README.md", "# G\n\n![badge](x)\n\nFrom the readme,\ntwo lines.\n\nAnother.\n")
    assert _own(lab)["g"].title == title


@pytest.mark.parametrize(
    ("readme", "sources"),
    [
        ("**Source.** One 1990", ("One 1990",)),
        ("- *Sources:* Two 1991", ("Two 1991",)),
        ("## Source\n\nThree 1992\nnot this\n", ("Three 1992",)),
        ("## Sources\n- One 1990\n- Two 1991\n\n## Next\nno\n", ("One 1990", "Two 1991")),
        ("The source code is here.\nResources: none\n", ()),
    ],
)
def test_sources(lab: Lab, readme: str, sources: tuple[str, ...]) -> None:
    _write(lab, "g/world.py", "class G(World): ...\n")
    _write(lab, "g/README.md", readme)
    assert _own(lab)["g"].sources == sources


P = "class P(Params):\n    a: int = 1\n    b: int = 1\n"
INIT = "    def __init__(self, n, w=20, /, h: int = 3, *, p=.5, q, rng=None): ...\n"


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (P + "class G(World):\n    Params = P\n", ("a", "b")),
        (P + "class G(World):\n    Params: ClassVar[type] = P\n", ("a", "b")),
        (P + "class Q(P):\n    c: int = 1\n    b: int = 2\nclass G(World):\n    Params = Q\n", ("a", "b", "c")),
        ("from .params import P as R\nclass G(World):\n    Params = R\n", ("far",)),
        ("from .params import Q\nclass G(World):\n    Params = Q\n", None),  # two files that name each other
        ("from .gone import P\nclass G(World):\n    Params = P\n", None),
        ("from elsewhere import P\nclass G(World):\n    Params = P\n", None),
        ("class G(World):\n    Params = make()\n", None),
        ("class G(World):\n    class Params(Strange):\n        a: int = 1\n", None),
        ("class _B(World):\n    class Params(sw.Params):\n        a: int = 1\nclass G(_B): ...\n", ("a",)),
        ("class G(World): ...\n", ()),
        ("class G(TheirWorld): ...\n", None),
        ("class G(mesa.Model):\n" + INIT, ("n", "w", "h", "p", "q")),
        ("class G(mesa.Model): ...\n", ()),
    ],
)
def test_parameters_wherever_they_are_declared(lab: Lab, text: str, params: tuple[str, ...] | None) -> None:
    _write(lab, "g.py", text)
    _write(lab, "params.py", "from .g import Q\nclass P(Params):\n    far: int = 1\n")
    card = describe(resolve("g@G", lab))
    assert (None if card.params is None else tuple(each.name for each in card.params)) == params


def test_a_mesa_example(lab: Lab) -> None:
    card = describe(resolve("mesa.examples.basic.schelling.model@Schelling", lab))
    assert card.title == "Model class for the Schelling segregation model."
    assert card.params is not None
    assert ParamCard("density", "float", "0.8") in card.params
    wealth = describe(resolve("mesa.examples.basic.boltzmann_wealth_model.model", lab))
    assert wealth.class_name == "BoltzmannWealth"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"x = 1\ndef (:\n", "scenarios/bad.py:2: SyntaxError: invalid syntax; correct the line"),
        (b"x = '\xff'\n", "scenarios/bad.py"),
        (b"x = 1\0\n", "scenarios/bad.py"),
        (b"-" * 200_000 + b"1", "scenarios/bad.py"),
        (b"x = 1\n", "scenarios/bad.py holds no scenario; define a class that inherits"),
        (b"", "scenarios/bad.py holds no scenario"),
        (b"class R(BaseModel): ...\n", "scenarios/bad.py holds no scenario"),
    ],
)
def test_a_broken_file_is_listed_with_its_error(lab: Lab, text: bytes, error: str) -> None:
    _write(lab, "good.py", "class G(World): ...\n")
    (lab.scenarios / "bad.py").write_bytes(text)
    cards = _own(lab)
    assert set(cards) == {"bad", "good"}
    assert cards["bad"].error is not None
    assert cards["bad"].error.startswith(error)
    assert "\n" not in cards["bad"].error
    with pytest.raises(ScenarioError):
        describe(resolve("bad", lab))


def test_a_doubtful_escape_is_no_error_and_no_warning(lab: Lab) -> None:
    _write(lab, "g.py", "class G(World):\n    'A \\d digit.'\n")
    assert _own(lab)["g"].title == "A \\d digit."


def test_names_are_sorted_and_what_is_hidden_is_left_out(lab: Lab) -> None:
    for name in ("b.py", "a/world.py", "c/d/e/world.py", "c/f.py", "_private.py", ".hidden/world.py", "c/_x/world.py"):
        _write(lab, name, "class G(World): ...\n")
    _write(lab, "a/rules.py", "x = 1\n")
    (lab.scenarios / "loop").symlink_to(lab.scenarios)
    (lab.scenarios / "c" / "loop").symlink_to(lab.scenarios)
    assert [name for name in _own(lab) if "loop" not in name] == ["a", "b", "c/d/e", "c/f"]
    assert len(_own(lab)) < 10


def test_a_file_with_several_is_listed_once_for_each(lab: Lab) -> None:
    _write(lab, "two.py", "from mesa import Model as M\nclass A(M):\n    'First.'\nclass B(A):\n    'Second.'\n")
    cards = _own(lab)
    assert [(name, card.title) for name, card in cards.items()] == [("two@A", "First."), ("two@B", "Second.")]
    with pytest.raises(ScenarioError, match="'two' holds several scenarios: A, B; name one, for example two@A"):
        describe(resolve("two", lab))
    assert describe(resolve("two@B", lab)).title == "Second."


def test_a_class_that_is_not_in_the_file(lab: Lab) -> None:
    _write(lab, "g.py", "class Game(World): ...\n")
    with pytest.raises(ScenarioError, match=r"no class 'Gane' in scenarios/g\.py; did you mean 'Game'\?"):
        describe(resolve("g@Gane", lab))


def test_a_name_that_is_two_things_and_one_that_cannot_be_a_module(lab: Lab) -> None:
    for name in ("x.py", "x/world.py", "v1.2.py"):
        _write(lab, name, "class G(World): ...\n")
    errors = [card.error or "" for card in list_scenarios(lab) if not card.is_bundled]
    assert len(errors) == 3
    assert "cannot name a scenario" in errors[0]
    assert all("rename one" in error for error in errors[1:])


def test_the_users_own_come_first_and_say_what_they_hide(
    tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = tmp_path / "bundled"
    for name in ("aaa", "shared"):
        (bundled / "scenarios" / name).mkdir(parents=True)
        (bundled / "scenarios" / name / "world.py").write_text("class G(World):\n    'Bundled.'\n")
    monkeypatch.setattr("simworld.scenario._lab._bundled_root", lambda: bundled)
    _write(lab, "shared.py", "class G(World):\n    'Own.'\n")
    _write(lab, "mine.py", "class G(World): ...\n")
    cards = list_scenarios(lab)
    assert [(card.name, card.is_bundled) for card in cards] == [("mine", False), ("shared", False), ("aaa", True)]
    assert cards[1].title == "Own."
    assert cards[1].shadows == bundled / "scenarios" / "shared"
    assert [card.shadows for card in (cards[0], cards[2])] == [None, None]
    assert resolve("shared", lab).root == lab.root
    assert resolve("aaa", lab).spec == "aaa"
    assert resolve("scenarios/aaa", lab) == resolve("aaa", lab)
    # The bundled one of a hidden name is reached by its path, and known by it.
    assert resolve(bundled / "scenarios" / "shared", lab).spec == str(bundled / "scenarios" / "shared")

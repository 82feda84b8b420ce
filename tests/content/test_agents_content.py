"""Everything under `agents/` loads, has a source, and resolves; and its README tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simworld.errors import PersonaError
from simworld.persona import VIEWS, default_recipe, read_cast, read_recipe, sample_population, trait_matrix

AGENTS = Path(__file__).parents[2] / "agents"
CASTS = sorted(p for p in (AGENTS / "casts").iterdir() if p.suffix in {".toml", ".jsonl", ".json"})
RECIPES = sorted((AGENTS / "recipes").glob("*.toml"))
README = (AGENTS / "README.md").read_text(encoding="utf-8")


def test_there_is_content() -> None:
    assert [p.name for p in RECIPES] == ["default.toml"]
    assert "book_club.toml" in {p.name for p in CASTS}


@pytest.mark.parametrize("path", CASTS, ids=lambda p: p.stem)
def test_a_cast_loads_without_notes_and_its_ties_resolve(path: Path) -> None:
    cast = read_cast(path)
    assert cast.notes == ()
    ids = {p.id for p in cast.personas}
    for p in cast.personas:
        assert {r.target for r in p.relations} <= ids
        assert {i for s in p.secrets for i in s.visible_to} <= ids
        assert p.provenance.rights in {"pd", "open"}
        assert not p.provenance.real_person
        assert p.preferences
        for view in VIEWS:
            assert p.render(view, audience="self")


def test_the_book_club_is_varied() -> None:
    cast = read_cast(AGENTS / "casts" / "book_club.toml")
    assert len(cast.personas) == 12
    traits = trait_matrix(cast.personas)
    assert (traits.std(axis=0) > 0.5).all()
    assert (abs(traits).sum(axis=1) > 0).all()
    assert all(p.relations for p in cast.personas)
    assert {p.provenance.source for p in cast.personas} == {"written for simworld"}
    assert {p.provenance.rights for p in cast.personas} == {"open"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_loads_and_draws(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    people = sample_population(40, 1, recipe)
    assert len(people) == 40
    assert {p.provenance.source for p in people} == {f"simworld sampler, recipe {recipe.name}"}


def test_the_default_recipe_is_the_one_shipped() -> None:
    assert default_recipe() == read_recipe(AGENTS / "recipes" / "default.toml")


def test_the_readme_names_every_file() -> None:
    for path in (*CASTS, *RECIPES):
        assert f"`{path.relative_to(AGENTS)}`" in README


def _example(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)[0]


@pytest.mark.parametrize("language, suffix", [("toml", ".toml"), ("json", ".jsonl")])
def test_the_readmes_casts_load(tmp_path: Path, language: str, suffix: str) -> None:
    path = tmp_path / f"my_cast{suffix}"
    path.write_text(_example(language), encoding="utf-8")
    cast = read_cast(path)
    assert [p.id for p in cast.personas] == ["ada", "ben"]
    assert cast.notes == ()


def test_the_readmes_error_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my_cast.toml").write_text(_example("toml").replace("value = 4.1", "value = 6.0"), encoding="utf-8")
    with pytest.raises(PersonaError) as caught:
        read_cast("my_cast.toml")
    assert f"    {caught.value}\n" in README

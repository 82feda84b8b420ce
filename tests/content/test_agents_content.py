"""Everything under `agents/` loads, has a source, and resolves; and its README tells the truth."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from simworld.errors import PersonaError
from simworld.persona import VIEWS, Cast, default_recipe, read_cast, read_recipe, sample_population, trait_matrix

AGENTS = Path(__file__).parents[2] / "agents"
CASTS = sorted(p for p in (AGENTS / "casts").iterdir() if p.suffix in {".toml", ".jsonl", ".json"})
RECIPES = sorted((AGENTS / "recipes").glob("*.toml"))
README = (AGENTS / "README.md").read_text(encoding="utf-8")


def test_there_is_content() -> None:
    assert [p.name for p in RECIPES] == ["default.toml"]
    assert {"book_club.toml", "village.toml"} <= {p.name for p in CASTS}


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


@pytest.fixture(scope="module")
def village() -> Cast:
    return read_cast(AGENTS / "casts" / "village.toml")


def test_the_village_is_varied(village: Cast) -> None:
    assert len(village.personas) == 25
    # In units of the scale and in standard deviations of the population.
    assert (np.std([[t.value for t in p.traits] for p in village.personas], axis=0) > 0.5).all()
    assert (trait_matrix(village.personas).std(axis=0) > 0.5).all()
    ages = [p.demographics.age for p in village.personas if p.demographics.age is not None]
    assert (len(ages), min(ages), max(ages)) == (25, 16, 79)
    for p in village.personas:
        assert p.kind == "character"
        assert p.goals
        assert p.style.tone
        assert 2 <= len(p.preferences) <= 4
        assert 1 <= len(p.backstory.events) <= 3
        assert all(e.age is None or e.age <= (p.demographics.age or 0) for e in p.backstory.events)
        assert (p.provenance.source, p.provenance.rights) == ("written for simworld", "open")


def test_fifty_pairs_of_the_village_know_each_other(village: Cast) -> None:
    """Park et al. (2023), arXiv 2304.03442: density 0.167 of the 300 pairs at the start."""
    ties = [(p.id, r.target) for p in village.personas for r in p.relations]
    pairs = {frozenset(tie) for tie in ties}
    assert len(pairs) == 50
    assert round(2 * len(pairs) / (25 * 24), 3) == 0.167
    assert len(ties) == len(set(ties)) == 100, "every tie is told from both sides, once"
    for p in village.personas:
        for r in p.relations:
            assert r.description
            assert r.trust is not None
            assert r.closeness is not None
        for secret in p.secrets:
            assert set(secret.visible_to) <= {r.target for r in p.relations}


def test_households_of_the_village_share_homes(village: Cast) -> None:
    kinds = {(p.id, r.target): r.kind for p in village.personas for r in p.relations}
    homes = {p.id: p.home for p in village.personas}
    assert None not in homes.values()
    assert sorted(Counter(homes.values()).values()) == [1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 4]
    for one, other in combinations(homes, 2):
        if homes[one] == homes[other]:
            assert (one, other) in kinds, "who lives together knows each other"
        if kinds.get((one, other)) in {"husband", "wife"}:
            assert kinds[other, one] in {"husband", "wife"}
            assert homes[one] == homes[other]


def test_places_of_the_village_are_shared_or_somebodys(village: Cast) -> None:
    homes = {p.home for p in village.personas}
    workplaces = {p.occupation.organization for p in village.personas if p.occupation is not None} - {None}
    users = Counter(place for p in village.personas for place in {s.place for s in p.schedule})
    for place, n_users in users.items():
        assert place in homes or place in workplaces or n_users > 1, place
    public = {place for place in users if place not in homes}
    assert len(public) == 10
    assert workplaces <= public
    assert all(users[place] > 1 for place in public)


@pytest.mark.parametrize("kind_of_day", ["workday", "weekend"])
def test_days_of_the_village_are_whole_and_bring_people_together(village: Cast, kind_of_day: str) -> None:
    days = {p.id: [s for s in p.schedule if s.days in {"every day", kind_of_day}] for p in village.personas}
    for stays in days.values():
        assert 3 <= len(stays) <= 6
        assert [s.start for s in stays] == sorted(s.start for s in stays)
        assert stays[0].start <= "10:00"
        assert stays[-1].end >= "18:30"
    known = {(p.id, r.target) for p in village.personas for r in p.relations}
    strangers_met = set()
    for one, other in combinations(days, 2):
        together = any(a.place == b.place and a.overlaps(b) for a in days[one] for b in days[other])
        if together and (one, other) not in known:
            strangers_met |= {one, other}
    assert strangers_met == set(days), "everybody passes somebody it does not know yet"


def test_teenagers_of_the_village_go_to_school(village: Cast) -> None:
    pupils = [p for p in village.personas if (p.demographics.age or 0) < 18]
    assert len(pupils) == 2
    for pupil in pupils:
        assert any(s.place == "Merrowby School" and s.days == "workday" for s in pupil.schedule)


def test_the_village_names_its_host_and_its_candidate(village: Cast) -> None:
    text = (AGENTS / "casts" / "village.toml").read_text(encoding="utf-8")
    jobs = {p.id: p.occupation.title for p in village.personas if p.occupation is not None}
    assert 'host of a party: "odile"' in text
    assert '"desmond" (shopkeeper)' in text
    assert (jobs["odile"], jobs["desmond"]) == ("café owner", "shopkeeper")


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

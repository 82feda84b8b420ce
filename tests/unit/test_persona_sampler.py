"""The population sampler: quotas exact, traits as published, and each persona independent of how many there are."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from simworld.errors import PersonaError
from simworld.persona import (
    IDEOLOGY_WORDS,
    Persona,
    Recipe,
    TraitModel,
    default_recipe,
    largest_remainder,
    sample_population,
    trait_matrix,
)

N = 20_000
SEED = 11


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return default_recipe()


@pytest.fixture(scope="module")
def people(recipe: Recipe) -> list[Persona]:
    return sample_population(N, SEED, recipe)


def digest(people: list[Persona]) -> str:
    return hashlib.sha256("".join(p.digest() for p in people).encode()).hexdigest()


def values(people: list[Persona]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[s.value for s in p.traits] for p in people], dtype=np.float64)


# --- traits ---


def clipped_moments(mean: float, sd: float, lo: float, hi: float) -> tuple[float, float]:
    """Mean and standard deviation of a normal variable clipped to [lo, hi] (a doubly censored normal, closed form)."""
    a, b = (lo - mean) / sd, (hi - mean) / sd
    inside = norm.cdf(b) - norm.cdf(a)
    first = mean * inside + sd * (norm.pdf(a) - norm.pdf(b)) + lo * norm.cdf(a) + hi * norm.sf(b)
    second = (
        (mean**2 + sd**2) * inside
        + 2 * mean * sd * (norm.pdf(a) - norm.pdf(b))
        + sd**2 * (a * norm.pdf(a) - b * norm.pdf(b))
        + lo**2 * norm.cdf(a)
        + hi**2 * norm.sf(b)
    )
    return first, math.sqrt(second - first**2)


def clipped_correlation(model: TraitModel, i: int, j: int) -> float:
    """Correlation of two clipped normal variables, by Gauss–Hermite quadrature in two dimensions."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    r = model.correlation[i][j]
    u, v = np.meshgrid(nodes, nodes, indexing="ij")
    x = np.clip(model.mean[i] + model.sd[i] * u, model.lo, model.hi)
    y = np.clip(model.mean[j] + model.sd[j] * (r * u + math.sqrt(1 - r * r) * v), model.lo, model.hi)
    mass = np.outer(weights, weights)
    (mx, sx), (my, sy) = (clipped_moments(model.mean[k], model.sd[k], model.lo, model.hi) for k in (i, j))
    return float(((x - mx) * (y - my) * mass).sum() / (sx * sy))


def check_traits(people: list[Persona], model: TraitModel) -> None:
    seen = values(people)
    n = len(people)
    assert seen.min() >= model.lo
    assert seen.max() <= model.hi
    correlation = np.corrcoef(seen, rowvar=False)
    for i in range(len(model.traits)):
        mean, sd = clipped_moments(model.mean[i], model.sd[i], model.lo, model.hi)
        assert abs(seen[:, i].mean() - mean) < 4 * sd / math.sqrt(n)
        kurtosis = ((seen[:, i] - mean) ** 4).mean() / sd**4
        assert abs(seen[:, i].std() - sd) < 4 * sd * math.sqrt((kurtosis - 1) / (4 * n))
        for j in range(i):
            r = clipped_correlation(model, i, j)
            assert abs(correlation[i, j] - r) < 4 * (1 - r * r) / math.sqrt(n)


def test_default_traits_have_the_recipes_moments_and_correlations(people: list[Persona], recipe: Recipe) -> None:
    check_traits(people, recipe.traits)


def test_clipping_moves_the_moments_as_it_must(recipe: Recipe) -> None:
    heavy = recipe.traits.model_copy(update={"mean": (4.6, 1.5, 3.0, 4.0, 2.0), "sd": (0.8, 1.0, 1.5, 0.9, 0.7)})
    people = sample_population(8_000, SEED, recipe.model_copy(update={"traits": heavy}))
    check_traits(people, heavy)
    # The unclipped numbers would not pass: the check can tell the difference.
    assert abs(values(people)[:, 0].mean() - 4.6) > 4 * 0.8 / math.sqrt(8_000)


def test_scores_lie_on_a_grid_of_a_hundredth_and_say_their_scale(people: list[Persona]) -> None:
    first = people[0].traits
    assert [(s.model, s.trait, s.lo, s.hi) for s in first] == [
        ("big5", trait, 1.0, 5.0)
        for trait in ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
    ]
    seen = values(people[:500])
    np.testing.assert_array_equal(seen, np.round(seen, 2))
    np.testing.assert_allclose(trait_matrix(people[:500]), 1.5 * (seen - 3.0), atol=1e-12)


# --- quotas ---


def test_quotas_are_met_exactly(people: list[Persona], recipe: Recipe) -> None:
    for marginal in recipe.marginals:
        seen = Counter(getattr(p.demographics, marginal.field) for p in people)
        wanted = dict(zip(marginal.categories, largest_remainder(N, marginal.shares), strict=True))
        assert seen == wanted, marginal.field
    ages = [p.demographics.age or 0 for p in people]
    bands = recipe.age.bands
    assert [sum(b.lo <= age <= b.hi for age in ages) for b in bands] == largest_remainder(N, [b.share for b in bands])
    scales = Counter(p.demographics.politics.scale for p in people if p.demographics.politics)
    assert [scales[point] for point in range(1, 8)] == largest_remainder(N, recipe.ideology.shares)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 50])
def test_quotas_are_met_in_small_populations(n: int, recipe: Recipe) -> None:
    people = sample_population(n, SEED, recipe)
    assert [p.id for p in people] == [f"p{i}" for i in range(n)]
    for marginal in recipe.marginals:
        seen = Counter(getattr(p.demographics, marginal.field) for p in people)
        assert [seen[c] for c in marginal.categories] == largest_remainder(n, marginal.shares)


def test_every_age_of_a_band_occurs_equally_often(people: list[Persona]) -> None:
    ages = Counter(p.demographics.age for p in people)
    young = [ages[age] for age in range(18, 25)]
    expected = sum(young) / 7
    assert all(abs(count - expected) < 4 * math.sqrt(expected * 6 / 7) for count in young)


def test_the_dimensions_are_independent(people: list[Persona]) -> None:
    sex = np.array([p.demographics.sex == "female" for p in people], dtype=float)
    scale = np.array([p.demographics.politics.scale for p in people if p.demographics.politics], dtype=float)
    city = np.array([p.demographics.urbanicity == "city" for p in people], dtype=float)
    for other in (scale, city, values(people)[:, 0], np.arange(N, dtype=float)):
        assert abs(np.corrcoef(sex, other)[0, 1]) < 4 / math.sqrt(N)


def test_people_retire_at_the_recipes_age(people: list[Persona], recipe: Recipe) -> None:
    limit = recipe.occupations.retirement_age
    for p in people[:500]:
        assert p.demographics.employment == ("retired" if (p.demographics.age or 0) >= limit else "employed")


def test_ideology_has_words_and_a_point(people: list[Persona]) -> None:
    for p in people[:200]:
        politics = p.demographics.politics
        assert politics is not None
        assert politics.scale is not None
        assert politics.ideology == IDEOLOGY_WORDS[politics.scale - 1]


# --- interests ---


def test_interests_are_three_to_five_distinct_topics(people: list[Persona], recipe: Recipe) -> None:
    counts: Counter[int] = Counter()
    for p in people:
        topics = [pref.topic for pref in p.preferences]
        counts[len(topics)] += 1
        assert len(set(topics)) == len(topics)
        assert set(topics) <= set(recipe.interests.topics)
        assert all(pref.polarity == 1 for pref in p.preferences)
    assert set(counts) == {3, 4, 5}
    assert all(abs(count - N / 3) < 4 * math.sqrt(N * 2 / 9) for count in counts.values())


def test_the_first_interest_follows_zipf(people: list[Persona], recipe: Recipe) -> None:
    seen = Counter(p.preferences[0].topic for p in people)
    weights = [(rank + 1) ** -recipe.interests.exponent for rank in range(len(recipe.interests.topics))]
    for topic, weight in zip(recipe.interests.topics, weights, strict=True):
        share = weight / sum(weights)
        assert abs(seen[topic] - N * share) < 4 * math.sqrt(N * share * (1 - share))


# --- names, ids, provenance ---


def test_ids_and_names_are_unique(people: list[Persona]) -> None:
    assert len({p.id for p in people}) == N
    assert len({p.name for p in people}) == N


def test_names_are_fakers_and_fit_the_sex(people: list[Persona]) -> None:
    from faker.providers.person.en_US import Provider

    lists = {"female": set(Provider.first_names_female), "male": set(Provider.first_names_male)}
    unfit = 0
    for p in people[:5_000]:
        first, *_, last = p.name.split(" ")
        assert last in Provider.last_names
        assert first in lists["female"] | lists["male"]
        unfit += first not in lists[p.demographics.sex or ""]
    assert unfit == 0


def test_a_second_bearer_gets_an_initial_and_the_27th_gets_two() -> None:
    from simworld.persona._sampler import _initials

    assert [_initials(k) for k in (1, 2, 26, 27, 28, 52, 53, 702, 703)] == [
        "A.", "B.", "Z.", "A. A.", "A. B.", "A. Z.", "B. A.", "Z. Z.", "A. A. A.",
    ]  # fmt: skip


def test_provenance_and_kind(people: list[Persona]) -> None:
    p = people[0]
    assert (p.kind, p.weight) == ("demographic", 1.0)
    assert p.provenance.model_dump(exclude_defaults=True) == {
        "source": "simworld sampler, recipe default",
        "rights": "open",
        "generator": "simworld.persona.sample_population",
        "seed": SEED,
    }


def test_every_sampled_persona_passes_the_strict_record(people: list[Persona]) -> None:
    for p in people[:200]:
        assert Persona.model_validate_json(p.model_dump_json()) == p


def test_mini_reads_as_a_sentence_with_topics_and_ideology(people: list[Persona]) -> None:
    for p in people[:50]:
        text = p.render("mini")
        assert all(pref.topic in text for pref in p.preferences)
        assert p.demographics.politics is not None
        assert (p.demographics.politics.ideology or "?") in text


# --- chance ---

FIXED = {"id", "name", "traits", "preferences", "occupation", "provenance"}


@pytest.mark.parametrize("n", [1, 13, 999, 4_000])
def test_persona_i_is_the_same_in_a_population_of_any_size(n: int, people: list[Persona], recipe: Recipe) -> None:
    for few, many in zip(sample_population(n, SEED, recipe), people, strict=False):
        assert few.model_dump(include=FIXED) == many.model_dump(include=FIXED)


def test_demographics_hardly_move_with_n(people: list[Persona], recipe: Recipe) -> None:
    few = sample_population(4_000, SEED, recipe)
    moved = sum(a.demographics.sex != b.demographics.sex for a, b in zip(few, people, strict=False))
    assert moved < 0.03 * 4_000  # a fresh shuffle would move half


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, people: list[Persona], recipe: Recipe) -> None:
    monkeypatch.setattr("simworld.persona._sampler.BLOCK", 7)
    again = sample_population(100, SEED, recipe)
    assert [p.preferences for p in again] == [p.preferences for p in people[:100]]


def test_same_seed_same_people_other_seed_other_people(recipe: Recipe) -> None:
    one, again, other = (sample_population(300, seed, recipe) for seed in (1, 1, 2))
    assert one == again
    assert not any(a.traits == b.traits for a, b in zip(one, other, strict=True))
    assert sum(a.name == b.name for a, b in zip(one, other, strict=True)) < 10


def test_hash_seed_changes_nothing() -> None:
    program = (
        "import hashlib\nfrom simworld.persona import sample_population\n"
        "print(hashlib.sha256(''.join(p.digest() for p in sample_population(200, 5)).encode()).hexdigest())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    assert seen == {digest(sample_population(200, 5))}


# --- other recipes, refusals ---


def test_a_locale_without_weights(recipe: Recipe) -> None:
    german = recipe.model_copy(update={"names": recipe.names.model_copy(update={"locale": "de_DE"})})
    people = sample_population(2_000, 3, german)
    assert len({p.name for p in people}) == 2_000
    assert {p.name for p in people}.isdisjoint({p.name for p in sample_population(50, 3, recipe)})


def test_a_recipe_without_sex_draws_every_name_from_both(recipe: Recipe) -> None:
    people = sample_population(50, 3, recipe.model_copy(update={"marginals": ()}))
    assert {p.demographics.sex for p in people} == {None}
    assert len({p.name for p in people}) == 50


@pytest.mark.parametrize("locale, near", [("en_us", "en_US"), ("../os", ""), ("klingon", "")])
def test_an_unknown_locale_is_refused(recipe: Recipe, locale: str, near: str) -> None:
    strange = recipe.model_copy(update={"names": recipe.names.model_copy(update={"locale": locale})})
    with pytest.raises(PersonaError, match=f"no person names for locale.*{near}"):
        sample_population(2, 3, strange)


@pytest.mark.parametrize("n", [0, -1, 1_000_001, 2.0, "3", True, None])
def test_a_wrong_n_is_refused(n: Any) -> None:
    with pytest.raises(PersonaError, match="n must be"):
        sample_population(n, 1)


@pytest.mark.parametrize("seed", [1.0, "1", None, True])
def test_a_wrong_seed_is_refused(seed: Any) -> None:
    with pytest.raises(PersonaError, match="seed must be an integer, got"):
        sample_population(2, seed)


def test_importing_the_room_stays_light() -> None:
    program = (
        "import sys, simworld.persona\n"
        "heavy = {'faker', 'scipy', 'polars', 'networkx', 'mesa', 'litellm', 'chromadb', 'plotly', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

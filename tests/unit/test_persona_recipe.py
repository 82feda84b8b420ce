"""Recipes and quotas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simworld.errors import PersonaError
from simworld.persona import Recipe, default_recipe, largest_remainder, read_recipe
from simworld.persona._recipe import PLACEHOLDER


def changed(**blocks: dict[str, Any]) -> Recipe:
    data = default_recipe().model_dump()
    for block, fields in blocks.items():
        data[block] |= fields
    return Recipe.model_validate(data)


@pytest.mark.parametrize(
    "n, shares, counts",
    [
        (10, [0.5, 0.5], [5, 5]),
        (3, [0.5, 0.5], [2, 1]),  # a tie goes to the category declared first
        (1, [0.5, 0.5], [1, 0]),
        (100, [0.29, 0.71], [29, 71]),  # 100 · 0.29 is 28.999999999999996 in binary
        (10, [0.15, 0.15, 0.7], [2, 1, 7]),
        (7, [1 / 3, 1 / 3, 1 / 3], [3, 2, 2]),
        (21, [0.456, 0.344, 0.2], [10, 7, 4]),  # quotas 9.576, 7.224, 4.2
        (0, [0.3, 0.7], [0, 0]),
        (5, [0.0, 1.0], [0, 5]),
    ],
)
def test_largest_remainder_by_hand(n: int, shares: list[float], counts: list[int]) -> None:
    assert largest_remainder(n, shares) == counts


def test_default_moments_are_the_pooled_norms_of_six_adult_groups() -> None:
    """Johnson's IPIP-NEO-120 norms, doi:10.1016/j.jrp.2014.05.003: sums of 24 items for N E O A C, then their SDs."""
    groups = np.array(
        [
            [66.97, 78.90, 86.51, 84.22, 85.50, 16.48, 15.21, 12.65, 13.10, 14.27],  # men, 21 to 40
            [64.11, 77.06, 83.04, 88.33, 91.27, 16.04, 14.31, 13.05, 11.76, 13.35],  # men, 41 to 60
            [58.42, 79.73, 79.78, 90.20, 95.31, 15.48, 13.63, 12.21, 11.73, 11.99],  # men over 60
            [72.14, 80.78, 88.25, 91.91, 87.57, 16.16, 14.64, 12.15, 11.39, 13.87],  # women, 21 to 40
            [67.38, 78.62, 86.15, 95.73, 93.45, 16.10, 14.19, 12.62, 9.84, 12.94],  # women, 41 to 60
            [63.48, 78.22, 81.56, 97.17, 96.44, 14.92, 12.73, 12.66, 9.52, 12.43],  # women over 60
        ]
    )
    means, sds = groups[:, :5], groups[:, 5:]
    to_ocean = [2, 4, 1, 3, 0]
    mean = means.mean(axis=0)[to_ocean] / 24
    sd = np.sqrt((sds**2).mean(axis=0) + means.var(axis=0))[to_ocean] / 24
    traits = default_recipe().traits
    assert traits.traits == ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism")
    np.testing.assert_allclose(traits.mean, mean, atol=5.1e-5)
    np.testing.assert_allclose(traits.sd, sd, atol=5.1e-5)


def test_default_correlations_are_the_observed_ones_of_van_der_linden() -> None:
    """Van der Linden, te Nijenhuis and Bakker 2010, doi:10.1016/j.jrp.2010.03.003."""
    traits = default_recipe().traits
    r = {
        frozenset((a, b)): traits.correlation["OCEAN".index(a)]["OCEAN".index(b)]
        for a in "OCEAN"
        for b in "OCEAN"
        if a < b
    }
    published = {"OC": 0.14, "OE": 0.31, "OA": 0.14, "ON": -0.12, "CE": 0.21, "CA": 0.31, "CN": -0.32}
    published |= {"EA": 0.18, "EN": -0.26, "AN": -0.26}
    assert r == {frozenset(pair): value for pair, value in published.items()}


def test_cholesky_equals_numpy() -> None:
    traits = default_recipe().traits
    np.testing.assert_allclose(traits.cholesky(), np.linalg.cholesky(np.array(traits.correlation)), atol=1e-14)


def test_every_number_names_a_source_and_placeholders_say_so() -> None:
    recipe = default_recipe()
    sources = [recipe.age.source, recipe.ideology.source, recipe.interests.source, recipe.occupations.source]
    sources += [m.source for m in recipe.marginals]
    assert all(source.startswith(PLACEHOLDER) for source in sources)
    for cited in (recipe.traits.source_moments, recipe.traits.source_correlation):
        assert "doi:" in cited
        assert PLACEHOLDER not in cited


@pytest.mark.parametrize(
    "blocks, says",
    [
        ({"traits": {"sd": (0.5, 0.5, 0.5, 0.5, 0.0)}}, "greater than 0"),
        ({"traits": {"sd": (0.5,)}}, "5 traits need 5 numbers"),
        ({"traits": {"mean": (3.0, 3.0, 3.0, 3.0, 6.0)}}, "must lie between"),
        ({"traits": {"lo": 5.0}}, "'lo' must be below 'hi'"),
        ({"traits": {"correlation": ((1.0,),)}}, "5 rows of 5"),
        ({"age": {"bands": [{"lo": 30, "hi": 20, "share": 1.0}]}}, "must not exceed"),
        ({"age": {"bands": [{"lo": 20, "hi": 30, "share": 0.9}]}}, "must sum to 1, got 0.9"),
        ({"ideology": {"shares": (0.5, 0.5)}}, "at least 7"),
        ({"interests": {"at_most": 41}}, "at_least ≤ at_most ≤ number of topics, got 3, 41, 40"),
        ({"interests": {"at_least": 0}}, "greater than or equal to 1"),
        ({"interests": {"topics": ("a", "b", "c", "d", "a")}}, "stands twice"),
        ({"occupations": {"titles": ()}}, "at least 1"),
    ],
)
def test_impossible_recipes_are_refused(blocks: dict[str, dict[str, Any]], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        changed(**blocks)


def correlations(value: float) -> list[list[float]]:
    return [[1.0 if i == j else value for j in range(5)] for i in range(5)]


def test_correlations_must_be_possible() -> None:
    # k traits with one common correlation r exist exactly for r > −1/(k − 1).
    changed(traits={"correlation": correlations(-0.249)})
    for impossible in (-0.25, -0.251, 1.0):
        with pytest.raises(ValidationError, match="not positive definite"):
            changed(traits={"correlation": correlations(impossible)})
    lopsided = correlations(0.1)
    lopsided[0][1] = 0.2
    with pytest.raises(ValidationError, match=r"0\.2 one way and 0\.1 the other"):
        changed(traits={"correlation": lopsided})
    doubled = correlations(0.1)
    doubled[2][2] = 2.0
    with pytest.raises(ValidationError, match=r"must have 1 on its diagonal, got 2\.0 for 'extraversion'"):
        changed(traits={"correlation": doubled})


# --- files ---


@pytest.fixture
def default_text() -> str:
    return (Path(__file__).parents[2] / "agents" / "recipes" / "default.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "old, new, field, says",
    [
        (
            "retirement_age = 66",
            "retirement_age = 200",
            "occupations.retirement_age",
            "less than or equal to 131, got 200",
        ),
        ("exponent = 0.5", "exponennt = 0.5", "interests.exponent", "is required and missing"),
        ('locale = "en_US"', 'locale = "en_US"\nscript = 1', "names.script", "is not a field of a recipe"),
        ("shares = [0.51, 0.49]", "shares = [0.51, 0.48]", "marginals.0", "'shares' must sum to 1, got 0.99"),
        ('field = "urbanicity"', 'field = "shoes"', "marginals.2.field", "got 'shoes'"),
    ],
)
def test_recipe_errors_name_file_line_and_field(
    tmp_path: Path, default_text: str, old: str, new: str, field: str, says: str
) -> None:
    assert default_text.count(old) == 1
    path = tmp_path / "mine.toml"
    path.write_text(default_text.replace(old, new), encoding="utf-8")
    with pytest.raises(PersonaError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line ")
    assert f"field '{field}'" in message
    assert says in message
    line = int(message.removeprefix(f"{path}, line ").split(",")[0])
    text = path.read_text(encoding="utf-8").split("\n")
    # The line is that of the key, or, where the key is missing or the fault is of a whole table, of the table's header.
    block, _, key = field.partition(".")
    assert text[line - 1].partition(" ")[0] in {key.rpartition(".")[2], f"[{block}]", f"[[{block}]]"}


def test_a_missing_or_broken_recipe(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match=r"no\.toml: no such recipe"):
        read_recipe(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("name = \n")
    with pytest.raises(PersonaError, match=r"bad\.toml, line 1: not valid TOML"):
        read_recipe(tmp_path / "bad.toml")

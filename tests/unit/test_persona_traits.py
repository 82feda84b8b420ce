"""Standardised traits: z = 6·(value − midpoint)/(hi − lo), clipped to [−3, 3]; a missing trait is 0."""

from __future__ import annotations

import numpy as np
import pytest

from simworld.errors import PersonaError
from simworld.persona import TRAIT_LETTERS, Demographics, Persona, Provenance, TraitScore, trait_matrix, trait_z


def with_traits(*traits: TraitScore, name: str = "Ada") -> Persona:
    ours = Provenance(source="test", rights="open")
    return Persona(id=name, name=name, demographics=Demographics(age=36), traits=traits, provenance=ours)


@pytest.mark.parametrize(
    "value, lo, hi, z",
    [(3.0, 1, 5, 0.0), (5.0, 1, 5, 3.0), (1.0, 1, 5, -3.0), (4.0, 1, 5, 1.5), (60.0, 0, 100, 0.6), (1.0, 1, 7, -3.0)],
)
def test_by_hand(value: float, lo: float, hi: float, z: float) -> None:
    ada = with_traits(TraitScore(model="big5", trait="openness", value=value, lo=lo, hi=hi))
    assert trait_z(ada, "O") == pytest.approx(z, abs=1e-12)


@pytest.mark.parametrize("letter, name", TRAIT_LETTERS.items())
def test_every_letter_reads_its_name_and_itself_in_any_case(letter: str, name: str) -> None:
    for written in (name, name.title(), letter, letter.lower()):
        ada = with_traits(TraitScore(model="big5", trait=written, value=4.0))
        assert [trait_z(ada, key) for key in TRAIT_LETTERS] == [1.5 if key == letter else 0.0 for key in TRAIT_LETTERS]


def test_hexaco_e_is_emotionality_and_x_is_extraversion() -> None:
    assert trait_z(with_traits(TraitScore(model="hexaco", trait="E", value=5.0)), "E") == 0.0
    assert trait_z(with_traits(TraitScore(model="hexaco", trait="X", value=5.0)), "E") == 3.0
    assert trait_z(with_traits(TraitScore(model="hexaco", trait="H", value=5.0)), "H") == 3.0


def test_facets_texts_and_other_models_do_not_count() -> None:
    ada = with_traits(
        TraitScore(model="big5", trait="openness", facet="ideas", value=5.0),
        TraitScore(model="big5", trait="openness", level="high"),
        TraitScore(model="mbti", trait="openness", value=5.0),
    )
    assert trait_z(ada, "O") == 0.0
    assert trait_matrix([ada]).tolist() == [[0.0] * 5]


def test_the_first_rater_with_a_value_counts_and_nobody_is_averaged() -> None:
    ada = with_traits(
        TraitScore(model="big5", trait="openness", text="curious"),
        TraitScore(model="big5", trait="openness", value=2.0, source="rater:ben"),
        TraitScore(model="big5", trait="openness", value=5.0, source="survey"),
    )
    assert trait_z(ada, "O") == -1.5
    assert trait_matrix([ada])[0, 0] == -1.5


def test_matrix_has_a_row_a_persona_and_a_column_a_letter() -> None:
    ada = with_traits(
        TraitScore(model="big5", trait="neuroticism", value=2.0), TraitScore(model="big5", trait="openness", value=4.0)
    )
    ben = with_traits(TraitScore(model="hexaco", trait="honesty-humility", value=5.0), name="Ben")
    matrix = trait_matrix([ada, ben], "NHO")
    assert matrix.dtype == np.float64
    assert matrix.tolist() == [[-1.5, 0.0, 1.5], [0.0, 3.0, 0.0]]
    assert matrix.tolist() == [[trait_z(p, letter) for letter in "NHO"] for p in (ada, ben)]
    assert trait_matrix([]).shape == (0, 5)


def test_unknown_and_repeated_letters_are_refused() -> None:
    with pytest.raises(PersonaError, match="no trait letter 'X'; letters: O openness"):
        trait_z(with_traits(), "X")
    with pytest.raises(PersonaError, match="no trait letter 'x'"):
        trait_matrix([], "Ox")
    with pytest.raises(PersonaError, match="stands twice"):
        trait_matrix([], "OO")

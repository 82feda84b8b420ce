"""Trait scores as numbers: the standardised form rule policies read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simworld.errors import PersonaError
from simworld.persona._persona import Persona
from simworld.persona._records import TraitScore

TRAIT_LETTERS = {
    "O": "openness",
    "C": "conscientiousness",
    "E": "extraversion",
    "A": "agreeableness",
    "N": "neuroticism",
    "H": "honesty-humility",
}
"""Letters of the traits rule policies may ask for, and the names they are stored under."""

_BIG_FIVE = {name: letter for letter, name in TRAIT_LETTERS.items()}
_BIG_FIVE |= {letter.lower(): letter for letter in TRAIT_LETTERS}
_BIG_FIVE |= {"openness to experience": "O", "extroversion": "E", "honesty humility": "H"}
# In HEXACO's own letters E is emotionality, which is not extraversion, and X is extraversion.
_HEXACO = {key: letter for key, letter in _BIG_FIVE.items() if key not in {"e", "n", "neuroticism"}} | {"x": "E"}
_NAMES = {"big5": _BIG_FIVE, "hexaco": _HEXACO}


def _letter(score: TraitScore) -> str | None:
    return _NAMES.get(score.model, {}).get(score.trait.strip().lower())


def _z(value: float, lo: float, hi: float) -> float:
    z = 6.0 * (value - (lo + hi) / 2.0) / (hi - lo)
    return min(max(z, -3.0), 3.0)


def trait_z(persona: Persona, letter: str) -> float:
    """Return the standardised score of one trait, in [-3, 3]; 0 when the persona has none.

    z = 6 · (value − midpoint) / (hi − lo), clipped to [−3, 3] (our own choice, so that both ends of any scale are
    three units from its middle). Read from the Big Five and HEXACO rows of the whole trait; where several raters or
    instruments scored it, the first row with a value counts and nothing is averaged.

    Args:
        persona: whose trait.
        letter: a key of `TRAIT_LETTERS`: O, C, E, A, N or H.

    Raises:
        PersonaError: an unknown letter.
    """
    _check(letter)
    for score in persona.traits:
        if score.value is not None and score.facet is None and _letter(score) == letter:
            return _z(score.value, score.lo, score.hi)
    return 0.0


def trait_matrix(personas: Sequence[Persona], letters: str = "OCEAN") -> npt.NDArray[np.float64]:
    """Return the standardised scores of many personas, shape (n personas, n letters); see `trait_z`.

    Raises:
        PersonaError: an unknown letter, or one given twice.
    """
    for letter in letters:
        _check(letter)
    if len(set(letters)) != len(letters):
        raise PersonaError(f"a trait letter stands twice in {letters!r}; give each once")
    out = np.zeros((len(personas), len(letters)))
    column = {letter: at for at, letter in enumerate(letters)}
    columns = {(model, name): column.get(letter) for model, names in _NAMES.items() for name, letter in names.items()}
    for row, persona in enumerate(personas):
        unseen = set(column.values())
        for score in persona.traits:
            at = columns.get((score.model, score.trait.strip().lower()))
            if at in unseen and score.value is not None and score.facet is None:
                unseen.discard(at)
                out[row, at] = _z(score.value, score.lo, score.hi)
    return out


def _check(letter: str) -> None:
    if letter not in TRAIT_LETTERS:
        known = ", ".join(f"{key} {name}" for key, name in TRAIT_LETTERS.items())
        raise PersonaError(f"no trait letter {letter!r}; letters: {known}")

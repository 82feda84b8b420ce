"""Attributes of personas and their levels: by what people are told apart when it is asked who trusts more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError, did_you_mean
from simworld.persona import trait_matrix

type Codes = npt.NDArray[np.int64]

AGE_BANDS = (30, 45, 65)
"""Ages at which a band begins. That there are four is [reported]; where they are cut is not known: [design]."""
DEGREES = (
    "no school certificate", "secondary school", "vocational training", "bachelor's degree", "postgraduate degree",
)  # fmt: skip
"""Five, as in the study [reported]; the words are those of sampled personas."""
WORK = ("employed", "unemployed", "retired", "in education")
"""Four, as in the study [reported]; sampled personas are employed or retired."""
MIN_PER_LEVEL = 2
"""Personas a level needs to be asked about; arbitrary."""
MIDDLE_AGE, AGE_RANGE = 53.5, 71.0
"""Midpoint and width of the ages of sampled personas, 18 to 89 years: z_age as for a trait."""


class Attribute(NamedTuple):
    words: str
    """What it is called in a question."""
    levels: tuple[str, ...]
    """Labels, in their natural order."""
    code: Callable[[Sequence[Any], np.random.Generator], Codes]
    """Level of each persona, −1 where it is not known; ties are broken by the draws."""


def z_age(persona: Any) -> float:
    """Return the standardised age, 6·(age − 53.5)/71 clipped to [−3, 3]; 0 where no age is given."""
    age = None if persona is None else persona.demographics.age
    return 0.0 if age is None else min(max(6.0 * (age - MIDDLE_AGE) / AGE_RANGE, -3.0), 3.0)


def _by_age(people: Sequence[Any], luck: np.random.Generator) -> Codes:
    ages = [p.demographics.age for p in people]
    return np.array([-1 if a is None or a < 18 else sum(a >= b for b in AGE_BANDS) for a in ages], np.int64)


def _thirds(letter: str) -> Callable[[Sequence[Any], np.random.Generator], Codes]:
    def code(people: Sequence[Any], luck: np.random.Generator) -> Codes:
        z = trait_matrix(people, letter)[:, 0]
        order = np.lexsort((luck.random(len(z)), z))
        codes = np.empty(len(z), np.int64)
        codes[order] = np.arange(len(z)) * 3 // max(len(z), 1)
        return codes

    return code


def _by_words(field: str, levels: tuple[str, ...]) -> Callable[[Sequence[Any], np.random.Generator], Codes]:
    at = {label: i for i, label in enumerate(levels)}
    return lambda people, luck: np.array([at.get(getattr(p.demographics, field) or "", -1) for p in people], np.int64)


def _by_politics(people: Sequence[Any], luck: np.random.Generator) -> Codes:
    scale = [p.demographics.politics.scale if p.demographics.politics is not None else None for p in people]
    # Levels of the study are not known, only that there are four: liberal 1-3, moderate 4, then 5 and 6-7. [design]
    return np.array([-1 if s is None else (0, 0, 0, 1, 2, 3, 3)[s - 1] for s in scale], np.int64)


_THIRDS = ("low", "medium", "high")
ATTRIBUTES: dict[str, Attribute] = {
    "age": Attribute("age", ("18 to 29", "30 to 44", "45 to 64", "65 and over"), _by_age),
    "conscientiousness": Attribute("conscientiousness", _THIRDS, _thirds("C")),
    "degree": Attribute("highest degree", DEGREES, _by_words("education", DEGREES)),
    "openness": Attribute("openness to experience", _THIRDS, _thirds("O")),
    "politics": Attribute(
        "political views", ("liberal", "moderate", "slightly conservative", "conservative"), _by_politics
    ),
    "work": Attribute("work status", WORK, _by_words("employment", WORK)),
    "agreeableness": Attribute("agreeableness", _THIRDS, _thirds("A")),
    "extraversion": Attribute("extraversion", _THIRDS, _thirds("E")),
    "neuroticism": Attribute("neuroticism", _THIRDS, _thirds("N")),
}
"""The first six are attributes of the study that sampled personas have. The last three are not among its attributes,
but the rule policy reads them. Family structure at 16, same residence, US citizenship and religion are not sampled."""


class Levels(NamedTuple):
    """One attribute over a bank of personas."""

    name: str
    words: str
    labels: tuple[str, ...]
    """Levels that somebody has, in their natural order."""
    codes: Codes
    """Index into ``labels`` of each persona, −1 for none; shape (n personas,)."""

    @property
    def k(self) -> int:
        """Number of levels."""
        return len(self.labels)


def levels_of(name: str, people: Sequence[Any], luck: np.random.Generator) -> Levels:
    """Return the levels of an attribute that at least two personas of the bank have; the draws break ties."""
    attribute = ATTRIBUTES[name]
    codes = attribute.code(people, luck)
    counts = np.bincount(codes[codes >= 0], minlength=len(attribute.levels))
    kept = np.flatnonzero(counts >= MIN_PER_LEVEL)
    renumber = np.full(len(attribute.levels) + 1, -1, np.int64)
    renumber[kept] = np.arange(len(kept))
    return Levels(name, attribute.words, tuple(attribute.levels[i] for i in kept.tolist()), renumber[codes])


def listed(text: str, known: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the names in a comma-separated list, each once, in the order given.

    Raises:
        ParameterError: a name that is not known, or no name.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise ParameterError(f"no {what} {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    if not names:
        raise ParameterError(f"no {what} is named; there are {', '.join(known)}")
    return names

"""Recipes: what a population is drawn from, with a source for every number."""

from __future__ import annotations

import math
from pathlib import Path as FilePath
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, Strict, ValidationError, model_validator

from simworld.errors import PersonaError, did_you_mean
from simworld.persona._cast import explain, parse_toml, read_text
from simworld.persona._positions import nearest_line, toml_lines
from simworld.persona._records import Real, Whole, Words
from simworld.schema import Record

PLACEHOLDER = "placeholder"
"""What a `source` begins with when the numbers are ours and not from a publication."""

type _Shares = Annotated[tuple[Annotated[float, Strict(), Field(ge=0.0)], ...], Field(min_length=1)]


def _check_shares(shares: tuple[float, ...], categories: tuple[object, ...]) -> None:
    if len(shares) != len(categories):
        raise ValueError(f"{len(categories)} categories need as many 'shares', got {len(shares)}")
    if abs(math.fsum(shares) - 1.0) > 1e-6:
        raise ValueError(f"'shares' must sum to 1, got {math.fsum(shares):.6g}")


class TraitModel(Record):
    """Traits drawn together from a normal distribution and clipped to their scale."""

    model: Literal["big5", "hexaco", "custom"] = "big5"
    """Trait model of the scores."""
    traits: Annotated[tuple[Words, ...], Field(min_length=1)]
    """Trait names, in the order of the numbers below."""
    lo: Real = 1.0
    """Lowest score."""
    hi: Real = 5.0
    """Highest score."""
    mean: tuple[Real, ...]
    """Means before clipping, one a trait, in [lo, hi]."""
    sd: tuple[Annotated[float, Strict(), Field(gt=0.0)], ...]
    """Standard deviations before clipping, one a trait."""
    correlation: tuple[tuple[Real, ...], ...]
    """Correlations before clipping: symmetric, ones on the diagonal, positive definite."""
    source_moments: Words
    """Source of means and standard deviations."""
    source_correlation: Words
    """Source of the correlations."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        k = len(self.traits)
        if len(set(self.traits)) != k:
            raise ValueError("a trait stands twice in 'traits'")
        if not self.lo < self.hi:
            raise ValueError(f"'lo' must be below 'hi', got lo {self.lo!r} and hi {self.hi!r}")
        if len(self.mean) != k or len(self.sd) != k:
            raise ValueError(f"{k} traits need {k} numbers in 'mean' and 'sd', got {len(self.mean)} and {len(self.sd)}")
        if not all(self.lo <= m <= self.hi for m in self.mean):
            raise ValueError(f"'mean' must lie between 'lo' {self.lo!r} and 'hi' {self.hi!r}, got {list(self.mean)!r}")
        rows = self.correlation
        if len(rows) != k or any(len(row) != k for row in rows):
            raise ValueError(f"'correlation' must have {k} rows of {k} numbers")
        for i in range(k):
            if rows[i][i] != 1.0:
                raise ValueError(
                    f"'correlation' must have 1 on its diagonal, got {rows[i][i]!r} for {self.traits[i]!r}"
                )
            for j in range(i):
                if rows[i][j] != rows[j][i]:
                    pair = f"{self.traits[j]!r} and {self.traits[i]!r}"
                    raise ValueError(f"'correlation' of {pair} is {rows[j][i]!r} one way and {rows[i][j]!r} the other")
        self.cholesky()
        return self

    def cholesky(self) -> list[list[float]]:
        """Return the lower triangle L with L·Lᵀ = correlation (Cholesky–Banachiewicz), shape (k, k).

        Written out, because a linear-algebra library may round differently from one machine to the next.

        Raises:
            ValueError: the matrix is not positive definite.
        """
        k = len(self.traits)
        lower = [[0.0] * k for _ in range(k)]
        for i in range(k):
            for j in range(i + 1):
                left = self.correlation[i][j] - math.fsum(lower[i][m] * lower[j][m] for m in range(j))
                if i != j:
                    lower[i][j] = left / lower[j][j]
                elif left > 1e-12:
                    lower[i][i] = math.sqrt(left)
                else:
                    raise ValueError(
                        "'correlation' is not positive definite: no persons can have these correlations; "
                        "lower the largest ones"
                    )
        return lower


class AgeBand(Record):
    """Ages drawn uniformly from a band."""

    lo: Annotated[int, Strict(), Field(ge=0, le=130)]
    """Youngest age, in years."""
    hi: Annotated[int, Strict(), Field(ge=0, le=130)]
    """Oldest age, in years, included."""
    share: Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
    """Share of the population."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lo > self.hi:
            raise ValueError(f"'lo' must not exceed 'hi', got lo {self.lo!r} and hi {self.hi!r}")
        return self


class AgeModel(Record):
    """Ages, by quota over bands."""

    bands: Annotated[tuple[AgeBand, ...], Field(min_length=1)]
    """The bands."""
    source: Words
    """Source of the shares."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        _check_shares(tuple(band.share for band in self.bands), self.bands)
        return self


type CategoryField = Literal[
    "sex",
    "gender",
    "orientation",
    "country",
    "region",
    "city",
    "urbanicity",
    "education",
    "field_of_study",
    "income_band",
    "wealth_band",
    "class_self",
    "marital",
    "household",
    "religion",
    "disability",
    "citizenship",
    "military",
]
"""Demographic fields a recipe may set by quota."""


class Marginal(Record):
    """One demographic field, by quota over its categories."""

    field: CategoryField
    """The field of `Demographics`."""
    categories: Annotated[tuple[Words, ...], Field(min_length=1)]
    """Values, in the order that breaks ties."""
    shares: _Shares
    """Share of each category; they sum to 1."""
    source: Words
    """Source of the shares."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        _check_shares(self.shares, self.categories)
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("a category stands twice in 'categories'")
        return self


class IdeologyModel(Record):
    """Political self-placement, by quota over the seven points from extremely liberal to extremely conservative."""

    shares: Annotated[_Shares, Field(min_length=7, max_length=7)]
    """Share of each point, 1 to 7."""
    source: Words
    """Source of the shares."""

    @model_validator(mode="after")
    def _sums(self) -> Self:
        _check_shares(self.shares, tuple(range(7)))
        return self


class InterestModel(Record):
    """Interests: some distinct topics a person, popular topics more often."""

    topics: Annotated[tuple[Words, ...], Field(min_length=1)]
    """Topics, the most popular first."""
    exponent: Annotated[float, Strict(), Field(ge=0.0, le=10.0)]
    """Zipf exponent s: the topic of rank r has weight r^(−s); 0 makes all equally popular."""
    at_least: Annotated[int, Strict(), Field(ge=1)]
    """Fewest interests a person."""
    at_most: Whole
    """Most interests a person; every number between is equally likely."""
    source: Words
    """Source of topics and exponent."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.at_least <= self.at_most <= len(self.topics):
            raise ValueError(
                f"needs at_least ≤ at_most ≤ number of topics, got {self.at_least}, {self.at_most}, {len(self.topics)}"
            )
        if len(set(self.topics)) != len(self.topics):
            raise ValueError("a topic stands twice in 'topics'")
        return self


class OccupationModel(Record):
    """Occupations, all equally likely, and when they end."""

    titles: Annotated[tuple[Words, ...], Field(min_length=1)]
    """Job titles that fit "works as a …"."""
    retirement_age: Annotated[int, Strict(), Field(ge=0, le=131)]
    """From this age, in years, a person is retired from the occupation."""
    source: Words
    """Source of the titles."""


class NameModel(Record):
    """Names from Faker's lists, with Faker's weights."""

    locale: Words = "en_US"
    """Faker locale."""
    source: Words
    """Where the names come from."""


class Recipe(Record):
    """What a population is drawn from; see `sample_population`."""

    name: Words
    """Name, written into the provenance of every persona."""
    description: str
    """Whom it describes, in a sentence."""
    traits: TraitModel
    """Traits."""
    age: AgeModel
    """Ages."""
    marginals: tuple[Marginal, ...] = ()
    """Other demographic fields; each is independent of the others."""
    ideology: IdeologyModel
    """Political self-placement."""
    interests: InterestModel
    """Interests."""
    occupations: OccupationModel
    """Occupations."""
    names: NameModel
    """Names."""

    @model_validator(mode="after")
    def _fields_once(self) -> Self:
        fields = [marginal.field for marginal in self.marginals]
        if len(set(fields)) != len(fields):
            raise ValueError(f"a field stands twice in 'marginals': {fields!r}")
        return self


def read_recipe(path: str | FilePath) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        PersonaError: an unreadable or malformed file, an unknown field, a value out of range; names file, line, field.
    """
    source = str(path)
    text = read_text(FilePath(path), source, "recipe")
    document = parse_toml(text, source)
    lines = toml_lines(text)
    try:
        return Recipe.model_validate(document)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        if first["type"] == "extra_forbidden":
            loc = tuple(part for part in first["loc"] if isinstance(part, str | int))
            field = ".".join(map(str, loc))
            near = did_you_mean(str(loc[-1]), _field_names())
            raise PersonaError(
                f"{source}, line {nearest_line(lines, loc)}, field {field!r}: is not a field of a recipe{near}; "
                "correct or remove it"
            ) from exc
        raise PersonaError(explain(exc, source, "the recipe", lambda *loc: nearest_line(lines, loc))) from exc


def _field_names() -> set[str]:
    names = set(Recipe.model_fields)
    for info in Recipe.model_fields.values():
        for record in (info.annotation, *get_args(info.annotation)):
            if isinstance(record, type) and issubclass(record, Record):
                names |= set(record.model_fields)
    return names


def default_recipe() -> Recipe:
    """Return the recipe that comes with simworld, ``agents/recipes/default.toml``.

    Raises:
        PersonaError: the file is missing from the installation.
    """
    package = FilePath(__file__).resolve().parents[1]
    # A wheel carries the lab's content inside the package; a checkout has it beside the package.
    places = [package / "_lab" / "agents", package.parent / "agents"]
    for place in places:
        file = place / "recipes" / "default.toml"
        if file.is_file():
            return read_recipe(file)
    raise PersonaError(
        f"no recipes/default.toml in {' or '.join(map(str, places))}; reinstall simworld or pass a recipe"
    )

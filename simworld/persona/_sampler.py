"""Drawing a population from a recipe."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import PersonaError, did_you_mean
from simworld.persona._persona import Persona
from simworld.persona._quota import largest_remainder
from simworld.persona._recipe import InterestModel, NameModel, Recipe, TraitModel, default_recipe
from simworld.persona._records import (
    Demographics,
    Occupation,
    Politics,
    Preference,
    Provenance,
    TraitScore,
)
from simworld.persona._render import IDEOLOGY_WORDS
from simworld.rng import stream

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

MOST_PERSONAS = 1_000_000
"""Largest population of one call: about 6 GB of records."""

GRID = 400
"""Steps a trait's scale is divided into (0.01 on a scale from 1 to 5), so that equal scores share one record; finer
than any questionnaire of some dozen items, and too fine to move a mean or a correlation."""

BLOCK = 50_000
"""Personas whose interests are drawn at once; bounds memory, changes no draw."""

UNISEX_WITHIN = 0.05
"""Distance from a sex's boundary, as a share of the population, within which a name is one that both sexes bear.
One standard error of a quota at n = 100: whose sex changes with n keeps a fitting name. At n = 10 about one name in
twenty still does not fit, at n = 1,000 none."""


def sample_population(n: int, seed: int, recipe: Recipe | None = None) -> list[Persona]:
    """Draw ``n`` personas of kind ``demographic``, with weight 1 and ids ``p0`` to ``p<n−1>``.

    Traits are multivariate normal with the recipe's means, spreads and correlations, clipped to the scale, so what is
    beyond an end lies on it and means, spreads and correlations shrink a little; then rounded to 1/400 of the scale.
    Interests are distinct topics, drawn one after the other with Zipf weights (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003). Age bands, the recipe's marginals and ideology meet integer quotas exactly (see
    `largest_remainder`), each dimension shuffled by its own stream and independent of the others. Names are drawn from
    Faker's lists with Faker's weights; who bears the name of an earlier persona gets a middle initial.

    What a persona is does not depend on how many others there are: traits, interests, occupation and name of persona i
    are the same for every n. Its demographics follow the quotas and so may change with n, though only for those near a
    quota's edge.

    Args:
        n: number of personas, 1 to 1,000,000.
        seed: the only source of chance.
        recipe: what to draw from; the recipe that comes with simworld when None.

    Raises:
        PersonaError: ``n`` or ``seed`` is not an integer or ``n`` is out of range; a locale Faker does not have.
    """
    n, seed = _integer("n", n), _integer("seed", seed)
    if not 1 <= n <= MOST_PERSONAS:
        raise PersonaError(f"n must be 1 to {MOST_PERSONAS:,} personas, got {n!r}")
    if recipe is None:
        recipe = default_recipe()
    sexes = _sexes(n, seed, recipe)
    columns = zip(
        _names(n, seed, recipe.names, sexes),
        _demographics(n, seed, recipe),
        _occupations(n, seed, recipe),
        _traits(n, seed, recipe.traits),
        _interests(n, seed, recipe.interests),
        strict=True,
    )
    provenance = Provenance(
        source=f"simworld sampler, recipe {recipe.name}",
        rights="open",
        generator="simworld.persona.sample_population",
        seed=seed,
    )
    with _collector_paused():
        return [
            Persona(
                id=f"p{i}",
                name=name,
                demographics=demographics,
                occupation=occupation,
                traits=traits,
                preferences=preferences,
                provenance=provenance,
            )
            for i, (name, demographics, occupation, traits, preferences) in enumerate(columns)
        ]


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    # The records hold no cycles and all of them stay; looking for garbage among them took 40 % of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _integer(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise PersonaError(f"{what} must be an integer, got {value!r}")
    return int(value)


# --- quotas ---


def _by_quota(n: int, seed: int, dimension: str, shares: Sequence[float]) -> Ints:
    """Return the category of each persona, shape (n,), with exact counts.

    Personas are lined up by a uniform draw of their own and the line is cut at the quotas: a shuffle in which a
    persona's place hardly moves as n changes.
    """
    line = np.argsort(stream(seed, "population", dimension).random(n), kind="stable")
    out = np.empty(n, dtype=np.int64)
    out[line] = np.repeat(np.arange(len(shares)), largest_remainder(n, shares))
    return out


def _demographics(n: int, seed: int, recipe: Recipe) -> Iterator[Demographics]:
    bands = recipe.age.bands
    band = _by_quota(n, seed, "age", [b.share for b in bands])
    within = stream(seed, "population", "age", "within").random(n)
    lo = np.array([b.lo for b in bands])[band]
    width = np.array([b.hi - b.lo + 1 for b in bands])[band]
    ages = (lo + (within * width).astype(np.int64)).tolist()
    politics = [Politics(ideology=words, scale=at) for at, words in enumerate(IDEOLOGY_WORDS, start=1)]
    ideology = _by_quota(n, seed, "ideology", recipe.ideology.shares).tolist()
    marginals = [[m.categories[c] for c in _by_quota(n, seed, m.field, m.shares).tolist()] for m in recipe.marginals]
    fields = [m.field for m in recipe.marginals]
    retirement = recipe.occupations.retirement_age
    for i, age in enumerate(ages):
        yield Demographics(
            age=age,
            employment="retired" if age >= retirement else "employed",
            politics=politics[ideology[i]],
            **{field: column[i] for field, column in zip(fields, marginals, strict=True)},
        )


# --- what does not depend on n ---


def _traits(n: int, seed: int, model: TraitModel) -> Iterator[tuple[TraitScore, ...]]:
    k = len(model.traits)
    scores = [
        [
            TraitScore(model=model.model, trait=trait, value=_grid_value(model, at), lo=model.lo, hi=model.hi)
            for at in range(GRID + 1)
        ]
        for trait in model.traits
    ]
    at = _trait_grid(n, seed, model)
    for row in at.tolist():
        yield tuple(scores[j][row[j]] for j in range(k))


def _grid_value(model: TraitModel, at: int) -> float:
    # Rounded so that 0.01 steps are written with two decimals.
    return min(max(round(model.lo + at * (model.hi - model.lo) / GRID, 10), model.lo), model.hi)


def _trait_grid(n: int, seed: int, model: TraitModel) -> Ints:
    """Return trait scores as steps of the grid, shape (n, k), each in [0, GRID]."""
    k = len(model.traits)
    lower = model.cholesky()
    normal = stream(seed, "population", "traits").standard_normal((n, k))
    out = np.empty((n, k), dtype=np.int64)
    for j in range(k):
        # A sum in fixed order: a matrix product may round differently with n and from one machine to the next.
        z = np.zeros(n)
        for m in range(j + 1):
            z += lower[j][m] * normal[:, m]
        value = np.clip(model.mean[j] + model.sd[j] * z, model.lo, model.hi)
        out[:, j] = np.rint((value - model.lo) * (GRID / (model.hi - model.lo))).astype(np.int64)
    return out


def _interests(n: int, seed: int, model: InterestModel) -> Iterator[tuple[Preference, ...]]:
    preferences = [Preference(topic=topic) for topic in model.topics]
    weights = np.arange(1, len(preferences) + 1, dtype=np.float64) ** -model.exponent
    spread = model.at_most - model.at_least + 1
    uniforms = stream(seed, "population", "interests", "count").random(n)
    counts = (model.at_least + (uniforms * spread).astype(np.int64)).tolist()
    draws = stream(seed, "population", "interests")
    for start in range(0, n, BLOCK):
        size = min(BLOCK, n - start)
        # The smallest of exponential waiting times with these rates is a draw in proportion to them.
        waits = -np.log1p(-draws.random((size, len(preferences)))) / weights
        order = np.argsort(waits, axis=1, kind="stable")[:, : model.at_most].tolist()
        for row, count in zip(order, counts[start : start + size], strict=True):
            yield tuple(preferences[topic] for topic in row[:count])


def _occupations(n: int, seed: int, recipe: Recipe) -> Iterator[Occupation]:
    jobs = [Occupation(title=title) for title in recipe.occupations.titles]
    uniforms = stream(seed, "population", "occupation").random(n)
    yield from (jobs[int(u * len(jobs))] for u in uniforms.tolist())


def _sexes(n: int, seed: int, recipe: Recipe) -> list[str]:
    """Return which list a persona's first name comes from: ``female``, ``male`` or ``nonbinary``.

    Read from the draw behind the quota for sex, not from the quota itself, which depends on n.
    """
    marginal = next((m for m in recipe.marginals if m.field == "sex"), None)
    if marginal is None:
        return ["nonbinary"] * n
    uniforms = stream(seed, "population", "sex").random(n)
    edges = np.array(list(accumulate(marginal.shares)))
    lists = [c if c in {"female", "male"} else "nonbinary" for c in marginal.categories]
    inner = edges[:-1]
    near = np.zeros(n, dtype=bool)
    for edge in inner:
        near |= np.abs(uniforms - edge) < UNISEX_WITHIN
    category = np.minimum(np.searchsorted(edges, uniforms, side="right"), len(lists) - 1)
    return ["nonbinary" if close else lists[c] for close, c in zip(near.tolist(), category.tolist(), strict=True)]


# --- names ---


def _names(n: int, seed: int, model: NameModel, lists: list[str]) -> list[str]:
    faker = _faker_person(model.locale)
    last_names, last_edges = _weighted(_first_known(faker, model.locale, "last_names"))
    uniforms = stream(seed, "population", "name").random((n, 2))
    last = [last_names[at] for at in np.searchsorted(last_edges, uniforms[:, 1], side="right").tolist()]
    first = [""] * n
    for which in ("female", "male", "nonbinary"):
        members = [i for i, name in enumerate(lists) if name == which]
        if members:
            names, edges = _weighted(_first_names(faker, model.locale, which))
            picked = np.searchsorted(edges, uniforms[members, 0], side="right").tolist()
            for i, at in zip(members, picked, strict=True):
                first[i] = names[at]
    bearers: dict[str, int] = {}
    out = []
    for given, family in zip(first, last, strict=True):
        name = f"{given} {family}"
        earlier = bearers.get(name, 0)
        bearers[name] = earlier + 1
        out.append(name if not earlier else f"{given} {_initials(earlier)} {family}")
    return out


def _initials(number: int) -> str:
    """Return the number-th string of initials: A., B., …, Z., A. A., A. B., …"""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = f"{chr(ord('A') + rest)}. {letters}"
    return letters.strip()


def _faker_person(locale: str) -> Any:
    # Faker's lists and weights, without its generator: 100 µs a name there, 1 µs here, from our own streams.
    from faker.config import AVAILABLE_LOCALES

    if locale in AVAILABLE_LOCALES:
        try:
            return importlib.import_module(f"faker.providers.person.{locale}").Provider
        except ModuleNotFoundError:
            pass
    near = did_you_mean(locale, AVAILABLE_LOCALES)
    raise PersonaError(f"Faker has no person names for locale {locale!r}{near}; write one such as 'en_US' or 'de_DE'")


def _first_known(faker: Any, locale: str, *attributes: str) -> Any:
    for attribute in attributes:
        names = getattr(faker, attribute, None)
        if names:
            return names
    raise PersonaError(f"Faker has no {attributes[0]!r} for locale {locale!r}; choose another locale in the recipe")


def _first_names(faker: Any, locale: str, which: str) -> Any:
    if which != "nonbinary":
        return _first_known(faker, locale, f"first_names_{which}", "first_names")
    female = _as_weights(_first_known(faker, locale, "first_names_female", "first_names"))
    male = _as_weights(_first_known(faker, locale, "first_names_male", "first_names"))
    both = {name: weight + male[name] for name, weight in female.items() if name in male}
    return both or _first_known(faker, locale, "first_names_nonbinary", "first_names", "first_names_female")


def _as_weights(names: Any) -> dict[str, float]:
    if isinstance(names, Mapping):
        return {str(name): float(weight) for name, weight in names.items()}
    return dict.fromkeys(map(str, names), 1.0)


def _weighted(names: Any) -> tuple[list[str], Floats]:
    """Return names and the upper edges of their shares of [0, 1)."""
    weights = _as_weights(names)
    edges = np.array(list(accumulate(weights.values())))
    edges /= edges[-1]
    return list(weights), edges

"""Personas through JSON, through a budget, and the line numbers of files."""

from __future__ import annotations

import itertools
import json
import typing
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simworld.errors import PersonaError
from simworld.persona import (
    QA,
    VIEWS,
    Backstory,
    CognitiveDiagram,
    Demographics,
    LifeEvent,
    Media,
    Occupation,
    Persona,
    Politics,
    Preference,
    Provenance,
    Relation,
    Secret,
    Situation,
    Stay,
    Style,
    SurveyResponse,
    TraitScore,
    count_tokens,
    trait_matrix,
)
from simworld.persona._positions import json_lines

words = st.text(min_size=1, max_size=8)
texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
units = st.floats(0, 1)
ages = st.integers(0, 130)


def maybe[T](strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


def some[T](strategy: st.SearchStrategy[T]) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, max_size=2).map(tuple)


@st.composite
def scores(draw: st.DrawFn) -> TraitScore:
    lo, value, hi = sorted(draw(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3)))
    return TraitScore(
        model=draw(st.sampled_from(["big5", "hexaco", "sd3", "mbti", "pvq", "mft", "custom"])),
        trait=draw(words | st.sampled_from(["openness", "E", "neuroticism"])),
        facet=draw(maybe(texts)),
        value=draw(maybe(st.just(value))),
        lo=lo,
        hi=hi if hi > lo else lo + 1.0,
        sd=draw(maybe(st.floats(0, 10))),
        level=draw(maybe(texts)),
        source=draw(st.sampled_from(["assigned", "survey", "llm:m", "rater:r"])),
        evidence=draw(some(texts)),
    )


preferences = st.builds(
    Preference,
    topic=words,
    text=texts,
    polarity=st.sampled_from([-1, 0, 1]),
    strength=st.floats(0, 1e3),
    implicit=st.booleans(),
    valid_from=st.integers(0, 5),
    valid_to=maybe(st.integers(6, 9)),
)
demographics = st.builds(
    Demographics,
    age=ages,
    sex=maybe(texts),
    gender=maybe(texts),
    race=some(texts),
    languages=some(texts),
    city=maybe(texts),
    income=maybe(st.floats(0, 1e9)),
    children=maybe(st.integers(0, 9)),
    politics=maybe(st.builds(Politics, party=maybe(texts), ideology=maybe(texts), scale=maybe(st.integers(1, 7)))),
)
backstories = st.builds(
    Backstory,
    narrative=maybe(texts),
    interview=some(st.builds(QA, question=words, answer=texts, options=some(texts), wave=maybe(st.integers()))),
    events=some(st.builds(LifeEvent, text=words, age=maybe(ages), date=maybe(texts), importance=units)),
    essays=st.dictionaries(words, texts, max_size=2),
)
diagrams = st.builds(
    CognitiveDiagram,
    history=maybe(texts),
    core_category=some(st.sampled_from(["helpless", "unlovable", "worthless"])),
    situations=some(
        st.builds(Situation, situation=words, automatic_thoughts=texts, emotions=some(texts), behavior=texts)
    ),
    conversational_style=st.sampled_from(["plain", "pleasing"]),
)
answers = st.integers() | numbers | texts
responses = st.builds(
    SurveyResponse,
    instrument=words,
    item=words,
    value=answers | some(answers),
    wave=st.integers(1, 4),
    masked=st.booleans(),
)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Stay, ...]:
    """Stays between neighbouring full hours, so that none overlaps another whatever its kind of day."""
    hours = [f"{h:02}:00" for h in sorted(draw(st.sets(st.integers(0, 24), max_size=4)))]
    kinds = st.sampled_from(["every day", "workday", "weekend"])
    return tuple(
        Stay(start=start, end=end, place=draw(words), activity=draw(words), days=draw(kinds))
        for start, end in itertools.pairwise(hours)
    )


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
personas = st.builds(
    Persona,
    id=st.from_regex(r"[a-z][a-z0-9_.-]{0,7}", fullmatch=True).filter(lambda s: s not in {"self", "public"}),
    name=words,
    aliases=some(texts),
    demographics=demographics,
    occupation=maybe(st.builds(Occupation, title=words, organization=maybe(texts), skills=some(texts))),
    traits=some(scores()),
    values=some(scores()),
    goals=some(texts),
    beliefs=some(texts),
    preferences=some(preferences),
    routines=st.dictionaries(words, some(texts), max_size=2),
    home=maybe(words),
    schedule=schedules(),
    health=maybe(texts),
    style=st.builds(
        Style, tone=maybe(texts), formality=maybe(numbers), barrier=st.dictionaries(words, texts, max_size=2)
    ),
    backstory=backstories,
    relations=some(st.builds(Relation, target=st.just("Someone Else"), trust=maybe(units), description=texts)),
    cognitive=maybe(diagrams),
    responses=some(responses),
    attributes=st.dictionaries(words, texts | st.booleans() | numbers, max_size=3),
    secrets=some(st.builds(Secret, text=words, sensitivity=st.integers(1, 5), visible_to=some(words))),
    moral_level=maybe(st.integers(1, 4)),
    role=maybe(texts),
    stratum=st.dictionaries(words, texts, max_size=2),
    weight=st.floats(0.1, 10),
    media=maybe(st.builds(Media, voice_id=maybe(texts))),
    extra=st.dictionaries(texts, jsons, max_size=2),
    provenance=st.builds(Provenance, source=words, rights=st.sampled_from(["pd", "open", "research", "private"])),
)

thorough = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def _typed(value: Any) -> Any:
    """Return a value with its types, since 1, 1.0 and True are equal in Python."""
    if isinstance(value, dict):
        return {key: _typed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(inner) for inner in value]
    return (type(value).__name__, value)


@thorough
@given(personas)
def test_json_loses_nothing(persona: Persona) -> None:
    again = Persona.model_validate_json(persona.model_dump_json())
    assert again == persona
    assert _typed(again.model_dump()) == _typed(persona.model_dump())
    assert again.digest() == persona.digest()
    through_python = Persona.model_validate(json.loads(json.dumps(persona.model_dump(mode="json"))))
    assert through_python == persona


@thorough
@given(personas, st.sampled_from(VIEWS), st.sampled_from(["self", "public", "ben"]), st.integers(1, 80))
def test_a_budget_is_kept_and_gives_a_prefix(persona: Persona, view: str, audience: str, budget: int) -> None:
    whole = persona.render(view, audience=audience)
    assert whole == persona.render(view, audience=audience)
    try:
        text = persona.render(view, budget, audience)
    except PersonaError:
        return
    assert count_tokens(text) <= budget
    assert whole.startswith(text)


@thorough
@given(personas)
def test_standardised_traits_lie_within_three(persona: Persona) -> None:
    matrix = trait_matrix([persona], "OCEANH")
    assert matrix.shape == (1, 6)
    assert abs(matrix).max() <= 3.0


@thorough
@given(
    st.recursive(st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
)
def test_json_lines_find_every_number(shape: Any) -> None:
    """Every integer is replaced by a mark of its own; its line must be the line on which the mark stands."""
    marks: dict[tuple[str | int, ...], str] = {}

    def marked(value: Any, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, dict):
            return {key: marked(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [marked(inner, (*path, i)) for i, inner in enumerate(value)]
        marks[path] = f"mark-{len(marks)}-end"
        return marks[path]

    text = json.dumps(marked(shape, ()), indent=1)
    found = json_lines(text)
    for path, mark in marks.items():
        assert mark in text.split("\n")[found[path] - 1]


def test_the_strategies_reach_every_record() -> None:
    """A record added to the schema and forgotten above would be a hole in the round trip."""
    covered = {
        Persona, Demographics, Politics, Occupation, TraitScore, Preference, Style, Backstory, QA, LifeEvent, Relation,
        CognitiveDiagram, Situation, SurveyResponse, Secret, Stay, Media, Provenance,
    }  # fmt: skip
    reached: set[type] = set()

    def walk(annotation: Any) -> None:
        if isinstance(annotation, type) and hasattr(annotation, "model_fields") and annotation not in reached:
            reached.add(annotation)
            for info in annotation.model_fields.values():
                walk(info.annotation)
        for inner in typing.get_args(annotation):
            walk(inner)

    walk(Persona)
    assert reached == covered

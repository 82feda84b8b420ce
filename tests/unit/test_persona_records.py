"""The persona record: what is required, what is refused, and its digest."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from pydantic import ValidationError

from simworld.persona import (
    Backstory,
    CognitiveDiagram,
    Demographics,
    Persona,
    Preference,
    Provenance,
    Relation,
    Secret,
    Stay,
    SurveyResponse,
    TraitScore,
)

OURS = Provenance(source="test", rights="open")


def persona(**fields: Any) -> Persona:
    given = {"id": "ada", "name": "Ada", "demographics": {"age": 36}, "provenance": OURS} | fields
    return Persona.model_validate(given)


def test_shortest_persona_has_the_defaults_of_the_specification() -> None:
    short = persona()
    assert (short.kind, short.schema_version, short.weight) == ("demographic", "1", 1.0)
    assert (short.traits, short.goals, short.relations, short.secrets) == ((), (), (), ())
    assert (short.occupation, short.health, short.cognitive, short.moral_level, short.media) == (None,) * 5
    assert (short.home, short.schedule) == (None, ())
    assert (short.routines, short.attributes, short.stratum, short.extra) == ({}, {}, {}, {})


@pytest.mark.parametrize(
    "fields, field",
    [
        ({"shoe_size": 41}, "shoe_size"),
        ({"demographics": {"age": 36, "shoe_size": 41}}, "shoe_size"),
        ({"demographics": {"age": 131}}, "age"),
        ({"demographics": {"age": -1}}, "age"),
        ({"demographics": {"age": "36"}}, "age"),
        ({"demographics": {"age": True}}, "age"),
        ({"demographics": {"politics": {"scale": 8}}}, "scale"),
        ({"kind": "robot"}, "kind"),
        ({"moral_level": 5}, "moral_level"),
        ({"moral_level": 0}, "moral_level"),
        ({"weight": -0.5}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": True}, "weight"),
        ({"id": ""}, "id"),
        ({"id": " ada"}, "id"),
        ({"name": ""}, "name"),
        ({"goals": "one string"}, "goals"),
        ({"goals": [1]}, "goals"),
        ({"relations": [{"target": "ben", "trust": 1.1}]}, "trust"),
        ({"preferences": [{"topic": "chess", "polarity": 2}]}, "polarity"),
        ({"preferences": [{"topic": "chess", "polarity": True}]}, "polarity"),
        ({"preferences": [{"topic": "chess", "valid_from": -1}]}, "valid_from"),
        ({"secrets": [{"text": "x", "sensitivity": 6}]}, "sensitivity"),
        ({"backstory": {"events": [{"text": "x", "importance": 2.0}]}}, "importance"),
        ({"style": {"vector": [0.0] * 7}}, "vector"),
        ({"home": ""}, "home"),
        ({"schedule": [{"start": "08:00", "end": "09:00", "place": "x"}]}, "activity"),
        ({"schedule": [{"start": "08:00", "end": "09:00", "place": "", "activity": "x"}]}, "place"),
        ({"schedule": [{"start": "08:00", "end": "09:00", "place": "x", "activity": "x", "days": "monday"}]}, "days"),
        ({"attributes": {"a": [1]}}, "attributes"),
        ({"extra": {"a": float("inf")}}, "extra"),
        ({"traits": [{"model": "big6", "trait": "openness"}]}, "model"),
        ({"traits": [{"model": "big5", "trait": "openness", "source": "guess"}]}, "source"),
        ({"traits": [{"model": "big5", "trait": "openness", "sd": -1.0}]}, "sd"),
        (
            {
                "cognitive": {
                    "situations": [
                        {"situation": "s", "automatic_thoughts": "t", "emotions": list("abcd"), "behavior": "b"}
                    ]
                }
            },
            "emotions",
        ),
        ({"cognitive": {"core_category": ["clumsy"]}}, "core_category"),
    ],
)
def test_wrong_values_and_unknown_keys_are_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        persona(**fields)
    assert any(field in map(str, error["loc"]) for error in caught.value.errors())


@pytest.mark.parametrize("missing", ["id", "name", "provenance"])
def test_required_fields(missing: str) -> None:
    given = {"id": "ada", "name": "Ada", "demographics": {"age": 36}, "provenance": OURS}
    del given[missing]
    with pytest.raises(ValidationError, match="Field required"):
        Persona.model_validate(given)


def test_rights_have_no_default() -> None:
    with pytest.raises(ValidationError, match="rights"):
        Provenance.model_validate({"source": "test"})


@pytest.mark.parametrize("consent", [None, "", "  "])
def test_a_real_person_needs_consent_in_words(consent: str | None) -> None:
    with pytest.raises(ValidationError, match="consent"):
        Provenance(source="interview", rights="private", real_person=True, consent=consent)
    Provenance(source="interview", rights="private", real_person=True, consent="signed form 12")


@pytest.mark.parametrize("value, lo, hi", [(0.9, 1.0, 5.0), (5.1, 1.0, 5.0), (-1.0, 0.0, 10.0)])
def test_a_score_lies_on_its_scale(value: float, lo: float, hi: float) -> None:
    with pytest.raises(ValidationError, match="outside the scale"):
        TraitScore(model="big5", trait="openness", value=value, lo=lo, hi=hi)


@pytest.mark.parametrize("lo, hi", [(5.0, 1.0), (3.0, 3.0)])
def test_a_scale_runs_upwards(lo: float, hi: float) -> None:
    with pytest.raises(ValidationError, match="'lo' must be below 'hi'"):
        TraitScore(model="big5", trait="openness", lo=lo, hi=hi)


def test_the_ends_of_a_scale_belong_to_it() -> None:
    assert TraitScore(model="big5", trait="openness", value=1).value == 1.0
    assert TraitScore(model="big5", trait="openness", value=5).value == 5.0


def test_demographic_kind() -> None:
    with pytest.raises(ValidationError, match="at least one field in 'demographics'"):
        persona(demographics={})
    with pytest.raises(ValidationError, match="'stratum' or a 'weight' above 0"):
        persona(weight=0.0)
    assert persona(weight=0.0, stratum={"age": "30-39"}).weight == 0.0


def test_character_kind() -> None:
    with pytest.raises(ValidationError, match=r"'backstory\.narrative', 'backstory\.events' or 'cognitive'"):
        persona(kind="character")
    with pytest.raises(ValidationError, match="character"):
        persona(kind="character", backstory={"narrative": "  "})
    for enough in (
        {"backstory": {"narrative": "Ada repairs clocks."}},
        {"backstory": {"events": [{"text": "A flood."}]}},
        {"cognitive": {}},
    ):
        persona(kind="character", demographics={}, **enough)


def test_individualized_kind() -> None:
    with pytest.raises(ValidationError, match=r"'responses' or 'backstory\.interview'"):
        persona(kind="individualized")
    persona(kind="individualized", responses=[{"instrument": "ipip", "item": "q1", "value": 3}])
    persona(kind="individualized", backstory={"interview": [{"question": "Who?", "answer": "Me."}]})


@pytest.mark.parametrize("name", ["self", "public"])
def test_audiences_are_no_ids(name: str) -> None:
    with pytest.raises(ValidationError, match="names an audience"):
        persona(id=name)


def test_nobody_is_related_to_itself() -> None:
    with pytest.raises(ValidationError, match="name itself"):
        persona(relations=[Relation(target="ada")])


def test_a_preference_ends_after_it_begins() -> None:
    with pytest.raises(ValidationError, match="must be later"):
        Preference(topic="chess", valid_from=3, valid_to=3)


def stay(start: str, end: str, days: str = "every day", place: str = "the mill") -> Stay:
    return Stay.model_validate({"start": start, "end": end, "place": place, "activity": "grinds", "days": days})


@pytest.mark.parametrize("time", ["8:00", "08:0", "24:01", "25:00", "08:60", "08.00", "08:00\n", "٠٨:00", "", 8])
def test_times_of_a_stay_are_written_out(time: Any) -> None:
    for given in ({"start": time, "end": "24:00"}, {"start": "00:00", "end": time}):
        with pytest.raises(ValidationError, match="string"):
            Stay.model_validate(given | {"place": "the mill", "activity": "grinds"})


def test_only_an_end_may_be_midnight() -> None:
    assert stay("00:00", "24:00").end == "24:00"
    with pytest.raises(ValidationError, match="start"):
        stay("24:00", "24:00")


@pytest.mark.parametrize("start, end", [("09:00", "09:00"), ("22:00", "02:00"), ("10:00", "09:59"), ("08:00", "00:00")])
def test_a_stay_ends_after_it_starts_on_the_same_day(start: str, end: str) -> None:
    with pytest.raises(ValidationError, match=f"'end' '{end}' must be later than 'start' '{start}'; split"):
        stay(start, end)


@pytest.mark.parametrize("days, others", [("workday", "workday"), ("weekend", "every day"), ("every day", "workday")])
@pytest.mark.parametrize("times", [("08:00", "12:00"), ("07:00", "13:00"), ("09:00", "10:00"), ("11:59", "24:00")])
def test_nobody_is_at_two_places_at_once(days: str, others: str, times: tuple[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        persona(schedule=[stay("08:00", "12:00", days), stay("06:00", "06:30"), stay(*times, others, "the inn")])
    assert (
        f"'schedule' has two stays at once: 'the mill' 08:00–12:00 ({days}) and "
        f"'the inn' {times[0]}–{times[1]} ({others}); end the earlier before the later starts"
    ) in str(caught.value)


def test_stays_may_touch_and_workdays_and_weekends_do_not_meet() -> None:
    kept = persona(
        home="the mill",
        schedule=[
            stay("08:00", "12:00", "workday"),
            stay("08:00", "12:00", "weekend", "the inn"),
            stay("12:00", "13:00"),
            stay("07:00", "08:00"),
        ],
    )
    assert [s.start for s in kept.schedule] == ["08:00", "08:00", "12:00", "07:00"]


@pytest.mark.parametrize("version", ["2", 1, None])
def test_an_unknown_version_is_refused_with_the_known_one(version: object) -> None:
    with pytest.raises(ValidationError, match="is unknown; this simworld reads '1'"):
        persona(schema_version=version)


def test_nothing_can_be_set_afterwards() -> None:
    ada = persona(goals=["win"])
    with pytest.raises(ValidationError, match="frozen"):
        ada.name = "Eve"  # type: ignore[misc]
    assert isinstance(ada.goals, tuple)


def test_survey_values_keep_their_type() -> None:
    values = [3, 3.0, "3", ("a", 2, 2.5), ()]
    kept = [SurveyResponse(instrument="i", item="q", value=v).value for v in values]
    assert [(type(v), v) for v in kept] == [(type(v), v) for v in values]


def test_attributes_keep_flags_apart_from_numbers() -> None:
    kept = persona(attributes={"a": True, "b": 1, "c": "1"}).attributes
    assert [(type(v), v) for v in kept.values()] == [(bool, True), (float, 1.0), (str, "1")]


def test_digest_is_blake2b_of_the_canonical_json_without_defaults() -> None:
    text = '{"demographics":{"age":36},"id":"ada","name":"Adä","provenance":{"rights":"open","source":"test"}}'
    expected = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert persona(name="Adä").digest() == expected


def test_digest_sees_every_field_and_no_key_order() -> None:
    changed = [
        persona(),
        persona(id="eve"),
        persona(goals=["a", "b"]),
        persona(goals=["b", "a"]),
        persona(backstory=Backstory(narrative="x")),
        persona(cognitive=CognitiveDiagram()),
        persona(secrets=[Secret(text="x")]),
        persona(home="x"),
        persona(schedule=[stay("08:00", "09:00")]),
        persona(schedule=[stay("08:00", "09:00", "weekend")]),
        persona(demographics=Demographics(age=37)),
        persona(extra={"a": 1}),
    ]
    assert len({p.digest() for p in changed}) == len(changed)
    assert persona(extra={"a": 1, "b": 2}).digest() == persona(extra={"b": 2, "a": 1}).digest()

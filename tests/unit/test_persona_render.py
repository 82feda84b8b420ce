"""Views, audiences and budgets of a rendered persona."""

from __future__ import annotations

from typing import Any

import pytest

from simworld.errors import PersonaError
from simworld.persona import VIEWS, Persona, count_tokens, persona_text

SPC = ("spc:S", "spc:P", "spc:C", "spc:SP", "spc:SC", "spc:PC", "spc:SPC")

ADA: dict[str, Any] = {
    "id": "ada",
    "name": "Ada Park",
    "aliases": ["the clockmaker"],
    "demographics": {
        "age": 18,
        "gender": "woman",
        "city": "Leeds",
        "education": "EDUCATION",
        "religion": "RELIGION",
        "politics": {"scale": 3, "party": "the Greens"},
    },
    "occupation": {"title": "apprentice", "organization": "Holm Clocks"},
    "traits": [{"model": "big5", "trait": "TRAIT", "value": 4.5}],
    "values": [{"model": "pvq", "trait": "VALUE", "value": 2, "hi": 6}],
    "goals": ["GOAL"],
    "preferences": [
        {"topic": "chess"},
        {"topic": "jazz", "strength": 2.0},
        {"topic": "gardening"},
        {"topic": "football", "polarity": -1},
        {"topic": "opera", "polarity": 0},
        {"topic": "IMPLICIT", "implicit": True},
        {"topic": "LATER", "valid_from": 5, "valid_to": 9},
    ],
    "health": "HEALTH",
    "style": {"tone": "TONE"},
    "backstory": {"narrative": "NARRATIVE of a life.", "essays": {"weekday": "WEEKDAY", "weekend": "WEEKEND"}},
    "relations": [{"target": "ben", "kind": "sister"}],
    "cognitive": {"history": "HISTORY", "core_beliefs": ["CORE"], "coping": "COPING"},
    "responses": [
        {"instrument": "ipip", "item": "q1", "value": "ANSWERED"},
        {"instrument": "ipip", "item": "q2", "value": "HELD-OUT", "masked": True},
    ],
    "secrets": [{"text": "SECRET", "abstractions": ["HINT"], "visible_to": ["ben"]}, {"text": "DEEPER"}],
    "role": "TRAITOR",
    "moral_level": 4,
    "stratum": {"cell": "STRATUM"},
    "media": {"voice_id": "VOICE"},
    "extra": {"shoe_size": "EXTRA"},
    "provenance": {"source": "PROVENANCE", "rights": "open", "license": "LICENCE"},
}


@pytest.fixture
def ada() -> Persona:
    return Persona.model_validate(ADA)


def simple(**fields: Any) -> Persona:
    ours = {"source": "test", "rights": "open"}
    return Persona.model_validate({"id": "p", "name": "Pat Lee", "provenance": ours} | fields)


def test_mini_is_a_sentence_or_two_in_plain_words(ada: Persona) -> None:
    assert ada.render() == (
        "Ada Park is an 18-year-old woman from Leeds. She likes jazz, chess and gardening. "
        "Politically she is slightly liberal, close to the Greens. She works as an apprentice at Holm Clocks."
    )


def test_persona_text_is_topics_and_ideology_without_a_name(ada: Persona) -> None:
    assert persona_text(ada) == "Likes jazz, chess and gardening. Politically slightly liberal, close to the Greens."
    assert persona_text(simple(demographics={"age": 40})) == "Pat Lee is a 40-year-old person."


@pytest.mark.parametrize(
    "demographics, start",
    [
        ({"age": 8, "gender": "girl"}, "Pat Lee is an 8-year-old girl."),
        ({"age": 11, "sex": "male"}, "Pat Lee is an 11-year-old boy."),
        ({"age": 80, "sex": "female"}, "Pat Lee is an 80-year-old woman."),
        ({"age": 100, "sex": "male"}, "Pat Lee is a 100-year-old man."),
        ({"age": 30, "gender": "nonbinary", "sex": "female"}, "Pat Lee is a 30-year-old nonbinary person."),
        ({"gender": "agender"}, "Pat Lee is an agender person."),
        ({"country": "Chile"}, "Pat Lee is a person from Chile."),
    ],
)
def test_identity_reads_as_english(demographics: dict[str, Any], start: str) -> None:
    assert simple(demographics=demographics).render() == start


def test_the_retired_used_to_work_and_they_take_plural_verbs() -> None:
    retired = simple(
        demographics={"age": 70, "employment": "retired"},
        occupation={"title": "nurse"},
        preferences=[{"topic": "chess"}],
    )
    assert retired.render() == "Pat Lee is a 70-year-old person. They like chess. They used to work as a nurse."


def test_second_person_addresses_the_persona(ada: Persona) -> None:
    text = ada.render("second_person")
    assert text.startswith("You are Ada Park, an 18-year-old woman from Leeds. You work as an apprentice")
    assert "\nYour goals: GOAL.\n" in text


def test_statements_are_one_sentence_a_line(ada: Persona) -> None:
    lines = ada.render("statements").split("\n")
    assert lines[0] == "Ada Park is an 18-year-old woman from Leeds."
    assert "Ada Park's education: EDUCATION." in lines
    assert "Ada Park's likes: chess." in lines
    assert "Ada Park's likes: LATER (from step 5 to before step 9)." in lines
    assert all(line.endswith(".") for line in lines)


VILLAGER: dict[str, Any] = {
    "demographics": {"age": 40, "gender": "woman"},
    "home": "Mill Cottage",
    "routines": {"evening": ["reads"]},
    "schedule": [
        {"start": "08:00", "end": "12:00", "place": "the Quince Café", "activity": "opens the café", "days": "workday"},
        {"start": "09:00", "end": "10:30", "place": "the Green", "activity": "sits about.", "days": "weekend"},
        {"start": "20:00", "end": "24:00", "place": "Mill Cottage", "activity": "sleeps"},
    ],
    "relations": [{"target": "ben", "kind": "sister"}],
}
USUAL_DAY = (
    "08:00–12:00 opens the café at the Quince Café (workdays); 09:00–10:30 sits about at the Green (weekends); "
    "20:00–24:00 sleeps at Mill Cottage"
)


@pytest.mark.parametrize("view, poss", [("full", "Her"), ("second_person", "Your")])
def test_home_and_usual_day_stand_between_routines_and_ties(view: str, poss: str) -> None:
    assert simple(**VILLAGER).render(view).split("\n")[1:] == [
        f"{poss} routines: evening: reads.",
        f"{poss} home: Mill Cottage.",
        f"{poss} usual day: {USUAL_DAY}.",
        f"{poss} ties: sister of ben.",
    ]


def test_statements_name_one_stay_a_line() -> None:
    lines = simple(**VILLAGER).render("statements").split("\n")
    assert [line for line in lines if "home" in line or "usual day" in line] == [
        "Pat Lee's home: Mill Cottage.",
        *(f"Pat Lee's usual day: {stay}." for stay in USUAL_DAY.split("; ")),
    ]


@pytest.mark.parametrize("view", ["mini", *SPC])
def test_the_other_views_name_neither_home_nor_usual_day(view: str) -> None:
    text = simple(**VILLAGER).render(view)
    assert "Mill Cottage" not in text
    assert "café" not in text


@pytest.mark.parametrize("view", ["full", "second_person", "statements"])
def test_a_persona_without_home_and_schedule_says_nothing_of_them(ada: Persona, view: str) -> None:
    text = ada.render(view, audience="self")
    assert " home: " not in text
    assert "usual day" not in text


@pytest.mark.parametrize("view", VIEWS)
def test_rendering_twice_gives_the_same_text(ada: Persona, view: str) -> None:
    again = Persona.model_validate_json(ada.model_dump_json())
    assert ada.render(view, audience="self") == again.render(view, audience="self")


# --- privacy ---

PRIVATE = ("IMPLICIT", "HISTORY", "CORE", "COPING", "TRAITOR", "DEEPER", "HINT")
NEVER = ("HELD-OUT", "q2", "EXTRA", "PROVENANCE", "LICENCE", "STRATUM", "VOICE", "shoe_size")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("audience", ["public", "eve", "ben", "self", "ada"])
def test_who_may_read_what(ada: Persona, view: str, audience: str) -> None:
    text = ada.render(view, audience=audience)
    assert [word for word in NEVER if word in text] == []
    if audience in {"public", "eve"}:
        assert [word for word in (*PRIVATE, "SECRET") if word in text] == []
    if audience == "ben":
        assert [word for word in PRIVATE if word in text] == []


@pytest.mark.parametrize("view", ["full", "second_person", "statements"])
def test_the_long_views_tell_the_persona_itself_everything(ada: Persona, view: str) -> None:
    for audience in ("self", "ada"):
        text = ada.render(view, audience=audience)
        assert [word for word in (*PRIVATE, "SECRET", "ANSWERED", "HEALTH", "NARRATIVE") if word not in text] == []
    assert "SECRET" in ada.render(view, audience="ben")
    assert "ANSWERED" in ada.render(view)


def test_a_secret_open_to_the_word_public_stays_secret() -> None:
    ada = simple(demographics={"age": 3}, secrets=[{"text": "SECRET", "visible_to": ["public"]}])
    assert "SECRET" not in ada.render("full")


# --- SPeCtrum ---


@pytest.mark.parametrize("view", SPC)
def test_an_spc_view_holds_exactly_its_parts(ada: Persona, view: str) -> None:
    parts = {
        "S": ("18", "woman", "Leeds", "EDUCATION", "RELIGION", "apprentice", "slightly liberal"),
        "P": ("TRAIT", "VALUE"),
        "C": ("WEEKDAY", "WEEKEND", "jazz", "chess", "gardening", "football"),
    }
    text = ada.render(view, audience="self")
    for letter, words in parts.items():
        wanted = letter in view.removeprefix("spc:")
        assert [word for word in words if (word in text) != wanted] == [], (view, letter)
    assert not any(word in text for word in ("GOAL", "TONE", "HEALTH", "NARRATIVE", "Ada Park", "opera", "LATER"))


def test_c_names_five_loves_and_five_hates_the_strongest_first() -> None:
    topics = [{"topic": f"t{i}", "strength": float(i), "polarity": sign} for i in range(7) for sign in (1, -1)]
    text = simple(demographics={"age": 3}, preferences=topics).render("spc:C")
    assert text == "Loves: t6; t5; t4; t3; t2.\nHates: t6; t5; t4; t3; t2."


def test_spectrum_attributes_belong_to_s() -> None:
    ada = simple(demographics={"age": 3}, attributes={"spectrum.dual nationality": "yes", "other": "no"})
    assert ada.render("spc:S") == "Age: 3.\nDual nationality: yes."


# --- budgets ---


def test_a_token_is_four_characters_rounded_up() -> None:
    assert [count_tokens("x" * n) for n in (0, 1, 4, 5, 8)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("view", VIEWS)
def test_a_budget_keeps_whole_sections_from_the_front(ada: Persona, view: str) -> None:
    whole = ada.render(view, audience="self")
    seen = set()
    for budget in range(1, count_tokens(whole) + 2):
        try:
            text = ada.render(view, budget, audience="self")
        except PersonaError:
            assert not seen, "a larger budget was refused after a smaller one was kept"
            continue
        assert count_tokens(text) <= budget
        assert whole.startswith(text)
        assert text.endswith("."), "cut in a sentence"
        seen.add(text)
    assert whole in seen
    assert len(seen) > 1


def test_mini_drops_the_work_first_and_the_identity_last(ada: Persona) -> None:
    texts = {ada.render("mini", budget) for budget in range(12, 60)}
    assert sorted(len(t.split(". ")) for t in texts) == [1, 2, 3, 4]
    assert "Ada Park is an 18-year-old woman from Leeds." in texts


def test_a_budget_below_the_first_section_says_what_it_takes(ada: Persona) -> None:
    first = "Ada Park is an 18-year-old woman from Leeds."
    with pytest.raises(
        PersonaError, match=rf"'ada' does not fit budget_tokens=3: .* takes {count_tokens(first)} tokens"
    ):
        ada.render("mini", 3)


@pytest.mark.parametrize(
    "view, near", [("maxi", ""), ("second-person", "second_person"), ("spc:PS", "spc:"), ("spc:", "spc:")]
)
def test_an_unknown_view_names_the_known_ones(ada: Persona, view: str, near: str) -> None:
    with pytest.raises(PersonaError, match=f"no view '{view}'.*{near}.*views: mini, full"):
        ada.render(view)

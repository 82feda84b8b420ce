"""Casts: the three file forms, foreign fields, and errors with file, line and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from simworld.errors import PersonaError
from simworld.persona import Stay, read_cast
from simworld.persona._positions import json_lines, toml_lines

type Write = Callable[[str, str], Path]

PROVENANCE = '[defaults.provenance]\nsource = "test"\nrights = "open"\n'
ADA = '\n[[persona]]\nid = "ada"\nname = "Ada"\ndemographics = { age = 36 }\n'
BEN = '\n[[persona]]\nid = "ben"\nname = "Ben"\n[persona.demographics]\nage = 40\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return put


def error(path: Path) -> str:
    with pytest.raises(PersonaError) as caught:
        read_cast(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_the_three_forms_give_the_same_cast(write: Write) -> None:
    people = [
        {"id": "ada", "name": "Ada", "demographics": {"age": 36}},
        {"id": "ben", "name": "Ben", "demographics": {"age": 40}},
    ]
    provenance = {"provenance": {"source": "test", "rights": "open"}}
    whole = [person | provenance for person in people]
    files = [
        write("a.toml", PROVENANCE + ADA + BEN),
        write("a.jsonl", "\n".join(json.dumps(p) for p in whole)),
        write("b.jsonl", "\n".join(map(json.dumps, [{"defaults": provenance}, *people])) + "\r\n\n"),
        write("a.json", json.dumps(whole, indent=2)),
        write("b.json", json.dumps({"defaults": provenance, "persona": people})),
    ]
    casts = [read_cast(file) for file in files]
    assert len({cast.digest for cast in casts}) == 1
    assert all(cast.personas == casts[0].personas for cast in casts)
    assert [p.id for p in casts[0].personas] == ["ada", "ben"]
    assert casts[0].source == str(files[0])
    assert [cast.notes for cast in casts] == [()] * 5


def test_order_and_content_are_in_the_digest(write: Write) -> None:
    one = read_cast(write("a.toml", PROVENANCE + ADA + BEN)).digest
    assert read_cast(write("b.toml", PROVENANCE + BEN + ADA)).digest != one
    assert read_cast(write("c.toml", (PROVENANCE + ADA + BEN).replace("40", "41"))).digest != one


def test_defaults_are_merged_and_overruled(write: Write) -> None:
    text = (
        '[defaults]\ngoals = ["win"]\n[defaults.demographics]\ncity = "Leeds"\nage = 20\n'
        + PROVENANCE
        + ADA
        + BEN
        + 'city = "York"\n'
    )
    ada, ben = read_cast(write("a.toml", text)).personas
    assert (ada.demographics.city, ada.demographics.age, ada.goals) == ("Leeds", 36, ("win",))
    assert (ben.demographics.city, ben.demographics.age, ben.goals) == ("York", 40, ("win",))


def test_home_and_schedule_are_read(write: Write) -> None:
    schedule = '[[persona.schedule]]\nstart = "08:00"\nend = "24:00"\nplace = "p"\nactivity = "a"\nmood = "wet"\n'
    (ada,) = read_cast(write("a.toml", PROVENANCE + ADA + 'home = "Mill Cottage"\n' + schedule)).personas
    assert ada.home == "Mill Cottage"
    assert ada.schedule == (Stay(start="08:00", end="24:00", place="p", activity="a"),)
    assert ada.extra == {"schedule.0.mood": "wet"}


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(PROVENANCE + ADA, encoding="utf-8-sig")
    assert len(read_cast(path).personas) == 1


# --- foreign fields ---


def test_foreign_fields_at_every_level_are_kept_and_reported(write: Write) -> None:
    text = (
        PROVENANCE
        + ADA
        + "shoe_size = 41\nborn = 1990-05-17\n"
        + 'traits = [{ model = "big5", trait = "openness", value = 3.0, colour = "red" }]\n'
        + '[persona.backstory]\nnarative = "typo"\n[[persona.backstory.events]]\ntext = "x"\nmood = { wet = true }\n'
    )
    path = write("cast.toml", text)
    cast = read_cast(path)
    assert cast.personas[0].extra == {
        "shoe_size": 41,
        "born": "1990-05-17",
        "traits.0.colour": "red",
        "backstory.narative": "typo",
        "backstory.events.0.mood": {"wet": True},
    }
    assert cast.notes == (
        f"{path}: persona 'ada': 'shoe_size' is not a persona field; kept in extra",
        f"{path}: persona 'ada': 'born' is not a persona field; kept in extra",
        f"{path}: persona 'ada': 'traits.0.colour' is not a persona field; kept in extra",
        f"{path}: persona 'ada': 'backstory.narative' is not a persona field; kept in extra; did you mean 'narrative'?",
        f"{path}: persona 'ada': 'backstory.events.0.mood' is not a persona field; kept in extra",
    )
    assert "typo" not in cast.personas[0].render("full", audience="self")


def test_an_extra_of_the_users_own_is_kept_without_a_note(write: Write) -> None:
    cast = read_cast(write("a.toml", PROVENANCE + ADA + "extra = { shoe_size = 41, when = 07:30:00 }\n"))
    assert cast.personas[0].extra == {"shoe_size": 41, "when": "07:30:00"}
    assert cast.notes == ()


def test_a_field_both_outside_and_inside_extra_is_refused(write: Write) -> None:
    message = error(write("a.toml", PROVENANCE + ADA + "shoe_size = 41\nextra = { shoe_size = 42 }\n"))
    assert message == ", line 9, persona 'ada', field 'shoe_size': stands twice, as itself and in 'extra'; keep one"


def test_a_foreign_table_of_the_file_is_kept_with_the_cast(write: Write) -> None:
    path = write("a.toml", 'title = "Us"\n' + PROVENANCE + ADA)
    cast = read_cast(path)
    assert cast.extra == {"title": "Us"}
    assert cast.notes == (f"{path}: 'title' is not a field of a cast; kept in the cast's extra",)


def test_a_number_json_cannot_hold_is_refused(write: Write) -> None:
    message = error(write("a.toml", PROVENANCE + ADA + "luck = inf\n"))
    assert message == ", line 9, field 'luck': inf is not a finite number; write one"


# --- refusals: file, line, field ---


@pytest.mark.parametrize(
    "extra, line, field, says",
    [
        ("moral_level = 9\n", 9, "moral_level", "less than or equal to 4, got 9"),
        ("goals = [\n  'a',\n  3,\n]\n", 11, "goals.1", "valid string, got 3"),
        (
            'traits = [\n  { model = "big5", trait = "openness", value = 3.0 },\n'
            '  { model = "big5", trait = "openness", value = 6.0 },\n]\n',
            11,
            "traits.1",
            "'value' 6.0 is outside the scale from 1.0 to 5.0",
        ),
        (
            '[[persona.relations]]\ntarget = "ben"\n[[persona.relations]]\ntarget = "ben"\ntrust = 2.0\n',
            13,
            "relations.1.trust",
            "got 2.0",
        ),
        ('[persona.style]\nexamples = ["""\nmoral_level = 9\n"""]\nhumor = "much"\n', 13, "style.humor", "got 'much'"),
        ("kind = 'character'\n", 5, "", "'backstory.narrative', 'backstory.events' or 'cognitive'"),
        ("[[persona.secrets]]\nsensitivity = 2\n", 9, "secrets.0.text", "is required and missing"),
        (
            'schedule = [\n  { start = "08:00", end = "09:00", place = "p", activity = "a" },\n'
            '  { start = "09:00", end = "9:30", place = "p", activity = "a" },\n]\n',
            11,
            "schedule.1.end",
            "match pattern",
        ),
        (
            '[[persona.schedule]]\nstart = "09:00"\nend = "08:00"\nplace = "p"\nactivity = "a"\n',
            9,
            "schedule.0",
            "'end' '08:00' must be later than 'start' '09:00'",
        ),
        (
            'schedule = [\n  { start = "08:00", end = "09:00", place = "p", activity = "a" },\n'
            '  { start = "08:30", end = "09:30", place = "q", activity = "a", days = "weekend" },\n]\n',
            5,
            "",
            "'p' 08:00–09:00 (every day) and 'q' 08:30–09:30 (weekend)",
        ),
        ('provenance = { rights = "mine" }\n', 9, "provenance.rights", "'private', got 'mine'"),
    ],
)
def test_toml_errors_name_line_and_field(write: Write, extra: str, line: int, field: str, says: str) -> None:
    message = error(write("cast.toml", PROVENANCE + ADA + extra + BEN))
    assert message.startswith(f", line {line}, persona 'ada'" + (f", field '{field}'" if field else "") + ": ")
    assert says in message
    assert message.endswith("; correct the file")


def test_an_error_in_the_defaults_names_their_line(write: Write) -> None:
    message = error(write("a.toml", PROVENANCE.replace('"open"', '"shut"') + ADA))
    assert message.startswith(", line 3, persona 'ada', field 'provenance.rights': ")


def test_a_missing_provenance_names_the_persona(write: Write) -> None:
    assert error(write("a.toml", ADA)) == (
        ", line 2, persona 'ada', field 'provenance': is required and missing; correct the file"
    )


def test_several_errors_are_counted(write: Write) -> None:
    message = error(write("a.toml", PROVENANCE + ADA + "moral_level = 9\nweight = -1.0\n"))
    assert message.endswith("; correct the file (and 1 more)")


def test_jsonl_errors_name_the_exact_line(write: Write) -> None:
    good = '{"id": "ada", "name": "Ada", "demographics": {"age": 3}, "provenance": {"source": "t", "rights": "open"}}'
    bad = good.replace("ada", "ben").replace("Ada", "Ben").replace('"age": 3', '"age": 300')
    message = error(write("a.jsonl", f"{good}\n\n{bad}\n"))
    assert message.startswith(", line 3, persona 'ben', field 'demographics.age': ")
    assert error(write("b.jsonl", f"{good}\n{{'id': 1}}\n")).startswith(", line 2: not valid JSON: ")
    assert error(write("c.jsonl", f"{good}\n[1]\n")) == ", line 2: a persona must be a table of fields, got a list"
    twice = error(write("d.jsonl", good + '\n{"id": "x", "id": "y"}'))
    assert twice == ", line 2: key 'id' stands twice in one object; keep one"


def test_json_errors_name_the_line(write: Write) -> None:
    person = {"id": "ada", "name": "Ada", "demographics": {"age": -3}, "provenance": {"source": "t", "rights": "open"}}
    message = error(write("a.json", json.dumps([person], indent=1)))
    assert message.startswith(", line 6, persona 'ada', field 'demographics.age': ")
    assert (
        error(write("b.json", '[\n{"id": 1,\n"id": 2}]')) == ", line 3: key 'id' stands twice in one object; keep one"
    )
    assert error(write("c.json", "3")) == ", line 1: expected a list of personas, got 3"
    assert error(write("d.json", "[\n1")).startswith(", line 2: not valid JSON: ")


@pytest.mark.parametrize("field, second", [("id", 'id = "ada"\nname = "Eve"'), ("name", 'id = "eve"\nname = "Ada"')])
def test_a_duplicate_names_both_lines(write: Write, field: str, second: str) -> None:
    text = PROVENANCE + ADA + "\n[[persona]]\n" + second + "\ndemographics = { age = 1 }\n"
    value, first_line, line = ("ada", 6, 11) if field == "id" else ("Ada", 7, 12)
    assert error(write("a.toml", text)) == (
        f", line {line}, field '{field}': '{value}' is already used on line {first_line}; "
        f"every {field} of a cast is used once"
    )


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("a.toml", "", ": the cast is empty; write at least one persona"),
        ("a.toml", PROVENANCE, ": the cast is empty; write at least one persona"),
        ("a.jsonl", "\n\n", ": the cast is empty; write at least one persona"),
        ("a.json", "[]", ": the cast is empty; write at least one persona"),
        ("a.yaml", "x", ": cannot read a cast from '.yaml' files; write .toml, .jsonl, .json"),
        (
            "a.toml",
            PROVENANCE + "[[personas]]\nid = 'x'\n",
            ", line 4: no persona in the cast, but 'personas'; did you mean 'persona'?; "
            "head each persona with [[persona]]",
        ),
        (
            "a.toml",
            "[persona]\nid = 'x'\n",
            ", line 1, field 'persona': expected a list of personas, got a table; head each with [[persona]]",
        ),
        ("a.toml", "defaults = 3\n" + ADA, ", line 1: 'defaults' must be a table of fields, got 3"),
    ],
)
def test_a_file_that_is_no_cast(write: Write, name: str, text: str, says: str) -> None:
    assert error(write(name, text)) == says


@pytest.mark.parametrize("text, line", [("a = 1\nb = = 2\n", 2), ("a = 1\na = 2\n", 2), ('\n\nx = "open', 3)])
def test_toml_syntax_errors_carry_their_line(write: Write, text: str, line: int) -> None:
    assert error(write("a.toml", text)).startswith(f", line {line}: not valid TOML: ")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert error(tmp_path / "none.toml") == ": no such cast; give the path of a file"
    assert error(tmp_path) == ": is a folder; give the path of a cast file"
    broken = tmp_path / "latin.toml"
    broken.write_bytes("a = 1\nb = 'é'\n".encode("latin-1"))
    assert error(broken) == ", line 2: not UTF-8 text (byte 11); save the file as UTF-8"


# --- positions ---


def test_toml_positions_in_an_awkward_file() -> None:
    text = """# [[persona]]
a.b = '''
x = 1
'''
"quoted key" = "\\"]["  # ] }
list = [ 1, # one
  [2,
   { k = "}" , l.m = 3 }],
]
[[t]]
[[t.u]]
v = 1
[[t.u]]
v = 2
[[t]]
[t.w]
x = \"\"\"a\"\"\"\"\"
y = 1979-05-27 07:32:00
"""
    lines = toml_lines(text)
    assert {path: lines[path] for path in lines if path[0] != "list"} == {
        ("a",): 2,
        ("a", "b"): 2,
        ("quoted key",): 5,
        ("t",): 10,
        ("t", 0): 10,
        ("t", 0, "u"): 11,
        ("t", 0, "u", 0): 11,
        ("t", 0, "u", 0, "v"): 12,
        ("t", 0, "u", 1): 13,
        ("t", 0, "u", 1, "v"): 14,
        ("t", 1): 15,
        ("t", 1, "w"): 16,
        ("t", 1, "w", "x"): 17,
        ("t", 1, "w", "y"): 18,
    }
    assert {path: lines[path] for path in lines if path[0] == "list"} == {
        ("list",): 6,
        ("list", 0): 6,
        ("list", 1): 7,
        ("list", 1, 0): 7,
        ("list", 1, 1): 8,
        ("list", 1, 1, "k"): 8,
        ("list", 1, 1, "l"): 8,
        ("list", 1, 1, "l", "m"): 8,
    }


def test_json_positions() -> None:
    text = '{"a": [1,\n {"b": "x\\"}]"}],\n "c.d": null}'
    assert json_lines(text) == {(): 1, ("a",): 1, ("a", 0): 1, ("a", 1): 2, ("a", 1, "b"): 2, ("c.d",): 3}

"""What an answer must look like: for the prompt with every bound, for a server's strict mode in the form it takes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator

import simworld as sw
from simworld.mind.llm import AnswerSchema, answer_schema
from simworld.mind.llm._schema import LENGTHS
from simworld.scenario import load, resolve
from simworld.schema import Record


class Item(Record):
    """One thing."""

    title: str
    unit: str = "piece"
    amount: int = 1


class Everything(sw.Decision):
    """A field of every kind."""

    title: str = sw.field(doc="A field called as a keyword is.", max_length=80)
    properties: str = sw.field("", doc="Another one.", max_length=80)
    default: int = sw.field(3, doc="Another one.")
    choice: Literal["yes", "no"] = sw.field(doc="Which.")
    only: Literal["this"] = sw.field("this", doc="No choice.")
    firm: bool = sw.field(doc="Whether.")
    effort: int = sw.field(doc="How much.", ge=0, le=9, unit="hours", source="placeholder")
    share: float = sw.field(0.5, doc="Part.", gt=0, lt=1, unit="probability")
    target: int | None = sw.field(None, doc="Whom, or null.", ge=0)
    words: list[str] = sw.field(doc="Words.", max_length=3)
    items: tuple[Item, ...] = sw.field((), doc="Things.")


class Empty(sw.Decision):
    """Nothing to say."""


def paradox() -> list[type[sw.Decision]]:
    module = importlib.import_module(f"{load(resolve('friendship_paradox')).__module__.rpartition('.')[0]}.decisions")
    return [getattr(module, name) for name in ("Follow", "Act", "CommentTurn", "Interview")]


DECISIONS = [Everything, Empty, *paradox()]


def nodes(node: Any, names: bool = False) -> Iterator[dict[str, Any]]:
    """Yield every schema in a schema; the keys of ``properties`` and ``$defs`` are names, not keywords."""
    if isinstance(node, dict):
        if not names:
            yield node
        for key, value in node.items():
            yield from nodes(value, not names and key in ("properties", "$defs"))
    elif isinstance(node, list):
        for each in node:
            yield from nodes(each)


EXAMPLE: dict[str, Any] = {
    "title": "t", "properties": "p", "default": 1, "choice": "no", "only": "this", "firm": True, "effort": 9,
    "share": 0.1, "target": None, "words": ["a"], "items": [{"title": "t", "unit": "u", "amount": 2}],
}  # fmt: skip


@pytest.mark.parametrize("decision", DECISIONS)
def test_it_is_the_same_object_every_time(decision: type[sw.Decision]) -> None:
    schema = answer_schema(decision)
    assert isinstance(schema, AnswerSchema)
    assert answer_schema(decision) is schema
    assert (schema.decision, schema.name) == (decision, decision.__name__)


@pytest.mark.parametrize("decision", DECISIONS)
def test_the_strict_form_requires_every_property_and_allows_no_other(decision: type[sw.Decision]) -> None:
    strict = answer_schema(decision).strict
    Draft202012Validator.check_schema(strict)
    assert set(strict["properties"]) == set(decision.model_fields)
    for node in nodes(strict):
        if "properties" in node:
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False
        assert not {*LENGTHS, "default", "title"} & set(node), node


@pytest.mark.parametrize("decision", DECISIONS)
def test_the_text_is_one_line_of_json_with_descriptions_and_bounds(decision: type[sw.Decision]) -> None:
    text = answer_schema(decision).text
    assert "\n" not in text
    shown = json.loads(text)
    Draft202012Validator.check_schema(shown)
    assert list(shown["properties"]) == list(decision.model_fields)
    for name, info in decision.model_fields.items():
        assert shown["properties"][name]["description"] == info.description
    assert shown.get("required", []) == [name for name, info in decision.model_fields.items() if info.is_required()]
    assert not any({"title", "unit", "source"} & set(node) for node in nodes(shown))


def test_bounds_choices_and_lengths_are_in_the_text() -> None:
    shown = json.loads(answer_schema(Everything).text)["properties"]
    assert (shown["effort"]["minimum"], shown["effort"]["maximum"]) == (0, 9)
    assert (shown["share"]["exclusiveMinimum"], shown["share"]["exclusiveMaximum"], shown["share"]["default"]) == (
        0,
        1,
        0.5,
    )
    assert shown["choice"]["enum"] == ["yes", "no"]
    assert shown["only"]["const"] == "this"
    assert shown["title"]["maxLength"] == 80
    assert shown["words"]["maxItems"] == 3
    assert {"type": "null"} in shown["target"]["anyOf"]


def test_the_strict_form_keeps_bounds_and_choices() -> None:
    strict = answer_schema(Everything).strict["properties"]
    assert (strict["effort"]["minimum"], strict["effort"]["maximum"]) == (0, 9)
    assert strict["choice"]["enum"] == ["yes", "no"]
    assert {"type": "null"} in strict["target"]["anyOf"]
    assert strict["firm"]["type"] == "boolean"


def test_fields_called_as_keywords_are_there() -> None:
    for schema in (json.loads(answer_schema(Everything).text), answer_schema(Everything).strict):
        assert schema["properties"]["title"]["type"] == "string"
        assert schema["properties"]["properties"]["type"] == "string"
        assert schema["properties"]["default"]["type"] == "integer"
        assert list(schema["$defs"]["Item"]["properties"]) == ["title", "unit", "amount"]


def test_what_fits_the_strict_form_is_a_decision() -> None:
    validator = Draft202012Validator(answer_schema(Everything).strict)
    assert validator.is_valid(EXAMPLE)
    assert Everything.model_validate_json(json.dumps(EXAMPLE)).effort == 9
    for name in EXAMPLE:
        assert not validator.is_valid({k: v for k, v in EXAMPLE.items() if k != name}), f"{name} may be left out"
    assert not validator.is_valid({**EXAMPLE, "mood": 1})
    assert not validator.is_valid({**EXAMPLE, "effort": "3"})


def test_the_form_that_is_sent() -> None:
    schema = answer_schema(Everything)
    assert schema.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "Everything", "strict": True, "schema": schema.strict},
    }
    assert json.loads(json.dumps(schema.response_format)) == schema.response_format


def test_the_decisions_of_the_friendship_paradox() -> None:
    follow, act, turn, interview = (answer_schema(decision) for decision in paradox())
    assert list(follow.strict["properties"]) == ["target"]
    assert follow.strict["properties"]["target"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert act.strict["properties"]["choice"]["enum"] == ["post", "none", "share", "like", "dislike", "comment"]
    assert json.loads(act.text)["properties"]["content"]["maxLength"] == 280
    assert json.loads(act.text)["required"] == ["choice"]
    assert act.strict["required"] == ["choice", "target_post", "content", "reason"]
    assert turn.strict["properties"]["end"]["type"] == "boolean"
    assert interview.strict["required"] == ["main_influence", "explanation"]

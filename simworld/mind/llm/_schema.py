"""What an answer must look like: a decision's JSON schema, compiled once, in the forms a prompt and a server need."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from simworld.schema import Decision

LENGTHS = ("minLength", "maxLength", "minItems", "maxItems", "pattern", "format")
"""Keywords that some servers' strict mode refuses; the answer is checked for them when it arrives."""


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """One decision class as JSON schema."""

    decision: type[Decision]
    name: str
    text: str
    """For the prompt: compact JSON with descriptions and bounds."""
    strict: dict[str, Any]
    """For structured output: every property required, none besides, no keyword of `LENGTHS`."""

    @property
    def response_format(self) -> dict[str, Any]:
        """The ``response_format`` of an OpenAI-compatible call."""
        return {"type": "json_schema", "json_schema": {"name": self.name, "strict": True, "schema": self.strict}}


@functools.cache
def answer_schema(decision: type[Decision]) -> AnswerSchema:
    """Return the schema of a decision, the same object every time."""
    schema = _without_titles(decision.model_json_schema())
    schema.pop("description", None)
    return AnswerSchema(
        decision, decision.__name__, json.dumps(schema, ensure_ascii=False), _strict(json.loads(json.dumps(schema)))
    )


def _without_titles(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, list):
        return [_without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    # Under "properties" the keys are names of fields, one of which may be "title"; units and sources are for people.
    drop = () if names else ("title", "unit", "source")
    return {
        k: _without_titles(v, names=not names and k in ("properties", "$defs"))
        for k, v in node.items()
        if k not in drop
    }


def _strict(node: Any, *, names: bool = False) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    drop = () if names else (*LENGTHS, "default")
    out = {k: _strict(v, names=not names and k in ("properties", "$defs")) for k, v in node.items() if k not in drop}
    if not names and "properties" in out:
        out["required"] = list(out["properties"])
        out["additionalProperties"] = False
    return out

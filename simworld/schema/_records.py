"""Frozen, strict pydantic records, and `field`, which makes unit, range and documentation one call."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A frozen record; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class Params(Record):
    """What a user may set for a scenario: subclass it, each field through `field` with unit, range and a sentence."""


class Globals(BaseModel):
    """What a society keeps beside its tables and its graph: few, small values; saved as JSON at every step."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Decision(Record):
    """What an agent must answer: one subclass a question, its fields the answer. Types are strict: "3" is no int."""

    model_config = ConfigDict(strict=True)


class Refusal(Record):
    """An answer that could not be used. It is never turned into a default action: the scenario says what it means."""

    decision: str
    """Name of the decision class that was asked for."""
    field: str
    """The field at fault, or ``""`` when the whole answer is."""
    reason: str
    """What was wrong with it, in one line."""

    def __bool__(self) -> bool:
        return False


def field(
    default: Any = ...,
    *,
    doc: str,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    source: str = "",
) -> Any:
    """Declare a field of `Params`, `Globals` or `Decision`.

    Args:
        default: value when none is given; leave out to make the field required.
        doc: one sentence a user reads in ``simworld list SCENARIO``.
        unit: unit of the value (``"agents"``, ``"steps"``, ``"probability"``); empty for a pure number.
        ge, gt, le, lt: closed and open bounds.
        min_length, max_length: bounds of a text, in characters.
        source: where the value comes from, or ``"placeholder"``.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt, "min_length": min_length, "max_length": max_length}
    given: dict[str, Any] = {k: v for k, v in bounds.items() if v is not None}
    extra: dict[str, Any] = {k: v for k, v in (("unit", unit), ("source", source)) if v}
    return Field(
        default,
        description=doc,
        json_schema_extra=extra or None,
        **given,
    )

"""Records shared by all rooms: frozen, closed, with unit, range and documentation in one call."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

import simworld as sw
from simworld.schema import Record, Refusal


class Share(sw.Params):
    p: float = sw.field(0.5, ge=0, le=1, unit="probability", doc="Chance to share.", source="placeholder")
    n: int = sw.field(doc="How many.", gt=0, lt=10)
    name: str = sw.field("a", doc="Name.", min_length=1, max_length=3)


class Tally(sw.Globals):
    best: float = 0.0
    seen: list[int] = []


def test_field_keeps_documentation_unit_source_and_bounds() -> None:
    schema = Share.model_json_schema()["properties"]
    assert schema["p"] == {
        "default": 0.5, "description": "Chance to share.", "maximum": 1, "minimum": 0, "title": "P", "type": "number",
        "unit": "probability", "source": "placeholder",
    }  # fmt: skip
    assert (schema["n"]["exclusiveMinimum"], schema["n"]["exclusiveMaximum"]) == (0, 10)
    assert "unit" not in schema["n"]
    assert (schema["name"]["minLength"], schema["name"]["maxLength"]) == (1, 3)


def test_a_field_without_default_is_required() -> None:
    with pytest.raises(ValidationError, match="Field required"):
        Share()
    assert Share(n=3).p == 0.5


@pytest.mark.parametrize(
    "wrong",
    [{"p": 1.01}, {"p": -0.01}, {"p": math.nan}, {"p": math.inf}, {"n": 0}, {"n": 10}, {"n": 2.5}, {"name": ""},
     {"name": "abcd"}, {"q": 1}, {"p": None}],
)  # fmt: skip
def test_what_is_out_of_range_or_unknown_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Share.model_validate({"n": 3, **wrong})


def test_records_are_frozen() -> None:
    share = Share(n=3)
    with pytest.raises(ValidationError, match="frozen"):
        share.n = 4  # type: ignore[misc]
    assert isinstance(share, Record)


def test_a_refusal_is_false_and_a_decision_is_true() -> None:
    class Go(sw.Decision):
        n: int = 0

    assert not Refusal(decision="Go", field="", reason="no")
    assert Go()


def test_globals_check_what_is_assigned_and_take_no_new_names() -> None:
    tally = Tally()
    tally.best = 3
    assert tally.best == 3.0
    with pytest.raises(ValidationError):
        tally.best = "high"  # type: ignore[assignment]
    with pytest.raises(ValidationError):
        tally.worst = 1.0  # type: ignore[attr-defined]


def test_defaults_of_globals_are_not_shared_between_societies() -> None:
    """Trap: a checkpoint or a default that aliases live state, so that two forks share memory."""
    first, second = Tally(), Tally()
    first.seen.append(1)
    assert second.seen == []
    assert Tally().seen == []


@pytest.mark.parametrize("best", [0.1 + 0.2, 1e308, -0.0, 5e-324])
def test_globals_survive_json(best: float) -> None:
    """What a step ends with is saved as JSON and read back by a resume."""
    tally = Tally(best=best, seen=[2**70, -1])
    again = Tally.model_validate_json(tally.model_dump_json())
    assert again.best.hex() == best.hex()
    assert again.seen == tally.seen

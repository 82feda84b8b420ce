"""The null policy: uniform over everything a decision's schema allows, and an error where nothing is uniform."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest

import simworld as sw
from simworld.errors import RunError
from simworld.mind import Answers, Question, RuleMind, uniform_policy
from simworld.rng import Chance

N = 20_000


class Everything(sw.Decision):
    yes: bool = sw.field(doc="yes")
    word: Literal["a", "b", "c"] = sw.field(doc="word")
    number: Literal[3, 5] = sw.field(doc="number")
    closed: int = sw.field(doc="0..4", ge=0, le=4)
    opened: int = sw.field(doc="-2..1", gt=-3, lt=2)
    share: float = sw.field(doc="share", ge=-1, le=3)
    inside: float = sw.field(doc="inside", gt=0, lt=1)
    note: str = sw.field("", doc="note")


def answers(decision: type[sw.Decision], n: int = N) -> Answers:
    question = Question(decision, "null", np.arange(n), 0, [None] * n, Chance(8), 1, n)
    return RuleMind({}, "null", fallback=uniform_policy).decide(question)


@pytest.mark.parametrize(
    ("field", "values"),
    [("yes", [False, True]), ("word", ["a", "b", "c"]), ("number", [3, 5]), ("closed", [0, 1, 2, 3, 4]),
     ("opened", [-2, -1, 0, 1])],
)  # fmt: skip
def test_every_value_is_equally_likely(field: str, values: list[Any]) -> None:
    given = answers(Everything)
    assert not given.refused.any()
    column = given.column(field, refused=None).tolist()
    assert set(column) == set(values)
    p = 1 / len(values)
    for value in values:
        assert abs(column.count(value) - N * p) < 4 * math.sqrt(N * p * (1 - p))


@pytest.mark.parametrize(("field", "low", "high"), [("share", -1.0, 3.0), ("inside", 0.0, 1.0)])
def test_numbers_are_uniform_between_their_bounds(field: str, low: float, high: float) -> None:
    x = (np.sort(answers(Everything).column(field, refused=np.nan)) - low) / (high - low)
    assert np.abs(x - (np.arange(N) + 0.5) / N).max() + 0.5 / N < 1.95 / math.sqrt(N)


def test_fields_are_independent_of_each_other() -> None:
    given = answers(Everything)
    columns = [given.column(f, refused=0).astype(float) for f in ("yes", "closed", "opened", "share", "inside")]
    off = np.abs(np.corrcoef(columns) - np.eye(5)).max()
    assert off < 4 / math.sqrt(N)


def test_a_field_with_default_and_no_range_keeps_its_default() -> None:
    assert set(answers(Everything, 50).column("note", refused=None)) == {""}


def test_a_bounded_field_with_default_is_drawn_all_the_same() -> None:
    class Lean(sw.Decision):
        n: int = sw.field(0, doc="n", ge=0, le=1)

    assert 0 < answers(Lean, 200).column("n", refused=-1).mean() < 1


class Words(sw.Decision):
    words: str = sw.field(doc="words")


class Unbounded(sw.Decision):
    n: int = sw.field(doc="n", ge=0)


class HalfBounded(sw.Decision):
    ok: bool = sw.field(doc="ok")
    x: float = sw.field(doc="x", le=1)


@pytest.mark.parametrize(("decision", "field"), [(Words, "words"), (Unbounded, "n"), (HalfBounded, "x")])
def test_a_field_without_finite_range_has_no_null(decision: type[sw.Decision], field: str) -> None:
    with pytest.raises(RunError, match=rf"no uniform null for {decision.__name__}\.{field}: .* finite range") as caught:
        answers(decision, 3)
    assert "\n" not in str(caught.value)


def test_a_scenarios_own_null_goes_before_the_uniform_one() -> None:
    mind = RuleMind({Words: lambda *_: "…"}, "null", fallback=uniform_policy)
    question = Question(Words, "null", np.arange(2), 0, [None] * 2, Chance(8), 1, 2)
    assert list(mind.decide(question)) == [Words(words="…")] * 2

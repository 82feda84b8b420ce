"""Answers: checked decisions or typed refusals, as objects and as columns, whichever way they came in."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import field_validator

import simworld as sw
from simworld.mind import Answers, Columns, Question, RuleMind, vectorised
from simworld.rng import Chance


class Effort(sw.Decision):
    effort: int = sw.field(doc="Effort.", ge=0, le=10)


class Share(sw.Decision):
    share: float = sw.field(doc="Share.", ge=0, lt=1)


class Speak(sw.Decision):
    speak: bool = sw.field(doc="Speak?")


class Say(sw.Decision):
    words: str = sw.field(doc="Words.", min_length=1, max_length=20)


class Pick(sw.Decision):
    side: Literal["left", "right"] = sw.field(doc="Side.")


class Gift(sw.Decision):
    to: int = sw.field(doc="To whom.", ge=0)
    share: float = sw.field(doc="Share.", ge=0, le=1)


class Even(sw.Decision):
    n: int = sw.field(doc="An even number.")

    @field_validator("n")
    @classmethod
    def _even(cls, n: int) -> int:
        if n % 2:
            raise ValueError("odd")
        return n


def question(decision: type[sw.Decision], n: int, observe: Any = None) -> Question:
    observe = observe if observe is not None else Columns({"at": np.arange(n)}, n)
    return Question(decision, "q", np.arange(n), 0, observe, Chance(1), 1, n)


def told(decision: type[sw.Decision], answers: list[Any]) -> Answers:
    """What comes of a policy that gives these answers, one an agent."""
    policy = lambda persona, seen, memory, rng: answers[seen.at]  # noqa: E731
    return RuleMind({decision: policy}).decide(question(decision, len(answers)))


def told_columns(decision: type[sw.Decision], **columns: Any) -> Answers:
    """What comes of a vectorised policy that gives these columns."""
    n = len(next(iter(columns.values())))
    return RuleMind({decision: vectorised(lambda *_: columns)}).decide(question(decision, n))


# -- what is used and what is refused -------------------------------------------------------------------------------

GOOD: list[tuple[type[sw.Decision], Any, Any]] = [
    (Effort, 3, 3),
    (Effort, {"effort": 3}, 3),
    (Effort, Effort(effort=3), 3),
    (Effort, np.int64(10), 10),
    (Share, 0.25, 0.25),
    (Share, 0, 0.0),
    (Share, np.float64(0.5), 0.5),
    (Speak, True, True),
    (Speak, np.True_, True),
    (Say, "no", "no"),
    (Pick, "left", "left"),
    (Even, 4, 4),
]


@pytest.mark.parametrize(("decision", "answer", "value"), GOOD)
def test_a_decision_a_dict_or_the_bare_value_will_do(decision: type[sw.Decision], answer: Any, value: Any) -> None:
    (field,) = decision.model_fields
    answers = told(decision, [answer, answer])
    assert list(answers) == [decision(**{field: value})] * 2
    assert answers.column(field, refused=None).tolist() == [value] * 2
    assert not answers.refused.any()
    assert type(getattr(answers[0], field)) is type(value)


BAD: list[tuple[type[sw.Decision], Any]] = [
    (Effort, 11),
    (Effort, -1),
    (Effort, 2.5),
    (Effort, 10**30),
    (Effort, -(10**30)),
    (Effort, 2**63),
    (Effort, None),
    (Effort, "many"),
    (Effort, math.nan),
    (Effort, math.inf),
    (Effort, [3]),
    (Effort, {"efort": 3}),
    (Effort, {"effort": 3, "why": "so"}),
    (Effort, {}),
    (Effort, b"\xff"),
    (Share, 1.0),
    (Share, -1e-9),
    (Share, math.nan),
    (Share, math.inf),
    (Share, -math.inf),
    (Share, None),
    (Share, 10**400),
    (Speak, None),
    (Speak, 2),
    (Speak, math.nan),
    (Say, ""),
    (Say, "x" * 21),
    (Say, 7),
    (Say, None),
    (Pick, "up"),
    (Pick, "Left"),
    (Pick, None),
    (Even, 3),
]


@pytest.mark.parametrize(("decision", "answer"), BAD)
@pytest.mark.parametrize("alone", [True, False])
def test_what_cannot_be_used_is_refused_and_nobody_else_is(
    decision: type[sw.Decision], answer: Any, alone: bool
) -> None:
    """Traps: a parse failure that becomes ``0.0``; an answer that takes the step down with it."""
    good = next(g for d, g, _ in GOOD if d is decision)
    answers = told(decision, [answer] if alone else [good, answer, good])
    at = 0 if alone else 1
    items = list(answers)
    refusal = items[at]
    assert isinstance(refusal, sw.Refusal)
    assert refusal == answers.refusals[at]
    assert refusal.decision == decision.__name__
    assert refusal.field == "" or refusal.field.isidentifier()
    assert 0 < len(refusal.reason) < 400
    assert "\n" not in refusal.reason
    assert [i for i, a in enumerate(items) if not isinstance(a, sw.Refusal)] == [
        i for i in range(len(items)) if i != at
    ]
    assert answers.refused.tolist() == [i == at for i in range(len(items))]


def test_a_refusal_names_the_first_field_at_fault_and_what_it_was() -> None:
    (refusal,) = told(Gift, [{"to": -4, "share": 3.0}])
    assert refusal.field == "to"
    assert "greater than or equal to 0" in refusal.reason
    assert "got -4" in refusal.reason


def test_a_refusal_the_mind_itself_gives_is_kept() -> None:
    said = sw.Refusal(decision="Effort", field="", reason="I would rather not")
    assert list(told(Effort, [3, said])) == [Effort(effort=3), said]


@pytest.mark.parametrize("text", ["y" * 100_000, "line\nline", "{0.__class__}", "%s %d", "\x1b[31m", "'; DROP TABLE"])
def test_model_text_is_data_and_short(text: str) -> None:
    """Length-bounded, one line, never a format string, wherever in the answer it stands."""
    for answer in ({"effort": text}, {text: 3, "effort": 3}, {"effort": {text: 1}}):
        (refusal,) = told(Effort, [answer])
        assert isinstance(refusal, sw.Refusal)
        assert len(refusal.reason) + len(refusal.field) < 1000
        assert "\n" not in refusal.reason + refusal.field


def test_no_object_address_gets_into_a_refusal() -> None:
    """Trap: object addresses in what is logged make every run another one."""
    (refusal,) = told(Effort, [object()])
    assert " at 0x" not in refusal.reason
    assert "object" in refusal.reason


@pytest.mark.slow
def test_a_refusal_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "from tests.unit.test_mind_answers import told, Effort\n"
        "print(list(told(Effort, [{'a', 'b', 'c', 'dd', 'ee'}, 3])))"
    )
    said = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        said.add(done.stdout)
    assert len(said) == 1


def test_a_policy_that_returns_another_decision_is_a_fault_of_the_scenario() -> None:
    with pytest.raises(TypeError, match="policy for Effort returned Share"):
        told(Effort, [Share(share=0.5)])
    with pytest.raises(TypeError, match="return a Gift, a dict of"):
        told(Gift, [3])


def test_a_policy_that_runs_out_is_not_the_end_of_the_agents() -> None:
    """``next(...)`` on nothing raises StopIteration, which ``map`` takes for the end: agents would go unasked."""
    answered = {"to": 1, "share": 0.5}
    with pytest.raises((StopIteration, RuntimeError)):
        RuleMind({Gift: lambda p, o, m, r: answered if o.at < 2 else next(iter(()))}).decide(question(Gift, 5))


def test_answers_that_do_not_fit_the_question_are_no_answers() -> None:
    """A mind that returns too few or too many must not be taken for one that answered everybody."""
    for items in ([Effort(effort=1)], [Effort(effort=1)] * 4):
        with pytest.raises((ValueError, TypeError, sw.SimworldError)):
            Answers(question(Effort, 3), items)  # type: ignore[arg-type]


@pytest.mark.parametrize("item", [{"effort": 99}, None, 3, Share(share=0.5)])
def test_what_is_no_decision_of_this_question_is_no_answer(item: Any) -> None:
    with pytest.raises((ValueError, TypeError, sw.SimworldError)):
        Answers(question(Effort, 1), [item])


# -- columns --------------------------------------------------------------------------------------------------------


def test_columns_are_checked_against_every_kind_of_bound() -> None:
    class Bounds(sw.Decision):
        a: float = sw.field(doc="a", ge=0, le=1)
        b: float = sw.field(doc="b", gt=0, lt=1)

    edge = np.array([0.0, 1.0, 0.5, -0.1, 1.1, np.nan, np.inf])
    half = np.full(7, 0.5)
    assert told_columns(Bounds, a=edge, b=half).refused.tolist() == [False, False, False, True, True, True, True]
    assert told_columns(Bounds, a=half, b=edge).refused.tolist() == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("bad", [[3, 11, -1], [0, 0, 99], [11, 11, 11]])
def test_columns_with_refusals_can_be_read_as_objects(bad: list[int]) -> None:
    answers = told_columns(Effort, effort=np.array(bad))
    items = list(answers)
    assert [isinstance(a, sw.Refusal) for a in items] == [not 0 <= b <= 10 for b in bad]
    assert [a.effort for a in items if isinstance(a, Effort)] == [b for b in bad if 0 <= b <= 10]
    assert list(answers.pairs()) == list(enumerate(items))
    assert answers[-1] == items[-1]


@pytest.mark.parametrize(
    "columns",
    [{}, {"effort": np.zeros(2, int)}, {"effort": np.zeros((3, 1), int)}, {"efort": np.zeros(3, int)},
     {"effort": np.zeros(3, int), "more": np.zeros(3, int)}, {"effort": 3}],
)  # fmt: skip
def test_columns_of_the_wrong_shape_are_a_fault_of_the_policy(columns: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"vectorised policy for Effort .* shape \(3,\)"):
        RuleMind({Effort: vectorised(lambda *_: columns)}).decide(question(Effort, 3))


def test_columns_of_the_wrong_type_are_a_fault_of_the_policy() -> None:
    for column in (np.array([0.5, 1.0]), np.array([True, False]), np.array(["1", "2"]), np.array([None, 1])):
        with pytest.raises(TypeError, match="must be of int"):
            told_columns(Effort, effort=column)
    with pytest.raises(TypeError, match="must be of bool"):
        told_columns(Speak, speak=np.array([0, 1]))


def test_columns_of_other_fields_are_checked_one_by_one() -> None:
    answers = told_columns(Pick, side=np.array(["left", "up", "right"]))
    assert answers.column("side", refused="").tolist() == ["left", "", "right"]
    assert told_columns(Even, n=np.array([2, 3])).refused.tolist() == [False, True]


def test_a_field_with_default_may_be_left_out_of_the_columns() -> None:
    class Post(sw.Decision):
        n: int = sw.field(doc="n", ge=0)
        words: str = sw.field("…", doc="words")

    assert list(told_columns(Post, n=np.array([1, 2]))) == [Post(n=1), Post(n=2)]


@pytest.mark.parametrize("as_columns", [False, True])
@pytest.mark.parametrize(
    ("decision", "good", "bad", "mark"),
    [(Effort, 3, 11, -1), (Effort, 3, 11, math.nan), (Effort, 3, 11, 0.5), (Effort, 3, 11, None),
     (Share, 0.5, 1.5, -1.0), (Share, 0.5, 1.5, math.nan), (Share, 0.5, 1.5, None), (Share, 0.5, 1.5, 0)],
)  # fmt: skip
def test_what_stands_for_a_refusal_stands_there_as_given(
    as_columns: bool, decision: type[sw.Decision], good: Any, bad: Any, mark: Any
) -> None:
    """A mark that is cast to the column's type (NaN to a number, 0.5 to 0) would be an action nobody took."""
    (field,) = decision.model_fields
    if as_columns:
        answers = told_columns(decision, **{field: np.array([good, bad, good])})
    else:
        answers = told(decision, [{field: good}, {field: bad}, {field: good}])
    column = answers.column(field, refused=mark).tolist()
    assert column[0] == column[2] == good
    assert repr(column[1]) == repr(mark) or column[1] == mark


def test_a_mark_on_a_yes_or_no_is_not_a_yes() -> None:
    """A refusal marked -1 in a column of booleans would read as True."""

    class Both(sw.Decision):
        speak: bool = sw.field(doc="Speak?")
        share: float = sw.field(doc="Share.", le=1)

    answers = told_columns(Both, speak=np.array([True, False, False]), share=np.array([0.0, 9.0, 0.0]))
    assert answers.column("speak", refused=-1).tolist() == [1, -1, 0]
    assert answers.column("speak", refused=False).tolist() == [True, False, False]


@pytest.mark.parametrize("decision", [Effort, Share, Speak])
def test_a_column_of_nobody_has_the_type_of_its_field(decision: type[sw.Decision]) -> None:
    """It indexes and adds like any other: ``ids[answers.column("speak", refused=False)]`` with nobody asked."""
    (field,) = decision.model_fields
    kind = {"effort": "i", "share": "f", "speak": "b"}[field]
    value: Any = {"effort": 1, "share": 0.5, "speak": True}[field]
    column = told(decision, []).column(field, refused=value)
    assert column.shape == (0,)
    assert column.dtype.kind == kind


def test_reading_a_column_does_not_change_the_answers() -> None:
    given = np.array([1, 99, 3])
    answers = told_columns(Effort, effort=given)
    column = answers.column("effort", refused=-1)
    column[:] = 7
    assert given.tolist() == [1, 99, 3]
    assert answers.column("effort", refused=-1).tolist() == [1, -1, 3]


def test_reasons_are_the_same_whichever_way_the_answer_came() -> None:
    by_value = dict(told(Effort, [3, 11]).refusals)
    by_dict = dict(told(Effort, [{"effort": 3}, {"effort": 11}]).refusals)
    by_column = dict(told_columns(Effort, effort=np.array([3, 11])).refusals)
    assert by_value == by_dict == by_column

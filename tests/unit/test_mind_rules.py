"""Rule minds, their draws, and what a question tells them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.errors import RunError
from simworld.mind import Columns, Personas, Question, RuleMind, vectorised
from simworld.persona import sample_population, trait_z
from simworld.rng import Chance


class Bid(sw.Decision):
    a: float = sw.field(doc="a")
    b: int = sw.field(doc="b")
    c: bool = sw.field(doc="c")


def scalar(persona: Any, seen: Any, memory: Any, rng: Any) -> dict[str, Any]:
    return {"a": rng.random(), "b": rng.integers(seen.low, seen.high), "c": rng.bernoulli(seen.p)}


@vectorised
def columns(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, Any]:
    return {"a": rng.random(), "b": rng.integers(seen.low, seen.high), "c": rng.bernoulli(seen.p)}


def question(ids: Any, n: int, **more: Any) -> Question:
    ids = np.asarray(ids, np.int64)
    seen = Columns({"low": -(ids % 5), "high": ids + 1, "p": ids / n}, len(ids))
    return Question(Bid, "Bid", ids, more.pop("occurrences", 0), seen, Chance(3), 4, n, **more)


@pytest.mark.parametrize("asked", [1, 2, 15, 16, 17, 500, 1000])
@pytest.mark.parametrize("turns", [0, 3, "mixed"])
def test_a_policy_and_its_vectorised_form_draw_the_same_numbers(asked: int, turns: Any) -> None:
    """1000 rows: 16 agents asked is where fetching alone gives way to fetching everybody's."""
    rng = np.random.default_rng(asked)
    ids = rng.permutation(1000)[:asked]
    occurrences = rng.integers(0, 3, asked) if turns == "mixed" else turns
    one = list(RuleMind({Bid: scalar}).decide(question(ids, 1000, occurrences=occurrences)))
    other = list(RuleMind({Bid: columns}).decide(question(ids, 1000, occurrences=occurrences)))
    assert one == other
    assert len(set(one)) == len(set(ids))


def test_the_draws_are_the_named_columns_of_the_society() -> None:
    """Published layout: ("step", t, "decide", purpose, occurrence, k), element = agent id."""
    (bid,) = RuleMind({Bid: scalar}).decide(question([7], 1000, occurrences=2))
    u = [float(Chance(3).uniforms(1000, "step", 4, "decide", "Bid", 2, k)[7]) for k in range(3)]
    assert bid == Bid(a=u[0], b=-2 + int(u[1] * 10), c=u[2] < 0.007)


def test_integers_of_no_value_are_refused_by_both_forms() -> None:
    empty = Columns({"low": np.array([3, 3]), "high": np.array([4, 3]), "p": np.zeros(2)}, 2)
    for policy in (scalar, columns):
        with pytest.raises(ValueError, match="empty range"):
            RuleMind({Bid: policy}).decide(Question(Bid, "Bid", np.arange(2), 0, empty, Chance(3), 4, 2))


def test_a_decision_without_policy_is_a_clear_error() -> None:
    class Other(sw.Decision):
        pass

    with pytest.raises(RunError, match=r"mind 'rules' has no policy for decision 'Bid' .it has: Other.; add one"):
        RuleMind({Other: scalar}).decide(question([0], 5))
    with pytest.raises(RunError, match="it has: none"):
        RuleMind({}).decide(question([0], 5))


def test_a_vectorised_policy_needs_columns() -> None:
    asked = Question(Bid, "Bid", np.arange(2), 0, [0, 1], Chance(3), 4, 2)
    with pytest.raises(RunError, match="vectorised; pass the observation as a dict of columns"):
        RuleMind({Bid: columns}).decide(asked)


def test_a_policy_sees_its_own_persona_observation_and_memory() -> None:
    people = sample_population(6, 1)
    memories = {i: f"memory of {i}" for i in range(6)}
    met: list[tuple[str, int, str]] = []

    def policy(persona: Any, seen: Any, memory: Any, rng: Any) -> dict[str, Any]:
        met.append((persona.id, seen.high - 1, memory))
        return {"a": 0.0, "b": 0, "c": False}

    RuleMind({Bid: policy}).decide(question([4, 0, 5], 6, everyone=people, memories=[memories[i] for i in (4, 0, 5)]))
    assert met == [(people[i].id, i, memories[i]) for i in (4, 0, 5)]


def test_personas_as_columns() -> None:
    people = sample_population(6, 1)
    asked = Personas(people, np.array([4, 0]))
    assert len(asked) == 2
    assert [p.id for p in asked] == [people[4].id, people[0].id]  # type: ignore[union-attr]
    assert asked[1] is people[0]
    assert asked.z("O").tolist() == [trait_z(people[4], "O"), trait_z(people[0], "O")]
    nobody = Personas(None, np.array([4, 0]))
    assert list(nobody) == [None, None]
    assert nobody.z("E").tolist() == [0.0, 0.0]


def test_personas_are_a_sequence() -> None:
    people = sample_population(6, 1)
    asked = Personas(people, np.array([4, 0, 2]))
    assert [p.id for p in asked[1:]] == [people[0].id, people[2].id]
    with pytest.raises(IndexError):
        asked[3]


def test_observation_columns_must_fit_those_asked() -> None:
    with pytest.raises(ValueError, match="'x' has 3 values for 2 agents asked"):
        Columns({"x": np.zeros(3)}, 2)
    seen = Columns({"x": np.arange(3), "word": ["a", "b", "c"]}, 3)
    assert [tuple(r) for r in seen.rows()] == [(0, "a"), (1, "b"), (2, "c")]
    assert type(next(seen.rows()).x) is int
    assert [tuple(r) for r in seen.take(np.array([2, 0])).rows()] == [(2, "c"), (0, "a")]
    with pytest.raises(AttributeError, match="y"):
        _ = seen.y


@pytest.mark.parametrize("name", ["rows", "take", "count", "index", "class"])
def test_an_observation_may_have_any_name_or_says_it_may_not(name: str) -> None:
    """A name that means a method to one form of a policy and a value to the other is a trap."""
    try:
        seen = Columns({name: np.array([3, 4])}, 2)
        row = next(seen.rows())
    except ValueError:
        return
    assert getattr(seen, name).tolist() == [3, 4]
    assert getattr(row, name) == 3


def test_a_policy_cannot_write_into_what_it_sees() -> None:
    """Trap: a parallel mode in which agents see each other's half-finished effects."""
    share = np.zeros(4)

    @vectorised
    def greedy(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, Any]:
        seen.share[:] = 1.0
        return {"a": seen.share, "b": np.zeros(4, int), "c": np.zeros(4, bool)}

    try:
        asked = Question(Bid, "Bid", np.arange(4), 0, Columns({"share": share}, 4), Chance(3), 4, 4)
        RuleMind({Bid: greedy}).decide(asked)
    except ValueError:
        pass  # a read-only view says so
    assert share.tolist() == [0.0] * 4

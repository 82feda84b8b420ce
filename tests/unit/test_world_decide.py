"""Deciding: one question, one snapshot, draws by agent and occurrence, refusals that are events and never actions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import simworld as sw
from simworld.errors import RunError
from simworld.mind import Answers, Question, RuleMind, vectorised
from simworld.world import Chunk, World


class Person(sw.Agent):
    opinion: float = 0.0


class Bid(sw.Decision):
    amount: float = sw.field(doc="Bid.", ge=0, lt=1)


class Move(sw.Decision):
    to: Literal["left", "right"] = sw.field(doc="Where.")
    effort: int = sw.field(doc="Effort.", ge=0, le=9)


def by_chance(persona: Any, seen: Any, memory: Any, rng: Any) -> float:
    return rng.random()


@vectorised
def by_chance_columns(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, Any]:
    return {"amount": rng.random()}


class Town(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(8, ge=0, doc="Agents.")

    agent_classes = (Person,)
    policies = {
        "rules": {Bid: by_chance, Move: lambda p, seen, m, rng: {"to": rng.choice(["left", "right"]), "effort": 1}},
        "columns": {Bid: by_chance_columns},
    }


def town(policy: Callable[..., Any] | None = None, decision: type[sw.Decision] = Bid, **more: Any) -> World:
    world = Town(rng=4, **more) if policy is None else Town(rng=4, mind=RuleMind({decision: policy}, "own"), **more)
    world.step()
    return world


def bids(world: World, who: Any = None, **more: Any) -> list[float]:
    ids = world.ids_of(who)
    return world.decide(Bid, who, {"at": ids}, **more).column("amount", refused=-1.0).tolist()


def events(world: World) -> list[dict[str, Any]]:
    """Return the events since the last look, one dict each."""
    rows = []
    for chunk in world.drain(state=False).events:
        for i in range(chunk.n):
            rows.append({k: _cell(v, i) for k, v in chunk.columns.items()})
    return rows


def _cell(column: Any, i: int) -> Any:
    return column[i] if isinstance(column, np.ndarray | tuple | list) else column


# -- draws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mind", ["rules", "columns"])
@pytest.mark.parametrize("n", [8, 3000])
def test_an_agents_answer_does_not_depend_on_who_else_is_asked(mind: str, n: int) -> None:
    everybody = bids(town(mind=mind, n_agents=n))
    assert len(set(everybody)) == n
    for who in ([n - 1], [3, 1, 7], list(range(n))[::-1], np.arange(n) % 2 == 0):
        world = town(mind=mind, n_agents=n)
        assert bids(world, who) == [everybody[i] for i in world.ids_of(who)]


def test_an_agents_answer_does_not_depend_on_how_many_there_are() -> None:
    assert bids(town(n_agents=3000))[:8] == bids(town(n_agents=8))


def test_a_policy_and_its_columns_draw_the_same() -> None:
    assert bids(town(mind="columns")) == bids(town(mind="rules"))


@pytest.mark.parametrize("mind", ["rules", "columns"])
def test_asked_twice_in_one_batch_an_agent_draws_anew_and_the_order_of_the_batch_is_nothing(mind: str) -> None:
    batch = [5, 2, 5, 7, 2, 5]
    first = bids(town(mind=mind), batch)
    assert len(set(first)) == 6
    by_agent = {i: [b for j, b in zip(batch, first, strict=True) if j == i] for i in set(batch)}
    other = [2, 7, 5, 5, 2, 5]
    again = bids(town(mind=mind), other)
    assert {i: [b for j, b in zip(other, again, strict=True) if j == i] for i in set(batch)} == by_agent


@pytest.mark.parametrize("mind", ["rules", "columns"])
def test_one_batch_or_many_or_everybody_at_once(mind: str) -> None:
    """The k-th time an agent is asked in a step is the same question however the asking is cut up."""
    together = bids(town(mind=mind), [0, 1, 2, 3, 4, 5, 6, 7, 3, 4])
    world = town(mind=mind)
    assert bids(world) + bids(world, [3]) + bids(world, [4]) == together
    world = town(mind=mind)
    assert bids(world, [3, 4]) == together[3:5]
    assert bids(world, [0, 1, 2]) == together[:3]
    assert bids(world, [3, 4]) == together[8:]
    world = town(mind=mind)
    rounds = [bids(world), bids(world, np.arange(8)), bids(world)]
    other = town(mind=mind)
    assert [bids(other), bids(other), bids(other)] == rounds
    assert len({b for r in rounds for b in r}) == 24


def test_a_new_step_and_another_purpose_draw_anew() -> None:
    world = town()
    first, other = bids(world), bids(world, purpose="second thoughts")
    world.step()
    third = bids(world)
    assert len({*first, *other, *third}) == 24
    world = town()
    assert bids(world, purpose="second thoughts") == other
    assert bids(world) == first


def test_latecomers_and_the_dead_move_nobody() -> None:
    first = bids(town())
    world = town()
    world.add_agents(Person, 3)
    world.retire(2)
    assert world.ids.tolist() == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10]
    late = bids(world)
    assert late[:7] == first[:2] + first[3:]
    again = bids(world)
    assert not set(again) & set(late)


def test_a_latecomers_first_question_is_its_first_whenever_it_came() -> None:
    """Everybody was asked twice before agent 8 came; its first draws do not depend on that."""
    world = town()
    bids(world)
    bids(world)
    world.add_agents(Person, 1)
    asked_later = bids(world, [8])
    world = town()
    world.add_agents(Person, 1)
    assert bids(world, [8]) == asked_later


def test_draws_of_a_decision_are_no_draws_of_the_scenario() -> None:
    world, other = town(), town()
    world.stream("decide").random(1000)
    world.random.random()
    world.rng.random(10)
    list(world.activation("random_order"))
    assert bids(world) == bids(other)


@pytest.mark.parametrize("policy", [by_chance, by_chance_columns])
def test_nobody_asked_nobody_answers(policy: Any) -> None:
    world = town(policy)
    for who in ([], np.zeros(8, bool), np.array([], np.int64)):
        answers = world.decide(Bid, who, {"at": np.array([])})
        assert (len(answers), list(answers), dict(answers.refusals)) == (0, [], {})


# -- the snapshot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [None, lambda agent, decision, seen: None])
def test_everyone_sees_the_same_snapshot(check: Any) -> None:
    """Trap: parallel modes in which agents see each other's half-finished effects.

    The policy cheats: it acts while it decides. Nobody who decides in the same batch may see it.
    """
    world = Town(rng=4)

    def cheat(persona: Any, seen: Any, memory: Any, rng: Any) -> float:
        world.table["opinion"][:] += 0.01
        return seen

    world._minds = [RuleMind({Bid: cheat}, "cheat")]
    answers = world.decide(Bid, None, lambda agent: float(world.table["opinion"][agent]), check=check)
    assert answers.column("amount", refused=-1).tolist() == [0.0] * 8


def test_a_second_mind_sees_what_the_first_saw() -> None:
    class Cheat:
        label = "cheat"

        def __init__(self) -> None:
            self.world: Any = None

        def decide(self, question: Question) -> Answers:
            seen = list(question.observations())
            self.world.table["opinion"][:] = 0.5
            return Answers(question, [Bid(amount=s) for s in seen])

    one, two = Cheat(), Cheat()
    two.label = "other cheat"
    world = Town(rng=4, mind=[one, two] * 4)
    one.world = two.world = world
    answers = world.decide(Bid, None, lambda agent: float(world.table["opinion"][agent]))
    assert answers.column("amount", refused=-1).tolist() == [0.0] * 8


def test_effects_are_the_scenarios_to_commit_deciding_changes_nothing() -> None:
    world = town()
    before = world.table.rows(np.arange(8)), world.graph.n_ties(), dict(world.happened), world.t
    bids(world)
    after = world.table.rows(np.arange(8)), world.graph.n_ties(), dict(world.happened), world.t
    assert repr(before) == repr(after)


# -- refusals -------------------------------------------------------------------------------------------------------

LIES = [9.0, -1.0, math.nan, "half", None, {"amount": 2}, {"amonut": 0.5}, [0.5]]


@pytest.mark.parametrize("lie", LIES)
def test_every_malformed_answer_is_a_refusal_and_an_event_and_never_an_action(lie: Any) -> None:
    world = town(lambda persona, seen, memory, rng: lie if seen == 3 else 0.25)
    events(world)
    answers = world.decide(Bid, [5, 3, 0], lambda agent: agent)
    assert answers.column("amount", refused=-1.0).tolist() == [0.25, -1.0, 0.25]
    assert [i for i, a in answers.pairs() if isinstance(a, sw.Refusal)] == [3]
    (event,) = events(world)
    assert (event["kind"], event["agent"]) == ("refusal", 3)
    data = json.loads(event["data"])
    refusal = answers[1]
    assert data == {
        "decision": "Bid",
        "field": refusal.field,
        "reason": refusal.reason,
        "mind": "own",
        "purpose": "Bid",
    }


def test_refusals_of_several_minds_say_whose_they_are() -> None:
    class Refuser:
        label = "refuser"

        def decide(self, question: Question) -> Answers:
            return Answers(question, [sw.Refusal(decision="Bid", field="", reason="no") for _ in question.ids])

    liar = RuleMind({Bid: lambda *_: 7.0}, "liar")
    world = Town(rng=4, mind=["rules", liar, Refuser(), "rules", liar, "rules", "rules", "rules"])
    answers = world.decide(Bid, None, lambda agent: agent, purpose="auction")
    assert answers.refused.tolist() == [False, True, True, False, True, False, False, False]
    told = [(e["agent"], json.loads(e["data"])["mind"], json.loads(e["data"])["purpose"]) for e in events(world)]
    assert told == [(1, "liar", "auction"), (2, "refuser", "auction"), (4, "liar", "auction")]
    assert all(isinstance(a, sw.Refusal) == r for a, r in zip(answers, answers.refused, strict=True))


@pytest.mark.parametrize("mind", ["rules", "columns"])
def test_a_check_makes_an_impossible_answer_a_refusal(mind: str) -> None:
    met: list[tuple[int, Any]] = []

    def check(agent: int, decision: Bid, seen: Any) -> tuple[str, str] | None:
        met.append((agent, seen.at))
        return ("amount", f"more than the {seen.at} you own") if agent % 2 else None

    world = town(mind=mind)
    free = bids(town(mind=mind))
    events(world)
    answers = world.decide(Bid, [4, 1, 3], {"at": np.array([4, 1, 3])}, check=check)
    assert met == [(4, 4), (1, 1), (3, 3)]
    assert answers.column("amount", refused=-1.0).tolist() == [free[4], -1.0, -1.0]
    assert answers[2] == sw.Refusal(decision="Bid", field="amount", reason="more than the 3 you own")
    assert [e["agent"] for e in events(world)] == [1, 3]


def test_what_a_column_says_of_a_refusal_must_be_said() -> None:
    with pytest.raises(TypeError, match="refused"):
        town().decide(Bid, None, lambda agent: agent).column("amount")  # type: ignore[call-arg]


def test_a_fault_in_a_policy_is_shown_not_swallowed() -> None:
    """Trap: ``except Exception: return e``."""

    def broken(*_: Any) -> float:
        raise KeyError("no such friend")

    with pytest.raises(KeyError, match="no such friend"):
        bids(town(broken))


def test_an_observation_that_runs_out_is_not_the_end_of_the_agents() -> None:
    """``next(...)`` on nothing raises StopIteration, which ``map`` takes for the end: agents would go unasked."""
    with pytest.raises((StopIteration, RuntimeError)):
        town().decide(Bid, None, lambda agent: agent if agent < 3 else next(iter(())))


def test_observations_are_made_once_an_agent_in_the_order_asked() -> None:
    seen: list[int] = []
    town().decide(Bid, [5, 2, 5], seen.append, check=lambda agent, decision, observation: None)
    assert seen == [5, 2, 5]


def test_a_mind_without_the_decision_and_a_function_for_a_vectorised_policy() -> None:
    with pytest.raises(RunError, match="has no policy for decision 'Bid'"):
        bids(town(by_chance, decision=Move))
    with pytest.raises(RunError, match="pass the observation as a dict of columns"):
        town(mind="columns").decide(Bid, None, lambda agent: agent)


@pytest.mark.parametrize("who", [[8], [-1], np.array([3, 99])])
def test_asking_an_agent_that_never_was(who: Any) -> None:
    with pytest.raises((sw.SimworldError, ValueError, IndexError)):
        town().decide(Bid, who, lambda agent: agent)


# -- events ---------------------------------------------------------------------------------------------------------


def test_events_come_in_the_order_committed_with_what_means_none() -> None:
    world = town()
    events(world)
    world.emit("hello", agent=1, target=2, item=2**40, value=0.5, text="hi", data={"b": [1, "é"], "a": None})
    world.emit_many("like", agent=np.array([3, 4]), value=1)
    world.emit("bye")
    world.emit_many("nothing", agent=[])
    assert dict(world.happened) == {"hello": 1, "like": 2, "bye": 1}
    first, *likes, last = events(world)
    assert first == {
        "kind": "hello", "agent": 1, "target": 2, "item": 2**40, "value": 0.5, "text": "hi",
        "data": '{"a": null, "b": [1, "é"]}',
    }  # fmt: skip
    assert likes == [{"kind": "like", "agent": 3, "value": 1.0}, {"kind": "like", "agent": 4, "value": 1.0}]
    assert (last["kind"], last["agent"], last["target"], last["item"], last["text"], last["data"]) == (
        "bye", -1, -1, -1, "", "",
    )  # fmt: skip
    assert math.isnan(last["value"])
    assert dict(world.happened) == {}


def test_events_do_not_alias_the_columns_they_were_made_from() -> None:
    world = town()
    world.emit_many("opinion", agent=world.ids, value=world.table["opinion"])
    world.table["opinion"] = 9.0
    (chunk,) = world.drain().events
    assert isinstance(chunk, Chunk)
    assert chunk.columns["value"].tolist() == [0.0] * 8


@pytest.mark.parametrize(
    "columns",
    [{"agent": [1, 2], "target": [1, 2, 3]}, {"agent": np.zeros((2, 2), int)}, {"agents": [1]}, {"agent": ["x"]}],
)  # fmt: skip
def test_events_that_do_not_fit_are_refused(columns: dict[str, Any]) -> None:
    world = town()
    with pytest.raises((ValueError, KeyError, TypeError)):
        world.emit_many("odd", **columns)
    assert dict(world.happened) == {}


def test_data_that_json_has_no_word_for_is_refused() -> None:
    world = town()
    for data in ({"x": math.nan}, {"x": {1, 2}}, object()):
        with pytest.raises((ValueError, TypeError)):
            world.emit("odd", data=data)
    assert dict(world.happened) == {}

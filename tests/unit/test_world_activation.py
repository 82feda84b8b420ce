"""Who acts when, and who meets whom.

The regimes: Axtell 2001, doi:10.1007/3-540-44561-7_3. A Poisson clock of rate r rings at least once in a step with
probability 1 - exp(-r).
"""

from __future__ import annotations

import collections
import math
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.errors import ParameterError
from simworld.rng import stream
from simworld.world import Encounter, World, batches


class Person(sw.Agent):
    rate: float = 1.0
    stage: int = 0


class Town(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(12, ge=0, doc="Agents.")

    agent_classes = (Person,)


def groups(regime: str, who: Any, n: int, seed: int = 1, **options: Any) -> list[list[int]]:
    return [g.tolist() for g in batches(regime, np.asarray(who, np.int64), stream(seed, "a"), n, **options)]


def test_simultaneous_is_one_group_in_the_order_given() -> None:
    assert groups("simultaneous", [5, 2, 9], 10) == [[5, 2, 9]]


def test_fixed_order_is_one_by_one_by_id() -> None:
    assert groups("fixed_order", [5, 2, 9], 10) == [[2], [5], [9]]


def test_random_order_is_one_by_one_and_every_order_is_equally_likely() -> None:
    """720 orders' first and last of six: each position holds each agent in 1/6 of the draws, within 4 SE."""
    runs = 3000
    orders = [[g[0] for g in groups("random_order", range(6), 6, seed)] for seed in range(runs)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    se = math.sqrt(runs * (1 / 6) * (5 / 6))
    for position in range(6):
        counts = collections.Counter(order[position] for order in orders)
        assert all(abs(counts[i] - runs / 6) < 4 * se for i in range(6))


def test_two_agents_order_is_the_same_whoever_else_acts_and_however_many_there_are() -> None:
    whole = [g[0] for g in groups("random_order", range(50), 50)]
    for who in ([3, 40], list(range(0, 50, 3)), list(range(50))[::-1]):
        for n in (50, 200):
            assert [g[0] for g in groups("random_order", who, n)] == [i for i in whole if i in who]


def test_by_rate_is_one_group_of_those_whose_clock_rang() -> None:
    """Frequencies over 4000 steps within 4 SE of 1 - exp(-rate)."""
    rates = np.array([0.0, 0.05, 0.5, 1.0, 3.0, 50.0])
    runs = 4000
    rung = np.zeros(6)
    for seed in range(runs):
        (group,) = groups("by_rate", range(6), 6, seed, rate=rates)
        assert group == sorted(group)
        rung[group] += 1
    expected = 1 - np.exp(-rates)
    assert (np.abs(rung / runs - expected) <= 4 * np.sqrt(expected * (1 - expected) / runs) + 1e-12).all()
    assert rung[0] == 0


def test_by_rate_a_clock_does_not_hear_the_others() -> None:
    (whole,) = groups("by_rate", range(100), 100, rate=0.7)
    (some,) = groups("by_rate", [4, 90, 17, 33], 100, rate=0.7)
    assert some == [i for i in [4, 90, 17, 33] if i in whole]
    (more,) = groups("by_rate", range(100), 500, rate=0.7)
    assert more == whole


def test_staged_is_one_group_a_stage_ascending() -> None:
    stage = np.array([2, 0, 1, 0, 2, 7])
    assert groups("staged", range(6), 6, stage=stage) == [[1, 3], [2], [0, 4], [5]]
    assert groups("staged", [5, 4, 3], 6, stage=stage) == [[3], [4], [5]]
    assert groups("staged", [2, 0], 3, stage=["late", "", "early"]) == [[2], [0]]


@pytest.mark.parametrize(
    ("regime", "options", "expected"),
    [("simultaneous", {}, [[]]), ("fixed_order", {}, []), ("random_order", {}, []), ("by_rate", {"rate": 1.0}, [[]]),
     ("staged", {"stage": [0, 0]}, [])],
)  # fmt: skip
def test_nobody(regime: str, options: dict[str, Any], expected: list[list[int]]) -> None:
    assert groups(regime, [], 2, **options) == expected


@pytest.mark.parametrize(
    ("regime", "options", "message"),
    [
        ("random", {}, "no activation regime 'random'; choose one of"),
        ("by_rate", {}, "needs rate="),
        ("staged", {}, "needs stage="),
        ("by_rate", {"rate": -0.1}, "finite and not negative"),
        ("by_rate", {"rate": math.nan}, "finite and not negative"),
        ("by_rate", {"rate": [1.0, math.inf]}, "finite and not negative"),
    ],
)
def test_what_a_regime_needs(regime: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        groups(regime, [0, 1], 2, **options)


@pytest.mark.parametrize(
    ("regime", "options"),
    [("by_rate", {"rate": [1.0, 2.0, 3.0]}), ("staged", {"stage": [1]}), ("staged", {"stage": [1, 2, 3]}),
     ("simultaneous", {"rate": 1.0}), ("staged", {"stage": [0, 0], "rate": 2.0})],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(regime: str, options: dict[str, Any]) -> None:
    with pytest.raises((ParameterError, ValueError, IndexError)):
        groups(regime, [0, 1], 2, **options)


def test_in_a_world_regimes_cover_the_living_and_change_from_step_to_step() -> None:
    """Trap: unseeded shuffles."""

    def told(seed: int) -> list[list[int]]:
        world = Town(rng=seed)
        world.retire(3)
        out = []
        for _ in range(3):
            world.step()
            out.append([int(g[0]) for g in world.activation("random_order")])
        return out

    first = told(1)
    assert first == told(1) != told(2)
    assert all(sorted(turn) == [i for i in range(12) if i != 3] for turn in first)
    assert first[0] != first[1] != first[2]


def test_two_activations_of_one_step_are_two_draws() -> None:
    """Phases that each wake some agents must not wake the same ones: a correlation nobody asked for."""
    world = Town(rng=1, n_agents=200)
    world.step()
    phases = [next(world.activation("by_rate", rate=0.7)).tolist() for _ in range(2)]
    assert phases[0] != phases[1]


def test_activation_by_the_columns_of_the_table() -> None:
    world = Town(rng=1)
    world.table["stage"] = [0, 1] * 6
    evens, odds = world.activation("staged", stage=world.table["stage"])
    assert evens.tolist() == [0, 2, 4, 6, 8, 10]
    assert odds.tolist() == [1, 3, 5, 7, 9, 11]
    world.table["rate"] = [0.0, 99.0] * 6
    (rung,) = world.activation("by_rate", [1, 2, 3], rate=world.table["rate"])
    assert rung.tolist() == [1, 3]


# -- encounters -----------------------------------------------------------------------------------------------------


def turns(world: World, meetings: Any, max_turns: int) -> list[tuple[int, list[int]]]:
    return [(turn.number, turn.speakers.tolist()) for turn in world.encounters(meetings, max_turns)]


def test_turns_go_round_in_all_encounters_at_once() -> None:
    world = Town(rng=1)
    assert turns(world, [(0, 1), (4, 3, 2), (7,)], 4) == [
        (0, [0, 4, 7]), (1, [1, 3, 7]), (2, [0, 2, 7]), (3, [1, 4, 7]),
    ]  # fmt: skip
    assert turns(world, [], 4) == []
    assert turns(world, [(0, 1)], 0) == []


def test_a_closed_encounter_is_asked_no_more_and_the_rest_go_on() -> None:
    world = Town(rng=1)
    meetings = [Encounter((0, 1), topic="art"), Encounter((2, 3)), Encounter((4, 5))]
    spoken = []
    for turn in world.encounters(meetings, 10):
        spoken.append(turn.speakers.tolist())
        assert [e.members[turn.number % 2] for e in turn.encounters] == turn.speakers.tolist()
        for encounter, speaker in zip(turn.encounters, turn.speakers.tolist(), strict=True):
            encounter.say(speaker, f"{turn.number}")
            if len(encounter.turns) > encounter.members[0]:
                encounter.close()
    assert spoken == [[0, 2, 4], [3, 5], [2, 4], [5], [4]]
    assert meetings[0].turns == [(0, "0")]
    assert meetings[1].turns == [(2, "0"), (3, "1"), (2, "2")]
    assert [e.is_open for e in meetings] == [False] * 3
    assert meetings[0].topic == "art"


def test_an_encounter_left_open_ends_after_the_last_turn() -> None:
    meeting = Encounter((0, 1))
    assert len(turns(Town(rng=1), [meeting], 3)) == 3
    assert meeting.is_open


def test_encounters_share_no_words() -> None:
    one, other = Encounter((0, 1)), Encounter((2, 3))
    one.say(0, "hi")
    assert other.turns == []


def test_a_meeting_of_nobody_is_refused_or_silent() -> None:
    try:
        assert turns(Town(rng=1), [(), (0, 1)], 2) == [(0, [0]), (1, [1])]
    except (ValueError, sw.SimworldError):
        return


class Line(sw.Decision):
    words: int = sw.field(doc="Words.", ge=0, lt=10**9)


def test_a_dialogue_does_not_depend_on_the_others_held_beside_it() -> None:
    class Talk(Town):
        policies = {"rules": {Line: lambda persona, heard, memory, rng: (heard + rng.integers(0, 1000)) % 10**9}}

    def dialogue(meetings: list[tuple[int, ...]]) -> dict[tuple[int, ...], list[Any]]:
        world = Talk(rng=3)
        world.step()
        made = [Encounter(m) for m in meetings]
        for turn in world.encounters(made, 5):
            heard = {int(s): sum(w for _, w in e.turns) for s, e in zip(turn.speakers, turn.encounters, strict=True)}
            answers = world.decide(Line, turn.speakers, heard.__getitem__)
            for encounter, (speaker, line) in zip(turn.encounters, answers.pairs(), strict=True):
                assert isinstance(line, Line)
                encounter.say(speaker, line.words)
        return {e.members: e.turns for e in made}

    together = dialogue([(0, 1), (5, 2, 8), (4, 7)])
    assert len(together[5, 2, 8]) == 5
    for alone in together:
        assert dialogue([alone])[alone] == together[alone]
    assert dialogue([(4, 7), (0, 1), (5, 2, 8)]) == together

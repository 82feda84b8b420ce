"""The Traitors: random play against its recursion, measures by hand, who may vote for whom, and the ledger of lies."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import RuleMind
from simworld.rng import stream
from simworld.scenario import load, resolve

World = load(resolve("traitors"))
PACKAGE = World.__module__.rpartition(".")[0]
beliefs, decisions, measures, observers, rules, theory = (
    importlib.import_module(f"{PACKAGE}.{n}")
    for n in ("beliefs", "decisions", "measures", "observers", "rules", "theory")
)
Confer, Judge, Night, Note, Speak, Vote = (
    getattr(decisions, n) for n in ("Confer", "Judge", "Night", "Note", "Speak", "Vote")
)
C = rules.COEFFICIENTS
QUIET = {"talk": False, "remember_up_to": 0}
SPEC = {"null": {"won": 0.93125, "tsr": 0.709, "fsr": 0.337, "fcr": 0.348, "fas": 0.373, "rounds": 2.79},
        "bloc": {"won": 0.971, "tsr": 0.852, "fcr": 0.357, "rounds": 2.41}}  # fmt: skip
"""[exact] values of the specification; those but W(7, 3) are simulation estimates there."""


def advance(world: Any, steps: int = 99) -> list[dict[str, Any]]:
    """Take steps until the end and return their events, one dict each."""
    rows = []
    world.drain()
    for _ in range(steps):
        if not world.running:
            break
        world.step()
        for chunk in world.drain().events:
            names = list(chunk.columns)
            columns = [np.broadcast_to(np.asarray(chunk.columns[n], object), (chunk.n,)) for n in names]
            rows += [
                {"step": world.t, **dict(zip(names, values, strict=True))} for values in zip(*columns, strict=True)
            ]
    return rows


def mind(label: str = "scripted", **policies: Callable[..., Any]) -> RuleMind:
    """Rules decide, but for the decisions named here: ``Vote=policy``."""
    table = dict(rules.policies(World.Params())["rules"])
    table |= {getattr(decisions, name): policy for name, policy in policies.items()}
    return RuleMind(table, label)


def findings(world: Any) -> dict[str, Any]:
    return {f"{f.observer}.{f.metric}": f for o in World.observers for f in o().conclude(world)}


@cache
def played(label: str, games: int = 400) -> tuple[Any, dict[str, np.ndarray]]:
    """A batch of games without talk, and what each gave."""
    world = World(rng=11, games=games, mind=label, **QUIET)
    while world.running:
        world.step()
    rows = world.tables["rounds"]
    guilty, there = world.guilty, world.by_seat("in_game")
    found = {
        "won": (world.tables["games"]["ending"] == 2).astype(float), "rounds": world.tables["games"]["rounds"],
        "tsr": (there & guilty).sum(axis=1) / 3, "fsr": (there & ~guilty).sum(axis=1) / 7,
        **{name: observers.by_game(rows["game"], rows[name], games) for name in ("tas", "fas", "fcr")},
    }  # fmt: skip
    return world, found


# Random play ----------------------------------------------------------------------------------------------------------


def recursion(f: int, t: int) -> Fraction:
    """Spec: W(f, t), written out once more."""
    if t == 0:
        return Fraction(0)
    if t >= f:
        return Fraction(1)
    rest = Fraction(0) if t == 1 else recursion(f - 1, t - 1)
    return Fraction(f, f + t) * recursion(f - 2, t) + Fraction(t, f + t) * rest


def test_the_win_chance_of_random_play() -> None:
    assert theory.win_chance(7, 3) == Fraction(149, 160)
    assert float(theory.win_chance(7, 3)) == 0.93125
    for f, t in itertools.product(range(2, 20), range(6)):
        assert theory.win_chance(f, t) == recursion(f, t)
    assert theory.win_chance(2, 1) == Fraction(2, 3)


@pytest.mark.parametrize("label", ["null", "bloc"])
def test_simulated_random_play_is_that_of_the_specification(label: str) -> None:
    found = theory.simulate(10, 3, 40_000, stream(3, label), bloc=label == "bloc")
    for name, value in SPEC[label].items():
        assert found[name].mean() == pytest.approx(value, abs=0.03 if name == "rounds" else 0.01), name


@pytest.mark.parametrize("n, t, check", [(5, 1, "after_night"), (9, 2, "after_night"), (8, 2, "after_each_removal")])
def test_simulated_random_play_wins_as_the_recursion_says(n: int, t: int, check: str) -> None:
    won = theory.simulate(n, t, 20_000, stream(5, n), win_check=check)["won"]
    w = float(theory.win_chance(n - t, t))
    assert won.mean() == pytest.approx(w, abs=4 * math.sqrt(w * (1 - w) / len(won)))


@pytest.mark.parametrize("label", ["null", "bloc"])
def test_the_scenario_plays_random_play(label: str) -> None:
    """Within four standard errors of the specification, and of its own rounding to three digits."""
    _, found = played(label)
    for name, value in SPEC[label].items():
        error = found[name].std(ddof=1) / math.sqrt(len(found[name]))
        slack = 0.0 if name == "won" and label == "null" else 0.005 if name == "rounds" else 0.0005
        assert found[name].mean() == pytest.approx(value, abs=4 * error + slack), name


@pytest.mark.parametrize("n, t, check", [(6, 1, "after_night"), (7, 2, "after_each_removal")])
def test_the_scenario_wins_as_the_recursion_says(n: int, t: int, check: str) -> None:
    world = World(rng=2, games=200, n_players=n, n_traitors=t, win_check=check, mind="null", **QUIET)
    advance(world)
    w = float(theory.win_chance(n - t, t))
    found = findings(world)["outcome.traitors_win"]
    assert found.closed_form == w
    assert found.n == 200
    assert found.value == pytest.approx(w, abs=4 * math.sqrt(w * (1 - w) / 200))


def test_the_first_round_of_uniform_play() -> None:
    """Spec: expected FCR is #T/(N−1), since a faithful votes uniformly over nine others of whom three are traitors."""
    world, _ = played("null")
    rows = world.tables["rounds"]
    first = rows["fcr"][rows["number"] == 1]
    assert first.mean() == pytest.approx(3 / 9, abs=4 * first.std(ddof=1) / math.sqrt(len(first)))
    assert findings(world)["votes.fcr_round_1"].closed_form == 3 / 9


def test_a_finding_stands_beside_chance() -> None:
    """Random play is no finding: every metric with a null lies within it, and a bloc is seen."""
    found, bloc = findings(played("null")[0]), findings(played("bloc")[0])
    for name in ("outcome.traitors_win", "outcome.tsr", "outcome.rounds", "votes.fcr", "votes.fas_against_random_play"):
        one = found[name]
        assert abs(one.gap) < 4.5 * one.null_sd, name
        assert one.gap == one.value - one.null_mean
    assert bloc["outcome.tsr"].gap > 4 * bloc["outcome.tsr"].null_sd
    assert bloc["outcome.tsr"].p_value < 0.02
    assert bloc["votes.fcr"].gap > 0  # permuting mixes traitors' votes in, none of which hits a traitor


# Measures by hand -----------------------------------------------------------------------------------------------------


VOTES = np.array([[1, 2, 1, 2, 1, -1]])
GUILTY = np.array([[False, True, True, False, False, False]])
ALL = np.ones((1, 6), bool)


def test_agreement_and_correctness_by_hand() -> None:
    """Traitors 1 and 2 vote 2 and 1; faithful 0, 3, 4 vote 1, 2, 1 and 5 abstains."""
    assert measures.agreement(VOTES, ALL & GUILTY) == pytest.approx([0.5])
    assert measures.agreement(VOTES, ALL & ~GUILTY) == pytest.approx([2 / 4])
    assert measures.correct(VOTES, ALL & ~GUILTY, GUILTY) == pytest.approx([3 / 4])
    assert np.isnan(measures.agreement(VOTES, ALL & False)).all()
    later = np.array([[1, 3, 1, 1, -1, -1]])
    assert measures.switched(VOTES, later, ALL) == pytest.approx([3 / 6])
    assert measures.switched(VOTES, later, np.array([[1, 0, 1, 0, 0, 1]], bool)) == pytest.approx([0.0])


def test_suspicion_on_traitors_by_hand() -> None:
    """Of three living, 2 is guilty: holder 0 has .2 and .6, so .75; holder 1 has none at all, so 0."""
    s = np.array([[[0.0, 0.2, 0.6, 0.9], [0.0, 0.0, 0.0, 0.9], [1.0, 1.0, 0.0, 1.0], [0.5] * 4]])
    living, guilty = np.array([[True, True, True, False]]), np.array([[False, False, True, True]])
    assert measures.weight_on_traitors(s, living, guilty) == pytest.approx([(0.75 + 0.0) / 2])


def test_belief_before_consensus_by_hand() -> None:
    """Of faithful 0, 1, 2 (traitor 3), 0 votes for 3 in round 1 and 1 in round 2; the plurality hits 3 in round 3."""
    guilty = np.array([False, False, False, True])
    votes = np.array([[3, 2, 1, 2], [2, 3, 1, 2], [3, 3, 3, 0]])

    def brr(top: Sequence[int]) -> float:
        return float(measures.belief_before_consensus(votes, ~guilty, guilty, top))

    assert brr([2, 1, 3]) == pytest.approx(2 / 3)
    assert brr([2, 3, 3]) == pytest.approx(1 / 3)
    assert brr([3, 1, 1]) == 0.0
    assert brr([-1, 1, 2]) == pytest.approx(3 / 3)  # without consensus every round counts


def test_what_the_released_code_computes_instead() -> None:
    """[code] BRR: of five votes for traitor 3, two differ from the plurality; VSF: each first vote is a change."""
    guilty = np.array([False, False, False, True])
    votes = np.array([[3, 2, 1, 2], [2, 3, 1, 2], [3, 3, 3, 0]])
    assert measures.dissent_among_hits(votes, guilty, [2, 2, 3]) == pytest.approx(2 / 5)
    assert math.isnan(measures.dissent_among_hits(np.full((2, 4), -1), guilty, [-1, -1]))
    day, night = np.array([[1, 0], [1, 0]]), np.array([[-1, 1], [-1, 0]])
    # Player 0 casts 1, 1: one change. Player 1 casts 0, 1, 0, 0: three changes. Four of six.
    assert measures.every_change(day, night) == pytest.approx(4 / 6)


def test_identities_of_a_batch() -> None:
    """Spec: unanimous traitors give TAS = 1; TNS + VSF = 1; 1/#F_r ≤ FAS ≤ 1 without abstentions."""
    world = World(rng=4, games=60, mind=mind(Vote=lowest_faithful), **QUIET)
    advance(world)
    rows, found = world.tables["rounds"], findings(world)
    assert set(rows["tas"]) == {1.0}
    assert rows["abstentions"].sum() == 0
    assert (rows["fas"] >= 1 / rows["faithful"] - 1e-12).all()
    assert (rows["fas"] <= 1).all()
    assert found["votes.tns"].value + found["votes.vsf"].value == 1.0
    assert found["votes.tas"].value == 1.0
    first = rows["number"] == 1
    assert np.isnan(rows["vsf"][first]).all()
    assert not np.isnan(rows["vsf"][~first]).any()


def lowest_faithful(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
    """Traitors vote for the first living faithful player, the faithful for anybody."""
    options = [s for s, there in enumerate(view.living) if there and s != view.seat and not view.partners[s]]
    seat = options[0] if view.is_traitor else rng.choice(options)
    return Vote(target=view.first + seat, confidence=1.0)


# Rules of the game ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["rules", "null", "bloc"])
@pytest.mark.parametrize("code", ["paper", "released_code"])
def test_invariants(label: str, code: str) -> None:
    """Spec: the dead never vote or speak; at most two removals per round; exactly one end state per finished game."""
    world = World(rng=8, games=12, mind=label, rules=code, remember_up_to=0)
    events = advance(world)
    left = dict(enumerate(world.table["left_round"].tolist()))
    how = world.table.text("left_how")
    for e in events:
        if e["kind"] in ("say", "vote", "night vote", "confer", "abstain"):
            gone = left[e["agent"]]
            assert gone == 0 or e["step"] <= gone
            if e["kind"] in ("night vote", "confer") or (e["kind"] == "say" and '"aftermath"' in e["data"]):
                assert gone == 0 or e["step"] < gone or how[e["agent"]] == "murdered"
    removed = Counter(
        (e["step"], e["agent"] // 10) for e in events if e["kind"] in ("banished", "murdered", "eliminated")
    )
    assert max(removed.values()) <= 2
    assert Counter(e["item"] for e in events if e["kind"] == "end") == dict.fromkeys(range(12), 1)
    assert set(world.tables["games"].text("ending")) <= {"faithful", "traitors"}
    assert world.tables["eliminations"].n == sum(removed.values()) == np.count_nonzero(world.table["left_round"])
    ballots = world.tables["ballots"]
    keys = list(zip(*(ballots[c].tolist() for c in ("number", "night", "voter")), strict=True))
    assert len(keys) == len(set(keys))
    night = ballots["night"]
    assert world.guilty.ravel()[ballots["voter"][night]].all()
    assert not world.guilty.ravel()[ballots["target"][night]].any()
    assert (world.column("in_game").reshape(12, 10).sum(axis=1) >= 1).all()


def test_nothing_happens_after_the_end() -> None:
    world = World(rng=8, games=3, mind="null")
    advance(world)
    rows = {name: table.n for name, table in world.tables.items()}
    world.step()
    assert {name: table.n for name, table in world.tables.items()} == rows
    assert not world.drain().events


def test_a_game_does_not_depend_on_how_many_there_are() -> None:
    people = sw.sample_population(30, 5)
    runs = {}
    for games in (1, 3):
        world = World(rng=9, games=games, personas=people[: 10 * games])
        events = advance(world)
        runs[games] = [plain(e) for e in events if 0 <= e["agent"] < 10 or (e["kind"] == "end" and e["item"] == 0)]
    assert runs[1] == runs[3]
    assert len(runs[1]) > 100


def plain(event: dict[str, Any]) -> str:
    return repr(sorted(event.items()))


def test_the_fourth_seed_is_another_game_and_the_third_the_same() -> None:
    runs = [[plain(e) for e in advance(World(rng=seed, games=2))] for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_roles_are_drawn_uniformly_or_given() -> None:
    world = World(rng=1, games=900, **QUIET)
    guilty = world.guilty
    assert set(guilty.sum(axis=1)) == {3}
    assert guilty.mean(axis=0) == pytest.approx(np.full(10, 0.3), abs=4 * math.sqrt(0.3 * 0.7 / 900))
    fixed = World(rng=1, games=2, traitors="9, 0,4")
    assert fixed.guilty.nonzero()[1].tolist() == [0, 4, 9] * 2


@pytest.mark.parametrize(
    "params, words",
    [
        ({"traitors": "1,2"}, "give 3 different seats from 0 to 9"), ({"traitors": "1,2,10"}, "give 3 different seats"),
        ({"traitors": "1,2,2"}, "give 3 different seats"), ({"traitors": "a,b,c"}, "give 3 different seats"),
        ({"n_traitors": 5}, "5 traitors among 10 players have won before the start"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be(params: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        World(rng=1, **params)
    assert words in str(caught.value)


def directed(**targets: int) -> Callable[..., Any]:
    """Everybody votes for the seat given by role: ``faithful=3``, or by seat: ``s0=3``."""

    def policy(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        role = "traitor" if view.is_traitor else "faithful"
        seat = targets.get(f"s{view.seat}", targets.get(role, 0))
        return Vote(target=view.first + seat, confidence=0.9)

    return policy


def night(seat: int) -> Callable[..., Any]:
    return lambda persona, view, memory, rng: Night(target=view.first + seat)


EIGHT = {"n_players": 8, "n_traitors": 2, "traitors": "6,7", "talk": False, "remember_up_to": 0}
SIX = {"n_players": 6, "n_traitors": 2, "traitors": "4,5", "talk": False, "remember_up_to": 0}


def test_a_vote_for_oneself_or_the_dead_is_an_abstention() -> None:
    """Spec [design]: votes for dead or unknown players are abstentions; all abstain: nobody is banished."""
    world = World(rng=1, mind=mind(Vote=directed(faithful=0, traitor=0, s0=1), Night=night(1)), **EIGHT)
    advance(world, 1)
    assert world.table["left_how"].tolist() == [1, 2, *[0] * 6]  # 0 banished by day, 1 murdered
    events = advance(world, 1)
    rows = world.tables["rounds"]
    assert [e["agent"] for e in events if e["kind"] == "abstain" and e["value"] == 0.0] == [2, 3, 4, 5, 6, 7]
    assert rows["abstentions"].tolist() == [0, 6]
    assert (rows["plurality"][1], rows["banished"][1]) == (-1, -1)
    refusals = [e for e in events if e["kind"] == "refusal"]
    assert len(refusals) == 8  # six by day, two by night
    assert "not in the game any more" in refusals[0]["data"]
    assert findings(world)["votes.abstentions"].value == 6
    assert findings(world)["votes.night_abstentions"].value == 2
    assert findings(world)["votes.invalid"].value == 8
    assert math.isnan(rows["vsf"][0])
    assert rows["vsf"][1] == 1.0  # from a name to an abstention


def test_the_released_code_lets_the_dead_be_named() -> None:
    """[code] No test that the target is alive: a dead player can win the vote, and nobody leaves."""
    world = World(
        rng=1, rules="released_code", mind=mind(Vote=directed(faithful=0, traitor=0, s0=1), Night=night(1)), **EIGHT
    )
    advance(world, 1)
    events = advance(world, 1)
    rows = world.tables["rounds"]
    assert not [e for e in events if e["kind"] in ("abstain", "refusal", "eliminated")]
    assert (rows["plurality"][1], rows["banished"][1], rows["murdered"][1]) == (0, -1, -1)
    gone = world.tables["eliminations"]
    assert gone["player"].tolist() == [0, 1]  # a row only where a removal succeeded
    assert set(gone.text("how")) == {"unsaid"}
    assert rows.n == 2


def test_the_paper_keeps_banishment_and_murder_apart() -> None:
    world = World(rng=1, mind=mind(Vote=directed(faithful=0, traitor=0, s0=1), Night=night(1)), **SIX)
    events = advance(world, 1)
    assert [(e["kind"], e["agent"]) for e in events if e["kind"] in ("banished", "murdered", "eliminated")] == [
        ("banished", 0), ("murdered", 1),
    ]  # fmt: skip
    assert world.tables["eliminations"].text("how").tolist() == ["banished", "murdered"]


@pytest.mark.parametrize("code", ["paper", "released_code"])
def test_ties(code: str) -> None:
    """Seats 3, 1 and 2 get two votes each; 3 is counted first."""
    votes = mind(Vote=directed(s0=3, s1=2, s2=1, s3=1, s4=2, s5=3))
    out = Counter()
    for seed in range(45 if code == "paper" else 5):
        world = World(rng=seed, rules=code, mind=votes, **SIX)
        advance(world, 1)
        out[int(world.tables["rounds"]["banished"][0])] += 1
    if code == "released_code":
        assert out == {3: 5}
    else:
        assert set(out) == {1, 2, 3}
        assert all(abs(n - 15) < 4 * math.sqrt(45 * 2 / 9) for n in out.values())


@pytest.mark.parametrize("code", ["paper", "released_code"])
def test_a_murder_of_no_faithful_kills_nobody(code: str) -> None:
    world = World(rng=1, rules=code, mind=mind(Night=night(4), Vote=directed(s4=1)), **SIX)
    events = advance(world, 1)
    assert world.tables["rounds"]["murdered"].tolist() == [-1]
    assert not world.tables["rounds"]["coordinated"][0]
    # Traitor 4 names itself, which is refused under both; 5 names a partner, which only the paper refuses.
    refused = [e["agent"] for e in events if e["kind"] == "refusal" and '"Night"' in e["data"]]
    assert refused == ([4, 5] if code == "paper" else [4])


def test_the_last_traitor_gone_there_is_no_night() -> None:
    world = World(rng=1, n_players=5, n_traitors=1, traitors="4", talk=False, mind=mind(Vote=directed(faithful=4)))
    events = advance(world)
    assert not [e for e in events if e["kind"] in ("night vote", "murdered")]
    assert world.tables["games"].text("ending").tolist() == ["faithful"]
    assert world.t == 1
    found = findings(world)
    assert found["outcome.tsr"].value == 0.0
    assert found["outcome.fsr"].value == 1.0
    assert found["votes.des"].value == 0.0


@pytest.mark.parametrize("check, murders", [("after_night", 1), ("after_each_removal", 0)])
def test_when_the_game_is_looked_at(check: str, murders: int) -> None:
    """Five players, two traitors, a faithful is banished: 2 against 2 ends it at once, or only after the night."""
    world = World(
        rng=1, n_players=5, n_traitors=2, traitors="3,4", talk=False, win_check=check,
        mind=mind(Vote=directed(s0=1, faithful=0, traitor=0)),
    )  # fmt: skip
    events = advance(world)
    assert len([e for e in events if e["kind"] == "murdered"]) == murders
    assert world.tables["games"].text("ending").tolist() == ["traitors"]


def test_the_released_code_declares_its_own_winner() -> None:
    """[code] "Eliminated faithful ≥ number of traitors" names the traitors although every one of them is gone."""

    def first_faithful_then_traitors(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        for seat in (0, 5, 4):
            if view.living[seat] and seat != view.seat:
                return Vote(target=view.first + seat)
        return Vote(target=view.first + 1)

    ends = {}
    for code in ("paper", "released_code"):
        world = World(rng=1, rules=code, mind=mind(Vote=first_faithful_then_traitors), **{**SIX, "n_players": 8})
        advance(world)
        games = world.tables["games"]
        ends[code] = games.text("ending").tolist() + games.text("declared").tolist()
    assert ends == {"paper": ["faithful", "faithful"], "released_code": ["faithful", "traitors"]}
    assert findings(world)["outcome.declared_traitors_win"].value == 1.0
    assert findings(world)["outcome.traitors_win"].value == 0.0


def test_measures_of_the_released_code_are_reported_beside_the_definitions() -> None:
    world = World(rng=3, games=40, rules="released_code")
    advance(world)
    found = findings(world)
    assert found["beliefs.idr_as_released"].value == found["votes.fcr"].value
    assert found["beliefs.idr"].value != found["beliefs.idr_as_released"].value
    assert 0 < found["votes.brr_as_released"].value < 1
    assert found["votes.vsf_as_released"].value > found["votes.vsf"].value / 2
    paper = World(rng=3, games=4)
    advance(paper)
    assert not [name for name in findings(paper) if name.endswith("as_released") or "declared" in name]


def test_an_unfinished_game() -> None:
    world = World(rng=1, games=5, max_rounds=1, mind="null")
    assert world.planned_steps() == 1
    assert World(rng=1).planned_steps() == 10
    advance(world)
    assert world.t == 1
    assert set(world.tables["games"].text("ending")) == {"unfinished"}
    assert findings(world)["outcome.unfinished"].value == 5
    assert math.isnan(findings(world)["outcome.traitors_win"].value)


def test_speakers_go_round_and_hear_what_was_said_before() -> None:
    heard: list[tuple[int, str, int]] = []

    def speak(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        heard.append((view.seat, view.phase, len([s for s in view.game.said if s.phase == view.phase])))
        return Speak(public="Hm.")

    world = World(rng=1, mind=mind(Speak=speak))
    advance(world, 1)
    for phase in ("introduction", "statement", "reaction"):
        assert [(s, n) for s, p, n in heard if p == phase] == [(k, k) for k in range(10)]
    assert len([1 for _, p, _ in heard if p == "aftermath"]) == 9
    heard.clear()
    advance(world, 1)
    order = [s for s, p, _ in heard if p == "statement"]
    assert len(order) == 8
    assert sorted(order) != order or 0 not in order  # seat 1 begins


# Beliefs --------------------------------------------------------------------------------------------------------------


def test_beliefs_at_the_start() -> None:
    """Spec: a faithful player's prior is #T/(N−1), 3/9 of ten; a traitor knows."""
    world = World(rng=5)
    s, guilty = world.suspicion[0], world.guilty[0]
    for i, j in itertools.permutations(range(10), 2):
        assert s[i, j] == (float(guilty[j]) if guilty[i] else 3 / 9)
    assert not s.diagonal().any()


def test_the_update_by_hand() -> None:
    """Spec: w_a·(1 − S_ik) for each accusation by k; + w_v for a vote for a faithful who fell, − for a traitor."""
    s = np.array([[0.0, 0.2, 0.6, 0.4]])
    accused = np.zeros((1, 4, 4), int)
    accused[0, 1, 2] = 2  # 1 accuses 2 twice
    accused[0, 2, 3] = 1
    accused[0, 0, 3] = 5  # its own words teach it nothing
    none = np.full((1, 4), -1)
    args = (np.array([-1]), np.array([False]), np.array([0]), C)
    more = beliefs.evidence(s, accused, none, *args)
    assert more == pytest.approx(np.array([[0, 0, C["accusation"] * 2 * 0.8, C["accusation"] * 0.4]]))
    ballots = np.array([[1, 2, 1, 1]])
    for guilty, sign in ((False, 1.0), (True, -1.0)):
        more = beliefs.evidence(s, 0 * accused, ballots, np.array([1]), np.array([guilty]), np.array([0]), C)
        assert more == pytest.approx(sign * C["vote"] * np.array([[1, 0, 1, 1]]))
    assert (C["accusation"], C["vote"], C["noise_sd"], C["temperature"], C["betray"]) == (0.5, 0.8, 0.3, 0.5, 0.1)


def test_faithful_chances_by_hand() -> None:
    """softmax(L/0.5): weights are the squared odds."""
    options = np.array([[False, True, True, True]])
    p = beliefs.softmax_chances([[0.0, 0.5, 0.75, 0.25]], options, 0.5)
    assert p == pytest.approx(np.array([[0, 1, 9, 1 / 9]]) / (1 + 9 + 1 / 9))


@pytest.mark.parametrize(
    "heat, ever, expected",
    [
        ([0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0.0, 0, 1 / 3, 1 / 3, 1 / 3]),  # nothing said: any faithful
        ([0, 0, 0, 0, 0], [0, 5, 0, 2, 0], [0.0, 0, 0, 1, 0]),  # the faithful who was accused most
        ([0, 0, 2, 1, 0], [0, 0, 2, 9, 0], [0.0, 0, 1, 0, 0]),  # the plurality of this round comes first
        ([0, 2, 2, 0, 0], [0, 2, 2, 0, 0], [0.0, 0, 1, 0, 0]),  # shared with a partner: the faithful
        ([0, 3, 1, 0, 0], [0, 3, 1, 0, 4], [0.0, 0.1, 0, 0, 0.9]),  # a partner is about to fall
        ([7, 0, 0, 1, 0], [7, 0, 0, 1, 0], [0.0, 0, 0, 1, 0]),  # nobody follows a plurality against oneself
    ],
)  # fmt: skip
def test_traitor_chances_by_hand(heat: list[int], ever: list[int], expected: list[float]) -> None:
    """The voter has seat 0, its partner seat 1."""
    options = np.array([[False, True, True, True, True]])
    p = beliefs.traitor_chances([heat], [ever], options, np.array([[False, True, False, False, False]]), 0.1)
    assert p == pytest.approx(np.array([expected]))


def test_seats_are_drawn_with_their_chances() -> None:
    p = np.array([[0.2, 0.0, 0.8]])
    assert [int(beliefs.chosen(p, [u])[0]) for u in (0.0, 0.199, 0.2, 0.999999)] == [0, 0, 2, 2]
    assert int(beliefs.chosen(np.array([[0.5, 0.5, 0.0]]), [1 - 1e-17])[0]) == 1


def test_a_revealed_role_is_known() -> None:
    world = World(rng=6, games=20, remember_up_to=0)
    advance(world)
    left = world.by_seat("left_how") > 0
    s = world.suspicion
    g, j = np.nonzero(left)
    for game, seat in zip(g.tolist(), j.tolist(), strict=True):
        others = [i for i in range(10) if i != seat]
        assert set(s[game, others, seat]) == {float(world.guilty[game, seat])}


def test_drift_and_brier_are_those_of_the_definitions() -> None:
    """Recomputed from the beliefs at the vote of each round, seen by a scripted voter."""
    seen: dict[tuple[int, int], list[float]] = {}

    def vote(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        seen[world.t, view.seat] = list(view.suspicion)
        return lowest_faithful(persona, view, memory, rng)

    world = World(rng=12, mind=mind(Vote=vote))
    advance(world)
    rows, guilty = world.tables["rounds"], world.guilty[0]
    before = {i: [0.0 if i == j else (guilty[j] if guilty[i] else 3 / 9) for j in range(10)] for i in range(10)}
    for row, number in enumerate(rows["number"].tolist()):
        there = sorted(i for r, i in seen if r == number)
        now = {i: seen[number, i] for i in there}
        pairs = list(itertools.permutations(there, 2))
        drift = math.sqrt(sum((now[i][j] - before[i][j]) ** 2 for i, j in pairs))
        assert rows["drift"][row] == pytest.approx(drift, abs=1e-9)
        faithful = [i for i in there if not guilty[i]]
        score = [np.mean([(now[i][j] - guilty[j]) ** 2 for j in there if j != i]) for i in faithful]
        assert rows["brier"][row] == pytest.approx(np.mean(score), abs=1e-9)
        share = [
            sum(now[i][j] for j in there if guilty[j] and j != i) / sum(now[i][j] for j in there) for i in faithful
        ]
        assert rows["on_traitors"][row] == pytest.approx(np.mean(share), abs=1e-9)
        for name, role in (("trust_in_traitors", True), ("trust_in_faithful", False)):
            trust = [1 - now[i][j] for i in faithful for j in there if j != i and guilty[j] == role]
            assert rows[name][row] == pytest.approx(np.mean(trust), abs=1e-9)
        before |= now
    p = rows["on_traitors"]
    assert rows["on_traitors_before"].tolist() == pytest.approx([3 / 9, *p[:-1].tolist()])
    found = findings(world)
    assert found["beliefs.idr"].value == pytest.approx(np.mean(np.diff([3 / 9, *p])), abs=1e-12)
    gap = np.mean(rows["trust_in_faithful"] - rows["trust_in_traitors"])
    assert found["beliefs.trust_gap"].value == pytest.approx(gap, abs=1e-12)
    by_round = [found[f"beliefs.trust_drift_round_{r}"].value for r in rows["number"].tolist()]
    assert by_round == rows["drift"].tolist()
    assert found["beliefs.trust_drift"].value == pytest.approx(np.mean(by_round), abs=1e-12)
    shown = observers.Beliefs().observe(world)
    assert (shown["trust_in_traitors"], shown["drift"]) == (rows["trust_in_traitors"][-1], rows["drift"][-1])


# The posterior --------------------------------------------------------------------------------------------------------


def day(
    n: int, ballots: Sequence[int], banished: int = -1, guilty: bool = False, murdered: int = -1, **more: Any
) -> Any:
    none = np.zeros((n, n), np.int64)
    living = more.pop("living", np.ones(n, bool))
    return theory.Day(living, more.get("accused", none), none, np.array(ballots), banished, guilty, murdered)


def test_the_posterior_of_roles_alone() -> None:
    """Nobody votes: 3/10 for an onlooker, 3/9 for a faithful; after a traitor fell 2/9; a victim was faithful."""
    (first,), last = theory.posterior([day(10, [-1] * 10, 4, True, 7)], 10, 3, C)
    assert first == pytest.approx(np.full(10, 0.3))
    expected = np.full(10, 2 / 8)
    expected[[4, 7]] = 1.0, 0.0
    assert last == pytest.approx(expected)
    (own,), _ = theory.posterior([day(10, [-1] * 10)], 10, 3, C, own=0)
    assert own == pytest.approx([0.0, *[3 / 9] * 9])


def test_the_posterior_of_one_vote_by_hand() -> None:
    """Four players, one traitor, all beliefs even: a faithful votes 1/3 each; so does the traitor. Nothing is learned.

    With 1 accused by 3, a traitor other than 1 follows; a faithful has odds exp(w_a·(1 − S)) on 1, squared at τ = ½.
    """
    (_,), last = theory.posterior([day(4, [1, 2, 1, 2])], 4, 1, C)
    assert last == pytest.approx(np.full(4, 1 / 4))
    accused = np.zeros((4, 4), np.int64)
    accused[3, 1] = 1
    odds = math.exp(C["accusation"] * (1 - 1 / 3)) ** 2
    on, off = odds / (odds + 2), 1 / (odds + 2)
    # 0 voted for 1 and 2 for 3: a traitor 0 would have followed for certain, a traitor 2 never voted for 3.
    weights = np.array([1.0 * off, on * off, 0.0, on * off])
    (_,), last = theory.posterior([day(4, [1, -1, 3, -1], accused=accused)], 4, 1, C)
    assert last == pytest.approx(weights / weights.sum())


def test_the_posterior_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rule policy has no noise and nobody accuses, its posterior is the truth: of those given p, p are."""
    monkeypatch.setitem(C, "noise_sd", 0.0)
    world = World(rng=21, games=200, talk=False)
    advance(world)
    given, truth = [], []
    for game in range(200):
        days = observers.days_of(world, game)
        before, _ = theory.posterior(days, 10, 3, C)
        for q, d in zip(before[1:], days[1:], strict=True):
            given += q[d.living].tolist()
            truth += world.guilty[game][d.living].tolist()
    p, t = np.array(given), np.array(truth)
    assert not np.isnan(p).any()
    assert p.std() > 0.05
    for low, high in itertools.pairwise([0.0, 0.2, 0.35, 0.5, 0.65, 1.01]):
        at = (p >= low) & (p < high)
        if at.sum() > 50:
            assert t[at].mean() == pytest.approx(p[at].mean(), abs=4 * 0.5 / math.sqrt(at.sum() / 3)), (low, high)
    score = np.mean((p - t) ** 2)
    assert score == pytest.approx(np.mean(p * (1 - p)), abs=4 * (p * (1 - p)).std() / math.sqrt(len(p) / 8))
    assert score < np.mean(t) * (1 - np.mean(t))


def test_the_posterior_beats_the_agents() -> None:
    world = World(rng=13, games=30)
    advance(world)
    found = findings(world)
    assert found["beliefs.brier_of_posterior"].value < found["beliefs.brier_of_agents_there"].value
    assert found["beliefs.brier_of_posterior"].n >= 25


# The ledger -----------------------------------------------------------------------------------------------------------


def test_the_ledger_is_conserved() -> None:
    world = World(rng=7, games=20, remember_up_to=0)
    events = advance(world)
    rows, found = world.tables["claims"], findings(world)
    _, book = observers.Deception()._book(world)
    assert (np.sum(book, axis=0) == 1).all()
    kinds = [found[f"deception.{k}"].value for k in ("false_lies", "lucky_lies", "mistakes", "truths")]
    assert sum(kinds) == found["deception.claims"].value == rows.n
    assert found["deception.lies"].value == kinds[0] + kinds[1]
    assert found["deception.lie_rate"].value == found["deception.lies"].value / rows.n
    said = [json.loads(e["data"]) for e in events if e["kind"] == "say"]
    assert rows.n == sum(len(d["accuses"]) + len(d["defends"]) for d in said)
    assert min(kinds) > 0
    # A traitor knows: what it claims is true or a lie, never a mistake. Its accusations of faithful are lies.
    traitor = world.guilty.ravel()[rows["speaker"]]
    assert not (book.mistake & traitor).any()
    assert (book.false_lie[traitor] == (rows["claimed"] != rows["truth"])[traitor]).all()
    assert not (book.lucky_lie & traitor).any()
    assert (rows["truth"] == world.guilty.ravel()[rows["about"]]).all()
    innocent = (world.tables["rounds"]["banished"] >= 0) & ~world.tables["rounds"]["guilty"]
    cost = [found[f"deception.banished_{k}"].value for k in ("after_lies", "after_mistakes", "unaccused")]
    assert sum(cost) == innocent.sum()


def test_lies_by_hand() -> None:
    """Faithful 0 accuses 1, whom it has come to trust, and defends 5, whom it suspects; traitor 4 defends 5."""

    def speak(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        if view.phase != "statement" or view.seat not in (0, 4):
            return Speak(public="")
        return Speak(public="So.", accuses=[1] if view.seat == 0 else [], defends=[5])

    def note(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        is_late = world.t > 1 or any(said.phase == "statement" for said in view.game.said)
        held = {1: 0.05, 5: 0.95} if is_late else dict(enumerate(view.suspicion))
        there = [s for s, is_there in enumerate(view.living) if is_there and s != view.seat]
        return {"suspicion": [{"player": view.first + s, "suspicion": held.get(s, 0.5)} for s in there]}

    world = World(rng=1, n_players=8, n_traitors=2, traitors="4,5", mind=mind(
        Speak=speak, Note=note, Vote=directed(s2=3, s3=2, faithful=2, traitor=2), Night=night(3)))  # fmt: skip
    advance(world, 2)
    rows = world.tables["claims"]
    second = rows["number"] == 2
    table = {(s, a): k for k, (s, a) in enumerate(zip(rows["speaker"], rows["about"], strict=True)) if second[k]}
    assert set(table) == {(0, 1), (0, 5), (4, 5)}
    _, book = observers.Deception()._book(world)
    assert rows["believed"][[table[0, 1], table[0, 5], table[4, 5]]].tolist() == [0.05, 0.95, 1.0]
    assert [bool(book.lie[table[k]]) for k in ((0, 1), (0, 5), (4, 5))] == [True, True, True]
    assert not book.lucky_lie.any()
    # After 2, a faithful player, fell and 3 was murdered, two of five others are traitors; who knows needs no rate.
    assert rows["base_rate"][[table[0, 1], table[0, 5], table[4, 5]]].tolist() == [2 / 5, 2 / 5, 0.5]
    assert set(rows["base_rate"][(rows["number"] == 1) & (rows["speaker"] == 0)]) == {2 / 7}
    # Listeners held 2/7 of 1 in round 1 and 0.05 afterwards: away from the accusation.
    first = np.flatnonzero((rows["number"] == 1) & (rows["about"] == 1))[0]
    assert rows["shift"][first] == pytest.approx((2 / 7 - 0.05) * -1)
    defended = np.flatnonzero((rows["number"] == 1) & (rows["about"] == 5))[0]
    assert rows["shift"][defended] == pytest.approx(2 / 7 - 0.95)
    assert rows["believed"][first] == 2 / 7
    assert not book.lie[first]  # an accusation at the base rate is a mistake, and no lie
    assert book.mistake[first]


def test_base_rates_are_those_of_the_living() -> None:
    """Spec: a faithful's prior is #T/(N−1); later the traitors left over the others left, each known to everybody."""
    world = World(rng=7, games=20, remember_up_to=0)
    advance(world)
    claims, rounds = world.tables["claims"], world.tables["rounds"]
    left = {
        (g, r): t / (t + f - 1)
        for g, r, t, f in zip(*(rounds[c].tolist() for c in ("game", "number", "traitors", "faithful")), strict=True)
    }
    expected = [
        0.5 if world.guilty.ravel()[s] else left[g, r]
        for g, r, s in zip(*(claims[c].tolist() for c in ("game", "number", "speaker")), strict=True)
    ]
    assert claims["base_rate"].tolist() == expected
    assert {1 / 2, 3 / 9, 3 / 7} < set(expected)


def test_when_no_traitor_is_left_everybody_knows() -> None:
    """The last traitor is banished; of the rest each knows every other faithful, whatever its beliefs were before."""

    def speak(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        return Speak(public="So.", defends=[1] if view.phase == "aftermath" and view.seat == 0 else [])

    world = World(
        rng=1, n_players=5, n_traitors=1, traitors="4", mind=mind(Speak=speak, Vote=directed(s4=1, faithful=4))
    )
    advance(world)
    rows = world.tables["claims"]
    assert (rows["believed"].tolist(), rows["base_rate"].tolist()) == ([0.0], [0.5])
    assert findings(world)["deception.truths"].value == 1


def test_what_is_averaged_over_rounds_and_then_over_games() -> None:
    """Of two games one has four banishments that hit nobody guilty, the other one that does: 1/2, and not 4/5."""
    banished, guilty, game = np.array([1, 2, 3, 4, 15, -1]), np.array([0, 0, 0, 0, 1, 0], bool), [0, 0, 0, 0, 1, 1]
    society = SimpleNamespace(
        params=SimpleNamespace(games=2), t=4, tables={"rounds": {"game": np.array(game)}, "claims": {
            "game": np.array([0, 0, 0, 1], np.int32), "number": np.array([1, 1, 2, 1], np.int32),
        }},
    )  # fmt: skip
    assert observers.over_games(society, np.where(banished >= 0, ~guilty, np.nan)) == 0.5
    # Round 1 of game 0 has 0.2 and 0.4, round 2 has 0.6; game 1 has 1.
    shift = np.array([0.2, 0.4, 0.6, 1.0])
    assert observers.over_claims(society, shift, np.ones(4, bool)) == pytest.approx(((0.3 + 0.6) / 2 + 1.0) / 2)
    assert observers.over_claims(society, shift, np.array([True, False, True, False])) == pytest.approx(0.4)
    assert math.isnan(observers.over_claims(society, shift, np.zeros(4, bool)))


def test_random_play_is_simulated_once() -> None:
    society = SimpleNamespace(params=SimpleNamespace(n_players=6, n_traitors=1, win_check="after_night"))
    first = observers.random_play(society)
    assert observers.random_play(society) is first
    assert observers.random_play(society, bloc=True) is not first
    with pytest.raises(ValueError, match="read-only"):
        first["won"][0] = 2.0
    w = float(theory.win_chance(5, 1))
    assert first["won"].mean() == pytest.approx(w, abs=4 * math.sqrt(w * (1 - w) / theory.SIMULATED))


def test_a_judge_is_a_second_rater() -> None:
    """One who knows agrees with the ledger (κ = 1); one who says the opposite disagrees; a coin is near 0."""
    games: list[Any] = []
    for answer, kappa in (("knows", 1.0), ("opposite", -1.0)):

        def judge(persona: Any, view: Any, memory: Any, rng: Any, answer: str = answer) -> Any:
            world, s = games[-1], view.statement
            assert not hasattr(view, "is_traitor")
            held = world.suspicion[0, s.by]
            guilty = world.guilty[0]
            believed = [guilty[j] if guilty[s.by] else held[j] for j in range(10)]
            living = world.living[0]
            rate = 0.5 if guilty[s.by] else (living & guilty).sum() / (living.sum() - 1)
            is_lie = any(believed[j] < rate for j in s.accuses) or any(believed[j] > rate for j in s.defends)
            return Judge(is_lie=is_lie == (answer == "knows"))

        rulers = ["rules"] * 10 + [mind(Judge=judge)]
        world = World(rng=3, judge=True, mind=rulers)
        games.append(world)
        advance(world)
        found = findings(world)
        assert world.tables["claims"]["judged"].max() == 1
        assert found["deception.judge_accuracy"].value == (1.0 if kappa > 0 else 0.0)
        assert found["deception.judge_kappa"].value == 1.0 if kappa > 0 else found["deception.judge_kappa"].value < 0
    world = World(rng=3, judge=True, mind="null", games=30)
    advance(world)
    found = findings(world)["deception.judge_kappa"]
    assert abs(found.value) < 4 / math.sqrt(found.n)
    assert world.table.text("role").tolist()[300:] == ["judge"] * 30


def test_the_judge_does_not_change_the_game() -> None:
    people = sw.sample_population(11, 2)
    with_judge, without = (
        [plain(e) for e in advance(World(rng=3, judge=j, personas=people[: 10 + j])) if e["kind"] != "judge"]
        for j in (True, False)
    )
    assert with_judge == without


def test_votes_permuted_within_a_round() -> None:
    """Seats 3 and 4 are traitors; the null is uniform over the orders in which nobody votes for itself, enumerated."""
    votes, guilty = np.array([3, 3, 0, 1, 2]), np.array([False, False, False, True, True])
    orders = [p for p in itertools.permutations(votes.tolist()) if all(v != i for i, v in enumerate(p))]
    fcr = [np.mean([guilty[v] for v in p[:3]]) for p in orders]
    tas = [1.0 if p[3] == p[4] else 0.5 for p in orders]
    society = SimpleNamespace(
        params=SimpleNamespace(games=1, n_players=5), t=1, guilty=guilty[None, :],
        votes_of=lambda number, night=False: np.full((1, 5), -1) if night else votes[None, :],
        stream=lambda *name: np.random.default_rng(3),
        tables={
            "ballots": {"night": np.zeros(5, bool), "game": np.zeros(5, int), "number": np.ones(5, int),
                        "voter": np.arange(5), "target": votes},
            "rounds": Rows({"game": np.array([0]), "number": np.array([1])}),
        },
    )  # fmt: skip
    found = observers.Votes().shuffled(society)
    for name, expected in (("fcr", fcr), ("tas", tas)):
        assert set(np.round(found[name], 9)) == set(np.round(expected, 9))
        assert found[name].mean() == pytest.approx(np.mean(expected), abs=4 * np.std(expected) / math.sqrt(200))


class Rows(dict[str, np.ndarray]):
    """Columns of one row, as a table gives them."""

    n = 1


@pytest.mark.parametrize("n", [8, 9])
def test_when_the_game_is_looked_at_changes_no_winner(n: int) -> None:
    """Where t ≥ f holds after a banishment the night only adds to it. With an even number alive after each night the
    faithful lead by two, so that the games are the same; with an odd one, a last murder is left out."""
    found = []
    for check in ("after_night", "after_each_removal"):
        world = World(rng=5, games=60, n_players=n, n_traitors=2, mind="null", win_check=check, **QUIET)
        advance(world)
        games = world.tables["games"]
        left = world.by_seat("in_game").sum()
        found.append((games["ending"].tolist(), games["rounds"].tolist(), left))
    assert found[0][:2] == found[1][:2]
    assert (found[0][2] == found[1][2]) == (n == 8)

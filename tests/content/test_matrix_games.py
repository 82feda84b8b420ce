"""Matrix games: what theory says of memory-one play and of tit for tat, what a round books, what minds see and do."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import RuleMind
from simworld.scenario import load, resolve
from tests.server import ModelServer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

World = load(resolve("matrix_games"))
PACKAGE = World.__module__.rpartition(".")[0]
theory, strategies, decisions, observers = (
    importlib.import_module(f"{PACKAGE}.{name}") for name in ("theory", "strategies", "decisions", "observers")
)
Game, Move = theory.Game, decisions.Move
PD = Game(3, 0, 5, 1)
R, S, T, P = PD
FIELDS = ("first", "cc", "cd", "dc", "dd")
chances = st.floats(0.02, 0.98)
plans = st.tuples(*[chances] * 5)


def games(**options: Any) -> Any:
    return World(**{"rng": 1, **options})


def pairs(k: int) -> str:
    """k pairs, each a population of its own."""
    return f"caveman_graph:l={k},k=2"


def played(world: Any, rounds: int) -> Any:
    for _ in range(rounds):
        world.step()
    return world


def score(world: Any, own: str, other: str) -> np.ndarray:
    """Points of every side of this strategy against that one."""
    codes = world.table.text("strategy")
    sides = world.tables["sides"]
    return sides["payoff"][(codes[sides["player"]] == own) & (codes[sides["partner"]] == other)]


def plan(name: str, game: Any = PD, chi: float = 2.0) -> tuple[float, ...]:
    return strategies.plan_of(name, game, chi)[1]


# Memory-one play: the chain over CC, CD, DC, DD (Press, Dyson 2012, doi:10.1073/pnas.1206569109) ----------------------


@given(plans, plans, st.floats(0, 0.3), st.floats(0.1, 1))
@settings(max_examples=50, deadline=None)
def test_the_chain_is_what_two_players_do(p: Any, q: Any, noise: float, w: float) -> None:
    """Against an account written out move by move."""

    def err(x: float) -> float:
        return x * (1 - noise) + (1 - x) * noise

    first, stays = theory.chain(p, q, noise, w)
    states = [(1, 1), (1, 0), (0, 1), (0, 0)]
    after = {(1, 1): 1, (1, 0): 2, (0, 1): 3, (0, 0): 4}
    for j, (a, b) in enumerate(states):
        one, two = err(p[0]), err(q[0])
        start = (one if a else 1 - one) * (two if b else 1 - two)
        assert first[j] == pytest.approx(start, abs=1e-12)
        for i, (mine, theirs) in enumerate(states):
            one, two = err(p[after[mine, theirs]]), err(q[after[theirs, mine]])
            goes_on = (one if a else 1 - one) * (two if b else 1 - two)
            assert stays[i, j] == pytest.approx(w * goes_on + (1 - w) * start, abs=1e-12)


@given(plans, plans)
@settings(max_examples=50, deadline=None)
def test_the_payoff_is_the_stationary_average(p: Any, q: Any) -> None:
    shares = theory.stationary(p, q)
    stays = theory.chain(p, q)[1]
    assert shares.sum() == pytest.approx(1, abs=1e-9)
    assert np.allclose(shares @ stays, shares, atol=1e-9)
    swapped = theory.stationary(q, p)
    assert np.allclose(shares, swapped[[0, 2, 1, 3]], atol=1e-9)
    assert np.allclose(theory.average(p, q, 20_000), shares, atol=1e-2)


def test_where_the_chain_splits_the_first_round_decides() -> None:
    """Two of TFT stay where they began; TFT and its suspicious form alternate for ever."""
    assert theory.stationary(plan("TFT"), plan("TFT")) == pytest.approx([1, 0, 0, 0], abs=1e-9)
    assert theory.stationary(plan("TFT"), plan("STFT")) == pytest.approx([0, 0.5, 0.5, 0], abs=1e-9)
    assert theory.stationary(plan("GRIM"), plan("ALLD")) == pytest.approx([0, 0, 0, 1], abs=1e-9)


@given(plans, plans, st.floats(0.1, 0.99))
@settings(max_examples=30, deadline=None)
def test_a_match_that_may_end(p: Any, q: Any, w: float) -> None:
    """Σ wᵗ of every state; times 1 − w it is the long-run share where a new match follows."""
    first, stays = theory.chain(p, q)
    total, state = np.zeros(4), first
    for t in range(4000):
        total += w**t * state
        state = state @ stays
    assert np.allclose(theory.discounted(p, q, w), total, atol=1e-7)
    assert np.allclose((1 - w) * total, theory.stationary(p, q, continuation=w), atol=1e-7)


@given(st.floats(1, 20), st.floats(0.05, 1), plans)
@settings(max_examples=100, deadline=None)
def test_extortion_enforces_its_line_against_anybody(chi: float, share: float, q: Any) -> None:
    largest = min((P - S) / ((P - S) + chi * (T - P)), (P - S) / (chi * (P - S) + (T - P)))
    phi = share * largest
    stated = (
        1 - phi * (chi - 1) * (R - P) / (P - S), 1 - phi * (1 + chi * (T - P) / (P - S)),
        phi * (chi + (T - P) / (P - S)), 0,
    )  # fmt: skip
    made = theory.zero_determinant(PD, P, chi, phi)
    assert made == pytest.approx(stated, abs=1e-9)
    shares = theory.stationary((0.5, *made), q)
    own, other = shares @ PD.own, shares @ PD.theirs
    assert own - P == pytest.approx(chi * (other - P), abs=1e-7)
    generous = theory.stationary((0.5, *theory.zero_determinant(PD, R, chi)), q)
    assert generous @ PD.own - R == pytest.approx(chi * (generous @ PD.theirs - R), abs=1e-6)


def test_a_line_that_no_strategy_enforces() -> None:
    with pytest.raises(ValueError, match="no strategy enforces"):
        theory.zero_determinant(PD, P, 2, phi=0.9)
    with pytest.raises(ParameterError, match="no strategy enforces"):
        games(strategies="EXTORT", game="table", payoffs="1,1;1,1")


def test_generous_tit_for_tat() -> None:
    """Nowak, Sigmund 1992, doi:10.1038/355250a0: min(1 − (T−R)/(R−S), (R−P)/(T−P))."""
    assert plan("GTFT") == pytest.approx((1, 1, min(1 - 2 / 3, 2 / 4), 1, min(1 - 2 / 3, 2 / 4)))


# Tit for tat (Axelrod, Hamilton 1981, doi:10.1126/science.7466396) ----------------------------------------------------


@given(st.tuples(*[st.floats(0, 10)] * 4).map(sorted), st.floats(0.01, 0.99))
@settings(max_examples=100, deadline=None)
def test_when_tit_for_tat_resists(four: Sequence[float], w: float) -> None:
    s, p, r, t = four
    if min(p - s, r - p, t - r) < 0.1 or not 2 * r > t + s:
        return
    game = Game(r, s, t, p)
    tft, alternating = plan("TFT"), (0, 0, 0, 1, 1)

    def worth(own: Any) -> float:
        return float(theory.discounted(own, tft, w) @ game.own)

    defector, alternator = theory.tft_thresholds(game)
    assert (defector, alternator) == ((t - r) / (t - p), (t - r) / (r - s))
    for own, threshold in ((plan("ALLD"), defector), (alternating, alternator)):
        if abs(w - threshold) > 1e-6:
            assert (worth(tft) >= worth(own)) == (w >= threshold)


def test_tit_for_tat_against_defection_over_200_turns() -> None:
    world = played(games(n_agents=2, graph=pairs(1), strategies="TFT, ALLD"), 200)
    assert score(world, "TFT", "ALLD").tolist() == [S + 199 * P] == [199]
    assert score(world, "ALLD", "TFT").tolist() == [T + 199 * P] == [204]


def test_both_sides_of_the_threshold() -> None:
    """Mean points a round of matches that go on with w = 0.4 and 0.6, either side of (T−R)/(T−P) = 1/2."""
    for w in (0.4, 0.6):
        world = played(games(graph=pairs(400), strategies="TFT, ALLD", continuation=w), 60)
        points = score(world, "ALLD", "TFT") / 60
        form = theory.average(plan("ALLD"), plan("TFT"), 60, 0.0, w) @ PD.own
        assert abs(points.mean() - form) < 4 * points.std() / np.sqrt(len(points))
        whole = (1 - w) * (T + w / (1 - w) * P)
        assert form == pytest.approx(whole, abs=0.1)
        assert (whole > R) == (w < 0.5)


# A society plays what theory says -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise, w", [(0.0, 1.0), (0.03, 1.0), (0.05, 0.8)])
def test_every_pair_of_strategies_wins_what_its_chain_gives(noise: float, w: float) -> None:
    names = ["TFT", "GTFT", "WSLS", "JOSS", "ALLD", "EXTORT", "GENEROUS", "0.2/0.9/0.1/0.7/0.4"]
    labels = [*names[:-1], "MEMORY_ONE"]
    world = games(
        n_agents=80, graph="complete_graph", strategies=",".join(names), noise=noise, continuation=w,
        personas=sw.sample_population(80, 1), log_moves=False,
    )  # fmt: skip
    played(world, 40)
    seen = 0
    for (own, one), (other, two) in itertools.product(zip(names, labels, strict=True), repeat=2):
        points = score(world, one, two) / 40
        form = theory.average(plan(own), plan(other), 40, noise, w) @ PD.own
        error = points.std(ddof=1) / np.sqrt(len(points))
        if one == two:
            error *= np.sqrt(2)  # both sides of one match
        # Half a sampling unit: where all but a few matches are alike the spread says too little.
        assert abs(points.mean() - form) <= 4 * error + 0.5 / len(points) + 1e-9, (own, other)
        seen += 1
    assert seen == 64
    found = {f.metric: f for f in observers.Tournament().conclude(world)}
    assert found["TFT_against_ALLD"].closed_form == pytest.approx(
        theory.average(plan("TFT"), plan("ALLD"), 40, noise, w) @ PD.own
    )
    assert found["score_TFT"].value == pytest.approx(
        np.concatenate([score(world, "TFT", label) for label in labels]).mean() / 40
    )


def test_play_of_the_null_is_a_coin() -> None:
    world = played(games(n_agents=300, mind="null", log_moves=False), 40)
    found = {f.metric: f for f in observers.Play().conclude(world)}
    n = 300 * 4 * 40
    assert abs(found["cooperation"].value - 0.5) < 4 * 0.5 / np.sqrt(n)
    assert found["cooperation"].closed_form == found["cooperation"].null_mean == 0.5
    assert found["mean_payoff"].closed_form == pytest.approx((R + S + T + P) / 4)
    spread = np.std([R, S, T, P])
    assert abs(found["mean_payoff"].value - 2.25) < 4 * spread * np.sqrt(2 / n)
    assert found["efficiency"].value == pytest.approx((2 * found["mean_payoff"].value - 2) / (6 - 2))


def test_no_closed_form_where_theory_has_none() -> None:
    for options in ({}, {"strategies": "TFT", "reputation": True}, {"strategies": "TFT", "scope": "agent"}):
        world = played(games(n_agents=20, **options), 3)
        assert observers.expected(world) is None
    assert observers.expected(games(n_agents=20, strategies="TFT")) is None
    assert observers.expected(played(games(n_agents=20, strategies="TFT"), 3)) is not None


# What one round books -------------------------------------------------------------------------------------------------


class Scripted:
    """Says what it is told to: a table of moves by step, or a function of (step, agent, partner)."""

    label = "scripted"

    def __init__(self, say: Any) -> None:
        self.say = say

    def decide(self, question: Any) -> sw.Answers:
        said = iter([(question.step, agent) for agent in question.ids.tolist()])

        def policy(persona: Any, seen: Any, memory: Any, rng: Any) -> Any:
            step, agent = next(said)
            return {"play_c": self.say(step, agent, seen.partner)}

        return RuleMind({Move: policy}, self.label).decide(question)


def test_a_match_worked_by_hand() -> None:
    """Path 0-1-2: agent 1 plays C against 0 and D against 2, both of whom play C."""
    mind = Scripted(lambda step, agent, partner: not (agent == 1 and partner == 2))
    world = played(games(graph=nx.path_graph(3), mind=mind), 2)
    assert world.table["payoff"].tolist() == [2 * R, 2 * (R + T), 2 * S]
    assert world.table["cooperated"].tolist() == [2, 2, 2]
    assert world.table["moves"].tolist() == [2, 4, 2]
    sides = world.tables["sides"]
    assert list(zip(sides["player"].tolist(), sides["partner"].tolist(), sides["last"].tolist(), strict=True)) == [
        (0, 1, 1), (1, 0, 1), (1, 2, 0), (2, 1, 1),
    ]  # fmt: skip
    assert sides["payoff"].tolist() == [2 * R, 2 * R, 2 * T, 2 * S]
    assert dict(world.metrics()) == {
        "cooperation": 0.75, "mean_payoff": (2 * R + T + S) / 4, "void": 0.0,
        "efficiency": ((2 * R + T + S) / 2 - 2) / (6 - 2),
    }  # fmt: skip


def test_one_move_against_all_worked_by_hand() -> None:
    """Star of four, the hub plays C, leaf 1 plays C, leaves 2 and 3 play D."""
    world = played(games(graph=nx.star_graph(3), scope="agent", mind=Scripted(lambda t, i, j: i < 2)), 1)
    assert world.table["payoff"].tolist() == [R + 2 * S, R, T, T]
    assert world.table["moves"].tolist() == [1, 1, 1, 1]
    assert world.table["matches"].tolist() == [3, 1, 1, 1]
    seen = {}

    def watch(step: int, agent: int, partner: int) -> bool:
        seen[agent] = partner
        return True

    world = played(games(graph=nx.star_graph(3), scope="agent", mind=Scripted(watch)), 1)
    assert seen == {0: -1, 1: -1, 2: -1, 3: -1}


@pytest.mark.parametrize("scope, strategies", [("tie", "TFT, ALLD"), ("agent", "TFT, ALLD")])
def test_the_scopes_agree_where_everybody_has_one_neighbour(scope: str, strategies: str) -> None:
    world = played(games(graph=pairs(50), scope=scope, strategies=strategies), 30)
    codes = world.table.text("strategy")
    assert set(world.table["payoff"][codes == "TFT"]) == {S + 29 * P}
    assert set(world.table["payoff"][codes == "ALLD"]) == {T + 29 * P}


def test_payoffs_are_conserved_and_moves_are_logged() -> None:
    """What the log says, played over by hand, is what every account holds."""
    world = games(n_agents=30, strategies="TFT, ALLD, RANDOM", noise=0.1)
    world.drain()
    table = {(1, 1): R, (1, 0): S, (0, 1): T, (0, 0): P}
    points, gave = np.zeros(30), np.zeros(30, int)
    for _ in range(8):
        world.step()
        (chunk,) = [c for c in world.drain().events if c.columns["kind"] == "move"]
        agents, targets, moves = (chunk.columns[name].astype(int).tolist() for name in ("agent", "target", "value"))
        made = {(a, b): m for a, b, m in zip(agents, targets, moves, strict=True)}
        assert len(made) == 2 * world.graph.n_ties()
        for (a, b), move in made.items():
            points[a] += table[move, made[b, a]]
            gave[a] += move
    assert np.allclose(world.table["payoff"], points, atol=1e-9)
    assert world.table["cooperated"].tolist() == gave.tolist()
    assert np.allclose(np.bincount(world.tables["sides"]["player"], world.tables["sides"]["payoff"]), points)


@pytest.mark.parametrize("scope", ["tie", "agent"])
def test_a_refusal_makes_matches_void_and_is_counted(scope: str) -> None:
    """Agent 1 of the path 0-1-2 gives no answer in round 2: nobody is paid for its matches, and memory stays."""
    mind = Scripted(lambda step, agent, partner: "C" if agent == 1 and step == 2 else True)
    world = games(graph=nx.path_graph(3), mind=mind, scope=scope)
    world.step()
    before = world.table["payoff"].copy()
    world.step()
    assert world.table["payoff"].tolist() == before.tolist()
    assert world.globals.void == 2
    assert world.events.counts["refusal"] == (2 if scope == "tie" else 1)
    assert world.table["matches"].tolist() == [1, 2, 1]
    last = world.tables["sides"]["last"] if scope == "tie" else world.table["last"]
    assert set(last.tolist()) == {1}
    world.step()
    assert world.table["payoff"].tolist() == (2 * before).tolist()
    assert world.globals.void == 0


def test_slips_come_as_often_as_said_and_both_ways() -> None:
    for name, expected in (("ALLC", 0.9), ("ALLD", 0.1)):
        world = played(games(n_agents=200, strategies=name, noise=0.1, log_moves=False), 25)
        n = 200 * 4 * 25
        rate = world.table["cooperated"].sum() / n
        assert abs(rate - expected) < 4 * np.sqrt(0.09 / n)


def test_a_new_match_begins_with_the_first_move() -> None:
    """w = 0: suspicious tit for tat never gets beyond its first move, and both sides forget at once."""
    world = played(games(n_agents=10, strategies="STFT, TFT", continuation=0.0), 5)
    assert (world.tables["sides"]["last"] == -1).all()
    codes = world.table.text("strategy")
    rates = world.table["cooperated"] / world.table["moves"]
    assert set(rates[codes == "TFT"]) == {1.0}
    assert set(rates[codes == "STFT"]) == {0.0}
    world = played(games(n_agents=40, strategies="ALLC", continuation=0.5), 1)
    sides = world.tables["sides"]
    by_match: dict[tuple[int, int], set[int]] = {}
    for a, b, move in zip(*(sides[name].tolist() for name in ("player", "partner", "last")), strict=True):
        by_match.setdefault((min(a, b), max(a, b)), set()).add(move)
    assert {frozenset(x) for x in by_match.values()} == {frozenset({-1}), frozenset({1})}


# Memory-one rules -----------------------------------------------------------------------------------------------------


class Seen:
    """One observation as columns of one row."""

    def __init__(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self, name, np.array([value]))


@pytest.mark.parametrize("own, other", [(-1, -1), (1, 1), (1, 0), (0, 1), (0, 0)])
def test_the_rule_is_the_strategy(own: int, other: int) -> None:
    rules = importlib.import_module(f"{PACKAGE}.rules")
    p = dict(zip(FIELDS, (0.11, 0.22, 0.33, 0.44, 0.55), strict=True))
    wanted = {(-1, -1): 0.11, (1, 1): 0.22, (1, 0): 0.33, (0, 1): 0.44, (0, 0): 0.55}[own, other]
    given = rules.chance_of_c(Seen(own=own, other=other, standing=-1.0), p, 0.7)
    assert given[0] == pytest.approx(wanted, abs=1e-12)
    # Half of the neighbours: half way between the two.
    if own >= 0:
        half = rules.chance_of_c(Seen(own=own, other=0.5, standing=-1.0), p, 0.7)
        both = [p["cc"], p["cd"]] if own else [p["dc"], p["dd"]]
        assert half[0] == pytest.approx(np.mean(both), abs=1e-12)


def test_the_record_stands_in_for_the_last_move() -> None:
    rules = importlib.import_module(f"{PACKAGE}.rules")
    p = dict(zip(FIELDS, plan("TFT"), strict=True))
    assert rules.chance_of_c(Seen(own=-1, other=-1, standing=0.2), p, 1.0)[0] == pytest.approx(0.2)
    assert rules.chance_of_c(Seen(own=-1, other=-1, standing=0.2), p, 0.5)[0] == pytest.approx(0.5 + 0.5 * 0.2)
    assert rules.chance_of_c(Seen(own=1, other=0, standing=0.8), p, 0.25)[0] == pytest.approx(0.25 * 0.8)
    assert rules.chance_of_c(Seen(own=1, other=0, standing=0.8), p, 0.0)[0] == 0
    for name, chance in (("ALLC", 1), ("ALLD", 0)):
        fixed = dict(zip(FIELDS, plan(name), strict=True))
        assert rules.chance_of_c(Seen(own=1, other=0, standing=0.3), fixed, 0.9)[0] == pytest.approx(chance)


def test_named_strategies_do_what_their_names_say() -> None:
    """Against a partner who plays C, C, D, C, C, D, …: moves of six rounds."""
    wanted = {
        "ALLC": "CCCCCC", "ALLD": "DDDDDD", "TFT": "CCCDCC", "STFT": "DCCDCC", "GRIM": "CCCDDD", "WSLS": "CCCDDD",
    }  # fmt: skip
    for name, moves in wanted.items():
        mind = Scripted(lambda step, agent, partner: step % 3 != 0)
        world = games(graph=pairs(1), strategies=name, mind=["rules", mind])
        seen = ""
        for _ in range(6):
            world.step()
            seen += "DC"[world.tables["sides"]["last"][0]]
        assert seen == moves, name


@pytest.mark.parametrize(
    "label, rate", [("always(0)", 0.0), ("always(1)", 1.0), ("play(ALLD)", 0.0), ("play(1/1/1/1/1)", 1.0)]
)
def test_a_scripted_mind_is_a_mind_like_any_other(label: str, rate: float) -> None:
    world = played(games(n_agents=6, mind=[label, *["rules"] * 5], strategies="TFT"), 4)
    assert world.table["cooperated"][0] / world.table["moves"][0] == rate
    assert world.mind_label(0) == label


@pytest.mark.parametrize("label", ["always(x)", "always(2)", "play()", "play(TIT)", "play(1/2)", "play(PERSONA)"])
def test_a_mind_that_cannot_be(label: str) -> None:
    with pytest.raises(ParameterError, match=r"mind|strategy"):
        games(n_agents=6, mind=label)


def test_reputation_is_shown_only_when_visible() -> None:
    for scope, visible in itertools.product(("tie", "agent"), (False, True)):
        seen = []

        class Watching(RuleMind):
            def decide(self, question: Any) -> sw.Answers:
                seen.append([(row.partner, row.standing) for row in question.observations()])  # noqa: B023
                return super().decide(question)

        mind = Watching({Move: lambda persona, view, memory, rng: view.partner != 0}, "watching")
        world = played(games(graph=nx.path_graph(3), mind=mind, reputation=visible, scope=scope), 2)
        assert {standing for _, standing in seen[0]} == {-1.0}
        if not visible:
            assert {standing for _, standing in seen[1]} == {-1.0}
        elif scope == "tie":
            record = world.table["cooperated"] / world.table["moves"]
            assert seen[1] == [(1, 0.5), (0, 1.0), (2, 1.0), (1, 0.5)]
            assert record[1] == 0.5
        else:
            assert {standing for _, standing in seen[1]} == {1.0}


def test_a_visible_record_is_worth_something() -> None:
    """Tit for tat meets defectors for the first time in every round: only their record tells."""
    call: dict[str, Any] = {
        "n_agents": 40, "graph": "complete_graph", "strategies": "TFT, ALLD", "continuation": 0.0, "log_moves": False,
    }  # fmt: skip
    blind, sighted = (played(games(**call, reputation=visible, reputation_weight=1.0), 10) for visible in (False, True))
    codes = blind.table.text("strategy")
    for world, expected in ((blind, 1.0), (sighted, 0.1)):
        sides = world.tables["sides"]
        of = (codes[sides["player"]] == "TFT") & (codes[sides["partner"]] == "ALLD")
        assert sides["cooperated"][of].mean() / 10 == pytest.approx(expected)
    found = {f.metric: f for f in observers.Reputation().conclude(sighted)}
    assert found["share_right"].value == 1.0
    assert found["correlation"].value > found["correlation"].null_mean + 4 * found["correlation"].null_sd


# Personas matter ------------------------------------------------------------------------------------------------------

PEOPLE = sw.sample_population(60, 3)


def with_trait(letter: str, values: Sequence[float]) -> list[sw.Persona]:
    """People whose trait is shifted, nothing else."""
    names = {"O": "openness", "C": "conscientiousness", "E": "extraversion", "A": "agreeableness", "N": "neuroticism"}
    out = []
    for person, value in zip(PEOPLE, itertools.cycle(values), strict=False):
        traits = tuple(
            t.model_copy(update={"value": t.lo + value * (t.hi - t.lo)}) if t.trait == names[letter] else t
            for t in person.traits
        )
        out.append(person.model_copy(update={"traits": traits}))
    return out


def moves_of(people: Sequence[sw.Persona], **options: Any) -> list[list[int]]:
    world = games(personas=list(people), n_agents=60, **options)
    rows = []
    for _ in range(12):
        world.step()
        rows.append(world.tables["sides"]["last"].tolist())
    return rows


def test_traits_that_are_read_move_behaviour_and_the_others_do_not() -> None:
    own = moves_of(PEOPLE)
    for letter in "OCEN":
        assert moves_of(with_trait(letter, [0.05, 0.95])) == own, letter
    rates = [np.mean(moves_of(with_trait("A", [value]))) for value in (0.1, 0.5, 0.9)]
    assert rates[0] < rates[1] < rates[2]
    named = [moves_of(with_trait("A", [value]), strategies="GTFT, WSLS", noise=0.1) for value in (0.1, 0.9)]
    assert named[0] == named[1]


def test_agreeableness_raises_the_first_move_and_forgiveness() -> None:
    """More C after every outcome, and most after the partner's D."""
    counts = {}
    for value in (0.2, 0.8):
        world = games(personas=with_trait("A", [value]), n_agents=60, rng=5)
        seen: dict[tuple[int, int], list[int]] = {}
        for _ in range(60):
            sides = world.tables["sides"]
            before = list(zip(sides["last"].tolist(), sides["last"][world.back].tolist(), strict=True))
            world.step()
            for state, move in zip(before, sides["last"].tolist(), strict=True):
                seen.setdefault(state, []).append(move)
        counts[value] = {state: np.mean(moves) for state, moves in seen.items()}
    rise = {state: counts[0.8][state] - counts[0.2][state] for state in counts[0.2]}
    assert all(x > 0 for x in rise.values())
    assert min(rise[1, 0], rise[0, 0], rise[-1, -1]) > max(rise[1, 1], rise[0, 1])


def test_the_association_vanishes_when_minds_play_others_characters() -> None:
    people = with_trait("A", np.linspace(0.05, 0.95, 60))
    found = []
    for shuffled in (False, True):
        world = played(games(personas=people, n_agents=60, shuffle_personas=shuffled), 60)
        z = world.trait("A")
        found.append(np.corrcoef(z, world.table["cooperated"] / world.table["moves"])[0, 1])
    assert found[0] > 0.7
    assert abs(found[1]) < 4 / np.sqrt(60)


# Reading the parameters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"game": "table"}, "needs payoffs"),
        ({"payoffs": "1,2,3"}, "two rows of two numbers"),
        ({"payoffs": "1,2;3,inf"}, "finite"),
        ({"strategies": "TIFT"}, "did you mean 'TFT'"),
        ({"strategies": "TFT:-1"}, "positive number"),
        ({"strategies": "TFT:x"}, "positive number"),
        ({"strategies": " , "}, "at least one"),
        ({"strategies": "1/2/3"}, "five chances"),
        ({"strategies": "1/1/1/1/1.2"}, r"each in \[0, 1\]"),
        ({"strategies": "MEMORY_ONE"}, "no strategy"),
        ({"scope": "agent", "continuation": 0.5}, "scope = 'tie'"),
        ({"update": "moran", "selection": 2.0}, "needs s"),
        ({"noise": 0.6}, "less than or equal to 0.5"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        games(**options)


def test_payoffs_that_are_no_dilemma_are_noted() -> None:
    assert not games().notes
    assert not games(payoffs="3,0;5,1").notes
    (note,) = games(payoffs="3,0;7,1").notes
    assert "2R > T + S" in note
    (note,) = games(game="table", payoffs="3,0;2,1").notes
    assert "no prisoners dilemma" in note
    (note,) = games(game="chicken", payoffs="3,0;5,1").notes
    assert "T > R > S > P" in note
    for name, four in strategies.GAMES.items():
        assert strategies.holds(four, name)


def test_shares_are_met_by_largest_remainder() -> None:
    apportioned = strategies.apportioned
    assert apportioned([0.5, 0.3, 0.2], 10).tolist() == [5, 3, 2]
    assert apportioned([1, 1, 1], 10).tolist() == [4, 3, 3]
    assert apportioned([0.6, 0.4], 1).tolist() == [1, 0]
    world = games(graph="caveman_graph:l=7,k=10", strategies="ALLC:1, ALLD:9")
    per_population = np.bincount(world.places.labels, world.table.text("strategy") == "ALLC")
    assert per_population.tolist() == [1.0] * 7
    where = {int(np.flatnonzero(world.table.text("strategy")[k * 10 : k * 10 + 10] == "ALLC")[0]) for k in range(7)}
    assert len(where) > 1


def test_a_tournament_ties_everybody() -> None:
    world = games(n_agents=9, tournament=True)
    assert world.graph.n_ties() == 9 * 8 / 2
    assert world.tables["sides"].n == 9 * 8


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        {"strategies": "PERSONA, TFT", "noise": 0.05, "continuation": 0.9, "reputation": True},
        {"scope": "agent", "strategies": "PERSONA, ALLD", "noise": 0.05, "update": "fermi", "mutation": 0.05},
        {"strategies": "TFT, ALLD, GTFT", "noise": 0.02, "update": "moran", "generation": 2},
    ],
    ids=["reputation", "agent", "moran"],
)
def test_cut_and_resumed(call: dict[str, Any], tmp_path: Path) -> None:
    call = {"n_agents": 14, "steps": 7, "seed": 4, **call}
    whole = sw.run("matrix_games", out=tmp_path / "whole", **call)
    for after in (1, 4):
        out = begin_and_cut("matrix_games", tmp_path / f"cut{after}", after, **call)
        assert_same_run(sw.resume(out), whole)
    assert sw.load_run(out).verify()


def test_moves_stand_in_the_state_as_in_the_log(tmp_path: Path) -> None:
    call: dict[str, Any] = {"n_agents": 12, "steps": 3, "seed": 2, "noise": 0.1}
    loud = sw.run("matrix_games", out=tmp_path / "loud", **call)
    quiet = sw.run("matrix_games", out=tmp_path / "quiet", log_moves=False, **call)
    assert quiet.events.is_empty()
    assert loud.metrics.equals(quiet.metrics)
    moves = loud.events.filter((pl.col("kind") == "move") & (pl.col("step") == 3))
    sides = loud.state(3, "sides")
    assert sides["last"].to_list() == moves["value"].cast(pl.Int8).to_list()
    assert sides["player"].to_list() == moves["agent"].to_list()


def test_ties_that_are_cut_end_their_match() -> None:
    world = games(graph=nx.cycle_graph(5), strategies="ALLC")
    world.step()
    world.intervene(cuts=[(0, 1, None)])
    world.step()
    assert world.table["payoff"].tolist() == [3 * R, 3 * R, 4 * R, 4 * R, 4 * R]
    sides = world.tables["sides"]
    dead = [(a, b) for a, b, on in zip(sides["player"], sides["partner"], sides["alive"], strict=True) if not on]
    assert dead == [(0, 1), (1, 0)]
    world.graph.add(0, 1)
    world.graph.add(0, 2)
    world.step()
    assert world.table["payoff"].tolist() == [6 * R, 5 * R, 7 * R, 6 * R, 6 * R]
    assert sides.n == 12
    assert sides["alive"].all()


@pytest.mark.parametrize("scope", ["tie", "agent"])
def test_a_strategy_set_from_outside_is_followed(scope: str) -> None:
    world = played(games(graph=nx.cycle_graph(5), strategies="ALLC", scope=scope), 1)
    world.intervene(cells=[(2, name, 0.0) for name in FIELDS])
    world.restored()
    played(world, 2)
    assert world.table["gave"].tolist() == ([2, 2, 0, 2, 2] if scope == "tie" else [1, 1, 0, 1, 1])


OWN = ("gave", "moves", "cooperated", "last", "before")
"""What an agent does, as against what becomes of it."""


@pytest.mark.parametrize("scope", ["tie", "agent"])
def test_a_cut_tie_is_felt_by_its_two_ends_alone(scope: str, tmp_path: Path) -> None:
    """In the next round, with slips and matches that end; of deterministic strategies payoffs too."""
    call: dict[str, Any] = {"n_agents": 60, "steps": 6, "seed": 3, "noise": 0.05, "scope": scope}
    call["graph"] = "watts_strogatz_graph:k=4,p=0"
    call |= {"continuation": 0.9} if scope == "tie" else {}
    for mix in ("TFT, WSLS, ALLD", "PERSONA"):
        run = sw.run("matrix_games", out=tmp_path / f"{mix[0]}", strategies=mix, **call)
        a, b = 7, 9
        fork = sw.fork(run, 4, cuts=[(a, b)], out=tmp_path / f"{mix[0]}fork")
        one, other = run.state(5).sort("id"), fork.state(5).sort("id")
        for name in one.columns if (scope, mix[0]) == ("tie", "T") else OWN:
            differ = set(np.flatnonzero((one[name] != other[name]).to_numpy()).tolist())
            assert differ <= {a, b}, name
        assert one["matches"][a] - other["matches"][a] == one["matches"][b] - other["matches"][b] == 1
        assert not fork.metrics.equals(run.metrics)
        assert fork.verify()


@pytest.mark.parametrize(
    "call, message",
    [
        ({"cells": {(2, "strategy"): "ALLD"}}, "only what its strategy is called"),
        ({"cells": {(2, "part"): 1}}, "only what its strategy is called"),
        ({"params": {"strategies": "ALLD"}}, "dealt out at the start"),
        ({"params": {"payoffs": "4,0;5,1"}}, "dealt out at the start"),
        ({"params": {"scope": "agent"}}, "scope is laid down"),
        ({"params": {"tournament": True}}, "tournament is laid down"),
    ],
)
def test_what_cannot_change_on_the_way(call: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = sw.run("matrix_games", out=tmp_path / "run", n_agents=6, steps=3, seed=1, strategies="GTFT, ALLD")
    with pytest.raises(ParameterError, match=message):
        sw.fork(run, 2, out=tmp_path / "fork", **call)


def test_a_fork_claims_no_theory_and_goes_on_naming(tmp_path: Path) -> None:
    run = sw.run("matrix_games", out=tmp_path / "run", n_agents=10, steps=4, seed=1, strategies="TFT, ALLD")
    tft = run.state(2).sort("id")["strategy"].to_list().index("TFT")
    fork = sw.fork(run, 2, cells={(tft, name): 0.0 for name in FIELDS}, params={"noise": 0.1}, out=tmp_path / "fork")
    forms = [one.findings.filter(pl.col("metric") == "cooperation")["closed_form"][0] for one in (run, fork)]
    assert np.isfinite(forms[0])
    assert np.isnan(forms[1])
    after = fork.state(4).sort("id")
    assert (after["strategy"][tft], after["part"][tft]) == ("ALLD", 1)
    assert run.state(4).sort("id")["part"][tft] == 0
    assert fork.verify()


# What the observers say -----------------------------------------------------------------------------------------------


def test_ends_that_answer_each_other_get_no_p_value() -> None:
    """One persona for all: the ends of a tie are alike by their play, more often than a shuffle would allow."""
    shuffled = sw.observe.Cooperation(permutations=99)
    for scope in ("tie", "agent"):
        found = 0
        for seed in range(20):
            world = games(rng=seed, n_agents=50, scope=scope, personas=PEOPLE[:1] * 50, log_moves=False)
            played(world, 40)
            findings = {f.metric: f for f in observers.Cooperation().conclude(world)}
            assert list(findings) == ["rate", "both", "one", "none", "assortment"]
            assert all(np.isnan(f.p_value) and not f.null for f in findings.values())
            against = {f.metric: f for f in shuffled.conclude(world)}
            assert findings["both"].value == against["both"].value
            found += against["assortment"].p_value < 0.05
        assert found / 20 > 0.05 + 4 * np.sqrt(0.05 * 0.95 / 20)  # so it would mislead


@pytest.mark.parametrize("kind", ["direct", "downstream", "upstream"])
def test_players_who_answer_nothing_are_not_found_to_answer(kind: str) -> None:
    """Coins that differ from agent to agent, over 40 seeds: at most 5 % and four standard errors."""
    p_values = []
    for seed in range(40):
        mix = ", ".join("/".join([f"{p:.2f}"] * 5) for p in np.random.default_rng(seed).random(8))
        world = played(games(rng=seed, n_agents=24, strategies=mix, personas=PEOPLE[:1] * 24, log_moves=False), 3)
        p_values += [f.p_value for f in observers.Answering().conclude(world) if f.metric == kind]
    assert len(p_values) == 40
    assert np.mean(np.array(p_values) < 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 40)


def test_tit_for_tat_is_found_to_answer() -> None:
    world = played(games(n_agents=24, strategies="TFT, RANDOM", personas=PEOPLE[:1] * 24, log_moves=False), 5)
    found = {f.metric: f for f in observers.Answering().conclude(world)}
    assert found["direct"].p_value < 0.02
    assert found["direct"].gap > 0.2


def test_cooperation_is_told_by_thirds_of_a_trait(tmp_path: Path) -> None:
    run = sw.run("matrix_games", out=tmp_path / "run", n_agents=30, steps=40, seed=1)
    rows = {f["metric"]: f for f in run.findings.filter(pl.col("observer") == "persona_effects").to_dicts()}
    low, middle, high = (rows[f"rate_{word}_A"] for word in ("low", "middle", "high"))
    assert low["value"] < middle["value"] < high["value"]
    assert max(low["p_value"], high["p_value"]) < 0.05
    state = run.state(40).sort("id")
    assert sum(one["n"] for one in (low, middle, high)) == 30
    rates = (state["cooperated"] / state["moves"]).to_numpy()
    assert min(rates) <= low["value"] <= high["value"] <= max(rates)


# Language models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["tie", "agent"])
def test_language_models_play(scope: str, tmp_path: Path) -> None:
    with ModelServer() as server:
        run = sw.run(
            "matrix_games", model="local/scripted", api_base=server.base, out=tmp_path / "run", steps=3, seed=1,
            n_agents=6, scope=scope, reputation=True, noise=0.1,
        )  # fmt: skip
    asked = 6 * 4 if scope == "tie" else 6
    assert run.answers["asked"].sum() == 3 * asked
    assert run.answers["refused"].sum() == 0
    texts = run.calls.filter(pl.col("step") == 3)["user"].to_list()
    assert all("% of all earlier moves" in text for text in texts)
    assert all(("In your last round together" if scope == "tie" else "Your last move was") in text for text in texts)
    assert not any(word in text for text in texts for word in ("ALLC", "PERSONA", "strategy"))
    system = run.calls["system"].to_list()[0]
    assert "you D, your partner C: 5 for you, 0 for your partner" in system
    assert run.verify()


def test_malformed_answers_make_matches_void(tmp_path: Path) -> None:
    with ModelServer(bad_agents=(0,)) as server:
        run = sw.run(
            "matrix_games", model="local/scripted", api_base=server.base, out=tmp_path / "run", steps=3, seed=1,
            n_agents=6, asking={"attempts": 1},
        )  # fmt: skip
    refusals = run.events.filter(pl.col("kind") == "refusal")
    assert set(refusals["agent"]) == {0}
    assert {json.loads(data)["decision"] for data in refusals["data"]} == {"Move"}
    void = run.metrics["void"].to_list()
    degree = run.state(3, "sides").filter(pl.col("player") == 0).height
    assert void == [0, degree, degree, degree]
    state = run.state(3).sort("id")
    assert state["moves"][0] == state["payoff"][0] == 0
    assert refusals.height == 3 * degree


def test_a_language_model_among_rules(tmp_path: Path) -> None:
    with ModelServer(fixed='{"play_c": false}') as server:
        run = sw.run(
            "matrix_games", api_base=server.base, out=tmp_path / "run", steps=4, seed=1, n_agents=6,
            strategies="TFT", seats={"2": "local/defector"},
        )  # fmt: skip
    state = run.state(4).sort("id")
    assert state["cooperated"][2] == 0
    sides = run.state(4, "sides").filter(pl.col("partner") == 2)
    assert sides["cooperated"].to_list() == [1] * sides.height
    assert set(run.calls["agent"]) == {2}

"""The donor game: schedule, ledger, trace and selection as specified, constant giving in closed form, every mind."""

from __future__ import annotations

import importlib
import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
from simworld.mind import Question, RuleMind
from simworld.persona import trait_z
from simworld.rng import Draws
from simworld.run import Run
from simworld.scenario import load, resolve
from tests.server import ModelServer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

World = load(resolve("donor_game"))
PACKAGE = World.__module__.rpartition(".")[0]
decisions, schedule, theory, rules, observers, lineage_script, moves_script, compare = (
    importlib.import_module(f"{PACKAGE}.{name}")
    for name in ("decisions", "schedule", "theory", "rules", "observers", "lineage", "moves", "compare")
)
Move, MoveView, Strategy, StrategyView, Vector, Advisor, Act = (
    getattr(decisions, name)
    for name in ("Move", "MoveView", "Strategy", "StrategyView", "Vector", "Advisor", "Act")
)  # fmt: skip
FOLDER = Path(__file__).parents[2] / "scenarios" / "donor_game"
PEOPLE = sw.sample_population(60, 1)
COLUMNS = ("generation", "game", "round", "donor", "recipient", "held", "other_held", "amount", "share", "lost")


def society(**options: Any) -> Any:
    return World(**{"rng": 1, "personas": PEOPLE[: options.get("n_agents", 12)], **options})


def played(**options: Any) -> Any:
    """A society at its end."""
    world = society(**options)
    while world.running:
        world.step()
    return world


def log(world: Any) -> list[dict[str, Any]]:
    """Every act, oldest first."""
    table = world.tables["moves"]
    kinds = table.text("kind").tolist()
    rows = zip(*(table[name].tolist() for name in COLUMNS), strict=True)
    return [{**dict(zip(COLUMNS, row, strict=True)), "kind": kind} for row, kind in zip(rows, kinds, strict=True)]


def finals(world: Any, generation: int | None = None) -> np.ndarray:
    """Final resources, shape (2, n)."""
    return observers.finals(world, generation or world.globals.generation)


def csv_of(header: str, rows: Sequence[Sequence[Any]]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)])


def draws(rng: np.random.Generator) -> Draws:
    """The draws of one agent, from a generator."""
    (only,) = Draws(lambda k: [rng.random()]).each(1)
    return only


class Spy:
    """Rules decide; every question and its answers are kept, and ``change`` may put another move in their place."""

    label = "spy"

    def __init__(self, change: Callable[[int, Any, Any], Any] | None = None, **params: Any) -> None:
        self._mind = RuleMind(rules.policies(World.Params(**params))["rules"], self.label)
        self._change = change
        self.seen: list[tuple[int, int, Any, Any]] = []
        """Step, agent, observation, answer."""

    def decide(self, question: Question) -> sw.Answers:
        answers = self._mind.decide(question)
        views = list(question.observations())
        if question.decision is Move and self._change is not None:
            changed = [
                self._change(i, view, one) for i, view, one in zip(question.ids.tolist(), views, answers, strict=True)
            ]
            answers = sw.Answers(question, changed)
        self.seen += [
            (question.step, i, view, one)
            for i, view, one in zip(question.ids.tolist(), views, answers, strict=True)
        ]  # fmt: skip
        return answers

    def of(self, kind: Any) -> list[tuple[int, int, Any, Any]]:
        return [row for row in self.seen if isinstance(row[2], kind)]


# Constant giving ------------------------------------------------------------------------------------------------------


def by_recursion(f: float, m: float, rounds: int, endowment: float) -> float:
    """Spec, in plain steps: v = (next donors, next recipients), M = [[m·f, 1], [1 − f, 0]], mean = ½·(1, 1)·M^R·v."""
    donors = recipients = endowment
    for _ in range(rounds):
        donors, recipients = m * f * donors + recipients, (1 - f) * donors
    return (donors + recipients) / 2


@settings(max_examples=25, deadline=None)
@given(
    f=st.floats(0, 1), m=st.floats(0, 4), rounds=st.integers(1, 14), endowment=st.floats(0, 50),
    n=st.sampled_from([2, 4, 10]), seed=st.integers(0, 5),
)  # fmt: skip
def test_constant_giving_is_the_closed_form(
    f: float, m: float, rounds: int, endowment: float, n: int, seed: int
) -> None:
    world = played(
        rng=seed, n_agents=n, generations=1, rounds=rounds, multiplier=m, endowment=endowment, mind=f"always({f!r})"
    )
    expected = by_recursion(f, m, rounds, endowment)
    assert theory.constant_giving(f, m, rounds, endowment) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert finals(world).mean(axis=1) == pytest.approx([expected] * 2, rel=1e-9, abs=1e-9)


@given(f=st.floats(0, 1), m=st.floats(0, 4))
def test_growth_is_the_largest_eigenvalue(f: float, m: float) -> None:
    values = np.linalg.eigvals(np.array([[m * f, 1], [1 - f, 0]]))
    assert theory.growth(f, m) == pytest.approx(max(abs(values)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("rules_, expected", [("paper", 30_720.0), ("released_code", 15_360.0)])
def test_the_most_that_can_be_reached(rules_: str, expected: float) -> None:
    """Spec: (1 + m)·E·m^(R − 1)/2 = 3·10·2^11/2; under the released schedule half of it."""
    world = played(generations=2, mind="always(1)", rules=rules_)
    assert (finals(world, 1).mean(axis=1) == expected).all()
    assert (finals(world, 2).mean(axis=1) == expected).all()
    assert theory.full_cooperation(2, 12, 10) == 3 * 10 * 2**11 / 2 == 30_720
    assert theory.constant_giving(1, 2, 12, 10) == 30_720


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_nobody_gives_nobody_changes(rules_: str) -> None:
    world = society(generations=2, mind="always(0)", rules=rules_)
    while world.running:
        world.step()
        assert (world.column("resources") == 10.0).all()
    assert (finals(world, 1) == 10.0).all()
    assert (finals(world, 2) == 10.0).all()


def test_uniform_giving_has_the_expectation_of_one_half() -> None:
    """Holdings are linear in every share, shares are independent with mean ½: the expectation is that of f = ½."""
    means = [
        finals(played(rng=seed, n_agents=40, generations=1, rounds=6, mind="null")).mean(axis=1) for seed in range(30)
    ]
    x = np.concatenate(means)
    expected = by_recursion(0.5, 2, 6, 10)
    assert x.mean() == pytest.approx(expected, abs=4 * x.std(ddof=1) / math.sqrt(len(x)))


# Who meets whom -------------------------------------------------------------------------------------------------------


def game(n: int, rounds: int, rules_: str = "paper", seed: int = 0) -> np.ndarray:
    return schedule.construction(n, rounds, np.random.default_rng(seed), rules_)


@pytest.mark.parametrize("n", [2, 4, 6, 10, 12, 14, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_construction(n: int, seed: int) -> None:
    """Spec: n/2 disjoint pairs a round, strict alternation, cross-half pairs, each ordered pair once if R <= n."""
    pairs = game(n, n, seed=seed)
    assert pairs.shape == (n, n // 2, 2)
    assert all(sorted(one.ravel().tolist()) == list(range(n)) for one in pairs)
    donors = [set(one[:, 0].tolist()) for one in pairs]
    assert all(a.isdisjoint(b) for a, b in itertools.pairwise(donors))
    assert len({frozenset(d) for d in donors}) == 2
    ordered = Counter(map(tuple, pairs.reshape(-1, 2).tolist()))
    assert set(ordered.values()) == {1}
    assert len(ordered) == n * n // 2  # every ordered cross pair
    assert max(Counter(map(tuple, game(n, n + 1).reshape(-1, 2).tolist())).values()) == 2


def test_the_two_directions_of_a_pair_are_at_least_5_rounds_apart() -> None:
    at = {tuple(pair): r for r, one in enumerate(game(12, 12).tolist()) for pair in one}
    assert {abs(r - at[recipient, donor]) for (donor, recipient), r in at.items()} == {5, 7}


def test_the_released_schedule() -> None:
    """Spec: donor halves A B A B A B B A B A B A, every pair meets exactly twice."""
    pairs = game(12, 12, "released_code")
    first = set(pairs[0, :, 0].tolist())
    assert "".join("A" if set(one[:, 0].tolist()) == first else "B" for one in pairs) == "ABABABBABABA"
    unordered = Counter(tuple(sorted(pair)) for pair in pairs.reshape(-1, 2).tolist())
    assert len(unordered) == 36
    assert set(unordered.values()) == {2}
    assert (pairs[6:] == pairs[:6, :, ::-1]).all()


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_a_society_keeps_to_its_schedule(rules_: str) -> None:
    world = played(generations=3, rules=rules_)
    acts = log(world)
    assert len(acts) == 3 * 2 * 12 * 6
    games: dict[tuple[int, int], list[list[tuple[int, int]]]] = {}
    for (g, k), rows in itertools.groupby(acts, key=lambda a: (a["generation"], a["game"])):
        by_round = [list(one) for _, one in itertools.groupby(rows, key=lambda a: a["round"])]
        assert [one[0]["round"] for one in by_round] == list(range(1, 13))
        games[g, k] = [sorted((a["donor"], a["recipient"]) for a in one) for one in by_round]
    for g in (1, 2, 3):
        assert games[g, 2] == [sorted((r, d) for d, r in one) for one in games[g, 1]]
        last = {r for _, r in games[g, 1][-1]} | {r for _, r in games[g, 2][-1]}
        assert len(last) == 12  # everybody is once a recipient in a final round
    slot = world.table["slot"]
    as_slots = [[sorted((int(slot[d]), int(slot[r])) for d, r in one) for one in games[g, 1]] for g in (1, 2, 3)]
    assert as_slots[0] != as_slots[1] != as_slots[2]  # labelled anew in every generation


# The ledger and the trace ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {}, {"mind": "null", "punishment": True, "partner_choice": True}, {"noise": 0.5, "multiplier": 1.5},
    {"mind": ["always(0)", "always(1)", *["rules"] * 10], "punishment": True}, {"mind": "null", "multiplier": 0.5},
])  # fmt: skip
def test_the_ledger_of_every_round(options: dict[str, Any]) -> None:
    """Spec: change in total = Σ(m − 1)·x over donations − Σ[x + min(2x, target's holding)] over punishments."""
    world, punished = society(**{"generations": 2, **options}), 0
    m = world.params.multiplier
    before = world.column("resources").sum()
    while world.running:
        first = world.tables["moves"].n
        world.step()
        acts = log(world)[first:]
        if acts[0]["round"] == 1:
            before = 12 * 10.0
        change = sum((m - 1) * a["amount"] for a in acts if a["kind"] == "donate")
        for a in acts:
            assert 0.0 <= a["amount"] <= a["held"]
            if a["kind"] == "punish":
                assert a["lost"] == min(2 * a["amount"], a["other_held"])
                change -= a["amount"] + min(2 * a["amount"], a["other_held"])
                punished += 1
            if a["kind"] == "refuse":
                assert a["amount"] == 0.0
        after = world.column("resources")
        assert after.sum() == pytest.approx(before + change, rel=1e-9, abs=1e-9)
        assert after.min() >= 0.0
        before = after.sum()
    assert bool(punished) == world.params.punishment


def test_all_donors_decide_on_the_state_at_the_start_of_the_round() -> None:
    spy = Spy()
    world = society(generations=1, mind=spy)
    for _ in range(24):
        held = world.table["resources"].copy() if world.t % 12 else np.full(12, 10.0)
        known = len(spy.seen)
        world.step()
        for _, agent, view, _ in (row for row in spy.seen[known:] if isinstance(row[2], MoveView)):
            assert view.resources == held[agent]
            assert view.recipient_resources == held[view.recipient]


SQUARE = [
    (1, 0, 1), (1, 2, 3), (2, 1, 2), (2, 3, 0), (3, 2, 1), (3, 0, 3), (4, 3, 2), (4, 1, 0), (5, 2, 0), (5, 1, 3),
]  # fmt: skip
"""Round, donor, recipient of four players."""


def test_a_trace_worked_by_hand() -> None:
    """2's donor in round 4 sees what 2 gave to 1 in round 3, 1 before that to 2: there it would come back, and ends."""
    pairs = csv_of("generation,game,round,donor,recipient", [(1, 1, *row) for row in SQUARE])
    given = {(r, d): round(0.1 * r + 0.01 * d, 2) for r, d, _ in SQUARE}
    swapped = {(r, d): 0.5 for r, _, d in SQUARE}
    moves = csv_of(
        "generation,game,round,donor,share",
        [(1, 1, r, d, s) for (r, d), s in given.items()] + [(1, 2, r, d, s) for (r, d), s in swapped.items()],
    )
    options = {"n_agents": 4, "generations": 1, "rounds": 5, "pairs": pairs, "moves": moves}
    world = society(mind="table", **options)
    traces: dict[tuple[int, int], Any] = {}
    view = world.view

    def seen(agent: int, other: int) -> Any:
        found = view(agent, other)
        traces[world.t, agent] = found.trace
        return found

    world.view = seen
    for _ in range(6):
        world.step()
    assert all(not traces[1, agent] for agent in (0, 2))
    assert traces[2, 1] == (Act(1, 2, 3, "donate", given[1, 2]),)
    assert traces[2, 3] == (Act(1, 0, 1, "donate", given[1, 0]),)
    # Of 1, the recipient of 2: 1 to 2 in round 2, then 2 to 3 in round 1, then 3 before that: nothing.
    assert traces[3, 2] == (Act(2, 1, 2, "donate", given[2, 1]), Act(1, 2, 3, "donate", given[1, 2]))
    # Of 2: 2 to 1 in round 3, 1 to 2 in round 2; it would come back to 2.
    assert traces[4, 3] == (Act(3, 2, 1, "donate", given[3, 2]), Act(2, 1, 2, "donate", given[2, 1]))
    # Of 0, the recipient of 1 in round 4: 0 to 3 in round 3, 3 to 0 in round 2; it would come back to 0.
    assert traces[4, 1] == (Act(3, 0, 3, "donate", given[3, 0]), Act(2, 3, 0, "donate", given[2, 3]))
    # Of 3, the recipient of 1 in round 5: 3 to 2 in round 4, 2 to 1 in round 3, 1 to 2 in round 2: three entries.
    assert [act.donor for act in traces[5, 1]] == [3, 2, 1]
    assert [act.share for act in traces[5, 1]] == [given[4, 3], given[3, 2], given[2, 1]]
    assert [trace for (step, _), trace in traces.items() if step == 6] == [(), ()]


@pytest.mark.parametrize("options", [
    {}, {"trace_depth": 1}, {"trace_depth": 6, "n_agents": 4}, {"rules": "released_code"},
    {"mind": "null", "punishment": True, "partner_choice": True},
])  # fmt: skip
def test_traces_are_chains_of_earlier_acts(options: dict[str, Any]) -> None:
    world = society(generations=2, **options)
    depth, lengths = world.params.trace_depth, set()
    while world.running:
        world.step()
        now = world.globals
        acts = {
            (a["round"], a["donor"]): a
            for a in log(world)
            if (a["generation"], a["game"]) == (now.generation, now.game)
        }
        for recipient in [r for (number, _), a in acts.items() if number == now.round for r in [a["recipient"]]]:
            trace = world.trace(recipient)
            lengths.add(len(trace))
            assert len(trace) <= depth
            assert now.round > 1 or not trace
            who, before = recipient, now.round
            for one in trace:
                assert one.donor == who
                assert one.round < before
                assert not [r for (r, d) in acts if d == who and one.round < r < before]  # its latest
                act = acts[one.round, who]
                assert (one.recipient, one.kind) == (act["recipient"], act["kind"])
                is_share = act["kind"] == "donate" and act["held"] > 0
                assert one.share == (act["share"] if is_share else None)
                who, before = one.recipient, one.round
            assert [one.donor for one in trace].count(recipient) <= 1
    assert max(lengths) == min(depth, 3) or options.get("n_agents") == 4
    assert 0 in lengths


def test_nothing_of_game_1_is_known_in_game_2() -> None:
    """0 and 2 give twice at first, so in round 2 of game 2 they have given in game 1 alone."""
    rows = [(1, 0, 1), (1, 2, 3), (2, 0, 3), (2, 2, 1), (3, 1, 2), (3, 3, 0)]
    pairs = csv_of("generation,game,round,donor,recipient", [(1, 1, *row) for row in rows])
    spy = Spy()
    world = society(n_agents=4, rounds=3, generations=1, pairs=pairs, mind=spy)
    while world.running:
        world.step()
    traces = {(step, view.recipient): view.trace for step, _, view, _ in spy.of(MoveView)}
    assert all(traces[step, agent] == () for step, agent in [(1, 1), (1, 3), (4, 0), (4, 2), (5, 0), (5, 2)])
    assert [act.round for act in traces[6, 1]] == [2]
    assert [act.round for act in traces[3, 2]] == [2]


def test_who_held_nothing_gave_no_share() -> None:
    """Under the released schedule who gave all in round 6 gives again in round 7, and holds nothing."""
    world = society(rules="released_code", mind="always(1)", generations=1)
    for _ in range(8):
        world.step()
    empty = [a for a in log(world) if a["held"] == 0.0]
    assert {a["round"] for a in empty} == {7}
    assert len(empty) == 6
    assert all(math.isnan(a["share"]) and a["amount"] == 0.0 for a in empty)
    assert {world.trace(a["donor"])[0] for a in empty} == {
        Act(7, a["donor"], a["recipient"], "donate", None) for a in empty
    }  # fmt: skip


# Decisions that are not what they should be ---------------------------------------------------------------------------


def test_an_amount_out_of_range_is_clipped_and_counted() -> None:
    def change(agent: int, view: Any, answer: Any) -> Any:
        return Move(amount={0: -4.0, 1: 1e6, 2: view.resources + 0.004}.get(agent, 0.0))

    world = society(generations=1, mind=Spy(change))
    world.drain()
    world.step()
    world.step()
    events = [(k, a, v) for chunk in world.drain().events for k, a, v in rows_of(chunk, "kind", "agent", "value")]
    acts = {a["donor"]: a for a in log(world)}
    assert (acts[0]["amount"], acts[1]["amount"]) == (0.0, acts[1]["held"])
    assert acts[2]["amount"] == acts[2]["held"]  # as it was shown, to two decimals
    assert sorted((a, v) for k, a, v in events if k == "clip") == [(0, -4.0), (1, 1e6)]
    assert np.count_nonzero(world.tables["moves"]["clipped"]) == 2


def rows_of(chunk: Any, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(chunk.columns[name] for name in names), strict=True))


def test_under_released_code_it_is_refused_and_nothing_is_given() -> None:
    world = society(
        generations=1, rules="released_code", mind=Spy(lambda i, view, one: Move(amount=view.resources + 1))
    )
    world.step()
    assert world.happened["refusal"] == 6
    assert world.happened["donate"] == 6
    assert (world.table["resources"] == 10.0).all()
    assert np.isnan(world.tables["moves"]["meant"]).all()


@pytest.mark.parametrize("options, refusals", [({}, 6), ({"punishment": True}, 3), ({"partner_choice": True}, 3)])
def test_what_is_not_possible_is_refused(options: dict[str, bool], refusals: int) -> None:
    kinds = itertools.cycle(("punish", "refuse"))
    world = society(
        generations=1, mind=Spy(lambda i, view, one: Move(action=next(kinds), amount=0.0), **options), **options
    )
    world.step()
    assert world.happened["refusal"] == refusals
    assert Counter(a["kind"] for a in log(world))["donate"] == refusals


class Silent:
    """Refuses every strategy."""

    label = "silent"

    def decide(self, question: Question) -> sw.Answers:
        if question.decision is Move:
            return RuleMind(rules.policies(World.Params())["rules"], self.label).decide(question)
        no = sw.Refusal(decision="Strategy", field="", reason="no")
        return sw.Answers(question, [no] * len(question.ids))


def test_a_refused_strategy() -> None:
    """Spec: generation 1 has none; later the best survivor's."""
    world = society(generations=2, rounds=2, mind=["rules", *[Silent()] * 11])
    while world.running:
        world.step()
    founders = world.table["generation"] == 1
    silent = np.array([world.mind_label(i) == "silent" for i in range(world.table.n)])
    assert set(world.table["strategy"][silent & founders]) == {"no strategy"}
    assert [world.vector(i) for i in np.flatnonzero(silent & founders).tolist()] == [Vector()] * 11
    standings = world.tables["standings"]
    best = int(standings["player"][(standings["generation"] == 1) & (standings["rank"] == 1)][0])
    late = np.flatnonzero(silent & ~founders)
    assert len(late) > 0
    assert set(world.table["copied_from"][late].tolist()) == {best}
    assert set(world.table["strategy"][late]) == {world.table["strategy"][best]}
    assert all(world.vector(i) == world.vector(best) for i in late.tolist())


def test_nobody_can_take_over_the_strategy_of_somebody_they_were_not_shown() -> None:
    view = StrategyView(2, (Advisor(3, "Give.", 1.0, Vector()),))
    check = importlib.import_module(f"{PACKAGE}.world").strategy_check
    assert check(0, Strategy(strategy_text="x", copied_from=3), view) is None
    assert check(0, Strategy(strategy_text="x"), view) is None
    assert check(0, Strategy(strategy_text="x", copied_from=4), view)[0] == "copied_from"
    assert check(0, Strategy(strategy_text="x", copied_from=4), StrategyView(1, ()))[0] == "copied_from"


@pytest.mark.parametrize("text, fits", [("", False), ("x", True), ("x" * 600, True), ("x" * 601, False)])
def test_the_length_of_a_strategy(text: str, fits: bool) -> None:
    if fits:
        assert Strategy(strategy_text=text).strategy_text == text
    else:
        with pytest.raises(ValueError, match="strategy_text"):
            Strategy(strategy_text=text)
    assert Strategy(strategy_text="x", justification=None).justification == ""
    assert list(Move.model_json_schema()["properties"]) == ["justification", "action", "amount"]


# The rule policy ------------------------------------------------------------------------------------------------------


def test_the_share_by_hand() -> None:
    """Spec: f = clip(g0·(1 − α − β) + α·y1 + β·ȳ23 + φ, 0, cap), missing entries replaced by g0."""
    v = Vector(g0=0.4, alpha=0.5, beta=0.2, phi=0.02)
    share = rules.share_given
    assert share(v, [0.9, 0.6, 0.2], 3) == pytest.approx(
        0.4 * 0.3 + 0.5 * 0.9 + 0.2 * (0.6 + 0.2) / 2 + 0.02, abs=1e-12
    )
    assert share(v, [], 3) == pytest.approx(0.4 + 0.02, abs=1e-12)
    assert share(v, [0.9], 3) == pytest.approx(0.4 * 0.3 + 0.5 * 0.9 + 0.2 * 0.4 + 0.02, abs=1e-12)
    assert share(v, [0.9, 0.6], 3) == pytest.approx(0.12 + 0.45 + 0.2 * (0.6 + 0.4) / 2 + 0.02, abs=1e-12)
    assert share(v, [None, 0.6, None], 3) == pytest.approx(0.12 + 0.5 * 0.4 + 0.2 * (0.6 + 0.4) / 2 + 0.02, abs=1e-12)
    assert share(v, [0.9], 1) == pytest.approx(0.12 + 0.45 + 0.2 * 0.4 + 0.02, abs=1e-12)
    assert share(Vector(g0=0.9, phi=0.5), [1.0, 1.0, 1.0], 3) == 1.0
    assert share(Vector(g0=0.9, phi=0.5, cap=0.3), [1.0, 1.0, 1.0], 3) == 0.3


def person(**z: float) -> sw.Persona:
    """Somebody of average traits but for these, in standard units."""
    names = {"O": "openness", "C": "conscientiousness", "E": "extraversion", "A": "agreeableness", "N": "neuroticism"}
    scores = [
        {"model": "big5", "trait": name, "value": 3 + z.get(letter, 0.0) * 4 / 6, "lo": 1.0, "hi": 5.0}
        for letter, name in names.items()
    ]
    if "H" in z:
        scores.append(
            {"model": "hexaco", "trait": "honesty-humility", "value": 3 + z["H"] * 4 / 6, "lo": 1.0, "hi": 5.0}
        )
    return sw.Persona.model_validate(
        {
            "id": "p",
            "name": "P",
            "traits": scores,
            "demographics": {"age": 40},
            "provenance": {"source": "test", "rights": "open"},
        }
    )


def first_strategy(persona: sw.Persona | None, **params: Any) -> Any:
    policy = rules.policies(World.Params(**params))["rules"][Strategy]
    return policy(persona, StrategyView(1, ()), None, draws(np.random.default_rng(0))).params


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    "z", [{}, {"A": 2.0}, {"A": -3.0, "N": 1.5}, {"H": 1.0, "N": -3.0}, {"A": 0.5, "H": -2.0, "N": 3.0}]
)
def test_the_first_strategy_by_hand(z: dict[str, float]) -> None:
    """Spec: g0 = σ(0.4·z_A + 0.3·z_H), α = clip(0.4 + 0.1·z_N), β = min(0.1, 1 − α), φ = max(0, 0.02 + 0.02·z_A)."""
    a, h, n = (z.get(letter, 0.0) for letter in "AHN")
    assert [trait_z(person(**z), letter) for letter in "AHN"] == pytest.approx([a, h, n], abs=1e-12)
    found = first_strategy(person(**z))
    alpha = min(max(0.4 + 0.1 * n, 0.0), 1.0)
    assert found.g0 == pytest.approx(logistic(0.4 * a + 0.3 * h), abs=1e-12)
    assert found.alpha == pytest.approx(alpha, abs=1e-12)
    assert found.beta == pytest.approx(min(0.1, 1 - alpha), abs=1e-12)
    assert found.phi == pytest.approx(max(0.0, 0.02 + 0.02 * a), abs=1e-12)
    assert (found.cap, found.tau, found.kappa) == (1.0, 0.1, 0.05)
    assert first_strategy(None) == Vector(g0=0.5)
    assert first_strategy(person(N=3.0), alpha=0.9).beta == 0.0


def view_of(trace: tuple[Any, ...], vector: Any = None, resources: float = 20.0) -> Any:
    return MoveView(1, 1, 4, 0, "x", vector or Vector(), resources, 5, 7.0, trace)


def test_who_gave_too_little_is_punished_where_that_is_possible() -> None:
    """Spec: if y1 < τ, punish with x = κ·resources instead; τ = 0.1, κ = 0.05."""
    for punishment in (False, True):
        move = rules.policies(World.Params(punishment=punishment))["rules"][Move]
        mean, kind = (
            move(None, view_of((Act(3, 5, 1, "donate", 0.09),)), None, None),
            "punish" if punishment else "donate",
        )
        assert mean.action == kind
        assert not punishment or mean.amount == pytest.approx(0.05 * 20, abs=1e-12)
        for trace in ((), (Act(3, 5, 1, "donate", 0.1),), (Act(3, 5, 1, "punish", None), Act(2, 1, 4, "donate", 0.0))):
            assert move(None, view_of(trace), None, None).action == "donate"


def test_strategies_are_copied_in_proportion_to_scores_and_mutate() -> None:
    """Payoff-biased copying: probability score / Σ scores; then g0 + N(mu, sigma); 4 standard errors."""
    mu, sigma, n = 0.03, 0.05, 6000
    policy = rules.policies(World.Params(mu_mut=mu, sigma_mut=sigma))["rules"][Strategy]
    scores = {3: 5.0, 4: 0.0, 9: 15.0, 11: 30.0}
    view = StrategyView(2, tuple(Advisor(i, "x", s, Vector(g0=0.5, phi=i / 100)) for i, s in scores.items()))
    rng = np.random.default_rng(4)
    found = [policy(person(A=3.0), view, None, draws(rng)) for _ in range(n)]
    counts = Counter(one.copied_from for one in found)
    for agent, score in scores.items():
        p = score / 50
        assert counts[agent] / n == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    assert all(one.params.phi == one.copied_from / 100 for one in found)
    step = np.array([one.params.g0 - 0.5 for one in found])
    assert step.mean() == pytest.approx(mu, abs=4 * sigma / math.sqrt(n))
    assert step.std(ddof=1) == pytest.approx(sigma, abs=4 * sigma / math.sqrt(2 * n))
    blind = StrategyView(2, tuple(one._replace(score=None) for one in view.survivors))
    found = [policy(None, blind, None, draws(rng)) for _ in range(2000)]
    for agent in scores:
        assert np.mean([one.copied_from == agent for one in found]) == pytest.approx(
            0.25, abs=4 * math.sqrt(0.1875 / 2000)
        )
    broke = StrategyView(2, tuple(one._replace(score=0.0) for one in view.survivors))
    assert {policy(None, broke, None, draws(rng)).copied_from for _ in range(100)} == set(scores)


def test_a_strategy_in_words_says_what_it_is_in_numbers() -> None:
    assert (
        rules.sentence(Vector(g0=0.3, alpha=0, beta=0, phi=0), False)
        == "Give 30% of what I hold, whoever the recipient is."
    )
    text = rules.sentence(Vector(g0=0.6, alpha=0.35, beta=0.15, phi=0.04, cap=0.8, tau=0.12, kappa=0.07), True)
    for number in ("64%", "35%", "15%", "80%", "12%", "7%"):
        assert number in text
    assert "punish" not in rules.sentence(Vector(), False)
    world = played(generations=2)
    for agent in range(world.table.n):
        assert world.table["strategy"][agent] == rules.sentence(world.vector(agent), False)
        assert 1 <= len(world.table["strategy"][agent]) <= 600


# Generations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
@pytest.mark.parametrize("fraction, kept", [(0.5, 6), (0.25, 3), (1.0, 12), (0.01, 1)])
def test_who_survives_and_who_comes(rules_: str, fraction: float, kept: int) -> None:
    spy = Spy()
    world = society(generations=3, rounds=4, rules=rules_, survival_fraction=fraction, mind=spy)
    while world.running:
        world.step()
    standings = {name: world.tables["standings"][name] for name in world.tables["standings"].columns}
    before: set[int] = set(range(12))
    for g in (1, 2, 3):
        at = np.flatnonzero(standings["generation"] == g)
        assert set(standings["player"][at].tolist()) == before
        one, two, score, rank = (standings[name][at] for name in ("final_1", "final_2", "score", "rank"))
        assert score == pytest.approx((one + two) / 2 if rules_ == "paper" else 2 * two, rel=1e-12)
        assert sorted(rank.tolist()) == list(range(1, 13))
        assert (np.diff(score[np.argsort(rank)]) <= 0).all()
        assert (standings["survives"][at] == (rank <= kept)).all()
        survivors = set(standings["player"][at][rank <= kept].tolist())
        newcomers = set(np.flatnonzero(world.table["generation"] == g + 1).tolist())
        assert len(newcomers) == (0 if g == 3 else 12 - kept)
        assert {world.table["advice_from"][i] for i in newcomers} <= {json.dumps(sorted(survivors))}
        assert {int(world.table["copied_from"][i]) for i in newcomers} <= survivors
        if g < 3:
            slots = world.table["slot"]
            assert sorted(slots[list(survivors | newcomers)].tolist()) == list(range(12))
            before = survivors | newcomers
    assert set(world.ids.tolist()) == before
    assert (world.table["copied_from"][:12] == -1).all()
    asked = [agent for _, agent, _, _ in spy.of(StrategyView)]
    assert sorted(asked) == list(range(world.table.n))  # once in a lifetime
    shown = [view for _, _, view, _ in spy.of(StrategyView) if view.generation > 1]
    assert all((one.score is not None) == (rules_ == "paper") for view in shown for one in view.survivors)
    for view in shown:
        at = standings["generation"] == view.generation - 1
        scores = dict(zip(standings["player"][at].tolist(), standings["score"][at].tolist(), strict=True))
        assert all(one.score in (None, scores[one.agent]) for one in view.survivors)


def test_ties_are_broken_at_random() -> None:
    """Nobody gives, so all end with the same: each survives in half of the societies."""
    n, seeds = 12, 60
    survived = np.array([
        played(rng=seed, generations=1, rounds=1, mind="always(0)").table["survives"] for seed in range(seeds)
    ])  # fmt: skip
    assert survived.sum(axis=1).tolist() == [6] * seeds
    assert survived.mean(axis=0) == pytest.approx(np.full(n, 0.5), abs=4 * math.sqrt(0.25 / seeds))
    assert len({tuple(row) for row in survived.tolist()}) > seeds / 2


def test_the_inheritance_null_shows_anybody_and_no_score() -> None:
    shown, dead = [], 0
    for seed in range(6):
        spy = Spy()
        world = society(rng=seed, generations=2, rounds=2, inheritance="random", mind=spy)
        while world.running:
            world.step()
        views = [view for _, _, view, _ in spy.of(StrategyView) if view.generation == 2]
        assert len(views) == 6
        assert {one.score for view in views for one in view.survivors} == {None}
        ids = [one.agent for one in views[0].survivors]
        assert len(set(ids)) == 6
        dead += int(np.count_nonzero(~world.table["alive"][ids]))
        shown.append(tuple(ids))
    assert 0 < dead < 36
    assert len(set(shown)) > 1


def test_drift_lets_anybody_survive() -> None:
    options = {"generations": 1, "rounds": 4, "mind": ["always(1)"] * 6 + ["always(0)"] * 6}
    poor = [played(rng=s, selection=how, **options) for how in ("score", "random") for s in range(8)]
    below = [int(np.sum(w.table["survives"] & (w.table["score"] < np.median(w.table["score"])))) for w in poor]
    assert not any(below[:8])
    assert any(below[8:])


def test_without_conditioning_giving_does_not_pay() -> None:
    """Expectation of the spec: with α = β = 0 selection drives shares down; within a game nothing comes back."""
    people = [person(A=z) for z in np.linspace(-3, 3, 40)]
    found = {
        name: np.array([
            finding(played(rng=seed, n_agents=40, generations=1, personas=people, **options), "selection").value
            for seed in range(6)
        ])
        for name, options in {"blind": {"alpha": 0.0, "beta": 0.0}, "conditional": {"alpha": 0.8}}.items()
    }  # fmt: skip
    blind = found["blind"]
    assert blind.mean() < -4 * blind.std(ddof=1) / math.sqrt(len(blind))
    assert found["conditional"].mean() > blind.mean()


def test_the_hand_trembles() -> None:
    """Selten 1975: with probability p a donation is of a uniform share; 4 standard errors."""
    p = 0.3
    world = played(n_agents=60, generations=2, noise=p, mind="always(0.8)", personas=PEOPLE)
    table = world.tables["moves"]
    slip, n = table["slip"], table.n
    assert slip.mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))
    assert table["share"][~slip] == pytest.approx(np.full(n - slip.sum(), 0.8), abs=1e-12)
    assert table["share"][slip].mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / slip.sum()))
    assert table["meant"] == pytest.approx(0.8 * table["held"], abs=1e-9)
    assert not played(generations=1).tables["moves"]["slip"].any()


# Labels mean nothing --------------------------------------------------------------------------------------------------


def test_permuting_labels_permutes_results() -> None:
    """Agents and the table of pairs relabelled together: everybody ends as before under another number."""
    n, order = 12, np.random.default_rng(3).permutation(12)
    pairs = game(n, 12)

    def text(name: Any) -> str:
        rows = [(1, 1, r + 1, name[d], name[k]) for r, one in enumerate(pairs.tolist()) for d, k in one]
        return csv_of("generation,game,round,donor,recipient", rows)

    people = PEOPLE[:n]
    one = played(generations=1, personas=people, pairs=text(np.arange(n)))
    other = played(generations=1, personas=[people[i] for i in np.argsort(order)], pairs=text(order))
    assert finals(other)[:, order] == pytest.approx(finals(one), rel=1e-9)
    for metric in ("mean_final", "share", "gini"):
        assert finding(other, metric).value == pytest.approx(finding(one, metric).value, rel=1e-9)


def test_no_slot_is_better_than_another() -> None:
    """Everybody gives half, the construction labels halves at random: final holdings by slot have the same mean."""
    ends = np.array([finals(played(rng=seed, generations=1, mind="always(0.5)"))[0] for seed in range(60)])
    centred = ends - ends.mean(axis=1, keepdims=True)
    error = centred.std(ddof=1) / math.sqrt(len(ends))
    assert centred.mean(axis=0) == pytest.approx(np.zeros(12), abs=4 * error)
    assert centred.std() > 1.0


# Traits ---------------------------------------------------------------------------------------------------------------


def moved(letter: str, value: float, **options: Any) -> Any:
    """A society in which everybody has this score of one trait, on the scale from 1 to 5."""
    names = {"O": "openness", "C": "conscientiousness", "E": "extraversion", "A": "agreeableness", "N": "neuroticism"}
    people = [
        p.model_copy(update={"traits": tuple(
            t.model_copy(update={"value": value}) if t.trait == names[letter] else t for t in p.traits
        )})
        for p in PEOPLE[:12]
    ]  # fmt: skip
    return played(generations=1, personas=people, **options)


def test_agreeable_and_honest_people_give_more() -> None:
    low, high = (moved("A", value).tables["moves"]["share"] for value in (2.0, 4.5))
    assert high.mean() > low.mean() + 0.2
    assert (high[:6] > low[:6]).all()  # to strangers
    modest, greedy = (first_strategy(person(H=z)) for z in (2.0, -2.0))
    assert modest.g0 > greedy.g0 + 0.2
    assert modest.model_copy(update={"g0": 0.5}) == greedy.model_copy(update={"g0": 0.5})


def test_neurotic_people_answer_more_closely() -> None:
    """α = 0.4 + 0.1·z_N: what everybody's share follows of the recipient's."""
    slopes = []
    for value in (1.5, 4.5):
        world = moved("N", value)
        acts = observers.log_of(world)
        slopes.append(np.nanmean([observers.slope(acts, agent) for agent in range(12)]))
    assert slopes[1] > slopes[0] + 0.2


@pytest.mark.parametrize("letter", ["O", "C", "E"])
@pytest.mark.parametrize("options", [{}, {"punishment": True, "noise": 0.2}])
def test_traits_that_no_rule_reads_change_nothing(letter: str, options: dict[str, Any]) -> None:
    worlds = [moved(letter, value, **options) for value in (1.0, 5.0)]
    for name in ("moves", "standings"):
        for column, values in worlds[0].tables[name].columns.items():
            np.testing.assert_array_equal(values, worlds[1].tables[name][column])
    assert (worlds[0].table["strategy"] == worlds[1].table["strategy"]).all()
    assert (moved("A", 1.0, **options).table["strategy"] != worlds[0].table["strategy"]).all()


def test_traits_are_found_and_vanish_when_personas_are_shuffled() -> None:
    found: dict[bool, list[float]] = {False: [], True: []}
    for shuffled, seed in itertools.product((False, True), range(6)):
        world = played(rng=seed, n_agents=60, generations=1, rounds=6, shuffle_personas=shuffled, personas=PEOPLE)
        found[shuffled] += [finding(world, "trait_A").value, finding(world, "trait_N").value]
    assert min(found[False]) > 0.5
    assert abs(np.mean(found[True])) < 4 / math.sqrt(60 * len(found[True]))
    assert max(np.abs(found[True])) < 0.5


def test_a_trait_nobody_has_is_no_finding() -> None:
    assert math.isnan(finding(played(generations=1), "trait_H").value)


# Scripted minds and tables --------------------------------------------------------------------------------------------


def test_copy_the_trace() -> None:
    """One gives all, the others copy: whoever meets a recipient that last gave x gives x, and ½ at first."""
    world = society(generations=1, mind=["always(1)", *["copy(0.5)"] * 11])
    while world.running:
        world.step()
    last: dict[tuple[int, int], float] = {}
    for act in log(world):
        game_, donor, recipient = act["game"], act["donor"], act["recipient"]
        expected = 1.0 if donor == 0 else last.get((game_, recipient), 0.5)
        assert act["share"] == pytest.approx(expected, abs=1e-12)
        # Donors of a round are not its recipients, so nothing of this round can have been seen.
        last[game_, donor] = act["share"]
    assert {round(s, 9) for s in last.values()} > {0.5}
    alike = played(generations=1, mind="copy(0.3)")
    assert finals(alike).mean() == pytest.approx(by_recursion(0.3, 2, 12, 10), rel=1e-9)


def test_scripted_minds_are_minds_like_any_other(tmp_path: Path) -> None:
    """By label on the command line; what they are as numbers plays the same under the rule."""
    run = sw.run(
        "donor_game", mind="always(0.3)", seats={"2": "copy(0.1)"}, seed=1, generations=2, out=tmp_path / "run"
    )
    assert run.status == "finished"
    assert run.steps == 48
    assert run.verify()
    strategies = run.state().sort("id")["strategy"].to_list()
    assert strategies[0] == "Give 30% of what I hold, whoever the recipient is."
    assert "10%" in strategies[2]
    for label in ("always(0.35)", "copy(0.2)"):
        by_label = played(generations=1, mind=label)
        vector = by_label.vector(0)
        as_rule = Spy(lambda i, view, one, vector=vector: Move(
            amount=rules.share_given(vector, [a.share for a in view.trace], 3) * view.resources
        ))  # fmt: skip
        assert finals(played(generations=1, mind=as_rule)) == pytest.approx(finals(by_label), rel=1e-9)


@pytest.mark.parametrize("mind, words", [
    ("always(3)", "write always(0.3)"), ("always()", "from 0 to 1"), ("always", "write always(0.3)"),
    ("copy(x)", "write copy(0.3)"), ("copy(nan)", "from 0 to 1"), ("table", "-p moves="),
    ("table(1)", "takes no argument"), ("alway(0.3)", "always"),
])  # fmt: skip
def test_minds_that_cannot_be(mind: str, words: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(words)):
        society(mind=mind)


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_a_run_by_rules_is_the_same_by_its_table_of_moves(rules_: str, tmp_path: Path) -> None:
    """Move by move: whoever plays the moves that were written down ends where they ended."""
    options: dict[str, Any] = {"generations": 3, "punishment": True, "partner_choice": True, "rules": rules_}
    run = sw.run("donor_game", seed=3, mind="null", out=tmp_path / "run", **options)
    table = moves_script.table_of(run)
    assert set(table["action"]) == {"donate", "punish", "refuse"}
    text = table.write_csv()
    again = played(rng=3, mind="table", pairs=text, moves=text, **options)
    assert "refusal" not in again.happened
    for g in (1, 2, 3):
        was = run.state(table="standings").filter(pl.col("generation") == g)
        slot = dict(run.state().select("id", "slot").iter_rows())
        by_slot = {slot[player]: [a, b] for player, a, b in was.select("player", "final_1", "final_2").iter_rows()}
        at = again.tables["standings"]["generation"] == g
        players = again.tables["standings"]["player"][at]
        slots = again.table["slot"][players].tolist()
        assert [list(end) for end in finals(again, g).T] == [
            pytest.approx(by_slot[s], rel=1e-9, abs=1e-12) for s in slots
        ]


def test_a_move_missing_in_the_table_is_a_refusal() -> None:
    moves = csv_of("generation,game,round,donor,share", [(1, 1, 1, slot, 0.5) for slot in range(11)])
    world = society(generations=1, rounds=2, mind="table", moves=moves)
    world.step()
    missing = int(11 in log_donors(world))
    assert world.happened.get("refusal", 0) == missing
    world.step()
    assert world.happened["refusal"] == 6
    assert world.happened["donate"] == 6


def log_donors(world: Any) -> list[int]:
    return [act["donor"] for act in log(world)]


def square(rows: Sequence[tuple[int, ...]], generations: tuple[int, ...] = (1,)) -> str:
    return csv_of("generation,game,round,donor,recipient", [(g, 1, *row) for g in generations for row in rows])


TWO = [(1, 0, 1), (1, 2, 3), (2, 1, 2), (2, 3, 0)]
"""Two rounds of four."""


def test_pairs_from_a_table() -> None:
    """Game 2 left out is game 1 with roles swapped; a generation that is not listed follows the construction."""
    options: dict[str, Any] = {"n_agents": 4, "rounds": 2, "generations": 2, "survival_fraction": 1.0}
    world = played(pairs=square(TWO), **options)
    acts = [(a["generation"], a["game"], a["round"], a["donor"], a["recipient"]) for a in log(world)]
    assert acts[:8] == [
        *((1, 1, *row) for row in TWO),
        (1, 2, 1, 1, 0),
        (1, 2, 1, 3, 2),
        (1, 2, 2, 0, 3),
        (1, 2, 2, 2, 1),
    ]
    plain = played(**options)
    assert acts[8:] == [(a["generation"], a["game"], a["round"], a["donor"], a["recipient"]) for a in log(plain)][8:]
    own = square(TWO) + "\n" + csv_of("", [(1, 2, r, d, k) for r, d, k in TWO]).strip()
    assert [a["donor"] for a in log(played(pairs=own, **options))][4:8] == [0, 2, 1, 3]
    spaced = square(TWO).replace(",", ", ").replace("\n", "\r\n\r\n")
    assert [a["donor"] for a in log(played(pairs=spaced, **options))] == [a["donor"] for a in log(world)]
    twice = society(pairs=square([(1, 0, 1), (1, 2, 3), (2, 0, 1), (2, 3, 2)]), **options)
    assert any("twice" in note for note in twice.notes)
    assert not any("twice" in note for note in world.notes)


@pytest.mark.parametrize("rows, words", [
    ([(1, 0, 4), (1, 2, 3)], "line 2: there is no slot 4, only 0 to 3"),
    ([(1, 0, 1), (1, 2, -1)], "line 3: there is no slot -1"),
    ([(1, 0, 1), (1, 2, 1)], "line 3: slot 1 is in generation 1, game 1, round 1 already, in line 2"),
    ([(1, 0, 0), (1, 2, 3)], "line 2: slot 0 gives to itself"),
    ([(1, 0, 1)], "generation 1, game 1, round 1 leaves out slot 2"),
    ([(1, 0, 1), (1, 2, 3)], "generation 1, game 1 has no round 2 of 2"),
    ([*TWO, (3, 0, 1)], "line 6: there is no round 3, only 1 to 2"),
    ([*TWO, (2, "x", 1)], "line 6: donor 'x' is no whole number"),
    ([(1, 0), (1, 2)], "line 2: 5 values are expected"),
    ([(1, 0, 1, 7, 7, 7), (1, 2, 3)], "line 2: 5 values are expected"),
])  # fmt: skip
def test_pairs_that_cannot_be(rows: list[tuple[int, ...]], words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        society(n_agents=4, rounds=2, generations=2, pairs=square(rows))
    assert words in str(caught.value)


@pytest.mark.parametrize("text, words", [
    ("generation,game,round,donor,recipient\n3,1,1,0,1", "line 2: there is no generation 3, only 1 to 2"),
    ("generation,game,round,donor,recipient\n1,3,1,0,1", "line 2: there is no game 3, only 1 to 2"),
    ("generation,game,round,donor\n1,1,1,0", "no column 'recipient'"),
    ("generation,game,round,donor,recipient,weight", "a column 'weight'"),
    ("x", "no column 'generation'"),
    (square(TWO).replace("\n1,1,", "\n1,2,"), "generation 1 has game 2, but no game 1"),
])  # fmt: skip
def test_tables_of_pairs_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        society(n_agents=4, rounds=2, generations=2, pairs=text)
    assert words in str(caught.value)


@pytest.mark.parametrize("row, words", [
    ("1,1,1,0,1.5,donate", "line 2: '1.5' is no share"), ("1,1,1,0,,donate", "'' is no share"),
    ("1,1,1,0,0.5,steal", "line 2: no action 'steal'"), ("1,1,9,0,0.5,donate", "no round 9"),
    ("1,1,1,9,0.5,donate", "no slot 9"), ("1,1,1,0,0.5,donate\n1,1,1,0,0.5,donate", "slot 0 has a move"),
])  # fmt: skip
def test_tables_of_moves_that_cannot_be(row: str, words: str) -> None:
    with pytest.raises(ParameterError) as caught:
        society(
            n_agents=4, rounds=2, generations=2, mind="table", moves=f"generation,game,round,donor,share,action\n{row}"
        )
    assert words in str(caught.value)


@pytest.mark.parametrize("options, words", [
    ({"n_agents": 5}, "even"), ({"rules": "released_code", "rounds": 5}, "even"), ({"n_agents": 0}, "n_agents"),
    ({"survival_fraction": 0}, "survival"), ({"noise": 1.5}, "noise"), ({"multiplier": -1}, "multiplier"),
])  # fmt: skip
def test_parameters_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        World(rng=1, **options)


@pytest.mark.parametrize("options", [
    {"n_agents": 2}, {"n_agents": 2, "trace_depth": 9, "rounds": 5}, {"n_agents": 14, "rounds": 1}, {"endowment": 0},
    {"multiplier": 0}, {"generations": 1}, {"survival_fraction": 1.0}, {"survival_fraction": 0.001},
    {"mind": "null", "endowment": 0, "punishment": True, "partner_choice": True},
])  # fmt: skip
def test_odd_settings_run_and_are_measured(options: dict[str, Any]) -> None:
    world = played(**{"generations": 2, "rounds": 3, **options})
    assert world.t == world.planned_steps() == world.params.generations * 2 * world.params.rounds
    for each in World.observers:
        assert all(math.isfinite(f.n) for f in each().conclude(world))
    assert (world.column("resources") >= 0).all()


# Observers ------------------------------------------------------------------------------------------------------------


def findings(world: Any) -> dict[str, Any]:
    return {f.metric: f for each in World.observers for f in each().conclude(world)}


def finding(world: Any, metric: str) -> Any:
    for each in World.observers:
        for found in each().conclude(world):
            if found.metric == metric:
                return found
    raise KeyError(metric)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_constant_giving_is_its_own_null_and_closed_form(share: float, rules_: str) -> None:
    found = findings(played(generations=3, mind=f"always({share})", rules=rules_))
    final = found["mean_final"]
    expected = by_recursion(share, 2, 12, 10)
    if rules_ == "paper":
        assert final.closed_form == pytest.approx(expected, rel=1e-9)
        assert found["efficiency"].value == pytest.approx(expected / 30_720, rel=1e-9)
    assert final.value == pytest.approx(final.closed_form, rel=1e-9)
    assert final.null_mean == pytest.approx(final.value, rel=1e-9)
    assert final.null_sd == pytest.approx(0.0, abs=1e-6)
    assert found["share"].value == pytest.approx(share, abs=1e-12)
    assert found["share_change"].value == pytest.approx(0.0, abs=1e-12)
    assert found["inheritance_bias"].value == pytest.approx(0.0, abs=1e-12)
    assert found["selection"].value == pytest.approx(0.0, abs=1e-12)
    assert all(math.isnan(found[k].value) for k in ("direct", "downstream", "upstream", "trait_A", "trait_N"))
    assert found["surviving_roots"].value == 12  # nobody took anything over
    assert "nobody" in found["surviving_roots"].note


def test_mean_final_and_share_by_their_definitions() -> None:
    """Spec: (1/2N)·Σ_games Σ_i final_i; mean of amount / own resources over donors holding > 0."""
    world = played(generations=2)
    last = [a for a in log(world) if a["generation"] == 2]
    held = dict.fromkeys(world.ids.tolist(), 10.0)
    total = 0.0
    for k in (1, 2):
        held = dict.fromkeys(held, 10.0)
        for act in (a for a in last if a["game"] == k):
            assert act["held"] == pytest.approx(held[act["donor"]], rel=1e-12)
            held[act["donor"]] -= act["amount"]
            held[act["recipient"]] += 2 * act["amount"]
        total += sum(held.values())
    found = findings(world)
    assert found["mean_final"].value == pytest.approx(total / 24, rel=1e-9)
    assert found["share"].value == pytest.approx(np.mean([a["amount"] / a["held"] for a in last]), rel=1e-9)
    assert found["mean_final"].n == 24
    games = [a for a in last if a["game"] == 1]
    new = {i for i in world.ids.tolist() if world.table["generation"][i] == 2}
    shares = [[a["share"] for a in games if (a["donor"] in new) is is_new] for is_new in (True, False)]
    assert len(new) == 6
    assert found["inheritance_bias"].value == pytest.approx(np.mean(shares[0]) - np.mean(shares[1]), abs=1e-12)
    now = observers.Generations().observe(world)
    assert now["inheritance_bias"] == pytest.approx(found["inheritance_bias"].value, abs=1e-12)
    assert now["mean_final"] == found["mean_final"].value
    assert now["share_round"] == pytest.approx(np.mean([a["share"] for a in last[-6:]]), abs=1e-12)


def test_a_replay_with_the_shares_that_were_is_the_game_that_was() -> None:
    world = played(generations=1, mind="null", punishment=True, partner_choice=True)
    drawn = observers.replays(observers.log_of(world), world.params, lambda known: known[:, None])
    assert drawn[:, :, 0] == pytest.approx(finals(world), rel=1e-9)


def test_moments_of_the_shuffled_null() -> None:
    """Three rounds of two players: each game's shares stand in one of six orders, all as likely."""
    shares = (0.1, 0.5, 0.9)
    moves = csv_of("generation,game,round,donor,share", [
        (1, k, r + 1, (r + k - 1) % 2, s) for k in (1, 2) for r, s in enumerate(shares)
    ])  # fmt: skip
    pairs = csv_of("generation,game,round,donor,recipient", [(1, 1, 1, 0, 1), (1, 1, 2, 1, 0), (1, 1, 3, 0, 1)])
    world = played(n_agents=2, rounds=3, generations=1, mind="table", moves=moves, pairs=pairs)

    def end(order: Sequence[float]) -> float:
        donor = recipient = 10.0
        for share in order:
            donor, recipient = recipient + 2 * share * donor, (1 - share) * donor
        return (donor + recipient) / 2

    orders = [end(order) for order in itertools.permutations(shares)]
    found = finding(world, "mean_final")
    assert found.value == pytest.approx(end(shares), rel=1e-12)
    # Each game is shuffled by itself, and their mean is the value.
    spread = np.std(orders) / math.sqrt(2)
    assert spread > 0.1
    assert found.null_mean == pytest.approx(np.mean(orders), abs=4 * spread / math.sqrt(observers.DRAWS))
    assert found.null_sd == pytest.approx(spread, rel=0.2)


def test_reciprocity_is_found_where_the_trace_is_copied_and_not_where_nothing_is_read() -> None:
    minds = [*(f"always({x})" for x in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)), *["copy(0.5)"] * 6]
    found = findings(played(generations=1, mind=minds, n_agents=12))
    assert found["downstream"].gap > 0.2
    assert found["downstream"].p_value < 0.05
    random = [findings(played(rng=s, generations=3, mind="null"))["downstream"].gap for s in range(5)]
    assert abs(np.mean(random)) < 4 * np.std(random, ddof=1) / math.sqrt(5) + 1e-9


CHANCE = {
    "drift": (
        {"selection": "random", "inheritance": "random"},
        ("selection", "inheritance_bias"),
        ("longest_life", "surviving_roots", "largest_share", "depth", "offspring_gini"),
    ),
    "uniform giving": (
        {"mind": "null"},
        ("mean_final", "efficiency", "gini", "direct", "downstream", "upstream", "trait_A", "trait_N"),
        (),
    ),
}
"""Societies in which nulls hold: options, metrics on a scale, and counts, whose ties make a test reject less."""


@pytest.mark.parametrize("name", CHANCE)
def test_where_nothing_but_chance_is_at_work_one_test_in_twenty_rejects(name: str) -> None:
    options, fine, coarse = CHANCE[name]
    seeds, p_values = 48, {}
    for seed in range(seeds):
        world = played(rng=seed, personas=None, generations=5, rounds=6, n_agents=6, **options)
        for metric, one in findings(world).items():
            p_values.setdefault(metric, []).append(one.p_value)
    tested = {metric for metric, p in p_values.items() if not np.isnan(p).all()}
    assert tested == {metric for _, *both in CHANCE.values() for metrics in both for metric in metrics}
    assert "share_change" in p_values
    for metric in (*fine, *coarse):
        p = np.array(p_values[metric])
        n = np.count_nonzero(~np.isnan(p))
        gap = np.count_nonzero(p < 0.05) / n - 0.05
        assert n > 0.8 * seeds, metric
        assert gap < 4 * math.sqrt(0.05 * 0.95 / n), metric
        # A test that never rejects is none: where values are fine some p-values are small, as many as there should be.
        if metric in fine:
            small = np.count_nonzero(p < 0.2) / n
            assert abs(small - 0.2) < 4 * math.sqrt(0.2 * 0.8 / n), metric


def test_newcomers_who_give_otherwise_than_survivors_are_found() -> None:
    """Strategies that lose half of the share for strangers each time they are copied."""
    found = finding(played(rng=2, mu_mut=-0.3, sigma_mut=0.0, selection="random"), "inheritance_bias")
    assert found.value < 0
    assert found.n == 9
    assert found.p_value < 0.05


def test_lives_by_hand() -> None:
    """Two of four survive each time; 12 lives in 5 generations of 4 last 20/10 on average."""
    found = findings(played(n_agents=4, rounds=2, generations=5))
    assert found["mean_life"].value == 4 * 5 / (4 + 4 * 2)
    assert 1 <= found["longest_life"].value <= 5
    everlasting = findings(played(n_agents=4, rounds=2, generations=5, survival_fraction=1.0))
    assert everlasting["longest_life"].value == everlasting["longest_life"].null_mean == 5
    assert everlasting["mean_life"].value == 5


def test_lineage_from_society_and_from_run(tmp_path: Path) -> None:
    run = sw.run("donor_game", seed=5, generations=4, rounds=3, out=tmp_path / "run")
    world = played(rng=5, personas=None, generations=4, rounds=3)
    graphs = [lineage_script.graph_of(source) for source in (run, world)]
    assert dict(graphs[0].nodes(data=True)) == dict(graphs[1].nodes(data=True))
    assert sorted(graphs[0].edges(data="copied")) == sorted(graphs[1].edges(data="copied"))
    graph = graphs[0]
    assert len(graph) == 12 + 3 * 6
    assert graph.number_of_edges() == 3 * 6 * 6
    assert sum(copied for *_, copied in graph.edges(data="copied")) == 3 * 6
    assert {v for v, last in graph.nodes(data="last") if last} == set(world.ids.tolist())
    copies = lineage_script.graph_of(world, copies=True)
    assert copies.number_of_edges() == 18
    assert all(world.table["copied_from"][child] == parent for parent, child in copies.edges)
    assert sum(lasted for _, lasted in graph.nodes(data="lasted")) == 4 * 12
    for script, words in (
        ("lineage.py", "graphml"),
        ("moves.py", "generation,game,round,donor,recipient,action,share"),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "error", str(FOLDER / script), str(run.path)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert words in done.stdout
        if script == "lineage.py":
            again = nx.parse_graphml(done.stdout, node_type=int)
            assert set(again.edges) == set(graph.edges)
            assert again.nodes[0]["strategy"] == graph.nodes[0]["strategy"]


def test_the_tables_of_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row and column is there, and the figures are those of the runs."""
    settings_, short = compare.SETTINGS, {"generations": 2, "rounds": 4}
    monkeypatch.setattr(compare, "SETTINGS", {name: {**settings_[name], **short} for name in ("rules (default)",)})
    measured = compare.measure(tmp_path, 2)
    monkeypatch.setattr(compare, "SETTINGS", settings_)
    # One setting stands in for all: what is asked here is where the figures stand.
    lines = list(compare.tables(pl.concat([measured.with_columns(setting=pl.lit(name)) for name in settings_])))
    for setting in settings_:
        rows = [line.split(" | ") for line in lines if line.startswith(f"| {setting} | ")]
        assert [len(row) for row in rows] == [8, 7, 7]
        assert rows[0][1] == "2"
    rows = [line.split(" | ") for line in lines if line.startswith("| rules (default) | ")]
    values = [sw.run("donor_game", seed=s, generations=2, rounds=4, out=tmp_path / f"own{s}").findings for s in (0, 1)]
    means = [f.filter(pl.col("metric") == "mean_final")["value"][0] for f in values]
    assert rows[0][2].startswith(f"{np.mean(means):,.0f} ± ")
    assert rows[0][3] == f"{np.std(means, ddof=1):,.0f}"
    reported = lines[lines.index("| reported [reported] | here, rules minus or beside |") + 2 :]
    assert len(reported) == len(compare.REPORTED)
    assert [line.endswith("|  |") for line in reported] == [False] * 7 + [True]


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_cut_and_resumed(tmp_path: Path, rules_: str) -> None:
    call: dict[str, Any] = {
        "seed": 4, "generations": 3, "rounds": 4, "rules": rules_, "noise": 0.1, "punishment": True,
    }  # fmt: skip
    whole = sw.run("donor_game", out=tmp_path / "whole", **call)
    assert whole.steps == 24
    for after in (4, 11, 16):
        out = begin_and_cut("donor_game", tmp_path / f"cut{after}", after, **call)
        assert_same_run(sw.resume(out), whole)
    assert whole.verify()


def test_the_same_seed_is_the_same_society_and_another_is_not() -> None:
    ends = [finals(played(rng=seed, generations=2)).tolist() for seed in (1, 1, 2)]
    assert ends[0] == ends[1] != ends[2]


def test_a_run_that_stops_in_the_middle_of_a_generation_is_measured(tmp_path: Path) -> None:
    for steps in (3, 30):
        run = sw.run("donor_game", steps=steps, seed=1, out=tmp_path / str(steps))
        names = set(run.findings["metric"])
        assert {"share", "direct", "surviving_roots", "trait_A"} <= names
        assert ("mean_final" in names) == (steps == 30)
        assert run.verify()


# Language models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def asked_models(server: ModelServer, out: Path, **call: Any) -> Run:
    call = {"model": "local/scripted", "seed": 1, "generations": 2, "rounds": 3, "n_agents": 6, **call}
    return sw.run("donor_game", api_base=server.base, out=out, **call)


@pytest.fixture(scope="module")
def spoken(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return asked_models(
        server, tmp_path_factory.mktemp("spoken") / "run", generations=3, punishment=True, partner_choice=True
    )


def test_a_language_model_is_asked_everything(spoken: Run) -> None:
    assert spoken.status == "finished"
    assert set(spoken.calls["purpose"]) == {"Strategy", "Move"}
    kinds = Counter(spoken.events["kind"].to_list())
    assert min(kinds[kind] for kind in ("donate", "punish", "refuse")) > 3
    assert kinds["strategy"] == 6 + 3 + 3
    assert not kinds["refusal"]
    assert not kinds["clip"]
    assert spoken.verify()
    agents = spoken.state().sort("id")
    assert all(text.startswith("Give about") for text in agents["strategy"])
    assert agents["g0"].n_unique() > 2  # numbers are kept where they were given
    assert (agents["copied_from"] >= 0).any()
    assert agents.filter(pl.col("alpha") == 0.3).height > 0
    assert agents.filter(pl.col("alpha") == 0.4).height > 0


def test_prompts_show_what_a_donor_sees(spoken: Run) -> None:
    agents = {row["id"]: row for row in spoken.state().iter_rows(named=True)}
    log_ = {(row["played"], row["donor"]): row for row in spoken.state(table="moves").iter_rows(named=True)}
    traced = 0
    for call in spoken.calls.filter(pl.col("purpose") == "Move").iter_rows(named=True):
        act, user = log_[call["step"], call["agent"]], call["user"]
        assert f"Generation {act['generation']}, game {act['game']}, round {act['round']} of 3" in user
        assert json.dumps(agents[call["agent"]]["strategy"]) in user
        assert f"You hold {act['held']:.2f} units" in user
        assert f"agent {act['recipient']}, who holds {act['other_held']:.2f} units" in user
        assert ("Nothing is known" in user) == (f"- round {act['round'] - 1}: agent {act['recipient']} " not in user)
        assert act["round"] > 1 or "Nothing is known" in user
        traced += "What is known" in user
    assert traced > 10


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_newcomers_are_shown_scores_only_under_paper(server: ModelServer, tmp_path: Path, rules_: str) -> None:
    run = asked_models(server, tmp_path / "run", rules=rules_, rounds=2)
    late = run.calls.filter((pl.col("purpose") == "Strategy") & (pl.col("step") > 1))
    assert late.height == 3
    standings = run.state(table="standings").filter((pl.col("generation") == 1) & pl.col("survives"))
    texts = dict(run.state().select("id", "strategy").iter_rows())
    for user in late["user"]:
        assert "You are new" in user
        for player, score in standings.select("player", "score").iter_rows():
            shown = f", who ended with {score:.2f} units" if rules_ == "paper" else ""
            assert f"- agent {player}{shown}: {json.dumps(texts[player])}" in user
        assert user.count("\n- agent ") == 3
    assert (
        "Nobody has played before you"
        in run.calls.filter((pl.col("purpose") == "Strategy") & (pl.col("step") == 1))["user"][0]
    )


def test_malformed_answers_are_refusals_with_their_meaning(tmp_path: Path) -> None:
    with ModelServer(bad_agents=(0, 4)) as bad:
        run = asked_models(bad, tmp_path / "run", asking={"attempts": 1})
    assert run.status == "finished"
    refusals = run.events.filter(pl.col("kind") == "refusal")
    assert set(refusals["agent"]) == {0, 4}
    assert refusals.filter(pl.col("step") == 1).height >= 2
    agents = run.state().sort("id")
    assert agents["strategy"][0] == agents["strategy"][4] == "no strategy"
    own = run.state(table="moves").filter(pl.col("donor").is_in([0, 4]))
    assert set(own["amount"]) == {0.0}
    assert own["meant"].is_nan().all()
    assert own["kind"].cast(pl.String).unique().to_list() == ["donate"]
    assert run.verify()


@pytest.mark.parametrize("rules_", ["paper", "released_code"])
def test_a_model_that_gives_more_than_it_has(tmp_path: Path, rules_: str) -> None:
    fixed = json.dumps({"justification": "All of it, and more.", "action": "donate", "amount": 1e9})
    with ModelServer(fixed=fixed) as lavish:
        run = asked_models(
            lavish, tmp_path / "run", model=(), mind="always(0.1)", seats={"1": "local/lavish"}, rules=rules_,
            rounds=2, generations=1, asking={"attempts": 2},
        )  # fmt: skip
    own = run.state(table="moves").filter(pl.col("donor") == 1)
    assert own.height == 2
    events = Counter(run.events["kind"].to_list())
    asked = run.calls.filter(pl.col("purpose") == "Move").height
    assert events["refusal"] == 1 + (0 if rules_ == "paper" else 2)  # of the strategy too
    if rules_ == "paper":
        assert own["amount"].to_list() == own["held"].to_list()
        assert (events["clip"], asked) == (2, 2)
        said = run.events.filter((pl.col("kind") == "donate") & (pl.col("agent") == 1))["text"].to_list()
        assert said == ["All of it, and more."] * 2
    else:
        assert set(own["amount"]) == {0.0}
        assert (events["clip"], asked) == (0, 4)


def test_rules_take_over_what_a_model_wrote(server: ModelServer, tmp_path: Path) -> None:
    """Mixed societies: the numbers of a model's strategy serve a rule newcomer, who says them in its own words."""
    seats = {str(i): "local/scripted" for i in range(0, 12, 2)}
    run = asked_models(server, tmp_path / "run", model=(), seats=seats, n_agents=12, generations=4)
    rows = {row["id"]: row for row in run.state().iter_rows(named=True)}
    by_model = {i for i, row in rows.items() if row["strategy"].startswith("Give about")}
    assert by_model >= set(range(0, 12, 2))
    taken = [(row, rows[row["copied_from"]]) for i, row in rows.items() if i not in by_model and row["generation"] > 1]
    assert any(parent["id"] in by_model for _, parent in taken)
    for child, parent in taken:
        assert [child[name] for name in ("alpha", "beta", "phi", "cap")] == [
            parent[name] for name in ("alpha", "beta", "phi", "cap")
        ]
    assert run.verify()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"pairs": "generation,game,round,donor,recipient\n"}, "pairs: the table has no row"),
        ({"moves": "generation,game,round,donor,share\n"}, "moves: the table has no row"),
        ({"moves": "generation,game,round,donor,share,action\n1,1,1,0,0.5,punish\n"}, "set punishment=true"),
        ({"moves": "generation,game,round,donor,share,action\n1,1,1,0,0,refuse\n"}, "set partner_choice=true"),
    ],
)
def test_a_table_that_says_nothing_or_too_much_is_refused(params: dict[str, str], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        World(rng=1, **params)

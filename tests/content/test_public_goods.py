"""Public goods: the payoffs and what follows from them, groups, void rounds, punishment, and what character does."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import RuleMind
from simworld.observe import observer
from simworld.scenario import load, resolve
from tests.server import ModelServer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

World = load(resolve("public_goods"))
PACKAGE = World.__module__.rpartition(".")[0]
decisions, observers, theory = (
    importlib.import_module(f"{PACKAGE}.{name}") for name in ("decisions", "observers", "theory")
)
Contribute, Punish = decisions.Contribute, decisions.Punish
PEOPLE = sw.sample_population(400, 5)
quick = settings(deadline=None, max_examples=40)


def played(rounds: int = 10, **options: Any) -> Any:
    world = World(**{"rng": 1, **options})
    world.run_for(rounds)
    return world


def with_traits(**z: float) -> list[sw.Persona]:
    """The same people, all with these traits, in standard deviations from the middle of their scale."""

    def changed(score: Any) -> Any:
        if score.trait not in z:
            return score
        middle, sd = (score.lo + score.hi) / 2, (score.hi - score.lo) / 6
        return score.model_copy(update={"value": middle + z[score.trait] * sd})

    return [p.model_copy(update={"traits": tuple(map(changed, p.traits))}) for p in PEOPLE]


class Scripted:
    """A mind of given contributions and of points by (what one gave, what the other gave)."""

    def __init__(self, contribution: Any, points: Any = lambda own, theirs: 0) -> None:
        policies = {
            Contribute: lambda persona, view, memory, rng: {"contribution": contribution},
            Punish: lambda persona, view, memory, rng: points(view.own, view.theirs),
        }
        self.label, self._rules = f"scripted {contribution}", RuleMind(policies, "scripted")

    def decide(self, question: Any) -> sw.Answers:
        return self._rules.decide(question)


# Theory ---------------------------------------------------------------------------------------------------------------


def test_payoffs_by_hand() -> None:
    """e = 20, r = 1.6, N = 4: a lone defector gets 20 + 0.4·60 = 44, the others 24."""
    assert theory.payoffs(np.array([0, 20, 20, 20]), 20, 1.6).tolist() == pytest.approx([44, 24, 24, 24])
    assert theory.payoffs(np.zeros(4), 20, 1.6).tolist() == [20] * 4
    assert theory.payoffs(np.full((2, 4), 20.0), 20, 1.6).tolist() == [[pytest.approx(32)] * 4] * 2


@quick
@given(st.integers(2, 8), st.floats(0, 5), st.floats(1, 50), st.integers(0, 999))
def test_a_token_returns_r_over_n_and_the_total_is_conserved(size: int, factor: float, e: float, seed: int) -> None:
    c = np.random.default_rng(seed).random(size) * e
    before = theory.payoffs(c, e, factor)
    assert before.sum() == pytest.approx(size * e + (factor - 1) * c.sum(), abs=1e-9)
    more = c.copy()
    more[0] += 1.0
    change = theory.payoffs(more, e, factor) - before
    assert change[0] == pytest.approx(factor / size - 1, abs=1e-9)
    assert change[1:] == pytest.approx([factor / size] * (size - 1), abs=1e-9)


@pytest.mark.parametrize("size, factor", [*itertools.product((2, 4, 7), (0.5, 1.6, 3.0, 8.0))])
def test_best_reply_and_optimum_by_trying_every_contribution(size: int, factor: float) -> None:
    tokens = np.arange(21.0)
    for others in (0.0, 7.0, 20.0):
        c = np.full((21, size), others)
        c[:, 0] = tokens
        assert tokens[theory.payoffs(c, 20, factor)[:, 0].argmax()] == theory.best_reply(size, 20, factor)
    together = np.repeat(tokens[:, None], size, axis=1)
    assert tokens[theory.payoffs(together, 20, factor).sum(1).argmax()] == theory.optimum(20, factor)


def test_at_r_equal_to_n_every_contribution_is_a_best_reply() -> None:
    with pytest.raises(ParameterError, match="every contribution is a best reply"):
        theory.best_reply(4, 20, 4.0)
    found = {f.metric: f for f in observers.Contributions().conclude(played(2, factor=4.0))}
    assert math.isnan(found["share"].closed_form)


# In the society -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share, gets", [(0, 20.0), (0.5, 26.0), (1, 32.0)])
def test_everybody_alike(share: float, gets: float) -> None:
    world = played(3, mind=f"always({share})")
    assert world.table["payoff"] == pytest.approx(3 * gets)
    seen = observers.Contributions().observe(world)
    assert seen == {"last_share": share, "share": share, "efficiency": pytest.approx(share, abs=1e-12)}


def test_the_lone_defector() -> None:
    world = played(1, n_agents=4, mind=["always(0)", *["always(1)"] * 3])
    assert world.table["payoff"].tolist() == pytest.approx([44, 24, 24, 24])


def test_a_share_out_of_range_is_refused() -> None:
    for text in ("2", "-0.1", "much", "nan"):
        with pytest.raises(ParameterError, match=r"from 0 to 1; write always\(0.3\)"):
            World(mind=f"always({text})")


@pytest.mark.parametrize("matching", ["partners", "strangers"])
def test_groups_part_the_players_and_the_rest_sit_out(matching: str) -> None:
    world = World(rng=1, n_agents=11, matching=matching)
    groups = []
    for _ in range(6):
        world.step()
        groups.append(world.groups())
        assert len(np.unique(groups[-1])) == groups[-1].size == 8
    assert all((g == groups[0]).all() for g in groups) == (matching == "partners")
    assert world.table["moves"].sum() == 6 * 8
    if matching == "partners":
        assert sorted(world.table["moves"].tolist()) == [0] * 3 + [6] * 8


@pytest.mark.parametrize("wrong", [20.5, -1.0, math.inf, "all of it"])
def test_an_answer_that_cannot_be_used_voids_the_round_of_its_group(wrong: Any) -> None:
    world = World(rng=1, n_agents=12, mind=[Scripted(wrong), *["always(1)"] * 11], punishment=True)
    world.drain()
    world.step()
    (with_it,) = (set(g) for g in world.groups().tolist() if 0 in g)
    void = np.isin(np.arange(12), list(with_it))
    assert world.table["moves"].tolist() == (~void).astype(int).tolist()
    assert world.table["payoff"].tolist() == np.where(void, 0.0, 32.0).tolist()
    assert (world.table["judged"] == np.where(void, 0, 3)).all()
    assert world.globals.voided == 1
    happened = world.happened
    assert (happened["refusal"], happened["void"], happened["contribute"]) == (1, 1, 8)
    assert observers.Contributions().observe(world)["efficiency"] == 1.0


def test_a_refused_punishment_spends_nothing() -> None:
    minds = [Scripted(20.0, lambda own, theirs: 11), *["always(0)"] * 3]
    world = played(1, n_agents=4, mind=minds, punishment=True)
    assert world.table["payoff"] == pytest.approx([8, 28, 28, 28])
    assert world.happened["refusal"] == 3
    assert world.table["judged"].tolist() == [3] * 4


def test_punishment_by_hand() -> None:
    """16, 12, 4 and 0 tokens; who gave more spends 2 points on who gave less, and the last 1 point on everybody."""
    minds = [Scripted(float(c), lambda own, theirs: 2 * (theirs < own)) for c in (16, 12, 4)]
    minds.append(Scripted(0.0, lambda own, theirs: 1))
    world = played(1, n_agents=4, mind=minds, punishment=True)
    spent, got = np.array([6, 4, 2, 3]), np.array([1, 3, 5, 6])
    earned = 20 - np.array([16, 12, 4, 0]) + 0.4 * 32
    assert world.table["earned"] == pytest.approx(earned)
    assert world.table["fined"] == pytest.approx(3 * got)
    assert world.table["payoff"] == pytest.approx(earned - spent - 3 * got)
    assert world.table["points"].tolist() == spent.tolist()
    assert world.table["judged_generous"].tolist() == [0, 1, 2, 3]
    seen = observers.Contributions().observe(world)
    assert seen["punishment"] == pytest.approx(9 / 12)
    assert seen["antisocial"] == pytest.approx(3 / 9)
    assert seen["efficiency"] == pytest.approx(0.4 - 15 * 4 / (0.6 * 20 * 4))


@pytest.mark.parametrize("mind", ["rules", "null"])
@pytest.mark.parametrize("matching", ["partners", "strangers"])
@pytest.mark.parametrize("factor", [1.6, 3.0, 0.5])
def test_the_books_balance(mind: str, matching: str, factor: float) -> None:
    """Payoffs are endowments, what the project adds, less points and fines; efficiency follows from the three sums."""
    world = played(4, mind=mind, matching=matching, punishment=True, factor=factor, n_agents=30)
    given = world.table["cooperated"].sum() * 20
    points = world.table["points"].sum()
    stake = world.table["moves"].sum() * 20
    total = stake + (factor - 1) * given - 4 * points
    assert world.table["payoff"].sum() == pytest.approx(total)
    found = {f.metric: f for f in observers.Contributions().conclude(world)}
    if factor > 1:
        by_account = given / stake - 4 * points / ((factor - 1) * stake)
        assert found["efficiency"].value == pytest.approx(by_account, abs=1e-9)
    # The same sums, whatever is played, and so no theory.
    assert math.isnan(found["efficiency"].closed_form)
    assert found["share"].closed_form == 0.0


def test_the_null_is_where_its_closed_form_says() -> None:
    world = played(10, mind="null", n_agents=400, punishment=True)
    found = {f.metric: f for f in observers.Contributions().conclude(world)}
    for name in ("share", "punishment", "antisocial"):
        assert abs(found[name].gap) < 4 * found[name].null_sd, name
    assert found["conditional"].p_value > 0.001


# The rule policy ------------------------------------------------------------------------------------------------------


def test_contributions_fall_without_punishment_and_last_with_it() -> None:
    """Directions of Fehr, Gächter 2002, doi:10.1038/415137a; six seeds."""
    for seed in range(6):
        courses = {}
        for punishment in (False, True):
            world = World(rng=seed, n_agents=80, matching="strangers", punishment=punishment)
            courses[punishment] = []
            for _ in range(10):
                world.step()
                courses[punishment].append(world.table["contributed"].mean())
        assert courses[False][-1] < 0.75 * courses[False][0]
        assert courses[True][-1] > 0.9 * courses[True][0]
        assert courses[True][-1] > 1.5 * courses[False][-1]


def test_rule_players_never_punish_who_gave_as_much() -> None:
    world = played(10, punishment=True, matching="strangers")
    assert world.table["punished"].sum() > 0
    assert world.table["punished_generous"].sum() == 0


def test_rule_players_give_as_the_others_gave() -> None:
    found = {f.metric: f for f in observers.Contributions().conclude(played(3, matching="strangers", n_agents=400))}
    assert found["conditional"].gap > 4 * found["conditional"].null_sd


def test_agreeableness_gives_more_and_forgives() -> None:
    giving, points = [], []
    for z in (-2.0, 0.0, 2.0):
        world = World(rng=1, n_agents=400, personas=with_traits(agreeableness=z))
        world.step()
        first = world.table["contributed"].mean()
        world.step()
        giving.append((first, world.table["contributed"].mean()))
        # What they do about the same contributions.
        seen = {"member": np.arange(9), "own": np.full(9, 12.0), "theirs": np.arange(9.0), "others": np.full(9, 4.0)}
        points.append(world.decide(Punish, range(9), seen).column("points", refused=0).sum())
    assert giving == sorted(giving)
    assert points == sorted(points, reverse=True)
    assert points[0] > points[2]


def test_no_other_trait_is_read() -> None:
    def behaviour(people: Sequence[sw.Persona]) -> dict[str, list[Any]]:
        world = played(4, n_agents=40, personas=people[:40], punishment=True)
        return {name: column.tolist() for name, column in world.table.columns.items()}

    as_they_are = behaviour(PEOPLE)
    for other in ("openness", "conscientiousness", "extraversion", "neuroticism"):
        assert {trait.trait for trait in PEOPLE[0].traits} >= {other}
        assert behaviour(with_traits(**{other: 2.0})) == as_they_are
    assert behaviour(with_traits(agreeableness=2.0)) != as_they_are


def test_the_effect_of_character_goes_when_characters_are_shuffled() -> None:
    watch = observer("persona_effects")
    found = {f.metric: f for f in watch.conclude(played(5, n_agents=400))}
    assert found["trait_A"].gap > 8 * found["trait_A"].null_sd
    shuffled = {f.metric: f for f in watch.conclude(played(5, n_agents=400, shuffle_personas=True))}
    assert abs(shuffled["trait_A"].gap) < 4 * shuffled["trait_A"].null_sd


def test_a_hundred_thousand_play() -> None:
    class Bare(World):
        with_personas = False

    world = Bare(rng=1, n_agents=100_000, punishment=True)
    world.step()
    assert world.table["moves"].sum() == 100_000
    assert world.table["judged"].sum() == 300_000


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", ["partners", "strangers"])
def test_resumed_after_any_step(matching: str, tmp_path: Path) -> None:
    call = {"seed": 8, "steps": 4, "n_agents": 14, "matching": matching, "punishment": True}
    whole = sw.run("public_goods", out=tmp_path / "whole", **call)
    for after in (0, 2, 3):
        cut = begin_and_cut("public_goods", tmp_path / f"cut {after}", after, **call)
        assert_same_run(sw.resume(cut), whole)
    assert whole.verify()


def test_a_language_model_is_asked_both_things(tmp_path: Path) -> None:
    call = {"seed": 1, "steps": 2, "n_agents": 8, "punishment": True, "model": "local/scripted"}
    with ModelServer() as server:
        run = sw.run("public_goods", api_base=server.base, out=tmp_path / "run", **call)
    asked = dict(run.calls["purpose"].value_counts().iter_rows())
    assert asked == {"Contribute": 16, "Punish": 48}
    assert run.answers["refused"].sum() == 0
    first = run.calls.filter((pl.col("purpose") == "Contribute") & (pl.col("step") == 1))
    assert first["user"].str.contains("You have not played a round yet.").all()
    later = run.calls.filter((pl.col("purpose") == "Contribute") & (pl.col("step") == 2))
    assert later["user"].str.contains("The last round: you gave").all()
    assert run.verify()


def test_malformed_answers_void_their_groups_and_nothing_else(tmp_path: Path) -> None:
    call = {"seed": 1, "steps": 2, "n_agents": 12, "punishment": True, "model": "local/scripted"}
    with ModelServer(bad_agents=(0,)) as server:
        run = sw.run("public_goods", api_base=server.base, out=tmp_path / "run", asking={"attempts": 1}, **call)
    assert run.status == "finished"
    kinds = dict(run.events["kind"].value_counts().iter_rows())
    assert (kinds["refusal"], kinds["void"], kinds["contribute"]) == (2, 2, 16)
    fixed = json.dumps({"contribution": 20.5, "points": 0})
    with ModelServer(fixed=fixed) as server:
        run = sw.run("public_goods", api_base=server.base, out=tmp_path / "greedy", asking={"attempts": 1}, **call)
    assert run.events.filter(pl.col("kind") == "void").height == 6
    assert run.metrics["voided"].to_list() == [0, 3, 6]


def test_the_observer_says_nothing_of_nobody() -> None:
    world = World(rng=1, n_agents=8, punishment=True)
    assert all(math.isnan(x) for x in observers.Contributions().observe(world).values())
    assert all(math.isnan(f.value) for f in observers.Contributions().conclude(world))

"""Indirect reciprocity: expected payoffs, the threshold c/b, images, imitation, and what character does."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.errors import ParameterError
from simworld.observe import observer
from simworld.scenario import load, resolve
from tests.server import ModelServer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

World = load(resolve("indirect_reciprocity"))
PACKAGE = World.__module__.rpartition(".")[0]
observers, theory = (importlib.import_module(f"{PACKAGE}.{name}") for name in ("observers", "theory"))
PEOPLE = sw.sample_population(400, 5)
C, D, S = range(3)


class Bare(World):
    """The same without personas, which the strategies do not read."""

    with_personas = False


def played(rounds: int, **options: Any) -> Any:
    world = Bare(**{"rng": 1, **options})
    world.run_for(rounds)
    return world


def findings(world: Any) -> dict[str, Any]:
    return {f.metric: f for f in observers.Reputation().conclude(world)}


# Theory ---------------------------------------------------------------------------------------------------------------


def expected(numbers: tuple[int, int, int], rounds: int = 1, **changes: float) -> Any:
    return theory.expected(numbers, rounds, **{"known": 0.7, "noise": 0.0, "benefit": 2.0, "cost": 1.0, **changes})


@pytest.mark.parametrize("benefit, cost", [(2.0, 1.0), (5.0, 1.0), (3.0, 2.0)])
def test_discriminators_resist_rare_defectors_above_c_over_b(benefit: float, cost: float) -> None:
    """One defector among a million discriminators, past the first round: b − c against b(1 − q)."""
    edge = theory.threshold(benefit, cost)
    assert edge == cost / benefit
    for q in (edge - 0.01, edge + 0.01):
        one, two = (expected((0, 1, 10**6), t, known=q, benefit=benefit, cost=cost).payoff for t in (1, 2))
        in_round_two = [2 * b - a for a, b in zip(one, two, strict=True)]
        assert in_round_two[S] == pytest.approx(benefit - cost, abs=1e-4)
        assert in_round_two[D] == pytest.approx(benefit * (1 - q), abs=1e-4)
        assert (in_round_two[S] > in_round_two[D]) == (q > edge)
    assert theory.threshold(2, 1) == 0.5


def test_the_recursion_by_hand() -> None:
    """One of each, q = 1, b = 2, c = 1. Round 1: all images good, so the discriminator gives to whomever it meets.

    Round 2: the defector is bad, so the discriminator refuses in one of two meetings.
    """
    one, two = (expected((1, 1, 1), t, known=1.0) for t in (1, 2))
    assert one.gives == (1, 0, 1)
    assert one.bad == (0, 1, 0)
    assert one.payoff == (2 * 0.5 - 1, 2 * 1.0, 2 * 0.5 - 1)
    second = [2 * b - a for a, b in zip(one.payoff, two.payoff, strict=True)]
    assert second == pytest.approx([2 * 0.5 - 1, 2 * 0.5, 2 * 0.5 - 0.5])
    assert two.bad == (0, 1, 0.5)


def test_images_of_discriminators_settle() -> None:
    """The fixed point of β = q(m + (n − m − 1)β)/(n − 1), for 10 defectors among 100."""
    q, n, m = Fraction(7, 10), 100, 10
    beta = q * m / (n - 1 - q * (n - m - 1))
    assert expected((0, m, n - m), 400).bad[S] == pytest.approx(float(beta), abs=1e-9)


MIXES = {
    "few defectors": {"defectors": 0.1},
    "three kinds": {"defectors": 0.3, "cooperators": 0.3},
    "seldom known": {"defectors": 0.2, "known": 0.2},
    "often wrong": {"defectors": 0.2, "noise": 0.15},
    "small": {"n_agents": 5, "defectors": 0.4, "cooperators": 0.2},
    "all discriminate, wrongly": {"defectors": 0.0, "noise": 0.1},
}


@pytest.mark.parametrize("mix", MIXES)
def test_payoffs_and_images_are_what_theory_expects(mix: str) -> None:
    """Means over societies, four standard errors."""
    rounds, options = 6, {"n_agents": 40, **MIXES[mix]}
    societies = [played(rounds, rng=seed, **options) for seed in range(300)]
    strategy = societies[0].table["strategy"]
    p = societies[0].params
    numbers = tuple(np.bincount(strategy, minlength=3).tolist())
    theirs = theory.expected(numbers, rounds, known=p.known, noise=p.noise, benefit=p.benefit, cost=p.cost)
    for k in range(3):
        if not numbers[k]:
            continue
        for name, scale, value in (
            ("payoff", rounds, theirs.payoff[k]),
            ("cooperated", rounds, theirs.gives[k]),
            ("image", 1, 1 - theirs.bad[k]),
        ):
            means = np.array([w.table[name][w.table["strategy"] == k].mean() / scale for w in societies])
            error = means.std(ddof=1) / math.sqrt(len(means))
            assert abs(means.mean() - value) <= 4 * error + 1e-9, (name, k)


def test_findings_carry_the_expectation_where_it_holds() -> None:
    found = findings(played(20, n_agents=2000))
    rule = expected((0, 200, 1800), 20)
    assert found["advantage"].closed_form == pytest.approx(rule.payoff[S] - rule.payoff[D])
    assert found["advantage"].value == pytest.approx(found["advantage"].closed_form, abs=0.05)
    assert found["donations"].closed_form == pytest.approx(0.9 * rule.gives[S])
    assert found["donations"].value == pytest.approx(found["donations"].closed_form, abs=0.02)
    assert found["advantage"].p_value < 0.05
    for other in ({"mind": "null"}, {"mind": ["gives(1)", *["rules"] * 99]}, {"generation": 5}):
        assert math.isnan(findings(played(3, **other))["advantage"].closed_form)


# The society ----------------------------------------------------------------------------------------------------------


def test_everybody_gives_once_and_receives_once() -> None:
    world = Bare(rng=3, n_agents=11, mind="gives(1)")
    world.drain()
    for _ in range(5):
        world.step()
        (chunk,) = world.drain().events
        assert sorted(chunk.columns["agent"]) == sorted(chunk.columns["target"]) == list(range(11))
        assert (np.asarray(chunk.columns["agent"]) != np.asarray(chunk.columns["target"])).all()
    assert (world.table["payoff"] == 5.0).all()


@pytest.mark.parametrize("mind", ["rules", "null", "gives(0.3)"])
def test_points_are_conserved(mind: str) -> None:
    world = played(8, mind=mind, n_agents=50, benefit=3.0, cost=0.5)
    assert world.table["payoff"].sum() == pytest.approx(2.5 * world.table["cooperated"].sum())


def test_an_image_is_the_last_act() -> None:
    world = Bare(rng=1, defectors=0.3)
    for _ in range(4):
        before = world.table["cooperated"].copy()
        world.step()
        assert (world.table["image"] == (world.table["cooperated"] > before)).all()
    wrong = played(1, noise=1.0, defectors=0.3)
    assert (wrong.table["image"] == (wrong.table["cooperated"] == 0)).all()


def test_what_nobody_knows_nobody_goes_by() -> None:
    world = played(10, known=0.0)
    assert world.table["cooperated"].sum() == 10 * 90
    assert world.globals.met_good == world.globals.met_bad == 0
    assert math.isnan(findings(world)["discrimination"].value)
    known = played(10, known=1.0)
    assert known.globals.met_good + known.globals.met_bad == 1000
    assert known.globals.gave_bad == 0


def test_the_null_ignores_images() -> None:
    found = findings(played(20, mind="null", n_agents=1000, defectors=0.5))
    for name in ("donations", "discrimination", "accuracy", "advantage"):
        assert abs(found[name].gap) < 4 * found[name].null_sd, name


def test_strategies_are_as_many_as_said() -> None:
    for defectors, cooperators, numbers in ((0.25, 0.5, [50, 25, 25]), (1.0, 0.5, [50, 50, 0]), (0, 0, [0, 0, 100])):
        world = Bare(rng=1, defectors=defectors, cooperators=cooperators)
        assert np.bincount(world.table["strategy"], minlength=3).tolist() == numbers
    for text in ("1.5", "often"):
        with pytest.raises(ParameterError, match=r"from 0 to 1; write gives\(0.3\)"):
            Bare(mind=f"gives({text})")


# Imitation ------------------------------------------------------------------------------------------------------------


def test_images_and_gains_begin_anew_with_a_generation() -> None:
    world = Bare(rng=1, generation=3, defectors=0.5, imitation=0.0)
    rounds = []
    for _ in range(7):
        world.step()
        rounds.append(world.rounds)
    assert rounds == [1, 2, 3, 1, 2, 3, 1]
    assert (world.table["gained"] >= -1).all()
    assert (world.table["gained"] <= 2).all()
    assert (world.table["strategy"] == Bare(rng=1, generation=3, defectors=0.5).table["strategy"]).all()


def test_who_does_better_is_copied() -> None:
    """Hard selection: well above the threshold discriminators take over, well below it defectors do."""
    for q, winner in ((1.0, "discriminators"), (0.1, "defectors")):
        for seed in range(3):
            world = played(
                300, rng=seed, known=q, benefit=5.0, defectors=0.2, generation=10, imitation=0.5, selection=20.0
            )
            assert world.metrics()[winner] > 0.9, (q, seed)


def test_without_selection_a_copy_is_a_coin() -> None:
    """Half of those who compare adopt: 0.5·0.5 of the pairs that differ, 2·0.5·0.5 of all, four standard errors."""
    n = 20_000
    world = Bare(rng=1, n_agents=n, defectors=0.5, generation=1, imitation=0.5, selection=0.0)
    before = world.table["strategy"].copy()
    world.run_for(2)
    changed = (world.table["strategy"] != before).mean()
    assert changed == pytest.approx(0.125, abs=4 * math.sqrt(0.125 * 0.875 / n))
    mutated = Bare(rng=1, n_agents=n, defectors=0.0, generation=1, imitation=0.0, mutation=0.3)
    mutated.run_for(2)
    found = mutated.metrics()
    assert found["cooperators"] == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / n))
    assert found["defectors"] == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / n))


# Character ------------------------------------------------------------------------------------------------------------


def with_traits(**z: float) -> list[sw.Persona]:
    def changed(score: Any) -> Any:
        if score.trait not in z:
            return score
        middle, sd = (score.lo + score.hi) / 2, (score.hi - score.lo) / 6
        return score.model_copy(update={"value": middle + z[score.trait] * sd})

    return [p.model_copy(update={"traits": tuple(map(changed, p.traits))}) for p in PEOPLE]


def behaviour(people: Sequence[sw.Persona], mind: str) -> dict[str, list[Any]]:
    world = World(rng=1, n_agents=60, personas=people[:60], mind=mind)
    world.run_for(5)
    return {name: column.tolist() for name, column in world.table.columns.items()}


def test_the_persona_policy_reads_agreeableness_alone() -> None:
    as_they_are = behaviour(PEOPLE, "persona")
    for other in ("openness", "conscientiousness", "extraversion", "neuroticism"):
        assert behaviour(with_traits(**{other: 2.0}), "persona") == as_they_are
    given = [sum(behaviour(with_traits(agreeableness=z), "persona")["cooperated"]) for z in (-2.0, 0.0, 2.0)]
    assert given == sorted(given)
    assert given[0] < given[2]


def test_the_strategies_read_no_trait() -> None:
    as_they_are = behaviour(PEOPLE, "rules")
    for trait in ("agreeableness", "openness", "conscientiousness", "extraversion", "neuroticism"):
        assert behaviour(with_traits(**{trait: 2.0}), "rules") == as_they_are


def test_the_effect_of_character_goes_when_characters_are_shuffled() -> None:
    watch = observer("persona_effects")
    for shuffle, strong in ((False, True), (True, False)):
        world = World(rng=1, n_agents=400, mind="persona", shuffle_personas=shuffle)
        world.run_for(10)
        (found,) = (f for f in watch.conclude(world) if f.metric == "trait_A")
        assert (found.gap > 6 * found.null_sd) == strong
        assert (abs(found.gap) < 4 * found.null_sd) != strong


def test_the_persona_policy_goes_by_images() -> None:
    world = World(rng=1, n_agents=400, mind="persona")
    world.run_for(10)
    found = findings(world)["discrimination"]
    assert found.gap > 8 * found.null_sd


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_hundred_thousand_meet() -> None:
    world = played(3, n_agents=100_000)
    found = observers.Reputation().observe(world)
    assert found["donations"] == pytest.approx(0.9 * expected((0, 10_000, 90_000), 3).gives[S], abs=0.005)


def test_resumed_after_any_step(tmp_path: Path) -> None:
    call = {"seed": 8, "steps": 7, "n_agents": 14, "generation": 3, "mutation": 0.1, "noise": 0.1, "imitation": 0.5}
    whole = sw.run("indirect_reciprocity", out=tmp_path / "whole", **call)
    assert "adopt" in whole.events["kind"].to_list()
    for after in (0, 3, 5):
        cut = begin_and_cut("indirect_reciprocity", tmp_path / f"cut {after}", after, **call)
        assert_same_run(sw.resume(cut), whole)
    assert whole.verify()


def test_a_language_model_sees_images_and_no_strategy(tmp_path: Path) -> None:
    call = {"seed": 1, "steps": 3, "n_agents": 10, "model": "local/scripted"}
    with ModelServer() as server:
        run = sw.run("indirect_reciprocity", api_base=server.base, out=tmp_path / "run", **call)
    assert run.calls.height == run.answers["asked"].sum() == 30
    assert run.answers["refused"].sum() == 0
    told = [line for text in run.calls["user"] for line in text.splitlines() if line.startswith("You meet person")]
    endings = ("Their image is good.", "Their image is bad.", "You do not know their image.")
    assert {e for e, line in itertools.product(endings, told) if line.endswith(e)} == set(endings)
    for word in ("cooperator", "defector", "discriminator", "strategy"):
        assert not run.calls["user"].str.contains(word).any()
        assert not run.calls["system"].str.contains(word).any()
    assert run.verify()


def test_a_refusal_is_no_donation_and_is_counted(tmp_path: Path) -> None:
    call = {"seed": 1, "steps": 2, "n_agents": 10, "model": "local/scripted", "asking": {"attempts": 1}}
    with ModelServer(bad_agents=(4,)) as server:
        run = sw.run("indirect_reciprocity", api_base=server.base, out=tmp_path / "run", **call)
    refused = run.events.filter(pl.col("kind") == "refusal")
    assert refused["agent"].to_list() == [4, 4]
    state = run.state(2).sort("id")
    assert state["cooperated"][4] == 0.0
    assert not state["image"][4]
    assert state["moves"].to_list() == [2] * 10
    with ModelServer(fixed=json.dumps({"donate": "yes"})) as server:
        run = sw.run("indirect_reciprocity", api_base=server.base, out=tmp_path / "words", **call)
    assert run.state(2)["payoff"].sum() == 0.0
    assert run.events.filter(pl.col("kind") == "refusal").height == 20

"""The trust games as they are played: pairs, payoffs, dropped cases, what is told to whom, models, and resuming."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

import simworld as sw
from simworld.mind import Question, RuleMind
from simworld.run import Run
from simworld.scenario import load, resolve
from tests.server import ModelServer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

World = load(resolve("trust_games"))
PACKAGE = World.__module__.rpartition(".")[0]
decisions, games, observers, rules = (
    importlib.import_module(f"{PACKAGE}.{name}") for name in ("decisions", "games", "observers", "rules")
)
BINARY = ("map_trust", "risky_dictator", "lottery_people", "lottery_gamble")
both = pytest.mark.parametrize("mind", ["rules", "null"])


def played(steps: int | None = None, **options: Any) -> Any:
    """A society after its steps: all of them, or so many."""
    world = World(**{"rng": 1, "n_agents": 12, **options})
    for _ in range(world.planned_steps() if steps is None else steps):
        world.step()
    return world


def rows(world: Any, game: str) -> dict[str, np.ndarray]:
    plays = world.tables["plays"]
    at = plays.text("game") == game
    return {name: plays[name][at] for name in plays.columns if name != "game"}


def found(world: Any) -> dict[str, Any]:
    return {f.metric: f for cls in type(world).observers for f in cls().conclude(world)}


class Odd:
    """The null decides, but some answers are others: ``say(decision, agent, view)`` returns fields, or nothing."""

    label = "odd"

    def __init__(self, say: Callable[[str, int, Any], dict[str, Any] | None], params: Any = None) -> None:
        self._say = say
        self._null = rules.policies(params or World.Params(), lambda: None)["null"]

    def decide(self, question: Question) -> sw.Answers:
        ids = iter(question.ids.tolist())

        def policy(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
            said = self._say(question.decision.__name__, next(ids), view)
            return self._null[question.decision](persona, view, memory, rng) if said is None else said

        return RuleMind({question.decision: policy}, self.label).decide(question)


# Who plays with whom, and for how much --------------------------------------------------------------------------------


@both
def test_everybody_is_trustor_once_and_trustee_of_somebody_else_once(mind: str) -> None:
    world = played(mind=mind)
    circles = set()
    for game in ("trust", "dictator", "repeated_trust"):
        plays = rows(world, game)
        for r in range(1, plays["round"].max() + 1):
            mine = plays["round"] == r
            trustors, trustees = plays["trustor"][mine].tolist(), plays["trustee"][mine].tolist()
            assert sorted(trustors) == sorted(trustees) == list(range(12))
            assert all(a != b for a, b in zip(trustors, trustees, strict=True))
            circles.add((game, tuple(trustees)))
    # Pairs are drawn anew for every game, and stay together in the repeated one.
    assert len(circles) == 3
    assert len({pairs for _, pairs in circles}) == 3


@both
def test_plays_of_a_battery(mind: str) -> None:
    world = played(mind=mind)
    counts = Counter(world.tables["plays"].text("game").tolist())
    assert counts == {
        "trust": 12, "dictator": 12, "map_trust": 120, "risky_dictator": 120, "lottery_people": 12,
        "lottery_gamble": 12, "repeated_trust": 84,
    }  # fmt: skip
    for game in ("map_trust", "risky_dictator"):
        plays = rows(world, game)
        assert plays["p"].reshape(12, 10).tolist() == [[k / 10 for k in range(1, 11)]] * 12


@both
@pytest.mark.parametrize("endowment", [10, 44])
def test_payoffs_are_those_of_the_rules(mind: str, endowment: int) -> None:
    world = played(mind=mind, endowment=endowment, multiplier=2.5)
    earned = np.zeros(12)
    for game in ("trust", "dictator", "repeated_trust"):
        p = rows(world, game)
        assert (p["sent"] >= 0).all()
        assert (p["sent"] <= endowment).all()
        assert (p["returned"] <= 2.5 * p["sent"] + 1e-9).all()
        assert (p["returned"] == 0).all() == (game == "dictator")
        assert p["trustor_payoff"] == pytest.approx(endowment - p["sent"] + p["returned"])
        # What both have is the endowment and what sending it made of it: nothing is lost.
        assert p["trustor_payoff"] + p["trustee_payoff"] == pytest.approx(endowment + 1.5 * p["sent"])
        np.add.at(earned, p["trustor"], p["trustor_payoff"])
        np.add.at(earned, p["trustee"], p["trustee_payoff"])
    table = {
        "map_trust": ((10, 10), (15, 15), (8, 22)), "risky_dictator": ((10, 10), (15, 15), (8, 22)),
        "lottery_people": ((5, 0), (10, 10), (0, 20)), "lottery_gamble": ((5, -1), (10, -1), (0, -1)),
    }  # fmt: skip
    for game, (safe, honoured, betrayed) in table.items():
        p = rows(world, game)
        for choice, was, own, other in zip(
            p["choice"], p["honoured"], p["trustor_payoff"], p["trustee_payoff"], strict=True
        ):
            assert (own, other) == {0: safe, 1: honoured if was == 1 else betrayed}[choice]
            assert (was == -1) == (choice == 0)
        np.add.at(earned, p["trustor"], p["trustor_payoff"])
    assert world.table["earned"] == pytest.approx(earned)
    last = rows(world, "repeated_trust")
    assert world.table["balance"][last["trustor"][-12:]] == pytest.approx(last["trustor_payoff"][-12:])


def test_joint_surplus_over_no_transfer_is_twice_what_is_sent() -> None:
    one = found(played(mind="null"))
    for game in ("trust", "repeated_trust"):
        assert one[f"{game}_surplus"].value == pytest.approx(2 * one[f"{game}_sent"].value)
        assert math.isnan(one[f"{game}_surplus"].closed_form)  # it is so whatever is played, and so no theory


def test_trust_is_honoured_as_often_as_is_told() -> None:
    honoured, n = Counter[float](), Counter[float]()
    for seed in range(6):
        p = rows(played(4, rng=seed, n_agents=100, mind="always(0.5)"), "map_trust")
        for chance, was in zip(p["p"].tolist(), p["honoured"].tolist(), strict=True):
            honoured[chance] += was
            n[chance] += 1
    for chance, count in n.items():
        assert count == 600
        assert abs(honoured[chance] / count - chance) <= 4 * math.sqrt(chance * (1 - chance) / count)


def test_ones_choice_is_nobodys_luck() -> None:
    """The draw of a case does not depend on what others, or it itself, would have chosen."""
    yes = rows(played(4, mind="always(1)"), "map_trust")["honoured"]
    some = rows(played(4, mind="null"), "map_trust")
    taken = some["choice"] == 1
    assert 0 < taken.sum() < len(taken)
    assert some["honoured"][taken].tolist() == yes[taken].tolist()


def test_the_null_is_uniform() -> None:
    sent, back, choices = [], [], []
    for seed in range(10):
        world = played(6, rng=seed, n_agents=100, mind="null")
        p = rows(world, "trust")
        sent += p["sent"].tolist()
        back += (p["returned"] / (3 * p["sent"])).tolist()
        choices += [c for game in BINARY for c in rows(world, game)["choice"].tolist()]
    assert stats.kstest(np.array(sent) / 10, "uniform").pvalue > 1e-4
    assert stats.kstest(back, "uniform").pvalue > 1e-4
    assert abs(np.mean(choices) - 0.5) < 4 * 0.5 / math.sqrt(len(choices))
    whole = np.concatenate(
        [rows(played(2, rng=s, n_agents=100, mind="null", study="consistency", n_elicitors=1), "trust")["sent"]
         for s in range(10)]
    )  # fmt: skip
    assert stats.chisquare(np.bincount(whole.astype(int), minlength=11)).pvalue > 1e-4


def test_an_interval_keeps_together_what_one_persona_did() -> None:
    rng = np.random.default_rng(1)
    level = rng.normal(5, 1, 100)
    x, who = np.repeat(level, 10), np.repeat(np.arange(100), 10)
    low, high = map(float, re.findall(r"[\d.]+", observers.spread(x, who, rng).partition("personas")[2]))
    half = 1.96 * level.std() / 10
    assert (high - low) / 2 == pytest.approx(half, rel=0.25)  # a third as wide if the ten counted as ten
    assert low < level.mean() < high


def test_findings_of_chance_are_near_their_closed_form() -> None:
    values: dict[str, list[float]] = {}
    for seed in range(12):
        for metric, one in found(played(rng=seed, n_agents=60, mind="null")).items():
            if not math.isnan(one.null_mean):
                values.setdefault(metric, []).append((one.value - one.null_mean) / one.null_sd)
    assert {"trust_sent", "map_trust_least_p", "lottery_people_rate", "repeated_trust_returned_share", "stable_share",
            "returns_exceed_sent", "no_swings", "trait_A"} <= set(values)  # fmt: skip
    for metric, z in values.items():
        assert abs(np.mean(z)) < 4 / math.sqrt(len(z)), metric
        assert 0.4 < np.std(z, ddof=1) < 2.0, metric


# Length and choice of what is played ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "steps", "rounds"),
    [
        ({}, 13, 7),
        ({"rules": "released_code"}, 11, 5),
        ({"rules": "released_code", "rounds": 10}, 16, 10),
        ({"rounds": 3}, 9, 3),
        ({"games": "lottery_gamble, trust"}, 2, 0),
        ({"games": "repeated_trust"}, 7, 7),
        ({"study": "consistency"}, 9, 6),
        ({"study": "consistency", "rounds": 2}, 5, 2),
        ({"study": "consistency", "rules": "released_code"}, 9, 6),
    ],
)
def test_a_run_is_as_long_as_what_is_to_be_played(
    options: dict[str, Any], steps: int, rounds: int, tmp_path: Path
) -> None:
    run = sw.run("trust_games", n_agents=6, seed=2, out=tmp_path / "run", **options)
    assert run.steps == steps
    assert run.status == "finished"
    plays = run.table("plays").filter(pl.col("step") == steps)
    assert plays.filter(pl.col("game") == "repeated_trust")["round"].max() == (rounds or None)
    if "games" in options:
        assert set(plays["game"]) == {game.strip() for game in options["games"].split(",")}


def test_no_more_is_played_than_there_is(tmp_path: Path) -> None:
    assert sw.run("trust_games", n_agents=6, steps=40, out=tmp_path / "run").steps == 13


def test_seats_of_scripted_minds(tmp_path: Path) -> None:
    run = sw.run(
        "trust_games", n_agents=6, seats={"0": "selfish", "1": "always(0.3)", "2": "null"}, out=tmp_path / "run"
    )
    plays = run.table("plays").filter(pl.col("step") == run.steps)
    amounts = plays.filter(pl.col("game").is_in(["trust", "dictator", "repeated_trust"]))
    assert set(amounts.filter(pl.col("trustor") == 0)["sent"]) == {0.0}
    assert amounts.filter(pl.col("trustor") == 1)["sent"].to_list() == pytest.approx([3.0] * 9)
    back = amounts.filter((pl.col("trustee") == 1) & (pl.col("sent") > 0) & (pl.col("game") != "dictator"))
    assert (back["returned"] / back["sent"]).to_list() == pytest.approx([0.9] * back.height)


# Answers that cannot be used ------------------------------------------------------------------------------------------


def test_a_refused_amount_drops_the_case() -> None:
    asked: list[int] = []

    def say(decision: str, agent: int, view: Any) -> Any:
        if decision == "Return":
            asked.append(agent)
        return {"amount": 11.0} if decision == "Send" and agent in (0, 1, 2) else None

    world = played(2, mind=Odd(say))
    p = rows(world, "trust")
    assert p["sent"][:3].tolist() == p["returned"][:3].tolist() == p["trustor_payoff"][:3].tolist() == [-1] * 3
    assert (p["sent"][3:] >= 0).all()
    # Their partners are not asked, and the share of valid answers says so beside every mean.
    assert not set(asked) & set(p["trustee"][:3].tolist())
    one = found(world)["trust_sent"]
    assert one.n == 9
    assert one.value == pytest.approx(p["sent"][3:].mean())
    assert "9 of 12 answers valid (VRR 0.750)" in one.note
    assert found(world)["trust_vrr"].value == 0.75
    assert observers.Battery().observe(world)["trust_vrr"] == 0.75


def test_what_cannot_be_returned_is_cut_and_counted() -> None:
    def say(decision: str, agent: int, view: Any) -> Any:
        if decision != "Return":
            return None
        return {"amount_returned": {0: 1000.0, 1: -5.0, 2: "all"}.get(agent, view.received)}

    world = played(1, mind=Odd(say))
    p = rows(world, "trust")
    by_trustee = {t: i for i, t in enumerate(p["trustee"].tolist())}
    much, less, unread = (by_trustee[t] for t in (0, 1, 2))
    assert p["returned"][much] == pytest.approx(3 * p["sent"][much])
    assert p["returned"][less] == 0
    assert p["clipped"].nonzero()[0].tolist() == sorted([much, less])
    # An answer that cannot be read drops the case.
    assert p["returned"][unread] == p["trustor_payoff"][unread] == p["trustee_payoff"][unread] == -1
    note = found(world)["trust_returned_share"].note
    assert "9 of 12 answers valid" in note
    assert "2 cut to what was possible" in note


def test_a_dropped_round_is_no_part_of_the_history() -> None:
    seen: dict[int, list[int]] = {}

    def say(decision: str, agent: int, view: Any) -> Any:
        if decision == "Send" and agent == 4:
            seen.setdefault(view.round, []).append(len(view.history))
            return {"amount": -1.0} if view.round == 3 else None
        return None

    world = played(mind=Odd(say), games="repeated_trust", rounds=5)
    assert seen == {1: [0], 2: [1], 3: [2], 4: [2], 5: [3]}
    assert found(world)["repeated_trust_sent"].n == 12 * 5 - 1


def test_an_unreadable_choice_is_dropped() -> None:
    world = played(3, mind=Odd(lambda d, agent, v: {"choice": "maybe"} if d == "Choose" and agent < 4 else None),
                   games="map_trust, lottery_people")  # fmt: skip
    p = rows(world, "map_trust")
    assert (p["choice"][:40] == -1).all()
    assert (p["choice"][40:] >= 0).all()
    assert (p["trustor_payoff"][:40] == -1).all()
    one = found(world)
    assert one["map_trust_rate"].n == 80
    assert one["map_trust_vrr"].value == pytest.approx(8 / 12)
    assert "4 of 12 trust at no p" in one["map_trust_least_p"].note


BELIEFS = {"study": "consistency", "n_elicitors": 12, "attributes": "openness, agreeableness"}


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (lambda v: {"attribute": "x", "ranking": list(v.levels), "effect_size": 0.5}, "attribute"),
        (lambda v: {"attribute": v.attribute, "ranking": ["low", "high"], "effect_size": 0.5}, "ranking"),
        (lambda v: {"attribute": v.attribute, "ranking": ["low", "low", "high"], "effect_size": 0.5}, ""),
        (lambda v: {"attribute": v.attribute, "ranking": list(v.levels), "effect_size": 1.5}, "effect_size"),
    ],
)
def test_a_ranking_must_be_one(answer: Callable[[Any], dict[str, Any]], field: str) -> None:
    params = World.Params(**BELIEFS)
    world = World(
        rng=1, n_agents=12, **BELIEFS, mind=Odd(lambda d, a, v: answer(v) if d == "Rank" and a == 3 else None, params)
    )
    world.step()
    refusals = [
        json.loads(data)
        for chunk in world.drain().events
        for kind, data in zip(chunk.columns["kind"], chunk.columns["data"], strict=True)
        if kind == "refusal"
    ]
    assert len(refusals) == 4  # two attributes by two strategies
    assert {r["field"] for r in refusals} == {field}
    beliefs = world.tables["beliefs"]
    assert beliefs["valid"].sum() == 3 * 2 * 12 - 4
    assert len(world.stated("CTX+TR", "openness").each) == 11
    world.step()
    assert found(world)["vrr_ctx_tr"].value == pytest.approx(22 / 24)
    assert found(world)["vrr_ctx_usd"].value == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g[1:],
        lambda g: [{**g[0], "mean": 10.5}, *g[1:]],
        lambda g: [{**g[0], "sd": -1.0}, *g[1:]],
        lambda g: [g[0], g[0], *g[2:]],
    ],
)
def test_an_estimate_must_be_possible(change: Callable[[list[Any]], list[Any]]) -> None:
    def say(decision: str, agent: int, view: Any) -> Any:
        if decision != "Estimate" or agent != 3:
            return None
        guesses = [{"level": level, "mean": 5.0, "sd": 1.0} for level in view.levels]
        return {"attribute": view.attribute, "mean_sd": change(guesses)}

    world = played(1, **BELIEFS, mind=Odd(say, World.Params(**BELIEFS)))
    assert len(world.stated("CTX+$", "openness").each) == 11
    assert world.tables["beliefs"]["valid"].sum() == 3 * 2 * 12 - 2


@pytest.mark.parametrize(
    "amounts", [[(1, 5.0)], [(1, 5.0), (1, 5.0)], [(1, 5.0), (2, 11.0)], [(1, 5.0), (3, 5.0)], [(1, -5.0), (2, 5.0)]]
)
def test_a_forecast_must_name_every_round(amounts: list[tuple[int, float]]) -> None:
    def say(decision: str, agent: int, view: Any) -> Any:
        said = {"rounds": [{"round": r, "amount": a, "why": ""} for r, a in amounts]}
        return said if decision == "Forecast" and agent == 3 else None

    options = {"study": "consistency", "rounds": 2, "n_elicitors": 1}
    world = played(**options, mind=Odd(say, World.Params(**options)))
    forecasts = world.tables["forecasts"]
    assert (~forecasts["valid"]).nonzero()[0].tolist() == [9, 10, 11]
    one = found(world)["mae_M3"]
    assert one.n == 11
    assert "11 of 12 answers valid" in one.note


def test_half_dollars_are_no_whole_dollars() -> None:
    options = {"study": "consistency", "n_elicitors": 1}
    say = lambda d, agent, v: {"amount": 2.5} if d == "Send" and agent == 5 else None  # noqa: E731
    world = played(2, **options, mind=Odd(say, World.Params(**options)))
    assert rows(world, "trust")["sent"][5] == -1
    assert rows(played(1, mind=Odd(say)), "trust")["sent"][5] == 2.5


# The consistency study ------------------------------------------------------------------------------------------------


def test_each_kind_of_partner_returns_by_its_rule_and_everybody_plays_all() -> None:
    world = played(study="consistency", n_elicitors=3)
    p = rows(world, "repeated_trust")
    assert len(p["sent"]) == 12 * 3 * 6
    assert Counter(zip(p["trustor"].tolist(), p["archetype"].tolist(), strict=True)) == {
        (i, kind): 6 for i in range(12) for kind in (1, 3, 5)
    }
    assert (p["trustee"] == -1).all()
    assert p["returned"] == pytest.approx(np.minimum(p["archetype"], 3 * p["sent"]))


def test_the_error_of_forecasts_is_that_of_the_tables() -> None:
    world = played(study="consistency", n_elicitors=3, mind="null")
    p, forecasts = rows(world, "repeated_trust"), world.tables["forecasts"]
    errors: dict[tuple[int, int], list[float]] = {}
    for player, kind, path in zip(*(forecasts[c].tolist() for c in ("player", "archetype", "path")), strict=True):
        for r, said in enumerate(json.loads(path), 1):
            at = (p["trustor"] == player) & (p["archetype"] == kind) & (p["round"] == r)
            errors.setdefault((kind, r), []).append(abs(said - float(p["sent"][at][0])))
    one = found(world)
    for kind in (1, 3, 5):
        each = [np.mean(errors[kind, r]) for r in range(1, 7)]
        assert one[f"mae_M{kind}"].value == pytest.approx(np.mean(each))
        assert [one[f"mae_M{kind}_round_{r}"].value for r in range(1, 7)] == pytest.approx(each)


def test_rules_foresee_themselves_better_than_others() -> None:
    one = found(played(study="consistency", n_agents=150, n_elicitors=1))
    for kind in (1, 3, 5):
        assert one[f"mae_M{kind}"].p_value < 0.02
        assert one[f"mae_M{kind}"].gap < 0


def test_elicitors_are_so_many_for_each_strategy() -> None:
    beliefs = played(1, study="consistency", n_elicitors=5, n_agents=30).tables["beliefs"]
    for strategy in ("NOCTX+TR", "CTX+TR", "CTX+$"):
        mine = beliefs.text("strategy") == strategy
        assert Counter(beliefs["elicitor"][mine].tolist()) == dict.fromkeys(set(beliefs["elicitor"][mine].tolist()), 6)
        assert len(set(beliefs["elicitor"][mine].tolist())) == 5
    assert (beliefs["effect_size"][beliefs.text("strategy") == "CTX+$"] == -1).all()


def test_more_elicitors_leave_the_others_and_what_they_see_alone() -> None:
    seen: dict[int, dict[tuple[int, str, str], Any]] = {}
    for n in (4, 9):
        seen[n] = {}

        def say(decision: str, agent: int, view: Any, n: int = n) -> Any:
            if decision == "Rank":
                seen[n][agent, view.attribute, view.has_context] = view.levels
            return None

        options = {"study": "consistency", "n_elicitors": n, "strategies": "NOCTX+TR, CTX+TR"}
        played(1, n_agents=30, **options, mind=Odd(say, World.Params(**options)))
    assert len(seen[4]) == 4 * 6 * 2
    assert len(seen[9]) == 9 * 6 * 2
    assert seen[4].items() <= seen[9].items()
    assert len({levels for (_, name, _), levels in seen[9].items() if name == "age"}) > 4


def test_chance_believes_in_equal_means() -> None:
    world = played(1, study="consistency", mind="null")
    for name in world.levels:
        assert world.stated("CTX+$", name).effect_size == 0
        assert len(set(world.stated("CTX+$", name).scores.tolist())) == 1


@pytest.mark.parametrize(("how", "target"), [("own", 1.0), ("weak", 0.8), ("strong", 0.2)])
def test_orderings_are_told_as_elicited_or_perturbed(how: str, target: float) -> None:
    told: set[tuple[str, ...]] = set()

    def say(decision: str, agent: int, view: Any) -> Any:
        if decision == "Send":
            told.add(tuple(view.told))
        return None

    options = {"study": "consistency", "conditioning": how, "n_elicitors": 12}
    world = played(4, n_agents=60, **options, mind=Odd(say, World.Params(**options)))
    # Everybody is told the same before the amount in Trust; later rounds go without.
    assert len(told) == 2
    assert () in told
    texts = max(told, key=len)
    assert len(texts) == len(world.levels)
    for (name, levels), text in zip(world.levels.items(), texts, strict=True):
        scores = world.stated("NOCTX+TR", name).scores
        own = [levels.labels[i] for i in np.argsort(-scores, kind="stable")]
        assert text.startswith(f"{levels.words}: ")
        order = text.partition(": ")[2].split(", then ")
        rho = stats.spearmanr(range(levels.k), [order.index(label) for label in own]).statistic
        possible = (
            [1.0] if how == "own" else importlib.import_module(f"{PACKAGE}.effects").possible_correlations(levels.k)
        )
        assert abs(rho - target) == pytest.approx(min(abs(r - target) for r in possible), abs=1e-9)
    assert "told_rho_openness" in found(world)
    assert "median_told_rho" in found(world)


def test_nothing_is_told_without_conditioning() -> None:
    world = played(2, study="consistency", n_elicitors=3)
    assert world.told_texts() == ()
    assert not [metric for metric in found(world) if "told" in metric]


# Language models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def asked_models(server: ModelServer, out: Path, **call: Any) -> Run:
    call = {"model": "local/scripted", "seed": 1, "n_agents": 6, **call}
    return sw.run("trust_games", api_base=server.base, out=out, **call)


@pytest.fixture(scope="module")
def battery(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return asked_models(server, tmp_path_factory.mktemp("battery") / "run")


@pytest.fixture(scope="module")
def study(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return asked_models(
        server, tmp_path_factory.mktemp("study") / "run", study="consistency", n_elicitors=2, conditioning="strong"
    )


def test_a_language_model_plays_the_battery(battery: Run) -> None:
    assert battery.steps == 13
    asked = dict(battery.answers.group_by("decision").agg(pl.col("asked").sum()).iter_rows())
    assert asked["Send"] == 6 * (2 + 7)
    assert asked["Choose"] == 6 * (10 + 10 + 1 + 1)
    assert set(asked) == {"Send", "Return", "Choose"}
    assert battery.answers["refused"].sum() == 0
    thoughts = [json.loads(d) for d in battery.events.filter(pl.col("kind") == "send")["data"].to_list()]
    assert all(set(t) == {"belief", "desire", "intention"} for t in thoughts)
    assert battery.verify()


def test_a_language_model_takes_part_in_the_study(study: Run) -> None:
    assert study.steps == 9
    asked = dict(study.answers.group_by("decision").agg(pl.col("asked").sum()).iter_rows())
    assert asked["Forecast"] == 18
    assert asked["Send"] == 6 + 18 * 6
    assert asked["Rank"] == 2 * asked["Estimate"] > 0
    assert study.answers["refused"].sum() == 0
    assert study.verify()


def test_who_ranks_without_context_is_told_of_no_game(study: Run) -> None:
    words = re.compile(r"\bgame\b|\$|dollar|\bsends?\b|multipl|money", re.IGNORECASE)
    calls = study.calls.filter(pl.col("purpose").str.starts_with("Rank"))
    texts = {
        strategy: calls.filter(pl.col("purpose") == f"Rank {strategy}").select("system", "user").rows()
        for strategy in ("NOCTX+TR", "CTX+TR")
    }
    assert texts["NOCTX+TR"]
    for system, user in texts["NOCTX+TR"]:
        shown = user.partition("It is step")[2]
        assert not words.search(shown), shown
        assert not words.search(system), system
    assert all(words.search(user) for _, user in texts["CTX+TR"])


def test_nobody_is_shown_what_others_did(battery: Run) -> None:
    """A trustor's prompts name no amount but those of its own pair; trustees see what they were sent."""
    plays = battery.table("plays").filter((pl.col("step") == 13) & (pl.col("game") == "repeated_trust"))
    sends = battery.calls.filter((pl.col("purpose") == "Send") & (pl.col("step") == 13))
    assert sends.height == 6
    for row in sends.iter_rows(named=True):
        mine = plays.filter((pl.col("trustor") == row["agent"]) & (pl.col("round") < 7)).sort("round")
        shown = re.findall(r"you sent \$([\d.]+), \$([\d.]+) came back", row["user"])
        assert shown == [(f"{s:.2f}", f"{r:.2f}") for s, r in mine.select("sent", "returned").rows()]


VARIANTS = [
    ({"partner": "person"}, "Your partner is another person."),
    ({"partner": "model"}, "a language model, a computer program and not a person"),
    ({"partner_gender": "woman"}, "described as a woman"),
    ({"partner_ethnicity": "Finnish"}, 'ethnic group is given as "Finnish"'),
    ({"instruction": "must_trust"}, "you must trust your partner"),
    ({"instruction": "must_not_trust"}, "you must not trust your partner"),
]


@pytest.mark.parametrize(("variant", "words"), VARIANTS)
@pytest.mark.parametrize("thinks", [True, False])
def test_variants_are_told_to_the_trustor(
    server: ModelServer, tmp_path: Path, variant: dict[str, str], words: str, thinks: bool
) -> None:
    call = {"games": "trust, map_trust, lottery_gamble", "n_agents": 2, "chain_of_thought": thinks, **variant}
    run = asked_models(server, tmp_path / "run", **call)
    names = ("Send", "Choose") if thinks else ("SendPlainly", "ChoosePlainly")
    for name in names:
        calls = run.calls.filter((pl.col("purpose") == name) & (pl.col("step") < 3))
        assert calls.height
        assert all(words in user for user in calls["user"])
        assert all(("belief" in system) == thinks for system in calls["system"])
    # A gamble has no partner.
    assert not any("partner" in user for user in run.calls.filter(pl.col("step") == 3)["user"])


def test_without_variants_nothing_is_said_of_the_partner(battery: Run) -> None:
    texts = battery.calls.filter(pl.col("purpose") == "Send")["user"].to_list()
    assert all("Your partner is another player." in t and "must" not in t.partition("It is step")[2] for t in texts)


def test_answers_out_of_range_are_no_answers(tmp_path: Path) -> None:
    answer = {"belief": "", "desire": "", "intention": "", "amount": 99, "amount_returned": 5, "choice": "perhaps"}
    with ModelServer() as odd:
        odd.app.script = lambda messages: json.dumps(
            {k: v for k, v in answer.items() if f'"{k}"' in messages[0]["content"].rpartition("\n")[2]}
        )
        run = asked_models(odd, tmp_path / "run", games="trust, map_trust", asking={"attempts": 2})
    assert run.status == "finished"
    values = dict(run.findings.select("metric", "value").rows())
    assert values["trust_vrr"] == values["map_trust_vrr"] == 0
    assert math.isnan(values["trust_sent"])
    refusals = run.events.filter(pl.col("kind") == "refusal")
    assert refusals.height == 6 + 60
    fields = Counter(json.loads(d)["field"] for d in refusals["data"])
    assert fields == {"amount": 6, "choice": 60}
    assert run.calls.height == 2 * 66  # each was asked again once


def test_who_is_asked_again_may_answer(tmp_path: Path) -> None:
    with ModelServer() as odd:
        odd.app.script = lambda messages: json.dumps({"amount": 99 if len(messages) == 2 else 4})
        run = asked_models(odd, tmp_path / "run", games="dictator", chain_of_thought=False)
    assert dict(run.findings.select("metric", "value").rows())["dictator_sent"] == 4
    assert run.answers["again"].sum() == 6


@pytest.mark.parametrize("call", [{}, {"study": "consistency", "n_elicitors": 6}], ids=["battery", "consistency"])
def test_agents_whose_every_answer_is_malformed_are_dropped(tmp_path: Path, call: dict[str, Any]) -> None:
    with ModelServer(bad_agents=(0, 3)) as bad:
        run = asked_models(bad, tmp_path / "run", asking={"attempts": 1}, **call)
    assert run.status == "finished"
    refused = run.events.filter(pl.col("kind") == "refusal")
    assert set(refused["agent"]) == {0, 3}
    decisions_refused = {json.loads(d)["decision"] for d in refused["data"]}
    assert decisions_refused == set(run.answers["decision"])
    plays = run.table("plays").filter(pl.col("step") == run.steps)
    for row in plays.iter_rows(named=True):
        is_binary = row["game"] in BINARY
        valid = row["choice"] >= 0 if is_binary else row["sent"] >= 0
        assert valid == (row["trustor"] not in (0, 3))
    assert run.verify()


# Runs -----------------------------------------------------------------------------------------------------------------

STUDIES: dict[str, dict[str, Any]] = {
    "battery": {},
    "consistency": {"study": "consistency", "n_elicitors": 4, "conditioning": "weak", "say_do_noise": 0.5},
    "released_code": {"rules": "released_code", "mind": "null"},
}


@pytest.mark.parametrize("name", STUDIES)
def test_cut_after_any_step_and_resumed(name: str, tmp_path: Path) -> None:
    call = {"n_agents": 8, "seed": 4, **STUDIES[name]}
    whole = sw.run("trust_games", out=tmp_path / "whole", **call)
    for after in (1, 3, 5, 8) if name == "battery" else (1, 3, 5):
        out = begin_and_cut("trust_games", tmp_path / f"{after}", after, **call)
        assert_same_run(sw.resume(out), whole)
    assert whole.verify()


def test_observers_change_nothing() -> None:
    loud, silent = (World(rng=3, n_agents=8, study="consistency", n_elicitors=3) for _ in range(2))
    for _ in range(9):
        loud.step()
        silent.step()
        for cls in World.observers:
            cls().observe(loud)
            if loud.t in (2, 5):
                cls().conclude(loud)
    for name, table in loud.tables.items():
        for column, values in table.columns.items():
            assert values.tolist() == silent.tables[name][column].tolist()


def test_the_null_stands_beside_the_findings(tmp_path: Path) -> None:
    run = sw.run("trust_games", n_agents=10, with_null=True, out=tmp_path / "run")
    assert run.findings.height > 20
    assert run.verify()


@pytest.mark.parametrize("cast", ["book_club", "village"])
def test_a_battery_over_a_cast(cast: str, tmp_path: Path) -> None:
    n = {"book_club": 12, "village": 25}[cast]
    run = sw.run("trust_games", cast=cast, n_agents=n, out=tmp_path / "run")
    assert run.steps == 13
    assert dict(run.findings.select("metric", "n").rows())["trust_sent"] == n

"""The Traitors with language models: who sees what, what refusals mean, resuming, and what personas do."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import RuleMind
from simworld.persona import trait_z
from simworld.run import Run
from tests.content.test_traitors import World, advance, decisions, findings, mind, plain, rules
from tests.server import ModelServer
from tests.server.minds import answer
from tests.unit.test_run_society import assert_same_run, begin_and_cut

Note, Speak, Vote = decisions.Note, decisions.Speak, decisions.Vote
MEETING, INNER, NOTES = "zebramark", "yakmark", "wombatmark"
"""Words that scripted traitors say where no faithful player may hear them."""


def marked(messages: list[dict[str, str]]) -> str:
    """Answer as ever; traitors mark what they say in their meeting, everybody what it thinks and notes."""
    found = json.loads(answer(messages))
    user = messages[1]["content"]
    agent = user.partition("You are agent ")[2].partition(".")[0]
    role = "traitor" if "You are a traitor." in user else "faithful"
    for field, mark in (("private", MEETING), ("inner", INNER), ("notes", NOTES), ("strategy", NOTES)):
        if field in found:
            found[field] = f"{mark} {role} {agent}: {found[field]}"
    return json.dumps(found)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        running.app.script = marked
        yield running


def asked(server: ModelServer, out: Path, **call: Any) -> Run:
    call = {"model": "local/scripted", "seed": 5, "n_players": 8, "n_traitors": 2, "judge": True, **call}
    return sw.run("traitors", api_base=server.base, out=out, **call)


@pytest.fixture(scope="module")
def spoken(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two games of language models, to their end."""
    return asked(server, tmp_path_factory.mktemp("spoken") / "run", games=2)


def roles(run: Run) -> dict[int, str]:
    return dict(run.state(run.steps).select("id", "role").iter_rows())


def test_a_language_model_is_asked_everything(spoken: Run) -> None:
    assert spoken.status == "finished"
    assert set(spoken.calls["purpose"].unique()) == {
        "Speak introduction", "Speak statement", "Speak reaction", "Speak aftermath", "Note introduction",
        "Note discussion", "Note banishment", "Vote",
        "Confer propose", "Confer conclude", "Night", "Judge",
    }  # fmt: skip
    assert spoken.answers["refused"].sum() == 0
    kinds = Counter(spoken.events["kind"].to_list())
    assert "refusal" not in kinds
    assert min(kinds[k] for k in ("say", "think", "vote", "night vote", "confer", "banished", "murdered", "judge")) > 0
    assert kinds["end"] == 2
    assert spoken.verify()
    games = spoken.table("games").filter(pl.col("step") == spoken.steps)
    assert set(games["ending"]) <= {"faithful", "traitors"}


# Secrecy --------------------------------------------------------------------------------------------------------------


def test_no_faithful_player_ever_sees_what_traitors_say_among_themselves(spoken: Run) -> None:
    """In every prompt, marks of the meeting are for traitors of that game alone; thoughts and notes for nobody else."""
    role, seen = roles(spoken), Counter[str]()
    for row in spoken.calls.iter_rows(named=True):
        agent, user = row["agent"], row["system"] + row["user"]
        if MEETING in user:
            assert role[agent] == "traitor"
            speakers = {int(w.split(":")[0]) for w in user.split(f"{MEETING} traitor ")[1:]}
            assert {role[s] for s in speakers} == {"traitor"}
            assert {s // 8 for s in speakers} == {agent // 8}
            seen["meeting"] += 1
        assert INNER not in user
        owners = {int(w.split(" ")[1].split(":")[0]) for w in user.split(f"{NOTES} ")[1:]}
        assert owners <= {agent}
        seen["notes"] += bool(owners)
        if role[agent] != "traitor":
            assert "You are a traitor" not in user
            assert "a traitor like you" not in user
            assert "I am a traitor" not in user
            assert "us traitors" not in user
    assert seen["meeting"] > 5
    assert seen["notes"] > 20


def test_no_faithful_player_ever_remembers_it(spoken: Run) -> None:
    role, marks = roles(spoken), Counter[str]()
    for row in spoken.memory.filter(pl.col("op") == "add").iter_rows(named=True):
        agent, text = row["agent"], row["text"]
        if MEETING in text or "traitors are" in text or "us traitors" in text or "I am the only traitor" in text:
            assert role[agent] == "traitor"
            marks["meeting"] += MEETING in text
            marks["role"] += "traitors are" in text
        assert INNER not in text
        if NOTES in text:
            assert text.startswith(f"{NOTES} {role[agent]} {agent}:")
            marks["notes"] += 1
        if row["predicate"] == "said":
            assert role[agent] != "judge"
    assert marks["role"] == 4
    assert min(marks["meeting"], marks["notes"]) > 5


def test_memories_and_prompts_hold_living_players_of_ones_own_game_alone(spoken: Run) -> None:
    """The names of one game never stand in the prompts and memories of the other; the dead hear nothing more."""
    names = [p.name for p in spoken.personas or ()]
    other = {g: [n for n in names[8 * (1 - g) : 8 * (2 - g)] if n not in names[8 * g : 8 * g + 8]] for g in (0, 1)}
    assert min(map(len, other.values())) == 8
    for row in spoken.calls.filter(pl.col("agent") < 16).iter_rows(named=True):
        assert not [n for n in other[row["agent"] // 8] if n in row["user"]]
    left = dict(spoken.state(spoken.steps).select("id", "left_round").iter_rows())
    for row in spoken.memory.filter((pl.col("op") == "add") & (pl.col("kind") != "formative")).iter_rows(named=True):
        assert not [n for n in other[row["agent"] // 8] if n in row["text"]]
        assert left[row["agent"]] == 0 or row["step"] <= left[row["agent"]]


def test_the_roles_that_are_shown_are_those_of_banished_players() -> None:
    """Every observation of every faithful player, whatever it is asked, holds no role of a living traitor."""
    seen: Counter[str] = Counter()

    class Watching:
        label = "watching"

        def __init__(self) -> None:
            self._rules = RuleMind(rules.policies(World.Params())["rules"], self.label)

        def decide(self, question: Any) -> Any:
            guilty = worlds[0].guilty.ravel()
            for agent, view in zip(question.ids.tolist(), question.observations(), strict=True):
                fields = set(view._fields)
                secret = fields & {"meeting", "proposed", "accuracy"}
                if agent >= 20 or not guilty[agent]:
                    assert not secret
                    if agent < 20:
                        assert not view.is_traitor
                        assert not any(view.partners)
                        for seat, there in enumerate(view.living):
                            if there and seat != view.seat:
                                assert 0.0 < view.suspicion[seat] < 1.0
                    revealed = [line for line in view.game.past if line.endswith("was a traitor.")]
                    assert len(revealed) == sum(
                        bool(guilty[a]) for a in range(20)
                        if a // 10 == view.first // 10 and worlds[0].table["left_round"][a]
                    )  # fmt: skip
                seen[question.decision.__name__] += 1
            return self._rules.decide(question)

    worlds: list[Any] = []
    worlds.append(World(rng=4, games=2, judge=True, mind=Watching()))
    advance(worlds[0])
    assert set(seen) == {"Speak", "Note", "Vote", "Confer", "Night", "Judge"}


def test_rules_keep_the_same_secrets() -> None:
    def confer(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        prey = [s for s, there in enumerate(view.living) if there and s != view.seat and not view.partners[s]]
        return decisions.Confer(private=MEETING, proposes=view.first + prey[0])

    def speak(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        return Speak(public="Nothing.", inner=INNER)

    world = World(rng=3, mind=mind(Confer=confer, Speak=speak))
    events = advance(world)
    guilty = world.guilty[0]
    texts = [(world.memory.get(i).agent, world.memory.get(i).text) for i in range(len(world.memory))]
    hearers = {agent for agent, text in texts if MEETING in text}
    assert hearers == set(np.flatnonzero(guilty).tolist())
    assert not [text for _, text in texts if INNER in text]
    assert len([e for e in events if e["kind"] == "think"]) > 20


# Refusals -------------------------------------------------------------------------------------------------------------


def test_what_refusals_mean(tmp_path: Path) -> None:
    """Spec: an empty statement, an abstention, previous beliefs; all counted, and the game goes on."""
    with ModelServer(bad_agents=(0, 3)) as bad:
        run = asked(bad, tmp_path / "run", judge=False, asking={"attempts": 1}, steps=1, traitors="3,5")
    refusals = run.events.filter(pl.col("kind") == "refusal")
    assert set(refusals["agent"].unique()) == {0, 3}
    purposes = {json.loads(d)["purpose"] for d in refusals.filter(pl.col("agent") == 3)["data"]}
    assert {"Speak introduction", "Speak statement", "Speak reaction", "Note introduction", "Note discussion",
            "Vote"} <= purposes  # fmt: skip
    said = run.events.filter((pl.col("kind") == "say") & (pl.col("agent") == 0))
    assert set(said["text"]) == {""}
    abstained = run.events.filter((pl.col("kind") == "abstain") & (pl.col("value") == 0.0))
    assert abstained["agent"].to_list() == [0, 3]
    beliefs = run.table("beliefs").filter(pl.col("step") == 1).sort("id")["suspicion"].to_numpy().reshape(8, 8)
    left = run.state(1).sort("id")["left_round"].to_numpy()
    living = [j for j in range(1, 8) if not left[j]]
    assert beliefs[0, living].tolist() == [2 / 7] * len(living)
    assert beliefs[1, living].tolist() != beliefs[0, living].tolist()
    counted = run.state(1).sort("id")["refused"].to_list()
    assert counted[0] >= 5
    assert counted[3] >= 5
    assert sum(counted) == counted[0] + counted[3] == refusals.height
    found = {f["metric"]: f["value"] for f in run.findings.to_dicts() if f["observer"] == "votes"}
    assert found["abstentions"] == 2
    assert found["invalid"] == refusals.height


@pytest.mark.parametrize(
    "decision, fixed, field",
    [
        ("Speak", {"public": "Hm.", "accuses": [99]}, "accuses"),
        ("Speak", {"public": "Hm.", "accuses": [1], "defends": [1]}, ""),
        ("Speak", {"public": "Hm.", "defends": [0, 1, 2, 3, 4, 5, 6, 7]}, "defends"),
        ("Note", {"suspicion": [{"player": 1, "suspicion": 0.5}]}, "suspicion"),
        ("Note", {"suspicion": [{"player": 1, "suspicion": 1.5}]}, "suspicion.0.suspicion"),
        ("Vote", {"target": 42, "confidence": 0.5}, "target"),
        ("Vote", {"target": None, "confidence": 0.5}, "target"),
        ("Vote", {"target": 1, "confidence": 7}, "confidence"),
        ("Confer", {"private": "Ha.", "proposes": 99}, "proposes"),
        ("Night", {"target": -1}, "target"),
    ],
)
def test_impossible_answers_are_refusals(decision: str, fixed: Any, field: str) -> None:
    """Agents 3 and 5 are the traitors; whoever gives this answer to this question is refused with this field."""
    table = {getattr(decisions, decision): lambda persona, view, memory, rng: fixed}
    stubborn = RuleMind({**rules.policies(World.Params())["rules"], **table}, "stubborn")
    world = World(rng=1, n_players=8, n_traitors=2, traitors="3,5", mind=stubborn)
    events = advance(world, 1)
    found = [json.loads(e["data"]) for e in events if e["kind"] == "refusal"]
    assert found
    assert {f["decision"] for f in found} == {decision}
    assert field in {f["field"] for f in found}
    assert world.table["refused"].sum() == len(found)


def test_a_models_answers_that_do_not_fit_do_not_stop_a_game(tmp_path: Path) -> None:
    faults = {"invalid_json": 0.1, "wrong_schema": 0.1, "refusal": 0.05, "empty": 0.05, "half_answer": 0.1}
    with ModelServer(faults=faults) as faulty:
        run = asked(faulty, tmp_path / "run", asking={"attempts": 1})
    assert run.status == "finished"
    refused = dict(run.answers.group_by("decision").agg(pl.col("refused").sum()).iter_rows())
    assert min(refused[d] for d in ("Speak", "Note", "Vote")) > 0
    assert sum(refused.values()) == run.events.filter(pl.col("kind") == "refusal").height
    assert run.events.filter(pl.col("kind") == "end").height == 1
    assert run.verify()


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [{"games": 2, "n_traitors": 1}, {"rules": "released_code", "judge": True, "mind": "bloc", "n_traitors": 2}],
    ids=str,
)
def test_cut_and_resumed(tmp_path: Path, call: dict[str, Any]) -> None:
    call = {"n_players": 7, **call}
    whole = sw.run("traitors", out=tmp_path / "whole", seed=6, **call)
    for after in (1, 2):
        out = begin_and_cut("traitors", tmp_path / str(after), after, seed=6, **call)
        assert_same_run(sw.resume(out), whole)
    assert whole.verify()


def test_a_language_models_game_resumes(server: ModelServer, spoken: Run, tmp_path: Path) -> None:
    call = {
        "model": "local/scripted", "seed": 5, "n_players": 8, "n_traitors": 2, "judge": True, "games": 2,
        "api_base": server.base,
    }  # fmt: skip
    out = begin_and_cut("traitors", tmp_path / "cut", 1, **call)
    assert sw.resume(out).digest == spoken.digest


def test_a_run_lasts_as_long_as_its_games(tmp_path: Path) -> None:
    run = sw.run("traitors", seed=1, games=4, out=tmp_path / "run")
    assert run.steps == run.table("games").filter(pl.col("step") == run.steps)["rounds"].max()
    short = sw.run("traitors", seed=1, max_rounds=1, out=tmp_path / "short")
    assert short.steps == 1


def test_many_games_keep_no_memory_stream() -> None:
    few, many = World(rng=3, games=2), World(rng=3, games=2, remember_up_to=1)
    runs = [[plain(e) for e in advance(w)] for w in (few, many)]
    assert runs[0] == runs[1]
    assert len(few.memory) > 500
    assert len(many.memory) == 0
    assert "keep beliefs and notes" in " ".join(many.notes)
    assert World(rng=3, games=21).keeps_memory is False


@pytest.mark.parametrize(
    "change, words",
    [
        *(({"params": {name: value}}, f"{name} only matters at the start of a game")
          for name, value in (("games", 2), ("n_players", 11), ("n_traitors", 2), ("traitors", "1,2,3"),
                              ("judge", True), ("remember_up_to", 0))),
        *(({"cells": {(0, column): value}}, f"0.{column} follows from the game")
          for column, value in (("role", "traitor"), ("game", 1), ("seat", 3), ("in_game", False), ("left_round", 1),
                                ("left_how", "stays"), ("accusations", 99), ("moved", 1.0), ("refused", 1))),
        ({"cells": {(0, "notebook"): "Trust nobody."}}, "give {\"notes\": [texts], \"strategies\": [texts]} as JSON"),
        ({"cells": {(0, "notebook"): '{"notes": "one"}'}}, "give {\"notes\": [texts]"),
    ],
)  # fmt: skip
def test_what_cannot_be_changed_on_the_way(begun: Run, change: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as caught:
        sw.fork(begun, 1, out=tmp_path / "fork", **change)
    assert words in str(caught.value)
    assert not (tmp_path / "fork").exists()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One game by rules."""
    return sw.run("traitors", seed=5, out=tmp_path_factory.mktemp("begun") / "run")


def test_a_changed_game_is_a_game(begun: Run, tmp_path: Path) -> None:
    """Whatever can be changed leaves shares that are shares; what is given for a change and is none is no matter."""
    fork = sw.fork(
        begun, 1, out=tmp_path / "fork", params={"win_check": "after_each_removal", "games": 1}, minds={2: "null"},
        cells={(0, "notebook"): '{"notes": ["Watch them."], "strategies": []}'},
    )  # fmt: skip
    found = {f["metric"]: f["value"] for f in fork.findings.to_dicts()}
    assert all(0 <= found[name] <= 1 for name in ("tsr", "fsr", "tas", "fas", "fcr", "lie_rate", "on_traitors"))
    assert fork.events.filter(pl.col("kind") == "end").height == 1
    assert fork.verify()


def test_what_is_shown_of_earlier_rounds_is_the_same_after_a_resume() -> None:
    """Lines on who accused whom, built from the claims of rounds that are over; the last three that have any."""
    world = World(rng=4, games=4, n_traitors=1, mind="null")
    for _ in range(4):
        if world.running:
            world.step()
    kept, past = world._summaries, world._past
    assert world.t == 4
    assert max(map(len, kept)) == 3
    world.restored()
    assert (world._summaries, world._past) == (kept, past)
    claims = world.tables["claims"]
    for game, lines in enumerate(kept):
        for line in lines:
            number = int(line.partition(":")[0].removeprefix("Round "))
            mine = (claims["game"] == game) & (claims["number"] == number)
            speakers = {world.name_of(int(a)) for a in claims["speaker"][mine]}
            assert all(name in line for name in speakers)
            assert line.count(" accused ") + line.count(" defended ") == len(
                set(zip(claims["speaker"][mine].tolist(), claims["claimed"][mine].tolist(), strict=True))
            )


def test_agents_are_shown_their_latest_notes_and_strategies() -> None:
    seen: list[Any] = []

    def note(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
        if view.seat == 0:
            seen.append(view.notebook)
        there = [s for s, is_there in enumerate(view.living) if is_there and s != view.seat]
        strategy = f"plan {len(seen)}" if len(seen) % 2 else ""
        entries = [decisions.Suspicion(player=view.first + s, suspicion=0.5) for s in there]
        return Note(suspicion=entries, notes=f"note {len(seen)}", strategy=strategy)

    world = World(rng=3, n_players=8, n_traitors=2, traitors="6,7", mind=mind(
        Note=note, Vote=lambda p, view, m, r: Vote(target=view.first + (3 if view.seat == 1 else 1)),
        Night=lambda p, view, m, r: decisions.Night(target=view.first + 2)))  # fmt: skip
    advance(world, 2)
    assert len(seen) == 5  # after the introductions, and twice a round
    assert seen[0] == decisions.Notebook()
    assert seen[4] == decisions.Notebook(notes=("note 2", "note 3", "note 4"), strategies=("plan 1", "plan 3"))
    noted = [m for m in map(world.memory.get, range(len(world.memory))) if m.agent == 0 and m.kind == "plan"]
    assert Counter(m.predicate for m in noted) == {"noted": 5, "planned": 3}


def test_prompts_show_earlier_rounds_and_the_latest_strategies(spoken: Run) -> None:
    later = spoken.calls.filter((pl.col("step") > 1) & (pl.col("purpose") != "Judge"))
    assert later.height > 50
    assert all('- "Round 1: ' in user for user in later["user"])
    assert not spoken.calls.filter((pl.col("step") == 1) & pl.col("user").str.contains('- "Round 1: ')).height
    assert later.filter(pl.col("user").str.contains("Your own latest strategies:")).height > 20


def test_records_are_numbered_as_they_are_listed(spoken: Run) -> None:
    """Numbers that ran through the whole society would tell how much was stored by others, in the meeting too."""
    shown = 0
    for user in spoken.calls["user"]:
        listed = [int(i) for i in re.findall(r"^- \[(\d+)\] ", user, re.M)]
        assert listed == list(range(1, len(listed) + 1))
        shown += len(listed)
    assert shown > 200


def test_everybody_remembers_what_is_public() -> None:
    world = World(rng=3)
    events = advance(world, 1)
    said = [e for e in events if e["kind"] == "say" and e["text"]]
    records = [world.memory.get(i) for i in range(len(world.memory))]
    heard = [m for m in records if m.predicate == "said"]
    # Thirty speeches to ten, and after the banishment nine to nine.
    assert len(said) == 39
    assert len(heard) == 30 * 10 + 9 * 9
    assert len([m for m in heard if m.source == -1]) == 39
    assert len([m for m in records if m.predicate == "voted"]) == 9
    assert not [m for m in records if m.predicate == "murdered"]
    advance(world, 1)
    records = [world.memory.get(i) for i in range(len(world.memory))]
    assert len([m for m in records if m.predicate == "murdered"]) == 8


# Personas -------------------------------------------------------------------------------------------------------------


def people(n: int, **traits: float) -> list[sw.Persona]:
    """Sampled people with some traits set, on the scale from 1 to 5."""
    out = []
    for person in sw.sample_population(n, 3):
        scores = tuple(
            t.model_copy(update={"value": traits[t.trait]}) if t.trait in traits else t for t in person.traits
        )
        out.append(person.model_copy(update={"traits": scores}))
    return out


def behaviour(world: Any) -> dict[str, float]:
    faithful = ~world.guilty.ravel()
    column = {c: world.table[c][faithful].sum() for c in ("accusations", "speeches", "moved", "updates")}
    return {"accuses": column["accusations"] / column["speeches"], "moves": column["moved"] / column["updates"]}


@pytest.mark.parametrize(
    "trait, what, sign",
    [("extraversion", "accuses", 1), ("agreeableness", "accuses", -1), ("openness", "moves", -1)],
)
def test_traits_that_are_read_move_behaviour(trait: str, what: str, sign: int) -> None:
    low, high = (
        behaviour_of(World(rng=5, games=60, personas=people(600, **{trait: value}))) for value in (1.5, 4.5)
    )  # fmt: skip
    assert sign * (high[what] - low[what]) > 0.05


def behaviour_of(world: Any) -> dict[str, float]:
    advance(world)
    return behaviour(world)


@pytest.mark.parametrize("trait", ["conscientiousness", "neuroticism"])
def test_traits_that_are_not_read_change_nothing(trait: str) -> None:
    runs = [
        [plain(e) for e in advance(World(rng=5, games=5, personas=people(50, **{trait: value})))]
        for value in (1.5, 4.5)
    ]
    assert runs[0] == runs[1]


def with_need(person: sw.Persona, value: float) -> sw.Persona:
    """Return the person with a need for cognition, on the scale from 1 to 5."""
    score = person.traits[0].model_copy(update={"trait": "need for cognition", "value": value})
    return person.model_copy(update={"traits": (*person.traits, score)})


def test_need_for_cognition_is_read() -> None:
    low, high = (
        behaviour_of(World(rng=5, games=30, personas=[with_need(p, value) for p in people(300)]))
        for value in (1.5, 4.5)
    )
    assert low["moves"] - high["moves"] > 0.05
    for person in people(5):
        assert rules.z_of(person, "openness") == trait_z(person, "O")
    assert rules.z_of(with_need(people(1)[0], 5.0), "need for cognition") == 3.0
    assert rules.z_of(None, "need for cognition") == 0.0


def test_shuffled_personas_take_the_association_away() -> None:
    found = {}
    cast = [
        with_need(person, 1.0 + 4.0 * (i * 7 % 13) / 12) for i, person in enumerate(people(800))
    ]  # fmt: skip
    for shuffles in (False, True):
        world = World(rng=5, games=80, personas=cast, shuffle_personas=shuffles)
        advance(world)
        found[shuffles] = findings(world)
    for name, sign in (
        ("trait_E_accuses", 1), ("trait_A_accuses", -1), ("trait_O_moves", -1), ("trait_need_for_cognition_moves", -1),
    ):  # fmt: skip
        true, control = found[False][f"traits.{name}"], found[True][f"traits.{name}"]
        assert sign * true.value > 4 * true.null_sd
        assert abs(control.value) < 4 / math.sqrt(control.n)
    unread = found[False]["traits.trait_C_accuses"]
    assert abs(unread.value) < 4 / math.sqrt(unread.n)

"""What agents saw and answered in a step, from the run repeated: as it was, whatever was recorded; nothing is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import simworld as sw
from simworld.errors import UsageError
from simworld.run import Run, decisions_at
from tests.server import ModelServer
from tests.unit.test_run_society import write_hamlet

STEPS = 9


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hamlet(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def run(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(scenario, seed=8, steps=STEPS, out=tmp_path_factory.mktemp("runs") / "hamlet")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_answers_are_those_that_had_effects(run: Run, step: int) -> None:
    found = decisions_at(run, step)
    events = run.events.filter(pl.col("step") == step)
    walked = [d.answer["far"] for d in found if d.decision == "Walk" and d.answer is not None]
    assert walked == events.filter((pl.col("kind") == "walk") & pl.col("value").is_not_nan())["value"].to_list()
    said = [(d.agent, d.answer["word"]) for d in found if d.decision == "Talk" and d.answer is not None]
    assert said == events.filter(pl.col("kind") == "talk").select("agent", "text").rows()
    refused = [d for d in found if d.answer is None]
    assert len(refused) == events.filter(pl.col("kind") == "refusal").height
    assert all(d.refusal.startswith("far: ") for d in refused)
    assert {d.occurrence for d in found if d.decision == "Walk"} == {0, 1}
    assert {(d.step, d.mind) for d in found} == {(step, "rules")}
    assert [d.observation for d in found if d.decision == "Talk"] == [a for a, _ in said]


def test_some_answer_was_refused(run: Run) -> None:
    assert run.events.filter(pl.col("kind") == "refusal").height


def test_single_agents_are_picked_out(run: Run) -> None:
    assert decisions_at(run, 4, [2, 5]) == [d for d in decisions_at(run, 4) if d.agent in (2, 5)]
    assert decisions_at(run, 4, []) == []


@pytest.mark.parametrize("every", [4, 0])
def test_it_does_not_matter_which_states_were_recorded(run: Run, scenario: str, every: int, tmp_path: Path) -> None:
    sparse = sw.run(scenario, seed=8, steps=STEPS, state_every=every, out=tmp_path / "sparse")
    assert decisions_at(sparse, 7) == decisions_at(run, 7)


def test_a_fork_is_repeated_with_what_was_changed(run: Run, tmp_path: Path) -> None:
    fork = sw.fork(run, 3, minds={"4": "mute"}, out=tmp_path / "fork")
    assert decisions_at(fork, 3) == decisions_at(run, 3)
    (before,) = {d.mind for d in decisions_at(run, 4, [4])}
    (after,) = {d.mind for d in decisions_at(fork, 4, [4])}
    assert (before, after) == ("rules", "mute")
    assert {d.answer["word"] for d in decisions_at(fork, 5, [4]) if d.decision == "Talk" and d.answer} == {"hm"}


def test_memories_go_with_it(tmp_path: Path) -> None:
    run = sw.run("village", seed=2, steps=9, out=tmp_path / "village")
    said = run.events.filter(pl.col("kind") == "say")
    step = int(said["step"].max())  # type: ignore[arg-type]
    talks = [d for d in decisions_at(run, step) if d.decision == "Talk" and d.answer]
    assert [d.answer["utterance"] for d in talks if d.answer] == said.filter(pl.col("step") == step)["text"].to_list()
    recalled = [(d.agent, d.purpose, d.occurrence, " ".join(str(m["id"]) for m in d.recalled)) for d in talks]
    log = run.memory.filter((pl.col("op") == "recall") & (pl.col("step") == step))
    logged = {
        (agent, data["purpose"], data["occurrence"], refs)
        for agent, data, refs in (
            (row["agent"], json.loads(row["data"]), row["refs"]) for row in log.iter_rows(named=True)
        )
    }
    assert recalled
    assert set(recalled) <= logged
    for memory in (m for d in talks for m in d.recalled):
        assert sum(memory["parts"].values()) == pytest.approx(memory["score"])
    assert any(d.recalled for d in talks)


def test_models_are_not_asked_again(server: ModelServer, tmp_path: Path) -> None:
    run = sw.run("friendship_paradox", n_agents=6, steps=3, seed=3, model="local/scripted", api_base=server.base,
                 out=tmp_path / "asked")  # fmt: skip
    before = server.app.n
    found = decisions_at(run, 2)
    assert before > 0
    assert server.app.n == before
    assert {d.mind for d in found} == {"local/scripted"}
    replies = run.calls.filter(pl.col("step") == 2).select("agent", "purpose", "reply").rows()
    for agent, purpose, reply in replies:
        (mine,) = [d for d in found if (d.agent, d.purpose) == (agent, purpose)][:1]
        assert mine.answer is not None
        assert json.loads(reply).items() <= mine.answer.items()


@pytest.mark.parametrize("step", [0, STEPS + 1, -1, True, 1.0])
def test_a_step_without_decisions_is_said(run: Run, step: int) -> None:
    with pytest.raises(UsageError, match=f"steps 1 to {STEPS}"):
        decisions_at(run, step)


def test_a_model_of_mesa_has_none(tmp_path: Path) -> None:
    plain = sw.run("mesa.examples.basic.schelling.model@Schelling", steps=2, out=tmp_path / "plain")
    with pytest.raises(UsageError, match="Mesa"):
        decisions_at(plain, 1)


def test_a_scenario_that_is_another_by_now(tmp_path: Path) -> None:
    path = Path(write_hamlet(tmp_path))
    run = sw.run(str(path), seed=8, steps=3, out=tmp_path / "run")
    seen = decisions_at(run, 2)
    path.write_text(path.read_text("utf-8") + "\n# another comment\n", "utf-8")
    assert decisions_at(run, 2) == seen
    path.write_text(path.read_text("utf-8").replace("return rng.random()", "return rng.random() / 2"), "utf-8")
    with pytest.raises(UsageError, match="have changed since"):
        decisions_at(run, 2)
    path.write_text("import simworld as sw\n", "utf-8")
    with pytest.raises(sw.errors.SimworldError):
        decisions_at(run, 2)


def test_the_folder_stays_as_it_is(run: Run) -> None:
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(run.path.rglob("*"))}
    decisions_at(run, 5)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(run.path.rglob("*"))} == before

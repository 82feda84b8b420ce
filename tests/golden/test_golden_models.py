"""A small tape of the friendship paradox, replayed byte for byte without a server, and the prompts of its agents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import simworld as sw
from simworld.mind.llm import Call, MemoryTape, Position, Reply, Sampling, Switchboard
from simworld.run import Plan
from simworld.run._prepare import make_observers
from simworld.run._recorder import Recorder
from simworld.run._runner import Silence
from simworld.run._seats import Seating
from simworld.run._tape import SqliteTape
from simworld.scenario import load, resolve
from tests.server import ModelServer

CALL: dict[str, Any] = {"seed": 1, "n_agents": 8, "steps": 3}
TAPE = Path(__file__).parent / "friendship_paradox-model.json"


def calls_of(run: sw.Run) -> list[list[Any]]:
    tape = SqliteTape(run.path / "journal.sqlite", is_read_only=True)
    keys = "step, purpose, agent, occurrence, attempt"
    rows = tape._db.execute(f"SELECT {keys}, hex(prompt), text FROM calls JOIN texts ON reply = hash ORDER BY {keys}")
    found = [list(row) for row in rows]
    tape.close()
    return found


def test_a_run_against_a_scripted_server_is_what_it_was(golden: Callable[[str, Any], None], tmp_path: Path) -> None:
    with ModelServer() as server:
        run = sw.run("friendship_paradox", model="local/scripted", api_base=server.base, out=tmp_path / "run", **CALL)
    golden(
        "friendship_paradox-model",
        {"digest": run.digest, "tape": run.manifest["tape"], "calls": calls_of(run), "minds": run.manifest["minds"]},
    )


def test_the_kept_tape_gives_its_digest_without_a_server() -> None:
    kept = json.loads(TAPE.read_text("utf-8"))
    tape = MemoryTape()
    for step, purpose, agent, occurrence, attempt, prompt, reply in kept["calls"]:
        position = Position(step, purpose, agent, occurrence, attempt)
        call = Call(position, "local/scripted", bytes.fromhex(prompt), (), (), Sampling(), 0, Reply(reply))
        tape.calls[position] = call
    board = Switchboard(only_tape=True)
    board.keep(tape)
    ref = resolve("friendship_paradox")
    cls = load(ref)
    plan = Plan(
        scenario=ref.spec, scenario_class=cls.__name__, content_hash="", params={"n_agents": CALL["n_agents"]},
        seed=CALL["seed"], steps=CALL["steps"], mind="rules", models=("local/scripted",), observers=(),
    )  # fmt: skip
    society = cls(rng=plan.seed, mind=Seating(plan, board), **plan.params)
    recorder = Recorder(plan, society, make_observers(cls.observers, ()), Silence())
    recorder.take()
    for _ in range(plan.steps):
        society.step()
        recorder.take()
    digest = recorder.conclude()[2]["digest"]
    recorder.close()
    board.close()
    assert digest == kept["digest"]


def test_prompts_are_what_they_were(golden: Callable[[str, Any], None]) -> None:
    from simworld.run import rehearse

    found = rehearse("friendship_paradox", params={"n_agents": 12}, seed=1, steps=4, models=("local/scripted",))
    assert set(found.samples) == {"Act", "Follow", "CommentTurn", "Interview"}
    shown = {
        decision: {"step": step, "agent": agent, "system": prompt.system.splitlines(), "user": prompt.user.splitlines()}
        for decision, (step, agent, prompt) in found.samples.items()
    }
    golden("friendship_paradox-prompts", shown)

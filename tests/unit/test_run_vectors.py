"""An embedder whose bytes nobody can repeat: what it said is in the run's journal, and nobody is asked twice."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.errors import CorruptRunError, ModelError, ParameterError, SimworldError
from simworld.mind.llm import KEY_VARIABLE
from simworld.run import (
    Run,
    ask,
    embedder_named,
    load_run,
    memory_of,
    prepare,
    rebuild_index,
    rehearse,
    remembered,
    search_memories,
)
from tests.server import ModelServer
from tests.server.app import DIMENSIONS
from tests.unit.test_run_memory import write_circle
from tests.unit.test_run_society import begin_and_cut, hashes

STEPS = 5
QUICK = {"retries": 0, "backoff_s": 0.001}


@pytest.fixture(scope="module")
def circle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_circle(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def call_of(base: str, name: str = "local/embed", **more: Any) -> dict[str, Any]:
    call = {"seed": 4, "steps": STEPS, "told_at": 2, "memory": {"embedder": name}, "service": QUICK}
    return {**call, "api_base": base, **more}


@pytest.fixture(scope="module")
def whole(circle: str, server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(circle, out=tmp_path_factory.mktemp("whole") / "run", **call_of(server.base))


@pytest.fixture(scope="module")
def alone(circle: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose server is gone."""
    with ModelServer() as gone:
        return sw.run(circle, out=tmp_path_factory.mktemp("alone") / "run", **call_of(gone.base))


def taped(run: Path) -> dict[bytes, bytes]:
    with contextlib.closing(sqlite3.connect(f"file:{run / 'journal.sqlite'}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT text, vector FROM vectors").fetchall())


def everything_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_vectors_are_in_the_journal(whole: Run) -> None:
    vectors = taped(whole.path)
    assert len(vectors) >= len({m.text for agent in range(6) for m in memory_of(whole, agent).records})
    rows = [np.frombuffer(v, "<f4") for v in vectors.values()]
    assert {len(row) for row in rows} == {DIMENSIONS}
    assert all(abs(float(np.linalg.norm(row)) - 1) < 1e-5 for row in rows)
    expected = {"name": "local/embed", "dimensions": DIMENSIONS, "normalised": True}
    assert whole.manifest["memory"]["embedder"] == expected


def test_the_same_texts_give_the_same_run(whole: Run, alone: Run) -> None:
    assert alone.digest == whole.digest
    assert taped(alone.path) == taped(whole.path)


def test_verify_and_the_past_need_the_folder_alone(alone: Run) -> None:
    before = hashes(alone.path)
    assert alone.verify(), str(alone.verify())
    assert len(remembered(alone)) == alone.manifest["memory"]["index"]["records"]
    assert memory_of(alone, 0, 3).records
    assert memory_of(alone, 0).insights() is not None
    assert hashes(alone.path) == before


def test_by_a_litellm_name_too(circle: str, server: ModelServer, whole: Run, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nothing")
    call = call_of(server.base, "openai/text-embedding-3-small")
    run = sw.run(circle, out=tmp_path / "run", **call)
    assert run.manifest["memory"]["embedder"]["name"] == "openai/text-embedding-3-small"
    assert taped(run.path) == taped(whole.path)
    assert run.verify()


def test_a_resume_asks_only_for_new_texts(circle: str, server: ModelServer, whole: Run, tmp_path: Path) -> None:
    out = begin_and_cut(circle, tmp_path / "run", 3, **call_of(server.base))
    known = taped(out)
    server.app.bodies = []
    done = sw.resume(out, service={"api_base": {"": server.base}})
    asked = [text for body in server.app.bodies for text in body["input"]]
    server.app.bodies = None
    assert done.digest == whole.digest
    assert len(asked) == len(set(asked)) == len(taped(out)) - len(known) > 0
    assert done.verify()


def test_a_resume_knows_where_the_embedder_was(circle: str, server: ModelServer, whole: Run, tmp_path: Path) -> None:
    out = begin_and_cut(circle, tmp_path / "run", 3, **call_of(server.base))
    assert sw.resume(out).digest == whole.digest


def test_the_manifest_says_where_an_embedder_was(circle: str, whole: Run, server: ModelServer, tmp_path: Path) -> None:
    assert "service" not in whole.manifest  # nobody has a language model
    assert whole.manifest["memory"]["service"]["api_base"] == {"": server.base}
    assert whole.manifest["memory"]["service"]["retries"] == 0
    base = server.base.replace("http://", "http://user:sk-planted-77aa@")
    run = sw.run(circle, out=tmp_path / "run", **call_of(base, steps=1))
    assert run.manifest["memory"]["service"]["api_base"] == {"": server.base}
    plain = sw.run(circle, steps=1, out=tmp_path / "plain")
    assert "service" not in plain.manifest["memory"]


def test_a_resume_elsewhere_is_written_down(circle: str, whole: Run, server: ModelServer, tmp_path: Path) -> None:
    with ModelServer() as gone:
        out = begin_and_cut(circle, tmp_path / "run", 3, **call_of(gone.base))
    with pytest.raises(ModelError):
        sw.resume(out)
    done = sw.resume(out, service={"api_base": {"": server.base}})
    assert done.manifest["memory"]["service"]["api_base"] == {"": server.base}
    assert search_memories([done], "the feast at the mill", 1)[0].hit.text.startswith("The feast")
    assert done.digest == whole.digest


def test_a_new_question_reaches_the_embedder(whole: Run, server: ModelServer) -> None:
    sent = server.app.n
    assert search_memories([whole], "the feast at the mill", 1)[0].hit.text.startswith("The feast")
    assert server.app.n == sent + 1
    found = ask(whole, 0, "When is the feast held at the mill?", policy="cosine")
    assert server.app.n == sent + 2
    assert any(m.text.startswith("The feast") for m in found.recollection)


def test_a_question_may_be_sent_to_another_address(alone: Run, server: ModelServer) -> None:
    with pytest.raises(ModelError) as caught:
        search_memories([alone], "the feast at the mill")
    assert "\n" not in str(caught.value)
    reach = {"api_base": {"": server.base}}
    assert search_memories([alone], "the feast at the mill", 1, service=reach)[0].hit.text.startswith("The feast")


def test_a_new_question_is_embedded_where_the_user_says(whole: Run, server: ModelServer) -> None:
    before, sent = hashes(whole.path), server.app.n
    found = ask(whole, 0, "Is the feast at the mill?", service={"api_base": {"": server.base}})
    assert server.app.n - sent == 1  # the dimensions are known from the journal
    assert any("feast" in m.text for m in found.cited)
    assert hashes(whole.path) == before


@pytest.mark.parametrize("how", ["ask", "search"])
def test_a_question_in_other_dimensions_is_refused(circle: str, server: ModelServer, tmp_path: Path, how: str) -> None:
    run = sw.run(circle, out=tmp_path / "run", model="local/x", **call_of(server.base, steps=2))
    search_memories([run], "bread", 1)
    server.app.behaviour.faults = {"wrong_dimension": 1.0}
    question = f"What is new to {how}?"
    look = {"ask": lambda: ask(run, 0, question, model="local/x"), "search": lambda: search_memories([run], question)}
    try:
        with pytest.raises(SimworldError, match="dimensions"):
            look[how]()
    finally:
        server.app.behaviour.faults = {}


def test_a_society_with_a_model_knows_its_server(circle: str, server: ModelServer, tmp_path: Path) -> None:
    run = sw.run(circle, out=tmp_path / "run", model="local/scripted", **call_of(server.base, steps=3))
    hits = search_memories([run], "the feast at the mill", 1)
    assert hits[0].hit.text == "The feast is on Sunday at the mill."
    assert run.verify()


def test_a_question_nobody_can_embed_is_one_line(circle: str, tmp_path: Path) -> None:
    with ModelServer() as gone:
        run = sw.run(circle, out=tmp_path / "run", model="local/x", **call_of(gone.base, steps=2))
    before = hashes(run.path)
    with pytest.raises(ModelError) as caught:
        ask(run, 0, "What is new?")
    assert "\n" not in str(caught.value)
    assert hashes(run.path) == before


def cut_and_altered(circle: str, server: ModelServer, out: Path, statement: str) -> Path:
    begin_and_cut(circle, out, 2, **call_of(server.base))
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite")) as db, db:
        db.execute(statement)
    return out


def test_another_embedder_than_the_journals_refuses(circle: str, server: ModelServer, tmp_path: Path) -> None:
    out = cut_and_altered(circle, server, tmp_path / "run", "UPDATE embedder SET name = 'local/other'")
    with pytest.raises(ParameterError, match=r"embedded by 'local/other'.*cannot be compared") as caught:
        sw.resume(out, service={"api_base": {"": server.base}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE embedder SET dimensions = 7",
        "UPDATE vectors SET vector = substr(vector, 1, 4 * 7)",
        "UPDATE vectors SET vector = x'00' WHERE text = (SELECT min(text) FROM vectors)",
        "DROP TABLE vectors",
    ],
)
def test_a_journal_at_odds_with_itself_is_corrupt(
    circle: str, server: ModelServer, tmp_path: Path, statement: str
) -> None:
    out = cut_and_altered(circle, server, tmp_path / "run", statement)
    sent = server.app.n
    looks: list[Callable[[], object]] = [lambda: sw.resume(out), lambda: remembered(load_run(out))]
    for look in looks:
        with pytest.raises(CorruptRunError) as caught:
            look()
        assert "\n" not in str(caught.value)
    assert server.app.n == sent


def test_a_server_with_other_dimensions_refuses(circle: str, server: ModelServer, tmp_path: Path) -> None:
    out = begin_and_cut(circle, tmp_path / "run", 2, **call_of(server.base))
    said = f"7 dimensions, those before had {DIMENSIONS}"
    with ModelServer(faults={"wrong_dimension": 1.0}) as other, pytest.raises(ModelError, match=said):
        sw.resume(out, service={"api_base": {"": other.base}, **QUICK})


def test_a_server_that_is_down_leaves_no_folder(circle: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did not answer"):
        sw.run(circle, out=tmp_path / "run", **call_of("http://127.0.0.1:9/v1"))
    assert not (tmp_path / "run").exists()


def test_a_server_that_breaks_down_leaves_a_resumable_run(
    circle: str, server: ModelServer, whole: Run, tmp_path: Path
) -> None:
    with ModelServer() as breaks:

        def progress(t: int, steps: int, metrics: Any) -> None:
            if t == 2:
                breaks.app.behaviour.status = 500

        with pytest.raises(ModelError, match="local/embed"):
            sw.run(circle, out=tmp_path / "run", progress=progress, **call_of(breaks.base))
    assert load_run(tmp_path / "run").status in ("interrupted", "failed")
    assert load_run(tmp_path / "run").steps == 2
    done = sw.resume(tmp_path / "run", service={"api_base": {"": server.base}})
    assert done.digest == whole.digest


@pytest.mark.parametrize(
    "name, variable", [("local/embed", KEY_VARIABLE), ("openai/text-embedding-3-small", "OPENAI_API_KEY")]
)
def test_the_key_is_nowhere_in_the_folder(
    circle: str, tmp_path: Path, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-planted-9c1e5f3a7b2d"
    monkeypatch.setenv(variable, key)
    with ModelServer() as server:
        run = sw.run(circle, out=tmp_path / "run", **call_of(server.base, name, steps=2))
        assert server.app.authorizations == {f"Bearer {key}"}
        assert key.encode() not in everything_under(run.path)
        monkeypatch.setenv(variable, "sk-other")
        monkeypatch.delenv(KEY_VARIABLE, raising=False)  # a password in the address and a key exclude each other
        base = server.base.replace("http://", f"http://user:{key}@")
        run = sw.run(circle, out=tmp_path / "second", model="local/x", **call_of(base, name, steps=1))
        assert key.encode() not in everything_under(run.path)
    with pytest.raises(ModelError) as caught:
        sw.run(circle, out=tmp_path / "third", **call_of(f"http://user:{key}@127.0.0.1:9/v1", name, steps=1))
    assert key not in str(caught.value)


def test_an_estimate_asks_no_embedder(circle: str, server: ModelServer) -> None:
    sent = server.app.n
    memory = {"embedder": "local/embed"}
    reach = {"api_base": {"": server.base}}
    found = rehearse(circle, steps=2, memory=memory, models=("local/x",), service=reach)
    assert server.app.n == sent
    assert found.models == rehearse(circle, steps=2, models=("local/x",), service=reach).models


@pytest.mark.parametrize("name", ["nope", "openai/text-embedding-3-small"])
def test_an_estimate_refuses_the_embedder_that_a_run_refuses(circle: str, server: ModelServer, name: str) -> None:
    call: dict[str, Any] = {"steps": 1, "memory": {"embedder": name}}
    with pytest.raises(ParameterError):
        prepare(circle, **call)
    with pytest.raises(ParameterError):
        rehearse(circle, models=("openai/gpt-4o-mini",), **call)


def test_a_repeated_tape_has_its_vectors(circle: str, tmp_path: Path) -> None:
    with ModelServer() as gone:
        run = sw.run(circle, out=tmp_path / "run", model="local/x", **call_of(gone.base, steps=3))
    fewer = sw.run(circle, tape=run, steps=2, out=tmp_path / "fewer")
    again = sw.run(circle, tape=run, out=tmp_path / "again")
    assert taped(again.path) == taped(fewer.path) == taped(run.path)
    assert remembered(again).digest() == remembered(run).digest()
    shutil.rmtree(run.path)
    for one in (fewer, again):
        assert len(remembered(one)) > 0
        assert one.verify()
    third = sw.run(circle, tape=again, out=tmp_path / "third")
    shutil.rmtree(again.path)
    assert third.verify()


def test_two_embedders_are_not_compared(whole: Run, circle: str, tmp_path: Path) -> None:
    other = sw.run(circle, steps=1, out=tmp_path / "other")
    with pytest.raises(sw.errors.UsageError, match="two embedders cannot be compared"):
        search_memories([other, whole], "feast")


@pytest.mark.parametrize("doubt", ["damaged", "stale"])
@pytest.mark.parametrize("own", ["hashed", "local/own"])
def test_a_question_is_compared_with_vectors_of_its_own_embedder(
    circle: str, server: ModelServer, tmp_path: Path, own: str, doubt: str
) -> None:
    """An index of another embedder is doubted and made anew: as it was, or by the run's embedder, who is then asked."""
    out = begin_and_cut(circle, tmp_path / "run", 2, **call_of(server.base, own))
    reach = {"api_base": {"": server.base}}
    embed, made = embedder_named("local/other", reach)
    rebuild_index(load_run(out), embed=embed)
    made.close()
    if doubt == "stale":
        sw.resume(out)
    else:
        (out / "memory" / "stray").write_text("x")
    server.app.bodies = []
    hits = search_memories([load_run(out)], "The feast is on Sunday at the mill.", 1, service=reach)
    asked = {body["model"] for body in server.app.bodies if body["input"] == ["The feast is on Sunday at the mill."]}
    server.app.bodies = None
    of = json.loads((out / "memory" / "index.json").read_text())["identity"]["name"]
    assert hits[0].hit.cosine > 0.999
    assert (of.removeprefix("local/") in asked) == (of != "hashed")

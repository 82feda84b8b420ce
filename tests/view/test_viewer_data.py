"""What the viewer's page is told, against what the run's own tables say."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.errors import CorruptRunError, Interrupted, UsageError
from simworld.run import Run, fork, load_run
from simworld.view.replay import NoSuchPath, Session, _run_data, _story
from simworld.view.replay._layout import Placed, layout, union_of
from simworld.view.replay._pack import Coded, narrow, pack, to_json, unpack
from simworld.view.replay._redact import RedactedRun
from simworld.view.replay._run_data import Recording
from tests.view.crowd import EVIL, crowd

CHUNK = 4
COMPARED = ("step", "kind", "agent", "target", "item", "text", "data")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return crowd(tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="module")
def recording(run: Run) -> Recording:
    return Recording(run, CHUNK)


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Session:
    to = tmp_path_factory.mktemp("village") / "run"
    return Session([sw.run("village", steps=9, seed=3, out=to)])


def ask(session: Session, path: str) -> Any:
    return json.loads(session.answer(path).body)


def state_of(recording: Recording, column: str, step: int) -> list[Any]:
    """Return a column after a step, as a page puts it together."""
    chunk, k = divmod(step, CHUNK)
    _, found = unpack(recording.column_chunk("agents", column, chunk))
    now = list(found["key"])
    last = int(found["step_offsets"][k + 1])
    for i in range(last):
        now[found["id"][i]] = found["value"][i]
    return now


def ties_of(recording: Recording, step: int) -> dict[tuple[int, int, int], float]:
    chunk, k = divmod(step, CHUNK)
    _, found = unpack(recording.ties_chunk(chunk))
    keys = zip(*(found[f"key_{n}"].tolist() for n in ("kind", "source", "target")), strict=True)
    now = dict(zip(keys, found["key_weight"].tolist(), strict=True))
    for i in range(int(found["step_offsets"][1]), int(found["step_offsets"][k + 1])):
        key = int(found["kind"][i]), int(found["source"][i]), int(found["target"][i])
        if found["op"][i]:
            now.pop(key, None)
        else:
            now[key] = float(found["weight"][i])
    return now


def test_a_block_is_read_as_it_was_written_and_aligned() -> None:
    columns = {
        "a": np.arange(3, dtype=np.uint8), "b": Coded(np.array([1, 0, 255], np.uint8), ["x\ud800é", "</script>"]),
        "c": narrow(np.array([1.5, np.nan, 3.0])), "d": narrow(np.array([2**40, 1, 2])), "e": np.zeros(0, np.int32),
    }  # fmt: skip
    block = pack(columns, first=7)
    header, found = unpack(block)
    assert (4 + int.from_bytes(block[:4], "little")) % 8 == 0
    assert all(entry["offset"] % 8 == 0 for entry in header["columns"])
    assert (header["rows"], header["first"]) == (3, 7)
    assert [entry["type"] for entry in header["columns"]] == ["u8", "u8", "f32", "f64", "i32"]
    assert found["b"] == ["</script>", "x?é", None]
    assert found["c"].tolist()[::2] == [1.5, 3.0]
    assert np.isnan(found["c"][1])
    assert found["d"].tolist() == [2**40, 1, 2]
    assert len(found["e"]) == 0
    assert to_json({"a": [np.nan, float("inf")], "b": "\ud800"}) == b'{"a":[null,null],"b":"?"}'


def test_columns_give_the_state_of_every_step(run: Run, recording: Recording) -> None:
    assert recording.chunks == 3
    types = {c["name"]: c["type"] for c in recording.head()["tables"]["agents"]}
    assert types == {
        "alive": "category", "opinion": "number", "sent": "number", "far": "number", "is_loud": "category",
        "mood": "category", "note": "category",
    }  # fmt: skip
    for step in range(run.steps + 1):
        true = run.state(step)
        n = true.height
        assert n == (9 if step < 6 else 11)
        for name, dtype in true.schema.items():
            if name in ("step", "id"):
                continue
            now = state_of(recording, name, step)
            if dtype == pl.Boolean:
                assert [None if x is None else x == "true" for x in now[:n]] == true[name].to_list()
            elif dtype == pl.String:
                assert now[:n] == true[name].to_list()
            else:
                assert np.allclose(np.array(now[:n], float), true[name].to_numpy(), rtol=1e-6, equal_nan=True)
            assert all(x is None or np.isnan(x) for x in now[n:])  # who is not born yet has no value


def test_ties_are_those_of_the_graph_at_every_step(run: Run, recording: Recording) -> None:
    for step in range(run.steps + 1):
        now = ties_of(recording, step)
        for code, kind in enumerate(("knows", "likes")):
            true = {(u, v): w for u, v, w in run.graph(step, kind).edges(data="weight", default=1.0)}
            assert {(s, t): w for (k, s, t), w in now.items() if k == code} == true
    assert any(recording.ties.op)  # some were taken away


def test_ties_without_direction_are_one_whichever_way_they_are_named(village: Session) -> None:
    recording = Recording(village.runs[0].recording.run, CHUNK)
    for step in range(0, 10, 3):
        true = {frozenset(e) for e in recording.run.graph(step, "talk").edges}
        assert {frozenset(key[1:]) for key in ties_of(recording, step) if key[0] == 1} == true


def test_events_are_there_in_order_and_searched(run: Run, recording: Recording) -> None:
    rows: list[tuple[Any, ...]] = []
    for chunk in range(recording.chunks):
        header, found = unpack(recording.events_chunk(chunk))
        assert header["first_row"] == len(rows)
        assert int(found["step_offsets"][-1]) == header["rows"]
        columns = [list(found[name]) for name in COMPARED]
        rows += zip(*columns, strict=True)
    assert rows == list(run.events.select(COMPARED).iter_rows())
    true = run.events
    found = recording.search(text="hello 1", agent=-1)
    want = true.with_row_index("row").filter(pl.col("text").str.to_lowercase().str.contains("hello 1", literal=True))
    assert [row["row"] for row in found["rows"]] == want["row"].to_list()
    assert found["first_steps"] == sorted(set(want["step"].to_list()))
    some = recording.search(kinds=["whisper"], agent=2, start=3, limit=2)
    assert (some["total"], [row["step"] for row in some["rows"]]) == (11, [4, 5])
    kinds = {kind["name"]: kind for kind in recording.event_kinds()}
    assert kinds["say"]["is_speech"]
    assert kinds["whisper"]["is_private"]
    assert not kinds["move"]["has_text"]


def test_head_marks_metrics_and_findings(run: Run, recording: Recording) -> None:
    head = recording.head()
    assert (head["steps"], head["planned_steps"], head["n_agents"], head["recorded_steps"]) == (11, 11, 11, "all")
    assert head["mind"] == "rules (hand-written, no language model)"
    assert head["names"][10] == "agent 10"
    assert head["params"]["evil"] == EVIL
    _, metrics = unpack(recording.metrics())
    assert metrics["ties"].tolist() == run.metrics["ties"].to_list()
    assert np.isnan(metrics["hole"]).all()
    found = ask(Session([run.path]), "run/0/marks")
    assert [(m["step"], m["kind"]) for m in found if m["kind"] != "rare"] == [(4, "metric"), (6, "event"), (11, "end")]
    assert "agent 3 → agent 4" in next(m["label"] for m in found if m["kind"] == "event")
    assert {m["label"].partition(":")[0] for m in found if m["kind"] == "rare"} >= {"whisper", "leave"}


def test_an_interrupted_run_and_a_fork_say_so(run: Run, tmp_path: Path) -> None:
    def stop(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        crowd(tmp_path, progress=stop)
    stopped = Recording(load_run(tmp_path / "run"))
    assert (stopped.status, stopped.head()["is_growing"]) == ("interrupted", False)
    assert [m["kind"] for m in ask(Session([tmp_path / "run"]), "run/0/marks")][-1] == "stopped"
    other = fork(run, 4, cells={("3", "sent"): 50}, out=tmp_path / "fork")
    assert "sent of agent 3 = 50" in str(Recording(other).head())
    assert "sent of agent 3" not in str(Recording(RedactedRun(other)).head())
    session = Session([run, other])
    marks = ask(session, "run/1/marks")
    assert any(m["kind"] == "intervention" and m["step"] in (4, 5) for m in marks)
    found = ask(session, "compare")
    assert (found["same_until"], found["first"]["step"], found["first"]["agents"]) == (4, 5, [3])
    assert found["reached"] == [[3, 5]]
    assert "error" in ask(Session([run]), "compare")


def test_a_growing_run_is_looked_at_anew_and_keeps_its_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run_data, "LOOK_EVERY_S", 0.0)
    seen: list[tuple[Any, ...]] = []
    opened: list[Session] = []

    def look(step: int, *_: Any) -> None:
        if step == 3:
            opened.append(Session([tmp_path / "run"]))
        if opened:
            opened[0].runs[0]._took_s = 0.0
            # The recorder may be some steps behind.
            deadline = time.monotonic() + 20
            while (head := ask(opened[0], "run/0/head"))["steps"] < step - 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            quality = unpack(opened[0].answer("run/0/layout").body)[0]["quality"]
            seen.append((head["steps"], head["is_growing"], quality, head["chunk_steps"], head["event_rows"]))

    whole = crowd(tmp_path, progress=look)
    assert [each[0] for each in seen] == sorted(each[0] for each in seen)
    assert seen[-1][0] >= 10
    assert {each[1:4] for each in seen} == {(True, "quick", seen[0][3])}
    assert all(rows == whole.events.filter(pl.col("step") <= steps).height for steps, *_, rows in seen)
    opened[0].runs[0]._took_s = 0.0
    end = ask(opened[0], "run/0/head")
    assert (end["steps"], end["is_growing"], end["digest"], end["chunk_steps"]) == (
        11,
        False,
        whole.digest,
        seen[0][3],
    )
    assert ask(opened[0], "session")["is_live"] is False


def test_traits_communities_and_layout(village: Session) -> None:
    people = village.runs[0].recording.personas
    header, found = unpack(village.answer("run/0/traits").body)
    assert found["openness"].tolist() == pytest.approx([p.traits[0].value for p in people])
    assert found["age"].tolist() == [p.demographics.age for p in people]
    assert found["occupation"][0] == people[0].occupation.title
    assert set(found["mind"]) == {"rules (hand-written, no language model)"}
    assert len(found["community"]) == 25
    assert "Louvain" in header["community"]
    named = {t["name"]: t["type"] for t in ask(village, "run/0/head")["traits"]}
    assert set(named) == set(found)
    header, places = unpack(village.answer("run/0/layout").body)
    at = np.stack([places["x"], places["y"]], axis=1)
    assert header["quality"] == "final"
    assert np.abs(at).max() <= 1.0 + 1e-6
    assert len(np.unique(at.round(4), axis=0)) == 25


def grouped(size: int) -> tuple[Any, Any, Any, Any]:
    """Return six groups with ties inside them, few between: union, group, and ends that were and were not tied."""
    rng = np.random.default_rng(1)
    n = 6 * size
    group = np.repeat(np.arange(6), size)
    s, t = rng.integers(0, n, (2, 20 * n))
    keep = (group[s] == group[t]) | (rng.random(20 * n) < 0.01)
    # The last agent is alone.
    return union_of(n + 1, s[keep], t[keep], np.ones(keep.sum())), group, (s[keep], t[keep]), (s[~keep], t[~keep])


@pytest.mark.parametrize("size", [20, 50])  # every pair of agents, and the mesh
def test_who_is_tied_stands_near_and_who_is_alone_stands_around(size: int) -> None:
    union, _, tied, apart = grouped(size)
    places = layout(union, "quick")
    assert np.array_equal(places, layout(union, "quick"))
    near, far = (np.linalg.norm(places[s] - places[t], axis=1).mean() for s, t in (tied, apart))
    assert near < 0.6 * far
    assert np.linalg.norm(places[-1]) > np.linalg.norm(places[:-1], axis=1).mean()
    assert np.abs(places).max() <= 1.0


def test_the_final_layout_is_made_by_another_process_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr("simworld.view.replay._layout.AT_ONCE_UP_TO", 0)
    union, group, _, _ = grouped(20)
    placed = Placed(union)
    assert placed.places()[1] == "quick"
    labels = placed.communities(timeout_s=60)
    assert labels is not None
    largest = [np.unique(labels[:-1][group == g], return_counts=True)[1].max() for g in range(6)]
    assert min(largest) >= 18
    deadline = time.monotonic() + 60
    while placed.places()[1] == "quick" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert np.array_equal(placed.places()[0], layout(union))
    assert Placed(union).places()[1] == "final"
    placed.close()


def test_an_agents_story_is_what_the_run_says_of_it(village: Session) -> None:
    recording = village.runs[0].recording
    run = recording.run
    told = run.memory.filter((pl.col("op") == "add") & (pl.col("predicate") == "said") & (pl.col("source") >= 0))
    agent = int(told["agent"][0])
    story = ask(village, f"run/0/agent/{agent}")
    assert story["name"] == run.personas[agent].name  # type: ignore[index]
    view = run.memory_of(agent)
    assert [m["id"] for m in story["memory"]] == [m.id for m in view.records]
    heard = next(m for m in story["memory"] if m["id"] == told["id"][0])
    assert [_story._stands_in("no", said) for said in ("I know no.", "no", "I know")] == [True, True, False]
    event = run.events.row(heard["event_row"], named=True)
    assert (event["kind"], event["agent"], event["target"]) == ("say", told["source"][0], agent)
    assert event["text"] in heard["text"]
    recalled = run.memory.filter((pl.col("op") == "recall") & (pl.col("agent") == agent))
    assert len(story["recalls"]) == recalled.height
    assert [f["id"] for f in story["recalls"][0]["found"]] == [int(i) for i in recalled["refs"][0].split()]
    assert story["recalls"][0]["question"] == recalled["text"][0]
    groups = dict(story["persona"]["groups"])
    assert ["age", run.personas[agent].demographics.age] in groups["Who"]  # type: ignore[index]
    changes = run.ties.filter((pl.col("source") == agent) | (pl.col("target") == agent))
    assert len(story["ties"]) == changes.height


def test_decisions_and_lineage(village: Session) -> None:
    run = village.runs[0].recording.run
    said = run.events.with_row_index("row").filter(pl.col("kind") == "say").row(0, named=True)
    found = ask(village, f"run/0/decisions/{said['step']}/{said['agent']}")
    talk = next(d for d in found if d["decision"] == "Talk")
    assert talk["answer"]["utterance"] == said["text"]
    assert said["row"] in talk["rows"]
    assert talk["observation"]
    assert talk["recalled"] == [f["id"] for f in talk["found"]]
    assert all(f["parts"] for f in talk["found"])
    assert "error" in ask(village, "run/0/decisions/0/1")
    tree = ask(village, f"run/0/lineage/{said['item']}?row={said['row']}")
    assert {n["kind"] for n in tree["nodes"]} == {"say", "talk"}
    assert [e[0] for e in tree["edges"]] == [n["row"] for n in tree["nodes"]][:-1]
    seeds = run.events.filter(pl.col("kind") == "seed")
    tells = run.events.with_row_index("row").filter(pl.col("kind") == "tell")
    assert tells.height
    first = tells.row(0, named=True)
    tree = ask(village, f"run/0/lineage/{first['item']}?row={first['row']}")
    root = tree["nodes"][0]
    assert (root["kind"], root["agent"]) == ("seed", seeds.filter(pl.col("item") == first["item"])["agent"][0])
    assert [root["row"], first["row"]] in tree["edges"]


def test_a_campaign_and_its_recorded_runs(tmp_path: Path) -> None:
    (tmp_path / "crowd.py").write_text((Path(__file__).parent / "crowd.py").read_text().split("'''")[1])
    found = sw.sweep(
        {
            "scenario": f"{tmp_path / 'crowd.py'}@Crowd", "factors": {"n_agents": [4, 6]}, "replicates": 2, "steps": 3,
            "record": "runs", "measures": [{"metric": "ties"}],
        },
        out=tmp_path / "campaign", executor="here",
    )  # fmt: skip
    session = Session([], found)
    said = ask(session, "campaign")
    assert (said["outcome"], said["factors"]) == ("ties", [{"name": "n_agents", "values": [4, 6]}])
    assert [(m["point"], m["n"]) for m in said["means"]] == [(0, 2), (1, 2)]
    assert said["means"][0]["mean"] == found.done.filter(pl.col("point") == 0)["ties"].mean()
    assert len(said["runs"]) == 4
    assert ask(session, "campaign-run/1/1") == {"run": 0}
    assert ask(session, "campaign-run/1/1") == {"run": 0}
    assert ask(session, "run/0/head")["n_agents"] == 6
    with pytest.raises(UsageError, match="no run of point 7"):
        session.answer("campaign-run/7/0")


def test_wrong_paths_and_broken_folders_are_said_in_words(run: Run, tmp_path: Path) -> None:
    session = Session([run])
    for path in (
        "", "nope", "run", "run/0", "run/1/head", "run/-1/head", "run/0/ties", "run/0/ties/9", "run/0/events/-1",
        "run/0/column/agents/nope/0", "run/0/column/nope/sent/0", "run/0/column/..%2F..%2Fmanifest.json/sent/0",
        "run/0/agent/99", "run/0/agent/1e3", "run/0/agent/٣", "run/0/decisions/1/99", "run/0/head/more", "campaign",
    ):  # fmt: skip
        with pytest.raises(UsageError, match=r"no |nothing|not a whole number"):
            session.answer(path)
    with pytest.raises(NoSuchPath):
        session.answer("run/0/nope")
    with pytest.raises(UsageError, match="not a run"):
        Session([tmp_path])
    crowd(tmp_path / "broken")
    (segment,) = (tmp_path / "broken" / "run" / "events").iterdir()
    os.truncate(segment, 100)
    with pytest.raises(CorruptRunError, match="truncated or altered"):
        Session([tmp_path / "broken" / "run"]).answer("run/0/head")

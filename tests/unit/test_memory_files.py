"""Files: the log replayed, the snapshot restored and the copy forked are the store; a view of the past is the past."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from simworld.errors import ParameterError, RunError, StorageError
from simworld.memory import (
    KINDS,
    EmbedderIdentity,
    Flag,
    MemorySettings,
    MemoryStore,
    MemoryView,
    NewMemory,
    Operation,
    export,
    owner_of,
    replay,
    restore,
    snapshot,
)
from simworld.rng import Chance

N = 4
SETTINGS = MemorySettings(
    tree=("a.b", "a.c"), tau_steps=1.5, forgetting="threshold", capacity=12, episodes=True, episode_records=4
)
WORDS = ("bread", "río", "violin", "収穫", "lantern", "sheep's", "mill", "fox")


def lived_step(store: MemoryStore, t: int, draw: random.Random) -> None:
    """One step in which everything happens that the log has a word for."""
    store.now = t
    asked = [draw.randrange(N) for _ in range(3)]
    store.retrieve(asked, [draw.choice(WORDS) for _ in asked], k=2, touch=True, purpose="talk", occurrences=[0, 1, 2])
    for agent in range(N):
        for order in range(draw.randint(0, 3)):
            own = store.ids_of(agent).tolist()
            kind = draw.choice(KINDS)
            cites = tuple(draw.sample(own, min(len(own), 2)))
            store.remember(NewMemory(
                agent, " ".join(draw.sample(WORDS, 3)), kind, order=order, value=draw.choice((float("nan"), 0.5)),
                evidence=cites if kind == "reflection" else (), links=cites[:1], subject=draw.choice((None, 1, "mill")),
                predicate=draw.choice(("", "gave")), place=draw.choice(("", "mill", "inn")),
                source=draw.choice((-1, 2)), data=draw.choice(({}, {"é": [1, 0.5]})),
                flags=int(draw.choice((0, 0, Flag.PRIVATE, Flag.PINNED))),
            ))  # fmt: skip
    store.commit()
    for agent in range(N):
        path = draw.choice(("core/self", "persona/a.b", "persona/a.x", "fact/mill/owner", "fact/#1/likes"))
        kind = draw.choice(("ADD", "UPDATE", "DELETE"))
        store.apply_ops(agent, [Operation(op=kind, path=path, value=draw.choice(WORDS))])  # type: ignore[arg-type]
        if agent in store.closed_episodes():
            store.summarise(agent, store.closed_episodes()[agent], f"summed up {t}")
        if store.gathered(agent) > 2:
            store.reflected(agent)
    if len(store) > 3:
        store.flag(draw.randrange(len(store)), draw.choice((Flag.PROBE, Flag.PINNED)))
    if t == 5:
        store.share_archetypes([0, 1, -1, 0])
        store.share_archetypes([-1] * N)
    store.forget()


def story(seed: int, steps: int = 16) -> tuple[MemoryStore, list[Any], list[dict[int, str]]]:
    """Return a store, its log, and what could be seen of every agent after each step."""
    store, draw = MemoryStore(N, SETTINGS, chance=Chance(seed)), random.Random(seed)
    parts, seen = [], []
    for t in range(steps):
        lived_step(store, t, draw)
        parts.append((t, *store.drain()))
        seen.append({agent: looked(store, agent) for agent in range(N)})
    return store, parts, seen


def looked(store: MemoryStore, agent: int) -> str:
    """What an agent has and would recall, as text: NaN is not itself."""
    view = MemoryView(store, agent)
    found = [
        (policy, [(f.memory, f.score, f.parts) for f in view.recall(question, policy=policy, k=4).found])
        for policy in ("hybrid", "reverie", "genagents", "memorybank", "random_retrieval")
        for question in ("mill bread", "収穫")
    ]  # fmt: skip
    return repr((
        view.digest(), view.records, view.core, view.tree, view.facts(), view.insights(), store.gathered(agent), found,
        store.closed_episodes().get(agent),
    ))  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_log_snapshot_and_copy_are_the_store_and_go_on_alike(seed: int, tmp_path: Path) -> None:
    store, parts, seen = story(seed)
    snapshot(store, tmp_path / "memory.parquet")
    # As a run's folder holds it: through JSON.
    told = [(t, n, json.loads(json.dumps({k: _plain(v) for k, v in c.items()}))) for t, n, c in parts]
    others = {
        "log": replay(parts, SETTINGS, N, chance=Chance(seed)),
        "log as text": replay(told, SETTINGS, N, chance=Chance(seed)),
        "snapshot": restore(tmp_path / "memory.parquet", SETTINGS, chance=Chance(seed)),
        "copy": store.fork(),
    }
    for name, other in others.items():
        assert other.digest() == store.digest(), name
        other.now = store.now
        assert {agent: looked(other, agent) for agent in range(N)} == seen[-1], name
        assert (other.state(), len(other)) == (store.state(), len(store)), name
        assert other.drain()[0] == 0, name
    for other in (store, *others.values()):
        draw = random.Random(99)
        for t in range(16, 20):
            lived_step(other, t, draw)
    assert {other.digest() for other in others.values()} == {store.digest()}
    logs = [repr({k: _plain(v) for k, v in other.drain()[1].items()}) for other in (store, *others.values())]
    assert len(set(logs)) == 1
    assert store.refused
    assert sorted(p.name for p in tmp_path.iterdir()) == ["memory.parquet"]


def _plain(column: Any) -> Any:
    return column.tolist() if isinstance(column, np.ndarray) else column


def test_every_word_of_the_log_occurs_in_these_stories() -> None:
    from simworld.memory._log import OPS

    said: set[str] = set()
    store, draw = MemoryStore(N, SETTINGS, chance=Chance(0)), random.Random(0)
    for t in range(16):
        lived_step(store, t, draw)
        said |= set(store.drain()[1]["op"])
    assert said == set(OPS)


@pytest.mark.parametrize("base", [None, 6])
def test_the_view_of_a_past_step_is_what_could_be_recalled_then(base: int | None, tmp_path: Path) -> None:
    """Touches, evictions and closed facts overwrite columns: a view of step t replays the log, or its tail."""
    store, parts, seen = story(7)
    for t in (0, 3, 6, 7, 11, 15):
        if base is not None and t >= base:
            early = replay(parts, SETTINGS, N, until=base, chance=Chance(7))
            snapshot(early, tmp_path / "early")
            start = restore(tmp_path / "early", SETTINGS, chance=Chance(7))
            past = replay(parts[base + 1 :], SETTINGS, N, until=t, start=start)
        else:
            past = replay(parts, SETTINGS, N, until=t, chance=Chance(7))
        assert past.now == t
        assert {agent: looked(past, agent) for agent in range(N)} == seen[t]
    assert store.digest() == replay(parts, SETTINGS, N).digest()


def test_looking_changes_nothing() -> None:
    store, _, seen = story(2)
    before = store.digest(), store.state(), store.drain()[0]
    for agent in range(N):
        view = MemoryView(store, agent)
        view.recall("bread", touch=True)
        for m in view.records:
            assert next(iter(view.evidence(m.id))) == (0, view.get(m.id)) or m.value != m.value
    store.commit()
    assert (store.digest(), store.state(), store.drain()[0]) == before
    assert {agent: looked(store, agent) for agent in range(N)} == seen[-1]


def test_evidence_is_a_tree_down_to_what_happened() -> None:
    store = MemoryStore(2)
    store.add([NewMemory(0, "a"), NewMemory(0, "b"), NewMemory(1, "not yours")])
    store.add([NewMemory(0, "ab", "reflection", evidence=(0, 1))])
    store.add([NewMemory(0, "top", "reflection", evidence=(3, 0))])
    tree = [(depth, m.text) for depth, m in MemoryView(store, 0).evidence(4)]
    assert tree == [(0, "top"), (1, "ab"), (2, "a"), (2, "b"), (1, "a")]
    with pytest.raises(ParameterError, match="is not agent 0's"):
        MemoryView(store, 0).get(2)


@pytest.mark.parametrize("settings", [MemorySettings(), MemorySettings(capacity=5), SETTINGS])
def test_an_empty_store_and_its_capacity_come_back_from_a_snapshot(settings: MemorySettings, tmp_path: Path) -> None:
    empty = MemoryStore(1001, settings)
    empty.now = 4
    snapshot(empty, tmp_path / "empty")
    again = restore(tmp_path / "empty", settings)
    assert (len(again), again.n_agents, again.now, again.capacity) == (0, 1001, 4, settings.capacity or 200)
    assert (again.digest(), again.state()) == (empty.digest(), empty.state())
    assert len(again.retrieve([3], ["bread"])[0]) == 0
    assert again.add([NewMemory(3, "bread")]).tolist() == [0]
    grown = MemoryStore(2, settings)
    grown.grow(1001)
    snapshot(grown, tmp_path / "grown")
    assert restore(tmp_path / "grown", settings).capacity == grown.capacity == (settings.capacity or 2000)


def test_what_is_shared_comes_back_from_a_snapshot(tmp_path: Path) -> None:
    store = MemoryStore(3)
    store.share_archetypes([0, 0, -1])
    store.add([NewMemory(0, "the bread was stale")])
    store.add([NewMemory(owner_of(0), "bakers cheat", "reflection", evidence=(0,))])
    snapshot(store, tmp_path / "m")
    again = restore(tmp_path / "m", MemorySettings())
    assert (again.digest(), again.state()) == (store.digest(), store.state())
    for one in (store, again):
        assert [[m.id for m in found] for found in one.retrieve(range(3), ["bakers"] * 3)] == [[1, 0], [1], []]
        assert [len(list(MemoryView(one, a).evidence(1))) for a in (0,)] == [2]


def test_symbols_come_back_whatever_was_interned_before() -> None:
    """Codes go by the order of use, words do not: the digest is over words."""
    one, other = MemoryStore(2), MemoryStore(2)
    one.add([NewMemory(0, "x", subject="mill", object=1), NewMemory(1, "y", subject=1, object="mill")])
    other.add([NewMemory(0, "x", subject="mill", object=1)])
    assert one.digest(0) == other.digest(0)
    other.add([NewMemory(1, "y", subject=1, object="mill")])
    assert one.digest() == other.digest()


# -- files that do not fit ------------------------------------------------------------------------------------------


class Other:
    is_exact = True
    identity = EmbedderIdentity(name="other", dimensions=3, normalised=True)

    def embed(self, texts: Any) -> Any:
        return np.ones((len(texts), 3), np.float32)


def test_another_embedders_vectors_are_refused(tmp_path: Path) -> None:
    store, _, _ = story(1, 3)
    snapshot(store, tmp_path / "m")
    with pytest.raises(ParameterError, match=r"embedded by 'hashed'.*'other'"):
        restore(tmp_path / "m", SETTINGS, embed=Other())
    own = MemoryStore(1, embed=Other())
    own.add([NewMemory(0, "x")])
    snapshot(own, tmp_path / "o")
    assert restore(tmp_path / "o", MemorySettings(), embed=Other()).digest() == own.digest()
    with pytest.raises(ParameterError, match="embedded by 'other'"):
        restore(tmp_path / "o", MemorySettings())


def test_what_is_no_snapshot_and_where_none_can_be_written(tmp_path: Path) -> None:
    store = MemoryStore(2)
    store.add([NewMemory(0, "x")])
    snapshot(store, tmp_path / "small")
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "table")
    (tmp_path / "text").write_text("memory")
    (tmp_path / "cut").write_bytes((tmp_path / "small").read_bytes()[:-40])
    for name in ("table", "text", "cut", "nowhere"):
        with pytest.raises(ParameterError, match="is no snapshot"):
            restore(tmp_path / name, MemorySettings())
    with pytest.raises(StorageError, match="cannot write"):
        snapshot(store, tmp_path / "no folder" / "m")


def test_a_log_with_a_hole_is_refused() -> None:
    store, parts = MemoryStore(1), []
    for t in range(3):
        store.now = t
        store.add([NewMemory(0, f"day {t}")])
        parts.append((t, *store.drain()))
    for missing, said in (([1, 2], "has record 1 where 0 should be"), ([0, 2], "has record 2 where 1 should be")):
        with pytest.raises(RunError, match=said):
            replay([parts[t] for t in missing], MemorySettings(), 1)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_everything_that_was_ever_stored_is_exported(format: Any, tmp_path: Path) -> None:
    store, _, _ = story(4)
    export(store, tmp_path / "out", format)
    table = pl.read_ndjson(tmp_path / "out") if format == "jsonl" else pl.read_parquet(tmp_path / "out")
    assert table.height == len(store)
    assert any(store.get(i).flags & Flag.GONE for i in range(len(store)))
    for row in table.iter_rows(named=True):
        m = store.get(row["id"])
        assert (row["agent"], row["kind"], row["text"], row["t_access"]) == (m.agent, m.kind, m.text, m.t_access)
        assert (tuple(row["evidence"]), tuple(row["links"])) == (m.evidence, m.links)
        assert row["subject"] == ("#1" if m.subject == 1 else m.subject or "")
    export(MemoryStore(1), tmp_path / "none", format)
    assert (tmp_path / "none").exists()

"""The vector index of a run: exact, blind to other runs, and never trusted when a byte of it is not as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simworld.errors import StorageError
from simworld.memory import _index
from simworld.memory._index import Entry, Hit, IndexDoubt, MemoryIndex, build_index, drop_index, open_index

IDENTITY = {"name": "test", "dims": 32}
KINDS = ("observation", "utterance", "reflection")
Batches = list[tuple[Sequence[Entry], NDArray[np.float32]]]


def records(n: int, *, dims: int = 32, seed: int = 0, repeated: float = 0.0) -> tuple[list[Entry], NDArray[np.float32]]:
    """Return n records with sparse vectors, as of hashed words; a share of them has one of three texts."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((n, dims), np.float32)
    words = rng.zipf(1.3, (n, 12)) % 5_000
    sign = np.where((words * 2_654_435_761) & 64, 1, -1)
    for column in range(12):
        vectors[np.arange(n), (words[:, column] * 40_503) % dims] += sign[:, column]
    vectors += rng.normal(0, 0.05, vectors.shape).astype(np.float32)  # no two texts as near by chance
    texts = [" ".join(f"w{w}" for w in row) for row in words]
    for i in np.flatnonzero(rng.random(n) < repeated):
        vectors[i], texts[i] = vectors[i % 3], texts[i % 3]
    entries = [
        Entry(3 * i + 1, int(rng.integers(0, max(2, n // 40))), KINDS[i % 3], i // 20, i / n, -1, 5 * (i % 2), texts[i])
        for i in range(n)
    ]
    return entries, vectors


def build(folder: Path, entries: list[Entry], vectors: NDArray[np.float32], **more: Any) -> _index.IndexReport:
    cut = len(entries) // 2
    batches: Batches = [(entries[:cut], vectors[:cut]), (entries[cut:], vectors[cut:])]
    return build_index(folder, **{"run": "r", "identity": IDENTITY, "source": "s", "batches": batches, **more})


def opened(folder: Path, source: str = "s") -> MemoryIndex:
    return open_index(folder, source=source, identity=IDENTITY)


def exact(
    entries: list[Entry], vectors: NDArray[np.float32], wanted: NDArray[np.float32], k: int, among: NDArray[np.bool_]
) -> list[int]:
    """Return the ids of the k nearest by cosine, of equal ones the smaller first, written down independently."""
    rows = vectors.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted)
    cosines = np.divide(rows @ wanted.astype(np.float64), lengths, out=np.zeros(len(rows)), where=lengths > 0)
    order = sorted(np.flatnonzero(among), key=lambda i: (-round(cosines[i], 6), entries[i].id))
    return [entries[i].id for i in order[:k]]


def strays(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder.parent) if name.startswith("memory.tmp-"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry], NDArray[np.float32]]:
    """Hold an index of 300 records; a test that alters it works on a copy."""
    folder = tmp_path_factory.mktemp("run") / "memory"
    entries, vectors = records(300, repeated=0.2)
    vectors[7] = 0.0
    build(folder, entries, vectors)
    return folder, entries, vectors


@pytest.fixture
def copy(small: tuple[Path, list[Entry], NDArray[np.float32]], tmp_path: Path) -> Path:
    shutil.copytree(small[0], tmp_path / "memory")
    return tmp_path / "memory"


def test_a_search_equals_exact_cosine_whatever_the_filter(
    small: tuple[Path, list[Entry], NDArray[np.float32]],
) -> None:
    folder, entries, vectors = small
    agent, t = np.array([e.agent for e in entries]), np.array([e.t for e in entries])
    kind = np.array([e.kind for e in entries])
    rng = np.random.default_rng(1)
    with opened(folder) as index:
        assert index.count() == 300
        for wanted in [*vectors[:5], *rng.standard_normal((5, 32)).astype(np.float32), vectors[7]]:
            for agents, kinds, until in (
                (None, None, None), ([2], None, None), ([1, 3], ["reflection"], None), (None, ["utterance"], 7),
                ([0, 1, 2], list(KINDS), 3), (None, None, 0),
            ):  # fmt: skip
                among = np.ones(300, bool)
                among &= True if agents is None else np.isin(agent, agents)
                among &= True if kinds is None else np.isin(kind, kinds)
                among &= True if until is None else t <= until
                hits = index.search(wanted, 9, agents=agents, kinds=kinds, until=until)
                assert [h.id for h in hits] == exact(entries, vectors, wanted, 9, among)
        assert index.search(vectors[0], 5, agents=[]) == index.search(vectors[0], 5, kinds=[]) == []
        assert index.search(vectors[0], 5, agents=[999]) == []
        assert len(index.search(vectors[0], 1_000)) == 300


def test_a_hit_is_the_record_that_was_given(small: tuple[Path, list[Entry], NDArray[np.float32]]) -> None:
    folder, entries, vectors = small
    with opened(folder) as index:
        i = next(i for i in range(8, 300) if [e.text for e in entries].count(entries[i].text) == 1)
        e = entries[i]
        hit = index.search(5 * vectors[i], 1, agents=[e.agent])[0]
        assert hit[:6] == (e.id, e.agent, e.kind, e.t, e.importance, e.text)
        assert hit.flags == e.flags == 5 * (i % 2)
        assert hit.cosine == pytest.approx(1.0)
        assert index.search(-vectors[i], 300)[-1].cosine == pytest.approx(-1.0)


def test_above_the_scan_the_graph_and_the_filters_agree_with_exact_cosine(
    small: tuple[Path, list[Entry], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, entries, vectors = small
    monkeypatch.setattr(_index, "SCAN", 40)
    monkeypatch.setattr(_index, "AGENTS", 2)
    agent, kind = np.array([e.agent for e in entries]), np.array([e.kind for e in entries])
    found = wrong = 0
    with opened(folder) as index:
        for wanted in vectors[10:30]:
            for agents, kinds in ((None, None), (None, ["utterance"]), ([1], None), ([0, 1, 2, 3, 4], None)):
                among = np.isin(agent, agents) if agents else np.ones(300, bool)
                among &= np.isin(kind, kinds) if kinds else True
                hits = index.search(wanted, 10, agents=agents, kinds=kinds)
                assert [(-h.cosine, h.id) for h in hits] == sorted((-h.cosine, h.id) for h in hits)
                expected = exact(entries, vectors, wanted, 10, among)
                found += len(set(expected) & {h.id for h in hits})
                wrong += 10 - len(set(expected) & {h.id for h in hits})
                assert all(among[(h.id - 1) // 3] for h in hits)
                if agents == [1]:
                    assert [h.id for h in hits] == expected
    assert found / (found + wrong) > 0.97


def test_up_to_the_scan_a_search_is_exact_and_asks_no_graph(
    small: tuple[Path, list[Entry], NDArray[np.float32]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _index.SCAN == 20_000
    folder, entries, vectors = small
    asked: list[Any] = []
    plain = MemoryIndex._through_graph

    def through_graph(self: MemoryIndex, wanted: NDArray[np.float64], k: int, where: Any) -> list[Hit]:
        asked.append(where)
        return plain(self, wanted, k, where)

    monkeypatch.setattr(MemoryIndex, "_through_graph", through_graph)
    utterance = np.array([e.kind == "utterance" for e in entries])
    for scan, kinds, graphs in ((300, None, 0), (299, None, 1), (100, ["utterance"], 0), (99, ["utterance"], 1)):
        monkeypatch.setattr(_index, "SCAN", scan)
        asked.clear()
        among = np.ones(300, bool) if kinds is None else utterance
        with opened(folder) as index:
            hits = index.search(vectors[20], 9, kinds=kinds)
        assert len(asked) == graphs, (scan, kinds)
        if not graphs:
            assert [h.id for h in hits] == exact(entries, vectors, vectors[20], 9, among)


def test_a_question_that_makes_no_sense_is_refused(small: tuple[Path, list[Entry], NDArray[np.float32]]) -> None:
    folder, _, vectors = small
    with opened(folder) as index:
        for wanted, k in ((vectors[0][:5], 3), (vectors[0] * np.nan, 3), (vectors[0], 0)):
            with pytest.raises(ValueError):
                index.search(wanted, k)


def test_an_empty_run_has_an_empty_index(tmp_path: Path) -> None:
    report = build_index(tmp_path / "memory", run="", identity=IDENTITY, source="s", batches=[])
    assert report.records == 0
    with opened(tmp_path / "memory") as index:
        assert index.count() == 0
        assert index.search(np.ones(32, np.float32), 3) == []


def test_odd_names_and_texts_are_kept(tmp_path: Path) -> None:
    entries, vectors = records(6)
    texts = ["", "ünï 🙂", "a\0b", "x" * 20_000, "'; DROP TABLE embeddings; --", "\ud800 lone"]
    entries = [e._replace(text=text) for e, text in zip(entries, texts, strict=True)]
    build(tmp_path / "memory", entries, vectors, run="../ .. käse/1 " * 30, left_out=4, left_out_why="cap")
    with opened(tmp_path / "memory") as index:
        hits = sorted(index.search(vectors[0], 6), key=lambda h: h.id)
    assert [h.text for h in hits] == [*texts[:5], "? lone"]


def test_two_runs_of_one_name_do_not_see_each_other(tmp_path: Path) -> None:
    one, two = records(30, seed=1), records(50, seed=2)
    for name, what in (("a", one), ("b", two)):
        (tmp_path / name).mkdir()
        build(tmp_path / name / "memory", *what)
    with opened(tmp_path / "a" / "memory") as a, opened(tmp_path / "b" / "memory") as b:
        with opened(tmp_path / "a" / "memory") as again:  # and two readers of one do not hinder each other
            assert again.search(one[1][0], 3) == a.search(one[1][0], 3)
        assert (a.count(), b.count()) == (30, 50)
        assert {h.text for h in a.search(two[1][0], 30)} == {e.text for e in one[0]}
        assert {h.text for h in b.search(one[1][0], 50)} == {e.text for e in two[0]}


def test_reading_leaves_no_trace_and_no_handle(copy: Path) -> None:
    def files() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in copy.parent.rglob("*") if p.is_file()}

    def resources() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

    before = files()
    with opened(copy) as index:
        index.search(np.ones(32, np.float32), 3)
    if sys.platform == "linux":
        time.sleep(0.3)
        held = resources()
        for _ in range(5):
            with opened(copy) as index:
                index.search(np.ones(32, np.float32), 3)
        time.sleep(0.3)
        assert resources()[0] <= held[0] + 1
        assert resources()[1] <= held[1] + 2
    assert files() == before
    index.close()  # once more is no mistake


def test_a_newer_index_takes_the_place_of_the_old_and_a_failed_one_does_not(copy: Path) -> None:
    entries, vectors = records(20)
    with pytest.raises(StorageError, match="would pass"):
        build(copy, entries, vectors, source="new", limit_bytes=1_000)
    opened(copy).close()
    with opened(copy) as reader:
        assert build(copy, entries, vectors, source="new").records == 20
        assert len(reader.search(np.ones(32, np.float32), 1_000)) == 300  # who was reading goes on
    assert opened(copy, "new").count() == 20
    assert strays(copy) == [] or len(strays(copy)) == 1  # of the last reader, still open
    drop_index(copy)
    assert not copy.exists()


@pytest.mark.parametrize("change", ["flip", "torn", "grown", "gone", "more"])
@pytest.mark.parametrize("file", ["chroma.sqlite3", "data_level0.bin", "link_lists.bin", "index_metadata.pickle"])
def test_a_file_that_is_not_as_written_is_doubted(
    copy: Path, change: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(copy.rglob(file))
    content = bytearray(path.read_bytes())
    if change == "flip":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif change == "torn":
        path.write_bytes(content[: len(content) * 2 // 3])
    elif change == "grown":
        path.write_bytes(content + bytes(4_096))
    elif change == "gone":
        path.unlink()
    else:
        (path.parent / "stray.bin").write_bytes(b"x")

    def untouched(path: Path) -> Any:
        raise AssertionError("chromadb was let near it")

    monkeypatch.setattr(_index, "_client", untouched)
    with pytest.raises(IndexDoubt, match=r"altered|changed in size"):
        opened(copy)


def test_a_missing_stale_or_foreign_index_is_doubted(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexDoubt, match="no index"):
        opened(tmp_path / "nothing")
    with pytest.raises(IndexDoubt, match="source"):
        opened(copy, "other")
    with pytest.raises(IndexDoubt, match="identity"):
        open_index(copy, source="s", identity={**IDENTITY, "dims": 64})
    about = json.loads((copy / "index.json").read_text())
    for name, value in (
        ("format", 99), ("chromadb", "0.1"), ("records", 301), ("allowed_bytes", 10), ("collection", "run-other"),
        ("probes", [{**about["probes"][0], "finds": [1, 2]}]), ("files", 7),
    ):  # fmt: skip
        (copy / "index.json").write_text(json.dumps({**about, name: value}))
        with pytest.raises(IndexDoubt):
            opened(copy)
    (copy / "index.json").write_text('{"format": 1')
    with pytest.raises(IndexDoubt, match="cannot be read"):
        opened(copy)
    (copy / "index.json").unlink()
    with pytest.raises(IndexDoubt, match="no index"):
        opened(copy)
    assert strays(copy) == []


def test_only_what_dead_writers_left_is_cleaned(copy: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    gone = [copy.parent / f"memory.tmp-{pid}-0123456789ab" for pid in (dead.pid, os.getpid())]
    kept = [copy.parent / n for n in (f"memory.tmp-{os.getppid()}-0123456789ab", "memory.tmp-mine", "memory2.tmp-1")]
    for path in gone + kept:
        path.mkdir()
    opened(copy).close()
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    entries, vectors = records(10)
    bad: list[Batches] = [
        [(entries, vectors[:9])],
        [(entries[:5], vectors[:5]), (entries[5:], vectors[5:, :8])],
        [(entries, np.full_like(vectors, np.inf))],
        [(entries, vectors), (entries[:1], vectors[:1])],
    ]
    for batches in bad:
        with pytest.raises(ValueError):
            build_index(tmp_path / "memory", run="r", identity=IDENTITY, source="s", batches=batches)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told_before_chromadb_can_be_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(StorageError, match="are free"):
        build(tmp_path / "memory", *records(10))
    assert os.listdir(tmp_path) == []


def test_no_embedder_is_built_and_nothing_is_fetched(tmp_path: Path) -> None:
    """In a process of its own, without sockets, and with settings of the user's that must not reach chromadb."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=x\nCHROMA_API_IMPL=chromadb.api.fastapi.FastAPI\nNONSENSE=1\n")
    script = """
import socket, sys
def refused(*a, **k): raise AssertionError("a socket was opened")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from chromadb.utils.embedding_functions import ONNXMiniLM_L6_V2
ONNXMiniLM_L6_V2.__init__ = ONNXMiniLM_L6_V2._download_model_if_not_exists = ONNXMiniLM_L6_V2.__call__ = refused
import numpy as np
from pathlib import Path
from simworld.memory._index import Entry, build_index, open_index
v = np.eye(8, dtype=np.float32)
e = [Entry(i, 0, "observation", i, 0.5, -1, 0, f"text {i}") for i in range(8)]
build_index(Path("memory"), run="r", identity={}, source="s", batches=[(e, v)])
with open_index(Path("memory"), source="s", identity={}) as index:
    assert [h.id for h in index.search(v[3], 1)] == [3]
assert "onnxruntime" not in sys.modules
"""
    env = {**os.environ, "HOME": str(tmp_path), "IS_PERSISTENT": "FALSE", "MIGRATIONS": "none"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path)) == [".env", "memory"]


def test_chromadb_is_imported_by_use_only() -> None:
    script = "import sys, simworld.memory._index; assert 'chromadb' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_the_bound_is_above_what_is_written_and_not_far(tmp_path: Path) -> None:
    entries, vectors = records(800, dims=256)
    entries = [e._replace(text="Ein Satz mit Ümläuten, wie ihn jemand schreibt. " * 12) for e in entries]
    size = build(tmp_path / "memory", entries, vectors).bytes
    text = sum(len(e.text.encode()) for e in entries)
    floor = _index.allowed_bytes(0, 256, 0)
    assert size < _index.allowed_bytes(800, 256, text)
    assert size < 1.2 * (_index.allowed_bytes(800, 256, text) - floor)


# Below: processes that die, and larger indices.

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_memory_index as here
from simworld.memory import _index
_index.WRITE = 100
entries, vectors = here.records(500)
folder = Path(sys.argv[1])
_index._chromadb()
print("ready", flush=True)
here.build(folder, entries, vectors, source=sys.argv[3])
print("done", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_old_index_or_none_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    entries, vectors = records(500)
    build(folder, *records(100), source="old")
    with opened(folder, "old") as index:
        old = index.search(vectors[0], 20)

    def start(source: str) -> subprocess.Popen[str]:
        args = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent), source]
        process = subprocess.Popen(args, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    process = start("timed")
    began = time.monotonic()
    assert process.wait(120) == 0
    whole = time.monotonic() - began
    process.stdout.close()  # type: ignore[union-attr]
    expected = build(tmp_path / "reference", entries, vectors, source="new")
    with opened(tmp_path / "reference", "new") as index:
        reference = [index.search(v, 10) for v in vectors[:20]]

    trials = 4
    seen = set()
    for trial in range(trials):
        shutil.rmtree(folder)
        build(folder, *records(100), source="old")
        process = start("new")
        time.sleep(whole * (trial + 0.5) / trials)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        process.stdout.close()  # type: ignore[union-attr]
        size = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        assert size < 4 * expected.bytes + (32 << 20)
        try:
            with opened(folder, "old") as index:
                assert index.search(vectors[0], 20) == old
                seen.add("old")
        except IndexDoubt:
            try:
                opened(folder, "new").close()
                seen.add("new")
            except IndexDoubt:
                assert not folder.exists()
                seen.add("none")
        assert strays(folder) == []
    assert "old" in seen
    build(folder, entries, vectors, source="new")
    with opened(folder, "new") as index:
        assert [index.search(v, 10) for v in vectors[:20]] == reference


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_no_index(tmp_path: Path) -> None:
    """With a limit on the size of a file chromadb reports every record as added, while its graph is cut short."""
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_memory_index as here
from simworld.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
here._index.WRITE = 200
what = here.records(1_200, dims=768)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    here.build(Path(sys.argv[1]), *what, progress=lambda n: print(n, end=" "))
except StorageError as error:
    print("told:", error)
"""
    told = []
    for limit in (50_000, 1_600_000, 3_800_000):
        args = [sys.executable, "-c", script, str(tmp_path / "memory"), str(Path(__file__).parent), str(limit)]
        done = subprocess.run(args, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "told:" in done.stdout
        told.append(done.stdout)
        assert os.listdir(tmp_path) == []
    assert told[0].startswith("told:")
    assert any(line.startswith("200 400 600 800 1000 1200 told:") and "is short" in line for line in told), told


def test_recall_of_a_large_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that repeat are what a graph is worst at: of 20,000, a third of them of three texts, it found 0.89."""
    monkeypatch.setattr(_index, "SCAN", 300)
    entries, vectors = records(2_000, dims=128)
    build(tmp_path / "memory", entries, vectors)
    agent = np.array([e.agent for e in entries])
    kind = np.array([e.kind for e in entries])
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)

    def recall(hits: list[Hit], wanted: NDArray[np.float32], among: NDArray[np.bool_]) -> float:
        nearest = np.sort(rows[among] @ (wanted / np.linalg.norm(wanted)))[-10:]
        return sum(h.cosine >= nearest[0] - 1e-5 for h in hits) / 10

    found = []
    with opened(tmp_path / "memory") as index:
        for wanted in records(40, dims=128, seed=9)[1]:
            found.append(recall(index.search(wanted, 10), wanted, np.ones(2_000, bool)))
            of_kind = index.search(wanted, 10, kinds=["reflection"])
            found.append(recall(of_kind, wanted, kind == "reflection"))
            assert recall(index.search(wanted, 10, agents=[3]), wanted, agent == 3) == 1.0
    assert np.mean(found) > 0.97

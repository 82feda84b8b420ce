"""Memory: retrieval from the arena against one NumPy pass over the same vectors; storing; a village that remembers; the
index that is written after a run."""

from __future__ import annotations

import cProfile
import gc
import importlib.util
import itertools
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simworld.memory import Entry, MemoryStore, NewMemory, build_index
from simworld.run import execute, load_run, prepare, rebuild_index, start_run
from tests.bench.measure import Goal, Lap, Peak, Report, Row, Size, lap, ratio, row
from tests.bench.society import charged, name_of

AT_MOST = 3.0
AT_MOST_MS = 2.0
K = 10
POLICIES = ("hybrid", "paper", "cosine")

SYLLABLES = ("ba", "ri", "to", "mel", "kun", "sa", "dov", "fe", "lan", "gor", "pi", "net", "hu")
WORDS = [*map("".join, itertools.product(SYLLABLES, repeat=3))]
DISTINCT = 2_000
"""Texts the big stores are filled with; their vectors are made once."""
ASKED = 100
"""Questions asked in turns."""
BLOCK = 500
"""Agents whose vectors the floor holds as floats at once: 205 MB."""
INDEXED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    agents: int
    records: int
    """Of each agent."""
    rounds: int
    one: int
    """Records of the agent that has many."""
    calls: int
    stored: int
    steps: int
    """Of the village; 10 minutes each."""
    indexed: int


SIZES = {
    Size.FULL: Sizes(10_000, 200, 5, 10_000, 50, 10_000, 288, 100_000),
    Size.QUICK: Sizes(500, 200, 3, 10_000, 20, 1_000, 6, 100),
    Size.TINY: Sizes(20, 40, 1, 300, 3, 200, 3, 100),
}


def bench(size: Size) -> Report:
    """Measure all of it."""
    report = Report("what agents remember: found, stored, lived with, indexed")
    sizes = SIZES[size]
    many_agents(report, sizes)
    gc.collect()
    one_agent(report, sizes)
    storing(report, sizes)
    village(report, sizes, size)
    return report


def texts(n: int, words: int = 10) -> list[str]:
    """Return so many different texts; word r is drawn with a weight of 1/(r + 10), as Zipf and Mandelbrot have it."""
    weights = 1.0 / (np.arange(len(WORDS)) + 10.0)
    picked = np.random.default_rng(3).choice(len(WORDS), (n, words), p=weights / weights.sum()).tolist()
    return [" ".join([*(WORDS[w] for w in line), f"no {i}"]) for i, line in enumerate(picked)]


def filled(agents: int, records: int, block: int = BLOCK) -> MemoryStore:
    """Return a store with so many records of each agent, of `DISTINCT` texts, over ten steps."""
    store, said = MemoryStore(agents), texts(min(DISTINCT, agents * records))
    for first in range(0, agents, block):
        those = range(first, min(first + block, agents))
        for part in range(10):
            store.now = part
            share = range(part * records // 10, (part + 1) * records // 10)
            store.add([
                NewMemory(a, said[(a * 7 + i * 13) % len(said)], "event", importance=(a + i * 37) % 100 / 100)
                for a in those for i in share
            ])  # fmt: skip
        store.drain()
    store.now = 12
    return store


def pass_over(store: MemoryStore, agents: Sequence[int], questions: Sequence[str]) -> Lap:
    """Time one float32 product of each agent's vectors with its question, the vectors being floats already."""
    wall = cpu = 0.0
    asked = store.vectors_of(questions)
    for first in range(0, len(agents), BLOCK):
        some = agents[first : first + BLOCK]
        floats = np.stack([store._arena.vectors_of(a)[0] for a in some]).astype(np.float32)
        queries = asked[first : first + BLOCK, :, None]
        took = lap(lambda floats=floats, queries=queries: np.matmul(floats, queries))
        wall, cpu = wall + took.wall, cpu + took.cpu
    return Lap(wall, cpu)


def many_agents(report: Report, sizes: Sizes) -> None:
    """Retrieve for many agents at once."""
    peak = Peak()
    began = time.perf_counter()
    store = filled(sizes.agents, sizes.records)
    took = time.perf_counter() - began
    peak_mb = peak.mb()
    agents = list(range(sizes.agents))
    questions = [text for text, _ in zip(itertools.cycle(texts(ASKED, 6)), agents, strict=False)]
    check_against_floats(store, agents[: min(50, len(agents))], questions)
    laps: dict[str, list[Lap]] = {name: [] for name in (*POLICIES, "floor")}
    for _ in range(sizes.rounds):
        for policy in POLICIES:
            laps[policy].append(lap(lambda policy=policy: store.find(agents, questions, policy=policy, k=K)))
        laps["floor"].append(pass_over(store, agents, questions))
    what = f"{sizes.records} records each"
    report.rows += [row(f"{policy}, {what}", laps[policy], sizes.agents, 1) for policy in POLICIES]
    report.rows.append(row("floor: one float32 product over the same vectors", laps["floor"], sizes.agents, 1))
    records = sizes.agents * sizes.records
    report.rows.append(Row(f"filling it, {DISTINCT:,} texts", sizes.agents, 1, took, 1e6 * took / records, peak_mb))
    report.goals += [
        Goal(f"{policy} / floor, {sizes.agents:,} × {what}", ratio(laps[policy], laps["floor"]), "×", at_most=AT_MOST,
             note=f"{1e6 * statistics.median(one.wall for one in laps[policy]) / sizes.agents:.0f} µs an agent")
        for policy in POLICIES
    ]  # fmt: skip
    report.notes += [
        f"retrieval is one call for all agents, k = {K}: eligibility, every component, scaling, ties, the k best. The "
        f"questions' vectors ({ASKED} questions) are kept from earlier laps, as those of a prompt that recurs are",
        "the floor gets its vectors as float32 (four times the memory) and is not charged for making them so; it finds "
        "no best. The last figure in the line of filling is µs a record",
    ]


def check_against_floats(store: MemoryStore, agents: Sequence[int], questions: Sequence[str]) -> None:
    """Fail unless the cosines found are those of the floats."""
    found = store.find(agents, questions[: len(agents)], policy="cosine", k=K)
    asked = store.vectors_of(questions[: len(agents)])
    for a, ids, query in zip(agents, found.ids, asked, strict=True):
        mine = store.ids_of(a)
        near = store.vectors_of([store.get(i).text for i in mine.tolist()]) @ query
        best = np.sort(near)[::-1][: len(ids)]
        if not np.allclose(near[np.searchsorted(mine, ids)], best, atol=1e-5):
            raise AssertionError(f"agent {a}: not the nearest in meaning were found")


def one_agent(report: Report, sizes: Sizes) -> None:
    """Retrieve for one agent with many records."""
    store = filled(1, sizes.one)
    questions = texts(sizes.calls, 6)
    floats = store._arena.vectors_of(0)[0].astype(np.float32)
    queries = dict(zip(questions, store.vectors_of(questions), strict=True))
    took = {
        policy: calls(lambda q, policy=policy: store.find([0], [q], policy=policy, k=K), questions)
        for policy in POLICIES
    }
    took["floor"] = calls(lambda q: floats @ queries.get(q, floats[0]), questions)
    what = f"one agent, {sizes.one:,} records"
    for name, each in took.items():
        wall = statistics.median(one.wall for one in each)
        label = f"{name}, {what}" if name in POLICIES else "floor: one product over them"
        report.rows.append(Row(label, 1, 1, wall, 1e6 * statistics.median(one.own for one in each)))
    floor = statistics.median(one.wall for one in took["floor"])
    for policy in POLICIES:
        wall, own = (statistics.median(getattr(one, clock) for one in took[policy]) for clock in ("wall", "own"))
        note = f"CPU {1e3 * own:.2f} ms; best {1e3 * min(one.wall for one in took[policy]):.2f} ms; "
        report.goals.append(
            Goal(
                f"{policy}, {what}",
                1e3 * wall,
                "ms",
                at_most=AT_MOST_MS,
                note=note + f"{wall / floor:.1f} × one product",
            )
        )
    whole = calls(lambda q: store.retrieve([0], [f"{q} once"], k=K), questions)
    ids = store.ids_of(0)
    some = ids[-min(len(ids) // 2, 500) :].tolist()
    store.add([NewMemory(0, f"a plan of {i} and {i - 1}", "plan", links=(i, i - 1)) for i in some])
    linked = calls(lambda q: store.find([0], [q], policy="hybrid", k=K), questions)
    for label, each in (("a new question, as Python objects", whole), (f"with {2 * len(some):,} links", linked)):
        wall, own = (1e3 * statistics.median(getattr(one, clock) for one in each) for clock in ("wall", "own"))
        report.goals.append(Goal(f"the same, hybrid, {label}", wall, "ms", note=f"CPU {own:.2f} ms"))
    report.notes.append(
        "one agent: medians over calls. One product of 10,000 × 512 floats is shared among threads by BLAS, ours is not"
    )


def calls(ask: Callable[[str], Any], questions: Sequence[str]) -> list[Lap]:
    """Return a lap a question."""
    ask(f"{questions[0]} first")
    laps = []
    for question in questions:
        wall, own = time.perf_counter(), time.thread_time()
        ask(question)
        laps.append(Lap(time.perf_counter() - wall, 0.0, time.thread_time() - own))
    return laps


def storing(report: Report, sizes: Sizes) -> None:
    """Store records, with texts that are new and texts that are not; make vectors."""
    n, agents = sizes.stored, 100
    store = MemoryStore(agents)
    said = texts(n)
    new = [NewMemory(i % agents, text, "event") for i, text in enumerate(said)]
    fresh, again = lap(lambda: store.add(new)), lap(lambda: store.add(new))
    embedded = lap(lambda: MemoryStore().embedder.embed([f"{text} once" for text in said]))
    report.rows += [
        row(f"storing {n:,} records, new texts", [fresh], agents, 1),
        row(f"storing {n:,} records, texts seen before", [again], agents, 1),
    ]
    report.goals += [
        Goal("storing a record, new text", 1e6 * fresh.wall / n, "µs", note="vector, surprise, words, log"),
        Goal("storing a record, text seen before", 1e6 * again.wall / n, "µs"),
        Goal("texts embedded (hashed)", n / embedded.wall, "/s", note="of 12 words"),
    ]


def lived(folder: Path, steps: int, profile: cProfile.Profile | None = None) -> tuple[Lap, Path, Any]:
    """Run the village with rule minds into a folder, as a user does."""
    prepared = prepare("village", seed=7, steps=steps)
    path = start_run(prepared, folder)

    def work() -> None:
        if profile is not None:
            profile.enable()
        execute(prepared, path)
        if profile is not None:
            profile.disable()

    return lap(work), path, prepared.society


def village(report: Report, sizes: Sizes, size: Size) -> None:
    """Run the village, index what it remembers, run it again beside chromadb; profile it; index many records."""
    steps = sizes.steps
    with tempfile.TemporaryDirectory(prefix="simworld-bench-") as name:
        folder = Path(name)
        lived(folder / "warm", 2)
        ran, path, society = lived(folder / "run", steps)
        agents = society.memory.n_agents
        report.rows.append(row("village, rule minds, recorded", [ran], agents, steps))
        what = f"village, {agents} agents, {steps} steps"
        report.goals.append(Goal(what, ran.wall, "s", note=f"CPU {ran.cpu:.1f} s; {steps / ran.wall:.0f} steps/s"))
        if importlib.util.find_spec("chromadb") is None:
            report.notes.append("the index was not measured: chromadb is not installed")
        else:
            if "chromadb" in sys.modules:
                raise AssertionError("chromadb was loaded by a run, which never needs it")
            indexed = rebuild_index(load_run(path))
            again, *_ = lived(folder / "again", steps)
            rates = f"{steps / again.wall:.0f} steps/s after, {steps / ran.wall:.0f} before"
            report.goals.append(
                Goal("its steps with an index in the process / without", again.cpu / ran.cpu, "× CPU", note=rates)
            )
            report.rows.append(Row(f"its index, {indexed.records:,} records", agents, steps, indexed.seconds))
            index(report, folder / "index", sizes.indexed)
        if size is not Size.TINY:
            profile = cProfile.Profile()
            lived(folder / "profiled", max(1, steps // 2), profile)
            stats: dict[Any, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
            functions = charged(stats, name_of)
            seconds = sum(part for _, part in functions)
            top = ", ".join(f"{name} {100 * part / seconds:.0f} %" for name, part in functions[:12])
            report.notes.append(
                f"where the village's time goes, half the steps, library time charged to who called: {top}"
            )


def index(report: Report, folder: Path, n: int) -> None:
    """Write the index of so many records, all with texts of their own."""
    store, said = MemoryStore(1_000), texts(n)
    for first in range(0, n, INDEXED_AT_ONCE):
        store.add([NewMemory(i % 1_000, said[i], "event") for i in range(first, min(first + INDEXED_AT_ONCE, n))])

    def batches() -> Iterator[tuple[list[Entry], Any]]:
        for first in range(0, n, INDEXED_AT_ONCE):
            some = [store.get(i) for i in range(first, min(first + INDEXED_AT_ONCE, n))]
            entries = [
                Entry(m.id, m.agent, m.kind, m.t_created, m.importance, m.valid_to, m.flags, m.text) for m in some
            ]
            yield entries, store.vectors_of([m.text for m in some])

    done = build_index(
        folder, run="bench", identity=store.embedder.identity.model_dump(), source="bench", batches=batches()
    )
    report.rows.append(Row(f"index of {n:,} records, after a run", 1_000, 1, done.seconds))
    note = f"{n / done.seconds:.0f} records/s, {done.bytes / n:.0f} bytes a record; in no step"
    report.goals.append(Goal(f"index of {n:,} records", done.seconds, "s", note=note))

"""What must not matter to memories, does not: the order in which a step's records come, threads, and the hash's salt.

Buffers commit in the order of agents, turns and contents; released systems that use a salted hash for saved keys, or
whichever thread came first, cannot repeat their own runs.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld.memory import Flag, MemorySettings, MemoryStore, NewMemory, replay
from simworld.rng import Chance

ROOT = Path(__file__).resolve().parents[2]
N = 4
TEXT = st.sampled_from(["bread", "bread ", "the río", "violin and bread", "", "収穫", "Bread"])
RECORD = st.builds(
    NewMemory,
    agent=st.integers(0, N - 1), text=TEXT,
    kind=st.sampled_from(["observation", "utterance", "event", "reflection", "fact"]),
    importance=st.sampled_from([None, 0.0, 0.5, 1.0]), value=st.sampled_from([float("nan"), 0.0, -1.5]),
    source=st.integers(-1, 2), subject=st.sampled_from([None, 0, 1, "mill", "1"]),
    predicate=st.sampled_from(["", "gave"]), object=st.sampled_from([None, 2, "mill"]),
    place=st.sampled_from(["", "inn"]), flags=st.sampled_from([0, int(Flag.PRIVATE)]), order=st.integers(0, 2),
    data=st.sampled_from([{}, {"a": 1}, {"a": 2, "b": None}]),
    t_event=st.sampled_from([None, 0, 3]), valid_from=st.sampled_from([-1, 0, 2]),
)  # fmt: skip


def rows(store: MemoryStore) -> str:
    n, columns = store.drain()
    return repr((n, {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in columns.items()}))


def citing(new: NewMemory, cites: int) -> NewMemory:
    """The record with a link to one of its owner's two first records, or as evidence, or with neither."""
    first = (2 * new.agent + cites % 2,)
    return dataclasses.replace(new, links=first if cites in (0, 1) else (), evidence=first if cites in (2, 3) else ())


CITING = st.builds(citing, RECORD, st.integers(0, 5))


@given(st.lists(CITING, max_size=12).flatmap(lambda new: st.tuples(st.just(new), st.permutations(new))))
@settings(max_examples=80, deadline=None)
def test_the_order_in_which_a_steps_records_come_does_not_matter(case: Any) -> None:
    stores = [MemoryStore(N, MemorySettings(episodes=True)) for _ in case]
    for store, new in zip(stores, case, strict=True):
        store.add([NewMemory(i // 2, "first") for i in range(2 * N)])
        store.drain()
        for one in new:
            store.remember(one)
    assert repr(stores[0].waiting()) == repr(stores[1].waiting())
    ids = [store.commit().tolist() for store in stores]
    assert ids[0] == ids[1] == list(range(2 * N, 2 * N + len(case[0])))
    agents = stores[0].column("agent").tolist()[2 * N :]
    assert agents == sorted(agents)
    assert stores[0].digest() == stores[1].digest()
    assert rows(stores[0]) == rows(stores[1])


@given(st.lists(st.tuples(st.integers(0, N - 1), TEXT, st.integers(0, 3)), max_size=10), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_in_which_a_step_recalls_does_not_matter(asked: list[tuple[int, str, int]], draw: Any) -> None:
    shuffled = list(asked)
    draw.shuffle(shuffled)
    stores = []
    for order in (asked, shuffled):
        store = MemoryStore(N)
        store.add([NewMemory(a, text) for a in range(N) for text in ("bread", "violin", "mill")])
        store.now = 1
        for agent, question, occurrence in order:
            store.retrieve([agent], [question], k=2, touch=True, purpose="talk", occurrences=[occurrence])
        store.commit()
        stores.append(store)
    assert stores[0].digest() == stores[1].digest()
    assert rows(stores[0]) == rows(stores[1])


@given(st.lists(st.lists(RECORD, max_size=5), max_size=5), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_log_replayed_is_the_store_wherever_it_is_cut(steps: list[list[NewMemory]], cut: int) -> None:
    store, parts, digests = MemoryStore(N), [], []
    for t, new in enumerate(steps):
        store.now = t
        store.retrieve([t % N], ["bread"], touch=True)
        for one in new:
            store.remember(one)
        store.commit()
        parts.append((t, *store.drain()))
        digests.append(store.digest())
    assert replay(parts, MemorySettings(), N).digest() == store.digest()
    if cut < len(steps):
        assert replay(parts, MemorySettings(), N, until=cut).digest() == digests[cut]


@given(st.lists(RECORD, min_size=1, max_size=8), st.lists(RECORD, max_size=8))
@settings(max_examples=40, deadline=None)
def test_what_others_remember_changes_nothing_for_an_agent(mine: list[NewMemory], others: list[NewMemory]) -> None:
    """Agent 0 recalls the same texts with the same scores alone and among others, whatever ids they get."""
    own = [dataclasses.replace(one, agent=0) for one in mine]
    strangers = [dataclasses.replace(one, agent=1 + one.agent % (N - 1)) for one in others]
    seen = []
    for new in (own, own + strangers):
        store = MemoryStore(N, chance=Chance(1))
        for one in new:
            store.remember(one)
        store.commit()
        store.now = 2
        found = [store.retrieve([0], ["bread mill"], policy=p)[0] for p in ("hybrid", "reverie", "ldagent", "recent")]
        seen.append(([[(m.text, f.score) for f in one.found for m in [f.memory]] for one in found], store.digest(0)))
    assert seen[0] == seen[1]


SCRIPT = """
import hashlib, random
from simworld.memory import POLICIES, MemorySettings, MemoryStore, NewMemory
from simworld.rng import Chance

draw = random.Random(4)
words = [f"{a}{b}" for a in ("bread", "mill", "fox", "río") for b in ("", "er", "s", "ing")]
settings = MemorySettings(tau_steps=3.0, forgetting="bernoulli", capacity=40, episodes=True)
store, logs = MemoryStore(120, settings, chance=Chance(6)), hashlib.blake2b()
for t in range(4):
    store.now = t
    store.retrieve(range(120), [draw.choice(words)] * 120, touch=True)
    for agent in range(120):
        for turn in range(draw.randint(1, 20)):
            store.remember(NewMemory(agent, " ".join(draw.sample(words, 4)), "event", order=turn))
    store.commit()
    store.forget()
    n, columns = store.drain()
    logs.update(repr((n, {k: getattr(v, "tolist", lambda: v)() for k, v in columns.items()})).encode())
seen = hashlib.blake2b()
for policy in POLICIES:
    found = store.find(list(range(120)) * 2, [draw.choice(words) for _ in range(240)], policy=policy, k=7)
    for array in (found.ids, found.scores, *found.parts.values()):
        seen.update(array.tobytes())
print(store.digest(), logs.hexdigest(), seen.hexdigest())
"""


@pytest.mark.slow
def test_threads_and_the_hashs_salt_change_no_digest_and_no_score() -> None:
    outputs = []
    for threads, salt in (("1", "0"), ("2", "1"), ("2", "random")):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        env = {**os.environ, **dict.fromkeys(names, threads), "PYTHONHASHSEED": salt}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] == outputs[2]
    assert len(outputs[0].split()) == 3

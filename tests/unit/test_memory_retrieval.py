"""Retrieval: every published rule, written out once more from the text that describes it, finds the same records.

Sources: Park et al. 2023 (arXiv 2304.03442; ``paper`` as published, ``reverie`` as released), Park et al. 2024 (arXiv
2411.10109; ``genagents``), Li et al. 2024 (arXiv 2406.05925; ``ldagent``), Zhong et al. 2023 (arXiv 2305.10250;
``memorybank``), Robertson and Zaragoza 2009 (doi:10.1561/1500000019; BM25). The rules here are loops over plain
numbers; vectors point in few directions and other numbers come from small sets, so that ties and zero ranges abound.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from simworld.errors import ParameterError
from simworld.memory import POLICIES, EmbedderIdentity, Flag, Memory, MemorySettings, MemoryStore, NewMemory
from simworld.rng import Chance

WORDS = ("amber", "birch", "cedar", "drum", "elm", "fox", "gold", "hill")
"""Words that are their own stems."""
DIRECTIONS = ((127, 60, 30, 0), (60, 127, 0, 30), (30, 0, 127, 60), (0, 30, 60, 127), (127, 0, 60, 30))


def direction(text: str) -> tuple[int, ...]:
    return DIRECTIONS[zlib.crc32(text.encode()) % len(DIRECTIONS)]


class Compass:
    """Points each text in one of five directions, of whole numbers and equal length."""

    identity = EmbedderIdentity(name="compass", dimensions=4, normalised=True)
    is_exact = True

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        rows = np.array([direction(t) for t in texts], np.float64).reshape(len(texts), 4)
        return (rows / np.sqrt((rows * rows).sum(axis=1, keepdims=True))).astype(np.float32)


def cosine(a: str, b: str) -> float:
    """The store keeps lengths as float32."""
    x, y = direction(a), direction(b)
    lengths = [float(np.float32(math.sqrt(sum(v * v for v in z)))) for z in (x, y)]
    return sum(v * w for v, w in zip(x, y, strict=True)) / (lengths[0] * lengths[1])


def minmax(values: Sequence[float]) -> list[float]:
    """Scale to [0, 1]; what is the same for all is one half (released code of Park et al. 2023)."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    return [0.5] * len(values) if high == low else [(v - low) / (high - low) for v in values]


# -- the rules ------------------------------------------------------------------------------------------------------


class Asked:
    """One agent's memory, a question, and what a rule may look at."""

    def __init__(self, records: list[Memory], question: str, now: int, hours: float) -> None:
        self.question, self.now, self.hours = question, now, hours
        self.open = [
            m for m in records
            if m.valid_from <= now and (m.valid_to < 0 or m.valid_to > now) and not m.flags & Flag.PROBE
        ]  # fmt: skip


type Rule = Callable[[Asked], list[tuple[Memory, float]]]
"""Returns records with their scores, the best first."""


def ranked(records: list[Memory], scores: list[float], *, newer: bool = False) -> list[tuple[Memory, float]]:
    pairs = [(m, s / 2 if m.flags & Flag.STALE else s) for m, s in zip(records, scores, strict=True)]
    return sorted(pairs, key=lambda p: (-p[1], -p[0].id if newer else p[0].id))


def paper(asked: Asked) -> list[tuple[Memory, float]]:
    found = asked.open
    recency = minmax([0.995 ** (asked.hours * (asked.now - m.t_access)) for m in found])
    importance = minmax([m.importance for m in found])
    relevance = minmax([cosine(asked.question, m.text) for m in found])
    return ranked(found, [r + i + v for r, i, v in zip(recency, importance, relevance, strict=True)], newer=True)


def reverie(asked: Asked, *, fixed: bool = False) -> list[tuple[Memory, float]]:
    """Events, the newest first, then thoughts, the newest first; both sorts are stable; stale counts for nothing."""
    searched = [m for m in asked.open if m.kind != "fact" and "idle" not in m.text]
    thoughts = [m for m in searched if m.kind in ("reflection", "plan", "summary")]
    events = [m for m in searched if m not in thoughts]
    nodes = sorted(events[::-1] + thoughts[::-1], key=lambda m: m.t_access, reverse=fixed)
    recency = minmax([0.99**i for i in range(1, len(nodes) + 1)])
    relevance = minmax([cosine(asked.question, m.text) for m in nodes])
    importance = minmax([m.importance for m in nodes])
    totals = [0.5 * r + 3 * v + 2 * i for r, v, i in zip(recency, relevance, importance, strict=True)]
    return sorted(zip(nodes, totals, strict=True), key=lambda p: p[1], reverse=True)


def reverie_fixed(asked: Asked) -> list[tuple[Memory, float]]:
    return reverie(asked, fixed=True)


def genagents(asked: Asked) -> list[tuple[Memory, float]]:
    found = asked.open
    newest = max(m.t_access for m in found)
    recency = minmax([0.99 ** (newest - m.t_access) for m in found])
    relevance = minmax([cosine(asked.question, m.text) for m in found])
    importance = minmax([m.importance for m in found])
    totals = [0 * r + v + 0.5 * i for r, v, i in zip(recency, relevance, importance, strict=True)]
    return sorted(zip(found, totals, strict=True), key=lambda p: (-p[1], p[0].id))


def memorybank(asked: Asked) -> list[tuple[Memory, float]]:
    """Nearest in meaning among what was recalled in the last thirty days."""
    found = [m for m in asked.open if (asked.now - m.t_access) * asked.hours / 24 < 30]
    return ranked(found, minmax([cosine(asked.question, m.text) for m in found]))


def nearest(asked: Asked) -> list[tuple[Memory, float]]:
    return ranked(asked.open, minmax([cosine(asked.question, m.text) for m in asked.open]))


def bm25(question: str, texts: list[str]) -> list[float]:
    """Return Σ over distinct words asked of idf · tf·(k1 + 1)/(tf + k1·(1 − b + b·length/mean)), k1 = 1.5, b = 0.75."""
    documents = [t.split() for t in texts]
    mean = sum(map(len, documents)) / len(documents)
    out = []
    for words in documents:
        total = 0.0
        for word in sorted(set(question.split())):
            df, tf = sum(word in other for other in documents), words.count(word)
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            total += idf * tf * 2.5 / (tf + 1.5 * (0.25 + 0.75 * len(words) / mean))
        out.append(total)
    return out


def hybrid_parts(asked: Asked) -> tuple[list[Memory], list[list[float]]]:
    found = [m for m in asked.open if not m.flags & Flag.COLD]
    near = {m.id: cosine(asked.question, m.text) for m in found}
    linked = {
        m.id: max(
            (near[o.id] for o in found if o.id in (*m.links, *m.evidence) or m.id in (*o.links, *o.evidence)),
            default=0.0,
        )
        for m in found
    }
    return found, [
        [0.995 ** (asked.hours * (asked.now - m.t_access)) for m in found],
        [m.importance for m in found],
        [near[m.id] for m in found],
        bm25(asked.question, [m.text for m in found]),
        [linked[m.id] for m in found],
    ]


def hybrid(asked: Asked) -> list[tuple[Memory, float]]:
    found, raw = hybrid_parts(asked)
    weighted = [[w * v for v in minmax(part)] for w, part in zip((0.5, 0.5, 1, 0.3, 0.5), raw, strict=True)]
    return ranked(found, [sum(each) for each in zip(*weighted, strict=True)], newer=True)


RULES: dict[str, Rule] = {
    "paper": paper, "reverie": reverie, "reverie_fixed": reverie_fixed, "genagents": genagents,
    "memorybank": memorybank, "cosine": nearest,
}  # fmt: skip

# -- random stores --------------------------------------------------------------------------------------------------

AGENTS = 20
STORES = 50
"""Times 20 agents: 1,000 memories of 5 to 14 records."""


def text_of(draw: random.Random) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randint(1, 4))]
    return " ".join(["idle", *words] if draw.random() < 0.1 else words)


@functools.cache
def random_store(seed: int) -> MemoryStore:
    """Records over forty steps, some recalled, cited, closed or covered; the first agents have constant columns.

    Tests share it: they only look.
    """
    draw = random.Random(seed)
    hours = draw.choice((1.0, 2.0, 24.0))
    store = MemoryStore(AGENTS, MemorySettings(hours_per_step=hours), embed=Compass(), chance=Chance(seed))
    sizes = [draw.randint(5, 14) for _ in range(AGENTS)]
    for round_ in range(14):
        store.now = round_ * 3 if seed % 5 else 0
        new = []
        for agent in range(AGENTS):
            if round_ >= sizes[agent]:
                continue
            own = store.ids_of(agent).tolist()
            kind = draw.choice(("observation", "utterance", "event", "fact", "reflection", "plan"))
            cites = tuple(sorted(draw.sample(own, min(len(own), draw.randint(0, 2))))) if draw.random() < 0.5 else ()
            flags = draw.choice((0, 0, 0, Flag.PROBE, Flag.COLD, Flag.PRIVATE)) if round_ else 0
            new.append(NewMemory(
                agent, "amber fox" if agent == 0 else text_of(draw), "event" if round_ == 0 else kind,
                importance=0.5 if agent < 2 else draw.choice((0.0, 0.25, 0.5, 0.5, 1.0)), flags=int(flags),
                evidence=cites if kind == "reflection" else (), links=cites if kind != "reflection" else (),
                valid_from=draw.choice((-1, -1, store.now, 41)) if kind == "fact" else -1,
            ))  # fmt: skip
        store.add(new)
        some = draw.sample(range(AGENTS), 6)
        store.retrieve(some, ["?"] * 6, policy="random_retrieval", k=2, touch=True)
        store.commit()
    for record in range(len(store)):
        if store.get(record).kind == "fact" and draw.random() < 0.5:
            store.close(record)
    store.now += draw.choice((0, 1, 7))
    return store


def test_the_words_are_their_own_stems() -> None:
    from simworld.memory._text import stems

    assert stems(" ".join(WORDS)) == list(WORDS)


@pytest.mark.parametrize("policy", [*RULES, "hybrid"])
def test_a_thousand_random_memories_are_searched_as_the_source_says(policy: str) -> None:
    met = ties = constant = 0
    for seed in range(STORES):
        store, draw = random_store(seed), random.Random(-1 - seed)
        questions = [" ".join(draw.sample(WORDS, draw.randint(1, 3))) for _ in range(AGENTS)]
        k = draw.choice((1, 3, 5, 100))
        found = store.retrieve(range(AGENTS), questions, policy=policy, k=k)
        for agent, (question, one) in enumerate(zip(questions, found, strict=True)):
            asked = Asked(store.records(agent), question, store.now, store.settings.hours_per_step)
            if policy == "hybrid":
                check_hybrid(asked, one, k)
                continue
            wanted = RULES[policy](asked)
            ties += len({s for _, s in wanted}) < len(wanted)
            constant += len({m.importance for m, _ in wanted}) == 1
            wanted = wanted[:k]
            if policy == "genagents":
                wanted.sort(key=lambda p: p[0].id)
            assert [m.id for m in one] == [m.id for m, _ in wanted], (seed, agent)
            assert [f.score for f in one.found] == pytest.approx([s for _, s in wanted], abs=1e-12)
            met += len(wanted)
    if policy != "hybrid":
        assert (met > 1000, ties > 5, constant > 50) == (True, True, True)


def check_hybrid(asked: Asked, one: Any, k: int) -> None:
    """The logarithm is taken in two parts there, so sums that are the same on paper may differ in the last bit."""
    wanted = hybrid(asked)
    of = {m.id: s for m, s in wanted}
    assert [of[m.id] for m in one] == pytest.approx([s for _, s in wanted[:k]], abs=1e-9)
    assert [f.score for f in one.found] == pytest.approx([of[m.id] for m in one], abs=1e-9)
    records, raw = hybrid_parts(asked)
    alike = {
        m.id: (*values, m.flags & Flag.STALE) for m, values in zip(records, zip(*raw, strict=True), strict=True)
    }  # fmt: skip
    shown = [m.id for m in one]
    for earlier, later in itertools.pairwise(shown):
        if alike[earlier] == alike[later]:
            assert earlier > later


@pytest.mark.parametrize("seed", range(6))
def test_ldagent_takes_the_best_of_the_ten_nearest_by_topic(seed: int) -> None:
    """exp(−1e−7·Δt in s) · ½·(shared/asked + shared/remembered) over noun sets; nothing without overlap."""
    store, draw = random_store(seed), random.Random(-1 - seed)
    for agent in range(AGENTS):
        question = " ".join(draw.sample(WORDS, draw.randint(1, 3)))
        wanted: dict[int, float] = {}
        nouns = set(question.split())
        records = Asked(store.records(agent), question, store.now, 1.0).open
        # The stem of "idle" is "idl"; all other words are their own.
        as_nouns = [" ".join(sorted(set(m.text.replace("idle", "idl").split()))) for m in records]
        near = [cosine(" ".join(sorted(nouns)), n) for n in as_nouns]
        for i in sorted(range(len(records)), key=lambda i: -near[i])[:10]:
            own = set(records[i].text.split())
            shared = len(own & nouns)
            seconds = (store.now - records[i].t_access) * store.settings.hours_per_step * 3600
            if shared:
                topic = (shared / len(nouns) + shared / len(own)) / 2
                wanted[records[i].id] = math.exp(-1e-7 * seconds) * topic
        (one,) = store.retrieve([agent], [question], policy="ldagent")
        assert len(one) == min(1, len(wanted))
        if wanted:
            best = max(wanted.values())
            assert one.found[0].score == pytest.approx(best, abs=1e-12)
            assert wanted[one[0].id] == pytest.approx(best, abs=1e-12)


def test_ldagent_by_hand() -> None:
    """Q = {fox, gold}; V = {fox, gold, hill}: ½·(2/2 + 2/3) = 5/6; ten hours later times e^(−1e−7·36000)."""
    store = MemoryStore(1, MemorySettings())
    store.add([NewMemory(0, "fox gold hill"), NewMemory(0, "fox drum"), NewMemory(0, "elm birch")])
    store.now = 10
    (one,) = store.retrieve([0], ["gold fox"], policy="ldagent")
    assert one[0].id == 0
    assert one.found[0].score == pytest.approx(math.exp(-0.0036) * 5 / 6, abs=1e-15)
    assert len(store.retrieve([0], ["cedar"], policy="ldagent")[0]) == 0
    store.add([NewMemory(0, "fox gold hill")])
    store.add([NewMemory(0, "hill gold fox")])
    assert store.retrieve([0], ["gold fox"], policy="ldagent")[0][0].id == 4


# -- numbers known beforehand ---------------------------------------------------------------------------------------


def lone(n: int, importance: Sequence[float] | None = None, **settings: Any) -> MemoryStore:
    """One agent with a record a step, the same words every time."""
    store = MemoryStore(1, MemorySettings(**settings), embed=Compass())
    for i in range(n):
        store.now = i
        store.add([NewMemory(0, "amber fox", "event", importance=0.5 if importance is None else importance[i])])
    return store


def test_ranks_one_to_five_of_the_released_recency() -> None:
    """0.99^rank, scaled: 1, .7462, .4950, .2462, 0; the oldest first as released, the newest as meant."""
    known = [1, 0.7462, 0.4950, 0.2462, 0]
    store = lone(5)
    for policy, ids in (("reverie", range(5)), ("reverie_fixed", range(4, -1, -1))):
        (one,) = store.retrieve([0], ["fox"], policy=policy)
        assert [m.id for m in one] == list(ids)
        assert [f.parts["recency"] / 0.5 for f in one.found] == pytest.approx(known, abs=5e-5)


def test_of_two_records_reverie_puts_the_older_first_and_paper_the_newer() -> None:
    for store in (lone(2), MemoryStore(1, embed=Compass())):
        if not len(store):
            store.add([NewMemory(0, "amber fox", "event", importance=0.5) for _ in range(2)])
        ids = {p: [m.id for m in store.retrieve([0], ["fox"], policy=p)[0]] for p in ("paper", "reverie")}
        assert ids["paper"] == [1, 0]
        assert ids["reverie"] == ([0, 1] if store.now else [1, 0])


def test_scores_reach_both_ends_of_their_range() -> None:
    """[0, 3] as published and [0, 5.5] as released: weights 0.5, 3, 2."""
    far, near = "amber fox", "birch"
    assert direction(far) != direction(near)
    for policy, top in (("paper", 3.0), ("reverie_fixed", 5.5)):
        store = MemoryStore(1, embed=Compass())
        store.add([NewMemory(0, far, "event", importance=0.0)])
        store.now = 9
        store.add([NewMemory(0, near, "event", importance=1.0)])
        (one,) = store.retrieve([0], [near], policy=policy)
        assert [f.score for f in one.found] == [top, 0.0]
        assert one.highest == top
    for seed in range(10):
        store = random_store(seed)
        for policy, top in (("paper", 3.0), ("reverie", 5.5), ("reverie_fixed", 5.5), ("genagents", 1.5)):
            found = store.find(range(AGENTS), ["fox"] * AGENTS, policy=policy)
            assert found.scores.min() >= 0.0
            assert found.scores.max() <= top


@pytest.mark.parametrize("policy", ["paper", "reverie", "reverie_fixed", "genagents", "hybrid"])
def test_a_positive_affine_map_of_importance_or_of_the_clock_changes_no_score(policy: str) -> None:
    grid = [0.25, 0.5, 0.0, 1.0, 0.5, 0.75]
    plain, mapped = lone(6, grid), lone(6, [0.125 + 0.5 * x for x in grid])
    later = lone(6, grid)
    later.now += 50
    (one,), (other,), (third,) = (s.retrieve([0], ["fox"], policy=policy) for s in (plain, mapped, later))
    assert [(f.memory.id, f.score) for f in one.found] == [(f.memory.id, f.score) for f in other.found]
    assert [f.memory.id for f in third.found] == [f.memory.id for f in one.found]
    assert [f.score for f in third.found] == pytest.approx([f.score for f in one.found], abs=1e-12)


def test_scaling_ignores_shift_and_stretch_and_what_may_not_be_found() -> None:
    from simworld.memory._retrieve import scaled

    draw = np.random.default_rng(5)
    x, ok = draw.random((200, 9)), draw.random((200, 9)) < 0.7
    ok[0] = False
    x[1] = 0.3
    out = scaled(x, ok)
    assert np.allclose(out, scaled(7.0 * x - 3.0, ok), atol=1e-12)
    assert (out[~ok] == 0).all()
    assert (out[1][ok[1]] == 0.5).all()
    x[~ok] = 1e9
    assert np.array_equal(out, scaled(x, ok))


def test_parts_add_up_to_the_score_and_to_twice_that_of_what_is_stale() -> None:
    store = random_store(3)
    stale = 0
    for policy in ("paper", "hybrid", "cosine", "reverie", "genagents"):
        for one in store.retrieve(range(AGENTS), ["gold fox"] * AGENTS, policy=policy):
            for found in one.found:
                halved = bool(found.memory.flags & Flag.STALE) and policy in ("paper", "hybrid", "cosine")
                stale += halved
                assert sum(found.parts.values()) == pytest.approx(found.score * (2 if halved else 1), abs=1e-12)
    assert stale > 5


def test_memorybank_forgets_by_days_and_levels() -> None:
    """e^(−t/S), t in days since the last recall, S from 1 to 3, one more a recall; nothing is found after 30 days."""
    rule = dataclasses.replace(POLICIES["memorybank"], weights={"relevance": 0.0, "retention": 1.0})
    store = MemoryStore(2, MemorySettings(hours_per_step=6.0), embed=Compass())
    store.add([NewMemory(a, "amber fox") for a in (0, 0, 1)])
    for _ in range(4):
        store.now += 1
        store.retrieve([1], ["fox"], policy="cosine", touch=True)
        store.commit()
    store.now = 4 * 29 + 3
    assert store.get(2).strength == 5
    from simworld.memory._retrieve import Candidates, scores

    ages = np.array([[store.now, store.now - 4]])
    c = Candidates(
        ids=np.array([[0, 2]]), ok=np.ones((1, 2), bool), now=store.now, t_access=store.now - ages,
        importance=np.zeros((1, 2)), strength=np.array([[1.0, 5.0]]), stale=np.zeros((1, 2), bool),
        is_thought=np.zeros((1, 2), bool), relevance=np.zeros((1, 2)), hours_per_step=6.0, tau_steps=4.0,
    )  # fmt: skip
    total, _ = scores(rule, c)
    raw = [math.exp(-ages[0, 0] / 4 / 1), math.exp(-ages[0, 1] / 4 / 3)]
    assert total[0].tolist() == pytest.approx(minmax(raw))
    assert len(store.retrieve([0], ["fox"], policy="memorybank")[0]) == 2
    store.now = 4 * 30
    assert [len(one) for one in store.retrieve([0, 1], ["fox"] * 2, policy="memorybank")] == [0, 1]


def test_reverie_recalls_between_the_questions_of_one_call() -> None:
    """What was found for one question is fresh for the next; as released, fresh means last in recency."""
    texts = ["amber fox", "birch", "cedar hill"]
    assert len({direction(t) for t in texts}) == 3
    for policy in ("reverie", "reverie_fixed"):
        store = MemoryStore(1, embed=Compass())
        for i, text in enumerate(texts):
            store.now = i
            store.add([NewMemory(0, text, "event", importance=0.5)])
        store.now = 9
        before = store.digest()
        together = store.retrieve([0, 0], [texts[0], texts[0]], policy=policy, k=1)
        assert store.digest() == before
        first = store.retrieve([0], [texts[0]], policy=policy, k=1, touch=True)
        store.commit()
        second = store.retrieve([0], [texts[0]], policy=policy, k=1, touch=True)
        assert [[(f.memory.id, f.score) for f in one.found] for one in together] == [
            [(f.memory.id, f.score) for f in one.found] for one in (*first, *second)
        ]
        assert together[0].found[0].parts["recency"] != together[1].found[0].parts["recency"]


def test_a_question_to_one_agent_leaves_no_trace_in_the_search_of_another() -> None:
    store = random_store(8)
    for policy in POLICIES:
        alone = store.retrieve([7], ["gold fox"], policy=policy)
        among = store.retrieve([3, 7, 11, 3], ["elm", "gold fox", "hill", "fox"], policy=policy)
        assert [(f.memory.id, f.score) for f in among[1].found] == [(f.memory.id, f.score) for f in alone[0].found]


def test_kinds_privacy_and_covered_records_as_asked() -> None:
    store = MemoryStore(1, embed=Compass())
    store.add([
        NewMemory(0, "fox", "event"), NewMemory(0, "fox", "utterance", flags=int(Flag.PRIVATE)),
        NewMemory(0, "fox", "event", flags=int(Flag.COLD)), NewMemory(0, "fox", "event", flags=int(Flag.PROBE)),
        NewMemory(0, "idle fox", "event"), NewMemory(0, "fox", "fact"),
    ])  # fmt: skip

    def ids(policy: str, **how: Any) -> list[int]:
        return sorted(m.id for m in store.retrieve([0], ["fox"], policy=policy, **how)[0])

    assert ids("paper") == [0, 1, 2, 4, 5]
    assert ids("hybrid") == [0, 1, 4, 5]
    assert ids("hybrid", cold=True) == [0, 1, 2, 4, 5]
    assert ids("reverie") == [0, 1, 2]
    assert ids("paper", public=True) == [0, 2, 4, 5]
    store.retrieve([0], ["fox"], policy="recent", k=9, touch=True)
    store.commit()
    assert store.get(3).n_access == 0
    assert ids("paper", kinds=["utterance", "fact"]) == [1, 5]


def test_a_policy_that_there_is_not() -> None:
    with pytest.raises(ParameterError, match="no retrieval policy 'papre'; did you mean 'paper'"):
        MemoryStore(1, MemorySettings(policy="papre"))
    with pytest.raises(ParameterError, match="2 questions for 1 agents"):
        MemoryStore(1).retrieve([0], ["a", "b"])
    for k in (0, -3):
        with pytest.raises(ParameterError, match=f"k = {k}; at least one"):
            MemoryStore(1).retrieve([0], ["a"], k=k)
    with pytest.raises(ParameterError, match="no kind of memory 'dream'"):
        MemoryStore(1).retrieve([0], ["a"], kinds=["event", "dream"])

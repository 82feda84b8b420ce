"""Forgetting: retention falls, recall restores it; what is forgotten leaves the index, not the log; episodes close.

Retention R = exp(−Δt/(S·τ)) is MemoryBank's (Zhong et al. 2023, arXiv 2305.10250, after Ebbinghaus); S grows by one a
recall, to 6 at most. Sessions that close after a gap are LD-Agent's (Li et al. 2024, arXiv 2406.05925).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pydantic
import pytest

from simworld.errors import ParameterError
from simworld.memory import POLICIES, Flag, MemorySettings, MemoryStore, NewMemory, Operation, replay
from simworld.rng import Chance


def forgetful(tau: float = 10.0, n: int = 1, **settings: Any) -> MemoryStore:
    return MemoryStore(n, MemorySettings(**{"tau_steps": tau, "forgetting": "threshold", **settings}), chance=Chance(3))


def recalled(store: MemoryStore, text: str) -> None:
    (one,) = store.retrieve([0], [text], policy="cosine", k=1, touch=True)
    assert one[0].text == text
    store.commit()


def test_retention_is_the_formula_and_recall_raises_strength_and_starts_anew() -> None:
    store = forgetful(tau=7.5)
    store.add([NewMemory(0, "bread"), NewMemory(0, "violin")])
    strength, last = 1, 0
    for t in (1, 4, 5, 9, 17, 30, 31, 64):
        store.now = t
        wanted = [math.exp(-(t - last) / (strength * 7.5)), math.exp(-t / 7.5)]
        assert store.retention(np.array([0, 1])).tolist() == pytest.approx(wanted, rel=1e-12)
        recalled(store, "bread")
        strength, last = min(strength + 1, 6), t
        assert store.retention(np.array([0])).tolist() == [1.0]
        m = store.get(0)
        assert (m.strength, m.t_access, store.get(1).strength) == (strength, t, 1)
    assert store.get(0).n_access == 8


def test_strength_grows_to_the_levels_of_the_policy() -> None:
    """Three of MemoryBank's first release, six otherwise."""
    for policy, most in (("memorybank", 3), ("hybrid", 6)):
        store = forgetful(tau=7.5, policy=policy)
        store.add([NewMemory(0, "bread")])
        for t in range(1, 9):
            store.now = t
            recalled(store, "bread")
        store.now = 18
        assert store.retention(np.array([0])).tolist() == pytest.approx([math.exp(-10 / (most * 7.5))], rel=1e-6)


def test_time_scale_is_required_and_never_guessed() -> None:
    for mode in ("threshold", "bernoulli"):
        with pytest.raises(pydantic.ValidationError, match="tau_steps"):
            MemorySettings(forgetting=mode)
    with pytest.raises(ParameterError, match="tau_steps"):
        MemoryStore(1).retention(np.array([], np.int64))


def test_below_a_twentieth_a_record_is_forgotten() -> None:
    """exp(−Δt/10) falls below 0.05 between the steps 29 and 30; recalled once, between 59 and 60 after it."""
    store = forgetful()
    store.add([NewMemory(0, "bread"), NewMemory(0, "violin")])
    recalled(store, "violin")
    gone: dict[int, int] = {}
    for t in range(1, 80):
        store.now = t
        forgotten, evicted = store.forget()
        gone |= dict.fromkeys(forgotten, t)
        assert evicted == []
    assert gone == {0: 30, 1: 60}


def test_what_is_forgotten_is_not_found_and_still_resolves() -> None:
    store = forgetful()
    store.add([NewMemory(0, "bread is cheap"), NewMemory(0, "bread is round", flags=int(Flag.PINNED))])
    (insight,) = store.add([NewMemory(0, "bread is good", "reflection", evidence=(0, 1), flags=int(Flag.PINNED))])
    store.now = 100
    assert store.forget() == ([0], [])
    assert sorted(m.id for m in store.retrieve([0], ["bread"], policy="paper")[0]) == [1, 2]
    assert [m.id for m in store.records(0)] == [1, 2]
    assert [store.get(e).text for e in store.get(int(insight)).evidence] == ["bread is cheap", "bread is round"]
    assert store.get(0).flags & Flag.GONE
    _, rows = store.drain()
    assert "bread is cheap" in rows["text"]
    assert list(rows["op"])[-1] == "forget"
    assert store.forget() == ([], [])


@pytest.mark.parametrize("policy", POLICIES)
def test_when_everything_is_forgotten_nothing_is_found(policy: str) -> None:
    """By one, by all, and by some beside others who remember; afterwards memories come as to the newly born."""
    store = forgetful(n=3, k=5)
    store.add([NewMemory(a, f"bread {i}", "event") for a in range(3) for i in range(4)])
    kept = store.add([NewMemory(1, "bread for ever", "event", flags=int(Flag.PINNED))]).tolist()
    store.now = 100
    assert len(store.forget()[0]) == 12
    for asked in ([0], [0, 2], [2, 1, 0, 1], [0, 0]):
        found = store.retrieve(asked, ["bread"] * len(asked), policy=policy, touch=True)
        assert [[m.id for m in one] for one in found] == [kept if agent == 1 else [] for agent in asked]
    store.commit()
    assert (store.records(0), store.recent(0, 5), store.about(0, None), store.insights(0)) == ([], [], (), ())
    fresh = store.add([NewMemory(0, "bread again", "event")]).tolist()
    found = store.retrieve([0, 2], ["bread"] * 2, policy=policy)
    assert [[m.id for m in one] for one in found] == [fresh, []]


def test_by_chance_records_go_with_the_probability_of_their_loss() -> None:
    """With probability 1 − R, from the step's own stream: the same in every process, another in every step."""

    def lost(step: int, seed: int = 3) -> list[int]:
        store = MemoryStore(
            40, MemorySettings(tau_steps=step / math.log(4), forgetting="bernoulli"), chance=Chance(seed)
        )  # fmt: skip
        store.add([NewMemory(i % 40, f"thing {i}") for i in range(1000)])
        store.now = step
        return store.forget()[0]

    first = lost(5)
    # 1 − R = 3/4 of 1,000: a standard deviation is 14.
    assert abs(len(first) - 750) < 70
    assert first == lost(5)
    assert first != lost(6)
    assert first != lost(5, seed=4)


def test_no_setting_no_forgetting() -> None:
    store = MemoryStore(1)
    store.add([NewMemory(0, "bread")])
    store.now = 10**6
    assert store.forget() == ([], [])


@pytest.mark.parametrize("mode", ["threshold", "bernoulli"])
def test_formative_records_survive_a_thousand_steps_at_capacity(mode: str) -> None:
    store = forgetful(5.0, forgetting=mode, capacity=10)
    lived = [
        int(store.add([NewMemory(0, f"childhood {i}", "formative", importance=0.0, flags=int(flag))])[0])
        for i, flag in enumerate((Flag.FORMATIVE, Flag.PINNED, Flag.FORMATIVE | Flag.PRIVATE))
    ]
    for t in range(1, 1001):
        store.now = t
        store.remember(NewMemory(0, f"day {t}", importance=1.0))
        store.commit()
        store.forget()
        assert len(store.ids_of(0)) <= 10
    kept = store.ids_of(0).tolist()
    assert kept[:3] == lived
    assert [store.get(i).text for i in lived] == ["childhood 0", "childhood 1", "childhood 2"]
    if mode != "bernoulli":
        assert kept[3:] == list(range(996, 1003))
    assert len(store.retrieve([0], ["childhood"], policy="cosine", k=3)[0]) == 3


def test_over_capacity_the_least_of_retention_times_importance_goes() -> None:
    store = forgetful(20.0, forgetting="none", capacity=4)
    importance = (0.9, 0.2, 0.5, 0.5, 0.3, 1.0)
    for t, one in enumerate(importance):
        store.now = t
        store.add([NewMemory(0, f"thing {t}", importance=one)])
    worth = {i: one * math.exp(-(5 - i) / 20) for i, one in enumerate(importance)}
    least = sorted(sorted(worth, key=worth.__getitem__)[:2])
    assert store.forget() == ([], least)
    assert store.ids_of(0).tolist() == [i for i in range(6) if i not in least]
    assert store.forget() == ([], [])
    plain = MemoryStore(2, MemorySettings(capacity=2))
    plain.add([NewMemory(a, "x", importance=i) for a in (0, 1) for i in (0.5, 0.5, 0.5)])
    assert plain.forget() == ([], [0, 3])


def test_facts_that_hold_are_never_forgotten_and_crowd_nothing_out() -> None:
    store = forgetful(5.0, capacity=3)
    ops = [Operation(op="ADD", path=f"fact/mill/{what}", value="x") for what in ("owner", "age")]
    assert store.apply_ops(0, ops) == []
    ids = store.add([NewMemory(0, f"day {i}", importance=1 - i / 10) for i in range(4)]).tolist()
    assert store.forget() == ([], ids[-1:])
    store.now = 100
    assert store.forget() == (ids[:3], [])
    assert store.ids_of(0).tolist() == [0, 1]
    assert store.apply_ops(0, [Operation(op="DELETE", path="fact/mill/owner")]) == []
    assert store.forget() == ([0], [])
    assert [f.predicate for f in store.facts(0)] == ["age"]


def test_forgetting_and_eviction_are_in_the_log() -> None:
    settings = MemorySettings(tau_steps=4.0, forgetting="bernoulli", capacity=6)
    store, parts, lost = MemoryStore(3, settings, chance=Chance(1)), [], 0
    for t in range(30):
        store.now = t
        for agent in range(3):
            store.remember(NewMemory(agent, f"day {t} of {agent}"))
        store.retrieve([t % 3], ["day"], k=2, touch=True)
        store.commit()
        lost += sum(map(len, store.forget()))
        parts.append((t, *store.drain()))
    # Nothing is drawn again: the log says what went.
    again = replay(parts, settings, 3, chance=Chance(99))
    assert lost > 30
    assert again.digest() == store.digest()
    assert [again.ids_of(a).tolist() for a in range(3)] == [store.ids_of(a).tolist() for a in range(3)]


# -- episodes and sessions ------------------------------------------------------------------------------------------


def test_an_episode_closes_after_a_gap_a_move_or_fifteen_records() -> None:
    store = MemoryStore(4, MemorySettings(episodes=True, episode_gap=6))
    for agent in range(3):
        for i in range(4):
            store.add([NewMemory(agent, f"talk {i}", place="mill")])
    store.add([NewMemory(1, "walk", place="inn")])
    store.add([NewMemory(2, f"talk {i}", place="mill") for i in range(4, 15)])
    assert {a: len(ids) for a, ids in store.closed_episodes().items()} == {1: 4, 2: 15}
    store.now = 6
    assert 0 not in store.closed_episodes()
    store.now = 7
    assert {a: len(ids) for a, ids in store.closed_episodes().items()} == {0: 4, 1: 4, 2: 15}
    store.add([NewMemory(0, "a new session", place="mill")])
    assert len(store.closed_episodes()[0]) == 4
    assert store.closed_episodes(everything=True)[1] == [m.id for m in store.records(1)][:4]


def test_a_summary_cites_its_episode_whose_records_turn_cold() -> None:
    store = MemoryStore(2, MemorySettings(episodes=True))
    ids = store.add([NewMemory(0, f"talk of bread {i}", importance=i / 10) for i in range(5)]).tolist()
    store.add([NewMemory(1, "talk of bread")])
    summary = store.summarise(0, ids, "We talked of bread.")
    assert summary is not None
    m = store.get(summary)
    assert (m.kind, m.evidence, m.importance, m.t_event) == ("summary", tuple(ids), 0.4, 0)
    assert all(store.get(i).flags & Flag.COLD for i in ids)
    assert [x.id for x in store.retrieve([0], ["bread"], policy="hybrid")[0]] == [summary]
    assert len(store.retrieve([0], ["bread"], policy="hybrid", cold=True)[0]) == 6
    for policy in ("paper", "reverie", "genagents", "cosine"):
        assert len(store.retrieve([0], ["bread"], policy=policy)[0]) == 6
    # One record alone is no episode.
    assert store.summarise(1, store.ids_of(1).tolist(), "") is None
    assert not any(x.flags & Flag.COLD for x in store.records(1))
    assert store.closed_episodes(everything=True) == {}


@pytest.mark.parametrize("cold", [False, True])
def test_an_episode_that_ends_without_a_summary_is_over_and_cold_only_if_said(cold: bool) -> None:
    store = MemoryStore(2, MemorySettings(episodes=True))
    ids = store.add([NewMemory(0, f"talk of bread {i}", place="mill") for i in range(5)]).tolist()
    store.add([NewMemory(1, "talk of bread")])
    store.end_episode(0, ids[:3], cold=cold)
    assert [bool(store.get(i).flags & Flag.COLD) for i in ids] == [cold] * 3 + [False] * 2
    assert store.closed_episodes(everything=True) == {0: ids[3:], 1: [5]}
    assert len(store.retrieve([0], ["bread"], policy="hybrid")[0]) == (2 if cold else 5)
    again = replay([(0, *store.drain())], store.settings, 2)
    assert (again.digest(), again.state()) == (store.digest(), store.state())


def test_five_sessions_later_it_is_known_what_was_said() -> None:
    """LD-Agent's row: recall after five sessions is above that without a memory."""
    said = [
        "My daughter plays the violin.", "The harvest failed near Ravenna.", "I sold the red boat to Piero.",
        "Our mill burned down in March.", "The doctor forbade me salt.",
    ]  # fmt: skip
    asked = ["violin daughter", "harvest Ravenna", "red boat", "mill March", "doctor salt"]
    right: dict[bool, int] = {}
    for enabled in (True, False):
        store = MemoryStore(1, MemorySettings(enabled=enabled, episodes=True, episode_gap=2, policy="ldagent"))
        for session, text in enumerate(said):
            store.now = session * 10
            for closed in store.closed_episodes().values():
                assert len(closed) == 5
                store.summarise(0, closed, store.get(closed[0]).text)
            store.remember(NewMemory(0, text, "utterance"))
            for filler in ("Good day.", "Fine weather.", "Yes, indeed.", "See you soon."):
                store.remember(NewMemory(0, filler, "utterance", order=1))
            store.commit()
        store.now = 60
        found = store.retrieve([0] * 5, asked)
        right[enabled] = sum(len(one) > 0 and one[0].text == text for one, text in zip(found, said, strict=True))
    assert right == {True: 5, False: 0}

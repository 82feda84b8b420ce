"""The store: whose memories are found, what importance is, when agents reflect, what goes stale, when touches count.

The trigger is that of Park et al. 2023 (arXiv 2304.03442): 150 on the scale from 1 to 10, thoughts not counted.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from simworld.errors import ParameterError
from simworld.memory import (
    KINDS,
    POLICIES,
    Flag,
    MemorySettings,
    MemoryStore,
    MemoryView,
    NewMemory,
    Operation,
    owner_of,
    replay,
)
from simworld.rng import Chance

FOUND_BY = tuple(name for name in POLICIES if name not in ("random_retrieval",))
TOPICS = ("bread", "river", "violin", "harvest", "lantern", "sheep")


def remembered(store: MemoryStore, agent: int, text: str, kind: str = "observation", **fields: Any) -> int:
    return int(store.add([NewMemory(agent, text, kind, **fields)])[0])


def fact(store: MemoryStore, agent: int, value: str, op: str = "ADD") -> list[str]:
    return store.apply_ops(agent, [Operation(op=op, path="fact/mill/owner", value=value)])


# -- whose memories -------------------------------------------------------------------------------------------------


def test_two_stores_in_one_process_never_see_each_other() -> None:
    """Trap: one client for all that a second store resets, or one dict at class level."""
    one, other = MemoryStore(3), MemoryStore(3)
    remembered(one, 0, "Ann stole the bread.")
    one.apply_ops(0, [Operation(op="ADD", path="core/self", value="I know")])
    one.remember(NewMemory(1, "waits"))
    empty = MemoryStore(3)
    for store in (other, empty):
        assert len(store) == 0
        assert store.digest() == MemoryStore(3).digest()
        assert [len(f) for f in store.retrieve([0, 1, 2], ["bread"] * 3)] == [0, 0, 0]
        assert (store.core(0), store.waiting(), store.drain()[0]) == ({}, [], 0)
    remembered(other, 0, "The bread is fine.")
    assert [m.text for m in one.retrieve([0], ["bread"])[0]] == ["Ann stole the bread."]


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_memories_of_a_thousand_agents_never_reach_another(policy: str) -> None:
    """Everybody remembers the same words, in slabs that grow and shrink, beside a fork that is written to."""
    n, draw = 1000, random.Random(7)
    store = MemoryStore(n, MemorySettings(capacity=18), chance=Chance(5))
    for round_ in range(5):
        store.now = round_
        sizes = [draw.choice((0, 1, 3, 9)) for _ in range(n)]
        store.add([NewMemory(a, draw.choice(TOPICS), "event") for a in range(n) for _ in range(sizes[a])])
        if round_ == 2:
            store.forget()
            fork = store.fork()
            fork.add([NewMemory(a, "bread of the fork", "event") for a in range(n)])
    _, evicted = store.forget()
    assert evicted
    asked = [draw.randrange(n) for _ in range(n)]
    found = store.find(asked, [draw.choice(TOPICS) for _ in asked], policy=policy, k=6)
    there = found.ids >= 0
    assert there.sum() > n
    owners = store.column("agent")[np.maximum(found.ids, 0)]
    assert (owners == np.array(asked)[:, None])[there].all()
    gone = (store.column("flags") & int(Flag.GONE)) != 0
    assert not gone[found.ids[there]].any()
    for agent in range(0, n, 97):
        assert {store.get(i).agent for i in store.ids_of(agent).tolist()} <= {agent}
        assert {m.agent for m in (*store.about(agent, None), *store.insights(agent), *store.facts(agent))} <= {agent}
    ids = fork.find(range(n), ["bread of the fork"] * n, policy=policy, k=50).ids
    assert (fork.column("agent")[np.maximum(ids, 0)] == np.arange(n)[:, None])[ids >= 0].all()
    if POLICIES[policy].k > 1 and policy != "recent":
        assert (ids >= len(store)).sum() <= n


def test_a_fork_is_written_to_and_its_parent_is_as_before() -> None:
    store = MemoryStore(2, MemorySettings(tree=("a.b",), forgetting="threshold", tau_steps=1.0))
    ids = [remembered(store, 0, t) for t in TOPICS]
    store.apply_ops(
        0, [Operation(op="ADD", path="core/self", value="me"), Operation(op="ADD", path="persona/a.b", value="x")]
    )
    before, state, log = store.digest(), store.state(), store.drain()[0]
    fork = store.fork()
    assert fork.digest() == before
    fork.apply_ops(
        0, [Operation(op="UPDATE", path="core/self", value="you"), Operation(op="DELETE", path="persona/a.b")]
    )
    fork.now = 50
    fork.retrieve([0], ["bread"], touch=True)
    fork.remember(NewMemory(1, "new"))
    fork.commit()
    fork.flag(ids[1], Flag.PINNED)
    fork.close(ids[2])
    fork.reflected(0)
    fork.forget()
    fork.grow(9)
    remembered(fork, 8, "late")
    assert fork.digest() != before
    assert (store.digest(), store.state(), store.drain()[0]) == (before, state, 0)
    assert log > 0
    assert store.retrieve([0], ["bread"], policy="cosine")[0][0].text == "bread"


def test_agents_that_there_are_not() -> None:
    store = MemoryStore(2)
    for agent in (2, -1, 2**30):
        with pytest.raises(ParameterError, match="there are 0 to 1"):
            store.remember(NewMemory(agent, "x"))
    for changed in ({"kind": "dream"}, {"importance": 1.5}, {"importance": -0.1}, {"importance": math.nan}):
        with pytest.raises(ParameterError):
            store.remember(NewMemory(0, "x", **changed))
    for missing in (0, -1):
        with pytest.raises(ParameterError, match=f"no memory {missing}"):
            store.get(missing)
    for agent in (2, -1, -2, 2**30):
        for ask in (
            lambda a: store.retrieve([0, a], ["x", "x"]), lambda a: store.find([a], ["x"]),
            lambda a: store.apply_ops(a, [Operation(op="ADD", path="core/self", value="x")]),
        ):  # fmt: skip
            with pytest.raises(ParameterError, match=f"no agent {agent}; there are 0 to 1"):
                ask(agent)
    with pytest.raises(ParameterError, match="no agent 2"):
        MemoryView(store, 2)
    assert len(store) == 0


def test_nothing_is_stored_and_nothing_found_where_memory_is_off() -> None:
    store = MemoryStore(2, MemorySettings(enabled=False))
    store.remember(NewMemory(0, "bread"))
    assert (len(store.commit()), len(store.add([NewMemory(0, "bread")])), len(store)) == (0, 0, 0)
    assert len(store.retrieve([0], ["bread"], touch=True)[0]) == 0
    assert (store.commit().tolist(), store.due_reflection().tolist(), store.drain()[0]) == ([], [], 0)


# -- stored and found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", FOUND_BY)
def test_what_was_stored_is_found_in_the_stream_at_once(policy: str) -> None:
    store = MemoryStore(2)
    for agent in (0, 1):
        for topic in TOPICS:
            remembered(store, agent, f"{topic} at the market of agent {agent}", "event", importance=0.5)
    store.now = 1
    for kind in KINDS:
        if kind == "fact" and policy.startswith("reverie"):
            continue
        fresh = store.fork()
        new = remembered(fresh, 0, f"zebra crossing the {kind}", kind, importance=0.9)
        (one,) = fresh.retrieve([0], ["zebra crossing"], policy=policy, k=3)
        assert new in [m.id for m in one], kind
        got = next(m for m in one if m.id == new)
        assert (got.text, got.kind, got.t_created, got.agent) == (f"zebra crossing the {kind}", kind, 1, 0)


def test_core_and_facts_come_with_every_recollection() -> None:
    store = MemoryStore(2)
    store.now = 4
    fact(store, 0, "Ada")
    store.apply_ops(0, [Operation(op="ADD", path="core/goals", value="Buy the mill.")])
    for policy in POLICIES:
        one, other = store.retrieve([0, 1], ["mill owner"] * 2, policy=policy)
        assert (one.core, other.core) == (("goals: Buy the mill.",), ())
        assert [f.object for f in one.facts("mill", "owner")] == ["Ada"]
        assert other.facts() == ()
        assert [m.kind for m in one] == ([] if policy.startswith("reverie") else ["fact"])
    alone = store.only_reading(0)
    assert (len(alone), alone.core, len(alone.facts())) == (0, ("goals: Buy the mill.",), 1)


def test_records_come_back_as_they_were_given() -> None:
    store = MemoryStore(3)
    store.now = 7
    cited = remembered(store, 1, "before")
    given = NewMemory(
        1, "Béla said: »ja«\n\t\"no\" 日本", "utterance", importance=0.123456, value=-0.25, source=2, subject=2,
        predicate="gave", object="bread", place="mill", t_event=3, valid_from=2, flags=int(Flag.PRIVATE),
        links=(cited,), data={"importance_raw": 3, "ü": [1, None]},
    )  # fmt: skip
    (i,) = store.add([given]).tolist()
    m = store.get(i)
    for name in ("agent", "text", "kind", "importance", "value", "source", "subject", "predicate", "object", "place",
                 "t_event", "valid_from", "flags", "evidence", "links"):  # fmt: skip
        assert getattr(m, name) == getattr(given, name), name
    assert (m.t_created, m.t_access, m.n_access, m.strength, m.valid_to, m.t_closed, m.depth) == (7, 7, 0, 1, -1, -1, 0)
    assert store.data(i) == {"importance_raw": 3, "ü": [1, None]}
    assert store.data(cited) == {}
    assert "\n" not in str(m)
    assert str(m).startswith(f'[{i}] step 3, utterance, from agent 2: "Béla said:')


def test_recent_is_the_order_of_storing_whatever_was_recalled() -> None:
    store = MemoryStore(2)
    for i in range(20):
        remembered(store, i % 2, f"thing {i}", "event" if i % 4 else "plan")
    store.now = 5
    store.retrieve([0], ["thing 0"], touch=True)
    store.commit()
    assert [m.text for m in store.recent(0, 3)] == ["thing 14", "thing 16", "thing 18"]
    assert [m.text for m in store.recent(0, 2, ["plan"])] == ["thing 12", "thing 16"]
    assert store.recent(0, 0) == []
    assert len(store.recent(1, 99)) == 10


def test_what_was_made_by_asking_is_nowhere_but_by_its_id() -> None:
    """A probe's records are left out of recall, of what is recent, about somebody, gathered and reflected on."""
    store = MemoryStore(1, MemorySettings(episodes=True))
    seen = remembered(store, 0, "Ada bakes bread", "event", subject="Ada", importance=0.25)
    probe = remembered(store, 0, "Ada baked what bread?", "event", subject="Ada", importance=1.0, flags=int(Flag.PROBE))
    later = remembered(store, 0, "Ada sold bread", "event", subject="Ada", importance=0.25)
    remembered(store, 0, "Ada is asked about", "reflection", flags=int(Flag.PROBE), evidence=(probe,))
    assert [m.id for m in store.recent(0, 2)] == [seen, later]
    assert [m.id for m in store.about(0, "Ada")] == [seen, later]
    assert [m.id for m in store.since_reflection(0)] == [seen, later]
    assert store.insights(0) == ()
    assert store.gathered(0) == 0.5
    assert store.closed_episodes(everything=True) == {0: [seen, later]}
    for policy in POLICIES:
        assert probe not in [m.id for m in store.retrieve([0], ["what bread baked"], policy=policy, k=9)[0]]
    assert store.get(probe).text == "Ada baked what bread?"
    assert probe in store.ids_of(0).tolist()


def test_a_record_that_cannot_be_is_refused_when_it_comes_and_the_others_wait_on() -> None:
    store = MemoryStore(2)
    others = remembered(store, 1, "yours")
    store.remember(NewMemory(0, "bread"))
    for wrong in (
        {"agent": 7}, {"kind": "dream"}, {"evidence": (others,)}, {"links": (99,)}, {"text": "\ud800"},
        {"predicate": 3}, {"place": None}, {"data": {"a": math.nan}}, {"data": {"a": object()}}, {"importance": 2.0},
    ):  # fmt: skip
        with pytest.raises(ParameterError):
            store.remember(NewMemory(**{"agent": 0, "text": "x", **wrong}))
        with pytest.raises(ParameterError):
            store.add([NewMemory(0, "fine"), NewMemory(**{"agent": 0, "text": "x", **wrong})])
    assert len(store) == 1
    assert [new.text for new, _ in store.waiting()] == ["bread"]
    assert [store.get(i).text for i in store.commit().tolist()] == ["bread"]
    assert store.waiting() == []


def test_how_much_is_kept_goes_by_the_size_of_the_society_at_its_start() -> None:
    """2,000 records each up to 1,000 agents, 200 up to 10,000, 48 above; what the settings say stands."""
    sizes = {0: 2000, 1: 2000, 1000: 2000, 1001: 200, 10_000: 200, 10_001: 48}
    assert {n: MemoryStore(n).capacity for n in sizes} == sizes
    assert MemoryStore(10_001, MemorySettings(capacity=7)).capacity == 7
    store = MemoryStore(1000)
    store.grow(1001)
    assert (store.capacity, store.fork().capacity, store.settings.capacity) == (2000, 2000, None)


# -- importance -----------------------------------------------------------------------------------------------------


def test_importance_by_rule_is_the_tables_and_how_new_it_is() -> None:
    """(1 − w)·table + w·(1 − largest cosine to the last 20 records), w = 0.3. [design]"""
    settings = MemorySettings(importance_table={"gave": 0.9, "utterance": 0.1})
    store = MemoryStore(2, settings)
    new = [
        NewMemory(0, "bread and butter", "observation", predicate="gave"), NewMemory(0, "a violin", "utterance"),
        NewMemory(0, "the sheep", "event"), NewMemory(0, "a lantern", importance=0.33),
    ]  # fmt: skip
    ids = store.add(new).tolist()
    assert [store.get(i).importance for i in ids] == pytest.approx([0.93, 0.37, 0.65, 0.33])
    again = store.add([NewMemory(0, "bread and butter", predicate="gave"), NewMemory(1, "the sheep", "event")])
    assert [store.get(i).importance for i in again.tolist()] == pytest.approx([0.63, 0.65])
    for i in range(20):
        remembered(store, 0, f"number {i} {i * 7919}")
    assert store.get(remembered(store, 0, "bread and butter", predicate="gave")).importance > 0.75
    plain = MemoryStore(1, MemorySettings(surprise=0.0))
    assert plain.get(remembered(plain, 0, "x", "event")).importance == 0.5


# -- when agents reflect --------------------------------------------------------------------------------------------


def test_agents_reflect_at_150_and_not_at_149() -> None:
    store = MemoryStore(4)
    store.add([NewMemory(0, f"seen {i}", importance=0.1) for i in range(149)])
    store.add([NewMemory(1, f"seen {i}", importance=0.1) for i in range(150)])
    store.add([NewMemory(2, f"thought {i}", k, importance=1.0) for i in range(40) for k in ("reflection", "plan")])
    store.add([NewMemory(3, f"past {i}", "formative", importance=1.0) for i in range(40)])
    assert store.due_reflection().tolist() == [1]
    remembered(store, 0, "one more", importance=0.1)
    assert store.due_reflection().tolist() == [0, 1]
    assert store.gathered(0) == 15.0
    store.reflected(1)
    assert (store.due_reflection().tolist(), store.gathered(1)) == ([0], 0.0)
    remembered(store, 1, "afterwards", importance=1.0)
    assert [m.text for m in store.since_reflection(1)] == ["afterwards"]
    assert len(store.since_reflection(0)) == 100
    assert store.gathered(1) == 1.0


def test_what_was_gathered_survives_a_restart() -> None:
    store = MemoryStore(1)
    store.add([NewMemory(0, f"seen {i}", importance=0.1) for i in range(149)])
    again = replay([(0, *store.drain())], MemorySettings(), 1)
    for each in (store, again):
        assert each.due_reflection().tolist() == []
        remembered(each, 0, "one more", importance=0.1)
        assert each.due_reflection().tolist() == [0]
    off = MemoryStore(1, MemorySettings(reflection=False))
    off.add([NewMemory(0, f"seen {i}", importance=1.0) for i in range(50)])
    assert off.due_reflection().tolist() == []


# -- citations and what goes stale ----------------------------------------------------------------------------------


def test_evidence_exists_is_earlier_and_is_the_owners() -> None:
    store = MemoryStore(3)
    own, others = remembered(store, 0, "mine"), remembered(store, 1, "yours")
    for wrong in ((others,), (own, others), (99,), (-1,), (own + 2,)):
        with pytest.raises(ParameterError, match="cites memory"):
            store.add([NewMemory(0, "so", "reflection", evidence=wrong)])
        with pytest.raises(ParameterError, match="cites memory"):
            store.add([NewMemory(0, "so", "reflection", links=wrong)])
    assert len(store) == 2
    a = remembered(store, 0, "so", "reflection", evidence=(own,))
    b = remembered(store, 0, "so then", "reflection", evidence=(own, a))
    assert [store.get(i).depth for i in (own, a, b)] == [0, 1, 2]
    for record in range(len(store)):
        m = store.get(record)
        assert all(e < record and store.get(e).agent == m.agent for e in m.evidence)


@pytest.mark.parametrize("policy", ["hybrid", "paper"])
def test_what_rests_on_a_closed_fact_is_stale_and_counts_half(policy: str) -> None:
    store = MemoryStore(1)
    fact(store, 0, "Ada")
    seen = remembered(store, 0, "Ada opened the mill", importance=0.5)
    resting = remembered(store, 0, "Ada owns things", "reflection", importance=0.5, evidence=(0, seen))
    deeper = remembered(store, 0, "owners are like Ada", "reflection", importance=0.5, evidence=(resting,))
    free = remembered(store, 0, "Ada is up early", "reflection", importance=0.5, evidence=(seen,))
    assert {m.id for m in store.insights(0)} == {resting, deeper, free}
    assert fact(store, 0, "Bo", "UPDATE") == []
    flags = {i: store.get(i).flags & Flag.STALE for i in range(len(store))}
    assert {i for i, stale in flags.items() if stale} == {resting, deeper}
    assert [m.id for m in store.insights(0)] == [free]
    after = {s.memory.id: s for s in store.retrieve([0], ["Ada"], policy=policy)[0].found}
    for i in (resting, deeper):
        assert after[i].score == pytest.approx(sum(after[i].parts.values()) / 2)
    assert after[free].score == pytest.approx(sum(after[free].parts.values()))
    assert 0 not in after


def test_what_rests_on_what_is_private_is_private() -> None:
    store = MemoryStore(2)
    secret = remembered(store, 0, "I took the bread", flags=int(Flag.PRIVATE))
    seen = remembered(store, 0, "the bread is gone")
    one = remembered(store, 0, "I am a thief", "reflection", evidence=(seen, secret))
    two = remembered(store, 0, "thieves are hungry", "reflection", evidence=(one,))
    free = remembered(store, 0, "bread does not last", "reflection", evidence=(seen,))
    linked = remembered(store, 0, "a day later", links=(secret,))
    private = [i for i in range(len(store)) if store.get(i).flags & Flag.PRIVATE]
    assert private == [secret, one, two]
    public = {m.id for p in POLICIES for m in store.retrieve([0], ["bread thief"], policy=p, public=True, k=9)[0]}
    assert public == {seen, free, linked}


# -- touches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", list(POLICIES))
def test_recall_counts_at_the_barrier_and_only_if_it_is_meant_to(policy: str) -> None:
    store = MemoryStore(2)
    for topic in TOPICS:
        remembered(store, 0, f"{topic} idles" if topic == "river" else topic, "event", importance=0.5)
    store.drain()
    store.now = 3
    before = store.digest()
    columns = {name: store.column(name).copy() for name in ("t_access", "n_access", "strength")}
    looks = [store.retrieve([0, 0], ["bread", "violin"], policy=policy, k=2) for _ in range(2)]
    assert (store.digest(), store.drain()[0]) == (before, 0)
    assert [[m.id for m in one] for one in looks[0]] == [[m.id for m in one] for one in looks[1]]
    found = store.retrieve([0, 0], ["bread", "violin"], policy=policy, k=2, touch=True)
    assert store.digest() == before
    assert all((store.column(name) == column).all() for name, column in columns.items())
    assert store.commit().tolist() == []
    times = [m.id for one in found for m in one]
    for i in range(len(store)):
        m, n = store.get(i), times.count(i) * POLICIES[policy].touches
        assert (m.n_access, m.strength, m.t_access) == (n, 1 + n, 3 if n else 0)
    n, rows = store.drain()
    assert n == 2
    assert rows["op"] == "recall"
    after = store.digest()
    assert store.commit().tolist() == []
    assert store.digest() == after


def test_a_step_reads_what_the_last_one_left() -> None:
    store = MemoryStore(1)
    store.remember(NewMemory(0, "bread"))
    assert len(store.retrieve([0], ["bread"])[0]) == 0
    assert (len(store), len(store.waiting())) == (0, 1)
    store.commit()
    assert (len(store.retrieve([0], ["bread"])[0]), store.waiting()) == (1, [])


# -- archetypes -----------------------------------------------------------------------------------------------------


def shared_store() -> tuple[MemoryStore, int, int]:
    """0 and 1 are of archetype 0, 2 of 1, 3 of none; return the store, a record of 0 and one that 0 and 1 share."""
    store = MemoryStore(4, chance=Chance(1))
    store.share_archetypes([0, 0, 1, -1])
    own = remembered(store, 0, "the bread was stale")
    shared = remembered(store, owner_of(0), "bakers cheat", "reflection", evidence=(own,), subject="baker")
    return store, own, shared


def test_members_read_what_is_shared_and_do_not_own_it() -> None:
    store, own, shared = shared_store()
    assert [[m.id for m in store.insights(a)] for a in range(4)] == [[shared], [shared], [], []]
    assert [m.id for m in store.insights(1, "baker")] == [shared]
    assert [shared in store.ids_of(a).tolist() for a in range(4)] == [False] * 4
    assert [m.id for m in store.records(1)] == []
    assert (store.get(shared).agent, store.get(shared).flags) == (owner_of(0), Flag.SHARED)
    assert store.gathered(0) == store.get(own).importance
    assert MemoryView(store, 1).get(shared).text == "bakers cheat"
    with pytest.raises(ParameterError, match="is not agent 3's"):
        MemoryView(store, 3).get(shared)


@pytest.mark.parametrize("policy", FOUND_BY)
def test_members_recall_what_is_shared_among_their_own(policy: str) -> None:
    """Also who has nothing of its own; as one list, scored as if it were one member's."""
    store, own, shared = shared_store()
    others = remembered(store, owner_of(1), "millers cheat", "reflection")
    store.now = 1
    mine = [remembered(store, a, f"bakers sell bread to {a}", "event", importance=0.4) for a in (0, 2, 3)]
    found = store.retrieve([3, 1, 0, 2, 1], ["bakers cheat"] * 5, policy=policy, k=9)
    ids = [sorted(m.id for m in one) for one in found]
    if policy == "ldagent":  # only what shares a noun
        assert ids == [[mine[2]], [shared], [shared, mine[0]], [others, mine[1]], [shared]]
    else:
        assert ids == [[mine[2]], [shared], [own, shared, mine[0]], [others, mine[1]], [shared]]
    assert {one.score(shared) for one in (found[1], found[4])} == {found[1].found[0].score}
    alone = MemoryStore(1, chance=Chance(1))
    for record in (own, shared, mine[0]):
        m = store.get(record)
        alone.now = m.t_created
        alone.add([NewMemory(0, m.text, m.kind, importance=m.importance, evidence=(0,) if m.evidence else ())])
    (same,) = alone.retrieve([0], ["bakers cheat"], policy=policy, k=9)
    assert [m.text for m in same] == [m.text for m in found[2]]
    assert [f.score for f in same.found] == pytest.approx([f.score for f in found[2].found], abs=1e-12)


def test_recall_does_not_strengthen_what_is_shared() -> None:
    """It is not a member's to strengthen, or one would change what another recalls."""
    store, own, shared = shared_store()
    store.now = 5
    (one,) = store.retrieve([0], ["bakers bread"], touch=True)
    assert {m.id for m in one} == {own, shared}
    store.commit()
    assert [(store.get(i).n_access, store.get(i).t_access) for i in (own, shared)] == [(1, 5), (0, 0)]


def test_a_member_may_cite_what_it_shares_and_what_is_shared_cites_its_members() -> None:
    store, own, shared = shared_store()
    mine = remembered(store, 1, "so does mine", "reflection", evidence=(shared,))
    assert (store.get(mine).agent, store.get(mine).depth, store.get(mine).flags) == (1, 2, 0)
    for agent in (2, 3):
        with pytest.raises(ParameterError, match="another agent's"):
            store.add([NewMemory(agent, "so does mine", "reflection", evidence=(shared,))])
    for wrong in (remembered(store, 2, "flour was dear"), remembered(store, 3, "nobody's")):
        with pytest.raises(ParameterError, match="who does not read it"):
            store.add([NewMemory(owner_of(0), "so", "reflection", evidence=(own, wrong))])
    both = remembered(store, owner_of(0), "bread and bakers", "reflection", evidence=(own, shared, mine))
    assert store.get(both).evidence == (own, shared, mine)
    assert {a: {m.id for m in store.insights(a)} for a in (1, 3)} == {1: {both, shared, mine}, 3: set()}


def test_what_is_shared_does_not_cite_what_others_share() -> None:
    store, _, _ = shared_store()
    theirs = remembered(store, owner_of(1), "millers cheat", "reflection")
    with pytest.raises(ParameterError):
        store.add([NewMemory(owner_of(0), "so", "reflection", evidence=(theirs,))])


def test_what_is_shared_stands_among_ones_own_in_order_of_storing() -> None:
    store, _, shared = shared_store()
    mine = remembered(store, 1, "so does mine", "reflection", evidence=(shared,))
    assert [m.id for m in store.insights(1)] == [mine, shared]


def test_what_is_shared_is_kept_by_log_and_copy() -> None:
    store, _, shared = shared_store()
    parts = [(0, *store.drain())]
    for other in (replay(parts, store.settings, 4), store.fork()):
        assert other.digest() == store.digest()
        assert [m.id for m in other.retrieve([1], ["bakers"])[0]] == [shared]
        assert [len(other.retrieve([a], ["bakers"])[0]) for a in range(4)] == [2, 1, 0, 0]


def test_facts_that_are_shared_are_read_and_not_changed_by_a_member() -> None:
    store = MemoryStore(2)
    store.share_archetypes([0, 0])
    remembered(store, owner_of(0), "mill owner: Ada", "fact", subject="mill", predicate="owner", object="Ada")
    assert [f.object for f in store.facts(1, "mill", "owner")] == ["Ada"]
    assert fact(store, 0, "Bo", "UPDATE") != []
    assert fact(store, 0, "Bo") == []
    assert {f.object for f in store.facts(0, "mill", "owner")} == {"Ada", "Bo"}
    assert [f.object for f in store.facts(1, "mill", "owner")] == ["Ada"]
    assert store.get(0).valid_to == -1


def test_private_records_are_no_evidence_for_what_is_shared() -> None:
    store = MemoryStore(2)
    store.share_archetypes([0, 0])
    secret = remembered(store, 0, "I took the bread", flags=int(Flag.PRIVATE))
    thought = remembered(store, 0, "I am a thief", "reflection", evidence=(secret,))
    for cited in (secret, thought):
        with pytest.raises(ParameterError, match="private"):
            store.add([NewMemory(owner_of(0), "members steal", "reflection", evidence=(cited,))])
        with pytest.raises(ParameterError, match="private"):
            store.add([NewMemory(owner_of(0), "members steal", "reflection", links=(cited,))])
    assert len(store) == 2

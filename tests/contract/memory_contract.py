"""What a store of memories owes the society that keeps it. Subclass `MemoryContract`, say how yours comes about, and
pytest does the rest::

class TestMyStore(MemoryContract):
    def again(self, store, parts):
        return my_copy_of(store)

Every test lives through a few steps, has the store made again (from its log, from a file, as a copy), and asks that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from simworld.errors import ParameterError
from simworld.memory import POLICIES, Flag, Memory, MemorySettings, MemoryStore, NewMemory, Operation, owner_of
from simworld.rng import Chance

N = 6
WORDS = ("bread", "river", "violin", "harvest", "lantern")


class MemoryContract:
    """The obligations."""

    settings = MemorySettings(k=5, tau_steps=20.0, forgetting="threshold", tree=("a.b",))

    def make(self) -> MemoryStore:
        """Return an empty store for `N` agents."""
        return MemoryStore(N, self.settings, chance=Chance(11))

    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        """Return the store under test: the same memories, come about in its own way.

        Args:
            store: what was lived through; it may be given back as it is.
            parts: its log, by step.
        """
        raise NotImplementedError

    # -- means --------------------------------------------------------------------------------------------------

    def lived(self, steps: int = 4) -> MemoryStore:
        """Return the store under test after some steps in which agents saw, thought, recalled and learned facts."""
        store, parts = self.make(), []
        for t in range(steps):
            store.now = t
            store.retrieve(range(N), [WORDS[t % 5]] * N, touch=True)
            for agent in range(N):
                for turn, word in enumerate(WORDS[: 1 + (agent + t) % 4]):
                    store.remember(NewMemory(agent, f"{word} on day {t}", "event", order=turn, importance=0.5))
            store.commit()
            for agent in range(N):
                own = store.ids_of(agent).tolist()
                store.add([NewMemory(agent, f"days like {t}", "reflection", importance=0.5, evidence=(own[-1],))])
                path = "fact/mill/owner"
                store.apply_ops(agent, [Operation(op="UPDATE" if t else "ADD", path=path, value=f"owner {t}")])
                store.apply_ops(agent, [Operation(op="ADD", path="core/self", value=f"I am {agent}, day {t}.")])
            parts.append((t, *store.drain()))
        made = self.again(store, parts)
        assert made.digest() == store.digest()
        made.now = steps - 1
        return made

    # -- obligations --------------------------------------------------------------------------------------------

    def test_every_policy_finds_only_the_asked_agents_own(self) -> None:
        store = self.lived()
        for policy in POLICIES:
            asked = [3, 0, 3, 5, 1]
            for agent, one in zip(asked, store.retrieve(asked, ["bread"] * 5, policy=policy), strict=True):
                assert one
                assert {m.agent for m in one} == {agent}
                assert len({m.id for m in one}) == len(one) <= 5
                assert {m.agent for m in (*one.facts(), *one.insights(), *one.about("mill"))} <= {agent}
                assert one.core[0].startswith(f"self: I am {agent}")

    def test_what_is_stored_is_found_and_nothing_before_the_barrier(self) -> None:
        store = self.lived()
        store.remember(NewMemory(2, "a zebra came by", "event", importance=0.9))
        assert all(m.text != "a zebra came by" for m in store.retrieve([2], ["zebra"])[0])
        (new,) = store.commit().tolist()
        assert new == len(store) - 1
        for policy in ("paper", "hybrid", "cosine", "ldagent", "memorybank", "recent", "genagents"):
            assert new in [m.id for m in store.retrieve([2], ["zebra"], policy=policy)[0]]

    def test_looking_is_pure(self) -> None:
        store = self.lived()
        before = store.digest()
        looks = [
            [
                [(m.id, one.score(m.id)) for m in one]
                for p in POLICIES
                for one in store.retrieve([1, 1, 4], ["bread", "river", "mill"], policy=p)
            ]
            for _ in range(2)
        ]
        store.find([1, 1], ["bread", "river"])
        for agent in range(N):
            _ = store.records(agent), store.recent(agent, 3), store.facts(agent), store.insights(agent)
        store.commit()
        assert looks[0] == looks[1]
        assert (store.digest(), store.drain()[0]) == (before, 0)

    def test_recall_counts_from_the_barrier_on(self) -> None:
        store = self.lived()
        store.now = 9
        before = store.digest()
        (one,) = store.retrieve([1], ["bread"], policy="cosine", touch=True)
        assert store.digest() == before
        store.commit()
        for m in one:
            now = store.get(m.id)
            assert (now.t_access, now.n_access, now.strength) == (9, m.n_access + 1, min(m.strength + 1, 6))
        assert store.digest() != before

    def test_evidence_resolves_is_earlier_and_is_the_owners(self) -> None:
        store = self.lived()
        cited = 0
        for record in range(len(store)):
            m = store.get(record)
            for e in m.evidence:
                cited += 1
                assert e < record
                assert store.get(e).agent == m.agent
                assert m.depth > store.get(e).depth
        assert cited == 4 * N
        size = len(store)
        with pytest.raises(ParameterError):
            store.add([NewMemory(0, "so", "reflection", evidence=(int(store.ids_of(1)[0]),))])
        with pytest.raises(ParameterError):
            store.add([NewMemory(0, "so", "reflection", evidence=(size,))])
        assert len(store) == size

    def test_a_fact_is_closed_never_removed(self) -> None:
        store = self.lived()
        for agent in range(N):
            assert [f.object for f in store.facts(agent, "mill", "owner")] == ["owner 3"]
            every = [m for m in map(store.get, range(len(store))) if m.agent == agent and m.kind == "fact"]
            assert [(m.object, m.valid_from, m.valid_to) for m in every] == [
                (f"owner {t}", t, t + 1 if t < 3 else -1) for t in range(4)
            ]

    def test_operations_are_all_or_nothing(self) -> None:
        store = self.lived()
        before = store.digest()
        good = Operation(op="UPDATE", path="core/self", value="x")
        for wrong in ("core/soul", "persona/a.c", "fact/mill", "nothing"):
            assert store.apply_ops(0, [good, Operation(op="ADD", path=wrong, value="x")])
        assert store.digest() == before
        assert sum(store.refused.values()) >= 4

    def test_a_copy_is_written_to_alone(self) -> None:
        store = self.lived()
        before, seen = store.digest(), repr([store.records(a) for a in range(N)])
        fork = store.fork()
        fork.add([NewMemory(a, "of the copy", "event") for a in range(N) for _ in range(20)])
        fork.apply_ops(0, [Operation(op="UPDATE", path="fact/mill/owner", value="thief")])
        fork.retrieve([0], ["bread"], touch=True)
        fork.commit()
        fork.now = 500
        fork.forget()
        assert (store.digest(), repr([store.records(a) for a in range(N)])) == (before, seen)
        assert fork.digest() != before

    def test_what_is_dropped_is_not_found_and_still_resolves(self) -> None:
        store = self.lived()
        text, size = store.get(0).text, len(store)
        kept = store.add([NewMemory(a, "bread for ever", "event", flags=int(Flag.PINNED)) for a in range(N)]).tolist()
        store.now = 500
        forgotten, evicted = store.forget()
        # Facts that hold stay.
        facts = [store.facts(agent)[0].id for agent in range(N)]
        assert (forgotten, evicted) == ([i for i in range(size) if i not in facts], [])
        assert [store.ids_of(a).tolist() for a in range(N)] == [[f, k] for f, k in zip(facts, kept, strict=True)]
        for policy in POLICIES:
            found = store.retrieve(range(N), ["bread"] * N, policy=policy)
            assert {m.id for one in found for m in one} <= {*kept, *facts}
        assert store.get(0).text == text
        assert all(store.get(i).flags & Flag.GONE for i in forgotten)

    def test_what_cannot_be_is_refused_and_what_waits_stays(self) -> None:
        store = self.lived()
        before, size = store.digest(), len(store)
        store.remember(NewMemory(2, "a zebra came by", "event"))
        for wrong in (NewMemory(N, "x"), NewMemory(-1, "x"), NewMemory(0, "x", links=(size,)), NewMemory(0, "x", "no")):
            with pytest.raises(ParameterError):
                store.remember(wrong)
            with pytest.raises(ParameterError):
                store.add([wrong])
        for agent in (N, -1):
            with pytest.raises(ParameterError):
                store.retrieve([0, agent], ["x", "x"])
            with pytest.raises(ParameterError):
                store.apply_ops(agent, [Operation(op="NO_OP")])
        assert (store.digest(), len(store)) == (before, size)
        assert [store.get(i).text for i in store.commit().tolist()] == ["a zebra came by"]

    def test_members_share_what_is_stored_once(self) -> None:
        store = self.lived()
        store.share_archetypes([0, 0, *[-1] * (N - 2)])
        mine = int(store.ids_of(0)[-1])
        (shared,) = store.add([NewMemory(owner_of(0), "zebras come by", "reflection", evidence=(mine,))]).tolist()
        for policy in ("paper", "hybrid", "cosine", "ldagent", "memorybank", "recent"):
            found = store.retrieve(range(3), ["zebras"] * 3, policy=policy)
            assert [shared in [m.id for m in one] for one in found] == [True, True, False]
        assert [shared in [m.id for m in store.insights(a)] for a in range(3)] == [True, True, False]
        assert store.get(shared).flags == Flag.SHARED
        (own,) = store.add([NewMemory(1, "so it is", "reflection", evidence=(shared,))]).tolist()
        assert store.get(own).depth == store.get(shared).depth + 1
        store.retrieve([0], ["zebras"], touch=True)
        store.commit()
        assert store.get(shared).n_access == 0

    def test_capacity_is_that_of_the_start(self) -> None:
        assert self.lived(1).capacity == 2000

    def test_more_agents_may_come(self) -> None:
        store = self.lived()
        before = store.digest()
        store.grow(N + 3)
        assert store.digest() == before
        store.add([NewMemory(N + 2, "late bread", "event")])
        found = store.retrieve([N + 2, N, 0], ["bread"] * 3)
        assert [[m.agent for m in one][:1] for one in found] == [[N + 2], [], [0]]

    def test_digest_is_of_what_is_remembered_by_whom(self) -> None:
        store = self.lived()
        others = {a: store.digest(a) for a in range(N)}
        assert len(set(others.values())) == N
        store.add([NewMemory(3, "new", "event")])
        assert {a for a in range(N) if store.digest(a) != others[a]} == {3}
        assert isinstance(store.get(0), Memory)

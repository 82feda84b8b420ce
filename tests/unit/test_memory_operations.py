"""Operations: ADD, UPDATE, DELETE and NO_OP on core blocks, the persona tree and facts; all of an agent's or none.

The grammar is that of Inside Out; what may be done to what is the table of the memory's specification. Facts are
bi-temporal: a changed one is closed, never removed.
"""

from __future__ import annotations

import random
from typing import Any

import pydantic
import pytest

from simworld.memory import Flag, MemorySettings, MemoryStore, Operation, replay

TRUNKS = {"bio": 60, "mind": 43, "social": 27, "life": 67, "taste": 108}
"""Leaves of the reference tree by trunk: 305 in all."""
TREE = tuple(f"{trunk}.branch{i % 7}.leaf{i}" for trunk, n in TRUNKS.items() for i in range(n))
LEAF = TREE[0]


def op(kind: str, path: str = "", value: str = "") -> Operation:
    return Operation(op=kind, path=path, value=value)  # type: ignore[arg-type]


def tree_store(**settings: Any) -> MemoryStore:
    return MemoryStore(2, MemorySettings(tree=TREE, **settings))


def refused(store: MemoryStore, *operations: Operation) -> str:
    """Check that nothing happens to the memory, and return the first fault."""
    before, state, n = store.digest(), store.state(), len(store)
    counted = sum(store.refused.values())
    faults = store.apply_ops(0, operations)
    assert faults
    assert (store.digest(), len(store)) == (before, n)
    after = store.state()
    assert {**after, "refused": None} == {**state, "refused": None}
    assert sum(store.refused.values()) == counted + len(faults)
    return faults[0]


# -- grammar --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (op("ADD", "heart/self", "x"), "no such path"),
        (op("ADD", "", "x"), "no such path"),
        (op("ADD", "core/soul", "x"), "no core block 'soul'"),
        (op("ADD", "core", "x"), "no core block ''"),
        (op("ADD", "core/self", " \n"), "has no value"),
        (op("UPDATE", "core/self"), "has no value"),
        (op("ADD", "persona/bio.nowhere", "x"), "no leaf"),
        (op("UPDATE", "persona/bio", "x"), "no leaf"),
        (op("DELETE", f"persona/{LEAF}"), "is empty"),
        (op("ADD", "fact/mill", "x"), "is not fact/<subject>/<predicate>"),
        (op("ADD", "fact//owner", "x"), "is not fact/<subject>/<predicate>"),
        (op("ADD", "fact/mill/ ", "x"), "is not fact/<subject>/<predicate>"),
        (op("ADD", "fact/#2/likes", "x"), "no agent '#2'"),
        (op("ADD", "fact/#-1/likes", "x"), "no agent '#-1'"),
        (op("ADD", "fact/#one/likes", "x"), "no agent '#one'"),
        (op("ADD", f"fact/#{'9' * 100}/likes", "x"), "no agent '#9999"),
        (op("UPDATE", "fact/mill/owner", "x"), "no open fact"),
        (op("DELETE", "fact/mill/owner"), "no open fact"),
    ],
)
def test_what_is_not_possible_changes_nothing_and_is_counted(wrong: Operation, said: str) -> None:
    store = tree_store()
    assert said in refused(store, wrong)
    # One fault, and none of the others is carried out.
    assert said in refused(store, op("ADD", "core/self", "ok"), op("ADD", "fact/a/b", "c"), wrong)


def test_other_words_than_the_four_are_no_operation() -> None:
    for changed in (
        {"op": "REMOVE"}, {"op": "add"}, {"op": "ADD", "more": 1}, {"op": "ADD", "path": "x" * 201},
        {"op": "ADD", "path": "core/self", "value": "x" * 8001},
    ):  # fmt: skip
        with pytest.raises(pydantic.ValidationError):
            Operation.model_validate(changed)


def test_no_op_keeps_the_digest_and_the_log() -> None:
    store = tree_store()
    store.apply_ops(0, [op("ADD", "core/self", "x")])
    store.drain()
    before = store.digest()
    assert store.apply_ops(0, [op("NO_OP"), op("NO_OP", "anything/at all", "x")]) == []
    assert store.apply_ops(0, []) == []
    assert (store.digest(), store.drain()[0]) == (before, 0)


# -- core -----------------------------------------------------------------------------------------------------------


def test_core_blocks_are_appended_replaced_and_cleared() -> None:
    store = tree_store()
    for operation, text in [
        (op("ADD", "core/self", "I am tall."), "I am tall."),
        (op("ADD", "core/self", "I bake."), "I am tall.\nI bake."),
        (op("UPDATE", "core/self", "I rest."), "I rest."),
        (op("DELETE", "core/self"), ""),
        (op("DELETE", "core/self"), ""),
    ]:
        assert store.apply_ops(0, [operation]) == []
        assert store.core(0).get("self", "") == text
    store.apply_ops(0, [op("ADD", f"core/{label}", label) for label in ("working", "goals", "self", "relationships")])
    assert list(store.core(0)) == ["self", "goals", "relationships", "working"]
    assert store.core(1) == {}


def test_the_core_keeps_to_its_tokens() -> None:
    """2,000 tokens by default, four characters each, all blocks together."""
    store = tree_store()
    blocks = [op("ADD", f"core/{label}", label[0] * 2000) for label in ("self", "goals", "working", "relationships")]
    assert store.apply_ops(0, blocks) == []
    assert "2001 tokens" in refused(store, op("ADD", "core/self", "xxx"))
    assert store.apply_ops(0, [op("UPDATE", "core/self", "x"), op("ADD", "core/working", "z" * 1995)]) == []
    assert "2001 tokens" in refused(store, op("ADD", "core/self", "xxx"))
    small = tree_store(core_tokens=2)
    assert "3 tokens" in refused(small, op("ADD", "core/self", "ninechars"))


# -- tree -----------------------------------------------------------------------------------------------------------


def test_the_reference_tree_has_305_leaves() -> None:
    assert len(set(TREE)) == 305
    store = tree_store()
    assert store.apply_ops(0, [op("ADD", f"persona/{leaf}", leaf) for leaf in TREE]) == []
    assert store.tree(0) == {leaf: leaf for leaf in sorted(TREE)}
    assert list(store.tree(0)) == sorted(TREE)
    assert store.tree(1) == {}


def test_adding_to_a_filled_leaf_goes_by_the_setting() -> None:
    store = tree_store()
    store.apply_ops(0, [op("ADD", f"persona/{LEAF}", "red")])
    assert "UPDATE it" in refused(store, op("ADD", f"persona/{LEAF}", "blue"))
    assert store.apply_ops(0, [op("UPDATE", f"persona/{LEAF}", "blue")]) == []
    assert store.tree(0) == {LEAF: "blue"}
    assert store.apply_ops(0, [op("DELETE", f"persona/{LEAF}"), op("ADD", f"persona/{LEAF}", "green")]) == []
    assert store.tree(0) == {LEAF: "green"}
    other = tree_store(filled_leaf="update")
    for value in ("red", "blue"):
        assert other.apply_ops(0, [op("ADD", f"persona/{LEAF}", value)]) == []
    assert other.tree(0) == {LEAF: "blue"}


def test_turns_that_say_nothing_of_the_person_leave_the_tree() -> None:
    store = tree_store()
    store.apply_ops(0, [op("ADD", f"persona/{LEAF}", "red")])
    before = store.digest()
    for turn in range(30):
        store.now = turn
        store.apply_ops(0, [op("NO_OP")] if turn % 2 else [op("ADD", "persona/weather.today", "rain")])
    assert (store.tree(0), store.digest(), sum(store.refused.values())) == ({LEAF: "red"}, before, 15)


# -- facts ----------------------------------------------------------------------------------------------------------


def test_a_fact_that_changes_is_closed_and_kept() -> None:
    store = MemoryStore(2, name_of=lambda i: "Ada" if i == 1 else "Bo")
    store.now = 3
    assert store.apply_ops(0, [op("ADD", "fact/#1/lives in", "Rome")]) == []
    store.now = 8
    assert store.apply_ops(0, [op("UPDATE", "fact/#1/lives in", "Oslo")]) == []
    old, new = store.get(0), store.get(1)
    assert (old.valid_from, old.valid_to, old.t_closed) == (3, 8, 8)
    assert (new.valid_from, new.valid_to, new.t_closed, new.links) == (8, -1, -1, (0,))
    assert (new.subject, new.predicate, new.object, new.text) == (1, "lives in", "Oslo", "Ada lives in: Oslo")
    assert [f.object for f in store.facts(0, 1, "lives in")] == ["Oslo"]
    assert [m.id for m in store.retrieve([0], ["lives in Rome"])[0]] == [1]
    store.now = 9
    assert store.apply_ops(0, [op("DELETE", "fact/#1/lives in")]) == []
    assert store.facts(0) == ()
    assert len(store) == 2
    assert store.get(1).valid_to == 9
    assert "no open fact" in refused(store, op("DELETE", "fact/#1/lives in"))


def test_facts_of_one_batch_see_each_other() -> None:
    store = MemoryStore(1)
    batch = [
        op("ADD", "fact/mill/owner", "Ada"),
        op("UPDATE", "fact/mill/owner", "Bo"),
        op("DELETE", "fact/mill/owner"),
    ]
    assert store.apply_ops(0, batch) == []
    assert (store.facts(0), len(store)) == ((), 2)
    assert "no open fact" in refused(store, *batch, op("UPDATE", "fact/mill/owner", "Cy"))


def test_a_fact_that_contradicts_another_ends_it() -> None:
    store = MemoryStore(1)
    for step, owner in enumerate(("Ada", "Bo", "Cy")):
        store.now = step
        assert store.apply_ops(0, [op("ADD", "fact/mill/owner", owner)]) == []
    assert [f.object for f in store.facts(0, "mill", "owner")] == ["Cy"]
    assert [(store.get(i).valid_to, store.get(i).links) for i in range(3)] == [(1, ()), (2, (0,)), (-1, (1,))]


def test_an_agent_keeps_no_more_facts_than_records() -> None:
    store = MemoryStore(1, MemorySettings(capacity=3))
    assert store.apply_ops(0, [op("ADD", f"fact/mill/{i}", "x") for i in range(3)]) == []
    assert "3 facts are kept already" in refused(store, op("ADD", "fact/mill/3", "x"))
    assert store.apply_ops(0, [op("UPDATE", "fact/mill/0", "y"), op("ADD", "fact/mill/1", "y")]) == []
    assert store.apply_ops(0, [op("DELETE", "fact/mill/0"), op("ADD", "fact/mill/3", "x")]) == []
    assert sorted(f.predicate for f in store.facts(0)) == ["1", "2", "3"]


def test_facts_that_come_of_what_is_private_are_private() -> None:
    store = MemoryStore(1)
    assert store.apply_ops(0, [op("ADD", "fact/mill/owner", "Ada")], private=True) == []
    assert store.apply_ops(0, [op("ADD", "fact/mill/age", "90")]) == []
    assert [bool(f.flags & Flag.PRIVATE) for f in store.facts(0)] == [True, False]
    assert [f.object for f in store.facts(0, public=True)] == ["90"]
    (one,) = store.retrieve([0], ["mill"], public=True)
    assert ([m.object for m in one], [f.object for f in one.facts()]) == (["90"], ["90"])


def test_facts_of_people_with_a_hash_and_of_things_with_a_number_are_told_apart() -> None:
    store = MemoryStore(2)
    assert store.apply_ops(0, [op("ADD", "fact/#1/likes", "tea"), op("ADD", "fact/1/likes", "rain")]) == []
    assert [f.object for f in store.facts(0, 1)] == ["tea"]
    assert [f.object for f in store.facts(0, "1")] == ["rain"]
    assert [store.get(i).subject for i in (0, 1)] == [1, "1"]


def test_where_memory_is_off_nothing_is_changed_and_nothing_refused() -> None:
    store = MemoryStore(1, MemorySettings(enabled=False))
    assert store.apply_ops(0, [op("ADD", "core/self", "x"), op("ADD", "nowhere", "x")]) == []
    assert (store.core(0), store.refused, store.drain()[0]) == ({}, {}, 0)


# -- log ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_the_log_leads_to_the_same_core_tree_and_facts(seed: int) -> None:
    draw = random.Random(seed)
    settings = MemorySettings(tree=TREE[:6], core_tokens=12)
    store, parts = MemoryStore(3, settings), []
    kinds, texts = ("ADD", "UPDATE", "DELETE", "NO_OP"), ("a", "bb", "ccc")
    paths = [f"persona/{leaf}" for leaf in TREE[:7]] + ["core/self", "core/goals", "fact/mill/owner", "fact/#1/likes"]
    for step in range(25):
        store.now = step
        for agent in range(3):
            store.apply_ops(agent, [
                op(draw.choice(kinds), draw.choice(paths), draw.choice(texts))
                for _ in range(draw.randint(1, 2))
            ])  # fmt: skip
        parts.append((step, *store.drain()))
    again = replay(parts, settings, 3)
    assert again.digest() == store.digest()
    for agent in range(3):
        assert (again.core(agent), again.tree(agent)) == (store.core(agent), store.tree(agent))
        assert repr(again.facts(agent)) == repr(store.facts(agent))  # as text, for NaN is not itself
    assert again.refused == store.refused
    assert store.refused
    assert any(store.tree(a) for a in range(3))

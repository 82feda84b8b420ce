"""Who descends from whom, on lineages drawn by hand."""

from __future__ import annotations

import math
from io import BytesIO

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld import observe
from simworld.errors import ParameterError

# 0   1   2      first generation
# |\  |
# 3 4 5          second
# |\ \
# 6 7 8          third, the last
CHILDREN = [0, 1, 2, 3, 4, 5, 6, 7, 8]
PARENTS = [-1, -1, -1, 0, 0, 1, 3, 3, 4]
GENERATION = [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_lineage_has_an_arc_for_each_pair_and_the_attributes() -> None:
    graph = observe.lineage(CHILDREN, PARENTS, generation=GENERATION, share=np.linspace(0, 1, 9))
    assert list(graph) == CHILDREN
    assert set(graph.edges) == {(0, 3), (0, 4), (1, 5), (3, 6), (3, 7), (4, 8)}
    assert graph.nodes[4] == {"generation": 2, "share": 0.5}
    nx.write_graphml(graph, file := BytesIO())  # plain numbers can be written down
    assert b'target="8"' in file.getvalue()


def test_descent_by_hand() -> None:
    """All three of the last generation come from 0. Children of 0 to 5: 2 1 0 2 1 0, Gini 4/9."""
    graph = observe.lineage(CHILDREN, PARENTS, last=[g == 3 for g in GENERATION])
    found = observe.descent(graph)
    assert found == {
        "roots": 3.0, "surviving_roots": 1.0, "depth": 2.0, "largest_share": 1.0, "offspring_gini": pytest.approx(4 / 9)
    }  # fmt: skip


def test_without_a_last_generation_it_is_those_without_children() -> None:
    """Leaves are 2, 5, 6, 7, 8; 0 has three of the five."""
    found = observe.descent(observe.lineage(CHILDREN, PARENTS))
    assert (found["surviving_roots"], found["largest_share"]) == (3.0, 0.6)
    assert found["offspring_gini"] == pytest.approx(1 / 6)  # children of 0, 1, 3, 4: 2 1 2 1


def test_a_child_of_two_parents_descends_from_both() -> None:
    graph = observe.lineage([0, 1, 2, 2], [-1, -1, 0, 1])
    found = observe.descent(graph)
    assert (found["roots"], found["surviving_roots"], found["largest_share"]) == (2.0, 2.0, 1.0)


def test_nobody_and_one_generation() -> None:
    nobody = observe.descent(observe.lineage([], []))
    assert (nobody["roots"], nobody["depth"]) == (0.0, 0.0)
    assert math.isnan(nobody["largest_share"])
    assert math.isnan(nobody["offspring_gini"])
    alone = observe.descent(observe.lineage([0, 1], [-1, -1]))
    assert (alone["surviving_roots"], alone["largest_share"], alone["depth"]) == (2.0, 0.5, 0.0)


def test_what_is_no_lineage_is_refused() -> None:
    for call, says in (
        (lambda: observe.lineage([0, 1], [-1]), r"2 children, parents of shape \(1,\)"),
        (lambda: observe.lineage([-2], [-1]), "the id of a child is at least 0, got -2"),
        (lambda: observe.lineage([0.5], [-1]), "children are whole numbers"),
        (lambda: observe.lineage([0], [-1], share=[1, 2]), r"share has one value a child: expected 1"),
        (lambda: observe.descent(nx.DiGraph([(0, 1), (1, 0)])), "descends from themselves"),
    ):
        with pytest.raises(ParameterError, match=says):
            call()


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 99))
def test_descent_forgets_names(drawn: list[int], seed: int) -> None:
    """Each child takes one of those before it, or nobody."""
    parents = [x % (i + 1) - 1 for i, x in enumerate(drawn)]
    found = observe.descent(observe.lineage(np.arange(len(parents)), parents))
    assert found["roots"] == parents.count(-1)
    assert 1 <= found["surviving_roots"] <= found["roots"]
    assert found["largest_share"] >= 1 / found["roots"]
    assert math.isnan(found["offspring_gini"]) or 0 <= found["offspring_gini"] < 1
    names = np.random.default_rng(seed).permutation(len(parents)) + 10
    renamed = [-1 if p < 0 else int(names[p]) for p in parents]
    assert observe.descent(observe.lineage(names, renamed)) == pytest.approx(found, nan_ok=True)

"""The array graph equals a plain dictionary after any sequence of operations, and its record replays it."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld.errors import GraphError
from simworld.world import _graph
from simworld.world._graph import SocialGraph, TieChanges

KINDS = ("follows", "trusts")
N = 24
"""Dense enough (552 arcs) that small bulk writes take the pending path and large ones the merge."""

WEIGHTS = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 7.25])
PAIR = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] != p[1])
PAIRS = st.lists(PAIR, min_size=1, max_size=12)
KIND = st.sampled_from([*KINDS, None])
OPERATION = st.one_of(
    st.tuples(st.just("add"), PAIR, WEIGHTS, KIND),
    st.tuples(st.just("remove"), PAIR, st.just(0.0), KIND),
    st.tuples(st.just("strengthen"), PAIR, WEIGHTS, KIND),
    st.tuples(st.just("add_many"), PAIRS, WEIGHTS, KIND),
    st.tuples(st.just("add_many"), st.lists(PAIR, min_size=60, max_size=90), WEIGHTS, KIND),
    st.tuples(st.just("remove_many"), PAIRS, st.just(0.0), KIND),
    st.tuples(st.just("remove_many"), st.lists(PAIR, min_size=60, max_size=90), st.just(0.0), KIND),
    st.tuples(st.just("strengthen_many"), PAIRS, WEIGHTS, KIND),
    st.tuples(st.just("strengthen_many"), st.lists(PAIR, min_size=60, max_size=90), WEIGHTS, KIND),
    st.tuples(st.just("isolate"), PAIR, st.just(0.0), KIND),
    st.tuples(st.just("read"), PAIR, st.just(0.0), KIND),
    st.tuples(st.just("fold"), PAIR, st.just(0.0), KIND),
    st.tuples(st.just("predecessors"), PAIR, st.just(0.0), KIND),
)


class Model:
    """The same graph as one dictionary a kind, and its changes as a list."""

    def __init__(self, directed: bool) -> None:
        self.directed = directed
        self.ties: dict[str, dict[tuple[int, int], float]] = {kind: {} for kind in KINDS}
        self.log: list[tuple[int, int, int, int, float]] = []

    def key(self, u: int, v: int) -> tuple[int, int]:
        return (u, v) if self.directed or u < v else (v, u)

    def put(self, kind: str | None, key: tuple[int, int], weight: float | None) -> bool:
        """Set or remove; True if the tie came or went."""
        kind = kind or KINDS[0]
        ties = self.ties[kind]
        old = ties.get(key)
        if old == weight:
            return False
        if weight is None:
            del ties[key]
        else:
            ties[key] = weight
        self.log.append((KINDS.index(kind), int(weight is None), *key, weight or 0.0))
        return old is None or weight is None

    def neighbors(self, u: int, kind: str | None) -> list[int]:
        ties = self.ties[kind or KINDS[0]]
        return sorted({b for a, b in ties if a == u} | {a for a, b in ties if b == u and not self.directed})

    def predecessors(self, u: int, kind: str | None) -> list[int]:
        if not self.directed:
            return self.neighbors(u, kind)
        return sorted(a for a, b in self.ties[kind or KINDS[0]] if b == u)

    def last_places(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        keys = [self.key(*pair) for pair in pairs]
        return [key for i, key in enumerate(keys) if key not in keys[i + 1 :]]

    def isolate(self, u: int) -> int:
        removed = 0
        for kind in KINDS:
            out, into = self.neighbors(u, kind), self.predecessors(u, kind) if self.directed else []
            for key in [self.key(u, v) for v in out] + [(v, u) for v in into]:
                removed += self.put(kind, key, None)
        return removed


def perform(graph: SocialGraph, model: Model, operation: tuple[str, Any, float, str | None]) -> None:
    name, where, weight, kind = operation
    ties = model.ties[kind or KINDS[0]]
    if name.endswith("_many"):
        sources, targets = [u for u, _ in where], [v for _, v in where]
        # Weights differ along the call, so that "the last one wins" can fail.
        weights = [weight * (1 + i % 3) for i in range(len(where))]
        if name == "add_many":
            wanted = {model.key(*pair): w for pair, w in zip(where, weights, strict=True)}
            expected = sum(model.put(kind, key, wanted[key]) for key in model.last_places(where))
            assert graph.add_many(sources, targets, weights, kind) == expected
        elif name == "remove_many":
            expected = sum(model.put(kind, key, None) for key in model.last_places(where))
            assert graph.remove_many(sources, targets, kind) == expected
        else:
            totals: dict[tuple[int, int], float] = {}
            for pair, by in zip(where, weights, strict=True):
                key = model.key(*pair)
                totals[key] = totals.get(key, ties.get(key, 0.0)) + by
            expected = sum(model.put(kind, key, totals[key]) for key in model.last_places(where))
            assert graph.strengthen_many(sources, targets, weights, kind) == expected
        return
    u, v = where
    key = model.key(u, v)
    if name == "add":
        assert graph.add(u, v, weight, kind) == model.put(kind, key, weight)
    elif name == "remove":
        assert graph.remove(u, v, kind) == model.put(kind, key, None)
    elif name == "strengthen":
        total = ties.get(key, 0.0) + weight
        model.put(kind, key, total)
        assert graph.strengthen(u, v, weight, kind) == total
    elif name == "isolate":
        assert graph.isolate(u) == model.isolate(u)
    elif name == "fold":
        graph.csr(kind)
    elif name == "predecessors":
        assert graph.predecessors(v, kind).tolist() == model.predecessors(v, kind)
    assert graph.has(u, v, kind) == (key in ties)
    assert graph.weight(u, v, kind) == ties.get(key, 0.0)
    assert graph.neighbors(u, kind).tolist() == model.neighbors(u, kind)


def assert_equal(graph: SocialGraph, model: Model) -> None:
    for kind in KINDS:
        ties = model.ties[kind]
        reference: Any = nx.DiGraph() if model.directed else nx.Graph()
        reference.add_nodes_from(range(N))
        reference.add_weighted_edges_from((u, v, w) for (u, v), w in ties.items())
        degrees = reference.out_degree if model.directed else reference.degree
        into = reference.in_degree if model.directed else reference.degree
        assert graph.out_degrees(kind).tolist() == [degrees[u] for u in range(N)]
        assert graph.in_degrees(kind).tolist() == [into[u] for u in range(N)]
        assert graph.n_ties(kind) == len(ties)
        sources, targets, weights = (column.tolist() for column in graph.edges(kind))
        assert list(zip(sources, targets, weights, strict=True)) == [(u, v, ties[u, v]) for u, v in sorted(ties)]
        matrix = graph.csr(kind)
        assert matrix.has_canonical_format
        dense = np.zeros((N, N))
        for (u, v), w in ties.items():
            dense[u, v] = w
            if not model.directed:
                dense[v, u] = w
        assert np.array_equal(matrix.toarray(), dense)
        assert matrix.nnz == len(ties) * (1 if model.directed else 2)
        rows = np.repeat(np.arange(N), np.diff(matrix.indptr))
        assert (np.diff(rows * N + matrix.indices) > 0).all()
        assert nx.utils.graphs_equal(graph.to_networkx(kind), reference)
        for u in range(N):
            assert graph.neighbors(u, kind).tolist() == model.neighbors(u, kind)
            assert graph.predecessors(u, kind).tolist() == model.predecessors(u, kind)


def as_tuples(changes: TieChanges) -> list[tuple[int, int, int, int, float]]:
    columns = (changes.kind, changes.op, changes.source, changes.target, changes.weight)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def built(directed: bool, density: float) -> tuple[SocialGraph, Model]:
    graph, model = SocialGraph(N, KINDS, directed=directed), Model(directed)
    chance = np.random.Generator(np.random.Philox(key=7))
    for kind in KINDS:
        sources, targets = np.nonzero(np.triu(chance.random((N, N)) < density, 1))
        if directed:
            sources, targets = np.concatenate((sources, targets)), np.concatenate((targets, sources))
        graph.add_many(sources, targets, 1.0, kind)
        for u, v in zip(sources.tolist(), targets.tolist(), strict=True):
            model.put(kind, model.key(u, v), 1.0)
    graph.drain()
    model.log.clear()
    return graph, model


@settings(max_examples=150, deadline=None)
@given(
    directed=st.booleans(),
    density=st.sampled_from([0.0, 0.1, 0.95]),
    floor=st.sampled_from([2, 4096]),
    operations=st.lists(OPERATION, max_size=25),
    cut=st.integers(0, 25),
)
def test_any_sequence_equals_a_dictionary_and_is_replayed_from_its_record(
    directed: bool, density: float, floor: int, operations: list[tuple[str, Any, float, str | None]], cut: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_graph, "PENDING_FLOOR", floor)
        graph, model = built(directed, density)
        start = graph.copy()
        records = []
        for i, operation in enumerate(operations):
            perform(graph, model, operation)
            if i == cut:
                records.append(graph.drain())
        records.append(graph.drain())
        assert_equal(graph, model)

        whole = TieChanges.concat(records)
        assert as_tuples(whole) == model.log
        assert len(graph.drain()) == 0
        at_once = start.copy()
        at_once.apply(whole)
        assert_equal(at_once, model)
        assert len(at_once.drain()) == 0
        for record in records:
            start.apply(record)
        assert_equal(start, model)


@settings(max_examples=30, deadline=None)
@given(operations=st.lists(OPERATION, max_size=12), directed=st.booleans())
def test_a_copy_and_its_original_do_not_touch_each_other(
    operations: list[tuple[str, Any, float, str | None]], directed: bool
) -> None:
    graph, model = built(directed, 0.95)
    twin = graph.copy()
    for operation in operations:
        perform(graph, model, operation)
    _, untouched = built(directed, 0.95)
    assert_equal(twin, untouched)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-2, 11), st.integers(-2, 11), st.sampled_from([1.0, -1.0, math.nan, math.inf])),
        max_size=8,
    )
)
def test_a_bulk_write_fails_whole_and_says_of_its_first_bad_pair_what_a_single_write_says(
    pairs: list[tuple[int, int, float]],
) -> None:
    expected = None
    for u, v, weight in reversed(pairs):
        try:
            SocialGraph(10).add(u, v, weight)
        except GraphError as error:
            expected = str(error)
    graph = SocialGraph(10)
    columns = [list(column) for column in zip(*pairs, strict=True)] or [[], [], []]
    if expected is None:
        assert graph.add_many(*columns) == len({frozenset(pair[:2]) for pair in pairs})
    else:
        with pytest.raises(GraphError) as caught:
            graph.add_many(*columns)
        assert str(caught.value) == expected
        assert graph.n_ties() == 0
        assert len(graph.drain()) == 0

"""Network metrics against networkx, on random digraphs."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld import observe

quick = settings(deadline=None, max_examples=80)
TIGHT = 1e-12


@st.composite
def nets(draw: st.DrawFn) -> nx.Graph:
    kind = draw(st.sampled_from([nx.DiGraph, nx.Graph]))
    n = draw(st.integers(1, 10))
    net = nx.empty_graph(n, create_using=kind)
    pairs = [(u, v) for u in range(n) for v in range(n) if u != v]
    if pairs:
        net.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True, max_size=40)))
    return net


@quick
@given(nets())
def test_equal_to_networkx(net: nx.Graph) -> None:
    both = net.to_undirected()
    assert observe.density(net) == pytest.approx(nx.density(net), abs=TIGHT)
    assert observe.transitivity(net) == pytest.approx(nx.transitivity(both), abs=TIGHT)
    assert observe.average_clustering(net) == pytest.approx(nx.average_clustering(both), abs=TIGHT)
    assert observe.local_clustering(net) == pytest.approx(list(nx.clustering(both).values()), abs=TIGHT)
    assert observe.triangles(net).tolist() == list(nx.triangles(both).values())
    summary = observe.clustering_summary(net)
    assert summary == {"transitivity": observe.transitivity(net), "average": observe.average_clustering(net)}
    if net.is_directed() and net.size():
        assert observe.reciprocity(net) == pytest.approx(nx.overall_reciprocity(net), abs=TIGHT)
    elif net.size():
        assert observe.reciprocity(net) == 1.0
    else:
        assert math.isnan(observe.reciprocity(net))


@quick
@given(nets())
def test_components_equal_networkx(net: nx.Graph) -> None:
    directed = net.to_directed()
    found = observe.components(net)
    for kind, parts in (
        ("weak", list(nx.weakly_connected_components(directed))),
        ("strong", list(nx.strongly_connected_components(directed))),
    ):
        assert found[kind] == len(parts)
        assert found[f"largest_{kind}"] == pytest.approx(max(map(len, parts)) / len(net), abs=TIGHT)


@quick
@given(nets(), st.sampled_from(["in", "out"]), st.sampled_from(["in", "out"]))
def test_assortativity_equals_networkx(net: nx.Graph, source: str, target: str) -> None:
    found = observe.assortativity(net, source, target)
    directed = net.to_directed()
    degree = {"in": dict(directed.in_degree()), "out": dict(directed.out_degree())}
    ends = [(degree[source][u], degree[target][v]) for u, v in directed.edges]
    if len({x for x, _ in ends}) < 2 or len({y for _, y in ends}) < 2:
        assert math.isnan(found)
        return
    assert found == pytest.approx(nx.degree_assortativity_coefficient(net, source, target), abs=TIGHT)
    assert found == pytest.approx(np.corrcoef(np.array(ends, dtype=float).T)[0, 1], abs=TIGHT)


@quick
@given(nets(), st.data())
def test_modularity_equals_networkx(net: nx.Graph, data: st.DataObject) -> None:
    label = data.draw(st.lists(st.integers(0, 3), min_size=len(net), max_size=len(net)))
    found = observe.modularity(net, label)
    if not net.size():
        assert math.isnan(found)
        return
    groups = [{u for u in net if label[u] == c} for c in sorted(set(label))]
    assert found == pytest.approx(nx.community.modularity(net, groups, weight=None), abs=TIGHT)


@quick
@given(st.lists(st.integers(0, 50), max_size=12))
def test_gini_is_half_the_relative_mean_difference(x: list[int]) -> None:
    found = observe.gini(x)
    if not sum(x):
        assert math.isnan(found)
        return
    pairs = sum(abs(a - b) for a in x for b in x)
    assert found == pytest.approx(pairs / (2 * len(x) * sum(x)), abs=TIGHT)

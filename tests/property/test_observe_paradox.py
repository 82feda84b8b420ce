"""The paradox against a plain-Python count in exact fractions, on random digraphs."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld import observe

quick = settings(deadline=None, max_examples=80)


@st.composite
def digraphs(draw: st.DrawFn, smallest: int = 0, largest: int = 9) -> nx.DiGraph:
    n = draw(st.integers(smallest, largest))
    net = nx.empty_graph(n, create_using=nx.DiGraph)
    pairs = [(u, v) for u in range(n) for v in range(n) if u != v]
    if pairs:
        net.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)))
    return net


def by_hand(net: nx.DiGraph, x: list, neighbourhood: str, form: str) -> float:
    """Return the share of nodes below their neighbours, as it is defined, in exact arithmetic."""
    exact = [Fraction(value) for value in x]
    around = net.successors if neighbourhood == "out" else net.predecessors
    middle = statistics.mean if form == "weak" else statistics.median
    below = [exact[u] < middle([exact[v] for v in around(u)]) for u in net if any(True for _ in around(u))]
    return sum(below) / len(below) if below else math.nan


def same(a: float, b: float) -> bool:
    return (math.isnan(a) and math.isnan(b)) or a == b


@quick
@given(digraphs())
def test_eight_degree_paradoxes_equal_the_definition(net: nx.DiGraph) -> None:
    k = {"in": [d for _, d in net.in_degree()], "out": [d for _, d in net.out_degree()]}
    found = observe.directed_paradoxes(net)
    assert set(found) == {f"{form}_{x}_{hood}" for form in ("weak", "strong") for x in k for hood in k}
    for key, value in found.items():
        form, x, hood = key.split("_")
        assert same(value, by_hand(net, k[x], hood, form)), key
        assert same(value, observe.friendship_paradox(net, k[x], hood, form)), key
    assert same(observe.friendship_paradox(net), found["weak_in_out"])


@quick
@given(digraphs(1), st.data())
def test_whole_number_attributes_are_compared_exactly(net: nx.DiGraph, data: st.DataObject) -> None:
    whole = st.integers(-(2**40), 2**40) | st.integers(0, 3)
    x = data.draw(st.lists(whole, min_size=len(net), max_size=len(net)))
    for hood in ("out", "in"):
        for form in ("weak", "strong"):
            expected = by_hand(net, x, hood, form)
            assert same(observe.friendship_paradox(net, x, hood, form), expected)
            assert same(observe.friendship_paradox(net, np.array(x, dtype=float), hood, form), expected)


@quick
@given(digraphs(1), st.data())
def test_fractions_that_tie_on_paper_tie(net: nx.DiGraph, data: st.DataObject) -> None:
    """Twelfths are not binary fractions: 1/6 + 1/2 = 2 · 1/3 only on paper."""
    twelfths = data.draw(st.lists(st.integers(-24, 24), min_size=len(net), max_size=len(net)))
    for scale in (12.0, 1e-7, 12e9):
        x = [k / scale for k in twelfths]
        for hood in ("out", "in"):
            for form in ("weak", "strong"):
                assert same(observe.friendship_paradox(net, x, hood, form), by_hand(net, twelfths, hood, form))


@quick
@given(digraphs(1), st.data())
def test_hierarchy_and_arc_averages_equal_the_definition(net: nx.DiGraph, data: st.DataObject) -> None:
    x = data.draw(st.lists(st.integers(0, 3), min_size=len(net), max_size=len(net)))
    up = [x[v] > x[u] for u, v in net.edges]
    assert same(observe.hierarchy(net, x), sum(up) / len(up) if up else math.nan)
    ends = observe.arc_averages(net)
    for key, end, degree in (
        ("target_in", 1, net.in_degree),
        ("target_out", 1, net.out_degree),
        ("source_in", 0, net.in_degree),
        ("source_out", 0, net.out_degree),
    ):
        along = [degree(arc[end]) for arc in net.edges]
        assert same(ends[key], sum(along) / len(along) if along else math.nan), key


@quick
@given(digraphs(1))
def test_directed_identities(net: nx.DiGraph) -> None:
    """E over arcs of k_in(v) = ⟨k_in²⟩/⟨k⟩ and so on; specification, exact checks."""
    if not net.size():
        return
    k_in = np.array([d for _, d in net.in_degree()], dtype=float)
    k_out = np.array([d for _, d in net.out_degree()], dtype=float)
    mean = k_in.mean()
    ends = observe.arc_averages(net)
    assert ends["target_in"] == pytest.approx((k_in**2).mean() / mean, abs=1e-9)
    assert ends["target_out"] == pytest.approx((k_in * k_out).mean() / mean, abs=1e-9)
    assert ends["source_in"] == pytest.approx((k_in * k_out).mean() / mean, abs=1e-9)
    assert ends["source_out"] == pytest.approx((k_out**2).mean() / mean, abs=1e-9)


@quick
@given(digraphs(1))
def test_undirected_identity_and_inequalities(net: nx.DiGraph) -> None:
    """Edge mean − node mean = Cov(k, k_nn)/⟨k⟩, and both means are at least ⟨k⟩; isolated nodes left out."""
    tied = net.to_undirected()
    tied.remove_nodes_from(list(nx.isolates(tied)))
    means = observe.degree_means(net)
    if not tied.size():
        assert all(math.isnan(value) for value in means.values())
        return
    k = dict(tied.degree())
    k_nn = {u: Fraction(sum(k[v] for v in tied[u]), k[u]) for u in tied}
    mean = Fraction(sum(k.values()), len(k))
    node_mean = sum(k_nn.values()) / len(k)
    edge_mean = Fraction(sum(d * d for d in k.values()), sum(k.values()))
    covariance = sum(k[u] * k_nn[u] for u in k) / len(k) - mean * node_mean
    assert edge_mean - node_mean == covariance / mean
    expected = {"mean_degree": mean, "edge_mean": edge_mean, "node_mean": node_mean, "covariance": covariance}
    for key, value in expected.items():
        assert means[key] == pytest.approx(float(value), abs=1e-9), key
    assert means["edge_mean"] >= means["mean_degree"] - 1e-12
    assert means["node_mean"] >= means["mean_degree"] - 1e-12
    regular = len(set(k.values())) == 1
    assert (means["edge_mean"] == pytest.approx(means["mean_degree"], abs=1e-12)) == regular


@quick
@given(digraphs(2), st.data())
def test_relabelling_changes_nothing(net: nx.DiGraph, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(net))))
    a = observe.adjacency(net)
    moved = a.toarray()[np.ix_(order, order)]
    x = np.array(data.draw(st.lists(st.integers(0, 9), min_size=len(net), max_size=len(net))))
    for key, value in observe.directed_paradoxes(a).items():
        assert same(observe.directed_paradoxes(moved)[key], value)
    for form in ("weak", "strong"):
        assert same(
            observe.friendship_paradox(moved, x[order], "in", form), observe.friendship_paradox(a, x, "in", form)
        )


@quick
@given(digraphs(1), st.data())
def test_rare_contacts_equal_the_definition(net: nx.DiGraph, data: st.DataObject) -> None:
    n, theta_max = len(net), 3
    count = data.draw(st.lists(st.lists(st.integers(0, 5), min_size=n, max_size=n), min_size=n, max_size=n))
    w = np.array(count)
    np.fill_diagonal(w, 0)
    table = observe.rare_contacts(net, w, theta_max)
    k_in = [d for _, d in net.in_degree()]
    for theta in range(theta_max + 1):
        for side, keep in (("at_least", lambda c, t: c >= t), ("at_most", lambda c, t: c <= t)):
            part = nx.empty_graph(n, create_using=nx.DiGraph)
            part.add_edges_from((u, v) for u, v in net.edges if keep(w[u, v], theta))
            for form in ("weak", "strong"):
                assert same(table[f"{form}_{side}"][theta], by_hand(part, k_in, "out", form))
        in_bin = [v for u, v in net.edges if min(w[u, v], theta_max) == theta]
        assert table["arcs"][theta] == len(in_bin)
        mean = sum(k_in[v] for v in in_bin) / len(in_bin) if in_bin else math.nan
        assert same(table["target_in_degree"][theta], mean)

"""The converter, and network metrics whose values are known."""

from __future__ import annotations

import math
import time
import tracemalloc

import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from simworld import observe
from simworld.errors import GraphError, ParameterError

# The converter --------------------------------------------------------------------------------------------------------

ARCS = np.array([[0, 2, 0], [0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    "graph",
    [
        ARCS,
        ARCS.tolist(),
        ARCS.astype(np.int8),
        *(kind(ARCS) for kind in (sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.lil_array)),
        sparse.csr_matrix(ARCS),
        nx.from_numpy_array(ARCS, create_using=nx.DiGraph),
        nx.MultiDiGraph([(0, 1), (0, 1), (1, 2), (2, 0)]),
    ],
)
def test_every_form_of_a_graph_becomes_the_same_array(graph: object) -> None:
    a = observe.adjacency(graph)  # type: ignore[arg-type]
    assert isinstance(a, sparse.csr_array)
    assert a.dtype == np.float64
    assert a.toarray().tolist() == ARCS.tolist()


def test_undirected_is_symmetric_and_rows_stand_in_node_order() -> None:
    net = nx.Graph()
    net.add_edge("z", "a", weight=3)
    net.add_node("m")
    assert list(net) == ["z", "a", "m"]
    assert observe.adjacency(net).toarray().tolist() == [[0, 3, 0], [3, 0, 0], [0, 0, 0]]


def test_self_loops_and_zero_weights_are_no_arcs_and_the_argument_stays_as_it_was() -> None:
    given = sparse.coo_array(([1.0, 5.0, 0.0, 2.0], ([0, 1, 1, 0], [1, 1, 0, 1])), shape=(2, 2)).tocsr()
    before = [given.data.copy(), given.indices.copy(), given.indptr.copy()]
    a = observe.adjacency(given)
    assert a.toarray().tolist() == [[0, 3], [0, 0]]
    assert a.nnz == 1
    for was, now in zip(before, (given.data, given.indices, given.indptr), strict=True):
        assert was.tolist() == now.tolist()


def test_unsorted_and_duplicate_entries_are_merged_in_a_copy() -> None:
    given = sparse.csr_array((np.ones(3), np.array([2, 1, 1]), np.array([0, 3, 3, 3])), shape=(3, 3))
    a = observe.adjacency(given)
    assert a.toarray().tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0]]
    assert given.indices.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    "graph, says",
    [
        (np.zeros((2, 3)), r"square, got shape \(2, 3\)"),
        (np.zeros(4), "two dimensions"),
        ([[0, 1], [0]], "equal rows"),
        (np.array([["a"]]), "holds numbers"),
        (np.array([[0, np.nan], [0, 0]]), "finite"),
        (sparse.csr_array(np.array([[0, 1j], [0, 0]])), "complex128"),
        ("karate", "not a graph|dense adjacency|two dimensions"),
        (None, "'NoneType' is not a graph"),
        ({0: [1]}, "'dict' is not a graph"),
    ],
)
def test_what_is_not_a_graph_is_refused(graph: object, says: str) -> None:
    with pytest.raises(GraphError, match=says):
        observe.adjacency(graph)  # type: ignore[arg-type]


def test_a_weight_that_is_not_a_number_is_refused() -> None:
    net = nx.Graph()
    net.add_edge(0, 1, weight="strong")
    with pytest.raises(GraphError, match="not a number"):
        observe.adjacency(net)


# Known values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("net", [nx.karate_club_graph(), nx.les_miserables_graph(), nx.davis_southern_women_graph()])
def test_real_networks_equal_networkx(net: nx.Graph) -> None:
    assert observe.density(net) == pytest.approx(nx.density(net), abs=1e-12)
    assert observe.transitivity(net) == pytest.approx(nx.transitivity(net), abs=1e-12)
    assert observe.average_clustering(net) == pytest.approx(nx.average_clustering(net), abs=1e-12)
    assert observe.assortativity(net) == pytest.approx(nx.degree_assortativity_coefficient(net), abs=1e-12)
    label = observe.communities(net, seed=3)
    assert label is not None
    groups = [{u for u, mine in zip(net, label, strict=True) if mine == c} for c in range(label.max() + 1)]
    assert observe.modularity(net, label) == pytest.approx(nx.community.modularity(net, groups, weight=None), abs=1e-12)


def test_degree_summary_by_hand() -> None:
    """0 -> 1, 0 -> 2, 1 -> 2: k_in = 0, 1, 2 and k_out = 2, 1, 0."""
    assert observe.degree_summary(nx.DiGraph([(0, 1), (0, 2), (1, 2)])) == pytest.approx(
        {
            "mean": 1.0,
            "max_in": 2.0,
            "variance_in": 2 / 3,
            "gini_in": 4 / 9,
            "max_out": 2.0,
            "variance_out": 2 / 3,
            "gini_out": 4 / 9,
        }
    )


def test_one_who_has_all_has_a_gini_of_all_but_one_share() -> None:
    assert observe.gini([0, 0, 0, 8]) == 0.75
    assert observe.gini([3, 3, 3]) == 0.0


@pytest.mark.parametrize(
    "net, degree, in_degree",
    [
        (nx.star_graph(6), 1.0, 5 * 6 / 36),
        (nx.cycle_graph(6), 0.0, 0.0),
        (nx.complete_graph(4), 0.0, 0.0),
        (nx.path_graph(4), 2 / 6, 2 / 9),  # degrees 1 2 2 1
        (nx.DiGraph([(1, 0), (2, 0), (3, 0)]), 1.0, 1.0),
        (nx.DiGraph([(0, 1), (0, 2), (0, 3)]), 1.0, 1 / 9),  # in-degrees 0 1 1 1
    ],
)
def test_centralisation(net: nx.Graph, degree: float, in_degree: float) -> None:
    """Freeman 1978: Σ(k_max − k) over its largest possible value."""
    assert observe.centralisation(net) == pytest.approx(degree, abs=1e-12)
    assert observe.centralisation(net, "in") == pytest.approx(in_degree, abs=1e-12)


def test_weights_never_count() -> None:
    rng = np.random.default_rng(5)
    present = (rng.random((30, 30)) < 0.2).astype(float)
    weighted = present * rng.uniform(0.5, 9.0, (30, 30))
    label = rng.integers(0, 3, 30)
    for metric in (
        observe.directed_paradoxes,
        observe.degree_summary,
        observe.reciprocity,
        observe.clustering_summary,
        observe.assortativity,
        observe.centralisation,
        observe.degree_means,
        lambda g: observe.modularity(g, label),
        lambda g: observe.communities(g).tolist(),
    ):
        assert metric(weighted) == metric(present)


def test_two_cliques_are_two_groups() -> None:
    """Two triangles and a bridge: 6/7 of the ties inside, K = 7 of 14 each: Q = 6/7 − 1/2."""
    net = nx.barbell_graph(3, 0)
    label = observe.communities(net)
    assert label is not None
    assert label.tolist() == [0, 0, 0, 1, 1, 1]
    assert observe.modularity(net, label) == pytest.approx(6 / 7 - 1 / 2, abs=1e-12)
    assert observe.modularity(net, list("aaabbb")) == pytest.approx(6 / 7 - 1 / 2, abs=1e-12)


def test_a_partition_depends_on_its_seed_only() -> None:
    net = nx.gnm_random_graph(60, 200, seed=2, directed=True)
    first, again = observe.communities(net, seed=4), observe.communities(net, seed=4)
    assert first is not None
    assert again is not None
    assert first.tolist() == again.tolist()
    assert observe.communities(net, largest=59) is None


def test_hubs_do_not_blow_up_the_triangle_count() -> None:
    """Two hubs over 20,000 leaves have 4·10⁸ two-paths, yet cost about what a ring of as many ties costs."""
    n = 20_000
    leaves = np.arange(2, n + 2)
    source = np.concatenate([[0], leaves, leaves])
    target = np.concatenate([[1], np.zeros(n, dtype=int), np.ones(n, dtype=int)])
    hubs = sparse.csr_array((np.ones(len(source)), (source, target)), shape=(n + 2, n + 2))
    ring = observe.adjacency(nx.watts_strogatz_graph(n, 4, 0.0))

    def seconds(a: sparse.csr_array) -> float:
        start = time.perf_counter()
        observe.triangles(a)
        return time.perf_counter() - start

    assert seconds(hubs) < 20 * min(seconds(ring) for _ in range(3))
    tracemalloc.start()
    found = observe.triangles(hubs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[:2].tolist() == [n, n]
    assert set(found[2:].tolist()) == {1}
    assert peak < 50e6


def test_triangles_are_the_same_in_small_helpings(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nx.gnm_random_graph(40, 250, seed=1)
    expected = list(nx.triangles(net).values())
    for helping in (1, 7, 100):
        monkeypatch.setattr("simworld.observe._network.WEDGES_AT_ONCE", helping)
        assert observe.triangles(net).tolist() == expected


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_without_arcs_nothing_crashes(n: int) -> None:
    net = nx.empty_graph(n, create_using=nx.DiGraph)
    assert observe.density(net) == 0.0
    assert observe.transitivity(net) == 0.0
    assert math.isnan(observe.reciprocity(net))
    assert math.isnan(observe.assortativity(net))
    assert math.isnan(observe.modularity(net, np.zeros(n)))
    assert observe.communities(net) is None
    assert observe.components(net)["weak"] == n
    assert math.isnan(observe.components(net)["largest_weak"]) == (n == 0)
    assert math.isnan(observe.average_clustering(net)) == (n == 0)
    assert math.isnan(observe.centralisation(net)) == (n < 3)
    assert math.isnan(observe.centralisation(net, "in")) == (n < 2)
    assert math.isnan(observe.degree_summary(net)["gini_in"])
    assert math.isnan(observe.degree_summary(net)["mean"]) == (n == 0)


def test_wrong_arguments_are_refused() -> None:
    net = nx.path_graph(3)
    with pytest.raises(ParameterError, match="one label a node: expected 3"):
        observe.modularity(net, [0, 1])
    with pytest.raises(ParameterError, match="'in' or 'out', got 'both'"):
        observe.assortativity(net, "both")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="'degree' or 'in', got 'out'"):
        observe.centralisation(net, "out")  # type: ignore[arg-type]


def test_action_rates() -> None:
    assert observe.action_rates({"post": 3, "follow": 1}, 4) == {"follow": 0.25, "post": 0.75}
    assert list(observe.action_rates({"post": 3, "follow": 1}, 4)) == ["follow", "post"]
    assert observe.action_rates({}, 4) == {}
    assert math.isnan(observe.action_rates({"post": 0}, 0)["post"])

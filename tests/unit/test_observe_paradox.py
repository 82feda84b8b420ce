"""Exact checks of the friendship paradox: values worked by hand, and identities on real networks."""

from __future__ import annotations

import math
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from simworld import observe
from simworld.errors import GraphError, ParameterError

EMAIL = Path(__file__).parents[3] / "shared" / "data" / "email-Eu-core.txt"
HOODS = ("out", "in")
FORMS = ("weak", "strong")


def email() -> nx.DiGraph:
    if not EMAIL.exists():
        pytest.skip(f"the e-mail network is not at {EMAIL}")
    return nx.read_edgelist(EMAIL, create_using=nx.DiGraph, nodetype=int)


REAL = {
    "email": email,
    "karate": nx.karate_club_graph,
    "les_miserables": nx.les_miserables_graph,
    "davis": nx.davis_southern_women_graph,
    "florentine": nx.florentine_families_graph,
}


@pytest.mark.parametrize("name", REAL)
def test_edge_and_node_mean_differ_by_the_covariance(name: str) -> None:
    """Edge mean − node mean = Cov(k, k_nn)/⟨k⟩; both sides from the degrees networkx counts."""
    net = REAL[name]().to_undirected()
    net.remove_edges_from(list(nx.selfloop_edges(net)))
    net.remove_nodes_from(list(nx.isolates(net)))
    k = np.array([d for _, d in net.degree()], dtype=float)
    k_nn = np.array(list(nx.average_neighbor_degree(net).values()))
    left = observe.edge_mean(net) - observe.node_mean(net)
    right = np.cov(k, k_nn, bias=True)[0, 1] / k.mean()
    assert left == pytest.approx(right, abs=1e-9)
    means = observe.degree_means(net)
    assert means["edge_mean"] - means["node_mean"] == pytest.approx(
        means["covariance"] / means["mean_degree"], abs=1e-9
    )
    assert means["edge_mean"] == pytest.approx(k.mean() + k.var() / k.mean(), abs=1e-9)
    assert observe.neighbour_degrees(net) == pytest.approx(k_nn, abs=1e-9)
    assert means["edge_mean"] > means["mean_degree"]
    assert means["node_mean"] > means["mean_degree"]


def test_directed_averages_on_the_email_network() -> None:
    net = email()
    net.remove_edges_from(list(nx.selfloop_edges(net)))
    k_in = np.array([d for _, d in net.in_degree()], dtype=float)
    k_out = np.array([d for _, d in net.out_degree()], dtype=float)
    ends = observe.arc_averages(net)
    assert ends["target_in"] == pytest.approx((k_in**2).mean() / k_in.mean(), abs=1e-9)
    assert ends["source_out"] == pytest.approx((k_out**2).mean() / k_in.mean(), abs=1e-9)
    assert ends["target_out"] == pytest.approx((k_in * k_out).mean() / k_in.mean(), abs=1e-9)
    assert ends["source_in"] == pytest.approx(ends["target_out"], abs=1e-9)


def test_email_network_paradoxes_against_medians_and_means_of_numpy() -> None:
    """An independent route at a real size: numpy's mean and median of every neighbourhood."""
    net = email()
    net.remove_edges_from(list(nx.selfloop_edges(net)))
    nodes = list(net)
    degree = {"in": dict(net.in_degree()), "out": dict(net.out_degree())}
    around = {"out": net.successors, "in": net.predecessors}
    found = observe.directed_paradoxes(net)
    for key, value in found.items():
        form, x, hood = key.split("_")
        middle = np.mean if form == "weak" else np.median
        friends = {u: [degree[x][v] for v in around[hood](u)] for u in nodes}
        below = [degree[x][u] < middle(f) for u, f in friends.items() if f]
        assert value == pytest.approx(np.mean(below), abs=1e-12), key


@pytest.mark.parametrize(
    "net", [nx.cycle_graph(7), nx.complete_graph(6), nx.petersen_graph(), nx.random_regular_graph(4, 30, seed=1)]
)
def test_a_regular_graph_has_no_paradox(net: nx.Graph) -> None:
    assert set(observe.directed_paradoxes(net).values()) == {0.0}
    assert observe.edge_mean(net) == pytest.approx(net.degree[0], abs=1e-12)
    # A constant that is not a binary fraction must not beat its own mean.
    for form in FORMS:
        assert observe.friendship_paradox(net, np.full(len(net), 0.1), "out", form) == 0.0


@pytest.mark.parametrize("leaves", [2, 3, 10, 999])
def test_star(leaves: int) -> None:
    """Every leaf has less than its one neighbour, the hub has not: n/(n + 1)."""
    found = observe.directed_paradoxes(nx.star_graph(leaves))
    assert set(found.values()) == {leaves / (leaves + 1)}


def test_directed_star() -> None:
    """Everybody follows node 0: 4 followers of one with 4; nobody else is followed."""
    net = nx.DiGraph([(u, 0) for u in range(1, 5)])
    found = observe.directed_paradoxes(net)
    assert found["weak_in_out"] == found["strong_in_out"] == 1.0  # 0 < 4 for every follower; only they follow
    assert found["weak_out_out"] == found["strong_out_out"] == 0.0  # 1 < 0
    assert found["weak_in_in"] == found["strong_in_in"] == 0.0  # node 0: 4 < 0
    assert found["weak_out_in"] == found["strong_out_in"] == 1.0  # node 0: 0 < 1
    assert observe.hierarchy(net) == 1.0
    assert observe.hierarchy(net, {0: 1, 1: 0, 2: 0, 3: 1, 4: 2}) == 0.5


@pytest.mark.parametrize("m, n, expected", [(3, 7, 5.8), (1, 4, 3.4), (5, 5, 5.0)])
def test_complete_bipartite_mean_neighbour_degree(m: int, n: int, expected: float) -> None:
    """⟨k_nn⟩ = (m² + n²)/(m + n)."""
    net = nx.complete_bipartite_graph(m, n)
    assert observe.node_mean(net) == pytest.approx(expected, abs=1e-12)
    assert observe.node_mean(net) == pytest.approx((m * m + n * n) / (m + n), abs=1e-12)


def test_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    net = nx.DiGraph([(0, 1), (0, 2), (0, 3), (0, 4)])
    for x, weak, strong in (
        ([4, 0, 3, 5, 100], 1.0, 0.0),  # median (3 + 5)/2 = 4 is not above 4; mean 27 is
        ([4, 0, 3, 6, 100], 1.0, 1.0),  # median 4.5
        ([4, 0, 5, 5, 5], 0.0, 1.0),  # mean 3.75, median 5
        ([4, 4, 4, 4, 4], 0.0, 0.0),
        ([2**53 - 1, 2**53 - 2, 2**53 - 2, 2**53, 2**53], 0.0, 0.0),  # an exact tie at the edge of what floats tell
    ):
        assert observe.friendship_paradox(net, x, "out", "weak") == weak
        assert observe.friendship_paradox(net, x, "out", "strong") == strong


@pytest.mark.parametrize(
    "mine, theirs",
    [
        (0.3, [0.2, 0.4]),  # floats: 0.2 + 0.4 > 2 · 0.3
        (0.6, [0.1, 1.1]),
        (-0.8, [-0.9, -0.7]),
        (0.3, [0.1 + 0.2]),  # 0.30000000000000004
        (0.3, [0.3] * 6),  # floats: 0.3 added six times > 6 · 0.3
        (1 / 3, [1 / 6, 1 / 2]),
    ],
)
def test_what_ties_on_paper_is_not_below(mine: float, theirs: list[float]) -> None:
    net = nx.star_graph(len(theirs))
    follows = nx.DiGraph((0, v) for v in net[0])
    for form in FORMS:
        for scale in (1.0, 1e-9, 1e9):
            x = [mine * scale, *(y * scale for y in theirs)]
            assert observe.friendship_paradox(follows, x, "out", form) == 0.0
            x[1] += 1e-6 * scale
            x[-1] += 1e-6 * scale
            expected = 0.0 if form == "strong" and len(theirs) > 2 else 1.0
            assert observe.friendship_paradox(follows, x, "out", form) == expected


def test_large_whole_numbers_do_not_lose_digits() -> None:
    net = nx.DiGraph([(0, 1), (0, 2)])
    x = np.array([2**61, 2**61, 2**61 + 1], dtype=np.int64)  # as floats all three are one number
    assert observe.friendship_paradox(net, x, "out", "weak") == 1.0
    assert observe.friendship_paradox(net, x, "out", "strong") == 1.0
    assert observe.friendship_paradox(net, x.astype(np.uint64) * np.uint64(4), "out", "weak") == 1.0


def test_a_share_of_those_with_neighbours_only() -> None:
    net = nx.DiGraph([(0, 1)])
    net.add_nodes_from(range(2, 50))
    assert observe.friendship_paradox(net) == 1.0
    assert observe.friendship_paradox(net, neighbourhood="in") == 0.0


@pytest.mark.parametrize("net", [nx.DiGraph(), nx.empty_graph(1), nx.empty_graph(5, create_using=nx.DiGraph)])
def test_without_arcs_nothing_is_defined(net: nx.Graph) -> None:
    numbers = [
        *observe.directed_paradoxes(net).values(),
        *observe.degree_means(net).values(),
        *observe.arc_averages(net).values(),
        observe.hierarchy(net),
        observe.edge_mean(net),
        observe.node_mean(net),
        observe.friendship_paradox(net, np.zeros(len(net)), "in", "strong"),
    ]
    assert all(math.isnan(value) for value in numbers)


def test_rare_contacts_by_hand() -> None:
    """0 and 1 write to each other often and to popular 2 once; 3 follows 2 and never writes."""
    net = nx.DiGraph([(0, 1), (1, 0), (0, 2), (1, 2), (3, 2)])
    w = np.zeros((4, 4))
    w[0, 1] = w[1, 0] = 3
    w[0, 2] = w[1, 2] = 1
    table = observe.rare_contacts(net, w, theta_max=2)
    assert table["theta"].tolist() == [0, 1, 2]
    # k_in = 1, 1, 3, 0: on all arcs and on w >= 1 everybody is below the mean; on w >= 2 nobody.
    assert table["weak_at_least"].tolist() == [1.0, 1.0, 0.0]
    assert table["weak_at_most"].tolist() == [1.0, 1.0, 1.0]
    assert table["arcs"].tolist() == [1, 2, 2]
    assert table["target_in_degree"].tolist() == [3.0, 3.0, 1.0]


def test_rare_contacts_refuse_what_makes_no_sense() -> None:
    net = nx.path_graph(3, create_using=nx.DiGraph)
    with pytest.raises(GraphError, match="2 nodes and the first 3"):
        observe.rare_contacts(net, np.zeros((2, 2)))
    with pytest.raises(ParameterError, match="theta_max"):
        observe.rare_contacts(net, net, theta_max=0)
    with pytest.raises(ParameterError, match=r"not negative, got -1\.0"):
        observe.rare_contacts(net, -nx.to_scipy_sparse_array(net))


def test_attributes_and_interactions_go_by_node_where_they_can() -> None:
    net = nx.DiGraph([("c", "a"), ("b", "a"), ("b", "c")])
    assert list(net) == ["c", "a", "b"]
    x = {"a": 5, "b": 3, "c": 4}
    for form in FORMS:
        assert observe.friendship_paradox(net, x, "out", form) == 1.0
        assert observe.friendship_paradox(net, [4, 5, 3], "out", form) == 1.0
        assert observe.friendship_paradox(net, {"a": 0, "b": 1, "c": 2}, "out", form) == 0.0
    assert observe.hierarchy(net, x) == 1.0
    assert observe.hierarchy(observe.adjacency(net), {0: 4, 1: 5, 2: 3}) == 1.0
    assert observe.paradox_nulls(net, np.random.default_rng(1), {"x": x}, 2)["weak_x_out"].value == 1.0
    with pytest.raises(ParameterError, match="none for 'b'"):
        observe.hierarchy(net, {"a": 1, "c": 2})
    w = nx.DiGraph()
    w.add_edge("b", "c", weight=2)  # "c" -> "a" by position, "b" -> "c" by name
    assert observe.rare_contacts(net, w, 2)["arcs"].tolist() == [2, 0, 1]
    assert observe.rare_contacts(net, w, 2)["target_in_degree"].tolist()[2] == 1.0
    w.add_edge("b", "stranger")
    with pytest.raises(GraphError, match="4 nodes and the first 3"):
        observe.rare_contacts(net, w)


@pytest.mark.parametrize(
    "x, says",
    [
        ([1, 2], "expected 3 values"),
        (5, "expected 3 values"),
        ([1.0, math.nan, 2.0], "finite"),
        ([1.0, math.inf, 2.0], "finite"),
        ([1.5, 1e200, 2.0], "rescale"),
        (["a", "b", "c"], "holds numbers"),
        (np.zeros((3, 2)), "one value a node"),
        (np.array([-(2**63), 2**63 - 1, 0]), "loses digits"),
    ],
)
def test_attributes_that_cannot_be_compared_are_refused(x: object, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        observe.friendship_paradox(nx.path_graph(3), x)  # type: ignore[arg-type]


def test_unknown_neighbourhood_and_form_are_refused() -> None:
    net = nx.path_graph(3)
    with pytest.raises(ParameterError, match=r"neighbourhood is 'out' .* got 'around'"):
        observe.friendship_paradox(net, neighbourhood="around")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"form is 'weak' .* got 'medium'"):
        observe.friendship_paradox(net, form="medium")  # type: ignore[arg-type]

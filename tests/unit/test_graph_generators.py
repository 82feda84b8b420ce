"""Graphs from networkx's generators, its real networks and objects, and the text that names them."""

from __future__ import annotations

import re
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from simworld.errors import GraphError
from simworld.world import _graph_source
from simworld.world._graph_source import GraphData, GraphSpec, load_graph, parse_graph


def ties(data: GraphData) -> list[tuple[int, int, float]]:
    return list(zip(data.sources.tolist(), data.targets.tolist(), data.weights.tolist(), strict=True))


def load(spec: Any, *, n: int | None = None, seed: int = 1, directed: bool = False) -> GraphData:
    return load_graph(spec, n=n, seed=seed, directed=directed)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("karate", GraphSpec("network", "karate")),
        (" davis ", GraphSpec("network", "davis")),
        ("watts_strogatz_graph:k=6,p=0.1", GraphSpec("generator", "watts_strogatz_graph", (("k", 6), ("p", 0.1)))),
        ("watts_strogatz: k = 6 , p=1e-1", GraphSpec("generator", "watts_strogatz_graph", (("k", 6), ("p", 0.1)))),
        (
            "gnp_random:p=0.5,directed=true",
            GraphSpec("generator", "gnp_random_graph", (("p", 0.5), ("directed", True))),
        ),
        (
            "stochastic_block_model:sizes=[3,4],p=[[0.5,0.1],[0.1,0.5]]",
            GraphSpec("generator", "stochastic_block_model", (("sizes", [3, 4]), ("p", [[0.5, 0.1], [0.1, 0.5]]))),
        ),
        ("triad_graph:triad_name=030T", GraphSpec("generator", "triad_graph", (("triad_name", "030T"),))),
        ('triad_graph:triad_name="300"', GraphSpec("generator", "triad_graph", (("triad_name", "300"),))),
        ("net.txt", GraphSpec("file", "net.txt")),
        ("a/b:c/net.csv.gz", GraphSpec("file", "a/b:c/net.csv.gz")),
        (r"C:\nets\a.txt", GraphSpec("file", r"C:\nets\a.txt")),
        ("../a.csv:self_loops=error", GraphSpec("file", "../a.csv", (("self_loops", "error"),))),
        ("C:/a.csv:duplicates=merge", GraphSpec("file", "C:/a.csv", (("duplicates", "merge"),))),
        ("a.txt:sha256=12345678", GraphSpec("file", "a.txt", (("sha256", "12345678"),))),
    ],
)
def test_text_that_names_a_graph(text: str, spec: GraphSpec) -> None:
    assert parse_graph(text) == spec
    assert parse_graph(spec.text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "an empty graph source; name a networkx generator (watts_strogatz_graph:k=6,p=0.1), a real network (karate",
        ),
        ("karat", "no graph source 'karat'; did you mean 'karate'?"),
        ("watts_strogtz:k=6", "no graph source 'watts_strogtz'; did you mean 'watts_strogatz_graph'?"),
        ("zzz", "no graph source 'zzz'; name a networkx generator"),
        ("__import__", "no graph source '__import__'"),
        ("random_graphs", "no graph source 'random_graphs'; did you mean"),
        ("ego_graph:n=3", "no graph source 'ego_graph'"),
        ("watts_strogatz_graph:k=6,pp=0.1", "watts_strogatz_graph has no parameter 'pp'; did you mean 'p'?"),
        ("random_geometric_graph:raduis=1", "random_geometric_graph has no parameter 'raduis'; did you mean 'radius'?"),
        ("cycle_graph:zzz=1", "cycle_graph has no parameter 'zzz'; it takes n"),
        ("petersen_graph:n=3", "petersen_graph has no parameter 'n'; it takes none"),
        ("gnp_random_graph:p=0.1,backend=x", "gnp_random_graph has no parameter 'backend'"),
        ("gnp_random_graph:p=2", "gnp_random_graph: p is a probability, got 2; give a number from 0 to 1"),
        ("gnp_random_graph:p=", "a graph option is name=value, got 'p='"),
        ("gnp_random_graph:p=0.1,", "a graph option is name=value, got ''; separate several by commas"),
        ("gnp_random_graph:p=0.1,p=0.2", "graph option 'p' is given twice"),
        ("gnp_random_graph:p=NaN", "p=NaN cannot be read; give a number, true, false, a string or [a,b]"),
        ("circulant_graph:offsets=[1,", "offsets=[1, cannot be read"),
        ("circulant_graph:offsets=" + "[" * 100_000, "cannot be read; give a number"),
        ("gnp_random_graph:", "after 'gnp_random_graph:' come options like name=value, got ''"),
        ("gnp_random_graph:0.1", "after 'gnp_random_graph:' come options like name=value, got '0.1'"),
        ("karate:n=3", "the network 'karate' takes no options, got 'n'; write just 'karate'"),
        ("a.txt:merge", "after 'a.txt:' come options like name=value, got 'merge'"),
        ("a.txt:selfloops=error", "a graph file has no option 'selfloops'; did you mean 'self_loops'?"),
        ("a.txt:zzz=1", "a graph file has no option 'zzz'; it has self_loops, duplicates, sha256"),
        ("a.txt:self_loops=keep", "self_loops is 'drop' or 'error', got 'keep'"),
        ("a.txt:sha256=xyz", "sha256 is the first 8 to 64 hexadecimal digits of the file's own, got 'xyz'"),
        ("a.xls", "a.xls: a graph file ends in .txt"),
        ("data/net", "data/net: a graph file ends in .txt, .edges, .edgelist, .tsv, .csv, .graphml, .gexf, .json"),
    ],
)
def test_text_that_names_none(text: str, message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GraphError) as caught:
        parse_graph(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_forgotten_suffix_is_suggested(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "colleagues.txt").write_text("0 1\n")
    with pytest.raises(GraphError, match=re.escape("no graph source 'colleagues'; did you mean 'colleagues.txt'?")):
        parse_graph("colleagues")


def test_a_generator_gets_n_and_a_seed_of_its_own() -> None:
    data = load("watts_strogatz_graph:k=6,p=0.1", n=100)
    assert (data.n, data.sources.size, data.labels, data.notes) == (100, 300, None, ())
    assert (data.sources < data.targets).all()
    assert ties(load("watts_strogatz_graph:k=6,p=0.1", n=100)) == ties(data)
    assert ties(load("watts_strogatz_graph:k=6,p=0.1", n=100, seed=2)) != ties(data)
    given = load("watts_strogatz_graph:k=6,p=0.1,seed=5", n=100)
    reference = nx.watts_strogatz_graph(100, 6, 0.1, seed=5)
    assert {(u, v) for u, v, _ in ties(given)} == {(min(e), max(e)) for e in reference.edges}
    assert ties(load(data.source, seed=99)) == ties(data), "the recorded source makes the same graph again"


def test_every_seed_is_one_that_numpy_takes() -> None:
    # random_geometric_graph and others hand it to RandomState, which refuses 64 bits.
    for seed in (0, 2**62, 10**30, -5):
        assert load("random_labeled_tree", n=12, seed=seed).n == 12
        assert load("random_geometric_graph:radius=0.5", n=12, seed=seed).n == 12


EXTRA = {
    "barabasi_albert_graph": "m=2",
    "circulant_graph": "offsets=[1,2]",
    "connected_watts_strogatz_graph": "k=4,p=0.3",
    "dense_gnm_random_graph": "m=20",
    "dual_barabasi_albert_graph": "m1=2,m2=1,p=0.5",
    "duplication_divergence_graph": "p=0.5",
    "extended_barabasi_albert_graph": "m=2,p=0.3,q=0.3",
    "full_rary_tree": "r=3",
    "gaussian_random_partition_graph": "s=5,v=5,p_in=0.5,p_out=0.1",
    "general_random_intersection_graph": "m=3,p=[0.3,0.4,0.5]",
    "geographical_threshold_graph": "theta=5",
    "geometric_soft_configuration_graph": "beta=1.5,gamma=2.7,mean_degree=5",
    "gnm_random_graph": "m=20",
    "gnr_graph": "p=0.5",
    "hkn_harary_graph": "k=4",
    "hnm_harary_graph": "m=20",
    "k_random_intersection_graph": "m=5,k=2",
    "LCF_graph": "shift_list=[5,-5],repeats=7",
    "maybe_regular_expander_graph": "d=4",
    "newman_watts_strogatz_graph": "k=4,p=0.3",
    "partial_duplication_graph": "n=5,p=0.5,q=0.5",
    "powerlaw_cluster_graph": "m=2,p=0.3",
    "random_geometric_graph": "radius=0.4",
    "random_k_out_graph": "k=2,alpha=1.0",
    "random_powerlaw_tree": "tries=10000",
    "random_regular_expander_graph": "d=4",
    "random_regular_graph": "d=4",
    "soft_random_geometric_graph": "radius=0.4",
    "thresholded_random_geometric_graph": "radius=0.4,theta=1.0",
    "turan_graph": "r=3",
    "uniform_random_intersection_graph": "m=5,p=0.4",
    "watts_strogatz_graph": "k=4,p=0.3",
    **dict.fromkeys(["binomial_graph", "erdos_renyi_graph", "fast_gnp_random_graph", "gnp_random_graph"], "p=0.3"),
}
NOT_TRIED = {
    "LFR_benchmark_graph": "seldom finds a graph as small as this",
    "random_kernel_graph": "needs a function",
    "random_powerlaw_tree_sequence": "returns no graph",
}


def sized() -> list[str]:
    return [name for name in _graph_source._generators() if {"n", "N"} & set(_graph_source._parameters(name))]


@pytest.mark.parametrize("name", [n for n in sized() if n not in NOT_TRIED and n not in _graph_source.N_IS_NOT_NODES])
def test_n_agents_is_the_number_of_nodes_of_every_generator_that_gets_it(name: str) -> None:
    data = load(f"{name}:{EXTRA[name]}" if name in EXTRA else name, n=14)
    assert data.n == 14
    assert ties(load(data.source, n=14, seed=3)) == ties(data)


OWN_N = {
    "generalized_petersen_graph": "n=5,k=2",
    "grid_2d_graph": "m=3,n=5",
    "hexagonal_lattice_graph": "m=3,n=5",
    "kneser_graph": "n=5,k=2",
    "lollipop_graph": "m=3,n=5",
    "random_lobster_graph": "n=5,p1=0.5,p2=0.5",
    "sudoku_graph": "n=2",
    "tadpole_graph": "m=3,n=5",
    "triangular_lattice_graph": "m=3,n=5",
    "windmill_graph": "n=5,k=3",
}


@pytest.mark.parametrize("name", sorted(_graph_source.N_IS_NOT_NODES))
def test_the_generators_that_do_not_get_it_make_another_number(name: str) -> None:
    text = f"{name}:{OWN_N.get(name, 'n=5')}"
    assert load(text).n not in {2, 5}
    if name != "sudoku_graph":
        with pytest.raises(GraphError, match=rf"{name} needs .*\bn\b.* \(its n is not the number of nodes\)"):
            load(name, n=20)


def test_parameters_that_are_missing_or_wrong() -> None:
    with pytest.raises(GraphError, match=re.escape("needs k and p: write watts_strogatz_graph:k=…,p=…")):
        load("watts_strogatz_graph", n=20)
    with pytest.raises(GraphError, match=re.escape("watts_strogatz_graph needs n (n may also come from n_agents)")):
        load("watts_strogatz_graph:k=6,p=0.1")
    with pytest.raises(GraphError, match="empty_graph needs n"):
        load("empty_graph")
    with pytest.raises(GraphError, match="networkx refuses these parameters: k>n, choose smaller k or larger n"):
        load("watts_strogatz_graph:k=30,p=0.1", n=20)
    with pytest.raises(GraphError, match="networkx refuses these parameters: ") as caught:
        load("watts_strogatz_graph:k=[1],p=0.1", n=20)
    assert isinstance(caught.value.__cause__, TypeError)
    with pytest.raises(GraphError, match="graph_atlas_g returns list, not a graph"):
        load("graph_atlas_g")
    with pytest.raises(GraphError, match="trivial_graph: 1 node, but a society needs at least two"):
        load("trivial_graph")
    with pytest.raises(GraphError, match=re.escape("the graph has 8 nodes, but n_agents is 20; leave n_agents out")):
        load("cycle_graph:n=8", n=20)
    with pytest.raises(GraphError, match="n_agents is 1, but a society needs at least two"):
        load("cycle_graph", n=1)
    with pytest.raises(GraphError, match="seed must be an integer, got 'x'"):
        load_graph("cycle_graph", n=5, seed="x", directed=False)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="a graph source is text, a networkx graph or a sparse array, got int"):
        load(7)


def test_a_generator_that_draws_ties_twice_or_to_oneself_says_so() -> None:
    data = load("scale_free_graph", n=60, directed=True)
    reference = nx.scale_free_graph(60, seed=int(data.source.split("seed=")[1]))
    arcs = {(u, v) for u, v in reference.edges() if u != v}
    assert {(u, v) for u, v, _ in ties(data)} == arcs
    loops = nx.number_of_selfloops(reference)
    again = reference.number_of_edges() - loops - len(arcs)
    assert min(loops, again) > 1, "otherwise this seed tests nothing"
    assert data.notes[0].startswith(f"dropped {loops} self-loops (first '")
    assert data.notes[1] == f"merged {again} ties listed more than once, keeping the first weight"


@pytest.mark.parametrize(
    ("name", "n", "m", "first", "heaviest"),
    [
        # Zachary 1977 (doi:10.1086/jar.33.4.3629752); Knuth 1993; Davis et al. 1941; Padgett and Ansell 1993.
        ("karate", 34, 78, None, 7),
        ("les_miserables", 77, 254, "Napoleon", 31),
        ("davis", 32, 89, "Evelyn Jefferson", 1),
        ("florentine", 15, 20, "Acciaiuoli", 1),
    ],
)
def test_real_networks(name: str, n: int, m: int, first: str | None, heaviest: int) -> None:
    data = load(name)
    assert (data.n, data.sources.size, data.weights.max()) == (n, m, heaviest)
    assert (data.labels[0] if data.labels else None) == first
    assert (data.source, data.notes) == (name, ())
    both = load(name, directed=True)
    assert both.sources.size == 2 * m
    assert both.notes == (f"the source is undirected, the society directed: {m} ties became {2 * m} arcs",)


def test_a_networkx_object() -> None:
    graph = nx.DiGraph()
    graph.add_edge("b", "a", weight=2)
    graph.add_edge("a", "c")
    data = load(graph, directed=True)
    assert (data.labels, ties(data)) == (["b", "a", "c"], [(0, 1, 2.0), (1, 2, 1.0)])
    assert re.fullmatch(r"networkx object:n=3,ties=2,sha256=[0-9a-f]{12}", data.source)
    assert ties(load(graph)) == [(0, 1, 2.0), (1, 2, 1.0)]
    assert load(nx.relabel_nodes(graph, {"c": "d"}), directed=True).source != data.source
    # Numbers that are not in order, or not from 0, are put in order and kept as names.
    odd = load(nx.Graph([(20, 3), (3, 7)]))
    assert (odd.labels, ties(odd)) == (["3", "7", "20"], [(0, 1, 1.0), (0, 2, 1.0)])
    turned = nx.Graph()
    turned.add_edges_from([(2, 1), (1, 0)])
    assert load(turned).source == load(nx.path_graph(3)).source
    with pytest.raises(GraphError, match=re.escape("the networkx Graph: the tie '0 1' has weight -3.0; a weight is")):
        load(nx.Graph([(0, 1, {"weight": -3})]))
    with pytest.raises(GraphError, match="the tie '0 1' has weight None; a weight is a number"):
        load(nx.Graph([(0, 1, {"weight": None})]))
    with pytest.raises(GraphError, match="the networkx Graph: 0 nodes, but a society needs at least two"):
        load(nx.Graph())


@pytest.mark.parametrize("make", [sp.csr_array, sp.coo_array, sp.csc_matrix])
def test_a_sparse_array(make: Any) -> None:
    matrix = make(np.array([[0, 2.0, 0], [0, 0, 0.5], [1.0, 0, 0]]))
    data = load(matrix, directed=True)
    assert (data.n, data.labels, data.notes) == (3, None, ())
    assert ties(data) == [(0, 1, 2.0), (1, 2, 0.5), (2, 0, 1.0)]
    symmetric = make(np.array([[0, 2.0], [2.0, 0]]))
    assert ties(load(symmetric)) == [(0, 1, 2.0)]
    assert ties(load(symmetric, directed=True)) == [(0, 1, 2.0), (1, 0, 2.0)]
    assert load(symmetric, directed=True).source.startswith("sparse object:n=2,ties=2,sha256=")


def test_sparse_arrays_that_are_no_adjacency() -> None:
    with pytest.raises(GraphError, match=re.escape("the shape is (2, 3); an adjacency is square")):
        load(sp.csr_array((2, 3)))
    with pytest.raises(GraphError, match="the entries are complex128"):
        load(sp.csr_array((2, 2), dtype=np.complex128))
    with pytest.raises(GraphError, match=re.escape("the tie '1 0' has weight -1.0")):
        load(sp.csr_array(np.array([[0.0, 1.0], [-1.0, 0.0]])))
    twice = sp.coo_array(([1.0, 2.0], ([0, 0], [1, 1])), shape=(2, 2))
    assert ties(load(twice, directed=True)) == [(0, 1, 3.0)]
    assert twice.nnz == 2, "the caller's array is left alone"

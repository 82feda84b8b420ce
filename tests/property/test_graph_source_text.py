"""No text a user can type makes the graph reader fail in any way but a one-line GraphError."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simworld.errors import GraphError
from simworld.world._graph import SocialGraph
from simworld.world._graph_source import GraphSpec, load_graph, parse_graph

PIECE = st.sampled_from(
    [
        *("karate", "gnp_random_graph", "a.txt", "./b.csv", ":", "=", ",", "p", "n", "0.1", "[", "]", '"', "{", "}"),
        *(
            "true",
            "NaN",
            "1e999",
            "self_loops",
            "error",
            "sha256",
            "12345678",
            " ",
            "\n",
            "\x00",
            "é",
            "9" * 5000,
            "\\",
        ),
    ]
)
TEXT = st.one_of(st.text(max_size=40), st.lists(PIECE, max_size=9).map("".join))


@settings(max_examples=150, deadline=None)
@given(TEXT)
@example("gnp_random_graph:p=" + "9" * 5000)
@example("C:")
@example('triad_graph:triad_name="\\')
def test_text_is_a_source_that_reads_back_or_a_graph_error(text: str) -> None:
    try:
        spec = parse_graph(text)
    except GraphError:
        return
    assert isinstance(spec, GraphSpec)
    assert parse_graph(spec.text) == spec


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([".txt", ".csv", ".json", ".graphml", ".gexf"]),
    st.one_of(st.binary(max_size=60), st.text(alphabet='01 2ab,;\t\n.-#"{}[]<>/=', max_size=60).map(str.encode)),
    st.booleans(),
)
def test_file_content_is_a_graph_or_a_graph_error_of_one_line(
    tmp_path_factory: object, suffix: str, content: bytes, directed: bool
) -> None:
    path = Path(str(tmp_path_factory.getbasetemp())) / f"net{suffix}"  # type: ignore[attr-defined]
    path.write_bytes(content)
    said = f"{path}"
    try:
        data = load_graph(str(path), n=None, seed=0, directed=directed)
    except GraphError as error:
        said = str(error)
    else:
        graph = SocialGraph(data.n, directed=directed)
        assert graph.add_many(data.sources, data.targets, data.weights) == data.sources.size
    assert said.startswith(str(path))
    assert "\n" not in said


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 15), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=40
    ),
    st.booleans(),
    st.booleans(),
)
def test_any_networkx_graph_is_what_networkx_itself_makes_of_the_conversion(
    arcs: list[tuple[int, int, float]], from_directed: bool, to_directed: bool
) -> None:
    source = nx.DiGraph() if from_directed else nx.Graph()
    source.add_nodes_from(range(16))
    source.add_weighted_edges_from(arcs)
    data = load_graph(source, n=16, seed=0, directed=to_directed)
    dense = nx.to_numpy_array(source, nodelist=range(16))
    np.fill_diagonal(dense, 0.0)
    if not to_directed:
        dense = np.maximum(dense, dense.T)
    graph = SocialGraph(data.n, directed=to_directed)
    graph.add_many(data.sources, data.targets, data.weights)
    assert np.array_equal(graph.csr().toarray(), dense)
    assert graph.n_ties() == data.sources.size

"""Graphs from files: what is read, what is changed on the way in and said, and every refusal with its line."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from simworld.errors import GraphError
from simworld.world._graph import SocialGraph
from simworld.world._graph_source import GraphData, load_graph

EMAIL = Path(__file__).resolve().parents[3] / "shared" / "data" / "email-Eu-core.txt"

type Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, content: str | bytes) -> str:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return str(tmp_path / name)

    return put


def load(spec: str, *, directed: bool = True, n: int | None = None) -> GraphData:
    return load_graph(spec, n=n, seed=1, directed=directed)


def ties(data: GraphData) -> list[tuple[int, int, float]]:
    return list(zip(data.sources.tolist(), data.targets.tolist(), data.weights.tolist(), strict=True))


@pytest.mark.skipif(not EMAIL.exists(), reason="the shared data folder is not here")
@pytest.mark.parametrize(("directed", "count"), [(True, 24_929), (False, 16_064)])
def test_the_email_network_loads_with_its_published_size(directed: bool, count: int) -> None:
    # Leskovec and Krevl, SNAP email-Eu-core: 1005 nodes, 25571 edges, of which 642 are self-loops.
    data = load(str(EMAIL), directed=directed)
    assert (data.n, data.sources.size, data.labels, data.directed) == (1005, count, None, directed)
    first = next(i for i, line in enumerate(EMAIL.read_text().splitlines(), 1) if len(set(line.split())) == 1)
    assert data.notes[0] == (f"dropped 642 self-loops (first at line {first}: '54 54'): nobody can tie to themselves")
    graph = SocialGraph(data.n, directed=directed)
    assert graph.add_many(data.sources, data.targets, data.weights) == count
    assert [a.tolist() for a in graph.edges()] == [data.sources.tolist(), data.targets.tolist(), data.weights.tolist()]
    again = load_graph(str(EMAIL.parent / data.source), n=1005, seed=9, directed=directed)
    assert np.array_equal(again.sources, data.sources)
    assert str(EMAIL.parent) not in data.source


def test_an_edge_list_in_all_its_forms(write: Write) -> None:
    plain = load(write("a.txt", "0 1\n1 2\n"))
    assert ties(plain) == [(0, 1, 1.0), (1, 2, 1.0)]
    assert (plain.n, plain.labels, plain.notes) == (3, None, ())
    messy = "\ufeff# a comment\r\n\r\n  0\t1   # and here\r\n1 2\r\n\n"
    assert ties(load(write("b.edges", messy))) == ties(plain)
    assert ties(load(write("c.edgelist", "0 1 0.5\n1 2 2\n"))) == [(0, 1, 0.5), (1, 2, 2.0)]
    assert ties(load(write("d.tsv", "source\ttarget\n0\t1\n1\t2"))) == ties(plain)
    packed = load(write("e.txt.gz", gzip.compress(b"0 1\n1 2\n", mtime=0)))
    assert ties(packed) == ties(plain)
    assert packed.source.startswith("e.txt.gz:sha256=")


def test_integer_labels_are_numbered_by_size_and_others_by_appearance(write: Write) -> None:
    data = load(write("a.txt", "30 4\n4 -2\n"))
    assert data.labels == ["-2", "4", "30"]
    assert ties(data) == [(1, 0, 1.0), (2, 1, 1.0)]
    data = load(write("b.txt", "Zoë 4\n4 Ann\n"))
    assert data.labels == ["Zoë", "4", "Ann"]
    assert ties(data) == [(0, 1, 1.0), (1, 2, 1.0)]
    # '01' and '1' are two names; read as numbers they would be one person.
    data = load(write("c.txt", "01 1\n1 2\n"))
    assert data.labels == ["01", "1", "2"]
    # More digits than 64 bits hold: names.
    assert load(write("d.txt", f"{10**30} 1\n")).labels == [str(10**30), "1"]


def test_an_undirected_society_reads_both_directions_as_one_tie(write: Write) -> None:
    spec = write("a.txt", "0 1 2.0\n1 0 5.0\n2 1 1.0\n")
    data = load(spec, directed=False)
    assert ties(data) == [(0, 1, 5.0), (1, 2, 1.0)]
    assert data.notes == ("merged 1 pair listed in both directions into one tie each, with the larger weight",)
    assert ties(load(spec)) == [(0, 1, 2.0), (1, 0, 5.0), (2, 1, 1.0)]


def test_csv_by_header_by_position_and_by_any_delimiter(write: Write) -> None:
    wanted = [(0, 1, 0.5), (1, 2, 2.0)]
    assert ties(load(write("a.csv", "source,target,weight\n0,1,0.5\n1,2,2\n"))) == wanted
    data = load(write("b.csv", "# made by hand\nweight; when;Target;Source\n0.5;x;1;0\n2;y;2;1\n"))
    assert ties(data) == wanted
    assert data.notes == ("left out the column 'when'",)
    assert ties(load(write("c.csv", "0\t1\t0.5\n1\t2\t2\n"))) == wanted
    data = load(write("d.csv", 'who,whom\n"Lee, Ann",Bo\nBo,Cy\n\n'))
    assert data.labels == ["Lee, Ann", "Bo", "Cy"]
    assert data.notes == ("took line 1 ('who,whom') for a header, its first two columns for the ties",)


def reference(directed: bool) -> nx.Graph:
    graph = nx.DiGraph() if directed else nx.Graph()
    graph.add_nodes_from(range(6))
    graph.add_weighted_edges_from([(0, 3, 0.5), (3, 1, 2.0), (4, 2, 1.0), (2, 3, 7.25)])
    return graph


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("suffix", [".graphml", ".gexf", "links.json", "edges.json"])
def test_what_networkx_writes_comes_back(tmp_path: Path, suffix: str, directed: bool) -> None:
    graph, path = reference(directed), tmp_path / f"net{suffix}"
    if suffix == ".graphml":
        nx.write_graphml(graph, path)
    elif suffix == ".gexf":
        nx.write_gexf(graph, path)
    else:
        path.write_text(json.dumps(nx.node_link_data(graph, edges=suffix.removesuffix(".json"))))
    data = load(str(path), directed=directed)
    assert (data.n, data.labels, data.notes) == (6, None, ())
    pairs = {(u, v) if directed else (min(u, v), max(u, v)): w for u, v, w in graph.edges(data="weight")}
    assert ties(data) == [(*pair, pairs[pair]) for pair in sorted(pairs)]

    other = load(str(path), directed=not directed)
    if directed:
        assert other.notes == ("the source is directed, the society undirected: 4 arcs became 4 ties",)
        assert ties(other) == [(0, 3, 0.5), (1, 3, 2.0), (2, 3, 7.25), (2, 4, 1.0)]
    else:
        assert other.notes == ("the source is undirected, the society directed: 4 ties became 8 arcs",)
        assert {(v, u, w) for u, v, w in ties(other)} == set(ties(other))


def test_names_in_graph_files_are_kept(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_node(0, label="Ada")
    graph.add_node(1, label="Bo")
    graph.add_edge(1, 0)
    nx.write_graphml(graph, tmp_path / "a.graphml")
    assert load(str(tmp_path / "a.graphml")).labels == ["Ada", "Bo"]
    nx.write_gexf(nx.florentine_families_graph(), tmp_path / "b.gexf")
    assert load(str(tmp_path / "b.gexf")).labels == list(nx.florentine_families_graph())


def test_what_networkx_guesses_is_a_note(write: Write) -> None:
    untyped = (
        '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><key id="c" for="node" attr.name="colour"/>'
        '<graph edgedefault="directed"><node id="0"/><node id="1"/><edge source="0" target="1"/></graph></graphml>'
    )
    data = load(write("a.graphml", untyped))
    assert ties(data) == [(0, 1, 1.0)]
    assert data.notes == ("networkx says: No key type for id c. Using string",)


LIST_FORM = "a line is 'source target' or 'source target weight', separated by spaces or tabs"
WEIGHT_FORM = "a weight is a finite number of at least 0"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "0 1\n2\n", f"a.txt, line 2: 1 column ('2'); {LIST_FORM}"),
        ("a.txt", "# c\n\n0 1 2 3\n", f"a.txt, line 3: 4 columns ('0 1 2 3'); {LIST_FORM}"),
        ("a.txt", "0,1\n1,2\n", "a.txt, line 1: 1 column ('0,1'); a file separated by commas ends in .csv"),
        ("a.txt", "0 1\n1 2 0.5\n", "line 2: 3 columns ('1 2 0.5'); line 1 has 2: give every line a weight, or none"),
        ("a.txt", "0 1 1\n1 2 x\n", f"a.txt, line 2: the weight is 'x'; {WEIGHT_FORM}"),
        ("a.txt", "0 1 1\n\n1 2 nan\n", f"a.txt, line 3: the weight is 'nan'; {WEIGHT_FORM}"),
        ("a.txt", "0 1 1\n1 2 -1\n", f"a.txt, line 2: the weight is '-1'; {WEIGHT_FORM}"),
        ("a.txt", "0 1 inf\n", f"a.txt, line 1: the weight is 'inf'; {WEIGHT_FORM}"),
        (
            "a.txt",
            "0 1 {}\n",
            "line 1: the weight is '{}'; " + WEIGHT_FORM + "; networkx writes it with write_weighted",
        ),
        ("a.txt", "0 1 {'weight': 2}\n", "networkx writes what is read here with write_weighted_edgelist"),
        ("a.txt", "", "a.txt: the file is empty; a graph needs at least one tie"),
        ("a.txt", " \n\n", "a.txt: the file is empty"),
        ("a.txt", "# nothing\n", "a.txt: the file holds comments only"),
        ("a.txt", "source target\n", "a.txt: the file holds a header only"),
        ("a.txt", "5 5\n", "a.txt: 1 node, but a society needs at least two"),
        ("a.txt", b"0 1\n1 \xff\n", "a.txt, line 2: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a.txt.gz", b"\x1f\x8b\x08\x00rubbish", "a.txt.gz: the gzip file is damaged"),
        (
            "a.txt",
            "# c\n0 1\n2 2\n1 2\n0 1\n1 2\n",
            "a.txt, line 5: the tie '0 1' is listed twice, already at line 2; "
            "delete one, or write :duplicates=merge to keep the first",
        ),
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.csv", "# only\n", "a.csv: the file holds comments only"),
        ("a.csv", "0 1\n", "a.csv, line 1: one column ('0 1'); a CSV file has the columns source,target[,weight]"),
        ("a.csv", '""', "a.csv, line 1: one column"),
        ("a.csv", '"a,b"\n', "a.csv, line 1: one column"),
        ("a.csv", "source,target\n", "a.csv: the file holds a header only"),
        ("a.csv", "source,target\n0,1\n2\n", "a.csv, line 3: 1 column, the first line has 2; give every line as many"),
        ("a.csv", "# c\nsource,target\n0,1\n2,\n", "a.csv, line 4: a node without a name; fill in source and target"),
        ("a.csv", "source,target,weight\n0,1,heavy\n", f"a.csv, line 2: the weight is 'heavy'; {WEIGHT_FORM}"),
        ("a.csv", 'source,target\n0,"1\n', "a.csv, line 2: unexpected end of data; check the quotes on this line"),
        ("a.csv", "0,1\n1,0\n0,1\n", "a.csv, line 3: the tie '0 1' is listed twice, already at line 1"),
        ("a.json", "{\n'nodes': []}", "a.json, line 2: not JSON: Expecting property name"),
        ("a.json", "[" * 200_000, "a.json"),
        ("a.json", "[1]", "a.json: no list 'nodes'; a graph in JSON is networkx node-link data"),
        ("a.json", '{"nodes": []}', "a.json: no list 'edges' or 'links'"),
        ("a.json", '{"nodes": [{"name": 1}], "edges": []}', "a.json: node number 1 ({'name': 1}) has no 'id'"),
        (
            "a.json",
            '{"nodes": [{"id": 1}, {"id": 2}], "links": [{"source": 1}]}',
            "a.json: tie number 1 ({'source': 1}) has no 'target'",
        ),
        (
            "a.json",
            '{"nodes": [{"id": 1}, {"id": 2}], "links": [{"source": 1, "target": 2, "weight": NaN}]}',
            f"a.json: the tie '1 2' has weight nan; {WEIGHT_FORM}",
        ),
        (
            "a.json",
            '{"nodes": [{"id": 1}, {"id": 2}], "links": [{"source": 1, "target": 2, "weight": "3"}]}',
            "a.json: the tie '1 2' has weight '3'; a weight is a number of at least 0",
        ),
        ("a.json", '{"nodes": [{"id": 1}, {"id": "1"}], "links": []}', "a.json: two nodes are both called '1'"),
        ("a.json", '{"nodes": [{"id": {}}], "links": []}', "a.json: networkx cannot read it as node-link data"),
        (
            "a.json",
            '{"multigraph": true, "directed": true, "nodes": [{"id": "a"}, {"id": "b"}],'
            ' "edges": [{"source": "a", "target": "b", "key": 0}, {"source": "a", "target": "b", "key": 1}]}',
            "a.json: the tie 'a b' is listed twice; delete one, or write :duplicates=merge",
        ),
        ("a.graphml", "<graphml>\n<node", "a.graphml, line 2: not well-formed XML: unclosed token at column 1"),
        ("a.graphml", "<a/>", "a.graphml: networkx cannot read it as GraphML: file not successfully read as graphml"),
        ("a.gexf", "<gexf>\n<b></gexf>", "a.gexf, line 2: not well-formed XML: mismatched tag"),
        ("a.gexf", "<a/>", "a.gexf: networkx cannot read it as GEXF: No <graph> element in GEXF file."),
    ],
)
def test_bad_files_are_refused_in_one_line_that_says_where(
    write: Write, tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(name, content)
    with pytest.raises(GraphError) as caught:
        load(path)
    said = str(caught.value)
    assert said.startswith(str(tmp_path))
    assert message in said
    assert "\n" not in said


def test_self_loops_are_dropped_and_said_or_refused(write: Write) -> None:
    spec = write("a.txt", "# c\n0 1\n2 2\n1 1\n1 1\n")
    data = load(spec)
    assert ties(data) == [(0, 1, 1.0)]
    assert data.n == 3, "who is tied only to themselves is still somebody"
    assert data.notes == ("dropped 3 self-loops (first at line 3: '2 2'): nobody can tie to themselves",)
    with pytest.raises(GraphError, match=re.escape("a.txt, line 3: '2 2' ties a node to itself; delete the line")):
        load(f"{spec}:self_loops=error")


def test_duplicates_can_be_merged_keeping_the_first(write: Write) -> None:
    spec = write("a.txt", "0 1 5\n1 0 2\n0 1 7\n")
    data = load(f"{spec}:duplicates=merge")
    assert ties(data) == [(0, 1, 5.0), (1, 0, 2.0)]
    assert data.notes == ("merged 1 tie listed more than once, keeping the first weight",)
    assert data.source.endswith(",duplicates=merge")
    with pytest.raises(GraphError, match=re.escape("line 3: the tie '0 1' is listed twice, already at line 1")):
        load(spec, directed=False)


def test_the_number_of_agents_must_fit(write: Write) -> None:
    spec = write("a.txt", "0 1\n1 2\n")
    assert load(spec, n=3).n == 3
    fix = "the graph has 3 nodes, but n_agents is 10; leave n_agents out or set it to 3"
    with pytest.raises(GraphError, match=re.escape(fix)):
        load(spec, n=10)


def test_files_that_are_not_there(write: Write, tmp_path: Path) -> None:
    write("friends.txt", "0 1\n")
    with pytest.raises(GraphError, match=r"freinds\.txt: no such file; did you mean 'friends\.txt'\?"):
        load(str(tmp_path / "freinds.txt"))
    with pytest.raises(GraphError, match=r"karate\.txt: no such file; did you mean 'karate'\?"):
        load(str(tmp_path / "karate.txt"))
    with pytest.raises(GraphError, match=r"a\.txt: no such file: there is no folder '.*nowhere'"):
        load(str(tmp_path / "nowhere" / "a.txt"))
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(GraphError, match=r"folder\.txt: this is a folder"):
        load(str(tmp_path / "folder.txt"))
    with pytest.raises(GraphError, match=r"a\.xlsx: a graph file ends in \.txt, .*, not '\.xlsx'"):
        load(str(tmp_path / "a.xlsx"))


def test_a_file_may_be_pinned_by_its_hash(write: Write) -> None:
    spec = write("a.txt", "0 1\n")
    source = load(spec).source
    assert load(str(Path(spec).parent / source)).n == 2
    write("a.txt", "0 1\n1 2\n")
    with pytest.raises(GraphError, match="it is not the file it was"):
        load(str(Path(spec).parent / source))


def test_half_a_million_lines_cost_a_few_passes(write: Write) -> None:
    # Three ways of writing a bad line at the very end are found without reading a second file.
    lines = [f"{i} {i + 1}" for i in range(30_000)]
    spec = write("a.txt", "\n".join([*lines, "7"]))
    with pytest.raises(GraphError, match="line 30001: 1 column"):
        load(spec)
    spec = write("a.txt", "\n".join([*lines, lines[0]]))
    with pytest.raises(GraphError, match="line 30001: the tie '0 1' is listed twice, already at line 1"):
        load(spec)

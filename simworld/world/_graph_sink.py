"""Where a graph goes: GraphML and GEXF, for Gephi, Cytoscape, igraph."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_graph(graph: Any, path: Path) -> None:
    """Write a networkx graph; the suffix of the path says the format, ``.graphml`` or ``.gexf``."""
    import networkx as nx

    graph = graph.copy()
    for _, attributes in graph.nodes(data=True):
        attributes.update({k: _for_xml(v) for k, v in attributes.items()})
    (nx.write_graphml if path.suffix == ".graphml" else nx.write_gexf)(graph, path)


def _for_xml(value: Any) -> Any:
    # XML has no word for control characters; a model's text may hold them.
    return "".join(c for c in value if c >= " " or c in "\t\n\r") if isinstance(value, str) else value

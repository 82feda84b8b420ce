"""Write down whose strategies were shown to whom, and taken over: python scenarios/donor_game/lineage.py RUN [OUT]

RUN is what `simworld show` takes: a folder, or last. OUT is a GraphML file; without it the graph goes to stdout.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import networkx as nx
import numpy as np

import simworld as sw
from simworld.observe import lineage

SHOWN = ("generation", "slot", "strategy", "g0", "alpha", "beta", "phi", "cap", "tau", "kappa", "score")


def graph_of(source: Any, *, copies: bool = False) -> nx.DiGraph:
    """Return the lineage of strategies: an arc from each advisor to each newcomer that was shown its strategy.

    Args:
        source: a `simworld.Run`, or the society itself.
        copies: whether only arcs along which a strategy was taken over are wanted.

    Returns:
        Nodes are agents, with what they were at the end of their life, ``last`` (whether they live at the end) and
        ``lasted`` (generations played to the end). Arcs have ``copied``: whether the strategy was taken over.
    """
    agents, standings = columns_of(source, "agents"), columns_of(source, "standings")
    n = len(agents["alive"])
    parents, lasted = agents["copied_from"], np.bincount(standings["player"].astype(np.int64), minlength=n)
    advisors = [[] if copies else json.loads(text) for text in agents["advice_from"]]
    for agent, parent in enumerate(parents.tolist()):
        if parent >= 0 and parent not in advisors[agent]:
            advisors[agent].append(parent)
    children = np.array([child for child, found in enumerate(advisors) for _ in found or (-1,)], np.int64)
    of = np.array([parent for found in advisors for parent in found or (-1,)], np.int64)
    own = {name: agents[name][children] for name in SHOWN}
    graph = lineage(children, of, last=agents["alive"][children], lasted=lasted[children], **own)
    for parent, child, arc in graph.edges(data=True):
        arc["copied"] = bool(parents[child] == parent)
    return graph


def columns_of(source: Any, table: str) -> dict[str, np.ndarray]:
    """Return a state table as it was last, one array a column, rows by id."""
    if isinstance(source, sw.World):
        return dict(source.tables[table].columns)
    frame = source.state(table=table).sort("id")
    return {name: frame[name].to_numpy() for name in frame.columns}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("python scenarios/donor_game/lineage.py RUN [OUT]")
    found = graph_of(sw.load_run(sys.argv[1]))
    if len(sys.argv) == 3:
        nx.write_graphml(found, sys.argv[2])
    else:
        sys.stdout.write("\n".join(nx.generate_graphml(found)) + "\n")

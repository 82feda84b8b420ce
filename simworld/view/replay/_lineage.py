"""How one thing went through the society: the events that carry a piece of news, a post or a strategy, as a tree."""

from __future__ import annotations

from typing import Any

import polars as pl

from simworld.view.replay._pack import cut
from simworld.view.replay._run_data import Recording

MOST_NODES = 2_000
"""Events of one tree; the first ones. Arbitrary: more cannot be read."""
LABEL = 120
"""Characters of a node's label."""
FAMILIES = {
    "news": {"seed", "tell", "hear", "attend", "decide to go", "decide not to go", "learn"},
    "talk": {"say", "talk", "ask", "answer", "speak"},
    "post": {"post", "comment", "reply", "share", "quote", "repost", "like", "dislike"},
    "strategy": {"strategy", "adopt", "inherit", "copy", "mutate", "birth"},
}
"""Kinds of event whose numbers of items mean the same. Other kinds are families of their own."""
CHAINS = frozenset({"talk", "confer", "whisper", "think"})
"""Families in which each event follows the one before it."""
_OF = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}


def lineage(recording: Recording, item: int, row: int = -1) -> dict[str, Any]:
    """Return the tree of an item.

    News go from who tells to who is told; what is said in a conversation, and what answers a post, follows what it
    answers; a strategy descends from that of the agent it was taken from, whatever its item.

    Args:
        recording: the run.
        item: number that the events carry.
        row: an event; only what is of its family, and only the tree that it is part of, is returned. -1: everything.

    Returns:
        ``nodes``: id, label, agent, step, row, kind, family; ``edges``: pairs of ids, from what came before to what
        followed; ``total``: how many events there are, of which the first `MOST_NODES` are nodes.
    """
    events = recording.events
    family = ""
    if 0 <= row < events.height:
        family = family_of(str(events["kind"][row]))
    wanted = pl.col("item") == item if item >= 0 else pl.lit(value=False)
    if family == "strategy":
        wanted = pl.col("kind").is_in(sorted(FAMILIES["strategy"]))
    elif family:
        kinds = [kind["name"] for kind in recording.event_kinds() if family_of(kind["name"]) == family]
        wanted &= pl.col("kind").is_in(kinds)
    else:
        # Votes of a round, moves of a game: their items number something that does not spread.
        kinds = [kind["name"] for kind in recording.event_kinds() if kind["name"] in _OF or kind["is_speech"]]
        wanted &= pl.col("kind").is_in(kinds)
    found = events.with_row_index("row").lazy().filter(wanted).collect()
    rows = list(found.head(MOST_NODES if family != "strategy" else 50 * MOST_NODES).iter_rows(named=True))
    parents = _parents(rows)
    if family:
        kept = _tree_of(row, parents)
        rows = [each for each in rows if each["row"] in kept][:MOST_NODES]
    shown = {each["row"] for each in rows}
    nodes = [
        {
            "id": each["row"], "label": cut(" ".join(each["text"].split()), LABEL) or each["kind"],
            "agent": each["agent"], "step": each["step"], "row": each["row"], "kind": each["kind"],
            "family": family_of(each["kind"]),
        }
        for each in rows
    ]  # fmt: skip
    edges = [[parents[r], r] for r in sorted(shown) if parents[r] in shown]
    return {"nodes": nodes, "edges": edges, "total": found.height}


def family_of(kind: str) -> str:
    """Return the family of a kind of event: kinds of one family count their items together."""
    return _OF.get(kind, kind)


def _parents(rows: list[dict[str, Any]]) -> dict[int, int]:
    """Return the event that each goes back to, by row; -1 for none. Rows are in order."""
    parents: dict[int, int] = {}
    first_got: dict[tuple[str, int], int] = {}  # by family and agent: where it first came to know
    last_by: dict[tuple[str, int], int] = {}
    last_between: dict[tuple[str, int, int], int] = {}
    last: dict[str, int] = {}
    for each in rows:
        row, agent, target, kind = each["row"], each["agent"], each["target"], each["kind"]
        family = family_of(kind)
        if family == "news":
            parent = first_got.get((family, agent), -1)
            first_got.setdefault((family, agent), row)
            if target >= 0:
                first_got.setdefault((family, target), row)
        elif family in CHAINS:
            parent = last.get(family, -1)
        elif family == "strategy":
            parent = last_by.get((family, target if target >= 0 else agent), -1)
        else:
            parent = last_between.get((family, target, agent), last_by.get((family, target), -1)) if target >= 0 else -1
        parents[row] = parent
        last[family] = row
        last_by[family, agent] = row
        if target >= 0:
            last_between[family, agent, target] = row
    return parents


def _tree_of(row: int, parents: dict[int, int]) -> set[int]:
    """Return all events of the tree that an event is part of."""
    if row not in parents:
        return set()
    root = row
    while parents[root] >= 0:
        root = parents[root]
    tree = {root}
    for each in sorted(parents):  # what follows has a larger row
        if parents[each] in tree:
            tree.add(each)
    return tree

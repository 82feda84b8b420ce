"""Which memories of a run its vector index holds; the manifest says it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simworld.memory import Flag, MemoryStore

INDEX_ALL = 1_000
"""Agents up to which every record is indexed; above, what is made of records: chromadb takes a millisecond a record."""
MADE = ("reflection", "summary", "fact", "formative")
"""Kinds that are indexed in larger societies."""


def what_is_indexed(store: MemoryStore) -> tuple[npt.NDArray[np.int64], str]:
    """Return the ids of the records that an index holds, and why others are left out (an empty text: none are)."""
    here = (store.column("flags") & int(Flag.PROBE)) == 0
    if store.n_agents <= INDEX_ALL:
        return np.flatnonzero(here), ""
    made = np.zeros(len(store), bool)
    for kind in MADE:
        made |= store.is_kind(kind)
    return np.flatnonzero(here & made), f"more than {INDEX_ALL:,} agents: only {', '.join(MADE)} are indexed"

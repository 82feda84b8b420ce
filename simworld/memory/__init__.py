"""memory owns what agents remember: stream, core blocks and facts; retrieval, reflection, forgetting; the vector index.

It knows no scenario, asks no mind, and keeps nothing that its log does not say.
"""

from simworld.memory._decisions import (
    MOST_CITED,
    NULLS,
    RULES,
    Answer,
    AnswerView,
    Consolidation,
    EpisodeView,
    Importance,
    ImportanceView,
    Insight,
    Reflection,
    ReflectionView,
    usable,
)
from simworld.memory._embed import Embedder, EmbedderIdentity, check_identity, embedder, quantised
from simworld.memory._files import MemoryView, export, replay, restore, snapshot
from simworld.memory._finding import Found
from simworld.memory._held import CORE, owner_of
from simworld.memory._index import (
    Entry,
    Hit,
    IndexDoubt,
    IndexReport,
    MemoryIndex,
    build_index,
    drop_index,
    open_index,
)
from simworld.memory._log import LOG, LogPart
from simworld.memory._operations import Operation
from simworld.memory._records import KINDS, Flag, Memory, NewMemory, Recalled, Recollection, Symbol
from simworld.memory._retrieve import POLICIES, Policy
from simworld.memory._settings import MODEL_UP_TO, MemorySettings, Phrase
from simworld.memory._store import MemoryStore

__all__ = [
    "CORE",
    "KINDS",
    "LOG",
    "MODEL_UP_TO",
    "MOST_CITED",
    "NULLS",
    "POLICIES",
    "RULES",
    "Answer",
    "AnswerView",
    "Consolidation",
    "Embedder",
    "EmbedderIdentity",
    "Entry",
    "EpisodeView",
    "Flag",
    "Found",
    "Hit",
    "Importance",
    "ImportanceView",
    "IndexDoubt",
    "IndexReport",
    "Insight",
    "LogPart",
    "Memory",
    "MemoryIndex",
    "MemorySettings",
    "MemoryStore",
    "MemoryView",
    "NewMemory",
    "Operation",
    "Phrase",
    "Policy",
    "Recalled",
    "Recollection",
    "Reflection",
    "ReflectionView",
    "Symbol",
    "build_index",
    "check_identity",
    "drop_index",
    "embedder",
    "export",
    "open_index",
    "owner_of",
    "quantised",
    "replay",
    "restore",
    "snapshot",
    "usable",
]

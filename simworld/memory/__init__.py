"""memory owns what agents remember: stream, core blocks and facts; retrieval, reflection, forgetting; the vector index.

It knows no scenario, asks no mind, and keeps nothing that its log does not say.
"""

from simworld.memory._decisions import (
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
from simworld.memory._embed import Embedder, EmbedderIdentity, check_identity, embedder
from simworld.memory._files import MemoryView, export, replay, restore, snapshot
from simworld.memory._log import LOG, LogPart
from simworld.memory._operations import Operation
from simworld.memory._records import KINDS, Flag, Memory, NewMemory, Recalled, Recollection, Symbol
from simworld.memory._retrieve import POLICIES, Policy
from simworld.memory._settings import MemorySettings, Phrase
from simworld.memory._store import CORE, Found, MemoryStore, owner_of

__all__ = [
    "CORE",
    "KINDS",
    "LOG",
    "NULLS",
    "POLICIES",
    "RULES",
    "Answer",
    "AnswerView",
    "Consolidation",
    "Embedder",
    "EmbedderIdentity",
    "EpisodeView",
    "Flag",
    "Found",
    "Importance",
    "ImportanceView",
    "Insight",
    "LogPart",
    "Memory",
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
    "check_identity",
    "embedder",
    "export",
    "owner_of",
    "replay",
    "restore",
    "snapshot",
    "usable",
]

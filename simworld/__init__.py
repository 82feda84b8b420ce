"""simworld: a laboratory for societies of persona agents.

Importing it loads nothing heavy; each name is fetched from its room when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simworld.agent import Agent, Entity
    from simworld.errors import SimworldError
    from simworld.memory import MemorySettings, Phrase, Recollection
    from simworld.mind import Answers, Mind, vectorised
    from simworld.observe import Finding, Observer
    from simworld.persona import Persona, read_cast, sample_population
    from simworld.run import Run, diff, fork, load_run, resume, run, verify
    from simworld.schema import Decision, Globals, Params, Record, Refusal, field
    from simworld.sweep import Campaign, load_campaign, sweep
    from simworld.view import view
    from simworld.world import Encounter, World

_HOMES = {
    "agent": ("Agent", "Entity"),
    "errors": ("SimworldError",),
    "memory": ("MemorySettings", "Phrase", "Recollection"),
    "mind": ("Answers", "Mind", "vectorised"),
    "observe": ("Finding", "Observer"),
    "persona": ("Persona", "read_cast", "sample_population"),
    "run": ("Run", "diff", "fork", "load_run", "resume", "run", "verify"),
    "schema": ("Decision", "Globals", "Params", "Record", "Refusal", "field"),
    "sweep": ("Campaign", "load_campaign", "sweep"),
    "view": ("view",),
    "world": ("Encounter", "World"),
}
_ROOM_OF = {name: room for room, names in _HOMES.items() for name in names}

__all__ = [
    "Agent",
    "Answers",
    "Campaign",
    "Decision",
    "Encounter",
    "Entity",
    "Finding",
    "Globals",
    "MemorySettings",
    "Mind",
    "Observer",
    "Params",
    "Persona",
    "Phrase",
    "Recollection",
    "Record",
    "Refusal",
    "Run",
    "SimworldError",
    "World",
    "diff",
    "field",
    "fork",
    "load_campaign",
    "load_run",
    "read_cast",
    "resume",
    "run",
    "sample_population",
    "sweep",
    "vectorised",
    "verify",
    "view",
]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'simworld' has no attribute {name!r}")
    return getattr(importlib.import_module(f"simworld.{room}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

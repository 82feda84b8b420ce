"""world owns one society in time: clock, activation, encounters, state tables, social graph. It never writes a file and
never reads the wall clock; a graph source is the one thing it reads."""

from simworld.world._activation import batches
from simworld.world._encounter import Encounter, Turn
from simworld.world._events import NUMBERS, TEXTS, Chunk
from simworld.world._graph import SocialGraph, TieChanges
from simworld.world._graph_sink import write_graph
from simworld.world._graph_source import GraphData, load_graph, parse_graph
from simworld.world._plain import PlainModel
from simworld.world._remembering import wants_memory
from simworld.world._table import Table
from simworld.world._world import StepRecord, World, checked_params, policy_name

__all__ = [
    "NUMBERS",
    "TEXTS",
    "Chunk",
    "Encounter",
    "GraphData",
    "PlainModel",
    "SocialGraph",
    "StepRecord",
    "Table",
    "TieChanges",
    "Turn",
    "World",
    "batches",
    "checked_params",
    "load_graph",
    "parse_graph",
    "policy_name",
    "wants_memory",
    "write_graph",
]

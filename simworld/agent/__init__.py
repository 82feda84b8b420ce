"""agent owns one agent: its columns, its persona, its view of a row of the state table. It never talks to a network."""

from simworld.agent._agent import Agent, Entity
from simworld.agent._columns import ColumnSpec, declared_columns

__all__ = ["Agent", "ColumnSpec", "Entity", "declared_columns"]

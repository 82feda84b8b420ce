"""agent owns one agent: columns, persona, its view of a row of the state table, and the prompts of what it is and sees.

It never talks to a network."""

from simworld.agent._agent import Agent, Entity
from simworld.agent._columns import ColumnSpec, declared_columns
from simworld.agent._prompts import PromptBook, prompts_of

__all__ = ["Agent", "ColumnSpec", "Entity", "PromptBook", "declared_columns", "prompts_of"]

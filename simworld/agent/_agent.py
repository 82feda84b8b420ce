"""Agent and Entity: Python faces of rows. What they know lives in the table."""

from __future__ import annotations

from typing import Any, ClassVar

import mesa

from simworld.agent._columns import ColumnSpec, declared_columns
from simworld.errors import ParameterError, ScenarioError, did_you_mean
from simworld.persona import Persona

TAKEN = frozenset({"id", "step", "alive", "type", "row", "model", "unique_id", "pos", "agent"})
"""Names that the engine, Mesa or the record of a run give a meaning of their own."""


class _Cell:
    """Descriptor of one column: reads and writes the row of the agent at hand."""

    __slots__ = ("_name", "_spec")

    def __init__(self, spec: ColumnSpec) -> None:
        self._name = spec.name
        self._spec = spec

    def __get__(self, agent: Any, owner: type | None = None) -> Any:
        if agent is None:
            return self._spec
        column = agent._table.columns[self._name]
        if self._spec.categories:
            return self._spec.categories[column.item(agent.row)]
        return column.item(agent.row)

    def __set__(self, agent: Any, value: Any) -> None:
        agent._table.columns[self._name][agent.row] = self._spec.checked(value)


def _declare(cls: Any) -> None:
    inherited: dict[str, ColumnSpec] = {}
    for base in reversed(cls.__mro__[1:]):
        inherited.update(base.__dict__.get("columns", {}))
    own = declared_columns(cls)
    for name, spec in own.items():
        if name in TAKEN or any(name in base.__dict__ for base in (mesa.Agent, Agent, Entity)):
            raise ScenarioError(f"{cls.__name__}.{name}: the name is taken by the engine; choose another")
        setattr(cls, name, _Cell(spec))
    cls.columns = {**inherited, **own}


class Entity:
    """A thing in the world that is not an agent (a post, a claim, a good): one row of a table of its own.

    Annotated fields are columns, as for `Agent`; list the class in ``World.entities`` under the table's name.
    """

    columns: ClassVar[dict[str, ColumnSpec]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _declare(cls)

    def __init__(self, table: Any, row: int) -> None:
        self._table = table
        self.row = row
        """Row of the table, from 0; never reused."""


class Agent(mesa.Agent):
    """One persona agent. Annotated fields of a subclass are columns of the state table::

        class Person(sw.Agent):
            balance: float = 10.0
            mood: Literal["calm", "angry"] = "calm"

    Only columns are saved. ``unique_id`` is the row, from 0; a row is never reused. Handles are made when somebody
    asks for them, so a million agents that are only handled as columns cost no objects.
    """

    columns: ClassVar[dict[str, ColumnSpec]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _declare(cls)

    def __init__(self, model: Any, *args: Any, **values: Any) -> None:
        columns = {k: values.pop(k) for k in list(values) if k in self.columns}
        if values:
            wrong = next(iter(values))
            known = list(self.columns)
            hint = did_you_mean(wrong, known)
            raise ParameterError(f"{type(self).__name__} has no column {wrong!r}{hint}; it has {known}")
        self.row: int = model.new_row(type(self), columns)
        self._table = model.table
        super().__init__(model, *args)

    @classmethod
    def of_row(cls, model: Any, row: int) -> Agent:
        """Return a handle of an existing row and register it with the model."""
        agent = cls.__new__(cls)
        agent.row = row
        agent._table = model.table
        mesa.Agent.__init__(agent, model)
        return agent

    @property
    def persona(self) -> Persona | None:
        """The agent's persona, or None in a society without personas."""
        personas = self.model.personas
        return None if personas is None else personas[self.row]

    def remove(self) -> None:
        """Take the agent out of the society, with all its ties."""
        self.model.retire(self.row)
        super().remove()

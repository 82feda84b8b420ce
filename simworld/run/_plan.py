"""What a run is asked to do, fixed before it begins, and the inputs it is made from."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import polars as pl

from simworld.mind.llm import Asking
from simworld.persona import Persona
from simworld.schema import Record
from simworld.world import GraphData


class Cell(Record):
    """One value of one agent, set from outside."""

    agent: int
    column: str
    value: bool | int | float | str


class Cut(Record):
    """One tie, taken away from outside."""

    source: int
    target: int
    kind: str


class Intervention(Record):
    """What is changed from outside between two steps, where a fork leaves the run that it comes from."""

    step: int
    """Completed steps at that moment; events of it are recorded with the next step."""
    params: dict[str, Any] = {}
    """Parameters with new values."""
    minds: dict[int, str] = {}
    """New minds, by agent."""
    cells: tuple[Cell, ...] = ()
    """New values of agents' columns."""
    cuts: tuple[Cut, ...] = ()
    """Ties that are taken away."""

    def words(self) -> list[str]:
        """Return each change in a few words."""
        return [
            *(f"parameter {name} = {value!r:.80}" for name, value in self.params.items()),
            *(f"agent {agent} has the mind {mind}" for agent, mind in self.minds.items()),
            *(f"{cell.column} of agent {cell.agent} = {cell.value!r:.80}" for cell in self.cells),
            *(f"the {cut.kind} from {cut.source} to {cut.target} is cut" for cut in self.cuts),
        ]


class Fork(Record):
    """Where a run was forked from."""

    run: str
    """Name of the run's folder."""
    digest: str | None
    """Its digest; None when it was not finished."""
    step: int
    """The step after which the fork went its own way."""


class Plan(Record):
    """Everything that decides a run's result. Two runs of one plan have one digest (determinism level *exact*)."""

    scenario: str
    """Scenario spec, as for ``simworld run``."""
    scenario_class: str
    content_hash: str
    """sha256 over the scenario's files."""
    params: dict[str, Any]
    """Every parameter, defaults included."""
    seed: int
    steps: int
    """Steps asked for; a scenario may stop before."""
    mind: str
    """Who decides for agents that nothing else gives a mind: ``rules``, ``null``, ``human``, …"""
    models: tuple[str, ...] = ()
    """Language models, each with its share of the agents (``ollama/qwen3:0.3``) or without."""
    seats: dict[str, str] = {}
    """Minds of single agents, by id, or by a persona's id or name."""
    persona_minds: bool = True
    """Whether the mind that a persona names counts."""
    asking: Asking = Asking()
    """How language models are asked."""
    replicate: int = 0
    """Which replicate of one seed this is: another one has other samples of the same models."""
    is_replay: bool = False
    """Whether the models only repeat what is on the run's tape, which came from another run."""
    memory: dict[str, Any] = {}
    """Fields of `simworld.memory.MemorySettings` that differ from the scenario's own."""
    shuffle_personas: bool = False
    """Whether every mind plays the character of another agent: the control for what personas do."""
    seeds: dict[str, int] = {}
    """Seeds of their own for parts of the chance: ``personas``, ``graph``, ``schedule``."""
    null_runs: int = 0
    """Runs of the null policy that the findings are shown beside."""
    forked: Fork | None = None
    """The run this one was forked from."""
    interventions: tuple[Intervention, ...] = ()
    """What was changed on the way, in order of steps: a fork's, and those of the runs before it."""
    observers: tuple[str, ...]
    """Observers added to the scenario's own."""
    graph: str | None = None
    """Where the starting graph came from."""
    graph_nodes: int | None = None
    """Nodes of the starting graph."""
    cast: str | None = None
    """Where the personas came from; None when they were sampled or there are none."""
    state_every: int = 1
    """Steps between recorded states, which are the points a resume starts from; 0 records the first and the last."""
    record_events: bool = True

    def short_hash(self) -> str:
        """Return eight hex digits that name the plan."""
        later = ("memory", "shuffle_personas", "seeds", "null_runs", "forked", "interventions")
        without = {name for name in later if not getattr(self, name)}
        return hashlib.sha256(self.model_dump_json(exclude=without).encode()).hexdigest()[:8]


class Inputs(Record):
    """What the society was made from, kept in the run's folder so that the run can be executed again anywhere."""

    model_config = {**Record.model_config, "arbitrary_types_allowed": True}

    graph: GraphData | None = None
    personas: tuple[Persona, ...] | None = None

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return the inputs as frames by file name."""
        frames = {}
        if self.graph is not None:
            g = self.graph
            frames["inputs/graph.parquet"] = pl.DataFrame(
                {"source": g.sources.astype(np.int32), "target": g.targets.astype(np.int32), "weight": g.weights}
            )
            if g.labels is not None:
                frames["inputs/labels.parquet"] = pl.DataFrame({"label": g.labels}, schema={"label": pl.String})
        if self.personas is not None:
            rows = [(p.id, p.name, p.model_dump_json()) for p in self.personas]
            frames["inputs/personas.parquet"] = pl.DataFrame(rows, schema=["id", "name", "json"], orient="row")
        return frames


def plain(value: Any) -> Any:
    """Return a metric as something JSON can hold: numbers stay what they are, the rest becomes text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return math.nan  # one NaN for all: its sign depends on the processor
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, set | frozenset):
        value = sorted(value, key=repr)
    try:
        return json.dumps(value, sort_keys=True, default=_for_json)
    except (TypeError, ValueError):
        return _text(value)


def _for_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return value.item() if isinstance(value, np.generic) else _text(value)


def _text(value: Any) -> str:
    text = str(value)
    # An object without a text of its own shows its address, which is another one in every run.
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def metrics_frame(rows: list[tuple[int, dict[str, Any]]]) -> pl.DataFrame:
    """Return metrics by step, one column a metric; numeric where all values are numbers, else text."""
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns: dict[str, pl.Series] = {"step": pl.Series([t for t, _ in rows], dtype=pl.Int32)}
    for name in names:
        values = [row.get(name) for _, row in rows]
        kinds = {type(v) for v in values if v is not None}
        dtype: Any = pl.String
        if not kinds - {bool}:
            dtype = pl.Boolean if kinds else pl.Float64
        elif not kinds - {int} and all(abs(v) < 2**63 for v in values if v is not None):
            dtype = pl.Int64
        elif not kinds - {int, float, bool}:
            dtype, values = pl.Float64, [None if v is None else float(v) for v in values]
        else:
            values = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        columns[name] = pl.Series(values, dtype=dtype)
    return pl.DataFrame(columns)

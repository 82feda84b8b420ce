"""Preparing: a call becomes a plan and a society that is ready to run; a folder becomes the same society again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simworld.errors import CorruptRunError, ParameterError
from simworld.observe import Observer, observer
from simworld.persona import Persona, read_cast
from simworld.run._plan import Inputs, Plan
from simworld.run._store import Contents
from simworld.scenario import find_cast, load, resolve
from simworld.world import GraphData, PlainModel, World, checked_params


@dataclass(frozen=True)
class Prepared:
    """A society that is ready to run, and everything that made it."""

    name: str
    """Short name of the scenario, for folders."""
    plan: Plan
    inputs: Inputs
    society: Any
    observers: list[Observer]
    is_changed: bool = False
    """Whether the scenario's files differ from those the run began with."""


def prepare(
    scenario: str,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    mind: str = "rules",
    observers: Sequence[str] = (),
    graph: Any = None,
    cast: str | Path | Sequence[Persona] | None = None,
    state_every: int = 1,
    record_events: bool = True,
) -> Prepared:
    """Check a call and make its society; nothing is written.

    Raises:
        UsageError: anything about the call that cannot be right.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ParameterError(f"seed = {seed!r} is not an integer from 0 to 2**63 - 1")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 0):
        raise ParameterError(f"steps = {steps!r} is not a whole number of steps, 0 or more")
    if isinstance(state_every, bool) or not isinstance(state_every, int) or state_every < 0:
        raise ParameterError(f"state_every = {state_every!r} is not a whole number of steps, 0 or more")
    ref = resolve(scenario)
    cls = load(ref)
    personas, cast_source, notes = _cast(cast)
    society: Any
    if not isinstance(mind, str):
        raise ParameterError(f"a recorded run takes a mind by its label, got {mind!r:.80}")
    if issubclass(cls, World):
        checked_params(cls.Params, params or {})
        n_agents = (params or {}).get("n_agents", 1)
        if isinstance(n_agents, int) and n_agents < 1:
            raise ParameterError(f"n_agents = {n_agents} is no society; give 1 or more")
        society = cls(rng=seed, graph=graph, personas=personas, mind=mind, **dict(params or {}))
        if personas is not None and not cls.with_personas:
            raise ParameterError(f"scenario {ref.spec!r} has no personas; leave the cast out")
        society.notes[:0] = notes
        start: GraphData | None = society.start_graph
        inputs = Inputs(graph=start, personas=None if society.personas is None else tuple(society.personas))
        used = society.params.model_dump(mode="json")
        default_steps, own = cls.default_steps, cls.observers
    else:
        for what, value in (("graph", graph), ("cast", cast)):
            if value is not None:
                raise ParameterError(f"a plain Mesa model takes no {what}; leave it out")
        if mind != "rules":
            raise ParameterError(
                f"a plain Mesa model decides for itself; mind {mind!r} has nothing to do, leave it out"
            )
        society = PlainModel(cls, seed, dict(params or {}))
        mind = "own"
        inputs, start, used = Inputs(), None, society.params
        default_steps, own = 100, ()
    plan = Plan(
        scenario=ref.spec,
        scenario_class=cls.__name__,
        content_hash=ref.content_hash(),
        params=used,
        seed=seed,
        steps=default_steps if steps is None else steps,
        mind=mind,
        observers=tuple(observers),
        graph=start.source if start is not None else None,
        graph_nodes=start.n if start is not None else None,
        cast=cast_source,
        state_every=state_every,
        record_events=record_events,
    )
    for name, value in used.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"parameter {name} = {value!r:.80} cannot be written down as JSON: {error}") from error
    observing = make_observers(own, plan.observers)
    if isinstance(society, PlainModel):
        for one in observing:
            one.observe(society)  # raises if it needs what a plain model has not
    return Prepared(ref.name, plan, inputs, society, observing)


def make_observers(own: Sequence[Any], names: Sequence[str]) -> list[Observer]:
    """Return the scenario's own observers, then the named ones, each once."""
    made: dict[str, Observer] = {}
    for one in (*own, *names):
        instance = observer(one) if isinstance(one, str) else one()
        made.setdefault(instance.name, instance)
    return list(made.values())


def _cast(cast: str | Path | Sequence[Persona] | None) -> tuple[list[Persona] | None, str | None, list[str]]:
    if cast is None:
        return None, None, []
    if isinstance(cast, str | Path):
        path = find_cast(str(cast))
        read = read_cast(path)
        return list(read.personas), f"{path.name} sha256:{read.digest[:16]}", list(read.notes)
    return list(cast), "given in Python", []


def load_inputs(path: Path, plan: Plan, directed: bool) -> Inputs:
    """Read back what a run was made from."""
    contents = Contents(path)
    ties, labels, people = (contents.parquet(f"inputs/{name}.parquet") for name in ("graph", "labels", "personas"))
    graph = None
    if ties is not None:
        graph = GraphData(
            n=plan.graph_nodes or 0,
            sources=ties["source"].to_numpy().astype("int64"),
            targets=ties["target"].to_numpy().astype("int64"),
            weights=ties["weight"].to_numpy(),
            labels=None if labels is None else labels["label"].to_list(),
            directed=directed,
            source=plan.graph or "",
            notes=(),
        )
    personas = None if people is None else tuple(Persona.model_validate_json(j) for j in people["json"].to_list())
    return Inputs(graph=graph, personas=personas)


def prepare_again(path: Path) -> Prepared:
    """Make the society of an existing run again, from what its folder holds.

    Raises:
        UsageError: no run there.
        ScenarioError: its scenario cannot be found any more.
    """
    contents = Contents(path)
    try:
        plan = Plan.model_validate(contents.manifest["plan"])
    except (KeyError, ValueError) as error:
        raise CorruptRunError(f"{path / 'manifest.json'} has no readable plan: {error}") from error
    ref = resolve(plan.scenario)
    cls = load(ref)
    society: Any
    if issubclass(cls, World):
        inputs = load_inputs(path, plan, cls.directed)
        people = None if inputs.personas is None else list(inputs.personas)
        society = cls(rng=plan.seed, graph=inputs.graph, personas=people, mind=plan.mind, **plan.params)
        own: Sequence[Any] = cls.observers
    else:
        inputs, own = Inputs(), ()
        society = PlainModel(cls, plan.seed, dict(plan.params))
    society.notes[:] = contents.manifest.get("notes", [])
    is_changed = ref.content_hash() != plan.content_hash
    return Prepared(ref.name, plan, inputs, society, make_observers(own, plan.observers), is_changed)

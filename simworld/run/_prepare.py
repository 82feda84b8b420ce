"""Preparing: a call becomes a plan and a society that is ready to run; a folder becomes the same society again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simworld.errors import CorruptRunError, ParameterError
from simworld.mind.llm import Asking, Rehearsed, Service, Speak, Switchboard
from simworld.observe import Observer, observer
from simworld.persona import Persona, read_cast
from simworld.run._plan import Inputs, Intervention, Plan
from simworld.run._seats import Seating
from simworld.run._store import Contents
from simworld.run._vectors import Embedders, Unasked
from simworld.scenario import ScenarioRef, find_cast, load, resolve
from simworld.world import GraphData, PlainModel, World, checked_params, wants_memory

MOST_NULL_RUNS = 10_000


@dataclass(frozen=True)
class Loaded:
    """A scenario that was found, hashed and imported."""

    ref: ScenarioRef
    cls: type[Any]
    content_hash: str


def load_scenario(scenario: str) -> Loaded:
    """Find, hash and import a scenario.

    Raises:
        ScenarioError: it is not found, or its import fails.
    """
    ref = resolve(scenario)
    return Loaded(ref, load(ref), ref.content_hash())


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
    seating: Seating | None = None
    """Who decides for whom; None for a plain Mesa model."""
    embed: Embedders | None = None
    """Makes the embedder of the memory; None for a plain Mesa model."""
    replay_of: Path | None = None
    """The run whose tape is repeated, before it is copied."""
    fork_of: Path | None = None
    """The run that this one is forked from, before its steps are copied."""

    @property
    def board(self) -> Switchboard | None:
        """What connects with language models; None where there are none."""
        return None if self.seating is None or self.seating.book is None else self.seating.board

    def intervene(self) -> None:
        """Change from outside what the plan says is changed after the step just completed."""
        society = self.society
        for each in self.plan.interventions:
            if each.step != society.t or not each.words():
                continue
            self._reconfigure(each)
            for name, value in each.params.items():
                society.emit("intervention", data={"param": name, "value": value})
            for agent, label in each.minds.items():
                society.emit("intervention", agent=agent, data={"mind": label})
            society.intervene(
                [(cell.agent, cell.column, cell.value) for cell in each.cells],
                [(cut.source, cut.target, cut.kind) for cut in each.cuts],
            )
            society.restored()
            # A society that had come to its end may have a reason to go on.
            society.running = not society.finished()

    def intervene_again(self) -> None:
        """Say again what was changed earlier and is no state, to a society whose state was put back."""
        for each in self.plan.interventions:
            if each.step < self.society.t and each.words():
                self._reconfigure(each)

    def _reconfigure(self, each: Intervention) -> None:
        assert self.seating is not None  # a plain Mesa model cannot be forked
        self.society.interventions.append(each.step)
        minds = {agent: self.seating.mind(label, self.society) for agent, label in each.minds.items()}
        self.society.reconfigure(each.params, minds)
        if self.seating.book is not None:
            self.seating.book.params = self.society.params


def prepare(
    scenario: str,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    mind: str | None = None,
    models: Sequence[str] = (),
    seats: Mapping[str, str] | None = None,
    asking: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    replicate: int = 0,
    observers: Sequence[str] = (),
    graph: Any = None,
    cast: str | Path | Sequence[Persona] | None = None,
    shuffle_personas: bool = False,
    seeds: Mapping[str, int] | None = None,
    memory: Mapping[str, Any] | None = None,
    null_runs: int = 0,
    state_every: int = 1,
    record_events: bool = True,
    speak: Speak | None = None,
    rehearsed: Rehearsed | None = None,
    stand_in: str = "rules",
    loaded: Loaded | None = None,
) -> Prepared:
    """Check a call and make its society; nothing is written, and no model is asked.

    Args:
        scenario, seed, steps, observers, graph, cast, shuffle_personas, seeds, memory, null_runs, state_every,
            record_events: as for `simworld.run`.
        params: the scenario's parameters.
        mind: who decides for agents that neither a model, a seat nor their persona gives a mind; when it is given, the
            minds that personas name do not count.
        models: language models with or without shares (``"ollama/qwen3:0.3"``).
        seats: minds of single agents, by id or by a persona's id or name.
        asking: fields of `simworld.mind.llm.Asking`.
        service: fields of `simworld.mind.llm.Service`.
        replicate: which replicate of the seed this is.
        speak: how a person is asked; in the terminal by default.
        rehearsed: when given, models are not asked; their prompts are counted there.
        stand_in: the mind that answers in a rehearsal.
        loaded: the scenario, where it was loaded before; its files are then not looked at again.

    Raises:
        UsageError: anything about the call that cannot be right.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ParameterError(f"seed = {seed!r} is not an integer from 0 to 2**63 - 1")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 0):
        raise ParameterError(f"steps = {steps!r} is not a whole number of steps, 0 or more")
    if isinstance(state_every, bool) or not isinstance(state_every, int) or state_every < 0:
        raise ParameterError(f"state_every = {state_every!r} is not a whole number of steps, 0 or more")
    if isinstance(null_runs, bool) or not isinstance(null_runs, int) or not 0 <= null_runs <= MOST_NULL_RUNS:
        raise ParameterError(f"with_null = {null_runs!r} is no number of runs from 0 to {MOST_NULL_RUNS:,}")
    loaded = loaded or load_scenario(scenario)
    ref, cls = loaded.ref, loaded.cls
    personas, cast_source, notes = _cast(cast if cast is not None else getattr(cls, "starting_cast", None))
    society: Any
    if not isinstance(mind, str | None):
        raise ParameterError(f"a recorded run takes a mind by its label, got {mind!r:.80}")
    if isinstance(replicate, bool) or not isinstance(replicate, int) or not 0 <= replicate < 2**31:
        raise ParameterError(f"replicate = {replicate!r} is not a whole number from 0 to 2**31 - 1")
    how: Asking = checked_params(Asking, dict(asking or {}))
    reach: Service = checked_params(Service, dict(service or {}))
    if len({str(who) for who in seats or ()}) < len(seats or ()):
        raise ParameterError(f"an agent is given two minds in seats {seats!r:.80}; give it one")
    if not all(isinstance(one, str) for one in (*models, *(seats or {}).values())):
        raise ParameterError(f"models and minds are named by texts, got {[*models, *(seats or {}).values()]!r:.80}")
    plan = Plan(
        scenario=ref.spec,
        scenario_class=cls.__name__,
        content_hash=loaded.content_hash,
        params={},
        seed=seed,
        steps=0,
        mind=mind or "rules",
        models=tuple(models),
        seats={str(who): mind for who, mind in (seats or {}).items()},
        persona_minds=mind is None,
        asking=how,
        replicate=replicate,
        memory=dict(memory or {}),
        shuffle_personas=bool(shuffle_personas),
        seeds=dict(seeds or {}),
        null_runs=null_runs,
        observers=tuple(observers),
        cast=cast_source,
        state_every=state_every,
        record_events=record_events,
    )
    seating: Seating | None = None
    embed: Embedders | None = None
    if issubclass(cls, World):
        checked_params(cls.Params, params or {})
        n_agents = (params or {}).get("n_agents", 1)
        if isinstance(n_agents, int) and n_agents < 1:
            raise ParameterError(f"n_agents = {n_agents} is no society; give 1 or more")
        seating = Seating(
            plan, Switchboard(reach, speak=speak, is_waiting=True), rehearsed=rehearsed, stand_in=stand_in
        )
        embed = Embedders(reach)
        # A rehearsal asks nobody: what comes to mind may differ, what it costs does not.
        make = embed if rehearsed is None else Unasked(reach)
        society = cls(
            rng=seed, graph=graph, personas=personas, mind=seating, memory=plan.memory, embed=make,
            shuffle_personas=plan.shuffle_personas, seeds=plan.seeds, **dict(params or {}),
        )  # fmt: skip
        if personas is not None and not cls.with_personas:
            raise ParameterError(f"scenario {ref.spec!r} has no personas; leave the cast out")
        society.notes[:0] = notes
        start: GraphData | None = society.start_graph
        inputs = Inputs(graph=start, personas=None if society.personas is None else tuple(society.personas))
        used = society.params.model_dump(mode="json")
        if seating.book is None and reach.model_fields_set:
            # It may come from the environment, so a run by rules is not refused for it.
            said = ", ".join(sorted(reach.model_fields_set))
            society.notes.append(f"nobody here has a language model, so {said} has nothing to do")
        default_steps, own = society.planned_steps(), cls.observers
    else:
        for what, value in (
            ("graph", graph),
            ("cast", cast),
            ("model", models or None),
            ("seat", seats or None),
            ("memory", wants_memory(memory or {}) or None),
            ("shuffled persona", shuffle_personas or None),
            ("seed of a part", seeds or None),
            ("null policy", null_runs or None),
        ):
            if value is not None:
                raise ParameterError(f"a plain Mesa model takes no {what}; leave it out")
        if plan.mind != "rules":
            raise ParameterError(
                f"a plain Mesa model decides for itself; mind {mind!r} has nothing to do, leave it out"
            )
        society = PlainModel(cls, seed, dict(params or {}))
        plan = plan.model_copy(update={"mind": "own"})
        inputs, start, used = Inputs(), None, society.params
        default_steps, own = 100, ()
    plan = plan.model_copy(
        update={
            "params": used,
            "steps": default_steps if steps is None else steps,
            "graph": start.source if start is not None else None,
            "graph_nodes": start.n if start is not None else None,
        }
    )
    for name, value in used.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"parameter {name} = {value!r:.80} cannot be written down as JSON: {error}") from error
    observing = make_observers(own, plan.observers)
    for one in observing:
        # Raises if it needs what this society has not; the scenario's own observers know it.
        if isinstance(society, PlainModel) or one.name in plan.observers:
            one.observe(society)
    return Prepared(ref.name, plan, inputs, society, observing, seating=seating, embed=embed)


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


def prepare_again(
    path: Path,
    *,
    service: Mapping[str, Any] | None = None,
    only_tape: bool = False,
    speak: Speak | None = None,
    plan: Plan | None = None,
) -> Prepared:
    """Make the society of an existing run again, from what its folder holds.

    Args:
        path: the run's folder.
        service: fields of `simworld.mind.llm.Service` that differ from those the run was last given.
        only_tape: whether nothing but its tape may answer for language models and people.
        speak: how a person is asked.
        plan: another plan than the run's own, over the same inputs.

    Raises:
        UsageError: no run there.
        ScenarioError: its scenario cannot be found any more.
    """
    contents = Contents(path)
    if plan is None:
        try:
            plan = Plan.model_validate(contents.manifest["plan"])
        except (KeyError, ValueError) as error:
            raise CorruptRunError(f"{path / 'manifest.json'} has no readable plan: {error}") from error
    ref = resolve(plan.scenario)
    cls = load(ref)
    society: Any
    seating: Seating | None = None
    embed: Embedders | None = None
    if issubclass(cls, World):
        inputs = load_inputs(path, plan, cls.directed)
        people = None if inputs.personas is None else list(inputs.personas)
        reach: Service = checked_params(Service, {**service_in(contents.manifest), **(service or {})})
        seating = Seating(plan, Switchboard(reach, speak=speak, is_waiting=True, only_tape=only_tape or plan.is_replay))
        embed = Embedders(reach, path / "journal.sqlite", only_tape=only_tape or plan.is_replay)
        society = cls(
            rng=plan.seed, graph=inputs.graph, personas=people, mind=seating, memory=plan.memory, embed=embed,
            shuffle_personas=plan.shuffle_personas, seeds=plan.seeds, **plan.params,
        )  # fmt: skip
        own: Sequence[Any] = cls.observers
    else:
        inputs, own = Inputs(), ()
        society = PlainModel(cls, plan.seed, dict(plan.params))
    society.notes[:] = contents.manifest.get("notes", [])
    is_changed = ref.content_hash() != plan.content_hash
    observing = make_observers(own, plan.observers)
    return Prepared(ref.name, plan, inputs, society, observing, is_changed, seating, embed)


def service_in(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the models of a run, or its embedder alone, were last reached."""
    return dict(manifest.get("service") or manifest.get("memory", {}).get("service") or {})


def prepare_replay(path: Path, scenario: str, **changes: Any) -> Prepared:
    """Make the society of a run again for a new run that repeats its tape, with some of its plan changed.

    Args:
        path: the run with the tape.
        scenario: its scenario, as a user names it.
        changes: fields of `Plan` that may differ without changing what is asked: ``observers``, ``steps``,
            ``state_every``, ``record_events``.

    Raises:
        UsageError: the run has no language model, or more steps are wanted than it has.
    """
    again = prepare_again(path, only_tape=True)
    if resolve(scenario).spec != again.plan.scenario:
        raise ParameterError(f"the tape is of scenario {again.plan.scenario!r}, not {scenario!r}; name that one")
    if again.board is None:
        raise ParameterError(f"{path} was made without a language model or a person, so it has no tape; run it anew")
    last = max((step["step"] for step in Contents(path).steps()), default=0)
    steps = changes.setdefault("steps", last)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps <= last:
        raise ParameterError(f"steps = {steps!r}, but the tape has steps 0 to {last}; ask for one of them")
    if changes.get("state_every", 1) < 0:
        raise ParameterError(f"state_every = {changes['state_every']!r} is not a whole number of steps, 0 or more")
    if again.is_changed:
        again.society.notes.append("the scenario's files have changed since the tape was made")
    now = {"is_replay": True, "content_hash": resolve(scenario).content_hash()}
    plan = again.plan.model_copy(update={**changes, **now})
    observing = make_observers(type(again.society).observers, plan.observers)
    return Prepared(
        again.name, plan, again.inputs, again.society, observing, seating=again.seating, embed=again.embed,
        replay_of=path,
    )  # fmt: skip

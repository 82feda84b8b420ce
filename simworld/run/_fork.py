"""Forks: a run that leaves another one after some step, changed in something, under the same streams of chance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from simworld.errors import ParameterError, SimworldError, UsageError, did_you_mean
from simworld.mind.llm import Speak
from simworld.run._chain import by_step, check_chains
from simworld.run._frames import MEMORY, TIES, changes_of, empty, frame_of, memory_parts, state_at
from simworld.run._load import Run
from simworld.run._plan import Cell, Cut, Fork, Intervention, Plan
from simworld.run._prepare import Prepared, prepare_again
from simworld.run._store import Contents, Store


def prepare_fork(
    run: Run,
    step: int,
    *,
    params: Mapping[str, Any] | None = None,
    minds: Mapping[str | int, str] | None = None,
    cells: Mapping[tuple[str | int, str], Any] | None = None,
    cuts: Sequence[tuple[str | int, str | int] | tuple[str | int, str | int, str | None]] = (),
    steps: int | None = None,
    allow_changed: bool = False,
    service: Mapping[str, Any] | None = None,
    speak: Speak | None = None,
) -> Prepared:
    """Check a fork and make its society; nothing is written, and no model is asked.

    Args:
        run: the run that is forked.
        step: completed steps after which the fork goes its own way, 0 to the run's last.
        params: parameters with new values.
        minds: new minds, by agent: its id, or its persona's id or name.
        cells: new values of columns, by agent and column.
        cuts: ties that are taken away: two agents, and the kind where it is not the main one.
        steps: steps in all; those of the run when None.
        allow_changed: fork although the scenario's files have changed since the run began.
        service: fields of `simworld.mind.llm.Service` that differ from the run's own.
        speak: how a person is asked.

    Raises:
        UsageError: anything about the call that cannot be right.
    """
    plan = run.plan
    if plan.mind == "own":
        raise UsageError("a plain Mesa model cannot be forked: nobody can put back its state; write it as a scenario")
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= run.steps:
        raise ParameterError(f"step = {step!r}, but {run.path.name} has steps 0 to {run.steps}; fork at one of them")
    if any(each.step > step for each in plan.interventions):
        last = max(each.step for each in plan.interventions)
        raise ParameterError(f"{run.path.name} is a fork that was changed after step {last}; fork it there or later")
    wanted = plan.steps if steps is None else steps
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted <= step:
        raise ParameterError(f"steps = {wanted!r} leaves nothing to do after step {step}; give more steps")
    if run.checkpoint < 0:
        raise UsageError(f"{run.path} has no recorded state yet; resume it first")
    agents = _Agents(run, step)
    change = Intervention(
        step=step,
        params=dict(params or {}),
        minds={agents.find(who): mind for who, mind in (minds or {}).items()},
        cells=tuple(_cell(agents.find(who), column, value) for (who, column), value in (cells or {}).items()),
        cuts=tuple(_cut(agents, cut, run.manifest["tie_kinds"]) for cut in cuts),
    )
    if len(change.minds) < len(minds or {}) or len({(c.agent, c.column) for c in change.cells}) < len(change.cells):
        raise ParameterError("an agent is given two minds, or a column of it two values; give one")
    origin = Fork(run=run.path.resolve().name, digest=run.digest, step=step)
    forked = plan.model_copy(
        update={
            "steps": wanted, "is_replay": False, "forked": origin, "null_runs": 0,
            "interventions": (*plan.interventions, change),
        }
    )  # fmt: skip
    prepared = prepare_again(run.path, service=service, speak=speak, plan=forked)
    if prepared.is_changed:
        if not allow_changed:
            raise UsageError(
                f"the files of scenario {plan.scenario!r} have changed since {run.path} began, so a fork would differ "
                "by that too; put them back, start the run anew, or say --allow-changed"
            )
        prepared.society.notes.append(f"forked after step {step} with changed scenario files")
    _check(prepared, run, forked, change)
    words = "; ".join(change.words()) or "nothing is changed"
    prepared.society.notes.append(f"forked from {origin.run} after step {step}: {words}")
    return Prepared(
        prepared.name, forked, prepared.inputs, prepared.society, prepared.observers, prepared.is_changed,
        prepared.seating, prepared.embed, fork_of=run.path,
    )  # fmt: skip


def _check(prepared: Prepared, run: Run, forked: Plan, change: Intervention) -> None:
    """Refuse what could not be changed, before anything is written.

    Raises:
        UsageError: what is wrong with it.
    """
    society = prepared.society
    before = {name: value for each in run.plan.interventions for name, value in each.params.items()}
    society.changed_params({**before, **change.params})
    for label in change.minds.values():
        assert prepared.seating is not None
        society.mind_named(prepared.seating.mind(label, society))
    for cell in change.cells:
        society.checked_cell(cell.column, cell.value)
    if change.words():
        _try(run, forked, change)
    for cut in change.cuts:
        graph = run.graph(change.step, cut.kind)
        if not graph.has_edge(cut.source, cut.target):
            raise ParameterError(
                f"no {cut.kind} from {cut.source} to {cut.target} is there to be cut after step {change.step}"
            )


def put_back(prepared: Prepared, streams: Mapping[str, pl.DataFrame], done: int, globals_json: str) -> None:
    """Put a freshly made society into the state it had after a recorded step.

    Args:
        prepared: the society.
        streams: everything that was recorded.
        done: the step, whose state was recorded.
        globals_json: its `Globals`, as recorded.
    """
    society = prepared.society
    tables = {}
    for name, table in society.tables.items():
        changed = streams.get(name)
        if changed is None:
            tables[name] = table.rows(society.ids[:0])
        else:
            frame = state_at(changed, done)
            tables[name] = {c: frame[c].to_numpy() for c in frame.columns if c not in ("step", "id")}
    ties = streams.get("ties")
    later = empty(TIES) if ties is None else ties.filter(pl.col("step").is_between(1, done))
    log = streams.get("memory", empty(MEMORY)).filter(pl.col("step") <= done)
    society.restore(
        done, tables, changes_of(later, society.tie_kinds), globals_json, memory_parts(log), prepared.intervene_again
    )


def _try(run: Run, forked: Plan, change: Intervention) -> None:
    """Make the change to a society that is thrown away, so that what cannot be done is said before anything is written.

    Raises:
        UsageError: it cannot be done.
    """
    done = max(s for s in run.recorded_steps if s <= change.step)
    here = forked.model_copy(
        update={"interventions": (*forked.interventions[:-1], change.model_copy(update={"step": done}))}
    )
    trial = prepare_again(run.path, only_tape=True, plan=here)
    contents = Contents(run.path)
    globals_json = next(step["globals"] for step in contents.steps() if step["step"] == done)
    try:
        put_back(trial, contents.streams(), done, globals_json)
        cells = [(cell.agent, cell.column, cell.value) for cell in change.cells]
        trial.society.check_change(change.step, change.params, change.minds, cells)
        trial.intervene()
    except SimworldError as error:
        raise ParameterError(f"{'; '.join(change.words())}: {error}") from None
    except (ValueError, ArithmeticError, LookupError) as error:
        raise ParameterError(
            f"the scenario cannot go on with {'; '.join(change.words())}: {type(error).__name__}: {error}"
        ) from error


class _Agents:
    """Finds agents by id, or by a persona's id or name."""

    def __init__(self, run: Run, step: int) -> None:
        recorded = [s for s in run.recorded_steps if s <= step]
        self._n = run.state(max(recorded)).height
        self._names: dict[str, list[int]] = {}
        for i, person in enumerate((run.personas or [])[: self._n]):
            for name in {person.id, person.name}:
                self._names.setdefault(name, []).append(i)

    def find(self, who: str | int) -> int:
        """Return the agent that is meant.

        Raises:
            ParameterError: there is none, or several.
        """
        text = str(who)
        if text.isdecimal() and int(text) < self._n:
            return int(text)
        found = self._names.get(text, [])
        if len(found) > 1:
            raise ParameterError(f"{who!r} is the name of agents {found}; say which by its number")
        if not found:
            hint = did_you_mean(text, list(self._names))
            raise ParameterError(f"no agent {who!r} at that step{hint}; agents are 0 to {self._n - 1}, or a name")
        return found[0]


def _cell(agent: int, column: str, value: Any) -> Cell:
    # A text column may hold JSON, which on the command line reads as what it says.
    said = json.dumps(value) if isinstance(value, list | dict) else value
    try:
        return Cell(agent=agent, column=column, value=said)
    except ValidationError:
        raise ParameterError(
            f"column {column!r} of agent {agent}: {value!r:.80} is no number, text or boolean"
        ) from None


def _cut(agents: _Agents, cut: Sequence[Any], kinds: Sequence[str]) -> Cut:
    if len(cut) not in (2, 3):
        raise ParameterError(f"a tie that is cut is two agents, and its kind if it is not the main one, got {cut!r}")
    kind = cut[2] if len(cut) == 3 and cut[2] is not None else kinds[0]
    if kind not in kinds:
        raise ParameterError(f"no kind of tie {kind!r}{did_you_mean(kind, kinds)}; this run has {list(kinds)}")
    return Cut(source=agents.find(cut[0]), target=agents.find(cut[1]), kind=kind)


def copy_steps(source: Path, path: Path, until: int) -> int:
    """Copy a run's recorded steps up to its last state at or before ``until``, and return that step.

    Raises:
        CorruptRunError: they are not what was recorded.
    """
    contents = Contents(source)
    streams = contents.streams()
    check_chains(contents, streams)
    steps = contents.steps()
    last = max(step["step"] for step in steps if step["checkpoint"] and step["step"] <= until)
    parts = by_step(streams)
    store = Store(path)
    try:
        for step in steps:
            t = step["step"]
            if t > last:
                break
            frames = {name: frame_of(rows[t]) for name, rows in parts.items() if t in rows}
            store.commit(
                t, frames, checkpoint=bool(step["checkpoint"]), globals_json=step["globals"], metrics=step["metrics"],
                events_chain=step["events_chain"], state_chain=step["state_chain"],
            )  # fmt: skip
    finally:
        store.close()
    return int(last)

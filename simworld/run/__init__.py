"""run owns the run as evidence: plan, journal, segments, digest, resume, verify. It alone writes into ``runs/``."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simworld.errors import ParameterError, UsageError
from simworld.mind.llm import Speak
from simworld.persona import Persona
from simworld.run._again import Decided, decisions_at, decisions_of
from simworld.run._diff import Difference, Divergence, diff
from simworld.run._export import FORMATS, export
from simworld.run._fork import prepare_fork
from simworld.run._load import Run, load_run
from simworld.run._memories import (
    Asked,
    Found,
    Recall,
    agent_of,
    ask,
    embedder_named,
    memory_of,
    rebuild_index,
    recalls,
    remembered,
    said_by,
    search_memories,
)
from simworld.run._null import NULL_RUNS
from simworld.run._plan import Plan
from simworld.run._prepare import Loaded, Prepared, load_scenario, prepare, prepare_again, prepare_replay
from simworld.run._rehearse import Estimate, Interval, ModelEstimate, rehearse
from simworld.run._runner import Progress, execute, measured, start_run, versions
from simworld.run._store import write_whole
from simworld.run._verify import Check, Verification, verify

__all__ = [
    "FORMATS",
    "NULL_RUNS",
    "Asked",
    "Check",
    "Decided",
    "Difference",
    "Divergence",
    "Estimate",
    "Found",
    "Interval",
    "Loaded",
    "ModelEstimate",
    "Plan",
    "Prepared",
    "Progress",
    "Recall",
    "Run",
    "Verification",
    "agent_of",
    "ask",
    "continue_run",
    "decisions_at",
    "decisions_of",
    "diff",
    "embedder_named",
    "execute",
    "export",
    "fork",
    "load_run",
    "load_scenario",
    "measured",
    "memory_of",
    "prepare",
    "prepare_again",
    "prepare_fork",
    "prepare_replay",
    "rebuild_index",
    "recalls",
    "rehearse",
    "remembered",
    "resume",
    "run",
    "said_by",
    "search_memories",
    "start_run",
    "verify",
    "versions",
    "write_whole",
]


def run(
    scenario: str,
    *,
    seed: int = 0,
    steps: int | None = None,
    mind: str | None = None,
    model: str | Sequence[str] | Mapping[str, float] = (),
    seats: Mapping[str, str] | None = None,
    budget_usd: float | None = None,
    max_tokens_total: int | None = None,
    api_base: str | None = None,
    asking: Mapping[str, Any] | None = None,
    service: Mapping[str, Any] | None = None,
    replicate: int = 0,
    tape: str | Path | Run | None = None,
    observers: Sequence[str] = (),
    graph: Any = None,
    cast: str | Path | Sequence[Persona] | None = None,
    shuffle_personas: bool = False,
    seeds: Mapping[str, int] | None = None,
    memory: Mapping[str, Any] | bool | None = None,
    with_null: bool | int = False,
    out: str | Path | None = None,
    state_every: int = 1,
    record_events: bool = True,
    progress: Progress | None = None,
    **params: Any,
) -> Run:
    """Run a scenario to its end and return what it left.

    Args:
        scenario: a name (``"friendship_paradox"``), a folder, ``"path/to/my.py@MyWorld"``, or the dotted path of any
            Mesa model (``"mesa.examples.basic.schelling.model@Schelling"``).
        seed: one seed for everything, 0 to 2**63 - 1.
        steps: steps to take; the scenario's default when None.
        mind: who decides where nothing else says so: ``"rules"`` (the default), ``"null"``, ``"human"``; when it is
            given, minds that personas name do not count.
        model: a language model by its litellm string (``"ollama/qwen3"``), ``"local/NAME"`` for an OpenAI-compatible
            server at ``api_base``, or several, each with its share (``["gpt-4o-mini:0.7", "ollama/qwen3:0.3"]``, or
            a dict of shares).
        seats: minds of single agents, by id or by a persona's id or name: ``{"3": "human"}``.
        budget_usd: hard limit on the money the run may cost, US dollars.
        max_tokens_total: hard limit on its input and output tokens together.
        api_base: address of the server of ``local/`` models, or of all models when there is none.
        asking: how models are asked: fields of `simworld.mind.llm.Asking` (``card``, ``temperature``, ``max_tokens``,
            ``attempts``).
        service: how models are reached: fields of `simworld.mind.llm.Service` (``timeout_s``, ``concurrency``,
            ``requests_per_minute``, ``cache``, …).
        replicate: which replicate of the seed this is: another has other samples of the same models.
        tape: a run whose tape is repeated without asking anybody; seed and all that was asked come from it, only
            observers, fewer steps and what is recorded may differ.
        observers: observers added to the scenario's own, by name.
        graph: starting graph: a networkx graph, a file, ``"karate"``, ``"watts_strogatz_graph:k=6,p=0.1"``.
        cast: who lives there: a cast by name or file, or personas.
        shuffle_personas: whether every mind plays the character of another agent, while what is recorded keeps its own:
            the control for what personas do.
        seeds: seeds of their own for parts of the chance, ``personas``, ``graph``, ``schedule``; by default all follow
            from ``seed``.
        memory: how agents remember, where it differs from the scenario's own: fields of
            `simworld.memory.MemorySettings` (``policy``, ``embedder``, ``reflection``, …); False: not at all.
        with_null: also run the null policy on the same inputs, so many times (True: 20), and keep what it gives beside
            the findings (`Run.null_policy`).
        out: folder of the run; by default a new one under the lab's ``runs/``.
        state_every: steps between recorded states; 0 records the first and the last only.
        record_events: whether events are recorded.
        progress: called after every step with (step, steps, metrics).
        params: the scenario's parameters.

    Raises:
        UsageError: the call was wrong; nothing was written.
        RunError: a step failed, or a model did not answer; the folder says why and can be resumed.
        Interrupted: Ctrl-C, or a limit on spending was reached; the run can be resumed.
    """
    if tape is not None:
        source = tape if isinstance(tape, Run) else load_run(tape)
        if (
            source.plan.scenario != scenario
            or params
            or model
            or mind
            or seats
            or graph is not None
            or cast is not None
            or memory is not None
            or shuffle_personas
            or seeds
            or with_null
        ):
            raise ParameterError(
                f"a tape of {source.plan.scenario!r} is repeated as it was; give that scenario, observers, steps, and "
                "nothing else"
            )
        changes = {"observers": tuple(observers), "state_every": state_every, "record_events": record_events}
        prepared = prepare_replay(source.path, scenario, **changes, **({} if steps is None else {"steps": steps}))
    else:
        limits = {"budget_usd": budget_usd, "max_tokens_total": max_tokens_total}
        reach = {**(service or {}), **{name: value for name, value in limits.items() if value is not None}}
        if api_base is not None:
            reach["api_base"] = {**reach.get("api_base", {}), "": api_base}
        prepared = prepare(
            scenario, params=params, seed=seed, steps=steps, mind=mind,
            models=_models(model), seats=seats, asking=asking, service=reach,
            replicate=replicate, observers=observers, graph=graph, cast=cast,
            shuffle_personas=shuffle_personas, seeds=seeds,
            memory=_memory(memory), null_runs=NULL_RUNS if with_null is True else int(with_null),
            state_every=state_every, record_events=record_events,
        )  # fmt: skip
    path = start_run(prepared, None if out is None else Path(out))
    execute(prepared, path, progress)
    return Run(path)


def _memory(memory: Mapping[str, Any] | bool | None) -> Mapping[str, Any] | None:
    if isinstance(memory, bool):
        return None if memory else {"enabled": False}
    if memory is not None and not isinstance(memory, Mapping):
        raise ParameterError(f"memory takes its settings as a dict, or False for none, got {memory!r:.80}")
    return memory


def _models(model: str | Sequence[str] | Mapping[str, float]) -> Sequence[str]:
    if isinstance(model, Mapping):
        return [f"{name}:{share:.12g}" for name, share in model.items()]
    return (model,) if isinstance(model, str) else tuple(model or ())


def resume(
    run: str | Path | Run,
    *,
    allow_changed: bool = False,
    service: Mapping[str, Any] | None = None,
    speak: Speak | None = None,
    progress: Progress | None = None,
) -> Run:
    """Take an unfinished run to its end; a finished one is returned as it is.

    Args:
        run: the run.
        allow_changed: go on although the scenario's files have changed since it began (a mended mistake); the run
            then says so in its notes.
        service: what changes in how models are reached: a higher ``budget_usd``, another ``api_base``.
        speak: how a person is asked; in the terminal by default.
        progress: called after every step with (step, steps, metrics).

    Raises:
        UsageError: no such run, or another process is writing it.
    """
    found = run if isinstance(run, Run) else load_run(run)
    if found.status == "finished":
        return found
    execute(continue_run(found, allow_changed=allow_changed, service=service, speak=speak), found.path, progress)
    return Run(found.path)


def continue_run(
    run: Run, *, allow_changed: bool = False, service: Mapping[str, Any] | None = None, speak: Speak | None = None
) -> Prepared:
    """Make the society of an unfinished run again, ready to go on; arguments as for `resume`.

    Raises:
        UsageError: the scenario's files have changed, or its models cannot be reached.
    """
    prepared = prepare_again(run.path, service=service, speak=speak)
    if prepared.is_changed:
        if not allow_changed:
            raise UsageError(
                f"the files of scenario {prepared.plan.scenario!r} have changed since {run.path} began, so its end "
                "may not fit its beginning; put them back, start the run anew, or say --allow-changed"
            )
        prepared.society.notes.append(f"resumed after step {run.checkpoint} with changed scenario files")
    return prepared


def fork(
    run: str | Path | Run,
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
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run on from a step of another run, with something changed, under the same streams of chance.

    The steps up to there are the other run's. Under rules whatever does not depend on the change comes out the same; a
    language model that is told the same word for word at the same position gives the answer it gave then, unasked and
    unpaid, and is asked where it is told something else.

    Args:
        run: the run that is forked; it stays as it is.
        step: completed steps after which the fork goes its own way.
        params: parameters with new values; what only mattered when the society was made stays made.
        minds: new minds, by agent (id, or a persona's id or name): ``{"3": "null", "Odile": "ollama/qwen3"}``.
        cells: new values of columns, by agent and column: ``{("3", "balance"): 0.0}``.
        cuts: ties that are taken away: ``[("3", "5")]``, with the kind where it is not the main one.
        steps: steps in all; those of the run when None.
        allow_changed: fork although the scenario's files have changed since the run began.
        service: what changes in how models are reached: a ``budget_usd``, another ``api_base``.
        speak: how a person is asked; in the terminal by default.
        out: folder of the fork; by default a new one under the lab's ``runs/``.
        progress: called after every step with (step, steps, metrics).

    Raises:
        UsageError: the call was wrong; nothing was written.
        RunError, Interrupted: as for `run`.
    """
    found = run if isinstance(run, Run) else load_run(run)
    prepared = prepare_fork(
        found, step, params=params, minds=minds, cells=cells, cuts=cuts, steps=steps, allow_changed=allow_changed,
        service=service, speak=speak,
    )  # fmt: skip
    path = start_run(prepared, None if out is None else Path(out))
    execute(prepared, path, progress)
    return Run(path)


class _CallableRoom(types.ModuleType):
    """The import system binds the room to the name ``simworld.run``; calling it is calling `run`."""

    def __call__(self, *args: Any, **named: Any) -> Run:
        return run(*args, **named)


sys.modules[__name__].__class__ = _CallableRoom

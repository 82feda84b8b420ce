"""run owns the run as evidence: plan, journal, segments, digest, resume, verify. It alone writes into ``runs/``."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simworld.errors import UsageError
from simworld.persona import Persona
from simworld.run._export import FORMATS, export
from simworld.run._load import Run, load_run
from simworld.run._plan import Plan
from simworld.run._prepare import Prepared, prepare, prepare_again
from simworld.run._runner import Progress, execute, start_run
from simworld.run._verify import Check, Verification, verify

__all__ = [
    "FORMATS",
    "Check",
    "Plan",
    "Prepared",
    "Progress",
    "Run",
    "Verification",
    "execute",
    "export",
    "load_run",
    "prepare",
    "prepare_again",
    "resume",
    "run",
    "start_run",
    "verify",
]


def run(
    scenario: str,
    *,
    seed: int = 0,
    steps: int | None = None,
    mind: str = "rules",
    observers: Sequence[str] = (),
    graph: Any = None,
    cast: str | Path | Sequence[Persona] | None = None,
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
        mind: ``"rules"`` or ``"null"``.
        observers: observers added to the scenario's own, by name.
        graph: starting graph: a networkx graph, a file, ``"karate"``, ``"watts_strogatz_graph:k=6,p=0.1"``.
        cast: who lives there: a cast by name or file, or personas.
        out: folder of the run; by default a new one under the lab's ``runs/``.
        state_every: steps between recorded states; 0 records the first and the last only.
        record_events: whether events are recorded.
        progress: called after every step with (step, steps, metrics).
        params: the scenario's parameters.

    Raises:
        UsageError: the call was wrong; nothing was written.
        RunError: a step failed; the folder says why.
        Interrupted: Ctrl-C; the run can be resumed.
    """
    prepared = prepare(
        scenario, params=params, seed=seed, steps=steps, mind=mind, observers=observers, graph=graph, cast=cast,
        state_every=state_every, record_events=record_events,
    )  # fmt: skip
    path = start_run(prepared, None if out is None else Path(out))
    execute(prepared, path, progress)
    return Run(path)


def resume(run: str | Path | Run, *, allow_changed: bool = False, progress: Progress | None = None) -> Run:
    """Take an unfinished run to its end; a finished one is returned as it is.

    Args:
        run: the run.
        allow_changed: go on although the scenario's files have changed since it began (a mended mistake); the run
            then says so in its notes.
        progress: called after every step with (step, steps, metrics).

    Raises:
        UsageError: no such run, or another process is writing it.
    """
    found = run if isinstance(run, Run) else load_run(run)
    if found.status == "finished":
        return found
    prepared = prepare_again(found.path)
    if prepared.is_changed:
        if not allow_changed:
            raise UsageError(
                f"the files of scenario {prepared.plan.scenario!r} have changed since {found.path} began, so its end "
                "may not fit its beginning; put them back, start the run anew, or say --allow-changed"
            )
        prepared.society.notes.append(f"resumed after step {found.checkpoint} with changed scenario files")
    execute(prepared, found.path, progress)
    return Run(found.path)


class _CallableRoom(types.ModuleType):
    """The import system binds the room to the name ``simworld.run``; calling it is calling `run`."""

    def __call__(self, *args: Any, **named: Any) -> Run:
        return run(*args, **named)


sys.modules[__name__].__class__ = _CallableRoom

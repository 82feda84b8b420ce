"""A step of a recorded run repeated, to see what agents were asked in it: what each observed, recalled, answered."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from enum import Enum
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

from simworld.errors import ScenarioError, SimworldError, UsageError
from simworld.memory import Recollection
from simworld.mind import Answers, Question
from simworld.run._fork import put_back
from simworld.run._frames import frames_of
from simworld.run._load import Run
from simworld.run._prepare import prepare_again
from simworld.run._store import Contents
from simworld.run._tape import SqliteTape
from simworld.schema import Refusal
from simworld.world import World

AT_ONCE = 20_000
"""Decisions of a step that are held at most; arbitrary, some ten megabytes."""


@dataclass(frozen=True)
class Decided:
    """One decision of one agent, with what it was made from."""

    step: int
    agent: int
    decision: str
    """Class name."""
    purpose: str
    occurrence: int
    """How often the agent was asked this before in the step."""
    mind: str
    """Label of the mind that decided."""
    observation: Any
    """What the agent saw, as plain data."""
    recalled: tuple[Mapping[str, Any], ...]
    """Memories that went with the question, best first: id, score, and the parts of the score by name."""
    answer: Mapping[str, Any] | None
    """Fields of the decision; None for a refusal."""
    refusal: str
    """Why the answer could not be used; empty for a decision."""


def decisions_at(run: Run, step: int, agents: Collection[int] | None = None) -> list[Decided]:
    """Return what agents decided in a step, in the order in which they were asked.

    No run records what its agents saw, since the run repeats itself: the state before the step is put back, and the
    step taken again. Answers of language models and people come from the tape; nothing is asked.

    Args:
        run: the run; its folder stays as it is.
        step: the step, 1 or later.
        agents: whose decisions are wanted; everybody's when None.

    Raises:
        UsageError: no such step, the step cannot be repeated, or the scenario's files have changed and it comes out
            otherwise now.
    """
    _check_step(run, step)
    with contextlib.closing(decisions_of(run, step, step, agents)) as steps:
        return next(steps)[1]


def decisions_of(
    run: Run, first: int, last: int, agents: Collection[int] | None = None
) -> Generator[tuple[int, list[Decided]]]:
    """Yield (step, what agents decided in it) from one step to another, repeating the run once; see `decisions_at`.

    Args:
        run: the run; its folder stays as it is.
        first: the first step, 1 or later.
        last: the last step, which is yielded too.
        agents: whose decisions are wanted; everybody's when None.

    Raises:
        UsageError: as `decisions_at`, when the first step at fault is reached.
    """
    _check_step(run, first)
    _check_step(run, last)
    contents = Contents(run.path)
    streams = contents.streams()
    globals_of = {each["step"]: each["globals"] for each in contents.steps()}
    done = max(s for s in run.recorded_steps if s < first)
    with contextlib.ExitStack() as at_the_end:
        step = first
        try:
            prepared = prepare_again(run.path, only_tape=True)
            society = prepared.society
            if not isinstance(society, World):
                raise UsageError("a plain Mesa model decides by itself; what its agents saw is not known")
            if prepared.board is not None:
                tape = SqliteTape(run.path / "journal.sqlite", replicate=prepared.plan.replicate, is_read_only=True)
                at_the_end.callback(tape.close)
                at_the_end.callback(prepared.board.close)
                prepared.board.keep(tape)
            if prepared.embed is not None:
                at_the_end.callback(prepared.embed.close)
            society.drain()
            if done > 0:
                put_back(prepared, streams, done, globals_of[done])
                society.drain()
            prepared.intervene()
            while society.t < first - 1:
                society.step()
                society.drain()
                prepared.intervene()
            for step in range(first, last + 1):
                found: list[Decided] = []
                society.witness = _Witness(step, agents, found)
                society.step()
                made = society.drain()
                if prepared.is_changed and "events" in streams:
                    now = frames_of(made, society.tie_kinds)["events"].polars()
                    if not now.equals(streams["events"].filter(pl.col("step") == step), null_equal=True):
                        raise UsageError(
                            f"the files of {run.plan.scenario} have changed since, and step {step} comes out otherwise "
                            "now; what agents saw then is not known"
                        )
                yield step, found
                prepared.intervene()
        except (UsageError, ScenarioError):
            raise
        except SimworldError as error:
            raise UsageError(f"step {step} of {run.path.name} cannot be repeated: {error}") from error
        except Exception as error:  # a scenario's own code, which may be another by now
            raise UsageError(
                f"step {step} of {run.path.name} cannot be repeated: {type(error).__name__}: {error}"
            ) from error


def _check_step(run: Run, step: Any) -> None:
    if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= run.steps:
        raise UsageError(f"no decisions in step {step!r}; this run has steps 1 to {run.steps}")


class _Witness:
    """Keeps every decision it hears of."""

    def __init__(self, step: int, agents: Collection[int] | None, found: list[Decided]) -> None:
        self._step = step
        self._agents = None if agents is None else np.asarray(sorted(agents), np.int64)
        self._found = found

    def __call__(self, question: Question, answers: Answers, labels: Sequence[str]) -> None:
        """Hear of the answers to one question."""
        ids = question.ids
        wanted = np.arange(len(ids)) if self._agents is None else np.flatnonzero(np.isin(ids, self._agents))
        wanted = wanted[: max(AT_ONCE - len(self._found), 0)]
        if not len(wanted):
            return
        seen = dict(enumerate(question.observations())) if len(wanted) > 1 else None
        occurrences = np.broadcast_to(np.asarray(question.occurrences), len(ids))
        for at in wanted.tolist():
            answer = answers[at]
            is_refused = isinstance(answer, Refusal)
            observed = seen[at] if seen is not None else next(iter(question.only(wanted).observations()))
            memories = None if question.memories is None else question.memories[at]
            self._found.append(Decided(
                self._step, int(ids[at]), question.decision.__name__, question.purpose, int(occurrences[at]),
                labels[at], plain(observed), _recalled(memories), None if is_refused else plain(answer),
                f"{answer.field}: {answer.reason}" if is_refused else "",
            ))  # fmt: skip


def _recalled(memories: Any) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(memories, Recollection):
        return ()
    return tuple(
        {"id": int(each.memory.id), "score": float(each.score), "parts": plain(each.parts)} for each in memories.found
    )


def plain(value: Any) -> Any:
    """Return what an agent saw as plain data: dicts, lists, numbers, texts; no NaN."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(each) for name, each in asdict(value).items()}
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(each) for each in value), key=repr)
    return str(value)

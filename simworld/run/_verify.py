"""Verification: are the files what was written, do they hash to the digest, does the run repeat itself?"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from simworld.errors import CorruptRunError, SimworldError, TapeError
from simworld.run._chain import by_step, check_chains
from simworld.run._frames import Frame
from simworld.run._plan import Plan
from simworld.run._prepare import Prepared, prepare_again
from simworld.run._recorder import Recorder, digest_of
from simworld.run._runner import Progress
from simworld.run._store import Contents
from simworld.run._tape import SqliteTape


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    what: str
    ok: bool
    detail: str
    difference: str = ""
    """Where it helps: what was asked then and now, as a unified diff."""


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification; true when every check passed."""

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return all(c.ok for c in self.checks)

    def __str__(self) -> str:
        lines = [f"{'ok      ' if c.ok else 'MISMATCH'}  {c.what}: {c.detail}\n{c.difference}" for c in self.checks]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


class _Divergence(Exception):
    """The repeated run differs from the recorded one."""


def verify(path: str | Path, *, again: bool = True, progress: Progress | None = None) -> Verification:
    """Check a run.

    Args:
        path: the run's folder.
        again: also execute it again from its inputs and compare every step.
        progress: told of every repeated step.
    """
    path = Path(path)
    contents = Contents(path)
    checks: list[Check] = []
    try:
        contents.check_files()
        n = len(contents.segments()) + len(contents.manifest["files"])
        checks.append(Check("files", True, f"{n} files are what was written"))
    except CorruptRunError as error:
        checks.append(Check("files", False, str(error)))
    if "service" in contents.manifest:
        checks.append(_taped(contents))
    streams: dict[str, pl.DataFrame] | None = None
    try:
        streams = contents.streams()
        checks.append(_content(contents, streams))
    except CorruptRunError as error:
        checks.append(Check("content", False, str(error)))
    if again:
        checks.append(_again(path, contents, streams, progress))
    return Verification(tuple(checks))


def _taped(contents: Contents) -> Check:
    try:
        with contextlib.closing(SqliteTape(contents.path / "journal.sqlite", is_read_only=True)) as tape:
            calls = tape.check(contents.manifest.get("tape") if contents.is_finished else None)
    except CorruptRunError as error:
        return Check("tape", False, str(error))
    return Check("tape", True, f"{calls} calls are what was said and answered")


class _NoNetwork:
    """Refuses every new connection of the thread that is inside: what is repeated must come from the folder alone."""

    _names = ("connect", "connect_ex")
    _lock = threading.Lock()
    _inside: ClassVar[set[int]] = set()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                for name in self._names:
                    setattr(socket.socket, name, _refusing(getattr(socket.socket, name), self._inside))
            self._inside.add(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside.discard(threading.get_ident())
            if not self._inside:
                for name in self._names:
                    own = getattr(socket.socket, name).__wrapped__
                    if own is getattr(socket.socket.__base__, name):
                        delattr(socket.socket, name)
                    else:
                        setattr(socket.socket, name, own)


def _refusing(connect: Any, inside: set[int]) -> Any:
    @functools.wraps(connect)
    def refuse(self: socket.socket, address: Any) -> Any:
        if threading.get_ident() in inside:
            raise ConnectionRefusedError(f"a run that is executed again may not reach {address!r}")
        return connect(self, address)

    return refuse


def _content(contents: Contents, streams: Mapping[str, pl.DataFrame]) -> Check:
    events, state = check_chains(contents, streams)
    if not contents.is_finished:
        steps = len(contents.steps())
        return Check("content", True, f"{steps} steps recorded so far hash to their chain; the run is not finished")
    metrics, findings = contents.parquet("metrics.parquet"), contents.parquet("findings.parquet")
    if metrics is None or findings is None:
        raise CorruptRunError(f"{contents.path / 'manifest.json'} names no metrics or findings")
    found = digest_of(events, state, metrics, findings)["digest"]
    if found != contents.manifest["digest"]:
        return Check("content", False, f"it hashes to {found}, the manifest says {contents.manifest['digest']}")
    return Check("content", True, f"it hashes to the digest {found}")


class _Comparison:
    """A sink that compares each step with what was recorded, and stops at the first difference."""

    def __init__(self, contents: Contents, streams: Mapping[str, pl.DataFrame] | None) -> None:
        self._steps = {s["step"]: s for s in contents.steps()}
        self._streams = None if streams is None else by_step(streams)
        self.last = max(self._steps, default=-1)

    def commit(
        self, t: int, frames: Mapping[str, Frame], *, metrics: str, events_chain: str, state_chain: str, **_: Any
    ) -> None:
        """Compare one step."""
        recorded = self._steps.get(t)
        if recorded is None:
            raise _Divergence(f"the run has no step {t}, the repetition has")
        if (events_chain, state_chain) != (recorded["events_chain"], recorded["state_chain"]):
            raise _Divergence(f"step {t} differs: {self._where(t, frames)}")
        if metrics != recorded["metrics"]:
            ours, theirs = json.loads(metrics), json.loads(recorded["metrics"])
            name = next((k for k in {**theirs, **ours} if repr(ours.get(k)) != repr(theirs.get(k))), "")
            raise _Divergence(f"step {t} differs: metric {name} is {ours.get(name)!r}, recorded {theirs.get(name)!r}")

    def _where(self, t: int, frames: Mapping[str, Frame]) -> str:
        if self._streams is None:
            return "its files cannot be compared row by row"
        for name, frame in frames.items():
            ours = frame.polars()
            theirs = self._streams.get(name, {}).get(t)
            theirs = ours.clear() if theirs is None else theirs
            if ours.equals(theirs, null_equal=True):
                continue
            a, b = ours.rows(), theirs.rows()
            at = next(
                (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if repr(x) != repr(y)), min(len(a), len(b))
            )
            mine = a[at] if at < len(a) else "no such row"
            kept = b[at] if at < len(b) else "no such row"
            return f"row {at} of its {name} is {mine}, recorded {kept}"
        return "its Globals, or whether it goes on, are others"


def _again(
    path: Path, contents: Contents, streams: Mapping[str, pl.DataFrame] | None, progress: Progress | None
) -> Check:
    what, changed = "run again", ""
    try:
        with _NoNetwork(), contextlib.ExitStack() as at_the_end:
            prepared: Prepared = prepare_again(path, only_tape=True)
            if prepared.is_changed:
                changed = " (the scenario's files have changed since)"
            tape: SqliteTape | None = None
            if prepared.board is not None:
                tape = SqliteTape(path / "journal.sqlite", replicate=prepared.plan.replicate, is_read_only=True)
                at_the_end.callback(tape.close)
                at_the_end.callback(prepared.board.close)
                prepared.board.keep(tape)
            detail = _repeat(prepared, contents, streams, progress)
            if tape is not None:
                detail += f", {_answers_agree(tape, contents)} answers from the tape"
        return Check(what, True, f"{detail}{changed}")
    except _Divergence as difference:
        return Check(what, False, f"{difference}{changed}")
    except TapeError as error:
        return Check(what, False, f"{error}{changed}", error.difference)
    except SimworldError as error:
        return Check(what, False, str(error))
    except Exception as error:  # noqa: BLE001 - a scenario's own code runs here; whatever it raises is the finding
        return Check(what, False, f"it raises {type(error).__name__}: {error}{changed}")


def _repeat(
    prepared: Prepared,
    contents: Contents,
    streams: Mapping[str, pl.DataFrame] | None,
    progress: Progress | None,
) -> str:
    """Take every step again, comparing each; return in words what agreed."""
    plan: Plan = prepared.plan
    sink = _Comparison(contents, streams)
    society = prepared.society
    recorder = Recorder(plan, society, prepared.observers, sink)
    try:
        recorder.take()
        prepared.intervene()
        while society.t < min(plan.steps, sink.last) and society.running:
            society.step()
            measured = recorder.take()
            prepared.intervene()
            if progress is not None:
                progress(society.t, plan.steps, measured)
        recorder.flush()
    finally:
        recorder.close()
    if society.t < sink.last:
        raise _Divergence(f"it stopped after step {society.t}, the recorded run went on to {sink.last}")
    if not contents.is_finished:
        return f"every recorded step up to {sink.last} repeats itself"
    digest = recorder.conclude()[2]["digest"]
    if digest != contents.manifest["digest"]:
        raise _Divergence(f"the findings differ: digest {digest}, recorded {contents.manifest['digest']}")
    return f"{society.t} steps give the same digest"


def _answers_agree(tape: SqliteTape, contents: Contents) -> int:
    """Return how many answers were used, if each turned out as it was counted then."""
    counted = {tuple(row[:3]): row[3:] for row in tape.answers().iter_rows()} if contents.is_finished else None
    now: dict[tuple[int, str, str], tuple[int, ...]] = {}
    for tally in tape.tallies:
        before = now.get(tally[:3], (0,) * 5)
        now[tally[:3]] = tuple(a + b for a, b in zip(before, tally[3:], strict=True))
    if counted is not None and counted != now:
        step, model, decision = min(key for key in {*counted, *now} if counted.get(key) != now.get(key))
        raise _Divergence(f"the answers of {model} to {decision} in step {step} turned out otherwise than was counted")
    return sum(each[0] for each in now.values())

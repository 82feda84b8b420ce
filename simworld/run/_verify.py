"""Verification: are the files what was written, do they hash to the digest, does the run repeat itself?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import CorruptRunError, SimworldError
from simworld.run._chain import by_step, check_chains
from simworld.run._frames import Frame
from simworld.run._plan import Plan
from simworld.run._prepare import Prepared, prepare_again
from simworld.run._recorder import Recorder, digest_of
from simworld.run._runner import Progress
from simworld.run._store import Contents


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    what: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """The outcome of a verification; true when every check passed."""

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return all(c.ok for c in self.checks)

    def __str__(self) -> str:
        return "\n".join(f"{'ok      ' if c.ok else 'MISMATCH'}  {c.what}: {c.detail}" for c in self.checks)

    __repr__ = __str__


class _Divergence(Exception):
    """The repeated run differs from the recorded one."""


def verify(path: Path, *, again: bool = True, progress: Progress | None = None) -> Verification:
    """Check a run.

    Args:
        path: the run's folder.
        again: also execute it again from its inputs and compare every step.
        progress: told of every repeated step.
    """
    contents = Contents(path)
    checks: list[Check] = []
    try:
        contents.check_files()
        n = len(contents.segments()) + len(contents.manifest["files"])
        checks.append(Check("files", True, f"{n} files are what was written"))
    except CorruptRunError as error:
        checks.append(Check("files", False, str(error)))
    streams: dict[str, pl.DataFrame] | None = None
    try:
        streams = contents.streams()
        checks.append(_content(contents, streams))
    except CorruptRunError as error:
        checks.append(Check("content", False, str(error)))
    if again:
        checks.append(_again(path, contents, streams, progress))
    return Verification(tuple(checks))


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
        prepared: Prepared = prepare_again(path)
        plan: Plan = prepared.plan
        if prepared.is_changed:
            changed = " (the scenario's files have changed since)"
        sink = _Comparison(contents, streams)
        society = prepared.society
        recorder = Recorder(plan, society, prepared.observers, sink)
        try:
            recorder.take()
            while society.t < min(plan.steps, sink.last) and society.running:
                society.step()
                measured = recorder.take()
                if progress is not None:
                    progress(society.t, plan.steps, measured)
            recorder.flush()
        finally:
            recorder.close()
        if society.t < sink.last:
            return Check(
                what, False, f"it stopped after step {society.t}, the recorded run went on to {sink.last}{changed}"
            )
        if not contents.is_finished:
            return Check(what, True, f"every recorded step up to {sink.last} repeats itself{changed}")
        digest = recorder.conclude()[2]["digest"]
        if digest != contents.manifest["digest"]:
            return Check(
                what, False, f"the findings differ: digest {digest}, recorded {contents.manifest['digest']}{changed}"
            )
        return Check(what, True, f"{society.t} steps give the same digest{changed}")
    except _Divergence as difference:
        return Check(what, False, f"{difference}{changed}")
    except SimworldError as error:
        return Check(what, False, str(error))
    except Exception as error:  # noqa: BLE001 - a scenario's own code runs here; whatever it raises is the finding
        return Check(what, False, f"it raises {type(error).__name__}: {error}{changed}")

"""Recorder: takes what each step changed, links it into the hash chains, hands it to a folder or a comparison."""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import polars as pl

from simworld.observe import Finding, Observer, observer_names
from simworld.run._frames import Frame, chained, events_frame, frame_of, frames_of, update_hash
from simworld.run._plan import Plan, metrics_frame, plain
from simworld.world import StepRecord

STEPS_BEHIND = 4
"""Steps the recording thread may be behind; arbitrary, bounds what waits in memory."""


class Society(Protocol):
    """What can be run: a `simworld.World`, or a plain Mesa model behind its adapter."""

    running: bool

    @property
    def t(self) -> int: ...
    @property
    def tie_kinds(self) -> tuple[str, ...]: ...
    def step(self) -> None: ...
    def drain(self, *, state: bool = True) -> StepRecord: ...
    def metrics(self) -> Mapping[str, Any]: ...


class Sink(Protocol):
    """Where recorded steps go."""

    def commit(
        self,
        t: int,
        frames: Mapping[str, Frame],
        *,
        checkpoint: bool,
        globals_json: str,
        metrics: str,
        events_chain: str,
        state_chain: str,
    ) -> None: ...


class Recorder:
    """Records one society under one plan.

    Frames, hashes and the journal are the work of one thread beside the society's, a few steps behind at most: what it
    has not acknowledged when the process dies is computed again. An error of its shows at the next `take` or `flush`.
    """

    def __init__(
        self, plan: Plan, society: Any, observers: Sequence[Observer], sink: Sink, *, beside: bool = True
    ) -> None:
        """
        Args:
            plan: the run's plan.
            society: what is run.
            observers: what measures it.
            sink: where steps go.
            beside: whether a thread beside the society's does it; where nothing waits for a disk, as in a campaign of
                short runs, handing over costs more than it gains.
        """
        self._plan = plan
        self._society = society
        self._observers = observers
        self._sink = sink
        self._writer = ThreadPoolExecutor(1, "simworld-recorder") if beside else None
        self._behind: deque[Future[None]] = deque()
        self._failed = False
        self.events_chain = ""
        self.state_chain = ""
        self.metrics: list[tuple[int, dict[str, Any]]] = []

    def continue_from(self, events_chain: str, state_chain: str, metrics: list[tuple[int, dict[str, Any]]]) -> None:
        """Take up the chains and the metrics of the steps recorded before."""
        self.events_chain, self.state_chain, self.metrics = events_chain, state_chain, metrics

    def take(self) -> dict[str, Any]:
        """Measure and record the step just completed (or the start); return its metrics."""
        plan, society = self._plan, self._society
        t = society.t
        every = plan.state_every
        checkpoint = t == 0 or t >= plan.steps or not society.running or (every > 0 and t % every == 0)
        measured = {name: plain(v) for name, v in society.metrics().items()}
        for observer in self._observers:
            for name, value in observer.observe(society).items():
                measured[f"{observer.name}.{name}"] = plain(value)
        record = society.drain(state=checkpoint)
        if self._writer is None:
            self._write(record, checkpoint, measured)
        else:
            while len(self._behind) >= STEPS_BEHIND or (self._behind and self._behind[0].done()):
                self._behind.popleft().result()
            self._behind.append(self._writer.submit(self._write, record, checkpoint, measured))
        self.metrics.append((t, measured))
        return measured

    def _write(self, record: StepRecord, checkpoint: bool, measured: Mapping[str, Any]) -> None:
        if self._failed:
            return
        try:
            frames = frames_of(record, self._society.tie_kinds)
            if not self._plan.record_events:
                frames["events"] = events_frame(record.t, [])
            self.events_chain = chained(self.events_chain, [("events", frames["events"])])
            self.state_chain = chained(
                self.state_chain, [(n, f) for n, f in frames.items() if n != "events"], record.globals
            )
            self._sink.commit(
                record.t, frames, checkpoint=checkpoint, globals_json=record.globals, metrics=json.dumps(measured),
                events_chain=self.events_chain, state_chain=self.state_chain,
            )  # fmt: skip
        except BaseException:
            # A step that is not on disk must not be followed by one that is.
            self._failed = True
            raise

    def flush(self) -> None:
        """Wait until every step taken is recorded."""
        while self._behind:
            self._behind.popleft().result()

    def close(self) -> None:
        """Let go of the thread; steps that wait are still written."""
        if self._writer is not None:
            self._writer.shutdown()

    def conclude(self) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str]]:
        """Return the metrics, the findings with their nulls, and the digest with its parts."""
        found = [f for observer in self._observers for f in self._holding(observer, observer.conclude(self._society))]
        self.flush()
        metrics, findings = metrics_frame(self.metrics), findings_frame(found)
        return metrics, findings, digest_of(self.events_chain, self.state_chain, metrics, findings)

    def _holding(self, observer: Observer, found: Sequence[Finding]) -> Sequence[Finding]:
        """Leave out nulls and theory that a change from outside has taken the ground from.

        An observer of the engine looks at the society as it is, which a change on the way does not hinder. A scenario's
        own looks at the whole run, as if its parameters had held throughout, unless it says ``holds_after_forks``.
        """
        steps = getattr(self._society, "interventions", ())
        if not steps or observer.name in observer_names() or getattr(observer, "holds_after_forks", False):
            return found
        nothing = dict.fromkeys(("null_mean", "null_sd", "gap", "p_value", "closed_form"), math.nan)
        why = f"changed after step {', '.join(map(str, steps))}, so no null or theory holds for the whole run"
        return [
            one.model_copy(update={**nothing, "null": "", "note": f"{one.note}; {why}" if one.note else why})
            for one in found
        ]


def findings_frame(found: Sequence[Finding]) -> pl.DataFrame:
    """Return findings, one row each."""
    types: dict[Any, Any] = {float: pl.Float64, int: pl.Int64, str: pl.String}
    schema = {name: types[field.annotation] for name, field in Finding.model_fields.items()}
    return pl.DataFrame([f.model_dump() for f in found], schema=schema, orient="row")


def digest_of(events_chain: str, state_chain: str, metrics: pl.DataFrame, findings: pl.DataFrame) -> dict[str, str]:
    """Return the digest and its parts: what happened, what the state was, what was measured. No timing is in it."""
    measured = hashlib.sha256()
    update_hash(measured, "metrics", frame_of(metrics))
    update_hash(measured, "findings", frame_of(findings))
    parts = {"events": events_chain, "state": state_chain, "metrics": measured.hexdigest()}
    whole = hashlib.sha256("\n".join(parts.values()).encode()).hexdigest()
    return {"digest": whole, **parts}

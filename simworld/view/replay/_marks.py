"""What is notable in a run: marks on its timeline."""

from __future__ import annotations

from typing import Any

import polars as pl

from simworld.view.replay._pack import cut
from simworld.view.replay._run_data import Recording

RARE = 30
"""Events of a kind, in the whole run, up to which each is a mark."""
TOGETHER = 3
"""Rare events of one kind in one step up to which each has a mark of its own."""
MOST_MARKS = 400
"""Marks of one notable kind of event; arbitrary: a timeline has no room for more."""
ENDS = ("end", "failed", "stopped")
LABEL = 160
"""Characters of a mark's label."""


def marks(recording: Recording) -> list[dict[str, Any]]:
    """Return the marks in order of steps: step, kind, label, row (of an event, or -1), agent (or -1).

    Kinds: ``intervention``, what a fork changed; ``event`` and ``metric``, what the scenario calls notable; ``rare``,
    an event of a kind that hardly ever happens; ``end``, ``failed``, ``stopped``, how the run ended.
    """
    found = [*_interventions(recording), *_notable_events(recording), *_notable_metrics(recording), *_end(recording)]
    found += _rare(recording, {mark["row"] for mark in found if mark["row"] >= 0})
    return sorted(found, key=lambda mark: (mark["step"], mark["kind"] in ENDS, mark["row"]))


def _mark(step: int, kind: str, label: str, row: int = -1, agent: int = -1) -> dict[str, Any]:
    return {"step": step, "kind": kind, "label": cut(" ".join(label.split()), LABEL), "row": row, "agent": agent}


def _of_event(recording: Recording, event: dict[str, Any], kind: str, words: str = "") -> dict[str, Any]:
    label = words or event["kind"]
    if event["agent"] >= 0:
        label += f": {recording.name(event['agent'])}"
    if event["target"] >= 0:
        label += f" → {recording.name(event['target'])}"
    if event["text"]:
        label += f" “{event['text']}”"
    return _mark(event["step"], kind, label, event["row"], event["agent"])


def _interventions(recording: Recording) -> list[dict[str, Any]]:
    rows = recording.events.with_row_index("row").filter(pl.col("kind") == "intervention")
    found = [
        _mark(e["step"], "intervention", f"changed from outside: {e['text'] or e['data']}", e["row"], e["agent"])
        for e in rows.head(MOST_MARKS).iter_rows(named=True)
    ]
    forked = recording.head()["forked"]
    if isinstance(forked, dict) and isinstance(forked.get("step"), int):
        found.append(_mark(forked["step"], "intervention", "forked here from another run"))
    return found


def _notable_events(recording: Recording) -> list[dict[str, Any]]:
    notable = recording.head()["notable"]
    kinds = [kind["name"] for kind in recording.event_kinds() if kind["name"] in notable]
    if not kinds:
        return []
    rows = recording.events.with_row_index("row").filter(pl.col("kind").is_in(kinds))
    first = rows.group_by("kind", maintain_order=True).head(MOST_MARKS)
    return [_of_event(recording, event, "event", str(notable[event["kind"]])) for event in first.iter_rows(named=True)]


def _notable_metrics(recording: Recording) -> list[dict[str, Any]]:
    metrics, found = recording.run.metrics, []
    for name, words in recording.head()["notable"].items():
        if name in recording.metric_names:
            # Not a number counts as larger than any number there.
            value = pl.col(name).cast(pl.Float64)
            above = metrics.filter((value > 0) & value.is_not_nan() & (pl.col("step") <= recording.steps))["step"]
            if len(above):
                found.append(_mark(int(above.min()), "metric", str(words)))  # type: ignore[arg-type]
    return found


def _rare(recording: Recording, known: set[int]) -> list[dict[str, Any]]:
    kinds = [kind["name"] for kind in recording.event_kinds() if kind["count"] <= RARE]
    rows = recording.events.with_row_index("row").filter(pl.col("kind").is_in(kinds) & (pl.col("agent") >= 0))
    found = []
    for (step, kind), some in rows.group_by("step", "kind", maintain_order=True):
        events = [event for event in some.iter_rows(named=True) if event["row"] not in known]
        if len(events) > TOGETHER:
            # Everybody voted, or planned the day: one mark says it.
            found.append(_mark(int(step), "rare", f"{kind}: {len(events)} times", events[0]["row"], -1))
        else:
            found += [_of_event(recording, event, "rare") for event in events]
    return found


def _end(recording: Recording) -> list[dict[str, Any]]:
    error, planned = recording.head()["error"], recording.run.plan.steps
    if recording.is_growing:
        return []
    if recording.status == "failed":
        return [_mark(recording.steps, "failed", f"failed: {error}")]
    if recording.status == "interrupted":
        return [
            _mark(
                recording.steps, "stopped", f"stopped after step {recording.steps} of {planned}: {error}".rstrip(": ")
            )
        ]
    early = f", before its {planned} steps were over" if recording.steps < planned else ""
    return [_mark(recording.steps, "end", f"end of the run{early}")]

"""One agent from beginning to end: who it is, what it remembers, recalled, was asked, and its ties."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from simworld.errors import SimworldError, UsageError
from simworld.memory import Flag, owner_of
from simworld.run import Decided, decisions_at
from simworld.view.replay._pack import cut
from simworld.view.replay._run_data import LONGEST_TEXT, Recording, as_mapping

LONGEST_PROMPT = 200_000
"""Characters of a prompt, or of a reply, that are sent; longer than any model's context of today in use here."""
MOST_CALLS = 2_000
"""Calls of one agent that are sent, the last ones; arbitrary."""
LABELS = {
    "moral_level": "moral level (1 good to 4 villain)", "valid_from": "from step", "valid_to": "to step",
}  # fmt: skip
LEFT_OUT = frozenset({"schema_version", "provenance", "extra", "media", "weight", "stratum", "responses"})
"""Fields of a persona that say nothing of the person, or fill pages."""
GROUPS = (
    ("Who", ("name", "id", "kind", "aliases", "demographics", "occupation", "home", "health", "role", "mind")),
    ("Traits", ("traits", "values", "moral_level", "attributes")),
    ("What moves it", ("goals", "beliefs", "skills", "behaviors", "facts", "preferences")),
    ("Its days", ("routines", "schedule")),
    ("How it speaks", ("style",)),
    ("What it has lived through", ("backstory", "cognitive")),
    ("Others", ("relations",)),
    ("Secrets", ("secrets",)),
)


def story(recording: Recording, agent: int) -> dict[str, Any]:
    """Return all that is known of one agent.

    Raises:
        UsageError: there is no such agent.
    """
    if not 0 <= agent < recording.n_agents:
        raise UsageError(f"no agent {agent}; this run has 0 to {recording.n_agents - 1}")
    labels, of = recording.minds
    label = labels[of[agent]] if of[agent] >= 0 else ""
    people = recording.personas
    person = people[agent] if agent < len(people) else None
    memory, changes, recalls = _memory(recording, agent)
    return {
        "agent": agent, "name": recording.name(agent), "mind": label,
        "mind_label": recording.mind_words(label) if label else "not known",
        "persona": {"groups": [] if person is None else card(person)}, "memory": memory, "changes": changes,
        "recalls": recalls, "calls": _calls(recording, agent), "ties": _ties(recording, agent),
    }  # fmt: skip


# -- who -----------------------------------------------------------------------------------------------------------


def card(person: Any) -> list[list[Any]]:
    """Return a persona as groups of labelled values, [[group, [[label, value], …]], …]; what is not said is out."""
    said = {
        name: value
        for name, value in person.model_dump(mode="json", exclude_defaults=True).items()
        if name not in LEFT_OUT
    }
    groups: list[list[Any]] = []
    known = {name for _, names in GROUPS for name in names}
    for group, names in (*GROUPS, ("More", tuple(name for name in said if name not in known))):
        pairs: list[list[Any]] = []
        for name in names:
            if name in said:
                pairs += _scores(said[name]) if name in ("traits", "values") else _pairs(_label(name), said[name])
        if pairs:
            groups.append([group, pairs])
    return groups


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _scores(scores: list[dict[str, Any]]) -> list[list[Any]]:
    pairs: list[list[Any]] = []
    for score in scores:
        name = score["trait"] + (f" ({score['facet']})" if score.get("facet") else "")
        if score.get("value") is not None:
            said: Any = f"{score['value']:g} of {score.get('lo', 1.0):g} to {score.get('hi', 5.0):g}"
        else:
            said = score.get("level") or score.get("text") or "–"
        source = score.get("source", "assigned")
        pairs.append([name, said if source == "assigned" else f"{said} ({source})"])
    return pairs


def _pairs(label: str, value: Any) -> list[list[Any]]:
    """Return a field as pairs: a record gives one a field, a list of records one an entry."""
    if isinstance(value, Mapping):
        return [pair for name, each in value.items() for pair in _pairs(_label(str(name)), each)]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [[label, _in_words(each)] for each in value]
    if isinstance(value, list):
        return [[label, cut("; ".join(str(each) for each in value), LONGEST_TEXT)]] if value else []
    return [[label, cut(value, LONGEST_TEXT) if isinstance(value, str) else value]]


def _in_words(record: Mapping[str, Any]) -> str:
    def one(value: Any) -> str:
        if isinstance(value, list):
            return ", ".join(one(each) for each in value)
        return _in_words(value) if isinstance(value, Mapping) else str(value)

    return cut(", ".join(f"{_label(name)} {one(value)}" for name, value in record.items()), LONGEST_TEXT)


# -- memory --------------------------------------------------------------------------------------------------------


def _memory(
    recording: Recording, agent: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    if recording.manifest.get("memory") is None:
        return [], [], []
    log = recording.memory
    mine = log.filter(pl.col("agent") == agent)
    owners = [owner_of(each) for each in mine.filter(pl.col("op") == "archetype")["id"].to_list()]
    if owners:
        mine = log.filter(pl.col("agent").is_in([agent, *owners]))
    adds: list[dict[str, Any]] = []
    changes: list[dict[str, Any]] = []
    recalls: list[dict[str, Any]] = []
    for row in mine.iter_rows(named=True):
        if row["op"] == "add":
            adds.append(row)
        elif row["op"] == "recall":
            recalls.append(_recall(row))
        elif row["op"] != "archetype":
            changes.append({
                "step": row["step"], "op": row["op"], "id": row["id"], "ids": _ids(row["refs"]) or _own(row["id"]),
                "predicate": row["predicate"], "text": cut(row["text"], LONGEST_TEXT), "valid_to": row["valid_to"],
                "is_private": bool(row["flags"] & Flag.PRIVATE), "is_stale": bool(row["flags"] & Flag.STALE),
            })  # fmt: skip
    found = _event_finder(recording, agent, adds)
    memory = [
        {
            "id": row["id"], "kind": row["kind"], "t": row["step"], "t_event": row["t_event"],
            "importance": row["importance"], "text": cut(row["text"], LONGEST_TEXT), "source": row["source"],
            "subject": row["subject"], "predicate": row["predicate"], "object": row["object"], "place": row["place"],
            "value": row["value"], "valid_from": row["valid_from"], "valid_to": row["valid_to"],
            "links": _ids(row["links"]), "refs": _ids(row["refs"]),
            "is_core": bool(row["flags"] & Flag.PINNED) and row["kind"] != "formative",
            "is_private": bool(row["flags"] & Flag.PRIVATE), "event_row": found(row),
        }
        for row in adds
    ]  # fmt: skip
    return memory, changes, recalls


def _ids(text: str) -> list[int]:
    return [int(each) for each in text.split()]


def _own(record: int) -> list[int]:
    return [record] if record >= 0 else []


def _recall(row: Mapping[str, Any]) -> dict[str, Any]:
    said = as_mapping(row["data"])
    scores = said.get("scores", ())
    # The log keeps the sum of a score; its parts are known where the step is repeated (decisions).
    found = [
        {"id": record, "score": score, "parts": None} for record, score in zip(_ids(row["refs"]), scores, strict=False)
    ]
    return {
        "step": row["step"], "purpose": str(said.get("purpose", "")), "occurrence": said.get("occurrence", 0),
        "question": cut(row["text"], LONGEST_TEXT), "policy": str(said.get("policy", "")), "found": found,
    }  # fmt: skip


def _agent_in(symbol: str) -> int:
    return int(symbol[1:]) if symbol.startswith("#") and symbol[1:].isdecimal() else -1


SAME = {"told": "tell", "said": "say", "talked": "talk", "gave": "give", "voted": "vote", "shared": "share",
        "followed": "follow", "unfollowed": "unfollow", "posted": "post", "seeded": "seed", "kept": "keep",
        "conferred": "confer", "commented": "comment", "replied": "reply", "liked": "like"}  # fmt: skip
"""Kinds of event by the predicate of a memory of one; others match where the two are the same word."""


def _event_finder(
    recording: Recording, agent: int, adds: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], int]:
    """Return what finds the event that a memory comes from: its row, -1 when none can be told.

    An event of the step, by whom it was learned from (else its subject, else the agent itself), whose text stands in
    the memory's, the longest; else the only event of that step, of these and of the kind that the memory speaks of;
    else the only one between the two.
    """
    steps = sorted({row["t_event"] for row in adds if row["t_event"] >= 0})
    wanted = {agent, *(row["source"] for row in adds)}
    wanted |= {_agent_in(row[name]) for row in adds for name in ("subject", "object")}
    some = recording.events.select("step", "kind", "agent", "target", "text").with_row_index("row")
    some = some.filter(pl.col("step").is_in(steps) & pl.col("agent").is_in(sorted(wanted - {-1})))
    by: dict[tuple[int, int], list[tuple[str, str, int, int]]] = defaultdict(list)
    between: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for row, step, kind, who, target, text in some.iter_rows():
        by[step, who].append((kind, text, target, row))
        if target >= 0 and target != who:
            between[step, min(who, target), max(who, target)].append(row)

    def find(memory: Mapping[str, Any]) -> int:
        step, said = memory["t_event"], memory["text"]
        subject, other = _agent_in(memory["subject"]), _agent_in(memory["object"])
        speakers = [each for each in dict.fromkeys((memory["source"], subject, agent)) if each >= 0]
        for who in speakers:
            hits = [
                (target in (agent, other), len(text), -row)
                for _, text, target, row in by[step, who]
                if text and _stands_in(text, said)
            ]
            if hits:
                return -max(hits)[2]
        kinds = {memory["predicate"], SAME.get(memory["predicate"], memory["predicate"])}
        for who in speakers:
            same = [(target in (agent, other), row) for kind, _, target, row in by[step, who] if kind in kinds]
            nearest = [row for is_near, row in same if is_near] or [row for _, row in same]
            if len(nearest) == 1:
                return nearest[0]
        pairs = {(min(who, each), max(who, each)) for who in speakers[:1] for each in (agent, other) if each >= 0}
        only = [row for low, high in pairs if low != high for row in between[step, low, high]]
        return only[0] if len(only) == 1 else -1

    return find


def _stands_in(text: str, said: str) -> bool:
    """Whether a text is part of another, and no mere part of a word of it."""
    at = said.find(text)
    while at >= 0:
        before, after = said[at - 1 : at], said[at + len(text) : at + len(text) + 1]
        if not ((before.isalnum() and text[0].isalnum()) or (after.isalnum() and text[-1].isalnum())):
            return True
        at = said.find(text, at + 1)
    return False


# -- asked ---------------------------------------------------------------------------------------------------------


def _calls(recording: Recording, agent: int) -> list[dict[str, Any]]:
    if "service" not in recording.manifest:
        return []
    mine = recording.once("calls", lambda: recording.run.calls).filter(
        (pl.col("agent") == agent) & (pl.col("step") <= recording.steps)
    )
    names = (
        "step",
        "purpose",
        "occurrence",
        "attempt",
        "model",
        "finish",
        "input_tokens",
        "output_tokens",
        "usd",
        "seconds",
    )
    return [
        {**{name: row[name] for name in names}, **{n: cut(row[n], LONGEST_PROMPT) for n in ("system", "user", "reply")}}
        for row in mine.tail(MOST_CALLS).iter_rows(named=True)
    ]


def _ties(recording: Recording, agent: int) -> list[list[Any]]:
    ties, kinds = recording.ties, recording.tie_kinds
    at = np.flatnonzero((ties.source == agent) | (ties.target == agent))
    out = []
    for i in at.tolist():
        is_out = bool(ties.source[i] == agent)
        other = int(ties.target[i] if is_out else ties.source[i])
        op = "removed" if ties.op[i] else "set"
        out.append(
            [int(ties.step[i]), kinds[ties.kind[i]], op, other, "out" if is_out else "in", float(ties.weight[i])]
        )
    return out


def decisions(recording: Recording, step: int, agents: Collection[int] | None) -> dict[Any, Any]:
    """Return by agent what some, or all, decided in a step and what they saw then, by repeating it; else an error."""
    try:
        return told(recording, step, decisions_at(recording.run, step, agents))
    except SimworldError as error:
        return {"error": str(error)}


def told(recording: Recording, step: int, found: Iterable[Decided]) -> dict[int, list[dict[str, Any]]]:
    """Return the decisions of a step by agent, as the page has them."""
    low, high = (int(i) for i in np.searchsorted(recording.event_steps, (step, step + 1)))
    rows: dict[int, list[int]] = defaultdict(list)
    for row, agent in enumerate(recording.events["agent"].slice(low, high - low).to_list(), start=low):
        rows[agent].append(row)
    out: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for each in found:
        out[each.agent].append({
            "decision": each.decision, "purpose": each.purpose, "occurrence": each.occurrence, "mind": each.mind,
            "mind_label": recording.mind_words(each.mind), "observation": _shown(each.observation),
            "recalled": [record["id"] for record in each.recalled], "found": [dict(record) for record in each.recalled],
            "answer": None if each.answer is None else _shown(each.answer), "refusal": cut(each.refusal, LONGEST_TEXT),
            "rows": rows.get(each.agent, []),
        })  # fmt: skip
    return dict(out)


def _shown(value: Any) -> dict[str, Any]:
    """Return what was seen or answered as fields, long texts cut."""
    if value is None:
        return {}
    fields = value if isinstance(value, Mapping) else {"value": value}
    return {str(name): _short(each) for name, each in fields.items()}


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return cut(value, LONGEST_TEXT)
    if isinstance(value, Mapping):
        return {str(name): _short(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_short(each) for each in value[:1_000]]
    return (
        value
        if value is None or isinstance(value, bool | int | float)
        else cut(json.dumps(value, default=str), LONGEST_TEXT)
    )

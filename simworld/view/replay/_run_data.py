"""What the page asks of one run: its head, and its tables as chunks of typed columns."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from simworld.errors import ScenarioError, UsageError
from simworld.run import Run
from simworld.scenario import ScenarioCard, describe, resolve
from simworld.view.replay._layout import Placed, Union, layout, union_of
from simworld.view.replay._pack import Coded, code_type, cut, narrow, pack

LONGEST_CHUNK = 256
"""Steps of a chunk at most."""
VALUES_IN_CHUNK = 500_000
"""Values of a column, a chunk at most: agents × steps when everything changes; two megabytes."""
ROWS_IN_CHUNK = 100_000
"""Events, or changes of ties, of a chunk on average, at most."""
LONGEST_TEXT = 20_000
"""Characters of one text that are sent; arbitrary, ten pages."""
LONGEST_LABEL = 2_000
"""Characters of one text of a state column; texts are sent with every chunk."""
LABELS_IN_CHUNK = 1_000_000
"""Characters of the labels of a column up to which every chunk has all of them."""
CATEGORIES = 64
"""Different texts up to which a column of texts is a category."""
CATEGORY_LENGTH = 60
"""Characters of a category; a longer one is a text."""
COLUMNS_KEPT = 12
"""Columns of which all changes are held in memory; arbitrary."""
LOOK_EVERY_S = 0.5
"""Seconds after which a growing run is looked at again, at the earliest."""
SPEECH = frozenset({
    "say", "tell", "post", "comment", "reply", "share", "quote", "confer", "think", "talk", "message", "whisper", "ask",
    "answer", "speak", "speech", "argue", "claim", "accuse", "defend", "propose", "introduce", "write", "announce",
    "gossip", "chat", "vote speech", "last words",
})  # fmt: skip
"""Kinds of event whose text is words that somebody says or writes; others count when most of their texts are
sentences."""
NO_SPEECH = frozenset({"seed", "move", "intervention", "refusal", "join", "leave", "end", "plan", "interview"})
REPLIES = frozenset({"reply", "comment", "answer", "quote"})
"""Kinds that answer what stands before them."""
SOME_PERSONAS = 1_000
"""Personas that say which traits there are."""
TRAIT_TEXTS = (
    "sex", "gender", "education", "field_of_study", "employment", "income_band", "wealth_band", "class_self", "marital",
    "religion", "country", "region", "city", "urbanicity",
)  # fmt: skip
"""Demographic fields by which agents may be coloured."""
TRAIT_NUMBERS = ("age", "income", "children")
MIND_WORDS = {
    "rules": "rules (hand-written, no language model)",
    "null": "null policy (the baseline; no language model)",
    "human": "human (a person answered)",
}

type Column = npt.NDArray[Any] | Coded


class Changes(NamedTuple):
    """All changes of one column, in step order, and its values at the first step of every chunk."""

    keys: list[npt.NDArray[Any]]
    step: npt.NDArray[np.int32]
    id: npt.NDArray[np.int32]
    value: npt.NDArray[Any]
    labels: Sequence[str] | None
    is_cut: bool


class Ties(NamedTuple):
    """All changes of ties, in order: columns of one length."""

    step: npt.NDArray[np.int32]
    kind: npt.NDArray[np.uint8]
    op: npt.NDArray[np.uint8]
    source: npt.NDArray[np.int32]
    target: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]


class Recording:
    """A run as it was when it was looked at; what is asked of it is computed once."""

    def __init__(self, run: Run, chunk_steps: int | None = None) -> None:
        self.run = run
        self.manifest = run.manifest
        self.status = run.status
        self.steps = run.steps
        recorded = run.recorded_steps
        self.recorded_steps = [step for step in recorded if step <= self.steps]
        self._kept: dict[Any, Any] = {}
        self._columns: OrderedDict[tuple[str, str], Changes] = OrderedDict()
        self._lock = threading.RLock()
        self.chunk_steps = chunk_steps if chunk_steps is not None else self._chunk_steps()
        self.chunks = self.steps // self.chunk_steps + 1

    @property
    def is_growing(self) -> bool:
        """Whether a process is writing it."""
        return self.status == "running"

    def once[T](self, name: Any, make: Callable[[], T]) -> T:
        """Return what ``make`` gave the first time it was asked for under this name."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            found: T = self._kept[name]
            return found

    # -- tables -----------------------------------------------------------------------------------------------------

    @property
    def events(self) -> pl.DataFrame:
        """Events up to the last step, in order; a row's place is its number."""

        def read() -> pl.DataFrame:
            events = self.run.events
            return events if not self.is_growing else events.filter(pl.col("step") <= self.steps)

        return self.once("events", read)

    @property
    def event_steps(self) -> npt.NDArray[np.int32]:
        """Step of every event."""
        return self.once("event_steps", self.events["step"].to_numpy)

    @property
    def memory(self) -> pl.DataFrame:
        """The log of memories up to the last step."""

        def read() -> pl.DataFrame:
            memory = self.run.memory
            return memory if not self.is_growing else memory.filter(pl.col("step") <= self.steps)

        return self.once("memory", read)

    @property
    def tie_kinds(self) -> list[str]:
        """Kinds of tie; a tie's code is the place of its kind."""
        return [str(kind) for kind in self.manifest["tie_kinds"]]

    @property
    def ties(self) -> Ties:
        """Changes of ties up to the last step."""

        def read() -> Ties:
            ties = self.run.ties.filter(pl.col("step") <= self.steps)
            kinds = {kind: code for code, kind in enumerate(self.tie_kinds)}
            code = ties["kind"].replace_strict(kinds, default=255, return_dtype=pl.UInt8)
            return Ties(
                ties["step"].to_numpy(), code.to_numpy(), (ties["op"] == "removed").cast(pl.UInt8).to_numpy(),
                ties["source"].to_numpy(), ties["target"].to_numpy(), ties["weight"].cast(pl.Float32).to_numpy(),
            )  # fmt: skip

        return self.once("ties", read)

    def table(self, name: str) -> pl.DataFrame:
        """Return the changed rows of a state table up to the last step.

        Raises:
            UsageError: no such table.
        """
        return self.once(("table", name), lambda: self.run.changes(name).filter(pl.col("step") <= self.steps))

    @property
    def n_agents(self) -> int:
        """Agents that ever lived."""

        def count() -> int:
            ids = self.table("agents")["id"]
            return 0 if not len(ids) else int(ids.max()) + 1  # type: ignore[arg-type]

        return self.once("n_agents", count)

    @property
    def personas(self) -> list[Any]:
        """Who lived there; empty in a society without personas."""
        return self.once("personas", lambda: list(self.run.personas or ())[: self.n_agents])

    def _persona_records(self, most: int | None = None) -> list[dict[str, Any]]:
        kept = (self.run.persona_json or ())[: self.n_agents]
        return [json.loads(each) for each in kept[:most]]

    def name(self, agent: int) -> str:
        """Return what an agent is called."""
        return self.names[agent] if 0 <= agent < len(self.names) else "nobody" if agent < 0 else f"agent {agent}"

    @property
    def names(self) -> list[str]:
        """What every agent is called."""

        def find() -> list[str]:
            kept = (self.run.persona_json or ())[: self.n_agents]
            # Ten thousand whole records take two seconds to read.
            found = pl.Series(kept, dtype=pl.String).str.json_path_match("$.name").to_list()
            given = [str(json.loads(j)["name"]) if name is None else name for name, j in zip(found, kept, strict=True)]
            agents = self.table("agents")
            if not given and "name" in agents.columns and agents.schema["name"] == pl.String:
                last = agents.group_by("id", maintain_order=True).last().sort("id")
                last_names = dict(zip(last["id"].to_list(), last["name"].to_list(), strict=True))
                given = [last_names.get(i) or f"agent {i}" for i in range(self.n_agents)]
            given += [f"agent {i}" for i in range(len(given), self.n_agents)]
            return [cut(" ".join(name.split()), 200) for name in given]

        return self.once("names", find)

    # -- head -------------------------------------------------------------------------------------------------------

    def head(self) -> dict[str, Any]:
        """Return what a page must know first."""
        return self.once("head", self._head)

    def _head(self) -> dict[str, Any]:
        run, m, plan = self.run, self.manifest, self.run.plan
        recorded = self.recorded_steps
        labels, of = self.minds
        card = self.card
        return {
            "name": run.path.resolve().name, "title": card.title if card is not None and card.title else plan.scenario,
            "scenario": plan.scenario, "status": self.status,
            "error": cut(str(m.get("error") or ""), LONGEST_TEXT), "steps": self.steps,
            "planned_steps": plan.steps, "digest": run.digest or "", "seed": plan.seed,
            "mind": ", ".join(self.mind_words(label) for label in labels), "mind_note": str(m["mind_note"]),
            "minds": labels, "mind_words": [self.mind_words(label) for label in labels], "agent_minds": of,
            "n_agents": self.n_agents, "names": self.names, "directed": bool(m["directed"]),
            "tie_kinds": self.tie_kinds, "tables": {str(name): self.columns_of(str(name)) for name in m["tables"]},
            "traits": self.trait_types(), "event_kinds": self.event_kinds(), "metrics": self.metric_names,
            "chunk_steps": self.chunk_steps, "chunks": self.chunks, "event_rows": self.events.height,
            "tie_changes": len(self.ties.step), "has_memory": m.get("memory") is not None, "has_tape": "service" in m,
            "recorded_steps": "all" if recorded == list(range(self.steps + 1)) else recorded,
            "state_every": plan.state_every, "params": _shortened(plan.params),
            "notes": [cut(str(note), LONGEST_TEXT) for note in m["notes"]],
            "determinism": str(m.get("determinism", "")), "started": str(m.get("started") or ""),
            "spending": list(m.get("spending", ())), "version_of_simworld": version("simworld"),
            "is_growing": self.is_growing, "notable": dict(m.get("notable", {})),
            "forked": plan.model_dump(mode="json").get("forked"), "summary": [list(row) for row in run.summary()],
        }  # fmt: skip

    @property
    def card(self) -> ScenarioCard | None:
        """The scenario as its files describe it now; None when they are gone."""

        def find() -> ScenarioCard | None:
            try:
                return describe(resolve(self.run.plan.scenario))
            except (ScenarioError, UsageError, OSError, ValueError, SyntaxError):
                return None

        return self.once("card", find)

    def mind_words(self, label: str) -> str:
        """Return a mind's label with what it is."""
        if label in MIND_WORDS:
            return MIND_WORDS[label]
        notes = [note for note in str(self.manifest["mind_note"]).split("; ") if note.startswith(f"{label}: ")]
        note = notes[0][len(label) + 2 :] if notes else str(self.manifest["mind_note"])
        return f"{label} ({note})"

    @property
    def minds(self) -> tuple[list[str], list[int]]:
        """Labels of the minds, and for each agent the place of its own there; -1 where it is not known."""

        def find() -> tuple[list[str], list[int]]:
            labels = [str(label) for label in (self.manifest.get("minds") or {self.run.plan.mind: 0})]
            n = self.n_agents
            seats = str(self.manifest.get("seats") or "").split()
            of = [int(seat) for seat in seats][:n] if len(labels) > 1 else [0] * n
            of += [-1] * (n - len(of))
            for each in self.run.plan.interventions:
                for agent, label in each.minds.items():
                    if label not in labels:
                        labels.append(label)
                    if str(agent).isdecimal() and int(agent) < n:
                        of[int(agent)] = labels.index(label)
            return labels, of

        return self.once("minds", find)

    def columns_of(self, table: str) -> list[dict[str, str]]:
        """Return the columns of a table: name, and ``number``, ``category`` or ``text``."""
        frame = self.table(table)
        out = []
        for name, dtype in frame.schema.items():
            if name in ("step", "id"):
                continue
            kind = "category" if dtype == pl.Boolean else "number" if dtype.is_numeric() else _kind_of(frame[name])
            out.append({"name": name, "type": kind})
        return out

    def event_kinds(self) -> list[dict[str, Any]]:
        """Return the kinds of event, the first seen first, with what the feed must know of them."""
        return self.once("event_kinds", self._event_kinds)

    def _event_kinds(self) -> list[dict[str, Any]]:
        private = set(self.manifest.get("private_events", ()))
        said = set(self.manifest.get("said_events", ()))
        # Some texts say what all are like.
        some = pl.col("text").filter(pl.col("text") != "").head(200)
        ends = some.str.contains(r"[.!?…][\"'”’)]*\s*$")
        found = self.events.group_by("kind", maintain_order=True).agg(
            pl.len().alias("count"), some.len().alias("texts"), ends.sum().alias("sentences"),
            (pl.col("agent") >= 0).any().alias("who"),
        )  # fmt: skip
        return [
            {
                "name": row["kind"], "count": row["count"], "has_text": row["texts"] > 0,
                "is_private": row["kind"] in private,
                "is_speech": row["texts"] > 0 and row["who"] and (
                    row["kind"] in said if said else row["kind"] not in NO_SPEECH
                    and (row["kind"] in SPEECH or row["sentences"] * 2 > row["texts"])
                ),
                "is_reply": row["kind"] in REPLIES,
            }
            for row in found.iter_rows(named=True)
        ]  # fmt: skip

    @property
    def metric_names(self) -> list[str]:
        """Metrics that are numbers."""
        return [n for n, t in self.run.metrics.schema.items() if n != "step" and (t.is_numeric() or t == pl.Boolean)]

    # -- chunks -----------------------------------------------------------------------------------------------------

    def _chunk_steps(self) -> int:
        planned = max(self.run.plan.steps, self.steps) + 1
        size = min(LONGEST_CHUNK, planned, max(1, VALUES_IN_CHUNK // max(1, self.n_agents)))
        if not self.is_growing and self.steps:
            most = max(self.events.height, len(self.ties.step)) / (self.steps + 1)
            size = min(size, max(1, int(ROWS_IN_CHUNK / max(most, 1e-9))))
        return max(1, size)

    def check_chunk(self, chunk: int) -> tuple[int, int]:
        """Return the first step of a chunk, and the first after it.

        Raises:
            UsageError: there is no such chunk.
        """
        if not 0 <= chunk < self.chunks:
            raise UsageError(f"no chunk {chunk}; this run has 0 to {self.chunks - 1}")
        return chunk * self.chunk_steps, (chunk + 1) * self.chunk_steps

    def _offsets(self, steps: npt.NDArray[np.int32], first: int, last: int) -> npt.NDArray[np.uint32]:
        found: npt.NDArray[np.int64] = np.searchsorted(steps, np.arange(first, last + 1))
        offsets: npt.NDArray[np.uint32] = (found - found[0]).astype("<u4")
        return offsets

    def ties_chunk(self, chunk: int) -> bytes:
        """Return the ties at the first step of a chunk, and their changes in its steps."""
        first, last = self.check_chunk(chunk)
        ties = self.ties
        key, weight = self._tie_keys()[chunk]
        kind, rest = np.divmod(key, self._tie_base**2)
        source, target = np.divmod(rest, self._tie_base)
        low, high = np.searchsorted(ties.step, (first, last))
        return pack({
            "key_source": source.astype("<i4"), "key_target": target.astype("<i4"), "key_kind": kind.astype("<u1"),
            "key_weight": weight, "step_offsets": self._offsets(ties.step, first, last),
            "source": ties.source[low:high], "target": ties.target[low:high], "kind": ties.kind[low:high],
            "op": ties.op[low:high], "weight": ties.weight[low:high],
        }, rows=int(high - low), first_step=first)  # fmt: skip

    @property
    def _tie_base(self) -> int:
        ties = self.ties
        return max(self.n_agents, int(ties.source.max(initial=-1)) + 1, int(ties.target.max(initial=-1)) + 1, 1)

    def _tie_numbers(self) -> npt.NDArray[np.int64]:
        """Return one number for each tie that changes: kind, and its two ends, in order where there is no direction."""

        def make() -> npt.NDArray[np.int64]:
            ties, base = self.ties, self._tie_base
            a, b = ties.source.astype(np.int64), ties.target.astype(np.int64)
            if not self.manifest["directed"]:
                a, b = np.minimum(a, b), np.maximum(a, b)
            return (ties.kind.astype(np.int64) * base + a) * base + b

        return self.once("tie_numbers", make)

    def _tie_keys(self) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
        def make() -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
            ties, number = self.ties, self._tie_numbers()
            held, weight, at = np.zeros(0, np.int64), np.zeros(0, np.float32), 0
            out = []
            for chunk in range(self.chunks):
                end = int(np.searchsorted(ties.step, chunk * self.chunk_steps, side="right"))
                if end > at:
                    every = np.r_[held, number[at:end]]
                    weights = np.r_[weight, np.where(ties.op[at:end] == 1, np.nan, ties.weight[at:end])]
                    order = _in_order(every)
                    every = every[order]
                    # The last of equal numbers counts, where it is no removal.
                    last = np.r_[every[1:] != every[:-1], True]
                    held, weight, at = every[last], weights[order[last]].astype(np.float32), end
                    there = ~np.isnan(weight)
                    held, weight = held[there], weight[there]
                out.append((held, weight))
            return out

        return self.once("tie_keys", make)

    def union(self) -> Union:
        """Return all ties ever there, each weighing the steps it lasted."""
        return self.once("union", self._union)

    def _union(self) -> Union:
        ties, base = self.ties, self._tie_base
        number = self._tie_numbers()
        order = _in_order(number)
        number, step, removed = number[order], ties.step[order], ties.op[order] == 1
        same = np.r_[number[1:] == number[:-1], False] if len(number) else np.zeros(0, np.bool_)
        until = np.where(same, np.r_[step[1:], 0] if len(step) else step, self.steps + 1)
        lasted = np.where(removed, 0, until - step).astype(np.float64)
        first = np.flatnonzero(np.r_[True, ~same[:-1]]) if len(number) else np.zeros(0, np.int64)
        total = np.add.reduceat(lasted, first) if len(first) else lasted
        source, target = np.divmod(number[first] % base**2, base)
        return union_of(self.n_agents, source, target, np.maximum(total, 0.1))

    def column_chunk(self, table: str, name: str, chunk: int) -> bytes:
        """Return a column of a table at the first step of a chunk, and its changes in the chunk's steps.

        Raises:
            UsageError: no such table, column or chunk.
        """
        first, last = self.check_chunk(chunk)
        changes = self.changes(table, name)
        low, high = np.searchsorted(changes.step, (first, last))
        key: Column = changes.keys[chunk]
        value: Column = changes.value[low:high]
        if changes.labels is not None:
            labels = _labels_of(changes.labels, changes.keys[chunk], changes.value[low:high])
            key, value = Coded(changes.keys[chunk], labels), Coded(changes.value[low:high], labels)
        return pack({
            "key": key, "step_offsets": self._offsets(changes.step, first, last), "id": changes.id[low:high],
            "value": value,
        }, rows=int(high - low), first_step=first, is_cut=changes.is_cut)  # fmt: skip

    def changes(self, table: str, name: str) -> Changes:
        """Return the changes of a column."""
        with self._lock:
            found = self._columns.get((table, name))
            if found is None:
                found = self._changes(table, name)
                self._columns[table, name] = found
                while len(self._columns) > COLUMNS_KEPT:
                    self._columns.popitem(last=False)
            self._columns.move_to_end((table, name))
            return found

    def _changes(self, table: str, name: str) -> Changes:
        frame = self.table(table)
        if name in ("step", "id") or name not in frame.columns:
            raise UsageError(f"no column {name!r} in table {table!r}; there are {frame.columns[2:]}")
        steps, ids = frame["step"].to_numpy(), frame["id"].to_numpy()
        values, labels, is_cut = _encoded(frame[name])
        n = int(ids.max(initial=-1)) + 1
        born_at_once = len(np.unique(ids[: np.searchsorted(steps, steps[0], side="right")])) == n if n else True
        if labels is None and values.dtype.kind == "i" and not born_at_once:
            # Who is not born yet has no value, and whole numbers have no way to say so.
            fits = np.abs(values, dtype=np.int64).max(initial=0) < 2**24
            values = values.astype("<f4" if fits else "<f8")
        none: Any = np.iinfo(values.dtype).max if labels is not None else np.nan if values.dtype.kind == "f" else 0
        now = np.full(n, none, values.dtype)
        keys: list[npt.NDArray[Any]] = []
        kept = np.zeros(len(values), np.bool_)
        bounds = np.searchsorted(steps, np.arange(self.steps + 2))
        is_float = values.dtype.kind == "f"
        for t in range(self.steps + 1):
            low, high = bounds[t], bounds[t + 1]
            if high > low:
                new, where = values[low:high], ids[low:high]
                old = now[where]
                differs = new != old
                if is_float:
                    differs &= ~(np.isnan(new) & np.isnan(old))
                kept[low:high] = differs
                now[where] = new
            if t % self.chunk_steps == 0:
                keys.append(now.copy())
        return Changes(keys, steps[kept], ids[kept].astype("<i4"), values[kept], labels, is_cut)

    def events_chunk(self, chunk: int) -> bytes:
        """Return the events of a chunk's steps."""
        first, last = self.check_chunk(chunk)
        low, high = (int(i) for i in np.searchsorted(self.event_steps, (first, last)))
        rows = self.events.slice(low, high - low)
        kinds = [kind["name"] for kind in self.event_kinds()]
        texts, n_cut = _texts(rows["text"], LONGEST_TEXT)
        data, n_cut_data = _texts(rows["data"], LONGEST_TEXT)
        codes = {kind: i for i, kind in enumerate(kinds)}
        kind = rows["kind"].replace_strict(codes, return_dtype=pl.UInt16).to_numpy() if rows.height else np.zeros(0)
        return pack({
            "step": rows["step"].to_numpy(), "kind": Coded(kind.astype(code_type(len(kinds))), kinds),
            "agent": rows["agent"].to_numpy(), "target": rows["target"].to_numpy(),
            "item": rows["item"].cast(pl.Float64).to_numpy(), "value": narrow(rows["value"].to_numpy()),
            "text": texts, "data": data, "step_offsets": self._offsets(self.event_steps, first, last),
        }, rows=high - low, first_row=low, first_step=first, n_cut=n_cut + n_cut_data)  # fmt: skip

    # -- whole ------------------------------------------------------------------------------------------------------

    def metrics(self) -> bytes:
        """Return every metric that is a number, by step."""
        frame = self.run.metrics.filter(pl.col("step") <= self.steps).sort("step")
        columns = {"step": frame["step"].cast(pl.Float64).to_numpy()}
        for name in self.metric_names:
            columns[name] = frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        return pack(columns)

    def findings(self) -> dict[str, Any]:
        """Return what was concluded, with nulls and closed forms by metric."""
        findings, null = self.run.findings.to_dicts(), self.run.null_policy.to_dicts()
        series: dict[str, Any] = dict.fromkeys(self.metric_names)
        for row in null:
            name = f"{row['observer']}.{row['metric']}" if row["observer"] else row["metric"]
            if not row["is_finding"] and name in series:
                series[name] = {"mean": row["mean"], "low": row["low"], "high": row["high"]}
        closed = {}
        for row in findings:
            name = f"{row['observer']}.{row['metric']}"
            value = row["closed_form"]
            if name in series and value is not None and math.isfinite(value):
                closed[name] = value
        return {"findings": findings, "null_policy": null, "series_null": series, "closed_form": closed}

    def event(self, row: int) -> dict[str, Any]:
        """Return one event as the page has it."""
        found = self.events.row(row, named=True)
        return {
            "row": row, **found, "text": cut(found["text"], LONGEST_TEXT), "data": cut(found["data"], LONGEST_TEXT),
        }  # fmt: skip

    def search(
        self, text: str = "", kinds: Sequence[str] = (), agent: int = -1, start: int = 0, limit: int = 200
    ) -> dict[str, Any]:
        """Return events whose text holds some words: ``limit`` of them from the ``start``-th on, and where all are."""
        frame = self.events
        wanted = pl.lit(value=True)
        if kinds:
            wanted &= pl.col("kind").is_in(list(kinds))
        if agent >= 0:
            wanted &= (pl.col("agent") == agent) | (pl.col("target") == agent)
        if text:
            wanted &= pl.col("text").str.to_lowercase().str.contains(text.lower(), literal=True)
        found = frame.with_row_index("_row").lazy().filter(wanted).select("_row", "step").collect()
        some = found["_row"].slice(start, limit).to_list()
        return {
            "rows": [self.event(row) for row in some], "total": found.height,
            "first_steps": found["step"].unique(maintain_order=True).to_list(),
        }  # fmt: skip

    # -- traits -----------------------------------------------------------------------------------------------------

    def persona_columns(self) -> dict[str, Column]:
        """Return one column a trait that some persona has."""
        return self.once("persona_columns", lambda: _trait_columns(self._persona_records(), self.n_agents))

    def trait_types(self) -> list[dict[str, str]]:
        """Return the names of the traits, community and mind, and whether each is a number or a category."""
        found = {
            name: "category" if isinstance(column, Coded) else "number"
            for name, column in _trait_columns(self._persona_records(SOME_PERSONAS), SOME_PERSONAS).items()
        }
        if len(self.ties.step):
            found["community"] = "category"
        found["mind"] = "category"
        return [{"name": name, "type": kind} for name, kind in found.items()]

    def traits(self, communities: npt.NDArray[Any] | None) -> bytes:
        """Return the traits of all agents, and, where they are known, the communities of the ties."""
        columns = dict(self.persona_columns())
        more: dict[str, Any] = {"community": "none"}
        if communities is not None:
            labels = [f"group {i + 1}" for i in range(int(communities.max(initial=-1)) + 1)]
            columns["community"] = Coded(communities.astype(code_type(len(labels))), labels)
            more["community"] = "Louvain's method (seeded) on all ties the run ever had, direction and kind forgotten"
        labels, of = self.minds
        minds = np.asarray(of, np.int64)
        kind = code_type(len(labels))
        codes = np.where(minds < 0, np.iinfo(kind).max, minds).astype(kind)
        columns["mind"] = Coded(codes, [self.mind_words(label) for label in labels])
        return pack(columns, rows=self.n_agents, **more)


def _shortened(value: Any) -> Any:
    """Return what was asked for with long texts cut."""
    if isinstance(value, str):
        return cut(value, LONGEST_TEXT)
    if isinstance(value, Mapping):
        return {str(name): _shortened(each) for name, each in value.items()}
    return [_shortened(each) for each in value] if isinstance(value, list | tuple) else value


def _in_order(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of numbers, equal ones as they stand."""
    n = len(numbers)
    if not n or int(numbers.max()) >= 2**62 // n:
        return np.argsort(numbers, kind="stable")
    # A plain sort is several times faster than one that keeps places, so the place is made part of the number.
    return np.sort(numbers * n + np.arange(n)) % n


def _kind_of(column: pl.Series) -> str:
    some = pl.concat([column.head(20_000), column.tail(20_000)]).unique()
    longest = some.str.len_chars().max()
    few = len(some) <= CATEGORIES and (not isinstance(longest, int) or longest <= CATEGORY_LENGTH)
    return "category" if few else "text"


def _encoded(column: pl.Series) -> tuple[npt.NDArray[Any], list[str] | None, bool]:
    """Return a state column as values, or as codes and their labels; and whether a label was cut."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.UInt8).to_numpy(), ["false", "true"], False
    if column.dtype.is_numeric():
        return narrow(column.to_numpy()), None, False
    coded, n_cut = _texts(column, LONGEST_LABEL)
    return coded.codes, list(coded.labels), n_cut > 0


def _labels_of(labels: Sequence[str], *codes: npt.NDArray[Any]) -> Sequence[str]:
    """Return the labels of a column: all, or, where they are too many for every chunk, those of these codes.

    A code means the same in every chunk; the labels of others are empty then.
    """
    if len(labels) <= CATEGORIES or sum(map(len, labels)) <= LABELS_IN_CHUNK:
        return labels
    used = np.unique(np.concatenate(codes))
    out = [""] * len(labels)
    for code in used[used < len(labels)].tolist():
        out[code] = labels[code]
    return out


def _texts(column: pl.Series, longest: int) -> tuple[Coded, int]:
    """Return texts as codes into those that differ, each cut; and how many were."""
    unique = column.cast(pl.String).unique(maintain_order=True)
    names = unique.to_list()
    codes = column.cast(pl.Enum(names)).to_physical().to_numpy() if names else np.zeros(0)
    labels = [cut(name, longest) for name in names]
    n_cut = sum(len(name) > longest for name in names)
    return Coded(codes.astype(code_type(len(labels))), labels), n_cut


def _scores_of(person: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*(person.get("traits") or ()), *(person.get("values") or ())]


def _trait_columns(people: Sequence[Mapping[str, Any]], n: int) -> dict[str, Column]:
    """Return numbers and codes of what personas say of themselves, by name, the traits first."""
    numbers: dict[str, npt.NDArray[np.float64]] = {}
    texts: dict[str, list[str]] = {}

    def number(name: str, at: int, value: float) -> None:
        column = numbers.get(name)
        if column is None:
            column = numbers[name] = np.full(n, np.nan)
        if math.isnan(column[at]):  # where several raters scored it, the first counts
            column[at] = value

    def text(name: str, at: int, value: str) -> None:
        texts.setdefault(name, [""] * n)[at] = cut(" ".join(value.split()), 100)

    scales = {(s["model"], s["trait"]) for person in people[:200] for s in _scores_of(person)}
    shared = {trait for _, trait in scales if sum(trait == other for _, other in scales) > 1}
    for at, person in enumerate(people):
        for score in _scores_of(person):
            name = f"{score['model']} {score['trait']}" if score["trait"] in shared else score["trait"]
            if score.get("facet") is not None:
                continue
            if score.get("value") is not None:
                number(name, at, float(score["value"]))
            elif score.get("level") is not None:
                text(name, at, score["level"])
        about = person.get("demographics") or {}
        for name in TRAIT_NUMBERS:
            if (value := about.get(name)) is not None:
                number(name, at, float(value))
        for name in TRAIT_TEXTS:
            if value := about.get(name):
                text(name.replace("_", " "), at, value)
        politics = about.get("politics") or {}
        if politics.get("scale") is not None:
            number("ideology (1 liberal to 7 conservative)", at, float(politics["scale"]))
        if politics.get("party"):
            text("party", at, politics["party"])
        if person.get("occupation"):
            text("occupation", at, person["occupation"]["title"])
        for name, value in (person.get("attributes") or {}).items():
            if isinstance(value, bool | str):
                text(name, at, str(value).lower() if isinstance(value, bool) else value)
            else:
                number(name, at, float(value))
    columns: dict[str, Column] = {name: narrow(values) for name, values in numbers.items()}
    for name, values in texts.items():
        if name in columns or name in ("community", "mind"):
            continue
        labels = sorted({value for value in values if value})
        kind = code_type(len(labels))
        codes = {value: i for i, value in enumerate(labels)} | {"": int(np.iinfo(kind).max)}
        columns[name] = Coded(np.array([codes[value] for value in values], kind), labels)
    return columns


class RunData:
    """One run under the viewer: the newest recording of it, its layout, and what is asked of either."""

    def __init__(self, path: Path) -> None:
        """Open a run.

        Raises:
            UsageError, RunError: the folder holds none that can be read.
        """
        self.path = path
        self._lock = threading.RLock()
        self._recording = Recording(Run(path))
        self._looked = time.monotonic()
        self._took_s = 0.0
        self._placed: Placed | None = None
        self._moving: npt.NDArray[np.float64] | None = None
        self._moved_at: tuple[int, int] = (-1, -1)

    @property
    def recording(self) -> Recording:
        """The run as it is now; a growing one is looked at again after a while."""
        with self._lock:
            old = self._recording
            wait = max(LOOK_EVERY_S, 3 * self._took_s)
            if old.manifest["status"] == "finished" or time.monotonic() - self._looked < wait:
                return old
            began = time.monotonic()
            run = Run(self.path)
            if (run.status, run.steps) != (old.status, old.steps):
                # Chunks keep their length, so that a page may keep those it has.
                self._recording = Recording(run, old.chunk_steps)
                self._recording.head()
            self._looked = time.monotonic()
            self._took_s = self._looked - began
            return self._recording

    def layout(self) -> bytes:
        """Return where agents stand; ``quick`` says that a better layout is on its way."""
        recording = self.recording
        if recording.is_growing:
            places, quality = self._moving_on(recording), "quick"
        else:
            places, quality = self._final(recording).places()
        return pack({"x": narrow(places[:, 0]), "y": narrow(places[:, 1])}, quality=quality)

    def _final(self, recording: Recording) -> Placed:
        with self._lock:
            if self._placed is None:
                self._placed = Placed(recording.union(), recording.run.plan.seed)
            return self._placed

    def _moving_on(self, recording: Recording) -> npt.NDArray[np.float64]:
        """Return a layout of the ties so far that goes on from the one before."""
        with self._lock:
            now = (len(recording.ties.step), recording.n_agents)
            if self._moving is None or now != self._moved_at:
                self._moving = layout(recording.union(), "quick", self._moving)
                self._moved_at = now
            return self._moving

    def traits(self) -> bytes:
        """Return the traits; it may wait for the communities, which another process finds."""
        recording = self.recording
        found = None
        if not recording.is_growing and len(recording.ties.step):
            found = self._final(recording).communities(timeout_s=20.0)
        return recording.traits(found)

    def start(self) -> None:
        """Begin with what takes long: the head, then the final layout in a process of its own."""
        recording = self.recording
        recording.head()
        recording.ties_chunk(0)
        if not recording.is_growing and recording.n_agents:
            self._final(recording).begin()

    def close(self) -> None:
        """End what is at work for it."""
        if self._placed is not None:
            self._placed.close()


def plain_json(text: str) -> Any:
    """Return what a column of JSON says; an empty dict where it says nothing that can be read."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found


def as_mapping(text: str) -> Mapping[str, Any]:
    """Return the object that a column of JSON holds; an empty one where it holds none."""
    found = plain_json(text)
    return found if isinstance(found, dict) else {}

"""Run: a run's folder as a Python object, its tables as polars frames."""

from __future__ import annotations

import contextlib
import html
import importlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from simworld.errors import CorruptRunError, UsageError, did_you_mean
from simworld.mind.llm import Tally
from simworld.persona import Persona
from simworld.run._frames import EVENTS, MEMORY, TIES, changes_of, empty, panel, state_at
from simworld.run._null import COLUMNS, summed_up
from simworld.run._plan import Plan, metrics_frame
from simworld.run._recorder import findings_frame
from simworld.run._store import Contents, is_being_written
from simworld.run._tape import CALLS, SqliteTape
from simworld.scenario import find_lab
from simworld.world import SocialGraph


def load_run(run: str | Path) -> Run:
    """Open a run by its folder, or by (the beginning of) its name under the lab's ``runs/``.

    Raises:
        UsageError: no such run, or several that fit.
    """
    path = Path(run)
    if not path.is_dir():
        root = find_lab().runs
        known = sorted(p.name for p in root.glob("*") if (p / "manifest.json").exists())
        named = [name for name in known if name.startswith(str(run))]
        found = [root / name for name in (named if str(run) not in named else [str(run)])]
        if len(found) != 1:
            what = f"{len(found)} runs begin with" if found else "no run"
            raise UsageError(f"{what} {str(run)!r}{did_you_mean(str(run), known)} (simworld show lists runs)")
        path = found[0]
    return Run(path)


class Run:
    """One run: finished, interrupted, or still growing. Reading it changes nothing in its folder.

    ``metrics``, ``findings``, ``events``, ``ties`` and ``states`` are polars frames; ``state(t)`` is the table at one
    step; ``graph(t)`` the ties as a networkx graph.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Folder of the run."""
        self._contents = Contents(path)
        self.manifest: dict[str, Any] = self._contents.manifest
        """What the manifest says."""
        try:
            self.plan = Plan.model_validate(self.manifest["plan"])
            """What was asked for."""
        except ValidationError as error:
            raise CorruptRunError(f"{path / 'manifest.json'} has no readable plan; it was altered") from error

    @property
    def status(self) -> str:
        """``finished``, ``failed``, ``running``, or ``interrupted``: stopped on request, or killed."""
        status = str(self.manifest["status"])
        return "interrupted" if status == "running" and not is_being_written(self.path) else status

    @property
    def digest(self) -> str | None:
        """The hash of everything that happened, was, and was measured; None before the run is finished."""
        return self.manifest.get("digest")

    @property
    def steps(self) -> int:
        """Completed steps."""
        if self._contents.is_finished:
            return int(self.manifest["steps_done"])
        return max((s["step"] for s in self._contents.steps()), default=0)

    @property
    def checkpoint(self) -> int:
        """Last step with a recorded state, where a resume goes on; -1 before there is one."""
        return max(self.recorded_steps, default=-1)

    @cached_property
    def metrics(self) -> pl.DataFrame:
        """What was measured, one row a step from 0, one column a metric (``observer.metric``)."""
        frame = self._contents.parquet("metrics.parquet") if self._contents.is_finished else None
        if frame is None:
            frame = metrics_frame([(s["step"], json.loads(s["metrics"])) for s in self._contents.steps()])
        return frame

    @cached_property
    def findings(self) -> pl.DataFrame:
        """What observers concluded at the end, one row a finding, each beside its null; empty before the end."""
        frame = self._contents.parquet("findings.parquet") if self._contents.is_finished else None
        return findings_frame([]) if frame is None else frame

    @cached_property
    def null_policy(self) -> pl.DataFrame:
        """What the null policy gives for each measure, over the null runs made with this run; empty without any.

        Columns: observer, metric, is_finding (else the metric after the last step), n (runs), mean, sd, low and high
        (2.5 and 97.5 % quantiles over the runs), p_value (how often it is as far out as this run).
        """
        frame = self._contents.parquet("null.parquet") if self._contents.is_finished else None
        if frame is None:
            return summed_up(pl.DataFrame(schema=COLUMNS))
        own = {(row["observer"], row["metric"], True): row["value"] for row in self.findings.iter_rows(named=True)}
        for name, last in (self.metrics.tail(1).to_dicts() or [{}])[0].items():
            if isinstance(last, int | float):
                observer, dot, metric = name.partition(".")
                own[(observer, metric, False) if dot else ("", name, False)] = float(last)
        return summed_up(frame, own)

    def fork(self, step: int, **changes: Any) -> Run:
        """Run on from a step with something changed, under the same streams of chance; see `simworld.fork`."""
        from simworld.run import fork

        return fork(self, step, **changes)

    def diff(self, other: Run) -> Any:
        """Compare with another run of the scenario; see `simworld.diff`."""
        from simworld.run._diff import diff

        return diff(self, other)

    @cached_property
    def events(self) -> pl.DataFrame:
        """What happened: step, kind, agent, target, item, value, text, data; -1, NaN and "" mean none."""
        frame = self._contents.stream("events")
        return empty(EVENTS) if frame is None else frame

    @cached_property
    def ties(self) -> pl.DataFrame:
        """Every change of a tie: step, kind, op, source, target, weight (the new one)."""
        frame = self._contents.stream("ties")
        return empty(TIES) if frame is None else frame

    @cached_property
    def memory(self) -> pl.DataFrame:
        """The log of memories: every record, recall and change, in order; see `simworld.memory.LOG`."""
        frame = self._contents.stream("memory")
        return empty(MEMORY) if frame is None else frame

    def memory_of(self, agent: str | int, step: int | None = None) -> Any:
        """Return what one agent remembered after a step (the last by default), a `simworld.memory.MemoryView`.

        Raises:
            UsageError: the run kept no memory, or there is no such agent or step.
        """
        from simworld.run._memories import memory_of

        return memory_of(self, agent, step)

    def ask(self, agent: str | int, question: str, *, step: int | None = None, model: str | None = None) -> Any:
        """Ask an agent something, as it was after a step; the run's folder stays as it is. See `simworld.run.ask`."""
        from simworld.run._memories import ask

        return ask(self, agent, question, step=step, model=model)

    @cached_property
    def calls(self) -> pl.DataFrame:
        """Every call of a language model or a person, with prompt and reply, in order of position."""
        return self._on_tape(lambda tape: tape.calls(), CALLS)

    @cached_property
    def answers(self) -> pl.DataFrame:
        """How answers turned out by step, model, decision: asked = first_try + repaired + again + refused."""
        schema = {n: pl.String if n in ("model", "decision") else pl.Int64 for n in Tally._fields}
        return self._on_tape(lambda tape: tape.answers(), schema)

    @property
    def spending(self) -> pl.DataFrame:
        """What calls took, one row a step, agent, decision and model: calls, tokens, US dollars (null: unknown)."""
        by = ["step", "agent", "purpose", "model"]
        usd = pl.when(pl.col("usd").null_count() == 0).then(pl.col("usd").sum()).alias("usd")
        sums = (pl.len().alias("calls"), pl.col("input_tokens").sum(), pl.col("output_tokens").sum(), usd)
        return self.calls.group_by(by).agg(*sums).sort(by)

    def _on_tape(self, read: Callable[[SqliteTape], pl.DataFrame], schema: Mapping[str, Any]) -> pl.DataFrame:
        if "service" not in self.manifest:
            return pl.DataFrame(schema=schema)
        with contextlib.closing(SqliteTape(self.path / "journal.sqlite", is_read_only=True)) as tape:
            return read(tape)

    @property
    def states(self) -> pl.DataFrame:
        """Every agent's columns at every recorded step: one row an agent and step."""
        return self.table("agents")

    def table(self, name: str) -> pl.DataFrame:
        """Return a state table at every recorded step: ``agents``, or one of the scenario's entities.

        Raises:
            UsageError: no such table.
        """
        return panel(self._changes(name), self.recorded_steps)

    def state(self, t: int | None = None, table: str = "agents") -> pl.DataFrame:
        """Return a state table after step ``t`` (the last recorded one by default), one row an id.

        Raises:
            UsageError: no such table or step, or one whose state was not recorded.
        """
        recorded = self.recorded_steps
        t = max(recorded, default=0) if t is None else self._step(t)
        if t not in recorded:
            near = max((s for s in recorded if s < t), default=0)
            raise UsageError(f"the state of step {t} was not recorded (state_every); the one before it is {near}")
        return state_at(self._changes(table), t)

    def changes(self, table: str = "agents") -> pl.DataFrame:
        """Return the rows of a state table that a recorded step changed, in step order: step, id and its columns.

        Raises:
            UsageError: no such table.
        """
        return self._changes(table)

    def _changes(self, name: str) -> pl.DataFrame:
        frame = self._contents.stream(name) if name not in ("events", "ties", "memory") else None
        known = self.manifest["tables"]
        if name not in known:
            raise UsageError(f"no table {name!r}{did_you_mean(name, known)}; this run has {known}")
        return empty({"step": "int32", "id": "int64", "alive": "bool"}) if frame is None else frame

    @property
    def recorded_steps(self) -> list[int]:
        """Steps whose state was recorded, ascending."""
        return [s["step"] for s in self._contents.steps() if s["checkpoint"]]

    def _step(self, t: int) -> int:
        if not 0 <= t <= self.steps:
            raise UsageError(f"no step {t!r}; this run has steps 0 to {self.steps}")
        return t

    @cached_property
    def personas(self) -> list[Persona] | None:
        """Who lived there, by agent id, those who joined later last; None in a society without personas."""
        kept = self.persona_json
        return None if kept is None else [Persona.model_validate_json(each) for each in kept]

    @cached_property
    def persona_json(self) -> list[str] | None:
        """`personas` as they are kept, one JSON text each; thirty times faster to get at than the records."""
        frame = self._contents.parquet("inputs/personas.parquet")
        if frame is None:
            return None
        joined = self.events.filter((pl.col("kind") == "join") & (pl.col("data") != "")).sort("agent")
        return [*frame["json"].to_list(), *joined["data"].to_list()]

    def graph(self, t: int | None = None, kind: str | None = None) -> Any:
        """Return the ties after step ``t`` as a networkx graph, agents' columns as node attributes.

        Args:
            t: step; None is the last.
            kind: kind of tie; None is the main one.
        """
        t = self.steps if t is None else self._step(t)
        kinds = self.manifest["tie_kinds"]
        if kind is not None and kind not in kinds:
            raise UsageError(f"no kind of tie {kind!r}{did_you_mean(kind, kinds)}; this run has {kinds}")
        # Ties are known at every step, columns at the recorded ones.
        state = self.state(max(s for s in self.recorded_steps if s <= t))
        changes = changes_of(self.ties.filter(pl.col("step") <= t), kinds)
        n = max([*state["id"].to_list(), *changes.source.tolist(), *changes.target.tolist()], default=-1) + 1
        ties = SocialGraph(n, kinds, directed=self.manifest["directed"])
        ties.apply(changes)
        graph = ties.to_networkx(kinds[0] if kind is None else kind)
        lives = {row.pop("id"): row for row in state.drop("step").iter_rows(named=True) if row.pop("alive")}
        gone = set(state["id"].to_list()) - lives.keys()
        graph.remove_nodes_from([node for node in graph if node in gone])
        for node, attributes in lives.items():
            if self.personas is not None and node < len(self.personas):
                attributes.setdefault("name", self.personas[node].name)
            graph.nodes[node].update(attributes)
        return graph

    def view(self, *beside: Run, height: int = 720) -> Any:
        """Show the run in the replay viewer, in a notebook below the cell, else in the browser; see `simworld.view`.

        Args:
            beside: another run, shown side by side with this one.
            height: pixels in a notebook.
        """
        # Fetched by name when it is asked for, as the package fetches it: no room imports from one above it.
        return importlib.import_module("simworld.view").view(self, *beside, height=height)

    def verify(self, *, again: bool = True) -> Any:
        """Check the files, the chains and (``again``) the run itself by executing it anew, as `verify` does."""
        from simworld.run._verify import verify

        return verify(self.path, again=again)

    def summary(self) -> list[tuple[str, str]]:
        """Return what a reader wants to know first, as (label, text)."""
        m, plan = self.manifest, self.plan
        path, here = self.path.resolve(), Path.cwd()
        rows = [
            ("scenario", plan.scenario),
            ("mind", self.mind),
            ("agents", str(plan.params.get("n_agents", "")) or "see states"),
            ("steps", f"{self.steps} of {plan.steps}"),
            ("seed", str(plan.seed)),
            ("graph", plan.graph or "none at the start"),
            ("status", self.status if not m.get("error") else f"{self.status}: {m['error']}"),
            ("digest", self.digest or "none before the run is finished"),
            ("folder", str(path.relative_to(here) if path.is_relative_to(here) else path)),
        ]
        if plan.shuffle_personas:
            rows.insert(2, ("personas", "shuffled: every mind plays the character of another agent"))
        # What a repeated tape says was spent was spent by another run.
        label = "tape" if plan.is_replay else "spent"
        rows += [(label, spent_words(each)) for each in m.get("spending", ())]
        return rows + [("note", note) for note in m["notes"]]

    @property
    def mind(self) -> str:
        """Who decided, in words: every mind with its kind, and how many agents it had where there are several."""
        counts, note = self.manifest.get("minds") or {self.plan.mind: 0}, self.manifest["mind_note"]
        if len(counts) > 1:
            return ", ".join(f"{label} ({n} agent{'s' * (n != 1)})" for label, n in counts.items()) + f"; {note}"
        (label,) = counts
        return f"{label} ({note})"

    def __repr__(self) -> str:
        width = max(len(label) for label, _ in self.summary())
        lines = [f"  {label:<{width}}  {text}" for label, text in self.summary()]
        # Notes and errors may quote a file or a model: no control character reaches a terminal.
        return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in ["simworld run", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in self.summary()
        )
        return f"<table><caption>simworld run</caption>{cells}</table>"


def spent_words(each: Mapping[str, Any]) -> str:
    """Return in words what one model took."""
    usd = "price unknown" if each["usd"] is None else f"${each['usd']:.4f}"
    lost = f", at most ${each['lost_usd']:.4f} more for calls without a reply" if each["lost_usd"] else ""
    cached = f", {each['cached']:,} more answers from the cache" if each["cached"] else ""
    return (
        f"{each['model']}: {each['calls']:,} calls, {each['input_tokens']:,} tokens in, {each['output_tokens']:,} out, "
        f"{usd}{lost}{cached}"
    )

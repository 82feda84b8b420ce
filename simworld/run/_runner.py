"""Running: plan, society, loop, end. The only place where a step is taken and recorded."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import (
    CorruptRunError,
    Interrupted,
    ParameterError,
    RunError,
    SimworldError,
    StorageError,
    UsageError,
)
from simworld.observe import Observer, observer
from simworld.persona import Persona, read_cast
from simworld.run._frames import changes_of, state_at
from simworld.run._plan import Inputs, Plan
from simworld.run._recorder import Recorder
from simworld.run._store import Contents, Store, parquet_bytes, write_whole
from simworld.scenario import find_cast, find_lab, load, resolve
from simworld.world import GraphData, PlainModel, World

type Progress = Callable[[int, int, Mapping[str, Any]], None]
"""``progress(step done, steps planned, metrics)``, called after every step."""

MIND_NOTES = {
    "rules": "rule policy: hand-written rules, no language model",
    "null": "null policy: uniform random choices, the baseline",
    "own": "a plain Mesa model: its own rules",
}


@dataclass(frozen=True)
class Prepared:
    """A society that is ready to run, and everything that made it."""

    name: str
    """Short name of the scenario, for folders."""
    plan: Plan
    inputs: Inputs
    society: Any
    observers: list[Observer]
    is_changed: bool = False
    """Whether the scenario's files differ from those the run began with."""


def prepare(
    scenario: str,
    *,
    params: Mapping[str, Any] | None = None,
    seed: int = 0,
    steps: int | None = None,
    mind: str = "rules",
    observers: Sequence[str] = (),
    graph: Any = None,
    cast: str | Path | Sequence[Persona] | None = None,
    state_every: int = 1,
    record_events: bool = True,
) -> Prepared:
    """Check a call and make its society; nothing is written.

    Raises:
        UsageError: anything about the call that cannot be right.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ParameterError(f"seed = {seed!r} is not an integer from 0 to 2**63 - 1")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 0):
        raise ParameterError(f"steps = {steps!r} is not a whole number of steps, 0 or more")
    if isinstance(state_every, bool) or not isinstance(state_every, int) or state_every < 0:
        raise ParameterError(f"state_every = {state_every!r} is not a whole number of steps, 0 or more")
    ref = resolve(scenario)
    cls = load(ref)
    personas, cast_source, notes = _cast(cast)
    society: Any
    if issubclass(cls, World):
        society = cls(rng=seed, graph=graph, personas=personas, mind=mind, **dict(params or {}))
        if personas is not None and not cls.with_personas:
            raise ParameterError(f"scenario {ref.spec!r} has no personas; leave the cast out")
        society.notes[:0] = notes
        start: GraphData | None = society.start_graph
        inputs = Inputs(graph=start, personas=None if society.personas is None else tuple(society.personas))
        used = society.params.model_dump(mode="json")
        default_steps, own = cls.default_steps, cls.observers
    else:
        for what, value in (("graph", graph), ("cast", cast)):
            if value is not None:
                raise ParameterError(f"a plain Mesa model takes no {what}; leave it out")
        if mind != "rules":
            raise ParameterError(
                f"a plain Mesa model decides for itself; mind {mind!r} has nothing to do, leave it out"
            )
        society = PlainModel(cls, seed, dict(params or {}))
        mind = "own"
        inputs, start, used = Inputs(), None, society.params
        default_steps, own = 100, ()
    plan = Plan(
        scenario=ref.spec,
        scenario_class=cls.__name__,
        content_hash=ref.content_hash(),
        params=used,
        seed=seed,
        steps=default_steps if steps is None else steps,
        mind=mind,
        observers=tuple(observers),
        graph=start.source if start is not None else None,
        graph_nodes=start.n if start is not None else None,
        cast=cast_source,
        state_every=state_every,
        record_events=record_events,
    )
    observing = make_observers(own, plan.observers)
    if isinstance(society, PlainModel):
        for one in observing:
            one.observe(society)  # raises if it needs what a plain model has not
    return Prepared(ref.name, plan, inputs, society, observing)


def make_observers(own: Sequence[Any], names: Sequence[str]) -> list[Observer]:
    """Return the scenario's own observers, then the named ones, each once."""
    made: dict[str, Observer] = {}
    for one in (*own, *names):
        instance = observer(one) if isinstance(one, str) else one()
        made.setdefault(instance.name, instance)
    return list(made.values())


def _cast(cast: str | Path | Sequence[Persona] | None) -> tuple[list[Persona] | None, str | None, list[str]]:
    if cast is None:
        return None, None, []
    if isinstance(cast, str | Path):
        path = find_cast(str(cast))
        read = read_cast(path)
        return list(read.personas), f"{path.name} sha256:{read.digest[:16]}", list(read.notes)
    return list(cast), "given in Python", []


def start_run(prepared: Prepared, out: Path | None = None) -> Path:
    """Make the run's folder with its manifest and inputs, and return it.

    Raises:
        UsageError: the folder exists.
        StorageError: it cannot be written.
    """
    plan = prepared.plan
    now = datetime.now(UTC)
    if out is None:
        root = find_lab().runs
        name = f"{now:%Y%m%d-%H%M%S}_{prepared.name}_{plan.short_hash()}"
        tries = [root / (name if not k else f"{name}-{k}") for k in range(1000)]
    else:
        tries = [out]
    for path in tries:
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            if out is not None:
                raise UsageError(f"the output folder {out} exists; name another or remove it first") from None
        except OSError as error:
            raise UsageError(f"cannot make the run folder {path}: {error.strerror or error}; choose --out") from None
    try:
        Store(path).close()  # a folder with a manifest has a journal, however early the process dies
        for file, frame in prepared.inputs.frames().items():
            write_whole(path / file, parquet_bytes(frame))
        write_manifest(path, prepared.plan, prepared.society, "running", started=now.isoformat(timespec="seconds"))
    except StorageError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def write_manifest(path: Path, plan: Plan, society: Any, status: str, **more: Any) -> None:
    """Write the manifest, whole or not at all."""
    manifest = {
        "format": 1,
        "status": status,
        "plan": plan.model_dump(mode="json"),
        "mind_note": MIND_NOTES.get(plan.mind, plan.mind),
        "determinism": "exact",
        "notes": list(society.notes),
        "tie_kinds": list(society.tie_kinds),
        "directed": society.directed,
        "tables": list(society.tables),
        "versions": versions(),
        "git_commit": _git_commit(),
        **more,
    }
    write_whole(path / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")


def versions() -> dict[str, str]:
    """Return the versions that could matter to a result."""
    names = ("simworld", "mesa", "networkx", "numpy", "scipy", "polars", "pydantic", "faker")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=find_lab().root, capture_output=True, text=True, timeout=5, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop after the step at hand; the second one kills."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        for known, handler in before.items():
            signal.signal(known, handler)

    for number in (int(signal.SIGINT), int(signal.SIGTERM)):
        before[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(prepared: Prepared, path: Path, progress: Progress | None = None) -> None:
    """Run to the end, into a folder that was just made or rewound to its last checkpoint.

    Raises:
        Interrupted: a signal asked for it; the folder can be resumed.
        RunError: a step failed; the folder says why and can be resumed.
    """
    plan, society = prepared.plan, prepared.society
    store = Store(path)
    began = time.perf_counter()
    started = Contents(path).manifest.get("started")
    recorder = Recorder(plan, society, prepared.observers, store)
    try:
        doing = "the start"
        try:
            with stop_requests() as stop:
                done = store.rewind()
                if done >= 0:
                    _catch_up(prepared, recorder, path, done)
                else:
                    _take(recorder, plan, progress)
                while society.t < plan.steps and society.running:
                    if stop.is_set():
                        recorder.flush()
                        raise Interrupted(
                            f"stopped after step {society.t} of {plan.steps}; go on with: simworld resume {path}"
                        )
                    doing = f"step {society.t + 1}"
                    society.step()
                    _take(recorder, plan, progress)
                doing = "measuring the findings"
                metrics, findings, digest = recorder.conclude()
        except (RunError, Interrupted):
            raise
        except Exception as error:
            what = str(error) if isinstance(error, SimworldError) else f"{type(error).__name__}: {error}"
            raise RunError(
                f"{doing} of {plan.scenario} failed{_place(error)}: {what}; "
                f"mend it, then: simworld resume --allow-changed {path}"
            ) from error
        write_whole(path / "metrics.parquet", parquet_bytes(metrics))
        write_whole(path / "findings.parquet", parquet_bytes(findings))
        segments = store.finish()
        write_manifest(
            path, plan, society, "finished",
            started=started, ended=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - began, 3), steps_done=society.t,
            digest=digest["digest"], parts={k: v for k, v in digest.items() if k != "digest"},
            segments=segments,
        )  # fmt: skip
    except (RunError, Interrupted) as error:
        recorder.close()
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        # The journal holds every step; a manifest that cannot be rewritten (a full disk) does not hinder a resume.
        with contextlib.suppress(StorageError):
            write_manifest(path, plan, society, status, started=started, error=str(error), steps_done=society.t)
        raise
    finally:
        recorder.close()
        store.close()


def _take(recorder: Recorder, plan: Plan, progress: Progress | None) -> None:
    measured = recorder.take()
    if progress is not None:
        progress(recorder.metrics[-1][0], plan.steps, measured)


def _place(error: BaseException) -> str:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    engine = str(Path(__file__).resolve().parent.parent)
    own = [f for f in frames if not f[0].startswith(engine) and "site-packages" not in f[0]]
    file, line = (own or frames)[-1]
    return f" at {os.path.basename(file)}:{line}"


def _catch_up(prepared: Prepared, recorder: Recorder, path: Path, done: int) -> None:
    """Bring a freshly made society to the last checkpoint of its folder."""
    contents = Contents(path)
    steps = contents.steps()
    metrics = [(s["step"], json.loads(s["metrics"])) for s in steps]
    society = prepared.society
    if isinstance(society, PlainModel):
        # A plain Mesa model keeps its state where we cannot put it back: it is run again, silently, and must agree.
        replay = Recorder(prepared.plan, society, prepared.observers, Silence())
        replay.take()
        while society.t < done:
            society.step()
            replay.take()
        replay.flush()
        replay.close()
        if (replay.events_chain, replay.state_chain) != (steps[-1]["events_chain"], steps[-1]["state_chain"]):
            raise CorruptRunError(
                f"{path}: this model, run again with the same seed, does not repeat itself, so it cannot be resumed; "
                "start it anew (it draws from a source that simworld does not seed)"
            )
    else:
        frames = {name: contents.stream(name) for name in ("ties", *society.tables)}
        tables = {}
        for name, table in society.tables.items():
            frame = frames[name]
            full = table.rows(society.ids[:0]) if frame is None else None
            tables[name] = full if frame is None else _columns(state_at(frame, done))
        ties = frames["ties"]
        changes = society.graph.drain()
        if ties is not None:
            changes = changes_of(ties.filter(pl.col("step").is_between(1, done)), society.tie_kinds)
        society.restore(done, tables, changes, steps[-1]["globals"])
        society.drain()
    recorder.continue_from(steps[-1]["events_chain"], steps[-1]["state_chain"], metrics)


def _columns(frame: pl.DataFrame) -> dict[str, Any]:
    return {name: frame[name].to_numpy() for name in frame.columns if name not in ("step", "id")}


class Silence:
    """A sink that keeps nothing."""

    def commit(self, t: int, frames: Any, **chains: Any) -> None:
        """Drop the step."""


def load_inputs(path: Path, plan: Plan, directed: bool) -> Inputs:
    """Read back what a run was made from."""
    contents = Contents(path)
    ties, labels, people = (contents.parquet(f"inputs/{name}.parquet") for name in ("graph", "labels", "personas"))
    graph = None
    if ties is not None:
        graph = GraphData(
            n=plan.graph_nodes or 0,
            sources=ties["source"].to_numpy().astype("int64"),
            targets=ties["target"].to_numpy().astype("int64"),
            weights=ties["weight"].to_numpy(),
            labels=None if labels is None else labels["label"].to_list(),
            directed=directed,
            source=plan.graph or "",
            notes=(),
        )
    personas = None if people is None else tuple(Persona.model_validate_json(j) for j in people["json"].to_list())
    return Inputs(graph=graph, personas=personas)


def prepare_again(path: Path) -> Prepared:
    """Make the society of an existing run again, from what its folder holds.

    Raises:
        UsageError: no run there.
        ScenarioError: its scenario cannot be found any more.
    """
    contents = Contents(path)
    try:
        plan = Plan.model_validate(contents.manifest["plan"])
    except (KeyError, ValueError) as error:
        raise CorruptRunError(f"{path / 'manifest.json'} has no readable plan: {error}") from error
    ref = resolve(plan.scenario)
    cls = load(ref)
    society: Any
    if issubclass(cls, World):
        inputs = load_inputs(path, plan, cls.directed)
        people = None if inputs.personas is None else list(inputs.personas)
        society = cls(rng=plan.seed, graph=inputs.graph, personas=people, mind=plan.mind, **plan.params)
        own: Sequence[Any] = cls.observers
    else:
        inputs, own = Inputs(), ()
        society = PlainModel(cls, plan.seed, dict(plan.params))
    society.notes[:] = contents.manifest.get("notes", [])
    is_changed = ref.content_hash() != plan.content_hash
    return Prepared(ref.name, plan, inputs, society, make_observers(own, plan.observers), is_changed)

"""Running: folder, loop, end. The only place where a step is taken and recorded."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import (
    BudgetSpent,
    CorruptRunError,
    Interrupted,
    ModelError,
    RunError,
    SimworldError,
    StorageError,
    TapeError,
    UsageError,
)
from simworld.mind.llm import HUMAN, Stopped, without_credentials, without_secrets
from simworld.run._chain import check_chains
from simworld.run._fork import copy_steps, put_back
from simworld.run._indexed import what_is_indexed
from simworld.run._null import null_policy_runs
from simworld.run._plan import Plan
from simworld.run._prepare import Prepared
from simworld.run._recorder import Recorder
from simworld.run._store import Contents, Store, manifest_hash, parquet_bytes, write_whole
from simworld.run._tape import SqliteTape
from simworld.scenario import find_lab
from simworld.world import PlainModel, policy_name

type Progress = Callable[[int, int, Mapping[str, Any]], None]
"""``progress(step done, steps planned, metrics)``, called after every step."""

MIND_NOTES = {
    "rules": "rule policy: hand-written rules, no language model",
    "null": "null policy: uniform random choices, the baseline",
    "own": "a plain Mesa model: its own rules",
    HUMAN: "a person at the terminal",
}


def mind_note(label: str, policies: Any = ()) -> str:
    """Return what kind of mind a label stands for, in a few words."""
    if label in MIND_NOTES:
        return MIND_NOTES[label]
    name = policy_name(label)
    return "language model" if name not in policies else f"rule policy of the scenario{', scripted' * (name != label)}"


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
        Store(path, is_new=True).close()  # a folder with a manifest has a journal, however early the process dies
        frames = prepared.inputs.frames()
        files = {file: write_whole(path / file, parquet_bytes(frame)) for file, frame in frames.items()}
        started = now.isoformat(timespec="seconds")
        if prepared.board is not None:
            with contextlib.closing(SqliteTape(path / "journal.sqlite", replicate=plan.replicate)) as tape:
                if prepared.replay_of is not None:
                    tape.copy_from(prepared.replay_of / "journal.sqlite")
        if prepared.embed is not None:
            prepared.embed.keep(path / "journal.sqlite")
        if prepared.fork_of is not None:
            _take_over(prepared, prepared.fork_of, path)
        write_manifest(path, prepared, "running", files=files, started=started)
    except (StorageError, CorruptRunError):
        shutil.rmtree(path, ignore_errors=True)
        raise
    return path


def _take_over(prepared: Prepared, source: Path, path: Path) -> None:
    """Give a new fork what it shares with the run that it comes from: recorded steps, and what models answered."""
    assert prepared.plan.forked is not None
    last = copy_steps(source, path, prepared.plan.forked.step)
    if prepared.board is not None and "service" in Contents(source).manifest:
        with contextlib.closing(SqliteTape(path / "journal.sqlite", replicate=prepared.plan.replicate)) as tape:
            tape.fork_from(source / "journal.sqlite", last)


def write_manifest(path: Path, prepared: Prepared, status: str, **more: Any) -> None:
    """Write the manifest, whole or not at all."""
    plan, society, board = prepared.plan, prepared.society, prepared.board
    policies = getattr(society, "policies", {})
    counts = prepared.seating.counts() if prepared.seating is not None else {plan.mind: society.n_agents}
    swapped = [label for each in plan.interventions for label in each.minds.values()]
    notes = {label: mind_note(label, policies) for label in (*counts, *swapped)}
    manifest = {
        "format": 1,
        "status": status,
        "plan": plan.model_dump(mode="json"),
        "mind_note": "; ".join(f"{label}: {note}" if len(notes) > 1 else note for label, note in notes.items()),
        "minds": counts,
        **_seats(prepared, list(counts)),
        "determinism": "exact" if board is None or board.only_tape else "live: only its tape is exact",
        "notes": list(society.notes),
        "tie_kinds": list(society.tie_kinds),
        "directed": society.directed,
        "tables": list(society.tables),
        "said_events": list(getattr(society, "said_events", ())),
        "private_events": list(getattr(society, "private_events", ())),
        "notable": dict(getattr(society, "notable", {})),
        "versions": versions(board is not None),
        "git_commit": _git_commit(),
        **more,
    }
    if getattr(society, "keeps_memory", False):
        store = society.memory
        identity = store.embedder.identity.model_dump(mode="json")
        ids, why = what_is_indexed(store)
        # Said here, so that nobody takes an index for all there is.
        index = {"records": len(ids), "left_out": len(store) - len(ids), "why": why}
        manifest["memory"] = {"settings": store.settings.model_dump(mode="json"), "embedder": identity, "index": index}
        if prepared.embed is not None and (reached := prepared.embed.reached) is not None:
            manifest["memory"]["service"] = reached
    if board is not None and prepared.seating is not None and prepared.seating.book is not None:
        reached = board.service.model_dump(mode="json")
        reached["api_base"] = {name: without_credentials(url) for name, url in reached["api_base"].items()}
        manifest |= {"service": reached, "prompts": dict(sorted(prepared.seating.book.files.items()))}
    manifest["sha256"] = manifest_hash(manifest)
    write_whole(path / "manifest.json", json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")


def _seats(prepared: Prepared, labels: list[str]) -> dict[str, str]:
    """Return which of the minds decides for each agent of the start, as places in their list; nothing for one mind."""
    if len(labels) < 2 or prepared.seating is None:
        return {}
    places = {label: str(i) for i, label in enumerate(labels)}
    return {"seats": " ".join(places[label] for label in prepared.seating.labels)}


def _on_tape(tape: SqliteTape | None) -> dict[str, Any]:
    return {} if tape is None else {"spending": tape.spending(), "tape": tape.digest()}


def versions(with_models: bool = False) -> dict[str, str]:
    """Return the versions that could matter to a result."""
    names = ["simworld", "mesa", "networkx", "numpy", "scipy", "polars", "pydantic", "faker"]
    names += ["jinja2", "json-repair", "litellm", "aiohttp"] if with_models else []
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
def stop_requests(at_once: Callable[[], None] | None = None) -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or SIGTERM) into a request to stop after the step at hand; the second one kills.

    ``at_once`` is called with the request: a step that waits for language models may take long, and is left.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread() or multiprocessing.parent_process() is not None:
        yield asked  # signals are the main thread's, and a worker's are its parent's
        return
    before: dict[int, Any] = {}

    def ask(number: int, frame: Any) -> None:
        asked.set()
        if at_once is not None:
            at_once()
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
    plan, society, board = prepared.plan, prepared.society, prepared.board
    store = Store(path, has_tape=board is not None)
    began = time.perf_counter()
    before = Contents(path).manifest
    started, files = before.get("started"), dict(before["files"])
    recorder = Recorder(plan, society, prepared.observers, store)
    tape: SqliteTape | None = None
    doing = ""

    def record() -> None:
        nonlocal doing
        measured = recorder.take()
        if progress is not None:
            doing = "the progress callback"
            progress(society.t, plan.steps, dict(measured))

    def done_so_far() -> int:
        return recorder.metrics[-1][0] if recorder.metrics else 0

    try:
        doing = f"the start of {plan.scenario}"
        try:
            with stop_requests(None if board is None else board.stop_soon) as stop:
                Contents(path).check_files()  # before anything is rewound
                if board is not None:
                    tape = SqliteTape(path / "journal.sqlite", replicate=plan.replicate)
                    board.keep(tape)
                if prepared.embed is not None:
                    prepared.embed.keep(path / "journal.sqlite")
                done = store.rewind()
                if done >= 0:
                    _catch_up(prepared, recorder, path, done)
                    write_manifest(path, prepared, "running", files=files, started=started)
                else:
                    record()
                prepared.intervene()
                while society.t < plan.steps and society.running:
                    if stop.is_set():
                        recorder.flush()
                        raise Interrupted(
                            f"stopped after step {society.t} of {plan.steps}; go on with: simworld resume {path}"
                        )
                    doing = f"step {society.t + 1} of {plan.scenario}"
                    society.step()
                    record()
                    prepared.intervene()
                doing = f"measuring the findings of {plan.scenario}"
                metrics, findings, digest = recorder.conclude()
                doing = "the null policy"
                beside = None
                if plan.null_runs:
                    beside = null_policy_runs(prepared, stop, lambda n: _told(progress, plan, n))
        except Stopped:
            recorder.flush()
            raise Interrupted(
                f"stopped in step {done_so_far() + 1} of {plan.steps}, which is begun anew; what models answered is "
                f"kept; go on with: simworld resume {path}"
            ) from None
        except BudgetSpent as error:
            raise BudgetSpent(
                f"stopped after step {done_so_far()} of {plan.steps}: {error}; what is paid for is kept; go on with: "
                f"simworld resume {path} and a higher limit (--budget, --max-tokens-total)"
            ) from None
        except ModelError as error:
            raise ModelError(f"{error}; mend it, then: simworld resume {path}") from None
        except (StorageError, CorruptRunError, TapeError, Interrupted):
            raise
        except Exception as error:
            what = str(error) if isinstance(error, SimworldError) else f"{type(error).__name__}: {error}"
            raise RunError(
                f"{doing} failed{_place(error)}: {without_secrets(what)}; mend it, then: "
                f"simworld resume --allow-changed {path}"
            ) from error
        tables = {"metrics.parquet": metrics, "findings.parquet": findings}
        for name, frame in (tables if beside is None else {**tables, "null.parquet": beside}).items():
            files[name] = write_whole(path / name, parquet_bytes(frame))
        taped = _on_tape(tape)
        if board is not None and tape is not None:
            tape.forget_earlier()
            board.close()
            tape.close()
        segments = store.finish()
        write_manifest(
            path, prepared, "finished",
            started=started, ended=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - began, 3), steps_done=society.t,
            digest=digest["digest"], parts={k: v for k, v in digest.items() if k != "digest"},
            segments=segments, files=files, **taped,
        )  # fmt: skip
    except CorruptRunError:
        raise  # a folder that does not say the truth is not written to
    except (RunError, Interrupted) as error:
        recorder.close()
        status = "interrupted" if isinstance(error, Interrupted) else "failed"
        # The journal holds every step; a manifest that cannot be rewritten (a full disk) does not hinder a resume.
        with contextlib.suppress(StorageError, CorruptRunError):
            more = {"files": before["files"], "started": started, "error": str(error), "steps_done": done_so_far()}
            write_manifest(path, prepared, status, **more, **_on_tape(tape))
        raise
    finally:
        if board is not None:
            board.close()
        if prepared.embed is not None:
            prepared.embed.close()
        recorder.close()
        if tape is not None:
            tape.close()
        store.close()


def measured(prepared: Prepared, progress: Progress | None = None) -> tuple[pl.DataFrame, pl.DataFrame, str, int]:
    """Run to the end without a folder; return metrics, findings, digest, and steps taken.

    The digest is that of the recorded run. Language models cannot be asked: what they answer would be kept nowhere.

    Raises:
        RunError: there are language models.
    """
    plan, society = prepared.plan, prepared.society
    if prepared.board is not None:
        raise RunError("what a language model answers is paid for and must be kept; record the run")
    recorder = Recorder(plan, society, prepared.observers, Silence(), beside=False)
    try:
        recorder.take()
        while society.t < plan.steps and society.running:
            society.step()
            now = recorder.take()
            if progress is not None:
                progress(society.t, plan.steps, now)
        metrics, findings, digest = recorder.conclude()
    finally:
        recorder.close()
    return metrics, findings, digest["digest"], society.t


def _told(progress: Progress | None, plan: Plan, done: int) -> None:
    if progress is not None:
        progress(plan.steps, plan.steps, {"null_runs": done})


def _place(error: BaseException) -> str:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    engine = str(Path(__file__).resolve().parent.parent)
    others = (engine, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    own = [f for f in frames if not f[0].startswith(others)]
    file, line = (own or frames)[-1]
    return f" at {os.path.basename(file)}:{line}"


def _catch_up(prepared: Prepared, recorder: Recorder, path: Path, done: int) -> None:
    """Bring a freshly made society to the last checkpoint of its folder."""
    contents = Contents(path)
    streams = contents.streams()
    check_chains(contents, streams)
    steps = contents.steps()
    last = steps[-1]
    if isinstance(prepared.society, PlainModel):
        _run_again(prepared, path, done, (last["events_chain"], last["state_chain"]))
    else:
        prepared.society.drain()
        put_back(prepared, streams, done, last["globals"])
        prepared.society.drain()
    metrics = [(s["step"], json.loads(s["metrics"])) for s in steps]
    recorder.continue_from(last["events_chain"], last["state_chain"], metrics)


def _run_again(prepared: Prepared, path: Path, done: int, chains: tuple[str, str]) -> None:
    """Repeat the steps of a plain Mesa model, whose state nobody can put back; it must agree with what was recorded."""
    society = prepared.society
    replay = Recorder(prepared.plan, society, prepared.observers, Silence())
    replay.take()
    while society.t < done:
        society.step()
        replay.take()
    replay.flush()
    replay.close()
    if (replay.events_chain, replay.state_chain) != chains:
        raise CorruptRunError(
            f"{path}: this model, run again with the same seed, does not repeat itself, so it cannot be resumed; "
            "start it anew (it draws from a source that simworld does not seed)"
        )


class Silence:
    """A sink that keeps nothing."""

    def commit(self, t: int, frames: Any, **chains: Any) -> None:
        """Drop the step."""

"""Processes that work: how they are started, what they find, how they end with the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from simworld.errors import CampaignError

LEAVE_S = 2.0
"""Seconds workers have to end by themselves when they are asked to; arbitrary."""
IN_A_WORKER = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""What a worker finds in its environment unless the user set it: there is a worker for every processor already."""
MARK = "SIMWORLD_WORKER"
"""In the environment of a worker process of ours."""
UNGUARDED = 82
"""Exit code of a worker in which the user's script began a campaign; any number that nobody else uses."""
GUARD = (
    "this script starts a campaign whenever it is imported, and worker processes import it; put the call under "
    '`if __name__ == "__main__":`, or use executor="here"'
)
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h: the signal a process gets when the thread that started it ends."""


class Started[T](NamedTuple):
    """A pool of one process that was just started."""

    pool: ProcessPoolExecutor
    process: BaseProcess
    first: Future[T]
    """Comes when the process has imported everything and done its first task."""


def start_process[T](first: Callable[..., T], *args: Any) -> Started[T]:
    """Start a process in a pool of its own, and give it its first task.

    Raises:
        CampaignError: it cannot be started.
    """
    # Named: `import mesa` sets spawn for the whole process, and another library may set something else.
    context = multiprocessing.get_context("spawn")
    try:
        pool = ProcessPoolExecutor(1, context, start_worker, (os.getcwd(),))
        with in_a_worker({MARK: "1"}):
            future = pool.submit(first, *args)
    except OSError as error:
        raise CampaignError(f"a worker process cannot be started: {error}; use fewer workers") from error
    process: BaseProcess = next(iter(pool._processes.values()))
    # Were this end open here too, an answer that is cut off by its worker's death would be waited for without end.
    pool._result_queue._writer.close()  # type: ignore[attr-defined]
    return Started(pool, process, future)


def start_worker(folder: str | None = None) -> None:
    """Prepare a process that works: it ignores Ctrl-C, which is its parent's, and ends when its parent does.

    Args:
        folder: the one its parent works in, to which relative paths refer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if folder is not None:
        os.chdir(folder)
    parent = multiprocessing.parent_process()
    if parent is not None:
        if sys.platform == "linux":
            # The kernel ends it even where Python does not run: in code that never gives back the interpreter's lock.
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True, name="simworld-parent").start()


def resident_mb() -> float:
    """Return the memory of this process that is in use now, mebibytes; where only its peak is known, that."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    try:
        import resource
    except ModuleNotFoundError:  # Windows, where a worker is not replaced
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def exit_code(process: BaseProcess) -> int | None:
    """Return the exit code of a process that is dying, negative for a signal; None when it takes too long."""
    until = time.monotonic() + LEAVE_S
    while process.exitcode is None and time.monotonic() < until:  # another thread may be about to learn it
        time.sleep(0.002)
    return process.exitcode


@contextlib.contextmanager
def in_a_worker(more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Have the environment of a worker, and more, for processes that are started inside: they read it on import."""
    variables = {**{name: os.environ.get(name, value) for name, value in IN_A_WORKER.items()}, **(more or {})}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def refuse_import() -> None:
    """Refuse to begin a campaign in a process that is being started, and for that imports the script of its parent.

    Raises:
        CampaignError: the script has no guard.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        if MARK in os.environ:  # a worker of a campaign: its parent tells the user, once
            raise SystemExit(UNGUARDED)
        raise CampaignError(GUARD)

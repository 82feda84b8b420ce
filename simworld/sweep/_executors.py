"""Executors: where a campaign's runs are made. Each gives back what `work` returns, in no particular order."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from simworld.errors import CampaignError, did_you_mean
from simworld.sweep._process import GUARD, LEAVE_S, UNGUARDED, exit_code, in_a_worker, resident_mb, start_process
from simworld.sweep._work import Outcome, Task, cost_of, weighed_work, work

RECYCLE_MB = 512.0
"""Mebibytes that a worker may grow by, after its first run, before a new process takes its place, so that a scenario
that leaks memory cannot fill the machine; arbitrary: more than the caches of an honest scenario, and a new process
costs two seconds."""
RAY_RUNS_A_WORKER = 500
"""Runs after which Ray replaces a worker; arbitrary. Ray itself ends workers when a machine's memory is short."""
QUICK_S = 0.5
"""Seconds up to which a run is quick: a worker then has its next run beside it, so that it waits for nothing; the next
of a long one would only wait behind it while another worker has nothing to do. Arbitrary."""
ATTEMPTS = 3
"""How often a run must end its worker before it counts as failed, and a worker must die at its start before the
campaign stops; arbitrary. Once may be the machine's doing: out of memory, somebody's kill."""
MOVES = 20
"""How often a run may be lost with a machine, which is no fault of its own, before it counts as failed; arbitrary."""


class Lost(NamedTuple):
    """A run whose worker died."""

    task: Task
    why: str
    is_own: bool = True
    """Whether the run itself may have ended it; not when a whole machine was lost."""


class Executor(Protocol):
    """Takes tasks, gives back outcomes."""

    @property
    def room(self) -> int:
        """How many more tasks it wants now; 0 while its workers have enough to do."""
        ...

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Wait at most so long, and return what is done; nothing when nothing is."""
        ...

    def close(self) -> None:
        """Stop its workers; runs under way are given up."""
        ...


class Here:
    """Makes every run in this process, one after another."""

    def __init__(self) -> None:
        self._waiting: list[Task] = []

    @property
    def room(self) -> int:
        """One at a time."""
        return 1 - len(self._waiting)

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Make what waits."""
        tasks, self._waiting = self._waiting, []
        return [work(task) for task in tasks]

    def close(self) -> None:
        """There is nothing to stop."""


class _Worker:
    """One process, in a pool of its own: what dies with it is known exactly."""

    def __init__(self, pool: ProcessPoolExecutor, process: BaseProcess) -> None:
        self.pool = pool
        self.process = process
        self.tasks: dict[Future[tuple[Outcome, float]], Task] = {}
        """In order: the first is at work, the others wait."""
        self.is_ready = False
        """Whether it has imported everything."""
        self.since = 0.0
        """When the first task began, on the monotonic clock."""
        self.first_mb: float | None = None
        """Its memory after its first run."""


class Processes:
    """Worker processes of this machine; one that dies or grows too large is replaced by a new one."""

    def __init__(self, workers: int | None = None, recycle_mb: float = RECYCLE_MB) -> None:
        """
        Args:
            workers: processes; as many as there are processors when None.
            recycle_mb: mebibytes a worker may grow by before it is replaced.
        """
        self.workers = workers or os.cpu_count() or 1
        self._recycle_mb = recycle_mb
        self._crew: list[_Worker] = []
        self._leaving: list[_Worker] = []
        """Those that make their last run; others have their place."""
        self._processes: list[BaseProcess] = []
        """All that may be alive."""
        self._news: queue.SimpleQueue[tuple[_Worker, Future[Any]]] = queue.SimpleQueue()
        self._found: list[Outcome | Lost] = []
        self._deep = 1
        self._failed_starts = 0

    @property
    def room(self) -> int:
        """One run a worker, and one that waits while runs are quick."""
        return self._deep * self.workers - sum(len(worker.tasks) for worker in self._crew)

    def submit(self, task: Task) -> None:
        """Give a task to the worker that has least to do; workers are started as they are needed.

        Raises:
            CampaignError: worker processes cannot be started.
        """
        worker = min(self._crew, key=lambda one: len(one.tasks), default=None)
        if worker is None or (worker.tasks and len(self._crew) < self.workers):
            worker = self._start()
        future: Future[tuple[Outcome, float]] | None = None
        with contextlib.suppress(BrokenProcessPool):
            future = worker.pool.submit(weighed_work, task)
        if future is None:  # it died a moment ago; what it did before that is still to be heard, in order
            with contextlib.suppress(queue.Empty):
                while worker in self._crew and (worker.tasks or not worker.is_ready):
                    self._hear(*self._news.get(timeout=LEAVE_S))
            if worker in self._crew:
                self._bury(worker)
            self.submit(task)
            return
        if not worker.tasks:
            worker.since = time.monotonic()
        worker.tasks[future] = task
        future.add_done_callback(lambda done: self._news.put((worker, done)))

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Wait for the first outcomes.

        Raises:
            CampaignError: worker processes cannot be started.
        """
        with contextlib.suppress(queue.Empty):
            news = self._news.get(timeout=0.0 if self._found else timeout_s)
            while True:
                self._hear(*news)
                news = self._news.get_nowait()
        found, self._found = self._found, []
        return found

    def close(self) -> None:
        """Stop the workers."""
        for worker in (*self._crew, *self._leaving):
            worker.pool.shutdown(wait=False, cancel_futures=True)
        self._crew, self._leaving = [], []
        for process in self._processes:
            process.terminate()
        until = time.monotonic() + LEAVE_S
        for process in self._processes:
            process.join(max(until - time.monotonic(), 0.0))
            if process.is_alive():  # it does not hear; what it recorded survives
                process.kill()
                process.join()
        self._processes = []

    def _start(self) -> _Worker:
        started = start_process(resident_mb)
        worker = _Worker(started.pool, started.process)
        self._processes = [*(process for process in self._processes if process.is_alive()), worker.process]
        self._crew.append(worker)
        started.first.add_done_callback(lambda done: self._news.put((worker, done)))
        return worker

    def _hear(self, worker: _Worker, future: Future[Any]) -> None:
        """Take what came of one future of a worker."""
        if worker not in self._crew and worker not in self._leaving:
            return  # it is buried, and its tasks with others
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._bury(worker)
            return
        if future not in worker.tasks:
            worker.is_ready, self._failed_starts = True, 0
            worker.since = time.monotonic()
            return
        if error is None:
            outcome, memory_mb = future.result()
            self._deep = 2 if outcome.seconds < QUICK_S else 1
        else:  # what cannot be sent is a failure of that run
            outcome, memory_mb = Outcome(worker.tasks[future].key, "failed", f"{type(error).__name__}: {error}"), 0.0
        del worker.tasks[future]
        worker.since = time.monotonic()
        self._found.append(outcome)
        if worker.first_mb is None:
            worker.first_mb = memory_mb
        if worker in self._crew and memory_mb - worker.first_mb > self._recycle_mb:
            self._crew.remove(worker)
            self._leaving.append(worker)
        if worker in self._leaving and not worker.tasks:
            self._leaving.remove(worker)
            worker.pool.shutdown(wait=False)

    def _bury(self, worker: _Worker) -> None:
        """Give what a dead worker had to others, except the run that was at work."""
        (self._crew if worker in self._crew else self._leaving).remove(worker)
        code = exit_code(worker.process)
        tasks = list(worker.tasks.values())
        if not worker.is_ready:
            self._failed_starts += 1
            if code == UNGUARDED:
                raise CampaignError(GUARD)
            if self._failed_starts >= ATTEMPTS or (code is not None and code > 0):
                raise CampaignError(
                    f"a worker process ended at its start{_how(code)}; what it said is above, if it said anything"
                )
        elif tasks:
            lost = tasks.pop(0)
            if lost.timeout_s is not None and (took := time.monotonic() - worker.since) >= lost.timeout_s:
                why = f"it took longer than timeout_s = {lost.timeout_s:g}, and its process had to be ended"
                self._found.append(Outcome(lost.key, "failed", why, **cost_of(lost.folder), seconds=took))
            else:
                self._found.append(Lost(lost, f"its worker process died{_how(code)}"))
        for task in tasks:
            self.submit(task)


def _how(code: int | None) -> str:
    if code is None:
        return ""
    return f" (exit code {code})" if code >= 0 else f" (signal {-code}{', or out of memory' if code == -9 else ''})"


class Ray:
    """Workers of a Ray cluster, or of Ray on this machine."""

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        """
        Args:
            address: of the cluster (``auto``, ``ray://host:10001``); None starts Ray here.
            workers: runs under way at once; as many as the cluster has processors when None.

        Raises:
            CampaignError: Ray is not installed, or the cluster does not answer.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise CampaignError("the executor 'ray' needs Ray: pip install 'simworld[ray]'") from None
        self._ray: Any = ray
        self._is_own = not ray.is_initialized()
        if self._is_own:
            here = {"address": "local", "num_cpus": workers, "include_dashboard": False}
            where: dict[str, Any] = {"address": address} if address else here
            try:
                with in_a_worker(), _own_signals():
                    ray.init(logging_level=logging.ERROR, log_to_driver=False, configure_logging=False, **where)
            except (ConnectionError, OSError, ValueError, RuntimeError) as error:
                raise CampaignError(f"Ray cannot be reached at {address!r}: {error}") from error
        self.workers = workers or int(self._ray.cluster_resources().get("CPU", 1))
        # What is lost with a worker or a machine is given back as lost: the campaign says how it is tried again.
        self._work = ray.remote(num_cpus=1, max_retries=0, max_calls=RAY_RUNS_A_WORKER)(_work_in)
        self._tasks: dict[Any, Task] = {}

    @property
    def room(self) -> int:
        """Two runs a worker."""
        return 2 * self.workers - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Give a task to the cluster."""
        self._tasks[self._work.remote(os.getcwd(), task)] = task

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Wait for the first outcomes."""
        if not self._tasks:
            return []
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout_s)
        found: list[Outcome | Lost] = []
        errors = self._ray.exceptions
        for reference in ready:
            task = self._tasks.pop(reference)
            try:
                found.append(self._ray.get(reference))
            except errors.RayTaskError as error:  # raised in the worker, which lives
                cause = error.cause if error.cause is not None else error
                found.append(Outcome(task.key, "failed", f"{type(cause).__name__}: {cause}"))
            except errors.LocalRayletDiedError as error:
                raise CampaignError("Ray has ended on this machine; call it again to go on") from error
            except errors.RayError as error:
                is_own = not isinstance(error, errors.NodeDiedError)
                found.append(Lost(task, f"its worker process died ({type(error).__name__})", is_own))
        return found

    def close(self) -> None:
        """Give up what is under way; Ray that was started here ends."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        if self._is_own:
            self._ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Put this process's answer to SIGTERM back, which Ray replaces by its own."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _work_in(folder: str, task: Task) -> Outcome:
    """Make a run where its relative paths, of the scenario and of files, mean what they mean to who asked for it."""
    if os.path.isdir(folder):  # a machine without it can still make runs that name no files
        os.chdir(folder)
    return work(task)


def check_executor(name: str, workers: int | None) -> None:
    """Refuse an executor that does not exist, or an impossible number of workers, before anything is written.

    Raises:
        CampaignError: what is wrong.
    """
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise CampaignError(f"workers = {workers!r} is no number of processes, 1 or more")
    known = ["processes", "ray", "here"]
    if name not in known and not name.startswith("ray:"):
        raise CampaignError(f"no executor {name!r}{did_you_mean(name, known)}; there are {known}, and ray:ADDRESS")


def executor(name: str, workers: int | None = None, options: Mapping[str, Any] | None = None) -> Executor:
    """Return an executor by name: ``processes``, ``ray`` or ``here``.

    Raises:
        CampaignError: there is none of this name, or it cannot be used.
    """
    check_executor(name, workers)
    if name == "here":
        return Here()
    if name == "processes":
        return Processes(workers, **(options or {}))
    return Ray(name.partition(":")[2] or None, workers)

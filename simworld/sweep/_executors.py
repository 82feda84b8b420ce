"""Executors: where a campaign's runs are made. Each gives back what `work` returns, in no particular order."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Protocol

from simworld.errors import CampaignError, did_you_mean
from simworld.sweep._work import Outcome, Task, start_worker, work

RUNS_A_WORKER = 200
"""Runs after which a worker process is replaced, so that a scenario that leaks memory cannot fill the machine;
arbitrary: a new process costs about two seconds, as much as 200 runs of ten milliseconds."""

LEAVE_S = 2.0
"""Seconds a worker has to end by itself when it is asked to; arbitrary."""
ATTEMPTS = 2
"""How often a run that is alone must end its worker before it counts as failed; arbitrary. Once may be the machine's
doing (out of memory, somebody's kill). When one worker of a pool dies, its neighbours' runs are lost with it."""


class Lost(NamedTuple):
    """A run whose worker died."""

    task: Task
    why: str


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


class Processes:
    """Worker processes of this machine, spawned anew after so many runs."""

    def __init__(self, workers: int | None = None, runs_a_worker: int = RUNS_A_WORKER) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._runs_a_worker = runs_a_worker
        self._pool: ProcessPoolExecutor | None = None
        self._futures: dict[Future[Outcome], Task] = {}

    @property
    def room(self) -> int:
        """Two runs a worker, so that none waits for its next."""
        return 2 * self.workers - len(self._futures)

    def submit(self, task: Task) -> None:
        """Give a task to the pool."""
        if self._pool is None:
            # Named: `import mesa` sets spawn for the whole process, and another library may set something else.
            self._pool = ProcessPoolExecutor(
                self.workers,
                multiprocessing.get_context("spawn"),
                start_worker,
                max_tasks_per_child=self._runs_a_worker,
            )
        try:
            self._futures[self._pool.submit(work, task)] = task
        except BrokenProcessPool as error:
            broken: Future[Outcome] = Future()
            broken.set_exception(error)
            self._futures[broken] = task

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Wait for the first outcomes."""
        finished, _ = wait(self._futures, timeout_s, FIRST_COMPLETED)
        found: list[Outcome | Lost] = []
        is_broken = False
        for future in finished:
            task = self._futures.pop(future)
            try:
                found.append(future.result())
            except BrokenProcessPool:
                is_broken = True
                found.append(Lost(task, "its worker process died (killed, out of memory, or over its time)"))
            except Exception as error:  # noqa: BLE001 - what cannot be sent back is a failure of that run
                found.append(Outcome(task.key, "failed", f"{type(error).__name__}: {error}"))
        if is_broken:
            # One dead worker breaks the pool: what is under way is lost, and a new pool begins.
            for future, task in list(self._futures.items()):
                if future.done() and not future.exception():
                    found.append(future.result())
                else:
                    found.append(Lost(task, "its worker process died (killed, out of memory, or over its time)"))
            self._futures.clear()
            self.close()
        return found

    def close(self) -> None:
        """Stop the workers."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(LEAVE_S)
            if process.is_alive():  # it does not hear; what it recorded survives
                process.kill()
                process.join()


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
                ray.init(logging_level=logging.ERROR, log_to_driver=False, configure_logging=False, **where)
            except (ConnectionError, OSError, ValueError, RuntimeError) as error:
                raise CampaignError(f"Ray cannot be reached at {address!r}: {error}") from error
        self.workers = workers or int(self._ray.cluster_resources().get("CPU", 1))
        # What is lost with a worker or a machine is given back as lost: the campaign says how it is tried again.
        self._work = ray.remote(num_cpus=1, max_retries=0, max_calls=RUNS_A_WORKER)(work)
        self._tasks: dict[Any, Task] = {}

    @property
    def room(self) -> int:
        """Two runs a worker."""
        return 2 * self.workers - len(self._tasks)

    def submit(self, task: Task) -> None:
        """Give a task to the cluster."""
        self._tasks[self._work.remote(task)] = task

    def done(self, timeout_s: float) -> list[Outcome | Lost]:
        """Wait for the first outcomes."""
        if not self._tasks:
            return []
        ready, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout_s)
        found: list[Outcome | Lost] = []
        for reference in ready:
            task = self._tasks.pop(reference)
            try:
                found.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                found.append(Lost(task, f"its worker died: {type(error).__name__}"))
        return found

    def close(self) -> None:
        """Give up what is under way; Ray that was started here ends."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks.clear()
        if self._is_own:
            self._ray.shutdown()


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

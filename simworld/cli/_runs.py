"""Finding the runs a command is about."""

from __future__ import annotations

import shlex
from pathlib import Path

from simworld.errors import RunError, UsageError
from simworld.run import Run, load_run
from simworld.scenario import find_lab


def find(named: str) -> Run:
    """Return the run of a folder, a name, the beginning of a name, or ``last``: the newest of the lab.

    Raises:
        UsageError: there is no such run.
    """
    if named != "last" or Path(named).is_dir():
        return load_run(named)
    for found in newest_first():
        if isinstance(found, Run):
            return found
    raise UsageError(f"no run in {str(find_lab().runs)!r} yet; make one: simworld run friendship_paradox")


def newest_first() -> list[Run | tuple[str, str]]:
    """Return the runs of the lab, and (name, why) for each that cannot be read."""
    found: list[tuple[str, int, Run | tuple[str, str]]] = []
    for path in sorted(manifest.parent for manifest in find_lab().runs.glob("*/manifest.json")):
        run: Run | tuple[str, str]
        try:
            run = Run(path)
            started = str(run.manifest.get("started") or "")
        except (RunError, UsageError, KeyError, ValueError) as error:
            run, started = (path.name, str(error)), ""
        # A manifest knows its start to the second; of two in one second the folder touched last comes first.
        found.append((started, path.stat().st_mtime_ns, run))
    return [run for _, _, run in sorted(found, key=lambda each: each[:2], reverse=True)]


def shown(path: Path) -> str:
    """Return the path as a user would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path != here and path.is_relative_to(here) else str(path)


def reference(run: Run) -> str:
    """Return what to type for this run: its name in the lab, else its folder."""
    path = run.path.resolve()
    return shlex.quote(path.name if path.parent == find_lab().runs.resolve() else shown(run.path))

"""A lab: the folder that holds scenarios, agents and runs; the user's own, and the one that comes with the engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simworld.errors import UsageError

ENGINE = Path(__file__).resolve().parents[1]
"""The folder of the package ``simworld``."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A folder with ``scenarios/``, and usually ``agents/`` and ``runs/``."""

    root: Path
    """The folder itself, resolved."""
    runs: Path
    """Where runs are written; may not exist yet."""
    is_bundled: bool = False
    """Whether this is the lab that comes with the engine."""

    @property
    def scenarios(self) -> Path:
        """What can happen."""
        return self.root / "scenarios"

    @property
    def agents(self) -> Path:
        """Who lives there; may not exist."""
        return self.root / "agents"


def find_lab(start: Path | None = None) -> Lab:
    """Return the lab around ``start`` (default: the working directory), else the bundled one.

    The lab is the nearest folder, upwards, that has a folder ``scenarios``; its runs go to its own ``runs/``. When the
    bundled lab stands in because there is none, runs go to ``runs/`` in ``start``, however the engine is installed.

    Raises:
        UsageError: there is no lab around ``start`` and the installation lacks the bundled one.
    """
    here = (start or Path.cwd()).resolve()
    if here.is_file():
        here = here.parent
    bundled = _bundled_root()
    for folder in (here, *here.parents):
        if (folder / "scenarios").is_dir() and folder != ENGINE / "_lab":
            return Lab(folder, folder / "runs", is_bundled=folder == bundled)
    return bundled_lab(here)


def bundled_lab(start: Path | None = None) -> Lab:
    """Return the lab that comes with the engine, with its runs in ``start`` (default: the working directory).

    It is the checkout that holds the engine, or the copy inside the wheel.

    Raises:
        UsageError: the installation has neither.
    """
    root = _bundled_root()
    here = (start or Path.cwd()).resolve()
    if root is None:
        raise UsageError(f"no folder 'scenarios' in {str(here)!r} or above, and simworld was installed without its own")
    return Lab(root, here / "runs", is_bundled=True)


def search_order(lab: Lab) -> tuple[Lab, ...]:
    """Return the labs a name is looked up in: the one given, then the bundled one."""
    bundled = _bundled_root()
    return (lab,) if bundled is None or lab.root == bundled else (lab, Lab(bundled, lab.runs, is_bundled=True))


def shown(path: Path) -> str:
    """Return the path as a user would type it: relative to the working directory where it lies inside."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _bundled_root() -> Path | None:
    # The wheel's copy first: beside an engine in site-packages may lie foreign packages named `scenarios` and `agents`.
    for root in (ENGINE / "_lab", ENGINE.parent):
        if (root / "scenarios").is_dir() and (root / "agents").is_dir():
            return root
    return None

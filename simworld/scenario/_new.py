"""Making a lab of one's own from the bundled one."""

from __future__ import annotations

import os
from pathlib import Path

from simworld.errors import StorageError, UsageError
from simworld.scenario._lab import Lab, bundled_lab, shown

LAB_README = """\
# A simworld lab

`scenarios/` is what can happen, `agents/` is who lives there, `runs/` is what came of it. These are copies, to be
edited: a scenario here hides the one of the same name that came with simworld. Next, in this folder:

    simworld list
    simworld run friendship_paradox
    simworld show runs/<the folder it printed>
"""

RUNS_README = """\
# Runs

One folder a run, written by `simworld run` and never changed once it has finished. `simworld verify` checks one,
`simworld resume` finishes one that was stopped.
"""


def new_lab(target: Path, *, force: bool = False, source: Lab | None = None) -> list[Path]:
    """Copy the scenarios and agents of ``source`` (default: the bundled lab) to ``target`` for editing.

    All or nothing: the lab is built in a temporary folder and moved into place when complete.

    Args:
        target: a folder that does not exist yet or is empty; its parent must exist.
        force: accept a folder that holds something; the files it has are kept, only missing ones are added.
        source: the lab to copy.

    Returns:
        The files that were made, sorted.

    Raises:
        UsageError: the target is not empty, is a file, or cannot be written to.
        StorageError: copying failed, for example on a full disk; nothing is left behind.
    """
    import shutil
    import tempfile

    target = Path(os.path.abspath(os.path.expanduser(target)))
    source = source or bundled_lab()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{shown(target)!r} is a file; name a folder that does not exist yet")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise UsageError(
            f"{shown(target)!r} is not empty; name a new folder, or add what is missing to it with --force"
        )
    if not target.parent.is_dir():
        raise UsageError(f"no folder {str(target.parent)!r} to make {target.name!r} in; create it first")
    files = [path for folder in (source.scenarios, source.agents) for path in _content(folder)]
    # Where a rename needs no second file system: an existing target may be one of its own.
    place = target if target.exists() else target.parent
    try:
        workshop = Path(tempfile.mkdtemp(prefix=".new-lab-", dir=place))
    except OSError as exc:
        raise UsageError(f"cannot write in {str(place)!r}: {exc.strerror}; choose another folder") from exc
    try:
        made = _build(workshop / "lab", source.root, files)
        if target.exists():
            return _move_in(workshop / "lab", target, made)
        (workshop / "lab").rename(target)
        return [target / path for path in made]
    except OSError as exc:
        raise StorageError(f"cannot make the lab {shown(target)!r}: {exc}; nothing was left there, try again") from exc
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _content(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    hidden = (".", "__pycache__")
    return [path for path in found if not any(part.startswith(hidden) for part in path.relative_to(folder).parts)]


def _build(lab: Path, root: Path, files: list[Path]) -> list[Path]:
    """Write the whole lab into a new folder; return its files relative to it, sorted."""
    import shutil

    for folder in ("scenarios", "agents", "runs"):
        (lab / folder).mkdir(parents=True)
    for path in files:
        copy = lab / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # Contents only: a copy of a read-only installation must be writable.
        shutil.copyfile(path, copy)
    (lab / "README.md").write_text(LAB_README, encoding="utf-8")
    (lab / "runs" / "README.md").write_text(RUNS_README, encoding="utf-8")
    return sorted(path.relative_to(lab) for path in lab.rglob("*") if path.is_file())


def _move_in(lab: Path, target: Path, made: list[Path]) -> list[Path]:
    """Move what the target lacks into it; on failure take back what was moved."""
    folders = [path.relative_to(lab) for path in sorted(lab.rglob("*")) if path.is_dir()]
    done: list[Path] = []
    try:
        for folder in folders:
            if not (target / folder).is_dir():
                (target / folder).mkdir()
                done.append(target / folder)
        for path in made:
            if not os.path.lexists(target / path):
                (lab / path).rename(target / path)
                done.append(target / path)
    except OSError:
        for path in reversed(done):
            path.rmdir() if path.is_dir() else path.unlink()
        raise
    return [path for path in done if path.is_file()]

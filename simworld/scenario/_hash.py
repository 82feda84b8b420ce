"""The content hash of a scenario: what a run's manifest says about the code and texts it was made with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from simworld.errors import ScenarioError
from simworld.scenario._lab import shown
from simworld.scenario._syntax import imported_files, parse

if TYPE_CHECKING:
    from simworld.scenario._spec import ScenarioRef

SUFFIXES = frozenset({".py", ".md", ".toml", ".jsonl", ".json", ".csv", ".txt", ".j2"})
"""What a scenario is written in; in ``prompts/`` every file counts."""

NOT_RUN = frozenset({"__pycache__", "README.md"})
"""What explains a scenario, or is made from it: editing a README must not keep a run from being resumed."""


def content_hash(ref: ScenarioRef) -> str:
    """Return the scenario's SHA-256, hexadecimal; see `ScenarioRef.content_hash`."""
    file = ref.file
    digest = hashlib.sha256()
    if ref.kind == "module":
        _feed(digest, ref.module, _distribution(ref.module).encode())
        if file is not None:
            _feed(digest, file.name, _read(file))
        return digest.hexdigest()
    assert file is not None
    assert ref.root is not None
    try:
        if ref.kind == "folder":
            files = set(_folder_files(file.parent, file.parent))
        else:
            prompts = file.parent / "prompts"
            files = {file, *(_folder_files(prompts, prompts) if prompts.is_dir() else ())}
    except OSError as exc:
        raise ScenarioError(f"{shown(file.parent)} cannot be read: {exc.strerror}; check its permissions") from exc
    files |= _imported(files, ref.root)
    for name, path in sorted((Path(os.path.relpath(path, file.parent)).as_posix(), path) for path in files):
        _feed(digest, name, _read(path))
    return digest.hexdigest()


def _folder_files(folder: Path, top: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in NOT_RUN or entry == top / "sweeps":
            continue
        if entry.is_dir():
            # A link that leads back up would never end.
            if not (entry.is_symlink() and folder.resolve().is_relative_to(entry.resolve())):
                yield from _folder_files(entry, top)
        elif entry.suffix in SUFFIXES or entry.is_relative_to(top / "prompts"):
            yield entry


def _imported(files: set[Path], root: Path) -> set[Path]:
    """Return the files in ``root`` that these import relatively, directly or through others."""
    seen = set(files)
    waiting = [path for path in files if path.suffix == ".py"]
    while waiting:
        path = waiting.pop()
        try:
            found = list(imported_files(path, parse(path)))
        except ScenarioError:
            continue  # a file that is no Python imports nothing; its bytes count all the same
        new = {each for each in found if each not in seen and each.is_relative_to(root)}
        seen |= new
        waiting.extend(new)
    return seen


def _distribution(module: str) -> str:
    from importlib import metadata

    top = module.partition(".")[0]
    try:
        found = metadata.distribution(top)
    except metadata.PackageNotFoundError:
        # Slow (every installed distribution is read), so only for a package that is not named like its distribution.
        names = metadata.packages_distributions().get(top)
        if not names:
            return "not from a distribution"
        found = metadata.distribution(min(names))
    return f"{found.metadata['Name']}=={found.version}"


def _feed(digest: hashlib._Hash, name: str, data: bytes) -> None:
    # Lengths first, so that no content can pass for another file's name.
    raw = name.encode("utf-8", "surrogateescape")
    digest.update(b"%d:%b%d:" % (len(raw), raw, len(data)))
    digest.update(data)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ScenarioError(
            f"{shown(path)} cannot be read: {exc.strerror}; check the file and its permissions"
        ) from exc

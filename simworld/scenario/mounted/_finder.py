"""The finder that serves a folder as a package, under a name that no other package can have."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from threading import RLock
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from simworld.errors import UsageError

if TYPE_CHECKING:
    from importlib.readers import FileReader

PACKAGE = "simworld.scenario.mounted"

MOUNTS_VARIABLE = "SIMWORLD_MOUNTS"
"""Environment variable that tells spawned children what is mounted: a JSON object, lab id -> folder."""

ID_DIGITS = 10
"""Hexadecimal digits of the path's hash in a lab id; arbitrary, 40 bits keep two labs of one name apart."""

_mounts: dict[str, str] = {}
_imported: dict[str, tuple[str, bytes]] = {}  # module name -> its file and the SHA-256 of the source that was compiled
_lock = RLock()


def lab_id(folder: Path) -> str:
    """Return the folder's id: its name, for the reader, and a hash of its resolved path. A valid identifier."""
    resolved = folder.resolve()
    name = re.sub(r"\W", "_", resolved.name, flags=re.ASCII)[:40]
    if not name.isidentifier():
        name = f"lab_{name}"
    return f"{name}_{hashlib.sha256(os.fsencode(resolved)).hexdigest()[:ID_DIGITS]}"


def package_of(folder: Path) -> str:
    """Return the package name the folder has, or would have, when mounted."""
    return f"{PACKAGE}.{lab_id(folder)}"


def mount(folder: Path) -> str:
    """Serve ``folder`` as a package here and in every process spawned from now on; return the package's name.

    Mounting again changes nothing. Nothing is imported and nothing is written to the folder.

    Raises:
        UsageError: the folder does not exist, or ``SIMWORLD_MOUNTS`` was set to something else than a table of mounts.
    """
    resolved = folder.resolve()
    if not resolved.is_dir():
        raise UsageError(f"cannot mount {str(folder)!r}: no such folder; give the folder that holds the scenario")
    identity = lab_id(resolved)
    with _lock:
        announced = _announced()
        if announced.get(identity) != str(resolved):
            import json

            announced[identity] = str(resolved)
            os.environ[MOUNTS_VARIABLE] = json.dumps(announced, sort_keys=True)
        _mounts[identity] = str(resolved)
    return f"{PACKAGE}.{identity}"


def refresh(package: str) -> bool:
    """Forget the package's modules if the source of any of them has changed since it was imported; say whether it had.

    A notebook that edits a scenario and runs it again gets the new code, the code its content hash speaks of. All of
    the package's modules go, since any may have imported from the changed one; classes handed out before stay usable
    but can no longer be pickled.
    """
    with _lock:
        mine = [name for name in _imported if name.startswith(f"{package}.")]
        if all(_digest(path) == digest for path, digest in map(_imported.__getitem__, mine)):
            return False
        for name in mine:
            del _imported[name]
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            del sys.modules[name]
        return True


def install() -> None:
    """Register the finder, ahead of the one for sys.path, which would find the same files and cache their bytecode."""
    if not any(isinstance(finder, MountedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, MountedFinder())


class MountedFinder:
    """Finds the mounted packages and what is in them; anything else is left to the other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module in a mounted folder, or None. The directory is read anew each time."""
        if not fullname.startswith(f"{PACKAGE}."):
            return None
        identity, _, inside = fullname.removeprefix(f"{PACKAGE}.").partition(".")
        if not inside:
            folder = _folder_of(identity)
            return None if folder is None else _folder_spec(fullname, folder)
        last = inside.rpartition(".")[2]
        for parent in path or ():
            package, file = Path(parent, last), Path(parent, f"{last}.py")
            if (package / "__init__.py").is_file():
                return _file_spec(fullname, package / "__init__.py", [str(package)])
            if file.is_file():
                return _file_spec(fullname, file, None)
            if package.is_dir():
                return _folder_spec(fullname, str(package))
        return None


class SourceLoader(SourceFileLoader):
    """Compiles the source at every import: no ``__pycache__`` in content folders, and none that is stale.

    Python trusts bytecode whose source has the same size and the same second of modification, which a quick edit keeps.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Return the module's code, compiled from the file as it is now."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        with _lock:
            _imported[fullname] = (path, hashlib.sha256(source).digest())
        return self.source_to_code(source, path)


class FolderLoader:
    """Loads a folder without ``__init__.py`` as an empty package."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, "__init__.py")
        """Where the package's file would be; importlib's reader takes its parent."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave the making of the module to importlib."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: there is nothing to execute."""

    def get_resource_reader(self, fullname: str) -> FileReader:
        """Return the reader behind ``importlib.resources.files``."""
        from importlib.readers import FileReader

        return FileReader(self)  # type: ignore[arg-type]


def _announced() -> dict[str, str]:
    text = os.environ.get(MOUNTS_VARIABLE)
    if not text:
        return {}
    import json

    try:
        table = json.loads(text)
    except json.JSONDecodeError:
        table = None
    if not isinstance(table, dict) or not all(isinstance(folder, str) for folder in table.values()):
        raise UsageError(
            f"{MOUNTS_VARIABLE}={text!r} is not a JSON object of lab id to folder; simworld sets it: unset it"
        )
    return table


def _folder_of(identity: str) -> str | None:
    folder = _mounts.get(identity)
    if folder is None:
        folder = _announced().get(identity)
    return folder if folder is not None and os.path.isdir(folder) else None


def _folder_spec(fullname: str, folder: str) -> ModuleSpec:
    spec = ModuleSpec(fullname, FolderLoader(folder), is_package=True)  # type: ignore[arg-type]
    spec.submodule_search_locations = [folder]
    return spec


def _file_spec(fullname: str, file: Path, locations: list[str] | None) -> ModuleSpec | None:
    loader = SourceLoader(fullname, str(file))
    return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=locations)


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None

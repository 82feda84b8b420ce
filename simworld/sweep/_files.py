"""Files that the calls of a campaign name: their content decides results, so it is part of every run's key."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from simworld.errors import CampaignError
from simworld.scenario import find_cast
from simworld.world import parse_graph


class Files:
    """Reads each file once, however many calls name it."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._hashes: dict[tuple[str, str], str | None] = {}
        self.found: dict[str, str] = {}
        """The sha256 of every file that was read, by the name it was given."""

    def params(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters with ``@FILE`` replaced by the text of the file, and ``@@`` by ``@``.

        Raises:
            CampaignError: a file that cannot be read.
        """
        return {name: self._text(name, value) for name, value in given.items()}

    def _text(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        if value.startswith("@@"):
            return value[1:]
        if value not in self._texts:
            with _readable(Path(value[1:]), f"parameter {name} = {value!r}", "a text that begins with @ is @@..."):
                said = Path(value[1:]).read_bytes()
            try:
                self._texts[value] = said.decode("utf-8")
            except UnicodeDecodeError as error:
                raise CampaignError(f"parameter {name} = {value!r}: the file is no text in UTF-8: {error}") from None
            self.found[value[1:]] = hashlib.sha256(said).hexdigest()
        return self._texts[value]

    def of(self, cls: Any, call: Mapping[str, Any]) -> dict[str, str]:
        """Return the sha256 of the files of one call, by what they are: ``graph``, ``cast``.

        Args:
            cls: the scenario, which may have a graph or a cast of its own.
            call: keyword arguments of `simworld.run.prepare`.

        Raises:
            UsageError: no such file.
        """
        named = {
            "graph": call.get("graph", getattr(cls, "starting_graph", None)),
            "cast": call.get("cast", getattr(cls, "starting_cast", None)),
        }
        found = {what: self._hash(what, name) for what, name in named.items() if isinstance(name, str)}
        return {what: sha256 for what, sha256 in found.items() if sha256 is not None}

    def _hash(self, what: str, name: str) -> str | None:
        """Return the sha256 of what a graph or a cast is read from; None for a graph that is no file."""
        if (what, name) not in self._hashes:
            path: Path | None = None
            if what == "cast":
                path = find_cast(name)
            elif (spec := parse_graph(name)).kind == "file":
                path = Path(spec.name)
            sha256 = None
            if path is not None:
                with _readable(path, f"{what} = {name!r}", "name another"):
                    now = path.stat()
                    sha256 = self.found[name] = _sha256(str(path.resolve()), now.st_mtime_ns, now.st_size)
            self._hashes[what, name] = sha256
        return self._hashes[what, name]


@contextlib.contextmanager
def _readable(path: Path, said: str, hint: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CampaignError(f"{said}: the file {str(path)!r} cannot be read: {reason}; {hint}") from None


@lru_cache
def _sha256(path: str, mtime_ns: int, size: int) -> str:
    """Return the sha256 of a file, read once in a process until it is written to."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

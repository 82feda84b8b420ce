"""From what a user types to one scenario: a name, a path, or a module. Nothing is imported."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from simworld.errors import ScenarioError, did_you_mean
from simworld.scenario._lab import Lab, find_lab, search_order, shown
from simworld.scenario.mounted import package_of

type Kind = Literal["folder", "file", "module"]

WORLD_FILE = "world.py"
"""The file of a folder scenario that holds its class."""


@dataclass(frozen=True, slots=True)
class ScenarioRef:
    """One scenario, found and not imported."""

    spec: str
    """The text that finds it again: its name in the lab, else an absolute path or a module; ``@Class`` if given."""
    kind: Kind
    path: Path | None
    """The folder of a folder scenario, else the file; None for a module that is not a file."""
    module: str
    """What is imported. It depends on where the lab lies: never write it into a record."""
    class_name: str | None
    """The class, if the user named one."""
    root: Path | None = None
    """The folder that is mounted for it; None for a module."""

    @property
    def file(self) -> Path | None:
        """The Python file that holds the class."""
        return self.path / WORLD_FILE if self.kind == "folder" and self.path else self.path

    @property
    def name(self) -> str:
        """A short name: ``voter`` for ``classical/voter`` or ``/x/voter.py``, ``Schelling`` for ``a.b@Schelling``."""
        if self.kind == "module":
            return self.class_name or self.module.rpartition(".")[2]
        return self.path.stem if self.kind == "file" and self.path else Path(self.spec.partition("@")[0]).name

    def content_hash(self) -> str:
        """Return the SHA-256, hexadecimal, of everything the scenario is made of, as it is on disk now.

        A folder: the relative names and bytes of its sources, texts and tables, and of files outside that it imports
        relatively; neither bytecode, hidden files nor ``sweeps/`` (a design changes no run). A file: itself and what it
        imports relatively. A module: its distribution's name and version and its own file.

        Raises:
            ScenarioError: a file cannot be read.
        """
        from simworld.scenario._hash import content_hash

        return content_hash(self)


@dataclass(frozen=True, slots=True)
class Found:
    """One scenario seen in a lab's folder."""

    name: str
    kind: Kind
    path: Path
    error: str | None = None


def resolve(spec: str | os.PathLike[str], lab: Lab | None = None) -> ScenarioRef:
    """Find the scenario that ``spec`` names.

    In this order: a name in ``lab`` (default: the lab around the working directory), then in the bundled lab
    (``friendship_paradox``, ``classical/voter``); a path to a folder or a file, from the working directory or from the
    lab; an importable module (``mesa.examples.basic.schelling.model``). Each may end in ``@Class``.

    Raises:
        ScenarioError: nothing is found, with the nearest name; or more than one thing is.
    """
    lab = lab or find_lab()
    text, class_name = _split(os.fspath(spec))
    found = _by_name(text, lab)
    if found:
        home, rest = found
        return _in_lab(home, rest, lab, class_name)
    path = Path(os.path.expanduser(text))
    for place in (Path.cwd(), *(each.root for each in search_order(lab))):
        if os.path.exists(place / path):
            return _by_path(Path(os.path.abspath(place / path)), lab, class_name)
    if not text.endswith(".py") and all(map(str.isidentifier, text.split("."))) and ("." in text or class_name):
        ref = _by_module(text, lab, class_name)
        if ref is not None:
            return ref
    if text.endswith(".py") or text[0] in "./~":
        raise ScenarioError(
            f"no scenario file {text!r}; give the path from {str(Path.cwd())!r}, or a name (simworld list)"
        )
    raise ScenarioError(f"no scenario {text!r} in this lab{_nearest(text, lab)} (simworld list)")


def scenario_files(lab: Lab) -> list[Found]:
    """Return every scenario in this lab's own folder, sorted by name; a name that is two things carries an error."""
    found = sorted(_walk(lab.scenarios, "", frozenset()), key=lambda each: (each.name, each.kind))
    names = [each.name for each in found]
    return [
        Found(each.name, each.kind, each.path, _both(each.name, lab)) if names.count(each.name) > 1 else each
        for each in found
    ]


def _walk(folder: Path, prefix: str, above: frozenset[Path]) -> Iterator[Found]:
    resolved = folder.resolve()
    if resolved in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as exc:
        yield Found(
            prefix.rstrip("/") or folder.name, "folder", folder, f"{shown(folder)} cannot be read: {exc.strerror}"
        )
        return
    for entry in entries:
        if entry.name.startswith((".", "_")):
            continue
        name = f"{prefix}{entry.stem if entry.suffix == '.py' else entry.name}"
        if entry.suffix == ".py" and entry.is_file():
            yield Found(name, "file", entry, _unmountable(entry.stem))
        elif (entry / WORLD_FILE).is_file():
            yield Found(name, "folder", entry, _unmountable(entry.name))
        elif entry.is_dir():
            yield from _walk(entry, f"{name}/", above | {resolved})


def _split(spec: str) -> tuple[str, str | None]:
    text = spec.strip()
    if text in ("", "@"):
        raise ScenarioError(f"no scenario named in {spec!r}; give a name, a path or a module (simworld list)")
    head, at, tail = text.rpartition("@")
    if not at or os.path.exists(text):
        return text, None
    if not head or not tail.isidentifier():
        raise ScenarioError(f"no class named after '@' in {spec!r}; write, for example, path/to/my.py@MyWorld")
    return head, tail


def _by_name(text: str, lab: Lab) -> tuple[Lab, tuple[str, ...]] | None:
    parts = tuple(text.rstrip("/").split("/"))
    if any(part in ("", ".", "..", "~") for part in parts):
        return None
    for home in search_order(lab):
        place = home.scenarios.joinpath(*parts)
        folder, file = place / WORLD_FILE, place.with_name(f"{place.name}.py")
        has_folder, has_file = os.path.isfile(folder), os.path.isfile(file)
        if has_folder and has_file:
            raise ScenarioError(_both("/".join(parts), home))
        if has_folder:
            return home, (*parts, "world")
        if has_file:
            return home, parts
    return None


def _by_path(path: Path, lab: Lab, class_name: str | None) -> ScenarioRef:
    file = path / WORLD_FILE if path.is_dir() else path
    if not file.is_file():
        inside = [each.name for each in _walk(path, f"{path.name}/", frozenset())]
        holds = f"; it holds {', '.join(inside)}" if inside else "; a scenario is a folder with a world.py, or one file"
        raise ScenarioError(f"{shown(path)!r} is not a scenario: it has no {WORLD_FILE}{holds}")
    if file.suffix != ".py":
        raise ScenarioError(f"{shown(file)!r} is not a Python file; give a folder with a {WORLD_FILE}, or a .py file")
    for above in file.parents[1:]:
        if file.is_relative_to(above / "scenarios"):
            home = Lab(above.resolve(), above / "runs")
            return _in_lab(home, file.relative_to(above / "scenarios").with_suffix("").parts, lab, class_name)
    root = file.parent
    while (root / "__init__.py").is_file() and root != root.parent:
        root = root.parent  # the file belongs to a package, whose relative imports may climb
    parts = file.relative_to(root).with_suffix("").parts
    root = root.resolve()
    kind: Kind = "folder" if path.is_dir() else "file"
    return _mounted(str(path), kind, root, parts, class_name)


def _in_lab(home: Lab, parts: tuple[str, ...], lab: Lab, class_name: str | None) -> ScenarioRef:
    kind: Kind = "folder" if len(parts) > 1 and parts[-1] == "world" else "file"
    named = parts[:-1] if kind == "folder" else parts
    name = "/".join(named)
    again = _by_name(name, lab)
    if again is None or again[0].root != home.root:
        # The name would find nothing, or another lab's scenario: only the path finds this one again.
        name = str(home.scenarios.joinpath(*named)) + (".py" if kind == "file" else "")
    return _mounted(name, kind, home.root, ("scenarios", *parts), class_name)


def _mounted(text: str, kind: Kind, root: Path, parts: tuple[str, ...], class_name: str | None) -> ScenarioRef:
    for part in parts:
        if error := _unmountable(part):
            raise ScenarioError(error)
    file = root.joinpath(*parts).with_suffix(".py")
    module = ".".join((package_of(root), *parts))
    spec = f"{text}@{class_name}" if class_name else text
    return ScenarioRef(spec, kind, file.parent if kind == "folder" else file, module, class_name, root)


def _by_module(dotted: str, lab: Lab, class_name: str | None) -> ScenarioRef | None:
    file, problem = _locate(dotted)
    if problem is not None:
        if "." in dotted:
            raise ScenarioError(problem)
        return None
    for home in search_order(lab):
        if file is not None and file.is_relative_to(home.scenarios):
            name = file.relative_to(home.scenarios).with_suffix("").as_posix().removesuffix("/world")
            raise ScenarioError(f"module {dotted!r} is a file of this lab; name the scenario {name!r} (simworld list)")
    return ScenarioRef(f"{dotted}@{class_name}" if class_name else dotted, "module", file, dotted, class_name)


def _locate(dotted: str) -> tuple[Path | None, str | None]:
    """Return the file of an installed module, or what is wrong. Folders are looked into, parents not imported."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    top, *inside = dotted.split(".")
    try:
        spec = find_spec(top)
    except ValueError:  # `__main__` and its like
        spec = None
    if spec is None:
        return None, f"no module {dotted!r}: {top!r} is not installed; install it, or name a scenario (simworld list)"
    at = top
    for part in inside:
        folders = list(spec.submodule_search_locations or ())
        # By its bare name: for a dotted one, a package without __init__.py would be looked up in its imported parent.
        spec = PathFinder.find_spec(part, folders) if folders else None
        if spec is None:
            known = {entry.stem for folder in map(Path, folders) if folder.is_dir() for entry in folder.iterdir()}
            return None, f"no module {dotted!r}: {at!r} holds no {part!r}{did_you_mean(part, known)}"
        at = f"{at}.{part}"
    return Path(spec.origin) if spec.origin and spec.has_location else None, None


def _nearest(text: str, lab: Lab) -> str:
    names = [each.name for home in search_order(lab) for each in scenario_files(home)]
    near = did_you_mean(text, names)
    if near:
        return near
    # `voter` is far from `classical/voter` by letters and near by sense.
    leaf = text.rpartition("/")[2]
    same = [name for name in names if did_you_mean(leaf, [name.rpartition("/")[2]])]
    return f"; did you mean {same[0]!r}?" if same else ""


def _both(name: str, lab: Lab) -> str:
    place = lab.scenarios / name
    return f"scenario {name!r} is both {shown(place / WORLD_FILE)} and {shown(place)}.py; rename one"


def _unmountable(name: str) -> str | None:
    if re.fullmatch(r"[^./\\]+", name):
        return None
    return f"{name!r} cannot name a scenario: no '.' may be in it; rename it, for example {name.replace('.', '_')!r}"

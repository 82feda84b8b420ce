"""Importing a scenario: the only place where user code is executed, and where its failures become one line."""

from __future__ import annotations

import re
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from simworld.errors import ScenarioError, did_you_mean
from simworld.scenario._lab import shown
from simworld.scenario._spec import ScenarioRef
from simworld.scenario.mounted import mount, refresh


def load(ref: ScenarioRef) -> type[Any]:
    """Import the scenario and return its class, a subclass of ``mesa.Model``.

    Files that changed since they were imported are imported anew. The class pickles by reference, also into spawned
    workers.

    Raises:
        ScenarioError: the import failed (file, line, what), or the module holds no scenario class, or several.
    """
    if ref.root is not None:
        refresh(mount(ref.root))
    try:
        module = import_module(ref.module)
    except (Exception, SystemExit) as exc:
        raise ScenarioError(_failure(ref, exc)) from exc
    # A module that defines a model has imported Mesa; one that has not holds none, and Mesa need not be loaded for it.
    model = getattr(sys.modules.get("mesa"), "Model", None)
    return _pick(ref, module, model)


def _pick(ref: ScenarioRef, module: ModuleType, model: type[Any] | None) -> type[Any]:
    place = shown(ref.file) if ref.file else ref.module
    every = {n: c for n, c in vars(module).items() if isinstance(c, type) and model and issubclass(c, model)}
    own = {n: c for n, c in every.items() if c.__module__ == module.__name__ and n == c.__name__ and n[0] != "_"}
    if ref.class_name is not None:
        if ref.class_name in every:
            return every[ref.class_name]
        if hasattr(module, ref.class_name):
            raise ScenarioError(
                f"{ref.class_name!r} in {place} is not a scenario: it must inherit simworld.World or mesa.Model"
            )
        known = f"; it holds {', '.join(own)}" if own else ""
        raise ScenarioError(f"no class {ref.class_name!r} in {place}{did_you_mean(ref.class_name, own) or known}")
    if len(own) == 1:
        return next(iter(own.values()))
    if own:
        raise ScenarioError(several(ref.spec, list(own)))
    raise ScenarioError(none_in(place, [n for n in every if n != "Model"]))


def several(spec: str, names: list[str]) -> str:
    """Return the message for a module with more than one scenario class."""
    return f"{spec!r} holds several scenarios: {', '.join(names)}; name one, for example {spec}@{names[0]}"


def none_in(place: str, imported: list[str]) -> str:
    """Return the message for a module with no scenario class of its own."""
    also = f" (it imports {', '.join(imported)}: name it with @)" if imported else ""
    return f"{place} holds no scenario{also}; define a class that inherits simworld.World (or mesa.Model)"


def _failure(ref: ScenarioRef, exc: BaseException) -> str:
    file, line = _where(ref, exc)
    if isinstance(exc, SyntaxError) and exc.filename and Path(exc.filename).is_file():
        file, line, text = Path(exc.filename), exc.lineno or line, exc.msg
    else:
        text = " ".join(str(exc).split())
    at = f"{shown(file)}:{line}" if file else ref.module
    what = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    return f"scenario {ref.spec!r} cannot be imported: {at}: {what}{_next_step(ref, exc)}"


def _where(ref: ScenarioRef, exc: BaseException) -> tuple[Path | None, int]:
    """Return file and line of the deepest statement in the scenario's own modules, not of the library it called."""
    own = f"{ref.module.rpartition('.')[0] or ref.module}."
    if ref.root is not None:
        own = ".".join(ref.module.split(".")[:4]) + "."  # any module of the same mount
    found: tuple[Path | None, int] = (ref.file, 1)
    for frame, line in traceback.walk_tb(exc.__traceback__):
        name = frame.f_globals.get("__name__", "")
        if isinstance(name, str) and f"{name}.".startswith(own):
            found = (Path(frame.f_code.co_filename), line)
    return found


def _next_step(ref: ScenarioRef, exc: BaseException) -> str:
    if isinstance(exc, ModuleNotFoundError) and exc.name and ref.file is not None:
        name = exc.name.partition(".")[0]
        if re.fullmatch(r"\w+", name) and (
            (ref.file.parent / f"{name}.py").is_file() or (ref.file.parent / name).is_dir()
        ):
            return f"; to import a file beside it, write: from .{exc.name} import ..."
        if name != "simworld":
            return f"; install {name!r} where simworld is installed"
    return ""

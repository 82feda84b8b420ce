"""Finding casts and population recipes by name. What is in them is read by the persona room."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from simworld.errors import PersonaError, did_you_mean
from simworld.scenario._lab import Lab, find_lab, search_order, shown

CAST_SUFFIXES = (".toml", ".jsonl", ".json")
RECIPE_SUFFIXES = (".toml",)


@dataclass(frozen=True, slots=True)
class ContentFile:
    """A cast or a recipe in a lab."""

    name: str
    path: Path
    is_bundled: bool = False
    shadows: Path | None = None
    """The bundled file of the same name that this one hides."""


def find_cast(name: str, lab: Lab | None = None) -> Path:
    """Return the file of a cast: a name in ``agents/casts`` of the lab, then of the bundled lab, or a path.

    Raises:
        PersonaError: there is none, with the nearest name; or two files of the lab have that name.
    """
    return _find(name, lab, "cast", "casts", CAST_SUFFIXES)


def list_casts(lab: Lab | None = None) -> list[ContentFile]:
    """Return the casts a name can find, the lab's own first."""
    return _list(lab, "casts", CAST_SUFFIXES)


def find_recipe(name: str, lab: Lab | None = None) -> Path:
    """Return the file of a population recipe: a name in ``agents/recipes``, as for casts, or a path.

    Raises:
        PersonaError: there is none, with the nearest name.
    """
    return _find(name, lab, "recipe", "recipes", RECIPE_SUFFIXES)


def list_recipes(lab: Lab | None = None) -> list[ContentFile]:
    """Return the recipes a name can find, the lab's own first."""
    return _list(lab, "recipes", RECIPE_SUFFIXES)


def _find(name: str, lab: Lab | None, noun: str, folder: str, suffixes: tuple[str, ...]) -> Path:
    lab = lab or find_lab()
    for home in search_order(lab):
        inside = _files(home, folder, suffixes)
        found = [file.path for file in inside if name in (file.name, f"{file.name}{file.path.suffix}")]
        if len(found) > 1:
            raise PersonaError(
                f"{noun} {name!r} is both {' and '.join(map(shown, found))}; give the name with its suffix"
            )
        if found:
            return found[0]
    path = Path(os.path.expanduser(name))
    for place in (Path.cwd(), *(home.root for home in search_order(lab))):
        if name.strip() and os.path.isfile(place / path):
            if path.suffix not in suffixes:
                raise PersonaError(f"{noun} {name!r} is not a {', '.join(suffixes)} file; convert it, or name another")
            return (place / path).resolve()
    near = did_you_mean(name, [file.name for file in _list(lab, folder, suffixes)])
    raise PersonaError(f"no {noun} {name!r} in this lab{near} (looked in agents/{folder}, and for a file of that path)")


def _list(lab: Lab | None, folder: str, suffixes: tuple[str, ...]) -> list[ContentFile]:
    lab = lab or find_lab()
    own, *bundled = (_files(home, folder, suffixes) for home in search_order(lab))
    beneath = {file.name: file for files in bundled for file in files}
    hidden = {file.name for file in own}
    merged = [replace(file, shadows=beneath[file.name].path) if file.name in beneath else file for file in own]
    return merged + [file for files in bundled for file in files if file.name not in hidden]


def _files(home: Lab, folder: str, suffixes: tuple[str, ...]) -> list[ContentFile]:
    top = home.agents / folder
    found = (path for path in top.rglob("*") if path.suffix in suffixes and path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(top).parts))
    cards = [ContentFile(path.relative_to(top).with_suffix("").as_posix(), path, home.is_bundled) for path in visible]
    return sorted(cards, key=lambda file: (file.name, file.path.suffix))

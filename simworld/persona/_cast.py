"""Reading casts: files of personas written by hand or by another program."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel, JsonValue, ValidationError

from simworld.errors import PersonaError, did_you_mean
from simworld.persona._persona import Persona
from simworld.persona._positions import Path, json_lines, json_repeats, nearest_line, toml_lines
from simworld.schema import Record

SUFFIXES = (".toml", ".jsonl", ".json")


class Cast(Record):
    """The personas of one file."""

    personas: tuple[Persona, ...]
    """In the order of the file; ids and names are unique."""
    source: str
    """The file, as the caller named it."""
    notes: tuple[str, ...] = ()
    """What was kept in `extra` because it is not a field, one line each."""
    extra: dict[str, JsonValue] = {}
    """What stood in the file beside the personas and is not a field of a cast."""
    digest: str
    """BLAKE2b of the personas' digests, in order: 32 hexadecimal digits; the file's name and layout do not matter."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One persona as the file gives it, and how to find the line of any of its fields."""

    data: dict[str, Any]
    path: Path
    lines: dict[Path, int]
    shift: int = 0

    def line(self, *loc: str | int) -> int:
        exact = (*self.path, *loc)
        inherited = ("defaults", *loc)
        if exact not in self.lines and inherited in self.lines:
            return self.lines[inherited] + self.shift
        return nearest_line(self.lines, exact) + self.shift


def read_cast(path: str | FilePath) -> Cast:
    """Read a cast: a ``.toml``, ``.jsonl`` or ``.json`` file of personas.

    TOML holds ``[[persona]]`` tables and, if wanted, ``[defaults]``, which every persona takes over and may overrule:
    tables are merged key by key, anything else is replaced. JSON holds a list of personas, or the same layout as TOML.
    JSONL holds one persona a line; a line ``{"defaults": {...}}`` gives defaults to the lines after it.

    A field that a persona does not have is moved to `Persona.extra` under its path (``"demographics.shoe_size"``) and
    reported in `Cast.notes`.

    Raises:
        PersonaError: an unreadable or malformed file, an empty cast, an invalid persona, an id or a name used twice;
            the message names file, line and field.
    """
    file = FilePath(path)
    source = str(path)
    text = read_text(file, source, "cast")
    suffix = file.suffix.lower()
    notes: list[str] = []
    extra: dict[str, JsonValue] = {}
    if suffix == ".toml":
        document = parse_toml(text, source)
        entries = _document_entries(document, toml_lines(text), source, notes, extra)
    elif suffix == ".json":
        document = _parse_json(text, source, first_line=1)
        lines = json_lines(text)
        if isinstance(document, list):
            entries = [
                _Entry(_table(data, source, nearest_line(lines, (i,))), (i,), lines) for i, data in enumerate(document)
            ]
        elif isinstance(document, dict):
            entries = _document_entries(document, lines, source, notes, extra)
        else:
            raise PersonaError(f"{source}, line 1: expected a list of personas, got {_kind(document)}")
    elif suffix == ".jsonl":
        entries = list(_jsonl_entries(text, source))
    else:
        raise PersonaError(f"{source}: cannot read a cast from {suffix!r} files; write {', '.join(SUFFIXES)}")
    if not entries:
        raise PersonaError(f"{source}: the cast is empty; write at least one persona")
    personas = tuple(_persona(entry, source, notes) for entry in entries)
    _refuse_duplicates(personas, entries, source)
    digest = hashlib.blake2b("\n".join(p.digest() for p in personas).encode(), digest_size=16).hexdigest()
    return Cast(personas=personas, source=source, notes=tuple(notes), extra=extra, digest=digest)


# --- files ---


def read_text(file: FilePath, source: str, what: str) -> str:
    """Return a file's text.

    Raises:
        PersonaError: no such file, a folder, no permission, not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise PersonaError(f"{source}: no such {what}; give the path of a file") from None
    except IsADirectoryError:
        raise PersonaError(f"{source}: is a folder; give the path of a {what} file") from None
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise PersonaError(f"{source}, line {line}: not UTF-8 text (byte {exc.start}); save the file as UTF-8") from exc
    except OSError as exc:
        raise PersonaError(f"{source}: cannot be read: {exc.strerror or exc}") from exc


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Return the document of a TOML text.

    Raises:
        PersonaError: the text is not TOML; with its line.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        reason, _, place = str(exc).partition(" (at ")
        # tomllib says "(at line 3, column 5)" or "(at end of document)"; its own attributes came after Python 3.12.
        digits = place.removeprefix("line ").partition(",")[0]
        line = int(digits) if digits.isdigit() else text.count("\n") + 1
        raise PersonaError(f"{source}, line {line}: not valid TOML: {reason}; correct the line") from exc


class _Twice(Exception):
    def __init__(self, key: str) -> None:
        self.key = key


def _parse_json(text: str, source: str, first_line: int) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for i, key in enumerate(keys) if key in keys[:i])
            raise _Twice(twice)
        return out

    try:
        return json.loads(text, object_pairs_hook=unique)
    except _Twice as exc:
        line = first_line - 1 + json_repeats(text)
        raise PersonaError(f"{source}, line {line}: key {exc.key!r} stands twice in one object; keep one") from None
    except json.JSONDecodeError as exc:
        line = first_line + exc.lineno - 1
        reason = f"not valid JSON: {exc.msg} (column {exc.colno})"
        raise PersonaError(f"{source}, line {line}: {reason}; correct the line") from exc


def _document_entries(
    document: dict[str, Any], lines: dict[Path, int], source: str, notes: list[str], extra: dict[str, JsonValue]
) -> list[_Entry]:
    defaults = _table(document.get("defaults", {}), source, nearest_line(lines, ("defaults",)), "'defaults'")
    personas = document.get("persona", [])
    if not isinstance(personas, list):
        line = nearest_line(lines, ("persona",))
        raise PersonaError(
            f"{source}, line {line}, field 'persona': expected a list of personas, got {_kind(personas)}; "
            "head each with [[persona]]"
        )
    unknown = [key for key in document if key not in {"defaults", "persona"}]
    if not personas and unknown:
        near = did_you_mean(unknown[0], ["persona", "defaults"])
        raise PersonaError(
            f"{source}, line {nearest_line(lines, (unknown[0],))}: no persona in the cast, but {unknown[0]!r}{near}; "
            "head each persona with [[persona]]"
        )
    for key in unknown:
        extra[key] = _as_json(document[key], f"{source}, line {nearest_line(lines, (key,))}", key)
        notes.append(
            f"{source}: {key!r} is not a field of a cast; kept in the cast's extra{did_you_mean(key, ['defaults'])}"
        )
    out = []
    for i, data in enumerate(personas):
        path: Path = ("persona", i)
        out.append(_Entry(_merged(defaults, _table(data, source, nearest_line(lines, path))), path, lines))
    return out


def _jsonl_entries(text: str, source: str) -> Iterator[_Entry]:
    defaults: dict[str, Any] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        data = _table(_parse_json(line, source, first_line=number), source, number)
        if list(data) == ["defaults"]:
            defaults = _table(data["defaults"], source, number, "'defaults'")
        else:
            yield _Entry(_merged(defaults, data), (), {(): 1}, shift=number - 1)


def _table(data: Any, source: str, line: int, what: str = "a persona") -> dict[str, Any]:
    if not isinstance(data, dict):
        raise PersonaError(f"{source}, line {line}: {what} must be a table of fields, got {_kind(data)}")
    return data


def _merged(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    out = dict(defaults)
    for key, value in own.items():
        inherited = out.get(key)
        if isinstance(inherited, dict) and isinstance(value, dict):
            out[key] = _merged(inherited, value)
        else:
            out[key] = value
    return out


def _kind(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"{value!r}")


# --- personas ---


def _persona(entry: _Entry, source: str, notes: list[str]) -> Persona:
    unknown: dict[Path, tuple[Any, type[BaseModel]]] = {}
    kept = _known_only(Persona, entry.data, (), unknown)
    who = f"persona {entry.data['id']!r}" if isinstance(entry.data.get("id"), str) else "a persona without an id"
    extra = kept.get("extra", {})
    if isinstance(extra, dict):
        extra = {str(k): _as_json(v, f"{source}, line {entry.line('extra', k)}", k) for k, v in extra.items()}
        for path, (value, _) in unknown.items():
            key, line = ".".join(map(str, path)), entry.line(*path)
            if key in extra:
                raise PersonaError(
                    f"{source}, line {line}, {who}, field {key!r}: stands twice, as itself and in 'extra'; keep one"
                )
            extra[key] = _as_json(value, f"{source}, line {line}", key)
        kept["extra"] = extra
    for path, (_, model) in unknown.items():
        near = did_you_mean(str(path[-1]), model.model_fields)
        notes.append(f"{source}: {who}: {'.'.join(map(str, path))!r} is not a persona field; kept in extra{near}")
    try:
        return Persona.model_validate(kept)
    except ValidationError as exc:
        raise PersonaError(explain(exc, source, who, entry.line)) from exc


def _known_only(
    model: type[BaseModel], data: dict[str, Any], path: Path, unknown: dict[Path, tuple[Any, type[BaseModel]]]
) -> dict[str, Any]:
    """Return the data without what `model` does not have; that goes to `unknown`, by its path."""
    out: dict[str, Any] = {}
    for key, value in data.items():
        if key not in model.model_fields:
            unknown[*path, key] = (value, model)
            continue
        inner = _record_in(model.model_fields[key].annotation)
        if inner is None:
            out[key] = value
        elif isinstance(value, dict):
            out[key] = _known_only(inner, value, (*path, key), unknown)
        elif isinstance(value, list):
            out[key] = [
                _known_only(inner, item, (*path, key, i), unknown) if isinstance(item, dict) else item
                for i, item in enumerate(value)
            ]
        else:
            out[key] = value
    return out


def _record_in(annotation: Any) -> type[Record] | None:
    """Return the record class inside an annotation such as ``Style``, ``Media | None`` or ``tuple[QA, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _record_in(inner)) is not None), None)


def _as_json(value: Any, where: str, key: str) -> JsonValue:
    """Return a TOML value as JSON has it: dates and times become text."""
    if isinstance(value, dict):
        return {str(k): _as_json(v, where, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, list):
        return [_as_json(v, where, key) for v in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise PersonaError(f"{where}, field {key!r}: {value!r} is not a finite number; write one")
    result: JsonValue = value
    return result


def _refuse_duplicates(personas: tuple[Persona, ...], entries: list[_Entry], source: str) -> None:
    for field in ("id", "name"):
        seen: dict[str, int] = {}
        for i, persona in enumerate(personas):
            value = getattr(persona, field)
            if value in seen:
                first, line = entries[seen[value]].line(field), entries[i].line(field)
                raise PersonaError(
                    f"{source}, line {line}, field {field!r}: {value!r} is already used on line {first}; "
                    f"every {field} of a cast is used once"
                )
            seen[value] = i


def explain(exc: ValidationError, source: str, who: str, line_of: Callable[..., int]) -> str:
    """Return one line on the first of a record's errors: file, line, field, what is wrong, the value, how many more.

    Args:
        exc: what pydantic found.
        source: the file.
        who: the record, in words.
        line_of: called with the parts of a field's path; returns its line.
    """
    errors = exc.errors(include_url=False)
    first = errors[0]
    loc = tuple(part for part in first["loc"] if isinstance(part, str | int))
    field = ".".join(map(str, loc))
    where = f"{source}, line {line_of(*loc)}, {who}" + (f", field {field!r}" if field else "")
    reason = first["msg"].removeprefix("Value error, ")
    reason = reason[:1].lower() + reason[1:]
    got = ""
    if first["type"] not in {"missing", "value_error"}:
        shown = repr(first["input"])
        got = f", got {shown if len(shown) <= 60 else f'{shown[:57]}...'}"
    elif first["type"] == "missing":
        reason = "is required and missing"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {reason}{got}; correct the file{more}"

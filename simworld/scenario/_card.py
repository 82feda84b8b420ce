"""Describing scenarios from their text: what ``simworld list`` shows. Nothing is executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from simworld.errors import ScenarioError, did_you_mean
from simworld.scenario._lab import Lab, find_lab, search_order, shown
from simworld.scenario._load import none_in, several
from simworld.scenario._spec import WORLD_FILE, Found, ScenarioRef, scenario_files
from simworld.scenario._syntax import base_names, classes, imports, last_name, parse, scenario_classes, target_files


@dataclass(frozen=True, slots=True)
class ParamCard:
    """One parameter of a scenario, as its file declares it."""

    name: str
    type: str
    """The annotation as written; ``""`` when there is none."""
    default: str | None
    """The default as written; None when the parameter is required."""
    doc: str = ""
    unit: str = ""
    range: str = ""
    """The bounds, for example ``[0, 1]``, ``> 0``; ``""`` when there are none."""
    source: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioCard:
    """One scenario as its files describe it."""

    name: str
    """What to type: the name in the lab, with ``@Class`` where a file holds several."""
    class_name: str | None
    title: str
    """One line of purpose; ``""`` when nothing says."""
    path: Path | None
    """The folder or the file."""
    sources: tuple[str, ...] = ()
    """Where the model comes from, as the README says."""
    params: tuple[ParamCard, ...] | None = None
    """Its parameters; None when the text does not tell."""
    is_bundled: bool = False
    shadows: Path | None = None
    """The bundled scenario of the same name that this one hides."""
    error: str | None = None
    """Why it cannot be used, in one line."""


def list_scenarios(lab: Lab | None = None) -> list[ScenarioCard]:
    """Return a card for every scenario a name can find: the lab's own first, then the bundled ones it does not shadow.

    Executes nothing. A file that cannot be read or is not Python is listed with its error.
    """
    lab = lab or find_lab()
    cards: list[ScenarioCard] = []
    own: set[str] = set()
    homes = search_order(lab)
    bundled = {each.name: each.path for each in scenario_files(homes[-1])} if len(homes) > 1 else {}
    for home in homes:
        for found in scenario_files(home):
            if home is lab:
                own.add(found.name)
            elif found.name in own:
                continue
            hidden = bundled.get(found.name) if home is lab else None
            cards += [replace(card, is_bundled=home.is_bundled, shadows=hidden) for card in _cards(found)]
    return cards


def describe(ref: ScenarioRef) -> ScenarioCard:
    """Return the card of one scenario. Executes nothing.

    Raises:
        ScenarioError: its file cannot be read, or it holds no scenario class, or several and none was named.
    """
    if ref.file is None or ref.file.suffix != ".py":
        raise ScenarioError(f"module {ref.module!r} is not a Python file, so its text tells nothing; run it to see")
    tree = parse(ref.file)
    found = scenario_classes(tree)
    if ref.class_name is not None:
        # A class that was named counts even if its bases do not show what it is.
        node = classes(tree).get(ref.class_name)
        if node is None and ref.class_name not in imports(tree):
            near = did_you_mean(ref.class_name, classes(tree))
            raise ScenarioError(
                f"no class {ref.class_name!r} in {shown(ref.file)}{near or '; name one that it defines'}"
            )
        return _card(ref.spec, ref.class_name, node, ref.file, tree, in_folder=ref.kind == "folder")
    if len(found) == 1:
        return _card(ref.spec, found[0].name, found[0], ref.file, tree, in_folder=ref.kind == "folder")
    if found:
        raise ScenarioError(several(ref.spec, [node.name for node in found]))
    raise ScenarioError(none_in(shown(ref.file), []))


def _cards(found: Found) -> list[ScenarioCard]:
    file = found.path / WORLD_FILE if found.kind == "folder" else found.path
    if found.error is not None:
        return [ScenarioCard(found.name, None, "", found.path, error=found.error)]
    try:
        tree = parse(file)
    except ScenarioError as exc:
        return [ScenarioCard(found.name, None, "", found.path, error=str(exc))]
    nodes = scenario_classes(tree)
    if not nodes:
        error = none_in(shown(file), []) + ("" if found.kind == "folder" else ", or begin the file's name with '_'")
        return [ScenarioCard(found.name, None, "", found.path, error=error)]
    suffixes = [f"@{node.name}" if len(nodes) > 1 else "" for node in nodes]
    in_folder = found.kind == "folder"
    return [
        _card(found.name + suffix, node.name, node, file, tree, in_folder=in_folder)
        for node, suffix in zip(nodes, suffixes, strict=True)
    ]


def _card(
    name: str, class_name: str, node: ast.ClassDef | None, file: Path, tree: ast.Module, *, in_folder: bool
) -> ScenarioCard:
    readme = _readme(file.parent) if in_folder else ""
    doc = (ast.get_docstring(node) if node else None) or ast.get_docstring(tree) or _first_paragraph(readme)
    params = _params(node, file, tree) if node else None
    path = file.parent if in_folder else file
    return ScenarioCard(name, class_name, doc.strip().partition("\n")[0], path, _sources(readme), params)


def _params(node: ast.ClassDef, file: Path, tree: ast.Module) -> tuple[ParamCard, ...] | None:
    for item in node.body:
        if isinstance(item, ast.ClassDef) and item.name == "Params":
            return _fields(item, file, tree, 0)
        if isinstance(item, ast.Assign | ast.AnnAssign):
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            if "Params" in map(last_name, targets):
                return _fields_of(item.value, file, tree, 0)
    here = classes(tree)
    bases = base_names(node, tree)
    for base in bases:
        # A base stands above the class; one that stands below, in a file that cannot run, could lead in a circle.
        if base in here and here[base].lineno < node.lineno:
            return _params(here[base], file, tree)
    if any(base.endswith("Model") for base in bases):
        return _signature(node, file, tree)
    return () if "World" in bases else None


def _fields_of(value: ast.expr | None, file: Path, tree: ast.Module, depth: int) -> tuple[ParamCard, ...] | None:
    """Return the fields of the class an expression names, here or in a file beside; None when it cannot be found."""
    if not isinstance(value, ast.Name) or depth > 8:  # arbitrary; ends a circle of imports
        return None
    if value.id in classes(tree):
        return _fields(classes(tree)[value.id], file, tree, depth)
    node, original = imports(tree).get(value.id, (None, ""))
    if node is None or not node.level:
        return None
    for target in target_files(file, node):
        try:
            other = parse(target)
        except ScenarioError:
            continue  # the card is of another file; loading will say
        found = _fields_of(ast.Name(original), target, other, depth + 1)
        if found is not None:
            return found
    return None


def _fields(node: ast.ClassDef, file: Path, tree: ast.Module, depth: int) -> tuple[ParamCard, ...] | None:
    fields: dict[str, ParamCard] = {}
    for base in node.bases:
        if last_name(base) in ("Params", "BaseModel", "Record", "Scenario"):
            continue
        inherited = _fields_of(base, file, tree, depth + 1)
        if inherited is None:
            return None  # half of the parameters would pass for all
        fields |= {card.name: card for card in inherited}
    for item, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        name = item.target.id
        if name.startswith("_") or name == "model_config" or last_name(item.annotation) == "ClassVar":
            continue
        card = _field(name, item)
        if not card.doc and isinstance(after, ast.Expr) and isinstance(text := _literal(after.value), str):
            card = replace(card, doc=" ".join(text.split()))
        fields[name] = card
    return tuple(fields.values())


def _field(name: str, item: ast.AnnAssign) -> ParamCard:
    kind, value = ast.unparse(item.annotation), item.value
    if not isinstance(value, ast.Call) or last_name(value.func) not in ("field", "Field"):
        return ParamCard(name, kind, None if value is None else ast.unparse(value))
    given = {keyword.arg: keyword.value for keyword in value.keywords if keyword.arg}
    default = value.args[0] if value.args else given.get("default")
    required = default is None or _literal(default) is ...
    shown_default = None if required or default is None else ast.unparse(default)
    if required and (factory := given.get("default_factory")) is not None:
        shown_default = f"{ast.unparse(factory)}()"
    return ParamCard(
        name,
        kind,
        shown_default,
        doc=_text(given.get("doc") or given.get("description")),
        unit=_text(given.get("unit")),
        range=_range(given),
        source=_text(given.get("source")),
    )


def _signature(node: ast.ClassDef, file: Path, tree: ast.Module) -> tuple[ParamCard, ...] | None:
    """Return the constructor's parameters of a plain Mesa model, or the fields of the scenario object it takes."""
    init = next((item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"), None)
    if init is None:
        return ()
    positional = [*init.args.posonlyargs, *init.args.args][1:]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(init.args.defaults))
    defaults += init.args.defaults[-len(positional) :] if positional else []
    cards: list[ParamCard] = []
    for arg, default in [
        *zip(positional, defaults, strict=True),
        *zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True),
    ]:
        if arg.arg == "scenario":
            holders = [each for each in classes(tree).values() if "Scenario" in map(last_name, each.bases)]
            cards += (_fields(holders[0], file, tree, 0) or ()) if len(holders) == 1 else ()
        elif arg.arg not in ("seed", "rng"):
            kind = ast.unparse(arg.annotation) if arg.annotation else ""
            cards.append(ParamCard(arg.arg, kind, None if default is None else ast.unparse(default)))
    return tuple(cards)


def _literal(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _text(node: ast.expr | None) -> str:
    value = _literal(node)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _range(given: dict[str, ast.expr]) -> str:
    # A bound may be a name; as written it tells more than nothing.
    low = next(((k, ast.unparse(given[k])) for k in ("ge", "gt") if k in given), None)
    high = next(((k, ast.unparse(given[k])) for k in ("le", "lt") if k in given), None)
    if low and high:
        return f"{'[' if low[0] == 'ge' else '('}{low[1]}, {high[1]}{']' if high[0] == 'le' else ')'}"
    one = low or high
    return f"{ {'ge': '>=', 'gt': '>', 'le': '<=', 'lt': '<'}[one[0]] } {one[1]}" if one else ""


def _readme(folder: Path) -> str:
    try:
        return (folder / "README.md").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_paragraph(markdown: str) -> str:
    for block in re.split(r"\n\s*\n", markdown):
        lines = [
            line.strip()
            for line in block.splitlines()
            if line.strip() and not line.lstrip().startswith(("#", "[!", "!["))
        ]
        if lines:
            return " ".join(lines)
    return ""


def _sources(markdown: str) -> tuple[str, ...]:
    return tuple(_source_lines(markdown.splitlines()))


def _source_lines(lines: list[str]) -> Iterator[str]:
    under_heading = False
    for line in map(str.strip, lines):
        if line.startswith("#"):
            under_heading = re.fullmatch(r"#+\s*sources?\W*", line, flags=re.IGNORECASE) is not None
        elif match := re.match(r"[-*>_\s]*sources?[*_]*\s*[:.][*_]*\s*(.+)", line, flags=re.IGNORECASE):
            yield match[1]
        elif under_heading and line:
            yield line.lstrip("-* ")
            under_heading = line.startswith(("-", "*"))

"""Reading Python files without executing them: classes, where names were imported from, relative imports."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from simworld.errors import ScenarioError
from simworld.scenario._lab import shown

NOT_A_SOCIETY = frozenset({"BaseModel", "RootModel", "LanguageModel"})
"""Classes whose name ends in ``Model`` and that are not Mesa models."""


def parse(file: Path) -> ast.Module:
    """Return the file's syntax tree.

    Raises:
        ScenarioError: the file cannot be read or is not Python; names file and line.
    """
    try:
        with warnings.catch_warnings():
            # A doubtful escape in somebody's docstring is no business of a listing.
            warnings.simplefilter("ignore")
            return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as exc:
        line = f":{exc.lineno}" if exc.lineno else ""
        raise ScenarioError(f"{shown(file)}{line}: {type(exc).__name__}: {exc.msg}; correct the line") from exc
    except OSError as exc:
        raise ScenarioError(f"{shown(file)} cannot be read: {exc.strerror}; check its permissions") from exc
    except (ValueError, RecursionError, MemoryError) as exc:
        raise ScenarioError(f"{shown(file)} is not Python text: {exc}; save it as UTF-8 source") from exc


def last_name(node: ast.expr) -> str:
    """Return ``World`` for ``World``, ``sw.World`` and ``World[int]``; ``""`` for anything else."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    """Return the classes defined at the top of the module, by name."""
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def imports(tree: ast.Module) -> dict[str, tuple[ast.ImportFrom, str]]:
    """Return what each name bound by ``from x import y as z`` stands for: the statement and the original name."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name: (node, alias.name) for node in found for alias in node.names}


def base_names(node: ast.ClassDef, tree: ast.Module) -> list[str]:
    """Return the last names of the bases, as they were named where they were imported from."""
    known = imports(tree)
    return [known[name][1] if name in known else name for name in map(last_name, node.bases)]


def scenario_classes(tree: ast.Module) -> list[ast.ClassDef]:
    """Return the public classes that look like societies, in the order of the file.

    A class does if a base's name ends in ``World`` or ``Model``, or if a base is such a class of the same file.
    """
    societies: set[str] = set()
    found: list[ast.ClassDef] = []
    for node in classes(tree).values():
        bases = base_names(node, tree)
        if any(b in societies or (b.endswith(("World", "Model")) and b not in NOT_A_SOCIETY) for b in bases):
            societies.add(node.name)
            if not node.name.startswith("_"):
                found.append(node)
    return found


def imported_files(file: Path, tree: ast.Module) -> Iterator[Path]:
    """Yield the existing files that the module's relative imports may load."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from target_files(file, node)


def target_files(file: Path, node: ast.ImportFrom) -> Iterator[Path]:
    """Yield the existing files that one relative import in ``file`` may load."""
    folder = file.parents[min(node.level, len(file.parents)) - 1]
    target = folder.joinpath(*(node.module.split(".") if node.module else ()))
    maybe = [target / "__init__.py"]
    if node.module:
        maybe.append(target.with_name(f"{target.name}.py"))
    for alias in node.names:
        maybe += [target / f"{alias.name}.py", target / alias.name / "__init__.py"]
    yield from (path for path in maybe if path.is_file())

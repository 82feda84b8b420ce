"""Memory operations: ADD, UPDATE, DELETE and NO_OP on core blocks, the persona tree and facts, checked before anything
changes. The grammar is that of Inside Out; what may be the target of what is in the spec's table."""

from __future__ import annotations

import math
from typing import Any, Literal

from simworld.memory._records import symbol_of
from simworld.memory._settings import MemorySettings
from simworld.schema import Record, field

CORE_LABELS = ("self", "goals", "relationships", "working")


class Operation(Record):
    """One change of what an agent always knows."""

    op: Literal["ADD", "UPDATE", "DELETE", "NO_OP"] = field(doc="What is done; NO_OP changes nothing.")
    path: str = field(
        "", doc="What it is done to: core/self, persona/<dotted leaf>, fact/<subject>/<predicate>.", max_length=200
    )
    value: str = field("", doc="The new text, for ADD and UPDATE.", max_length=8000)


def path_of(path: str) -> tuple[str, str]:
    """Return the target of a path and the rest of it."""
    target, _, rest = path.partition("/")
    return target, rest


def tokens(text: str) -> int:
    """Return the tokens of a text, a token counted as four characters."""
    return math.ceil(len(text) / 4)


def fault_of(operation: Operation, now: dict[str, Any], settings: MemorySettings) -> str:
    """Return why an operation is not possible, or an empty text; ``now`` is changed as the operation would.

    Args:
        operation: what is to be done.
        now: ``core`` and ``tree`` (texts by label and leaf), ``facts`` (open ones by subject and predicate), and
            ``n_agents`` and ``capacity`` (facts an agent keeps).
        settings: the token cap of the core, the leaves of the tree, what ADD does on a filled one.
    """
    op, value = operation.op, operation.value
    if op == "NO_OP":
        return ""
    if op in ("ADD", "UPDATE") and not value.strip():
        return f"{op} of {operation.path!r} has no value"
    target, rest = path_of(operation.path)
    if target == "core":
        return _core(op, rest, value, now["core"], settings)
    if target == "persona":
        return _leaf(op, rest, value, now["tree"], settings)
    if target == "fact":
        return _fact(op, rest, value, now)
    return f"no such path {operation.path!r}; paths begin with core/, persona/ or fact/"


def _core(op: str, label: str, value: str, core: dict[str, str], settings: MemorySettings) -> str:
    if label not in CORE_LABELS:
        return f"no core block {label!r}; there are {', '.join(CORE_LABELS)}"
    old = core.get(label, "")
    new = {"ADD": f"{old}\n{value}".strip(), "UPDATE": value, "DELETE": ""}[op]
    total = sum(tokens(text) for name, text in core.items() if name != label) + tokens(new)
    if total > settings.core_tokens:
        return f"core/{label} would take the core to {total} tokens; {settings.core_tokens} are allowed"
    core[label] = new
    return ""


def _leaf(op: str, leaf: str, value: str, tree: dict[str, str], settings: MemorySettings) -> str:
    if leaf not in settings.tree:
        return f"no leaf {leaf!r} in the persona tree"
    if op == "ADD" and tree.get(leaf) and settings.filled_leaf == "refuse":
        return f"leaf {leaf!r} is filled; UPDATE it"
    if op == "DELETE" and not tree.get(leaf):
        return f"leaf {leaf!r} is empty"
    tree[leaf] = "" if op == "DELETE" else value
    return ""


def _fact(op: str, rest: str, value: str, now: dict[str, Any]) -> str:
    facts = now["facts"]
    subject, slash, predicate = rest.partition("/")
    if not (slash and subject.strip() and predicate.strip()):
        return f"'fact/{rest}' is not fact/<subject>/<predicate>"
    who = symbol_of(subject)
    if subject.startswith("#") and (not isinstance(who, int) or who >= now["n_agents"]):
        return f"no agent {subject[:20]!r}"
    key = who, predicate
    if op in ("UPDATE", "DELETE") and key not in facts:
        return f"no open fact {subject!r} {predicate!r}"
    if op == "ADD" and key not in facts and len(facts) >= now["capacity"]:
        return f"{len(facts)} facts are kept already; DELETE what no longer matters"
    if op == "DELETE":
        del facts[key]
    else:
        facts[key] = value
    return ""

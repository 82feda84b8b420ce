"""Numbers and texts as a reader sees them; nothing that comes from a file is ever markup."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from typing import Any

LABEL = 40
"""Characters of a label in a figure; arbitrary, what fits beside an axis."""


def clean(text: object, limit: int | None = None) -> str:
    """Return text without control characters (line breaks stay), cut after ``limit`` characters."""
    said = "".join(c if c.isprintable() or c == "\n" else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}"
                   for c in str(text))  # fmt: skip
    return said if limit is None or len(said) <= limit else said[: limit - 1] + "…"


def label(text: object, limit: int | None = LABEL) -> str:
    """Return text for plotly, which takes ``<b>``, ``<a>`` and ``$…$`` in any label for markup."""
    flat = " ".join(clean(text).split())
    return html.escape(clean(flat, limit), quote=False).replace("$", "&#36;")


def number(value: Any) -> str:
    """Return a number in four digits, whole numbers whole; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        if value == 0 or math.isinf(value):
            return f"{value:g}".replace("inf", "∞").replace("-", "−")
        size = abs(value)
        if 1e-3 <= size < 1e6:
            said = f"{value:,.{max(0, 3 - math.floor(math.log10(size)))}f}"
            said = said.rstrip("0").rstrip(".") if "." in said else said
        else:
            said = f"{value:.3g}"
        return said.replace("-", "−")
    return clean(value)


def p_value(value: float | None) -> str:
    """Return a p-value; below a thousandth its size says no more."""
    if value is None or math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval; a dash where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return "–"
    return f"{number(low)} to {number(high)}"


def level(value: Any) -> str:
    """Return the value of a factor: ``none`` where nothing is set."""
    if value is None or value == "":
        return "none"
    return number(value) if isinstance(value, bool | int | float) else clean(value)


def listing(values: Mapping[str, Any]) -> str:
    """Return what a manifest holds, a line a name."""
    return "\n".join(f"{name} = {json.dumps(each, ensure_ascii=False, default=str)}" for name, each in values.items())


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is one: ``3 runs``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def span_of_time(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"

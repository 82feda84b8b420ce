"""A page: sections of text, tables and figures in one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

from simworld.view._text import clean, level, number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HERE = Path(__file__).parent

SHORT = 34
"""Characters up to which the texts of a column stay on one line; arbitrary, an interval or a name."""


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    tone: str = ""
    """``good``, ``bad`` or ``note``; a sign stands before it, so that the colour is not all that says so."""
    kind: str = "words"


@dataclass(frozen=True)
class Pairs:
    """Labels with what belongs to them."""

    rows: Sequence[tuple[str, str]]
    kind: str = "pairs"


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    text: str
    title: str = ""
    kind: str = "code"


@dataclass(frozen=True)
class Grid:
    """A table."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    styles: Sequence[str]
    """Of each column: ``number``, ``short`` (not broken into lines on a screen) or nothing."""
    note: str = ""
    kind: str = "grid"


@dataclass(frozen=True)
class Drawing:
    """A figure with its data."""

    title: str
    """Plain text."""
    caption: str
    """What is drawn, and how its intervals were made."""
    plot: Figure
    data: pl.DataFrame
    """What the figure shows, for whoever wants to draw it anew."""
    kind: str = "drawing"


type Block = Words | Pairs | Code | Grid | Drawing


@dataclass
class Section:
    """A part of the page."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Where a link in the page finds it."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass
class Page:
    """What a report says."""

    title: str
    subtitle: str
    sections: list[Section] = field(default_factory=list)
    footer: str = ""


def grid(
    caption: str, frame: pl.DataFrame, heads: Sequence[tuple[str, str]], *, limit: int | None = None, note: str = ""
) -> Grid:
    """Return a table of some columns of a frame.

    Args:
        caption: what it shows.
        frame: the data; texts are shown as they are.
        heads: (column, heading), in order.
        limit: rows that are shown; what is left out is said.
        note: said below it.
    """
    shown = frame if limit is None else frame.head(limit)
    if shown.height < frame.height:
        left = f"{frame.height - shown.height:,} more rows are left out."
        note = f"{note} {left}" if note else left
    columns = [name for name, _ in heads]
    numeric = [frame.schema[name].is_numeric() for name in columns]
    rows = [
        [number(value) if is_number else level(value) for value, is_number in zip(row, numeric, strict=True)]
        for row in shown.select(columns).iter_rows()
    ]
    styles = [
        "number" if is_number else "short" if all(len(row[i]) <= SHORT for row in rows) else ""
        for i, is_number in enumerate(numeric)
    ]
    return Grid(caption, [head for _, head in heads], rows, styles, note)


def render(page: Page) -> str:
    """Return the page as HTML: everything it needs is in it, and its policy of content forbids the rest."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=_cleaned, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    scripts = [_plotly(), (HERE / "page.js").read_text("utf-8")] if _drawings(page) else []
    drawings = dict(enumerate(_drawings(page), start=1))
    return environment.get_template("page.html").render(
        page=page,
        style=_safe((HERE / "page.css").read_text("utf-8")),
        scripts=[_safe(script) for script in scripts],
        policy=_policy(scripts),
        figures={id(each): (f"figure-{i}", _file_name(i, each.title)) for i, each in drawings.items()},
        plots=_safe(embedded({f"figure-{i}": json.loads(each.plot.to_json() or "") for i, each in drawings.items()})),
        csv=_csv,
        id=id,
    )


def _drawings(page: Page) -> list[Drawing]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, Drawing)]


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _safe(text: str) -> Any:
    """Return text that goes into the page as it is: our own files, and JSON without any ``<``."""
    from markupsafe import Markup

    return Markup(text)


def _cleaned(value: Any) -> Any:
    """Return what the template shows, texts without control characters; it is escaped after this."""
    return clean(value) if type(value) is str else value


def _policy(scripts: Sequence[str]) -> str:
    """Return the content security policy: no network at all, and no script but these."""
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts]
    # plotly places its own style element and style attributes, which no hash can name.
    return (
        f"default-src 'none'; script-src {' '.join(hashes) or "'none'"}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """Return JSON that can end no script element."""
    said = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)
    return said.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _csv(frame: pl.DataFrame) -> str:
    """Return a table as the address of a CSV file that is in the page itself."""
    return "data:text/csv;charset=utf-8," + quote(frame.write_csv(), safe="")


def _file_name(i: int, title: str) -> str:
    """Return what a figure is called when it is downloaded; the number keeps two of one title apart."""
    said = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_")[:60].lower()
    return f"{i:02}_{said or 'figure'}"

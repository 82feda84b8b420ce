"""``simworld export RUN --html``: one file to share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from simworld.cli import _progress, _runs
from simworld.errors import UsageError
from simworld.run import Run


def check(
    html: bool, fmt: str | None, formats: Sequence[str], of_tables: Mapping[str, Any], of_page: Mapping[str, Any]
) -> None:
    """Refuse options that belong to the other kind of export.

    Raises:
        UsageError: they do, or neither kind is asked for.
    """
    if html and fmt is not None:
        raise UsageError(f"--html writes one page and {fmt!r} another format; ask for one of them")
    if not html and fmt is None:
        raise UsageError(f"export writes {', '.join(formats)}, or one page with --html; name one of them")
    for name, value in (of_tables if html else of_page).items():
        if value not in (None, False):
            said = "tables and graphs; a page is written with --out FILE" if html else "the page of --html"
            raise UsageError(f"{name} is for {said}; leave it out")


def write(runs: Sequence[Run], out: Path | None, *, is_redacted: bool, has_charts: bool, is_forced: bool) -> None:
    """Write one page, saying its size first, and what is not in it.

    Raises:
        UsageError: the file is there, the page is very large, or the run cannot be redacted.
        StorageError: it cannot be written.
    """
    from simworld.view import REDACTED, check_free, export_page

    names = [run.path.resolve().name for run in runs]
    file = Path(f"{' and '.join(names)}.html") if out is None else out
    check_free(file, is_forced=is_forced)
    with _progress.waiting("making the page"):
        page = export_page(runs, is_redacted=is_redacted, has_charts=has_charts)
    if is_redacted:
        click.echo(f"left out: {'; '.join(REDACTED)}")
    for words in page.left_out:
        click.echo(f"left out, for its size or because it cannot be had: {words}")
    click.echo(f"{page.size}: {_runs.shown(file)}")
    page.write(file, is_forced=is_forced)

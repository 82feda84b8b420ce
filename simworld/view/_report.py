"""The report: a campaign, or a run, as one page that needs no network and no server."""

from __future__ import annotations

from pathlib import Path

from simworld.errors import StorageError, UsageError
from simworld.run import Run, write_whole
from simworld.sweep import CampaignResults
from simworld.view._campaign import campaign_page
from simworld.view._page import render
from simworld.view._run import run_page


def write_report(what: CampaignResults | Run, file: Path) -> Path:
    """Write a campaign, or a run, as one self-contained HTML page, and return the file.

    The same folder gives the same page, byte for byte. A file that is there is written over.

    Args:
        what: a campaign or a run; it may be unfinished, and the page then says so.
        file: the page; folders on the way to it are made.

    Raises:
        UsageError: neither a campaign nor a run, or the campaign has no tables yet.
        StorageError: the page cannot be written.
    """
    if isinstance(what, CampaignResults):
        page = campaign_page(what)
    elif isinstance(what, Run):
        page = run_page(what)
    else:
        raise UsageError(f"a report is of a campaign or a run, got {type(what).__name__}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror or error}") from error
    write_whole(file, render(page).encode("utf-8", "replace"))
    return file

"""The viewer from Python: inside a notebook, or in a browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from simworld.run import Run, load_run
from simworld.sweep import CampaignResults
from simworld.view.replay import Viewer, serve

HEIGHT = 720
"""Pixels of the viewer in a notebook: graph, panel and timeline without scrolling inside it."""

_open: dict[tuple[Path, ...], Viewer] = {}


def view(*what: Run | str | Path | CampaignResults, height: int = HEIGHT) -> Viewer:
    """Show a run, two runs side by side, or a campaign in the replay viewer.

    As the last expression of a notebook's cell it appears below the cell, and lives as long as the kernel; elsewhere
    the browser opens. The server is a thread of this process and listens on this machine only, so a notebook whose
    kernel runs on another machine cannot show it: write a file there with ``simworld export RUN --html``.

    Args:
        what: runs, their folders or names; or a campaign's results.
        height: pixels in a notebook.

    Returns:
        The viewer: ``url`` is its address, ``close()`` ends it.

    Raises:
        UsageError: no such run, nothing to show, or more than two runs.
    """
    campaign = next((each for each in what if isinstance(each, CampaignResults)), None)
    runs = [each if isinstance(each, Run) else load_run(each) for each in what if not isinstance(each, CampaignResults)]
    key = tuple(path.resolve() for path in (*(run.path for run in runs), *([campaign.path] if campaign else [])))
    viewer = _open.get(key)
    if viewer is None or not viewer.is_open:
        viewer = serve(runs, campaign=campaign, is_framed=True)
        _open[key] = viewer
    viewer.height = height
    if not is_in_notebook():
        open_browser(viewer.url)
    return viewer


def is_in_notebook() -> bool:
    """Whether a notebook shows what the last expression of a cell returns."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def open_browser(url: str) -> bool:
    """Open an address in the user's browser; False where there is none to be seen, as in continuous integration."""
    has_display = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if os.environ.get("CI") or not has_display:
        return False
    return webbrowser.open(url)

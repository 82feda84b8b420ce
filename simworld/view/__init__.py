"""view owns figures, the report and the replay viewer: made of finished or growing folders, read-only.

It never touches a live world.
"""

from __future__ import annotations

import sys
import types
from typing import Any

from simworld.view._report import write_report
from simworld.view._show import open_browser, view
from simworld.view.replay import REDACTED, Exported, Viewer, check_free, export_page, free_port, serve

__all__ = [
    "REDACTED",
    "Exported",
    "Viewer",
    "check_free",
    "export_page",
    "free_port",
    "open_browser",
    "serve",
    "view",
    "write_report",
]


class _CallableRoom(types.ModuleType):
    """The import system binds the room to the name ``simworld.view``; calling it is calling `view`."""

    def __call__(self, *args: Any, **named: Any) -> Viewer:
        return view(*args, **named)


sys.modules[__name__].__class__ = _CallableRoom

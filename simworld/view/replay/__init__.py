"""The replay viewer: a page, and a server that hands it what it needs of recorded runs. It writes into no run."""

from simworld.view.replay._export import Exported, check_free, export_page
from simworld.view.replay._redact import REDACTED
from simworld.view.replay._server import Viewer, free_port, plotly_script, serve, serve_beside
from simworld.view.replay._session import Answer, NoSuchPath, Session

__all__ = [
    "REDACTED",
    "Answer",
    "Exported",
    "NoSuchPath",
    "Session",
    "Viewer",
    "check_free",
    "export_page",
    "free_port",
    "plotly_script",
    "serve",
    "serve_beside",
]

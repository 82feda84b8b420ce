"""cli owns the commands: parse, call, print. It never decides anything about a run."""

from simworld.cli._main import main

__all__ = ["main"]

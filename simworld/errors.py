"""The exception tree. Each message says what went wrong, the value, what would be right, and the next step.

SimworldError
├── UsageError            the call was wrong: exit code 2, one line, no traceback, nothing written
│   ├── ScenarioError     no such scenario, or its file is not a scenario
│   ├── ParameterError    an unknown parameter, or a value out of its range
│   ├── PersonaError      a malformed persona or cast, with file, line and field
│   ├── GraphError        a graph source that cannot be read, with file and line
│   └── ObserverError     no such observer
├── RunError              the run failed after it began: exit code 1, its folder says why and can be resumed
│   ├── StorageError      a full disk, a read-only folder; names the file
│   └── CorruptRunError   a file of a run that is missing, truncated or altered; names the file
└── Interrupted           stopped by a signal at a step boundary: exit code 3, resumable
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CorruptRunError",
    "GraphError",
    "Interrupted",
    "ObserverError",
    "ParameterError",
    "PersonaError",
    "RunError",
    "ScenarioError",
    "SimworldError",
    "StorageError",
    "UsageError",
    "did_you_mean",
]


class SimworldError(Exception):
    """Root of every error simworld raises on purpose."""


class UsageError(SimworldError):
    """The call was wrong; nothing was written."""


class ScenarioError(UsageError):
    """No such scenario, or a file that holds none."""


class ParameterError(UsageError):
    """An unknown parameter or a value outside its range."""


class PersonaError(UsageError):
    """A malformed persona, cast or population."""


class GraphError(UsageError):
    """A graph source that cannot be read or does not fit the scenario."""


class ObserverError(UsageError):
    """No such observer."""


class RunError(SimworldError):
    """The run failed after it began; its folder can be resumed."""


class StorageError(RunError):
    """A file of the run could not be written."""


class CorruptRunError(RunError):
    """A file of the run is missing, truncated or altered."""


class Interrupted(SimworldError):
    """The run stopped at a step boundary on request."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or ``""`` when none is near."""
    near = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""

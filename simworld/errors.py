"""The exception tree. Each message says what went wrong, the value, what would be right, and the next step.

SimworldError
├── UsageError            the call was wrong: exit code 2, one line, no traceback, nothing written
│   ├── ScenarioError     no such scenario, or its file is not a scenario
│   ├── ParameterError    an unknown parameter, or a value out of its range
│   ├── PersonaError      a malformed persona or cast, with file, line and field
│   ├── CampaignError     a malformed campaign file, or a campaign that contradicts itself
│   ├── GraphError        a graph source that cannot be read, with file and line
│   └── ObserverError     no such observer
├── RunError              the run failed after it began: exit code 1, its folder says why and can be resumed
│   ├── StorageError      a full disk, a read-only folder; names the file
│   ├── CorruptRunError   a file of a run that is missing, truncated or altered; names the file
│   ├── ModelError        a language model that cannot be used, or did not answer however often it was asked
│   └── TapeError         the tape holds no answer to what is asked; names agent and step, and shows what differs
└── Interrupted           stopped by a signal: exit code 3, resumable from the last step
    └── BudgetSpent       stopped before the budget would be exceeded
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BudgetSpent",
    "CampaignError",
    "CorruptRunError",
    "GraphError",
    "Interrupted",
    "ModelError",
    "ObserverError",
    "ParameterError",
    "PersonaError",
    "RunError",
    "ScenarioError",
    "SimworldError",
    "StorageError",
    "TapeError",
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


class CampaignError(UsageError):
    """A malformed campaign, or one that contradicts itself."""


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


class ModelError(RunError):
    """A language model cannot be used, or did not answer however often it was asked."""


class TapeError(RunError):
    """A tape does not hold the answer to what is asked."""

    def __init__(self, message: str, difference: str = "") -> None:
        super().__init__(message)
        self.difference = difference
        """What is asked now beside what was asked then, as a unified diff of many lines."""


class Interrupted(SimworldError):
    """The run stopped on request; it goes on from its last step."""


class BudgetSpent(Interrupted):
    """The run stopped before a limit on spending would have been exceeded."""


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or ``""`` when none is near."""
    near = difflib.get_close_matches(wrong, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""

"""sweep owns campaigns: designs, executors, results, analysis. It knows no scenario from another."""

from __future__ import annotations

import sys
import types
from typing import Any

from simworld.sweep._analysis import (
    anova,
    cliffs_delta,
    cohens_d,
    correlations,
    effects,
    means,
    morris_indices,
    sobol_indices,
    summary,
)
from simworld.sweep._campaign import (
    SETTINGS,
    Budget,
    Campaign,
    Design,
    Draw,
    Measure,
    Span,
    Stop,
    Until,
    read_campaign,
)
from simworld.sweep._design import points
from simworld.sweep._estimate import CampaignEstimate, check_budget, estimate
from simworld.sweep._executors import Executor, Lost, executor
from simworld.sweep._plan import Plan, plan
from simworld.sweep._results import CampaignResults, is_campaign, load_campaign
from simworld.sweep._sequential import half_width, next_replicates
from simworld.sweep._sweep import Progress, crew_of, freeze, missing_runs, sweep
from simworld.sweep._variance import variance_card
from simworld.sweep._work import Outcome, Task, work

__all__ = [
    # what is run
    "SETTINGS",
    "Campaign",
    "Design",
    "Span",
    "Draw",
    "Measure",
    "Until",
    "Stop",
    "Budget",
    "read_campaign",
    "points",
    # running it
    "Plan",
    "Progress",
    "plan",
    "freeze",
    "crew_of",
    "sweep",
    "missing_runs",
    "estimate",
    "check_budget",
    "CampaignEstimate",
    "Executor",
    "Lost",
    "executor",
    "Task",
    "Outcome",
    "work",
    "half_width",
    "next_replicates",
    # what came out
    "CampaignResults",
    "load_campaign",
    "is_campaign",
    # what it says
    "summary",
    "means",
    "effects",
    "cohens_d",
    "cliffs_delta",
    "anova",
    "correlations",
    "sobol_indices",
    "morris_indices",
    "variance_card",
]


class _CallableRoom(types.ModuleType):
    """The import system binds the room to the name ``simworld.sweep``; calling it is calling `sweep`."""

    def __call__(self, *args: Any, **named: Any) -> CampaignResults:
        return sweep(*args, **named)


sys.modules[__name__].__class__ = _CallableRoom

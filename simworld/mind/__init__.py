"""mind owns the decision seam: a question goes in for many agents at once, checked answers or typed refusals come out.

It knows no scenario and never turns a refusal into an action.
"""

from simworld.mind._answers import Answers, checked, possible
from simworld.mind._minds import Mind, RuleMind, Waiting, share_argument, vectorised
from simworld.mind._null import uniform_policy
from simworld.mind._question import Check, ColumnDraws, Columns, Personas, Question

__all__ = [
    "Answers",
    "Check",
    "ColumnDraws",
    "Columns",
    "Mind",
    "Personas",
    "Question",
    "RuleMind",
    "Waiting",
    "checked",
    "possible",
    "share_argument",
    "uniform_policy",
    "vectorised",
]

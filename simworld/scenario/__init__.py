"""scenario owns finding, mounting and describing scenario scripts, casts and recipes. It never runs them.

Finding and describing read the syntax tree and execute nothing; only `load` imports user code.
"""

from simworld.scenario._card import ParamCard, ScenarioCard, describe, list_scenarios
from simworld.scenario._content import ContentFile, find_cast, find_recipe, list_casts, list_recipes
from simworld.scenario._lab import Lab, bundled_lab, find_lab
from simworld.scenario._load import load
from simworld.scenario._new import new_lab
from simworld.scenario._spec import ScenarioRef, resolve
from simworld.scenario.mounted import mount

__all__ = [
    "Lab",
    "find_lab",
    "bundled_lab",
    "new_lab",
    "ScenarioRef",
    "resolve",
    "load",
    "mount",
    "ScenarioCard",
    "ParamCard",
    "list_scenarios",
    "describe",
    "ContentFile",
    "find_cast",
    "list_casts",
    "find_recipe",
    "list_recipes",
]

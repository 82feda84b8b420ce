"""Rule policies: memory-one strategies, those that follow from a persona, fixed ones for single seats, and chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import simworld as sw
from simworld.errors import ParameterError

from .decisions import Move
from .strategies import PERSONA, plan_of

AGREEABLENESS = {"first": 0.1, "cc": 0.03, "cd": 0.1, "dc": 0.05, "dd": 0.1}
"""What one standard unit of agreeableness adds to the chances of C of PERSONA: more forgiveness, a kinder first move.
Placeholders [design]."""

type Plan = Mapping[str, Any]
"""Chances of C: ``first``, ``cc``, ``cd``, ``dc``, ``dd``, numbers or arrays of shape (n,)."""


def chance_of_c(seen: Any, plan: Plan, weight: float) -> np.ndarray:
    """Return the chance of C of every side asked, shape (n,).

    With probability ``weight`` an agent goes by the partner's public record where it would go by its last move; in a
    first round as if it had played C itself.
    """
    kept = seen.own == 1
    if_c, if_d = np.where(kept, plan["cc"], plan["dc"]), np.where(kept, plan["cd"], plan["dd"])
    other, first = seen.other, plan["first"]
    if weight:
        is_known = seen.standing >= 0
        other = np.where(is_known, (1 - weight) * other + weight * seen.standing, other)
        by_record = plan["cd"] + seen.standing * (plan["cc"] - plan["cd"])
        first = np.where(is_known, (1 - weight) * first + weight * by_record, first)
    # if_d + other · (if_c − if_d), in place: at a million sides every new array costs as much as the sum.
    if_c -= if_d
    if_c *= other
    if_c += if_d
    return np.where(seen.own < 0, first, if_c)


def own_plan(seen: Any, personas: Any) -> Plan:
    """Return the chances of the own strategy; PERSONA bends them by agreeableness."""
    plan = {name: getattr(seen, name) for name in AGREEABLENESS}
    led = seen.strategy == PERSONA
    if led.any():
        z = np.where(led, personas.z("A"), 0.0)
        plan = {name: np.clip(plan[name] + gain * z, 0.0, 1.0) for name, gain in AGREEABLENESS.items()}
    return plan


def policies(params: Any) -> dict[str, Any]:
    """Return the policies by mind label under these parameters."""
    weight = params.reputation_weight if params.reputation else 0.0

    def following(plan: Callable[[Any, Any], Plan]) -> dict[type[sw.Decision], Any]:
        @sw.vectorised
        def policy(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, np.ndarray]:
            return {"play_c": rng.random() < chance_of_c(seen, plan(seen, personas), weight)}

        return {Move: policy}

    def play(text: str) -> dict[type[sw.Decision], Any]:
        """Follow one strategy whatever the agent's own: ``play(TFT)``, ``play(0.9/1/0.3/1/0.3)``."""
        try:
            name, chances = plan_of(text, params.matrix, params.chi)
        except ValueError as error:
            raise ParameterError(f"mind 'play({text})': {error}") from None
        if name == "PERSONA":
            raise ParameterError("mind 'play(PERSONA)': give the agent the strategy PERSONA instead (-p strategies=…)")
        fixed = dict(zip(AGREEABLENESS, chances, strict=True))
        return following(lambda seen, personas: fixed)

    def always(text: str) -> dict[type[sw.Decision], Any]:
        """Play C with one probability whatever happened: ``always(0.3)``."""
        try:
            return play("/".join([str(float(text))] * 5))
        except ValueError:
            raise ParameterError(f"mind 'always({text})': give a probability, as in always(0.3)") from None

    return {"rules": following(own_plan), "null": {Move: coin}, "play": play, "always": always}


@sw.vectorised
def coin(personas: Any, seen: Any, memory: Any, rng: Any) -> dict[str, np.ndarray]:
    """The null: C or D by a fair coin."""
    return {"play_c": rng.random() < 0.5}

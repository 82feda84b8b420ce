"""Rule policies: the three strategies, one that follows character, the null, and the coin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import simworld as sw
from simworld.mind import share_argument

from .decisions import Donate

STRATEGIES = ("cooperator", "defector", "discriminator")
BAD = 0
"""Image of somebody known to have refused; 1 is good and −1 unknown."""

COEFFICIENTS = {
    "good": 2.0,  # logit of helping one known to be good
    "unknown": 1.0,  # one of whom nothing is known
    "bad": -1.5,  # one known to be bad
    "agreeableness": 0.8,  # logit of helping whomever, a standard deviation of agreeableness
}
"""Placeholders of the persona policy; only directions are meant."""


def policies() -> Mapping[str, Any]:
    """Return the policies of every mind label; ``gives`` takes a chance, as in ``gives(0.3)``."""
    c = COEFFICIENTS

    @sw.vectorised
    def by_strategy(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        cooperator, _, discriminator = range(3)
        is_spared = (view.strategy == discriminator) & (view.image != BAD)
        return {"donate": (view.strategy == cooperator) | is_spared}

    @sw.vectorised
    def by_character(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        # By code: bad 0, good 1, unknown −1, which is the last.
        base = np.array([c["bad"], c["good"], c["unknown"]])[view.image]
        logit = base + c["agreeableness"] * personas.z("A")
        return {"donate": draws.bernoulli(1.0 / (1.0 + np.exp(-logit)))}

    def gives(text: str) -> Mapping[Any, Any]:
        chance = share_argument("gives", text)

        @sw.vectorised
        def coin(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
            return {"donate": draws.bernoulli(chance)}

        return {Donate: coin}

    return {"rules": {Donate: by_strategy}, "null": gives("0.5"), "persona": {Donate: by_character}, "gives": gives}

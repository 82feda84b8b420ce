"""Rule policies: the conditional cooperator, the null, and the player who always gives the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import simworld as sw
from simworld.mind import share_argument

from .decisions import MOST_POINTS, Contribute, Punish

COEFFICIENTS = {
    "start": 0.2,  # logit of the share given before anybody has seen anything
    "agreeableness_start": 0.5,  # the same, a standard deviation of agreeableness
    "match": 1.5,  # logit of what is given for each token that the others gave
    "agreeableness_match": 0.6,  # the same, a standard deviation of agreeableness
    "fined": 0.1,  # share added by who was fined in the round before, who then matches the others in full
    "harshness": 0.4,  # points for each token that another gave less than oneself, at logit 0 halved
    "agreeableness_forgives": 0.6,  # logit of sparing them, a standard deviation of agreeableness
}
"""Placeholders; only directions are meant (Fischbacher, Gächter, Fehr 2001, doi:10.1016/S0165-1765(01)00394-9)."""


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def policies(params: Any) -> Mapping[str, Any]:
    """Return the policies of every mind label; ``always`` takes a share, as in ``always(0.3)``."""
    e, c = params.endowment, COEFFICIENTS

    @sw.vectorised
    def contribute(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        z = personas.z("A")
        first = sigmoid(c["start"] + c["agreeableness_start"] * z)
        was_fined = view.fined > 0
        match = np.where(was_fined, 1.0, sigmoid(c["match"] + c["agreeableness_match"] * z))
        later = match * view.others / e + c["fined"] * was_fined
        share = np.clip(np.where(view.has_played, later, first), 0.0, 1.0)
        # Whole tokens, the right number on average.
        return {"contribution": np.minimum(np.floor(share * e + draws.random()), e)}

    @sw.vectorised
    def punish(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        short = np.maximum(view.own - view.theirs, 0.0)
        points = c["harshness"] * short * sigmoid(-c["agreeableness_forgives"] * personas.z("A"))
        return {"points": np.minimum(np.floor(points + draws.random()), MOST_POINTS).astype(np.int64)}

    @sw.vectorised
    def null_contribute(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        return {"contribution": e * draws.random()}

    @sw.vectorised
    def null_punish(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
        return {"points": draws.integers(0, MOST_POINTS + 1)}

    def always(text: str) -> Mapping[Any, Any]:
        share = share_argument("always", text)

        @sw.vectorised
        def give(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
            return {"contribution": np.full(len(personas), share * e)}

        @sw.vectorised
        def spare(personas: Any, view: Any, memories: Any, draws: Any) -> dict[str, np.ndarray]:
            return {"points": np.zeros(len(personas), np.int64)}

        return {Contribute: give, Punish: spare}

    return {
        "rules": {Contribute: contribute, Punish: punish},
        "null": {Contribute: null_contribute, Punish: null_punish},
        "always": always,
    }

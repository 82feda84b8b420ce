"""The payoffs of the linear public goods game, and what they imply."""

from __future__ import annotations

import numpy as np

from simworld.errors import ParameterError


def payoffs(contributions: np.ndarray, endowment: float, factor: float) -> np.ndarray:
    """Return e − c + (r/N)·Σc of every player, shape (..., N) as the contributions, one group a row."""
    c = np.asarray(contributions, float)
    return endowment - c + factor / c.shape[-1] * c.sum(-1, keepdims=True)


def best_reply(size: int, endowment: float, factor: float) -> float:
    """Return what pays best for a player, whatever the others do: nothing if r < N, everything if r > N.

    Raises:
        ParameterError: r = N, where every contribution pays the same.
    """
    if factor == size:
        raise ParameterError(f"at factor = group size = {size} every contribution is a best reply")
    return 0.0 if factor < size else endowment


def optimum(endowment: float, factor: float) -> float:
    """Return the contribution of all that pays best for the group: everything if r > 1, nothing if r < 1."""
    return endowment if factor > 1 else 0.0

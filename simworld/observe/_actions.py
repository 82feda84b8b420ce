"""What happened, as rates."""

from __future__ import annotations

from collections.abc import Mapping


def action_rates(happened: Mapping[str, int], n_agents: int) -> dict[str, float]:
    """Return events of a step per living agent, by kind in alphabetical order; NaN in a society without agents.

    Args:
        happened: number of events of the step by kind.
        n_agents: living agents.
    """
    return {kind: happened[kind] / n_agents if n_agents > 0 else float("nan") for kind in sorted(happened)}

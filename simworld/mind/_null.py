"""The null policy that needs no scenario: a uniform draw over everything the decision's schema allows."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from simworld.errors import RunError
from simworld.rng import Draws
from simworld.schema import Decision


def uniform_policy(decision: type[Decision]) -> Callable[[Any, Any, Any, Draws], dict[str, Any]]:
    """Return the policy that fills every field uniformly: booleans, literals, and numbers between their bounds.

    Raises:
        RunError: a field has no finite range (a text, an unbounded number) and no default; the scenario must then ship
            a null policy of its own.
    """
    fillers = {name: _filler(decision, name) for name in decision.model_fields}

    def policy(persona: Any, observation: Any, memory: Any, rng: Draws) -> dict[str, Any]:
        return {name: fill(rng) for name, fill in fillers.items() if fill is not None}

    return policy


def _filler(decision: type[Decision], name: str) -> Callable[[Draws], Any] | None:
    info = decision.model_fields[name]
    bounds = {key: getattr(m, key) for m in info.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)}
    if info.annotation is bool:
        return lambda rng: rng.random() < 0.5
    if typing.get_origin(info.annotation) is typing.Literal:
        options = typing.get_args(info.annotation)
        return lambda rng: rng.choice(options)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if info.annotation is int and low is not None and high is not None:
        first = int(low) + ("ge" not in bounds)
        last = int(high) - ("le" not in bounds)
        return lambda rng: rng.integers(first, last + 1)
    if info.annotation is float and low is not None and high is not None:
        return lambda rng: rng.uniform(float(low), float(high))
    if not info.is_required():
        return None
    raise RunError(
        f"no uniform null for {decision.__name__}.{name}: it has no finite range; "
        "give the field bounds or a default, or ship a null policy in the scenario's policies['null']"
    )

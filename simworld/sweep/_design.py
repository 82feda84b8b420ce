"""From factors to points: which combinations a campaign runs, and in which order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import CampaignError
from simworld.rng import derive_seed
from simworld.sweep._campaign import Campaign, Draw, Factor, Span, Value

type Point = dict[str, Value]


def size(campaign: Campaign) -> int:
    """Return how many points `points` would make, without making them."""
    design, factors = campaign.design, campaign.factors
    n, k = design.n or 1, len(factors)
    if design.kind == "points":
        return len(design.points)
    if design.kind == "factorial":
        return math.prod(len(f) if isinstance(f, tuple) else getattr(f, "levels", 1) or 1 for f in factors.values())
    if design.kind == "variance":
        listed = [factors.get(name) for name in design.components]
        return math.prod(len(f) if isinstance(f, tuple) else design.repeats for f in listed)
    if design.kind == "sobol":
        return n * (2 * k + 2 if design.second_order else k + 2)
    return n * (k + 1) if design.kind == "morris" else n


def points(campaign: Campaign) -> list[Point]:
    """Return the points of a campaign, each a value for every factor (of a variance design: each component's index)."""
    design, factors = campaign.design, campaign.factors
    if design.kind == "points":
        return [dict(point) for point in design.points]
    if design.kind == "factorial":
        levels = [_levels(factor) for factor in factors.values()]
        return [dict(zip(factors, combination, strict=True)) for combination in itertools.product(*levels)]
    if design.kind == "variance":
        levels = [_component_levels(campaign, name) for name in design.components]
        return [dict(zip(design.components, one, strict=True)) for one in itertools.product(*levels)]
    return [
        {name: at(factor, float(u)) for (name, factor), u in zip(factors.items(), row, strict=True)}
        for row in unit_sample(campaign)
    ]


def _levels(factor: Factor) -> list[Value]:
    if isinstance(factor, Span):
        return factor.values()
    if isinstance(factor, Draw):
        raise AssertionError("a distribution has no levels; checked with the campaign")
    return list(factor)


def _component_levels(campaign: Campaign, name: str) -> list[Value]:
    levels = campaign.factors.get(name)
    return list(levels) if isinstance(levels, tuple) else list(range(campaign.design.repeats))


def at(factor: Factor, u: float) -> Value:
    """Return a factor's value at a share ``u`` in [0, 1]: of a list the entry there."""
    if isinstance(factor, tuple):
        return factor[min(int(u * len(factor)), len(factor) - 1)]
    return factor.at(u)


def problem(campaign: Campaign) -> dict[str, Any]:
    """Return the factors as SALib wants them: each on the unit interval."""
    names = list(campaign.factors)
    return {"num_vars": len(names), "names": names, "bounds": [[0.0, 1.0]] * len(names)}


def unit_sample(campaign: Campaign) -> npt.NDArray[np.float64]:
    """Return the sample of a sampled design on the unit cube, shape (points, factors), in the order SALib analyses."""
    design, k = campaign.design, len(campaign.factors)
    seed = derive_seed(campaign.seed, "design", design.kind) & 0x7FFFFFFF
    n = design.n or 1
    if design.kind == "random":
        return np.random.default_rng(seed).random((n, k))
    if design.kind == "latin_hypercube":
        from scipy.stats import qmc

        return np.asarray(qmc.LatinHypercube(k, rng=np.random.default_rng(seed)).random(n))
    if design.kind == "sobol":
        from SALib.sample import sobol

        return np.asarray(sobol.sample(problem(campaign), n, calc_second_order=design.second_order, seed=seed))
    from SALib.sample import morris

    return np.asarray(morris.sample(problem(campaign), n, num_levels=design.levels, seed=seed))


def call_of(campaign: Campaign, point: Mapping[str, Value], params: frozenset[str]) -> dict[str, Any]:
    """Return the call that a point is, without its seed: keyword arguments of `simworld.run.prepare`.

    Args:
        campaign: the campaign.
        point: a value for every factor.
        params: names of the scenario's parameters, which come before settings of the same name.
    """
    call: dict[str, Any] = {
        "params": dict(campaign.params), "steps": campaign.steps, "observers": list(campaign.observers),
        "asking": {}, "memory": {}, "seeds": {}, "service": {},
    }  # fmt: skip
    chosen = {} if campaign.design.kind == "variance" else dict(point)
    if campaign.design.kind == "variance":
        chosen = {name: value for name, value in point.items() if name in ("card", "model")}
    for name, value in (*campaign.settings.items(), *chosen.items()):
        place, dot, inner = name.partition(".")
        if name in params or (dot and place == "params"):
            call["params"][inner if dot and place == "params" else name] = value
        elif dot and place in ("memory", "seeds"):
            call[place][inner] = value
        elif name in ("card", "temperature", "max_tokens", "attempts"):
            call["asking"][name] = value
        elif name == "model":
            call["models"] = [] if value in (None, "") else [value] if isinstance(value, str) else list(value)
        elif name in ("api_base", "prices"):
            call["service"][name] = value
        elif name == "observers":
            call["observers"] += [each for each in named(value) if each not in call["observers"]]
        elif name == "seats":
            call["seats"] = seats_of(value)
        else:
            call[name] = None if value == "" else value
    return {name: value for name, value in call.items() if value not in ({}, [], None)}


def named(value: Any) -> list[str]:
    """Return names from a text that separates them by commas, or from a list."""
    parts = value.split(",") if isinstance(value, str) else [str(each) for each in value or ()]
    return [part.strip() for part in parts if part.strip()]


def seats_of(value: Any) -> dict[str, str]:
    """Return who has which mind: from a table, or from a text ``AGENT=MIND`` with several separated by commas.

    Raises:
        CampaignError: it is no such text, or an agent has two minds.
    """
    if isinstance(value, Mapping):
        return {str(who): mind for who, mind in value.items()}
    found: dict[str, str] = {}
    for part in named(value):
        who, _, mind = (piece.strip() for piece in part.rpartition("="))
        if not who or not mind:
            raise CampaignError(f"seats = {value!r:.80}: {part!r} is not AGENT=MIND, for example 3=null")
        if who in found:
            raise CampaignError(f"seats = {value!r:.80} gives agent {who!r} two minds; give it one")
        found[who] = mind
    return found


def seeds_of(campaign: Campaign, point: Mapping[str, Value], replicate: int) -> dict[str, Any]:
    """Return what a run draws from: ``seed``, and of a variance design the seeds of parts and the models' replicate.

    A run's seed comes from the campaign's by `numpy.random.SeedSequence`, with the point's content and the replicate as
    the spawn key: two runs share one only where random numbers are to be common, and adding points or replicates
    changes no other run's.
    """
    if campaign.design.kind != "variance":
        name: tuple[str | int, ...] = () if campaign.common_random_numbers else _content(point)
        return {"seed": _spawned(campaign.seed, *name, replicate)}
    found: dict[str, Any] = {"seed": _spawned(campaign.seed), "seeds": {}}
    path: list[str | int] = []
    for component in campaign.design.components:
        path += [component, str(point[component])]
        own = _spawned(campaign.seed, *path)
        if component in ("personas", "graph", "schedule"):
            found["seeds"][component] = own
        elif component == "seed":
            found["seed"] = own
        elif component == "sampling":
            found["replicate"] = own & 0x3FFFFFFF
    return {name: value for name, value in found.items() if value != {}}


def _content(point: Mapping[str, Value]) -> tuple[str, ...]:
    return tuple(f"{name}={point[name]!r}" for name in sorted(point))


def _spawned(seed: int, *name: str | int) -> int:
    """Return a 63-bit seed spawned from a campaign's; texts enter the spawn key as 32-bit words of their hash."""
    words: list[int] = []
    for part in name:
        number = part if isinstance(part, int) else derive_seed(0, part)
        words += [number & 0xFFFFFFFF, number >> 32]
    state = np.random.SeedSequence(seed, spawn_key=tuple(words)).generate_state(2, np.uint32)
    return (int(state[0]) | int(state[1]) << 32) >> 1

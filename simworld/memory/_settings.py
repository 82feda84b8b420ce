"""How the agents of one society remember; every threshold of this room is a field here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simworld.schema import Record

type Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Phrase(Record):
    """How an insight speaks of a predicate whose records have a value: the outcome of an encounter."""

    threshold: float
    """Outcomes below it are of the one sort, the others of the other; in the unit of the values."""
    below: str
    """What somebody does whose outcomes lie below (``"gave less than half"``)."""
    above: str
    """What somebody does whose outcomes do not (``"gave half or more"``)."""


class MemorySettings(Record):
    """How agents remember. A scenario sets what it needs; ``--memory NAME=VALUE`` overrides a field for one run."""

    model_config = {**Record.model_config, "use_attribute_docstrings": True}

    enabled: bool = True
    """False: nothing is stored and nothing found (``--no-memory``)."""
    reflection: bool = True
    """False: no insights are drawn (``--no-reflection``)."""
    policy: str = "hybrid"
    """Retrieval policy, by name."""
    k: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Records found for one question; None: as many as the policy's source says."""
    embedder: str = "hashed"
    """Embedder, by name."""
    hours_per_step: Annotated[float, Field(gt=0.0)] = 1.0
    """Hours of the society's time in one step, for policies that count in hours or days."""
    importance: Literal["rule", "model", "hybrid"] = "rule"
    """Who says how important a record is: the table below, a language model, or a model where the table says > 0.6."""
    importance_table: dict[str, Share] = {}
    """Importance by predicate or kind, 0 to 1, instead of `KIND_IMPORTANCE`."""
    surprise: Share = 0.3
    """Weight of novelty in a rule's importance; 1 − largest cosine to the last 20 records. [design]"""
    reflect_at: Annotated[float, Field(gt=0.0)] = 15.0
    """Importance gathered since the last reflection at which an agent reflects; 150 on the 1–10 scale (Park et al.)."""
    reflect_over: Annotated[int, Field(ge=1)] = 100
    """Latest records a reflection looks at, at most (Park et al. 2023)."""
    insights: Annotated[int, Field(ge=1, le=20)] = 5
    """Insights of one reflection, at most (Park et al. 2023)."""
    depth: Annotated[int, Field(ge=1, le=10)] = 3
    """Reflections on reflections, at most so deep. [design]"""
    duplicate_above: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """An insight is dropped at this cosine to one that holds. [design]"""
    thought_expiry: Annotated[int, Field(ge=1)] | None = None
    """Steps after which reflections are not found any more; None: never. Park et al.'s released code has 30 days."""
    phrases: dict[str, Phrase] = {}
    """How rule minds' insights speak of encounters, by predicate."""
    episodes: bool = False
    """Whether episodes are closed into summaries, whose originals then count as cold."""
    episode_records: Annotated[int, Field(ge=2)] = 15
    """Records that close an episode (TinyTroupe)."""
    episode_gap: Annotated[int, Field(ge=1)] = 6
    """Steps without a record that close an episode. [design]"""
    forgetting: Literal["none", "threshold", "bernoulli"] = "none"
    """Whether records are dropped at a retention below `forget_below`, with probability 1 − R, or never."""
    tau_steps: Annotated[float, Field(gt=0.0)] | None = None
    """τ of the retention exp(−Δt/(S·τ)), steps; needed to forget. One simulated day is MemoryBank's unit."""
    forget_below: Share = 0.05
    """Retention below which a record is dropped. [design]"""
    capacity: Annotated[int, Field(ge=1)] | None = None
    """Records an agent keeps; more are evicted, smallest retention × importance first. None: by `capacity_for`."""
    core_tokens: Annotated[int, Field(ge=1)] = 2000
    """Tokens of an agent's core blocks together; a token counts as four characters."""
    tree: tuple[str, ...] = ()
    """Dotted paths of the leaves of the persona tree that operations may fill."""
    filled_leaf: Literal["refuse", "update"] = "refuse"
    """What ADD does on a leaf that is filled."""

    @model_validator(mode="after")
    def _forgets_in_time(self) -> Self:
        if self.forgetting != "none" and self.tau_steps is None:
            raise ValueError("forgetting needs 'tau_steps', the τ of the retention curve in steps")
        return self


TIERS = ((1_000, 2_000), (10_000, 200))
"""(agents, records each): how much a society of that size remembers. [design]"""
FEWEST_KEPT = 48
"""Records an agent of a larger society keeps. [design]"""
MODEL_UP_TO = 10_000
"""Agents up to which a language model may weigh memories; above, the rule does. [design]"""


def capacity_for(n_agents: int) -> int:
    """Return the records an agent keeps in a society of this size, where the settings do not say."""
    return next((records for agents, records in TIERS if n_agents <= agents), FEWEST_KEPT)


KIND_IMPORTANCE = {
    "observation": 0.2, "action": 0.3, "utterance": 0.4, "reflection": 0.8, "plan": 0.4, "fact": 0.5, "event": 0.5,
    "summary": 0.5, "formative": 0.8,
}  # fmt: skip
"""Importance of a kind of record where nothing else says. [design] placeholders, from no literature."""

"""Helping strangers by their image: indirect reciprocity under image scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

import simworld as sw
from simworld.errors import ParameterError

from . import rules
from .decisions import Donate
from .observers import Reputation

UNKNOWN = -1


class Params(sw.Params):
    n_agents: int = sw.field(100, ge=2, unit="agents", doc="Number of agents.")
    benefit: float = sw.field(2.0, ge=0, unit="points", doc="b, what help is worth.", source="design")
    cost: float = sw.field(1.0, ge=0, unit="points", doc="c, what help costs.", source="design")
    known: float = sw.field(
        0.7, ge=0, le=1, unit="probability", doc="q, chance that a donor knows the image.", source="design"
    )
    noise: float = sw.field(0.0, ge=0, le=1, unit="probability", doc="Chance that an image comes out wrong.")
    defectors: float = sw.field(0.1, ge=0, le=1, doc="Share of agents who start as defectors.", source="design")
    cooperators: float = sw.field(
        0.0, ge=0, le=1, doc="Share of agents who start as cooperators; the rest discriminate.", source="design"
    )
    generation: int = sw.field(0, ge=0, unit="steps", doc="Steps before strategies may change; 0 keeps them.")
    imitation: float = sw.field(
        0.1, ge=0, le=1, unit="probability", doc="Chance to compare oneself with another after a generation.",
        source="placeholder",
    )  # fmt: skip
    selection: float = sw.field(
        5.0, ge=0, le=1000, doc="How sharply the better of two is copied, a point a step.", source="placeholder"
    )
    mutation: float = sw.field(
        0.0, ge=0, le=1, unit="probability", doc="Chance of a strategy at random after a generation.",
        source="placeholder",
    )  # fmt: skip


class Donor(sw.Agent):
    strategy: Literal["cooperator", "defector", "discriminator"] = "discriminator"
    """What the rule policy follows; no other mind sees it."""
    image: bool = True
    """Good until the agent refuses; the last act as donor counts."""
    payoff: float = 0.0
    """Points so far."""
    cooperated: float = 0.0
    """Times the agent gave so far."""
    moves: int = 0
    """Times it could have."""
    gained: float = 0.0
    """Points of this generation."""
    gave: bool = False
    """Whether it gave in the last round."""
    was_good: bool = True
    """Its image before that."""


class Globals(sw.Globals):
    met_good: int = 0
    """Meetings so far in which the donor knew a good image."""
    gave_good: int = 0
    """Of these, in how many the donor gave."""
    met_bad: int = 0
    """Meetings so far in which the donor knew a bad image."""
    gave_bad: int = 0
    """Of these, in how many the donor gave."""


class IndirectReciprocity(sw.World):
    """Does it pay to help those who help others, when their reputation is known only some of the time?"""

    Params = Params
    Globals = Globals
    agent_classes = (Donor,)
    with_personas = True
    default_steps = 50
    observers = (Reputation, "inequality", "persona_effects")

    @property
    def policies(self) -> Mapping[str, Any]:
        return rules.policies()

    def setup(self) -> None:
        n, p = self.table.n, self.params
        cooperators = round(p.cooperators * n)
        defectors = min(round(p.defectors * n), n - cooperators)
        numbers = (cooperators, defectors, n - cooperators - defectors)
        codes = np.repeat(np.arange(3, dtype=np.int16), numbers)
        self.table["strategy"] = self.chance.stream("strategies").permutation(codes)

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse another length of generations, what only mattered at the start, and books that lie."""
        p = self.changed_params(params)
        if p.generation != self.params.generation:
            raise ParameterError("generation cannot change on the way, for points are counted by it; start a new run")
        for name in ("defectors", "cooperators"):
            if getattr(p, name) != getattr(self.params, name):
                raise ParameterError(f"{name} only mattered at the start; change the strategy of agents")
        for agent, column, value in cells:
            self.checked_cell(column, value)
            if column not in ("strategy", "image", "payoff"):
                raise ParameterError(
                    f"{column} of agent {agent} is counted by the game; change strategy, image or payoff"
                )

    @property
    def rounds(self) -> int:
        """Rounds of this generation so far."""
        return (self.t - 1) % self.params.generation + 1 if self.params.generation and self.t else self.t

    def step(self) -> None:
        table, p, n = self.table, self.params, self.table.n
        if self.t > 1 and self.rounds == 1:
            self.imitate()
        # A random ring: everybody is donor of the next one, and so gives once and receives once.
        ring = self.stream("ring").permutation(n)
        recipient = np.empty(n, np.int64)
        recipient[ring] = np.roll(ring, -1)
        is_known = self.stream("known").random(n) < p.known
        image = np.where(is_known, table["image"][recipient].astype(np.int64), UNKNOWN)
        seen = {
            "recipient": recipient, "image": image, "own_image": table["image"], "payoff": table["payoff"],
            "strategy": table["strategy"],
        }  # fmt: skip
        gives = self.decide(Donate, None, seen).column("donate", refused=False)
        helped = np.zeros(n, bool)
        helped[recipient] = gives
        gain = p.benefit * helped - p.cost * gives
        table["payoff"] += gain
        table["gained"] += gain
        table["cooperated"] += gives
        table["moves"] += 1
        table["gave"] = gives
        table["was_good"] = table["image"]
        table["image"] = gives ^ (self.stream("noise").random(n) < p.noise)
        for name, code in (("good", 1), ("bad", rules.BAD)):
            met = image == code
            for what, counted in (("met", met), ("gave", met & gives)):
                key = f"{what}_{name}"
                setattr(self.globals, key, getattr(self.globals, key) + int(counted.sum()))
        self.emit_many("donate", agent=np.flatnonzero(gives), target=recipient[gives])

    def imitate(self) -> None:
        """Let some copy the strategy of who did better, all at once from the old values.

        Pairwise comparison: Traulsen, Nowak, Pacheco 2006, doi:10.1103/PhysRevE.74.011909.
        """
        table, p, n = self.table, self.params, self.table.n
        draws = self.stream("imitation")
        model = (np.arange(n) + draws.integers(1, n, n)) % n
        mean = table["gained"] / p.generation
        # The Fermi function 1 / (1 + exp(-x)), written so that it does not overflow.
        adopts = 0.5 * (1.0 + np.tanh(0.5 * p.selection * (mean[model] - mean)))
        copies = (draws.random(n) < p.imitation) & (draws.random(n) < adopts)
        new = np.where(copies, table["strategy"][model], table["strategy"])
        mutates = draws.random(n) < p.mutation
        new = np.where(mutates, draws.integers(0, 3, n), new).astype(np.int16)
        changed = np.flatnonzero(new != table["strategy"])
        table["strategy"] = new
        self.emit_many("adopt", agent=changed, value=new[changed].astype(float))
        table["gained"] = 0.0
        table["image"] = True

    def metrics(self) -> Mapping[str, float]:
        shares = np.bincount(self.table["strategy"], minlength=3) / self.table.n
        return dict(zip((f"{name}s" for name in rules.STRATEGIES), shares.tolist(), strict=True))

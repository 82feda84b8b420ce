"""The opinion model as a plain Mesa model, written for speed: neighbours in a list, the draw bound once."""

from __future__ import annotations

from typing import Any

import mesa
import numpy as np

from tests.bench.opinion import COLUMNS


class Person(mesa.Agent):
    """Somebody who may hold the opinion."""

    def __init__(self, model: mesa.Model, opinion: bool) -> None:
        super().__init__(model)
        self.opinion = opinion
        self.exposure = 0.0
        self.changes = 0
        self.age = 0
        self.streak = 0
        self.last_share = 0.0
        self.neighbours: list[Person] = []
        self.draw = model.random.random

    def step(self) -> None:
        share = sum([n.opinion for n in self.neighbours]) / len(self.neighbours)
        new = self.draw() < 0.1 + 0.8 * share
        self.exposure += share
        self.age += 1
        if new == self.opinion:
            self.streak += 1
        else:
            self.opinion = new
            self.changes += 1
            self.streak = 0
        self.last_share = share


class MesaOpinion(mesa.Model):
    """The opinion model; agents act one after the other in random order."""

    def __init__(self, ties: Any, seed: int) -> None:
        super().__init__(rng=seed)
        start = np.random.default_rng(seed).random(ties.shape[0]) < 0.5
        people = [Person(self, opinion) for opinion in start.tolist()]
        for person, neighbours in zip(people, np.split(ties.indices, ties.indptr[1:-1]), strict=True):
            person.neighbours = [people[i] for i in neighbours.tolist()]
        self.people = people
        self.datacollector = mesa.DataCollector(agent_reporters={name: name for name in COLUMNS})

    def step(self) -> None:
        self.agents.shuffle_do("step")
        self.datacollector.collect(self)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the state as columns."""
        return {name: np.array([getattr(person, name) for person in self.people]) for name in COLUMNS}

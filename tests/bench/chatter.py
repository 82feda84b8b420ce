"""Chatter: agents say one line after hearing their neighbours' last; what `tests.bench.llm` asks of language models."""

from __future__ import annotations

import numpy as np

import simworld as sw

HEARD = 5


class Say(sw.Decision):
    """What to say to everybody near, and how one feels."""

    text: str = sw.field(max_length=280, doc="One line, 1 to 280 characters.")
    mood: int = sw.field(ge=1, le=5, doc="Mood, from 1, low, to 5, high.")


class Person(sw.Agent):
    mood: int = 3
    line: str = "Good morning."


class Chatter(sw.World):
    """What do people say who hear each other?"""

    class Params(sw.Params):
        n_agents: int = sw.field(1000, ge=2, unit="agents", doc="Number of people.")

    agent_classes = (Person,)
    with_personas = True
    starting_graph = "watts_strogatz_graph:k=6,p=0.1"
    policies = {"rules": {Say: lambda persona, seen, memory, rng: {"text": "Hello.", "mood": rng.integers(1, 6)}}}
    default_steps = 5

    def step(self) -> None:
        lines = self.table["line"]

        def heard(agent: int) -> dict[str, object]:
            near = self.graph.neighbors(agent)[:HEARD].tolist()
            return {"mood": int(self.table["mood"][agent]), "heard": [f"agent {i}: {lines[i]}" for i in near]}

        answers = self.decide(Say, None, heard)
        said = np.flatnonzero(~answers.refused)
        for agent, answer in answers.pairs():
            if isinstance(answer, Say):
                self.emit("say", agent=agent, text=answer.text)
        self.table["line"][said] = answers.column("text", refused="")[said]
        self.table["mood"][said] = answers.column("mood", refused=0)[said]

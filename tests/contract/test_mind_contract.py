"""Every mind that ships, and minds that lie, refuse and sit side by side, under one suite."""

from __future__ import annotations

from typing import Any

import numpy as np

import simworld as sw
from simworld.mind import Answers, Mind, Question, RuleMind, uniform_policy, vectorised
from tests.contract.mind_contract import MindContract, Probe

TONES = ("calm", "angry", "glad")


def by_mood(persona: Any, observation: Any, memory: Any, rng: Any) -> dict[str, Any]:
    speak = rng.bernoulli(observation.mood)
    effort = rng.integers(0, 10)
    return {"speak": speak, "tone": TONES[effort % 3], "effort": effort, "share": rng.random()}


@vectorised
def by_mood_columns(personas: Any, observation: Any, memories: Any, rng: Any) -> dict[str, Any]:
    speak = rng.bernoulli(observation.mood)
    effort = rng.integers(0, 10)
    return {"speak": speak, "tone": np.array(TONES)[effort % 3], "effort": effort, "share": rng.random()}


def thoughtful(persona: Any, observation: Any, memory: Any, rng: Any) -> Probe:
    """Draws unequally often, so that one agent's draws could push another's."""
    tries = 0
    while rng.random() < 0.5:
        tries += 1
    return Probe(speak=tries > 1, tone=rng.choice(TONES), effort=min(tries, 9), share=observation.mood)


class TestARuleForEachAgent(MindContract):
    def mind(self) -> Mind:
        return RuleMind({Probe: by_mood})


class TestARuleForColumns(MindContract):
    takes_lists = False

    def mind(self) -> Mind:
        return RuleMind({Probe: by_mood_columns})

    def test_it_decides_as_the_rule_for_each_agent_does(self) -> None:
        """A policy and its vectorised form that make the same calls draw the same numbers."""
        for ids in (list(range(300)), [5], [299, 0, 7]):
            scalar = list(RuleMind({Probe: by_mood}).decide(self.question(ids)))
            assert self.answers(ids) == scalar


class TestARuleThatDrawsUnequallyOften(MindContract):
    def mind(self) -> Mind:
        return RuleMind({Probe: thoughtful})


class TestTheUniformNull(MindContract):
    def mind(self) -> Mind:
        return RuleMind({}, "null", fallback=uniform_policy)


LIES: tuple[Any, ...] = (
    {"speak": True, "tone": "calm", "effort": 10, "share": 0.5},
    {"speak": True, "tone": "furious", "effort": 1, "share": 0.5},
    {"speak": True, "tone": "calm", "effort": 1, "share": 1.0000001},
    {"speak": True, "tone": "calm", "effort": 1, "share": float("nan")},
    {"speak": True, "tone": "calm", "effort": 1, "share": float("inf")},
    {"speak": True, "tone": "calm", "effort": 10**40, "share": 0.5},
    {"speak": True, "tone": "calm", "effort": 1},
    {"speak": True, "tone": "calm", "effort": 1, "share": 0.5, "mood": 3},
    {"speak": None, "tone": "calm", "effort": 1, "share": 0.5},
    {"speak": 2, "tone": "calm", "effort": 1, "share": 0.5},
    {"speak": True, "tone": ["calm"], "effort": 1, "share": 0.5},
    {"speak": True, "tone": "calm", "effort": 2.5, "share": 0.5},
    {"speak": True, "tone": "calm", "effort": "lots\nand lots", "share": 0.5},
    {"speak": True, "tone": "calm", "effort": 1, "share": {"share": 0.5}},
    {},
    sw.Refusal(decision="Probe", field="tone", reason="I would rather not say"),
)
"""What a model may answer that cannot be used."""


class TestALiar(MindContract):
    """Every third agent is told something that cannot be used, each lie in turn."""

    refuses = frozenset(range(0, 300, 3))

    def mind(self) -> Mind:
        def policy(persona: Any, observation: Any, memory: Any, rng: Any) -> Any:
            agent = round(observation.mood * 300)
            return LIES[agent // 3 % len(LIES)] if agent % 3 == 0 else by_mood(persona, observation, memory, rng)

        return RuleMind({Probe: policy}, "liar")


class Refuser:
    """A mind that will not play."""

    label = "refuser"

    def decide(self, question: Question) -> Answers:
        items: list[Any] = [
            sw.Refusal(decision=question.decision.__name__, field="", reason="I do not take part") for _ in question.ids
        ]
        return Answers(question, items)


class TestARefuser(MindContract):
    refuses = frozenset(range(300))

    def mind(self) -> Mind:
        return Refuser()

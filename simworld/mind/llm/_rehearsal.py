"""A rehearsal: prompts are made as in the run and counted, while a rule policy answers in the models' place."""

from __future__ import annotations

from dataclasses import dataclass, field

from simworld.mind._answers import Answers
from simworld.mind._minds import Mind
from simworld.mind._question import Question
from simworld.mind.llm._mind import Prompt, Renderer
from simworld.mind.llm._schema import answer_schema
from simworld.schema import Refusal


@dataclass
class Counted:
    """Prompts of one model for one decision."""

    calls: int = 0
    system_chars: int = 0
    user_chars: int = 0
    shared_chars: int = 0
    """Characters at the beginning that a prompt shares with the one before it."""
    answer_chars: int = 0
    """Characters of the stand-in's answers as JSON."""
    rounds: int = 0
    """Questions: the calls of one are made at once."""


@dataclass
class Rehearsed:
    """What a rehearsal counted."""

    counts: dict[tuple[str, str], Counted] = field(default_factory=dict)
    """By model and decision."""
    samples: dict[str, tuple[int, int, Prompt]] = field(default_factory=dict)
    """By decision: step, agent and prompt of one call."""


def _same(a: str, b: str) -> int:
    """Return how many characters two texts begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class RehearsalMind:
    """Stands where a model will: makes its prompts, and answers by a rule policy."""

    def __init__(self, label: str, stand_in: Mind, renderer: Renderer, rehearsed: Rehearsed) -> None:
        self.label = label
        self._stand_in = stand_in
        self._renderer = renderer
        self._rehearsed = rehearsed

    def decide(self, question: Question) -> Answers:
        """Count the prompts; answer by the stand-in."""
        name = question.decision.__name__
        prompts = self._renderer.render(question, answer_schema(question.decision))
        if prompts:
            counted = self._rehearsed.counts.setdefault((self.label, name), Counted())
            counted.rounds += 1
            counted.calls += len(prompts)
            before: Prompt | None = None
            for prompt in prompts:
                counted.system_chars += len(prompt.system)
                counted.user_chars += len(prompt.user)
                if before is not None and before.system == prompt.system:
                    counted.shared_chars += len(prompt.system) + _same(before.user, prompt.user)
                elif before is None and counted.rounds > 1:
                    counted.shared_chars += len(prompt.system)  # as in the rounds before it
                before = prompt
            # The last agent's: in the first rounds there is little to see, so a later and fuller prompt is kept.
            longest = max(range(len(prompts)), key=lambda i: len(prompts[i].user))
            kept = self._rehearsed.samples.get(name)
            if kept is None or len(prompts[longest].user) > len(kept[2].user):
                self._rehearsed.samples[name] = question.step, int(question.ids[longest]), prompts[longest]
        answers = self._stand_in.decide(question)
        if prompts:
            counted.answer_chars += sum(
                len(answer.model_dump_json()) for answer in answers if not isinstance(answer, Refusal)
            )
        return answers

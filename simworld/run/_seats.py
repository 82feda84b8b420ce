"""Who decides for whom: from what a call says to a mind for every agent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from simworld.agent import PromptBook, prompts_of
from simworld.errors import ParameterError, did_you_mean
from simworld.memory import NULLS, RULES
from simworld.mind import Mind, RuleMind, uniform_policy
from simworld.mind.llm import HUMAN, ModelMind, RehearsalMind, Rehearsed, Switchboard
from simworld.persona import largest_remainder
from simworld.rng import Chance
from simworld.run._plan import Plan
from simworld.world import policy_name

_SHARE = re.compile(r"(?P<model>.+):(?P<share>0?\.\d+|[01]\.\d+|0|1|\d\.?\d*e-\d+)")
"""``qwen3:0.3`` has a share, ``qwen3:8b`` and ``qwen3:8`` have a tag."""


def shares_of(models: Sequence[str]) -> dict[str, float]:
    """Return the share of the agents of each model; those that name none split what is left.

    Raises:
        ParameterError: shares above 1 in all, or a model twice.
    """
    found: dict[str, float | None] = {}
    for text in models:
        match = _SHARE.fullmatch(text)
        name, share = (match["model"], float(match["share"])) if match else (text, None)
        if not name.strip() or name != name.strip() or any(c.isspace() for c in name):
            raise ParameterError(
                f"{text!r} names no model; write, for example, --model ollama/qwen3 or gpt-4o-mini:0.7"
            )
        if share is not None and not 0 < share <= 1:
            raise ParameterError(f"{text!r}: a share is above 0 and at most 1")
        if name in found:
            raise ParameterError(f"model {name!r} is given twice; give it once, with its whole share")
        found[name] = share
    said = sum(share for share in found.values() if share is not None)
    if said > 1 + 1e-9:
        raise ParameterError(f"the shares of the models add up to {said:g}; they may add up to 1 at most")
    rest = [name for name, share in found.items() if share is None]
    return {name: max(0.0, 1 - said) / len(rest) if share is None else share for name, share in found.items()}


class Seating:
    """Gives every agent its mind. Stronger first: its seat, its persona's mind, the models' shares, the rest."""

    def __init__(
        self,
        plan: Plan,
        board: Switchboard,
        *,
        rehearsed: Rehearsed | None = None,
        stand_in: str = "rules",
    ) -> None:
        """
        Args:
            plan: what the call said.
            board: connects with language models.
            rehearsed: when given, models are not asked: their prompts are counted there.
            stand_in: the mind that answers in a rehearsal.
        """
        self._plan = plan
        self.board = board
        self._rehearsed = rehearsed
        self._stand_in = stand_in
        self.labels: list[str] = []
        """The mind of every agent of the start, once the society is made."""
        self.book: PromptBook | None = None
        """The prompts; None without language models."""
        self._models: list[str] = []
        self._made: dict[str, Mind] = {}

    def __call__(self, world: Any) -> Sequence[str | Mind] | str | Mind:
        """Return the minds of a society that has agents and personas."""
        self.labels = self._labels(world)
        later = [label for each in self._plan.interventions for label in each.minds.values()]
        models = self._models_among([*self.labels, *later], world)
        if models:
            self.book = PromptBook(world.params, self._plan.asking.card, home=prompts_of(type(world)))
            if self._rehearsed is None:
                self.board.check(models)
        self._models = models
        minds = {label: self.mind(label, world) for label in dict.fromkeys(self.labels)}
        if len(minds) == 1:
            return next(iter(minds.values()))
        return [minds[label] for label in self.labels]

    def _models_among(self, labels: Sequence[str], world: Any) -> list[str]:
        known = {"rules", "null", *world.policies}
        # A base mind that is misspelt is no model: the society refuses it, with the nearest name.
        known |= {self._plan.mind} - {HUMAN}
        models = [label for label in dict.fromkeys(labels) if policy_name(label) not in known]
        for label in models:
            if label != HUMAN and "/" not in label and (hint := did_you_mean(policy_name(label), [*known, HUMAN])):
                raise ParameterError(f"no mind {label!r}{hint}")
        return models

    def mind(self, label: str, world: Any) -> str | Mind:
        """Return the mind of a label: of a language model or a person the mind itself, of a rule policy the label."""
        if label not in self._models:
            return label
        if label not in self._made:
            self._made[label] = self._model_mind(label, self._models, world)
        return self._made[label]

    def _model_mind(self, label: str, models: list[str], world: Any) -> Mind:
        assert self.book is not None
        plan = self._plan
        if self._rehearsed is not None:
            policies = world.policies.get(self._stand_in, {})
            own = NULLS if self._stand_in == "null" else RULES
            stand_in = RuleMind(policies, self._stand_in, fallback=lambda d: own.get(d) or uniform_policy(d))
            return RehearsalMind(label, stand_in, self.book, self._rehearsed)
        asking = plan.asking if label != HUMAN else plan.asking.model_copy(update={"attempts": HUMAN_ATTEMPTS})
        replicate = f"{plan.seed}/{plan.replicate}"
        model = self.board.connect(label, models)
        return ModelMind(label, self.board, self.book, model=model, asking=asking, replicate=replicate)

    def _labels(self, world: Any) -> list[str]:
        plan, n = self._plan, world.table.n
        shares = shares_of(plan.models)
        labels = shared_out(shares, n, plan.mind, world.chance)
        world.notes += [
            f"model {name} has no agent: its share of {share:g} of {n} is less than one"
            for name, share in shares.items()
            if name not in labels
        ]
        people = world.personas
        if people is not None and plan.persona_minds:
            labels = [person.mind or label for person, label in zip(people, labels, strict=True)]
        names: dict[str, list[int]] = {str(i): [i] for i in range(n)}
        for i, person in enumerate(people or ()):
            for name in {person.id, person.name} - {str(i)}:
                names.setdefault(name, []).append(i)
        seated: dict[int, str] = {}
        for who, label in plan.seats.items():
            if who not in names:
                raise ParameterError(
                    f"no agent {who!r} to give mind {label!r}{did_you_mean(who, names)}; agents are 0 to {n - 1}, or a "
                    "persona's id or name"
                )
            (agent, *more) = names[who]
            if more:
                raise ParameterError(f"{who!r} is the name of agents {names[who]}; say which by its number")
            if agent in seated:
                raise ParameterError(
                    f"agent {agent} is given two minds, as {seated[agent]!r} and as {who!r}; give it one"
                )
            seated[agent] = who
            labels[agent] = label
        for label in dict.fromkeys(labels):
            if label not in shares and _SHARE.fullmatch(label):
                raise ParameterError(
                    f"{label!r} is the mind of single agents, so it takes no share; leave the share out"
                )
        return labels

    def counts(self) -> dict[str, int]:
        """Return how many agents of the start each mind decides for."""
        return dict(Counter(self.labels).most_common())


HUMAN_ATTEMPTS = 10
"""How often a person may answer anew; arbitrary, a person mistypes more often than a model."""


def shared_out(shares: Mapping[str, float], n: int, rest: str, chance: Chance) -> list[str]:
    """Return a label for each of n agents: as many of each as its share asks for, who gets which drawn by a stream."""
    if not shares:
        return [rest] * n
    left = max(0.0, 1.0 - sum(shares.values()))
    parts = {**shares, **({rest: left} if left > 1e-9 else {})}
    counts = largest_remainder(n, list(parts.values()))
    cards = [label for label, count in zip(parts, counts, strict=True) for _ in range(count)]
    if len(parts) == 1:
        return cards
    order = chance.stream("minds").permutation(n)
    labels = [""] * n
    for card, agent in zip(cards, order.tolist(), strict=True):
        labels[agent] = card
    return labels

"""The mind protocol, and the mind that follows a table of rule policies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import repeat
from typing import Any, Protocol, runtime_checkable

from simworld.errors import ParameterError, RunError
from simworld.mind._answers import Answers, checked, checked_columns
from simworld.mind._question import Columns, Question
from simworld.schema import Decision

type Policy = Callable[..., Any]
"""``(persona, observation, memory, rng) -> decision``. It may return the decision, a dict of its fields, or the bare
value of an only field; marked `vectorised` it gets and returns columns."""


@runtime_checkable
class Mind(Protocol):
    """Anything that can answer questions."""

    label: str
    """What kind of mind answered: ``rules``, ``null``, a model's name. Shown wherever its decisions are."""

    def decide(self, question: Question) -> Answers:
        """Answer for every agent asked; an unusable answer is a `simworld.schema.Refusal`, never a default."""
        ...


@runtime_checkable
class Waiting(Mind, Protocol):
    """A mind that waits for somebody else to answer, so that several can be asked at once."""

    def begin(self, question: Question) -> Callable[[], Answers]:
        """Ask; return what waits for the answers."""
        ...


def vectorised[F: Policy](policy: F) -> F:
    """Mark a policy that decides for all agents asked at once.

    It is called ``(personas, observation, memory, rng)`` with `Personas`, `Columns`, a sequence of memories and
    `ColumnDraws`, and returns a dict of arrays of shape (n,), one a field of the decision.
    """
    policy.vectorised = True  # type: ignore[attr-defined]
    return policy


def share_argument(name: str, text: str, low: float = 0.0, high: float = 1.0) -> float:
    """Return the number in the brackets of a mind's label, as 0.3 of ``always(0.3)``.

    Args:
        name: of the mind, ``always``.
        text: what stands in the brackets.
        low: the least it may be.
        high: the most it may be.

    Raises:
        ParameterError: it is no number from low to high.
    """
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not low <= share <= high:
        raise ParameterError(
            f"mind {name}({text}) takes a number from {low:g} to {high:g}; write {name}({low + 0.3 * (high - low):g})"
        )
    return share


class RuleMind:
    """Answers by a table of policies, one for each decision class."""

    def __init__(
        self,
        policies: Mapping[type[Decision], Policy],
        label: str = "rules",
        fallback: Callable[[type[Decision]], Policy | None] | None = None,
    ) -> None:
        self.label = label
        self._policies = dict(policies)
        self._fallback = fallback
        """Makes the policy of a decision that the table lacks."""

    def decide(self, question: Question) -> Answers:
        """Answer by the policy of this decision.

        Raises:
            RunError: there is no policy for the decision, or it needs columns and the scenario gave none.
        """
        policy = self._policies.get(question.decision)
        if policy is None and self._fallback is not None and (made := self._fallback(question.decision)) is not None:
            policy = self._policies[question.decision] = made
        if policy is None:
            known = ", ".join(d.__name__ for d in self._policies) or "none"
            raise RunError(
                f"mind {self.label!r} has no policy for decision {question.decision.__name__!r} (it has: {known}); "
                f"add one to the scenario's policies[{self.label!r}]"
            )
        memories = question.memories
        if getattr(policy, "vectorised", False):
            if not isinstance(question.observe, Columns):
                raise RunError(
                    f"the {self.label} policy for {question.decision.__name__!r} is vectorised; "
                    "pass the observation as a dict of columns"
                )
            columns = policy(question.personas(), question.observe, memories, question.column_draws())
            return checked_columns(question, columns)
        remembered = repeat(None) if memories is None else memories
        draws = question.draws().each(len(question.ids))
        asked = zip(
            question.personas(), question.observations(), remembered, draws, strict=False
        )  # `remembered` may be endless
        raw = [policy(persona, observation, memory, rng) for persona, observation, memory, rng in asked]
        return checked(question, raw)

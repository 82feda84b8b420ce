"""What players of the donor game see and must answer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, field_validator

import simworld as sw


class Vector(sw.Record):
    """A strategy as numbers from 0 to 1. What is left out is as for an average person."""

    model_config = ConfigDict(strict=True)

    g0: float = sw.field(0.5, ge=0, le=1, doc="Share of the own holding given to a stranger.")
    alpha: float = sw.field(0.4, ge=0, le=1, doc="Weight of the share that the recipient last gave.")
    beta: float = sw.field(0.1, ge=0, le=1, doc="Weight of the shares given before that, along the trace.")
    phi: float = sw.field(0.02, ge=0, le=1, doc="Share given on top.")
    cap: float = sw.field(1.0, ge=0, le=1, doc="Largest share.")
    tau: float = sw.field(0.1, ge=0, le=1, doc="Punish who last gave a smaller share, where that is possible.")
    kappa: float = sw.field(0.05, ge=0, le=1, doc="Share of the own holding spent to punish.")


class Advisor(NamedTuple):
    """Somebody of the generation before, whose strategy a newcomer is shown."""

    agent: int
    strategy: str
    score: float | None
    """Mean of its final resources over the two games; None where scores are not shown."""
    vector: Vector


class StrategyView(NamedTuple):
    generation: int
    survivors: tuple[Advisor, ...]
    """By number; nobody in the first generation."""


class Act(NamedTuple):
    """One entry of a trace."""

    round: int
    donor: int
    recipient: int
    kind: str
    share: float | None
    """Share of its holding that the donor gave; None for what is no donation, and of a donor who held nothing."""


class MoveView(NamedTuple):
    generation: int
    game: int
    round: int
    slot: int
    """Place in the generation, which schedules and tables of moves speak of."""
    strategy: str
    vector: Vector
    resources: float
    """Units the donor holds."""
    recipient: int
    recipient_resources: float
    trace: tuple[Act, ...]
    """What the recipient last did as a donor, then what that one's recipient had done before, and so on."""


def _text_or_nothing(value: Any) -> str:
    # The one field whose refusal is not a refusal of the answer: nothing follows from a reason.
    return value if isinstance(value, str) else ""


class Strategy(sw.Decision):
    """The strategy that a player will follow for life."""

    justification: str = sw.field("", doc="Why, step by step, in a few sentences.")
    strategy_text: str = sw.field(min_length=1, max_length=600, doc="The strategy, in one sentence.")
    params: Vector | None = sw.field(None, doc="The strategy as numbers, or null.")
    copied_from: int | None = sw.field(None, doc="Number of the survivor whose strategy it is, or null for your own.")

    _reason = field_validator("justification", mode="before")(_text_or_nothing)


class Move(sw.Decision):
    """What a donor does to the recipient of this round."""

    justification: str = sw.field("", doc="Why, in a few sentences, before you settle on the amount.")
    action: Literal["donate", "punish", "refuse"] = sw.field("donate", doc="What you do.")
    amount: float = sw.field(doc="Units that you give, or spend to punish: from 0 to all you hold; 0 to refuse.")

    _reason = field_validator("justification", mode="before")(_text_or_nothing)

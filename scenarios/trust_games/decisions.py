"""What players see and must answer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

from pydantic import field_validator, model_validator

import simworld as sw


class Round(NamedTuple):
    """A past round with this partner."""

    sent: float
    returned: float


class SendView(NamedTuple):
    game: str
    endowment: int
    multiplier: float
    round: int
    """From 1; 1 in a game that is played once."""
    rounds: int
    """Rounds of the repeated game; 1 in a game that is played once."""
    history: tuple[Round, ...]
    """Past rounds with this partner, oldest first."""
    archetype: int
    """Most dollars that the partner returns, where it follows a formula and the player is told; else 0."""
    told: tuple[str, ...]
    """What the player is told about who trusts more, one sentence an attribute."""


class ReturnView(NamedTuple):
    game: str
    sent: float
    received: float
    """The amount sent, multiplied."""
    endowment: int
    round: int
    rounds: int
    history: tuple[Round, ...]


class ChooseView(NamedTuple):
    game: str
    p: float
    """Chance that trust is honoured, or of the better outcome."""
    safe: float
    safe_other: float
    """The other person's part; −1 where there is nobody else."""
    honoured: float
    honoured_other: float
    betrayed: float
    betrayed_other: float


class ForecastView(NamedTuple):
    endowment: int
    multiplier: float
    rounds: int
    archetype: int


class RankView(NamedTuple):
    attribute: str
    """Its name, to be repeated in the answer."""
    words: str
    levels: tuple[str, ...]
    """In an order drawn for this player."""
    has_context: bool
    """Whether the rules of the game are told first."""
    endowment: int
    multiplier: float


class EstimateView(NamedTuple):
    attribute: str
    words: str
    levels: tuple[str, ...]
    n_per_level: int
    endowment: int
    multiplier: float


def _readable(text: Any) -> str:
    # The fields whose refusal is no refusal of the decision: nothing follows from them.
    return text if isinstance(text, str) else ""


class Send(sw.Decision):
    """Think, then decide how much money to send to your partner."""

    belief: str = sw.field("", doc="What you believe your partner will do, in one or two sentences.")
    desire: str = sw.field("", doc="What you would like to come of it.")
    intention: str = sw.field("", doc="What you therefore intend to do.")
    amount: float = sw.field(doc="Dollars you send, from 0 to all you have.", ge=0, unit="dollars")

    _texts = field_validator("belief", "desire", "intention", mode="before")(staticmethod(_readable))


class SendPlainly(sw.Decision):
    """Decide how much money to send to your partner."""

    amount: float = sw.field(doc="Dollars you send, from 0 to all you have.", ge=0, unit="dollars")


class Return(sw.Decision):
    """Decide how much of the money you received to send back."""

    amount_returned: float = sw.field(doc="Dollars you send back, from 0 to all you received.", unit="dollars")


class Choose(sw.Decision):
    """Think, then decide whether to trust or not to."""

    belief: str = sw.field("", doc="What you believe will happen, in one or two sentences.")
    desire: str = sw.field("", doc="What you would like to come of it.")
    intention: str = sw.field("", doc="What you therefore intend to do.")
    choice: Literal["trust", "not"] = sw.field(doc="Whether you trust.")

    _texts = field_validator("belief", "desire", "intention", mode="before")(staticmethod(_readable))


class ChoosePlainly(sw.Decision):
    """Decide whether to trust or not to."""

    choice: Literal["trust", "not"] = sw.field(doc="Whether you trust.")


class Expected(sw.Record):
    """What one expects to do in one round."""

    round: int = sw.field(doc="Number of the round, from 1.")
    amount: float = sw.field(doc="Dollars you will send in it.", ge=0, unit="dollars")
    why: str = sw.field("", doc="Why, in a few words.")


class Forecast(sw.Decision):
    """Say beforehand how much you will send in every round."""

    rounds: list[Expected] = sw.field(doc="One entry for every round, in order.")


class Rank(sw.Decision):
    """Rank groups of people by how much they trust others."""

    attribute: str = sw.field(doc="The attribute that you were asked about, as it is named.")
    ranking: list[str] = sw.field(doc="Every group once, from the most to the least trusting.")
    effect_size: float = sw.field(
        doc="Share of the differences in trust between people that the attribute explains, from 0 to 1.", ge=0, le=1
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.ranking)) < len(self.ranking):
            raise ValueError("a group stands twice in 'ranking'; name each once")
        return self


class Guess(sw.Record):
    """What people of one group send."""

    level: str = sw.field(doc="The group, as it is named.")
    mean: float = sw.field(doc="Dollars that its people send on average.", ge=0, unit="dollars")
    sd: float = sw.field(doc="Standard deviation of what they send.", ge=0, unit="dollars")


class Estimate(sw.Decision):
    """Estimate how much money people of every group send."""

    attribute: str = sw.field(doc="The attribute that you were asked about, as it is named.")
    mean_sd: list[Guess] = sw.field(doc="One entry for every group.")

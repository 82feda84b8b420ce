"""What a player decides: how much to contribute, and how many points to punish another player with."""

from __future__ import annotations

import simworld as sw

MOST_POINTS = 10
"""Points that one player may spend on another in a round, as in Fehr, Gächter 2002, doi:10.1038/415137a."""


class Contribute(sw.Decision):
    """How many of your tokens go to the common project."""

    contribution: float = sw.field(ge=0, unit="tokens", doc="Tokens for the project, from 0 to all you have.")


class Punish(sw.Decision):
    """How many points to take from a member of your group, at a cost to yourself."""

    points: int = sw.field(ge=0, le=MOST_POINTS, unit="points", doc="Points spent on this member; 0 for none.")

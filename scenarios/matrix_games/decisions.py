"""What players see and must answer."""

from __future__ import annotations

from typing import NamedTuple

import simworld as sw


class View(NamedTuple):
    """What one side of a match sees; the world hands over one column a field."""

    partner: int
    """Number of the partner; −1 where one move goes to all neighbours."""
    neighbours: int
    """How many the move is played against."""
    own: int
    """Own last move: 1 C, 0 D, −1 none yet."""
    other: float
    """The partner's last move, or the share of neighbours whose last move was C; −1 none yet."""
    standing: float
    """Share of C among all earlier moves of the partner (of the neighbours: their mean); −1 not known or hidden."""
    strategy: int
    """Position of the own strategy in `strategies.NAMES`; rules alone follow it."""
    first: float
    """The strategy's chance of C in a first round."""
    cc: float
    """And after own C and partner's C; the next three likewise."""
    cd: float
    dc: float
    dd: float


class Move(sw.Decision):
    """Choose your move: C or D."""

    play_c: bool = sw.field(doc="true to play C, false to play D.")

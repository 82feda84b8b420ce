"""What a donor decides: whether to help a stranger."""

from __future__ import annotations

import simworld as sw


class Donate(sw.Decision):
    """Whether you help the one you meet, at a cost to yourself."""

    donate: bool = sw.field(doc="Whether you help.")

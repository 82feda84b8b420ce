"""Who acts when within a step: the activation regimes of agent-based modelling.

Source: Axtell, "Effects of Interaction Topology and Activation Regime in Several Multi-Agent Systems", 2001
(doi:10.1007/3-540-44561-7_3); the simultaneous regime is the synchronous update of cellular automata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError

type Regime = Literal["simultaneous", "random_order", "fixed_order", "by_rate", "staged"]
type Ids = npt.NDArray[np.int64]


def batches(
    regime: str,
    who: Ids,
    rng: np.random.Generator,
    n: int,
    *,
    rate: npt.ArrayLike | None = None,
    stage: npt.ArrayLike | None = None,
) -> Iterator[Ids]:
    """Yield the groups that act together, in turn; everybody within a group sees the same snapshot.

    Args:
        regime: ``simultaneous`` one group of all; ``fixed_order`` one agent a group, by id; ``random_order`` one agent
            a group, shuffled; ``by_rate`` one group of those whose Poisson clock rang in this step, with probability
            1 - exp(-rate); ``staged`` one group for each value of ``stage``, ascending.
        who: ids that may act, shape (m,).
        rng: the stream of this activation.
        n: rows of the table; an agent's draw does not depend on who else may act.
        rate: expected activations a step, a number or shape (n,) over all rows; ``by_rate`` only.
        stage: stage of every row, shape (n,); ``staged`` only.

    Raises:
        ParameterError: an unknown regime, or one without what it needs.
    """
    for name, value, of in (("rate", rate, "by_rate"), ("stage", stage, "staged")):
        if value is not None and regime != of:
            raise ParameterError(f"activation {regime!r} takes no {name}; {of!r} does")
        if np.ndim(value) and len(np.asarray(value)) != n:  # type: ignore[arg-type]
            raise ParameterError(f"{name} has {len(np.asarray(value))} values for {n} agents; give one for every row")
    if regime == "simultaneous":
        yield who
    elif regime == "fixed_order":
        yield from np.sort(who)[:, None]
    elif regime == "random_order":
        # Sorting by one draw a row keeps two agents' order the same whoever else is in the group.
        yield from who[np.argsort(rng.random(n)[who], kind="stable")][:, None]
    elif regime == "by_rate":
        if rate is None:
            raise ParameterError("activation 'by_rate' needs rate=, the expected activations an agent and step")
        rates = np.broadcast_to(np.asarray(rate, np.float64), n)
        if not (np.isfinite(rates).all() and (rates >= 0).all()):
            raise ParameterError("activation rates must be finite and not negative")
        yield who[rng.random(n)[who] < -np.expm1(-rates[who])]
    elif regime == "staged":
        if stage is None:
            raise ParameterError("activation 'staged' needs stage=, the stage of every agent")
        stages = np.asarray(stage)[who]
        for value in np.unique(stages):
            yield who[stages == value]
    else:
        known = ["simultaneous", "random_order", "fixed_order", "by_rate", "staged"]
        raise ParameterError(f"no activation regime {regime!r}; choose one of {known}")

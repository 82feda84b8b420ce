"""The whole of simworld's touch on Mesa's internals: clock, step wrapper, random state.

Mesa 3.5 wraps ``step`` in ``Model.__init__`` and drives it by a recurring event; Mesa 4 drops ``Model.steps``. When
Mesa changes, this file changes.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np

from simworld.rng import derive_seed, stream


def wrap_step(model: Any, step: Callable[[], None]) -> None:
    """Make Mesa's clock call ``step`` where it would have called the model's own."""
    model._user_step = step


def set_clock(model: Any, t: int) -> None:
    """Put Mesa's clock at ``t`` completed steps, with the next step due at ``t + 1``."""
    from mesa.time import EventGenerator, Priority, Schedule

    model._default_schedule.stop()
    # What was scheduled for a time that is over has happened in the run that is taken up.
    ahead = []
    with contextlib.suppress(IndexError):  # how its event list says that it is empty
        while True:
            ahead.append(model._event_list.pop_event())
    for event in ahead:
        if event.time > t:
            model._event_list.add_event(event)
    model.time = float(t)
    model.steps = t
    schedule = Schedule(interval=1.0, start=t + 1.0)
    model._default_schedule = EventGenerator(model, model._do_step, schedule, priority=Priority.HIGH).start()


def first_id(model: Any, unique_id: int) -> None:
    """Make the next agent that registers get this id."""
    model.agent_id_counter = unique_id


def rekey(model: Any, seed: int, t: int) -> None:
    """Key Mesa's own generators anew for step ``t``, so that what they give after a resume is what they gave before."""
    model.random.seed(derive_seed(seed, "mesa", "random", t))
    model.rng = stream(seed, "mesa", "rng", t)


def every_type(model: Any, classes: tuple[type, ...]) -> Any:
    """Return Mesa's agents by class, with an empty set for a class nobody is of (now, or any more)."""
    for cls in classes:
        if cls not in model._agents_by_type:
            model._agents_by_type[cls] = type(model._all_agents)([], random=model.random)
    return model._agents_by_type


def in_row_order(model: Any) -> None:
    """Undo a lasting shuffle or sort of the agents: the order is no state, so a resume could not know it."""
    for agents in (model._all_agents, *model._agents_by_type.values()):
        rows = [agent.row for agent in agents]
        if any(a > b for a, b in pairwise(rows)):
            agents.sort("row", ascending=True, inplace=True)


@contextmanager
def global_random(seed: int, *name: str | int) -> Iterator[None]:
    """Seed the process-wide generators for the time of the block; a plain Mesa model may draw from them unseeded."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the legacy state is what is guarded
    random.seed(derive_seed(seed, "global", "python", *name))
    np.random.seed(derive_seed(seed, "global", "numpy", *name) % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002

"""The hash chains of a recorded run, computed again from what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from simworld.errors import CorruptRunError
from simworld.run._frames import EVENTS, TIES, chained, empty, frame_of
from simworld.run._store import Contents


def by_step(streams: Mapping[str, pl.DataFrame]) -> dict[str, dict[int, pl.DataFrame]]:
    """Return each stream's rows by step."""
    return {
        name: {int(key[0]): part for key, part in frame.partition_by("step", as_dict=True, maintain_order=True).items()}
        for name, frame in streams.items()
    }


def check_chains(contents: Contents, streams: Mapping[str, pl.DataFrame]) -> tuple[str, str]:
    """Return the last links of the two chains, events and state, if every step hashes to what was recorded then.

    Raises:
        CorruptRunError: a step does not; it names the step and the journal that says otherwise.
    """
    parts = by_step(streams)
    events = state = ""
    for step in contents.steps():
        t = step["step"]
        tables = contents.manifest["tables"] if step["checkpoint"] else []
        events = chained(events, [("events", frame_of(parts.get("events", {}).get(t, empty(EVENTS))))])
        names = ["ties", *(["memory"] if "memory" in contents.manifest else []), *tables]
        frames = [(name, frame_of(parts.get(name, {}).get(t, empty(TIES)))) for name in names]
        state = chained(state, frames, step["globals"])
        if (events, state) != (step["events_chain"], step["state_chain"]):
            which = "events" if events != step["events_chain"] else "state"
            raise CorruptRunError(
                f"{contents.path}: the {which} of step {t} are not what journal.sqlite says was recorded then"
            )
    return events, state

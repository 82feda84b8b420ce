"""A small scenario for campaigns, and what compares them; the ``test_sweep_*`` files import from here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

COIN = '''"""People who toss coins."""

import os
import time

import numpy as np

import simworld as sw


class CoinParams(sw.Params):
    n_agents: int = sw.field(10, ge=1, unit="agents", doc="People.")
    p: float = sw.field(0.5, ge=0, le=1, unit="probability", doc="Chance of heads.")
    shift: float = sw.field(0.0, ge=-10, unit="heads", doc="Added to the share of heads.")
    pause_s: float = sw.field(0.0, ge=0, unit="s", doc="Pause in a step.")
    trouble: str = sw.field("", doc="What goes wrong: crash, hang, sleep, die.")
    p_trouble: float = sw.field(1.0, ge=0, le=1, unit="probability", doc="In what share of the runs.")


class Toss(sw.Decision):
    """Toss."""

    heads: bool = sw.field(doc="Heads.")


class Person(sw.Agent):
    heads: int = 0


class Coin(sw.World):
    """How many heads?"""

    Params = CoinParams
    agent_classes = (Person,)
    default_steps = 3

    @property
    def policies(self):
        @sw.vectorised
        def toss(personas, seen, memory, rng):
            return {"heads": rng.bernoulli(seen.p)}

        return {"rules": {Toss: toss}}

    def step(self):
        p = self.params
        time.sleep(p.pause_s)
        if p.trouble and self.t == 2 and self.chance.stream("trouble").random() < p.p_trouble:
            if p.trouble == "crash":
                raise ValueError("heads and tails")
            if p.trouble == "hang":
                while True:
                    pass
            if p.trouble == "sleep":
                time.sleep(3600)
            if p.trouble == "die":
                os._exit(7)
        chosen = np.full(self.table.n, p.p)
        self.table["heads"] += self.decide(Toss, None, {"p": chosen}).column("heads", refused=False)

    def metrics(self):
        return {"share": float(self.table["heads"].mean() / max(self.t, 1)) + self.params.shift}
'''


def write_coin(folder: Path) -> str:
    """Write the scenario and return its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coin.py").write_text(COIN, "utf-8")
    return str(folder / "coin.py")


def campaign(scenario: str, /, **more: Any) -> dict[str, Any]:
    """Return a small campaign: six points, four replicates."""
    base = {
        "scenario": scenario,
        "steps": 3,
        "factors": {"p": [0.2, 0.5, 0.8], "mind": ["rules", "null"]},
        "replicates": 4,
        "measures": ["share", {"metric": "share", "at": "mean", "after": 1}],
        "series": ["share"],
    }
    return {**base, **more}


def tables(folder: Path) -> list[pl.DataFrame]:
    """Return the tables of a campaign."""
    return [pl.read_parquet(folder / name) for name in ("results.parquet", "series.parquet")]


def assert_same(one: Path, other: Path) -> None:
    """Compare two campaigns' tables, value by value and byte by byte."""
    for a, b in zip(tables(one), tables(other), strict=True):
        assert a.equals(b, null_equal=True)
    for name in ("results.parquet", "series.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes()

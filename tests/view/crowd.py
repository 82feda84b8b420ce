"""A small society with all that a viewer must show: births and deaths, columns of every type, ties that come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simworld.run import Run, load_run, run

SOURCE = '''"""A crowd."""
import math
from typing import Literal

import simworld as sw


class CrowdParams(sw.Params):
    n_agents: int = sw.field(9, doc="Agents.", unit="agents", ge=4)
    evil: str = sw.field("<b>", doc="Any text.")


class Person(sw.Agent):
    opinion: float = 0.0
    sent: int = 0
    far: int = 5_000_000_000
    is_loud: bool = False
    mood: Literal["calm", "cross"] = "calm"
    note: str = ""


class Crowd(sw.World):
    """People who quarrel."""

    Params = CrowdParams
    agent_classes = (Person,)
    directed = True
    ties = ("knows", "likes")
    default_steps = 11
    private_events = ("whisper",)
    notable = {"quarrel": "somebody quarrels", "cross": "the first is cross", "hole": "no number"}

    def step(self):
        t, n, g = self.table, self.n_agents, self.stream("step", self.t)
        t["opinion"][g.integers(0, n, 3)] = g.random(3)
        t["opinion"][0] = math.nan if self.t % 3 == 0 else self.t
        who = int(g.integers(0, n))
        t["sent"][who] += 1
        t["is_loud"][who] = not t["is_loud"][who]
        t["note"][who] = f"{self.params.evil} {self.t // 2}"
        if self.t >= 4:
            t["mood"][1] = t.specs["mood"].encode("cross")
        for _ in range(3):
            a, b = (int(x) for x in g.integers(0, n, 2))
            if a != b and t["alive"][a] and t["alive"][b]:
                self.graph.add(a, b, float(self.t), kind="likes" if self.t % 2 else "knows")
                if self.t % 4 == 0:
                    self.graph.remove(a, b, kind="knows")
        self.emit("say", agent=who, target=(who + 1) % n, item=self.t, text=f"Hello {self.t}! {self.params.evil}")
        self.emit("whisper", agent=0, target=2, text="A secret.", data={"of": self.t})
        self.emit("move", agent=who, value=0.5)
        if self.t == 6:
            self.add_agents(Person, 2, sent=7)
            self.emit("quarrel", agent=3, target=4, text="No!")
        if self.t == 8:
            self.retire(2)

    def metrics(self):
        return {"ties": float(self.graph.n_ties()), "cross": float(self.t >= 4), "hole": math.nan}
'''

EVIL = "<img src=x onerror=alert(1)> \u2028 \u202e $x$"


def crowd(folder: Path, progress: Callable[..., None] | None = None, **named: Any) -> Run:
    """Run the society in a folder of its own, and return the run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crowd.py").write_text(SOURCE, "utf-8")
    to = folder / "run"
    named = {"evil": EVIL, "seed": 4, **named}
    run(f"{folder / 'crowd.py'}@Crowd", out=to, progress=progress, **named)
    return load_run(to)

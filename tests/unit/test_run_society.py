"""A society that does everything a run must survive, and what starts, cuts and compares runs of it.

The other ``test_run_*`` files import from here; the tests at the end say that the society really does it all, so that
a resume that forgets something cannot go unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import simworld as sw
from simworld.run import Progress, Run

HAMLET = '''"""People who come and go, know and owe each other, and own parcels."""

import math
import time
from typing import Literal

import numpy as np

import simworld as sw


class HamletParams(sw.Params):
    n_agents: int = sw.field(12, doc="Agents at the start.", unit="agents", ge=0)
    rate: float = sw.field(0.3, doc="Chance of a visit.", ge=0, le=1)
    pause_s: float = sw.field(0.0, doc="Pause in a step.", unit="s", ge=0)
    stop_after: int = sw.field(1000, doc="Steps after which the hamlet stops by itself.", unit="steps", ge=0)


class HamletGlobals(sw.Globals):
    grain: float = 10.0
    days: list[str] = []
    named: dict[str, int] = {}


class Walk(sw.Decision):
    far: float = sw.field(doc="How far.", ge=0, le=0.9)


class Talk(sw.Decision):
    word: str


class Villager(sw.Agent):
    wealth: float = 5.0
    visits: np.int32 = 0
    mood: Literal["calm", "glad", "angry"] = "calm"
    diary: str = ""

    def wander(self):
        self.wealth += self.random.random() - 0.5
        if self.wealth < 4.6:
            self.wealth = math.nan


class Trader(Villager):
    stock: int = 3


class Parcel(sw.Entity):
    owner: int = -1
    worth: float = 0.0
    tag: str = ""
    store: Literal["here", "sold"] = "here"


def walk(persona, observation, memory, rng):
    return rng.random()


def talk(persona, observation, memory, rng):
    return {"word": rng.choice(["", "hé", "a,b", 'say "x"', "line\\nbreak", "nul\\x00", persona.name])}


def stay(persona, observation, memory, rng):
    return 0.0


def hum(persona, observation, memory, rng):
    return {"word": "hm"}


class Hamlet(sw.World):
    """People who come and go."""

    Params = HamletParams
    Globals = HamletGlobals
    agent_classes = (Villager, Trader)
    entities = {"parcels": Parcel}
    ties = ("knows", "owes")
    directed = True
    starting_graph = "gnp_random_graph:p=0.25,directed=true"
    with_personas = True
    policies = {"rules": {Walk: walk, Talk: talk}, "mute": {Walk: stay, Talk: hum}}
    observers = ("reciprocity", "actions")
    default_steps = 24

    def setup(self):
        self.table["wealth"] = self.rng.random(self.table.n) * 10
        self.table["mood"] = np.array(["calm", "glad"])[np.arange(self.table.n) % 2]

    def step(self):
        time.sleep(self.params.pause_s)
        t = self.t
        self.agents.shuffle_do("wander")
        for _ in range(2):
            answers = self.decide(Walk, None, lambda i: None)
            far = answers.column("far", refused=np.nan)
            self.emit_many("walk", agent=answers.ids, value=far)
        for agent, answer in self.decide(Talk, self.ids[::2], lambda i: i).pairs():
            self.table["diary"][agent] = answer.word
            self.emit("talk", agent=agent, text=answer.word, data={"t": t, "who": self.personas[agent].name})
        self.come_and_go(t)
        self.tie(t)
        self.parcels(t)
        self.globals.grain += float(self.rng.normal())
        self.globals.days.append(f"day {t}")
        self.globals.named[str(t % 3)] = t
        self.emit("grain", value=self.globals.grain, text=f"{self.globals.named} {len(self.globals.days)}")

    def come_and_go(self, t):
        if t % 3 == 0:
            for row in self.add_agents(Villager, 2, wealth=[1.0, float(t)], mood=["angry", "calm"]).tolist():
                self.emit("join", agent=row, text=self.personas[row].name)
        if t % 4 == 1:
            new = Trader(self, stock=t, diary="new")
            self.graph.add(int(self.ids[0]), new.row)
            self.emit("join", agent=new.row)
        if t % 5 == 2 and self.n_agents > 4:
            self.agents[self.random.randrange(len(self.agents))].remove()
        for one in self.agents_by_type.get(Trader, ()):
            one.stock += 1

    def tie(self, t):
        ids = self.ids
        u, v = self.rng.choice(ids, 2, replace=False).tolist()
        self.graph.add(u, v)
        self.graph.strengthen(u, v, 0.5)
        self.graph.strengthen(v, u, 1.0, "owes")
        for w in self.graph.neighbors(u).tolist()[:1]:
            self.graph.remove(u, w)
        order = self.stream("pairs").permutation(ids)
        self.graph.strengthen_many(order[: len(order) // 2], order[-(len(order) // 2) :], 0.25, "owes")
        self.emit("asked", agent=u, target=v, value=self.graph.weight(v, u, "owes"))

    def parcels(self, t):
        goods = self.tables["parcels"]
        if t % 2:
            goods.append(2, {"owner": int(self.ids[-1]), "worth": float(t), "tag": f"parcel of day {t}"})
        if goods.n > 2:
            goods["worth"][goods.n // 2] *= 1.5
            goods["store"][0] = Parcel.store.encode("sold")
            self.emit("valued", item=goods.n - 1, value=float(goods["worth"].sum()))

    def finished(self):
        return self.t >= self.params.stop_after

    def metrics(self):
        return {
            "grain": self.globals.grain,
            "wealth": float(self.table["wealth"].sum()),
            "parcels": self.tables["parcels"].n,
            "even": self.t % 2 == 0,
        }
'''

DRIVER = """
import json, os, sys
from pathlib import Path

order = json.loads(sys.argv[1])
import simworld.run._runner as runner
import simworld.run._store as store
from simworld.errors import Interrupted, SimworldError
from simworld.run import execute, prepare, prepare_again, start_run

store.SEAL_STEPS = order.get("seal_steps", 50)
die_at, die_on = order.get("die", (None, 0))
seen = 0


def reached(place):
    global seen
    if place == die_at:
        seen += 1
        if seen >= die_on:
            os._exit(9)


if die_at:
    plain_write, plain_replace = store.write_whole, Path.replace
    plain_transaction, plain_count = store.transaction, store.Store._count

    def write_whole(path, content):
        reached("before " + path.parent.name + "/" + path.name.partition("-")[0])
        sha = plain_write(path, content)
        reached("after " + path.parent.name + "/" + path.name.partition("-")[0])
        reached("after " + path.name)
        return sha

    def replace(self, target):
        reached("rename")
        reached("rename " + Path(target).name)
        return plain_replace(self, target)

    import contextlib

    @contextlib.contextmanager
    def transaction(db):
        with plain_transaction(db):
            yield
            reached("in transaction")
        reached("after transaction")

    def count(self):
        reached("count")
        plain_count(self)

    store.write_whole = runner.write_whole = write_whole
    Path.replace = replace
    store.transaction, store.Store._count = transaction, count

if order.get("limit_bytes"):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit_bytes"],) * 2)

path = Path(order["out"])
again = (path / "manifest.json").exists()
prepared = prepare_again(path) if again else prepare(order["scenario"], **order["call"])
if not again:
    start_run(prepared, path)
print("go", flush=True)


def told(t, n, metrics):
    reached(f"step {t}")
    if order.get("loud"):
        print(t, flush=True)


try:
    execute(prepared, path, told)
except SimworldError as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(3 if isinstance(error, Interrupted) else 1)
"""
"""A process of its own that starts a run, or goes on with one, and may die at a named place."""


class Cut(BaseException):
    """Raised by a progress callback where a test wants the run to be gone; no error the engine knows."""


def write_hamlet(folder: Path, text: str = HAMLET) -> str:
    """Write the scenario and return its spec."""
    file = folder / "hamlet.py"
    file.write_text(text, "utf-8")
    return str(file)


def cut_at(step: int) -> Progress:
    """Return a callback that ends the run in this process after ``step``."""

    def progress(t: int, steps: int, metrics: Mapping[str, Any]) -> None:
        if t == step:
            raise Cut

    return progress


def begin_and_cut(scenario: str, out: Path, after: int, **call: Any) -> Path:
    """Run until just after a step and drop everything; the folder is all that stays."""
    with pytest.raises(Cut):
        sw.run(scenario, out=out, progress=cut_at(after), **call)
    return out


def spawn(order: Mapping[str, Any], **env: str) -> subprocess.Popen[str]:
    """Start the driver in a process of its own."""
    command = [sys.executable, "-W", "error", "-c", DRIVER, json.dumps(order)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **env})


def finished_by(order: Mapping[str, Any], code: int = 0, **env: str) -> str:
    """Run the driver to its end and return what it printed."""
    process = spawn(order, **env)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    return said


def hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file in a folder, by relative name."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def read_everything(run: Run) -> None:
    """Look at all that a run shows."""
    _ = (run.metrics, run.findings, run.events, run.ties, run.states, run.personas, run.steps, run.digest, run.status)
    run.state(run.steps // 2)
    for name in run.manifest["tables"]:
        run.table(name)
    repr(run)
    run._repr_html_()


def assert_same_run(run: Run, undisturbed: Run) -> None:
    """Both runs say the same, in every table and in the digest."""
    assert run.status == undisturbed.status == "finished"
    for name in undisturbed.manifest["tables"]:
        assert_frame_equal(run.table(name), undisturbed.table(name))
    for name in ("events", "ties", "metrics", "findings"):
        assert_frame_equal(getattr(run, name), getattr(undisturbed, name))
    assert run.manifest["parts"] == undisturbed.manifest["parts"]
    assert run.digest == undisturbed.digest


@pytest.fixture(scope="module")
def hamlet(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("hamlet")
    return sw.run(write_hamlet(folder), seed=5, out=folder / "run")


def test_the_society_does_everything_a_run_must_survive(hamlet: Run) -> None:
    kinds = set(hamlet.events["kind"].to_list())
    assert {"join", "leave", "talk", "walk", "refusal", "valued", "grain", "asked"} <= kinds
    ties = hamlet.ties.filter(pl.col("step") > 0)
    assert set(ties["op"].to_list()) == {"set", "removed"}
    assert set(ties["kind"].to_list()) == {"knows", "owes"}
    last = hamlet.state()
    assert set(last["alive"].to_list()) == {True, False}
    assert set(last["type"].to_list()) == {"Villager", "Trader"}
    assert last["wealth"].is_nan().any()
    assert {"", "nul\x00", "line\nbreak"} <= set(hamlet.states["diary"].to_list())
    assert hamlet.table("parcels")["store"].n_unique() == 2
    assert hamlet.metrics["even"].dtype == pl.Boolean


def test_and_it_verifies(hamlet: Run) -> None:
    assert hamlet.verify(), str(hamlet.verify())

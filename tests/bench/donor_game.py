"""`donor_game` with its defaults: 10 generations of 12 by rules, recorded and bare, against the same by chance."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from simworld.run import prepare, start_run
from simworld.run._recorder import Recorder
from simworld.run._store import Store
from simworld.scenario import load, resolve
from tests.bench.measure import Goal, Lap, Report, Size, alternating, lap, ratio, row

AT_MOST_S = 1.5
"""Seconds of processor time for the loop of a default run, recorded."""
AGENTS = 12

# (generations, rounds of laps)
SIZES = {Size.FULL: (10, 5), Size.QUICK: (10, 3), Size.TINY: (2, 1)}


def bench(size: Size) -> Report:
    """Play it recorded, loop and findings apart, then as a bare society by rules and by chance, in turns."""
    generations, rounds = SIZES[size]
    report = Report(f"donor_game, {generations} generations of {AGENTS}")
    World = load(resolve("donor_game"))
    length: list[int] = []

    def play(**options: Any) -> None:
        world = World(rng=1, generations=generations, **options)
        while world.running:
            world.step()
        length.append(world.t)

    play()  # what is imported and compiled once
    steps = length[0]
    loops, ends = zip(*(recorded(generations) for _ in range(rounds)), strict=True)
    laps = alternating({"rules": play, "null": lambda: play(mind="null")}, rounds)
    report.rows += [
        row("rules, recorded: the loop, with observers", loops, AGENTS, steps),
        row("rules, recorded: findings and their nulls", ends, AGENTS, steps),
        row("rules, society alone", laps["rules"], AGENTS, steps),
        row("floor: uniform null, same schedule", laps["null"], AGENTS, steps),
    ]
    loop, end = (min(one.cpu for one in some) for some in (loops, ends))
    report.goals += [
        Goal("the loop, recorded", loop, "s CPU", at_most=AT_MOST_S, note=f"{min(one.wall for one in loops):.2f} s"),
        Goal("findings and their nulls", end, "s CPU"),
        Goal("rules / uniform null", ratio(laps["rules"], laps["null"]), "×"),
        Goal("recorded loop / society alone", ratio(loops, laps["rules"]), "×"),
    ]
    report.notes.append(
        "the loop: every step with the state and the events of all, the metrics and the journal, its thread waited "
        "for; the least of the laps. Personas are sampled outside it, and findings are measured once, at the end."
    )
    return report


def recorded(generations: int) -> tuple[Lap, Lap]:
    """Return the laps of the loop of a recorded run, and of what is concluded from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        prepared = prepare("donor_game", params={"generations": generations}, seed=1)
        start_run(prepared, path)
        store = Store(path)
        recorder = Recorder(prepared.plan, prepared.society, prepared.observers, store)

        def loop() -> None:
            recorder.take()
            while prepared.society.running:
                prepared.society.step()
                recorder.take()
            recorder.flush()

        found = lap(loop), lap(recorder.conclude)
        recorder.close()
        store.close()
    return found

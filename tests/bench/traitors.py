"""`traitors` in batch mode: many games side by side by rules, recorded and bare, against the same games by chance."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import simworld as sw
from simworld.scenario import load, resolve
from tests.bench.measure import Goal, Report, Size, alternating, lap, ratio, row

AT_MOST_S = 60.0
"""For a thousand games with rules, recorded."""

# (games, rounds of laps)
SIZES = {Size.FULL: (1_000, 2), Size.QUICK: (200, 2), Size.TINY: (4, 1)}
PLAYERS = 10


def bench(size: Size) -> Report:
    """Play a batch through `simworld.run`, then as a bare society by rules, without talk, and by chance."""
    games, rounds = SIZES[size]
    report = Report(f"traitors, {games:,} games of {PLAYERS} players in one run")
    World = load(resolve("traitors"))
    length: list[int] = []

    def play(**options: Any) -> None:
        world = World(rng=1, games=games, **options)
        while world.running:
            world.step()
        length.append(world.t)

    def recorded() -> None:
        with tempfile.TemporaryDirectory() as folder:
            sw.run("traitors", seed=1, games=games, out=Path(folder) / "run")

    play()  # what is imported and compiled once
    steps = length[0]
    once = [lap(recorded)]
    laps = alternating(
        {"rules": play, "null": lambda: play(mind="null"), "silent": lambda: play(talk=False)}, rounds
    )  # fmt: skip
    agents = games * PLAYERS
    report.rows += [
        row("rules, recorded, all observers and their nulls", once, agents, steps),
        row("rules, society alone", laps["rules"], agents, steps),
        row("floor: uniform null, same schedule", laps["null"], agents, steps),
        row("rules, nobody speaks", laps["silent"], agents, steps),
    ]
    seconds = once[0].wall
    report.goals += [
        Goal(f"{games:,} games with rules, recorded", seconds, "s", at_most=AT_MOST_S, note=f"CPU {once[0].cpu:.1f} s"),
        Goal("games a second, recorded", games / seconds, "games/s"),
        Goal("games a second, society alone", games / min(one.wall for one in laps["rules"]), "games/s"),
        Goal("rules / uniform null", ratio(laps["rules"], laps["null"]), "×"),
    ]
    report.notes.append(
        "a game is about 2.3 rounds of some 70 decisions each; observers' nulls (simulated random play, permuted "
        "votes, the posterior of 50 games) are inside the recorded time."
    )
    return report

"""A scenario whose policy is vectorised over columns, recording off, against the same update in NumPy and SciPy."""

from __future__ import annotations

import numpy as np

from tests.bench.majority import Majority, PlainMajority, random_ties
from tests.bench.measure import Goal, Peak, Report, Size, alternating, cpu_ratio, ratio, row

AT_MOST = 3.0

# (agents, steps a lap, rounds)
SIZES = {
    Size.FULL: [(100_000, 20, 15), (1_000_000, 5, 11)],
    Size.QUICK: [(100_000, 10, 7), (300_000, 3, 5)],
    Size.TINY: [(2_000, 2, 2)],
}


def bench(size: Size) -> Report:
    """Time simworld and plain arrays in turns."""
    report = Report("majority model, vectorised policy, recording off, against plain NumPy/SciPy")
    check_same_update()
    for n, steps, rounds in SIZES[size]:
        ties = random_ties(n)
        peak = Peak()
        plain = PlainMajority(ties, seed=1)
        plain.step()
        plain_mb = peak.mb()
        peak = Peak()
        world = Majority(n_agents=n, rng=1, graph=ties)
        world.step()
        world_mb = peak.mb()

        def simworld_steps(world: Majority = world, steps: int = steps) -> None:
            for _ in range(steps):
                world.step()

        def plain_steps(plain: PlainMajority = plain, steps: int = steps) -> None:
            for _ in range(steps):
                plain.step()

        laps = alternating({"simworld": simworld_steps, "plain": plain_steps}, rounds)
        report.rows += [
            row("simworld, recording off", laps["simworld"], n, steps, world_mb),
            row("plain NumPy/SciPy", laps["plain"], n, steps, plain_mb),
        ]
        cpu = f"CPU {cpu_ratio(laps['simworld'], laps['plain']):.2f}"
        times = ratio(laps["simworld"], laps["plain"])
        report.goals.append(Goal(f"simworld / plain, {n:,} agents", times, "×", at_most=AT_MOST, note=cpu))
    report.notes.append(
        "inside: the whole step - observation columns, decide, commit, one event a flip (made, then dropped), "
        "Mesa's DataCollector with one metric. The plain side makes no events. Same Philox generator, same network; "
        "given the same uniforms both reach the same state (checked)."
    )
    return report


def check_same_update(n: int = 3_000, steps: int = 5) -> None:
    """Fail unless both sides make the same society of the same numbers."""
    ties = random_ties(n)
    world, plain = Majority(n_agents=n, rng=4, graph=ties), PlainMajority(ties, seed=4)
    plain.opinion[:] = world.table["opinion"]
    for t in range(1, steps + 1):
        world.step()
        plain.step(lambda t=t: world.chance.uniforms(n, "step", t, "decide", "Adopt", 0, 0))
    if not np.array_equal(world.table["opinion"], plain.opinion):
        raise AssertionError("simworld and the plain update differ after the same uniforms")

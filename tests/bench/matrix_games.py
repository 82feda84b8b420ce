"""The scenario matrix_games at 100,000 agents, a random network of mean degree 8, against the same update in NumPy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import simworld as sw
from simworld.run import prepare, start_run
from simworld.run._recorder import Recorder
from simworld.run._store import Store
from simworld.scenario import load, resolve
from tests.bench.majority import random_ties
from tests.bench.measure import ROOT, Goal, Peak, Report, Size, alternating, cpu_ratio, lap, ratio, row

AT_MOST = 4.0
MEAN_DEGREE = 8
MIX = "TFT, GTFT, WSLS, ALLD, RANDOM"
NOISE = 0.01
R, S, T, P = 3.0, 0.0, 5.0, 1.0

# (agents, steps a lap, rounds)
SIZES = {Size.FULL: (100_000, 10, 11), Size.QUICK: (100_000, 4, 5), Size.TINY: (1_000, 2, 2)}


class PlainMatches:
    """Every side of every match keeps its last move; the same memory-one chances, slips and accounts, nothing else."""

    def __init__(self, ties: Any, plan: np.ndarray, seed: int) -> None:
        n = ties.shape[0]
        self.player = np.repeat(np.arange(n), np.diff(ties.indptr))
        self.partner = ties.indices.astype(np.int64)
        self.back = np.lexsort((self.player, self.partner))
        self.plan, self.n, self.seed, self.t = plan, n, seed, 0
        self.last = np.full(len(self.player), -1, np.int8)
        self.payoff, self.cooperated = np.zeros(n), np.zeros(n)
        self.table = np.array([P, T, S, R])

    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a uniform a side for its choice and one for its slip: keyed Philox, as simworld's streams are."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, self.t]))
        return rng.random(len(self.player)), rng.random(len(self.player))

    def step(self, draws: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None) -> None:
        """Move one round on, with draws of the caller's when a comparison needs them."""
        self.t += 1
        choice, slip = (draws or self.draws)()
        own, other = self.last, self.last[self.back]
        # 0 first round; 1 to 4 after CC, CD, DC, DD.
        state = np.where(own < 0, 0, 4 - 2 * own - other)
        moves = (choice < self.plan.take(5 * self.player + state)) ^ (slip < NOISE)
        theirs = moves[self.back]
        payoffs = self.table.take(2 * moves + theirs)
        self.payoff += np.bincount(self.player, payoffs, self.n)
        self.cooperated += np.bincount(self.player, moves, self.n)
        self.last = moves.astype(np.int8)


class PlainNeighbours:
    """Every agent makes one move against all: one sparse product, the same memory-one chances, slips and accounts."""

    def __init__(self, ties: Any, plan: np.ndarray, seed: int) -> None:
        self.ties, self.plan, self.seed, self.t = ties, plan, seed, 0
        self.n = ties.shape[0]
        self.degree = np.diff(ties.indptr).astype(float)
        self.inverse = 1 / np.maximum(self.degree, 1)
        self.last = np.full(self.n, -1, np.int8)
        self.near = np.zeros(self.n)
        self.payoff, self.cooperated = np.zeros(self.n), np.zeros(self.n)

    def draws(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a uniform an agent for its choice and one for its slip."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, self.t]))
        return rng.random(self.n), rng.random(self.n)

    def step(self, draws: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None) -> None:
        """Move one round on, with draws of the caller's when a comparison needs them."""
        self.t += 1
        choice, slip = (draws or self.draws)()
        first, cc, cd, dc, dd = self.plan.T
        kept = self.last == 1
        if_c, if_d = np.where(kept, cc, dc), np.where(kept, cd, dd)
        p = np.where((self.last < 0) | (self.degree == 0), first, if_d + self.near * self.inverse * (if_c - if_d))
        moves = (choice < p) ^ (slip < NOISE)
        self.near = self.ties @ moves.astype(float)
        against_d = self.degree - self.near
        self.payoff += np.where(moves, R * self.near + S * against_d, T * self.near + P * against_d)
        self.cooperated += moves
        self.last = moves.astype(np.int8)


PLAIN = {"tie": PlainMatches, "agent": PlainNeighbours}


def society(ties: Any, scope: str, **options: Any) -> Any:
    """Return the scenario on this network; one persona serves all, for no strategy here reads it."""
    n = ties.shape[0]
    people = sw.sample_population(2, 1)[:1] * n
    world = load(resolve(str(ROOT / "scenarios" / "matrix_games")))
    call = {"rng": 1, "graph": ties, "personas": people, "scope": scope, "strategies": MIX, "noise": NOISE}
    return world(n_agents=n, **{**call, "log_moves": False, **options})


def plan_of(world: Any) -> np.ndarray:
    """Return everybody's strategy, shape (n, 5)."""
    return np.stack([world.table[name] for name in ("first", "cc", "cd", "dc", "dd")], axis=1)


def bench(size: Size) -> Report:
    """Time both scopes in turns with their plain twins, then with moves logged, then recorded."""
    report = Report("matrix_games, mean degree 8, against plain NumPy/SciPy")
    n, steps, rounds = SIZES[size]
    for scope, plain_of in PLAIN.items():
        check_same_update(scope)
        ties = random_ties(n, MEAN_DEGREE)
        peak = Peak()
        world = society(ties, scope)
        world.step()
        mb = peak.mb()
        peak = Peak()
        plain = plain_of(ties, plan_of(world), seed=1)
        plain.step()
        plain_mb = peak.mb()
        logged = society(ties, scope, log_moves=True)

        def taken(one: Any) -> Callable[[], None]:
            def take() -> None:
                for _ in range(steps):
                    one.step()
                if isinstance(one, Recorded):
                    one.recorder.flush()

            return take

        with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
            run = Recorded(ties, scope, steps * rounds, Path(folder) / "recorded")
            watched = Recorded(ties, scope, steps * rounds, Path(folder) / "watched", watched=True)
            sides = {"simworld": world, "logged": logged, "recorded": run, "watched": watched, "plain": plain}
            laps = alternating({name: taken(one) for name, one in sides.items()}, rounds)
            end = lap(watched.recorder.conclude)
            run.close()
            watched.close()
        report.rows += [
            row(f"scope {scope}: simworld", laps["simworld"], n, steps, mb),
            row(f"scope {scope}: simworld, every move an event", laps["logged"], n, steps),
            row(f"scope {scope}: simworld, recorded", laps["recorded"], n, steps),
            row(f"scope {scope}: simworld, recorded with the scenario's observers", laps["watched"], n, steps),
            row(f"scope {scope}: their findings, once at the end", [end], n, 1),
            row(f"scope {scope}: plain NumPy/SciPy", laps["plain"], n, steps, plain_mb),
        ]
        cpu = f"CPU {cpu_ratio(laps['simworld'], laps['plain']):.2f}"
        times = ratio(laps["simworld"], laps["plain"])
        report.goals += [
            Goal(f"simworld / plain, scope {scope}, {n:,} agents", times, "×", at_most=AT_MOST, note=cpu),
            Goal("  with every move an event", ratio(laps["logged"], laps["plain"]), "×"),
            Goal("  recorded", ratio(laps["recorded"], laps["plain"]), "×"),
            Goal("  recorded with the scenario's observers", ratio(laps["watched"], laps["plain"]), "×"),
            Goal("  their findings, once", ratio([end], laps["recorded"][-1:]) * steps, "recorded steps"),
        ]
    report.notes += [
        f"strategies {MIX} in equal parts, noise {NOISE:g}. Inside: World.step() without recording - observation "
        "columns, decide, slips, payoffs, accounts, Mesa's DataCollector with the scenario's four metrics; the moves "
        "are no events (log_moves=False). Given the same uniforms both sides reach the same state (checked).",
        "scope tie: a decision a side of a match, eight an agent and round; scope agent: one.",
        "recorded: with the scenario's metrics in the journal, its thread waited for at the end of a lap; without "
        "observers and without the state of every step. With the scenario's observers: they look at every step, and "
        "give their findings with nulls once, at the end.",
    ]
    return report


class Recorded:
    """The scenario as the runner records it, with its own metrics, without the state of every step.

    ``watched``: with the scenario's observers too.
    """

    def __init__(self, ties: Any, scope: str, steps: int, folder: Path, watched: bool = False) -> None:
        n = ties.shape[0]
        params = {"scope": scope, "strategies": MIX, "noise": NOISE, "log_moves": False, "n_agents": n}
        prepared = prepare(
            str(ROOT / "scenarios" / "matrix_games"), params=params, seed=1, steps=steps + 1, graph=ties,
            cast=sw.sample_population(2, 1)[:1] * n, state_every=0,
        )  # fmt: skip
        self.society = prepared.society
        start_run(prepared, folder / scope)
        self.store = Store(folder / scope)
        self.recorder = Recorder(prepared.plan, self.society, prepared.observers if watched else (), self.store)
        self.recorder.take()
        self.recorder.flush()

    def step(self) -> None:
        """Take a step and record it."""
        self.society.step()
        self.recorder.take()

    def close(self) -> None:
        """Close the run's folder."""
        self.recorder.close()
        self.store.close()


def check_same_update(scope: str, n: int = 600, steps: int = 6) -> None:
    """Fail unless both sides make the same society of the same numbers."""
    ties = random_ties(n, MEAN_DEGREE)
    world = society(ties, scope)
    plain = PLAIN[scope](ties, plan_of(world), seed=1)
    for t in range(1, steps + 1):
        world.step()

        def draws(t: int = t) -> tuple[np.ndarray, np.ndarray]:
            if scope == "agent":
                choice = world.chance.uniforms(n, "step", t, "decide", "Move", 0, 0)
            else:
                start = np.repeat(ties.indptr[:-1], np.diff(ties.indptr))
                which = np.arange(len(plain.player)) - start
                deep = [world.chance.uniforms(n, "step", t, "decide", "Move", k, 0) for k in range(which.max() + 1)]
                choice = np.stack(deep)[which, plain.player]
            return choice, world.chance.stream("step", t, "noise").random(len(choice))

        plain.step(draws)
    for name in ("payoff", "cooperated"):
        if not np.allclose(world.table[name], getattr(plain, name), rtol=0, atol=1e-9):
            raise AssertionError(f"scope {scope}: simworld and the plain update differ in {name}")

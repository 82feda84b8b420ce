"""Observers of the donor game: giving and what comes of it, reciprocity, the descent of strategies, and traits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simworld.observe import (
    Finding,
    Moves,
    Null,
    descent,
    efficiency,
    gini,
    lineage,
    null_of,
    reciprocity_null,
    trait_association,
)
from simworld.persona import trait_z

from .theory import full_cooperation, replay

DRAWS = 200
"""Shuffles of every null."""
NAN = float("nan")

SHUFFLED = f"shares shuffled over agents and rounds of each game, same pairs, {DRAWS} times"


class Log(NamedTuple):
    """The acts so far, arrays of shape (m,), in order of play."""

    step: np.ndarray
    generation: np.ndarray
    game: np.ndarray
    round: np.ndarray
    donor: np.ndarray
    recipient: np.ndarray
    kind: np.ndarray
    """Labels."""
    share: np.ndarray
    """Of the donor's holding, given or spent; NaN where it held nothing, and of refusals to play."""
    donated: np.ndarray
    """Share given: 0 for what is no donation, NaN where the donor held nothing."""
    is_answer: np.ndarray
    """Whether the mind gave a usable answer."""

    def where(self, mask: np.ndarray) -> Log:
        return Log(*(column[mask] for column in self))


def log_of(society: Any) -> Log:
    table = society.tables["moves"]
    kind, share, held = table.text("kind"), table["share"], table["held"]
    donated = np.where(held > 0, np.where(kind == "donate", np.nan_to_num(share), 0.0), NAN)
    columns = (table[name] for name in ("played", "generation", "game", "round", "donor", "recipient"))
    return Log(*columns, kind, share, donated, ~np.isnan(table["meant"]))


def mean(x: np.ndarray) -> float:
    x = x[~np.isnan(x)]
    return float(x.mean()) if len(x) else NAN


def mean_by(groups: np.ndarray, x: np.ndarray, n: int) -> np.ndarray:
    """Return the mean of x in each of n groups, NaN left out, and NaN where there is none."""
    known = ~np.isnan(x)
    count = np.bincount(groups[known], minlength=n)
    return np.divide(np.bincount(groups[known], x[known], n), count, out=np.full(n, NAN), where=count > 0)


def complete(society: Any) -> list[int]:
    """Return the generations that are over."""
    return np.unique(society.tables["standings"]["generation"]).tolist()


def finals(society: Any, generation: int) -> np.ndarray:
    """Return final resources, shape (2, n): games by players."""
    standings = society.tables["standings"]
    at = standings["generation"] == generation
    return np.stack([standings["final_1"][at], standings["final_2"][at]])


def replays(log: Log, params: Any, permute: Callable[[np.ndarray], np.ndarray] | None) -> np.ndarray:
    """Play both games of a generation again, shape (2, n, draws): shares permuted, or all at their mean.

    A share that is undefined, for its donor held nothing, keeps its place and is 0.

    Args:
        log: the acts of the generation.
        params: of the society.
        permute: takes places, shape (m,), and returns permutations of them, shape (m, draws); None puts all shares at
            their mean.
    """
    places = {agent: at for at, agent in enumerate(np.unique(log.donor).tolist())}
    out = []
    for game in (1, 2):
        one = log.where(log.game == game)
        pairs = np.array(
            [[places[d], places[r]] for d, r in zip(one.donor.tolist(), one.recipient.tolist(), strict=True)]
        )
        known = np.flatnonzero(~np.isnan(one.donated))
        if permute is None:
            shares = np.zeros((len(pairs), 1))
            shares[known] = mean(log.donated)
            punishes = np.zeros(shares.shape, bool)
        else:
            order = permute(known)
            shares = np.zeros((len(pairs), order.shape[1]))
            punishes = np.zeros(shares.shape, bool)
            shares[known] = np.nan_to_num(one.share)[order]
            punishes[known] = (one.kind == "punish")[order]
        shape = (params.rounds, params.n_agents // 2)
        out.append(replay(
            pairs.reshape(*shape, 2), shares.reshape(*shape, -1), punishes.reshape(*shape, -1), params.endowment,
            params.multiplier,
        ))  # fmt: skip
    return np.stack(out)


class Measured:
    """What the observers here share: a finding in few words."""

    name = ""

    def found(
        self, metric: str, value: float, n: int, null: Null | None = None, words: str = "", closed: float = NAN,
        note: str = "",
    ) -> Finding:  # fmt: skip
        drawn: dict[str, Any] = {}
        if null is not None:
            drawn = {
                "null_mean": null.mean, "null_sd": null.sd, "gap": null.gap, "p_value": null.p_value, "null": words,
            }  # fmt: skip
        return Finding(
            observer=self.name, metric=metric, value=float(value), n=n, closed_form=float(closed), note=note, **drawn
        )


class Generations(Measured):
    """How much is given, what everybody ends with, who punishes, and how newcomers differ from survivors."""

    name = "generations"

    def observe(self, society: Any) -> Mapping[str, float]:
        log, now, p = log_of(society), society.globals, society.params
        last = log.where(log.generation == now.generation)
        this = last.where(last.step == society.t)
        over = complete(society)
        end = finals(society, over[-1]) if over else np.full((2, 1), NAN)
        newcomers = bias(society, last, now.generation)
        words = [len(text.split()) for text in society.column("strategy")]
        return {
            "share_round": mean(this.donated),
            "share": mean(last.donated),
            "mean_final": float(end.mean()),
            "efficiency": efficiency(float(end.mean()), 0.0, full_cooperation(p.multiplier, p.rounds, p.endowment)),
            "gini": float(np.mean([gini(game) for game in end])) if over else NAN,
            "punished": float(np.mean(last.kind == "punish")) if len(last.kind) else NAN,
            "refused": float(np.mean(last.kind == "refuse")) if len(last.kind) else NAN,
            "inheritance_bias": newcomers,
            "strategy_words": float(np.mean(words)),
        }

    def conclude(self, society: Any) -> Sequence[Finding]:
        log, over, p = log_of(society), complete(society), society.params
        rng = society.stream("observe", self.name)
        if not over:
            return [self.found("share", mean(log.donated), len(log.share), note="no generation is over")]
        last = log.where(log.generation == over[-1])
        return [
            *self._wealth(society, last, over[-1], rng),
            *self._giving(society, log, over, rng),
            *self._lives(society, over, rng),
            *self._variants(last, p),
            self.found("strategy_words", self.observe(society)["strategy_words"], society.n_agents),
        ]

    def _wealth(self, society: Any, log: Log, generation: int, rng: np.random.Generator) -> list[Finding]:
        """Final resources, efficiency and inequality of the last generation that is over."""
        p, end = society.params, finals(society, generation)
        best = full_cooperation(p.multiplier, p.rounds, p.endowment)
        drawn = replays(log, p, lambda known: rng.permuted(np.tile(known, (DRAWS, 1)), axis=1).T)
        means = drawn.mean(axis=(0, 1))
        # A punishment is no share, so constant giving says nothing of it.
        is_plain = bool((log.kind != "punish").all())
        closed = float(replays(log, p, None).mean()) if is_plain else NAN
        ginis = [np.mean([gini(game) for game in drawn[:, :, k]]) for k in range(DRAWS)]
        note = f"generation {generation}"
        theory = f"{note}; closed form: everybody always gives the mean share"
        value, unequal = float(end.mean()), float(np.mean([gini(game) for game in end]))
        return [
            self.found("mean_final", value, end.size, null_of(value, means), SHUFFLED, closed, theory),
            self.found(
                "efficiency", efficiency(value, 0.0, best), end.size,
                null_of(efficiency(value, 0.0, best), means / (best or NAN)), SHUFFLED, efficiency(closed, 0.0, best),
                theory,
            ),
            self.found("gini", unequal, end.size, null_of(unequal, ginis), SHUFFLED, note=note),
        ]  # fmt: skip

    def _giving(self, society: Any, log: Log, over: list[int], rng: np.random.Generator) -> list[Finding]:
        """Shares, their change over generations, and how newcomers and survivors differ from the others."""
        first, last = (mean(log.donated[log.generation == g]) for g in (over[0], over[-1]))
        opening = mean(log.donated[(log.generation == over[0]) & (log.round == 1)])
        n = int(np.count_nonzero(log.generation == over[-1]))
        out = [
            self.found("share_opening", opening, society.params.n_agents, note="round 1 of both games, generation 1"),
            self.found("share", last, n, note=f"generation {over[-1]}"),
        ]
        if len(over) > 1 and not np.isnan(last - first):
            # No null within a run: acts go together by strategy, and drift alone moves a strategy's share.
            out.append(self.found(
                "share_change", last - first, len(over),
                note="last generation minus first; what chance does, runs with -p selection=random tell, seed by seed",
            ))  # fmt: skip
        new, selected = [], []
        for g in over:
            acts = log.where(log.generation == g)
            players = np.unique(acts.donor)
            given = mean_by(np.searchsorted(players, acts.donor), acts.donated, len(players))
            at = society.tables["standings"]["generation"] == g
            survives = society.tables["standings"]["survives"][at]
            selected.append(Split(given, survives))
            games = acts.where(acts.game == 1)
            given = mean_by(np.searchsorted(players, games.donor), games.donated, len(players))
            is_new = society.table["generation"][players] == g
            if is_new.any() and not is_new.all():
                new.append(Split(given, is_new))
        draws = [mean(np.array([s.shuffled(rng) for s in selected])) for _ in range(DRAWS)]
        value = mean(np.array([s.above_all() for s in selected]))
        out.append(self.found(
            "selection", value, len(selected), null_of(value, draws), f"survivors drawn at random, {DRAWS} times",
            note="mean share of survivors minus that of all, mean over generations",
        ))  # fmt: skip
        if new:
            apart = np.array([s.difference() for s in new])
            apart = apart[~np.isnan(apart)]
            # Newcomers who copy the same survivor are alike, so that only whole generations are drawn anew.
            draws = rng.choice((-1.0, 1.0), (DRAWS, len(apart))) @ apart / max(len(apart), 1)
            value = mean(apart)
            out.append(self.found(
                "inheritance_bias", value, len(apart), null_of(value, draws),
                f"sign of each generation's difference drawn at random, {DRAWS} times",
                note="mean share of newcomers in their first game minus survivors' there, mean over generations",
            ))  # fmt: skip
        return out

    def _lives(self, society: Any, over: list[int], rng: np.random.Generator) -> list[Finding]:
        """How many generations agents last."""
        standings, n = society.tables["standings"], society.params.n_agents
        lives = np.unique(standings["player"], return_counts=True)[1]
        kept = int(np.count_nonzero(standings["survives"][standings["generation"] == over[0]]))
        # Each generation's survivors drawn at random; whoever lasts longest.
        ages = np.zeros((DRAWS, n), np.int64)
        longest = np.zeros(DRAWS, np.int64)
        for _ in over:
            ages += 1
            longest = np.maximum(longest, ages.max(axis=1))
            gone = np.argsort(rng.random((DRAWS, n)), axis=1)[:, kept:]
            np.put_along_axis(ages, gone, 0, axis=1)
        null = null_of(float(lives.max()), longest.astype(float))
        return [
            self.found("longest_life", lives.max(), len(lives), null, f"survivors drawn at random, {DRAWS} times"),
            self.found(
                "mean_life", lives.mean(), len(lives), note="in generations; it does not depend on who survives"
            ),
        ]  # fmt: skip

    def _variants(self, log: Log, params: Any) -> list[Finding]:
        """Punishments and refusals to play, where these are possible."""
        options = 1 + params.punishment + params.partner_choice
        return [
            self.found(
                f"{kind}_rate", float(np.mean(log.kind == kind)), len(log.kind),
                closed=1 / options, note="last generation; closed form: the null policy's",
            )
            for kind, is_possible in (("punish", params.punishment), ("refuse", params.partner_choice))
            if is_possible
        ]  # fmt: skip


class Split(NamedTuple):
    """A generation's mean shares, shape (n,), and who is meant by a mask."""

    given: np.ndarray
    mask: np.ndarray

    def above_all(self) -> float:
        return mean(self.given[self.mask]) - mean(self.given)

    def difference(self) -> float:
        return mean(self.given[self.mask]) - mean(self.given[~self.mask])

    def shuffled(self, rng: np.random.Generator) -> float:
        """Return `above_all` of as many others."""
        return Split(self.given, rng.permutation(self.mask)).above_all()


def bias(society: Any, log: Log, generation: int) -> float:
    """Return newcomers' mean donated share in game 1 minus survivors'; NaN in the first generation."""
    games = log.where(log.game == 1)
    is_new = society.table["generation"][games.donor] == generation
    return mean(games.donated[is_new]) - mean(games.donated[~is_new])


class Reciprocity(Measured):
    """Whether giving answers giving: directly, to who gave others (downstream), or after having received (upstream)."""

    name = "reciprocity_of_acts"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        log = log_of(society)
        log = log.where(log.is_answer & ~np.isnan(log.donated))
        # Nothing is known across games, so everybody is somebody else in every game.
        own = (2 * log.generation + log.game) * society.table.n
        moves = Moves(log.step, log.donor + own, log.recipient + own, log.donated)
        words = f"shares beyond means of donor and round shuffled among a donor's acts in a game, {DRAWS} times"
        found = []
        for kind in ("direct", "downstream", "upstream"):
            null = reciprocity_null(moves, kind, society.stream("observe", self.name, kind), DRAWS)
            found.append(self.found(kind, null.value, len(log.share), null, words, note="correlation of shares"))
        return found


class Lineage(Measured):
    """Whose strategies live on."""

    name = "lineage"
    METRICS = ("surviving_roots", "largest_share", "depth", "offspring_gini")

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        table = society.table
        parents, last = table["copied_from"].copy(), table["alive"]
        copied = np.flatnonzero(parents >= 0)
        note = "of strategies taken over; " + ("nobody took one over" if not len(copied) else f"{len(copied)} were")
        now = descent(lineage(np.arange(table.n), parents, last=last))
        drawn: list[dict[str, float]] = []
        if len(copied):
            shown = [json.loads(text) for text in table["advice_from"][copied]]
            rng = society.stream("observe", self.name)
            for _ in range(DRAWS):
                luck = rng.random(len(copied))
                parents[copied] = [s[int(u * len(s))] for s, u in zip(shown, luck, strict=True)]
                drawn.append(descent(lineage(np.arange(table.n), parents, last=last)))
        words = f"of those shown, one drawn at random, {DRAWS} times"
        return [
            self.found(m, now[m], table.n, null_of(now[m], [d[m] for d in drawn]) if drawn else None, words, note=note)
            for m in self.METRICS
        ]


class Traits(Measured):
    """Whether behaviour goes with the traits of the first generation, whose strategies are copied from nobody."""

    name = "traits"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        founders = np.arange(society.params.n_agents)
        log = log_of(society)
        log = log.where(log.generation == 1)
        given = mean_by(log.donor, log.donated, society.table.n)[founders]
        responds = np.array([slope(log, agent) for agent in founders.tolist()])
        found = []
        behaviours = {"A": ("mean share", given), "H": ("mean share", given), "N": ("slope on y1", responds)}
        for letter, (what, behaviour) in behaviours.items():
            z = np.array([trait_z(society.personas[i], letter) for i in founders.tolist()])
            null = trait_association(z, behaviour, society.stream("observe", self.name, letter), DRAWS)
            found.append(self.found(
                f"trait_{letter}", null.value, len(founders), null, f"personas shuffled, {DRAWS} times",
                note=f"rank correlation with {what}, generation 1",
            ))  # fmt: skip
        return found


def slope(log: Log, agent: int) -> float:
    """Return the least-squares slope of an agent's shares on its recipients' last shares; NaN below two of them."""
    mine = log.where(log.donor == agent)
    x, y = [], []
    for game, number, other, share in zip(mine.game, mine.round, mine.recipient, mine.donated, strict=True):
        before = log.where((log.donor == other) & (log.game == game) & (log.round < number))
        if len(before.share) and not np.isnan(before.donated[-1]) and not np.isnan(share):
            x.append(before.donated[-1])
            y.append(share)
    dx = np.array(x) - np.mean(x) if x else np.zeros(0)
    return float(dx @ np.array(y) / (dx @ dx)) if len(x) > 1 and dx @ dx > 1e-12 else NAN

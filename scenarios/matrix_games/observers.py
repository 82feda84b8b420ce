"""What came of the play: how much was won of what could be, what answered what, whose record was right, what spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simworld import observe
from simworld.observe import (
    Finding,
    Moves,
    Null,
    efficiency,
    reciprocity_null,
    reciprocity_of_acts,
    reputation_accuracy,
    shuffle_test,
)

from .strategies import FIXED, PERSONA, apportioned, plans
from .theory import absorption, average, mixed_payoffs, transitions

MOST_SIDES = 10_000
"""Sides of matches that reciprocity is measured over; of more, whole matches are drawn. Arbitrary: a second or two."""
MOST_TYPES = 20
"""Different strategies up to which the closed form of every pair is computed; arbitrary."""
MOST_SHUFFLED = 10_000_000
"""Records that all permutations together may move, but 50 permutations in any case; arbitrary: a second or two."""
PERMUTATIONS = 200
COIN = "every move by a fair coin (closed form)"
FIELDS = ("first", "cc", "cd", "dc", "dd")
NAN = float("nan")


def expected(world: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the expected share of C and payoff a round of every side, by the memory-one chain of its pair.

    None where theory gives nothing: other minds than rules or the null, PERSONA, reputation, evolution, scope agent,
    or matches that missed rounds.
    """
    p, t = world.params, world.t
    fits = p.scope == "tie" and p.update == "none" and t > 0 and world.mind_labels in (("rules",), ("null",))
    if not fits or (world.tables["sides"]["rounds"][world.at] != t).any():
        return None
    if world.mind_labels == ("null",):
        chances, kind = np.array([FIXED["RANDOM"]]), np.zeros(world.table.n, np.int64)
    elif p.reputation or (world.table["strategy"] == PERSONA).any():
        return None
    else:
        chances, kind = np.unique(np.stack([world.table[c] for c in FIELDS], axis=1), axis=0, return_inverse=True)
    if len(chances) > MOST_TYPES:
        return None
    shares = np.array([[average(a, b, t, p.noise, p.continuation) for b in chances] for a in chances])
    one, other = kind.reshape(-1)[world.player], kind.reshape(-1)[world.partner]
    return (shares[:, :, 0] + shares[:, :, 1])[one, other], (shares @ world.matrix.own)[one, other]


def against(observer: str, metric: str, null: Null, words: str, n: int) -> Finding:
    return Finding(
        observer=observer, metric=metric, value=null.value, null_mean=null.mean, null_sd=null.sd, gap=null.gap,
        p_value=null.p_value, null=words, n=n, note=f"{null.permutations} permutations",
    )  # fmt: skip


class Play:
    """Cooperation, payoff and efficiency over all rounds, beside chance and, where there is one, the closed form."""

    name = "play"

    def observe(self, society: Any) -> Mapping[str, float]:
        """Return the shares of matches whose last moves were both C, mixed, or both D."""
        mine, theirs = last_moves(society)
        there = (mine >= 0) & (theirs >= 0)
        n = np.count_nonzero(there)
        both, none = (np.count_nonzero(there & (mine == move) & (theirs == move)) for move in (1, 0))
        shares = {"both_c": both, "mixed": n - both - none, "both_d": none}
        return {metric: k / n if n else NAN for metric, k in shares.items()}

    def conclude(self, society: Any) -> Sequence[Finding]:
        t, game = society.table, society.matrix
        matches, moves = int(t["matches"].sum()), int(t["moves"].sum())
        if not matches:
            return []
        theory = expected(society)
        c_form, pay_form = (NAN, NAN) if theory is None else (float(x.mean()) for x in theory)
        worst, best = game.pair_range
        mean, chance = float(t["payoff"].sum()) / matches, float(game.own.mean())
        rows = (
            ("cooperation", float(t["cooperated"].sum()) / max(moves, 1), 0.5, c_form, moves),
            ("mean_payoff", mean, chance, pay_form, matches),
            ("efficiency", *(efficiency(2 * x, worst, best) for x in (mean, chance, pay_form)), matches),
        )
        return [
            Finding(observer=self.name, metric=metric, value=value, null_mean=null, gap=value - null,
                    null=COIN, closed_form=form, n=n)
            for metric, value, null, form, n in rows
        ]  # fmt: skip


class Cooperation:
    """How much is cooperated, and by the two ends of ties; what they are like is what they answered each other."""

    name = "cooperation"
    measure = observe.Cooperation(own=False)

    def observe(self, society: Any) -> Mapping[str, float]:
        return self.measure.observe(society)

    def conclude(self, society: Any) -> Sequence[Finding]:
        return self.measure.conclude(society)


class Answering:
    """Whether moves answer moves: a move against the partner's one before it, toward oneself or toward others."""

    name = "answering"
    holds_after_forks = True

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        moves, is_all = last_two(society)
        found = []
        # One move against all answers a partner and the others alike; of drawn matches the others are not all there.
        every = is_all and society.params.scope == "tie"
        for kind in ("direct", "downstream", "upstream") if every else ("direct",):
            value = reciprocity_of_acts(moves, kind)
            if np.isnan(value):
                found.append(Finding(observer=self.name, metric=kind, value=value, n=len(moves.share)))
                continue
            null = reciprocity_null(moves, kind, society.stream("observe", self.name, kind))
            words = "moves, less the means of agent and round, permuted among those of each agent"
            found.append(against(self.name, kind, null, words, len(moves.share)))
        return found


def last_moves(society: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the last move of both sides of every match, both ways round."""
    if society.params.scope == "tie":
        mine = society.tables["sides"]["last"][society.at]
        return mine, mine[society.back]
    last = society.table["last"]
    return np.repeat(last, society.places.degrees), last[society.places.neighbours]


def last_two(society: Any) -> tuple[Moves, bool]:
    """Return the last two moves of both sides of every match, and whether these are all matches."""
    if society.params.scope == "tie":
        sides = society.tables["sides"]
        before, last = sides["before"][society.at], sides["last"][society.at]
        player, partner = society.player, society.partner
    else:
        partner = society.places.neighbours
        player = np.repeat(np.arange(society.table.n), society.places.degrees)
        before, last = society.table["before"][player], society.table["last"][player]
    is_there = (before >= 0) & (last >= 0)
    is_all = len(player) <= MOST_SIDES
    if not is_all:
        key = np.minimum(player, partner) * society.table.n + np.maximum(player, partner)
        matches = np.unique(key)
        drawn = society.stream("observe", "answering", "matches").choice(matches, MOST_SIDES // 2, replace=False)
        is_there &= np.isin(key, drawn)
    a, b = player[is_there], partner[is_there]
    step, share = np.repeat([0, 1], len(a)), np.concatenate([before[is_there], last[is_there]])
    return Moves(step, np.tile(a, 2), np.tile(b, 2), share.astype(float)), is_all


class Reputation:
    """Whether the public record of earlier moves says what somebody does in this round."""

    name = "reputation"
    holds_after_forks = True

    def observe(self, society: Any) -> Mapping[str, float]:
        record, now = self._both(society)
        found = reputation_accuracy(record >= 0.5, now >= 0.5)
        return {"share_right": found["share"], "correlation": reputation_accuracy(record, now)["correlation"]}

    def conclude(self, society: Any) -> Sequence[Finding]:
        record, now = self._both(society)
        right, good = record >= 0.5, now >= 0.5
        x, y = unit(record), unit(now)
        permutations = min(PERMUTATIONS, max(50, MOST_SHUFFLED // max(len(record), 1)))
        found = []
        for metric, value, permuted, statistic in (
            ("share_right", reputation_accuracy(right, good)["share"], right,
             lambda columns: (columns == good[:, None]).mean(axis=0)),
            ("correlation", reputation_accuracy(record, now)["correlation"], x, lambda columns: y @ columns),
        ):  # fmt: skip
            if not np.isnan(value):
                rng = society.stream("observe", self.name)
                null = shuffle_test(statistic, permuted, rng, permutations, vectorised=True)
                words = "records permuted over the agents"
                found.append(against(self.name, metric, null, words, len(record)))
        return found

    def _both(self, society: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the records before this round and the shares of C in it, of those who have both."""
        played, gave = society.column("played"), society.column("gave")
        moves, cooperated = society.column("moves") - played, society.column("cooperated") - gave
        has = (moves > 0) & (played > 0)
        return cooperated[has] / moves[has], gave[has] / played[has]


def unit(x: np.ndarray) -> np.ndarray:
    """Return numbers centred and of length 1; zeros where they do not vary."""
    centred = x - x.mean() if len(x) else x
    length = float(np.sqrt(centred @ centred))
    return centred / length if length else centred


class Strategies:
    """Which strategies there are, and which have taken over their populations."""

    name = "strategies"

    def observe(self, society: Any) -> Mapping[str, float]:
        shares = shares_of(society)
        fixed = society.places.share_fixed(society.kinds())
        return {
            **{f"share_{label}": share for label, share in zip(labels(society), shares, strict=True)},
            "fixed": fixed,
        }

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.update == "none":
            return []
        places, kinds = society.places, society.kinds()
        ordered = kinds[places.members]
        low, high = np.minimum.reduceat(ordered, places.starts), np.maximum.reduceat(ordered, places.starts)
        start, shares, theory = self._start(society), shares_of(society), self._theory(society)
        found = []
        for part, label in enumerate(labels(society)):
            share, at_first = shares[part], start[part]
            found.append(Finding(
                observer=self.name, metric=f"share_{label}", value=share, null_mean=at_first, gap=share - at_first,
                null="the share of the start, which neutral drift keeps on average on regular graphs", n=len(kinds),
            ))  # fmt: skip
            fixed = float(np.mean((low == high) & (low == part)))
            found.append(Finding(
                observer=self.name, metric=f"fixation_{label}", value=fixed, null_mean=at_first,
                null_sd=float(np.sqrt(at_first * (1 - at_first) / places.n)), gap=fixed - at_first,
                null="neutral drift: the share of the start", closed_form=theory.fixation.get(part, NAN), n=places.n,
                note=f"{places.share_fixed(kinds):.3g} of the populations are of one strategy",
            ))  # fmt: skip
        if society.globals.fixations:
            time = society.globals.fixation_rounds / society.globals.fixations
            found.append(Finding(
                observer=self.name, metric="fixation_time", value=time, null_mean=theory.neutral,
                gap=time - theory.neutral, null="neutral drift (closed form)", closed_form=theory.rounds,
                n=society.globals.fixations, note="rounds; of the populations that came to be of one strategy",
            ))  # fmt: skip
        return found

    def _start(self, society: Any) -> list[float]:
        """Return the mean share of each part in a population at the start."""
        weights = [share.weight for share in society.mix]
        sizes, times = np.unique(society.places.sizes, return_counts=True)
        shares = sum(k * apportioned(weights, n) / n for n, k in zip(sizes.tolist(), times, strict=True)) / times.sum()
        return shares.tolist()

    def _theory(self, society: Any) -> Fixation:
        """Return what is known of two parts that always play C and D in well-mixed populations of one size."""
        p, places = society.params, society.places
        n = int(places.sizes[0])
        is_mixed = n > 1 and (places.sizes == n).all() and (places.degrees == n - 1).all()
        chances = plans(society.mix)
        is_pure = len(chances) == 2 and sorted(chances.mean(axis=1).tolist()) == [0.0, 1.0]
        is_known = p.update in ("moran", "birth_death", "death_birth") and society.mind_labels == ("rules",)
        if not (is_mixed and is_pure and is_known) or p.noise or p.mutation:
            return Fixation({}, NAN, NAN)
        scale = 1.0 if p.payoff_per == "match" else n - 1.0
        c, d = (1 - p.selection + p.selection * scale * x for x in mixed_payoffs(society.matrix, n))
        gives = int(chances[1, 0])
        at_first = round(self._start(society)[gives] * n)
        rho, events = absorption(*transitions(p.update, c, d), at_first)
        _, neutral = absorption(*transitions(p.update, np.ones(n - 1), np.ones(n - 1)), at_first)
        return Fixation({gives: rho, 1 - gives: 1 - rho}, events * p.generation, neutral * p.generation)


class Fixation(NamedTuple):
    """What theory says of who takes over; NaN or nothing where it says nothing."""

    fixation: Mapping[int, float]
    """Chance that a part takes over its population."""
    rounds: float
    """Mean rounds until one did."""
    neutral: float
    """These rounds if nobody had an advantage."""


class Tournament:
    """Points a round of every strategy, and of every pair of them, beside what the memory-one chain gives."""

    name = "tournament"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.scope != "tie" or society.params.update != "none":
            return []
        kinds, sides, at = society.kinds(), society.tables["sides"], society.at
        own, other = kinds[society.player], kinds[society.partner]
        rounds, points = sides["rounds"][at], sides["payoff"][at]
        theory = expected(society)
        chance = float(society.matrix.own.mean())
        found = []
        for part, label in enumerate(labels(society)):
            mine = own == part
            groups = {f"score_{label}": mine}
            groups |= {f"{label}_against_{x}": mine & (other == k) for k, x in enumerate(labels(society))}
            for metric, which in groups.items():
                if n := int(rounds[which].sum()):
                    value = float(points[which].sum()) / n
                    found.append(Finding(
                        observer=self.name, metric=metric, value=value, null_mean=chance,
                        gap=value - chance, null=COIN, n=int(np.count_nonzero(which)),
                        closed_form=NAN if theory is None else float(theory[1][which].mean()),
                    ))  # fmt: skip
        return found


def labels(society: Any) -> list[str]:
    """Return what the parts of the start are called, in the order given."""
    return [share.label for share in society.mix]


def shares_of(society: Any) -> list[float]:
    """Return the share of agents of each part of the start."""
    part = society.column("part")
    return (np.bincount(part[part >= 0], minlength=len(society.mix)) / len(part)).tolist()

"""What came of the play: how much was won of what could be, what answered what, whose record was right, what spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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

from .strategies import FIXED, NAMES, PERSONA, apportioned
from .theory import absorption, average, mixed_payoffs, transitions

MOST_SIDES = 10_000
"""Sides of matches that reciprocity is measured over; of more, whole matches are drawn. Arbitrary: a second or two."""
MOST_TYPES = 20
"""Different strategies up to which the closed form of every pair is computed; arbitrary."""
COIN = "every move by a fair coin (closed form)"
FIELDS = ("first", "cc", "cd", "dc", "dd")
NAN = float("nan")


def expected(world: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the expected share of C and payoff a round of every side, by the memory-one chain of its pair.

    None where theory gives nothing: other minds than rules or the null, PERSONA, reputation, evolution, scope agent,
    matches that missed rounds, or a society changed from outside on the way.
    """
    p, t = world.params, world.t
    fits = p.scope == "tie" and p.update == "none" and t > 0 and world.mind_labels in (("rules",), ("null",))
    if not fits or world.globals.disturbed or (world.tables["sides"]["rounds"][world.at] != t).any():
        return None
    if world.mind_labels == ("null",):
        plans, kind = np.array([FIXED["RANDOM"]]), np.zeros(world.table.n, np.int64)
    elif p.reputation or (world.table["strategy"] == PERSONA).any():
        return None
    else:
        plans, kind = np.unique(np.stack([world.table[c] for c in FIELDS], axis=1), axis=0, return_inverse=True)
    k = len(plans)
    if k > MOST_TYPES:
        return None
    shares = np.array([[average(a, b, t, p.noise, p.continuation) for b in plans] for a in plans])
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


class Answering:
    """Whether moves answer moves: a move against the partner's one before it, toward oneself or toward others."""

    name = "answering"

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
            words = "moves permuted among those of each agent"
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

    def observe(self, society: Any) -> Mapping[str, float]:
        record, now = self._both(society)
        found = reputation_accuracy(record >= 0.5, now >= 0.5)
        return {"share_right": found["share"], "correlation": reputation_accuracy(record, now)["correlation"]}

    def conclude(self, society: Any) -> Sequence[Finding]:
        record, now = self._both(society)
        found = []
        for metric, statistic in (
            ("share_right", lambda x: reputation_accuracy(x >= 0.5, now >= 0.5)["share"]),
            ("correlation", lambda x: reputation_accuracy(x, now)["correlation"]),
        ):
            if len(record) and not np.isnan(statistic(record)):
                null = shuffle_test(statistic, record, society.stream("observe", self.name))
                found.append(against(self.name, metric, null, "records permuted over the agents", len(record)))
        return found

    def _both(self, society: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the records before this round and the shares of C in it, of those who have both."""
        played, gave = society.column("played"), society.column("gave")
        moves, cooperated = society.column("moves") - played, society.column("cooperated") - gave
        has = (moves > 0) & (played > 0)
        return cooperated[has] / moves[has], gave[has] / played[has]


class Strategies:
    """Which strategies there are, and which have taken over their populations."""

    name = "strategies"

    def observe(self, society: Any) -> Mapping[str, float]:
        shares = {f"share_{name}": share for name, share in self._shares(society).items()}
        return {**shares, "fixed": society.places.share_fixed(society.column("strategy"))}

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.update == "none":
            return []
        places, codes = society.places, society.column("strategy")
        ordered = codes[places.members]
        low, high = np.minimum.reduceat(ordered, places.starts), np.maximum.reduceat(ordered, places.starts)
        start = self._start(society)
        found = []
        for name, share in self._shares(society).items():
            at_first = start[name]
            found.append(Finding(
                observer=self.name, metric=f"share_{name}", value=share, null_mean=at_first, gap=share - at_first,
                null="the share of the start, which neutral drift keeps on average on regular graphs", n=len(codes),
            ))  # fmt: skip
            fixed = float(np.mean((low == high) & (low == NAMES.index(name))))
            form, events, neutral = self._theory(society, name)
            found.append(Finding(
                observer=self.name, metric=f"fixation_{name}", value=fixed, null_mean=at_first,
                null_sd=float(np.sqrt(at_first * (1 - at_first) / places.n)), gap=fixed - at_first,
                null="neutral drift: the share of the start", closed_form=form, n=places.n,
                note=f"{places.share_fixed(codes):.3g} of the populations are of one strategy",
            ))  # fmt: skip
        if society.globals.fixations:
            time = society.globals.fixation_rounds / society.globals.fixations
            found.append(Finding(
                observer=self.name, metric="fixation_time", value=time, null_mean=neutral, gap=time - neutral,
                null="neutral drift (closed form)", closed_form=events, n=society.globals.fixations,
                note="rounds; of the populations that came to be of one strategy",
            ))  # fmt: skip
        return found

    def _shares(self, society: Any) -> dict[str, float]:
        counts = np.bincount(society.column("strategy"), minlength=len(NAMES))
        return {name: float(counts[NAMES.index(name)] / counts.sum()) for name in names(society)}

    def _start(self, society: Any) -> dict[str, float]:
        """Return the mean share of each strategy in a population at the start."""
        weights = [share.weight for share in society.mix]
        sizes, times = np.unique(society.places.sizes, return_counts=True)
        parts = sum(k * apportioned(weights, n) / n for n, k in zip(sizes.tolist(), times, strict=True)) / times.sum()
        of = np.array([share.name for share in society.mix])
        return {name: float(parts[of == name].sum()) for name in names(society)}

    def _theory(self, society: Any, name: str) -> tuple[float, float, float]:
        """Return the chance of fixation, the mean rounds to it, and these rounds if nobody had an advantage.

        Of ALLC and ALLD in well-mixed populations of one size; NaN elsewhere.
        """
        p, places = society.params, society.places
        n = int(places.sizes[0])
        is_mixed = n > 1 and (places.sizes == n).all() and (places.degrees == n - 1).all()
        is_pure = set(names(society)) == {"ALLC", "ALLD"} and not p.noise and not p.mutation
        is_known = p.update in ("moran", "birth_death", "death_birth") and society.mind_labels == ("rules",)
        if not (is_mixed and is_pure and is_known) or society.globals.disturbed:
            return NAN, NAN, NAN
        scale = 1.0 if p.payoff_per == "match" else n - 1.0
        c, d = (1 - p.selection + p.selection * scale * x for x in mixed_payoffs(society.matrix, n))
        at_first = round(self._start(society)["ALLC"] * n)
        rho, events = absorption(*transitions(p.update, c, d), at_first)
        _, neutral = absorption(*transitions(p.update, np.ones(n - 1), np.ones(n - 1)), at_first)
        return rho if name == "ALLC" else 1 - rho, events * p.generation, neutral * p.generation


class Tournament:
    """Points a round of every strategy, and of every pair of them, beside what the memory-one chain gives."""

    name = "tournament"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.scope != "tie" or society.params.update != "none":
            return []
        codes, sides, at = society.table["strategy"], society.tables["sides"], society.at
        own, other = codes[society.player], codes[society.partner]
        rounds, points = sides["rounds"][at], sides["payoff"][at]
        theory = expected(society)
        chance = float(society.matrix.own.mean())
        found = []
        for name in names(society):
            mine = own == NAMES.index(name)
            groups = {f"score_{name}": mine}
            groups |= {f"{name}_against_{x}": mine & (other == NAMES.index(x)) for x in names(society)}
            for metric, which in groups.items():
                if n := int(rounds[which].sum()):
                    value = float(points[which].sum()) / n
                    found.append(Finding(
                        observer=self.name, metric=metric, value=value, null_mean=chance,
                        gap=value - chance, null=COIN, n=int(np.count_nonzero(which)),
                        closed_form=NAN if theory is None else float(theory[1][which].mean()),
                    ))  # fmt: skip
        return found


def names(society: Any) -> list[str]:
    """Return the strategies of the start, in the order given."""
    return list(dict.fromkeys(share.name for share in society.mix))

"""Observers of the game: who wins, how votes go, what is believed, what is a lie, and what traits do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.observe import (
    Claims,
    Finding,
    Ledger,
    cohen_kappa,
    detection,
    ledger,
    ledger_summary,
    null_of,
    trait_association,
)

from . import measures, rules, theory
from .decisions import PHASES

NAN = float("nan")
DRAWS = 200
POSTERIOR_GAMES = 50
"""Games whose exact posterior is computed, from the first on; arbitrary."""
RANDOM_PLAY = f"uniform votes, random ties; {theory.SIMULATED:,} simulated games"
SHUFFLED = "day votes permuted across the voters of a round, none to itself, 200 times"
AFTERMATH = PHASES.index("aftermath")
FINISHED = (1, 2)
"""Codes of endings: faithful, traitors."""

type Floats = npt.NDArray[np.float64]


def mean(x: npt.ArrayLike) -> float:
    """Return the mean of the numbers among the values, NaN without any."""
    a = np.asarray(x, np.float64)
    a = a[~np.isnan(a)]
    return float(a.mean()) if len(a) else NAN


def by_game(games: npt.ArrayLike, values: npt.ArrayLike, n: int) -> Floats:
    """Return the mean of a round's values in each game, NaN left out, shape (n,)."""
    g, v = np.asarray(games), np.asarray(values, np.float64)
    there = ~np.isnan(v)
    return measures.ratio(
        np.bincount(g[there], weights=v[there], minlength=n), np.bincount(g[there], minlength=n)
    )  # fmt: skip


def over_games(society: Any, values: npt.ArrayLike) -> float:
    """Return the mean over rounds, then over games, of a value a round."""
    return mean(by_game(society.tables["rounds"]["game"], values, society.params.games))


def over_claims(society: Any, values: npt.ArrayLike, mask: npt.NDArray[np.bool_]) -> float:
    """Return the mean over some of a round's claims, over rounds, then over games, of a value a claim."""
    rows, width, games = society.tables["claims"], society.t + 1, society.params.games
    at = rows["game"][mask].astype(np.int64) * width + rows["number"][mask]
    by_round = by_game(at, np.asarray(values)[mask], games * width)
    return mean(by_game(np.arange(games * width) // width, by_round, games))


def resampled(society: Any, observer: str, metric: str, values: Floats, n: int) -> Floats:
    """Return means of ``n`` games each, drawn from simulated ones, shape (draws,)."""
    rng = society.stream("observe", observer, metric)
    return np.asarray(values[rng.integers(len(values), size=(DRAWS, max(n, 1)))].mean(axis=1))


def random_play(society: Any, *, bloc: bool = False) -> Mapping[str, Floats]:
    """Return what games of random play give, for the parameters at hand."""
    p = society.params
    return theory.random_play(p.n_players, p.n_traitors, p.win_check, bloc)


def tested(
    society: Any, observer: str, metric: str, value: float, values: Floats, n: int, bloc: Floats, **more: Any
) -> Finding:
    """Return a finding beside random play, with the mean of a plain traitor bloc in the note."""
    null = null_of(value, resampled(society, observer, metric, values, n))
    note = f"a plain traitor bloc: {bloc.mean():.3f}"
    more["note"] = f"{more['note']}; {note}" if more.get("note") else note
    return Finding(
        observer=observer, metric=metric, value=value, null_mean=null.mean, null_sd=null.sd, gap=null.gap,
        p_value=null.p_value, null=RANDOM_PLAY, n=n, **more,
    )  # fmt: skip


def plain(observer: str, metric: str, value: float, n: int, **more: Any) -> Finding:
    return Finding(observer=observer, metric=metric, value=float(value), n=int(n), **more)


class Outcome:
    """Who wins, who survives, how long it takes."""

    name = "outcome"

    def _games(self, society: Any) -> dict[str, Floats]:
        """Return by game: ended, won, declared, TSR, FSR, rounds."""
        rows, p = society.tables["games"], society.params
        ended = np.isin(rows["ending"], FINISHED)
        guilty, there = society.guilty, society.by_seat("in_game")
        return {
            "ended": ended, "open": rows["ending"] == 0, "won": rows["ending"] == 2, "declared": rows["declared"] == 2,
            "tsr": (there & guilty).sum(axis=1) / p.n_traitors,
            "fsr": (there & ~guilty).sum(axis=1) / (p.n_players - p.n_traitors), "rounds": rows["rounds"],
        }  # fmt: skip

    def observe(self, society: Any) -> Mapping[str, float]:
        g = self._games(society)
        return {
            "ended": float(g["ended"].sum()), "traitors_won": float((g["ended"] & g["won"]).sum()),
            "tsr": mean(g["tsr"]), "fsr": mean(g["fsr"]),
        }  # fmt: skip

    def conclude(self, society: Any) -> Sequence[Finding]:
        p, g = society.params, self._games(society)
        play, bloc = random_play(society), random_play(society, bloc=True)
        ended, closed = g["ended"], ~g["open"]
        n = int(ended.sum())
        w = float(theory.win_chance(p.n_players - p.n_traitors, p.n_traitors))
        common = (society, self.name)
        out = [
            tested(*common, "traitors_win", mean(g["won"][ended]), play["won"], n, bloc["won"], closed_form=w,
                   note="share of finished games; the closed form is W of random play"),
        ]  # fmt: skip
        n = int(closed.sum())
        out += [
            tested(*common, metric, mean(g[metric][closed]), play[metric], n, bloc[metric], note=note)
            for metric, note in (
                ("tsr", "share of the traitors who survive, not the share of games they win"),
                ("fsr", "share of the faithful who survive"), ("rounds", ""),
            )
        ]  # fmt: skip
        out.append(plain(self.name, "unfinished", float((closed & ~ended).sum()), p.games, note="games without an end"))
        if p.rules == "released_code":
            out.append(plain(self.name, "declared_traitors_win", mean(g["declared"][closed]), n,
                             note="as the released code has it: eliminated faithful ≥ number of traitors"))  # fmt: skip
        return out


class Votes:
    """How traitors and faithful vote, by day and by night."""

    name = "votes"

    def observe(self, society: Any) -> Mapping[str, float]:
        rows = society.tables["rounds"]
        now = rows["number"] == society.t
        return {
            **{name: mean(rows[name][now]) for name in ("tas", "fas", "fcr", "vsf")},
            "abstentions": float(rows["abstentions"].sum() + rows["night_abstentions"].sum()),
            "invalid": float(society.table["refused"].sum()),
        }  # fmt: skip

    def conclude(self, society: Any) -> Sequence[Finding]:
        p, rows = society.params, society.tables["rounds"]
        n, games = rows.n, int((np.bincount(rows["game"], minlength=p.games) > 0).sum())
        play, bloc = random_play(society), random_play(society, bloc=True)
        out: list[Finding] = []
        shuffled = self.shuffled(society)
        for metric in ("tas", "fas", "fcr"):
            value = over_games(society, rows[metric])
            null = null_of(value, shuffled[metric])
            out.append(Finding(
                observer=self.name, metric=metric, value=value, null_mean=null.mean, null_sd=null.sd, gap=null.gap,
                p_value=null.p_value, null=SHUFFLED, n=n,
                note=f"random play: {play[metric].mean():.3f}; a plain traitor bloc: {bloc[metric].mean():.3f}",
            ))  # fmt: skip
            out.append(tested(society, self.name, f"{metric}_against_random_play", value, play[metric], games,
                              bloc[metric]))  # fmt: skip
        first = rows["number"] == 1
        out.append(plain(self.name, "fcr_round_1", mean(rows["fcr"][first]), first.sum(),
                         closed_form=p.n_traitors / (p.n_players - 1), note="uniform play gives #T/(N−1)"))  # fmt: skip
        vsf = over_games(society, rows["vsf"])
        out += [
            plain(self.name, "des", over_games(society, rows["coordinated"]), n,
                  note="rounds whose murder had every traitor's vote"),
            plain(self.name, "vsf", vsf, n, note="day votes, from round 2 on"),
            plain(self.name, "tns", 1.0 - vsf, n, note="1 − vsf"),
        ]  # fmt: skip
        day, night, guilty = self._by_round(society)
        top = self._plurality(society)
        brr = [
            measures.belief_before_consensus(day[:r, g], ~guilty[g], guilty[g], top[:r, g])
            for g, r in enumerate(self._lengths(society)) if r
        ]  # fmt: skip
        out.append(plain(self.name, "brr", mean(brr), games, note="belief before consensus"))
        if p.rules == "released_code":
            lengths = [(g, r) for g, r in enumerate(self._lengths(society)) if r]
            dissent = [measures.dissent_among_hits(day[:r, g], guilty[g], top[:r, g]) for g, r in lengths]
            change = [measures.every_change(day[:r, g], night[:r, g]) for g, r in lengths]
            out += [
                plain(self.name, "brr_as_released", mean(dissent), games, note="votes for traitors off the plurality"),
                plain(self.name, "vsf_as_released", mean(change), games, note="day and night votes, first votes count"),
            ]
        gone = rows["banished"] >= 0
        hit_faithful = over_games(society, np.where(gone, ~rows["guilty"], np.nan))
        out += [
            plain(self.name, "deception_success", hit_faithful, gone.sum(), note="banishments that hit a faithful"),
            plain(self.name, "abstentions", rows["abstentions"].sum(), n, note="day votes without a valid target"),
            plain(self.name, "night_abstentions", rows["night_abstentions"].sum(), n),
            plain(self.name, "invalid", society.table["refused"].sum(), society.table.n,
                  note="answers that could not be used, to any question"),
        ]  # fmt: skip
        return out

    def _lengths(self, society: Any) -> list[int]:
        return np.bincount(society.tables["rounds"]["game"], minlength=society.params.games).tolist()

    def _by_round(self, society: Any) -> tuple[Any, Any, Any]:
        """Return day and night votes by seat, shape (rounds, games, players), and who is a traitor."""
        numbers = range(1, society.t + 1)
        shape = (society.t, *society.guilty.shape)
        day = np.array([society.votes_of(r) for r in numbers]).reshape(shape)
        night = np.array([society.votes_of(r, night=True) for r in numbers]).reshape(shape)
        return day, night, society.guilty

    def _plurality(self, society: Any) -> npt.NDArray[np.int64]:
        """Return the seat of the plurality target, −1 for none, shape (rounds, games)."""
        rows, p = society.tables["rounds"], society.params
        out = np.full((society.t, p.games), -1)
        out[rows["number"] - 1, rows["game"]] = np.where(rows["plurality"] >= 0, rows["plurality"] % p.n_players, -1)
        return out

    def shuffled(self, society: Any) -> dict[str, Floats]:
        """Return TAS, FAS and FCR with the votes of each round permuted across its voters, shape (draws,) each.

        Nobody is given a vote for itself: then uniform votes are as likely in one order as in another, and random play
        lies within its own null. Without, traitors' votes, which rarely hit traitors, would be mixed in.
        """
        rows = society.tables["rounds"]
        day, _, guilt = self._by_round(society)
        game = rows["game"]
        votes = day[rows["number"] - 1, game]
        guilty = guilt[game]
        there = self._voters(society)
        n, players = votes.shape
        count = there.sum(axis=1)
        fixed = np.argsort(~there, axis=1, kind="stable")
        seats, last = np.arange(players), np.arange(players)[None, :]
        rng = society.stream("observe", self.name, "shuffled")
        found: dict[str, list[float]] = {"tas": [], "fas": [], "fcr": []}
        for _ in range(DRAWS if n else 0):
            mixed = np.full(votes.shape, -1)
            left = np.arange(n)
            while len(left):
                order = np.argsort(np.where(there[left], rng.random((len(left), players)), 2.0), axis=1)
                new = np.full((len(left), players), -1)
                drawn = np.take_along_axis(votes[left], order, axis=1)
                np.put_along_axis(new, fixed[left], np.where(last < count[left, None], drawn, -1), axis=1)
                bad = (new == seats).any(axis=1)
                mixed[left[~bad]] = new[~bad]
                left = left[bad]
            for name, values in (
                ("tas", measures.agreement(mixed, there & guilty)), ("fas", measures.agreement(mixed, there & ~guilty)),
                ("fcr", measures.correct(mixed, there & ~guilty, guilty)),
            ):  # fmt: skip
                found[name].append(over_games(society, values))
        return {name: np.array(values) for name, values in found.items()}

    def _voters(self, society: Any) -> npt.NDArray[np.bool_]:
        """Return who was asked to vote, by row of the rounds and seat."""
        p, ballots, rows = society.params, society.tables["ballots"], society.tables["rounds"]
        row_of = np.full((p.games, society.t + 1), -1)
        row_of[rows["game"], rows["number"]] = np.arange(rows.n)
        there = np.zeros((rows.n, p.n_players), bool)
        by_day = ~ballots["night"]
        voter = ballots["voter"][by_day] % p.n_players
        there[row_of[ballots["game"][by_day], ballots["number"][by_day]], voter] = True
        return there


class Beliefs:
    """What the faithful believe of the others at each vote, and how it moves."""

    name = "beliefs"

    def observe(self, society: Any) -> Mapping[str, float]:
        rows = society.tables["rounds"]
        now = rows["number"] == society.t
        on, before = rows["on_traitors"][now], rows["on_traitors_before"][now]
        return {
            "on_traitors": mean(on), "idr": mean(on - before),
            **{name: mean(rows[name][now]) for name in ("brier", "trust_in_traitors", "trust_in_faithful", "drift")},
        }  # fmt: skip

    def conclude(self, society: Any) -> Sequence[Finding]:
        p, rows = society.params, society.tables["rounds"]
        idr = over_games(society, rows["on_traitors"] - rows["on_traitors_before"])
        n = rows.n
        left = rows["traitors"] / np.maximum(rows["traitors"] + rows["faithful"] - 1, 1)
        out = [
            plain(self.name, "on_traitors", over_games(society, rows["on_traitors"]), n,
                  closed_form=over_games(society, left),
                  note="share of suspicion on traitors; the form: even suspicion"),
            plain(self.name, "idr", idr, n, note="its change from vote to vote, the first against the start"),
            plain(self.name, "brier", over_games(society, rows["brier"]), n,
                  closed_form=over_games(society, left * (1.0 - left)), note="at the vote; the form: the base rate"),
        ]  # fmt: skip
        out += self._trust(society, left)
        if p.rules == "released_code":
            out.append(plain(self.name, "idr_as_released", over_games(society, rows["fcr"]), n,
                             note="the formula of FCR, as in the released code"))  # fmt: skip
        out += self._at_the_end(society)
        return [*out, *self._posterior(society)]

    def _trust(self, society: Any, left: Floats) -> list[Finding]:
        """Return how far the faithful trust traitors and each other, and how far trust moved, in all and by round."""
        rows = society.tables["rounds"]
        bad, good = rows["trust_in_traitors"], rows["trust_in_faithful"]
        even = over_games(society, 1.0 - left)
        note = "1 − suspicion of the living faithful; the form: even suspicion"
        out = [
            plain(self.name, "trust_in_traitors", over_games(society, bad), rows.n, closed_form=even, note=note),
            plain(self.name, "trust_in_faithful", over_games(society, good), rows.n, closed_form=even, note=note),
            plain(self.name, "trust_gap", over_games(society, good - bad), rows.n, closed_form=0.0,
                  note="trust in each other minus trust in traitors; 0 where roles do not show"),
            plain(self.name, "trust_drift", over_games(society, rows["drift"]), rows.n,
                  note="Frobenius norm, vote to vote, the first against the start"),
        ]  # fmt: skip
        for number in range(1, society.t + 1):
            there = rows["number"] == number
            out.append(plain(self.name, f"trust_drift_round_{number}", mean(rows["drift"][there]), there.sum()))
        return out

    def _at_the_end(self, society: Any) -> list[Finding]:
        """Compare the latest beliefs of the faithful, at the last vote they cast, with the roles."""
        n, guilty = society.params.n_players, society.guilty
        rounds = np.bincount(society.tables["rounds"]["game"], minlength=society.params.games)
        out = society.by_seat("left_round")
        there = (out == 0) | (out >= np.maximum(rounds, 1)[:, None])
        mask = measures.pairs(there) & ~guilty[:, :, None]
        truth = np.broadcast_to(guilty[:, None, :], mask.shape).astype(float)
        found = detection(society.beliefs("before"), truth, mask)
        made = int(found["n"])
        return [
            plain(self.name, "accuracy", found["accuracy"], made, closed_form=found["chance"],
                  note=f"at each game's last vote, of {n} seats; the form is the better constant answer"),
            plain(self.name, "auc", found["auc"], made, closed_form=0.5, note="at each game's last vote"),
            plain(self.name, "hit_rate", found["hit_rate"], made),
            plain(self.name, "false_alarm", found["false_alarm"], made),
        ]  # fmt: skip

    def _posterior(self, society: Any) -> list[Finding]:
        """Return the Brier score of the best use of votes and revealed roles, beside the agents' in the same games."""
        p, rows = society.params, society.tables["rounds"]
        if p.n_players > 12:
            return []
        best: list[float] = []
        own: list[float] = []
        for game in range(min(p.games, POSTERIOR_GAMES)):
            days = days_of(society, game)
            before, _ = theory.posterior(days, p.n_players, p.n_traitors, rules.COEFFICIENTS)
            guilty = society.guilty[game].astype(float)
            scores = [float(np.mean((q - guilty)[d.living] ** 2)) for q, d in zip(before, days, strict=True)]
            best.append(mean(scores))
            own.append(mean(rows["brier"][rows["game"] == game]))
        usable = ~np.isnan(best)
        n = int(usable.sum())
        note = "posterior over all sets of traitors from votes and revealed roles, rule policy as likelihood; no bound"
        note += " on players who read more than that" if n else ""
        agents = mean(np.array(own)[usable])
        return [
            plain(self.name, "brier_of_posterior", mean(np.array(best)[usable]), n, note=note),
            plain(self.name, "brier_of_agents_there", agents, n, note="of the faithful, in the same games"),
        ]


def days_of(society: Any, game: int) -> list[theory.Day]:
    """Return what is public of a game's rounds, as the posterior takes it."""
    n, rows, claims = society.params.n_players, society.tables["rounds"], society.tables["claims"]
    left = society.by_seat("left_round")[game]
    mine = claims["game"] == game
    days = []
    for row in np.flatnonzero(rows["game"] == game).tolist():
        number = int(rows["number"][row])
        accused = np.zeros((2, n, n), np.int64)
        at = mine & (claims["number"] == number) & (claims["claimed"] == 1.0)
        is_late = (claims["phase"][at] == AFTERMATH).astype(int)
        np.add.at(accused, (is_late, claims["speaker"][at] % n, claims["about"][at] % n), 1)
        banished, murdered = int(rows["banished"][row]), int(rows["murdered"][row])
        days.append(theory.Day(
            (left == 0) | (left >= number), accused[0], accused[1], society.votes_of(number)[game],
            banished % n if banished >= 0 else -1, bool(rows["guilty"][row]), murdered % n if murdered >= 0 else -1,
        ))  # fmt: skip
    return days


class Deception:
    """The ledger of public claims: lies without a judge, who was believed, and what it cost."""

    name = "deception"

    def _book(self, society: Any) -> tuple[Claims, Ledger]:
        rows = society.tables["claims"]
        claims = Claims(*(rows[c] for c in ("number", "speaker", "about", "claimed", "believed", "truth")))
        return claims, ledger(claims, rows["base_rate"])

    def observe(self, society: Any) -> Mapping[str, float]:
        return ledger_summary(*self._book(society))

    def conclude(self, society: Any) -> Sequence[Finding]:
        rows = society.tables["claims"]
        claims, book = self._book(society)
        total = ledger_summary(claims, book)
        n = rows.n
        lying = book.lie
        traitor = society.guilty.ravel()[rows["speaker"]] if n else np.zeros(0, bool)
        out = [
            plain(self.name, metric, total[metric], n)
            for metric in ("claims", "lies", "false_lies", "lucky_lies", "mistakes", "truths")
        ]  # fmt: skip
        at_half = ledger_summary(claims, ledger(claims))["lie_rate"]
        out += [
            plain(self.name, "lie_rate", total["lie_rate"], n, note="of all claims; against the speaker's own belief"),
            plain(self.name, "lie_rate_at_half", at_half, n, note="with one half in place of the base rate"),
        ]
        for who, mask in (("traitors", traitor), ("faithful", ~traitor)):
            out.append(plain(self.name, f"lie_rate_of_{who}", mean(lying[mask]), mask.sum()))
        accused = rows["claimed"] == 1.0
        false = rows["truth"] != rows["claimed"]
        for metric, mask in (
            ("belief_in_lies", lying), ("belief_in_sincere_claims", ~lying),
            ("belief_in_false_accusations", accused & false), ("belief_in_true_accusations", accused & ~false),
        ):  # fmt: skip
            out.append(plain(self.name, metric, over_claims(society, rows["shift"], mask), mask.sum(),
                             note="shift of listeners' suspicion toward the claim; above 0: believed"))  # fmt: skip
        out += self._cost(society, book)
        return [*out, *self._judge(society, lying)]

    def _cost(self, society: Any, book: Any) -> list[Finding]:
        """Return how many banished faithful had been lied about in that round, or accused by mistake."""
        claims, rounds, p = society.tables["claims"], society.tables["rounds"], society.params
        innocent = (rounds["banished"] >= 0) & ~rounds["guilty"]
        key = rounds["number"].astype(np.int64) * society.table.n + rounds["banished"]
        about = claims["number"].astype(np.int64) * society.table.n + claims["about"]
        early = claims["phase"] != AFTERMATH
        accused = (claims["claimed"] == 1.0) & early
        lied = np.isin(key, about[accused & book.false_lie]) & innocent
        wronged = np.isin(key, about[accused & book.mistake]) & innocent & ~lied
        n = int(innocent.sum())
        return [
            plain(self.name, "banished_after_lies", lied.sum(), n, note="faithful, lied about in that round"),
            plain(self.name, "banished_after_mistakes", wronged.sum(), n, note="faithful, accused by mistake alone"),
            plain(self.name, "banished_unaccused", n - lied.sum() - wronged.sum(), n, note="faithful, unaccused"),
            plain(self.name, "faithful_lost_a_game", n / p.games, p.games, note="faithful banished, a game"),
        ]  # fmt: skip

    def _judge(self, society: Any, lying: Any) -> list[Finding]:
        """Return how far a second rater agrees with the ledger, speech by speech."""
        rows = society.tables["claims"]
        asked = rows["judged"] >= 0
        if not asked.any():
            return []
        _, at, inverse = np.unique(rows["speech"][asked], return_index=True, return_inverse=True)
        verdict = rows["judged"][asked][at] == 1
        is_lie = np.bincount(inverse, weights=lying[asked], minlength=len(at)) > 0
        n = len(at)
        kappa = cohen_kappa(is_lie, verdict)
        agrees = mean(is_lie == verdict)
        return [
            plain(self.name, "judge_kappa", kappa, n, closed_form=0.0, note="Cohen's κ with the ledger; 0: by chance"),
            plain(self.name, "judge_accuracy", agrees, n, closed_form=max(mean(is_lie), 1 - mean(is_lie)),
                  note="the form is the better constant answer; people: about 0.54 [reported]"),
            plain(self.name, "judge_says_lie", mean(verdict), n),
        ]  # fmt: skip


class Traits:
    """Whether personas show: traits of the faithful against how often they accuse and how much their beliefs move."""

    name = "traits"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        faithful = society.column("role") == 0
        speeches, updates = society.column("speeches"), society.column("updates")
        behaviour = {
            "accuses": measures.ratio(society.column("accusations"), speeches),
            "moves": measures.ratio(society.column("moved"), updates),
        }
        out = []
        traits = {letter: society.trait(letter) for letter in "EAOC"}
        traits["need_for_cognition"] = rules.need_for_cognition(society.personas)
        for trait, what, direction in (
            ("E", "accuses", "more"), ("A", "accuses", "less"), ("O", "moves", "less"),
            ("need_for_cognition", "moves", "less"), ("C", "accuses", "neither"),
        ):  # fmt: skip
            values = np.where(faithful, behaviour[what], np.nan)
            rng = society.stream("observe", self.name, trait)
            null = trait_association(traits[trait], values, rng)
            note = f"rules: {direction} with {trait.replace('_', ' ')}"
            out.append(Finding(
                observer=self.name, metric=f"trait_{trait}_{what}", value=null.value, null_mean=null.mean,
                null_sd=null.sd, gap=null.gap, p_value=null.p_value, null="personas shuffled over agents",
                n=int((faithful & ~np.isnan(behaviour[what])).sum()),
                note=note if np.ptp(traits[trait]) > 0 else f"{note}; all personas score the same",
            ))  # fmt: skip
        return out

"""Observers of this scenario: how far people trust, whether they act on what they say, and which traits matter."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from simworld.observe import Finding, Null, efficiency, null_of, trait_association
from simworld.persona import trait_matrix

from .attributes import z_age
from .effects import (
    Floats,
    correlation,
    eta_squared,
    full_patterns,
    horizon_errors,
    interval,
    least_trusted,
    level_means,
    mean_absolute_error,
    pattern,
    spearman,
    unit_ranks,
)
from .games import AMOUNT_GAMES, ARCHETYPES, GAMBLES, gain
from .rules import READ

NAN = float("nan")
DRAWS = 200
"""Permutations, bootstrap draws and simulated pairs. [design]"""
SLUGS = {"NOCTX+TR": "noctx_tr", "CTX+TR": "ctx_tr", "CTX+$": "ctx_usd"}
"""Strategies in the names of metrics."""
UNIFORM = "amounts uniform on what can be sent or returned; closed form"
PERMUTED = "amounts permuted over the personas"


def found(observer: str, metric: str, value: float, n: int, drawn: Null | None = None, **more: Any) -> Finding:
    """Return a finding, with the statistics of a null that was drawn."""
    if drawn is not None:
        more |= {"null_mean": drawn.mean, "null_sd": drawn.sd, "gap": drawn.gap, "p_value": drawn.p_value}
    return Finding(observer=observer, metric=metric, value=float(value), n=int(n), **more)


def against(mean: float, sd: float, value: float) -> dict[str, float]:
    """Return a null known in closed form: its mean, the s.d. of the statistic under it, gap and normal p-value."""
    gap = value - mean
    p = 2.0 * float(special.ndtr(-abs(gap) / sd)) if sd > 0 and not math.isnan(gap) else NAN
    return {"null_mean": mean, "null_sd": sd, "gap": gap, "p_value": p}


def uniform_sd(top: float, is_whole: bool) -> float:
    """Return the standard deviation of an amount uniform on 0 … top, whole dollars or any."""
    return math.sqrt(((top + 1) ** 2 - 1) / 12) if is_whole else top / math.sqrt(12)


def validity(valid: int, asked: int) -> str:
    return f"{valid} of {asked} answers valid (VRR {valid / asked:.3f})" if asked else "nobody was asked"


def spread(x: Floats, who: np.ndarray, rng: np.random.Generator) -> str:
    """Return the bootstrap interval of a mean over personas, in words: what one persona did stays together."""
    if not len(x):
        return ""
    _, at = np.unique(who, return_inverse=True)
    total, count = np.bincount(at, weights=x), np.bincount(at)
    picked = rng.integers(0, len(total), (DRAWS, len(total)))
    low, high = interval(total[picked].sum(1) / count[picked].sum(1))
    return f"; 95 % over personas {low:.2f} to {high:.2f}"


def rows_of(society: Any, game: str) -> np.ndarray:
    return np.flatnonzero(society.tables["plays"].text("game") == game)


def mean_of(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else NAN


class Battery:
    """How much is sent and how often people trust, each with the number and the share of valid answers."""

    name = "battery"

    def observe(self, society: Any) -> Mapping[str, float]:
        if society.params.study != "battery":
            return {}
        plays, out = society.tables["plays"], {}
        for game in society.games:
            at = rows_of(society, game)
            x = plays["sent" if game in AMOUNT_GAMES else "choice"][at]
            kept = x[x >= 0].astype(float)
            what = "sent" if game in AMOUNT_GAMES else "rate"
            out[f"{game}_{what}"] = mean_of(kept)
            out[f"{game}_vrr"] = len(kept) / len(x) if len(x) else NAN
        return out

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.study != "battery":
            return []
        findings: list[Finding] = []
        for game in society.games:
            at = rows_of(society, game)
            if len(at):
                findings += (self._amounts if game in AMOUNT_GAMES else self._choices)(society, game, at)
        # A summary shows the first few; a sort keeps the order within each group.
        return sorted(findings, key=lambda f: not f.metric.endswith(("_sent", "_least_p", "_rate", "_share")))

    def _amounts(self, society: Any, game: str, at: np.ndarray) -> list[Finding]:
        plays, e = society.tables["plays"], society.params.endowment
        sent = plays["sent"][at]
        kept = sent[sent >= 0]
        n, value = len(kept), mean_of(kept)
        who, rng = plays["trustor"][at], society.stream("observe", self.name, game)
        findings = [
            found(
                self.name, f"{game}_sent", value, n, null=UNIFORM, closed_form=0.0,
                note=f"{validity(n, len(at))}{spread(kept, who[sent >= 0], rng)}; "
                "the closed form is selfish subgame-perfect play",
                **against(e / 2, uniform_sd(e, False) / math.sqrt(max(n, 1)), value),
            ),
            found(self.name, f"{game}_vrr", n / len(at), len(at), note="share of answers that are amounts from 0 to E"),
        ]  # fmt: skip
        if game == "dictator":
            return findings
        returned, clipped = plays["returned"][at], plays["clipped"][at]
        asked = sent > 0
        there = asked & (returned >= 0)
        share = returned[there] / (society.params.multiplier * sent[there])
        m, k = len(share), int(asked.sum())
        worth = plays["trustor_payoff"][at][there] + plays["trustee_payoff"][at][there]
        growth = society.params.multiplier - 1.0
        findings += [
            found(
                self.name, f"{game}_returned_share", mean_of(share), m, closed_form=0.0, null=UNIFORM,
                note=f"{validity(int((there & ~clipped).sum()), k)}{spread(share, plays['trustee'][at][there], rng)}; "
                f"{int(clipped.sum())} cut to what was possible",
                **against(0.5, 1 / math.sqrt(12 * max(m, 1)), mean_of(share)),
            ),
            found(
                self.name, f"{game}_surplus", mean_of(worth) - e, m,
                note="joint surplus over no transfer, dollars, where something was sent",
            ),
            found(
                self.name, f"{game}_efficiency", efficiency(e + growth * value, e, e * society.params.multiplier), n,
                null=UNIFORM, note="0: nothing is sent, 1: everything",
                **against(0.5, 1 / math.sqrt(12 * max(n, 1)), value / e),
            ),
        ]  # fmt: skip
        return findings

    def _choices(self, society: Any, game: str, at: np.ndarray) -> list[Finding]:
        plays, rule = society.tables["plays"], GAMBLES[game]
        choice, p, who = plays["choice"][at], plays["p"][at], plays["trustor"][at]
        kept = choice >= 0
        taken, rng = choice[kept].astype(float), society.stream("observe", self.name, game)
        n, value = len(taken), mean_of(taken)
        theory = float(np.mean([gain(rule, chance) > 0 for chance in rule.chances]))
        findings = [
            found(
                self.name, f"{game}_rate", value, n, closed_form=theory, null="a fair coin; closed form",
                note=f"{validity(n, len(at))}{spread(taken, who[kept], rng)}; "
                "the closed form is a risk-neutral selfish player",
                **against(0.5, 0.5 / math.sqrt(max(n, 1)), value),
            ),
            found(self.name, f"{game}_vrr", n / len(at), len(at), note="share of answers that are a choice"),
        ]  # fmt: skip
        if len(rule.chances) > 1:
            least = np.array(
                [
                    least_trusted(p[mine], choice[mine] == 1)
                    for player in np.unique(who).tolist()
                    for mine in (np.flatnonzero((who == player) & kept),)
                ]
            )
            m = int((~np.isnan(least)).sum())
            weights = 0.5 ** np.arange(1, len(rule.chances) + 1)
            weights /= weights.sum()
            grid = np.array(rule.chances)
            mean = float(weights @ grid)
            sd = math.sqrt(float(weights @ (grid - mean) ** 2) / max(m, 1))
            some = least[~np.isnan(least)]
            value = mean_of(some)
            findings.append(found(
                self.name, f"{game}_least_p", value, m, null="a fair coin at every p; closed form",
                closed_form=min(chance for chance in rule.chances if gain(rule, chance) > 0),
                note=f"{len(least) - m} of {len(least)} trust at no p{spread(some, np.arange(m), rng)}; "
                "the closed form is the first p above 2/7",
                **against(mean, sd, value),
            ))  # fmt: skip
        return findings


class RepeatedPlay:
    """Patterns of the repeated game, each as a share of pairs."""

    name = "repeated"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.study != "battery" or "repeated_trust" not in society.games:
            return []
        plays, p = society.tables["plays"], society.params
        at = rows_of(society, "repeated_trust")
        at = at[(plays["sent"][at] >= 0) & (plays["returned"][at] >= 0)]
        who = plays["trustor"][at]
        order = np.argsort(who, kind="stable")
        pairs = np.split(at[order], np.flatnonzero(np.diff(who[order])) + 1) if len(at) else []
        shown = [pattern(plays["sent"][rows], plays["returned"][rows], p.multiplier) for rows in pairs]
        shown = [one for one in shown if one is not None]
        rng = society.stream("observe", self.name)
        chance = []
        for _ in range(DRAWS if shown else 0):
            # From (0, E], so that something is sent.
            sent = (1.0 - rng.random((len(shown), society.rounds))) * p.endowment
            back = rng.random(sent.shape) * p.multiplier * sent
            chance.append(full_patterns(sent, back, p.multiplier).mean(0))
        findings = []
        for i, (metric, note) in enumerate({
            "returns_exceed_sent": "in more than half of the rounds",
            "stable_share": "returned share moves by less than 0.10 in more than half of the changes",
            "no_swings": "the amount turns back in fewer than half of the places where it could",
        }.items()):  # fmt: skip
            value = float(np.mean([one[i] for one in shown])) if shown else NAN
            findings.append(found(
                self.name, metric, value, len(shown), null_of(value, [one[i] for one in chance]),
                null=f"as many pairs with uniform amounts and returns, {DRAWS} times", note=note,
            ))  # fmt: skip
        return findings


def simulated(society: Any) -> tuple[np.ndarray, Floats, int]:
    """Return who gave a usable amount in Trust, the amounts, and how many were asked."""
    plays = society.tables["plays"]
    at = rows_of(society, "trust")
    kept = at[plays["sent"][at] >= 0]
    return plays["trustor"][kept], plays["sent"][kept], len(at)


class BeliefConsistency:
    """Do stated orderings and effect sizes agree with what personas then do, attribute by attribute?"""

    name = "consistency"

    def observe(self, society: Any) -> Mapping[str, float]:
        if society.params.study != "consistency":
            return {}
        who, sent, asked = simulated(society)
        out = {"sent": mean_of(sent), "vrr": len(sent) / asked if asked else NAN}
        for strategy in society.strategies:
            rho = [self._rho(society, strategy, name, who, sent) for name in society.levels] if len(sent) else []
            out[f"median_rho_{SLUGS[strategy]}"] = median(rho)
        return out

    def _rho(self, society: Any, strategy: str, name: str, who: np.ndarray, sent: Floats) -> float:
        levels = society.levels[name]
        return spearman(society.stated(strategy, name).scores, level_means(levels.codes[who], sent, levels.k))

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.study != "consistency":
            return []
        who, sent, asked = simulated(society)
        if not len(sent):
            return []
        measures = Measures(society, who, sent)
        rng = society.stream("observe", self.name)
        shuffles = [measures.of(np.arange(len(sent)), rng.permutation(sent)) for _ in range(DRAWS)]
        resampled = [measures.of(rows, sent[rows]) for rows in rng.integers(0, len(sent), (DRAWS, len(sent)))]
        now = measures.of(np.arange(len(sent)), sent)
        true = measures.of_rules()
        findings = [
            found(
                self.name, "sent", mean_of(sent), len(sent), null=UNIFORM, closed_form=0.0,
                note=f"{validity(len(sent), asked)}; the closed form is selfish subgame-perfect play",
                **against(
                    society.params.endowment / 2,
                    uniform_sd(society.params.endowment, True) / math.sqrt(len(sent)), mean_of(sent),
                ),
            ),
        ]  # fmt: skip
        for metric, value in sorted(now.items(), key=lambda item: not item[0].startswith("median")):
            low, high = interval([draw[metric] for draw in resampled])
            findings.append(found(
                self.name, metric, value, measures.count[metric],
                null_of(value, [draw[metric] for draw in shuffles if not math.isnan(draw[metric])]),
                null=PERMUTED, closed_form=true.get(metric, NAN),
                note=f"95 % over personas {low:.2f} to {high:.2f}{measures.note.get(metric, '')}",
            ))  # fmt: skip
        findings.append(
            found(self.name, "vrr", len(sent) / asked, asked, note="share of amounts in Trust that are valid")
        )
        for strategy in society.strategies:
            beliefs = society.tables["beliefs"]
            mine = beliefs.text("strategy") == strategy
            findings.append(found(
                self.name, f"vrr_{SLUGS[strategy]}", mean_of(beliefs["valid"][mine].astype(float)), int(mine.sum()),
                note="share of stated beliefs that are valid",
            ))  # fmt: skip
        return findings


class Measures:
    """What is measured of one assignment of amounts to personas, by name of the metric."""

    def __init__(self, society: Any, who: np.ndarray, sent: Floats) -> None:
        self.society = society
        self.who = who
        self.effects: dict[tuple[str, str], float] = {}
        self.scores: dict[tuple[str, str], Floats] = {}
        """Ranks of the levels as stated on the whole; below the mean of the ranks as stated by each, whose product with
        other ranks is the mean of their correlations."""
        self.each: dict[tuple[str, str], Floats] = {}
        for strategy in society.strategies:
            for name in society.levels:
                stated = society.stated(strategy, name)
                each = unit_ranks(stated.each)
                self.effects[strategy, name] = stated.effect_size
                self.scores[strategy, name] = unit_ranks(stated.scores)
                each = each[~np.isnan(each).any(1)]
                self.each[strategy, name] = each.mean(0) if len(each) else np.full(each.shape[1], NAN)
        self.told = {
            name: unit_ranks(scores_of(society.told(name), levels.labels)) for name, levels in society.levels.items()
        }
        self.count: dict[str, int] = {}
        """How many personas count, by metric."""
        self.note: dict[str, str] = {}
        for name, levels in society.levels.items():
            n = int((levels.codes[who] >= 0).sum())
            few = {2: "; of 2 levels: ρ is −1 or 1", 3: "; of 3 levels: ρ is ±½ or ±1"}.get(levels.k, "")
            keys = [f"eta2_{name}", f"told_rho_{name}"]
            keys += [f"{what}_{SLUGS[s]}_{name}" for s in society.strategies for what in ("rho", "gap", "elicitor_rho")]
            self.count |= dict.fromkeys(keys, n)
            self.note |= {key: few or f"; of {levels.k} levels" for key in keys if not key.startswith("eta2")}
        whole = ["median_eta2", "median_told_rho"]
        whole += [f"median_{what}_{SLUGS[s]}" for s in society.strategies for what in ("rho", "gap", "elicitor_rho")]
        self.count |= dict.fromkeys(whole, len(sent))

    def of(self, rows: np.ndarray, sent: Floats) -> dict[str, float]:
        """Return every measure of amounts sent by the personas at these rows."""
        people = self.who[rows]
        means, eta = {}, {}
        for name, levels in self.society.levels.items():
            codes = levels.codes[people]
            means[name], eta[name] = level_means(codes, sent, levels.k), eta_squared(codes, sent, levels.k)
        return self._measured(means, eta)

    def of_rules(self) -> dict[str, float]:
        """Return what the rule policy would give in the mean of endless play; nothing where it does not decide."""
        society = self.society
        if society.mind_labels != ("rules",) or society.played is not society.personas:
            return {}
        truths = {name: society.bank().truth(name) for name in society.levels}
        means = {name: np.array(list(truth.means.values())) for name, truth in truths.items()}
        found = self._measured(means, {name: truth.eta2 for name, truth in truths.items()})
        return {metric: round(value, 12) for metric, value in found.items()}

    def _measured(self, means: Mapping[str, Floats], eta: Mapping[str, float]) -> dict[str, float]:
        ranks = {name: unit_ranks(x) for name, x in means.items()}
        out = {f"eta2_{name}": value for name, value in eta.items()}
        out["median_eta2"] = median(list(eta.values()))
        for strategy in self.society.strategies:
            slug = SLUGS[strategy]
            values: dict[str, list[float]] = {"rho": [], "gap": [], "elicitor_rho": []}
            for name in self.society.levels:
                key = strategy, name
                values["rho"].append(correlation(self.scores[key], ranks[name]))
                values["gap"].append(abs(self.effects[key] - eta[name]))
                values["elicitor_rho"].append(float(self.each[key] @ ranks[name]))
            for what, column in values.items():
                out |= {f"{what}_{slug}_{name}": v for name, v in zip(self.society.levels, column, strict=True)}
                out[f"median_{what}_{slug}"] = median(column)
        if self.society.params.conditioning != "none":
            told = {f"told_rho_{name}": correlation(self.told[name], ranks[name]) for name in ranks}
            out |= {**told, "median_told_rho": median(list(told.values()))}
        return out


def scores_of(order: Sequence[str], labels: Sequence[str]) -> Floats:
    """Return the score of each level in an ordering, the first highest; NaN where there is none."""
    return np.array([-order.index(label) if order else NAN for label in labels], float)


def median(values: Sequence[float]) -> float:
    there = [v for v in values if not math.isnan(v)]
    return statistics.median(there) if there else NAN


class Forecasts:
    """How far what people said they would send is from what they sent, overall and by horizon."""

    name = "forecasts"

    def observe(self, society: Any) -> Mapping[str, float]:
        if society.params.study != "consistency":
            return {}
        return {f"mae_M{kind}": mean_absolute_error(*self._paths(society, kind)) for kind in ARCHETYPES}

    def _paths(self, society: Any, kind: int) -> tuple[Floats, Floats]:
        """Return forecast and played amounts, shape (players with a forecast, rounds), NaN where not played."""
        forecasts, plays, rounds = society.tables["forecasts"], society.tables["plays"], society.rounds
        at = np.flatnonzero((forecasts["archetype"] == kind) & forecasts["valid"])
        said = np.array([json.loads(path) for path in forecasts["path"][at]], float).reshape(len(at), rounds)
        row = {player: i for i, player in enumerate(forecasts["player"][at].tolist())}
        played = np.full(said.shape, NAN)
        mine = np.flatnonzero((plays["archetype"] == kind) & (plays["sent"] >= 0))
        columns = (plays[name][mine].tolist() for name in ("trustor", "round", "sent"))
        for trustor, number, sent in zip(*columns, strict=True):
            if trustor in row:
                played[row[trustor], number - 1] = sent
        return said, played

    def conclude(self, society: Any) -> Sequence[Finding]:
        if society.params.study != "consistency":
            return []
        findings = []
        for kind in ARCHETYPES:
            said, played = self._paths(society, kind)
            if not (~np.isnan(played)).any():
                continue
            rng = society.stream("observe", self.name, kind)
            others = [rng.permutation(len(said)) for _ in range(DRAWS)]
            value, by_horizon = mean_absolute_error(said, played), horizon_errors(said, played)
            asked = int((society.tables["forecasts"]["archetype"] == kind).sum())
            null = "forecasts permuted over the players"
            findings.append(found(
                self.name, f"mae_M{kind}", value, len(said),
                null_of(value, [mean_absolute_error(said[order], played) for order in others]), null=null,
                note=validity(len(said), asked),
            ))  # fmt: skip
            drawn = [horizon_errors(said[order], played) for order in others]
            for r, error in enumerate(by_horizon.tolist()):
                findings.append(found(
                    self.name, f"mae_M{kind}_round_{r + 1}", error, int((~np.isnan(played[:, r])).sum()),
                    null_of(error, [one[r] for one in drawn]), null=null,
                ))  # fmt: skip
            played_rounds = np.flatnonzero(~np.isnan(by_horizon))
            findings.append(found(
                self.name, f"growth_M{kind}", spearman(played_rounds, by_horizon[played_rounds]), len(played_rounds),
                note="rank correlation of error and horizon; 1: the error grows with every round",
            ))  # fmt: skip
        return findings


class TraitEffects:
    """Which traits go with the amount sent in Trust: those the rules read, and others as a control."""

    name = "traits"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {}

    def conclude(self, society: Any) -> Sequence[Finding]:
        who, sent, _ = simulated(society)
        if not len(sent) or society.personas is None:
            return []
        rng = society.stream("observe", self.name)
        people = society.personas
        matrix = trait_matrix(people, f"{READ}C")
        columns = {letter: matrix[:, i] for i, letter in enumerate(f"{READ}C")}
        columns["age"] = np.array([z_age(person) for person in people])
        findings = []
        for letter, z in columns.items():
            note = "with the amount sent" + (
                "; the rules do not read it, but traits go together" if letter == "C" else ""
            )
            findings.append(self._found(f"trait_{letter}", z[who], sent, rng, note))
        plays = society.tables["plays"]
        at = rows_of(society, "trust")
        at = at[(plays["sent"][at] > 0) & (plays["returned"][at] >= 0)]
        share = plays["returned"][at] / plays["sent"][at]
        note = "with the share returned"
        findings.append(self._found("trait_A_of_trustee", columns["A"][plays["trustee"][at]], share, rng, note))
        return [one for one in findings if not math.isnan(one.value)]

    def _found(self, metric: str, z: Floats, behaviour: Floats, rng: Any, note: str) -> Finding:
        null = trait_association(z, behaviour, rng, DRAWS)
        return found(
            self.name, metric, null.value, len(z), null, null="personas permuted", note=f"rank correlation {note}"
        )

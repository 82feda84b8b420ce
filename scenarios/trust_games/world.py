"""Trust games: do people act on what they say about who trusts, and how far do they trust at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

import simworld as sw
from simworld.errors import ParameterError

from . import rules
from .attributes import ATTRIBUTES, Levels, listed
from .decisions import (
    Choose,
    ChoosePlainly,
    Estimate,
    EstimateView,
    Forecast,
    ForecastView,
    Rank,
    RankView,
    Return,
    Round,
    Send,
    SendPlainly,
)
from .effects import perturbed, stated_eta_squared
from .games import ARCHETYPES, BATTERY, GAMBLES, NONE, archetype_returns
from .observers import Battery, BeliefConsistency, Forecasts, RepeatedPlay, TraitEffects
from .rules import Bank

STRATEGIES = ("NOCTX+TR", "CTX+TR", "CTX+$")
"""Ways to elicit beliefs: ranking without and with the rules of the game, and dollars a level. [reported]"""
TARGETS = {"weak": 0.80, "strong": 0.20}
"""Rank correlation of an imposed ordering with the elicited one. [reported]"""
FIXED = (
    "study", "rules", "games", "rounds", "endowment", "multiplier", "attributes", "strategies", "n_per_level",
)  # fmt: skip
"""Parameters that stay as they were at the start."""
ROUNDS = {("battery", "paper"): 7, ("battery", "released_code"): 5, ("consistency", "paper"): 6,
          ("consistency", "released_code"): 6}  # fmt: skip
"""Rounds of the repeated game when none are given: 7 in the released data [data], 5 or 10 by default of the released
code [code], 6 in the consistency study [reported]."""


class Params(sw.Params):
    n_agents: int = sw.field(53, ge=2, unit="agents", doc="Personas of the bank.", source="Xie et al. 2024")
    study: Literal["battery", "consistency"] = sw.field(
        "battery", doc="Six games and the repeated one, or beliefs about who trusts against what is then done."
    )
    rules: Literal["paper", "released_code"] = sw.field(
        "paper", doc="Length of the repeated game: as in the released data (7), or a default of the code (5 or 10)."
    )
    games: str = sw.field(
        "trust, dictator, map_trust, risky_dictator, lottery_people, lottery_gamble, repeated_trust",
        doc="Games of the battery, separated by commas; the repeated one is played last.",
    )
    endowment: int = sw.field(
        10, ge=1, le=200, unit="dollars", doc="E: what a trustor has; 44 and 100 are variants.", source="reported"
    )
    multiplier: float = sw.field(3.0, ge=1, le=10, doc="Of what is sent.", source="reported")
    rounds: int = sw.field(
        0, ge=0, le=100, unit="rounds",
        doc="Rounds of the repeated game; 0: 7 in the battery (5 under released_code), 6 in the consistency study.",
    )  # fmt: skip
    chain_of_thought: bool = sw.field(True, doc="Ask for belief, desire and intention before the decision.")
    partner: Literal["unsaid", "person", "model"] = sw.field(
        "unsaid", doc="What the trustor is told its partner is: nothing, a person, or a language model."
    )
    partner_gender: Literal["unsaid", "woman", "man"] = sw.field("unsaid", doc="Gender of the partner, if told.")
    partner_ethnicity: str = sw.field("", max_length=100, doc="Ethnic group of the partner in words; empty: not told.")
    instruction: Literal["none", "must_trust", "must_not_trust"] = sw.field(
        "none", doc="What the trustor is told to do."
    )
    attributes: str = sw.field(
        "age, conscientiousness, degree, openness, politics, work",
        doc="Attributes that beliefs are about, separated by commas; also agreeableness, extraversion, neuroticism.",
    )
    strategies: str = sw.field("NOCTX+TR, CTX+TR, CTX+$", doc="Ways to elicit beliefs, separated by commas.")
    n_elicitors: int = sw.field(
        50, ge=1, le=10_000, unit="agents", doc="Personas asked for beliefs, for each strategy.", source="reported"
    )
    n_per_level: int = sw.field(
        100, ge=2, le=1_000_000, unit="people", doc="People assumed at a level in a stated effect size.",
        source="reported",
    )  # fmt: skip
    conditioning: Literal["none", "own", "weak", "strong"] = sw.field(
        "none", doc="Orderings told before the amount: none, those elicited, or these perturbed weakly or strongly."
    )
    say_do_noise: float = sw.field(
        0.0, ge=0, le=1, unit="probability", doc="Chance that a rule agent states a belief with its levels shuffled."
    )

    @model_validator(mode="after")
    def _rounds_of_the_code(self) -> Self:
        if self.study == "battery" and self.rules == "released_code" and self.rounds not in (0, 5, 10):
            raise ValueError(f"rounds = {self.rounds}, but the released code plays 5 or 10; give one of these or 0")
        return self


class Player(sw.Agent):
    balance: float = 0.0
    """Dollars held as a trustor after the latest play."""
    earned: float = 0.0
    """Dollars over all plays, in either role."""


class Play(sw.Entity):
    game: Literal["trust", "dictator", "map_trust", "risky_dictator", "lottery_people", "lottery_gamble",
                  "repeated_trust"] = "trust"  # fmt: skip
    trustor: int = -1
    trustee: int = -1
    """Agent; −1 where nobody here is the partner."""
    archetype: int = 0
    """Most dollars that a partner following a formula returns; 0 for none."""
    round: int = 1
    p: float = NONE
    """Chance that trust is honoured in a binary game."""
    sent: float = NONE
    """Dollars; −1 where the case was dropped, or there is none."""
    returned: float = NONE
    """Dollars; −1 where the case was dropped, or there is none."""
    choice: int = -1
    """1 trusted, 0 not, −1 dropped or no binary game."""
    honoured: int = -1
    """1 trust was honoured, 0 betrayed, −1 nothing was at stake."""
    clipped: bool = False
    """Whether the trustee returned an impossible amount, which was cut to what it had."""
    trustor_payoff: float = NONE
    trustee_payoff: float = NONE


class Belief(sw.Entity):
    elicitor: int = -1
    strategy: Literal["NOCTX+TR", "CTX+TR", "CTX+$"] = "NOCTX+TR"
    attribute: str = ""
    valid: bool = False
    ranking: str = "[]"
    """Levels from the most to the least trusting, as JSON."""
    effect_size: float = NONE
    """Stated; −1 where it follows from means and spreads."""
    means: str = "{}"
    """Dollars by level, as JSON."""
    sds: str = "{}"
    """Dollars by level, as JSON."""


class Outlook(sw.Entity):
    player: int = -1
    archetype: int = 0
    valid: bool = False
    path: str = "[]"
    """Dollars forecast for each round, as JSON."""


class Stated(NamedTuple):
    """What was stated about one attribute by one strategy, over the levels of `Levels`."""

    scores: npt.NDArray[np.float64]
    """Mean rank score of each level, the most trusting highest, or mean dollars; NaN without a valid answer."""
    each: npt.NDArray[np.float64]
    """The same, one row an elicitor."""
    effect_size: float
    """Mean stated effect size, or η̂² of the mean means and spreads."""


class TrustGames(sw.World):
    """Do persona agents trust as people do, and do they act as they say that people like them act?"""

    Params = Params
    agent_classes = (Player,)
    entities = {"plays": Play, "beliefs": Belief, "forecasts": Outlook}
    with_personas = True
    default_steps = 13
    observers = (Battery, RepeatedPlay, BeliefConsistency, Forecasts, TraitEffects)

    @property
    def policies(self) -> Mapping[str, Any]:
        return rules.policies(self.params, self.bank)

    def setup(self) -> None:
        self.restored()
        missing = [name for name in self.named if name not in self.levels]
        self.notes += [f"{name}: fewer than two levels among these personas, left out" for name in missing]
        if self.named and not self.levels:
            raise ParameterError(
                f"no attribute of {list(self.named)} has two levels among {self.params.n_agents} personas; "
                "take more agents, or other attributes"
            )

    def restored(self) -> None:
        p = self.params
        self.made: dict[str, Any] = {}
        self.games = listed(p.games, BATTERY, "game")
        self.strategies = listed(p.strategies, STRATEGIES, "strategy")
        self.rounds = p.rounds or ROUNDS[p.study, p.rules]
        named = listed(p.attributes, tuple(ATTRIBUTES), "attribute")
        self.named = named if p.study == "consistency" else ()
        found = [self.bank().levels(name) for name in self.named]
        self.levels: dict[str, Levels] = {levels.name: levels for levels in found if levels.k > 1}

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse what says which questions are asked and when, or by what earlier answers are measured."""
        for name in FIXED:
            if params.get(name, was := getattr(self.params, name)) != was:
                raise ParameterError(
                    f"{name} cannot change on the way, for what was played before is measured by it; start a new run"
                )
        is_told = self.params.study == "consistency" and step > 1
        if is_told and params.get("conditioning", self.params.conditioning) != self.params.conditioning:
            raise ParameterError(f"conditioning is told in step 2, but step {step} is over; fork after step 0 or 1")

    def bank(self) -> Bank:
        """Return the personas of the start with the constants of the rule policy, made when first needed."""
        # Policies are made before `setup`, so this cache makes itself.
        made = self.__dict__.setdefault("made", {})
        if "bank" not in made:
            people = tuple(self.personas or ())[: self.params.n_agents]
            made["bank"] = Bank(people, self.params.endowment, lambda name: self.chance.stream("levels", name))
        bank: Bank = made["bank"]
        return bank

    def planned_steps(self) -> int:
        if self.params.study == "consistency":
            return 3 + self.rounds
        return len(self.one_shot) + (self.rounds if "repeated_trust" in self.games else 0)

    def finished(self) -> bool:
        return self.t >= self.planned_steps()

    @property
    def one_shot(self) -> tuple[str, ...]:
        """Games of the battery that are played once, one a step; the repeated game comes after them."""
        return tuple(game for game in self.games if game != "repeated_trust")

    def metrics(self) -> Mapping[str, float]:
        plays = self.tables["plays"]
        valid = (plays["sent"] >= 0) | (plays["choice"] >= 0)
        return {"valid_answers": float(valid.mean()) if len(valid) else float("nan")}

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        if self.params.study == "consistency":
            self.consistency_step()
        elif self.t <= len(self.one_shot):
            game = self.one_shot[self.t - 1]
            trustors, trustees = self.pairs(game)
            if game in GAMBLES:
                self.gamble(game, trustors)
            else:
                self.exchange(game, trustors, trustees)
        else:
            self.exchange("repeated_trust", *self.pairs("repeated_trust"), round=self.t - len(self.one_shot))

    def consistency_step(self) -> None:
        if self.t == 1:
            for strategy in self.strategies:
                self.elicit(strategy)
        elif self.t == 2:
            trustors, trustees = self.pairs("trust")
            self.exchange("trust", trustors, trustees, told=self.told_texts())
        elif self.t == 3:
            self.forecast()
        else:
            trustors = np.repeat(self.ids, len(ARCHETYPES))
            nobody = np.full(len(trustors), -1)
            kinds = np.tile(ARCHETYPES, len(self.ids))
            self.exchange("repeated_trust", trustors, nobody, round=self.t - 3, archetypes=kinds)

    def pairs(self, game: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return who plays with whom: everybody once as trustor, and once as trustee of somebody else.

        A random circle, the same in every round of a game.
        """
        ids = self.ids
        circle = self.chance.stream("pairing", game).permutation(ids)
        partner = np.empty(self.table.n, np.int64)
        partner[circle] = np.roll(circle, -1)
        return ids, partner[ids]

    def exchange(
        self,
        game: str,
        trustors: npt.NDArray[np.int64],
        trustees: npt.NDArray[np.int64],
        *,
        round: int = 1,
        archetypes: npt.NDArray[np.int64] | None = None,
        told: tuple[str, ...] = (),
    ) -> None:
        """Have money sent, multiplied and returned; a case whose answer cannot be used is dropped."""
        p, n = self.params, len(trustors)
        kinds = np.zeros(n, np.int64) if archetypes is None else archetypes
        rounds = self.rounds if game == "repeated_trust" else 1
        past = self.past(trustors, kinds) if round > 1 else [()] * n
        seen = {
            "game": objects([game] * n), "endowment": np.full(n, p.endowment), "multiplier": np.full(n, p.multiplier),
            "round": np.full(n, round), "rounds": np.full(n, rounds), "history": objects(past), "archetype": kinds,
            "told": objects([told] * n),
        }  # fmt: skip
        answers = self.decide(Send if p.chain_of_thought else SendPlainly, trustors, seen, check=self.send_check)
        sent = np.asarray(answers.column("amount", refused=NONE), float)
        received = np.where(sent > 0, sent * p.multiplier, 0.0)
        returned, clipped = self.returns(game, trustees, kinds, sent, received, round, rounds, past)
        done = (sent >= 0) & (returned >= 0)
        first = self.tables["plays"].append(n, {
            "game": game, "trustor": trustors, "trustee": trustees, "archetype": kinds, "round": round, "sent": sent,
            "returned": returned, "clipped": clipped,
            "trustor_payoff": np.where(done, p.endowment - sent + returned, NONE),
            "trustee_payoff": np.where(done, received - returned, NONE),
        })  # fmt: skip
        self.tell("send", answers, trustees, first, sent)
        back = np.flatnonzero(returned > 0)
        giver, taker = trustees[back], trustors[back]
        self.emit_many("return", agent=giver, target=taker, item=first + back, value=returned[back])
        self.book(first, n)

    def send_check(self, agent: int, answer: Any, view: Any) -> tuple[str, str] | None:
        if answer.amount > view.endowment:
            return "amount", f"{answer.amount:g} is more than the ${view.endowment} you have"
        if self.params.study == "consistency" and answer.amount != int(answer.amount):
            return "amount", f"{answer.amount:g} is not a whole number of dollars"
        return None

    def returns(
        self, game: str, trustees: Any, kinds: Any, sent: Any, received: Any, round: int, rounds: int, past: Any
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return what comes back, −1 where the answer cannot be used, and whether it was cut to what is possible."""
        p, n = self.params, len(sent)
        returned, clipped = np.where(sent >= 0, 0.0, NONE), np.zeros(n, bool)
        if game == "dictator":
            return returned, clipped
        formula = np.flatnonzero((kinds > 0) & (sent > 0))
        for i in formula.tolist():
            returned[i] = archetype_returns(kinds[i], received[i])
        # Who received nothing has nothing to decide.
        asked = np.flatnonzero((kinds == 0) & (sent > 0))
        m = len(asked)
        seen = {
            "game": objects([game] * m), "sent": sent[asked], "received": received[asked],
            "endowment": np.full(m, p.endowment), "round": np.full(m, round), "rounds": np.full(m, rounds),
            "history": objects([past[i] for i in asked.tolist()]),
        }  # fmt: skip
        answers = self.decide(Return, trustees[asked], seen)
        said = np.asarray(answers.column("amount_returned", refused=np.nan), float)
        possible = np.clip(said, 0.0, received[asked])
        # What was received is shown to the cent, so half a cent too much is no fault.
        clipped[asked] = ~np.isnan(said) & (np.abs(said - possible) > 0.005 + 1e-9)
        returned[asked] = np.where(np.isnan(said), NONE, possible)
        return returned, clipped

    def past(self, trustors: npt.NDArray[np.int64], kinds: npt.NDArray[np.int64]) -> list[tuple[Round, ...]]:
        """Return the rounds that each trustor has played with this partner, oldest first, dropped ones left out."""
        plays = self.tables["plays"]
        rows = np.flatnonzero(
            (plays.text("game") == "repeated_trust") & (plays["sent"] >= 0) & (plays["returned"] >= 0)
        )
        found: dict[tuple[int, int], list[Round]] = {}
        columns = (plays[name][rows].tolist() for name in ("trustor", "archetype", "sent", "returned"))
        for trustor, kind, sent, returned in zip(*columns, strict=True):
            found.setdefault((trustor, kind), []).append(Round(sent, returned))
        return [tuple(found.get(key, ())) for key in zip(trustors.tolist(), kinds.tolist(), strict=True)]

    def gamble(self, game: str, players: npt.NDArray[np.int64]) -> None:
        """Have everybody choose, once for every chance asked; a case whose answer cannot be used is dropped."""
        rule = GAMBLES[game]
        who = np.repeat(players, len(rule.chances))
        p, n = np.tile(rule.chances, len(players)), len(players) * len(rule.chances)
        pay = {"safe": rule.safe, "honoured": rule.honoured, "betrayed": rule.betrayed}
        seen: dict[str, Any] = {"game": objects([game] * n), "p": p}
        for name, (own, other) in pay.items():
            seen[name] = np.full(n, float(own))
            seen[f"{name}_other"] = np.full(n, NONE if other is None else float(other))
        answers = self.decide(Choose if self.params.chain_of_thought else ChoosePlainly, who, seen)
        said = answers.column("choice", refused="")
        choice = np.array([{"trust": 1, "not": 0}.get(one, -1) for one in said], np.int64)
        # One draw a case, taken whether or not it is needed, so that no choice moves another's luck.
        luck = self.chance.stream("honoured", game).random(n) < p
        honoured = np.where(choice == 1, luck.astype(np.int64), -1)
        own, other = np.full(n, NONE), np.full(n, NONE)
        for name, at in (("safe", choice == 0), ("honoured", honoured == 1), ("betrayed", honoured == 0)):
            own[at], other[at] = seen[name][at], seen[f"{name}_other"][at]
        first = self.tables["plays"].append(n, {
            "game": game, "trustor": who, "p": p, "choice": choice, "honoured": honoured, "trustor_payoff": own,
            "trustee_payoff": other,
        })  # fmt: skip
        self.tell("choose", answers, np.full(n, -1), first, choice.astype(float))
        self.book(first, n)

    def tell(self, kind: str, answers: Any, targets: Any, first: int, values: Any) -> None:
        """Log what was decided, with the thoughts that led to it."""
        for i, (agent, answer) in enumerate(answers.pairs()):
            if not isinstance(answer, sw.Refusal):
                names = ("belief", "desire", "intention")
                thoughts = {name: getattr(answer, name) for name in names if getattr(answer, name, "")}
                self.emit(kind, agent=agent, target=int(targets[i]), item=first + i, value=float(values[i]),
                          data=thoughts or None)  # fmt: skip

    def book(self, first: int, n: int) -> None:
        """Pay what was played."""
        plays = self.tables["plays"]
        for role, at in (("trustor", "trustor_payoff"), ("trustee", "trustee_payoff")):
            who, pay = plays[role][first : first + n], plays[at][first : first + n]
            paid = (who >= 0) & (pay >= 0)
            np.add.at(self.table["earned"], who[paid], pay[paid])
            if role == "trustor":
                self.table["balance"][who[paid]] = pay[paid]

    # -- what is believed ---------------------------------------------------------------------------------------

    def elicit(self, strategy: str) -> None:
        """Ask some for their beliefs about every attribute."""
        p = self.params
        ids = self.ids
        m = min(p.n_elicitors, len(ids))
        # More elicitors are the same ones and others, and everybody's order of levels is its own.
        asked = np.sort(self.chance.stream("elicitors", strategy).permutation(ids)[:m])
        names = list(self.levels)
        who, about = np.repeat(asked, len(names)), names * m
        is_money = strategy == "CTX+$"
        views: list[Any] = []
        for agent, name in zip(who.tolist(), about, strict=True):
            levels, rng = self.levels[name], self.chance.stream("order", strategy, name, agent)
            order = tuple(levels.labels[i] for i in rng.permutation(levels.k).tolist())
            common = (name, levels.words, order)
            views.append(
                EstimateView(*common, p.n_per_level, p.endowment, p.multiplier)
                if is_money
                else RankView(*common, strategy == "CTX+TR", p.endowment, p.multiplier)
            )
        kind = Estimate if is_money else Rank
        seen = {name: objects([getattr(view, name) for view in views]) for name in type(views[0])._fields}
        check = self.estimate_check if is_money else rank_check
        answers = self.decide(kind, who, seen, check=check, purpose=f"{kind.__name__} {strategy}")
        beliefs = self.tables["beliefs"]
        first = beliefs.append(len(who), {"elicitor": who, "strategy": strategy, "attribute": objects(about)})
        for at, (name, (agent, answer)) in enumerate(zip(about, answers.pairs(), strict=True), first):
            row: dict[str, Any] = {}
            if isinstance(answer, Rank):
                row |= {"valid": True, "ranking": packed(answer.ranking), "effect_size": float(answer.effect_size)}
            elif isinstance(answer, Estimate):
                means = {guess.level: guess.mean for guess in answer.mean_sd}
                ranking = sorted(means, key=lambda level: (-means[level], level))
                sds = {guess.level: guess.sd for guess in answer.mean_sd}
                row |= {"valid": True, "ranking": packed(ranking), "means": packed(means), "sds": packed(sds)}
            for column, value in row.items():
                beliefs[column][at] = value
            if row:
                said = {"strategy": strategy, "attribute": name, "ranking": json.loads(row["ranking"])}
                self.emit("believe", agent=agent, item=at, data=said)

    def estimate_check(self, agent: int, answer: Estimate, view: Any) -> tuple[str, str] | None:
        if answer.attribute != view.attribute:
            return "attribute", f"{answer.attribute!r} was not asked about, but {view.attribute!r}"
        if sorted(guess.level for guess in answer.mean_sd) != sorted(view.levels):
            return "mean_sd", f"give every one of {list(view.levels)} once"
        high = [guess.mean for guess in answer.mean_sd if guess.mean > view.endowment]
        return ("mean_sd", f"a mean of {high[0]:g} is more than the ${view.endowment} there is") if high else None

    def stated(self, strategy: str, attribute: str) -> Stated:
        """Return what was stated about an attribute."""
        levels, beliefs = self.levels[attribute], self.tables["beliefs"]
        at = np.flatnonzero(
            (beliefs.text("strategy") == strategy) & (beliefs["attribute"] == attribute) & beliefs["valid"]
        )
        if not len(at):
            return Stated(np.full(levels.k, np.nan), np.zeros((0, levels.k)), float("nan"))
        if strategy == "CTX+$":
            means, sds = (
                np.array([[json.loads(row)[label] for label in levels.labels] for row in beliefs[name][at]])
                for name in ("means", "sds")
            )
            effect = stated_eta_squared(means.mean(0), sds.mean(0), self.params.n_per_level)
            return Stated(means.mean(0), means, effect)
        each = np.array(
            [[-json.loads(row).index(label) for label in levels.labels] for row in beliefs["ranking"][at]], float
        )
        return Stated(each.mean(0), each, float(beliefs["effect_size"][at].mean()))

    def told(self, attribute: str) -> tuple[str, ...]:
        """Return the ordering that is told, most trusting first: that elicited by the first strategy, or perturbed."""
        how = self.params.conditioning
        scores = self.stated(self.strategies[0], attribute).scores
        labels = self.levels[attribute].labels
        if how == "none" or np.isnan(scores).any():
            return ()
        order = tuple(labels[i] for i in np.argsort(-scores, kind="stable").tolist())
        if how == "own":
            return order
        return perturbed(order, TARGETS[how], self.chance.stream("imposed", attribute))

    def told_texts(self) -> tuple[str, ...]:
        orders = {name: self.told(name) for name in self.levels}
        return tuple(f"{self.levels[name].words}: {', then '.join(order)}" for name, order in orders.items() if order)

    # -- what is forecast ---------------------------------------------------------------------------------------

    def forecast(self) -> None:
        """Have everybody say beforehand what they will send in every round, to each kind of partner."""
        p = self.params
        who, kinds = np.repeat(self.ids, len(ARCHETYPES)), np.tile(ARCHETYPES, len(self.ids))
        views = [ForecastView(p.endowment, p.multiplier, self.rounds, kind) for kind in kinds.tolist()]
        seen = {name: objects([getattr(view, name) for view in views]) for name in ForecastView._fields}
        answers = self.decide(Forecast, who, seen, check=forecast_check)
        forecasts = self.tables["forecasts"]
        first = forecasts.append(len(who), {"player": who, "archetype": kinds})
        for at, (agent, answer) in enumerate(answers.pairs(), first):
            if isinstance(answer, Forecast):
                path = [one.amount for one in sorted(answer.rounds, key=lambda one: one.round)]
                forecasts["valid"][at], forecasts["path"][at] = True, packed(path)
                self.emit("forecast", agent=agent, item=at, data={"path": path})


def forecast_check(agent: int, answer: Forecast, view: Any) -> tuple[str, str] | None:
    if sorted(one.round for one in answer.rounds) != list(range(1, view.rounds + 1)):
        return "rounds", f"give every round from 1 to {view.rounds} once"
    high = [one.amount for one in answer.rounds if one.amount > view.endowment]
    return ("rounds", f"{high[0]:g} is more than the ${view.endowment} you have") if high else None


def rank_check(agent: int, answer: Rank, view: Any) -> tuple[str, str] | None:
    if answer.attribute != view.attribute:
        return "attribute", f"{answer.attribute!r} was not asked about, but {view.attribute!r}"
    if sorted(answer.ranking) != sorted(view.levels):
        return "ranking", f"rank every one of {list(view.levels)} once"
    return None


def objects(items: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return a column of anything, one element an item: tuples stay tuples."""
    column = np.empty(len(items), object)
    for i, item in enumerate(items):
        column[i] = item
    return column


def packed(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

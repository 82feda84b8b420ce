"""The rule policy, the null policy and scripted minds of the trust games. All coefficients are placeholders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

import simworld as sw
from simworld.mind import share_argument
from simworld.persona import trait_matrix, trait_z

from .attributes import Levels, levels_of, z_age
from .decisions import (
    Choose,
    ChoosePlainly,
    Estimate,
    EstimateView,
    Expected,
    Forecast,
    ForecastView,
    Guess,
    Rank,
    RankView,
    Return,
    Send,
    SendPlainly,
)
from .effects import Floats, eta_squared
from .games import GAMBLES, archetype_returns, gain

COEFFICIENTS = {
    "agreeableness": 0.35,  # logit of the share sent, a standard deviation of A
    "extraversion": 0.15,
    "neuroticism": -0.20,
    "openness": 0.10,
    "age": 0.10,
    "risk": 0.30,  # ρ_risk, taken off the logit in Trust alone; inert, for c is found with it and makes up for it
    "concentration": 8.0,  # of the Beta distribution of the share sent
    "return_agreeableness": 0.10,  # κ: of the share returned, a standard deviation of A
    "reaction": 0.50,  # η: dollars a unit of r/s − 1 in the repeated game
    "envy": 0.30,  # α of Fehr and Schmidt at average agreeableness
    "envy_agreeableness": -0.10,  # of α, a standard deviation of A
    "guilt": 0.10,  # β of Fehr and Schmidt
    "betrayal": 2.0,  # dollars that a betrayal by a person costs beside its payoff
    "betrayal_neuroticism": 0.50,  # dollars, a standard deviation of N
}
"""Placeholders [design]; signs of the trait effects follow Evans and Revelle (2008, Journal of Research in Personality
42, 1585–1593) and Sharan and Romano (2020, doi:10.1016/j.heliyon.2020.e04572)."""
READ = "AENO"
"""Traits that the rules read, beside age."""
MEAN_SHARE = {"trust": 0.597, "dictator": 0.36}
"""Mean share sent over the bank: 5.97 of 10 in Trust, 3.6 of 10 in Dictator (people; Cox 2004). [reported]"""


def drive(traits: Mapping[str, Floats]) -> Floats:
    """Return the trait part of the logit of the share sent, from columns ``A``, ``E``, ``N``, ``O``, ``age``."""
    c = COEFFICIENTS
    return (
        c["agreeableness"] * traits["A"] + c["extraversion"] * traits["E"] + c["neuroticism"] * traits["N"]
        + c["openness"] * traits["O"] + c["age"] * traits["age"]
    )  # fmt: skip


def traits_of(people: Sequence[Any]) -> dict[str, Floats]:
    """Return the columns that `drive` reads."""
    if any(p is None for p in people):
        return dict.fromkeys((*READ, "age"), np.zeros(len(people)))
    matrix = trait_matrix(list(people), READ)
    columns = {letter: matrix[:, i] for i, letter in enumerate(READ)}
    return {**columns, "age": np.array([z_age(p) for p in people])}


def shape(logit: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the two parameters of the Beta distribution of the share sent, by the logit of its mean."""
    mean = np.clip(special.expit(logit), 1e-6, 1.0 - 1e-6)
    return COEFFICIENTS["concentration"] * mean, COEFFICIENTS["concentration"] * (1.0 - mean)


def moments(logit: npt.ArrayLike, endowment: int) -> tuple[Floats, Floats]:
    """Return exact mean and variance of s = round(E·x), x ~ Beta, dollars and dollars squared.

    E[s] = Σ P(s ≥ k) and E[s²] = Σ (2k − 1)·P(s ≥ k) for k = 1 … E, and s ≥ k where x ≥ (k − ½)/E.
    """
    a, b = shape(logit)
    mean, square = np.zeros(np.shape(a)), np.zeros(np.shape(a))
    for k in range(1, endowment + 1):
        reaches = 1.0 - special.betainc(a, b, (k - 0.5) / endowment)
        mean += reaches
        square += (2 * k - 1) * reaches
    return mean, square - mean**2


class Truth(NamedTuple):
    """What is true of the rule policy over a bank of personas, level by level of an attribute."""

    means: dict[str, float]
    """Expected dollars sent in Trust."""
    sds: dict[str, float]
    """Standard deviation of what is sent, between and within people."""
    eta2: float
    """Share of the variance of what is sent that lies between levels."""


class Bank:
    """The personas of a society, and what the rule policy does with them."""

    def __init__(self, people: Sequence[Any], endowment: int, luck: Callable[[str], np.random.Generator]) -> None:
        """
        Args:
            people: the bank. The constants rest on its means, which shuffling personas among minds leaves alone.
            endowment: E, dollars.
            luck: opens the draws that break ties between levels, by attribute.
        """
        self.people = people
        self.endowment = endowment
        self._luck = luck
        self._drive = drive(traits_of(people))
        self.constant = {game: self._constant(game) for game in MEAN_SHARE}
        """c of the logit, by game: what makes the mean over the bank that of `MEAN_SHARE`."""
        self.mean, self.variance = moments(self._drive + self.offset("trust"), endowment)
        """Of what each persona sends in Trust, shape (n,)."""
        self._truths: dict[str, Truth] = {}

    def offset(self, game: str) -> float:
        """Return the part of the logit that is the same for everybody: c − ρ_risk, whatever ρ_risk is."""
        risk = 0.0 if game == "dictator" else COEFFICIENTS["risk"]
        return self.constant["dictator" if game == "dictator" else "trust"] - risk

    def _constant(self, game: str) -> float:
        risk = 0.0 if game == "dictator" else COEFFICIENTS["risk"]
        wanted = MEAN_SHARE[game] * self.endowment
        # More than 12 from 0 everybody sends all or nothing, whatever the bank.
        return float(
            optimize.brentq(
                lambda c: moments(self._drive + c - risk, self.endowment)[0].mean() - wanted, -12.0, 12.0, xtol=1e-10
            )
        )

    def levels(self, name: str) -> Levels:
        """Return the levels of an attribute among these personas."""
        return levels_of(name, self.people, self._luck(name))

    def truth(self, name: str) -> Truth:
        """Return the true means, spreads and effect size over the levels of an attribute in Trust."""
        if name not in self._truths:
            levels = self.levels(name)
            means, sds = {}, {}
            for i, label in enumerate(levels.labels):
                at = levels.codes == i
                means[label] = float(self.mean[at].mean())
                sds[label] = float(np.sqrt((self.variance[at] + (self.mean[at] - means[label]) ** 2).mean()))
            there = levels.codes >= 0
            between = eta_squared(levels.codes, self.mean, levels.k) * float(self.mean[there].var())
            total = float(self.variance[there].mean() + self.mean[there].var())
            self._truths[name] = Truth(means, sds, float(np.nan_to_num(between / total)))
        return self._truths[name]


def policies(params: Any, bank: Callable[[], Bank]) -> dict[str, Any]:
    """Return the tables of policies.

    Args:
        params: the scenario's parameters.
        bank: makes the bank when it is first needed; policies are asked for before the society is complete.
    """
    c = COEFFICIENTS
    whole = params.study == "consistency"

    @sw.vectorised
    def send(personas: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        u, v = rng.random(), rng.random()
        people = list(personas)
        game, endowment = np.asarray(view.game, object), np.asarray(view.endowment)
        offset = np.array([bank().offset(g) for g in game.tolist()])
        a, b = shape(drive(traits_of(people)) + offset)
        amount = np.floor(endowment * special.betaincinv(a, b, u) + 0.5)
        for i, past in enumerate(view.history):
            if past:
                moved = next_amount(*past[-1], endowment[i])
                # Whole dollars by chance, so that small reactions are not lost to rounding.
                amount[i] = min(np.floor(moved + v[i]), endowment[i]) if whole else moved
        return {"amount": amount}

    @sw.vectorised
    def give_back(personas: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        share = np.clip(0.5 + c["return_agreeableness"] * personas.z("A"), 0.0, 1.0)
        return {"amount_returned": np.asarray(view.received) * share}

    def choose(persona: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        alpha = max(c["envy"] + c["envy_agreeableness"] * trait_z(persona, "A"), 0.0)
        betrayal = max(c["betrayal"] + c["betrayal_neuroticism"] * trait_z(persona, "N"), 0.0)
        trusts = gain(GAMBLES[view.game], view.p, alpha, c["guilt"], betrayal) > 0
        return {"choice": "trust" if trusts else "not"}

    def forecast(persona: Any, view: ForecastView, memory: Any, rng: Any) -> Forecast:
        """The expected first amount, then what the rule of the repeated game makes of it."""
        logit = drive(traits_of([persona])) + bank().offset("repeated_trust")
        amount = float(moments(logit, view.endowment)[0][0])
        path = []
        for r in range(1, view.rounds + 1):
            path.append(Expected(round=r, amount=min(amount, float(view.endowment))))
            back = archetype_returns(view.archetype, view.multiplier * amount)
            amount = next_amount(amount, back, view.endowment)
        return Forecast(rounds=path)

    def believed(view: Any, rng: Any) -> tuple[Truth, dict[str, str]]:
        """What is true, and by level the level whose truth is said of it: its own, or under noise any."""
        names = sorted(view.levels)
        is_noise = rng.random() < params.say_do_noise
        said = rng.shuffled(names) if is_noise else names
        return bank().truth(view.attribute), dict(zip(names, said, strict=True))

    def rank(persona: Any, view: RankView, memory: Any, rng: Any) -> Rank:
        truth, said = believed(view, rng)
        ranking = sorted(view.levels, key=lambda level: (-truth.means[said[level]], level))
        return Rank(attribute=view.attribute, ranking=ranking, effect_size=truth.eta2)

    def estimate(persona: Any, view: EstimateView, memory: Any, rng: Any) -> Estimate:
        truth, said = believed(view, rng)
        return Estimate(
            attribute=view.attribute,
            mean_sd=[
                Guess(level=level, mean=truth.means[said[level]], sd=truth.sds[said[level]]) for level in view.levels
            ],
        )

    def null_send(persona: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        e = view.endowment
        return {"amount": float(rng.integers(0, e + 1)) if whole else rng.uniform(0.0, e)}

    def null_return(persona: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        return {"amount_returned": rng.uniform(0.0, view.received)}

    def null_choose(persona: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        return {"choice": "trust" if rng.random() < 0.5 else "not"}

    def null_forecast(persona: Any, view: ForecastView, memory: Any, rng: Any) -> Forecast:
        e = view.endowment
        return Forecast(
            rounds=[Expected(round=r, amount=float(rng.integers(0, e + 1))) for r in range(1, view.rounds + 1)]
        )

    def null_rank(persona: Any, view: RankView, memory: Any, rng: Any) -> Rank:
        return Rank(attribute=view.attribute, ranking=rng.shuffled(view.levels), effect_size=rng.random())

    def null_estimate(persona: Any, view: EstimateView, memory: Any, rng: Any) -> Estimate:
        """Equal means: half of the endowment, with the spread of a uniform amount."""
        e = view.endowment
        return Estimate(
            attribute=view.attribute,
            mean_sd=[Guess(level=level, mean=e / 2, sd=e / 12**0.5) for level in view.levels],
        )

    def selfish_forecast(persona: Any, view: ForecastView, memory: Any, rng: Any) -> Forecast:
        return Forecast(rounds=[Expected(round=r, amount=0.0) for r in range(1, view.rounds + 1)])

    def selfish_choose(persona: Any, view: Any, memory: Any, rng: Any) -> dict[str, Any]:
        return {"choice": "trust" if gain(GAMBLES[view.game], view.p) > 0 else "not"}

    beliefs = {Rank: rank, Estimate: estimate}
    null = {
        Send: null_send, SendPlainly: null_send, Return: null_return, Choose: null_choose, ChoosePlainly: null_choose,
        Forecast: null_forecast, Rank: null_rank, Estimate: null_estimate,
    }  # fmt: skip
    selfish = {
        Send: fixed("amount", lambda view: 0.0), SendPlainly: fixed("amount", lambda view: 0.0),
        Return: fixed("amount_returned", lambda view: 0.0), Choose: selfish_choose, ChoosePlainly: selfish_choose,
        Forecast: selfish_forecast, Rank: null_rank, Estimate: null_estimate,
    }  # fmt: skip
    return {
        "rules": {
            Send: send, SendPlainly: send, Return: give_back, Choose: choose, ChoosePlainly: choose,
            Forecast: forecast, **beliefs,
        },
        "null": null,
        "selfish": selfish,
        "always": lambda text: always(text, whole, null),
    }  # fmt: skip


def next_amount(sent: float, returned: float, endowment: float) -> float:
    """Return the amount of the next round, clip(s + η·(r/s − 1), 0, E) dollars; unchanged after nothing was sent."""
    if sent <= 0:
        return sent
    return float(min(max(sent + COEFFICIENTS["reaction"] * (returned / sent - 1.0), 0.0), endowment))


def fixed(field: str, value: Callable[[Any], Any]) -> Callable[..., dict[str, Any]]:
    """Return the policy that fills one field by what it sees."""
    return lambda persona, view, memory, rng: {field: value(view)}


def always(text: str, whole: bool, others: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the mind ``always(x)``: sends and returns the share x of what it has, and trusts where x is above 0."""
    share = share_argument("always", text)

    def amount(view: Any) -> float:
        exact = share * view.endowment
        return float(int(exact + 0.5)) if whole else exact

    def forecast(persona: Any, view: ForecastView, memory: Any, rng: Any) -> Forecast:
        return Forecast(rounds=[Expected(round=r, amount=amount(view)) for r in range(1, view.rounds + 1)])

    choice = fixed("choice", lambda view: "trust" if share > 0 else "not")
    return {
        **others, Send: fixed("amount", amount), SendPlainly: fixed("amount", amount), Choose: choice,
        ChoosePlainly: choice, Return: fixed("amount_returned", lambda view: share * view.received),
        Forecast: forecast,
    }  # fmt: skip

"""The rule policy, the null policy and the scripted minds of the donor game. Coefficients are placeholders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import simworld as sw
from simworld.mind import share_argument
from simworld.persona import trait_z

from .decisions import Move, MoveView, Strategy, StrategyView, Vector
from .schedule import read_moves

COEFFICIENTS = {
    "agreeableness_g0": 0.4,  # logit of the share given to a stranger, a standard deviation of A
    "honesty_g0": 0.3,  # the same, a standard deviation of H
    "neuroticism_alpha": 0.1,  # weight of the recipient's last share, a standard deviation of N
    "phi": 0.02,  # share given on top
    "agreeableness_phi": 0.02,  # the same, a standard deviation of A
}
"""Placeholders [design]. That agreeableness and honesty-humility raise giving follows the meta-analysis of Thielmann,
Spadaro, Balliet (2020), doi:10.1037/bul0000217; no size is from a source."""


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def clipped(x: float, high: float = 1.0) -> float:
    return min(max(x, 0.0), high)


def share_given(vector: Vector, shares: list[float | None], depth: int) -> float:
    """Return the share that a strategy gives: clip(g0·(1 − α − β) + α·y1 + β·ȳ + φ, 0, cap).

    y1 is the recipient's last share (image scoring: Nowak, Sigmund 1998, doi:10.1038/31225), ȳ the mean of the deeper
    entries of the trace (a form of standing: Leimar, Hammerstein 2001, doi:10.1098/rspb.2000.1573).

    Args:
        vector: the strategy.
        shares: the trace, latest first, None for an entry that is no share.
        depth: entries that a trace can have; those that are missing count as g0.
    """
    v = vector
    known = [v.g0 if share is None else share for share in shares[:depth]]
    known += [v.g0] * (depth - len(known))
    deeper = math.fsum(known[1:]) / (depth - 1) if depth > 1 else v.g0
    return clipped(v.g0 * (1 - v.alpha - v.beta) + v.alpha * known[0] + v.beta * deeper + v.phi, v.cap)


def sentence(vector: Vector, punishment: bool) -> str:
    """Return a strategy in words, so that a language model can take it over from a rule."""
    v = vector
    base = clipped(v.g0 + v.phi, v.cap)
    if v.alpha == v.beta == 0:
        words = f"Give {base:.0%} of what I hold, whoever the recipient is."
    else:
        words = (
            f"Give {base:.0%} of what I hold to somebody I know nothing of; of somebody I know, count what they last "
            f"gave with a weight of {v.alpha:.0%} and what was given before that with {v.beta:.0%}, so that who gave "
            "more gets more"
        )
        words += f", but never above {v.cap:.0%}." if v.cap < 1 else "."
    if punishment:
        words += f" Spend {v.kappa:.0%} to punish who last gave less than {v.tau:.0%}."
    return words


def policies(params: Any) -> dict[str, Any]:
    """Return the minds of the scenario under these parameters, by label."""
    c, p = COEFFICIENTS, params

    def words(vector: Vector) -> str:
        return sentence(vector, p.punishment)

    def strategy(persona: Any, view: StrategyView, memory: Any, rng: Any) -> Strategy:
        """In the first generation from traits; later copied with probability proportional to score, and mutated."""
        if not view.survivors:
            a, h, n = ((0.0,) * 3) if persona is None else (trait_z(persona, letter) for letter in "AHN")
            alpha = clipped(p.alpha + c["neuroticism_alpha"] * n)
            vector = Vector(
                g0=sigmoid(c["agreeableness_g0"] * a + c["honesty_g0"] * h), alpha=alpha, beta=min(p.beta, 1 - alpha),
                phi=max(0.0, c["phi"] + c["agreeableness_phi"] * a),
            )  # fmt: skip
            return Strategy(strategy_text=words(vector), params=vector)
        scores = [one.score for one in view.survivors]
        weights = [1.0 if score is None else score for score in scores]
        # Where all that is left is nothing, everybody did equally badly.
        parent = rng.choice(view.survivors, weights if math.fsum(weights) > 0 else [1.0] * len(weights))
        g0 = clipped(parent.vector.g0 + rng.normal(p.mu_mut, p.sigma_mut))
        vector = parent.vector.model_copy(update={"g0": g0})
        return Strategy(strategy_text=words(vector), params=vector, copied_from=parent.agent)

    def move(persona: Any, view: MoveView, memory: Any, rng: Any) -> Move:
        v = view.vector
        last = view.trace[0].share if view.trace else None
        if p.punishment and last is not None and last < v.tau:
            return Move(action="punish", amount=v.kappa * view.resources)
        share = share_given(v, [act.share for act in view.trace], p.trace_depth)
        return Move(amount=share * view.resources)

    actions = ("donate", *(("punish",) if p.punishment else ()), *(("refuse",) if p.partner_choice else ()))

    def null_move(persona: Any, view: MoveView, memory: Any, rng: Any) -> Move:
        """An action of those there are, an amount from 0 to all, both uniform."""
        action = rng.choice(actions)
        amount = rng.random() * view.resources
        return Move(action=action, amount=0.0 if action == "refuse" else amount)

    def null_strategy(persona: Any, view: StrategyView, memory: Any, rng: Any) -> Strategy:
        parent = rng.choice(view.survivors) if view.survivors else None
        return Strategy(strategy_text="Do anything.", copied_from=None if parent is None else parent.agent)

    def constant(text: str) -> Mapping[type[sw.Decision], Callable[..., Any]]:
        """Give always the same share."""
        share = share_argument("always", text)
        vector = Vector(g0=share, alpha=0.0, beta=0.0, phi=0.0)
        return _scripted(words(vector), vector, lambda view: Move(amount=share * view.resources))

    def copy(text: str) -> Mapping[type[sw.Decision], Callable[..., Any]]:
        """Give the share that the recipient last gave; this share where that is not known."""
        first = share_argument("copy", text)

        def copied(view: MoveView) -> Move:
            last = view.trace[0].share if view.trace else None
            return Move(amount=(first if last is None else last) * view.resources)

        vector = Vector(g0=first, alpha=1.0, beta=0.0, phi=0.0)
        told = f"Give the share that the recipient last gave, and {first:.0%} where I do not know it."
        return _scripted(told, vector, copied)

    def table(view: MoveView) -> Move | sw.Refusal:
        where = (view.generation, view.game, view.round, view.slot)
        entry = read_moves(p.moves, p.n_agents, p.rounds, p.generations).get(where)
        if entry is None:
            place = "generation {}, game {}, round {}, slot {}".format(*where)
            return sw.Refusal(decision="Move", field="", reason=f"no move for {place} in the table")
        return Move(action=entry.action, amount=entry.share * view.resources)

    return {
        "rules": {Strategy: strategy, Move: move},
        "null": {Strategy: null_strategy, Move: null_move},
        "always": constant,
        "copy": copy,
        "table": _scripted("Follow a table of moves.", None, table),
    }


def _scripted(
    text: str, vector: Vector | None, decide: Callable[[MoveView], Move | sw.Refusal]
) -> dict[type[sw.Decision], Callable[..., Any]]:
    """Return the policies of a mind that never learns."""
    return {
        Strategy: lambda persona, view, memory, rng: Strategy(strategy_text=text, params=vector),
        Move: lambda persona, view, memory, rng: decide(view),
    }

"""Observer of this scenario alone: who helps whom, what images are worth, and whether discriminating pays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simworld.observe import Finding, cooperation_rate, null_of, reputation_accuracy, shuffle_test

from . import theory

NAN = float("nan")


class Reputation:
    """Are those helped who help, does an image tell who will, and does it pay to go by it?"""

    name = "reputation"

    def observe(self, society: Any) -> Mapping[str, float]:
        fits = reputation_accuracy(*self._foretold(society))
        good, bad = self._gave(society)
        return {
            "donations": cooperation_rate(society.column("cooperated"), society.column("moves")),
            "good": float(society.column("image").mean()),
            "accuracy": fits["share"],
            "accuracy_r": fits["correlation"],
            "discrimination": good - bad,
            "advantage": self._advantage(society, society.column("strategy")),
        }

    def conclude(self, society: Any) -> Sequence[Finding]:
        seen = self.observe(society)
        moves = int(society.column("moves").sum())
        expected = self._expected(society)
        numbers = np.bincount(society.column("strategy"), minlength=3)
        rate = float(np.dot(expected.gives, numbers)) / society.n_agents if expected else NAN
        return [
            Finding(
                observer=self.name, metric="donations", value=seen["donations"], n=moves, closed_form=rate,
                null_mean=0.5, null_sd=0.5 / math.sqrt(moves) if moves else NAN, gap=seen["donations"] - 0.5,
                null="a coin; exact", note="closed form: expectation of the three strategies",
            ),
            self._discrimination(society, seen["discrimination"]),
            self._accuracy(society),
            self._paying(society, expected),
        ]  # fmt: skip

    def _foretold(self, society: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the images before the last round and who then gave; nobody's where images told of no act yet."""
        there = slice(None) if society.rounds > 1 else slice(0)
        return society.column("was_good")[there], society.column("gave")[there]

    def _gave(self, society: Any) -> tuple[float, float]:
        g = society.globals
        return (
            g.gave_good / g.met_good if g.met_good else NAN,
            g.gave_bad / g.met_bad if g.met_bad else NAN,
        )

    def _advantage(self, society: Any, strategy: np.ndarray) -> float:
        """Return points a round that a discriminator has more than a defector, in this generation."""
        gained, rounds = society.column("gained"), society.rounds
        defects, discriminates = strategy == 1, strategy == 2
        if not rounds or not defects.any() or not discriminates.any():
            return NAN
        return float(gained[discriminates].mean() - gained[defects].mean()) / rounds

    def _expected(self, society: Any) -> theory.Expected | None:
        """Return the expectations where they hold: strategies that stay, and nobody who decides otherwise."""
        p = society.params
        if p.generation or not society.t or set(society.mind_labels) != {"rules"}:
            return None
        numbers = tuple(np.bincount(society.column("strategy"), minlength=3).tolist())
        return theory.expected(numbers, society.t, known=p.known, noise=p.noise, benefit=p.benefit, cost=p.cost)

    def _discrimination(self, society: Any, value: float) -> Finding:
        g = society.globals
        met = g.met_good + g.met_bad
        p = (g.gave_good + g.gave_bad) / met if met else NAN
        sd = math.sqrt(p * (1 - p) * (1 / g.met_good + 1 / g.met_bad)) if g.met_good and g.met_bad else NAN
        return Finding(
            observer=self.name, metric="discrimination", value=value, null_mean=0.0, null_sd=sd, gap=value, n=met,
            null="help that does not depend on the image", note="share helped of the good less that of the bad",
        )  # fmt: skip

    def _accuracy(self, society: Any) -> Finding:
        image, gave = self._foretold(society)
        null = null_of(NAN, ())
        if len(image):
            rng = society.stream("observe", self.name)
            null = shuffle_test(lambda x: (x == gave[:, None]).mean(axis=0), image, rng, vectorised=True)
        return Finding(
            observer=self.name, metric="accuracy", value=null.value, null_mean=null.mean, null_sd=null.sd,
            gap=null.gap, p_value=null.p_value, n=len(image), null="images permuted over the agents",
            note="share of images that told what their owners did next, in the last round",
        )  # fmt: skip

    def _paying(self, society: Any, expected: theory.Expected | None) -> Finding:
        strategy = society.column("strategy")
        null = shuffle_test(
            lambda order: self._advantage(society, order), strategy, society.stream("observe", self.name, "strategies")
        )
        return Finding(
            observer=self.name, metric="advantage", value=null.value, null_mean=null.mean, null_sd=null.sd,
            gap=null.gap, p_value=null.p_value, n=int((strategy > 0).sum()), null="strategies permuted over the agents",
            closed_form=expected.payoff[2] - expected.payoff[1] if expected else NAN,
            note="points a round, discriminators less defectors",
        )  # fmt: skip

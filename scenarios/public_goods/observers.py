"""Observer of this scenario alone: what is contributed, what it is worth, and who is punished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from simworld.observe import Finding, cooperation_rate, efficiency, trait_association

from . import theory
from .decisions import MOST_POINTS

NAN = float("nan")


class Contributions:
    """Do players contribute, does it pay, and whom do they punish?"""

    name = "contributions"

    def observe(self, society: Any) -> Mapping[str, float]:
        column, e = society.column, society.params.endowment
        played = column("moves") > 0
        found = {
            "last_share": float((column("contributed")[played] / e).mean()) if played.any() else NAN,
            "share": cooperation_rate(column("cooperated"), column("moves")),
            "efficiency": self._efficiency(society),
        }
        if society.params.punishment:
            judged, punished = (float(column(name).sum()) for name in ("judged", "punished"))
            found["punishment"] = punished / judged if judged else NAN
            found["antisocial"] = float(column("punished_generous").sum()) / punished if punished else NAN
        return found

    def conclude(self, society: Any) -> Sequence[Finding]:
        p, seen = society.params, self.observe(society)
        moves = int(society.column("moves").sum())
        nash = NAN if p.factor == p.group_size else theory.best_reply(p.group_size, p.endowment, p.factor) / p.endowment
        best = theory.optimum(p.endowment, p.factor) / p.endowment
        chance = {"null_mean": 0.5, "null_sd": 1 / math.sqrt(12 * moves) if moves else NAN, "gap": seen["share"] - 0.5}
        found = [
            Finding(
                observer=self.name, metric="share", value=seen["share"], n=moves, closed_form=nash, **chance,
                null="every contribution uniform from nothing to all; exact",
                note=f"closed form: own best reply; the optimum of the group is {best:g}",
            ),
            Finding(
                observer=self.name, metric="efficiency", value=seen["efficiency"], n=moves,
                note="0: nothing contributed, 1: everything; points and fines are taken off",
            ),
            self._conditional(society),
        ]  # fmt: skip
        return [*found, *self._punishment(society, seen)] if p.punishment else found

    def _efficiency(self, society: Any) -> float:
        p = society.params
        stake = p.endowment * float(society.column("moves").sum())
        worst, best = sorted((stake, p.factor * stake))
        return efficiency(float(society.column("payoff").sum()), worst, best)

    def _conditional(self, society: Any) -> Finding:
        """Return the rank correlation of the last contribution with what the others had given before it."""
        again = society.column("moves") > 1
        before, given = society.column("seen")[again], society.column("contributed")[again]
        null = trait_association(before, given, society.stream("observe", self.name))
        return Finding(
            observer=self.name, metric="conditional", value=null.value, null_mean=null.mean, null_sd=null.sd,
            gap=null.gap, p_value=null.p_value, n=len(given),
            null="what others gave before permuted over the players",
            note="Spearman's correlation; partners are alike for other reasons too, strangers are not",
        )  # fmt: skip

    def _punishment(self, society: Any, seen: Mapping[str, float]) -> list[Finding]:
        judged, generous, punished = (
            int(society.column(name).sum()) for name in ("judged", "judged_generous", "punished")
        )
        often = MOST_POINTS / (MOST_POINTS + 1)
        # Punished members are then a sample without replacement of those that could be: hypergeometric.
        blind = generous / judged if judged else NAN
        spread = math.sqrt(blind * (1 - blind) / punished * (judged - punished) / (judged - 1)) if punished else NAN
        return [
            Finding(
                observer=self.name, metric="punishment", value=seen["punishment"], n=judged, null_mean=often,
                null_sd=math.sqrt(often * (1 - often) / judged) if judged else NAN, gap=seen["punishment"] - often,
                null=f"points uniform from 0 to {MOST_POINTS}; exact",
            ),
            Finding(
                observer=self.name, metric="antisocial", value=seen["antisocial"], n=punished, null_mean=blind,
                null_sd=spread, gap=seen["antisocial"] - blind, null="the same number punished, blindly; exact",
                note="of members who had given at least as much (Herrmann et al. 2008, doi:10.1126/science.1153808)",
            ),
        ]  # fmt: skip

"""A campaign with what several parts of its page need."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import polars as pl

from simworld.errors import ScenarioError
from simworld.observe import meaning
from simworld.scenario import ScenarioCard, describe, resolve
from simworld.sweep import CampaignResults, summary
from simworld.view._text import clean

POINTS_SHOWN = 60
"""Points of a design, and rows of a figure, that are shown; arbitrary, two screens."""

DISTINCT = 15
"""Values of a factor above which runs are taken together in parts of its range; arbitrary."""

SAMPLED = ("latin_hypercube", "random", "sobol", "morris")
"""Designs whose points are a sample and no grid."""

_IS_NULL = pl.col("mind").eq_missing(pl.lit("null"))


class Subject:
    """What a report is about."""

    def __init__(self, found: CampaignResults) -> None:
        self.found = found
        self.campaign = found.campaign
        self.kind = found.campaign.design.kind
        self.results = found.results
        self.analysis: dict[str, Any] = summary(found)
        """Every analysis that fits the design, of the outcome."""
        self.outcome = str(self.analysis["measure"])
        """The measure that is looked at first; empty when nothing was measured."""
        self.levels = {name: self.results[name].n_unique() for name in found.factors if name in self.results.columns}
        """How many values each factor has among the runs that are there."""
        self.varied = [name for name, n in self.levels.items() if n > 1] if self.kind != "variance" else []
        """Factors with two values or more."""
        is_mind = "mind" in self.varied and self.results.schema["mind"] == pl.String
        self.has_null = is_mind and "null" in self.results["mind"].to_list()
        """Whether the null policy is one of the minds, and stands beside the others."""

    @property
    def is_sampled(self) -> bool:
        """Whether points are a sample and no grid."""
        return self.kind in SAMPLED

    @cached_property
    def card(self) -> ScenarioCard | None:
        """The scenario as its files describe it now; None when they are gone."""
        try:
            return describe(resolve(self.campaign.scenario))
        except ScenarioError:
            return None

    @cached_property
    def independent(self) -> pl.DataFrame:
        """The runs at points that are independent draws.

        Of Saltelli's scheme these are the first and the last of each block; those between repeat their coordinates.
        """
        if self.kind != "sobol":
            return self.results
        block = len(self.campaign.factors) * (2 if self.campaign.design.second_order else 1) + 2
        return self.results.filter((pl.col("point") % block).is_in([0, block - 1]))

    def parted(self, runs: pl.DataFrame, *names: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the runs that are looked at, and those of the null policy beside them.

        Args:
            runs: runs with the column ``mind``, if that is a factor.
            names: factors of the figure: where ``mind`` is one, the null policy is one of its values and not beside.
        """
        if not self.has_null or "mind" in names:
            return runs, runs.clear()
        return runs.filter(~_IS_NULL), runs.filter(_IS_NULL)

    def is_many(self, runs: pl.DataFrame, factor: str) -> bool:
        """Whether a factor has so many numbers that runs are taken together."""
        return runs.schema[factor].is_numeric() and runs[factor].n_unique() > DISTINCT

    def title_of(self, factor: str) -> str:
        """Return a factor's name with its unit."""
        params = (self.card.params or ()) if self.card is not None else ()
        unit = next((param.unit for param in params if param.name == factor), "")
        return f"{factor} ({unit})" if unit else factor


def what_is(measure: str) -> str:
    """Return what a measure means, in a sentence; empty where nobody said."""
    observer, _, metric = measure.partition(":")[0].rpartition(".")
    return clean(meaning(observer, metric)) if observer else ""

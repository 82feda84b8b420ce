"""Observers of this scenario alone: the generalised paradox over its posts, and the rare-contact analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simworld.observe import Finding, friendship_paradox, out_degrees, paradox_nulls, rare_contacts

SHUFFLE = "{what} shuffled over the agents, the graph kept"
THETA_MAX = 4


def measures(world: Any) -> dict[str, np.ndarray]:
    """Activity and influence of every agent (Momeni and Rabbat 2016); every post here is original, a share makes no new one."""
    posts, n = world.tables["posts"], world.table.n
    author, shares = posts["author"], posts["virality"]
    count = np.bincount(author, minlength=n).astype(float)
    received = np.bincount(author, weights=shares, minlength=n)
    cascades = np.bincount(author, weights=shares > 0, minlength=n)
    per_post = np.maximum(count, 1)
    return {
        "posts": count,
        "interactions_received": world.table["received"].astype(float),
        "shares_received": received,
        "cascades": cascades,
        "shares_per_post": received / per_post,
        "posts_shared": cascades / per_post,
    }


class GeneralisedParadox:
    """Are most agents less active, and less influential, than those they follow?"""

    name = "generalised_paradox"

    def observe(self, society: Any) -> Mapping[str, float]:
        arcs = society.adjacency()
        found = {}
        for name, x in measures(society).items():
            for form in ("weak", "strong"):
                found[f"{form}_{name}"] = friendship_paradox(arcs, x, "out", form)
        return found

    def conclude(self, society: Any) -> Sequence[Finding]:
        arcs = society.adjacency()
        rng = society.stream("observe", self.name)
        nulls = paradox_nulls(arcs, rng, measures(society), neighbourhoods=("out",))
        counted = int((out_degrees(arcs) > 0).sum())
        return [
            Finding(
                observer=self.name, metric=key.removesuffix("_out"), value=null.value, null_mean=null.mean,
                null_sd=null.sd, gap=null.gap, p_value=null.p_value, n=arcs.nnz if "hierarchy" in key else counted,
                null=SHUFFLE.format(what=key.partition("_")[2].removesuffix("_out")),
            )
            for key, null in nulls.items()
        ]  # fmt: skip


class RareContacts:
    """Do rarely met friends carry the paradox? FP on arcs with at least, and at most, θ interactions."""

    name = "rare_contacts"

    def observe(self, society: Any) -> Mapping[str, float]:
        table = self._table(society)
        return {
            f"weak_at_{way}_{theta}": float(table[f"weak_at_{way}"][theta])
            for way in ("least", "most")
            for theta in (1, 2)
        }

    def conclude(self, society: Any) -> Sequence[Finding]:
        arcs = society.adjacency()
        table = self._table(society)
        shuffled = [rare_contacts(arcs, w, THETA_MAX) for w in self._shuffles(society, 50)]
        findings = []
        for column in ("weak_at_least", "strong_at_least", "weak_at_most", "strong_at_most", "target_in_degree"):
            for theta in range(THETA_MAX + 1):
                draws = np.array([one[column][theta] for one in shuffled])
                draws = draws[np.isfinite(draws)]
                value = float(table[column][theta])
                null_mean, null_sd = (float(draws.mean()), float(draws.std())) if len(draws) else (np.nan, np.nan)
                findings.append(Finding(
                    observer=self.name, metric=f"{column}_{theta}", value=value, null_mean=null_mean, null_sd=null_sd,
                    gap=value - null_mean, n=int(table["arcs"][theta]),
                    null="interaction counts shuffled over the arcs, 50 times",
                    note="n is the number of arcs with this many interactions (the last: or more)",
                ))  # fmt: skip
        return findings

    def _interactions(self, society: Any) -> Any:
        return sum((society.adjacency(kind) for kind in society.tie_kinds[1:]), start=0 * society.adjacency())

    def _table(self, society: Any) -> dict[str, Any]:
        return rare_contacts(society.adjacency(), self._interactions(society), THETA_MAX)

    def _shuffles(self, society: Any, times: int) -> Any:
        arcs = society.adjacency()
        rows = np.repeat(np.arange(arcs.shape[0]), np.diff(arcs.indptr))
        weights = np.asarray(self._interactions(society)[rows, arcs.indices]).ravel() if arcs.nnz else np.zeros(0)
        rng = society.stream("observe", self.name)
        for _ in range(times):
            shuffled = arcs.copy()
            shuffled.data = rng.permutation(weights).astype(float)
            yield shuffled

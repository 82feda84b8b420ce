"""Observers of this scenario alone: the generalised paradox over its posts, and the rare-contact analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simworld.observe import (
    Finding,
    degree_means,
    friendship_paradox,
    null_of,
    out_degrees,
    paradox_nulls,
    rare_contacts,
)

SHUFFLE = "{what} shuffled over the agents, the graph kept"
THETA_MAX = 4
SHUFFLES = 50
"""Of the interaction counts over the arcs; arbitrary, enough for a mean and a standard deviation."""


def measures(world: Any) -> dict[str, np.ndarray]:
    """Activity and influence of every agent, shape (n,) each.

    Every post is original: a share makes no new one. A post that was shared started a cascade. Agents without posts
    have 0 shares per post. Source: Momeni and Rabbat 2016, doi:10.1371/journal.pone.0143633.
    """
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
        weights = self._weights(society)
        table = self._table(society)
        shuffled = [rare_contacts(arcs, w, THETA_MAX) for w in self._shuffles(society, weights)]
        findings = []
        for column in ("weak_at_least", "strong_at_least", "weak_at_most", "strong_at_most", "target_in_degree"):
            for theta in range(1 if "least" in column else 0, THETA_MAX + 1):
                null = null_of(float(table[column][theta]), [one[column][theta] for one in shuffled])
                kept = weights <= theta if "most" in column else weights >= theta
                if column == "target_in_degree" and theta < THETA_MAX:
                    kept = weights == theta
                findings.append(Finding(
                    observer=self.name, metric=f"{column}_{theta}", value=null.value, null_mean=null.mean,
                    null_sd=null.sd, gap=null.gap, p_value=null.p_value, n=int(kept.sum()),
                    null=f"interaction counts shuffled over the arcs, {SHUFFLES} times", note="n counts arcs",
                ))  # fmt: skip
        return findings

    def _table(self, society: Any) -> dict[str, Any]:
        return rare_contacts(society.adjacency(), self._interactions(society), THETA_MAX)

    def _interactions(self, society: Any) -> Any:
        return sum((society.adjacency(kind) for kind in society.tie_kinds[1:]), start=0 * society.adjacency())

    def _weights(self, society: Any) -> np.ndarray:
        """Interactions of every arc, shape (arcs,)."""
        arcs = society.adjacency()
        if not arcs.nnz:
            return np.zeros(0)
        rows = np.repeat(np.arange(arcs.shape[0]), np.diff(arcs.indptr))
        return np.asarray(self._interactions(society)[rows, arcs.indices], np.float64).ravel()

    def _shuffles(self, society: Any, weights: np.ndarray) -> Any:
        rng = society.stream("observe", self.name)
        for _ in range(SHUFFLES):
            shuffled = society.adjacency().copy()
            shuffled.data = rng.permutation(weights)
            yield shuffled


class NetworkMeans:
    """Of the follow graph without directions: the mean degree at the end of a tie, and of an agent's neighbours."""

    name = "network_means"

    def observe(self, society: Any) -> Mapping[str, float]:
        means = degree_means(society.adjacency())
        return {name: means[name] for name in ("mean_degree", "edge_mean", "node_mean")}

    def conclude(self, society: Any) -> Sequence[Finding]:
        means = degree_means(society.adjacency())
        k, spread, covariance = means["mean_degree"], means["variance_degree"], means["covariance"]
        arcs = society.adjacency()
        tied = int((np.diff(arcs.indptr) + np.bincount(arcs.indices, minlength=arcs.shape[0]) > 0).sum())
        expected = {"edge_mean": k + spread / k, "node_mean": means["edge_mean"] - covariance / k}
        return [
            Finding(observer=self.name, metric=name, value=means[name], closed_form=value, n=tied)
            for name, value in expected.items()
        ]

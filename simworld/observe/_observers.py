"""The observers that run on any scenario by name, and what each of their metrics means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import ObserverError, ParameterError, UsageError, did_you_mean
from simworld.observe._actions import action_rates
from simworld.observe._cooperation import (
    centred_ranks,
    cooperation_rate,
    end_correlation,
    rank_correlation,
    rate_by,
    tie_shares,
    trait_correlation,
    welfare,
)
from simworld.observe._graph import Adjacency, Floats, adjacency, ones, projection
from simworld.observe._network import (
    LARGEST_PARTITIONED,
    assortativity,
    centralisation,
    clustering_summary,
    communities,
    components,
    degree_summary,
    density,
    modularity,
    reciprocity,
)
from simworld.observe._nulls import PERMUTATIONS, Null, null_of, paradox_nulls, shuffle_tests
from simworld.observe._paradox import arc_averages, degree_attributes, degree_means, hierarchy, paradox_columns
from simworld.observe._society import Finding, Observer, Society
from simworld.persona import TRAIT_LETTERS

LARGEST_PARTITIONED_EACH_STEP = 1_000
"""Agents above which modularity waits for the end of the run: Louvain takes 0.3 s there (20,000 arcs, 2 cores)."""

LARGEST_RANKED_EACH_STEP = 1_000
"""Agents above which effects of personas wait for the end of the run: ranks of 100,000 take 0.3 s a step (2 cores)."""

THIRDS = ("low", "middle", "high")
"""Agents by a trait: the third with the lowest ranks, the middle one, the highest."""

SHUFFLE = "{what} permuted over the nodes, graph kept"
SHUFFLED_PERSONAS = "personas permuted over the agents, behaviour kept"
SHUFFLED_ARCS = 200_000_000
"""Arcs × permutations the shuffle null may cost: 10 s at 100,000 agents, 30 s at 1,000,000 (2 cores)."""

FEWEST_PERMUTATIONS = 50
"""However large the graph; arbitrary, enough for a mean and a standard deviation."""

RANDOM_GRAPH = "expectation in a random graph of the same density (Erdős–Rényi); closed form, no draws"
WEAK = "; above one half is nearly automatic in the weak form; compare with the null policy"
NAN = float("nan")


@dataclass(frozen=True)
class Degrees:
    """How ties are shared out."""

    name: str = "degrees"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return mean, largest, variance and Gini index of the degrees."""
        summary = degree_summary(society.adjacency())
        if society.directed:
            return summary
        return {key.removesuffix("_in"): value for key, value in summary.items() if not key.endswith("_out")}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: degrees have no null of their own."""
        return ()


@dataclass(frozen=True)
class Density:
    """How many of the possible ties there are."""

    name: str = "density"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the density."""
        return {"density": density(society.adjacency())}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: the density is what the other nulls condition on."""
        return ()


@dataclass(frozen=True)
class Reciprocity:
    """How many follows are returned."""

    name: str = "reciprocity"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the reciprocity."""
        return {"reciprocity": reciprocity(society.adjacency())}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return it beside its expectation in a random graph; nothing for undirected ties, where it is 1."""
        if not society.directed:
            return ()
        a = adjacency(society.adjacency())
        return (
            Finding(
                observer=self.name,
                metric="reciprocity",
                value=reciprocity(a),
                null=RANDOM_GRAPH,
                n=int(a.nnz),
                closed_form=density(a) if a.nnz else NAN,
            ),
        )


@dataclass(frozen=True)
class Clustering:
    """Whether friends of friends are friends."""

    name: str = "clustering"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return transitivity and average local clustering of the undirected projection."""
        return clustering_summary(society.adjacency())

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return both beside their expectation in a random graph, the density of the projection."""
        both = projection(society.adjacency())
        expected = density(both) if both.nnz else NAN
        return tuple(
            Finding(
                observer=self.name,
                metric=metric,
                value=value,
                null=RANDOM_GRAPH,
                n=both.shape[0],
                closed_form=expected,
                note="of the undirected projection" if society.directed else "",
            )
            for metric, value in clustering_summary(both).items()
        )


@dataclass(frozen=True)
class Assortativity:
    """Whether the well-connected tie with the well-connected."""

    name: str = "assortativity"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the degree correlations over ties."""
        a = society.adjacency()
        if not society.directed:
            return {"degree": assortativity(a)}
        return {
            "out_in": assortativity(a, "out", "in"),
            "out_out": assortativity(a, "out", "out"),
            "in_in": assortativity(a, "in", "in"),
            "in_out": assortativity(a, "in", "out"),
        }

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: it is a correlation, so its own distance from 0."""
        return ()


@dataclass(frozen=True)
class Components:
    """Whether the society hangs together."""

    name: str = "components"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return numbers of components and the share of agents in the largest."""
        found = components(society.adjacency())
        if society.directed:
            return found
        return {"number": found["weak"], "largest": found["largest_weak"]}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: components have no null of their own."""
        return ()


@dataclass(frozen=True)
class Modularity:
    """Whether the society falls into groups."""

    name: str = "modularity"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return modularity and number of Louvain's groups; NaN above 1,000 agents, where it waits for the end."""
        value, groups = self._measure(society, LARGEST_PARTITIONED_EACH_STEP)
        return {"modularity": value, "groups": groups}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return modularity and number of groups; NaN above 10,000 agents, where Louvain takes too long."""
        if society.n_agents > LARGEST_PARTITIONED:
            note = f"not computed above {LARGEST_PARTITIONED} agents"
        else:
            note = "Louvain; random graphs score high too (Guimerà et al. 2004, doi:10.1103/PhysRevE.70.025101)"
        measured = zip(("modularity", "groups"), self._measure(society, LARGEST_PARTITIONED), strict=True)
        return tuple(
            Finding(observer=self.name, metric=metric, value=value, n=society.n_agents, note=note)
            for metric, value in measured
        )

    def _measure(self, society: Society, largest: int) -> tuple[float, float]:
        a = society.adjacency()
        # The same seed at every step: a change of the partition is then a change of the graph.
        seed = int(society.stream("observe", self.name).integers(2**31))
        label = communities(a, seed, largest)
        return (NAN, NAN) if label is None else (modularity(a, label), float(label.max() + 1))


@dataclass(frozen=True)
class Centralisation:
    """Whether ties gather on one agent."""

    name: str = "centralisation"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return Freeman's centralisation of the degrees."""
        a = society.adjacency()
        found = {"degree": centralisation(a, "degree")}
        return found | {"in_degree": centralisation(a, "in")} if society.directed else found

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: it is relative to a star already."""
        return ()


@dataclass(frozen=True)
class FriendshipParadox:
    """Whether most have less than their friends, of degrees and of any column of the state table."""

    attributes: tuple[str, ...] = ()
    """Columns for the generalised paradox, beside the degrees."""
    permutations: int = PERMUTATIONS
    """Shuffles of the null."""
    name: str = "friendship_paradox"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the paradoxes and, of directed ties, the hierarchy."""
        a = society.adjacency()
        columns = self._columns(society)
        if not society.directed:
            means = degree_means(a)
            names, shares = paradox_columns(a, columns, ("out",))
            found = {_undirected(name): value for name, value in zip(names, shares, strict=True)}
            return found | {"edge_mean": means["edge_mean"], "node_mean": means["node_mean"]}
        found = dict(zip(*paradox_columns(a, columns), strict=True))
        found["hierarchy"] = hierarchy(a)
        for name in self.attributes:
            found[f"hierarchy_{name}"] = hierarchy(a, columns[name])
        return found | {"target_in": arc_averages(a)["target_in"]}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return every paradox and hierarchy against the shuffle null.

        Above 1,000,000 arcs it makes do with fewer permutations; the note of a finding says how many.
        """
        a = adjacency(society.adjacency())
        sides = ("out", "in") if society.directed else ("out",)
        rng = society.stream("observe", self.name)
        columns = self._columns(society)
        nulls = paradox_nulls(a, rng, columns, affordable(self.permutations, int(a.nnz)), neighbourhoods=sides)
        n_out, n_in = (int(np.count_nonzero(k)) for k in (np.diff(a.indptr), np.bincount(a.indices)))
        findings = []
        for key, null in nulls.items():
            form, _, rest = key.partition("_")
            if form == "hierarchy":
                # The uphill share of undirected ties says only how many are level.
                if not society.directed or rest == "out":
                    continue
                metric = "hierarchy" if rest == "in" else key
                findings.append(self._finding(metric, rest, null, int(a.nnz)))
                continue
            attribute, _, side = rest.rpartition("_")
            metric = key if society.directed else _undirected(key)
            findings.append(self._finding(metric, attribute, null, n_out if side == "out" else n_in))
        return findings

    def _columns(self, society: Society) -> dict[str, npt.NDArray[np.number]]:
        k = degree_attributes(society.adjacency())
        columns: dict[str, npt.NDArray[np.number]] = (
            {"in": k["in"], "out": k["out"]} if society.directed else {"": k["in"]}
        )
        for name in self.attributes:
            if name in columns:
                raise ParameterError(
                    f"a column of the paradox cannot be called {name!r}, the name of a degree; rename it"
                )
            column = society.column(name)
            if column.dtype.kind not in "biuf" or not np.isfinite(column).all():
                raise ParameterError(
                    f"column {name!r} is not a finite number for every agent; leave it out of the paradox"
                )
            columns[name] = column
        return columns

    def _finding(self, metric: str, attribute: str, null: Null, n: int) -> Finding:
        what = {"in": "in-degree", "out": "out-degree", "": "degree"}.get(attribute, attribute)
        return Finding(
            observer=self.name,
            metric=metric,
            value=null.value,
            null_mean=null.mean,
            null_sd=null.sd,
            gap=null.gap,
            p_value=null.p_value,
            null=SHUFFLE.format(what=what),
            n=n,
            note=f"{null.permutations} permutations{WEAK if metric.startswith('weak') else ''}",
        )


def _undirected(key: str) -> str:
    form, _, rest = key.partition("_")
    attribute = rest.rpartition("_")[0]
    return f"{form}_{attribute}" if attribute else form


@dataclass(frozen=True)
class Actions:
    """What agents do."""

    name: str = "actions"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return events of the step per living agent, by kind."""
        return action_rates(society.happened, society.n_agents)

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return nothing: rates are a course, not a finding."""
        return ()


@dataclass(frozen=True)
class Cooperation:
    """How much agents cooperate, and whether those who do are tied with each other."""

    acts: str = "cooperated"
    """Column of what each agent has given so far: the sum of its shares in [0, 1]."""
    chances: str = "moves"
    """Column of how often each agent could have given so far."""
    threshold: float = 0.5
    """An agent cooperates when it gave at least this share of what it could."""
    permutations: int = PERMUTATIONS
    """Shuffles of the null."""
    own: bool = True
    """Whether what agents did is their own. Where the two ends of a tie answer each other, as in a match between them,
    they are alike without being alike in themselves, so the shuffle null, which would find just that, is left out."""
    name: str = "cooperation"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the rate, and over ties whose ends both had chances: whose ends cooperate, and how alike they are."""
        ties, rate = self._ends(society)
        at = np.arange(len(rate))[:, None]
        return {
            "rate": self._rate(society),
            **{metric: float(value[0]) for metric, value in self._of_ties(ties, rate, at).items()},
        }

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return the same, what is of ties against the shuffle null."""
        chances = needed(society, self.name, self.chances)
        found = [
            Finding(
                observer=self.name,
                metric="rate",
                value=self._rate(society),
                n=int(np.count_nonzero(chances)),
                note="compare with the null policy",
            )
        ]
        ties, rate = self._ends(society)
        n = len(rate)
        if not self.own:
            observed = self._of_ties(ties, rate, np.arange(n)[:, None])
            note = "no null: the two ends of a tie answer each other"
            return found + [
                Finding(observer=self.name, metric=metric, value=float(value[0]), n=n, note=note)
                for metric, value in observed.items()
            ]
        # Two sparse products a permutation, and as much again around them.
        permutations = affordable(self.permutations, 4 * int(ties.nnz))
        nulls = shuffle_tests(
            lambda order: self._of_ties(ties, rate, order), n, society.stream("observe", self.name), permutations, n
        )
        for metric, null in nulls.items():
            what = "cooperation rate" if metric == "assortment" else "who cooperates"
            found.append(against(self.name, metric, null, SHUFFLE.format(what=what), n))
        return found

    def _rate(self, society: Society) -> float:
        acts, chances = needed(society, self.name, self.acts), needed(society, self.name, self.chances)
        return cooperation_rate(acts, chances)

    def _of_ties(self, ties: Adjacency, rate: Floats, order: npt.NDArray[np.int64]) -> dict[str, Floats]:
        """Return what is of ties when agents stand in these orders, shape (n, p): p numbers of each metric."""
        x = rate[order]
        cooperates = (x >= self.threshold).astype(np.float64)
        return {**tie_shares(ties, cooperates), "assortment": end_correlation(ties, x)}

    def _ends(self, society: Society) -> tuple[Adjacency, Floats]:
        """Return the ties among agents who had chances, undirected, and the rates of these agents."""
        acts, chances = (
            np.asarray(needed(society, self.name, self.acts), np.float64),
            needed(society, self.name, self.chances),
        )
        had = chances > 0
        a = society.adjacency()
        ties = projection(a) if society.directed else ones(adjacency(a))
        return (ties, acts / chances) if had.all() else (ties[had][:, had], acts[had] / chances[had])


@dataclass(frozen=True)
class Inequality:
    """How much there is, and how it is shared out."""

    payoff: str = "payoff"
    """Column of what each agent has won so far."""
    name: str = "inequality"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return total, mean and least of the payoffs, and their Gini index."""
        return welfare(needed(society, self.name, self.payoff))

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return mean and Gini index; they have no shuffle null, for neither depends on who is where."""
        found = welfare(needed(society, self.name, self.payoff))
        return tuple(
            Finding(
                observer=self.name,
                metric=metric,
                value=found[metric],
                n=society.n_agents,
                note="compare with the null policy",
            )
            for metric in ("mean", "gini")
        )


@dataclass(frozen=True)
class PersonaEffects:
    """Whether traits go with cooperation; run with shuffled personas to see it vanish."""

    acts: str = "cooperated"
    """Column of what each agent has given so far."""
    chances: str = "moves"
    """Column of how often each could have given; empty: the column ``acts`` is the behaviour as it stands."""
    traits: tuple[str, ...] = ("O", "C", "E", "A", "N")
    """Letters of the traits."""
    permutations: int = PERMUTATIONS
    """Shuffles of the null."""
    name: str = "persona_effects"

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return the rank correlation of each trait with the behaviour; NaN without personas and in large societies."""
        if society.n_agents > LARGEST_RANKED_EACH_STEP:
            return {f"trait_{letter}": NAN for letter in self.traits}
        behaviour = self._behaviour(society)
        return {f"trait_{letter}": trait_correlation(society.trait(letter), behaviour) for letter in self.traits}

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return them, and the rates of agents low, middle and high in each, against personas permuted over agents."""
        behaviour = self._behaviour(society)
        found: dict[str, Sequence[Finding]] = {}
        traits = {letter: society.trait(letter) for letter in self.traits}
        # Whole personas are shuffled: one permutation serves all traits that the same agents have.
        known = {letter: ~(np.isnan(z) | np.isnan(behaviour)) for letter, z in traits.items()}
        for there in {mask.tobytes(): mask for mask in known.values()}.values():
            of = {letter: traits[letter][there] for letter in traits if np.array_equal(known[letter], there)}
            found |= self._effects(society, of, behaviour[there], there)
        return [finding for letter in self.traits for finding in found[letter]]

    def _effects(
        self, society: Society, traits: Mapping[str, Floats], behaviour: Floats, there: npt.NDArray[np.bool_]
    ) -> dict[str, Sequence[Finding]]:
        """Return the findings of traits by letter, of the agents who are ``there``."""
        n = len(behaviour)
        acts = np.asarray(needed(society, self.name, self.acts), np.float64)[there]
        chances = np.asarray(needed(society, self.name, self.chances), np.float64)[there] if self.chances else None
        could = np.ones(n) if chances is None else chances
        thirds = {letter: third_of(z) for letter, z in traits.items()}
        ranked, y = [centred_ranks(z) for z in traits.values()], centred_ranks(behaviour)
        values = {f"trait_{letter}": rank_correlation(x, y) for letter, x in zip(traits, ranked, strict=True)}
        for letter, third in thirds.items():
            rates = rate_by(third, acts, chances)
            values |= {f"rate_{word}_{letter}": rates.get(i, NAN) for i, word in enumerate(THIRDS)}

        # A row each for what is multiplied with behaviour, and for whose acts and chances are added up.
        x = np.array([*ranked, *((third == i).astype(np.float64) for third in thirds.values() for i in range(3))])
        of_agents = np.stack([y, acts, could], axis=1)
        rng = society.stream("observe", self.name)
        drawn = np.empty((affordable(self.permutations, 3 * x.size) if n else 0, len(values)))
        # Agents are shuffled and personas stay, which is the same and takes fewer arrays.
        for draws in drawn:
            sums = x @ of_agents[rng.permutation(n)]
            draws[: len(ranked)] = np.clip(sums[: len(ranked), 0], -1.0, 1.0)
            members = sums[len(ranked) :]
            draws[len(ranked) :] = np.divide(members[:, 1], members[:, 2], out=np.full(len(members), NAN),
                                             where=members[:, 2] > 0)  # fmt: skip
        nulls = {metric: null_of(values[metric], draws) for metric, draws in zip(values, drawn.T, strict=True)}
        found: dict[str, Sequence[Finding]] = {}
        for letter, third in thirds.items():
            sizes = {f"trait_{letter}": n}
            if n:
                of_third = np.bincount(third, minlength=len(THIRDS)).tolist()
                sizes |= {f"rate_{word}_{letter}": k for word, k in zip(THIRDS, of_third, strict=True)}
            found[letter] = [
                against(self.name, metric, nulls[metric], SHUFFLED_PERSONAS, size) for metric, size in sizes.items()
            ]
        return found

    def _behaviour(self, society: Society) -> Floats:
        acts = np.asarray(needed(society, self.name, self.acts), np.float64)
        if not self.chances:
            return acts
        chances = needed(society, self.name, self.chances)
        rate: Floats = np.divide(acts, chances, out=np.full(len(acts), NAN), where=chances > 0)
        return rate


def third_of(z: Floats) -> npt.NDArray[np.int64]:
    """Return the third of each number by its rank, 0 lowest to 2; equal numbers are in the same one."""
    below = np.searchsorted(np.sort(z), z, side="left")
    return 3 * below // max(len(z), 1)


def needed(society: Society, observer: str, column: str) -> npt.NDArray[Any]:
    """Return a column that an observer cannot do without.

    Raises:
        ObserverError: the society has none of this name.
    """
    try:
        return society.column(column)
    except UsageError as error:
        raise ObserverError(f"observer {observer!r} reads a column of the agents that is not there: {error}") from error


def affordable(permutations: int, cells: int) -> int:
    """Return how many permutations of so many cells a null may take."""
    return min(permutations, max(FEWEST_PERMUTATIONS, SHUFFLED_ARCS // max(cells, 1)))


def against(observer: str, metric: str, null: Null, words: str, n: int) -> Finding:
    """Return the finding of a value and its null."""
    return Finding(
        observer=observer,
        metric=metric,
        value=null.value,
        null_mean=null.mean,
        null_sd=null.sd,
        gap=null.gap,
        p_value=null.p_value,
        null=words,
        n=n,
        note=f"{null.permutations} permutations",
    )


# Names ----------------------------------------------------------------------------------------------------------------

OBSERVERS: Mapping[str, Callable[[], Observer]] = MappingProxyType(
    {
        "degrees": Degrees,
        "density": Density,
        "reciprocity": Reciprocity,
        "clustering": Clustering,
        "assortativity": Assortativity,
        "components": Components,
        "modularity": Modularity,
        "centralisation": Centralisation,
        "friendship_paradox": FriendshipParadox,
        "actions": Actions,
        "cooperation": Cooperation,
        "inequality": Inequality,
        "persona_effects": PersonaEffects,
    }
)


def observer_names() -> tuple[str, ...]:
    """Return the names `observer` knows."""
    return tuple(OBSERVERS)


def observer(name: str) -> Observer:
    """Return the observer of this name.

    Raises:
        ObserverError: there is none.
    """
    return _known(name, OBSERVERS)()


def _known[T](name: str, known: Mapping[str, T]) -> T:
    if name not in known:
        raise ObserverError(f"no observer {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return known[name]


# Meanings -------------------------------------------------------------------------------------------------------------

_X = {"in": "fewer followers", "out": "fewer followees"}
_HOOD = {"out": "those they follow", "in": "their followers"}
_THIRD = {"low": "third of agents lowest", "middle": "middle third of agents", "high": "third of agents highest"}
_FORM = {"weak": "the mean of", "strong": "the median of"}

MEANINGS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "degrees": {
            "mean": "Ties an agent, on average.",
            "max_in": "Followers of the most followed agent.",
            "max_out": "Followees of the agent who follows most.",
            "max": "Ties of the agent with the most (undirected ties).",
            "variance_in": "Population variance of the number of followers.",
            "variance_out": "Population variance of the number of followees.",
            "variance": "Population variance of the number of ties (undirected ties).",
            "gini_in": "Gini index of followers: 0 all have equally many, near 1 one has all.",
            "gini_out": "Gini index of followees: 0 all follow equally many, near 1 one follows all.",
            "gini": "Gini index of ties: 0 all have equally many, near 1 one has all (undirected ties).",
        },
        "density": {"density": "Share of the possible ties that exist."},
        "reciprocity": {"reciprocity": "Share of ties that are returned; in a random graph, the density."},
        "clustering": {
            "transitivity": "Share of connected triples that close to a triangle (undirected projection).",
            "average": "Mean over agents of the share of pairs of neighbours that are tied (undirected projection).",
        },
        "assortativity": {
            "out_in": "Correlation over ties of the source's followees with the target's followers.",
            "out_out": "Correlation over ties of the source's followees with the target's followees.",
            "in_in": "Correlation over ties of the source's followers with the target's followers.",
            "in_out": "Correlation over ties of the source's followers with the target's followees.",
            "degree": "Correlation over ties of the two ends' degrees (undirected ties).",
        },
        "components": {
            "weak": "Number of groups that hang together when direction is ignored.",
            "largest_weak": "Share of agents in the largest of these groups.",
            "strong": "Number of groups in which everybody reaches everybody along ties.",
            "largest_strong": "Share of agents in the largest of these groups.",
            "number": "Number of connected groups (undirected ties).",
            "largest": "Share of agents in the largest connected group (undirected ties).",
        },
        "modularity": {
            "modularity": "Ties inside Louvain's groups beyond what degrees explain; each step up to 1,000 agents, "
            "at the end up to 10,000, else not a number.",
            "groups": "Number of Louvain's groups; the same bounds.",
        },
        "centralisation": {
            "degree": "How far ties gather on one agent: 0 all equal, 1 a star (undirected projection).",
            "in_degree": "How far followers gather on one agent: 0 all equal, 1 all follow one.",
        },
        "friendship_paradox": {
            **{
                f"{form}_{x}_{side}": f"Share of agents with {_X[x]} than {_FORM[form]} {_HOOD[side]}."
                for side in _HOOD
                for form in _FORM
                for x in _X
            },
            "weak": "Share of agents with fewer ties than the mean of their neighbours (undirected ties).",
            "strong": "Share of agents with fewer ties than the median of their neighbours (undirected ties).",
            "hierarchy": "Share of follows that point to somebody with more followers.",
            "target_in": "Mean number of followers of a followee, over all follows.",
            "edge_mean": "Mean number of ties at the end of a random tie (undirected ties).",
            "node_mean": "Mean over agents of their neighbours' mean number of ties (undirected ties).",
        },
        "actions": {"<kind>": "Events of this kind in the step, per living agent."},
        "cooperation": {
            "rate": "Share of what could be given so far that was given.",
            "both": "Share of ties of which both ends cooperate (gave at least half of what they could).",
            "one": "Share of ties of which one end cooperates.",
            "none": "Share of ties of which no end cooperates.",
            "assortment": "Correlation over ties of the two ends' cooperation rates.",
        },
        "inequality": {
            "total": "Payoffs of all agents so far, added up.",
            "mean": "Payoff of an agent so far, on average.",
            "min": "Payoff of the agent that has least.",
            "gini": "Gini index of payoffs: 0 all have equally much, near 1 one has all; not a number with debts.",
        },
        "persona_effects": {
            **{
                f"trait_{letter}": f"Rank correlation over agents of {trait} with their cooperation rate; each step up "
                "to 1,000 agents."
                for letter, trait in TRAIT_LETTERS.items()
            },
            **{
                f"rate_{word}_{letter}": f"Cooperation rate of the {_THIRD[word]} in {trait}."
                for letter, trait in TRAIT_LETTERS.items()
                for word in THIRDS
            },
        },
    }
)


def describe(name: str | None = None) -> dict[str, str]:
    """Return what metrics mean, one sentence each.

    Args:
        name: an observer: its metrics by their short names. Left out: all, as ``"observer.metric"``.

    Raises:
        ObserverError: there is no such observer.
    """
    if name is not None:
        return dict(_known(name, MEANINGS))
    return {f"{who}.{metric}": text for who, metrics in MEANINGS.items() for metric, text in metrics.items()}


def meaning(name: str, metric: str) -> str:
    """Return the sentence of one metric, also of an event kind or a column of the user's own; empty if it has none."""
    known = MEANINGS.get(name, {})
    if metric in known:
        return known[metric]
    if name == "actions":
        return f"Events of kind {metric!r} in the step, per living agent."
    form, _, rest = metric.partition("_")
    if name != "friendship_paradox" or not rest:
        return ""
    if form == "hierarchy":
        return f"Share of ties that point to somebody with more {rest!r}."
    if form not in _FORM:
        return ""
    attribute, _, side = rest.rpartition("_")
    if attribute and side in _HOOD:
        return f"Share of agents with less {attribute!r} than {_FORM[form]} {_HOOD[side]}."
    return f"Share of agents with less {rest!r} than {_FORM[form]} their neighbours."

"""What an observer reads, what it is, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from simworld.errors import GraphError, ParameterError, did_you_mean
from simworld.observe._graph import Adjacency, Graph, adjacency
from simworld.rng import Chance
from simworld.schema import Record

if TYPE_CHECKING:
    from scipy import sparse

NAN = float("nan")


class Society(Protocol):
    """What an observer may read, and nothing else; a `World` is one, and so is a `StillSociety` around a graph.

    Arrays belong to the society: an observer reads them and never writes.
    """

    @property
    def t(self) -> int:
        """Completed steps."""

    @property
    def n_agents(self) -> int:
        """Living agents."""

    @property
    def directed(self) -> bool:
        """Whether a tie u -> v is not also v -> u."""

    @property
    def tie_kinds(self) -> tuple[str, ...]:
        """Kinds of tie; the first is the main one."""

    @property
    def happened(self) -> Mapping[str, int]:
        """Number of events of the last step by kind."""

    def adjacency(self, kind: str | None = None) -> sparse.csr_array[np.float64]:
        """Weights of the ties of a kind (None: the main one) among living agents, one row and column each."""

    def column(self, name: str) -> npt.NDArray[Any]:
        """One value a living agent, in the order of the rows of `adjacency`."""

    def trait(self, letter: str) -> npt.NDArray[np.float64]:
        """Standardised trait of the living agents' personas by its letter, one value each; NaN without personas."""

    def stream(self, *name: str | int) -> np.random.Generator:
        """The stream of chance of this name; an observer uses ``("observe", its own name)``."""


class Finding(Record):
    """One result at the end of a run, beside what chance or theory would give."""

    model_config = ConfigDict(allow_inf_nan=True)

    observer: str
    """Name of the observer."""
    metric: str
    """Name of the metric inside the observer."""
    value: float
    """The metric at the end of the run."""
    null_mean: float = NAN
    """Its mean under the null; NaN where there is no null."""
    null_sd: float = NAN
    """Its standard deviation under the null."""
    gap: float = NAN
    """Value minus null mean."""
    p_value: float = NAN
    """In (0, 1]: how often the null is at least as far out."""
    null: str = ""
    """What the null is, in words; empty where there is none."""
    n: int
    """How many counted: nodes, or arcs where the metric is a share of arcs."""
    closed_form: float = NAN
    """What theory gives for it; NaN where it gives nothing."""
    note: str = ""
    """What a reader should bear in mind."""


@runtime_checkable
class Observer(Protocol):
    """Measures a society without touching it, and keeps nothing from step to step: a resume makes it anew."""

    @property
    def name(self) -> str:
        """Its name, the prefix of its metrics."""

    def observe(self, society: Society) -> Mapping[str, float]:
        """Return metrics by short name: cheap, called once a recorded step."""

    def conclude(self, society: Society) -> Sequence[Finding]:
        """Return the findings, with their nulls: called once, at the end."""


@dataclass(frozen=True)
class StillSociety:
    """A society that stands still, so that an observer runs on a graph in a notebook.

    ``observer("friendship_paradox").conclude(StillSociety(nx.karate_club_graph(), directed=False))``
    """

    graph: Graph
    """The main ties, anything `adjacency` reads."""
    directed: bool = True
    """Whether the ties have a direction."""
    columns: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    """Node attributes by name, one value a node."""
    traits: Mapping[str, npt.ArrayLike] = field(default_factory=dict)
    """Standardised traits by letter, one value a node."""
    other_ties: Mapping[str, Graph] = field(default_factory=dict)
    """Further kinds of tie, by name, over the same nodes."""
    happened: Mapping[str, int] = field(default_factory=dict)
    """Number of events by kind."""
    t: int = 0
    """Completed steps."""
    seed: int = 0
    """Seed of its streams."""
    kind: str = "tie"
    """Name of the main ties."""

    @property
    def n_agents(self) -> int:
        """Nodes of the graph."""
        return int(self.adjacency().shape[0])

    @property
    def tie_kinds(self) -> tuple[str, ...]:
        """The main kind and the others."""
        return (self.kind, *self.other_ties)

    def adjacency(self, kind: str | None = None) -> Adjacency:
        """Return the ties of a kind; the main ones when left out."""
        if kind is None or kind == self.kind:
            return adjacency(self.graph)
        if kind not in self.other_ties:
            raise GraphError(
                f"no ties of kind {kind!r}{did_you_mean(kind, self.tie_kinds)}; there are {self.tie_kinds!r}"
            )
        return adjacency(self.other_ties[kind])

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a node attribute."""
        if name not in self.columns:
            known = tuple(sorted(self.columns))
            raise ParameterError(f"no column {name!r}{did_you_mean(name, known)}; there are {known!r}")
        return np.asarray(self.columns[name])

    def trait(self, letter: str) -> npt.NDArray[np.float64]:
        """Return a trait; NaN where it was not given."""
        given = self.traits.get(letter)
        return np.full(self.n_agents, NAN) if given is None else np.asarray(given, np.float64)

    def stream(self, *name: str | int) -> np.random.Generator:
        """Return the stream of this name."""
        return Chance(self.seed).stream(*name)

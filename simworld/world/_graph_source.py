"""Where a starting graph comes from: a networkx generator, a real network, a file, or an object already in memory.

`parse_graph` reads the text of a command line, `load_graph` makes the arrays. What comes out depends on the content,
``n``, ``seed`` and ``directed`` only: arcs are sorted, nodes are numbered by integer label or by first appearance.
Whatever is changed on the way in (self-loops dropped, arcs merged or doubled) is a line in `GraphData.notes`.
"""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import inspect
import io
import json
import numbers
import operator
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from simworld.errors import GraphError, did_you_mean
from simworld.rng import derive_seed

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["GraphData", "GraphSpec", "load_graph", "parse_graph"]

type Ints = npt.NDArray[np.int64]
type Floats = npt.NDArray[np.float64]

NETWORKS = MappingProxyType(
    {
        "karate": "karate_club_graph",
        "les_miserables": "les_miserables_graph",
        "davis": "davis_southern_women_graph",
        "florentine": "florentine_families_graph",
    }
)
"""Real networks that networkx ships, and the function that returns each."""

EDGE_LISTS = (".txt", ".edges", ".edgelist", ".tsv")
SUFFIXES = (*EDGE_LISTS, ".csv", ".graphml", ".gexf", ".json")

FILE_OPTIONS = MappingProxyType({"self_loops": ("drop", "error"), "duplicates": ("error", "merge"), "sha256": ()})
"""Options of a file and their values, the default first; ``sha256`` is the beginning of the file's own."""

N_IS_NOT_NODES = frozenset(
    {
        "binomial_tree",
        "circular_ladder_graph",
        "dorogovtsev_goltsev_mendes_graph",
        "generalized_petersen_graph",
        "grid_2d_graph",
        "hexagonal_lattice_graph",
        "hypercube_graph",
        "kneser_graph",
        "ladder_graph",
        "lollipop_graph",
        "margulis_gabber_galil_graph",
        "mycielski_graph",
        "navigable_small_world_graph",
        "random_cograph",
        "random_lobster_graph",
        "star_graph",
        "sudoku_graph",
        "tadpole_graph",
        "triangular_lattice_graph",
        "windmill_graph",
    }
)
"""Generators whose ``n`` counts something else (rungs, dimensions, levels), so that n_agents must not be put in."""

PROBABILITIES = frozenset({"p", "p1", "p2", "p_in", "p_out", "q"})
"""Parameters that are a probability; most generators take any number and return nonsense beyond [0, 1]."""

P_IS_NO_PROBABILITY = frozenset(
    {
        "chordal_cycle_graph",
        "navigable_small_world_graph",
        "paley_graph",
        "random_geometric_graph",
        "random_unlabeled_rooted_forest",
        "soft_random_geometric_graph",
        "thresholded_random_geometric_graph",
    }
)
"""Generators whose ``p`` or ``q`` is a prime, a distance, a norm or a size."""

OUR_PARAMETERS = frozenset({"create_using", "backend", "backend_kwargs"})
"""Parameters of networkx's own machinery; text cannot say them."""

INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
"""A label that is a number. '007' is a name: the zeros would be lost; and 18 digits always fit 64 bits."""

COMMENT = re.compile(r"(?m)(?:^|(?<=[ \t]))#.*$")
OPTIONS_BEGIN = re.compile(r"\s*[A-Za-z_]\w*\s*=")


@dataclass(frozen=True)
class GraphSpec:
    """A graph source as text names it, checked as far as that is possible without reading anything."""

    kind: Literal["generator", "network", "file"]
    name: str
    """Generator or network name, or the file's path as given."""
    options: tuple[tuple[str, Any], ...] = ()
    """(name, value) in the order given: a generator's parameters, or a file's options."""

    @property
    def text(self) -> str:
        """The text that `parse_graph` reads back as this spec."""
        if self.kind == "file":
            return _file_text(self.name, self.options)
        return _spec_text(self.name, self.options)

    @property
    def takes_n(self) -> bool:
        """Whether it makes as many nodes as it is told to, and the text does not say how many."""
        if self.kind != "generator" or self.name not in _generators():
            return False
        size = _size(_parameters(self.name))
        return size is not None and self.name not in N_IS_NOT_NODES and size not in dict(self.options)


@dataclass(frozen=True, eq=False)
class GraphData:
    """A starting graph, ready for `SocialGraph.add_many`: no self-loops, no tie twice."""

    n: int
    """Number of nodes, at least 2."""
    sources: Ints
    """(m,) node ids in [0, n), sorted by (source, target); undirected: each tie once, source < target."""
    targets: Ints
    """(m,) node ids in [0, n)."""
    weights: Floats
    """(m,) finite, at least 0; 1.0 where the source gives none."""
    labels: list[str] | None
    """(n,) the nodes' names in the source; None when they are just the numbers 0 to n-1."""
    directed: bool
    """As asked for: the society's own, not the source's."""
    source: str
    """Where it came from, for the manifest: text that makes the same graph again (a file: its name and sha256)."""
    notes: tuple[str, ...]
    """What was changed on the way in, one line each."""


@dataclass
class _Found:
    """Arcs as a source gives them, before self-loops, duplicates and direction are seen to."""

    name: str
    """Begins every error message."""
    source: str
    n: int
    sources: Ints
    targets: Ints
    weights: Floats
    labels: list[str] | None
    directed: bool | None
    """None: the source does not say."""
    lines: Ints | None = None
    """Line of each arc, counted from 1, where the source has lines."""
    notes: list[str] = field(default_factory=list)

    def place(self, i: int) -> str:
        return self.name if self.lines is None else f"{self.name}, line {self.lines[i]}"

    def label(self, node: int) -> str:
        return str(node) if self.labels is None else self.labels[node]

    def tie(self, i: int) -> str:
        return f"'{self.label(int(self.sources[i]))} {self.label(int(self.targets[i]))}'"


# -- text ----------------------------------------------------------------------------------------------------------


def parse_graph(text: str) -> GraphSpec:
    """Read ``karate``, ``watts_strogatz_graph:k=6,p=0.1``, ``path/to/file.txt`` or ``file.csv:self_loops=error``.

    Generators are also known without ``_graph``. A value is a JSON number, boolean, list or string; what is none of
    these is a string. Raises GraphError for a name, parameter or option nobody knows. Reads no file.
    """
    text = text.strip()
    if not text:
        raise GraphError(f"an empty graph source; name {_what_there_is()}")
    head, options = _head_and_options(text)
    if head in NETWORKS:
        if options:
            raise GraphError(f"the network {head!r} takes no options, got {options[0][0]!r}; write just {head!r}")
        return GraphSpec("network", head)
    if _is_path(head):
        _suffix(head)
        return GraphSpec("file", head, tuple((name, _file_option(name, raw)) for name, raw in options))
    generators = _generators()
    name = head if head in generators else f"{head}_graph"
    if name not in generators:
        near = did_you_mean(head, [*NETWORKS, *generators, *_graph_files(Path())])
        raise GraphError(f"no graph source {head!r}{near or f'; name {_what_there_is()}'}")
    spec = GraphSpec("generator", name, tuple((option, _value(option, raw)) for option, raw in options))
    _check_parameters(spec)
    return spec


def _what_there_is() -> str:
    return (
        "a networkx generator (watts_strogatz_graph:k=6,p=0.1), "
        f"a real network ({', '.join(NETWORKS)}) or a file ({', '.join(SUFFIXES)})"
    )


def _head_and_options(text: str) -> tuple[str, list[tuple[str, str]]]:
    for colon in re.finditer(":", text):
        if OPTIONS_BEGIN.match(text, colon.end()):
            return text[: colon.start()].strip(), _split_options(text[colon.end() :])
    # A colon alone may belong to a path (C:\nets\a.txt); after a name or a whole file name it announces options.
    head, colon_, rest = text.rpartition(":")
    rest_is_path = "/" in rest or "\\" in rest or _is_graph_file(rest)
    if colon_ and not rest_is_path and (_is_graph_file(head) or not _is_path(head)):
        raise GraphError(
            f"after {head + ':'!r} come options like name=value, got {rest!r}; leave the colon out if none"
        )
    return text, []


def _split_options(text: str) -> list[tuple[str, str]]:
    parts, depth, quoted, escaped, begin = [], 0, False, False, 0
    for i, c in enumerate(text):
        if quoted:
            quoted = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c == '"':
            quoted = True
        elif c in "[{":
            depth += 1
        elif c in "]}":
            depth -= 1
        elif c == "," and depth <= 0:
            parts.append(text[begin:i])
            begin = i + 1
    parts.append(text[begin:])
    options: list[tuple[str, str]] = []
    for part in parts:
        name, equals, raw = (piece.strip() for piece in part.partition("="))
        if not (equals and name.isidentifier() and raw):
            raise GraphError(f"a graph option is name=value, got {part.strip()!r}; separate several by commas")
        if name in (known for known, _ in options):
            raise GraphError(f"graph option {name!r} is given twice; give it once")
        options.append((name, raw))
    return options


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number")


def _value(name: str, raw: str) -> Any:
    try:
        return json.loads(raw, parse_constant=_not_json)
    except (ValueError, RecursionError) as exc:
        if raw[0] in '[{"' or raw in {"NaN", "Infinity", "-Infinity"}:
            raise GraphError(
                f"{name}={raw[:80]} cannot be read; give a number, true, false, a string or [a,b]"
            ) from exc
    return {"True": True, "False": False, "None": None}.get(raw, raw)


def _spec_text(name: str, options: Iterable[tuple[str, Any]]) -> str:
    text = ",".join(f"{option}={_value_text(value)}" for option, value in options)
    return f"{name}:{text}" if text else name


def _file_text(name: str, options: Iterable[tuple[str, str]]) -> str:
    # A file's options are never read as JSON: a sha256 of digits only is no number.
    text = ",".join(f"{option}={value}" for option, value in options)
    return f"{name}:{text}" if text else name


def _value_text(value: Any) -> str:
    if isinstance(value, str) and value:
        try:
            if _split_options(f"x={value}") == [("x", value)] and _value("x", value) == value:
                return value
        except GraphError:
            pass
    return json.dumps(value, separators=(",", ":"))


def _is_graph_file(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or bool(Path(text).suffix)


def _suffix(path: str) -> str:
    suffix = Path(path.lower().removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        not_this = f", not {suffix!r}" if suffix else "; this has no suffix"
        raise GraphError(f"{path}: a graph file ends in {', '.join(SUFFIXES)} (or that and .gz){not_this}")
    return suffix


def _file_option(name: str, raw: str) -> str:
    if name not in FILE_OPTIONS:
        near = did_you_mean(name, FILE_OPTIONS)
        raise GraphError(f"a graph file has no option {name!r}{near or f'; it has {", ".join(FILE_OPTIONS)}'}")
    known = FILE_OPTIONS[name]
    if known and raw not in known:
        raise GraphError(f"{name} is {' or '.join(map(repr, known))}, got {raw!r}")
    if not known and not re.fullmatch("[0-9a-f]{8,64}", raw):
        raise GraphError(f"{name} is the first 8 to 64 hexadecimal digits of the file's own, got {raw!r}")
    return raw


# -- loading -------------------------------------------------------------------------------------------------------


def load_graph(spec: str | GraphSpec | nx.Graph[Any] | Any, *, n: int | None, seed: int, directed: bool) -> GraphData:
    """Make the starting graph of a society.

    ``spec``: text, a `GraphSpec`, a networkx graph, or a square sparse array whose entry (u, v) is the weight of the
    arc from u to v. ``n``: number of agents, None for the graph's own; a generator gets it when it takes one.
    ``seed`` reaches a generator through a stream of its own. ``directed``: the society's direction; a source of the
    other direction is converted and a note says so. An undirected source gives a directed society both arcs. Arcs
    both ways become one undirected tie, with the larger weight.

    Raises GraphError, one line with file and line number, for whatever cannot be read or does not fit.
    """
    if n is not None and _integer("n_agents", n) < 2:
        raise GraphError(f"n_agents is {n}, but a society needs at least two")
    _integer("seed", seed)
    if isinstance(spec, str):
        spec = parse_graph(spec)
    self_loops, duplicates = "drop", "merge"
    if isinstance(spec, GraphSpec):
        if spec.kind == "generator":
            found = _generate(spec, n, seed)
        elif spec.kind == "network":
            found = _real_network(spec.name)
        else:
            options = dict(spec.options)
            self_loops, duplicates = options.get("self_loops", "drop"), options.get("duplicates", "error")
            found = _read_file(spec)
    elif hasattr(spec, "tocoo"):
        found = _from_sparse(spec)
    elif hasattr(spec, "adj") and hasattr(spec, "is_directed"):
        found = _from_networkx(spec, f"the networkx {type(spec).__name__}", "")
        found.source = _object_source("networkx", found)
    else:
        raise GraphError(
            f"a graph source is text, a networkx graph or a sparse array, got {type(spec).__name__}; see parse_graph"
        )
    if found.n < 2:
        raise GraphError(f"{found.name}: {found.n} node{'s' * (found.n != 1)}, but a society needs at least two")
    if n is not None and found.n != n:
        hint = f"leave n_agents out or set it to {found.n}"
        raise GraphError(f"{found.name}: the graph has {found.n} nodes, but n_agents is {n}; {hint}")
    return _clean(found, directed=directed, self_loops=self_loops, duplicates=duplicates)


def _integer(what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError as exc:
        raise GraphError(f"{what} must be an integer, got {value!r}") from exc


def _clean(found: _Found, *, directed: bool, self_loops: str, duplicates: str) -> GraphData:
    loops = found.sources == found.targets
    if loops.any():
        first = int(loops.argmax())
        tie, place = found.tie(first), found.place(first)
        if self_loops == "error":
            raise GraphError(
                f"{place}: {tie} ties a node to itself; delete the line, or leave self_loops=error out to drop it"
            )
        count = int(np.count_nonzero(loops))
        where = "" if found.lines is None else f"at line {found.lines[first]}: "
        many = f"{count} self-loop{'s' * (count > 1)}"
        found.notes.append(f"dropped {many} (first {where}{tie}): nobody can tie to themselves")
    kept = np.flatnonzero(~loops)
    u, v, w = found.sources[kept], found.targets[kept], found.weights[kept]

    # In a source that says it is undirected, 'a b' and 'b a' are the same tie; otherwise they are two arcs.
    u, v = (np.minimum(u, v), np.maximum(u, v)) if found.directed is False else (u, v)
    order, starts = _grouped(u, v, found.n)
    if starts.size < order.size:
        repeated = np.ones(order.size, np.bool_)
        repeated[starts] = False
        if duplicates == "error":
            later = int(order[repeated].min())
            earlier = int(order[starts][np.searchsorted(starts, np.flatnonzero(order == later)[0], "right") - 1])
            raise _duplicate(found, int(kept[earlier]), int(kept[later]))
        count = int(np.count_nonzero(repeated))
        found.notes.append(f"merged {count} tie{'s' * (count > 1)} listed more than once, keeping the first weight")
    order = order[starts]
    u, v, w = u[order], v[order], w[order]

    if directed and found.directed is False and u.size:
        found.notes.append(f"the source is undirected, the society directed: {u.size} ties became {2 * u.size} arcs")
        u, v, w = np.concatenate((u, v)), np.concatenate((v, u)), np.concatenate((w, w))
        order, _ = _grouped(u, v, found.n)
        u, v, w = u[order], v[order], w[order]
    elif not directed and found.directed is not False:
        arcs = u.size
        u, v = np.minimum(u, v), np.maximum(u, v)
        order, starts = _grouped(u, v, found.n)
        if arcs:
            w = np.maximum.reduceat(w[order], starts)
        u, v = u[order][starts], v[order][starts]
        if found.directed:
            found.notes.append(f"the source is directed, the society undirected: {arcs} arcs became {u.size} ties")
        elif u.size < arcs:
            pairs = f"{arcs - u.size} pair{'s' * (arcs - u.size > 1)}"
            found.notes.append(f"merged {pairs} listed in both directions into one tie each, with the larger weight")
    return GraphData(found.n, u, v, w, found.labels, directed, found.source, tuple(found.notes))


def _grouped(u: Ints, v: Ints, n: int) -> tuple[Ints, Ints]:
    """Return the stable order by (u, v), and where in it each distinct pair starts."""
    keys = u * np.int64(n) + v
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    return order, np.flatnonzero(np.concatenate((np.ones(min(keys.size, 1), np.bool_), keys[1:] != keys[:-1])))


def _duplicate(found: _Found, earlier: int, later: int) -> GraphError:
    as_before = "" if found.lines is None else f", already at line {found.lines[earlier]}"
    twice = f"the tie {found.tie(later)} is listed twice{as_before}"
    return GraphError(f"{found.place(later)}: {twice}; delete one, or write :duplicates=merge to keep the first")


# -- generators and real networks ----------------------------------------------------------------------------------


@functools.cache
def _generators() -> MappingProxyType[str, Callable[..., Any]]:
    """Return networkx's generators that can be called with what text can say, by name."""
    import networkx as nx

    found: dict[str, Callable[..., Any]] = {}
    every = vars(nx.generators)
    for name, made in sorted(every.items()):
        if f"{name}_graph" in every:
            continue  # a module, or the deprecated name of that one
        home = getattr(made, "__module__", None) or ""
        if name.startswith(("_", "is_", "number_of_")) or not home.startswith("networkx.generators."):
            continue
        # A required G is another graph.
        if callable(made) and not isinstance(made, type) and "G" not in inspect.signature(made).parameters:
            found[name] = made
    return MappingProxyType(found)


def _parameters(name: str) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(_generators()[name])
    return {
        parameter.name: parameter
        for parameter in signature.parameters.values()
        if parameter.name not in OUR_PARAMETERS and parameter.kind is not parameter.VAR_KEYWORD
    }


def _size(parameters: Mapping[str, object]) -> str | None:
    # partial_duplication_graph calls the number of nodes N, and n the size of the graph it starts from.
    return next((name for name in ("N", "n") if name in parameters), None)


def _check_parameters(spec: GraphSpec) -> None:
    parameters = _parameters(spec.name)
    for name, value in spec.options:
        number = isinstance(value, int | float) and name in PROBABILITIES and spec.name not in P_IS_NO_PROBABILITY
        if number and not 0 <= value <= 1:
            raise GraphError(f"{spec.name}: {name} is a probability, got {value!r}; give a number from 0 to 1")
        if name not in parameters:
            takes = f"it takes {', '.join(parameters)}" if parameters else "it takes none"
            near = did_you_mean(name, parameters)
            raise GraphError(f"{spec.name} has no parameter {name!r}{near or f'; {takes}'}")


def _generate(spec: GraphSpec, n: int | None, seed: int) -> _Found:
    import networkx as nx

    if spec.name not in _generators():
        raise GraphError(f"no graph generator {spec.name!r}{did_you_mean(spec.name, _generators())}")
    _check_parameters(spec)
    parameters, given = _parameters(spec.name), dict(spec.options)
    size = _size(parameters) or "n"
    takes_size = size in parameters and spec.name not in N_IS_NOT_NODES
    if takes_size and n is not None:
        given.setdefault(size, int(n))
    if "seed" in parameters and given.get("seed") is None:
        # Many generators hand the seed to numpy's RandomState, which takes 32 bits.
        given["seed"] = derive_seed(seed, "graph", spec.name) % 2**32
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL and name not in given
    ]
    if takes_size and size not in given and (missing or parameters[size].default == 0):
        missing = [size, *(name for name in missing if name != size)]
    if missing:
        example = ",".join(f"{name}=…" for name in missing)
        how = " (its n is not the number of nodes)" if "n" in missing and not takes_size else ""
        how = " (n may also come from n_agents)" if size in missing and takes_size else how
        raise GraphError(f"{spec.name} needs {' and '.join(missing)}{how}: write {spec.name}:{example}")
    ordered = [(name, given[name]) for name in parameters if name in given]
    source = _spec_text(spec.name, ordered)
    positional = [name for name, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    arguments = given.pop(positional[0], []) if positional else []
    foreign = (
        *(nx.NetworkXException, ArithmeticError, AssertionError, AttributeError, LookupError),
        *(ImportError, MemoryError, RuntimeError, StopIteration, TypeError, ValueError),
    )
    try:
        made = _generators()[spec.name](*arguments, **given)
    except foreign as exc:
        said = " ".join(str(exc).split()) or type(exc).__name__
        raise GraphError(f"{source}: networkx refuses these parameters: {said}") from exc
    if not isinstance(made, nx.Graph):
        raise GraphError(f"{spec.name} returns {type(made).__name__}, not a graph; name {_what_there_is()}")
    return _from_networkx(made, source, source)


def _real_network(name: str) -> _Found:
    import networkx as nx

    if name not in NETWORKS:
        raise GraphError(f"no real network {name!r}{did_you_mean(name, NETWORKS)}; there are {', '.join(NETWORKS)}")
    return _from_networkx(getattr(nx, NETWORKS[name])(), name, name)


# -- objects -------------------------------------------------------------------------------------------------------


def _from_networkx(graph: nx.Graph[Any], name: str, source: str) -> _Found:
    nodes = list(graph)
    plain = [str(node) for node in nodes]
    if len(set(plain)) < len(plain):
        twice = Counter(plain).most_common(1)[0][0]
        raise GraphError(f"{name}: two nodes are both called {twice!r}; give every node a name of its own")
    order, labels = _numbered(plain)
    ids = dict(zip((nodes[i] for i in order), range(len(nodes)), strict=True))
    # GEXF and Gephi keep the name people read beside the id.
    names = [data.get("label") for data in (graph.nodes[nodes[i]] for i in order)]
    if all(isinstance(text, str) and text for text in names) and len(set(names)) == len(names):
        labels = _unless_numbers([str(text) for text in names])
    columns = list(zip(*graph.edges(data="weight", default=1.0), strict=True)) or [(), (), ()]
    m = len(columns[0])
    found = _Found(
        name,
        source,
        len(nodes),
        np.fromiter((ids[u] for u in columns[0]), np.int64, m),
        np.fromiter((ids[v] for v in columns[1]), np.int64, m),
        np.ones(m),
        labels,
        graph.is_directed(),
    )
    for i, weight in enumerate(columns[2]):
        if not isinstance(weight, numbers.Real):
            raise GraphError(
                f"{name}: the tie {found.tie(i)} has weight {weight!r}; a weight is a number of at least 0"
            )
        found.weights[i] = float(weight)
    _check_weights(found)
    return found


def _from_sparse(matrix: Any) -> _Found:
    name = f"the sparse {type(matrix).__name__}"
    shape = tuple(matrix.shape)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise GraphError(f"{name}: the shape is {shape}; an adjacency is square, one row and one column a node")
    if np.dtype(matrix.dtype).kind not in "biuf":
        raise GraphError(f"{name}: the entries are {matrix.dtype}; a weight is a number of at least 0")
    entries = matrix.tocsr(copy=True)
    entries.sum_duplicates()
    entries = entries.tocoo()
    given = entries.data != 0
    found = _Found(
        name,
        "",
        shape[0],
        entries.row[given].astype(np.int64),
        entries.col[given].astype(np.int64),
        entries.data[given].astype(np.float64),
        None,
        None,
    )
    _check_weights(found)
    found.source = _object_source("sparse", found)
    return found


def _object_source(kind: str, found: _Found) -> str:
    u, v = found.sources, found.targets
    if found.directed is False:
        u, v = np.minimum(u, v), np.maximum(u, v)
    order = np.lexsort((found.weights, v, u))
    digest = hashlib.sha256(json.dumps([found.n, found.directed, found.labels]).encode())
    for column in (u, v, found.weights):
        digest.update(column[order].tobytes())
    return f"{kind} object:n={found.n},ties={found.sources.size},sha256={digest.hexdigest()[:12]}"


def _check_weights(found: _Found) -> None:
    bad = ~((found.weights >= 0.0) & np.isfinite(found.weights))
    if bad.any():
        first = int(bad.argmax())
        value = float(found.weights[first])
        raise GraphError(
            f"{found.place(first)}: the tie {found.tie(first)} has weight {value!r}; "
            "a weight is a finite number of at least 0"
        )


def _numbered(labels: Sequence[str]) -> tuple[Sequence[int], list[str] | None]:
    """Return the order of the nodes given by their distinct labels, and the labels in that order."""
    if all(map(INTEGER.fullmatch, labels)):
        order = np.argsort(np.array([int(label) for label in labels], np.int64)).tolist()
        return order, _unless_numbers([labels[i] for i in order])
    return range(len(labels)), list(labels)


def _unless_numbers(labels: list[str]) -> list[str] | None:
    return None if all(label == str(i) for i, label in enumerate(labels)) else labels


# -- files ---------------------------------------------------------------------------------------------------------


def _read_file(spec: GraphSpec) -> _Found:
    path, options = Path(spec.name), dict(spec.options)
    suffix = _suffix(spec.name)
    raw = _bytes(path)
    sha256 = hashlib.sha256(raw).hexdigest()
    wanted = options.get("sha256", "")
    if not sha256.startswith(wanted):
        raise GraphError(f"{path}: the file's sha256 begins {sha256[:12]}, not {wanted}; it is not the file it was")
    content = _unpacked(path, raw)
    if not content.strip():
        raise GraphError(f"{path}: the file is empty; a graph needs at least one tie")
    if suffix in EDGE_LISTS:
        found = _edge_list(str(path), _text(path, content))
    elif suffix == ".csv":
        found = _csv(str(path), _text(path, content))
    elif suffix == ".json":
        found = _node_link(str(path), _text(path, content))
    else:
        found = _xml(str(path), suffix, content)
    chosen = [(name, options[name]) for name, known in FILE_OPTIONS.items() if known and options.get(name) in known[1:]]
    found.source = _file_text(path.name, [("sha256", sha256[:12]), *chosen])
    return found


def _graph_files(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if _is_graph_file(p.name))
    except OSError:
        return []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        if not path.parent.is_dir():
            raise GraphError(f"{path}: no such file: there is no folder {str(path.parent)!r}") from exc
        near = did_you_mean(path.name, [*_graph_files(path.parent), *NETWORKS, *_generators()])
        raise GraphError(f"{path}: no such file{near or '; give the path of a graph file'}") from exc
    except IsADirectoryError as exc:
        raise GraphError(f"{path}: this is a folder; give the path of a graph file in it") from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise GraphError(f"{path}: the file cannot be read: {reason}; give a graph file you may read") from exc


def _unpacked(path: Path, raw: bytes) -> bytes:
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as exc:
        raise GraphError(f"{path}: the gzip file is damaged: {exc}; fetch or pack it again") from exc


def _text(path: Path, content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        byte = f"byte 0x{content[exc.start]:02x}"
        raise GraphError(f"{path}, line {line}: {byte} is not UTF-8; save the file as UTF-8") from exc
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _codes(name: str, source: str, pairs: Sequence[str], weights: Floats, lines: Ints, notes: list[str]) -> _Found:
    """Number the labels of ``pairs`` (source, target, source, ...)."""
    seen: dict[str, int] = {}
    codes = np.fromiter((seen.setdefault(label, len(seen)) for label in pairs), np.int64, len(pairs))
    order, labels = _numbered(list(seen))
    rank = np.empty(len(seen), np.int64)
    rank[list(order)] = np.arange(len(seen))
    codes = rank[codes]
    return _Found(name, source, len(seen), codes[0::2], codes[1::2], weights, labels, None, lines, notes)


def _numbers(name: str, tokens: Sequence[str], lines: Ints) -> Floats:
    try:
        weights = np.array([float(token) for token in tokens], np.float64)
    except ValueError:
        weights = np.array([_float(token) for token in tokens], np.float64)
    bad = ~((weights >= 0.0) & np.isfinite(weights))
    if bad.any():
        first = int(bad.argmax())
        hint = "; networkx writes it with write_weighted_edgelist" if tokens[first].startswith("{") else ""
        wants = f"a weight is a finite number of at least 0{hint}"
        raise GraphError(f"{name}, line {lines[first]}: the weight is {tokens[first]!r}; {wants}")
    return weights


def _float(token: str) -> float:
    try:
        return float(token)
    except ValueError:
        return float("nan")


def _edge_list(name: str, text: str) -> _Found:
    if "#" in text:
        text = COMMENT.sub("", text)
    rows = text.split("\n")
    widths = np.fromiter(map(len, map(str.split, rows)), np.int64, len(rows))
    lines = np.flatnonzero(widths)
    if not lines.size:
        raise GraphError(
            f"{name}: the file holds comments only; a graph needs at least one tie, 'source target' a line"
        )
    tokens = text.split()
    notes = []
    if [token.lower() for token in tokens[:2]] == ["source", "target"]:
        notes.append(f"took line {lines[0] + 1} ({' '.join(tokens[: widths[lines[0]]])!r}) for a header")
        tokens = tokens[widths[lines[0]] :]
        lines = lines[1:]
        if not lines.size:
            raise GraphError(f"{name}: the file holds a header only; a graph needs at least one tie")
    width = int(widths[lines[0]])
    wrong = widths[lines] != width
    if width not in {2, 3}:
        wrong[0] = True
    if wrong.any():
        line = int(lines[wrong.argmax()])
        _bad_row(name, line + 1, rows[line].split(), f"line {lines[0] + 1}" if line != lines[0] else None, width)
    lines += 1
    weights = np.ones(lines.size)
    if width == 3:
        weights = _numbers(name, tokens[2::3], lines)
        del tokens[2::3]
    return _codes(name, "", tokens, weights, lines, notes)


def _bad_row(name: str, line: int, row: list[str], first: str | None, width: int) -> NoReturn:
    shown = " ".join(row)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    columns = f"{len(row)} column{'s' * (len(row) != 1)} ({shown!r})"
    if first is not None and len(row) in {2, 3}:
        wants = f"{first} has {width}: give every line a weight, or none"
    elif "{" in shown:
        wants = "networkx writes what is read here with write_weighted_edgelist"
    elif len(row) == 1 and "," in shown:
        wants = "a file separated by commas ends in .csv"
    else:
        wants = "a line is 'source target' or 'source target weight', separated by spaces or tabs"
    raise GraphError(f"{name}, line {line}: {columns}; {wants}")


def _csv(name: str, text: str) -> _Found:
    # Comments before the header only: further down a label may begin with '#'.
    skipped = 0
    while text.startswith(("#", "\n")):
        text = text.partition("\n")[2]
        skipped += 1
    if not text.strip():
        raise GraphError(f"{name}: the file holds comments only; a graph needs at least one tie")
    top = text.partition("\n")[0]
    delimiter = max(",;\t", key=top.count)
    rows: list[list[str]] = []
    ends: list[int] = []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if row and row != [""]:
                rows.append(row)
                ends.append(reader.line_num)
    except csv.Error as exc:
        raise GraphError(f"{name}, line {skipped + reader.line_num}: {exc}; check the quotes on this line") from exc
    lines = np.array(ends, np.int64) + skipped
    if not rows or len(rows[0]) < 2:
        wants = "a CSV file has the columns source,target[,weight] separated by comma, semicolon or tab"
        raise GraphError(f"{name}, line {lines[0] if rows else skipped + 1}: one column ({top[:60]!r}); {wants}")
    header = [cell.strip() for cell in rows[0]]
    lower = [cell.lower() for cell in header]
    notes: list[str] = []
    if all(map(INTEGER.fullmatch, header[:2])):
        columns = [0, 1, 2][: len(header)]
    else:
        if "source" in lower and "target" in lower:
            columns = [lower.index("source"), lower.index("target")]
        else:
            columns = [0, 1]
            notes.append(f"took line {lines[0]} ({top[:60]!r}) for a header, its first two columns for the ties")
        if "weight" in lower:
            columns.append(lower.index("weight"))
        if unread := [cell for i, cell in enumerate(header) if i not in columns]:
            notes.append(f"left out the column{'s' * (len(unread) > 1)} {', '.join(map(repr, unread))}")
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise GraphError(f"{name}: the file holds a header only; a graph needs at least one tie")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(header):
            has = f"{len(row)} column{'s' * (len(row) != 1)}"
            raise GraphError(f"{name}, line {line}: {has}, the first line has {len(header)}; give every line as many")
    pairs = [row[column].strip() for row in rows for column in columns[:2]]
    if "" in pairs:
        line = int(lines[pairs.index("") // 2])
        raise GraphError(f"{name}, line {line}: a node without a name; fill in source and target")
    weights = np.ones(len(rows))
    if len(columns) == 3:
        weights = _numbers(name, [row[columns[2]].strip() for row in rows], lines)
    return _codes(name, "", pairs, weights, lines, notes)


def _node_link(name: str, text: str) -> _Found:
    import networkx as nx

    try:
        data = json.loads(text)
    except json.JSONDecodeError as exc:
        raise GraphError(f"{name}, line {exc.lineno}: not JSON: {exc.msg} at column {exc.colno}") from exc
    except (ValueError, RecursionError) as exc:
        raise GraphError(f"{name}: not JSON that can be read: {exc}") from exc
    wants = 'a graph in JSON is networkx node-link data: {"nodes": [{"id": …}], "edges": [{"source": …, "target": …}]}'
    if not isinstance(data, dict) or not isinstance(data.get("nodes"), list):
        raise GraphError(f"{name}: no list 'nodes'; {wants}")
    key = next((key for key in ("edges", "links") if isinstance(data.get(key), list)), None)
    if key is None:
        raise GraphError(f"{name}: no list 'edges' or 'links'; {wants}")
    for what, items, needs in (("node", data["nodes"], ("id",)), ("tie", data[key], ("source", "target"))):
        for i, item in enumerate(items):
            missing = [need for need in needs if not isinstance(item, dict) or item.get(need) is None]
            if missing:
                raise GraphError(f"{name}: {what} number {i + 1} ({item!r:.60}) has no {missing[0]!r}; {wants}")
    try:
        graph = nx.node_link_graph(data, edges=key)
    except (nx.NetworkXException, AttributeError, LookupError, TypeError, ValueError) as exc:
        raise GraphError(f"{name}: networkx cannot read it as node-link data: {exc}; {wants}") from exc
    return _from_networkx(graph, name, "")


def _xml(name: str, suffix: str, content: bytes) -> _Found:
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    read: Callable[..., Any] = nx.read_graphml if suffix == ".graphml" else nx.read_gexf
    kind = "GraphML" if suffix == ".graphml" else "GEXF"
    try:
        # networkx only warns of what it guesses (a key without a type): the reader of the notes should know.
        with warnings.catch_warnings(record=True) as guesses:
            warnings.simplefilter("always")
            graph = read(io.BytesIO(content))
    except ParseError as exc:
        line, column = exc.position
        said = str(exc).partition(": line")[0]
        raise GraphError(f"{name}, line {line}: not well-formed XML: {said} at column {column + 1}") from exc
    except (nx.NetworkXException, AttributeError, LookupError, TypeError, ValueError) as exc:
        said = " ".join(str(exc).split())
        raise GraphError(f"{name}: networkx cannot read it as {kind}: {said}; write it with networkx or Gephi") from exc
    found = _from_networkx(graph, name, "")
    found.notes.extend(f"networkx says: {guess.message}" for guess in guesses)
    return found

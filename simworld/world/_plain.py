"""A plain Mesa model, as somebody else wrote it, behind the face a run needs: step, rows, metrics untouched."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import mesa
import numpy as np

from simworld.errors import ObserverError, ParameterError, did_you_mean
from simworld.rng import Chance
from simworld.world import _mesa
from simworld.world._events import EventBuffer
from simworld.world._graph import SocialGraph
from simworld.world._world import StepRecord

type Row = tuple[Any, ...]


class PlainModel:
    """Runs a `mesa.Model` subclass that knows nothing of simworld.

    Each step records one row an agent: its class, its place (``x``, ``y`` from ``pos`` or its cell), and those of its
    attributes that are numbers, booleans or short texts at the start. Agents that come and go are events ``join`` and
    ``leave``. Metrics are what the model's own DataCollector collected in the step.
    """

    directed = False
    tie_kinds: tuple[str, ...] = ("tie",)
    tables: Mapping[str, Any] = {"agents": None}

    def __init__(self, cls: type[mesa.Model], seed: int, params: Mapping[str, Any]) -> None:
        """Make the model.

        Raises:
            ParameterError: an unknown parameter, or one the constructor refuses.
        """
        self.seed = seed
        self.chance = Chance(seed)
        self.params = dict(params)
        self.notes: list[str] = []
        self.events = EventBuffer()
        arguments = _arguments(cls, seed, params, self.notes)
        with _mesa.global_random(seed, "made"), _quiet():
            try:
                self.model = cls(**arguments)
            except (TypeError, ValueError, ArithmeticError, LookupError) as error:
                raise ParameterError(f"{cls.__name__} refused its parameters {dict(params)!r}: {error}") from error
        self._collected = 0
        self._present: dict[int, str] = {}
        """Class of every agent seen at the last step."""
        self._written: dict[int, Row] = {}
        """Rows as they were handed over last."""
        self._columns = self._numeric_and_text()

    # -- time ---------------------------------------------------------------------------------------------------

    @property
    def t(self) -> int:
        """Completed steps."""
        return int(self.model.time + 0.5)

    @property
    def running(self) -> bool:
        """Whether the model wants to go on."""
        return bool(self.model.running)

    def step(self) -> None:
        """Take one step of the model's own."""
        with _mesa.global_random(self.seed, "step", self.t + 1), _quiet():
            self.model.step()

    # -- what it shows ------------------------------------------------------------------------------------------

    @property
    def n_agents(self) -> int:
        """Number of agents alive."""
        return len(self.model.agents)

    @property
    def happened(self) -> Mapping[str, int]:
        """Number of events of this step, by kind."""
        return self.events.counts

    def adjacency(self, kind: str | None = None) -> Any:
        """Refuse: a plain Mesa model has no social graph."""
        raise ObserverError("a plain Mesa model has no social graph; network observers (-o) need a simworld scenario")

    def column(self, name: str) -> Any:
        """Refuse: a plain Mesa model has no state table."""
        raise ObserverError(f"a plain Mesa model has no column {name!r}; observers (-o) need a simworld scenario")

    def trait(self, letter: str) -> Any:
        """Refuse: the agents of a plain Mesa model have no personas."""
        raise ObserverError(f"agents of a plain Mesa model have no trait {letter!r}; use a simworld scenario")

    def stream(self, *name: str | int) -> np.random.Generator:
        """Open a named stream of draws."""
        return self.chance.stream("step", self.t, *name)

    def metrics(self) -> dict[str, Any]:
        """Return what the model's DataCollector collected since the last call: the latest value of each reporter."""
        collector = getattr(self.model, "datacollector", None)
        series: Mapping[str, list[Any]] = getattr(collector, "model_vars", {})
        length = max((len(values) for values in series.values()), default=0)
        fresh, self._collected = length > self._collected, length
        return {name: values[-1] for name, values in series.items() if values} if fresh else {}

    # -- being recorded -----------------------------------------------------------------------------------------

    def drain(self, *, state: bool = True) -> StepRecord:
        """Hand over the rows that changed since the last call, and who joined and left."""
        names = list(self._columns)
        now: dict[int, Row] = {}
        for agent in self.model.agents:
            read = (_read(agent, name, self._columns[name]) for name in names)
            now[int(agent.unique_id)] = (type(agent).__name__, *_place(agent), *read)
        for i in sorted(now.keys() - self._present.keys()):
            self.events.one("join", i, -1, -1, np.nan, now[i][0], None)
        for i in sorted(self._present.keys() - now.keys()):
            self.events.one("leave", i, -1, -1, np.nan, self._present[i], None)
        self._present = {i: row[0] for i, row in now.items()}
        tables = {}
        if state:
            changed = {i for i, row in now.items() if repr(row) != repr(self._written.get(i))}
            ids = sorted(changed | (self._written.keys() - now.keys()))
            rows = [now[i] if i in now else self._written[i] for i in ids]
            columns: dict[str, Any] = {"alive": np.array([i in now for i in ids], bool)}
            for at, name in enumerate(["type", "x", "y", *names]):
                is_text = name == "type" or self._columns.get(name) is str
                columns[name] = np.array([row[at] for row in rows], object if is_text else np.float64)
            tables["agents"] = (np.array(ids, np.int64), columns)
            self._written = now
        return StepRecord(self.t, self.events.drain(), SocialGraph(0).drain(), tables, "{}")

    def _numeric_and_text(self) -> dict[str, type]:
        found: dict[str, type] = {}
        for agent in self.model.agents:
            for name, value in vars(agent).items():
                if name.startswith("_") or name in ("unique_id", "pos", "x", "y", "type", "alive", "step", "id"):
                    continue
                if isinstance(value, str):
                    found[name] = str
                elif isinstance(value, bool | int | float | np.number | np.bool_):
                    found.setdefault(name, float)
        return dict(sorted(found.items()))


def _read(agent: Any, name: str, kind: type) -> Any:
    value = getattr(agent, name, None)
    if kind is str:
        return value if isinstance(value, str) else ""
    return float(value) if isinstance(value, bool | int | float | np.number | np.bool_) else np.nan


def _place(agent: Any) -> tuple[float, float]:
    where = getattr(agent, "pos", None)
    if where is None:
        where = getattr(getattr(agent, "cell", None), "coordinate", None)
    if where is None:
        where = getattr(agent, "position", None)
    if where is None and hasattr(agent, "x"):
        where = (_read(agent, "x", float), _read(agent, "y", float))
    if where is None:
        return (np.nan, np.nan)
    numbers = np.atleast_1d(np.asarray(where, np.float64))
    return (float(numbers[0]), float(numbers[1]) if len(numbers) > 1 else np.nan)


class _quiet(warnings.catch_warnings):
    """Silences Mesa's own deprecations for the time of the block: they are the model author's, not the user's."""

    def __enter__(self) -> None:
        super().__enter__()
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)


def _arguments(cls: type, seed: int, params: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    signature = inspect.signature(cls)
    takes = {n for n, p in signature.parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    scenario = _scenario_class(cls) if "scenario" in takes else None
    fields = _scenario_fields(scenario)
    known = (takes | fields) - {"scenario", "rng", "seed", "self"}
    arguments: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for name, value in params.items():
        if name in takes - {"scenario", "rng", "seed"} or (takes_any and name not in fields):
            arguments[name] = value
        if name in fields:
            # A model may take one name in both places (Epstein's width and height): both get the value.
            settings[name] = value
        if name not in known and not takes_any:
            hint = did_you_mean(name, known)
            raise ParameterError(f"{cls.__name__} has no parameter {name!r}{hint}; it has {sorted(known)}")
    if scenario is not None:
        arguments["scenario"] = scenario(rng=seed, **settings)
    elif "rng" in takes or takes_any:
        arguments["rng"] = seed
    elif "seed" in takes:
        arguments["seed"] = seed
    else:
        notes.append(f"{cls.__name__} takes no seed; only the process-wide generators could be seeded")
    return arguments


def _scenario_class(cls: type) -> Any:
    """Return the one Mesa Scenario subclass that the model's module knows, or None."""
    from mesa.experimental.scenarios import Scenario

    module = sys.modules[cls.__module__]
    found = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Scenario) and v is not Scenario]
    if len(found) > 1:
        annotation = str(inspect.signature(cls).parameters["scenario"].annotation)
        found = [v for v in found if v.__name__ in annotation] or found
    return found[0] if found else Scenario


def _scenario_fields(scenario: Any) -> set[str]:
    if scenario is None:
        return set()
    return {
        name for base in scenario.__mro__[:-2] for name in getattr(base, "__annotations__", {}) if name[0] != "_"
    } - {"rng", "model"}

"""A campaign: what is varied, how often, what is measured, when to stop; read from a TOML file or given in Python."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from simworld.errors import CampaignError, did_you_mean
from simworld.schema import Record

type Value = bool | int | float | str | None

SETTINGS = (
    "mind", "model", "cast", "graph", "steps", "replicate", "shuffle_personas", "card", "temperature", "max_tokens",
    "attempts", "observers", "seats",
)  # fmt: skip
"""What may be varied or fixed beside the scenario's parameters; and ``memory.NAME``, ``seeds.NAME``.

``observers`` is a text of names separated by commas, observers beside the campaign's own; ``seats`` a text of
``AGENT=MIND`` separated by commas, as for ``simworld run --seat``; ``""`` is none.
"""
OWN = ("point", "replicate", "key", "status", "error", "digest", "steps_done", "usd", "tokens")
"""Columns of the results that are no factor and no measure."""


MOST_RUNS = 1_000_000
"""Runs that a campaign may begin with; arbitrary: their plan takes some gigabytes."""


class Span(Record):
    """A factor that is a range of numbers."""

    low: float
    """Least value."""
    high: float
    """Greatest value."""
    levels: int | None = Field(None, ge=2, le=MOST_RUNS)
    """How many values a factorial takes, evenly spaced; the sampled designs take any, and need none."""
    integer: bool = False
    """Whether values are whole numbers; low and high then are, too."""
    log: bool = False
    """Whether values are spaced evenly on a logarithmic scale; with ``integer`` they are rounded."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low!r} is not below high = {self.high!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, got {self.low!r}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"integer needs whole numbers as low and high, got {self.low!r} and {self.high!r}")
        if self.levels is not None and (n := len(self.values())) < self.levels:
            raise ValueError(
                f"levels = {self.levels} of the whole numbers from {self.low:g} to {self.high:g} are only {n} "
                f"different values; say levels = {n} or fewer"
            )
        return self

    def values(self) -> list[Value]:
        """Return the levels of a factorial, each once; needs ``levels``."""
        found = [self._between(float(u), self.high) for u in np.linspace(0.0, 1.0, self.levels or 0)]
        # The ends are what was written, whatever a logarithm makes of them.
        found = [self.low, *found[1:-1], self.high]
        return list(dict.fromkeys(round(value) if self.integer else value for value in found))

    def at(self, u: float) -> Value:
        """Return the value at a share ``u`` of the range, in [0, 1].

        Each whole number has the share of the range from itself to the next, on the scale that is asked for.
        """
        if self.integer:
            return min(max(math.floor(self._between(u, self.high + 1)), int(self.low)), int(self.high))
        return self._between(u, self.high)

    def _between(self, u: float, high: float) -> float:
        if self.log:
            return math.exp(math.log(self.low) + u * (math.log(high) - math.log(self.low)))
        return self.low + u * (high - self.low)


class Draw(Record):
    """A factor that is a distribution, for random, Latin hypercube and Sobol' designs; of Morris designs beta alone.

    Morris' trajectories visit the ends of every factor, which the other distributions do not have.
    """

    distribution: Literal["normal", "lognormal", "beta", "exponential"]
    """Name; parameters as SciPy has them."""
    mean: float = 0.0
    """Mean (normal), mean of the logarithm (lognormal)."""
    sd: float = Field(1.0, gt=0)
    """Standard deviation (normal), of the logarithm (lognormal)."""
    a: float = Field(1.0, gt=0)
    """First shape (beta)."""
    b: float = Field(1.0, gt=0)
    """Second shape (beta)."""
    scale: float = Field(1.0, gt=0)
    """Mean (exponential)."""

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> Self:
        takes = _TAKES[self.distribution]
        for name in ("mean", "sd", "a", "b", "scale"):
            if name not in takes and getattr(self, name) != Draw.model_fields[name].default:
                raise ValueError(f"a {self.distribution} distribution takes {' and '.join(takes)}, no {name}")
        return self

    def at(self, u: float) -> Value:
        """Return the quantile ``u``; the ends are moved in by 1e-6."""
        from scipy import stats

        q = min(max(u, 1e-6), 1 - 1e-6)
        if self.distribution == "normal":
            return float(stats.norm.ppf(q, self.mean, self.sd))
        if self.distribution == "lognormal":
            return float(stats.lognorm.ppf(q, self.sd, scale=math.exp(self.mean)))
        if self.distribution == "beta":
            return float(stats.beta.ppf(q, self.a, self.b))
        return float(stats.expon.ppf(q, scale=self.scale))


_TAKES = {
    "normal": ("mean", "sd"), "lognormal": ("mean", "sd"), "beta": ("a", "b"), "exponential": ("scale",),
}  # fmt: skip


def _kind_of(factor: Any) -> str:
    """Return which kind of factor is meant, so that what is wrong is said of that kind alone."""
    if isinstance(factor, Draw) or (isinstance(factor, Mapping) and "distribution" in factor):
        return "draw"
    return "span" if isinstance(factor, Span | Mapping) else "list"


type Factor = Annotated[
    Annotated[tuple[Value, ...], Tag("list")] | Annotated[Span, Tag("span")] | Annotated[Draw, Tag("draw")],
    Discriminator(_kind_of),
]


class Design(Record):
    """Which combinations of the factors are run."""

    kind: Literal["factorial", "points", "latin_hypercube", "sobol", "morris", "random", "variance"] = "factorial"
    """``factorial`` all combinations; ``points`` those listed; ``latin_hypercube``, ``random``, ``sobol`` (Saltelli's
    scheme) samples of the ranges; ``morris`` trajectories; ``variance`` the nested design of the variance card."""
    n: int | None = Field(None, ge=1, le=MOST_RUNS)
    """Points of a Latin hypercube or random design, base sample of Sobol' (a power of 2), trajectories of Morris."""
    points: tuple[dict[str, Value], ...] = ()
    """The points of ``points``, each a value for every factor."""
    levels: int = Field(4, ge=2)
    """Levels of a Morris design, an even number."""
    second_order: bool = False
    """Whether Sobol' also estimates second-order indices, at twice the runs."""
    components: tuple[str, ...] = ("personas", "graph", "schedule", "seed")
    """Of the variance card, the outermost first: ``personas``, ``graph``, ``schedule``, ``seed``, ``sampling``
    (replicates of language models), ``card`` (prompt rendering), ``model``. The last two take the listed values of
    their factor, the same in every value of the component before; outermost they are easiest to read."""
    repeats: int = Field(3, ge=2)
    """Values of each component within one value of the component before it."""


class Measure(Record):
    """What is read from a run, and when."""

    metric: str = Field(min_length=1)
    """A metric (``observer.metric``, or the scenario's own) or a finding (``observer.metric``)."""
    at: Literal["final", "mean", "max", "min"] = "final"
    """After the last step, or over the steps from ``after`` on."""
    after: int = Field(0, ge=0)
    """Steps left out at the beginning: the burn-in."""
    name: str = ""
    """Column in the results; the metric's own name, with ``at`` where it is not final, by default."""

    @model_validator(mode="after")
    def _has_a_burn_in(self) -> Self:
        if self.at == "final" and self.after:
            raise ValueError(
                f'after = {self.after} has nothing to do where at is "final"; say at = "mean", or leave it out'
            )
        return self

    @property
    def column(self) -> str:
        """Column in the results."""
        return self.name or (self.metric if self.at == "final" else f"{self.metric}:{self.at}")


class Until(Record):
    """Adaptive replication: more replicates of a point until its mean is known well enough.

    With ``bounds`` the rule is an exact confidence sequence (hedged betting; Waudby-Smith, Ramdas 2024,
    doi:10.1093/jrsssb/qkad009): the interval at the stop holds the point's mean with at least ``confidence``, whatever
    the distribution within the bounds, and whenever it stops. Without, it is an asymptotic one (Waudby-Smith, Arbour,
    Sinha, Kennedy, Ramdas 2021, arXiv 2103.06476): this holds as ``first`` grows, and after few values of a rare event
    or a skewed outcome it may stop much too early; equal values then never count as enough. What is guaranteed is
    said of each point by itself, and of runs that did not fail. The rule is asked after ``first`` replicates and then
    after every five (of more than a hundred, every twentieth part), in their order, so the number of workers
    changes nothing.
    """

    metric: str
    """Column of the results whose mean is wanted."""
    ci_width: float = Field(gt=0)
    """Width of the interval at which a point has enough, in units of the metric."""
    max_replicates: int = Field(ge=1)
    """Replicates at which a point has enough anyway."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Coverage of the interval, whenever one stops."""
    first: int = Field(30, ge=2)
    """Replicates before the rule is first asked; the asymptotic sequence is narrowest about there."""
    bounds: tuple[float, float] | None = None
    """Least and greatest value that the metric can take, known beforehand; a value outside ends the campaign."""

    @model_validator(mode="after")
    def _wide_enough(self) -> Self:
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds = {list(self.bounds)} are not [low, high] with low below high")
        if self.bounds is not None and self.ci_width >= self.bounds[1] - self.bounds[0]:
            raise ValueError(f"ci_width = {self.ci_width:g} is no less than the distance of bounds {list(self.bounds)}")
        return self


class Budget(Record):
    """What a campaign may cost in all."""

    usd: float | None = Field(None, ge=0)
    """US dollars."""
    tokens: int | None = Field(None, ge=0)
    """Input and output tokens together."""


class Stop(Record):
    """When a run, or the campaign, is given up."""

    timeout_s: float | None = Field(None, gt=0, le=1e8)
    """Seconds of wall-clock time after which a run counts as failed; None: never."""
    max_failed: int | None = Field(None, ge=0)
    """Failed runs after which no more are started; None: any number may fail."""


class Campaign(Record):
    """Everything that decides what a campaign runs and measures. Two campaigns that are equal give equal results.

    Given in Python it holds plain values, as a file does; numbers of NumPy are taken as plain ones.
    """

    scenario: str
    """A scenario, as for ``simworld run``."""
    title: str = ""
    """One sentence for the report."""
    params: dict[str, Any] = {}
    """Parameters that stay fixed."""
    settings: dict[str, Any] = {}
    """What else stays fixed: one of `SETTINGS`, ``memory.NAME``, ``seeds.NAME``, ``api_base``, ``prices``.
    ``seats`` may also be a table: ``seats = { "3" = "null" }``."""
    factors: dict[str, Factor] = {}
    """What varies: a parameter (``rules`` is one, where a scenario has it), one of `SETTINGS`, ``memory.NAME`` or
    ``seeds.NAME``; a list of values, a span, or a distribution. A parameter that is a text and begins with ``@`` is
    the text of that file, as for ``simworld run -p``; one that does begin with @ is written ``@@``."""
    design: Design = Design()
    """Which combinations are run."""
    replicates: int = Field(1, ge=1)
    """Runs of each point, under seeds of their own."""
    seed: int = Field(0, ge=0)
    """The seed that all others come from."""
    common_random_numbers: bool = False
    """Whether the k-th replicates of all points share a seed, so that points can be compared in pairs."""
    steps: int | None = Field(None, ge=0)
    """Steps of a run; the scenario's own when None."""
    observers: tuple[str, ...] = ()
    """Observers added to the scenario's own."""
    measures: tuple[Measure, ...] = ()
    """What is read from each run; every metric after the last step and every finding when empty."""
    outcome: str = ""
    """Column of the results that the report looks at first; by default the first measure, and where no measures are
    listed the first column that is measured."""
    series: tuple[str, ...] = ()
    """Metrics whose whole course is kept in ``series.parquet``."""
    until: Until | None = None
    """Adaptive replication."""
    stop: Stop = Stop()
    """When a run, or the campaign, is given up."""
    budget: Budget = Budget()
    """What it may cost."""
    record: Literal["runs", "metrics"] = "metrics"
    """``runs``: every run is a folder; ``metrics``: only what is measured is kept."""
    theory: dict[str, float] = {}
    """Values that theory gives, by column of the results: lines in the report."""
    executor: str = "processes"
    """Where runs are made: ``processes``, ``ray``, ``ray:ADDRESS``, ``here``; decides no result."""
    workers: int | None = Field(None, ge=1)
    """Processes; as many as there are processors when None; decides no result."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        found = {
            name: _plain(value, str(name)) if name in _FREE else _numbers(value, str(name))
            for name, value in said.items() if name != "factors"
        }  # fmt: skip
        if isinstance(factors := said.get("factors"), Mapping):
            # A campaign itself holds the values of a factor as a tuple.
            found["factors"] = {
                name: _plain(list(each) if isinstance(each, tuple) else each, f"factors.{name}")
                for name, each in factors.items()
            }
        elif "factors" in said:
            found["factors"] = factors
        return found

    @field_validator("replicates", "seed", "steps", "workers", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError("it is a whole number, without quotes")
        return value

    @field_validator("measures", mode="before")
    @classmethod
    def _plain_names(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple({"metric": one} if isinstance(one, str) else one for one in value)
        return value

    @field_validator("factors", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name, levels in value.items():
            if isinstance(levels, list | tuple):
                if not levels:
                    raise ValueError(f"factor {name!r} has no value; give at least one")
                for level in levels:
                    if isinstance(level, float) and not math.isfinite(level):
                        raise ValueError(f"factor {name!r} has the value {level!r}, which is no finite number")
                    if isinstance(level, list | dict):
                        raise ValueError(
                            f"factor {name!r} has the value {level!r:.80}; a value is one number, text, true or false"
                        )
                # 1 and 1.0 would be one row of every table, true and 1 would not.
                if len({json.dumps(_counted(level)) for level in levels}) < len(levels):
                    raise ValueError(f"factor {name!r} has a value twice: {list(levels)!r:.200}")
            elif not isinstance(levels, Mapping | Record):
                raise ValueError(f"factor {name!r} is one value; give a list of values, or fix it under [params]")
        return {name: tuple(each) if isinstance(each, list) else each for name, each in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kind, design = self.design.kind, self.design
        varied = [name.removeprefix("params.") for name in self.factors]
        fixed = [*self.params, *(name.removeprefix("params.") for name in self.settings)]
        fixed += ["steps"] if self.steps is not None else []
        if twice := set(varied) & set(fixed):
            raise ValueError(f"{min(twice)!r} is fixed and varied; leave it out of one")
        for what, names in (("varied", varied), ("fixed", fixed)):
            if len(set(names)) < len(names):
                raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is {what} twice; say it once")
        for key, kinds in _KINDS.items():
            if kind not in kinds and getattr(design, key) != Design.model_fields[key].default:
                raise ValueError(
                    f"design.{key} has nothing to do in a {kind} design, only in {' and '.join(kinds)}; leave it out"
                )
        if kind == "variance" and self.common_random_numbers:
            raise ValueError("a variance design says itself what runs share; leave common_random_numbers out")
        if kind == "points":
            if not design.points:
                raise ValueError("design.points is empty; list the points, or choose another design.kind")
            for point in design.points:
                if point.keys() != self.factors.keys():
                    raise ValueError(f"point {point!r:.100} does not give a value for each of {list(self.factors)}")
                for name, value in point.items():
                    if not _may_be(self.factors[name], value):
                        raise ValueError(f"point {point!r:.100}: {value!r:.40} is no value of factor {name!r}")
        elif design.points:
            raise ValueError(f"design.points has nothing to do in a {kind} design; leave it out")
        if kind in ("latin_hypercube", "random", "sobol", "morris"):
            if design.n is None:
                raise ValueError(f"a {kind} design needs design.n")
            if not self.factors:
                raise ValueError(f"a {kind} design needs factors")
            for name, factor in self.factors.items():
                if isinstance(factor, Span) and factor.levels is not None:
                    raise ValueError(f"factor {name!r}: a {kind} design takes any value of a span; leave levels out")
                if kind == "morris" and isinstance(factor, Draw) and factor.distribution != "beta":
                    raise ValueError(
                        f"factor {name!r}: a morris design visits the ends of a factor, and a {factor.distribution} "
                        "distribution has none; give low and high"
                    )
        if kind == "morris" and design.levels % 2:
            raise ValueError(f"design.levels = {design.levels} of a morris design is odd; give an even number")
        if kind == "sobol" and design.n is not None and design.n & (design.n - 1):
            raise ValueError(f"design.n = {design.n} of a sobol design is no power of 2")
        if kind == "factorial":
            for name, factor in self.factors.items():
                if isinstance(factor, Draw):
                    raise ValueError(f"factor {name!r} is a distribution, which a factorial cannot run through")
                if isinstance(factor, Span) and factor.levels is None:
                    raise ValueError(f"factor {name!r} is a span; say its levels, or choose a sampled design.kind")
        if kind == "variance" and self.replicates > 1:
            raise ValueError("a variance design has one run a leaf, and repeats say how often; leave replicates out")
        if kind == "variance":
            known = ("personas", "graph", "schedule", "seed", "sampling", "card", "model")
            for one in design.components:
                if one not in known:
                    raise ValueError(f"no component {one!r}{did_you_mean(one, known)}; there are {list(known)}")
            if len(set(design.components)) < len(design.components) or len(design.components) < 2:
                raise ValueError("a variance design needs two components or more, each once")
            for one in ("card", "model"):
                levels = self.factors.get(one)
                if one in design.components and not (isinstance(levels, tuple) and len(levels) >= 2):
                    raise ValueError(f"component {one!r} needs a factor {one!r} with two values or more")
            if extra := self.factors.keys() - set(design.components):
                raise ValueError(f"factor {min(extra)!r} is no component of this variance design; fix it")
        if self.until is not None and self.until.max_replicates < self.replicates:
            raise ValueError(f"until.max_replicates is below replicates = {self.replicates}")
        if self.until is not None and not self.measures:
            raise ValueError("until needs measures, of which it watches one; list them")
        if self.until is not None and kind in ("sobol", "morris", "variance"):
            raise ValueError(f"a {kind} design needs the same number of runs at every point; leave until out")
        names = [measure.column for measure in self.measures]
        if len(set(names)) < len(names):
            raise ValueError(f"two measures have one name in {names}; give them names")
        for measure in self.measures:
            if self.steps is not None and measure.after > self.steps:
                raise ValueError(
                    f"measure {measure.column!r} is read from step {measure.after} on, and a run has {self.steps} steps"
                )
        if own := set(names) & set(OWN):
            raise ValueError(f"measure {min(own)!r} has the name of another column of the results; give it a name")
        if own := set(self.series) & {"point", "replicate", "step"}:
            raise ValueError(
                f"series {min(own)!r} has the name of another column of series.parquet; rename the scenario's metric"
            )
        if len(set(self.series)) < len(self.series):
            raise ValueError(f"series names a metric twice: {list(self.series)}")
        columns = [("until.metric", self.until.metric if self.until else ""), ("outcome", self.outcome)]
        for what, wanted in (*columns, *(("theory", name.removeprefix("value:")) for name in self.theory)):
            if wanted and names and wanted not in names:
                raise ValueError(f"{what} = {wanted!r} is no measure{did_you_mean(wanted, names)}; there are {names}")
        has_model = "model" in {*self.settings, *self.factors}
        if has_model and self.record == "metrics":
            raise ValueError('language models are asked, so what they answer must be kept: set record = "runs"')
        if (self.budget.usd is not None or self.budget.tokens is not None) and not (has_model or self._may_ask()):
            raise ValueError("a budget has nothing to do without a language model; leave it out")
        return self

    def _may_ask(self) -> bool:
        """Whether minds, seats or personas may name a language model; only a run knows its policies."""
        minds = self.factors.get("mind", (self.settings.get("mind"),))
        others = {"seats", "cast"} & {*self.settings, *self.factors}
        return bool(others) or any(mind not in (None, "", "rules", "null") for mind in minds)

    def digest(self) -> str:
        """Return the sha256 of what a pre-registration freezes: all but title, executor and workers."""
        said = self.model_dump(mode="json", exclude={"title", "executor", "workers"})
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


_FREE = ("params", "settings", "theory")
"""Fields whose values are the user's own."""

_KINDS: dict[str, tuple[str, ...]] = {
    "n": ("latin_hypercube", "random", "sobol", "morris"), "levels": ("morris",), "second_order": ("sobol",),
    "components": ("variance",), "repeats": ("variance",),
}  # fmt: skip
"""The designs that each key of a design is for."""


def _plain(value: Any, where: str) -> Any:
    """Return a value with NumPy's numbers as plain ones; refuse what a campaign file could not say."""
    if isinstance(value, np.bool | np.integer | np.floating):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str | Record):
        return value
    if isinstance(value, list):
        return [_plain(each, where) for each in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(each, f"{where}.{name}") for name, each in value.items()}
    hint = ", .tolist() makes a list" if isinstance(value, np.ndarray) else ", write it as a text or a list"
    raise ValueError(f"{where} holds a {type(value).__name__}, {value!r:.60}{hint}")


def _numbers(value: Any, where: str) -> Any:
    """Return a value of the campaign's own fields with NumPy's numbers as plain ones."""
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value, where)
    if isinstance(value, list | tuple):
        return [_numbers(each, where) for each in value]
    if isinstance(value, Mapping):
        return {name: _numbers(each, f"{where}.{name}") for name, each in value.items()}
    return value


def _counted(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _may_be(factor: Factor, value: Value) -> bool:
    """Whether a value is one that a factor can have."""
    if isinstance(factor, tuple):
        return any(type(_counted(value)) is type(_counted(level)) and value == level for level in factor)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(factor, Span):
        return factor.low <= value <= factor.high and (not factor.integer or float(value).is_integer())
    return True


def read_campaign(path: str | Path) -> Campaign:
    """Read a campaign file.

    Raises:
        CampaignError: one line that names what is wrong and what would be right.
    """
    file = Path(path)
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise CampaignError(f"no campaign file {str(file)!r}; shipped ones are in scenarios/*/sweeps/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CampaignError(f"{file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise CampaignError(f"{file} is no TOML: {error}") from error
    return checked(said, str(file))


def checked(said: Mapping[str, Any], where: str = "the campaign") -> Campaign:
    """Return a validated campaign.

    Raises:
        CampaignError: one line that names what is wrong and what would be right.
    """
    try:
        return Campaign.model_validate(said)
    except ValidationError as error:
        raise CampaignError(f"{where}: {_line(error)}") from None


def _line(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    # A name that is written wrong is said before the one that is missing for it.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    # Of a union the member's own name stands in the place; a reader knows only what was written.
    place = [str(part) for part in first["loc"] if part not in ("list", "span", "draw")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = _fields_at(place[:-1])
        hint = did_you_mean(place[-1], known) or f"; there are {known}"
        return f"no key {name!r}{hint}"
    if first["type"] == "missing":
        return f"{name!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return message if not name else f"{name}: {message}, got {first['input']!r:.80}"


_PARTS: dict[str, type[Record]] = {
    "design": Design, "until": Until, "stop": Stop, "budget": Budget, "measures": Measure,
}  # fmt: skip


def _fields_at(place: Sequence[str]) -> list[str]:
    cls: type[Record] = Campaign
    for part in place:
        cls = _PARTS.get(part, cls)
    if place and place[0] == "factors":
        return [*Span.model_fields, *Draw.model_fields]
    return list(cls.model_fields)

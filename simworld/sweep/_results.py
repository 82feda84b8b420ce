"""Results: the tables of a campaign, and the campaign as a Python object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import CampaignError, did_you_mean
from simworld.run import Run, load_run, write_whole
from simworld.scenario import find_lab
from simworld.sweep._campaign import Campaign, checked
from simworld.sweep._journal import Journal, chunks

AT_ONCE = 2_000
"""Runs whose outcomes are held in memory at once while tables are written; arbitrary, a few megabytes."""

OWN = ("point", "replicate", "key", "status", "error", "digest", "steps_done", "usd", "tokens")


def write_tables(
    folder: Path, points: Sequence[Mapping[str, Any]], tasks: Iterable[tuple[int, int, str]], journal: Journal
) -> None:
    """Write ``results.parquet``, one row a run in order of point and replicate, and ``series.parquet``."""
    parts: list[pl.DataFrame] = []
    courses: list[pl.DataFrame] = []
    for some in chunks(tasks, AT_ONCE):
        rows: list[dict[str, Any]] = []
        for (point, replicate, key), found in zip(some, journal.outcomes([key for *_, key in some]), strict=True):
            if found is None:
                continue
            own = dict(zip(OWN, (
                point, replicate, key, found.status, found.error, found.digest, found.steps, found.usd, found.tokens,
            ), strict=True))  # fmt: skip
            rows.append({**own, **{f"value:{name}": value for name, value in found.values.items()}})
            if found.series:
                course = pl.DataFrame(found.series).with_columns(pl.col("step").cast(pl.Int32))
                ids = (pl.lit(point, pl.Int32).alias("point"), pl.lit(replicate, pl.Int32).alias("replicate"))
                courses.append(course.select(*ids, pl.all()))
        if rows:
            names = list(dict.fromkeys(name for row in rows for name in row))
            columns = {name: [row.get(name) for row in rows] for name in names}
            parts.append(pl.DataFrame(columns, schema_overrides=_types(names)))
    table = pl.concat(parts, how="diagonal") if parts else pl.DataFrame(schema=_types(OWN))
    factors = _factors(points)
    taken = {*OWN, *factors.columns}
    measured = [name for name in table.columns if name.startswith("value:")]
    shown = {name: name.removeprefix("value:") for name in measured}
    # A measure of the same name as a factor keeps its prefix, so that neither hides the other.
    shown = {name: name if plain in taken else plain for name, plain in shown.items()}
    table = table.join(factors, on="point", how="left", maintain_order="left")
    order = ["point", "replicate", *(c for c in factors.columns if c != "point"), *OWN[2:], *measured]
    _write(folder / "results.parquet", table.select(order).rename(shown))
    if courses:
        _write(folder / "series.parquet", pl.concat(courses, how="diagonal"))
    else:
        (folder / "series.parquet").unlink(missing_ok=True)


def _types(names: Sequence[str]) -> dict[str, Any]:
    whole = {"point": pl.Int32, "replicate": pl.Int32, "steps_done": pl.Int32, "tokens": pl.Int64, "usd": pl.Float64}
    return {name: pl.Float64 if name.startswith("value:") else whole.get(name, pl.String) for name in names}


def _factors(points: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the value of each factor at each point; numbers stay numbers, a mixture becomes text."""
    columns: dict[str, pl.Series] = {"point": pl.Series(range(len(points)), dtype=pl.Int32)}
    for name in dict.fromkeys(name for point in points for name in point):
        values = [point.get(name) for point in points]
        kinds = {type(value) for value in values if value is not None}
        dtype: Any = pl.String
        if kinds == {bool}:
            dtype = pl.Boolean
        elif kinds == {int}:
            dtype = pl.Int64
        elif kinds and kinds <= {int, float}:
            dtype = pl.Float64
        if dtype == pl.String:
            values = [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
        columns[name if name not in OWN else f"factor:{name}"] = pl.Series(values, dtype=dtype, strict=False)
    return pl.DataFrame(columns)


def _write(path: Path, frame: pl.DataFrame) -> None:
    import io

    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    write_whole(path, buffer.getvalue())


def is_campaign(named: str | Path) -> bool:
    """Whether a folder, or a name under the lab's ``runs/``, is a campaign's."""
    return any((path / "campaign.json").is_file() for path in (Path(named), find_lab().runs / str(named)))


def load_campaign(campaign: str | Path) -> CampaignResults:
    """Open a campaign by its folder, or by its name under the lab's ``runs/``.

    Raises:
        CampaignError: no such campaign.
    """
    path = Path(campaign)
    if not (path / "campaign.json").is_file():
        root = find_lab().runs
        known = sorted(p.parent.name for p in root.glob("*/campaign.json"))
        path = root / str(campaign)
        if str(campaign) not in known:
            hint = did_you_mean(str(campaign), known) or (f"; there are {known}" if known else "; there is none yet")
            raise CampaignError(f"no campaign {str(campaign)!r}{hint}")
    return CampaignResults(path)


class CampaignResults:
    """What a campaign has given so far. Reading it changes nothing in its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        """Folder of the campaign."""
        try:
            self.manifest: dict[str, Any] = json.loads((path / "campaign.json").read_text("utf-8"))
            self.campaign: Campaign = checked(self.manifest["campaign"], str(path / "campaign.json"))
        except (OSError, ValueError, KeyError) as error:
            raise CampaignError(f"{path / 'campaign.json'} cannot be read: {error}") from error

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["name"])

    @property
    def points(self) -> list[dict[str, Any]]:
        """The points of the design: a value for every factor."""
        return list(self.manifest["points"])

    @property
    def factors(self) -> list[str]:
        """Names of the columns of the results that hold factors."""
        names = list(dict.fromkeys(name for point in self.points for name in point))
        return [name if name not in OWN else f"factor:{name}" for name in names]

    @cached_property
    def results(self) -> pl.DataFrame:
        """One row a run, in order of point and replicate: factors, status, digest, cost, and what was measured."""
        try:
            return pl.read_parquet(self.path / "results.parquet")
        except (OSError, pl.exceptions.PolarsError) as error:
            raise CampaignError(f"{self.path / 'results.parquet'} cannot be read: {error}; call sweep again") from error

    @cached_property
    def series(self) -> pl.DataFrame:
        """The course of the wanted metrics: point, replicate, step, one column a metric; empty when none was wanted."""
        file = self.path / "series.parquet"
        return pl.read_parquet(file) if file.is_file() else pl.DataFrame()

    @property
    def done(self) -> pl.DataFrame:
        """The runs that did not fail."""
        return self.results.filter(pl.col("status") == "done")

    @property
    def measures(self) -> list[str]:
        """Names of the columns that hold what was measured."""
        known = {*OWN, *self.factors}
        return [name for name in self.results.columns if name not in known]

    @property
    def outcome(self) -> str:
        """The measure that is looked at first.

        Raises:
            CampaignError: nothing was measured.
        """
        measures = self.measures
        wanted = self.campaign.outcome or (self.campaign.measures[0].column if self.campaign.measures else "")
        if wanted in measures:
            return wanted
        if not measures:
            raise CampaignError(f"{self.path} has no measured run yet; call simworld sweep")
        return measures[0]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What happened to the campaign: ``calls``, ``frozen``, ``seconds`` of each finished run, ``spent``."""
        with Journal(self.path, is_read_only=True) as journal:
            return {
                "calls": journal.calls(), "frozen": journal.frozen(), "seconds": journal.seconds(),
                "spent": journal.spent(),
            }  # fmt: skip

    def summary(self, measure: str | None = None) -> dict[str, Any]:
        """Every analysis that fits the design, of one measure, `outcome` by default: `simworld.sweep.summary`."""
        from simworld.sweep._analysis import summary

        return summary(self, measure)

    def means(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Mean of a measure at each point, with its interval: `simworld.sweep.means`."""
        from simworld.sweep._analysis import means

        return means(self.results, self.factors, measure or self.outcome, **named)

    def effects(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Levels of each factor compared, in pairs where random numbers are common: `simworld.sweep.effects`."""
        from simworld.sweep._analysis import effects

        named = {"paired": self.campaign.common_random_numbers, **named}
        return effects(self.results, self.factors, measure or self.outcome, **named)

    def anova(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Analysis of variance: `simworld.sweep.anova`."""
        from simworld.sweep._analysis import anova

        return anova(self.results, self.factors, measure or self.outcome, **named)

    def correlations(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Rank correlation of each numeric factor with a measure: `simworld.sweep.correlations`."""
        from simworld.sweep._analysis import correlations

        return correlations(self.results, self.factors, measure or self.outcome, **named)

    def sobol(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Sobol' indices of a sobol design: `simworld.sweep.sobol_indices`."""
        from simworld.sweep._analysis import sobol_indices

        return sobol_indices(self.campaign, self.results, measure or self.outcome, **named)

    def morris(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Elementary effects of a morris design: `simworld.sweep.morris_indices`."""
        from simworld.sweep._analysis import morris_indices

        return morris_indices(self.campaign, self.results, measure or self.outcome, **named)

    def variance_card(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Variance by component of a variance design: `simworld.sweep.variance_card`."""
        from simworld.sweep._variance import variance_card

        return variance_card(self.campaign, self.results, measure or self.outcome, **named)

    def run(self, point: int, replicate: int = 0) -> Run:
        """Open one run of a campaign that records runs.

        Raises:
            CampaignError: there is no such run, or it was not recorded.
        """
        rows = self.results.filter((pl.col("point") == point) & (pl.col("replicate") == replicate))
        if self.campaign.record != "runs":
            raise CampaignError(f'{self.name} keeps only what is measured; set record = "runs" to keep runs')
        if not rows.height:
            raise CampaignError(f"{self.name} has no run of point {point}, replicate {replicate}")
        for folder in sorted((self.path / "runs").iterdir()):
            found = load_run(folder)
            if found.digest == rows["digest"][0]:
                return found
        raise CampaignError(f"the folder of point {point}, replicate {replicate} is gone from {self.path / 'runs'}")

    def __repr__(self) -> str:
        n, failed = self.results.height, self.results.height - self.done.height
        return f"simworld campaign {self.name}: {len(self.points)} points, {n} runs, {failed} failed ({self.path})"

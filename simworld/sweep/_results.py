"""Results: the tables of a campaign, and the campaign as a Python object."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from simworld.errors import CampaignError, StorageError, did_you_mean
from simworld.run import Run, load_run
from simworld.scenario import find_lab
from simworld.sweep._campaign import OWN, Campaign, checked
from simworld.sweep._journal import Journal, chunks, reading

AT_ONCE = 500
"""Runs whose outcomes are held as Python objects at once while tables are made; arbitrary, a few megabytes."""

STATE = "simworld.state"
"""Key of a table's metadata: which state of the journal it shows."""


def write_tables(
    folder: Path, points: Sequence[Mapping[str, Any]], tasks: Iterable[tuple[int, int, str]], journal: Journal
) -> None:
    """Write ``series.parquet``, then ``results.parquet``, one row a run in order of point and replicate."""
    table, course = make_tables(points, tasks, journal)
    state = journal.state(points)
    # The results come last: where they show the journal's state, the series do.
    if course.height:
        _write(folder / "series.parquet", course, state)
    else:
        (folder / "series.parquet").unlink(missing_ok=True)
    _write(folder / "results.parquet", table, state)


def make_tables(
    points: Sequence[Mapping[str, Any]], tasks: Iterable[tuple[int, int, str]], journal: Journal
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the results and the series of the runs of a plan that are there."""
    parts: list[pl.DataFrame] = []
    courses: list[pl.DataFrame] = []
    for some in chunks(tasks, AT_ONCE):
        rows: list[dict[str, Any]] = []
        course: dict[str, list[float]] = {}
        for (point, replicate, key), found in zip(some, journal.outcomes([key for *_, key in some]), strict=True):
            if found is None:
                continue
            own = dict(zip(OWN, (
                point, replicate, key, found.status, found.error, found.digest, found.steps, found.usd, found.tokens,
            ), strict=True))  # fmt: skip
            rows.append({**own, **{f"value:{name}": value for name, value in found.values.items()}})
            if found.series:  # the same names in every run: they are part of its key
                n = len(found.series["step"])
                ids: dict[str, list[float]] = {"point": [point] * n, "replicate": [replicate] * n}
                for name, values in (ids | found.series).items():
                    course.setdefault(name, []).extend(values)
        if course:
            courses.append(pl.DataFrame(course).with_columns(pl.col("point", "replicate", "step").cast(pl.Int32)))
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
    results = table.select(order).rename(shown)
    return results, pl.concat(courses) if courses else pl.DataFrame()


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


def _write(path: Path, frame: pl.DataFrame, state: str) -> None:
    # Straight to the disk: as bytes in memory a long campaign's series would be there twice.
    temporary = path.with_name(path.name + ".tmp")
    try:
        frame.write_parquet(temporary, compression="zstd", metadata={STATE: state})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error}; free space or permissions, then call it again") from error


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
    """What a campaign has given so far. Reading it changes nothing in its folder.

    Tables that do not show what is in the journal, of a campaign that is under way or was killed, are computed from it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Folder of the campaign."""
        try:
            said = json.loads((path / "campaign.json").read_text("utf-8"))
            if (path / "campaign.sqlite").is_file():
                # Both are the same but for the moment in which a new plan is written down.
                said = reading(path, lambda journal: journal.manifest()) or said
            self.manifest: dict[str, Any] = said
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
        return self._table("results.parquet") if self._is_written_down else self._computed[0]

    @cached_property
    def series(self) -> pl.DataFrame:
        """The course of the wanted metrics: point, replicate, step, one column a metric; empty when none was wanted."""
        if not self._is_written_down:
            return self._computed[1]
        return self._table("series.parquet") if (self.path / "series.parquet").is_file() else pl.DataFrame()

    def _table(self, name: str) -> pl.DataFrame:
        try:
            # As bytes: a table that is mapped would change under a reader's hands.
            return pl.read_parquet((self.path / name).read_bytes())
        except (OSError, pl.exceptions.PolarsError) as error:
            raise CampaignError(f"{self.path / name} cannot be read: {error}; call sweep again") from error

    @cached_property
    def _is_written_down(self) -> bool:
        """Whether the tables show what is in the journal; without one they are all there is."""
        if not (self.path / "campaign.sqlite").is_file():
            return True
        try:
            shown = pl.read_parquet_metadata(self.path / "results.parquet").get(STATE)
        except (OSError, pl.exceptions.PolarsError):
            return False
        return shown == reading(self.path, lambda journal: journal.state(self.points))

    @cached_property
    def _computed(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        return reading(self.path, lambda journal: make_tables(self.points, journal.tasks(), journal))

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
        """The measure that is looked at first: the campaign's outcome, else its first measure, else the first column.

        `notes` say when the outcome that the campaign names was not measured, and another is taken.

        Raises:
            CampaignError: nothing was measured.
        """
        measures = self.measures
        wanted = self.campaign.outcome or (self.campaign.measures[0].column if self.campaign.measures else "")
        for name in (wanted, f"value:{wanted}"):  # as a column is called whose name is also a factor's
            if name in measures:
                return name
        if not measures:
            raise CampaignError(f"{self.path} has no measured run yet; call simworld sweep")
        return measures[0]

    @cached_property
    def record(self) -> dict[str, Any]:
        """What happened to the campaign.

        ``calls`` (``ended`` is empty for one that is under way or was killed), ``frozen``, ``seconds`` of each
        finished run, ``spent`` in dollars and tokens, ``planned_at``: runs of the plan by point, and ``versions``: how
        many runs of the plan were made by which.
        """
        return reading(self.path, lambda journal: {
            "calls": journal.calls(), "frozen": journal.frozen(), "seconds": journal.seconds(),
            "spent": journal.spent(), "planned_at": journal.planned_at(), "versions": journal.versions(),
        })  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What a reader must know before believing the results, a sentence each."""
        found = []
        wanted, measures = self.campaign.outcome, self.measures
        if wanted and measures and not {wanted, f"value:{wanted}"} & set(measures):
            found.append(
                f"outcome = {wanted!r} was not measured{did_you_mean(wanted, measures)}; {self.outcome!r} is looked at "
                f"instead; there are {measures}"
            )
        versions = self.record["versions"] if (self.path / "campaign.sqlite").is_file() else []
        if len(versions) > 1:
            names = sorted({name for _, said in versions for name in said})
            differ = [name for name in names if len({said.get(name) for _, said in versions}) > 1]
            parts = [
                f"{n:,} with {', '.join(f'{name} {said.get(name, "unknown")[:12]}' for name in differ)}"
                for n, said in versions
            ]
            found.append(
                f"runs were made by different versions: {'; '.join(parts)}; with a new --name one version makes all"
            )
        return found

    def summary(self, measure: str | None = None) -> dict[str, Any]:
        """Every analysis that fits the design, of one measure, `outcome` by default: `simworld.sweep.summary`."""
        from simworld.sweep._analysis import summary

        return summary(self, measure)

    def means(self, measure: str | None = None, **named: Any) -> pl.DataFrame:
        """Mean of a measure at each point, with its interval: `simworld.sweep.means`."""
        from simworld.sweep._analysis import means

        named = {"until": self.campaign.until, "common": self.campaign.common_random_numbers, **named}
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
        name = reading(self.path, lambda journal: journal.folder_of(point, replicate))
        folder = self.path / "runs" / name
        if not name or not (folder / "manifest.json").is_file():
            raise CampaignError(f"the folder of point {point}, replicate {replicate} is gone from {folder.parent}")
        return load_run(folder)

    def __repr__(self) -> str:
        n, failed = self.results.height, self.results.height - self.done.height
        said = f"simworld campaign {self.name}: {len(self.points)} points, {n} runs, {failed} failed ({self.path})"
        return "\n".join([said, *(f"note: {note}" for note in self.notes)])

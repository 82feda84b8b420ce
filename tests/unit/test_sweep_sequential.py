"""The rule of adaptive replication: simulated coverage at the stop, a plain computation, and campaigns that use it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

import simworld as sw
from simworld import sweep
from simworld.errors import CampaignError
from simworld.rng import stream
from simworld.sweep import Until, half_width, next_replicates
from simworld.sweep._sequential import betting_interval, interval
from tests.unit.campaigns import campaign, write_coin

type Floats = npt.NDArray[np.float64]

SEQUENCES = 400


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


# -- coverage -------------------------------------------------------------------------------------------------------


def rule(**named: Any) -> Until:
    return Until.model_validate({"metric": "x", "ci_width": 0.2, "max_replicates": 150, **named})


def at_the_stop(values: Floats, until: Until, is_old: bool = False) -> tuple[Floats, Floats, Floats]:
    """Return when each row's replicates stop, and both ends of its interval then; all rows are looked at together.

    ``is_old`` takes the asymptotic sequence of a constant for known.
    """
    rows = len(values)
    stop, low, high = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    still, n = np.arange(rows), min(until.first, until.max_replicates)
    while len(still):
        x = values[still, :n]
        if until.bounds is not None:
            a, b = betting_interval((x - until.bounds[0]) / (until.bounds[1] - until.bounds[0]), until.confidence)
            a, b = (until.bounds[0] + end * (until.bounds[1] - until.bounds[0]) for end in (a, b))
        else:
            sd = x.std(axis=1, ddof=1)
            half = half_width(n, 1.0, until.confidence, until.first) * np.where(
                sd > 0 if not is_old else True, sd, np.inf
            )
            a, b = x.mean(axis=1) - half, x.mean(axis=1) + half
        stop[still], low[still], high[still] = n, a, b
        still = still[(b - a > until.ci_width) & (n < until.max_replicates)]
        n = next_replicates(np.tile([-1e9, 1e9], n)[:n], until.model_copy(update={"bounds": None}))
    return stop, low, high


def missed(values: Floats, mean: float, until: Until, **named: Any) -> float:
    """Return the share of rows whose interval at the stop does not hold the mean."""
    _, low, high = at_the_stop(values, until, **named)
    return float(((low > mean) | (high < mean)).mean())


def allowed(until: Until) -> float:
    """Return the share that may be missed: α and four standard errors."""
    alpha = 1 - until.confidence
    return alpha + 4 * math.sqrt(alpha * (1 - alpha) / SEQUENCES)


def rare(rng: np.random.Generator, n: int) -> Floats:
    return (rng.random((SEQUENCES, n)) < 0.05).astype(np.float64)


BOUNDED: dict[str, tuple[float, Callable[[np.random.Generator, int], Floats], float]] = {
    "rare": (0.05, rare, 0.15),
    "coin": (0.5, lambda rng, n: (rng.random((SEQUENCES, n)) < 0.5).astype(np.float64), 0.3),
    "skewed": (1 / 11, lambda rng, n: rng.beta(0.2, 2.0, (SEQUENCES, n)), 0.15),
    "constant": (0.3, lambda rng, n: np.full((SEQUENCES, n), 0.3), 0.1),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_with_bounds_the_interval_at_the_stop_covers(name: str) -> None:
    mean, draw, width = BOUNDED[name]
    until = rule(ci_width=width, bounds=[0, 1], max_replicates=200)
    values = draw(stream(1, "test", name), until.max_replicates)
    stop, low, high = at_the_stop(values, until)
    assert missed(values, mean, until) <= allowed(until)
    # It stops at different times, before the end, and as the rule itself says.
    assert len(np.unique(stop)) > 3 or name == "constant"
    assert (stop < until.max_replicates).mean() > 0.5
    for row in range(3):
        have = next_replicates([], until)
        while (more := next_replicates(values[row, :have], until)) > have:
            have = more
        assert have == stop[row]
        assert interval(values[row, :have], until) == pytest.approx((low[row], high[row]), abs=1e-9)


def test_the_simulation_tells_a_rule_that_does_not_cover() -> None:
    """The asymptotic sequence from the tenth value on, a constant taken for known: it misses rare events."""
    values = rare(stream(1, "test", "rare"), 200)
    old = rule(ci_width=0.15, first=10, max_replicates=200)
    assert missed(values, 0.05, old, is_old=True) > 5 * allowed(old)


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_without_bounds_it_covers_where_values_are_no_rare_events(name: str) -> None:
    rng = stream(2, "test", name)
    values = rng.normal(0, 1, (SEQUENCES, 300)) if name == "normal" else rng.uniform(-1.7, 1.7, (SEQUENCES, 300))
    until = rule(ci_width=0.8, max_replicates=300)
    assert until.first >= 30
    assert missed(values, 0.0, until) <= allowed(until)
    stop, *_ = at_the_stop(values, until)
    assert (stop < 300).all()
    assert len(np.unique(stop)) > 3


def test_the_exact_sequence_against_its_definition() -> None:
    """Every mean of a fine grid, bet by bet: refuted are those at which somebody ever had 2/α."""
    x = [0.0, 1.0, 0.4, 0.9, 0.7, 1.0, 1.0, 0.2, 0.8, 0.9, 0.6, 1.0, 0.7, 0.9, 1.0, 0.8, 0.3, 1.0, 0.9, 0.7, 0.95, 1.0]
    alpha = 0.1
    kept = []
    for m in np.linspace(0.0005, 0.9995, 1000):
        above = below = 1.0
        total, squares, variance, is_kept = 0.5, 0.25, 0.25, True
        for t, value in enumerate(x, start=1):
            bet = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
            above *= 1 + min(bet, 0.5 / m) * (value - m)
            below *= 1 - min(bet, 0.5 / (1 - m)) * (value - m)
            is_kept = is_kept and max(above, below) / 2 < 1 / alpha
            total += value
            squares += (value - total / (t + 1)) ** 2
            variance = squares / (t + 1)
        if is_kept:
            kept.append(m)
    low, high = betting_interval(x, 0.9)
    assert 0.1 < low < np.mean(x) < high < 0.99
    assert (low, high) == pytest.approx((kept[0], kept[-1]), abs=0.0011)
    # Between other bounds it is the same, stretched; turned over, it is turned over.
    until = rule(bounds=[-2, 8], confidence=0.9)
    assert interval([10 * value - 2 for value in x], until) == pytest.approx((10 * low - 2, 10 * high - 2))
    assert betting_interval([1 - value for value in x], 0.9) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_the_asymptotic_sequence_is_the_papers_and_wider_than_one_look() -> None:
    plain = 1.96 / math.sqrt(50)
    assert plain < half_width(50, 1.0, 0.95, 30) < 2.2 * plain
    alpha, n, best = 0.05, 40, 30
    rho = math.sqrt((-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / best)
    inside = 2 * (n * rho**2 + 1) / (n**2 * rho**2) * math.log(math.sqrt(n * rho**2 + 1) / alpha)
    assert half_width(n, 3.0, 0.95, best) == pytest.approx(3 * math.sqrt(inside))


# -- the rule -------------------------------------------------------------------------------------------------------


def test_the_rule_is_asked_after_every_batch() -> None:
    until = rule(ci_width=1.0, max_replicates=22, first=10)
    wide = [0.0, 10.0] * 20
    assert [next_replicates(wide[:n], until) for n in (0, 5, 10, 15, 20, 22)] == [10, 10, 15, 20, 22, 22]
    assert next_replicates([0.0, 0.1] * 5, until) == 10
    assert next_replicates([*[0.0, 0.1] * 4, 0.0, math.nan], until) == 10
    assert next_replicates([math.nan] * 10, until) == 15
    many = rule(max_replicates=1_000)
    assert next_replicates([0.0, 10.0] * 200, many) == 420  # of many, a twentieth


def test_equal_values_are_enough_only_within_bounds() -> None:
    """They may be those of an event that has not happened yet."""
    until = rule(max_replicates=100)
    assert [next_replicates([1.0] * n, until) for n in (30, 95, 100)] == [35, 100, 100]
    assert next_replicates([0.1 + 0.2, 0.3] * 15, until) == 35  # equal but for rounding
    known = rule(max_replicates=100, bounds=[0, 1])
    assert [next_replicates([1.0] * n, known) for n in (30, 60)] == [35, 60]


def test_values_outside_the_bounds_are_an_error() -> None:
    until = rule(bounds=[0, 1])
    assert next_replicates([1.0 + 1e-12, *[1.0] * 59], until) == 60  # rounding
    with pytest.raises(CampaignError, match=r"x = 1\.5, outside until\.bounds = \[0, 1\]"):
        next_replicates([*[0.5] * 29, 1.5], until)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"bounds": [1, 0]}, "low below high"),
        ({"bounds": [0, 0.1]}, "ci_width"),
        ({"bounds": [0]}, "bounds"),
        ({"bounds": [0, "high"]}, "bounds"),
    ],
)
def test_bounds_that_are_none_are_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rule(**said)


# -- campaigns ------------------------------------------------------------------------------------------------------


def test_points_that_are_known_well_enough_get_no_more(scenario: str, tmp_path: Path) -> None:
    until = {"metric": "share", "ci_width": 0.14, "max_replicates": 80, "first": 5, "bounds": [0, 1]}
    said = campaign(scenario, factors={"p": [0.0, 0.5]}, replicates=1, until=until, series=[])
    found = sw.sweep(said, executor="here", out=tmp_path / "one")
    n = dict(found.results.group_by("p").len().rows())
    assert 5 < n[0.0] < n[0.5] < 80
    values = found.results.filter(pl.col("p") == 0.5)["share"].to_numpy()
    low, high = betting_interval(values, 0.95)
    assert high - low <= 0.14
    before = betting_interval(values[: n[0.5] - 5], 0.95)
    assert before[1] - before[0] > 0.14
    again = sw.sweep(said, executor="processes", workers=2, out=tmp_path / "two")
    assert again.results.equals(found.results)
    # The table of means shows the intervals that stopped it.
    means = found.means()
    assert means["method"].to_list() == ["sequence", "sequence"]
    assert means.row(1)[-3:-1] == pytest.approx((low, high))
    assert "Intervals of means are the confidence sequence's" in " ".join(found.summary()["notes"])
    with pytest.raises(CampaignError, match=r"outside until\.bounds"):
        sw.sweep({**said, "until": {**until, "bounds": [-1, 0.05], "ci_width": 0.1}}, executor="here", out=found.path)


def test_means_of_stopped_points_taken_together() -> None:
    """Two points with as many values: the mean of their intervals, each at half the α."""
    y = stream(3, "test").random((2, 40))
    frame = pl.DataFrame({
        "point": np.repeat([0, 1], 40), "replicate": np.tile(np.arange(40), 2), "a": ["u"] * 80,
        "b": np.repeat([1, 2], 40), "y": y.ravel(), "z": 3 * y.ravel(),
    })  # fmt: skip
    until = rule(metric="y", bounds=[0, 1])
    together = sweep.means(frame, ["a"], "y", until=until).row(0, named=True)
    ends = betting_interval(y, 0.975)
    assert (together["low"], together["high"]) == pytest.approx((ends[0].mean(), ends[1].mean()))
    assert together["mean"] == pytest.approx(y.mean())
    # Another measure was stopped by this one too; nothing is known of its bounds.
    other = sweep.means(frame, ["a", "b"], "z", until=until).row(1, named=True)
    half = half_width(40, 3 * y[1].std(ddof=1), 0.95, 30)
    assert (other["low"], other["high"]) == pytest.approx((3 * y[1].mean() - half, 3 * y[1].mean() + half))
    assert other["method"] == "asymptotic sequence"
    # What broke its bounds can still be read, by the sequence that needs none.
    broken = rule(metric="y", bounds=[0, 0.5])
    assert set(sweep.means(frame, ["b"], "y", until=broken)["method"]) == {"asymptotic sequence"}
    flat = sweep.means(frame.with_columns(z=pl.lit(1.0)), [], "z", until=until).row(0, named=True)
    assert math.isnan(flat["low"])
    assert flat["method"] == "none"

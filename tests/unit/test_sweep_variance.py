"""The variance card against a hand-worked case, simulated components, and designs with listed values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

import simworld as sw
from simworld.errors import CampaignError
from simworld.rng import stream
from simworld.sweep import Campaign, variance_card
from simworld.sweep._design import points
from simworld.sweep._variance import _interval_of_difference, nested_squares


def nested(y: np.ndarray, *components: str, **factors: list[Any]) -> tuple[Campaign, pl.DataFrame]:
    """Return a variance campaign and its results: one value a run, one axis a component."""
    repeats = next((n for n, name in zip(y.shape, components, strict=True) if name not in factors), 2)
    campaign = Campaign.model_validate({
        "scenario": "any", "design": {"kind": "variance", "components": components, "repeats": repeats},
        "factors": factors, "record": "runs",
    })  # fmt: skip
    rows = [
        {"point": i, "replicate": 0, **point, "y": value}
        for i, (point, value) in enumerate(zip(points(campaign), y.ravel().tolist(), strict=True))
    ]
    return campaign, pl.DataFrame(rows)


EIGHT = np.array([[[1.0, 3.0], [5.0, 9.0]], [[10.0, 10.0], [12.0, 20.0]]])


def test_two_by_two_by_two_by_hand() -> None:
    """Innermost means 2, 7, 10, 16; outermost 4.5, 13; grand mean 8.75.

    SS: 8 · 4.25² = 144.5 (df 1); 4 · 2.5² + 4 · 3² = 61 (df 2); 2 + 8 + 0 + 32 = 42 (df 4). Mean squares 144.5, 30.5,
    10.5: V[seed] = 10.5, V[graph] = (30.5 − 10.5) / 2 = 10, V[personas] = (144.5 − 30.5) / 4 = 28.5, of 49.
    """
    campaign, frame = nested(EIGHT, "personas", "graph", "seed")
    card = variance_card(campaign, frame, "y")
    assert card["component"].to_list() == ["personas", "graph", "seed"]
    assert card["values"].to_list() == [2, 2, 2]
    assert card["df"].to_list() == [1, 2, 4]
    assert card["sum_sq"].to_list() == pytest.approx([144.5, 61, 42])
    assert card["mean_sq"].to_list() == pytest.approx([144.5, 30.5, 10.5])
    assert card["variance"].to_list() == pytest.approx([28.5, 10, 10.5])
    assert card["share"].to_list() == pytest.approx([28.5 / 49, 10 / 49, 10.5 / 49])
    assert card["expected_mean_sq"].to_list() == [
        "V[seed] + 2 V[graph] + 4 V[personas]", "V[seed] + 2 V[graph]", "V[seed]",
    ]  # fmt: skip
    assert card["note"][2].startswith("the residual")
    # 4 · 10.5 over the quantiles 11.1433 and 0.484419 of chi-square with 4 degrees of freedom.
    assert card.select("low", "high").row(2) == pytest.approx((42 / 11.14329, 42 / 0.4844186), rel=1e-5)


@pytest.mark.parametrize("shift, factor", [(1000.0, 1.0), (0.0, -3.0), (-7.0, 0.01)])
def test_a_shift_changes_nothing_and_a_factor_its_square(shift: float, factor: float) -> None:
    campaign, frame = nested(EIGHT, "personas", "graph", "seed")
    card = variance_card(campaign, frame, "y")
    moved = variance_card(campaign, frame.with_columns(pl.col("y") * factor + shift), "y")
    for name in ("sum_sq", "mean_sq", "variance", "low", "high"):
        assert moved[name].to_list() == pytest.approx((card[name] * factor**2).to_list())
    assert moved["share"].to_list() == pytest.approx(card["share"].to_list())


def test_the_order_of_rows_and_of_values_within_a_component_changes_nothing() -> None:
    campaign, frame = nested(EIGHT, "personas", "graph", "seed")
    card = variance_card(campaign, frame, "y")
    assert variance_card(campaign, frame.sample(fraction=1.0, shuffle=True, seed=1), "y").equals(card)
    other = nested(EIGHT[::-1, ::-1, ::-1], "personas", "graph", "seed")[1]
    assert variance_card(campaign, other, "y")["variance"].to_list() == pytest.approx(card["variance"].to_list())


def test_a_negative_estimate_is_shown_and_counts_as_nothing() -> None:
    campaign, frame = nested(np.array([[0.0, 10.0], [1.0, 9.0]]), "graph", "seed")
    card = variance_card(campaign, frame, "y")
    # Means 5 and 5; SS within 50 + 32 on 2 degrees of freedom; (0 − 41) / 2.
    assert card["variance"].to_list() == pytest.approx([-20.5, 41])
    assert card["share"].to_list() == [0.0, 1.0]
    assert "negative" in card["note"][0]
    assert card["low"][0] < -20.5 < card["high"][0]


def test_what_never_varies_has_no_shares() -> None:
    campaign, frame = nested(np.full((2, 2, 2), 0.1 + 0.2), "personas", "graph", "seed")
    card = variance_card(campaign, frame, "y")
    assert card["variance"].to_list() == [0.0, 0.0, 0.0]
    assert card["share"].is_nan().all()


def test_sums_of_squares_add_up_and_are_the_projections() -> None:
    y = stream(1, "test").normal(100, 1, (3, 4, 2, 5))
    df, squares = nested_squares(y)
    assert df == [2, 9, 12, 96]
    assert sum(squares) == pytest.approx(((y - y.mean()) ** 2).sum())
    cells = y.reshape(12, 10).mean(axis=1)
    assert squares[0] + squares[1] == pytest.approx(10 * ((cells - y.mean()) ** 2).sum())


def simulate(rng: np.random.Generator, sizes: tuple[int, ...], sds: tuple[float, ...]) -> np.ndarray:
    y = np.zeros(sizes)
    for i, sd in enumerate(sds):
        y += sd * rng.normal(size=sizes[: i + 1]).reshape(*sizes[: i + 1], *[1] * (len(sizes) - i - 1))
    return y


def test_known_components_are_recovered_without_bias_and_covered() -> None:
    """400 data sets with variances 4, 1, 0.25: means within four standard errors, 95 % intervals hold 92 % to 98 %."""
    true = np.array([4.0, 1.0, 0.25])
    estimates, covered = [], []
    for k in range(400):
        y = simulate(stream(7, "test", k), (4, 4, 4), (2.0, 1.0, 0.5))
        card = variance_card(*nested(y, "personas", "graph", "seed"), "y")
        estimates.append(card["variance"].to_numpy())
        covered.append((card["low"].to_numpy() <= true) & (true <= card["high"].to_numpy()))
    found = np.array(estimates)
    error = found.std(axis=0, ddof=1) / math.sqrt(400)
    assert (np.abs(found.mean(axis=0) - true) < 4 * error).all()
    assert (error < [0.25, 0.05, 0.005]).all()
    share = np.mean(covered, axis=0)
    assert (share > 0.92).all(), share
    assert (share < 0.98).all(), share


@pytest.mark.parametrize("df_a, df_b", [(1, 2), (3, 12), (9, 4)])
def test_an_interval_ends_at_zero_where_the_f_test_does(df_a: int, df_b: int) -> None:
    """Burdick, Graybill 1992: exact for a difference of 0, so it holds 0 if and only if the F test does not reject."""
    for tail, end in ((0.975, 0), (0.025, 1)):
        a = 7.0 * stats.f.ppf(tail, df_a, df_b)
        assert _interval_of_difference(a, df_a, 7.0, df_b, 0.95)[end] == pytest.approx(0.0, abs=1e-6)
    # And for one mean square alone.
    alone = _interval_of_difference(5.0, df_a, 0.0, df_b, 0.95)
    assert alone == pytest.approx(tuple(5.0 * df_a / stats.chi2.ppf((0.975, 0.025), df_a)))


def test_a_component_that_does_nothing_is_about_zero_and_covered_exactly() -> None:
    estimates, covered = [], []
    for k in range(400):
        y = simulate(stream(8, "test", k), (4, 4, 4), (1.0, 0.0, 1.0))
        row = variance_card(*nested(y, "personas", "graph", "seed"), "y").row(1, named=True)
        estimates.append(row["variance"])
        covered.append(row["low"] <= 0 <= row["high"])
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / 20
    assert 0.92 < np.mean(covered) < 0.98


@pytest.mark.parametrize("place", [0, 1, 2])
def test_listed_values_are_told_from_drawn_ones_wherever_they_stand(place: int) -> None:
    """Two models differ by 6 (variance 6² / 2 = 18); personas have variance 4, seeds 1; 300 data sets.

    The same two models occur within all personas: taken for a nested random component they would make the personas'
    variance about −5 when they stand inside.
    """
    sizes, sds, names = [4, 4], [2.0, 1.0], ["personas", "seed"]
    for values, at in ((sizes, 2), (sds, 0.0), (names, "model")):
        values.insert(place, at)  # type: ignore[attr-defined]
    found = []
    shape = [1, 1, 1]
    shape[place] = 2
    for k in range(300):
        y = simulate(stream(9, "test", place, k), tuple(sizes), tuple(sds)) + np.array([-3.0, 3.0]).reshape(shape)
        card = variance_card(*nested(y, *names, model=["m1", "m2"]), "y")
        found.append(dict(zip(*card.select("component", "variance"), strict=True)))
    for name, true, slack in (("personas", 4.0, 0.7), ("seed", 1.0, 0.1), ("model", 18.0, 3.0)):
        assert np.mean([one[name] for one in found]) == pytest.approx(true, abs=slack), name
    assert card.filter(pl.col("is_listed"))["component"].to_list() == ["model"]
    assert card.filter(pl.col("is_listed"))["note"][0].endswith("listed, not drawn")


def test_a_listed_component_adds_nothing_to_what_is_expected_outside_it() -> None:
    y = stream(3, "test").normal(size=(3, 2, 3))
    card = variance_card(*nested(y, "personas", "card", "seed", card=["a", "b"]), "y")
    assert card["expected_mean_sq"].to_list() == ["V[seed] + 6 V[personas]", "V[seed] + 3 V[card]", "V[seed]"]
    ms = card["mean_sq"].to_list()
    assert card["variance"].to_list() == pytest.approx([(ms[0] - ms[2]) / 6, (ms[1] - ms[2]) / 3, ms[2]])


def test_missing_runs_and_other_designs_are_refused() -> None:
    campaign, frame = nested(EIGHT, "personas", "graph", "seed")
    with pytest.raises(CampaignError, match=r"at 1 of 8 points \(3\)"):
        variance_card(campaign, frame.filter(pl.col("point") != 3), "y")
    other = Campaign(scenario="any", factors={"a": (1, 2)})
    with pytest.raises(CampaignError, match="needs a variance design"):
        variance_card(other, frame, "y")
    with pytest.raises(CampaignError, match="confidence"):
        variance_card(campaign, frame, "y", confidence=1.0)


TOWN = '''"""Personas and seed each add a known amount of variance; the graph none."""

import simworld as sw
from simworld.rng import Chance


class Person(sw.Agent):
    wealth: float = 0.0


class Town(sw.World):
    """y = 3 u + v, u by the seed of the personas, v by the seed: uniform in [0, 1)."""

    class Params(sw.Params):
        n_agents: int = sw.field(2, ge=1, unit="agents", doc="People.")

    agent_classes = (Person,)
    default_steps = 1

    def step(self):
        pass

    def metrics(self):
        u = Chance(self.seed_of_part("personas")).stream("u").random()
        return {"y": 3 * u + self.chance.stream("v").random()}
'''


def test_a_campaign_asks_for_its_variance_card_in_one_line(tmp_path: Path) -> None:
    """Variances 9/12 and 1/12: 4 personas, 4 graphs in each, 4 seeds in each of those; the graph does nothing."""
    (tmp_path / "town.py").write_text(TOWN, "utf-8")
    said = {
        "scenario": str(tmp_path / "town.py"), "measures": ["y"],
        "design": {"kind": "variance", "components": ["personas", "graph", "seed"], "repeats": 4},
    }  # fmt: skip
    found = sw.sweep(said, executor="here", out=tmp_path / "c")
    assert found.results.height == 64
    summary = found.summary()
    assert summary.keys() == {"measure", "notes", "variance"}
    card = summary["variance"]
    assert card.equals(found.variance_card())
    y = found.results["y"].to_numpy().reshape(4, 4, 4)
    assert card["sum_sq"].to_list() == pytest.approx(nested_squares(y)[1])
    share = dict(zip(*card.select("component", "share"), strict=True))
    assert share["personas"] > 0.6
    assert share["personas"] > share["seed"] > share["graph"]
    assert card["variance"][2] == pytest.approx(1 / 12, rel=0.5)

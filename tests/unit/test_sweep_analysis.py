"""Analyses of campaigns against hand-worked numbers, other implementations, and functions whose answer is known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

import simworld as sw
from simworld import sweep
from simworld.errors import CampaignError
from simworld.rng import stream
from simworld.sweep import Campaign, CampaignResults
from simworld.sweep._analysis import BOOTSTRAP_UP_TO, holm, per_point
from simworld.sweep._design import points


def table(rows: dict[str, list[Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows)


def crossed(levels: dict[str, list[Any]], replicates: int, value: Any) -> pl.DataFrame:
    """Return a full factorial; ``value`` takes the factors and the replicate."""
    rows = []
    for point, combination in enumerate(itertools.product(*levels.values())):
        for replicate in range(replicates):
            named = dict(zip(levels, combination, strict=True))
            rows.append(
                {"point": point, "replicate": replicate, **named, "y": float(value(**named, replicate=replicate))}
            )
    return pl.DataFrame(rows)


# means


def test_means_are_those_of_each_point_in_order() -> None:
    found = sweep.means(table({"a": ["x", "x", "w", "w", "w"], "y": [1.0, 3.0, 5.0, 6.0, 10.0]}), ["a"], "y")
    assert found.columns == ["a", "n", "missing", "mean", "sd", "low", "high", "method"]
    assert found["a"].to_list() == ["x", "w"]
    assert found["n"].to_list() == [2, 3]
    assert found["mean"].to_list() == [2.0, 7.0]
    assert found["sd"].to_list() == pytest.approx([math.sqrt(2), math.sqrt(7)])
    assert all(low < mean < high for low, mean, high in found.select("low", "mean", "high").iter_rows())


def test_means_count_what_is_missing_and_do_not_use_it() -> None:
    """A failed run has a status, and no number; a run may also give NaN or infinity."""
    frame = table({
        "a": [1, 1, 1, 1, 1], "status": ["done", "done", "failed", "done", "done"],
        "y": [1.0, 2.0, 99.0, math.nan, math.inf],
    })  # fmt: skip
    row = sweep.means(frame, ["a"], "y").row(0, named=True)
    assert (row["n"], row["missing"], row["mean"]) == (2, 3, 1.5)
    gone = sweep.means(table({"a": [1, 2], "y": [None, 1.0]}), ["a"], "y").row(0, named=True)
    assert (gone["n"], gone["missing"]) == (0, 1)
    assert all(math.isnan(gone[name]) for name in ("mean", "sd", "low", "high"))


def test_one_run_has_no_interval_and_equal_runs_one_of_no_width() -> None:
    found = sweep.means(table({"a": [1, 2, 2, 2], "y": [4.0, 5.0, 5.0, 5.0]}), ["a"], "y")
    assert math.isnan(found["sd"][0])
    assert math.isnan(found["low"][0])
    assert math.isnan(found["high"][0])
    assert found["method"].to_list() == ["none", "bootstrap"]
    assert found.row(1)[:-1] == (2, 3, 0, 5.0, 0.0, 5.0, 5.0)


def test_without_factors_all_runs_are_one_point() -> None:
    found = sweep.means(table({"y": [1.0, 2.0, 6.0]}), [], "y")
    assert found.select("n", "mean").row(0) == (3, 3.0)


def test_a_run_that_two_points_name_counts_once() -> None:
    frame = table({"point": [0, 1, 2], "key": ["k", "k", "l"], "a": [1, 1, 1], "y": [1.0, 1.0, 3.0]})
    assert sweep.means(frame, ["a"], "y").select("n", "mean").row(0) == (2, 2.0)


def test_intervals_are_those_of_the_named_stream_and_a_row_stands_alone() -> None:
    """The BCa interval by SciPy from the same stream; other points change nothing; another seed does."""
    y = [1.0, 2.0, 4.0, 7.0, 11.0, 16.0]
    alone = sweep.means(table({"a": ["x"] * 6, "y": y}), ["a"], "y", draws=500)
    expected = stats.bootstrap(
        (y,), np.mean, n_resamples=500, method="BCa", rng=stream(0, "analysis", "means", "y", 6), vectorized=True
    ).confidence_interval
    assert alone.select("low", "high").row(0) == pytest.approx((expected.low, expected.high))
    names = ["u"] * 6 + ["w"] * 2 + ["x"] * 6
    more = sweep.means(table({"a": names, "y": [0.0, 1.0, 1.0, 9.0, 7.0, 5.0, 0.0, 1.0, *y]}), ["a"], "y", draws=500)
    assert more.row(2) == alone.row(0)
    assert sweep.means(table({"a": ["x"] * 6, "y": y}), ["a"], "y", draws=500, seed=1).row(0) != alone.row(0)


def test_points_are_resampled_together_or_one_by_one_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    y = stream(13, "test").exponential(size=60)
    frame = pl.DataFrame({"a": np.repeat(np.arange(12), 5), "y": y})
    together = sweep.means(frame, ["a"], "y", draws=200)
    monkeypatch.setattr("simworld.sweep._analysis.CELLS_AT_ONCE", 1)
    assert sweep.means(frame, ["a"], "y", draws=200).equals(together)


def test_two_values_give_themselves_as_bounds() -> None:
    """Of two values the bootstrap's means are either, a quarter of the time each, or the middle."""
    found = sweep.means(table({"a": [1, 1, 2, 2, 2], "y": [1.0, 3.0, 1.0, 2.0, 9.0]}), ["a"], "y")
    assert found.select("low", "high").row(0) == (1.0, 3.0)
    assert 1.0 <= found["low"][1] < 4.0 < found["high"][1] <= 9.0


def test_many_runs_get_students_interval() -> None:
    y = stream(2, "test").normal(size=BOOTSTRAP_UP_TO + 1)
    found = sweep.means(pl.DataFrame({"y": y}), [], "y", confidence=0.9).row(0, named=True)
    expected = stats.ttest_1samp(y, 0.0).confidence_interval(0.9)
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert found["method"] == "student"


def test_bootstrap_intervals_cover_about_as_often_as_they_say() -> None:
    """300 samples of 40 skewed values (exponential, mean 1): 95 % intervals hold the mean in 91 % to 98 % of them."""
    y = stream(5, "test").exponential(size=(300, 40))
    frame = pl.DataFrame({"a": np.repeat(np.arange(300), 40), "y": y.ravel()})
    found = sweep.means(frame, ["a"], "y", draws=600)
    covered = ((found["low"] <= 1.0) & (found["high"] >= 1.0)).mean()
    assert 0.91 <= covered <= 0.98
    narrow = sweep.means(frame, ["a"], "y", draws=600, confidence=0.5)
    assert 0.42 <= ((narrow["low"] <= 1.0) & (narrow["high"] >= 1.0)).mean() <= 0.58


# effects


A, B = [1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 8.0]


def test_cohens_d_by_hand() -> None:
    """Means 2.5 and 5, sums of squares 5 and 14, 6 degrees of freedom: 2.5 / sqrt(19/6)."""
    assert sweep.cohens_d(A, B) == pytest.approx(2.5 / math.sqrt(19 / 6), rel=1e-12)
    assert sweep.cohens_d(B, A) == -sweep.cohens_d(A, B)
    assert math.isnan(sweep.cohens_d([1.0, 1.0], [2.0, 2.0]))
    assert math.isnan(sweep.cohens_d([1.0], [2.0]))


def test_cliffs_delta_by_hand() -> None:
    """Of 16 pairs b is larger in 2 + 3 + 4 + 4 = 13 (3 > 1, 2; 4 > 1, 2, 3; 5, 8 > all), smaller in 1 (3 < 4)."""
    assert sweep.cliffs_delta(A, B) == 12 / 16
    assert sweep.cliffs_delta(B, A) == -12 / 16
    assert sweep.cliffs_delta([1.0, 1.0], [1.0]) == 0.0
    assert math.isnan(sweep.cliffs_delta([], [1.0]))
    x, y = stream(1, "x").integers(0, 9, 30), stream(1, "y").integers(2, 12, 20)
    assert sweep.cliffs_delta(x, y) == np.sign(y[None, :] - x[:, None]).mean()


def test_holm_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.04 of four: 4 · 0.01, 3 · 0.02, then the largest so far; NaN is no test."""
    found = holm([0.03, 0.01, math.nan, 0.04, 0.02])
    assert found[[0, 1, 3, 4]] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert math.isnan(found[2])
    assert holm([0.4, 0.6]).tolist() == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.8, 0.7]).tolist() == [1.0, 1.0, 1.0]


def test_effects_of_one_factor() -> None:
    frame = table({"a": ["p"] * 4 + ["q"] * 4, "y": A + B})
    row = sweep.effects(frame, ["a"], "y").row(0, named=True)
    assert (row["factor"], row["level_a"], row["level_b"], row["n_a"], row["n_b"]) == ("a", "p", "q", 4, 4)
    assert (row["mean_a"], row["mean_b"], row["difference"]) == (2.5, 5.0, 2.5)
    assert row["low"] < 2.5 < row["high"]
    assert row["cohens_d"] == sweep.cohens_d(A, B)
    assert row["cliffs_delta"] == 0.75
    assert (row["n_pairs"], row["test"], row["compared"]) == (0, "permutation", "all pairs")
    assert math.isnan(row["paired_difference"])
    # All 70 splits of the eight values: how many have means at least as far apart.
    both = A + B
    far = 0
    for chosen in itertools.combinations(range(8), 4):
        b = [both[i] for i in chosen]
        far += (sum(b) - (sum(both) - sum(b))) / 4 >= 2.5 - 1e-12
    assert row["p"] == pytest.approx(2 * far / 70)
    assert row["p_holm"] == row["p"]


def test_larger_groups_get_welchs_test_and_the_interval_covers() -> None:
    draw = stream(4, "test")
    x, y = draw.normal(0, 1, 40), draw.normal(0.5, 3, 60)
    frame = pl.DataFrame({"a": [1] * 40 + [2] * 60, "y": np.concatenate([x, y])})
    row = sweep.effects(frame, ["a"], "y").row(0, named=True)
    welch = stats.ttest_ind(y, x, equal_var=False)
    assert (row["test"], row["level_a"]) == ("welch", "1")
    assert row["p"] == pytest.approx(welch.pvalue, rel=1e-12)
    expected = welch.confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), abs=0.15)


def test_thousands_of_runs_get_welchs_interval() -> None:
    draw = stream(6, "test")
    x, y = draw.normal(0, 1, 600), draw.normal(0.5, 3, 800)
    frame = pl.DataFrame({"a": [1] * 600 + [2] * 800, "y": np.concatenate([x, y])})
    row = sweep.effects(frame, ["a"], "y").row(0, named=True)
    expected = stats.ttest_ind(y, x, equal_var=False).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_pair_is_a_replicate_over_all_other_factors() -> None:
    """The replicate's noise is much larger than the effect, 0.1 · (1 + b) and a little of it; pairs do not see it."""
    noise = stream(3, "test").normal(0, 10, 12)
    frame = crossed(
        {"a": [0, 1], "b": [0, 1]}, 12, lambda a, b, replicate: noise[replicate] * (1 + a / 500) + 0.1 * a * (1 + b)
    )
    within = 0.15 + noise / 500
    rows = sweep.effects(frame.sample(fraction=1.0, shuffle=True, seed=1), ["a", "b"], "y", paired=True)
    row = rows.row(0, named=True)
    assert (row["factor"], row["n_pairs"], row["test"]) == ("a", 12, "paired t")
    assert row["paired_difference"] == pytest.approx(within.mean(), abs=1e-9)
    assert 0.12 < row["paired_low"] < within.mean() < row["paired_high"] < 0.18
    assert row["p"] == pytest.approx(stats.ttest_1samp(within, 0).pvalue, rel=1e-6)
    alone = sweep.effects(frame, ["a", "b"], "y").row(0, named=True)
    assert alone["p"] > 0.9
    assert alone["n_pairs"] == 0
    # Holm over the two rows by hand.
    low, high = sorted(rows["p"])
    assert sorted(rows["p_holm"]) == pytest.approx([2 * low, max(2 * low, high)])


def test_runs_that_share_random_numbers_are_no_independent_draws() -> None:
    """The effect of a is the replicate's own, alike at eight values of b: there are ten draws of it and not eighty."""
    rejected = covered = 0
    for i in range(60):
        own, base = stream(i, "test").normal(0, 1, 10), stream(i, "base").normal(0, 1, 10)
        noise = stream(i, "noise").normal(0, 0.1, (2, 8, 10))
        frame = crossed(
            {"a": [0, 1], "b": list(range(8))}, 10,
            lambda a, b, replicate, own=own, base=base, noise=noise: (
                base[replicate] + a * own[replicate] + noise[a, b, replicate]
            ),
        )  # fmt: skip
        row = sweep.effects(frame, ["a", "b"], "y", compare=["a"], paired=True, draws=200).row(0, named=True)
        rejected += row["p"] < 0.05
        mean = sweep.means(frame, ["a"], "y", draws=200, common=True).row(0, named=True)
        covered += mean["low"] <= 0 <= mean["high"]
        assert mean["n"] == 80
    assert rejected <= 8  # 3 are expected; with 80 pairs it was every second
    assert covered >= 48  # of ten values BCa covers some 90 %; over runs it was every second


def test_a_pair_with_a_failed_half_is_no_pair() -> None:
    frame = crossed({"a": [0, 1]}, 3, lambda a, replicate: a * (1 + replicate)).with_columns(
        status=pl.Series(["done", "done", "done", "failed", "done", "done"])
    )
    row = sweep.effects(frame, ["a"], "y", paired=True).row(0, named=True)
    assert (row["n_a"], row["n_b"], row["n_pairs"], row["paired_difference"]) == (3, 2, 2, 2.5)
    assert (row["test"], row["p"]) == ("sign flips", 0.5)


def test_pairs_that_are_not_unique_are_refused() -> None:
    frame = crossed({"a": [0, 1], "b": [0, 1]}, 2, lambda a, b, replicate: a + b)
    with pytest.raises(CampaignError, match="no pairs"):
        sweep.effects(frame, ["a"], "y", paired=True)
    assert sweep.effects(frame, ["a", "b"], "y", compare=["a"], paired=True)["n_pairs"].to_list() == [2]


@pytest.mark.parametrize("lone", [0, 1])
def test_one_run_beside_several_has_a_difference_and_no_test(lone: int) -> None:
    """As in a campaign that is half done, or whose other runs failed."""
    frame = table({"a": [lone, 1 - lone, 1 - lone], "y": [1.0, 2.0, 4.0]})
    row = sweep.effects(frame, ["a"], "y").row(0, named=True)
    assert (row["n_a"], row["n_b"], row["difference"], row["test"]) == (1, 2, 2.0, "")
    assert math.isnan(row["p"])
    assert math.isnan(row["p_holm"])


def test_groups_that_do_not_vary() -> None:
    """Nothing varies: of C(6, 3) = 20 splits one on each side is this extreme; equal groups do not differ."""
    frame = table({"a": [0] * 3 + [1] * 3 + [2] * 3, "y": [1.0] * 3 + [2.0] * 3 + [1.0] * 3})
    rows = sweep.effects(frame, ["a"], "y")
    assert rows["p"].to_list() == pytest.approx([2 / 20, 1.0, 2 / 20])
    assert rows.select("low", "high").row(0) == (1.0, 1.0)
    assert rows["cohens_d"].is_nan().all()
    one = table({"a": [0] * 20 + [1] * 20, "y": [1.0] * 20 + [float(i) for i in range(20)]})
    assert sweep.effects(one, ["a"], "y")["test"].to_list() == ["welch"]


def test_pairs_that_all_differ_alike() -> None:
    """Of 8 ways to set three signs two have the mean of all three alike."""
    frame = crossed({"a": [0, 1]}, 3, lambda a, replicate: 2 * a + replicate**2)
    row = sweep.effects(frame, ["a"], "y", paired=True).row(0, named=True)
    assert (row["test"], row["p"], row["paired_low"], row["paired_high"]) == ("sign flips", 2 / 8, 2.0, 2.0)


def test_equal_up_to_rounding_is_no_difference() -> None:
    frame = crossed({"a": [0, 1]}, 12, lambda a, replicate: (0.1 + 0.2 if a and replicate % 3 else 0.3) + replicate)
    row = sweep.effects(frame, ["a"], "y", paired=True).row(0, named=True)
    assert (row["paired_difference"], row["p"]) == (0.0, 1.0)


def test_many_levels_are_compared_with_the_first() -> None:
    few = crossed({"a": list(range(9))}, 2, lambda a, replicate: a)
    assert sweep.effects(few, ["a"], "y", draws=50).height == 36
    many = crossed({"a": list(range(10))}, 2, lambda a, replicate: a)
    rows = sweep.effects(many, ["a"], "y", draws=50)
    assert rows["level_a"].to_list() == ["0"] * 9
    assert set(rows["compared"]) == {"with the first"}
    with pytest.raises(CampaignError, match="42 levels"):
        sweep.effects(crossed({"a": list(range(42))}, 1, lambda a, replicate: a), ["a"], "y")


def test_levels_may_be_missing_values() -> None:
    frame = table({"a": [None, None, "b", "b"], "replicate": [0, 1, 0, 1], "y": [1.0, 2.0, 2.0, 3.0]})
    row = sweep.effects(frame, ["a"], "y", paired=True).row(0, named=True)
    assert (row["level_a"], row["n_pairs"], row["paired_difference"]) == ("None", 2, 1.0)
    inner = table({
        "a": ["p", "p", "q", "q"], "b": [None, 1, None, 1], "replicate": [0] * 4, "y": [1.0, 2.0, 2.0, 3.0]
    })  # fmt: skip
    assert sweep.effects(inner, ["a", "b"], "y", paired=True)["n_pairs"][0] == 1
    assert sweep.effects(inner, ["a", "b"], "y", paired=True)["paired_difference"][0] == 1.0


# analysis of variance


def test_one_way_anova_is_scipys() -> None:
    draw = stream(8, "test")
    groups = [draw.normal(m, 1, n) for m, n in ((0, 5), (1, 9), (0.5, 7))]
    frame = pl.DataFrame({"a": np.repeat(["x", "y", "z"], [5, 9, 7]), "y": np.concatenate(groups)})
    found = sweep.anova(frame, ["a"], "y")
    expected = stats.f_oneway(*groups)
    assert found["term"].to_list() == ["a", "residual"]
    assert found["df"].to_list() == [2, 18]
    assert found["F"][0] == pytest.approx(expected.statistic, rel=1e-9)
    assert found["p"][0] == pytest.approx(expected.pvalue, rel=1e-9)
    whole = np.concatenate(groups)
    assert found["sum_sq"].sum() == pytest.approx(((whole - whole.mean()) ** 2).sum(), rel=1e-9)


def test_two_way_anova_by_hand() -> None:
    """Cells of two: (1, 3), (5, 7), (2, 4), (14, 16); means 2, 6, 3, 15, grand mean 6.5.

    a: rows 4 and 9, SS 8 · 2.5² = 50. b: columns 2.5 and 10.5, SS 8 · 4² = 128. Both: 2 · 4 · 2² = 32.
    Within: 4 · 2 = 8.
    """
    values = {(0, 0): (1, 3), (0, 1): (5, 7), (1, 0): (2, 4), (1, 1): (14, 16)}
    frame = crossed({"a": [0, 1], "b": [0, 1]}, 2, lambda a, b, replicate: values[a, b][replicate])
    found = sweep.anova(frame, ["a", "b"], "y")
    assert found["term"].to_list() == ["a", "b", "a × b", "residual"]
    assert found["df"].to_list() == [1, 1, 1, 4]
    assert found["sum_sq"].to_list() == pytest.approx([50, 128, 32, 8])
    assert found["F"].to_list()[:3] == pytest.approx([25, 64, 16])
    assert found["p"].to_list()[:3] == pytest.approx([stats.f.sf(f, 1, 4) for f in (25, 64, 16)])
    assert found["eta_sq"].to_list() == pytest.approx([50 / 218, 128 / 218, 32 / 218, 8 / 218])
    assert found["partial_eta_sq"].to_list()[:3] == pytest.approx([50 / 58, 128 / 136, 32 / 40])
    main = sweep.anova(frame, ["a", "b"], "y", interactions=False)
    assert main["sum_sq"].to_list() == pytest.approx([50, 128, 40])
    assert main["df"].to_list() == [1, 1, 5]


def test_unbalanced_anova_is_type_two() -> None:
    """Each sum of squares is the difference of two least-squares fits, with and without the term, done by NumPy."""
    draw = stream(9, "test")
    a, b, c = (draw.integers(0, k, 60) for k in (2, 3, 2))
    y = a + 0.7 * b + a * b + draw.normal(0, 1, 60)
    frame = pl.DataFrame({"a": a, "b": b.astype(str), "c": c, "y": y})

    def dummies(*columns: np.ndarray) -> np.ndarray:
        every = itertools.product(*(sorted(set(x.tolist())) for x in columns))
        found = [np.all([x == v for x, v in zip(columns, values, strict=True)], axis=0) for values in every]
        return np.stack(found, axis=1).astype(float)

    def rss(*terms: tuple[np.ndarray, ...]) -> float:
        x = np.concatenate([np.ones((60, 1)), *(dummies(*term) for term in terms)], axis=1)
        return float(((y - x @ np.linalg.lstsq(x, y)[0]) ** 2).sum())

    found = dict(zip(*sweep.anova(frame, ["a", "b", "c"], "y").select("term", "sum_sq"), strict=True))
    assert found["residual"] == pytest.approx(rss((a, b), (a, c), (b, c)))
    assert found["a × b"] == pytest.approx(rss((a, c), (b, c)) - found["residual"])
    # a is held against everything without a: b, c and their interaction.
    assert found["a"] == pytest.approx(rss((b, c)) - rss((b, c), (a,)))
    assert found["c"] == pytest.approx(rss((a, b)) - rss((a, b), (c,)))


def test_anova_without_noise_has_no_test() -> None:
    frame = crossed({"a": [0, 1, 2], "b": ["u", "v"]}, 2, lambda a, b, replicate: 1e6 + 0.1 * a)
    found = sweep.anova(frame, ["a", "b"], "y")
    assert found["eta_sq"].to_list() == pytest.approx([1, 0, 0, 0])
    assert found["sum_sq"].to_list()[1:] == [0.0, 0.0, 0.0]
    assert found["F"].is_nan().all()
    flat = sweep.anova(crossed({"a": [0, 1]}, 2, lambda a, replicate: 3.3), ["a"], "y")
    assert flat["eta_sq"].is_nan().all()


def test_anova_leaves_out_what_does_not_vary_and_refuses_what_it_cannot_tell() -> None:
    frame = crossed({"a": [0, 1], "b": [5]}, 3, lambda a, b, replicate: a + replicate)
    assert sweep.anova(frame, ["a", "b"], "y")["term"].to_list() == ["a", "residual"]
    with pytest.raises(CampaignError, match="two levels"):
        sweep.anova(frame, ["b"], "y")
    once = crossed({"a": [0, 1], "b": [0, 1]}, 1, lambda a, b, replicate: a + b * a)
    with pytest.raises(CampaignError, match="no degrees of freedom"):
        sweep.anova(once, ["a", "b"], "y")
    assert sweep.anova(once, ["a", "b"], "y", interactions=False)["df"].to_list() == [1, 1, 1]
    # Half of 2 × 2 × 2: c is the product of a and b.
    half = pl.concat([crossed({"a": [-1, 1], "b": [-1, 1]}, 4, lambda a, b, replicate: a + replicate)])
    half = half.with_columns(c=pl.col("a") * pl.col("b"))
    with pytest.raises(CampaignError, match="do not tell the terms apart"):
        sweep.anova(half, ["a", "b", "c"], "y")
    with pytest.raises(CampaignError, match="too many"):
        sweep.anova(
            crossed({"a": list(range(30)), "b": list(range(30))}, 2, lambda a, b, replicate: a), ["a", "b"], "y"
        )


def test_a_perfect_fit_and_a_large_offset() -> None:
    """y = 1e6 + a and nothing else, once a cell: the interaction is nothing, and so is what is left."""
    once = crossed({"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1, 2]}, 1, lambda a, b, c, replicate: 1e6 + a)
    found = sweep.anova(once, ["a", "b", "c"], "y")
    assert found["sum_sq"][0] == pytest.approx(18)
    assert found["sum_sq"].to_list()[1:] == [0.0] * 6
    assert found["df"].to_list() == [2, 2, 2, 4, 4, 4, 8]
    flat = sweep.anova(once.with_columns(y=pl.Series([0.1 + 0.2, 0.3] * 13 + [0.3])), ["a"], "y")
    assert flat["sum_sq"].to_list() == [0.0, 0.0]


def test_anova_takes_any_name_of_a_factor() -> None:
    frame = crossed({"x": [0, 1]}, 3, lambda x, replicate: x + replicate).rename({"x": "memory.Q('a') + 1"})
    assert sweep.anova(frame, ["memory.Q('a') + 1"], "y")["term"][0] == "memory.Q('a') + 1"


# correlations


def test_rank_correlations() -> None:
    draw = stream(11, "test")
    x, z = draw.random(80), draw.random(80)
    y = np.exp(3 * x) + draw.normal(0, 2, 80)
    frame = pl.DataFrame({"x": x, "z": z, "name": ["u", "v"] * 40, "one": [1] * 80, "y": y})
    found = sweep.correlations(frame, ["x", "z", "name", "one"], "y")
    assert found["factor"].to_list() == ["x", "z"]
    for row, factor in zip(found.iter_rows(named=True), (x, z), strict=True):
        expected = stats.spearmanr(factor, y)
        assert (row["rho"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
        assert row["low"] < row["rho"] < row["high"]
    assert found["low"][0] > 0.6
    assert found["low"][1] < 0 < found["high"][1]
    assert found["p_holm"].to_list() == pytest.approx([2 * found["p"][0], found["p"][1]])


def test_rank_correlations_are_of_points_and_not_of_their_runs() -> None:
    draw = stream(13, "test")
    x = draw.random(20)
    y = x[:, None] + draw.normal(0, 1, (20, 5))
    frame = pl.DataFrame({
        "point": np.repeat(range(20), 5), "replicate": list(range(5)) * 20, "x": np.repeat(x, 5), "y": y.ravel(),
    })  # fmt: skip
    row = sweep.correlations(frame, ["x"], "y").row(0, named=True)
    expected = stats.spearmanr(x, y.mean(1))
    assert row["n"] == 20
    assert (row["rho"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue))


def test_rank_correlations_of_many_runs_and_of_none() -> None:
    draw = stream(12, "test")
    x = draw.random(2000)
    frame = pl.DataFrame({"x": x, "y": x + draw.normal(0, 0.5, 2000)})
    row = sweep.correlations(frame, ["x"], "y").row(0, named=True)
    resampled = [
        stats.spearmanr(*frame[draw.integers(0, 2000, 2000).tolist()].to_numpy().T).statistic for _ in range(200)
    ]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(resampled, (0.025, 0.975))), abs=0.015)
    flat = sweep.correlations(frame.head(50).with_columns(y=pl.lit(1.0)), ["x"], "y")
    assert flat.select("rho", "low", "high", "p", "p_holm").row(0) == pytest.approx((math.nan,) * 5, nan_ok=True)


# sensitivity indices


def sampled(kind: str, factors: dict[str, Any], n: int, value: Any, **design: Any) -> tuple[Campaign, pl.DataFrame]:
    campaign = Campaign.model_validate({
        "scenario": "any", "factors": factors, "design": {"kind": kind, "n": n, **design}, "seed": 3
    })  # fmt: skip
    chosen = points(campaign)
    rows = [{"point": i, "replicate": 0, **one, "y": float(value(**one))} for i, one in enumerate(chosen)]
    return campaign, pl.DataFrame(rows)


ANGLE = {"low": -math.pi, "high": math.pi}


def ishigami(x1: float, x2: float, x3: float) -> float:
    return math.sin(x1) + 7 * math.sin(x2) ** 2 + 0.1 * x3**4 * math.sin(x1)


def test_sobol_indices_of_the_ishigami_function() -> None:
    """Ishigami, Homma 1990 (doi:10.1109/ISUMA.1990.151285), a = 7, b = 0.1: variances of the terms in closed form."""
    a, b, pi = 7.0, 0.1, math.pi
    v1, v2, v13 = 0.5 * (1 + b * pi**4 / 5) ** 2, a**2 / 8, b**2 * pi**8 * 8 / 225
    whole = v1 + v2 + v13
    campaign, frame = sampled(
        "sobol", {"x1": ANGLE, "x2": ANGLE, "x3": ANGLE}, 1024, ishigami, second_order=True
    )  # fmt: skip
    found = sweep.sobol_indices(campaign, frame.sample(fraction=1.0, shuffle=True, seed=2), "y", draws=200)
    assert found.columns == ["order", "factor", "other", "index", "low", "high"]
    got = {(row["order"], row["factor"], row["other"]): row for row in found.iter_rows(named=True)}
    exact = {
        ("first", "x1", ""): v1, ("first", "x2", ""): v2, ("first", "x3", ""): 0.0,
        ("total", "x1", ""): v1 + v13, ("total", "x2", ""): v2, ("total", "x3", ""): v13,
        ("second", "x1", "x2"): 0.0, ("second", "x1", "x3"): v13, ("second", "x2", "x3"): 0.0,
    }  # fmt: skip
    assert got.keys() == exact.keys()
    for key, variance in exact.items():
        assert got[key]["index"] == pytest.approx(variance / whole, abs=0.05), key
        assert got[key]["low"] <= got[key]["index"] <= got[key]["high"]
    assert sweep.sobol_indices(campaign, frame, "y", draws=200).equals(found)


def test_sobol_indices_average_the_replicates_and_want_them_all() -> None:
    factors = {"x1": ANGLE, "x2": ANGLE, "x3": ANGLE}
    campaign, frame = sampled("sobol", factors, 64, ishigami)
    plain = sweep.sobol_indices(campaign, frame, "y")
    assert plain["order"].to_list() == ["first"] * 3 + ["total"] * 3
    twice = campaign.model_copy(update={"replicates": 2})
    both = pl.concat([frame.with_columns(pl.col("y") + d, replicate=pl.lit(r)) for r, d in enumerate((-0.5, 0.5))])
    assert sweep.sobol_indices(twice, both, "y")["index"].to_list() == pytest.approx(plain["index"].to_list())
    with pytest.raises(CampaignError, match=r"at 320 of 320 points \(0, 1, 2"):
        sweep.sobol_indices(twice, frame, "y")
    with pytest.raises(CampaignError, match=r"at 2 of 320 points \(7, 9\)"):
        sweep.sobol_indices(campaign, frame.filter(~pl.col("point").is_in([7, 9])), "y")
    failed = frame.with_columns(status=pl.when(pl.col("point") == 5).then(pl.lit("failed")).otherwise(pl.lit("done")))
    with pytest.raises(CampaignError, match=r"at 1 of 320 points \(5\)"):
        sweep.sobol_indices(campaign, failed, "y")
    with pytest.raises(CampaignError, match="the same in all runs"):
        sweep.sobol_indices(campaign, frame.with_columns(y=pl.lit(2.0)), "y")
    with pytest.raises(CampaignError, match="morris design"):
        sweep.morris_indices(campaign, frame, "y")


def test_morris_effects_of_a_linear_function_are_its_coefficients() -> None:
    """Over its range, 0 to 2, x1 moves y by 2 · 3; a linear function has no spread of effects."""
    factors = {"x1": {"low": 0, "high": 2}, "x2": {"low": 0, "high": 1}, "x3": {"low": -1, "high": 0}}
    campaign, frame = sampled("morris", factors, 6, lambda x1, x2, x3: 10 + 3 * x1 - 5 * x2 + 0 * x3)
    found = sweep.morris_indices(campaign, frame, "y")
    assert found["factor"].to_list() == ["x1", "x2", "x3"]
    assert found["mu"].to_list() == pytest.approx([6, -5, 0], abs=1e-9)
    assert found["mu_star"].to_list() == pytest.approx([6, 5, 0], abs=1e-9)
    assert found["sigma"].to_list() == pytest.approx([0, 0, 0], abs=1e-9)
    finer, same = sampled("morris", factors, 6, lambda x1, x2, x3: 10 + 3 * x1 - 5 * x2 + 0 * x3, levels=8)
    assert sweep.morris_indices(finer, same, "y")["mu_star"].to_list() == pytest.approx([6, 5, 0], abs=1e-9)
    bent, curved = sampled("morris", factors, 20, lambda x1, x2, x3: x1 * x2 + x3, levels=6)
    rows = sweep.morris_indices(bent, curved, "y")
    assert rows["sigma"][0] > 0.1
    assert rows["sigma"][2] == pytest.approx(0, abs=1e-9)
    assert rows["low"][0] < rows["mu_star"][0] < rows["high"][0]
    assert sweep.morris_indices(bent, curved, "y").equals(rows)
    once, few = sampled("morris", factors, 1, lambda x1, x2, x3: x1)
    with pytest.raises(CampaignError, match="one trajectory"):
        sweep.morris_indices(once, few, "y")


def test_means_by_point_come_in_the_order_of_the_design() -> None:
    campaign, frame = sampled("morris", {"x": {"low": 0, "high": 1}, "z": {"low": 0, "high": 1}}, 3, lambda x, z: x)
    assert per_point(campaign, frame.reverse(), "y", frame.height).tolist() == frame["x"].to_list()


# what is wrong


def test_wrong_calls_are_one_line() -> None:
    frame = table({"multiplier": [1, 2], "y": [1.0, 2.0], "text": ["u", "v"]})
    with pytest.raises(CampaignError, match=r"no column 'multiplyer'.*did you mean 'multiplier'"):
        sweep.means(frame, ["multiplyer"], "y")
    with pytest.raises(CampaignError, match="'text' is no number"):
        sweep.means(frame, ["multiplier"], "text")
    with pytest.raises(CampaignError, match="confidence"):
        sweep.means(frame, ["multiplier"], "y", confidence=95)
    with pytest.raises(CampaignError, match="draws"):
        sweep.effects(frame, ["multiplier"], "y", draws=0)
    with pytest.raises(CampaignError, match="column 'replicate'"):
        sweep.effects(frame, ["multiplier"], "y", paired=True)


# whole campaigns

PLANE = '''"""An outcome that is a known function of the parameters, and of the seed."""

import simworld as sw


class Person(sw.Agent):
    wealth: float = 0.0


class Plane(sw.World):
    """y = 3 a + a b + noise u, u uniform in [0, 1) and the same for equal seeds."""

    class Params(sw.Params):
        n_agents: int = sw.field(2, ge=1, unit="agents", doc="People.")
        a: float = sw.field(0.0, doc="First.")
        b: float = sw.field(0.0, doc="Second.")
        noise: float = sw.field(0.0, doc="Size of the noise.")
        fails: bool = sw.field(False, doc="Whether runs with a = 1 fail.")

    agent_classes = (Person,)
    default_steps = 1

    def step(self):
        if self.params.fails and self.params.a == 1:
            raise ValueError("no")

    def metrics(self):
        p = self.params
        return {"y": 3 * p.a + p.a * p.b + p.noise * self.chance.stream("noise").random()}
'''


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("plane") / "plane.py"
    file.write_text(PLANE, "utf-8")
    return str(file)


def made(plane: str, out: Path, **said: Any) -> CampaignResults:
    return sw.sweep({"scenario": plane, "measures": ["y"], **said}, executor="here", out=out)


def test_a_factorial_campaign_from_file_to_findings(plane: str, tmp_path: Path) -> None:
    found = made(
        plane, tmp_path / "c", factors={"a": [0, 1, 2], "b": [0.0, 4.0]}, replicates=12, params={"noise": 50},
        common_random_numbers=True,
    )  # fmt: skip
    summary = found.summary()
    assert summary.keys() == {"measure", "notes", "means", "effects", "anova"}
    means = summary["means"]
    assert means.equals(found.means())
    noise = found.results.filter(pl.col("a") == 0)["y"][:12].mean()
    expected = [3 * a + a * b + noise for a in (0, 1, 2) for b in (0.0, 4.0)]
    assert means["mean"].to_list() == pytest.approx(expected)
    assert means["n"].to_list() == [12] * 6
    rows = summary["effects"].filter(pl.col("factor") == "a")
    # Averaged over b = 0 and 4 a step of a is worth 3 and 7: 5; common random numbers take the noise out.
    assert rows["paired_difference"].to_list() == pytest.approx([5, 10, 5])
    assert rows["difference"].to_list() == pytest.approx([5, 10, 5])
    assert rows["p"].to_list() == pytest.approx([2 / 2**12] * 3)  # twelve signs alike: differences do not vary
    assert (rows["high"] - rows["low"] > 10).all()
    assert (rows["paired_high"] - rows["paired_low"] < 4).all()
    assert found.anova()["term"].to_list() == ["a", "b", "a × b", "residual"]
    assert any("share random numbers" in note for note in summary["notes"])
    sums = dict(zip(*summary["anova"].select("term", "sum_sq"), strict=True))
    assert sums["a"] == pytest.approx(24 * (25 + 0 + 25))
    assert sums["b"] == pytest.approx(36 * 2 * 2.0**2)


def test_a_campaign_without_common_random_numbers_has_no_pairs(plane: str, tmp_path: Path) -> None:
    found = made(plane, tmp_path / "c", factors={"a": [0, 1]}, replicates=3, params={"noise": 1})
    assert found.effects()["n_pairs"].to_list() == [0]


def test_a_summary_says_what_failed(plane: str, tmp_path: Path) -> None:
    found = made(plane, tmp_path / "c", factors={"a": [0, 1, 2], "b": [0, 1]}, params={"fails": True})
    summary = found.summary()
    assert summary["means"]["missing"].to_list() == [0, 0, 1, 1, 0, 0]
    assert any("2 of 6 runs failed" in note for note in summary["notes"])
    assert any(note.startswith("anova: ") and "degrees of freedom" in note for note in summary["notes"])
    assert any("interactions are left out" in note for note in summary["notes"])
    assert summary["anova"]["term"].to_list() == ["a", "b", "residual"]
    nothing = made(plane, tmp_path / "d", factors={"a": [1]}, params={"fails": True}).summary()
    assert nothing.keys() == {"measure", "notes"}
    assert "nothing to analyse" in nothing["notes"][0]
    assert "no column 'z'" in found.summary("z")["notes"][0]


def test_a_summary_of_sampled_designs(plane: str, tmp_path: Path) -> None:
    ranges = {"a": {"low": 0, "high": 1}, "b": {"low": 0, "high": 1}}
    found = made(plane, tmp_path / "s", factors=ranges, design={"kind": "sobol", "n": 64})
    sobol = found.summary()
    assert sobol.keys() == {"measure", "notes", "means", "correlations", "sobol"}
    assert sobol["correlations"]["n"].to_list() == [128, 128]
    block = found.results.filter(pl.col("point") % 4 == 0), found.results.filter(pl.col("point") % 4 == 3)
    base = pl.concat(block)
    assert sobol["correlations"]["rho"][1] == pytest.approx(stats.spearmanr(base["b"], base["y"]).statistic)
    # y = 3 a + a b: V(E[y | a]) = 3.5² / 12, V(E[y | b]) = 0.5² / 12, and 1/144 of both.
    variances = [3.5**2 / 12, 0.5**2 / 12]
    whole = sum(variances) + 1 / 144
    first = sobol["sobol"].filter(pl.col("order") == "first")["index"].to_list()
    assert first == pytest.approx([v / whole for v in variances], abs=0.04)
    morris = made(plane, tmp_path / "m", factors=ranges, design={"kind": "morris", "n": 6}).summary()
    assert morris.keys() == {"measure", "notes", "means", "morris"}
    assert 3 <= morris["morris"]["mu_star"][0] <= 4
    cube = made(
        plane, tmp_path / "l", factors={"a": {"low": 0, "high": 1}, "b": [0, 1]},
        design={"kind": "latin_hypercube", "n": 30},
    ).summary()  # fmt: skip
    assert cube.keys() == {"measure", "notes", "means", "correlations", "effects"}
    assert cube["effects"]["factor"].to_list() == ["b"]


def test_a_summary_leaves_out_factors_of_many_levels(plane: str, tmp_path: Path) -> None:
    found = made(plane, tmp_path / "c", factors={"a": list(range(42)), "b": [0, 1]}, common_random_numbers=True)
    summary = found.summary()
    assert summary["effects"]["factor"].to_list() == ["b"]
    assert summary["effects"]["n_pairs"].to_list() == [1]  # one replicate, over 42 values of a
    assert any("factor a has 42 levels" in note for note in summary["notes"])

"""The shuffle null: its p-value, its draws, and what it must and must not find."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest

from simworld import observe
from simworld.errors import ParameterError
from simworld.rng import stream


def scale_free(n: int = 300, seed: int = 3) -> nx.DiGraph:
    return nx.DiGraph(nx.barabasi_albert_graph(n, 3, seed=seed))


def test_p_value_counts_the_observed_arrangement() -> None:
    """(b + 1)/(m + 1), Phipson and Smyth 2010: of 4 draws none reaches 9, two reach 2."""
    draws = [0.0, 1.0, 2.0, 3.0]
    assert observe.null_of(9.0, draws, "greater").p_value == 1 / 5
    assert observe.null_of(9.0, draws, "less").p_value == 1.0
    assert observe.null_of(9.0, draws).p_value == 2 / 5
    assert observe.null_of(2.0, draws, "greater").p_value == 3 / 5
    null = observe.null_of(2.0, draws)
    assert (null.value, null.mean, null.gap, null.median, null.permutations) == (2.0, 1.5, 0.5, 1.5, 4)
    assert null.sd == pytest.approx(math.sqrt(5 / 3), abs=1e-12)
    assert null.low == pytest.approx(0.075, abs=1e-12)
    assert null.high == pytest.approx(2.925, abs=1e-12)


def test_a_draw_that_differs_by_rounding_ties() -> None:
    assert observe.null_of(0.3, [0.1 + 0.2] * 3, "less").p_value == 1.0
    assert observe.null_of(0.1 + 0.2, [0.3] * 3, "greater").p_value == 1.0


@pytest.mark.parametrize("value, draws", [(math.nan, [1.0, 2.0]), (1.0, []), (1.0, [math.nan])])
def test_what_is_undefined_has_no_p_value(value: float, draws: list[float]) -> None:
    null = observe.null_of(value, draws)
    assert null.permutations == 0
    assert all(math.isnan(v) for v in (null.mean, null.sd, null.gap, null.p_value, null.low, null.high))


def test_one_draw_has_no_spread() -> None:
    assert math.isnan(observe.null_of(1.0, [2.0]).sd)


def test_a_constant_attribute_is_never_significant() -> None:
    null = observe.shuffle_test(lambda x: float(x.sum()), np.ones(20), np.random.default_rng(1), 50)
    assert (null.mean, null.sd, null.gap, null.p_value) == (20.0, 0.0, 0.0, 1.0)


def test_null_mean_is_the_mean_over_all_permutations() -> None:
    """Path 0 - 1 - 2 - 3, 24 arrangements enumerated; the sampled mean lies within four standard errors."""
    net, x = nx.path_graph(4), [0, 1, 5, 9]
    every = [observe.friendship_paradox(net, list(p)) for p in itertools.permutations(x)]
    null = observe.shuffle_test(lambda v: observe.friendship_paradox(net, v), x, stream(1, "test"), 1000)
    assert null.mean == pytest.approx(np.mean(every), abs=4 * np.std(every) / math.sqrt(1000))
    assert null.sd == pytest.approx(np.std(every), rel=0.15)


def test_vectorised_and_plain_agree() -> None:
    net = scale_free(40)
    a = observe.adjacency(net)
    source, target = np.repeat(np.arange(40), np.diff(a.indptr)), a.indices
    x = np.arange(40) ** 2

    def plain(v: np.ndarray) -> float:
        return observe.hierarchy(net, v)

    def wide(v: np.ndarray) -> np.ndarray:
        return (v[target] > v[source]).mean(axis=0)

    one = observe.shuffle_test(plain, x, stream(7, "null"), 60)
    two = observe.shuffle_test(wide, x, stream(7, "null"), 60, vectorised=True)
    assert one.model_dump() == pytest.approx(two.model_dump(), abs=1e-12)


def test_all_paradoxes_at_once_equal_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nx.gnp_random_graph(40, 0.1, seed=5, directed=True)
    rng = np.random.default_rng(2)
    attributes = {"posts": rng.poisson(2, 40), "mood": rng.integers(-5, 5, 40) / 10}
    every = observe.paradox_nulls(net, stream(3, "null"), attributes, 30)
    for name, x in attributes.items():
        for form, hood in itertools.product(("weak", "strong"), ("out", "in")):
            alone = observe.shuffle_test(
                lambda v, hood=hood, form=form: observe.friendship_paradox(net, v, hood, form), x, stream(3, "null"), 30
            )
            assert every[f"{form}_{name}_{hood}"] == alone
        up = observe.shuffle_test(lambda v: observe.hierarchy(net, v), x, stream(3, "null"), 30)
        assert every[f"hierarchy_{name}"] == up
    monkeypatch.setattr("simworld.observe._nulls.CELLS_AT_ONCE", 1)
    assert observe.paradox_nulls(net, stream(3, "null"), attributes, 30) == every


def test_degrees_by_default_and_values_are_those_observed() -> None:
    net = nx.gnp_random_graph(50, 0.1, seed=5, directed=True)
    nulls = observe.paradox_nulls(net, stream(3, "null"), permutations=5)
    observed = observe.directed_paradoxes(net)
    assert {key: null.value for key, null in nulls.items() if not key.startswith("hierarchy")} == observed
    assert nulls["hierarchy_in"].value == observe.hierarchy(net)
    assert set(nulls) - set(observed) == {"hierarchy_in", "hierarchy_out"}


def test_a_shuffled_attribute_is_no_finding() -> None:
    """Negative control: degrees permuted once already. Over 20 of them the mean gap is zero within four errors."""
    net = scale_free(150)
    k = np.array([d for _, d in net.in_degree()])
    gaps: dict[str, list[float]] = {}
    small: list[float] = []
    for seed in range(20):
        shuffled = stream(seed, "shuffled").permutation(k)
        for key, null in observe.paradox_nulls(net, stream(seed, "null"), {"k": shuffled}, 100).items():
            gaps.setdefault(key, []).append(null.gap)
            small.append(null.p_value)
    for key, values in gaps.items():
        assert abs(np.mean(values)) < 4 * np.std(values, ddof=1) / math.sqrt(len(values)), key
    assert np.mean(np.array(small) <= 0.05) < 0.2


def test_degrees_of_a_scale_free_network_are_a_finding_in_the_strong_form() -> None:
    """Kooti, Hodas, Lerman 2014: the median form does not survive the shuffle, so the gap is the finding."""
    null = observe.paradox_nulls(scale_free(), stream(1, "null"))["strong_in_out"]
    assert null.gap > 0.15
    assert null.p_value == pytest.approx(2 / 201, abs=1e-12)


def test_a_heavy_tail_alone_makes_the_weak_form() -> None:
    """Kooti, Hodas, Lerman 2014: a heavy-tailed attribute alone brings the mean form about, so there is no gap."""
    net = nx.gnm_random_graph(400, 8000, seed=2, directed=True)
    x = np.random.default_rng(4).pareto(1.2, 400)
    nulls = observe.paradox_nulls(net, stream(1, "null"), {"x": x}, 100)
    assert nulls["weak_x_out"].value > 0.75
    assert nulls["strong_x_out"].value < 0.65
    assert nulls["weak_x_out"].p_value > 0.01
    assert abs(nulls["weak_x_out"].gap) < 0.05


@pytest.mark.parametrize("net", [nx.DiGraph(), nx.empty_graph(4, create_using=nx.DiGraph)])
def test_without_arcs_every_null_is_undefined(net: nx.DiGraph) -> None:
    for null in observe.paradox_nulls(net, stream(1, "null"), permutations=3).values():
        assert math.isnan(null.value)
        assert math.isnan(null.p_value)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ParameterError, match="at least 1, got 0"):
        observe.shuffle_test(np.sum, [1, 2], np.random.default_rng(1), 0)
    with pytest.raises(ParameterError, match="'two-sided', 'greater' or 'less', got 'both'"):
        observe.null_of(1.0, [1.0], "both")  # type: ignore[arg-type]

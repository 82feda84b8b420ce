"""Cooperation, reciprocity, welfare, reputation and traits, on cases worked by hand."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from simworld import observe
from simworld.errors import ObserverError, ParameterError
from simworld.observe import Cooperation, Inequality, Moves, PersonaEffects, StillSociety
from simworld.rng import stream
from tests.contract.observer_contract import SmallTown

quick = settings(deadline=None, max_examples=60)
ACTS = [(0, 1, 1.0), (1, 0, 1.0), (0, 1, 0.5), (1, 2, 0.0), (2, 0, 0.25), (0, 2, 0.75), (1, 0, 0.0), (2, 1, 1.0)]
STEPS = [1, 1, 2, 2, 3, 3, 4, 4]


def moves(acts: list[tuple[int, int, float]] = ACTS, steps: list[int] = STEPS) -> Moves:
    return Moves(steps, *zip(*acts, strict=True))


# Rates ----------------------------------------------------------------------------------------------------------------


def test_rate_is_of_all_chances_not_the_mean_of_rates() -> None:
    """1 of 1 and 1 of 3: two of four, where the mean of the rates would be two thirds."""
    assert observe.cooperation_rate([1, 1], [1, 3]) == 0.5
    assert observe.cooperation_rate([0.25, 0.75, 0.5]) == 0.5
    assert math.isnan(observe.cooperation_rate([0, 0], [0, 0]))
    assert math.isnan(observe.cooperation_rate([]))


def test_rate_by_group() -> None:
    found = observe.rate_by(["b", "a", "b", "c"], [1, 2, 0, 0], [1, 4, 3, 0])
    assert list(found) == ["a", "b", "c"]
    assert (found["a"], found["b"]) == (0.5, 0.25)
    assert math.isnan(found["c"])
    assert observe.rate_by([1, 0, 1], [1, 0, 0]) == {0: 0.0, 1: 0.5}
    assert observe.rate_by([], []) == {}


def test_rates_need_equal_shapes() -> None:
    with pytest.raises(ParameterError, match=r"chances has one value for each of acts, shape \(2,\), got shape \(3,\)"):
        observe.cooperation_rate([1, 1], [1, 1, 1])
    with pytest.raises(ParameterError, match="groups has one value for each of acts"):
        observe.rate_by(["a"], [1, 1])


# Ties -----------------------------------------------------------------------------------------------------------------


def test_tie_cooperation_on_a_path() -> None:
    """0 -- 1 -- 2 -- 3 -- 4 with C C D D C: one tie of each of CC, DD, and two mixed."""
    found = observe.tie_cooperation(nx.path_graph(5), [True, True, False, False, True])
    assert found == {"both": 0.25, "one": 0.5, "none": 0.25}


def test_a_tie_counts_once_whatever_its_direction() -> None:
    one_way = nx.DiGraph([(0, 1), (1, 2), (2, 1)])
    assert observe.tie_cooperation(one_way, [1, 1, 0]) == {"both": 0.5, "one": 0.5, "none": 0.0}
    assert all(math.isnan(x) for x in observe.tie_cooperation(nx.empty_graph(3), [1, 1, 0]).values())
    with pytest.raises(ParameterError, match=r"cooperates has one value a node: expected 3, got .* \(2,\)"):
        observe.tie_cooperation(one_way, [1, 1])


def test_assortment_on_a_path() -> None:
    """0 -- 1 -- 2 with x = 1, 1, 0. Ends: 1,1 | 1,1 | 1,0 | 0,1, mean 3/4, variance 3/16, covariance 1/2 − 9/16."""
    assert observe.assortment(nx.path_graph(3), [1, 1, 0]) == pytest.approx(-1 / 3, abs=1e-12)
    assert observe.assortment(nx.path_graph(2), [1, 0]) == -1.0
    two = nx.Graph([(0, 1), (2, 3)])
    assert observe.assortment(two, [5, 5, 2, 2]) == 1.0


def test_assortment_is_undefined_without_ties_or_variance() -> None:
    for net, x in ((nx.empty_graph(3), [1, 0, 1]), (nx.path_graph(3), [0.1, 0.1, 0.1]), (nx.Graph(), [])):
        assert math.isnan(observe.assortment(net, x))
    # Only a node without ties differs.
    assert math.isnan(observe.assortment(_with_loner(), [1, 1, 0]))


def _with_loner() -> nx.Graph:
    net = nx.path_graph(2)
    net.add_node(2)
    return net


def test_assortment_leaves_out_ties_with_an_unknown_end() -> None:
    net = nx.path_graph(4)
    assert observe.assortment(net, [1, 1, 0, math.nan]) == observe.assortment(nx.path_graph(3), [1, 1, 0])


@quick
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.1, 0.9))
def test_assortment_equals_networkx_and_shares_add_up(seed: int, n: int, p: float) -> None:
    net = nx.gnp_random_graph(n, p, seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 4, n)
    r = observe.assortment(net, x)
    ends = {x[v] for edge in net.edges for v in edge}
    if len(ends) > 1:
        nx.set_node_attributes(net, dict(enumerate(x.tolist())), "x")
        assert r == pytest.approx(nx.numeric_assortativity_coefficient(net, "x"), abs=1e-9)
        assert -1 <= r <= 1
    else:
        assert math.isnan(r)
    found = observe.tie_cooperation(net, x > 1)
    if net.size():
        by_hand = np.bincount([int(x[u] > 1) + int(x[v] > 1) for u, v in net.edges], minlength=3) / net.size()
        assert [found["none"], found["one"], found["both"]] == pytest.approx(by_hand.tolist(), abs=1e-12)
    order = rng.permutation(n)
    renamed = nx.relabel_nodes(net, dict(enumerate(order.tolist())))
    again = nx.empty_graph(n)
    again.add_edges_from(renamed.edges)
    moved = np.empty(n, int)
    moved[order] = x
    assert observe.assortment(again, moved) == pytest.approx(r, abs=1e-9, nan_ok=True)


# Reciprocity ----------------------------------------------------------------------------------------------------------

ANSWERS = {
    # (act, the act it may answer), by place in ACTS
    # 5 sees nothing of 4, which is of the same step.
    "direct": [(2, 1), (6, 2), (7, 3)],
    # 2: of 1 toward anybody but 0, earlier than step 2: none. 3: 2 has not acted. 4: 0 toward anybody but 2: 2.
    # 5: 2 has not acted before step 3. 6: 0 toward anybody but 1: 5. 7: 1 toward anybody but 2: 1.
    "downstream": [(4, 2), (6, 5), (7, 1)],
    # 4: 2 received from anybody but 0: 3. 5: 0 received from anybody but 2: 1. 6: 1 received from anybody but 0: none.
    # 7: 2 received from anybody but 1: 5. 3: 1 received from anybody but 2: 0.
    "upstream": [(3, 0), (4, 3), (5, 1), (7, 5)],
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_reciprocity_of_eight_acts(kind: str) -> None:
    """Which act may answer which is written out above."""
    x, y = zip(*((ACTS[a][2], ACTS[b][2]) for a, b in ANSWERS[kind]), strict=True)
    expected = np.corrcoef(x, y)[0, 1]
    assert observe.reciprocity_of_acts(moves(), kind) == pytest.approx(expected, abs=1e-12)


def test_tit_for_tat_is_wholly_direct() -> None:
    """One copies what the other, who moves at random, did in the step before."""
    rng = np.random.default_rng(3)
    free = rng.integers(0, 2, 200).astype(float)
    acts = [act for t, x in enumerate(free) for act in ((0, 1, x), (1, 0, free[t - 1] if t else 1.0))]
    played = moves(acts, [t for t in range(200) for _ in range(2)])
    found = observe.reciprocity_of_acts(played, "direct")
    assert found > 0.4  # half of the pairs are copies, the other half unrelated
    assert math.isnan(observe.reciprocity_of_acts(played, "downstream"))  # nobody else to act toward
    null = observe.reciprocity_null(played, "direct", stream(1, "null"), 99)
    assert null.value == found
    assert null.p_value == pytest.approx(2 / 100)
    # The mean of a step, kept by the null, is half of what one answers: var m = 1/2, cov(m, m before) = 1/4 of var.
    assert null.mean == pytest.approx(0.25, abs=0.1)


def test_a_mix_of_those_who_always_do_the_same_is_no_reciprocity() -> None:
    """Like plays like for ever: the correlation is 1, and so is the null."""
    acts = [(0, 1, 1.0), (1, 0, 1.0), (2, 3, 0.0), (3, 2, 0.0)] * 3
    played = moves(acts, [t for t in range(3) for _ in range(4)])
    null = observe.reciprocity_null(played, "direct", stream(1, "null"), 20)
    assert (null.value, null.mean, null.gap, null.p_value) == (1.0, 1.0, 0.0, 1.0)


def paired(rng: np.random.Generator, n: int) -> np.ndarray:
    order = rng.permutation(n)
    partner = np.empty(n, int)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner


def games_of(shares: np.ndarray, partners: np.ndarray) -> Moves:
    """Everybody toward one partner a round; shares and partners of shape (rounds, n), shares cut to [0, 1]."""
    rounds, n = shares.shape
    return Moves(
        np.repeat(np.arange(rounds), n),
        np.tile(np.arange(n), rounds),
        partners.ravel(),
        np.clip(shares, 0.0, 1.0).ravel(),
    )


def indifferent(rng: np.random.Generator) -> Moves:
    """Twelve who each give what they are like, 1 − k/13 of it in round k, and ignore their partners."""
    k, like = np.arange(1, 13)[:, None], rng.uniform(-0.2, 0.2, 12)
    shares = 1 - k / 13 + like + rng.normal(0, 0.1, (12, 12))
    return games_of(shares, np.stack([paired(rng, 12) for _ in range(12)]))


def constant(rng: np.random.Generator) -> Moves:
    """Everybody gives the same for ever, and like meets like."""
    like = np.repeat(rng.random(6), 2)
    partners = np.tile(np.arange(12) ^ 1, (12, 1))
    return games_of(np.tile(like, (12, 1)), partners)


def donors(rng: np.random.Generator) -> Moves:
    """Half of twelve give to the other half in each round, one trend for all: nobody acts in every step."""
    acts, steps = [], []
    for k in range(1, 13):
        order = rng.permutation(12).tolist()
        for i, j in zip(order[:6], order[6:], strict=True):
            acts.append((i, j, float(np.clip(1 - k / 13 + rng.normal(0, 0.1), 0, 1))))
            steps.append(k)
    return moves(acts, steps)


def tit_for_tat(rng: np.random.Generator) -> Moves:
    """Everybody does what their partner of always did before, nearly, and all give less and less."""
    partner = paired(rng, 12)
    shares = rng.random((12, 12))
    for k in range(1, 12):
        shares[k] = np.clip(shares[k - 1][partner] - 0.02 + rng.normal(0, 0.05, 12), 0, 1)
    return games_of(shares, np.tile(partner, (12, 1)))


def p_values(play: Callable[[np.random.Generator], Moves], kind: str, seeds: int) -> np.ndarray:
    return np.array(
        [
            observe.reciprocity_null(play(np.random.default_rng(seed)), kind, stream(seed, "null"), 99).p_value
            for seed in range(seeds)
        ]
    )


def too_often(k: int) -> float:
    """The share of k tests that may be below 5 % by chance: four standard errors above."""
    return 0.05 + 4 * math.sqrt(0.05 * 0.95 / k)


@pytest.mark.parametrize("kind", ["direct", "downstream", "upstream"])
@pytest.mark.parametrize("play", [indifferent, donors])
def test_those_who_ignore_others_are_not_reciprocal_whatever_the_trend(
    play: Callable[[np.random.Generator], Moves], kind: str
) -> None:
    assert observe.reciprocity_of_acts(play(np.random.default_rng(0)), kind) > 0.3
    assert np.mean(p_values(play, kind, 60) < 0.05) <= too_often(60)


def test_constant_players_who_differ_are_not_reciprocal() -> None:
    assert observe.reciprocity_of_acts(constant(np.random.default_rng(0)), "direct") == pytest.approx(1.0)
    assert (p_values(constant, "direct", 40) == 1.0).all()


def test_tit_for_tat_is_found_beneath_a_trend() -> None:
    assert p_values(tit_for_tat, "direct", 20).max() == pytest.approx(2 / 100)


def test_what_the_null_keeps_is_the_additive_fit() -> None:
    """Against least squares with a column for each actor and each step, on acts with gaps."""
    m = observe._cooperation._moves(donors(np.random.default_rng(4)))
    design = np.concatenate([np.eye(12)[m.actor], np.eye(12)[m.step]], axis=1)
    fit = design @ np.linalg.lstsq(design, m.share, rcond=None)[0]
    assert observe._cooperation._actors_and_steps(m) == pytest.approx(fit, abs=1e-9)


def test_reciprocity_is_undefined_for_few_acts() -> None:
    assert math.isnan(observe.reciprocity_of_acts(moves(ACTS[:3], STEPS[:3]), "direct"))
    assert math.isnan(observe.reciprocity_of_acts(Moves([], [], [], []), "upstream"))
    assert math.isnan(observe.reciprocity_null(Moves([], [], [], []), "direct", stream(1), 5).p_value)


def _slowly(acts: list[tuple[int, int, float]], steps: list[int], kind: str) -> float:
    x, y = [], []
    for m, (i, j, share) in enumerate(acts):
        for b in reversed(range(m)):
            u, v, earlier = acts[b]
            fits = {"direct": (u, v) == (j, i), "downstream": u == j and v != i, "upstream": v == i and u != j}[kind]
            if steps[b] < steps[m] and fits:
                x.append(share)
                y.append(earlier)
                break
    if len(x) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


@quick
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(1, 4), st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=40
    ),
    st.sampled_from(["direct", "downstream", "upstream"]),
    st.integers(0, 99),
)
def test_reciprocity_equals_the_slow_search_and_forgets_names(
    drawn: list[tuple[int, int, int, int]], kind: str, seed: int
) -> None:
    acts = [(i, (i + d) % 5, s / 3) for i, d, s, _ in drawn]
    steps = np.cumsum([later for *_, later in drawn]).tolist()
    found = observe.reciprocity_of_acts(moves(acts, steps), kind)
    assert found == pytest.approx(_slowly(acts, steps, kind), abs=1e-9, nan_ok=True)
    names = (np.random.default_rng(seed).permutation(5) * 7).tolist()
    renamed = [(names[i], names[j], s) for i, j, s in acts]
    assert observe.reciprocity_of_acts(moves(renamed, steps), kind) == pytest.approx(found, abs=1e-9, nan_ok=True)


def test_wrong_moves_are_refused() -> None:
    for wrong, says in (
        (moves([(0, 1, 1.5)], [1]), r"a share lies in \[0, 1\], got 1.5"),
        (moves([(0, 1, math.nan)], [1]), "got nan; leave refused acts out"),
        (moves(ACTS[:2], [2, 1]), "their steps fall"),
        (moves([(-1, 1, 1.0)], [1]), "an id of actor is at least 0, got -1"),
        (Moves([1], [0, 1], [1], [1.0]), "actor has one value for each of share"),
        (Moves([1], [0.5], [1], [1.0]), "actor is an array of whole numbers"),
        (Moves(1, 0, 1, 1.0), r"shape \(m,\), got shape \(\)"),
    ):
        with pytest.raises(ParameterError, match=says):
            observe.reciprocity_of_acts(wrong, "direct")
    with pytest.raises(ParameterError, match="reciprocity is 'direct', 'downstream' or 'upstream', got 'indirect'"):
        observe.reciprocity_of_acts(moves(), "indirect")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="permutations is a whole number of at least 1, got 0"):
        observe.reciprocity_null(moves(), "direct", stream(1), 0)


# Welfare --------------------------------------------------------------------------------------------------------------


def test_welfare() -> None:
    """Gini of 1, 3: mean absolute difference over all ordered pairs 1, relative to twice the mean 4: 1/4."""
    assert observe.welfare([3, 1]) == {"total": 4.0, "mean": 2.0, "min": 1.0, "gini": 0.25}
    assert observe.welfare([0, 0, 0, 8])["gini"] == 0.75
    assert math.isnan(observe.welfare([3, -1])["gini"])
    assert observe.welfare([3, -1])["min"] == -1.0
    nobody = observe.welfare([])
    assert nobody["total"] == 0.0
    assert all(math.isnan(nobody[name]) for name in ("mean", "min", "gini"))


@quick
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.integers(0, 99))
def test_welfare_forgets_who_is_who(payoffs: list[float], seed: int) -> None:
    found = observe.welfare(payoffs)
    again = observe.welfare(np.random.default_rng(seed).permutation(payoffs))
    assert again == pytest.approx(found, abs=1e-9, nan_ok=True)
    assert found["total"] == pytest.approx(sum(payoffs))
    assert math.isnan(found["gini"]) or -1e-12 <= found["gini"] <= 1 - 1 / len(payoffs) + 1e-12


def test_efficiency() -> None:
    """Public goods, four players of 20 tokens, factor 1.6: 80 without and 128 with all contributions."""
    assert observe.efficiency(104, 80, 128) == 0.5
    assert observe.efficiency(68, 80, 128) == -0.25
    assert math.isnan(observe.efficiency(1, 2, 2))


# Reputation -----------------------------------------------------------------------------------------------------------


def test_reputation_accuracy() -> None:
    believed, actual = np.array([True, True, False, False]), np.array([True, False, False, False])
    found = observe.reputation_accuracy(believed, actual)
    assert found["share"] == 0.75
    assert found["correlation"] == pytest.approx(float(1 / np.sqrt(3)))  # the φ of the table 1, 1, 0, 2
    known = np.array([True, False, True, True])
    assert observe.reputation_accuracy(believed, actual, known) == {"share": 1.0, "correlation": pytest.approx(1.0)}
    numbers = observe.reputation_accuracy([[0, 1], [2, 3]], [[3, 2], [1, 0]])
    assert math.isnan(numbers["share"])
    assert numbers["correlation"] == pytest.approx(-1.0)
    nothing = observe.reputation_accuracy(believed, actual, np.zeros(4, bool))
    assert math.isnan(nothing["share"])
    assert math.isnan(nothing["correlation"])
    with pytest.raises(ParameterError, match="known has one value for each of believed"):
        observe.reputation_accuracy(believed, actual, [True])


# Traits ---------------------------------------------------------------------------------------------------------------


def test_trait_association_is_spearmans() -> None:
    """Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 − 6·4/(5·24) = 0.8."""
    null = observe.trait_association([-1, 0, 1, 2, 9], [0.2, 0.1, 0.4, 0.3, 0.5], stream(1, "x"), 50)
    assert null.value == pytest.approx(float(1 - Fraction(6 * 4, 5 * 24)))
    assert null.permutations == 50


def test_trait_association_finds_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=400)
    behaviour = z + rng.normal(size=400)
    found = observe.trait_association(z, behaviour, stream(1, "x"), 199)
    assert found.value > 0.5
    assert found.p_value == pytest.approx(2 / 200)
    # The null's standard deviation is 1/√(n − 1), exactly, for rank correlations (Kendall, Stuart).
    assert found.sd == pytest.approx(1 / np.sqrt(399), rel=0.25)
    shuffled = observe.trait_association(rng.permutation(z), behaviour, stream(1, "x"), 199)
    assert abs(shuffled.value) < 4 / np.sqrt(399)


def test_trait_association_leaves_out_rows_and_is_undefined_without_variance() -> None:
    z, behaviour = [1, 2, 3, math.nan, 4], [1, 2, 3, 9, math.nan]
    assert observe.trait_association(z, behaviour, stream(1), 5).value == pytest.approx(1.0)
    assert math.isnan(observe.trait_association([1, 1, 1], [1, 2, 3], stream(1), 5).value)
    assert math.isnan(observe.trait_association([1, 2], [1, 2], stream(1), 5).value)
    with pytest.raises(ParameterError, match="behaviour has one value for each of z"):
        observe.trait_association([1, 2, 3], [1, 2], stream(1))
    with pytest.raises(ParameterError, match=r"a trait is an array of shape \(n,\), got shape \(1, 3\)"):
        observe.trait_association([[1, 2, 3]], [[1, 2, 3]], stream(1))


# Calibration: every stock null under the process it assumes -----------------------------------------------------------


def p_of_trait(seed: int) -> float:
    """Trait and behaviour have nothing to do with each other; both with ties."""
    rng = np.random.default_rng(seed)
    return observe.trait_association(rng.integers(0, 8, 40), rng.integers(0, 8, 40), stream(seed, "x"), 99).p_value


def p_of_assortment(seed: int) -> float:
    """Independent numbers on a random graph."""
    rng = np.random.default_rng(seed)
    net = nx.gnp_random_graph(30, 0.15, seed=seed)
    society = StillSociety(net, directed=False, columns={"cooperated": rng.random(30), "moves": np.ones(30)}, seed=seed)
    found = {f.metric: f for f in Cooperation(permutations=99).conclude(society)}
    return found["assortment"].p_value


def p_of_third(seed: int) -> float:
    """Rate of the third highest in a trait, of acts that do not know of it, chances unlike."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(1, 9, 40)
    society = StillSociety(
        nx.empty_graph(40),
        columns={"cooperated": rng.binomial(moves, 0.4), "moves": moves},
        traits={"A": rng.normal(size=40)},
        seed=seed,
    )
    found = {f.metric: f for f in PersonaEffects(traits=("A",), permutations=99).conclude(society)}
    return found["rate_high_A"].p_value


def p_of_reciprocity(seed: int) -> float:
    """Actors and rounds differ, and nothing answers anything."""
    return float(p_values(lambda _: indifferent(np.random.default_rng(seed)), "upstream", 1)[0])


@pytest.mark.parametrize("p_of", [p_of_trait, p_of_assortment, p_of_third, p_of_reciprocity])
def test_a_null_rejects_itself_as_often_as_it_says(p_of: Callable[[int], float]) -> None:
    k = 150
    rejected = np.mean([p_of(seed) < 0.05 for seed in range(k)])
    assert rejected <= too_often(k)


@pytest.mark.parametrize("p_of", [p_of_trait, p_of_assortment, p_of_third])
def test_p_values_are_even(p_of: Callable[[int], float]) -> None:
    """Half of them below one half, or the null is too wide; four standard errors."""
    k = 150
    assert abs(np.mean([p_of(seed) <= 0.5 for seed in range(k)]) - 0.5) < 4 * math.sqrt(0.25 / k) + 0.02


# By name --------------------------------------------------------------------------------------------------------------


def town(**columns: object) -> StillSociety:
    given = {"cooperated": [4.0, 3.0, 0.0, 1.0, 0.0], "moves": [4, 4, 4, 4, 0], "payoff": [1, 1, 3, 3, 0], **columns}
    return StillSociety(nx.path_graph(5), directed=False, columns=given, traits={"A": [2, 1, -1, 0, 5]}, seed=3)


def test_the_observer_of_cooperation() -> None:
    """The fifth had no chance: its tie is left out, and 0 -- 1 -- 2 -- 3 are C C D D."""
    watch, society = observe.observer("cooperation"), town()
    seen = watch.observe(society)
    assert seen["rate"] == 0.5
    assert [seen[x] for x in ("both", "one", "none")] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert seen["assortment"] == pytest.approx(observe.assortment(nx.path_graph(4), [1, 0.75, 0, 0.25]))
    found = {f.metric: f for f in watch.conclude(society)}
    assert list(found) == list(seen)
    # Of the six ways to place two cooperators on a path of four, three join them.
    assert found["both"].null_mean == pytest.approx(1 / 6, abs=4 * 0.17 / math.sqrt(200))
    assert found["rate"].null == ""
    assert found["one"].null == "who cooperates permuted over the nodes, graph kept"
    assert found["assortment"].n == 4


def test_where_ends_of_ties_answer_each_other_no_null_is_given() -> None:
    found = {f.metric: f for f in Cooperation(own=False).conclude(town())}
    with_null = {f.metric: f for f in Cooperation().conclude(town())}
    assert list(found) == list(with_null)
    for metric, finding in found.items():
        assert finding.value == with_null[metric].value
        assert math.isnan(finding.p_value)
        assert math.isnan(finding.null_mean)
        assert finding.null == ""
        assert metric == "rate" or "answer each other" in finding.note


def test_columns_and_threshold_are_the_scenarios() -> None:
    society = town(given=[1.0, 1.0, 0.0, 0.0, 0.0], could=[1, 2, 1, 1, 1])
    seen = Cooperation(acts="given", chances="could", threshold=0.6).observe(society)
    assert (seen["rate"], seen["both"], seen["one"]) == (1 / 3, 0.0, 0.25)
    assert Cooperation(acts="given", chances="could").observe(society)["both"] == 0.25
    assert Inequality(payoff="could").observe(society)["total"] == 6.0
    with pytest.raises(ObserverError, match=r"observer 'cooperation' reads a column .* not there: no column 'donated'"):
        Cooperation(acts="donated").observe(society)
    with pytest.raises(ObserverError, match=r"observer 'inequality' reads .* no column 'won'"):
        Inequality(payoff="won").observe(SmallTown(rng=1))


def test_the_observer_of_inequality() -> None:
    watch = observe.observer("inequality")
    assert watch.observe(town()) == observe.welfare([1, 1, 3, 3, 0])
    assert {f.metric: f.value for f in watch.conclude(town())} == {"mean": 1.6, "gini": pytest.approx(0.4)}


def test_the_observer_of_persona_effects() -> None:
    """Rates 1, .75, 0, .25 rank as agreeableness 2, 1, −1, 0 does; who had no chance is left out."""
    watch = observe.observer("persona_effects")
    seen = watch.observe(town())
    assert seen["trait_A"] == pytest.approx(1.0)
    assert all(math.isnan(seen[f"trait_{x}"]) for x in "OCEN")
    found = {f.metric: f for f in watch.conclude(town())}
    assert found["trait_A"].value == seen["trait_A"]
    assert found["trait_A"].n == 4
    assert found["trait_A"].null == "personas permuted over the agents, behaviour kept"
    assert found["trait_O"].n == 0
    # Chances are four each: one agent a third, but two in the lowest; rates 0 and 1/4, 3/4, 1.
    rates = {word: found[f"rate_{word}_A"] for word in ("low", "middle", "high")}
    assert [(f.value, f.n) for f in rates.values()] == [(0.125, 2), (0.75, 1), (1.0, 1)]
    assert rates["high"].null_mean == pytest.approx(0.5, abs=4 * 0.4 / math.sqrt(200))
    assert not [metric for metric in found if metric.startswith("rate") and not metric.endswith("A")]
    as_is = PersonaEffects(acts="payoff", chances="", traits=("A",)).observe(town())
    assert list(as_is) == ["trait_A"]
    assert as_is["trait_A"] == observe.trait_association([2, 1, -1, 0, 5], [1, 1, 3, 3, 0], stream(1), 5).value


def test_a_society_of_a_hundred_thousand_is_measured_in_seconds() -> None:
    n = 100_000
    rng = np.random.default_rng(1)
    arcs = rng.integers(0, n, (2, 4 * n))
    net = sparse.csr_array((np.ones(4 * n), (arcs[0], arcs[1])), shape=(n, n))
    acts = rng.integers(0, 11, n)
    society = StillSociety(
        net, columns={"cooperated": acts, "moves": np.full(n, 10), "payoff": acts}, traits={"A": rng.normal(size=n)}
    )
    begin = time.perf_counter()
    for name in ("cooperation", "inequality", "persona_effects"):
        seen = observe.observer(name).observe(society)
    assert math.isnan(seen["trait_A"])
    assert time.perf_counter() - begin < 3
    for name in ("cooperation", "persona_effects"):
        observe.observer(name).conclude(society)
    assert time.perf_counter() - begin < 20

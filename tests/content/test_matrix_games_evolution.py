"""Matrix games: who takes over whose strategy; fixation beside its closed form, populations side by side."""

from __future__ import annotations

import importlib
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import simworld as sw
from simworld.errors import ParameterError
from simworld.scenario import load, resolve

World = load(resolve("matrix_games"))
PACKAGE = World.__module__.rpartition(".")[0]
theory, evolution, observers = (
    importlib.import_module(f"{PACKAGE}.{name}") for name in ("theory", "evolution", "observers")
)
N = 10


ONE = sw.sample_population(2, 1)[:1]
"""Nobody here reads a persona, so one serves all: sampling thousands takes longer than the play."""


def games(**options: Any) -> Any:
    return World(**{"rng": 1, "scope": "agent", "log_moves": False, "personas": ONE * 20_000, **options})


def cliques(k: int, n: int = N) -> str:
    """k well-mixed populations side by side."""
    return f"caveman_graph:l={k},k={n}"


def cycles(k: int, n: int) -> Any:
    """k cycles of n side by side."""
    return sparse.csr_array(sparse.block_diag([nx.to_scipy_sparse_array(nx.cycle_graph(n))] * k))


def fixed(world: Any, most: int = 3000) -> float:
    """Play until every population is of one strategy; return the share in which ALLC has taken over."""
    times, before = [], 0
    while world.running and world.t < most:
        world.step()
        now = world.populations_fixed()
        times += [world.t] * (now - before)
        before = now
    assert not world.running
    found = {f.metric: f for f in observers.Strategies().conclude(world)}
    time = found["fixation_time"]
    assert time.value == pytest.approx(np.mean(times))
    if not np.isnan(time.closed_form):
        assert abs(time.value - time.closed_form) < 4 * np.std(times) / np.sqrt(len(times))
    assert world.places.share_fixed(world.table["strategy"]) == 1
    return found["fixation_ALLC"].value


def within(value: float, p: float, k: int) -> bool:
    return abs(value - p) < 4 * np.sqrt(p * (1 - p) / k)


# Closed forms (Moran 1958, doi:10.1017/S0305004100033193) -------------------------------------------------------------


def test_the_worked_number() -> None:
    assert theory.moran_fixation(1.5, 10) == pytest.approx((1 - 1 / 1.5) / (1 - 1.5**-10), abs=1e-12)
    assert round(theory.moran_fixation(1.5, 10), 4) == 0.3392
    assert theory.moran_fixation(1.0, 10) == pytest.approx(0.1)


@given(st.floats(0.2, 5), st.integers(2, 40))
@settings(max_examples=50, deadline=None)
def test_constant_fitness_is_a_case_of_the_general_form(r: float, n: int) -> None:
    f, g = np.full(n - 1, r), np.ones(n - 1)
    half = n // 2 or 1
    for update in ("moran", "birth_death"):
        rho, _ = theory.absorption(*theory.transitions(update, f, g))
        if abs(r - 1) > 1e-3:
            assert rho == pytest.approx(theory.moran_fixation(r, n), rel=1e-6)
        assert theory.absorption(*theory.transitions(update, g, g), half)[0] == pytest.approx(half / n)


@given(st.lists(st.floats(0.1, 5), min_size=8, max_size=8), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_fixation_is_the_quotient_of_sums_of_products(fitness: list[float], at: int) -> None:
    """ρ = Σ_{k<at} Π_{j≤k} g_j/f_j / Σ_{k<N} Π_{j≤k} g_j/f_j (Karlin, Taylor 1975; Nowak 2006)."""
    f, g = np.array(fitness[:4]), np.array(fitness[4:])
    terms = np.concatenate([[1.0], np.cumprod(g / f)])
    rho, _ = theory.absorption(*theory.transitions("moran", f, g), at)
    assert rho == pytest.approx(terms[:at].sum() / terms.sum(), rel=1e-9)


def test_the_time_of_two_is_geometric() -> None:
    """N = 2, neutral: with chance 1/2 parent and dead are the same one, so two events on average."""
    assert theory.absorption(*theory.transitions("moran", [1.0], [1.0])) == pytest.approx((0.5, 2.0))
    assert theory.absorption(*theory.transitions("birth_death", [1.0], [1.0])) == pytest.approx((0.5, 1.0))


def test_who_has_no_offspring_dies_out() -> None:
    """f_1 = 0: one mutant is lost; two win only if they never fall to one."""
    f, g = np.array([0.0, 1.0, 2.0]), np.array([3.0, 1.0, 1.0])
    rho = [theory.absorption(*theory.transitions("moran", f, g), at)[0] for at in (1, 2, 3)]
    # From 2 up or down alike; from 3 up : down as 2 : 1. So x2 = x3/2 and x3 = 2/3 + x2/3.
    assert rho == pytest.approx([0, 2 / 5, 4 / 5])
    nobody = theory.transitions("death_birth", np.zeros(3), np.zeros(3))
    assert nobody[0] == pytest.approx([3 / 4 / 3, 2 / 4 * 2 / 3, 1 / 4])


def test_payoffs_in_a_mixed_population() -> None:
    c, d = theory.mixed_payoffs(theory.Game(3, 0, 5, 1), 3)
    assert c.tolist() == [0, 1.5]
    assert d.tolist() == [3, 5]


# Simulation beside it, four standard errors ---------------------------------------------------------------------------

CONSTANT = {"game": "table", "payoffs": "1.5,1.5;1,1"}
NEUTRAL = {"game": "table", "payoffs": "1,1;1,1"}


@pytest.mark.parametrize(
    "options, update",
    [(CONSTANT, "moran"), (CONSTANT, "birth_death"), (NEUTRAL, "moran"), (NEUTRAL, "death_birth")],
)
def test_fixation_of_one_mutant(options: dict[str, Any], update: str) -> None:
    k = 1200
    world = games(graph=cliques(k), strategies="ALLC:1, ALLD:9", update=update, stop_at_fixation=True, **options)
    rho = theory.moran_fixation(1.5 if options is CONSTANT else 1.0, N)
    form = {f.metric: f for f in observers.Strategies().conclude(world)}["fixation_ALLC"]
    assert form.closed_form == pytest.approx(rho)
    assert form.null_mean == pytest.approx(1 / N)
    assert within(fixed(world), rho, k)


@pytest.mark.parametrize("update", ["moran", "death_birth"])
@pytest.mark.parametrize("scope", ["agent", "tie"])
def test_fixation_where_fitness_depends_on_who_is_there(update: str, scope: str) -> None:
    """Chicken among six, fitness 1 − s + s·payoff: the form computed here from the transition chances."""
    n, k, s, at = 6, 800, 0.5, 3
    world = games(
        graph=cliques(k, n), game="chicken", strategies="ALLC, ALLD", update=update, selection=s, scope=scope,
        stop_at_fixation=True,
    )  # fmt: skip
    r, sucker, t, p = world.matrix
    down_by_up = []
    for j in range(1, n):
        f = 1 - s + s * (r * (j - 1) + sucker * (n - j)) / (n - 1)
        g = 1 - s + s * (t * j + p * (n - j - 1)) / (n - 1)
        if update == "moran":
            down_by_up.append(g / f)
        else:
            up = (n - j) / n * j * f / (j * f + (n - j - 1) * g)
            down = j / n * (n - j) * g / ((j - 1) * f + (n - j) * g)
            down_by_up.append(down / up)
    terms = np.concatenate([[1.0], np.cumprod(down_by_up)])
    rho = terms[:at].sum() / terms.sum()
    form = {f.metric: f for f in observers.Strategies().conclude(world)}["fixation_ALLC"]
    assert form.closed_form == pytest.approx(rho, rel=1e-9)
    assert within(fixed(world), rho, k)


def test_a_star_amplifies_selection() -> None:
    """Birth–death on a large star works like r² (Lieberman, Hauert, Nowak 2005, doi:10.1038/nature03204): direction."""
    k, n = 300, 10
    stars = sparse.csr_array(sparse.block_diag([nx.to_scipy_sparse_array(nx.star_graph(n - 1))] * k))
    world = games(graph=stars, strategies="ALLC:1, ALLD:9", update="birth_death", stop_at_fixation=True, **CONSTANT)
    rho = theory.moran_fixation(1.5, n)
    assert fixed(world) > rho + 4 * np.sqrt(rho * (1 - rho) / k)


# One update by hand ---------------------------------------------------------------------------------------------------


class Fixed:
    """Luck whose numbers are given, one array or number a call."""

    def __init__(self, *numbers: Any) -> None:
        self.numbers = list(numbers)

    def __call__(self, who: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.numbers.pop(0), len(who)).astype(float)


def random_luck(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda who: rng.random(len(who))


def places(graph: Any) -> Any:
    return evolution.Populations(sparse.csr_array(nx.to_scipy_sparse_array(graph)))


def test_who_is_born_and_who_dies() -> None:
    path = places(nx.path_graph(4))
    fitness = np.array([1.0, 2.0, 3.0, 4.0])
    for u, parent in ((0.05, 0), (0.2, 1), (0.59, 2), (0.61, 3), (0.999999, 3)):
        learners, models = evolution.moran(fitness, path, Fixed(u, 0.3))
        assert (learners.tolist(), models.tolist()) == ([1], [parent])
    assert [x.tolist() for x in evolution.birth_death(fitness, path, Fixed(0.2, 0.0))] == [[0], [1]]
    assert [x.tolist() for x in evolution.birth_death(fitness, path, Fixed(0.2, 0.7))] == [[2], [1]]
    # Agent 2 dies; its neighbours 1 and 3 compete 2 : 4.
    assert [x.tolist() for x in evolution.death_birth(fitness, path, Fixed(0.6, 0.33))] == [[2], [1]]
    assert [x.tolist() for x in evolution.death_birth(fitness, path, Fixed(0.6, 0.34))] == [[2], [3]]


def test_choice_by_weight_keeps_to_its_run() -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([3, 1, 4])
    starts = np.cumsum(sizes) - sizes
    weights = np.array([0.0, 1.0, 3.0, 5.0, 0.0, 0.0, 0.0, 0.0])
    drawn = np.stack([evolution.chosen(weights, starts, sizes, rng.random(3)) for _ in range(4000)])
    shares = [np.bincount(drawn[:, i], minlength=8) / 4000 for i in range(3)]
    for share, expected in zip(shares, ([0, 0.25, 0.75], [1], [0.25] * 4), strict=True):
        full = np.zeros(8)
        i = len(expected)
        full[{3: slice(0, 3), 1: slice(3, 4), 4: slice(4, 8)}[i]] = expected
        assert np.abs(share - full).max() < 4 * np.sqrt(0.25 / 4000)
        assert (share[full == 0] == 0).all()


def test_imitation_of_the_best_neighbour() -> None:
    star = places(nx.star_graph(3))
    for u, best in ((0.49, 1), (0.51, 2)):
        learners, models = evolution.imitation(np.array([1.0, 3.0, 3.0, 0.5]), star, Fixed([u, 0.2, 0.9, 0.3]))
        assert dict(zip(learners.tolist(), models.tolist(), strict=True)) == {0: best, 3: 0}
    learners, _ = evolution.imitation(np.ones(4), star, Fixed(0.5))
    assert not len(learners)


def test_fermi_copies_as_often_as_its_law_says() -> None:
    pairs = places(nx.disjoint_union_all([nx.path_graph(2)] * 4000))
    payoff = np.tile([0.0, 1.0], 4000)
    learners, models = evolution.fermi(payoff, pairs, random_luck(3), beta=0.7)
    assert (np.abs(models - learners) == 1).all()
    for side, gap in ((0, 1.0), (1, -1.0)):
        p = 1 / (1 + np.exp(-0.7 * gap))
        assert within(np.count_nonzero(learners % 2 == side) / 4000, p, 4000)


def test_agents_without_ties_learn_nothing() -> None:
    lonely = places(nx.empty_graph(3))
    one = np.ones(3)
    rng = random_luck(1)
    assert not len(evolution.imitation(one, lonely, rng)[0])
    assert not len(evolution.fermi(one, lonely, rng, 1.0)[0])
    assert not len(evolution.birth_death(one, lonely, rng)[0])
    assert not len(evolution.death_birth(one, lonely, rng)[0])


# In the society -------------------------------------------------------------------------------------------------------


def test_spatial_chaos_keeps_its_symmetry() -> None:
    """Nowak, May 1992, doi:10.1038/359826a0: from one defector in the middle of cooperators patterns stay symmetric."""
    size = 21
    world = games(
        graph=nx.convert_node_labels_to_integers(nx.grid_2d_graph(size, size)), strategies="ALLC:999, ALLD:1",
        update="imitation",
        payoff_per="round", game="table", payoffs="1,0;1.85,0",
    )  # fmt: skip
    middle = size * size // 2
    world.intervene(cells=[(middle, name, 0.0) for name in ("first", "cc", "cd", "dc", "dd")])
    world.restored()
    assert world.table.text("strategy").tolist().count("ALLD") == 1
    spread = []
    for _ in range(9):
        world.step()
        grid = world.table["first"].reshape(size, size)
        for same in (grid.T, grid[::-1], grid[:, ::-1]):
            assert (grid == same).all()
        spread.append(int((grid == 0).sum()))
    assert spread[0] > 1
    assert len(set(spread)) > 3


def test_newborns_and_converts_begin_anew() -> None:
    world = games(
        graph=cliques(30, 4), scope="tie", strategies="TFT, ALLD", update="moran", noise=0.01, generation=3,
    )  # fmt: skip
    for _ in range(3):
        world.step()
    newborn = np.flatnonzero(world.table["moves"] == 0)
    assert 0 < len(newborn) <= 30
    assert (world.table["cooperated"][newborn] == 0).all()
    sides = world.tables["sides"]
    touched = np.isin(sides["player"], newborn) | np.isin(sides["partner"], newborn)
    assert (sides["last"][touched] == -1).all()
    assert (sides["last"][~touched] >= 0).all()
    assert (world.table["recent_payoff"] == 0).all()


def test_what_is_adopted_is_the_models_strategy() -> None:
    world = games(graph=cliques(20), strategies="TFT, ALLD, 0.1/0.2/0.3/0.4/0.5", update="fermi", selection=5.0)
    world.drain()
    fields = ("strategy", "part", "first", "cc", "cd", "dc", "dd")
    for _ in range(4):
        had = {name: world.table[name].copy() for name in fields}
        world.step()
        for chunk in world.drain().events:
            if chunk.columns["kind"] == "adopt":
                for name in fields:
                    assert (world.table[name][chunk.columns["agent"]] == had[name][chunk.columns["target"]]).all()


def test_mutation_brings_strategies_back() -> None:
    world = games(n_agents=400, graph="cycle_graph", strategies="ALLC:1, ALLD:1", update="imitation", mutation=0.1)
    for _ in range(60):
        world.step()
    share = float((world.table.text("strategy") == "ALLC").mean())
    assert 0 < share < 1
    lost = games(n_agents=400, graph="cycle_graph", strategies="ALLC:1, ALLD:399", update="imitation")
    for _ in range(60):
        lost.step()
    assert (lost.table.text("strategy") == "ALLD").all()


def test_strategies_without_a_name_are_told_apart() -> None:
    """Two given as five numbers are two strategies: one has to go before the run stops."""
    world = games(
        n_agents=10, graph="complete_graph", strategies="0/0/0/0/0:5, 1/1/1/1/1:5", update="moran",
        stop_at_fixation=True,
    )  # fmt: skip
    assert world.populations_fixed() == 0
    world.step()
    assert world.running
    found = {f.metric: f for f in observers.Strategies().conclude(world)}
    assert found["share_0/0/0/0/0"].value + found["share_1/1/1/1/1"].value == 1
    assert found["share_1/1/1/1/1"].null_mean == 0.5
    named = games(n_agents=10, graph="complete_graph", strategies="ALLD:5, ALLC:5", update="moran")
    form = {f.metric: f for f in observers.Strategies().conclude(named)}["fixation_ALLC"].closed_form
    assert found["fixation_1/1/1/1/1"].closed_form == form
    while world.running:
        world.step()
    assert len(set(world.table["first"].tolist())) == 1
    found = {f.metric: f for f in observers.Strategies().conclude(world)}
    assert {found["fixation_0/0/0/0/0"].value, found["fixation_1/1/1/1/1"].value} == {0.0, 1.0}


def test_strategies_set_from_outside_are_kinds_of_their_own() -> None:
    world = games(n_agents=4, graph="complete_graph", strategies="ALLC:99, TFT:1", update="moran")
    assert world.populations_fixed() == 1
    world.intervene(cells=[(0, "dd", 0.5), (1, "dd", 0.25), (2, "cd", 0.0), (2, "dd", 0.0)])
    world.restored()
    assert world.table["part"].tolist() == [-1, -1, 1, 0]
    assert world.table.text("strategy").tolist() == ["MEMORY_ONE", "MEMORY_ONE", "TFT", "ALLC"]
    assert len(set(world.kinds().tolist())) == 4
    assert observers.Strategies().observe(world) == {"share_ALLC": 0.25, "share_TFT": 0.25, "fixed": 0.0}
    world.intervene(cells=[(0, "dd", 1.0)])
    world.restored()
    assert world.table["part"].tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize("update", ["none", "moran", "birth_death", "death_birth", "imitation", "fermi"])
def test_a_cut_tie_moves_nobody_elses_chance(update: str) -> None:
    """Cut in one of thirty populations, which falls apart: in the others everything is as it would have been."""
    call = {"graph": cycles(30, 6), "scope": "tie", "strategies": "TFT, ALLD, RANDOM", "noise": 0.1, "mutation": 0.1,
            "continuation": 0.9, "update": update}  # fmt: skip
    whole, cut = games(**call), games(**call)
    for world in (whole, cut):
        world.step()
    cut.intervene(cuts=[(30, 31, None), (33, 34, None)])
    cut.restored()
    for world in (whole, cut):
        for _ in range(5):
            world.step()
    others = np.r_[0:30, 36:180]
    for name, column in whole.table.columns.items():
        assert (cut.table[name][others] == column[others]).all(), name
    assert (cut.table["matches"][30:36] != whole.table["matches"][30:36]).any()


def test_fitness_below_zero_is_refused() -> None:
    world = games(n_agents=10, graph="complete_graph", game="table", payoffs="1,-2;3,0", strategies="ALLC,ALLD",
                  update="moran")  # fmt: skip
    with pytest.raises(ParameterError, match="fitness"):
        world.step()


@pytest.mark.parametrize("per, converts", [("match", 0), ("round", 3)])
def test_success_a_match_and_a_round_differ_where_degrees_do(per: str, converts: int) -> None:
    """Star of cooperators: the hub wins no more a match than its leaves, but three times as much a round."""
    world = games(graph=nx.star_graph(3), strategies="ALLC:99, GRIM:1", payoff_per=per, update="imitation")
    world.intervene(cells=[(0, name, 0.0) for name in ("cd", "dc", "dd")])
    world.restored()
    world.step()
    assert world.table.text("strategy").tolist().count("GRIM") == 1 + converts


def exact_on_a_cycle(b: float, n: int, s: float) -> float:
    """Fixation of one giver on a cycle, cost 1: givers stay together, so death–birth is a chain over their number.

    The method of Ohtsuki, Nowak 2006, doi:10.1098/rspb.2006.3576; the chances written out here.
    """

    def fitness(own: int, givers: int) -> float:
        return 1 - s + s * (b * givers / 2 - own)

    down_by_up = []
    for j in range(1, n):
        m = n - j
        giver, taker = fitness(1, 0 if j == 1 else 1), fitness(0, 2 if m == 1 else 1)
        beside_taker, beside_giver = fitness(0, 1 if m == 2 else 0), fitness(1, 1 if j == 2 else 2)
        up = 1 / n if m == 1 else 2 / n * giver / (giver + beside_taker)
        down = 1 / n if j == 1 else 2 / n * taker / (taker + beside_giver)
        down_by_up.append(down / up)
    return 1 / (1 + np.cumprod(down_by_up).sum())


def test_givers_on_a_cycle() -> None:
    """Ohtsuki et al. 2006, doi:10.1038/nature04605: death–birth favours giving if b/c is large, here above k = 2."""
    k, n, s = 800, 6, 0.15
    for b in (6, 1):
        rho = exact_on_a_cycle(b, n, s)
        assert (rho > 1 / n) == (b == 6)
        world = games(graph=cycles(k, n), game="table", payoffs=f"{b - 1},-1;{b},0", strategies="ALLC:1, ALLD:9",
                      update="death_birth", selection=s, stop_at_fixation=True)  # fmt: skip
        assert within(fixed(world), rho, k)

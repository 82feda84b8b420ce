"""Whatever the names, the number of agents and the agents asked: streams stay apart and draws stay where they are."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simworld.rng import Chance, Draws, derive_seed

NAME = st.lists(st.one_of(st.text("1ai:sb\0é", max_size=4), st.integers(-20, 20)), max_size=4).map(tuple)
SEED = st.integers(0, 2**63 - 1)


def typed(seed: int, name: tuple[str | int, ...]) -> list[tuple[type, str | int]]:
    return [(type(part), part) for part in (seed, *name)]


@given(SEED, NAME, SEED, NAME)
@settings(max_examples=500, deadline=None)
def test_two_names_have_two_keys(
    seed: int, name: tuple[str | int, ...], other: int, wrong: tuple[str | int, ...]
) -> None:
    assume(typed(seed, name) != typed(other, wrong))
    assert derive_seed(seed, *name) != derive_seed(other, *wrong)


@given(
    n=st.integers(1, 3000),
    more=st.integers(0, 3000),
    asked=st.lists(st.integers(0, 10**9), max_size=60),
    seed=SEED,
    k=st.integers(0, 9),
)
@settings(max_examples=150, deadline=None)
def test_a_uniform_is_its_agents_whoever_else_is_asked(n: int, more: int, asked: list[int], seed: int, k: int) -> None:
    only = np.array([i % n for i in asked], np.int64)
    everybody = Chance(seed).uniforms(n, "x", k)
    assert np.array_equal(Chance(seed).uniforms(n, "x", k, only=only), everybody[only])
    assert np.array_equal(Chance(seed).uniforms(n + more, "x", k, only=only), everybody[only])


@given(calls=st.lists(st.integers(0, 5), min_size=1, max_size=30), seed=SEED)
@settings(max_examples=100, deadline=None)
def test_agents_that_draw_unequally_often_do_not_move_each_other(calls: list[int], seed: int) -> None:
    """Agent i draws calls[i] times; what it gets is what it gets when nobody else draws."""
    chance, n = Chance(seed), len(calls)

    def drawn(times: list[int]) -> list[list[float]]:
        draws = Draws(lambda k: chance.uniforms(n, "x", k).tolist())
        return [[d.random() for _ in range(m)] for d, m in zip(draws.each(n), times, strict=True)]

    together = drawn(calls)
    for i, m in enumerate(calls):
        assert drawn([m if j == i else 0 for j in range(n)])[i] == together[i]

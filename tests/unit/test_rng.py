"""Named streams: names never collide, numbers are pinned, and no agent's draw depends on who else is asked."""

from __future__ import annotations

import collections
import hashlib
import itertools
import math
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from simworld.rng import Chance, Draws, derive_seed, stream
from simworld.rng._streams import FEW

NAMES: list[tuple[str | int, ...]] = [
    (),
    ("",),
    ("", ""),
    ("ab", "c"),
    ("a", "bc"),
    ("abc",),
    ("a", "b", "c"),
    ("1",),
    (1,),
    ("1", 1),
    (1, "1"),
    (1, 1),
    (11,),
    ("11",),
    (-1,),
    ("-1",),
    ("i1:1",),
    ("s1:a",),
    ("a", "s1:b"),
    ("as1:b",),
    ("a", "b"),
    ("A", "b"),
    ("é",),
    ("e\u0301",),
    ("a\0", "b"),
    ("a", "\0b"),
]
"""Names that a hash of joined or printed parts would confuse."""


GOLDEN_A = ["0x1.b68f1b524a580p-5", "0x1.ed340f90b6a4cp-2", "0x1.4eac81295f757p-1"]
GOLDEN_B = ["0x1.9b9c90f956e60p-4", "0x1.5806e086f9b26p-1", "0x1.e9b467d4ad699p-1"]
GOLDEN_C = [2246876786, 995460685, 445127756, 82149161]
GOLDEN_D = [5606921477060877136, 6204544415604380803, 5120640195324332399]
GOLDEN_E = ["0x1.913668cd656c2p-2", "0x1.ffca6d41a72dep-1", "0x1.66b4680e3ebdfp-1"]


def test_no_two_names_share_a_stream() -> None:
    first = {name: stream(3, *name).random() for name in NAMES}
    assert len(set(first.values())) == len(NAMES)
    seeds = {name: derive_seed(3, *name) for name in NAMES}
    assert len(set(seeds.values())) == len(NAMES)


def test_the_seed_is_no_part_of_the_name() -> None:
    assert stream(1, 2).random() != stream(12).random()
    assert stream(1, 2).random() != stream(2, 1).random()
    assert len({stream(seed, "a").random() for seed in range(200)}) == 200


def test_numpy_integers_name_the_same_stream_as_python_ones() -> None:
    assert stream(3, np.int64(5), "a").random() == stream(3, 5, "a").random()  # type: ignore[arg-type]
    assert stream(int(np.int32(3)), 5).random() == stream(3, 5).random()


def test_the_layout_of_a_key_is_blake2b_of_tagged_parts_handed_to_philox_as_it_is() -> None:
    """Worked by hand from the room's documentation, with NumPy's own keyed Philox as the other party."""
    raw = hashlib.blake2b(b"i1:7s5:agenti2:12", digest_size=16).digest()
    key = np.frombuffer(raw, "<u8")
    expected = np.random.Generator(np.random.Philox(key=key)).random(9)
    assert np.array_equal(stream(7, "agent", 12).random(9), expected)
    assert derive_seed(7, "agent", 12) == int(key[0]) >> 1


def test_golden_numbers() -> None:
    """A change here changes the digest of every run ever made: say so in the commit, and why."""
    assert [x.hex() for x in stream(0, "a").random(3).tolist()] == GOLDEN_A
    assert [x.hex() for x in stream(7, "step", 3, "decide", "Follow").random(3).tolist()] == GOLDEN_B
    assert stream(2**62, "agent", 12, "step", 3, "donate").integers(0, 2**32, 4).tolist() == GOLDEN_C
    assert [derive_seed(7, "graph"), derive_seed(-1), derive_seed(0, "mesa", "random", 4)] == GOLDEN_D
    assert [x.hex() for x in Chance(7).uniforms(3, "step", 1, "decide", "Follow", 0, 0).tolist()] == GOLDEN_E


@pytest.mark.slow
def test_streams_do_not_know_the_hash_seed() -> None:
    """Trap: ``hash(str)`` in a stream's name gives another run in every process."""
    code = "from simworld.rng import stream; print(stream(5, 'agent', 'é', 3).random().hex())"
    here = stream(5, "agent", "é", 3).random().hex()
    for hash_seed in ("0", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == here


def test_opening_a_stream_leaves_the_process_wide_generators_alone() -> None:
    python, numpy = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    stream(1, "a").random(100)
    Chance(1).uniforms(1000, "a")
    assert random.getstate() == python
    assert np.random.get_state()[1].tolist() == numpy  # noqa: NPY002


def test_a_derived_seed_fits_a_signed_64_bit_integer() -> None:
    seeds = [derive_seed(k, "x") for k in range(500)]
    assert all(0 <= s < 2**63 for s in seeds)
    # 500 uniform 63-bit numbers: the top bit is set in half of them, 4 SE = 44.7.
    assert abs(sum(s >> 62 for s in seeds) - 250) < 4 * math.sqrt(500) / 2


# -- rows of uniforms -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 4, 5, FEW - 1, FEW, FEW + 1, 1000])
def test_an_agents_uniform_does_not_depend_on_how_many_there_are(n: int) -> None:
    everybody = Chance(9).uniforms(5000, "x", 2)
    assert np.array_equal(Chance(9).uniforms(n, "x", 2), everybody[:n])


@pytest.mark.parametrize("asked", [0, 1, 2, 3, 77, 78, 79, 80, 500, 5000])
def test_an_agents_uniform_does_not_depend_on_who_else_is_asked(asked: int) -> None:
    """5000 ids: up to 78 = 5000 / FEW they are fetched alone, beyond it cut from everybody's; nobody may notice."""
    everybody = Chance(9).uniforms(5000, "x", 2)
    only = np.random.default_rng(asked).permutation(5000)[:asked]
    assert np.array_equal(Chance(9).uniforms(5000, "x", 2, only=only), everybody[only])


def test_the_same_id_asked_twice_gets_one_number() -> None:
    few = Chance(9).uniforms(10_000, "x", only=np.array([7, 3, 7]))
    many = Chance(9).uniforms(8, "x", only=np.array([7, 3, 7]))
    assert few[0] == few[2] != few[1]
    assert np.array_equal(few, many)


def test_columns_of_draws_are_uniform_and_independent() -> None:
    """Kolmogorov-Smirnov at 0.1 %, and the correlation of neighbouring draws within 4 SE (1 / sqrt(n))."""
    n = 20_000
    a, b = Chance(1).uniforms(n, "x", 0), Chance(1).uniforms(n, "x", 1)
    for sample in (a, b):
        ordered = np.sort(sample)
        distance = np.abs(ordered - (np.arange(n) + 0.5) / n).max() + 0.5 / n
        assert distance < 1.95 / math.sqrt(n)
    for x, y in [(a, b), (a[:-1], a[1:]), (a, Chance(2).uniforms(n, "x", 0))]:
        assert abs(np.corrcoef(x, y)[0, 1]) < 4 / math.sqrt(n)


# -- one agent at a time --------------------------------------------------------------------------------------------


def draws(n: int = 1, seed: int = 5) -> Draws:
    chance = Chance(seed)
    return Draws(lambda k: chance.uniforms(n, "t", k).tolist())


def test_the_kth_draw_of_an_agent_is_its_element_of_the_kth_column() -> None:
    columns = [Chance(5).uniforms(40, "t", k) for k in range(6)]
    mine = [[d.random() for _ in range(1 + i % 6)] for i, d in enumerate(draws(40).each(40))]
    assert mine == [[columns[k][i] for k in range(1 + i % 6)] for i in range(40)]


def test_columns_are_made_once_and_only_when_needed() -> None:
    made: list[int] = []

    def column(k: int) -> list[float]:
        made.append(k)
        return [0.5] * 10

    for i, d in enumerate(Draws(column).each(10)):
        for _ in range(3 if i == 4 else 1):
            d.random()
    assert made == [0, 1, 2]


def test_a_fault_while_a_column_is_made_is_not_mistaken_for_a_missing_column() -> None:
    def column(k: int) -> list[float]:
        raise IndexError("id 7 is out of range")

    with pytest.raises(IndexError, match="id 7"):
        Draws(column).random()


N = 20_000


def many(draw: str, *args: object) -> list:
    return [getattr(d, draw)(*args) for d in draws(N).each(N)]


def test_random_has_the_moments_of_the_uniform() -> None:
    x = np.array(many("random"))
    assert x.min() >= 0
    assert x.max() < 1
    assert abs(x.mean() - 0.5) < 4 * math.sqrt(1 / 12 / N)
    # The variance of a squared deviation of a uniform is 1/180.
    assert abs(x.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / N)


@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 0.9, 1.0, -3.0, 7.0])
def test_bernoulli(p: float) -> None:
    share = np.mean(many("bernoulli", p))
    p = min(max(p, 0.0), 1.0)
    assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / N)


def test_integers_cover_their_range_evenly() -> None:
    counts = collections.Counter(many("integers", -2, 5))
    assert sorted(counts) == list(range(-2, 5))
    se = math.sqrt(N * (1 / 7) * (6 / 7))
    assert all(abs(c - N / 7) < 4 * se for c in counts.values())


def test_integers_of_one_value_and_of_none() -> None:
    assert set(many("integers", 4, 5)) == {4}
    for low, high in ((5, 5), (5, 4)):
        with pytest.raises(ValueError, match="empty range"):
            draws().integers(low, high)


def test_uniform() -> None:
    x = np.array(many("uniform", -3.0, 5.0))
    assert x.min() >= -3
    assert x.max() < 5
    assert abs(x.mean() - 1.0) < 4 * 8 * math.sqrt(1 / 12 / N)


def test_normal() -> None:
    """Box and Muller 1958, doi:10.1214/aoms/1177706645: two uniforms give a normal."""
    z = (np.array(many("normal", 10.0, 2.0)) - 10.0) / 2.0
    assert abs(z.mean()) < 4 / math.sqrt(N)
    assert abs(z.var() - 1.0) < 4 * math.sqrt(2 / N)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / N)
    tail = float(np.mean(np.abs(z) > 1.959964))
    assert abs(tail - 0.05) < 4 * math.sqrt(0.05 * 0.95 / N)


def test_normal_of_the_smallest_draw_is_finite() -> None:
    """The first uniform may be 0, of which the logarithm is taken; 1 - 2**-53 is the other end."""
    for u in (0.0, 1 - 2**-53):
        assert math.isfinite(Draws(lambda k, u=u: [u]).normal())


def test_normal_takes_two_draws_and_the_others_one() -> None:
    takes = {
        "random": (), "bernoulli": (0.5,), "integers": (0, 3), "uniform": (0.0, 1.0),
        "choice": ("abc",), "normal": (),
    }  # fmt: skip
    for name, args in takes.items():
        made: list[int] = []
        d = Draws(lambda k, made=made: made.append(k) or [0.3])  # type: ignore[func-returns-value]
        getattr(d, name)(*args)
        assert len(made) == (2 if name == "normal" else 1), name


def test_choice_is_uniform() -> None:
    counts = collections.Counter(many("choice", "abcd"))
    se = math.sqrt(N * 0.25 * 0.75)
    assert sorted(counts) == list("abcd")
    assert all(abs(c - N / 4) < 4 * se for c in counts.values())


def test_choice_by_weight() -> None:
    weights = [0.0, 1.0, 2.0, 0.0, 5.0, 0.0]
    counts = collections.Counter(many("choice", "abcdef", weights))
    assert sorted(counts) == ["b", "c", "e"]
    for option, weight in zip("abcdef", weights, strict=True):
        p = weight / 8
        assert abs(counts[option] - N * p) <= 4 * math.sqrt(N * p * (1 - p))


def test_choice_at_the_edge_never_gives_what_weighs_nothing() -> None:
    top = Draws(lambda k: [1 - 2**-53])
    assert top.choice("abc", [1e-300, 1e300, 0.0]) == "b"
    assert Draws(lambda k: [0.0]).choice("abc", [0.0, 1.0, 1.0]) == "b"
    assert Draws(lambda k: [1 - 2**-53]).choice("abc", [0.1, 0.2, 0.3]) == "c"


@pytest.mark.parametrize(
    "weights",
    [[0.0, 0.0, 0.0], [1.0, -1.0, 3.0], [1.0, math.nan, 1.0], [1.0, math.inf, 1.0], [-1.0, -1.0, -1.0]],
)
def test_choice_refuses_weights_that_mean_nothing(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be finite, non-negative and not all zero"):
        draws().choice("abc", weights)


@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
@pytest.mark.parametrize("u", [0.0, 0.4, 1 - 2**-53])
def test_choice_refuses_weights_that_do_not_fit_the_options(weights: list[float], u: float) -> None:
    with pytest.raises(ValueError):
        Draws(lambda k: [u]).choice("abc", weights)


@pytest.mark.parametrize("options", ["", [], ()])
def test_choice_of_nothing(options: str) -> None:
    with pytest.raises(ValueError, match="no options"):
        draws().choice(options)


def test_shuffled_gives_every_order_equally_often() -> None:
    """All 24 orders of four: chi-square with 23 degrees of freedom is below 49.7 with probability 0.999."""
    counts = collections.Counter(tuple(d.shuffled("abcd")) for d in draws(N).each(N))
    assert set(counts) == set(itertools.permutations("abcd"))
    chi2 = sum((c - N / 24) ** 2 / (N / 24) for c in counts.values())
    assert chi2 < 49.7


def test_shuffled_leaves_its_argument_alone() -> None:
    items = [1, 2, 3, 4, 5]
    assert sorted(draws().shuffled(items)) == items == [1, 2, 3, 4, 5]
    assert draws().shuffled([]) == []

"""The deception ledger, detection, trust and agreement, on cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simworld import observe
from simworld.errors import ParameterError
from simworld.observe import Claims

quick = settings(deadline=None, max_examples=60)
P = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


def claims(*said: tuple[float, float, int]) -> Claims:
    m = len(said)
    claimed, believed, truth = zip(*said, strict=True) if said else ((), (), ())
    return Claims(np.arange(m), np.zeros(m, int), np.ones(m, int), claimed, believed, truth)


# The ledger -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said, kind",
    [
        ((1.0, 0.0, 0), "false_lie"),  # a traitor accuses one it knows to be faithful
        ((0.0, 1.0, 1), "false_lie"),  # a traitor defends another
        ((1.0, 0.9, 0), "mistake"),  # a faithful accuses a faithful in good faith
        ((0.0, 0.2, 1), "mistake"),
        ((1.0, 0.9, 1), "true"),
        ((0.0, 0.0, 0), "true"),
        ((1.0, 0.1, 1), "lucky_lie"),  # accuses, against its own belief, who is guilty
        ((0.0, 0.8, 0), "lucky_lie"),
        ((1.0, 0.5, 0), "mistake"),  # at even odds an accusation is no lie
        ((0.0, 0.5, 0), "true"),
        ((0.5, 1.0, 0), "true"),  # "I do not know" is as near to either
    ],
)
def test_every_kind_of_claim(said: tuple[float, float, int], kind: str) -> None:
    found = observe.ledger(claims(said))
    assert {name: bool(x[0]) for name, x in found._asdict().items()} == {
        name: name == kind for name in ("false_lie", "lucky_lie", "mistake", "true")
    }
    assert bool(found.lie[0]) == kind.endswith("lie")


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize(
    "claimed, believed, lies",
    [(1.0, 0.34, False), (1.0, 0.32, True), (0.0, 0.66, True), (0.0, 0.34, True), (0.0, 0.32, False),
     (1.0, 1 / 3, False), (0.0, 1 / 3, False), (1.0, 1 / 3 - 1e-12, False), (0.5, 0.9, False)],
)  # fmt: skip
def test_the_base_rate_says_what_contradicts(claimed: float, believed: float, lies: bool, truth: int) -> None:
    """Three of nine others are guilty: suspicion above 1/3 speaks against a defence, below it against an accusation.

    What is so does not depend on it: an accusation of an innocent is false at any base rate.
    """
    said = claims((claimed, believed, truth))
    for rate in (3 / 9, [3 / 9]):
        book = observe.ledger(said, rate)
        assert bool(book.lie[0]) == lies
        false = abs(claimed - truth) > 0.5
        assert bool((book.false_lie | book.mistake)[0]) == false
        assert bool((book.lucky_lie | book.true)[0]) != false


def test_each_claim_has_a_base_rate_of_its_own() -> None:
    said = claims((1, 0.4, 0), (1, 0.4, 0), (0, 0.4, 0))
    book = observe.ledger(said, [0.3, 0.5, 0.3])
    assert book.lie.tolist() == [False, True, True]
    assert book.lucky_lie.tolist() == [False, False, True]


def test_summary() -> None:
    said = claims((1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (0, 0, 0))
    assert observe.ledger_summary(said, observe.ledger(said)) == {
        "claims": 5.0, "lies": 2.0, "false_lies": 1.0, "lucky_lies": 1.0, "mistakes": 1.0, "truths": 2.0,
        "lie_rate": 0.4,
    }  # fmt: skip
    nothing = observe.ledger_summary(claims(), observe.ledger(claims()))
    assert nothing["claims"] == nothing["lies"] == 0.0
    assert math.isnan(nothing["lie_rate"])
    with pytest.raises(ParameterError, match=r"the ledger has shape \(5,\); the others have \(0,\)"):
        observe.ledger_summary(claims(), observe.ledger(said))


@quick
@given(st.lists(st.tuples(P, P, st.integers(0, 1)), max_size=30), P, st.integers(0, 99))
def test_the_ledger_is_conserved(said: list[tuple[float, float, int]], base_rate: float, seed: int) -> None:
    book = observe.ledger(claims(*said), base_rate)
    assert np.sum(book, axis=0).tolist() == [1] * len(said)
    found = observe.ledger_summary(claims(*said), book)
    assert found["false_lies"] + found["lucky_lies"] == found["lies"] == np.count_nonzero(book.lie)
    assert found["lies"] + found["mistakes"] + found["truths"] == found["claims"] == len(said)
    assert math.isnan(found["lie_rate"]) if not said else found["lie_rate"] == found["lies"] / len(said)
    order = np.random.default_rng(seed).permutation(len(said))
    again = observe.ledger(claims(*(said[i] for i in order)), base_rate)
    assert [x.tolist() for x in again] == [x[order].tolist() for x in book]


@quick
@given(st.lists(st.tuples(P, P, st.integers(0, 1)), max_size=30), P)
def test_guilt_may_be_told_as_innocence(said: list[tuple[float, float, int]], base_rate: float) -> None:
    """Saying, believing and being the opposite is the same kind of claim."""
    mirrored = [(1 - c, 1 - b, 1 - t) for c, b, t in said]
    one, other = observe.ledger(claims(*said), base_rate), observe.ledger(claims(*mirrored), 1 - base_rate)
    assert [x.tolist() for x in one] == [x.tolist() for x in other]


def test_wrong_claims_are_refused() -> None:
    for wrong, says in (
        (claims((1.5, 0, 0)), r"claimed is a probability in \[0, 1\], got 1.5"),
        (claims((1, math.nan, 0)), "believed is a probability .*, got nan"),
        (claims((1, 0, 2)), "truth is 0 or 1, got 2.0"),
        (claims((1, 0, 0))._replace(believed=[0, 0]), r"believed has shape \(2,\); the others have \(1,\)"),
        (claims((1, 0, 0))._replace(speaker=[0, 0]), r"speaker has shape \(2,\)"),
    ):
        with pytest.raises(ParameterError, match=says):
            observe.ledger(wrong)
    for rate, says in (
        (2, r"base_rate is a probability in \[0, 1\], got 2"),
        ([0.1, 0.2], r"base_rate has shape \(2,\)"),
    ):
        with pytest.raises(ParameterError, match=says):
            observe.ledger(claims((1, 0, 0)), rate)


# Beliefs --------------------------------------------------------------------------------------------------------------


def test_belief_shift_is_positive_toward_the_claim() -> None:
    found = observe.belief_shift([0.25, 0.25, 0.5, math.nan], [0.75, 0.75, 0.5, 0.5], [1, 0, 1, 1])
    assert found[:3].tolist() == [0.5, -0.5, 0.0]
    assert math.isnan(found[3])
    with pytest.raises(ParameterError, match="after is a probability"):
        observe.belief_shift([0.5], [1.5], [1])


def test_brier() -> None:
    """(0.2² + 0.5² + 1²)/3 = 1.29/3."""
    belief, truth = [0.8, 0.5, 1.0], [1, 0, 0]
    assert observe.brier(belief, truth) == pytest.approx(0.43)
    assert observe.brier(belief, truth, [True, False, False]) == pytest.approx(0.04)
    assert math.isnan(observe.brier(belief, truth, [False] * 3))
    by_row = observe.brier([[1, 0], [0.5, math.nan]], [[1, 1], [1, 0]], [[True, True], [True, False]], axis=1)
    assert by_row.tolist() == [0.5, 0.25]
    with pytest.raises(ParameterError, match="belief is a probability"):
        observe.brier([math.nan], [1])


def test_detection_by_hand() -> None:
    """Guilty suspected 0.9 and 0.4, the others 0.6, 0.4, 0.1: of six pairs 3 + 1.5 are in order."""
    found = observe.detection([0.9, 0.4, 0.6, 0.4, 0.1], [1, 1, 0, 0, 0])
    assert found["accuracy"] == 0.6
    assert (found["hit_rate"], found["false_alarm"], found["precision"]) == (0.5, pytest.approx(1 / 3), 0.5)
    assert found["auc"] == pytest.approx(4.5 / 6)
    assert found["chance"] == pytest.approx(0.6)
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.16 + 0.01) / 5)
    assert found["brier_chance"] == pytest.approx(0.4 * 0.6)
    assert found["n"] == 5


def test_detection_at_the_limits() -> None:
    assert observe.detection([0.5], [1])["hit_rate"] == 0.0  # as likely as not is not held for guilty
    assert observe.detection([0.5], [1], threshold=0.4)["hit_rate"] == 1.0
    one_sided = observe.detection([0.9, 0.2], [1, 1])
    assert math.isnan(one_sided["auc"])
    assert math.isnan(one_sided["false_alarm"])
    assert (one_sided["chance"], one_sided["brier_chance"]) == (1.0, 0.0)
    nobody = observe.detection([], [])
    assert nobody.pop("n") == 0.0
    assert all(math.isnan(x) for x in nobody.values())
    # What does not count may be anything.
    assert observe.detection([0.9, math.nan], [1, 7], [True, False])["accuracy"] == 1.0
    with pytest.raises(ParameterError, match=r"the threshold of suspicion lies in \[0, 1\], got -1"):
        observe.detection([0.5], [1], threshold=-1)
    with pytest.raises(ParameterError, match=r"mask has shape \(2,\)"):
        observe.detection([0.5], [1], [True, False])


@quick
@given(st.lists(st.tuples(P, st.integers(0, 1)), min_size=1, max_size=30), st.integers(0, 99))
def test_detection_is_bounded_and_forgets_the_order(pairs: list[tuple[float, int]], seed: int) -> None:
    p, t = zip(*pairs, strict=True)
    found = observe.detection(p, t)
    for name in ("accuracy", "hit_rate", "false_alarm", "precision", "auc", "chance", "brier", "brier_chance"):
        assert math.isnan(found[name]) or 0 <= found[name] <= 1, name
    # By counting pairs one after another.
    ordered = [(x > y) + (x == y) / 2 for x, a in pairs for y, b in pairs if a and not b]
    assert found["auc"] == pytest.approx(np.mean(ordered) if ordered else math.nan, nan_ok=True)
    order = np.random.default_rng(seed).permutation(len(pairs))
    again = observe.detection(np.array(p)[order], np.array(t)[order])
    assert again == pytest.approx(found, abs=1e-12, nan_ok=True)
    # A constant belief in the base rate scores brier_chance, and no constant belief scores less.
    rate = sum(t) / len(t)
    assert observe.brier([rate] * len(t), t) == pytest.approx(found["brier_chance"], abs=1e-12)
    assert observe.brier([p[0]] * len(t), t) >= found["brier_chance"] - 1e-12


# Trust ----------------------------------------------------------------------------------------------------------------


def test_trust_matrix() -> None:
    trust = observe.trust_matrix([[0, 0.25], [1, 0]])
    assert (trust[0, 1], trust[1, 0]) == (0.75, 0.0)
    assert np.isnan(np.diag(trust)).all()
    for wrong, says in (([0.1, 0.2], "square array"), ([[0, 2], [0, 0]], "got 2.0")):
        with pytest.raises(ParameterError, match=says):
            observe.trust_matrix(wrong)


def test_trust_drift() -> None:
    """Changes of 0.3 and 0.4 off the diagonal: 0.5; the diagonal may change as it will."""
    before, after = [[0.0, 0.5], [0.5, 0.0]], [[1.0, 0.8], [0.1, 1.0]]
    assert observe.trust_drift(before, after) == pytest.approx(0.5)
    assert observe.trust_drift(observe.trust_matrix(before), observe.trust_matrix(after)) == pytest.approx(0.5)
    assert observe.trust_drift(before, after, [[True, True], [False, True]]) == pytest.approx(0.3)
    gone = [[math.nan, 0.8], [math.nan, math.nan]]
    assert observe.trust_drift(before, gone) == pytest.approx(0.3)
    assert observe.trust_drift(before, before) == 0.0
    assert math.isnan(observe.trust_drift([[0.5]], [[0.5]]))
    with pytest.raises(ParameterError, match=r"after has shape \(1, 1\)"):
        observe.trust_drift(before, [[0.5]])


# Agreement ------------------------------------------------------------------------------------------------------------


def test_cohen_kappa_by_hand() -> None:
    """Both yes 20, both no 15, yes-no 5, no-yes 10: p_o = 0.7, p_e = 0.5·0.6 + 0.5·0.4 = 0.5, κ = 0.4."""
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert observe.cohen_kappa(a, b) == pytest.approx(0.4)


def test_cohen_kappa_at_the_limits() -> None:
    assert observe.cohen_kappa([0, 1, 2], [0, 1, 2]) == 1.0
    assert observe.cohen_kappa([True, False], [False, True]) == -1.0
    assert observe.cohen_kappa([1, 1, 1], [1, 1, 0]) == 0.0  # a rater who never varies agrees by chance
    assert math.isnan(observe.cohen_kappa([1, 1], [1, 1]))
    assert math.isnan(observe.cohen_kappa([], []))
    with pytest.raises(ParameterError, match=r"got shapes \(1,\) and \(2,\)"):
        observe.cohen_kappa([1], [1, 2])


@quick
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.permutations(range(4)))
def test_cohen_kappa_forgets_the_labels(pairs: list[tuple[int, int]], names: list[int]) -> None:
    a, b = zip(*pairs, strict=True)
    kappa = observe.cohen_kappa(a, b)
    assert math.isnan(kappa) or -1 <= kappa <= 1
    assert observe.cohen_kappa(b, a) == pytest.approx(kappa, nan_ok=True)
    renamed = observe.cohen_kappa([names[x] for x in a], [names[x] for x in b])
    assert renamed == pytest.approx(kappa, nan_ok=True)

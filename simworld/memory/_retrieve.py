"""Retrieval: what each agent recalls for a question, by a named policy, and the parts of every score.

A score is Σ weight × component, each component min–max scaled over the records that may be found; one that is the same
for all counts one half (Park et al. 2023, arXiv 2304.03442, released code). The definitions are those of the policies'
sources, their peculiarities included; each policy says where it comes from.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError, did_you_mean

type Floats = npt.NDArray[np.float64]
type Ids = npt.NDArray[np.int64]
type Mask = npt.NDArray[np.bool_]

K1, B = 1.5, 0.75
"""BM25 (Robertson and Zaragoza 2009, doi:10.1561/1500000019); the usual values. [design]"""


@dataclass(frozen=True, slots=True)
class Policy:
    """One rule of retrieval."""

    name: str
    source: str
    weights: Mapping[str, float]
    """Weight by component: recency, importance, relevance, words, topic, links, retention."""
    k: int
    """Records returned unless the settings say otherwise."""
    decay: float = 0.995
    """γ of recency."""
    recency: Literal["hours", "rank_ascending", "rank_descending", "from_newest"] = "hours"
    """What γ is raised to: hours since the last recall; the rank by last recall, the oldest or the newest first; or the
    steps between a record's last recall and the latest one."""
    ties: Literal["earlier", "newer", "by_access"] = "earlier"
    """Which of equal scores comes first."""
    order: Literal["score", "creation"] = "score"
    """Order of the result."""
    touches: bool = True
    """Whether what is returned counts as recalled."""
    touches_between: bool = False
    """Whether the questions that one agent is asked at once are recalled one after the other."""
    skips: tuple[str, ...] = ()
    """Texts with one of these words are not found."""
    kinds: Literal["all", "events and thoughts"] = "all"
    skips_cold: bool = False
    """Whether records that a summary covers are left out."""
    halves_stale: bool = True
    levels: int = 6
    """Largest strength of a record; recall adds one."""
    drops_after_days: float | None = None
    """Days since the last recall after which a record is not found."""
    special: Literal["", "ldagent"] = ""

    @property
    def highest(self) -> float:
        """The largest score it can give."""
        return sum(self.weights.values())


_GA = "Park et al. 2023, arXiv 2304.03442"
POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("paper", f"{_GA}, as published; k from the code",
               {"recency": 1.0, "importance": 1.0, "relevance": 1.0}, 30, ties="newer"),
        Policy("reverie", f"{_GA}, as released: recency by rank, the oldest record first",
               {"recency": 0.5, "relevance": 3.0, "importance": 2.0}, 30, decay=0.99, recency="rank_ascending",
               ties="by_access", touches_between=True, skips=("idle",), kinds="events and thoughts",
               halves_stale=False),
        Policy("reverie_fixed", f"{_GA}, as released, the newest record first",
               {"recency": 0.5, "relevance": 3.0, "importance": 2.0}, 30, decay=0.99, recency="rank_descending",
               ties="by_access", touches_between=True, skips=("idle",), kinds="events and thoughts",
               halves_stale=False),
        Policy("genagents", "Park et al. 2024, arXiv 2411.10109, as released: nothing is ever touched",
               {"recency": 0.0, "relevance": 1.0, "importance": 0.5}, 120, decay=0.99, recency="from_newest",
               order="creation", touches=False, halves_stale=False),
        Policy("ldagent", "Li et al. 2024, arXiv 2406.05925: topic overlap of the ten nearest, times a slow decay",
               {"topic": 1.0}, 1, special="ldagent", halves_stale=False),
        Policy("memorybank", "Zhong et al. 2023, arXiv 2305.10250, first release: strength has three levels",
               {"relevance": 1.0, "retention": 0.0}, 10, levels=3, drops_after_days=30.0),
        Policy("cosine", "a baseline: nearness in meaning alone", {"relevance": 1.0}, 10),
        Policy("hybrid", "design: recency and importance at half weight, words, links; set by recall of scripted facts",
               {"recency": 0.5, "importance": 0.5, "relevance": 1.0, "words": 0.3, "links": 0.5}, 10, ties="newer",
               skips_cold=True),
        Policy("recent", "a null: the latest records, whatever the question", {"recency": 1.0}, 10, ties="newer"),
        Policy("random_retrieval", "a null: records at random", {"chance": 1.0}, 10),
    )
}  # fmt: skip
"""Retrieval policies by name."""


def policy_of(name: str) -> Policy:
    """Return a policy.

    Raises:
        ParameterError: there is none of this name.
    """
    if name not in POLICIES:
        raise ParameterError(
            f"no retrieval policy {name!r}{did_you_mean(name, POLICIES)}; there are {', '.join(POLICIES)}"
        )
    return POLICIES[name]


@dataclass
class Candidates:
    """Records of b agents, c slots each; arrays of shape (b, c). What is not ``ok`` cannot be found."""

    ids: Ids
    ok: Mask
    now: int
    t_access: Ids
    importance: Floats
    strength: Floats | None
    """None when no component asks."""
    stale: Mask
    is_thought: Mask | None
    """Whether a record is a thought; None when no rank asks."""
    relevance: Floats
    """Cosine with the question."""
    words: Floats | None = None
    """BM25; None when no policy asks."""
    links: Floats | None = None
    """Largest cosine among records one link away."""
    chance: Floats | None = None
    hours_per_step: float = 1.0
    tau_steps: float = 24.0
    parts: dict[str, Floats] = field(default_factory=dict)


def scaled(x: Floats, ok: Mask) -> Floats:
    """Return each row min–max scaled to [0, 1] over what may be found; a constant row is one half."""
    every = bool(ok.all())
    low = (x if every else np.where(ok, x, np.inf)).min(axis=1, keepdims=True, initial=np.inf)
    high = (x if every else np.where(ok, x, -np.inf)).max(axis=1, keepdims=True, initial=-np.inf)
    width = high - low
    if every and (width > 0).all():
        return (x - low) / width
    if every and not (width > 0).any():
        return np.full(x.shape, 0.5)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(width > 0, (x - low) / width, 0.5)
    return np.where(ok, out, 0.0)


@functools.lru_cache(maxsize=64)
def _powers(base: float, factor: float, n: int) -> Floats:
    # By the C library one at a time: NumPy's vector forms differ in the last bit between processors.
    return np.array([math.pow(base, factor * i) for i in range(n)])


def decayed(ages: Ids, gamma: float, factor: float = 1.0) -> Floats:
    """Return γ^(factor·age) for ages in whole steps, at least 0."""
    ages = np.maximum(ages, 0)
    n = 1 << int(ages.max(initial=0) + 1).bit_length()
    return _powers(gamma, factor, n)[ages]


def retention(ages: Ids, strength: Floats, tau_steps: float) -> Floats:
    """Return exp(−Δt/(S·τ)): Δt in steps since the last recall, S the strength (Ebbinghaus; Zhong et al. 2023)."""
    out = np.ones(ages.shape)
    for s in np.unique(strength).tolist():
        at = strength == s
        if s > 0:
            out[at] = decayed(ages[at], math.exp(-1.0 / (s * tau_steps)))
    return out


EVERY_BYTE = np.uint64(0x0101010101010101)
"""Times this, the eight bytes of a number add up in the highest."""


def bm25(terms: npt.NDArray[np.uint32], lengths: npt.NDArray[Any], ok: Mask, asked: npt.NDArray[np.uint32]) -> Floats:
    """Return BM25 of every record, shape (b, c), each row a collection of its own.

    Args:
        terms: words of the records, shape (b, c, w), 0 for none; w is a multiple of 8.
        lengths: number of words, shape (b, c).
        ok: records that count.
        asked: distinct words of the questions, shape (b, m), 0 for none.
    """
    b, c = ok.shape
    n = ok.sum(axis=1)
    total = np.where(ok, lengths, 0).sum(axis=1)
    mean = np.where(n > 0, total / np.maximum(n, 1), 1.0)
    if not b * c or not asked.any():
        return np.zeros((b, c))
    # Few records have a word, so only the comparison is of all. Its truth values are added eight bytes at a time: a
    # byte holds up to 255, and a record has no more than 64 words here.
    hits: list[Ids] = []
    counted: list[npt.NDArray[np.uint64]] = []
    for j, word in enumerate(asked.T):
        rows = np.flatnonzero(word)
        same = (terms if len(rows) == b else terms[rows]) == word[rows, None, None]
        eights = functools.reduce(np.add, np.moveaxis(same.view(np.uint64), 2, 0)).ravel()
        at = np.flatnonzero(eights != 0)
        counted.append((eights[at] * EVERY_BYTE) >> np.uint64(56))
        if len(rows) < b:
            at += (rows - np.arange(len(rows)))[at // c] * c
        hits.append(at + j * b * c)
    each, place = np.divmod(np.concatenate(hits), b * c)
    tf = np.concatenate(counted).astype(np.int64)
    which = each * b + (place // c if b > 1 else 0)  # word and row
    counts = ok.ravel()[place]
    if not counts.all():
        which, place, tf = which[counts], place[counts], tf[counts]
    df = np.bincount(which, minlength=len(hits) * b).reshape(-1, b)
    logs = _logs(1 << int(n.max(initial=0) + 1).bit_length())
    idf = (logs[0][n] - logs[1][df]).ravel()[which]  # ln(1 + (N − df + ½)/(df + ½))
    least = np.maximum(mean, 1e-9)
    norm = K1 * (1 - B + B * lengths.ravel()[place] / (least[which % b] if b > 1 else least))
    out = np.zeros(b * c)
    np.add.at(out, place, idf * (tf * (K1 + 1)) / (tf + norm))
    return out.reshape(b, c)


@functools.lru_cache(maxsize=32)
def _logs(n: int) -> tuple[Floats, Floats]:
    return np.array([math.log(i + 1) for i in range(n)]), np.array([math.log(i + 0.5) for i in range(n)])


def scores(policy: Policy, c: Candidates) -> tuple[Floats, Ids | None]:
    """Return the scores, shape (b, c), with their parts in ``c.parts``; and the order of slots that breaks ties.

    The order is None where the slots stand in it, or in its reverse: the earlier record first, or the newer.
    """
    order: Ids | None = None
    ages = np.where(c.ok, c.now - c.t_access, 0)
    raw: dict[str, Floats] = {"importance": c.importance, "relevance": c.relevance}
    if policy.recency == "hours":
        raw["recency"] = decayed(ages, policy.decay, c.hours_per_step)
    elif policy.recency == "from_newest":
        newest = np.where(c.ok, c.t_access, -1).max(axis=1, keepdims=True, initial=-1)
        raw["recency"] = decayed(np.where(c.ok, newest - c.t_access, 0), policy.decay)
    else:
        # The released code sorts a list of events, the newest first, then thoughts, the newest first; its sort is
        # stable, and so is the one that picks the best.
        assert c.is_thought is not None
        way = 1 if policy.recency == "rank_ascending" else -1
        access = np.where(c.ok, way * c.t_access, np.iinfo(np.int64).max)
        order = np.lexsort((-c.ids, c.is_thought, access), axis=1)
        rank = np.empty(order.shape, np.int64)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
        raw["recency"] = decayed(rank + 1, policy.decay)
    if c.words is not None:
        raw["words"] = c.words
    if c.links is not None:
        raw["links"] = c.links
    if c.chance is not None:
        raw["chance"] = c.chance
    if "retention" in policy.weights:
        assert c.strength is not None
        raw["retention"] = retention(ages, np.minimum(c.strength, policy.levels), c.tau_steps)
    total = np.zeros(c.ids.shape)
    for name, weight in policy.weights.items():
        part = scaled(raw[name], c.ok)
        part *= weight
        c.parts[name] = part
        total += part
    if policy.halves_stale and c.stale.any():
        total = np.where(c.stale, total / 2, total)
    return total, order


def best(total: Floats, ok: Mask, k: int, order: Ids | None, *, newer: bool = False) -> Ids:
    """Return the slots of the k best a row, best first, shape (b, k); −1 where there are fewer.

    Args:
        total: scores, shape (b, c).
        ok: what may be found, shape (b, c).
        k: how many.
        order: the slots in the order in which equal scores are taken; as they stand when None.
        newer: take equal scores from the last slot to the first instead.
    """
    b, c = total.shape
    if not c or not b:
        return np.full((b, k), -1, np.int64)
    if order is not None:
        total, ok = np.take_along_axis(total, order, axis=1), np.take_along_axis(ok, order, axis=1)
    elif newer:
        total, ok = total[:, ::-1], ok[:, ::-1]
    masked = np.where(ok, total, -np.inf)
    m = min(k, c)
    threshold = np.partition(masked, c - m, axis=1)[:, c - m, None]
    keep = (masked >= threshold) & ok
    counts = keep.sum(axis=1)
    if (counts > m).any():
        tied = (masked == threshold) & ok
        room = m - (counts[:, None] - tied.sum(axis=1, keepdims=True))
        keep &= ~tied | (np.cumsum(tied, axis=1) <= room)
        counts = keep.sum(axis=1)
    rows, slots = np.divmod(np.flatnonzero(keep), c)
    at = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = np.full((b, k), -1, np.int64)
    found[rows, at] = slots
    value = np.full((b, k), np.inf)
    value[rows, at] = -masked[rows, slots]
    found = np.take_along_axis(found, np.argsort(value, axis=1, kind="stable"), axis=1)
    there = found >= 0
    if order is not None:
        found = np.where(there, np.take_along_axis(order, np.maximum(found, 0), axis=1), -1)
    elif newer:
        found = np.where(there, c - 1 - found, -1)
    return found

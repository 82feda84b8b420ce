"""Named counter-based streams, and the cheap per-agent form of them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

type Name = str | int

ROW = 8
"""Uniforms of an agent's row before it opens a stream of its own; arbitrary, covers the shipped rules."""

BLOCK = 1024
"""Rows generated at once when many neighbours in id ask; arbitrary, bounds the memory of a large society."""

FEW = 48
"""Agents of a block below which each row is generated alone: a generator costs 5 µs, a whole block about 0.4 ms."""


class _Key(ISeedSequence):
    """Hands Philox its key as it is; ``Philox(key=…)`` asks the operating system for entropy first, and takes 12 µs."""

    def __init__(self, digest: bytes) -> None:
        self._words = np.frombuffer(digest, "<u8").astype(np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        return self._words


def _key(seed: int, name: tuple[Name, ...]) -> bytes:
    # The length prefix and the type tag keep ("ab", "c") from ("a", "bc") and 1 from "1".
    digest = hashlib.blake2b(digest_size=16)
    for part in (seed, *name):
        tag, text = ("i", str(int(part))) if isinstance(part, int | np.integer) else ("s", part)
        raw = text.encode()
        digest.update(f"{tag}{len(raw)}:".encode())
        digest.update(raw)
    return digest.digest()


def stream(seed: int, *name: Name) -> np.random.Generator:
    """Open the stream of this name: ``stream(seed, "agent", 12, "step", 3, "donate")``. About 4 µs."""
    return np.random.Generator(np.random.Philox(_Key(_key(seed, name))))


def derive_seed(seed: int, *name: Name) -> int:
    """Return a 63-bit seed of this name, for libraries that take an integer."""
    return int.from_bytes(_key(seed, name)[:8], "little") >> 1


class Draws:
    """One agent's draws for one purpose in one step: a row of uniforms, then a stream of its own.

    Cheap (no generator is built until the row is used up) and independent of who draws first. Valid during the call
    it was handed to; a policy does not keep it.
    """

    __slots__ = ("_at", "_name", "_row", "_seed")

    def __init__(self, seed: int, name: tuple[Name, ...], row: Sequence[float]) -> None:
        self._seed = seed
        self._name = name
        self._row = row
        self._at = 0

    def random(self) -> float:
        """Return a uniform number in [0, 1)."""
        at = self._at
        self._at = at + 1
        try:
            return self._row[at]
        except IndexError:
            # Each further row is a stream of its own, as long again as all before it.
            more = stream(self._seed, *self._name, "row", len(self._row)).random(max(ROW, len(self._row)))
            self._row = [*self._row, *more.tolist()]
            return self._row[at]

    def bernoulli(self, p: float) -> bool:
        """Return True with probability ``p`` (below 0 counts as 0, above 1 as 1)."""
        return self.random() < p

    def integers(self, low: int, high: int) -> int:
        """Return an integer in [low, high), uniform to within 2**-53 of the width."""
        if high <= low:
            raise ValueError(f"empty range [{low}, {high})")
        return low + int(self.random() * (high - low))

    @overload
    def choice[T](self, options: Sequence[T]) -> T: ...
    @overload
    def choice[T](self, options: Sequence[T], weights: Sequence[float]) -> T: ...
    def choice[T](self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Return one option, uniformly or with probability proportional to its weight (non-negative, not all zero)."""
        if not len(options):
            raise ValueError("cannot choose from no options")
        if weights is None:
            return options[int(self.random() * len(options))]
        total = math.fsum(weights)
        if not (total > 0.0 and math.isfinite(total)) or min(weights) < 0.0:
            raise ValueError(f"weights must be finite, non-negative and not all zero, got {list(weights)!r}")
        left = self.random() * total
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0.0:
                return option
        return next(o for o, w in zip(reversed(options), reversed(weights), strict=True) if w > 0.0)

    def uniform(self, low: float, high: float) -> float:
        """Return a number uniform in [low, high)."""
        return low + self.random() * (high - low)

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        """Return a normal draw (Box and Muller 1958, doi:10.1214/aoms/1177706645)."""
        u, v = 1.0 - self.random(), self.random()
        return mean + sd * math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)

    def shuffled[T](self, items: Sequence[T]) -> list[T]:
        """Return the items in random order (Fisher and Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = int(self.random() * (i + 1))
            out[i], out[j] = out[j], out[i]
        return out


class Chance:
    """The seed tree of one society: hands out streams, and rows of uniforms for many agents at once."""

    __slots__ = ("seed",)

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def stream(self, *name: Name) -> np.random.Generator:
        """Open the stream of this name."""
        return stream(self.seed, *name)

    def uniforms(self, n: int, *name: Name) -> npt.NDArray[np.float64]:
        """Return ``n`` uniforms, shape (n,); element i is agent i's and does not depend on ``n``."""
        return stream(self.seed, *name).random(n)

    def draws(self, agents: Sequence[int] | npt.NDArray[Any], *name: Name) -> list[Draws]:
        """Return one `Draws` for each agent id, in the order given.

        Agent i's row is row i of the stream of this name: the generator's counter goes straight to it, so it is the same
        whoever else asks.
        """
        ids = [int(a) for a in agents]
        key = _key(self.seed, name)
        wanted = Counter(i // BLOCK for i in ids)
        blocks = {b: _rows(key, b * BLOCK, BLOCK) for b, asked in wanted.items() if asked >= FEW}
        return [
            Draws(self.seed, (*name, i), rows[i % BLOCK] if (rows := blocks.get(i // BLOCK)) else _rows(key, i, 1)[0])
            for i in ids
        ]


def _rows(key: bytes, first: int, n: int) -> list[list[float]]:
    # Philox gives four 64-bit numbers a count.
    bits = np.random.Philox(_Key(key), counter=first * ROW // 4)
    rows: list[list[float]] = np.random.Generator(bits).random((n, ROW)).tolist()
    return rows

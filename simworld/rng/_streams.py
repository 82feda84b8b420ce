"""Named counter-based streams, and the cheap per-agent form of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt
from numpy.random.bit_generator import ISeedSequence

type Name = str | int

FEW = 2000
"""One agent in this many: when fewer are asked, draws are fetched one by one (12 µs each), not all (5 ns each)."""


class _Key(ISeedSequence):
    """Hands Philox its key as it is; ``Philox(key=…)`` asks the operating system for entropy first, and takes 12 µs."""

    def __init__(self, digest: bytes) -> None:
        self._words = np.frombuffer(digest, "<u8").astype(np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> npt.NDArray[Any]:
        return self._words


def _philox(key: bytes, counter: int = 0) -> np.random.Generator:
    # NumPy's stubs know SeedSequence only, not the interface it implements.
    return np.random.Generator(np.random.Philox(cast(Any, _Key(key)), counter=counter))


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
    return _philox(_key(seed, name))


def derive_seed(seed: int, *name: Name) -> int:
    """Return a 63-bit seed of this name, for libraries that take an integer."""
    return int.from_bytes(_key(seed, name)[:8], "little") >> 1


class Draws:
    """The draws of one agent at a time, for one purpose in one step.

    An agent's k-th draw is its element of the k-th column of uniforms of this purpose: the same number whoever else is
    asked, and the one that `Chance.uniforms` gives a vectorised policy for its k-th call. Columns are made when first
    needed. The mind that holds it moves it from agent to agent with `each`; a policy does not keep it.
    """

    __slots__ = ("_at", "_column", "_columns", "_k")

    def __init__(self, column: Callable[[int], list[float]]) -> None:
        """``column(k)`` returns the k-th draw of every agent asked."""
        self._column = column
        self._columns: list[list[float]] = []
        self._at = 0
        self._k = 0

    def each(self, n: int) -> Iterator[Draws]:
        """Yield itself once for each of the n agents asked, at that agent's first draw."""
        for at in range(n):
            self._at = at
            self._k = 0
            yield self

    def random(self) -> float:
        """Return a uniform number in [0, 1)."""
        k = self._k
        self._k = k + 1
        try:
            return self._columns[k][self._at]
        except IndexError:
            self._columns.append(self._column(k))
            return self._columns[k][self._at]

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
        if len(weights) != len(options):
            raise ValueError(f"{len(weights)} weights for {len(options)} options")
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

    def seed_of(self, *name: Name) -> int:
        """Return a 63-bit seed of this name, for libraries that take an integer."""
        return derive_seed(self.seed, *name)

    def uniforms(self, n: int, *name: Name, only: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.float64]:
        """Return uniforms by agent id.

        Args:
            n: number of ids; element i is agent i's and does not depend on ``n``.
            name: name of the draw.
            only: ids that are wanted; all when None.

        Returns:
            Shape (n,), or the shape of ``only``.
        """
        key = _key(self.seed, name)
        if only is None:
            return _philox(key).random(n)
        if len(only) * FEW > n:
            return _philox(key).random(n)[only]
        # Philox gives four numbers a count, so any agent's is reached without those before it.
        return np.array([_philox(key, i // 4).random(4)[i % 4] for i in only.tolist()])

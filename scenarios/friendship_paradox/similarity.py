"""Persona and post vectors on an integer grid, so that every cosine is the same number on every machine.

A vector is rounded to integers of length about `GRID`. Products of two such vectors, and their sums, are integers that
float32 (two posts) and float64 (sums of posts) hold exactly, whatever order a BLAS library adds them in.
"""

from __future__ import annotations

import functools
import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

DIMS = 128
"""Dimensions of the hashed space; arbitrary, a few hundred distinct words collide rarely."""
GRID = 2000
"""Length of a vector on the grid: 2000² < 2²⁴, so a float32 dot product is exact."""


def on_grid(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to length GRID and round; a zero row stays zero."""
    norms = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return np.rint(np.divide(vectors * GRID, norms, out=np.zeros_like(vectors), where=norms > 0))


class WordSpace:
    """Hashed TF-IDF of texts, with the idf of a corpus: ln((1 + n)/(1 + df)) + 1, df 0 for a word it does not have.

    Words are hashed by crc32 with a sign bit (Weinberger et al. 2009, doi:10.1145/1553374.1553516).
    """

    def __init__(self, corpus: Sequence[str]) -> None:
        frequency = Counter(word for text in corpus for word in set(_words(text)))
        self._idf = {word: math.log((1 + len(corpus)) / (1 + df)) + 1 for word, df in frequency.items()}
        self._rare = math.log(1 + len(corpus)) + 1

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, shape (n, DIMS), float32 integers; zero for a text without words."""
        out = np.zeros((len(texts), DIMS))
        for row, text in zip(out, texts, strict=True):
            for word, count in Counter(_words(text)).items():
                at, sign = _place(word)
                row[at] += sign * count * self._idf.get(word, self._rare)
        return on_grid(out).astype(np.float32)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]{3,}", text.lower())


@functools.cache
def _place(word: str) -> tuple[int, float]:
    code = zlib.crc32(word.encode())
    return code % DIMS, 1.0 if code & 0x80000000 else -1.0


def post_vectors(
    personas: np.ndarray, authors: Sequence[int], numbers: Sequence[int], noise: float, chance: Any
) -> np.ndarray:
    """Vectors of posts, shape (n, DIMS): the author's persona plus noise of expected length ``noise``, normalised.

    ``numbers`` says which of its author's posts each is, from 0: the noise of an author's k-th post is the same whoever
    else posts and whenever it is written.
    """
    draws = np.zeros((len(authors), DIMS))
    for row, author, number in zip(draws, authors, numbers, strict=True):
        chance.stream("post noise", author, number).standard_normal(DIMS, out=row)
    return on_grid(personas[list(authors)] / GRID + draws * (noise / math.sqrt(DIMS))).astype(np.float32)


def top(scores: np.ndarray, k: int, ties: np.ndarray) -> list[int]:
    """Positions of the k largest scores, best first; of equal ones the smaller of ``ties`` first; -inf never."""
    if len(scores) > 4 * k:
        near = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    else:
        near = np.arange(len(scores))
    near = near[np.isfinite(scores[near])]
    return near[np.lexsort((ties[near], -scores[near]))][:k].tolist()

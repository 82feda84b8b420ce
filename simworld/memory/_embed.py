"""Embedders: what turns texts into vectors, whose vectors compare, and the form in which they compare exactly."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from simworld.errors import ParameterError, did_you_mean
from simworld.memory._text import STOP_WORDS, stem, words
from simworld.schema import Record

type Vectors = npt.NDArray[np.float32]

HASHED = "hashed"
CHROMA = "chroma-default"
SENTENCE = "sentence-transformers/"
"""Begins the name of a sentence-transformers model on this machine."""


class EmbedderIdentity(Record):
    """What must agree before the vectors of two embedders are compared."""

    name: str
    """Name by which `embedder`, or the run, makes it."""
    dimensions: int
    """Numbers in a vector, at least 1."""
    normalised: bool
    """Whether every vector is of length 1, or 0 where there was nothing to embed."""


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def identity(self) -> EmbedderIdentity:
        """Whose vectors these are."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether it gives the same bytes on every machine."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row a text, shape (n, dimensions), each of length 1; all zeros where there is nothing to embed.

        A text's row does not depend on the texts beside it, but for the last bits where `is_exact` is false.
        """
        ...


class HashedEmbedder:
    """Counts words, stems and pieces of words by their hash, in 512 columns (feature hashing: Weinberger et al. 2009,
    doi:10.1145/1553374.1553516; pieces of words: Bojanowski et al. 2017, doi:10.1162/tacl_a_00051).

    It finds texts that share words, inflections or parts of compounds with the query. It finds no paraphrases: of 40
    facts among 540 memories it puts first all by keywords and all by inflections, and none when asked in other words,
    where all-MiniLM-L6-v2 puts 39 first. For that take ``sentence-transformers/NAME``, or a provider's model.

    Every step up to the last is in integers and the last rounds correctly (IEEE 754), so that the bytes are the same on
    every machine; those of a new release of Unicode or of the stemmer may differ, which changes the name.
    """

    dimensions = 512
    is_exact = True

    def __init__(self) -> None:
        self.identity = EmbedderIdentity(name=HASHED, dimensions=self.dimensions, normalised=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row a text, shape (n, 512), each of length 1; all zeros for a text without letters and digits."""
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for at in range(0, len(texts), BLOCK):
            block = texts[at : at + BLOCK]
            out[at : at + len(block)] = _unit_rows(_counted(block, self.dimensions))
        return out


WORD, STEM, PIECE, STOP = 4, 6, 2, 1
"""Weights of a word, of its stem, of each of its pieces, and of a stop word, which has neither stem nor pieces. Chosen
on the 40 facts of tests/unit/test_memory_embed.py among 5,040 memories: inflected queries find all 40 with these, 37
with pieces of weight 1, and 33 (among 540) where a word outweighs its stem; keywords find all 40 with any."""
PIECES = (3, 4, 5)
"""Characters of the pieces, a mark before and after the word included."""
MOST_COUNTED = 1 << 12
"""Occurrences of one word in one text that count; arbitrary, and enough for a book."""
BLOCK = 1 << 12
"""Texts embedded at a time, so that counts take 16 MB whatever is asked."""
_TIMES = np.array([math.isqrt(256 * n) for n in range(MOST_COUNTED + 1)], np.int64)
"""Weight of a word by its occurrences: 16 times the square root. Sub-linear like the usual 1 + log, and exact."""


@lru_cache(1 << 16)
def _features(word: str, dimensions: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Return the columns of a word, ascending, and what it adds to each."""
    if word in STOP_WORDS:
        found = [("w" + word, STOP)]
    else:
        marked = f"\x02{word}\x03"
        found = [("w" + word, WORD), ("s" + stem(word), STEM)]
        found += [("p" + marked[i : i + n], PIECE) for n in PIECES for i in range(len(marked) - n + 1)]
    sums: dict[int, int] = {}
    for feature, weight in found:
        # Python's own hash is salted: another one in every process.
        drawn = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
        column = (drawn >> 1) % dimensions
        sums[column] = sums.get(column, 0) + (weight if drawn & 1 else -weight)
    columns = sorted(column for column, total in sums.items() if total)
    return np.array(columns, np.int32), np.array([sums[column] for column in columns], np.int64)


def _counted(texts: Sequence[str], dimensions: int) -> npt.NDArray[np.int64]:
    """Return the weighted counts of each text's features, shape (n, dimensions)."""
    from scipy.sparse import csr_array

    number: dict[str, int] = {}
    at: list[int] = []
    lengths = np.zeros(len(texts), np.int64)
    for i, text in enumerate(texts):
        found = words(text)
        lengths[i] = len(found)
        at += [number.setdefault(word, len(number)) for word in found]
    if not at:
        return np.zeros((len(texts), dimensions), np.int64)
    # Occurrences of each word in each text: which pairs there are, and how often.
    pairs, times = np.unique(
        np.repeat(np.arange(len(texts)), lengths) * len(number) + np.array(at, np.int64), return_counts=True
    )
    row, word = np.divmod(pairs, len(number))
    occurrences = csr_array((_TIMES[np.minimum(times, MOST_COUNTED)], (row, word)), shape=(len(texts), len(number)))
    columns, values = zip(*(_features(word, dimensions) for word in number), strict=True)
    ends = np.cumsum([0, *map(len, columns)])
    features = csr_array((np.concatenate(values), np.concatenate(columns), ends), shape=(len(number), dimensions))
    counted: npt.NDArray[np.int64] = (occurrences @ features).toarray()
    return counted


def _unit_rows(counted: npt.NDArray[np.int64]) -> Vectors:
    """Return integer rows scaled to length 1, as float32; a zero row stays."""
    most = np.abs(counted).max(axis=1, initial=0)
    # 512 squares of numbers up to 2**22 add up to less than 2**53, which float64 holds exactly.
    excess = np.array([max(int(value).bit_length() - 22, 0) for value in most.tolist()], np.int64)
    if excess.any():
        counted = counted >> excess[:, None]
    lengths = np.sqrt((counted * counted).sum(axis=1).astype(np.float64))
    lengths[lengths == 0.0] = 1.0
    return (counted / lengths[:, None]).astype(np.float32)


MODEL_FILES = (
    "config.json", "model.onnx", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt",
)  # fmt: skip
"""What chromadb 1.5.9 looks for before it downloads its model."""


class ChromaEmbedder:
    """The model chromadb embeds with when nobody says otherwise: all-MiniLM-L6-v2 (Reimers and Gurevych 2019,
    doi:10.18653/v1/D19-1410), 384 dimensions, from its ONNX files on this machine. It downloads nothing.

    chromadb fills every text up to 256 tokens and cuts it there, so a short one takes as long as a long one.
    """

    dimensions = 384
    is_exact = False

    def __init__(self) -> None:
        """Look for the files and load them.

        Raises:
            ParameterError: they are not all there.
        """
        folder = Path.home() / ".cache" / "chroma" / "onnx_models" / "all-MiniLM-L6-v2"
        missing = [name for name in MODEL_FILES if not (folder / "onnx" / name).is_file()]
        if missing:
            raise ParameterError(
                f"embedder {CHROMA!r} needs chromadb's model in {folder / 'onnx'}, where there is no {missing[0]}; "
                "simworld downloads nothing. Copy the folder from a machine where chromadb has fetched it, or use "
                f"{HASHED!r}, or an embedding model of a server"
            )
        from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

        class Offline(ONNXMiniLM_L6_V2):
            DOWNLOAD_PATH = folder  # chromadb settles it when imported

            def _download_model_if_not_exists(self) -> None:
                """Do nothing: what is needed was found."""

        self._embed: Any = Offline(preferred_providers=["CPUExecutionProvider"])
        self.identity = EmbedderIdentity(name=CHROMA, dimensions=self.dimensions, normalised=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row a text, shape (n, 384), each of length 1; all zeros for an empty text."""
        return _embedded(texts, self.dimensions, lambda some: np.asarray(self._embed(some)))


class SentenceEmbedder:
    """A model of the optional package sentence-transformers (Reimers and Gurevych 2019, doi:10.18653/v1/D19-1410), from
    a folder or from the cache of an earlier download. It downloads nothing.
    """

    is_exact = False

    def __init__(self, name: str) -> None:
        """``name`` is ``sentence-transformers/NAME``, NAME the model's on Hugging Face, or a folder.

        Raises:
            ParameterError: the package or the model is not on this machine.
        """
        # Read when its libraries are imported; `local_files_only` alone leaves them some questions to ask the hub.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        try:
            from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ParameterError(
                f"embedder {name!r} needs the package sentence-transformers: pip install 'simworld[embeddings]'"
            ) from None
        model = name.removeprefix(SENTENCE)
        try:
            self._model: Any = SentenceTransformer(model, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"embedder {name!r}: the model {model!r} is not on this machine ({_line(error)}); simworld downloads "
                f"nothing. Fetch it first: hf download {model if '/' in model else SENTENCE + model}"
            ) from error
        self.dimensions = int(np.asarray(self._model.encode(["dimensions"], show_progress_bar=False)).shape[1])
        self.identity = EmbedderIdentity(name=name, dimensions=self.dimensions, normalised=True)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row a text, shape (n, dimensions), each of length 1; all zeros for an empty text."""
        return _embedded(
            texts, self.dimensions, lambda some: np.asarray(self._model.encode(some, show_progress_bar=False))
        )


def _embedded(texts: Sequence[str], dimensions: int, model: Any) -> Vectors:
    """Ask a model for the texts that hold something, and scale its rows to length 1."""
    out = np.zeros((len(texts), dimensions), np.float32)
    asked = [i for i, text in enumerate(texts) if text.strip()]
    if asked:
        found = np.asarray(model([texts[i] for i in asked]), np.float64)
        lengths = np.sqrt((found * found).sum(axis=1, keepdims=True))
        out[asked] = found / np.where(lengths > 0.0, lengths, 1.0)
    return out


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def embedder(name: str) -> Embedder:
    """Make an embedder by its name: ``hashed``, ``chroma-default`` (or ``chroma``), ``sentence-transformers/NAME``.

    Raises:
        ParameterError: there is none of this name, it needs what is not on this machine, or it is a provider's model,
            which a run reaches and this room does not.
    """
    if name == HASHED:
        return HashedEmbedder()
    if name in (CHROMA, "chroma"):
        return ChromaEmbedder()
    if name.startswith(SENTENCE) and name != SENTENCE:
        return SentenceEmbedder(name)
    near = did_you_mean(name, (HASHED, CHROMA, "chroma", f"{SENTENCE}NAME"))
    if not near and ("/" in name or "embed" in name.casefold()):
        raise ParameterError(
            f"embedder {name!r} is a model of a server, which only a run with its limits and keys may ask; here there "
            f"are {HASHED}, {CHROMA} and {SENTENCE}NAME"
        )
    raise ParameterError(
        f"no embedder {name!r}{near}; there are {HASHED}, {CHROMA}, {SENTENCE}NAME, and embedding models by their "
        "litellm names (openai/text-embedding-3-small, ollama/nomic-embed-text)"
    )


def check_identity(recorded: EmbedderIdentity, now: EmbedderIdentity) -> None:
    """Check that vectors made now may be compared with vectors made then.

    Raises:
        ParameterError: another model, another number of dimensions, or only one of them normalised.
    """
    if recorded == now:
        return

    def said(one: EmbedderIdentity) -> str:
        return f"{one.name!r} ({one.dimensions} dimensions, {'' if one.normalised else 'not '}normalised)"

    raise ParameterError(
        f"these memories were embedded by {said(recorded)}; vectors of {said(now)} cannot be compared with them; "
        f"use {recorded.name!r}, or embed them again: simworld memory rebuild RUN --embedder {now.name}"
    )


EXACT_BELOW = 1 << 24
"""float32 holds every integer up to here."""


def quantised(vectors: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int8], Vectors]:
    """Return rows of small integers in the directions of these vectors, and the lengths of the integer rows.

    Each row is scaled so that its largest component is ±127 and rounded. A dot product of two such rows is an integer
    below 2**24 for up to 1,024 dimensions, and so is every partial sum: float32 holds them all exactly, in whatever
    order they are added and on however many threads. A cosine, ``dot / (length * length)``, is therefore the same on
    every machine. Above 1,040 dimensions 127 would be too much, and the largest component is the largest integer that
    keeps this true: 104 for 1,536, 73 for 3,072. A cosine moves by 0.01 at most for vectors of a model's usual shape.

    Args:
        vectors: shape (n, d), finite, d below 2**24.

    Returns:
        The rows, int8 of shape (n, d), and their Euclidean lengths, float32 of shape (n,), 0 for a row of zeros: the
        correctly rounded square root of an exact integer.

    Raises:
        ValueError: a component is not finite.
    """
    _, d = vectors.shape
    level = min(127, math.isqrt((EXACT_BELOW - 1) // max(d, 1)))
    wide = vectors.astype(np.float64)
    most = np.abs(wide).max(axis=1, initial=0.0)
    if not np.isfinite(most).all():
        raise ValueError(f"row {int(np.argmin(np.isfinite(most)))} holds a number that is not finite")
    # float32 times a small integer is exact in float64; one division, correctly rounded, and the rounding remain.
    rows = np.rint(wide * level / np.where(most > 0.0, most, 1.0)[:, None]).astype(np.int8)
    whole = rows.astype(np.int64)
    return rows, np.sqrt((whole * whole).sum(axis=1).astype(np.float64)).astype(np.float32)

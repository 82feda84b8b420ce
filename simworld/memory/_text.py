"""Words, stems and term numbers of a text: what lexical retrieval, topics and the hashed embedder count."""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

LONGEST_WORD = 64
"""Characters after which a run of letters is cut: longer ones are encoded data, which a cache would keep. Arbitrary."""
LONGEST_CACHED = 2_000
"""Characters of the longest text whose terms are kept; arbitrary, so that the cache stays below about 100 MB."""

_STOP_WORDS = """
i me my myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers herself
it its itself they them their theirs themselves what which who whom whose this that these those am is are was were
be been being have has had having do does did doing will would shall should can could may might must ought
i'm you're he's she's it's we're they're i've you've we've they've i'd you'd he'd she'd we'd they'd i'll you'll
he'll she'll we'll they'll isn't aren't wasn't weren't hasn't haven't hadn't doesn't don't didn't won't wouldn't
shan't shouldn't can't cannot couldn't mustn't let's that's who's what's here's there's when's where's why's how's
a an the and but if or because as until while of at by for with about against between into through during before
after above below to from up down in out on off over under again further then once here there when where why how
all any both each few more most other some such no nor not only own same so than too very
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""English function words that carry no content, after the list of the Snowball project and with the auxiliary verbs
it leaves to choice (M. Porter 2001, https://snowballstem.org/algorithms/english/stop.txt)."""

_APOSTROPHES = "'\u2019\u02bc"
"""The typewriter's, the typesetter's, and the letter; a text may hold any of them and means the same."""
_UNSPACED = "々〆ぁ-ヿ㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff"
"""Han characters and kana."""
_RUNS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")


class _Table(dict[int, int]):
    """Maps a character to itself when it can be part of a word, else to a space; filled as characters come."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        if character in _APOSTROPHES:
            found = 0x27
        else:
            # Marks belong to the letter before them: without them the words of Hindi or Thai would break apart.
            found = code if unicodedata.category(character)[0] in "LMN" else 0x20
        self[code] = found
        return found


_TABLE = _Table()


def words(text: str) -> list[str]:
    """Return the words of a text in their order, with repetitions.

    A word is a run of letters, marks, digits and inner apostrophes of any script, compatibility forms resolved and
    case folded (Unicode NFKC, UAX #15), cut after 64 characters. Han characters and kana, which are written without
    spaces, come as overlapping pairs of characters; other scripts without spaces (Thai, Lao, Khmer) as whole runs.
    """
    if text.isascii():
        found = text.lower().translate(_TABLE).split()
        return found if "'" not in text and all(map(_fits, found)) else _whole(found)
    # Folding can undo the form: once more after it.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    out: list[str] = []
    for run in (run for found in folded.translate(_TABLE).split() for run in _RUNS.findall(found)):
        if _IS_UNSPACED.match(run):
            out += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
        else:
            out.append(run)
    return _whole(out)


def _fits(word: str) -> bool:
    return len(word) <= LONGEST_WORD


def _whole(found: list[str]) -> list[str]:
    cut = (word.strip("'")[:LONGEST_WORD].rstrip("'") for word in found)
    return [word for word in cut if word]


@cache
def _stemmer() -> tuple[threading.Lock, object]:
    # Imported by its own name: the package's front door takes PyStemmer's stems where that is installed, which may be
    # of another version of the algorithm.
    from snowballstemmer.english_stemmer import EnglishStemmer  # type: ignore[import-untyped]

    return threading.Lock(), EnglishStemmer()


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """Return the stem of a word as `words` gives it, or ``""`` for a stop word.

    The stems are English (Snowball's Porter2, M. Porter 2001, https://snowballstem.org/algorithms/english/stemmer.html);
    a word that is not written in Latin letters stays as it is.
    """
    if word in STOP_WORDS:
        return ""
    lock, stemmer = _stemmer()
    with lock:  # it keeps the word it works on in itself
        return str(stemmer.stemWord(word))  # type: ignore[attr-defined]


def stems(text: str) -> list[str]:
    """Return the English stems of a text's content words in their order, with repetitions; stop words are left out."""
    return [found for word in words(text) if (found := stem(word))]


def noun_set(text: str) -> frozenset[str]:
    """Return what stands in for the nouns of a text: its content stems longer than two letters.

    There is no part-of-speech tagger here, so verbs, adjectives and numbers of three digits are in it as well. Where
    LD-Agent (Li et al. 2025, arXiv:2406.05925) compares lemmas of nouns, we compare these: overlaps are larger than
    with nouns alone. Pairs of Han characters or kana count as long enough.
    """
    return frozenset(found for found in stems(text) if len(found) > 2 or _IS_UNSPACED.match(found))


@lru_cache(1 << 16)
def _term_id(found: str) -> int:
    return zlib.crc32(found.encode()) or 1


def term_ids(text: str) -> npt.NDArray[np.uint32]:
    """Return one number a content stem, in order and with repetitions; shape (number of stems,), read-only.

    The number is the stem's CRC-32, the same on every machine and in every process, and never 0. Among 10,000 different
    stems, two share one with a probability of about 1 %.
    """
    return _cached_ids(text) if len(text) <= LONGEST_CACHED else _ids(text)


def _ids(text: str) -> npt.NDArray[np.uint32]:
    ids = np.array([_term_id(found) for found in stems(text)], np.uint32)
    ids.setflags(write=False)
    return ids


_cached_ids = lru_cache(1 << 14)(_ids)

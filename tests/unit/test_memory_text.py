"""Words of any script, English stems, and numbers for them that are the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simworld.memory._text import LONGEST_CACHED, STOP_WORDS, noun_set, stem, stems, term_ids, words

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "text, found",
    [
        ("", []),
        ("... — !", []),
        ("Don't stop the Harbour's 'fine' café", ["don't", "stop", "the", "harbour's", "fine", "café"]),
        ("Don\u2019t, o\u02bcclock, rock'n'roll '' '", ["don't", "o'clock", "rock'n'roll"]),
        ("x_y 3.5% A-Z", ["x", "y", "3", "5", "a", "z"]),
        ("ﬁne ＦＵＬＬ ①", ["fine", "full", "1"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("मैंने हिन्दी में", ["मैंने", "हिन्दी", "में"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("我喜歡雪 and スキー2024年", ["我喜", "喜歡", "歡雪", "and", "スキ", "キー", "2024", "年"]),
        ("ภาษาไทย", ["ภาษาไทย"]),
        ("\ud800 a\ud800b", ["a", "b"]),
        ("a" * 200, ["a" * 64]),
        ("it's " + "b" * 200, ["it's", "b" * 64]),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == [unicodedata.normalize("NFKC", word) for word in found]


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    assert all(word and len(word) <= 64 and not word.isspace() for word in found)


@given(st.text(st.characters(codec="ascii")))
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    assert words(text) == words(text + " \u00e9")[:-1]


@pytest.mark.parametrize(
    "forms",
    [("repair", "repairs", "repaired", "repairing"), ("library", "libraries"), ("harbour", "harbours", "harbour's"),
     ("swim", "swims", "swimming"), ("promise", "promised", "promising")],
)  # fmt: skip
def test_inflections_share_a_stem(forms: tuple[str, ...]) -> None:
    assert len({stem(form) for form in forms}) == 1


def test_stems_leave_stop_words_out_and_keep_order_and_repetitions() -> None:
    assert stems("The bakers were baking, and I don't bake the bread of bakers") == [
        "baker", "bake", "bake", "bread", "baker",
    ]  # fmt: skip
    assert stems("it is what it is") == []
    assert all(stem(word) == "" and words(word) == [word] for word in STOP_WORDS)


def test_the_noun_set_is_every_content_stem_of_three_letters() -> None:
    assert noun_set("We go to see ox and cow at 9 in 2024; 雪山 snows") == {"see", "cow", "2024", "雪山", "snow"}
    assert noun_set("") == frozenset()


def test_term_ids_count_stems_and_are_crc32() -> None:
    ids = term_ids("Bread, breads and the chess")
    assert ids.dtype == np.uint32
    assert ids.tolist() == [zlib.crc32(b"bread")] * 2 + [zlib.crc32(b"chess")]
    assert term_ids("of the").shape == (0,)
    with pytest.raises(ValueError):
        ids[0] = 1


def test_no_term_is_numbered_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    # "exxbzt" style collisions with 0 are rare; the rule is what is tested.
    monkeypatch.setattr(zlib, "crc32", lambda _: 0)
    assert term_ids("anunheardofword").tolist() == [1]


def test_a_long_text_is_counted_whole_and_not_kept() -> None:
    text = "bread chess " * LONGEST_CACHED
    assert len(term_ids(text)) == 2 * LONGEST_CACHED
    assert term_ids(text) is not term_ids(text)
    assert term_ids("bread chess") is term_ids("bread chess")


def test_threads_share_the_stemmer() -> None:
    forms = [
        f"{a}{b}{c}" for a in ("gener", "conver", "relat") for b in ("al", "iv", "on") for c in ("ising", "ities", "s")
    ]
    stem.cache_clear()
    alone = {form: stem(form) for form in forms}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(30):
            stem.cache_clear()
            wrong.extend(form for form in forms if stem(form) != alone[form])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


EVERYWHERE = """
from simworld.memory._text import noun_set, term_ids
text = "Ada's three neighbours argued about caf\\u00e9s, \\u96ea\\u5c71 and windmills"
print(term_ids(text).tolist(), sorted(noun_set(text)))
"""


def test_terms_are_the_same_in_every_process(tmp_path: Path) -> None:
    said = {
        subprocess.run(
            [sys.executable, "-W", "error", "-c", EVERYWHERE], cwd=tmp_path, capture_output=True, text=True, timeout=60,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": salt, "PYTHONPATH": str(ROOT)}, check=True,
        ).stdout
        for salt in ("0", "1", "2")
    }  # fmt: skip
    assert len(said) == 1
    text = "Ada's three neighbours argued about cafés, 雪山 and windmills"
    assert said == {f"{term_ids(text).tolist()} {sorted(noun_set(text))}\n"}

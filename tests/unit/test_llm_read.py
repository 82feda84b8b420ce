"""Reading a reply: a decision or a refusal, whatever a model says; mended where no meaning is made up, never run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simworld as sw
from simworld.mind.llm import read
from simworld.mind.llm._read import LONGEST_MENDED
from simworld.schema import Record

ROOT = Path(__file__).resolve().parents[2]


class Vote(sw.Decision):
    """A vote."""

    reason: str = sw.field("", doc="Why.", max_length=200)
    choice: Literal["yes", "no"] = sw.field(doc="What.")
    weight: int = sw.field(1, doc="How many.", ge=0, le=9)
    share: float | None = sw.field(None, doc="Part.", ge=0, le=1)
    firm: bool = sw.field(False, doc="Whether it is final.")


class Part(Record):
    name: str
    parts: tuple[Part, ...] = ()


class Plan(sw.Decision):
    """A plan with parts."""

    title: str = sw.field(doc="Its title.")
    steps: list[str] = sw.field(doc="One step an entry.")
    part: Part | None = sw.field(None, doc="Its first part.")


YES = Vote(choice="yes")


def said(text: str, decision: type[sw.Decision] = Vote, finish: str = "stop") -> Any:
    """Return what was read, which is a decision of its class or a refusal in one line."""
    answer, is_repaired = read(decision, text, finish)
    assert type(answer) in (decision, sw.Refusal)
    assert type(is_repaired) is bool
    if isinstance(answer, sw.Refusal):
        assert answer.decision == decision.__name__
        assert answer.reason
        for line in (answer.reason, answer.field):
            assert len(line.splitlines()) <= 1
            assert len(line) < 1_000
            assert line.encode("utf-8") is not None
    return answer


def refused(text: str, field: str | None = None, decision: type[sw.Decision] = Vote, finish: str = "stop") -> str:
    """Return why a reply was refused."""
    answer = said(text, decision, finish)
    assert isinstance(answer, sw.Refusal), answer
    if field is not None:
        assert answer.field == field
    return answer.reason


# -- as it stands ---------------------------------------------------------------------------------------------------


def test_json_is_read_as_it_stands() -> None:
    text = '{"choice": "no", "weight": 9, "share": 0.25, "firm": true, "reason": "a \\"b\\" \\u00e9 \\n {x} [y],}"}'
    answer, is_repaired = read(Vote, text, "stop")
    assert answer == Vote(choice="no", weight=9, share=0.25, firm=True, reason='a "b" é \n {x} [y],}')
    assert not is_repaired
    assert said(f"\n\t {text}\r\n") == answer


def test_nested_objects_and_lists_are_read() -> None:
    text = '{"title": "t", "steps": ["a", "b, c"], "part": {"name": "p", "parts": [{"name": "q", "parts": []}]}}'
    expected = Plan(title="t", steps=["a", "b, c"], part=Part(name="p", parts=(Part(name="q"),)))
    assert read(Plan, text, "stop") == (expected, False)
    single = text.replace('"', "'")
    assert read(Plan, f"Here it is: {single}", "stop") == (expected, True)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"choice": "yes", "weight": "3"}', "weight"), ('{"choice": "yes", "weight": 3.5}', "weight"),
        ('{"choice": "yes", "weight": true}', "weight"), ('{"choice": "yes", "weight": 10}', "weight"),
        ('{"choice": "yes", "weight": -1}', "weight"), ('{"choice": "yes", "weight": null}', "weight"),
        ('{"choice": "yes", "weight": 1e400}', "weight"), ('{"choice": "yes", "weight": [3]}', "weight"),
        ('{"choice": "yes", "firm": "true"}', "firm"),
        ('{"choice": "yes", "firm": 1}', "firm"), ('{"choice": "yes", "share": "0.5"}', "share"),
        ('{"choice": "yes", "share": NaN}', "share"), ('{"choice": "yes", "share": Infinity}', "share"),
        ('{"choice": "yes", "share": -Infinity}', "share"), ('{"choice": "yes", "share": 1.5}', "share"),
        ('{"choice": "Yes"}', "choice"), ('{"choice": ""}', "choice"), ('{"choice": ["yes"]}', "choice"),
        ('{"weight": 3}', "choice"), ('{"choice": "yes", "reason": null}', "reason"),
        ('{"choice": "yes", "mood": "good"}', "mood"), (f'{{"choice": "yes", "reason": "{"x" * 201}"}}', "reason"),
        ('{"type": "object", "properties": {"choice": {"enum": ["yes", "no"]}}}', "choice"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["plain", "mended"])
def test_what_does_not_fit_is_refused_and_never_bent(text: str, field: str, form: str) -> None:
    """Types are strict whether a reply was mended or not: a number in quotation marks is a text."""
    refused(text if form == "plain" else f"```json\n{text[:-1]},}}\n```", field)


@pytest.mark.parametrize("text", ["[]", "null", "true", "3", '"yes"', '["yes"]', '[{"choice": "yes"}]', "NaN"])
def test_what_is_no_object_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    "text", ["", " \n\t ", "\ufeff", "yes", "I'm sorry, but I can't.", "choice: yes", "```\n```", "}{"]
)
def test_what_holds_no_object_is_refused(text: str) -> None:
    refused(text, "")


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    for digits in (2_000, LONGEST_MENDED - 100, 5_000):
        text = f'{{"choice": "yes", "weight": 1{"0" * digits}}}'
        for form in (text, text.replace('"', "'")):
            refused(form, "weight" if len(text) <= LONGEST_MENDED else None)


def test_an_object_without_anything_in_it_lacks_what_is_required() -> None:
    refused("{}", "choice")
    refused("Here: {,}")


def test_a_field_that_was_said_twice_has_its_last_value_in_both_ways_of_reading() -> None:
    text = '{"choice": "yes", "weight": 1, "weight": 2}'
    assert read(Vote, text, "stop") == (Vote(choice="yes", weight=2), False)
    assert read(Vote, text.replace('"', "'"), "stop") == (Vote(choice="yes", weight=2), True)


# -- mended ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"choice": "yes"}\n```', '```\n{"choice": "yes"}```', '~~~json\n{"choice": "yes"}\n~~~',
        'Certainly! Here is my answer:\n\n{"choice": "yes"}', '{"choice": "yes"}\n\nLet me know if I can help.',
        'Answer: {"choice": "yes"} (I like it.)', "{'choice': 'yes'}", '{"choice": "yes",}', '{choice: "yes"}',
        '{"choice": "yes"', '{"choice": "yes", }', '\ufeff{"choice": "yes"}', '{"choice": "yes"}\x00',
        '{\n  // my choice\n  "choice": "yes"\n}', '**Answer**\n{"choice": "yes"}', '{"choice":\u00a0"yes"}',
    ],
)  # fmt: skip
def test_the_object_in_a_reply_is_found_and_mended(text: str) -> None:
    assert read(Vote, text, "stop") == (YES, True)


def test_mending_makes_no_text_up() -> None:
    for reason in ("don't {know}", "a: b, c", "x" * 150, "Zoë — \U0001f600", "tab\tand line\nend", "[1, 2"):
        text = f'Hm. {{"choice": "yes", "reason": {json.dumps(reason, ensure_ascii=False)},}}'
        assert read(Vote, text, "stop") == (Vote(choice="yes", reason=reason), True)


@pytest.mark.parametrize("finish", ["length", "content_filter", "too_long"])
def test_what_was_cut_off_is_never_completed(finish: str) -> None:
    """Not even when what there is fits: nobody knows what was still to come."""
    for text in ('{"choice": "yes"}', '{"choice": "yes", "wei', "", "x" * 100):
        assert refused(text, "", finish=finish)
    assert "cut off" in refused('{"choice": "yes"', finish="length")


def test_another_way_to_end_is_an_end() -> None:
    for finish in ("stop", "eos", "tool_calls", "", "STOP"):
        assert said('{"choice": "yes"}', finish=finish) == YES


# -- thoughts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "is_repaired"),
    [
        ('<think>no, {"choice": "no"}</think>{"choice": "yes"}', False),
        ('<think>\n{"choice": "no"}\n</think>\n\n{"choice": "yes"}', False),
        ('<thinking>{"choice": "no"}</thinking> {"choice": "yes"}', False),
        ('<think></think>{"choice": "yes"}', False), ('{"choice": "yes"}<think>or {"choice": "no"}?</think>', False),
        ('<think>{"choice": "no"}</think>```json\n{"choice": "yes"}\n```', True),
    ],
)  # fmt: skip
def test_thoughts_are_not_the_answer(text: str, is_repaired: bool) -> None:
    assert read(Vote, text, "stop") == (YES, is_repaired)


@pytest.mark.parametrize("text", ['<think>{"choice": "no"}', '<think>Let me see. {"choice": "yes"} or', "<think>"])
def test_thoughts_that_never_end_are_no_answer(text: str) -> None:
    refused(text, "")


def test_thoughts_whose_beginning_is_missing_are_not_the_answer() -> None:
    """Where the chat template itself opens the thoughts, only their end is in the reply."""
    assert said('I could say {"choice": "no"}, but rather not.\n</think>\n\n{"choice": "yes"}') == YES


@pytest.mark.parametrize(
    "reason", ["I <think> so", "<think>hm</think>", "2 <thinking> x", "</think>", "use <think> tags </think> here"]
)
def test_words_about_thoughts_inside_an_answer_stay(reason: str) -> None:
    answer = read(Vote, json.dumps({"choice": "yes", "reason": reason}), "stop")
    assert answer == (Vote(choice="yes", reason=reason), False)


# -- text is data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    [
        "__import__('os').system('exit 1')", "{{ 7*7 }}", "{% raise %}", "%s %(x)d {0} {x!r}", "$(rm -rf /)", "\\u0041",
        "'; DROP TABLE texts; --", "<script>alert(1)</script>", "../../etc/passwd", "\u202eabc", "null", "NaN",
    ],
)  # fmt: skip
def test_text_stays_text(reason: str) -> None:
    expected = Vote(choice="yes", reason=reason)
    assert said(json.dumps({"choice": "yes", "reason": reason})) == expected
    assert said(f"Sure: {json.dumps({'choice': 'yes', 'reason': reason})[:-1]},}}") == expected


@pytest.mark.parametrize(
    "text", ["__import__('os').abort()", "{'choice': __import__('os').abort()}", "{choice: (1).real}"]
)
def test_code_is_refused_and_not_run(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("text", ['{"choice": "yes", "reason": "a\\u0000b"}', '{"choice": "yes", "reason": "a\x00b"}'])
def test_a_nul_stays_or_is_refused_but_does_not_end_the_text(text: str) -> None:
    answer = said(text)
    assert isinstance(answer, sw.Refusal) or answer.reason == "a\x00b"


@pytest.mark.parametrize(
    "text",
    [
        '{"choice": "yes", "reason": "\\ud800"}', '{"choice": "yes", "reason": "\ud800"}', "\udfff", '{"\ud800": 1}',
        "{'choice': 'yes', 'reason': '\\ud83d'}", '{"choice": "\\udc00"}', '{"\\ud800\\n": 1, "choice": "yes"}',
    ],
)  # fmt: skip
def test_half_a_surrogate_pair_never_reaches_the_run(text: str) -> None:
    answer = said(text)
    if isinstance(answer, Vote):
        assert answer.reason.encode("utf-8")


def test_lines_in_names_and_values_do_not_reach_a_refusal() -> None:
    assert "\n" not in refused('{"cho\\nice": 1, "choice": "yes"}')
    assert "\n" not in refused('{"choice": "y\\r\\n\\u2028\\u0085es"}', "choice")
    assert len(refused(json.dumps({"choice": "x" * 50_000}), "choice")) < 500
    assert len(said(json.dumps({"x" * 50_000: 1, "choice": "yes"})).field) <= 100


# -- hostile sizes --------------------------------------------------------------------------------------------------

DEEP = {
    "lists": "[" * 100_000,
    "objects": '{"a":' * 100_000,
    "whole objects": '{"a":' * 10_000 + "1" + "}" * 10_000,
    "known fields": '{"choice":' * 5_000 + '"yes"' + "}" * 5_000,
    "objects and lists": '{"a":[' * 20_000,
    "braces": "{" * 60_000,
    "braces and quotes": '{ "' * 20_000,
    "single quotes": "{'a': [" * 9_000,
    "quotes": '{"' + '"' * 60_000,
    "backslashes": '{"choice": "' + "\\" * 60_000,
    "comments": "{" + "/*" * 30_000,
    "commas": "{" + "," * 60_000,
    "colons": "{" + "a:" * 30_000,
    "words": "{" + "a " * 30_000,
    "fences": "```{" * 15_000,
    "thoughts": "<think>" * 9_000,
    "ends of thoughts": "<think></think>" * 4_000 + "{",
    "answers": '{"choice": "yes"} ' * 3_000,
    "a list of objects": "{" + "[{" * 30_000,
}


class Reader:
    """A process that reads replies; another one when it is gone."""

    CODE = """
import json, sys, time
from simworld.mind.llm import read
from tests.unit.test_llm_read import Vote
read(Vote, "x {'choice': 'yes'}", "stop")
print("ready", flush=True)
for line in sys.stdin:
    text = json.loads(line)
    began = time.process_time()
    answer, _ = read(Vote, text, "stop")
    print(json.dumps([type(answer).__name__, time.process_time() - began]), flush=True)
"""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, text: str) -> tuple[str, float]:
        """Return what kind of answer was read, and the seconds of the processor that took."""
        process = self._process
        if process is None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-c", self.CODE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        assert process.stdin is not None
        assert process.stdout is not None
        watch = threading.Timer(10.0, process.kill)
        watch.start()
        process.stdin.write(f"{json.dumps(text)}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        watch.cancel()
        if not line:
            self._process = None
            pytest.fail(f"the process ended with {process.wait()}: one reply crashed it, or held it for 10 s")
        kind, seconds = json.loads(line)
        return kind, seconds

    def close(self) -> None:
        """Have the process end, which it must do well."""
        if self._process is not None:
            self._process.communicate(timeout=10)
            assert self._process.returncode == 0


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    found = Reader()
    yield found
    found.close()


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_nothing_crashes_or_holds_the_process(text: str, reader: Reader) -> None:
    """All replies of a step are read in one thread: one that takes seconds stops everybody."""
    kind, seconds = reader.read(text)
    assert kind in ("Vote", "Refusal")
    assert seconds < 1.0, f"one reply took {seconds:.1f} s"


def test_the_longest_reply_that_is_mended_holds_nobody(reader: Reader) -> None:
    """What mends a reply takes time that grows with its square, so there is a length above which it is not mended."""
    for name, text in DEEP.items():
        kind, seconds = reader.read("{" + text.replace("<think>", "")[: LONGEST_MENDED - 1])
        assert kind in ("Vote", "Refusal")
        assert seconds < 3.0, f"{LONGEST_MENDED} characters of {name} took {seconds:.1f} s"


def test_what_is_too_long_to_be_mended_is_refused_and_what_is_whole_is_not() -> None:
    before, given = "x" * 20_000, "{'choice': 'yes', 'reason': 'no'}"  # what comes before the object does not count
    for length in (len(given), LONGEST_MENDED):
        text = before + given.replace(", ", "," + " " * (length - len(given) + 1))
        assert len(text) == len(before) + length
        assert read(Vote, text, "stop") == (Vote(choice="yes", reason="no"), True)
    refused(text.replace(",", ", "), "")
    whole = json.dumps({"title": "t", "steps": ["word " * 10] * 1_000})
    assert read(Plan, whole, "stop") == (Plan(title="t", steps=["word " * 10] * 1_000), False)


# -- whatever is said -----------------------------------------------------------------------------------------------

ANY = st.text(st.characters(exclude_categories=()), max_size=200)
BITS = st.sampled_from(
    ["{", "}", "[", "]", ":", ",", '"', "'", "\\", "\n", " ", "choice", "yes", "weight", "3", "null", "NaN", "true",
     "<think>", "</think>", "```", "json", "\ud800", "\\ud800", "\x00", "//", "/*", "#", "-", "e9", "reason", "é"]
)  # fmt: skip
NEARLY = st.lists(BITS, max_size=40).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    text=ANY | NEARLY | NEARLY.map(lambda bits: '{"choice": "yes", "reason": "' + bits), finish=st.just("stop") | ANY
)
def test_whatever_is_said_is_a_decision_or_a_refusal(text: str, finish: str) -> None:
    for decision in (Vote, Plan):
        answer = said(text, decision, finish)
        if not isinstance(answer, sw.Refusal):
            assert decision.model_validate_json(answer.model_dump_json()) == answer


VOTES = st.builds(
    Vote,
    choice=st.sampled_from(["yes", "no"]),
    weight=st.integers(0, 9),
    share=st.none() | st.floats(0, 1),
    firm=st.booleans(),
    reason=st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
)


@settings(max_examples=150, deadline=None)
@given(vote=VOTES, compact=st.booleans(), ascii_only=st.booleans())
def test_what_fits_is_read_as_it_was_meant(vote: Vote, compact: bool, ascii_only: bool) -> None:
    text = json.dumps(
        vote.model_dump(),
        ensure_ascii=ascii_only,
        separators=(",", ":") if compact else None,
        indent=None if compact else 2,
    )
    assert read(Vote, text, "stop") == (vote, False)


@settings(max_examples=100, deadline=None)
@given(vote=VOTES, cut=st.integers(1, 40))
def test_an_answer_that_lacks_its_end_has_no_other_choice(vote: Vote, cut: int) -> None:
    """Mending may close what is open, but turns no answer into another one."""
    text = json.dumps({"choice": vote.choice, "weight": vote.weight})
    answer = said(text[:-cut])
    if not isinstance(answer, sw.Refusal):
        assert (answer.choice, answer.weight) in ((vote.choice, vote.weight), (vote.choice, 1))

"""The tape: what was paid for is kept the moment it arrives, found again, and cannot be altered unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from simworld.errors import CorruptRunError, StorageError, TapeError
from simworld.mind.llm import (
    Budgeted,
    Call,
    CallFailed,
    Hold,
    Ledger,
    MemoryTape,
    Position,
    Price,
    Reply,
    Request,
    Sampling,
    Tally,
    Taped,
    TapeLog,
    TapeModel,
    difference,
    text_hash,
)
from simworld.run._tape import SqliteTape
from tests.llm import ScriptedModel, asked, echoed

ROOT = Path(__file__).resolve().parents[2]


def call(request: Request | None = None, reply: Reply | None = None) -> Call:
    r = request or asked()
    return Call(
        r.position, r.model, r.prompt, r.messages, r.hashes, r.sampling, r.seed,
        reply or dataclasses.replace(echoed(r), usd=0.01, seconds=0.25, retries=1),
    )  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal #1?.sqlite"


@contextlib.contextmanager
def opened(journal: Path, **how: Any) -> Iterator[SqliteTape]:
    tape = SqliteTape(journal, **how)
    try:
        yield tape
    finally:
        tape.close()


def rows(journal: Path, query: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(journal)
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def alter(journal: Path, statement: str, *values: Any) -> None:
    db = sqlite3.connect(journal, isolation_level=None)
    try:
        assert db.execute(statement, values).rowcount, "the statement must alter something"
    finally:
        db.close()


CALLS = [call(asked(i, step=step)) for step in (0, 1, 2) for i in range(4)]


# -- kept and found -------------------------------------------------------------------------------------------------


def test_what_was_kept_is_found_after_reopening(journal: Path) -> None:
    strange = [
        call(asked(0, step=5, user="a\x00b"), Reply("", "too_long", 7, 0, False, None, 0.0, 0, "")),
        call(
            asked(1, step=5, user="", sampling=Sampling(None, 1)),
            Reply("Zoë \U0001f600\r\n\x00", "length", 1, 1, usd=0.0),
        ),
        call(
            asked(2, step=5, occurrence=3, attempt=2, purpose="it's", model='a/"b"', seed=2**31 - 1),
            Reply("x" * 64_000),
        ),
    ]
    with opened(journal) as tape:
        tape.write(CALLS)
        tape.write(strange)
    for how in ({}, {"is_read_only": True}):
        with opened(journal, **how) as tape:
            for each in [*CALLS, *strange, *CALLS[::-1]]:
                assert tape.find(each.position) == each
            for missing in (Position(0, "Say", 99, 0, 0), Position(0, "Say", 0, 1, 0), Position(0, "Say", 0, 0, 1),
                            Position(0, "Other", 0, 0, 0), Position(99, "Say", 0, 0, 0)):  # fmt: skip
                assert tape.find(missing) is None


def test_replicates_do_not_see_each_other(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS[:2])
    with opened(journal, replicate=1) as tape:
        assert tape.find(CALLS[0].position) is None
        other = call(asked(0, step=0), Reply("of the second replicate"))
        tape.write([other])
    with opened(journal) as tape:
        assert tape.find(CALLS[0].position) == CALLS[0]
    with opened(journal, replicate=1) as tape:
        assert tape.find(other.position) == other


def test_each_text_is_kept_once(journal: Path) -> None:
    same = [call(asked(i, user="What do you say?"), Reply("nothing")) for i in range(50)]
    with opened(journal) as tape:
        tape.write(same[:20])
        tape.write(same[20:])
    with opened(journal) as tape:
        tape.write(same)
    texts = [text for (text,) in rows(journal, "SELECT text FROM texts")]
    assert sorted(texts) == sorted([asked().messages[0][1], "What do you say?", "nothing"])
    assert rows(journal, "SELECT count(*) FROM calls") == [(50,)]


def test_what_is_written_survives_the_death_of_the_process(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from simworld.run._tape import SqliteTape
from tests.unit.test_llm_tape import CALLS
tape = SqliteTape(Path(sys.argv[1]))
for i in range(0, len(CALLS), 3):
    tape.write(CALLS[i:i + 3])
os.kill(os.getpid(), signal.SIGKILL)
"""
    journal = tmp_path / "journal.sqlite"
    db = sqlite3.connect(journal)
    db.execute("PRAGMA journal_mode=WAL")  # as the store of a run sets it
    db.close()
    done = subprocess.run([sys.executable, "-c", code, str(journal)], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    with opened(journal) as tape:
        assert [tape.find(each.position) for each in CALLS] == CALLS


def test_spending_totals_and_tallies(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS)
        tape.write([call(asked(9, step=9, model="free"), Reply("x", "stop", 1, 2, False, None, served_by="free-1"))])
        tape.lose("scripted", 0.5, 300)
        tape.lose("scripted", 0.25, 100)
        tape.lose("silent", 0.125, 50)
        cached = Reply("hm", "stop", 1_000, 1_000, usd=0.0, is_cached=True)
        tape.write([call(asked(5, step=9, model="known"), cached)])
        tape.count([Tally(1, "scripted", "Say", 4, 1, 1, 1, 1)])
        tape.count([Tally(1, "scripted", "Say", 2, 2, 0, 0, 0), Tally(2, "scripted", "Say", 1, 0, 0, 0, 1)])
        assert tape.tallies == [], "where they can be written they are kept nowhere else"
    with opened(journal, is_read_only=True) as tape:
        spent = tape.totals()
        assert spent.usd == pytest.approx(0.12)
        assert (spent.lost_usd, spent.lost_tokens, spent.calls) == (0.875, 450, 13)
        assert spent.input_tokens == sum(c.reply.input_tokens for c in CALLS) + 1
        assert spent.output_tokens == sum(c.reply.output_tokens for c in CALLS) + 2
        free, known, scripted, silent = tape.spending()
        nothing = {"calls": 0, "input_tokens": 0, "output_tokens": 0, "usd": 0.0, "retries": 0, "estimated": 0}
        assert known.items() >= {"model": "known", **nothing, "cached": 1, "lost_usd": 0.0, "lost_tokens": 0}.items()
        assert silent == {"model": "silent", **nothing, "mean_seconds": 0.0, "served_by": "", "cached": 0,
                          "lost_usd": 0.125, "lost_tokens": 50}  # fmt: skip
        assert (free["cached"], scripted["cached"]) == (0, 0)
        assert scripted["input_tokens"] == sum(c.reply.input_tokens for c in CALLS)
        assert scripted["output_tokens"] == sum(c.reply.output_tokens for c in CALLS)
        assert (free["model"], free["calls"], free["usd"], free["estimated"], free["served_by"]) == (
            "free",
            1,
            None,
            1,
            "free-1",
        )
        assert (scripted["calls"], scripted["retries"], scripted["lost_usd"], scripted["lost_tokens"]) == (
            12,
            12,
            0.75,
            400,
        )
        assert scripted["usd"] == pytest.approx(0.12)
        assert scripted["mean_seconds"] == pytest.approx(0.25)
        assert tape.answers().rows() == [(1, "scripted", "Say", 6, 3, 1, 1, 1), (2, "scripted", "Say", 1, 0, 0, 0, 1)]


def test_answers_from_a_cache_are_counted_apart(journal: Path) -> None:
    """What they are and how long they took says nothing of what the model of this run took."""
    with opened(journal) as tape:
        tape.write(CALLS)
        (before,) = tape.spending()
        cached = Reply("hm", "stop", 1_000, 1_000, is_counted=False, usd=0.0, served_by="z", is_cached=True)
        tape.write([call(asked(i, step=9), cached) for i in range(2)])
        (after,) = tape.spending()
    assert (before.pop("cached"), after.pop("cached")) == (0, 2)
    del before["served_by"], after["served_by"]
    assert after == before


def test_the_table_of_calls_shows_every_text(journal: Path) -> None:
    again = asked(1, attempt=1)
    messages = (*again.messages, ("assistant", "bad"), ("user", "No: again"))
    longer = Request(again.model, messages, again.position, again.schema, again.sampling, again.seed)
    with opened(journal) as tape:
        tape.write([call(longer), call(asked(1)), call(asked(0))])
        table = tape.calls()
    assert table.select("agent", "attempt").rows() == [(0, 0), (1, 0), (1, 1)]
    assert table["system"].to_list() == [asked().messages[0][1]] * 3
    last = table.row(2, named=True)
    assert last["user"].split("\n\n") == [asked(1).messages[1][1], "[answered] bad", "No: again"]
    assert last["reply"] == echoed(longer).text
    assert table.schema["is_counted"] == pl.Boolean


def test_an_empty_tape_has_a_table_and_totals(journal: Path) -> None:
    with opened(journal) as tape:
        assert tape.calls().height == tape.answers().height == 0
        assert tape.totals() == (0, 0, 0, 0, 0, 0)
        assert tape.check(tape.digest()) == 0


# -- the digest, and what was altered -------------------------------------------------------------------------------


def test_the_digest_is_of_what_was_said_and_not_of_when(tmp_path: Path) -> None:
    def digest(name: str, calls: Sequence[Call]) -> str:
        with opened(tmp_path / name) as tape:
            for each in calls:
                tape.write([each])
            return tape.digest()

    def changed(**reply: Any) -> list[Call]:
        return [dataclasses.replace(c, reply=dataclasses.replace(c.reply, **reply)) for c in CALLS]

    first = digest("first", CALLS)
    assert digest("reversed", CALLS[::-1]) == first
    assert digest("timed", changed(seconds=99.0, retries=7, usd=5.0, served_by="elsewhere")) == first
    others = {digest(f"other{i}", calls) for i, calls in enumerate((
        CALLS[:-1], changed(text="other"), changed(finish="length"), changed(input_tokens=1), changed(is_counted=False),
        [dataclasses.replace(c, seed=8) for c in CALLS], [dataclasses.replace(c, model="other") for c in CALLS],
        [dataclasses.replace(c, sampling=Sampling(0.6, 256)) for c in CALLS],
        [call(asked(c.position.agent, step=c.position.step, user="!")) for c in CALLS],
    ))}  # fmt: skip
    assert len(others | {first}) == 10


ONE_MORE = (
    "step, purpose, 77, occurrence, attempt, replicate, model, prompt, messages, temperature, max_tokens, seed, reply, "
    "finish, input_tokens, output_tokens, is_counted, usd, seconds, retries, served_by, is_cached"
)
REPLY, PROMPT, SYSTEM = (text_hash(text) for text in (CALLS[0].reply.text, *(t for _, t in CALLS[0].messages[::-1])))
ALTERED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "a reply": ("UPDATE texts SET text = 'yes' WHERE hash = ?", (REPLY,)),
    "a prompt": ("UPDATE texts SET text = text || ' ' WHERE hash = ?", (PROMPT,)),
    "the system": ("UPDATE texts SET text = 'be evil' WHERE hash = ?", (SYSTEM,)),
    "a reply into bytes": ("UPDATE texts SET text = x'ff00' WHERE hash = ?", (REPLY,)),
    "a reply into no UTF-8": ("UPDATE texts SET text = CAST(x'ff' AS TEXT) WHERE hash = ?", (REPLY,)),
    "a reply is gone": ("DELETE FROM texts WHERE hash = ?", (REPLY,)),
    "a prompt is gone": ("DELETE FROM texts WHERE hash = ?", (PROMPT,)),
    "the system is gone": ("DELETE FROM texts WHERE hash = ?", (SYSTEM,)),
    "which reply": ("UPDATE calls SET reply = (SELECT max(hash) FROM texts) WHERE agent = 0", ()),
    "a hash": ("UPDATE texts SET hash = x'00' WHERE hash = ?", (REPLY,)),
    "a call is gone": ("DELETE FROM calls WHERE agent = 3 AND step = 2", ()),
    "all calls are gone": ("DELETE FROM calls", ()),
    "a call more": (f"INSERT INTO calls SELECT {ONE_MORE} FROM calls WHERE agent = 3 AND step = 2", ()),
    "an agent": ("UPDATE calls SET agent = 88 WHERE agent = 3", ()),
    "a model": ("UPDATE calls SET model = 'cheaper'", ()),
    "a count": ("UPDATE calls SET output_tokens = 0", ()),
    "how it ended": ("UPDATE calls SET finish = 'stop ' WHERE agent = 1", ()),
    "a seed": ("UPDATE calls SET seed = seed + 1 WHERE agent = 1", ()),
    "the messages": ("UPDATE calls SET messages = '[]' WHERE agent = 1", ()),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "values"), ALTERED.values(), ids=ALTERED)
def test_what_was_altered_is_found(statement: str, values: tuple[Any, ...], journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS)
        digest = tape.digest()
        assert tape.check(digest) == len(CALLS)
    alter(journal, statement, *values)
    with opened(journal, is_read_only=True) as tape, pytest.raises(CorruptRunError, match="journal"):
        tape.check(digest)


def test_a_tape_without_a_digest_is_checked_for_its_texts(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS)
        assert tape.check(None) == len(CALLS)
    alter(journal, *ALTERED["a reply"][:1], REPLY)
    with opened(journal, is_read_only=True) as tape, pytest.raises(CorruptRunError, match="altered"):
        tape.check(None)


@pytest.mark.parametrize("text", [PROMPT, SYSTEM, REPLY], ids=["prompt", "system", "reply"])
def test_what_was_lost_is_missed_when_it_is_needed(text: bytes, journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS)
    alter(journal, "DELETE FROM texts WHERE hash = ?", text)
    with opened(journal, is_read_only=True) as tape, pytest.raises(CorruptRunError, match="lost"):
        tape.find(CALLS[0].position)


@pytest.mark.parametrize("text", [PROMPT, SYSTEM, REPLY], ids=["prompt", "system", "reply"])
def test_what_was_lost_is_missed_when_all_of_it_is_shown(text: bytes, journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS)
    alter(journal, "DELETE FROM texts WHERE hash = ?", text)
    with opened(journal, is_read_only=True) as tape, pytest.raises(CorruptRunError, match="lost"):
        tape.calls()


# -- what cannot be written -----------------------------------------------------------------------------------------


def test_a_full_disk_is_said_and_leaves_nothing_half_written(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS[:4])
        pages = tape._db.execute("PRAGMA page_count").fetchone()[0]
        tape._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageError, match=r"cannot write .*journal.*full.*simworld resume"):
            tape.write([call(asked(50, user="u" * 50_000, system="A new beginning.")), CALLS[5]])
        assert tape.find(CALLS[0].position) is None or tape.find(CALLS[0].position) == CALLS[0]
        tape._db.execute("PRAGMA max_page_count=1000000")
    with opened(journal) as tape:
        assert tape.check(None) == 4
        assert tape.find(CALLS[5].position) is None


def test_what_could_not_be_written_can_be_written_later_with_all_its_texts(journal: Path) -> None:
    with opened(journal) as tape:
        tape._db.execute(f"PRAGMA max_page_count={tape._db.execute('PRAGMA page_count').fetchone()[0]}")
        large = call(asked(1, user="u" * 50_000))
        with pytest.raises(StorageError):
            tape.write([large])
        tape._db.execute("PRAGMA max_page_count=1000000")
        tape.write([large])
    with opened(journal) as tape:
        assert tape.find(large.position) == large


def test_a_read_only_tape_takes_nothing(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write(CALLS[:1])
    before = journal.read_bytes()
    with opened(journal, is_read_only=True) as tape:
        with pytest.raises(StorageError, match="journal"):
            tape.write(CALLS[1:2])
        tape.count([Tally(1, "scripted", "Say", 1, 1, 0, 0, 0)])
        for write in (lambda: tape.write([], HOLDS[:1]), lambda: tape.lose("scripted", 0.5, 1)):
            with pytest.raises(StorageError, match="journal"):
                write()
        assert tape.tallies == [Tally(1, "scripted", "Say", 1, 1, 0, 0, 0)]
    assert journal.read_bytes() == before


def test_a_file_that_is_no_journal_is_corrupt(journal: Path) -> None:
    journal.write_bytes(b"my notes\n" * 1000)
    for how in ({}, {"is_read_only": True}):
        with pytest.raises(CorruptRunError, match="journal"):
            SqliteTape(journal, **how)


def test_a_damaged_journal_is_corrupt(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write([call(asked(i, user=f"{i} " * 3000)) for i in range(40)])
    size = journal.stat().st_size
    with journal.open("r+b") as file:
        file.seek(size // 3)
        file.write(os.urandom(size // 3))
    with pytest.raises(CorruptRunError, match="journal"), opened(journal, is_read_only=True) as tape:
        tape.check(None)


# -- what was sent when a process died -------------------------------------------------------------------------------

HOLDS = [Hold(asked(i).position, "scripted", 0.25, 100) for i in range(4)]


def held(journal: Path) -> list[int]:
    return [agent for (agent,) in rows(journal, "SELECT agent FROM holds ORDER BY agent")]


def test_what_was_sent_and_never_answered_is_lost_when_the_tape_is_opened_again(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write([], HOLDS)
        assert tape.totals() == (0, 0, 0, 0, 0, 0), "while it is under way nothing is lost"
        tape.write([call(asked(1))], freed=[HOLDS[2].position])
        spent = tape.totals()
        assert (spent.calls, spent.lost_usd, spent.lost_tokens) == (1, 0.0, 0)
    assert held(journal) == [0, 3]
    with opened(journal, is_read_only=True) as tape:
        assert tape.totals() == spent, "who only reads changes nothing"
    for _ in range(2):
        with opened(journal) as tape:
            again = tape.totals()
            assert (again.lost_usd, again.lost_tokens) == (0.5, 200), "once, however often it is opened"
            assert again._replace(lost_usd=0.0, lost_tokens=0) == spent
            assert [row["lost_tokens"] for row in tape.spending()] == [200]
            assert [tape.find(HOLDS[i].position) is None for i in range(4)] == [True, False, True, True]
        assert held(journal) == []


def test_holds_and_calls_of_one_turn_are_one_transaction(journal: Path) -> None:
    async def go(log: TapeLog) -> None:
        await asyncio.gather(*(log.hold(asked(i), 0.25, 100) for i in range(4)))
        assert held(journal) == [0, 1, 2, 3], "it is there before anybody sends"
        log.free(asked(3))
        assert held(journal) == [0, 1, 2, 3], "in nobody's way: with the next transaction"
        await asyncio.gather(log.put(asked(0), echoed(asked(0))), log.hold(asked(9), 0.25, 100))
        assert held(journal) == [1, 2, 9]
        log.free(asked(1))
        log.flush()
        assert held(journal) == [2, 9]
        log.flush()

    with opened(journal) as tape:
        asyncio.run(go(TapeLog(tape)))
    with opened(journal) as tape:
        assert (tape.totals().calls, tape.totals().lost_usd, tape.totals().lost_tokens) == (1, 0.5, 200)


def test_a_call_that_is_freed_and_held_again_in_one_turn_is_held(journal: Path) -> None:
    """A call that failed is sent again: its first sending is struck out with the transaction that holds its second."""

    async def go(log: TapeLog) -> None:
        await log.hold(asked(1), 0.25, 100)
        log.free(asked(1))
        await log.hold(asked(1), 0.25, 100)
        assert held(journal) == [1]

    with opened(journal) as tape:
        asyncio.run(go(TapeLog(tape)))


def bought(inner: ScriptedModel, tape: SqliteTape, ledger: Ledger) -> tuple[Taped, TapeLog]:
    log = TapeLog(tape)
    return Taped(Budgeted(inner, ledger, Price(1e-5, 3e-5), log), log), log


@pytest.mark.parametrize("limit", [{"budget_usd": 10.0}, {"max_tokens_total": 10**6}, {}])
def test_an_answered_call_leaves_no_hold(limit: dict[str, Any], journal: Path) -> None:
    seen: list[int] = []

    def script(request: Request) -> Reply | CallFailed:
        seen.append(len(held(journal)))
        agent = request.position.agent
        if agent == 7:
            return CallFailed("timeout", "late")
        return CallFailed("overloaded", "429") if agent == 8 else echoed(request)

    async def go() -> None:
        model, log = bought(ScriptedModel(script), tape, ledger)
        found = await asyncio.gather(*(model.complete(asked(i)) for i in range(10)), return_exceptions=True)
        assert [type(each) for each in found] == [Reply] * 7 + [CallFailed] * 2 + [Reply]
        log.flush()

    ledger = Ledger(**limit)
    with opened(journal) as tape:
        asyncio.run(go())
        assert held(journal) == []
        spent = tape.totals()
        assert spent.lost_tokens == ledger.lost_tokens > 256, "the one that may be billed, and no other"
        assert (spent.calls, spent.usd) == (8, pytest.approx(ledger.usd))
    assert seen == [10 if limit else 0] * 10, "all of them were written down before the first was sent"
    with opened(journal) as tape:
        assert tape.totals() == spent


def test_a_run_that_is_killed_between_sending_and_answer_finds_it_as_lost(tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, sys
from pathlib import Path
from simworld.mind.llm import Ledger
from simworld.run._tape import SqliteTape
from tests.llm import ScriptedModel, asked, echoed
from tests.unit.test_llm_tape import bought
def script(request):
    if request.position.agent == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return echoed(request)
tape = SqliteTape(Path(sys.argv[1]))
model, _ = bought(ScriptedModel(script, seconds=lambda r: 0.05 * r.position.agent), tape, Ledger(budget_usd=9.0))
async def go():
    await asyncio.gather(*(model.complete(asked(i)) for i in range(8)))
asyncio.run(go())
"""
    journal = tmp_path / "journal.sqlite"
    db = sqlite3.connect(journal)
    db.execute("PRAGMA journal_mode=WAL")  # as the store of a run sets it
    db.close()
    done = subprocess.run([sys.executable, "-c", code, str(journal)], cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert held(journal) == [5, 6, 7]
    with opened(journal) as tape:
        spent = tape.totals()
        tokens = sum(asked(i).n_bytes + 128 + 256 for i in (5, 6, 7))
        assert (spent.calls, spent.lost_tokens) == (5, tokens)
        assert spent.lost_usd == pytest.approx(sum((asked(i).n_bytes + 128) * 1e-5 + 256 * 3e-5 for i in (5, 6, 7)))
    ledger = Ledger(budget_usd=9.0)
    ledger.carry(spent)
    assert (ledger.lost_tokens, ledger.calls) == (tokens, 5)


def test_what_could_not_be_written_leaves_holds_as_they_were(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write([], HOLDS[:2])
        tape._db.execute(f"PRAGMA max_page_count={tape._db.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(StorageError):
            tape.write([call(asked(0, user="u" * 50_000))], HOLDS[2:], [HOLDS[1].position])
        assert held(journal) == [0, 1]


def test_answers_from_a_cache_count_in_no_total() -> None:
    tape = MemoryTape()
    cached = Reply("hm", "stop", 1_000, 1_000, usd=0.0, is_cached=True)
    tape.write([*CALLS, *(call(asked(i, step=9), cached) for i in range(3))])
    spent = tape.totals()
    assert (spent.calls, spent.usd) == (len(CALLS), pytest.approx(0.12))
    assert spent.input_tokens == sum(c.reply.input_tokens for c in CALLS)
    assert spent.output_tokens == sum(c.reply.output_tokens for c in CALLS)


def test_an_answer_from_a_cache_that_is_replaced_was_not_paid_for(journal: Path) -> None:
    with opened(journal) as tape:
        tape.write([call(asked(1), Reply("hm", "stop", 1_000, 1_000, usd=0.0, is_cached=True))])
    with opened(journal) as tape:
        assert tape.find(asked(1).position) is not None
        tape.write([call(asked(1, user="Something else."))])
        assert (tape.totals().lost_usd, tape.totals().lost_tokens) == (0.0, 0)


# -- copied ---------------------------------------------------------------------------------------------------------


def test_a_tape_is_taken_over_whole(tmp_path: Path) -> None:
    with opened(tmp_path / "a.sqlite") as theirs:
        theirs.write(CALLS)
        digest = theirs.digest()
    with opened(tmp_path / "b.sqlite") as ours:
        ours.copy_from(tmp_path / "a.sqlite")
        assert ours.check(digest) == len(CALLS)
        assert [ours.find(each.position) for each in CALLS] == CALLS
    with opened(tmp_path / "b.sqlite") as ours:
        assert [ours.find(each.position) for each in CALLS] == CALLS


@pytest.mark.parametrize("name", ["other", "empty", "notes", "missing"])
def test_where_there_is_no_tape_nothing_can_be_taken_over_or_read(name: str, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE steps (step INTEGER)").connection.close()
    (tmp_path / "empty.sqlite").touch()
    (tmp_path / "notes.sqlite").write_text("my notes" * 500)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with opened(tmp_path / "ours.sqlite") as ours:
        ours.write(CALLS)
        digest = ours.digest()
        with pytest.raises(CorruptRunError, match=name):
            ours.copy_from(tmp_path / f"{name}.sqlite")
        assert ours.check(digest) == len(CALLS)
        assert [ours.find(each.position) for each in CALLS] == [None] * len(CALLS)
    with opened(tmp_path / "ours.sqlite", is_read_only=True) as ours:
        assert [ours.find(each.position) for each in CALLS] == CALLS
    with pytest.raises(CorruptRunError, match=name):
        SqliteTape(tmp_path / f"{name}.sqlite", is_read_only=True)
    for file, content in before.items():
        assert (tmp_path / file).read_bytes() == content
    assert not (tmp_path / "missing.sqlite").exists()


# -- the log --------------------------------------------------------------------------------------------------------


class Watched(MemoryTape):
    """Remembers each batch, and can be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.held: list[Hold] = []
        self.freed: list[Position] = []
        self.failure: Exception | None = None

    def write(self, calls: Sequence[Call], holds: Sequence[Hold] = (), freed: Sequence[Position] = ()) -> None:
        self.batches.append(len(calls))
        self.held += holds
        self.freed += freed
        if self.failure is not None:
            raise self.failure
        super().write(calls, holds, freed)


def test_what_arrives_in_one_turn_is_one_transaction() -> None:
    async def go() -> None:
        tape = Watched()
        log = TapeLog(tape)
        await asyncio.gather(*(log.put(asked(i), echoed(asked(i))) for i in range(50)))
        await log.put(asked(99), echoed(asked(99)))
        assert tape.batches == [50, 1]
        assert len(tape.calls) == 51

    asyncio.run(go())


def test_nobody_uses_an_answer_before_it_is_kept() -> None:
    async def go() -> None:
        tape = Watched()
        model = Taped(ScriptedModel(seconds=lambda request: request.position.agent % 3 / 1000), TapeLog(tape))

        async def one(i: int) -> None:
            reply = await model.complete(asked(i))
            assert tape.calls[asked(i).position].reply == reply

        await asyncio.gather(*(one(i) for i in range(30)))

    asyncio.run(go())


def test_an_error_of_the_disk_reaches_everybody_who_waits() -> None:
    async def go() -> None:
        tape = Watched()
        log = TapeLog(tape)
        tape.failure = StorageError("cannot write journal.sqlite: full")
        found = await asyncio.gather(
            *(log.put(asked(i), echoed(asked(i))) for i in range(10)), return_exceptions=True
        )  # fmt: skip
        assert [type(each) for each in found] == [StorageError] * 10
        tape.failure = None
        await log.put(asked(11), echoed(asked(11)))
        assert tape.batches == [10, 1]

    asyncio.run(go())


def test_who_no_longer_waits_has_paid_all_the_same() -> None:
    async def go() -> None:
        for failure in (None, StorageError("full")):
            tape = Watched()
            tape.failure = failure
            log = TapeLog(tape)
            tasks = [asyncio.create_task(log.put(asked(i), echoed(asked(i)))) for i in range(4)]
            asyncio.get_running_loop().call_soon(tasks[1].cancel)
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert tape.batches == [4]
            assert isinstance(found[1], asyncio.CancelledError) or found[1] is failure is None or found[1] is failure
            assert found[0] is found[2] is found[3] is failure or [type(f) for f in found[2:]] == [type(failure)] * 2
            if failure is None:
                assert len(tape.calls) == 4

    asyncio.run(go())


# -- models on it ---------------------------------------------------------------------------------------------------


def test_what_is_on_the_tape_is_not_asked_again(journal: Path) -> None:
    asks = [asked(i) for i in range(5)]

    async def go(tape: SqliteTape, model: ScriptedModel) -> list[Reply]:
        taped = Taped(model, TapeLog(tape))
        return await asyncio.gather(*(taped.complete(ask) for ask in asks))

    with opened(journal) as tape:
        first = asyncio.run(go(tape, ScriptedModel()))
    with opened(journal) as tape:
        model = ScriptedModel(lambda request: "something else")
        assert asyncio.run(go(tape, model)) == first
        assert not model.asked


@pytest.mark.parametrize("changed", [{"user": "Something else."}, {"model": "other"}])
def test_what_was_asked_otherwise_is_asked_anew_and_replaces_it(changed: dict[str, Any], journal: Path) -> None:
    with opened(journal) as tape:
        tape.write([call(asked(1))])
    other = asked(1, **changed)
    with opened(journal) as tape:
        reply = asyncio.run(Taped(ScriptedModel(lambda request: "anew"), TapeLog(tape)).complete(other))
        assert reply.text == "anew"
    with opened(journal) as tape:
        found = tape.find(other.position)
        assert found is not None
        assert (found.reply.text, found.model, found.prompt) == ("anew", other.model, other.prompt)
        assert tape.check(None) == 1
        first, spent = call(asked(1)).reply, tape.totals()
        assert (spent.calls, spent.input_tokens, spent.output_tokens) == (1, 10, 10)
        assert spent.lost_usd == pytest.approx(first.usd), "what is replaced was paid for too"
        assert spent.lost_tokens == first.input_tokens + first.output_tokens
        lost = {row["model"]: row["lost_tokens"] for row in tape.spending()}
        assert lost == {other.model: 0, "scripted": spent.lost_tokens}


def replayed(request: Request, kept: Callable[[], list[Call]] = lambda: CALLS) -> Reply:
    tape = MemoryTape()
    tape.write(kept())
    return asyncio.run(TapeModel(TapeLog(tape)).complete(request))


def test_a_tape_repeats_what_was_said() -> None:
    for each in CALLS:
        assert replayed(asked(each.position.agent, step=each.position.step)) == each.reply


def test_what_was_never_asked_is_an_error_that_says_where() -> None:
    with pytest.raises(TapeError, match=r"agent 9, step 2, Say, occurrence 1, attempt 2") as caught:
        replayed(asked(9, step=2, occurrence=1, attempt=2))
    assert caught.value.difference == ""


def test_another_model_is_an_error_that_names_both() -> None:
    with pytest.raises(TapeError, match=r"agent 1, step 1, Say.*'scripted'.*'other'"):
        replayed(asked(1, model="other"))


def test_another_prompt_is_an_error_that_shows_what_differs() -> None:
    before, after = (
        asked(1, user=f"You are agent 1.\nIt rains.\n{weather}\nGood night.") for weather in ("Cold.", "Warm.")
    )
    with pytest.raises(TapeError, match=r"agent 1, step 1, Say") as caught:
        replayed(after, lambda: [call(before)])
    lines = caught.value.difference.splitlines()
    assert "-Cold." in lines
    assert "+Warm." in lines
    assert " Good night." in lines
    assert not any("JSON" in line for line in lines), "what is the same far away is left out"
    assert "\n" not in str(caught.value)


def test_a_difference_of_nothing_but_roles_is_shown() -> None:
    messages = (("system", "a"), ("user", "b"))
    assert difference(messages, messages) == ""
    assert "-[user]" in difference(messages, (("system", "a"), ("assistant", "b"))).splitlines()


def test_the_messages_on_the_tape_are_plain(journal: Path) -> None:
    """A role or a text can hold quotation marks without breaking what is kept."""
    with opened(journal) as tape:
        tape.write([call(asked(1, user='"], ["system", "' * 3))])
    ((kept,),) = rows(journal, "SELECT messages FROM calls")
    assert [role for role, _ in json.loads(kept)] == ["system", "user"]

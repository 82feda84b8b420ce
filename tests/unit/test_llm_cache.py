"""The cache across runs: the same call of the same replicate is the same answer, and no other is."""

from __future__ import annotations

import asyncio
import itertools
import pickletools
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
from simworld.errors import StorageError
from simworld.mind.llm import Cache, Cached, Reply, Request, Sampling, cache_key
from tests.llm import ScriptedModel, asked

ROOT = Path(__file__).resolve().parents[2]


class Shout(sw.Decision):
    """What to shout."""

    text: str = sw.field(doc="What is shouted.")


def numbered() -> ScriptedModel:
    """Return a model that never says the same twice."""
    count = itertools.count()
    return ScriptedModel(
        lambda request: Reply(f"answer {next(count)}", "stop", 40, 4, usd=0.25, seconds=1.5, retries=2)
    )


def said(cache: Cache, asks: list[Request], model: ScriptedModel | None = None) -> list[Reply]:
    async def go() -> list[Reply]:
        cached = Cached(model or numbered(), lambda: cache)
        return [await cached.complete(ask) for ask in asks]

    return asyncio.run(go())


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    opened = Cache(tmp_path / "deep" / "folder" / "cache.sqlite")
    yield opened
    opened.close()


OTHERS = {
    "replicate": {"replicate": "0/1"}, "seed of the run": {"seed": 8}, "model": {"model": "other"},
    "agent": {"agent": 6, "user": "You are one of them."}, "step": {"step": 2, "user": "You are one of them."},
    "purpose": {"purpose": "Say again"}, "occurrence": {"occurrence": 1}, "attempt": {"attempt": 1},
    "prompt": {"user": "You are one of them!"}, "system": {"system": "Be brief."}, "schema": {"decision": Shout},
    "temperature": {"sampling": Sampling(0.6, 256)}, "no temperature": {"sampling": Sampling(None, 256)},
    "tokens": {"sampling": Sampling(0.5, 255)},
}  # fmt: skip
SAME: dict[str, Any] = {"agent": 5, "step": 1, "user": "You are one of them.", "replicate": "0/0"}


def test_the_same_call_is_answered_once(cache: Cache) -> None:
    model = numbered()
    first, second = said(cache, [asked(**SAME), asked(**SAME)], model)
    assert (first.text, second.text, len(model.asked)) == ("answer 0", "answer 0", 1)


def test_an_answer_from_the_cache_costs_nothing_and_took_no_retries(cache: Cache) -> None:
    first, second = said(cache, [asked(**SAME), asked(**SAME)])
    assert (first.usd, first.retries) == (0.25, 2)
    assert (second.usd, second.retries, second.seconds) == (0.0, 0, 0.0)
    assert (first.is_cached, second.is_cached) == (False, True)
    assert (second.text, second.finish, second.input_tokens, second.output_tokens) == ("answer 0", "stop", 40, 4)


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_another_call_is_another_answer(changed: dict[str, Any], cache: Cache) -> None:
    same, other = asked(**SAME), asked(**{**SAME, **changed})
    assert cache_key(same) != cache_key(other)
    assert [reply.text for reply in said(cache, [same, other, same, other])] == ["answer 0", "answer 1"] * 2


def test_another_server_is_another_answer(cache: Cache) -> None:
    """The same name may stand for another model elsewhere."""
    servers = ("", "http://127.0.0.1:8000/v1", "http://127.0.0.1:8001/v1")
    assert cache_key(asked(**SAME)) == cache_key(asked(**SAME), "")
    assert len({cache_key(asked(**SAME), server) for server in servers}) == 3

    async def go() -> list[str]:
        model = numbered()
        return [(await Cached(model, lambda: cache, server).complete(asked(**SAME))).text for server in servers * 2]

    assert asyncio.run(go()) == ["answer 0", "answer 1", "answer 2"] * 2


def test_it_is_opened_when_it_is_needed_and_not_before(tmp_path: Path) -> None:
    opened: list[Cache] = []

    def open_cache() -> Cache:
        if not opened:
            opened.append(Cache(tmp_path / "cache.sqlite"))
        return opened[0]

    cached = Cached(numbered(), open_cache)
    assert not list(tmp_path.iterdir())
    assert asyncio.run(cached.complete(asked())).text == asyncio.run(cached.complete(asked())).text == "answer 0"
    assert (tmp_path / "cache.sqlite").is_file()
    opened[0].close()


def test_a_cache_that_cannot_be_opened_is_told_to_who_asks_and_nothing_is_sent(tmp_path: Path) -> None:
    model = numbered()
    with pytest.raises(StorageError, match="--cache"):
        asyncio.run(Cached(model, lambda: Cache(tmp_path)).complete(asked()))
    assert not model.asked


def test_all_of_them_have_keys_of_their_own() -> None:
    keys = [cache_key(asked(**{**SAME, **changed})) for changed in ({}, *OTHERS.values())]
    keys += [cache_key(asked(**SAME), server) for server in ("http://a/v1", "http://b/v1")]
    assert len(set(keys)) == len(OTHERS) + 3


def test_two_agents_who_are_told_the_same_are_two_samples(cache: Cache) -> None:
    asks = [asked(i, user="What do you say?") for i in range(20)]
    assert len({reply.text for reply in said(cache, asks)}) == 20


def test_two_replicates_never_share_an_answer(cache: Cache) -> None:
    runs = [said(cache, [asked(i, replicate=f"7/{r}") for i in range(5)]) for r in (0, 0)]
    assert [reply.text for reply in runs[0]] == [reply.text for reply in runs[1]]
    model = ScriptedModel(lambda request: f"{request.replicate} {request.position.agent}")
    texts = [
        reply.text for r in range(4) for reply in said(cache, [asked(i, replicate=f"8/{r}") for i in range(5)], model)
    ]
    assert len(set(texts)) == len(model.asked) == 20


def test_a_key_is_the_same_in_every_process() -> None:
    code = "from tests.unit.test_llm_cache import *; print(cache_key(asked(**SAME)).hex())"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {cache_key(asked(**SAME)).hex()}


@pytest.mark.parametrize(
    "text", ["", "x" * 64_000, "Zoë \U0001f600", "a\x00b\r\n", "{{ 7*7 }}", "'; DROP TABLE answers; --"]
)
def test_every_text_comes_back_as_it_was(text: str, cache: Cache) -> None:
    model = ScriptedModel(lambda request: Reply(text, "length", 3, 0, is_counted=False, served_by="scripted-1"))
    first, second = said(cache, [asked(), asked()], model)
    assert (second.text, second.finish, second.input_tokens, second.output_tokens) == (text, "length", 3, 0)
    assert (first.served_by, second.served_by) == ("scripted-1", "scripted-1")


def test_an_estimate_stays_an_estimate(cache: Cache) -> None:
    """Whether tokens were counted is part of what a tape hashes: a cache must not change it."""
    model = ScriptedModel(lambda request: Reply("hm", "stop", 3, 1, is_counted=False))
    assert [reply.is_counted for reply in said(cache, [asked(), asked()], model)] == [False, False]


def test_a_failure_is_not_kept(cache: Cache) -> None:
    async def go() -> str:
        outcomes = [ZeroDivisionError(), "fine"]
        cached = Cached(ScriptedModel(lambda request: outcomes.pop(0)), lambda: cache)
        with pytest.raises(ZeroDivisionError):
            await cached.complete(asked())
        return (await cached.complete(asked())).text

    assert asyncio.run(go()) == "fine"


def test_it_survives_reopening(tmp_path: Path) -> None:
    for _ in range(3):
        cache = Cache(tmp_path / "cache.sqlite")
        assert [reply.text for reply in said(cache, [asked(i) for i in range(3)])] == [
            "answer 0",
            "answer 1",
            "answer 2",
        ]
        cache.close()


def test_the_first_answer_stays(cache: Cache) -> None:
    key = cache_key(asked())
    cache.put(key, Reply("first"))
    cache.put(key, Reply("second"))
    found = cache.find(key)
    assert found is not None
    assert found.text == "first"


def test_closing_what_is_behind_leaves_the_file_open(cache: Cache) -> None:
    async def go() -> None:
        model = ScriptedModel()
        await Cached(model, lambda: cache).close()
        assert model.closed == 1

    asyncio.run(go())
    assert cache.find(cache_key(asked())) is None


def test_two_processes_share_it(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
from simworld.mind.llm import Cache, Cached
from tests.llm import ScriptedModel, asked
cache, name = Cache(Path(sys.argv[1])), sys.argv[2]
model = ScriptedModel(lambda request: f"{name} {request.position.agent}")
async def go():
    cached = Cached(model, lambda: cache)
    return [(await cached.complete(asked(i))).text for i in range(300)]
asyncio.run(go())
cache.close()
"""
    file = tmp_path / "cache.sqlite"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    cache = Cache(file)
    never = ScriptedModel(lambda request: ZeroDivisionError())
    texts = [reply.text for reply in said(cache, [asked(i) for i in range(300)], never)]
    cache.close()
    assert [text.split()[1] for text in texts] == [str(i) for i in range(300)]
    assert {text.split()[0] for text in texts} <= {"one", "two"}


def test_there_is_no_pickle_in_the_file(cache: Cache) -> None:
    said(cache, [asked(i) for i in range(20)])
    db = sqlite3.connect(cache.path)
    values = [value for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
              for row in db.execute(f"SELECT * FROM {name}") for value in row]  # fmt: skip
    db.close()
    assert len(values) >= 20
    for value in values:
        assert type(value) in (int, float, str, bytes)
        if isinstance(value, bytes):
            with pytest.raises(ValueError):
                list(pickletools.genops(value))


def test_a_file_that_is_no_cache_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("my notes\n" * 500)
    with pytest.raises(StorageError, match=r"notes\.txt"):
        Cache(file)
    assert file.read_text() == "my notes\n" * 500


def test_a_folder_is_no_cache(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="--cache"):
        Cache(tmp_path)


def test_a_cache_that_is_damaged_or_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cache.sqlite"
    cache = Cache(file)
    said(cache, [asked(i) for i in range(3)])
    cache._db.execute("DROP TABLE answers")
    with pytest.raises(StorageError, match=r"cache\.sqlite"):
        cache.find(cache_key(asked()))
    with pytest.raises(StorageError, match=r"cache\.sqlite"):
        cache.put(cache_key(asked()), Reply("x"))
    cache.close()

"""Both clients against a real server, the tape, and every wrapper under one suite; the two clients side by side."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from simworld.errors import TapeError
from simworld.mind.llm import (
    AdaptiveLimit,
    Budgeted,
    Cache,
    Cached,
    Call,
    CallFailed,
    CompatibleModel,
    LanguageModel,
    Ledger,
    Limited,
    LiteLLMModel,
    MemoryTape,
    Pace,
    Price,
    Request,
    Retrying,
    Sampling,
    Taped,
    TapeLog,
    TapeModel,
)
from simworld.mind.llm._compatible import seconds_of
from simworld.mind.llm._limits import ServerLimits
from simworld.run._tape import SqliteTape
from tests.contract.model_contract import ClientContract, ModelContract, requests
from tests.llm import Pocket, ScriptedModel, asked, completion, echo, http
from tests.server import ANSWER_FAULTS, Behaviour, ModelServer

# litellm silences these warnings of pydantic about litellm's own types; pytest turns them on again.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]

# -- the two clients ------------------------------------------------------------------------------------------------


def compatible(base: str, timeout_s: float = 20.0) -> LanguageModel:
    return CompatibleModel("scripted", base, timeout_s)


def litellm(base: str, timeout_s: float = 20.0) -> LanguageModel:
    return LiteLLMModel("openai/scripted", base, timeout_s)


class TestTheLeanClient(ClientContract):
    reads_all = False

    def client(self, base: str, timeout_s: float = 20.0) -> LanguageModel:
        return compatible(base, timeout_s)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, gzip"])
    @pytest.mark.parametrize("has_length", [True, False])
    def test_a_compressed_body_is_not_inflated(self, encoding: str, has_length: bool) -> None:
        """None was asked for, and a small one can be gigabytes; only what it would hold is a chat completion."""
        body = gzip.compress(json.dumps(completion("yes")).encode())
        for content in (body, gzip.compress(b" " * 50_000_000, 1)):  # inflated, the second would be too long to read
            answer = http(200, content, Content_Encoding=encoding)
            if not has_length:
                answer = answer.replace(f"Content-Length: {len(content)}\r\n".encode(), b"")
            failed, got = self.odd(answer)
            assert isinstance(failed, CallFailed)
            assert (failed.kind, failed.status, failed.is_passing, failed.may_be_billed) == ("server", 200, True, True)
            assert len(got) == 1
            head = got[0].lower().partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert [line for line in head if line.startswith(b"accept-encoding")] == [b"accept-encoding: identity"]


class TestLiteLLM(ClientContract):
    def client(self, base: str, timeout_s: float = 20.0) -> LanguageModel:
        return litellm(base, timeout_s)


# -- the tape and the wrappers --------------------------------------------------------------------------------------


class WrapperContract(ModelContract):
    """A wrapper around a model in this process."""

    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[LanguageModel]:
        self.inner = ScriptedModel()
        model = self.wrapped(self.inner)
        yield model
        await model.close()

    def test_closing_it_closes_what_is_behind(self) -> None:
        async def go() -> None:
            async with self.opened() as model:
                await model.complete(asked())

        asyncio.run(go())
        assert self.inner.closed

    def test_an_error_nobody_foresaw_comes_through_and_blocks_nobody(self) -> None:
        async def go() -> str:
            model = self.wrapped(ScriptedModel(lambda r: ZeroDivisionError("who knows") if r.seed else "fine"))
            for _ in range(5):
                with pytest.raises(ZeroDivisionError):
                    await model.complete(asked())
            async with asyncio.timeout(5):
                return (await model.complete(asked(seed=0))).text

        assert asyncio.run(go()) == "fine"


class TestTaped(WrapperContract):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Taped(inner, TapeLog(MemoryTape()))


class WithACache(WrapperContract):
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path) -> Any:
        self.file = Cache(tmp_path / "cache.sqlite")
        yield
        self.file.close()


class TestCached(WithACache):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Cached(inner, lambda: self.file)


class TestBudgeted(WrapperContract):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Budgeted(inner, Ledger(budget_usd=1.0, max_tokens_total=10**7), Price(1e-7, 1e-7), Pocket())


class TestUnpriced(WrapperContract):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Budgeted(inner, Ledger(), None, Pocket())


class TestLimited(WrapperContract):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Limited(inner, ServerLimits(AdaptiveLimit(3, 0.01), Pace(10_000), Pace(10_000_000)))


class TestRetrying(WrapperContract):
    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        return Retrying(inner, retries=2, backoff_s=0.001, stopped=lambda: False)


class TestAllOfThem(WithACache):
    """The chain of a run."""

    def wrapped(self, inner: LanguageModel) -> LanguageModel:
        log = TapeLog(MemoryTape())
        budgeted = Budgeted(inner, Ledger(1.0, 10**7), Price(1e-7, 1e-7), log)
        limited = Limited(budgeted, ServerLimits(AdaptiveLimit(3, 0.01)))
        retrying = Retrying(limited, retries=2, backoff_s=0.001, stopped=lambda: False)
        return Taped(Cached(retrying, lambda: self.file), log)


class TestTheTape(ModelContract):
    """What was answered once is answered again, without anybody to ask."""

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[LanguageModel]:
        tape = MemoryTape()
        recording = Taped(ScriptedModel(), TapeLog(tape))
        for request in requests():
            await recording.complete(request)
        model = TapeModel(TapeLog(tape))
        yield model
        await model.close()

    def test_what_was_never_asked_is_an_error(self) -> None:
        async def go() -> None:
            async with self.opened() as model:
                await model.complete(asked(999))

        with pytest.raises(TapeError, match="agent 999, step 1, Say"):
            asyncio.run(go())


# -- one contract, the same bytes -----------------------------------------------------------------------------------


def calls_of(client: Callable[[str], LanguageModel], server: ModelServer, asks: list[Request], tape: Any) -> None:
    """Have a client answer these requests, all at once, and keep the calls."""

    async def go() -> None:
        model = Taped(client(server.base), TapeLog(tape))
        try:
            await asyncio.gather(*(model.complete(request) for request in asks))
        finally:
            await model.close()

    asyncio.run(go())


def untimed(call: Call) -> Call:
    return dataclasses.replace(call, reply=dataclasses.replace(call.reply, seconds=0.0))


def uncounted(call: Call) -> Call:
    return dataclasses.replace(
        call, reply=dataclasses.replace(call.reply, input_tokens=0, output_tokens=0, is_counted=False)
    )


SAID = {
    "as a person": "Good morning, Zoë — \U0001f600!",
    "with thoughts": '<think>Hm, "maybe".</think>{"text": "yes", "loud": true}',
    "with thoughts of nothing": '<think>\n\n</think>\n\n{"text": "yes", "loud": true}',
    "with thoughts twice": '<think>a</think><think>b</think>{"text": "yes", "loud": true}',
    "with thoughts later": '\n<think>a</think>{"text": "yes", "loud": true}',
    "with thoughts that never end": "<think>Hm",
    "with thoughts that never began": 'Hm</think>{"text": "yes", "loud": true}',
    "in a fence": '```json\n{"text": "a\\nb"}\n```',
    "with a NUL": "a\x00b\r\n\tc",
    "half a pair": '{"text": "\ud83d and \udc00"}',
    "spaces": "  \n x \n ",
}


@pytest.fixture(scope="module")
def server() -> Any:
    with ModelServer() as server:
        server.app.script = echo
        yield server


@pytest.mark.parametrize("fault", ["none", *ANSWER_FAULTS, "wrong_usage", "no_usage"])
def test_both_clients_put_the_same_on_the_tape(fault: str, server: ModelServer, tmp_path: Path) -> None:
    server.app.behaviour = Behaviour(faults={fault: 1.0} if fault != "none" else {})
    asks = requests(3 if fault == "ten_megabytes" else 10)
    tapes = [MemoryTape(), MemoryTape()]
    for client, tape in zip((compatible, litellm), tapes, strict=True):
        calls_of(client, server, asks, tape)
    lean, wide = ({at: untimed(call) for at, call in tape.calls.items()} for tape in tapes)
    assert len(lean) == len(asks)
    if fault == "ten_megabytes":  # only litellm reads to the end, where the server says what it counted
        assert {call.reply.is_counted for call in lean.values()} == {False}
        assert {call.reply.is_counted for call in wide.values()} == {True}
        lean, wide = ({at: uncounted(call) for at, call in calls.items()} for calls in (lean, wide))
    assert lean == wide


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_both_clients_hear_the_same(said: str, server: ModelServer) -> None:
    server.app.behaviour = Behaviour(fixed=said)
    tapes = [MemoryTape(), MemoryTape()]
    for client, tape in zip((compatible, litellm), tapes, strict=True):
        calls_of(client, server, [asked()], tape)
    lean, wide = ([untimed(call) for call in tape.calls.values()] for tape in tapes)
    assert lean == wide
    if "\ud83d" not in said:
        assert lean[0].reply.text == said


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("<thinking>Hm</thinking>yes", "<think>Hm</think>yes"), ("<thinking>\n</thinking>yes", "<think>\n</think>yes"),
        ("<thinking>Hm</think>yes", "<think>Hm</think>yes"), ("<think>Hm</thinking>yes", "<think>Hm</think>yes"),
        ("<thinking>Hm", "<thinking>Hm"), ("<think></think>yes", "yes"), ("<thinking></thinking>yes", "yes"),
    ],
)  # fmt: skip
def test_both_clients_hear_thoughts_by_one_name_and_none_where_there_are_none(
    said: str, heard: str, server: ModelServer
) -> None:
    """litellm takes thoughts apart by itself, and forgets what their tags were and that they were empty."""
    server.app.behaviour = Behaviour(fixed=said)
    tapes = [MemoryTape(), MemoryTape()]
    for client, tape in zip((compatible, litellm), tapes, strict=True):
        calls_of(client, server, [asked()], tape)
    assert [call.reply.text for tape in tapes for call in tape.calls.values()] == [heard, heard]
    lean, wide = ([untimed(call) for call in tape.calls.values()] for tape in tapes)
    assert lean == wide


def test_both_clients_send_the_same(server: ModelServer) -> None:
    server.app.behaviour = Behaviour()
    asks = [
        asked(1),
        asked(2, sampling=Sampling(None, 5)),
        asked(3, seed=2**31 - 1),
        asked(4, user="'\"\\{{ }} Zoë \x00"),
    ]
    sent = []
    for client in (compatible, litellm):
        server.app.bodies = []
        calls_of(client, server, asks, MemoryTape())
        sent.append(sorted(server.app.bodies, key=lambda body: body["messages"][1]["content"]))
    server.app.bodies = None
    assert sent[0] == sent[1]
    assert len(sent[0]) == 4


def test_a_tape_of_both_clients_has_one_digest(server: ModelServer, tmp_path: Path) -> None:
    server.app.behaviour = Behaviour()
    digests = []
    for client in (compatible, litellm):
        tape = SqliteTape(tmp_path / f"{client.__name__}.sqlite")
        calls_of(client, server, requests(), tape)
        digests.append(tape.digest())
        assert tape.check(digests[-1]) == len(requests())
        tape.close()
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("3", 3.0), ("0.5", 0.5), ("0", 0.0), ("-4", 0.0), ("soon", None), ("nan", None),
        ("inf", None), ("1e400", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 99 Oct 2015", None),
    ],
)  # fmt: skip
def test_how_long_a_server_asks_to_wait(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


def test_a_server_may_ask_to_wait_until_a_date() -> None:
    wait = seconds_of(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert wait is not None
    assert 60 < wait <= 90

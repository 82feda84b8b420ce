"""What every language model owes whoever asks it. Subclass `ModelContract`, open your model, and pytest does the rest::

class TestMyModel(ModelContract):
    @contextlib.asynccontextmanager
    async def opened(self):
        yield MyModel()

A client of a server subclasses `ClientContract` instead and returns itself from ``client``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from simworld.mind.llm import MAX_REPLY_CHARS, CallFailed, LanguageModel, Reply, Request, Sampling, estimated_tokens
from simworld.mind.llm._model import MOST_TOKENS
from tests.llm import asked, completion, echo, http, odd_server
from tests.server import Behaviour, Latency, ModelServer

FINISHES = {"stop", "length", "content_filter", "too_long"}


def requests(n: int = 24) -> list[Request]:
    """Return the calls that the suite makes; each says something of its own."""
    return [asked(agent, user=f"You are agent {agent}. Say 'Grüß Gott' {agent} times.") for agent in range(n)]


def answer_to(request: Request) -> str:
    """Return what a model that passes this suite answers: it repeats what it was told last."""
    return echo([{"role": role, "content": text} for role, text in request.messages])


class ModelContract:
    """The obligations of anything that completes a conversation. The model under test answers as `answer_to` says."""

    cancelled_after_s = 0.0
    """When some of those who ask give up: while their calls are under way."""

    def opened(self) -> contextlib.AbstractAsyncContextManager[LanguageModel]:
        """Open the model under test, fresh, and close it in the end."""
        raise NotImplementedError

    def test_it_is_a_language_model(self) -> None:
        async def go() -> None:
            async with self.opened() as model:
                assert isinstance(model, LanguageModel)

        asyncio.run(go())

    def test_a_reply_has_a_text_an_end_and_sane_counts(self) -> None:
        async def go() -> Reply:
            async with self.opened() as model:
                return await model.complete(request)

        request = requests(1)[0]
        reply = asyncio.run(go())
        assert reply.text == answer_to(request)
        assert reply.finish in FINISHES
        assert type(reply.input_tokens) is type(reply.output_tokens) is int
        assert 0 < reply.input_tokens <= request.n_bytes + 64 * len(request.messages)
        assert 0 < reply.output_tokens <= request.sampling.max_tokens
        assert type(reply.is_counted) is bool
        assert reply.usd is None or reply.usd >= 0.0
        assert 0.0 <= reply.seconds < 60.0
        assert reply.retries == 0
        assert "\n" not in reply.served_by

    def test_concurrent_calls_are_independent(self) -> None:
        async def go() -> list[Reply]:
            async with self.opened() as model:
                return await asyncio.gather(*(model.complete(request) for request in everyone))

        everyone = requests()
        assert [reply.text for reply in asyncio.run(go())] == [answer_to(request) for request in everyone]

    def test_one_at_a_time_or_all_at_once_is_the_same(self) -> None:
        async def go() -> list[str]:
            async with self.opened() as model:
                alone = [(await model.complete(request)).text for request in requests(6)]
            async with self.opened() as model:
                together = await asyncio.gather(*(model.complete(request) for request in requests(6)[::-1]))
            assert alone == [reply.text for reply in together][::-1]
            return alone

        assert len(set(asyncio.run(go()))) == 6

    def test_who_asks_no_longer_leaves_the_others_alone(self) -> None:
        async def go() -> list[Any]:
            async with self.opened() as model:
                tasks = [asyncio.create_task(model.complete(request)) for request in requests(8)]
                await asyncio.sleep(self.cancelled_after_s)
                for task in tasks[::2]:
                    task.cancel()
                found = await asyncio.gather(*tasks, return_exceptions=True)
                again = [await model.complete(request) for request in requests(8)[::2]]
                return [found, again]

        found, again = asyncio.run(go())
        assert [reply.text for reply in found[1::2]] == [answer_to(request) for request in requests(8)[1::2]]
        assert all(isinstance(each, asyncio.CancelledError | Reply) for each in found)
        assert [reply.text for reply in again] == [answer_to(request) for request in requests(8)[::2]]

    def test_what_was_asked_is_not_touched(self) -> None:
        async def go() -> None:
            async with self.opened() as model:
                await model.complete(request)

        request = requests(1)[0]
        before = copy.deepcopy(request.schema.response_format), copy.copy(request)
        asyncio.run(go())
        assert (request.schema.response_format, request) == before

    def test_it_may_be_closed_twice(self) -> None:
        async def go() -> None:
            async with self.opened() as model:
                await model.complete(requests(1)[0])
                await model.close()
                await model.close()

        asyncio.run(go())


class ClientContract(ModelContract):
    """The obligations of a client of an OpenAI-compatible server: what each fault of the server becomes."""

    cancelled_after_s = 0.1
    reads_all = True
    """Whether a body is read to its end, however long it is."""

    def client(self, base: str, timeout_s: float = 20.0) -> LanguageModel:
        """Return the client under test, connected with a server."""
        raise NotImplementedError

    # -- means --------------------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls) -> Iterator[ModelServer]:
        with ModelServer() as server:
            yield server

    @pytest.fixture(autouse=True)
    def server(self, running: ModelServer) -> ModelServer:
        self.serving = running
        self.behave()
        running.app.bodies = None
        running.app.script = echo
        return running

    def behave(self, **how: Any) -> None:
        self.serving.app.behaviour = Behaviour(**how)

    @contextlib.asynccontextmanager
    async def opened(self, timeout_s: float = 20.0) -> Any:
        model = self.client(self.serving.base, timeout_s)
        try:
            yield model
        finally:
            await model.close()

    def one(self, request: Request | None = None, timeout_s: float = 20.0) -> Reply:
        async def go() -> Reply:
            async with self.opened(timeout_s) as model:
                return await model.complete(request or asked())

        return asyncio.run(go())

    def failure(self, timeout_s: float = 20.0) -> CallFailed:
        """Return how one call fails; it must have been sent once."""
        n = self.serving.app.n
        with pytest.raises(CallFailed) as caught:
            self.one(timeout_s=timeout_s)
        assert self.serving.app.n == n + 1, "a client sends once; whether to send again is for others to decide"
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= 400
        return caught.value

    def odd(self, *answers: bytes, sampling: Sampling | None = None) -> tuple[Reply | CallFailed, list[bytes]]:
        """Return what one call to a server of raw answers gives, and what that server was sent."""

        async def go() -> tuple[Reply | CallFailed, list[bytes]]:
            async with odd_server(*answers) as (base, got):
                model = self.client(base)
                try:
                    return await model.complete(asked(sampling=sampling)), got
                except CallFailed as failed:
                    return failed, got
                finally:
                    await model.close()

        return asyncio.run(go())

    # -- calls ----------------------------------------------------------------------------------------------------

    def test_who_asks_no_longer_leaves_the_others_alone(self) -> None:
        self.one()  # so that what is loaded at the first call does not count
        self.behave(latency=Latency(0.2))
        super().test_who_asks_no_longer_leaves_the_others_alone()

    def test_a_second_client_works_after_the_first_was_closed(self) -> None:
        async def go() -> list[str]:
            first, second = self.client(self.serving.base), self.client(self.serving.base)
            said = [(await first.complete(asked(1))).text]
            await first.close()
            said.append((await second.complete(asked(2))).text)
            await second.close()
            return said

        assert asyncio.run(go()) == [answer_to(asked(1)), answer_to(asked(2))]

    # -- what is sent -------------------------------------------------------------------------------------------

    def test_it_sends_what_was_asked_and_nothing_of_its_own(self) -> None:
        self.serving.app.bodies = []
        request = asked(3, sampling=Sampling(0.25, 99), seed=12345)
        self.one(request)
        (body,) = self.serving.app.bodies
        assert body.pop("model") == "scripted"
        assert body.pop("messages") == [{"role": role, "content": text} for role, text in request.messages]
        assert body.pop("response_format") == request.schema.response_format
        assert body == {"max_tokens": 99, "temperature": 0.25, "seed": 12345}

    def test_a_temperature_that_was_not_given_is_left_to_the_server(self) -> None:
        self.serving.app.bodies = []
        self.one(asked(sampling=Sampling(None, 5)))
        assert "temperature" not in self.serving.app.bodies[0]

    def test_a_server_that_takes_no_schema_is_asked_without(self) -> None:
        self.behave(takes_schema=False)
        self.serving.app.bodies = []

        async def go() -> list[str]:
            async with self.opened() as model:
                first = await asyncio.gather(*(model.complete(request) for request in requests(5)))
                later = await model.complete(asked(99))
            return [reply.text for reply in (*first, later)]

        assert asyncio.run(go()) == [answer_to(request) for request in (*requests(5), asked(99))]
        bodies = self.serving.app.bodies
        assert sum("response_format" not in body for body in bodies) == 6
        assert "response_format" not in bodies[-1], "what the server does not take is not sent it again and again"
        assert sum("response_format" in body for body in bodies) <= 5

    def test_another_bad_request_is_not_asked_again(self) -> None:
        failed, got = self.odd(http(400, {"error": {"message": "the prompt is too long for this model"}}))
        assert isinstance(failed, CallFailed)
        assert (failed.kind, failed.status, failed.is_passing) == ("wrong", 400, False)
        assert len(got) == 1
        assert "too long for this model" in str(failed)

    # -- failures -----------------------------------------------------------------------------------------------

    def test_too_many_requests(self) -> None:
        self.behave(faults={"rate_limit": 1.0})
        failed = self.failure()
        assert (failed.kind, failed.status, failed.retry_after_s) == ("overloaded", 429, None)
        assert failed.is_passing
        assert not failed.may_be_billed

    def test_too_many_requests_and_how_long_to_wait(self) -> None:
        self.behave(faults={"rate_limit_after": 1.0}, retry_after_s=0.75)
        failed = self.failure()
        assert (failed.kind, failed.status, failed.retry_after_s) == ("overloaded", 429, 0.75)
        assert failed.is_passing

    @pytest.mark.parametrize("status", [500, 503])
    def test_a_server_that_broke(self, status: int) -> None:
        self.behave(faults={f"error_{status}": 1.0})
        failed = self.failure()
        assert (failed.kind, failed.status, failed.retry_after_s) == ("server", status, None)
        assert failed.is_passing
        assert not failed.may_be_billed

    @pytest.mark.parametrize("status", [502, 504])
    def test_a_proxy_that_gave_up(self, status: int) -> None:
        failed, _ = self.odd(http(status, {"error": {"message": "upstream"}}))
        assert isinstance(failed, CallFailed)
        assert failed.kind in ("server", "timeout" if status == 504 else "server")
        assert (failed.status, failed.is_passing) == (status, True)
        assert failed.may_be_billed, "the server behind it may have done the work"

    def test_a_server_that_says_when_it_will_be_back(self) -> None:
        failed, _ = self.odd(http(503, {"error": {"message": "later"}}, Retry_After="9"))
        assert isinstance(failed, CallFailed)
        assert (failed.kind, failed.retry_after_s) == ("server", 9.0)

    @pytest.mark.parametrize("fault", ["reset", "cut"])
    def test_a_connection_that_broke(self, fault: str) -> None:
        self.behave(faults={fault: 1.0})
        failed = self.failure()
        assert (failed.kind, failed.status, failed.retry_after_s) == ("connection", None, None)
        assert failed.is_passing
        assert failed.may_be_billed, "the server had the whole request, and may have done the work"

    def test_a_server_that_is_not_there(self) -> None:
        async def go() -> None:
            model = self.client("http://127.0.0.1:9/v1")
            try:
                await model.complete(asked())
            finally:
                await model.close()

        with pytest.raises(CallFailed) as caught:
            asyncio.run(go())
        assert caught.value.kind == "connection"
        assert caught.value.is_passing
        assert not caught.value.may_be_billed, "nobody was there to send a bill"

    @pytest.mark.parametrize("fault", ["hang", "drip"])
    def test_no_answer_in_time(self, fault: str) -> None:
        self.one()  # so that what is loaded at the first call does not count
        self.behave(faults={fault: 1.0}, hang_s=3.0)
        failed = self.failure(timeout_s=0.25)
        assert (failed.kind, failed.retry_after_s) == ("timeout", None)
        assert failed.is_passing
        assert failed.may_be_billed

    def test_an_answer_that_is_no_chat_completion(self) -> None:
        self.behave(faults={"broken_envelope": 1.0})
        failed = self.failure()
        assert failed.kind == "server"
        assert failed.is_passing

    def test_an_answer_that_cannot_be_read_may_be_billed(self) -> None:
        """The work was done; only what came of it cannot be read."""
        for content in (b"", b"<html>gateway</html>", b"{}", b'{"choices": [{"message": null}]}', b'{"choices": []}'):
            failed, _ = self.odd(http(200, content))
            assert isinstance(failed, CallFailed)
            assert (failed.kind, failed.status, failed.may_be_billed) == ("server", 200, True), content

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"null", b"[]", b"<html>gateway</html>", b"\xff\xfe", b"{}", b'{"choices": []}', b'{"choices": null}',
            b'{"choices": [{"message": null}]}', b'{"choices": [7]}',
            b'{"choices": {"0": {"message": {"content": "x"}}}}',
            b"[" * 100_000, b'{"a":' * 50_000,
        ],
        ids=lambda content: repr(content[:24]),
    )  # fmt: skip
    def test_nonsense_with_status_200(self, content: bytes) -> None:
        failed, _ = self.odd(http(200, content))
        assert isinstance(failed, CallFailed)
        assert (failed.kind, failed.is_passing) == ("server", True)

    @pytest.mark.parametrize("status", [401, 403, 404])
    def test_a_call_that_is_wrong_itself(self, status: int) -> None:
        failed, got = self.odd(http(status, {"error": {"message": "no such key or model"}}))
        assert isinstance(failed, CallFailed)
        assert (failed.kind, failed.status) == ("wrong", status)
        assert not failed.is_passing
        assert not failed.may_be_billed
        assert len(got) == 1

    # -- strange replies ----------------------------------------------------------------------------------------

    def test_ten_megabytes_are_no_answer(self) -> None:
        self.behave(faults={"ten_megabytes": 1.0})
        reply = self.one(asked(sampling=Sampling(0.5, 99)))
        assert (reply.finish, reply.text, reply.served_by) == ("too_long", "", "")
        expected = (2_500_000, True) if self.reads_all else (99, False)
        assert (reply.output_tokens, reply.is_counted) == expected, "what the server says, or all that was allowed"

    def test_a_long_text_in_a_short_body_is_no_answer_either(self) -> None:
        self.behave(fixed="x" * (MAX_REPLY_CHARS + 1))
        reply = self.one(asked(sampling=Sampling(0.5, 99)))
        assert (reply.finish, reply.text, reply.served_by) == ("too_long", "", "")
        assert (reply.output_tokens, reply.is_counted) == ((MAX_REPLY_CHARS + 1) // 4, True)
        self.behave(fixed="x" * MAX_REPLY_CHARS)
        assert len(self.one().text) == MAX_REPLY_CHARS
        said, _ = self.odd(http(200, completion("x" * (MAX_REPLY_CHARS + 1))))
        assert isinstance(said, Reply)
        assert (said.finish, said.output_tokens, said.is_counted) == ("too_long", 3, True), "where the server says"
        long = completion("x" * (MAX_REPLY_CHARS + 1), usage=None)
        said, _ = self.odd(http(200, long), sampling=Sampling(0.5, 99))
        assert isinstance(said, Reply)
        assert (said.finish, said.text, said.output_tokens, said.is_counted) == ("too_long", "", 99, False)

    @pytest.mark.parametrize("fault", ["wrong_usage", "no_usage"])
    def test_counts_that_cannot_be_are_estimated(self, fault: str) -> None:
        self.behave(faults={fault: 1.0})
        request = asked()
        reply = self.one(request)
        assert not reply.is_counted
        assert reply.input_tokens == estimated_tokens([text for _, text in request.messages])
        assert reply.output_tokens == estimated_tokens([reply.text])

    @pytest.mark.parametrize(
        "usage",
        [
            {"prompt_tokens": 10**9, "completion_tokens": 3}, {"prompt_tokens": 12, "completion_tokens": 10**9},
            {"prompt_tokens": MOST_TOKENS + 1, "completion_tokens": 3},
            {"prompt_tokens": 12, "completion_tokens": MOST_TOKENS + 1},
            {"prompt_tokens": 0, "completion_tokens": 3}, {"prompt_tokens": 12, "completion_tokens": -1},
        ],
    )  # fmt: skip
    def test_each_count_is_checked(self, usage: dict[str, Any]) -> None:
        reply, _ = self.odd(http(200, completion("hm", usage={**usage, "total_tokens": 15})))
        assert isinstance(reply, Reply)
        assert not reply.is_counted
        assert reply.output_tokens == 1

    @pytest.mark.parametrize("usage", [(12, 256), (12, 257), (100_000, 3), (1, 0), (MOST_TOKENS, MOST_TOKENS)])
    def test_what_the_server_counts_is_believed(self, usage: tuple[int, int]) -> None:
        """More than was said or allowed too: what a model thinks, and what a server adds to a prompt, is billed."""
        counts = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True))
        reply, _ = self.odd(http(200, completion("hm", usage={**counts, "total_tokens": sum(usage)})))
        assert isinstance(reply, Reply)
        assert (reply.input_tokens, reply.output_tokens, reply.is_counted) == (*usage, True)
        assert reply.text == "hm"

    @pytest.mark.parametrize(
        ("said", "finish"),
        [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"),
         ("tool_calls", "stop"), ("STOP \n", "stop"), (None, "stop"), ("too\ud800", "stop")],
    )  # fmt: skip
    def test_how_it_ended_is_one_of_four_words(self, said: str | None, finish: str) -> None:
        choice = {"index": 0, "finish_reason": said, "message": {"role": "assistant", "content": "hm"}}
        reply, _ = self.odd(http(200, completion("hm", choices=[choice])))
        assert isinstance(reply, Reply)
        assert (reply.finish, reply.text) == (finish, "hm")

    def test_what_served_it_becomes_writable(self) -> None:
        reply, _ = self.odd(http(200, completion("hm", model="a\ud800b" + "x" * 500)))
        assert isinstance(reply, Reply)
        assert reply.served_by.encode()
        assert reply.served_by == ("a\ufffdb" + "x" * 500)[:100]

    def test_an_estimate_is_never_more_than_was_allowed(self) -> None:
        """What a reply is entered with stays below the worst case that was set aside for it."""
        reply, _ = self.odd(http(200, completion("word " * 400, usage=None)), sampling=Sampling(None, 16))
        assert isinstance(reply, Reply)
        assert not reply.is_counted
        assert reply.output_tokens <= 16

    def test_half_a_surrogate_pair_becomes_writable(self) -> None:
        self.behave(fixed='{"text": "a\ud800b"}')
        text = self.one().text
        assert text.encode()
        assert "\ud800" not in text
        assert (text[:11], text[-3:]) == ('{"text": "a', 'b"}')
        self.behave(fixed='{"text": "\U0001f600 ok"}')
        assert self.one().text == '{"text": "\U0001f600 ok"}'

    def test_no_text_is_an_empty_text(self) -> None:
        for content in (None, ""):
            reply, _ = self.odd(http(200, completion(content)))
            assert isinstance(reply, Reply)
            assert (reply.text, reply.finish) == ("", "stop")

    # -- thoughts -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("content", "beside", "text"),
        [
            ("yes", {"reasoning_content": "Hm."}, "<think>Hm.</think>yes"),
            ("yes", {"reasoning": "Hm."}, "<think>Hm.</think>yes"),
            ("yes", {"reasoning_content": "Hm.", "reasoning": "Hm."}, "<think>Hm.</think>yes"),
            ("yes", {"reasoning_content": None, "reasoning": "Hm."}, "<think>Hm.</think>yes"),
            ("yes", {"reasoning_content": None}, "yes"), ("yes", {"reasoning_content": ""}, "yes"),
            ("yes", {"reasoning": None}, "yes"), ("yes", {"reasoning": ""}, "yes"),
            (None, {"reasoning_content": "Hm."}, "<think>Hm.</think>"),
            ("", {"reasoning": "Hm."}, "<think>Hm.</think>"),
            ("<think>Hm.</think>yes", {}, "<think>Hm.</think>yes"),
            ("<thinking>Hm.</thinking>yes", {}, "<think>Hm.</think>yes"),
            ("<think>Hm.\n\nSo.</think>\n\nyes\n", {}, "<think>Hm.\n\nSo.</think>\n\nyes\n"),
            ("<think>\n\n</think>\n\nyes", {}, "<think>\n\n</think>\n\nyes"),
            ("<think>Hm.</think>I <thinking>b</thinking>", {}, "<think>Hm.</think>I <thinking>b</thinking>"),
            ("<thinking>Hm.", {}, "<thinking>Hm."), ("<think>Hm.", {}, "<think>Hm."),
            ("<think></think>yes", {}, "yes"), ("<thinking></thinking>yes", {}, "yes"),
            ("so.</think>yes", {}, "so.</think>yes"), ("I <thinking> so", {}, "I <thinking> so"),
            ("yes", {"reasoning_content": "a\ud800b"}, "<think>a\ufffdb</think>yes"),
        ],
    )  # fmt: skip
    def test_thoughts_stand_before_the_answer(self, content: Any, beside: dict[str, Any], text: str) -> None:
        """They came, they were paid for, and they are on the tape, however the server sends them."""
        reply, _ = self.odd(http(200, json.dumps(completion(content, beside=beside)).encode()))
        assert isinstance(reply, Reply)
        assert (reply.text, reply.finish) == (text, "stop")
        assert (reply.input_tokens, reply.output_tokens, reply.is_counted) == (12, 3, True)

    def test_thoughts_count_where_the_server_does_not_say(self) -> None:
        reply, _ = self.odd(http(200, completion("yes", beside={"reasoning_content": "Hm. " * 50}, usage=None)))
        assert isinstance(reply, Reply)
        assert not reply.is_counted
        assert reply.output_tokens == estimated_tokens([reply.text]) > 50

    def test_thoughts_without_end_are_no_answer(self) -> None:
        thoughts = {"reasoning_content": "x" * MAX_REPLY_CHARS}
        reply, _ = self.odd(http(200, completion("yes", beside=thoughts, usage=None)), sampling=Sampling(0.5, 99))
        assert isinstance(reply, Reply)
        assert (reply.text, reply.finish, reply.output_tokens, reply.is_counted) == ("", "too_long", 99, False)

    def test_a_cut_answer_says_so(self) -> None:
        self.behave(faults={"half_answer": 1.0})
        assert self.one().finish == "length"

    def test_what_served_it_is_said(self) -> None:
        reply, _ = self.odd(http(200, completion("hm", model="scripted-2026-01-01-q4")))
        assert isinstance(reply, Reply)
        assert reply.served_by == "scripted-2026-01-01-q4"

    def test_it_goes_on_after_failures(self) -> None:
        async def go() -> str:
            async with self.opened() as model:
                for fault in ("reset", "cut", "error_500", "broken_envelope"):
                    self.behave(faults={fault: 1.0})
                    with pytest.raises(CallFailed):
                        await model.complete(asked())
                self.behave()
                return (await model.complete(asked())).text

        assert asyncio.run(go()) == answer_to(asked())

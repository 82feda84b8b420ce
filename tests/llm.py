"""What the tests of language-model minds share: requests, models in this process, a clock of their own, odd servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import simworld as sw
from simworld.mind.llm import CallFailed, Hold, Position, Reply, Request, Sampling, answer_schema


class Say(sw.Decision):
    """What to say."""

    text: str = sw.field(doc="What is said.")
    loud: bool = sw.field(False, doc="Whether it is shouted.")


def asked(
    agent: int = 0,
    *,
    step: int = 1,
    purpose: str = "Say",
    occurrence: int = 0,
    attempt: int = 0,
    model: str = "scripted",
    user: str | None = None,
    decision: type[sw.Decision] = Say,
    sampling: Sampling | None = None,
    seed: int = 7,
    replicate: str = "",
    system: str = "You are one of many people.",
) -> Request:
    """Return one call; what is not said is the same in all of them, but for the agent's own text."""
    schema = answer_schema(decision)
    messages = (
        ("system", f"{system}\n\nAnswer with one JSON object:\n{schema.text}"),
        ("user", f"You are agent {agent}. It is step {step}." if user is None else user),
    )
    position = Position(step, purpose, agent, occurrence, attempt)
    return Request(model, messages, position, schema, sampling or Sampling(0.5, 256), seed, replicate)


def echo(messages: Sequence[dict[str, str]]) -> str:
    """Answer what the user said last: a script for the model server, so that it shows whose answer this is."""
    return json.dumps({"text": messages[-1]["content"], "loud": False})


def echoed(request: Request) -> Reply:
    """Answer as `echo` does, for a model in this process."""
    text = echo([{"role": role, "content": text} for role, text in request.messages])
    return Reply(text, "stop", max(1, request.n_bytes // 4), max(1, len(text) // 4), served_by="scripted")


type Outcome = Reply | BaseException | str


class ScriptedModel:
    """A model in this process: says what its script says, however long that takes."""

    def __init__(
        self, script: Callable[[Request], Outcome] = echoed, *, seconds: Callable[[Request], float] | None = None
    ):
        """``script`` returns a reply, its text alone, or what is raised; ``seconds`` how long an answer takes."""
        self._script = script
        self._seconds = seconds
        self.asked: list[Request] = []
        self.times: list[float] = []
        """When, by the loop's clock, each was asked."""
        self.under_way = 0
        self.most_under_way = 0
        self.closed = 0

    async def complete(self, request: Request) -> Reply:
        """Answer by the script."""
        self.asked.append(request)
        self.times.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0.0 if self._seconds is None else self._seconds(request))
            outcome = self._script(request)
        finally:
            self.under_way -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return Reply(outcome, input_tokens=10, output_tokens=10) if isinstance(outcome, str) else outcome

    async def close(self) -> None:
        """Count how often it was closed."""
        self.closed += 1


def in_turn(*outcomes: Outcome) -> Callable[[Request], Outcome]:
    """Return a script that gives these outcomes one after the other, and the last one for ever."""
    left = list(outcomes)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def overloaded(after: float | None = None) -> CallFailed:
    """Return a 429."""
    return CallFailed("overloaded", "HTTP 429: slow down", retry_after_s=after, status=429)


class Pocket:
    """A purse in this process: what is written down before a sending, struck out, and lost."""

    def __init__(self) -> None:
        self.holds: list[Hold] = []
        """Every hold there ever was."""
        self.freed: list[Position] = []
        self.lost: list[tuple[str, float, int]] = []

    async def hold(self, request: Request, usd: float, tokens: int) -> None:
        """Write down what is about to be sent; others run meanwhile, as while a tape is written."""
        await asyncio.sleep(0)
        self.holds.append(Hold(request.position, request.model, usd, tokens))

    def free(self, request: Request) -> None:
        """Strike out what was written down."""
        self.freed.append(request.position)

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Write down what may be billed."""
        self.lost.append((model, usd, tokens))


# -- time -----------------------------------------------------------------------------------------------------------


class _Jump(selectors.SelectSelector):
    """Waits for nothing: where a loop would sleep, its clock is set forward."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found:
            if timeout is None:
                raise AssertionError("everybody waits for something that will never happen")
            # A microsecond at least, as of a real clock: a wait of less than its rounding would never end.
            self.now += max(timeout, 1e-6)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def at_once[T](work: Coroutine[Any, Any, T]) -> T:
    """Run work to its end on a clock that jumps: an hour takes no time, and nothing depends on this machine's speed."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)


def jumping(monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    """Have a module take its monotonic time from the loop that runs it."""
    clock = SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time())
    monkeypatch.setattr(module, "time", clock)


async def turns(n: int = 10) -> None:
    """Let everything that can go on do so."""
    for _ in range(n):
        await asyncio.sleep(0)


# -- servers that the model server cannot be ----------------------------------------------------------------------


@contextlib.asynccontextmanager
async def odd_server(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve raw HTTP answers on loopback, one a request, the last for ever; yield the address and what was sent."""
    left, got = list(answers), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                ),
                0,
            )
            got.append(head + await reader.readexactly(length))
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", got
    finally:
        server.close()
        await server.wait_closed()


def http(status: int, content: Any, **headers: str) -> bytes:
    """Return one raw HTTP answer that ends its connection."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n{more}\r\n".encode() + body


def completion(text: Any, *, beside: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a chat completion as a server sends it; ``beside`` is what else its message holds."""
    message = {"role": "assistant", "content": text, **(beside or {})}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice]}
    return {**whole, "usage": usage, **changes}

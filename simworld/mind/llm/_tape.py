"""The tape: every call by its position, so that what was paid for is never asked again and a run can be repeated."""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simworld.errors import TapeError
from simworld.mind.llm._ledger import Spent
from simworld.mind.llm._model import LanguageModel, Messages, Position, Reply, Request, Sampling


@dataclass(slots=True)
class Call:
    """One call that was answered."""

    position: Position
    model: str
    prompt: bytes
    """`Request.prompt` of what was said."""
    messages: Messages
    hashes: tuple[bytes, ...]
    sampling: Sampling
    seed: int
    reply: Reply
    is_earlier: bool = False
    """Whether it was made in the run that this one was forked from; it counts here when the same is asked."""


class Tally(NamedTuple):
    """How one model answered one decision in one step; the last four add up to ``asked``."""

    step: int
    model: str
    decision: str
    asked: int
    first_try: int
    """Usable at once."""
    repaired: int
    """Usable at once, when its JSON had been repaired."""
    again: int
    """Usable after the model was asked again."""
    refused: int
    """Not usable however often it was asked, or impossible."""


class Hold(NamedTuple):
    """A call that is about to be sent, and what it may take at most."""

    position: Position
    model: str
    usd: float
    tokens: int


class Tape(Protocol):
    """Where calls are kept."""

    def find(self, position: Position) -> Call | None:
        """Return the call that stands at a position."""
        ...

    def write(self, calls: Sequence[Call], holds: Sequence[Hold] = (), freed: Sequence[Position] = ()) -> None:
        """Keep calls and what is about to be sent; when it returns they survive the death of the process.

        A call strikes out the hold of its position, as ``freed`` does for calls without a reply. Holds that are left
        when the tape is opened again were sent by a process that died: they are lost money.
        """
        ...

    def count(self, tallies: Sequence[Tally]) -> None:
        """Keep how answers turned out; a second count of one step, model and decision adds to the first."""
        ...

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Keep what a sending without a reply may have cost."""
        ...

    def totals(self) -> Spent:
        """Return what all calls on it took."""
        ...


class MemoryTape:
    """A tape that lasts as long as its process: for a society outside a recorded run, and for tests."""

    def __init__(self) -> None:
        self.calls: dict[Position, Call] = {}
        self.tallies: list[Tally] = []
        self._lost: list[tuple[str, float, int]] = []

    def find(self, position: Position) -> Call | None:
        """Return the call that stands at a position."""
        return self.calls.get(position)

    def write(self, calls: Sequence[Call], holds: Sequence[Hold] = (), freed: Sequence[Position] = ()) -> None:
        """Keep calls."""
        self.calls.update((call.position, call) for call in calls)

    def count(self, tallies: Sequence[Tally]) -> None:
        """Keep how answers turned out."""
        self.tallies += tallies

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Keep what a sending without a reply may have cost."""
        self._lost.append((model, usd, tokens))

    def totals(self) -> Spent:
        """Return what all calls on it took."""
        replies = [call.reply for call in self.calls.values() if not call.reply.is_cached]
        return Spent(
            sum(r.usd or 0.0 for r in replies), sum(usd for _, usd, _ in self._lost), len(replies),
            sum(r.input_tokens for r in replies), sum(r.output_tokens for r in replies), sum(n for *_, n in self._lost),
        )  # fmt: skip


class TapeLog:
    """Writes what comes up in one turn of the event loop as one transaction; nobody goes on before it is kept."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._calls: list[Call] = []
        self._holds: list[Hold] = []
        self._freed: list[Position] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def put(self, request: Request, reply: Reply) -> None:
        """Keep one call; return when it is kept."""
        self._calls.append(
            Call(
                request.position, request.model, request.prompt, request.messages, request.hashes, request.sampling,
                request.seed, reply,
            )
        )  # fmt: skip
        await self._kept()

    async def hold(self, request: Request, usd: float, tokens: int) -> None:
        """Keep that a call is about to be sent; return when that is kept."""
        self._holds.append(Hold(request.position, request.model, usd, tokens))
        await self._kept()

    def free(self, request: Request) -> None:
        """Strike out a hold with the next transaction: no reply came."""
        self._freed.append(request.position)

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Keep what may have been billed beyond the replies that came."""
        self.tape.lose(model, usd, tokens)

    def flush(self) -> None:
        """Write what nobody waits for."""
        if self._freed:
            self._write()

    async def _kept(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._write)
        kept = loop.create_future()
        self._waiting.append(kept)
        await kept

    def _write(self) -> None:
        calls, holds, freed, waiting = self._calls, self._holds, self._freed, self._waiting
        self._calls, self._holds, self._freed, self._waiting = [], [], [], []
        failure: Exception | None = None
        try:
            self.tape.write(calls, holds, freed)
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits
            failure = error
        for kept in waiting:
            if kept.done():  # who waited was cancelled
                continue
            if failure is None:
                kept.set_result(None)
            else:
                kept.set_exception(failure)


class Taped:
    """A model whose calls are kept, and not made when the tape has their answer."""

    def __init__(self, inner: LanguageModel, log: TapeLog) -> None:
        self._inner = inner
        self._log = log

    async def complete(self, request: Request) -> Reply:
        """Return the reply on the tape if the same was asked at this position, else ask."""
        kept = self._log.tape.find(request.position)
        if kept is not None and (kept.prompt, kept.model) == (request.prompt, request.model):
            if kept.is_earlier:
                await self._log.put(request, dataclasses.replace(kept.reply, is_cached=True))
            return kept.reply
        reply = await self._inner.complete(request)
        await self._log.put(request, reply)
        return reply

    async def close(self) -> None:
        """Close what is behind."""
        await self._inner.close()


class TapeModel:
    """A model that only repeats what is on a tape: no server, no key, no network."""

    def __init__(self, log: TapeLog) -> None:
        self._log = log

    async def complete(self, request: Request) -> Reply:
        """Return the reply on the tape.

        Raises:
            TapeError: nothing stands at this position, or something else was asked there.
        """
        kept = self._log.tape.find(request.position)
        if kept is None:
            raise TapeError(f"the tape holds no answer at {request.position}: it was never asked there")
        if kept.model != request.model:
            raise TapeError(f"at {request.position} the tape has an answer of {kept.model!r}, not of {request.model!r}")
        if kept.prompt != request.prompt:
            raise TapeError(
                f"the prompt at {request.position} is not the one that was answered",
                difference(kept.messages, request.messages),
            )
        return kept.reply

    async def close(self) -> None:
        """There is nothing to close."""


def difference(then: Messages, now: Messages, before: str = "on the tape", after: str = "now") -> str:
    """Return what was said then beside what is said now, as a unified diff."""

    def lines(messages: Messages) -> list[str]:
        return [line for role, text in messages for line in (f"[{role}]", *text.splitlines())]

    return "\n".join(difflib.unified_diff(lines(then), lines(now), before, after, lineterm="", n=2))

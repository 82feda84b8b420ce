"""The tape: every call by its position, so that what was paid for is never asked again and a run can be repeated."""

from __future__ import annotations

import asyncio
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


class Tape(Protocol):
    """Where calls are kept."""

    def find(self, position: Position) -> Call | None:
        """Return the call that stands at a position."""
        ...

    def write(self, calls: Sequence[Call]) -> None:
        """Keep calls; when it returns they survive the death of the process."""
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

    def write(self, calls: Sequence[Call]) -> None:
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
        replies = [call.reply for call in self.calls.values()]
        return Spent(
            sum(r.usd or 0.0 for r in replies), sum(usd for _, usd, _ in self._lost), len(replies),
            sum(r.input_tokens for r in replies), sum(r.output_tokens for r in replies), sum(n for *_, n in self._lost),
        )  # fmt: skip


class TapeLog:
    """Writes what arrives in one turn of the event loop as one transaction; nobody uses an answer before it is kept."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._waiting: list[tuple[Call, asyncio.Future[None]]] = []

    async def put(self, request: Request, reply: Reply) -> None:
        """Keep one call; return when it is kept."""
        call = Call(
            request.position, request.model, request.prompt, request.messages, request.hashes, request.sampling,
            request.seed, reply,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        kept = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._write)
        self._waiting.append((call, kept))
        await kept

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        failure: Exception | None = None
        try:
            self.tape.write([call for call, _ in waiting])
        except Exception as error:  # noqa: BLE001 - handed to everybody who waits
            failure = error
        for _, kept in waiting:
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


def difference(then: Messages, now: Messages) -> str:
    """Return what was said then beside what is said now, as a unified diff."""

    def lines(messages: Messages) -> list[str]:
        return [line for role, text in messages for line in (f"[{role}]", *text.splitlines())]

    return "\n".join(difflib.unified_diff(lines(then), lines(now), "on the tape", "now", lineterm="", n=2))

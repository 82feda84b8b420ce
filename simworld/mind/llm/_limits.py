"""How much is asked of one server at once: an adapting limit, rates a minute, a circuit breaker; retries that stop."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simworld.errors import ModelError
from simworld.mind.llm._model import CallFailed, LanguageModel, Reply, Request, Stopped

STREAK, STREAK_AT_FIRST = 20, 5
"""Failures in a row, over all calls, after which a server is taken to be down; fewer while it has answered nothing yet.
Being told to wait is no failure. Arbitrary."""
PROBES, PROBES_AT_FIRST = 8, 3
"""Single calls that may fail, with growing pauses, before a server that is down ends the run: two minutes in all, time
for a restart; a few seconds for one that never answered. Arbitrary."""
LONGEST_WAIT_S = 120.0
"""Longest pause between two sendings, and the longest ``Retry-After`` that is waited for; arbitrary."""


class AdaptiveLimit:
    """How many calls may be under way at one server: additive increase, multiplicative decrease (Chiu and Jain 1989,
    doi:10.1016/0169-7552(89)90019-6), first come first served, with pauses the server asked for, and a circuit breaker.
    """

    def __init__(self, most: int, pause_s: float) -> None:
        """``most`` is where it starts and the highest it gets; ``pause_s`` the first pause of an open circuit."""
        self._most = most
        self._pause_s = pause_s
        self.limit = float(most)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused_until = 0.0
        self._last_cut = 0.0
        self._streak = 0
        self._probes = 0
        self._open_since: float | None = None
        """When the circuit opened, or its last probe failed."""
        self._broken: ModelError | None = None
        self._has_answered = False

    async def acquire(self) -> float:
        """Wait for a place; return when it was given.

        Raises:
            ModelError: the server is down.
        """
        if self._broken is not None:
            raise self._broken
        now = time.monotonic()
        if not self._waiting and self.under_way < int(self.limit) and now >= self._paused_until:
            self.under_way += 1
            return now
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._leave()
            raise
        return time.monotonic()

    def succeeded(self) -> None:
        """Give a place back after a reply."""
        self._streak = self._probes = 0
        self._open_since = None
        self._has_answered = True
        if self.limit < self._most:
            self.limit = min(self._most, self.limit + 1.0 / self.limit)
        self._leave()

    def failed(self, failure: CallFailed, since: float) -> None:
        """Give a place back after a call that had begun at ``since`` brought no reply."""
        self._streak += failure.kind != "overloaded"
        is_congestion = failure.kind in ("overloaded", "timeout")
        if is_congestion and since > self._last_cut:
            # What was under way before the cut says nothing about the limit after it.
            self.limit = max(1.0, self.limit / 2.0)
            self._last_cut = time.monotonic()
        if failure.retry_after_s is not None:
            self._pause(min(failure.retry_after_s, LONGEST_WAIT_S))
        if self._open_since is None and self._streak >= (STREAK if self._has_answered else STREAK_AT_FIRST):
            self._open()
        elif failure.kind == "overloaded":
            pass
        elif self._open_since is not None and since >= self._open_since:
            self._probe_failed(failure)
        self._leave()

    def gave_up(self) -> None:
        """Give a place back without having learned anything."""
        self._leave()

    def _open(self) -> None:
        """Let nobody in for a while, then one at a time: the server is taken to be down until one is answered."""
        self.limit = 1.0
        self._open_since = time.monotonic()
        self._pause(min(self._pause_s * 2.0**self._probes, LONGEST_WAIT_S))

    def _probe_failed(self, failure: CallFailed) -> None:
        self._probes += 1
        if self._probes < (PROBES if self._has_answered else PROBES_AT_FIRST):
            self._open()
            return
        self._broken = ModelError(f"the server answers nothing any more ({failure})")
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(self._broken)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        if until > self._paused_until:
            self._paused_until = until
            asyncio.get_running_loop().call_later(seconds + 0.001, self._let_in)

    def _leave(self) -> None:
        self.under_way -= 1
        self._let_in()

    def _let_in(self) -> None:
        if time.monotonic() < self._paused_until:
            return
        while self._waiting and self.under_way < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.under_way += 1
                place.set_result(None)


class Pace:
    """So many a minute at one server, evenly spaced, first come first served: no minute ever has more."""

    def __init__(self, per_minute: int) -> None:
        self.gap_s = 60.0 / per_minute
        self.next_s = 0.0

    async def wait(self, amount: float = 1.0) -> None:
        """Wait for one's turn; what comes next waits ``amount`` times as long as after one."""
        await in_turn((self, amount))


async def in_turn(*paces: tuple[Pace, float]) -> None:
    """Wait until it is one's turn at every pace, each for its amount; one start counts for all of them."""
    now = time.monotonic()
    start = max(now, *(pace.next_s for pace, _ in paces))
    for pace, amount in paces:
        pace.next_s = start + amount * pace.gap_s
    if start > now:
        await asyncio.sleep(start - now)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What all models of one server share."""

    limit: AdaptiveLimit
    requests: Pace | None = None
    tokens: Pace | None = None


class Limited:
    """A model behind the limits of its server."""

    def __init__(self, inner: LanguageModel, server: ServerLimits, stopped: Callable[[], bool] = lambda: False) -> None:
        self._inner = inner
        self._server = server
        self._stopped = stopped

    async def complete(self, request: Request) -> Reply:
        """Send one request when the limits allow it."""
        server, limit = self._server, self._server.limit
        since = await limit.acquire()
        try:
            tokens = request.n_bytes // 4 + request.sampling.max_tokens
            paces = [(pace, amount) for pace, amount in ((server.requests, 1.0), (server.tokens, tokens)) if pace]
            if paces:
                await in_turn(*paces)
                since = time.monotonic()
            if self._stopped():
                raise Stopped
            reply = await self._inner.complete(request)
        except CallFailed as failed:
            limit.failed(failed, since)
            raise
        except BaseException:
            limit.gave_up()
            raise
        limit.succeeded()
        return reply

    async def close(self) -> None:
        """Close what is behind."""
        await self._inner.close()


class Retrying:
    """Sends a request again while that may help: a bounded number of times, with growing pauses."""

    def __init__(
        self,
        inner: LanguageModel,
        *,
        retries: int,
        backoff_s: float,
        stopped: Callable[[], bool],
    ) -> None:
        """
        Args:
            inner: the model.
            retries: sendings after the first.
            backoff_s: pause before the second sending; it doubles each time.
            stopped: whether the run is ending, so that nothing is sent any more.
        """
        self._inner = inner
        self._retries = retries
        self._backoff_s = backoff_s
        self._stopped = stopped

    async def complete(self, request: Request) -> Reply:
        """Send one request until a reply comes.

        Raises:
            ModelError: none came, or none can.
        """
        for sent in range(self._retries + 1):
            try:
                reply = await self._inner.complete(request)
            except CallFailed as failed:
                if not failed.is_passing:
                    raise ModelError(f"model {request.model!r} cannot be asked: {failed}") from None
                wait = failed.retry_after_s
                if wait is not None and wait > LONGEST_WAIT_S:
                    raise ModelError(
                        f"model {request.model!r} asks to wait {wait:,.0f} s ({failed}); resume the run then"
                    ) from None
                if self._stopped():
                    raise Stopped from None
                if sent == self._retries:
                    raise ModelError(
                        f"model {request.model!r} did not answer {request.position}, sent {sent + 1} times; the last "
                        f"failure: {failed}"
                    ) from None
                # After Retry-After a little more, so that not all come back in the same instant.
                await asyncio.sleep((wait or 0.0) + self._pause_s(request, sent))
                continue
            reply.retries = sent
            return reply
        raise AssertionError("unreachable")

    def _pause_s(self, request: Request, sent: int) -> float:
        """Return half to all of the doubled pause, by the request and not by chance, so that nothing draws."""
        spread = hashlib.blake2b(f"{request.position!r} {sent}".encode(), digest_size=2).digest()
        share = 0.5 + int.from_bytes(spread, "little") / 2**17
        return min(self._backoff_s * 2.0**sent, LONGEST_WAIT_S) * share

    async def close(self) -> None:
        """Close what is behind."""
        await self._inner.close()

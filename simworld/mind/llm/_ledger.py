"""What was spent, and the hard limits on it: nothing is sent whose worst case would exceed them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from simworld.errors import BudgetSpent
from simworld.mind.llm._litellm import Price
from simworld.mind.llm._model import CallFailed, LanguageModel, Reply, Request


class Spent(NamedTuple):
    """What a tape holds in all."""

    usd: float = 0.0
    lost_usd: float = 0.0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    lost_tokens: int = 0


@dataclass
class Ledger:
    """Calls, tokens and money of one run; what earlier sessions of it spent is in it."""

    budget_usd: float | None = None
    max_tokens_total: int | None = None
    """Input and output tokens together."""
    usd: float = 0.0
    """Spent on calls that were answered."""
    lost_usd: float = 0.0
    """At most spent on sendings that brought no reply and may have been billed; counted against the budget."""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    lost_tokens: int = 0
    under_way: int = 0
    n_unpriced: int = 0
    """Calls whose price is unknown."""
    listener: Callable[[], None] | None = None
    """Called whenever a number changed, from the thread of the calls; must be quick."""
    _held_usd: float = 0.0
    _held_tokens: int = 0
    _changed: asyncio.Event | None = None

    @property
    def tokens(self) -> int:
        """All tokens that count against ``max_tokens_total``."""
        return self.input_tokens + self.output_tokens + self.lost_tokens

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit to hold to."""
        return self.budget_usd is not None or self.max_tokens_total is not None

    async def hold(self, usd: float, tokens: int) -> None:
        """Set the worst case of a call aside, waiting for calls under way when only their worst case stands against it.

        Raises:
            BudgetSpent: it would exceed a limit.
        """
        while (over := self._over(usd, tokens)) is not None:
            if not self.under_way:
                raise BudgetSpent(over)
            if self._changed is None:
                self._changed = asyncio.Event()
            await self._changed.wait()
        self._held_usd += usd
        self._held_tokens += tokens
        self.under_way += 1

    def _over(self, usd: float, tokens: int) -> str | None:
        spent = self.usd + self.lost_usd
        if self.budget_usd is not None and spent + self._held_usd + usd > self.budget_usd:
            return f"the next call may cost ${usd:.4f}; ${spent:.4f} of the budget of ${self.budget_usd:g} are spent"
        if self.max_tokens_total is not None and self.tokens + self._held_tokens + tokens > self.max_tokens_total:
            return f"the next call may take {tokens:,} tokens; {self.tokens:,} of {self.max_tokens_total:,} are spent"
        return None

    def release(self, usd: float, tokens: int) -> None:
        """Give back what was set aside."""
        self._held_usd -= usd
        self._held_tokens -= tokens
        self.under_way -= 1
        if not self.under_way:
            self._held_usd, self._held_tokens = 0.0, 0  # no rounding error outlives the calls
        if self._changed is not None:
            self._changed.set()
            self._changed = None
        if self.listener is not None:
            self.listener()

    def carry(self, spent: Spent) -> None:
        """Enter what earlier sessions of the run spent."""
        self.usd, self.lost_usd, self.calls, self.input_tokens, self.output_tokens, self.lost_tokens = spent

    def lose(self, usd: float, tokens: int) -> None:
        """Enter the worst case of a sending that brought no reply and may be billed."""
        self.lost_usd += usd
        self.lost_tokens += tokens

    def enter(self, reply: Reply) -> None:
        """Enter a call that was answered."""
        self.calls += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        if reply.usd is None:
            self.n_unpriced += 1
        else:
            self.usd += reply.usd


class Purse(Protocol):
    """Where money is written down, so that it is not forgotten when the process dies."""

    async def hold(self, request: Request, usd: float, tokens: int) -> None:
        """Write down that a call is about to be sent, and its worst case."""
        ...

    def free(self, request: Request) -> None:
        """Strike out what was written by `hold`: no reply came."""
        ...

    def lose(self, model: str, usd: float, tokens: int) -> None:
        """Write down what may have been billed beyond the replies that came."""
        ...


class Budgeted:
    """A model whose sendings are entered in the ledger, and not made when a limit could be exceeded."""

    def __init__(
        self,
        inner: LanguageModel,
        ledger: Ledger,
        price: Price | None,
        purse: Purse,
        sending: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """
        Args:
            inner: the model.
            ledger: where its calls are entered.
            price: its price; None when unknown.
            purse: where they are written down.
            sending: entered while a call is under way, when it must not be cut off.
        """
        self._inner = inner
        self._ledger = ledger
        self._price = price
        self._purse = purse
        self._sending = sending

    async def complete(self, request: Request) -> Reply:
        """Send one request if its worst case fits.

        Raises:
            BudgetSpent: it does not.
        """
        ledger = self._ledger
        # No tokenizer needs more tokens than there are bytes; 64 a message for what a chat template adds.
        said, wrote = request.n_bytes + 64 * len(request.messages), request.sampling.max_tokens
        usd, tokens = self._price.of(said, wrote) if self._price else 0.0, said + wrote
        await ledger.hold(usd, tokens)
        was_sent = False
        try:
            if ledger.is_limited:
                await self._purse.hold(request, usd, tokens)
            was_sent = True
            with self._sending():
                reply = await self._inner.complete(request)
        except BaseException as failed:
            if ledger.is_limited:
                self._purse.free(request)
            # Cut off by us, the server may go on; the worst case is entered.
            if was_sent and (not isinstance(failed, CallFailed) or failed.may_be_billed):
                self._lose(request, usd, tokens)
            raise
        else:
            if self._price is not None:
                reply.usd = self._price.of(reply.input_tokens, reply.output_tokens)
            ledger.enter(reply)
            if not reply.is_counted:  # it may have been more than the estimate
                taken = reply.input_tokens + reply.output_tokens
                self._lose(request, max(0.0, usd - (reply.usd or 0.0)), max(0, tokens - taken))
            return reply
        finally:
            ledger.release(usd, tokens)

    def _lose(self, request: Request, usd: float, tokens: int) -> None:
        self._ledger.lose(usd, tokens)
        self._purse.lose(request.model, usd, tokens)

    async def close(self) -> None:
        """Close what is behind."""
        await self._inner.close()

"""The switchboard of one run: one event loop, one chain of wrappers a model, one ledger, one tape."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from simworld.errors import ParameterError
from simworld.mind.llm._cache import Cache, Cached
from simworld.mind.llm._compatible import CompatibleModel
from simworld.mind.llm._ledger import Budgeted, Ledger
from simworld.mind.llm._limits import AdaptiveLimit, Limited, Pace, Retrying, ServerLimits
from simworld.mind.llm._litellm import LiteLLMModel, Price, check_model, price_of
from simworld.mind.llm._model import LanguageModel, Reply, Request, writable
from simworld.mind.llm._secrets import learn_secrets, without_credentials
from simworld.mind.llm._service import Service
from simworld.mind.llm._tape import MemoryTape, Tape, Taped, TapeLog, TapeModel

LOCAL = "local/"
"""Begins the name of a model on a server of one's own, reached by the lean client."""
HUMAN = "human"

type Speak = Callable[[Request], str]
"""Shows a person what is asked and returns what they answer."""


class Switchboard:
    """Connects minds with models. Coroutines run on its own loop, in one thread; a person speaks in the caller's."""

    def __init__(
        self,
        service: Service | None = None,
        *,
        speak: Speak | None = None,
        only_tape: bool = False,
        is_waiting: bool = False,
    ) -> None:
        """
        Args:
            service: how models are reached.
            speak: how a person is asked; by default in the terminal.
            only_tape: whether nothing but the tape may answer.
            is_waiting: whether a tape is still to come (`keep`), and nothing may be asked before.
        """
        self.service = service or Service()
        self.only_tape = only_tape
        self.ledger = Ledger(self.service.budget_usd, self.service.max_tokens_total)
        self.log = TapeLog(MemoryTape())
        self.stopped = False
        """Whether something ended the run: nothing more is sent."""
        self.failure: BaseException | None = None
        """What ended it; None when it was asked to stop."""
        self.asking: set[asyncio.Task[Any]] = set()
        """Tasks that ask for an agent."""
        self._sending: set[asyncio.Task[Any] | None] = set()
        """Those of them whose call is under way at a server."""
        self.is_waiting = is_waiting
        """Whether the run's tape is still to come, so that nothing may be asked yet."""
        self._speak = speak
        self._models: dict[str, LanguageModel] = {}
        self._prices: dict[str, Price | None] = {}
        self._servers: dict[str, ServerLimits] = {}
        self._cache: Cache | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        learn_secrets(self.service.api_base.values())

    def keep(self, tape: Tape) -> None:
        """Keep every call from now on, and look there before asking; what is on it was spent."""
        self.log.tape = tape
        self.is_waiting = False
        self.ledger.carry(tape.totals())

    # -- models ---------------------------------------------------------------------------------------------------

    def check(self, names: list[str]) -> None:
        """Look whether these models can be used, before anything is written or spent.

        Raises:
            ParameterError: one cannot, or its price is unknown while there is a budget.
        """
        if self.only_tape:
            return
        service = self.service
        for base in service.api_base.values():
            _check_address(base)
        asked = [name for name in names if name != HUMAN]
        for name in {*service.api_base, *service.prices} - {"", *asked}:
            raise ParameterError(f"an address or a price is given for {name!r}, which no agent has; models: {asked}")
        for name in asked:
            base = self._base(name, asked) or ""
            if not name.startswith(LOCAL):
                check_model(name, has_base=bool(base))
            elif name == LOCAL:
                raise ParameterError(f"model {name!r} has no name; write {LOCAL}NAME, as its server calls it")
            elif not base:
                raise ParameterError(
                    f"model {name!r} needs the address of its server: --api-base http://127.0.0.1:8000/v1 "
                    "(simworld doctor shows what answers here)"
                )
            if service.budget_usd is not None and self.price(name) is None:
                raise ParameterError(
                    f"the price of {name!r} is unknown, so a budget in dollars cannot hold; give --price {name}=IN,OUT "
                    "in dollars a million tokens (0,0 for a machine of your own), or limit --max-tokens-total"
                )

    def price(self, name: str) -> Price | None:
        """Return a model's price, or None where it is unknown."""
        if name not in self._prices:
            said = self.service.prices.get(name)
            if said is not None:
                self._prices[name] = Price(said[0] / 1e6, said[1] / 1e6)
            else:
                self._prices[name] = None if name.startswith(LOCAL) or name == HUMAN else price_of(name)
        return self._prices[name]

    def _base(self, name: str, names: list[str]) -> str | None:
        bases = self.service.api_base
        if name in bases:
            return bases[name]
        is_meant = name.startswith(LOCAL) or not any(n.startswith(LOCAL) for n in names)
        return bases.get("") if is_meant else None

    def has(self, name: str) -> bool:
        """Whether this model is connected."""
        return name in self._models

    def connect(self, name: str, names: list[str]) -> LanguageModel:
        """Return the model of this name, the same one every time; ``names`` are all models of the run."""
        if name not in self._models:
            self._models[name] = self._chain(name, names)
        return self._models[name]

    def _chain(self, name: str, names: list[str]) -> LanguageModel:
        if self.only_tape:
            return TapeModel(self.log)
        if name == HUMAN:
            return Taped(_Person(self), self.log)
        service, base = self.service, self._base(name, names)
        client: LanguageModel
        if name.startswith(LOCAL):
            client = CompatibleModel(name.removeprefix(LOCAL), base or "", service.timeout_s)
        else:
            client = LiteLLMModel(name, base, service.timeout_s)
        budgeted = Budgeted(client, self.ledger, self.price(name), self.log, self._uncut)
        limited = Limited(budgeted, self._server(base or name), lambda: self.stopped)
        asked: LanguageModel = Retrying(
            limited, retries=service.retries, backoff_s=service.backoff_s, stopped=lambda: self.stopped
        )
        if service.cache is not None:
            asked = Cached(asked, self._open_cache, without_credentials(base) if base else "")
        return Taped(asked, self.log)

    def _server(self, address: str) -> ServerLimits:
        if address not in self._servers:
            service = self.service
            requests, tokens = service.requests_per_minute, service.tokens_per_minute
            self._servers[address] = ServerLimits(
                AdaptiveLimit(service.concurrency, max(service.backoff_s, 0.01)),
                None if requests is None else Pace(requests),
                None if tokens is None else Pace(tokens),
            )
        return self._servers[address]

    def _open_cache(self) -> Cache:
        if self._cache is None:
            self._cache = Cache(Path(self.service.cache or ""))
        return self._cache

    @contextmanager
    def _uncut(self) -> Iterator[None]:
        task = asyncio.current_task()
        self._sending.add(task)
        try:
            yield
        finally:
            self._sending.discard(task)

    def stop(self, failure: BaseException | None = None) -> None:
        """Send nothing more: end every wait; calls under way finish, for they are paid for. On the loop's thread."""
        if not self.stopped:
            self.failure = failure
        self.stopped = True
        for task in self.asking - self._sending - {asyncio.current_task()}:
            task.cancel()

    def stop_soon(self) -> None:
        """Have `stop` done, from any thread or a signal's handler."""
        self.stopped = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)

    def person(self, request: Request) -> str:
        """Ask the person at the terminal; called in the thread that waits."""
        if self._speak is not None:
            return self._speak(request)
        print("\n\n".join(text for _, text in request.messages))  # noqa: T201 - this is the conversation
        return input("answer> ")

    # -- running --------------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Begin some work on the loop."""
        if self._loop is None:
            # What is there stays until the end: looking through it for garbage again and again costs a tenth of a call.
            gc.freeze()
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, name="simworld-models", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        assert self._loop is not None
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def wait(self, future: Future[Any]) -> Any:
        """Wait for some work, doing meanwhile what must be done in this thread."""
        future.add_done_callback(lambda _: self._jobs.put(None))
        try:
            while not future.done():
                job = self._jobs.get()
                if job is not None:
                    job()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def here(self, work: Callable[[], str]) -> str:
        """Have something done in the thread that waits."""
        done: Future[str] = Future()

        def job() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 - handed to the coroutine that asked
                done.set_exception(error)

        self._jobs.put(job)
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Stop what is under way, close every connection, end the loop."""
        self.stopped = True
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            self._loop = self._thread = None
            gc.unfreeze()
        if self._cache is not None:
            self._cache.close()
            self._cache = None
        self._models.clear()

    async def _end(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.log.flush()
        for model in self._models.values():
            await model.close()
        await asyncio.sleep(0)  # lets transports close


def _check_address(base: str) -> None:
    try:
        parts = urlsplit(base)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, is_right = None, False
    if not is_right or parts is None or parts.query or parts.fragment:
        raise ParameterError(
            f"--api-base {without_credentials(base)!r} is no address of a server; give http://HOST:PORT/v1, "
            "without a query"
        )


class _Person:
    """The person at the terminal, as a model like any other."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board

    async def complete(self, request: Request) -> Reply:
        """Return what the person answers; nothing at the end of the input."""
        try:
            said = await self._board.here(lambda: self._board.person(request))
            return Reply(writable(said), served_by=HUMAN)
        except EOFError:
            return Reply("", served_by=HUMAN)

    async def close(self) -> None:
        """There is nothing to close."""

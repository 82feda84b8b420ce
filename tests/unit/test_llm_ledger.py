"""The budget: nothing is sent whose worst case would exceed it, whoever asks at once and whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import simworld.mind.llm._limits as limits
from simworld.errors import BudgetSpent, ModelError, StorageError
from simworld.mind.llm import (
    MAX_REPLY_CHARS,
    AdaptiveLimit,
    Budgeted,
    CallFailed,
    LanguageModel,
    Ledger,
    Limited,
    MemoryTape,
    Price,
    Purse,
    Reply,
    Request,
    Retrying,
    Sampling,
    Service,
    Spent,
    Switchboard,
    Taped,
    TapeLog,
)
from simworld.mind.llm._limits import ServerLimits
from simworld.mind.llm._model import MOST_TOKENS, replied
from tests.llm import Pocket, ScriptedModel, asked, at_once, in_turn, jumping, overloaded, turns

PRICE = Price(0.000_01, 0.000_03)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    jumping(monkeypatch, limits)


def worst(request: Request, price: Price = PRICE) -> tuple[float, int]:
    """Return the most that one sending can cost: no tokenizer needs more tokens than there are bytes."""
    said, wrote = request.n_bytes + 64 * len(request.messages), request.sampling.max_tokens
    return price.of(said, wrote), said + wrote


def counted(said: int, wrote: int, text: str = "hm") -> Reply:
    return Reply(text, "stop", said, wrote)


def chain(
    inner: LanguageModel,
    ledger: Ledger,
    price: Price | None = PRICE,
    *,
    retries: int = 0,
    backoff_s: float = 0.1,
    most: int = 1000,
    purse: Purse | None = None,
    stopped: Callable[[], bool] = lambda: False,
    sending: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Retrying:
    """Return the wrappers of a run: retries around limits around a budget that is held for each sending."""
    budgeted = Budgeted(inner, ledger, price, purse or Pocket(), sending)
    limited = Limited(budgeted, ServerLimits(AdaptiveLimit(most, 0.01)), stopped)
    return Retrying(limited, retries=retries, backoff_s=backoff_s, stopped=stopped)


async def everybody(model: LanguageModel, asks: list[Request]) -> list[Any]:
    return await asyncio.gather(*(model.complete(ask) for ask in asks), return_exceptions=True)


# -- what is entered ------------------------------------------------------------------------------------------------


def test_a_call_is_entered_with_what_it_took() -> None:
    ledger = Ledger()
    model = chain(ScriptedModel(lambda request: counted(100, 10)), ledger)
    reply = at_once(model.complete(asked()))
    assert reply.usd == pytest.approx(100 * 0.000_01 + 10 * 0.000_03)
    assert ledger.usd == pytest.approx(reply.usd)
    assert (ledger.calls, ledger.input_tokens, ledger.output_tokens, ledger.tokens) == (1, 100, 10, 110)
    assert (ledger.under_way, ledger.lost_usd, ledger.lost_tokens, ledger.n_unpriced) == (0, 0.0, 0, 0)


def test_a_price_of_nothing_is_a_price() -> None:
    ledger = Ledger(budget_usd=0.0)
    reply = at_once(chain(ScriptedModel(), ledger, Price(0.0, 0.0)).complete(asked()))
    assert (reply.usd, ledger.n_unpriced) == (0.0, 0)


def test_an_unknown_price_is_said_to_be_unknown() -> None:
    ledger = Ledger()
    reply = at_once(chain(ScriptedModel(), ledger, None).complete(asked()))
    assert (reply.usd, ledger.usd, ledger.calls, ledger.n_unpriced) == (None, 0.0, 1, 1)


def test_sendings_that_cost_nothing_are_not_entered() -> None:
    ledger = Ledger()
    outcomes = [CallFailed("server", "500"), CallFailed("overloaded", "429"), counted(5, 5)]
    reply = at_once(chain(ScriptedModel(lambda request: outcomes.pop(0)), ledger, retries=5).complete(asked()))
    assert (reply.retries, ledger.calls, ledger.lost_usd, ledger.lost_tokens, ledger.tokens) == (2, 1, 0.0, 0, 10)
    assert ledger.usd == pytest.approx(PRICE.of(5, 5))


def test_what_is_lost_is_entered_apart() -> None:
    ledger = Ledger()
    ledger.lose(0.25, 100)
    ledger.lose(0.5, 11)
    assert (ledger.lost_usd, ledger.lost_tokens, ledger.tokens) == (0.75, 111, 111)
    assert (ledger.usd, ledger.calls, ledger.under_way, ledger.n_unpriced) == (0.0, 0, 0, 0)


KINDS = [
    (CallFailed("timeout", "late"), True), (CallFailed("connection", "reset"), True),
    (CallFailed("connection", "nobody listens", was_sent=False), False), (CallFailed("server", "500"), False),
    (overloaded(), False), (CallFailed("server", "500", status=500), False),
    (CallFailed("server", "503", status=503), False),
    (CallFailed("server", "no chat completion", status=200), True), (CallFailed("server", "502", status=502), True),
    (CallFailed("server", "504", status=504), True),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "is_lost"), KINDS)
def test_what_may_be_billed_is_entered_each_time(failure: CallFailed, is_lost: bool) -> None:
    usd, tokens = worst(asked(2))

    def after(script: Any, retries: int) -> tuple[Ledger, list[tuple[str, float, int]]]:
        ledger, purse = Ledger(), Pocket()
        told = purse.lost
        model = chain(ScriptedModel(script), ledger, retries=retries, purse=purse)
        at_once(everybody(model, [asked(2)]))
        assert (ledger.lost_usd, ledger.lost_tokens) == (
            pytest.approx(sum(t[1] for t in told)),
            sum(t[2] for t in told),
        )
        assert ledger.under_way == 0
        return ledger, told

    ledger, told = after(in_turn(failure, failure, counted(5, 5)), 4)
    assert told == [("scripted", usd, tokens)] * (2 if is_lost else 0)
    assert ledger.calls == 1
    ledger, told = after(in_turn(failure), 2)
    assert told == [("scripted", usd, tokens)] * (3 if is_lost else 0)
    assert ledger.calls == 0


def test_a_call_that_is_wrong_itself_is_not_billed() -> None:
    ledger, purse = Ledger(), Pocket()
    wrong = CallFailed("wrong", "HTTP 401: no such key", status=401)
    with pytest.raises(ModelError, match="no such key"):
        at_once(chain(ScriptedModel(in_turn(wrong)), ledger, purse=purse).complete(asked()))
    assert (purse.lost, ledger.lost_usd, ledger.lost_tokens) == ([], 0.0, 0)


def test_an_error_nobody_foresaw_may_be_billed() -> None:
    """Nobody knows how far the sending had got."""
    ledger, purse = Ledger(), Pocket()
    model = chain(ScriptedModel(in_turn(ZeroDivisionError())), ledger, purse=purse, retries=3)
    with pytest.raises(ZeroDivisionError):
        at_once(model.complete(asked()))
    usd, tokens = worst(asked())
    assert purse.lost == [("scripted", usd, tokens)]
    assert (ledger.lost_usd, ledger.lost_tokens, ledger.under_way) == (usd, tokens, 0)


def test_without_a_price_the_tokens_are_lost_all_the_same() -> None:
    ledger, purse = Ledger(), Pocket()
    script = in_turn(CallFailed("timeout", "late"), counted(5, 5))
    model = chain(ScriptedModel(script), ledger, None, purse=purse, retries=1)
    at_once(model.complete(asked()))
    tokens = worst(asked())[1]
    assert purse.lost == [("scripted", 0.0, tokens)]
    assert (ledger.lost_usd, ledger.lost_tokens) == (0.0, tokens)


def test_it_is_lost_before_anybody_else_may_hold_it() -> None:
    """Between giving back what was set aside and entering it as lost, nobody slips in."""

    async def go() -> None:
        usd, _ = worst(asked())
        ledger = Ledger(budget_usd=usd * 1.5)
        late = CallFailed("timeout", "late")
        inner = ScriptedModel(lambda request: late, seconds=lambda request: 1.0)
        found = await everybody(chain(inner, ledger), [asked(i) for i in range(5)])
        assert len(inner.asked) == 1
        assert [type(each) for each in found] == [ModelError, *[BudgetSpent] * 4]
        assert ledger.lost_usd == pytest.approx(usd)

    at_once(go())


def test_a_sending_without_a_reply_that_may_be_billed_is_entered_at_its_worst() -> None:
    ledger = Ledger()
    outcomes = [CallFailed("timeout", "late"), CallFailed("connection", "reset"), counted(5, 5)]
    at_once(chain(ScriptedModel(lambda request: outcomes.pop(0)), ledger, retries=5).complete(asked()))
    usd, tokens = worst(asked())
    assert ledger.lost_usd == pytest.approx(2 * usd)
    assert ledger.lost_tokens == 2 * tokens
    assert ledger.tokens == 10 + 2 * tokens


def test_a_call_that_failed_for_good_gives_back_what_was_set_aside() -> None:
    async def go() -> None:
        usd, tokens = worst(asked())
        ledger = Ledger(budget_usd=usd * 1.5, max_tokens_total=int(tokens * 1.5))
        for failure in (CallFailed("wrong", "401"), CallFailed("server", "500"), overloaded()):
            with pytest.raises(ModelError):
                await chain(ScriptedModel(lambda request, failure=failure: failure), ledger).complete(asked())
            assert (ledger.under_way, ledger._held_usd, ledger._held_tokens) == (0, 0.0, 0)
        assert await chain(ScriptedModel(), ledger).complete(asked())

    at_once(go())


def test_what_earlier_sessions_spent_counts() -> None:
    usd, tokens = worst(asked())
    for spent in (Spent(usd=usd), Spent(lost_usd=usd), Spent(input_tokens=tokens), Spent(lost_tokens=tokens)):
        ledger = Ledger(budget_usd=usd * 1.5, max_tokens_total=int(tokens * 1.5))
        ledger.carry(spent)
        with pytest.raises(BudgetSpent):
            at_once(chain(ScriptedModel(), ledger).complete(asked()))


def test_the_tape_and_the_ledger_agree() -> None:
    async def go() -> None:
        ledger, tape = Ledger(), MemoryTape()
        outcomes = {i: [CallFailed("timeout", "late")] * (i % 3) + [counted(50 + i, i + 1)] for i in range(30)}
        inner = ScriptedModel(lambda request: outcomes[request.position.agent].pop(0))
        model = Taped(chain(inner, ledger, retries=5, most=8, purse=TapeLog(tape)), TapeLog(tape))
        found = await everybody(model, [asked(i) for i in range(30)])
        assert all(isinstance(each, Reply) for each in found)
        spent = tape.totals()
        assert (spent.calls, spent.lost_tokens > 0) == (30, True)
        assert spent.usd == pytest.approx(ledger.usd)
        assert spent.lost_usd == pytest.approx(ledger.lost_usd)
        assert spent[2:] == (ledger.calls, ledger.input_tokens, ledger.output_tokens, ledger.lost_tokens)
        again = Ledger()
        again.carry(spent)
        assert again.tokens == ledger.tokens

    at_once(go())


def test_the_listener_hears_of_every_change() -> None:
    heard: list[int] = []
    ledger = Ledger()
    ledger.listener = lambda: heard.append(ledger.calls)
    at_once(everybody(chain(ScriptedModel(), ledger), [asked(i) for i in range(5)]))
    assert heard[-1] == 5
    assert len(heard) >= 5


# -- the limits are hard --------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_not_sent() -> None:
    usd, tokens = worst(asked())
    for ledger in (Ledger(budget_usd=usd * 0.99), Ledger(max_tokens_total=tokens - 1), Ledger(0.0), Ledger(None, 0)):
        inner = ScriptedModel()
        with pytest.raises(BudgetSpent):
            at_once(chain(inner, ledger).complete(asked()))
        assert not inner.asked
        assert ledger.under_way == 0
    for ledger in (Ledger(budget_usd=usd), Ledger(max_tokens_total=tokens)):
        assert at_once(chain(ScriptedModel(), ledger).complete(asked()))


def test_the_message_says_what_is_spent_and_what_the_next_call_may_take() -> None:
    ledger = Ledger(budget_usd=2.0)
    ledger.carry(Spent(usd=1.9995))
    with pytest.raises(BudgetSpent, match=r"next call may cost .*\$0\.\d+.*\$1\.9995.*\$2"):
        at_once(chain(ScriptedModel(), ledger).complete(asked()))
    ledger = Ledger(max_tokens_total=1_000)
    ledger.carry(Spent(input_tokens=900, output_tokens=90))
    with pytest.raises(BudgetSpent, match=r"next call may take .*\d{3} tokens.*990.*1,000"):
        at_once(chain(ScriptedModel(), ledger).complete(asked()))


def test_it_waits_for_calls_under_way_rather_than_stop_early() -> None:
    """Ten calls fit by what they take, two by their worst case: they go one after the other."""
    usd, _ = worst(asked())
    cheap = counted(10, 1)
    ledger = Ledger(budget_usd=usd * 2 + PRICE.of(10, 1) * 10)
    inner = ScriptedModel(lambda request: cheap, seconds=lambda request: 1.0)
    found = at_once(everybody(chain(inner, ledger), [asked(i) for i in range(10)]))
    assert all(isinstance(each, Reply) for each in found), found
    assert inner.most_under_way == 2


def test_with_nothing_under_way_it_does_not_wait() -> None:
    async def go() -> None:
        usd, _ = worst(asked())
        inner = ScriptedModel(lambda request: counted(200, 100), seconds=lambda request: 1.0)
        ledger = Ledger(budget_usd=usd * 1.2)
        found = await everybody(chain(inner, ledger), [asked(i) for i in range(5)])
        kinds = [type(each) for each in found]
        assert kinds.count(Reply) == len(inner.asked) >= 1
        assert kinds.count(BudgetSpent) == 5 - len(inner.asked)
        assert ledger.under_way == 0

    at_once(go())


def test_who_is_cancelled_while_waiting_holds_nothing() -> None:
    async def go() -> None:
        usd, _ = worst(asked())
        ledger = Ledger(budget_usd=usd * 1.5)
        model = chain(ScriptedModel(lambda request: counted(1, 1), seconds=lambda request: 1.0), ledger)
        tasks = [asyncio.create_task(model.complete(asked(i))) for i in range(4)]
        await turns()
        tasks[1].cancel()
        tasks[2].cancel()
        assert isinstance(await tasks[3], Reply)
        assert isinstance(await tasks[0], Reply)
        assert (ledger.under_way, ledger.calls, ledger.lost_usd, ledger.lost_tokens) == (0, 2, 0.0, 0)

    at_once(go())


@pytest.mark.parametrize(("room", "expected"), [(1.5, [BudgetSpent, BudgetSpent]), (2.5, [Reply, Reply])])
def test_who_is_cancelled_under_way_wakes_who_waits(room: float, expected: list[type]) -> None:
    """What was cancelled is lost; who waited for it is told so, or waits for what else is under way."""

    async def go() -> None:
        usd, _ = worst(asked())
        ledger = Ledger(budget_usd=usd * room)
        inner = ScriptedModel(lambda request: counted(1, 1), seconds=lambda request: 1.0)
        model = chain(inner, ledger)
        tasks = [asyncio.create_task(model.complete(asked(i))) for i in range(3)]
        await turns()
        assert len(inner.asked) == int(room)
        tasks[0].cancel()
        first, *others = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert [type(each) for each in others] == expected
        assert ledger.lost_usd == pytest.approx(usd)
        assert (ledger.under_way, ledger._held_usd, ledger._held_tokens) == (0, 0.0, 0)

    at_once(go())


def test_a_call_that_is_cancelled_under_way_may_be_billed_too() -> None:
    """Ctrl-C in mid-step: the server goes on with what it was sent, and the bill comes."""

    async def go() -> None:
        ledger, tape = Ledger(), MemoryTape()
        inner = ScriptedModel(seconds=lambda request: 9.0)
        model = chain(inner, ledger, most=2, purse=TapeLog(tape))
        tasks = [asyncio.create_task(model.complete(asked(i))) for i in range(5)]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in found)
        assert (ledger.under_way, len(inner.asked)) == (0, 2)
        usd, tokens = worst(asked())
        assert ledger.lost_usd == pytest.approx(2 * usd), "what was only waiting was not sent"
        assert ledger.lost_tokens == tape.totals().lost_tokens == 2 * tokens

    at_once(go())


def test_nothing_is_set_aside_for_who_waits_for_a_place_or_pauses() -> None:
    """The worst case is held for each sending while it is under way, and not for the minutes between two of them."""

    async def go() -> None:
        usd, tokens = worst(asked())
        ledger = Ledger(budget_usd=usd * 3, max_tokens_total=tokens * 3)
        held: list[tuple[int, int]] = []
        left = [overloaded()] * 20

        def script(request: Request) -> Reply | CallFailed:
            held.append((ledger.under_way, ledger._held_tokens))
            return left.pop() if left else counted(1, 1)

        inner = ScriptedModel(script, seconds=lambda request: 1.0)
        found = await everybody(chain(inner, ledger, retries=20, most=1), [asked(i) for i in range(10)])
        assert all(isinstance(each, Reply) for each in found), found
        assert held == [(1, tokens)] * 30
        assert (ledger.under_way, ledger._held_usd, ledger._held_tokens) == (0, 0.0, 0)

    at_once(go())


def test_who_pauses_is_in_nobodys_way() -> None:
    """One call waits a minute to be sent again; the budget has room for one, and another one takes it meanwhile."""

    async def go() -> None:
        began = asyncio.get_running_loop().time()
        usd, _ = worst(asked())
        ledger = Ledger(budget_usd=usd * 1.5)
        broken = CallFailed("server", "500")
        script = in_turn(broken, counted(1, 1))
        model = chain(ScriptedModel(script), ledger, retries=1, backoff_s=60.0)
        first = asyncio.create_task(model.complete(asked(1)))
        await asyncio.sleep(1)
        assert (ledger.under_way, first.done()) == (0, False)
        assert isinstance(await model.complete(asked(2)), Reply)
        assert asyncio.get_running_loop().time() - began < 2
        assert (await first).retries == 1

    at_once(go())


def test_who_waits_for_the_budget_is_not_sent_when_the_run_has_ended() -> None:
    """Waiting for the others' worst case is waiting too: nothing is sent, and paid, after something ended the run."""

    async def go() -> None:
        usd, _ = worst(asked())
        board, ledger = Switchboard(), Ledger(budget_usd=usd * 1.5)
        inner = ScriptedModel(lambda request: counted(1, 1), seconds=lambda request: 1.0)
        model = chain(inner, ledger, stopped=lambda: board.stopped, sending=board._uncut)
        tasks = [asyncio.create_task(model.complete(asked(i))) for i in range(3)]
        board.asking.update(tasks)
        await asyncio.sleep(0.5)
        board.stop()
        await turns()
        assert [task.done() for task in tasks] == [False, True, True], "who waits is told at once"
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [Reply, asyncio.CancelledError, asyncio.CancelledError]
        assert len(inner.asked) == 1
        assert (ledger.calls, ledger.under_way, ledger.lost_usd, ledger.lost_tokens) == (1, 0, 0.0, 0)

    at_once(go())


def test_a_sending_again_is_paid_from_the_budget_too() -> None:
    """A sending that timed out may be billed; sent again and again it must not eat more than there is."""
    usd, tokens = worst(asked())
    late = CallFailed("timeout", "late")
    for ledger in (Ledger(budget_usd=usd * 2.5), Ledger(max_tokens_total=int(tokens * 2.5))):
        inner = ScriptedModel(lambda request: late)
        with pytest.raises(BudgetSpent):
            at_once(chain(inner, ledger, retries=8).complete(asked()))
        assert len(inner.asked) == 2, "a third sending would exceed it"
        assert ledger.lost_usd == pytest.approx(usd * 2)
        assert ledger.lost_tokens == tokens * 2


class Careless:
    """A model that takes anything up to what it was allowed, fails in every way, and remembers what it may bill."""

    def __init__(self, chance: random.Random, price: Price, p_fail: float) -> None:
        self._chance = chance
        self._price = price
        self._p_fail = p_fail
        self.usd = 0.0
        self.tokens = 0
        self.most_usd = 0.0
        self.most_tokens = 0

    def script(self, request: Request) -> Reply | CallFailed:
        chance = self._chance
        said, wrote = chance.randint(1, request.n_bytes), chance.choice([0, 1, request.sampling.max_tokens])
        kind: Any = chance.choice(["timeout", "connection", "server", "overloaded"])
        is_failed = chance.random() < self._p_fail
        if not is_failed or kind in ("timeout", "connection"):
            self.usd += self._price.of(said, wrote)
            self.tokens += said + wrote
        if is_failed:
            return CallFailed(kind, "it failed")
        if chance.random() < 0.2:  # it does not say what it will bill: less is estimated
            return Reply("hm", "stop", chance.randint(0, said), chance.randint(0, wrote), is_counted=False)
        return counted(said, wrote)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    budget=st.floats(0.0, 0.2),
    tokens=st.integers(0, 20_000),
    limited_by=st.sampled_from(["usd", "tokens", "both"]),
    p_fail=st.sampled_from([0.0, 0.0, 0.3, 0.9]),
    retries=st.integers(0, 4),
)
def test_the_bill_is_never_above_the_budget(
    seed: int, n: int, budget: float, tokens: int, limited_by: str, p_fail: float, retries: int
) -> None:
    """Whatever a provider could charge for what was sent stays within both limits."""
    chance = random.Random(seed)
    careless = Careless(chance, PRICE, p_fail)
    inner = ScriptedModel(careless.script, seconds=lambda request: chance.random())
    ledger = Ledger(budget if limited_by != "tokens" else None, tokens if limited_by != "usd" else None)
    asks = [asked(i, sampling=Sampling(None, chance.choice([1, 50, 500]))) for i in range(n)]
    found = at_once(everybody(chain(inner, ledger, retries=retries), asks))
    assert all(isinstance(each, Reply | BudgetSpent | ModelError) for each in found), found
    if ledger.budget_usd is not None:
        assert careless.usd <= budget * (1 + 1e-9)
        assert ledger.usd + ledger.lost_usd <= budget * (1 + 1e-9)
    if ledger.max_tokens_total is not None:
        assert careless.tokens <= tokens
        assert ledger.tokens <= tokens
    assert (ledger.under_way, ledger._held_usd, ledger._held_tokens) == (0, 0.0, 0)
    if any(isinstance(each, BudgetSpent) for each in found):
        left = (
            math.inf if ledger.budget_usd is None else budget - ledger.usd - ledger.lost_usd,
            math.inf if ledger.max_tokens_total is None else tokens - ledger.tokens,
        )
        stopped = [worst(ask) for ask, each in zip(asks, found, strict=True) if isinstance(each, BudgetSpent)]
        # What was refused did not fit; unless money was lost or given back after it, it does not fit now.
        if p_fail == 0.0:
            assert any(usd > left[0] - 1e-9 or wanted > left[1] for usd, wanted in stopped)


NO_USAGE: tuple[Any, ...] = (
    None, (0, 0), (12, None), ([], {}), (float("nan"), 1), (-5, 10**12), (12, -1), (MOST_TOKENS + 1, 1),
    (1, MOST_TOKENS + 1), (True, True), ("many", None), (1.5, 2.5), (None, None), (0, 3),
)  # fmt: skip


def test_a_lying_server_does_not_break_the_budget() -> None:
    """Counts that cannot be are estimated, and the estimate is never more than was set aside."""
    request = asked(sampling=Sampling(None, 16))
    usd, tokens = worst(request)
    for text in ("", "x", "word " * 2_000, "x" * 1_000_000):
        for usage in NO_USAGE:
            for thoughts in (None, "", "hm " * 1_000, "x" * 100_000, 7, ["x"]):
                reply = replied(
                    request, text, finish="stop", usage=usage, seconds=0.0, served_by="", thoughts=thoughts
                )  # fmt: skip
                assert not reply.is_counted, usage
                assert 0 < reply.input_tokens <= request.n_bytes, (text[:10], usage)
                assert 0 <= reply.output_tokens <= 16, (text[:10], usage)
                assert reply.input_tokens + reply.output_tokens <= tokens, (text[:10], usage)
                assert PRICE.of(reply.input_tokens, reply.output_tokens) <= usd, (text[:10], usage)


@pytest.mark.parametrize("usage", [(1, 0), (12, 17), (10_000, 3), (12, 40_000), (MOST_TOKENS, MOST_TOKENS)])
def test_what_a_server_counts_is_believed_and_priced_also_above_what_was_allowed(usage: tuple[int, int]) -> None:
    """A model's thinking is billed too, and no server says beforehand how much it will think."""
    usd, tokens = worst(asked(sampling=Sampling(None, 16)))

    def script(request: Request) -> Reply:
        return replied(request, "hm", finish="stop", usage=usage, seconds=0.0, served_by="")

    for ledger in (Ledger(), Ledger(budget_usd=usd * 1.5), Ledger(max_tokens_total=int(tokens * 1.5))):
        purse, inner = Pocket(), ScriptedModel(script)
        model = chain(inner, ledger, purse=purse)
        reply = at_once(model.complete(asked(sampling=Sampling(None, 16))))
        assert (reply.input_tokens, reply.output_tokens, reply.is_counted) == (*usage, True)
        assert reply.usd == ledger.usd == pytest.approx(PRICE.of(*usage))
        assert (ledger.input_tokens, ledger.output_tokens, ledger.tokens) == (*usage, sum(usage))
        assert (purse.lost, ledger.lost_usd, ledger.lost_tokens) == ([], 0.0, 0)
        if ledger.is_limited and sum(usage) > tokens:
            with pytest.raises(BudgetSpent):  # it is above the limit now; nothing more is sent
                at_once(model.complete(asked(sampling=Sampling(None, 16))))
            assert len(inner.asked) == 1


def test_a_reply_that_is_too_long_took_all_that_was_allowed() -> None:
    """Nobody counts ten megabytes to estimate them; where the server does say, it is believed."""
    request = asked(sampling=Sampling(None, 16))
    for text, thoughts in (("x" * (MAX_REPLY_CHARS + 1), None), ("x", "y" * MAX_REPLY_CHARS)):
        for usage in (None, (12, None), (-5, 3), (12, MOST_TOKENS + 1)):
            reply = replied(
                request, text, finish="stop", usage=usage, seconds=0.0, served_by="x", thoughts=thoughts
            )  # fmt: skip
            assert (reply.text, reply.finish, reply.served_by) == ("", "too_long", "")
            assert (reply.output_tokens, reply.is_counted) == (16, False)
        for wrote in (9, 17, 16_001):
            reply = replied(
                request, text, finish="stop", usage=(12, wrote), seconds=0.0, served_by="x", thoughts=thoughts
            )  # fmt: skip
            assert (reply.text, reply.finish, reply.served_by) == ("", "too_long", "")
            assert (reply.input_tokens, reply.output_tokens, reply.is_counted) == (12, wrote, True)
    cut = replied(request, "", finish="too_long", usage=None, seconds=0.0, served_by="x")
    assert (cut.output_tokens, cut.is_counted, cut.served_by) == (16, False, "")


# -- what is written down before and after --------------------------------------------------------------------------


def test_what_was_not_counted_is_lost_up_to_the_worst_case() -> None:
    """The estimate may be too low; the budget holds all the same."""
    usd, tokens = worst(asked())
    for price in (PRICE, None):
        ledger, purse = Ledger(), Pocket()
        inner = ScriptedModel(lambda request: Reply("hm", "stop", 50, 2, is_counted=False))
        reply = at_once(chain(inner, ledger, price, purse=purse).complete(asked()))
        rest = usd - PRICE.of(50, 2) if price else 0.0
        assert purse.lost == [("scripted", pytest.approx(rest), tokens - 52)]
        assert (ledger.lost_usd, ledger.lost_tokens) == (pytest.approx(rest), tokens - 52)
        assert (ledger.calls, ledger.tokens) == (1, tokens)
        assert reply.usd == (pytest.approx(PRICE.of(50, 2)) if price else None)


@pytest.mark.parametrize("limit", [{"budget_usd": 10.0}, {"max_tokens_total": 10**6}])
def test_with_a_limit_each_sending_is_written_down_before_it_is_made(limit: dict[str, Any]) -> None:
    held: list[tuple[int, int]] = []
    outcomes: list[Any] = [overloaded(), CallFailed("timeout", "late"), counted(5, 5)]

    def script(request: Request) -> Any:
        held.append((len(purse.holds), len(purse.freed)))
        return outcomes.pop(0)

    usd, tokens = worst(asked())
    purse = Pocket()
    at_once(chain(ScriptedModel(script), Ledger(**limit), retries=5, purse=purse).complete(asked()))
    assert held == [(1, 0), (2, 1), (3, 2)], "and struck out when no reply came; a reply strikes it out on the tape"
    assert purse.holds == [(asked().position, "scripted", usd, tokens)] * 3
    assert purse.lost == [("scripted", usd, tokens)]


def test_without_a_limit_nothing_is_written_down_before() -> None:
    purse = Pocket()
    outcomes: list[Any] = [overloaded(), CallFailed("timeout", "late"), counted(5, 5)]
    model = chain(ScriptedModel(lambda request: outcomes.pop(0)), Ledger(), retries=5, purse=purse)
    at_once(model.complete(asked()))
    assert (purse.holds, purse.freed, len(purse.lost)) == ([], [], 1)


def test_what_could_not_be_written_down_is_not_sent() -> None:
    class Torn(Pocket):
        async def hold(self, request: Request, usd: float, tokens: int) -> None:
            raise StorageError("cannot write journal.sqlite: full")

    ledger, inner = Ledger(budget_usd=10.0), ScriptedModel()
    with pytest.raises(StorageError, match="full"):
        at_once(chain(inner, ledger, purse=Torn()).complete(asked()))
    assert not inner.asked
    assert (ledger.under_way, ledger._held_usd, ledger.lost_usd, ledger.lost_tokens) == (0, 0.0, 0.0, 0)


def test_who_is_cancelled_while_it_is_written_down_has_sent_and_lost_nothing() -> None:
    async def go() -> None:
        ledger, purse, inner = Ledger(budget_usd=10.0), Pocket(), ScriptedModel()
        task = asyncio.create_task(chain(inner, ledger, purse=purse).complete(asked()))
        await asyncio.sleep(0)
        assert ledger.under_way == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (inner.asked, purse.lost, purse.freed) == ([], [], [asked().position])
        assert (ledger.under_way, ledger._held_usd, ledger.lost_usd, ledger.lost_tokens) == (0, 0.0, 0.0, 0)

    at_once(go())


def test_a_price_below_nothing_is_refused() -> None:
    """It would make room in a budget that there is not."""
    for price in ((-1.0, 1.0), (1.0, -1e-9), (float("nan"), 1.0)):
        with pytest.raises(ValidationError):
            Service(prices={"local/x": price})
    assert Service(prices={"local/x": (0.0, 0.0)}).prices == {"local/x": (0.0, 0.0)}


def test_waiting_is_in_nobodys_way() -> None:
    """A call too large for what is left does not stop the small ones that fit."""

    async def go() -> list[type]:
        small, large = asked(1, sampling=Sampling(None, 1)), asked(2, sampling=Sampling(None, 10_000))
        ledger = Ledger(budget_usd=worst(large)[0] * 0.9)
        inner = ScriptedModel(lambda request: counted(1, 1), seconds=lambda request: 1.0)
        found = await everybody(
            chain(inner, ledger), [small, large, *(asked(i, sampling=Sampling(None, 1)) for i in range(3, 9))]
        )
        return [type(each) for each in found]

    assert at_once(go()) == [Reply, BudgetSpent, *[Reply] * 6]

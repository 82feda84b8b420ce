"""How much is asked of a server at once, and how often again: on a clock that jumps, so that minutes take no time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import simworld.mind.llm._limits as limits
from simworld.errors import ModelError
from simworld.mind.llm import AdaptiveLimit, CallFailed, Limited, Reply, Request, Retrying, Sampling
from simworld.mind.llm._limits import LONGEST_WAIT_S, PROBES, PROBES_AT_FIRST, STREAK, STREAK_AT_FIRST
from simworld.mind.llm._model import Stopped
from tests.llm import ScriptedModel, asked, at_once, echoed, in_turn, jumping, overloaded, turns

BROKEN = CallFailed("server", "HTTP 500: something broke", status=500)
TIMEOUT = CallFailed("timeout", "no answer within 5 s")
RESET = CallFailed("connection", "reset by peer")
REFUSED = CallFailed("connection", "nobody listens", was_sent=False)
WRONG = CallFailed("wrong", "HTTP 401: no such key", status=401)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    jumping(monkeypatch, limits)


def now() -> float:
    return asyncio.get_running_loop().time()


def going() -> bool:
    return False


def limited(model: Any, limit: AdaptiveLimit, stopped: Callable[[], bool] = going, **rates: int) -> Limited:
    return Limited(model, limit, stopped=stopped, **rates)


async def taken(limit: AdaptiveLimit, n: int) -> list[float]:
    """Take places that are free now."""
    async with asyncio.timeout(0.001):
        return [await limit.acquire() for _ in range(n)]


async def waiting(limit: AdaptiveLimit, n: int = 1) -> list[asyncio.Task[float]]:
    """Queue for a place."""
    tasks = [asyncio.create_task(limit.acquire()) for _ in range(n)]
    await turns()
    return tasks


def free(limit: AdaptiveLimit) -> int:
    return int(limit.limit) - limit.under_way


async def answering(most: int, pause_s: float) -> AdaptiveLimit:
    """Return the limit of a server that has answered once."""
    limit = AdaptiveLimit(most, pause_s)
    await taken(limit, 1)
    limit.succeeded()
    assert (limit.limit, limit.under_way) == (most, 0)
    return limit


# -- the adapting limit ---------------------------------------------------------------------------------------------


def test_it_starts_at_its_most() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(5, 1.0)
        assert limit.limit == 5
        await taken(limit, 5)
        (sixth,) = await waiting(limit)
        assert not sixth.done()
        limit.succeeded()
        await sixth
        assert limit.under_way == 5

    at_once(go())


@pytest.mark.parametrize("failure", [overloaded(), TIMEOUT], ids=["429", "timeout"])
def test_it_halves_once_a_window_however_many_calls_of_it_fail(failure: CallFailed) -> None:
    async def go() -> None:
        limit = await answering(64, 1.0)
        window = await taken(limit, 16)
        await asyncio.sleep(1)
        for since in window:
            limit.failed(failure, since)
        assert limit.limit == 32, "what was under way before the cut says nothing about the limit after it"
        await asyncio.sleep(1)
        (since,) = await taken(limit, 1)
        await asyncio.sleep(1)
        limit.failed(failure, since)
        assert limit.limit == 16
        for _ in range(10):
            await asyncio.sleep(1)
            (since,) = await taken(limit, 1)
            await asyncio.sleep(1)
            limit.failed(failure, since)
            limit._streak = 0  # the breaker is not what is looked at
        assert limit.limit == 1, "it never falls below one"
        assert limit.under_way == 0

    at_once(go())


@pytest.mark.parametrize("failure", [BROKEN, RESET, WRONG], ids=lambda failure: failure.kind)
def test_a_failure_that_is_no_congestion_does_not_lower_it(failure: CallFailed) -> None:
    async def go() -> None:
        limit = await answering(8, 1.0)
        for since in await taken(limit, 8):
            limit.failed(failure, since)
        assert (limit.limit, limit.under_way) == (8, 0)
        limit = AdaptiveLimit(8, 1.0)
        for since in await taken(limit, STREAK_AT_FIRST - 1):
            limit.failed(failure, since)
        assert (limit.limit, limit.under_way) == (8, 0), "nor that of a server that has not answered yet"

    at_once(go())


def test_it_grows_by_about_one_a_window_and_not_beyond_its_most() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(32, 1.0)
        (since,) = await taken(limit, 1)
        await asyncio.sleep(1)
        limit.failed(overloaded(), since)
        for start in range(16, 20):
            assert start - 0.2 <= limit.limit <= start + 0.2
            await taken(limit, start - 1)
            for _ in range(start):
                limit.under_way += 1
                limit.succeeded()
            limit.under_way -= start - 1
        for _ in range(1000):
            limit.under_way += 1
            limit.succeeded()
        assert (limit.limit, limit.under_way) == (32, 0)

    at_once(go())


def test_who_comes_first_is_served_first() -> None:
    async def go() -> list[int]:
        limit = AdaptiveLimit(3, 1.0)
        await taken(limit, 3)
        order: list[int] = []

        async def one(i: int) -> None:
            await limit.acquire()
            order.append(i)
            await asyncio.sleep(0)
            limit.succeeded()

        tasks = [asyncio.create_task(one(i)) for i in range(20)]
        await turns()
        assert not order
        for _ in range(3):
            limit.succeeded()
        await asyncio.gather(*tasks)
        assert limit.under_way == 0
        return order

    assert at_once(go()) == list(range(20))


def test_nobody_passes_who_waits() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(1, 1.0)
        await taken(limit, 1)
        first, second = await waiting(limit, 2)
        limit.succeeded()
        late = asyncio.create_task(limit.acquire())  # asks when a place has just been given to the first
        await turns()
        assert (first.done(), second.done(), late.done()) == (True, False, False)
        limit.succeeded()
        await turns()
        assert (second.done(), late.done()) == (True, False)
        limit.succeeded()
        await late

    at_once(go())


# -- pauses ---------------------------------------------------------------------------------------------------------


def test_retry_after_stops_everybody_for_that_long() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(8, 1.0)
        since, _ = await taken(limit, 2)
        began = now()
        limit.failed(overloaded(after=7.0), since)
        limit.succeeded()
        tasks = await waiting(limit, 3)
        assert not any(task.done() for task in tasks), "nobody is let in before the server's time"
        times = await asyncio.gather(*tasks)
        assert all(7.0 <= at - began < 7.1 for at in times)
        assert limit.under_way == 3

    at_once(go())


def test_the_longer_of_two_pauses_holds() -> None:
    async def go() -> None:
        for first, second in ((2.0, 9.0), (9.0, 2.0)):
            limit = AdaptiveLimit(8, 1.0)
            since, other = await taken(limit, 2)
            began = now()
            limit.failed(overloaded(after=first), since)
            limit.failed(overloaded(after=second), other)
            assert 9.0 <= await limit.acquire() - began < 9.1

    at_once(go())


def test_a_pause_of_nothing_is_none() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(8, 1.0)
        (since,) = await taken(limit, 1)
        limit.failed(overloaded(after=0.0), since)
        began = now()
        assert await limit.acquire() - began < 0.1

    at_once(go())


# -- the circuit breaker --------------------------------------------------------------------------------------------


async def failing(limit: AdaptiveLimit, n: int, failure: CallFailed = BROKEN) -> None:
    """Have n calls fail, one after the other."""
    for _ in range(n):
        limit.failed(failure, await limit.acquire())


NUMBERS = pytest.mark.parametrize(
    ("has_answered", "streak", "probes"),
    [(True, STREAK, PROBES), (False, STREAK_AT_FIRST, PROBES_AT_FIRST)],
    ids=["it has answered", "it never answered"],
)


def of(has_answered: bool, most: int, pause_s: float) -> Any:
    async def fresh() -> AdaptiveLimit:
        return AdaptiveLimit(most, pause_s)

    return answering(most, pause_s) if has_answered else fresh()


def test_a_server_that_never_answered_is_given_less_patience() -> None:
    assert 1 < STREAK_AT_FIRST < STREAK
    assert 1 < PROBES_AT_FIRST < PROBES


@NUMBERS
def test_it_opens_after_a_streak_and_probes_one_at_a_time(has_answered: bool, streak: int, probes: int) -> None:
    async def go() -> None:
        limit = await of(has_answered, 8, 3.0)
        await failing(limit, streak - 1)
        assert limit.limit == 8
        await failing(limit, 1)
        assert limit.limit == 1
        began = now()
        tasks = await waiting(limit, 4)
        assert not any(task.done() for task in tasks), "a server that is down is left alone for a while"
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [task.done() for task in tasks] == [True, False, False, False]
        assert tasks[0].result() - began >= 3.0
        await asyncio.sleep(60)
        assert sum(task.done() for task in tasks) == 1, "one probe at a time"
        for task in tasks:
            task.cancel()

    at_once(go())


def test_a_success_in_between_begins_the_streak_anew() -> None:
    async def go() -> None:
        limit = await answering(8, 3.0)
        for _ in range(5):
            await failing(limit, STREAK - 1)
            await limit.acquire()
            limit.succeeded()
        assert limit.limit == 8
        await failing(limit, STREAK)
        assert limit.limit == 1

    at_once(go())


def test_the_first_answer_of_all_brings_the_greater_patience() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(8, 3.0)
        await failing(limit, STREAK_AT_FIRST - 1)
        await limit.acquire()
        limit.succeeded()
        await failing(limit, STREAK - 1)
        assert limit.limit == 8
        await failing(limit, 1)
        assert limit.limit == 1
        await failing(limit, PROBES - 1)
        assert await limit.acquire(), "it is not given up before the last probe"

    at_once(go())


@NUMBERS
def test_probes_come_at_growing_pauses_and_then_everybody_is_told(has_answered: bool, streak: int, probes: int) -> None:
    async def go() -> None:
        limit = await of(has_answered, 8, 1.0)
        await failing(limit, streak)
        times = [now()]
        for k in range(probes):
            since = await limit.acquire()
            times.append(since)
            queued = await waiting(limit, 3)
            limit.failed(BROKEN, since)
            await turns()
            assert all(task.done() for task in queued) == any(task.done() for task in queued) == (k == probes - 1)
            if not queued[0].done():
                for task in queued:
                    task.cancel()
                await turns()
        pauses = [b - a for a, b in itertools.pairwise(times)]
        assert len(pauses) == probes
        assert 1.0 <= pauses[0] < 1.1
        assert all(b >= 1.9 * a or b >= LONGEST_WAIT_S for a, b in itertools.pairwise(pauses)), pauses
        for task in queued:
            with pytest.raises(ModelError, match="something broke"):
                await task
        with pytest.raises(ModelError, match="something broke"):
            await limit.acquire()
        assert limit.under_way == 0

    at_once(go())


def test_a_server_that_never_answered_ends_the_run_in_seconds() -> None:
    """A wrong address is no restart: the run is told soon, whatever was asked at once."""

    async def go() -> None:
        model = ScriptedModel(lambda r: REFUSED, seconds=lambda r: 0.05)
        limit = AdaptiveLimit(64, 0.5)
        chain = Retrying(limited(model, limit), retries=8, backoff_s=0.5, stopped=going)
        began = now()
        found = await asyncio.gather(*(chain.complete(asked(i)) for i in range(200)), return_exceptions=True)
        assert all(isinstance(each, ModelError) for each in found)
        assert now() - began < 15.0
        assert len(model.asked) < 64 + STREAK_AT_FIRST + PROBES_AT_FIRST
        assert limit.under_way == 0

    at_once(go())


@pytest.mark.parametrize("has_answered", [True, False])
@pytest.mark.parametrize("after", [None, 1.0])
def test_being_told_to_wait_never_breaks_the_circuit(after: float | None, has_answered: bool) -> None:
    """A server that says 429 is there: however often it says so, it is not taken to be down."""

    async def go() -> None:
        limit = await of(has_answered, 8, 1.0)
        for _ in range(10 * (STREAK + PROBES)):
            await failing(limit, 1, overloaded(after))
            await asyncio.sleep(0.1)
        assert (limit.limit, limit._open_since) == (1, None)
        assert await limit.acquire()
        limit.succeeded()
        assert limit.under_way == 0

    at_once(go())


@NUMBERS
def test_being_told_to_wait_is_neither_in_the_streak_nor_its_end(has_answered: bool, streak: int, probes: int) -> None:
    async def go() -> None:
        limit = await of(has_answered, 8, 3.0)
        for _ in range(streak - 1):
            await failing(limit, 3, overloaded())
            await failing(limit, 1)
        assert limit._open_since is None
        await failing(limit, 3, overloaded())
        assert limit._open_since is None
        await failing(limit, 1)
        assert limit._open_since == now()

    at_once(go())


@NUMBERS
def test_a_probe_that_is_told_to_wait_has_not_failed(has_answered: bool, streak: int, probes: int) -> None:
    async def go() -> None:
        limit = await of(has_answered, 8, 1.0)
        await failing(limit, streak)
        await failing(limit, 5 * probes, overloaded(after=1.0))
        assert limit._broken is None
        await failing(limit, probes - 1)
        await failing(limit, 5 * probes, overloaded(after=1.0))
        assert limit._broken is None
        await failing(limit, 1)
        with pytest.raises(ModelError, match="something broke"):
            await limit.acquire()
        assert limit.under_way == 0

    at_once(go())


def test_a_run_outlives_any_number_of_429s() -> None:
    async def go() -> list[Reply]:
        began = now()
        model = ScriptedModel(
            lambda r: overloaded(after=5.0) if now() - began < 100.0 else echoed(r), seconds=lambda r: 0.05
        )
        limit = AdaptiveLimit(64, 0.5)
        chain = Retrying(limited(model, limit), retries=50, backoff_s=0.5, stopped=going)
        return await asyncio.gather(*(chain.complete(asked(i)) for i in range(200)))

    assert len(at_once(go())) == 200


def test_a_probe_that_succeeds_closes_it() -> None:
    async def go() -> None:
        limit = await answering(8, 1.0)
        await failing(limit, STREAK + PROBES - 1)
        tasks = await waiting(limit, 30)
        await asyncio.sleep(200)
        served = 0
        while served < 30:
            done = sum(task.done() for task in tasks)
            assert 0 < done - served <= 8
            for _ in range(done - served):
                served += 1
                limit.succeeded()
            await turns()
        assert 7.0 <= (grown := limit.limit) <= 8.0
        assert limit.under_way == 0
        await failing(limit, STREAK - 1)
        assert limit.limit == grown, "and its failures are forgotten"

    at_once(go())


@pytest.mark.parametrize("has_answered", [True, False])
@pytest.mark.parametrize(
    "failure", [RESET, overloaded(), overloaded(after=1.0), TIMEOUT], ids=["reset", "429", "429+", "timeout"]
)
def test_a_server_that_drops_all_calls_at_once_is_still_probed(failure: CallFailed, has_answered: bool) -> None:
    """A server that restarts, or a rate limit that bites, fails everything that is under way in one instant; that is
    one event, and the probes after it are what tells whether the server is down."""

    async def go() -> None:
        began = now()
        model = ScriptedModel(lambda r: failure if now() - began < 2.0 else echoed(r), seconds=lambda r: 0.1)
        limit = await of(has_answered, 128, 1.0)
        chain = limited(model, limit)
        found = await asyncio.gather(*(chain.complete(asked(i)) for i in range(160)), return_exceptions=True)
        given_up = [each for each in found if isinstance(each, ModelError)]
        assert not given_up, f"{len(given_up)} were told that the server is down, {now() - began:.1f} s after it fell"
        assert limit.under_way == 0
        await asyncio.sleep(10)
        assert (await chain.complete(asked(999))).text == echoed(asked(999)).text

    at_once(go())


def test_a_run_outlives_a_server_that_is_away_for_ten_seconds() -> None:
    async def go() -> list[Reply]:
        began = now()
        model = ScriptedModel(lambda r: RESET if now() - began < 10.0 else echoed(r), seconds=lambda r: 0.05)
        limit = await answering(64, 0.5)
        chain = Retrying(limited(model, limit), retries=8, backoff_s=0.5, stopped=going)
        return await asyncio.gather(*(chain.complete(asked(i)) for i in range(200)))

    assert len(at_once(go())) == 200


# -- cancelled ------------------------------------------------------------------------------------------------------


def test_who_is_cancelled_while_waiting_gets_no_place_and_loses_none() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(2, 1.0)
        await taken(limit, 2)
        tasks = await waiting(limit, 6)
        for task in tasks[:3]:
            task.cancel()
        await turns()
        limit.succeeded()
        limit.succeeded()
        await turns()
        assert [task.done() and not task.cancelled() for task in tasks] == [False, False, False, True, True, False]
        assert limit.under_way == 2
        limit.succeeded()
        limit.succeeded()
        await tasks[5]
        limit.succeeded()
        assert (limit.under_way, free(limit)) == (0, 2)

    at_once(go())


def test_who_is_cancelled_in_the_instant_of_getting_a_place_gives_it_back() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(1, 1.0)
        await taken(limit, 1)
        first, second = await waiting(limit, 2)
        limit.succeeded()  # the place is the first one's, who has not run yet
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert limit.under_way == 1
        limit.succeeded()
        assert limit.under_way == 0

    at_once(go())


def test_who_is_cancelled_during_a_pause_does_not_hold_up_the_others() -> None:
    async def go() -> None:
        limit = AdaptiveLimit(1, 1.0)
        (since,) = await taken(limit, 1)
        limit.failed(overloaded(after=5.0), since)
        first, second = await waiting(limit, 2)
        first.cancel()
        await second
        assert limit.under_way == 1

    at_once(go())


def test_a_place_comes_back_whatever_ends_a_call() -> None:
    async def go() -> None:
        for outcome in (echoed(asked()), BROKEN, overloaded(), WRONG, ZeroDivisionError(), Stopped()):
            limit = AdaptiveLimit(2, 1.0)
            model = limited(ScriptedModel(lambda request, outcome=outcome: outcome), limit)
            await asyncio.gather(model.complete(asked()), return_exceptions=True)
            assert limit.under_way == 0
        limit = AdaptiveLimit(2, 1.0)
        model = limited(ScriptedModel(seconds=lambda request: 9.0), limit)
        tasks = [asyncio.create_task(model.complete(asked(i))) for i in range(5)]
        await asyncio.sleep(1)
        assert limit.under_way == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limit.under_way == 0

    at_once(go())


# -- a model behind it ----------------------------------------------------------------------------------------------


def test_never_more_are_under_way_than_the_limit_allows() -> None:
    async def go() -> None:
        model = ScriptedModel(seconds=lambda request: 1.0 + request.position.agent % 7 / 10)
        limit = AdaptiveLimit(9, 1.0)
        chain = limited(model, limit)
        found = await asyncio.gather(*(chain.complete(asked(i)) for i in range(100)))
        assert [reply.text for reply in found] == [echoed(asked(i)).text for i in range(100)]
        assert model.most_under_way == 9
        assert limit.under_way == 0

    at_once(go())


def test_when_the_run_ends_nothing_that_waits_is_sent() -> None:
    async def go() -> None:
        ended = False
        model = ScriptedModel(seconds=lambda request: 1.0)
        limit = AdaptiveLimit(2, 1.0)
        chain = limited(model, limit, lambda: ended)
        tasks = [asyncio.create_task(chain.complete(asked(i))) for i in range(6)]
        await asyncio.sleep(0.5)
        ended = True
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [Reply] * 2 + [Stopped] * 4
        assert len(model.asked) == 2
        assert limit.under_way == 0

    at_once(go())


def test_requests_a_minute() -> None:
    async def go() -> list[float]:
        model = ScriptedModel()
        chain = limited(model, AdaptiveLimit(100, 1.0), requests_per_minute=30)
        began = now()
        await asyncio.gather(*(chain.complete(asked(i)) for i in range(120)))
        return [at - began for at in model.times]

    times = at_once(go())
    assert len(times) == 120
    assert sum(at <= 1.0 for at in times) <= 31
    assert 120 <= max(times) <= 240
    for start in range(0, 240, 5):
        assert sum(start <= at < start + 60 for at in times) <= 61, "a full bucket and a minute's worth"


def test_tokens_a_minute() -> None:
    async def go() -> list[float]:
        model = ScriptedModel()
        chain = limited(model, AdaptiveLimit(100, 1.0), tokens_per_minute=2_000)
        began = now()
        asks = [asked(i, sampling=Sampling(None, 420)) for i in range(12)]
        assert all(480 < ask.n_bytes // 4 + 420 <= 520 for ask in asks)
        await asyncio.gather(*(chain.complete(ask) for ask in asks))
        return [at - began for at in model.times]

    times = at_once(go())
    assert sum(at < 1.0 for at in times) <= 4
    assert 100 < max(times) < 180


def test_one_call_above_the_tokens_of_a_minute_is_not_waited_for_forever() -> None:
    async def go() -> Reply:
        chain = limited(ScriptedModel(), AdaptiveLimit(1, 1.0), tokens_per_minute=10)
        return await chain.complete(asked(sampling=Sampling(None, 5_000)))

    assert at_once(go()).text


# -- retries --------------------------------------------------------------------------------------------------------


def retrying(script: Any, *, retries: int = 4, backoff_s: float = 1.0, stopped: Callable[[], bool] = going) -> Any:
    model = ScriptedModel(script)
    return Retrying(model, retries=retries, backoff_s=backoff_s, stopped=stopped), model


def pauses(model: ScriptedModel) -> list[float]:
    return [b - a for a, b in zip(model.times, model.times[1:], strict=False)]


def test_it_sends_again_until_a_reply_comes_and_says_how_often() -> None:
    chain, model = retrying(in_turn(BROKEN, overloaded(), REFUSED, TIMEOUT, RESET, echoed(asked())), retries=5)
    reply = at_once(chain.complete(asked()))
    assert (reply.retries, len(model.asked)) == (5, 6)
    assert reply.text == echoed(asked()).text
    assert all(request == asked() for request in model.asked)
    chain, model = retrying(echoed)
    assert at_once(chain.complete(asked())).retries == 0


def test_it_stops() -> None:
    for retries in (0, 1, 4):
        chain, model = retrying(in_turn(BROKEN), retries=retries)
        with pytest.raises(ModelError, match=rf"agent 3, step 1, Say.*sent {retries + 1} times.*something broke"):
            at_once(chain.complete(asked(3)))
        assert len(model.asked) == retries + 1


def test_pauses_double_and_are_spread_and_are_the_same_every_time() -> None:
    def of(agent: int) -> list[float]:
        chain, model = retrying(in_turn(BROKEN), retries=6)
        with pytest.raises(ModelError):
            at_once(chain.complete(asked(agent)))
        return pauses(model)

    for k, pause in enumerate(of(1)):
        assert 0.5 * 2**k <= pause <= 2**k + 1e-9
    assert of(1) == of(1)
    firsts = {round(of(agent)[0], 6) for agent in range(20)}
    assert len(firsts) > 15, "not everybody comes back in one instant"


def test_a_pause_has_a_longest() -> None:
    chain, model = retrying(in_turn(BROKEN), retries=12)
    with pytest.raises(ModelError):
        at_once(chain.complete(asked()))
    assert max(pauses(model)) <= LONGEST_WAIT_S
    assert pauses(model)[-1] >= LONGEST_WAIT_S / 2


def test_retry_after_is_obeyed() -> None:
    chain, model = retrying(in_turn(overloaded(after=30.0), overloaded(after=0.0), echoed(asked())))
    at_once(chain.complete(asked()))
    first, second = pauses(model)
    assert 30.0 <= first <= 31.0
    assert second >= 0.5, "a server that asks for no pause is not asked without one"


def test_a_retry_after_that_is_too_long_ends_the_run() -> None:
    chain, model = retrying(in_turn(overloaded(after=LONGEST_WAIT_S + 1), echoed(asked())))
    with pytest.raises(ModelError, match=r"121 s.*resume"):
        at_once(chain.complete(asked()))
    assert len(model.asked) == 1
    chain, model = retrying(in_turn(overloaded(after=LONGEST_WAIT_S), echoed(asked())))
    assert at_once(chain.complete(asked())).retries == 1


def test_a_call_that_is_wrong_itself_is_not_sent_again() -> None:
    chain, model = retrying(in_turn(WRONG, echoed(asked())))
    with pytest.raises(ModelError, match=r"'scripted' cannot be asked: HTTP 401: no such key"):
        at_once(chain.complete(asked()))
    assert len(model.asked) == 1


def test_an_error_nobody_foresaw_is_not_sent_again() -> None:
    chain, model = retrying(in_turn(ZeroDivisionError(), echoed(asked())))
    with pytest.raises(ZeroDivisionError):
        at_once(chain.complete(asked()))
    assert len(model.asked) == 1


@pytest.mark.parametrize("failure", [overloaded(), overloaded(after=60.0), BROKEN, RESET, TIMEOUT, REFUSED])
@pytest.mark.parametrize("retries", [0, 4])
def test_when_the_run_ends_it_sends_nothing_again_and_does_not_hide_why(failure: CallFailed, retries: int) -> None:
    """What ended the run is raised elsewhere; this call only stops, for it is not what failed."""

    async def go() -> float:
        began = now()
        with pytest.raises(Stopped):
            await chain.complete(asked())
        return now() - began

    chain, model = retrying(in_turn(failure), retries=retries, stopped=lambda: True)
    assert at_once(go()) < 0.1, "nor does it wait before it says so"
    assert len(model.asked) == 1


def test_a_reply_that_comes_when_the_run_has_ended_is_still_a_reply() -> None:
    chain, _ = retrying(echoed, stopped=lambda: True)
    assert at_once(chain.complete(asked())).text == echoed(asked()).text


def test_a_call_that_is_wrong_itself_is_said_to_be_so_even_when_the_run_has_ended() -> None:
    chain, _ = retrying(in_turn(WRONG), stopped=lambda: True)
    with pytest.raises(ModelError, match="no such key"):
        at_once(chain.complete(asked()))


def test_a_run_that_ends_during_a_pause_sends_nothing_after_it() -> None:
    ended = False

    def script(request: Request) -> Any:
        nonlocal ended
        ended = True
        return overloaded(after=60.0)

    async def go() -> int:
        model = ScriptedModel(script)
        chain = Retrying(
            limited(model, AdaptiveLimit(1, 1.0), lambda: ended), retries=5, backoff_s=1.0, stopped=lambda: ended
        )  # fmt: skip
        with pytest.raises(Stopped):
            await chain.complete(asked())
        return len(model.asked)

    assert at_once(go()) == 1


def test_a_run_that_ends_while_a_call_pauses_is_noticed_before_it_is_sent_again() -> None:
    async def go() -> int:
        ended = False
        model = ScriptedModel(in_turn(BROKEN))
        chain = Retrying(
            limited(model, AdaptiveLimit(4, 1.0), lambda: ended), retries=5, backoff_s=60.0, stopped=lambda: ended
        )
        task = asyncio.create_task(chain.complete(asked()))
        await asyncio.sleep(1)
        ended = True
        with pytest.raises(Stopped):
            await task
        return len(model.asked)

    assert at_once(go()) == 1

"""How much is asked of a server at once, and how often again: on a clock that jumps, so that minutes take no time."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simworld.mind.llm._limits as limits
import simworld.mind.llm._switchboard as switchboard
from simworld.errors import ModelError
from simworld.mind import Question
from simworld.mind.llm import (
    AdaptiveLimit,
    AnswerSchema,
    Asking,
    CallFailed,
    LanguageModel,
    Limited,
    ModelMind,
    Pace,
    Prompt,
    Reply,
    Request,
    Retrying,
    Sampling,
    Service,
    Stopped,
    Switchboard,
    answer_schema,
)
from simworld.mind.llm._limits import LONGEST_WAIT_S, PROBES, PROBES_AT_FIRST, STREAK, STREAK_AT_FIRST, ServerLimits
from simworld.rng import Chance
from simworld.run._tape import SqliteTape
from tests.llm import Say, ScriptedModel, asked, at_once, echoed, in_turn, jumping, overloaded, turns

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


def limited(model: Any, limit: AdaptiveLimit, stopped: Callable[[], bool] = going, **paces: Pace) -> Limited:
    return Limited(model, ServerLimits(limit, **paces), stopped)


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


def test_no_server_stops_everybody_for_longer_than_the_longest_wait() -> None:
    async def go() -> None:
        for after in (LONGEST_WAIT_S, LONGEST_WAIT_S + 1, 10.0**9):
            limit = AdaptiveLimit(8, 1.0)
            (since,) = await taken(limit, 1)
            began = now()
            limit.failed(overloaded(after=after), since)
            assert LONGEST_WAIT_S <= await limit.acquire() - began < LONGEST_WAIT_S + 0.1

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


def most_within(times: Sequence[float], seconds: float, amounts: Sequence[float] | None = None) -> float:
    """Return the most starts, or what they amount to, that any span of so many seconds has."""
    taken = sorted(zip(times, amounts or [1.0] * len(times), strict=True))
    return max(sum(n for at, n in taken if begin <= at < begin + seconds - 1e-6) for begin, _ in taken)


def test_requests_a_minute() -> None:
    async def go() -> list[float]:
        model = ScriptedModel()
        chain = limited(model, AdaptiveLimit(100, 1.0), requests=Pace(30))
        began = now()
        await asyncio.gather(*(chain.complete(asked(i)) for i in range(120)))
        assert [request.position.agent for request in model.asked] == list(range(120)), "first come, first served"
        return [at - began for at in model.times]

    times = at_once(go())
    assert times == pytest.approx([2.0 * i for i in range(120)], abs=1e-3), "evenly, and without a burst"
    assert most_within(times, 60.0) == 30


def test_tokens_a_minute() -> None:
    async def go() -> list[float]:
        model = ScriptedModel()
        chain = limited(model, AdaptiveLimit(100, 1.0), tokens=Pace(2_000))
        began = now()
        asks = [asked(i, sampling=Sampling(None, 420)) for i in range(12)]
        amounts.extend(ask.n_bytes // 4 + 420 for ask in asks)
        assert all(480 < amount <= 520 for amount in amounts)
        await asyncio.gather(*(chain.complete(ask) for ask in asks))
        assert model.asked == asks, "first come, first served"
        return [at - began for at in model.times]

    amounts: list[float] = []
    times = at_once(go())
    assert times == pytest.approx([sum(amounts[:i]) * 0.03 for i in range(12)], abs=1e-3)
    assert most_within(times, 60.0) <= 5
    assert most_within(times, 60.0, amounts) <= 2_000 + max(amounts), "the last one may reach into the next minute"


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1_000])
@pytest.mark.parametrize("most", [1, 3, 1_000])
def test_no_minute_has_more_than_it_may(per_minute: int, most: int) -> None:
    """Whenever they come: all at once, one by one, after a while of nothing; and whatever becomes of them."""
    chance = random.Random(per_minute * most)

    async def go() -> list[float]:
        def script(request: Request) -> Any:
            return BROKEN if chance.random() < 0.1 else echoed(request)

        model = ScriptedModel(script, seconds=lambda request: chance.random())
        chain = limited(model, await answering(most, 0.01), requests=Pace(per_minute))
        tasks = []
        for i in range(3 * per_minute + 5):
            tasks.append(asyncio.create_task(chain.complete(asked(i))))
            if chance.random() < 0.1:
                await asyncio.sleep(chance.choice([0.001, 1.0, 30.0, 100.0]) / per_minute * 3)
            if chance.random() < 0.1:
                chance.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return model.times

    times = at_once(go())
    assert len(times) > 2 * per_minute
    assert most_within(times, 60.0) <= per_minute


def test_who_comes_first_has_the_first_turn() -> None:
    async def go() -> None:
        pace, order = Pace(60), []

        async def one(i: int) -> None:
            await pace.wait(1 + i % 3)
            order.append((i, now()))

        began = now()
        tasks = [asyncio.create_task(one(i)) for i in range(9)]
        await asyncio.sleep(1.5)
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert [i for i, _ in order] == [0, 1, 2, 3, 5, 6, 7, 8]
        assert [at - began for _, at in order] == pytest.approx([0, 1, 3, 6, 9, 12, 13, 15], abs=1e-3)
        await asyncio.sleep(1000)
        began = now()
        await pace.wait()
        assert now() == began, "what was not used is no debt"
        await pace.wait()
        assert now() - began == pytest.approx(1.0, abs=1e-3), "and no credit"

    at_once(go())


def test_requests_and_tokens_a_minute_hold_together() -> None:
    """A large call delays those behind it by its tokens; they must not come in one instant then."""

    async def go() -> list[float]:
        model = ScriptedModel()
        chain = limited(model, AdaptiveLimit(1_000, 1.0), requests=Pace(30), tokens=Pace(20_000))
        sizes = [33_000, *[10] * 80]
        asks = [asked(i, user="", system="", sampling=Sampling(None, size)) for i, size in enumerate(sizes)]
        await asyncio.gather(*(chain.complete(ask) for ask in asks))
        assert model.asked == asks
        return model.times

    times = at_once(go())
    assert most_within(times, 60.0) <= 30


def test_one_turn_belongs_to_who_has_a_place() -> None:
    """Who waits for a place takes no turn from the minute of those who have one."""

    async def go() -> list[float]:
        model = ScriptedModel(seconds=lambda request: 10.0)
        chain = limited(model, AdaptiveLimit(1, 1.0), requests=Pace(60))
        began = now()
        await asyncio.gather(*(chain.complete(asked(i)) for i in range(3)))
        return [at - began for at in model.times]

    assert at_once(go()) == pytest.approx([0.0, 10.0, 20.0], abs=1e-3)


def test_one_call_above_the_tokens_of_a_minute_is_not_waited_for_forever() -> None:
    async def go() -> Reply:
        chain = limited(ScriptedModel(), AdaptiveLimit(1, 1.0), tokens=Pace(10))
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


# -- when the run ends ----------------------------------------------------------------------------------------------

NAME = "local/x"


class Plain:
    """Makes prompts of one line."""

    def render(self, question: Question, schema: AnswerSchema) -> list[Prompt]:
        return [Prompt("Decide.", f"You are agent {agent}.") for agent in question.ids.tolist()]

    def again(self, fault: str) -> str:
        return f"No: {fault}"


def asking(n: int) -> Question:
    return Question(
        decision=Say, purpose="Say", ids=np.arange(n), occurrences=0, observe=[{}] * n, chance=Chance(17), step=1,
        n_agents=n,
    )  # fmt: skip


def connected(model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, **service: Any) -> tuple[Switchboard, ModelMind]:
    """Return a board with the whole chain of a run around a model in this process, and a mind on it."""
    monkeypatch.setattr(switchboard, "CompatibleModel", lambda name, base, timeout_s: model)
    how: dict[str, Any] = {"api_base": {"": "http://127.0.0.1:9/v1"}, "prices": {NAME: (1.0, 1.0)}, **service}
    board = Switchboard(Service(**how))
    chain: LanguageModel = board.connect(NAME, [NAME])
    return board, ModelMind(NAME, board, Plain(), model=chain, asking=Asking(max_tokens=1_000))


def from_the_second(failure: CallFailed) -> Callable[[Request], Any]:
    return lambda request: failure if request.position.agent else echoed(request)


WAITS: dict[str, tuple[dict[str, Any], Callable[[Request], Any], int]] = {
    "for a place": ({"concurrency": 1}, echoed, 1),
    "for the requests of a minute": ({"requests_per_minute": 1}, echoed, 1),
    "for the tokens of a minute": ({"tokens_per_minute": 1_000}, echoed, 1),
    "to be sent again": ({"backoff_s": 60.0}, from_the_second(BROKEN), 4),
    "as long as the server says": ({"backoff_s": 0.1}, from_the_second(overloaded(after=100.0)), 4),
    "for a place in a pause": ({"concurrency": 2}, from_the_second(overloaded(after=100.0)), 2),
    "for the budget in tokens": ({"max_tokens_total": 2_000}, echoed, 1),
    "for the budget in dollars": ({"budget_usd": 0.002}, echoed, 1),
}
"""What all but the first call wait for: how the server is reached, what it says, how many calls are sent at once."""


@pytest.mark.parametrize(("service", "script", "n_sent"), WAITS.values(), ids=WAITS)
def test_a_stop_ends_every_wait_at_once_and_lets_the_call_under_way_finish(
    service: dict[str, Any], script: Any, n_sent: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = ScriptedModel(script, seconds=lambda request: 0.0 if request.position.agent else 5.0)
    board, mind = connected(model, monkeypatch, **service)
    tape = SqliteTape(tmp_path / "journal.sqlite")
    board.keep(tape)
    question = asking(4)

    async def go() -> None:
        began = now()
        schema = answer_schema(Say)
        whole = asyncio.create_task(mind._ask_all(question, schema, mind._renderer.render(question, schema)))
        await asyncio.sleep(1)
        assert (len(board.asking), len(board._sending), len(model.asked)) == (4, 1, n_sent)
        lost = board.ledger.lost_usd, board.ledger.lost_tokens
        board.stop()
        await turns()
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert board.asking == board._sending
        assert len(board.asking) == 1
        with pytest.raises(Stopped):
            await whole
        assert now() - began == pytest.approx(5.0, abs=0.01), "only the call under way was waited for"
        assert (len(model.asked), model.under_way) == (n_sent, 0)
        ledger = board.ledger
        assert (ledger.calls, ledger.under_way, ledger._held_usd, ledger._held_tokens) == (1, 0, 0.0, 0)
        assert (ledger.lost_usd, ledger.lost_tokens) == lost == (0.0, 0), "what was not sent is not lost"
        assert [server.limit.under_way for server in board._servers.values()] == [0]
        await asyncio.sleep(1_000)
        assert len(model.asked) == n_sent, "nor does anything come later"

    at_once(go())
    board.log.flush()
    assert tape.calls()["agent"].to_list() == [0]
    assert tape._read("SELECT count(*) FROM holds") == [(0,)]
    assert tape.totals().calls == 1
    tape.close()


def test_a_call_under_way_that_fails_after_a_stop_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel(lambda request: RESET, seconds=lambda request: 5.0)
    board, mind = connected(model, monkeypatch, budget_usd=1.0)
    question = asking(3)

    async def go() -> None:
        began = now()
        schema = answer_schema(Say)
        whole = asyncio.create_task(mind._ask_all(question, schema, mind._renderer.render(question, schema)))
        await asyncio.sleep(1)
        board.stop()
        board.stop()  # a second time changes nothing
        with pytest.raises(Stopped):
            await whole
        assert now() - began == pytest.approx(5.0, abs=0.01)
        assert len(model.asked) == 3
        assert board.ledger.lost_tokens == board.log.tape.totals().lost_tokens > 3_000, "it may be billed all the same"

    at_once(go())


def test_a_stop_in_the_instant_of_an_answer_loses_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left the server, and is not on the tape yet."""

    def script(request: Request) -> Any:
        asyncio.get_running_loop().call_soon(board.stop)
        return echoed(request)

    model = ScriptedModel(script, seconds=lambda request: 1.0)
    board, mind = connected(model, monkeypatch, concurrency=2, budget_usd=1.0)
    question = asking(5)

    async def go() -> None:
        schema = answer_schema(Say)
        with pytest.raises(Stopped):
            await mind._ask_all(question, schema, mind._renderer.render(question, schema))
        assert len(model.asked) == board.ledger.calls == board.log.tape.totals().calls == 2
        assert board.ledger.lost_tokens == 0

    at_once(go())


def test_a_stop_from_another_thread_ends_the_waits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # real time: the board has a thread and a loop of its own
    is_asked = threading.Event()

    def seconds(request: Request) -> float:
        is_asked.set()
        return 0.3

    model = ScriptedModel(echoed, seconds=seconds)
    board, mind = connected(model, monkeypatch, concurrency=1)
    try:
        wait = mind.begin(asking(50))
        assert is_asked.wait(5.0)
        began = time.monotonic()
        threading.Thread(target=board.stop_soon).start()
        with pytest.raises(Stopped):
            wait()
        assert time.monotonic() - began < 3.0, "fifty, one after the other, would take 15 s"
        assert len(model.asked) == board.ledger.calls == board.log.tape.totals().calls == 1
        with pytest.raises(Stopped, match="'local/x' is asked after something ended the run"):
            mind.begin(asking(1))
    finally:
        board.close()
    assert len(model.asked) == 1


def test_a_board_that_never_began_can_be_stopped() -> None:
    board = Switchboard()
    board.stop_soon()
    assert board.stopped
    board.close()

"""Rehearsing: what a run with language models will ask and take, before anything is asked or written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simworld.errors import RunError, SimworldError
from simworld.mind.llm import (
    HUMAN,
    LOCAL,
    Price,
    Prompt,
    Rehearsed,
    Service,
    Switchboard,
    estimated_tokens,
    token_count,
)
from simworld.run._prepare import prepare

REHEARSAL_S = 8.0
"""Seconds one rehearsal may take; arbitrary. What is left is taken to go on as before."""
ASKED_AGAIN = 0.25
"""Share of the calls that the upper end adds for answers that are asked again; arbitrary."""
COUNTING_ERROR = 0.15
"""How far a count of tokens may be off, either way; arbitrary. Twice that where the tokenizer is unknown."""
LATENCY_S = (0.5, 10.0)
"""Seconds of one call, at the lower and the upper end; arbitrary, the server decides."""


@dataclass(frozen=True)
class Interval:
    """From the least to the most that is expected."""

    low: float
    high: float


@dataclass(frozen=True)
class ModelEstimate:
    """What one model is expected to be asked and to take."""

    model: str
    agents: int
    calls: Interval
    input_tokens: Interval
    output_tokens: Interval
    usd: Interval | None
    """None when the price is unknown."""
    seconds: Interval


@dataclass
class Estimate:
    """What a run is expected to take, and what its agents are told."""

    models: list[ModelEstimate] = field(default_factory=list)
    samples: dict[str, tuple[int, int, Prompt]] = field(default_factory=dict)
    """By decision: step, agent and prompt of one call of the rehearsal."""
    shared: dict[str, float] = field(default_factory=dict)
    """By decision: share of a prompt's characters that repeat the beginning of the one before it."""
    steps: int = 0
    rehearsed: int = 0
    """Steps that were rehearsed."""
    minds: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def rehearse(scenario: str, **call: Any) -> Estimate:
    """Rehearse a run: rule policies, then the null, answer in the models' place while every prompt is made and counted.

    Args:
        scenario, call: as for `simworld.run.prepare`.

    Raises:
        UsageError: the call was wrong.
        RunError: the scenario failed.
    """
    both: list[tuple[Rehearsed, float]] = []
    estimate = Estimate()
    service = Service()
    for stand_in in ("rules", "null"):
        rehearsed = Rehearsed()
        prepared = prepare(scenario, **call, rehearsed=rehearsed, stand_in=stand_in)
        if prepared.seating is None:  # a plain Mesa model
            return estimate
        service = prepared.seating.board.service if prepared.seating.board is not None else service
        done, fault = _rehearse_steps(prepared.society, prepared.plan.steps)
        if fault:
            estimate.notes.append(f"with {stand_in} answering, the rehearsal ended in step {done + 1}: {fault}")
        if rehearsed.counts:
            both.append((rehearsed, prepared.plan.steps / max(done, 1)))
        estimate.steps, estimate.minds = prepared.plan.steps, prepared.seating.counts()
        estimate.rehearsed = max(estimate.rehearsed, done)
        for decision, sample in rehearsed.samples.items():
            estimate.samples.setdefault(decision, sample)
        if stand_in == "rules":
            estimate.shared = _shared(rehearsed)
    attempts, max_tokens = prepared.plan.asking.attempts, prepared.plan.asking.max_tokens
    board = Switchboard(service)
    for model in dict.fromkeys(model for rehearsed, _ in both for model, _ in rehearsed.counts):
        if model != HUMAN:
            again = ASKED_AGAIN if attempts > 1 else 0.0
            estimate.models.append(_of_model(model, both, board, estimate.minds.get(model, 0), again, max_tokens))
    if estimate.rehearsed < estimate.steps:
        estimate.notes.append(
            f"{estimate.rehearsed} of {estimate.steps} steps were rehearsed; the others are taken to be like them"
        )
    return estimate


def _rehearse_steps(society: Any, steps: int) -> tuple[int, str]:
    began = time.perf_counter()
    done = 0
    while done < steps and society.running and time.perf_counter() - began < REHEARSAL_S:
        try:
            society.step()
        except RunError as error:  # a decision that no stand-in can make
            return done, str(error)
        except SimworldError:
            raise
        except Exception as error:  # the scenario's own code: named and raised, as in a run
            raise RunError(f"step {done + 1} of the rehearsal failed: {type(error).__name__}: {error}") from error
        done += 1
    return done, ""


def _shared(rehearsed: Rehearsed) -> dict[str, float]:
    sums: dict[str, tuple[int, int]] = {}
    for (_, decision), counted in rehearsed.counts.items():
        shared, total = sums.get(decision, (0, 0))
        sums[decision] = shared + counted.shared_chars, total + counted.system_chars + counted.user_chars
    return {decision: shared / total for decision, (shared, total) in sums.items() if total}


def _of_model(
    model: str, both: Sequence[tuple[Rehearsed, float]], board: Switchboard, agents: int, again: float, max_tokens: int
) -> ModelEstimate:
    calls, said, answered, rounds = [], [], [], []
    per_char, error = _tokens_per_char(model, both)
    for rehearsed, scale in both:
        counts = [c for (name, _), c in rehearsed.counts.items() if name == model]
        calls.append(scale * sum(c.calls for c in counts))
        said.append(scale * sum(c.system_chars + c.user_chars for c in counts) * per_char)
        answered.append(scale * sum(c.answer_chars for c in counts) / 4)
        rounds.append(scale * sum(c.rounds for c in counts))
    n = Interval(min(calls), max(calls) * (1 + again))
    tokens_in = Interval(min(said) * (1 - error), max(said) * (1 + error) * (1 + again))
    tokens_out = Interval(min(answered), n.high * max_tokens)
    price: Price | None = board.price(model)
    usd = price and Interval(
        price.of(int(tokens_in.low), int(tokens_out.low)), price.of(int(tokens_in.high), int(tokens_out.high))
    )
    service = board.service
    waits = [
        max(turns + asked / service.concurrency, 0.0) * latency
        for turns, asked, latency in zip((min(rounds), max(rounds)), (n.low, n.high), LATENCY_S, strict=True)
    ]
    tpm = service.tokens_per_minute
    spoken = ((tokens_in.low + tokens_out.low), (tokens_in.high + n.high * max_tokens))
    slow = [60.0 * tokens / tpm if tpm else 0.0 for tokens in spoken]
    paced = [
        60.0 * asked / service.requests_per_minute if service.requests_per_minute else 0.0 for asked in (n.low, n.high)
    ]
    seconds = Interval(*(max(pair) for pair in zip(waits, paced, slow, strict=True)))
    return ModelEstimate(model, agents, n, tokens_in, tokens_out, usd or None, seconds)


def _tokens_per_char(model: str, both: Sequence[tuple[Rehearsed, float]]) -> tuple[float, float]:
    """Return tokens a character, from one prompt, and how far that may be off."""
    texts = [text for rehearsed, _ in both for _, _, prompt in rehearsed.samples.values() for text in prompt]
    chars = sum(map(len, texts)) or 1
    if model.startswith(LOCAL):
        return estimated_tokens(texts) / chars, 2 * COUNTING_ERROR
    return sum(map(token_count, texts)) / chars, COUNTING_ERROR

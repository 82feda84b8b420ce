"""How language models are asked (what a result depends on), and how they are reached (what it does not depend on)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat

from simworld.schema import Record

type Card = Literal["full", "summary", "traits", "none"]


class Asking(Record):
    """How models are asked: part of the plan of a run, since answers depend on it."""

    card: Card = "full"
    """How much of the persona a prompt shows."""
    temperature: float | None = Field(None, ge=0.0, le=2.0)
    """Sampling temperature; None leaves it to the server."""
    max_tokens: int = Field(1024, ge=1, le=200_000)
    """Tokens of one answer; longer ones are cut and not used."""
    attempts: int = Field(3, ge=1, le=20)
    """How often one agent is asked for one decision before the answer counts as refused; 3 as in the released code of
    Orlando et al. 2025 (arXiv 2502.05919)."""


class Service(Record):
    """How models are reached and what may be spent; a resume may change all of it."""

    api_base: dict[str, str] = {}
    """Address by model string; ``""`` stands for every ``local/`` model, or for all when there is none."""
    timeout_s: float = Field(120.0, gt=0.0, le=3600.0)
    """Longest wait for one reply, seconds."""
    retries: int = Field(8, ge=0, le=100)
    """Sendings after the first when no reply comes."""
    backoff_s: float = Field(0.5, ge=0.0, le=60.0)
    """Pause before the second sending, seconds; it doubles each time."""
    concurrency: int = Field(128, ge=1, le=10_000)
    """Most calls under way at one server."""
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    budget_usd: float | None = Field(None, ge=0.0)
    """Hard limit on the money the whole run may cost, US dollars."""
    max_tokens_total: int | None = Field(None, ge=0)
    """Hard limit on input and output tokens of the whole run."""
    prices: dict[str, tuple[NonNegativeFloat, NonNegativeFloat]] = {}
    """US dollars a million input and output tokens, by model, where litellm's table does not know or is wrong."""
    cache: str | None = None
    """File of a cache across runs."""

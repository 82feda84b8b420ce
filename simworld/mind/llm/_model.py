"""The seam every language model stands behind: one request in, one reply out, and how a call can fail."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from simworld.mind.llm._schema import AnswerSchema

FINISHES = ("stop", "length", "content_filter", "too_long")
MOST_TOKENS = 10_000_000
"""Tokens of one call above which a server's count is not believed; arbitrary, above every context window."""
MAX_REPLY_CHARS = 64_000
"""Characters of a reply that are kept; arbitrary, far above any answer: what is longer is no answer."""

_THOUGHTS = re.compile(r"<think(?:ing)?>(.*?)</think(?:ing)?>(.*)", re.DOTALL)
"""A reasoning model's thoughts before its answer; some clients take them apart, with whichever tags."""

type Messages = tuple[tuple[str, str], ...]
"""(role, text) in order; roles are ``system``, ``user``, ``assistant``."""


class Position(NamedTuple):
    """Where in a run a call stands; no two calls share one, and neither time nor order is in it."""

    step: int
    purpose: str
    agent: int
    occurrence: int
    """How often this agent was asked for this before in this step."""
    attempt: int
    """0, then 1, 2, … when an answer could not be used and the model is asked again."""

    def __str__(self) -> str:
        more = "".join(
            f", {name} {value}" for name, value in (("occurrence", self.occurrence), ("attempt", self.attempt)) if value
        )
        return f"agent {self.agent}, step {self.step}, {self.purpose}{more}"


def text_hash(text: str) -> bytes:
    """Return the 16 bytes that name a text on a tape (BLAKE2b)."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; part of what a tape and a cache are keyed by."""

    temperature: float | None = None
    """None leaves it to the server."""
    max_tokens: int = 1024
    """Tokens of one answer."""


@dataclass(slots=True)
class Request:
    """One call: what is said, to whom, and what the answer must look like."""

    model: str
    messages: Messages
    position: Position
    schema: AnswerSchema
    sampling: Sampling
    seed: int
    """Sampling seed of this position, 0 to 2**31 - 1; sent where the server takes one."""
    replicate: str = ""
    """Which replicate of the run asks; part of the key of a cache."""
    hashes: tuple[bytes, ...] = ()
    """`text_hash` of each message."""
    prompt: bytes = field(default=b"", init=False)
    """Hash of all messages with their roles."""
    n_bytes: int = field(default=0, init=False)
    """Size of all messages in UTF-8."""

    def __post_init__(self) -> None:
        if not self.hashes:
            self.hashes = tuple(text_hash(text) for _, text in self.messages)
        self.n_bytes = sum([len(text) if text.isascii() else len(text.encode()) for _, text in self.messages])
        joined = b"".join(role.encode() + h for (role, _), h in zip(self.messages, self.hashes, strict=True))
        self.prompt = hashlib.blake2b(joined, digest_size=16).digest()


@dataclass(slots=True)
class Reply:
    """What a model said, and what it took."""

    text: str
    finish: str = "stop"
    """``stop``, ``length`` (cut at max_tokens), ``content_filter``, ``too_long`` (dropped: no answer is that long)."""
    input_tokens: int = 0
    output_tokens: int = 0
    is_counted: bool = True
    """Whether the server counted the tokens; else they are estimated from the texts."""
    usd: float | None = None
    """Cost; None when the price is unknown."""
    seconds: float = 0.0
    """From the last sending to the reply."""
    retries: int = 0
    """Sendings before the one that was answered."""
    served_by: str = ""
    """What the server says answered: a model's exact version."""
    is_cached: bool = False
    """Whether it came from a cache across runs, and cost nothing."""


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that completes a conversation: a client of a server, a wrapper around one, a script, a person."""

    async def complete(self, request: Request) -> Reply:
        """Return what the model says next.

        Raises:
            CallFailed: this call brought no reply; `CallFailed.is_passing` says whether asking again may help.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class CallFailed(Exception):
    """One sending brought no reply."""

    def __init__(
        self,
        kind: Literal["timeout", "overloaded", "server", "connection", "wrong"],
        message: str,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        was_sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        """``wrong``: the call itself is at fault (key, model, size), so it is not sent again."""
        self.retry_after_s = retry_after_s
        """What the server asks to wait, seconds."""
        self.status = status
        self.was_sent = was_sent
        """Whether the server may have got it."""

    @property
    def is_passing(self) -> bool:
        """Whether sending it again may help."""
        return self.kind != "wrong"

    @property
    def may_be_billed(self) -> bool:
        """Whether the server may have done the work although no reply came back."""
        # A proxy that gave up (502, 504) and an answer that cannot be read (200) may stand for work that was done.
        return self.was_sent and (self.kind in ("timeout", "connection") or self.status in (200, 502, 504))


class Stopped(Exception):
    """Nothing was sent, because something else ended the run."""


def estimated_tokens(texts: Sequence[str]) -> int:
    """Return about how many tokens these texts are: four characters each, the rule of thumb for English."""
    return sum(-(-len(text) // 4) for text in texts)


def writable(text: str) -> str:
    """Return a text that can be written as UTF-8: half a surrogate pair can stand in JSON, and in no file."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def replied(
    request: Request,
    text: str,
    *,
    finish: str | None,
    usage: tuple[Any, Any] | None,
    seconds: float,
    served_by: str,
    thoughts: Any = None,
) -> Reply:
    """Return a reply from what a server sent, which may be wrong in every part.

    Text is bounded and made writable as UTF-8. A reasoning model's thoughts stand before it between ``<think>`` tags,
    as most servers send them, also where they came apart from it. Token counts that cannot be (missing, not whole,
    negative, absurd) are replaced by estimates; a count above what was expected is believed: thinking is billed too.
    """
    if not thoughts and (apart := _THOUGHTS.match(text)) is not None:
        thoughts, text = apart[1], apart[2]
    if isinstance(thoughts, str) and thoughts:
        text = f"<think>{thoughts}</think>{text}"
    if len(text) > MAX_REPLY_CHARS:
        text, finish = "", "too_long"
    if finish == "too_long":
        served_by = ""  # a body that was not read to its end does not say
    said, wrote = usage or (0, 0)
    is_counted = type(said) is int and 0 < said <= MOST_TOKENS and type(wrote) is int and 0 <= wrote <= MOST_TOKENS
    if not is_counted:
        said, most = estimated_tokens([t for _, t in request.messages]), request.sampling.max_tokens
        wrote = most if finish == "too_long" else min(estimated_tokens([text]), most)
    return Reply(
        writable(text), finish if finish in FINISHES else "stop", said, wrote, is_counted, seconds=seconds,
        served_by=writable(served_by[:100]),
    )  # fmt: skip

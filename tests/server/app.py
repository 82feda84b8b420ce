"""The ASGI application: chat completions with latency and faults, both drawn from the request and a seed alone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from tests.server.minds import answer, draw

TRANSPORT_FAULTS = (
    "rate_limit", "rate_limit_after", "error_500", "error_503", "reset", "cut", "hang", "drip", "broken_envelope",
)  # fmt: skip
"""Faults that cost a sending, and no answer."""
ANSWER_FAULTS = ("invalid_json", "wrong_schema", "refusal", "empty", "ten_megabytes", "half_answer")
"""Faults of an answer that did arrive."""
EMBEDDING_FAULTS = ("wrong_count", "not_a_number", "wrong_dimension", "ragged", "words", "no_list", "misnumbered")
"""Faults of vectors that did arrive."""
DIMENSIONS = 32
"""Numbers in a vector."""
OTHER_FAULTS = ("wrong_usage", "no_usage")
"""Faults that must cost nothing."""


@dataclass
class Latency:
    """Seconds before an answer: fixed, or log-normal around a median."""

    median_s: float = 0.0
    sigma: float = 0.0
    seed: int = 0

    def of(self, key: str) -> float:
        """Return the latency of one sending."""
        if not self.sigma:
            return self.median_s
        u = min(max(draw("latency", self.seed, key), 1e-9), 1 - 1e-9)
        return self.median_s * math.exp(self.sigma * NormalDist().inv_cdf(u))


@dataclass
class Behaviour:
    """How the server behaves."""

    latency: Latency = field(default_factory=Latency)
    faults: dict[str, float] = field(default_factory=dict)
    """Rate of each fault, over sendings; the rates add up to 1 at most."""
    seed: int = 0
    retry_after_s: float = 0.05
    hang_s: float = 30.0
    takes_schema: bool = True
    """Whether ``response_format`` is accepted; else it is answered with 400."""
    hang_after: int | None = None
    """Sendings after which nothing is answered any more."""
    bad_agents: tuple[int, ...] = ()
    """Agents whose every answer does not fit the schema."""
    fixed: str | None = None
    """What is answered to everything."""
    status: int | None = None
    """Status that everything is answered with."""
    usage: tuple[int, int] | None = None
    """Tokens in and out that every answer claims."""
    served_by: str | None = None
    """The model that every answer claims to come from."""
    echo_key: bool = False
    """Whether the answer repeats the key it was sent, as a careless or hostile server might."""

    @classmethod
    def from_json(cls, text: str) -> Behaviour:
        """Read what `to_json` wrote."""
        found = json.loads(text)
        found["latency"] = Latency(**found["latency"])
        found["bad_agents"] = tuple(found["bad_agents"])
        found["usage"] = found["usage"] and tuple(found["usage"])
        return cls(**found)

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))


class App:
    """One server's application, with a log of what it was sent."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.script: Callable[[list[dict[str, str]]], str] = answer
        self.is_time: Callable[[], bool] = lambda: True
        """When a fixed status is answered: not before this is true."""
        self.sent: Counter[str] = Counter()
        """Sendings by request: what was said, and the sampling seed, which names the position."""
        self.answered: Counter[str] = Counter()
        """Sendings that got a whole 200 answer, by request."""
        self.faults: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.n = 0
        self.authorizations: set[str] = set()
        self.bodies: list[dict[str, Any]] | None = None
        """Every request as it was sent, once it is made a list."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"].endswith("/models"):
            await _json(send, 200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})
        elif scope["path"].endswith("/log"):
            await _json(send, 200, self.log())
        elif scope["path"] in ("/v1/chat/completions", "/v1/embeddings"):
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            try:
                await self._complete(scope, body, send)
            finally:
                self.under_way -= 1
        else:
            await _json(send, 404, {"error": {"message": "no such path"}})

    def log(self) -> dict[str, Any]:
        """Return what was sent so far."""
        return {
            "n": self.n, "sent": dict(self.sent), "answered": dict(self.answered), "faults": dict(self.faults),
            "most_under_way": self.most_under_way,
        }  # fmt: skip

    async def _complete(self, scope: dict[str, Any], body: bytes, send: Any) -> None:
        how = self.behaviour
        found = json.loads(body)
        if self.bodies is not None:
            self.bodies.append(found)
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorizations.add(value.decode())
        self.n += 1
        key = hashlib.blake2b(
            json.dumps([found["model"], found.get("messages", found.get("input")), found.get("seed")]).encode(),
            digest_size=8,
        ).hexdigest()
        nth = self.sent[key]
        self.sent[key] += 1
        if how.hang_after is not None and self.n > how.hang_after:
            await asyncio.sleep(3600)
        if "response_format" in found and not how.takes_schema:
            await _json(send, 400, {"error": {"message": "response_format json_schema is not supported"}})
            return
        if how.status is not None:
            while not self.is_time():
                await asyncio.sleep(0.01)
            await _json(send, how.status, {"error": {"message": "so it is"}})
            return
        fault = self._fault(key, nth)
        if fault:
            self.faults[fault] += 1
        delay = how.latency.of(f"{key} {nth}")
        if delay and fault != "hang":
            await asyncio.sleep(delay)
        if fault in TRANSPORT_FAULTS:
            await self._fail(fault, scope, send)
            return
        if scope["path"].endswith("/embeddings"):
            await self._vectors(found, fault, send)
        else:
            await self._answer(found, fault, scope, send)
        self.answered[key] += 1

    def _fault(self, key: str, nth: int) -> str:
        left = draw("fault", self.behaviour.seed, key, nth)
        for name, rate in self.behaviour.faults.items():
            left -= rate
            if left < 0:
                return name
        return ""

    async def _fail(self, fault: str, scope: dict[str, Any], send: Any) -> None:
        how = self.behaviour
        if fault == "rate_limit":
            await _json(send, 429, {"error": {"message": "slow down"}})
        elif fault == "rate_limit_after":
            header = (b"retry-after", f"{how.retry_after_s:g}".encode())
            await _json(send, 429, {"error": {"message": "slow down"}}, header)
        elif fault in ("error_500", "error_503"):
            await _json(send, int(fault[-3:]), {"error": {"message": "something broke"}})
        elif fault == "reset":
            scope["transport"].abort()
        elif fault == "cut":
            await _start(send, 200, 1000)
            await send({"type": "http.response.body", "body": b'{"id": "x", "choices": [{"mess', "more_body": True})
            await asyncio.sleep(0.001)
            scope["transport"].abort()
        elif fault == "hang":
            await asyncio.sleep(how.hang_s)
            scope["transport"].abort()
        elif fault == "drip":
            await _start(send, 200, 1000)
            for _ in range(int(how.hang_s / 0.02)):
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.sleep(0.02)
                if scope["transport"].is_closing():
                    break
            scope["transport"].abort()
        elif fault == "broken_envelope":
            content = b'{"id": "x", "choices": [{"message": {"content": "{\\"a\\":'
            await _start(send, 200, len(content))
            await send({"type": "http.response.body", "body": content})

    async def _answer(self, found: dict[str, Any], fault: str, scope: dict[str, Any], send: Any) -> None:
        how, messages = self.behaviour, found["messages"]
        text = self.script(messages) if how.fixed is None else how.fixed
        finish = "stop"
        user = messages[1]["content"] if len(messages) > 1 else ""
        if any(f"You are agent {agent}." in user for agent in how.bad_agents):
            fault = "wrong_schema"
        if fault == "invalid_json":
            text = "{{{ " + text.replace('"', "'").replace("}", "").replace(":", " is ")[2:] + " ))"
        elif fault == "wrong_schema":
            text = json.dumps({"verdict": "yes", "confidence": "high"})
        elif fault == "refusal":
            text = "I'm sorry, but I can't take part in that."
        elif fault == "empty":
            text = ""
        elif fault == "ten_megabytes":
            text = "x" * 10_000_000
        elif fault == "half_answer":
            text, finish = text[: len(text) // 2], "length"
        if how.echo_key:
            text = json.dumps({**json.loads(text), **_leak(scope)})
        said = sum(len(m["content"]) for m in messages) // 4
        usage: dict[str, Any] | None = {"prompt_tokens": said, "completion_tokens": max(1, len(text) // 4)}
        if how.usage is not None:
            usage = dict(zip(("prompt_tokens", "completion_tokens"), how.usage, strict=True))
        if fault == "wrong_usage":
            usage = {"prompt_tokens": -5, "completion_tokens": 10**12, "total_tokens": 10**15}
        elif fault == "no_usage":
            usage = None
        else:
            usage["total_tokens"] = sum(usage.values())  # type: ignore[union-attr, index]
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        reply = {"id": "x", "object": "chat.completion", "created": 1, "choices": [choice]}
        reply["model"] = found["model"] if how.served_by is None else how.served_by
        await _json(send, 200, {**reply, **({} if usage is None else {"usage": usage})})

    async def _vectors(self, found: dict[str, Any], fault: str, send: Any) -> None:
        texts = [found["input"]] if isinstance(found["input"], str) else found["input"]
        if not texts or not all(texts):
            await _json(send, 400, {"error": {"message": "input must not be empty"}})
            return
        data: Any = [{"object": "embedding", "index": i, "embedding": vector(text)} for i, text in enumerate(texts)]
        data.reverse()  # they are numbered, so that their order need not matter
        if fault == "wrong_count":
            data = data[1:]
        elif fault == "not_a_number":
            data[0]["embedding"][3] = math.nan
        elif fault == "wrong_dimension":
            data = [{**one, "embedding": one["embedding"][:7]} for one in data]
        elif fault == "ragged":
            data[0]["embedding"].append(0.5)
        elif fault == "words":
            data[0]["embedding"][3] = "0.5"
        elif fault == "no_list":
            data = {"embedding": "none"}
        elif fault == "misnumbered":
            data = [{**one, "index": 0} for one in data]
        said = max(1, sum(map(len, texts)) // 4)
        usage = {"prompt_tokens": said, "total_tokens": said}
        if self.behaviour.usage is not None:
            usage = {"prompt_tokens": self.behaviour.usage[0], "total_tokens": self.behaviour.usage[0]}
        await _json(send, 200, {"object": "list", "model": found["model"], "data": data, "usage": usage})


def vector(text: str) -> list[float]:
    """Return the vector of a text: the sum of its words' vectors, which depend on the words alone; of any length."""
    each = [[draw("vector", word, k) - 0.5 for k in range(DIMENSIONS)] for word in text.casefold().split()]
    return [math.fsum(column) for column in zip(*each, strict=True)] or [0.0] * DIMENSIONS


def _leak(scope: dict[str, Any]) -> dict[str, str]:
    said = next((value.decode() for name, value in scope["headers"] if name == b"authorization"), "")
    return {"reason": f"my key is {said}"}


async def _start(send: Any, status: int, length: int, *headers: tuple[bytes, bytes]) -> None:
    own = [(b"content-type", b"application/json"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})


async def _json(send: Any, status: int, content: Any, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(content).encode()
    await _start(send, status, len(body), *headers)
    await send({"type": "http.response.body", "body": body})

"""The lean client: any server that speaks OpenAI's chat completions (vLLM, Ollama, llama.cpp, LM Studio, gateways)."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic_core import from_json, to_json

from simworld.mind.llm._model import CallFailed, Reply, Request, replied
from simworld.mind.llm._secrets import without_secrets
from simworld.mind.llm._structured import StructuredOutput

if TYPE_CHECKING:
    import aiohttp

MAX_BODY_BYTES = 4_000_000
"""Bytes of a response that are read; arbitrary, no honest answer is that long."""
KEY_VARIABLE = "SIMWORLD_LOCAL_API_KEY"
"""Environment variable of the key sent to such a server; a provider's own key never goes to another address."""


class CompatibleModel:
    """One model on one OpenAI-compatible server, over one connection pool."""

    def __init__(self, name: str, api_base: str, timeout_s: float) -> None:
        """``name`` is what the server calls the model; ``api_base`` ends where ``/chat/completions`` goes on."""
        import aiohttp

        self._aiohttp = aiohttp
        self._name = name
        self._url = f"{api_base.rstrip('/')}/chat/completions"
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._structured = StructuredOutput(True)

    async def complete(self, request: Request) -> Reply:
        """Send one request.

        Raises:
            CallFailed: no reply came.
        """
        return await self._structured.ask(lambda has_schema: self._send(request, has_schema))

    async def _send(self, request: Request, has_schema: bool) -> Reply:
        body: dict[str, Any] = {
            "model": self._name,
            "messages": [{"role": role, "content": text} for role, text in request.messages],
            "max_tokens": request.sampling.max_tokens,
            "seed": request.seed,
        }
        if request.sampling.temperature is not None:
            body["temperature"] = request.sampling.temperature
        if has_schema:
            body["response_format"] = request.schema.response_format
        session = self._session or self._open()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                async with session.post(self._url, data=to_json(body)) as response:
                    content = await _bounded(response)
        except TimeoutError:
            raise CallFailed("timeout", f"no answer within {self._timeout_s:g} s") from None
        except (self._aiohttp.ClientError, OSError, ValueError) as error:
            was_sent = not isinstance(error, self._aiohttp.ClientConnectorError)
            said = without_secrets(f"{type(error).__name__}: {error}")
            raise CallFailed("connection", said, was_sent=was_sent) from None
        seconds = time.perf_counter() - began
        if response.status != 200:
            raise _failure(response.status, response.headers.get("Retry-After"), content or b"")
        if content is None:
            return replied(request, "", finish="too_long", usage=None, seconds=seconds, served_by="")
        return _reply(request, content, seconds)

    def _open(self) -> aiohttp.ClientSession:
        aiohttp = self._aiohttp
        key = os.environ.get(KEY_VARIABLE)
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }
        self._session = aiohttp.ClientSession(
            headers=headers,
            # How many may be under way is the limit's business; the client's own timeout would be a second one.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            # A small compressed body can be gigabytes; none was asked for.
            auto_decompress=False,
            # Asked once: trust_env asks for proxies and reads ~/.netrc in a thread at every call (0.3 ms).
            proxy=_proxy_for(self._url),
        )
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for an address, if any."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    host = parts.hostname or ""
    is_here = host in ("localhost", "127.0.0.1", "::1")
    return None if is_here or proxy_bypass(host) else getproxies().get(parts.scheme)


async def _bounded(response: aiohttp.ClientResponse) -> bytes | None:
    """Return the body, or None when it is longer than any answer."""
    length = response.content_length
    if length is not None and length <= MAX_BODY_BYTES:
        return await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_BODY_BYTES:
            response.close()
            return None
    return b"".join(parts)


def _reply(request: Request, content: bytes, seconds: float) -> Reply:
    try:
        try:
            found = from_json(content)
        except ValueError:
            found = json.loads(content)  # takes half a surrogate pair, which is mended later
        choice = found["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, thoughts = message["content"], message.get("reasoning_content") or message.get("reasoning")
        usage = found.get("usage")
        counts = (usage.get("prompt_tokens"), usage.get("completion_tokens")) if isinstance(usage, dict) else None
        served_by = str(found.get("model") or "")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise CallFailed("server", "the server's answer is no chat completion", status=200) from None
    if not (text is None or isinstance(text, str)):
        raise CallFailed("server", "the server's answer holds no text", status=200)
    return replied(
        request,
        without_secrets(text or ""),
        finish=finish if isinstance(finish, str) else None,
        usage=counts,
        seconds=seconds,
        served_by=without_secrets(served_by),
        thoughts=without_secrets(thoughts) if isinstance(thoughts, str) else None,
    )


def _failure(status: int, retry_after: str | None, content: bytes) -> CallFailed:
    said = without_secrets(" ".join(content[:2000].decode("utf-8", "replace").split()))[:300]
    message = f"HTTP {status}: {said}"
    wait = seconds_of(retry_after)
    if status == 429:
        return CallFailed("overloaded", message, retry_after_s=wait, status=status)
    if status in (408, 409, 425) or status >= 500 or status < 400:
        return CallFailed("server", message, retry_after_s=wait, status=status)
    return CallFailed("wrong", message, status=status)


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for, given as seconds or as a date; None when there is none."""
    if not retry_after:
        return None
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(wait, 0.0) if wait < float("inf") else None

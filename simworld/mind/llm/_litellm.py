"""The client for any provider: litellm, used for reaching providers and for its price table, and for nothing else."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import Any

from simworld.errors import ParameterError
from simworld.mind.llm._compatible import seconds_of
from simworld.mind.llm._model import CallFailed, Reply, Request, replied
from simworld.mind.llm._secrets import without_secrets
from simworld.mind.llm._structured import StructuredOutput

SCHEMA_PROVIDERS = frozenset(
    {"ollama", "ollama_chat", "hosted_vllm", "lm_studio", "llamafile", "openai_like", "openai"}
)
"""Providers whose servers take a schema although litellm's table does not list each of their models."""


def litellm_library() -> Any:
    """Import litellm, quiet: no price list or ``.env`` is fetched, no callback, telemetry or cache of its own is on."""
    # Both are read when it is imported: without them it fetches a price list and loads a `.env` of its own.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import logging
    import warnings

    # About litellm's own types and answers; nothing a user could mend.
    warnings.filterwarnings("ignore", "Items? .* on TypedDict class", UserWarning)
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    import litellm

    litellm.telemetry = False
    litellm.cache = None
    litellm.callbacks = []
    litellm.success_callback = []
    litellm.failure_callback = []
    litellm.suppress_debug_info = True
    litellm.drop_params = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a token; litellm's local table, or what the user said."""

    input_usd: float
    output_usd: float

    def of(self, input_tokens: int, output_tokens: int) -> float:
        """Return the cost of a call; discounts for cached prompts are not counted."""
        return input_tokens * self.input_usd + output_tokens * self.output_usd


OWN_SERVERS = ("ollama/", "ollama_chat/")
"""Begin the names of models on a machine of one's own, which charges nothing."""


def price_of(model: str) -> Price | None:
    """Return a model's price by litellm's local table, or None where it is unknown. Nobody is asked."""
    if model.startswith(OWN_SERVERS):
        return Price(0.0, 0.0)
    table = litellm_library().model_cost
    info = table.get(model) or table.get(model.partition("/")[2]) or {}
    into, out = info.get("input_cost_per_token"), info.get("output_cost_per_token")
    return Price(float(into), float(out)) if isinstance(into, int | float) and isinstance(out, int | float) else None


def token_count(text: str) -> int:
    """Return the tokens of a text by a tokenizer that comes with litellm; other models' differ by some per cent."""
    # By a model's own name, litellm would fetch that model's tokenizer from the network.
    return int(litellm_library().token_counter(model="gpt-4o", text=text))


def check_model(model: str, *, has_base: bool) -> None:
    """Look whether a model string can be used at all; nothing is sent.

    Raises:
        ParameterError: no provider is meant, or its key is missing.
    """
    litellm = litellm_library()
    try:
        _, provider, _, _ = litellm.get_llm_provider(model)
    except Exception:  # noqa: BLE001 - litellm's own error, whatever its class; it names no provider
        raise ParameterError(
            f"model {model!r} names no provider; write provider/model as litellm does (ollama/qwen3, gpt-4o-mini), "
            "or local/NAME with --api-base for a server of your own (simworld doctor)"
        ) from None
    if has_base:
        return
    missing = litellm.validate_environment(model).get("missing_keys") or []
    if missing:
        raise ParameterError(
            f"model {model!r} needs {' and '.join(missing)} in the environment or in .env, for provider {provider!r} "
            "(simworld doctor)"
        )


class LiteLLMModel:
    """One model by its litellm string."""

    def __init__(self, model: str, api_base: str | None, timeout_s: float) -> None:
        self._litellm = litellm_library()
        provider = self._litellm.get_llm_provider(model)[1]
        self._fixed: dict[str, Any] = {"model": model, "timeout": timeout_s, "max_retries": 0, "num_retries": 0}
        if api_base:
            self._fixed["api_base"] = api_base
            if self._litellm.validate_environment(model).get("missing_keys"):
                self._fixed["api_key"] = "none"  # a server of one's own asks for none, the client library does
        self._timeout_s = timeout_s
        self._is_openai = provider == "openai"
        takes_schema = provider in SCHEMA_PROVIDERS or bool(self._litellm.supports_response_schema(model))
        self._structured = StructuredOutput(takes_schema)
        supported = self._litellm.get_supported_openai_params(model) or []
        self._takes_seed = "seed" in supported

    async def complete(self, request: Request) -> Reply:
        """Send one request.

        Raises:
            CallFailed: no reply came.
        """
        return await self._structured.ask(lambda has_schema: self._send(request, has_schema))

    async def _send(self, request: Request, has_schema: bool) -> Reply:
        more: dict[str, Any] = {"max_tokens": request.sampling.max_tokens}
        if request.sampling.temperature is not None:
            more["temperature"] = request.sampling.temperature
        if self._takes_seed:
            more["seed"] = request.seed
        if has_schema and self._is_openai:
            # The same on the wire; as an argument, the client library walks through the schema at every call (0.2 ms).
            more["extra_body"] = {"response_format": request.schema.response_format}
        elif has_schema:
            more["response_format"] = request.schema.response_format
        messages = [{"role": role, "content": text} for role, text in request.messages]
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._litellm.acompletion(messages=messages, **self._fixed, **more)
        except TimeoutError:
            raise CallFailed("timeout", f"no answer within {self._timeout_s:g} s") from None
        except self._litellm.ContentPolicyViolationError:
            return replied(
                request, "", finish="content_filter", usage=None, seconds=time.perf_counter() - began, served_by=""
            )
        except Exception as error:  # noqa: BLE001 - every provider's errors arrive here, whatever their class
            raise self._failure(error) from None
        seconds = time.perf_counter() - began
        try:
            choice = found.choices[0]
            text, finish = choice.message.content, choice.finish_reason
            apart = getattr(choice.message, "provider_specific_fields", None) or {}
            thoughts = getattr(choice.message, "reasoning_content", None) or apart.get("reasoning")
            usage = getattr(found, "usage", None)
            counts = None if usage is None else (usage.prompt_tokens, usage.completion_tokens)
        except (AttributeError, IndexError, TypeError):
            raise CallFailed("server", "the provider's answer is no chat completion", status=200) from None
        return replied(
            request, without_secrets(text or ""), finish=finish, usage=counts, seconds=seconds,
            served_by=without_secrets(str(found.model or "")),
            thoughts=without_secrets(thoughts) if isinstance(thoughts, str) else None,
        )  # fmt: skip

    def _failure(self, error: Exception) -> CallFailed:
        litellm = self._litellm
        message = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        status = getattr(error, "status_code", None)
        # litellm makes up a response without headers; the server's are here.
        headers = getattr(error, "litellm_response_headers", None) or {}
        wait = seconds_of(headers.get("retry-after"))
        if isinstance(error, litellm.Timeout):
            return CallFailed("timeout", message, status=status)
        if isinstance(error, litellm.RateLimitError):
            return CallFailed("overloaded", message, retry_after_s=wait, status=status)
        wrong = (
            litellm.AuthenticationError, litellm.NotFoundError, litellm.BadRequestError, litellm.PermissionDeniedError,
            litellm.UnprocessableEntityError, litellm.UnsupportedParamsError,
        )  # fmt: skip
        if isinstance(error, wrong):
            return CallFailed("wrong", message, status=status)
        if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
            return CallFailed("wrong", message, status=status)
        # litellm calls a broken connection an internal error of the server.
        if isinstance(error, litellm.APIConnectionError) or _has(
            error, ("APIConnectionError", "ReadError", "WriteError", "RemoteProtocolError", *NEVER)
        ):
            status = None
            return CallFailed("connection", message, status=status, was_sent=not _never_connected(error))
        # An answer that it could not read is called so too; there it was not the server who failed.
        below = error.__cause__ or error.__context__
        if status == 500 and _has(below, UNREADABLE) and not _has(below, ("InternalServerError", "HTTPStatusError")):
            status = 200
        return CallFailed("server", message, retry_after_s=wait, status=status)

    async def close(self) -> None:
        """Close the connections that litellm keeps."""
        closing = getattr(self._litellm, "close_litellm_async_clients", None)
        if closing is not None:
            await closing()
        # What was closed must not be handed out again.
        self._litellm.in_memory_llm_clients_cache.flush_cache()


UNREADABLE = (
    "JSONDecodeError", "APIResponseValidationError", "ValidationError", "AttributeError", "TypeError", "KeyError",
    "IndexError", "ValueError", "APIError",
)  # fmt: skip
NEVER = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError")


def _never_connected(error: BaseException | None) -> bool:
    return _has(error, NEVER)


def _has(error: BaseException | None, names: tuple[str, ...]) -> bool:
    while error is not None:
        if type(error).__name__ in names:
            return True
        error = error.__cause__ or error.__context__
    return False

"""What can be reached from here: which providers have a key, which servers on this machine answer."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from simworld.mind.llm._compatible import KEY_VARIABLE
from simworld.mind.llm._secrets import learn_secrets, without_credentials, without_secrets

PROVIDERS = (
    ("OpenAI", "OPENAI_API_KEY", "gpt-4o-mini"),
    ("Anthropic", "ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5"),
    ("Google", "GEMINI_API_KEY", "gemini/gemini-2.5-flash"),
    ("Mistral", "MISTRAL_API_KEY", "mistral/mistral-small-latest"),
    ("Groq", "GROQ_API_KEY", "groq/llama-3.1-8b-instant"),
    ("DeepSeek", "DEEPSEEK_API_KEY", "deepseek/deepseek-chat"),
    ("OpenRouter", "OPENROUTER_API_KEY", "openrouter/qwen/qwen3-8b"),
    ("Together", "TOGETHERAI_API_KEY", "together_ai/Qwen/Qwen3-8B"),
)
"""Providers asked for most, with the variable of their key and a model string; litellm reaches many more."""

SERVERS = (
    ("Ollama", "http://127.0.0.1:11434/v1"),
    ("vLLM", "http://127.0.0.1:8000/v1"),
    ("llama.cpp", "http://127.0.0.1:8080/v1"),
    ("LM Studio", "http://127.0.0.1:1234/v1"),
)
"""Servers of one's own at the ports they take by default."""
WAIT_S = 2.0


@dataclass(frozen=True)
class Provider:
    """One provider, and whether its key is there."""

    name: str
    variable: str
    example: str
    has_key: bool


@dataclass(frozen=True)
class Server:
    """One address, and what answers there."""

    name: str
    api_base: str
    models: tuple[str, ...] | None
    """Names of its models; None when nothing answers."""
    fault: str = ""


def providers() -> list[Provider]:
    """Return the best known providers, and which have a key in the environment."""
    return [Provider(name, variable, example, bool(os.environ.get(variable))) for name, variable, example in PROVIDERS]


def servers(more: tuple[str, ...] = ()) -> list[Server]:
    """Ask the usual addresses of this machine, and those given, which models they have."""
    learn_secrets(more)
    places = [*SERVERS, *(("given", base) for base in more)]

    async def ask_all() -> list[Server]:
        return await asyncio.gather(*(_ask(name, base) for name, base in places))

    return asyncio.run(ask_all())


async def _ask(name: str, base: str) -> Server:
    import aiohttp

    shown = without_credentials(base)
    key = os.environ.get(KEY_VARIABLE)
    headers = {"Authorization": f"Bearer {key}"} if key and name == "given" else {}
    try:
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{base.rstrip('/')}/models", headers=headers) as answer,
        ):
            if answer.status != 200:
                return Server(name, shown, None, f"it answers with HTTP {answer.status}")
            found = (await answer.json(content_type=None))["data"]
            return Server(name, shown, tuple(str(each["id"])[:100] for each in found[:50]))
    except aiohttp.InvalidURL:
        return Server(name, shown, None, "this is no address")
    except TimeoutError:
        return Server(name, shown, None, f"no answer within {WAIT_S:g} s")
    except (aiohttp.ClientConnectorError, OSError):
        return Server(name, shown, None, "nothing answers")
    except (aiohttp.ClientError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Server(name, shown, None, without_secrets(f"its answer cannot be read ({type(error).__name__})"))

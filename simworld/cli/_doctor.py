"""What can be used here, and what to do next."""

from __future__ import annotations

import platform
import shlex
from dataclasses import dataclass
from importlib import metadata

from rich.text import Text

from simworld.cli import _tables as tables
from simworld.mind.llm import KEY_VARIABLE, Provider, Server, providers, servers

START = "simworld run friendship_paradox --agents 10 --steps 3"
PACKAGES = ("simworld", "mesa", "networkx", "numpy", "polars", "pydantic", "litellm", "aiohttp", "chromadb", "plotly")


@dataclass(frozen=True)
class Examined:
    """What was found."""

    versions: dict[str, str]
    providers: list[Provider]
    servers: list[Server]


def examine(api_base: tuple[str, ...]) -> Examined:
    """Look at versions, keys and servers."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing: install simworld again"
    return Examined(versions, providers(), servers(api_base))


def show(found: Examined) -> None:
    """Print it; of keys only whether they are there."""
    out = tables.console()
    tables.title(out, "versions")
    tables.pairs(out, list(found.versions.items()))
    tables.title(out, "providers (keys from the environment or .env; litellm reaches many more)")
    table = tables.plain_table("=", "=", "=")
    for one in found.providers:
        mark = Text("key", "green") if one.has_key else Text("no key", "dim")
        table.add_row(mark, tables.text(one.name), tables.text(f"{one.variable}  --model {one.example}", "dim"))
    out.print(table)
    tables.title(out, "servers")
    table = tables.plain_table("=", "=", "")
    for server in found.servers:
        answers = server.models is not None
        mark = Text("answers", "green") if answers else Text("silent", "dim")
        said = ", ".join(server.models or ()) or ("no model is loaded" if answers else server.fault)
        table.add_row(mark, tables.text(f"{server.name}  {server.api_base}"), tables.text(said))
    out.print(table)
    tables.title(out, "next")
    for line in _next(found):
        out.print(tables.text(f"  {line}"), soft_wrap=True)


def _next(found: Examined) -> list[str]:
    lines = []
    for server in found.servers:
        if server.models:
            model = shlex.quote(f"local/{server.models[0]}")
            lines.append(f"{START} --model {model} --api-base {server.api_base} --dry-run")
    keyed = [one for one in found.providers if one.has_key]
    lines += [
        f"simworld run friendship_paradox --agents 10 --steps 3 --model {one.example} --dry-run" for one in keyed[:1]
    ]
    if not lines:
        lines = [
            "simworld run friendship_paradox                         works as it is: rule policies, no model",
            "put a provider's key into .env here, such as OPENAI_API_KEY=..., or start a server: ollama serve",
            f"a server of your own is sent the key in {KEY_VARIABLE}; look at it with: simworld doctor --api-base URL",
        ]
    return lines

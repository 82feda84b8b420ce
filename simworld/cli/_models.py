"""The options that say which language models decide, how they are asked and what they may cost; and a person's turn."""

from __future__ import annotations

import json
import shlex
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from simworld.cli._errors import clean
from simworld.errors import UsageError

option = partial(click.option, show_envvar=True)


class Named(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``, divided by the last ``=``. In the environment, several, split as a shell would."""

    name = "name=value"

    def split_envvar_value(self, rv: str) -> list[str]:
        return shlex.split(rv)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, said = str(value).rpartition("=")
        if not equals or not name or not said:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, said


class Address(click.ParamType[tuple[str, str]]):
    """``URL``, for every model it can be meant for, or ``MODEL=URL``."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value[0], value[1]
        text = str(value)
        if text.startswith(("http://", "https://")):
            return "", text
        name, equals, url = text.partition("=http")
        if not equals:
            self.fail(f"{text!r} is no address; give http://… or MODEL=http://…", param, ctx)
        return name, f"http{url}"


def reaching(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that a resume may change: how models are reached and what they may cost."""
    for add in reversed(
        (
            option("--api-base", type=Address(), multiple=True, metavar="[MODEL=]URL",
                   help="Address of the server: of local/ models, or of all where there is none."),
            option("--budget", type=float, metavar="USD", help="Hard limit on the money the run may cost, in dollars."),
            option("--max-tokens-total", type=int, metavar="N", help="Hard limit on all its tokens, in and out."),
            option("--price", type=Named(), multiple=True, metavar="MODEL=IN,OUT",
                   help="Dollars a million tokens in and out, where litellm's table does not know them."),
            option("--concurrency", type=int, metavar="N", help="Most calls under way at one server.  [default: 128]"),
            option("--rpm", type=int, metavar="N", help="Most requests a minute."),
            option("--tpm", type=int, metavar="N", help="Most tokens a minute."),
            option("--timeout", type=float, metavar="S", help="Longest wait for one reply, seconds.  [default: 120]"),
            option("--retries", type=int, metavar="N", help="Sendings after the first, without a reply.  [default: 8]"),
            option("--cache", is_flag=True, help="Use answers of other runs again: same model, prompt, replicate."),
        )
    ):  # fmt: skip
        command = add(command)
    return command


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that answers depend on."""
    for add in reversed(
        (
            option("--model", multiple=True, metavar="M[:SHARE]",
                   help="A language model for the agents, or for a share of them: ollama/qwen3, gpt-4o-mini:0.7, "
                        "local/NAME for a server at --api-base. Several may be given."),
            option("--seat", type=Named(), multiple=True, metavar="AGENT=MIND",
                   help="The mind of one agent, by id or by a persona's id or name: 3=human."),
            option("--card", type=click.Choice(["full", "summary", "traits", "none"]), metavar="CARD",
                   help="How much of the persona a prompt shows: full, summary, traits, none.  [default: full]"),
            option("--temperature", type=float, metavar="X", help="Sampling temperature; by default the server's."),
            option("--max-tokens", type=int, metavar="N", help="Tokens of one answer.  [default: 1024]"),
            option("--attempts", type=int, metavar="N",
                   help="How often an agent is asked for one decision before it counts as refused.  [default: 3]"),
            option("--replicate", type=int, metavar="K", default=0, show_default=True,
                   help="Which replicate of the seed: another has other samples of the same models."),
        )
    ):  # fmt: skip
        command = add(command)
    return command


def service_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Service` that were said."""
    names = {
        "budget": "budget_usd", "max_tokens_total": "max_tokens_total", "concurrency": "concurrency",
        "rpm": "requests_per_minute", "tpm": "tokens_per_minute", "timeout": "timeout_s", "retries": "retries",
    }  # fmt: skip
    said = {field: given[name] for name, field in names.items() if given[name] is not None}
    if given["api_base"]:
        said["api_base"] = once("--api-base", given["api_base"])
    if given["price"]:
        said["prices"] = {model: _price(model, text) for model, text in once("--price", given["price"]).items()}
    if given["cache"]:
        from simworld.scenario import find_lab

        said["cache"] = str(find_lab().runs / "answers-cache.sqlite")
    return said


def _price(model: str, text: str) -> tuple[float, float]:
    try:
        into, out = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--price {model}={text} is not IN,OUT in dollars a million tokens, such as 0.15,0.6"
        ) from None
    return into, out


def once(option: str, given: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the pairs of an option that was given several times.

    Raises:
        UsageError: a name stands twice.
    """
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{option} is given twice for {twice!r}; give it once")
    return dict(given)


def asking_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `Asking` that were said."""
    return {n: given[n] for n in ("card", "temperature", "max_tokens", "attempts") if given[n] is not None}


def speak(request: Any) -> str:
    """Show a person what their agent sees, ask for each field, and return the answer as JSON."""
    bar, width = "─" * 60, max(shutil.get_terminal_size().columns - 1, 40)
    for role, text in request.messages if not request.position.attempt else request.messages[-1:]:
        if role != "assistant":
            shown = text.rpartition("\nAnswer with one JSON object")[0] if role == "system" else text
            click.echo(bar, err=True)
            for line in shown.splitlines():
                click.echo(textwrap.fill(clean(line), width), err=True)
    click.echo(bar, err=True)
    answer: dict[str, Any] = {}
    for name, prop in request.schema.strict["properties"].items():
        kinds = [prop.get("type"), *(each.get("type") for each in prop.get("anyOf", ()))]
        choices = f" ({', '.join(map(str, prop['enum']))})" if "enum" in prop else ""
        said = input(f"{name}{choices}: ")
        answer[name] = said if kinds == ["string"] or "enum" in prop else _value(said, kinds)
    return json.dumps(answer, ensure_ascii=False)


def _value(said: str, kinds: list[str | None]) -> Any:
    if not said.strip() and "null" in kinds:
        return None
    try:
        return json.loads(said)
    except ValueError:
        return {"yes": True, "no": False}.get(said.strip().lower(), said)

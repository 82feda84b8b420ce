"""Keys: known by their names in the environment, and in no reply, error or address that is shown or written."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from simworld.errors import ParameterError
from simworld.mind.llm import (
    KEY_VARIABLE,
    CallFailed,
    CompatibleModel,
    LiteLLMModel,
    Service,
    Switchboard,
    learn_secrets,
    without_credentials,
    without_secrets,
)
from simworld.mind.llm._secrets import SHORTEST
from tests.llm import asked, completion, http, odd_server
from tests.server import Behaviour, ModelServer

KEY = "sk-planted-0123456789-abcdef"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start without any secret, and forget those of the test."""
    for name in list(os.environ):
        if any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")):
            monkeypatch.delenv(name)
    learn_secrets()
    yield
    monkeypatch.undo()
    learn_secrets()


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "my_api_key",
     "GOOGLE_APPLICATION_CREDENTIALS", KEY_VARIABLE, "KEY", "Token", "SECRET_1", "MYAPP_APIKEY", "AWS_CREDENTIAL",
     "HUGGINGFACEHUB_API_TOKEN", "ANTHROPIC_AUTH_TOKEN", "KEY_FOR_TESTS"],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, KEY)
    assert without_secrets(f"Bearer {KEY}") == f"Bearer {KEY}", "the environment is read when it is said to be"
    learn_secrets()
    assert without_secrets(f"Bearer {KEY}, again {KEY}!") == "Bearer ***, again ***!"
    monkeypatch.delenv(name)
    learn_secrets()
    assert without_secrets(KEY) == KEY


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "a" * 40), ("A_TOKEN", "Donaudampfschifffahrt"), ("A_SECRET", KEY[: SHORTEST - 1]),
        ("OPENAI_API_KEY", "none"), ("API_KEY", ""), ("MAX_TOKENS", "100000000"), ("EDITOR", KEY),
        ("API_TOKEN", "100000000"), ("KEYBOARD_LAYOUT", "de-nodeadkeys"), ("MONKEY", "capuchin"),
        ("KEYSTONE", "arch-top"),
        ("TOKENIZERS_PARALLELISM", "sometimes"), ("SECRETARY", "Mr. Ballard"), ("PASSWORDLESS", "certainly"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    learn_secrets()
    text = f"none of it: {value} 100000000"
    assert without_secrets(text) == text


def test_a_secret_that_begins_with_another_is_hidden_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = "abcdefgh-1234567", "abcdefgh-1234567-ijklmnop"
    monkeypatch.setenv("A_KEY", short)
    monkeypatch.setenv("B_KEY", long)
    monkeypatch.setenv("C_KEY", short)
    learn_secrets()
    assert without_secrets(f"{long} {short}") == "*** ***"


def test_the_shortest_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SHORTEST == 16
    monkeypatch.setenv("A_KEY", KEY[:SHORTEST])
    learn_secrets()
    assert without_secrets(f"it is {KEY[:SHORTEST]}.") == "it is ***."


@pytest.mark.parametrize(
    ("address", "hidden", "shown"),
    [
        ("https://ada:open-sesame@gateway.example/v1", "open-sesame", "gateway.example"),
        (f"https://{KEY}@gateway.example/v1", KEY, "gateway"),
        ("https://ada-lovelace:pass@h/v1", "ada-lovelace", "lovelace"),
        ("https://ada:pass@h/v1", "pass", "ada"),
        ("https://a:b@h/v1", "", "a b h v1"),
        ("http://127.0.0.1:8000/v1", "", "127.0.0.1 8000 v1"),
    ],
)
def test_credentials_in_addresses_are_secrets_too(address: str, hidden: str, shown: str) -> None:
    """A person who writes them down there has chosen them: no length or look makes them a secret."""
    learn_secrets(["http://127.0.0.1:1/v1", address])
    said = without_secrets(f"{hidden} {shown}")
    assert said == f"{'***' if hidden else ''} {shown}"
    learn_secrets()
    assert without_secrets(f"{hidden} {shown}") == f"{hidden} {shown}", "those of the run before are forgotten"


def test_a_board_learns_the_credentials_of_every_address() -> None:
    bases = {"": "http://user-one:open-sesame-1@127.0.0.1:9/v1", "local/b": "http://open-sesame-2@127.0.0.1:9/v1"}
    Switchboard(Service(api_base=bases)).close()
    assert without_secrets("user-one open-sesame-1 open-sesame-2 127.0.0.1") == "*** *** *** 127.0.0.1"


GOOD = (
    "http://127.0.0.1:8000/v1", "https://gateway.example/v1", "http://[::1]:8000/v1", "http://u:p4ss@host:1/v1",
    "http://localhost", "https://h:65535/",
)  # fmt: skip
BAD = (
    "", "127.0.0.1:8000", "localhost:8000/v1", "ftp://host/v1", "http://", "http:///v1", "http://host:port/v1",
    "http://host:0/v1", "http://host:99999/v1", "http://host:-1/v1", "http://[::1/v1", "http://host/v1?key=1",
    "http://host/v1#top", "file:///etc/passwd",
)  # fmt: skip


@pytest.mark.parametrize("base", GOOD)
def test_an_address_of_a_server_is_taken(base: str) -> None:
    board = Switchboard(Service(api_base={"": base}))
    board.check(["local/x"])
    board.close()


@pytest.mark.parametrize("base", BAD)
@pytest.mark.parametrize("name", ["", "local/x"])
def test_what_is_no_address_of_a_server_is_refused(base: str, name: str) -> None:
    board = Switchboard(Service(api_base={"": GOOD[0], name: base}))
    with pytest.raises(ParameterError, match=r"--api-base .*http://HOST:PORT/v1"):
        board.check(["local/x"])
    board.close()


def test_a_refused_address_is_shown_without_its_password() -> None:
    board = Switchboard(Service(api_base={"": "http://ada:open-sesame@host:port/v1"}))
    with pytest.raises(ParameterError, match="no address of a server") as caught:
        board.check(["local/x"])
    assert "open-sesame" not in str(caught.value)
    board.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        (f"https://user:{KEY}@gateway.example/v1", "https://gateway.example/v1"),
        (f"https://{KEY}@gateway.example:8443/v1", "https://gateway.example:8443/v1"),
        (f"https://gateway.example/v1?key={KEY}#x{KEY}", "https://gateway.example/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        (f"http://a@{KEY}@host/v1", "http://host/v1"),
    ],
)
def test_an_address_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


# -- through the clients --------------------------------------------------------------------------------------------


def clients(base: str) -> list[Any]:
    return [CompatibleModel("scripted", base, 20.0), LiteLLMModel("openai/scripted", base, 20.0)]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "OPENAI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    learn_secrets()


@pytest.mark.parametrize("which", [0, 1], ids=["compatible", "litellm"])
def test_a_reply_that_repeats_the_key_does_not_show_it(which: int, planted: None) -> None:
    with ModelServer(Behaviour(fixed='{"text": "hm"}', echo_key=True)) as server:

        async def go() -> str:
            model = clients(server.base)[which]
            reply = await model.complete(asked())
            await model.close()
            return repr(reply)

        said = asyncio.run(go())
        assert server.app.authorizations == {f"Bearer {KEY}"}, "the server must have had the key to repeat it"
    assert KEY not in said
    assert "my key is Bearer ***" in said


@pytest.mark.parametrize("which", [0, 1], ids=["compatible", "litellm"])
@pytest.mark.parametrize("where", ["reasoning_content", "reasoning", "content", "<think>"])
def test_thoughts_that_repeat_the_key_do_not_show_it(which: int, where: str, planted: None) -> None:
    async def go() -> str:
        text = {"content": f"my key is {KEY}", "<think>": f"<think>my key is {KEY}</think>yes"}.get(where, "yes")
        beside = {where: f"my key is {KEY}"} if where.startswith("reasoning") else {}
        async with odd_server(http(200, completion(text, beside=beside))) as (base, _):
            model = clients(base)[which]
            reply = await model.complete(asked())
            await model.close()
            return repr(reply)

    said = asyncio.run(go())
    assert KEY not in said
    assert "my key is ***" in said


@pytest.mark.parametrize("which", [0, 1], ids=["compatible", "litellm"])
@pytest.mark.parametrize("status", [401, 400, 429, 500])
def test_an_error_that_repeats_the_key_does_not_show_it(which: int, status: int, planted: None) -> None:
    async def go() -> CallFailed:
        said = {"error": {"message": f"Incorrect API key provided: {KEY}", "param": KEY, "code": KEY}}
        async with odd_server(http(status, said)) as (base, _):
            model = clients(base)[which]
            with pytest.raises(CallFailed) as caught:
                await model.complete(asked())
            await model.close()
            return caught.value

    failed = asyncio.run(go())
    assert "API key provided: ***" in str(failed)
    while failed is not None:  # nor does what a traceback would print beside it
        if not failed.__suppress_context__ or isinstance(failed, CallFailed):
            assert KEY not in f"{failed} {failed!r}"
        failed = failed.__cause__ or (None if failed.__suppress_context__ else failed.__context__)  # type: ignore[assignment]


@pytest.mark.parametrize("which", [0, 1], ids=["compatible", "litellm"])
def test_a_model_name_that_repeats_the_key_does_not_show_it(which: int, planted: None) -> None:
    async def go() -> str:
        async with odd_server(http(200, completion("hm", model=f"gpt {KEY}"))) as (base, _):
            model = clients(base)[which]
            served_by = (await model.complete(asked())).served_by
            await model.close()
            return str(served_by)

    assert asyncio.run(go()) == "gpt ***"


@pytest.mark.parametrize("cut", range(250, 320, 7))
def test_a_key_that_is_cut_at_the_end_of_a_message_is_hidden_too(cut: int, planted: None) -> None:
    async def go() -> str:
        async with odd_server(http(500, ("x" * cut + KEY + "y" * 2000).encode())) as (base, _):
            model = CompatibleModel("scripted", base, 20.0)
            with pytest.raises(CallFailed) as caught:
                await model.complete(asked())
            await model.close()
            return str(caught.value)

    assert "sk-pl" not in asyncio.run(go())


def test_a_providers_key_does_not_go_to_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, KEY)
    learn_secrets()
    with ModelServer() as server:

        async def go() -> None:
            model = CompatibleModel("scripted", server.base, 20.0)
            await model.complete(asked())
            await model.close()

        asyncio.run(go())
        assert server.app.authorizations == set()

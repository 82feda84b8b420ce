"""Embedding models over HTTP: what arrives is checked, sending again is bounded, no key is shown or misdirected."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from simworld.errors import ModelError, ParameterError
from simworld.mind.llm import KEY_VARIABLE, LiteLLMEmbedder, learn_secrets
from tests.server import Behaviour, ModelServer
from tests.server.app import DIMENSIONS, EMBEDDING_FAULTS, vector

KEY = "sk-planted-0123456789-abcdef"
TEXTS = ["the harbour freezes in January", "Ada plays chess", "bread"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


made: list[LiteLLMEmbedder] = []
"""Those of the test, which are closed after it."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start without any secret, and forget those of the test."""
    for name in list(os.environ):
        if any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")):
            monkeypatch.delenv(name)
    learn_secrets()
    made.clear()
    yield
    for embedder in made:
        embedder.close()
    monkeypatch.undo()
    learn_secrets()


def local(server: ModelServer, **more: Any) -> LiteLLMEmbedder:
    how = {"retries": 2, "backoff_s": 0.01, "timeout_s": 5.0, **more}
    made.append(LiteLLMEmbedder("local/scripted", server.base, **how))
    return made[-1]


def unit(text: str) -> np.ndarray[Any, Any]:
    found = np.array(vector(text))
    return found / np.linalg.norm(found)


def test_rows_are_the_servers_vectors_at_length_one_in_the_texts_order() -> None:
    with ModelServer() as server:
        embedder = local(server)
        found = embedder.embed(TEXTS)
        assert server.app.n == 1
        np.testing.assert_allclose(found, [unit(text) for text in TEXTS], atol=1e-6)
        assert found.dtype == np.float32
        assert (embedder.name, embedder.dimensions, embedder.is_exact) == ("local/scripted", DIMENSIONS, False)
        assert server.app.n == 1, "the dimensions are known from the answer"
        assert embedder.input_tokens == sum(map(len, TEXTS)) // 4


def test_dimensions_are_asked_for_once_when_nobody_knows_them() -> None:
    with ModelServer() as server:
        embedder = local(server)
        assert server.app.n == 0
        assert [embedder.dimensions, embedder.dimensions] == [DIMENSIONS] * 2
        assert server.app.n == 1
        known = local(server, dimensions=DIMENSIONS)
        assert known.dimensions == DIMENSIONS
        assert known.embed([]).shape == (0, DIMENSIONS)
        assert server.app.n == 1


def test_many_texts_go_in_batches_and_empty_ones_stay_here() -> None:
    texts = [f"word{i}" for i in range(600)]
    texts[5], texts[300] = "", " \n"
    with ModelServer() as server:
        server.app.bodies = []
        found = local(server).embed(texts)
        assert [len(body["input"]) for body in server.app.bodies] == [256, 256, 86]
        assert {body["model"] for body in server.app.bodies} == {"scripted"}
    assert not found[[5, 300]].any()
    np.testing.assert_allclose(found[[0, 299, 301, 599]], [unit(texts[i]) for i in (0, 299, 301, 599)], atol=1e-6)


@pytest.mark.parametrize("fault", EMBEDDING_FAULTS)
def test_an_answer_that_is_no_vectors_is_refused(fault: str) -> None:
    with ModelServer(faults={fault: 1.0}) as server, pytest.raises(ModelError, match="'local/scripted'"):
        local(server, dimensions=DIMENSIONS).embed(TEXTS)


def test_the_dimensions_may_not_change_on_the_way() -> None:
    with ModelServer() as server:
        embedder = local(server)
        embedder.embed(TEXTS)
        server.app.behaviour.faults = {"wrong_dimension": 1.0}
        with pytest.raises(ModelError, match="have 7 dimensions, those before had 32"):
            embedder.embed(["and another"])


@pytest.mark.parametrize("fault", ["rate_limit", "rate_limit_after", "error_500", "error_503", "reset", "cut", "hang"])
def test_what_may_pass_is_sent_again_a_bounded_number_of_times(fault: str) -> None:
    behaviour = Behaviour(faults={fault: 1.0}, hang_s=3.0)
    with ModelServer(behaviour) as server:
        with pytest.raises(ModelError, match="did not answer, asked 3 times for 3 texts"):
            local(server, timeout_s=0.3).embed(TEXTS)
        assert server.app.n == 3, "the client library sends nothing again by itself"


def test_a_passing_fault_leaves_no_trace() -> None:
    with ModelServer(faults={"error_503": 0.5}) as server:
        found = local(server, retries=8).embed(TEXTS)
    with ModelServer() as server:
        assert np.array_equal(found, local(server).embed(TEXTS))


def test_a_request_that_is_wrong_is_sent_once() -> None:
    with ModelServer(status=400) as server:
        with pytest.raises(ModelError, match="cannot be asked"):
            local(server).embed(TEXTS)
        assert server.app.n == 1


def test_nothing_is_sent_again_once_the_run_ends() -> None:
    with ModelServer(faults={"error_500": 1.0}) as server:
        with pytest.raises(ModelError, match="asked once"):
            local(server, stopped=lambda: True).embed(TEXTS)
        assert server.app.n == 1


def test_a_wait_that_is_too_long_ends_it() -> None:
    with (
        ModelServer(faults={"rate_limit_after": 1.0}, retry_after_s=4000.0) as server,
        pytest.raises(ModelError, match="asks to wait 4,000 s"),
    ):
        local(server).embed(TEXTS)


@pytest.mark.parametrize("claimed, counted", [(-5, 12), (0, 12), (10**12, 12), (9, 9)])
def test_a_count_of_tokens_that_cannot_be_is_not_believed(claimed: int, counted: int) -> None:
    with ModelServer(usage=(claimed, 0)) as server:
        embedder = local(server)
        embedder.embed(TEXTS)
    assert embedder.input_tokens == counted


def test_a_providers_key_never_goes_to_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    learn_secrets()
    with ModelServer() as server:
        local(server).embed(TEXTS)
        monkeypatch.setenv(KEY_VARIABLE, "the-key-of-this-server")
        local(server).embed(TEXTS)
        assert server.app.authorizations == {"Bearer none", "Bearer the-key-of-this-server"}


def test_no_key_is_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    learn_secrets()
    with ModelServer(status=401, echo_key=True) as server, pytest.raises(ModelError) as failed:
        local(server).embed(TEXTS)
    assert KEY not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_model_of_a_provider_takes_an_address_too() -> None:
    with ModelServer() as server:
        embedder = LiteLLMEmbedder("openai/scripted", server.base, retries=0)
        made.append(embedder)
        np.testing.assert_allclose(embedder.embed(TEXTS), [unit(text) for text in TEXTS], atol=1e-6)
    assert embedder.name == "openai/scripted"


def test_it_can_be_asked_again_after_it_was_closed() -> None:
    with ModelServer() as server:
        embedder = local(server)
        before = embedder.embed(TEXTS)
        embedder.close()
        assert np.array_equal(embedder.embed(TEXTS), before)


@pytest.mark.parametrize(
    "model, said", [("openai/text-embedding-3-small", "OPENAI_API_KEY"), ("no-such-thing", "names no provider"),
                    ("local/name", "names no provider")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said_before_anything_is_sent(model: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        LiteLLMEmbedder(model)

"""Embedding models of any provider, and of a server of one's own, through litellm."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simworld.errors import ModelError
from simworld.mind.llm._compatible import KEY_VARIABLE, seconds_of
from simworld.mind.llm._limits import LONGEST_WAIT_S
from simworld.mind.llm._litellm import check_model, litellm_library
from simworld.mind.llm._secrets import without_secrets

LOCAL = "local/"
"""Begins the name of a model on a server of one's own that speaks OpenAI's ``/embeddings``."""
MOST_TEXTS = 256
"""Texts of one sending; every provider takes as many, and a lost sending costs little."""
PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same sending may succeed."""


class LiteLLMEmbedder:
    """One embedding model by its litellm string (``openai/text-embedding-3-small``, ``ollama/nomic-embed-text``), or
    ``local/NAME`` with an address.

    It has what the memory's embedders have, without knowing them: ``name``, ``dimensions``, ``is_exact``, ``embed``.
    """

    is_exact = False
    """A provider's machines do not give the same bits twice."""

    def __init__(
        self,
        model: str,
        api_base: str | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 4,
        backoff_s: float = 1.0,
        dimensions: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Nothing is sent.

        Args:
            model: name of the model.
            api_base: address of the server; needed for ``local/NAME``, where it ends before ``/embeddings``.
            timeout_s: seconds of silence after which a sending has failed.
            retries: sendings after the first, at least 0.
            backoff_s: seconds before the second sending; doubled each time, 120 at most.
            dimensions: what the model must give, where a run has recorded it; else its first answer says.
            stopped: whether the run is ending, so that nothing is sent again.

        Raises:
            ParameterError: no provider is meant, or its key is missing.
        """
        is_local = model.startswith(LOCAL) and api_base is not None
        self.name = model
        sent_as = f"openai/{model.removeprefix(LOCAL)}" if is_local else model
        check_model(sent_as, has_base=api_base is not None)
        self._litellm = litellm_library()
        # For embeddings, litellm takes `max_retries=0` for "not said" and has the client library send three times.
        self._litellm.DEFAULT_MAX_RETRIES = 0
        self._fixed: dict[str, Any] = {"model": sent_as, "timeout": timeout_s, "max_retries": 0, "num_retries": 0}
        if api_base is not None:
            self._fixed["api_base"] = api_base
            if is_local:
                # Said, so that a provider's own key never goes to another address.
                self._fixed["api_key"] = os.environ.get(KEY_VARIABLE) or "none"
            elif self._litellm.validate_environment(sent_as).get("missing_keys"):
                self._fixed["api_key"] = "none"
        self._retries = retries
        self._backoff_s = backoff_s
        self._stopped = stopped
        self._dimensions = dimensions
        self.input_tokens = 0
        """Tokens embedded so far as the provider counts them; a quarter of the bytes where it says nothing sensible."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector. Where nothing was embedded yet and nobody said, the model is asked for one word.

        Raises:
            ModelError: it did not answer.
        """
        if self._dimensions is None:
            self.embed(["dimensions"])
        assert self._dimensions is not None
        return self._dimensions

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return one row a text, shape (n, dimensions), each of length 1; zeros for an empty text, which is not sent.

        Raises:
            ModelError: no answer came however often it was asked, or one that holds no vectors for these texts.
        """
        asked = [i for i, text in enumerate(texts) if text.strip()]
        blocks = [asked[at : at + MOST_TEXTS] for at in range(0, len(asked), MOST_TEXTS)]
        rows = [self._rows([texts[i] for i in block]) for block in blocks]
        out = np.zeros((len(texts), self.dimensions), np.float32)
        for block, found in zip(blocks, rows, strict=True):
            out[block] = found
        return out

    def close(self) -> None:
        """Close the connections that litellm keeps for embedding; it opens new ones if asked again."""
        kept: dict[str, Any] = self._litellm.in_memory_llm_clients_cache.cache_dict
        for key, client in list(kept.items()):
            closing = getattr(client, "close", None)
            # The asynchronous ones are the language models', in use in another thread.
            if closing is not None and not inspect.iscoroutinefunction(closing):
                closing()
                kept.pop(key, None)

    def _rows(self, texts: list[str]) -> npt.NDArray[np.float32]:
        answer = self._sent(texts)
        try:
            entries = [_entry(one) for one in answer.data]
        except (AttributeError, KeyError, TypeError):
            raise self._useless("it is no list of vectors") from None
        if len(entries) != len(texts):
            raise self._useless(f"it holds {len(entries)} vectors for {len(texts)} texts")
        if all(isinstance(index, int) for index, _ in entries):
            if sorted(index for index, _ in entries) != list(range(len(texts))):
                raise self._useless("its vectors are not numbered as the texts are")
            entries.sort(key=lambda entry: entry[0])
        try:
            found = np.array([vector for _, vector in entries])
        except (ValueError, TypeError, OverflowError):
            raise self._useless("its vectors differ in length") from None
        if found.ndim != 2 or found.dtype.kind not in "fiu" or not found.shape[1]:
            raise self._useless("its vectors are not all numbers, or differ in length")
        if self._dimensions not in (None, found.shape[1]):
            raise self._useless(f"its vectors have {found.shape[1]} dimensions, those before had {self._dimensions}")
        wide = found.astype(np.float64)
        most = np.abs(wide).max(axis=1, keepdims=True)
        if not np.isfinite(most).all():
            raise self._useless("it holds numbers that are not finite")
        # By the largest first: squares of very large or small numbers leave float64.
        wide /= np.where(most > 0.0, most, 1.0)
        lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        self._dimensions = found.shape[1]
        self._count(answer, texts)
        return (wide / np.where(lengths > 0.0, lengths, 1.0)).astype(np.float32)

    def _count(self, answer: Any, texts: list[str]) -> None:
        n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts)
        said = getattr(getattr(answer, "usage", None), "prompt_tokens", None)
        # More tokens than bytes there cannot be, but for a few a text that mark its ends.
        is_sensible = isinstance(said, int) and 0 < said <= n_bytes + 8 * len(texts)
        self.input_tokens += said if is_sensible and said is not None else max(1, n_bytes // 4)

    def _sent(self, texts: list[str]) -> Any:
        for sent in range(self._retries + 1):
            try:
                return self._litellm.embedding(input=texts, **self._fixed)
            except Exception as error:  # noqa: BLE001 - every provider's errors arrive here, whatever their class
                said = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
                status = getattr(error, "status_code", None)
                if isinstance(status, int) and 400 <= status < 500 and status not in PASSING:
                    raise ModelError(f"embedding model {self.name!r} cannot be asked: {said}") from None
                headers = getattr(error, "litellm_response_headers", None) or {}
                wait = seconds_of(headers.get("retry-after")) or 0.0
            if wait > LONGEST_WAIT_S:
                raise ModelError(
                    f"embedding model {self.name!r} asks to wait {wait:,.0f} s ({said}); resume the run then"
                )
            if sent == self._retries or self._stopped():
                break
            time.sleep(wait + min(self._backoff_s * 2.0**sent, LONGEST_WAIT_S))
        times = "once" if sent == 0 else f"{sent + 1} times"
        raise ModelError(
            f"embedding model {self.name!r} did not answer, asked {times} for {len(texts)} texts; the last failure: "
            f"{said}"
        )

    def _useless(self, why: str) -> ModelError:
        return ModelError(f"embedding model {self.name!r} gave an answer that cannot be used: {why}")


def _entry(one: Any) -> tuple[Any, list[Any]]:
    """Return the number and the vector of one entry, which litellm leaves as a mapping or makes an object."""
    fields = one if isinstance(one, dict) else vars(one)
    vector = fields["embedding"]
    if not isinstance(vector, list):
        raise TypeError(type(vector).__name__)
    return fields.get("index"), vector

"""Asking for structured output, until the server says that it does not take it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from simworld.mind.llm._model import CallFailed, Reply

_WORDS = ("response_format", "json_schema", "schema", "guided")
"""What a server's refusal speaks of when it is about the schema."""


class StructuredOutput:
    """Whether one server takes a schema."""

    def __init__(self, is_taken: bool) -> None:
        self._is_taken = is_taken

    async def ask(self, send: Callable[[bool], Awaitable[Reply]]) -> Reply:
        """Send with a schema if it is taken; if the server refuses that, without, now and from then on.

        Every call that meets the refusal is sent again, so which one met it first changes no answer.
        """
        if self._is_taken:
            try:
                return await send(True)
            except CallFailed as failed:
                if failed.status not in (400, 422) or not any(word in str(failed) for word in _WORDS):
                    raise
            self._is_taken = False
        return await send(False)

"""From the text of a reply to a decision, or to one line that says what is wrong with it. Text is data, never run."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from pydantic import ValidationError

from simworld.mind._answers import refusal_of
from simworld.schema import Decision, Refusal

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
"""What a reasoning model says to itself before it answers."""


LONGEST_MENDED = 3_000
"""Characters of a reply that is mended; arbitrary: what mends it takes time that grows with their square."""


class Read(NamedTuple):
    """What was made of one reply: a decision, or a refusal that says why there is none."""

    answer: Decision | Refusal
    is_repaired: bool = False


def read(decision: type[Decision], text: str, finish: str) -> Read:
    """Read a reply as a decision.

    First as it stands, without a reasoning model's thoughts; then, if it is no JSON, the object in it, repaired. Types
    are strict in both: ``"3"`` is no integer. An answer that was cut off is never completed.
    """
    if finish == "length":
        return _refused(decision, "the answer was cut off; answer more briefly")
    if finish == "content_filter":
        return _refused(decision, "the provider's filter withheld the answer")
    if finish == "too_long":
        return _refused(decision, "the answer was far too long")
    body = text.strip()
    for spoken in dict.fromkeys((body, _spoken(body))):
        if not spoken:
            return _refused(decision, "the answer was empty")
        try:
            return Read(decision.model_validate_json(spoken))
        except ValidationError as error:
            if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] != "json_invalid":
                return Read(refusal_of(decision, error))
        body = spoken
    mended = _repaired(body)
    if mended is None:
        return _refused(decision, "there is no JSON object in the answer")
    try:
        return Read(decision.model_validate_json(mended), is_repaired=True)
    except ValidationError as error:
        return Read(refusal_of(decision, error), is_repaired=True)


def _spoken(text: str) -> str:
    """Return a reply without thoughts; where the chat template opens them, only their end is there."""
    text = _THOUGHTS.sub("", text)
    return re.split(r"</think(?:ing)?>", text)[-1].strip()


def _repaired(body: str) -> bytes | None:
    from json_repair import repair_json

    start = body.find("{")
    if start < 0:
        return None
    if len(body) - start > LONGEST_MENDED:
        return None
    try:
        found = repair_json(body[start:], return_objects=True, skip_json_loads=True)
    except (ValueError, RecursionError):  # nested beyond what anybody means
        return None
    if isinstance(found, list):  # words after the object
        found = next((each for each in found if isinstance(each, dict)), None)
    if not isinstance(found, dict) or not found:
        return None
    try:
        return json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):  # a number of thousands of digits
        return None


def _refused(decision: type[Decision], reason: str) -> Read:
    return Read(Refusal(decision=decision.__name__, field="", reason=reason))

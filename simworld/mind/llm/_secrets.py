"""Keys and tokens of the environment, kept out of every text that is shown or written."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

_NAMES = re.compile(r"(^|_)(API)?(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST = 16
"""Characters of the shortest value that is taken for a secret by its name; a shorter one could be an ordinary word."""


_known: list[str] = []


def learn_secrets(addresses: Iterable[str] = ()) -> None:
    """Read anew what must not be shown: secrets of the environment, by their names, and credentials in addresses.

    Done before the first call of a run.
    """
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and not value.isdigit() and not value.isalpha() and _NAMES.search(name)
    }
    for address in addresses:
        with contextlib.suppress(ValueError):  # no address; whoever uses it says so
            parts = urlsplit(address)
            found |= {word for word in (parts.password, parts.username) if word and len(word) >= 4}
    _known[:] = sorted(found, key=lambda value: (-len(value), value))


def without_secrets(text: str) -> str:
    """Return a text with every known secret replaced by ``***``."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, "***")
    return text


def without_credentials(url: str) -> str:
    """Return an address without user, password, query and fragment, which may hold a key."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])

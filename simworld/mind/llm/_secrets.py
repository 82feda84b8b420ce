"""Keys and tokens of the environment, kept out of every text that is shown or written."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit, urlunsplit

_NAMES = re.compile(r"(^|_)(API)?(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST = 8
"""Characters of the shortest value that is taken for a secret; a shorter one would blot out ordinary words."""


_known: list[str] = []


def learn_secrets() -> None:
    """Read anew which values of the environment look like secrets by their names; before the first call of a run."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and not value.isdigit() and _NAMES.search(name)
    }
    _known[:] = sorted(found, key=lambda value: (-len(value), value))


def without_secrets(text: str) -> str:
    """Return a text with every known secret replaced by ``***``."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, "***")
    return text


def without_credentials(url: str) -> str:
    """Return an address without user, password, query and fragment, which may hold a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))

"""What every test can rely on: no network but loopback, and no setting of the machine it happens to run on."""

from __future__ import annotations

import socket
from typing import Any

import pytest

_connect = socket.socket.connect


def _only_loopback(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        host = str(address[0])
        if not (host.startswith("127.") or host in ("::1", "localhost")):
            raise AssertionError(f"a test tried to reach {host}")
    _connect(self, address)


@pytest.fixture(autouse=True)
def hermetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse the network, and forget the terminal's size and the user's settings."""
    monkeypatch.setattr(socket.socket, "connect", _only_loopback)
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "SIMWORLD_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

"""Serving the application: in a thread of the test's process, or in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.server.app import App, Behaviour

ROOT = Path(__file__).resolve().parents[2]


class _Protocol(HttpToolsProtocol):
    """Hands the application its connection, so that it can break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["transport"] = self.transport  # type: ignore[typeddict-unknown-key]


def _config(app: App) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=_Protocol, ws="none", lifespan="off", log_level="critical", access_log=False, loop="asyncio",
        timeout_graceful_shutdown=1,
    )  # fmt: skip


def free_socket() -> socket.socket:
    """Return a listening socket on a free port of loopback."""
    # With its protocol named, asyncio sets TCP_NODELAY; without, an answer waits 40 ms for an acknowledgement.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    return listening


class ModelServer:
    """The server in a thread: its application's log can be read and its behaviour changed while it serves."""

    def __init__(self, behaviour: Behaviour | None = None, **changes: Any) -> None:
        self.app = App(behaviour or Behaviour(**changes))
        self._socket = free_socket()
        self._server = uvicorn.Server(_config(self.app))
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base(self) -> str:
        """Its address, as ``--api-base`` takes it."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
        self._socket.close()


class ServerProcess:
    """The server in a process of its own, for what is killed or measured."""

    def __init__(self, behaviour: Behaviour | None = None, **changes: Any) -> None:
        self._behaviour = behaviour or Behaviour(**changes)
        self.base = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.server", self._behaviour.to_json()],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.base = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"
        return self

    def log(self) -> dict[str, Any]:
        """Return what it was sent so far."""
        with urllib.request.urlopen(f"{self.base}/log", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve_alone(behaviour: str) -> None:
    """Serve until killed, in this process; print the port."""
    listening = free_socket()
    print(listening.getsockname()[1], flush=True)
    asyncio.run(uvicorn.Server(_config(App(Behaviour.from_json(behaviour)))).serve(sockets=[listening]))

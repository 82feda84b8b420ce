"""``--model ollama/qwen3``: litellm speaks Ollama's own language to a server that knows nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
from tests.server.minds import answer


class Ollama(BaseHTTPRequestHandler):
    """Answers what Ollama's /api/generate is asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply: dict[str, Any] = {}
        if self.path == "/api/generate":
            self.server.asked.append(asked)  # type: ignore[attr-defined]
            system, begins, user = asked["prompt"].replace("### User:", "").partition("Who you are:")
            text = answer([{"content": system.strip()}, {"content": begins + user}])
            counts = {"prompt_eval_count": 300, "eval_count": 20}
            reply = {"model": "qwen3", "created_at": "2026-01-01T00:00:00Z", "response": text, "done": True, **counts}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def ollama() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Ollama)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_it_is_asked_with_the_schema_costs_nothing_and_is_verified_without_it(ollama: Any, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{ollama.server_port}"
    run = sw.run(
        "friendship_paradox", n_agents=6, steps=2, model="ollama/qwen3", api_base=base, budget_usd=1.0,
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.answers["first_try"].sum() == run.calls.height == len(ollama.asked) > 0
    assert all(set(asked["format"]["properties"]) and asked["options"]["num_predict"] == 1024 for asked in ollama.asked)
    assert run.spending["usd"].sum() == 0.0
    assert run.calls["input_tokens"].unique().to_list() == [300]
    assert run.verify()

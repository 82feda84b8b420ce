"""The viewer's server: for this machine only, reading only, in words where something is wrong, and gone with Ctrl-C."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from simworld.cli._main import cli
from simworld.errors import UsageError
from simworld.run import Run
from simworld.view import Viewer, free_port, serve
from tests.view.crowd import crowd

ENDS_WITHIN_S = 15.0
"""Alone it takes half a second; a hang would take for ever, and what else runs here is not known."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return crowd(tmp_path_factory.mktemp("crowd"))


@pytest.fixture(scope="module")
def viewer(run: Run) -> Iterator[Viewer]:
    with serve([run], port=0) as served:
        yield served


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(str(at.hostname), at.port, timeout=20)
    connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def contents(folder: Path) -> dict[str, Any]:
    return {str(f): (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}


def test_the_page_its_files_and_answers_come_with_a_strict_policy(viewer: Viewer) -> None:
    paths = ("/", "/main.js", "/app.css", "/api/session", "/api/run/0/ties/0", "/plotly.js", "/nope")
    kinds = ("text/html", "text/javascript", "text/css", "application/json", "application/octet-stream",
             "text/javascript", "application/json")  # fmt: skip
    for path, kind in zip(paths, kinds, strict=True):
        status, headers, body = ask(viewer.url, path)
        assert (path, status) == (path, 404 if path == "/nope" else 200)
        assert headers["content-type"].partition(";")[0] == kind
        assert body
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    tag = ask(viewer.url, "/plotly.js", "HEAD")[1]["etag"]
    assert ask(viewer.url, "/plotly.js", if_none_match=tag)[0] == 304


def test_it_answers_to_this_machine_by_name_and_only_reads(viewer: Viewer) -> None:
    port = urlsplit(viewer.url).port
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"):
        assert ask(viewer.url, "/api/session", host=host)[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "localhost", f"localhost:{port}.evil.example", ""):
        status, _, body = ask(viewer.url, "/api/session", host=host)
        assert status == 400
        assert "localhost" in json.loads(body)["error"]
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        status, headers, _ = ask(viewer.url, "/api/session", method)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
    status, headers, body = ask(viewer.url, "/api/session", "HEAD")
    assert (status, body) == (200, b"")
    listening = socket.socket()
    with pytest.raises(OSError), listening:
        listening.bind(("127.0.0.1", port))


def test_no_path_leads_out_of_it(viewer: Viewer, run: Run) -> None:
    for path in (
        "/../app.html", "/..%2f..%2f..%2fetc%2fpasswd", "/app/../_server.py", "/_server.py", "/__init__.py",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/pyproject.toml", "/api/../app.html", "/api/run/0/../../session",
        "/api/run/0/column/agents/..%2f..%2fmanifest.json/0", f"/api/run/{run.path}/head", "/manifest.json",
        "/api/run/0/events/0%00", "/" + "a" * 5_000, "/app.html%00.js", "/api/run/0/lineage/99999999999999999999",
    ):  # fmt: skip
        status, _, body = ask(viewer.url, path)
        assert status == 404, path
        assert "\n" not in json.loads(body)["error"]
        assert len(body) < 500


def test_json_is_compressed_for_those_who_take_it(viewer: Viewer) -> None:
    path = "/api/run/0/search?limit=50"
    _, plain, body = ask(viewer.url, path)
    _, zipped, packed = ask(viewer.url, path, accept_encoding="gzip")
    assert "content-encoding" not in plain
    assert zipped["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == body
    assert "content-encoding" not in ask(viewer.url, "/api/run/0/ties/0", accept_encoding="gzip")[1]
    assert "<img src=x onerror" in json.loads(body)["rows"][0]["text"]
    assert b"NaN" not in body


def test_a_run_is_read_and_never_written(run: Run) -> None:
    before = contents(run.path)
    with serve([run, run], port=0) as viewer:
        for path in ("session", "compare", "run/1/head", "run/0/layout", "run/0/traits", "run/0/marks", "run/0/agent/1",
                     "run/0/decisions/3/1", "run/0/findings", "run/0/column/agents/note/0"):  # fmt: skip
            assert ask(viewer.url, f"/api/{path}")[0] == 200
    assert not viewer.is_open
    assert contents(run.path) == before
    with pytest.raises(OSError):
        ask(viewer.url, "/")


def test_what_goes_wrong_is_said_in_one_line(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to view"):
        serve([])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on port {port}.*--port"):
            serve([run], port=port)
    assert free_port(0) > 0
    gone = crowd(tmp_path / "gone")
    with serve([gone], port=0) as viewer:
        for file in sorted(gone.path.rglob("*.parquet")):
            os.truncate(file, 10)
        status, _, body = ask(viewer.url, "/api/run/0/metrics")
        assert (status, "truncated or altered" in json.loads(body)["error"]) == (500, True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text('{"a": 1}')
    for args, words in (
        (["view", str(tmp_path / "foreign")], "manifest.json"), (["view", str(tmp_path / "none")], "no run"),
        (["view"], "missing argument"), (["run", "village", "--watch", "--quiet"], "--watch"),
    ):  # fmt: skip
        done = CliRunner().invoke(cli, args)
        assert done.exit_code in (1, 2), args
        assert words in done.stderr.lower()
        assert done.stderr.count("\n") == 1


def begun(args: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a command and return it with the address it prints."""
    env = {**os.environ, "CI": "true", "XDG_CACHE_HOME": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "simworld", *args], cwd=folder, env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    while ready := select.select([process.stdout], [], [], 40)[0]:
        line = process.stdout.readline()
        if line.startswith("Viewer: "):
            return process, line.split()[1]
        assert line, "it ended without an address"
    process.kill()
    raise AssertionError(f"no address within 40 s: {ready}")


@pytest.mark.slow
def test_the_command_serves_until_ctrl_c(run: Run, tmp_path: Path) -> None:
    process, url = begun(["view", str(run.path), "--no-open", "--port", "0"], tmp_path)
    try:
        assert json.loads(ask(url, "/api/run/0/head")[2])["digest"] == run.digest
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        assert time.monotonic() - began < ENDS_WITHIN_S
        assert process.returncode == 0
        assert "Traceback" not in said
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_run_is_watched_while_it_grows_and_afterwards(run: Run, tmp_path: Path) -> None:
    scenario = f"{run.path.parent / 'crowd.py'}@Crowd"
    process, url = begun(["run", scenario, "--steps", "4", "--watch", "--seed", "4", "--out", "out"], tmp_path)
    try:
        deadline, head = time.monotonic() + 40, {}
        while head.get("status") != "finished" and time.monotonic() < deadline:
            try:
                head = json.loads(ask(url, "/api/run/0/head")[2])
            except OSError:
                time.sleep(0.1)
        assert (head["steps"], head["is_growing"]) == (4, False)
        assert head["digest"] == stated(tmp_path / "out")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 0
        deadline = time.monotonic() + 5
        with pytest.raises(OSError):  # noqa: PT012
            while time.monotonic() < deadline:
                ask(url, "/")
    finally:
        process.kill()
        process.communicate()


def stated(folder: Path) -> str:
    """Return the digest that a run's manifest states."""
    return str(json.loads((folder / "manifest.json").read_text())["digest"])


def test_two_viewers_have_two_ports_and_pages(run: Run) -> None:
    with serve([run]) as one, serve([run], is_framed=True) as other:
        assert one.url != other.url
        assert ask(one.url, "/")[2] == ask(other.url, "/")[2]
        assert "http://localhost:*" in ask(other.url, "/")[1]["content-security-policy"]

"""The viewer's server: reads the runs it was given, for this machine only, and changes nothing."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simworld.errors import RunError, SimworldError, UsageError
from simworld.run import Run
from simworld.sweep import CampaignResults
from simworld.view.replay._pack import to_json
from simworld.view.replay._session import JSON, NoSuchPath, Session

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request
    from starlette.responses import Response

HOST = "127.0.0.1"
PORTS = range(8700, 8800)
"""Ports that are tried where none was named; then any."""
ZIPPED_FROM = 4_096
"""Bytes from which JSON is compressed."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
FRAMES = "http://localhost:* http://127.0.0.1:* https://localhost:* vscode-webview:"
"""Pages that may show the viewer inside, where a notebook asked for it."""
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {}"
)
"""plotly writes its styles into the page; nothing else is inline, nothing comes from elsewhere."""


class Viewer:
    """A viewer that is being served."""

    def __init__(self, session: Session, server: uvicorn.Server, thread: threading.Thread, port: int) -> None:
        self.url = f"http://{HOST}:{port}/"
        """Address of its page."""
        self.session = session
        self.height = 720
        """Pixels in a notebook."""
        self._server = server
        self._thread = thread

    @property
    def is_open(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it stops answering, at most so long."""
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(2.0)
        self.session.close()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        if not self.is_open:
            return f"<p>{self!r}</p>"
        style = "border: 1px solid #8888; border-radius: 6px"
        return f'<iframe src="{self.url}" width="100%" height="{int(self.height)}" style="{style}"></iframe>'

    def __repr__(self) -> str:
        return f"simworld viewer at {self.url}{'' if self.is_open else ' (closed)'}"


def serve(
    runs: Sequence[Run | str | Path] = (),
    *,
    campaign: CampaignResults | None = None,
    port: int | None = None,
    is_framed: bool = False,
) -> Viewer:
    """Serve the replay viewer for one run, two, or a campaign, in a thread of this process, and return at once.

    Args:
        runs: runs, or their folders.
        campaign: a campaign instead; its recorded runs open from its page.
        port: where it listens on this machine; the first free one from 8700 on when None, any with 0.
        is_framed: whether a notebook on this machine may show it inside its page.

    Raises:
        UsageError: there is nothing to show, or the port is taken.
        RunError: a run cannot be read.
    """
    import uvicorn

    if not runs and campaign is None:
        raise UsageError("there is nothing to view; name a run (simworld show lists them)")
    if len(runs) > 2:
        raise UsageError(f"one run or two can be viewed at a time, not {len(runs)}")
    session = Session([run if isinstance(run, Run) else Path(run) for run in runs], campaign)
    listener = _listener(port)
    at = int(listener.getsockname()[1])
    app = _app(session, at, CSP.format(FRAMES if is_framed else "'none'"))
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, lifespan="off", ws="none", server_header=False, date_header=False,
        timeout_graceful_shutdown=1, timeout_keep_alive=30,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def run() -> None:
        # Ctrl-C is the main thread's to hear.
        with contextlib.suppress(KeyboardInterrupt, SystemExit):
            server.run(sockets=[listener])

    thread = threading.Thread(target=run, name="simworld viewer", daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    if not server.started:
        raise UsageError(f"the viewer's server did not start on port {at}; name another with --port")
    threading.Thread(target=_start, args=(session,), name="simworld viewer layout", daemon=True).start()
    return Viewer(session, server, thread, at)


def _start(session: Session) -> None:
    # What cannot be read is said where it is asked for.
    with contextlib.suppress(SimworldError):
        session.start()


def _listener(port: int | None) -> socket.socket:
    """Return a socket that listens on the loopback address.

    Raises:
        UsageError: the port is taken, or not allowed.
    """
    if port is not None and not 0 <= port <= 65_535:
        raise UsageError(f"no port {port}; there are 1 to 65535, and 0 takes any that is free")
    failed: OSError | None = None
    for each in [*PORTS, 0] if port is None else [port]:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":  # there it would let two servers have one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((HOST, each))
            listener.listen(64)
        except OSError as error:
            listener.close()
            failed = error
        else:
            return listener
    said = failed.strerror if failed is not None and failed.strerror else str(failed)
    raise UsageError(f"the viewer cannot listen on port {port}: {said}; name another with --port, or leave it out")


def free_port(port: int | None = None) -> int:
    """Return a port on which a viewer can listen: this one, or the first free one from 8700 on.

    Raises:
        UsageError: it is taken.
    """
    with contextlib.closing(_listener(port)) as listener:
        return int(listener.getsockname()[1])


def _app(session: Session, port: int, csp: str) -> Any:
    """Return the application: page, its scripts, plotly, and the answers under ``/api/``."""
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request

    hosts = {f"{name}:{port}" for name in ("localhost", HOST, "[::1]")}
    always = {
        "content-security-policy": csp, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }  # fmt: skip

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.headers.get("host", "").lower() not in hosts:
            response: Response = _refused(400, f"this server answers to localhost:{port} only")
        elif request.method not in ("GET", "HEAD"):
            response = _refused(405, f"{request.method[:20]} is not possible: the viewer only reads")
            response.headers["allow"] = "GET, HEAD"
        else:
            response = await run_in_threadpool(_respond, session, request)
        for name, value in always.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    return app


def _refused(status: int, words: str) -> Response:
    from starlette.responses import Response

    return Response(to_json({"error": " ".join(words.split())}), status, media_type=JSON)


def _respond(session: Session, request: Request) -> Response:
    from starlette.responses import Response

    raw = request.scope.get("raw_path") or request.url.path.encode()
    path = raw.decode("latin-1").partition("?")[0]
    if path.startswith("/api/"):
        asked = path.removeprefix("/api/") + (f"?{request.url.query}" if request.url.query else "")
        return _answered(session, asked, "gzip" in request.headers.get("accept-encoding", ""))
    if path == "/plotly.js":
        return _plotly(request.headers.get("if-none-match", ""))
    page = _page("app.html" if path == "/" else path.removeprefix("/").removeprefix("app/"))
    if page is None:
        return _refused(404, f"nothing is at {path[:80]!r}")
    content, kind = page
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


def _answered(session: Session, asked: str, zips: bool) -> Response:
    from starlette.responses import Response

    try:
        answer = session.answer(asked)
    except NoSuchPath as error:
        return _refused(404, str(error))
    except UsageError as error:
        return _refused(404, str(error))
    except RunError as error:
        return _refused(500, str(error))
    except OSError as error:
        return _refused(500, f"a file of the run cannot be read: {error}")
    except Exception as error:  # noqa: BLE001  # a folder that is no run of ours any more may break anything
        print(f"simworld view: {asked[:200]!r}: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return _refused(500, f"this part of the run cannot be read ({type(error).__name__}: {str(error)[:300]})")
    body, headers = answer.body, {}
    if answer.kind == JSON and zips and len(body) >= ZIPPED_FROM:
        body, headers = gzip.compress(body, 1), {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(body, media_type=answer.kind, headers=headers)


def _page(name: str) -> tuple[bytes, str] | None:
    """Return a file of the page by its name; names are compared, never joined to a path."""
    for file in files("simworld.view.replay").joinpath("app").iterdir():
        kind = TYPES.get(Path(file.name).suffix)
        if file.name == name and kind is not None and file.is_file():
            return file.read_bytes(), kind
    return None


def _plotly(known: str) -> Response:
    from starlette.responses import Response

    script = plotly_script()
    tag = f'"{hashlib.sha256(script).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "max-age=604800"}
    if known == tag:
        return Response(status_code=304, headers=headers)
    return Response(script, media_type=TYPES[".js"], headers=headers)


_script: list[bytes] = []


def plotly_script() -> bytes:
    """Return the script of the charts, from plotly's Python package."""
    if not _script:
        from plotly.offline import get_plotlyjs

        _script.append(get_plotlyjs().encode())
    return _script[0]


# -- beside a run that is made ---------------------------------------------------------------------------------------

BEGINS_WITHIN_S = 60.0
"""Seconds in which a run is expected to have its first step, or to have ended."""


def serve_beside() -> None:
    """Serve the run in the folder that the first argument names until standard input ends; for `simworld run --watch`.

    Prints the address once the run has begun, or one line that says why there is none.
    """
    path, port = Path(sys.argv[1]), sys.argv[2]
    try:
        deadline = time.monotonic() + BEGINS_WITHIN_S
        while time.monotonic() < deadline:
            run = Run(path)
            if run.recorded_steps or run.status not in ("running", "interrupted"):
                break
            time.sleep(0.1)
        viewer = serve([path], port=int(port) if port else None)
    except SimworldError as error:
        print(" ".join(str(error).split()), flush=True)  # noqa: T201
        return
    print(viewer.url, flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        sys.stdin.read()
    viewer.close()
    # Nothing is left to be written, and the interpreter takes a second to put away what it imported.
    os._exit(0)

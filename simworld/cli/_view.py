"""The command that opens the replay viewer, and the viewer beside a run that is being made."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from simworld.cli._errors import clean
from simworld.errors import UsageError

option = partial(click.option, show_envvar=True)

NOTICED_EVERY_S = 0.2
"""Seconds in which the end of a server is noticed."""
CLOSES_WITHIN_S = 0.5
"""Seconds that the viewer beside a run has to end by itself; it writes nothing that could be torn."""


@click.command(
    short_help="Open the replay viewer on a run, two runs, or a campaign.",
    epilog="A run is a folder, a run's name or how it begins, or last.",
)
@click.argument("what", metavar="RUN|CAMPAIGN")
@click.argument("other", metavar="[RUN]", required=False)
@option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Port on this machine.  [default: the first free one from 8700]",
)
@option("--no-open", is_flag=True, help="Open no browser; print the address only.")
def view(what: str, other: str | None, port: int | None, no_open: bool) -> None:
    """Open the replay viewer in the browser: the society in motion, and why each did what it did.

    It answers to this machine only, and changes nothing in a run. Ctrl-C ends it.

    \b
    simworld view last
    simworld view last --port 8800 --no-open
    simworld view RUN FORK        (side by side, on one clock)
    simworld view my_campaign
    """
    from simworld.cli import _progress, _runs
    from simworld.sweep import is_campaign, load_campaign
    from simworld.view import open_browser, serve

    with _progress.waiting(f"opening {what}"):
        if is_campaign(what):
            if other is not None:
                raise UsageError(f"{what} is a campaign, which is viewed alone; leave {other!r} out, or name two runs")
            viewer = serve(campaign=load_campaign(what), port=port)
        else:
            viewer = serve([_runs.find(each) for each in (what, other) if each is not None], port=port)
    with viewer:
        click.echo(f"Viewer: {viewer.url}")
        click.echo("Ctrl-C ends it")
        if not no_open:
            open_browser(viewer.url)
        with _ended_by_signal():
            while viewer.is_open:
                viewer.wait(NOTICED_EVERY_S)
    sys.stdout.flush()


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Take Ctrl-C, and being terminated, for a wish to end."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        click.echo("")
    finally:
        signal.signal(signal.SIGTERM, before)


class Beside:
    """The viewer of a run that is being made, in a process of its own: the run goes on at full speed."""

    def __init__(self, folder: Path, port: int | None) -> None:
        from simworld.view import free_port

        self.port = free_port(port)
        self.url = f"http://127.0.0.1:{self.port}/"
        program = "from simworld.view.replay import serve_beside; serve_beside()"
        more: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}  # Ctrl-C is for the run
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(self.port)], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **more,
        )  # fmt: skip
        self._said = ""
        self._reader = threading.Thread(target=self._listen, daemon=True)

    def begin(self, *, opens: bool) -> None:
        """Open the browser as soon as the run has begun."""
        self._opens = opens
        self._reader.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        from simworld.view import open_browser

        self._said = self._process.stdout.readline().strip()
        if self._said == self.url and self._opens:
            open_browser(self.url)

    def stay(self) -> None:
        """Keep the viewer open until Ctrl-C."""
        with _ended_by_signal():
            self._reader.join()
            if self._said != self.url:
                click.echo(f"no viewer: {clean(self._said) or 'its process ended'}", err=True)
                return
            click.echo(f"Viewer: {self.url}")
            click.echo("the run is over; Ctrl-C ends the viewer")
            sys.stdout.flush()
            self._process.wait()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(CLOSES_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def beside(folder: Path, port: int | None = None, *, opens: bool = True) -> Iterator[Beside]:
    """Serve the viewer of a run that is being made, until the end of the block."""
    watched = Beside(folder, port)
    click.echo(f"Viewer: {watched.url} (from the first step on)")
    watched.begin(opens=opens)
    try:
        yield watched
    finally:
        watched.close()

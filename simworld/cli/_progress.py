"""How far a run is: a live display where there is a terminal, a plain line now and then where there is none."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simworld.cli._errors import clean
from simworld.cli._tables import clock, number
from simworld.mind.llm import HUMAN, Ledger, Switchboard
from simworld.run import Progress

if TYPE_CHECKING:
    from simworld.sweep import Progress as CampaignProgress

LINE_EVERY_S = 2.0
"""Seconds between two plain lines."""
SHOWN = 4
"""Metrics shown while it runs; what a terminal of 80 columns holds."""
PARADOX = ("weak_in_out", "strong_in_out", "weak", "strong")  # the last two where ties have no direction


class Pace:
    """Where a run is and how fast it goes, measured from the first step seen: a resumed run starts in the middle."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.step, self.steps = 0, 0
        self.metrics: Mapping[str, Any] = {}
        self._first: int | None = None
        self._began = self._last = time.perf_counter()

    def __call__(self, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Take in a step; called after every one, so it does next to nothing."""
        self._last = time.perf_counter()
        if self._first is None:
            self._first, self._began = step, self._last
        self.step, self.steps, self.metrics = step, steps, metrics

    @property
    def has_begun(self) -> bool:
        """Whether a step has been seen."""
        return self._first is not None

    @property
    def rate(self) -> float:
        """Steps per second; 0 before there are two."""
        passed = self._last - self._began
        return (self.step - (self._first or 0)) / passed if passed > 0 else 0.0

    def words(self) -> list[str]:
        """Return speed and time left, as far as they are known."""
        if not self.rate:
            return []
        # Counted down between steps, which may take minutes.
        left = max((self.steps - self.step) / self.rate - (time.perf_counter() - self._last), 0.0)
        speed = f"{self.rate:,.0f}" if self.rate >= 100 else f"{self.rate:.2g}"
        return [f"{speed} steps/s", *([f"{clock(left)} left"] if self.step < self.steps else [])]


def spent(ledger: Ledger) -> str:
    """Return in a few words what language models took so far."""
    if not ledger.calls and not ledger.under_way:
        return ""
    usd = ledger.usd + ledger.lost_usd
    money = f", ${usd:.4f}" if usd or not ledger.n_unpriced else ""
    of = f" of ${ledger.budget_usd:g}" if money and ledger.budget_usd is not None else ""
    waiting = f", {ledger.under_way} under way" if ledger.under_way else ""
    return f"{ledger.calls:,} calls, {ledger.tokens:,} tokens{money}{of}{waiting}"


def chosen(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the few metrics worth watching as (short name, value): the scenario's own, then the friendship paradox."""
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    paradox = [f"friendship_paradox.{name}" for name in PARADOX if f"friendship_paradox.{name}" in numbers]
    own = [name for name in numbers if "." not in name] or [name for name in numbers if name not in paradox]
    return [(clean(name.rpartition(".")[2]), number(numbers[name])) for name in own[: SHOWN - len(paradox)] + paradox]


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that something is going on which has no steps to count."""
    console = Console(stderr=True)
    with console.status(Text(clean(what))) if _is_alive(console) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield what is to be told how many of how many are done; a terminal shows it, else a line now and then."""
    console = Console(stderr=True)
    last = time.perf_counter()
    if _is_alive(console):
        with console.status(Text(clean(what))) as status:
            yield lambda n, total: status.update(Text(f"{clean(what)}: {n:,} of {total:,}"))
        return

    def report(n: int, total: int) -> None:
        nonlocal last
        if time.perf_counter() - last >= LINE_EVERY_S:
            last = time.perf_counter()
            click.echo(f"{clean(what)}: {n:,} of {total:,}", err=True)

    yield report


@contextlib.contextmanager
def progress(what: str, *, quiet: bool = False, board: Switchboard | None = None) -> Iterator[Progress | None]:
    """Yield what is to be told of every step. With language models, what they take is shown between the steps too."""
    console = Console(stderr=True)
    ledger = None if board is None else board.ledger
    if quiet:
        yield None
    elif _is_alive(console) and not (
        board is not None and board.has(HUMAN)
    ):  # a bar and a question cannot share a line
        display = Display(what, console, ledger)
        # A scenario's own print appears above the bar, unless it goes to a file.
        with Live(get_renderable=display.render, console=console, redirect_stdout=sys.stdout.isatty()):
            yield display.pace
            display.is_over = True
    else:
        lines = Lines(what, ledger)
        if ledger is not None:
            ledger.listener = lines.between
        yield lines
        lines.end()


def _is_alive(console: Console) -> bool:
    # The bar is for whoever looks: on the terminal even when the results go to a file, and never in one.
    return console.is_terminal and not console.is_dumb_terminal


class Display:
    """The live display: a bar, the pace, a few metrics."""

    def __init__(self, what: str, console: Console, ledger: Ledger | None = None) -> None:
        self.pace = Pace(what)
        self._ledger = ledger
        self.is_over = False
        self._console = console

    def render(self) -> Group:
        """Return it as it is now; called some times a second."""
        pace = self.pace
        at_end = pace.has_begun and pace.step >= pace.steps
        doing = "done" if self.is_over else "measuring the findings" if at_end else pace.what
        row: list[Any] = [Text(clean(doing), style="bold")]
        if pace.has_begun:
            width = max(10, min(40, self._console.width - 56))
            row.append(
                ProgressBar(
                    max(pace.steps, 1),
                    pace.step if pace.steps else 1,
                    width=width,
                    complete_style="cyan",
                    finished_style="green",
                )
            )
            row.append(Text(f"{pace.step}/{pace.steps}"))
        row += [Text(word, style="dim") for word in pace.words()]
        grid = Table.grid(*(["" for _ in row]), padding=(0, 2, 0, 0))
        grid.add_row(*row)
        line = Text(no_wrap=True, overflow="ellipsis")
        for name, value in chosen(pace.metrics):
            line.append(f"{name} ", style="dim").append(f"{value}   ")
        taken = (
            Text(spent(self._ledger), "dim", no_wrap=True, overflow="ellipsis") if self._ledger is not None else Text()
        )
        return Group(grid, *(each for each in (taken, line) if each))


class Lines:
    """Plain lines: one at most every two seconds, and the last."""

    def __init__(self, what: str, ledger: Ledger | None = None) -> None:
        self._pace = Pace(what)
        self._ledger = ledger
        self._printed, self._at = -1, time.perf_counter()

    def __call__(self, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """Take in a step."""
        self._pace(step, steps, metrics)
        if time.perf_counter() - self._at >= LINE_EVERY_S:
            self._print()

    def between(self) -> None:
        """Take in that a model answered; called in the thread of the calls."""
        if time.perf_counter() - self._at >= LINE_EVERY_S:
            self._print()

    def end(self) -> None:
        """Print where it ended, unless the last line said so."""
        if self._pace.has_begun and self._printed != self._pace.step:
            self._print()

    def _print(self) -> None:
        pace = self._pace
        self._printed, self._at = pace.step, time.perf_counter()
        taken = [spent(self._ledger)] if self._ledger is not None else []
        words = [word for word in (*pace.words(), *taken) if word]
        words += [f"{name} {value}" for name, value in chosen(pace.metrics)]
        with contextlib.suppress(BrokenPipeError):
            click.echo(f"step {pace.step}/{pace.steps}  {', '.join(words)}".rstrip())


class CampaignDisplay:
    """How far a campaign is: a bar, runs, failures, throughput, time left, money."""

    def __init__(self, console: Console) -> None:
        self.now: CampaignProgress | None = None
        self._console = console
        self._began = time.perf_counter()

    def __call__(self, now: CampaignProgress) -> None:
        """Take in a run."""
        self.now = now

    def words(self) -> list[str]:
        """Return throughput, failures, time left and cost, as far as they are known."""
        now = self.now
        if now is None:
            return []
        passed = max(time.perf_counter() - self._began, 1e-9)
        said = [f"{now.made / passed:.2g} runs/s"] if now.made else []
        said += [f"{now.failed} failed"] if now.failed else []
        left = now.seconds_left
        said += [f"{clock(left)} left"] if left is not None and now.finished < now.planned else []
        return said + ([f"${now.usd:.2f}, {now.tokens:,} tokens"] if now.tokens else [])

    def render(self) -> Group:
        """Return it as it is now."""
        now = self.now
        planned, finished = (1, 0) if now is None else (max(now.planned, 1), now.finished)
        width = max(10, min(40, self._console.width - 56))
        row: list[Any] = [
            Text("running", "bold"),
            ProgressBar(planned, finished, width=width, complete_style="cyan", finished_style="green"),
            Text(f"{finished:,}/{planned:,} runs"),
            *(Text(word, "dim") for word in self.words()),
        ]
        grid = Table.grid(*(["" for _ in row]), padding=(0, 2, 0, 0))
        grid.add_row(*row)
        return Group(grid)


@contextlib.contextmanager
def campaign(*, quiet: bool = False) -> Iterator[Callable[[CampaignProgress], None] | None]:
    """Yield what is to be told of every run of a campaign."""
    console = Console(stderr=True)
    display = CampaignDisplay(console)
    if quiet:
        yield None
    elif _is_alive(console):
        with Live(get_renderable=display.render, console=console):
            yield display
    else:
        last = time.perf_counter()

        def line(now: CampaignProgress) -> None:
            nonlocal last
            display(now)
            if time.perf_counter() - last >= LINE_EVERY_S or (now.made and now.finished == now.planned):
                last = time.perf_counter()
                with contextlib.suppress(BrokenPipeError):
                    words = [f"{now.finished:,}/{now.planned:,} runs", *display.words()]
                    click.echo(", ".join(words))

        yield line

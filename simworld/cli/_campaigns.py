"""The commands of campaigns: run what is missing of one, and write its report."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simworld.cli._errors import FAILED
from simworld.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from simworld.run import Interval
    from simworld.sweep import CampaignEstimate, CampaignResults, Plan

option = partial(click.option, show_envvar=True)


@click.command(short_help="Run what is missing of a campaign.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@option("--name", metavar="NAME", help="Name of the campaign's folder in runs/; by default the file's.")
@option(
    "--workers",
    type=int,
    metavar="N",
    help="Processes that work on it.  [default: what the file says, else one a processor]",
)
@option(
    "--executor",
    metavar="WHERE",
    help="Where runs are made: processes, ray, ray:ADDRESS, here.  [default: what the file says, else processes]",
)
@option("--retry-failed", is_flag=True, help="Make runs that failed again.")
@option(
    "--freeze",
    is_flag=True,
    help="Write down plan, measures and stop rules before the first run; with --dry-run show what would be.",
)
@option("--dry-run", is_flag=True, help="Show what it would take; run nothing.")
@option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The campaign's folder itself.")
@option("--quiet", is_flag=True, help="Print the campaign's folder and nothing else.")
def sweep(
    file: Path, name: str | None, workers: int | None, executor: str | None, retry_failed: bool, freeze: bool,
    dry_run: bool, out: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Run a campaign: what its file says is varied, as often as it says, on all processors.

    Called again, after Ctrl-C, a crash, kill -9, with other workers, or with an extended file, it makes only the runs
    that are not there. Exit code 1 when runs failed, 3 when it was stopped.

    \b
    simworld sweep scenarios/donor_game/sweeps/multiplier.toml
    simworld sweep my.toml --dry-run
    simworld report my
    """
    from simworld.cli import _progress, _runs, _tables
    from simworld.sweep import check_budget, crew_of, estimate, missing_runs, plan
    from simworld.sweep import freeze as freeze_plan
    from simworld.sweep import sweep as run_campaign

    with _progress.waiting(f"planning {file.name}"):
        ready = plan(file, name, out)
        where, workers = crew_of(ready.campaign, executor, workers)
        if where == "here" and workers not in (None, 1):
            raise UsageError("the executor 'here' is one process; leave --workers out")
        missing = missing_runs(ready, retry_failed=retry_failed)
        used = 1 if where == "here" else workers or os.cpu_count() or 1
        budget = ready.campaign.budget
        is_limited = budget.usd is not None or budget.tokens is not None
        expected = estimate(ready, missing, used) if missing and (is_limited or not quiet) else None
    console = _tables.console()
    if not quiet:
        _planned(console, ready, expected, missing)
    if expected is not None:
        check_budget(ready, expected)
    if freeze and dry_run and not quiet:
        _frozen(console, ready, "would be frozen")
    if dry_run:
        return
    if freeze:
        at = freeze_plan(ready)["at"]
        if not quiet:
            _frozen(console, ready, f"frozen at {at}")
    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: _asked(stop))
    terminated = signal.signal(signal.SIGTERM, lambda *_: _asked(stop))
    try:
        with _progress.campaign(quiet=quiet) as report:
            found = run_campaign(
                ready, executor=where, workers=workers, retry_failed=retry_failed, progress=report, stop=stop
            )
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGTERM, terminated)
    failed = found.results.height - found.done.height
    if quiet:
        click.echo(found.path)
    else:
        _tables.campaign(console, found, _runs.shown(found.path))
        for note in found.notes:
            console.print(_tables.text(f"note: {note}"), soft_wrap=True)
    if failed:
        raise SystemExit(FAILED)


def _asked(stop: threading.Event) -> None:
    if stop.is_set():
        raise KeyboardInterrupt  # the second time nothing is waited for
    stop.set()


def _frozen(out: Console, ready: Plan, when: str) -> None:
    """Print what a pre-registration holds, and what of."""
    from simworld.cli._tables import pairs, text

    pairs(out, [
        (when, ready.campaign.digest()),
        ("covers", "factors, design, seed, replicates, steps, measures, stop rules, budget: all but title, executor, "
         "workers"),
        ("with files", f"{ready.files_hash} (of {', '.join([ready.campaign.scenario, *ready.named_files])})"),
    ])  # fmt: skip
    out.print(text(""))


def _planned(out: Console, ready: Plan, expected: CampaignEstimate | None, missing: int) -> None:
    from simworld.cli._tables import clock, pairs, text

    campaign = ready.campaign
    rows = [
        ("campaign", f"{ready.name}{f': {campaign.title}' if campaign.title else ''}"),
        ("scenario", campaign.scenario),
        ("factors", "; ".join(f"{name}: {_levels(factor)}" for name, factor in campaign.factors.items()) or "none"),
        ("design", f"{campaign.design.kind}, {len(ready.points):,} points"),
        ("replicates", _replicates(campaign)),
        ("outcome", _outcome(campaign)),
    ]
    if expected is None:
        rows.append(("missing", f"{missing:,} runs" if missing else "nothing: every run is there"))
    else:
        rows += [
            ("runs", f"{_span(expected.runs)}, {missing:,} of them missing"),
            (
                "time",
                f"{clock(expected.seconds.low)} to {clock(expected.seconds.high)} with {expected.workers} workers",
            ),
        ]
        if expected.has_model:
            money = (
                "price unknown" if expected.usd is None else f"${expected.usd.low:,.2f} to ${expected.usd.high:,.2f}"
            )
            rows.append(("models", f"{_span(expected.calls)} calls, {_span(expected.tokens)} tokens, {money}"))
        rows += [("note", note) for note in expected.notes]
    pairs(out, rows)
    out.print(text(""))


def _levels(factor: Any) -> str:
    if isinstance(factor, tuple):
        return ", ".join("none" if value in (None, "") else str(value) for value in factor)
    said = factor.model_dump(exclude_defaults=True)
    return ", ".join(f"{name} {value}" for name, value in said.items())


def _replicates(campaign: Any) -> str:
    until = campaign.until
    common = ", with random numbers in common" if campaign.common_random_numbers else ""
    if until is None:
        return f"{campaign.replicates}{common}"
    return (
        f"until the {until.confidence:.0%} interval of {until.metric} is at most {until.ci_width:g} wide, "
        f"{until.max_replicates} at most{common}"
    )


def _outcome(campaign: Any) -> str:
    if campaign.outcome:
        return str(campaign.outcome)
    if campaign.measures:
        return f"{campaign.measures[0].column} (the first measure; outcome names another)"
    return "the first column that is measured (list measures, or name an outcome)"


def _span(interval: Interval) -> str:
    low, high = (f"{value:,.0f}" for value in (interval.low, interval.high))
    return low if low == high else f"{low} to {high}"


@click.command(short_help="Write a campaign, or a run, as one page to read.")
@click.argument("what", metavar="CAMPAIGN|RUN")
@option("--to", type=click.Path(path_type=Path), metavar="FILE", help="The page.  [default: ./NAME.html]")
@option("--force", is_flag=True, help="Write over a page that is there.")
def report(what: str, to: Path | None, force: bool) -> None:
    """Write a campaign, or a run, as one self-contained HTML page: no network, no server."""
    from simworld.cli import _progress, _runs
    from simworld.sweep import is_campaign, load_campaign
    from simworld.view import write_report

    with _progress.waiting(f"writing the report of {what}"):
        found: CampaignResults | Any = load_campaign(what) if is_campaign(what) else _runs.find(what)
        name = found.name if is_campaign(what) else found.path.resolve().name
        file = Path(f"{name}.html") if to is None else to
        if file.exists() and not force:
            raise UsageError(f"{_runs.shown(file)} is there already; name another with --to, or say --force")
        written = write_report(found, file)
    click.echo(f"{_runs.shown(written)} ({written.stat().st_size / 1e6:.1f} MB)")

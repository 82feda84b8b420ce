"""The commands. ``simworld --help`` must answer at once: nothing heavier than click is imported before one runs."""

from __future__ import annotations

import contextlib
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from simworld.cli import _campaigns, _forks, _memory, _models, _view
from simworld.cli._errors import FAILED, Commands, complain, cut_short
from simworld.cli._setting import Setting
from simworld.errors import UsageError

option = partial(click.option, show_envvar=True)


@click.group(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "SIMWORLD",
        "max_content_width": 100,
    },
)
@click.version_option(package_name="simworld", message="simworld %(version)s")
@option("--traceback", is_flag=True, help="Show where in the code a known error arose.")
def cli(traceback: bool) -> None:
    """A laboratory for societies of persona agents.

    Every option can also be set in the environment (SIMWORLD_RUN_STEPS=50) or in a file .env in this folder.

    Exit codes: 0 done, 1 the run failed, 2 the call was wrong, 3 stopped and resumable.
    """


@cli.command("list")
@click.argument("scenario", required=False)
@option("--observers", is_flag=True, help="List the observers and what their metrics mean.")
@option("--casts", is_flag=True, help="List the casts: who can live in a scenario.")
@option("--memory", is_flag=True, help="List how agents can remember: retrieval policies and settings.")
def list_(scenario: str | None, observers: bool, casts: bool, memory: bool) -> None:
    """List the scenarios, or the parameters of one."""
    if (scenario is not None) + observers + casts + memory > 1:
        raise UsageError("list shows one thing: a scenario, --observers, --casts or --memory; name one of them")
    from simworld.cli import _tables as tables
    from simworld.scenario import describe, list_casts, list_scenarios, resolve

    out = tables.console()
    if observers:
        tables.observers(out)
    elif casts:
        tables.casts(out, list_casts())
    elif memory:
        tables.memory(out)
    elif scenario is not None:
        tables.scenario(out, describe(resolve(scenario)))
    else:
        tables.scenarios(out, list_scenarios())


@cli.command(short_help="Run a scenario.")
@click.argument("scenario")
@option(
    "-p",
    "--param",
    type=Setting(),
    multiple=True,
    help="A parameter; simworld list SCENARIO shows them; name=@FILE is a file's text.",
)
@option("--agents", type=int, metavar="N", help="Number of agents: short for -p n_agents=N.")
@option("--steps", type=int, metavar="N", help="Steps to take; by default the scenario's.")
@option("--seed", type=int, metavar="N", default=0, show_default=True, help="One seed for everything.")
@option(
    "--mind",
    metavar="MIND",
    help="Who decides where nothing else says so: rules, null (the baseline), human."
    "  [default: rules, and the mind a persona names]",
)
@_models.asking
@_models.reaching
@option("--tape", metavar="RUN", help="Repeat the tape of RUN, asking nobody: for other observers, or fewer steps.")
@option("--dry-run", is_flag=True, help="Show prompts and what the run would take; ask nobody, write nothing.")
@option("--graph", metavar="SPEC", help="Starting graph: a file, karate, watts_strogatz_graph:k=6,p=0.1.")
@option("--cast", metavar="NAME|FILE", help="Who lives there; by default personas are sampled.")
@option(
    "--shuffle-personas",
    is_flag=True,
    help="Every mind plays the character of another agent: the control for personas.",
)
@option("--with-null", is_flag=True, help="Also run the null policy, and show what it gives beside the findings.")
@option("--null-runs", type=int, metavar="N", help="How many runs of the null policy.  [default: 20, with --with-null]")
@option(
    "--memory",
    type=Setting(),
    multiple=True,
    metavar="NAME=VALUE",
    help="How agents remember, where the scenario says otherwise: policy=hybrid; simworld list --memory.",
)
@option("--no-memory", is_flag=True, help="Agents remember nothing: the ablation.")
@option("--no-reflection", is_flag=True, help="Agents draw no insights: the ablation.")
@option("-o", "--observer", metavar="NAME", multiple=True, help="An observer more; simworld list --observers.")
@option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the run; by default a new one in runs/."
)
@option("--state-every", type=int, metavar="K", default=1, show_default=True, help="Steps between recorded states.")
@option("--no-events", is_flag=True, help="Record no events.")
@option("--watch", is_flag=True, help="Open the replay viewer on the growing run.")
@option("--quiet", is_flag=True, help="Print the run's folder and nothing else.")
def run(
    scenario: str,
    param: tuple[tuple[str, Any], ...],
    agents: int | None,
    steps: int | None,
    seed: int,
    mind: str | None,
    tape: str | None,
    dry_run: bool,
    graph: str | None,
    cast: str | None,
    shuffle_personas: bool,
    with_null: bool,
    null_runs: int | None,
    memory: tuple[tuple[str, Any], ...],
    no_memory: bool,
    no_reflection: bool,
    observer: tuple[str, ...],
    out: Path | None,
    state_every: int,
    no_events: bool,
    watch: bool,
    quiet: bool,
    **models: Any,
) -> None:
    """Run a scenario: a name, a folder, path/to/my.py@MyWorld, or the dotted path of a Mesa model.

    \b
    simworld run friendship_paradox
    simworld run friendship_paradox --agents 500 --steps 20 --seed 7 -p p_follow=0.5
    simworld run friendship_paradox --with-null
    simworld run friendship_paradox --model ollama/qwen3 --dry-run
    simworld run friendship_paradox --model gpt-4o-mini:0.2 --budget 0.50
    simworld run mesa.examples.basic.schelling.model@Schelling -p width=30
    """
    given = _once([*param, *([("n_agents", agents)] if agents is not None else [])])
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import Run, execute, prepare, prepare_replay, rehearse, start_run

    call: dict[str, Any] = {
        "params": given, "seed": seed, "steps": steps, "mind": mind, "models": models["model"],
        "seats": _models.once("--seat", models["seat"]), "asking": _models.asking_of(models),
        "service": _models.service_of(models), "replicate": models["replicate"], "observers": observer,
        "graph": graph, "cast": cast, "shuffle_personas": shuffle_personas,
        "memory": _memory_of(memory, no_memory, no_reflection), "null_runs": _null_runs(with_null, null_runs),
        "state_every": state_every, "record_events": not no_events,
    }  # fmt: skip
    if watch and (dry_run or quiet):
        raise UsageError(f"--watch shows a run as it grows; leave --{'dry-run' if dry_run else 'quiet'} out")
    if dry_run and tape is not None:
        raise UsageError("a tape is repeated without asking anybody; leave --dry-run out")
    if dry_run:
        with _progress.waiting(f"rehearsing {scenario}"):
            estimate = rehearse(scenario, **call)
        _tables.estimate(_tables.console(), estimate, budget=models["budget"])
        return
    with _progress.waiting(f"preparing {scenario}"):
        if tape is not None:
            prepared = prepare_replay(_runs.find(tape).path, scenario, **_of_tape(call))
        else:
            prepared = prepare(scenario, **call, speak=_models.speak)
    path = start_run(prepared, out)
    begun = Run(path)
    told = list(begun.manifest["notes"])
    if not quiet:
        # The reader of a pipe may leave; that is no reason not to run.
        with contextlib.suppress(BrokenPipeError):
            _tables.begin(_tables.console(), begun, told)
    with contextlib.ExitStack() as until_the_end:
        watched = until_the_end.enter_context(_view.beside(path)) if watch else None
        try:
            with _progress.progress("running", quiet=quiet, board=prepared.board) as report:
                execute(prepared, path, report)
        except KeyboardInterrupt:
            raise cut_short(path) from None
        if quiet:
            click.echo(path)
        else:
            _tables.end(_tables.console(), Run(path), told)
        if watched is not None:
            watched.stay()


def _null_runs(with_null: bool, said: int | None) -> int:
    if said is not None:
        return said
    from simworld.run import NULL_RUNS

    return NULL_RUNS if with_null else 0


def _memory_of(given: tuple[tuple[str, Any], ...], no_memory: bool, no_reflection: bool) -> dict[str, Any]:
    """Return the settings of memory that were said."""
    off = {"enabled": False} if no_memory else {}
    off |= {"reflection": False} if no_reflection else {}
    said = _models.once("--memory", given)
    if twice := off.keys() & said.keys():
        raise UsageError(f"--memory {min(twice)} is said by --no-memory or --no-reflection already; say it once")
    return {**said, **off}


def _once(given: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        also = " (--agents is n_agents)" if twice == "n_agents" else ""
        raise UsageError(f"parameter {twice!r} is given twice{also}; give it once")
    return dict(given)


def _of_tape(call: dict[str, Any]) -> dict[str, Any]:
    """Return what may differ when a tape is repeated, if nothing else was said."""
    context = click.get_current_context()
    free = {"scenario", "tape", "observer", "steps", "state_every", "no_events", "out", "quiet", "dry_run", "watch"}
    for name in context.params.keys() - free:
        if context.get_parameter_source(name) not in (click.core.ParameterSource.DEFAULT, None):
            raise UsageError(
                f"--{name.replace('_', '-')} cannot differ when a tape is repeated: all that was asked comes from it; "
                "leave it out, or run anew without --tape"
            )
    changes = {name: call[name] for name in ("observers", "state_every", "record_events")}
    return changes if call["steps"] is None else {**changes, "steps": call["steps"]}


RUN_HELP = "RUN is a folder, a run's name or how it begins, or last."


@cli.command(epilog=RUN_HELP)
@click.argument("run")
@option("--allow-changed", is_flag=True, help="Go on although the scenario's files have changed since it began.")
@option("--quiet", is_flag=True, help="Print the run's folder and nothing else.")
@_models.reaching
def resume(run: str, allow_changed: bool, quiet: bool, **models: Any) -> None:
    """Take a run that was stopped, or failed, to its end. What a model has answered is not asked again."""
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import Run, continue_run, execute

    found = _runs.find(run)
    if found.status == "finished":
        if not quiet:
            click.echo("it is finished; there is nothing to resume")
    else:
        with _progress.waiting(f"preparing {found.plan.scenario}"):
            prepared = continue_run(
                found, allow_changed=allow_changed, service=_models.service_of(models), speak=_models.speak
            )
        try:
            with _progress.progress("resuming", quiet=quiet, board=prepared.board) as report:
                execute(prepared, found.path, report)
        except KeyboardInterrupt:
            raise cut_short(found.path) from None
        found = Run(found.path)
    if quiet:
        click.echo(found.path)
    else:
        _tables.end(_tables.console(), found)


@cli.command(epilog=RUN_HELP)
@click.argument("run")
@option("--files-only", is_flag=True, help="Check the files and the digest; do not run it again.")
def verify(run: str, files_only: bool) -> None:
    """Check a run: its files, its digest, and that it repeats itself.

    Exit code 1 if anything does not match."""
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import verify as verify_run

    path = _runs.find(run).path
    with _progress.progress("running it again", quiet=files_only) as report:
        outcome = verify_run(path, again=not files_only, progress=report)
    _tables.verification(_tables.console(), outcome)
    if not outcome:
        sys.exit(FAILED)


@cli.command(epilog=RUN_HELP)
@click.argument("run", required=False)
def show(run: str | None) -> None:
    """Show what a run measured, or, without RUN, the runs of this lab."""
    from simworld.cli import _runs, _tables
    from simworld.scenario import find_lab

    out = _tables.console()
    if run is None:
        _tables.runs(out, _runs.newest_first(), _runs.shown(find_lab().runs))
    else:
        _tables.everything(out, _runs.find(run))


@cli.command(epilog=RUN_HELP, short_help="Write a run's tables, its graph, or one page that shows it all.")
@click.argument("run")
@click.argument("format", required=False)
@option("--to", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write to.  [default: ./<run>-FORMAT]")
@option("--step", type=int, metavar="T", help="Step of the graph; by default the last. Tables hold all steps.")
@option("--kind", metavar="K", help="Kind of tie of the graph; by default the main one.")
@option(
    "--html", is_flag=True, help="Write the viewer with the run as one HTML file that needs no server and no network."
)
@option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The HTML file.  [default: ./<run>.html]")
@option("--beside", metavar="RUN", help="With --html: a second run, shown side by side.")
@option(
    "--redact",
    is_flag=True,
    help="With --html: without prompts, replies, decisions, private memories and the texts of private events.",
)
@option("--no-charts", is_flag=True, help="With --html: without the charts, and five megabytes smaller.")
@option("--force", is_flag=True, help="With --html: write over a file, and write one that is very large.")
def export(
    run: str,
    format: str | None,
    to: Path | None,
    step: int | None,
    kind: str | None,
    html: bool,
    out: Path | None,
    beside: str | None,
    redact: bool,
    no_charts: bool,
    force: bool,
) -> None:
    """Write a run's tables (csv, parquet, jsonl) or its graph (graphml, gexf) for other programs, or with --html one
    file that shows it all: it opens from the disk, without a server and without a network.

    \b
    simworld export last csv
    simworld export last --html
    simworld export last --html --redact --out to_share.html
    """
    from simworld.cli import _page, _runs
    from simworld.run import FORMATS
    from simworld.run import export as export_run

    if format == "html":
        format, html = None, True
    of_page = {"--out": out, "--beside": beside, "--redact": redact, "--no-charts": no_charts, "--force": force}
    _page.check(html, format, FORMATS, {"--to": to, "--step": step, "--kind": kind}, of_page)
    found = _runs.find(run)
    if html:
        others = [] if beside is None else [_runs.find(beside)]
        _page.write([found, *others], out, is_redacted=redact, has_charts=not no_charts, is_forced=force)
        return
    assert format is not None
    folder = Path(f"{found.path.resolve().name}-{format}") if to is None else to
    for file in export_run(found, format, folder, step=step, kind=kind):
        click.echo(_runs.shown(file))


cli.add_command(_view.view)
cli.add_command(_campaigns.sweep)
cli.add_command(_campaigns.report)
cli.add_command(_forks.fork)
cli.add_command(_forks.diff)
cli.add_command(_memory.ask)
cli.add_command(_memory.memory)


@cli.command(short_help="Make a lab of your own, to edit.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@option("--force", is_flag=True, help="Add to a folder that holds something; what it has is kept.")
def new(folder: Path, force: bool) -> None:
    """Make a lab of your own: the scenarios and agents that come with simworld, to edit."""
    from simworld.scenario import new_lab

    made = new_lab(folder, force=force)
    click.echo(f"{len(made)} files in {folder}")
    click.echo(f"next: cd {shlex.quote(str(folder))} && simworld list")


@cli.command(short_help="Say what language models can be used here.")
@option("--api-base", multiple=True, metavar="URL", help="Also ask the server at this address.")
def doctor(api_base: tuple[str, ...]) -> None:
    """Say which language models can be used here: keys, servers that answer, versions, and what to do next."""
    from simworld.cli import _doctor, _progress

    with _progress.waiting("asking servers on this machine"):
        found = _doctor.examine(api_base)
    _doctor.show(found)


def main() -> None:
    """Read ``.env`` and run the command of this process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no γ gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if Path(".env").is_file():
        from dotenv import load_dotenv

        try:
            load_dotenv(".env", override=False)
        except (OSError, ValueError) as error:
            complain(f"cannot read {str(Path('.env').resolve())!r}: {error}; mend it or remove it", 2)
    cli.main(prog_name="simworld")

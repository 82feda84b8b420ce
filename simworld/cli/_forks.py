"""The commands of counterfactuals: fork a run at a step with something changed, and compare two runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from simworld.cli import _models
from simworld.cli._errors import cut_short
from simworld.cli._setting import Setting
from simworld.errors import UsageError

option = partial(click.option, show_envvar=True)
RUN_HELP = "RUN is a folder, a run's name or how it begins, or last. AGENT is a number, or a persona's id or name."


@click.command(epilog=RUN_HELP, short_help="Run on from a step of a run with something changed.")
@click.argument("run")
@option("--step", type=int, metavar="T", required=True, help="Completed steps after which the fork goes its own way.")
@option("-p", "--param", type=Setting(), multiple=True, help="A parameter with a new value.")
@option(
    "--set",
    "cells",
    envvar="SIMWORLD_FORK_SET",
    type=Setting(),
    multiple=True,
    metavar="AGENT.COLUMN=VALUE",
    help="A new value of an agent's column.",
)
@option(
    "--swap-mind",
    type=_models.Named(),
    multiple=True,
    metavar="AGENT=MIND",
    help="A new mind of an agent: rules, null, human, a language model.",
)
@option("--cut-tie", multiple=True, metavar="A,B[,KIND]", help="A tie that is taken away, from A to B.")
@option("--steps", type=int, metavar="N", help="Steps in all; by default those of RUN.")
@option("--allow-changed", is_flag=True, help="Fork although the scenario's files have changed since RUN began.")
@option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder of the fork; a new one in runs/.")
@option("--quiet", is_flag=True, help="Print the fork's folder and nothing else.")
@_models.reaching
def fork(
    run: str, step: int, param: tuple[tuple[str, Any], ...], cells: tuple[tuple[str, Any], ...],
    swap_mind: tuple[tuple[str, str], ...], cut_tie: tuple[str, ...], steps: int | None, allow_changed: bool,
    out: Path | None, quiet: bool, **models: Any,
) -> None:  # fmt: skip
    """Run on from a step of RUN with something changed, under the same streams of chance: the counterfactual.

    What does not depend on the change comes out the same. A language model that is told the same word for word gives
    the answer it gave in RUN, unasked and unpaid.

    \b
    simworld fork last --step 40 -p multiplier=3
    simworld fork last --step 40 --set 3.balance=0 --swap-mind 5=null --cut-tie 3,5
    simworld diff RUN last
    """
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import Run, execute, prepare_fork, start_run

    found = _runs.find(run)
    minds: dict[str | int, str] = dict(_models.once("--swap-mind", swap_mind).items())
    with _progress.waiting(f"preparing a fork of {found.plan.scenario}"):
        prepared = prepare_fork(
            found, step, params=_models.once("-p", param), minds=minds,
            cells=_cells(cells), cuts=[_cut(text) for text in cut_tie], steps=steps, allow_changed=allow_changed,
            service=_models.service_of(models), speak=_models.speak,
        )  # fmt: skip
        path = start_run(prepared, out)
    told = list(Run(path).manifest["notes"])
    if not quiet:
        _tables.begin(_tables.console(), Run(path), told)
    try:
        with _progress.progress("running", quiet=quiet, board=prepared.board) as report:
            execute(prepared, path, report)
    except KeyboardInterrupt:
        raise cut_short(path) from None
    if quiet:
        click.echo(path)
    else:
        _tables.end(_tables.console(), Run(path), told, forked_from=found)


def _cells(given: tuple[tuple[str, Any], ...]) -> dict[tuple[str | int, str], Any]:
    cells: dict[tuple[str | int, str], Any] = {}
    for name, value in given:
        agent, dot, column = name.rpartition(".")
        if not dot or not agent or not column:
            raise UsageError(f"--set {name}=... is not AGENT.COLUMN=VALUE, for example --set 3.balance=5")
        if (agent, column) in cells:
            raise UsageError(f"--set is given twice for {name!r}; give it once")
        cells[agent, column] = value
    return cells


def _cut(text: str) -> tuple[str, str] | tuple[str, str, str | None]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 2 and all(parts):
        return parts[0], parts[1]
    if len(parts) == 3 and all(parts):
        return parts[0], parts[1], parts[2]
    raise UsageError(f"--cut-tie {text!r} is not A,B or A,B,KIND, for example --cut-tie 3,5")


@click.command(
    short_help="Compare two runs: where they part, and what follows.",
    epilog="A run is a folder, a run's name or how it begins, or last.",
)
@click.argument("run_a")
@click.argument("run_b")
def diff(run_a: str, run_b: str) -> None:
    """Compare two runs of a scenario: where they part, whom the difference reaches, what it does to every metric.

    Exit code 0 whether they differ or not.
    """
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import diff as compare

    a, b = _runs.find(run_a), _runs.find(run_b)
    with _progress.waiting("comparing"):
        found = compare(a, b)
    _tables.difference(_tables.console(), a, b, found)

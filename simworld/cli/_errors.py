"""From an exception to one line and an exit code, in one place.

0 done, 1 the run failed (or a check did), 2 the call was wrong, 3 stopped and resumable. What is not an error of ours
keeps its traceback: it is a bug, and hiding it would not help anyone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from simworld.errors import Interrupted, RunError, SimworldError, did_you_mean

FAILED, WRONG_CALL, STOPPED = 1, 2, 3


def clean(text: object) -> str:
    """Return text that can move no cursor and set no colour: whatever a run, a persona or a file holds, on one line."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in click.unstyle(str(text)))


def complain(message: str, code: int) -> NoReturn:
    """Print one line on stderr and leave."""
    click.echo(f"simworld: {clean(message)}", err=True)
    sys.exit(code)


def cut_short(path: Path) -> Interrupted:
    """Return what is said of a run that was left in the middle of a step."""
    return Interrupted(f"stopped in the middle of a step, which is not kept; go on with: simworld resume {path}")


class Commands(click.Group):
    """A group that answers a known mistake with one line, keeps its commands in order, and leaves a pipe quietly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> NoReturn:
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *more, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.message)
            sys.exit(0)
        except click.ClickException as error:
            complain(_in_our_words(error), WRONG_CALL)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SimworldError as error:
            if ctx.find_root().params.get("traceback"):
                import traceback

                traceback.print_exc()
            code = FAILED if isinstance(error, RunError) else STOPPED if isinstance(error, Interrupted) else WRONG_CALL
            complain(str(error), code)
        except KeyboardInterrupt:
            complain("stopped", STOPPED)
        except BrokenPipeError:
            # The reader (head, less) has seen enough; Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)


def _in_our_words(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        message = f"no option {error.option_name!r}{did_you_mean(error.option_name, error.possibilities or ())}"
    elif isinstance(error, click.NoSuchCommand):
        message = f"no command {error.command_name!r}{did_you_mean(error.command_name, error.possibilities or ())}"
    else:
        message = error.format_message().rstrip(".")
        message = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    param = getattr(error, "param", None)
    if context and param and context.get_parameter_source(param.name) == click.core.ParameterSource.ENVIRONMENT:
        message += f", as {context.auto_envvar_prefix}_{param.name.upper()} says"
    return f"{message} ({context.command_path if context else 'simworld'} --help)"

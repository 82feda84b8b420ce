"""Settings on the command line: name=value, or the text of a file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click


class Setting(click.ParamType[tuple[str, Any]]):
    """``name=value``: JSON where it reads as such, else text; ``name=@FILE`` is the text of a file.

    In the environment, several, split as a shell would.
    """

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value[0], value[1]
        name, equals, text = str(value).partition("=")
        if not equals or not name.strip():
            self.fail(f"{value!r} is not name=value, for example -p n_agents=50", param, ctx)
        if text.startswith("@@"):
            return name.strip(), text[1:]
        if text.startswith("@"):
            try:
                said = Path(text[1:]).read_text("utf-8")
                if not said.strip():
                    self.fail(f"{value!r}: the file is empty", param, ctx)
                return name.strip(), said
            except (OSError, UnicodeDecodeError) as error:
                self.fail(
                    f"{value!r}: the file cannot be read: {error} (a text that begins with @ is @@...)", param, ctx
                )
        try:
            return name.strip(), json.loads(text)
        except ValueError:
            return name.strip(), text

    def split_envvar_value(self, rv: str) -> list[str]:
        return shlex.split(rv)

"""What the commands print is text: no markup, no cursor, no colour that a run, a file or a persona brought along."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from simworld.cli import _tables
from simworld.cli._errors import clean
from simworld.cli._main import cli

HOSTILE = r"""
import simworld as sw

RED = "\x1b[31m[red]Rosso[/red]\x1b[0m\x07\x1b]0;title\x07"


class HostileParams(sw.Params):
    n_agents: int = sw.field(3, doc="[bold]Agents[/bold] \x1b[2Jall of them.", unit="[u]", ge=1)


class Hostile(sw.World):
    "A [red]loud[/red] \x1b[31mscenario\x1b[0m."

    Params = HostileParams
    default_steps = 2

    def setup(self):
        self.notes.append(f"note {RED}")

    def step(self):
        self.emit(RED, text=RED)

    def metrics(self):
        return {RED: 1.0}
"""


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("plain γ ⟨k⟩ 東京", "plain γ ⟨k⟩ 東京"),
        ("[red]kept[/red]", "[red]kept[/red]"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("two\nlines\tand tab", "two lines and tab"),
        ("bell\x07 back\x08 null\x00 c1\x9b", "bell back null c1"),
        ("\u202eright to left\u202c", "right to left"),  # bidi overrides reorder what a reader sees
        (12, "12"),
    ],
)
def test_clean_leaves_words_only(raw: object, shown: str) -> None:
    assert clean(raw) == shown


@pytest.mark.parametrize("args", [["list"], ["list", "hostile"], ["run", "hostile"], ["show"], ["show", "last"]])
def test_hostile_texts_come_out_as_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "hostile.py").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich would write colours, and so show whether markup is read
    if args[0] == "show":
        assert CliRunner().invoke(cli, ["run", "hostile", "--quiet"]).exit_code == 0
    done = CliRunner().invoke(cli, args, color=True)
    assert done.exit_code == 0
    # Of what the scenario wrote, no code survives: neither its red, its screen clearing, its bell, nor its title.
    for code in ("\x1b[31m", "\x1b[2J", "\x07", "\x1b]0;", "\x08"):
        assert code not in done.stdout
    text = CliRunner().invoke(cli, args).stdout if args[0] != "run" else done.stdout
    if args == ["list"]:
        assert "A [red]loud[/red] scenario." in text
    elif args[0] == "list":
        assert "[bold]Agents[/bold] all of them." in text
        assert "3 [u]" in text
    elif len(args) == 2:
        assert "[red]Rosso[/red]" in text
        assert "note [red]Rosso[/red]" in text


def test_a_hostile_error_is_one_clean_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["run", "\x1b[31mx\ny"])
    assert done.exit_code == 2
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "value, shown",
    [
        (0, "0"),
        (538.0, "538"),
        (1234567, "1,234,567"),
        (0.76, "0.760"),
        (-12.3456, "-12.346"),
        (1.5e7 + 0.5, "1.5e+07"),
        (1.234e-7, "1.23e-07"),
        (math.nan, "-"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (None, "-"),
        (True, "True"),
        ("[red]text", "[red]text"),
    ],
)
def test_numbers_are_short(value: object, shown: str) -> None:
    assert _tables.number(value) == shown


def test_pairs_keep_what_is_copied_whole_and_wrap_sentences() -> None:
    out = Console(file=io.StringIO(), width=40)
    folder = "/a folder/" + "x" * 60
    _tables.pairs(out, [("digest", "d" * 64), ("folder", folder), ("note", "eleven words " * 6)])
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "digest  " + "d" * 64
    assert lines[1] == "folder  " + folder
    assert all(len(line) <= 40 for line in lines[2:])
    assert all(line.startswith(" " * 8) for line in lines[3:])
    assert " ".join(" ".join(lines[2:]).split()) == "note " + ("eleven words " * 6).strip()


def test_a_file_gets_no_blanks_at_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = CliRunner().invoke(cli, ["list", "--observers"]).stdout
    assert "reciprocity" in text
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "\x1b" not in text


def test_findings_stand_under_each_other_and_no_rounding_noise_shows() -> None:
    import polars as pl

    row = {"observer": "mine", "closed_form": math.nan, "null": "", "note": "", "n": 3, "null_sd": 0.0}
    rows = [
        {**row, "metric": "plain", "value": 2.0, "null_mean": 1.5, "gap": 0.5, "p_value": 0.0004},
        {**row, "metric": "noise", "value": 0.4, "null_mean": 0.4, "gap": -1e-16, "p_value": 1.0},
        {**row, "metric": "theory", "value": 0.5, "null_mean": math.nan, "gap": math.nan, "p_value": math.nan}
        | {"closed_form": 0.25},
        {**row, "metric": "none", "value": math.nan, "null_mean": math.nan, "gap": math.nan, "p_value": math.nan},
    ]
    out = _tables.console()
    with out.capture() as captured:
        assert _tables.findings(out, pl.DataFrame(rows)) == 0
    cells = {line.split()[0]: line.split()[1:] for line in captured.get().splitlines() if line.startswith("  ")}
    assert cells["plain"] == ["2.000", "1.500", "+0.500", "0.0004", "3"]
    assert cells["noise"] == ["0.400", "0.400", "0.000", "1.000", "3"]
    assert cells["theory"] == ["0.500", "0.250", "-", "-", "3"]
    assert cells["none"] == ["-", "-", "-", "-", "3"]

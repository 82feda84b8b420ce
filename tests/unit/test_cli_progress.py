"""Progress: what is counted, what is shown, how often."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from simworld.cli import _progress
from simworld.cli._progress import Display, Lines, Pace, chosen, clock


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(_progress.time, "perf_counter", lambda: self.now)


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("seconds, shown", [(0, "0:00"), (7.4, "0:07"), (750, "12:30"), (11045, "3:04:05")])
def test_durations(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_pace_is_counted_from_the_first_step_seen(timer: Clock) -> None:
    pace = Pace("resuming")
    timer.now += 30  # a resumed run takes a while to get where it was; that is no pace
    pace(40, 100, {})
    assert pace.words() == []
    timer.now += 5
    pace(50, 100, {})
    assert pace.words() == ["2 steps/s", "0:25 left"]  # 10 steps in 5 s, 50 to go
    timer.now += 10
    assert pace.words() == ["2 steps/s", "0:15 left"]  # counts down while a step takes its time
    timer.now += 100
    assert pace.words() == ["2 steps/s", "0:00 left"]


def test_the_end_has_no_time_left(timer: Clock) -> None:
    pace = Pace("running")
    pace(0, 1000, {})
    timer.now += 2
    pace(1000, 1000, {})
    assert pace.words() == ["500 steps/s"]


def test_the_scenarios_own_metrics_come_first_then_the_paradox() -> None:
    metrics = {
        "degrees.mean": 2.0,
        "friendship_paradox.strong_in_out": 0.5,
        "friendship_paradox.weak_in_out": math.nan,
        "follows": 1200.0,
        "label": "text",
        "posts": 3,
        "remembered": 4,
    }
    assert chosen(metrics) == [("follows", "1,200"), ("posts", "3"), ("weak_in_out", "-"), ("strong_in_out", "0.500")]
    assert chosen({"degrees.mean": 2.0, "density.density": 0.25}) == [("mean", "2"), ("density", "0.250")]
    assert chosen({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}) == [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]
    assert chosen({}) == []


def test_plain_lines_come_every_two_seconds_and_at_the_end(timer: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("running")
    for step in range(11):
        lines(step, 10, {"x": step})
        timer.now += 0.5
    lines.end()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in printed] == ["4/10", "8/10", "10/10"]
    assert printed[-1] == "step 10/10  2 steps/s, x 10"


def test_a_last_line_is_not_said_twice(timer: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("running")
    timer.now += 3
    lines(1, 1, {})
    lines.end()
    assert capsys.readouterr().out == "step 1/1\n"
    Lines("running").end()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("width", [80, 120])
def test_the_display_fits_the_terminal(timer: Clock, width: int) -> None:
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    display = Display("running", out)
    out.print(display.render())
    assert out.file.getvalue().split() == ["running"]  # type: ignore[attr-defined]
    display.pace(0, 100_000, {})
    timer.now += 3600
    display.pace(1, 100_000, {f"[red]a_rather_long_metric_{i}": 0.123 for i in range(9)})
    out.print(display.render())
    lines = out.file.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert len(lines) == 2
    assert all(len(line) <= width for line in lines)
    assert "1/100000" in lines[0]
    assert "left" in lines[0]
    assert lines[1].startswith("[red]a_rather_long_metric_0 0.123")


def test_the_display_says_what_it_waits_for(timer: Clock) -> None:
    out = Console(file=io.StringIO(), width=80)
    display = Display("running", out)
    for step, is_over, word in ((0, False, "running"), (2, False, "measuring the findings"), (2, True, "done")):
        display.pace(step, 2, {})
        display.is_over = is_over
        out.print(display.render())
        assert word in out.file.getvalue().splitlines()[-1]  # type: ignore[attr-defined]

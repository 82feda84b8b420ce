"""Every benchmark runs at a tiny size, finds its two sides to agree, and reports rows and figures.

No figure is judged here: a tiny run says nothing about speed.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SLOW = {"memory", "startup", "llm", "memories", "campaigns", "viewer"}
"""These start processes of their own, or chromadb."""
HAS_BROWSER = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


@pytest.fixture
def bench(monkeypatch):
    """The package as ``python -m tests.bench`` finds it, whatever folder pytest was started in."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    from tests.bench import __main__ as bench

    return bench


def names():
    files = sorted(path.stem for path in (ROOT / "tests" / "bench").glob("*.py") if "def bench(" in path.read_text())
    return [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in files]


@pytest.mark.parametrize("name", names())
def test_reports_rows_and_figures(bench, name):
    if name == "viewer" and not HAS_BROWSER and not os.environ.get("SIMWORLD_NEEDS_BROWSER"):
        pytest.skip("there is no Chromium")
    report = bench.benchmark(name)(bench.Size.TINY)
    assert name in bench.BENCHMARKS
    assert report.rows
    assert all(one.seconds > 0 for one in report.rows)
    assert report.goals
    assert all(goal.value >= 0 for goal in report.goals)
    assert type(report).from_json(report.to_json()) == report


def test_every_listed_benchmark_is_there(bench):
    assert sorted(bench.BENCHMARKS) == sorted(param.values[0] for param in names())


def test_a_goal_is_met_or_missed(bench):
    from tests.bench.measure import Goal

    assert Goal("", 3.0, "×", at_most=3.0).verdict == "ok"
    assert Goal("", 3.01, "×", at_most=3.0).verdict == "MISSED"
    assert Goal("", 4.9, "×", at_least=5.0).verdict == "MISSED"
    assert Goal("", 4.9, "×").verdict == ""


def test_a_ratio_is_of_neighbouring_laps(bench):
    from tests.bench.measure import Lap, ratio

    over, under = [Lap(2, 0), Lap(40, 0), Lap(3, 0)], [Lap(1, 0), Lap(10, 0), Lap(1, 0)]
    assert ratio(over, under) == 3.0


def test_library_time_is_charged_to_its_callers(bench):
    from tests.bench.society import charged

    ours, theirs, library = ("a.py", 1, "ours"), ("b.py", 1, "theirs"), ("lib", 0, "sort")
    stats = {
        ours: (1, 1, 1.0, 4.0, {}),
        theirs: (1, 1, 2.0, 3.0, {}),
        library: (2, 2, 4.0, 4.0, {ours: (1, 1, 3.0, 3.0), theirs: (1, 1, 1.0, 1.0)}),
    }
    found = dict(charged(stats, lambda f: f[2] if f != library else None))
    assert found == {"ours": 4.0, "theirs": 3.0, "other": 0.0}


def test_the_two_opinion_models_are_told_apart_when_they_differ(bench):
    from tests.bench.policies import compared, expected

    right = {name: theory for name, (theory, _) in expected(10_000, 50).items()}
    compared({"simworld": [right], "mesa": [right]}, 10_000, 50)
    with pytest.raises(AssertionError, match="not run the same model: slope"):
        compared({"simworld": [right], "mesa": [{**right, "slope": 0.5}]}, 10_000, 50)


def test_an_unknown_benchmark_is_named(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "vectorized"])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert stopped.value.code == 2
    assert "no benchmark 'vectorized'" in capsys.readouterr().err

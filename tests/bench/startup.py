"""How long a user waits for help, and what an import loads."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.measure import ROOT, Goal, Lap, Report, Row, Size, alternating, ratio

AT_MOST_S = 0.3
HEAVY = ("litellm", "chromadb", "plotly")

ROUNDS = {Size.FULL: 7, Size.QUICK: 5, Size.TINY: 1}


def bench(size: Size) -> Report:
    """Time the help text against an interpreter that does nothing; look at what is loaded."""
    report = Report("start: simworld --help, import simworld")
    script = Path(sys.executable).with_name("simworld")
    help_text = [str(script), "--help"] if script.exists() else [sys.executable, "-m", "simworld", "--help"]
    run(help_text)  # bytecode is compiled once, at installation for a user
    sides = {
        "simworld --help": help_text,
        "import simworld": [sys.executable, "-c", "import simworld"],
        "floor: an interpreter that does nothing": [sys.executable, "-c", "pass"],
    }
    laps = alternating({name: lambda words=words: run(words) for name, words in sides.items()}, ROUNDS[size])
    for name, timed in laps.items():
        report.rows.append(Row(name, 0, 0, median(timed)))
    ours, floor = laps["simworld --help"], laps["floor: an interpreter that does nothing"]
    note = f"best {min(one.wall for one in ours):.3f} s; {ratio(ours, floor):.1f} × the empty interpreter"
    loaded = heavy_modules()
    heavy = [name for name in HEAVY if name in loaded]
    report.goals += [
        Goal("simworld --help, median", median(ours), "s", at_most=AT_MOST_S, note=note),
        Goal("import simworld, median", median(laps["import simworld"]), "s", note=f"{len(loaded)} modules"),
        Goal(f"of {', '.join(HEAVY)} loaded by it", len(heavy), "", at_most=0, note=" ".join(heavy)),
    ]
    return report


def run(words: Sequence[str]) -> str:
    """Run a command outside the repository and return its output."""
    done = subprocess.run(words, cwd=tempfile.gettempdir(), capture_output=True, text=True, check=True)
    return done.stdout


def median(laps: Sequence[Lap]) -> float:
    """Return the median wall clock."""
    return statistics.median(one.wall for one in laps)


def heavy_modules() -> set[str]:
    """Return the top-level modules a fresh process holds after ``import simworld``."""
    code = "import json, sys, simworld; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)))

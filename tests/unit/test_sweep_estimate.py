"""What a campaign would take: points are tried in a process of their own, and a budget must pay for what is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from simworld.cli import _main
from simworld.errors import CampaignError
from simworld.run import Interval
from simworld.sweep import CampaignEstimate, check_budget, estimate, plan
from tests.unit.campaigns import campaign, write_coin


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


def workers() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]


def test_points_that_end_their_process_or_never_come_back_are_notes(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, factors={"trouble": ["", "die", "sleep"]}, replicates=2)
    found = estimate(plan(said, out=tmp_path / "c"), 6, 2, limit_s=1.5)
    assert found.notes == ("point 1 ends its process", "point 2 takes more than 1.5 s")
    # From three runs a worker like the first point, which does nothing, to three like the last.
    start = found.seconds.low
    assert 0.2 < start < 60
    assert found.seconds.high == pytest.approx(start + 4.5, abs=0.5)
    assert not workers()


def test_what_a_scenario_raises_is_a_note_and_adaptive_replication_an_interval(scenario: str, tmp_path: Path) -> None:
    until = {"metric": "share", "ci_width": 0.1, "max_replicates": 100}
    said = campaign(scenario, factors={"trouble": ["crash", ""]}, replicates=1, until=until)
    found = estimate(plan(said, out=tmp_path / "c"), 60, 1)
    assert found.notes == ("point 0 fails: ValueError: heads and tails",)
    assert (found.runs, found.missing) == (Interval(60, 200), 60)


def test_ctrl_c_ends_it_at_once(scenario: str, tmp_path: Path) -> None:
    ready = plan(campaign(scenario, params={"trouble": "sleep"}), out=tmp_path / "c")
    pressed: list[float] = []

    def press() -> None:
        end = time.monotonic() + 20
        while not workers() and time.monotonic() < end:
            time.sleep(0.02)
        pressed.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        estimate(ready, 4, 1)
    assert time.monotonic() - pressed[0] < 2
    thread.join()
    assert not workers()


def test_a_script_without_a_guard_is_told_in_one_line(scenario: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from simworld.sweep import estimate, plan\n"
        f"said = {{'scenario': {scenario!r}, 'measures': ['share']}}\n"
        f"print(estimate(plan(said, out={str(tmp_path / 'c')!r}), 1, 1).seconds)\n",
        "utf-8",
    )
    made = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 1
    assert made.stderr.count("Traceback") == 1  # the script's own
    assert "CampaignError: this script starts a campaign whenever it is imported" in made.stderr


def expected(usd: Interval | None) -> CampaignEstimate:
    return CampaignEstimate(
        Interval(10, 10), 10, Interval(1, 2), 1, Interval(10, 20), Interval(4_000, 9_000), usd, True, ()
    )


@pytest.mark.parametrize(
    ("budget", "usd", "why"),
    [
        ({"tokens": 3_999}, Interval(1, 2), "budget.tokens = 3999 leaves 3,999 for 10 missing runs"),
        ({"usd": 0.99}, Interval(1, 2), r"leaves \$0.99 for 10 missing runs, which are expected to take \$1.00 to \$2"),
        ({"tokens": 4_000, "usd": 1.0}, Interval(1, 2), ""),
        ({"usd": 0.01}, None, ""),
    ],
)
def test_a_budget_below_the_least_that_is_needed_is_refused(
    budget: dict[str, Any], usd: Interval | None, why: str, tmp_path: Path
) -> None:
    said = {
        "scenario": "friendship_paradox", "settings": {"model": "local/scripted"}, "replicates": 10, "record": "runs",
        "measures": ["follows"], "budget": budget,
    }  # fmt: skip
    ready = plan(said, out=tmp_path / "c")
    if why:
        with pytest.raises(CampaignError, match=why):
            check_budget(ready, expected(usd))
    else:
        check_budget(ready, expected(usd))


def test_on_the_command_line_an_impossible_budget_is_one_line(tmp_path: Path) -> None:
    """The rehearsal asks nobody: there is no server at this address."""
    file = tmp_path / "poor.toml"
    file.write_text(
        'scenario = "friendship_paradox"\nsteps = 1\nreplicates = 2\nrecord = "runs"\nmeasures = ["follows"]\n'
        'params.n_agents = 5\nsettings.model = "local/scripted"\nsettings.api_base = { "" = "http://127.0.0.1:9/v1" }\n'
        "budget.tokens = 100\n",
        "utf-8",
    )
    made = CliRunner().invoke(_main.cli, ["sweep", str(file), "--out", str(tmp_path / "c"), "--quiet"])
    assert made.exit_code == 2
    assert "budget.tokens = 100 leaves 100 for 2 missing runs" in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "c").exists()

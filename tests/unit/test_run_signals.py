"""Ctrl-C and SIGTERM finish the step at hand, save, and say how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import simworld as sw
from tests.unit.test_run_society import assert_same_run, spawn, write_hamlet

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("every", [1, 4])
def test_a_signal_stops_after_the_step_and_a_resume_goes_on(tmp_path: Path, number: int, every: int) -> None:
    scenario = write_hamlet(tmp_path)
    call = {"seed": 8, "steps": 14, "state_every": every}
    order = {"scenario": scenario, "call": {**call, "params": {"pause_s": 0.05}}, "out": str(tmp_path / "run")}
    process = spawn({**order, "loud": True})
    assert process.stdout is not None
    while process.stdout.readline() != "3\n":
        assert process.poll() is None
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 3
    last = said.splitlines()[-1]
    assert last.startswith("Interrupted stopped after step ")
    assert last.endswith(f"of 14; go on with: simworld resume {tmp_path / 'run'}")
    stopped = int(last.split()[4])
    assert 3 <= stopped < 14
    begun = sw.load_run(tmp_path / "run")
    assert begun.status == "interrupted"
    assert begun.steps == begun.manifest["steps_done"] == stopped
    assert max(begun.events["step"].to_list()) == stopped
    whole = sw.run(scenario, out=tmp_path / "whole", pause_s=0.05, **call)
    run = sw.resume(begun)
    assert "error" not in run.manifest
    assert_same_run(run, whole)


def test_ctrl_c_at_the_command_line(tmp_path: Path) -> None:
    scenario = write_hamlet(tmp_path)
    command = [sys.executable, "-m", "simworld", "run", scenario, "--steps", "100", "--seed", "8", "--out", "r"]
    process = subprocess.Popen(
        [*command, "-p", "pause_s=0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "r" / "manifest.json").exists() or sw.load_run(tmp_path / "r").steps < 2:
        assert process.poll() is None
        time.sleep(0.02)
    # A terminal sends the signal to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 3
    assert complaint.count("\n") == 1
    assert complaint.startswith("simworld: stopped after step ")
    assert "simworld resume r" in complaint
    done = subprocess.run(
        [sys.executable, "-m", "simworld", "show", "r"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "interrupted" in done.stdout


def test_a_second_signal_does_not_wait_and_loses_nothing(tmp_path: Path) -> None:
    scenario = write_hamlet(tmp_path)
    call = {"seed": 8, "steps": 6}
    order = {"scenario": scenario, "call": {**call, "params": {"pause_s": 1.0}}, "out": str(tmp_path / "run")}
    process = spawn({**order, "loud": True})
    assert process.stdout is not None
    while process.stdout.readline() != "1\n":
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in {-signal.SIGTERM, 3}
    assert sw.load_run(tmp_path / "run").status == "interrupted"
    assert sw.load_run(tmp_path / "run").steps < 6

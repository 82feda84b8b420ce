"""Campaigns at work: any number of workers, any executor, failures, time limits, extension."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
import pytest
from click.testing import CliRunner

import simworld as sw
from simworld.cli import _main
from simworld.errors import CampaignError, Interrupted
from simworld.sweep import Progress, executor, plan
from tests.unit.campaigns import assert_same, campaign, write_coin


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


def write_other(folder: Path, old: str, new: str) -> str:
    """Write the scenario with one thing changed."""
    scenario = write_coin(folder)
    text = Path(scenario).read_text("utf-8")
    assert text.count(old) == 1
    Path(scenario).write_text(text.replace(old, new), "utf-8")
    return scenario


def write_mortal(folder: Path) -> str:
    """Write the scenario whose runs with p = 0.8 end their process, and whose first with p = 0.5 is killed once."""
    return write_other(folder, "os._exit(7)", f"""
                if p.p == 0.8:
                    os._exit(7)
                if p.p == 0.5 and not os.path.exists({str(folder / "killed")!r}):
                    open({str(folder / "killed")!r}, "w").close()
                    os.kill(os.getpid(), 9)""")  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "campaign"
    sw.sweep(campaign(scenario), executor="here", out=out)
    return out


def test_the_table_holds_what_each_run_gives_by_itself(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    found = sw.load_campaign(undisturbed)
    assert found.results.height == 24
    assert found.results["replicate"].to_list() == [0, 1, 2, 3] * 6
    assert found.factors == ["p", "mind"]
    assert found.measures == ["share", "share:mean"]
    task = plan(campaign(scenario), out=tmp_path / "unused").task(3, 2)
    row = found.results.row(by_predicate=(pl.col("point") == 3) & (pl.col("replicate") == 2), named=True)
    run = sw.run(scenario, seed=task.call["seed"], steps=3, mind=row["mind"], p=row["p"], out=tmp_path / "run")
    assert row["digest"] == run.digest
    assert row["share"] == run.metrics["share"][-1]
    assert row["share:mean"] == pytest.approx(run.metrics["share"][1:].mean())
    course = found.series.filter((pl.col("point") == 3) & (pl.col("replicate") == 2))
    assert course["share"].to_list() == run.metrics["share"].to_list()
    assert course["step"].to_list() == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_nothing(scenario: str, undisturbed: Path, workers: int, tmp_path: Path) -> None:
    told: list[Progress] = []
    sw.sweep(campaign(scenario), workers=workers, out=tmp_path / "campaign", progress=told.append)
    assert_same(tmp_path / "campaign", undisturbed)
    assert [one.finished for one in told] == list(range(25))
    assert told[-1].seconds_left == 0


@pytest.mark.slow
def test_ray_gives_the_same_though_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also finds a scenario by a relative path, in whatever folder Ray began, and leaves SIGTERM to its caller."""
    pytest.importorskip("ray")
    scenario = write_mortal(tmp_path / "lab")
    said = campaign(Path(scenario).name, factors={"p": [0.2, 0.5]}, params={"trouble": "die"})
    before = signal.getsignal(signal.SIGTERM)
    crew = executor("ray", 2)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.chdir(tmp_path / "lab")
    sw.sweep(said, executor=crew, out=tmp_path / "campaign")
    assert (tmp_path / "lab" / "killed").exists()
    sw.sweep(said, executor="here", out=tmp_path / "undisturbed")
    assert_same(tmp_path / "campaign", tmp_path / "undisturbed")


def test_recorded_runs_give_the_same_and_can_be_opened(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    found = sw.sweep(campaign(scenario, record="runs", replicates=1), executor="here", out=tmp_path / "campaign")
    first = sw.load_campaign(undisturbed).results.filter(pl.col("replicate") == 0)
    same = ["point", "p", "mind", "digest", "share", "share:mean"]
    assert found.results.select(same).equals(first.select(same))
    run = found.run(2)
    assert run.digest == found.results["digest"][2]
    assert run.verify()
    with pytest.raises(CampaignError, match="keeps only what is measured"):
        sw.load_campaign(undisturbed).run(2)


def test_called_again_nothing_is_run(scenario: str, undisturbed: Path) -> None:
    before = (undisturbed / "results.parquet").read_bytes()
    told: list[Progress] = []
    sw.sweep(campaign(scenario), executor="here", out=undisturbed, progress=told.append)
    assert told == []
    assert (undisturbed / "results.parquet").read_bytes() == before


def test_an_extended_design_runs_only_what_is_missing(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    sw.sweep(campaign(scenario, factors={"p": [0.5], "mind": ["rules", "null"]}), executor="here", out=out)
    sw.sweep(
        campaign(scenario, factors={"p": [0.5], "mind": ["rules", "null"]}, replicates=2), executor="here", out=out
    )
    assert sw.load_campaign(out).results.height == 4  # two replicates are wanted now
    told: list[Progress] = []
    sw.sweep(campaign(scenario), executor="here", out=out, progress=told.append)
    assert told[0].finished == 8
    assert told[-1].made == 16
    assert_same(out, undisturbed)


def test_a_changed_scenario_is_run_anew(tmp_path: Path) -> None:
    scenario = write_coin(tmp_path / "lab")
    before = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "campaign").results
    text = Path(scenario).read_text("utf-8")
    Path(scenario).write_text(text.replace("+ self.params.shift", "+ self.params.shift + 1.0"), "utf-8")
    second = sw.sweep(campaign(scenario), executor="processes", workers=1, out=tmp_path / "campaign")
    assert (second.results["share"] - before["share"]).round(9).unique().to_list() == [1.0]


def test_a_point_that_a_sample_names_twice_is_run_once(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, factors={"mind": ["rules", "null"], "p": [0.1, 0.9]}, replicates=1, series=[],
                    design={"kind": "morris", "n": 4})  # fmt: skip
    told: list[Progress] = []
    found = sw.sweep(said, executor="here", out=tmp_path / "campaign", progress=told.append)
    assert found.results.height == 12
    assert told[-1].planned == told[-1].finished == told[-1].made == found.results["key"].n_unique() <= 4


# -- failures -------------------------------------------------------------------------------------------------------


def test_a_run_that_crashes_does_not_stop_the_others(scenario: str, tmp_path: Path) -> None:
    trouble = {"params": {"trouble": "crash", "p_trouble": 0.3}, "replicates": 8}
    found = sw.sweep(campaign(scenario, **trouble), executor="here", out=tmp_path / "campaign")
    failed = found.results.filter(pl.col("status") == "failed")
    assert 3 < failed.height < 30
    assert failed["error"].unique().to_list() == ["ValueError: heads and tails"]
    assert failed["share"].is_null().all()
    assert found.done["share"].is_not_null().all()
    told: list[Progress] = []
    again = sw.sweep(campaign(scenario, **trouble), executor="here", out=tmp_path / "campaign", progress=told.append)
    assert told == []
    again = sw.sweep(
        campaign(scenario, **trouble), executor="here", out=tmp_path / "campaign", retry_failed=True,
        progress=told.append,
    )  # fmt: skip
    assert told[-1].made == failed.height
    assert again.results.equals(found.results)  # the same seeds fail again


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """Asleep, busy, deaf to every error, or in code that never comes back to Python: that one's process is ended."""
    old = '            if p.trouble == "hang":'
    scenario = write_other(tmp_path / "lab", old, f"""
            while p.trouble == "swallow":
                try:
                    time.sleep(0.05)
                except Exception:
                    pass
            if p.trouble == "deaf":
                sum(range(10**12))
{old}""")  # fmt: skip
    found = sw.sweep(
        {
            "scenario": scenario, "factors": {"trouble": ["deaf", "hang", "sleep", "swallow", ""]},
            "measures": ["share"], "stop": {"timeout_s": 0.5},
        },
        workers=2, out=tmp_path / "campaign",
    )  # fmt: skip
    assert found.results["status"].to_list() == [*["failed"] * 4, "done"]
    late = "it took longer than timeout_s = 0.5"
    assert found.results["error"].to_list()[:4] == [f"{late}, and its process had to be ended", late, late, late]


@pytest.mark.slow
def test_a_run_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    """Each run that ends its worker says so three times; one whose worker is killed once is simply made again."""
    said = campaign(write_mortal(tmp_path / "lab"), params={"trouble": "die"}, replicates=1, series=[])
    said["factors"] = {"p": [0.8, 0.5, 0.2, 0.1, 0.0]}
    found = sw.sweep(said, workers=2, out=tmp_path / "campaign")
    assert found.results["status"].to_list() == ["failed", *["done"] * 4]
    assert found.results["error"][0] == "its worker process died (exit code 7), 3 times"
    assert (tmp_path / "lab" / "killed").exists()
    said["factors"] = {"p": [0.5, 0.2, 0.1, 0.0]}
    alone = sw.sweep(said, executor="here", out=tmp_path / "alone")
    assert alone.results.drop("point").equals(found.done.drop("point"))


def test_too_many_failures_stop_the_campaign(scenario: str, tmp_path: Path) -> None:
    trouble = campaign(scenario, params={"trouble": "crash"}, stop={"max_failed": 2})
    with pytest.raises(Interrupted, match="3 runs failed, more than max_failed = 2"):
        sw.sweep(trouble, executor="here", out=tmp_path / "campaign")
    assert sw.load_campaign(tmp_path / "campaign").results.height == 3


def test_an_unknown_metric_names_those_that_are_there(scenario: str, tmp_path: Path) -> None:
    found = sw.sweep(campaign(scenario, measures=["shares"], series=[]), executor="here", out=tmp_path / "campaign")
    assert found.done.is_empty()
    assert "no metric 'shares'; did you mean 'share'" in found.results["error"][0]


@pytest.mark.slow
def test_a_scenario_that_leaks_memory_cannot_fill_the_machine(tmp_path: Path) -> None:
    """Sixty MiB a run are lost, and a worker may grow by 100: it makes three runs and the one that waits."""
    from simworld.sweep._executors import Processes

    scenario = write_other(tmp_path / "lab", "os._exit(7)", f"""
                import psutil

                os.leaked = [*getattr(os, "leaked", []), b"x" * (60 << 20)]
                with open({str(tmp_path / "memory")!r}, "a") as file:
                    file.write(f"{{os.getpid()}} {{psutil.Process().memory_info().rss >> 20}}\\n")""")  # fmt: skip
    trouble = {"params": {"trouble": "die"}, "replicates": 1}
    found = sw.sweep(campaign(scenario, **trouble), executor=Processes(1, recycle_mb=100), out=tmp_path / "campaign")
    assert found.done.height == 6
    lines = [line.split() for line in (tmp_path / "memory").read_text().splitlines()]
    runs = [[int(mb) for pid, mb in lines if pid == one] for one in {pid for pid, _ in lines}]
    assert max(len(mb) for mb in runs) <= 4
    assert max(mb[-1] - mb[0] for mb in runs) < 250


def test_what_a_worker_did_before_it_died_is_heard(scenario: str, tmp_path: Path) -> None:
    """It dies between two looks, and its pool refuses the next run: the one that was done is kept, no start failed."""
    from simworld.sweep._executors import Processes

    ready = plan(campaign(scenario), out=tmp_path / "campaign")
    crew = Processes(1)
    try:
        crew.submit(ready.task(0, 0))
        (worker,) = crew._crew
        (future,) = worker.tasks
        made, _ = future.result(60)
        worker.process.kill()
        worker.process.join()
        while not worker.pool._broken:  # its manager is about to learn it
            time.sleep(0.002)
        crew.submit(ready.task(0, 1))
        first = crew.done(0.0)
        assert [outcome is made for outcome in first] == [True]
        assert crew._failed_starts == 0
        second: list[Any] = []
        while not second:  # that the new worker is ready is no outcome
            second = crew.done(60)
        assert second[0].key == ready.task(0, 1).key
    finally:
        crew.close()


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(scenario: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import simworld as sw\nsw.sweep({campaign(scenario)!r}, workers=2, out={str(tmp_path / 'campaign')!r})\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, cwd=Path.cwd())
    said = done.stderr.splitlines()
    assert said[-1].startswith("simworld.errors.CampaignError: this script starts a campaign whenever it is imported")
    assert done.stderr.count("Traceback") == 1  # the script's own
    assert done.returncode == 1


@pytest.mark.slow
def test_a_worker_has_one_thread_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
    monkeypatch.delenv(names[0], raising=False)
    monkeypatch.delenv(names[1], raising=False)
    monkeypatch.setenv(names[2], "3")
    scenario = write_other(tmp_path / "lab", "os._exit(7)", f"""
                import polars

                raise ValueError([polars.thread_pool_size(), *map(os.environ.get, {names!r})])""")  # fmt: skip
    said = campaign(scenario, params={"trouble": "die"}, replicates=1, factors={"p": [0.5]})
    found = sw.sweep(said, workers=1, out=tmp_path / "campaign")
    assert found.results["error"].to_list() == ["ValueError: [1, '1', '1', '3']"]
    assert [os.environ.get(name) for name in names] == [None, None, "3"]


def test_two_at_once_are_refused(scenario: str, tmp_path: Path) -> None:
    from simworld.sweep._journal import Journal

    with Journal(tmp_path / "campaign"), pytest.raises(CampaignError, match="another process is at work"):
        sw.sweep(campaign(scenario), executor="here", out=tmp_path / "campaign")


# -- pre-registration -----------------------------------------------------------------------------------------------


def test_what_is_frozen_is_frozen_before_the_first_run(scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "campaign"
    found = sw.sweep(campaign(scenario), executor="here", out=out, freeze=True)
    frozen = found.record["frozen"]
    assert (frozen["digest"], frozen["content_hash"]) == (found.campaign.digest(), found.manifest["content_hash"])
    assert sw.sweep(campaign(scenario), executor="here", out=out, freeze=True).record["frozen"] == frozen
    with pytest.raises(CampaignError, match=r"was frozen at .* with another plan"):
        sw.sweep(campaign(scenario, replicates=5), executor="here", out=out, freeze=True)
    changed = sw.sweep(campaign(scenario, replicates=5), executor="here", out=out)
    assert changed.record["frozen"]["digest"] != changed.campaign.digest()  # the report says so
    late = tmp_path / "late"
    sw.sweep(campaign(scenario), executor="here", out=late)
    with pytest.raises(CampaignError, match="has runs already"):
        sw.sweep(campaign(scenario), executor="here", out=late, freeze=True)


# -- models ---------------------------------------------------------------------------------------------------------


def test_models_are_asked_within_the_budget_and_only_once(tmp_path: Path) -> None:
    from tests.server import ModelServer

    with ModelServer() as server:
        said = {
            "scenario": "friendship_paradox", "params": {"n_agents": 5}, "steps": 2, "record": "runs",
            "settings": {"model": "local/scripted", "api_base": {"": server.base}}, "replicates": 2,
            "factors": {"card": ["full", "none"]}, "measures": ["follows"], "budget": {"tokens": 400_000},
        }  # fmt: skip
        found = sw.sweep(said, executor="here", out=tmp_path / "campaign")
        assert found.done.height == 4
        assert 0 < found.results["tokens"].sum() <= 400_000
        poor = sw.sweep({**said, "budget": {"tokens": 8_000}}, executor="here", out=tmp_path / "poor")
        assert "limit" in poor.results["error"][0]
        assert poor.results["tokens"].sum() <= 8_000


# -- others' models, and the command line ---------------------------------------------------------------------------


def test_any_mesa_model_can_be_swept(tmp_path: Path) -> None:
    said = {
        "scenario": "mesa.examples.basic.schelling.model@Schelling", "steps": 3, "replicates": 2,
        "factors": {"homophily": [0.3, 0.6]}, "params": {"width": 10, "height": 10},
    }  # fmt: skip
    found = sw.sweep(said, executor="here", out=tmp_path / "campaign")
    assert found.done.height == 4
    assert "pct_happy" in found.measures or "happy" in found.measures


def call(*args: str) -> Any:
    return CliRunner().invoke(_main.cli, list(args), auto_envvar_prefix="SIMWORLD")


def test_on_the_command_line(scenario: str, tmp_path: Path) -> None:
    file = tmp_path / "coins.toml"
    file.write_text(
        f'scenario = "{scenario}"\nsteps = 2\nreplicates = 2\nmeasures = ["share"]\n[factors]\np = [0.1, 0.9]\n'
    )
    out = str(tmp_path / "campaign")
    dry = call("sweep", str(file), "--out", out, "--executor", "here", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "4, 4 of them missing" in dry.stdout
    assert not Path(out).exists()
    done = call("sweep", str(file), "--out", out, "--executor", "here")
    assert done.exit_code == 0, done.output
    assert "4/4 runs" in done.output
    assert "share, with bootstrap intervals" in done.stdout
    again = call("sweep", str(file), "--out", out, "--executor", "here")
    assert "nothing: every run is there" in again.stdout
    assert call("sweep", str(file), "--out", out, "--executor", "here", "--quiet").stdout.strip() == out
    file.write_text(file.read_text() + '[params]\ntrouble = "crash"\n')
    failed = call("sweep", str(file), "--out", str(tmp_path / "failed"), "--executor", "here")
    assert failed.exit_code == 1
    assert "4 × ValueError: heads and tails" in failed.stdout
    assert call("sweep", str(file), "--executor", "kubernetes").exit_code == 2


# -- killed ---------------------------------------------------------------------------------------------------------

DRIVER = """
import json, sys
import simworld as sw

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    sw.sweep(order["campaign"], workers=2, out=order["out"], progress=lambda now: print(now.finished, flush=True))
"""


def is_worker(pid: int) -> bool:
    """Tell whether this is a worker process that lives."""
    try:
        one = psutil.Process(pid)
        return one.status() != psutil.STATUS_ZOMBIE and "spawn_main" in " ".join(one.cmdline())
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same_tables(scenario: str, tmp_path: Path) -> None:
    """The parent is killed five times, and three workers before each; then it is left alone."""
    said = campaign(scenario, params={"pause_s": 0.05}, replicates=10)
    whole = tmp_path / "whole"
    sw.sweep({**said}, workers=2, out=whole)
    out = tmp_path / "killed"
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    rng = np.random.default_rng(3)
    order = json.dumps({"campaign": said, "out": str(out)})
    progress = []
    workers: set[int] = set()
    for _ in range(5):
        process = subprocess.Popen([sys.executable, str(driver), order], stdout=subprocess.PIPE, cwd=Path.cwd())
        assert process.stdout is not None
        for victim in ("worker", "worker", "worker", "parent"):
            for _ in range(int(rng.integers(1, 3))):
                process.stdout.readline()  # it has begun, or finished another run
            time.sleep(float(rng.uniform(0.0, 0.2)))
            children = [child.pid for child in psutil.Process(process.pid).children() if is_worker(child.pid)]
            workers |= set(children)
            if victim == "parent":
                process.kill()
            elif children:
                os.kill(children[int(rng.integers(len(children)))], signal.SIGKILL)
        process.wait()
        process.stdout.close()
        progress.append(len(sw.load_campaign(out).record["seconds"]))
    assert progress == sorted(progress)
    assert 0 < progress[0] < progress[-1]
    sw.sweep({**said}, workers=1, out=out)
    assert_same(out, whole)
    assert not [pid for pid in workers if is_worker(pid)]  # workers end when their parent does


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_in_code_that_hears_nothing_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    marker = tmp_path / "pid"
    scenario = write_other(tmp_path / "lab", "os._exit(7)", f"""
                open({str(marker)!r}, "w").write(str(os.getpid()))
                sum(range(10**12))""")  # fmt: skip
    said = campaign(scenario, params={"trouble": "die"}, replicates=1, factors={"p": [0.5]})
    driver = tmp_path / "driver.py"
    driver.write_text(f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{DRIVER}")
    order = json.dumps({"campaign": said, "out": str(tmp_path / "campaign")})
    process = subprocess.Popen(
        [sys.executable, str(driver), order], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=Path.cwd()
    )
    until = time.monotonic() + 60
    while not (marker.exists() and marker.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    pid = int(marker.read_text())
    assert is_worker(pid)
    process.send_signal(number)
    assert process.wait(20) != 0
    until = time.monotonic() + 5
    while is_worker(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not is_worker(pid)


def test_a_half_made_run_folder_is_made_anew(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, record="runs", replicates=1, factors={"p": [0.5]})
    ready = plan(said, out=tmp_path / "campaign")
    folder = Path(ready.task(0, 0).folder or "")
    folder.mkdir(parents=True)
    (folder / "journal.sqlite").write_bytes(b"")
    found = sw.sweep(said, executor="here", out=tmp_path / "campaign")
    assert found.results["status"].to_list() == ["done"]


def test_a_scenario_that_ends_its_process_politely_fails_alone(tmp_path: Path) -> None:
    scenario = write_coin(tmp_path / "lab")
    text = Path(scenario).read_text("utf-8")
    Path(scenario).write_text(text.replace("os._exit(7)", "raise SystemExit(5)"), "utf-8")
    trouble = {"params": {"trouble": "die", "p_trouble": 0.3}, "replicates": 2}
    found = sw.sweep(campaign(scenario, **trouble), executor="here", out=tmp_path / "campaign")
    assert found.results.filter(pl.col("status") == "failed")["error"].unique().to_list() == ["SystemExit: 5"]
    assert found.done.height > 0


def test_a_disk_that_takes_nothing_is_no_failure_of_a_run(scenario: str, tmp_path: Path) -> None:
    said, out = campaign(scenario, record="runs", replicates=1), tmp_path / "campaign"
    out.mkdir()
    (out / "runs").write_text("in the way")
    with pytest.raises(Interrupted, match=r"stopped after 0 of \d+ runs: cannot .*; call it again to go on"):
        sw.sweep(said, executor="here", out=out)
    (out / "runs").unlink()
    found = sw.sweep(said, executor="here", out=out)
    assert found.results["status"].unique().to_list() == ["done"]


def test_an_error_that_no_file_can_hold_is_kept_as_far_as_one_can(tmp_path: Path) -> None:
    scenario = write_coin(tmp_path / "lab")
    text = Path(scenario).read_text("utf-8")
    Path(scenario).write_text(text.replace('"heads and tails"', 'chr(0xD800) + "x" * 10**6'), "utf-8")
    trouble = {"params": {"trouble": "crash", "p_trouble": 0.3}, "replicates": 2}
    found = sw.sweep(campaign(scenario, **trouble), executor="here", out=tmp_path / "campaign")
    (error,) = found.results.filter(pl.col("status") == "failed")["error"].unique().to_list()
    assert error.startswith("ValueError: \\ud800xxx")
    assert len(error) < 20_000
    assert found.done.height > 0


def test_a_folder_of_another_scenario_is_refused(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    other = write_coin(tmp_path / "other")
    with pytest.raises(CampaignError, match="holds a campaign of"):
        sw.sweep(campaign(other), executor="here", out=undisturbed)


def test_odd_characters_in_a_path_are_a_path(scenario: str, tmp_path: Path) -> None:
    for name in ("a#1", "a?b", "a%20c"):
        found = sw.sweep(campaign(scenario, replicates=1), executor="here", out=tmp_path / name)
        assert found.results.height == 6
        assert {path.name for path in (tmp_path / name).iterdir()} >= {"campaign.sqlite", "results.parquet"}


def test_a_journal_without_tables_is_an_empty_one(scenario: str, tmp_path: Path) -> None:
    from simworld.sweep import missing_runs

    (tmp_path / "campaign").mkdir()
    (tmp_path / "campaign" / "campaign.sqlite").write_bytes(b"")
    assert missing_runs(plan(campaign(scenario), out=tmp_path / "campaign")) == 24


@pytest.mark.parametrize(("executor", "workers"), [("kubernetes", None), ("processes", 0)])
def test_a_wrong_executor_writes_nothing(scenario: str, executor: str, workers: int | None, tmp_path: Path) -> None:
    with pytest.raises(CampaignError):
        sw.sweep(campaign(scenario), executor=executor, workers=workers, out=tmp_path / "campaign")
    assert not (tmp_path / "campaign").exists()


def test_a_scenario_that_changes_between_two_calls_of_one_process_is_run_anew(tmp_path: Path) -> None:
    scenario = write_coin(tmp_path / "lab")
    before = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "campaign").results
    text = Path(scenario).read_text("utf-8")
    Path(scenario).write_text(text.replace("+ self.params.shift", "+ self.params.shift + 1.0"), "utf-8")
    after = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "campaign").results
    assert (after["share"] - before["share"]).round(9).unique().to_list() == [1.0]

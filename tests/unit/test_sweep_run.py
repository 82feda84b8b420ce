"""Campaigns at work: any number of workers, any executor, failures, time limits, extension, adaptive replication."""

from __future__ import annotations

import json
import math
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
from simworld.rng import Chance
from simworld.sweep import Progress, Until, half_width, next_replicates, plan
from tests.unit.campaigns import assert_same, campaign, write_coin


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


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
def test_ray_gives_the_same(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sw.sweep(campaign(scenario), executor="ray", workers=2, out=tmp_path / "campaign")
    assert_same(tmp_path / "campaign", undisturbed)


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
@pytest.mark.parametrize("trouble", ["sleep", "hang"])
def test_a_run_that_hangs_is_given_up(scenario: str, trouble: str, tmp_path: Path) -> None:
    found = sw.sweep(
        campaign(scenario, params={"trouble": trouble, "p_trouble": 0.2}, stop={"timeout_s": 1.0}, replicates=2),
        workers=2, out=tmp_path / "campaign",
    )  # fmt: skip
    failed = found.results.filter(pl.col("status") == "failed")
    assert failed.height in range(1, 8)
    assert "longer than timeout_s = 1" in failed["error"][0]
    assert found.done.height == 12 - failed.height


@pytest.mark.slow
def test_a_run_that_kills_its_process_fails_alone(scenario: str, tmp_path: Path) -> None:
    trouble = {"params": {"trouble": "die", "p_trouble": 0.15}, "replicates": 3}
    found = sw.sweep(campaign(scenario, **trouble), workers=2, out=tmp_path / "campaign")
    failed = found.results.filter(pl.col("status") == "failed")
    assert failed.height >= 1
    assert failed["error"].str.contains("its worker process died").all()
    seeds = [plan(campaign(scenario, **trouble), out=tmp_path / "x").task(p, r).call["seed"]
             for p, r in found.results.select("point", "replicate").rows()]  # fmt: skip
    dies = [Chance(seed).stream("trouble").random() < 0.15 for seed in seeds]
    assert (found.results["status"] == "failed").to_list() == dies


def test_too_many_failures_stop_the_campaign(scenario: str, tmp_path: Path) -> None:
    trouble = campaign(scenario, params={"trouble": "crash"}, stop={"max_failed": 2})
    with pytest.raises(Interrupted, match="3 runs failed, more than max_failed = 2"):
        sw.sweep(trouble, executor="here", out=tmp_path / "campaign")
    assert sw.load_campaign(tmp_path / "campaign").results.height == 3


def test_an_unknown_metric_names_those_that_are_there(scenario: str, tmp_path: Path) -> None:
    found = sw.sweep(campaign(scenario, measures=["shares"], series=[]), executor="here", out=tmp_path / "campaign")
    assert found.done.is_empty()
    assert "no metric 'shares'; did you mean 'share'" in found.results["error"][0]


def test_workers_are_replaced(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scenario that leaks memory cannot fill the machine: after some runs a process ends."""
    from simworld.sweep import _executors

    crew = _executors.Processes(1, runs_a_worker=3)
    pids = set()
    plain = crew.submit

    def submit(task: Any) -> None:
        plain(task)
        assert crew._pool is not None
        pids.update(crew._pool._processes)

    monkeypatch.setattr(crew, "submit", submit)
    sw.sweep(campaign(scenario, replicates=2), executor=crew, out=tmp_path / "campaign")
    assert len(pids) >= 3


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


# -- adaptive replication -------------------------------------------------------------------------------------------


def test_points_that_are_known_well_enough_get_no_more(scenario: str, tmp_path: Path) -> None:
    until = {"metric": "share", "ci_width": 0.12, "max_replicates": 60, "first": 5}
    said = campaign(scenario, factors={"p": [0.0, 0.5]}, replicates=1, until=until, series=[])
    found = sw.sweep(said, executor="here", out=tmp_path / "one")
    n = dict(found.results.group_by("p").len().rows())
    assert n[0.0] == 5  # nothing varies
    assert 5 < n[0.5] <= 60
    values = found.results.filter(pl.col("p") == 0.5)["share"].to_numpy()
    assert 2 * half_width(n[0.5], values.std(ddof=1), 0.95, 5) <= 0.12
    before = values[: n[0.5] - 5]
    assert 2 * half_width(len(before), before.std(ddof=1), 0.95, 5) > 0.12
    again = sw.sweep(said, executor="processes", workers=2, out=tmp_path / "two")
    assert again.results.equals(found.results)


def test_the_rule_is_asked_after_every_batch() -> None:
    until = Until(metric="x", ci_width=1.0, max_replicates=22, first=10)
    wide = [0.0, 10.0] * 20
    assert [next_replicates(wide[:n], until) for n in (0, 5, 10, 15, 20, 22)] == [10, 10, 15, 20, 22, 22]
    assert next_replicates([1.0] * 10, until) == 10
    assert next_replicates([math.nan] * 10, until) == 15
    assert next_replicates([*[1.0] * 9, math.nan], until) == 10


def test_the_confidence_sequence_covers_at_every_look() -> None:
    """However often one looks, the truth is missed in at most five of a hundred sequences (four standard errors)."""
    rng = np.random.default_rng(5)
    misses = 0
    for values in rng.exponential(1.0, (400, 200)):
        n = np.arange(1, 201)
        means = values.cumsum() / n
        sds = np.array([values[:k].std(ddof=1) if k > 1 else np.nan for k in n])
        bounds = np.array([half_width(int(k), float(s), 0.95, 20) for k, s in zip(n[19:], sds[19:], strict=True)])
        misses += bool((np.abs(means[19:] - 1.0) > bounds).any())
    assert misses / 400 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)
    plain = 1.96 * 1.0 / math.sqrt(50)
    assert plain < half_width(50, 1.0, 0.95, 20) < 2.2 * plain  # wider than one look, and no more than that


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


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same_tables(scenario: str, tmp_path: Path) -> None:
    """Parent and workers are killed twenty times; then it is left alone."""
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
    for k in range(20):
        process = subprocess.Popen([sys.executable, str(driver), order], stdout=subprocess.PIPE, cwd=Path.cwd())
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        time.sleep(float(rng.uniform(0.0, 4.0)))
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        workers |= {int(pid) for pid in children}
        if k % 3 == 0 and children:
            os.kill(int(children[-1]), signal.SIGKILL)  # a worker; the campaign goes on
            time.sleep(0.3)
        process.kill()
        process.wait()
        process.stdout.close()
        progress.append(len(sw.load_campaign(out).record["seconds"]))
    assert progress == sorted(progress)
    assert progress[-1] > 0
    sw.sweep({**said}, workers=1, out=out)
    assert_same(out, whole)
    time.sleep(1.0)
    left = [
        pid for pid in workers if psutil.pid_exists(pid) and "spawn_main" in " ".join(psutil.Process(pid).cmdline())
    ]
    assert left == []  # workers end when their parent does


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

"""No fault of a server corrupts, changes or hangs a run; killed at any moment, nothing answered is asked again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.errors import BudgetSpent, ModelError, StorageError
from simworld.run import Run
from tests.server import ANSWER_FAULTS, TRANSPORT_FAULTS, Latency, ModelServer, ServerProcess
from tests.server.app import OTHER_FAULTS

HASTY: dict[str, Any] = {"timeout_s": 1.5, "backoff_s": 0.002, "retries": 30}
"""A service that loses little time in a test, and never calls an honest reply late on a busy machine."""


def rates(total: float, *names: str) -> dict[str, float]:
    """Return a rate for each fault; those that cost a whole timeout are rarer, for the sake of the test's time."""
    slow = {name: 0.005 for name in names if name in ("hang", "drip")}
    others = [name for name in names if name not in slow]
    return slow | {name: (total - sum(slow.values())) / len(others) for name in others}


def run_of(base: str, out: Path, model: str = "local/scripted", **call: Any) -> Run:
    return sw.run("friendship_paradox", model=model, api_base=base, out=out, **{"service": HASTY, **call})


@pytest.mark.slow
def test_every_fault_at_once_costs_retries_and_no_answers(tmp_path: Path) -> None:
    """100 agents, 10 steps, 30 % of all sendings at fault in every way a server can be; one agent truly bad."""
    # The limit falls to one or two under so many faults, so each hang costs its timeout in full.
    service = {**HASTY, "timeout_s": 0.5}
    size: dict[str, Any] = {"n_agents": 100, "steps": 10, "asking": {"attempts": 12}, "service": service}
    every = (*TRANSPORT_FAULTS, *ANSWER_FAULTS, *OTHER_FAULTS)
    with ModelServer(bad_agents=(7,)) as whole, ModelServer(
        faults=rates(0.3, *every), hang_s=4.0, retry_after_s=0.01, bad_agents=(7,)
    ) as broken:  # fmt: skip
        reference = run_of(whole.base, tmp_path / "reference", **size)
        run = run_of(broken.base, tmp_path / "run", **size)
        assert set(broken.app.faults) == set(every)
        assert broken.app.n > 1.2 * whole.app.n
    assert run.digest == reference.digest
    refused = run.events.filter(pl.col("kind") == "refusal")
    assert set(refused["agent"]) == {7}
    assert run.answers["refused"].sum() == refused.height == reference.answers["refused"].sum() > 0
    assert run.answers["again"].sum() > 0
    assert run.verify()


@pytest.mark.slow
def test_the_same_through_litellm(tmp_path: Path) -> None:
    size: dict[str, Any] = {"n_agents": 30, "steps": 3, "asking": {"attempts": 12}}
    # litellm's client waits for its own processor time; hangs are what the next test is about.
    every = [f for f in (*TRANSPORT_FAULTS, *ANSWER_FAULTS, *OTHER_FAULTS) if f not in ("hang", "drip")]
    service = {**HASTY, "timeout_s": 20.0, "concurrency": 16}
    with ModelServer() as whole, ModelServer(faults=rates(0.3, *every), retry_after_s=0.01) as broken:
        reference = run_of(whole.base, tmp_path / "reference", **size)
        run = run_of(broken.base, tmp_path / "run", "openai/scripted", service=service, **size)
        assert set(broken.app.faults) == set(every)
    same = ["step", "kind", "agent", "target", "item", "text"]
    assert run.events.select(same).equals(reference.events.select(same))
    assert run.verify()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["local/scripted", "openai/scripted"])
def test_a_hung_connection_holds_the_step_no_longer_than_its_timeout(model: str, tmp_path: Path) -> None:
    with ModelServer() as warm:
        run_of(warm.base, tmp_path / "warm", model, n_agents=4, steps=1, service={})
    for fault in ("hang", "drip"):
        with ModelServer(faults={fault: 1.0}, hang_s=60.0) as server:
            service = {"timeout_s": 0.5, "retries": 1, "backoff_s": 0.01}
            began = time.monotonic()
            with pytest.raises(ModelError, match=r"agent \d, step 1, Act.*no answer within 0.5 s"):
                run_of(server.base, tmp_path / fault, model, n_agents=4, steps=1, service=service)
            # Two timeouts and what a slow machine adds; the server would have held it for a minute.
            assert time.monotonic() - began < 15
            assert 4 <= server.app.n <= 8  # what fails first keeps the others from being sent again


def test_a_server_that_is_down_fails_the_run_which_resumes_when_it_is_up(tmp_path: Path) -> None:
    call: dict[str, Any] = {"n_agents": 12, "steps": 3}
    with ModelServer() as server:
        reference = run_of(server.base, tmp_path / "reference", **call)
    with ModelServer(faults={"error_503": 1.0}) as server:
        with pytest.raises(ModelError, match="simworld resume") as caught:
            run_of(server.base, tmp_path / "run", **call, service={**HASTY, "retries": 2})
        assert "something broke" in str(caught.value)
        assert sw.load_run(tmp_path / "run").status == "failed"
        server.app.behaviour.faults = {}
        assert sw.resume(tmp_path / "run").digest == reference.digest


def test_nothing_listens_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"did not answer|answers nothing"):
        run_of("http://127.0.0.1:9/v1", tmp_path / "run", n_agents=3, steps=1, service={**HASTY, "retries": 2})
    assert sw.load_run(tmp_path / "run").manifest["spending"] == []


def test_a_wrong_key_or_model_stops_at_once(tmp_path: Path) -> None:
    with ModelServer() as server:
        with pytest.raises(ModelError, match="cannot be asked: HTTP 404"):
            run_of(server.base.replace("/v1", "/v2/nowhere"), tmp_path / "run", n_agents=3, steps=1)
        assert server.app.n == 0


def test_the_limit_adapts_to_a_server_that_is_slowed_down(tmp_path: Path) -> None:
    with ModelServer(faults={"rate_limit_after": 0.3}, retry_after_s=0.01, latency=Latency(0.005)) as server:
        run = run_of(server.base, tmp_path / "run", n_agents=60, steps=2)
        assert run.status == "finished"
        slow = server.app.most_under_way
    assert slow <= 60


# -- latency, order, slots ----------------------------------------------------------------------------------------

ONE_RUN = """
import hashlib, json, os, sys
cores, base, out, concurrency = json.loads(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cores)
import simworld as sw
run = sw.run("friendship_paradox", n_agents=1000, steps=2, seed=5, model="local/q", api_base=base, out=out,
             service={"concurrency": concurrency})
asked = "".join(run.calls["system"]) + "".join(run.calls["user"])
print(run.digest, run.manifest["tape"], hashlib.sha256(asked.encode()).hexdigest())
"""


@pytest.mark.slow
def test_latency_order_slots_and_cores_change_nothing(tmp_path: Path) -> None:
    """1,000 agents, 128 slots: half-seen posts and arrival-order ids show only with more agents than slots."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    variants = [
        (cores, Latency(0.0), 128),
        (cores[:1], Latency(0.01, sigma=0.8, seed=1), 128),
        (cores, Latency(0.005, sigma=0.5, seed=3), 37),
    ]
    found, sent = set(), []
    for i, (on, latency, slots) in enumerate(variants):
        with ServerProcess(latency=latency, faults={"error_500": 0.02} if i == 2 else {}) as server:
            argument = json.dumps([on, server.base, str(tmp_path / str(i)), slots])
            done = subprocess.run(
                [sys.executable, "-c", ONE_RUN, argument],
                capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONHASHSEED": str(i)},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            found.add(done.stdout)
            log = server.log()
            assert log["most_under_way"] <= slots
            sent.append(set(log["sent"]))
    assert len(found) == 1
    assert all(each == sent[0] for each in sent)
    # Act in both steps, and in the second whom to follow and who influenced whom: post ids are in the prompts.
    assert len(sent[0]) > 2500


# -- kill -9, a full disk -----------------------------------------------------------------------------------------


def start(base: str, out: Path, *more: str) -> subprocess.Popen[str]:
    words = [
        "run",
        "friendship_paradox",
        "--agents",
        "40",
        "--steps",
        "3",
        "--model",
        "local/scripted",
        "--api-base",
        base,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "simworld", *words, "--out", str(out), *more],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=out.parent,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("answered", [25, 55, 90])
def test_killed_in_the_middle_of_a_step_nothing_answered_is_asked_again(answered: int, tmp_path: Path) -> None:
    with ServerProcess() as server:
        reference = run_of(server.base, tmp_path / "reference", n_agents=40, steps=3, service={})
    out = tmp_path / "run"
    with ServerProcess(hang_after=answered) as server:
        process = start(server.base, out)
        until = time.monotonic() + 60
        while time.monotonic() < until and sum(server.log()["answered"].values()) < answered:
            time.sleep(0.05)
        time.sleep(0.3)  # what is on its way arrives
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = set(server.log()["answered"])
    assert len(before) == answered
    assert sw.load_run(out).status == "interrupted"
    assert sw.load_run(out).calls.height == answered
    with ServerProcess() as server:
        done = sw.resume(out, service={"api_base": {"": server.base}})
        asked = set(server.log()["sent"])
    assert not asked & before
    assert len(asked) == done.calls.height - answered
    assert done.digest == reference.digest
    assert done.verify()


@pytest.mark.slow
def test_a_signal_stops_after_the_step_and_exits_3(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with ServerProcess(latency=Latency(0.2)) as server:
        process = start(server.base, out, "--concurrency", "10")
        until = time.monotonic() + 60
        while time.monotonic() < until and server.log()["n"] < 15:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 3, said
        assert "simworld resume" in said
        n = server.log()["n"]
        done = sw.resume(out)
        assert done.status == "finished"
        assert server.log()["n"] == done.calls.height > n


def test_a_full_disk_stops_the_run_before_an_unkept_answer_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    from simworld.run._tape import SqliteTape

    calls = {"n": 0}
    write = SqliteTape.write

    def full(self: SqliteTape, *what: Any) -> None:
        calls["n"] += 1
        if calls["n"] > 3:
            from simworld.run._store import writing

            with writing(self.journal):
                raise sqlite3.OperationalError("database or disk is full")
        write(self, *what)

    with ModelServer() as server:
        reference = run_of(server.base, tmp_path / "reference", n_agents=10, steps=2)
        with monkeypatch.context() as patched:
            patched.setattr(SqliteTape, "write", full)
            with pytest.raises(StorageError, match="disk is full"):
                run_of(server.base, tmp_path / "run", n_agents=10, steps=2)
        assert sw.load_run(tmp_path / "run").status == "failed"
        assert sw.resume(tmp_path / "run").digest == reference.digest


# -- ending -------------------------------------------------------------------------------------------------------


def test_a_server_that_asks_to_wait_for_a_day_ends_the_run_at_once(tmp_path: Path) -> None:
    with ModelServer(faults={"rate_limit_after": 1.0}, retry_after_s=100_000) as server:
        began = time.monotonic()
        with pytest.raises(ModelError, match="asks to wait 100,000 s"):
            run_of(server.base, tmp_path / "run", n_agents=6, steps=1, service={"concurrency": 2})
        assert time.monotonic() - began < 10


def test_a_call_that_is_wrong_ends_the_run_although_others_wait_for_their_minute(tmp_path: Path) -> None:
    with ModelServer(status=401) as server:
        began = time.monotonic()
        with pytest.raises(ModelError, match="HTTP 401"):
            run_of(server.base, tmp_path / "run", n_agents=12, steps=1, service={"requests_per_minute": 4})
        assert time.monotonic() - began < 10
        assert server.app.n <= 2


def test_one_model_that_fails_loses_no_answer_of_another(tmp_path: Path) -> None:
    with ModelServer(status=404) as wrong, ModelServer(latency=Latency(0.3)) as right:
        # The one fails only when the other has got all its calls.
        wrong.app.is_time = lambda: right.app.n >= 4
        both = {"local/a": wrong.base, "local/b": right.base}
        call: dict[str, Any] = {"model": dict.fromkeys(both, 0.5), "service": {**HASTY, "api_base": both}}
        with pytest.raises(ModelError, match="'local/a' cannot be asked"):
            sw.run("friendship_paradox", n_agents=8, steps=1, out=tmp_path / "run", **call)
        kept = sw.load_run(tmp_path / "run").calls
        assert kept.height == len(right.app.answered) == 4
        assert set(kept["model"]) == {"local/b"}


def test_usage_beyond_what_was_allowed_is_believed_and_stops_the_run(tmp_path: Path) -> None:
    """Thinking is billed: a server that reports 1,500 tokens where 60 were allowed has to be paid for them."""
    service = {**HASTY, "prices": {"local/scripted": (1.0, 4.0)}, "concurrency": 1}
    with ModelServer(usage=(600, 1500)) as server:
        with pytest.raises(BudgetSpent):
            run_of(server.base, tmp_path / "run", n_agents=20, steps=3, budget_usd=0.05, asking={"max_tokens": 60},
                   service=service)  # fmt: skip
        bill = len(server.app.answered) * (600 * 1e-6 + 1500 * 4e-6)
    # It is seen only when the reply is there, so one call may go beyond.
    assert bill <= 0.05 + 0.0066
    assert sw.load_run(tmp_path / "run").calls["usd"].sum() == pytest.approx(bill)


@pytest.mark.slow
def test_what_was_under_way_when_it_was_killed_counts_against_the_budget(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with ServerProcess(latency=Latency(5.0)) as server:
        process = start(server.base, out, "--price", "local/scripted=1,4", "--budget", "5")
        until = time.monotonic() + 60
        while time.monotonic() < until and server.log()["n"] < 40:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with pytest.raises(BudgetSpent):
        sw.resume(out, service={"budget_usd": 0.001})
    (spent,) = sw.load_run(out).manifest["spending"]
    assert spent["calls"] == 0
    # Forty calls of some 2,500 bytes in and 1,024 tokens out, at a dollar and four dollars a million.
    assert 40 * 1024 * 4e-6 < spent["lost_usd"] < 40 * (1024 * 4e-6 + 5000e-6)


@pytest.mark.parametrize("lie", [{"served_by": "\ud800"}, {"served_by": "x" * 3_000_000}])
def test_a_server_may_call_itself_anything(lie: dict[str, Any], tmp_path: Path) -> None:
    with ModelServer(**lie) as server:
        run = run_of(server.base, tmp_path / "run", n_agents=4, steps=1)
        assert run.calls["served_by"].str.len_chars().max() <= 100
        assert run.verify()


def test_two_verifications_at_once_leave_the_network_as_it_was(tmp_path: Path) -> None:
    import socket
    import threading

    with ModelServer() as server:
        run = run_of(server.base, tmp_path / "run", n_agents=12, steps=3)
        before = dict(socket.socket.__dict__)
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(sw.verify(run.path))) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        # Another run of the process goes on meanwhile.
        other = run_of(server.base, tmp_path / "other", n_agents=4, steps=1)
        for thread in threads:
            thread.join()
        assert other.status == "finished"
    assert all(found)
    assert len(found) == 2
    assert dict(socket.socket.__dict__) == before

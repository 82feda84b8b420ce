"""Forks: the same until the change, other streams untouched, resumable, repeatable; and what two runs differ by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import simworld as sw
from simworld.cli import _main
from simworld.errors import GraphError, ParameterError, UsageError
from simworld.run import Run, prepare_fork, resume, start_run
from tests.server import ModelServer
from tests.unit.test_run_society import Cut, assert_same_run, write_hamlet

STEPS = 14


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hamlet(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def source(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(scenario, seed=8, steps=STEPS, out=tmp_path_factory.mktemp("source") / "hamlet")


@pytest.mark.parametrize("step", [0, 1, 5, 9, STEPS - 1])
def test_a_fork_that_changes_nothing_is_the_run_itself(source: Run, step: int, tmp_path: Path) -> None:
    fork = sw.fork(source, step, out=tmp_path / "fork")
    assert_same_run(fork, source)
    assert fork.verify()
    assert not sw.diff(source, fork)
    assert fork.plan.forked is not None
    assert (fork.plan.forked.run, fork.plan.forked.digest, fork.plan.forked.step) == ("hamlet", source.digest, step)


@pytest.mark.parametrize("every", [3, 0])
def test_it_may_leave_where_no_state_was_recorded(scenario: str, every: int, tmp_path: Path) -> None:
    source = sw.run(scenario, seed=8, steps=STEPS, state_every=every, out=tmp_path / "source")
    fork = sw.fork(source, 7, params={"rate": 0.9}, out=tmp_path / "fork")
    whole = sw.fork(sw.run(scenario, seed=8, steps=STEPS, out=tmp_path / "all"), 7, params={"rate": 0.9},
                    out=tmp_path / "whole")  # fmt: skip
    assert fork.events.equals(whole.events, null_equal=True)
    assert fork.verify()


CHANGES: dict[str, dict[str, Any]] = {
    "parameter": {"params": {"stop_after": 9}},
    "column": {"cells": {("3", "wealth"): 1000.0}},
    "category": {"cells": {(2, "mood"): "angry"}},
    "mind": {"minds": {"4": "mute", 6: "mute"}},
    "longer": {"steps": STEPS + 4},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_what_is_changed_changes_from_there_on_and_the_fork_repeats_itself(
    source: Run, change: dict[str, Any], tmp_path: Path
) -> None:
    fork = sw.fork(source, 6, out=tmp_path / "fork", **change)
    before = pl.col("step") <= 6
    assert fork.events.filter(before).equals(source.events.filter(before), null_equal=True)
    assert fork.states.filter(before).equals(source.states.filter(before), null_equal=True)
    assert fork.digest != source.digest
    assert fork.verify()
    found = sw.diff(source, fork)
    if "steps" in change:
        assert (found.first, found.same_until, fork.steps) == (None, STEPS, STEPS + 4)
    elif "params" in change:  # it stops by itself, which its Globals say
        assert found.first is not None
        assert (found.first.step, found.first.stream, fork.steps) == (9, "globals", 9)
    else:
        assert found.first is not None
        assert (found.first.step, found.same_until) == (7, 6)


def test_a_change_without_consequence_is_no_divergence(source: Run, tmp_path: Path) -> None:
    fork = sw.fork(source, 6, params={"pause_s": 0.001}, out=tmp_path / "fork")
    found = sw.diff(source, fork)
    assert (found.first, found.same_until) == (None, 6)
    assert found.reached.is_empty()
    assert "nothing follows from it" in call("diff", str(source.path), str(fork.path)).stdout


def test_each_change_is_an_event_of_the_next_step_and_stands_in_the_plan(source: Run, tmp_path: Path) -> None:
    kind = source.manifest["tie_kinds"][0]
    graph = source.graph(6)
    u, v = next(iter(graph.edges))
    fork = sw.fork(source, 6, params={"rate": 0.5}, minds={"4": "mute"}, cells={("3", "visits"): 7}, cuts=[(u, v)],
                   out=tmp_path / "fork")  # fmt: skip
    events = fork.events.filter(pl.col("kind") == "intervention")
    assert events["step"].unique().to_list() == [7]
    assert events["data"].to_list() == [
        '{"param": "rate", "value": 0.5}', '{"mind": "mute"}', '{"column": "visits", "value": 7}',
        f'{{"cut": "{kind}"}}',
    ]  # fmt: skip
    assert events["agent"].to_list() == [-1, 4, 3, u]
    first = fork.ties.filter(pl.col("step") == 7).row(0, named=True)
    assert (first["op"], first["source"], first["target"]) == ("removed", u, v)
    assert fork.plan.interventions[0].minds == {4: "mute"}
    assert any("forked from hamlet after step 6" in note for note in fork.manifest["notes"])


def test_only_those_who_are_changed_or_told_otherwise_are_reached(source: Run, tmp_path: Path) -> None:
    """Villagers draw from streams of their own, so nobody but the changed one walks or talks otherwise."""
    fork = sw.fork(source, 10, minds={"2": "mute"}, out=tmp_path / "fork")
    walks = [
        run.events.filter((pl.col("step") == 11) & (pl.col("kind") == "walk")).select("agent", "value")
        for run in (source, fork)
    ]
    assert walks[0].filter(pl.col("agent") != 2).equals(walks[1].filter(pl.col("agent") != 2))
    assert not walks[0].equals(walks[1])
    found = sw.diff(source, fork)
    assert found.first is not None
    assert found.first.step == 11
    assert found.first.agents == (2,)
    assert found.reached.row(0) == (2, 11)


def test_a_fork_of_a_fork_carries_both_changes(source: Run, tmp_path: Path) -> None:
    one = sw.fork(source, 4, minds={"1": "mute"}, out=tmp_path / "one")
    two = sw.fork(one, 9, params={"rate": 0.7}, minds={"3": "mute"}, out=tmp_path / "two")
    assert [each.step for each in two.plan.interventions] == [4, 9]
    assert two.verify()
    before = pl.col("step") <= 9
    assert two.events.filter(before).equals(one.events.filter(before), null_equal=True)
    with pytest.raises(ParameterError, match="changed after step 4; fork it there or later"):
        sw.fork(one, 3, out=tmp_path / "three")


@pytest.mark.parametrize("after", [6, 7, 10])
def test_cut_and_resumed_it_comes_to_the_same_end(source: Run, after: int, tmp_path: Path) -> None:
    change: dict[str, Any] = {"params": {"rate": 0.9}, "minds": {"4": "mute"}, "cells": {("3", "wealth"): 0.0}}
    whole = sw.fork(source, 6, out=tmp_path / "whole", **change)

    def cut(t: int, steps: int, metrics: Any) -> None:
        if t >= after:
            raise Cut

    out = tmp_path / "cut"
    if after == 6:  # made, and dead before its first step
        start_run(prepare_fork(source, 6, **change), out)
    else:
        with pytest.raises(Cut):
            sw.fork(source, 6, out=out, progress=cut, **change)
    assert sw.load_run(out).status == "interrupted"
    assert_same_run(resume(out), whole)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "step": ({"step": 99}, "has steps 0 to 14"),
    "negative": ({"step": -1}, "has steps 0 to 14"),
    "no steps": ({"step": 6, "steps": 6}, "leaves nothing to do after step 6"),
    "parameter": ({"step": 6, "params": {"rat": 1}}, "no parameter 'rat'; did you mean 'rate'"),
    "range": ({"step": 6, "params": {"rate": 7}}, "rate = 7"),
    "size": ({"step": 6, "params": {"n_agents": 3}}, "n_agents cannot change"),
    "agent": ({"step": 6, "minds": {"99": "null"}}, "no agent '99'"),
    "mind": ({"step": 6, "minds": {"1": "nul"}}, "no mind 'nul'; did you mean 'null'"),
    "column": ({"step": 6, "cells": {("1", "welth"): 1.0}}, "no column 'welth'; did you mean 'wealth'"),
    "type": ({"step": 6, "cells": {("1", "visits"): "many"}}, "column 'visits' takes"),
    "label": ({"step": 6, "cells": {("1", "mood"): "sad"}}, "'sad' is not one of"),
    "tie": ({"step": 6, "cuts": [("1", "1")]}, "cannot be tied to itself"),
    "kind": ({"step": 6, "cuts": [("1", "2", "hates")]}, "no kind of tie 'hates'"),
    "too large": ({"step": 6, "cells": {("1", "visits"): 10**20}}, "which 100000000000000000000 does not fit"),
    "infinite": ({"step": 6, "cells": {("1", "wealth"): float("inf")}}, "is no number, text or boolean"),
    "twice": ({"step": 6, "cells": {("1", "wealth"): 1.0, (1, "wealth"): 2.0}}, "two values"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "words"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_call_writes_nothing_and_says_what_is_right(
    source: Run, call: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises((UsageError, GraphError), match="(?s).*" + words.replace("(", r"\(")):
        sw.fork(source, out=tmp_path / "fork", **call)
    assert not (tmp_path / "fork").exists()


def test_a_plain_mesa_model_cannot_be_forked(tmp_path: Path) -> None:
    run = sw.run("mesa.examples.basic.schelling.model@Schelling", steps=2, out=tmp_path / "run")
    with pytest.raises(UsageError, match="cannot be forked"):
        sw.fork(run, 1)


def test_two_scenarios_are_not_compared(source: Run, tmp_path: Path) -> None:
    other = sw.run("friendship_paradox", n_agents=5, steps=1, out=tmp_path / "other")
    with pytest.raises(ParameterError, match="take two of one"):
        sw.diff(source, other)


def test_metrics_are_paired_by_step(tmp_path: Path) -> None:
    source = sw.run("friendship_paradox", n_agents=20, steps=8, seed=1, out=tmp_path / "source")
    fork = sw.fork(source, 3, params={"p_follow": 1.0}, out=tmp_path / "fork")
    found = sw.diff(source, fork)
    row = found.metrics.row(by_predicate=pl.col("metric") == "follows", named=True)
    assert row["a"] == source.metrics["follows"][-1]
    assert row["b"] == fork.metrics["follows"][-1]
    assert row["difference"] == row["b"] - row["a"] > 0
    gaps = (fork.metrics["follows"] - source.metrics["follows"]).to_list()
    assert row["mean_difference"] == pytest.approx(sum(gaps[4:]) / 5)
    assert gaps[row["largest_at"]] == row["largest"] == max(gaps, key=abs)
    finding = found.findings.row(0, named=True)
    assert finding["difference"] == finding["b"] - finding["a"]


def test_what_was_remembered_before_is_remembered_in_the_fork(tmp_path: Path) -> None:
    source = sw.run("village", steps=8, seed=7, out=tmp_path / "source")
    fork = sw.fork(source, 5, params={"attention": 1}, out=tmp_path / "fork")
    before = pl.col("step") <= 5
    assert fork.memory.filter(before).equals(source.memory.filter(before), null_equal=True)
    assert not fork.memory.equals(source.memory, null_equal=True)
    assert [m.text for m in fork.memory_of("odile", 5).records] == [
        m.text for m in source.memory_of("odile", 5).records
    ]
    assert fork.verify()


# -- language models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Any:
    with ModelServer() as running:
        yield running


@pytest.fixture(scope="module")
def asked(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run("friendship_paradox", n_agents=12, steps=6, seed=3, model="local/scripted", api_base=server.base,
                  out=tmp_path_factory.mktemp("asked") / "run")  # fmt: skip


def test_nothing_is_asked_where_nothing_changed(asked: Run, tmp_path: Path) -> None:
    fork = sw.fork(asked, 3, out=tmp_path / "fork", service={"api_base": {"": "http://127.0.0.1:9/v1"}})
    assert fork.digest == asked.digest
    (spent,) = fork.manifest["spending"]
    assert (spent["calls"], spent["cached"]) == (0, asked.calls.height)
    assert fork.manifest["tape"] == asked.manifest["tape"]
    assert fork.verify()


def test_those_who_are_told_the_same_answer_the_same_unasked(asked: Run, tmp_path: Path) -> None:
    fork = sw.fork(asked, 3, minds={"4": "rules"}, out=tmp_path / "fork")
    (spent,) = fork.manifest["spending"]
    later = asked.calls.filter((pl.col("step") > 3) & (pl.col("agent") != 4)).height
    assert 0 < spent["calls"] < later
    key = ["step", "agent", "purpose", "occurrence", "attempt"]
    both = asked.calls.join(fork.calls, on=key, suffix="_b")
    same = both.filter((pl.col("user") == pl.col("user_b")) & (pl.col("system") == pl.col("system_b")))
    assert (same["reply"] == same["reply_b"]).all()
    assert same.height == spent["cached"]
    assert fork.calls.filter((pl.col("step") > 3) & (pl.col("agent") == 4)).is_empty()
    assert fork.answers["asked"].sum() == fork.calls.height
    assert fork.verify()
    first = sw.diff(asked, fork).first
    assert first is not None
    assert first.prompts.count("\n") > 2


def test_a_run_of_rules_can_be_given_a_language_model(server: ModelServer, tmp_path: Path) -> None:
    source = sw.run("friendship_paradox", n_agents=12, steps=5, seed=3, out=tmp_path / "rules")
    fork = sw.fork(source, 2, minds={"4": "local/scripted"}, service={"api_base": {"": server.base}},
                   out=tmp_path / "fork")  # fmt: skip
    assert fork.calls["agent"].unique().to_list() == [4]
    assert fork.calls["step"].min() == 3
    assert "friendship_paradox/prompts/Act.md" in fork.manifest["prompts"]
    assert fork.verify()


# -- on the command line --------------------------------------------------------------------------------------------


def call(*args: str) -> Any:
    return CliRunner().invoke(_main.cli, list(args), auto_envvar_prefix="SIMWORLD")


def test_fork_and_diff_on_the_command_line(source: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "fork")
    done = call("fork", str(source.path), "--step", "6", "-p", "rate=0.9", "--set", "3.wealth=1000.0",
                "--swap-mind", "4=mute", "--out", out)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "forked from hamlet after step 6" in done.stdout
    assert f"simworld diff {source.path} {out}" in done.stdout
    done = call("diff", str(source.path), out)
    assert done.exit_code == 0, done.output
    for words in ("where they part", "7 (the same up to step 6)", "agents reached", "wealth"):
        assert words in done.stdout
    again = call("diff", str(source.path), str(source.path))
    assert "they have the same steps" in again.stdout


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--set", "wealth=3"), "is not AGENT.COLUMN=VALUE"),
        (("--set", "3.wealth"), "is not name=value"),
        (("--cut-tie", "3"), "is not A,B or A,B,KIND"),
        (("--swap-mind", "null"), "is not NAME=VALUE"),
        (("-p", "rate=@nothing.csv"), "the file cannot be read"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line(source: Run, option: tuple[str, str], words: str) -> None:
    done = call("fork", str(source.path), "--step", "6", *option)
    assert done.exit_code == 2
    assert words in done.output
    assert len(done.output.strip().splitlines()) == 1

"""Forks of every scenario: unchanged they are the run itself; changed, killed and resumed they come to the same end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

import simworld as sw
from simworld.run import Run
from tests.unit.test_run_society import Cut, assert_same_run


class Case(NamedTuple):
    """A small run, the step it is forked at, and what is changed there."""

    call: dict[str, Any]
    steps: int
    step: int
    changes: dict[str, dict[str, Any]]


def a_tie(run: Run, step: int) -> list[tuple[int, int]]:
    """Return the first tie there is."""
    return [next(iter(run.graph(step).edges))[:2]]


CASES = {
    "friendship_paradox": Case({"n_agents": 15}, 8, 4, {
        "params": {"params": {"p_follow": 0.2}}, "cells": {"cells": {(3, "activity"): 0.9}},
        "minds": {"minds": {2: "null"}}, "cuts": {"cuts": a_tie},
    }),
    "village": Case({}, 8, 4, {
        "params": {"params": {"attention": 1}}, "cells": {"cells": {(3, "conversations"): 9}},
        "minds": {"minds": {2: "null"}}, "cuts": {"cuts": a_tie},
    }),
    "donor_game": Case({"generations": 2, "rounds": 4}, 16, 6, {
        "params": {"params": {"multiplier": 3.0}}, "cells": {"cells": {(3, "resources"): 0.0}},
        "minds": {"minds": {2: "always(0)"}},
    }),
    "traitors": Case({}, 3, 1, {"params": {"params": {"talk": False}}, "minds": {"minds": {2: "null"}}}),
    "trust_games": Case({"n_agents": 8}, 13, 4, {
        "params": {"params": {"instruction": "must_trust"}}, "minds": {"minds": {2: "null"}},
    }),
    "matrix_games": Case({"n_agents": 16, "noise": 0.1}, 8, 4, {
        "params": {"params": {"noise": 0.0}}, "minds": {"minds": {2: "always(0)"}}, "cuts": {"cuts": a_tie},
    }),
    "public_goods": Case({"n_agents": 16}, 8, 4, {
        "params": {"params": {"punishment": True}}, "minds": {"minds": {2: "always(0)"}},
    }),
    "indirect_reciprocity": Case({"n_agents": 16}, 8, 4, {
        "params": {"params": {"known": 0.2}}, "minds": {"minds": {2: "null"}},
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each scenario, made when it is first asked for."""

    class Made(dict[str, Run]):
        def __missing__(self, name: str) -> Run:
            case = CASES[name]
            out = tmp_path_factory.mktemp(name) / "run"
            self[name] = sw.run(name, seed=5, steps=case.steps, out=out, **case.call)
            return self[name]

    return Made()


@pytest.mark.parametrize("name", CASES)
def test_unchanged_it_is_the_run_itself(sources: dict[str, Run], name: str, tmp_path: Path) -> None:
    source = sources[name]
    fork = sw.fork(source, min(CASES[name].step, source.steps - 1), out=tmp_path / "fork")
    assert_same_run(fork, source)


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, case in CASES.items() for change in case.changes]
)
def test_changed_it_repeats_itself_and_can_be_killed(
    sources: dict[str, Run], name: str, change: str, tmp_path: Path
) -> None:
    source, case = sources[name], CASES[name]
    step = min(case.step, source.steps - 1)
    said = {key: value(source, step) if callable(value) else value for key, value in case.changes[change].items()}
    whole = sw.fork(source, step, out=tmp_path / "whole", **said)
    assert whole.verify()
    assert whole.digest != source.digest
    assert whole.findings["note"].str.contains("changed after step").any() or whole.findings.is_empty() or name in (
        "friendship_paradox",
    )  # fmt: skip

    def cut(t: int, steps: int, metrics: Any) -> None:
        if t > step:
            raise Cut

    with pytest.raises(Cut):
        sw.fork(source, step, out=tmp_path / "cut", progress=cut, **said)
    assert_same_run(sw.resume(tmp_path / "cut"), whole)

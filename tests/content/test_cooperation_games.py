"""What the games of cooperation share: arguments of scripted minds, changes that are refused, forks that are killed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import share_argument
from simworld.run import Run, prepare_fork, start_run
from tests.unit.test_run_society import Cut, assert_same_run


class Case(NamedTuple):
    """A small run, the steps at which it is forked, and all that may be changed there at once."""

    call: dict[str, Any]
    steps: tuple[int, ...]
    change: dict[str, Any]


PAIRS = "generation,game,round,donor,recipient\n" + "\n".join(
    f"3,1,{r},{a},{b}" for r in (1, 2, 3) for a, b in ((0, 1), (2, 3), (4, 5))
)
CASES = {
    "donor_game": Case(
        {"generations": 3, "rounds": 3, "n_agents": 6}, (2, 6, 11),
        {"params": {"generations": 4, "punishment": True, "pairs": PAIRS, "survival_fraction": 0.8, "alpha": 0.9},
         "minds": {1: "always(0)"}, "cells": {(0, "resources"): 0.0, (2, "g0"): 1.0, (2, "strategy"): "Give all."}},
    ),
    "trust_games": Case(
        {"n_agents": 6}, (3, 9),
        {"params": {"chain_of_thought": False, "instruction": "must_trust"}, "minds": {1: "always(1)", 2: "selfish"},
         "cells": {(0, "balance"): 99.0, (3, "earned"): 0.0}},
    ),
    "trust_games consistency": Case(
        {"n_agents": 8, "study": "consistency", "n_elicitors": 3}, (1, 4),
        {"params": {"say_do_noise": 1.0}, "minds": {1: "null"}, "cells": {(0, "balance"): 99.0}},
    ),
    "public_goods": Case(
        {"n_agents": 12, "steps": 6}, (1, 4),
        {"params": {"group_size": 3, "matching": "strangers", "punishment": True, "fine": 1.0},
         "minds": {1: "always(1)"}, "cells": {(0, "contributed"): 20.0, (0, "fined"): 5.0, (3, "payoff"): -7.5}},
    ),
    "indirect_reciprocity": Case(
        {"n_agents": 12, "steps": 8, "generation": 3}, (2, 3, 5),
        {"params": {"known": 0.9, "benefit": 4.0, "mutation": 0.3}, "minds": {1: "gives(0.5)"},
         "cells": {(0, "strategy"): "defector", (2, "image"): False, (3, "payoff"): 40.0}},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each case."""
    folder = tmp_path_factory.mktemp("sources")
    return {
        name: sw.run(name.partition(" ")[0], seed=6, out=folder / name.replace(" ", "-"), **case.call)
        for name, case in CASES.items()
    }


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, case in CASES.items() for step in case.steps])
def test_a_fork_that_is_killed_comes_to_the_same_end(
    sources: dict[str, Run], name: str, step: int, tmp_path: Path
) -> None:
    source, change = sources[name], CASES[name].change
    whole = sw.fork(source, step, steps=1000 if name == "donor_game" else None, out=tmp_path / "whole", **change)
    assert whole.verify()
    assert whole.digest != source.digest
    own = ~pl.col("observer").is_in(["persona_effects", "inequality"])
    assert whole.findings.filter(own)["p_value"].is_nan().all()
    assert whole.steps == (24 if name == "donor_game" else source.steps)
    dead = tmp_path / "dead"  # before its first step
    start_run(prepare_fork(source, step, steps=whole.plan.steps, **change), dead)
    assert_same_run(sw.resume(dead), whole)
    for after in {step + 1, whole.steps - 1}:

        def cut(t: int, steps: int, metrics: Any, after: int = after) -> None:
            if t >= after:
                raise Cut

        out = tmp_path / f"cut {after}"
        with pytest.raises(Cut):
            sw.fork(source, step, steps=whole.plan.steps, out=out, progress=cut, **change)
        assert_same_run(sw.resume(out), whole)


REFUSED: dict[str, list[tuple[int, dict[str, Any], str]]] = {
    "donor_game": [
        (2, {"params": {"rounds": 8}}, "rounds cannot change"),
        (13, {"params": {"generations": 2}}, "generations = 2 are over before step 13"),
        (12, {"params": {"generations": 2}}, "generations = 2 are over before step 12"),
        (5, {"params": {"pairs": "generation,game"}}, "the header has no column 'round'"),
        (5, {"params": {"pairs": PAIRS, "generations": 2}}, "there is no generation 3"),
        (5, {"params": {"moves": "generation,game,round,donor,share\n1,1,1,9,0.5"}}, "there is no slot 9"),
        (5, {"minds": {1: "table"}}, "the mind 'table' follows -p moves=@FILE"),
        (5, {"minds": {1: "always(2)"}}, "write always(0.3)"),
        (5, {"cells": {(1, "resources"): -1.0}}, "resources = -1.0 of agent 1 lies outside"),
        (5, {"cells": {(1, "alpha"): 1.5}}, "alpha = 1.5 of agent 1 lies outside 0 to 1"),
        (5, {"cells": {(1, "slot"): 0}}, "slot of agent 1 is kept by the game"),
        (5, {"cells": {(1, "advice_from"): "nobody"}}, "advice_from of agent 1 is kept by the game"),
        (5, {"cells": {(1, "resource"): 1.0}}, "did you mean 'resources'"),
    ],
    "trust_games": [
        *((4, {"params": {name: value}}, f"{name} cannot change") for name, value in {
            "rounds": 8, "games": "trust", "study": "consistency", "endowment": 44, "multiplier": 2.0,
            "rules": "released_code", "attributes": "age", "strategies": "CTX+$", "n_per_level": 9,
        }.items()),
        (4, {"minds": {1: "always(2)"}}, "write always(0.3)"),
        (4, {"cells": {(1, "blance"): 1.0}}, "did you mean 'balance'"),
    ],
    "trust_games consistency": [
        (4, {"params": {"rounds": 8}}, "rounds cannot change"),
        (2, {"params": {"conditioning": "weak"}}, "conditioning is told in step 2"),
    ],
    "public_goods": [
        (3, {"params": {"group_size": 13}}, "there are 12 players"),
        (3, {"params": {"endowment": 5.0}}, "endowment cannot change"),
        (3, {"params": {"factor": 3.0}}, "factor cannot change"),
        (3, {"minds": {1: "always(2)"}}, "write always(0.3)"),
        (3, {"cells": {(1, "moves"): -1}}, "moves of agent 1 is counted by the game"),
        (3, {"cells": {(1, "contributed"): 21.0}}, "contributed = 21.0 of agent 1 lies outside 0 to 20"),
        (3, {"cells": {(1, "fined"): -1.0}}, "fined = -1.0 of agent 1 lies outside 0 to inf"),
        (3, {"cells": {(1, "contribute"): 1.0}}, "did you mean 'contributed'"),
    ],
    "indirect_reciprocity": [
        (3, {"params": {"generation": 4}}, "generation cannot change"),
        (3, {"params": {"defectors": 0.5}}, "defectors only mattered at the start"),
        (3, {"params": {"cooperators": 0.5}}, "cooperators only mattered at the start"),
        (3, {"minds": {1: "gives(2)"}}, "write gives(0.3)"),
        (3, {"cells": {(1, "moves"): 9}}, "moves of agent 1 is counted by the game"),
        (3, {"cells": {(1, "strategy"): "saint"}}, "'saint' is not one of"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_change_is_refused_before_anything_is_written(
    sources: dict[str, Run], name: str, tmp_path: Path
) -> None:
    for step, change, words in REFUSED[name]:
        with pytest.raises(ParameterError, match=re.escape(words)):
            sw.fork(sources[name], step, out=tmp_path / "fork", **change)
        assert not (tmp_path / "fork").exists()


@pytest.mark.parametrize(("name", "step"), [("donor_game", 7), ("trust_games", 5), ("public_goods", 3)])
def test_what_is_said_to_be_what_it_was_is_no_change(
    sources: dict[str, Run], name: str, step: int, tmp_path: Path
) -> None:
    same = {key: CASES[name].call.get(key) for key in ("rounds", "generations") if key in CASES[name].call}
    same |= {"endowment": 10} if name == "trust_games" else {}
    same |= {"factor": 1.6} if name == "public_goods" else {}
    fork = sw.fork(sources[name], step, params=same, out=tmp_path / "fork")
    assert fork.states.equals(sources[name].states, null_equal=True)


def test_the_argument_of_a_scripted_mind() -> None:
    assert share_argument("always", "0.25") == 0.25
    assert share_argument("always", " 1 ") == 1.0
    assert share_argument("waits", "7", 5, 10) == 7.0
    for text in ("", "x", "nan", "-0.1", "1.01", "inf"):
        with pytest.raises(ParameterError, match=re.escape(f"mind always({text}) takes a number from 0 to 1")):
            share_argument("always", text)
    with pytest.raises(ParameterError, match=re.escape("from 5 to 10; write waits(6.5)")):
        share_argument("waits", "4", 5, 10)

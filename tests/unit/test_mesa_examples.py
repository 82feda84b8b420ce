"""Mesa's ten examples, unchanged, under `simworld.run`: what is recorded is what the model alone would have said."""

from __future__ import annotations

import json
import math
import random
import warnings
from pathlib import Path
from typing import Any

import mesa.examples
import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.errors import ObserverError, ParameterError
from simworld.run import prepare
from simworld.world import PlainModel
from simworld.world._mesa import global_random

EXAMPLES: dict[str, type] = {name: getattr(mesa.examples, name) for name in mesa.examples.__all__}
STEPS = 4
SMALL: dict[str, dict[str, Any]] = {
    "BoidFlockers": {"population_size": 20},
    "ConwaysGameOfLife": {"width": 12, "height": 10},
    "EpsteinCivilViolence": {"width": 14, "height": 14},
    "PdGrid": {"width": 12, "height": 12},
    "SugarscapeG1mt": {"initial_population": 60},
}
"""Parameters that keep the tests short; each reaches the model by its own way, constructor or scenario."""


def spec(name: str) -> str:
    return f"{EXAMPLES[name].__module__}@{name}"


def run(name: str, path: Path, **more: Any) -> sw.Run:
    return sw.run(spec(name), out=path / name, **{"seed": 5, "steps": STEPS, **SMALL.get(name, {}), **more})


def by_hand(name: str, seed: int, steps: int, params: dict[str, Any]) -> Any:
    """The model made and stepped by Mesa alone; the process-wide generators are keyed as a run keys them."""
    cls: Any = EXAMPLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with global_random(seed, "made"):
            if name in SCENARIOS:
                model = cls(scenario=SCENARIOS[name](rng=seed, **params), **KEEP.get(name, lambda p: {})(params))
            else:
                model = cls(rng=seed, **params)
        for t in range(1, steps + 1):
            if not model.running:
                break
            with global_random(seed, "step", t):
                model.step()
    return model


def _scenarios() -> dict[str, Any]:
    """The examples that take their settings as a scenario object, with its class, read from their modules by name."""
    import importlib

    found = {}
    for name, cls in EXAMPLES.items():
        module = importlib.import_module(cls.__module__)
        classes = [v for k, v in vars(module).items() if k.endswith("Scenario") and k != "Scenario"]
        if len(classes) == 1:
            found[name] = classes[0]
    return found


SCENARIOS = _scenarios()
KEEP: dict[str, Any] = {"EpsteinCivilViolence": lambda p: {k: p[k] for k in ("width", "height") if k in p}}
"""Epstein takes width and height in the constructor beside the scenario."""


def agents_of(model: Any) -> dict[int, tuple[str, float, float]]:
    out = {}
    for agent in model.agents:
        where = getattr(agent, "pos", None)
        if where is None:
            where = getattr(getattr(agent, "cell", None), "coordinate", None)
        if where is None:
            where = getattr(agent, "position", None)
        xy = [] if where is None else [float(v) for v in np.atleast_1d(where)]
        x, y = [*xy, math.nan, math.nan][:2]
        out[int(agent.unique_id)] = (type(agent).__name__, x, y)
    return out


def test_there_are_ten() -> None:
    assert len(EXAMPLES) == 10
    assert len(SCENARIOS) >= 3, "examples with a scenario object are part of what is tested"


@pytest.mark.parametrize("name", EXAMPLES)
def test_metrics_are_the_models_own_value_for_value(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path)
    model = by_hand(name, 5, STEPS, SMALL.get(name, {}))
    collector = getattr(model, "datacollector", None)
    # MultiLevelAllianceModel has a collector and never collects.
    series = {key: values for key, values in getattr(collector, "model_vars", {}).items() if values}
    assert found.metrics.columns == ["step", *series]
    length = {len(v) for v in series.values()}
    for key, values in series.items():
        recorded = found.metrics[key].to_list()
        # A model that collects when it is made has a value for step 0; one that does not, none.
        recorded = recorded[-len(values) :]
        assert len(recorded) == len(values)
        for mine, theirs in zip(recorded, values, strict=True):
            assert same(mine, theirs), f"{key}: {mine!r} recorded, {theirs!r} said"
    assert len(length) <= 1


def same(recorded: Any, said: Any) -> bool:
    """Numbers to the bit; what is no number in JSON or as text; what has no value as null."""
    if said is None or (isinstance(said, float) and not math.isfinite(said)):
        return (
            recorded is None or recorded == str(said) or (isinstance(recorded, float) and repr(recorded) == repr(said))
        )
    if isinstance(said, bool | int | float | np.number | np.bool_):
        return float(recorded) == float(said)
    if isinstance(said, str):
        return recorded == said
    return isinstance(recorded, str) and (recorded == str(said) or json.loads(recorded) == json.loads(json.dumps(said)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_last_state_is_who_is_there_and_where(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path)
    model = by_hand(name, 5, STEPS, SMALL.get(name, {}))
    state = found.state().filter("alive")
    mine = {i: (t, x, y) for i, t, x, y in state.select("id", "type", "x", "y").rows()}
    assert repr(dict(sorted(mine.items()))) == repr(dict(sorted(agents_of(model).items())))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_run_verifies_and_repeats(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path)
    verified = found.verify()
    assert verified, str(verified)
    again = run(name, tmp_path / "again")
    assert again.digest == found.digest
    assert found.steps == STEPS or found.manifest["steps_done"] < STEPS


def test_two_seeds_are_two_runs(tmp_path: Path) -> None:
    digests = {run("VirusOnNetwork", tmp_path / str(seed), seed=seed).digest for seed in (1, 2, 3)}
    assert len(digests) == 3


# -- coming, going, stopping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_every", [0, 1, 3, 5])
def test_agents_that_come_and_go_are_in_states_and_events(state_every: int, tmp_path: Path) -> None:
    """Whoever is born or dies at a step whose state is not recorded is there, or gone, at the next that is."""
    found = run("WolfSheep", tmp_path, steps=7, state_every=state_every)
    model = by_hand("WolfSheep", 5, 7, {})
    alive = set(found.state().filter("alive")["id"].to_list())
    assert alive == {int(a.unique_id) for a in model.agents}
    events = found.events.filter(pl.col("kind").is_in(["join", "leave"]))
    here: set[int] = set()
    for kind, agent in events.select("kind", "agent").rows():
        if kind == "join":
            assert agent not in here
            here.add(agent)
        else:
            here.remove(agent)
    assert here == alive
    born = events.filter((pl.col("kind") == "join") & (pl.col("step") > 0)).height
    died = events.filter(pl.col("kind") == "leave").height
    assert born > 0 < died
    if state_every == 1:
        for t in range(8):
            joined = events.filter(pl.col("step") <= t).group_by("kind").len()
            count = dict(joined.iter_rows())
            assert found.state(t).filter("alive").height == count["join"] - count.get("leave", 0)


def test_a_model_that_stops_itself_stops(tmp_path: Path) -> None:
    """Schelling stops when everybody is happy."""
    found = sw.run(spec("Schelling"), out=tmp_path / "r", seed=1, steps=60, homophily=0.0, width=8, height=8)
    assert (found.status, found.steps) == ("finished", 1)
    assert found.verify()
    model = by_hand("Schelling", 1, 60, {"homophily": 0.0, "width": 8, "height": 8})
    assert model.steps == 1
    assert not model.running


# -- parameters -----------------------------------------------------------------------------------------------------


def test_parameters_reach_a_scenarios_fields(tmp_path: Path) -> None:
    """The issue's own example: ``-p width=30``."""
    found = sw.run(spec("Schelling"), out=tmp_path / "r", seed=1, steps=2, width=30, density=0.5)
    state = found.state(0)
    assert state["x"].max() == 29.0
    assert state["y"].max() < 20.0
    assert abs(state.height - 30 * 20 * 0.5) < 4 * math.sqrt(30 * 20 * 0.25)


def test_parameters_reach_a_constructor(tmp_path: Path) -> None:
    found = sw.run(spec("BoltzmannWealth"), out=tmp_path / "r", seed=1, steps=2, n=17)
    assert found.state().height == 17


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_unknown_parameter_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=rf"{name} has no parameter 'nonsense'.*; it has \[") as caught:
        run(name, tmp_path, nonsense=3)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    for hidden in ("rng", "seed", "scenario"):
        with pytest.raises((ParameterError, TypeError)):
            prepare(spec(name), params={hidden: 3})


def test_a_parameter_nearly_right_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Schelling has no parameter 'widht'; did you mean 'width'"):
        run("Schelling", tmp_path, widht=30)


def test_a_value_the_model_cannot_take_is_a_parameter_error(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Schelling refused its parameters"):
        run("Schelling", tmp_path, width="wide")
    assert not list(tmp_path.iterdir())


def test_what_a_plain_model_has_no_use_for(tmp_path: Path) -> None:
    for wrong, message in (({"graph": "karate"}, "takes no graph"), ({"mind": "null"}, "decides for itself")):
        with pytest.raises(ParameterError, match=message):
            run("Schelling", tmp_path, **wrong)
    model = PlainModel(EXAMPLES["Schelling"], 1, {})
    with pytest.raises(ObserverError, match="no social graph"):
        model.adjacency()
    with pytest.raises(ObserverError, match="no column 'happy'"):
        model.column("happy")


# -- process-wide chance --------------------------------------------------------------------------------------------


def test_a_model_that_draws_from_the_global_generators_repeats_and_leaves_them_alone(tmp_path: Path) -> None:
    """VirusOnNetwork makes its network with networkx's default, the process-wide generator."""
    digests = []
    for salt in (1, 2):
        random.seed(salt)
        np.random.seed(salt)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        digests.append(run("VirusOnNetwork", tmp_path / str(salt)).digest)
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002
    assert digests[0] == digests[1]


class Faulty(mesa.Model):
    """Draws from the process-wide generators, then fails."""

    def __init__(self, rng: Any = None, fail_at: int = 2) -> None:
        super().__init__(rng=rng)
        self.fail_at = fail_at
        if fail_at == 0:
            raise ValueError("no room")

    def step(self) -> None:
        random.random()
        np.random.random()  # noqa: NPY002
        if self.steps == self.fail_at:
            raise RuntimeError("the roof fell in")


def test_a_model_that_fails_leaves_the_global_generators_alone_too() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with pytest.raises(ParameterError, match="no room"):
        PlainModel(Faulty, 1, {"fail_at": 0})
    model = PlainModel(Faulty, 1, {})
    model.step()
    with pytest.raises(RuntimeError, match="the roof fell in"):
        model.step()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


class Walker(mesa.Agent):
    """Its place is in attributes of its own, as many first models have it; one attribute changes its type."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.x = 1.5
        self.y = 2.5
        self.energy = 3
        self.name = "w"
        self.friends: list[int] = []

    def step(self) -> None:
        self.x += 1.0
        self.energy = None if self.model.steps == 2 else self.energy  # type: ignore[assignment]


class Walk(mesa.Model):
    def __init__(self, rng: Any = None) -> None:
        super().__init__(rng=rng)
        Walker.create_agents(self, 2)
        self.last: list[int] = []
        self.datacollector = mesa.DataCollector(
            model_reporters={"where": lambda m: [a.x for a in m.agents], "none": lambda m: None,
                             "both": lambda m: 1 if m.steps % 2 else "even", "last": "last"}
        )  # fmt: skip

    def step(self) -> None:
        self.agents.do("step")
        self.last.append(self.steps)
        self.datacollector.collect(self)


def test_a_place_kept_in_attributes_is_a_place() -> None:
    model = PlainModel(Walk, 1, {})
    model.drain()
    model.step()
    rows, columns = model.drain().tables["agents"]
    assert rows.tolist() == [1, 2]
    assert columns["x"].tolist() == [2.5, 2.5]
    assert columns["y"].tolist() == [2.5, 2.5]


def test_attributes_of_any_kind_are_recorded_or_left_out_and_never_a_fault() -> None:
    model = PlainModel(Walk, 1, {})
    first = model.drain().tables["agents"][1]
    assert first["energy"].tolist() == [3.0, 3.0]
    assert first["name"].tolist() == ["w", "w"]
    assert "friends" not in first
    model.step()
    model.step()
    assert np.isnan(model.drain().tables["agents"][1]["energy"]).all()


def test_reporters_of_any_kind_are_kept_as_they_were(tmp_path: Path) -> None:
    """Trap: a record that aliases live state; the list grows on, what was recorded does not."""
    model = PlainModel(Walk, 1, {})
    said = []
    for _ in range(3):
        model.step()
        said.append(model.metrics())
    assert [m["last"] for m in said] == [[1], [1, 2], [1, 2, 3]]
    assert [m["where"] for m in said] == [[2.5, 2.5], [3.5, 3.5], [4.5, 4.5]]
    assert [m["both"] for m in said] == [1, "even", 1]
    assert [m["none"] for m in said] == [None] * 3
    assert model.metrics() == {}

"""The null policy beside a run, shuffled personas, and minds with an argument."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

import simworld as sw
from simworld.cli import _main
from simworld.errors import CorruptRunError, ParameterError, UsageError
from simworld.persona import TRAIT_LETTERS, sample_population, shuffled, trait_z
from simworld.run import Run
from tests.unit.test_run_society import Cut, hashes

CALL: dict[str, Any] = {"n_agents": 20, "steps": 5, "seed": 4}


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run("friendship_paradox", with_null=6, out=tmp_path_factory.mktemp("null") / "run", **CALL)


def call(*args: str) -> Any:
    return CliRunner().invoke(_main.cli, list(args), auto_envvar_prefix="SIMWORLD")


# -- the null policy ------------------------------------------------------------------------------------------------


def test_the_null_policy_changes_nothing_about_the_run(beside: Run, tmp_path: Path) -> None:
    alone = sw.run("friendship_paradox", out=tmp_path / "run", **CALL)
    assert alone.digest == beside.digest
    assert alone.null_policy.is_empty()
    assert beside.verify()


def test_it_is_the_scenario_under_the_null_on_the_same_inputs(beside: Run, tmp_path: Path) -> None:
    """Each null run can be made by hand, from the seed that stands with it."""
    rows = pl.read_parquet(beside.path / "null.parquet")
    assert rows["null_run"].unique().sort().to_list() == list(range(6))
    assert rows["seed"].n_unique() == 6
    first = rows.filter(pl.col("null_run") == 0)
    by_hand = sw.run("friendship_paradox", mind="null", cast=beside.personas, out=tmp_path / "run",
                     **{**CALL, "seed": first["seed"][0]})  # fmt: skip
    found = first.filter("is_finding").select("observer", "metric", "value")
    assert found.equals(by_hand.findings.select("observer", "metric", "value"), null_equal=True)
    own = first.filter(~pl.col("is_finding") & (pl.col("observer") == ""))
    assert dict(own.select("metric", "value").rows()) == {
        name: float(by_hand.metrics[name][-1]) for name in own["metric"].to_list()
    }


def test_it_remembers_as_the_run_does(tmp_path: Path) -> None:
    """Without a memory nobody in the village knows anything, under the null as well."""
    run = sw.run("village", steps=12, memory=False, with_null=1, out=tmp_path / "run")
    row = run.null_policy.row(by_predicate=pl.col("metric") == "n0_informed", named=True)
    assert row["mean"] == 0.0


def test_what_it_gives_is_summed_up(beside: Run) -> None:
    rows = pl.read_parquet(beside.path / "null.parquet").filter("is_finding")
    for row in beside.null_policy.filter("is_finding").iter_rows(named=True):
        values = rows.filter((pl.col("observer") == row["observer"]) & (pl.col("metric") == row["metric"]))["value"]
        kept = [v for v in values.to_list() if not math.isnan(v)]
        assert row["n"] == len(kept)
        assert row["mean"] == pytest.approx(np.mean(kept))
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(kept, [0.025, 0.975]).tolist())


def test_it_is_shown_beside_each_finding_and_metric(beside: Run) -> None:
    shown = call("show", str(beside.path)).stdout
    row = beside.null_policy.row(by_predicate=pl.col("is_finding") & (pl.col("metric") == "weak_in_out"), named=True)
    (line,) = [one for one in shown.partition("findings")[2].splitlines() if one.split()[:1] == ["weak_in_out"]]
    assert f"{row['mean']:.3f}" in line
    assert "null policy: mean over 6 runs that decide at random" in shown
    assert "null policy" in shown.partition("findings")[0]  # the metrics too


def test_on_the_command_line(tmp_path: Path) -> None:
    args = ("run", "friendship_paradox", "--agents", "8", "--steps", "2")
    done = call(*args, "--with-null", "--null-runs", "3", "--out", str(tmp_path / "a"))
    assert done.exit_code == 0, done.output
    assert "mean over 3 runs" in done.stdout
    assert Run(tmp_path / "a").plan.null_runs == 3
    assert call(*args, "--with-null", "--out", str(tmp_path / "b"), "--quiet").exit_code == 0
    assert Run(tmp_path / "b").plan.null_runs == 20
    wrong = call(*args, "--null-runs", "-1", "--out", str(tmp_path / "c"))
    assert (wrong.exit_code, "no number of runs from 0 to" in wrong.output) == (2, True)


def test_cut_among_the_null_runs_it_is_resumed(beside: Run, tmp_path: Path) -> None:
    def cut(t: int, steps: int, metrics: Any) -> None:
        if metrics.get("null_runs") == 2:
            raise Cut

    with pytest.raises(Cut):
        sw.run("friendship_paradox", with_null=6, out=tmp_path / "run", progress=cut, **CALL)
    again = sw.resume(tmp_path / "run")
    assert again.digest == beside.digest
    assert again.null_policy.equals(beside.null_policy)


def test_an_altered_null_is_noticed(beside: Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(beside.path, tmp_path / "copy")
    rows = pl.read_parquet(tmp_path / "copy" / "null.parquet")
    rows.with_columns(pl.col("value") + 1).write_parquet(tmp_path / "copy" / "null.parquet")
    with pytest.raises(CorruptRunError, match=r"null\.parquet"):
        _ = Run(tmp_path / "copy").null_policy
    assert not Run(tmp_path / "copy").verify(again=False)
    assert "null.parquet" in hashes(tmp_path / "copy")


def test_a_plain_mesa_model_has_no_null() -> None:
    with pytest.raises(ParameterError, match="takes no null policy"):
        sw.run("mesa.examples.basic.schelling.model@Schelling", steps=1, with_null=True)


# -- shuffled personas ----------------------------------------------------------------------------------------------


def test_shuffled_personas_keep_who_they_are_and_pass_round_what_they_are_like() -> None:
    people = sample_population(30, 5)
    played = shuffled(people, np.random.default_rng(1))
    assert [(p.id, p.name, p.home, p.occupation, p.relations) for p in played] == [
        (p.id, p.name, p.home, p.occupation, p.relations) for p in people
    ]
    key = [(p.traits, p.demographics) for p in people]
    order = [key.index((p.traits, p.demographics)) for p in played]
    assert sorted(order) == list(range(30))
    assert all(i != there for i, there in enumerate(order))  # nobody plays themselves
    assert shuffled(people[:1], np.random.default_rng(1)) == people[:1]
    assert shuffled([], np.random.default_rng(1)) == []


class Say(sw.Decision):
    """Say how agreeable you are."""

    value: float = sw.field(ge=-3, le=3, doc="z.")


class Person(sw.Agent):
    said: float = 0.0


class Mirror(sw.World):
    """Everybody says their own agreeableness."""

    class Params(sw.Params):
        n_agents: int = sw.field(40, ge=1, unit="agents", doc="People.")

    agent_classes = (Person,)
    with_personas = True
    policies = {
        "rules": {Say: lambda persona, seen, memory, rng: trait_z(persona, "A")},
        "constant": lambda text: constant(number(text)),
    }

    def step(self) -> None:
        self.table["said"] = self.decide(Say, None, lambda i: None).column("value", refused=np.nan)
        if self.t == 2:
            self.add_agents(Person, 10)


def constant(value: float) -> dict[type[sw.Decision], Any]:
    return {Say: lambda persona, seen, memory, rng: value}


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"constant takes a number, got {text!r}") from None


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_minds_play_the_shuffled_character_and_observers_see_their_own(is_shuffled: bool) -> None:
    world = Mirror(rng=3, shuffle_personas=is_shuffled)
    for _ in range(3):
        world.step()
    said, own = world.table["said"], world.trait("A")
    assert world.n_agents == 50
    assert own.tolist() == [trait_z(p, "A") for p in world.personas]
    if is_shuffled:
        assert sorted(said[:40]) == sorted(own[:40])  # the same characters, on other agents
        assert abs(np.corrcoef(said, own)[0, 1]) < 0.5
        assert world.played[7].name == world.personas[7].name
    else:
        assert (said == own).all()
    again = Mirror(rng=3, shuffle_personas=is_shuffled)
    for _ in range(3):
        again.step()
    assert (again.table["said"] == said).all()


def test_traits_of_a_society() -> None:
    world = Mirror(rng=3)
    assert {letter: world.trait(letter).shape for letter in TRAIT_LETTERS} == dict.fromkeys(TRAIT_LETTERS, (40,))
    with pytest.raises(ParameterError, match="no trait letter 'X'"):
        world.trait("X")


def test_shuffled_personas_in_a_run(tmp_path: Path) -> None:
    plain = sw.run("friendship_paradox", out=tmp_path / "plain", **CALL)
    mixed = sw.run("friendship_paradox", shuffle_personas=True, out=tmp_path / "mixed", **CALL)
    assert mixed.personas == plain.personas
    assert mixed.digest != plain.digest
    assert mixed.verify()
    assert mixed.plan.shuffle_personas
    assert "shuffled" in dict(mixed.summary())["personas"]
    assert "personas" not in dict(plain.summary())
    done = call("run", "friendship_paradox", "--agents", "20", "--steps", "5", "--seed", "4", "--shuffle-personas",
                "--out", str(tmp_path / "cli"))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert Run(tmp_path / "cli").digest == mixed.digest
    assert "shuffled" in done.stdout


# -- minds with an argument -----------------------------------------------------------------------------------------


def test_a_mind_may_take_an_argument() -> None:
    world = Mirror(rng=3, mind="constant(0.25)")
    world.step()
    assert set(world.table["said"].tolist()) == {0.25}
    assert world.mind_labels == ("constant(0.25)",)
    mixed = Mirror(rng=3, n_agents=2, mind=["constant(1)", "constant(-1)"])
    mixed.step()
    assert mixed.table["said"].tolist() == [1.0, -1.0]


@pytest.mark.parametrize(
    ("mind", "words"),
    [
        ("constant", "constant takes a number, got ''"),
        ("constant(x)", "constant takes a number, got 'x'"),
        ("rules(1)", "mind 'rules' takes no argument"),
        ("constnat(1)", "no mind 'constnat(1)'; did you mean 'constant'"),
    ],
)
def test_a_wrong_argument_is_refused(mind: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        Mirror(rng=3, mind=mind)
    assert words in str(error.value)


def test_a_parameter_may_be_the_text_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from simworld.cli._setting import Setting

    file = tmp_path / "news.txt"
    file.write_text("odile: Ünïcode [1]\n", "utf-8")
    assert Setting().convert(f"news=@{file}", None, None) == ("news", "odile: Ünïcode [1]\n")
    assert Setting().convert("news=@@home", None, None) == ("news", "@home")
    file.write_bytes(b"\xff\xfe")
    for wrong in (str(file), str(tmp_path), str(tmp_path / "none")):
        done = call("run", "village", "-p", f"news=@{wrong}")
        assert (done.exit_code, "the file cannot be read" in done.output) == (2, True)

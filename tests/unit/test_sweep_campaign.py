"""Campaign files: what they may say, what is refused in one line, which points and seeds they mean."""

from __future__ import annotations

import itertools
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from simworld.cli import _main
from simworld.errors import UsageError
from simworld.sweep import Campaign, Draw, Span, crew_of, plan, points, read_campaign
from simworld.sweep._campaign import checked
from simworld.sweep._design import seeds_of, size, unit_sample
from tests.unit.campaigns import campaign, write_coin


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


FILE = """
title = "Coins"
scenario = "{scenario}"
steps = 3
replicates = 2
measures = ["share", {{ metric = "share", at = "mean", after = 1, name = "mean share" }}]
series = ["share"]
outcome = "share"
record = "runs"

[params]
n_agents = 5

[settings]
"memory.enabled" = false

[factors]
p = {{ low = 0.0, high = 1.0, levels = 3 }}
mind = ["rules", "null"]

[design]
kind = "factorial"

[until]
metric = "share"
ci_width = 0.2
max_replicates = 20

[stop]
timeout_s = 60
max_failed = 3
"""


def test_a_file_says_what_the_same_in_python_says(scenario: str, tmp_path: Path) -> None:
    file = tmp_path / "coins.toml"
    file.write_text(FILE.format(scenario=scenario), "utf-8")
    found = read_campaign(file)
    assert found == checked(tomllib.loads(file.read_text("utf-8")))
    assert found.factors["p"] == Span(low=0.0, high=1.0, levels=3)
    assert found.factors["mind"] == ("rules", "null")
    assert [measure.column for measure in found.measures] == ["share", "mean share"]
    assert len(points(found)) == 6
    assert plan(file).name == "coins"
    again = Campaign.model_validate(found.model_dump(mode="json"))
    assert again == found
    assert again.digest() == found.digest()
    assert found.model_copy(update={"title": "x"}).digest() == found.digest()
    assert found.model_copy(update={"steps": 4}).digest() != found.digest()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"replicats": 3}, "no key 'replicats'; did you mean 'replicates'"),
    "unknown key inside": ({"design": {"kinds": "sobol"}}, "no key 'design.kinds'; did you mean 'kind'"),
    "unknown key of a factor": ({"factors": {"p": {"low": 0, "hi": 1}}}, "factors.p"),
    "no scenario": ({"scenario": "coyn"}, "coyn"),
    "empty factor": ({"factors": {"p": []}}, "factor 'p' has no value"),
    "a value twice": ({"factors": {"p": [0.1, 0.1]}}, "factor 'p' has a value twice"),
    "fixed and varied": ({"params": {"p": 0.1}}, "'p' is fixed and varied"),
    "a span without levels": ({"factors": {"p": {"low": 0, "high": 1}}}, "say its levels"),
    "a span the wrong way": ({"factors": {"p": {"low": 1, "high": 0, "levels": 2}}}, "is not below high"),
    "a log of zero": ({"factors": {"p": {"low": 0, "high": 1, "log": True, "levels": 2}}}, "log needs low above 0"),
    "a distribution in a factorial": ({"factors": {"p": {"distribution": "beta"}}}, "which a factorial cannot run"),
    "no sample size": ({"design": {"kind": "latin_hypercube"}}, "needs design.n"),
    "no power of two": ({"design": {"kind": "sobol", "n": 100}}, "is no power of 2"),
    "points without a list": ({"design": {"kind": "points"}}, "design.points is empty"),
    "an incomplete point": ({"design": {"kind": "points", "points": [{"p": 0.1}]}}, "does not give a value for each"),
    "points in a factorial": ({"design": {"points": [{"p": 0.1, "mind": "rules"}]}}, "has nothing to do"),
    "an unknown component": (
        {"factors": {}, "replicates": 1, "design": {"kind": "variance", "components": ["seed", "persona"]}},
        "no component 'persona'; did you mean 'personas'",
    ),
    "replicates of leaves": (
        {"factors": {}, "design": {"kind": "variance"}}, "a variance design has one run a leaf",
    ),
    "a measure twice": ({"measures": ["share", "share"]}, "two measures have one name"),
    "until of no measure": (
        {"until": {"metric": "shares", "ci_width": 0.1, "max_replicates": 9}},
        "until.metric = 'shares' is no measure; did you mean 'share'",
    ),
    "until below replicates": (
        {"until": {"metric": "share", "ci_width": 0.1, "max_replicates": 2}},
        "until.max_replicates is below replicates",
    ),
    "models kept nowhere": ({"settings": {"model": "ollama/x"}}, 'set record = "runs"'),
    "a budget for rules": ({"budget": {"usd": 1.0}}, "a budget has nothing to do"),
    "an impossible budget": (
        {"settings": {"model": "ollama/x"}, "record": "runs", "budget": {"tokens": 3}},
        "the budget is nothing for each of 24 runs",
    ),
    "an unknown factor": ({"factors": {"q": [1, 2]}}, "no factor 'q'"),
    "an unknown parameter": ({"params": {"shft": 1}}, "no parameter 'shft'"),
    "an unknown setting": ({"settings": {"minds": "null"}}, "no setting 'minds'; did you mean 'mind'"),
    "a sample size of a factorial": ({"design": {"n": 5}}, "design.n has nothing to do in a factorial design"),
    "levels of a sobol design": ({"design": {"kind": "sobol", "n": 8, "levels": 6}}, "design.levels has nothing to do"),
    "second order of morris": ({"design": {"kind": "morris", "n": 8, "second_order": True}}, "only in sobol"),
    "components of a factorial": ({"design": {"components": ["graph", "seed"]}}, "design.components has nothing"),
    "repeats of a factorial": ({"design": {"repeats": 5}}, "design.repeats has nothing to do"),
    "common numbers of leaves": (
        {"factors": {}, "replicates": 1, "common_random_numbers": True, "design": {"kind": "variance"}},
        "leave common_random_numbers out",
    ),
    "odd levels of morris": ({"design": {"kind": "morris", "n": 8, "levels": 5}}, "is odd; give an even number"),
    "levels of a sampled span": (
        {"factors": {"p": {"low": 0, "high": 1, "levels": 3}}, "design": {"kind": "random", "n": 4}},
        "takes any value of a span; leave levels out",
    ),
    "morris without ends": (
        {"factors": {"p": {"distribution": "normal"}, "shift": [0, 1]}, "design": {"kind": "morris", "n": 4}},
        "factor 'p': a morris design visits the ends of a factor",
    ),
    "whole numbers between others": (
        {"factors": {"n_agents": {"low": 1.5, "high": 4, "levels": 2, "integer": True}}}, "integer needs whole numbers",
    ),
    "more levels than numbers": (
        {"factors": {"n_agents": {"low": 1, "high": 3, "levels": 5, "integer": True}}}, "are only 3 different values",
    ),
    "a beta with a mean": (
        {"factors": {"p": {"distribution": "beta", "mean": 1}}, "design": {"kind": "random", "n": 4}},
        "a beta distribution takes a and b, no mean",
    ),
    "a point beside its factor": (
        {"factors": {"p": [0.1]}, "design": {"kind": "points", "points": [{"p": 0.3}]}}, "0.3 is no value of factor",
    ),
    "one value in two ways": ({"factors": {"shift": [1, 1.0]}}, "factor 'shift' has a value twice"),
    "fixed and varied in two ways": ({"params": {"p": 0.1}, "factors": {"params.p": [0.1, 0.2]}}, "fixed and varied"),
    "steps fixed and varied": ({"factors": {"steps": [1, 2]}}, "'steps' is fixed and varied"),
    "a factor out of bounds": (
        {"factors": {"p": [0.5, 1.5], "mind": ["rules", "null"]}}, "factor 'p', value 1.5 (point 2): parameter p = 1.5",
    ),
    "a sample out of bounds": (
        {"factors": {"shift": {"distribution": "normal", "sd": 20.0}}, "design": {"kind": "random", "n": 30}},
        "factor 'shift', value -",
    ),
    "a parameter out of bounds": ({"params": {"shift": -11}}, "parameter shift = -11"),
    "a fraction of an agent": ({"factors": {"n_agents": [1, 2.5]}}, "factor 'n_agents', value 2.5 (point 1)"),
    "a setting out of bounds": ({"factors": {"memory.k": [5, 0]}}, "factor 'memory.k', value 0 (point 1)"),
    "a step and a half": ({"steps": None, "factors": {"steps": [1, 1.5]}}, "factor 'steps', value 1.5"),
    "an unknown observer": ({"factors": {"observers": ["", "degree"]}}, "did you mean 'degrees'"),
    "no seat": ({"factors": {"seats": ["", "3:null"]}}, "'3:null' is not AGENT=MIND"),
    "two minds in a seat": ({"settings": {"seats": "3=null,3=rules"}}, "gives agent '3' two minds"),
    "a mind that is no text": ({"factors": {"mind": ["rules", 1]}}, "factor 'mind', value 1 (point 1): mind = 1 is no"),
    "no graph file": ({"factors": {"graph": ["karate", "gone.csv"]}}, "the file 'gone.csv' cannot be read"),
    "no text file": ({"params": {"trouble": "@gone.txt"}}, "the file 'gone.txt' cannot be read"),
    "an array": ({"factors": {"p": np.array([0.1, 0.2])}}, "factors.p holds a ndarray"),
    "a date": ({"params": {"trouble": date(2026, 1, 2)}}, "params.trouble holds a date"),
    "a tuple": ({"settings": {"card": ("full", "none")}}, "settings.card holds a tuple"),
    "a list as a value": ({"factors": {"p": [[0.1], [0.2]]}}, "factor 'p' has the value [0.1]"),
    "an outcome of no measure": ({"outcome": "shares"}, "outcome = 'shares' is no measure; did you mean 'share'"),
    "a series of another name": ({"series": ["step"]}, "series 'step' has the name of another column"),
    "a series twice": ({"series": ["share", "share"]}, "series names a metric twice"),
    "a measure of another name": ({"measures": [{"metric": "share", "name": "status"}]}, "measure 'status' has"),
    "an executor nobody has": ({"executor": "kubernetes"}, "no executor 'kubernetes'"),
    "no worker": ({"workers": 0}, "workers"),
    "a wrong type": ({"replicates": "three"}, "replicates"),
    "no replicate": ({"replicates": 0}, "replicates"),
    "a truth as a number": ({"replicates": True}, "replicates: it is a whole number"),
    "a number in quotes": ({"steps": "3"}, "steps: it is a whole number"),
    "a value that is none": ({"factors": {"p": [0.5, float("nan")]}}, "factor 'p' has the value nan"),
    "a factor of one value": ({"factors": {"p": 0.5}}, "factor 'p' is one value; give a list"),
    "too many levels": ({"factors": {"p": {"low": 0, "high": 1, "levels": 10**9}}}, "factors.p.levels"),
    "too many points": (
        {"factors": {name: {"low": 0, "high": 1, "levels": 10**5} for name in ("p", "p_trouble")}, "replicates": 1},
        "the design has 10,000,000,000 runs",
    ),
    "too many replicates": ({"replicates": 10**12}, "runs, more than 1,000,000"),
    "too large a sample": ({"design": {"kind": "latin_hypercube", "n": 10**11}}, "design.n"),
    "a time without end": ({"stop": {"timeout_s": 1e300}}, "stop.timeout_s"),
    "a burn-in of the end": ({"measures": [{"metric": "share", "after": 2}]}, "say at ="),
    "a burn-in beyond the end": (
        {"steps": 3, "measures": [{"metric": "share", "at": "mean", "after": 4}]}, "a run has 3 steps",
    ),
    "a measure without a name": ({"measures": [""]}, "measures.0.metric"),
    "theory of no measure": ({"theory": {"shares": 0.5}}, "theory = 'shares' is no measure; did you mean 'share'"),
    "a key of a measure": ({"measures": [{"metrik": "share"}]}, "no key 'measures.0.metrik'; did you mean 'metric'"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_said_in_one_line(scenario: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        plan(campaign(scenario, **change))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["scenario = ", 'scenario = "nothing_here"', "", "[factors]\np = [1]"])
def test_a_bad_file_is_one_line_and_exit_code_2(text: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    done = CliRunner().invoke(_main.cli, ["sweep", str(file)], auto_envvar_prefix="SIMWORLD")
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1
    missing = CliRunner().invoke(_main.cli, ["sweep", str(tmp_path / "none.toml")], auto_envvar_prefix="SIMWORLD")
    assert (missing.exit_code, "no campaign file" in missing.output) == (2, True)


# -- designs --------------------------------------------------------------------------------------------------------


DESIGNS: list[dict[str, Any]] = [
    {}, {"kind": "latin_hypercube", "n": 5}, {"kind": "random", "n": 7}, {"kind": "morris", "n": 3},
    {"kind": "sobol", "n": 4}, {"kind": "sobol", "n": 4, "second_order": True}, {"kind": "variance"},
]  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: str(design.get("kind", "factorial")))
def test_a_design_has_the_size_that_is_foretold(scenario: str, design: dict[str, Any]) -> None:
    span = {"low": 0, "high": 1} if design else {"low": 0, "high": 1, "levels": 3}
    factors = {} if design.get("kind") == "variance" else {"p": span, "mind": ["rules", "null"]}
    made = checked(campaign(scenario, factors=factors, design=design, replicates=1))
    assert size(made) == len(points(made))


def test_a_factorial_is_every_combination_the_first_factor_slowest(scenario: str) -> None:
    found = points(checked(campaign(scenario)))
    assert [(one["p"], one["mind"]) for one in found] == list(itertools.product([0.2, 0.5, 0.8], ["rules", "null"]))


@pytest.mark.parametrize(
    ("span", "levels"),
    [
        (Span(low=0, high=1, levels=3), [0.0, 0.5, 1.0]),
        (Span(low=1, high=100, levels=3, log=True), [1.0, 10.0, 100.0]),
        (Span(low=1, high=4, levels=4, integer=True), [1, 2, 3, 4]),
        (Span(low=1, high=4, levels=3, integer=True), [1, 2, 4]),
        (Span(low=1, high=1000, levels=4, integer=True, log=True), [1, 10, 100, 1000]),
        (Span(low=3, high=50, levels=3, integer=True, log=True), [3, 12, 50]),
    ],
)
def test_levels_of_a_span(scenario: str, span: Span, levels: list[float]) -> None:
    made = checked(campaign(scenario, factors={"p": span.model_dump()}))
    found = [one["p"] for one in points(made)]
    assert found == pytest.approx(levels)
    assert [type(one) for one in found] == [type(one) for one in levels]


def test_whole_numbers_on_a_logarithmic_scale_are_drawn_by_their_share_of_it() -> None:
    """From one power of two to the next is one share, whatever the numbers between."""
    span = Span(low=1, high=15, integer=True, log=True)
    drawn = np.array([span.at(u) for u in (np.arange(4000) + 0.5) / 4000])
    assert {type(value) for value in drawn.tolist()} == {int}
    assert [int(((drawn >= low) & (drawn < 2 * low)).sum()) for low in (1, 2, 4, 8)] == [1000] * 4
    assert (span.at(0.0), span.at(1.0)) == (1, 15)


def test_numbers_of_numpy_are_plain_numbers(scenario: str) -> None:
    plain = campaign(scenario, factors={"p": [0.25, 0.5], "n_agents": [3, 4]}, params={"shift": 1.0}, replicates=3)
    given = campaign(
        scenario, factors={"p": [np.float32(0.25), np.float64(0.5)], "n_agents": list(np.arange(3, 5))},
        params={"shift": np.float64(1.0)}, replicates=np.int64(3),
    )  # fmt: skip
    assert checked(given) == checked(plain)
    assert checked(given).digest() == checked(plain).digest()
    assert {type(value) for value in checked(given).factors["p"]} == {float}


def test_where_it_runs_decides_nothing(scenario: str) -> None:
    here, there = (checked(campaign(scenario, executor=name, workers=n)) for name, n in (("here", None), ("ray", 3)))
    assert here.digest() == there.digest()
    assert crew_of(there, None, None) == ("ray", 3)
    assert crew_of(there, "processes", 2) == ("processes", 2)
    assert crew_of(there, "here", None) == ("here", None)
    one, other = (plan(made).task(0, 0) for made in (here, there))
    assert (one.key, one.run_key) == (other.key, other.run_key)


def test_samples_fill_the_ranges_and_are_the_same_every_time(scenario: str) -> None:
    factors = {
        "p": {"low": 0.0, "high": 0.5},
        "n_agents": {"low": 1, "high": 10, "integer": True},
        "mind": ["rules", "null"],
    }
    for kind, n, rows in (("latin_hypercube", 40, 40), ("random", 40, 40), ("sobol", 8, 8 * 5), ("morris", 5, 5 * 4)):
        made = checked(campaign(scenario, factors=factors, design={"kind": kind, "n": n}))
        found = points(made)
        assert len(found) == rows
        assert found == points(made)
        assert all(0.0 <= one["p"] <= 0.5 and one["n_agents"] in range(1, 11) for one in found)
        assert {one["mind"] for one in found} == {"rules", "null"}
        assert found != points(made.model_copy(update={"seed": 1}))


def test_a_latin_hypercube_has_one_point_in_each_stratum(scenario: str) -> None:
    made = checked(campaign(scenario, factors={"p": {"low": 0, "high": 1}, "shift": {"low": 0, "high": 1}},
                            design={"kind": "latin_hypercube", "n": 20}))  # fmt: skip
    for column in unit_sample(made).T:
        assert sorted((column * 20).astype(int).tolist()) == list(range(20))


def test_distributions_have_their_quantiles() -> None:
    for made, law in (
        (Draw(distribution="normal", mean=1.0, sd=2.0), stats.norm(1.0, 2.0)),
        (Draw(distribution="lognormal", mean=0.5, sd=0.3), stats.lognorm(0.3, scale=np.exp(0.5))),
        (Draw(distribution="beta", a=2.0, b=5.0), stats.beta(2.0, 5.0)),
        (Draw(distribution="exponential", scale=3.0), stats.expon(scale=3.0)),
    ):
        for u in (0.1, 0.5, 0.9):
            assert made.at(u) == pytest.approx(law.ppf(u))
        assert np.isfinite([made.at(0.0), made.at(1.0)]).all()


# -- seeds ----------------------------------------------------------------------------------------------------------


def test_no_two_runs_share_a_seed(scenario: str) -> None:
    made = checked(campaign(scenario, replicates=50))
    seeds = [seeds_of(made, point, r)["seed"] for point in points(made) for r in range(50)]
    assert len(set(seeds)) == len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    other = checked(campaign(scenario, seed=1))
    assert not {seeds_of(other, point, r)["seed"] for point in points(other) for r in range(50)} & set(seeds)


def test_a_seed_depends_on_the_point_and_not_on_its_place(scenario: str) -> None:
    """Adding a level must not change the runs that are there."""
    few, more = checked(campaign(scenario)), checked(campaign(scenario, factors={"p": [0.1, 0.2], "mind": ["null"]}))
    point = {"p": 0.2, "mind": "null"}
    assert point in points(few)
    assert point in points(more)
    assert seeds_of(few, point, 3) == seeds_of(more, {"mind": "null", "p": 0.2}, 3)
    assert seeds_of(few, point, 3) != seeds_of(few, point, 2)


def test_common_random_numbers_are_common_to_all_points(scenario: str) -> None:
    made = checked(campaign(scenario, common_random_numbers=True))
    by_replicate = [{seeds_of(made, point, r)["seed"] for point in points(made)} for r in range(4)]
    assert [len(one) for one in by_replicate] == [1, 1, 1, 1]
    assert len(set.union(*by_replicate)) == 4


def test_a_variance_design_changes_one_part_of_the_chance_at_a_time(scenario: str) -> None:
    design = {"kind": "variance", "components": ["personas", "graph", "seed"], "repeats": 2}
    made = checked(campaign(scenario, factors={}, replicates=1, design=design))
    found = {tuple(point.values()): seeds_of(made, point, 0) for point in points(made)}
    assert len(found) == 8
    assert found[0, 0, 0]["seeds"] == found[0, 0, 1]["seeds"]
    assert found[0, 0, 0]["seed"] != found[0, 0, 1]["seed"]
    assert found[0, 0, 0]["seeds"]["personas"] == found[0, 1, 1]["seeds"]["personas"]
    assert found[0, 0, 0]["seeds"]["graph"] != found[0, 1, 0]["seeds"]["graph"]
    assert found[0, 0, 0]["seeds"]["graph"] != found[1, 0, 0]["seeds"]["graph"]  # nested: graphs are a person's own
    assert len({one["seed"] for one in found.values()}) == 8

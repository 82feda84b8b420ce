"""What the friendship paradox finds: traits, negative controls, the null policy, starting graphs, and its README."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.observe import friendship_paradox, null_of, paradox_nulls, rare_contacts
from simworld.scenario import describe, load, resolve

FOLDER = Path(__file__).parents[2] / "scenarios" / "friendship_paradox"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
EMAIL = FOLDER.parents[2] / "shared" / "data" / "email-Eu-core.txt"
World = load(resolve(str(FOLDER)))
POPULAR = {"homophily": 2.0, "attachment": 1.0}
SEEDS = range(8)


def ended(seed: int, steps: int = 10, **options: Any) -> Any:
    world = World(rng=seed, **options)
    for _ in range(steps):
        world.step()
    return world


@cache
def network(seed: int, setting: str) -> Any:
    """The society of 100 after 10 steps."""
    options: dict[str, Any] = {
        "rules": {},
        "null": {"mind": "null"},
        "popular": POPULAR,
        "one persona": {"personas": one_persona(100, seed)},
        "noise": {"post_noise": 5.0},
    }[setting]
    return ended(seed, **options)


def one_persona(n: int, seed: int) -> list[sw.Persona]:
    first, *_ = people = sw.sample_population(n, seed)
    shared = {"preferences": first.preferences, "demographics": first.demographics}
    return [p.model_copy(update=shared) for p in people]


def paradox(setting: str, form: str) -> np.ndarray:
    """FP(k_in, Out) by seed."""
    return np.array([friendship_paradox(network(s, setting).adjacency(), form=form) for s in SEEDS])


def error(x: np.ndarray) -> float:
    return float(x.std(ddof=1) / np.sqrt(len(x)))


# Traits ---------------------------------------------------------------------------------------------------------------


def cast(n: int, seed: int, trait: str, value: float) -> list[sw.Persona]:
    """The sampled population with one trait set to one value, on the scale from 1 to 5."""
    return [
        p.model_copy(
            update={"traits": tuple(s.model_copy(update={"value": value}) if s.trait == trait else s for s in p.traits)}
        )
        for p in sw.sample_population(n, seed)
    ]


def acts(trait: str, value: float) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in range(3):
        world = World(rng=seed, n_agents=80, personas=cast(80, seed, trait, value))
        for _ in range(10):
            world.step()
            counts.update(world.happened)
    return counts


def test_extraversion_raises_posting_and_commenting() -> None:
    low, high = acts("extraversion", 1.5), acts("extraversion", 4.5)
    assert high["post"] > 1.3 * low["post"]
    # Fewer reactions in all, for acts are posts instead; and yet more comments.
    assert high["comment"] > low["comment"]
    assert high["none"] == low["none"]


def test_low_agreeableness_raises_the_share_of_dislikes() -> None:
    low, high = acts("agreeableness", 1.5), acts("agreeableness", 4.5)
    reactions = ("share", "like", "dislike", "comment")
    shares = [c["dislike"] / sum(c[r] for r in reactions) for c in (low, high)]
    assert shares[0] > 2 * shares[1] > 0
    assert low["post"] == pytest.approx(high["post"], rel=0.05)


@pytest.mark.parametrize("trait", ["openness", "conscientiousness", "neuroticism"])
def test_traits_that_no_rule_reads_change_nothing(trait: str) -> None:
    runs = [world_of(30, cast(30, 1, trait, value)) for value in (1.0, 5.0)]
    assert runs[0] == runs[1]
    assert runs[0] != world_of(30, cast(30, 1, "extraversion", 5.0))


def world_of(n: int, personas: Sequence[sw.Persona]) -> str:
    world = World(rng=1, n_agents=n, personas=personas)
    chunks = []
    for _ in range(8):
        world.step()
        chunks += [
            {k: np.asarray(v).tolist() for k, v in c.columns.items() if k != "value"} for c in world.drain().events
        ]
    return str(chunks)


# Controls -------------------------------------------------------------------------------------------------------------


def likeness(world: Any, order: np.ndarray | None = None) -> float:
    """Mean cosine of the personas of follower and followed, minus that of all pairs."""
    unit = world.vectors / np.linalg.norm(world.vectors.astype(float), axis=1, keepdims=True)
    unit = unit if order is None else unit[order]
    sources, targets, _ = world.graph.edges("follow")
    n = len(unit)
    cosines = unit @ unit.T
    return float(cosines[sources, targets].mean() - (cosines.sum() - n) / (n * (n - 1)))


def test_personas_shape_who_follows_whom_and_controls_do_not() -> None:
    for seed in range(4):
        world = network(seed, "rules")
        assert likeness(world) > 0.2
        shuffled = np.random.default_rng(seed).permutation(100)
        assert abs(likeness(world, shuffled)) < 0.04
        assert abs(likeness(network(seed, "null"))) < 0.04
        assert likeness(network(seed, "noise")) < 0.08
        assert abs(likeness(network(seed, "one persona"))) < 1e-9


def test_the_paradox_does_not_need_different_personas() -> None:
    """With one persona for all, everybody ranks alike and the same few are followed: the strongest paradox of all.

    So a strong paradox is no evidence of homophily; see the README.
    """
    difference = paradox("one persona", "strong") - paradox("rules", "strong")
    assert difference.mean() > 0.1
    assert (difference > 0).all()


def test_the_null_policy_is_near_the_random_orientation_values() -> None:
    """Weak 0.64 and strong 0.58 of a random society [design]; four standard errors."""
    for form, expected in (("weak", 0.64), ("strong", 0.58)):
        found = paradox("null", form)
        assert abs(found.mean() - expected) < 4 * error(found)


def test_popularity_raises_the_strong_form_above_the_null_policy() -> None:
    difference = paradox("popular", "strong") - paradox("null", "strong")
    assert difference.mean() > 4 * error(difference)


def test_the_gap_to_the_shuffle_is_positive_without_any_choice() -> None:
    """Whom I follow has at least one follower, me: so the shuffle, which breaks this, is below a random society too."""
    gaps = []
    for seed in SEEDS:
        society = network(seed, "null")
        found = paradox_nulls(
            society.adjacency(), np.random.default_rng(seed), permutations=50, neighbourhoods=("out",)
        )
        gaps.append(found["strong_in_out"].gap)
        assert 0.4 < found["weak_in_out"].mean < 0.6
    assert np.mean(gaps) > 4 * error(np.array(gaps))


# Observers of its own -------------------------------------------------------------------------------------------------


def test_generalised_measures_are_those_of_the_posts() -> None:
    world = network(0, "rules")
    posts = [dict(zip(("author", "shares"), row, strict=True)) for row in zip(
        world.tables["posts"]["author"].tolist(), world.tables["posts"]["virality"].tolist(), strict=True
    )]  # fmt: skip
    observer = next(o for o in World.observers if getattr(o, "name", "") == "generalised_paradox")()
    found, arcs = observer.observe(world), world.adjacency()
    by_author = [[p["shares"] for p in posts if p["author"] == i] for i in range(100)]
    expected = {
        "posts": [len(p) for p in by_author],
        "interactions_received": world.table["received"].tolist(),
        "shares_received": [sum(p) for p in by_author],
        "cascades": [sum(s > 0 for s in p) for p in by_author],
        "shares_per_post": [sum(p) / len(p) if p else 0.0 for p in by_author],
        "posts_shared": [sum(s > 0 for s in p) / len(p) if p else 0.0 for p in by_author],
    }
    assert found == {
        f"{form}_{name}": friendship_paradox(arcs, x, "out", form)
        for name, x in expected.items()
        for form in ("weak", "strong")
    }
    findings = {f.metric: f for f in observer.conclude(world)}
    assert set(findings) == {f"{form}_{name}" for name in expected for form in ("weak", "strong", "hierarchy")}
    assert all(f.value == found[name] for name, f in findings.items() if name in found)


def test_rare_contact_findings_count_the_arcs_they_are_of() -> None:
    world = network(0, "popular")
    observer = next(o for o in World.observers if getattr(o, "name", "") == "rare_contacts")()
    findings = {f.metric: f for f in observer.conclude(world)}
    w = sum(world.adjacency(kind).toarray() for kind in ("share", "like", "dislike", "comment"))
    weights = w[world.adjacency().toarray() > 0]
    table = rare_contacts(world.adjacency(), w, 4)
    for theta in range(5):
        assert findings[f"weak_at_most_{theta}"].n == (weights <= theta).sum()
        assert findings[f"weak_at_most_{theta}"].value == table["weak_at_most"][theta]
        assert findings[f"target_in_degree_{theta}"].n == table["arcs"][theta]
        if theta:
            assert findings[f"strong_at_least_{theta}"].n == (weights >= theta).sum()
    assert "weak_at_least_0" not in findings
    two = findings["weak_at_least_2"]
    assert two.gap == pytest.approx(two.value - two.null_mean)
    assert 0 < two.p_value <= 1
    assert null_of(two.value, [two.value]).p_value == 1


def test_network_means_meet_their_closed_forms() -> None:
    observer = next(o for o in World.observers if getattr(o, "name", "") == "network_means")()
    world = network(0, "rules")
    findings = observer.conclude(world)
    assert [f.metric for f in findings] == ["edge_mean", "node_mean"]
    for finding in findings:
        assert finding.value == pytest.approx(finding.closed_form, abs=1e-9)
        assert finding.n == 100
    means = observer.observe(world)
    assert means["edge_mean"] >= means["mean_degree"]
    assert means["node_mean"] >= means["mean_degree"]


# Starting graphs ------------------------------------------------------------------------------------------------------


def test_it_starts_from_the_karate_club(tmp_path: Path) -> None:
    run = sw.run(str(FOLDER), graph="karate", steps=3, seed=1, out=tmp_path / "run")
    start, end = run.graph(0), run.graph()
    assert (start.number_of_nodes(), start.number_of_edges()) == (34, 156)
    assert set(start.edges) < set(end.edges)
    kinds = run.events.group_by("step").agg(pl.col("kind").unique())
    by_step = {row["step"]: set(row["kind"]) for row in kinds.iter_rows(named=True)}
    assert by_step[1] == {"post", "none"}
    assert by_step[2] & {"share", "like", "dislike", "comment"}


@pytest.mark.skipif(not EMAIL.exists(), reason=f"the e-mail network is not here: {EMAIL}")
def test_it_starts_from_the_email_network(tmp_path: Path) -> None:
    run = sw.run(str(FOLDER), graph=str(EMAIL), steps=2, seed=1, out=tmp_path / "run", state_every=0)
    # 25,571 lines, 642 of them self-loops.
    assert run.metrics["follows"][0] == 25_571 - 642
    assert run.manifest["plan"]["params"]["n_agents"] == 1005
    assert run.metrics["follows"][-1] > run.metrics["follows"][0]
    assert set(run.events.filter(pl.col("step") == 2)["kind"]) >= {"follow", "share", "like", "comment"}


# README ---------------------------------------------------------------------------------------------------------------


def test_the_readmes_parameters_are_the_scenarios() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", README, flags=re.MULTILINE)
    card = describe(resolve(str(FOLDER)))
    assert card.params is not None
    assert [(name, default.strip().strip('`"')) for name, default in rows] == [
        (p.name, (p.default or "").strip("'\"")) for p in card.params
    ]


def test_the_readmes_coefficients_are_the_rules() -> None:
    import sys

    rules = sys.modules[World.__module__.rpartition(".")[0] + ".rules"]
    stated = dict(re.findall(r"^\| (\w+) \| (-?[\d.]+) \|", README, flags=re.MULTILINE))
    assert {name: float(value) for name, value in stated.items()} == rules.COEFFICIENTS


def test_the_comparison_runs_and_its_settings_are_in_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("friendship_paradox_compare", FOLDER / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    compare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compare)
    for setting in compare.SETTINGS:
        assert f"\n| {setting} | " in README
    some = {name: compare.SETTINGS[name] for name in list(compare.SETTINGS)[:2]}
    monkeypatch.setattr(compare, "SEEDS", range(2))
    monkeypatch.setattr(compare, "SETTINGS", some)
    found = compare.measure(tmp_path)
    capsys.readouterr()
    lines = list(compare.tables(found))
    head, _, first, *_ = lines
    assert head in README
    weak = [friendship_paradox(network(seed, "null").adjacency()) for seed in range(2)]
    assert first.startswith(f"| null policy | {np.mean(weak):.2f} ± ")
    assert "nan" not in "".join(lines)

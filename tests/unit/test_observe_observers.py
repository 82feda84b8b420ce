"""Every named observer keeps the contract: reads, never writes, never crashes, explains each of its metrics."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest

from simworld import observe
from simworld.errors import GraphError, ObserverError, ParameterError
from simworld.observe import Finding, FriendshipParadox, Observer, StillSociety
from simworld.rng import stream

NETS = {
    "directed": (nx.gnp_random_graph(40, 0.1, seed=1, directed=True), True),
    "undirected": (nx.karate_club_graph(), False),
    "no arcs": (nx.empty_graph(4, create_using=nx.DiGraph), True),
    "no arcs, undirected": (nx.empty_graph(3), False),
    "one agent": (nx.empty_graph(1, create_using=nx.DiGraph), True),
    "nobody": (nx.DiGraph(), True),
    "nobody, undirected": (nx.Graph(), False),
    "complete": (nx.complete_graph(5), False),
}
EIGHT = {f"{form}_{x}_{hood}" for form in ("weak", "strong") for x in ("in", "out") for hood in ("in", "out")}


def society(net: str) -> StillSociety:
    graph, directed = NETS[net]
    at = np.arange(len(graph))
    return StillSociety(
        observe.adjacency(graph),
        directed=directed,
        columns={"moves": 2 + at, "cooperated": at * (at % 3) / 2.0, "payoff": at},
        traits={letter: np.sin((1.0 + k) * at) for k, letter in enumerate("OCEANH")},
        happened={"post": 3, "follow": 1},
        seed=9,
    )


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", observe.observer_names())
def test_contract(name: str, net: str) -> None:
    watch = observe.observer(name)
    assert isinstance(watch, Observer)
    assert watch.name == name
    still = society(net)
    a = still.adjacency()
    for part in (a.data, a.indices, a.indptr):
        part.flags.writeable = False
    seen, found = watch.observe(still), watch.conclude(still)
    assert all(type(value) is float for value in seen.values())
    assert all(isinstance(finding, Finding) and finding.observer == name for finding in found)
    # The same again: an observer keeps nothing, and its draws come from a stream of its own.
    assert repr(watch.observe(still)) == repr(seen)
    assert repr(watch.conclude(still)) == repr(found)
    for metric in [*seen, *(finding.metric for finding in found)]:
        assert observe.meaning(name, metric).endswith("."), metric
        assert name == "actions" or metric in observe.describe(name), metric
    for finding in found:
        if finding.metric in seen and name != "modularity":
            assert repr(finding.value) == repr(seen[finding.metric])
        assert repr(Finding.model_validate_json(finding.model_dump_json())) == repr(finding)


def test_names() -> None:
    assert observe.observer_names() == (
        "degrees",
        "density",
        "reciprocity",
        "clustering",
        "assortativity",
        "components",
        "modularity",
        "centralisation",
        "friendship_paradox",
        "actions",
        "cooperation",
        "inequality",
        "persona_effects",
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ObserverError, match=r"^no observer 'reciprocty'; did you mean 'reciprocity'\?; there are deg"):
        observe.observer("reciprocty")
    with pytest.raises(ObserverError, match="no observer 'zzz'; there are"):
        observe.describe("zzz")


def test_describe_has_every_metric_of_every_observer() -> None:
    every = observe.describe()
    assert "friendship_paradox.weak_in_out" in every
    assert every["reciprocity.reciprocity"] == observe.describe("reciprocity")["reciprocity"]
    assert {key.split(".")[0] for key in every} == set(observe.observer_names())
    assert all(text.endswith(".") and "\n" not in text for text in every.values())
    assert len(set(every.values())) >= len(every) - 2  # two sentences are shared by weak and strong components
    described = {
        (name, metric)
        for name in observe.observer_names()
        for net in NETS
        for metric in (
            *observe.observer(name).observe(society(net)),
            *(finding.metric for finding in observe.observer(name).conclude(society(net))),
        )
    }
    for key in every:
        name, metric = key.split(".")
        # Honesty-humility is of another inventory than the five, so it is measured where somebody asks for it.
        asked = metric == "<kind>" or (name == "persona_effects" and metric.endswith("_H"))
        assert asked or (name, metric) in described, f"{key} is described but never measured"


def test_meaning_of_what_a_user_brings() -> None:
    assert "'vote'" in observe.meaning("actions", "vote")
    assert observe.meaning("friendship_paradox", "weak_posts_out").startswith("Share of agents with less 'posts' than")
    assert "'posts_made'" in observe.meaning("friendship_paradox", "hierarchy_posts_made")
    assert observe.meaning("friendship_paradox", "strong_posts").endswith("their neighbours.")
    assert observe.meaning("density", "nothing") == ""
    assert observe.meaning("nobody", "nothing") == ""


def test_friendship_paradox_measures_what_the_functions_measure() -> None:
    still = society("directed")
    seen = observe.observer("friendship_paradox").observe(still)
    assert set(seen) == EIGHT | {"hierarchy", "target_in"}
    assert {key: seen[key] for key in EIGHT} == observe.directed_paradoxes(still.graph)
    assert seen["hierarchy"] == observe.hierarchy(still.graph)
    assert seen["target_in"] == observe.arc_averages(still.graph)["target_in"]


def test_friendship_paradox_concludes_with_the_shuffle_null() -> None:
    still = society("directed")
    findings = {f.metric: f for f in observe.observer("friendship_paradox").conclude(still)}
    assert set(findings) == EIGHT | {"hierarchy"}
    nulls = observe.paradox_nulls(still.graph, stream(9, "observe", "friendship_paradox"))
    for metric, finding in findings.items():
        null = nulls["hierarchy_in" if metric == "hierarchy" else metric]
        assert (finding.value, finding.null_mean, finding.null_sd) == (null.value, null.mean, null.sd)
        assert (finding.gap, finding.p_value) == (null.value - null.mean, null.p_value)
        assert math.isnan(finding.closed_form)
    assert findings["weak_in_out"].null == "in-degree permuted over the nodes, graph kept"
    assert findings["weak_out_out"].null == "out-degree permuted over the nodes, graph kept"
    net = NETS["directed"][0]
    assert findings["weak_in_out"].n == sum(d > 0 for _, d in net.out_degree())
    assert findings["weak_in_in"].n == sum(d > 0 for _, d in net.in_degree())
    assert findings["hierarchy"].n == net.size()


def test_undirected_ties_have_one_paradox_of_each_form() -> None:
    still = society("undirected")
    watch = FriendshipParadox(permutations=20)
    seen = watch.observe(still)
    assert set(seen) == {"weak", "strong", "edge_mean", "node_mean"}
    assert seen["weak"] == observe.friendship_paradox(still.graph)
    assert seen["edge_mean"] == observe.edge_mean(still.graph)
    findings = watch.conclude(still)
    assert [f.metric for f in findings] == ["weak", "strong"]
    assert findings[0].null == "degree permuted over the nodes, graph kept"


@pytest.mark.parametrize("directed", [True, False])
def test_generalised_paradox_of_columns(directed: bool) -> None:
    net = nx.gnp_random_graph(30, 0.2, seed=4, directed=directed)
    posts = np.random.default_rng(1).poisson(3, 30)
    still = StillSociety(net, directed=directed, columns={"posts_made": posts})
    watch = FriendshipParadox(attributes=("posts_made",), permutations=20)
    seen, findings = watch.observe(still), {f.metric: f for f in watch.conclude(still)}
    key = "strong_posts_made_out" if directed else "strong_posts_made"
    assert seen[key] == findings[key].value == observe.friendship_paradox(net, posts, "out", "strong")
    assert findings[key].null == "posts_made permuted over the nodes, graph kept"
    if directed:
        assert seen["hierarchy_posts_made"] == findings["hierarchy_posts_made"].value == observe.hierarchy(net, posts)
    assert set(findings) <= set(seen)


def test_a_column_without_numbers_is_refused_by_name() -> None:
    still = StillSociety(
        nx.path_graph(3), columns={"mood": [1.0, math.nan, 2.0], "said": ["a", "b", "c"], "in": [1, 2, 3]}
    )
    for name in ("mood", "said"):
        with pytest.raises(ParameterError, match=f"column '{name}' is not a finite number"):
            FriendshipParadox(attributes=(name,)).observe(still)
    with pytest.raises(ParameterError, match="cannot be called 'in'"):
        FriendshipParadox(attributes=("in",)).observe(still)


def test_a_random_graph_has_the_reciprocity_and_clustering_of_its_closed_form() -> None:
    """Erdős–Rényi: both expectations are the density; four standard errors of a binomial share."""
    net = nx.gnp_random_graph(300, 0.05, seed=8, directed=True)
    still = StillSociety(net)
    (found,) = observe.observer("reciprocity").conclude(still)
    assert found.closed_form == pytest.approx(nx.density(net), abs=1e-12)
    p = found.closed_form
    assert found.value == pytest.approx(p, abs=4 * math.sqrt(2 * p * (1 - p) / found.n))
    assert math.isnan(found.null_mean)
    both = nx.density(net.to_undirected())
    for finding in observe.observer("clustering").conclude(still):
        assert finding.closed_form == pytest.approx(both, abs=1e-12)
        assert finding.value == pytest.approx(both, abs=0.01)
    assert observe.observer("reciprocity").conclude(society("undirected")) == ()


def test_modularity_waits_and_gives_up_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, still = observe.observer("modularity"), society("undirected")
    assert watch.observe(still)["modularity"] > 0.35  # karate club: 0.42 is its known maximum
    monkeypatch.setattr("simworld.observe._observers.LARGEST_PARTITIONED_EACH_STEP", 10)
    assert math.isnan(watch.observe(still)["modularity"])
    value, groups = watch.conclude(still)
    assert value.value > 0.35
    assert groups.value >= 3
    monkeypatch.setattr("simworld.observe._observers.LARGEST_PARTITIONED", 10)
    value, groups = watch.conclude(still)
    assert math.isnan(value.value)
    assert value.note == "not computed above 10 agents"


def test_a_large_graph_gets_fewer_permutations_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    still = society("directed")
    monkeypatch.setattr("simworld.observe._observers.SHUFFLED_ARCS", 60 * still.adjacency().nnz)
    assert observe.observer("friendship_paradox").conclude(still)[0].note.startswith("60 permutations")
    monkeypatch.setattr("simworld.observe._observers.SHUFFLED_ARCS", 1)
    assert observe.observer("friendship_paradox").conclude(still)[0].note.startswith("50 permutations")


def test_actions_are_rates_per_agent() -> None:
    assert observe.observer("actions").observe(society("directed")) == {"follow": 1 / 40, "post": 3 / 40}


def test_a_finding_is_frozen_and_knows_its_fields() -> None:
    finding = Finding(observer="x", metric="y", value=math.nan, n=0)
    assert math.isnan(finding.gap)
    with pytest.raises(ValueError, match="frozen"):
        finding.value = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="extra"):
        Finding(observer="x", metric="y", value=1.0, n=0, colour="red")  # type: ignore[call-arg]


def test_a_still_society_has_further_ties_and_columns() -> None:
    still = StillSociety(nx.path_graph(3), other_ties={"blocks": nx.star_graph(2)}, columns={"age": [1, 2, 3]}, t=4)
    assert still.tie_kinds == ("tie", "blocks")
    assert (still.t, still.n_agents) == (4, 3)
    assert still.adjacency("blocks").toarray().tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert still.adjacency("tie").toarray().tolist() == still.adjacency().toarray().tolist()
    assert still.column("age").tolist() == [1, 2, 3]
    with pytest.raises(GraphError, match=r"no ties of kind 'block'; did you mean 'blocks'\?"):
        still.adjacency("block")
    with pytest.raises(ParameterError, match=r"no column 'agee'; did you mean 'age'\?"):
        still.column("agee")


def test_a_plain_class_is_an_observer() -> None:
    class Size:
        name = "size"

        def observe(self, society: observe.Society) -> dict[str, float]:
            return {"agents": float(society.n_agents)}

        def conclude(self, society: observe.Society) -> tuple[Finding, ...]:
            return ()

    assert isinstance(Size(), Observer)
    assert not isinstance(object(), Observer)

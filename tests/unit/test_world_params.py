"""Making a society: parameters, seeds, graphs, minds; each wrong call is one clear line."""

from __future__ import annotations

from typing import Any, Literal

import networkx as nx
import numpy as np
import pytest

import simworld as sw
from simworld.errors import GraphError, ParameterError, ScenarioError
from simworld.mind import Answers, Question
from simworld.world import World, checked_params, load_graph


class Person(sw.Agent):
    x: float = 0.0


class Params(sw.Params):
    n_agents: int = sw.field(6, ge=0, le=1000, unit="agents", doc="Number of agents.")
    p_share: float = sw.field(0.5, ge=0, le=1, unit="probability", doc="Chance to share.")
    order: Literal["fixed", "random"] = sw.field("fixed", doc="Who goes first.")


class Town(sw.World):
    Params = Params
    agent_classes = (Person,)


class Needy(sw.World):
    class Params(sw.Params):
        n_agents: int = sw.field(2, doc="Number of agents.")
        must: int = sw.field(doc="No default.")


class NoCount(sw.World):
    """Knows its own number of agents."""

    agent_classes = (Person,)

    def populate(self) -> None:
        self.add_agents(Person, 4)


class OnKarate(Town):
    starting_graph = "karate"


class OnARing(Town):
    starting_graph = "cycle_graph"


# -- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "params", "message"),
    [
        (Town, {"p_shere": 0.3}, "no parameter 'p_shere'; did you mean 'p_share'?"),
        (Town, {"zzz": 1}, "no parameter 'zzz'; there are ['n_agents', 'p_share', 'order']"),
        (Town, {"p_share": 1.5}, "parameter p_share = 1.5: Input should be less than or equal to 1 (Chance to share.)"),
        (Town, {"n_agents": -1}, "parameter n_agents = -1: Input should be greater than or equal to 0"),
        (Town, {"n_agents": 2.5}, "parameter n_agents = 2.5: Input should be a valid integer"),
        (Town, {"n_agents": "many\nmany"}, "parameter n_agents = 'many\\nmany': Input should be a valid integer"),
        (Town, {"n_agents": None}, "parameter n_agents = None: "),
        (Town, {"order": "rnd"}, "parameter order = 'rnd': Input should be 'fixed' or 'random' (Who goes first.)"),
        (Town, {"p_share": float("nan")}, "parameter p_share = nan: "),
        (Needy, {}, "parameter 'must' has no default and was not given"),
        (NoCount, {"n_agents": 3}, "no parameter 'n_agents'; there are []"),
    ],
)
def test_a_wrong_parameter_is_one_line_that_says_what_would_be_right(
    cls: type[World], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        cls(rng=1, **params)
    assert message.split(";", maxsplit=1)[0] in str(caught.value)
    assert "\n" not in str(caught.value)
    for part in message.split(";")[1:]:
        assert part.strip().removesuffix("?") in str(caught.value)


def test_parameters_are_a_frozen_record_of_the_society() -> None:
    town = Town(rng=1, p_share=1)
    assert town.params == Params(p_share=1.0)
    assert isinstance(town.params.p_share, float)
    with pytest.raises(Exception, match="frozen"):
        town.params.p_share = 0.2
    assert checked_params(Params, {}) == Params()


def test_a_society_of_nobody_steps() -> None:
    town = Town(rng=1, n_agents=0)
    town.run_for(3)
    assert (town.t, town.n_agents, len(town.agents), town.ids.tolist()) == (3, 0, 0, [])
    assert town.adjacency().shape == (0, 0)


def test_a_world_that_declares_nothing_steps() -> None:
    world = World(rng=1)
    world.step()
    assert (world.t, world.n_agents) == (1, 0)


# -- seeds ----------------------------------------------------------------------------------------------------------


def fingerprint(world: World) -> Any:
    return world.stream("x").random(), world.random.random(), world.rng.random(), world.seed


def test_an_int_gives_the_same_society_always() -> None:
    assert fingerprint(Town(rng=5)) == fingerprint(Town(rng=5)) == fingerprint(Town(rng=np.int64(5)))
    assert fingerprint(Town(rng=5)) != fingerprint(Town(rng=6))
    assert Town(rng=5).seed == 5


def test_none_gives_a_new_one_each_time_and_it_can_be_had_again() -> None:
    """Trap: replicates that are one answer, because all share a seed."""
    worlds = [Town() for _ in range(5)]
    assert len({w.seed for w in worlds}) == 5
    assert all(0 <= w.seed < 2**63 for w in worlds)
    assert fingerprint(Town(rng=worlds[0].seed)) == fingerprint(worlds[0])


@pytest.mark.parametrize(
    "make", [lambda: np.random.default_rng(3), lambda: [1, 2, 3], lambda: np.random.SeedSequence(3)]
)
def test_other_seeds_that_numpy_takes_repeat_too(make: Any) -> None:
    assert fingerprint(Town(rng=make())) == fingerprint(Town(rng=make()))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 1, 2**63 - 1])
def test_any_seed_up_to_63_bits(seed: int) -> None:
    town = Town(rng=seed)
    town.step()
    assert town.seed == seed


@pytest.mark.parametrize("seed", [-1, 1.5, "seven", object()])
def test_what_is_no_seed_is_refused(seed: Any) -> None:
    """In the words of NumPy, which Mesa's users know; `simworld.run` has its own line."""
    with pytest.raises((ParameterError, ValueError, TypeError)):
        Town(rng=seed)


# -- graphs ---------------------------------------------------------------------------------------------------------


def test_the_graph_says_how_many_agents() -> None:
    town = Town(rng=1, graph="karate")
    assert (town.n_agents, town.params.n_agents, town.graph.n_ties()) == (34, 34, 78)
    assert NoCount(rng=1, graph=nx.path_graph(4)).graph.n_ties() == 3
    assert Town(rng=1, graph=nx.star_graph(4)).n_agents == 5


def test_a_scenarios_own_real_network_says_how_many_agents() -> None:
    """Nobody gave ``n_agents``; that its default is another number is no contradiction of the user's."""
    karate = OnKarate(rng=1)
    assert (karate.n_agents, karate.params.n_agents, karate.graph.n_ties()) == (34, 34, 78)


def test_a_generator_is_told_how_many_agents() -> None:
    town = OnARing(rng=1)
    assert (town.n_agents, town.graph.n_ties()) == (6, 6)
    assert OnARing(rng=1, n_agents=9).graph.n_ties() == 9
    assert Town(rng=1, graph="cycle_graph", n_agents=9).graph.n_ties() == 9
    assert Town(rng=1, graph="cycle_graph:n=7").n_agents == 7


def test_a_generator_of_the_users_is_told_the_default_number_of_agents() -> None:
    """``simworld run town --graph cycle_graph`` needs no ``--agents``: the scenario has a number."""
    assert Town(rng=1, graph="cycle_graph").graph.n_ties() == 6


@pytest.mark.parametrize("as_data", [False, True])
def test_a_graph_that_does_not_fit_the_number_of_agents(as_data: bool) -> None:
    graph = load_graph("karate", n=None, seed=1, directed=False) if as_data else "karate"
    assert Town(rng=1, graph=graph, n_agents=34).n_agents == 34
    with pytest.raises(GraphError, match="34 nodes, but n_agents is 5"):
        Town(rng=1, graph=graph, n_agents=5)


def test_a_graph_that_does_not_fit_the_scenario() -> None:
    with pytest.raises(GraphError, match="the graph has 34 nodes but the scenario made 4 agents"):
        NoCount(rng=1, graph="karate")
    with pytest.raises(ParameterError, match="n_agents = 1200"):
        Town(rng=1, graph=nx.empty_graph(1200))


def test_the_starting_graph_is_the_users_before_the_scenarios() -> None:
    assert OnKarate(rng=1, graph=nx.path_graph(3)).n_agents == 3
    assert OnARing(rng=1, graph="path_graph", n_agents=5).graph.n_ties() == 4


def test_the_starting_graph_depends_on_the_seed_alone() -> None:
    def edges(seed: int) -> list[list[int]]:
        graph = Town(rng=seed, graph="gnp_random_graph:p=0.3", n_agents=20).graph
        return [part.tolist() for part in graph.edges()[:2]]

    assert edges(1) == edges(1) != edges(2)


# -- minds ----------------------------------------------------------------------------------------------------------


class Act(sw.Decision):
    go: bool = sw.field(doc="Go?")


class Deciding(Town):
    policies = {"rules": {Act: lambda *_: True}, "lazy": {Act: lambda *_: False}}


class Named:
    def __init__(self, label: str, go: bool = True) -> None:
        self.label = label
        self.go = go

    def decide(self, question: Question) -> Answers:
        return Answers(question, [Act(go=self.go) for _ in question.ids])


def went(world: World) -> list[bool]:
    return world.decide(Act, None, lambda agent: agent).column("go", refused=None).tolist()


def test_a_mind_by_name() -> None:
    assert went(Deciding(rng=1)) == [True] * 6
    assert went(Deciding(rng=1, mind="lazy")) == [False] * 6
    null = Deciding(rng=1, mind="null", n_agents=100)
    assert 0 < sum(went(null)) < 100
    assert null.mind_labels == ("null",)


def test_a_mind_of_ones_own() -> None:
    world = Deciding(rng=1, mind=Named("mine", False))
    assert went(world) == [False] * 6
    assert (world.mind_label(3), world.mind_labels) == ("mine", ("mine",))


def test_a_mind_for_each_agent() -> None:
    mine = Named("mine", False)
    world = Deciding(rng=1, mind=["rules", mine, "lazy", "rules", mine, Named("other")])
    assert went(world) == [True, False, False, True, False, True]
    assert [world.mind_label(i) for i in range(6)] == ["rules", "mine", "lazy", "rules", "mine", "other"]
    assert world.mind_labels == ("rules", "mine", "lazy", "other")
    answers = world.decide(Act, [4, 0, 1, 0], lambda agent: agent)
    assert answers.column("go", refused=None).tolist() == [False, True, False, True]


def test_a_latecomer_takes_the_mind_of_an_agent_of_the_start() -> None:
    world = Deciding(rng=1, mind=["lazy", *["rules"] * 5])
    world.add_agents(Person, 2)
    assert went(world)[:6] == [False, True, True, True, True, True]
    assert [world.mind_label(i) for i in (6, 7)] == ["lazy" if not w else "rules" for w in went(world)[6:]]
    many = Deciding(rng=1, mind=["lazy"] * 3 + ["rules"] * 3)
    many.add_agents(Person, 400)
    labels = [many.mind_label(i) for i in range(6, 406)]
    # Half and half, within four standard errors of a fair coin: 200 ± 40.
    assert 160 < labels.count("lazy") < 240
    again = Deciding(rng=1, mind=["lazy"] * 3 + ["rules"] * 3)
    again.add_agents(Person, 400)
    assert labels == [again.mind_label(i) for i in range(6, 406)]


@pytest.mark.parametrize("mind", ["rulez", ["rules", "rulez"]])
def test_an_unknown_mind(mind: Any) -> None:
    with pytest.raises(ParameterError, match="no mind 'rulez'; did you mean 'rules'") as caught:
        Deciding(rng=1, mind=mind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mind", [[], ["rules"] * 2, ["rules"] * 7])
def test_minds_that_do_not_fit_the_agents(mind: Any) -> None:
    """Agents without a mind would be silently given the first one."""
    with pytest.raises(ParameterError):
        Deciding(rng=1, mind=mind)


@pytest.mark.parametrize("mind", [5, None, Named, [5]])
def test_what_is_no_mind_is_refused_at_the_start(mind: Any) -> None:
    with pytest.raises((ParameterError, TypeError, AttributeError)):
        _ = Deciding(rng=1, mind=mind).mind_labels


def test_policies_may_be_made_from_parameters() -> None:
    class Tuned(Town):
        @property
        def policies(self) -> Any:  # type: ignore[override]
            return {"rules": {Act: lambda *_: self.params.p_share > 0.7}}

    assert went(Tuned(rng=1, p_share=0.8)) == [True] * 6
    assert went(Tuned(rng=1)) == [False] * 6


def test_two_societies_share_nothing() -> None:
    """Trap: skills drawn at import, state kept in the class."""
    one, other = Deciding(rng=1), Deciding(rng=1)
    one.table["x"] = 5
    one.emit("hello")
    one.graph.add(0, 1)
    one.notes.append("one")
    went(one)
    assert other.table["x"].tolist() == [0] * 6
    assert (dict(other.happened), other.graph.n_ties(), other.notes) == ({}, 0, [])
    assert fingerprint(other) == fingerprint(Deciding(rng=1))


def test_an_entity_without_table_columns_that_clash_is_fine() -> None:
    class Post(sw.Entity):
        x: int = 3

    class Blog(Town):
        entities = {"posts": Post}

    blog = Blog(rng=1)
    assert blog.tables["posts"].append(2) == 0
    assert blog.tables["posts"]["x"].tolist() == [3, 3]
    assert blog.table["x"].tolist() == [0.0] * 6


def test_an_entity_table_may_not_be_the_agents() -> None:
    class Post(sw.Entity):
        x: int = 3

    for name in ("agents", "events", "ties"):
        with pytest.raises(ScenarioError):
            type("Bad", (Town,), {"entities": {name: Post}})(rng=1)

"""Agents are Python faces of rows: both ways, lazily, under Mesa's own algebra."""

from __future__ import annotations

import gc
from typing import Any, Literal

import mesa
import numpy as np
import pytest

import simworld as sw
from simworld.errors import ParameterError, ScenarioError
from simworld.persona import sample_population


class Person(sw.Agent):
    wealth: int = 1
    share: float = 0.5
    mood: Literal["calm", "angry"] = "calm"
    word: str = ""
    awake: bool = True

    def earn(self, by: int) -> int:
        self.wealth += by
        return self.wealth


class Cat(sw.Agent):
    wealth: int = 1
    lives: int = 9


class Post(sw.Entity):
    author: int = -1
    text: str = ""
    topic: Literal["art", "law"] = "art"


class Params(sw.Params):
    n_agents: int = sw.field(6, ge=0, unit="agents", doc="Number of agents.")


class Village(sw.World):
    Params = Params
    agent_classes = (Person,)
    entities = {"posts": Post}


class Farm(sw.World):
    Params = Params
    agent_classes = (Person, Cat)

    def populate(self) -> None:
        self.add_agents(Person, self.params.n_agents)
        self.add_agents(Cat, 3, lives=np.array([7, 8, 9]))


def handles(world: Any) -> int:
    return sum(1 for o in gc.get_objects() if isinstance(o, sw.Agent) and o.model is world)


# -- a view of a row ------------------------------------------------------------------------------------------------


def test_an_agent_is_a_view_of_its_row_both_ways() -> None:
    world = Village(rng=1)
    agent = world.agents[2]
    table = world.table
    agent.wealth, agent.share, agent.mood, agent.word, agent.awake = 7, 0.25, "angry", "hi", False
    row = {name: table[name][2] for name in ("wealth", "share", "mood", "word", "awake")}
    assert row == {"wealth": 7, "share": 0.25, "mood": 1, "word": "hi", "awake": False}
    table["wealth"][2] = 70
    table["mood"] = "calm"
    assert (agent.wealth, agent.mood) == (70, "calm")
    assert table["wealth"].tolist() == [1, 1, 70, 1, 1, 1]


def test_what_is_read_is_plain_python() -> None:
    agent = Village(rng=1).agents[0]
    values = (agent.wealth, agent.share, agent.mood, agent.word, agent.awake)
    assert [type(v) for v in values] == [int, float, str, str, bool]


def test_a_view_survives_the_tables_growth() -> None:
    world = Village(rng=1)
    agent = world.agents[5]
    world.add_agents(Person, 5000)
    agent.wealth = 8
    assert world.table["wealth"][5] == 8
    world.table["wealth"][5] = 9
    assert agent.wealth == 9


def test_a_label_that_does_not_exist_is_refused() -> None:
    agent = Village(rng=1).agents[0]
    with pytest.raises(ValueError, match="'sad' is not one of"):
        agent.mood = "sad"
    assert agent.mood == "calm"


@pytest.mark.parametrize(
    ("name", "value"), [("wealth", 2.5), ("wealth", np.nan), ("wealth", "much"), ("word", 5), ("mood", 2), ("awake", 7)]
)
def test_a_value_of_another_type_is_refused_not_bent(name: str, value: Any) -> None:
    """``agent.wealth += 0.5`` on a whole number would silently do nothing."""
    agent = Village(rng=1).agents[0]
    before = getattr(agent, name)
    with pytest.raises((TypeError, ValueError)):
        setattr(agent, name, value)
    assert getattr(agent, name) == before


def test_the_class_attribute_is_the_column() -> None:
    assert Person.wealth == Person.columns["wealth"]


def test_other_attributes_are_the_handles_own() -> None:
    agent = Village(rng=1).agents[0]
    agent.note = "not saved"
    assert agent.note == "not saved"


def test_an_entity_is_a_view_of_its_row() -> None:
    world = Village(rng=1)
    posts = world.tables["posts"]
    first = posts.append(2, {"author": np.array([3, 4]), "text": ["a", "b"], "topic": "law"})
    post = Post(posts, first + 1)
    assert (post.row, post.author, post.text, post.topic) == (1, 4, "b", "law")
    post.text, post.topic = "c", "art"
    assert posts["text"].tolist() == ["a", "c"]
    assert posts["topic"].tolist() == [1, 0]


# -- made when asked for --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_million_agents_cost_no_objects_until_asked_for() -> None:
    world = Village(rng=1, n_agents=1_000_000)
    world.table["wealth"] += 1
    world.step()
    world.retire(5)
    assert world.n_agents == 999_999
    assert handles(world) == 0


def test_handles_are_made_once_and_are_the_same_ones() -> None:
    world = Village(rng=1)
    assert handles(world) == 0
    first = list(world.agents)
    assert handles(world) == 6
    assert all(a is b for a, b in zip(first, world.agents, strict=True))
    assert handles(world) == 6


def test_ids_are_rows_after_agents_came_and_went() -> None:
    world = Village(rng=1)
    world.retire(1)
    assert [a.unique_id for a in world.agents] == [0, 2, 3, 4, 5]
    world.agents[0].remove()
    late = Person(world, wealth=3)
    many = world.add_agents(Person, 2, wealth=np.array([4, 5]))
    later = Person(world)
    assert (late.row, many.tolist(), later.row) == (6, [7, 8], 9)
    assert [a.row for a in world.agents] == [a.unique_id for a in world.agents] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [a.wealth for a in world.agents] == [1, 1, 1, 1, 3, 4, 5, 1]
    assert world.ids.tolist() == [2, 3, 4, 5, 6, 7, 8, 9]
    world.agents.select(lambda a: a.row == 7).do("remove")
    assert Person(world).unique_id == 10
    assert world.n_agents == len(world.agents) == 8


def test_a_removed_agent_leaves_with_its_ties_and_an_event() -> None:
    world = Village(rng=1, graph="cycle_graph", n_agents=6)
    agent = world.agents[2]
    agent.remove()
    assert world.table["alive"].tolist() == [True, True, False, True, True, True]
    assert world.graph.n_ties() == 4
    assert agent not in world.agents
    assert dict(world.happened) == {"leave": 1}
    agent.remove()
    assert dict(world.happened) == {"leave": 1}
    assert world.n_agents == 5


def test_an_agent_retired_by_its_row_is_no_longer_among_the_agents() -> None:
    world = Village(rng=1)
    assert len(world.agents) == 6
    world.retire(2)
    assert world.n_agents == 5
    assert [a.row for a in world.agents] == [0, 1, 3, 4, 5]
    assert len(world.agents_by_type[Person]) == 5


def test_all_agents_can_be_removed_mesas_way() -> None:
    world = Village(rng=1)
    world.remove_all_agents()
    assert world.n_agents == 0
    assert len(world.agents) == 0


# -- made Mesa's way ------------------------------------------------------------------------------------------------


def test_an_agent_is_made_as_in_mesa() -> None:
    world = Village(rng=1)
    agent = Person(world, wealth=9, mood="angry")
    assert (agent.row, agent.unique_id, agent.wealth, agent.mood, agent.share) == (6, 6, 9, "angry", 0.5)
    assert agent in world.agents
    assert world.table.n == world.graph.n == 7


def test_agents_are_created_as_in_mesa() -> None:
    world = Village(rng=1)
    made = Person.create_agents(world, 3, wealth=[2, 3, 4], share=np.array([0.1, 0.2, 0.3]), mood="angry")
    assert isinstance(made, mesa.agentset.AgentSet)
    assert [a.row for a in made] == [6, 7, 8]
    assert world.table["wealth"].tolist() == [1] * 6 + [2, 3, 4]
    assert world.table["share"][6:].tolist() == [0.1, 0.2, 0.3]
    assert world.table["mood"][6:].tolist() == [1, 1, 1]


class Mesaic(sw.Agent):
    """Written as a Mesa user writes: a constructor of its own."""

    wealth: int = 0

    def __init__(self, model: Any, wealth: int, luck: int = 0) -> None:
        super().__init__(model, wealth=wealth + luck)


class MesaicWorld(sw.World):
    Params = Params
    agent_classes = (Mesaic,)

    def populate(self) -> None:
        Mesaic.create_agents(self, self.params.n_agents, 5, luck=2)


def test_an_agent_with_a_constructor_of_its_own() -> None:
    world = MesaicWorld(rng=1)
    assert world.table["wealth"].tolist() == [7] * 6
    assert [a.unique_id for a in world.agents] == list(range(6))


def test_what_an_agent_is_not_made_of() -> None:
    world = Village(rng=1)
    with pytest.raises(ParameterError, match="Person has no column 'welth'; did you mean 'wealth'"):
        Person(world, welth=3)
    with pytest.raises(ParameterError, match="Person has no column 'welth'; did you mean 'wealth'"):
        world.add_agents(Person, 2, welth=3)
    with pytest.raises(ScenarioError, match=r"Cat is not in Village.agent_classes .*\['Person'\].*; add it"):
        Cat(world)
    assert world.table.n == 6
    assert len(world.agents) == 6


@pytest.mark.parametrize("values", [{"wealth": np.zeros(3, int)}, {"mood": ["calm", "sad"]}])
def test_agents_that_cannot_be_added_are_not_half_added(values: dict[str, Any]) -> None:
    world = Village(rng=1)
    with pytest.raises((ValueError, sw.SimworldError)):
        world.add_agents(Person, 2, **values)
    assert world.n_agents == len(world.agents) == world.graph.n == world.table.n == 6
    assert world.add_agents(Person, 1).tolist() == [6]


def test_a_negative_number_of_agents_is_refused_and_harmless() -> None:
    world = Village(rng=1)
    with pytest.raises((ValueError, sw.SimworldError)):
        world.add_agents(Person, -2)
    assert world.n_agents == world.table.n == 6


# -- several classes ------------------------------------------------------------------------------------------------


def test_several_classes_share_a_table_with_a_type() -> None:
    world = Farm(rng=1, n_agents=2)
    assert world.table.text("type").tolist() == ["Person", "Person", "Cat", "Cat", "Cat"]
    assert [type(a) for a in world.agents] == [Person, Person, Cat, Cat, Cat]
    assert [a.unique_id for a in world.agents] == [0, 1, 2, 3, 4]
    assert [a.lives for a in world.agents_by_type[Cat]] == [7, 8, 9]
    assert set(world.agent_types) == {Person, Cat}
    assert not hasattr(world.agents[0], "lives")
    tom = Cat(world, lives=1)
    assert (tom.row, tom.lives) == (5, 1)
    assert world.table.text("type")[5] == "Cat"


def test_agent_types_are_known_before_anybody_asks_for_agents() -> None:
    assert set(Farm(rng=1).agent_types) == {Person, Cat}


def test_agents_by_type_is_a_dictionary_even_of_nobody() -> None:
    world = Village(rng=1, n_agents=0)
    assert isinstance(world.agents_by_type, dict)


class Dog(sw.Agent):
    wealth: float = 1.0


def test_two_classes_may_not_mean_two_things_by_one_column() -> None:
    class Zoo(sw.World):
        Params = Params
        agent_classes = (Person, Dog)

    with pytest.raises(ScenarioError, match=r"column 'wealth' is declared in two ways by \['Person', 'Dog'\]"):
        Zoo(rng=1)


# -- Mesa's algebra -------------------------------------------------------------------------------------------------


def test_agentset_algebra() -> None:
    world = Village(rng=1)
    world.table["wealth"] = [5, 1, 4, 2, 3, 0]
    world.table["mood"] = ["calm", "angry"] * 3
    agents = world.agents
    assert agents.get("wealth") == [5, 1, 4, 2, 3, 0]
    assert agents.get(["wealth", "mood"])[1] == [1, "angry"]
    assert [a.row for a in agents.select(lambda a: a.wealth > 2)] == [0, 2, 4]
    assert [a.row for a in agents.sort("wealth", ascending=True)] == [5, 1, 3, 4, 2, 0]
    assert agents.agg("wealth", sum) == 15
    assert agents.agg("wealth", [min, max]) == [0, 5]
    assert agents.map("earn", 1) == [6, 2, 5, 3, 4, 1]
    assert world.table["wealth"].tolist() == [6, 2, 5, 3, 4, 1]
    agents.do("earn", 10)
    assert world.table["wealth"].tolist() == [16, 12, 15, 13, 14, 11]
    agents.set("wealth", 1)
    assert world.table["wealth"].tolist() == [1] * 6
    groups = agents.groupby("mood")
    assert {k: [a.row for a in v] for k, v in groups} == {"calm": [0, 2, 4], "angry": [1, 3, 5]}
    assert groups.agg("wealth", sum) == {"calm": 3, "angry": 3}


def test_shuffle_do_draws_from_the_society_and_repeats() -> None:
    def order(seed: int) -> list[list[int]]:
        world = Village(rng=seed, n_agents=12)
        turns: list[list[int]] = []
        for _ in range(3):
            met: list[int] = []
            world.agents.shuffle_do(lambda a, met=met: met.append(a.row))
            world.step()
            turns.append(met)
        return turns

    first = order(3)
    assert first == order(3) != order(4)
    assert all(sorted(turn) == list(range(12)) for turn in first)
    assert len({tuple(turn) for turn in first}) == 3


def test_agents_may_come_and_go_while_all_act() -> None:
    world = Village(rng=1)

    def act(agent: Any) -> None:
        if agent.row % 2:
            agent.remove()
        else:
            Person(world, wealth=agent.row)

    world.agents.shuffle_do(act)
    assert world.ids.tolist() == [0, 2, 4, 6, 7, 8] == [a.row for a in world.agents]
    assert sorted(world.table["wealth"][6:].tolist()) == [0, 2, 4]


# -- who is meant ---------------------------------------------------------------------------------------------------


def test_agents_are_named_in_many_ways() -> None:
    world = Village(rng=1)
    world.retire(4)
    a = {agent.row: agent for agent in world.agents}
    meant: list[tuple[Any, list[int]]] = [
        (None, [0, 1, 2, 3, 5]),
        (a[3], [3]),
        ([a[3], a[1]], [3, 1]),
        ((2, 0), [2, 0]),
        ([a[3], 0, np.int64(5)], [3, 0, 5]),
        (np.array([5, 0]), [5, 0]),
        (np.array([5, 0], np.uint8), [5, 0]),
        (np.array([True, False, False, True, False, False]), [0, 3]),
        (world.agents, [0, 1, 2, 3, 5]),
        ([], []),
        (iter([1, 2]), [1, 2]),
    ]
    for who, ids in meant:
        found = world.ids_of(who)
        assert found.tolist() == ids
        assert found.dtype == np.int64


@pytest.mark.parametrize(
    "who",
    [np.array([True, False]), np.array([False] * 6 + [True]), [True, False, True, True, False, False], [0.5], [6],
     [-1]],
)  # fmt: skip
def test_who_cannot_be_meant_is_refused(who: Any) -> None:
    """A mask of the wrong length or as a list, half an agent, an agent that never was: silently somebody else."""
    world = Village(rng=1)
    try:
        found = world.ids_of(who)
    except (ValueError, TypeError, IndexError, sw.SimworldError):
        return
    assert found.tolist() == [0, 2, 3], "only a list of truth values has a second meaning"


# -- personas -------------------------------------------------------------------------------------------------------


class Salon(sw.World):
    Params = Params
    agent_classes = (Person,)
    with_personas = True


class SalonOneByOne(Salon):
    def populate(self) -> None:
        for _ in range(self.params.n_agents):
            Person(self)


class SalonOfTwoKinds(Salon):
    agent_classes = (Person, Cat)

    def populate(self) -> None:
        self.add_agents(Person, 2)
        self.add_agents(Cat, self.params.n_agents - 2)


SALONS = [Salon, SalonOneByOne, SalonOfTwoKinds]


def test_a_society_without_personas() -> None:
    agent = Village(rng=1).agents[0]
    assert agent.persona is None


def test_an_agent_knows_its_persona() -> None:
    cast = sample_population(6, 5)
    world = Salon(rng=1, personas=cast)
    assert [a.persona for a in world.agents] == cast
    assert world.notes == []


@pytest.mark.parametrize("salon", SALONS)
def test_a_cast_that_fits_lives_there_however_the_agents_are_made(salon: type) -> None:
    cast = sample_population(6, 5)
    world = salon(rng=1, personas=cast)
    assert [p.id for p in world.personas] == [p.id for p in cast]
    assert world.notes == []


@pytest.mark.parametrize("salon", SALONS)
def test_a_cast_too_large_is_cut_with_one_note(salon: type) -> None:
    cast = sample_population(9, 5)
    world = salon(rng=1, personas=cast)
    assert [p.id for p in world.personas] == [p.id for p in cast[:6]]
    assert world.notes == ["the cast has 9 personas; the first 6 live here"]


@pytest.mark.parametrize("salon", SALONS)
@pytest.mark.parametrize("own_seed", [False, True])
def test_a_cast_too_small_is_filled_up_with_others(salon: type, own_seed: bool) -> None:
    """With the society's own seed the sampled ones would be the cast's own twins."""
    cast = sample_population(4, 1 if own_seed else 5)
    world = salon(rng=1, personas=cast)
    people = world.personas
    assert people[:4] == cast
    assert len(people) == 6
    assert len({p.id for p in people}) == len({p.name for p in people}) == 6
    assert world.notes == ["the cast has 4 personas; 2 more were sampled"]


def test_everybody_is_somebody_else_however_many_come() -> None:
    world = Salon(rng=1)
    for _ in range(8):
        world.add_agents(Person, 3)
    assert len(world.personas) == 30
    assert len({p.id for p in world.personas}) == len({p.name for p in world.personas}) == 30


def test_who_somebody_is_does_not_depend_on_how_many_came_with_them() -> None:
    """A resumed society gives personas to all latecomers at once; the first time they came one by one."""
    one_by_one, at_once = Salon(rng=1), Salon(rng=1)
    for _ in range(5):
        one_by_one.add_agents(Person, 1)
    at_once.add_agents(Person, 5)
    assert one_by_one.personas == at_once.personas


def test_personas_for_a_society_without_them_are_refused() -> None:
    with pytest.raises(ParameterError, match="persona"):
        Village(rng=1, personas=sample_population(2, 1))

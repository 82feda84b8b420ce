"""The mechanics of the friendship paradox: forgetting, recommender, feed, threads, refusals, order of effects."""

from __future__ import annotations

import importlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

import simworld as sw
from simworld.errors import ParameterError
from simworld.mind import Question, RuleMind
from simworld.scenario import load, resolve

FOLDER = Path(__file__).parents[2] / "scenarios" / "friendship_paradox"
World = load(resolve(str(FOLDER)))
PACKAGE = World.__module__.rpartition(".")[0]
world_module = importlib.import_module(f"{PACKAGE}.world")
decisions = importlib.import_module(f"{PACKAGE}.decisions")
rules = importlib.import_module(f"{PACKAGE}.rules")
similarity = importlib.import_module(f"{PACKAGE}.similarity")
Act, Follow, CommentTurn, Interview = decisions.Act, decisions.Follow, decisions.CommentTurn, decisions.Interview
PAPER, RELEASED = "paper", "released_code"
REACTIONS = ("share", "like", "dislike", "comment")
NONE = {"choice": "none"}
POST = {"choice": "post", "content": "words"}


class Scripted:
    """A mind that answers what the test says, truth or lie, by ``answer(step, agent, decision name, view)``."""

    label = "scripted"

    def __init__(self, answer: Callable[[int, int, str, Any], Any]) -> None:
        self.answer = answer
        self.seen: list[tuple[int, int, str, Any]] = []
        """Step, agent, name of the decision, and what was shown."""

    def decide(self, question: Question) -> sw.Answers:
        asked = iter(question.ids.tolist())
        name = question.decision.__name__

        def policy(persona: Any, view: Any, memory: Any, rng: Any) -> Any:
            agent = next(asked)
            self.seen.append((question.step, agent, name, view))
            return self.answer(question.step, agent, name, view)

        return RuleMind({question.decision: policy}, self.label).decide(question)

    def shown(self, name: str, t: int | None = None) -> dict[int, Any]:
        return {agent: view for step, agent, what, view in self.seen if what == name and t in (None, step)}


def quiet(t: int, agent: int, name: str, view: Any) -> Any:
    """Answer every question in the way that changes nothing."""
    return {
        "Follow": {"target": None},
        "Act": NONE,
        "CommentTurn": {"text": "", "end": True},
        "Interview": {"main_influence": None},
    }[name]


def script(lines: dict[tuple[int, int, str], Any]) -> Scripted:
    return Scripted(lambda t, agent, name, view: lines.get((t, agent, name), quiet(t, agent, name, view)))


def arcs(n: int, *pairs: tuple[int, int]) -> nx.DiGraph[int]:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(pairs)
    return graph


def advance(world: Any, steps: int) -> list[dict[str, Any]]:
    """Take steps and return their events, one dict each."""
    rows = []
    for _ in range(steps):
        world.step()
        for chunk in world.drain().events:
            names = list(chunk.columns)
            for values in zip(*(chunk.columns[name] for name in names), strict=True):
                rows.append({"step": world.t, **dict(zip(names, values, strict=True))})
    return rows


def state(world: Any) -> dict[str, Any]:
    """Everything that lasts, as plain values."""
    tables = {
        f"{name}.{column}": values.tolist()
        for name, table in world.tables.items()
        for column, values in table.columns.items()
    }
    ties = {kind: [a.tolist() for a in world.graph.edges(kind)] for kind in world.tie_kinds}
    return {**tables, **ties}


def stores(world: Any) -> list[str]:
    return world.tables["posts"].text("store").tolist()


# Forgetting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "virality, sentiment, expected",
    [
        (0, 0.0, [0.5, 0.75, 5 / 6, 0.875, 0.9]),
        (0, 1.0, [0.3, 0.55, 0.4 + 7 / 30, 0.675, 0.70]),
        (0, -1.0, [0.3, 0.55, 0.4 + 7 / 30, 0.675, 0.70]),
        # r = 1.2 > 1: r^4 = 2.0736 counts instead of δ; worked out below from the stated formula.
        (2, 0.0, [max(0.0, 1 - (1 / (1 + age) + 1.2) / 2 * 1.2**4) for age in range(5)]),
    ],
)
def test_forgetting_scores_are_the_specified_ones(virality: int, sentiment: float, expected: list[float]) -> None:
    scores = world_module.forgetting(np.arange(5), virality, sentiment, world_module.Params())
    assert scores == pytest.approx(expected, abs=1e-9)


def test_a_post_with_one_like_is_never_forgotten() -> None:
    scores = world_module.forgetting(np.array([10.0, 1e3, 1e9]), 0, 1.0, world_module.Params())
    assert scores[-1] == pytest.approx(0.8, abs=1e-6)
    assert (scores < 0.8).all()


def test_an_ignored_post_goes_exactly_four_steps_after_its_own() -> None:
    world = World(rng=1, n_agents=2, mind=script({(1, 0, "Act"): POST}))
    fates = []
    for _ in range(6):
        advance(world, 1)
        fates += stores(world)
    assert fates == ["short"] * 4 + ["gone"] * 2


@pytest.mark.parametrize(
    "reactions, expected",
    [
        ((), "gone"),
        (("like",), "long"),
        (("dislike",), "long"),
        (("share",), "short"),  # virality 1: r = 0.6, p tends to 0.7, so it is neither promoted nor forgotten
        (("share", "share"), "long"),
        (("like", "dislike"), "long"),  # promoted by the first; nothing is taken back
    ],
)
def test_promotion_by_two_shares_or_one_like(reactions: tuple[str, ...], expected: str) -> None:
    lines = {(2, reader, "Act"): {"choice": what, "target_post": 0} for reader, what in enumerate(reactions, start=1)}
    world = World(rng=1, graph=arcs(3, (1, 0), (2, 0)), mind=script({(1, 0, "Act"): POST, **lines}))
    advance(world, 12)
    assert stores(world) == [expected]
    assert world.tables["posts"]["virality"].tolist() == [reactions.count("share")]
    assert world.tables["posts"]["sentiment"].tolist() == [reactions.count("like") - reactions.count("dislike")]


def test_a_forgotten_post_leaves_feed_and_recommender() -> None:
    mind = script({(1, 0, "Act"): POST, (1, 1, "Act"): POST, (4, 1, "Act"): POST})
    world = World(rng=1, graph=arcs(3, (2, 0)), mind=mind)
    advance(world, 7)
    feeds = {t: [post.post for post in mind.shown("Act", t)[2].feed] for t in range(1, 8)}
    assert feeds == {1: [], 2: [0], 3: [0], 4: [0], 5: [0], 6: [], 7: []}
    offered = {t: [c.agent for c in v.suggestions] for t, a, name, v in mind.seen if name == "Follow" and a == 1}
    assert offered == {t: [0] for t in range(2, 6)}


# Recommender ----------------------------------------------------------------------------------------------------------


def exact_means(world: Any, agent: int) -> dict[int, Fraction]:
    """Mean pairwise product of the grid vectors of two authors' remembered posts, in whole numbers."""
    vectors = world.post_vectors.astype(np.int64)
    found = {}
    for other in range(world.table.n):
        pairs = list(itertools.product(world.remembered_of[agent], world.remembered_of[other]))
        if pairs and other != agent and not world.graph.has(agent, other):
            found[other] = Fraction(int(sum(vectors[i] @ vectors[j] for i, j in pairs)), len(pairs))
    return found


@pytest.mark.parametrize("which", [PAPER, RELEASED])
def test_suggestions_are_the_brute_force_ranking(which: str) -> None:
    world = World(rng=3, n_agents=40, rules=which)
    advance(world, 7)
    shown = world.suggestions(np.flatnonzero(world.table["posts"] > 0))
    assert len(shown) > 30
    vectors = world.post_vectors.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1)
    ranked = 0
    for agent, view in shown.items():
        means = exact_means(world, agent)
        if not means:
            continue  # all its posts are forgotten: the similarity is undefined
        assert len(set(means.values())) == len(means), "a tie would leave the order open"
        best = sorted(means, key=means.__getitem__, reverse=True)[:5]
        assert [c.agent for c in view.suggestions][: len(best)] == best
        for candidate in view.suggestions[: len(best)]:
            mine, theirs = world.remembered_of[agent], world.remembered_of[candidate.agent]
            # Rounding to the grid moves a cosine by less than 0.005.
            assert candidate.cosine == pytest.approx((unit[mine] @ unit[theirs].T).mean(), abs=0.005)
            assert candidate.persona == world.personas[candidate.agent].render("mini")
        ranked += 1
    assert ranked > 25


def test_no_suggestions_in_the_first_step_or_before_the_first_post() -> None:
    mind = script({(1, 0, "Act"): POST, (2, 1, "Act"): POST})
    world = World(rng=1, n_agents=3, mind=mind)
    advance(world, 4)
    asked = [(t, agent) for t, agent, name, _ in mind.seen if name == "Follow"]
    # 0 could be asked in step 2, but nobody else has posted yet.
    assert asked == [(3, 0), (3, 1), (4, 0), (4, 1)]


def test_undefined_similarities_are_dropped_or_kept_last() -> None:
    """0 and 1 post in step 1 and are forgotten after step 5; 2 and 3 post in step 5; all are asked in step 6."""
    lines = {(t, agent, "Act"): POST for t, agent in [(1, 0), (1, 1), (5, 2), (5, 3)]}
    offered = {}
    for which in (PAPER, RELEASED):
        mind = script(lines)
        advance(World(rng=1, n_agents=5, rules=which, mind=mind), 6)
        offered[which] = {agent: [c.agent for c in v.suggestions] for agent, v in mind.shown("Follow", 6).items()}
    assert offered[PAPER] == {2: [3], 3: [2]}
    released = offered[RELEASED]
    assert sorted(released) == [0, 1, 2, 3]
    assert set(released[0]) == {1, 2, 3}
    assert released[2][0] == 3
    assert set(released[2][1:]) == {0, 1}


def test_undefined_similarities_of_the_feed() -> None:
    feeds = {}
    for which in (PAPER, RELEASED):
        mind = script({(1, agent, "Act"): POST for agent in (0, 1)})
        world = World(rng=1, graph=arcs(3, (2, 0), (2, 1)), rules=which, mind=mind)
        advance(world, 1)
        world.post_vectors[0] = 0  # as of a text without any known word
        advance(world, 1)
        feeds[which] = [post.post for post in mind.shown("Act", 2)[2].feed]
    assert feeds == {PAPER: [1], RELEASED: [1, 0]}


def test_the_suggestion_pool_bounds_who_is_scored() -> None:
    everyone_posts = {(1, agent, "Act"): POST for agent in range(60)}
    mind = script(everyone_posts)
    mind.label = "rules"  # else the one text that all write is read, and all are alike
    world = World(rng=2, n_agents=60, suggestion_pool=10, mind=mind)
    pools = []
    for t in (2, 3, 4):
        advance(world, 1 if t > 2 else 2)
        views = mind.shown("Follow", t)
        pool = {c.agent for view in views.values() for c in view.suggestions}
        assert len(views) == 60
        assert len(pool) <= 10
        for agent, view in views.items():
            means = {other: m for other, m in exact_means(world, agent).items() if other in pool}
            best = sorted(means, key=means.__getitem__, reverse=True)[:5]
            # An agent of the pool that nobody is shown is not in `pool`; it cannot be among anybody's five best.
            assert [c.agent for c in view.suggestions] == best
        pools.append(frozenset(pool))
    assert len(set(pools)) == 3


def test_visibility_ranks_by_activity_too() -> None:
    world = World(rng=3, n_agents=30, visibility=2.0)
    advance(world, 5)
    for agent, view in world.suggestions(np.flatnonzero(world.author_counts > 0)).items():
        posts, grid = world.table["posts"], similarity.GRID**2
        scores = {o: float(m) / grid + 2.0 * math.log(1 + posts[o]) for o, m in exact_means(world, agent).items()}
        assert [c.agent for c in view.suggestions] == sorted(scores, key=scores.__getitem__, reverse=True)[:5]
        assert [c.posts for c in view.suggestions] == [posts[c.agent] for c in view.suggestions]


# Feed -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [PAPER, RELEASED])
def test_the_feed_is_the_brute_force_ranking(which: str) -> None:
    world = World(rng=5, n_agents=40, rules=which, feed_pool=15, follows_per_step=3)
    advance(world, 10)
    vectors, own = world.post_vectors.astype(np.int64), world.vectors.astype(np.int64)
    full, cut = 0, 0
    for reader in range(40):
        ids = sorted(p for v in world.graph.neighbors(reader).tolist() for p in world.remembered_of[v])
        cut += len(ids) > 15
        latest = ids[-15:]
        scores = {post: int(own[reader] @ vectors[post]) for post in latest}
        assert len(set(scores.values())) == len(scores), "a tie would leave the order open"
        expected = sorted(scores, key=scores.__getitem__, reverse=which == PAPER)[:10]
        feed = world.view(reader).feed
        assert [post.post for post in feed] == expected
        for post in feed:
            row = {name: column[post.post] for name, column in world.tables["posts"].columns.items()}
            assert (post.author, post.text) == (row["author"], row["text"])
            assert post.popularity == row["virality"] + abs(row["sentiment"])
            assert post.cosine == scores[post.post] / similarity.GRID**2
        full += len(feed) == 10
    assert full > 10
    assert cut > 5


def test_ties_are_broken_by_chance_not_by_age() -> None:
    """Without noise all posts of an author are equally near: over the seeds, each of two leads."""
    leads = Counter()
    for seed in range(20):
        mind = script({(t, 0, "Act"): POST for t in (1, 2)})
        advance(World(rng=seed, graph=arcs(2, (1, 0)), post_noise=0.0, mind=mind), 3)
        leads[mind.shown("Act", 3)[1].feed[0].post] += 1
    assert min(leads[0], leads[1]) >= 3


def test_feedback_only_with_a_follower() -> None:
    mind = script({(1, 0, "Act"): POST, (2, 1, "Act"): {"choice": "share", "target_post": 0}})
    advance(World(rng=1, graph=arcs(3, (1, 0)), mind=mind), 3)
    feedback = {t: mind.shown("Act", t)[0].feedback for t in (1, 2, 3)}
    assert feedback == {1: (0, 0.0), 2: (0, 0.0), 3: (1, 0.0)}
    assert mind.shown("Act", 3)[1].feedback is None


def test_vectors_are_unit_length_and_without_noise_a_post_is_its_author() -> None:
    world = World(rng=1, n_agents=50, post_noise=0.0)
    assert np.linalg.norm(world.vectors, axis=1) == pytest.approx(similarity.GRID, rel=0.005)
    assert (world.compose([3, 4]) == world.vectors[[3, 4]]).all()
    noisy = World(rng=1, n_agents=50, post_noise=0.5)
    posts = noisy.compose(list(range(50)))
    assert np.linalg.norm(posts, axis=1) == pytest.approx(similarity.GRID, rel=0.005)
    cosines = (posts * noisy.vectors).sum(axis=1) / similarity.GRID**2
    # E[cos] is about 1/sqrt(1 + 0.25) = 0.894 for noise of expected length 0.5.
    assert cosines.mean() == pytest.approx(0.894, abs=0.02)


def test_a_post_is_repeated_when_near_any_earlier_one_of_its_author() -> None:
    world = World(rng=4, n_agents=20, repeat_above=0.82)
    advance(world, 15)
    posts, vectors = world.tables["posts"], world.post_vectors.astype(np.int64)
    assert "gone" in stores(world)
    for post, author in enumerate(posts["author"].tolist()):
        earlier = np.flatnonzero(posts["author"][:post] == author)
        expected = any(int(vectors[e] @ vectors[post]) > 0.82 * similarity.GRID**2 for e in earlier)
        assert posts["repeated"][post] == expected
    assert 0 < posts["repeated"].sum() < posts.n


# Comments -------------------------------------------------------------------------------------------------------------

KIND, UNKIND = "I love this, great point.", "I hate this."


def thread(turn: Callable[[int, Any], Any]) -> tuple[Any, list[dict[str, Any]], Scripted]:
    """1 comments on the post of 0 in step 2; ``turn(speaker, view)`` answers what follows."""
    lines = {(1, 0, "Act"): POST, (2, 1, "Act"): {"choice": "comment", "target_post": 0, "content": KIND}}

    def answer(t: int, agent: int, name: str, view: Any) -> Any:
        if name == "CommentTurn":
            return turn(agent, view)
        return lines.get((t, agent, name), quiet(t, agent, name, view))

    mind = Scripted(answer)
    world = World(rng=1, graph=arcs(2, (1, 0)), mind=mind)
    events = advance(world, 2)
    return world, [e for e in events if e["kind"] in ("comment", "reply", "refusal")], mind


def compound(*texts: str) -> float:
    analyser = SentimentIntensityAnalyzer()
    return float(np.mean([analyser.polarity_scores(text)["compound"] for text in texts]))


def test_a_thread_that_nobody_ends_has_six_comments() -> None:
    world, said, mind = thread(lambda who, view: {"text": UNKIND if who == 0 else KIND, "end": False})
    assert [e["agent"] for e in said] == [1, 0, 1, 0, 1, 0]
    assert [e["kind"] for e in said] == ["comment"] + ["reply"] * 5
    assert {(e["agent"], e["target"], e["item"]) for e in said} == {(1, 0, 0), (0, 1, 0)}
    assert world.tables["posts"]["sentiment"][0] == pytest.approx(compound(KIND, KIND, KIND), abs=1e-12)
    views = [view for _, _, name, view in mind.seen if name == "CommentTurn"]
    assert [view.said for view in views] == [(KIND, UNKIND, KIND, UNKIND, KIND)[:n] for n in range(1, 6)]
    assert {view.post for view in views} == {"words"}
    assert [view.partner for view in views] == [1, 0, 1, 0, 1]


def test_only_the_commenters_turns_make_the_sentiment() -> None:
    turns = iter([UNKIND, UNKIND, UNKIND])
    world, said, _ = thread(lambda who, view: {"text": next(turns), "end": len(view.said) == 3})
    assert [e["agent"] for e in said] == [1, 0, 1, 0]
    assert world.tables["posts"]["sentiment"][0] == pytest.approx(compound(KIND, UNKIND), abs=1e-12)


@pytest.mark.parametrize(
    "answer, comments",
    [
        ({"text": "Bye.", "end": True}, 2),
        ({"text": "", "end": True}, 1),
        ({"text": "x" * 281, "end": False}, 1),
        ({"text": "no end given"}, 1),
        ({"text": 7, "end": False}, 1),
    ],
)
def test_one_side_ends_a_thread_and_a_refusal_ends_it(answer: dict[str, Any], comments: int) -> None:
    world, said, mind = thread(lambda who, view: answer)
    assert len([name for _, _, name, _ in mind.seen if name == "CommentTurn"]) == 1
    assert len([e for e in said if e["kind"] != "refusal"]) == comments
    assert world.tables["posts"]["sentiment"][0] == pytest.approx(compound(KIND), abs=1e-12)


def test_who_says_nothing_does_not_end_a_thread() -> None:
    _, said, mind = thread(lambda who, view: {"text": "" if who == 0 else KIND, "end": False})
    assert [e["agent"] for e in said] == [1, 1, 1]
    assert len(mind.shown("CommentTurn")) == 2


def test_an_author_answers_every_thread_of_its_own() -> None:
    """Three readers comment on one post in one step; each thread is a dialogue of two."""
    lines = {(1, 0, "Act"): POST}
    lines |= {(2, r, "Act"): {"choice": "comment", "target_post": 0, "content": f"I am {r}."} for r in (1, 2, 3)}

    def answer(t: int, agent: int, name: str, view: Any) -> Any:
        if name == "CommentTurn":
            return {"text": f"To {view.partner}, who said: {view.said[-1]}", "end": agent != 0}
        return lines.get((t, agent, name), quiet(t, agent, name, view))

    events = advance(World(rng=1, graph=arcs(4, (1, 0), (2, 0), (3, 0)), mind=Scripted(answer)), 2)
    said = [(e["agent"], e["target"], e["text"]) for e in events if e["kind"] == "reply"]
    assert said[:3] == [(0, r, f"To {r}, who said: I am {r}.") for r in (1, 2, 3)]
    assert said[3:] == [(r, 0, f"To 0, who said: To {r}, who said: I am {r}.") for r in (1, 2, 3)]


# Refusals -------------------------------------------------------------------------------------------------------------

MALFORMED = [
    ("Follow", "target", {"target": 99}),
    ("Follow", "target", {"target": 1}),  # itself
    ("Follow", "target", {"target": 0}),  # followed already, so not shown
    ("Follow", "target", {"target": -1}),
    ("Follow", "target", {"target": "the nice one"}),
    ("Follow", "target", {"target": 2.5}),
    ("Follow", "target", {}),
    ("Follow", "why", {"target": None, "why": "an unknown field"}),
    ("Act", "choice", {"choice": "shout"}),
    ("Act", "choice", {}),
    ("Act", "choice", {"choice": None}),
    ("Act", "", {"choice": "share"}),
    ("Act", "", {"choice": "none", "target_post": 0}),
    ("Act", "", {"choice": "post", "content": "words", "target_post": 0}),
    ("Act", "", {"choice": "post"}),
    ("Act", "", {"choice": "post", "content": ""}),
    ("Act", "", {"choice": "comment", "target_post": 0}),
    ("Act", "content", {"choice": "post", "content": "x" * 281}),
    ("Act", "content", {"choice": "post", "content": ["words"]}),
    ("Act", "target_post", {"choice": "like", "target_post": 1}),  # its own post, not in the feed
    ("Act", "target_post", {"choice": "like", "target_post": 10**12}),
    ("Act", "target_post", {"choice": "like", "target_post": "first"}),
    ("Interview", "main_influence", {"main_influence": 10**12}),
    ("Interview", "main_influence", {"main_influence": -1}),
    ("Interview", "main_influence", {"main_influence": "him"}),
    ("Interview", "explanation", {"main_influence": None, "explanation": 5}),
]


def harmless(lines: dict[tuple[int, int, str], Any]) -> Scripted:
    return script({(1, agent, "Act"): POST for agent in range(4)} | lines)


@pytest.mark.parametrize("activation", ["simultaneous", "sequential"])
@pytest.mark.parametrize("name, field, answer", MALFORMED, ids=lambda x: str(x)[:40])
def test_a_malformed_answer_is_a_refusal_an_event_and_nothing_else(
    name: str, field: str, answer: dict[str, Any], activation: str
) -> None:
    def run(lines: dict[tuple[int, int, str], Any]) -> tuple[Any, list[dict[str, Any]]]:
        world = World(rng=1, graph=arcs(4, (1, 0), (0, 1)), activation=activation, mind=harmless(lines))
        return world, advance(world, 3)

    calm, events = run({})
    assert "refusal" not in {e["kind"] for e in events}
    world, events = run({(2, 1, name): answer})
    (refusal,) = [e for e in events if e["kind"] == "refusal"]
    assert (refusal["step"], refusal["agent"]) == (2, 1)
    record = json.loads(refusal["data"])
    assert record.pop("reason")
    assert record == {"decision": name, "purpose": name, "field": field, "mind": "scripted"}
    assert state(world) == state(calm)


def test_every_lie_at_once_changes_nothing_and_every_one_is_counted() -> None:
    def lie(t: int, agent: int, name: str, view: Any) -> Any:
        return {"Follow": {"target": 10**9}, "Act": {"choice": "like", "target_post": 10**9}}[name]

    world = World(rng=1, n_agents=20, mind=Scripted(lie))
    events = advance(world, 4)
    assert len(events) == 4 * 20
    assert {e["kind"] for e in events} == {"refusal"}
    assert world.graph.n_ties() == 0
    assert world.tables["posts"].n == 0


@pytest.mark.parametrize("activation", ["simultaneous", "sequential"])
def test_reactions_are_refused_in_the_first_step(activation: str) -> None:
    """Also where one could be shown: in sequence, 0 has posted when 1 is asked."""
    mind = script({(1, 0, "Act"): POST, (1, 1, "Act"): {"choice": "like", "target_post": 0}})
    world = World(rng=1, graph=arcs(2, (1, 0)), activation=activation, mind=mind)
    (refusal,) = [e for e in advance(world, 1) if e["kind"] == "refusal"]
    assert json.loads(refusal["data"])["field"] == "choice"
    assert not mind.shown("Act", 1)[1].can_react


def test_an_unreadable_reason_is_an_empty_one() -> None:
    world = World(rng=1, n_agents=2, mind=script({(1, 0, "Act"): {**POST, "reason": 5}}))
    kinds = Counter(e["kind"] for e in advance(world, 1))
    assert kinds == {"post": 1, "none": 1}
    assert Act(**POST, reason=None).reason == ""
    assert Act(**POST, reason="because").reason == "because"


def test_no_interview_after_a_refused_act_without_a_follower_or_in_the_first_step() -> None:
    mind = harmless({(2, 0, "Act"): {"choice": "shout"}})
    advance(World(rng=1, graph=arcs(4, (1, 0), (0, 1), (3, 2)), mind=mind), 3)
    asked = [(t, agent) for t, agent, name, _ in mind.seen if name == "Interview"]
    assert asked == [(2, 1), (2, 2), (3, 0), (3, 1), (3, 2)]


# What a run leaves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"mind": "null"}, {"activation": "sequential"}, {"rules": RELEASED}])
def test_counters_ties_and_posts_equal_the_events(options: dict[str, Any]) -> None:
    world = World(rng=6, n_agents=30, **options)
    events = advance(world, 9)
    n, posts = world.table.n, world.tables["posts"]
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["kind"], []).append(event)
    assert set(by_kind) == {"none", "post", "follow", "interview", "reply", *REACTIONS}

    assert world.table["posts"].tolist() == count(by_kind["post"], "agent", n)
    assert posts["author"].tolist() == [e["agent"] for e in by_kind["post"]]
    assert posts["born"].tolist() == [e["step"] for e in by_kind["post"]]
    given = np.zeros((n, n))
    for kind in REACTIONS:
        expected = np.zeros((n, n))
        for e in by_kind[kind]:
            expected[e["agent"], e["target"]] += 1
        assert (world.adjacency(kind).toarray() == expected).all()
        assert [posts["author"][e["item"]] for e in by_kind[kind]] == [e["target"] for e in by_kind[kind]]
        given += expected
    assert world.table["given"].tolist() == given.sum(axis=1).tolist()
    assert world.table["received"].tolist() == given.sum(axis=0).tolist()
    assert posts["virality"].tolist() == count(by_kind["share"], "item", posts.n)
    follows = {(e["agent"], e["target"]) for e in by_kind["follow"]}
    assert len(follows) == len(by_kind["follow"]) == world.graph.n_ties()
    # An agent reacts to posts of those it follows only, and nobody follows itself.
    assert {(u, v) for u, v in zip(*np.nonzero(given), strict=True)} <= follows
    assert all(u != v for u, v in follows)
    assert {e["step"] for e in events if e["kind"] in REACTIONS or e["kind"] == "follow"}.isdisjoint({1})
    assert {e["kind"] for e in events if e["step"] == 1} == {"none", "post"}
    acts = Counter((e["step"], e["agent"]) for e in events if e["kind"] in ("none", "post", *REACTIONS))
    assert set(acts.values()) == {1}
    assert len(acts) == 9 * n
    assert max(Counter((e["step"], e["agent"]) for e in by_kind["follow"]).values()) == 1


def count(events: Sequence[dict[str, Any]], column: str, n: int) -> list[int]:
    return np.bincount([e[column] for e in events], minlength=n).tolist()


def test_arcs_are_never_removed() -> None:
    world = World(rng=2, n_agents=30)
    before: set[tuple[int, int]] = set()
    for _ in range(10):
        world.step()
        changes = world.drain().ties
        assert not changes.op.any()
        sources, targets, _ = world.graph.edges("follow")
        now = set(zip(sources.tolist(), targets.tolist(), strict=True))
        assert before <= now
        before = now
    assert len(before) > 150


def test_more_than_one_follow_and_act_a_step() -> None:
    world = World(rng=2, n_agents=40, follows_per_step=3, acts_per_step=2, p_follow=1.0)
    events = advance(world, 6)
    acts = Counter((e["step"], e["agent"]) for e in events if e["kind"] in ("none", "post", *REACTIONS))
    assert set(acts.values()) == {2}
    follows = Counter((e["step"], e["agent"]) for e in events if e["kind"] == "follow")
    assert max(follows.values()) == 3
    posts = world.tables["posts"]
    assert len({tuple(v) for v in world.post_vectors[: posts.n].tolist()}) == posts.n
    assert not [e for e in advance(World(rng=2, n_agents=9, follows_per_step=0), 5) if e["kind"] == "follow"]


def test_interviews_change_nothing() -> None:
    asked, unasked = World(rng=8, n_agents=30), World(rng=8, n_agents=30, interviews=False)
    events = plain(advance(asked, 6))
    assert "interview" in {e["kind"] for e in events}
    assert [e for e in events if e["kind"] != "interview"] == plain(advance(unasked, 6))
    assert state(asked) == state(unasked)


def test_a_resumed_society_goes_on_as_if_it_had_not_stopped() -> None:
    world = World(rng=9, n_agents=30)
    records = []
    for _ in range(6):
        world.step()
        records.append(world.drain())
    again = World(rng=9, n_agents=30)
    tables = {name: table.rows(np.arange(table.n)) for name, table in world.tables.items()}
    ties = type(records[0].ties).concat([record.ties for record in records])
    again.restore(6, tables, ties, records[-1].globals)
    n = world.tables["posts"].n
    assert (again.post_vectors[:n] == world.post_vectors[:n]).all()
    assert (again.author_sums == world.author_sums).all()
    assert (again.k_in == world.k_in).all()
    assert plain(advance(again, 3)) == plain(advance(world, 3))
    assert state(again) == state(world)


def plain(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events without the column that is NaN in all of them."""
    return [{name: value for name, value in e.items() if name != "value"} for e in events]


# Order of effects -----------------------------------------------------------------------------------------------------


def meddled(activation: str, change: bool) -> tuple[Scripted, int]:
    """Rules decide, but agent 0 posts (or not) in step 4; return what the others were shown."""
    tables = rules.policies(world_module.Params())["rules"]
    real = RuleMind(tables, "scripted")

    class Meddler(Scripted):
        def decide(self, question: Question) -> sw.Answers:
            answers = list(real.decide(question))
            for at, (agent, view) in enumerate(zip(question.ids.tolist(), question.observations(), strict=True)):
                self.seen.append((question.step, agent, question.decision.__name__, view))
                if (question.step, agent, question.decision) == (4, 0, Act):
                    answers[at] = Act(**POST) if change else Act(**NONE)
            return sw.Answers(question, answers)

    mind = Meddler(quiet)
    everybody_follows = nx.complete_graph(12, create_using=nx.DiGraph)
    world = World(rng=5, graph=everybody_follows, activation=activation, mind=mind)
    advance(world, 5)
    return mind, world.tables["posts"].n


def test_simultaneous_decisions_see_one_snapshot() -> None:
    one, _ = meddled("simultaneous", True)
    other, _ = meddled("simultaneous", False)
    for t in (1, 2, 3, 4):
        for name in ("Follow", "Act"):
            assert one.shown(name, t) == other.shown(name, t)
    assert one.shown("Act", 5) != other.shown("Act", 5)


def test_sequential_decisions_see_what_was_done_before_them() -> None:
    one, _ = meddled("sequential", True)
    other, _ = meddled("sequential", False)
    assert one.shown("Act", 3) == other.shown("Act", 3)
    assert one.shown("Act", 4)[0] == other.shown("Act", 4)[0]
    assert any(one.shown("Act", 4)[i] != other.shown("Act", 4)[i] for i in range(1, 12))


def test_simultaneous_sequential_and_shuffled_differ_and_repeat() -> None:
    settings = [{}, {"activation": "sequential"}, {"activation": "sequential", "agent_order": "shuffled"}]
    states = [str(state(ended(**s))) for s in settings]
    assert len(set(states)) == 3
    assert [str(state(ended(**s))) for s in settings] == states


def ended(**options: Any) -> Any:
    world = World(rng=11, n_agents=25, **options)
    advance(world, 6)
    return world


# Policies -------------------------------------------------------------------------------------------------------------


class Dice:
    """Draws that always give the lowest number, and a record of the weights asked for."""

    def __init__(self, *numbers: float) -> None:
        self._numbers: Iterator[float] = itertools.chain(numbers, itertools.repeat(0.0))
        self.weights: list[list[float] | None] = []

    def random(self) -> float:
        return next(self._numbers)

    def choice(self, options: Sequence[Any], weights: list[float] | None = None) -> Any:
        self.weights.append(weights)
        return options[0]


def test_weights_of_the_follow_rule() -> None:
    params = world_module.Params(homophily=2.0, attachment=1.5, visibility=0.5)
    candidates = tuple(decisions.Candidate(i, "", c, f, p) for i, (c, f, p) in enumerate([(0.1, 3, 2), (0.9, 0, 8)]))
    dice = Dice()
    answer = rules.policies(params)["rules"][Follow](None, decisions.FollowView(candidates), None, dice)
    assert answer.target == 0
    expected = [math.exp(2 * c) * (1 + f) ** 1.5 * (1 + p) ** 0.5 for c, f, p in [(0.1, 3, 2), (0.9, 0, 8)]]
    assert dice.weights == [pytest.approx(expected)]
    nobody = rules.policies(params)["rules"][Follow](None, decisions.FollowView(candidates), None, Dice(0.8))
    assert nobody.target is None


def test_weights_of_the_act_rule() -> None:
    (persona,) = sw.sample_population(1, 0)
    feed = tuple(
        decisions.FeedPost(i, 1, "", cosine, popularity)
        for i, (cosine, popularity) in enumerate([(0.5, 0.0), (-0.1, 3.0)])
    )
    view = decisions.View(0.3, None, feed, True)
    act = rules.policies(world_module.Params(p_post=0.0))["rules"][Act]
    dice = Dice(0.0, 0.5)
    act(persona, view, None, dice)
    assert dice.weights[0] == pytest.approx([math.exp(1.5), math.exp(-0.3) * 4])
    sigma = 1 / (1 + math.exp(-0.3))
    assert act(persona, view, None, Dice(sigma + 1e-9)).choice == "none"
    assert act(persona, view, None, Dice(sigma - 1e-9, 0.5)).choice != "none"
    assert act(persona, view._replace(feed=(), can_react=False), None, Dice(0.0, 0.99)).choice == "post"


def test_the_null_is_shown_and_follows_anybody_alike() -> None:
    """Each of 8 follows the next two: any of the other five is among three suggestions with probability 3/5."""
    ring = arcs(8, *((i, (i + k) % 8) for i in range(8) for k in (1, 2)))
    world = World(rng=1, graph=ring, mind="null", follow_candidates=3, p_follow=0.0)
    hits, steps = Counter(), 200
    for _ in range(steps):
        advance(world, 1)
        for agent, view in world.suggestions(world.ids).items():
            assert len({c.agent for c in view.suggestions}) == 3
            hits.update((c.agent - agent) % 8 for c in view.suggestions)
    assert set(hits) == {3, 4, 5, 6, 7}
    assert all(abs(hits[k] - 0.6 * 8 * steps) < 4 * math.sqrt(8 * steps * 0.6 * 0.4) for k in hits)


def test_null_acts_are_uniform_over_what_is_allowed() -> None:
    events = advance(World(rng=3, graph=nx.complete_graph(60, create_using=nx.DiGraph), mind="null"), 12)
    counts = Counter(e["kind"] for e in events if e["step"] > 2 and e["kind"] in ("none", "post", *REACTIONS))
    total = sum(counts.values())
    assert total == 600
    for kind in ("none", "post", *REACTIONS):
        assert abs(counts[kind] - total / 6) < 4 * math.sqrt(total * 5 / 36)


@pytest.mark.parametrize("name, value", [("n_agents", 1), ("p_follow", 1.5), ("rules", "their_code"), ("feed_size", 0)])
def test_parameters_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ParameterError, match=name):
        World(rng=1, **{name: value})

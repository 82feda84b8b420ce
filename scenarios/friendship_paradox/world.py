"""A follow network grown by persona agents, and whether its members are less popular than those they follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

import simworld as sw
from simworld.persona import persona_text

from . import rules
from .decisions import Act, Candidate, CommentTurn, CommentView, Feedback, FeedPost, Follow, FollowView, Interview, View
from .observers import GeneralisedParadox, RareContacts
from .similarity import GRID, persona_vectors, post_vectors
from .similarity import top as top_by

REACTIONS = ("share", "like", "dislike", "comment")
MAX_COMMENTS = 6


class Params(sw.Params):
    n_agents: int = sw.field(100, ge=2, unit="agents", doc="Number of agents; N per data set in the study is 100.")
    rules: Literal["paper", "released_code"] = sw.field(
        "paper", doc="Where the paper and its code differ: follow the one or the other, defects included."
    )
    activation: Literal["simultaneous", "sequential"] = sw.field(
        "simultaneous", doc="Everyone decides on one snapshot, or one after the other as in the released code."
    )
    agent_order: Literal["fixed", "shuffled"] = sw.field("fixed", doc="Order of the agents when sequential.")
    follow_candidates: int = sw.field(5, ge=1, le=100, unit="agents", doc="Follow suggestions shown.", source="code")
    feed_size: int = sw.field(10, ge=1, le=100, unit="posts", doc="Posts shown.", source="code")
    homophily: float = sw.field(4.0, ge=0, le=20, doc="λ: weight exp(λ·cos) of a suggestion.", source="placeholder")
    attachment: float = sw.field(0.0, ge=0, le=3, doc="γ: weight (1 + k_in)^γ of a suggestion.", source="placeholder")
    visibility: float = sw.field(
        0.0, ge=0, le=3, doc="v: suggestions ranked and weighted by activity too, (1 + posts)^v.", source="placeholder"
    )
    p_follow: float = sw.field(
        0.8, ge=0, le=1, unit="probability", doc="Chance that a rule or null agent follows one suggestion a step.",
        source="placeholder",
    )  # fmt: skip
    p_post: float = sw.field(
        0.4, ge=0, le=1, unit="probability", doc="Chance that an act is a post, at average extraversion.",
        source="placeholder",
    )  # fmt: skip
    post_noise: float = sw.field(
        0.5, ge=0, le=5, doc="Length of the noise added to the persona vector in a post.", source="placeholder"
    )
    beta: float = sw.field(4.0, ge=0, doc="β of the forgetting rule.", source="code")
    delta: float = sw.field(1.0, ge=0, doc="δ of the forgetting rule.", source="code")
    forget_at: float = sw.field(
        0.9, ge=0, le=1, doc="A post goes when its forgetting score reaches this.", source="code"
    )
    repeat_above: float = sw.field(
        0.8, ge=-1, le=1, doc="A post repeats its author's earlier ones above this cosine.", source="code"
    )
    interviews: bool = sw.field(False, doc="Ask who influenced the agent most; it has no effect on what happens.")
    suggestion_pool: int = sw.field(
        5000, ge=10, unit="agents",
        doc="Candidates scored for an agent; above this a sample a step. Bounds a step at agents × pool.",
    )  # fmt: skip
    feed_pool: int = sw.field(
        250, ge=10, unit="posts",
        doc="Posts scored for an agent; above this the latest. Bounds a step at agents × pool.",
    )  # fmt: skip


class Person(sw.Agent):
    activity: float = 0.0
    """a_u in [0, 1]."""
    posts: int = 0
    given: int = 0
    """Interactions given."""
    received: int = 0
    """Interactions received."""


class Post(sw.Entity):
    author: int = -1
    born: int = 0
    virality: int = 0
    sentiment: float = 0.0
    store: Literal["short", "long", "gone"] = "short"
    repeated: bool = False
    text: str = ""
    mind: str = ""
    """What kind of mind wrote it."""


class FriendshipParadox(sw.World):
    """Do most people have fewer followers than the people they follow, in a network grown by persona agents?"""

    Params = Params
    agent_classes = (Person,)
    entities = {"posts": Post}
    ties = ("follow", *REACTIONS)
    directed = True
    with_personas = True
    default_steps = 10
    observers = ("friendship_paradox", "degrees", "reciprocity", "actions", GeneralisedParadox, RareContacts)

    @property
    def policies(self) -> Mapping[str, Mapping[Any, Any]]:
        return rules.policies(self.params)

    def setup(self) -> None:
        n = self.table.n
        self.table["activity"] = self.chance.stream("activity").beta(1, 2, n)
        self.restored()

    def restored(self) -> None:
        self.texts = [p.render("mini") for p in self.personas]
        # Topics and politics alone: names and ages would make strangers look alike.
        self.vectors = persona_vectors([persona_text(p) for p in self.personas])
        n, dims = self.vectors.shape
        self.post_vectors = np.zeros((1024, dims), np.float32)
        self.kept = 0
        self.author_sums = np.zeros((n, dims))
        self.author_counts = np.zeros(n, np.int64)
        self.posts_of: list[list[int]] = [[] for _ in range(n)]
        table = self.tables["posts"]
        born = table["born"]
        for t in np.unique(born).tolist():
            ids = np.flatnonzero(born == t)
            self._keep(post_vectors(self.vectors, table["author"][ids], self.params.post_noise, self.chance, t))
        for post in np.flatnonzero(table["store"] != Post.store.encode("gone")).tolist():
            self._shelve(post, int(table["author"][post]))

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        if self.params.activation == "simultaneous":
            self.turn(self.ids)
        else:
            regime = "fixed_order" if self.params.agent_order == "fixed" else "random_order"
            for one in self.activation(regime):
                self.turn(one)
        self.forget()

    def turn(self, ids: np.ndarray) -> None:
        """Follow, act, take effect, interview: for agents who decide on one snapshot."""
        if self.t > 1:
            asked = ids[self.table["posts"][ids] > 0]
            views = self.suggestions(asked)
            asked = np.array([i for i in asked.tolist() if views[i].suggestions], np.int64)
            for agent, answer in self.decide(Follow, asked, views.__getitem__, check=follow_check).pairs():
                if isinstance(answer, Follow) and answer.target is not None and self.graph.add(agent, answer.target):
                    self.emit("follow", agent=agent, target=answer.target)
        k_in = self.graph.in_degrees()
        views = {i: self.view(i, bool(k_in[i])) for i in ids.tolist()}
        acts = self.decide(Act, ids, views.__getitem__, check=act_check)
        threads: list[sw.Encounter] = []
        for agent, answer in acts.pairs():
            if isinstance(answer, Act):
                self.take_effect(agent, answer, threads)
        self.comment(threads)
        if self.params.interviews and self.t > 1:
            asked = np.array([a for a, d in acts.pairs() if isinstance(d, Act) and k_in[a] > 0], np.int64)
            for agent, told in self.decide(Interview, asked, views.__getitem__).pairs():
                if isinstance(told, Interview):
                    who = -1 if told.main_influence is None else told.main_influence
                    self.emit("interview", agent=agent, target=who, text=told.explanation)

    def take_effect(self, agent: int, act: Act, threads: list[sw.Encounter]) -> None:
        if act.choice == "none":
            self.emit("none", agent=agent, text=act.reason)
        elif act.choice == "post":
            self.publish(agent, act.content, act.reason)
        elif act.target_post is not None:
            posts, post = self.tables["posts"], act.target_post
            author = int(posts["author"][post])
            self.graph.strengthen(agent, author, 1.0, act.choice)
            self.table["given"][agent] += 1
            self.table["received"][author] += 1
            self.emit(act.choice, agent=agent, target=author, item=post, text=act.content)
            if act.choice == "share":
                posts["virality"][post] += 1
            elif act.choice == "comment":
                threads.append(sw.Encounter((agent, author), topic=post))
                threads[-1].say(agent, act.content)
            else:
                posts["sentiment"][post] += 1.0 if act.choice == "like" else -1.0
            self.promote(post)

    def publish(self, author: int, text: str, reason: str) -> None:
        posts = self.tables["posts"]
        vector = post_vectors(self.vectors, np.array([author]), self.params.post_noise, self.chance, self.t)
        mine = self.posts_of[author]
        cosines = self.post_vectors[mine] @ vector[0] / GRID**2
        repeated = bool(len(mine) and cosines.max() > self.params.repeat_above)
        post = posts.append(1, {
            "author": author, "born": self.t, "text": text, "repeated": repeated, "mind": self.mind_label(author),
        })  # fmt: skip
        self._keep(vector)
        self._shelve(post, author)
        self.table["posts"][author] += 1
        self.emit("post", agent=author, item=post, text=text, data={"reason": reason} if reason else None)

    def comment(self, threads: list[sw.Encounter]) -> None:
        """Short dialogues between commenter and author, then the commenter's mean compound sentiment on the post."""
        posts = self.tables["posts"]
        for turn in self.encounters(threads, MAX_COMMENTS):
            if turn.number == 0:
                continue  # the comment itself opened the thread
            # An agent may speak in several threads at once; its k-th question here is its k-th thread.
            queues: dict[int, list[CommentView]] = {}
            for thread, speaker in zip(turn.encounters, turn.speakers.tolist(), strict=True):
                other = thread.members[0] if speaker != thread.members[0] else thread.members[1]
                said = tuple(what for _, what in thread.turns)
                view = CommentView(partner=other, post=str(posts["text"][thread.topic]), said=said)
                queues.setdefault(speaker, []).append(view)
            answers = self.decide(CommentTurn, turn.speakers, lambda i: queues[i].pop(0))  # noqa: B023 - used at once
            for thread, (speaker, answer) in zip(turn.encounters, answers.pairs(), strict=True):
                if isinstance(answer, CommentTurn) and answer.text:
                    thread.say(speaker, answer.text)
                    partner = thread.members[0] if speaker != thread.members[0] else thread.members[1]
                    self.emit("reply", agent=speaker, target=partner, item=thread.topic, text=answer.text)
                if not isinstance(answer, CommentTurn) or answer.end:
                    thread.close()
        for thread in threads:
            own = [what for speaker, what in thread.turns if speaker == thread.members[0]]
            posts["sentiment"][thread.topic] += float(np.mean([rules.compound(text) for text in own]))
            self.promote(thread.topic)

    def promote(self, post: int) -> None:
        posts = self.tables["posts"]
        if posts["virality"][post] >= 2 or abs(posts["sentiment"][post]) >= 1:
            posts["store"][post] = Post.store.encode("long")

    def forget(self) -> None:
        """Drop short-term posts whose forgetting score reaches the threshold; a threshold, not a draw."""
        posts, p = self.tables["posts"], self.params
        short = np.flatnonzero(posts["store"] == Post.store.encode("short"))
        scores = forgetting(self.t - posts["born"][short], posts["virality"][short], posts["sentiment"][short], p)
        for post in short[scores >= p.forget_at - 1e-12].tolist():
            posts["store"][post] = Post.store.encode("gone")
            author = int(posts["author"][post])
            self.posts_of[author].remove(post)
            self.author_sums[author] -= self.post_vectors[post]
            self.author_counts[author] -= 1

    # -- what agents see ----------------------------------------------------------------------------------------

    def suggestions(self, ids: np.ndarray) -> dict[int, FollowView]:
        """Rank every agent not followed who has a post by the mean pairwise cosine between own posts and theirs."""
        p = self.params
        k_in = self.graph.in_degrees()
        found: dict[int, FollowView] = {}
        guided = np.array([i for i in ids.tolist() if self.mind_label(i) != "null"], np.int64)
        rank = self.stream("suggestion ties").random(self.table.n)
        pool = np.flatnonzero((self.author_counts > 0) & self.table["alive"])
        if len(pool) > p.suggestion_pool:
            chosen = np.argsort(self.stream("suggestion pool").random(self.table.n)[pool])[: p.suggestion_pool]
            pool = pool[chosen]
        pool = pool[np.argsort(rank[pool])]
        column = np.full(self.table.n, -1)
        column[pool] = np.arange(len(pool))
        sums, counts = self.author_sums, np.maximum(self.author_counts, 1).astype(float)
        undefined = ~sums.any(axis=1)
        dropped = -np.inf if p.rules == "paper" else -1e9
        theirs, per_author = sums[pool].T.copy(), counts[pool] * GRID
        bonus = p.visibility * np.log1p(self.table["posts"][pool])
        for start in range(0, len(guided), 256):
            rows = guided[start : start + 256]
            # Sums of grid vectors are integers: their dot products are exact, so the ranking is the same everywhere.
            cosines = sums[rows] @ theirs
            cosines /= counts[rows, None] * GRID
            cosines /= per_author
            scores = cosines + bonus if p.visibility else cosines.copy()
            scores[undefined[rows]] = dropped
            scores[:, undefined[pool]] = dropped
            for at, agent in enumerate(rows.tolist()):
                out = column[[agent, *self.graph.neighbors(agent).tolist()]]
                scores[at, out[out >= 0]] = -np.inf
                found[agent] = FollowView(suggestions=tuple(
                    self._candidate(int(pool[j]), float(cosines[at, j]), k_in) for j in top_by(scores[at], p.follow_candidates)
                ))  # fmt: skip
        for agent in sorted(set(ids.tolist()) - set(guided.tolist())):
            # The null agent is shown a uniform sample of all it does not follow: one of them at random is uniform too.
            open_to = self.table["alive"].copy()
            open_to[[agent, *self.graph.neighbors(agent).tolist()]] = False
            keys = np.where(open_to, self.stream("null suggestions", agent).random(self.table.n), np.inf)
            best = np.argsort(keys)[: min(p.follow_candidates, int(open_to.sum()))]
            found[agent] = FollowView(suggestions=tuple(self._candidate(int(j), 0.0, k_in) for j in best))
        return found

    def _candidate(self, agent: int, cosine: float, k_in: np.ndarray) -> Candidate:
        p = self.params
        # Followers and activity are shown only where the rule's coefficients use them.
        followers = int(k_in[agent]) if p.attachment else 0
        posts = int(self.table["posts"][agent]) if p.visibility else 0
        return Candidate(agent, self.texts[agent], cosine, followers, posts)

    def view(self, agent: int, has_followers: bool) -> View:
        """What an agent sees before it acts: feedback on its own posts if it has a follower, and its feed."""
        posts = self.tables["posts"]
        followees = self.graph.neighbors(agent).tolist() if self.t > 1 else []
        ids = [post for v in followees for post in self.posts_of[v]]
        ids = sorted(ids)[-self.params.feed_pool :]
        feed: list[FeedPost] = []
        if ids:
            own = self.vectors[agent]
            vectors = self.post_vectors[ids]
            cosines = (vectors @ own).astype(np.float64) / GRID**2
            paper = self.params.rules == "paper"
            undefined = ~vectors.any(axis=1) | (not own.any())
            scores = np.where(undefined, -np.inf if paper else -1e9, cosines if paper else -cosines)
            for j in top_by(scores, self.params.feed_size):
                post = ids[j]
                popularity = float(posts["virality"][post] + abs(posts["sentiment"][post]))
                author = int(posts["author"][post])
                feed.append(FeedPost(post, author, str(posts["text"][post]), float(cosines[j]), popularity))
        feedback = None
        if has_followers:
            mine = self.posts_of[agent]
            feedback = Feedback(int(posts["virality"][mine].sum()), float(posts["sentiment"][mine].sum()))
        can_react = self.t > 1 and bool(followees) and bool(feed)
        return View(float(self.table["activity"][agent]), feedback, tuple(feed), can_react)

    # -- caches -------------------------------------------------------------------------------------------------

    def _keep(self, vectors: np.ndarray) -> None:
        first, self.kept = self.kept, self.kept + len(vectors)
        if self.kept > len(self.post_vectors):
            grown = np.zeros((2 * self.kept, vectors.shape[1]), np.float32)
            grown[:first] = self.post_vectors[:first]
            self.post_vectors = grown
        self.post_vectors[first : self.kept] = vectors

    def _shelve(self, post: int, author: int) -> None:
        self.posts_of[author].append(post)
        self.author_sums[author] += self.post_vectors[post]
        self.author_counts[author] += 1

    def metrics(self) -> dict[str, float]:
        return {
            "follows": float(self.graph.n_ties()),
            "posts": float(self.tables["posts"].n),
            "posts_remembered": float(self.author_counts.sum()),
        }


def forgetting(age: Any, virality: Any, sentiment: Any, p: Params) -> np.ndarray:
    """Forgetting score in [0, 1]: 1 − ((s + r)/2)·max(r^β, δ), s = 1/(1 + age in steps), r = 0.6·virality + 0.4·|sentiment|."""
    s = 1.0 / (1.0 + np.asarray(age, np.float64))
    r = 0.6 * np.asarray(virality, np.float64) + 0.4 * np.abs(np.asarray(sentiment, np.float64))
    return np.clip(1.0 - (s + r) / 2.0 * np.maximum(r**p.beta, p.delta), 0.0, 1.0)


def follow_check(agent: int, answer: Follow, view: FollowView) -> tuple[str, str] | None:
    shown = [c.agent for c in view.suggestions]
    if answer.target is not None and answer.target not in shown:
        return "target", f"{answer.target} was not suggested; choose one of {shown} or null"
    return None


def act_check(agent: int, answer: Act, view: View) -> tuple[str, str] | None:
    if answer.choice in REACTIONS:
        if not view.can_react:
            return "choice", f"{answer.choice!r} is not possible without a feed; choose 'post' or 'none'"
        shown = [post.post for post in view.feed]
        if answer.target_post not in shown:
            return "target_post", f"{answer.target_post} was not shown; choose one of {shown}"
    return None

"""A follow network grown by persona agents, and whether its members are less popular than those they follow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

import simworld as sw
from simworld.persona import persona_text

from . import rules
from .decisions import Act, Candidate, CommentTurn, CommentView, Feedback, FeedPost, Follow, FollowView, Interview, View
from .observers import GeneralisedParadox, NetworkMeans, RareContacts
from .similarity import GRID, WordSpace, post_vectors, top

REACTIONS = ("share", "like", "dislike", "comment")
OUTCOMES = {"share": 1.0, "like": 1.0, "dislike": -1.0}
"""How a reaction pleases; a comment does so by its sentiment."""
MAX_COMMENTS = 6
LAST = -1e9
"""Score of an undefined similarity that is kept: below every other."""


class Params(sw.Params):
    n_agents: int = sw.field(100, ge=2, unit="agents", doc="Number of agents; N per data set in the study is 100.")
    rules: Literal["paper", "released_code"] = sw.field(
        "paper", doc="Where the paper and its code differ: follow the one or the other, defects included."
    )
    activation: Literal["simultaneous", "sequential"] = sw.field(
        "simultaneous", doc="Everyone decides on one snapshot, or one after the other as in the released code."
    )
    agent_order: Literal["fixed", "shuffled"] = sw.field("fixed", doc="Order of the agents when sequential.")
    follows_per_step: int = sw.field(1, ge=0, le=10, unit="per agent", doc="Follow decisions.", source="code")
    acts_per_step: int = sw.field(1, ge=1, le=10, unit="per agent", doc="Acts.", source="code")
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
    affinity: float = sw.field(
        0.0, ge=0, le=10,
        doc="How much rule agents favour who pleased them and avoid who annoyed them; 0 keeps no memory.",
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
        0.8, ge=-1, le=1, doc="A post is a repetition above this cosine to an earlier one of its author.", source="code"
    )
    interviews: bool = sw.field(True, doc="Ask who influenced the agent most; it has no effect on what happens.")
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
    said_events = ("post", "comment", "reply")
    notable = {"actions.share": "first share"}
    observers = (
        "friendship_paradox", "degrees", "reciprocity", "actions", NetworkMeans, GeneralisedParadox, RareContacts,
    )  # fmt: skip

    @property
    def policies(self) -> Mapping[str, Mapping[Any, Any]]:
        return rules.policies(self.params)

    @property
    def remembers(self) -> sw.MemorySettings | None:
        """Agents remember how others reacted to them, where that is to matter."""
        if not self.params.affinity:
            return None
        # Two or three reactions make an agent look back. [design]
        return sw.MemorySettings(
            policy="hybrid", k=10, reflect_at=1.0, importance_table={"reacted": 0.5}, surprise=0.0,
            phrases={"reacted": sw.Phrase(threshold=0.0, below="was unkind to me", above="was kind to me")},
        )  # fmt: skip

    def setup(self) -> None:
        n = self.table.n
        self.table["activity"] = self.chance.stream("activity").beta(1, 2, n)
        self.restored()

    def restored(self) -> None:
        self.texts = [p.render("mini") for p in self.played]
        # Topics and politics alone: names and ages would make strangers look alike.
        self.by_rule = set(self.policies)
        interests = [persona_text(p) for p in self.played]
        self.space = WordSpace(interests)
        self.vectors = self.space.vectors(interests)
        n, dims = self.vectors.shape
        self.followees = [self.graph.neighbors(i).tolist() for i in range(n)]
        self.k_in = np.array(self.graph.in_degrees())
        self.post_vectors = np.zeros((1024, dims), np.float32)
        self.author_sums = np.zeros((n, dims))
        self.author_counts = np.zeros(n, np.int64)
        self.written_by: list[list[int]] = [[] for _ in range(n)]
        self.remembered_of: list[list[int]] = [[] for _ in range(n)]
        self.drawn: dict[str, tuple[int, np.ndarray]] = {}
        posts = self.tables["posts"]
        authors, is_kept = posts["author"].tolist(), posts["store"] != Post.store.encode("gone")
        texts, minds = posts["text"].tolist(), posts["mind"].tolist()
        for post, author in enumerate(authors):
            vector = self.compose([author], [texts[post]], [minds[post]])[0]
            self._keep(post, author, vector, remember=is_kept[post])

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        if self.params.activation == "simultaneous":
            self.turn(self.ids)
        else:
            regime = "fixed_order" if self.params.agent_order == "fixed" else "random_order"
            for one in self.activation(regime):
                self.turn(one)
        self.forget()
        self.reflect()

    def turn(self, ids: np.ndarray) -> None:
        """Follow, act, take effect, interview: for agents who decide on one snapshot."""
        if self.t > 1:
            for _ in range(self.params.follows_per_step):
                self.follow(ids)
        for _ in range(self.params.acts_per_step):
            views = {i: self.view(i) for i in ids.tolist()}
            authors = [about(post.author for post in views[i].feed) for i in ids.tolist()]
            acts = self.decide(Act, ids, views.__getitem__, check=act_check, recall=authors)
            self.take_effect(acts)
        if self.params.interviews and self.t > 1:
            self.interview(acts, views)

    def follow(self, ids: np.ndarray) -> None:
        """Ask those who have ever posted whom of five to follow."""
        views = self.suggestions(ids[self.table["posts"][ids] > 0])
        asked = np.array([i for i in ids.tolist() if i in views and views[i].suggestions], np.int64)
        for agent, answer in self.decide(
            Follow,
            asked,
            views.__getitem__,
            check=follow_check,
            recall=lambda i: about(s.agent for s in views[i].suggestions),
        ).pairs():
            if isinstance(answer, Follow) and answer.target is not None and self.graph.add(agent, answer.target):
                self.followees[agent].append(answer.target)
                self.k_in[answer.target] += 1
                self.emit("follow", agent=agent, target=answer.target)

    def take_effect(self, acts: sw.Answers) -> None:
        """Commit acts in the order of the agents, then hold the comment threads they opened."""
        chosen = [(agent, act) for agent, act in acts.pairs() if isinstance(act, Act)]
        written = [(agent, act.content, self.mind_label(agent)) for agent, act in chosen if act.choice == "post"]
        vectors = iter(self.compose(*zip(*written, strict=True)) if written else ())
        threads: list[sw.Encounter] = []
        for agent, act in chosen:
            if act.choice == "none":
                self.emit("none", agent=agent, text=act.reason)
            elif act.choice == "post":
                self.publish(agent, act, next(vectors))
            else:
                self.react(agent, act, threads)
        self.comment(threads)

    def compose(self, authors: Sequence[int], texts: Sequence[str] = (), minds: Sequence[str] = ()) -> np.ndarray:
        """Return the vectors of the next post of each of these authors, shape (n, DIMS).

        What a language model or a person writes is read; the text of a rule is a template, so its post is the author's
        persona with noise.
        """
        counts = [len(self.written_by[author]) for author in authors]
        vectors = post_vectors(self.vectors, authors, counts, self.params.post_noise, self.chance)
        are_read = [i for i, mind in enumerate(minds) if mind not in self.by_rule]
        if are_read:
            vectors[are_read] = self.space.vectors([texts[i] for i in are_read])
        return vectors

    def publish(self, author: int, act: Act, vector: np.ndarray) -> None:
        earlier = self.post_vectors[self.written_by[author]] @ vector / GRID**2
        post = self.tables["posts"].append(1, {
            "author": author, "born": self.t, "text": act.content, "mind": self.mind_label(author),
            "repeated": bool(len(earlier) and earlier.max() > self.params.repeat_above),
        })  # fmt: skip
        self._keep(post, author, vector)
        self.table["posts"][author] += 1
        why = {"reason": act.reason} if act.reason else None
        self.emit("post", agent=author, item=post, text=act.content, data=why)

    def react(self, agent: int, act: Act, threads: list[sw.Encounter]) -> None:
        posts, post = self.tables["posts"], act.target_post
        author = int(posts["author"][post])
        self.graph.strengthen(agent, author, 1.0, act.choice)
        self.table["given"][agent] += 1
        self.table["received"][author] += 1
        self.emit(act.choice, agent=agent, target=author, item=post, text=act.content)
        if act.choice in OUTCOMES:
            self.feel(author, agent, act.choice, OUTCOMES[act.choice])
        if act.choice == "comment":
            threads.append(sw.Encounter((agent, author), topic=post))
            threads[-1].say(agent, act.content)
        elif act.choice == "share":
            posts["virality"][post] += 1
        else:
            posts["sentiment"][post] += 1.0 if act.choice == "like" else -1.0
        self.promote(post)

    def comment(self, threads: list[sw.Encounter]) -> None:
        """Short dialogues between commenter and author, then the commenter's mean compound sentiment on the post."""
        posts = self.tables["posts"]
        for turn in self.encounters(threads, MAX_COMMENTS):
            if turn.number == 0:
                continue  # the comment itself opened the thread
            views = []
            for thread, speaker in zip(turn.encounters, turn.speakers.tolist(), strict=True):
                by, said = zip(*thread.turns, strict=True)
                views.append(CommentView(partner_of(thread, speaker), str(posts["text"][thread.topic]), said, by))
            # As columns: an agent may speak in several threads at once.
            columns = zip(CommentView._fields, zip(*views, strict=True), strict=True)
            seen = {name: np.fromiter(column, object, len(views)) for name, column in columns}
            answers = self.decide(CommentTurn, turn.speakers, seen)
            for thread, (speaker, answer) in zip(turn.encounters, answers.pairs(), strict=True):
                if isinstance(answer, CommentTurn) and answer.text:
                    thread.say(speaker, answer.text)
                    partner = partner_of(thread, speaker)
                    self.emit("reply", agent=speaker, target=partner, item=thread.topic, text=answer.text)
                if not isinstance(answer, CommentTurn) or answer.end:
                    thread.close()
        for thread in threads:
            own = [rules.compound(what) for speaker, what in thread.turns if speaker == thread.members[0]]
            posts["sentiment"][thread.topic] += float(np.mean(own))
            self.feel(thread.members[1], thread.members[0], "comment", float(np.mean(own)))
            self.promote(thread.topic)

    def feel(self, author: int, other: int, how: str, outcome: float) -> None:
        """Have an author remember how somebody reacted, and whether that pleased, from −1 to 1."""
        words = {"comment": "commented on"}.get(how, f"{how}d")
        self.remember(
            author, f"Agent {other} {words} a post of mine.", subject=other, predicate="reacted", value=outcome
        )

    def interview(self, acts: sw.Answers, views: Mapping[int, View]) -> None:
        """Ask those who have a follower and whose act was not refused; nothing but an event comes of it."""
        asked = [a for a, act in acts.pairs() if isinstance(act, Act) and views[a].feedback is not None]
        answers = self.decide(Interview, np.array(asked, np.int64), views.__getitem__, check=self.interview_check)
        for agent, told in answers.pairs():
            if isinstance(told, Interview):
                who = -1 if told.main_influence is None else told.main_influence
                self.emit("interview", agent=agent, target=who, text=told.explanation)

    def interview_check(self, agent: int, answer: Interview, view: View) -> tuple[str, str] | None:
        if answer.main_influence is not None and not 0 <= answer.main_influence < self.table.n:
            return "main_influence", f"there is no agent {answer.main_influence}; give an agent's id or null"
        return None

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
            self.remembered_of[author].remove(post)
            self.author_sums[author] -= self.post_vectors[post]
            self.author_counts[author] -= 1

    # -- what agents see ----------------------------------------------------------------------------------------

    def suggestions(self, ids: np.ndarray) -> dict[int, FollowView]:
        """Rank every agent not followed who has posted by the mean pairwise cosine between own posts and theirs."""
        p, n = self.params, self.table.n
        found: dict[int, FollowView] = {}
        guided = np.array([i for i in ids.tolist() if self.mind_label(i) != "null"], np.int64)
        for agent in sorted(set(ids.tolist()) - set(guided.tolist())):
            strangers = self._strangers(agent, p.follow_candidates)
            found[agent] = FollowView(tuple(self._candidate(i, 0.0) for i in strangers))
        if not len(guided):
            return found
        is_paper = p.rules == "paper"
        can_be_shown = self.author_counts > 0 if is_paper else self.table["posts"] > 0
        ties = self._ties("suggestions", n)[:n]
        pool: Any = slice(None)
        if np.count_nonzero(can_be_shown) > p.suggestion_pool:
            keys = np.where(can_be_shown, self._ties("suggestion pool", n)[:n], 2.0)
            pool = np.sort(np.argpartition(keys, p.suggestion_pool)[: p.suggestion_pool])
        place = np.full(n, -1)
        place[pool] = np.arange(len(place[pool]))
        sums, counts = self.author_sums, np.maximum(self.author_counts, 1) * float(GRID)
        theirs, of_others, hidden = sums[pool], counts[pool], ~can_be_shown[pool]
        bonus = p.visibility * np.log1p(self.table["posts"][pool])
        members = np.arange(n)[pool].tolist()
        for start in range(0, len(guided), 256):
            rows = guided[start : start + 256]
            # Sums of grid vectors are integers: their dot products are exact, so the ranking is the same everywhere.
            cosines = sums[rows] @ theirs.T
            # Only a zero vector, whose cosines are undefined, and a right angle give zero.
            undefined = cosines == 0
            if undefined.any():
                undefined &= ~(sums[rows].any(axis=1)[:, None] & theirs.any(axis=1))
            cosines /= counts[rows, None]
            cosines /= of_others
            scores = cosines + bonus if p.visibility else cosines.copy()
            scores[undefined] = -np.inf if is_paper else LAST
            scores[:, hidden] = -np.inf
            for at, agent in enumerate(rows.tolist()):
                known = place[[agent, *self.followees[agent]]]
                scores[at, known[known >= 0]] = -np.inf
                best = top(scores[at], p.follow_candidates, ties[pool])
                found[agent] = FollowView(tuple(self._candidate(members[j], float(cosines[at, j])) for j in best))
        return found

    def _strangers(self, agent: int, k: int) -> list[int]:
        """Return k agents, uniform among all this one does not follow: the null's suggestions."""
        known = np.sort([agent, *self.followees[agent]])
        open_to = self.table.n - len(known)
        drawn = self.stream("null suggestions", agent).choice(open_to, min(k, open_to), replace=False)
        # The r-th agent not known is r plus the number of known ones before it.
        return (drawn + np.searchsorted(known - np.arange(len(known)), drawn, side="right")).tolist()

    def _candidate(self, agent: int, cosine: float) -> Candidate:
        p = self.params
        # Followers and activity are shown only where the rule's coefficients use them.
        followers = int(self.k_in[agent]) if p.attachment else 0
        posts = int(self.table["posts"][agent]) if p.visibility else 0
        return Candidate(agent, self.texts[agent], cosine, followers, posts)

    def view(self, agent: int) -> View:
        """What an agent sees before it acts: feedback on its own posts if it has a follower, and its feed."""
        columns = self.tables["posts"].columns
        feedback = None
        if self.k_in[agent]:
            mine = self.remembered_of[agent]
            shares, sentiments = columns["virality"][mine].tolist(), columns["sentiment"][mine].tolist()
            feedback = Feedback(sum(shares), math.fsum(sentiments))
        feed = self.feed(agent) if self.t > 1 else ()
        return View(float(self.table["activity"][agent]), feedback, feed, bool(feed))

    def feed(self, agent: int) -> tuple[FeedPost, ...]:
        """Rank the remembered posts of those it follows by their cosine with its persona."""
        p = self.params
        followed = [post for v in self.followees[agent] for post in self.remembered_of[v]]
        if not followed:
            return ()
        ids = np.array(sorted(followed)[-p.feed_pool :])
        own, vectors = self.vectors[agent], self.post_vectors[ids]
        cosines = (vectors @ own).astype(np.float64) / GRID**2
        scores = cosines.copy() if p.rules == "paper" else -cosines
        if not cosines.all():
            undefined = ~vectors.any(axis=1) | (not own.any())
            scores[undefined] = -np.inf if p.rules == "paper" else LAST
        posts = self.tables["posts"]
        best = top(scores, p.feed_size, self._ties("feed", posts.n)[ids])
        shown = ids[best]
        popularity = posts["virality"][shown] + np.abs(posts["sentiment"][shown])
        columns = (shown, posts["author"][shown], posts["text"][shown], cosines[best], popularity)
        return tuple(map(FeedPost, *(column.tolist() for column in columns)))

    # -- caches -------------------------------------------------------------------------------------------------

    def _keep(self, post: int, author: int, vector: np.ndarray, remember: bool = True) -> None:
        if post == len(self.post_vectors):
            self.post_vectors = np.concatenate([self.post_vectors, np.zeros_like(self.post_vectors)])
        self.post_vectors[post] = vector
        self.written_by[author].append(post)
        if remember:
            self.remembered_of[author].append(post)
            self.author_sums[author] += vector
            self.author_counts[author] += 1

    def _ties(self, name: str, n: int) -> np.ndarray:
        """Return what breaks ties in this step, shape (at least n,): one draw a row, the same for all who look."""
        t, drawn = self.drawn.get(name, (0, np.empty(0)))
        if t != self.t or len(drawn) < n:
            drawn = self.stream(name).random(2 * n)
            self.drawn[name] = self.t, drawn
        return drawn

    def metrics(self) -> dict[str, float]:
        return {
            "follows": float(self.graph.n_ties()),
            "posts": float(self.tables["posts"].n),
            "posts_remembered": float(self.author_counts.sum()),
        }


def about(agents: Iterable[int]) -> str:
    """What an agent looks for in its memory before it deals with others; nothing when there is nobody."""
    names = ", ".join(f"agent {i}" for i in dict.fromkeys(agents))
    return f"How did {names} react to me?" if names else ""


def partner_of(thread: sw.Encounter, speaker: int) -> int:
    first, second = thread.members
    return second if speaker == first else first


def forgetting(age: Any, virality: Any, sentiment: Any, p: Params) -> np.ndarray:
    """Forgetting score in [0, 1]: 1 − ((s + r)/2)·max(r^β, δ).

    s = 1/(1 + age), age in steps; r = 0.6·virality + 0.4·|sentiment|, not normalised.
    """
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

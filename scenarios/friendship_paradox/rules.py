"""The rule policy and the null policy of the friendship paradox. All coefficients are placeholders, not calibrated."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from simworld.persona import trait_z

from .decisions import Act, CommentTurn, CommentView, Follow, FollowView, Interview, View

COEFFICIENTS = {
    "base_activity": 0.0,  # b in σ(b + a_u), the chance to act
    "extraversion_post": 0.3,  # logit of posting, a standard deviation of E
    "cosine": 3.0,  # weight exp(3·cos) of a post in the feed
    "share": 0.2,
    "like": 0.5,
    "dislike": 0.1,
    "comment": 0.2,
    "extraversion_comment": 0.3,  # log weight of commenting, a standard deviation of E
    "agreeableness_dislike": -0.5,  # log weight of disliking, a standard deviation of A
    "end_thread": 0.5,  # chance that a turn is the last
    "agreeableness_kind": 0.8,  # logit of a kind comment, a standard deviation of A
}
"""Placeholders [design]: the direction of the trait effects is the model's, their size is from no literature."""

OPENINGS = (
    "Been thinking about {topic} all day.", "Found something new about {topic}.", "Anyone else into {topic}?",
    "A good week for {topic}.", "My take on {topic}: start small.", "Back to {topic} after a while.",
)  # fmt: skip
KIND = ("I love this, great point.", "Thanks for sharing, really nice.", "Good idea, I agree.", "Wonderful, well said.")
UNKIND = ("I hate this, bad point.", "This is wrong and boring.", "Terrible idea.", "Sad to read this nonsense.")


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


@functools.cache
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


@functools.lru_cache(maxsize=4096)
def compound(text: str) -> float:
    """Compound sentiment in [-1, 1] (VADER: Hutto and Gilbert 2014, doi:10.1609/icwsm.v8i1.14550)."""
    return float(_analyser().polarity_scores(text)["compound"])


def _topic(persona: Any, rng: Any) -> str:
    liked = [p.topic for p in persona.preferences if p.polarity > 0] if persona is not None else []
    return rng.choice(liked) if liked else "nothing in particular"


def _remark(persona: Any, rng: Any) -> str:
    kind = sigmoid(COEFFICIENTS["agreeableness_kind"] * trait_z(persona, "A"))
    return rng.choice(KIND if rng.random() < kind else UNKIND)


def attitude(memory: Any, other: int) -> float:
    """What an agent thinks of another, from −1 to 1: its insight, else half its latest impression, else nothing."""
    if memory is None:
        return 0.0
    if insights := memory.insights(other):
        return float(insights[0].value)
    met = memory.about(other, "reacted")
    return 0.5 * float(met[-1].value) if met else 0.0


def policies(params: Any) -> dict[str, Mapping[Any, Callable[..., Any]]]:
    """Return the tables of policies under these parameters."""
    c = COEFFICIENTS

    def follow(persona: Any, view: FollowView, memory: Any, rng: Any) -> Follow:
        if rng.random() >= params.p_follow:
            return Follow(target=None)
        weights = [
            math.exp(params.homophily * s.cosine)
            * (1 + s.followers) ** params.attachment
            * (1 + s.posts) ** params.visibility
            * (math.exp(params.affinity * attitude(memory, s.agent)) if params.affinity else 1.0)
            for s in view.suggestions
        ]
        return Follow(target=rng.choice(view.suggestions, weights).agent)

    def act(persona: Any, view: View, memory: Any, rng: Any) -> Act:
        if rng.random() >= sigmoid(c["base_activity"] + view.activity):
            return Act(choice="none")
        e, a = trait_z(persona, "E"), trait_z(persona, "A")
        p_post = params.p_post
        if 0.0 < p_post < 1.0:
            p_post = sigmoid(math.log(p_post / (1 - p_post)) + c["extraversion_post"] * e)
        if not view.can_react or rng.random() < p_post:
            return Act(choice="post", content=rng.choice(OPENINGS).format(topic=_topic(persona, rng)))
        weights = [math.exp(c["cosine"] * post.cosine) * (1 + post.popularity) for post in view.feed]
        if params.affinity:
            likes = {author: attitude(memory, author) for author in {post.author for post in view.feed}}
            weights = [
                w * math.exp(params.affinity * likes[post.author]) for w, post in zip(weights, view.feed, strict=True)
            ]
        post = rng.choice(view.feed, weights)
        choices = ("share", "like", "dislike", "comment")
        effects = (0.0, 0.0, c["agreeableness_dislike"] * a, c["extraversion_comment"] * e)
        choice = rng.choice(choices, [c[k] * math.exp(x) for k, x in zip(choices, effects, strict=True)])
        content = _remark(persona, rng) if choice == "comment" else ""
        return Act(choice=choice, target_post=post.post, content=content)

    def turn(persona: Any, view: CommentView, memory: Any, rng: Any) -> CommentTurn:
        return CommentTurn(text=_remark(persona, rng), end=rng.random() < c["end_thread"])

    def interview(persona: Any, view: View, memory: Any, rng: Any) -> Interview:
        if not view.feed:
            return Interview(main_influence=None, explanation="Nobody's posts were shown to me.")
        nearest = max(view.feed, key=lambda post: post.cosine)
        return Interview(main_influence=nearest.author, explanation="Their post was closest to what I care about.")

    def null_follow(persona: Any, view: FollowView, memory: Any, rng: Any) -> Follow:
        follows = rng.random() < params.p_follow
        return Follow(target=rng.choice(view.suggestions).agent if follows else None)

    def null_act(persona: Any, view: View, memory: Any, rng: Any) -> Act:
        reactions = ("share", "like", "dislike", "comment") if view.can_react else ()
        choice = rng.choice(("post", "none", *reactions))
        target = rng.choice(view.feed).post if choice in reactions else None
        return Act(choice=choice, target_post=target, content="(random)" if choice in ("post", "comment") else "")

    def null_turn(persona: Any, view: CommentView, memory: Any, rng: Any) -> CommentTurn:
        return CommentTurn(text="(random)", end=rng.random() < 0.5)

    def null_interview(persona: Any, view: View, memory: Any, rng: Any) -> Interview:
        return Interview(main_influence=rng.choice(view.feed).author if view.feed else None)

    return {
        "rules": {Follow: follow, Act: act, CommentTurn: turn, Interview: interview},
        "null": {Follow: null_follow, Act: null_act, CommentTurn: null_turn, Interview: null_interview},
    }

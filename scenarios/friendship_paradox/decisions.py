"""What agents of the friendship paradox see and must answer."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

from pydantic import field_validator, model_validator

import simworld as sw


class Candidate(NamedTuple):
    agent: int
    persona: str
    cosine: float
    """Mean pairwise cosine between own posts and theirs."""
    followers: int
    """k_in; 0 unless the rule's attachment uses it."""
    posts: int
    """Posts so far; 0 unless the rule's visibility uses it."""


class FollowView(NamedTuple):
    suggestions: tuple[Candidate, ...]


class FeedPost(NamedTuple):
    post: int
    author: int
    text: str
    cosine: float
    """Cosine between the reader's persona and the post."""
    popularity: float
    """Shares plus absolute sentiment."""


class Feedback(NamedTuple):
    shares: int
    """Over own posts that are not forgotten."""
    sentiment: float
    """Over the same posts."""


class View(NamedTuple):
    activity: float
    feedback: Feedback | None
    """On the agent's own posts, if it has a follower."""
    feed: tuple[FeedPost, ...]
    can_react: bool
    """Whether there is a feed: not in the first step and not without followees; then only ``post`` and ``none``."""


class CommentView(NamedTuple):
    partner: int
    post: str
    said: tuple[str, ...]
    """The thread so far, oldest first."""
    by: tuple[int, ...]
    """Who said each of it."""


class Follow(sw.Decision):
    """Whom to follow, of the agents suggested."""

    target: int | None = sw.field(doc="Id of a suggested agent, or null for nobody.")


class Act(sw.Decision):
    """What to do in this step."""

    choice: Literal["post", "none", "share", "like", "dislike", "comment"] = sw.field(doc="What to do.")
    target_post: int | None = sw.field(None, doc="Id of a shown post, for share, like, dislike and comment.")
    content: str = sw.field("", max_length=280, doc="1 to 280 characters, for post and comment.")
    reason: str = sw.field("", doc="Why, in a few words.")

    @field_validator("reason", mode="before")
    @classmethod
    def _unreadable_is_empty(cls, reason: Any) -> str:
        # The one field whose refusal is not a refusal of the act: nothing follows from a reason.
        return reason if isinstance(reason, str) else ""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.choice in ("post", "comment") and not self.content:
            raise ValueError(f"{self.choice!r} needs content of 1 to 280 characters")
        if (self.choice in ("post", "none")) != (self.target_post is None):
            raise ValueError("share, like, dislike and comment need target_post; post and none must not have it")
        return self


class CommentTurn(sw.Decision):
    """The next turn of a comment thread; an empty text says nothing."""

    text: str = sw.field(max_length=280, doc="What to say.")
    end: bool = sw.field(doc="Whether the thread ends here.")


class Interview(sw.Decision):
    """Who influenced the agent most in this step; it changes nothing."""

    main_influence: int | None = sw.field(doc="Id of an agent, or null.")
    explanation: str = sw.field("", doc="Why.")

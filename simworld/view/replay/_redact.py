"""A run without its prompts, replies and private words, as it may be shown to others."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import polars as pl

from simworld.errors import UsageError
from simworld.memory import Flag
from simworld.persona import Persona
from simworld.run import Run

LEFT_OUT = "(left out)"
SAID_ELSEWHERE = frozenset({"refusal", "memory_refused"})
"""Kinds of event whose words come from a reply."""
LONGEST_PARAMETER = 200
"""Characters up to which a parameter is no prompt; arbitrary, the longest setting of ours is a file's name."""
LONGEST_WORD = 30
"""Characters up to which a text of a state column counts as a category (a role, a place); longer ones are notes."""
MOST_WORDS = 64
"""Different texts up to which a state column is one of categories."""
REDACTED = (
    "prompts and replies of language models", "what agents observed and decided",
    "questions with which they searched their memory", "private memories and those that repeat private words",
    "texts and data of private kinds of event and of refusals", "free text in state columns",
    "secrets, hidden roles and clinical notes of personas", "long parameters",
)  # fmt: skip
"""What is left out, in words."""


class RedactedRun(Run):
    """A run that can be read as any other, without what `REDACTED` names; whatever is made of it lacks that too."""

    def __init__(self, run: Run) -> None:
        """Open the folder of a run once more.

        Raises:
            UsageError: the run is older than the record of what is private.
        """
        super().__init__(run.path)
        if "private_events" not in self.manifest:
            raise UsageError(
                f"{run.path.name} was recorded before runs said which kinds of event are private, so nothing can be "
                "left out for sure; run it again, or export it without --redact"
            )
        self._private = sorted({*self.manifest["private_events"], *SAID_ELSEWHERE})
        # An error may quote a reply, and an intervention a prompt.
        self.manifest = {
            **self.manifest,
            "error": LEFT_OUT if self.manifest.get("error") else self.manifest.get("error"),
            "notes": [_unquoted(str(note)) for note in self.manifest["notes"]],
        }
        self.plan = self.plan.model_copy(update={"params": {n: _short(v) for n, v in self.plan.params.items()}})

    @cached_property
    def events(self) -> pl.DataFrame:
        """What happened; of private kinds only that it did."""
        frame = super().events
        is_private = pl.col("kind").is_in(self._private)
        # Who joins brings a whole persona along.
        has_data = is_private | pl.col("kind").is_in(["join", "intervention"])
        return frame.with_columns(
            pl.when(is_private).then(pl.lit("")).otherwise("text").alias("text"),
            pl.when(has_data).then(pl.lit("")).otherwise("data").alias("data"),
        )

    @cached_property
    def memory(self) -> pl.DataFrame:
        """The log of memories, without the words of private ones and of those that repeat private events."""
        frame = super().memory
        if not frame.height:
            return frame
        words = self._whole.events.filter(pl.col("kind").is_in(self._private))["text"].unique().sort()
        # One word alone ("yes") would be found everywhere.
        said = [text for text in words.to_list() if len(text.split()) > 1]
        is_private = (pl.col("flags") & int(Flag.PRIVATE)) != 0
        repeats = pl.col("text").str.contains_any(said) if said else pl.lit(value=False)
        rows = frame.select("id", "op", "refs", (is_private | repeats).alias("hit"))
        hidden: set[int] = set()
        # What cites comes after what is cited, so one pass is enough.
        for record, op, refs, hit in rows.filter(pl.col("op") != "recall").iter_rows():
            if hit or (op == "add" and any(int(each) in hidden for each in refs.split())):
                hidden.add(record)
        is_hidden = (pl.col("id").is_in(sorted(hidden)) & (pl.col("id") >= 0)) | is_private | repeats
        said_by = ("text", "subject", "predicate", "object", "place", "data")
        is_recall = pl.col("op") == "recall"
        return frame.with_columns(
            pl.when(is_recall & (name == "text")).then(pl.lit("")).when(is_hidden & ~is_recall)
            .then(pl.lit(LEFT_OUT if name == "text" else "")).otherwise(name).alias(name)
            for name in said_by
        )  # fmt: skip

    @cached_property
    def calls(self) -> pl.DataFrame:
        """Every call, without prompt and reply."""
        return super().calls.with_columns(pl.lit("").alias(name) for name in ("system", "user", "reply"))

    @cached_property
    def personas(self) -> list[Persona] | None:
        """Who lived there, without what is private."""
        people = self._whole.personas
        hide: dict[str, Any] = {"secrets": (), "cognitive": None, "role": None, "extra": {}}
        return None if people is None else [each.model_copy(update=hide) for each in people]

    def changes(self, table: str = "agents") -> pl.DataFrame:
        """Return the changed rows of a state table, without free text."""
        frame = super().changes(table)
        return frame.with_columns(
            pl.lit(LEFT_OUT).alias(name) for name, kind in frame.schema.items()
            if kind == pl.String and name != "name" and _is_free(frame[name])
        )  # fmt: skip

    @cached_property
    def _whole(self) -> Run:
        return Run(self.path)


def _is_free(column: pl.Series) -> bool:
    different = column.drop_nulls().unique()
    longest: Any = different.str.len_chars().max()
    return len(different) > MOST_WORDS or (longest or 0) > LONGEST_WORD


def _unquoted(note: str) -> str:
    """Return a note of the run; that of a fork without the values that it changed."""
    if not note.startswith("forked from "):
        return note
    before, colon, _ = note.partition(": ")
    return f"{before}{colon}{LEFT_OUT}" if colon else note


def _short(value: Any) -> Any:
    return value if len(json.dumps(value, default=str)) <= LONGEST_PARAMETER else LEFT_OUT

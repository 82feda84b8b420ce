"""The persona: one immutable record that importers, samplers and scenarios share."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, Strict, field_validator, model_validator

from simworld.persona._records import (
    Backstory,
    CognitiveDiagram,
    Demographics,
    Flag,
    Media,
    Occupation,
    Preference,
    Provenance,
    Real,
    Relation,
    Secret,
    Stay,
    Style,
    SurveyResponse,
    TraitScore,
    Words,
)
from simworld.persona._render import PUBLIC, SELF, render
from simworld.schema import Record

SCHEMA_VERSION = "1"


class Persona(Record):
    """One person of a society, fixed for a run; what changes during it lives in memory.

    What each kind needs: ``demographic`` at least one demographic field, and a stratum or a weight above 0 (the default
    weight of 1 counts); ``character`` a narrative, a life event or a cognitive diagram; ``individualized`` survey
    responses or an interview.

    Raises:
        pydantic.ValidationError: a field is missing, unknown, of the wrong type or out of range.
    """

    id: Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
    """Unique in a cast; used in logs and in the names of random streams. Not ``self`` or ``public``."""
    schema_version: Literal["1"] = "1"
    """Version of this record's layout."""
    kind: Literal["demographic", "character", "individualized"] = "demographic"
    """The kind decides which fields are required."""
    name: Words
    """Unique in a cast."""
    aliases: tuple[str, ...] = ()
    """Other names."""
    demographics: Demographics = Field(default_factory=Demographics)
    """Who the persona is to a census."""
    occupation: Occupation | None = None
    """What it does for a living."""
    traits: tuple[TraitScore, ...] = ()
    """Trait scores, one row a trait and rater."""
    values: tuple[TraitScore, ...] = ()
    """Scores on values, one row a value and rater."""
    goals: tuple[str, ...] = ()
    """One goal an entry."""
    beliefs: tuple[str, ...] = ()
    """One belief an entry."""
    skills: tuple[str, ...] = ()
    """One skill an entry."""
    behaviors: tuple[str, ...] = ()
    """One habit an entry."""
    facts: tuple[str, ...] = ()
    """Other facts, one an entry."""
    preferences: tuple[Preference, ...] = ()
    """Likes and dislikes."""
    routines: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What it usually does, by part of the week (``morning``, ``workday``, ``evening``, ``weekend``)."""
    home: Words | None = None
    """Place where it lives, as schedules name places."""
    schedule: tuple[Stay, ...] = ()
    """Its usual day: where it is when; the rest of the time it is at home. No two stays of one kind of day overlap."""
    health: str | None = None
    """Health, in words."""
    style: Style = Field(default_factory=Style)
    """How it speaks."""
    backstory: Backstory = Field(default_factory=Backstory)
    """What it has lived through."""
    relations: tuple[Relation, ...] = ()
    """Ties to other personas of the cast."""
    cognitive: CognitiveDiagram | None = None
    """Clinical conceptualisation; shown to nobody else."""
    responses: tuple[SurveyResponse, ...] = ()
    """Survey answers."""
    attributes: dict[str, str | Flag | Real] = Field(default_factory=dict)
    """Anything else, by dotted taxonomy path."""
    secrets: tuple[Secret, ...] = ()
    """Private facts; shown to itself and to those named in them."""
    moral_level: Annotated[int, Strict(), Field(ge=1, le=4)] | None = None
    """Alignment of a character, from 1, good, to 4, villain; never rendered."""
    mind: Annotated[str, Field(min_length=1, pattern=r"^\S+$")] | None = None
    """Who decides for it: ``rules``, ``null``, ``human``, or a language model (``ollama/qwen3``); never rendered."""
    role: str | None = None
    """Role in a scenario; shown to nobody else, for it may be a hidden one."""
    stratum: dict[str, str] = Field(default_factory=dict)
    """Quota cell the persona stands for."""
    weight: Annotated[float, Strict(), Field(ge=0.0)] = 1.0
    """Survey weight."""
    media: Media | None = None
    """Voice and picture for the replay viewer."""
    extra: dict[str, JsonValue] = Field(default_factory=dict)
    """What an importer could not place, by its original path; never rendered."""
    provenance: Provenance
    """Where it comes from and what may be done with it."""

    @field_validator("id")
    @classmethod
    def _id_is_no_audience(cls, value: str) -> str:
        if value in {SELF, PUBLIC}:
            raise ValueError(f"{value!r} names an audience of render() and cannot be an id")
        return value

    @field_validator("schema_version", mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        # A second version would be migrated here, before the fields are read.
        if value != SCHEMA_VERSION:
            raise ValueError(f"schema version {value!r} is unknown; this simworld reads {SCHEMA_VERSION!r}")
        return value

    @field_validator("extra")
    @classmethod
    def _extra_is_json(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if value:
            json.dumps(value, allow_nan=False)
        return value

    @model_validator(mode="after")
    def _kind_has_what_it_needs(self) -> Self:
        if self.kind == "demographic":
            if not self.demographics.stated():
                raise ValueError("a 'demographic' persona needs at least one field in 'demographics'")
            if not self.stratum and self.weight == 0.0:
                raise ValueError("a 'demographic' persona needs a 'stratum' or a 'weight' above 0")
        elif self.kind == "character":
            if not ((self.backstory.narrative or "").strip() or self.backstory.events or self.cognitive):
                raise ValueError("a 'character' persona needs 'backstory.narrative', 'backstory.events' or 'cognitive'")
        elif not (self.responses or self.backstory.interview):
            raise ValueError("an 'individualized' persona needs 'responses' or 'backstory.interview'")
        if any(relation.target == self.id for relation in self.relations):
            raise ValueError(f"'relations' of {self.id!r} name itself as a target")
        return self

    @model_validator(mode="after")
    def _at_one_place_at_a_time(self) -> Self:
        for one, other in combinations(self.schedule, 2):
            if one.overlaps(other):
                raise ValueError(
                    f"'schedule' has two stays at once: {_named(one)} and {_named(other)}; "
                    "end the earlier before the later starts"
                )
        return self

    def digest(self) -> str:
        """Return 32 hexadecimal digits of BLAKE2b over the canonical JSON of what differs from the defaults.

        Canonical: keys sorted, no spaces, UTF-8. Leaving defaults out keeps the digest when a later version adds an
        optional field.
        """
        data = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def render(self, view: str = "mini", budget_tokens: int | None = None, audience: str = PUBLIC) -> str:
        """Return the persona as text for a prompt; the same call gives the same text.

        Views: ``mini``, one or two sentences; ``full``, third person, everything the audience may know;
        ``second_person``, the same as an address ("You are …"); ``statements``, one statement a line; ``spc:<subset>``
        for every non-empty subset of S (social identity), P (personality) and C (personal life context), as in
        ``spc:SP`` (SPeCtrum, Lee et al. 2025, arXiv 2502.08599).

        Args:
            view: one of `VIEWS`.
            budget_tokens: most tokens the text may take, a token counted as four characters: ceil(characters / 4).
                Whole sections go, the least important first (they stand last); no sentence is cut. None: no limit.
            audience: ``self``, ``public`` or an agent's id. Secrets are shown to ``self`` and to the ids in their
                ``visible_to``; the cognitive diagram, the role and implicit preferences to ``self`` alone; masked
                responses to nobody. A persona's own id is ``self``.

        Raises:
            PersonaError: an unknown view, or a budget too small for the first section.
        """
        return render(self, view, budget_tokens, audience)


def _named(stay: Stay) -> str:
    return f"{stay.place!r} {stay.start}–{stay.end} ({stay.days})"

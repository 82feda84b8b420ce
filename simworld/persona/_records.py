"""The records a persona is made of.

Sequences are tuples and records are frozen, so one record may be shared by a million personas. Numbers, flags and text
are strict: ``"34"`` is not an age and ``True`` is not a weight.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Strict, model_validator

from simworld.schema import Record

type Whole = Annotated[int, Strict()]
type Real = Annotated[float, Strict()]
type Flag = Annotated[bool, Strict()]
type Share = Annotated[float, Strict(), Field(ge=0.0, le=1.0)]
type Words = Annotated[str, Field(min_length=1)]
type Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
type ClockOrMidnight = Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]


class Provenance(Record):
    """Where a persona comes from and what may be done with it."""

    source: Words
    """Who or what made it."""
    license: str = ""
    """Licence text or identifier; empty when none is stated."""
    rights: Literal["pd", "open", "research", "private"]
    """Public domain, open, research only, or private. No default: whoever makes a persona must say."""
    generator: str | None = None
    """Program or model that wrote it."""
    seed: Whole | None = None
    """Seed of the generator."""
    created: str | None = None
    """Date as text, supplied by whoever made it; never the wall clock."""
    real_person: Flag = False
    """True when it describes a living or historical individual."""
    consent: str | None = None
    """How the real person agreed; required text when `real_person`."""

    @model_validator(mode="after")
    def _consent_for_real_people(self) -> Self:
        if self.real_person and not (self.consent or "").strip():
            raise ValueError("'consent' must say how the person agreed, because 'real_person' is true")
        return self


class TraitScore(Record):
    """One score on one trait by one instrument or rater; several raters are several rows, never averaged here."""

    model: Literal["big5", "hexaco", "sd3", "mbti", "pvq", "mft", "custom"]
    """Trait model the score belongs to."""
    trait: Words
    """Trait name (``"openness"``) or its letter (``"O"``)."""
    facet: str | None = None
    """Facet below the trait; null for the whole trait."""
    value: Real | None = None
    """The score, in [`lo`, `hi`]; null when only `level` or `text` is known."""
    lo: Real = 1.0
    """Lowest score of the scale."""
    hi: Real = 5.0
    """Highest score of the scale."""
    sd: Annotated[float, Strict(), Field(ge=0.0)] | None = None
    """Standard deviation of the score, in its own units."""
    level: str | None = None
    """Level in words (``"high"``)."""
    text: str | None = None
    """The trait in words."""
    source: Annotated[str, Field(pattern=r"^(assigned|survey|llm:.+|rater:.+)$")] = "assigned"
    """``assigned``, ``survey``, ``llm:<model>`` or ``rater:<id>``."""
    evidence: tuple[str, ...] = ()
    """What the score rests on."""

    @model_validator(mode="after")
    def _value_in_range(self) -> Self:
        if not self.lo < self.hi:
            raise ValueError(f"'lo' must be below 'hi', got lo {self.lo!r} and hi {self.hi!r}")
        if self.value is not None and not self.lo <= self.value <= self.hi:
            raise ValueError(f"'value' {self.value!r} is outside the scale from {self.lo!r} to {self.hi!r}")
        return self


class Politics(Record):
    """Political position."""

    party: str | None = None
    """Party."""
    ideology: str | None = None
    """Ideology in words (``"slightly liberal"``)."""
    scale: Annotated[int, Strict(), Field(ge=1, le=7)] | None = None
    """Self-placement from 1, extremely liberal, to 7, extremely conservative."""


class Demographics(Record):
    """Who a persona is to a census; everything is optional."""

    age: Annotated[int, Strict(), Field(ge=0, le=130)] | None = None
    """Age in years."""
    birth_year: Whole | None = None
    """Calendar year of birth."""
    sex: str | None = None
    """Sex."""
    gender: str | None = None
    """Gender, when it is to be said apart from sex."""
    orientation: str | None = None
    """Sexual orientation."""
    ethnicity: tuple[str, ...] = ()
    """Ethnic groups."""
    race: tuple[str, ...] = ()
    """Races, as the source names them."""
    nationality: tuple[str, ...] = ()
    """Nationalities."""
    languages: tuple[str, ...] = ()
    """Languages spoken."""
    country: str | None = None
    """Country of residence."""
    region: str | None = None
    """State, province or county of residence."""
    city: str | None = None
    """Town of residence."""
    urbanicity: str | None = None
    """Kind of place (``"city"``, ``"suburb"``, ``"countryside"``)."""
    education: str | None = None
    """Highest education."""
    field_of_study: str | None = None
    """Subject studied."""
    employment: str | None = None
    """Employment status."""
    income: Annotated[float, Strict(), Field(ge=0.0)] | None = None
    """Yearly income, in the currency of the source."""
    income_band: str | None = None
    """Income in bands."""
    wealth_band: str | None = None
    """Wealth in bands."""
    class_self: str | None = None
    """Social class as the person sees it."""
    marital: str | None = None
    """Marital status."""
    household: str | None = None
    """Who lives in the household."""
    children: Annotated[int, Strict(), Field(ge=0)] | None = None
    """Number of children."""
    religion: str | None = None
    """Religion."""
    disability: str | None = None
    """Disability."""
    citizenship: str | None = None
    """Citizenship, where it differs from nationality or is double."""
    military: str | None = None
    """Military service."""
    politics: Politics | None = None
    """Political position."""

    def stated(self) -> bool:
        """Return True when at least one field says something."""
        return any(value not in (None, ()) for value in self.__dict__.values())


class Occupation(Record):
    """What a persona does for a living."""

    title: Words
    """Job title."""
    organization: str | None = None
    """Employer."""
    description: str | None = None
    """What the work is."""
    skills: tuple[str, ...] = ()
    """Skills it needs."""
    seniority: str | None = None
    """Rank."""


class Preference(Record):
    """A like, a dislike or an indifference, held for some span of steps."""

    topic: Words
    """What it is about, in one or two words."""
    text: str = ""
    """The preference in a sentence; empty when the topic says all."""
    polarity: Annotated[int, Strict(), Field(ge=-1, le=1)] = 1
    """+1 likes, −1 dislikes, 0 is indifferent."""
    strength: Annotated[float, Strict(), Field(ge=0.0)] = 1.0
    """How strong, relative to the persona's other preferences."""
    implicit: Flag = False
    """True when the persona would not say so; shown to nobody but itself."""
    valid_from: Annotated[int, Strict(), Field(ge=0)] = 0
    """First step at which it holds."""
    valid_to: Whole | None = None
    """First step at which it no longer holds; null for ever."""

    @model_validator(mode="after")
    def _span(self) -> Self:
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError(f"'valid_to' {self.valid_to!r} must be later than 'valid_from' {self.valid_from!r}")
        return self


class Stay(Record):
    """One block of a usual day: where a persona is from when to when, and what it does there."""

    start: Clock
    """Start, 24-hour ``HH:MM``, from ``00:00`` to ``23:59``."""
    end: ClockOrMidnight
    """End, ``HH:MM`` on the same day and later than `start`; the stay is over by then. ``24:00`` is midnight."""
    place: Words
    """Where. Two stays are at the same place when their texts are equal."""
    activity: Words
    """What it does there, as a verb in the third person (``"opens the café"``)."""
    days: Literal["every day", "workday", "weekend"] = "every day"
    """Kind of day it holds for."""

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        # Texts of one width with leading zeros: their order is the order of the clock.
        if self.end <= self.start:
            raise ValueError(
                f"'end' {self.end!r} must be later than 'start' {self.start!r}; split a stay over midnight in two"
            )
        return self

    def overlaps(self, other: Stay) -> bool:
        """Return True when some minute of some day belongs to both; a stay may start when the other ends."""
        same_day = self.days == other.days or "every day" in (self.days, other.days)
        return same_day and self.start < other.end and other.start < self.end


class Style(Record):
    """How a persona speaks."""

    tone: str | None = None
    """Tone (``"dry"``)."""
    formality: Real | None = None
    """Formality, on the scale of whoever set it."""
    verbosity: Real | None = None
    """Verbosity, on the scale of whoever set it."""
    humor: Real | None = None
    """Humour, on the scale of whoever set it."""
    vector: Annotated[tuple[Real, ...], Field(min_length=8, max_length=8)] | None = None
    """Eight-dimensional style vector for adaptive style."""
    examples: tuple[str, ...] = ()
    """Things the persona would say."""
    dialect: str | None = None
    """Dialect."""
    barrier: dict[str, str] = Field(default_factory=dict)
    """Communication barriers by kind (``{"hearing": "misses soft speech"}``)."""


class QA(Record):
    """One question of an interview and its answer."""

    question: Words
    """The question."""
    answer: str
    """The answer, as given."""
    qid: str | None = None
    """Question id in its source."""
    qtype: str | None = None
    """Question type in its source."""
    options: tuple[str, ...] = ()
    """Options that were offered."""
    wave: Whole | None = None
    """Wave of a panel."""


class LifeEvent(Record):
    """Something that happened before the run; becomes a formative memory."""

    text: Words
    """What happened."""
    age: Annotated[int, Strict(), Field(ge=0, le=130)] | None = None
    """Age at which it happened, in years."""
    date: str | None = None
    """Date as text."""
    importance: Share = 0.5
    """From 0, forgettable, to 1, life-changing."""


class Backstory(Record):
    """What a persona has lived through."""

    narrative: str | None = None
    """The life in prose."""
    interview: tuple[QA, ...] = ()
    """Interview about the life."""
    events: tuple[LifeEvent, ...] = ()
    """Dated events."""
    essays: dict[str, str] = Field(default_factory=dict)
    """Essays by title (``"weekday"``, ``"weekend"``)."""


class Relation(Record):
    """A tie to another persona: a seed of the social graph."""

    target: Words
    """Id of the other persona."""
    kind: Words = "other"
    """Kind of tie (``"friend"``, ``"sister"``, ``"colleague"``)."""
    description: str = ""
    """The tie in words."""
    trust: Share | None = None
    """Trust in the other, from 0 to 1."""
    closeness: Share | None = None
    """Closeness, from 0 to 1."""


class Situation(Record):
    """One situation of a cognitive diagram."""

    situation: Words
    """What happens."""
    automatic_thoughts: str
    """What comes to mind."""
    emotions: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    """At most three emotions."""
    behavior: str
    """What the persona then does."""


class CognitiveDiagram(Record):
    """Clinical conceptualisation of a persona; shown to nobody but itself."""

    history: str | None = None
    """Relevant life history."""
    core_category: tuple[Literal["helpless", "unlovable", "worthless"], ...] = ()
    """Categories of the core beliefs."""
    core_beliefs: tuple[str, ...] = ()
    """Core beliefs."""
    intermediate: str | None = None
    """Intermediate beliefs."""
    intermediate_activated: str | None = None
    """Intermediate beliefs when the core beliefs are active."""
    coping: str | None = None
    """Coping strategies."""
    situations: tuple[Situation, ...] = ()
    """Situations with thoughts, emotions and behaviour."""
    conversational_style: Literal["plain", "upset", "verbose", "reserved", "tangent", "pleasing"] = "plain"
    """How the persona talks in a session."""


class SurveyResponse(Record):
    """One answer to one survey item."""

    instrument: Words
    """Questionnaire."""
    item: Words
    """Item id."""
    value: Whole | Real | str | tuple[Whole | Real | str, ...]
    """The answer."""
    wave: Whole = 1
    """Wave of the panel."""
    masked: Flag = False
    """True for a held-out answer: never rendered for anybody."""


class Secret(Record):
    """A private fact."""

    text: Words
    """The fact."""
    domain: str = "personal"
    """Area of life."""
    sensitivity: Annotated[int, Strict(), Field(ge=1, le=5)] = 3
    """From 1, mild, to 5, grave."""
    abstractions: tuple[str, ...] = ()
    """Vaguer forms the persona would let others have."""
    visible_to: tuple[str, ...] = ()
    """Ids of those who know."""


class Media(Record):
    """Slots of a catalogue, for the replay viewer only."""

    voice_id: str | None = None
    """Voice."""
    avatar_ref: str | None = None
    """Picture."""

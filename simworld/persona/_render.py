"""Personas as prompt text: views, audiences and budgets.

A view is a list of sections, the most important first. A budget drops sections from the end until the rest fits, so a
smaller budget always gives a prefix of a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simworld.errors import PersonaError, did_you_mean

if TYPE_CHECKING:
    from simworld.persona._persona import Persona
    from simworld.persona._records import Preference, Stay, SurveyResponse, TraitScore

SELF = "self"
PUBLIC = "public"

BACKGROUND = "background"

VIEWS = (
    "mini",
    "full",
    "second_person",
    "statements",
    "spc:S",
    "spc:P",
    "spc:C",
    "spc:SP",
    "spc:SC",
    "spc:PC",
    "spc:SPC",
)

CHARS_PER_TOKEN = 4
"""Characters counted as one token: the usual rule of thumb for English; arbitrary, exact for no tokenizer."""

MINI_TOPICS = 5
"""Likes named in the mini view; arbitrary, the most a sampled persona has."""

SPC_TOPICS = 5
"""Loves and hates in the C part: five of each (Lee et al. 2025, arXiv 2502.08599)."""

IDEOLOGY_WORDS = (
    "extremely liberal",
    "liberal",
    "slightly liberal",
    "moderate",
    "slightly conservative",
    "conservative",
    "extremely conservative",
)
"""Words for the 1–7 self-placement, after the seven points of the American National Election Studies."""


@dataclass(frozen=True, slots=True)
class _Voice:
    """How a sentence speaks of the persona: its name, the pronoun after that, and the verb forms that follow."""

    name: str
    again: str
    poss: str
    name_plural: bool
    plural: bool

    def verb(self, singular: str, plural: str) -> str:
        return plural if self.plural else singular


def render(persona: Persona, view: str, budget_tokens: int | None, audience: str) -> str:
    """Return the text of one view; see `Persona.render`."""
    if view not in VIEWS:
        raise PersonaError(f"no view {view!r} of a persona{did_you_mean(view, VIEWS)}; views: {', '.join(VIEWS)}")
    private = audience in {SELF, persona.id}
    if view == "mini":
        sections, glue = list(_mini(persona, _third_person(persona))), " "
    elif view.startswith("spc:"):
        sections, glue = list(_spc(persona, view.removeprefix("spc:"))), "\n"
    elif view == "statements":
        sections, glue = list(_statements(persona, private, audience)), "\n"
    else:
        voice = _second_person() if view == "second_person" else _third_person(persona)
        sections, glue = list(_prose(persona, voice, private, audience)), "\n"
    return _within(persona, view, sections, glue, budget_tokens)


def count_tokens(text: str) -> int:
    """Return the approximate number of tokens: ceil(characters / 4)."""
    return -(-len(text) // CHARS_PER_TOKEN)


def persona_text(persona: Persona) -> str:
    """Return what a persona cares about, for measuring how alike two personas or a persona and a post are.

    The liked topics and the political position in one or two plain sentences, without name, age or place, which would
    make strangers alike. A persona that states neither gives its mini view.
    """
    parts = []
    topics = _liked_topics(persona, MINI_TOPICS)
    if topics:
        parts.append(f"Likes {_listed(topics)}.")
    politics = _politics(persona)
    if politics:
        parts.append(f"Politically {politics}.")
    return " ".join(parts) or render(persona, "mini", None, PUBLIC)


def _within(persona: Persona, view: str, sections: list[str], glue: str, budget_tokens: int | None) -> str:
    text = glue.join(sections)
    if budget_tokens is None:
        return text
    while len(sections) > 1 and count_tokens(text) > budget_tokens:
        sections.pop()
        text = glue.join(sections)
    if count_tokens(text) > budget_tokens:
        raise PersonaError(
            f"view {view!r} of persona {persona.id!r} does not fit budget_tokens={budget_tokens!r}: "
            f"its first section takes {count_tokens(text)} tokens; give at least that many"
        )
    return text


# --- voices and words ---


def _gender(persona: Persona) -> str:
    return (persona.demographics.gender or persona.demographics.sex or "").strip().lower()


_FEMALE = frozenset({"female", "woman", "girl", "f"})
_MALE = frozenset({"male", "man", "boy", "m"})


def _third_person(persona: Persona) -> _Voice:
    gender = _gender(persona)
    if gender in _FEMALE:
        return _Voice(persona.name, "She", "Her", name_plural=False, plural=False)
    if gender in _MALE:
        return _Voice(persona.name, "He", "His", name_plural=False, plural=False)
    return _Voice(persona.name, "They", "Their", name_plural=False, plural=True)


def _second_person() -> _Voice:
    return _Voice("You", "You", "Your", name_plural=True, plural=True)


def _noun(persona: Persona) -> str:
    gender, age = _gender(persona), persona.demographics.age
    young = age is not None and age < 18
    if gender in _FEMALE:
        return "girl" if young else "woman"
    if gender in _MALE:
        return "boy" if young else "man"
    return f"{gender} person" if gender else "person"


def _article(phrase: str) -> str:
    # 8, 11, 18 and 80–89 are spoken with a vowel first.
    number = "".join(c for c in phrase.split("-", maxsplit=1)[0] if c.isdigit())
    if number:
        vowel = number in {"8", "11", "18"} or (len(number) == 2 and number[0] == "8")
    else:
        vowel = phrase[:1].lower() in "aeiou"
    return f"{'an' if vowel else 'a'} {phrase}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _ended(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _bare(text: str) -> str:
    return text.strip().removesuffix(".")


# --- facts ---


def _residence(persona: Persona) -> str:
    place = persona.demographics
    return ", ".join(part for part in (place.city, place.region, place.country) if part)


def _politics(persona: Persona) -> str:
    politics = persona.demographics.politics
    if politics is None:
        return ""
    words = politics.ideology or (IDEOLOGY_WORDS[politics.scale - 1] if politics.scale is not None else "")
    party = f"close to {politics.party}" if politics.party else ""
    return ", ".join(part for part in (words, party) if part)


def _held(persona: Persona, polarity: int) -> list[Preference]:
    """Return the spoken preferences of this sign that hold at step 0, the strongest first, else in the order given."""
    held = [
        p for p in persona.preferences if p.polarity == polarity and not p.implicit and p.valid_from == 0
    ]  # a span always ends after it starts, so it holds at step 0 exactly when it starts there
    return sorted(held, key=lambda p: -p.strength)


def _liked_topics(persona: Persona, at_most: int) -> list[str]:
    return [p.topic for p in _held(persona, 1)[:at_most]]


def _score(score: TraitScore) -> str:
    name = f"{score.trait} ({score.facet})" if score.facet else score.trait
    parts = []
    if score.value is not None:
        parts.append(f"{score.value:g} on a scale from {score.lo:g} to {score.hi:g}")
    parts += [text for text in (score.level, score.text) if text]
    rater = f" [{score.source}]" if score.source != "assigned" else ""
    return f"{name} {', '.join(_bare(p) for p in parts)}{rater}".strip()


def _preference(preference: Preference) -> str:
    text = _bare(preference.text) or preference.topic
    if preference.valid_from or preference.valid_to is not None:
        end = "" if preference.valid_to is None else f" to before step {preference.valid_to}"
        text += f" (from step {preference.valid_from}{end})"
    return text


def _social(persona: Persona) -> Iterator[tuple[str, str]]:
    """Yield label and value of every stated demographic field beside name, age, gender, place and politics."""
    d = persona.demographics
    rows: list[tuple[str, object]] = [
        ("birth year", d.birth_year),
        ("orientation", d.orientation),
        ("ethnicity", d.ethnicity),
        ("race", d.race),
        ("nationality", d.nationality),
        ("citizenship", d.citizenship),
        ("languages", d.languages),
        ("surroundings", d.urbanicity),
        ("education", d.education),
        ("field of study", d.field_of_study),
        ("employment", d.employment),
        ("yearly income", d.income),
        ("income band", d.income_band),
        ("wealth band", d.wealth_band),
        ("class", d.class_self),
        ("marital status", d.marital),
        ("household", d.household),
        ("children", d.children),
        ("religion", d.religion),
        ("disability", d.disability),
        ("military service", d.military),
    ]
    for label, value in rows:
        if isinstance(value, tuple):
            if value:
                yield label, _listed(value)
        elif value is not None:
            yield label, f"{value:.12g}" if isinstance(value, float) else str(value)


# --- sentences shared by the views ---


def _identity(persona: Persona, voice: _Voice) -> str:
    be = "are" if voice.name_plural else "is"
    who = f"You are {persona.name}," if voice.name_plural else f"{voice.name} {be}"
    age = persona.demographics.age
    noun = _noun(persona)
    described = f"{age}-year-old {noun}" if age is not None else noun
    place = _residence(persona)
    return f"{who} {_article(described)}{f' from {place}' if place else ''}."


def _work(persona: Persona, voice: _Voice) -> str:
    job = persona.occupation
    if job is None:
        return ""
    at = f" at {job.organization}" if job.organization else ""
    if (persona.demographics.employment or "").strip().lower() == "retired":
        return f"{voice.again} used to work as {_article(job.title)}{at}."
    return f"{voice.again} {voice.verb('works', 'work')} as {_article(job.title)}{at}."


def _likes(persona: Persona, voice: _Voice) -> str:
    topics = _liked_topics(persona, MINI_TOPICS)
    return f"{voice.again} {voice.verb('likes', 'like')} {_listed(topics)}." if topics else ""


def _leaning(persona: Persona, voice: _Voice) -> str:
    politics = _politics(persona)
    return f"Politically {voice.again.lower()} {voice.verb('is', 'are')} {politics}." if politics else ""


def _mini(persona: Persona, voice: _Voice) -> Iterator[str]:
    yield _identity(persona, voice)
    yield from filter(None, (_likes(persona, voice), _leaning(persona, voice), _work(persona, voice)))


# --- full, second person, statements ---


def _labelled(persona: Persona, private: bool, audience: str) -> Iterator[tuple[str, list[str]]]:
    """Yield label and entries of every section this audience may read, the most important first."""
    for label, entries in _all_labelled(persona, private, audience):
        said = [entry for entry in entries if entry.strip()]
        if said:
            yield label, said


def _all_labelled(persona: Persona, private: bool, audience: str) -> Iterator[tuple[str, list[str]]]:
    job = persona.occupation
    if private and persona.role:
        yield "role", [persona.role]
    yield "traits", [_score(s) for s in persona.traits]
    yield "values", [_score(s) for s in persona.values]
    shown = [p for p in persona.preferences if private or not p.implicit]
    for label, polarity in (("likes", 1), ("dislikes", -1), ("indifference", 0)):
        yield label, [_preference(p) for p in shown if p.polarity == polarity]
    yield "beliefs", list(persona.beliefs)
    yield "goals", list(persona.goals)
    yield "secrets", list(_secrets(persona, private, audience))
    yield "way of speaking", list(_manner(persona))
    if private:
        yield "inner life", list(_diagram(persona))
    yield BACKGROUND, [f"{label}: {value}" for label, value in _social(persona)]
    if job is not None:
        details = (job.seniority, job.description, *job.skills)
        yield "work", [d for d in details if d]
    yield "habits", list(persona.behaviors)
    yield "skills", list(persona.skills)
    yield "routines", [f"{when}: {', '.join(map(_bare, what))}" for when, what in persona.routines.items() if what]
    yield "home", [persona.home] if persona.home else []
    yield "usual day", [_stay(s) for s in persona.schedule]
    yield "ties", [_tie(r.target, r.kind, r.description) for r in persona.relations]
    yield "health", [persona.health] if persona.health else []
    yield "other names", list(persona.aliases)
    yield "other facts", list(persona.facts)
    yield "life events", [_event(e.text, e.age, e.date) for e in persona.backstory.events]
    yield "attributes", [f"{path}: {value}" for path, value in persona.attributes.items()]
    yield "survey answers", [f"{r.instrument} {r.item}: {_answer(r)}" for r in persona.responses if not r.masked]
    yield "interview", [f"{_bare(qa.question)} — {_bare(qa.answer)}" for qa in persona.backstory.interview]
    yield "essays", [f"{title}: {text}" for title, text in persona.backstory.essays.items()]


_DAYS = {"every day": "", "workday": " (workdays)", "weekend": " (weekends)"}


def _stay(stay: Stay) -> str:
    return f"{stay.start}–{stay.end} {_bare(stay.activity)} at {stay.place}{_DAYS[stay.days]}"


def _answer(response: SurveyResponse) -> str:
    value = response.value
    if not isinstance(value, tuple):
        return str(value)
    return _listed([str(part) for part in value]) if value else "nothing"


def _secrets(persona: Persona, private: bool, audience: str) -> Iterator[str]:
    for secret in persona.secrets:
        if private:
            vague = f" (may be hinted at as: {_bare('; '.join(secret.abstractions))})" if secret.abstractions else ""
            yield f"{_bare(secret.text)}{vague}"
        elif audience != PUBLIC and audience in secret.visible_to:
            yield secret.text


def _manner(persona: Persona) -> Iterator[str]:
    style = persona.style
    for label, value in (
        ("tone", style.tone),
        ("dialect", style.dialect),
        ("formality", style.formality),
        ("verbosity", style.verbosity),
        ("humour", style.humor),
    ):
        if value is not None:
            yield f"{label} {value:g}" if isinstance(value, float) else f"{label} {value}"
    yield from (f"{kind}: {what}" for kind, what in style.barrier.items())
    yield from (f"would say “{_bare(example)}”" for example in style.examples)


def _diagram(persona: Persona) -> Iterator[str]:
    diagram = persona.cognitive
    if diagram is None:
        return
    for label, text in (
        ("history", diagram.history),
        ("core beliefs", "; ".join((*diagram.core_category, *diagram.core_beliefs))),
        ("intermediate beliefs", diagram.intermediate),
        ("intermediate beliefs when hurt", diagram.intermediate_activated),
        ("coping", diagram.coping),
    ):
        if text:
            yield f"{label}: {_bare(text)}"
    for s in diagram.situations:
        felt = f" (feeling {_listed(s.emotions)})" if s.emotions else ""
        yield f"when {_bare(s.situation)}: thinks {_bare(s.automatic_thoughts)}{felt}, then {_bare(s.behavior)}"
    yield f"talks in a {diagram.conversational_style} way"


def _tie(target: str, kind: str, description: str) -> str:
    return f"{kind} of {target}{f' ({_bare(description)})' if description else ''}"


def _event(text: str, age: int | None, date: str | None) -> str:
    when = ", ".join(part for part in (f"at {age}" if age is not None else "", date or "") if part)
    return f"{when}: {_bare(text)}" if when else text


def _prose(persona: Persona, voice: _Voice, private: bool, audience: str) -> Iterator[str]:
    opening = (_identity(persona, voice), _work(persona, voice), _leaning(persona, voice))
    yield " ".join(filter(None, opening))
    for label, entries in _labelled(persona, private, audience):
        yield f"{voice.poss} {label}: {_ended('; '.join(map(_bare, entries)))}"
    if persona.backstory.narrative:
        yield _ended(persona.backstory.narrative)


def _statements(persona: Persona, private: bool, audience: str) -> Iterator[str]:
    voice = _third_person(persona)
    named = _Voice(persona.name, persona.name, f"{persona.name}'s", name_plural=False, plural=False)
    yield _identity(persona, voice)
    yield from filter(None, (_work(persona, named), _statement_of_politics(persona)))
    for label, entries in _labelled(persona, private, audience):
        # A background entry brings its own label: "Ada's education: …".
        prefix = named.poss if label == BACKGROUND else f"{named.poss} {label}:"
        yield from (f"{prefix} {_ended(entry)}" for entry in entries)
    if persona.backstory.narrative:
        yield _ended(persona.backstory.narrative)


def _statement_of_politics(persona: Persona) -> str:
    politics = _politics(persona)
    return f"{persona.name} is politically {politics}." if politics else ""


# --- SPeCtrum ---


def _spc(persona: Persona, subset: str) -> Iterator[str]:
    if "S" in subset:
        yield from _lines(_social_identity(persona))
    if "P" in subset:
        yield from _lines(("trait", _score(s)) for s in persona.traits)
        yield from _lines(("value", _score(s)) for s in persona.values)
    if "C" in subset:
        yield from _lines((f"{title} essay", text) for title, text in persona.backstory.essays.items())
        for label, polarity in (("loves", 1), ("hates", -1)):
            held = [_bare(p.text) or p.topic for p in _held(persona, polarity)[:SPC_TOPICS]]
            if held:
                yield from _lines([(label, "; ".join(held))])


def _social_identity(persona: Persona) -> Iterator[tuple[str, str]]:
    d = persona.demographics
    if d.age is not None:
        yield "age", str(d.age)
    for label, value in (("sex", d.sex), ("gender", d.gender), ("residence", _residence(persona))):
        if value:
            yield label, value
    yield from _social(persona)
    if persona.occupation is not None:
        yield "occupation", persona.occupation.title
    if politics := _politics(persona):
        yield "politics", politics
    for path, fact in persona.attributes.items():
        if path.startswith("spectrum."):
            yield path.removeprefix("spectrum."), str(fact)


def _lines(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for label, value in rows:
        yield f"{label[:1].upper()}{label[1:]}: {_ended(value)}"

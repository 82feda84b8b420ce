"""Prompts: templates beside the scenario, filled with what an agent is and sees, the part that all share first.

A decision ``Act`` is rendered by ``prompts/Act.md`` beside the module that defines it: two blocks, ``question`` (the
same for everybody) and ``observation`` (the agent's own). ``prompts/world.md`` says what everybody knows of the
society. What is missing there is rendered by the files of this room.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import numpy as np
from pydantic import BaseModel

from simworld.errors import ScenarioError
from simworld.mind import Question
from simworld.mind.llm import AnswerSchema, Prompt
from simworld.persona import Persona
from simworld.schema import Decision

OWN = Path(__file__).with_name("prompts")
VIEWS = {"full": "second_person", "summary": "mini", "traits": "spc:P"}
"""View of a persona by how much of it a prompt shows."""
LONGEST = 2_000
"""Characters of one quotation; arbitrary, no agent's words should fill another one's prompt."""
_BROKEN = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What a template can raise when it is filled."""
_HIDDEN = re.compile(r"\{#-?\s*hidden:\s*([\w\s,]+?)\s*-?#\}")


def quote(value: Any) -> str:
    """Return somebody's words in quotation marks on one line: visibly data, whatever they say."""
    text = " ".join(str(value).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    quoted = json.dumps(text, ensure_ascii=False)
    if quoted.isascii():
        return quoted
    # What turns the direction of writing round, or cannot be seen, could make words look like somebody else's.
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) == "Cf" else c for c in quoted)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False, cache_size=0
    )  # fmt: skip
    environment.filters["quote"] = quote
    environment.filters["as_text"] = as_text
    return environment


class PromptBook:
    """The prompts of one society under its parameters, which may change; every file is read once."""

    def __init__(self, params: Any = None, card: str = "full", home: Path | None = None) -> None:
        """
        Args:
            params: the scenario's parameters, for templates as ``params``.
            card: how much of the persona is shown: ``full``, ``summary``, ``traits``, ``none``.
            home: the scenario's own prompts, which stand before those of a decision from elsewhere.
        """
        self._home = home
        self.params = params
        self._card = card
        self._environment = _environment()
        self.files: dict[str, str] = {}
        """sha256 of every file used so far, by name."""
        self._templates: dict[Path, jinja2.Template] = {}
        self._cards: dict[int, tuple[Persona, str]] = {}
        self._checked: set[tuple[Path, tuple[str, ...]]] = set()

    def render(self, question: Question, schema: AnswerSchema) -> list[Prompt]:
        """Return one prompt an agent asked, in the order asked.

        Raises:
            ScenarioError: a template is broken, names what an agent does not see, or drops what it does.
        """
        decision = question.decision
        file = self._file(decision, f"{decision.__name__}.md", "decision.md")
        template = self._template(file)
        shared = {"params": self.params, "step": question.step}
        fixed = {
            **shared, "decision": decision.__name__, "doc": _sentence(decision), "fields": _fields(decision),
            "schema": schema.text,
        }  # fmt: skip
        world = self._filled(self._file(decision, "world.md", "world.md"), {"params": self.params})
        asked = self._block(file, template, "question", {**fixed, "world": world})
        system = self._filled(OWN / "system.md", {"world": world, "question": asked, "schema": schema.text})
        prompts: list[Prompt] = []
        people = question.personas()
        memories: Sequence[Any] = [None] * len(question.ids) if question.memories is None else question.memories
        each = zip(question.ids.tolist(), question.observations(), people, memories, strict=True)
        for agent, view, persona, memory in each:
            seen = _shown(view)
            self._check(file, template, tuple(seen))
            # What the agent sees goes by its own names, which may be any; the default template asks for all of it.
            named = {} if file.parent == OWN else seen
            values = {**fixed, "agent": agent, "seen": seen, **named}
            observation = self._block(file, template, "observation", values)
            parts = {
                "card": self._persona(agent, persona), "agent": agent, "step": question.step,
                "core": getattr(memory, "core", ()), "recalled": () if memory is None else tuple(memory),
                "observation": observation,
            }  # fmt: skip
            prompts.append(Prompt(system, self._filled(OWN / "user.md", parts)))
        return prompts

    def again(self, fault: str) -> str:
        """Return what a model is told whose answer could not be used."""
        return self._filled(OWN / "again.md", {"fault": fault})

    def _persona(self, agent: int, persona: Persona | None) -> str:
        if persona is None or self._card == "none":
            return ""
        kept = self._cards.get(agent)
        if kept is None or kept[0] is not persona:
            kept = self._cards[agent] = persona, persona.render(VIEWS[self._card], audience="self")
        return kept[1]

    def _file(self, decision: type[Decision], name: str, fallback: str) -> Path:
        for place in (self._home, prompts_of(decision)):
            if place is not None and (place / name).is_file():
                return place / name
        return OWN / fallback

    def _template(self, file: Path) -> jinja2.Template:
        if file not in self._templates:
            try:
                text = file.read_text("utf-8")
                self._templates[file] = self._environment.from_string(text)
            except (OSError, UnicodeDecodeError) as error:
                raise ScenarioError(f"{file} cannot be read: {error}") from error
            except jinja2.TemplateError as error:
                raise ScenarioError(f"{_place(file, error)}: {error.message}; mend the template") from error
            name = file.name if file.parent == OWN else f"{file.parent.parent.name}/prompts/{file.name}"
            self.files[name] = hashlib.sha256(text.encode()).hexdigest()
        return self._templates[file]

    def _filled(self, file: Path, values: Mapping[str, Any]) -> str:
        try:
            return self._template(file).render(values).strip()
        except _BROKEN as error:
            raise ScenarioError(f"{_place(file, error)}: {error}") from error

    def _block(self, file: Path, template: jinja2.Template, name: str, values: dict[str, Any]) -> str:
        block = template.blocks.get(name)
        if block is None:
            raise ScenarioError(f"{file} has no block {name!r}; write {{% block {name} %}} … {{% endblock %}}")
        try:
            return "".join(block(template.new_context(values))).strip()
        except _BROKEN as error:
            raise ScenarioError(f"{_place(file, error)}: {error}; an agent sees {sorted(values)}") from error

    def _check(self, file: Path, template: jinja2.Template, seen: tuple[str, ...]) -> None:
        """Raise if the template neither shows nor names as hidden something that the agent was meant to see."""
        if (file, seen) in self._checked or file.parent == OWN:
            return
        text = file.read_text("utf-8")
        used = jinja2.meta.find_undeclared_variables(self._environment.parse(text))
        hidden = {name.strip() for found in _HIDDEN.findall(text) for name in found.split(",")}
        dropped = [name for name in seen if name not in used | hidden]
        if dropped and "seen" not in used:
            raise ScenarioError(
                f"{file} drops {dropped}, which the agent is meant to see; show it, or say "
                f"{{# hidden: {', '.join(dropped)} #}}"
            )
        self._checked.add((file, seen))


def _place(file: Path, error: Exception) -> str:
    line = getattr(error, "lineno", None)
    return f"{file}, line {line}" if line else str(file)


def prompts_of(cls: type[Any]) -> Path | None:
    """Return the folder of prompts beside the module that defines a class; None where it has no file."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if file is None else Path(file).parent / "prompts"


def _sentence(decision: type[Decision]) -> str:
    return " ".join((decision.__doc__ or "").split("\n\n")[0].split())


@functools.cache
def _fields(decision: type[Decision]) -> tuple[tuple[str, str], ...]:
    return tuple((name, info.description or "") for name, info in decision.model_fields.items())


def _shown(seen: Any) -> dict[str, Any]:
    """Return an observation as names and values."""
    if isinstance(seen, Mapping):
        return {str(k): v for k, v in seen.items()}
    if isinstance(seen, BaseModel):
        return {name: getattr(seen, name) for name in type(seen).model_fields}
    if dataclasses.is_dataclass(seen) and not isinstance(seen, type):
        return {f.name: getattr(seen, f.name) for f in dataclasses.fields(seen)}
    if isinstance(seen, tuple) and hasattr(seen, "_asdict"):
        return dict(seen._asdict())
    return {} if seen is None else {"observation": seen}


def _in_order(value: Any) -> tuple[int, float, str]:
    """Return what a member of a set is sorted by: numbers by value, then the rest by its text."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, as_text(value))


def as_text(value: Any) -> str:
    """Return any observed value as text for the default template: words quoted, what has parts a part a line.

    Raises:
        ScenarioError: it is nothing that reads the same in every run.
    """
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None:
        return "none"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, set | frozenset):
        value = sorted(value, key=_in_order)
    if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
        return "".join(f"\n  - {as_text(each)}" for each in value) if value else "none"
    shown = _shown(value)
    if shown.get("observation", None) is value:
        raise ScenarioError(
            f"an agent is shown a {type(value).__name__}, which has no text of its own; show numbers, texts, lists, "
            "tuples, dicts or records, or write a prompt for it"
        )
    return ", ".join(f"{name}: {as_text(each)}" for name, each in shown.items()) or "nothing"

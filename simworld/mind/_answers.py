"""Checked answers: decisions or typed refusals, one an agent asked, as objects or as columns."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import annotated_types
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from simworld.mind._question import Question
from simworld.schema import Decision, Refusal

__all__ = ["Answers", "checked", "checked_columns"]

_PLAIN: dict[Any, str] = {bool: "b", int: "iu", float: "fiu"}
"""Field types a column can be checked for without building an object, and the NumPy kinds each takes."""


class Answers(Sequence[Decision | Refusal]):
    """The answers to one question, aligned with ``ids``; iterate for objects, or take a field as a column."""

    def __init__(
        self,
        question: Question,
        items: list[Decision | Refusal] | None = None,
        columns: dict[str, Any] | None = None,
        refusals: Mapping[int, Refusal] | None = None,
    ) -> None:
        if items is not None:
            fits = (question.decision, Refusal)
            wrong = [item for item in items if not isinstance(item, fits)]
            if wrong or len(items) != len(question.ids):
                what = f"a {type(wrong[0]).__name__} is among them" if wrong else f"{len(question.ids)} were asked"
                raise TypeError(f"{len(items)} answers to {question.decision.__name__}, but {what}")
        self.decision = question.decision
        self.ids = question.ids
        self._items = items
        self._columns = columns
        if refusals is None:
            refusals = {i: a for i, a in enumerate(items or ()) if isinstance(a, Refusal)}
        self.refusals: Mapping[int, Refusal] = refusals
        """Refusals by position in ``ids``."""

    def __len__(self) -> int:
        return len(self.ids)

    def _objects(self) -> list[Decision | Refusal]:
        if self._items is None:
            assert self._columns is not None
            names = list(self._columns)
            rows = zip(*(np.asarray(c).tolist() for c in self._columns.values()), strict=True)
            self._items = [
                self.refusals[i] if i in self.refusals else self.decision(**dict(zip(names, row, strict=True)))
                for i, row in enumerate(rows)
            ]
        return self._items

    def __getitem__(self, at: Any) -> Any:
        return self._objects()[at]

    def __iter__(self) -> Iterator[Decision | Refusal]:
        return iter(self._objects())

    def pairs(self) -> Iterator[tuple[int, Decision | Refusal]]:
        """Yield (agent id, answer), in the order asked."""
        return zip(self.ids.tolist(), self._objects(), strict=True)

    @property
    def refused(self) -> npt.NDArray[np.bool_]:
        """True where the answer is a refusal, shape (n,)."""
        mask = np.zeros(len(self.ids), bool)
        mask[list(self.refusals)] = True
        return mask

    def column(self, field: str, *, refused: Any) -> npt.NDArray[Any]:
        """Return one field of every answer, shape (n,).

        Args:
            field: name of a field of the decision.
            refused: what stands for a refusal here; the scenario must say, nothing is assumed.
        """
        if field not in self.decision.model_fields:
            raise KeyError(f"{self.decision.__name__} has no field {field!r}, only {list(self.decision.model_fields)}")
        if self._columns is None:
            values = [refused if isinstance(a, Refusal) else getattr(a, field) for a in self._objects()]
            kind = self.decision.model_fields[field].annotation
            if kind in _PLAIN and values:
                return np.array(values)
            out: npt.NDArray[Any] = np.empty(len(values), kind if kind in _PLAIN else object)  # type: ignore[arg-type]
            out[:] = values
            return out
        column = np.asarray(self._columns[field])
        if self.refusals:
            # The mark keeps its value: -1 among booleans, NaN among whole numbers.
            column = column.astype(np.result_type(column.dtype, np.asarray(refused).dtype))
            column[list(self.refusals)] = refused
        return column


def refusal_of(decision: type[Decision], error: ValidationError) -> Refusal:
    """Return the typed refusal for a validation error: the first field at fault and why."""
    first = error.errors(include_url=False)[0]
    where = " ".join(".".join(str(p) for p in first["loc"]).split())[:100]
    given = first["input"]
    # Objects show addresses and sets an order, which are others in every run.
    got = (
        repr(given)[:200]
        if given is None or isinstance(given, bool | int | float | str)
        else f"a {type(given).__name__}"
    )
    reason = " ".join(f"{first['msg']}, got {got}".split())
    return Refusal(decision=decision.__name__, field=where, reason=reason)


def one(question: Question, answer: Any) -> Decision | Refusal:
    """Check one raw answer against the schema."""
    decision = question.decision
    if isinstance(answer, decision | Refusal):
        return answer
    if isinstance(answer, np.generic):
        answer = answer.item()
    if not isinstance(answer, Mapping):
        names = list(decision.model_fields)
        if len(names) != 1 or isinstance(answer, Decision):
            raise TypeError(
                f"a policy for {decision.__name__} returned {answer!r:.200}; return a {decision.__name__}, "
                f"a dict of {names}, or the bare value when there is one field"
            )
        answer = {names[0]: answer}
    try:
        return decision.model_validate(answer)
    except ValidationError as error:
        return refusal_of(decision, error)


def checked(question: Question, raw: Sequence[Any]) -> Answers:
    """Check raw answers, one an agent asked, against the schema; what does not fit is a refusal."""
    if (plain := _plain_fields(question.decision)) and len(plain) == 1:
        # Bare values of one plain field are checked as a column: no object is built (0.9 µs each) unless asked for.
        ((name, info),) = plain.items()
        if set(map(type, raw)) == {info.annotation}:
            column = np.array(raw)
            if column.dtype.kind == _PLAIN[info.annotation][0]:  # else: beyond 64 bits
                return checked_columns(question, {name: column})
    return Answers(question, [one(question, answer) for answer in raw])


def possible(question: Question, answers: Answers) -> Answers:
    """Turn the answers that the question's own check finds impossible into refusals, whichever mind gave them."""
    if question.check is None:
        return answers
    items = list(answers)
    for at, (agent, item, seen) in enumerate(zip(question.ids.tolist(), items, question.observations(), strict=True)):
        if not isinstance(item, Refusal) and (fault := question.check(agent, item, seen)):
            items[at] = Refusal(decision=question.decision.__name__, field=fault[0], reason=fault[1])
    return Answers(question, items)


@cache
def _plain_fields(decision: type[Decision]) -> dict[str, FieldInfo]:
    """Return the fields when every one is plain and no validator of its own could say more; else nothing."""
    decorators = decision.__pydantic_decorators__
    if decorators.field_validators or decorators.model_validators or decorators.validators:
        return {}
    bounds = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)
    for info in decision.model_fields.values():
        if info.annotation not in _PLAIN or not all(isinstance(m, bounds) for m in info.metadata):
            return {}
    return dict(decision.model_fields)


def checked_columns(question: Question, columns: Mapping[str, Any]) -> Answers:
    """Check answers given as columns, shape (n,) each."""
    decision, n = question.decision, len(question.ids)
    # Copied where it is a view: it may be of a live column of the table.
    arrays = {n: a.copy() if a.base is not None else a for n, a in ((n, np.asarray(c)) for n, c in columns.items())}
    missing = [f for f, info in decision.model_fields.items() if info.is_required() and f not in arrays]
    if missing or set(arrays) - set(decision.model_fields) or any(a.shape != (n,) for a in arrays.values()):
        shapes = {k: v.shape for k, v in arrays.items()}
        raise TypeError(
            f"a vectorised policy for {decision.__name__} returned columns {shapes}; "
            f"return one array of shape ({n},) for each of {list(decision.model_fields)}"
        )
    plain = _plain_fields(decision)
    if not plain or len(arrays) != len(plain):
        rows = zip(*(a.tolist() for a in arrays.values()), strict=True)
        return Answers(question, [one(question, dict(zip(arrays, row, strict=True))) for row in rows])
    refusals: dict[int, Refusal] = {}
    for name, array in arrays.items():
        kind = typing.cast(type, plain[name].annotation)
        if array.dtype.kind not in _PLAIN[kind]:
            raise TypeError(f"column {name!r} of {decision.__name__} must be of {kind.__name__}, got {array.dtype}")
        wrong = np.zeros(n, bool) if array.dtype.kind != "f" else ~np.isfinite(array)
        for bound in plain[name].metadata:
            for attribute, outside in (
                ("ge", np.less),
                ("gt", np.less_equal),
                ("le", np.greater),
                ("lt", np.greater_equal),
            ):
                if (limit := getattr(bound, attribute, None)) is not None:
                    wrong |= outside(array, limit)
        for i in np.flatnonzero(wrong).tolist():
            refused = one(question, {k: v[i].item() for k, v in arrays.items()})
            if isinstance(refused, Refusal):
                refusals[i] = refused
    return Answers(question, columns=arrays, refusals=refusals)

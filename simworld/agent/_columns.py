"""The columns of the state table, read from the annotations of an agent class.

| annotation            | stored as                | read from an agent as |
|-----------------------|--------------------------|-----------------------|
| bool, int, float      | bool, int64, float64     | bool, int, float      |
| numpy scalar type     | that dtype               | bool, int, float      |
| Literal["a", "b"]     | int16 codes              | str                   |
| str                   | object                   | str                   |
"""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from simworld.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One typed column of a state table."""

    name: str
    dtype: np.dtype[Any]
    default: Any
    """Value of a new row, as stored."""
    categories: tuple[str, ...] = ()
    """Labels of a categorical column; the stored value is an index into them."""

    def encode(self, value: Any) -> Any:
        """Return the stored form of a value or an array of values; labels become codes.

        Raises:
            ValueError: a label that is not one of the categories.
        """
        if not self.categories or (isinstance(value, np.ndarray) and value.dtype.kind in "iu"):
            return value
        codes = {label: code for code, label in enumerate(self.categories)}
        try:
            if isinstance(value, str):
                return codes[value]
            if isinstance(value, int | np.integer):
                return value
            return np.array([codes[v] if isinstance(v, str) else v for v in value], self.dtype)
        except KeyError as wrong:
            raise ValueError(
                f"{wrong.args[0]!r} is not one of {list(self.categories)} (column {self.name!r})"
            ) from None

    def decode(self, stored: Any) -> Any:
        """Return the Python value of one stored value."""
        if self.categories:
            return self.categories[stored]
        return stored.item() if isinstance(stored, np.generic) else stored


def declared_columns(cls: type) -> dict[str, ColumnSpec]:
    """Read the columns a class declares itself (not its bases).

    Raises:
        ScenarioError: an annotation that is no column type.
    """
    try:
        annotations = inspect.get_annotations(cls, eval_str=True)
    except NameError as error:
        raise ScenarioError(f"class {cls.__name__!r}: an annotation cannot be resolved ({error})") from error
    return {
        name: _spec(cls, name, annotation)
        for name, annotation in annotations.items()
        if not name.startswith("_") and ClassVar not in (annotation, typing.get_origin(annotation))
    }


def _spec(cls: type, name: str, annotation: Any) -> ColumnSpec:
    given = cls.__dict__.get(name, None)
    if typing.get_origin(annotation) is typing.Literal and all(isinstance(a, str) for a in typing.get_args(annotation)):
        categories = typing.get_args(annotation)
        spec = ColumnSpec(name, np.dtype(np.int16), 0, categories)
        return ColumnSpec(name, spec.dtype, spec.encode(given) if given is not None else 0, categories)
    plain = {bool: (np.bool_, False), int: (np.int64, 0), float: (np.float64, 0.0), str: (object, "")}
    if annotation in plain:
        dtype, zero = plain[annotation]
        return ColumnSpec(name, np.dtype(dtype), zero if given is None else given)
    if isinstance(annotation, type) and issubclass(annotation, np.bool_ | np.integer | np.floating):
        return ColumnSpec(name, np.dtype(annotation), annotation(0 if given is None else given).item())
    raise ScenarioError(
        f"{cls.__name__}.{name}: {annotation!r} is no column type; use bool, int, float, str, a numpy scalar type or "
        "Literal of strings, or start the name with an underscore (underscored attributes are not saved)"
    )

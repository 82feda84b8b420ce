"""The columns of the state table, read from the annotations of an agent class.

| annotation            | stored as                | read from an agent as |
|-----------------------|--------------------------|-----------------------|
| bool, int, float      | bool, int64, float64     | bool, int, float      |
| numpy scalar type     | that dtype               | bool, int, float      |
| Literal["a", "b"]     | int16 codes              | str                   |
| str                   | object                   | str                   |
"""

from __future__ import annotations

import dataclasses
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

    def checked(self, value: Any) -> Any:
        """Return the stored form of one value.

        Raises:
            ValueError: it is not of the column's type; nothing is bent to fit.
        """
        fits = {
            "b": isinstance(value, bool | np.bool_),
            "i": isinstance(value, int | np.integer) and not isinstance(value, bool),
            "f": isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool),
            "O": isinstance(value, str),
        }
        kind = "O" if self.categories else "i" if self.dtype.kind == "u" else self.dtype.kind
        if not fits[kind]:
            what = (
                f"one of {list(self.categories)}"
                if self.categories
                else f"a {self.dtype.name.replace('object', 'str')}"
            )
            raise ValueError(f"column {self.name!r} takes {what}, got {value!r}")
        if kind == "i" and not np.iinfo(self.dtype).min <= value <= np.iinfo(self.dtype).max:
            raise ValueError(f"column {self.name!r} holds {self.dtype.name}, which {value!r} does not fit")
        return self.encode(value) if self.categories else value

    def encode(self, value: Any) -> Any:
        """Return the stored form of a value or an array of values; labels become codes.

        Raises:
            ValueError: a label that is not one of the categories.
        """
        if not self.categories:
            return value
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
            if value.size and not (value.min() >= 0 and value.max() < len(self.categories)):
                raise ValueError(f"column {self.name!r} has the codes 0 to {len(self.categories) - 1}, got {value!r}")
            return value
        codes = {label: code for code, label in enumerate(self.categories)}
        try:
            if isinstance(value, str):
                return codes[value]
            if isinstance(value, int | np.integer):
                return self.encode(np.array([value]))[0]
            return np.array([codes[v] for v in value], self.dtype)
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
    done: dict[str, ColumnSpec] = cls.__dict__.get("columns", {})
    return {
        name: done.get(name) or _spec(cls, name, annotation)
        for name, annotation in annotations.items()
        if not name.startswith("_") and ClassVar not in (annotation, typing.get_origin(annotation))
    }


_NUMBERS = (
    np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.float32, np.float64,
)  # fmt: skip


def _spec(cls: type, name: str, annotation: Any) -> ColumnSpec:
    given = cls.__dict__.get(name, None)
    if typing.get_origin(annotation) is typing.Literal and all(isinstance(a, str) for a in typing.get_args(annotation)):
        spec = ColumnSpec(name, np.dtype(np.int16), 0, typing.get_args(annotation))
    elif annotation in _PLAIN:
        dtype, zero = _PLAIN[annotation]
        spec = ColumnSpec(name, np.dtype(dtype), zero)
    elif isinstance(annotation, type) and issubclass(annotation, _NUMBERS):
        spec = ColumnSpec(name, np.dtype(annotation), annotation(0).item())
    else:
        raise ScenarioError(
            f"{cls.__name__}.{name}: {annotation!r} is no column type; use bool, int, float, str, a numpy scalar type "
            "or Literal of strings, or start the name with an underscore (underscored attributes are not saved)"
        )
    try:
        if given is None:
            return spec
        default = spec.checked(given)
        return dataclasses.replace(spec, default=default if spec.dtype == object else spec.dtype.type(default).item())
    except ValueError as error:
        raise ScenarioError(f"{cls.__name__}.{name}: the default does not fit: {error}") from error


_PLAIN: dict[Any, tuple[Any, Any]] = {
    bool: (np.bool_, False),
    int: (np.int64, 0),
    float: (np.float64, 0.0),
    str: (object, ""),
}

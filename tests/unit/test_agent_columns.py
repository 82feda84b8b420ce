"""Columns: what an annotation stores, what a class may not declare, what a class inherits."""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import simworld as sw
from simworld.agent import ColumnSpec, declared_columns
from simworld.errors import ScenarioError
from simworld.world import Table


class Full(sw.Agent):
    flag: bool = True
    count: int = -3
    balance: float = 2.5
    name: str = "n"
    mood: Literal["calm", "angry", "glad"] = "angry"
    tiny: np.int8 = np.int8(5)
    byte: np.uint8
    single: np.float32 = 0.1  # type: ignore[assignment]
    bit: np.bool_
    bare: float
    first: Literal["x", "y"]
    limit: ClassVar[int] = 7
    _cache: dict[str, int] = {}


@pytest.mark.parametrize(
    ("name", "dtype", "default", "categories"),
    [
        ("flag", np.bool_, True, ()),
        ("count", np.int64, -3, ()),
        ("balance", np.float64, 2.5, ()),
        ("name", object, "n", ()),
        ("mood", np.int16, 1, ("calm", "angry", "glad")),
        ("tiny", np.int8, 5, ()),
        ("byte", np.uint8, 0, ()),
        ("single", np.float32, float(np.float32(0.1)), ()),
        ("bit", np.bool_, False, ()),
        ("bare", np.float64, 0.0, ()),
        ("first", np.int16, 0, ("x", "y")),
    ],
)
def test_what_each_annotation_stores(name: str, dtype: Any, default: Any, categories: tuple[str, ...]) -> None:
    assert Full.columns[name] == ColumnSpec(name, np.dtype(dtype), default, categories)


def test_class_variables_and_underscored_names_are_no_columns() -> None:
    assert not {"limit", "_cache"} & set(Full.columns)
    assert Full.limit == 7


def test_what_is_stored_is_read_back_as_plain_python() -> None:
    table = Table(Full.columns)
    table.append(2, {"mood": ["glad", "calm"], "balance": np.array([1, 2]), "name": ["a", "b"], "count": 4})
    assert table["mood"].tolist() == [2, 0]
    assert table.text("mood").tolist() == ["glad", "calm"]
    assert table["balance"].dtype == np.float64
    for name, spec in Full.columns.items():
        value = spec.decode(table[name][1])
        assert type(value) in (bool, int, float, str), name
    assert Full.columns["mood"].decode(2) == "glad"


@pytest.mark.parametrize(
    "annotation",
    [list, dict, list[int], int | None, Literal[1, 2], Literal["a", 1], complex, np.datetime64, np.ndarray,
     "int | None", Any, object, bytes, np.complex128],
)  # fmt: skip
def test_what_is_no_column_type_is_said_at_class_time(annotation: Any) -> None:
    with pytest.raises(ScenarioError, match=r"Bad\.x: .* is no column type; use bool, int, float, str") as caught:
        type("Bad", (sw.Agent,), {"__annotations__": {"x": annotation}})
    assert "\n" not in str(caught.value)


def test_an_annotation_that_cannot_be_resolved() -> None:
    with pytest.raises(ScenarioError, match=r"class 'Bad': an annotation cannot be resolved .*Nowhere"):
        type("Bad", (sw.Agent,), {"__annotations__": {"x": "Nowhere"}})


TAKEN = ["row", "model", "type", "persona", "remove", "step", "random", "rng", "columns", "agent"]
TAKEN_TOO = ["alive", "id", "unique_id", "pos"]
"""``alive`` is the table's own column, ``id`` the recorded one; Mesa sets ``unique_id`` and ``pos`` on every handle."""


@pytest.mark.parametrize("base", [sw.Agent, sw.Entity])
@pytest.mark.parametrize("name", TAKEN)
def test_names_of_the_engine_are_taken(base: type, name: str) -> None:
    with pytest.raises(ScenarioError, match=rf"Bad\.{name}: the name is taken by the engine; choose another"):
        type("Bad", (base,), {"__annotations__": {name: float}})


@pytest.mark.parametrize(
    ("base", "name"), [(sw.Agent, n) for n in TAKEN_TOO] + [(sw.Entity, "alive"), (sw.Entity, "id")]
)
def test_names_of_the_record_are_taken(base: type, name: str) -> None:
    with pytest.raises(ScenarioError, match="taken by the engine"):
        type("Bad", (base,), {"__annotations__": {name: float}})


def test_a_default_that_is_no_label_is_said_at_class_time() -> None:
    with pytest.raises((ScenarioError, ValueError), match=re.escape("'c' is not one of ['a', 'b']")):
        type("Bad", (sw.Agent,), {"__annotations__": {"x": Literal["a", "b"]}, "x": "c"})


@pytest.mark.parametrize(("annotation", "default"), [(int, 2.5), (int, "a"), (float, "a"), (bool, 7), (str, 3)])
def test_a_default_of_another_type_is_said_at_class_time(annotation: type, default: Any) -> None:
    with pytest.raises(ScenarioError):
        type("Bad", (sw.Agent,), {"__annotations__": {"x": annotation}, "x": default})


# -- inheritance ----------------------------------------------------------------------------------------------------


class Child(Full):
    balance: float = 9.0
    more: int = 1


def test_a_class_inherits_columns_and_may_change_a_default() -> None:
    assert set(Child.columns) == {*Full.columns, "more"}
    assert Child.columns["balance"].default == 9.0
    assert Full.columns["balance"].default == 2.5
    assert list(Child.columns)[: len(Full.columns)] == list(Full.columns)
    assert set(declared_columns(Child)) == {"balance", "more"}


class OnlyMethods(Full):
    def act(self) -> None: ...


def test_a_class_that_declares_nothing_has_its_bases_columns() -> None:
    assert OnlyMethods.columns == Full.columns


def test_agent_itself_has_no_columns() -> None:
    assert sw.Agent.columns == {}
    assert sw.Entity.columns == {}


# -- values ---------------------------------------------------------------------------------------------------------


def test_labels_are_encoded_alone_and_in_arrays() -> None:
    spec = Full.columns["mood"]
    assert spec.encode("glad") == 2
    for labels in (["calm", "glad"], ("calm", "glad"), np.array(["calm", "glad"]), np.array(["calm", "glad"], object)):
        assert spec.encode(labels).tolist() == [0, 2]
        assert spec.encode(labels).dtype == np.int16
    assert spec.encode(np.array([0, 2])).tolist() == [0, 2]
    assert spec.encode([]).tolist() == []
    for wrong in ("sad", ["calm", "sad"], np.array(["sad"])):
        with pytest.raises(ValueError, match=r"'sad'\)? is not one of \['calm', 'angry', 'glad'\] \(column 'mood'\)"):
            spec.encode(wrong)


@pytest.mark.parametrize("code", [3, -1, np.int64(7), np.array([0, 3]), [1, 3]])
def test_a_code_that_stands_for_no_label_is_refused(code: Any) -> None:
    with pytest.raises(ValueError):
        Full.columns["mood"].encode(code)


# -- the table ------------------------------------------------------------------------------------------------------


class Small(sw.Agent):
    x: float = 1.0
    mood: Literal["calm", "angry"] = "calm"
    word: str = ""


def table(n: int = 3) -> Table:
    made = Table(Small.columns)
    made.append(n)
    return made


def test_rows_are_added_with_defaults_or_values() -> None:
    made = table(2)
    assert made.append(3, {"x": np.arange(3.0), "mood": "angry"}) == 2
    assert (len(made), made.n) == (5, 5)
    assert made["x"].tolist() == [1, 1, 0, 1, 2]
    assert made.text("mood").tolist() == ["calm", "calm", "angry", "angry", "angry"]
    assert made["alive"].all()
    assert made.append(0) == 5


def test_a_column_is_a_live_view_until_rows_are_added() -> None:
    made = table()
    made["x"][1] = 7.0
    assert made.columns["x"].tolist() == [1, 7, 1]
    for _ in range(100):
        made.append(1)
    assert made["x"].tolist() == [1, 7, *[1] * 101]


def test_whole_columns_are_set_by_label_or_value() -> None:
    made = table()
    made["mood"] = ["angry", "calm", "angry"]
    made["x"] = 4
    assert made["mood"].tolist() == [1, 0, 1]
    assert made["x"].tolist() == [4, 4, 4]
    with pytest.raises(ScenarioError, match="no column 'y'; there are"):
        _ = made["y"]
    with pytest.raises(ScenarioError, match="no column 'y'"):
        made["y"] = 3


@pytest.mark.parametrize("values", [{"mood": "sad"}, {"x": np.zeros(3)}, {"word": ["a", "b", "c"]}, {"x": "much"}])
def test_rows_that_cannot_be_added_are_not_half_added(values: dict[str, Any]) -> None:
    made = table()
    with pytest.raises((ValueError, ScenarioError)):
        made.append(2, values)
    assert made.n == 3
    assert {len(column) for column in made.columns.values()} == {3}
    made.append(1)
    assert made["x"].tolist() == [1, 1, 1, 1]


def test_changed_finds_what_differs_from_the_last_look() -> None:
    made = table(4)
    assert made.changed().tolist() == [0, 1, 2, 3]
    assert made.changed().tolist() == []
    made["x"][2] = np.nan
    made["word"][0] = "hi"
    assert made.changed().tolist() == [0, 2]
    made["x"][2] = np.nan
    assert made.changed().tolist() == []
    made["x"][1] = 5
    made["x"][1] = 1.0
    assert made.changed().tolist() == []
    made["alive"][3] = False
    made.append(2)
    assert made.changed().tolist() == [3, 4, 5]
    assert made.changed().tolist() == []


def test_what_was_handed_over_does_not_change_afterwards() -> None:
    """Trap: a checkpoint that aliases the live state."""
    made = table()
    rows = made.rows(np.arange(3))
    made["x"][:] = 99
    made["mood"] = "angry"
    made["word"] = "changed"
    assert rows["x"].tolist() == [1, 1, 1]
    assert rows["mood"].tolist() == ["calm"] * 3
    assert rows["word"].tolist() == [""] * 3


def test_restore_is_the_inverse_of_rows_and_does_not_alias() -> None:
    made = table()
    made["x"] = [1.5, np.nan, -0.0]
    made["mood"] = ["angry", "calm", "angry"]
    made["alive"][1] = False
    kept = made.rows(np.arange(3))
    for start in (0, 1, 3, 5):
        again = table(start)
        again.changed()
        again.restore(kept)
        assert again.n == 3
        assert {k: v.tolist() for k, v in again.rows(np.arange(3)).items() if k != "x"} == {
            k: v.tolist() for k, v in kept.items() if k != "x"
        }
        assert again["x"].tobytes() == made["x"].tobytes()
        assert again.changed().tolist() == []
        again["x"][0] = 3
        assert kept["x"][0] == 1.5
        assert again.append(1) == 3
        assert again["x"][3] == 1.0

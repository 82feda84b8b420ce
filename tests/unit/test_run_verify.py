"""Verify runs a run again and says where the first difference is; a failing step says where and how to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
from simworld.errors import RunError, UsageError
from simworld.run import prepare, start_run, verify
from tests.unit.test_run_society import HAMLET, assert_same_run, begin_and_cut, write_hamlet


def test_a_rule_changed_by_one_coefficient_is_found_at_its_first_step_and_row(tmp_path: Path) -> None:
    scenario = write_hamlet(tmp_path)
    run = sw.run(scenario, seed=4, steps=6, out=tmp_path / "run")
    assert HAMLET.count("*= 1.5") == 1
    write_hamlet(tmp_path, HAMLET.replace("*= 1.5", "*= 1.6"))
    outcome = run.verify()
    checks = {c.what: c for c in outcome.checks}
    assert not outcome
    assert checks["files"].ok
    assert checks["content"].ok
    detail = checks["run again"].detail
    # Parcels of worth 1, 1 (step 1) and 3, 3 (step 3), where one is revalued for the first time: 3 times the factor.
    assert detail.startswith("step 3 differs: row ")
    assert "(3, 'valued', -1, -1, 3, 9.8, '', ''), recorded (3, 'valued', -1, -1, 3, 9.5, '', '')" in detail
    assert detail.endswith("(the scenario's files have changed since)")


@pytest.mark.parametrize("before, after, where", [
    ('self.emit("join", agent=new.row)', 'self.emit("joined", agent=new.row)', "of its events"),
    ("one.stock += 1", "one.stock += 2", "of its agents"),
    ('self.graph.strengthen(u, v, 0.5)', 'self.graph.strengthen(u, v, 0.75)', "of its ties"),
    ('"parcels": self.tables["parcels"].n,', '"parcels": self.tables["parcels"].n + 1,', "metric parcels is"),
])  # fmt: skip
def test_what_differs_is_named(tmp_path: Path, before: str, after: str, where: str) -> None:
    assert before in HAMLET
    run = sw.run(write_hamlet(tmp_path), seed=4, steps=3, out=tmp_path / "run")
    write_hamlet(tmp_path, HAMLET.replace(before, after))
    outcome = run.verify()
    assert not outcome
    assert where in str(outcome)


def test_a_comment_more_is_said_and_nothing_else(tmp_path: Path) -> None:
    run = sw.run(write_hamlet(tmp_path), seed=4, steps=2, out=tmp_path / "run")
    write_hamlet(tmp_path, HAMLET + "\n# a remark\n")
    outcome = run.verify()
    assert outcome
    assert "2 steps give the same digest (the scenario's files have changed since)" in str(outcome)


def test_a_scenario_that_is_gone_or_raises_is_the_finding(tmp_path: Path) -> None:
    file = Path(write_hamlet(tmp_path))
    run = sw.run(str(file), seed=4, steps=2, out=tmp_path / "run")
    file.write_text(HAMLET.replace("    def tie(self, t):", "    def tie(self, t):\n        raise KeyError('x')"))
    outcome = run.verify()
    assert "it raises KeyError: 'x'" in str(outcome)
    file.unlink()
    outcome = run.verify()
    assert not outcome
    assert "hamlet.py" in str(outcome)
    assert [c.ok for c in outcome.checks] == [True, True, False]


def test_an_unfinished_run_with_nothing_sealed_yet_verifies(tmp_path: Path) -> None:
    """verify collects the streams from the sealed segments alone, so a run under 50 steps is said not to match."""
    out = begin_and_cut(write_hamlet(tmp_path), tmp_path / "run", 4, seed=4, steps=8)
    outcome = verify(out, again=False)
    assert outcome, str(outcome)


def test_verify_tells_of_its_progress(tmp_path: Path) -> None:
    run = sw.run(write_hamlet(tmp_path), seed=4, steps=3, out=tmp_path / "run")
    told: list[tuple[int, int]] = []
    assert verify(run.path, progress=lambda t, n, metrics: told.append((t, n)))
    assert told == [(1, 3), (2, 3), (3, 3)]


# -- a step that fails ---------------------------------------------------------------------------------------------

BROKEN = HAMLET.replace(
    "    def tie(self, t):",
    "    def tie(self, t):\n        if t == 4:\n            raise ValueError(f'no ties on day {t}')",
)


def test_a_failing_step_says_where_and_the_run_goes_on_when_mended(tmp_path: Path) -> None:
    scenario = write_hamlet(tmp_path, BROKEN)
    line = next(i for i, text in enumerate(BROKEN.splitlines(), 1) if "raise ValueError" in text)
    out = tmp_path / "run"
    with pytest.raises(RunError, match=rf"^step 4 of .*hamlet\.py failed at hamlet\.py:{line}: ") as caught:
        sw.run(scenario, seed=4, steps=7, out=out)
    text = str(caught.value)
    assert "ValueError: no ties on day 4; mend it, then: simworld resume --allow-changed" in text
    assert "\n" not in text
    assert isinstance(caught.value.__cause__, ValueError)
    failed = sw.load_run(out)
    assert (failed.status, failed.steps, failed.digest) == ("failed", 3, None)
    assert failed.manifest["error"] == text
    assert "no ties on day 4" in repr(failed)
    assert sorted(set(failed.events["step"].to_list())) == [1, 2, 3]
    # Not mended: it fails again, in the same place, and keeps what it has.
    with pytest.raises(RunError, match="step 4 of"):
        sw.resume(out)
    assert sw.load_run(out).steps == 3
    # Mended: the files are others, so the user must say so.
    write_hamlet(tmp_path)
    with pytest.raises(UsageError, match=r"have changed since .* began.*--allow-changed"):
        sw.resume(out)
    assert sw.load_run(out).status == "failed"
    mended = sw.resume(out, allow_changed=True)
    assert "resumed after step 3 with changed scenario files" in mended.manifest["notes"]
    assert_same_run(mended, sw.run(scenario, seed=4, steps=7, out=tmp_path / "whole"))


def test_the_note_of_a_mended_run_names_the_step_it_really_went_on_from(tmp_path: Path) -> None:
    scenario = write_hamlet(tmp_path, BROKEN)
    with pytest.raises(RunError):
        sw.run(scenario, seed=4, steps=7, out=tmp_path / "run", state_every=2)
    write_hamlet(tmp_path)
    notes = sw.resume(tmp_path / "run", allow_changed=True).manifest["notes"]
    assert "resumed after step 2 with changed scenario files" in notes


@pytest.mark.parametrize("body, message", [
    ("self.graph.add(0, 0)", "node 0 cannot be tied to itself"),
    pytest.param("self.emit('x', data={'v': float('nan')})", "ValueError"),
    pytest.param("self.emit('x', data={1, 2})", "TypeError"),
    ("self.globals.grain = 'much'", "ValidationError"),
    ("self.nobody", "AttributeError"),
    ("1 / 0", "ZeroDivisionError"),
])  # fmt: skip
def test_whatever_a_step_raises_becomes_one_line_with_a_place(tmp_path: Path, body: str, message: str) -> None:
    """The place is the user's line; where the standard library raises for it, it is said to be in json/encoder.py."""
    text = HAMLET.replace("        t = self.t\n", f"        t = self.t\n        {body}\n", 1)
    with pytest.raises(RunError, match=message) as caught:
        sw.run(write_hamlet(tmp_path, text), steps=2, out=tmp_path / "run")
    assert f"hamlet.py:{text.splitlines().index(f'        {body}') + 1}" in str(caught.value)
    assert sw.load_run(tmp_path / "run").status == "failed"


def test_a_decision_without_a_policy_says_which_step_and_how_to_go_on(tmp_path: Path) -> None:
    """A RunError of the scenario's making passes as it is: no step, no place, no resume."""
    text = HAMLET.replace('"rules": {Walk: walk, Talk: talk}', '"rules": {Walk: walk}')
    with pytest.raises(RunError, match=r"^step 1 of .*hamlet\.py:\d+.*no policy for decision 'Talk'.*simworld resume"):
        sw.run(write_hamlet(tmp_path, text), steps=2, out=tmp_path / "run")


def test_an_error_of_the_callback_is_not_blamed_on_the_scenario(tmp_path: Path) -> None:
    """A broken progress callback is told as a failed step of the scenario, to be mended there."""

    def progress(t: int, n: int, metrics: Mapping[str, Any]) -> None:
        raise ValueError("my own")

    with pytest.raises(Exception, match="my own") as caught:
        sw.run(write_hamlet(tmp_path), steps=2, out=tmp_path / "run", progress=progress)
    assert "hamlet.py failed" not in str(caught.value)


# -- what cannot be recorded is refused where it is said, not fifty steps later ------------------------------------


@pytest.mark.parametrize("body", [
    "self.emit('x', text='\\ud800')",
    "self.emit('x', text=5); self.emit('y', text='five')",
    "self.table.columns['diary'] = self.table._buffers['diary'] = np.full(self.table.n, 5, object)",
    "self.emit_many('x', agent=[2**40])",
    "self.emit_many('x', agent=[1.5])",
])  # fmt: skip
def test_what_cannot_be_recorded_fails_in_its_step(tmp_path: Path, body: str) -> None:
    """A lone surrogate or an int in a text column kills the run at the seal, foreign and for good: the journal holds
    rows that no Parquet file takes. Ids out of range, or not whole, are recorded as other ids."""
    text = HAMLET.replace("        t = self.t\n", f"        t = self.t\n        {body}\n", 1)
    with pytest.raises(RunError, match="step 1 of"):
        sw.run(write_hamlet(tmp_path, text), steps=2, out=tmp_path / "run")


@pytest.mark.parametrize("before, after", [
    ("    visits: np.int32 = 0", "    id: int = 0"),
    pytest.param("    visits: np.int32 = 0", "    visits: np.float16 = 0.0"),
    pytest.param('entities = {"parcels": Parcel}', 'entities = {"parcels": Parcel, "../up": Parcel}'),
])  # fmt: skip
def test_names_and_types_that_a_run_cannot_keep_are_refused_before_it_begins(
    tmp_path: Path, before: str, after: str
) -> None:
    """float16 has no Parquet column; a column ``id`` replaces the ids; an entity's name becomes a file's name."""
    with pytest.raises(UsageError):
        sw.run(write_hamlet(tmp_path, HAMLET.replace(before, after)), steps=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["agents", "events", "ties"])
def test_an_entity_cannot_take_the_name_of_another_stream(tmp_path: Path, name: str) -> None:
    text = HAMLET.replace('entities = {"parcels": Parcel}', f'entities = {{"parcels": Parcel, "{name}": Parcel}}')
    with pytest.raises(UsageError, match=name):
        sw.run(write_hamlet(tmp_path, text), steps=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- wrong calls leave nothing behind ------------------------------------------------------------------------------


@pytest.mark.parametrize("call, message", [
    ({"seed": -1}, "seed = -1"), ({"seed": 1.5}, r"seed = 1\.5"), ({"seed": True}, "seed = True"),
    ({"seed": 2**63}, "seed = 9223372036854775808"), ({"seed": "7"}, "seed = '7'"),
    ({"steps": -1}, "steps = -1"), ({"steps": 2.0}, r"steps = 2\.0"), ({"state_every": -2}, "state_every = -2"),
    ({"rate": 7}, "rate = 7"), ({"raet": 0.5}, "did you mean 'rate'"), ({"mind": "ruls"}, "did you mean 'rules'"),
    ({"observers": ["densty"]}, "did you mean 'density'"), ({"graph": "karat"}, "karat"),
    ({"cast": "nobody"}, "nobody"),
])  # fmt: skip
def test_a_wrong_call_is_one_line_and_no_folder(tmp_path: Path, call: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        sw.run(write_hamlet(tmp_path), out=tmp_path / "run", **call)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"the output folder .* exists; name another or remove it first"):
        sw.run(write_hamlet(tmp_path), steps=1, out=tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_folder_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make the run folder"):
        sw.run(write_hamlet(tmp_path), steps=1, out=tmp_path / "file" / "run")


def test_a_parameter_json_cannot_hold_leaves_no_folder(tmp_path: Path) -> None:
    """The plan is written after the folder is made; what cannot be written leaves it half-made."""
    (tmp_path / "plain.py").write_text(
        "import mesa\n\n\nclass Plain(mesa.Model):\n"
        "    def __init__(self, thing=None, rng=None):\n        super().__init__(rng=rng)\n"
    )
    with pytest.raises(UsageError, match="thing"):
        sw.run(str(tmp_path / "plain.py"), steps=1, out=tmp_path / "run", thing=object())
    assert not (tmp_path / "run").exists()


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scenarios").mkdir()
    write_hamlet(tmp_path / "scenarios")
    monkeypatch.chdir(tmp_path)
    prepared = prepare("hamlet", steps=0)
    paths = {start_run(prepared) for _ in range(3)}
    assert len(paths) == 3
    assert all(p.parent == tmp_path / "runs" and "_hamlet_" in p.name for p in paths)

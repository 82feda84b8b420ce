"""A disk that is full, read-only or gone: an error that names the file, nothing lost, and a resume that ends right."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import simworld as sw
import simworld.run._store as store
from simworld.errors import StorageError, UsageError
from simworld.run import Run, export
from tests.unit.test_run_society import assert_same_run, begin_and_cut, cut_at, finished_by, spawn, write_hamlet

type Disk = Callable[[str], Path]


def mounted(*args: str) -> bool:
    return subprocess.run(["mount", *args], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes a small disk of its own in memory, where that is permitted."""
    made: list[Path] = []

    def make(size: str) -> Path:
        place = tmp_path / f"disk{len(made)}"
        place.mkdir()
        if not mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)):
            pytest.skip("mounting a small disk is not permitted here")
        made.append(place)
        return place

    yield make
    for place in made:
        subprocess.run(["umount", "-l", str(place)], capture_output=True, check=True)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_hamlet(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def undisturbed(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(scenario, seed=1, steps=12, out=tmp_path_factory.mktemp("whole") / "run")


def fill(disk: Path, leave: int) -> Path:
    """Leave so many bytes free."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    os.truncate(ballast, max(0, ballast.stat().st_size - leave))
    return ballast


@pytest.mark.parametrize("leave", [0, 40_000, 150_000])
def test_a_disk_that_fills_up(
    scenario: str, undisturbed: Run, disk: Disk, leave: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SEAL_STEPS", 3)
    place = disk("3m")
    out = place / "run"
    ballast: list[Path] = []

    def progress(t: int, n: int, metrics: Mapping[str, Any]) -> None:
        if t == 4:
            ballast.append(fill(place, leave))

    with pytest.raises(StorageError, match=rf"cannot write {out}/\S+: ") as caught:
        sw.run(scenario, seed=1, steps=12, out=out, progress=progress)
    assert "simworld resume" in str(caught.value)
    ballast[0].unlink()
    begun = sw.load_run(out)
    assert begun.status in {"failed", "interrupted"}
    kept = begun.events["step"].to_list()
    assert sorted(set(kept)) == list(range(1, begun.steps + 1))
    assert_same_run(sw.resume(out), undisturbed)


def test_a_disk_that_is_full_at_the_start_leaves_no_folder(scenario: str, disk: Disk) -> None:
    place = disk("1m")
    fill(place, 0)
    with pytest.raises((StorageError, UsageError), match="run"):
        sw.run(scenario, seed=1, steps=2, out=place / "run")
    assert not (place / "run").exists()


def test_a_disk_that_is_full_at_a_resume(scenario: str, undisturbed: Run, disk: Disk) -> None:
    place = disk("3m")
    out = begin_and_cut(scenario, place / "run", 5, seed=1, steps=12)
    ballast = fill(place, 0)
    with pytest.raises(StorageError, match=str(out)):
        sw.resume(out)
    ballast.unlink()
    assert_same_run(sw.resume(out), undisturbed)


def test_a_disk_that_is_read_only(scenario: str, undisturbed: Run, disk: Disk) -> None:
    place = disk("3m")
    out = begin_and_cut(scenario, place / "run", 5, seed=1, steps=12)
    done = sw.run(scenario, seed=1, steps=2, out=place / "done")
    before = done.events.height
    assert mounted("-o", "remount,ro", str(place))
    with pytest.raises(StorageError, match=f"cannot write {out}"):
        sw.resume(out)
    with pytest.raises(UsageError, match=f"cannot make the run folder {place}/other"):
        sw.run(scenario, out=place / "other")
    # A finished run on a read-only disk is as good as any.
    assert sw.load_run(place / "done").events.height == before
    assert sw.load_run(place / "done").verify()
    assert mounted("-o", "remount,rw", str(place))
    assert_same_run(sw.resume(out), undisturbed)


def test_a_killed_run_on_a_read_only_disk_is_interrupted(scenario: str, disk: Disk) -> None:
    place = disk("3m")
    finished_by({"scenario": scenario, "call": {"steps": 6}, "out": str(place / "run"), "die": ["step 3", 1]}, code=9)
    assert mounted("-o", "remount,ro", str(place))
    assert sw.load_run(place / "run").status == "interrupted"


def test_a_folder_that_vanishes(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEAL_STEPS", 3)

    def progress(t: int, n: int, metrics: Mapping[str, Any]) -> None:
        if t == 2:
            (tmp_path / "run").rename(tmp_path / "gone")

    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/run/"):
        sw.run(scenario, seed=1, steps=12, out=tmp_path / "run", progress=progress)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_limit_on_the_size_of_files(scenario: str, undisturbed: Run, tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the other way in which a write is cut short."""
    out = tmp_path / "run"
    order = {"scenario": scenario, "call": {"seed": 1, "steps": 12}, "out": str(out), "seal_steps": 3}
    said = finished_by({**order, "limit_bytes": 200_000}, code=1)
    assert f"StorageError cannot write {out}" in said
    assert_same_run(sw.resume(out), undisturbed)


def test_the_export_says_which_file_it_could_not_write(undisturbed: Run, disk: Disk) -> None:
    place = disk("1m")
    fill(place, 8192)
    with pytest.raises(StorageError, match=f"cannot write .*{place}"):
        export(undisturbed, "csv", place / "tables")


# -- two at once ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_second_writer_is_refused(scenario: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    call = {"seed": 1, "steps": 50, "params": {"pause_s": 0.2}}
    process = spawn({"scenario": scenario, "call": call, "out": str(out), "loud": True})
    assert process.stdout is not None
    while process.stdout.readline() != "1\n":
        assert process.poll() is None
    try:
        assert sw.load_run(out).status == "running"
        with pytest.raises(UsageError, match=f"another process is writing {out}; wait for it or stop it first"):
            sw.resume(out)
        with pytest.raises(UsageError, match="exists"):
            sw.run(scenario, out=out)
        assert process.poll() is None
        assert sw.load_run(out).status == "running"
    finally:
        process.kill()
        process.communicate()
    assert sw.load_run(out).status == "interrupted"


def test_a_second_writer_in_the_same_process_is_refused(scenario: str, tmp_path: Path) -> None:
    refused: list[str] = []

    def progress(t: int, n: int, metrics: Mapping[str, Any]) -> None:
        if t == 2:
            with pytest.raises(UsageError, match="another process is writing") as caught:
                sw.resume(tmp_path / "run")
            refused.append(str(caught.value))

    run = sw.run(scenario, seed=1, steps=3, out=tmp_path / "run", progress=progress)
    assert len(refused) == 1
    assert run.status == "finished"


def test_somebody_who_reads_does_not_make_the_run_fail(scenario: str, tmp_path: Path) -> None:
    readers: list[sqlite3.Connection] = []

    def progress(t: int, n: int, metrics: Mapping[str, Any]) -> None:
        if t == 2:
            reader = sqlite3.connect(f"file:{tmp_path}/run/journal.sqlite?mode=ro", uri=True)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM steps").fetchone()
            readers.append(reader)

    try:
        run = sw.run(scenario, seed=1, steps=3, out=tmp_path / "run", progress=progress)
    finally:
        for reader in readers:
            reader.close()
    assert run.status == "finished"


@pytest.mark.slow
def test_reading_a_run_that_grows(scenario: str, tmp_path: Path) -> None:
    """Every look at a growing run, while it commits and seals, shows whole steps in order."""
    out = tmp_path / "run"
    call = {"seed": 1, "steps": 40, "params": {"pause_s": 0.02}}
    process = spawn({"scenario": scenario, "call": call, "out": str(out), "seal_steps": 1})
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    looks = 0
    while process.poll() is None:
        run = sw.load_run(out)
        steps = sorted(set(run.events["step"].to_list()))
        assert steps == list(range(1, len(steps) + 1))
        looks += 1
    process.communicate()
    assert process.returncode == 0
    assert looks > 3
    assert sw.load_run(out).verify(again=False)


def test_cut_runs_of_one_folder_do_not_share_a_lock(scenario: str, tmp_path: Path) -> None:
    out = begin_and_cut(scenario, tmp_path / "run", 1, seed=1, steps=3)
    assert not (out / ".lock").exists()
    with pytest.raises(BaseException, match=r"^$"):
        sw.resume(out, progress=cut_at(2))
    assert sw.resume(out).status == "finished"

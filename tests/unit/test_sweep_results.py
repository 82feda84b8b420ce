"""What a campaign's folder says: plan, versions, budget, files, and tables that never disagree with the journal."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import simworld as sw
from simworld.cli import _main
from simworld.errors import BudgetSpent, CampaignError, Interrupted
from simworld.sweep import Outcome, Progress, Task, freeze, plan, work
from simworld.sweep import _sweep as at_work
from simworld.sweep._journal import Journal
from simworld.view._campaign import campaign_page
from tests.unit.campaigns import assert_same, campaign, tables, write_coin


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def undisturbed(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "campaign"
    sw.sweep(campaign(scenario), executor="here", out=out)
    return out


def made_by(told: list[Progress]) -> int:
    """How many runs a call made."""
    return told[-1].made if told else 0


def sweep(said: Any, out: Path, **more: Any) -> tuple[sw.Run | Any, int]:
    told: list[Progress] = []
    found = sw.sweep(said, executor="here", out=out, progress=told.append, **more)
    return found, made_by(told)


class Costly:
    """An executor whose runs ask nobody and cost what they are told."""

    def __init__(self, usd: float = 0.0, tokens: int = 0) -> None:
        self.tasks: list[Task] = []
        self._waiting: list[Task] = []
        self._usd, self._tokens = usd, tokens

    @property
    def room(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        self._waiting.append(task)

    def done(self, timeout_s: float) -> list[Any]:
        tasks, self._waiting = self._waiting, []
        return [Outcome(task.key, "done", "", {"share": 0.5}, usd=self._usd, tokens=self._tokens) for task in tasks]

    def close(self) -> None:
        pass


# -- what is varied -------------------------------------------------------------------------------------------------


def test_observers_seats_and_rules_are_factors(tmp_path: Path) -> None:
    base = {"scenario": "friendship_paradox", "params": {"n_agents": 12}, "steps": 1, "record": "runs"}
    seen = {"observers": ["", "density", "density, components"], "rules": ["paper", "released_code"]}
    pairs = list(zip(seen["observers"], ["paper", "released_code", "paper"], strict=True))
    design = {"kind": "points", "points": [{"observers": names, "rules": rules} for names, rules in pairs]}
    found, _ = sweep({**base, "factors": seen, "design": design}, tmp_path / "seen")
    assert found.results["error"].unique().to_list() == [""]
    assert found.results.select("observers", "rules").rows() == pairs
    assert found.results["density.density"].is_not_null().to_list() == [False, True, True]
    assert found.results["components.weak"].is_not_null().to_list() == [False, False, True]
    assert [found.run(point).plan.params["rules"] for point in range(3)] == [rules for _, rules in pairs]
    seats = {"factors": {"seats": ["", "0=null, 3=null"]}, "settings": {"mind": "rules"}}
    seated, _ = sweep({**base, **seats}, tmp_path / "seated")
    assert [seated.run(point).plan.seats for point in (0, 1)] == [{}, {"0": "null", "3": "null"}]
    assert [seated.run(point).manifest["minds"] for point in (0, 1)] == [{"rules": 12}, {"rules": 10, "null": 2}]
    fixed = plan({**base, "settings": {"mind": "rules", "seats": {"0": "null", "3": "null"}}}).task(0, 0)
    assert fixed.call["seats"] == seated.run(1).plan.seats


def test_a_file_that_a_call_names_is_part_of_its_run(scenario: str, tmp_path: Path) -> None:
    graph, text = tmp_path / "net.csv", tmp_path / "said.txt"
    graph.write_text("0,1\n1,2\n2,0\n", "utf-8")
    said = {"scenario": "friendship_paradox", "steps": 1, "factors": {"graph": ["karate", str(graph)]},
            "measures": ["follows"]}  # fmt: skip
    found, made = sweep(said, tmp_path / "c")
    assert (found.results["error"].to_list(), made) == (["", ""], 2)
    assert found.manifest["files"].keys() == {str(graph)}
    assert sweep(said, tmp_path / "c")[1] == 0
    graph.write_text("0,1\n1,2\n2,0\n2,3\n", "utf-8")
    again, made = sweep(said, tmp_path / "c")
    assert made == 1
    assert (again.results["digest"] == found.results["digest"]).to_list() == [True, False]
    assert again.manifest["content_hash"] == found.manifest["content_hash"]
    assert again.manifest["files_hash"] != found.manifest["files_hash"]  # what is frozen, too
    begun = plan(said).task(1, 0)
    graph.write_text("0,1\n1,2\n2,0\n2,4\n", "utf-8")  # while the campaign is at work
    assert (work(begun).status, work(begun).error[:20]) == ("failed", "a graph or cast file")
    assert work(plan(said).task(1, 0)).status == "done"
    graph.unlink()
    with pytest.raises(CampaignError, match=r"net\.csv' cannot be read"):
        plan(said)
    # The text of a file is what a run is given, and what names it.
    text.write_text("nothing", "utf-8")
    told = campaign(scenario, params={"trouble": f"@{text}"}, replicates=1)
    before = plan(told).task(0, 0)
    assert before.call["params"]["trouble"] == "nothing"
    text.write_text("crash", "utf-8")
    after = plan(told).task(0, 0)
    assert (after.run_key != before.run_key, work(after).error) == (True, "ValueError: heads and tails")
    assert plan(campaign(scenario, params={"trouble": "@@home"})).task(0, 0).call["params"]["trouble"] == "@home"


def test_a_cast_that_changes_is_run_anew(tmp_path: Path) -> None:
    cast = tmp_path / "few.toml"
    people = '[[persona]]\nid = "a"\nname = "Ann"\n[[persona]]\nid = "b"\nname = "Ben"\n'
    cast.write_text(people, "utf-8")
    said = {"scenario": "friendship_paradox", "steps": 1, "settings": {"cast": str(cast)}}
    before = plan(said).task(0, 0)
    assert before.files.keys() == {"cast"}
    cast.write_text(people.replace("Ben", "Bea"), "utf-8")
    assert plan(said).task(0, 0).run_key != before.run_key
    assert plan({"scenario": "village", "steps": 1}).task(0, 0).files.keys() == {"cast"}  # its own


# -- the budget -----------------------------------------------------------------------------------------------------


def paid(**more: Any) -> dict[str, Any]:
    """Return a campaign that may spend."""
    return {
        "scenario": "friendship_paradox", "params": {"n_agents": 5}, "steps": 2, "record": "runs",
        "settings": {"model": "local/scripted"}, "replicates": 2, "factors": {"card": ["full", "none"]},
        "measures": ["follows"], **more,
    }  # fmt: skip


def limits(crew: Costly) -> list[Any]:
    return [task.call["service"] for task in crew.tasks]


def test_what_was_spent_is_taken_off_when_a_campaign_is_extended(tmp_path: Path) -> None:
    out = tmp_path / "c"
    crew = Costly(usd=0.25)
    sw.sweep(paid(budget={"usd": 4.0}), executor=crew, out=out)
    assert limits(crew) == [{"budget_usd": 1.0}] * 4
    crew = Costly(usd=0.5)
    sw.sweep(paid(budget={"usd": 4.0}, replicates=3), executor=crew, out=out)
    assert limits(crew) == [{"budget_usd": (4.0 - 1.0) / 2}] * 2
    crew = Costly(usd=1.0)
    sw.sweep(paid(budget={"usd": 4.0}, replicates=4), executor=crew, out=out)
    with pytest.raises(BudgetSpent) as error:
        sw.sweep(paid(budget={"usd": 4.0}, replicates=5), executor=crew, out=out)
    assert isinstance(error.value, Interrupted)
    assert "the budget is spent: $4.0000 of $4.0000, with 2 runs missing; raise budget.usd in the file" in str(
        error.value
    )
    more = Costly()
    sw.sweep(paid(budget={"usd": 6.0}, replicates=5), executor=more, out=out)
    assert limits(more) == [{"budget_usd": 1.0}] * 2


def test_a_run_that_is_made_again_may_spend_its_part_beside_what_it_had(tmp_path: Path) -> None:
    said = paid(budget={"tokens": 4_000}, replicates=1)
    ready = plan(said, out=tmp_path / "c")
    with Journal(ready.folder) as journal:
        journal.plan("{}", [(0, 0, ready.task(0, 0).key, Path(ready.task(0, 0).folder or "").name)])
        journal.keep(Outcome(ready.task(0, 0).key, "failed", "it was cut off", tokens=1_000))
    crew = Costly()
    sw.sweep(said, executor=crew, out=tmp_path / "c", retry_failed=True)
    assert [each["max_tokens_total"] for each in limits(crew)] == [1_000 + 1_500, 1_500]
    ready = plan(paid(budget={"usd": 3.0}, replicates=1), out=tmp_path / "usd")
    with Journal(ready.folder) as journal:
        journal.plan("{}", [(0, 0, ready.task(0, 0).key, Path(ready.task(0, 0).folder or "").name)])
        journal.keep(Outcome(ready.task(0, 0).key, "failed", "it was cut off", usd=1.0))
    dear = Costly()
    sw.sweep(ready, executor=dear, retry_failed=True)
    assert limits(dear) == [{"budget_usd": 1.0 + 1.0}, {"budget_usd": 1.0}]
    with Journal(tmp_path / "c") as journal:
        journal.keep(Outcome(ready.task(1, 0).key, "failed", "it was cut off", tokens=4_000))
    with pytest.raises(BudgetSpent, match=r"4,000 of 4,000 tokens, with 1 runs missing; raise budget\.tokens"):
        sw.sweep(said, executor=crew, out=tmp_path / "c", retry_failed=True)


def test_what_a_killed_run_had_spent_is_taken_off(tmp_path: Path) -> None:
    from tests.server import ModelServer

    with ModelServer() as server:
        said = paid(settings={"model": "local/scripted", "api_base": {"": server.base}}, budget={"tokens": 400_000},
                    replicates=1)  # fmt: skip
        out = tmp_path / "c"
        ready = plan(said, out=out)
        outcome = work(ready.task(0, 0))  # made, and killed before it was kept
        assert (outcome.status, outcome.tokens > 0) == ("done", True)
        crew = Costly()
        sw.sweep(said, executor=crew, out=out)
        share = (400_000 - outcome.tokens) // 2
        assert [each["max_tokens_total"] for each in limits(crew)] == [share + outcome.tokens, share]


# -- versions -------------------------------------------------------------------------------------------------------


def test_runs_of_different_versions_are_told_apart(
    scenario: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "c"
    one, _ = sweep(campaign(scenario, replicates=2), out)
    assert one.notes == []
    now = at_work.versions()
    monkeypatch.setattr(at_work, "versions", lambda: {**now, "numpy": "9.9.9"})
    sweep(campaign(scenario), out)
    found = sw.load_campaign(out)
    wanted = f"runs were made by different versions: 12 with numpy {now['numpy']}; 12 with numpy 9.9.9"
    assert found.notes[0].startswith(wanted)
    assert wanted in repr(found)
    assert wanted[1:] in repr(campaign_page(found))
    assert_same(out, undisturbed)  # what made a run is in no table


# -- tables, plan and journal ---------------------------------------------------------------------------------------


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file with its size and time."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_campaign_under_way_is_read_as_it_is(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    seen: list[tuple[int, int, int]] = []

    def look(now: Progress) -> None:
        before = listing(out)
        found = sw.load_campaign(out)
        seen.append((now.finished, found.results.height, found.series.height // 4))
        assert sum(found.record["planned_at"].values()) == 24
        assert found.record["calls"][-1]["ended"] == ""
        assert listing(out) == before

    sw.sweep(campaign(scenario), executor="here", out=out, progress=look)
    assert seen == [(n, n, n) for n in range(25)]
    assert_same(out, undisturbed)
    before = listing(out)
    found = sw.load_campaign(out)
    assert found.results.equals(tables(undisturbed)[0])
    assert (found.record["calls"][-1]["made"], found.record["calls"][-1]["ended"] != "") == (24, True)
    assert listing(out) == before
    assert not [name for name in before if "-wal" in name or "-shm" in name]


def test_tables_that_are_older_than_the_journal_do_not_count(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    sweep(campaign(scenario, replicates=2), out)
    old = {name: (out / name).read_bytes() for name in ("results.parquet", "series.parquet")}
    sweep(campaign(scenario), out)
    for name, content in old.items():
        (out / name).write_bytes(content)
    found = sw.load_campaign(out)
    for made, wanted in zip((found.results, found.series), tables(undisturbed), strict=True):
        assert made.equals(wanted, null_equal=True)
    (out / "results.parquet").unlink()
    assert sw.load_campaign(out).results.equals(found.results)
    # Called again it makes nothing but the tables.
    assert sweep(campaign(scenario), out)[1] == 0
    assert_same(out, undisturbed)
    # The plan that was written last is the one that counts, with its points.
    fewer = campaign(scenario, factors={"p": [0.8], "mind": ["rules"]}, series=[])
    assert sweep(fewer, out)[0].points == [{"p": 0.8, "mind": "rules"}]
    assert not (out / "series.parquet").exists()
    assert sw.load_campaign(out).series.is_empty()


KILLED = """
import json, os, sys
import simworld as sw
order = json.loads(sys.argv[1])
sw.sweep(order["campaign"], executor="here", out=order["out"], progress=lambda now: now.made == 30 and os._exit(9))
"""


def test_a_call_that_is_killed_is_known(scenario: str, tmp_path: Path) -> None:
    until = {"metric": "share", "ci_width": 0.1, "max_replicates": 30, "first": 12}
    said = campaign(scenario, factors={"p": [0.5, 0.6]}, until=until, series=[])
    out = tmp_path / "c"
    freeze(plan(said, out=out))
    order = json.dumps({"campaign": said, "out": str(out)})
    assert subprocess.run([sys.executable, "-c", KILLED, order], cwd=Path.cwd(), timeout=60).returncode == 9
    found = sw.load_campaign(out)
    call = found.record["calls"][-1]
    assert (call["ended"], call["made"], call["began"] != "") == ("", 30, True)
    assert found.results.height == 30
    # Replicates that were added on the way are part of the plan.
    assert sum(found.record["planned_at"].values()) > 30
    page = repr(campaign_page(found))
    assert "under way or killed" in page
    assert "What ran is what was frozen" in page
    whole, _ = sweep(said, out)
    assert whole.results.height == sum(whole.record["planned_at"].values())


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write from this process."""
    is_root = os.geteuid() == 0
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="other systems have other rights")
def test_a_read_only_folder_is_read(undisturbed: Path, scenario: str) -> None:
    import shutil

    with tempfile.TemporaryDirectory() as name:  # where somebody without rights may look
        folder = Path(name)
        folder.chmod(0o755)
        copy = folder / "c"
        shutil.copytree(undisturbed, copy)
        sw.load_campaign(copy).results  # noqa: B018 - what is imported late is imported now
        with read_only(copy):
            with pytest.raises(OSError, match="denied"):
                (copy / "x").write_text("")
            found = sw.load_campaign(copy)
            assert (found.results.height, len(found.record["calls"])) == (24, 1)
        for path in copy.iterdir():
            path.chmod(0o644)
        # Also while somebody else writes.
        with Journal(copy) as journal:
            done = next(iter(journal.outcomes([found.results["key"][0]])))
            assert done is not None
            journal.keep(replace(done, digest="another"))
            with read_only(copy):
                assert sw.load_campaign(copy).results["digest"][0] == "another"


def test_a_run_is_opened_by_its_key(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, record="runs", replicates=1, factors={"p": [0.0, 0.2]}, series=[])
    found, _ = sweep(said, tmp_path / "c")
    (tmp_path / "c" / "runs" / ("0" * 16)).mkdir()  # what cannot be read is not looked at
    ready = plan(said, out=tmp_path / "c")
    assert [str(found.run(point).path) for point in (0, 1)] == [ready.task(point, 0).folder for point in (0, 1)]
    assert found.run(1).digest == found.results["digest"][1]
    with pytest.raises(CampaignError, match="no run of point 2"):
        found.run(2)
    Path(ready.task(0, 0).folder or "").rename(tmp_path / "elsewhere")
    with pytest.raises(CampaignError, match="is gone"):
        found.run(0)


def test_a_journal_of_format_1_is_taken_on(scenario: str, undisturbed: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    from simworld.sweep import _journal

    out = tmp_path / "c"
    shutil.copytree(undisturbed, out)
    (out / "results.parquet").unlink()
    with contextlib.closing(sqlite3.connect(out / "campaign.sqlite")) as db:
        rows = db.execute(f"SELECT {_journal._OUTCOME} FROM runs").fetchall()
    (out / "campaign.sqlite").unlink()
    with contextlib.closing(sqlite3.connect(out / "campaign.sqlite")) as db, db:
        db.executescript(_journal._TABLES)
        db.executemany(f"INSERT INTO runs VALUES ({', '.join('?' * 10)})", rows)
        db.execute("INSERT INTO calls VALUES ('2026-01-02T03:04:05+00:00', 'd', 'h', 24, 24, 5.0)")
    with pytest.raises(CampaignError, match="of an earlier version or empty; call simworld sweep again"):
        sw.load_campaign(out)
    found, made = sweep(campaign(scenario), out)
    assert made == 0
    assert_same(out, undisturbed)
    assert found.record["calls"][0]["began"] == "2026-01-02T03:04:00+00:00"


MEMORY = """
import json, sys
from pathlib import Path
from simworld.sweep._journal import Journal, _OUTCOME
from simworld.sweep._results import write_tables

def peak():
    # ru_maxrss begins with what the process had that made this one.
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

n, folder = 5_000, Path(sys.argv[1])
series = json.dumps({"step": [float(i) for i in range(101)], **{name: [i / 7 for i in range(101)] for name in "abc"}})
with Journal(folder) as journal:
    rows = ((f"{i}", "done", "", '{"a": 1.0}', series, "d", 100, 0.0, 0, 0.1) for i in range(n))
    journal._db.execute("BEGIN")
    journal._db.executemany(f"INSERT INTO runs ({_OUTCOME}) VALUES ({', '.join('?' * 10)})", rows)
    journal._db.execute("COMMIT")
    before = peak()
    write_tables(folder, [{}], ((0, i, f"{i}") for i in range(n)), journal)
    print((peak() - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_tables_of_long_series_are_made_in_little_memory(tmp_path: Path) -> None:
    """Half a million rows are 18 MB; as Python lists they would be ten times that."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "c")], capture_output=True, text=True, timeout=120, check=True
    )
    assert 0 < float(done.stdout) < 90
    assert pl.read_parquet(tmp_path / "c" / "series.parquet").height == 505_000


# -- the outcome, and the command line ------------------------------------------------------------------------------


def call(*args: str) -> Any:
    return CliRunner().invoke(_main.cli, list(args), auto_envvar_prefix="SIMWORLD")


def test_what_is_frozen_and_an_outcome_that_nobody_measured_are_said(scenario: str, tmp_path: Path) -> None:
    file, out = tmp_path / "coins.toml", tmp_path / "c"
    file.write_text(f'scenario = "{scenario}"\nsteps = 2\nexecutor = "here"\noutcome = "shares"\n', "utf-8")
    ready = plan(file, out=out)
    dry = call("sweep", str(file), "--out", str(out), "--freeze", "--dry-run")
    assert dry.exit_code == 0, dry.output
    said = " ".join(dry.stdout.split())
    for words in ("would be frozen", ready.campaign.digest(), ready.loaded.content_hash, "all but title, executor"):
        assert words in said
    assert not out.exists()
    done = call("sweep", str(file), "--out", str(out), "--freeze")
    assert done.exit_code == 0, done.output
    found = sw.load_campaign(out)
    frozen = found.record["frozen"]
    assert frozen["digest"] == ready.campaign.digest()
    assert f"frozen at {frozen['at']} {frozen['digest']}" in " ".join(done.stdout.split())
    wanted = "outcome = 'shares' was not measured; did you mean 'share'"
    assert wanted in done.stdout
    assert found.notes[0].startswith(wanted)
    assert found.outcome == "share"


def test_a_measure_of_the_name_of_a_factor_keeps_both(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, measures=[{"metric": "share", "name": "p"}], outcome="p", replicates=1)
    found, _ = sweep(said, tmp_path / "c")
    assert (found.outcome, found.notes) == ("value:p", [])


def test_the_file_says_where_runs_are_made(scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []
    known = at_work._executor

    def chosen(given: Any, workers: int | None) -> Any:
        asked.append((given, workers))
        return known("here", None)

    monkeypatch.setattr(at_work, "_executor", chosen)
    said = campaign(scenario, replicates=1, executor="processes", workers=3)
    sw.sweep(said, out=tmp_path / "a")
    sw.sweep(said, workers=2, out=tmp_path / "b")
    sw.sweep(said, executor="here", out=tmp_path / "c")
    assert asked == [("processes", 3), ("processes", 2), ("here", None)]
    assert_same(tmp_path / "a", tmp_path / "c")

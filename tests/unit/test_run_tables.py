"""What a run shows: its tables, its graph, its exports and its summary, against a replay by hand."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from typing import Any

import networkx as nx
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import simworld as sw
from simworld.errors import UsageError
from simworld.run import Run, export
from simworld.scenario import load, resolve
from tests.unit.test_run_society import HAMLET, begin_and_cut, write_hamlet

STEPS = 8
NO_PERSONAS = HAMLET.replace("with_personas = True", "with_personas = False").replace(
    "persona.name", '"someone"').replace("self.personas[agent].name", "agent").replace(
    "self.personas[row].name", '"x"')  # fmt: skip


class Seen:
    """The society itself, stepped by Mesa's own `step`, and copied after every step."""

    def __init__(self, scenario: str, seed: int) -> None:
        world: Any = load(resolve(scenario))(rng=seed)
        self.rows: list[dict[str, list[dict[str, Any]]]] = []
        self.graphs: list[dict[str, dict[tuple[int, int], float]]] = []
        self.alive: list[set[int]] = []
        for step in range(STEPS + 1):
            if step:
                world.step()
            self.rows.append({name: self._table(table) for name, table in world.tables.items()})
            self.graphs.append({kind: self._ties(world.graph, kind) for kind in world.tie_kinds})
            self.alive.append(set(world.ids.tolist()))

    @staticmethod
    def _table(table: Any) -> list[dict[str, Any]]:
        columns = {name: table.text(name) if spec.categories else table[name] for name, spec in table.specs.items()}
        return [{name: column.tolist()[i] for name, column in columns.items()} for i in range(table.n)]

    @staticmethod
    def _ties(graph: Any, kind: str) -> dict[tuple[int, int], float]:
        return {(u, v): w for u, v, w in zip(*(c.tolist() for c in graph.edges(kind)), strict=True)}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def run(lab: Path) -> Run:
    return sw.run(write_hamlet(lab, NO_PERSONAS), seed=2, steps=STEPS, out=lab / "run")


@pytest.fixture(scope="module")
def seen(run: Run) -> Seen:
    return Seen(run.plan.scenario, 2)


def as_text(rows: list[dict[str, Any]]) -> list[str]:
    return [repr(row) for row in rows]  # NaN equals NaN in its text


@pytest.mark.parametrize("name", ["agents", "parcels"])
def test_tables_and_states_are_the_societys_own(run: Run, seen: Seen, name: str) -> None:
    panel = run.table(name)
    assert panel.columns[:2] == ["step", "id"]
    for t in range(STEPS + 1):
        expected = as_text(seen.rows[t][name])
        one = run.state(t, name)
        assert one["step"].unique().to_list() in ([t], [])
        assert one["id"].to_list() == list(range(len(expected)))
        assert as_text(one.drop("step", "id").to_dicts()) == expected
        assert as_text(panel.filter(pl.col("step") == t).drop("step", "id").to_dicts()) == expected
    assert_frame_equal(run.state(table=name), run.state(STEPS, name))


def test_states_are_the_table_of_agents(run: Run) -> None:
    assert_frame_equal(run.states, run.table("agents"))


@pytest.mark.parametrize("kind", ["knows", "owes"])
def test_the_graph_of_a_step_is_the_societys_own(run: Run, seen: Seen, kind: str) -> None:
    for t in range(STEPS + 1):
        graph = run.graph(t, kind)
        assert isinstance(graph, nx.DiGraph)
        assert {(u, v): d["weight"] for u, v, d in graph.edges(data=True)} == seen.graphs[t][kind]
        assert set(graph) == seen.alive[t]
        one = min(graph)
        assert repr(graph.nodes[one]["wealth"]) == repr(seen.rows[t]["agents"][one]["wealth"])
        assert "alive" not in graph.nodes[one]


def test_the_graph_is_the_ties_replayed_by_hand(run: Run) -> None:
    ties: dict[tuple[int, int], float] = {}
    for _, kind, op, u, v, w in run.ties.rows():
        if kind == "knows":
            ties[u, v] = w
            if op == "removed":
                del ties[u, v]
    assert {(u, v): d["weight"] for u, v, d in run.graph().edges(data=True)} == ties
    assert ties


def test_states_that_were_not_recorded(lab: Path, run: Run) -> None:
    sparse = sw.run(run.plan.scenario, seed=2, steps=STEPS, state_every=3, out=lab / "sparse")
    assert sorted(set(sparse.states["step"].to_list())) == [0, 3, 6, 8]
    for t in (0, 3, 6, 8):
        assert_frame_equal(sparse.state(t), run.state(t))
    assert_frame_equal(sparse.states, run.states.filter(pl.col("step").is_in([0, 3, 6, 8])))
    assert_frame_equal(sparse.ties, run.ties)


def test_a_state_that_was_not_recorded_is_not_told_as_another(lab: Path, run: Run) -> None:
    """state(5) of a run that recorded step 3 is the state of step 3 with 5 written beside it."""
    sparse = sw.run(run.plan.scenario, seed=2, steps=STEPS, state_every=3, out=lab / "sparse2")
    with pytest.raises(UsageError, match="3"):
        sparse.state(5)


def test_the_graph_of_a_step_between_recorded_states(lab: Path, run: Run, seen: Seen) -> None:
    """Ties are recorded in every step, agents are not: who joined since raises GraphError 'no node'."""
    sparse = sw.run(run.plan.scenario, seed=2, steps=STEPS, state_every=0, out=lab / "sparse0")
    graph = sparse.graph(7)
    assert {(u, v): d["weight"] for u, v, d in graph.edges(data=True)} == seen.graphs[7]["knows"]


def test_the_graph_of_a_society_with_personas_that_somebody_joined(tmp_path: Path) -> None:
    """Only the personas of the start are kept, so the name of who came later is an IndexError."""
    run = sw.run(write_hamlet(tmp_path), seed=2, steps=4, out=tmp_path / "run")
    assert len(run.graph()) == run.state()["alive"].sum()


def test_an_entity_that_never_was_is_an_empty_table(tmp_path: Path) -> None:
    """No row, no stream: table() knows no such table, and every export fails on it."""
    run = sw.run(write_hamlet(tmp_path, NO_PERSONAS), seed=2, steps=0, out=tmp_path / "run")
    assert run.table("parcels").is_empty()
    export(run, "csv", tmp_path / "csv")


def test_a_society_of_nobody_can_be_shown(tmp_path: Path) -> None:
    text = "import simworld as sw\n\n\nclass Nobody(sw.World):\n    'Nobody.'\n"
    (tmp_path / "nobody.py").write_text(text)
    run = sw.run(str(tmp_path / "nobody.py"), steps=2, out=tmp_path / "run")
    assert run.states.is_empty()
    assert len(run.graph()) == 0
    export(run, "csv", tmp_path / "csv")


@pytest.mark.parametrize("every", [2, 5, 0])
def test_a_plain_model_recorded_less_often_has_the_same_states(tmp_path: Path, every: int) -> None:
    """Who joined or left between two recorded states is neither missing nor alive for ever."""
    spec = "mesa.examples.advanced.wolf_sheep.model@WolfSheep"
    whole = sw.run(spec, seed=1, steps=10, out=tmp_path / "whole")
    sparse = sw.run(spec, seed=1, steps=10, state_every=every, out=tmp_path / "sparse")
    living = pl.col("alive")
    assert_frame_equal(sparse.state().filter(living), whole.state().filter(living))


def test_steps_and_tables_that_are_not_there(run: Run) -> None:
    with pytest.raises(UsageError, match=f"no step {STEPS + 1}; this run has steps 0 to {STEPS}"):
        run.state(STEPS + 1)
    with pytest.raises(UsageError, match="no step -1"):
        run.graph(-1)
    with pytest.raises(UsageError, match="no table 'agent'; did you mean 'agents'"):
        run.table("agent")
    with pytest.raises(UsageError, match="no table 'events'"):
        run.table("events")
    with pytest.raises(UsageError, match="no kind of tie 'know'; did you mean 'knows'"):
        run.graph(kind="know")


def test_the_tables_of_an_unfinished_run_are_named(lab: Path, run: Run) -> None:
    """Only sealed streams are listed: "this run has []"."""
    out = begin_and_cut(run.plan.scenario, lab / "cut", 3, seed=2, steps=STEPS)
    with pytest.raises(UsageError, match="agents"):
        sw.load_run(out).table("nothing like it")


def test_a_run_is_found_by_its_folder_or_the_beginning_of_its_name(
    lab: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab / "scenarios").mkdir(exist_ok=True)
    monkeypatch.chdir(lab)
    for name in ("20200101-000000_a_1", "20200101-000000_a_12", "20200102-000000_b_1"):
        sw.run(run.plan.scenario, steps=0, out=lab / "runs" / name)
    assert sw.load_run(lab / "run").path == run.path
    assert sw.load_run("20200102").path.name == "20200102-000000_b_1"
    assert sw.load_run("20200101-000000_a_1").path.name == "20200101-000000_a_1"
    with pytest.raises(UsageError, match="2 runs begin with '20200101'"):
        sw.load_run("20200101")
    with pytest.raises(UsageError, match=r"no run '2020-b'.*simworld show lists runs"):
        sw.load_run("2020-b")


# -- export --------------------------------------------------------------------------------------------------------


def tables_of(run: Run) -> dict[str, pl.DataFrame]:
    return {
        "metrics": run.metrics, "findings": run.findings, "events": run.events, "ties": run.ties,
        "agents": run.states, "parcels": run.table("parcels"),
    }  # fmt: skip


def test_parquet_is_read_back_equal(run: Run, tmp_path: Path) -> None:
    files = export(run, "parquet", tmp_path / "out")
    assert [f.name for f in files] == [f"{name}.parquet" for name in tables_of(run)]
    for name, table in tables_of(run).items():
        assert_frame_equal(pl.read_parquet(tmp_path / "out" / f"{name}.parquet"), table)


def test_csv_is_read_back_equal(run: Run, tmp_path: Path) -> None:
    export(run, "csv", tmp_path)
    for name, table in tables_of(run).items():
        text = (tmp_path / f"{name}.csv").read_bytes()
        back = pl.read_csv(io.BytesIO(text), schema=table.schema)
        none = pl.col(pl.String).fill_null("")  # CSV tells no empty text from a missing one
        assert_frame_equal(back.with_columns(none), table.with_columns(none))


def test_jsonl_is_read_back_equal(run: Run, tmp_path: Path) -> None:
    """JSON has no NaN: it is null there, as in every JSON; nothing else differs."""
    export(run, "jsonl", tmp_path)
    for name, table in tables_of(run).items():
        lines = (tmp_path / f"{name}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        expected = table.with_columns(pl.col(pl.Float64).fill_nan(None)).to_dicts()
        assert rows == expected


@pytest.mark.parametrize("fmt", ["graphml", "gexf"])
def test_the_graph_is_read_back_equal(lab: Path, fmt: str, tmp_path: Path) -> None:
    text = NO_PERSONAS.replace('"nul\\x00", ', "")
    assert text != NO_PERSONAS
    run = sw.run(write_hamlet(tmp_path, text), seed=2, steps=STEPS, out=tmp_path / "run")
    (file,) = export(run, fmt, tmp_path / "out", step=5, kind="owes")
    assert file.name == f"graph-5.{fmt}"
    back = nx.read_graphml(file, node_type=int) if fmt == "graphml" else nx.read_gexf(file, node_type=int)
    graph = run.graph(5, "owes")
    assert back.is_directed()
    assert set(back) == set(graph)
    assert {(u, v): d["weight"] for u, v, d in back.edges(data=True)} == {
        (u, v): d["weight"] for u, v, d in graph.edges(data=True)
    }
    for node in graph:
        for name, value in graph.nodes[node].items():
            assert repr(back.nodes[node].get(name, "")) == repr(value)


@pytest.mark.parametrize("fmt", ["graphml", "gexf"])
def test_a_text_that_xml_cannot_hold_is_one_clear_line_or_is_written(run: Run, tmp_path: Path, fmt: str) -> None:
    """The diaries of the hamlet hold a NUL, which XML has no way to say."""
    assert "nul\x00" in run.state()["diary"].to_list() + run.state(4)["diary"].to_list()
    step = next(t for t in range(STEPS + 1) if "nul\x00" in run.state(t).filter(pl.col("alive"))["diary"].to_list())
    try:
        export(run, fmt, tmp_path / "out", step=step)
    except sw.SimworldError:
        return
    reader = nx.read_graphml if fmt == "graphml" else nx.read_gexf
    assert len(reader(tmp_path / "out" / f"graph-{step}.{fmt}")) == len(run.graph(step))


@pytest.mark.parametrize("fmt", ["csv", "parquet", "jsonl", "graphml"])
def test_an_export_overwrites_nothing(run: Run, tmp_path: Path, fmt: str) -> None:
    table = f"graph-{STEPS}.graphml" if fmt == "graphml" else f"ties.{fmt}"
    (tmp_path / table).write_text("mine")
    with pytest.raises(UsageError, match=f"{table} exists; export to another folder or remove it first"):
        export(run, fmt, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [table]
    assert (tmp_path / table).read_text() == "mine"


def test_a_format_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no export format 'parket'; did you mean 'parquet'"):
        export(run, "parket", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- summary -------------------------------------------------------------------------------------------------------

HOSTILE = '<script>alert("x")</script>&\'</td>'


def test_the_notebook_form_escapes_whatever_the_run_holds(lab: Path, run: Run, tmp_path: Path) -> None:
    text = NO_PERSONAS.replace("    def setup(self):", f"    def setup(self):\n        self.notes.append({HOSTILE!r})")
    hostile = sw.run(write_hamlet(tmp_path, text), steps=1, out=tmp_path / "<b>run")
    shown = hostile._repr_html_()
    assert html.escape(HOSTILE) in shown
    assert HOSTILE not in shown
    assert "<b>" not in shown
    assert HOSTILE in repr(hostile)
    rest = shown.replace("<table>", "").replace("</table>", "")
    for tag in ("<caption>", "</caption>", "<tr>", "</tr>", "</th>", "</td>"):
        rest = rest.replace(tag, "")
    for cell in ("<th style='text-align:left'>", "<td style='text-align:left'>"):
        rest = rest.replace(cell, "")
    assert "<" not in rest


def test_the_terminal_form_is_one_line_a_fact(run: Run) -> None:
    lines = repr(run).splitlines()
    assert lines[0] == "simworld run"
    facts = dict(run.summary())
    assert facts["steps"] == f"{STEPS} of {STEPS}"
    assert facts["digest"] == run.digest
    assert facts["status"] == "finished"
    assert len(lines) == 1 + len(run.summary())


def test_the_terminal_form_moves_no_cursor(tmp_path: Path) -> None:
    """A note with an escape sequence or a line break reaches the terminal as it is."""
    note = "\x1b[2J\x1b[31mred\nfolder    /etc"
    text = NO_PERSONAS.replace("    def setup(self):", f"    def setup(self):\n        self.notes.append({note!r})")
    run = sw.run(write_hamlet(tmp_path, text), steps=0, out=tmp_path / "run")
    assert "\x1b" not in repr(run)
    assert len(repr(run).splitlines()) == 1 + len(run.summary())

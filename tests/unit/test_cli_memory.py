"""The commands that look into memories: what they show and refuse, and an index that mends itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import simworld as sw
from simworld.cli._main import cli
from simworld.memory import embedder, quantised
from simworld.persona import Secret
from simworld.run import Run, load_run, memory_of, remembered, search_memories
from tests.server import ModelServer
from tests.server.app import DIMENSIONS
from tests.unit.test_run_memory import CIRCLE, FEAST, write_circle
from tests.unit.test_run_society import begin_and_cut, hashes

STEPS = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with two runs, ``one`` and ``two``, of the same society under two seeds, and one without memory."""
    lab = tmp_path_factory.mktemp("lab")
    (lab / "scenarios").mkdir()
    spec = write_circle(lab / "scenarios")
    sw.run(spec, seed=4, steps=STEPS, out=lab / "runs" / "one")
    sw.run(spec, seed=5, steps=STEPS, told="The mill burned down.", out=lab / "runs" / "two")
    sw.run(spec, seed=4, steps=2, plain=True, memory=False, out=lab / "runs" / "none")
    return lab


@pytest.fixture
def lab(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    shutil.copytree(made, tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab")
    return tmp_path / "lab"


@pytest.fixture
def looked_at(made: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The run ``one`` itself, for what only reads."""
    monkeypatch.chdir(made)
    return load_run(made / "runs" / "one")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def call(*args: str, **env: str) -> Result:
    done = CliRunner(env=env).invoke(cli, args, prog_name="simworld")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def shown(*args: str, **env: str) -> str:
    """Return what a command prints, unwrapped; it must succeed."""
    done = call(*args, **{"COLUMNS": "4000", **env})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(*args: str, **env: str) -> str:
    """Return the one line in which a wrong call is refused."""
    done = call(*args, **env)
    assert done.exit_code == 2, (done.exit_code, done.output)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("simworld: ")
    assert done.stdout == ""
    return lines[0]


# -- memory RUN AGENT ---------------------------------------------------------------------------------------------


def test_memory_alone_and_help_print_help() -> None:
    for args in (["memory"], ["memory", "--help"], ["memory", "show", "-h"], ["memory", "search", "-h"],
                 ["memory", "rebuild", "-h"], ["ask", "-h"]):  # fmt: skip
        done = call(*args)
        assert done.exit_code == 0, args
        assert "Usage: simworld" in done.stdout
    assert "search RUN… TEXT" in call("memory").stdout


def test_a_memory_is_shown_with_core_facts_stream_and_evidence(looked_at: Run) -> None:
    assert looked_at.personas is not None
    views = [memory_of(looked_at, agent) for agent in range(6)]
    view = next(v for v in views if v.insights() and v.facts() and v.core)
    who, person = str(view.agent), looked_at.personas[view.agent]
    text = shown("memory", "one", who)
    assert text.startswith(f"{person.name} (agent {who}) after step {STEPS}; mind: rules")
    for title in ("\ncore\n", "\nfacts that hold\n", "\nstream", "\ninsights, each with its evidence\n"):
        assert title in text
    assert "goals: Thank everybody by day " in text
    for record in view.records:
        if record.t_closed < 0:
            assert f"[{record.id}] " in text, record
    insight = view.insights()[0]
    at = text.index(f"[{insight.id}] ", text.index("insights, each"))
    for cited in insight.evidence:
        assert re.search(rf"^ +\[{cited}\] ", text[at:], re.M)
    assert shown("memory", "show", "one", who) == text
    assert shown("memory", "one", person.name) == shown("memory", "runs/one", person.id) == text


def test_the_stream_is_cut_unless_all_is_asked_for(looked_at: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import simworld.cli._memory as commands

    monkeypatch.setattr(commands, "SHOWN", 3)
    stream = [m for m in memory_of(looked_at, 2).records if m.kind not in ("reflection", "fact")]
    short = shown("memory", "one", "2")
    assert f"stream, the latest 3 of {len(stream)}" in short
    whole = shown("memory", "one", "2", "--all")
    assert "\nstream\n" in whole
    assert len(whole) > len(short)


def test_a_step_shows_what_was_remembered_then_and_what_was_recalled(looked_at: Run) -> None:
    early = shown("memory", "one", "0", "--step", "2")
    assert "after step 2;" in early
    assert "feast" not in early
    late = shown("memory", "one", "0", "--step", "4")
    assert FEAST in late
    assert "recalled in step 4 for Share, asking memory: What did " in late
    before = shown("memory", "one", "0", "--step", "0")
    assert "none yet" in before


def test_a_query_shows_what_would_be_recalled_and_why(looked_at: Run) -> None:
    text = shown("memory", "one", "0", "--step", "3", "--query", "When is the feast?", "-k", "2")
    found = text.partition("would recall for: When is the feast?")[2]
    scored = re.findall(r"^\d\.\d{3}  \[\d+\] ", found, re.M)
    assert len(scored) == 2
    assert FEAST in found
    assert "relevance 1.00" in found
    assert shown("memory", "one", "0", "--step", "3", "--query", "When is the feast?", "--top", "2") == text
    cosine = shown("memory", "one", "0", "--query", "feast", "--policy", "cosine", "-k", "1")
    assert "= relevance " in cosine
    assert "recency" not in cosine.partition("would recall for")[2]


def test_what_was_said_is_shown_with_what_was_remembered_then(looked_at: Run) -> None:
    text = shown("memory", "one", "0", "--said", "here, for")
    assert "step 1, give to " in text
    assert "recalled in step 1 for Share" in text
    assert "more times; say more of the words" in text


@pytest.mark.parametrize(
    "args, said",
    [
        (["memory", "one"], "missing argument 'AGENT'"),
        (["memory", "nowhere", "0"], "nowhere"),
        (["memory", "one", "nobody"], "no agent 'nobody'"),
        (["memory", "one", "77"], "no agent '77'"),
        (["memory", "one", "0", "--step", "99"], f"this run has steps 0 to {STEPS}"),
        (["memory", "one", "0", "--step", "-1"], "no step -1"),
        (["memory", "one", "0", "--step", "x"], "not a valid integer"),
        (["memory", "one", "0", "-k", "0"], "range"),
        (["memory", "one", "0", "--top", "1001"], "range"),
        (["memory", "one", "0", "--top", "2"], "say how --query is answered"),
        (["memory", "one", "0", "--policy", "recent"], "say how --query is answered"),
        (["memory", "one", "0", "--query", "x", "--policy", "nope"], "no retrieval policy 'nope'; there are "),
        (["memory", "one", "0", "--said", "abracadabra"], "never said"),
        (["memory", "one", "0", "1"], "unexpected extra argument"),
        (["memory", "one", "0", "--nope"], "no option '--nope'"),
        (["memory", "none", "0"], "kept no memory"),
        (["memory", "search", "one"], "missing argument"),
        (["memory", "search", "one", " "], "nothing to search for"),
        (["memory", "search", "nowhere", "x"], "nowhere"),
        (["memory", "search", "none", "x"], "kept no memory"),
        (["memory", "search", "one", "none", "x"], "kept no memory"),
        (["memory", "search", "one", "x", "--kind", "dream"], "no kind of memory 'dream'; there are observation"),
        (["memory", "search", "one", "x", "--agent", "nobody"], "no agent 'nobody'"),
        (["memory", "rebuild"], "missing argument 'RUN'"),
        (["memory", "rebuild", "none"], "kept no memory"),
        (["memory", "rebuild", "one", "--embedder", "nope"], "no embedder 'nope'"),
        (["memory", "rebuild", "one", "--embedder", "local/e"], "--api-base"),
        (["memory", "rebuild", "one", "--embedder", "local/e", "--api-base", "nowhere"], "'nowhere' is no address"),
        (["memory", "search", "one", "x", "--api-base", "http://a", "--api-base", "http://b"], "given twice"),
        (["ask", "one", "0"], "missing argument 'QUESTION'"),
        (["ask", "one", "0", ""], "no question"),
        (["ask", "one", "nobody", "x"], "no agent 'nobody'"),
        (["ask", "one", "0", "x", "--step", "99"], "no step 99"),
        (["ask", "one", "0", "x", "--policy", "nope"], "no retrieval policy 'nope'"),
        (["ask", "one", "0", "x", "--model", "nonsense"], "names no provider"),
        (["ask", "one", "0", "x", "--model", "local/x"], "--api-base"),
        (["ask", "none", "0", "x"], "kept no memory"),
        (["run", "circle", "--memory", "policy=nope"], "no retrieval policy 'nope'"),
        (["run", "circle", "--memory", "nope=1"], "no setting of memory 'nope'"),
        (["run", "circle", "--memory", "k=0"], "k = 0"),
        (["run", "circle", "--memory", "k"], "not name=value"),
        (["run", "circle", "--memory", "k=1", "--memory", "k=2"], "--memory is given twice"),
        (["run", "circle", "--memory", "enabled=true", "--no-memory"], "say it once"),
        (["run", "friendship_paradox", "--memory", "k=3"], "keeps no memory"),
        (["run", "mesa.examples.basic.schelling.model@Schelling", "--memory", "k=3"], "takes no memory"),
    ],
)
def test_a_wrong_call_is_one_line(looked_at: Run, args: list[str], said: str) -> None:
    assert said in refused(*args)
    assert not (looked_at.path / "memory").exists() or "search" in args or "rebuild" in args


@pytest.mark.parametrize(
    "args, said",
    [
        (["memory", "one", "0", "--query", "x", "--policy", "nope"], "no retrieval policy 'nope'"),
        (["memory", "search", "none", "x"], "kept no memory"),
        (["ask", "none", "0", "x"], "kept no memory"),
    ],
)
def test_where_an_error_arose_is_shown_to_who_asks(looked_at: Run, args: list[str], said: str) -> None:
    done = call("--traceback", *args)
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("simworld: ")
    assert said in lines[-1]


@pytest.mark.parametrize("option", ["--no-memory", "--no-reflection"])
def test_a_plain_mesa_model_may_be_told_to_remember_nothing(lab: Path, option: str) -> None:
    schelling = "mesa.examples.basic.schelling.model@Schelling"
    shown("run", schelling, "--steps", "1", "-p", "width=8", "-p", "height=8", "--out", "out", option)
    assert "memory" not in load_run("out").manifest


def test_options_of_memory_reach_the_plan(lab: Path) -> None:
    shown("run", "circle", "--steps", "1", "--out", "set", "--memory", "policy=recent", "--memory", "k=2")
    assert load_run("set").plan.memory == {"policy": "recent", "k": 2}
    shown("run", "circle", "--steps", "1", "--out", "env", SIMWORLD_RUN_MEMORY="policy=cosine k=3")
    assert load_run("env").plan.memory == {"policy": "cosine", "k": 3}
    shown("run", "circle", "--steps", "1", "--out", "off", "--no-memory", "-p", "plain=true")
    assert "memory" not in load_run("off").manifest
    shown("run", "circle", "--steps", "1", "--out", "dull", SIMWORLD_RUN_NO_REFLECTION="1")
    assert load_run("dull").manifest["memory"]["settings"]["reflection"] is False


def test_the_environment_sets_options_and_breaks_nothing(looked_at: Run) -> None:
    assert "after step 2;" in shown("memory", "one", "0", SIMWORLD_MEMORY_SHOW_STEP="2")
    env = {
        "SIMWORLD_MEMORY": "x",
        "SIMWORLD_MEMORY_STEP": "x",
        "SIMWORLD_ASK": "x",
        "SIMWORLD_RUN_MEMORY": "policy=nope",
    }
    assert "after step 8;" in shown("memory", "one", "0", **env)
    assert "asked after step 3" in shown("ask", "one", "0", "feast?", SIMWORLD_ASK_STEP="3")
    assert "SIMWORLD_MEMORY_SHOW_STEP" in refused("memory", "one", "0", SIMWORLD_MEMORY_SHOW_STEP="x")


# -- ask ----------------------------------------------------------------------------------------------------------


def test_ask_says_who_answers_what_from_what(looked_at: Run) -> None:
    before = hashes(looked_at.path)
    text = shown("ask", "one", "0", "When is the feast?", "--step", "3", "-k", "2")
    assert looked_at.personas is not None
    assert "asked after step 3, outside the run: When is the feast?" in text
    assert f"{looked_at.personas[0].name} (agent 0); mind: rules" in text
    assert FEAST in text
    assert "what came to mind, and why" in text
    assert len(re.findall(r"^\d\.\d{3}  \[\d+\] ", text, re.M)) == 2
    assert shown("ask", "one", "0", "When is the feast?", "--step", "3", "--top", "2") == text
    assert hashes(looked_at.path) == before


SECRET = "I water the bread, and nobody must ever know."


def test_ask_in_public_leaves_secrets_out(looked_at: Run, tmp_path: Path) -> None:
    assert looked_at.personas is not None
    first, *others = looked_at.personas
    first = first.model_copy(update={"secrets": (Secret(text=SECRET, sensitivity=5),)})
    run = sw.run(looked_at.plan.scenario, steps=1, cast=[first, *others], out=tmp_path / "run")
    asked = "ask", str(run.path), "0", SECRET, "--policy", "cosine"
    assert f"What comes to mind: {SECRET}" in shown(*asked)
    public = shown(*asked, "--public").replace(f"outside the run: {SECRET}", "")
    assert "gave me" in public
    assert SECRET not in public
    assert "private" not in public
    found = shown("memory", "search", str(run.path), SECRET, "-k", "2").strip().splitlines()
    assert [line.endswith("  (private)") for line in found] == [True, False]
    assert SECRET in found[0]


def test_ask_with_a_model_says_what_it_took(looked_at: Run, server: ModelServer) -> None:
    before = hashes(looked_at.path)
    text = shown("ask", "one", "0", "feast?", "--model", "local/other", "--api-base", server.base)
    assert "mind: local/other (language model)" in text
    assert "I remember " in text
    assert re.search(r"1 calls?, \d+ tokens", text)
    assert hashes(looked_at.path) == before


def test_a_server_that_is_gone_is_one_line(looked_at: Run) -> None:
    done = call("ask", "one", "0", "x", "--model", "local/x", "--api-base", "http://127.0.0.1:9/v1", "--retries", "0")
    assert done.exit_code != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("simworld: model 'local/x' did not answer")


# -- hostile texts ------------------------------------------------------------------------------------------------

EVIL = "\x1b[2J\x1b]0;owned\x07[bold red]x[/] :smile: \\[y] \r\nsecond line\u2028third\x9b31m\u202e" + "long " * 3000


def test_hostile_texts_move_no_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = CIRCLE.replace("Thank everybody by day {t + 3}.", "{self.params.told[:200]}")
    text = text.replace('"words": f"Here, for {view[\'name\']}!"', '"words": "\\x1b[2Jhello\\r\\n[red]"')
    spec = write_circle(tmp_path, text)
    run = sw.run(spec, steps=4, told=EVIL, told_at=1, out=tmp_path / "run")
    outputs = [
        shown("memory", "run", "0", "--all", FORCE_COLOR="1"),
        shown("memory", "run", "0", "--step", "2", "--query", EVIL[:300]),
        shown("memory", "run", "0", "--said", "hello"),
        shown("memory", "search", "run", "second line"),
        shown("ask", "run", "0", EVIL[:300]),
    ]
    for out in outputs:
        coloured = re.sub(r"\x1b\[[0-9;]*m", "", out)  # what rich itself writes when a terminal takes it
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", coloured)
        assert "\nsecond line" not in out
    assert "[bold red]x[/] :smile:" in outputs[0]
    for args in (["ask", "run", EVIL, "x"], ["memory", "run", EVIL], ["memory", "run", "0", "--said", EVIL]):
        line = refused(*args)
        assert "\x1b" not in line
    assert run.verify()


@pytest.mark.parametrize(
    "data, is_recalled",
    [("{}", True), ("None", True), ("[1, 2]", True), ("'text'", True), ("7", True), ("{'occurrence': 1}", False),
     ("{'decision': 'Other'}", False), ("{'decision': [1], 'occurrence': {}}", False)],
)  # fmt: skip
def test_data_of_an_event_may_be_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, is_recalled: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = write_circle(tmp_path, CIRCLE.replace('data={"decision": "Share", "occurrence": 0}', f"data={data}"))
    sw.run(spec, steps=1, out=tmp_path / "run")
    text = shown("memory", "run", "0", "--said", "here")
    assert "step 1, give to " in text
    assert ("recalled in step 1" in text) == is_recalled


# -- search -------------------------------------------------------------------------------------------------------


def test_a_search_finds_by_words_and_filters(lab: Path) -> None:
    text = shown("memory", "search", "one", "the feast on Sunday at the mill", "-k", "3")
    assert shown("memory", "search", "one", "the feast on Sunday at the mill", "--top", "3") == text
    first, *rest = text.strip().splitlines()
    assert re.match(r"\d\.\d{3}  .+ \(agent 0\), step 3, event \[\d+\] " + re.escape(FEAST), first)
    assert len(rest) == 2
    assert FEAST not in shown("memory", "search", "one", "feast", "--until", "2")
    assert "(agent 0)" not in shown("memory", "search", "one", "feast", "--agent", "1", "--agent", "2")
    only = shown("memory", "search", "one", "feast", "--kind", "summary", "-k", "20").strip().splitlines()
    assert only
    assert all(", summary [" in line for line in only)
    assert "nothing was found" in shown("memory", "search", "one", "feast", "--kind", "plan")


def test_a_search_over_two_runs_names_them(lab: Path) -> None:
    text = shown("memory", "search", "one", "two", "the mill", "-k", "30")
    assert ", agent" not in text
    where = {line.split("  ", 1)[1].split(",")[0] for line in text.strip().splitlines()}
    assert where == {"one", "two"}
    assert FEAST in text
    assert "The mill burned down." in text
    scores = [float(line[:5]) for line in text.strip().splitlines()]
    assert scores == sorted(scores, reverse=True)


def test_two_embedders_are_not_compared(lab: Path, server: ModelServer) -> None:
    spec = f"{lab / 'scenarios' / 'circle.py'}@Circle"
    sw.run(spec, steps=1, memory={"embedder": "local/e"}, api_base=server.base, out=lab / "runs" / "three")
    assert "cannot be compared, search them apart" in refused("memory", "search", "one", "three", "feast")


def test_a_search_compares_what_the_arena_compares(lab: Path) -> None:
    run = load_run("runs/one")
    store = remembered(run)
    question = "Who gave much bread?"
    rows, norms = quantised(embedder("hashed").embed([question, *(m.text for m in store.records(0))]))
    cosines = (rows[1:].astype(int) @ rows[0].astype(int)) / (norms[1:].astype(float) * float(norms[0]))
    expected = {m.id: float(c) for m, c in zip(store.records(0), cosines, strict=True)}
    hits = [f.hit for f in search_memories([run], question, 100, agents={0: [0]})]
    shared = expected.keys() & {hit.id for hit in hits}
    assert len(shared) > 5
    assert all(hit.cosine == pytest.approx(expected[hit.id], abs=2e-6) for hit in hits if hit.id in shared)


def test_a_search_finds_what_the_arena_finds(lab: Path) -> None:
    run = load_run("runs/one")
    store = remembered(run)
    for agent in range(6):
        question = f"Who gave much bread on day {agent}?"
        (there,) = store.retrieve([agent], [question], policy="cosine", k=5)
        hits = [f.hit for f in search_memories([run], question, 100, agents={0: [agent]})]
        held = {m.id for m in store.records(agent) if m.t_closed < 0}
        here = [hit.id for hit in hits if hit.id in held][:5]
        assert here == [m.id for m in there]


# -- an index that mends itself -----------------------------------------------------------------------------------


def answer_of(run: str = "one") -> str:
    return shown("memory", "search", run, "the feast on Sunday at the mill", "-k", "5")


def test_whatever_befalls_the_index_the_answer_is_right(lab: Path) -> None:
    right = answer_of()
    index = lab / "runs" / "one" / "memory"
    files = sorted(p for p in index.rglob("*") if p.is_file())
    for file in files:
        content = bytearray(file.read_bytes())
        if not content:
            continue
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))
        assert answer_of() == right, file
        break
    shutil.rmtree(index)
    assert answer_of() == right
    (index / "index.json").write_text("{")
    assert answer_of() == right
    next(index.rglob("*.sqlite3")).unlink()
    assert answer_of() == right
    (index / "stray").write_text("x")
    assert answer_of() == right
    # Another run's index, whole as it is, in this one's place.
    answer_of("two")
    shutil.rmtree(index)
    shutil.copytree(lab / "runs" / "two" / "memory", index)
    assert answer_of() == right
    assert load_run("runs/one").verify(again=False)
    assert {p.name for p in index.parent.iterdir() if "tmp" in p.name} == set()


@pytest.mark.slow
def test_killed_while_it_builds_the_index(lab: Path) -> None:
    right = answer_of("one")
    shutil.rmtree(lab / "runs" / "one" / "memory")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import sys, time; import simworld.memory._index as index; plain = index._settle\n"
        "def slow(w):\n    print('go', flush=True); time.sleep(60); return plain(w)\n"
        "index._settle = slow\n"
        "from simworld.run import load_run, rebuild_index; rebuild_index(load_run('runs/one'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=lab, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    time.sleep(0.05)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [p for p in (lab / "runs" / "one").iterdir() if ".tmp-" in p.name]
    assert load_run("runs/one").verify(again=False)
    assert answer_of("one") == right
    assert not [p for p in (lab / "runs" / "one").iterdir() if ".tmp-" in p.name]


def test_rebuild_says_what_it_indexed(lab: Path) -> None:
    text = shown("memory", "rebuild", "one")
    n = load_run("runs/one").manifest["memory"]["index"]["records"]
    assert re.match(rf"{n:,} memories indexed in \d+\.\d s, \d+\.\d MB\n$", text)


def test_an_unfinished_run_is_searched_and_again_when_it_is_finished(lab: Path) -> None:
    spec = f"{lab / 'scenarios' / 'circle.py'}@Circle"
    out = begin_and_cut(spec, lab / "runs" / "cut", 2, seed=4, steps=STEPS)
    assert FEAST not in answer_of("cut")
    assert load_run(out).status == "interrupted"
    sw.resume(out)
    assert FEAST in answer_of("cut")
    assert answer_of("cut") == answer_of("one")
    assert load_run(out).digest == load_run("runs/one").digest


def test_an_index_of_another_embedder_is_kept_and_asked_by_it(lab: Path, server: ModelServer) -> None:
    by_words = answer_of()
    about = lab / "runs" / "one" / "memory" / "index.json"
    reach = ("--api-base", server.base)
    shown("memory", "rebuild", "one", "--embedder", "local/e", *reach)
    made = about.read_text()
    assert json.loads(made)["identity"] == {"name": "local/e", "dimensions": DIMENSIONS, "normalised": True}
    sent = server.app.n
    found = shown("memory", "search", "one", FEAST, "-k", "1", *reach)
    assert server.app.n == sent + 1
    assert re.match(r"1\.000  ", found)
    assert FEAST in found
    assert FEAST in shown("memory", "search", "one", FEAST, "-k", "1", "--api-base", f"local/e={server.base}")
    assert "--api-base" in refused("memory", "search", "one", FEAST)
    assert about.read_text() == made
    # The other run's index has the vectors of its own embedder.
    assert "cannot be compared, search them apart" in refused("memory", "search", "one", "two", "feast", *reach)
    shown("memory", "rebuild", "two", "--embedder", "local/e", *reach)
    assert "The mill burned down." in shown("memory", "search", "one", "two", "The mill burned down.", *reach)
    # The agents themselves remember by the run's embedder.
    assert FEAST in shown("ask", "one", "0", "When is the feast?", "--step", "3")
    assert load_run("runs/one").verify(again=False)
    shown("memory", "rebuild", "one")
    assert answer_of() == by_words


def test_an_index_of_another_embedder_that_is_damaged_is_made_by_the_runs_own(lab: Path, server: ModelServer) -> None:
    by_words = answer_of()
    shown("memory", "rebuild", "one", "--embedder", "local/e", "--api-base", server.base)
    (lab / "runs" / "one" / "memory" / "index.json").unlink()
    assert answer_of() == by_words


def test_a_question_of_other_dimensions_than_the_index_is_one_line(lab: Path, server: ModelServer) -> None:
    shown("memory", "rebuild", "one", "--embedder", "local/e", "--api-base", server.base)
    with ModelServer(faults={"wrong_dimension": 1.0}) as other:
        done = call("memory", "search", "one", "feast", "--api-base", other.base)
    assert done.exit_code in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "dimensions" in done.stderr


def test_a_search_asks_where_the_run_asked(lab: Path) -> None:
    spec = f"{lab / 'scenarios' / 'circle.py'}@Circle"
    with ModelServer() as gone:
        sw.run(spec, steps=3, memory={"embedder": "local/e"}, api_base=gone.base, service={"retries": 0},
               out=lab / "runs" / "far")  # fmt: skip
        assert FEAST in shown("memory", "search", "far", FEAST, "-k", "1")
    done = call("memory", "search", "far", "bread")
    assert (done.exit_code, len(done.stderr.strip().splitlines())) == (1, 1)
    assert "'local/e' did not answer" in done.stderr
    with ModelServer() as here:
        assert "bread" in shown("memory", "search", "far", "bread", "--api-base", here.base)
        assert here.app.n == 1  # the vectors of the memories are in the journal


def test_a_folder_that_cannot_be_written_is_one_line(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import simworld.memory._index as index

    plain = Path.mkdir

    def mkdir(self: Path, *args: int, **more: bool) -> None:
        if ".tmp-" in self.name:
            raise PermissionError(13, "Permission denied", str(self))
        plain(self, *args, **more)

    monkeypatch.setattr(index.Path, "mkdir", mkdir)
    for args in (["memory", "search", "one", "feast"], ["memory", "rebuild", "one"]):
        done = call(*args)
        assert done.exit_code in (1, 2)
        assert len(done.stderr.strip().splitlines()) == 1
        assert "cannot write" in done.stderr
        assert "Permission denied" in done.stderr
    assert FEAST in shown("memory", "one", "0")
    assert FEAST in shown("ask", "one", "0", "feast?", "--step", "3")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_can_be_looked_at(lab: Path) -> None:
    folder = lab / "runs" / "one"
    folder.chmod(0o500)
    try:
        assert FEAST in shown("memory", "one", "0")
        assert FEAST in shown("ask", "one", "0", "feast?", "--step", "3")
        assert call("memory", "search", "one", "feast").exit_code in (1, 2)
    finally:
        folder.chmod(0o700)

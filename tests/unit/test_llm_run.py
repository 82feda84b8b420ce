"""Runs with language models, end to end against a real server on loopback: tape, verification, budget, seats, keys."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import simworld as sw
from simworld.errors import BudgetSpent, Interrupted, ModelError, ParameterError, RunError, TapeError, UsageError
from simworld.mind.llm import KEY_VARIABLE
from simworld.run import Run, execute, prepare, start_run
from tests.server import Latency, ModelServer

N, STEPS = 16, 3
CLIENTS = ["local/scripted", "openai/scripted"]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


def run_of(server: ModelServer, out: Path, model: Any = "local/scripted", **call: Any) -> Run:
    call = {"n_agents": N, "steps": STEPS, "seed": 3, **call}
    return sw.run("friendship_paradox", model=model, api_base=server.base, out=out, **call)


@pytest.fixture(scope="module")
def finished(server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_of(server, tmp_path_factory.mktemp("finished") / "run")


def everything_under(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_it_runs_end_to_end_and_every_decision_is_asked(finished: Run) -> None:
    assert finished.status == "finished"
    assert set(finished.calls["purpose"]) == {"Act", "Follow", "CommentTurn", "Interview"}
    assert finished.mind == "local/scripted (language model)"
    assert finished.manifest["determinism"] == "live: only its tape is exact"
    assert finished.answers["asked"].sum() == finished.calls.height
    assert finished.answers["first_try"].sum() == finished.calls.height
    assert set(finished.manifest["prompts"]) >= {
        f"friendship_paradox/prompts/{n}.md" for n in ("Act", "Follow", "world")
    }
    written = finished.table("posts").filter(pl.col("step") == STEPS)
    assert written["mind"].unique().to_list() == ["local/scripted"]
    assert written["text"].str.starts_with("Thinking of ").all()


def test_both_clients_give_the_same_run(server: ModelServer, finished: Run, tmp_path: Path) -> None:
    other = run_of(server, tmp_path / "run", "openai/scripted")
    label = {"local/scripted": "M", "openai/scripted": "M"}
    same = ["step", "agent", "purpose", "occurrence", "attempt", "system", "user", "reply", "input_tokens", "seed"]
    assert finished.calls.select(same).equals(other.calls.select(same))
    events = [run.events.with_columns(pl.col("data").str.replace_many(label)) for run in (finished, other)]
    assert events[0].equals(events[1])


def test_spending_is_a_table_by_agent_decision_and_step(finished: Run) -> None:
    spending = finished.spending
    assert spending.columns == ["step", "agent", "purpose", "model", "calls", "input_tokens", "output_tokens", "usd"]
    assert spending["calls"].sum() == finished.calls.height
    assert spending["input_tokens"].sum() == finished.calls["input_tokens"].sum()
    assert spending["usd"].null_count() == spending.height  # nobody said what the server costs
    (said,) = finished.manifest["spending"]
    assert (said["calls"], said["usd"]) == (finished.calls.height, None)


def test_ids_in_prompts_come_from_the_society_and_no_clock_is_in_them(finished: Run) -> None:
    texts = "\n".join(finished.calls["user"])
    assert " at 0x" not in texts
    posts = finished.table("posts")["id"].max()
    shown = {
        int(p) for p in finished.calls["user"].str.extract_all(r"- post (\d+)").explode().drop_nulls().str.slice(7)
    }
    assert shown
    assert max(shown) <= posts


# -- the tape -----------------------------------------------------------------------------------------------------


def test_verify_needs_the_folder_alone(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import simworld.mind.llm._switchboard as switchboard

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a client was made")

    monkeypatch.setattr(switchboard, "CompatibleModel", refuse)
    monkeypatch.setattr(switchboard, "LiteLLMModel", refuse)
    before = everything_under(finished.path)
    outcome = sw.verify(finished.path)
    assert outcome, outcome
    assert f"{finished.calls.height} answers from the tape" in str(outcome)
    assert everything_under(finished.path) == before


NETWORKED = '''
import socket
import simworld as sw

class Say(sw.Decision):
    """Say it."""
    loud: bool = sw.field(doc="Loudly?")

class Calls(sw.World):
    """Who calls home?"""
    class Params(sw.Params):
        n_agents: int = sw.field(3, ge=1, unit="agents", doc="People.")
    policies = {"rules": {Say: lambda p, o, m, r: True}}

    def step(self):
        self.decide(Say, None, lambda i: {"port": PORT})
        socket.create_connection(("127.0.0.1", PORT)).close()
'''


def test_verify_forbids_the_network(server: ModelServer, tmp_path: Path) -> None:
    port = int(server.base.rpartition(":")[2].partition("/")[0])
    (tmp_path / "calls.py").write_text(NETWORKED.replace("PORT", str(port)), "utf-8")
    run = sw.run(str(tmp_path / "calls.py"), steps=1, model="local/x", api_base=server.base, out=tmp_path / "run")
    outcome = run.verify()
    assert not outcome
    assert "may not reach" in str(outcome)


def alter(run: Run, statement: str, *values: Any) -> None:
    with contextlib.closing(sqlite3.connect(run.path / "journal.sqlite")) as db, db:
        assert db.execute(statement, values).rowcount > 0


@pytest.fixture
def own(server: ModelServer, tmp_path: Path) -> Run:
    return run_of(server, tmp_path / "run", n_agents=8, steps=2)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE texts SET text = text || ' ' WHERE rowid = 3",
        "DELETE FROM calls WHERE step = 2 AND agent = 1",
        "UPDATE calls SET reply = (SELECT reply FROM calls WHERE step = 2 AND agent = 3) WHERE step = 2 AND agent = 2",
        "UPDATE calls SET output_tokens = 7 WHERE step = 1 AND agent = 0",
    ],
)
def test_an_altered_tape_is_found(own: Run, statement: str) -> None:
    alter(own, statement)
    checks = {c.what: c.ok for c in sw.verify(own.path, again=False).checks}
    assert not checks["tape"]
    assert checks["files"]


def test_an_answer_taken_from_the_tape_is_missed_by_name(own: Run) -> None:
    alter(own, "DELETE FROM calls WHERE step = 2 AND agent = 1 AND purpose = 'Act'")
    (again,) = [c for c in sw.verify(own.path).checks if c.what == "run again"]
    assert not again.ok
    assert "agent 1, step 2, Act" in again.detail


def test_a_changed_prompt_is_shown_as_a_difference(server: ModelServer, tmp_path: Path) -> None:
    from simworld.scenario import new_lab

    lab = tmp_path / "lab"
    new_lab(lab)
    scenario = lab / "scenarios" / "friendship_paradox"
    run = sw.run(str(scenario), n_agents=6, steps=2, model="local/x", api_base=server.base, out=tmp_path / "run")
    assert run.verify()
    prompt = scenario / "prompts" / "Act.md"
    prompt.write_text(prompt.read_text("utf-8").replace("why, in a few words", "why, in a poem"), "utf-8")
    (again,) = [c for c in run.verify().checks if c.what == "run again"]
    assert not again.ok
    assert "agent 0, step 1, Act" in again.detail
    assert "the scenario's files have changed" in again.detail
    assert "-- reason: why, in a few words." in again.difference
    assert "+- reason: why, in a poem." in again.difference


def test_a_tape_is_repeated_with_other_observers(finished: Run, tmp_path: Path) -> None:
    again = sw.run("friendship_paradox", tape=finished, observers=["clustering"], out=tmp_path / "run")
    assert "clustering" in set(again.findings["observer"])
    assert "clustering" not in set(finished.findings["observer"])
    assert again.events.equals(finished.events)
    assert again.calls.drop("seconds").equals(finished.calls.drop("seconds"))
    assert again.manifest["determinism"] == "exact"
    assert again.verify()
    fewer = sw.run("friendship_paradox", tape=finished, steps=2, out=tmp_path / "fewer")
    assert fewer.steps == 2
    assert fewer.events.equals(finished.events.filter(pl.col("step") <= 2))


def test_a_tape_cannot_be_asked_something_else(finished: Run, tmp_path: Path) -> None:
    for call in ({"n_agents": 5}, {"steps": STEPS + 1}, {"model": "local/other"}):
        with pytest.raises(ParameterError):
            sw.run("friendship_paradox", tape=finished, out=tmp_path / "run", **call)
    rules = sw.run("friendship_paradox", n_agents=5, steps=1, out=tmp_path / "rules")
    with pytest.raises(ParameterError, match="no tape"):
        sw.run("friendship_paradox", tape=rules, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_broken_tape_stops_the_repetition(own: Run, tmp_path: Path) -> None:
    alter(own, "DELETE FROM calls WHERE step = 2 AND agent = 1 AND purpose = 'Act'")
    with pytest.raises(TapeError, match="agent 1, step 2, Act"):
        sw.run("friendship_paradox", tape=own, out=tmp_path / "again")
    assert sw.load_run(tmp_path / "again").status == "failed"


# -- money --------------------------------------------------------------------------------------------------------


def test_a_budget_is_never_exceeded_and_the_run_resumes_with_a_higher_one(server: ModelServer, tmp_path: Path) -> None:
    free = run_of(server, tmp_path / "free", service={"prices": {"local/scripted": (1.0, 4.0)}})
    whole = free.spending["usd"].sum()
    assert whole > 0
    limited = {
        "service": {"prices": {"local/scripted": (1.0, 4.0)}},
        "budget_usd": whole * 0.6,
        "asking": {"max_tokens": 60},
    }
    with pytest.raises(BudgetSpent, match=r"stopped after step \d of 3.*simworld resume"):
        run_of(server, tmp_path / "run", **limited)
    stopped = sw.load_run(tmp_path / "run")
    assert stopped.status == "interrupted"
    assert stopped.steps < STEPS
    assert stopped.calls["usd"].sum() <= whole * 0.6
    with pytest.raises(BudgetSpent):  # nothing was added, so nothing more is spent
        sw.resume(stopped)
    assert sw.load_run(tmp_path / "run").calls["usd"].sum() <= whole * 0.6
    paid = stopped.calls.height
    sent = server.app.n
    done = sw.resume(stopped, service={"budget_usd": whole * 10})
    assert done.status == "finished"
    assert server.app.n - sent == done.calls.height - paid
    reference = run_of(server, tmp_path / "other", asking={"max_tokens": 60})
    assert done.digest == reference.digest
    assert done.verify()


def test_tokens_are_limited_too(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent, match="tokens"):
        run_of(server, tmp_path / "run", max_tokens_total=20_000)
    stopped = sw.load_run(tmp_path / "run")
    assert 0 < stopped.calls["input_tokens"].sum() + stopped.calls["output_tokens"].sum() <= 20_000


def test_a_budget_needs_a_price(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"price of 'local/scripted' is unknown.*--price"):
        run_of(server, tmp_path / "run", budget_usd=1.0)
    assert not (tmp_path / "run").exists()


# -- who decides --------------------------------------------------------------------------------------------------


def test_models_have_their_shares_and_the_rest_is_rules(server: ModelServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path / "run", ["local/a:0.5", "local/b:0.25"], mind="null")
    assert run.manifest["minds"] == {"local/a": 8, "null": 4, "local/b": 4}
    asked = run.calls.filter(pl.col("purpose") == "Act").group_by("model").agg(pl.col("agent").unique()).sort("model")
    by_model = {model: set(agents) for model, agents in asked.iter_rows()}
    assert [len(by_model[m]) for m in ("local/a", "local/b")] == [8, 4]
    assert not by_model["local/a"] & by_model["local/b"]
    again = run_of(server, tmp_path / "again", ["local/a:0.5", "local/b:0.25"], mind="null")
    assert again.digest == run.digest
    other = run_of(server, tmp_path / "other", ["local/a:0.5", "local/b:0.25"], mind="null", seed=4)
    assert {*other.calls.filter(pl.col("model") == "local/a")["agent"]} != by_model["local/a"]


def test_all_models_are_asked_at_once(tmp_path: Path) -> None:
    with ModelServer(latency=Latency(1.0)) as slow:
        run_of(slow, tmp_path / "run", ["local/a:0.5", "local/b:0.5"], steps=1)
        assert slow.app.most_under_way == N


MESA = """
import simworld as sw

class Say(sw.Decision):
    \"\"\"Whether to say it.\"\"\"
    loud: bool = sw.field(doc="Loudly?")

class Hall(sw.World):
    \"\"\"Who is loud?\"\"\"
    class Params(sw.Params):
        n_agents: int = sw.field(3, ge=1, unit="agents", doc="People.")
    policies = {"rules": {Say: lambda persona, seen, memory, rng: True}}

    def setup(self):
        if self.asks_early:
            self.decide(Say, None, lambda i: None)

    asks_early = False

    def step(self):
        self.globals_ = [a.loud for a in self.decide(Say, None, lambda i: {"noise": 3})]

class Early(Hall):
    \"\"\"Who is loud, asked before the run begins?\"\"\"
    asks_early = True
"""


def test_a_scenario_in_one_file_without_prompts_is_asked_too(server: ModelServer, tmp_path: Path) -> None:
    (tmp_path / "hall.py").write_text(MESA, "utf-8")
    run = sw.run(f"{tmp_path / 'hall.py'}@Hall", steps=2, model="local/x", api_base=server.base, out=tmp_path / "run")
    assert "Your decision: Whether to say it." in run.calls["system"][0]
    assert "- noise: 3" in run.calls["user"][0]
    assert run.verify()
    with pytest.raises(RunError, match="ask in a step, not in setup"):
        sw.run(f"{tmp_path / 'hall.py'}@Early", steps=1, model="local/x", api_base=server.base, out=tmp_path / "early")
    assert not (tmp_path / "early").exists()


def test_a_society_has_a_model_under_mesas_own_tools(server: ModelServer, tmp_path: Path) -> None:
    from simworld.agent import PromptBook
    from simworld.mind.llm import ModelMind, Service, Switchboard
    from simworld.scenario import load, resolve

    (tmp_path / "hall.py").write_text(MESA, "utf-8")
    board = Switchboard(Service(api_base={"": server.base}))
    mind = ModelMind("local/x", board, PromptBook(), model=board.connect("local/x", ["local/x"]))
    world = load(resolve(f"{tmp_path / 'hall.py'}@Hall"))(rng=1, mind=mind)
    world.run_for(2)
    assert len(world.globals_) == 3
    assert board.ledger.calls == 6
    board.close()


@pytest.mark.parametrize(
    "models, said",
    [
        (["a:0.7", "b:0.6"], "add up to 1.3"),
        (["a", "a"], "twice"),
        (["a b"], "names no model"),
        (["local/a"], "--api-base"),
        (["nonsense"], "names no provider"),
    ],
)
def test_what_is_no_list_of_models(models: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=said):
        sw.run("friendship_paradox", model=models, n_agents=5, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tag_is_no_share() -> None:
    from simworld.run._seats import shares_of

    assert shares_of(["ollama/qwen3:8b"]) == {"ollama/qwen3:8b": 1.0}
    assert shares_of(["ollama/qwen3:0.6b:0.3", "x:8"]) == {"ollama/qwen3:0.6b": 0.3, "x:8": 0.7}
    assert shares_of(["a:0.5", "b", "c"]) == {"a": 0.5, "b": 0.25, "c": 0.25}


def test_seats_and_the_minds_of_personas(server: ModelServer, tmp_path: Path) -> None:
    from simworld.persona import sample_population

    people = [
        person.model_copy(update={"mind": mind})
        for person, mind in zip(sample_population(4, 1), [None, "local/a", "null", None], strict=True)
    ]
    call: dict[str, Any] = {"n_agents": 4, "cast": people}
    run = run_of(server, tmp_path / "run", (), seats={"0": "null", people[3].name: "local/b"}, **call)
    assert run.manifest["minds"] == {"null": 2, "local/a": 1, "local/b": 1}
    assert {(a, m) for a, m in run.calls.select("agent", "model").iter_rows()} == {(1, "local/a"), (3, "local/b")}
    assert run.verify()
    # A mind that is given outright is everybody's: the control.
    assert run_of(server, tmp_path / "null", (), mind="null", **call).manifest["minds"] == {"null": 4}
    with pytest.raises(ParameterError, match="no agent 'zoe'"):
        run_of(server, tmp_path / "no", (), seats={"zoe": "null"}, **call)


def test_a_person_plays_among_models(server: ModelServer, tmp_path: Path) -> None:
    asked: list[str] = []
    said = {"Act": '{"choice": "post", "content": "Hello from a person."}', "Follow": '{"target": null}'}
    said |= {"Interview": '{"main_influence": null}', "CommentTurn": '{"text": "", "end": true}'}

    def speak(request: Any) -> str:
        asked.append(request.messages[-1][1])
        purpose = str(request.position.purpose)
        return "not json" if len(asked) == 1 else said[purpose]

    prepared = prepare(
        "friendship_paradox", params={"n_agents": 4}, steps=2, models=("local/a",), seats={"2": "human"}, speak=speak,
        service={"api_base": {"": server.base}},
    )  # fmt: skip
    path = start_run(prepared, tmp_path / "run")
    execute(prepared, path)
    run = sw.load_run(path)
    assert "You are agent 2." in asked[0]
    assert "cannot be used" in asked[1]
    assert "Hello from a person." in run.table("posts")["text"].to_list()
    assert run.manifest["minds"] == {"local/a": 3, "human": 1}
    assert run.verify()  # nobody is asked again
    n = len(asked)
    assert n == run.calls.filter(pl.col("model") == "human").height


def test_a_person_may_have_the_run_stopped_and_goes_on_later(server: ModelServer, tmp_path: Path) -> None:
    call: dict[str, Any] = {"params": {"n_agents": 3}, "steps": 1, "seats": {"2": "human"}}
    boards: list[Any] = []

    def leaving(request: Any) -> str:
        boards[0].stop_soon()  # as Ctrl-C does
        return '{"choice": "none"}'

    prepared = prepare("friendship_paradox", **call, speak=leaving)
    boards.append(prepared.board)
    path = start_run(prepared, tmp_path / "run")
    with pytest.raises(Interrupted, match=r"stopped in step 1 of 1.*simworld resume"):
        execute(prepared, path)
    assert sw.load_run(path).status == "interrupted"
    done = sw.resume(path, speak=lambda request: '{"choice": "none"}')
    assert done.status == "finished"
    assert done.calls.height == 1


def test_prompts_show_as_much_of_the_persona_as_is_wanted(server: ModelServer, tmp_path: Path) -> None:
    texts = {}
    for card in ("full", "summary", "traits", "none"):
        run = run_of(server, tmp_path / card, n_agents=4, steps=1, asking={"card": card})
        texts[card] = run.calls["user"][0]
        assert run.verify()
    assert "Your traits" in texts["full"]
    assert "Trait:" in texts["traits"]
    assert "Who you are" in texts["summary"]
    assert "Who you are" not in texts["none"]
    assert len(texts["full"]) > len(texts["summary"]) > len(texts["none"])


# -- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CLIENTS)
def test_what_is_truly_bad_is_refused_and_counted(model: str, tmp_path: Path) -> None:
    with ModelServer(bad_agents=(1, 5)) as server:
        run = run_of(server, tmp_path / "run", model)
        refused = run.events.filter(pl.col("kind") == "refusal")
        assert set(refused["agent"]) == {1, 5}
        assert run.answers["refused"].sum() == refused.height > 0
        assert run.answers["again"].sum() == 0
        first = json.loads(refused["data"][0])
        assert (first["mind"], first["purpose"], first["decision"]) == (model, "Act", "Act")
        # Three attempts each, the second and third with what was wrong.
        tries = run.calls.filter((pl.col("agent") == 1) & (pl.col("step") == 1) & (pl.col("purpose") == "Act"))
        assert tries["attempt"].to_list() == [0, 1, 2]
        assert "cannot be used" in tries["user"][1]
        assert "[answered]" in tries["user"][1]
        assert run.verify()


def test_the_same_reply_is_never_parsed_twice(tmp_path: Path) -> None:
    """A retry that reads the same reply again asks nobody; each attempt is a call of its own."""
    with ModelServer(fixed="no JSON at all") as server:
        run = run_of(server, tmp_path / "run", n_agents=3, steps=1, asking={"attempts": 4})
        assert server.app.n == run.calls.height == 3 * 4
        assert run.answers.row(0)[3:] == (3, 0, 0, 0, 3)


def test_a_server_without_schemas_is_asked_without(tmp_path: Path) -> None:
    with ModelServer(takes_schema=False) as bare, ModelServer() as full:
        run = run_of(bare, tmp_path / "bare")
        assert run.digest == run_of(full, tmp_path / "full").digest
        assert run.manifest["tape"] == sw.load_run(tmp_path / "full").manifest["tape"]


def test_text_of_a_model_is_data(tmp_path: Path) -> None:
    evil = "{{ 7*7 }} {% raise %} %s {0} <script>alert(1)</script> \x1b[31m \\u0000 __import__('os').system('x')"
    answer = json.dumps({"choice": "post", "target_post": None, "content": evil, "reason": ""})
    with ModelServer() as server:
        server.app.script = lambda messages: answer if '"choice"' in messages[0]["content"] else '{"target": null}'
        graph = {"graph": "complete_graph", "n_agents": 4, "interviews": False}
        run = run_of(server, tmp_path / "run", **graph)
        assert set(run.table("posts")["text"]) == {evil}
        shown = run.calls.filter((pl.col("step") == 2) & (pl.col("purpose") == "Act"))["user"][0]
        assert "{{ 7*7 }} {% raise %} %s {0} <script>" in shown
        assert "49" not in shown.replace(evil, "")
        assert run.verify()
        assert "\x1b" not in repr(run)


# -- keys ---------------------------------------------------------------------------------------------------------

KEY = "sk-planted-5f3a9c1e7b2d"


@pytest.mark.parametrize("model, variable", [("local/scripted", KEY_VARIABLE), ("openai/scripted", "OPENAI_API_KEY")])
def test_a_key_reaches_the_server_and_nothing_else(
    model: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, KEY)
    with ModelServer(echo_key=True) as server:
        server.app.script = lambda messages: '{"choice": "none", "target_post": null, "content": "", "reason": ""}'
        run = run_of(server, tmp_path / "run", model, steps=1)
        assert server.app.authorizations == {f"Bearer {KEY}"}
        assert run.calls["reply"].str.contains("my key is Bearer ***", literal=True).all()
        assert KEY.encode() not in everything_under(run.path)
    with ModelServer(faults={"error_500": 1.0}) as server:
        call: dict[str, Any] = {"n_agents": 4, "steps": 1, "service": {"retries": 1, "backoff_s": 0.001}}
        base = server.base.replace("http://", f"http://user:{KEY}@")
        with pytest.raises(ModelError) as caught:
            sw.run("friendship_paradox", model=model, api_base=base, out=tmp_path / "failed", **call)
    assert KEY not in str(caught.value)
    assert KEY.encode() not in everything_under(tmp_path / "failed")


def test_a_provider_without_a_key_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ParameterError, match="OPENAI_API_KEY"):
        sw.run("friendship_paradox", n_agents=4, steps=1, model="gpt-4o-mini", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- cache --------------------------------------------------------------------------------------------------------


def test_a_cache_serves_the_same_replicate_and_no_other(server: ModelServer, tmp_path: Path) -> None:
    cache = {"service": {"cache": str(tmp_path / "cache.sqlite")}}
    first = run_of(server, tmp_path / "first", **cache)
    sent = server.app.n
    same = run_of(server, tmp_path / "same", **cache)
    assert server.app.n == sent
    assert same.digest == first.digest
    assert same.verify()
    other = run_of(server, tmp_path / "other", replicate=1, **cache)
    assert server.app.n == sent + other.calls.height
    assert not set(other.calls["seed"]) & set(first.calls["seed"])
    run_of(server, tmp_path / "seed", seed=4, n_agents=N, steps=1, **cache)
    assert server.app.n > sent + other.calls.height


def test_cached_answers_cost_nothing_after_a_resume_either(server: ModelServer, tmp_path: Path) -> None:
    cache = {"cache": str(tmp_path / "cache.sqlite"), "prices": {"local/scripted": (1.0, 4.0)}}
    first = run_of(server, tmp_path / "first", service=cache, steps=2)
    with pytest.raises(BudgetSpent):  # what is cached is free; the third step is not
        run_of(server, tmp_path / "run", service=cache, budget_usd=0.004)
    stopped = sw.load_run(tmp_path / "run")
    assert stopped.steps == 2
    (spent,) = stopped.manifest["spending"]
    assert spent["cached"] >= first.calls.height
    assert spent["input_tokens"] < 4000
    done = sw.resume(stopped, service={"budget_usd": 1.0})
    assert done.status == "finished"


def test_a_cache_knows_which_server_answered(tmp_path: Path) -> None:
    cache = {"cache": str(tmp_path / "cache.sqlite")}
    with ModelServer() as one, ModelServer() as other:
        run_of(one, tmp_path / "one", service=cache, steps=1)
        run_of(other, tmp_path / "other", service=cache, steps=1)
        assert other.app.n == one.app.n > 0


def test_an_estimate_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from simworld.run import rehearse

    tried: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    models = ("ollama/qwen3:0.3", "groq/llama-3.1-8b-instant:0.3", "gpt-4o-mini")
    found = rehearse("friendship_paradox", params={"n_agents": 9}, steps=2, models=models)
    assert len(found.models) == 3
    assert tried == []
    prices = {one.model: one.usd for one in found.models}
    assert prices["ollama/qwen3"].high == 0
    assert prices["gpt-4o-mini"].low > 0


def test_a_one_file_scenario_is_resumed_only_with_the_prompts_it_began_with(
    server: ModelServer, tmp_path: Path
) -> None:
    (tmp_path / "hall.py").write_text(MESA, "utf-8")
    prompt = tmp_path / "prompts" / "Say.md"
    prompt.parent.mkdir()
    blocks = "{% block question %}Loud?{% endblock %}{% block observation %}{{ noise }}{% endblock %}"
    prompt.write_text(blocks, "utf-8")
    with pytest.raises(BudgetSpent):
        sw.run(f"{tmp_path / 'hall.py'}@Hall", steps=5, model="local/x", api_base=server.base, out=tmp_path / "run",
               max_tokens_total=1500, asking={"max_tokens": 50})  # fmt: skip
    prompt.write_text(blocks.replace("Loud?", "Quiet?"), "utf-8")
    with pytest.raises(UsageError, match="have changed"):
        sw.resume(tmp_path / "run", service={"max_tokens_total": 10**6})
    done = sw.resume(tmp_path / "run", service={"max_tokens_total": 10**6}, allow_changed=True)
    assert done.status == "finished"


def test_a_tape_of_an_unfinished_run_is_repeated_as_far_as_it_goes(server: ModelServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent):
        run_of(server, tmp_path / "run", max_tokens_total=30_000)
    stopped = sw.load_run(tmp_path / "run")
    assert 0 < stopped.steps < STEPS
    again = sw.run("friendship_paradox", tape=stopped, out=tmp_path / "again")
    assert again.steps == stopped.steps
    assert again.events.equals(stopped.events)


@pytest.mark.parametrize(
    "call, said",
    [
        ({"model": ["local/x", 5]}, "named by texts"),
        ({"model": {"local/x": 1.5}}, "above 0 and at most 1"),
        ({"seats": {0: "null", "0": "rules"}, "model": "local/x"}, "two minds"),
        ({"seats": {0: "local/x:0.5"}}, "takes no share"),
        ({"model": "local/"}, "has no name"),
        ({"api_base": "http://[x"}, "no address"),
        ({"api_base": "http://127.0.0.1:99999/v1"}, "no address"),
        ({"api_base": "http://127.0.0.1:8000/v1?key=hunter2secret"}, "without a query"),
        ({"service": {"prices": {"local/x": (-1, -1)}}}, "greater than or equal to 0"),
        ({"replicate": 2**70}, "replicate"),
    ],
)
def test_a_wrong_call_in_python_is_one_error_of_ours(call: dict[str, Any], said: str, tmp_path: Path) -> None:
    call = {"model": "local/x", "api_base": "http://127.0.0.1:9/v1", **call}
    with pytest.raises(UsageError, match=said) as caught:
        sw.run("friendship_paradox", n_agents=4, steps=1, out=tmp_path / "run", **call)
    assert "hunter2secret" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_shares_may_be_a_dict(server: ModelServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path / "run", {"local/a": 0.25, "local/b": 0.5}, steps=1)
    assert run.manifest["minds"] == {"local/b": 8, "local/a": 4, "rules": 4}


def test_a_share_too_small_for_anybody_is_said(server: ModelServer, tmp_path: Path) -> None:
    run = run_of(server, tmp_path / "run", ["local/a:0.02"], n_agents=4, steps=1)
    assert run.manifest["minds"] == {"rules": 4}
    assert any("local/a has no agent" in note for note in run.manifest["notes"])


def test_an_address_with_a_password_is_kept_nowhere(tmp_path: Path) -> None:
    with ModelServer(status=500) as server:
        base = server.base.replace("http://", "http://reader:hunter2secret@")
        with pytest.raises(ModelError) as caught:
            sw.run("friendship_paradox", n_agents=3, steps=1, model="local/x", api_base=base, out=tmp_path / "run",
                   service={"retries": 1, "backoff_s": 0.001})  # fmt: skip
    assert "hunter2secret" not in str(caught.value)
    assert b"hunter2secret" not in everything_under(tmp_path / "run")

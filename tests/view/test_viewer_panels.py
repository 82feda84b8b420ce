"""The viewer's panels in a browser: what they show is what the run recorded; why leads back and forward.

Left out where there is no Chromium; with SIMWORLD_NEEDS_BROWSER, as in continuous integration, that is a failure.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

import simworld as sw
from simworld.run import Run, decisions_at, diff, fork
from simworld.sweep import CampaignResults
from simworld.view import Viewer, serve
from tests.server import ModelServer
from tests.unit.campaigns import campaign, write_coin
from tests.view.crowd import crowd
from tests.view.hostile import ATTACKS
from tests.view.viewer import chromium, opened

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
SIZE = {"width": 1280, "height": 900}
TRUTHS = "({ ...simworld.store.state })"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run("village", steps=12, seed=3, out=tmp_path_factory.mktemp("village") / "base")


@pytest.fixture(scope="module")
def served(village: Run) -> Iterator[Viewer]:
    with serve([village], port=0) as viewer:
        yield viewer


@pytest.fixture
def shown(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open the page of a viewer at an address; what it complains of, or asks elsewhere, fails the test."""
    with ExitStack() as pages:
        yield lambda viewer, address="": pages.enter_context(opened(browser, viewer.url, address, viewport=SIZE)).page


def numbers(text: str) -> list[int]:
    return [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", text)]


def rows_of(run: Run, **wanted: Any) -> list[dict[str, Any]]:
    frame = run.events.with_row_index("row")
    for name, value in wanted.items():
        frame = frame.filter(pl.col(name) == value)
    return frame.to_dicts()


def saved(page: Page, press: Callable[[], Any]) -> bytes:
    with page.expect_download() as download:
        press()
    return Path(download.value.path()).read_bytes()


def table_in(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def test_the_card_of_an_agent_is_what_the_run_recorded_of_it(village: Run, served: Viewer, shown: Any) -> None:
    said = next(row for row in rows_of(village, kind="say") if row["step"] > 6)
    step, agent = said["step"], said["agent"]
    page = shown(served, f"#tab=agent&agent={agent}&step={step}")
    page.wait_for_selector(".decided details")
    panel = page.locator(".panel-agent")
    assert panel.locator(".agent-head h3").inner_text() == village.personas[agent].name
    assert "rules (hand-written, no language model)" in panel.locator(".agent-head").inner_text()
    state = village.state(step).row(by_predicate=pl.col("id") == agent, named=True)
    assert panel.locator("[data-column=place] .state-value > span").first.inner_text() == state["place"]
    assert numbers(panel.locator("[data-column=conversations] .state-value > span").first.inner_text()) == [
        state["conversations"]
    ]
    moved = {
        name
        for name, value in village.state(step - 1).row(by_predicate=pl.col("id") == agent, named=True).items()
        if value != state[name]
    }
    marked = panel.locator(".state .moved").evaluate_all("rows => rows.map((row) => row.dataset.column)")
    assert set(marked) == moved - {"step"}
    ties = sum(village.graph(step, kind).degree(agent) for kind in village.manifest["tie_kinds"])
    held = village.memory.filter((pl.col("agent") == agent) & (pl.col("op") == "add") & (pl.col("step") <= step))
    counts = {fold.split()[0]: numbers(fold) for fold in panel.locator(".agent-card .fold > summary").all_inner_texts()}
    assert (counts["Ties"], counts["Memory"]) == ([ties], [held.height])
    decided = [each for each in decisions_at(village, step, [agent]) if each.decision == "Talk"]
    folds = panel.locator(".decided > details", has_text=re.compile("decided: Talk"))
    assert folds.count() == len(decided)
    folds.first.locator("summary").first.click()
    assert decided[0].answer is not None
    assert decided[0].answer["utterance"] in folds.first.inner_text()
    assert f"It remembered ({len(decided[0].recalled)})" in folds.first.inner_text()
    assert "relevance" in folds.first.locator(".score").first.inner_text()


def test_why_leads_back_through_a_memory_to_what_somebody_else_did_and_forward_to_whom_it_reached(
    village: Run, served: Viewer, shown: Any
) -> None:
    told = rows_of(village, kind="tell")[0]
    heard = next(
        row for row in rows_of(village, kind="say", step=told["step"], agent=told["agent"]) if "party" in row["text"]
    )
    answered = next(row for row in rows_of(village, kind="say", step=told["step"], agent=told["target"]))
    page = shown(served, f"#tab=agent&agent={answered['agent']}&step={answered['step']}")
    page.locator(f".did [data-row='{answered['row']}'] .why-button").click()
    page.wait_for_selector(".causes .cause-item")
    assert f"event={answered['row']}" in page.url
    why = page.locator(".why")
    assert "A rule decided: Talk" in why.inner_text()
    assert answered["text"] in why.locator(".decision .pairs").first.inner_text()
    others = why.locator(f".cause-item[data-row='{heard['row']}']")
    assert others.get_attribute("data-agent") == str(told["agent"])
    # Back: what led to the words that it answered, unfolded in place, down to the seed of the news.
    others.locator("details > summary").click()
    seed = rows_of(village, kind="seed", agent=told["agent"])[0]
    others.locator(f".cause-item[data-row='{seed['row']}']").wait_for()
    # Forward: from those words to the one who remembers them.
    others.locator(".why-button").first.click()
    page.wait_for_selector(f".why-event[data-row='{heard['row']}']")
    reached = page.locator(f".reached > [data-agent='{told['target']}']")
    reached.wait_for()
    memories = village.memory.filter(
        (pl.col("agent") == told["target"]) & pl.col("text").str.contains(heard["text"], literal=True)
    )
    assert memories["text"][0] in reached.inner_text()
    page.locator(".why .back").click()
    page.wait_for_selector(".agent-card:not([hidden])")
    assert "event=" not in page.url


def test_somebody_finds_out_why_one_unfollowed_another(tmp_path: Path, shown: Any) -> None:
    run = sw.run(f"{HERE / 'quarrel.py'}@Quarrel", steps=4, seed=1, out=tmp_path / "quarrel")
    ended = rows_of(run, kind="unfollow")[0]
    with serve([run], port=0) as viewer:
        page = shown(viewer, f"#tab=agent&agent={ended['agent']}&step={ended['step']}")
        names = [run.personas[ended[each]].name for each in ("agent", "target")]
        page.locator(".tie-ended", has_text=re.compile(" → ".join(map(re.escape, names)))).locator(
            ".why-button"
        ).click()
        page.wait_for_selector(".causes .cause-item")
        first = page.locator(".causes > .cause-item").first
        assert first.get_attribute("data-agent") == str(ended["target"])
        assert "is a fool" in first.inner_text()


def test_somebody_not_born_yet_has_a_card(tmp_path: Path, shown: Any) -> None:
    run = crowd(tmp_path)
    late = int(run.state()["id"].max())  # type: ignore[arg-type]
    assert late >= run.state(0).height
    with serve([run]) as viewer:
        page = shown(viewer, f"#step=0&agent={late}")
        page.wait_for_function("() => document.querySelector('.panel-agent').innerText.includes('mood')")
        page.evaluate(f"simworld.store.set({{ step: {run.steps} }})")
        page.wait_for_selector(".panel-agent .spark rect", state="attached")


def test_a_model_is_named_with_its_prompt_its_reply_and_its_tokens(tmp_path: Path, shown: Any) -> None:
    with ModelServer() as server:
        run = sw.run(
            f"{HERE / 'whispers.py'}@Whispers", seed=1, steps=2, cast="book_club", n_agents=4, api_base=server.base,
            seats={"1": "local/scripted"}, out=tmp_path / "whispers",
        )  # fmt: skip
    call = run.calls.filter(pl.col("step") == 2).row(0, named=True)
    with serve([run], port=0) as viewer:
        page = shown(viewer, "#tab=agent&agent=1&step=2")
        page.locator(".decided > details > summary").click()
        page.locator(".decided .call > summary").click()
        text = page.locator(".decided").inner_text()
        assert "A language model decided: Say" in text
        assert "local/scripted (language model)" in page.locator(".agent-head").inner_text()
        prompts = [part.strip() for part in page.locator(".decided .prompt").all_text_contents()]
        assert prompts == [call[part].strip() for part in ("system", "user", "reply")]
        assert f"{call['input_tokens']:,} tokens in · {call['output_tokens']} out" in text
        # A reflection leads to the moment of what it rests on.
        page.locator(".evidence .moment-link").first.click()
        whisper = rows_of(run, kind="whisper", step=2)[0]["row"]
        page.wait_for_selector(f".why-event[data-row='{whisper}']")


def test_the_feed_holds_all_that_was_said_and_finds_it(village: Run, served: Viewer, shown: Any) -> None:
    page = shown(served, "#tab=feed&step=7&kinds=say")
    count = page.locator(".feed-count")
    page.wait_for_selector(".feed-row.is-now")
    assert numbers(count.inner_text()) == [len(rows_of(village, kind="say"))]
    assert set(page.locator(".feed-row.is-now").evaluate_all("rows => rows.map((row) => row.dataset.step)")) == {"7"}
    page.locator(".feed-search").fill("party")
    hits = [row for row in rows_of(village, kind="say") if "party" in row["text"].lower()]
    page.wait_for_function("n => document.querySelectorAll('.feed-row').length === n", arg=len(hits))
    assert "query=party" in page.evaluate("location.hash") or page.wait_for_url(re.compile("query=party")) is None
    page.locator(".feed-row").last.locator(".moment-link").click()
    page.wait_for_selector(".feed-row.is-selected")
    state = page.evaluate(TRUTHS)
    assert (state["step"], state["agent"], state["event"]) == (hits[-1]["step"], hits[-1]["agent"], hits[-1]["row"])
    page.locator(".feed-search").fill("nobody says this")
    page.wait_for_selector(".panel-feed .empty")
    assert "contains “nobody says this”" in page.locator(".panel-feed .empty").inner_text()


def test_the_table_sorts_filters_and_saves_every_agent_at_the_step(village: Run, served: Viewer, shown: Any) -> None:
    page = shown(served, "#tab=agents&step=12")
    page.locator(".panel-table .kinds > summary").click()
    page.locator(".panel-table input[value='column:conversations']").check()
    page.keyboard.press("Escape")
    page.locator(".panel-table .kinds > summary").click()
    page.get_by_role("columnheader", name="conversations").get_by_role("button").click()
    truth = village.state(12).select("id", "conversations").sort(["conversations", "id"], descending=[True, False])
    page.wait_for_function("a => document.querySelector('.grid-row').dataset.agent === a", arg=str(truth["id"][0]))
    drawn = page.locator(".grid-row").evaluate_all("rows => rows.map((row) => Number(row.dataset.agent))")
    assert drawn == truth["id"].to_list()[: len(drawn)]
    page.locator(".table-filter").fill("conversations > 1")
    many = truth.filter(pl.col("conversations") > 1)
    page.wait_for_function("n => document.querySelectorAll('.grid-row').length === n", arg=many.height)
    file = saved(page, page.locator(".panel-table button.small").click)
    rows = table_in(file)
    assert [(int(row["agent"]), int(row["conversations"])) for row in rows] == many.rows()
    page.locator(".grid").press("ArrowDown")
    assert page.evaluate("simworld.store.state.agent") == many["id"][0]


def test_metrics_are_drawn_on_the_clock_and_saved(village: Run, served: Viewer, shown: Any) -> None:
    page = shown(served, "#tab=metrics&step=3&metric=talks")
    page.wait_for_selector(".panel-metrics .js-plotly-plot .scatterlayer")
    drawn = page.evaluate(
        "document.querySelector('.panel-metrics .plot').data.map((trace) => [trace.name, Array.from(trace.y)])"
    )
    assert drawn == [["talks", village.metrics["talks"].to_list()]]
    line = "document.querySelector('.clock-line').getBoundingClientRect().x"
    before = page.evaluate(line)
    page.locator("body").press("ArrowRight")
    page.wait_for_function(f"x => {line} > x + 10", arg=before)
    figure = page.locator(".panel-metrics .figure").first
    assert saved(page, figure.get_by_role("button", name="PNG").click).startswith(b"\x89PNG")
    assert saved(page, figure.get_by_role("button", name="SVG").click).startswith(b"<svg")
    rows = table_in(saved(page, figure.get_by_role("button", name="CSV").click))
    assert [float(row["talks"]) for row in rows] == village.metrics["talks"].to_list()
    page.locator(".panel-metrics h3 select").select_option("column:conversations")
    page.wait_for_selector(".panel-metrics .chart-words:has-text('conversations of 25 agents at step 4')")
    page.wait_for_function("document.querySelectorAll('.panel-metrics .plot')[1].data[0].width")
    heights = page.evaluate("Array.from(document.querySelectorAll('.panel-metrics .plot')[1].data[0].y)")
    counts = dict(village.state(4)["conversations"].value_counts().iter_rows())
    assert sum(heights) == sum(counts.values())
    assert [height for height in heights if height] == [counts[value] for value in sorted(counts)]


def test_the_run_says_what_ran_and_what_was_found(village: Run, served: Viewer, shown: Any) -> None:
    page = shown(served, "#tab=run")
    page.wait_for_selector(".panel-about .findings")
    text = page.locator(".panel-about").inner_text()
    assert village.digest is not None
    assert village.digest in text
    assert "rules (hand-written, no language model)" in text
    assert page.locator(".panel-about .findings th[scope=row]").count() == village.findings.height


def test_two_runs_part_where_they_part(village: Run, tmp_path: Path, shown: Any) -> None:
    told = rows_of(village, kind="tell")[0]
    other = fork(village, told["step"] - 2, cuts=[(str(told["agent"]), str(told["target"]))], out=tmp_path / "fork")
    found = diff(village, other)
    assert found.first is not None
    with serve([village, other], port=0) as viewer:
        page = shown(viewer, "#tab=compare")
        page.locator(".panel-compare .jump").click()
        assert f"They part at step {found.first.step}" in page.locator(".panel-compare").inner_text()
        state = page.evaluate("({ ...simworld.store.state })")
        assert (state["step"], state["agent"]) == (found.first.step, found.first.agents[0])
        page.wait_for_selector(".panel-compare .saw h3, .panel-compare .saw .empty")
        assert f"Whom it reached: {found.reached.height} of" in page.locator(".panel-compare").inner_text()
        page.wait_for_function("document.querySelectorAll('.panel-compare .js-plotly-plot').length === 2")
        lines = page.evaluate(
            "[...document.querySelectorAll('.panel-compare .plot')].at(-1).data.map((trace) => trace.y.at(-1))"
        )
        name = page.locator(".panel-compare h3 select").input_value()
        assert lines == [village.metrics[name][-1], other.metrics[name][-1]]


@pytest.fixture(scope="module")
def coins(tmp_path_factory: pytest.TempPathFactory) -> CampaignResults:
    lab = tmp_path_factory.mktemp("lab")
    said = campaign(
        write_coin(lab),
        title=f"Heads? {ATTACKS[0]}",
        steps=2,
        replicates=2,
        record="runs",
        factors={"p": [0.2, 0.8], "shift": [0.0, 1.0]},
    )
    return sw.sweep(said, executor="here", out=tmp_path_factory.mktemp("found") / "heads")


def test_a_point_of_a_campaign_leads_to_its_runs(coins: CampaignResults, shown: Any) -> None:
    with serve(campaign=coins, port=0) as viewer:
        page = shown(viewer)
        page.wait_for_selector(".panel-campaign .heatmaplayer image, .panel-campaign .heatmaplayer .hm image")
        panel = page.locator(".panel-campaign")
        assert ATTACKS[0] in panel.inner_text()
        xs, ys, z = page.evaluate(
            "(({ layout: { xaxis, yaxis }, data }) => [xaxis.ticktext, yaxis.ticktext, data[0].z])"
            "(document.querySelector('.panel-campaign .plot'))"
        )
        truth = (
            coins.results.group_by("p", "shift")
            .agg(pl.col(coins.outcome).mean())
            .rows_by_key(["p", "shift"], unique=True)
        )
        assert [[z[j][i] for i in range(2)] for j in range(2)] == [
            [pytest.approx(truth[float(x), float(y)][0]) for x in xs] for y in ys
        ]
        box = panel.locator(".heatmaplayer").bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25)
        page.wait_for_selector(".campaign-runs .open-run")
        point = coins.points.index({"p": 0.8, "shift": 1.0})
        assert all(f"point {point}, replicate {i}" in panel.inner_text() for i in range(2))
        page.locator(".open-run").last.click()
        page.wait_for_selector(".panel-about .pairs")
        assert str(coins.run(point, 1).digest) in page.locator(".panel-about").inner_text()
        # Two that are asked for at once come each once.
        asked = f"simworld.source.json('campaign-run/{point}/0')"
        both = "Promise.all([simworld.loadRuns(2), simworld.loadRuns(2)])"
        indexes = "simworld.runs.map((run) => run.index)"
        assert page.evaluate(f"{asked}.then(() => {both}).then(() => {indexes})") == [0, 1]


def test_texts_of_a_run_stay_texts_in_every_panel(tmp_path: Path, shown: Any) -> None:
    run = sw.run(f"{HERE / 'hostile.py'}@Hostile", out=tmp_path / "run")
    row = rows_of(run, kind="say", step=2, agent=1)[0]["row"]
    with serve([run], port=0) as viewer:
        page = shown(viewer, "#tab=agent&agent=1&step=2")
        page.wait_for_selector(".decided details")
        page.evaluate("for (const each of document.querySelectorAll('.side details')) each.open = true")
        places = {
            "agent": ".memory", "feed": ".feed-row", "metrics": ".js-plotly-plot .scatterlayer", "agents": ".grid-row",
            "run": ".panel-about .pairs",
        }  # fmt: skip
        for tab, seen in places.items():
            page.locator(f"#tab-{tab}").click()
            page.wait_for_selector(f"#panel-{tab} {seen}")
            assert ATTACKS[0] in page.locator(f"#panel-{tab}").inner_text(), tab
            assert page.locator(f"#panel-{tab} :is(img, b, script, a[href], [onload])").count() == 0, tab
        page.evaluate("for (const box of document.querySelectorAll('.metric-row input')) if (!box.checked) box.click()")
        page.locator("#tab-feed").click()
        page.locator(f".feed-row[data-row='{row}'] .why-button").click()
        page.wait_for_selector(".why .decision")
        page.wait_for_selector(".why > .why-body > .fold :is(h5, .reached, .empty)")
        assert ATTACKS[0] in page.locator(".why").inner_text()
        assert page.locator(":is(img, script:not([src]), iframe, object, a[href], [onload], [onerror])").count() == 0
        assert page.evaluate("window.hit") is None

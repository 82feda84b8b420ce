"""The viewer's page in a browser: graph, timeline, search, keyboard, address. Its panels have a file of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, expect

import simworld as sw
from simworld.run import Run
from simworld.view import serve
from simworld.view.replay import _run_data
from tests.view.crowd import crowd
from tests.view.viewer import Watched, chromium, opened

pytestmark = pytest.mark.slow

STEPS = 6


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run("friendship_paradox", n_agents=20, steps=STEPS, seed=5, out=tmp_path_factory.mktemp("run") / "twenty")


@pytest.fixture(scope="module")
def url(run: Run) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        # Short chunks: what crosses their borders is seen.
        patch.setattr(_run_data, "LONGEST_CHUNK", 4)
        viewer = serve([run], port=0)
    with viewer:
        yield viewer.url


@pytest.fixture(scope="module")
def shared(browser: Browser, url: str) -> Iterator[Watched]:
    """One page that the tests hand on, each starting it at an address of its own."""
    with opened(browser, url) as watched:
        yield watched


def ties_shown(watched: Watched) -> set[tuple[int, int, str]]:
    said = watched.page.evaluate(
        """() => {
            const { ties, model } = simworld.graphs[0];
            const kind = (i) => model.head.tie_kinds[ties.kind[i]];
            return Array.from({ length: ties.n }, (_, i) => [ties.source[i], ties.target[i], kind(i)]);
        }"""
    )
    return {(source, target, kind) for source, target, kind in said}


def ties_of(run: Run, step: int) -> set[tuple[int, int, str]]:
    return {(a, b, kind) for kind in run.manifest["tie_kinds"] for a, b in run.graph(step, kind).edges()}


def test_a_first_visitor_sees_what_ran_and_what_to_press(browser: Browser, url: str) -> None:
    with opened(browser, url) as watched:
        page = watched.page
        watched.shown()
        expect(page.locator(".run-mind")).to_have_text("mind: rules (hand-written, no language model)")
        hint = page.locator(".hint")
        expect(hint).to_contain_text("Press play, or click an agent")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="Play").click()
        watched.wait_for("step", 1)
        page.get_by_role("button", name="Pause").click()
        assert watched.state("playing") is False
        expect(hint).to_be_hidden()
        watched.goto()
        expect(page.locator(".hint")).to_be_hidden()


def test_the_graph_shows_the_ties_and_columns_of_the_step(shared: Watched, run: Run) -> None:
    shared.goto("#color=column:posts")
    # Forward, as it plays, and back, which builds them anew.
    for step in (*range(STEPS + 1), 3, 1, 5):
        shared.page.evaluate("(step) => simworld.clock.go(step)", step)
        shared.wait_for("step", step)
        shared.shown()
        assert ties_shown(shared) == ties_of(run, step), step
        values = shared.page.evaluate("Array.from(simworld.graphs[0].scene.colour.values)")
        assert values == run.state(step)["posts"].to_list(), step


def test_a_growing_run_is_followed_until_somebody_looks_back(browser: Browser, tmp_path: Path) -> None:
    pages: list[Watched] = []
    with ExitStack() as stack:

        def look(step: int, *_: Any) -> None:
            if step == 3:
                viewer = stack.enter_context(serve([tmp_path / "run"], port=0))
                pages.append(stack.enter_context(opened(browser, viewer.url)))
                expect(pages[0].page.locator(".live")).to_have_class("live on")
                assert pages[0].state("step") >= 2
            if step == 7:
                # The recorder may be a step behind; two people were born on the way.
                pages[0].page.wait_for_function("() => simworld.store.state.step >= 6 && simworld.main.n === 11")
                pages[0].shown()
                pages[0].press("ArrowLeft", "ArrowLeft")
            if step == 10:
                pages[0].page.wait_for_function("() => simworld.main.steps >= 9")

        run = crowd(tmp_path, progress=look)
        watched = pages[0]
        watched.page.wait_for_function("() => !simworld.main.head.is_growing")
        assert watched.state("step") in (4, 5)
        expect(watched.page.locator(".live")).to_be_hidden()
        for step in (*range(run.steps + 1), 5, 6, 2):
            watched.page.evaluate("(step) => simworld.clock.go(step)", step)
            watched.wait_for("step", step)
            watched.shown()
            # A networkx graph leaves out the dead, with ties made to them after their death.
            dead = set(run.state(step).filter(~pl.col("alive"))["id"])
            assert {tie for tie in ties_shown(watched) if dead.isdisjoint(tie[:2])} == ties_of(run, step), step
            born = watched.page.evaluate("Array.from(simworld.graphs[0].paint.index, (index) => index !== 255)")
            assert born == [i in run.state(step)["id"] for i in range(11)], step


def test_what_a_step_made_and_said(shared: Watched, run: Run) -> None:
    shared.goto()
    found = shared.page.evaluate(
        "(steps) => Promise.all(steps.map((step) => simworld.main.tieChanges(step)))", list(range(STEPS + 1))
    )
    for step in range(1, STEPS + 1):
        made = [(each["source"], each["target"]) for each in found[step] if each["isNew"] and each["kind"] == "follow"]
        assert sorted(made) == sorted(set(run.graph(step).edges()) - set(run.graph(step - 1).edges())), step
    assert sum(len(each) for each in found) == run.ties.height
    rows = [0, 7, run.events.height // 2, run.events.height - 1, run.events.height]
    events = shared.page.evaluate("(rows) => Promise.all(rows.map((row) => simworld.main.event(row)))", rows)
    assert events.pop() is None
    for row, event in zip(rows, events, strict=False):
        wanted = run.events.row(row, named=True)
        assert {name: event[name] for name in ("step", "kind", "agent", "target", "item", "text")} == {
            name: wanted[name] for name in ("step", "kind", "agent", "target", "item", "text")
        }


def test_the_keyboard_moves_the_clock_and_the_tabs(shared: Watched) -> None:
    shared.goto("#tab=run")
    shared.press("ArrowRight", "ArrowRight", "ArrowLeft")
    shared.wait_for("step", 1)
    shared.press("Shift+ArrowRight")
    shared.wait_for("step", STEPS)
    shared.press("Home")
    shared.wait_for("step", 0)
    shared.press("End")
    shared.wait_for("step", STEPS)
    for key, tab in zip("1234", ("agent", "feed", "metrics", "agents"), strict=True):
        shared.press(key)
        shared.wait_for("tab", tab)
    shared.press("j", "j")
    shared.wait_for("agent", 1)
    shared.press("k")
    shared.wait_for("agent", 0)
    shared.press("Escape")
    shared.wait_for("agent", -1)
    shared.press("?")
    expect(shared.page.get_by_role("dialog")).to_contain_text("next or previous marked moment")
    shared.press("ArrowLeft", "Escape")
    expect(shared.page.get_by_role("dialog")).to_be_hidden()
    assert shared.state("step") == STEPS
    # From the last step on it plays from the beginning.
    shared.press(" ")
    shared.page.wait_for_function("() => simworld.store.state.playing && simworld.store.state.step < 3")
    shared.press(" ")
    assert shared.state("playing") is False


def test_keys_in_the_search_box_are_its_own(shared: Watched) -> None:
    shared.goto("#step=2")
    shared.press("/")
    shared.page.keyboard.type("2 ?jk ")
    assert (shared.state("step"), shared.state("agent"), shared.state("playing")) == (2, -1, False)
    expect(shared.page.get_by_role("dialog")).to_be_hidden()
    shared.press("Escape", "Escape", "ArrowRight")
    shared.wait_for("step", 3)


def test_the_track_is_dragged_and_marks_are_jumped_to(shared: Watched, run: Run) -> None:
    shared.goto("#metric=follows")
    track = shared.page.get_by_role("slider", name="Step")
    box = track.bounding_box()
    assert box is not None
    shared.page.mouse.move(box["x"] + 1, box["y"] + 20)
    shared.page.mouse.down()
    shared.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20, steps=4)
    shared.wait_for("step", STEPS // 2)
    shared.page.mouse.move(box["x"] + box["width"] + 90, box["y"] - 200)
    shared.page.mouse.up()
    shared.wait_for("step", STEPS)
    shared.page.mouse.move(box["x"] + 1, box["y"] + 20)
    shared.wait_for("step", STEPS)
    shared.shown()
    assert track.get_attribute("aria-valuenow") == str(STEPS)
    follows = run.metrics.filter(step=STEPS)["follows"].item()
    expect(shared.page.locator(".metric-value")).to_have_text(f"{int(follows):,}")
    marks = json.loads(shared.page.request.get(f"{shared.url}api/run/0/marks").text())
    shared.press("Home", "n")
    first = min(mark["step"] for mark in marks if mark["step"] > 0)
    shared.wait_for("step", first)
    shared.press("p")
    assert shared.state("step") <= first


def test_agents_are_selected_by_click_and_by_search(shared: Watched, run: Run) -> None:
    shared.goto(f"#step={STEPS}")
    shared.shown()
    place = shared.page.evaluate("simworld.graphs[0].pointOf(7)")
    shared.page.mouse.move(place["x"], place["y"])
    name = run.personas[7].name
    expect(shared.page.locator(".graph .tip")).to_contain_text(name)
    shared.page.mouse.click(place["x"], place["y"])
    shared.wait_for("agent", 7)
    assert shared.state("tab") == "agent"
    # A drag is no click.
    shared.page.mouse.move(place["x"] + 60, place["y"] + 5)
    shared.page.mouse.down()
    shared.page.mouse.move(place["x"] + 90, place["y"] + 30, steps=3)
    shared.page.mouse.up()
    moved = shared.page.evaluate("simworld.graphs[0].pointOf(7)")
    assert (moved["x"] - place["x"], moved["y"] - place["y"]) == pytest.approx((30, 25), abs=1)
    assert shared.state("agent") == 7
    shared.press("0", "/")
    shared.page.keyboard.type(run.personas[3].name.lower())
    expect(shared.page.get_by_role("option").first).to_contain_text(run.personas[3].name)
    shared.press("Enter")
    shared.wait_for("agent", 3)
    shared.press("/")
    shared.page.keyboard.type("fool")
    shared.page.get_by_role("option", name="in everything said").click()
    shared.wait_for("query", "fool")
    assert shared.state("tab") == "feed"


def test_the_address_holds_the_moment_and_the_back_button_goes_back(shared: Watched, browser: Browser) -> None:
    shared.goto("#step=2")
    page = shared.page
    page.get_by_label("Colour the agents by").select_option("column:posts")
    page.get_by_label("Size of the agents by").select_option("column:received")
    page.get_by_role("tab", name="Agents").click()
    page.evaluate("simworld.select(4)")
    shared.press("ArrowRight")
    page.wait_for_function("() => location.hash.includes('step=3')")
    with opened(browser, page.url.partition("#")[0], "#" + page.url.partition("#")[2]) as other:
        other.shown()
        for key in ("run", "step", "agent", "color", "size", "metric", "tab"):
            assert other.state(key) == shared.state(key), key
        expect(other.page.get_by_label("Colour the agents by")).to_have_value("column:posts")
        expect(other.page.get_by_role("tab", name="Agent", exact=True)).to_have_attribute("aria-selected", "true")
        expect(other.page.locator(".legend")).to_contain_text("posts")
    page.go_back()
    shared.wait_for("tab", "agents")
    assert shared.state("agent") == -1
    page.go_forward()
    shared.wait_for("agent", 4)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("#step=2&agent=999", "agent 999 (there are 20, from 0)"),
        ("#step=1e9&agent=x&run=-3&tab=%3Cb%3E", "run -3"),
        ("#step=2&color=column:nonsense&metric=no.such", "metric “no.such”"),
        ("#step=999999999999", f"(the last is {STEPS})"),
    ],
)
def test_an_address_that_asks_for_what_is_not_there_opens_all_the_same(
    shared: Watched, address: str, words: str
) -> None:
    shared.goto(address)
    expect(shared.page.get_by_role("alert")).to_contain_text(words)
    shared.shown()
    assert 0 <= shared.state("step") <= STEPS
    assert (shared.state("agent"), shared.state("run"), shared.state("color"), shared.state("metric")) == (
        -1,
        0,
        "",
        "",
    )


def test_light_and_dark_as_the_machine_has_it_or_as_chosen(browser: Browser, url: str) -> None:
    with opened(browser, url, "#step=4", color_scheme="dark") as watched:
        page = watched.page

        def paper() -> int:
            said = page.evaluate("getComputedStyle(document.body).backgroundColor")
            return max(int(part) for part in said[said.index("(") + 1 : -1].split(",")[:3])

        assert paper() < 60
        watched.press("d")
        page.wait_for_function("() => document.documentElement.dataset.shade === 'light'")
        assert paper() > 240
        watched.goto("#step=4")
        assert paper() > 240
        page.get_by_role("button", name="Colours: light").click()
        page.wait_for_function("() => document.documentElement.dataset.shade === 'dark'")


def test_what_cannot_be_read_is_said_in_words(browser: Browser, url: str) -> None:
    def broken(route: Any) -> None:
        route.fulfill(status=500, json={"error": "the run folder is gone"})

    context = browser.new_context()
    page = context.new_page()
    page.route("**/api/run/0/head", broken)
    page.goto(url)
    expect(page.get_by_role("alert")).to_contain_text("the run folder is gone")
    page.unroute("**/api/run/0/head")
    page.route("**/api/run/0/ties/*", broken)
    page.reload()
    expect(page.locator(".graph-note")).to_have_text("the run folder is gone")
    context.close()

"""A run in which every text attacks its reader: names, kinds, columns, metrics, parameters, memories, file names. The
server's page and the exported file show it as text, run none of it, complain of nothing and ask nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import simworld as sw
from simworld.run import Run
from simworld.view import export_page, serve
from tests.unit.campaigns import campaign, write_coin
from tests.view.hostile import ALL, ATTACKS
from tests.view.viewer import Watched, chromium, opened

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
LONG_ROW = 25
"""The second event of agent 2 in step 2, of 20 a step: a megabyte of text."""
MOMENTS = ((1, 1, 3), (2, 2, LONG_ROW))
"""Steps, agents and events that are looked at."""
TABS = ("agent", "feed", "metrics", "agents", "run", "compare")

OPEN_ALL = """async (tab) => {
    const place = document.querySelector(`#panel-${tab}`);
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    const pressed = new Set();
    for (let round = 0; round < 2; round++) {
        for (const fold of place.querySelectorAll("details")) fold.open = true;
        await pause(20);
        for (const button of [...place.querySelectorAll("button")].slice(0, 60)) {
            const words = button.textContent;
            // One of each kind; files are saved elsewhere.
            if (!button.isConnected || button.disabled || pressed.has(words)) continue;
            if (["PNG", "SVG", "CSV"].includes(words)) continue;
            pressed.add(words);
            button.click();
            await pause(5);
        }
        for (const box of place.querySelectorAll("select")) {
            for (const option of [...box.options].slice(0, 4)) {
                box.value = option.value;
                box.dispatchEvent(new Event("change", { bubbles: true }));
                await pause(5);
            }
        }
    }
    await pause(30);
    return place.textContent;
}"""
"""Opens what folds, presses one button of each label, and chooses what can be chosen, in one panel."""

HAS_WORDS = """([tab, words]) => document.querySelector(`#panel-${tab}`).textContent.includes(words)"""
WHOLE = {"metrics": ATTACKS[0], "agents": ATTACKS[1], "run": ATTACKS[1]}
"""Words that a panel has once it is read whole."""

AUDIT = """() => {
    const found = [];
    if (window.hit !== undefined) found.push(`hit ${window.hit}`);
    if (({}).hit !== undefined || Object.prototype.length !== undefined) found.push("prototype");
    const strange = "img, iframe, object, embed, base, form:not([method=dialog]), body script";
    for (const one of document.querySelectorAll(strange)) {
        if (one.src && one.src.endsWith("/plotly.js")) continue;
        found.push(one.outerHTML.slice(0, 200));
    }
    for (const one of document.querySelectorAll("*")) {
        for (const { name, value } of one.attributes) {
            if (/^on/i.test(name)) found.push(`${one.tagName} ${name}`);
            if (!/^(href|xlink:href|src|action|formaction)$/i.test(name)) continue;
            if (!/^(#|data:|blob:|app\\/|\\/plotly)/.test(value)) found.push(`${name}=${value.slice(0, 100)}`);
        }
    }
    return found;
}"""
"""Looks for anything that a text may have become: elements, attributes, addresses, marks of scripts that ran."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    run = sw.run(f"{HERE / 'hostile.py'}@Hostile", seed=1, out=folder / ATTACKS[0])
    return [run, run.fork(1, params={"said": "x"}, out=folder / '"><svg onload=window.hit=3>')]


def walked(
    watched: Watched, tabs: tuple[str, ...], moments: tuple[tuple[int, int, int], ...] = MOMENTS
) -> dict[str, str]:
    """Go through everything that a page shows, and return the words of each panel."""
    page = watched.page
    watched.shown()
    words = dict.fromkeys(tabs, "")
    choices = page.evaluate("simworld.fieldsOf(simworld.main)")
    metrics = page.evaluate("simworld.main.head.metrics")
    assert f"column:column {ATTACKS[1]}" in choices
    assert "column:constructor" in choices
    for field in (f"column:column {ATTACKS[1]}", "column:constructor", choices[-1]):
        page.evaluate("(color) => simworld.store.set({ color })", field)
        watched.shown()
    for metric in metrics:
        page.evaluate("(metric) => simworld.store.set({ metric })", metric)
    for step, agent, event in moments:
        for tab in tabs:
            # Agent and feed show something else while an event is looked at; the others hardly change with it.
            changes = tab in ("agent", "feed")
            if (step, agent, event) != moments[-1] and not changes:
                continue
            for row in (-1, event) if changes else (event,):
                state = {"step": step, "agent": agent, "event": row, "tab": tab}
                page.evaluate("(state) => simworld.store.set(state)", state)
                page.wait_for_timeout(80)
                # What is visited once must have been read by then, however busy the machine.
                if tab in WHOLE:
                    page.wait_for_function(HAS_WORDS, arg=[tab, WHOLE[tab]])
                words[tab] += page.evaluate(OPEN_ALL, tab)
            assert page.evaluate(AUDIT) == [], (tab, agent)
    page.evaluate("simworld.store.set({ tab: 'feed', event: -1 })")
    for attack in ATTACKS[:3]:
        page.locator("header input").fill(attack)
        page.keyboard.press("Enter")
        page.wait_for_timeout(60)
    watched.press("Escape", "?")
    page.wait_for_timeout(60)
    watched.press("Escape")
    point = page.evaluate("simworld.graphs[0].pointOf(1)")
    page.mouse.move(point["x"], point["y"])
    page.mouse.click(point["x"], point["y"])
    page.wait_for_timeout(60)
    assert page.evaluate(AUDIT) == []
    return words


def seen(words: dict[str, str]) -> None:
    """Fail unless the attacks were shown, as the text that they are."""
    for tab in ("agent", "feed", "run"):
        assert ATTACKS[0] in words[tab], tab
        assert ATTACKS[1] in words[tab], tab
    assert ATTACKS[0] in words["metrics"]
    assert ATTACKS[1] in words["agents"]


def saved_figure(watched: Watched) -> None:
    """Fail unless a figure that is saved holds texts only, under a name that is one."""
    page = watched.page
    metric = f"metric {ATTACKS[0]}.{ATTACKS[0]}"
    page.evaluate("(metric) => simworld.store.set({ metric, tab: 'metrics' })", metric)
    page.locator("#panel-metrics .main-svg").first.wait_for(state="attached")
    with page.expect_download() as saved:
        page.locator("#panel-metrics button", has_text="SVG").first.click()
    picture = saved.value.path().read_text("utf-8")
    assert "<svg" in picture
    assert "<img" not in picture
    assert "<script" not in picture
    assert not {"/", "<", "\\"} & set(saved.value.suggested_filename)


def test_the_servers_page(runs: list[Run], browser: Browser) -> None:
    with serve(runs, port=0) as viewer, opened(browser, viewer.url) as watched:
        words = walked(watched, TABS)
        seen(words)
        assert ATTACKS[0] in words["compare"]
        assert watched.page.title().startswith(ATTACKS[0][:8])
        # A text of a megabyte is cut, and says so.
        text = watched.page.evaluate("async (row) => (await simworld.main.event(row)).text", LONG_ROW)
        assert 20_000 < len(text) < 21_000
        assert text.endswith("more characters)")
        saved_figure(watched)


def test_the_exported_file(runs: list[Run], browser: Browser, tmp_path: Path) -> None:
    file = export_page(runs).write(tmp_path / "<img src=x onerror=window.hit=11>.html")
    for attack in (*ATTACKS[:3], "onerror=window", "</script><script>"):
        assert attack not in file.read_text("utf-8")
    with opened(browser, file.as_uri()) as watched:
        seen(walked(watched, TABS, moments=MOMENTS[1:]))


def test_the_page_of_a_campaign(browser: Browser, tmp_path: Path) -> None:
    said = campaign(
        write_coin(tmp_path), title=ALL.replace("\x00", ""), steps=2,
        factors={"p": [0.2, 0.5], "trouble": ["", *ATTACKS[:2]]},
    )  # fmt: skip
    found = sw.sweep(said, executor="here", out=tmp_path / "found" / "x<b>y")
    with serve(campaign=found, port=0) as viewer, opened(browser, viewer.url) as watched:
        page = watched.page
        page.wait_for_function("() => document.querySelector('#panel-campaign').textContent.length > 200")
        words = page.evaluate(OPEN_ALL, "campaign")
        assert ATTACKS[0] in words
        assert page.evaluate(AUDIT) == []

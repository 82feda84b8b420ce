"""The report in a browser: it opens from the disk, asks nobody, complains of nothing, and everything in it works.

Left out where there is no Chromium; with SIMWORLD_NEEDS_BROWSER, as in continuous integration, that is a failure.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, Page

import simworld as sw
from simworld.sweep import CampaignResults, means
from simworld.view import write_report
from tests.unit.campaigns import campaign, write_coin
from tests.view.viewer import chromium

pytestmark = pytest.mark.slow

WIDTH = 1280
EVIL = "</script><script>window.pwned=1</script><img src=x onerror='window.pwned=2'><b>bold</b>$x$"
DRAWN = "html[data-drawn]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> CampaignResults:
    lab = tmp_path_factory.mktemp("lab")
    said = campaign(
        write_coin(lab), title=f"Do heads follow? {EVIL}", theory={"share": 0.5}, steps=4, params={"p_trouble": 0.2},
        factors={"p": [0.2, 0.5, 0.8], "trouble": ["", "crash", EVIL], "mind": ["rules", "null"]},
    )  # fmt: skip
    return sw.sweep(said, executor="here", out=tmp_path_factory.mktemp("found") / "heads", freeze=True)


@pytest.fixture(scope="module")
def file(found: CampaignResults, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(found, tmp_path_factory.mktemp("page") / "heads & <tails>.html")


class Watched:
    """A page, and what it asked for and complained of."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.goto(file.as_uri())
        page.wait_for_selector(DRAWN, state="attached")


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Any]:
    contexts = []

    def opened(file: Path, **settings: Any) -> Watched:
        context = browser.new_context(viewport={"width": WIDTH, "height": 900}, **settings)
        contexts.append(context)
        return Watched(context.new_page(), file)

    yield opened
    for context in contexts:
        context.close()


def colour(page: Page, selector: str, name: str = "background-color") -> tuple[int, ...]:
    said = page.locator(selector).first.evaluate(f"(e) => getComputedStyle(e).getPropertyValue('{name}')")
    return tuple(int(part) for part in said[said.index("(") + 1 : -1].split(",")[:3])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_from_the_disk_without_network_or_complaint(file: Path, open_page: Any, scheme: str) -> None:
    watched = open_page(file, color_scheme=scheme)
    page = watched.page
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(300)
    assert [url for url in watched.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sum(url.startswith("file:") for url in watched.requests) == 1
    assert watched.complaints == []
    assert page.evaluate("window.pwned") is None


def test_every_figure_is_drawn_and_fits(file: Path, open_page: Any) -> None:
    page = open_page(file).page
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTH
    plots = page.locator(".plot")
    assert plots.count() >= 8
    for i in range(plots.count()):
        plot = plots.nth(i)
        assert plot.locator(".main-svg").count() >= 1
        # Something is in it: a line, points, bars or cells.
        assert plot.locator(".scatterlayer .trace, .barlayer .trace, .heatmaplayer image").count() >= 1, plot
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] > 600
        assert box["height"] > 100
    for table in page.locator(".table").all():
        # No table is cut at the right.
        assert table.evaluate("(e) => e.scrollWidth <= e.clientWidth"), table.inner_text()[:200]


def test_labels_of_a_figure_do_not_overlap(file: Path, open_page: Any) -> None:
    page = open_page(file).page
    for axis, first, size in (("xtick", "left", "right"), ("ytick", "top", "bottom")):
        overlaps = page.evaluate(
            """([axis, first, last]) => [...document.querySelectorAll('.plot')].flatMap((plot) => {
                const boxes = [...plot.querySelectorAll(`.${axis} text`)].map((e) => e.getBoundingClientRect())
                    .filter((box) => box.width > 0).sort((a, b) => a[first] - b[first]);
                return boxes.slice(1).filter((box, i) => box[first] < boxes[i][last] - 2).map(() => plot.id);
            })""",
            [axis, first, size],
        )
        assert overlaps == []


def test_texts_of_a_campaign_are_shown_as_they_are(file: Path, open_page: Any) -> None:
    page = open_page(file).page
    assert page.locator("h1").inner_text() == f"Do heads follow? {EVIL}"
    texts = page.locator(".plot svg text").all_text_contents()
    assert any(text.startswith("</script><script>window.pwned") for text in texts)
    assert page.locator(".plot svg a, .plot svg image[href^=http], main img, main b").count() == 0


def test_the_data_of_a_figure_can_be_downloaded(found: CampaignResults, file: Path, open_page: Any) -> None:
    page = open_page(file).page
    figure = page.locator("figure", has=page.locator("h3", has_text="share against p by trouble"))
    with page.expect_download() as waiting:
        figure.locator("a.csv").click()
    table = pl.read_csv(io.StringIO(Path(waiting.value.path()).read_text("utf-8")))
    assert waiting.value.suggested_filename.endswith("_share_against_p_by_trouble.csv")
    wanted = means(found.results.filter(pl.col("mind") == "rules"), ["p", "trouble"], "share")
    drawn = table.filter(pl.col("mind").is_null())
    assert drawn["mean"].to_list() == pytest.approx(wanted["mean"].to_list())
    assert drawn["low"].to_list() == pytest.approx(wanted["low"].to_list())
    assert drawn["trouble"].fill_null("").to_list() == wanted["trouble"].to_list()


@pytest.mark.parametrize(("name", "begins"), [("PNG", b"\x89PNG"), ("SVG", b"<svg")])
def test_a_figure_can_be_downloaded(file: Path, open_page: Any, name: str, begins: bytes) -> None:
    watched = open_page(file)
    with watched.page.expect_download() as waiting:
        watched.page.get_by_role("button", name=name, exact=True).first.click()
    content = Path(waiting.value.path()).read_bytes()
    assert content.startswith(begins)
    assert len(content) > 5_000
    assert waiting.value.suggested_filename.endswith(f".{name.lower()}")
    assert watched.complaints == []


def test_it_follows_the_readers_light_and_dark(file: Path, open_page: Any) -> None:
    page = open_page(file, color_scheme="dark").page
    assert max(colour(page, "body")) < 60
    assert max(colour(page, ".plot .main-svg")) < 60
    assert min(colour(page, "body", "color")) > 180
    assert min(colour(page, ".plot .xtick text", "fill")) > 180
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(500)
    assert min(colour(page, "body")) > 240
    assert min(colour(page, ".plot .main-svg")) > 240
    assert max(colour(page, ".plot .xtick text", "fill")) < 60


def test_it_prints_light_and_within_the_paper(file: Path, open_page: Any, tmp_path: Path) -> None:
    watched = open_page(file, color_scheme="dark")
    page = watched.page
    width = "Math.max(...[...document.querySelectorAll('.plot .main-svg')].map((e) => e.getBoundingClientRect().width))"
    before = page.evaluate(width)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_timeout(300)
    assert page.evaluate(width) <= 680
    assert min(colour(page, ".plot .main-svg")) > 240
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.wait_for_timeout(300)
    assert page.evaluate(width) == before
    page.emulate_media(media="print")
    assert min(colour(page, "body")) > 240
    assert page.locator("nav").is_hidden()
    assert page.pdf(path=tmp_path / "page.pdf", format="A4").startswith(b"%PDF")
    assert watched.complaints == []


def test_its_policy_refuses_scripts_and_network(file: Path, open_page: Any) -> None:
    """What gets past the escaping, if anything ever does, still does nothing."""
    page = open_page(file).page
    tried = page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", (e) => refused.push(e.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.pwned = 3";
            document.body.append(script);
            const image = document.createElement("img");
            image.setAttribute("onerror", "window.pwned = 4");
            image.src = "https://example.org/x.png";
            document.body.append(image);
            await fetch("https://example.org/").catch(() => null);
            await new Promise((done) => setTimeout(done, 300));
            return [window.pwned ?? null, refused.sort()];
        }"""
    )
    assert tried == [None, ["connect-src", "img-src", "script-src-attr", "script-src-elem"]]


def test_the_page_of_a_run_opens_too(open_page: Any, tmp_path: Path) -> None:
    run = sw.run("friendship_paradox", n_agents=12, steps=3, out=tmp_path / "run")
    watched = open_page(write_report(run, tmp_path / "run.html"))
    assert watched.complaints == []
    assert watched.page.locator(".plot .main-svg").count() >= 3
    assert watched.page.evaluate("document.documentElement.scrollWidth") == WIDTH

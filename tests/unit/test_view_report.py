"""The report says what the tables say, is whole by itself, and no text of a campaign becomes markup in it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import sqlite3
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest

import simworld as sw
from simworld.errors import Interrupted, StorageError, UsageError
from simworld.sweep import CampaignResults, Outcome, means, plan, summary
from simworld.sweep._journal import Journal
from simworld.view import write_report
from simworld.view._page import embedded
from simworld.view._text import interval, label, level, number, p_value, span_of_time
from tests.unit.campaigns import COIN, campaign, write_coin

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>bold</b>$x$%{y}"


class Parsed(HTMLParser):
    """A page as a browser sees it: elements, their attributes, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.sections: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self._in: list[str] = []
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
        if tag == "script":
            self.scripts.append("")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._in.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._in.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._in and self._in[-1] == "script":
            self.scripts[-1] += data
        elif self._section:
            self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._in and self._in[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    @property
    def plots(self) -> dict[str, Any]:
        """The figures by their titles."""
        found = json.loads(self.scripts[0]) if self.scripts else {}
        names = [(a["data-name"] or "")[3:] for tag, a in self.elements if a.get("class") == "plot"]
        assert len(names) == len(found)
        return dict(zip(names, (found[f"figure-{i}"] for i in range(1, len(names) + 1)), strict=True))

    @property
    def tables(self) -> list[pl.DataFrame]:
        """What can be downloaded, in order."""
        links = [a["href"] or "" for tag, a in self.elements if a.get("class") == "csv"]
        return [pl.read_csv(io.StringIO(unquote(link.partition(",")[2]))) for link in links]


def read(what: Any, folder: Path) -> Parsed:
    return Parsed(write_report(what, folder / "page.html").read_text("utf-8"))


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_coin(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def found(scenario: str, tmp_path_factory: pytest.TempPathFactory) -> CampaignResults:
    said = campaign(
        scenario, title="Do heads follow their chance?", theory={"share": 0.5}, replicates=6,
        factors={"p": [0.2, 0.5, 0.8], "n_agents": [5, 20], "mind": ["rules", "null"]},
    )  # fmt: skip
    return sw.sweep(said, executor="here", out=tmp_path_factory.mktemp("found") / "heads", freeze=True)


@pytest.fixture(scope="module")
def page(found: Any, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    return read(found, tmp_path_factory.mktemp("page"))


def test_a_page_says_everything_in_order(page: Parsed) -> None:
    assert list(page.sections) == [
        "question", "pre-registration", "plan", "completeness", "outcome", "response-curves", "heat-map", "effects",
        "other-measures", "over-time", "what-to-keep-in-mind", "cost", "manifest",
    ]  # fmt: skip
    text = page.sections
    assert "How many heads?" in text["question"]
    assert "share = 0.5" in text["question"]
    assert "12 points" in text["plan"]
    assert "Chance of heads." in text["plan"]
    assert "Every run of the plan is there." in text["completeness"]
    assert "72 (100.0%)" in text["completeness"]
    assert "none was asked" in text["cost"]
    assert '"p": [0.2, 0.5, 0.8]' in text["manifest"]


def test_a_page_is_whole_by_itself_and_asks_nobody(found: Any, tmp_path: Path) -> None:
    text = write_report(found, tmp_path / "deep" / "page.html").read_text("utf-8")
    page = Parsed(text)
    for tag, attributes in page.elements:
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:")), (tag, attributes)
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    # The hashes are those of the scripts as they stand in the file, and there is no other script.
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 2
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert rules["script-src"].split() == [f"'sha256-{each}'" for each in hashes]
    assert text.count("plotly.js v") == 1
    assert text.isascii() or "charset=utf-8" in text.replace('"', "")


def test_the_same_folder_gives_the_same_page(found: Any, tmp_path: Path) -> None:
    one = write_report(found, tmp_path / "one.html").read_bytes()
    assert write_report(sw.load_campaign(found.path), tmp_path / "two.html").read_bytes() == one


def test_the_outcome_is_that_of_the_table(found: Any, page: Parsed) -> None:
    by = found.results.group_by("p", "n_agents", "mind", maintain_order=True).agg(pl.col("share").mean(), pl.len())
    drawn = page.plots["share_at_each_point"]
    assert drawn["data"][0]["x"] == pytest.approx(by["share"].to_list())
    assert drawn["layout"]["yaxis"]["ticktext"][:2] == ["0.2 · 5 · rules", "0.2 · 5 · null"]
    assert drawn["data"][0]["marker"]["symbol"][:2] == ["circle", "circle-open"]
    rows = [row for row in page.rows if row[:3] == ["0.5", "20", "rules"]]
    mean = found.results.filter((pl.col("p") == 0.5) & (pl.col("n_agents") == 20) & (pl.col("mind") == "rules"))[
        "share"
    ]
    assert [row[4] for row in rows] == [number(mean.mean())]
    # What can be downloaded is what is drawn.
    table = page.tables[0]
    assert table["mean"].to_list() == pytest.approx(by["share"].to_list())
    assert table["p"].to_list() == by["p"].to_list()


def test_curves_leave_the_null_policy_out_and_draw_it_as_a_band(found: Any, page: Parsed) -> None:
    drawn = page.plots["share_against_p_by_n_agents"]
    traces = {trace["name"]: trace for trace in drawn["data"] if trace.get("name")}
    rules = found.results.filter(pl.col("mind") == "rules")
    for n in (5, 20):
        by = rules.filter(pl.col("n_agents") == n).group_by("p", maintain_order=True).agg(pl.col("share").mean())
        assert traces[str(n)]["x"] == [0.2, 0.5, 0.8]
        assert traces[str(n)]["y"] == pytest.approx(by["share"].to_list())
    null = means(found.results.filter(pl.col("mind") == "null"), ["p"], "share")
    assert traces["null policy"]["y"] == pytest.approx(null["mean"].to_list())
    (band,) = (trace for trace in drawn["data"] if trace.get("fill") == "toself")
    assert band["y"] == pytest.approx([*null["high"].to_list(), *null["low"].to_list()[::-1]])
    assert [shape["y0"] for shape in drawn["layout"]["shapes"]] == [0.5]
    assert "theory: 0.5" in traces


def test_a_heat_map_for_each_mind(found: Any, page: Parsed) -> None:
    for mind in ("rules", "null"):
        drawn = page.plots[f"share_over_p_and_n_agents_mind_{mind}"]["data"][0]
        of = found.results.filter(pl.col("mind") == mind)
        wanted = [
            [of.filter((pl.col("p") == p) & (pl.col("n_agents") == n))["share"].mean() for p in (0.2, 0.5, 0.8)]
            for n in (5, 20)
        ]
        assert np.asarray(drawn["z"]) == pytest.approx(np.asarray(wanted))


def test_courses_are_means_over_runs(found: Any, page: Parsed) -> None:
    drawn = page.plots["share_over_time"]
    points = [i for i, point in enumerate(found.points) if point["p"] == 0.8 and point["mind"] == "rules"]
    by = found.series.filter(pl.col("point").is_in(points)).group_by("step").agg(pl.col("share").mean()).sort("step")
    (trace,) = (trace for trace in drawn["data"] if trace.get("name") == "0.8")
    assert trace["y"] == pytest.approx(by["share"].to_list())
    assert trace["x"] == [0, 1, 2, 3]


def test_effects_and_analysis_of_variance_are_shown(found: Any, page: Parsed) -> None:
    own = summary(found)
    first = own["effects"].row(0, named=True)
    row = next(row for row in page.rows if row[:2] == ["p", "0.5 − 0.2"])
    assert row[2:4] == [number(first["difference"]), interval(first["low"], first["high"])]
    assert row[4:6] == [number(first["cohens_d"]), number(first["cliffs_delta"])]
    assert row[-1] == p_value(first["p_holm"])
    assert page.plots["shares_of_the_variance_of_share"]["data"][0]["x"] == pytest.approx(
        own["anova"]["eta_sq"].to_list()
    )


def test_paired_runs_are_compared_in_pairs(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, factors={"p": [0.2, 0.8]}, common_random_numbers=True)
    found = sw.sweep(said, executor="here", out=tmp_path / "pairs")
    page = read(found, tmp_path)
    assert "random numbers in common" in page.sections["plan"]
    row = summary(found)["effects"].row(0, named=True)
    assert row["n_pairs"] == 4
    drawn = page.plots["differences_of_share"]["data"][0]
    assert drawn["x"] == [row["paired_difference"]]
    assert drawn["error_x"]["array"] == pytest.approx([row["paired_high"] - row["paired_difference"]])


SPANS = {
    "p": {"low": 0.1, "high": 0.9},
    "n_agents": {"low": 5, "high": 30, "integer": True},
    "shift": {"low": 0, "high": 1},
}


@pytest.mark.parametrize(
    ("design", "frame", "column", "figure"),
    [
        ({"kind": "sobol", "n": 16, "second_order": True}, "sobol", "index", "sobol_indices_of_share"),
        ({"kind": "morris", "n": 6}, "morris", "mu_star", "elementary_effects_on_share"),
        ({"kind": "latin_hypercube", "n": 40}, "correlations", "rho", "rank_correlations_with_share"),
        ({"kind": "random", "n": 40}, "correlations", "rho", "rank_correlations_with_share"),
    ],
)
def test_sampled_designs_show_their_indices(
    scenario: str, design: dict[str, Any], frame: str, column: str, figure: str, tmp_path: Path
) -> None:
    found = sw.sweep(
        campaign(scenario, factors=SPANS, design=design, replicates=1), executor="here", out=tmp_path / "c"
    )
    page = read(found, tmp_path)
    wanted = summary(found)[frame][column].to_list()
    drawn = [x for trace in page.plots[figure]["data"] for x in trace["x"]]
    assert drawn == pytest.approx(wanted[: len(drawn)])
    assert len(drawn) >= 3
    # A curve of a sampled factor is of parts of its values, each with as many runs.
    curve = next(plot for name, plot in page.plots.items() if name.startswith("share_against_p"))
    assert 4 <= len(curve["data"][-1]["x"]) <= 10
    assert curve["data"][-1]["x"] == sorted(curve["data"][-1]["x"])


def test_the_variance_card_is_drawn(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, factors={}, design={"kind": "variance", "components": ["personas", "seed"]}, replicates=1)
    found = sw.sweep(said, executor="here", out=tmp_path / "c")
    page = read(found, tmp_path)
    card = summary(found)["variance"]
    drawn = page.plots["where_the_variance_of_share_comes_from"]["data"][0]
    assert drawn["x"] == pytest.approx(card["share"].to_list())
    assert sum(drawn["x"]) == pytest.approx(1)
    assert "nested, for the variance card: personas > seed" in page.sections["plan"]
    assert "response-curves" not in page.sections


def test_failures_are_counted_and_named(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, params={"trouble": "crash", "p_trouble": 0.5}, replicates=8)
    found = sw.sweep(said, executor="here", out=tmp_path / "c")
    failed = found.results.filter(pl.col("status") == "failed").height
    assert 5 < failed < 43
    page = read(found, tmp_path)
    assert f"{failed} of 48 runs of the plan gave nothing." in page.sections["completeness"]
    assert ["ValueError: heads and tails", str(failed)] in [row[:2] for row in page.rows]
    by_point = found.results.filter(pl.col("point") == 0)["status"].to_list()
    assert ["0", "p = 0.2, mind = rules", str(by_point.count("done")), str(by_point.count("failed")), "0"] in page.rows


def test_a_campaign_without_a_single_number_has_a_page(scenario: str, tmp_path: Path) -> None:
    found = sw.sweep(campaign(scenario, params={"trouble": "crash"}), executor="here", out=tmp_path / "c")
    page = read(found, tmp_path)
    assert "24 of 24 runs" in page.sections["completeness"]
    assert not page.plots


def test_missing_runs_are_said(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, params={"trouble": "crash"}, stop={"max_failed": 2})
    with pytest.raises(Interrupted):
        sw.sweep(said, executor="here", out=tmp_path / "c")
    page = read(sw.load_campaign(tmp_path / "c"), tmp_path)
    assert "21; call simworld sweep again" in page.sections["completeness"]
    assert ["1", "p = 0.2, mind = null", "0", "0", "4"] in page.rows
    assert "stops after more than 2 failed runs" in page.sections["plan"]


def test_adaptive_replication_is_told(scenario: str, tmp_path: Path) -> None:
    until = {"metric": "share", "ci_width": 0.4, "max_replicates": 12, "first": 4}
    found = sw.sweep(campaign(scenario, until=until, replicates=2), executor="here", out=tmp_path / "c")
    sizes = found.results.group_by("point").len()["len"]
    page = read(found, tmp_path)
    assert f"{sizes.min()} to {sizes.max()} a point" in page.sections["completeness"]
    assert "4, then more until the 95% interval of share is at most 0.4 wide, 12 at most" in page.sections["plan"]
    assert "may have stopped too early; until.bounds makes it exact" in page.sections["plan"]
    assert "95 %, by the asymptotic confidence sequence that holds whenever" in page.sections["outcome"]


def test_a_campaign_of_one_point_has_a_page(scenario: str, tmp_path: Path) -> None:
    found = sw.sweep(campaign(scenario, factors={}, measures=[], series=[]), executor="here", out=tmp_path / "c")
    page = read(found, tmp_path)
    assert number(found.results["share"].mean()) in page.sections["outcome"]
    assert "response-curves" not in page.sections


def test_of_many_points_the_ends_are_shown_and_the_rest_is_said(scenario: str, tmp_path: Path) -> None:
    said = campaign(scenario, factors={"p": [i / 100 for i in range(100)]}, replicates=1, series=[])
    found = sw.sweep(said, executor="here", out=tmp_path / "c")
    page = read(found, tmp_path)
    drawn = page.plots["share_at_each_point"]["data"][0]["x"]
    every = sorted(found.results["share"].to_list(), reverse=True)
    assert drawn == every[:20] + every[-20:]
    assert "Of 100 points those with the 20 highest and the 20 lowest means are shown" in page.sections["outcome"]
    # 100 values of p are drawn in tenths.
    assert len(page.plots["share_against_p"]["data"][0]["x"]) == 10


class TestPreRegistration:
    def said(self, found: Any, folder: Path) -> str:
        return read(found, folder).sections["pre-registration"]

    def test_nothing_was_frozen(self, scenario: str, tmp_path: Path) -> None:
        found = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c")
        assert "Not pre-registered" in self.said(found, tmp_path)

    def test_what_was_frozen_ran(self, found: Any, page: Parsed) -> None:
        said = page.sections["pre-registration"]
        assert "What ran is what was frozen: plan, measures and stop rules" in said
        assert found.campaign.digest()[:12] in said
        assert "before the first run." in said

    @pytest.mark.parametrize("change", [{"replicates": 5}, {"measures": ["share"]}, {"stop": {"timeout_s": 60}}])
    def test_the_plan_changed(self, scenario: str, change: dict[str, Any], tmp_path: Path) -> None:
        sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c", freeze=True)
        found = sw.sweep(campaign(scenario, **change), executor="here", out=tmp_path / "c")
        said = self.said(found, tmp_path)
        assert "what ran is not what was frozen: plan, measures or stop rules" in said
        assert "files" not in said

    def test_the_title_may_change(self, scenario: str, tmp_path: Path) -> None:
        sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c", freeze=True)
        found = sw.sweep(campaign(scenario, title="A better title"), executor="here", out=tmp_path / "c")
        assert "What ran is what was frozen" in self.said(found, tmp_path)

    def test_the_files_changed(self, tmp_path: Path) -> None:
        said = campaign(write_coin(tmp_path / "lab"))
        sw.sweep(said, executor="here", out=tmp_path / "c", freeze=True)
        (tmp_path / "lab" / "coin.py").write_text(COIN.replace("toss coins", "toss other coins"), "utf-8")
        found = sw.sweep(said, executor="here", out=tmp_path / "c")
        told = self.said(found, tmp_path)
        assert "what ran is not what was frozen: the scenario's files" in told
        assert "measures" not in told

    def test_another_plan_came_between(self, scenario: str, tmp_path: Path) -> None:
        sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c", freeze=True)
        sw.sweep(campaign(scenario, replicates=5), executor="here", out=tmp_path / "c")
        found = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c")
        assert "1 call with another plan came between" in self.said(found, tmp_path)

    def test_frozen_afterwards_is_no_pre_registration(self, scenario: str, tmp_path: Path) -> None:
        found = sw.sweep(campaign(scenario), executor="here", out=tmp_path / "c")
        with sqlite3.connect(found.path / "campaign.sqlite") as db:
            row = ("2999-01-01T00:00:00+00:00", found.campaign.digest(), found.manifest["content_hash"])
            db.execute("INSERT INTO frozen VALUES (?, ?, ?)", row)
        db.close()
        assert "after the first run, so it is no pre-registration" in self.said(found, tmp_path)


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A campaign whose every text would like to be markup."""
    lab = tmp_path_factory.mktemp("lab")
    broken = COIN.replace('"heads and tails"', repr(EVIL + "\x00\x1b[31m\u202e")).replace(
        '"""How many heads?"""', repr(EVIL)
    )
    (lab / "<b>coin&.py").write_text(broken.replace('doc="Chance of heads."', f"doc={EVIL!r}"), "utf-8")
    said = campaign(
        str(lab / "<b>coin&.py"), title=EVIL, steps=3, theory={EVIL: 0.5},
        factors={"p": [0.2, 0.8], "trouble": ["crash", EVIL, EVIL + "!", "a" * 90 + "1", "a" * 90 + "2", "2020-01-01"]},
        measures=[{"metric": "share", "name": EVIL}],
    )  # fmt: skip
    return sw.sweep(said, executor="here", name="evil", out=tmp_path_factory.mktemp("evil") / "<i>evil&$x$")


def test_no_text_becomes_markup(evil: Any, tmp_path: Path) -> None:
    assert evil.done.height == 40
    text = write_report(evil, tmp_path / "page.html").read_text("utf-8")
    page = Parsed(text)
    tags = {tag for tag, _ in page.elements}
    assert tags == {
        "html", "head", "meta", "title", "link", "style", "body", "header", "h1", "h2", "h3", "p", "nav", "a", "main",
        "section", "dl", "dt", "dd", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure",
        "figcaption", "span", "button", "footer", "script", "pre",
    }  # fmt: skip
    assert len(page.scripts) == 3
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert EVIL in page.sections["question"]
    assert EVIL in page.sections["failures"]
    assert not set("\x00\x1b\u202e") & set(text)


def test_no_text_becomes_markup_in_a_figure(evil: Any, tmp_path: Path) -> None:
    page = read(evil, tmp_path)
    texts: list[str] = []

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                walk(each, name)
        elif isinstance(value, list):
            for each in value:
                walk(each, key)
        elif isinstance(value, str) and key != "hovertemplate":
            texts.append(value)
        elif isinstance(value, str):
            assert value in known, value

    ours = ("%{text}<br>%{y:.4g}", "%{text}<br>%{x:.4g}<extra></extra>", "%{text}<br>%{z:.4g}<extra></extra>",
            "%{text}<br>%{x:.4g} (%{customdata[0]} to %{customdata[1]})<extra></extra>")  # fmt: skip
    known = set(ours)
    for plot in page.plots.values():
        walk(plot)
    assert any("&lt;script&gt;" in text for text in texts)
    assert not any("<" in text or "$" in text for text in texts)


def test_data_end_no_script_element() -> None:
    said = embedded({"</script>": ["<!--", "&lt;", "\u2028"]})
    assert not set("<>&\u2028") & set(said)
    assert json.loads(said) == {"</script>": ["<!--", "&lt;", "\u2028"]}


def test_values_that_look_alike_when_cut_stay_apart(evil: Any, tmp_path: Path) -> None:
    page = read(evil, tmp_path)
    plots = json.loads(page.scripts[0]).values()
    (curve,) = (plot for plot in plots if plot["layout"].get("legend", {}).get("title", {}).get("text") == "trouble  ")
    # One of six values crashes; those that begin alike are lines of their own.
    assert len([trace for trace in curve["data"] if trace.get("error_y")]) == 6
    (heat,) = (plot for plot in plots if plot["data"][0]["type"] == "heatmap")
    assert heat["data"][0]["x"] == list(range(6))
    assert heat["layout"]["xaxis"]["ticktext"][-1] == "2020-01-01"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sw.Run:
    out = tmp_path_factory.mktemp("run") / "one"
    return sw.run("friendship_paradox", n_agents=15, steps=4, seed=3, with_null=3, out=out)


def test_the_page_of_a_run(run: sw.Run, tmp_path: Path) -> None:
    page = read(run, tmp_path)
    assert list(page.sections) == ["summary", "findings", "metrics", "events", "manifest"]
    assert "decided by rules (rule policy: hand-written rules, no language model)" in page.sections["summary"]
    assert run.digest is not None
    assert run.digest in page.sections["summary"]
    finding = run.findings.row(0, named=True)
    row = next(row for row in page.rows if row[:2] == [finding["observer"], finding["metric"]])
    assert row[2:5] == [number(finding[name]) for name in ("value", "null_mean", "gap")]
    null = run.null_policy.filter("is_finding").row(0, named=True)
    assert (null["observer"], null["metric"]) == (finding["observer"], finding["metric"])
    assert f"({interval(null['low'], null['high'])})" in row[6]
    counts = dict(run.events.group_by("kind").len().iter_rows())
    for kind, n in counts.items():
        assert [kind, number(n)] in [each[:2] for each in page.rows]
    drawn = {trace["name"]: trace for trace in page.plots["metrics_of_the_scenario"]["data"] if trace.get("name")}
    assert drawn["follows"]["y"] == run.metrics["follows"].to_list()


def test_a_run_that_failed_has_a_page(scenario: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="heads and tails"):
        sw.run(scenario, trouble="crash", out=tmp_path / "run")
    page = read(sw.load_run(tmp_path / "run"), tmp_path)
    assert "failed" in page.sections["summary"]
    assert "heads and tails" in page.sections["summary"]


def test_what_is_neither_campaign_nor_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="got str"):
        write_report("heads", tmp_path / "page.html")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_page_that_cannot_be_written_is_said(run: sw.Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StorageError, match="file"):
        write_report(run, tmp_path / "file" / "page.html")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (math.nan, "–"), (0.0, "0"), (-0.25, "−0.25"), (0.123456, "0.1235"), (1234.5678, "1,235"),
        (12.0, "12"), (100, "100"), (1e-7, "1e−07"), (3.2e9, "3.2e+09"), (math.inf, "∞"), (True, "yes"),
        (12345, "12,345"),         (0.001, "0.001"), (999999.7, "1,000,000"), (100.0, "100"), (9.99996, "10"),
    ],
)  # fmt: skip
def test_numbers(value: Any, said: str) -> None:
    assert number(value) == said


def test_words() -> None:
    assert [p_value(p) for p in (0.0004, 0.0123, 1.0, math.nan)] == ["< 0.001", "0.012", "1.000", "–"]
    assert interval(math.nan, 1.0) == "–"
    assert [level(value) for value in (None, "", "null", True, 0.5)] == ["none", "none", "null", "yes", "0.5"]
    assert label("<b>a</b> $x$\n&") == "&lt;b&gt;a&lt;/b&gt; &#36;x&#36; &amp;"
    assert len(label("a" * 100)) == 40
    assert [span_of_time(s) for s in (0.0123, 5, 150, 9000, 200_000)] == [
        "12 ms",
        "5.0 s",
        "2.5 min",
        "2.5 h",
        "2.3 days",
    ]


@pytest.mark.slow
def test_ten_thousand_runs_take_seconds_and_stay_small(scenario: str, tmp_path: Path) -> None:
    """The outcomes are made up: what is measured is reading, analysing and drawing them."""
    said = campaign(
        scenario, replicates=100,
        factors={"p": [i / 10 for i in range(1, 11)], "n_agents": [5, 10, 15, 20, 25], "mind": ["rules", "null"]},
    )  # fmt: skip
    ready = plan(said, out=tmp_path / "c")
    rng = np.random.default_rng(1)
    with Journal(tmp_path / "c") as journal:
        for point in range(100):
            for replicate in range(100):
                course = rng.random(4).tolist()
                values = {"share": course[-1], "share:mean": sum(course) / 4}
                series = {"step": [0.0, 1.0, 2.0, 3.0], "share": course}
                journal.keep(Outcome(ready.task(point, replicate).key, "done", "", values, series, "digest", 3))
    found = sw.sweep(said, executor="here", out=tmp_path / "c")
    assert found.done.height == 10_000
    began = time.perf_counter()
    file = write_report(sw.load_campaign(tmp_path / "c"), tmp_path / "page.html")
    assert time.perf_counter() - began < 20
    assert file.stat().st_size < 6_000_000  # plotly's script is 4.8 MB of it

"""One file to share: the viewer's own answers, in a page that asks nobody; without private words where those are left
out; and the viewer in a notebook."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import polars as pl
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser, expect

import simworld as sw
from simworld.cli._main import cli
from simworld.errors import UsageError
from simworld.run import Run, decisions_at, decisions_of
from simworld.view import export_page
from simworld.view.replay import Session
from simworld.view.replay._export import bundled
from tests.server import ModelServer
from tests.view.viewer import chromium, opened

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def quarrel(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sw.run(f"{HERE / 'quarrel.py'}@Quarrel", seed=1, out=tmp_path_factory.mktemp("runs") / "quarrel")


@pytest.fixture(scope="module")
def whispers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, str]]:
    with ModelServer() as server:
        yield sw.run(
            f"{HERE / 'whispers.py'}@Whispers", seed=1, cast="book_club", n_agents=4, api_base=server.base,
            seats={"1": "local/scripted", "3": "local/scripted"}, out=tmp_path_factory.mktemp("runs") / "whispers",
        ), server.base  # fmt: skip


def kept_in(content: bytes) -> dict[str, bytes]:
    """Return the answers that a page holds."""
    found = re.search(r'id="simworld-data">(.*?)</script>', content.decode(), re.DOTALL)
    assert found is not None
    return {path: gzip.decompress(base64.b64decode(said)) for path, said in json.loads(found[1]).items()}


def test_it_holds_the_answers_of_the_server(quarrel: Run) -> None:
    page = export_page([quarrel])
    kept = kept_in(page.content)
    session = Session([quarrel])
    different = set()
    for path, answer in kept.items():
        match path.split("/"):
            case [_, _, "decisions", step]:
                for agent, said in json.loads(answer).items():
                    assert json.loads(session.answer(f"run/0/decisions/{step}/{agent}").body) == said
            case [_, _, "lineage"]:
                trees = json.loads(answer)
                for row, at in trees["rows"].items():
                    item = int(quarrel.events["item"][int(row)])
                    assert json.loads(session.answer(f"run/0/lineage/{item}?row={row}").body) == trees["trees"][at]
                for item, at in trees["items"].items():
                    assert json.loads(session.answer(f"run/0/lineage/{item}").body) == trees["trees"][at]
                assert trees["rows"]
            case _:
                if answer != session.answer(path).body:
                    different.add(path)
    session.close()
    # What it says of itself differs, and no folder of this machine is named.
    assert different == {"session", "run/0/head"}
    assert page.left_out == []
    said = "".join(answer.decode("latin-1") for answer in kept.values())
    assert str(quarrel.path.parent) not in said
    assert str(HERE) not in said
    assert {path.split("/")[2] for path in kept if path.startswith("run/")} == {
        "head", "layout", "traits", "metrics", "findings", "marks", "ties", "events", "column", "lineage", "agent",
        "decisions",
    }  # fmt: skip
    assert export_page([quarrel]).content == page.content


def test_repeating_once_gives_what_repeating_each_step_gives(quarrel: Run) -> None:
    found = dict(decisions_of(quarrel, 2, quarrel.steps))
    assert list(found) == list(range(2, quarrel.steps + 1))
    assert all(found[step] == decisions_at(quarrel, step) for step in (2, quarrel.steps))


def test_it_opens_from_the_disk_and_says_why_somebody_was_unfollowed(
    quarrel: Run, browser: Browser, tmp_path: Path
) -> None:
    file = export_page([quarrel]).write(tmp_path / "a run & <more>.html")
    event = quarrel.events.with_row_index("row").filter(pl.col("kind") == "unfollow").row(0, named=True)
    with opened(browser, file.as_uri(), f"#step={event['step']}&event={event['row']}&tab=feed") as watched:
        page = watched.page
        watched.shown()
        # The rule's own words, what it saw, and what somebody wrote that it remembered.
        expect(page.locator("body")).to_contain_text("fool")
        expect(page.locator("body")).to_contain_text(f"Was rude {quarrel.plan.params.get('patience', 2)} times")
        # Whoever jumps to a moment is told at once.
        watched.press("Escape", "Escape", "5")
        page.locator("select.jump").select_option(index=1)
        expect(page.locator("#panel-agent")).to_contain_text("A rule decided: Read")
        for i, words in enumerate(["", "", "", "", "", "asks nobody"], start=1):
            watched.press("Escape", str(i))
            expect(page.locator(".panel-place:not([hidden])")).to_contain_text(words or re.compile(r"\w"))
        watched.press("3")
        expect(page.locator(".panel-place:not([hidden]) .main-svg").first).to_be_attached()
        watched.press("Home", "ArrowRight")
        watched.wait_for("step", 1)
        watched.shown()
        page.keyboard.press("/")
        page.keyboard.type("opera")
        page.keyboard.press("Enter")
        expect(page.locator("#panel-feed")).to_contain_text("opera")
        refused = page.evaluate(
            """async () => {
                const refused = [];
                document.addEventListener("securitypolicyviolation", (e) => refused.push(e.effectiveDirective));
                const script = document.createElement("script");
                script.textContent = "window.hit = 1";
                document.body.append(script);
                await fetch("https://example.org/").catch(() => null);
                await new Promise((done) => setTimeout(done, 100));
                return [window.hit ?? null, refused.sort()];
            }"""
        )
        assert refused == [None, ["connect-src", "script-src-elem"]]
        watched.complaints[:] = [words for words in watched.complaints if "Content Security Policy" not in words]
        assert all(not url.startswith("http") or "example.org" in url for url in watched.requests)
        watched.requests.clear()


def test_two_runs_stand_side_by_side(quarrel: Run, browser: Browser, tmp_path: Path) -> None:
    kind = quarrel.fork(3, params={"rude": 0.0}, out=tmp_path / "kind")
    file = export_page([quarrel, kind], has_charts=False).write(tmp_path / "two.html")
    assert file.stat().st_size < 1_000_000
    with opened(browser, file.as_uri()) as watched:
        watched.shown()
        assert watched.page.locator(".graph").count() == 2
        watched.press("6")
        expect(watched.page.locator("#panel-compare")).to_contain_text("4")
        watched.press("3")
        expect(watched.page.locator("#panel-metrics")).to_contain_text("exported without charts")


HUSHED = ("HUSH", "The library will lose its evening hours", "has not finished the last three books")


def test_what_is_private_is_left_out_when_that_is_asked_for(whispers: tuple[Run, str]) -> None:
    run, base = whispers

    def said(**how: bool) -> tuple[str, dict[str, bytes]]:
        page = export_page([run], has_charts=False, **how)
        kept = kept_in(page.content)
        return "".join(answer.decode("latin-1") for answer in kept.values()), kept

    whole, _ = said()
    words = {
        *HUSHED,
        *(f"HUSH{w}" for w in ("PARAMETER", "SEEN", "PLAN", "DATA", "MEMORY", "THOUGHT", "NOTE", "QUESTION")),
    }
    replies = {str(reply) for reply in run.calls["reply"].to_list()}
    assert all(word in whole for word in words)
    assert all(json.dumps(reply)[1:-1] in whole for reply in replies)
    public, kept = said(is_redacted=True)
    assert [word for word in words if word in public] == []
    assert [reply for reply in replies if json.dumps(reply)[1:-1] in public] == []
    assert all(word in public for word in ("OPENLY 0", "OPENWORDS", "OPENMEMORY", "OPENROLE"))
    assert not any("decisions" in path for path in kept)
    session = json.loads(kept["session"])
    assert session["is_redacted"]
    assert len(session["redacted"]) == 8
    # Where a server was, and with which key it was asked, is in neither.
    assert base.removeprefix("http://").partition("/")[0] not in whole + public
    # The whispers themselves stay: that something was said, to whom, when.
    assert json.loads(kept["run/0/head"])["event_kinds"][1]["count"] == run.steps
    calls = json.loads(kept["run/0/agent/1"])["calls"]
    assert len(calls) == run.steps
    assert {call["input_tokens"] > 0 and call["system"] + call["user"] + call["reply"] for call in calls} == {""}


def test_a_run_that_does_not_say_what_is_private_is_not_redacted(quarrel: Run, tmp_path: Path) -> None:
    shutil.copytree(quarrel.path, tmp_path / "old")
    old = {name: value for name, value in quarrel.manifest.items() if name != "private_events"}
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(old), "utf-8")
    with pytest.raises(UsageError, match="without --redact"):
        export_page([Run(tmp_path / "old")], is_redacted=True)


def test_the_modules_make_one_script(tmp_path: Path) -> None:
    script = bundled()
    assert re.search(r"^(import|export)\b", script, re.MULTILINE) is None
    (tmp_path / "main.js").write_text('import { a } from "./a.js";\nconst b = a;\n', "utf-8")
    (tmp_path / "a.js").write_text("export const a = 1;\n", "utf-8")
    assert bundled(tmp_path) == "const a = 1;\nconst b = a;"
    (tmp_path / "a.js").write_text("export const a = 1;\nconst b = 2;\n", "utf-8")
    with pytest.raises(ValueError, match="'b' is a name of a"):
        bundled(tmp_path)


def test_the_command(quarrel: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Any:
        return CliRunner().invoke(cli, ["export", str(quarrel.path), *args], prog_name="simworld")

    done = call("--html")
    assert done.exit_code == 0
    size = (tmp_path / "quarrel.html").stat().st_size
    assert done.stdout == f"{size / 1e6:.1f} MB: quarrel.html\n"
    for args, words in (
        (["--html"], "exists"), (["csv", "--redact"], "--redact is for the page"),
        (["--html", "--step", "3"], "--step"), (["csv", "--html"], "ask for one"), ([], "name one"),
        (["--html", "--out", "."], "is a folder"),
    ):  # fmt: skip
        refused = call(*args)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert words in refused.stderr
    done = call("html", "--redact", "--no-charts", "--force")
    assert done.exit_code == 0
    assert "left out: prompts and replies" in done.stdout
    assert (tmp_path / "quarrel.html").stat().st_size < size / 5
    monkeypatch.setattr("simworld.view.replay._export.MOST_BYTES", 1_000)
    refused = call("--html", "--out", "large.html")
    assert "more than" in refused.stderr
    assert not (tmp_path / "large.html").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quarrel.html"]


def test_a_notebook_shows_it_inline(quarrel: Run) -> None:
    viewer = quarrel.view(height=500)
    try:
        said = viewer._repr_html_()
        assert re.fullmatch(r'<iframe src="http://127\.0\.0\.1:\d+/" width="100%" height="500"[^<>]*></iframe>', said)
        assert sw.view(str(quarrel.path)) is viewer
        with urlopen(viewer.url) as answer:
            assert "frame-ancestors http://localhost:*" in answer.headers["content-security-policy"]
            assert b"simworld" in answer.read()
    finally:
        viewer.close()
    assert "closed" in viewer._repr_html_()

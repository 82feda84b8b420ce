"""The replay viewer on a large run: how soon it is there, what it takes, and how it moves, in headless Chromium."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import simworld as sw
from tests.bench.measure import MB, ROOT, Goal, Report, Row, Size

PAINTED_S = 2.0
TAB_MB = 1_000.0
FRAMES_A_S = 30.0
JUMP_MS = 100.0

# (agents, steps, ties)
SIZES = {Size.FULL: (10_000, 1_000, 30_000), Size.QUICK: (1_000, 200, 3_000), Size.TINY: (60, 20, 200)}
SCRUBBED = {Size.FULL: 300, Size.QUICK: 150, Size.TINY: 10}
"""Steps over which the clock is dragged, one a frame, across the boundary of at least one chunk."""
JUMPS = {Size.FULL: 30, Size.QUICK: 30, Size.TINY: 3}

SHOWN = "simworld.graphs.every((graph) => graph.isReady() && graph.dirty.size === 0 && graph.screenX)"

SCRUB = f"""async ([first, last]) => {{
    const graph = simworld.graphs[0];
    graph.costs.frames.length = 0;
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const seen = new Set();
    await frame();
    const began = performance.now();
    let frames = 0;
    for (let step = first; step <= last; step++) {{
        simworld.store.set({{ step }});
        await frame();
        frames++;
        seen.add(graph.shown);
    }}
    while (!({SHOWN})) await frame();
    return {{ ms: performance.now() - began, frames, shown: seen.size, draws: [...graph.costs.frames] }};
}}"""
"""Drags the clock over the steps, one a frame, and tells how long that took and how many of them were to be seen."""

JUMP = f"""async (step) => {{
    const began = performance.now();
    simworld.store.set({{ step }});
    while (!({SHOWN})) await new Promise((done) => setTimeout(done, 0));
    return performance.now() - began;
}}"""


def bench(size: Size) -> Report:
    """Record a run, serve it as the command does, and look at it."""
    n, steps, ties = SIZES[size]
    report = Report(f"replay viewer, {n:,} agents, {steps:,} steps, {ties:,} ties of which 1 % change in each")
    with tempfile.TemporaryDirectory(prefix="simworld-bench-") as folder:
        began = time.perf_counter()
        spec = f"{Path(__file__).parent / 'bustle.py'}@Bustle"
        run = sw.run(spec, n_agents=n, n_ties=ties, steps=steps, seed=1, out=Path(folder) / "run")
        report.rows.append(Row("recording the run", n, steps, time.perf_counter() - began))
        with _tab() as (page, session), _server(run.path, Path(folder) / "cache") as (url, asked_at, ready_at):
            _opened(report, page, url, asked_at, ready_at, n)
            _scrubbed(report, page, session, size, steps)
            _jumped(report, page, size, steps)
            _weighed(report, session)
    report.notes += [
        "first paint: ties and agents of step 0 on the screen, from the moment the server said that it answers, with "
        "an empty cache of layouts and a browser that was running; the row counts from the start of the command.",
        "scrubbing: the clock is set to the next step in every frame, agents coloured and sized by a column. "
        "Drawing: the graph's own canvases. Main thread: all tasks of the tab a step (data, drawing, panels, garbage), "
        "from the browser's own count.",
        "a jump is to a random step of the whole run, until it is drawn; parts of the run not yet loaded come from the "
        "server. Memory of the tab: what its process holds alone (USS). Rendered without a GPU.",
    ]
    return report


def _opened(report: Report, page: Any, url: str, asked_at: float, ready_at: float, n: int) -> None:
    page.goto(url)
    page.wait_for_function("() => performance.getEntriesByName('simworld-painted').length > 0", timeout=60_000)
    painted = (
        page.evaluate("performance.timeOrigin + performance.getEntriesByName('simworld-painted')[0].startTime") / 1e3
    )
    page.wait_for_function(f"() => window.simworld && {SHOWN}", timeout=60_000)
    if page.evaluate("simworld.main.n") != n:
        raise AssertionError("the viewer shows another run")
    report.rows.append(Row("from the command to the first paint", n, 0, painted - asked_at))
    report.goals += [
        Goal("first paint after the server's start", painted - ready_at, "s", at_most=PAINTED_S),
        Goal("the command until the server answers", ready_at - asked_at, "s"),
    ]
    # The dearest colouring, a number that changes in every step; and what follows is measured in the final layout.
    page.evaluate("simworld.store.set({ color: 'column:wealth', size: 'column:wealth' })")
    page.wait_for_function("() => simworld.main.blocks.has('layout')", timeout=120_000)


def _scrubbed(report: Report, page: Any, session: Any, size: Size, steps: int) -> None:
    first = steps // 10
    last = min(steps, first + SCRUBBED[size])
    page.evaluate(JUMP, first)
    before = _metrics(session)
    found = page.evaluate(SCRUB, [first + 1, last])
    after = _metrics(session)
    n_steps = last - first
    thread_ms = 1e3 * (after["TaskDuration"] - before["TaskDuration"]) / n_steps
    draws = sorted(found["draws"])
    shown = 1e3 * found["shown"] / found["ms"]
    report.rows.append(Row(f"scrubbing over {n_steps} steps", 0, n_steps, found["ms"] / 1e3))
    report.goals += [
        Goal("steps drawn while scrubbing", shown, "a second", at_least=FRAMES_A_S if size is not Size.TINY else None,
             note=f"{found['shown']} of {n_steps} steps were to be seen"),
        Goal("drawing a step, median", statistics.median(draws), "ms"),
        Goal("drawing a step, 95 % quantile", draws[int(0.95 * (len(draws) - 1))], "ms"),
        Goal("main thread, a step", thread_ms, "ms", note="everything the tab does"),
    ]  # fmt: skip


def _jumped(report: Report, page: Any, size: Size, steps: int) -> None:
    chance = random.Random(1)
    took = [page.evaluate(JUMP, chance.randrange(steps + 1)) for _ in range(JUMPS[size])]
    report.goals += [
        Goal("jump to a random step, median", statistics.median(took), "ms", at_most=JUMP_MS),
        Goal("jump to a random step, worst", max(took), "ms", at_most=JUMP_MS, note=f"of {len(took)}"),
    ]


def _weighed(report: Report, session: Any) -> None:
    heap = _metrics(session)["JSHeapUsedSize"] / MB
    tab = max(_renderers(), default=0.0)
    report.goals.append(
        Goal("memory of the tab", tab, "MB", at_most=TAB_MB, note=f"{heap:.0f} MB of it JavaScript's heap")
    )


def _metrics(session: Any) -> dict[str, float]:
    return {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}


def _renderers() -> Iterator[float]:
    for process in psutil.Process().children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                yield process.memory_full_info().uss / MB
        except psutil.Error:
            continue


@contextmanager
def _tab() -> Iterator[tuple[Any, Any]]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise RuntimeError("there is no Chromium; install Debian's: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")
        yield page, session
        browser.close()


@contextmanager
def _server(run: Path, cache: Path) -> Iterator[tuple[str, float, float]]:
    """Start ``simworld view``; yield its address, and when (epoch seconds) it was started and said that it answers."""
    asked_at = time.time()
    command = [sys.executable, "-m", "simworld", "view", str(run), "--port", "0", "--no-open"]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("Viewer: ")), None)
        if said is None:
            raise RuntimeError("simworld view did not start")
        yield said.removeprefix("Viewer: ").strip(), asked_at, time.time()
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()

"""One file to share: the viewer, and all that it would ask its server, in a page that opens from the disk."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

from simworld.errors import SimworldError, StorageError, UsageError
from simworld.run import Run, decisions_of, write_whole
from simworld.view.replay._campaign_data import compare
from simworld.view.replay._layout import Placed
from simworld.view.replay._lineage import family_of, lineage
from simworld.view.replay._marks import marks
from simworld.view.replay._pack import narrow, pack, to_json
from simworld.view.replay._redact import REDACTED, RedactedRun
from simworld.view.replay._run_data import Recording
from simworld.view.replay._story import story, told

APP = Path(__file__).parent / "app"
MOST_BYTES = 200_000_000
"""Bytes of a file that is written without being forced: mail and most browsers give up at about as many."""
MOST_STORIES = 5_000
"""Agents whose whole story goes along; arbitrary: one takes ten kilobytes and twenty milliseconds."""
MOST_DECISIONS = 50_000
"""Decisions that go along, of the first steps: each holds all that an agent saw, some kilobytes, and the run has to be
repeated for them at about a thousand a second."""
MOST_TREES = 2_000
"""Trees of news, posts and strategies; each takes a pass over the events."""
LAYOUT_S = 120.0
"""Seconds to wait for the final layout; the quick one goes along after that."""
_IMPORT = re.compile(r'import \{ ([\w, ]+) \} from "\./(\w+\.js)";')
_EXPORT = re.compile(r"export (?=(?:async )?(?:function|class|const|let)\b)")
_TOP_LEVEL = re.compile(r"(?:async )?(?:function\*?|class|const|let|var) (\w+)")


@dataclass
class Exported:
    """A page, ready to be written."""

    content: bytes
    left_out: list[str] = field(default_factory=list)
    """What is not in it, in words."""

    @property
    def size(self) -> str:
        """How large it is, in words."""
        return f"{len(self.content) / 1e6:.1f} MB"

    def write(self, file: Path, *, is_forced: bool = False) -> Path:
        """Write it, whole or not at all, and return the file.

        Raises:
            UsageError: there is such a file, or the page is larger than `MOST_BYTES`, and neither is forced.
            StorageError: it cannot be written.
        """
        if len(self.content) > MOST_BYTES and not is_forced:
            raise UsageError(
                f"the page would have {self.size}, more than {MOST_BYTES / 1e6:.0f} MB, and few browsers open that; "
                "export a shorter or smaller run, or say --force"
            )
        check_free(file, is_forced=is_forced)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot write {file}: {error.strerror or error}") from error
        write_whole(file, self.content)
        return file


def check_free(file: Path, *, is_forced: bool = False) -> None:
    """Refuse a file that is there already.

    Raises:
        UsageError: it is there and not forced, or is a folder.
    """
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder; name a file in it, as {str(file / 'run.html')!r}")
    if file.exists() and not is_forced:
        raise UsageError(f"{str(file)!r} exists; give another name with --out, or say --force")


def export_page(
    runs: Sequence[Run],
    *,
    is_redacted: bool = False,
    has_charts: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Return one run, or two side by side, as one page that needs no server and no network.

    The same folders give the same page. A run that is growing goes along as it is now.

    Args:
        runs: one run, or two.
        is_redacted: leave out prompts, replies and private words (`REDACTED`).
        has_charts: whether plotly goes along, five megabytes, which draws the charts of metrics.
        report: told what is being done.

    Raises:
        UsageError: no run or more than two, or one that cannot be redacted.
    """
    if not 1 <= len(runs) <= 2:
        raise UsageError(f"a page shows one run, or two side by side, got {len(runs)}")
    files: dict[str, bytes] = {}
    left_out: list[str] = []
    for r, run in enumerate(runs):
        recording = Recording(RedactedRun(run) if is_redacted else run)
        name = recording.head()["name"]
        answers = _Answers(recording, f"{name}: " if len(runs) > 1 else "", left_out, report)
        for path, answer in answers.all(with_decisions=not is_redacted):
            files[f"run/{r}/{path}"] = answer
    if len(runs) == 2:
        report("comparing the two")
        found = compare(*runs)
        if is_redacted and found.get("first"):
            # The rows and prompts that differ may be private.
            found["first"] |= {"a": "", "b": "", "prompts": ""}
        files["compare"] = to_json(found)
    session = {
        "version": version("simworld"), "runs": [run.path.resolve().name for run in runs], "campaign": False,
        "compare": len(runs) == 2, "is_live": False, "is_redacted": is_redacted, "is_exported": True,
        "redacted": list(REDACTED) if is_redacted else [], "left_out": left_out,
    }  # fmt: skip
    files["session"] = to_json(session)
    report("packing")
    return Exported(_page(files, has_charts=has_charts), left_out)


class _Answers:
    """All that a page may ask of one run."""

    def __init__(self, recording: Recording, prefix: str, left_out: list[str], report: Callable[[str], None]) -> None:
        self._recording = recording
        self._prefix = prefix
        self._left_out = left_out
        self._report = report

    def all(self, *, with_decisions: bool) -> Iterator[tuple[str, bytes]]:
        """Yield (path, answer) of every one that goes along."""
        recording = self._recording
        head = recording.head()
        # The file does not grow, whatever the run does.
        summary = [row for row in head["summary"] if row[0] != "folder"]
        yield "head", self._homeless(to_json({**head, "is_growing": False, "summary": summary}))
        self._report("laying out the graph")
        placed = Placed(recording.union(), recording.run.plan.seed)
        with closing(placed):
            places, communities = self._placed(placed)
            yield "layout", pack({"x": narrow(places[:, 0]), "y": narrow(places[:, 1])}, quality="final")
            yield "traits", recording.traits(communities)
        self._report("gathering tables")
        yield "metrics", recording.metrics()
        yield "findings", to_json(recording.findings())
        yield "marks", self._homeless(to_json(marks(recording)))
        for c in range(recording.chunks):
            yield f"ties/{c}", recording.ties_chunk(c)
            yield f"events/{c}", recording.events_chunk(c)
            for table, columns in head["tables"].items():
                for column in columns:
                    name = encoded(column["name"])
                    yield f"column/{encoded(table)}/{name}/{c}", recording.column_chunk(table, column["name"], c)
        yield "lineage", to_json(self._lineages())
        yield from self._stories()
        if with_decisions:
            yield from self._decisions()

    def _homeless(self, answer: bytes) -> bytes:
        """Return JSON without the folders in which scenario and run lie: where that was is nobody's business."""
        run = self._recording.run
        for folder in {run.path.resolve().parent, Path(run.plan.scenario.partition("@")[0]).parent, Path.home()}:
            if folder.is_absolute() and folder != Path(folder.anchor):
                answer = answer.replace(json.dumps(f"{folder}{os.sep}", ensure_ascii=False)[1:-1].encode(), b"")
        return answer

    def _placed(self, placed: Placed) -> tuple[Any, Any]:
        recording = self._recording
        if not recording.n_agents:
            return np.zeros((0, 2)), None
        places, quality = placed.places()
        until = time.monotonic() + LAYOUT_S
        while quality != "final" and time.monotonic() < until:
            time.sleep(0.05)
            places, quality = placed.places()
        has_ties = len(recording.ties.step) > 0
        return places, placed.communities(timeout_s=LAYOUT_S / 2) if has_ties else None

    def _stories(self) -> Iterator[tuple[str, bytes]]:
        n = self._recording.n_agents
        self._report("gathering what agents lived through")
        for agent in range(min(n, MOST_STORIES)):
            yield f"agent/{agent}", to_json(story(self._recording, agent))
        if n > MOST_STORIES:
            self._leave(f"what agents from {MOST_STORIES:,} on remember and are")

    def _decisions(self) -> Iterator[tuple[str, bytes]]:
        recording = self._recording
        total, step = 0, 0
        if not recording.steps:
            return
        self._report("repeating the run, to see what agents saw")
        try:
            with closing(decisions_of(recording.run, 1, recording.steps)) as steps:
                for step, found in steps:
                    total += len(found)
                    if total > MOST_DECISIONS:
                        self._leave(f"what agents saw and decided from step {step:,} on")
                        return
                    yield f"decisions/{step}", to_json(told(recording, step, found))
        except SimworldError as error:
            self._leave(f"what agents saw and decided from step {step + 1:,} on ({error})")

    def _lineages(self) -> dict[str, Any]:
        """Return all trees once, and which belongs to an item and to an event."""
        events = self._recording.events
        trees: list[dict[str, Any]] = []
        rows: dict[int, int] = {}
        items: dict[int, int] = {}
        families = {kind: family_of(kind) for kind in events["kind"].unique().to_list()}
        numbered = events.with_row_index("row").with_columns(
            pl.col("kind").replace_strict(families, default="", return_dtype=pl.String).alias("family")
        )
        # An item that one event carries has no tree.
        carried = numbered.filter((pl.col("item") >= 0) | (pl.col("family") == "strategy")).filter(
            (pl.len().over("family", "item") > 1) | (pl.col("family") == "strategy")
        )
        for row, item in carried.select("row", "item").iter_rows():
            if len(trees) >= MOST_TREES:
                self._leave(f"trees of news and posts after the first {MOST_TREES:,}")
                break
            if item >= 0 and item not in items:
                items[item] = len(trees)
                trees.append(lineage(self._recording, item))
            if row not in rows:
                tree = lineage(self._recording, item, row)
                members = [node["row"] for node in tree["nodes"]]
                rows |= dict.fromkeys([row, *members], len(trees))
                trees.append(tree)
        return {"items": items, "rows": rows, "trees": trees}

    def _leave(self, words: str) -> None:
        self._left_out.append(f"{self._prefix}{json.loads(self._homeless(to_json(words)))}")


def encoded(name: str) -> str:
    """Return a name as JavaScript's ``encodeURIComponent`` writes it."""
    return quote(name.encode("utf-8", "replace"), safe="!'()*")


def bundled(folder: Path = APP) -> str:
    """Return the page's modules as one script, in order of their imports.

    Raises:
        ValueError: an import or export of another form than the page's own, or two names that are equal.
    """
    parts: list[str] = []
    owner: dict[str, str] = {}
    seen: set[str] = set()

    def take(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        kept = []
        for line in (folder / name).read_text("utf-8").splitlines():
            if line.startswith("import"):
                found = _IMPORT.fullmatch(line)
                if found is None:
                    raise ValueError(f"{name}: {line!r} is no import of the form the exported page can take")
                take(found[2])
                continue
            line = _EXPORT.sub("", line, count=1) if line.startswith("export ") else line  # noqa: PLW2901
            if line.startswith("export"):
                raise ValueError(f"{name}: {line!r} is no export of the form the exported page can take")
            if top := _TOP_LEVEL.match(line):
                other = owner.setdefault(top[1], name)
                if other != name:
                    raise ValueError(f"{top[1]!r} is a name of {other} and of {name}; one script holds both")
            kept.append(line)
        parts.append("\n".join(kept))

    take("main.js")
    return "\n".join(parts)


def _page(files: dict[str, bytes], *, has_charts: bool) -> bytes:
    """Return the page: nothing in it may ask anybody, and no script but its own may run."""
    script = _whole_script(bundled())
    scripts = [script]
    plotly = ""
    if has_charts:
        from plotly.offline import get_plotlyjs

        scripts.append(_whole_script(str(get_plotlyjs())))
        plotly = f'<script type="text/plain" id="simworld-plotly">{scripts[1]}</script>\n'
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in scripts]
    # plotly places its own style element and style attributes, which no hash can name.
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    style = "\n".join((APP / name).read_text("utf-8") for name in ("app.css", "panels.css"))
    if "</" in style:
        raise ValueError("a style sheet of the viewer ends its own element")
    data = {path: base64.b64encode(gzip.compress(answer, 6, mtime=0)).decode() for path, answer in files.items()}
    said = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<title>simworld viewer</title>\n'
        f'<link rel="icon" href="data:,">\n<style>{style}</style>\n{plotly}'
        f'<script type="application/json" id="simworld-data">{said}</script>\n'
        f'<script type="module">{script}</script>\n</head>\n<body>\n'
        "<noscript>The viewer draws the run with JavaScript; please allow it for this page.</noscript>\n"
        "</body>\n</html>\n"
    ).encode()


def _whole_script(text: str) -> str:
    """Return a script that its element holds as it is: the browser would otherwise end it early, or hash another text.

    Raises:
        ValueError: it cannot be held.
    """
    if re.search(r"</script|<!--", text, re.IGNORECASE):
        raise ValueError("a script of the viewer ends its own element")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\\0")

"""What one viewer shows: its runs, perhaps a campaign, and every answer as a function of a path."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from simworld.errors import UsageError
from simworld.run import Run
from simworld.sweep import CampaignResults
from simworld.view.replay import _campaign_data, _story
from simworld.view.replay._lineage import lineage
from simworld.view.replay._marks import marks
from simworld.view.replay._pack import finite, to_json
from simworld.view.replay._run_data import Recording, RunData

MOST_FOUND = 2_000
"""Events that one search answers with."""
TOGETHER = 150
"""Agents up to which the decisions of all are kept when a step is repeated for one."""
DECIDED_KEPT = 60
"""Repeated steps whose decisions are kept; arbitrary, up to some hundred kilobytes each."""
MOST_RUNS = 50
"""Runs of a campaign that are open at once; arbitrary."""

JSON = "application/json"
BLOCK = "application/octet-stream"


class NoSuchPath(UsageError):
    """Nothing is there; the message says what."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a path has to say."""

    body: bytes
    kind: str = BLOCK
    """Media type: `JSON` or `BLOCK`."""


class Session:
    """Runs that are looked at, and their answers. Several threads may ask at once."""

    def __init__(self, runs: Sequence[Run | Path], campaign: CampaignResults | None = None) -> None:
        """Open the runs.

        Raises:
            UsageError, RunError: one cannot be read.
        """
        self.runs = [RunData(run.path if isinstance(run, Run) else run) for run in runs]
        self.compares = len(self.runs) == 2 and campaign is None
        self._campaign = campaign
        self._opened: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()
        self._repeats = threading.Lock()
        self._decided: OrderedDict[tuple[Path, int, int], dict[Any, Any]] = OrderedDict()
        self._compared: tuple[Any, Any] | None = None

    def start(self) -> None:
        """Begin with what takes long."""
        for run in self.runs:
            run.start()

    def close(self) -> None:
        """End what is at work."""
        for run in self.runs:
            run.close()

    def answer(self, path: str) -> Answer:
        """Return the answer to a path, as it stands in an address after ``/api/``, its query included.

        Raises:
            NoSuchPath: there is none.
            UsageError, RunError: a run cannot be read (any more), or the question makes no sense.
        """
        path, _, query = path.partition("?")
        parts = [unquote(part) for part in path.split("/")]
        match parts:
            case ["session"]:
                return _json(self._session())
            case ["compare"]:
                return _json(self._compare())
            case ["campaign"]:
                return _json(self._of_campaign())
            case ["campaign-run", point, replicate]:
                return _json({"run": self._open(_whole(point), _whole(replicate))})
            case ["run", index, *rest] if rest:
                at = _whole(index)
                if at >= len(self.runs):
                    raise NoSuchPath(f"no run {at}; this viewer shows {len(self.runs)}")
                return self._of_run(self.runs[at], rest, query)
        raise NoSuchPath(f"nothing is at {path[:80]!r}")

    def _session(self) -> dict[str, Any]:
        recordings = [run.recording for run in self.runs]
        return {
            "version": version("simworld"), "runs": [run.path.resolve().name for run in self.runs],
            "campaign": self._campaign is not None, "compare": self.compares,
            "is_live": any(recording.is_growing for recording in recordings), "is_redacted": False,
        }  # fmt: skip

    def _of_run(self, run: RunData, rest: Sequence[str], query: str) -> Answer:
        recording = run.recording
        plain: dict[str, Callable[[], Any]] = {
            "head": recording.head, "findings": recording.findings, "marks": lambda: marks(recording),
        }  # fmt: skip
        blocks = {"layout": self._placed_as(run).layout, "traits": run.traits, "metrics": recording.metrics}
        match rest:
            case [name] if name in plain:
                return recording.once(("answer", name), lambda: _json(plain[name]()))
            case [name] if name in blocks:
                return Answer(blocks[name]())
            case ["ties", chunk]:
                return Answer(recording.ties_chunk(_whole(chunk)))
            case ["events", chunk]:
                return Answer(recording.events_chunk(_whole(chunk)))
            case ["column", table, name, chunk]:
                return Answer(recording.column_chunk(table, name, _whole(chunk)))
            case ["agent", agent]:
                return _json(_story.story(recording, _whole(agent)))
            case ["decisions", step, agent]:
                return self._decisions(recording, _whole(step), _whole(agent))
            case ["search"]:
                return _json(_search(recording, query))
            case ["lineage", item]:
                asked = parse_qs(query)
                row = _whole(asked["row"][0]) if "row" in asked else -1
                return _json(lineage(recording, -1 if item == "-1" else _whole(item, 18), row))
        raise NoSuchPath(f"nothing is at {'/'.join(rest)[:80]!r} of a run")

    def _placed_as(self, run: RunData) -> RunData:
        """Return the run whose layout a run has: side by side, an agent stands in one place in both."""
        first, here = self.runs[0].recording, run.recording
        is_one = first.n_agents == here.n_agents and first.run.plan.scenario == here.run.plan.scenario
        return self.runs[0] if self.compares and is_one else run

    def _decisions(self, recording: Recording, step: int, agent: int) -> Answer:
        # Repeating a step mounts the scenario: one at a time.
        with self._repeats:
            if not 0 <= agent < recording.n_agents:
                raise NoSuchPath(f"no agent {agent}; this run has 0 to {recording.n_agents - 1}")
            # What one agent saw leads on to what others did in the same step: small societies are asked together.
            everybody = recording.n_agents <= TOGETHER
            # By folder: a recording as key would keep all tables of every look at a growing run.
            key = (recording.run.path, step, -1 if everybody else agent)
            found = self._decided.get(key)
            if found is None:
                found = _story.decisions(recording, step, None if everybody else [agent])
                # What cannot be repeated yet may be later on in a growing run.
                if "error" not in found or not recording.is_growing:
                    self._decided[key] = found
                while len(self._decided) > DECIDED_KEPT:
                    self._decided.popitem(last=False)
            else:
                self._decided.move_to_end(key)
            return _json(found if "error" in found else found.get(agent, []))

    def _compare(self) -> dict[str, Any]:
        if not self.compares:
            return {"error": "one run is shown; two are compared: simworld view RUN_A RUN_B"}
        a, b = (run.recording for run in self.runs)
        if a.is_growing or b.is_growing:
            return {"error": "a run that is still growing cannot be compared yet; wait until it has ended"}
        with self._lock:
            key = (a.steps, a.status, b.steps, b.status)
            if self._compared is None or self._compared[0] != key:
                self._compared = (key, _campaign_data.compare(a.run, b.run))
            found: dict[str, Any] = self._compared[1]
            return found

    def _of_campaign(self) -> dict[str, Any]:
        if self._campaign is None:
            raise NoSuchPath("this viewer shows no campaign; simworld view CAMPAIGN does")
        return _campaign_data.campaign(CampaignResults(self._campaign.path))

    def _open(self, point: int, replicate: int) -> int:
        if self._campaign is None:
            raise NoSuchPath("this viewer shows no campaign; simworld view CAMPAIGN does")
        with self._lock:
            known = self._opened.get((point, replicate))
            if known is not None:
                return known
            if len(self._opened) >= MOST_RUNS:
                raise UsageError(f"{MOST_RUNS} runs are open; start the viewer anew to look at others")
            data = RunData(self._campaign.run(point, replicate).path)
            self.runs.append(data)
            self._opened[point, replicate] = len(self.runs) - 1
            return len(self.runs) - 1


def _json(value: Any) -> Answer:
    return Answer(to_json(finite(value)), JSON)


def _whole(text: str, digits: int = 9) -> int:
    """Return a whole number of an address.

    Raises:
        NoSuchPath: it is none, or a very large one.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= digits):
        raise NoSuchPath(f"{text[:40]!r} is not a whole number")
    return int(text)


def _search(recording: Recording, query: str) -> dict[str, Any]:
    asked = {name: values[0] for name, values in parse_qs(query).items()}
    kinds = [kind for kind in asked.get("kinds", "").split(",") if kind]
    agent = asked.get("agent", "-1")
    return recording.search(
        asked.get("text", "")[:1_000], kinds, -1 if agent == "-1" else _whole(agent),
        _whole(asked.get("from", "0") or "0"), min(_whole(asked.get("limit", "200") or "200"), MOST_FOUND),
    )  # fmt: skip

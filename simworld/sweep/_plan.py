"""A campaign made ready: its points, the task of every replicate, everything checked against the scenario."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simworld.errors import CampaignError, UsageError, did_you_mean
from simworld.memory import MemorySettings
from simworld.mind.llm import Asking
from simworld.observe import observer
from simworld.run import Loaded, load_scenario, versions
from simworld.scenario import find_lab
from simworld.sweep._campaign import MOST_RUNS, SETTINGS, Campaign, checked, read_campaign
from simworld.sweep._design import Point, call_of, points, seeds_of, size
from simworld.sweep._executors import check_executor
from simworld.sweep._files import Files
from simworld.sweep._work import Task
from simworld.world import World, checked_params


@dataclass
class Plan:
    """A campaign made ready: its points, and the task of every replicate."""

    name: str
    campaign: Campaign
    folder: Path
    loaded: Loaded
    points: list[Point]
    calls: list[dict[str, Any]]
    """By point, without seeds."""
    files: list[dict[str, str]]
    """By point: the sha256 of the files that its call names."""
    named_files: dict[str, str] = field(default_factory=dict)
    """The same by the files' names, for the folder."""
    budget_a_run: tuple[float | None, int | None] = (None, None)
    """What each run that is missing may cost."""
    begun: dict[str, tuple[float, int]] = field(default_factory=dict)
    """What runs that are made again, or taken on, have cost already, by the name of their folder."""

    @property
    def files_hash(self) -> str:
        """The sha256 of the scenario's files, and of those that calls name where there are any."""
        if not self.named_files:
            return self.loaded.content_hash
        said = json.dumps([self.loaded.content_hash, self.named_files], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def task(self, point: int, replicate: int) -> Task:
        """Return one run."""
        campaign = self.campaign
        own = seeds_of(campaign, self.points[point], replicate)
        call = {**self.calls[point], **own}
        if "seeds" in self.calls[point] and "seeds" in own:
            call["seeds"] = {**self.calls[point]["seeds"], **own["seeds"]}
        made = Task(
            point, replicate, campaign.scenario, self.loaded.content_hash, call, campaign.measures, campaign.series,
            None, campaign.stop.timeout_s, self.files[point],
        )  # fmt: skip
        if campaign.record == "metrics":
            return made
        run_key = made.run_key
        usd, tokens = self.budget_a_run
        had_usd, had_tokens = self.begun.get(run_key, (0.0, 0))
        limits: dict[str, Any] = {} if usd is None else {"budget_usd": usd + had_usd}
        limits |= {} if tokens is None else {"max_tokens_total": tokens + had_tokens}
        if limits:
            call["service"] = {**call.get("service", {}), **limits}
        return replace(made, folder=str(self.folder / "runs" / run_key))

    def dump(self) -> dict[str, Any]:
        """Return the plan as plain data, for the folder."""
        return {
            "format": 1,
            "name": self.name,
            "campaign": self.campaign.model_dump(mode="json"),
            "digest": self.campaign.digest(),
            "content_hash": self.loaded.content_hash,
            "versions": versions(),
            "files": self.named_files,
            "files_hash": self.files_hash,
            "points": self.points,
        }


def plan(given: Campaign | Mapping[str, Any] | str | Path, name: str | None = None, out: Path | None = None) -> Plan:
    """Check a campaign against its scenario, and make it ready.

    Args:
        given: a campaign, the same as a dict, or a campaign file.
        name: of the campaign's folder; by default the file's, or the scenario's.
        out: the folder itself; by default ``runs/NAME`` of the lab.

    Raises:
        UsageError: the campaign is malformed, contradicts itself, or does not fit the scenario.
    """
    if isinstance(given, Campaign):
        campaign, own = given, ""
    elif isinstance(given, Mapping):
        campaign, own = checked(given), ""
    else:
        campaign, own = read_campaign(given), Path(given).stem
    check_executor(campaign.executor, campaign.workers)
    loaded = load_scenario(campaign.scenario)
    own = own or re.sub(r"[^\w.-]+", "_", f"{loaded.ref.name}_campaign").lstrip(".")
    called = name or own
    if not called.replace("-", "").replace("_", "").replace(".", "").isalnum() or called.startswith("."):
        raise CampaignError(f"{called!r} is no name of a folder; use letters, digits, - and _")
    folder = out or find_lab().runs / called
    params = frozenset(getattr(getattr(loaded.cls, "Params", None), "model_fields", ()))
    if not issubclass(loaded.cls, World):  # a plain Mesa model's own constructor says what it takes
        params = frozenset(campaign.factors.keys() - {"steps", "observers"})
    else:
        _check_names(campaign, params)
    until = campaign.until
    at_first = max(campaign.replicates, 0 if until is None else min(until.first, until.max_replicates))
    if (n_runs := size(campaign) * at_first) > MOST_RUNS:
        raise CampaignError(f"the design has {n_runs:,} runs, more than {MOST_RUNS:,}; give fewer levels or replicates")
    made = points(campaign)
    if not made:
        raise CampaignError("the design has no point; give factors values, or leave them out")
    unique = list({json.dumps(point, sort_keys=True): point for point in made}.values())
    keeps_all = campaign.design.kind in ("sobol", "morris")
    chosen = made if keeps_all else unique
    calls = [call_of(campaign, point, params) for point in chosen]
    files = Files()
    for call in calls:
        if "params" in call:
            call["params"] = files.params(call["params"])
    _check_calls(campaign, loaded, chosen, calls)
    by_point = [files.of(loaded.cls, call) if issubclass(loaded.cls, World) else {} for call in calls]
    ready = Plan(called, campaign, folder, loaded, chosen, calls, by_point, files.found)
    n, budget = most_runs(ready), campaign.budget
    ready.budget_a_run = (
        None if budget.usd is None else budget.usd / n,
        None if budget.tokens is None else budget.tokens // n,
    )
    if ready.budget_a_run[1] == 0 or (budget.usd is not None and budget.usd == 0):
        raise CampaignError(f"the budget is nothing for each of {n:,} runs; raise it, or run fewer")
    return ready


def most_runs(ready: Plan) -> int:
    """Return how many runs a campaign has at most."""
    campaign = ready.campaign
    return len(ready.points) * max(campaign.replicates, campaign.until.max_replicates if campaign.until else 1)


def _check_calls(campaign: Campaign, loaded: Loaded, points: list[Point], calls: list[dict[str, Any]]) -> None:
    """Refuse a value that the scenario, or a run, cannot have, before anything is run; each different one once.

    Raises:
        CampaignError: names the factor, the point and the value.
    """
    is_ours = issubclass(loaded.cls, World)
    checks: dict[str, Callable[[Any], object]] = {
        "steps": _whole("steps"), "replicate": _whole("replicate"), "shuffle_personas": _yes_or_no,
        "mind": _text("mind"), "graph": _text("graph"), "cast": _text("cast"),
        "observers": lambda names: [observer(name) for name in names],
        "seeds": lambda seeds: [_whole(f"seeds.{name}")(seed) for name, seed in seeds.items()],
        "asking": lambda given: checked_params(Asking, given),
        "memory": lambda given: checked_params(MemorySettings, given),
    }  # fmt: skip
    if is_ours:
        checks["params"] = lambda given: checked_params(loaded.cls.Params, given)
    seen: set[str] = set()
    for i, (point, call) in enumerate(zip(points, calls, strict=True)):
        for part, check in checks.items():
            value = call.get(part, {} if part == "params" else None)
            said = json.dumps([part, value], sort_keys=True)
            if value is None or said in seen:
                continue
            seen.add(said)
            try:
                check(value)
            except UsageError as error:
                raise CampaignError(f"{_factor_in(point, part, str(error), i)}{error}") from None


def _factor_in(point: Point, part: str, said: str, index: int) -> str:
    """Return which factor, at which point, an error is about; nothing when it is of something fixed."""
    match = re.match(r"parameter ([\w.]+) = ", said)
    wrong = match[1].partition(".")[0] if match is not None else part
    for name, value in point.items():
        if wrong in (name, name.rpartition(".")[2], name.partition(".")[0]):
            return f"factor {name!r}, value {value!r:.80} (point {index}): "
    return ""


def _whole(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UsageError(f"{name} = {value!r} is no whole number, 0 or more")

    return check


def _text(name: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if not isinstance(value, str):
            raise UsageError(f"{name} = {value!r:.80} is no text")

    return check


def _yes_or_no(value: Any) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"shuffle_personas = {value!r} is neither true nor false")


def _check_names(campaign: Campaign, params: frozenset[str]) -> None:
    """Refuse a factor or setting that is nothing the scenario or a run knows."""
    for what, names in (("factor", campaign.factors), ("setting", campaign.settings), ("parameter", campaign.params)):
        for name in names:
            place, dot, inner = name.partition(".")
            if name in params:
                continue
            if what == "parameter":
                raise CampaignError(
                    f"no parameter {name!r} in {campaign.scenario!r}{did_you_mean(name, params)}; "
                    f"there are {sorted(params)}"
                )
            is_known = name in SETTINGS or (dot and place in ("memory", "seeds") and inner) or (
                dot and place == "params" and inner in params
            )  # fmt: skip
            if not is_known and not (what == "setting" and name in ("api_base", "prices")):
                known = [*sorted(params), *SETTINGS]
                raise CampaignError(
                    f"no {what} {name!r}{did_you_mean(name, known)}; it is a parameter of {campaign.scenario!r} "
                    f"{sorted(params)}, one of {list(SETTINGS)}, or memory.NAME"
                )

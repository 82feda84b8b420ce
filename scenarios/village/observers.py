"""What came of the news: who knows it by whom, who knows whom, and what was thought about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simworld.memory import Flag
from simworld.observe import Finding, null_of

from .news import Heard, News
from .places import minutes

REPLAYS = 200
"""Replays of the conversations under the null; arbitrary, enough for a mean and a standard deviation."""
NULL = "the same conversations in the same order; a speaker who knows tells at the mean rate, whatever it remembers"


def rate(n: int, informed: int, start: int = 1) -> float:
    """Return β·T of the logistic law for 1 → informed of n: ln[I_T(N − I_0) / (I_0(N − I_T))]; NaN at the ends."""
    if not 0 < informed < n or not 0 < start < n:
        return float("nan")
    return math.log(informed * (n - start) / (start * (n - informed)))


def tree(item: News, sourced: Mapping[int, Heard]) -> tuple[int, float, float]:
    """Return depth of the diffusion tree, mean steps from hearing to telling, and the share the first holder told."""
    depth = {item.holder: 0}
    delays, by_holder = [], 0
    for agent, heard in sorted(sourced.items(), key=lambda pair: pair[1].step):
        if heard.source >= 0:
            depth[agent] = depth[heard.source] + 1
            delays.append(heard.step - sourced[heard.source].step)
            by_holder += heard.source == item.holder
    told = len(delays)
    mean = float(np.mean(delays)) if delays else float("nan")
    return max(depth.values(), default=0), mean, by_holder / told if told else float("nan")


def replayed(world: Any, item: News) -> list[np.ndarray]:
    """Return the steps at which people would come to know under the null, ascending, one array a replay."""
    rows = world.tables["conversations"]
    pairs = list(zip(rows["first"].tolist(), rows["second"].tolist(), strict=True))
    told = [{(s, n) for s, n in json.loads(text)} for text in rows["told"].tolist()]
    steps = rows["began"].tolist()
    first = world.knowledge.first(item.number)
    if item.holder not in first:
        return [np.zeros(0)] * REPLAYS  # without a memory nobody has anything to tell
    chances = tellings = 0
    for (a, b), what, step in zip(pairs, told, steps, strict=True):
        for speaker in (a, b):
            heard = first.get(speaker)
            if heard is not None and heard.step < step:
                chances += 1
                tellings += (speaker, item.number) in what
    p = tellings / chances if chances else 0.0
    rng = world.stream("observe", "diffusion", item.number)
    found = []
    for draws in rng.random((REPLAYS, len(pairs), 2)):
        know = {item.holder: 0}
        for (a, b), (u, v), step in zip(pairs, draws.tolist(), steps, strict=True):
            new = [b] if a in know and u < p else []
            new += [a] if b in know and v < p else []
            for one in new:
                know.setdefault(one, step)
        found.append(np.sort(list(know.values())))
    return found


def half_time(steps: np.ndarray, n: int) -> float:
    """Return the step at which half of n people know, given when each came to know; NaN when they never do."""
    need = -(-n // 2)
    return float(np.sort(steps)[need - 1]) if len(steps) >= need else float("nan")


class Diffusion:
    """How far each piece of news got: from those who hold it in memory, with a chain of sources to its beginning."""

    name = "diffusion"

    def observe(self, society: Any) -> Mapping[str, float]:
        society.knowledge.update(society.memory)
        found: dict[str, float] = {}
        for item in society.news:
            key = f"n{item.number}"
            sourced = society.knowledge.sourced(item)
            found[f"{key}_informed"] = float(len(sourced))
            found[f"{key}_unsourced"] = float(len(society.knowledge.heard[item.number]) - len(sourced))
        found["unsupported"] = float(society.column("unsupported").sum())
        return found

    def conclude(self, society: Any) -> Sequence[Finding]:
        society.knowledge.update(society.memory)
        out: list[Finding] = []
        n = society.table.n
        day = 1440 // society.params.step_minutes
        for item in society.news:
            sourced = society.knowledge.sourced(item)
            name = f"{item.name}: "
            steps = np.array([heard.step for heard in sourced.values()], float)
            replays = replayed(society, item)
            null = null_of(float(len(sourced)), [float(len(r)) for r in replays])
            early = float(np.count_nonzero(steps <= day))
            early_null = null_of(early, [float(np.count_nonzero(r <= day)) for r in replays])
            half, halves = half_time(steps, n), [half_time(r, n) for r in replays]
            hours = society.params.step_minutes / 60
            half_null = null_of(half * hours, [h * hours for h in halves if not math.isnan(h)] or [float("nan")])
            out.append(Finding(
                observer=self.name, metric=f"{name}informed", value=float(len(sourced)), null_mean=null.mean,
                null_sd=null.sd, gap=null.gap, p_value=null.p_value, null=NULL, n=n,
                note=f"news {item.number}: ever remembered, with a chain of sources to {society.name_of(item.holder)}",
            ))  # fmt: skip
            depth, delay, by_holder = tree(item, sourced)
            for metric, value, one in (
                ("informed_in_a_day", early, early_null), ("half_time_h", half * hours, half_null),
            ):  # fmt: skip
                out.append(Finding(
                    observer=self.name, metric=f"{name}{metric}", value=value, null_mean=one.mean, null_sd=one.sd,
                    gap=one.gap, p_value=one.p_value, null=NULL, n=n,
                ))  # fmt: skip
            out += [
                self._plain(f"{name}share_informed", len(sourced) / n, n),
                self._plain(f"{name}beta_T", rate(n, len(sourced)), n),
                self._plain(f"{name}tree_depth", depth, len(sourced)),
                self._plain(f"{name}steps_to_telling", delay, len(sourced)),
                self._plain(f"{name}told_by_holder", by_holder, len(sourced)),
            ]
            if item.event is not None:
                out += self._funnel(society, item, sourced)
        mentions = sum(len(json.loads(t)) for t in society.tables["conversations"]["told"].tolist())
        false = float(society.column("unsupported").sum())
        share = false / (false + mentions) if false + mentions else float("nan")
        out.append(self._plain("unsupported_mentions", share, int(false + mentions)))
        return out

    def _plain(self, metric: str, value: float, n: int) -> Finding:
        return Finding(observer=self.name, metric=metric, value=float(value), n=n)

    def _funnel(self, society: Any, item: News, sourced: Mapping[int, Heard]) -> list[Finding]:
        invited = sum(heard.source == item.holder for heard in sourced.values())
        guests = [i for i in sourced if i != item.holder]
        going, attended = (
            sum(item.number in json.loads(society.table[column][i]) for i in guests) for column in ("going", "attended")
        )
        name = f"{item.name}: "
        day, minute = society.clock_time()
        if (item.event.day, minutes(item.event.end)) > (day, minute + society.params.step_minutes):
            attended = float("nan")  # it takes place after this run
        return [
            self._plain(f"{name}invited_by_host", invited, society.n_agents),
            self._plain(f"{name}heard", len(guests), society.n_agents),
            self._plain(f"{name}planned", going, len(guests)),
            self._plain(f"{name}attended", attended, len(guests)),
            self._plain(f"{name}declined", len(guests) - going, len(guests)),
            self._plain(f"{name}planned_but_absent", going - attended, len(guests)),
        ]


class Acquaintance:
    """Who can name whom from memory: η = 2E / (N(N − 1)), both naming each other."""

    name = "acquaintance"

    def observe(self, society: Any) -> Mapping[str, float]:
        society.knowledge.update(society.memory)
        n, met = society.table.n, society.knowledge.met
        edges = sum(i < j and (j, i) in met for i, j in met)
        return {"density": 2 * edges / max(n * (n - 1), 1), "edges": float(edges)}

    def conclude(self, society: Any) -> Sequence[Finding]:
        now = self.observe(society)
        n = society.table.n
        return [Finding(observer=self.name, metric="density", value=now["density"], n=n * (n - 1) // 2)]


class Reflections:
    """How much was thought about, and whether its evidence stands."""

    name = "reflections"

    def _counts(self, society: Any) -> tuple[int, int, int]:
        memory = society.memory
        ids = np.flatnonzero(memory.is_kind("reflection"))
        valid = 0
        for i in ids.tolist():
            m = memory.get(i)
            valid += bool(m.evidence) and all(
                e < i and memory.get(e).agent == m.agent for e in m.evidence
            ) and not m.flags & Flag.STALE  # fmt: skip
        return len(ids), valid, int(memory.column("depth")[ids].max(initial=0))

    def observe(self, society: Any) -> Mapping[str, float]:
        return {"reflections": float(np.count_nonzero(society.memory.is_kind("reflection")))}

    def conclude(self, society: Any) -> Sequence[Finding]:
        n, valid, depth = self._counts(society)
        days = max(society.t * society.params.step_minutes / 1440, 1e-9)
        people = society.n_agents
        share = valid / n if n else float("nan")
        memory = society.memory
        ids = np.flatnonzero(memory.is_kind("reflection"))
        times = len(
            set(zip(memory.column("agent")[ids].tolist(), memory.column("t_created")[ids].tolist(), strict=True))
        )
        return [
            Finding(observer=self.name, metric="reflections_per_agent_and_day", value=times / people / days, n=people),
            Finding(observer=self.name, metric="insights_per_agent_and_day", value=n / people / days, n=people),
            Finding(observer=self.name, metric="valid_evidence", value=share, n=n),
            Finding(observer=self.name, metric="depth", value=float(depth), n=n),
        ]

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


def replayed(world: Any, item: News) -> list[float]:
    """Return how many would know under the null, one count a replay."""
    rows = world.tables["conversations"]
    pairs = list(zip(rows["first"].tolist(), rows["second"].tolist(), strict=True))
    told = [{(s, n) for s, n in json.loads(text)} for text in rows["told"].tolist()]
    steps = rows["began"].tolist()
    first = world.knowledge.first[item.number]
    chances = tellings = 0
    for (a, b), what, step in zip(pairs, told, steps, strict=True):
        for speaker in (a, b):
            heard = first.get(speaker)
            if heard is not None and heard.step < step:
                chances += 1
                tellings += (speaker, item.number) in what
    p = tellings / chances if chances else 0.0
    rng = world.stream("observe", "diffusion", item.number)
    counts = []
    for draws in rng.random((REPLAYS, len(pairs), 2)):
        know = {item.holder}
        for (a, b), (u, v) in zip(pairs, draws.tolist(), strict=True):
            new = {b} if a in know and u < p else set()
            new |= {a} if b in know and v < p else set()
            know |= new
        counts.append(float(len(know)))
    return counts


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
            found[f"{key}_unsourced"] = float(len(society.knowledge.first[item.number]) - len(sourced))
        found["unsupported"] = float(society.column("unsupported").sum())
        return found

    def conclude(self, society: Any) -> Sequence[Finding]:
        society.knowledge.update(society.memory)
        out: list[Finding] = []
        n = society.n_agents
        for item in society.news:
            sourced = society.knowledge.sourced(item)
            name = f"{item.name}: "
            counts = replayed(society, item)
            null = null_of(float(len(sourced)), counts)
            out.append(Finding(
                observer=self.name, metric=f"{name}informed", value=float(len(sourced)), null_mean=null.mean,
                null_sd=null.sd, gap=null.gap, p_value=null.p_value, null=NULL, n=n,
                note=f"news {item.number}: in memory, with a chain of sources to {society.name_of(item.holder)}",
            ))  # fmt: skip
            depth, delay, by_holder = tree(item, sourced)
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
        return [
            self._plain(f"{name}invited_by_host", invited, society.n_agents),
            self._plain(f"{name}heard", len(guests), society.n_agents),
            self._plain(f"{name}planned", going, len(guests)),
            self._plain(f"{name}attended", attended, len(guests)),
        ]


class Acquaintance:
    """Who can name whom from memory: η = 2E / (N(N − 1)), both naming each other."""

    name = "acquaintance"

    def observe(self, society: Any) -> Mapping[str, float]:
        society.knowledge.update(society.memory)
        n, met = society.n_agents, society.knowledge.met
        edges = sum(i < j and (j, i) in met for i, j in met)
        return {"density": 2 * edges / (n * (n - 1)), "edges": float(edges)}

    def conclude(self, society: Any) -> Sequence[Finding]:
        now = self.observe(society)
        n = society.n_agents
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
        return [
            Finding(observer=self.name, metric="per_agent_and_day", value=n / people / days, n=people),
            Finding(observer=self.name, metric="valid_evidence", value=share, n=n),
            Finding(observer=self.name, metric="depth", value=float(depth), n=n),
        ]

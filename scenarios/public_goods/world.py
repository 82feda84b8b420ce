"""A linear public goods game in groups, with or without costly punishment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

import simworld as sw
from simworld.errors import ParameterError

from . import rules
from .decisions import Contribute, Punish
from .observers import Contributions
from .theory import payoffs


class Params(sw.Params):
    n_agents: int = sw.field(100, ge=2, unit="agents", doc="Players; those left over by the group size sit out.")
    group_size: int = sw.field(4, ge=2, unit="players", doc="N, members of a group.", source="design")
    endowment: float = sw.field(20.0, gt=0, unit="tokens", doc="e, what each has in a round.", source="design")
    factor: float = sw.field(1.6, ge=0, doc="r, what a token in the project becomes.", source="design")
    matching: Literal["partners", "strangers"] = sw.field(
        "partners", doc="Groups stay together, or are drawn anew every round (Andreoni 1988)."
    )
    punishment: bool = sw.field(False, doc="Whether members may punish each other after every round.")
    fine: float = sw.field(3.0, ge=0, unit="tokens", doc="What a point takes; it costs 1 token.", source="design")


class Player(sw.Agent):
    payoff: float = 0.0
    """Tokens so far; below 0 after more fines than gains."""
    cooperated: float = 0.0
    """Shares of the endowment given so far, added up."""
    moves: int = 0
    """Rounds played; void ones do not count."""
    contributed: float = 0.0
    """Tokens given in the last round played."""
    others: float = 0.0
    """Mean contribution of the other members in it."""
    seen: float = 0.0
    """Mean contribution of the others in the round before it, in which the player was in a group too."""
    earned: float = 0.0
    """Tokens it brought, before any punishment."""
    fined: float = 0.0
    """Tokens lost to fines in it."""
    points: int = 0
    """Points spent so far."""
    judged: int = 0
    """Members that the player could punish so far."""
    judged_generous: int = 0
    """Of these, how many had given at least what the player had."""
    punished: int = 0
    """Members that the player did punish so far."""
    punished_generous: int = 0
    """Of these, how many had given at least what the player had."""


class Globals(sw.Globals):
    voided: int = 0
    """Groups so far whose round was void because a member's answer could not be used."""


class PublicGoods(sw.World):
    """Do members of a group contribute to what pays for all but not for each, and does punishment sustain it?"""

    Params = Params
    Globals = Globals
    agent_classes = (Player,)
    with_personas = True
    default_steps = 10
    notable = {"voided": "first void group"}
    observers = (Contributions, "inequality", "persona_effects")

    @property
    def policies(self) -> Mapping[str, Any]:
        return rules.policies(self.params)

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse other stakes, by which payoffs so far are measured, groups that nobody fills, and books that lie."""
        p = self.changed_params(params)
        for name in ("endowment", "factor"):
            if getattr(p, name) != getattr(self.params, name):
                raise ParameterError(
                    f"{name} cannot change on the way, for payoffs so far are measured by it; start a new run"
                )
        if p.group_size != self.params.group_size and p.group_size > self.table.n:
            raise ParameterError(
                f"group_size = {p.group_size}, but there are {self.table.n} players; give at most that"
            )
        tokens = (0.0, p.endowment)
        bounds = {
            "contributed": tokens, "others": tokens, "fined": (0.0, math.inf), "earned": (-math.inf, math.inf),
            "payoff": (-math.inf, math.inf),
        }  # fmt: skip
        for agent, column, value in cells:
            self.checked_cell(column, value)
            if column not in bounds:
                raise ParameterError(f"{column} of agent {agent} is counted by the game; change {', '.join(bounds)}")
            low, high = bounds[column]
            if not low <= value <= high:
                raise ParameterError(f"{column} = {value} of agent {agent} lies outside {low:g} to {high:g} tokens")

    def groups(self) -> np.ndarray:
        """Return the members of every group of this round, shape (groups, N)."""
        draws = self.chance.stream("groups") if self.params.matching == "partners" else self.stream("groups")
        order, size = draws.permutation(self.ids), self.params.group_size
        return order[: len(order) - len(order) % size].reshape(-1, size)

    def step(self) -> None:
        groups, table, e = self.groups(), self.table, self.params.endowment
        asked = groups.ravel()
        before = {name: table[name][asked] for name in ("contributed", "others", "earned", "fined")}
        answers = self.decide(
            Contribute, asked, {"has_played": table["moves"][asked] > 0, **before}, check=self.affordable
        )
        c = answers.column("contribution", refused=np.nan).reshape(groups.shape)
        void = np.isnan(c).any(axis=1)
        for group in groups[void].tolist():
            self.emit("void", data=group)
        self.globals.voided += int(void.sum())
        groups, c = groups[~void], c[~void]
        who, given = groups.ravel(), c.ravel()
        others = ((c.sum(1, keepdims=True) - c) / (groups.shape[1] - 1)).ravel()
        earned = payoffs(c, e, self.params.factor).ravel()
        table["seen"][who] = table["others"][who]
        table["contributed"][who], table["others"][who], table["earned"][who] = given, others, earned
        table["fined"][who] = 0.0
        table["moves"][who] += 1
        table["cooperated"][who] += given / e
        table["payoff"][who] += earned
        self.emit_many("contribute", agent=who, value=given)
        if self.params.punishment:
            self.punish(groups, c)

    def affordable(self, agent: int, answer: Contribute, seen: Any) -> tuple[str, str] | None:
        if answer.contribution > self.params.endowment:
            return "contribution", f"{answer.contribution} tokens of {self.params.endowment}"
        return None

    def punish(self, groups: np.ndarray, c: np.ndarray) -> None:
        """Ask every member about every other one, all on one snapshot; who does not answer spends nothing."""
        table, n = self.table, self.table.n
        turns = range(1, groups.shape[1])
        who = np.tile(groups, (1, len(turns))).ravel()
        target = np.concatenate([np.roll(groups, -k, axis=1) for k in turns], axis=1).ravel()
        own, theirs = table["contributed"][who], table["contributed"][target]
        seen = {"member": target, "own": own, "theirs": theirs, "others": table["others"][who]}
        points = self.decide(Punish, who, seen).column("points", refused=0).astype(np.int64)
        is_generous, is_punished = theirs >= own, points > 0
        for name, counted in {
            "points": points,
            "judged": np.ones(len(who)),
            "judged_generous": is_generous,
            "punished": is_punished,
            "punished_generous": is_generous & is_punished,
        }.items():
            table[name] += np.bincount(who, counted, n).astype(np.int64)
        fined = self.params.fine * np.bincount(target, points, n)
        table["fined"][groups.ravel()] = fined[groups.ravel()]
        table["payoff"] -= fined + np.bincount(who, points, n)
        self.emit_many(
            "punish", agent=who[is_punished], target=target[is_punished], value=points[is_punished].astype(float)
        )

    def metrics(self) -> Mapping[str, float]:
        return {"voided": float(self.globals.voided)}

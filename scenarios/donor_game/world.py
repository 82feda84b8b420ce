"""Agents give to others who cannot give back, generation after generation, and newcomers take over strategies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

import simworld as sw
from simworld.errors import ParameterError

from . import rules
from .decisions import Act, Advisor, Move, MoveView, Strategy, StrategyView, Vector
from .observers import Generations, Lineage, Reciprocity, Traits
from .schedule import ACTIONS, construction, read_moves, read_pairs, swapped

NO_STRATEGY = "no strategy"
NO_MOVES = "the mind 'table' follows -p moves=@FILE; give one"
VECTOR = tuple(Vector.model_fields)
SHOWN = 0.005
"""Half a unit of the last digit of a holding in a prompt: who gives all it was shown gives no more than it has."""


class Params(sw.Params):
    n_agents: int = sw.field(12, ge=2, unit="agents", doc="Agents of a generation, an even number.", source="reported")
    generations: int = sw.field(10, ge=1, unit="generations", doc="Generations.", source="reported")
    rounds: int = sw.field(12, ge=1, unit="rounds", doc="Rounds of a game; a generation plays two.", source="reported")
    endowment: float = sw.field(10.0, ge=0, unit="units", doc="Holding at the start of a game.", source="reported")
    multiplier: float = sw.field(
        2.0, ge=0, doc="Units received for a unit given; 1.5 and 3 in the study's sweep.", source="reported"
    )
    trace_depth: int = sw.field(3, ge=1, unit="entries", doc="Length of a trace; 1 in the sweep.", source="reported")
    survival_fraction: float = sw.field(0.5, gt=0, le=1, doc="Share of a generation that survives.", source="reported")
    rules: Literal["paper", "released_code"] = sw.field(
        "paper", doc="Where the paper and its code differ: follow the one or the other, defects included."
    )
    punishment: bool = sw.field(False, doc="Whether a donor may punish: what it spends costs the other twice as much.")
    partner_choice: bool = sw.field(False, doc="Whether a donor may refuse the recipient.")
    noise: float = sw.field(
        0.0, ge=0, le=1, unit="probability",
        doc="Chance that the hand trembles: a donation is of a uniform share instead of the one decided on.",
        source="Selten 1975",
    )  # fmt: skip
    selection: Literal["score", "random"] = sw.field("score", doc="Who survives: the best, or anybody (drift).")
    inheritance: Literal["score", "random"] = sw.field(
        "score", doc="Whose strategies newcomers are shown: the survivors', or those of random agents, without scores."
    )
    alpha: float = sw.field(
        0.4, ge=0, le=1, doc="Rules: weight of the recipient's last share, at average neuroticism.",
        source="placeholder",
    )  # fmt: skip
    beta: float = sw.field(0.1, ge=0, le=1, doc="Rules: weight of deeper entries of the trace.", source="placeholder")
    mu_mut: float = sw.field(
        0.0, ge=-1, le=1, doc="Rules: mean change of the share for strangers when a strategy is copied.",
        source="placeholder",
    )  # fmt: skip
    sigma_mut: float = sw.field(0.05, ge=0, le=1, doc="Rules: standard deviation of that change.", source="placeholder")
    pairs: str = sw.field(
        "", doc="Who meets whom: CSV with generation,game,round,donor,recipient (slots); else the construction."
    )
    moves: str = sw.field("", doc="Moves of the mind 'table': CSV with generation,game,round,donor,share[,action].")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.n_agents % 2:
            raise ValueError(f"n_agents = {self.n_agents}: agents meet in pairs; give an even number")
        if self.rules == "released_code" and self.rounds % 2:
            raise ValueError(f"rounds = {self.rounds}: the released code plays half of them twice; give an even number")
        return self


class Globals(sw.Globals):
    generation: int = 0
    game: int = 0
    """1 or 2."""
    round: int = 0
    """Of the game, from 1."""


class Player(sw.Agent):
    slot: int = -1
    """Place in the generation, from 0; a newcomer takes a free one."""
    resources: float = 0.0
    """Units held, at least 0."""
    strategy: str = ""
    g0: float = 0.5
    alpha: float = 0.4
    beta: float = 0.1
    phi: float = 0.02
    cap: float = 1.0
    tau: float = 0.1
    kappa: float = 0.05
    generation: int = 1
    """In which it came."""
    advice_from: str = "[]"
    """Whose strategies it was shown, as JSON."""
    copied_from: int = -1
    """Whose strategy it has; -1 for its own."""
    final_1: float = 0.0
    """Resources after game 1 of the latest generation."""
    final_2: float = 0.0
    score: float = 0.0
    survives: bool = False
    """Whether it was among the better half of the latest complete generation."""


class Played(sw.Entity):
    """One act of a donor, as it took effect."""

    generation: int = 0
    game: int = 0
    round: int = 0
    played: int = 0
    """Step."""
    donor: int = -1
    recipient: int = -1
    kind: Literal["donate", "punish", "refuse"] = "donate"
    held: float = 0.0
    """Units of the donor before the round."""
    other_held: float = 0.0
    """Units of the recipient before the round."""
    amount: float = 0.0
    """Units given, or spent to punish."""
    share: float = 0.0
    """``amount / held``; NaN where the donor held nothing, and of a refusal to play."""
    lost: float = 0.0
    """Units that the recipient lost to punishment."""
    meant: float = 0.0
    """Amount decided on; NaN where the answer was refused."""
    clipped: bool = False
    """Whether the amount decided on was not possible."""
    slip: bool = False
    """Whether the hand trembled."""


class Standing(sw.Entity):
    """How somebody ended a generation."""

    generation: int = 0
    player: int = -1
    final_1: float = 0.0
    final_2: float = 0.0
    score: float = 0.0
    rank: int = 0
    """From 1, the best."""
    survives: bool = False


class DonorGame(sw.World):
    """Does a society come to give more, when those who did best pass their strategies on?"""

    Params = Params
    Globals = Globals
    agent_classes = (Player,)
    entities = {"moves": Played, "standings": Standing}
    with_personas = True
    default_steps = 240
    observers = (Generations, Reciprocity, Lineage, Traits)

    @property
    def policies(self) -> Mapping[str, Any]:
        return rules.policies(self.params)

    def planned_steps(self) -> int:
        """Return all rounds of both games of every generation."""
        return self.params.generations * 2 * self.params.rounds

    def setup(self) -> None:
        self.table["slot"] = np.arange(self.table.n)
        self.table["resources"] = self.params.endowment
        self.restored()
        if "table" in self.mind_labels and not self.params.moves:
            raise ParameterError(NO_MOVES)
        listed = {generation for generation, _ in self.given}
        if listed and len(listed) < self.params.generations:
            self.notes.append(
                f"pairs: {len(listed)} of {self.params.generations} generations follow the table, the rest the schedule"
            )
        self.check_actions()
        for (generation, game), pairs in self.given.items():
            ordered = pairs.reshape(-1, 2)
            if len(np.unique(ordered, axis=0)) < len(ordered):
                self.notes.append(f"pairs: in generation {generation}, game {game}, somebody gives to another twice")
                break

    def check_actions(self) -> None:
        """Refuse a table of moves that does what this game does not allow.

        Raises:
            ParameterError: the action, and the parameter that allows it.
        """
        p = self.params
        if not p.moves:
            return
        entries = read_moves(p.moves, p.n_agents, p.rounds, p.generations).values()
        for action, name, is_on in (
            ("punish", "punishment", p.punishment),
            ("refuse", "partner_choice", p.partner_choice),
        ):
            if not is_on and any(entry.action == action for entry in entries):
                raise ParameterError(f"moves: the table has {action!r}, which this game lacks; set {name}=true")

    def restored(self) -> None:
        p, now = self.params, self.globals
        self.given = read_pairs(p.pairs, p.n_agents, p.rounds, p.generations) if p.pairs else {}
        if p.moves:
            read_moves(p.moves, p.n_agents, p.rounds, p.generations)
        # Of the game at hand, the rows of everybody's acts as a donor, oldest first.
        self.acts: dict[int, list[int]] = {}
        log = self.tables["moves"]
        for row in np.flatnonzero((log["generation"] == now.generation) & (log["game"] == now.game)).tolist():
            self.acts.setdefault(int(log["donor"][row]), []).append(row)
        self.standing_pairs: tuple[int, int, np.ndarray] | None = None

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse another length of games, generations that are over, tables that do not fit, and books that lie."""
        p = self.changed_params(params)
        if p.rounds != self.params.rounds:
            raise ParameterError("rounds cannot change once a society plays; start a new run")
        if p.generations != self.params.generations and 2 * p.rounds * p.generations <= step:
            raise ParameterError(f"generations = {p.generations} are over before step {step}; give more")
        if p.pairs:
            read_pairs(p.pairs, p.n_agents, p.rounds, p.generations)
        if p.moves:
            read_moves(p.moves, p.n_agents, p.rounds, p.generations)
        elif "table" in {*self.mind_labels, *minds.values()}:
            raise ParameterError(NO_MOVES)
        for agent, column, value in cells:
            self.checked_cell(column, value)
            if column not in ("resources", "strategy", *VECTOR):
                raise ParameterError(
                    f"{column} of agent {agent} is kept by the game; change resources, strategy or its numbers "
                    f"({', '.join(VECTOR)})"
                )
            most = 1.0 if column in VECTOR else math.inf
            if column != "strategy" and not 0 <= value <= most:
                raise ParameterError(f"{column} = {value} of agent {agent} lies outside 0 to {most:g}")

    def finished(self) -> bool:
        p, now = self.params, self.globals
        return now.generation >= p.generations and now.game >= 2 and now.round >= p.rounds

    # -- one step: a round ---------------------------------------------------------------------------------------

    def step(self) -> None:
        p, now = self.params, self.globals
        if now.generation and now.round < p.rounds:
            now.round += 1
        else:
            self.begin_game()
        pairs = self.pairs(now.generation, now.game)[now.round - 1]
        agents = self.ids[np.argsort(self.table["slot"][self.ids])]
        self.play(*agents[pairs[np.argsort(pairs[:, 0])]].T)
        if now.round == p.rounds:
            self.table[f"final_{now.game}"][self.ids] = self.table["resources"][self.ids]
            if now.game == 2:
                self.rank()

    def begin_game(self) -> None:
        """Begin the next game, and before the first of two a generation."""
        now = self.globals
        now.round = 1
        if now.game == 1:
            now.game = 2
        else:
            now.generation, now.game = now.generation + 1, 1
            self.ask_strategies(self.ids if now.generation == 1 else self.renew())
        self.table["resources"][self.ids] = self.params.endowment
        self.acts = {}

    def pairs(self, generation: int, game: int) -> np.ndarray:
        """Return the pairs of a game, slots of donor and recipient, shape (rounds, n / 2, 2)."""
        if (generation, game) in self.given:
            return self.given[generation, game]
        if self.standing_pairs is None or self.standing_pairs[:2] != (generation, game):
            p = self.params
            # Both games come from the same stream, so that the second is the first with roles swapped.
            first = construction(p.n_agents, p.rounds, self.chance.stream("pairs", generation), p.rules)
            self.standing_pairs = generation, game, first if game == 1 else swapped(first)
        return self.standing_pairs[2]

    # -- a round -------------------------------------------------------------------------------------------------

    def play(self, donors: np.ndarray, recipients: np.ndarray) -> None:
        """Have all donors decide on the state at the start of the round; then everything takes effect."""
        p, now, n = self.params, self.globals, len(donors)
        partner = dict(zip(donors.tolist(), recipients.tolist(), strict=True))
        answers = self.decide(Move, donors, lambda agent: self.view(agent, partner[agent]), check=self.check)
        held, other_held = self.table["resources"][donors], self.table["resources"][recipients]
        kinds = ["donate" if a is None else a for a in answers.column("action", refused=None)]
        meant = np.array(answers.column("amount", refused=np.nan), np.float64)
        is_refusal = np.array([kind == "refuse" for kind in kinds])
        amount = np.clip(np.where(is_refusal | np.isnan(meant), 0.0, meant), 0.0, held)
        is_possible = ~is_refusal & (meant >= 0.0) & (meant <= held * (1 + 1e-12) + SHOWN)
        clipped = ~np.isnan(meant) & ~is_possible & (~is_refusal | (meant != 0.0))
        is_punishment = np.array([kind == "punish" for kind in kinds])
        slip = np.zeros(n, bool)
        if p.noise:
            luck = self.chance.uniforms(self.table.n, "step", self.t, "noise", only=donors)
            slip = ~(is_refusal | is_punishment) & (luck < p.noise)
            shares = self.chance.uniforms(self.table.n, "step", self.t, "noisy share", only=donors)
            amount = np.where(slip, shares * held, amount)
        lost = np.where(is_punishment, np.minimum(2.0 * amount, other_held), 0.0)
        # Nobody is in two pairs of a round.
        self.table["resources"][donors] = held - amount
        self.table["resources"][recipients] = other_held + np.where(is_punishment, -lost, p.multiplier * amount)
        share = np.divide(amount, held, out=np.full(n, np.nan), where=(held > 0.0) & ~is_refusal)
        first = self.tables["moves"].append(n, {
            "generation": now.generation, "game": now.game, "round": now.round, "played": self.t, "donor": donors,
            "recipient": recipients, "kind": kinds, "held": held, "other_held": other_held, "amount": amount,
            "share": share, "lost": lost, "meant": meant, "clipped": clipped, "slip": slip,
        })  # fmt: skip
        reasons = answers.column("justification", refused="")
        for at, (agent, other) in enumerate(partner.items()):
            self.acts.setdefault(agent, []).append(first + at)
            self.emit(kinds[at], agent=agent, target=other, item=first + at, value=float(amount[at]), text=reasons[at])
            if clipped[at]:
                self.emit("clip", agent=agent, target=other, item=first + at, value=float(meant[at]))
            if slip[at]:
                self.emit("slip", agent=agent, target=other, item=first + at, value=float(amount[at]))

    def view(self, agent: int, recipient: int) -> MoveView:
        table, now = self.table, self.globals
        return MoveView(
            now.generation, now.game, now.round, int(table["slot"][agent]), table["strategy"][agent],
            self.vector(agent), float(table["resources"][agent]), recipient, float(table["resources"][recipient]),
            self.trace(recipient),
        )  # fmt: skip

    def trace(self, recipient: int) -> tuple[Act, ...]:
        """Return the recipient's latest act, its recipient's act before that, and so on; of this game alone.

        It ends where it would come back to the recipient, of whom a donor sees no longer history.
        """
        log, found = self.tables["moves"].columns, []
        who, before = recipient, self.globals.round
        while len(found) < self.params.trace_depth:
            if found and who == recipient:
                break
            row = next((row for row in reversed(self.acts.get(who, ())) if log["round"][row] < before), None)
            if row is None:
                break
            kind, share = ACTIONS[log["kind"][row]], float(log["share"][row])
            who, other, before = int(log["recipient"][row]), who, int(log["round"][row])
            is_share = kind == "donate" and not math.isnan(share)  # else it held nothing
            found.append(Act(before, other, who, kind, share if is_share else None))
        return tuple(found)

    def check(self, agent: int, answer: Move, view: MoveView) -> tuple[str, str] | None:
        p = self.params
        is_possible = {"donate": True, "punish": p.punishment, "refuse": p.partner_choice}
        if not is_possible[answer.action]:
            return "action", f"{answer.action!r} is not possible here"
        if p.rules == "released_code" and not 0 <= answer.amount <= view.resources + SHOWN:
            return "amount", f"{answer.amount:g} is not between 0 and the {view.resources:.2f} that you hold"
        return None

    # -- a generation --------------------------------------------------------------------------------------------

    def rank(self) -> None:
        """Score the generation, and tell who survives."""
        p, ids = self.params, self.ids
        one, two = self.table["final_1"][ids], self.table["final_2"][ids]
        # The released code doubles game 2, and game 1 never counts [code].
        score = (one + two) / 2.0 if p.rules == "paper" else 2.0 * two
        luck = self.stream("ranks").random(len(ids))
        order = np.lexsort((luck, -score)) if p.selection == "score" else np.argsort(luck)
        ranks = np.empty(len(ids), np.int64)
        ranks[order] = np.arange(1, len(ids) + 1)
        survives = ranks <= max(1, int(len(ids) * p.survival_fraction + 0.5))
        self.table["score"][ids], self.table["survives"][ids] = score, survives
        self.tables["standings"].append(len(ids), {
            "generation": self.globals.generation, "player": ids, "final_1": one, "final_2": two, "score": score,
            "rank": ranks, "survives": survives,
        })  # fmt: skip

    def renew(self) -> np.ndarray:
        """Replace those who do not survive; return the newcomers, who know whose strategies they will be shown."""
        p, everyone = self.params, self.ids
        survives = self.table["survives"][everyone]
        survivors, gone = everyone[survives], everyone[~survives]
        shown = survivors
        if p.inheritance == "random":
            shown = np.sort(self.stream("inheritance").choice(everyone, len(survivors), replace=False))
        slots = np.sort(self.table["slot"][gone])
        for agent in gone.tolist():
            self.retire(agent)
        return self.add_agents(
            Player, len(gone), slot=slots, generation=self.globals.generation, advice_from=json.dumps(shown.tolist())
        )

    def ask_strategies(self, ids: np.ndarray) -> None:
        """Ask for strategies; a refusal has none in the first generation, and later that of the best survivor."""
        p, table = self.params, self.table
        sees_scores = p.rules == "paper" and p.inheritance == "score"
        advisors = tuple(
            Advisor(i, table["strategy"][i], float(table["score"][i]) if sees_scores else None, self.vector(i))
            for i in (json.loads(table["advice_from"][ids[0]]) if len(ids) else ())
        )
        view = StrategyView(self.globals.generation, advisors)
        answers = self.decide(Strategy, ids, lambda agent: view, check=strategy_check)
        # The ranking, not the score, so that a tie is broken as it was among the survivors.
        best = max((a.agent for a in advisors), key=lambda i: -self.rank_of(i), default=-1)
        for agent, answer in answers.pairs():
            if isinstance(answer, Strategy):
                vector, text = answer.params or Vector(), answer.strategy_text
                parent = -1 if answer.copied_from is None else answer.copied_from
                why = {"reason": answer.justification} if answer.justification else None
            else:
                parent, why = best, {"refused": True}
                text = NO_STRATEGY if best < 0 else table["strategy"][best]
                vector = Vector() if best < 0 else self.vector(best)
            table["strategy"][agent], table["copied_from"][agent] = text, parent
            for name in VECTOR:
                table[name][agent] = getattr(vector, name)
            self.emit("strategy", agent=agent, target=parent, value=vector.g0, text=text, data=why)

    def rank_of(self, agent: int) -> int:
        """Return the rank of an agent of the generation before."""
        standings = self.tables["standings"]
        return int(standings["rank"][np.flatnonzero(standings["player"] == agent)[-1]])

    def vector(self, agent: int) -> Vector:
        """Return a strategy as numbers."""
        columns = self.table.columns
        return Vector(**{name: columns[name].item(agent) for name in VECTOR})

    def metrics(self) -> dict[str, float]:
        now = self.globals
        return {
            "generation": float(now.generation),
            "game": float(now.game),
            "round": float(now.round),
            "mean_resources": float(self.column("resources").mean()),
        }


def strategy_check(agent: int, answer: Strategy, view: StrategyView) -> tuple[str, str] | None:
    shown = [one.agent for one in view.survivors]
    if answer.copied_from is not None and answer.copied_from not in shown:
        return "copied_from", f"{answer.copied_from} is none of those shown ({shown}); give one of them or null"
    return None

"""Repeated two-player games on a social graph: who cooperates with whom, which strategy pays, and which one spreads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import model_validator

import simworld as sw
from simworld.errors import ParameterError

from . import evolution, rules
from .decisions import Move
from .observers import Answering, Cooperation, Play, Reputation, Strategies, Tournament
from .strategies import CONDITIONS, NAMES, UNNAMED, Name, Share, apportioned, holds, plans, read_game, read_mix
from .theory import Game

PLAN = ("first", "cc", "cd", "dc", "dd")
"""Columns of a strategy: chance of C in a first round and after CC, CD, DC, DD."""
INHERITED = ("strategy", "part", *PLAN)
"""What is taken over with a strategy."""
BIRTHS = ("moran", "birth_death", "death_birth")


class Params(sw.Params):
    n_agents: int = sw.field(50, ge=2, unit="agents", doc="Players.")
    game: Literal["prisoners_dilemma", "stag_hunt", "chicken", "table"] = sw.field(
        "prisoners_dilemma", doc="Which game is played; table takes the payoffs given."
    )
    payoffs: str = sw.field("", doc="Own payoffs 'R,S;T,P', rows own C and own D; empty for those of the game.")
    scope: Literal["tie", "agent"] = sw.field(
        "tie", doc="Every tie is a match with moves of its own, or an agent makes one move a round against all."
    )
    strategies: str = sw.field(
        "PERSONA",
        doc="Shares at the start: 'TFT:0.5, ALLD:0.5'; names, or first/CC/CD/DC/DD. PERSONA follows the traits.",
    )
    chi: float = sw.field(2.0, ge=1, le=100, doc="χ of EXTORT and GENEROUS, the slope they enforce.")
    noise: float = sw.field(0.0, ge=0, le=0.5, unit="probability", doc="A move comes out as the other one.")
    continuation: float = sw.field(
        1.0,
        ge=0,
        le=1,
        unit="probability",
        doc="w: a match goes on after a round; else it begins anew. Scope tie only.",
    )
    reputation: bool = sw.field(False, doc="Show the partner's share of C among all its earlier moves.")
    reputation_weight: float = sw.field(
        0.5, ge=0, le=1, unit="probability", doc="Rules go by the record shown, not by the partner's last move.",
        source="placeholder",
    )  # fmt: skip
    tournament: bool = sw.field(False, doc="Everybody is tied to everybody: a round robin.")
    update: Literal["none", "moran", "birth_death", "death_birth", "imitation", "fermi"] = sw.field(
        "none", doc="Who takes over whose strategy; each component of the graph is a population of its own."
    )
    generation: int = sw.field(1, ge=1, unit="rounds", doc="Rounds between two updates.")
    payoff_per: Literal["match", "round"] = sw.field(
        "match", doc="Success is the mean payoff a match, or the sum over all neighbours a round."
    )
    selection: float = sw.field(
        1.0, ge=0, le=1000, doc="s: fitness is 1 − s + s·payoff, s ≤ 1; fermi: β, per point.", source="Nowak 2006"
    )
    mutation: float = sw.field(0.0, ge=0, le=1, unit="probability", doc="A learner takes a strategy of the start.")
    stop_at_fixation: bool = sw.field(False, doc="Stop when every population has one strategy left.")
    log_moves: bool = sw.field(True, doc="Make every move an event; the state holds the last ones anyway.")

    @property
    def matrix(self) -> Game:
        """The payoffs."""
        return read_game(self.game, self.payoffs)

    @property
    def mix(self) -> tuple[Share, ...]:
        """The parts of the society at the start."""
        return read_mix(self.strategies, self.matrix, self.chi)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        _ = self.matrix, self.mix
        if self.scope == "agent" and self.continuation < 1:
            raise ValueError("continuation < 1 needs scope = 'tie': only a match between two can end")
        if self.update in BIRTHS and self.selection > 1:
            raise ValueError(f"selection = {self.selection:g}: update {self.update!r} needs s in [0, 1]")
        return self


class Player(sw.Agent):
    strategy: Name = "ALLC"
    """Name of the strategy; MEMORY_ONE for five chances without a name. It follows the chances, as `part` does."""
    part: np.int32 = 0
    """Place of the strategy among those of the start; −1 if it is none of them."""
    first: float = 1.0
    """Chance of C in a first round."""
    cc: float = 1.0
    """And after own C and partner's C; the next three likewise."""
    cd: float = 1.0
    dc: float = 1.0
    dd: float = 1.0
    last: np.int8 = -1
    """Scope agent: last move, 1 C, 0 D, −1 none yet."""
    before: np.int8 = -1
    """The one before that."""
    moves: int = 0
    """Moves made so far: one a match and round, or one a round in scope agent."""
    cooperated: int = 0
    """How many of them were C."""
    played: int = 0
    """Moves of this round."""
    gave: int = 0
    """How many of them were C."""
    matches: int = 0
    """Rounds of matches paid so far."""
    payoff: float = 0.0
    """Points so far."""
    recent_matches: int = 0
    """Rounds of matches paid since the last update."""
    recent_payoff: float = 0.0
    """Points since then."""


class Side(sw.Entity):
    """One of the two sides of a match: an agent against a partner. Scope tie only."""

    player: np.int32 = -1
    partner: np.int32 = -1
    last: np.int8 = -1
    """Last move of this side, 1 C, 0 D, −1 none yet."""
    before: np.int8 = -1
    """The one before that."""
    rounds: np.int32 = 0
    """Rounds paid so far."""
    cooperated: np.int32 = 0
    """How often this side played C in them."""
    payoff: float = 0.0
    """Points of this side so far."""


class Globals(sw.Globals):
    round_payoff: float = float("nan")
    """Mean payoff a match of the last round; NaN when none was paid."""
    void: int = 0
    """Matches of the last round that were void."""
    fixed: int = 0
    """Most populations of one strategy so far."""
    fixations: int = 0
    """How many of them came to be so in the run."""
    fixation_rounds: int = 0
    """Sum of the rounds in which they did."""


class MatrixGames(sw.World):
    """Who cooperates, what pays and what spreads when neighbours play the same game again and again?"""

    Params = Params
    Globals = Globals
    agent_classes = (Player,)
    entities = {"sides": Side}
    starting_graph = "watts_strogatz_graph:k=4,p=0.1"
    with_personas = True
    default_steps = 200
    notable = {"strategies.fixed": "one strategy is left"}
    observers = (
        Play, Strategies, Tournament, Cooperation, "inequality", "persona_effects", Answering, Reputation,
    )  # fmt: skip

    @property
    def policies(self) -> Mapping[str, Any]:
        return rules.policies(self.params)

    def setup(self) -> None:
        p = self.params
        if p.tournament:
            self.graph.add_many(*np.triu_indices(self.table.n, 1))
        what = "prisoners_dilemma" if p.game == "table" else p.game
        if p.payoffs and not holds(p.matrix, what):
            self.notes.append(f"payoffs {p.payoffs!r} are no {what.replace('_', ' ')}: {CONDITIONS[what]} fails")
        self.build_caches()
        self.deal()
        self.globals.fixed = self.populations_fixed()

    def restored(self) -> None:
        self.build_caches()
        self.name_strategies()

    def build_caches(self) -> None:
        self.matrix: Game = self.params.matrix
        self.payoff_of = self.matrix.by_moves
        self.mix = self.params.mix
        self.csr: Any = None
        self.follow_ties()

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse what made the society, and labels; the five chances of an agent may be set, and the label follows."""
        changed = self.changed_params(params)
        for name in ("scope", "tournament"):
            if getattr(changed, name) != getattr(self.params, name):
                raise ParameterError(f"{name} is laid down at the start of a run; start a new one with it")
        if changed.mix != self.params.mix:
            what = ", ".join(name for name in ("strategies", "chi", "game", "payoffs") if name in params)
            raise ParameterError(
                f"{what}: strategies are dealt out at the start, and this changes them; set {', '.join(PLAN)} of agents"
            )
        for agent, column, _ in cells:
            if column in ("strategy", "part"):
                raise ParameterError(
                    f"{column} of agent {agent} is only what its strategy is called; set its chances of C instead, "
                    f"{', '.join(PLAN)}, and its name follows"
                )

    def name_strategies(self) -> None:
        """Name strategies by their chances where these were set from outside."""
        t, of_part = self.table, plans(self.mix)
        chances = np.stack([t[name] for name in PLAN], axis=1)
        foreign = (t["part"] < 0) | (chances != of_part[t["part"]]).any(axis=1)
        for agent in np.flatnonzero(foreign).tolist():
            same = np.flatnonzero((of_part == chances[agent]).all(axis=1))
            t["part"][agent] = same[0] if len(same) else -1
            t["strategy"][agent] = NAMES.index(self.mix[same[0]].name if len(same) else UNNAMED)

    def deal(self) -> None:
        """Give every population the shares of the start, by largest remainder, places drawn."""
        rng = self.chance.stream("strategies")
        part = np.empty(self.table.n, np.int64)
        for start, size in zip(self.places.starts.tolist(), self.places.sizes.tolist(), strict=True):
            counts = apportioned([share.weight for share in self.mix], size)
            members = self.places.members[start : start + size]
            part[rng.permutation(members)] = np.repeat(np.arange(len(self.mix)), counts)
        self.adopt(np.arange(self.table.n), self.start_strategies(part))

    def start_strategies(self, part: np.ndarray) -> dict[str, np.ndarray]:
        """Return what agents get with these parts of the start, one array a column."""
        codes = np.array([NAMES.index(share.name) for share in self.mix])
        return {"strategy": codes[part], "part": part, **dict(zip(PLAN, plans(self.mix)[part].T, strict=True))}

    def luck(self, *purpose: str) -> evolution.Luck:
        """Return what gives agents uniform numbers of this step, new ones at every call."""
        draws = itertools.count()
        return lambda who: self.chance.uniforms(self.table.n, "step", self.t, *purpose, next(draws), only=who)

    # -- one round ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        self.follow_ties()
        if self.params.scope == "tie":
            self.play_matches()
        else:
            self.play_neighbours()
        if self.params.update != "none" and self.t % self.params.generation == 0:
            self.evolve()
            self.count_fixations()

    def play_matches(self) -> None:
        """One move a match: both sides decide on their last two moves; a match with a refusal is void."""
        sides, at, back = self.tables["sides"], self.at, self.back
        last = sides["last"][at]
        other = last[back]
        n = len(self.player)
        answers = self.decide(Move, self.player, {
            "partner": self.partner, "neighbours": np.broadcast_to(1, n), "own": last, "other": other,
            "standing": self.standing()[self.partner] if self.params.reputation else np.broadcast_to(-1.0, n),
            **self.plan,
        })  # fmt: skip
        moves = self.with_errors(answers.column("play_c", refused=-1), sides.n, self.rows)
        theirs = moves[back]
        paid = (moves >= 0) & (theirs >= 0)
        payoffs = self.payoff_of.take(2 * moves + theirs, mode="clip")
        if paid.all():
            cooperated = moves
            sides["before"][at] = last
            sides["last"][at] = moves
        else:
            cooperated, payoffs = np.where(paid, moves, 0), np.where(paid, payoffs, 0.0)
            sides["before"][at] = np.where(paid, last, sides["before"][at])
            sides["last"][at] = np.where(paid, moves, last)
        sides["rounds"][at] += paid
        sides["cooperated"][at] += cooperated
        sides["payoff"][at] += payoffs
        self.log(self.player, self.partner, moves, paid)
        played = self.places.degrees if paid.all() else self.per_player(paid)
        self.book(played, self.per_player(cooperated), played, self.per_player(payoffs))
        self.globals.void = int(np.count_nonzero(~paid)) // 2
        if self.params.continuation < 1:
            u = self.chance.uniforms(sides.n, "step", self.t, "continuation", only=self.rows)
            ends = u[np.minimum(np.arange(n), back)] >= self.params.continuation
            self.begin_anew(ends)

    def play_neighbours(self) -> None:
        """One move against all neighbours: agents decide on their own last move and the share of C around them."""
        table, n = self.table, self.table.n
        last = table["last"]
        seen = self.neighbours_who(last >= 0)
        is_new = (seen == 0) | (last < 0)
        share = self.neighbours_who(last == 1) / np.maximum(seen, 1)
        standing = np.broadcast_to(-1.0, n)
        if self.params.reputation:
            record = self.standing()
            known = record >= 0
            of = self.neighbours_who(known)
            standing = np.where(of > 0, (self.csr @ np.where(known, record, 0.0)) / np.maximum(of, 1), -1.0)
        answers = self.decide(Move, None, {
            "partner": np.broadcast_to(-1, n), "neighbours": self.places.degrees, "own": np.where(is_new, -1, last),
            "other": np.where(is_new, -1.0, share), "standing": standing,
            "strategy": table["strategy"], **{name: table[name] for name in PLAN},
        })  # fmt: skip
        moves = self.with_errors(answers.column("play_c", refused=-1), n)
        moved = moves >= 0
        table["before"][:] = np.where(moved, last, table["before"])
        table["last"][:] = np.where(moved, moves, last)
        with_c, paying = self.neighbours_who(moves == 1), self.neighbours_who(moved)
        with_d = paying - with_c
        r, s, t, p = self.matrix
        payoffs = np.where(moves == 1, r * with_c + s * with_d, t * with_c + p * with_d)
        payoffs, matches = np.where(moved, payoffs, 0.0), np.where(moved, paying, 0)
        self.log(np.arange(n), np.broadcast_to(-1, n), moves, moved)
        self.book(moved, moves == 1, matches, payoffs)
        self.globals.void = (len(self.places.neighbours) - int(matches.sum())) // 2

    def with_errors(self, moves: np.ndarray, n: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the moves as they come out, now and then the other one; a refusal stays one.

        Whoever moves has a row of its own among n, in order if none are given: by it chance comes, so that a tie that
        is cut moves nobody else's.
        """
        moves = moves.astype(np.int8)
        if self.params.noise:
            slips = self.chance.uniforms(n, "step", self.t, "noise", only=rows) < self.params.noise
            moves = np.where(moves >= 0, moves ^ slips, moves)
        return moves

    def log(self, players: np.ndarray, partners: np.ndarray, moves: np.ndarray, made: np.ndarray) -> None:
        if self.params.log_moves:
            at = slice(None) if made.all() else made
            self.emit_many("move", agent=players[at], target=partners[at], value=moves[at])

    def book(self, played: np.ndarray, gave: np.ndarray, matches: np.ndarray, payoffs: np.ndarray) -> None:
        """Add a round to every agent's account, shape (n,) each."""
        t = self.table
        t["played"][:], t["gave"][:] = played, gave
        t["moves"] += t["played"]
        t["cooperated"] += t["gave"]
        for name, added in (("matches", matches), ("payoff", payoffs)):
            of_type = added.astype(t[name].dtype, copy=False)
            t[name] += of_type
            t[f"recent_{name}"] += of_type
        total = float(matches.sum())
        self.globals.round_payoff = float(payoffs.sum()) / total if total else float("nan")

    def per_player(self, values: np.ndarray) -> np.ndarray:
        """Add up values of the sides by player, shape (n,)."""
        return np.bincount(self.player, values, self.table.n)

    def standing(self) -> np.ndarray:
        """Return every agent's public record, the share of C among all its moves so far; −1 without any."""
        moves = self.table["moves"]
        return np.where(moves > 0, self.table["cooperated"] / np.maximum(moves, 1), -1.0)

    def begin_anew(self, which: np.ndarray) -> None:
        """Have these sides forget their match; both sides of a match are among them or neither."""
        for name in ("last", "before"):
            column = self.tables["sides"][name]
            column[self.at] = np.where(which, -1, column[self.at])

    # -- evolution ----------------------------------------------------------------------------------------------

    def evolve(self) -> None:
        """Let strategies be taken over by success since the last update; newborns and converts begin anew."""
        p, t = self.params, self.table
        per = np.maximum(t["recent_matches"], 1) if p.payoff_per == "match" else p.generation
        success = t["recent_payoff"] / per
        luck = self.luck("update", p.update)
        if p.update in BIRTHS:
            fitness = 1 - p.selection + p.selection * success
            if fitness.min() < 0:
                raise ParameterError(
                    f"fitness 1 − s + s·payoff is {fitness.min():g} < 0; raise payoffs or lower selection"
                )
            learners, models = getattr(evolution, p.update)(fitness, self.places, luck)
        elif p.update == "imitation":
            learners, models = evolution.imitation(success, self.places, luck)
        else:
            learners, models = evolution.fermi(success, self.places, luck, p.selection)
        taken = {name: t[name][models] for name in INHERITED}
        self.emit_many("adopt", agent=learners, target=models, value=taken["part"])
        newborn = learners if p.update in BIRTHS else learners[:0]
        t["moves"][newborn] = t["cooperated"][newborn] = 0  # the number stays, the record is another's
        self.adopt(learners, taken, afresh=len(newborn) > 0)
        if p.mutation:
            luck = self.luck("mutation")
            who = newborn if p.update in BIRTHS else np.arange(t.n)
            who = who[luck(who) < p.mutation]
            part = (luck(who) * len(self.mix)).astype(np.int64)
            self.emit_many("mutate", agent=who, value=part)
            self.adopt(who, self.start_strategies(part))
        for name in ("recent_matches", "recent_payoff"):
            t[name][:] = 0

    def adopt(self, who: np.ndarray, given: Mapping[str, np.ndarray], afresh: bool = False) -> None:
        """Give agents strategies, columns INHERITED; who changes, or all of them, begin their matches anew."""
        t = self.table
        changed = np.full(len(who), afresh)
        for name, column in given.items():
            changed |= t[name][who] != column
            t[name][who] = column
        if not changed.any():
            return
        is_new = np.zeros(t.n, bool)
        is_new[who[changed]] = True
        t["last"][is_new] = t["before"][is_new] = -1
        if self.params.scope == "tie":
            theirs = is_new[self.player]
            for name, column in self.plan.items():
                column[theirs] = t[name][self.player[theirs]]
            self.begin_anew(theirs | theirs[self.back])

    def kinds(self) -> np.ndarray:
        """Return a number of every agent's strategy: its part of the start, below 0 one set from outside."""
        part = self.table["part"]
        foreign = np.flatnonzero(part < 0)
        if not len(foreign):
            return part
        chances = np.stack([self.table[name][foreign] for name in PLAN], axis=1)
        kinds = part.copy()
        kinds[foreign] = -1 - np.unique(chances, axis=0, return_inverse=True)[1].reshape(-1)
        return kinds

    def populations_fixed(self) -> int:
        """Return how many populations are of one strategy."""
        return round(self.places.share_fixed(self.kinds()) * self.places.n)

    def count_fixations(self) -> None:
        g, now = self.globals, self.populations_fixed()
        if now > g.fixed:
            g.fixations += now - g.fixed
            g.fixation_rounds += (now - g.fixed) * self.t
            g.fixed = now

    def finished(self) -> bool:
        is_over = self.params.stop_at_fixation and self.params.update != "none"
        return is_over and self.populations_fixed() == self.places.n

    # -- caches -------------------------------------------------------------------------------------------------

    def follow_ties(self) -> None:
        """Make arrays of the ties anew when they changed, and a match of every tie."""
        ties = self.graph.csr()
        if self.csr is not None and ties is self.ties:
            return
        from scipy.sparse import csr_array

        self.ties = ties
        self.csr = csr_array((np.ones(ties.nnz), ties.indices, ties.indptr), shape=ties.shape)
        self.places = evolution.Populations(self.csr)
        if self.params.scope == "agent":
            return
        self.player = np.repeat(np.arange(self.table.n), self.places.degrees)
        self.partner = self.places.neighbours
        self.back = np.lexsort((self.player, self.partner))
        self.find_sides()
        self.plan = {name: self.table[name][self.player] for name in ("strategy", *PLAN)}

    def find_sides(self) -> None:
        """Find the row of every side; new ties get rows, those of ties that went are not alive."""
        sides, n = self.tables["sides"], self.table.n
        wanted = self.player * n + self.partner
        there = sides["player"].astype(np.int64) * n + sides["partner"]
        new = ~np.isin(wanted, there)
        sides.append(int(new.sum()), {"player": self.player[new], "partner": self.partner[new]})
        there = np.concatenate([there, wanted[new]])
        order = np.argsort(there)
        rows = order[np.searchsorted(there[order], wanted)]
        is_alive = np.zeros(sides.n, bool)
        is_alive[rows] = True
        sides["alive"][:] = is_alive
        self.rows = None if np.array_equal(rows, np.arange(sides.n)) else rows
        self.at: Any = slice(None) if self.rows is None else rows

    def neighbours_who(self, are: np.ndarray) -> np.ndarray:
        """Count the neighbours of whom something is true, shape (n,), as numbers."""
        return self.places.degrees.astype(float) if are.all() else self.csr @ are.astype(float)

    def metrics(self) -> Mapping[str, float]:
        played = int(self.table["played"].sum())
        worst, best = self.matrix.pair_range
        mean = self.globals.round_payoff
        return {
            "cooperation": float(self.table["gave"].sum()) / played if played else float("nan"),
            "mean_payoff": mean,
            "efficiency": (2 * mean - worst) / (best - worst) if best > worst else float("nan"),
            "void": float(self.globals.void),
        }

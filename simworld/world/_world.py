"""World: one society in time, a `mesa.Model`; its state is tables, ties and one `Globals` record, nothing else."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import mesa
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from simworld.agent import Agent, ColumnSpec, Entity
from simworld.errors import GraphError, ParameterError, ScenarioError, did_you_mean
from simworld.memory import Embedder, MemorySettings
from simworld.mind import Answers, Check, Columns, Mind, Question, RuleMind, Waiting, possible
from simworld.persona import TRAIT_LETTERS, Persona, sample_population, shuffled, trait_matrix
from simworld.rng import Chance, derive_seed
from simworld.schema import Decision, Globals, Params, Record
from simworld.world import _mesa
from simworld.world._activation import batches
from simworld.world._encounter import Encounter, Turn, turns
from simworld.world._events import Chunk, EventBuffer
from simworld.world._graph import SocialGraph, TieChanges
from simworld.world._graph_source import GraphData, GraphSpec, load_graph, parse_graph
from simworld.world._remembering import Recall, Remembering, null_of, rule_of_memory
from simworld.world._table import Table

type Ids = npt.NDArray[np.int64]
type Who = Agent | Iterable[Agent] | Ids | npt.NDArray[np.bool_] | Sequence[int] | None
type Rows = dict[str, npt.NDArray[Any]]
type Seats = str | Mind | Sequence[str | Mind]


LATE_BLOCK = 256
"""Personas sampled at once for agents that join later; arbitrary."""

SEEDED = ("personas", "graph", "schedule")
"""Parts of the chance that may have a seed of their own."""

LETTERS = "".join(TRAIT_LETTERS)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step changed: all that a recorder needs, and all that a resume needs to follow."""

    t: int
    events: list[Chunk]
    ties: TieChanges
    tables: dict[str, tuple[Ids, Rows]]
    """By table: rows that changed, and their new values, one array a column."""
    globals: str
    """The `Globals` record, and whether the society wants to go on, as JSON."""
    memory: tuple[int, Mapping[str, Any]] | None = None
    """Rows of the log of memories: how many, and their columns; None in a society that keeps none."""


class World(Remembering, mesa.Model):
    """One society. Subclass it to write a scenario; see the README for one of forty lines.

    A World is ready when it is constructed: ``World(n_agents=50, rng=7)`` has agents, personas and ties, and ``step()``
    moves it one step on, under Mesa's own tools or under `simworld.run`. Everything that matters lies in ``table``,
    ``tables``, ``graph`` and ``globals``; other attributes are caches, rebuilt in `setup`.
    """

    Params: ClassVar[type[Params]] = Params
    """Parameters a user may set; a field ``n_agents`` is the number of agents at the start."""
    Globals: ClassVar[type[Globals]] = Globals
    """The record of ``self.globals``; every field needs a default."""
    agent_classes: ClassVar[tuple[type[Agent], ...]] = (Agent,)
    """Classes of agents that may live here; `populate` makes the first."""
    entities: ClassVar[Mapping[str, type[Entity]]] = {}
    """Tables beside the agents, by name."""
    ties: ClassVar[tuple[str, ...]] = ("tie",)
    """Kinds of tie; the first is the main one, which a starting graph fills and network observers read."""
    directed: ClassVar[bool] = False
    """Whether a tie from u to v says nothing about v to u."""
    starting_graph: ClassVar[str | None] = None
    """Graph source when the user gives none, in the words of ``--graph``; None starts without ties."""
    starting_cast: ClassVar[str | None] = None
    """Cast of a recorded run when the user names none; None samples personas."""
    with_personas: ClassVar[bool] = False
    """Whether agents have personas (from a cast, else sampled)."""
    policies: Mapping[str, Any] = {}
    """By mind label (``rules``, ``null``), the policy of each decision; a property may make them from ``params``. A
    function of a text in place of the table serves labels with an argument: ``always(0.3)``."""
    observers: ClassVar[tuple[Any, ...]] = ()
    """Observers measured by default: names, or observer classes of the scenario's own."""
    default_steps: ClassVar[int] = 50
    """Steps of a run when the user gives none."""
    said_events: ClassVar[tuple[str, ...]] = ()
    """Kinds of event whose text is what the agent says or writes; a viewer guesses where none is named."""
    private_events: ClassVar[tuple[str, ...]] = ()
    """Kinds of event that only those who take part in it know of."""
    notable: ClassVar[Mapping[str, str]] = {}
    """What a viewer marks on the timeline, in words: kinds of event, and metrics, marked where they first leave 0."""

    def __init__(
        self,
        *,
        rng: Any = None,
        graph: Any = None,
        personas: Sequence[Persona] | None = None,
        mind: Seats | Callable[[World], Seats] = "rules",
        memory: Mapping[str, Any] | None = None,
        embed: Callable[[str], Embedder] | None = None,
        shuffle_personas: bool = False,
        seeds: Mapping[str, int] | None = None,
        **params: Any,
    ) -> None:
        """Make the society.

        Args:
            rng: the seed; an int gives the same society always, None a new one each time.
            graph: a graph source (words of ``--graph``, a networkx graph, a sparse array, `GraphData`).
            personas: who lives here; too few are filled up with sampled ones, too many cut.
            mind: who decides: ``"rules"``, ``"null"``, a `Mind`, or one of these for each agent; or a function of the
                society, once it has agents and personas, that returns one of these.
            memory: fields of `simworld.memory.MemorySettings` that differ from the scenario's own.
            embed: makes the embedder that these settings name; by default `simworld.memory.embedder`.
            shuffle_personas: whether every mind plays the character of another agent, the control for what personas
                do: what is recorded and observed keeps its own.
            seeds: seeds of their own for parts of the chance: ``personas``, ``graph``, ``schedule`` (the order of
                activation); by default all follow from ``rng``. What a variance card is made with.
            params: fields of `Params`.

        Raises:
            ParameterError: an unknown parameter or a value out of range.
            GraphError: a graph that cannot be read or does not fit.
        """
        seed = int(rng) if isinstance(rng, int | np.integer) else int(np.random.default_rng(rng).integers(2**62))
        super().__init__(rng=seed)
        _mesa.first_id(self, 0)
        _mesa.wrap_step(self, self._one_step)
        self.seed: int = seed
        self.chance = Chance(seed)
        self.seeds: Mapping[str, int] = dict(seeds or {})
        if unknown := self.seeds.keys() - set(SEEDED):
            raise ParameterError(f"no seed of its own for {min(unknown)!r}; there are {list(SEEDED)}")
        self.params: Any = checked_params(type(self).Params, params)
        start = self._start_graph(graph, params)
        if start is not None and start.n != getattr(self.params, "n_agents", start.n):
            self.params = checked_params(type(self).Params, {**params, "n_agents": start.n})
        self.globals: Any = type(self).Globals()
        self.start_graph: GraphData | None = start
        self.interventions: list[int] = []
        """Steps after which something was changed from outside: what theory says of the whole run no longer holds."""
        self.witness: Callable[[Question, Answers, Sequence[str]], None] | None = None
        """Told of every question with its answers and the label of each mind that gave one, by whoever repeats a run;
        it must change nothing."""
        self.notes: list[str] = list(start.notes) if start is not None else []
        """What a user should know about how the society was made; shown with the run."""
        self.table = Table(_agent_columns(type(self).agent_classes))
        self.tables: dict[str, Table] = {"agents": self.table}
        for name, entity in type(self).entities.items():
            if name in ("agents", "events", "ties", "memory") or not name.isidentifier():
                raise ScenarioError(f"an entity table cannot be called {name!r}; choose another plain word")
            self.tables[name] = Table(entity.columns)
        self.graph = SocialGraph(0, type(self).ties, directed=type(self).directed)
        self.personas: list[Persona] | None = None
        self.played: list[Persona] | None = None
        """Whose character each agent's mind plays: its own persona's, unless personas are shuffled."""
        self._shuffles = shuffle_personas
        self._late: tuple[int, list[Persona], list[Persona]] = (-1, [], [])
        self._traits = {name: np.zeros((0, len(LETTERS))) for name in ("personas", "played")}
        self._handles = 0
        self._faces: dict[int, Agent] = {}
        self.events = EventBuffer()
        self._asked: dict[str, tuple[int | Ids, int]] = {}
        self._activations = 0
        self._recorded = False
        _mesa.rekey(self, seed, 0)
        self.populate()
        if type(self).with_personas:
            self.personas = self.played = self._first_personas(personas)
            if shuffle_personas:
                self.played = shuffled(self.personas, self.chance.stream("shuffle personas"))
        elif personas is not None or shuffle_personas:
            raise ParameterError(f"{type(self).__name__} has no personas; leave them, or shuffling them, out")
        self.start_memory(memory or {}, embed)
        seats: Any = mind(self) if callable(mind) and not isinstance(mind, Mind | type) else mind
        self._minds, self._mind_of = self._seat_minds(seats)
        self._founding = self._mind_of
        """Minds of the agents of the start, by which those who come later get theirs."""
        self.check_memory_minds()
        if start is not None:
            if start.n != self.table.n:
                raise GraphError(f"the graph has {start.n} nodes but the scenario made {self.table.n} agents")
            self.graph.add_many(start.sources, start.targets, start.weights)
            self.graph.labels = start.labels
        self._collects: Any = None
        self.datacollector: Any = None
        self.setup()
        self.memory.commit()
        if self.datacollector is None:
            reporters = {key: functools.partial(_metric, key=key) for key in self.metrics()}
            self._collects = self.datacollector = mesa.DataCollector(model_reporters=reporters)

    # -- what a scenario overrides ------------------------------------------------------------------------------

    def populate(self) -> None:
        """Make the agents: by default ``params.n_agents`` of the first agent class."""
        self.add_agents(type(self).agent_classes[0], getattr(self.params, "n_agents", 0))

    def setup(self) -> None:
        """Prepare the society once agents and starting graph are there; caches are built here."""

    def step(self) -> None:
        """Move the society one step on."""

    def finished(self) -> bool:
        """Return True to stop the run after this step."""
        return False

    def metrics(self) -> Mapping[str, float]:
        """Return the scenario's own cheap measures, taken at every step."""
        return {}

    def planned_steps(self) -> int:
        """Return the steps of a run when the user gives none; by default ``default_steps``."""
        return type(self).default_steps

    # -- agents and time ----------------------------------------------------------------------------------------

    @property
    def t(self) -> int:
        """Completed steps; inside `step` the number of the step at hand, from 1; in `setup` 0."""
        return int(self.time)

    @property
    def n_agents(self) -> int:
        """Number of living agents."""
        return int(np.count_nonzero(self.table["alive"]))

    @property
    def ids(self) -> Ids:
        """Ids of living agents, ascending."""
        return np.flatnonzero(self.table["alive"])

    def add_agents(self, cls: type[Agent], n: int, **columns: Any) -> Ids:
        """Add ``n`` agents at once, columns given as one value for all or shape (n,); return their ids."""
        first = self._new_rows(cls, n, columns)
        return np.arange(first, first + n)

    def new_row(self, cls: type[Agent], columns: Mapping[str, Any]) -> int:
        """Add the row of one agent whose handle is being made."""
        self._make_handles()
        row = self._new_rows(cls, 1, columns)
        self._handles = row + 1
        return row

    def _new_rows(self, cls: type[Agent], n: int, columns: Mapping[str, Any]) -> int:
        classes = type(self).agent_classes
        if cls not in classes:
            raise ScenarioError(
                f"{cls.__name__} is not in {type(self).__name__}.agent_classes {[c.__name__ for c in classes]}; add it"
            )
        if wrong := set(columns) - set(cls.columns):
            name = min(wrong)
            known = list(cls.columns)
            hint = did_you_mean(name, known) or f"; it has {known}"
            raise ParameterError(f"{cls.__name__} has no column {name!r}{hint}")
        kind = {"type": cls.__name__} if len(classes) > 1 else {}
        first = self.table.append(n, {**columns, **kind})
        self.graph.grow(self.table.n)
        self._later_personas()
        if self.has_memory:
            self._remember_lives(first)
        if self.t > 0:
            for row in range(first, first + n):
                # The persona travels with the event: the run's inputs hold those of the start only.
                who = None if self.personas is None else self.personas[row].model_dump(mode="json")
                self.emit("join", agent=row, data=who)
        return first

    def _first_personas(self, given: Sequence[Persona] | None) -> list[Persona]:
        """Return who lives here at the start: the given ones, cut or filled up with sampled ones."""
        n = self.table.n
        have = list(given or ())[:n]
        if given is not None and len(given) > n:
            self.notes.append(f"the cast has {len(given)} personas; the first {n} live here")
        elif given is not None and len(given) < n:
            self.notes.append(f"the cast has {len(given)} personas; {n - len(given)} more were sampled")
        if len(have) < n:
            taken = {p.id for p in have} | {p.name for p in have}
            # One given persona can bar two sampled ones, by id and by name.
            sampled = sample_population(n + 2 * len(have), self.seed_of_part("personas"))[len(have) :]
            have += [p for p in sampled if p.id not in taken and p.name not in taken][: n - len(have)]
        return have

    def _later_personas(self) -> None:
        """Sample a persona for each agent that joined; each from its own seed, so that a resume finds the same ones."""
        if self.personas is None or self.played is None:
            return
        people, played = self.personas, self.played
        taken = {p.name for p in people}
        for row in range(len(people), self.table.n):
            # Drawn in blocks: a sampler that meets its quotas for one person gives everybody the commonest traits.
            block, at = divmod(row, LATE_BLOCK)
            if self._late[0] != block:
                drawn = sample_population(LATE_BLOCK, derive_seed(self.seed_of_part("personas"), "persona", block))
                mixed = shuffled(drawn, self.chance.stream("shuffle personas", block)) if self._shuffles else drawn
                self._late = block, drawn, mixed
            one, other = self._late[1][at], self._late[2][at]
            name = one.name if one.name not in taken else f"{one.name} ({row})"
            taken.add(name)
            own = {"id": f"joined-{row}", "name": name}
            people.append(one.model_copy(update=own))
            if self._shuffles:
                played.append(other.model_copy(update=own))

    def retire(self, row: int) -> None:
        """Take an agent out: its row stays with ``alive`` False, its ties go."""
        if self.table["alive"][row]:
            self.table["alive"][row] = False
            self.graph.isolate(row)
            self.emit("leave", agent=row)
            if (face := self._faces.get(row)) is not None:
                self.deregister_agent(face)

    def _make_handles(self) -> None:
        classes = type(self).agent_classes
        alive = self.table["alive"]
        codes = self.table["type"] if len(classes) > 1 else None
        for row in range(self._handles, self.table.n):
            self._handles = row + 1
            if alive[row]:
                _mesa.first_id(self, row)
                (classes[codes[row]] if codes is not None else classes[0]).of_row(self, row)
        _mesa.first_id(self, self.table.n)

    def register_agent(self, agent: Agent) -> None:
        """Make a handle known to Mesa; called by ``Agent.__init__``."""
        super().register_agent(agent)
        self._faces[agent.row] = agent

    def deregister_agent(self, agent: Agent) -> None:
        """Take a handle away from Mesa; called by ``Agent.remove``."""
        if self._faces.pop(agent.row, None) is not None:
            super().deregister_agent(agent)

    @property
    def agents(self) -> Any:
        """Every living agent as a Mesa AgentSet; the handles are made when first asked for."""
        self._make_handles()
        return self._all_agents

    @property
    def agent_types(self) -> list[type]:
        """Classes of the agents living here."""
        return list(self.agents_by_type)

    @property
    def agents_by_type(self) -> Any:
        """Living agents by class, as Mesa AgentSets."""
        self._make_handles()
        return _mesa.every_type(self, type(self).agent_classes)

    def remove_all_agents(self) -> None:
        """Take every agent out, as `Agent.remove` does."""
        self._make_handles()
        super().remove_all_agents()

    def ids_of(self, who: Who) -> Ids:
        """Return the ids meant by an agent, agents, ids, a boolean mask over rows, or None for all living agents."""
        if who is None:
            return self.ids
        if isinstance(who, Agent):
            return np.array([who.row])
        if not isinstance(who, np.ndarray):
            listed = [w.row if isinstance(w, Agent) else w for w in who]
            who = np.array(listed) if listed else np.zeros(0, np.int64)
        if who.dtype.kind not in "iub" or who.ndim != 1:
            raise ParameterError(f"agents are meant by ids, a mask or themselves, got {who!r:.100}")
        if who.dtype == np.bool_:
            if len(who) != self.table.n:
                raise ParameterError(f"a mask of {len(who)} agents for a table of {self.table.n} rows")
            return np.flatnonzero(who)
        ids = who.astype(np.int64, copy=False)
        if len(ids) and not (ids.min() >= 0 and ids.max() < self.table.n):
            wrong = int(ids[(ids < 0) | (ids >= self.table.n)][0])
            raise ParameterError(f"no agent {wrong}; there are 0 to {self.table.n - 1}")
        return ids

    # -- deciding -----------------------------------------------------------------------------------------------

    def decide(
        self,
        decision: type[Decision],
        who: Who,
        observe: Callable[[int], Any] | Mapping[str, Any],
        *,
        check: Check | None = None,
        purpose: str | None = None,
        recall: Recall = None,
    ) -> Answers:
        """Ask agents for a decision; nothing changes until you commit the answers.

        Args:
            decision: the decision class.
            who: who is asked, see `ids_of`; the answers come in this order.
            observe: what each sees: a function of the agent's id, or columns (name to shape (n,)), which alone serve
                vectorised policies.
            check: says why an answer is impossible although its schema is met; it becomes a refusal.
            purpose: name of the draws and of the tape position; the class name by default.
            recall: what agents look for in their memory; what they find goes with the question. An empty text finds
                nothing, but lets policies read insights and facts; None leaves memory out.

        Returns:
            One decision or `Refusal` an agent asked. Every refusal is also an event.
        """
        everyone = who is None and self.n_agents == self.table.n
        ids = np.arange(self.table.n) if everyone else self.ids_of(who)
        purpose = purpose or decision.__name__
        occurrences = self._occurrences(purpose, ids, everyone)
        question = Question(
            decision=decision,
            purpose=purpose,
            ids=ids,
            occurrences=occurrences,
            observe=[observe(i) for i in ids.tolist()] if callable(observe) else Columns(observe, len(ids)),
            chance=self.chance,
            step=self.t,
            n_agents=self.table.n,
            everyone=self.played,
            traits=None if self.played is None else self._played_trait,
            memories=self.memories_for(ids, recall, purpose, occurrences),
            check=check,
            asks_everyone=everyone,
        )
        answers, labels = self._route(question)
        answers = possible(question, answers)
        for at, refusal in sorted(answers.refusals.items()):
            data = {**refusal.model_dump(), "mind": labels(at), "purpose": purpose}
            self.emit("refusal", agent=int(ids[at]), data=data)
        if self.witness is not None:
            self.witness(question, answers, [labels(at) for at in range(len(ids))])
        return answers

    def _route(self, question: Question) -> tuple[Answers, Callable[[int], str]]:
        minds, seats = self._minds, self._mind_of
        if seats is None or len(minds) == 1:
            return minds[0].decide(question), lambda at: minds[0].label
        codes = self._seats(question.ids)
        items: list[Any] = [None] * len(question.ids)
        seated = [(mind, np.flatnonzero(codes == code)) for code, mind in enumerate(minds)]
        # Every mind's part is taken from the snapshot before any of them decides.
        parts = [(mind, at, question.only(at)) for mind, at in seated if len(at)]
        # Minds that wait for somebody else are asked first and waited for last, so that all wait at once.
        begun = {code: mind.begin(part) for code, (mind, _, part) in enumerate(parts) if isinstance(mind, Waiting)}
        waits: list[tuple[int, Callable[[], Answers]]] = [
            (code, functools.partial(mind.decide, part)) for code, (mind, _, part) in enumerate(parts)
        ]
        done: dict[int, Answers] = {}
        failure: Exception | None = None
        for code, wait in [*(each for each in waits if each[0] not in begun), *begun.items()]:
            try:
                done[code] = wait()
            except Exception as error:  # noqa: BLE001 - raised below, when the answers of the others are in
                failure = failure or error
        if failure is not None:
            raise failure
        for code, (_, at, _) in enumerate(parts):
            for i, answer in zip(at.tolist(), done[code], strict=True):
                items[i] = answer
        return Answers(question, items), lambda at: minds[codes[at]].label

    def _seats(self, ids: Ids) -> Ids:
        """Return which mind decides for each agent; one that came later takes the mind of an agent of the start."""
        seats, founding = self._mind_of, self._founding
        if seats is None:
            return np.zeros(len(ids), np.int64)
        if not len(ids) or ids.max() < len(seats):
            return seats[ids]
        if founding is None:  # all of the start had one mind
            return np.array([seats[i] if i < len(seats) else 0 for i in ids.tolist()], np.int64)
        later = [None if i < len(seats) else self.chance.seed_of("mind", i) % len(founding) for i in ids.tolist()]
        return np.array(
            [seats[i] if at is None else founding[at] for i, at in zip(ids.tolist(), later, strict=True)], np.int64
        )

    def _occurrences(self, purpose: str, ids: Ids, everyone: bool) -> Ids | int:
        n = self.table.n
        before, known = self._asked.get(purpose, (0, n))
        if everyone and isinstance(before, int) and known == n:
            self._asked[purpose] = before + 1, n
            return before
        counts = np.full(known, before) if isinstance(before, int) else before
        if known < n:
            counts = np.concatenate([counts, np.zeros(n - known, np.int64)])
        occurrences = counts[ids]
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        first = np.flatnonzero(np.diff(ordered, prepend=-1))
        ranks = np.arange(len(ids)) - np.repeat(first, np.diff(first, append=len(ids)))
        occurrences[order] += ranks
        counts += np.bincount(ids, minlength=n)
        self._asked[purpose] = counts, n
        return occurrences

    def _seat_minds(self, mind: str | Mind | Sequence[str | Mind]) -> tuple[list[Mind], Ids | None]:
        if isinstance(mind, str | Mind) or not isinstance(mind, Sequence):
            return [self.mind_named(mind)], None
        seated: list[Mind] = []
        codes = []
        for one in mind:
            found = next((m for m in seated if isinstance(one, str) and m.label == one), None) or self.mind_named(one)
            if found not in seated:
                seated.append(found)
            codes.append(seated.index(found))
        if len(codes) != self.table.n:
            raise ParameterError(f"{len(codes)} minds for {self.table.n} agents; give one mind, or one for each agent")
        return seated, np.array(codes, np.int64)

    def mind_named(self, mind: str | Mind) -> Mind:
        """Return the mind that a label of this scenario means; a mind is itself.

        Raises:
            ParameterError: there is none of this name.
        """
        if isinstance(mind, type) or not isinstance(mind, str | Mind):
            raise ParameterError(f"{mind!r} is no mind; give a label, or an object with label and decide")
        if not isinstance(mind, str):
            return mind
        policies = self.policies
        if mind == "null":
            return RuleMind(policies.get("null", {}), "null", fallback=null_of)
        name = policy_name(mind)
        if name not in policies and name != "rules":
            known = sorted({"rules", "null", *policies})
            raise ParameterError(
                f"no mind {mind!r}{did_you_mean(name, known)}; this scenario has {known} (a language model: --model)"
            )
        table = policies.get(name, {})
        if callable(table):
            table = table(mind[len(name) + 1 : -1])
        elif name != mind:
            raise ParameterError(f"mind {name!r} takes no argument, got {mind!r}; leave the brackets out")
        return RuleMind(table, mind, fallback=rule_of_memory)

    def mind_of(self, agent: int) -> Mind:
        """Return the mind that decides for an agent."""
        return self._minds[0 if self._mind_of is None else int(self._seats(np.array([agent]))[0])]

    def mind_label(self, agent: int) -> str:
        """Return the label of the mind that decides for an agent."""
        return self.mind_of(agent).label

    @property
    def mind_labels(self) -> tuple[str, ...]:
        """Labels of the minds at work here."""
        return tuple(m.label for m in self._minds)

    # -- acting -------------------------------------------------------------------------------------------------

    def emit(
        self,
        kind: str,
        *,
        agent: int = -1,
        target: int = -1,
        item: int = -1,
        value: float = np.nan,
        text: str = "",
        data: Any = None,
    ) -> None:
        """Log one event: who did what to whom, about which item, with what value and words (-1, NaN, "" for none)."""
        self.events.one(kind, agent, target, item, value, text, data)

    def emit_many(self, kind: str, **columns: npt.ArrayLike) -> None:
        """Log events of one kind given as columns ``agent``, ``target``, ``item``, ``value``."""
        self.events.many(kind, columns)

    def activation(self, regime: str, who: Who = None, **options: Any) -> Iterator[Ids]:
        """Yield the groups that act together in this step; see `simworld.world.batches` for the regimes."""
        self._activations += 1
        chance = Chance(self.seed_of_part("schedule"))
        rng = chance.stream("step", self.t, "activation", regime, self._activations)
        for group in batches(regime, self.ids_of(who), rng, self.table.n, **options):
            # Who left earlier in the step does not act any more.
            living = group[self.table["alive"][group]]
            if len(living) or not len(group):
                yield living

    def encounters(self, groups: Iterable[Sequence[int]] | Sequence[Encounter], max_turns: int) -> Iterator[Turn]:
        """Yield the turns of groups that meet side by side; see `simworld.world.Encounter`."""
        meetings = [g if isinstance(g, Encounter) else Encounter(tuple(g)) for g in groups]
        if not all(m.members for m in meetings):
            raise ParameterError("an encounter of nobody; every group needs a member")
        return turns(meetings, max_turns)

    def seed_of_part(self, part: str) -> int:
        """Return the seed of a part of the chance: its own, or the society's."""
        return self.seeds.get(part, self.seed)

    def stream(self, *name: str | int) -> np.random.Generator:
        """Open a named stream of draws for this step."""
        return self.chance.stream("step", self.t, *name)

    # -- changing its course ------------------------------------------------------------------------------------

    def reconfigure(self, params: Mapping[str, Any], minds: Mapping[int, str | Mind]) -> None:
        """Change parameters and minds between two steps, as a fork does. Neither is state: a resume says them again.

        Caches are not built anew: call `restored` when everything is changed.

        Args:
            params: fields of `Params` with new values; what only mattered when the society was made stays made.
            minds: new minds, by agent; those who come later get theirs as before.

        Raises:
            ParameterError: an unknown parameter, mind or agent, a value out of range, or another number of agents.
        """
        if params:
            self.params = self.changed_params(params)
            # The scenario's own minds may be made from parameters.
            self._minds = [self.mind_named(one.label) if isinstance(one, RuleMind) else one for one in self._minds]
        if minds:
            agents = self.ids_of(list(minds))
            codes = self._seats(np.arange(self.table.n))
            for agent, mind in zip(agents.tolist(), minds.values(), strict=True):
                same = next((i for i, one in enumerate(self._minds) if mind in (one, one.label)), None)
                if same is None:
                    self._minds.append(self.mind_named(mind))
                codes[agent] = len(self._minds) - 1 if same is None else same
            self._mind_of = codes

    def check_change(
        self, step: int, params: Mapping[str, Any], minds: Mapping[int, str], cells: Sequence[tuple[int, str, Any]]
    ) -> None:
        """Refuse what this scenario cannot have changed on its way; called before a fork is written.

        The society is in the state of the last recorded step before the change, under the parameters of that moment.

        Args:
            step: completed steps at the change.
            params: parameters with new values.
            minds: labels of new minds, by agent.
            cells: (agent, column, value).

        Raises:
            ParameterError: what cannot be changed, and why.
        """

    def changed_params(self, params: Mapping[str, Any]) -> Any:
        """Return the parameters with some changed.

        Raises:
            ParameterError: an unknown parameter, a value out of range, or another number of agents.
        """
        changed = checked_params(type(self).Params, {**self.params.model_dump(), **params})
        if getattr(changed, "n_agents", None) != getattr(self.params, "n_agents", None):
            raise ParameterError("n_agents cannot change in a society that is there; start a new run")
        return changed

    def checked_cell(self, column: str, value: Any) -> Any:
        """Return a value as an agent's column stores it.

        Raises:
            ParameterError: an unknown column, or a value that does not fit.
        """
        spec = self.table.specs.get(column)
        if spec is None or column in ("alive", "type"):
            known = [name for name in self.table.specs if name not in ("alive", "type")]
            raise ParameterError(f"agents have no column {column!r}{did_you_mean(column, known)}; they have {known}")
        try:
            return spec.checked(value)
        except ValueError as error:
            raise ParameterError(str(error)) from None

    def intervene(
        self, cells: Iterable[tuple[int, str, Any]] = (), cuts: Iterable[tuple[int, int, str | None]] = ()
    ) -> None:
        """Change the state from outside between two steps; each change is an event of the next one.

        Caches are not built anew: call `restored` when everything is changed.

        Args:
            cells: (agent, column, new value).
            cuts: (agent, agent, kind of tie) of ties that are taken away; None is the main kind.

        Raises:
            ParameterError: an unknown agent or column, or a value that does not fit.
            GraphError: a tie that is not there.
        """
        for agent, name, value in cells:
            (row,) = self.ids_of([agent])
            self.table[name][row] = self.checked_cell(name, value)
            self.emit("intervention", agent=agent, data={"column": name, "value": value})
        for source, target, kind in cuts:
            self.ids_of([source, target])
            if not self.graph.remove(source, target, kind):
                raise GraphError(f"no {kind or self.tie_kinds[0]} from {source} to {target} is there to be cut")
            self.emit("intervention", agent=source, target=target, data={"cut": kind or self.tie_kinds[0]})

    # -- what an observer may read ------------------------------------------------------------------------------

    @property
    def tie_kinds(self) -> tuple[str, ...]:
        """Kinds of tie, the main one first."""
        return self.graph.kinds

    @property
    def happened(self) -> Mapping[str, int]:
        """Number of events of this step, by kind."""
        return self.events.counts

    def adjacency(self, kind: str | None = None) -> Any:
        """Return the ties among living agents as a csr array of weights; the main kind by default."""
        matrix = self.graph.csr(kind)
        alive = self.table["alive"]
        return matrix if alive.all() else matrix[alive][:, alive]

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the living agents, shape (n_agents,)."""
        column = self.table[name]
        alive = self.table["alive"]
        return column if alive.all() else column[alive]

    def trait(self, letter: str) -> npt.NDArray[np.float64]:
        """Return a standardised trait of the living agents' personas, shape (n_agents,); see `trait_z`.

        0 where a persona has no such trait; NaN in a society without personas.
        """
        if letter not in TRAIT_LETTERS:
            raise ParameterError(f"no trait letter {letter!r}; letters: {', '.join(TRAIT_LETTERS)}")
        if self.personas is None:
            return np.full(self.n_agents, np.nan)
        return self._trait_of("personas", letter)[self.ids]

    def _played_trait(self, letter: str) -> npt.NDArray[np.float64]:
        """Return a trait as the minds of all agents play it, shape (rows,)."""
        if letter not in TRAIT_LETTERS:
            return trait_matrix([], letter)[:, 0]  # which says what is wrong
        return self._trait_of("personas" if self.played is self.personas else "played", letter)

    def _trait_of(self, which: str, letter: str) -> npt.NDArray[np.float64]:
        # Personas never change, so each is read once.
        people, matrix = getattr(self, which), self._traits[which]
        if len(matrix) < len(people):
            self._traits[which] = matrix = np.concatenate([matrix, trait_matrix(people[len(matrix) :], LETTERS)])
        traits: npt.NDArray[np.float64] = matrix[:, LETTERS.index(letter)]
        return traits

    # -- being recorded and resumed -----------------------------------------------------------------------------

    def _one_step(self) -> None:
        if not self._recorded:
            self.events.drain()
            self.graph.drain()
            self.memory.drain()
        self._asked.clear()
        self._activations = 0
        self.memory.now = self.t
        _mesa.rekey(self, self.seed, self.t)
        _mesa.in_row_order(self)
        type(self).step(self)
        if self.keeps_memory:
            self.commit_memories()
            self.memory.forget()
        if self.finished():
            self.running = False
        if not self._recorded and self._collects is not None and self.datacollector is self._collects:
            self._collects.collect(self)

    def drain(self, *, state: bool = True) -> StepRecord:
        """Hand over what changed since the last call. From the first call on, somebody is taken to keep the record."""
        self._recorded = True
        tables: dict[str, tuple[Ids, Rows]] = {}
        if state:
            for name, table in self.tables.items():
                rows = table.changed()
                tables[name] = (rows, table.rows(rows))
        rest = json.dumps({"running": bool(self.running), "globals": _jsonable(self.globals)})
        return StepRecord(self.t, self.events.drain(), self.graph.drain(), tables, rest, self.drain_memory())

    def restore(
        self,
        t: int,
        tables: Mapping[str, Rows],
        ties: TieChanges,
        globals_json: str,
        memories: Iterable[tuple[int, int, Mapping[str, Any]]] = (),
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Put a freshly made society into the state it had after step ``t``.

        Args:
            t: completed steps.
            tables: by table, its full columns at ``t``.
            ties: every tie change after the society was made, in order.
            globals_json: `StepRecord.globals` of step ``t``.
            memories: the log of memories from the start on: step, rows, columns.
            before: called when the state is back and caches are still to be built: says again what is no state.
        """
        self.drain(state=False)
        self.graph.grow(len(tables["agents"]["alive"]))
        self.graph.apply(ties)
        for name, columns in tables.items():
            self.tables[name].restore(columns)
        self._later_personas()
        for agent in [a for a in self._faces.values() if not self.table["alive"][a.row]]:
            self.deregister_agent(agent)
        rest = json.loads(globals_json)
        self.globals = type(self).Globals.model_validate(rest["globals"])
        _mesa.set_clock(self, t)
        self.memory = self.new_store()
        self.memory.grow(len(tables["agents"]["alive"]) if self._memory_kept else 0)
        for step, n, rows in memories:
            self.memory.apply(step, n, rows)
        self.memory.now = t
        self.running = rest["running"]
        before()
        self.restored()

    def restored(self) -> None:
        """Rebuild caches after a resume; by default nothing."""

    def _start_graph(self, graph: Any, given: Mapping[str, Any]) -> GraphData | None:
        source = type(self).starting_graph if graph is None else graph
        if source is None:
            return None
        n = getattr(self.params, "n_agents", None)
        said = "n_agents" in given
        if isinstance(source, GraphData):
            if said and source.n != n:
                raise GraphError(f"the graph has {source.n} nodes, but n_agents is {n}; leave n_agents out")
            return source
        spec = parse_graph(source) if isinstance(source, str) else source
        if not said and not (isinstance(spec, GraphSpec) and spec.takes_n):
            n = None
        return load_graph(spec, n=n, seed=self.seed_of_part("graph"), directed=type(self).directed)


def policy_name(label: str) -> str:
    """Return which entry of ``policies`` a mind's label means: ``always`` for ``always(0.3)``."""
    name, bracket, _ = label.partition("(")
    return name if bracket and label.endswith(")") else label


def checked_params[R: Record](cls: type[R], given: Mapping[str, Any]) -> R:
    """Return validated parameters.

    Raises:
        ParameterError: one line that names the parameter, its value and what would be right.
    """
    for name in given:
        if name not in cls.model_fields:
            known = list(cls.model_fields)
            what = "setting of memory" if cls is MemorySettings else "parameter"
            hint = did_you_mean(name, known) or f"; there are {known}"
            where = " (simworld list --memory)" if cls is MemorySettings else ""
            raise ParameterError(f"no {what} {name!r}{hint}{where}")
    try:
        return cls(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or cls.__name__
        field = cls.model_fields.get(str(first["loc"][0])) if first["loc"] else None
        if first["type"] == "missing":
            raise ParameterError(f"parameter {name!r} has no default and was not given") from None
        about = f" ({field.description})" if field is not None and field.description else ""
        if not first["loc"]:
            raise ParameterError(first["msg"].removeprefix("Value error, ")) from None
        raise ParameterError(f"parameter {name} = {first['input']!r}: {first['msg']}{about}") from None


def _agent_columns(classes: tuple[type[Agent], ...]) -> dict[str, ColumnSpec]:
    columns: dict[str, ColumnSpec] = {}
    if len(classes) > 1:
        columns["type"] = ColumnSpec("type", np.dtype(np.int16), 0, tuple(c.__name__ for c in classes))
    for cls in classes:
        for name, spec in cls.columns.items():
            if columns.setdefault(name, spec) != spec:
                raise ScenarioError(f"column {name!r} is declared in two ways by {[c.__name__ for c in classes]}")
    return columns


def _jsonable(record: Globals) -> Any:
    def in_order(value: Any) -> Any:
        # A set has another order in every process, and the record is hashed.
        if isinstance(value, set | frozenset):
            return sorted((in_order(v) for v in value), key=repr)
        if isinstance(value, dict):
            return {key: in_order(v) for key, v in value.items()}
        return [in_order(v) for v in value] if isinstance(value, list | tuple) else value

    return to_jsonable_python(in_order(record.model_dump()), inf_nan_mode="constants")


def _metric(world: World, *, key: str) -> float:
    return world.metrics()[key]

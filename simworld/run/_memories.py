"""Looking into the memories of a recorded run: as of a step, by meaning, or by asking an agent. A run is only read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from simworld.agent import PromptBook, prompts_of
from simworld.errors import ParameterError, TapeError, UsageError, did_you_mean
from simworld.memory import (
    RULES,
    Answer,
    AnswerView,
    Embedder,
    EmbedderIdentity,
    Entry,
    Hit,
    IndexDoubt,
    IndexReport,
    Memory,
    MemoryIndex,
    MemorySettings,
    MemoryStore,
    MemoryView,
    Recollection,
    build_index,
    drop_index,
    open_index,
    quantised,
    replay,
)
from simworld.mind import Mind, Question, RuleMind
from simworld.mind.llm import HUMAN, ModelMind, Service, Switchboard
from simworld.rng import Chance
from simworld.run._frames import memory_parts
from simworld.run._indexed import what_is_indexed
from simworld.run._load import Run
from simworld.run._prepare import prepare_again, service_in
from simworld.run._vectors import Embedders
from simworld.scenario import load, resolve
from simworld.schema import Refusal

BATCH = 5_000
"""Records handed to the index at once."""


def settings_of(run: Run) -> MemorySettings:
    """Return how the agents of a run remember.

    Raises:
        UsageError: they do not.
    """
    kept = run.manifest.get("memory")
    if kept is None:
        raise UsageError(
            f"{run.path} kept no memory: its scenario has none, or it ran with --no-memory (simworld run village)"
        )
    return MemorySettings.model_validate(kept["settings"])


def embedder_of(run: Run) -> Embedder:
    """Return the embedder of a run; one that is not exact answers from the run's journal alone."""
    settings = settings_of(run)
    return Embedders(Service(), run.path / "journal.sqlite", only_tape=True)(settings.embedder)


def name_of(run: Run) -> Callable[[int], str]:
    """Return what names the agents of a run."""
    people = run.personas

    def name(agent: int) -> str:
        return people[agent].name if people is not None and 0 <= agent < len(people) else f"agent {agent}"

    return name


def remembered(run: Run, step: int | None = None, embed: Embedder | None = None) -> MemoryStore:
    """Return what all agents remembered after a step (the last by default), from the run's log.

    Raises:
        UsageError: the run kept no memory, or has no such step.
    """
    settings = settings_of(run)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= run.steps):
        raise UsageError(f"no step {step!r}; this run has steps 0 to {run.steps}")
    log = run.memory
    n = max(n_agents_of(run), *(agent + 1 for agent in log["agent"].unique().to_list()), 0)
    return replay(
        memory_parts(log), settings, n, until=run.steps if step is None else step,
        embed=embed if embed is not None else embedder_of(run), chance=Chance(run.plan.seed), name_of=name_of(run),
    )  # fmt: skip


def n_agents_of(run: Run) -> int:
    """Return how many agents ever lived in a run."""
    return max((int(i) + 1 for i in run.state()["id"].to_list()), default=0)


def agent_of(run: Run, who: str | int) -> int:
    """Return an agent of a run by its number, or by its persona's id or name.

    Raises:
        UsageError: there is none.
    """
    names = {str(i): i for i in range(n_agents_of(run))}
    for i, person in enumerate(run.personas or ()):
        names.setdefault(person.id, i)
        names.setdefault(person.name, i)
    found = names.get(str(who))
    if found is None:
        folded = {name.casefold(): i for name, i in names.items()}
        close = [i for name, i in folded.items() if str(who).casefold() in name.split()]
        found = folded.get(str(who).casefold()) if len(close) != 1 else close[0]
    if found is None:
        last = n_agents_of(run) - 1
        hint = "" if str(who).lstrip("-").isdecimal() else did_you_mean(str(who), names)
        raise UsageError(f"no agent {who!r} in {run.path.name}{hint}; give 0 to {last}, or a name")
    return found


def memory_of(run: Run, agent: str | int, step: int | None = None) -> MemoryView:
    """Return one agent's memory as it was after a step."""
    return MemoryView(remembered(run, step), agent_of(run, agent))


class Recall(NamedTuple):
    """What came to an agent's mind when it decided something."""

    step: int
    purpose: str
    occurrence: int
    question: str
    found: tuple[tuple[Memory, float], ...]
    """Each record as it was then, and its score."""


def recalls(run: Run, agent: int, step: int) -> list[Recall]:
    """Return what an agent recalled in a step, decision by decision; the records as they are after that step."""
    rows = run.memory.filter((pl.col("op") == "recall") & (pl.col("agent") == agent) & (pl.col("step") == step))
    store = remembered(run, step)
    out = []
    for row in rows.iter_rows(named=True):
        data = json.loads(row["data"])
        ids = [int(i) for i in row["refs"].split()]
        scores = [float(s) for s in data["scores"]]
        found = tuple((store.get(i), s) for i, s in zip(ids, scores, strict=True))
        out.append(Recall(step, data["purpose"], data["occurrence"], row["text"], found))
    return out


def said_by(run: Run, agent: int, words: str) -> list[dict[str, Any]]:
    """Return the events of an agent whose text contains these words, oldest first."""
    mine = run.events.filter((pl.col("agent") == agent) & pl.col("text").str.to_lowercase().str.contains(
        words.lower(), literal=True
    ))  # fmt: skip
    return list(mine.iter_rows(named=True))


# -- by meaning ---------------------------------------------------------------------------------------------------


def index_folder(run: Run) -> Path:
    """Return where the index of a run lies."""
    return run.path / "memory"


def source_of(run: Run) -> str:
    """Return a digest of what an index of this run is made from."""
    if run.digest is not None:
        return run.digest
    steps = run._contents.steps()
    last = steps[-1]["state_chain"] if steps else ""
    return hashlib.sha256(f"unfinished {last}".encode()).hexdigest()


def rebuild_index(
    run: Run, *, embed: Embedder | None = None, progress: Callable[[int, int], None] | None = None
) -> IndexReport:
    """Write the index of a run anew, from its log.

    Args:
        run: the run.
        embed: another embedder than the run's, for this index.
        progress: called with records written, and how many there are.
    """
    store = remembered(run, None, embed)
    ids, why = what_is_indexed(store)

    def batches() -> Iterator[tuple[list[Entry], Any]]:
        for first in range(0, len(ids), BATCH):
            some = [store.get(i) for i in ids[first : first + BATCH].tolist()]
            entries = [
                Entry(m.id, m.agent, m.kind, m.t_created, m.importance, m.valid_to, m.flags, m.text) for m in some
            ]
            yield entries, store.vectors_of([m.text for m in some])

    return build_index(
        index_folder(run), run=run.path.resolve().name, identity=store.embedder.identity.model_dump(),
        source=source_of(run), batches=batches(), left_out=len(store) - len(ids), left_out_why=why,
        progress=None if progress is None else lambda n: progress(n, len(ids)),
    )  # fmt: skip


def open_or_rebuild(run: Run, *, progress: Callable[[int, int], None] | None = None) -> tuple[MemoryIndex, str]:
    """Open the index of a run; on any doubt write it anew. Return it, and what was doubted.

    An index that was made with another embedder (`rebuild_index`) is opened as it is.
    """
    doubt = ""
    for _ in range(2):
        try:
            return open_index(index_folder(run), source=source_of(run), identity=index_identity(run)), doubt
        except IndexDoubt as error:
            doubt = doubt or str(error)
            drop_index(index_folder(run))
            rebuild_index(run, progress=progress)
    return open_index(index_folder(run), source=source_of(run), identity=index_identity(run)), doubt


def index_identity(run: Run) -> dict[str, Any]:
    """Return whose vectors a run's index has: what it says of itself, else the run's own embedder."""
    settings_of(run)
    own = dict(run.manifest["memory"]["embedder"])
    try:
        said = json.loads((index_folder(run) / "index.json").read_text("utf-8"))
        return EmbedderIdentity.model_validate(said["identity"]).model_dump()
    except (OSError, ValueError, KeyError, TypeError):
        return own


def _one_embedder(runs: Sequence[Run]) -> dict[str, Any]:
    """Return whose vectors the indices of these runs have.

    Raises:
        UsageError: those of several embedders.
    """
    identities = [index_identity(run) for run in runs]
    for run, identity in zip(runs, identities, strict=True):
        if identity != identities[0]:
            raise UsageError(
                f"{run.path.name} was embedded by {identity['name']!r}, {runs[0].path.name} by "
                f"{identities[0]['name']!r}; vectors of two embedders cannot be compared, search them apart"
            )
    return identities[0]


class Found(NamedTuple):
    """One memory that a search found."""

    run: Run
    hit: Hit
    name: str
    """Whose it is."""


def search_memories(
    runs: Sequence[Run],
    text: str,
    k: int = 10,
    *,
    agents: Mapping[int, Sequence[int]] | None = None,
    kinds: Sequence[str] | None = None,
    until: int | None = None,
    service: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Found]:
    """Search the memories of finished or unfinished runs by meaning, as far as their embedder knows any.

    Args:
        runs: where to search; their embedders must agree.
        text: what is looked for.
        k: how many are wanted in all.
        agents: by the place of a run in ``runs``, whose memories; all when left out.
        kinds: kinds of record; all when None.
        until: last step at which a record may have been stored.
        service: how a provider's embedder is reached, where it differs from the run's.
        progress: called while an index is written.

    Raises:
        UsageError: a run kept no memory, or their vectors cannot be compared.
    """
    if not text.strip():
        raise ParameterError("there is nothing to search for; give some words")
    _one_embedder(runs)
    found: list[Found] = []
    with contextlib.ExitStack() as stack:
        indices = [stack.enter_context(open_or_rebuild(run, progress=progress)[0]) for run in runs]
        # Asked for now: an index that was doubted has the vectors of the run's own embedder again.
        query = query_vector(runs[0], text, _one_embedder(runs), service)
        for at, (run, index) in enumerate(zip(runs, indices, strict=True)):
            name = name_of(run)
            whose = None if agents is None else agents.get(at)
            hits = index.search(query, k, agents=whose, kinds=kinds, until=until)
            found += [Found(run, hit, name(hit.agent)) for hit in hits]
    return sorted(found, key=lambda f: (-f.hit.cosine, f.run.path.name, f.hit.id))[:k]


def query_vector(run: Run, text: str, identity: Mapping[str, Any], service: Mapping[str, Any] | None = None) -> Any:
    """Return the vector of a question by the embedder of an index; a provider's may have to be asked for it."""
    reach = Service.model_validate({**service_in(run.manifest), **(service or {})})
    made = Embedders(reach, dimensions=int(identity["dimensions"]))
    try:
        vectors, norms = quantised(made(str(identity["name"])).embed([text]))
    finally:
        made.close()
    return np.asarray(vectors[0] / max(float(norms[0]), 1.0), np.float32)


# -- by asking ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """What an agent answers to somebody from outside, and what it answers from."""

    agent: int
    name: str
    step: int
    mind: str
    """What kind of mind answered."""
    answer: str
    cited: tuple[Memory, ...]
    """The memories it says it answers from."""
    recollection: Recollection
    """What came to its mind, each with the parts of its score."""
    spent: Mapping[str, Any]
    """What a language model took: tokens and, where the price is known, dollars."""


def ask(
    run: Run,
    agent: str | int,
    question: str,
    *,
    step: int | None = None,
    model: str | None = None,
    service: Mapping[str, Any] | None = None,
    policy: str | None = None,
    k: int | None = None,
    public: bool = False,
) -> Asked:
    """Ask an agent of a recorded run something, as it was after a step; nothing in the run's folder changes.

    A language model answers if the agent had one or ``model`` is given; else the rule lists what is remembered.

    Args:
        run: the run.
        agent: its number, or its persona's id or name.
        question: what is asked.
        step: after which step; the last by default.
        model: a language model instead of the agent's mind.
        service: how models are reached: fields of `simworld.mind.llm.Service`.
        policy, k: how memory is searched; as the run did by default.
        public: whether private memories are left out; whoever asks sees them otherwise.

    Raises:
        UsageError: no such agent or step, or the model cannot be used.
        ModelError: it did not answer.
    """
    if not question.strip():
        raise ParameterError("there is no question; ask something")
    who = agent_of(run, agent)
    inner: Embedders | None = None
    own = embedder_of(run)
    embed: Embedder = own
    if not own.is_exact:
        reach = Service.model_validate({**service_in(run.manifest), **(service or {})})
        inner = Embedders(reach, dimensions=own.identity.dimensions)
        embed = Fallback(own, lambda: inner(settings_of(run).embedder))
    try:
        store = remembered(run, step, embed)
        found = store.retrieve([who], [question], policy=policy, k=k, public=public)[0]
    finally:
        if inner is not None:
            inner.close()
    people = run.personas
    asked = Question(
        decision=Answer, purpose="interview", ids=np.array([who]), occurrences=0,
        observe=[AnswerView(question)], chance=Chance(run.plan.seed), step=store.now, n_agents=store.n_agents,
        everyone=people, memories=[found], check=lambda _, answer, __: _cites_what_it_has(answer, found),
    )  # fmt: skip
    label, spent, answers = _answered(run, who, model, service, asked)
    (answer,) = list(answers)
    name = name_of(run)(who)
    if isinstance(answer, Refusal):
        return Asked(who, name, store.now, label, f"(no usable answer: {answer.reason})", (), found, spent)
    cited = tuple(store.get(i) for i in dict.fromkeys(answer.memories))
    return Asked(who, name, store.now, label, answer.answer, cited, found, spent)


class Fallback:
    """An embedder that asks a model only for what a run's journal does not know."""

    is_exact = False

    def __init__(self, recorded: Embedder, model: Callable[[], Embedder]) -> None:
        self.identity = recorded.identity
        self._recorded = recorded
        self._model = model

    def embed(self, texts: Sequence[str]) -> Any:
        """Return one row a text."""
        try:
            return self._recorded.embed(texts)
        except TapeError:
            return self._model().embed(texts)


def _cites_what_it_has(answer: Any, found: Recollection) -> tuple[str, str] | None:
    shown = {m.id for m in found}
    wrong = [i for i in answer.memories if i not in shown]
    return ("memories", f"{wrong[0]} is none of the memories you were shown") if wrong else None


def _answered(
    run: Run, who: int, model: str | None, service: Mapping[str, Any] | None, asked: Question
) -> tuple[str, Mapping[str, Any], Any]:
    label = model or _label_of(run, who)
    if label is None:
        mind: Mind = RuleMind({}, "rules", fallback=RULES.get)
        return "rules (what is remembered, word for word; no language model)", {}, mind.decide(asked)
    reach = Service.model_validate({**run.manifest.get("service", {}), **(service or {})})
    board = Switchboard(reach)
    try:
        board.check([label])
        cls = load(resolve(run.plan.scenario))
        book = PromptBook(cls.Params(**run.plan.params), run.plan.asking.card, home=prompts_of(cls))
        mind = ModelMind(
            label, board, book, model=board.connect(label, [label]), asking=run.plan.asking,
            replicate=f"{run.plan.seed}/{run.plan.replicate}",
        )  # fmt: skip
        answers = mind.decide(asked)
        ledger = board.ledger
        return f"{label} (language model)", {"calls": ledger.calls, "usd": ledger.usd, "tokens": ledger.tokens}, answers
    finally:
        board.close()


def _label_of(run: Run, who: int) -> str | None:
    """Return the language model of an agent of a run; None where rules, the null or a person decided for it."""
    if "service" not in run.manifest:
        return None
    prepared = prepare_again(run.path, only_tape=True)
    label = prepared.society.mind_label(who)
    policies = {"rules", "null", HUMAN, *prepared.society.policies}
    return None if label in policies else str(label)


def embedder_named(name: str, service: Mapping[str, Any] | None = None) -> tuple[Embedder, Embedders]:
    """Return an embedder by name, and what closes it."""
    made = Embedders(Service.model_validate(service or {}))
    return made(name), made

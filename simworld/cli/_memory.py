"""The commands that look into memories: what an agent remembers, search by meaning, the index, asking an agent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from simworld.cli import _models
from simworld.cli._errors import Commands
from simworld.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from simworld.memory import Memory, MemoryView, Recollection
    from simworld.run import Asked, Found, Recall, Run

option = partial(click.option, show_envvar=True)
RUN_HELP = "RUN is a folder, a run's name or how it begins, or last. AGENT is a number, or a persona's id or name."
_api_base = option(
    "--api-base", type=_models.Address(), multiple=True, metavar="[MODEL=]URL",
    help="Address of the embedder's server, where it differs from the run's.",
)  # fmt: skip
SHOWN = 20
"""Latest records shown of a stream, unless all are asked for; arbitrary, a screen."""


class MemoryCommands(Commands):
    """A group whose plain call, ``memory RUN AGENT``, shows a memory."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            return "show", self.commands["show"], args
        return super().resolve_command(ctx, args)


@click.group(
    cls=MemoryCommands, short_help="Look into what agents remember, or search runs by meaning.", epilog=RUN_HELP,
    options_metavar="", subcommand_metavar="RUN AGENT [OPTIONS] | search RUN… TEXT | rebuild RUN",
)  # fmt: skip
def memory() -> None:
    """Show what an agent remembers, or search the memories of runs by meaning.

    \b
    simworld memory last odile                    core, stream, insights with their evidence
    simworld memory last odile --step 100 --query "the party"
    simworld memory last odile --said "party"     what it remembered when it said so
    simworld memory search last "someone regrets a betrayal"
    """


@memory.command(epilog=RUN_HELP)
@click.argument("run")
@click.argument("agent")
@option("--step", type=int, metavar="T", help="As it was after this step; by default the last.")
@option("--query", metavar="TEXT", help="What would be recalled for this, and why.")
@option("--said", metavar="TEXT", help="When the agent said this, and what it remembered then.")
@option("--policy", metavar="NAME", help="Retrieval policy of --query; by default the run's.")
@option("-k", "--top", type=click.IntRange(1, 1000), metavar="K", help="Records of --query; by default the policy's.")
@option("--all", "everything", is_flag=True, help=f"The whole stream; by default its latest {SHOWN} records.")
def show(
    run: str, agent: str, step: int | None, query: str | None, said: str | None, policy: str | None, top: int | None,
    everything: bool,
) -> None:  # fmt: skip
    """Show what an agent remembers: core, facts, stream, insights with their evidence."""
    from simworld.cli import _runs, _tables
    from simworld.run import agent_of, memory_of, recalls, said_by

    if query is None and (policy is not None or top is not None):
        raise UsageError("--policy and -k say how --query is answered; give one, or leave them out")
    found = _runs.find(run)
    who = agent_of(found, agent)
    out = _tables.console()
    if said is not None:
        events = said_by(found, who, said)
        if not events:
            raise UsageError(
                f"agent {agent!r} never said or did anything with {said!r} in it (simworld export RUN csv)"
            )
        _said(out, found, who, events[:3], recalls)
        if len(events) > 3:
            out.print()
            out.print(_tables.text(f"{len(events) - 3} more times; say more of the words"))
        return
    view = memory_of(found, who, step)
    recollection = None if query is None else view.recall(query, policy=policy, k=top)
    _view(out, found, view, everything=everything)
    if recollection is not None:
        _recollection(out, found, f"what {_name(found, who)} would recall for: {query}", recollection)
    elif step is not None:
        for each in recalls(found, who, step):
            _recall(out, found, each)


@memory.command()
@click.argument("runs", nargs=-1, required=True)
@click.argument("text")
@option(
    "-k", "--top", type=click.IntRange(1, 1000), metavar="K", default=10, show_default=True, help="Memories wanted."
)
@option("--agent", multiple=True, metavar="AGENT", help="Only this agent's memories; several may be given.")
@option("--kind", multiple=True, metavar="KIND", help="Only this kind: observation, reflection, summary, …")
@option("--until", type=int, metavar="T", help="Only what was stored by this step.")
@_api_base
def search(
    runs: tuple[str, ...], text: str, top: int, agent: tuple[str, ...], kind: tuple[str, ...], until: int | None,
    api_base: tuple[tuple[str, str], ...],
) -> None:  # fmt: skip
    """Search the memories of one run or several by meaning.

    The first search of a run writes its index, about a second for every 1,000 memories."""
    from simworld.cli import _progress, _runs, _tables
    from simworld.memory import KINDS
    from simworld.run import agent_of, search_memories

    found = [_runs.find(name) for name in runs]
    for each in kind:
        if each not in KINDS:
            raise UsageError(f"no kind of memory {each!r}; there are {', '.join(KINDS)}")
    agents = {at: [agent_of(one, who) for who in agent] for at, one in enumerate(found)} if agent else None
    with _progress.counting("indexing memories") as report:
        hits = search_memories(found, text, top, agents=agents, kinds=kind or None, until=until,
                               service=_service(api_base), progress=report)  # fmt: skip
    _hits(_tables.console(), hits, several=len(found) > 1)


@memory.command()
@click.argument("run")
@option("--embedder", metavar="NAME", help="Embed the memories anew, for this index; by default the run's embedder.")
@_api_base
def rebuild(run: str, embedder: str | None, api_base: tuple[tuple[str, str], ...]) -> None:
    """Write the index of a run's memories anew, from its log."""
    from simworld.cli import _progress, _runs
    from simworld.run import embedder_named, rebuild_index

    found = _runs.find(run)
    embed, made = embedder_named(embedder, _service(api_base)) if embedder is not None else (None, None)
    try:
        with _progress.counting("indexing memories") as report:
            done = rebuild_index(found, embed=embed, progress=report)
    finally:
        if made is not None:
            made.close()
    left = f"; {done.left_out:,} left out ({done.left_out_why})" if done.left_out else ""
    click.echo(f"{done.records:,} memories indexed in {done.seconds:.1f} s, {done.bytes / 1e6:,.1f} MB{left}")


@click.command(epilog=RUN_HELP, short_help="Ask an agent of a run something, as it was at some step.")
@click.argument("run")
@click.argument("agent")
@click.argument("question")
@option("--step", type=int, metavar="T", help="As it was after this step; by default the last.")
@option("--model", metavar="M", help="A language model answers; by default the agent's own mind.")
@option("--policy", metavar="NAME", help="How memory is searched; by default as in the run.")
@option("--public", is_flag=True, help="Leave out what is private: secrets, and what was concluded from them.")
@option(
    "-k",
    "--top",
    type=click.IntRange(1, 1000),
    metavar="K",
    help="Memories that come to mind; by default the policy's.",
)
@_models.reaching
def ask(
    run: str, agent: str, question: str, step: int | None, model: str | None, policy: str | None, public: bool,
    top: int | None, **models: Any,
) -> None:  # fmt: skip
    """Ask an agent of a run something, as it was at some step; the run is only read.

    \b
    simworld ask last odile "What do you know about the candidacy?" --step 40
    simworld ask last odile "Will you vote for Desmond?" --model ollama/qwen3
    """
    from simworld.cli import _progress, _runs, _tables
    from simworld.run import ask as ask_agent

    found = _runs.find(run)
    with _progress.waiting(f"asking {agent}"):
        asked = ask_agent(
            found,
            agent,
            question,
            step=step,
            model=model,
            service=_models.service_of(models),
            policy=policy,
            k=top,
            public=public,
        )
    _asked(_tables.console(), found, asked, question)


def _service(api_base: tuple[tuple[str, str], ...]) -> dict[str, Any] | None:
    return {"api_base": _models.once("--api-base", api_base)} if api_base else None


# -- printing -----------------------------------------------------------------------------------------------------


def _name(run: Run, agent: int) -> str:
    people = run.personas
    return people[agent].name if people is not None and agent < len(people) else f"agent {agent}"


def _line(run: Run, memory: Memory, indent: int = 0) -> Any:
    from simworld.cli._tables import text
    from simworld.memory import Flag

    marks = [flag.name.lower() for flag in Flag if memory.flags & flag and flag.name is not None]
    told = f", from {_name(run, memory.source)}" if memory.source >= 0 else ""
    ended = f", until step {memory.valid_to}" if memory.valid_to >= 0 else ""
    head = f"{'  ' * indent}[{memory.id}] step {memory.t_event} {memory.kind}{told}{ended}"
    more = f"  ({', '.join([f'importance {memory.importance:.2f}', *marks])})"
    return text(f"{head}: ", "dim") + text(" ".join(memory.text.split())) + text(more, "dim")


def _block(out: Console, title: str, lines: Iterable[Any], empty: str = "nothing") -> None:
    from simworld.cli import _tables

    _tables.title(out, title)
    lines = list(lines)
    for line in lines or [_tables.text(empty, "dim")]:
        out.print(line, soft_wrap=False)


def _view(out: Console, run: Run, view: MemoryView, *, everything: bool) -> None:
    from simworld.cli._tables import text

    head = f"{_name(run, view.agent)} (agent {view.agent}) after step {view.step}; mind: {run.mind}"
    out.print(text(head))
    core = [text(f"{label}: {words}") for label, words in view.core.items()]
    core += [text(f"{path}: {words}") for path, words in view.tree.items()]
    _block(out, "core", core, "nothing is kept there")
    if facts := view.facts():
        _block(out, "facts that hold", (_line(run, m) for m in facts))
    records = view.records
    stream = [m for m in records if m.kind not in ("reflection", "fact")]
    shown = stream if everything else stream[-SHOWN:]
    more = f", the latest {len(shown)} of {len(stream)}" if len(shown) < len(stream) else ""
    _block(out, f"stream{more}", (_line(run, m) for m in shown))
    insights = view.insights()
    trees = [_line(run, m, depth) for insight in insights for depth, m in view.evidence(insight.id)]
    _block(out, "insights, each with its evidence", trees, "none yet")


def _recollection(out: Console, run: Run, title: str, found: Recollection) -> None:
    from simworld.cli import _tables

    if not len(found):
        _block(out, title, [], "nothing comes to mind")
        return
    _tables.title(out, title)
    for one in found.found:
        parts = ", ".join(f"{name} {value:.2f}" for name, value in one.parts.items())
        out.print(_tables.text(f"{one.score:.3f}  ") + _line(run, one.memory) + _tables.text(f"  = {parts}", "dim"))


def _recall(out: Console, run: Run, one: Recall) -> None:
    from simworld.cli import _tables

    turn = f", time {one.occurrence + 1}" if one.occurrence else ""
    _tables.title(out, f"recalled in step {one.step} for {one.purpose}{turn}, asking memory: {one.question}")
    for memory, score in one.found:
        out.print(_tables.text(f"{score:.3f}  ") + _line(run, memory))
    if not one.found:
        out.print(_tables.text("nothing came to mind", "dim"))


def _said(out: Console, run: Run, who: int, events: Sequence[dict[str, Any]], recalls: Any) -> None:
    import json

    from simworld.cli import _tables

    for event in events:
        whom = f" to {_name(run, event['target'])}" if event["target"] >= 0 else ""
        _tables.title(out, f"step {event['step']}, {event['kind']}{whom}")
        out.print(_tables.text(f"{_name(run, who)}: {event['text']}"))
        data = json.loads(event["data"]) if event["data"] else {}
        why = data if isinstance(data, dict) else {}
        turn, purpose = why.get("occurrence"), why.get("decision")
        for one in recalls(run, who, event["step"]):
            if purpose in (None, one.purpose) and turn in (None, one.occurrence):
                _recall(out, run, one)


def _hits(out: Console, hits: Sequence[Found], *, several: bool) -> None:
    from simworld.cli._tables import text
    from simworld.memory import Flag

    for one in hits:
        where = f"{one.run.path.name}, " if several else ""
        head = f"{one.hit.cosine:.3f}  {where}{one.name} (agent {one.hit.agent}), step {one.hit.t}, {one.hit.kind} "
        out.print(text(head, "dim") + text(f"[{one.hit.id}] {' '.join(one.hit.text.split())}")
                  + text("  (private)" if one.hit.flags & Flag.PRIVATE else "", "dim"))  # fmt: skip
    if not hits:
        out.print(text("nothing was found"))


def _asked(out: Console, run: Run, asked: Asked, question: str) -> None:
    from simworld.cli._tables import text

    out.print(text(f"asked after step {asked.step}, outside the run: {question}"))
    out.print(text(f"{asked.name} (agent {asked.agent}); mind: {asked.mind}"))
    out.print()
    out.print(text(asked.answer))
    if asked.cited:
        _block(out, "it answers from", (_line(run, m) for m in asked.cited))
    _recollection(out, run, "what came to mind, and why", asked.recollection)
    if asked.spent:
        usd = asked.spent.get("usd")
        price = f", ${usd:.4f}" if usd else ""
        out.print()
        out.print(text(f"{asked.spent['calls']} calls, {asked.spent['tokens']:,} tokens{price}", "dim"))

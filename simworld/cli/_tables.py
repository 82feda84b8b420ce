"""What the commands print. Every text of a file or a run passes through `clean` into a `Text`: it can be no markup."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from simworld.cli._errors import clean
from simworld.cli._runs import reference, shown
from simworld.errors import SimworldError
from simworld.observe import describe, meaning, observer, observer_names
from simworld.scenario import find_lab

if TYPE_CHECKING:
    import polars as pl

    from simworld.run import Difference, Estimate, Interval, Run, Verification
    from simworld.scenario import ContentFile, ScenarioCard
    from simworld.sweep import CampaignResults

FILE_WIDTH = 120
"""Columns of output that goes to no terminal; arbitrary, wide enough for every table."""
SHOWN_AGENTS = 12
"""Agents named where two runs part; arbitrary, a line."""
POINTS_SHOWN = 40
"""Points of a campaign that are printed; arbitrary, a screen."""
NOTES_TOGETHER = 3
"""Notes that one line holds; more are said each with what it is about."""
NARROWEST = 72
"""Columns below which tables do not shrink: those of a finding, whole."""
FINDINGS_SHOWN = 12
"""Findings after a run; whole observers, the friendship paradox first. The others are in ``simworld show``."""


class _Trimmed:
    """A file that takes no blanks at the end of a line; tables are padded for terminals."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, written: str) -> int:
        self._stream.write(re.sub(r" +\n", "\n", written))
        return len(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # the commands have one place for this


def console() -> Console:
    """Return where to print: the terminal as wide as it is, a file wide enough."""
    out = _Console(highlight=False, emoji=False, markup=False)
    if not out.is_terminal:
        out.file = cast("IO[str]", _Trimmed(sys.stdout))
        if not os.environ.get("COLUMNS"):
            out.width = FILE_WIDTH
    # Narrower, rich would cut digits away; a terminal breaks long lines without losing any.
    out.width = max(out.width, NARROWEST)
    return out


def text(value: object, style: str = "") -> Text:
    """Return any text as what it says and nothing more."""
    # The style belongs to these letters, not to what is appended to them.
    return Text().append(clean(value), style or None)


def number(value: Any) -> str:
    """Return a number as short as it can be read: ``1,234``, ``0.760``, ``1.23e-07``, ``-`` for none."""
    if value is None or isinstance(value, str | bool):
        return "-" if value is None else clean(value)
    if isinstance(value, float) and math.isnan(value):
        return "-"
    if value == 0 or (abs(value) < 1e15 and value == int(value)):
        return f"{int(value):,}"
    return f"{value:,.3f}" if 1e-3 <= abs(value) < 1e6 else f"{value:.3g}"


def clock(seconds: float) -> str:
    """Return a duration as ``0:07``, ``12:30`` or ``3:04:05``."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def _share(value: float, sign: str = "") -> str:
    """Return a number of a finding with three decimals, so that they stand under each other."""
    if math.isnan(value):
        return "-"
    written = f"{value:{sign},.3f}"
    return "0.000" if written in ("-0.000", "+0.000") else written


def plain_table(*columns: str) -> Table:
    """Return an empty table; a column named ``>x`` holds numbers, one named ``=x`` is not broken, others wrap."""
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
        show_header=any(c.strip(">=") for c in columns),
    )
    for column in columns:
        name, is_number = column.lstrip(">="), column.startswith(">")
        table.add_column(
            name,
            justify="right" if is_number else "left",
            no_wrap=column[:1] in (">", "="),
            overflow="fold" if column == name else "ellipsis",
        )
    return table


def _under(body: RenderableType) -> Padding:
    return Padding(body, (0, 0, 0, 2))


def pairs(out: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Print labels and texts; one that has no blank to break at (a digest, a folder) stays whole, to be copied."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        head, body = text(label.ljust(width + 2), "dim"), text(value)
        room = max(out.width - width - 2, 20)
        lines = body.wrap(out, room) if " " in value and label != "folder" else [body]
        for line in lines:
            line.rstrip()
            out.print(head + line, soft_wrap=True)
            head = Text(" " * (width + 2))


def title(out: Console, words: str) -> None:
    """Print a heading with air above it."""
    out.print()
    out.print(text(words, "bold"))


# -- one run ------------------------------------------------------------------------------------------------------


def begin(out: Console, run: Run, notes: Sequence[str]) -> None:
    """Print what is about to run."""
    plan = run.plan
    out.print(text(plan.scenario, "bold") + text(f", seed {plan.seed}, {plan.steps} steps"))
    out.print(text(f"mind: {run.mind}"))
    for note in notes:
        out.print(text(f"note: {note}"))


def end(out: Console, run: Run, told: Sequence[str] = (), forked_from: Run | None = None) -> None:
    """Print what a run left, and what to do next. ``told`` are notes that were printed before."""
    out.print()
    pairs(out, [row for row in run.summary() if row[0] != "note" or row[1] not in told])
    left = findings(out, run.findings, FINDINGS_SHOWN, run.null_policy)
    name = reference(run)
    title(out, "next")
    if forked_from is not None:
        out.print(Text(f"  simworld diff {reference(forked_from)} {name}"), soft_wrap=True)
    out.print(
        Text(f"  simworld view {name}") + text("  (in the browser: who did what, and why)", "dim"), soft_wrap=True
    )
    out.print(
        Text(f"  simworld show {name}") + text(f"  ({left} more findings)" if left else "", "dim"), soft_wrap=True
    )
    out.print(Text(f"  simworld verify {name}"), soft_wrap=True)
    out.print(Text(f"  simworld export {name} graphml"), soft_wrap=True)


def everything(out: Console, run: Run) -> None:
    """Print all a run measured."""
    pairs(out, run.summary())
    metrics(out, run)
    answers(out, run)
    findings(out, run.findings, None, run.null_policy)
    events(out, run)


def metrics(out: Console, run: Run) -> None:
    """Print the metrics of the last step."""
    frame = run.metrics
    values = {k: v for k, v in frame.tail(1).to_dicts()[0].items() if k != "step"} if frame.height else {}
    if not values:
        return
    title(out, f"metrics after step {run.steps}")
    beside = _null_policy(run.null_policy, is_finding=False)
    for prefix, names in _by_observer(values).items():
        table = plain_table("=", ">", *([">null policy", "=", ">p of it"] if beside else []), "")
        short = [name.removeprefix(f"{prefix}.") for name in names]
        room = 12 if not beside else 50
        for name, metric, sentence in zip(names, short, _sentences(out, prefix, short, room), strict=True):
            table.add_row(
                text(metric), text(number(values[name])), *_beside(beside, (prefix, metric)), sentence
            )  # fmt: skip
        out.print(text(prefix or "the scenario's own", "cyan"))
        out.print(_under(table))


def answers(out: Console, run: Run) -> None:
    """Print how answers of language models turned out, and what they took, a model and decision a row."""
    import polars as pl

    kinds = ("first_try", "repaired", "again", "refused")
    found = run.answers
    if not found.height:
        return
    by = ["model", "decision"]
    usd = pl.when(pl.col("usd").null_count() == 0).then(pl.col("usd").sum()).alias("usd")
    sums = found.group_by(by).agg(pl.col("asked", *kinds).sum()).sort(by)
    took = run.calls.rename({"purpose": "decision"}).group_by(by).agg(pl.len().alias("calls"), usd)
    title(out, "answers, as shares of what was asked")
    table = plain_table(
        "=model", "=decision", ">asked", ">first try", ">repaired", ">again", ">refused", ">calls", ">$"
    )
    for row in sums.join(took, on=by, how="left").sort(by).iter_rows(named=True):
        shares = (text(_share(row[kind] / row["asked"])) for kind in kinds)
        cost = "?" if row["usd"] is None else f"{row['usd']:.4f}"
        table.add_row(
            text(row["model"]),
            text(row["decision"]),
            text(number(row["asked"])),
            *shares,
            text(number(row["calls"])),
            text(cost),
        )
    out.print(_under(table))


def estimate(out: Console, found: Estimate, budget: float | None) -> None:
    """Print a prompt of each decision, and what a run is expected to take."""
    if not found.models and not found.samples:
        out.print(
            text("no language model decides here, so nothing is asked and it costs nothing; name one with --model")
        )
        return
    for decision, (step, agent, prompt) in found.samples.items():
        title(out, f"{decision}: what agent {agent} is told in step {step}")
        for role, said in zip(("system", "user"), prompt, strict=True):
            out.print(text(f"[{role}]", "cyan"))
            for line in said.splitlines():
                out.print(text(line), soft_wrap=True)
    title(out, f"expected for {found.steps} steps")
    table = plain_table("=model", ">agents", ">calls", ">tokens in", ">tokens out", ">$", ">time")
    for one in found.models:
        usd = "unknown" if one.usd is None else f"{one.usd.low:,.4f} to {one.usd.high:,.4f}"
        spans = (_span(one.calls), _span(one.input_tokens), _span(one.output_tokens))
        times = f"{clock(one.seconds.low)} to {clock(one.seconds.high)}"
        table.add_row(text(one.model), text(number(one.agents)), *map(text, spans), text(usd), text(times))
    out.print(_under(table))
    if found.shared:
        shared = ", ".join(f"{decision} {share:.0%}" for decision, share in found.shared.items())
        out.print(
            _under(text(f"of a prompt, the beginning that is the same for all (a server may reuse it): {shared}"))
        )
    notes = [
        "from a rehearsal: rule policies, then the null, decided in the models' place; at the upper end a quarter is "
        "asked again and every answer takes all its tokens; a call is taken to last 0.5 to 10 s",
        *found.notes,
    ]
    if any(one.usd is None for one in found.models):
        notes.append("the price of a model is unknown: give it with --price MODEL=IN,OUT, or limit --max-tokens-total")
    elif budget is not None:
        notes.append(f"--budget {budget:g} is hard: the run stops before it is exceeded, and can be resumed")
    for note in notes:
        out.print(_under(text(f"note: {note}", "dim")))


def _span(interval: Interval) -> str:
    low, high = (f"{value:,.0f}" for value in (interval.low, interval.high))
    return low if low == high else f"{low} to {high}"


def _sentences(out: Console, observer_name: str, names: Sequence[str], numbers: int) -> list[Text]:
    """Return what metrics mean, where there is room for a sentence beside the names and so many columns of numbers."""
    room = out.width - max(map(len, names)) - numbers
    return [text(meaning(observer_name, name) if room >= 24 else "", "dim") for name in names]


def _by_observer(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"": []}
    for name in names:
        groups.setdefault(name.partition(".")[0] if "." in name else "", []).append(name)
    return {prefix: inside for prefix, inside in groups.items() if inside}


def _null_policy(frame: pl.DataFrame | None, *, is_finding: bool) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the null policy gives, by observer and metric; empty where it was not run."""
    rows = () if frame is None else frame.iter_rows(named=True)
    return {(row["observer"], row["metric"]): row for row in rows if row["is_finding"] is is_finding}


def _beside(found: Mapping[tuple[str, str], Mapping[str, Any]], key: tuple[str, str]) -> list[Text]:
    """Return mean, interval and p-value of the null policy as three cells; none where it was not run."""
    if not found:
        return []
    row = found.get(key)
    if row is None:
        return [text("-"), text(""), text("-")]
    interval = text(f"[{number(row['low'])}, {number(row['high'])}]", "dim")
    return [text(number(row["mean"])), interval, text(_share(row["p_value"]))]


def findings(
    out: Console, frame: pl.DataFrame, at_most: int | None = None, null_policy: pl.DataFrame | None = None
) -> int:
    """Print findings beside their nulls, an observer a block, and return how many were left out."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        groups.setdefault(row["observer"], []).append(row)
    paradox_first = sorted(groups.items(), key=lambda group: group[0] != "friendship_paradox")
    room = math.inf if at_most is None else at_most
    beside = _null_policy(null_policy, is_finding=True)
    if paradox_first:
        title(out, "findings, beside what their null gives")
    if beside:
        n = max(row["n"] for row in beside.values())
        out.print(
            _under(text(f"null policy: mean over {n} runs that decide at random, with 2.5 and 97.5 % quantiles", "dim"))
        )
    left = 0
    for name, rows in paradox_first:
        # Whole observers; one that is too long alone is cut rather than hidden.
        show = rows if len(rows) <= room else rows[: int(room)] if room == at_most else []
        room -= len(show) if show else 0
        left += len(rows) - len(show)
        if show:
            _findings_of(out, name, show, beside, with_n=at_most is None)
    return left


def _findings_of(
    out: Console,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    beside: Mapping[tuple[str, str], Mapping[str, Any]],
    *,
    with_n: bool,
) -> None:
    # A closed form is itself the null where nothing was drawn; beside a null that was, it has a column of its own.
    is_theory = any(not math.isnan(row["closed_form"]) and not math.isnan(row["null_mean"]) for row in rows)
    extra = [*([">theory"] if is_theory else []), *([">null policy", "=", ">p of it"] if beside else [])]
    table = plain_table("=", ">value", ">null", ">gap", ">p", *extra, *([">n"] if with_n else []), "")
    room = 40 + 9 * is_theory + 38 * bool(beside)
    for row, sentence in zip(rows, _sentences(out, name, [row["metric"] for row in rows], room), strict=True):
        expected = row["closed_form"] if math.isnan(row["null_mean"]) and not is_theory else row["null_mean"]
        table.add_row(
            text(row["metric"]),
            *(text(_share(each)) for each in (row["value"], expected)),
            text(_share(row["gap"], "+")),
            text(_share(row["p_value"]) if row["p_value"] >= 1e-3 else number(row["p_value"])),
            *([text(_share(row["closed_form"]))] if is_theory else []),
            *_beside(beside, (name, row["metric"])),
            *([text(number(row["n"]))] if with_n else []),
            sentence,
        )
    out.print(text(name, "cyan"))
    out.print(_under(table))
    for label, key in (("null", "null"), ("note", "note")):
        said = list(dict.fromkeys(row[key] for row in rows if row[key]))
        # "200 permutations" says nothing beside "200 permutations; above one half is nearly automatic".
        said = [one for one in said if not any(other != one and other.startswith(one) for other in said)]
        if len(said) > NOTES_TOGETHER:
            said = [f"{', '.join(row['metric'] for row in rows if row[key] == one)}: {one}" for one in said]
            out.print(Padding(text(f"{label}s:", "dim"), (0, 0, 0, 4)))
            for one in said:
                out.print(Padding(text(one, "dim"), (0, 0, 0, 6)))
        elif said:
            out.print(Padding(text(f"{label}: {'; '.join(said)}", "dim"), (0, 0, 0, 4)))


def events(out: Console, run: Run) -> None:
    """Print how many events of each kind there were."""
    import polars as pl

    title(out, "events")
    counts = run.events.group_by("kind").agg(pl.len().alias("n")).sort(["n", "kind"], descending=[True, False])
    if not counts.height:
        out.print(_under(text("none" if run.plan.record_events else "not recorded (--no-events)", "dim")))
        return
    table = plain_table("=kind", ">events")
    for kind, n in counts.iter_rows():
        table.add_row(text(kind), text(number(n)))
    out.print(_under(table))


def difference(out: Console, a: Run, b: Run, found: Difference) -> None:
    """Print where two runs part, whom the difference reaches, and what it does to every metric."""
    pairs(out, [("a", _run_in_words(a)), ("b", _run_in_words(b))])
    first = found.first
    if first is None:
        both = min(a.steps, b.steps)
        differ = [r for r in found.metrics.iter_rows(named=True) if r["difference"] or r["largest"]]
        if found.same_until < both and differ:
            out.print(text(f"something was changed after step {found.same_until}; the steps are the same, what is "
                           "measured of them is not"))  # fmt: skip
            _differences(out, found, both)
        elif found.same_until < both:
            out.print(text(f"something was changed after step {found.same_until}, and nothing follows from it"))
        else:
            out.print(
                text("they have the same steps" if a.steps == b.steps else f"they are the same up to step {both}")
            )
        return
    title(out, "where they part")
    agents = f"agents {', '.join(map(str, first.agents[:SHOWN_AGENTS]))}" if first.agents else "no agent's row"
    more = f" and {len(first.agents) - SHOWN_AGENTS} more" if len(first.agents) > SHOWN_AGENTS else ""
    shared = f"the same up to step {found.same_until}" if found.same_until >= 0 else "different from the start"
    pairs(out, [
        ("step", f"{first.step} ({shared})"), ("in", first.stream), ("of", agents + more),
        ("a", first.a or "nothing there"), ("b", first.b or "nothing there"),
    ])  # fmt: skip
    for line in first.prompts.splitlines():
        out.print(text(line, {"+": "green", "-": "red"}.get(line[:1], "dim")), soft_wrap=True)
    title(out, "whom the difference reaches")
    reached, n = found.reached, max(a.state().height, b.state().height)
    table = plain_table(">after step", ">agents reached", ">of")
    last = min(a.steps, b.steps)
    for t in sorted({first.step, *(first.step + (last - first.step) * k // 5 for k in range(1, 6))}):
        table.add_row(text(t), text(number(int((reached["step"] <= t).sum()))), text(number(n)))
    out.print(_under(table))
    _differences(out, found, last)
    if a.plan.content_hash != b.plan.content_hash:
        out.print(_under(text("note: the scenario's files were not the same, so part of this may be theirs", "dim")))
    if a.plan.seed != b.plan.seed:
        out.print(_under(text("note: the seeds differ, so part of this is chance", "dim")))


def _differences(out: Console, found: Difference, last: int) -> None:
    title(out, f"metrics, b minus a: after step {last}, and over the steps since they part")
    table = plain_table("=", ">a", ">b", ">difference", ">mean since", ">largest", ">at step")
    for row in found.metrics.iter_rows(named=True):
        is_same = row["difference"] in (0, None) or math.isnan(row["difference"])
        if not is_same or row["largest"]:
            values = (number(row[key]) for key in ("a", "b", "difference", "mean_difference", "largest", "largest_at"))
            table.add_row(text(row["metric"]), *map(text, values))
    out.print(_under(table if table.row_count else text("none differs", "dim")))
    if found.findings.height:
        title(out, "findings, b minus a")
        table = plain_table("=", "=", ">a", ">b", ">difference")
        for row in found.findings.iter_rows(named=True):
            table.add_row(
                text(row["observer"]), text(row["metric"]), *(text(_share(row[k])) for k in ("a", "b", "difference"))
            )
        out.print(_under(table))


def _run_in_words(run: Run) -> str:
    forked = run.plan.forked
    origin = f", forked from {forked.run} after step {forked.step}" if forked is not None else ""
    changes = [words for each in run.plan.interventions for words in each.words()]
    changed = f": {'; '.join(changes)}" if changes else ""
    return f"{run.path.resolve().name} (seed {run.plan.seed}, {run.steps} steps{origin}{changed})"


def verification(out: Console, outcome: Verification) -> None:
    """Print each check."""
    table = plain_table("=", "=", "")
    for check in outcome.checks:
        mark = Text("ok", "green") if check.ok else Text("MISMATCH", "bold red")
        table.add_row(mark, text(check.what), text(check.detail))
    out.print(table)
    for check in outcome.checks:
        for line in check.difference.splitlines():
            out.print(text(line, {"+": "green", "-": "red"}.get(line[:1], "")), soft_wrap=True)


def campaign(out: Console, found: CampaignResults, folder: str) -> None:
    """Print what a campaign gave, a point a row, and what to do next."""
    failed = found.results.height - found.done.height
    pairs(out, [
        ("campaign", found.name), ("runs", f"{found.results.height:,} at {len(found.points):,} points"),
        *([("failed", f"{failed:,}: {_reasons(found)}")] if failed else []), ("folder", folder),
    ])  # fmt: skip
    if found.done.height:
        outcome = found.outcome
        title(out, f"{outcome}, with bootstrap intervals")
        frame = found.means()
        table = plain_table(*(f"={name}" for name in found.factors), ">runs", ">mean", ">sd", "=interval")
        for row in frame.head(POINTS_SHOWN).iter_rows(named=True):
            interval = f"[{number(row['low'])}, {number(row['high'])}]"
            values = ("none" if row[name] in (None, "") else number(row[name]) for name in found.factors)
            table.add_row(
                *map(text, values), *(text(number(row[k])) for k in ("n", "mean", "sd")), text(interval, "dim")
            )
        out.print(_under(table))
        if frame.height > POINTS_SHOWN:
            out.print(_under(text(f"and {frame.height - POINTS_SHOWN:,} points more", "dim")))
    title(out, "next")
    is_named = found.path.resolve().parent == find_lab().runs.resolve()
    out.print(text(f"  simworld report {found.name if is_named else folder}"), soft_wrap=True)
    if failed:
        out.print(text("  the same command with --retry-failed"), soft_wrap=True)


def _reasons(found: CampaignResults) -> str:
    errors = found.results.filter(found.results["status"] == "failed")["error"].value_counts(sort=True).head(3)
    return "; ".join(f"{n} × {error}" for error, n in errors.iter_rows())


# -- a lab --------------------------------------------------------------------------------------------------------


def runs(out: Console, found: Sequence[Run | tuple[str, str]], folder: str) -> None:
    """Print the runs of a lab, newest first."""
    if not found:
        out.print(text(f"no run in {folder} yet; make one: simworld run friendship_paradox"), soft_wrap=True)
        return
    # A run's name holds its scenario, so a narrow terminal loses nothing.
    is_wide = out.width >= 110
    table = plain_table("=name", *(["scenario"] if is_wide else []), ">seed", ">steps", "=status", "=digest")
    broken = []
    for run in found:
        if isinstance(run, tuple):
            broken.append(run)
            continue
        try:
            done = str(run.steps)
        except SimworldError as error:  # one damaged folder must not hide the others
            broken.append((run.path.name, str(error)))
            continue
        status = text(run.status, "" if run.status == "finished" else "yellow")
        scenario = [text(run.plan.scenario.rpartition("@")[2])] if is_wide else []
        steps = text(f"{done}/{run.plan.steps}")
        table.add_row(text(run.path.name), *scenario, text(run.plan.seed), steps, status, text((run.digest or "-")[:8]))
    if table.row_count:
        out.print(table)
    for name, why in broken:
        out.print(text(f"{name}  ", "bold red") + text(why), soft_wrap=True)


def scenarios(out: Console, cards: Sequence[ScenarioCard]) -> None:
    """Print every scenario with its purpose."""
    table = plain_table("=scenario", "purpose")
    for card in cards:
        purpose = text(card.error, "red") if card.error else text(card.title)
        if card.shadows is not None:
            purpose += text(" (hides the one of that name that comes with simworld)", "dim")
        table.add_row(text(card.name, "bold"), purpose)
    out.print(table)
    title(out, "next")
    out.print(Text("  simworld list SCENARIO    its parameters\n  simworld run SCENARIO     run it"))


def scenario(out: Console, card: ScenarioCard) -> None:
    """Print one scenario: purpose, sources, parameters."""
    out.print(text(card.name, "bold"))
    if card.title:
        out.print(text(card.title))
    for source in card.sources:
        out.print(text(f"source: {source}", "dim"))
    if card.path is not None:
        out.print(text(shown(card.path), "dim"), soft_wrap=True)
    out.print()
    if card.params is None:
        out.print(text("its parameters are not written where they could be read without running it", "dim"))
    elif not card.params:
        out.print(text("no parameters", "dim"))
    else:
        table = plain_table("=parameter", "default and range")
        for param in card.params:
            default = text("required", "yellow") if param.default is None else text(_plain(param.default))
            unit, allowed = text(f" {param.unit}"), text(f"  {param.range or _choices(param.type)}", "dim")
            doc = f"\n{clean(param.doc)}" if param.doc else ""
            source = f" [{clean(param.source)}]" if param.source else ""
            table.add_row(text(param.name, "bold"), default + unit + allowed + Text(doc) + Text(source, "dim"))
        out.print(table)
    title(out, "next")
    first = next((p for p in card.params or () if p.default is not None), None)
    setting = f" -p {clean(first.name)}={_plain(clean(first.default))}" if first else ""
    out.print(text(f"  simworld run {card.name}{setting}"), soft_wrap=True)


def _plain(default: object) -> str:
    # A text parameter is typed without the quotes its file needs.
    value = str(default)
    return value[1:-1] if len(value) > 2 and value[0] == value[-1] and value[0] in "'\"" else value


def _choices(annotation: str) -> str:
    inside = annotation.removeprefix("Literal[").removesuffix("]")
    return " | ".join(_plain(one.strip()) for one in inside.split(",")) if inside != annotation else ""


def observers(out: Console) -> None:
    """Print the observers, their metrics, and what each means."""
    for name in observer_names():
        table = plain_table("=", "")
        for metric, sentence in describe(name).items():
            table.add_row(text(metric), text(sentence, "dim"))
        doc = (type(observer(name)).__doc__ or "").partition("\n")[0]
        out.print(text(name, "cyan") + text(f"  {doc}"))
        out.print(_under(table))


def memory(out: Console) -> None:
    """Print the retrieval policies with their sources, and how agents remember by default."""
    from simworld.memory import POLICIES, MemorySettings

    title(out, "retrieval policies (--memory policy=NAME)")
    table = plain_table("=", "=", "")
    for policy in POLICIES.values():
        table.add_row(text(policy.name, "bold"), text(f"k={policy.k}"), text(policy.source, "dim"))
    out.print(_under(table))
    title(out, "settings (--memory NAME=VALUE), with their defaults where the scenario says nothing")
    table = plain_table("=", "=", "")
    for name, info in MemorySettings.model_fields.items():
        default = "" if info.default is None else str(info.default)
        doc = " ".join((info.description or "").replace("``", "").replace("`", "").split())
        table.add_row(text(name, "bold"), text(default), text(doc, "dim"))
    out.print(_under(table))


def casts(out: Console, files: Sequence[ContentFile]) -> None:
    """Print the casts a name can find."""
    table = plain_table("=cast", "file")
    for file in files:
        table.add_row(text(file.name, "bold"), text(shown(file.path)))
    out.print(table if files else text("no cast in agents/casts", "dim"))

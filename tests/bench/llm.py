"""Language-model minds against a bare loop with the same prompts, both talking to a server in a process of its own."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from simworld.agent import PromptBook
from simworld.mind.llm import answer_schema, litellm_library
from simworld.run import execute, load_run, prepare, start_run
from tests.bench.chatter import Say
from tests.bench.measure import Goal, Lap, Peak, Report, Row, Size, lap
from tests.server import Latency, ServerProcess

SPEC = f"{Path(__file__).parent / 'chatter.py'}@Chatter"
ANSWER = '{"text": "I heard it too, and I think so as well.", "mood": 4}'
LATENCY_S = 0.05
MAX_TOKENS = 200

# agents, steps of the lean client; agents, steps of litellm; rounds
SIZES = {Size.FULL: (1000, 5, 200, 5, 3), Size.QUICK: (1000, 3, 150, 3, 2), Size.TINY: (20, 2, 20, 1, 1)}


def ours(model: str, base: str, n: int, steps: int, concurrency: int, folder: Path) -> Lap:
    """Time the steps of a recorded run: observation, prompt, call, tape, validation, commit."""
    prepared = prepare(
        SPEC, params={"n_agents": n}, seed=1, steps=steps, models=(model,), asking={"max_tokens": MAX_TOKENS},
        service={"api_base": {"": base}, "concurrency": concurrency}, state_every=0,
    )  # fmt: skip
    path = start_run(prepared, folder)

    took = lap(lambda: execute(prepared, path))
    run = load_run(path)
    assert run.answers["first_try"].sum() == n * steps, run.answers
    return took


def prompts_of(n: int) -> list[list[dict[str, str]]]:
    """Return the messages of one step."""
    from simworld.mind.llm import Rehearsed

    found: list[list[dict[str, str]]] = []
    render = PromptBook.render

    def keep(self: PromptBook, question: Any, schema: Any) -> Any:
        prompts = render(self, question, schema)
        found.extend([{"role": "system", "content": p.system}, {"role": "user", "content": p.user}] for p in prompts)
        return prompts

    PromptBook.render = keep  # type: ignore[method-assign]
    try:
        prepare(SPEC, params={"n_agents": n}, seed=1, models=("local/x",), rehearsed=Rehearsed()).society.step()
    finally:
        PromptBook.render = render  # type: ignore[method-assign]
    return found


def gathered(
    ask: Callable[[list[dict[str, str]]], Any], prompts: list[Any], steps: int, concurrency: int
) -> Callable[[], Any]:
    """Return the bare loop: every prompt of a step at once, so many in flight."""

    async def main() -> None:
        slots = asyncio.Semaphore(concurrency)

        async def one(messages: list[dict[str, str]]) -> None:
            async with slots:
                await ask(messages)

        for _ in range(steps):
            await asyncio.gather(*(one(messages) for messages in prompts))

    return main


def bare_aiohttp(base: str, prompts: list[Any], steps: int, concurrency: int) -> Lap:
    """Time the bare loop over one aiohttp session."""
    import aiohttp

    async def main() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def ask(messages: list[dict[str, str]]) -> None:
                body = to_json({"model": "q", "messages": messages, "max_tokens": MAX_TOKENS, "seed": 1})
                headers = {"Content-Type": "application/json"}
                async with session.post(f"{base}/chat/completions", data=body, headers=headers) as response:
                    await response.json()

            await gathered(ask, prompts, steps, concurrency)()

    return lap(lambda: asyncio.run(main()))


def bare_litellm(base: str, prompts: list[Any], steps: int, concurrency: int) -> Lap:
    """Time the bare loop over litellm.acompletion."""
    litellm = litellm_library()

    async def main() -> None:
        async def ask(messages: list[dict[str, str]]) -> None:
            await litellm.acompletion(
                model="openai/q", messages=messages, api_base=base, api_key="none", max_tokens=MAX_TOKENS, timeout=120,
                max_retries=0, num_retries=0, seed=1, response_format=answer_schema(Say).response_format,
            )  # fmt: skip

        await gathered(ask, prompts, steps, concurrency)()
        await litellm.close_litellm_async_clients()

    return lap(lambda: asyncio.run(main()))


def _row(what: str, laps: list[Lap], n: int, steps: int, peak_mb: float | None = None) -> Row:
    wall, cpu = (statistics.median(getattr(one, clock) for one in laps) for clock in ("wall", "cpu"))
    return Row(what, n, steps, wall, 1e6 * cpu / (n * steps), peak_mb)


def _cpu(ours: Lap, bare: Lap) -> float:
    return ours.cpu / bare.cpu


def _rate(ours: Lap, bare: Lap) -> float:
    return bare.wall / ours.wall


def bench(size: Size) -> Report:
    """Compare both clients with their bare loops."""
    n, steps, few, few_steps, rounds = SIZES[size]
    report = Report("language-model minds, 50 ms latency, server in another process")
    with tempfile.TemporaryDirectory() as folder, ServerProcess(latency=Latency(LATENCY_S), fixed=ANSWER) as server:
        folders = (Path(folder) / str(i) for i in range(1000))
        base = server.base
        ours("local/q", base, 20, 1, 8, next(folders))  # imports
        prompts = prompts_of(n)
        lean: list[Lap] = []
        bare: list[Lap] = []
        peak = 0.0
        for _ in range(rounds):
            bare.append(bare_aiohttp(base, prompts, steps, 256))
            memory = Peak()
            lean.append(ours("local/q", base, n, steps, 256, next(folders)))
            peak = max(peak, memory.mb())
        report.rows += [_row("bare aiohttp loop", bare, n, steps), _row("lean client", lean, n, steps, peak)]
        cpu = statistics.median(one.cpu for one in lean) / (n * steps)
        rate = n * steps / statistics.median(one.wall for one in lean)
        ratio = statistics.median(map(_cpu, lean, bare))
        report.goals += [
            Goal("lean client / bare aiohttp: CPU", ratio, "×", at_most=4.3, note="0.6 ms where bare takes 0.14"),
            Goal("lean client: CPU of an agent-step", 1000 * cpu, "ms", at_most=0.6, note="everything included"),
            Goal("lean client: agent-steps a second", rate, "/s", at_least=1500),
            Goal("memory an agent", 1e6 * peak / n / 1e3, "kB", at_most=50, note="peak beyond the process before"),
        ]
        ours("openai/q", base, 20, 1, 8, next(folders))  # imports
        for concurrency in (16, 64, 256):
            m = max(few, concurrency * 2 if size is Size.FULL else few)
            some = (prompts * (m // len(prompts) + 1))[:m]
            bare, mine = [], []
            for _ in range(rounds):
                bare.append(bare_litellm(base, some, few_steps, concurrency))
                mine.append(ours("openai/q", base, m, few_steps, concurrency, next(folders)))
            pairs = list(zip(mine, bare, strict=True))
            report.rows += [
                _row(f"bare litellm loop, {concurrency} in flight", bare, m, few_steps),
                _row(f"litellm client, {concurrency} in flight", mine, m, few_steps),
            ]
            cpu, rate = (statistics.median(f(a, b) for a, b in pairs) for f in (_cpu, _rate))
            what = f"litellm / bare, {concurrency} in flight"
            report.goals += [
                Goal(f"{what}: CPU", cpu, "×", at_most=1.3),
                Goal(f"{what}: throughput", rate, "×", at_least=0.95),
            ]
    report.notes += [
        "inside the timing: a whole recorded run: observation, prompt, call, tape, validation, commit, findings",
        "the server runs beside it on the same processors; bare loops send the same prompts, seed and max_tokens",
    ]
    return report

"""The mind of a language model: renders what each agent sees, asks all at once, reads the answers, asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from simworld.errors import RunError
from simworld.mind._answers import Answers
from simworld.mind._question import Question
from simworld.mind.llm._model import LanguageModel, Messages, Position, Reply, Request, Sampling, Stopped, text_hash
from simworld.mind.llm._read import Read, read
from simworld.mind.llm._schema import AnswerSchema, answer_schema
from simworld.mind.llm._service import Asking
from simworld.mind.llm._switchboard import Switchboard
from simworld.mind.llm._tape import Tally
from simworld.schema import Decision, Refusal

SHOWN_AGAIN = 2_000
"""Characters of a bad answer that its author is shown again; arbitrary."""


class Prompt(NamedTuple):
    """What one agent is told: first what all share, then what is its own, so that servers can reuse the beginning."""

    system: str
    user: str


class Renderer(Protocol):
    """Makes prompts of a question."""

    def render(self, question: Question, schema: AnswerSchema) -> Sequence[Prompt]:
        """Return one prompt an agent asked, in the order asked."""
        ...

    def again(self, fault: str) -> str:
        """Return what a model is told whose answer could not be used."""
        ...


class ModelMind:
    """Answers by asking a language model; what cannot be used is asked again, then refused."""

    def __init__(
        self,
        label: str,
        board: Switchboard,
        renderer: Renderer,
        *,
        model: LanguageModel,
        asking: Asking | None = None,
        replicate: str = "",
    ) -> None:
        """
        Args:
            label: the model's name.
            board: where coroutines run, and where calls are kept.
            renderer: makes the prompts.
            model: what is asked.
            asking: how it is asked.
            replicate: names the replicate of the run, for a cache across runs.
        """
        self.label = label
        self._board = board
        self._renderer = renderer
        self._model = model
        self._asking = asking or Asking()
        self._sampling = Sampling(self._asking.temperature, self._asking.max_tokens)
        self._replicate = replicate
        self._system_hashes: dict[str, bytes] = {}

    def decide(self, question: Question) -> Answers:
        """Ask every agent and wait for the answers.

        Raises:
            ModelError: the model cannot be used or does not answer.
            TapeError: the run is repeated from a tape that holds something else.
            BudgetSpent: the next call could exceed a limit.
        """
        return self.begin(question)()

    def begin(self, question: Question) -> Callable[[], Answers]:
        """Ask every agent; return what waits for the answers, so that several minds can be asked at once."""
        if self._board.is_waiting:
            raise RunError(
                f"{question.decision.__name__} is asked of {self.label!r} while the society is being made; ask in a "
                "step, not in setup: what is asked before the run begins is on no tape"
            )
        if self._board.stopped:
            raise Stopped(f"{self.label!r} is asked after something ended the run")
        schema = answer_schema(question.decision)
        prompts = self._renderer.render(question, schema)
        if not len(question.ids):
            return lambda: Answers(question, [])
        future = self._board.start(self._ask_all(question, schema, prompts))
        return lambda: Answers(question, self._board.wait(future))

    async def _ask_all(
        self, question: Question, schema: AnswerSchema, prompts: Sequence[Prompt]
    ) -> list[Decision | Refusal]:
        occurrences = question.occurrences
        turns = [occurrences] * len(prompts) if isinstance(occurrences, int) else occurrences.tolist()
        asked = zip(question.ids.tolist(), turns, question.observations(), prompts, strict=True)
        found = await asyncio.gather(
            *(self._ask(question, schema, agent, turn, seen, prompt) for agent, turn, seen, prompt in asked),
            return_exceptions=True,
        )
        # Calls under way were let finish, so that what was paid for is kept; then the first failure ends the step.
        if any(isinstance(each, BaseException) for each in found):
            # It may have been another mind's; whoever is waited for first tells it.
            raise self._board.failure or Stopped("the run was stopped")
        tally = [each[1] for each in found]  # type: ignore[index]
        n = Tally(
            question.step, self.label, question.decision.__name__, len(tally),
            *(tally.count(kind) for kind in ("first_try", "repaired", "again", "refused")),
        )  # fmt: skip
        self._board.log.tape.count([n])
        return [each[0] for each in found]  # type: ignore[index]

    async def _ask(
        self, question: Question, schema: AnswerSchema, agent: int, turn: int, seen: Any, prompt: Prompt
    ) -> tuple[Decision | Refusal, str]:
        messages: Messages = (("system", prompt.system), ("user", prompt.user))
        hashes: tuple[bytes, ...] = (self._hash_of_system(prompt.system), text_hash(prompt.user))
        board, task = self._board, asyncio.current_task()
        assert task is not None
        board.asking.add(task)
        try:
            for attempt in range(self._asking.attempts):
                if board.stopped:
                    raise Stopped("the run was stopped")
                position = Position(question.step, question.purpose, agent, turn, attempt)
                seed = question.chance.seed_of("sampling", self._replicate, *position) & 0x7FFFFFFF
                request = Request(
                    self.label, messages, position, schema, self._sampling, seed, self._replicate, hashes
                )  # fmt: skip
                reply = await self._model.complete(request)
                answer, is_repaired = self._read(question, reply, agent, seen)
                if not isinstance(answer, Refusal):
                    return answer, "again" if attempt else "repaired" if is_repaired else "first_try"
                where = f"{answer.field}: " if answer.field else ""
                more = (
                    ("assistant", reply.text[:SHOWN_AGAIN] or "(no answer)"),
                    ("user", self._renderer.again(f"{where}{answer.reason}")),
                )
                # Only the last bad answer is shown again: a prompt must not grow with every attempt.
                messages, hashes = (*messages[:2], *more), (*hashes[:2], *(text_hash(text) for _, text in more))
        except BaseException as failure:
            if not board.stopped:
                board.stop(failure)
            raise
        finally:
            board.asking.discard(task)
        return answer, "refused"

    def _read(self, question: Question, reply: Reply, agent: int, seen: Any) -> Read:
        found = read(question.decision, reply.text, reply.finish)
        if isinstance(found.answer, Refusal) or question.check is None:
            return found
        fault = question.check(agent, found.answer, seen)
        if fault is None:
            return found
        return Read(Refusal(decision=question.decision.__name__, field=fault[0], reason=fault[1]))

    def _hash_of_system(self, system: str) -> bytes:
        found = self._system_hashes.get(system)
        if found is None:
            found = self._system_hashes[system] = text_hash(system)
        return found

"""The mind of a language model under the suite that every mind passes, and what asking again adds to it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import simworld as sw
from simworld.agent import PromptBook
from simworld.errors import BudgetSpent, ModelError
from simworld.mind import Mind, Question, possible
from simworld.mind.llm import (
    AnswerSchema,
    Asking,
    Budgeted,
    LanguageModel,
    Ledger,
    MemoryTape,
    ModelMind,
    Price,
    Prompt,
    Reply,
    Request,
    Service,
    Stopped,
    Switchboard,
    Taped,
)
from tests.contract.mind_contract import MindContract, N, Probe, Seen
from tests.llm import Outcome, ScriptedModel
from tests.server.minds import draw

TONES = ("calm", "angry", "glad")
ATTEMPTS = 3


class Short:
    """Makes prompts of one line."""

    def render(self, question: Question, schema: AnswerSchema) -> Sequence[Prompt]:
        return [Prompt("Decide.", f"mood {seen.mood!r}") for seen in question.observations()]

    def again(self, fault: str) -> str:
        return f"No: {fault}"


def by_words(request: Request) -> str:
    """Answer by what is said first, and by whose question it is: the seed names it."""
    about = request.messages[1][1], request.seed
    return json.dumps(
        {
            "speak": draw("speak", about) < 0.5, "tone": TONES[int(draw("tone", about) * 3)],
            "effort": int(draw("effort", about) * 10), "share": draw("share", about),
        }
    )  # fmt: skip


def agent_of(request: Request) -> int:
    return request.position.agent


def unequal(request: Request) -> float:
    """Return a time to answer that has nothing to do with the order asked, seconds."""
    return draw("latency", request.seed) / 100


def sending(model: LanguageModel, board: Switchboard) -> LanguageModel:
    """Wrap a model as a board does: its calls are kept, and finish when something ends the run."""
    return Taped(Budgeted(model, board.ledger, None, board.log, board._uncut), board.log)


class AModel(MindContract):
    """Means of the cases below: a mind on a board of its own."""

    @pytest.fixture(autouse=True)
    def boards(self) -> Iterator[None]:
        self.made: list[Switchboard] = []
        yield
        for board in self.made:
            board.close()

    def script(self, request: Request) -> Outcome:
        return by_words(request)

    def asked_of(
        self,
        script: Callable[[Request], Outcome] | None = None,
        *,
        wrapped: Callable[[ScriptedModel, Switchboard], LanguageModel] | None = None,
        renderer: Any = None,
        replicate: str = "",
        **asking: Any,
    ) -> ModelMind:
        board = Switchboard(Service())
        self.made.append(board)
        self.model = ScriptedModel(script or self.script, seconds=unequal)
        return ModelMind(
            "scripted", board, renderer or Short(), model=wrapped(self.model, board) if wrapped else self.model,
            asking=Asking(attempts=ATTEMPTS, **asking), replicate=replicate,
        )  # fmt: skip

    def mind(self) -> Mind:
        return self.asked_of()

    @pytest.mark.parametrize("as_list", [False, True])
    def test_an_impossible_answer_becomes_a_refusal(self, as_list: bool) -> None:
        """As of every mind; but who gave it is asked again first, up to the attempts there are."""
        checked: list[tuple[int, float]] = []

        def check(agent: int, decision: Any, observation: Any) -> tuple[str, str] | None:
            assert type(decision) is Probe
            checked.append((agent, observation.mood))
            return ("effort", f"agent {agent} may not") if agent % 3 == 0 else None

        changed: dict[str, Any] = {"check": check}
        ids = list(range(40))[::-1]
        if as_list:
            changed["observe"] = [Seen(i / N) for i in ids]
        asked = self.question(ids, **changed)
        answers = possible(asked, self.mind().decide(asked))
        plain = self.answers(ids)
        for agent, answer, was in zip(ids, answers, plain, strict=True):
            if agent in self.refuses or agent % 3:
                assert answer == was
            else:
                assert answer == sw.Refusal(decision="Probe", field="effort", reason=f"agent {agent} may not")
        # Once each in the mind and once more by the society's own check; the impossible ones only in the mind.
        expected = {i: ATTEMPTS if i % 3 == 0 else 2 for i in ids if i not in self.refuses}
        assert Counter(agent for agent, _ in checked) == expected
        assert {mood for agent, mood in checked if agent == 7} <= {7 / N}


class TestAModel(AModel):
    """Answers at once."""

    # -- calls --------------------------------------------------------------------------------------------------

    def test_every_agent_is_asked_once_and_all_at_once(self) -> None:
        self.asked_of().decide(self.question(range(N)))
        assert sorted(map(agent_of, self.model.asked)) == list(range(N))
        assert self.model.most_under_way == N

    def test_what_is_asked_does_not_depend_on_who_answers_first(self) -> None:
        def calls(seconds: Callable[[Request], float]) -> list[Request]:
            mind = self.asked_of()
            self.model._seconds = seconds
            mind.decide(self.question(range(60)))
            return sorted(self.model.asked, key=agent_of)

        assert calls(lambda r: agent_of(r) / 3000) == calls(lambda r: (60 - agent_of(r)) / 3000) == calls(unequal)

    def test_every_call_has_a_position_and_a_seed_of_its_own(self) -> None:
        ids, turns = [8, 9, 8, 9, 8], np.array([0, 0, 1, 1, 2])
        self.asked_of().decide(self.question(ids, occurrences=turns))
        positions = [request.position for request in self.model.asked]
        assert sorted((p.agent, p.occurrence) for p in positions) == sorted(zip(ids, turns.tolist(), strict=True))
        assert {(p.step, p.purpose, p.attempt) for p in positions} == {(3, "Probe", 0)}
        seeds = [request.seed for request in self.model.asked]
        assert len(set(seeds)) == len(ids)
        assert all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)

    def test_a_replicate_has_seeds_of_its_own(self) -> None:
        seeds = []
        for replicate in ("0/0", "0/1", "0/0"):
            self.asked_of(replicate=replicate).decide(self.question([1, 2, 3]))
            seeds.append([request.seed for request in sorted(self.model.asked, key=agent_of)])
            assert {request.replicate for request in self.model.asked} == {replicate}
        assert seeds[0] == seeds[2]
        assert not set(seeds[0]) & set(seeds[1])

    def test_how_it_is_asked_is_what_the_plan_says(self) -> None:
        self.asked_of(temperature=0.25, max_tokens=77).decide(self.question([1]))
        assert self.model.asked[0].sampling == (sampling := self.model.asked[0].sampling)
        assert (sampling.temperature, sampling.max_tokens) == (0.25, 77)
        assert self.model.asked[0].model == "scripted"

    # -- asking again -------------------------------------------------------------------------------------------

    def test_who_answers_badly_is_told_why_and_asked_again(self) -> None:
        bad = '{"speak": true, "tone": "furious", "effort": 1, "share": 0.5}'
        mind = self.asked_of(lambda r: by_words(r) if r.position.attempt else bad)
        (answer,) = mind.decide(self.question([5]))
        assert type(answer) is Probe
        first, second = self.model.asked
        assert [request.position.attempt for request in (first, second)] == [0, 1]
        assert second.messages[:2] == first.messages
        assert [role for role, _ in second.messages] == ["system", "user", "assistant", "user"]
        assert second.messages[2] == ("assistant", bad)
        assert re.match(r"No: tone: .*furious", second.messages[3][1])
        assert second.seed != first.seed, "the same draw would give the same answer"

    def test_a_prompt_does_not_grow_with_every_attempt(self) -> None:
        mind = self.asked_of(lambda r: f"bad answer {r.position.attempt} " + "x" * 100_000)
        (answer,) = mind.decide(self.question([5]))
        assert isinstance(answer, sw.Refusal)
        assert [len(request.messages) for request in self.model.asked] == [2, 4, 4]
        assert self.model.asked[2].messages[2][1].startswith("bad answer 1")
        assert all(request.n_bytes < 10_000 for request in self.model.asked)

    def test_an_empty_answer_is_asked_again_in_words_a_server_takes(self) -> None:
        mind = self.asked_of(lambda r: by_words(r) if r.position.attempt else "")
        assert type(mind.decide(self.question([5]))[0]) is Probe
        assert all(text for _, text in self.model.asked[1].messages), "some servers refuse an empty message"

    def test_after_the_attempts_there_is_a_refusal_and_no_further_call(self) -> None:
        mind = self.asked_of(lambda r: "I'd rather not." if agent_of(r) == 2 else by_words(r))
        answers = mind.decide(self.question([1, 2, 3]))
        assert answers.refused.tolist() == [False, True, False]
        assert Counter(map(agent_of, self.model.asked)) == {1: 1, 2: ATTEMPTS, 3: 1}

    def test_how_answers_turned_out_is_counted(self) -> None:
        def script(request: Request) -> Outcome:
            good, agent = by_words(request), agent_of(request)
            if agent == 1:
                return f"```json\n{good}\n```"
            if agent == 2:
                return good if request.position.attempt else "hm"
            if agent == 3:
                return "hm"
            return Reply(good, "length", 5, 5) if agent == 4 else good

        mind = self.asked_of(script)
        mind.decide(self.question(range(10)))
        tape = self.made[-1].log.tape
        assert isinstance(tape, MemoryTape)
        (tally,) = tape.tallies
        assert (tally.step, tally.model, tally.decision) == (3, "scripted", "Probe")
        assert (tally.asked, tally.first_try, tally.repaired, tally.again, tally.refused) == (10, 6, 1, 1, 2)

    # -- failures -----------------------------------------------------------------------------------------------

    def test_a_model_that_cannot_be_used_ends_the_step_and_nothing_more_is_sent(self) -> None:
        def script(request: Request) -> Outcome:
            if agent_of(request) == 7:
                return ModelError("model 'scripted' cannot be asked: no key")
            return "hm"  # would be asked again

        mind = self.asked_of(script)
        self.model._seconds = lambda request: 0.0 if agent_of(request) == 7 else 0.02
        with pytest.raises(ModelError, match="no key"):
            mind.decide(self.question(range(20)))
        assert len(self.model.asked) == 20

    def test_who_asks_again_after_the_end_is_told_so(self) -> None:
        mind = self.asked_of(lambda request: ModelError("down"))
        with pytest.raises(ModelError, match="down"):
            mind.decide(self.question(range(3)))
        n = len(self.model.asked)
        for ids in (range(3), [7]):
            with pytest.raises(Stopped, match="'scripted' is asked after something ended the run"):
                mind.decide(self.question(ids))
        assert len(self.model.asked) == n

    def test_who_asks_after_another_mind_ended_the_run_is_told_so(self) -> None:
        mind = self.asked_of()
        self.made[-1].stopped = True
        with pytest.raises(Stopped, match="ended the run"):
            mind.begin(self.question(range(3)))
        assert not self.model.asked
        assert self.made[-1]._thread is None, "nothing was begun"

    def test_what_failed_is_told_and_not_that_others_stopped(self) -> None:
        """Whoever came first in the question only stopped, because somebody later failed."""

        def script(request: Request) -> Outcome:
            return ModelError("down") if agent_of(request) == 9 else "hm"

        mind = self.asked_of(script)
        self.model._seconds = lambda request: 0.0 if agent_of(request) == 9 else 0.03
        with pytest.raises(ModelError, match="down"):
            mind.decide(self.question(range(10)))
        assert len(self.model.asked) == 10, "nobody is asked again after it"

    def test_what_was_under_way_when_one_failed_is_kept(self) -> None:
        def script(request: Request) -> Outcome:
            return ModelError("down") if agent_of(request) == 0 else by_words(request)

        mind = self.asked_of(script, wrapped=sending)
        self.model._seconds = lambda request: 0.0 if agent_of(request) == 0 else 0.05
        with pytest.raises(ModelError, match="down"):
            mind.decide(self.question(range(10)))
        tape = self.made[-1].log.tape
        assert isinstance(tape, MemoryTape)
        assert sorted(position.agent for position in tape.calls) == list(range(1, 10))

    def test_a_budget_that_is_spent_ends_the_step(self) -> None:
        ledger = Ledger(max_tokens_total=1_200)
        mind = self.asked_of(
            wrapped=lambda model, board: Budgeted(model, ledger, Price(0.0, 0.0), board.log), max_tokens=100
        )
        with pytest.raises(BudgetSpent):
            mind.decide(self.question(range(N)))
        assert 0 < ledger.tokens <= 1_200

    def test_two_minds_can_wait_at_once(self) -> None:
        mind, other = self.asked_of(), self.asked_of()
        waits = [mind.begin(self.question([1, 2])), other.begin(self.question([3]))]
        assert [list(wait()) for wait in waits] == [self.answers([1, 2]), self.answers([3])]

    def test_nobody_asked_nothing_sent(self) -> None:
        mind = self.asked_of()
        assert list(mind.decide(self.question([]))) == []
        assert not self.model.asked
        assert self.made[-1]._thread is None


class TestAModelWithTheBook(AModel):
    """Told what the shipped prompts say."""

    def mind(self) -> Mind:
        return self.asked_of(renderer=PromptBook())

    def test_a_list_and_columns_are_seen_alike(self) -> None:
        ids = [3, 4, 5]
        by_list = self.answers(ids, observe=[{"mood": i / N} for i in ids])
        assert by_list == self.answers(ids)

    def test_an_impossible_answer_becomes_a_refusal(self) -> None:
        """Observations given one by one must have named values to be shown; the rest is as above."""
        super().test_an_impossible_answer_becomes_a_refusal(False)


class TestAModelThatWrapsItsAnswers(AModel):
    """Every answer stands in a fence, with words around it, after thoughts."""

    def script(self, request: Request) -> Outcome:
        said = by_words(request).replace("}", ",}")
        return f"<think>What would I do? {{maybe}}</think>Certainly!\n```json\n{said}\n```\nHope this helps."


LIES = (
    "I'm sorry, but I can't take part in that.", "", "[]", "null", "{}", '"yes"', "{{{", "<think>", "\x00", "[" * 5000,
    '{"speak": true, "tone": "calm", "effort": 10, "share": 0.5}',
    '{"speak": true, "tone": "calm", "effort": "4", "share": 0.5}',
    '{"speak": true, "tone": "calm", "effort": 4.5, "share": 0.5}',
    '{"speak": 1, "tone": "calm", "effort": 4, "share": 0.5}',
    '{"speak": true, "tone": "calm", "effort": 4, "share": NaN}',
    '{"speak": true, "tone": "calm", "effort": 4, "share": 1e999}',
    '{"speak": true, "tone": "ca\\nlm", "effort": 4, "share": 0.5}',
    '{"speak": true, "tone": "calm", "effort": 4, "share": 0.5, "mood": 3}',
    '{"speak": true, "tone": "calm", "effort": 4, "sha\\nre": 0.5, "share": 0.5}',
    '{"speak": true, "tone": null, "effort": 4, "share": 0.5}',
)  # fmt: skip
"""What a model may say that cannot be used."""


class TestALyingModel(AModel):
    """Every third agent's model says something that cannot be used, however often it is asked."""

    refuses = frozenset(range(0, N, 3))

    def script(self, request: Request) -> Outcome:
        agent = agent_of(request)
        return LIES[agent // 3 % len(LIES)] if agent % 3 == 0 else by_words(request)


class TestAModelThatIsCutOff(AModel):
    """Every third agent's answers end too early; whole or not, they are not used."""

    refuses = frozenset(range(0, N, 3))

    def script(self, request: Request) -> Outcome:
        said, agent = by_words(request), agent_of(request)
        if agent % 3:
            return said
        return Reply(
            said if agent % 2 else said[: len(said) // 2], ("length", "content_filter", "too_long")[agent // 3 % 3]
        )

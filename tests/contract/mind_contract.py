"""What every mind owes the society it serves. Subclass `MindContract`, return your mind, and pytest does the rest::

class TestMyMind(MindContract):
    def mind(self):
        return MyMind()
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

import simworld as sw
from simworld.mind import Answers, Columns, Mind, Question, possible
from simworld.rng import Chance


class Probe(sw.Decision):
    """The question that is asked: a field of every kind that decisions are made of."""

    speak: bool = sw.field(doc="Whether to speak.")
    tone: Literal["calm", "angry", "glad"] = sw.field(doc="How.")
    effort: int = sw.field(doc="Effort.", ge=0, le=9)
    share: float = sw.field(doc="Share given away.", ge=0, le=1)


N = 300
"""Rows of the society that is asked; more than one agent in `simworld.rng` FEW, so that both ways of drawing occur."""


class Seen:
    """An observation given one by one."""

    def __init__(self, mood: float) -> None:
        self.mood = mood


class MindContract:
    """The obligations; ``repeats`` and ``by_agent`` say which of them a mind claims."""

    repeats = True
    """Asked the same again, it answers the same."""
    by_agent = True
    """An agent's answer does not depend on who else is asked."""
    takes_lists = True
    """Observations may be given one by one, not only as columns."""
    refuses: frozenset[int] = frozenset()
    """Agents whose answers are refusals; all others answer."""

    def mind(self) -> Mind:
        """Return the mind under test, fresh."""
        raise NotImplementedError

    # -- means --------------------------------------------------------------------------------------------------

    def question(self, ids: Any, **changed: Any) -> Question:
        """Return the probe question to these agents: each sees its own mood, a number."""
        ids = np.asarray(ids, np.int64)
        how: dict[str, Any] = {
            "decision": Probe, "purpose": "Probe", "ids": ids, "occurrences": 0,
            "observe": Columns({"mood": ids / N}, len(ids)), "chance": Chance(17), "step": 3, "n_agents": N,
        }  # fmt: skip
        return Question(**{**how, **changed})

    def answers(self, ids: Any, **changed: Any) -> list[Any]:
        return list(self.mind().decide(self.question(ids, **changed)))

    # -- obligations --------------------------------------------------------------------------------------------

    def test_it_is_a_mind_with_a_label(self) -> None:
        mind = self.mind()
        assert isinstance(mind, Mind)
        assert isinstance(mind.label, str)
        assert mind.label.strip() == mind.label != ""
        assert "\n" not in mind.label

    @pytest.mark.parametrize("ids", [[], [5], [2, 1, 0], list(range(N)), [7, 299, 7, 7]])
    def test_one_answer_an_agent_asked_in_the_order_asked(self, ids: list[int]) -> None:
        answers = self.mind().decide(self.question(ids, occurrences=np.zeros(len(ids), np.int64)))
        assert isinstance(answers, Answers)
        assert answers.ids.tolist() == ids
        assert len(answers) == len(list(answers)) == len(ids)
        assert [agent for agent, _ in answers.pairs()] == ids

    def test_every_answer_is_a_valid_decision_or_a_typed_refusal(self) -> None:
        answers = self.mind().decide(self.question(range(N)))
        for at, answer in enumerate(answers):
            if at in self.refuses:
                assert isinstance(answer, sw.Refusal), f"agent {at} should have been refused: {answer!r}"
                assert answer.decision == "Probe"
                assert answer.reason
                assert "\n" not in answer.reason
                assert "\n" not in answer.field
            else:
                assert type(answer) is Probe, f"agent {at} should have answered: {answer!r}"
                assert Probe.model_validate(answer.model_dump()) == answer
        assert set(answers.refusals) == set(self.refuses)
        assert np.flatnonzero(answers.refused).tolist() == sorted(self.refuses)

    def test_columns_say_what_the_objects_say(self) -> None:
        marks = {"speak": False, "tone": "", "effort": -1, "share": -1.0}
        answers = self.mind().decide(self.question(range(N)))
        columns = {name: answers.column(name, refused=mark).tolist() for name, mark in marks.items()}
        for at, answer in enumerate(answers):
            found = {name: column[at] for name, column in columns.items()}
            assert found == (marks if isinstance(answer, sw.Refusal) else answer.model_dump())

    def test_a_column_asks_what_a_refusal_means(self) -> None:
        answers = self.mind().decide(self.question([0, 1]))
        with pytest.raises(TypeError, match="refused"):
            answers.column("effort")  # type: ignore[call-arg]
        with pytest.raises(KeyError, match="no field 'efort'"):
            answers.column("efort", refused=0)

    def test_asked_again_it_answers_the_same(self) -> None:
        if self.repeats:
            mind = self.mind()
            first = list(mind.decide(self.question(range(N))))
            assert list(mind.decide(self.question(range(N)))) == first
            assert self.answers(range(N)) == first

    def test_an_answer_does_not_depend_on_who_else_is_asked(self) -> None:
        if self.by_agent and self.repeats:
            everybody = self.answers(range(N))
            for ids in ([299], [4, 3, 298], list(range(N))[::-1], list(range(0, N, 2))):
                assert self.answers(ids) == [everybody[i] for i in ids]

    def test_an_agent_asked_twice_is_two_questions(self) -> None:
        if self.by_agent and self.repeats:
            ids, turns = [8, 9, 8, 9, 8], np.array([0, 0, 1, 1, 2])
            together = self.answers(ids, occurrences=turns)
            alone = [self.answers([i], occurrences=np.array([k]))[0] for i, k in zip(ids, turns, strict=True)]
            assert together == alone

    def test_a_list_and_columns_are_seen_alike(self) -> None:
        if self.takes_lists and self.repeats:
            assert self.answers(range(N), observe=[Seen(i / N) for i in range(N)]) == self.answers(range(N))

    def test_what_the_question_holds_is_not_touched(self) -> None:
        ids = np.arange(N)
        mood = ids / N
        question = self.question(ids, observe=Columns({"mood": mood}, N))
        self.mind().decide(question)
        assert np.array_equal(ids, np.arange(N))
        assert np.array_equal(mood, np.arange(N) / N)

    @pytest.mark.parametrize("as_list", [False, True])
    def test_an_impossible_answer_becomes_a_refusal(self, as_list: bool) -> None:
        if as_list and not self.takes_lists:
            return
        seen: list[tuple[int, Any]] = []

        def check(agent: int, decision: Any, observation: Any) -> tuple[str, str] | None:
            assert type(decision) is Probe
            seen.append((agent, observation.mood))
            return ("effort", f"agent {agent} may not") if agent % 3 == 0 else None

        changed: dict[str, Any] = {"check": check}
        ids = list(range(40))[::-1]
        if as_list:
            changed["observe"] = [Seen(i / N) for i in ids]
        asked = self.question(ids, **changed)
        # A mind may look at the check itself (to ask again); the world has the last word.
        answers = possible(asked, self.mind().decide(asked))
        plain = self.answers(ids)
        assert seen == [(i, i / N) for i in ids if i not in self.refuses]
        for agent, answer, was in zip(ids, answers, plain, strict=True):
            if agent in self.refuses or agent % 3:
                assert answer == was
            else:
                assert answer == sw.Refusal(decision="Probe", field="effort", reason=f"agent {agent} may not")

    def test_the_process_wide_generators_are_left_alone(self) -> None:
        import random

        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        self.answers(range(N))
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002

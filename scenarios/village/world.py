"""A village of people who remember, in which news spreads by word of mouth alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

import numpy as np

import simworld as sw

from . import rules
from .decisions import Attend, AttendView, Chunk, Known, Meet, MeetView, Person, Plan, PlanView, Talk, TalkView
from .news import Knowledge, News, parse
from .observers import Acquaintance, Diffusion, Reflections
from .places import (
    WEEK,
    clock,
    every_place,
    is_weekend,
    merged,
    minutes,
    packed,
    settled,
    together,
    unpacked,
    where,
)  # fmt: skip

PLAN_AT = 5 * 60
"""Minute of the day at which days are planned. [design]"""
IMPORTANCE = {
    "saw": 0.1, "said": 0.2, "talked": 0.3, "told": 0.6, "seeded": 0.9, "planned": 0.5, "went": 0.5, "knows": 0.5,
}  # fmt: skip
"""Importance of what happens, 0 to 1: routine 1 and life event 10 of ten. Placeholders. [design]"""


class Params(sw.Params):
    n_agents: int = sw.field(25, ge=2, unit="agents", doc="Villagers.", source="Park et al. 2023")
    step_minutes: int = sw.field(10, ge=1, le=120, unit="minutes", doc="Length of a step.")
    starts_at: int = sw.field(
        7, ge=0, le=23, unit="hours", doc="Hour of day 1, a Monday, at which the first step begins."
    )
    rules: Literal["paper", "released_code"] = sw.field(
        "paper", doc="Retrieval as published, or as the released code has it, the oldest memory first."
    )
    news: str = sw.field(
        "party; candidacy",
        doc="What is to spread: party, candidacy, or 'WHO: TEXT', with [day 2 18:00-20:00 at PLACE] for an event.",
    )
    host: str = sw.field("odile", doc="Who gives the party: id, name or number.")
    candidate: str = sw.field("desmond", doc="Who stands for the council: id, name or number.")
    party_day: int = sw.field(2, ge=1, unit="days", doc="Day of the party, from 1.")
    party_start: str = sw.field("19:00", doc="When the party begins.")
    party_end: str = sw.field("21:00", doc="When the party ends.")
    attention: int = sw.field(3, ge=1, le=25, unit="people", doc="People noticed in a step.", source="code")
    retention: int = sw.field(
        5, ge=0, le=100, unit="records", doc="Latest observations that are not stored again.", source="code"
    )
    max_turns: int = sw.field(6, ge=1, le=50, unit="turns", doc="Turns of a conversation, at most.")
    rest_steps: int = sw.field(3, ge=0, le=1000, unit="steps", doc="Steps after a conversation without another.")
    cooldown_steps: int = sw.field(
        12, ge=0, le=1000, unit="steps", doc="Steps before the same two talk again, unless they talked to others."
    )


class Villager(sw.Agent):
    home: str = ""
    place: str = ""
    activity: str = ""
    awake: bool = False
    plan: str = ""
    """The day's stretches, as JSON."""
    partner: int = -1
    """Whom it talked to last."""
    talked_at: int = -1000
    """Step of that conversation."""
    going: str = "[]"
    """Numbers of the pieces of news it has decided to go to, as JSON."""
    attended: str = "[]"
    """Numbers of those it was at."""
    conversations: int = 0
    unsupported: int = 0
    """Pieces of news it mentioned without holding them in memory: hallucinated knowledge."""


class Conversation(sw.Entity):
    first: int = -1
    second: int = -1
    began: int = 0
    turns: int = 0
    told: str = "[]"
    """Pieces of news mentioned by somebody who held them: [speaker, number], as JSON."""


class Village(sw.World):
    """How far does news spread, and who turns up, when villagers only meet, remember and talk?"""

    Params = Params
    agent_classes = (Villager,)
    entities = {"conversations": Conversation}
    ties = ("acquaintance", "talk")
    with_personas = True
    starting_cast = "village"
    policies = rules.POLICIES
    default_steps = 288
    observers = (Diffusion, Acquaintance, Reflections)

    @property
    def remembers(self) -> sw.MemorySettings:
        is_paper = self.params.rules == "paper"
        return sw.MemorySettings(
            policy="paper" if is_paper else "reverie",
            hours_per_step=self.params.step_minutes / 60,
            thought_expiry=None if is_paper else 30 * 24 * 60 // self.params.step_minutes,
            importance_table=IMPORTANCE,
        )

    def setup(self) -> None:
        self.restored()
        self.table["home"] = np.array(self.homes, object)
        for agent in range(self.table.n):
            self.table["plan"][agent] = packed(self.usual(agent, 1))
        self._know_each_other()
        for item in self.news:
            self.remember(item.holder, self.own_words(item), "event", subject=item.holder, predicate="seeded",
                          object=item.name)  # fmt: skip
            self.emit("seed", agent=item.holder, item=item.number, text=item.text)

    def restored(self) -> None:
        self.homes, self.workdays, self.weekends = settled(self.personas, self.chance)
        notes: list[str] = []
        self.news: list[News] = parse(self.params.news, self.params, self.personas, self.place_of, notes)
        if self.t == 0:
            self.notes += notes
        events = [item.event.place for item in self.news if item.event is not None]
        self.places = tuple(sorted({*every_place(self.homes, self.workdays, self.weekends), *events}))
        self.knowledge = Knowledge(self.news, self.table.n)

    def place_of(self, agent: int) -> str:
        """Where somebody gives a party: the place outside home where they spend most of a workday."""
        spent: dict[str, int] = {}
        for c in self.workdays[agent]:
            if c.place != self.homes[agent]:
                spent[c.place] = spent.get(c.place, 0) + minutes(c.end) - minutes(c.start)
        return max(sorted(spent), key=lambda place: spent[place], default=self.homes[agent])

    def own_words(self, item: News) -> str:
        name = self.personas[item.holder].name
        return f"{item.text} That is mine to tell: I am {name}." if name in item.text else item.text

    def _know_each_other(self) -> None:
        """Tie and remember those whose personas are related, else those who share a home."""
        at = {person.id: i for i, person in enumerate(self.personas)}
        kinds: dict[tuple[int, int], str] = {}
        closeness: dict[tuple[int, int], float] = {}
        for i, person in enumerate(self.personas):
            for relation in person.relations:
                j = at.get(relation.target)
                if j is not None:
                    kinds.setdefault((i, j), relation.kind)
                    closeness.setdefault((min(i, j), max(i, j)), relation.closeness or 0.5)
        related = {i for pair in closeness for i in pair}
        for i, home in enumerate(self.homes):
            for j in range(i + 1, self.table.n):
                if self.homes[j] == home and not (i in related and j in related):
                    closeness.setdefault((i, j), 0.5)
        for (i, j), close in sorted(closeness.items()):
            self.graph.add(i, j, close)
            for one, two in ((i, j), (j, i)):
                kind = kinds.get((one, two), "acquaintance" if (two, one) in kinds else "housemate")
                name = self.name_of(two)
                is_plain = kind in ("acquaintance", "other")
                words = f"{name} is somebody I am acquainted with." if is_plain else f"I am {name}'s {kind}."
                self.remember(one, words, "formative", subject=two, predicate="knows")

    # -- one step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        day, minute = self.clock_time()
        if self.t == 1 or 0 <= minute - PLAN_AT < self.params.step_minutes:
            self.plan_day(day)
        self.move(day, minute)
        groups = together({i: self.table["place"][i] for i in self.ids[self.table["awake"][self.ids]].tolist()})
        self.perceive(groups)
        self.commit_memories()
        self.talk(groups)
        self.commit_memories()
        self.knowledge.update(self.memory)
        self.decide_to_go(day, minute)
        self.reflect()
        self.consolidate()

    def clock_time(self) -> tuple[int, int]:
        """Return day, from 1, and minute of the day at which the step at hand begins."""
        total = self.params.starts_at * 60 + (self.t - 1) * self.params.step_minutes
        return total // 1440 + 1, total % 1440

    def usual(self, agent: int, day: int) -> tuple[Chunk, ...]:
        return (self.weekends if is_weekend(day) else self.workdays)[agent]

    def appointments(self, agent: int, day: int) -> tuple[Chunk, ...]:
        going = json.loads(self.table["going"][agent])
        events = [(self.news[n].event, self.news[n].name) for n in going]
        chunks = sorted(
            Chunk(e.start, e.end, e.place, f"at {name}") for e, name in events if e is not None and e.day == day
        )
        # Two at once: whoever is at the first stays.
        return tuple(c for i, c in enumerate(chunks) if not any(b.end > c.start for b in chunks[:i]))

    def plan_day(self, day: int) -> None:
        """Ask everybody for the day; a refusal lives the usual one."""
        kind = WEEK[(day - 1) % 7]
        views = {
            i: PlanView(day, kind, self.usual(i, day), self.appointments(i, day), self.homes[i], self.places)
            for i in self.ids.tolist()
        }
        answers = self.decide(
            Plan, self.ids, views.__getitem__, check=self.plan_check, recall=f"my plans for day {day}"
        )
        for agent, answer in answers.pairs():
            if isinstance(answer, Plan):
                chunks = [Chunk(c.start, c.end, c.place, c.activity) for c in answer.chunks]
                self.emit("plan", agent=agent, value=len(chunks))
            else:
                chunks = merged(self.usual(agent, day), self.appointments(agent, day))
            self.table["plan"][agent] = packed(chunks)

    def plan_check(self, agent: int, answer: Plan, view: PlanView) -> tuple[str, str] | None:
        unknown = next((c.place for c in answer.chunks if c.place not in self.places), None)
        return None if unknown is None else ("chunks", f"there is no place {unknown!r} in the village")

    def move(self, day: int, minute: int) -> None:
        for i in self.ids.tolist():
            place, activity = where(self.table["plan"][i], self.homes[i], minute)
            if place != self.table["place"][i]:
                self.emit("move", agent=i, text=place)
            self.table["place"][i], self.table["activity"][i] = place, activity
            self.table["awake"][i] = activity != "asleep"
            for item in self.news:
                e = item.event
                if e is None or e.day != day or e.place != place or not minutes(e.start) <= minute < minutes(e.end):
                    continue
                # To be there by chance is not to attend.
                if item.number in json.loads(self.table["going"][i]):
                    self.attend(i, item)

    def attend(self, agent: int, item: News) -> None:
        done = json.loads(self.table["attended"][agent])
        if item.number not in done:
            self.table["attended"][agent] = json.dumps(sorted([*done, item.number]))
            self.emit("attend", agent=agent, item=item.number)
            self.remember(agent, f"I am at {item.name}, at {item.event.place}.", "event", subject=agent,
                          predicate="went", object=item.name, place=item.event.place)  # fmt: skip

    def perceive(self, groups: Mapping[str, list[int]]) -> None:
        """Notice a few of those who are here; what was noticed a moment ago is not stored again."""
        p = self.params
        for place, here in groups.items():
            for agent in here if len(here) > 1 else ():
                others = self.some_of([i for i in here if i != agent], p.attention, "notice", agent)
                known = {m.text for m in self.memory.recent(agent, p.retention, ["observation"])}
                for order, other in enumerate(others):
                    text = f"{self.name_of(other)} is at {place}: {self.table['activity'][other]}."
                    if text not in known:
                        self.remember(agent, text, subject=other, predicate="saw", place=place, order=order)

    def some_of(self, people: list[int], k: int, *name: str | int) -> list[int]:
        if len(people) <= k:
            return people
        return sorted(people[i] for i in self.stream(*name).choice(len(people), k, replace=False).tolist())

    def may_talk(self, agent: int, other: int) -> bool:
        t, table, p = self.t, self.table, self.params
        if t - table["talked_at"][other] < p.rest_steps:
            return False
        return table["partner"][agent] != other or t - table["talked_at"][agent] >= p.cooldown_steps

    def talk(self, groups: Mapping[str, list[int]]) -> None:
        """Decide whom to talk to; those who find each other free talk, in turns, side by side."""
        p, table = self.params, self.table
        rested = {i for here in groups.values() for i in here if self.t - table["talked_at"][i] >= p.rest_steps}
        day, minute = self.clock_time()
        now = f"day {day}, {clock(minute)}"
        views: dict[int, MeetView] = {}
        for place, here in groups.items():
            for agent in sorted(rested.intersection(here)):
                free = [i for i in here if i != agent and i in rested and self.may_talk(agent, i)]
                people = self.some_of(free, p.attention, "meet", agent)
                if people:
                    views[agent] = MeetView(now, place, str(table["activity"][agent]), tuple(
                        Person(i, self.name_of(i), str(table["activity"][i]), (agent, i) in self.knowledge.met)
                        for i in people
                    ))  # fmt: skip
        asked = np.array(sorted(views), np.int64)
        answers = self.decide(
            Meet, asked, views.__getitem__, check=meet_check,
            recall=lambda i: f"What do I know of {', '.join(person.name for person in views[i].people)}?",
        )  # fmt: skip
        busy: set[int] = set()
        meetings: list[sw.Encounter] = []
        for agent, answer in answers.pairs():
            if isinstance(answer, Meet) and answer.talk_to is not None and not busy & {agent, answer.talk_to}:
                busy |= {agent, answer.talk_to}
                meetings.append(sw.Encounter((agent, answer.talk_to), topic=self.tables["conversations"].append(1, {
                    "first": agent, "second": answer.talk_to, "began": self.t,
                })))  # fmt: skip
        self.converse(meetings, now)

    def converse(self, meetings: list[sw.Encounter], now: str) -> None:
        table = self.table
        told: dict[int, list[tuple[int, int]]] = {m.topic: [] for m in meetings}
        for turn in self.encounters(meetings, self.params.max_turns):
            views = {}
            for meeting, speaker in zip(turn.encounters, turn.speakers.tolist(), strict=True):
                partner = other(meeting, speaker)
                by, said = zip(*meeting.turns, strict=True) if meeting.turns else ((), ())
                views[speaker] = TalkView(
                    now, str(table["place"][speaker]), partner, self.name_of(partner), said, by, self.known_to(speaker)
                )
            answers = self.decide(
                Talk, turn.speakers, views.__getitem__, check=talk_check,
                recall=lambda i, views=views: f"What to tell {views[i].partner_name}?",
            )  # fmt: skip
            for meeting, (speaker, answer) in zip(turn.encounters, answers.pairs(), strict=True):
                if isinstance(answer, Talk):
                    meeting.say(speaker, answer.utterance)
                    told[meeting.topic] += self.say(speaker, other(meeting, speaker), answer, views[speaker], meeting,
                                                    turn.number)  # fmt: skip
                if not isinstance(answer, Talk) or answer.end:
                    meeting.close()
        for meeting in meetings:
            self.part(meeting, told[meeting.topic])

    def known_to(self, agent: int) -> tuple[Known, ...]:
        """The news an agent holds in its memory."""
        return tuple(
            Known(item.number, item.text, self.knowledge.first[item.number][agent].record)
            for item in self.news
            if self.knowledge.knows(agent, item.number, self.memory)
        )

    def say(
        self, speaker: int, listener: int, said: Talk, view: TalkView, meeting: sw.Encounter, turn: int
    ) -> list[tuple[int, int]]:
        """Have words said, heard and remembered; return what was told by somebody who knows it."""
        held = {known.news for known in view.known}
        # What a mind claims to know and does not is heard all the same, from a source that has none.
        claims = [n for n in dict.fromkeys(said.mentions) if 0 <= n < len(self.news)]
        false = [n for n in dict.fromkeys(said.mentions) if n not in held]
        self.table["unsupported"][speaker] += len(false)
        place = view.place
        why = {"mentions": claims, "unsupported": false, "decision": "Talk", "occurrence": turn_of(turn)}
        self.emit("say", agent=speaker, target=listener, item=meeting.topic, text=said.utterance, data=why)
        name = self.name_of(speaker)
        self.remember(speaker, f"I said to {self.name_of(listener)}: {said.utterance}", "utterance", subject=speaker,
                      predicate="said", place=place, order=100 + turn)  # fmt: skip
        self.remember(listener, f"{name} said: {said.utterance}", subject=speaker, predicate="said", source=speaker,
                      place=place, order=100 + turn)  # fmt: skip
        for n in claims:
            self.emit("tell", agent=speaker, target=listener, item=n, value=float(n in held))
            self.remember(listener, f"{name} told me: {self.news[n].text}", subject=speaker, predicate="told",
                          object=self.news[n].name, source=speaker, place=place, order=100 + turn)  # fmt: skip
        return [(speaker, n) for n in claims if n in held]

    def part(self, meeting: sw.Encounter, told: list[tuple[int, int]]) -> None:
        """Both partners remember that they talked, and know each other from now on."""
        first, second = meeting.members
        rows = self.tables["conversations"]
        rows["turns"][meeting.topic] = len(meeting.turns)
        rows["told"][meeting.topic] = json.dumps(told)
        about = " and ".join(dict.fromkeys(self.news[n].name for _, n in told))
        for one, partner in ((first, second), (second, first)):
            self.table["partner"][one], self.table["talked_at"][one] = partner, self.t
            self.table["conversations"][one] += 1
            place = str(self.table["place"][one])
            words = f"I talked with {self.name_of(partner)} at {place}{f' about {about}' if about else ''}."
            self.remember(one, words, "event", subject=partner, predicate="talked", place=place, order=200)
        self.graph.strengthen(first, second, 1.0, "talk")
        self.graph.strengthen(first, second, 0.01, "acquaintance")
        self.emit("talk", agent=first, target=second, item=meeting.topic, value=len(meeting.turns))

    def decide_to_go(self, day: int, minute: int) -> None:
        """Ask those who have just heard of something that is still to come whether they will go."""
        for item in self.news:
            event = item.event
            if event is None or (event.day, minutes(event.end)) <= (day, minute):
                continue
            fresh = [
                agent for agent, heard in sorted(self.knowledge.first[item.number].items())
                if heard.step == self.t or (self.t == 1 and heard.step == 0)
            ]  # fmt: skip
            views = {agent: self.attend_view(agent, item) for agent in fresh}
            answers = self.decide(
                Attend, np.array(fresh, np.int64), views.__getitem__, purpose=f"Attend {item.number}",
                recall=f"{item.name}: {item.text}",
            )  # fmt: skip
            for agent, answer in answers.pairs():
                if not isinstance(answer, Attend):
                    continue
                self.emit("decide to go" if answer.attend else "decide not to go", agent=agent, item=item.number,
                          text=answer.reason)  # fmt: skip
                if answer.attend:
                    self.go(agent, item, day)

    def attend_view(self, agent: int, item: News) -> AttendView:
        event = item.event
        job = self.personas[agent].occupation
        work = {job.organization} if job is not None and job.organization else set()
        away = [
            c for c in self.usual(agent, event.day)
            if c.start < event.end and c.end > event.start and c.place != event.place
        ]  # fmt: skip
        usual = "; ".join(f"{c.activity} at {c.place}" for c in away)
        is_work = any(c.place in work or c.activity.startswith("works") for c in away)
        when = f"day {event.day}, {event.start} to {event.end}"
        return AttendView(item.number, item.text, when, event.place, usual, is_work, agent == item.holder)

    def go(self, agent: int, item: News, day: int) -> None:
        going = sorted({*json.loads(self.table["going"][agent]), item.number})
        self.table["going"][agent] = json.dumps(going)
        self.remember(agent, f"I will go to {item.name}.", "plan", subject=agent, predicate="planned",
                      object=item.name)  # fmt: skip
        if item.event.day == day:
            today = [c for c in unpacked(self.table["plan"][agent]) if c not in self.appointments(agent, day)]
            self.table["plan"][agent] = packed(merged(today, self.appointments(agent, day)))

    def metrics(self) -> dict[str, float]:
        return {"talks": float(self.tables["conversations"].n), "awake": float(self.column("awake").sum())}


def other(meeting: sw.Encounter, speaker: int) -> int:
    first, second = meeting.members
    return second if speaker == first else first


def turn_of(number: int) -> int:
    """Which of its own turns in this step a speaker is at: the occurrence of its decision."""
    return number // 2


def meet_check(agent: int, answer: Meet, view: MeetView) -> tuple[str, str] | None:
    here = [person.agent for person in view.people]
    if answer.talk_to is not None and answer.talk_to not in here:
        return "talk_to", f"{answer.talk_to} is not here; choose one of {here} or null"
    return None


def talk_check(agent: int, answer: Talk, view: TalkView) -> tuple[str, str] | None:
    if not answer.utterance.strip() and not answer.end:
        return "utterance", "say something, or end the conversation"
    return None

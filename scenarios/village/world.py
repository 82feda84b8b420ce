"""A village of people who remember, in which news spreads by word of mouth alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

import simworld as sw

from . import rules
from .decisions import (
    Appointment,
    Attend,
    AttendView,
    Chunk,
    Known,
    Meet,
    MeetView,
    Person,
    Plan,
    PlanView,
    Talk,
    TalkView,
)
from .news import Event, Knowledge, News, parse
from .observers import Acquaintance, Diffusion, Reflections
from .places import (
    WEEK,
    clock,
    every_place,
    is_asleep,
    is_weekend,
    merged,
    minutes,
    packed,
    settled,
    together,
    unpacked,
    where,
)  # fmt: skip

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
    p_acquainted: float = sw.field(
        0.0, ge=0, le=1, unit="probability", doc="Chance that two who are not related know each other at the start."
    )
    attention: int = sw.field(3, ge=1, le=25, unit="people", doc="People noticed in a step.", source="code")
    retention: int = sw.field(
        5, ge=0, le=100, unit="records", doc="Latest observations that are not stored again.", source="code"
    )
    max_turns: int = sw.field(6, ge=1, le=50, unit="turns", doc="Turns of a conversation, at most.")
    rest_minutes: int = sw.field(30, ge=0, le=1440, unit="minutes", doc="After a conversation without another.")
    cooldown_minutes: int = sw.field(
        120, ge=0, le=1440, unit="minutes", doc="Before the same two talk again, unless they talked to others."
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
    default_steps = 288
    said_events = ("say",)
    notable = {"seed": "news", "decide to go": "decides to go", "decide not to go": "stays away", "attend": "comes"}
    observers = (Diffusion, Acquaintance, Reflections)

    @property
    def policies(self) -> Mapping[str, Mapping[type[sw.Decision], Callable[..., object]]]:
        return rules.policies(self.params)

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
        self.settle()
        notes: list[str] = []
        self.news: list[News] = parse(self.params.news, self.params, self.personas, self.place_of, notes)
        if self.t == 0:
            self.notes += notes
        if self.t == 0:
            self.warn()
        self.knowledge = Knowledge(self.news)

    def warn(self) -> None:
        """Note what a user may not have meant about the events of the news."""
        p = self.params
        for item in self.news:
            e = item.event
            if e is not None and e.place not in self.everyday:
                self.notes.append(f"{e.place}: nobody lives or works there, or goes there otherwise")
            during = () if e is None else range(minutes(e.start), minutes(e.end))
            if e is not None and not any((m - 60 * p.starts_at) % p.step_minutes == 0 for m in during):
                self.notes.append(f"no step begins during {item.name}, so nobody is seen there; shorten step_minutes")

    @property
    def places(self) -> tuple[str, ...]:
        """Every place of the village."""
        return tuple(sorted({*self.everyday, *(n.event.place for n in self.news if n.event is not None)}))

    def settle(self) -> None:
        """Give everybody a home and usual days, also those who came later."""
        self.homes, self.workdays, self.weekends = settled(self.personas, self.chance)
        self.everyday = every_place(self.homes, self.workdays, self.weekends)

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
        n, p = self.table.n, self.params.p_acquainted
        if p > 0:
            draws = self.stream("acquainted").random((n, n))
            for i in range(n):
                for j in range(i + 1, n):
                    if (i, j) not in closeness and draws[i, j] < p:
                        kinds[i, j] = kinds[j, i] = "acquaintance"
                        closeness[i, j] = 0.5
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
        if len(self.homes) < self.table.n:
            first = len(self.homes)
            self.settle()
            self.table["home"][first:] = self.homes[first:]
            for agent in range(first, self.table.n):
                self.table["plan"][agent] = packed(self.usual(agent, day))
        self.knowledge.update(self.memory)
        if self.t == 1 or minute < self.params.step_minutes:
            self.plan_day(day)
        self.move(day, minute)
        groups = together({i: self.table["place"][i] for i in self.ids[self.table["awake"][self.ids]].tolist()})
        self.perceive(groups)
        self.commit_memories()
        self.knowledge.update(self.memory)
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

    def appointments(self, agent: int, day: int) -> tuple[Appointment, ...]:
        """What an agent has decided to go to on a day; of two at once the first."""
        kept: list[Appointment] = []
        going = [self.news[n] for n in json.loads(self.table["going"][agent])]
        for item in sorted(going, key=lambda item: item.event):
            e = item.event
            if e.day == day and not any(one.end > e.start for one in kept):
                clash = self.work_during(agent, e)
                is_own = agent == item.holder
                kept.append(Appointment(e.start, e.end, e.place, f"at {item.name}", clash, is_own))
        return tuple(kept)

    def work_during(self, agent: int, event: Event) -> str:
        """What work an agent would miss; empty for none."""
        job = self.personas[agent].occupation
        work = {job.organization} if job is not None and job.organization else set()
        return "; ".join(
            f"{c.activity} at {c.place}" for c in self.usual(agent, event.day)
            if c.start < event.end and c.end > event.start and c.place != event.place
            and (c.place in work or c.activity.startswith("works"))
        )  # fmt: skip

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
                kept = [Chunk(*a[:4]) for a in self.appointments(agent, day) if a.is_own or not a.clash]
                chunks = merged(self.usual(agent, day), kept)
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
            self.table["awake"][i] = not is_asleep(activity)
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
        is_same = self.table["partner"][agent] == other
        return self.is_rested(other) and (not is_same or self.since_talk(agent) >= self.params.cooldown_minutes)

    def since_talk(self, agent: int) -> int:
        """Minutes since an agent's last conversation."""
        return int(self.t - self.table["talked_at"][agent]) * self.params.step_minutes

    def is_rested(self, agent: int) -> bool:
        return self.since_talk(agent) >= self.params.rest_minutes

    def talk(self, groups: Mapping[str, list[int]]) -> None:
        """Decide whom to talk to; those who find each other free talk, in turns, side by side."""
        p, table = self.params, self.table
        rested = {i for here in groups.values() for i in here if self.is_rested(i)}
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
        # Two who turn to one: nobody's number is a social advantage, so a draw says who comes first.
        came = list(answers.pairs())
        for agent, answer in (came[i] for i in self.stream("who comes first").permutation(len(came)).tolist()):
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
            speakers = turn.speakers.tolist()
            partners = [other(meeting, speaker) for meeting, speaker in zip(turn.encounters, speakers, strict=True)]
            minds = self.recall(
                speakers, [f"What to tell {self.name_of(partner)}?" for partner in partners], purpose="Talk",
                occurrences=[turn_of(turn.number)] * len(speakers),
            )  # fmt: skip
            views = {}
            for meeting, speaker, partner, mind in zip(turn.encounters, speakers, partners, minds, strict=True):
                by, said = zip(*meeting.turns, strict=True) if meeting.turns else ((), ())
                known = self.in_mind(speaker, mind)
                views[speaker] = TalkView(
                    now, str(table["place"][speaker]), partner, self.name_of(partner), said, by, known
                )
            answers = self.decide(Talk, turn.speakers, views.__getitem__, check=talk_check, recall=minds)
            for meeting, (speaker, answer) in zip(turn.encounters, answers.pairs(), strict=True):
                if isinstance(answer, Talk):
                    meeting.say(speaker, answer.utterance)
                    told[meeting.topic] += self.say(speaker, other(meeting, speaker), answer, views[speaker], meeting,
                                                    turn.number)  # fmt: skip
                if not isinstance(answer, Talk) or answer.end:
                    meeting.close()
        for meeting in meetings:
            self.part(meeting, told[meeting.topic])

    def in_mind(self, agent: int, recalled: sw.Recollection) -> tuple[Known, ...]:
        """The news that an agent holds in memory and that comes to its mind; to the null's mind comes all it holds."""
        shown = {m.id for m in recalled}
        is_null = self.mind_label(agent) == "null"
        known = []
        for item in self.news:
            held = self.knowledge.held(agent, item.number, self.memory)
            # By the memory that comes first: the one whose score says how likely it is to be told.
            found = [i for i in held if is_null or i in shown]
            if found:
                known.append(Known(item.number, item.text, max(found, key=lambda i: (recalled.score(i), -i))))
        return tuple(known)

    def say(
        self, speaker: int, listener: int, said: Talk, view: TalkView, meeting: sw.Encounter, turn: int
    ) -> list[tuple[int, int]]:
        """Have words said, heard and remembered; return what was told by somebody who knows it."""
        held = {item.number for item in self.news if self.knowledge.held(speaker, item.number, self.memory)}
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
                agent for agent, heard in sorted(self.knowledge.first(item.number).items())
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
        away = [
            c for c in self.usual(agent, event.day)
            if c.start < event.end and c.end > event.start and c.place != event.place
        ]  # fmt: skip
        usual = "; ".join(f"{c.activity} at {c.place}" for c in away)
        when = f"day {event.day}, {event.start} to {event.end}"
        return AttendView(item.number, item.text, when, event.place, usual, agent == item.holder)

    def go(self, agent: int, item: News, day: int) -> None:
        going = sorted({*json.loads(self.table["going"][agent]), item.number})
        self.table["going"][agent] = json.dumps(going)
        self.remember(agent, f"I will go to {item.name}.", "plan", subject=agent, predicate="planned",
                      object=item.name)  # fmt: skip
        if item.event.day == day:
            today = [Chunk(*a[:4]) for a in self.appointments(agent, day) if a.is_own or not a.clash]
            rest = [c for c in unpacked(self.table["plan"][agent]) if c not in today]
            self.table["plan"][agent] = packed(merged(rest, today))

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
    if not answer.utterance.strip() and (answer.mentions or not answer.end):
        return "utterance", "say something, or end the conversation"
    return None

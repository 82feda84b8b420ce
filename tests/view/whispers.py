"""People who talk and whisper: words that anybody may read begin with OPEN, words that nobody should with HUSH."""

from __future__ import annotations

import simworld as sw
from simworld.memory import Flag


class Params(sw.Params):
    n_agents: int = sw.field(4, ge=2, unit="people", doc="People.")
    instructions: str = sw.field("HUSHPARAMETER " * 20, doc="Told to all.")


class Person(sw.Agent):
    role: str = "OPENROLE"
    note: str = ""


class Say(sw.Decision):
    """What to say."""

    text: str = sw.field(max_length=80, doc="1 to 80 characters.")


def say(persona, observation, memory, rng):
    return f"OPENWORDS of {observation['me']}"


class Whispers(sw.World):
    """Who knows what?"""

    Params = Params
    agent_classes = (Person,)
    ties = ("knows",)
    starting_graph = "complete_graph"
    with_personas = True
    remembers = sw.MemorySettings(k=5)
    policies = {"rules": {Say: say}}
    private_events = ("whisper",)
    default_steps = 3

    def step(self):
        seen = {i: {"me": i, "heard": f"HUSHSEEN by {i}"} for i in self.ids.tolist()}
        said = {}
        for agent, answer in self.decide(Say, None, seen.__getitem__, recall="HUSHQUESTION?").pairs():
            if isinstance(answer, Say):
                said[agent] = answer.text
                self.emit("say", agent=agent, text=f"OPENLY {agent}: {answer.text}")
        plan = f"the HUSHPLAN of step {self.t}"
        self.emit("whisper", agent=0, target=1, text=plan, data={"more": "HUSHDATA"})
        self.remember(1, f"I heard: {plan}", source=0)
        self.remember(2, "OPENMEMORY of the day", source=0)
        self.remember(3, "HUSHMEMORY of mine", flags=int(Flag.PRIVATE))
        new = self.commit_memories()
        # Records are stored in the order of their owners.
        self.remember(1, "HUSHTHOUGHT about it", "reflection", evidence=(int(new[0]),))
        self.table["note"][0] = f"HUSHNOTE {self.t}: a note that is longer than any word"

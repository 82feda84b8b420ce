"""People post, read those they follow, remember who was rude, and stop following them: a society for the viewer."""

from __future__ import annotations

import simworld as sw

KIND, RUDE = "A lovely day at the lake.", "Whoever likes {topic} is a fool."
TOPICS = ("opera", "chess", "football")


class Params(sw.Params):
    n_agents: int = sw.field(8, ge=2, unit="people", doc="People.")
    rude: float = sw.field(0.4, ge=0, le=1, doc="Share of posts of the rude that are rude.")
    patience: int = sw.field(2, ge=1, unit="posts", doc="Rude posts after which somebody has enough. A placeholder.")


class Post(sw.Decision):
    """What to say to one's followers."""

    text: str = sw.field(max_length=200, doc="1 to 200 characters.")


class Read(sw.Decision):
    """Whom to stop following, after reading what they say."""

    unfollow: int | None = sw.field(doc="Id of somebody followed, or null for nobody.")
    reason: str = sw.field("", doc="Why.")


def post(persona, observation, memory, rng):
    if observation["is_rude"] and rng.random() < observation["share"]:
        return RUDE.format(topic=TOPICS[int(rng.random() * len(TOPICS))])
    return KIND


def read(persona, observation, memory, rng):
    rude = [m for m in memory or () if "fool" in m.text and m.source in observation["follows"]]
    counts = {who: sum(m.source == who for m in rude) for who in sorted({m.source for m in rude})}
    enough = [who for who, n in counts.items() if n >= observation["patience"]]
    if not enough:
        return {"unfollow": None, "reason": "Nobody was rude often enough."}
    return {"unfollow": enough[0], "reason": f"Was rude {counts[enough[0]]} times."}


def stay(persona, observation, memory, rng):
    return {"unfollow": None}


class Quarrel(sw.World):
    """Why does somebody unfollow somebody?"""

    Params = Params
    ties = ("follows",)
    directed = True
    starting_graph = "complete_graph"
    with_personas = True
    remembers = sw.MemorySettings(k=20)
    policies = {"rules": {Post: post, Read: read}, "null": {Post: post, Read: stay}}
    observers = ("reciprocity", "actions")
    default_steps = 8
    said_events = ("post",)
    notable = {"unfollow": "stops following"}

    def step(self):
        posts = {}
        views = {i: {"is_rude": i % 4 == 0, "share": self.params.rude} for i in self.ids.tolist()}
        for number, (agent, answer) in enumerate(self.decide(Post, None, views.__getitem__).pairs()):
            item = self.t * 1_000 + number
            posts[agent] = item, answer.text
            self.emit("post", agent=agent, item=item, text=answer.text)
            for reader in self.graph.predecessors(agent).tolist():
                self.remember(reader, f"{self.name_of(agent)} wrote: {answer.text}", "observation", source=agent,
                              subject=agent, predicate="said")  # fmt: skip
        self.commit_memories()
        seen = {}
        for i in self.ids.tolist():
            follows = self.graph.neighbors(i).tolist()
            seen[i] = {
                "follows": follows, "patience": self.params.patience,
                "posts": [{"author": j, "text": posts[j][1]} for j in follows],
            }  # fmt: skip
        for agent, answer in self.decide(Read, None, seen.__getitem__, recall="Who was rude to me?").pairs():
            if answer.unfollow is not None:
                self.graph.remove(agent, answer.unfollow)
                self.emit("unfollow", agent=agent, target=answer.unfollow, item=posts[answer.unfollow][0],
                          text=answer.reason)  # fmt: skip

"""<img src=x onerror=window.hit=0> A society whose every word attacks whoever looks at it: for the viewer's tests."""

from __future__ import annotations

import simworld as sw
from simworld.memory import Flag

ATTACKS = (
    "<img src=x onerror=window.hit=1>",
    "</script><script>window.hit=2</script>",
    '"><svg onload=window.hit=3>',
    "javascript:window.hit=4",
    "${window.hit=5}{{constructor.constructor('window.hit=6')()}}",
    "line\u2028and\u2029paragraph \x00 nul \u202e right to left \u2066 \x1b[31m \ufeff",
    "<!--<style>*{display:none}</style><base href=https://example.org/>",
    "<a href='javascript:window.hit=7' target=_blank>$\\alpha$ <b>bold</b></a> &lt;script&gt; %3Cscript%3E",
    "' onmouseover='window.hit=8' autofocus onfocus='window.hit=9'",
    "__proto__",
)
ALL = " ".join(ATTACKS)
LONG = f"{ALL} " * 2_500


class Params(sw.Params):
    n_agents: int = sw.field(10, ge=2, unit="people", doc=ALL)
    said: str = sw.field(ALL, doc=ALL)


COLUMNS = {f"column {attack}": attack for attack in ATTACKS} | {"constructor": ATTACKS[0]}
Person = type(
    "Person", (sw.Agent,),
    {
        "__module__": __name__, "name": "", "mood": 0.0, **COLUMNS,
        "__annotations__": {"name": str, "mood": float, **dict.fromkeys(COLUMNS, str)},
    },
)  # fmt: skip


class Say(sw.Decision):
    """What to say."""

    text: str


def say(persona, observation, memory, rng):
    return observation["wish"]


class Hostile(sw.World):
    __doc__ = f"{ALL}?"

    Params = Params
    agent_classes = (Person,)
    ties = tuple(f"tie {attack}" for attack in ATTACKS[:3])
    starting_graph = "complete_graph"
    remembers = sw.MemorySettings(k=5)
    policies = {"rules": {Say: say}, "null": {Say: say}}
    private_events = (f"kind {ATTACKS[0]}",)
    notable = {f"kind {ATTACKS[1]}": ALL, "loud": ALL}
    default_steps = 3

    def setup(self):
        self.notes.append(ALL)
        for i in self.ids.tolist():
            self.table["name"][i] = f"{i} {ATTACKS[i % len(ATTACKS)]}"

    def step(self):
        seen = {i: {"wish": f"{ALL} {i}", ALL: [ALL, {ALL: ALL}]} for i in self.ids.tolist()}
        for agent, answer in self.decide(Say, None, seen.__getitem__, recall=ALL).pairs():
            attack = ATTACKS[agent % len(ATTACKS)]
            other = (agent + self.t) % self.table.n
            text = LONG if agent == 2 and self.t == 2 else answer.text
            self.emit(f"kind {attack}", agent=agent, target=other, item=agent % 3, text=text, data={ALL: ALL})
            self.emit("say", agent=agent, target=other, item=agent % 3, text=text)
            flags = int(Flag.PRIVATE) if agent % 2 else 0
            self.remember(other, f"{agent} said: {answer.text}", source=agent, subject=attack[:40],
                          predicate=attack[:40], object=attack[:40], place=attack[:40], flags=flags)  # fmt: skip
            self.table["mood"][agent] += self.t
            self.table["constructor"][agent] = attack
        new = self.commit_memories()
        self.remember(0, ALL, "reflection", evidence=(int(new[0]),))
        self.graph.remove(0, self.t)
        self.graph.add(0, self.t, kind=self.graph.kinds[1])

    def metrics(self):
        return {
            "loud": float(self.t),
            "__proto__": float(self.t),
            **{f"metric {attack}.{attack}": float(self.t) for attack in ATTACKS},
        }

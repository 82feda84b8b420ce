"""What memory is for: planted facts are found, held through what comes after, and updated (spec of memory, section 12).

All text is made here from templates, so figures are not comparable with those of the benchmarks whose rules are used:
LoCoMo (Maharana et al. 2024, arXiv 2402.17753; five classes of question, token F1), PERMA (types 1, 2, 3: asked
before, right after, and long after), PersonaBench (noise, recall@k, NDCG@k). No language model reads: a *reader* here
takes the answer out of the best record that speaks of the right person and attribute, so what is tested is whether
retrieval put it there. The hashed embedder compares spelling, not meaning: a question in other words than the record
(``physician`` for ``doctor``) finds nothing, which `test_the_hashed_embedder_knows_no_synonyms` states; the questions
of the class "open" therefore share a stem with their evidence.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from simworld.memory import (
    POLICIES,
    RULES,
    Consolidation,
    EpisodeView,
    Flag,
    Memory,
    MemorySettings,
    MemoryStore,
    NewMemory,
    Operation,
    Policy,
)
from simworld.memory._text import stem, words

NAMES = ("Ada", "Boris", "Chloe", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas")
K = 10
NOT_MENTIONED = "not mentioned"

# -- the measure ------------------------------------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    """Stems of the words without a, an, the and and; other function words stay, as they are."""
    return [stem(word) or word for word in words(text) if word not in ("a", "an", "the", "and")]


def f1(answer: str, gold: str) -> float:
    """Harmonic mean of precision and recall over tokens, repetitions counted (LoCoMo)."""
    said, wanted = tokens(answer), tokens(gold)
    left, common = list(wanted), 0
    for one in said:
        if one in left:
            left.remove(one)
            common += 1
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def score(answer: str, gold: Sequence[str], kind: str) -> float:
    """Mean over gold of the best F1 of any part of the answer; adversarial: whether it says that nothing is known."""
    if kind == "adversarial":
        return float("not mentioned" in answer.lower() or "no information" in answer.lower())
    return sum(max(f1(part, one) for part in answer.split(",")) for one in gold) / len(gold)


def test_f1_by_hand() -> None:
    assert f1("The painted boats", "painting a boat") == 1.0
    assert f1("a red boat", "boat") == pytest.approx(2 * 1 / (2 + 1))  # precision 1/2, recall 1
    assert f1("boat boat", "boat") == pytest.approx(2 / 3)
    assert f1("the and", "boat") == 0.0
    assert score("cello, oboe", ["an oboe", "cellos"], "multi-hop") == 1.0
    assert score("cello", ["oboe", "cello"], "multi-hop") == 0.5
    assert score("No information available.", [], "adversarial") == 1.0
    assert score("boat", [], "adversarial") == 0.0


# -- recall questions -------------------------------------------------------------------------------------------------

ATTRIBUTES = ("favourite dish", "instrument", "workplace", "birthplace", "pet")
VALUES = {
    "favourite dish": ("barley soup", "plum dumplings", "lentil stew", "rye pancakes", "fish pie"),
    "instrument": ("cello", "oboe", "zither", "accordion", "bassoon"),
    "workplace": ("glass foundry", "salt mill", "paper works", "rope yard", "cheese dairy"),
    "birthplace": ("Tarnholm", "Vessby", "Orlecq", "Mirabad", "Quenlow"),
    "pet": ("ginger cat", "blind pony", "old tortoise", "green parrot", "three geese"),
}
THINGS = ("blue canoe", "brass clock", "oak table", "grey mare", "silk kite", "stone oven", "red bicycle", "tin lamp")
TOPICS = ("astronomy", "beekeeping", "sculpture", "swimming", "chess")
SMALL_TALK = (
    "{a} said that the rain would stop before {n} o'clock.",
    "{a} and {b} waited {n} minutes for the ferry.",
    "{a} swept the yard and counted {n} crates.",
    "{b} lent {a} a bucket with {n} nails.",
    "{a} walked past the harbour with {b} for the {n}th time.",
)


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    gold: tuple[str, ...]
    evidence: tuple[str, ...]
    pattern: str
    """How the reader knows the record that answers; its group is the answer."""
    several: bool = False


def questions() -> tuple[list[str], list[Question]]:
    """Scripted facts, and questions of the five classes about them."""
    facts: list[str] = []
    asked: list[Question] = []
    for i, name in enumerate(NAMES):
        first = i % len(ATTRIBUTES)
        for attribute in (ATTRIBUTES[first], ATTRIBUTES[(first + 1) % 5]):
            value = VALUES[attribute][(i * 3 + len(attribute)) % 5]
            facts.append(f"{name}'s {attribute} is the {value}.")
            asked.append(
                Question("single-hop", f"What is {name}'s {attribute}?", (value,), (facts[-1],),
                         rf"^{name}'s {attribute} is the (.+)\.$")
            )  # fmt: skip
        never = ATTRIBUTES[(first + 3) % 5]
        asked.append(
            Question("adversarial", f"What is {name}'s {never}?", (), (), rf"^{name}'s {never} is the (.+)\.$")
        )
        things = (THINGS[i % 8], THINGS[(i + 3) % 8])
        days = (20 + i, 40 + 2 * i)
        bought = [f"On day {d} {name} bought the {t} at auction." for d, t in zip(days, things, strict=True)]
        facts += bought
        asked.append(
            Question("multi-hop", f"What did {name} buy at auctions?", things, tuple(bought),
                     rf"^On day \d+ {name} bought the (.+) at auction\.$", several=True)
        )  # fmt: skip
        asked.append(
            Question("temporal", f"On which day did {name} buy the {things[1]} at auction?", (f"day {days[1]}",),
                     (bought[1],), rf"^On (day \d+) {name} bought the {things[1]}")
        )  # fmt: skip
        topic = TOPICS[i % 5]
        facts.append(f"{name} talks about {topic} whenever there is time, and reads of little else.")
        asked.append(
            Question("open", f"Which gift would suit {name}, who reads and talks whenever there is time?",
                     (f"something for {topic}",), (facts[-1],), rf"^{name} talks about (\w+) whenever")
        )  # fmt: skip
    return facts, asked


def remembering(facts: Sequence[str], distractors: int, seed: int, settings: MemorySettings) -> MemoryStore:
    """A store in which agent 0 has heard the facts among small talk, in random order, three records an hour."""
    draw = random.Random(seed)
    talk = [
        draw.choice(SMALL_TALK).format(a=a, b=b, n=draw.randrange(3, 40))
        for a, b in (draw.sample(NAMES, 2) for _ in range(distractors))
    ]
    said = [*facts, *talk]
    draw.shuffle(said)
    store = MemoryStore(2, settings)
    for first in range(0, len(said), 3):
        store.now += 1
        store.add([NewMemory(0, text) for text in said[first : first + 3]])
    return store


def read(found: Sequence[Memory], question: Question) -> str:
    """The reader: what the records found say, best first, or that they say nothing."""
    says = [hit[1] for m in found if (hit := re.search(question.pattern, m.text))]
    if not says:
        return NOT_MENTIONED
    return ", ".join(dict.fromkeys(says)) if question.several else says[0]


def recalled(policy: str | Policy, seed: int = 11) -> tuple[dict[str, float], float]:
    """Mean score by class, and the share of the evidence among the ten records found."""
    facts, asked = questions()
    store = remembering(facts, 500, seed=seed, settings=MemorySettings())
    found = store.retrieve([0] * len(asked), [q.text for q in asked], policy=policy, k=K)
    by_class: dict[str, list[float]] = {}
    hits = wanted = 0
    for q, one in zip(asked, found, strict=True):
        answer = read(list(one), q)
        answer = f"something for {answer}" if q.kind == "open" and answer != NOT_MENTIONED else answer
        by_class.setdefault(q.kind, []).append(score(answer, q.gold, q.kind))
        hits += len(set(q.evidence) & {m.text for m in one})
        wanted += len(q.evidence)
    return {kind: sum(s) / len(s) for kind, s in by_class.items()}, hits / wanted


@pytest.mark.parametrize("policy", ["cosine", "hybrid"])
def test_recall_questions(policy: str) -> None:
    by_class, evidence = recalled(policy)
    assert set(by_class) == {"single-hop", "multi-hop", "temporal", "open", "adversarial"}
    assert evidence >= 0.95
    assert by_class["adversarial"] == 1.0
    assert min(by_class.values()) >= 0.9


@pytest.mark.parametrize("seed", [101, 102, 103])
def test_the_default_finds_as_much_among_others_than_those_it_was_set_by(seed: int) -> None:
    """The weights were set on five other seeds. Over seeds 101 to 120 they find 0.98 to 1 of the evidence."""
    assert recalled("hybrid", seed)[1] >= 0.95


def test_the_published_weights_find_less() -> None:
    """Why the default's weights are others: recency and surprise, scaled to [0, 1], outweigh what was asked for."""
    weights = {"recency": 1.0, "importance": 1.0, "relevance": 1.0, "words": 0.3, "links": 0.2}
    _, evidence = recalled(dataclasses.replace(POLICIES["hybrid"], weights=weights))
    assert evidence < 0.95


def test_the_default_rule_answers_what_one_record_says() -> None:
    by_class, evidence = recalled("hybrid")
    assert evidence >= 0.9
    assert by_class["single-hop"] == by_class["open"] == by_class["adversarial"] == 1.0
    assert by_class["multi-hop"] >= 0.8
    assert by_class["temporal"] >= 0.9


def test_the_nulls_cannot_answer() -> None:
    """Negative control: the latest records, or any at random, hold few answers but know what was never said."""
    for policy in ("recent", "random_retrieval"):
        by_class, evidence = recalled(policy)
        assert evidence < 0.2
        assert by_class["single-hop"] < 0.2
        assert by_class["adversarial"] == 1.0


def test_the_hashed_embedder_knows_no_synonyms() -> None:
    store = remembering(["Ada's physician is the man called Valen."], 100, seed=2, settings=MemorySettings())
    (same, other) = store.retrieve([0, 0], ["Who is the physician?", "Who is the doctor?"], policy="cosine", k=1)
    assert "Valen" in same[0].text
    assert "Valen" not in other[0].text


# -- preference checkpoints -------------------------------------------------------------------------------------------

PREFERENCES = {
    "restaurant": ("orders", ("soup without garlic", "a table by the window", "rye bread", "mint tea")),
    "travel": ("travels by", ("night train", "slow ferry", "bicycle", "mail coach")),
    "music": ("listens to", ("brass bands", "choir songs", "fiddle tunes", "organ fugues")),
    "clothes": ("wears", ("wool socks", "straw hats", "leather boots", "linen shirts")),
}


def preference(agent: int, at: int, domain: str) -> tuple[str, str, str]:
    """What is asked, what was told, and the answer."""
    verb, choices = PREFERENCES[domain]
    value = choices[(agent + at) % len(choices)]
    return (
        f"In matters of {domain}, what does {NAMES[agent]} prefer?",
        (f"In matters of {domain}, {NAMES[agent]} prefers this and {verb} {value}."),
        value,
    )


def unrelated(store: MemoryStore, agents: Sequence[int], n: int, seed: int) -> None:
    """So many events of each agent's that have nothing to do with what it prefers, one an hour."""
    draw = random.Random(seed)
    for _ in range(n):
        store.now += 1
        store.add([
            NewMemory(a, draw.choice(SMALL_TALK).format(a=NAMES[a], b=draw.choice(NAMES), n=draw.randrange(3, 40)),
                      "event")
            for a in agents
        ])  # fmt: skip


def test_preference_checkpoints() -> None:
    """Asked before, nothing is known; asked right after and 50 events later, the own preference is, nobody else's."""
    agents = range(len(NAMES))
    store = MemoryStore(len(agents))
    unrelated(store, agents, 20, seed=1)
    right: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    foreign = 0

    def ask(kind: int, domain: str, at: int) -> None:
        nonlocal foreign
        triples = [preference(a, at, domain) for a in agents]
        for a, one, (_, _, value) in zip(
            agents, store.retrieve(agents, [q for q, _, _ in triples], k=K), triples, strict=True
        ):
            foreign += sum(m.agent != a for m in one)
            said = next((m.text for m in one if f"matters of {domain}" in m.text), NOT_MENTIONED)
            right[kind].append(value in said)

    for at, domain in enumerate(PREFERENCES):
        ask(1, domain, at)
        store.now += 1
        store.add([NewMemory(a, preference(a, at, domain)[1]) for a in agents])
        ask(2, domain, at)
        unrelated(store, agents, 50, seed=10 + at)
        ask(3, domain, at)
    accuracy = {kind: sum(r) / len(r) for kind, r in right.items()}
    assert accuracy[1] == 0.0
    assert accuracy[2] >= 0.95
    assert accuracy[3] >= 0.9 * accuracy[2]
    assert foreign == 0


def context(found: Sequence[Memory]) -> int:
    """Tokens of what a prompt would show, four characters each."""
    return sum(math.ceil(len(m.text) / 4) for m in found)


def smallest(store: MemoryStore, asked: Sequence[tuple[int, str, str]], wanted: float) -> tuple[int, float]:
    """The fewest records at which so many answers are there, and the mean tokens of these contexts."""
    found = store.retrieve([a for a, _, _ in asked], [q for _, q, _ in asked], k=80)
    firsts = sorted(
        next((i + 1 for i, m in enumerate(one) if value in m.text), 81)
        for one, (_, _, value) in zip(found, asked, strict=True)
    )
    k = firsts[math.ceil(wanted * len(firsts)) - 1]
    return k, sum(context(one[:k]) for one in found) / len(found)


def test_links_by_domain_lower_the_context_at_equal_accuracy() -> None:
    """A preference told in words that the question does not have is found through the record of its domain.

    Little is gained with the default weights (569 to 552 tokens at 95 % answered; 569 to 497 with recency and
    importance halved and 0.5 for links), since a link counts 0.2 and recency 1. Without links such a record is found
    for want of better ones, as the list grows.
    """
    asked: list[tuple[int, str, str]] = []
    stores = {}
    for linked in (False, True):
        store = stores[linked] = MemoryStore(len(NAMES))
        asked = []
        for at, (domain, (verb, choices)) in enumerate(PREFERENCES.items()):
            for a, name in enumerate(NAMES):
                value = choices[(a + at) % len(choices)]
                (topic,) = store.add([NewMemory(a, f"{name} spoke at length about {domain} today.")]).tolist()
                store.add([NewMemory(a, f"Always {verb} {value}.", links=(topic,) if linked else ())])
                asked.append((a, f"What to remember about {domain} for {name}?", value))
            unrelated(store, range(len(NAMES)), 10, seed=at)
    plain, linked_too = (smallest(stores[linked], asked, 0.95) for linked in (False, True))
    assert linked_too[1] < plain[1]
    assert linked_too[0] < plain[0]


# -- updated values ---------------------------------------------------------------------------------------------------

NOISE = (0.0, 0.3, 0.5, 0.7)
UPDATED = ("address", "employer", "phone", "doctor")
ROUNDS = 4


@dataclass
class Outcome:
    outdated: float
    recall: float
    ndcg: float


def updated(*, by_operations: bool, noise: float, policy: str, seed: int, k: int = 5) -> Outcome:
    """What is found when each of four values has changed three times.

    Args:
        by_operations: through ADD and UPDATE, which close the old fact; else one more fact each time.
        noise: share of records that say the same of somebody else.
        policy: by which the five records are found.
        seed: of the noise and the values.
        k: records found.
    """
    draw = random.Random(f"{noise} {seed}")
    store = MemoryStore(1)
    relevant: dict[str, str] = {}
    for turn in range(ROUNDS):
        for attribute in UPDATED:
            while draw.random() < noise:
                store.now += 1
                other = draw.choice(NAMES[1:])
                store.add([NewMemory(0, f"{other} {attribute}: Number {draw.randrange(10, 99)}{turn}", "fact")])
            store.now += 1
            value = f"Number {draw.randrange(10, 99)}{turn}"
            if by_operations:
                operation = Operation(op="UPDATE" if turn else "ADD", path=f"fact/Ada/{attribute}", value=value)
                assert store.apply_ops(0, [operation]) == []
            else:
                store.add([NewMemory(0, f"Ada {attribute}: {value}", "fact")])
            relevant[attribute] = f"Ada {attribute}: {value}"
    store.now += 1
    found = store.retrieve([0] * len(UPDATED), [f"What is the {a} of Ada?" for a in UPDATED], policy=policy, k=k)
    outdated = hits = 0
    ndcg = 0.0
    for attribute, one in zip(UPDATED, found, strict=True):
        texts = [m.text for m in one]
        answer = next((t for t in texts if t.startswith(f"Ada {attribute}:")), relevant[attribute])
        outdated += answer != relevant[attribute]
        if relevant[attribute] in texts:
            hits += 1
            ndcg += 1 / math.log2(2 + texts.index(relevant[attribute]))  # one relevant record: the ideal is 1
    n = len(UPDATED)
    return Outcome(outdated / n, hits / n, ndcg / n)


def curve(*, by_operations: bool, policy: str) -> list[Outcome]:
    """Means over four seeds, one for each share of noise."""
    out = []
    for noise in NOISE:
        some = [updated(by_operations=by_operations, noise=noise, policy=policy, seed=i) for i in range(4)]
        out.append(Outcome(*(sum(getattr(o, f.name) for o in some) / 4 for f in dataclasses.fields(Outcome))))
    return out


@pytest.mark.parametrize("policy", ["hybrid", "cosine"])
def test_updated_values(policy: str) -> None:
    """A fact that is closed cannot be answered with; one that is appended competes with what it replaces.

    With ``hybrid``, noise helps: it lies between the old value and the new one, whose recencies differ the more.
    """
    appended, operated = (curve(by_operations=by, policy=policy) for by in (False, True))
    for old, new in zip(appended, operated, strict=True):
        assert new.outdated == 0.0 <= old.outdated
        assert new.recall >= max(old.recall, 0.95)
        assert new.ndcg >= old.ndcg
    assert sum(one.outdated for one in appended) > 0.1
    assert sum(one.ndcg for one in operated) > sum(one.ndcg for one in appended)


# -- summary and retrieval --------------------------------------------------------------------------------------------


def planted(*, summarised: bool) -> MemoryStore:
    """Ten agents told four preferences each among 60 events, an hour apart.

    Where summarised, the rule mind sums up every five records, and about three quarters of the records are forgotten
    by chance, the older the likelier, whatever they say: with τ = 16 h and ages of 0 to 63 h the mean of exp(−Δt/τ) is
    τ/64·(1 − e^−4) = 0.25. The rule mind's summary quotes the three most important records, so a preference has to be
    thought more important than small talk to be in it; whether it is, the scenario or a model says, not this test.
    """
    agents = range(len(NAMES))
    more = {"episodes": True, "episode_records": 5, "episode_gap": 1_000, "forgetting": "bernoulli", "tau_steps": 16.0}
    store = MemoryStore(len(agents), MemorySettings.model_validate(more if summarised else {}))
    for at, domain in enumerate(PREFERENCES):
        unrelated(store, agents, 8, seed=at)
        store.now += 1
        store.add([NewMemory(a, preference(a, at, domain)[1], "event", importance=0.7) for a in agents])
        unrelated(store, agents, 7, seed=100 + at)
    while summarised and (over := store.closed_episodes()):
        for agent, ids in over.items():
            view = EpisodeView(tuple(store.get(i) for i in ids[:5]))
            summary = store.summarise(agent, ids[:5], RULES[Consolidation](None, view, None, None).summary)
            assert summary is not None
            store.flag(summary, Flag.PINNED)
    store.forget()
    return store


def test_summary_and_a_quarter_of_the_records_answer_as_well_as_all() -> None:
    asked = [(a, *preference(a, at, domain)[::2]) for a in range(len(NAMES)) for at, domain in enumerate(PREFERENCES)]
    share, raw, told = {}, {}, {}
    for summarised in (False, True):
        store = planted(summarised=summarised)
        found = store.retrieve([a for a, _, _ in asked], [q for _, q, _ in asked], k=K, cold=True)
        right = [any(value in m.text for m in one) for one, (_, _, value) in zip(found, asked, strict=True)]
        share[summarised] = sum(right) / len(asked)
        kept = [m for a in range(len(NAMES)) for m in store.records(a) if m.kind != "summary"]
        raw[summarised], told[summarised] = len(kept), sum("In matters of" in m.text for m in kept)
    assert raw[True] <= 0.3 * raw[False]
    assert told[True] <= 0.4 * told[False]  # most preferences are in a summary alone
    assert share[True] >= share[False] >= 0.9

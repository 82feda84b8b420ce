"""Scripted minds: what the server's models say, a function of what they are told and of nothing else."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

WORDS = (
    "rain",
    "bread",
    "chess",
    "the harbour",
    "old maps",
    "a long walk",
    "tomatoes",
    "the choir",
    "bicycles",
    "snow",
)


def draw(*parts: Any) -> float:
    """Return a number in [0, 1) that depends on these parts alone."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def pick(options: Any, *parts: Any) -> Any:
    """Return one option, by `draw`."""
    return options[int(draw(*parts) * len(options))]


def schema_in(system: str) -> dict[str, Any]:
    """Return the schema that ends the system message, or nothing."""
    line = system.rstrip().rpartition("\n")[2]
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def answer(messages: list[dict[str, str]]) -> str:
    """Return a fitting answer: to the friendship paradox's decisions in their sense, else anything the schema allows.

    What follows the first two messages does not matter: who is asked again gives the answer it would have given.
    """
    system, user = messages[0]["content"], messages[1]["content"]
    schema = schema_in(system)
    names = set(schema.get("properties", {}))
    posts = re.findall(r"^- post (\d+) by agent (\d+)", user, re.M)
    if names == {"target"} and "vote to murder" not in user:
        agents = re.findall(r"^- agent (\d+)", user, re.M)
        chosen = int(pick(agents, user)) if agents and draw("follows", user) < 0.8 else None
        return json.dumps({"target": chosen})
    if {"choice", "target_post"} <= names:
        return json.dumps(_act(user, [int(post) for post, _ in posts]))
    if names == {"text", "end"}:
        return json.dumps({"text": f"I like {pick(WORDS, user)}.", "end": draw("end", user) < 0.5})
    if names == {"main_influence", "explanation"}:
        who = int(pick(posts, user)[1]) if posts else None
        return json.dumps({"main_influence": who, "explanation": f"They wrote about {pick(WORDS, 'why', user)}."})
    special = (
        _village(names, user)
        or _donor_game(names, system, user)
        or _trust_games(names, user)
        or _traitors(names, user)
        or _memory(names, user)
    )
    return json.dumps(special if special is not None else anything(schema, user))


def _village(names: set[str], user: str) -> dict[str, Any] | None:
    """Answer the village's decisions: live the usual day, talk now and then, pass on some of the news."""
    if names == {"chunks"}:
        usual = re.findall(r'^- (\d\d:\d\d) to (\d\d:\d\d), "([^"]+)": "([^"]+)"', user, re.M)
        chunks: list[dict[str, str]] = []
        for start, end, place, activity in sorted(usual):
            if not chunks or chunks[-1]["end"] <= start:
                chunks.append({"start": start, "end": end, "place": place, "activity": activity})
        return {"chunks": chunks}
    if names == {"talk_to", "reason"}:
        people = re.findall(r"^- agent (\d+)", user, re.M)
        chosen = int(pick(people, user)) if people and draw("talks", user) < 0.7 else None
        return {"talk_to": chosen, "reason": "I felt like it."}
    if names == {"utterance", "mentions", "end"}:
        news = [int(n) for n in re.findall(r"^- news (\d+)", user, re.M)]
        told = [n for n in news if draw("tells", n, user) < 0.5]
        words = f"I was thinking about {pick(WORDS, 'said', user)}."
        return {"utterance": words, "mentions": told, "end": draw("ends", user) < 0.4}
    return None


def _donor_game(names: set[str], system: str, user: str) -> dict[str, Any] | None:
    """Answer the donor game's decisions: take a strategy over now and then, and do any of what is possible."""
    reason = f"I was thinking about {pick(WORDS, 'reason', user)}."
    if "strategy_text" in names:
        shown = [int(i) for i in re.findall(r"^- agent (\d+)", user, re.M)]
        parent = pick(shown, "parent", user) if shown and draw("copies", user) < 0.5 else None
        share = round(draw("share", user), 2)
        vector = {"g0": share, "alpha": 0.3} if draw("params", user) < 0.5 else None
        text = f"Give about {share:.0%} of what I hold."
        return {"justification": reason, "strategy_text": text, "params": vector, "copied_from": parent}
    if names == {"justification", "action", "amount"}:
        actions = ["donate", *(a for a in ("punish", "refuse") if f'or "{a}"' in system)]
        action = pick(actions, "action", user)
        held = re.search(r"You hold ([\d.]+) units", user)
        amount = 0.0 if action == "refuse" or held is None else draw("amount", user) * float(held[1])
        return {"justification": reason, "action": action, "amount": amount}
    return None


def _trust_games(names: set[str], user: str) -> dict[str, Any] | None:
    """Answer the trust games' decisions: send whole dollars, return a part, rank and estimate the groups shown."""
    has = re.search(r"(?:You have|A person has|you have) \$(\d+)", user)
    endowment = int(has[1]) if has else 10
    thoughts = {name: f"About {pick(WORDS, name, user)}." for name in sorted(names & {"belief", "desire", "intention"})}
    if "amount" in names and names <= {"belief", "desire", "intention", "amount"}:
        return {**thoughts, "amount": int(draw("sends", user) * (endowment + 1))}
    if names == {"amount_returned"}:
        received = re.search(r"you received \$([\d.]+)\.", user)
        return {"amount_returned": round(draw("returns", user) * float(received[1]), 2) if received else 0.0}
    groups = re.findall(r'^- "([^"]+)"$', user, re.M)
    about = re.search(r"^The attribute: (\w+)", user, re.M)
    if names == {"attribute", "ranking", "effect_size"} and about:
        ranking = sorted(groups, key=lambda group: draw("rank", group, user))
        return {"attribute": about[1], "ranking": ranking, "effect_size": draw("effect", user)}
    if names == {"attribute", "mean_sd"} and about:
        guesses = [{"level": g, "mean": draw("mean", g, user) * endowment, "sd": draw("sd", g, user)} for g in groups]
        return {"attribute": about[1], "mean_sd": guesses}
    if names == {"rounds"} and (last := re.search(r"^There are (\d+) rounds", user, re.M)):
        amounts = [int(draw("forecast", r, user) * (endowment + 1)) for r in range(int(last[1]))]
        return {"rounds": [{"round": r + 1, "amount": a, "why": "It felt right."} for r, a in enumerate(amounts)]}
    return None


def _traitors(names: set[str], user: str) -> dict[str, Any] | None:
    """Answer the traitors' decisions: accuse or defend somebody alive, suspect all a little, murder a faithful one."""
    alive = [int(i) for i in re.findall(r"^- agent (\d+), .*: alive", user, re.M)]
    mates = {int(i) for i in re.findall(r"^- agent (\d+), .*: alive, a traitor like you", user, re.M)}
    prey = [i for i in alive if i not in mates]
    if names == {"public", "inner", "accuses", "defends"}:
        accused = [pick(alive, "accuses", user)] if alive and draw("accuse", user) < 0.6 else []
        defended = [i for i in [pick(alive, "defends", user)] if i not in accused] if alive else []
        words = f"I keep thinking of {pick(WORDS, 'public', user)}, and of agent {accused[0] if accused else 'nobody'}."
        inner = f"Secretly I think of {pick(WORDS, 'inner', user)}."
        return {"public": words, "inner": inner, "accuses": accused, "defends": defended}
    if names == {"suspicion", "notes", "strategy"}:
        held = [{"player": i, "suspicion": round(draw("suspects", i, user), 2)} for i in alive]
        plan = f"Next, {pick(WORDS, 'strategy', user)}." if draw("plans", user) < 0.5 else ""
        return {"suspicion": held, "notes": f"Remember {pick(WORDS, 'note', user)}.", "strategy": plan}
    if names == {"target", "confidence"} and alive:
        return {"target": pick(alive, "vote", user), "confidence": round(draw("sure", user), 2)}
    if names == {"private", "proposes"}:
        victim = pick(prey, "proposes", user)
        return {"private": f"Let us take agent {victim}.", "proposes": victim}
    if names == {"target"}:
        return {"target": pick(prey, "night", user)}
    return None


def _memory(names: set[str], user: str) -> dict[str, Any] | None:
    """Answer what agents are asked about their own memories."""
    shown = [int(i) for i in re.findall(r"^- \[(\d+)\]", user, re.M)]
    if names == {"insights"}:
        cited = shown[:2]
        insight = {
            "insight": f"Much here is about {pick(WORDS, 'insight', user)}.",
            "evidence": cited,
            "confidence": 0.8,
        }
        return {"insights": [insight] if cited else []}
    if names == {"scores"}:
        n = len(re.findall(r"^\d+\. ", user, re.M))
        return {"scores": [1 + int(draw("score", i, user) * 10) for i in range(n)]}
    if names == {"summary", "operations"}:
        kept = {"op": "ADD", "path": "core/working", "value": f"thinking of {pick(WORDS, 'core', user)}"}
        return {"summary": f"A stretch of {pick(WORDS, 'summary', user)}.", "operations": [kept]}
    if names == {"answer", "memories"}:
        return {"answer": f"I remember {pick(WORDS, 'answer', user)}.", "memories": shown[:1]}
    return None


def _act(user: str, posts: list[int]) -> dict[str, Any]:
    reactions = ("share", "like", "dislike", "comment") if posts else ()
    choice = pick(("post", "none", *reactions), "choice", user)
    content = f"Thinking of {pick(WORDS, 'content', user)} today." if choice in ("post", "comment") else ""
    target = pick(posts, "post", user) if choice in reactions else None
    return {"choice": choice, "target_post": target, "content": content, "reason": "It felt right."}


def anything(schema: dict[str, Any], user: str) -> dict[str, Any]:
    """Return an object that fits a flat schema."""
    return {name: _value(prop, name, user) for name, prop in schema.get("properties", {}).items()}


def _value(prop: dict[str, Any], name: str, user: str) -> Any:
    if "enum" in prop:
        return pick(prop["enum"], name, user)
    kind = prop.get("type") or next((p.get("type") for p in prop.get("anyOf", ()) if p.get("type") != "null"), "string")
    low = prop.get("minimum", prop.get("exclusiveMinimum", 0))
    high = prop.get("maximum", prop.get("exclusiveMaximum", 1))
    if kind == "boolean":
        return draw(name, user) < 0.5
    if kind == "integer":
        return int(low) + int(draw(name, user) * (int(high) - int(low) + 1))
    if kind == "number":
        return low + draw(name, user) * (high - low)
    return f"about {pick(WORDS, name, user)}"

"""The rule policy, and chance in its place. All coefficients are placeholders, not calibrated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from simworld.mind import ColumnDraws, Columns, vectorised

from .beliefs import chosen, even, evidence, logit, others, sigmoid, softmax_chances, top, traitor_chances
from .decisions import Confer, Judge, Night, Note, Speak, Vote

COEFFICIENTS = {
    "accusation": 0.5,  # w_a: log-odds an accusation adds, times the trust in the accuser
    "vote": 0.8,  # w_v: log-odds a vote for a banished player adds (proved faithful) or takes (proved a traitor)
    "noise_sd": 0.3,  # log-odds, an update
    "noise_openness": -0.2,  # log of noise_sd, a standard deviation of O
    "noise_need_for_cognition": -0.2,  # log of noise_sd, a standard deviation of need for cognition
    "temperature": 0.5,  # τ of the faithful vote, log-odds
    "accuse": 0.0,  # logit of accusing the top suspect when it is one's turn
    "accuse_extraversion": 0.4,  # a standard deviation of E
    "accuse_agreeableness": -0.4,  # a standard deviation of A
    "defend": 0.2,  # chance of defending somebody accused in this round instead
    "betray": 0.1,  # chance of a traitor's vote for a partner who is about to fall
    "judge_lie": 0.2,  # chance that the judge calls a statement a lie
}
"""Placeholders [design]. Truth-default theory (Levine 2014, doi:10.1177/0261927X14535916) and the 54 % accuracy of
human lie detection (Bond, DePaulo 2006, doi:10.1207/s15327957pspr1003_2) [reported] speak for weak updates; that
extraverts accuse more, the agreeable less, and the open are less noisy is the model's; no size is from the
literature."""

NEED_FOR_COGNITION = "need for cognition"

HELLO = ("Hello, I am {me}. I am here to find the traitors.", "I am {me}. Let us listen to each other.",
         "My name is {me}. I trust people until they give me a reason not to.")  # fmt: skip
ACCUSE = ("I think {name} is a traitor.", "Something about {name} does not add up; I suspect {name}.",
          "My suspicion falls on {name}.", "Watch {name}: I believe {name} plays a double game.")  # fmt: skip
DEFEND = ("I do not think {name} is a traitor.", "I stand up for {name}, who seems faithful to me.")
NOTHING = (
    "I have no clear suspicion yet.",
    "I would rather listen for now.",
    "It is too early for me to name anybody.",
)
AFTER = ("Now we know a little more.", "Let us think about who voted how.", "That vote tells us something.")


def z_of(persona: Any, name: str) -> float:
    """Return the standardised score of a whole trait by its name, in [-3, 3]; 0 where the persona has none.

    The formula is that of `simworld.persona.trait_z`, which knows the letters of the Big Five and HEXACO alone.
    """
    for score in () if persona is None else persona.traits:
        if score.value is not None and score.facet is None and score.trait.strip().lower() == name:
            z = 6.0 * (score.value - (score.lo + score.hi) / 2.0) / (score.hi - score.lo)
            return min(max(z, -3.0), 3.0)
    return 0.0


def need_for_cognition(people: Iterable[Any]) -> npt.NDArray[np.float64]:
    """Return everybody's standardised need for cognition, shape (n,)."""
    return np.array([z_of(person, NEED_FOR_COGNITION) for person in people], np.float64)


def listed(rows: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return a column whose elements are lists or texts."""
    out = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        out[i] = row
    return out


def seats(view: Columns, name: str = "living") -> npt.NDArray[Any]:
    return np.asarray(getattr(view, name))


def agents(view: Columns, seat: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the agents in these seats, one a game asked."""
    return np.asarray(np.asarray(view.first) + seat, np.int64)


def words(
    view: Columns, templates: Sequence[str], seat: npt.NDArray[np.int64], u: npt.NDArray[np.float64]
) -> list[str]:
    """Return a line each, about whoever sits there."""
    at = (u * len(templates)).astype(int).tolist()
    own = np.asarray(view.seat).tolist()
    return [
        templates[k].format(name=game.names[s], me=game.names[me])
        for k, game, s, me in zip(at, view.game, seat.tolist(), own, strict=True)
    ]  # fmt: skip


def spoken(view: Columns, accused: Any, defended: Any, target: Any, u: Any, none: Sequence[str]) -> dict[str, Any]:
    """Return speeches that accuse or defend the target, or neither, with words to it."""
    accuse, defend, quiet = (words(view, lines, target, u) for lines in (ACCUSE, DEFEND, none))
    texts, accuses, defends = [], [], []
    ids = agents(view, target).tolist()
    for i, (a, d) in enumerate(zip(accused.tolist(), defended.tolist(), strict=True)):
        texts.append(accuse[i] if a else defend[i] if d else quiet[i])
        accuses.append([ids[i]] if a else [])
        defends.append([ids[i]] if d else [])
    return {"public": listed(texts), "accuses": listed(accuses), "defends": listed(defends)}


def policies(params: Any) -> dict[str, Mapping[Any, Callable[..., Any]]]:
    """Return the tables of policies; coefficients are read when they are asked."""
    c = COEFFICIENTS

    # -- rules ------------------------------------------------------------------------------------------------------

    @vectorised
    def speak(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        u, v, w = draws.random(), draws.random(), draws.random()
        n = len(u)
        phase = view.phase[0] if n else ""
        if phase in ("introduction", "aftermath"):
            none, lines = np.zeros(n, bool), HELLO if phase == "introduction" else AFTER
            return spoken(view, none, none, np.asarray(view.seat), w, lines)
        p_accuse = sigmoid(
            c["accuse"] + c["accuse_extraversion"] * personas.z("E") + c["accuse_agreeableness"] * personas.z("A")
        )
        heat, mates, traitor = seats(view, "heat"), seats(view, "partners"), np.asarray(view.is_traitor)
        options = others(seats(view), view.seat)
        faithful = options & ~mates
        # Whom a traitor wants banished, it picks by what all can see; a faithful player by its own suspicion.
        suspects = np.where(
            traitor[:, None], top(seats(view, "accusations"), faithful), top(seats(view, "suspicion"), options)
        )
        # Of those accused in this round: a partner, or whom one suspects least.
        blamed = options & (heat > 0)
        spared = np.where(traitor[:, None], blamed & mates, top(-seats(view, "suspicion"), blamed) & ~suspects)
        defends = (v < c["defend"]) & spared.any(axis=1) & (phase == "reaction")
        accuses = ~defends & (u < p_accuse) & suspects.any(axis=1)
        target = chosen(even(np.where(defends[:, None], spared, suspects)), draws.random())
        return spoken(view, accuses, defends, target, w, NOTHING)

    @vectorised
    def note(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        old, living, traitor = seats(view, "suspicion"), seats(view), np.asarray(view.is_traitor)
        spread = np.exp(
            c["noise_openness"] * personas.z("O") + c["noise_need_for_cognition"] * need_for_cognition(personas)
        )
        noise = np.stack([ndtri(np.maximum(draws.random(), 1e-12)) for _ in range(living.shape[1])], axis=1)
        more = evidence(old, view.accused_by, view.ballots, view.banished, view.guilty, view.seat, c)
        new = sigmoid(logit(old) + more + c["noise_sd"] * spread[:, None] * noise)
        known = np.asarray(seats(view, "partners"), np.float64)
        return {"suspicion": maps(view, np.where(traitor[:, None], known, new))}

    @vectorised
    def vote(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        options, traitor = others(seats(view), view.seat), np.asarray(view.is_traitor)
        faithful = softmax_chances(view.suspicion, options, c["temperature"])
        bloc = traitor_chances(view.heat, view.accusations, options, view.partners, c["betray"])
        seat = chosen(np.where(traitor[:, None], bloc, faithful), draws.random())
        sure = np.clip(seats(view, "suspicion")[np.arange(len(seat)), seat], 0.0, 1.0)
        return {"target": agents(view, seat), "confidence": sure}

    def prey(view: Columns, u: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Whom the others trust and who has been right: trust from others × own accuracy so far.

        Both from what a traitor can see: accusations in public, and votes whose targets' roles it knows.
        """
        options = others(seats(view), view.seat) & ~seats(view, "partners")
        trusted = 1.0 / (1.0 + seats(view, "accusations"))
        return chosen(even(top(trusted * seats(view, "accuracy"), options)), u)

    def agreed(view: Columns, u: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Whom most traitors proposed, of several the one in the lowest seat; without a proposal, one's own prey."""
        proposed = seats(view, "proposed") * others(seats(view), view.seat)
        return np.where(proposed.max(axis=1) > 0, proposed.argmax(axis=1), prey(view, u))

    @vectorised
    def confer(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        seat = agreed(view, draws.random())
        lines = [f"Let it be {game.names[s]}." for game, s in zip(view.game, seat.tolist(), strict=True)]
        return {"private": listed(lines), "proposes": listed(agents(view, seat).tolist())}

    @vectorised
    def night(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        return {"target": agents(view, agreed(view, draws.random()))}

    @vectorised
    def judge(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        is_lie = draws.bernoulli(c["judge_lie"])
        return {"is_lie": is_lie, "confidence": np.full(len(is_lie), 0.5)}

    # -- chance -----------------------------------------------------------------------------------------------------

    @vectorised
    def null_speak(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        """Accuse, defend or leave alone one uniform player, each one time in three."""
        u = draws.random()
        target = chosen(even(others(seats(view), view.seat)), draws.random())
        quiet = np.full(len(u), view.phase[0] in ("introduction", "aftermath") if len(u) else False)
        return spoken(view, ~quiet & (u < 1 / 3), ~quiet & (u > 2 / 3), target, draws.random(), ("(random)",))

    @vectorised
    def null_note(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        drawn = np.stack([draws.random() for _ in range(seats(view).shape[1])], axis=1)
        return {"suspicion": maps(view, drawn)}

    def null_vote(is_bloc: bool) -> Callable[..., Any]:
        @vectorised
        def vote(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
            options = others(seats(view), view.seat)
            seat = chosen(even(options & ~seats(view, "partners") if is_bloc else options), draws.random())
            return {"target": agents(view, seat), "confidence": draws.random()}

        return vote

    def any_faithful(view: Columns, draws: ColumnDraws) -> npt.NDArray[np.int64]:
        return agents(view, chosen(even(others(seats(view), view.seat) & ~seats(view, "partners")), draws.random()))

    @vectorised
    def null_confer(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        target = any_faithful(view, draws)
        return {"private": listed(["(random)"] * len(target)), "proposes": listed(target.tolist())}

    @vectorised
    def null_night(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        return {"target": any_faithful(view, draws)}

    @vectorised
    def null_judge(personas: Any, view: Columns, memory: Any, draws: ColumnDraws) -> dict[str, Any]:
        return {"is_lie": draws.bernoulli(0.5), "confidence": draws.random()}

    null = {
        Speak: null_speak, Note: null_note, Vote: null_vote(False), Confer: null_confer, Night: null_night,
        Judge: null_judge,
    }  # fmt: skip
    return {
        "rules": {Speak: speak, Note: note, Vote: vote, Confer: confer, Night: night, Judge: judge},
        "null": null,
        "bloc": {**null, Vote: null_vote(True)},
    }


def maps(view: Columns, suspicion: npt.NDArray[np.float64]) -> npt.NDArray[np.object_]:
    """Return suspicions, shape (n, players), as what `Note` takes: entries of the other living players."""
    options = others(seats(view), view.seat).tolist()
    firsts = np.asarray(view.first).tolist()
    return listed([
        [{"player": first + s, "suspicion": x} for s, (x, there) in enumerate(zip(row, mask, strict=True)) if there]
        for first, row, mask in zip(firsts, suspicion.tolist(), options, strict=True)
    ])  # fmt: skip

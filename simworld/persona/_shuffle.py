"""Shuffled personas: everybody stays who they are and where they belong, and plays the character of somebody else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simworld.persona._persona import Persona

CHARACTER = (
    "demographics",
    "traits",
    "values",
    "goals",
    "beliefs",
    "skills",
    "behaviors",
    "facts",
    "preferences",
    "health",
    "style",
    "cognitive",
    "responses",
    "attributes",
    "moral_level",
)
"""What a character is made of. Identity, ties, home, work, day, past and secrets stay: others and places know them."""


def shuffled(personas: Sequence[Persona], rng: np.random.Generator) -> list[Persona]:
    """Return the personas with their characters passed round in one random circle; of two or more nobody keeps its own.

    Behaviour that a persona brings about follows the character; what is recorded of the persona does not. So an
    association between the two that survives the shuffle is not the persona's doing.
    """
    order = rng.permutation(len(personas)).tolist()
    played = list(personas)
    for here, there in zip(order, order[1:] + order[:1], strict=True):
        character = {name: getattr(personas[there], name) for name in CHARACTER}
        played[here] = personas[here].model_copy(update=character)
    return played

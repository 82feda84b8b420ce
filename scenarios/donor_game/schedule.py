"""Who gives to whom in which round: the construction, and tables of pairs and of moves given as text."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from simworld.errors import ParameterError

PAIRS = ("generation", "game", "round", "donor", "recipient")
MOVES = ("generation", "game", "round", "donor", "share")
ACTIONS = ("donate", "punish", "refuse")


class Entry(NamedTuple):
    """One move of a table."""

    action: str
    share: float
    """Of what the donor holds, in [0, 1]."""


def construction(n: int, rounds: int, rng: np.random.Generator, rules: str) -> np.ndarray:
    """Return game 1 of a generation, slots of shape (rounds, n / 2, 2): donor and recipient. [design]

    Halves X and Y of h = n / 2 are labelled at random. In round 2j + 1 X_i gives to Y_{(i + j) mod h}; in round 2j + 2
    Y_{(i + j + ⌊n / 4⌋) mod h} gives to X_i. Donors alternate, and an ordered pair meets twice only if rounds > n.
    ``released_code``: the first half of the rounds has a partner each, roles alternating, and the second half is the
    first with roles swapped [code].
    """
    order = rng.permutation(n)
    h = n // 2
    x, y = order[:h], order[h:]
    at = np.arange(h)
    games = []
    for r in range(rounds):
        if rules == "released_code":
            first = r % (rounds // 2)
            other = y[(at + first) % h]
            gives = (first % 2 == 0) == (r < rounds // 2)
        else:
            other = y[(at + r // 2 + (n // 4 if r % 2 else 0)) % h]
            gives = r % 2 == 0
        games.append(np.stack([x, other] if gives else [other, x], axis=1))
    return np.array(games)


def swapped(game: np.ndarray) -> np.ndarray:
    """Return game 2 of a generation: game 1 with donor and recipient of every pair swapped."""
    return game[:, :, ::-1]


@functools.lru_cache(maxsize=8)
def read_pairs(text: str, n: int, rounds: int, generations: int) -> Mapping[tuple[int, int], np.ndarray]:
    """Return the games of a table of pairs by (generation, game), each of shape (rounds, n / 2, 2), donors ascending.

    A generation that is listed has every round of game 1, in which every slot occurs once; where its game 2 is left
    out, it is game 1 with roles swapped.

    Raises:
        ParameterError: the line, and what is wrong with it.
    """
    found: dict[tuple[int, int], dict[int, dict[int, int]]] = {}
    seen: dict[tuple[int, int, int], dict[int, int]] = {}
    for line, row in _lines("pairs", text, PAIRS, ("share", "action")):
        where = _where("pairs", line, row, rounds, generations)
        donor, recipient = (_whole("pairs", line, row, name, 0, n - 1, "slot") for name in ("donor", "recipient"))
        if donor == recipient:
            raise ParameterError(f"pairs, line {line}: slot {donor} gives to itself")
        busy = seen.setdefault(where, {})
        for slot in (donor, recipient):
            if slot in busy:
                raise ParameterError(
                    f"pairs, line {line}: slot {slot} is in {_words(where)} already, in line {busy[slot]}"
                )
            busy[slot] = line
        found.setdefault(where[:2], {}).setdefault(where[2], {})[donor] = recipient
    if not found:
        raise ParameterError("pairs: the table has no row; leave it out, or list the pairs")
    for (generation, game, number), busy in seen.items():
        if left := sorted(set(range(n)) - set(busy)):
            raise ParameterError(f"pairs: {_words((generation, game, number))} leaves out slot {left[0]}")
    games: dict[tuple[int, int], np.ndarray] = {}
    for (generation, game), by_round in found.items():
        if missing := [r for r in range(1, rounds + 1) if r not in by_round]:
            raise ParameterError(f"pairs: generation {generation}, game {game} has no round {missing[0]} of {rounds}")
        games[generation, game] = np.array([sorted(by_round[r].items()) for r in range(1, rounds + 1)])
    for generation, game in sorted(games):
        if (generation, 1) not in games:
            raise ParameterError(f"pairs: generation {generation} has game {game}, but no game 1")
    return {**{(g, 2): swapped(pairs) for (g, k), pairs in games.items() if k == 1}, **games}


@functools.lru_cache(maxsize=8)
def read_moves(text: str, n: int, rounds: int, generations: int) -> Mapping[tuple[int, int, int, int], Entry]:
    """Return the moves of a table by (generation, game, round, slot of the donor).

    Raises:
        ParameterError: the line, and what is wrong with it.
    """
    found: dict[tuple[int, int, int, int], Entry] = {}
    at: dict[tuple[int, int, int, int], int] = {}
    for line, row in _lines("moves", text, MOVES, ("action", "recipient")):
        where = _where("moves", line, row, rounds, generations)
        key = (*where, _whole("moves", line, row, "donor", 0, n - 1, "slot"))
        if key in found:
            raise ParameterError(
                f"moves, line {line}: slot {key[3]} has a move in {_words(where)} already, line {at[key]}"
            )
        action = (row.get("action") or "donate").strip()
        if action not in ACTIONS:
            raise ParameterError(f"moves, line {line}: no action {action!r}; there are {', '.join(ACTIONS)}")
        found[key] = Entry(action, _share("moves", line, row["share"]))
        at[key] = line
    if not found:
        raise ParameterError("moves: the table has no row; leave it out, or list the moves")
    return found


def _lines(
    name: str, text: str, header: tuple[str, ...], optional: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and row of a table with a header."""
    reader = csv.DictReader(io.StringIO(text.strip("\ufeff")), skipinitialspace=True, restkey="")
    columns = [column.strip() for column in reader.fieldnames or ()]
    missing = [column for column in header if column not in columns]
    unknown = [column for column in columns if column not in (*header, *optional)]
    if missing or unknown:
        what = f"has no column {missing[0]!r}" if missing else f"has a column {unknown[0]!r}"
        raise ParameterError(f"{name}: the header {what}; write {','.join(header)} in the first line")
    reader.fieldnames = columns
    for row in reader:
        if "" in row or None in (row[column] for column in header):
            raise ParameterError(f"{name}, line {reader.line_num}: {len(columns)} values are expected")
        yield reader.line_num, row


def _where(name: str, line: int, row: Mapping[str, str], rounds: int, generations: int) -> tuple[int, int, int]:
    return (
        _whole(name, line, row, "generation", 1, generations, "generation"),
        _whole(name, line, row, "game", 1, 2, "game"),
        _whole(name, line, row, "round", 1, rounds, "round"),
    )


def _whole(name: str, line: int, row: Mapping[str, str], column: str, low: int, high: int, what: str) -> int:
    try:
        value = int(row[column])
    except ValueError:
        raise ParameterError(f"{name}, line {line}: {column} {row[column]!r} is no whole number") from None
    if not low <= value <= high:
        raise ParameterError(f"{name}, line {line}: there is no {what} {value}, only {low} to {high}")
    return value


def _share(name: str, line: int, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ParameterError(f"{name}, line {line}: {text!r} is no share; give a number from 0 to 1, as 0.3")
    return share


def _words(where: tuple[int, int, int]) -> str:
    return f"generation {where[0]}, game {where[1]}, round {where[2]}"

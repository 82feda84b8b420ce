"""A store that lived through it, one made from its log, one from a snapshot, and a copy, under one suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simworld.memory import MemoryStore, replay, restore, snapshot
from simworld.rng import Chance
from tests.contract.memory_contract import MemoryContract, N


class TestALivingStore(MemoryContract):
    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        return store


class TestAStoreFromItsLog(MemoryContract):
    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        return replay(parts, self.settings, N, chance=Chance(11))


class TestAStoreFromASnapshot(MemoryContract):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path) -> None:
        self.path = tmp_path / "memory.parquet"

    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        snapshot(store, self.path)
        return restore(self.path, self.settings, chance=Chance(11))


class TestACopy(MemoryContract):
    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        return store.fork()


class TestAStoreThatGrew(MemoryContract):
    """Agents came one by one."""

    def make(self) -> MemoryStore:
        store = MemoryStore(0, self.settings, chance=Chance(11))
        for n in range(1, N + 1):
            store.grow(n)
        return store

    def again(self, store: MemoryStore, parts: Sequence[tuple[int, int, Any]]) -> MemoryStore:
        made = self.make()
        for t, n, columns in parts:
            made.apply(t, n, columns)
        return made

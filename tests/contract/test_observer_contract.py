"""Every observer that ships keeps the contract, and the contract catches those that do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import simworld as sw
from simworld.observe import Finding, Observer, observer, observer_names
from tests.contract.observer_contract import ObserverContract, SmallTown


class TestShipped(ObserverContract):
    @pytest.fixture(autouse=True, params=observer_names())
    def named(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def observer(self) -> Observer:
        return observer(self.name)

    @property
    def steady(self) -> bool:
        """Rates are of what happened in the step, so a kind of event that did not happen has none."""
        return self.name != "actions"

    def test_it_is_found_under_its_own_name(self) -> None:
        assert self.observer().name == self.name


class Meddler:
    """An observer that writes."""

    name = "meddler"

    def observe(self, society: Any) -> Mapping[str, float]:
        if isinstance(society, sw.World):
            society.table["wealth"][:] = 0.0
        return {"wealth": 0.0}

    def conclude(self, society: Any) -> Sequence[Finding]:
        return []


class Gambler:
    """An observer that draws from the generators the society steps with."""

    name = "gambler"

    def observe(self, society: Any) -> Mapping[str, float]:
        return {"luck": society.random.random() if isinstance(society, sw.World) else 0.0}

    def conclude(self, society: Any) -> Sequence[Finding]:
        return []


@pytest.mark.parametrize("bad", [Meddler, Gambler])
def test_the_contract_catches_an_observer_that_touches(bad: type) -> None:
    """A suite that lets the meddler pass is no suite."""

    class Suite(ObserverContract):
        def observer(self) -> Observer:
            return bad()

    world = SmallTown(rng=3)
    world.step()
    with pytest.raises(AssertionError):
        Suite().test_looking_changes_nothing(world)

"""Stores whose time a test moves by hand: sweeps go by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from duro.stores.base import Store
from duro.testing.clock import ManualClock
from tests.support.pruning import store_of_kind


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    """An empty store of each kind; the invariants hold when the test is over."""
    with store_of_kind(request.param, tmp_path, clock) as opened:
        yield opened

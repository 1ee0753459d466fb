"""Runtimes on every store, checked for broken promises after each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import duro
from duro.testing.invariants import check_invariants

MakeRuntime = Callable[..., duro.Runtime]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[duro.Store]:
    """An empty store of each kind; the invariants hold when the test is over."""
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/duro.db"
    opened = duro.open_store(url)
    yield opened
    check_invariants(opened)
    assert [each for each in opened.checkup() if each.count and each.severity == "error"] == []
    opened.close()


@pytest.fixture(params=[1000, 0], ids=["cached", "replayed"])
def options(request: pytest.FixtureRequest) -> duro.RuntimeOptions:
    """With the coroutine cache and without it: the results are the same."""
    return duro.RuntimeOptions(cache_size=request.param, lease_s=5.0, poll_interval_s=0.005, blocked_retry_s=0.05)


@pytest.fixture
def make_runtime(store: duro.Store, options: duro.RuntimeOptions) -> Iterator[MakeRuntime]:
    """Started runtimes on the test's store, stopped when the test is over."""
    runtimes: list[duro.Runtime] = []

    def make(registry: duro.Registry, settings: duro.RuntimeOptions | None = None) -> duro.Runtime:
        runtime = duro.Runtime(store, registry, settings or options)
        runtime.start()
        runtimes.append(runtime)
        return runtime

    yield make
    for runtime in runtimes:
        runtime.stop(drain_s=1.0)

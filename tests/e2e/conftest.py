"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest

import duro
from duro.testing.builders import activity_scheduled, completed, continued_as_new, start_request
from duro.testing.scripted import ScriptedWorker
from tests.e2e.cli_support import Cli, fill


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """An empty directory: no store, no configuration."""
    return Cli(tmp_path)


@pytest.fixture
def cli_with_store(cli: Cli) -> Cli:
    """A directory with an empty store that is found."""
    assert cli("init").code == 0
    return cli


@pytest.fixture
def loops(cli_with_store: Cli) -> Cli:
    """``queue-1`` (Order) and ``other`` (Child) in their tenth execution; ``ended`` has only one."""
    with duro.Client(cli_with_store.store) as client:
        worker = ScriptedWorker(client.store)
        client.store.start_instances(
            [start_request("queue-1"), start_request("other", "Child"), start_request("ended")]
        )
        for leased in worker.lease().instances:
            if leased.instance_id == "ended":
                worker.run(leased, completed())
            else:
                worker.run(leased, continued_as_new())
        for _ in range(8):
            for leased in worker.lease().instances:
                worker.run(leased, continued_as_new())
        for leased in worker.lease().instances:
            worker.run(leased, activity_scheduled())
        client.store.release_worker(worker.worker_id)
    return cli_with_store


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A directory with a store that holds one instance of every kind. For reading only."""
    cli = Cli(tmp_path_factory.mktemp("filled"))
    assert cli("init").code == 0
    fill(cli.store)
    return cli

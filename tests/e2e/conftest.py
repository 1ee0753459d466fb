"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest

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


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A directory with a store that holds one instance of every kind. For reading only."""
    cli = Cli(tmp_path_factory.mktemp("filled"))
    assert cli("init").code == 0
    fill(cli.store)
    return cli

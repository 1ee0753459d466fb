"""What a shell proposes: ids and names of the store, nothing that could break a prompt, and nothing late."""

import time
from types import SimpleNamespace

import pytest

import duro
from duro.testing.builders import start_request
from duroctl import completing
from tests.e2e.cli_support import HOSTILE_ID, Cli, fill


def proposed(cli: Cli, *words: str, **environment: str) -> list[str]:
    """What bash is told when the last of ``words`` is to be completed."""
    ran = cli(
        _DUROCTL_COMPLETE="complete_bash",
        COMP_WORDS=" ".join(["duroctl", *words]),
        COMP_CWORD=str(len(words)),
        DUROCTL_COMPLETE_TIMEOUT_S="20",  # the machine of a test may be busy
        **environment,
    )
    assert (ran.code, ran.err) == (0, ""), ran
    return [line for line in ran.lines if line]


@pytest.fixture
def store(cli_with_store: Cli) -> Cli:
    fill(cli_with_store.store)
    return cli_with_store


def test_commands_and_options_are_proposed(cli: Cli) -> None:
    assert proposed(cli, "ex") == ["executions", "export"]
    assert "--dry-run" in proposed(cli, "prune", "--dr")


def test_instance_ids_are_proposed_where_an_instance_is_meant(store: Cli) -> None:
    for words in (
        ("instances", "show"),
        ("instances", "cancel"),
        ("executions", "list"),
        ("history", "show"),
        ("prune",),
        ("ledger", "show"),
        ("policy", "explain"),
        ("raise",),
        ("holds", "add"),
        ("orphans", "adopt"),
    ):
        assert proposed(store, *words, "gre") == ["greeting"], words
    assert proposed(store, "executions", "list", "rounds") == ["rounds/1"]
    assert proposed(store, "policy", "set", "--instance", "pat") == ["patient"]


def test_instances_that_are_in_an_archive_alone_are_proposed_where_that_is_read(store: Cli) -> None:
    purge = ("instances", "purge", "--all", "--completed-before", "now", "--now", "--yes", "--archive", "arch")
    assert store(*purge).code == 0
    catalogue = (store.directory / "arch" / "catalogue.db").read_bytes()
    assert "greeting" not in store("instances", "list", "-o", "ids").lines
    for words in (("archive", "list"), ("archive", "show"), ("archive", "restore"), ("history", "show")):
        assert proposed(store, *words, "gre") == ["greeting"], words
    assert proposed(store, "archive", "restore", "--archive", "arch", "gre") == ["greeting"]
    assert proposed(store, "archive", "restore", "--archive", "nowhere", "gre") == []
    assert proposed(store, "instances", "show", "gre") == []
    assert (store.directory / "arch" / "catalogue.db").read_bytes() == catalogue


def test_an_instance_that_is_called_like_a_word_is_proposed_once(cli_with_store: Cli) -> None:
    with duro.Client(cli_with_store.store) as client:
        client.store.start_instances([start_request("undo")])
    assert proposed(cli_with_store, "prune", "un") == ["undo"]


def test_a_word_that_makes_another_command_is_proposed_where_it_does(store: Cli) -> None:
    assert proposed(store, "prune", "un") == ["undo"]
    assert proposed(store, "prune", "greeting", "un") == []


def test_an_id_with_a_colon_is_completed_as_bash_takes_it_apart(cli_with_store: Cli) -> None:
    with duro.Client(cli_with_store.store) as client:
        client.store.start_instances([start_request(each) for each in ("order:17", "order:18", "1abc")])

    def told(*words: str) -> list[str]:
        ran = cli_with_store(
            _DUROCTL_COMPLETE="complete_bash",
            COMP_WORDS="\n".join(["duroctl", *words]),
            COMP_CWORD=str(len(words)),
            DUROCTL_COMPLETE_TIMEOUT_S="20",
        )
        return [line for line in ran.lines if line]

    assert told("instances", "show", "order", ":", "1") == ["17", "18"]
    assert told("instances", "show", "order", ":") == ["17", "18"]
    assert told("instances", "show", "ord") == ["order:17", "order:18"]
    assert told("--store", "=", "sqlite", ":", "///duro.db", "instances", "show", "1") == ["1abc"]
    assert told("--store", "sqlite", ":", "///gone.db", "instances", "show", "1") == []


def test_a_hostile_id_never_reaches_the_shell(store: Cli) -> None:
    everything = proposed(store, "instances", "show", "")
    assert HOSTILE_ID not in everything
    assert all(word.isprintable() for word in everything)
    assert {"greeting", "broken", "family"} <= set(everything)


def test_orchestrations_holds_and_runs_are_proposed(store: Cli) -> None:
    names = proposed(store, "policy", "set", "")
    assert "unknown" in names
    assert proposed(store, "prune", "--name", "unk") == ["unknown"]
    for words in (
        ("instances", "list"),
        ("instances", "purge"),
        ("orphans", "list"),
        ("orphans", "cleanup"),
        ("holds", "add"),
        ("policy", "explain"),
        ("policy", "simulate"),
        ("archive", "list"),
        ("export",),
    ):
        assert proposed(store, *words, "--name", "unk") == ["unknown"], words
    with duro.Client(store.store) as client:
        hold = client.add_hold("greeting", reason="test")
        run = client.prune_executions("rounds/1", 1)
    assert proposed(store, "holds", "remove", "hold-") == [hold.hold_id]
    assert proposed(store, "prune", "undo", "run-") == [run.run_id]


def test_a_run_is_proposed_though_many_others_came_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore of many instances makes one for each."""
    ids = [*(f"restore-{number}" for number in range(200)), "run-1"]

    def list_prune_runs(*, limit: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(run_id=run_id) for run_id in ids][:limit]

    client = SimpleNamespace(list_prune_runs=list_prune_runs, complete_instance_ids=lambda *_, **__: ())
    monkeypatch.setattr(completing, "find_in_store", lambda _, find: list(find(client)))
    assert completing.instance_ids_or_runs(None, "run-") == ["run-1"]  # type: ignore[arg-type]
    assert len(completing.instance_ids_or_runs(None, "")) == completing.WORDS_MAX  # type: ignore[arg-type]


def test_the_store_on_the_command_line_is_the_one_that_is_asked(store: Cli) -> None:
    url = f"sqlite:///{store.store}"
    elsewhere = {"DUROCTL_STORE": "sqlite:///nowhere.db"}
    assert proposed(store, "instances", "show", "gre", **elsewhere) == []
    assert proposed(store, "--store", url, "instances", "show", "gre", **elsewhere) == ["greeting"]
    assert proposed(store, "instances", "show", "--store", url, "gre", **elsewhere) == ["greeting"]


def test_completing_makes_no_store_and_changes_none(cli: Cli, store: Cli) -> None:
    before = store.dump()
    proposed(store, "instances", "show", "")
    assert store.dump() == before
    assert proposed(cli, "instances", "show", "", DUROCTL_STORE="sqlite:///no.db") == []
    assert not (cli.directory / "no.db").exists()


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "find_in_store", lambda *_: time.sleep(5))
    monkeypatch.setattr(completing, "TIMEOUT_S", 0.05)
    began_s = time.monotonic()
    assert completing.instance_ids(None, "") == []  # type: ignore[arg-type]
    assert time.monotonic() - began_s < 3

"""What a shell proposes for the word that is being typed: ids and names of the store, read-only and in bounded time.

Nothing is proposed where the store cannot be found, opened or read in time: a prompt must never hang or print an error.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from duro.client import Client

WORDS_MAX: Final = 50
RUNS_LOOKED_AT: Final = 1_000
"""The newest: one command can have made many, such as a restore of each instance."""

TIMEOUT_S: Final = 0.5
"""``DUROCTL_COMPLETE_TIMEOUT_S`` says otherwise, for stores on slow disks."""


def instance_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    return _proposed(ctx, lambda client: client.complete_instance_ids(incomplete, limit=WORDS_MAX))


def instance_ids_or_archived(ctx: typer.Context, incomplete: str) -> list[str]:
    """For what is read from an archive, too."""

    def both(client: "Client") -> Iterable[str]:
        there = client.complete_instance_ids(incomplete, limit=WORDS_MAX)
        return sorted({*there, *_archived(ctx, client, incomplete)})

    return _proposed(ctx, both)


def archived_instance_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """For what comes out of an archive."""
    return _proposed(ctx, lambda client: sorted(_archived(ctx, client, incomplete)))


def _archived(ctx: typer.Context, client: "Client", incomplete: str) -> set[str]:
    """Of the archive that the command line names so far, or else of all that the store has used."""
    from duro.maintenance.archive.catalogue import ids_in_catalogue

    given = _given(ctx, "archive")
    known = [given] if given else [each.directory for each in client.store.known_archives()]
    found: set[str] = set()
    for directory in known:
        with contextlib.suppress(Exception):  # the others may have something
            found.update(ids_in_catalogue(Path(directory), client.store.store_id(), incomplete, WORDS_MAX))
    return found


def instance_ids_or_undo(ctx: typer.Context, incomplete: str) -> list[str]:
    """For ``prune``, of which a first argument can make another command."""
    words = [] if ctx.params.get("instance") else ["undo"]
    return list(dict.fromkeys([*_beginning(words, incomplete), *instance_ids(ctx, incomplete)]))


def instance_ids_or_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """For what has a ledger, and for what can be undone."""

    def both(client: "Client") -> Iterable[str]:
        runs = [run.run_id for run in client.list_prune_runs(limit=RUNS_LOOKED_AT)]
        return [*_beginning(runs, incomplete), *client.complete_instance_ids(incomplete, limit=WORDS_MAX)]

    return _proposed(ctx, both)


def orchestrations(ctx: typer.Context, incomplete: str) -> list[str]:
    """Those that live workers run and those the store has instances of."""

    def names(client: "Client") -> Iterable[str]:
        run = {name for worker in client.list_workers() for name, _ in worker.orchestrations}
        return _beginning(sorted(run | {*client.store.orchestration_names()}), incomplete)

    return _proposed(ctx, names)


def holds(ctx: typer.Context, incomplete: str) -> list[str]:
    return _proposed(ctx, lambda client: _beginning([hold.hold_id for hold in client.list_holds()], incomplete))


def _beginning(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def _proposed(ctx: typer.Context, find: "Callable[[Client], Iterable[str]]") -> list[str]:
    """What ``find`` finds, if it does so in time; words that a shell would take apart are left out."""
    import threading

    found: list[str] = []

    def look() -> None:
        with contextlib.suppress(Exception):  # a prompt is no place for errors
            found.extend(find_in_store(ctx, find))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(_timeout_s())
    return [word for word in tuple(found) if word.isprintable() and not set(word) & _TAKEN_APART][:WORDS_MAX]


def _timeout_s() -> float:
    try:
        return float(os.environ.get("DUROCTL_COMPLETE_TIMEOUT_S", TIMEOUT_S))
    except ValueError:
        return TIMEOUT_S


_TAKEN_APART: Final = frozenset(" \t\"'`$\\;&|<>(){}*?!")


def find_in_store(ctx: typer.Context, find: "Callable[[Client], Iterable[str]]") -> list[str]:
    """What ``find`` finds in the store that the command line names so far."""
    from duro.client import Client
    from duro.stores.opening import open_store
    from duroctl.discovery import find_store
    from duroctl.session import check_lasting

    choice = find_store(_given(ctx, "store"), _given(ctx, "config"), os.environ, Path.cwd())
    check_lasting(choice.url)
    store = open_store(choice.url, create=False, read_only=True)
    try:
        return list(find(Client(store)))
    finally:
        store.close()


def _given(ctx: typer.Context, option: str) -> str | None:
    """A global option as it stands after the command, else before it."""
    at: Any = ctx
    while at is not None:
        if value := at.params.get(option):
            return str(value)
        at = at.parent
    return None

"""The runs whose power is cut. A scenario is what is there before (``prepare``, all of it on the disk) and what is done
(``act``), which says whenever somebody is told of it.

One more: a function that takes a ``Stage``, and its line in ``SCENARIOS``.
"""

import contextlib
import io
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

import msgspec

import duro
from duro.maintenance import families
from duro.maintenance.archive import archiver, place, reader
from duro.maintenance.archive.archiver import Archiver
from duro.maintenance.archive.reader import Archive
from duro.maintenance.pruning import RunTerms
from duro.model.archive import CONFIGURED
from duro.model.families import OrphanFilter, PurgeOptions
from duro.model.ledger import RunSource
from duro.model.removal import PruneOrder, PruneScope
from duro.model.status import ParentPolicy
from duro.settings.files import edit_file, load_settings
from duro.stores.sqlite import SqliteStore, turn_pruning
from duro.testing.builders import (
    child_completed,
    child_scheduled,
    completed,
    continued_as_new,
    prune_batch,
    removal_batch,
)
from duro.testing.clock import START_MS, ManualClock
from duroctl.app import run as duroctl
from duroctl.plan_files import read_plan, write_plan
from tests.support.archives import histories
from tests.support.first_schema import contents, write_first_schema
from tests.support.power.checks import LostError, check_store, lasting, rows_of
from tests.support.power.stage import FILE, GRACE_MS, Stage
from tests.support.pruning import automatic

Act = Callable[[Stage], None]


class DocumentedError(duro.DuroError):
    """What a caller has to expect, although duro did not raise it."""


def nothing(_: Stage) -> None:
    """Nothing is there, or done, or wrong."""


def no_files(_stage: Stage, _acknowledged: int) -> None:
    """No files beside the store to look at."""


@dataclass(frozen=True)
class Scenario:
    """``prepare`` None: there is not even a store before. ``files``: looks at what is beside the store after a cut,
    given how many acknowledgements came before it, and raises LostError. ``lay``: puts other files there at first."""

    name: str
    act: Act
    prepare: Act | None = nothing
    files: Callable[[Stage, int], None] = no_files
    lay: Callable[[Path], None] = lambda _: None


# --- programs ----------------------------------------------------------------------------------------------------

ROUNDS: Final = 5

registry = duro.Registry()


@registry.activity
async def charge(ctx: duro.ActivityContext, amount: int) -> int:
    return amount + 1


@registry.orchestration
async def ship(ctx: duro.OrchestrationContext, amount: int) -> int:
    return await ctx.schedule_activity(charge, amount)


@registry.orchestration
async def order(ctx: duro.OrchestrationContext, amount: int) -> int:
    """An activity, a timer, an event and a child."""
    charged = await ctx.schedule_activity(charge, amount)
    await ctx.schedule_timer(0.05)
    address = await ctx.wait_for_event("address")
    return charged + len(address) + await ctx.schedule_sub_orchestration(ship, charged, instance_id="child-of-a")


@registry.orchestration
async def eternal(ctx: duro.OrchestrationContext, round: int) -> int:
    if round < ROUNDS:
        await ctx.continue_as_new(await ctx.schedule_activity(charge, round))
    return round


@registry.orchestration(auto_prune=duro.AutoPrune(keep_last=2))
async def tidy(ctx: duro.OrchestrationContext, round: int) -> int:
    """Its policy prunes in each turn that continues as new (Option C)."""
    if round < ROUNDS:
        await ctx.continue_as_new(round + 1)
    return round


@registry.orchestration
async def tidier(ctx: duro.OrchestrationContext, round: int) -> int:
    """It says itself what is to stay (Option B)."""
    if round < ROUNDS:
        await ctx.continue_as_new(round + 1, prune=duro.PruneOptions(keep_last=1))
    return round


def from_start_to_completion(stage: Stage) -> None:
    client = duro.Client(stage.store, registry=registry, ids=stage.new_id)
    client.start_orchestration(order, 1, instance_id="a", request_id="start a", if_exists="return")
    stage.said()
    if stage.runs("a"):
        client.raise_event("a", "address", "here", request_id="address of a")
        stage.said()
    stage.run(registry, lambda: stage.ended("a"))
    stage.said()


def a_loop(orchestration: str, stage: Stage) -> None:
    client = duro.Client(stage.store, registry=registry, ids=stage.new_id)
    client.start_orchestration(orchestration, 1, instance_id="a", request_id="start a", if_exists="return")
    stage.said()
    stage.run(registry, lambda: stage.ended("a"))
    stage.said()


# --- pruning -----------------------------------------------------------------------------------------------------


def two_loops(stage: Stage) -> None:
    stage.start("a", "b")
    stage.go_on("a", 6)
    stage.go_on("b", 6)


def pruned_by_hand(stage: Stage) -> None:
    orders = [(stage.incarnation(each), 2) for each in ("a", "b")]
    if not stage.store.list_prune_runs(0):
        stage.store.prune(prune_batch(*orders, run_id="run-1", by="ada", grace_ms=GRACE_MS))


def two_loops_pruned(stage: Stage) -> None:
    two_loops(stage)
    pruned_by_hand(stage)


def prune_by_hand(stage: Stage) -> None:
    pruned_by_hand(stage)
    stage.said()
    stage.go_on("a", 7)
    stage.said()


def prune_and_continue(stage: Stage) -> None:
    """By the policy of the program, then by the turn's own word."""
    for execution in (7, 8):
        stage.go_on("a", execution, policies=automatic(3))
        stage.said()
    for execution in (7, 8):
        stage.go_on("b", execution, policies=automatic(3, duro.PruneOptions(keep_last=2)))
        stage.said()


def prune_what_a_turn_leaves(stage: Stage) -> None:
    """Code asks for more than a turn looks at; a sweep goes on with it, a few executions at a time."""
    with patch.object(turn_pruning, "TURN_PRUNE_EXECUTIONS_MAX", 2):
        for instance_id in ("a", "b"):
            stage.go_on(instance_id, 7, policies=automatic(3, duro.PruneOptions(keep_last=1)))
            stage.said()
    while asked := stage.store.asked_prunes(0, 0):
        orders = tuple(
            PruneOrder(incarnation=each.incarnation, rules=(each.options,), origin=each.origin, asked=each)
            for each in asked
        )
        batch = prune_batch(swept=True)
        stage.store.prune(msgspec.structs.replace(batch, orders=orders, executions_max=2))
        stage.said()
    stage.go_on("a", 8)
    stage.said()


def prune_in_bulk(stage: Stage) -> None:
    """As a long removal does: the first batch is durable by itself, all others together at the end."""
    for number, instance_id in enumerate(("a", "b"), 1):
        for keep in (4, 3, 2, 1):
            batch = prune_batch((stage.incarnation(instance_id), keep), run_id=f"run-{number}")
            stage.store.prune(batch, durable=number + keep == 5)
            if number + keep == 5:
                stage.said()
        if instance_id == "a":
            stage.go_on("b", 7)  # durable, so all that went before is, too
            stage.said()
    stage.store.sync()
    stage.said()


def undo(stage: Stage) -> None:
    if not stage.store.list_holds():
        stage.store.undo_prune("hold-1", 10**15, run_id="run-1", by="ada")
    stage.said()
    stage.go_on("a", 7, policies=automatic(1))  # the hold keeps them all
    stage.said()


def reclaim(stage: Stage) -> None:
    """Each batch is durable with the next durable commit; the last, by the sync."""
    stage.clock.advance(2 * GRACE_MS)
    while stage.store.reclaim(3).more:
        pass
    stage.store.sync()
    stage.said()


# --- families ----------------------------------------------------------------------------------------------------


def orphans(stage: Stage) -> None:
    """Two loops that went on without their children, which have ended and have children that have."""
    stage.start("a", "b")
    for parent in ("a", "b"):
        child, grandchild = f"child-of-{parent}", f"grandchild-of-{parent}"
        stage.worker.run(stage.take(parent), child_scheduled(child))
        stage.worker.run(stage.take(child), child_scheduled(grandchild))
        stage.worker.run(stage.take(grandchild), completed())
        stage.worker.run(stage.take(child), child_completed(2), completed())
        stage.worker.run(stage.take(parent), continued_as_new())  # what has arrived is not observed


def clean_up_orphans(stage: Stage) -> None:
    """Out of sight when that is said; the rows are gone for good with the sync."""
    terms = RunTerms(run_id="run-1", grace_ms=0)
    families.cleanup(stage.store, OrphanFilter(), 0.0, terms, cancel_running=False, progress=lambda _: stage.said())
    stage.store.sync()
    stage.said()


def finished_tree(stage: Stage) -> None:
    """A root with two children, each with a child, all of which have ended, and one that runs beside them."""
    stage.start("root", "beside")
    pairs = [("left", "left-leaf"), ("right", "right-leaf")]
    for child, leaf in pairs:
        stage.worker.run(stage.take("root"), child_scheduled(child, on_parent_end=ParentPolicy.TERMINATE))
        stage.worker.run(stage.take(child), child_scheduled(leaf))
        stage.worker.run(stage.take(leaf), completed())
        stage.worker.run(stage.take(child), child_completed(2), completed())
    stage.worker.run(stage.take("root"), child_completed(2), child_completed(3), completed())


def purge_a_tree(stage: Stage) -> None:
    """As ``clean_up_orphans``."""
    terms = RunTerms(run_id="run-1", grace_ms=0)
    options = PurgeOptions(keep_within=0.001)
    families.purge(stage.store, options, PruneScope(), terms, lambda _: stage.said())
    stage.store.sync()
    stage.said()


# --- archives ----------------------------------------------------------------------------------------------------

ARCHIVE: Final = "archive"
_FEW_EVENTS: Final = 6
_PURGED: Final = PurgeOptions(completed_before=10**14)


def two_loops_and_one_that_ended(stage: Stage) -> None:
    two_loops(stage)
    stage.start("c")
    stage.go_on("c", 3)
    stage.worker.run(stage.take("c"), completed())


@contextlib.contextmanager
def _names(stage: Stage) -> Iterator[None]:
    """What is drawn by lot is the same each time: the id of an archive, and the names of its segments."""

    def token(count: int) -> str:
        return "a" * 32 if count == 16 else f"{int(stage.new_id(), 16) % 16**16:016x}"

    with patch.object(place, "secrets", SimpleNamespace(token_hex=token)):
        yield


class _AtOnce(Executor):
    """Whoever helps does it while it is waited for, so that each run does the same."""

    def __init__(self, *_: object) -> None:
        super().__init__()

    def submit(self, function: Callable[..., Any], /, *args: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args, **named))
        except BaseException as error:
            future.set_exception(error)
        return future


def marked_for_an_archive(stage: Stage, archive: str) -> None:
    orders = [(stage.incarnation(each), 2) for each in ("a", "b")]
    if not stage.store.list_prune_runs(0):
        stage.store.prune(prune_batch(*orders, run_id="run-1", archive=archive))
    stage.said()
    if (found := stage.store.get_instance("c")) is not None:
        orders_of_removal = ((found.incarnation, _PURGED),)
        stage.store.remove(removal_batch(*orders_of_removal, run_id="run-2", archive=archive))
    stage.said()


def archive_and_prune(stage: Stage) -> None:
    """A prune and a purge, whose histories are kept in an archive that is made for them, a segment at a time. What is
    reclaimed is gone for good with the sync; what is archived may be archived once more."""
    with _names(stage):
        marked_for_an_archive(stage, str(stage.directory / ARCHIVE))
        writing = Archiver(stage.store, None, events_max=_FEW_EVENTS)
        with contextlib.closing(writing):
            while (step := writing.step()).more:
                pass
            if step.busy:
                raise DocumentedError("somebody else is writing to the archive")
            for error in writing.unavailable.values():
                raise error
        while stage.store.reclaim(100).more:
            pass
        stage.store.sync()
        stage.said()
    stage.go_on("a", 7)
    stage.said()


def write_archive(stage: Stage) -> None:
    """As ``duroctl archive write --to``: what waits for an archive that nobody has configured."""
    with _names(stage), patch.object(archiver, "ThreadPoolExecutor", _AtOnce):
        marked_for_an_archive(stage, CONFIGURED)
        for outcome in stage.client.write_archive(to=stage.directory / ARCHIVE):
            if outcome.problem:
                raise duro.ArchiveUnavailableError(outcome.problem)
        while stage.store.reclaim(100).more:
            pass
        stage.store.sync()
        stage.said()


def archived(stage: Stage) -> None:
    two_loops_and_one_that_ended(stage)
    archive_and_prune(stage)


def restore(stage: Stage) -> None:
    """What was pruned, and an instance that was removed; each in several transactions."""
    with (
        patch.object(reader, "_RESTORE_EVENTS_MAX", _FEW_EVENTS),
        Archive(stage.directory / ARCHIVE, store_id=stage.store.store_id()) as archive,
    ):
        for instance_id in ("a", "c"):
            archive.restore(
                stage.store,
                archive.chosen(instance_id),
                run_id=f"restore-{instance_id}",
                hold_until_ms=10**15,
                by="ada",
                source=RunSource(),
            )
            stage.said()
    stage.go_on("a", 8)
    stage.said()


@cache
def _histories_before(path: Path) -> dict[tuple[int, int], list[str]]:
    """Of a store that nobody writes to any more."""
    with contextlib.closing(
        SqliteStore.open(path, url=f"sqlite:///{path}", clock=ManualClock(), new_id=lambda: "no", create=False)
    ) as store:
        return histories(store.dump())


def nothing_is_in_neither(stage: Stage, _acknowledged: int) -> None:
    """Each history that was there before is in the store or in the archive, and all of the archive is whole."""
    before = _histories_before(stage.directory.parent / "before" / FILE)
    there = histories(stage.store.dump())
    gone = {key: events for key, events in before.items() if there.get(key, [])[: len(events)] != events}
    path = stage.directory / ARCHIVE
    if not (path / "archive.json").exists():
        if gone:
            raise LostError(f"there is no archive, and {sorted(gone)} are not in the store")
        return
    with Archive(path, store_id=stage.store.store_id()) as archive:
        found = {(each.incarnation, each.execution_id): each for each in archive.executions()}
        if missing := sorted(gone.keys() - found.keys()):
            raise LostError(f"neither the store nor the archive has {missing}")
        for each, read in archive.read([found[key] for key in gone]):
            if list(read.history.events) != gone[each.incarnation, each.execution_id]:
                raise LostError(f"the archive has other events of {each.instance_id}/{each.execution_id}")
        problems = [*(check.problem for check in archive.verify() if check.problem), *map(str, archive.problems)]
        if problems:
            raise LostError("; ".join(problems))


# --- the file ----------------------------------------------------------------------------------------------------


def first_schema(directory: Path) -> None:
    with tempfile.TemporaryDirectory() as other:
        write_first_schema(directory / FILE, contents(Path(other) / FILE))


def first_schema_in_wal_mode(directory: Path) -> None:
    """As the first release left it, which had switched the file to a log."""
    first_schema(directory)
    with contextlib.closing(sqlite3.connect(directory / FILE)) as plain:
        plain.execute("PRAGMA journal_mode = WAL")


def migrate(stage: Stage) -> None:
    """The opening did it."""
    stage.said()
    stage.client.raise_event("b", "after", request_id="after the migration")
    stage.said()


def much_that_is_free(stage: Stage) -> None:
    two_loops(stage)
    stage.go_on("a", 40)
    stage.store.prune(prune_batch((stage.incarnation("a"), 1), run_id="run-1"))


def compact(stage: Stage, *, full: bool) -> None:
    stage.client.compact(full=full)
    stage.said()
    stage.go_on("b", 7)
    stage.said()


# --- other files -------------------------------------------------------------------------------------------------

CONFIG: Final = "runtime_config.toml"
_TEXTS: Final = [b"[pruning]\ndefault_keep_last = %d\n" % keep + b"# %d\n" % keep * 2_000 for keep in (10, 20, 30)]


def edit_settings(stage: Stage) -> None:
    """Whoever goes on takes no edit back."""
    path = stage.directory / CONFIG
    for number, text in enumerate(_TEXTS[1:], 1):
        try:
            if path.read_bytes() not in _TEXTS[number:]:
                edit_file(path, CONFIG, partial(_to, text))
        except OSError as error:  # as it says
            raise DocumentedError(str(error)) from error
        stage.said()


def _to(text: bytes, _before: bytes) -> bytes:
    return text


def settings_are_whole(stage: Stage, acknowledged: int) -> None:
    path = stage.directory / CONFIG
    load_settings(path, CONFIG)
    if path.read_bytes() not in _TEXTS[acknowledged : acknowledged + 2]:
        raise LostError("the settings are not those of the last edit")


def make_settings(stage: Stage) -> None:
    """``duroctl init``, for a store that is there."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        status = duroctl(["init", "--store", stage.store.url, "--config", os.fspath(stage.directory / CONFIG)])
    if status:
        raise DocumentedError(f"duroctl init: {said.getvalue()} ({status})")
    stage.said()


def settings_are_made(stage: Stage, acknowledged: int) -> None:
    path = stage.directory / CONFIG
    if not path.exists():
        _must_not_be_known(path, acknowledged > 0)
    elif not (load_settings(path, CONFIG).store_url or "").endswith(FILE):
        raise LostError("the settings do not name the store")


def back_up(stage: Stage) -> None:
    for number in (1, 2):
        target = stage.directory / f"backup-{number}.db"
        if not os.path.exists(target):  # noqa: PTH110 - says "no" where the system does not answer
            stage.client.backup(target)
        stage.said()


def backups_are_whole(stage: Stage, acknowledged: int) -> None:
    for number in (1, 2):
        path = stage.directory / f"backup-{number}.db"
        if not path.exists():
            _must_not_be_known(path, acknowledged >= number)
            continue
        with contextlib.closing(
            SqliteStore.open(path, url=f"sqlite:///{path}", clock=ManualClock(), new_id=lambda: "no", create=False)
        ) as copy:
            check_store(copy)
            if lasting(copy.dump()) != lasting(stage.store.dump()):
                raise LostError(f"{path.name} is another store")


def export(stage: Stage) -> None:
    target = stage.directory / "export.db"
    if not os.path.exists(target):  # noqa: PTH110 - as above
        stage.client.export(target)
    stage.said()


def export_is_whole(stage: Stage, acknowledged: int) -> None:
    path = stage.directory / "export.db"
    if not path.exists():
        _must_not_be_known(path, acknowledged > 0)
        return
    with contextlib.closing(sqlite3.connect(path)) as connection:
        executions = connection.execute("SELECT count(*) FROM executions").fetchone()[0]
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise LostError("the export is damaged")
    if executions != len(rows_of(stage.store, "executions")):
        raise LostError("the export has not all executions")


def plan_a_prune(stage: Stage) -> None:
    path = stage.directory / "plan.json"
    if not os.path.exists(path):  # noqa: PTH110 - as above
        write_plan(os.fspath(path), stage.client.plan_prune(duro.PruneOptions(keep_last=1)))
    stage.said()


def plan_is_whole(stage: Stage, acknowledged: int) -> None:
    path = stage.directory / "plan.json"
    if not path.exists():
        _must_not_be_known(path, acknowledged > 0)
        return
    made = stage.client.plan_prune(duro.PruneOptions(keep_last=1))
    if msgspec.structs.replace(read_plan(os.fspath(path)), made_at_ms=made.made_at_ms) != made:
        raise LostError("the plan is another one")


def _must_not_be_known(path: Path, known: bool) -> None:
    if known:
        raise LostError(f"{path.name} was acknowledged, and is not there")


def _lay_settings(directory: Path) -> None:
    (directory / CONFIG).write_bytes(_TEXTS[0])


SCENARIOS: Final = {
    each.name: each
    for each in (
        Scenario("start to completion", from_start_to_completion, prepare=None),
        Scenario("continue as new", partial(a_loop, "eternal")),
        Scenario("automatic prune of a program", partial(a_loop, "tidy")),
        Scenario("prune= of a program", partial(a_loop, "tidier")),
        Scenario("prune by hand", prune_by_hand, two_loops),
        Scenario("prune and continue", prune_and_continue, two_loops),
        Scenario("prune of what a turn leaves", prune_what_a_turn_leaves, two_loops),
        Scenario("prune in bulk", prune_in_bulk, two_loops),
        Scenario("undo", undo, two_loops_pruned),
        Scenario("reclaim", reclaim, two_loops_pruned),
        Scenario("orphan clean-up", clean_up_orphans, orphans),
        Scenario("purge of a tree", purge_a_tree, finished_tree),
        Scenario("archive and prune", archive_and_prune, two_loops_and_one_that_ended, files=nothing_is_in_neither),
        Scenario("archive write", write_archive, two_loops_and_one_that_ended, files=nothing_is_in_neither),
        Scenario("restore", restore, archived, files=nothing_is_in_neither),
        Scenario("migration", migrate, prepare=None, lay=first_schema),
        Scenario("migration in WAL mode", migrate, prepare=None, lay=first_schema_in_wal_mode),
        Scenario("compact", partial(compact, full=False), much_that_is_free),
        Scenario("compact --full", partial(compact, full=True), much_that_is_free),
        Scenario("settings", edit_settings, files=settings_are_whole, lay=_lay_settings),
        Scenario("init", make_settings, files=settings_are_made),
        Scenario("backup", back_up, two_loops, files=backups_are_whole),
        Scenario("export", export, two_loops, files=export_is_whole),
        Scenario("plan file", plan_a_prune, two_loops, files=plan_is_whole),
    )
}


def set_up(scenario: Scenario, directory: Path) -> None:
    """What is there before."""
    scenario.lay(directory)
    if scenario.prepare is not None:
        stage = Stage(directory, now_ms=START_MS)
        scenario.prepare(stage)
        stage.close()

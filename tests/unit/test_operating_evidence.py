"""The evidence of the campaign with operators: what a broken promise would leave behind is found and named."""

import copy
from typing import Any, NamedTuple

import msgspec
import pytest

import duro
from duro.maintenance.archive.format import HistoryRead
from duro.maintenance.archive.reader import Archive
from duro.model.removal import PruneScope
from duro.stores.base import StoreDump
from duro.stores.memory import MemoryStore
from tests.support import workload
from tests.support.operating.evidence import check_kept_evidence
from tests.support.operating.process import Told
from tests.support.traffic import Acknowledged, Expected


class Left(NamedTuple):
    dump: StoreDump
    kept: list[HistoryRead]
    effects: list[str]
    acknowledged: Acknowledged
    told: list[Told]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """A loop of four of which one is left and one came back, a chain that was purged, and what operators were told."""
    directory = tmp_path_factory.mktemp("left")
    effects = directory / "effects.log"
    archive = directory / "kept"
    with pytest.MonkeyPatch.context() as patched, duro.Runtime("memory:", workload.registry) as runtime:
        patched.setenv(workload.EFFECTS_LOG_VARIABLE, str(effects))
        client = runtime.client
        client.start_orchestration("chain", 2, instance_id="chain")
        client.start_orchestration("loop", [4, 0], instance_id="loop")
        client.wait_for_orchestrations(["chain", "loop"], 20)
        only_chain = PruneScope(instance_ids=("chain",))
        pruned = client.prune_executions("loop", 1, archive=archive, grace_s=0, reason="one")
        purged = client.purge_instances(
            duro.PurgeOptions(completed_before=10**14), scope=only_chain, archive=archive, grace_s=0, reason="two"
        )
        client.restore_archived("loop", [2], directory=archive)
        assert isinstance(runtime.store, MemoryStore)
        dump = runtime.store.dump()
    with Archive(archive) as opened:
        kept = [read for _, read in opened.read(opened.executions())]
    told = [
        _told("one", "prune", "--all", "--reason", "one", document=pruned),
        _told("two", "instances", "purge", "--all", "--reason", "two", document=purged),
        _told("three", "archive", "restore", "loop/2"),
    ]
    acknowledged = Acknowledged(
        instances={"chain": Expected("chain", "completed", 2), "loop": Expected("loop", "completed", [4, 4])}
    )
    return Left(dump, kept, effects.read_text().splitlines(), acknowledged, told)


def _told(number: str, *arguments: str, status: int = 0, document: Any = None) -> Told:
    return Told(number, arguments, status, "" if document is None else msgspec.json.encode(document).decode())


def changed(left: Left) -> Left:
    """The same, to be damaged."""
    return left._replace(dump=copy.deepcopy(left.dump), kept=list(left.kept), told=list(left.told))


def execution_of(left: Left, instance_id: str, number: int) -> tuple[int, dict[str, Any]]:
    """Its incarnation, and its row in the store."""
    (incarnation,) = {row["incarnation"] for row in left.dump["instances"] if row["instance_id"] == instance_id}
    rows = [
        row for row in left.dump["executions"] if (row["incarnation"], row["execution_id"]) == (incarnation, number)
    ]
    return incarnation, rows[0]


def check(left: Left, finding: str) -> None:
    with pytest.raises(AssertionError, match=finding):
        check_kept_evidence(*left)


def test_what_went_well_is_accepted(left_behind: Left) -> None:
    check_kept_evidence(*left_behind)


def test_a_history_that_is_in_neither_store_nor_archive_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    left.kept[:] = [each for each in left.kept if each.history.execution.execution_id != 3]
    check(left, "loop/3 .* is whole neither in the store nor in an archive")


def test_an_instance_that_is_gone_altogether_is_named_by_what_it_did(left_behind: Left) -> None:
    left = changed(left_behind)
    left.kept[:] = [each for each in left.kept if each.history.execution.instance_id != "chain"]
    check(left, "chain/1 .* is whole neither in the store nor in an archive")


def test_a_history_that_is_archived_in_part_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    for position, read in enumerate(left.kept):
        if read.history.execution.execution_id == 3:
            part = msgspec.structs.replace(read.history, events=read.history.events[:-1])
            left.kept[position] = msgspec.structs.replace(read, history=part)
    check(left, "loop/3 .* is whole neither in the store nor in an archive")


def test_copies_that_differ_are_named(left_behind: Left) -> None:
    left = changed(left_behind)
    incarnation, _ = execution_of(left, "loop", 2)
    rows = [row for row in left.dump["history"] if (row["incarnation"], row["execution_id"]) == (incarnation, 2)]
    rows[-1]["data"] = rows[0]["data"]
    check(left, "loop/2 differs between the store and an archive")


def test_what_is_gone_and_not_in_the_ledger_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    left.dump["ledger"].clear()
    check(left, "loop/1 is gone, and its ledger does not name it")


def test_an_answer_that_is_not_documented_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    left.told.append(_told("four", "archive", "verify", status=9))
    check(left, "duroctl archive verify ended with 9")


def test_a_run_that_was_acknowledged_and_is_not_there_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    left.dump["prune_runs"][:] = [row for row in left.dump["prune_runs"] if row["reason"] != "one"]
    check(left, "was acknowledged and is in no ledger")


def test_a_run_that_removed_something_else_than_it_said_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    for row in left.dump["prune_runs"]:
        row["executions"] += 1
    check(left, "removed 3 for 'one', and the ledger says 4")


def test_a_run_that_happened_twice_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    (run,) = [row for row in left.dump["prune_runs"] if row["reason"] == "two"]
    left.dump["prune_runs"].append({**run, "run_id": "run-again"})
    check(left, "two was asked for once, and the ledger has 2 runs of it")


def test_what_was_restored_and_is_gone_again_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    _, row = execution_of(left, "loop", 2)
    left.dump["executions"].remove(row)
    check(left, "loop/2 was restored and is not in the store")


def test_what_an_undo_brought_back_and_is_gone_again_is_named(left_behind: Left) -> None:
    left = changed(left_behind)
    left.told.append(_told("four", "prune", "undo", "run-1", document={"instances": ["loop", "chain"]}))
    check(left, "chain was brought back by prune undo run-1 and is not in the store")


def test_an_instance_that_was_removed_is_held_to_what_its_caller_was_told(left_behind: Left) -> None:
    left = changed(left_behind)
    left.acknowledged.instances["chain"] = Expected("chain", "completed", 3)
    try:
        check(left, r"chain \(chain\) gave 2, not 3")
    finally:
        left.acknowledged.instances["chain"] = Expected("chain", "completed", 2)

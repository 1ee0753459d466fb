"""What is in the store, in the archives and in the journals of operators, compared with each other and with what was
acknowledged: pure functions from values to findings, in sentences."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from duro.maintenance.archive.format import HistoryRead
from duro.stores.base import StoreDump
from tests.support.evidence import check_evidence
from tests.support.operating.calls import Call, acknowledged_to, calls_cut_in_two
from tests.support.operating.process import Told
from tests.support.traffic import Acknowledged

Key = tuple[int, int]
"""An execution: incarnation and number."""

STATUSES: Final = {
    "prune": (0, 3),  # 3: some were removed by others meanwhile, or somebody else writes to the archive
    "prune undo": (0, 8),  # 8: all of it is gone, or its ids are used again
    "orphans cleanup": (0, 3),
    "instances purge": (0, 3),
    "archive write": (0, 3),
    "archive list": (0,),
    "archive verify": (0,),
    # 5: what would come back is there in another form, or can be undone; 7: its instance is gone, to another archive
    "archive restore": (0, 5, 7),
    "doctor": (0,),
}
"""What a command may say beside faults. Every other one is a finding."""


def check_kept_evidence(
    dump: StoreDump,
    kept: Sequence[HistoryRead],
    effects: Sequence[str],
    acknowledged: Acknowledged,
    told: list[Told],
    calls: Sequence[Sequence[Call]] = (),
) -> None:
    """Raises AssertionError with all that is wrong: a history that is in neither, copies that differ, a promise to a
    caller or to an operator that was not kept; and what ``check_evidence`` finds in the store and the archives as one.
    ``calls``: the journals of clients that were killed.
    """
    everything = whole(dump, kept)
    for each in calls:
        acknowledged = acknowledged.with_those_of(acknowledged_to(each, everything))
    findings = [
        *(finding for each in calls for finding in calls_cut_in_two(each, everything)),
        *histories_in_neither(dump, kept, effects),
        *copies_that_differ(dump, kept),
        *gone_and_not_in_the_ledger(dump),
        *answers_nobody_documented(told),
        *runs_told_of_and_not_there(dump, told),
        *brought_back_and_not_there(dump, told),
    ]
    assert not findings, "\n".join(findings[:50])
    check_evidence(dump, effects, acknowledged, everything=everything)


def whole(dump: StoreDump, kept: Iterable[HistoryRead]) -> StoreDump:
    """The store as if nothing had ever been removed from it."""
    instances = {row["incarnation"]: row for row in (*dump["removed_instances"], *dump["instances"])}
    lineage = {row["child_incarnation"]: row for row in dump["lineage"]}
    histories = _events(dump)
    for read in kept:
        execution = read.history.execution
        histories[execution.incarnation, execution.execution_id] = list(read.history.events)
        if read.instance is not None:
            row = msgspec.structs.asdict(read.instance)
            instances.setdefault(execution.incarnation, row)
            if read.instance.lineage is not None:
                parent = {"child_incarnation": execution.incarnation}
                lineage.setdefault(execution.incarnation, parent)
    rows = [
        {"incarnation": incarnation, "execution_id": execution_id, "event_id": number, "data": data}
        for (incarnation, execution_id), events in sorted(histories.items())
        for number, data in enumerate(events, 1)
    ]
    return {
        **dump,
        "instances": [instances[each] for each in sorted(instances)],
        "lineage": [lineage[each] for each in sorted(lineage)],
        "history": rows,
    }


def histories_in_neither(dump: StoreDump, kept: Sequence[HistoryRead], effects: Iterable[str]) -> Iterator[str]:
    """Every execution there ever was is whole in the store or in an archive: those below the last one of an instance
    that is there, is removed or is archived, and those in which an activity has run."""
    events = _events(dump)
    archived = {_key(read) for read in kept if read.history.execution.event_count == len(read.history.events)}
    lasts: dict[int, tuple[str, int]] = {
        read.instance.incarnation: (read.instance.instance_id, read.instance.execution_id)
        for read in kept
        if read.instance is not None
    }
    for row in (*dump["removed_instances"], *dump["instances"]):
        lasts[row["incarnation"]] = row["instance_id"], row["execution_id"]
    known = {(each, number): name for each, (name, last) in lasts.items() for number in range(1, last + 1)}
    for effect in effects:
        name, incarnation, execution_id, _ = effect.rsplit("/", 3)
        known.setdefault((int(incarnation), int(execution_id)), name)
    counts = {(row["incarnation"], row["execution_id"]): row["event_count"] for row in dump["executions"]}
    for key, name in sorted(known.items()):
        in_store = key in counts and counts[key] == len(events.get(key, ()))
        if not in_store and key not in archived:
            yield f"{name}/{key[1]} (of incarnation {key[0]}) is whole neither in the store nor in an archive"


def copies_that_differ(dump: StoreDump, kept: Iterable[HistoryRead]) -> Iterator[str]:
    """What is in both is the same, byte by byte."""
    events = _events(dump)
    counts = {(row["incarnation"], row["execution_id"]): row["event_count"] for row in dump["executions"]}
    for read in kept:
        found = events.get(_key(read), [])
        if counts.get(_key(read)) == len(found) and tuple(found) != read.history.events:
            execution = read.history.execution
            yield f"{execution.instance_id}/{execution.execution_id} differs between the store and an archive"


def gone_and_not_in_the_ledger(dump: StoreDump) -> Iterator[str]:
    """What an instance no longer has is in a range of its ledger."""
    live = {(row["incarnation"], row["execution_id"]) for row in dump["executions"] if row["removal"] == "live"}
    ranges: dict[int, list[tuple[int, int]]] = {}
    for row in dump["ledger"]:
        ranges.setdefault(row["incarnation"], []).append((row["first_execution_id"], row["last_execution_id"]))
    for row in dump["instances"]:
        incarnation = row["incarnation"]
        for number in range(1, row["execution_id"] + 1):
            named = any(first <= number <= last for first, last in ranges.get(incarnation, ()))
            if (incarnation, number) not in live and not named:
                yield f"{row['instance_id']}/{number} is gone, and its ledger does not name it"


def answers_nobody_documented(told: Iterable[Told]) -> Iterator[str]:
    """Commands succeed, or say what stood in their way, whatever happens to others."""
    for each in told:
        if each.status is not None and each.status not in STATUSES[command_of(each)]:
            yield f"duroctl {' '.join(each.arguments)} ended with {each.status}: {each.err.strip() or each.out}"


def runs_told_of_and_not_there(dump: StoreDump, told: Iterable[Told]) -> Iterator[str]:
    """A run somebody was told of is in the ledger of runs once, with what it was told to have removed and why."""
    runs = {row["run_id"]: row for row in dump["prune_runs"]}
    of_reason: dict[str, int] = {}
    for row in runs.values():
        of_reason[row["reason"]] = of_reason.get(row["reason"], 0) + 1
    for each in told:
        document = each.document if each.status in (0, 3) and "--reason" in each.arguments else {}
        run_id = document.get("run_id")
        if not run_id:
            continue
        removed = document.get("executions", document.get("executions_deleted"))
        run = runs.get(run_id)
        if run is None:
            yield f"run {run_id} was acknowledged and is in no ledger"
        elif (run["reason"], run["executions"]) != (each.number, removed):
            said = f"{run['executions']} for {run['reason']!r}"
            yield f"run {run_id} removed {removed} for {each.number!r}, and the ledger says {said}"
        elif of_reason[each.number] != 1:
            yield f"{each.number} was asked for once, and the ledger has {of_reason[each.number]} runs of it"


def brought_back_and_not_there(dump: StoreDump, told: Iterable[Told]) -> Iterator[str]:
    """What was restored or undone is under a hold: it is in the store, whoever prunes beside it."""
    there = {row["instance_id"]: row["incarnation"] for row in dump["instances"]}
    live = {(row["incarnation"], row["execution_id"]) for row in dump["executions"] if row["removal"] == "live"}
    for each in told:
        if each.status != 0:
            continue
        if command_of(each) == "archive restore":
            name, _, number = each.arguments[-1].rpartition("/")
            if (there.get(name, 0), int(number)) not in live:
                yield f"{name}/{number} was restored and is not in the store"
        elif command_of(each) == "prune undo":
            for name in each.document["instances"]:
                if name not in there:
                    yield f"{name} was brought back by {' '.join(each.arguments)} and is not in the store"


def command_of(told: Told) -> str:
    """Its words, without what stands behind them."""
    words = " ".join(told.arguments[:2])
    return words if words in STATUSES else told.arguments[0]


def _key(read: HistoryRead) -> Key:
    return read.history.execution.incarnation, read.history.execution.execution_id


def _events(dump: StoreDump) -> dict[Key, list[Any]]:
    found: dict[Key, list[Any]] = {}
    for row in dump["history"]:  # by primary key: in order
        found.setdefault((row["incarnation"], row["execution_id"]), []).append(row["data"])
    return found

"""What is true of what was pruned, at every moment; see ``invariants``."""

from collections import Counter, defaultdict
from typing import Any

from duro.model.limits import LEDGER_RANGES_MAX
from duro.stores.base import StoreDump

_MARKS = ("pruned_at_ms", "reclaim_at_ms", "run_id")
_UNFINISHED = frozenset({"pending", "running"})


def marked_executions_are_neither_current_nor_running(dump: StoreDump) -> list[str]:
    """Promise 3."""
    current = {row["incarnation"]: row["execution_id"] for row in dump["instances"]}
    return [
        f"execution {row['execution_id']} of {row['incarnation']} is {row['removal']} and {row['status']}"
        for row in dump["executions"]
        if row["removal"] != "live"
        and (row["status"] in _UNFINISHED or current.get(row["incarnation"]) == row["execution_id"])
    ]


def marks_say_when_and_until(dump: StoreDump) -> list[str]:
    return [
        f"execution {row['execution_id']} of {row['incarnation']} is {row['removal']} without its marks"
        for row in dump["executions"]
        if any(
            (row["removal"] == "live") != (row[column] is None)
            for column in ("pruned_at_ms", "reclaim_at_ms", "run_id")
        )
    ]


def no_live_execution_is_below_where_they_begin(dump: StoreDump) -> list[str]:
    """Views begin at ``live_from``: what is below is never seen again."""
    live_from = {row["incarnation"]: row["live_from"] for row in dump["instances"]}
    return [
        f"execution {row['execution_id']} of {row['incarnation']} is live below {live_from[row['incarnation']]}"
        for row in dump["executions"]
        if row["removal"] == "live" and row["execution_id"] < live_from.get(row["incarnation"], 0)
    ]


def kept_and_pruned_is_everything(dump: StoreDump) -> list[str]:
    """Live executions and what the ledger counts (less what came back) are all there ever were."""
    live: Counter[int] = Counter(row["incarnation"] for row in dump["executions"] if row["removal"] == "live")
    pruned: Counter[int] = Counter()
    for row in dump["ledger"]:
        pruned[row["incarnation"]] += row["executions"] * (-1 if row["trigger"] == "undo" else 1)
    return [
        f"instance {row['incarnation']} had {row['execution_id']} executions: {live[row['incarnation']]} are live, "
        f"{pruned[row['incarnation']]} pruned"
        for row in dump["instances"]
        if live[row["incarnation"]] + pruned[row["incarnation"]] != row["execution_id"]
    ]


def what_was_asked_for_is_of_an_instance_that_is_there(dump: StoreDump) -> list[str]:
    """And names an execution there has been."""
    current = {
        row["incarnation"]: row["execution_id"] for table in ("instances", "removed_instances") for row in dump[table]
    }
    return [
        f"a prune is asked for of {row['incarnation']} through {row['through']}"
        for row in dump["asked_prunes"]
        if not 1 <= row["through"] <= current.get(row["incarnation"], 0)
    ]


def the_ledger_is_bounded(dump: StoreDump) -> list[str]:
    """Promise 11. One that is removed has a row more, which says so."""
    removed = {row["incarnation"] for row in dump["removed_instances"]}
    ranges: Counter[int] = Counter(
        row["incarnation"] for row in dump["ledger"] if row["run_id"] is None and row["incarnation"] not in removed
    )
    return [
        f"the ledger of {incarnation} has {count} automatic ranges"
        for incarnation, count in ranges.items()
        if count > LEDGER_RANGES_MAX
    ]


def ledger_rows_belong_to_an_instance_and_a_run(dump: StoreDump) -> list[str]:
    incarnations = {row["incarnation"] for table in ("instances", "removed_instances") for row in dump[table]}
    runs = {row["run_id"] for row in dump["prune_runs"]} | {None}
    return [
        f"ledger row {row['sequence']} of {row['incarnation']} (run {row['run_id']}) belongs to nothing"
        for row in dump["ledger"]
        if row["incarnation"] not in incarnations or row["run_id"] not in runs
    ]


def runs_count_what_their_ledger_rows_count(dump: StoreDump) -> list[str]:
    """More where an instance of the run is gone, and its rows with it."""
    sums: dict[str, dict[str, Any]] = defaultdict(lambda: {"instances": 0, "executions": 0, "events": 0})
    for row in dump["ledger"]:
        if row["run_id"] is not None:
            of_run = sums[row["run_id"]]
            of_run["instances"] += 1
            of_run["executions"] += row["executions"]
            of_run["events"] += row["events"]
    return [
        f"run {row['run_id']} counts {row[column]} {column}, its ledger rows {sums[row['run_id']][column]}"
        for row in dump["prune_runs"]
        for column in ("instances", "executions", "events")
        if row[column] < sums[row["run_id"]][column]
    ]


def what_waits_for_its_archive_is_whole(dump: StoreDump) -> list[str]:
    """Promise 7: nothing of it goes before it is there."""
    events = Counter((row["incarnation"], row["execution_id"]) for row in dump["history"])
    removed = {row["incarnation"] for row in dump["removed_instances"] if row["unarchived"]}
    found = []
    for row in dump["executions"]:
        with_its_instance = row["incarnation"] in removed and row["removal"] == "live"
        name = f"execution {row['execution_id']} of {row['incarnation']}"
        if row["unarchived"] and (row["removal"] != "pruned" or row["archive"] is None):
            found.append(f"{name} waits for archive {row['archive']!r} and is {row['removal']}")
        key = (row["incarnation"], row["execution_id"])
        if (row["unarchived"] or with_its_instance) and events[key] != row["event_count"]:
            found.append(f"{name} waits for its archive and has {events[key]} of {row['event_count']} events")
    return found


PRUNE_INVARIANTS = (
    marked_executions_are_neither_current_nor_running,
    marks_say_when_and_until,
    no_live_execution_is_below_where_they_begin,
    kept_and_pruned_is_everything,
    what_was_asked_for_is_of_an_instance_that_is_there,
    the_ledger_is_bounded,
    ledger_rows_belong_to_an_instance_and_a_run,
    runs_count_what_their_ledger_rows_count,
    what_waits_for_its_archive_is_whole,
)

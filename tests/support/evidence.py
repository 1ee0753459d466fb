"""What is left behind, compared with what was acknowledged: pure functions from values to findings, in sentences."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from duro.codec import decode_event
from duro.model import events as ev
from duro.stores.base import StoreDump
from duro.testing import check_invariants
from tests.support.traffic import Acknowledged


def check_evidence(
    dump: StoreDump, effects: Iterable[str], acknowledged: Acknowledged, *, everything: StoreDump | None = None
) -> None:
    """Raises AssertionError with all that is wrong: a promise to a caller not kept, an event lost, repeated or out of
    order, a history that records an activity nobody ran, an invariant that does not hold. ``everything``: the store
    with what was removed from it, where something was."""
    everything = dump if everything is None else everything
    findings = [
        *instances_that_ended_otherwise(everything, acknowledged),
        *events_lost_or_out_of_order(everything, acknowledged),
        *activities_recorded_and_never_run(everything, effects),
    ]
    assert not findings, "\n".join(findings[:50])
    check_invariants(dump)


def histories_by_instance(dump: StoreDump) -> dict[str, list[ev.AnyEvent]]:
    """All events of each instance, over all its executions, in order."""
    ids = {row["incarnation"]: row["instance_id"] for row in dump["instances"]}
    rows = sorted(dump["history"], key=lambda row: (row["incarnation"], row["execution_id"], row["event_id"]))
    histories: dict[str, list[ev.AnyEvent]] = defaultdict(list)
    for row in rows:
        histories[ids[row["incarnation"]]].append(decode_event(row["data"]))
    return histories


def instances_that_ended_otherwise(dump: StoreDump, acknowledged: Acknowledged) -> Iterator[str]:
    """Every acknowledged start is there and ended as it had to; nobody else (but children) is."""
    found = {row["instance_id"]: row for row in dump["instances"]}
    children = {row["child_incarnation"] for row in dump["lineage"]}
    histories = histories_by_instance(dump)
    for instance_id, expected in acknowledged.instances.items():
        row = found.get(instance_id)
        if row is None:
            yield f"{instance_id} ({expected.name}) was acknowledged and is not there"
        elif row["status"] != expected.status:
            yield f"{instance_id} ({expected.name}) is {row['status']}, not {expected.status}"
        elif expected.output is not None and (output := _output(histories[instance_id])) != expected.output:
            yield f"{instance_id} ({expected.name}) gave {output}, not {expected.output}"
    for row in dump["instances"]:
        if row["instance_id"] not in acknowledged.instances and row["incarnation"] not in children:
            yield f"{row['instance_id']} is there and nobody started it"
        elif row["completed_at_ms"] is None:
            yield f"{row['instance_id']} ({row['name']}) is still {row['status']}"


def events_lost_or_out_of_order(dump: StoreDump, acknowledged: Acknowledged) -> Iterator[str]:
    """Each sender's events are delivered once and in the order raised, and the code was given them in that order."""
    histories = histories_by_instance(dump)
    for instance_id, by_sender in acknowledged.items.items():
        history = histories.get(instance_id, [])
        delivered = [msgspec.json.decode(each.data) for each in history if isinstance(each, ev.EventReceived)]
        for sender, numbers in by_sender.items():
            came = [number for from_whom, number in delivered if from_whom == sender]
            if came != numbers:
                yield f"{instance_id} was sent {numbers} by {sender} and received {came}"
        if history and (output := _output(history)) != delivered:
            yield f"{instance_id} received {delivered} and its code says {output}"


def activities_recorded_and_never_run(dump: StoreDump, effects: Iterable[str]) -> Iterator[str]:
    """Activities run at least once: what history says was completed has left its effect."""
    ran = Counter(effects)
    ids = {row["incarnation"]: row["instance_id"] for row in dump["instances"]}
    for row in dump["history"]:
        event = decode_event(row["data"])
        if isinstance(event, ev.ActivityCompleted):
            incarnation = row["incarnation"]
            key = f"{ids[incarnation]}/{incarnation}/{row['execution_id']}/{event.scheduled_event_id}"
            if not ran[key]:
                yield f"activity {key} is recorded as completed and left no effect"


def _output(history: list[ev.AnyEvent]) -> Any:
    last = history[-1] if history else None
    return msgspec.json.decode(last.result) if isinstance(last, ev.OrchestrationCompleted) else None

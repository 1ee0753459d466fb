"""The journals of clients that are killed: what a call left half done would be named, and who comes back goes on."""

import copy
from pathlib import Path

import msgspec
import pytest

import duro
from duro.stores.base import StoreDump
from duro.stores.memory import MemoryStore
from tests.support import workload
from tests.support.evidence import check_evidence
from tests.support.operating.caller import Caller
from tests.support.operating.calls import (
    Begun,
    Call,
    acknowledged_to,
    calls_cut_in_two,
    is_inside_a_call,
    journal_of,
    read_calls,
    settled,
)

CHAINS = tuple(Begun(f"client-1-{number}", "chain", 2, "completed", 2) for number in (1, 2))
START = Call(1, "start", starts=CHAINS)
TOLD, GIVEN_UP = (msgspec.structs.replace(START, outcome=outcome) for outcome in ("told", "given up"))


@pytest.fixture(scope="module")
def ended() -> StoreDump:
    """Both chains have run."""
    with duro.Runtime("memory:", workload.registry) as runtime:
        for begun in CHAINS:
            runtime.client.start_orchestration("chain", 2, instance_id=begun.instance_id)
        runtime.client.wait_for_orchestrations([each.instance_id for each in CHAINS], 20)
        assert isinstance(runtime.store, MemoryStore)
        return runtime.store.dump()


def without(dump: StoreDump, *instance_ids: str) -> StoreDump:
    left = copy.deepcopy(dump)
    gone = {row["incarnation"] for row in left["instances"] if row["instance_id"] in instance_ids}
    for table in ("instances", "history"):
        left[table][:] = [row for row in left[table] if row["incarnation"] not in gone]
    return left


def effects_of(dump: StoreDump) -> list[str]:
    ids = {row["incarnation"]: row["instance_id"] for row in dump["instances"]}
    return [f"{name}/{incarnation}/1/{event}" for incarnation, name in ids.items() for event in range(20)]


def test_a_start_that_was_told_of_or_given_up_and_is_there_is_held_to_its_end(ended: StoreDump) -> None:
    for call in (TOLD, GIVEN_UP):
        assert list(calls_cut_in_two([START, call], ended)) == []
        check_evidence(ended, effects_of(ended), acknowledged_to([START, call], ended))
    other = msgspec.structs.replace(TOLD, starts=(msgspec.structs.replace(CHAINS[0], output=3), CHAINS[1]))
    with pytest.raises(AssertionError, match=r"client-1-1 \(chain\) gave 2, not 3"):
        check_evidence(ended, effects_of(ended), acknowledged_to([other], ended))


def test_a_start_that_was_told_of_and_is_not_there_is_named(ended: StoreDump) -> None:
    nothing = without(ended, "client-1-1", "client-1-2")
    with pytest.raises(AssertionError, match=r"client-1-1 \(chain\) was acknowledged and is not there"):
        check_evidence(nothing, [], acknowledged_to([START, TOLD], nothing))
    assert acknowledged_to([START, GIVEN_UP], nothing).instances == {}


def test_a_start_that_happened_in_part_is_named(ended: StoreDump) -> None:
    half = without(ended, "client-1-2")
    expected = "a start that was cut off started client-1-1 and not client-1-2"
    assert list(calls_cut_in_two([START, GIVEN_UP], half)) == [expected]


def test_a_call_nobody_came_back_to_is_named(ended: StoreDump) -> None:
    expected = "start 1 was asked for, and nobody ever came back to it"
    assert list(calls_cut_in_two([START], ended)) == [expected]


def test_events_and_cancels_are_remembered_by_whom_they_went_to() -> None:
    collector = Begun("client-1-1", "collector", {"wanted": 2, "got": []}, "completed", None)
    calls = [
        Call(1, "start", "told", starts=(collector,)),
        *(Call(2 + item, "event", "told", instance_id="client-1-1", sender="ann", item=item) for item in (0, 1)),
        Call(4, "event", "repeated", instance_id="client-1-1", sender="bob", item=0),
        Call(5, "cancel", "told", instance_id="client-1-2"),
    ]
    found = acknowledged_to(calls, {"instances": []})
    assert (found.items, found.cancelled) == ({"client-1-1": {"ann": [0, 1], "bob": [0]}}, ["client-1-2"])


def journal(directory: Path, *calls: Call) -> Path:
    file = journal_of(directory, "client-1")
    file.write_bytes(b"".join(msgspec.json.encode(call) + b"\n" for call in calls))
    return file


def test_whoever_comes_back_repeats_a_start_or_looks_what_became_of_it(tmp_path: Path) -> None:
    outcomes = set()
    for happened in (False, True):
        for seed in range(8):
            file = journal(tmp_path, START)
            assert is_inside_a_call(file)
            with duro.Client("memory:") as client:
                if happened:
                    starts = [
                        duro.Start(orchestration="chain", input=2, instance_id=each.instance_id) for each in CHAINS
                    ]
                    client.start_orchestrations(starts, request_id="client-1-1", allow_unregistered=True)
                Caller(tmp_path, "client-1", str(seed), client)
                (call,) = settled(read_calls(file))
                there = {each.instance_id for each in client.list_instances().instances}
                assert there == (set() if call.outcome == "given up" else {"client-1-1", "client-1-2"})
            assert not is_inside_a_call(file)
            outcomes.add((happened, call.outcome))
    assert outcomes == {(False, "repeated"), (False, "given up"), (True, "repeated"), (True, "found")}


def test_an_event_that_was_cut_off_is_sent_once_whether_it_had_arrived_or_not(tmp_path: Path) -> None:
    collector = Begun("client-1-1", "collector", {"wanted": 12, "got": []}, "completed", None)
    event = Call(2, "event", instance_id="client-1-1", sender="ann", item=0)
    for arrived in (False, True):
        file = journal(tmp_path, Call(1, "start", "told", starts=(collector,)), event)
        with duro.Client("memory:") as client:
            client.start_orchestration("collector", collector.input, instance_id="client-1-1", allow_unregistered=True)
            if arrived:
                client.raise_event("client-1-1", "item", ["ann", 0], request_id="client-1-2")
            Caller(tmp_path, "client-1", "0", client)
            assert isinstance(client.store, MemoryStore)
            assert len(client.store.dump()["mailbox"]) == 1
        assert settled(read_calls(file))[-1].outcome == "repeated"

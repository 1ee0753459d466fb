"""How many more activities a worker may take: over all, plain ones for its threads, and of a name."""

from typing import Any

import pytest

import duro
from duro.errors import RegistryError
from duro.host.attempts import ActivityOutcome, attempt_of
from duro.host.room import ActivityRoom, Room
from duro.model.turns import LeasedActivity
from duro.registry import ActivityDefinition


def registry() -> duro.Registry:
    filled = duro.Registry()

    @filled.activity
    async def free(ctx: duro.ActivityContext) -> None: ...

    @filled.activity
    def plain(ctx: duro.ActivityContext) -> None: ...

    @filled.activity(max_concurrent=2)
    async def scarce(ctx: duro.ActivityContext) -> None: ...

    return filled


def definition(name: str) -> ActivityDefinition:
    found = registry().find_activity(name)
    assert found is not None
    return found


def make_room(max_concurrent_activities: int = 10, max_activity_threads: int = 32) -> ActivityRoom:
    options = duro.RuntimeOptions(
        max_concurrent_activities=max_concurrent_activities, max_activity_threads=max_activity_threads
    )
    return ActivityRoom(registry(), options)


def test_a_name_with_a_limit_takes_that_many_and_leaves_the_rest_to_others() -> None:
    room = make_room(max_activity_threads=8)
    assert room.to_lease() == Room(("free", "plain", "scarce"), 10, {"scarce": 2})
    assert [room.take(definition("scarce")) for _ in range(3)] == [True, True, False]
    assert room.to_lease() == Room(("free", "plain"), 8, {})
    room.give_back(definition("scarce"))
    assert room.to_lease() == Room(("free", "plain", "scarce"), 9, {"scarce": 1})


def test_without_threads_left_only_async_ones_are_taken() -> None:
    room = make_room(max_activity_threads=1)
    assert [room.take(definition("plain")) for _ in range(3)] == [True, True, False]
    assert room.to_lease() == Room(("free", "scarce"), 8, {"scarce": 2})


def outcome(name: str, thread: Any) -> ActivityOutcome:
    leased = LeasedActivity(
        instance_id="a",
        incarnation=1,
        execution_id=1,
        event_id=2,
        name=name,
        attempt=1,
        lease_epoch=1,
        scheduled_at_ms=0,
        input="null",
    )
    return ActivityOutcome(attempt=attempt_of(leased, definition(name)), thread=thread)


def test_a_thread_that_stays_with_a_function_takes_nothing_and_has_nothing_wait_for_it() -> None:
    room = make_room(max_activity_threads=2)
    assert [room.take(definition("plain")) for _ in range(2)] == [True, True]
    room.ended(outcome("plain", "stays"))
    assert room.to_lease() == Room(("free", "plain", "scarce"), 1, {"scarce": 2})
    room.ended(outcome("plain", "stays"))
    assert room.to_lease() == Room(("free", "scarce"), 10, {"scarce": 2})
    assert not room.take(definition("plain"))
    for _ in range(2):
        room.ended(outcome("plain", "is back"))
    assert room.to_lease() == Room(("free", "plain", "scarce"), 4, {"scarce": 2})
    assert room.take(definition("plain"))
    room.ended(outcome("plain", "free"))
    assert room.to_lease() == make_room(max_activity_threads=2).to_lease()


def test_a_full_worker_takes_nothing() -> None:
    room = make_room(max_concurrent_activities=1)
    assert room.take(definition("free"))
    assert not room.take(definition("scarce"))
    assert room.to_lease() == Room((), 0, {})


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "2"])
def test_a_limit_must_be_a_whole_number_of_at_least_one(count: object) -> None:
    with pytest.raises(RegistryError, match="max_concurrent of activity 'scarce' must be a whole number of at least 1"):
        duro.Registry().activity(name="scarce", max_concurrent=count)(lambda ctx: None)  # type: ignore[call-overload]

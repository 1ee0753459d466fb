"""What may come back from an archive beside what is there."""

import pytest

from duro.errors import RestoreRefusedError
from duro.model.archive import ArchivableInstance, Restoration
from duro.model.ledger import NO_SOURCE
from duro.model.status import InstanceStatus
from duro.retention.restoring import Standing, makes_instance

ARCHIVED = ArchivableInstance(
    incarnation=7,
    instance_id="a",
    name="Order",
    version="1.0.0",
    status=InstanceStatus.COMPLETED,
    execution_id=2,
    created_at_ms=100,
    updated_at_ms=200,
    completed_at_ms=200,
    start_request_id="",
    custom_status=None,
    turn_sequence=2,
    last_commit_token=None,
    lease_epoch=1,
    cancel_requested_at_ms=None,
    cancel_reason=None,
    cancel_delivered=False,
    prune_policy=None,
    pruned_through=0,
    prune_due_at_ms=None,
    swept_at_ms=None,
    live_from=1,
    removed_at_ms=300,
    run_id="",
    archive="",
    lineage=None,
    ledger=(),
)
RESTORATION = Restoration(
    run_id="restore-1",
    instance_id="a",
    incarnation=7,
    histories=(),
    instance=ARCHIVED,
    hold_until_ms=10**15,
    by="",
    source=NO_SOURCE,
)


def test_an_instance_that_was_made_at_another_time_is_another_one() -> None:
    """A backup was put back, and gave its id and its number again."""
    there = Standing(incarnation=7, instance_id="a", execution_id=2, created_at_ms=100)
    assert not makes_instance(RESTORATION, there, removed=False, next_incarnation=8)
    with pytest.raises(RestoreRefusedError, match="of another time"):
        makes_instance(RESTORATION, there._replace(created_at_ms=101), removed=False, next_incarnation=8)


def test_what_is_there_under_another_number_or_id_is_not_touched() -> None:
    there = Standing(incarnation=7, instance_id="a", execution_id=2, created_at_ms=100)
    for other in (there._replace(incarnation=8), there._replace(instance_id="b")):
        with pytest.raises(RestoreRefusedError, match="belongs to another instance"):
            makes_instance(RESTORATION, other, removed=False, next_incarnation=9)


def test_a_time_that_the_store_has_not_come_to_is_refused() -> None:
    with pytest.raises(RestoreRefusedError, match="not come to"):
        makes_instance(RESTORATION, None, removed=False, next_incarnation=7)

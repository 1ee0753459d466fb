"""What may come back from an archive beside what is there."""

import pytest

from duro.errors import RestoreRefusedError
from duro.model.archive import Restoration
from duro.model.ledger import NO_SOURCE
from duro.retention.restoring import Standing, makes_instance
from tests.support.archives import removed_instance

RESTORATION = Restoration(
    run_id="restore-1",
    instance_id="a",
    incarnation=1,
    histories=(),
    instance=removed_instance(),
    hold_until_ms=10**15,
    by="",
    source=NO_SOURCE,
)


def test_an_instance_that_was_made_at_another_time_is_another_one() -> None:
    """A backup was put back, and gave its id and its number again."""
    there = Standing(incarnation=1, instance_id="a", execution_id=2, created_at_ms=1)
    assert not makes_instance(RESTORATION, there, removed=False, next_incarnation=2)
    with pytest.raises(RestoreRefusedError, match=r"of another time .* comes back execution by execution"):
        makes_instance(RESTORATION, there._replace(created_at_ms=2), removed=False, next_incarnation=2)


def test_what_is_there_under_another_number_or_id_is_not_touched() -> None:
    there = Standing(incarnation=1, instance_id="a", execution_id=2, created_at_ms=1)
    for other in (there._replace(incarnation=2), there._replace(instance_id="b")):
        with pytest.raises(RestoreRefusedError, match="belongs to another instance"):
            makes_instance(RESTORATION, other, removed=False, next_incarnation=3)


def test_a_time_that_the_store_has_not_come_to_is_refused() -> None:
    with pytest.raises(RestoreRefusedError, match="not come to"):
        makes_instance(RESTORATION, None, removed=False, next_incarnation=1)

"""Numbers that no store can hold, and cursors, filters and names that are none: refused the same by every store, and
nothing changed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

import duro
from duro.errors import ExecutionNotFoundError, InvalidInputError, InvalidNameError, InvalidRulesError, UsageError
from duro.model.families import OrphanFilter
from duro.model.records import InstanceFilter
from duro.stores.base import Store

TOO_LARGE: Final = (2**63 - 1, 2**63, 10**5000)
NUMBERS: Final[tuple[Any, ...]] = (*TOO_LARGE, -(2**63), -(10**5000), True, 1.0, float("nan"), "1")
CALLS: Final[dict[str, Callable[[duro.Client, Any], object]]] = {
    "get_execution": lambda client, number: client.get_execution("a", number),
    "read_history": lambda client, number: client.read_history("a", number),
    "read_history after": lambda client, number: client.read_history("a", after=number),
    "list_children": lambda client, number: client.list_children("a", limit=number),
    "list_children after": lambda client, number: client.list_children("a", after=number),
    "list_instances": lambda client, number: client.list_instances(limit=number),
    "list_executions": lambda client, number: client.list_executions(limit=number),
    "complete_instance_ids": lambda client, number: client.complete_instance_ids("", limit=number),
    "list_prune_runs": lambda client, number: client.list_prune_runs(limit=number),
    "find_pruned": lambda client, number: client.find_pruned("a", number),
}

WRONG: Final[tuple[Any, ...]] = (5, 1.5, b"x", ["a"], {}, {"a": 1}, object(), True, "", "x", "\ud800", 10**5000)
LISTINGS: Final[dict[str, Callable[[duro.Client, Any], object]]] = {
    "list_instances where": lambda client, wrong: client.list_instances(wrong),
    "list_instances cursor": lambda client, wrong: client.list_instances(cursor=wrong),
    "list_executions cursor": lambda client, wrong: client.list_executions(cursor=wrong),
    "list_executions of one, cursor": lambda client, wrong: client.list_executions("a", cursor=wrong),
    "list_orphaned_instances where": lambda client, wrong: client.list_orphaned_instances(wrong),
    "list_orphaned_instances cursor": lambda client, wrong: client.list_orphaned_instances(cursor=wrong),
    "list_prune_runs before": lambda client, wrong: client.list_prune_runs(before=wrong),
    "plan_orphan_cleanup where": lambda client, wrong: client.plan_orphan_cleanup(wrong),
    "plan_purge scope": lambda client, wrong: client.plan_purge(duro.PurgeOptions(keep_last=1), scope=wrong),
    "InstanceFilter statuses": lambda _, wrong: InstanceFilter(statuses=wrong),
    "InstanceFilter one status": lambda _, wrong: InstanceFilter(statuses=(wrong,)),
    "OrphanFilter kinds": lambda _, wrong: OrphanFilter(kinds=wrong),
    "OrphanFilter child_status": lambda _, wrong: OrphanFilter(child_status=(wrong,)),
    "explain_policy name": lambda client, wrong: client.explain_policy(name=wrong if wrong != "x" else ""),
    "repair": lambda client, wrong: client.repair(wrong),
    "repair one": lambda client, wrong: client.repair([wrong]),
}


@pytest.fixture
def client(store: Store) -> duro.Client:
    client = duro.Client(store)
    client.start_orchestration("Order", instance_id="a", allow_unregistered=True)
    return client


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: type(number).__name__)
def test_a_number_that_no_store_can_hold_is_refused(client: duro.Client, name: str, number: Any) -> None:
    with pytest.raises(UsageError, match=r"must be a whole number .*, not .{1,60}$") as caught:
        CALLS[name](client, number)
    assert caught.value.hint


@pytest.mark.parametrize("name", LISTINGS)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
def test_a_cursor_a_filter_and_a_name_of_the_wrong_kind_are_refused_as_what_they_are(
    client: duro.Client, name: str, wrong: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        LISTINGS[name](client, wrong)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("blocked", [0, 1, "yes", []])
def test_a_filter_takes_statuses_by_their_text_and_no_other_word_for_blocked(client: duro.Client, blocked: Any) -> None:
    by_text: Any = ["pending", "failed"]
    assert [each.instance_id for each in client.list_instances(InstanceFilter(statuses=by_text)).instances] == ["a"]
    with pytest.raises(InvalidRulesError, match=r"InstanceFilter\.blocked must be True, False or None, not"):
        InstanceFilter(blocked=blocked)


@pytest.mark.parametrize("none", [(), [], set(), frozenset(), None], ids=lambda none: type(none).__name__)
def test_a_filter_without_statuses_shows_instances_of_any_however_that_is_said(client: duro.Client, none: Any) -> None:
    assert [each.instance_id for each in client.list_instances(InstanceFilter(statuses=none)).instances] == ["a"]
    assert InstanceFilter(statuses=none) == InstanceFilter()


@pytest.mark.parametrize("version", [5, b"x", ["a"], "a\0"])
def test_a_policy_is_explained_of_no_version_that_cannot_be(client: duro.Client, version: Any) -> None:
    with pytest.raises(InvalidNameError, match="version"):
        client.explain_policy(name="Order", version=version)


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "a" * 10_000, 1])
def test_an_id_that_no_hold_and_no_run_can_have_is_refused(client: duro.Client, text: Any) -> None:
    for call in (client.remove_hold, client.get_prune_run):
        with pytest.raises(InvalidInputError, match=r"^(hold|run) id .{1,60} "):
            call(text)


@pytest.mark.parametrize("number", [0, -1, 2, 2**63 - 2])
def test_a_number_that_no_execution_has_is_not_found(client: duro.Client, number: int) -> None:
    with pytest.raises(ExecutionNotFoundError, match=f"instance 'a' has no execution {number}"):
        client.get_execution("a", number)
    with pytest.raises(ExecutionNotFoundError, match=f"instance 'a' has no execution {number}"):
        client.read_history("a", number)


@pytest.mark.parametrize("number", TOO_LARGE, ids=["63", "64", "many"])
def test_a_wait_a_filter_and_a_hold_refuse_numbers_without_end(client: duro.Client, number: int) -> None:
    with pytest.raises(UsageError, match="timeout must be seconds, not"):
        client.wait_for_orchestration("a", timeout=number)
    with pytest.raises(InvalidRulesError, match=r"OrphanFilter\.limit must be a whole number from 0, not"):
        OrphanFilter(limit=number)
    with pytest.raises(InvalidRulesError, match=r"HoldTarget\.execution_id must be a whole number from 1, not"):
        client.add_hold("a", number, reason="audit")
    assert client.list_holds() == ()


def test_an_id_that_is_a_number_of_thousands_of_digits_is_refused(client: duro.Client) -> None:
    unprintable: Any = 10**5000
    with pytest.raises(UsageError, match="instance id a number of thousands of digits must be a string, not int"):
        client.get_instance(unprintable)


@pytest.mark.parametrize("wrong", [10**5000, "1", True, float("nan"), -1], ids=lambda wrong: type(wrong).__name__)
def test_a_grace_that_is_no_time_is_refused(wrong: Any, client: duro.Client) -> None:
    with pytest.raises(UsageError, match="grace_s must be seconds, 0 or more, not "):
        client.prune_executions_bulk(1, grace_s=wrong)


@pytest.mark.parametrize(
    "until", [10**5000, timedelta.max, datetime.max.replace(tzinfo=UTC)], ids=lambda until: type(until).__name__
)
def test_a_hold_until_what_is_no_moment_is_refused(until: Any, client: duro.Client) -> None:
    """It was kept, and printed as a number of milliseconds."""
    with pytest.raises(UsageError, match=r"until (is after the year 9999|must be a datetime or a timedelta)"):
        client.add_hold(name="Order", reason="audit", until=until)
    assert client.list_holds() == ()

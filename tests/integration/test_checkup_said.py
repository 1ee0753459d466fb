"""What the checks of a store say of holds, and of what workers were told."""

from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

import duro
from duro.errors import StoreCorruptError, StoreError
from duro.maintenance.differing import workers_differ
from duro.model.checkup import Finding
from duro.model.families import PurgeOptions
from duro.model.policies import OrphanTerms, PolicySources, StatedPolicy
from duro.model.pruning import Hold, HoldTarget, PruneTrigger
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.model.status import ChildrenPolicy
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock
from duro.testing.builders import (
    prune_batch,
    removal_batch,
)
from duro.testing.scripted import ScriptedWorker
from tests.support.damage import found, healthy_store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> SqliteStore:
    return healthy_store(tmp_path, clock)


@pytest.mark.parametrize(
    ("column", "value"),
    [("instance_id", None), ("instance_id", ""), ("name", "Order"), ("execution_id", 0), ("version", "")],
)
def test_a_hold_that_holds_nothing_is_named_where_nothing_goes_on_beside_it(
    column: str, value: str | int | None, store: SqliteStore, tmp_path: Path
) -> None:
    """What it was meant to hold nobody can tell: nothing is removed until somebody has looked."""
    for hold_id, instance_id in (("good", "ended"), ("ill", "loop")):
        target = HoldTarget(instance_id=instance_id)
        store.add_hold(Hold(hold_id=hold_id, target=target, reason="see", created_at_ms=0))
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = 1")
        connection.execute(f"UPDATE holds SET {column} = ? WHERE hold_id = 'ill'", (value,))
    (finding,) = found(store)["holds-unreadable"].findings
    assert finding.subject == "ill"
    client, everything = duro.Client(store), PurgeOptions(completed_before=10**14)
    before = store.dump()
    for call in (
        client.list_holds,
        lambda: client.plan_purge(everything),
        lambda: client.plan_prune(1),
        client.plan_orphan_cleanup,
        lambda: client.prune_executions("loop", 1),
        lambda: store.prune(prune_batch((4, 1))),
    ):
        with pytest.raises(StoreCorruptError, match=r"hold 'ill' cannot be read .*`duroctl holds remove ill`"):
            call()
    if column == "instance_id":  # it may have been on anything
        with pytest.raises(StoreCorruptError, match="hold 'ill' cannot be read"):
            client.purge_instances(everything)
        with pytest.raises(StoreCorruptError, match="hold 'ill' cannot be read"):
            store.remove(removal_batch((7, everything)))
    assert store.dump() == before
    client.remove_hold("ill")
    assert [hold.hold_id for hold in client.list_holds()] == ["good"]


def test_what_a_worker_published_may_be_unreadable_and_the_checks_go_on(store: SqliteStore) -> None:
    store.prune(prune_batch((4, 1), archive="arch"))
    ScriptedWorker(store, "w1")
    store.publish("w1", "zz")
    client = duro.Client(store)
    assert {each.name for each in client.checkup()} >= {"archives-waiting", "archives-unusable", "workers-differ"}
    with pytest.raises(StoreError, match="is of another version of duro, or damaged"):
        client.plan_purge()


@pytest.mark.parametrize("damaged", ["zz", "[]", '{"orchestrations":7}'])
def test_nothing_is_planned_without_what_a_worker_said_that_nobody_can_read(
    store: SqliteStore, tmp_path: Path, damaged: str
) -> None:
    """What another one said, or what was said last, may keep less."""
    for worker_id in ("first", "second"):
        told(store, worker_id, file_default=keeps(1 if worker_id == "first" else 9))
    client = duro.Client(store)
    assert client.plan_prune() is not None
    with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
        connection.execute("UPDATE workers SET published = ? WHERE worker_id = 'second'", (damaged,))
    assert found(store)["published-unreadable"].findings[0].subject == "second"
    for call in (client.plan_prune, client.plan_purge):
        with pytest.raises(StoreError, match="what a worker has published about pruning cannot be read"):
            call()


@pytest.mark.parametrize("damaged", [False, True])
def test_what_a_worker_of_another_version_said_is_found_where_plans_fail_beside_it(
    store: SqliteStore, tmp_path: Path, damaged: bool
) -> None:
    told(store, "app", file_default=keeps(3))
    ScriptedWorker(store, "newer")
    store.publish("newer", '{"children":"sometimes"}')
    if damaged:
        with closing(apsw.Connection(str(tmp_path / "duro.db"))) as connection:
            connection.execute("UPDATE workers SET published = 'zz' WHERE worker_id = 'newer'")
    client = duro.Client(store)
    with pytest.raises(StoreError, match="what a worker has published about pruning cannot be read"):
        client.plan_prune()
    (result,) = [each for each in client.checkup() if each.name == "published-unreadable"]
    text = "zz" if damaged else '{"children":"sometimes"}'
    assert (result.count, result.severity) == (1, "warning")
    assert result.findings == (Finding("newer", f"it says {text}"),)
    store.release_worker("newer")
    assert [each.count for each in client.checkup() if each.name == "published-unreadable"] == [0]


def told(store: SqliteStore, worker_id: str, **said: object) -> None:
    sources = msgspec.structs.replace(PolicySources(orchestrations=(("Order", "1.0.0"), ("Mail", "2.0.0"))), **said)
    ScriptedWorker(store, worker_id)
    store.publish(worker_id, msgspec.json.encode(sources).decode())


def differing(store: SqliteStore) -> list[tuple[str, str]]:
    (result,) = [each for each in duro.Client(store).checkup() if each.name == "workers-differ"]
    return [(each.subject, each.text) for each in result.findings]


def keeps(count: int, kind: PolicyKind = PolicyKind.FILE_DEFAULT) -> StatedPolicy:
    return StatedPolicy(policy=AutoPrune(keep_last=count), origin=PolicyOrigin(kind, "app.toml:3"))


def test_programs_that_have_no_orchestration_in_common_do_not_differ(store: SqliteStore) -> None:
    told(store, "app", file_default=keeps(3))
    told(store, "mail", orchestrations=(("Order", "2.0.0"), ("Post", "1.0.0")), purge_enabled=False)
    assert differing(store) == []
    told(
        store, "twin", file_default=keeps(3), settings_hash="other", file="b.toml", orchestrations=(("Order", "1.0.0"),)
    )
    assert differing(store) == [], "it says the same of what both run"
    told(store, "told-in-code", code_default=keeps(3, PolicyKind.CODE_DEFAULT))
    assert differing(store) == [], "wherever it stands"


def test_workers_of_an_orchestration_that_were_told_different_things_are_named(store: SqliteStore) -> None:
    told(store, "app", file_default=keeps(3))
    told(store, "app-2", file_default=keeps(3), settings_hash="2")
    only = (("Order", "1.0.0"),)
    told(store, "late", file_default=keeps(5), orchestrations=only, children=ChildrenPolicy.SETTLED)
    assert differing(store) == [("Order 1.0.0", "app app-2 | late differ in the policy, children")]
    store.publish("late", '{"orchestrations":[["Order","1.0.0"]],"file_default":"of another version"}')
    assert workers_differ(store).count == 0
    told(store, "late", file_default=keeps(3), file_enabled=False)
    assert [subject for subject, _ in differing(store)] == ["Mail 2.0.0", "Order 1.0.0"]
    store.release_worker("late")
    assert differing(store) == []


@pytest.mark.parametrize(
    ("said", "subject"),
    [
        ({"triggers": (PruneTrigger.INTERVAL,)}, "its triggers"),
        ({"rollout_pause_s": 5.0}, "[pruning.rollout]"),
        ({"purge_enabled": False}, "[purge]"),
        ({"orphans": OrphanTerms(enabled=True)}, "[orphans]"),
        ({"archive_enabled": True, "archive_directory": "/var/a"}, "[archive]"),
    ],
)
def test_it_is_said_in_what_workers_differ(store: SqliteStore, said: dict[str, object], subject: str) -> None:
    only = {"orchestrations": (("Order", "1.0.0"),)}
    told(store, "app", **only)
    told(store, "late", **only, **said)
    assert differing(store) == [("Order 1.0.0", f"app | late differ in {subject}")]

"""What a worker said of its orchestrations counts while it is away and another program sweeps: on both stores."""

import msgspec
import pytest

from duro.errors import PolicyUnknownError
from duro.maintenance import families, pruning
from duro.maintenance.explaining import explain
from duro.maintenance.pruning import RunTerms
from duro.maintenance.sweep import Sweep
from duro.model.families import OrphanFilter, PurgeOptions
from duro.model.policies import OrphanTerms, PolicySources, StatedPurge
from duro.model.pruning import PruneTrigger
from duro.model.removal import PruneScope
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin
from duro.stores.base import Store
from duro.testing.builders import child_completed, child_scheduled, completed, continued_as_new, start_request
from duro.testing.clock import ManualClock
from duro.testing.scripted import ScriptedWorker
from tests.support.pruning import Loops, stated

ORDERS = (("Order", "1.0.0"), ("Child", "1.0.0"))
DAY_S = 86_400.0


def says(store: Store, worker_id: str, sources: PolicySources) -> ScriptedWorker:
    unchosen = [(name, "") for name, _ in sources.orchestrations]
    worker = ScriptedWorker(store, worker_id, orchestrations=(*unchosen, *sources.orchestrations))
    store.publish(worker_id, msgspec.json.encode(sources).decode())
    return worker


def mail(store: Store, **said: object) -> None:
    """Another program, which runs none of this."""
    says(store, "mail", msgspec.structs.replace(PolicySources(orchestrations=(("mail", "1.0.0"),)), **said))


def purge(options: PurgeOptions | None, name: str = "") -> StatedPurge:
    return StatedPurge(options=options, origin=PolicyOrigin(PolicyKind.FILE_DEFAULT, "mail.toml:3"), name=name)


def run(store: Store) -> Sweep:
    sweep = Sweep(store)
    while sweep.step():
        pass
    return sweep


@pytest.fixture
def loops(store: Store) -> Loops:
    """An instance with a policy of its own."""
    loops = Loops(store)
    loops.start("a")
    loops.go_on(9)
    store.set_instance_policy("a", stated(AutoPrune(keep_last=2, interval=1)))
    return loops


def test_who_switched_pruning_off_has_still_done_so_while_it_restarts(store: Store, loops: Loops) -> None:
    off = PolicySources(orchestrations=ORDERS, file="app.toml", file_enabled=False)
    says(store, "app", off)
    mail(store)
    store.release_worker(loops.worker.worker_id)
    store.release_worker("app")
    run(store)
    assert len(loops.live("a")) == 10
    told = explain(store, "a", None, "").united
    assert told is not None
    assert told.why == (
        "automatic pruning is off: enabled = false in app.toml, as a worker said that ran 'Order' and is away"
    )
    with pytest.raises(PolicyUnknownError):
        pruning.plan(store, None, PruneScope())
    says(store, "app", msgspec.structs.replace(off, file_enabled=True))
    run(store)
    assert loops.live("a") == [9, 10]


def test_what_was_said_before_the_last_word_counts_no_more(store: Store, loops: Loops, clock: ManualClock) -> None:
    off = PolicySources(orchestrations=ORDERS, file="app.toml", file_enabled=False)
    says(store, "app", off)
    clock.advance(1)
    says(store, "app", msgspec.structs.replace(off, file_enabled=True))
    mail(store)
    store.release_worker(loops.worker.worker_id)
    store.release_worker("app")
    run(store)
    assert loops.live("a") == [9, 10]


def test_a_last_word_that_nobody_can_read_counts_for_nothing(store: Store, loops: Loops) -> None:
    ScriptedWorker(store, "app", orchestrations=ORDERS)
    store.publish("app", '{"orchestrations":7}')
    mail(store)
    store.release_worker(loops.worker.worker_id)
    store.release_worker("app")
    run(store)
    assert loops.live("a") == [9, 10]


def test_a_rollout_pauses_while_the_worker_that_was_told_to_restarts(
    store: Store, loops: Loops, clock: ManualClock
) -> None:
    first_seen_ms = clock.now_ms()
    clock.advance(5_000)
    both = (*ORDERS, ("Order", "2.0.0"))
    says(store, "app", PolicySources(orchestrations=both, rollout_pause_s=DAY_S))
    mail(store)
    store.release_worker(loops.worker.worker_id)
    store.release_worker("app")
    run(store)
    assert len(loops.live("a")) == 10
    assert explain(store, "a", None, "").paused_until_ms == first_seen_ms + DAY_S * 1000
    clock.advance(round(DAY_S * 1000))
    mail(store)
    run(store)
    assert loops.live("a") == [9, 10]


def test_a_trigger_that_was_off_is_off_while_its_worker_restarts(store: Store, loops: Loops) -> None:
    says(store, "app", PolicySources(orchestrations=ORDERS, triggers=(PruneTrigger.CONTINUE_AS_NEW,)))
    mail(store)
    store.release_worker(loops.worker.worker_id)
    store.release_worker("app")
    run(store)
    assert len(loops.live("a")) == 10


# --- whole instances -----------------------------------------------------------------------------------------


def ended(store: Store, clock: ManualClock, said: PolicySources) -> None:
    """An instance that ended two days ago, and whose worker is away."""
    worker = says(store, "app", said)
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), completed())
    store.release_worker("app")
    clock.advance(round(2 * DAY_S * 1000))


BY_DEFAULT = (purge(PurgeOptions(keep_within=DAY_S)),)
BY_NAME = (*BY_DEFAULT, purge(PurgeOptions(keep_within=DAY_S), "Order"))


@pytest.mark.parametrize(
    ("said", "others", "stays"),
    [
        ({}, BY_DEFAULT, True),
        ({"purges": (purge(None),)}, BY_DEFAULT, True),
        ({"purges": (purge(PurgeOptions(keep_within=9 * DAY_S)),)}, BY_DEFAULT, True),
        ({"purges": BY_DEFAULT}, BY_DEFAULT, False),
        ({}, BY_NAME, False),
        ({"purges": BY_DEFAULT, "purge_enabled": False}, BY_NAME, True),
    ],
    ids=["silent", "never", "longer", "the-same", "named", "off"],
)
def test_others_purge_what_nobody_runs_only_as_those_wanted_who_ran_it(
    store: Store, clock: ManualClock, said: dict[str, object], others: tuple[StatedPurge, ...], stays: bool
) -> None:
    ended(store, clock, msgspec.structs.replace(PolicySources(orchestrations=ORDERS), **said))
    mail(store, purges=others)
    run(store)
    assert (store.get_instance("a") is not None) is stays


def test_what_nobody_ever_said_anything_of_is_purged_by_the_default(store: Store, clock: ManualClock) -> None:
    worker = ScriptedWorker(store, "app")
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), completed())
    clock.advance(round(2 * DAY_S * 1000))
    mail(store, purges=BY_DEFAULT)
    run(store)
    assert store.get_instance("a") is None


def test_the_override_of_a_worker_that_is_away_protects_a_member_of_a_family(store: Store, clock: ManualClock) -> None:
    orders = {"orchestrations": (*ORDERS[:1], ("mail", "1.0.0")), "purges": BY_DEFAULT}
    mail(store, **orders)
    says(store, "app", PolicySources(orchestrations=ORDERS[1:], purges=(purge(None, "Child"),)))
    worker = ScriptedWorker(store, "both")
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), child_scheduled("c", "Child"))
    worker.run(worker.take("c"), completed())
    worker.run(worker.take("a"), child_completed(2), completed())
    store.release_worker("app")
    store.release_worker("both")
    clock.advance(round(2 * DAY_S * 1000))
    mail(store, **orders)
    (item,) = families.plan_purge(store, None, PruneScope()).items
    assert item.verdict.reasons == ("member:c:never",)
    run(store)
    assert store.get_instance("a") is not None


@pytest.mark.parametrize(("wanted", "stays"), [(False, True), (True, False)])
def test_others_clean_up_orphans_of_what_nobody_runs_only_as_those_wanted_who_ran_it(
    store: Store, clock: ManualClock, wanted: bool, stays: bool
) -> None:
    cleans = OrphanTerms(enabled=True, min_age_s=1.0)
    worker = says(store, "app", PolicySources(orchestrations=ORDERS, orphans=cleans if wanted else OrphanTerms()))
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), child_scheduled("c", "Child"), continued_as_new())
    leased = {each.instance_id: each for each in worker.lease().instances}
    worker.run(leased["c"], completed())
    store.release_worker("app")
    clock.advance(5_000)
    mail(store, orphans=cleans)
    run(store)
    assert (store.get_instance("c") is not None) is stays


@pytest.mark.parametrize(
    ("said_by", "stays"), [("nobody", False), ("whoever ran it", True), ("whoever runs now", True)]
)
def test_no_sweep_removes_an_orphan_that_is_never_purged(
    store: Store, clock: ManualClock, said_by: str, stays: bool
) -> None:
    cleans = OrphanTerms(enabled=True, min_age_s=1.0)
    never = purge(None, "Child")
    first, second = ((never,) if said_by == who else () for who in ("whoever ran it", "whoever runs now"))
    worker = says(store, "app", PolicySources(orchestrations=ORDERS, orphans=cleans, purges=first))
    store.start_instances([start_request("a")])
    worker.run(worker.take("a"), child_scheduled("c", "Child"), continued_as_new())
    leased = {each.instance_id: each for each in worker.lease().instances}
    worker.run(leased["c"], completed())
    store.release_worker("app")
    clock.advance(5_000)
    mail(store, orphans=cleans, purges=second)
    run(store)
    assert (store.get_instance("c") is not None) is stays
    if stays:  # by hand it is said of this orphan, and shown first
        terms = RunTerms(run_id="r", grace_ms=0)
        by_hand = families.cleanup(store, OrphanFilter(limit=0), 0, terms, cancel_running=False, progress=None)
        assert by_hand.instances == 1

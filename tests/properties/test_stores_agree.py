"""Two stores that share no logic, driven side by side through the port, must never be told apart.

Every operation is done on a memory store and on a SQLite store. What they return (or raise) must be equal, and after
every step so must be their dumps, row by row, ids and counters included; and the invariants must hold.

``DURO_PROPERTY_EXAMPLES=10000`` looks further, along other and longer paths every time.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar
from unittest.mock import patch

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from duro.errors import DuroError
from duro.model.families import OrphanRules, OrphanSearch, PurgeOptions, RemovalRules
from duro.model.policies import PolicyChain, PolicySources, StatedPolicy
from duro.model.pruning import Hold, HoldTarget, PruneTrigger
from duro.model.records import InstanceFilter, StartRequest, StoreInfo
from duro.model.removal import PruneBatch, PruneFilter, PruneOrder
from duro.model.retention import NEVER, AutoPrune, Policy, PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import STORED_BLOCKS, ChildrenPolicy, ExecutionStatus, InstanceStatus, ParentPolicy
from duro.model.turns import (
    ChildTerms,
    CommitBatch,
    CommitResult,
    FinishActivity,
    LeasedActivity,
    LeasedInstance,
    LeaseRequest,
    LeaseResult,
    PruneTerms,
    ReleaseInstance,
    RetryActivity,
    TurnCommit,
    TurnOutcome,
)
from duro.retention.policy import policy_chain
from duro.stores.base import Store, StoreDump
from duro.stores.memory import MemoryStore
from duro.stores.sqlite import SqliteStore
from duro.testing import ManualClock, builders, check_invariants
from tests.support.drawn_turns import (
    ACTIVITIES,
    EVENT_NAMES,
    INSTANCE_IDS,
    NAMES,
    VERSIONS,
    Draw,
    Habits,
    TurnMaker,
    event_names,
    instance_ids,
    json_texts,
    names,
    often,
    prune_options,
    versions,
)

T = TypeVar("T")

EXAMPLES: Final = os.environ.get("DURO_PROPERTY_EXAMPLES")

WORKER_IDS: Final = ["w1", "w2", "w3"]
LEASE_MS: Final = 2_000

ALL_KINDS: Final = tuple((name, version) for name in NAMES for version in ("", *VERSIONS))

worker_ids = st.sampled_from(WORKER_IDS)
request_ids = st.sampled_from([f"r{number}" for number in range(6)])
times = st.sampled_from([0, 1, 10, 20, 100, 200, LEASE_MS // 2, LEASE_MS])
worker_actions = st.sampled_from(
    ["register", "register", "register for little", "renew", "renew", "release", "release expired", "maintain", "rest"]
)
client_actions = st.sampled_from(["cancel", "cancel", "cancel", "terminate", "resume", "resume"])
limits = st.integers(0, 4)
rarely = st.sampled_from([False, False, False, True])

starts = st.builds(
    StartRequest,
    instance_id=instance_ids,
    name=names,
    version=st.just("") | versions,
    input=json_texts,
    request_id=request_ids,
)
filters = st.builds(
    InstanceFilter,
    statuses=st.lists(st.sampled_from(list(InstanceStatus)), max_size=3, unique=True).map(tuple),
    name=st.none() | names,
    blocked=st.none() | st.booleans(),
)


EVERYTHING: Final = LeaseRequest(
    orchestrations=ALL_KINDS, activities=tuple(ACTIVITIES), instances_max=100, activities_max=100
)

# Between kinds the port asks for fairness, not for one order: few of one kind, or all of every kind.
lease_requests = st.one_of(
    st.just(EVERYTHING),
    st.builds(
        lambda kind, activity, instances_max, activities_max: LeaseRequest(
            orchestrations=(kind,),
            activities=(activity,),
            instances_max=instances_max,
            activities_max=activities_max,
        ),
        st.sampled_from(ALL_KINDS),
        st.sampled_from(ACTIVITIES),
        st.integers(0, 2),
        st.integers(0, 2),
    ),
)


# --- the machine ---------------------------------------------------------------------------------------------


class StoresAgree(RuleBasedStateMachine):
    """Every rule is one call of the port, done on both stores."""

    HABITS: ClassVar = Habits(
        asks=st.sampled_from(
            ["activity", "activity", "timer", "wait", "wait", "child", "child", "detached", "cancel", "cancel"]
        ),
        endings=st.sampled_from([*["go on"] * 8, "complete", "complete", "fail", "cancel", "continue", "continue"]),
        policies=st.none(),
    )

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(prefix="duro-agree-")
        self.clock = ManualClock()
        ids = count(1)
        self.memory = MemoryStore(clock=self.clock, new_id=lambda: f"id{next(ids)}")
        path = Path(self._directory.name) / "duro.db"
        self.sqlite = SqliteStore.open(
            path, url=f"sqlite:///{path}", clock=self.clock, new_id=lambda: f"id{next(ids)}", synchronous="NORMAL"
        )
        self.tokens = count(1)
        self.leases: dict[tuple[str, int], LeasedInstance] = {}
        """What each worker believes to hold: true or not, it may commit it."""
        self.activities: list[tuple[str, LeasedActivity]] = []

    def teardown(self) -> None:
        self.memory.close()
        self.sqlite.close()
        self._directory.cleanup()

    def both(self, call: Callable[[Store], T], same: Callable[[T], Any] = lambda answer: answer) -> T | None:
        """Do it twice, compare what came of it, give the answer; None after an error both agreed on."""
        expected, expected_error = _outcome(call, self.memory)
        found, found_error = _outcome(call, self.sqlite)
        assert found_error == expected_error
        if expected_error is not None or expected is None or found is None:
            assert found == expected
            return None
        assert same(found) == same(expected)
        return expected

    @invariant()
    def the_stores_hold_the_same(self) -> None:
        expected, found = _comparable(self.memory.dump()), _comparable(self.sqlite.dump())
        for table, rows in expected.items():
            assert found[table] == rows, table
        assert found == expected
        check_invariants(expected)

    # --- time and workers

    @initialize(requested=st.lists(starts, min_size=4, max_size=8))
    def begin(self, requested: list[StartRequest]) -> None:
        for worker_id in WORKER_IDS:
            self._register(worker_id, ALL_KINDS)
        self.both(lambda store: store.start_instances(requested))

    @rule(ms=times)
    def time_passes(self, ms: int) -> None:
        self.clock.advance(ms)

    @rule(worker_id=worker_ids, what=worker_actions, kinds=st.lists(st.sampled_from(ALL_KINDS), max_size=4))
    def a_worker_lives(self, worker_id: str, what: str, kinds: list[tuple[str, str]]) -> None:
        match what:
            case "register":
                self._register(worker_id, ALL_KINDS)
            case "register for little":
                self._register(worker_id, kinds)
            case "renew":
                self.both(lambda store: store.renew_worker(worker_id, LEASE_MS))
            case "release":
                self.both(lambda store: store.release_worker(worker_id))
            case "release expired":
                self.both(lambda store: store.release_expired())
            case "maintain":
                self.both(lambda store: store.acquire_maintenance(worker_id, LEASE_MS))
            case _:
                self.both(lambda store: store.release_maintenance(worker_id))

    def _register(self, worker_id: str, kinds: Sequence[tuple[str, str]]) -> None:
        record = builders.worker_record(
            worker_id, orchestrations=kinds, activities=ACTIVITIES, started_at_ms=self.clock.now_ms()
        )
        self.both(lambda store: store.register_worker(record, LEASE_MS))

    # --- clients

    @rule(requested=st.lists(starts, max_size=4))
    def start_instances(self, requested: list[StartRequest]) -> None:
        self.both(lambda store: store.start_instances(requested))

    @rule(instance_id=instance_ids, name=event_names, data=json_texts, request_id=request_ids)
    def raise_event(self, instance_id: str, name: str, data: str, request_id: str) -> None:
        self.both(_raising(instance_id, name, data, request_id))

    @rule(data=json_texts)
    def raise_events_everywhere(self, data: str) -> None:
        for instance_id in INSTANCE_IDS:
            for name in EVENT_NAMES:
                self.both(_raising(instance_id, name, data, f"everywhere{next(self.tokens)}"))

    @rule(instance_id=instance_ids, request_id=request_ids, what=client_actions)
    def a_client_intervenes(self, instance_id: str, request_id: str, what: str) -> None:
        match what:
            case "cancel":
                self.both(lambda store: store.request_cancel(instance_id, f"because of {request_id}", request_id))
            case "terminate":
                self.both(lambda store: store.terminate_instance(instance_id, "stück"))
            case _:
                self.both(lambda store: store.resume_instance(instance_id))

    # --- the turn path

    @rule(worker_id=worker_ids, request=lease_requests)
    def lease(self, worker_id: str, request: LeaseRequest) -> None:
        self._lease(worker_id, request)

    @rule(worker_id=worker_ids, data=st.data())
    def commit(self, worker_id: str, data: st.DataObject) -> None:
        self._commit(worker_id, data)

    @rule(worker_id=worker_ids, data=st.data())
    def work(self, worker_id: str, data: st.DataObject) -> None:
        """Take all there is, and do most of it."""
        self._lease(worker_id, EVERYTHING)
        self._commit(worker_id, data)

    @rule(data=st.data())
    def work_everywhere(self, data: st.DataObject) -> None:
        """The same by whoever still has a row, twice: what one worker's commit sends, another one's turn receives."""
        for worker_id in (*WORKER_IDS, *WORKER_IDS):
            self._lease(worker_id, EVERYTHING)
            self._commit(worker_id, data)

    def _lease(self, worker_id: str, request: LeaseRequest) -> None:
        result = self.both(lambda store: store.lease(worker_id, request), _without_order)
        assert result is not None
        self._remember(worker_id, result)

    def _commit(self, worker_id: str, data: st.DataObject) -> None:
        batch = self._batch(worker_id, data.draw)
        result = self.both(lambda store: store.commit(batch), _without_reasons)
        assert result is not None
        self._learn(batch, result)

    def _remember(self, worker_id: str, leased: LeaseResult) -> None:
        self.leases |= {(worker_id, instance.incarnation): instance for instance in leased.instances}
        self.activities += [(worker_id, activity) for activity in leased.activities]

    def _batch(self, worker_id: str, draw: Draw) -> CommitBatch:
        held = [leased for (holder, _), leased in sorted(self.leases.items()) if holder == worker_id]
        turned: list[TurnCommit] = []
        released: list[ReleaseInstance] = []
        for leased in draw(st.permutations(held)):
            match draw(st.sampled_from([*["turn"] * 8, "release", "keep"])):
                case "turn":
                    turned += self._turns(worker_id, leased, draw)
                case "release":
                    released.append(self._release(leased, draw))
                case _:
                    pass
        finished: list[FinishActivity] = []
        retried: list[RetryActivity] = []
        for holder, activity in self.activities:
            if holder == worker_id and draw(often):
                self._report(activity, draw, finished, retried)
        return CommitBatch(
            worker_id=worker_id,
            token=f"t{next(self.tokens)}",
            turns=turned,
            releases=released,
            finished=finished,
            retries=retried,
            lease=draw(st.none() | lease_requests),
        )

    def _turns(self, worker_id: str, leased: LeasedInstance, draw: Draw) -> Iterator[TurnCommit]:
        """One turn, or the one that continues as new and the first one of the next execution."""
        first = self._turn(worker_id, leased, draw)
        yield first
        continues = first.end is not None and first.end.status is ExecutionStatus.CONTINUED_AS_NEW
        if continues and first.keep_lease and draw(often):
            yield TurnMaker(draw, self.HABITS, builders.next_lease(leased, first), (), self.clock.now_ms()).make(())

    def _turn(self, worker_id: str, leased: LeasedInstance, draw: Draw) -> TurnCommit:
        (history,) = self.memory.load_histories([(leased.incarnation, leased.execution_id)])
        held = self.memory.held_activities(worker_id)
        claimed = sorted(key[2] for key in held if key[:2] == (leased.incarnation, leased.execution_id))
        maker = TurnMaker(draw, self.HABITS, leased, history[: leased.event_count], self.clock.now_ms())
        turn = maker.make(claimed)
        if leased.event_count > 0 and draw(rarely) and draw(rarely):
            match draw(st.sampled_from(["reject", "reject", "conflict", "fence"])):
                case "reject":
                    turn.first_event_id += draw(st.sampled_from([-1, 1]))
                case "conflict":
                    turn.turn_sequence -= 1
                case _:
                    turn.lease_epoch -= 1
        return turn

    def _release(self, leased: LeasedInstance, draw: Draw) -> ReleaseInstance:
        pause = draw(st.none() | st.sampled_from([-5, 0, 20]))
        return ReleaseInstance(
            incarnation=leased.incarnation,
            lease_epoch=leased.lease_epoch,
            count_attempt=draw(st.booleans()),
            blocked=draw(st.sampled_from([None, None, *sorted(STORED_BLOCKS)])),
            reason="because",
            retry_at_ms=None if pause is None else self.clock.now_ms() + pause,
        )

    def _report(
        self,
        activity: LeasedActivity,
        draw: Draw,
        finished: list[FinishActivity],
        retried: list[RetryActivity],
    ) -> None:
        key = {
            "incarnation": activity.incarnation,
            "execution_id": activity.execution_id,
            "event_id": activity.event_id,
            "lease_epoch": activity.lease_epoch,
        }
        succeeded = builders.activity_succeeded_message(activity.execution_id, activity.event_id, "1")
        failed = builders.activity_failed_message(activity.execution_id, activity.event_id)
        match draw(st.sampled_from(["succeed", "fail", "retry", "give back"])):
            case "succeed":
                finished.append(FinishActivity(**key, message=succeeded))
            case "fail":
                finished.append(FinishActivity(**key, message=failed))
            case kind:
                visible_at_ms = self.clock.now_ms() + draw(st.sampled_from([0, 15]))
                retried.append(RetryActivity(**key, visible_at_ms=visible_at_ms, failed=kind == "retry"))

    def _learn(self, batch: CommitBatch, result: CommitResult) -> None:
        """A kept lease goes on from its commit. What was lost in other ways the worker finds out by being fenced."""
        for turn, outcome in zip(batch.turns, result.turns, strict=True):
            key = (batch.worker_id, turn.incarnation)
            if outcome is TurnOutcome.COMMITTED and turn.keep_lease:
                self.leases[key] = builders.next_lease(self.leases[key], turn)
            elif outcome in (TurnOutcome.COMMITTED, TurnOutcome.FENCED):
                self.leases.pop(key, None)  # a second turn of the batch was fenced like the first
        reported = {_key(report) for report in batch.finished} | {_key(report) for report in batch.retries}
        self.activities = [
            (holder, activity)
            for holder, activity in self.activities
            if holder != batch.worker_id or _key(activity) not in reported
        ]
        self._remember(batch.worker_id, result.leased)

    # --- reads

    @rule(where=filters, limit=limits, instance_id=instance_ids, execution_id=st.none() | st.integers(1, 3))
    def read(self, where: InstanceFilter, limit: int, instance_id: str, execution_id: int | None) -> None:
        self.both(lambda store: _instance_pages(store, where, limit))
        self.both(lambda store: _execution_pages(store, None, limit))
        self.both(lambda store: _execution_pages(store, instance_id, limit))
        self.both(lambda store: store.get_instance(instance_id))
        self.both(lambda store: store.read_history(instance_id, execution_id))
        self.both(lambda store: store.read_ends([instance_id, "nobody"]))
        self.both(lambda store: store.get_execution(instance_id, execution_id or 1))

    @rule(worker_id=worker_ids, incarnation=st.integers(1, 8), limit=limits, after=st.integers(0, 8))
    def read_what_workers_read(self, worker_id: str, incarnation: int, limit: int, after: int) -> None:
        incarnations = list(range(12))
        executions = [(incarnation, number) for incarnation in incarnations for number in (1, 2)]
        self.both(lambda store: store.list_children(incarnation, limit, after))
        self.both(lambda store: store.list_workers())
        self.both(lambda store: store.held_activities(worker_id))
        self.both(lambda store: store.lookup_commit(incarnations))
        self.both(lambda store: store.load_histories(executions))
        self.both(lambda store: store.info(), _counts)


# --- the same with pruning -----------------------------------------------------------------------------------

RUN_IDS: Final = ["run-1", "run-2"]
SMALL_LIMITS: Final = {
    "duro.stores.memory.pruning.TURN_PRUNE_EXECUTIONS_MAX": 3,
    "duro.stores.sqlite.turn_pruning.TURN_PRUNE_EXECUTIONS_MAX": 3,
    "duro.retention.transaction._REMAINING_COUNTED_MAX": 2,
    "duro.stores.memory.pruning.MARK_RECLAIM_EVENTS_MAX": 9,
    "duro.stores.sqlite.pruning.MARK_RECLAIM_EVENTS_MAX": 9,
}
"""What a real store meets after many executions, this one meets after a few."""

BY_CODE: Final = PolicyOrigin(PolicyKind.CODE_DEFAULT, "app.py:1")
BY_CLIENT: Final = PolicyOrigin(PolicyKind.INSTANCE, "a client")


def _stated(policy: Policy) -> str:
    return msgspec.json.encode(StatedPolicy(policy=policy, origin=BY_CLIENT)).decode()


def _chain(policy: Policy | None, options: PruneOptions | None) -> PolicyChain:
    stated = None if policy is None else StatedPolicy(policy=policy, origin=BY_CODE)
    return policy_chain(PolicySources(code_default=stated), "Order", "1.0.0", turn_options=options)


policies: st.SearchStrategy[Policy] = st.one_of(
    st.just(NEVER),
    st.builds(AutoPrune, keep_last=st.integers(1, 3), every_n_executions=st.integers(1, 3)),
    st.builds(AutoPrune, keep_last=st.just(1), keep_within=st.sampled_from([0.01, 0.1])),
)
chains = st.builds(_chain, st.none() | policies, st.none() | st.none() | prune_options)
terms = st.builds(
    PruneTerms,
    children=st.sampled_from(list(ChildrenPolicy)),
    rollout_pause_s=st.sampled_from([0.0, 0.0, 0.1]),
    stopped_by=st.sampled_from(["", "", "", "AutoPruneConfig(enabled=False)"]),
)
stated_policies = st.none() | policies.map(_stated) | st.just('{"policy":{"keep_latest":1}}')
"""One is of a later release: nobody here can read it."""

hold_targets = st.one_of(
    st.builds(HoldTarget, instance_id=instance_ids, execution_id=st.none() | st.integers(1, 4)),
    st.builds(HoldTarget, name=st.sampled_from(["Order", "Ch*"]), version=st.none() | versions),
    st.builds(HoldTarget, version=versions),
)
prune_filters = st.builds(
    PruneFilter,
    instance_ids=st.none() | st.lists(instance_ids, max_size=3).map(tuple),
    names=st.none() | st.lists(names, max_size=1).map(tuple),
    due=st.booleans(),
    several=st.booleans(),
    own_policy=st.booleans(),
)
parent_words = st.sampled_from(list(ParentPolicy))
child_terms = st.builds(ChildTerms, on_parent_continue=parent_words, on_parent_end=parent_words)
removal_rules: st.SearchStrategy[RemovalRules] = st.one_of(
    st.builds(PurgeOptions, keep_last=st.integers(1, 3)),
    st.just(PurgeOptions(completed_before=10**14)),
    st.builds(PurgeOptions, keep_within=st.sampled_from([0.01, 0.1]), statuses=st.just((InstanceStatus.COMPLETED,))),
    st.builds(OrphanRules, min_age_s=st.sampled_from([0.0, 0.0, 0.05])),
)
orphan_searches = st.builds(
    OrphanSearch,
    names=st.none() | st.lists(names, max_size=1).map(tuple),
    child_status=st.none() | st.just((InstanceStatus.COMPLETED, InstanceStatus.FAILED)),
    spawner_ended_before_ms=st.none() | times,
    all_kinds=st.booleans(),
)
graces = st.sampled_from([0, 0, 0, 50, LEASE_MS])


class StoresAgreeOnPruning(StoresAgree):
    """Instances that mostly continue as new, and everybody who prunes them."""

    HABITS: ClassVar = Habits(
        asks=st.sampled_from(["activity", "timer", "wait", "child", "child", "detached", "cancel", "prune", "prune"]),
        endings=st.sampled_from([*["go on"] * 3, "complete", "fail", *["continue"] * 6]),
        policies=st.none() | chains,
    )

    def __init__(self) -> None:
        super().__init__()
        self._limits = ExitStack()
        for name, value in SMALL_LIMITS.items():
            self._limits.enter_context(patch(name, value))

    def teardown(self) -> None:
        self._limits.close()
        super().teardown()

    def _batch(self, worker_id: str, draw: Draw) -> CommitBatch:
        batch = super()._batch(worker_id, draw)
        return msgspec.structs.replace(batch, prune_terms=draw(terms), child_terms=draw(child_terms))

    # --- what is said

    @rule(worker_id=worker_ids, text=st.sampled_from(["{}", "one", "two"]))
    def publish(self, worker_id: str, text: str) -> None:
        self.both(lambda store: store.publish(worker_id, text))

    @rule(instance_id=instance_ids, policy=stated_policies)
    def set_instance_policy(self, instance_id: str, policy: str | None) -> None:
        self.both(lambda store: store.set_instance_policy(instance_id, policy))

    @rule(held=hold_targets, number=st.integers(1, 4), until_ms=st.none() | times)
    def add_hold(self, held: HoldTarget, number: int, until_ms: int | None) -> None:
        hold = Hold(
            hold_id=f"hold-{number}",
            target=held,
            reason="to be looked at",
            created_at_ms=self.clock.now_ms(),
            until_ms=None if until_ms is None else self.clock.now_ms() + until_ms,
        )
        self.both(lambda store: store.add_hold(hold))

    @rule(number=st.integers(1, 4))
    def remove_hold(self, number: int) -> None:
        self.both(lambda store: store.remove_hold(f"hold-{number}"))

    @rule()
    def remove_all_holds(self) -> None:
        for hold in self.memory.list_holds():
            self.both(lambda store, hold=hold: store.remove_hold(hold.hold_id))  # type: ignore[misc]

    # --- what is removed and brought back

    @rule(data=st.data(), run_id=st.sampled_from(["", *RUN_IDS]), grace_ms=graces)
    def prune(self, data: st.DataObject, run_id: str, grace_ms: int) -> None:
        draw = data.draw
        revision = self.memory.published_policies().revision
        batch = PruneBatch(
            orders=tuple(
                PruneOrder(
                    incarnation=incarnation,
                    rules=tuple(draw(st.lists(prune_options, min_size=1, max_size=2))),
                    origin=draw(st.sampled_from([BY_CODE, BY_CLIENT])),
                    after=draw(st.sampled_from([0, 0, 0, 2])),
                    only=draw(st.none() | st.frozensets(st.integers(1, 6), min_size=1)),
                )
                for incarnation in draw(st.lists(st.integers(1, 12), max_size=8, unique=True))
            ),
            trigger=PruneTrigger.MANUAL if run_id else PruneTrigger.INTERVAL,
            executions_max=draw(st.sampled_from([2, 100])),
            run_id=run_id,
            by="ada",
            reason="tidying",
            grace_ms=grace_ms,
            children=draw(st.sampled_from(list(ChildrenPolicy))),
            policy_revision=draw(st.sampled_from([None, None, revision, revision - 1])),
            swept=draw(st.booleans()),
        )
        self.both(lambda store: store.prune(batch))

    @rule(incarnations=st.lists(st.integers(1, 12), max_size=4))
    def note_swept(self, incarnations: list[int]) -> None:
        self.both(lambda store: store.note_swept(incarnations))

    @rule(events_max=st.sampled_from([1, 3, 1_000]))
    def reclaim(self, events_max: int) -> None:
        self.both(lambda store: store.reclaim(events_max))

    @rule()
    def reclaim_everything_due(self) -> None:
        while (reclaimed := self.both(lambda store: store.reclaim(5))) is not None and reclaimed.more:
            pass
        backlog = self.memory.backlog()
        assert (backlog.due_executions, backlog.due_removed) == (0, 0)

    @rule(run_id=st.sampled_from(["", "", *RUN_IDS]), instance_id=instance_ids, ms=times)
    def undo(self, run_id: str, instance_id: str, ms: int) -> None:
        hold_id, until_ms = f"undo{next(self.tokens)}", self.clock.now_ms() + ms
        self.both(lambda store: store.undo_prune(hold_id, until_ms, run_id=run_id, instance_id=instance_id, by="ada"))

    # --- families

    @rule(data=st.data(), run_id=st.sampled_from(["", "", *RUN_IDS]), grace_ms=graces)
    def remove_families(self, data: st.DataObject, run_id: str, grace_ms: int) -> None:
        draw = data.draw
        ended = [each.incarnation for each in self.memory.list_finished(None, 0, 0)]
        orphans = [each.incarnation for each in self.memory.list_unobserved(OrphanSearch(), 0, 0)]
        anyone = draw(st.lists(st.integers(1, 12), max_size=3))
        chosen = [each for each in (*ended, *orphans) if draw(often)] + anyone
        batch = builders.removal_batch(
            *((each, draw(removal_rules)) for each in draw(st.permutations(chosen))),
            trigger=draw(st.sampled_from(["purge", "orphans"])),
            run_id=run_id,
            by="ada",
            reason="tidying",
            grace_ms=grace_ms,
        )
        self.both(lambda store: store.remove(batch))

    @rule(instance_id=instance_ids)
    def adopt(self, instance_id: str) -> None:
        self.both(lambda store: store.adopt(instance_id, "ada", "it stands alone"))

    @rule(where=orphan_searches, limit=limits, after=st.integers(0, 8))
    def read_families(self, where: OrphanSearch, limit: int, after: int) -> None:
        self.both(lambda store: store.list_unobserved(where, limit, after))
        self.both(lambda store: store.list_finished(where.names, limit, after))
        self.both(lambda store: store.count_orphans())
        self.both(lambda store: store.families(list(range(14))))
        for instance_id in INSTANCE_IDS:
            self.both(lambda store, of=instance_id: store.get_child(of))  # type: ignore[misc]
            self.both(lambda store, of=instance_id: store.find_removed(of))  # type: ignore[misc]
        for name in NAMES:
            self.both(lambda store, name=name: store.newest_finished(name, limit or 1))  # type: ignore[misc]

    # --- what is told

    @rule(
        where=prune_filters,
        limit=limits,
        after=st.integers(0, 8),
        newer_max=st.sampled_from([0, 1, 3, 100]),
        of_a_version_max=st.integers(0, 3),
    )
    def read_for_planning(
        self, where: PruneFilter, limit: int, after: int, newer_max: int, of_a_version_max: int
    ) -> None:
        wanted = [(incarnation, after % 3) for incarnation in range(10)] + [(1, 0), (1, 1)]
        self.both(lambda store: store.prunable_instances(where, limit, after))
        self.both(lambda store: store.prune_views(wanted, limit or 3, newer_max, of_a_version_max))
        self.both(lambda store: store.orchestration_names())
        self.both(lambda store: store.published_policies())
        self.both(lambda store: store.past_publications())
        for name in NAMES:
            self.both(lambda store, name=name: store.versions_seen(name))  # type: ignore[misc]

    @rule(instance_id=instance_ids, limit=limits)
    def read_what_was_done(self, instance_id: str, limit: int) -> None:
        self.both(lambda store: store.list_ledger(instance_id))
        self.both(lambda store: store.list_prune_runs(limit))
        self.both(
            lambda store: [store.list_prune_runs(limit, (r.started_at_ms, r.run_id)) for r in store.list_prune_runs(3)]
        )
        self.both(lambda store: store.ledger_totals())
        self.both(lambda store: store.backlog())
        self.both(lambda store: (store.list_holds(), store.hold_revision()))
        for number in range(8):
            self.both(lambda store, number=number: store.find_pruned(instance_id, number))  # type: ignore[misc]


# --- how they are compared -----------------------------------------------------------------------------------


def _key(activity: LeasedActivity | FinishActivity | RetryActivity) -> tuple[int, int, int, int]:
    return activity.incarnation, activity.execution_id, activity.event_id, activity.lease_epoch


def _raising(instance_id: str, name: str, data: str, request_id: str) -> Callable[[Store], None]:
    return lambda store: store.raise_event(instance_id, name, data, request_id)


def _instance_pages(store: Store, where: InstanceFilter, limit: int) -> list[Any]:
    page = store.list_instances(where, limit, None)
    found = [page.instances]
    while page.next is not None:
        page = store.list_instances(where, limit, page.next)
        found.append(page.instances)
    return found


def _execution_pages(store: Store, instance_id: str | None, limit: int) -> list[Any]:
    page = store.list_executions(instance_id, limit, None)
    found = [page.executions]
    while page.next is not None:
        page = store.list_executions(instance_id, limit, page.next)
        found.append(page.executions)
    return found


def _counts(info: StoreInfo) -> Any:
    return info.instances, info.executions, info.events, info.logical_bytes


def _outcome(call: Callable[[Store], T], store: Store) -> tuple[T | None, type[DuroError] | None]:
    try:
        return call(store), None
    except DuroError as error:
        return None, type(error)


def _without_order(result: LeaseResult) -> Any:
    """A lease as what it says, in whatever order it says it."""
    instances = sorted(result.instances, key=lambda leased: leased.incarnation)
    activities = sorted(result.activities, key=lambda leased: (leased.incarnation, leased.event_id))
    return instances, activities, result.next_ready_at_ms


def _without_reasons(result: CommitResult) -> Any:
    """A commit without the words in which a store says why it rejected a turn."""
    plain = msgspec.structs.replace(result, errors=dict.fromkeys(result.errors, ""), leased=LeaseResult())
    return plain, _without_order(result.leased)


def _comparable(dump: StoreDump) -> StoreDump:
    """A dump without what is random for each store."""
    return {**dump, "store": [{**row, "store_id": ""} for row in dump["store"]]}


SETTINGS: Final = settings(
    max_examples=int(EXAMPLES or 150),
    stateful_step_count=50 if EXAMPLES else 30,
    deadline=None,
    derandomize=EXAMPLES is None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
StoresAgree.TestCase.settings = SETTINGS
StoresAgreeOnPruning.TestCase.settings = SETTINGS


TestStoresAgree = StoresAgree.TestCase
TestStoresAgreeOnPruning = StoresAgreeOnPruning.TestCase

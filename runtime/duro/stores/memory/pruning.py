"""Pruning in memory: what the port promises of it, scanned and copied where SQLite has indexes and savepoints."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from duro import codec
from duro.errors import (
    InstanceNotFoundError,
    PruneRunNotFoundError,
    StalePlanError,
)
from duro.model.archive import CONFIGURED, KnownArchive, noted_archive
from duro.model.families import Family, RemovalBatch
from duro.model.ledger import NO_SOURCE, SEVERAL, UNDO, LedgerRange, RunKind, RunSource
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX, TURN_PRUNE_EXECUTIONS_MAX
from duro.model.policies import PruneDecision, StatedPolicy
from duro.model.pruning import (
    ExecutionFacts,
    Hold,
    HoldTarget,
    NewerExecutions,
    NewerVersion,
    PruneResult,
    PruneTrigger,
)
from duro.model.removal import (
    AskedPrune,
    Backlog,
    OrderResult,
    PrunableInstance,
    PruneBatch,
    PruneFilter,
    PruneReport,
    PruneRun,
    PruneView,
    ReclaimResult,
    UndoResult,
)
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, ExecutionStatus, RemovalState
from duro.model.turns import CommitBatch, CommitResult, RequestPrune, TurnCommit
from duro.retention.families import settled_counts
from duro.retention.ledger import ledger_range, record
from duro.retention.transaction import (
    Counted,
    check_rules,
    choose,
    decide_turn,
    failed,
    live_from,
    newer_to_count,
    rules_text,
    undone_range,
)
from duro.retention.triggers import asked_due_ms, pruned_through, sweep_after_prune_ms
from duro.stores.memory.families import undone
from duro.stores.memory.instances import (
    Execution,
    Instance,
    LedgerRow,
    RunTotals,
    as_json,
    next_sequence,
    record_run,
)
from duro.stores.memory.retaining import Retaining

_CALLED: Final = PolicyOrigin(PolicyKind.CALL, "ctx.prune_history")
_UNDECIDED: Final = PruneDecision(
    rules=None, origin=PolicyOrigin(PolicyKind.NONE, ""), trigger=PruneTrigger.CONTINUE_AS_NEW, why=""
)
_EXECUTIONS_A_RECLAIM: Final = 500
_CHILDREN_A_RECLAIM: Final = 500

_policy = msgspec.json.Decoder(StatedPolicy)

Wanted = tuple[int, TurnCommit, RequestPrune | None]
"""Position of a turn, the turn, and the request; None: what goes with continue-as-new."""


class Pruning(Retaining):
    """Part of ``MemoryStore``, which has the instances and the lock."""

    _instances: dict[int, Instance]
    _children: dict[int, list[Instance]]
    _store_id: str
    _send: Callable[[Instance, str, int], None]

    def _begin_pruning(self) -> None:
        self._begin_retaining()
        self._archives: dict[str, KnownArchive] = {}

    def store_id(self) -> str:
        with self._transaction():
            return self._store_id

    # --- the prunes of a commit ------------------------------------------------------------------------------

    def _prune_turns(self, batch: CommitBatch, turns: Iterable[tuple[int, TurnCommit]], result: CommitResult) -> None:
        """``turns`` are those that were committed, with their positions."""
        now = result.store_time_ms
        events_left = MARK_RECLAIM_EVENTS_MAX
        for position, turn, request in _wanted(turns):
            instance = self._instances[turn.incarnation]
            executions_max = turn.execution_id - instance.live_from + 1
            decision = _UNDECIDED
            try:
                decided = _asked_for(request) if request is not None else self._decide(instance, batch, turn, now)
                if decided is None or decided.rules is None:
                    continue
                decision = decided
                outcome, events_left = self._prune_turn(instance, batch, turn, decision, now, events_left)
            except Exception as error:  # noqa: BLE001 - the turn must not fail for it
                outcome = failed(error)
            if decision.rules and decision.origin.kind in (PolicyKind.CALL, PolicyKind.TURN):
                asked_due = asked_due_ms(outcome, executions_max=executions_max, now_ms=now)
                if asked_due is not None:
                    instance.ask(decision.rules[0], decision.origin, turn.newest_execution_id, now, asked_due)
            else:
                due = sweep_after_prune_ms(
                    outcome, executions_max=executions_max, swept_at_ms=instance.swept_at_ms, now_ms=now
                )
                instance.prune_due_at_ms = min(
                    (each for each in (instance.prune_due_at_ms, due) if each is not None), default=None
                )
            if request is not None and not instance.has_ended(turn.execution_id):
                self._send(instance, codec.history_pruned_message(turn.execution_id, request.event_id, outcome), now)
            trigger = PruneTrigger.CONTINUE_AS_NEW if request is None else PruneTrigger.PRUNE_HISTORY
            result.prunes.append(PruneReport(position=position, name=turn.name, trigger=trigger, result=outcome))

    def _prune_turn(
        self,
        instance: Instance,
        batch: CommitBatch,
        turn: TurnCommit,
        decision: PruneDecision,
        now: int,
        events_left: int,
    ) -> tuple[PruneResult, int]:
        """One prune: what it did, and what is left of the events the commit deletes."""
        assert decision.rules is not None, "asked before"
        current = turn.newest_execution_id
        view = _view(instance, 0, TURN_PRUNE_EXECUTIONS_MAX, newer_to_count(decision.rules), current, current)
        marks = choose(view, decision.rules, self._holds.values(), now)
        outcome = marks.result()
        if marks.removed:
            ledger = _recorded(instance, _range(marks.removed, decision.rules, decision.origin, decision.trigger, now))
            terms = batch.prune_terms
            archive = CONFIGURED if terms.archive else None
            events_left = self._remove(instance, marks.removed, terms.children, now, events_left, archive)
            instance.ledger = ledger
        instance.live_from = max(instance.live_from, live_from(view, marks.removed, instance.live_from))
        if decision.origin.kind not in (PolicyKind.CALL, PolicyKind.TURN):
            instance.pruned_through = pruned_through(instance.pruned_through, turn.execution_id, outcome)
        return outcome, events_left

    def _decide(self, instance: Instance, batch: CommitBatch, turn: TurnCommit, now: int) -> PruneDecision | None:
        return decide_turn(
            turn.policies,
            None if instance.prune_policy is None else _policy.decode(instance.prune_policy),
            batch.prune_terms,
            [at_ms for (name, _), at_ms in self._versions.items() if name == turn.name],
            ending_execution_id=turn.execution_id,
            pruned_through=instance.pruned_through,
            now_ms=now,
        )

    # --- orders ------------------------------------------------------------------------------------------------

    def prune(self, batch: PruneBatch, *, durable: bool = True) -> list[OrderResult]:  # noqa: ARG002 - nothing is
        with self._transaction() as now:
            check_rules(batch.orders)
            if batch.policy_revision not in (None, self._policy_revision):
                raise StalePlanError(
                    "what is said about pruning has changed since the plan was made", hint="make the plan again"
                )
            count_max = newer_to_count([options for order in batch.orders for options in order.rules])
            left = MARK_RECLAIM_EVENTS_MAX
            totals = RunTotals()
            results = []
            for order in batch.orders:
                instance = self._instances.get(order.incarnation)
                if instance is None or not order.is_of(instance.instance_id):
                    results.append(OrderResult(result=PruneResult(), next_after=None))
                    continue
                asked = order.asked
                through = None if asked is None else asked.through
                view = _view(instance, order.after, batch.executions_max, count_max, through, through)
                known_from = instance.live_from
                decided_at_ms = now if asked is None else asked.at_ms
                marks = choose(
                    view, order.rules, self._holds.values(), decided_at_ms, after=order.after, only=order.only
                )
                if marks.removed:
                    left = self._remove(instance, marks.removed, batch.children, now, left, batch.archive, batch)
                    pruned = _range(marks.removed, order.rules, order.origin, batch.trigger, now)
                    if batch.run_id:
                        totals.add(pruned, new=record_run(instance, batch.run_id, pruned))
                    else:
                        instance.ledger = _recorded(instance, pruned)
                if order.after < known_from:
                    instance.live_from = max(known_from, live_from(view, marks.removed, known_from))
                next_after = view.executions[-1].execution_id if view.newer.executions else None
                if batch.swept and not marks.remaining:
                    next_after = None
                if batch.swept and next_after is None:
                    _note_done(instance, asked, now)
                result = msgspec.structs.replace(
                    marks.result(),
                    remaining=0 if next_after is None else 1,
                    run_id=batch.run_id if marks.removed else "",
                )
                results.append(OrderResult(result=result, next_after=next_after))
            if totals.executions:
                self._add_to_run(totals, batch, now)
            self._changed()
            return results

    def _add_to_run(self, totals: RunTotals, batch: PruneBatch | RemovalBatch, now: int) -> None:
        run_id = batch.run_id
        before = self._runs.get(run_id)
        added = totals.run(
            run_id,
            PruneTrigger.MANUAL,
            kind=batch.trigger if isinstance(batch, RemovalBatch) else RunKind.PRUNE,
            by=batch.by,
            reason=batch.reason,
            source=batch.source,
            started_at_ms=now,
            archive=noted_archive(batch.archive, batch.archive_directory),
        )
        self._runs[run_id] = added if before is None else sum_of_runs(before, added)

    def sync(self) -> None:
        """There is no disk."""

    def note_swept(self, incarnations: Sequence[int]) -> None:
        with self._transaction() as now:
            for incarnation in incarnations:
                if (instance := self._instances.get(incarnation)) is not None:
                    instance.swept_at_ms, instance.prune_due_at_ms = now, None
            self._changed()

    # --- marks -------------------------------------------------------------------------------------------------

    def _remove(
        self,
        instance: Instance,
        removed: Sequence[ExecutionFacts],
        children: ChildrenPolicy,
        now: int,
        events_left: int,
        archive: str | None,
        batch: PruneBatch | None = None,
    ) -> int:
        """Delete what may go at once, mark the rest. What is left of the events a transaction deletes."""
        grace_ms = 0 if batch is None else batch.grace_ms
        events = sum(each.event_count for each in removed)
        at_once = grace_ms == 0 and archive is None and events <= events_left
        for group in _runs(each.execution_id for each in removed):
            takes = children is ChildrenPolicy.SETTLED and self._spawned(instance.incarnation, group)
            for execution_id in group:
                if at_once and not takes:
                    del instance.executions[execution_id]
                else:
                    execution = instance.executions[execution_id]
                    execution.removal = RemovalState.PRUNED
                    execution.pruned_at_ms = now
                    execution.reclaim_at_ms = now + grace_ms
                    execution.run_id = "" if batch is None else batch.run_id
                    execution.takes_children = takes
                    execution.archive, execution.unarchived = archive, archive is not None
        return events_left - events if at_once else events_left

    def _spawned(self, incarnation: int, executions: Sequence[int]) -> bool:
        """Whether any child is of these executions, be it one that was removed and may come back."""
        removed = (each.instance for each in self._removed.values())
        return any(
            not child.detached and child.parent.incarnation == incarnation and child.parent.execution_id in executions
            for each in (*self._children.get(incarnation, ()), *removed)
            if (child := each.lineage) is not None
        )

    # --- reads for planning ------------------------------------------------------------------------------------

    def orchestration_names(self) -> tuple[str, ...]:
        with self._transaction():
            return tuple(sorted({instance.name for instance in self._instances.values()}))

    def prunable_instances(self, where: PruneFilter, limit: int, after: int) -> tuple[PrunableInstance, ...]:
        with self._transaction() as now:
            found = [
                _prunable(instance)
                for incarnation, instance in sorted(self._instances.items())
                if incarnation > after and _matches(instance, where, now)
            ]
            return tuple(found[:limit] if limit else found)

    def asked_prunes(self, limit: int, after: int) -> tuple[AskedPrune, ...]:
        with self._transaction() as now:
            found = [
                asked
                for incarnation, instance in sorted(self._instances.items())
                if incarnation > after and (asked := _oldest_asked(instance, now)) is not None
            ]
            return tuple(found[:limit] if limit else found)

    def prune_views(
        self, wanted: Sequence[tuple[int, int]], limit: int, newer_max: int, of_a_version_max: int = 0
    ) -> list[PruneView]:
        with self._transaction():
            return [
                _view(self._instances[incarnation], after, limit, Counted(newer_max, of_a_version_max))
                if incarnation in self._instances
                else PruneView(executions=(), newer=NewerExecutions())
                for incarnation, after in wanted
            ]

    # --- reclaim and undo --------------------------------------------------------------------------------------

    def reclaim(self, events_max: int) -> ReclaimResult:
        with self._transaction() as now:
            due = self._due(now)[:_EXECUTIONS_A_RECLAIM]
            executions = events = 0
            children: list[Family] = []
            for instance, execution in due:
                event_count = execution.event_count
                if (executions or children) and events + event_count > events_max:
                    break
                if execution.takes_children:
                    count_max = _CHILDREN_A_RECLAIM - len(children)
                    taken, more = self._take_children(instance, execution, now, count_max)
                    children += taken
                    if more:
                        execution.removal = RemovalState.RECLAIMING
                        break
                if event_count > events_max:
                    execution.removal = RemovalState.RECLAIMING
                    event_count = min(events_max, len(execution.history))
                    del execution.history[:event_count]
                    execution.reclaimed_events += event_count
                    if event_count == events_max:
                        events += event_count
                        break
                events += event_count
                executions += 1
                del instance.executions[execution.execution_id]
            more = executions < len(due) or len(due) == _EXECUTIONS_A_RECLAIM
            instances, their_events, more_instances = self._reclaim_removed(now, max(events_max - events, 0))
            if due or instances or their_events:
                self._changed()
            return ReclaimResult(
                executions=executions,
                events=events + their_events,
                children=len(children),
                instances=instances,
                more=more or more_instances,
                settled=settled_counts(children),
            )

    def _due(self, now: int) -> list[tuple[Instance, Execution]]:
        due = [
            (execution.reclaim_at_ms, instance.incarnation, execution_id, instance, execution)
            for instance in self._all_instances()
            for execution_id, execution in instance.executions.items()
            if execution.reclaim_at_ms is not None and execution.reclaim_at_ms <= now and not execution.unarchived
        ]
        due.sort(key=lambda each: each[:3])
        return [(instance, execution) for *_, instance, execution in due]

    def _waits(self, instance: Instance, run_id: str) -> bool:
        """Whether the instance is removed, and executions that the run pruned of it are there."""
        return instance.incarnation in self._removed and any(
            each.removal is RemovalState.PRUNED and each.run_id == run_id for each in instance.executions.values()
        )

    def undo_prune(
        self,
        hold_id: str,
        hold_until_ms: int,
        *,
        run_id: str = "",
        instance_id: str = "",
        by: str = "",
        source: RunSource = NO_SOURCE,
    ) -> UndoResult:
        with self._transaction() as now:
            if run_id and run_id not in self._runs:
                raise PruneRunNotFoundError(f"there is no prune run {run_id!r}", hint="duroctl ledger list shows them")
            found = None if run_id else self._by_id.get(instance_id)
            if not run_id and found is None and self.find_removed(instance_id) is None:
                raise InstanceNotFoundError(f"there is no instance {instance_id!r}")
            wanted = "" if run_id or found is not None else instance_id
            back = self._restore(run_id, wanted, now)
            taken = self._whose_id_is_taken(run_id, "" if run_id else instance_id)
            concerned = list(self._all_instances()) if run_id else [found] if found is not None else []
            gone = sum(_gone(instance, run_id) for instance in concerned)
            if run_id:
                ledgers = [row.entry.executions for each in concerned for row in each.ledger if row.run_id == run_id]
                gone += self._runs[run_id].executions - sum(ledgers)
            removed = tuple(sorted({each.instance_id for each in concerned if run_id and self._waits(each, run_id)}))
            totals = RunTotals()
            restored: list[str] = []
            for instance in concerned:
                if instance.incarnation not in self._instances:
                    continue
                marked = [
                    each
                    for each in instance.executions.values()
                    if each.removal is RemovalState.PRUNED and run_id in ("", each.run_id)
                ]
                if not marked:
                    continue
                sizes = sorted((each.execution_id, each.event_count, each.history_bytes) for each in marked)
                for each in marked:
                    each.restore()
                instance.live_from = min(instance.live_from, sizes[0][0])
                entry = undone_range(sizes, origin=run_id or instance_id, undone_at_ms=now)
                instance.ledger = [*instance.ledger, LedgerRow(next_sequence(instance), entry, hold_id)]
                totals.add(entry, new=True)
                restored.append(instance.instance_id)
            for each_back in back:
                entry = undone(each_back, run_id or instance_id, now)
                instance = each_back.instance
                instance.ledger = [*instance.ledger, LedgerRow(next_sequence(instance), entry, hold_id)]
                totals.add(entry, new=True)
            held = dict.fromkeys([*(each.instance.instance_id for each in back if each.may_go_alone), *restored])
            restored = [each.instance.instance_id for each in back if each.depth == 0] + restored
            if not restored:
                return UndoResult(gone=gone, taken=taken, removed=removed)
            self._runs[hold_id] = totals.run(
                hold_id, UNDO, kind=RunKind.UNDO, by=by, reason="", source=source, started_at_ms=now
            )
            hold_ids = [hold_id if n == 1 else f"{hold_id}-{n}" for n in range(1, len(held) + 1)]
            for new_id, each_id in zip(hold_ids, held, strict=True):
                self._holds[new_id] = Hold(
                    hold_id=new_id,
                    target=HoldTarget(instance_id=each_id),
                    reason="a prune was undone",
                    created_at_ms=now,
                    by=by,
                    until_ms=hold_until_ms,
                )
            self._hold_revision += 1
            self._changed()
            return UndoResult(
                instances_restored=len(back),
                taken=taken,
                removed=removed,
                executions_restored=totals.executions,
                events_restored=totals.events,
                bytes_restored=totals.history_bytes,
                instances=tuple(restored),
                gone=gone,
                hold_ids=tuple(hold_ids),
            )

    def backlog(self) -> Backlog:
        with self._transaction() as now:
            marked = [
                execution
                for instance in self._all_instances()
                for execution in instance.executions.values()
                if execution.removal is not RemovalState.LIVE
            ]
            due = [each for each in marked if each.reclaim_at_ms is not None and each.reclaim_at_ms <= now]
            due_removed = [each for each in self._removed.values() if each.reclaim_at_ms <= now]
            return Backlog(
                marked_executions=len(marked),
                due_executions=sum(not each.unarchived for each in due),
                due_instances=sum(
                    _is_due(each, now) or _oldest_asked(each, now) is not None for each in self._instances.values()
                ),
                removed_instances=len(self._removed),
                due_removed=sum(not each.unarchived for each in due_removed),
                unarchived_executions=sum(each.unarchived for each in marked),
                unarchived_instances=sum(each.unarchived for each in self._removed.values()),
            )


# --- what is there -------------------------------------------------------------------------------------------


def _asked_for(request: RequestPrune) -> PruneDecision:
    return PruneDecision(rules=(request.options,), origin=_CALLED, trigger=PruneTrigger.PRUNE_HISTORY, why="asked for")


def _wanted(turns: Iterable[tuple[int, TurnCommit]]) -> Iterator[Wanted]:
    for position, turn in turns:
        for request in turn.prune_requests:
            yield position, turn, request
        if turn.end is not None and turn.end.status is ExecutionStatus.CONTINUED_AS_NEW:
            yield position, turn, None


def _note_done(instance: Instance, asked: AskedPrune | None, now: int) -> None:
    """A sweep is through with the instance."""
    if asked is None:
        instance.swept_at_ms, instance.prune_due_at_ms = now, None
        return
    kept = instance.asked.get(asked.options)
    if kept is not None and (kept.through, kept.at_ms) == (asked.through, asked.at_ms):
        del instance.asked[asked.options]


def _oldest_asked(instance: Instance, now: int) -> AskedPrune | None:
    due = [(each.at_ms, as_json(options), options) for options, each in instance.asked.items() if each.due_at_ms <= now]
    if not due:
        return None
    _, _, options = min(due, key=lambda each: each[:2])
    origin, through, at_ms, _ = instance.asked[options]
    return AskedPrune(
        incarnation=instance.incarnation,
        name=instance.name,
        options=options,
        origin=origin,
        through=through,
        at_ms=at_ms,
    )


def _view(
    instance: Instance, after: int, limit: int, count: Counted, through: int | None = None, current: int | None = None
) -> PruneView:
    """``through``: nothing newer is looked at. ``current``: the execution that was the current one."""
    last = instance.execution_id if through is None else through
    live = [execution for number, execution in sorted(instance.live_executions().items()) if after < number <= last]
    newer = live[limit:]
    counts = Counter(each.version for each in newer if each.version)
    newest = {each.version: each.execution_id for each in newer}
    versions = tuple(
        NewerVersion(version, min(counts[version], count.of_a_version), newest[version]) for version in sorted(counts)
    )
    known = NewerExecutions(
        executions=min(len(newer), count.executions),
        versions=versions if count.of_a_version or not newer else None,
        is_capped=bool(newer) and len(newer) >= count.executions,
    )
    facts = tuple(_facts(instance, each, current or instance.execution_id) for each in live[:limit])
    return PruneView(executions=facts, newer=known)


def _facts(instance: Instance, execution: Execution, current: int) -> ExecutionFacts:
    return ExecutionFacts(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        execution_id=execution.execution_id,
        name=instance.name,
        version=execution.version,
        status=execution.status,
        started_at_ms=execution.started_at_ms,
        completed_at_ms=execution.completed_at_ms,
        event_count=execution.event_count,
        history_bytes=execution.history_bytes,
        is_current=execution.execution_id == current,
    )


def _prunable(instance: Instance) -> PrunableInstance:
    return PrunableInstance(
        instance_id=instance.instance_id,
        incarnation=instance.incarnation,
        name=instance.name,
        version=instance.version,
        status=instance.status,
        execution_id=instance.execution_id,
        live_executions_max=instance.execution_id - instance.live_from + 1,
        policy=instance.prune_policy,
        swept_at_ms=instance.swept_at_ms,
    )


def _is_due(instance: Instance, now: int) -> bool:
    return instance.prune_due_at_ms is not None and instance.prune_due_at_ms <= now


def _matches(instance: Instance, where: PruneFilter, now: int) -> bool:
    return (
        (where.instance_ids is None or instance.instance_id in where.instance_ids)
        and (where.names is None or instance.name in where.names)
        and (not where.due or _is_due(instance, now))
        and (not where.several or instance.execution_id > instance.live_from)
        and (not where.own_policy or instance.prune_policy is not None)
    )


def _runs(numbers: Iterable[int]) -> Iterator[range]:
    """Ascending numbers as ranges without a gap."""
    run: range | None = None
    for number in numbers:
        if run is not None and number == run.stop:
            run = range(run.start, number + 1)
            continue
        if run is not None:
            yield run
        run = range(number, number + 1)
    if run is not None:
        yield run


# --- the ledger ----------------------------------------------------------------------------------------------


def _range(
    removed: Sequence[ExecutionFacts],
    rules: Sequence[PruneOptions],
    origin: PolicyOrigin,
    trigger: PruneTrigger,
    now: int,
) -> LedgerRange:
    return ledger_range(removed, rule=rules_text(rules), origin=str(origin), trigger=trigger, pruned_at_ms=now)


def _recorded(instance: Instance, pruned: LedgerRange) -> list[LedgerRow]:
    """The ledger with one more automatic prune."""
    automatic = [row for row in instance.ledger if row.run_id is None]
    others = [row for row in instance.ledger if row.run_id is not None]
    entries = record([row.entry for row in automatic], pruned)
    sequences = [row.sequence for row in automatic]
    if len(entries) != len(automatic) or entries[-1].first_execution_id == pruned.first_execution_id:
        sequences = [*sequences, next_sequence(instance)][-len(entries) :]
    rows = [LedgerRow(number, entry, None) for number, entry in zip(sequences, entries, strict=True)]
    return sorted([*rows, *others], key=lambda row: row.sequence)


def sum_of_runs(one: PruneRun, other: PruneRun) -> PruneRun:
    return msgspec.structs.replace(
        one,
        rule=one.rule if one.rule == other.rule else SEVERAL,
        origin=one.origin if one.origin == other.origin else SEVERAL,
        instances=one.instances + other.instances,
        executions=one.executions + other.executions,
        events=one.events + other.events,
        history_bytes=one.history_bytes + other.history_bytes,
    )


def _gone(instance: Instance, run_id: str) -> int:
    """Executions (of the run) that have no row any more."""
    if not run_id:
        return instance.execution_id - len(instance.executions)
    gone = 0
    for row in instance.ledger:
        if row.run_id == run_id:
            span = range(row.entry.first_execution_id, row.entry.last_execution_id + 1)
            there = [instance.executions[number] for number in span if number in instance.executions]
            marked = sum(each.run_id == run_id for each in there)
            gone += min(row.entry.executions - marked, len(span) - len(there))
    return gone

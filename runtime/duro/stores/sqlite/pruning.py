"""Pruning inside a transaction: what is there is read, the planner decides, what it lets go is marked or deleted, and
the ledger says so. The same steps serve the commit of turns and the orders of clients and sweeps."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import apsw
import msgspec

from duro import codec
from duro.errors import DuroError, StalePlanError
from duro.model.ledger import LedgerRange
from duro.model.limits import MARK_RECLAIM_EVENTS_MAX, TURN_PRUNE_EXECUTIONS_MAX
from duro.model.policies import StatedPolicy
from duro.model.pruning import ExecutionFacts, Hold, NewerExecutions, NewerVersion, PruneResult, PruneTrigger
from duro.model.removal import OrderResult, PruneBatch, PruneReport, PruneView
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ChildrenPolicy, ExecutionStatus
from duro.model.turns import CommitBatch, CommitResult, RequestPrune, TurnCommit
from duro.retention.ledger import ledger_range
from duro.retention.transaction import Marks, choose, decide_turn, failed, live_from, newer_to_count, rules_text
from duro.retention.triggers import pruned_through
from duro.stores.sqlite import ledger
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.connection import concerns_the_store
from duro.stores.sqlite.queues import Fence, send, wake

_CALLED: Final = PolicyOrigin(PolicyKind.CALL, "ctx.prune_history")

_Read: TypeAlias = tuple[int, int, list[ExecutionFacts]]
_ReadWithLedger: TypeAlias = tuple[int, int, list[ExecutionFacts], ledger.NumberedRange | None]

_reads = msgspec.json.Decoder(list[_Read])
_reads_with_ledger = msgspec.json.Decoder(list[_ReadWithLedger])
_newer = msgspec.json.Decoder(list[tuple[int, int, list[NewerVersion]]])
_holds = msgspec.json.Decoder(list[Hold])
_versions = msgspec.json.Decoder(list[tuple[str, int]])
_policy = msgspec.json.Decoder(StatedPolicy)


class PruneFailedError(Exception):
    """A prune could not be carried out. No ``DuroError``: those must leave no trace, and this one left half of it."""


class Pruning(NamedTuple):
    """A turn that may prune, as the wave that writes it found its instance."""

    position: int
    turn: TurnCommit
    fence: Fence


class _Task(NamedTuple):
    """One prune of one turn. ``request`` is what it answers; None: it goes with continue-as-new. ``automatic``: by the
    policy, so that it counts as done (``pruned_through``)."""

    position: int
    turn: TurnCommit
    rules: tuple[PruneOptions, ...]
    origin: PolicyOrigin
    trigger: PruneTrigger
    pruned_through: int
    request: RequestPrune | None = None
    automatic: bool = False


_Wanted: TypeAlias = tuple[Pruning, RequestPrune | None]
"""A turn and its request; None: what goes with continue-as-new."""


# --- the prunes of a commit ----------------------------------------------------------------------------------


def prune_turns(transaction: Transaction, batch: CommitBatch, result: CommitResult, turns: Sequence[Pruning]) -> None:
    """Carry out what ``turns`` ask for, all rows of all turns being written. One that fails is undone alone: in a
    careful transaction at once, otherwise by failing, for then the batch is written once more, carefully."""
    waiting: list[_Wanted] = [
        wanted
        for pruning in turns
        for wanted in [*((pruning, each) for each in pruning.turn.prune_requests), (pruning, None)]
    ]
    through: dict[int, int] = {}
    while waiting:
        first: dict[int, _Wanted] = {}
        later = [each for each in waiting if first.setdefault(each[0].turn.incarnation, each) is not each]
        tasks = [task for each in first.values() if (task := _task(transaction, batch, each, through)) is not None]
        if transaction.careful:
            for task in tasks:
                _carefully(transaction, batch, result, task, through)
        elif tasks:
            try:
                result.prunes += _carry_out(transaction, batch, tasks, through)
            except DuroError as error:
                raise PruneFailedError(str(error)) from error
        waiting = later
    result.prunes.sort(key=lambda report: report.position)


def _task(transaction: Transaction, batch: CommitBatch, wanted: _Wanted, through: dict[int, int]) -> _Task | None:
    """The first of what is left of an instance: a second one has to see what the first one did. ``through``: what
    earlier ones left as ``pruned_through``."""
    (position, turn, fence), request = wanted
    pruned = through.get(turn.incarnation, fence[6])
    if request is not None:
        trigger = PruneTrigger.PRUNE_HISTORY
        return _Task(position, turn, (request.options,), _CALLED, trigger, pruned, request=request)
    if turn.end is None or turn.end.status is not ExecutionStatus.CONTINUED_AS_NEW:
        return None
    pauses = batch.prune_terms.rollout_pause_s > 0
    decision = decide_turn(
        turn.policies,
        None if fence[7] is None else _policy.decode(fence[7]),
        batch.prune_terms,
        [seen_ms for _, seen_ms in versions_seen(transaction, turn.name)] if pauses else (),
        ending_execution_id=turn.execution_id,
        pruned_through=pruned,
        now_ms=transaction.now_ms,
    )
    if decision is None or decision.rules is None:
        return None
    automatic = decision.origin.kind is not PolicyKind.TURN
    return _Task(position, turn, decision.rules, decision.origin, decision.trigger, pruned, automatic=automatic)


def _carefully(
    transaction: Transaction, batch: CommitBatch, result: CommitResult, task: _Task, through: dict[int, int]
) -> None:
    counters = transaction.counters()
    transaction.run(sql.SAVEPOINT)
    try:
        result.prunes += _carry_out(transaction, batch, [task], through)
    except Exception as error:
        if isinstance(error, apsw.Error) and concerns_the_store(error):
            raise
        transaction.run(sql.ROLLBACK_TO_SAVEPOINT)
        transaction.restore_counters(counters)
        transaction.run(sql.DUE, (task.turn.incarnation, transaction.now_ms))
        outcome = failed(error)
        _answer(transaction, [(task, outcome)])
        result.prunes.append(_report(task, outcome))
    transaction.run(sql.RELEASE_SAVEPOINT)


def _carry_out(
    transaction: Transaction, batch: CommitBatch, tasks: Sequence[_Task], through: dict[int, int]
) -> list[PruneReport]:
    """At most one task an instance."""
    wanted = [(task.turn.incarnation, 0) for task in tasks]
    size = TURN_PRUNE_EXECUTIONS_MAX
    any_hold, answer = transaction.row(sql.VIEWS_AND_LEDGER, (as_json(wanted), size + 1))
    read = {each[0]: each for each in _reads_with_ledger.decode(answer)}
    count_max = newer_to_count([options for task in tasks for options in task.rules])
    views = _views(transaction.connection, {n: each[2] for n, each in read.items()}, size, count_max)
    held = _holds_on(transaction, [task.turn.instance_id for task in tasks]) if any_hold else ()
    removal = _Removal(transaction, children=batch.prune_terms.children)
    now_ms = transaction.now_ms
    outcomes: list[tuple[_Task, PruneResult]] = []
    for task in tasks:
        incarnation = task.turn.incarnation
        _, known_from, _, last = read[incarnation]
        view = views[incarnation]
        marks = choose(view, task.rules, held, now_ms)
        if marks.removed:
            removal.remove(marks.removed)
            pruned = _range_of(marks.removed, task.rules, task.origin, task.trigger, now_ms)
            ledger.record_after(transaction, incarnation, pruned, last)
        outcome = marks.result()
        done = task.pruned_through
        if task.automatic:
            done = through[incarnation] = pruned_through(done, task.turn.execution_id, outcome)
        lowest = live_from(view, marks.removed, known_from)
        if done != task.pruned_through or lowest != known_from or outcome.remaining:
            transaction.run(sql.PRUNED, (incarnation, done, lowest, outcome.remaining > 0, now_ms))
        outcomes.append((task, outcome))
    _answer(transaction, outcomes)
    return [_report(task, outcome) for task, outcome in outcomes]


def _report(task: _Task, outcome: PruneResult) -> PruneReport:
    return PruneReport(position=task.position, name=task.turn.name, trigger=task.trigger, result=outcome)


def _answer(transaction: Transaction, outcomes: Sequence[tuple[_Task, PruneResult]]) -> None:
    """Tell those that asked. An instance that has ended for good takes no messages any more."""
    messages = []
    for task, outcome in outcomes:
        end = task.turn.end
        if task.request is None or (end is not None and end.status is not ExecutionStatus.CONTINUED_AS_NEW):
            continue
        message = codec.history_pruned_message(task.turn.execution_id, task.request.event_id, outcome)
        messages.append((task.turn.incarnation, message))
    if messages:
        send(transaction, messages)
        wake(transaction, {incarnation for incarnation, _ in messages})


def _range_of(
    removed: Sequence[ExecutionFacts],
    rules: Sequence[PruneOptions],
    origin: PolicyOrigin,
    trigger: PruneTrigger,
    pruned_at_ms: int,
) -> LedgerRange:
    return ledger_range(removed, rule=rules_text(rules), origin=str(origin), trigger=trigger, pruned_at_ms=pruned_at_ms)


# --- orders of clients and sweeps ----------------------------------------------------------------------------


def prune(transaction: Transaction, batch: PruneBatch) -> list[OrderResult]:
    if batch.policy_revision is not None:
        revision = transaction.row(sql.REVISIONS)[0]
        if revision != batch.policy_revision:
            raise StalePlanError(
                "what is said about pruning has changed since the plan was made", hint="make the plan again"
            )
    wanted = [(order.incarnation, order.after) for order in batch.orders]
    answer = transaction.value(sql.VIEWS, (as_json(wanted), batch.executions_max + 1))
    read = {each[0]: each for each in _reads.decode(answer)}
    count_max = newer_to_count([options for order in batch.orders for options in order.rules])
    views = _views(transaction.connection, {n: each[2] for n, each in read.items()}, batch.executions_max, count_max)
    instance_ids = {facts[0].instance_id for _, _, facts in read.values() if facts}
    held = _holds_on(transaction, sorted(instance_ids))
    removal = _Removal(
        transaction, children=batch.children, grace_ms=batch.grace_ms, run_id=batch.run_id, thoroughly=True
    )
    results = []
    run = ledger.RunTotals()
    for order in batch.orders:
        if order.incarnation not in read:
            results.append(OrderResult(result=PruneResult(), next_after=None))
            continue
        view = views[order.incarnation]
        marks = choose(view, order.rules, held, transaction.now_ms, after=order.after, only=order.only)
        if marks.removed:
            removal.remove(marks.removed)
            pruned = _range_of(marks.removed, order.rules, order.origin, batch.trigger, transaction.now_ms)
            if batch.run_id:
                run.add(pruned, ledger.record_run(transaction, order.incarnation, batch.run_id, pruned))
            else:
                ledger.record_automatic(transaction, order.incarnation, pruned)
        results.append(_settle_order(transaction, batch, order.after, read[order.incarnation], view, marks))
    if run.executions:
        ledger.add_to_run(transaction, batch, run)
    return results


def _settle_order(
    transaction: Transaction, batch: PruneBatch, after: int, read: _Read, view: PruneView, marks: Marks
) -> OrderResult:
    incarnation, known_from, _ = read
    next_after = view.executions[-1].execution_id if view.newer.executions else None
    if after < known_from:
        lowest = live_from(view, marks.removed, known_from)
        if lowest != known_from:
            transaction.run(sql.LIVE_FROM, (incarnation, lowest))
    if batch.swept and next_after is None:
        transaction.run(sql.SWEPT, (incarnation, transaction.now_ms))
    result = msgspec.structs.replace(marks.result(), remaining=0 if next_after is None else 1)
    if batch.run_id and marks.removed:
        result = msgspec.structs.replace(result, run_id=batch.run_id)
    return OrderResult(result=result, next_after=next_after)


def note_swept(transaction: Transaction, incarnations: Sequence[int]) -> None:
    for incarnation in incarnations:
        transaction.run(sql.SWEPT, (incarnation, transaction.now_ms))


# --- what is there -------------------------------------------------------------------------------------------


def views(
    connection: apsw.Connection, wanted: Sequence[tuple[int, int]], limit: int, newer_max: int
) -> list[PruneView]:
    """See ``Store.prune_views``; for reading, in one snapshot."""
    if not wanted:
        return []
    row = connection.execute(sql.VIEWS, (as_json(wanted), limit + 1)).fetchone()
    assert row is not None
    read = {each[0]: each[2] for each in _reads.decode(str(row[0]))}
    found = _views(connection, read, limit, newer_max)
    return [found.get(incarnation, _EMPTY) for incarnation, _ in wanted]


_EMPTY: Final = PruneView(executions=(), newer=NewerExecutions())


def _views(
    connection: apsw.Connection, read: dict[int, list[ExecutionFacts]], size: int, newer_max: int
) -> dict[int, PruneView]:
    """``read`` has up to one execution more than ``size``: then there are newer ones, which are counted."""
    cut = {n: facts[:size] for n, facts in read.items() if len(facts) > size}
    newer = _count_newer(connection, cut, newer_max) if cut else {}
    return {
        n: PruneView(executions=tuple(cut.get(n, facts)), newer=newer.get(n, NewerExecutions()))
        for n, facts in read.items()
    }


def _count_newer(
    connection: apsw.Connection, cut: dict[int, list[ExecutionFacts]], newer_max: int
) -> dict[int, NewerExecutions]:
    last = [(n, facts[-1].execution_id) for n, facts in cut.items()]
    row = connection.execute(sql.NEWER, (as_json(last), newer_max)).fetchone()
    assert row is not None
    return {
        n: NewerExecutions(executions=count, versions=tuple(versions) if count < newer_max else None)
        for n, count, versions in _newer.decode(str(row[0]))
    }


def _holds_on(transaction: Transaction, instance_ids: Sequence[str]) -> tuple[Hold, ...]:
    return tuple(_holds.decode(transaction.value(sql.HOLDS_ON, (as_json(instance_ids),))))


def versions_seen(transaction: Transaction, name: str) -> list[tuple[str, int]]:
    return _versions.decode(transaction.value(sql.VERSIONS_SEEN, (name,)))


# --- marks ---------------------------------------------------------------------------------------------------


class _Removal:
    """Removes what it is given: out of the file at once as long as nothing speaks against it, else out of sight.

    ``thoroughly``: also whatever a damaged store may have left in the queues of an execution that has ended.
    """

    def __init__(
        self,
        transaction: Transaction,
        *,
        children: ChildrenPolicy,
        grace_ms: int = 0,
        run_id: str = "",
        thoroughly: bool = False,
    ) -> None:
        self._transaction = transaction
        self._children = children
        self._grace_ms = grace_ms
        self._run_id = run_id
        self._thoroughly = thoroughly
        self._events_left = MARK_RECLAIM_EVENTS_MAX

    def remove(self, executions: Sequence[ExecutionFacts]) -> None:
        """Of one instance, oldest first."""
        incarnation = executions[0].incarnation
        events = sum(execution.event_count for execution in executions)
        at_once = self._grace_ms == 0 and events <= self._events_left
        for first, last in runs(execution.execution_id for execution in executions):
            takes = self._children is ChildrenPolicy.SETTLED and bool(
                self._transaction.value(sql.ANY_CHILDREN, (incarnation, first, last))
            )
            if at_once and not takes:
                self._delete(incarnation, first, last)
            else:
                self._mark(incarnation, first, last, takes)
        if at_once:
            self._events_left -= events

    def _delete(self, incarnation: int, first: int, last: int) -> None:
        run = self._transaction.run
        scope = (incarnation, first, last)
        run(sql.DELETE_HISTORY, scope)
        run(sql.DELETE_EXECUTIONS, scope)
        if self._thoroughly:
            run(sql.DELETE_TIMERS, scope)
            run(sql.DELETE_ACTIVITIES, scope)

    def _mark(self, incarnation: int, first: int, last: int, takes: bool) -> None:
        now_ms = self._transaction.now_ms
        self._transaction.run(
            sql.MARK, (incarnation, first, last, now_ms, now_ms + self._grace_ms, self._run_id, takes)
        )


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges without a gap."""
    first = last = -1
    for number in numbers:
        if number != last + 1:
            if last >= 0:
                yield first, last
            first = number
        last = number
    if last >= 0:
        yield first, last

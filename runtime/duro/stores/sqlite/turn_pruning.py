"""The prunes of a commit: what turns ask for, and what policies say about those that continue as new."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import apsw
import msgspec

from duro import codec
from duro.errors import DuroError
from duro.model.ledger import LedgerRange
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.policies import PruneDecision, StatedPolicy
from duro.model.pruning import ExecutionFacts, Hold, NewerExecutions, PruneResult, PruneTrigger
from duro.model.removal import PruneReport, PruneView
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ExecutionStatus
from duro.model.turns import CommitBatch, CommitResult, RequestPrune, TurnCommit
from duro.retention.ledger import ledger_range
from duro.retention.transaction import (
    Marks,
    choose,
    decide_turn,
    failed,
    live_from,
    newer_to_count,
    newest_untouched,
    rules_text,
)
from duro.retention.triggers import pruned_through
from duro.stores.sqlite import ledger
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.connection import concerns_the_store
from duro.stores.sqlite.pruning import Removal, holds_on, versions_seen, views_of
from duro.stores.sqlite.queues import Fence, send, wake
from duro.stores.sqlite.rows import Row

_CALLED: Final = PolicyOrigin(PolicyKind.CALL, "ctx.prune_history")
_UNDECIDED: Final = PolicyOrigin(PolicyKind.NONE, "")


class _Facts(ExecutionFacts, frozen=True, kw_only=True, array_like=True, gc=False):
    """Without their names, as they come from the store."""


class _Range(LedgerRange, frozen=True, kw_only=True, array_like=True):
    """Without the names, as it comes from the store."""


_Read: TypeAlias = tuple[int, int, list[_Facts], int, int | None, bool, tuple[int, _Range] | None]
"""Incarnation; the number below which none of its executions is live; the oldest of those that rules may let go; how
many come behind all of those; the first that does; whether any that may go has children; the last automatic range of
the ledger."""

_reads = msgspec.json.Decoder(list[_Read])
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

_Outcome: TypeAlias = tuple[_Task, PruneResult]


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
        tasks = _tasks(transaction, batch, result, first.values(), through)
        if transaction.careful:
            for task in tasks:
                _carefully(transaction, batch, result, task, through)
        elif tasks:
            try:
                result.prunes += _carry_out(transaction, batch, tasks, through)
            except DuroError as error:
                raise PruneFailedError(str(error)) from error
        waiting = later
    if len(result.prunes) > 1:
        result.prunes.sort(key=lambda report: report.position)


# --- what is due ---------------------------------------------------------------------------------------------


def _tasks(
    transaction: Transaction,
    batch: CommitBatch,
    result: CommitResult,
    wanted: Iterable[_Wanted],
    through: Mapping[int, int],
) -> list[_Task]:
    """The first of what is left of each instance: a second one has to see what the first one did. ``through``: what
    earlier ones left as ``pruned_through``."""
    tasks = []
    for each in wanted:
        (position, turn, fence), _ = each
        try:
            task = _task(transaction, batch, each, through.get(turn.incarnation, fence[6]))
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - a policy nobody can read, say; nothing was written
            undecided = _Task(position, turn, (), _UNDECIDED, PruneTrigger.CONTINUE_AS_NEW, fence[6])
            _note_failure(transaction, result, undecided, error)
        else:
            if task is not None:
                tasks.append(task)
    return tasks


def _task(transaction: Transaction, batch: CommitBatch, wanted: _Wanted, pruned: int) -> _Task | None:
    (position, turn, fence), request = wanted
    if request is not None:
        trigger = PruneTrigger.PRUNE_HISTORY
        return _Task(position, turn, (request.options,), _CALLED, trigger, pruned, request=request)
    if turn.end is None or turn.end.status is not ExecutionStatus.CONTINUED_AS_NEW:
        return None
    decision = _decide(transaction, batch, turn, fence[7], pruned)
    if decision is None or decision.rules is None:
        return None
    automatic = decision.origin.kind is not PolicyKind.TURN
    return _Task(position, turn, decision.rules, decision.origin, decision.trigger, pruned, automatic=automatic)


def _decide(
    transaction: Transaction, batch: CommitBatch, turn: TurnCommit, override: str | None, pruned: int
) -> PruneDecision | None:
    """When the versions were seen is read only where it matters: a policy is due, and rollouts pause it."""
    decide = partial(
        decide_turn,
        turn.policies,
        None if override is None else _policy.decode(override),
        batch.prune_terms,
        ending_execution_id=turn.execution_id,
        pruned_through=pruned,
        now_ms=transaction.now_ms,
    )
    decision = decide(())
    if batch.prune_terms.rollout_pause_s > 0 and decision is not None and decision.rules is not None:
        return decide([seen_ms for _, seen_ms in versions_seen(transaction, turn.name)])
    return decision


# --- one that fails ------------------------------------------------------------------------------------------


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
        _note_failure(transaction, result, task, error)
    transaction.run(sql.RELEASE_SAVEPOINT)


def _note_failure(transaction: Transaction, result: CommitResult, task: _Task, error: Exception) -> None:
    """It stays due, a sweep is to look, and whoever asked is told."""
    transaction.run(sql.DUE, (task.turn.incarnation, transaction.now_ms))
    outcome = failed(error)
    _answer(transaction, [(task, outcome)])
    result.prunes.append(_report(task, outcome))


# --- carrying it out -----------------------------------------------------------------------------------------


def _carry_out(
    transaction: Transaction, batch: CommitBatch, tasks: Sequence[_Task], through: dict[int, int]
) -> list[PruneReport]:
    """At most one task an instance."""
    wanted = [(task.turn.incarnation, newest_untouched(task.rules)) for task in tasks]
    any_hold, answer = transaction.row(sql.TURN_VIEWS, (as_json(wanted), TURN_PRUNE_EXECUTIONS_MAX + 1))
    read = {each[0]: each for each in _reads.decode(answer)}
    seen = _views(transaction, read, tasks)
    held = holds_on(transaction, [task.turn.instance_id for task in tasks]) if any_hold else ()
    changes = _Changes(transaction, batch)
    outcomes = [(task, changes.prune(task, read[n], seen[n], held)) for task in tasks for n in [task.turn.incarnation]]
    changes.write()
    _answer(transaction, outcomes)
    through.update(changes.through)
    return [_report(task, outcome) for task, outcome in outcomes]


def _views(transaction: Transaction, read: Mapping[int, _Read], tasks: Sequence[_Task]) -> dict[int, PruneView]:
    """What was read is a whole view but for the newest, which were counted, unless it is more than a turn looks at."""
    found = {}
    too_many = {}
    for n, (_, _, facts, behind, *_) in read.items():
        if len(facts) > TURN_PRUNE_EXECUTIONS_MAX:
            too_many[n] = facts
        else:
            newer = NewerExecutions(executions=behind, versions=None if behind else ())
            found[n] = PruneView(executions=tuple(facts), newer=newer)
    if too_many:
        count_max = newer_to_count([options for task in tasks for options in task.rules])
        found |= views_of(too_many, TURN_PRUNE_EXECUTIONS_MAX, count_max, transaction.connection)
    return found


class _Changes:
    """What the prunes of several instances change, collected as rows and written table by table."""

    def __init__(self, transaction: Transaction, batch: CommitBatch) -> None:
        self.through: dict[int, int] = {}
        """Incarnation -> the last execution at whose end an automatic prune was done."""
        self._transaction = transaction
        self._removal = Removal(transaction, children=batch.prune_terms.children)
        self._deleted: list[Row] = []
        self._grown: list[Row] = []
        self._instances: list[Row] = []

    def prune(self, task: _Task, read: _Read, view: PruneView, held: Sequence[Hold]) -> PruneResult:
        incarnation, _, _, _, _, any_children, last = read
        now_ms = self._transaction.now_ms
        marks = choose(view, task.rules, held, now_ms)
        if marks.removed:
            to_delete = self._removal.remove(marks.removed, any_children=any_children)
            self._deleted += [(incarnation, n) for first, last in to_delete for n in range(first, last + 1)]
            pruned = ledger_range(
                marks.removed,
                rule=rules_text(task.rules),
                origin=str(task.origin),
                trigger=task.trigger,
                pruned_at_ms=now_ms,
            )
            if (row := ledger.grown(incarnation, pruned, last)) is not None:
                self._grown.append(row)
            else:
                ledger.record_automatic(self._transaction, incarnation, pruned)
        outcome = marks.result()
        done = task.pruned_through
        if task.automatic:
            done = self.through[incarnation] = pruned_through(done, task.turn.execution_id, outcome)
        lowest = _live_from(read, view, marks)
        if done != task.pruned_through or lowest != read[1] or outcome.remaining:
            self._instances.append((incarnation, done, lowest, now_ms if outcome.remaining else None))
        return outcome

    def write(self) -> None:
        rows = self._transaction.rows
        rows(sql.DELETE_HISTORIES, self._deleted)
        rows(sql.DELETE_EXECUTION_ROWS, self._deleted)
        rows(sql.GROW_RANGES, self._grown)
        rows(sql.PRUNED, self._instances)


def _live_from(read: _Read, view: PruneView, marks: Marks) -> int:
    """As ``live_from``; and where the whole view goes, what comes behind it is known."""
    _, known_from, _, _, behind, *_ = read
    if len(marks.removed) == len(view.executions) < TURN_PRUNE_EXECUTIONS_MAX and behind is not None:
        return behind
    return live_from(view, marks.removed, known_from)


def _report(task: _Task, outcome: PruneResult) -> PruneReport:
    return PruneReport(position=task.position, name=task.turn.name, trigger=task.trigger, result=outcome)


def _answer(transaction: Transaction, outcomes: Iterable[_Outcome]) -> None:
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

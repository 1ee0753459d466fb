"""The prunes of a commit: what turns ask for, and what policies say about those that continue as new."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import apsw
import msgspec

from duro import codec
from duro.errors import DuroError
from duro.model.archive import CONFIGURED
from duro.model.ledger import LedgerRange
from duro.model.limits import TURN_PRUNE_EXECUTIONS_MAX
from duro.model.policies import PruneDecision, StatedPolicy
from duro.model.pruning import Hold, NewerExecutions, PruneResult, PruneTrigger
from duro.model.removal import PruneReport, PruneView
from duro.model.retention import PolicyKind, PolicyOrigin, PruneOptions
from duro.model.status import ExecutionStatus
from duro.model.turns import CommitBatch, CommitResult, RequestPrune, TurnCommit, TurnOutcome
from duro.retention.ledger import ledger_range
from duro.retention.transaction import (
    Counted,
    Marks,
    choose,
    decide_turn,
    failed,
    live_from,
    newer_to_count,
    newest_untouched,
    rules_text,
)
from duro.retention.triggers import asked_due_ms, pruned_through, sweep_after_prune_ms
from duro.stores.sqlite import ledger
from duro.stores.sqlite import sql_pruning as sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.connection import concerns_the_store
from duro.stores.sqlite.pruning import FactsRow, Removal, ask, holds_on, versions_seen, views_of
from duro.stores.sqlite.queues import Fence, send, wake
from duro.stores.sqlite.rows import Row

_CALLED: Final = PolicyOrigin(PolicyKind.CALL, "ctx.prune_history")
_UNDECIDED: Final = PolicyOrigin(PolicyKind.NONE, "")


class _Range(LedgerRange, frozen=True, kw_only=True, array_like=True):
    """As a row."""


_Read: TypeAlias = tuple[int, int, list[FactsRow], int, int | None, int, tuple[int, _Range] | None, int | None]
"""Incarnation; the number below which none of its executions is live; the oldest of those that rules may let go; how
many come behind all of those; the first that does; whether any that may go has children (0: no); the last automatic
range of the ledger; when a sweep looked at it."""

_reads = msgspec.json.Decoder(list[_Read])
_facts = msgspec.json.Decoder(list[FactsRow])
_range = msgspec.json.Decoder(tuple[int, _Range])
_policy = msgspec.json.Decoder(StatedPolicy)
_keys = msgspec.json.Decoder(list[tuple[int, int]])


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

    @property
    def asked(self) -> PruneOptions | None:
        """What code asked for; None: a policy says so, or nobody knows what is said."""
        return None if self.automatic or not self.rules else self.rules[0]


def prune_turns(transaction: Transaction, batch: CommitBatch, result: CommitResult, turns: Sequence[Pruning]) -> None:
    """Carry out what ``turns`` ask for, in order, all rows of all turns being written. One that fails is undone alone:
    in a careful transaction at once, otherwise by failing, for then the batch is written once more, carefully."""
    prunes = _Prunes(transaction, batch, result)
    try:
        for each in turns:
            for request in (*each.turn.prune_requests, None):
                prunes.add(each, request)
        prunes.carry_out()
    except DuroError as error:
        raise PruneFailedError(str(error)) from error


class _Prunes:
    """The prunes of one commit. They are carried out together as far as they are of different instances: a second one
    has to see what the first one did."""

    def __init__(self, transaction: Transaction, batch: CommitBatch, result: CommitResult) -> None:
        self._transaction = transaction
        self._batch = batch
        self._result = result
        self._removal = Removal(
            transaction, children=batch.prune_terms.children, archive=CONFIGURED if batch.prune_terms.archive else None
        )
        self._through: dict[int, int] = {}
        """What earlier ones left as ``pruned_through``."""
        self._waiting: dict[int, _Task] = {}

    def add(self, pruning: Pruning, request: RequestPrune | None) -> None:
        turn = pruning.turn
        if turn.incarnation in self._waiting:
            self.carry_out()
        try:
            task = self._task(pruning, request)
        except apsw.Error:
            raise
        except Exception as error:  # noqa: BLE001 - a policy nobody can read, say; nothing was written
            self.carry_out()
            undecided = _Task(pruning.position, turn, (), _UNDECIDED, PruneTrigger.CONTINUE_AS_NEW, 0)
            self._fail(undecided, error)
        else:
            if task is not None:
                self._waiting[turn.incarnation] = task

    def carry_out(self) -> None:
        """Those that wait."""
        tasks, self._waiting = list(self._waiting.values()), {}
        if self._transaction.careful:
            for task in tasks:
                self._carefully(task)
        elif tasks:
            self._together(tasks)

    # --- what is due ------------------------------------------------------------------------------------------

    def _task(self, pruning: Pruning, request: RequestPrune | None) -> _Task | None:
        position, turn, fence = pruning
        pruned = self._through.get(turn.incarnation, fence[6])
        if request is not None:
            trigger = PruneTrigger.PRUNE_HISTORY
            return _Task(position, turn, (request.options,), _CALLED, trigger, pruned, request=request)
        if turn.end is None or turn.end.status is not ExecutionStatus.CONTINUED_AS_NEW:
            return None
        decision = self._decide(turn, fence[7], pruned)
        if decision is None or decision.rules is None:
            return None
        automatic = decision.origin.kind is not PolicyKind.TURN
        return _Task(position, turn, decision.rules, decision.origin, decision.trigger, pruned, automatic=automatic)

    def _decide(self, turn: TurnCommit, override: str | None, pruned: int) -> PruneDecision | None:
        """When the versions were seen is read only where it matters: a policy is due, and rollouts pause it."""
        own = None if override is None else _policy.decode(override)
        decision = self._decide_by(turn, own, pruned, ())
        if self._batch.prune_terms.rollout_pause_s > 0 and decision is not None and decision.rules is not None:
            seen_ms = [at_ms for _, at_ms in versions_seen(self._transaction, turn.name)]
            return self._decide_by(turn, own, pruned, seen_ms)
        return decision

    def _decide_by(
        self, turn: TurnCommit, own: StatedPolicy | None, pruned: int, seen_ms: Sequence[int]
    ) -> PruneDecision | None:
        return decide_turn(
            turn.policies,
            own,
            self._batch.prune_terms,
            seen_ms,
            ending_execution_id=turn.execution_id,
            pruned_through=pruned,
            now_ms=self._transaction.now_ms,
        )

    # --- carrying it out --------------------------------------------------------------------------------------

    def _carefully(self, task: _Task) -> None:
        transaction = self._transaction
        counters, events_left = transaction.counters(), self._removal.events_left
        transaction.run(sql.SAVEPOINT)
        try:
            self._together([task])
        except Exception as error:
            if isinstance(error, apsw.Error) and concerns_the_store(error):
                raise
            transaction.run(sql.ROLLBACK_TO_SAVEPOINT)
            transaction.restore_counters(counters)
            self._removal.events_left = events_left
            self._fail(task, error)
        transaction.run(sql.RELEASE_SAVEPOINT)

    def _fail(self, task: _Task, error: Exception) -> None:
        """It stays due, a sweep is to look, and whoever asked is told."""
        outcome = failed(error)
        now_ms = self._transaction.now_ms
        if task.asked is not None:
            through = task.turn.newest_execution_id
            ask(self._transaction, task.turn.incarnation, task.asked, task.origin, through=through, due_at_ms=now_ms)
        else:
            self._transaction.run(sql.DUE, (task.turn.incarnation, now_ms))
        self._tell([(task, outcome)])

    def _together(self, tasks: Sequence[_Task]) -> None:
        transaction = self._transaction
        any_hold, read = _read(
            transaction,
            [(task.turn.incarnation, newest_untouched(task.rules), task.turn.newest_execution_id) for task in tasks],
        )
        seen = _views(transaction, read, tasks)
        held = holds_on(transaction, [task.turn.instance_id for task in tasks]) if any_hold else ()
        changes = _Changes(transaction, self._removal)
        outcomes = []
        for task in tasks:
            incarnation = task.turn.incarnation
            outcomes.append((task, changes.prune(task, read[incarnation], seen[incarnation], held)))
        changes.write()
        self._tell(outcomes)
        self._through.update(changes.through)

    def _tell(self, outcomes: Sequence[tuple[_Task, PruneResult]]) -> None:
        """Report what was done, and answer those that asked, unless they have ended: with the turn that asked, with a
        later one of the batch, or because a parent ended in it."""
        answers = []
        for task, outcome in outcomes:
            if (request := task.request) is not None:
                answers.append((task.turn.incarnation, task.turn.execution_id, request.event_id, outcome))
        if answers:
            running = self._running([(incarnation, execution_id) for incarnation, execution_id, *_ in answers])
            messages = [
                (incarnation, codec.history_pruned_message(execution_id, event_id, outcome))
                for incarnation, execution_id, event_id, outcome in answers
                if (incarnation, execution_id) in running
            ]
            send(self._transaction, messages)
            wake(self._transaction, {incarnation for incarnation, _ in messages})
        self._result.prunes += [
            PruneReport(position=task.position, name=task.turn.name, trigger=task.trigger, result=outcome)
            for task, outcome in outcomes
        ]

    def _running(self, executions: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
        """Those of them that have not ended in the batch. Where no turn is the last of its execution, none has."""
        outcomes = zip(self._batch.turns, self._result.turns, strict=True)
        if not any(turn.end is not None and outcome is TurnOutcome.COMMITTED for turn, outcome in outcomes):
            return set(executions)
        listed = as_json([incarnation for incarnation, _ in executions])
        return set(_keys.decode(self._transaction.value(sql.RUNNING_EXECUTIONS, (listed,))))


def _read(transaction: Transaction, wanted: Sequence[tuple[int, int, int]]) -> tuple[bool, dict[int, _Read]]:
    """Whether there is any hold, and what is there of the incarnations of ``wanted``, of which so many of the newest
    executions, counted from the third number, stay whatever else is true of them."""
    one_more = TURN_PRUNE_EXECUTIONS_MAX + 1
    if len(wanted) > 1:
        any_hold, answer = transaction.row(sql.TURN_VIEWS, (as_json(wanted), one_more))
        return bool(any_hold), {each[0]: each for each in _reads.decode(answer)}
    ((incarnation, *_),) = wanted
    any_hold, known_from, facts, behind, first, children, last, swept_at_ms = transaction.row(
        sql.TURN_VIEW, (*wanted[0], one_more)
    )
    ledger_end = None if last is None else _range.decode(last)
    one = (incarnation, known_from, _facts.decode(facts), behind, first, children, ledger_end, swept_at_ms)
    return bool(any_hold), {incarnation: one}


def _views(transaction: Transaction, read: Mapping[int, _Read], tasks: Sequence[_Task]) -> dict[int, PruneView]:
    """What was read is a whole view but for the newest, which were counted, unless it is more than a turn looks at."""
    found = {}
    too_many: dict[Counted, dict[int, list[FactsRow]]] = {}
    current = {task.turn.incarnation: task.turn.newest_execution_id for task in tasks}
    for task in tasks:
        n = task.turn.incarnation
        _, _, facts, behind, *_ = read[n]
        if len(facts) > TURN_PRUNE_EXECUTIONS_MAX:
            too_many.setdefault(newer_to_count(task.rules), {})[n] = facts
        else:
            newer = NewerExecutions(executions=behind, versions=None if behind else ())
            found[n] = PruneView(executions=tuple(facts), newer=newer)
    for count, of in too_many.items():
        through = {n: current[n] for n in of}
        found |= views_of(of, TURN_PRUNE_EXECUTIONS_MAX, count, transaction.connection, through)
    return found


class _Changes:
    """What the prunes of several instances change, collected as rows and written table by table."""

    def __init__(self, transaction: Transaction, removal: Removal) -> None:
        self.through: dict[int, int] = {}
        """Incarnation -> the last execution at whose end an automatic prune was done."""
        self._transaction = transaction
        self._removal = removal
        self._deleted: list[Row] = []
        self._grown: list[Row] = []
        self._instances: list[Row] = []
        self._left: list[tuple[_Task, PruneOptions, int]] = []
        """What code asked for and is not finished, with the time from which a sweep goes on."""

    def prune(self, task: _Task, read: _Read, view: PruneView, held: Sequence[Hold]) -> PruneResult:
        incarnation, known_from, _, _, _, any_children, last, swept_at_ms = read
        now_ms = self._transaction.now_ms
        marks = choose(view, task.rules, held, now_ms)
        if marks.removed:
            to_delete = self._removal.remove(marks.removed, any_children=bool(any_children))
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
        executions_max = task.turn.execution_id - known_from + 1
        due = None
        if task.asked is None:
            due = sweep_after_prune_ms(outcome, executions_max=executions_max, swept_at_ms=swept_at_ms, now_ms=now_ms)
        elif (asked_due := asked_due_ms(outcome, executions_max=executions_max, now_ms=now_ms)) is not None:
            self._left.append((task, task.asked, asked_due))
        if done != task.pruned_through or lowest != known_from or due is not None:
            self._instances.append((incarnation, done, lowest, due))
        return outcome

    def write(self) -> None:
        rows = self._transaction.rows
        rows(sql.DELETE_HISTORIES, self._deleted)
        rows(sql.DELETE_EXECUTION_ROWS, self._deleted)
        rows(sql.GROW_RANGES, self._grown)
        rows(sql.PRUNED, self._instances)
        for task, options, due_at_ms in self._left:
            turn = task.turn
            ask(
                *(self._transaction, turn.incarnation, options, task.origin),
                through=turn.newest_execution_id,
                due_at_ms=due_at_ms,
            )


def _live_from(read: _Read, view: PruneView, marks: Marks) -> int:
    """As ``live_from``; and where the whole view goes, what comes behind it is known."""
    _, known_from, _, _, behind, *_ = read
    if len(marks.removed) == len(view.executions) < TURN_PRUNE_EXECUTIONS_MAX and behind is not None:
        return behind
    return live_from(view, marks.removed, known_from)

"""Commits: many turns, releases and activity reports in a few statements.

One pass over the batch sorts what its turns change into lists of rows, one list a table; then each list is one
statement. The result is that of the turns applied one after the other in the order of the batch; where that order
shows (a child that ends before or after its parent), the position of a turn in the batch decides.
"""

from collections.abc import Iterator, Sequence

import apsw
import msgspec

from duro import codec
from duro.model.failure import INSTANCE_EXISTS, FailureDetails
from duro.model.status import ExecutionStatus
from duro.model.turns import (
    ChildTerms,
    CommitBatch,
    CommitResult,
    StartInstance,
    TurnCommit,
    TurnOutcome,
)
from duro.retention.parents import words_of
from duro.stores.sqlite import leases, reports, sql
from duro.stores.sqlite.committer import Transaction, as_json
from duro.stores.sqlite.connection import concerns_the_store
from duro.stores.sqlite.ending import end_children_of_turns
from duro.stores.sqlite.queues import EndFacts, Fence, end_facts, fences, insert_instances, send, wake
from duro.stores.sqlite.rows import Row, Value
from duro.stores.sqlite.turn_pruning import Pruning, prune_turns

_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_taken_ids = msgspec.json.Decoder(list[tuple[str, int, str, str]])


def commit(transaction: Transaction, batch: CommitBatch, rotation: leases.Rotation) -> CommitResult:
    result = CommitResult(store_time_ms=transaction.now_ms)
    if batch.turns:
        result.turns = [TurnOutcome.FENCED] * len(batch.turns)
        with_children: list[TurnCommit] = []
        if transaction.careful:
            prunes = _write_one_by_one(transaction, batch, result, with_children)
        else:
            waves = _waves(batch.turns)
            prunes = [each for wave in waves for each in _Wave(transaction, batch, result).write(wave, with_children)]
        if with_children:
            end_children_of_turns(transaction, with_children)
        if prunes:
            prune_turns(transaction, batch, result, prunes)
    if batch.releases:
        result.releases = reports.release(transaction, batch)
    if batch.finished or batch.retries:
        result.finished, result.retries = reports.report_activities(transaction, batch)
    if batch.lease is not None:
        result.leased = leases.lease(transaction, batch.worker_id, batch.lease, rotation)
    return result


def _waves(turns: Sequence[TurnCommit]) -> Iterator[Sequence[int]]:
    """The positions of the turns, cut where an instance comes again: its second turn builds on its first. The pair of
    an eternal loop stays together (see ``_follows``)."""
    if len({turn.incarnation for turn in turns}) == len(turns):
        yield range(len(turns))
        return
    first, seen = 0, dict[int, TurnCommit]()
    for position, turn in enumerate(turns):
        before = seen.get(turn.incarnation)
        if before is not None and not _follows(before, turn):
            yield range(first, position)
            first, seen = position, {}
        seen[turn.incarnation] = turn
    yield range(first, len(turns))


def _follows(before: TurnCommit, turn: TurnCommit) -> bool:
    """Whether ``turn`` is the first one of the execution that ``before`` continued as, and ends nothing itself: then
    both are written as one, because whatever the second changes is of the next execution."""
    return (
        before.keep_lease
        and before.end is not None
        and turn.end is None
        and turn.first_event_id == 1
        and turn.lease_epoch == before.lease_epoch
        and turn.execution_id == before.execution_id + 1
        and turn.turn_sequence == before.turn_sequence + 1
    )


def _write_one_by_one(
    transaction: Transaction, batch: CommitBatch, result: CommitResult, with_children: list[TurnCommit]
) -> list[Pruning]:
    """After a batch failed as a whole: a turn that cannot be written is rejected, the others are written."""
    prunes: list[Pruning] = []
    for position in range(len(batch.turns)):
        counters = transaction.counters()
        ended: list[TurnCommit] = []
        transaction.run(sql.SAVEPOINT)
        try:
            prunes += _Wave(transaction, batch, result).write([position], ended)
            with_children += ended
        except (apsw.Error, UnicodeError, OverflowError, TypeError, ValueError) as error:
            if isinstance(error, apsw.Error) and concerns_the_store(error):
                raise
            transaction.run(sql.ROLLBACK_TO_SAVEPOINT)
            transaction.restore_counters(counters)
            result.turns[position] = TurnOutcome.REJECTED
            result.errors[position] = f"{type(error).__name__}: {error}"
        transaction.run(sql.RELEASE_SAVEPOINT)
    return prunes


class _Wave:
    """The turns of different instances, collected as rows and written table by table."""

    def __init__(self, transaction: Transaction, batch: CommitBatch, result: CommitResult) -> None:
        self.transaction = transaction
        self.batch = batch
        self.result = result
        self.members: dict[int, int] = {}
        """Incarnation -> position, of every turn that is written; of a pair, the first."""
        self.ended: dict[int, TurnCommit] = {}
        """Incarnation -> turn, of those that end their execution."""
        self.history: list[Value] = []
        self.executions: list[Value] = []
        self.gone_activities: list[Value] = []
        self.activities: list[Value] = []
        """These four are rows one after the other: nearly every turn has some."""
        self.kept: dict[int, Row] = {}
        """By incarnation: the second turn of a pair replaces the row of the first."""
        self.released: list[Row] = []
        self.finished: list[Row] = []
        self.names: list[Row] = []
        self.consumed_messages: list[Row] = []
        self.consumed_mailbox: list[Row] = []
        self.gone_timers: list[Row] = []
        self.timers: list[Row] = []
        self.observed: list[Row] = []
        self.starts: list[tuple[int, TurnCommit, StartInstance]] = []
        self.cancels: list[tuple[int, TurnCommit, int, str]] = []
        self.messages: list[tuple[int, int, str]] = []
        """Position of the turn that sends it, incarnation it goes to, data."""
        self.pruning: list[Pruning] = []

    def write(self, positions: Sequence[int], with_children: list[TurnCommit]) -> list[Pruning]:
        """Returns the turns that may prune, once all are written. Those that ended an execution with children are added
        to ``with_children``, in order."""
        if not self._admit(positions):
            return []
        self._delete_consumed()
        facts = self._end_facts()
        self._write_starts()
        self._write_cancels()
        completions = self._parent_messages(facts)
        rows, flat_rows = self.transaction.rows, self.transaction.flat_rows
        flat_rows(sql.INSERT_HISTORY, self.history)
        rows(sql.OBSERVE_CHILDREN, self.observed)  # before their spawner ends: then they never look like orphans
        with_children += self._delete_work_of_ended(facts)
        flat_rows(sql.INSERT_ACTIVITIES, self.activities, (self.transaction.now_ms,))
        rows(sql.INSERT_TIMERS, self.timers)
        if self.messages:
            self.messages.sort(key=_position)
            send(self.transaction, [(target, data) for _, target, data in self.messages])
        self._delete_post_of_ended(facts)
        self._start_next_executions()
        flat_rows(sql.UPDATE_EXECUTIONS, self.executions)
        self._update_instances()
        rows(sql.COMPLETE_CHILDREN, completions)
        if self.messages:
            wake(self.transaction, {target for _, target, _ in self.messages if target not in self.members})
        return self.pruning

    # --- collecting: no SQL but the fence ---------------------------------------------------------------------

    def _admit(self, positions: Sequence[int]) -> bool:
        """Sort out who may commit, and collect the rows of those. False: nobody."""
        turns = self.batch.turns
        incarnations = [turns[position].incarnation for position in positions]
        held = fences(self.transaction, incarnations, self.batch.worker_id)
        outcomes = self.result.turns
        for position in positions:
            turn = turns[position]
            fence = held.get(turn.incarnation)
            if fence is None or fence[1] != turn.lease_epoch:
                continue
            if turn.incarnation in self.members:
                outcomes[position] = TurnOutcome.COMMITTED
                self._collect(position, turn, fence, before=turns[self.members[turn.incarnation]])
                continue
            if fence[2] != turn.turn_sequence or fence[3] != turn.execution_id:
                outcomes[position] = TurnOutcome.CONFLICT
            elif fence[4] != turn.first_event_id - 1:
                outcomes[position] = TurnOutcome.REJECTED
                self.result.errors[position] = (
                    f"its events begin at {turn.first_event_id}, and the next one is {fence[4] + 1}"
                )
            else:
                outcomes[position] = TurnOutcome.COMMITTED
                self._collect(position, turn, fence)
        return bool(self.members)

    def _collect(self, position: int, turn: TurnCommit, fence: Fence, before: TurnCommit | None = None) -> None:
        """``before``: the turn of the same instance, collected already, that this one follows."""
        incarnation, execution_id = turn.incarnation, turn.execution_id
        self.members.setdefault(incarnation, position)
        for event_id, data in enumerate(turn.events, start=turn.first_event_id):
            self.history += (incarnation, execution_id, event_id, data)
        end = turn.end
        status, completed_at_ms = ("running", None) if end is None else (end.status.value, turn.at_ms)
        size = (len(turn.events), turn.history_bytes)
        self.executions += (incarnation, execution_id, turn.version, status, completed_at_ms, *size)
        if fence[5] != turn.name:
            self.names.append((incarnation, turn.name))
        if before is None:
            self._collect_instance(turn)
        else:
            self._collect_pair(before, turn)
        self._collect_consumed(turn)
        if turn.starts:
            self.starts += [(position, turn, start) for start in turn.starts]
        if turn.cancelled_children:
            self.cancels += [(position, turn, cancel.event_id, cancel.reason) for cancel in turn.cancelled_children]
        if turn.ignored_messages:
            self.transaction.count_ignored(turn.ignored_messages)
        if turn.prune_requests or (end is not None and (turn.policies is not None or fence[7] is not None)):
            self.pruning.append(Pruning(position, turn, fence))
        if end is not None:
            self.ended[incarnation] = turn  # which takes its activities and timers with it
            return
        if turn.activities:
            for activity in turn.activities:
                leased = (self.batch.worker_id, 1) if activity.claimed else (None, 0)
                self.activities += (incarnation, execution_id, activity.event_id, activity.name, turn.at_ms, *leased)
        if turn.timers:
            self.timers += [(incarnation, execution_id, timer.event_id, timer.fire_at_ms) for timer in turn.timers]

    def _collect_instance(self, turn: TurnCommit) -> None:
        delivered = turn.cancel_delivered
        end = turn.end
        if end is None:
            waits = as_json(turn.waits) if turn.waits else "[]"
            row: Row = (turn.incarnation, turn.execution_id, turn.at_ms, turn.version, waits)
            row += (turn.custom_status, delivered, 0, 1)
        elif end.status is ExecutionStatus.CONTINUED_AS_NEW:
            row = (turn.incarnation, turn.execution_id + 1, turn.at_ms, end.next_version or "", "[]")
            row += (turn.custom_status, delivered, not turn.keep_lease, 1)
        else:
            row = (turn.incarnation, turn.at_ms, turn.version, end.status.value, turn.custom_status, delivered)
            self.finished.append(row)
            return
        self._keep_or_release(turn, row)

    def _keep_or_release(self, turn: TurnCommit, row: Row) -> None:
        if turn.keep_lease:
            self.kept[turn.incarnation] = row
        else:
            self.released.append(row)

    def _collect_pair(self, before: TurnCommit, turn: TurnCommit) -> None:
        """One row for two turns; what the first one wrote of the instance is what the second one would find."""
        del self.kept[turn.incarnation]
        status = before.custom_status if turn.custom_status is None else turn.custom_status
        delivered = before.cancel_delivered or turn.cancel_delivered
        row: Row = (turn.incarnation, turn.execution_id, turn.at_ms, turn.version)
        row += (as_json(turn.waits) if turn.waits else "[]", status, delivered, 0, 2)
        self._keep_or_release(turn, row)

    def _collect_consumed(self, turn: TurnCommit) -> None:
        incarnation, execution_id = turn.incarnation, turn.execution_id
        if turn.finished_activities or turn.cancelled_activities:
            for event_id in (*turn.finished_activities, *turn.cancelled_activities):
                self.gone_activities += (incarnation, execution_id, event_id)
        if turn.consumed_messages:
            self.consumed_messages += [(incarnation, message_id) for message_id in turn.consumed_messages]
        if turn.consumed_timers or turn.cancelled_timers:
            events = (*turn.consumed_timers, *turn.cancelled_timers)
            self.gone_timers += [(incarnation, execution_id, event_id) for event_id in events]
        if turn.consumed_mailbox:
            self.consumed_mailbox += [(incarnation, sequence) for sequence in turn.consumed_mailbox]
        if turn.observed_children:
            at_ms = turn.at_ms
            self.observed += [(incarnation, execution_id, event_id, at_ms) for event_id in turn.observed_children]

    # --- writing ------------------------------------------------------------------------------------------------

    def _delete_consumed(self) -> None:
        rows = self.transaction.rows
        rows(sql.DELETE_MESSAGES, self.consumed_messages)
        rows(sql.DELETE_TIMERS, self.gone_timers)
        self.transaction.flat_rows(sql.DELETE_ACTIVITIES, self.gone_activities)
        if self.consumed_mailbox and rows(sql.DELETE_MAILBOX, self.consumed_mailbox) < len(self.consumed_mailbox):
            rows(sql.DELETE_MAILBOX_ANY_NAME, self.consumed_mailbox)

    def _end_facts(self) -> list[EndFacts]:
        if not self.ended:
            return []
        return end_facts(self.transaction, list(self.ended))

    def _write_starts(self) -> None:
        """Instances for the starts whose id is free. For a child whose id is taken, the failure goes to its parent."""
        if not self.starts:
            return
        asked = as_json([start.instance_id for _, _, start in self.starts])
        taken = {row[0] for row in _taken_ids.decode(self.transaction.value(sql.TAKEN_IDS, (asked,)))}
        made: list[tuple[TurnCommit, StartInstance]] = []
        for position, turn, start in self.starts:
            if start.instance_id not in taken:
                taken.add(start.instance_id)
                made.append((turn, start))
            elif not start.detached:
                problem = f"the instance id {start.instance_id!r} is taken"
                failure = FailureDetails(type=INSTANCE_EXISTS, message=problem)
                message = codec.child_failed_message(turn.execution_id, start.event_id, failure)
                self.messages.append((position, turn.incarnation, message))
        if made:
            first = self.transaction.take_incarnations(len(made))
            numbered = [(first + n, turn, start) for n, (turn, start) in enumerate(made)]
            insert_instances(
                self.transaction,
                [(n, one.instance_id, one.name, one.version, turn.at_ms, "", one.input) for n, turn, one in numbered],
            )
            terms = self.batch.child_terms
            self.transaction.rows(sql.INSERT_LINEAGE, [_lineage(*one, terms) for one in numbered])

    def _write_cancels(self) -> None:
        """Of children that did not end before, in the order of the batch; and that nobody waits for any of them."""
        if not self.cancels:
            return
        rows: list[Row] = [
            (n, turn.incarnation, turn.execution_id, event_id) for n, (_, turn, event_id, _) in enumerate(self.cancels)
        ]
        given_up: list[Row] = [
            (turn.incarnation, turn.execution_id, event_id, turn.at_ms) for _, turn, event_id, _ in self.cancels
        ]
        self.transaction.rows(sql.GIVE_UP_CHILDREN, given_up)
        targets = []
        for n, child in self.transaction.found(sql.CANCEL_TARGETS, rows, _pairs):
            position, _, _, reason = self.cancels[n]
            if not self._ended_before(child, position, for_good=True):
                targets.append((n, child, reason))
        targets.sort()
        first = {child: reason for _, child, reason in reversed(targets)}
        self.transaction.rows(sql.CANCEL_CHILDREN, list(first.items()), (self.transaction.now_ms,))

    def _ended_before(self, incarnation: int, position: int, *, for_good: bool) -> bool:
        turn = self.ended.get(incarnation)
        if turn is None or turn.end is None or self.members[incarnation] >= position:
            return False
        return not (for_good and turn.end.status is ExecutionStatus.CONTINUED_AS_NEW)

    def _parent_messages(self, facts: list[EndFacts]) -> list[Row]:
        """Queue the messages of ended children; (child, where it went) for the lineage."""
        completions: list[Row] = []
        for fact in facts:
            incarnation, parent = fact[0], fact[6]
            end = self.ended[incarnation].end
            if end is None or end.parent_message is None or parent is None:
                continue
            position = self.members[incarnation]
            if fact[9] and not self._ended_before(parent, position, for_good=False):
                self.messages.append((position, parent, end.parent_message))
                completions.append((incarnation, "sent"))
            else:
                self.transaction.count_ignored(1)
                completions.append((incarnation, "ignored"))
        return completions

    def _delete_work_of_ended(self, facts: list[EndFacts]) -> list[TurnCommit]:
        """The timers and activities of ended executions, before those of their successors are written, and the word to
        the lineage of their children. Returns the turns that ended one with children, in order."""
        if not facts:
            return []
        run = self.transaction.run
        if of := [fact[0] for fact in facts if fact[3]]:
            run(sql.DELETE_TIMERS_OF, (as_json(of),))
        if of := [fact[0] for fact in facts if fact[4]]:
            run(sql.DELETE_ACTIVITIES_OF, (as_json(of),))
        parents = {fact[0] for fact in facts if fact[5]} | {turn.incarnation for _, turn, _ in self.starts}
        turns = [turn for incarnation, turn in self.ended.items() if incarnation in parents]
        self.transaction.rows(sql.END_SPAWNERS, [_spawner_end(turn) for turn in turns])
        return turns

    def _delete_post_of_ended(self, facts: list[EndFacts]) -> None:
        """What finished instances leave in their queues, this batch's messages included."""
        if not self.finished:
            return
        final = {row[0] for row in self.finished}
        sent = {target for _, target, _ in self.messages}
        run = self.transaction.run
        if of := [fact[0] for fact in facts if fact[0] in final and (fact[1] or fact[0] in sent)]:
            run(sql.DELETE_MESSAGES_OF, (as_json(of),))
        if of := [fact[0] for fact in facts if fact[0] in final and fact[2]]:
            run(sql.DELETE_MAILBOX_OF, (as_json(of),))

    def _start_next_executions(self) -> None:
        if not self.ended:
            return
        rows: list[Row] = [
            (turn.incarnation, turn.execution_id + 1, turn.end.next_version or "", turn.at_ms, turn.end.next_input)
            for turn in self.ended.values()
            if turn.end is not None and turn.end.status is ExecutionStatus.CONTINUED_AS_NEW
        ]
        self.transaction.rows(sql.INSERT_EXECUTIONS, rows)

    def _update_instances(self) -> None:
        rows, token = self.transaction.rows, self.batch.token
        rows(sql.UPDATE_NAMES, self.names)
        rows(sql.UPDATE_KEPT, list(self.kept.values()), (token, self.transaction.now_ms))
        rows(sql.UPDATE_RELEASED, self.released, (token, self.transaction.now_ms))
        rows(sql.UPDATE_FINISHED, self.finished, (token,))


def _position(message: tuple[int, int, str]) -> int:
    return message[0]


def _lineage(child: int, turn: TurnCommit, start: StartInstance, terms: ChildTerms) -> Row:
    on_continue, on_end = words_of(start.on_parent_continue, start.on_parent_end, terms)
    words = (None, None) if start.detached else (on_continue.value, on_end.value)
    ended = (None, None) if turn.end is None else (turn.at_ms, turn.end.status.value)
    return (
        child,
        turn.instance_id,
        turn.incarnation,
        turn.execution_id,
        start.event_id,
        start.detached,
        *words,
        turn.at_ms,
        turn.version,
        *ended,
    )


def _spawner_end(turn: TurnCommit) -> Row:
    assert turn.end is not None
    return (turn.incarnation, turn.execution_id, turn.at_ms, turn.end.status.value)

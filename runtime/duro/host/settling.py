"""What a commit means for the worker that made it: effects are let out, or a turn is forgotten."""

from collections.abc import Callable
from typing import Final

from duro.host.attempts import ActivityAttempt
from duro.host.cache import ExecutionCache
from duro.host.held import Held
from duro.host.holdings import Holdings
from duro.host.turns import leased_next
from duro.model.records import InstanceEnd
from duro.model.removal import PruneReport
from duro.model.status import ExecutionStatus, InstanceStatus
from duro.model.turns import (
    CommitBatch,
    CommitResult,
    ExecutionEnd,
    LastCommit,
    ReleaseInstance,
    TurnCommit,
    TurnOutcome,
)
from duro.replay.engine import Execution
from duro.telemetry import HOST_LOGGER, ORCHESTRATION_LOGGER, TRACE_LEVELS, Counters, PruneCounters
from duro.waiting import FinishNotifier

FAILED_TURN_DELAY_S: Final = 1.0
"""How long a turn waits that failed inside duro itself, times the attempts so far."""


class Settlement:
    """Settles the commits of one worker in what that holds. Nothing here writes to the store."""

    def __init__(
        self,
        holdings: Holdings,
        *,
        cache: ExecutionCache,
        seal: Callable[[Execution], None],
        notifier: FinishNotifier,
        counters: Counters,
        prune_counters: PruneCounters,
    ) -> None:
        self._holdings = holdings
        self._cache = cache
        self._seal = seal
        self._notifier = notifier
        self._counters = counters
        self._prune_counters = prune_counters

    def settle(self, batch: CommitBatch, result: CommitResult) -> list[ActivityAttempt]:
        """Make memory what the store is now; returns the activities that begin with that."""
        self._counters.commits += 1
        ready: list[ActivityAttempt] = []
        ends: list[InstanceEnd] = []
        for turn, outcome in zip(batch.turns, result.turns, strict=True):
            held = self._holdings.held.get(turn.incarnation)
            if held is None or held.turn_of is None:
                continue  # the first turn of an execution that did not come to be
            if outcome is TurnOutcome.COMMITTED:
                self._committed(held, turn, ready, ends)
            else:
                self._not_committed(held, turn, outcome, result.store_time_ms)
        for report in result.prunes:
            self._pruned(report)
        if ends:
            self._notifier.ended(ends)
        return ready

    def _pruned(self, report: PruneReport) -> None:
        self._prune_counters.add(report.name, report.trigger, report.result)
        if report.result.error is not None:
            HOST_LOGGER.warning(
                "a prune of %r failed and stays due; its turn is committed: %s", report.name, report.result.error
            )

    def _committed(self, held: Held, turn: TurnCommit, ready: list[ActivityAttempt], ends: list[InstanceEnd]) -> None:
        execution = held.turn_of
        if execution is None:
            raise RuntimeError(f"a turn of instance {turn.instance_id!r} was committed that nobody ran")
        held.turn_of = None
        self._counters.turns_committed += 1
        self._counters.messages_ignored += turn.ignored_messages
        for level, text in execution.traces:
            ORCHESTRATION_LOGGER.log(TRACE_LEVELS[level], "%s: %s", turn.instance_id, text)
        execution.turn_sequence = turn.turn_sequence + 1
        for event_id in turn.cancelled_activities:
            self._holdings.cancel((turn.incarnation, turn.execution_id, event_id), held)
        ready += self._holdings.take_claims(held)
        if turn.end is None:
            self._cache.put(execution)
            self._settled(held, turn)
            return
        self._seal(execution)
        for event_id in list(held.running):
            self._holdings.cancel((turn.incarnation, turn.execution_id, event_id), held)
        if turn.end.status is not ExecutionStatus.CONTINUED_AS_NEW:
            self._counters.instances_finished += 1
            if self._notifier.has_watchers:
                ends.append(_end_of(turn, turn.end))
            self._holdings.let_go(turn.incarnation)
        else:
            self._counters.executions_continued += 1
            self._next_execution(held, turn)

    def _settled(self, held: Held, turn: TurnCommit) -> None:
        if not turn.keep_lease:
            self._holdings.let_go(turn.incarnation)
            return
        leased = held.leased
        leased.version = turn.version
        leased.turn_sequence = turn.turn_sequence + 1
        leased.history_bytes += turn.history_bytes
        leased.attempt_count = 0
        leased.input = leased.cancel_reason = None
        leased.messages = leased.timers = leased.mailbox = ()
        held.in_turn = ()
        self._holdings.release_if_idle(held)  # what it was kept for may have been given back before the commit

    def _next_execution(self, held: Held, turn: TurnCommit) -> None:
        """The next execution of a held instance begins at once; its start needs no queue."""
        if not turn.keep_lease or turn.end is None:
            self._holdings.let_go(turn.incarnation)
            return
        if held.successor is not None:  # its first turn is in the same transaction
            self._holdings.held[turn.incarnation] = held.successor
            return
        self._holdings.held[turn.incarnation] = Held(leased_next(held.leased, turn, turn.end), waiting=True)
        self._holdings.runnable[turn.incarnation] = None

    def _not_committed(self, held: Held, turn: TurnCommit, outcome: TurnOutcome, now_ms: int) -> None:
        """Another worker has the instance, or it is gone: forget everything about it."""
        self._counters.turns_fenced += 1
        HOST_LOGGER.info("a turn of instance %r was not committed: %s", turn.instance_id, outcome)
        self._holdings.drop(held)
        if outcome is TurnOutcome.REJECTED:
            self._holdings.release(
                ReleaseInstance(
                    incarnation=turn.incarnation,
                    lease_epoch=turn.lease_epoch,
                    count_attempt=True,
                    retry_at_ms=now_ms + round(FAILED_TURN_DELAY_S * 1000),
                )
            )


def _end_of(turn: TurnCommit, end: ExecutionEnd) -> InstanceEnd:
    """What the store says of an instance that ``turn`` has ended."""
    return InstanceEnd(
        instance_id=turn.instance_id,
        incarnation=turn.incarnation,
        name=turn.name,
        version=turn.version,
        status=InstanceStatus(end.status),
        execution_id=turn.execution_id,
        last_event=turn.events[-1],
    )


def outcome_after(last: LastCommit | None, turn: TurnCommit, token: str) -> TurnOutcome:
    """What became of a turn, by what the last commit of its instance left."""
    happened = last is not None and last.token == token and last.turn_sequence > turn.turn_sequence
    return TurnOutcome.COMMITTED if happened else TurnOutcome.FENCED

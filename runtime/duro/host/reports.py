"""What a worker says of activities, as values: the first attempt of one it claims, how an attempt ended, whether there
is another one, and what of it goes back to the store."""

import msgspec

from duro.codec import encode_message
from duro.host.attempts import ActivityAttempt, ActivityOutcome, attempt_of
from duro.model.messages import ActivityFailed, ActivitySucceeded, AnyMessage
from duro.model.options import ONE_ATTEMPT
from duro.model.turns import FinishActivity, LeasedActivity, RetryActivity, ScheduleActivity, TurnCommit
from duro.registry import ActivityDefinition

LeaseKey = tuple[int, int, int, int]
"""(incarnation, execution id, event id, lease epoch): one delivery of one activity."""


def retry_delay_s(outcome: ActivityOutcome, now_ms: int) -> float | None:
    """Seconds until the next attempt, or None: there is none (no failure, no attempts or no time left, or an error that
    is not to be retried)."""
    if outcome.failure is None or outcome.final:
        return None
    leased = outcome.attempt.leased
    policy = leased.retry or ONE_ATTEMPT
    if leased.attempt >= policy.max_attempts or set(policy.non_retryable_errors) & set(outcome.error_names):
        return None
    delay_s = policy.delay_before_next_s(leased.attempt)
    if leased.total_timeout_s is not None:
        left_s = leased.total_timeout_s - (now_ms - leased.scheduled_at_ms) / 1000
        if delay_s >= left_s:
            return None
    return delay_s


def end_message(outcome: ActivityOutcome) -> AnyMessage:
    """How the activity ended for good, to its instance."""
    leased = outcome.attempt.leased
    execution_id, event_id = leased.execution_id, leased.event_id
    if outcome.failure is not None:
        return ActivityFailed(execution_id=execution_id, scheduled_event_id=event_id, failure=outcome.failure)
    result = outcome.result or msgspec.Raw(b"null")
    return ActivitySucceeded(execution_id=execution_id, scheduled_event_id=event_id, result=result)


def retry(key: LeaseKey, visible_at_ms: int, *, failed: bool) -> RetryActivity:
    incarnation, execution_id, event_id, lease_epoch = key
    return RetryActivity(
        incarnation=incarnation,
        execution_id=execution_id,
        event_id=event_id,
        lease_epoch=lease_epoch,
        visible_at_ms=visible_at_ms,
        failed=failed,
    )


def first_attempt(turn: TurnCommit, activity: ScheduleActivity, definition: ActivityDefinition) -> ActivityAttempt:
    """What a lease of the activity would give, for one that is leased as it is written."""
    return attempt_of(
        LeasedActivity(
            instance_id=turn.instance_id,
            incarnation=turn.incarnation,
            execution_id=turn.execution_id,
            event_id=activity.event_id,
            name=activity.name,
            attempt=1,
            lease_epoch=1,
            scheduled_at_ms=turn.at_ms,
            input=activity.input,
            retry=activity.retry,
            attempt_timeout_s=activity.attempt_timeout_s,
            total_timeout_s=activity.total_timeout_s,
        ),
        definition,
    )


def reported(finished: list[FinishActivity], retries: list[RetryActivity]) -> set[tuple[int, int, int, int]]:
    return {key_and_epoch(each) for each in finished} | {key_and_epoch(each) for each in retries}


def key_and_epoch(activity: LeasedActivity | FinishActivity | RetryActivity) -> tuple[int, int, int, int]:
    return activity.incarnation, activity.execution_id, activity.event_id, activity.lease_epoch


def finish(message: AnyMessage, leased: LeasedActivity) -> FinishActivity:
    return FinishActivity(
        incarnation=leased.incarnation,
        execution_id=leased.execution_id,
        event_id=leased.event_id,
        lease_epoch=leased.lease_epoch,
        message=encode_message(message),
    )

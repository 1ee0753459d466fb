"""Whether a failed attempt is followed by another one, and when."""

from typing import Any

import msgspec
import pytest

import duro
from duro.host.attempts import ActivityOutcome, attempt_of
from duro.host.reports import retry_delay_s
from duro.model.failure import FailureDetails
from duro.model.turns import LeasedActivity

registry = duro.Registry()


@registry.activity
async def work(ctx: duro.ActivityContext) -> None: ...


def outcome(
    *,
    attempt: int = 1,
    retry: duro.RetryPolicy | None = None,
    total_timeout_s: float | None = None,
    names: tuple[str, ...] = ("OSError", "Exception"),
    **fields: Any,
) -> ActivityOutcome:
    definition = registry.find_activity("work")
    assert definition is not None
    leased = LeasedActivity(
        instance_id="i",
        incarnation=1,
        execution_id=1,
        event_id=2,
        name="work",
        attempt=attempt,
        lease_epoch=attempt,
        scheduled_at_ms=1_000,
        input="null",
        retry=retry,
        total_timeout_s=total_timeout_s,
    )
    fields.setdefault("failure", FailureDetails(type=names[0], message="no"))
    return ActivityOutcome(attempt=attempt_of(leased, definition), error_names=names, **fields)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [("fixed", [2, 2, 2, 2]), ("linear", [2, 4, 6, 8]), ("exponential", [2, 6, 18, 20])],
)
def test_the_delay_grows_as_the_policy_says_and_not_beyond_its_limit(backoff: Any, delays: list[float]) -> None:
    policy = duro.RetryPolicy(max_attempts=5, delay_s=2, factor=3, delay_max_s=20, backoff=backoff)
    assert [retry_delay_s(outcome(attempt=n, retry=policy), 1_000) for n in (1, 2, 3, 4)] == delays
    assert retry_delay_s(outcome(attempt=5, retry=policy), 1_000) is None


@pytest.mark.parametrize("factor", [10.0, 1e300])
def test_a_delay_too_large_for_a_number_is_the_largest_there_may_be(factor: float) -> None:
    policy = duro.RetryPolicy(max_attempts=5_000, delay_s=2, factor=factor, delay_max_s=20)
    assert retry_delay_s(outcome(attempt=4_000, retry=policy), 1_000) == 20


def test_without_a_policy_there_is_one_attempt() -> None:
    assert retry_delay_s(outcome(), 1_000) is None


@pytest.mark.parametrize("name", ["OSError", "Exception"])
def test_an_error_that_is_not_to_be_retried_is_known_by_its_class_or_a_base(name: str) -> None:
    assert retry_delay_s(outcome(retry=duro.RetryPolicy(non_retryable_errors=(name,))), 1_000) is None
    assert retry_delay_s(outcome(retry=duro.RetryPolicy(non_retryable_errors=("KeyError",))), 1_000) is not None


def test_an_attempt_that_could_only_begin_after_the_total_time_is_not_made() -> None:
    policy = duro.RetryPolicy(max_attempts=9, delay_s=2, backoff="fixed")
    assert retry_delay_s(outcome(retry=policy, total_timeout_s=5), 3_999) == 2
    assert retry_delay_s(outcome(retry=policy, total_timeout_s=5), 4_000) is None


def test_a_result_and_a_final_failure_are_final() -> None:
    policy = duro.RetryPolicy(max_attempts=9)
    assert retry_delay_s(outcome(retry=policy, failure=None, result=msgspec.Raw(b"1")), 1_000) is None
    assert retry_delay_s(outcome(retry=policy, final=True), 1_000) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 1.5},
        {"delay_s": -1},
        {"delay_s": float("nan")},
        {"factor": float("inf")},
        {"delay_max_s": "1"},
        {"backoff": "random"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_name_of_the_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"RetryPolicy.{next(iter(wrong))} must be"):
        duro.RetryPolicy(**wrong)

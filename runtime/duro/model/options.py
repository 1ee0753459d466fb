"""Options that travel with a request: how an activity is retried."""

import math
from typing import Final, Literal

import msgspec

Backoff = Literal["fixed", "linear", "exponential"]

_DAY_S: Final = 86_400.0


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a failed activity is tried again.

    The delay before attempt ``n + 1`` is ``delay_s`` (``fixed``), ``delay_s * n`` (``linear``) or
    ``delay_s * factor ** (n - 1)`` (``exponential``), never more than ``delay_max_s``. An error whose class name
    (or the name of one of its base classes) is in ``non_retryable_errors`` is not tried again.
    ``max_attempts`` counts the first attempt; the default policy of an activity is one attempt.

    Raises:
        ValueError: a number is negative, not finite, or ``max_attempts`` is below 1.
    """

    max_attempts: int = 3
    delay_s: float = 1.0
    backoff: Backoff = "exponential"
    factor: float = 2.0
    delay_max_s: float = 60.0
    non_retryable_errors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise ValueError(
                f"RetryPolicy.max_attempts must be a whole number of at least 1, not {self.max_attempts!r}"
            )
        for field in ("delay_s", "factor", "delay_max_s"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
                raise ValueError(f"RetryPolicy.{field} must be a finite number of at least 0, not {value!r}")
        if self.backoff not in ("fixed", "linear", "exponential"):
            raise ValueError(f"RetryPolicy.backoff must be fixed, linear or exponential, not {self.backoff!r}")

    def delay_before_next_s(self, failed_attempts: int) -> float:
        """Seconds to wait after ``failed_attempts`` failures (1 after the first)."""
        match self.backoff:
            case "fixed":
                delay = self.delay_s
            case "linear":
                delay = self.delay_s * failed_attempts
            case _:
                exponent = min(failed_attempts - 1, 1_000)
                try:
                    delay = self.delay_s * self.factor**exponent
                except OverflowError:
                    delay = self.delay_max_s
        return min(delay, self.delay_max_s, _DAY_S * 365)


ONE_ATTEMPT: Final = RetryPolicy(max_attempts=1, delay_s=0.0, backoff="fixed")

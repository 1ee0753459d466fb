"""A clock that moves only when a test moves it."""

import threading
from typing import Final

START_MS: Final = 1_700_000_000_000
"""Where a manual clock starts: far from 0, so that a time that was never set shows."""


class ManualClock:
    """A ``Clock``. Monotonic time follows wall time forward and, as a monotonic clock must, never goes back with it."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self._lock = threading.Lock()
        self._now_ms = now_ms
        self._elapsed_ms = 0

    def now_ms(self) -> int:
        with self._lock:
            return self._now_ms

    def monotonic_s(self) -> float:
        with self._lock:
            return self._elapsed_ms / 1000

    def advance(self, ms: int) -> int:
        """Let ``ms`` milliseconds pass; the new time.

        Raises:
            ValueError: ``ms`` is negative (``set_now_ms`` turns wall time back).
        """
        if ms < 0:
            raise ValueError(f"time does not pass by {ms} ms")
        with self._lock:
            self._now_ms += ms
            self._elapsed_ms += ms
            return self._now_ms

    def set_now_ms(self, now_ms: int) -> None:
        """Set wall time, as an operator or NTP would; back is possible, and monotonic time then stands still."""
        with self._lock:
            self._elapsed_ms += max(now_ms - self._now_ms, 0)
            self._now_ms = now_ms

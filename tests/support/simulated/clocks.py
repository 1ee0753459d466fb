"""Time in a simulation: it passes when somebody says so, and not everybody reads the same."""

from typing import Final

from duro.testing.clock import START_MS

HOUR_MS: Final = 3_600_000


class Time:
    """Wall time, which may be set, and elapsed time, which only grows."""

    def __init__(self) -> None:
        self.wall_ms = START_MS
        self.elapsed_ms = 0

    def advance(self, ms: int) -> None:
        self.wall_ms += ms
        self.elapsed_ms += ms

    def step(self, ms: int) -> None:
        """Somebody sets the clock, forward or back."""
        self.wall_ms += ms


class SkewedClock:
    """A ``Clock`` that is ahead of the others, or behind."""

    def __init__(self, time: Time, skew_ms: int = 0) -> None:
        self._time = time
        self.skew_ms = skew_ms

    def now_ms(self) -> int:
        return self._time.wall_ms + self.skew_ms

    def monotonic_s(self) -> float:
        return self._time.elapsed_ms / 1000


class SimulatedSeconds:
    """What the ``time`` module is to code that sleeps or waits for a while."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds

"""Times and sizes as text: exact for programs, relative and rounded for people."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
_STEPS = ((1_000, 60, "s"), (60_000, 60, "m"), (3_600_000, 48, "h"))


def iso(at_ms: int) -> str:
    """``2026-11-23T10:00:00.123Z``; a number no calendar holds is shown as it is."""
    try:
        moment = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return f"{at_ms} ms"
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def relative(at_ms: int, now_ms: int) -> str:
    """``3 m ago``, ``in 2 h``, ``now``. What is to come is rounded: a hold of 7 d that was just made ends in 7 d."""
    distance = abs(now_ms - at_ms)
    if distance < 1_000:
        return "now"
    return f"{_span(distance)} ago" if at_ms < now_ms else f"in {_span(distance, rounded=True)}"


def offset(milliseconds: int) -> str:
    """A time since a beginning: ``+0.000``, ``+12.345``, ``+3 m``."""
    return f"+{milliseconds / 1000:.3f}" if abs(milliseconds) < 600_000 else f"+{_span(milliseconds)}"


def size(count: int) -> str:
    """``512 B``, ``1.5 KiB``, ``3.0 MiB``."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def _span(milliseconds: int, *, rounded: bool = False) -> str:
    """In whole units: those that are over, or the nearest number of them."""
    for unit_ms, count_max, name in _STEPS:
        count = (milliseconds + rounded * unit_ms // 2) // unit_ms
        if count < count_max:
            return f"{count} {name}"
    return f"{(milliseconds + rounded * _DAY_MS // 2) // _DAY_MS} d"


def were(number: int) -> str:
    """``was`` of one, ``were`` of several."""
    return "was" if number == 1 else "were"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 event``, ``2 events``; ``plural`` where it is more than an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def first_of(ids: Sequence[str]) -> str:
    """``a, b, c, d, e and 53 more``."""
    more = f" and {len(ids) - 5:,} more" if len(ids) > 5 else ""
    return ", ".join(ids[:5]) + more

"""Durations as people write them: one number and one unit, ``90s 30m 12h 7d 2w``. Pure."""

import re
from typing import Final

DURATION_PATTERN: Final = "[0-9]{1,12}[smhdw]"
"""What a duration looks like, as a regular expression (also for JSON Schema)."""

DURATION_S_MAX: Final = 100 * 366 * 86_400
"""A century: more is a typing error, and no clock of ours holds it."""

DURATION_HINT: Final = "write it like 90s, 30m, 12h, 7d or 2w"

_DURATION = re.compile(DURATION_PATTERN)
_UNIT_S: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def parse_duration_s(text: str) -> int:
    """Seconds, 0 to ``DURATION_S_MAX``.

    Raises:
        ValueError: it is written otherwise, or is longer than a century; the message goes on after the text itself
            ("is not a duration").
    """
    if _DURATION.fullmatch(text) is None:
        raise ValueError("is not a duration")
    seconds = int(text[:-1]) * _UNIT_S[text[-1]]
    if seconds > DURATION_S_MAX:
        raise ValueError("is longer than a century")
    return seconds


def format_duration(seconds: int) -> str:
    """``seconds`` (at least 0) in the largest unit that takes them whole: 604800 is ``1w``, 90 is ``90s``."""
    whole = (unit for unit, size in _UNIT_S.items() if seconds >= size and seconds % size == 0)
    unit = next(whole, "s")
    return f"{seconds // _UNIT_S[unit]}{unit}"

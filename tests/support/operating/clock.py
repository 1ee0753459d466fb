"""A machine's clock that is set while processes run: they read by how much from a file they share.

``python -m tests.support.operating.clock FILE ARGUMENTS...`` is ``duroctl ARGUMENTS...`` under it.
"""

import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Final

from duro.clock import SystemClock

_OFFSET: Final = struct.Struct("=q")


class SetClock(SystemClock):
    """The system's clock, put forward by what the file says. Monotonic time goes on as it does."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(_OFFSET.pack(0))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _OFFSET.size)
        self.highest_ms = self.offset_ms
        """The furthest this object has put it forward."""

    @property
    def offset_ms(self) -> int:
        offset: int = _OFFSET.unpack_from(self._shared)[0]  # eight bytes that lie together are read as one
        return offset

    def put_forward(self, ms: int) -> None:
        """By less than nothing: back."""
        _OFFSET.pack_into(self._shared, 0, self.offset_ms + ms)
        self.highest_ms = max(self.highest_ms, self.offset_ms)

    def now_ms(self) -> int:
        return super().now_ms() + self.offset_ms


def use(file: Path) -> None:
    """From now on every ``SystemClock`` of this process is the one of the file."""
    clock, plain = SetClock(file), SystemClock.now_ms
    SystemClock.now_ms = lambda self: plain(self) + clock.offset_ms  # type: ignore[method-assign]  # on purpose


def main() -> None:
    use(Path(os.fspath(sys.argv[1])))
    from duroctl.__main__ import main as duroctl

    duroctl(sys.argv[2:])


if __name__ == "__main__":
    main()

"""When a changed file takes effect: a pure decision over what was read. The host reads, about once a second.

A change is applied when two reads at least ``SETTLED_MS`` apart agree, so a file that is being written is not taken
half. A file that is wrong, gone or unreadable changes nothing: the last good settings stay, and ``problem`` says why.
"""

from pathlib import Path
from typing import Final, NamedTuple

from duro.errors import SettingsError
from duro.settings.files import read_file
from duro.settings.reading import read_settings
from duro.settings.values import RuntimeSettings

SETTLED_MS: Final = 1_000


class Read(NamedTuple):
    """One look at the file. ``content``: its bytes, or why there are none. ``at_ms``: of a monotonic clock."""

    at_ms: int
    content: bytes | SettingsError

    def same(self, other: "Read") -> bool:
        return _comparable(self.content) == _comparable(other.content)


class WatchState(NamedTuple):
    """``settings`` are in force. ``judged`` is the read that decided, ``seen`` one that differs and waits for a second.

    ``problem``: why the file as it is now is not in force; None: it is.
    """

    settings: RuntimeSettings
    judged: Read
    seen: Read | None = None
    problem: SettingsError | None = None


def begin(file: str, read: Read) -> WatchState:
    """The state at the start; ``file`` is how origins and errors call the file.

    Raises:
        SettingsError: the file is absent or cannot be used. A worker does not start on settings it cannot read.
    """
    return WatchState(_settings(file, read), read)


def observe(state: WatchState, read: Read) -> WatchState:
    """The state after another look."""
    if read.same(state.judged):
        return state._replace(seen=None)
    if state.seen is None or not read.same(state.seen):
        return state._replace(seen=read)
    if read.at_ms - state.seen.at_ms < SETTLED_MS:
        return state
    try:
        return WatchState(_settings(state.settings.file, read), read)
    except SettingsError as error:
        return WatchState(state.settings, read, problem=error)


def look(path: Path, file: str, at_ms: int) -> Read:
    """Read the file once; never raises for the state the file is in."""
    try:
        return Read(at_ms, read_file(path, file))
    except SettingsError as error:
        return Read(at_ms, error)


def _settings(file: str, read: Read) -> RuntimeSettings:
    if isinstance(read.content, SettingsError):
        raise read.content
    return read_settings(read.content, file)


def _comparable(content: bytes | SettingsError) -> bytes | str:
    return content if isinstance(content, bytes) else str(content)

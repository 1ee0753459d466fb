"""The few steps of the settings that touch a disk: reading a file whole, and replacing it at once."""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from duro.errors import SettingsError
from duro.model.problem import FileProblem
from duro.settings.reading import FILE_BYTES_MAX, read_settings
from duro.settings.values import RuntimeSettings

_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.01


def load_settings(path: Path, file: str) -> RuntimeSettings:
    """The settings in the file at ``path``; ``file`` is how origins and errors call it.

    Raises:
        SettingsError: it is not there, cannot be read or cannot be used.
    """
    return read_settings(read_file(path, file), file)


def read_file(path: Path, file: str) -> bytes:
    """The bytes of a regular file, one more than ``FILE_BYTES_MAX`` at most.

    Raises:
        SettingsError: it is not there, is no regular file or cannot be read.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise _unreadable(file, "it is not a file")
            return opened.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise _absent(path, file) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(file, f"it cannot be read: {getattr(error, 'strerror', error)}") from error


def edit_file(path: Path, file: str, edit: Callable[[bytes], bytes]) -> bool:
    """Replace the file at ``path`` by what ``edit`` makes of its bytes; whether that is anything else.

    The new file is written beside the old one with its owner and permissions, synced, and renamed over it; a symbolic
    link stays one. What ``edit`` returns must have been checked. Two edits wait for each other.

    Raises:
        SettingsError: the file cannot be read, may not be written, or changed in the meantime.
        OSError: the new file could not be written.
    """
    path = path.resolve()
    read_file(path, file)
    if not os.access(path, os.W_OK):  # its directory would let it be replaced all the same
        hint = "change its permissions, if it is yours to edit"
        raise SettingsError([FileProblem(file, 0, 0, "it may not be written", hint)])
    with _alone(path, file):
        return _replace(path, file, edit)


def _replace(path: Path, file: str, edit: Callable[[bytes], bytes]) -> bool:
    before = read_file(path, file)
    after = edit(before)
    if after == before:
        return False
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # as in duro.disk, where what is left of it is found
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            _make_alike(opened.fileno(), path.stat())
            opened.write(after)
            opened.flush()
            os.fsync(opened.fileno())
        if read_file(path, file) != before:
            problem = FileProblem(file, 0, 0, "it was changed by somebody else meanwhile", "look at it and try again")
            raise SettingsError([problem])
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)
    return True


@contextlib.contextmanager
def _alone(path: Path, file: str) -> Iterator[None]:
    """While nobody else is in here for the same file: between a last look at it and its replacement nothing can tell
    that it changed. Whoever does not ask, such as an editor, is noticed up to that look.

    Raises:
        SettingsError: somebody else is in here for seconds.
    """
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if _locked(descriptor):
                if os.path.samestat(os.fstat(descriptor), path.stat()):  # else it was replaced meanwhile
                    yield
                    return
            elif time.monotonic() > until_s:
                problem = FileProblem(file, 0, 0, "it is being changed by somebody else", "try again")
                raise SettingsError([problem])
        finally:
            os.close(descriptor)
        time.sleep(_LOOK_S)


def _locked(descriptor: int) -> bool:
    """False: somebody else has the lock. A file system without locks gives everybody one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _open_at_once(path: str, flags: int) -> int:
    """Opening a pipe would otherwise wait for somebody to write to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _make_alike(descriptor: int, model: os.stat_result) -> None:
    """Owner (if this process may give files away) and permissions of the file that is replaced."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, model.st_uid, model.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(model.st_mode))


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absent(path: Path, file: str) -> SettingsError:
    if not path.is_symlink():
        return _unreadable(file, "it does not exist")
    message = f"it is a symbolic link to {str(path.readlink())!r}, which does not exist"
    return SettingsError([FileProblem(file, 0, 0, message, "put a file there, or let the link name one that is there")])


def _unreadable(file: str, message: str) -> SettingsError:
    return SettingsError([FileProblem(file, 0, 0, message, "check the path")])

"""The few steps in which files come to be: a new file is written beside its place, synced, linked into place and its
directory synced, so that it is there whole or not at all, and nothing is ever overwritten.

``Disk`` is the seam: whatever must survive a crash at every step is given one, and tests give it one that fails.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_NO_LINKS: Final = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What a file system says that has no hard links."""


class Disk:
    """The steps; each raises OSError. Files are made with mode 0600 and directories with 0700."""

    def make_directory(self, path: Path) -> None:
        """Make one directory, unless it is there, and make its name durable."""
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            if not stat.S_ISDIR(path.lstat().st_mode):
                raise
            return
        self.sync_directory(path.parent)

    def create(self, path: Path) -> None:
        """Make an empty file that is not there yet."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))

    def write(self, file: BinaryIO, data: bytes) -> None:
        file.write(data)

    def sync(self, path: Path) -> None:
        """Make the content of a file durable."""
        _sync(path, os.O_RDONLY | os.O_NOFOLLOW)

    def link(self, part: Path, target: Path) -> None:
        """Give ``part`` the name ``target`` as well. Raises FileExistsError: that name is taken."""
        try:
            os.link(part, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            part.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        _sync(path, os.O_RDONLY | os.O_DIRECTORY)


DISK: Final = Disk()


@contextlib.contextmanager
def new_file(target: Path, disk: Disk = DISK, *, also: tuple[str, ...] = (), tidy: bool = False) -> Iterator[Path]:
    """Where to write what is to become ``target``: an empty file beside it. When the block ends well, ``target`` is
    there and durable; otherwise nothing is. ``also``: endings of files that may come to stand beside the part.
    ``tidy``: what those left who were killed while they wrote the same file is removed first.

    Raises:
        FileExistsError: ``target`` is there already, or what stands beside it is no file.
        OSError: it could not be written.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    disk.unlink(part)
    for left in unfinished(target.parent) if tidy else ():
        if left.name.startswith(f".{target.name}."):
            for ending in ("", *also):
                disk.unlink(Path(f"{left}{ending}"))
    try:
        disk.create(part)
        yield part
        disk.sync(part)
        disk.link(part, target)
    finally:
        for ending in ("", *also):
            disk.unlink(Path(f"{part}{ending}"))
    disk.sync_directory(target.parent)


def unfinished(directory: Path) -> list[Path]:
    """What processes that are gone (of this machine) have left half written in a directory, sorted. None where that
    cannot be looked through."""
    with contextlib.suppress(OSError):
        found = [(path, _PART.fullmatch(path.name)) for path in directory.iterdir()]
        return sorted(path for path, part in found if part is not None and not _runs(int(part[1])))
    return []


_PART: Final = re.compile(r"\..+\.([1-9][0-9]{0,8})\.part(?:-journal|-wal|-shm)?", re.ASCII | re.DOTALL)


def _runs(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

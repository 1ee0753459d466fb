"""The directory of an archive: made, locked, and looked through. No name in it comes from a user's word, and no
symbolic link in it is followed."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from duro.disk import DISK, Disk, new_file
from duro.errors import ArchiveDamagedError, ArchiveUnavailableError
from duro.maintenance.archive.format import Manifest, decode_manifest, encode_manifest
from duro.model.limits import TIME_MS_MAX
from duro.naming import beside_problem, command_on, path_problem

ARCHIVE_SCHEMA: Final = "duro.archive/1"
CATALOGUE: Final = "catalogue.db"

_MARKER: Final = "archive.json"
_LOCK: Final = "lock"
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}", re.ASCII)
_SEGMENT: Final = re.compile(r"[0-9]{8}T[0-9]{9}Z-[0-9a-f]{16}\.jsonl\.zst", re.ASCII)
_SEGMENT_ENDING: Final = ".jsonl.zst"
_MANIFEST_ENDING: Final = ".manifest.json"
_PART: Final = re.compile(r"\.[^/]+\.[0-9]+\.part", re.ASCII)
_MANIFEST_BYTES_MAX: Final = 64 * 1024
_LOCK_LOOK_S: Final = 0.05
_MARKING_S: Final = 10.0
"""How long somebody else may take to make an archive."""


FSTAB: Final = Path("/etc/fstab")


class ArchiveFileError(ArchiveUnavailableError):
    """A segment or a manifest that is there cannot be read, whatever is true of the others."""


class _Marker(msgspec.Struct, frozen=True):
    schema: str = ""
    archive_id: str = ""


_ANY_VERSION: Final = f"{ARCHIVE_SCHEMA.partition('/')[0]}/"


def _damaged(path: Path) -> ArchiveUnavailableError:
    """``archive.json`` says neither which archive this is nor of which version."""
    return ArchiveUnavailableError(
        f"{_MARKER} of archive {str(path)!r} is damaged",
        hint=f"put it back from a backup of the archive, or move it away and make it anew: {_making_anew(path)}",
    )


def _making_anew(path: Path) -> str:
    """The command that writes ``archive.json`` into an archive that has none."""
    return command_on("archive write --to", str(path))


class ArchivePlace:
    """One directory. ``path`` may be reached through symbolic links; what stands in it may not be one."""

    def __init__(self, path: Path, disk: Disk = DISK) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would hide what the user wrote
        self.disk = disk

    # --- as a whole --------------------------------------------------------------------------------------------

    def prepare(self, *, again: bool = False, archive_id: str | None = None) -> None:
        """Make the directory (the last part of its path alone), or see that it is an archive. ``again``: one that has
        segments and lost its ``archive.json`` gets another, with ``archive_id`` if that is known.

        Raises:
            ArchiveUnavailableError: it cannot be made or is something else.
        """
        self._check_path()
        parent = self.path.parent
        hint = "name another directory"
        if not os.path.isdir(parent):  # noqa: PTH112 - what the disk has against it is said where it is made
            hint = f"make {parent} first: is it on a volume that is not mounted?"
        if os.path.islink(self.path):  # noqa: PTH114 - likewise: Path.is_symlink raises what the disk says
            raise ArchiveUnavailableError(
                f"archive {str(self.path)!r} is a symbolic link", hint="name the directory that it leads to"
            )
        problem = beside_problem(self.path.name)
        if problem and not os.path.lexists(self.path):
            raise ArchiveUnavailableError(f"archive {str(self.path)!r} {problem}", hint="name another directory")
        with self.errors("made", hint):
            self.disk.make_directory(self.path)
            if not self._is_marked():
                lost = self._may_be_marked(again=again)
                self._mark((archive_id if lost else None) or secrets.token_hex(16))
        self.check()

    def _is_marked(self) -> bool:
        return os.path.lexists(self.path / _MARKER)

    def _may_be_marked(self, *, again: bool) -> bool:
        """Whether it is an archive that lost its marker, and not a new one. Somebody else may be making it meanwhile.

        Raises:
            ArchiveUnavailableError: it is something else.
        """
        lost = again and bool(self.segments())
        strange = any(name != _LOCK and not _is_part(name) for name in os.listdir(self.path))  # noqa: PTH208 - names
        if strange and not lost and not self._is_marked():
            raise ArchiveUnavailableError(
                f"{str(self.path)!r} is neither empty nor an archive", hint="give an archive a directory alone"
            )
        return lost

    def _mark(self, archive_id: str) -> None:
        """Write ``archive.json``, unless somebody else does: one at a time, for whoever writes clears away what others
        have not finished."""
        until_s = time.monotonic() + _MARKING_S
        while not self._is_marked():
            with self.locked(0) as mine:
                if (mine or time.monotonic() >= until_s) and not self._is_marked():
                    with contextlib.suppress(FileExistsError), new_file(self.path / _MARKER, self.disk) as part:
                        made = {"schema": ARCHIVE_SCHEMA, "archive_id": archive_id}
                        self._write(part, msgspec.json.encode(made) + b"\n")
            if not mine:
                time.sleep(_LOCK_LOOK_S)

    def check_mounted(self) -> None:
        """Before an archive is made: where the table of file systems says that a volume belongs, one must be.

        Raises:
            ArchiveUnavailableError: none is, and the archive would be made on another disk.
        """
        for directory in (self.path, *self.path.parents):
            if str(directory) in _mount_points() and not os.path.ismount(directory):
                raise ArchiveUnavailableError(
                    f"archive {str(self.path)!r} is not made: its volume is not mounted at {str(directory)!r}",
                    hint="mount it, or name another directory",
                )

    def check(self) -> str:
        """The id it was given when it was made.

        Raises:
            ArchiveUnavailableError: it is not there, or is no archive this duro knows.
        """
        self._check_path()
        with self.errors("read"):
            try:
                data = self.read_file(self.path / _MARKER, _MANIFEST_BYTES_MAX)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise _of_link(self.path / _MARKER, error) from error
                there = self.path.is_dir()
                if there and self.segments():
                    raise ArchiveUnavailableError(
                        f"{_MARKER} of archive {str(self.path)!r} is gone",
                        hint=f"put it back from a backup of the archive, or make it anew: {_making_anew(self.path)}",
                    ) from None
                raise ArchiveUnavailableError(
                    f"{str(self.path)!r} is no archive" if there else f"there is no archive {str(self.path)!r}",
                    hint="check the path, and that its volume is mounted",
                ) from None
        try:
            marker = msgspec.json.decode(data, type=_Marker)
        except ValueError:
            raise _damaged(self.path) from None
        schema = marker.schema
        if not schema.startswith(_ANY_VERSION):
            raise _damaged(self.path)
        if schema != ARCHIVE_SCHEMA:
            raise ArchiveUnavailableError(
                f"{str(self.path)!r} is an archive of another version ({schema!r})", hint="use the duro that made it"
            )
        return marker.archive_id

    def _check_path(self) -> None:
        if problem := path_problem(str(self.path)):
            raise ArchiveUnavailableError(
                f"the path of archive {str(self.path)!r} {problem}", hint="rename the directory, or name another one"
            )

    @contextlib.contextmanager
    def errors(self, done: str, hint: str = "see to the directory, or name another one") -> Iterator[None]:
        """What the file system says, as an error of ours."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise ArchiveUnavailableError(
                f"archive {str(self.path)!r} cannot be {done}: {reason}",
                hint=hint,
            ) from error

    @contextlib.contextmanager
    def errors_of(self, path: Path) -> Iterator[None]:
        """What the file system says of one file, as an error that concerns this file alone."""
        try:
            yield
        except (OSError, ArchiveUnavailableError) as error:
            if isinstance(error, ArchiveUnavailableError):
                reason = error.message
            else:
                link = error.errno == errno.ELOOP
                reason = "it is a symbolic link, and an archive has none" if link else error.strerror or str(error)
            raise ArchiveFileError(
                f"{str(path)!r} cannot be read: {reason}", hint="see to this file; no other of the archive is concerned"
            ) from error

    @contextlib.contextmanager
    def locked(self, wait_s: float) -> Iterator[bool]:
        """Be the one who writes; False: somebody else was, for ``wait_s``. Where files cannot be locked, everybody is:
        two who write at once keep some histories twice."""
        until_s = time.monotonic() + wait_s
        with self.errors("locked"):
            try:
                descriptor = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise _of_link(self.path / _LOCK, error) from error
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= until_s:
                    yield False
                    return
                time.sleep(_LOCK_LOOK_S)
            yield True
        finally:
            with contextlib.suppress(OSError):  # it is closed, whatever is said about it
                os.close(descriptor)

    def check_writable(self) -> None:
        """See that a file can be written here, by writing one: what a file system lets one do, only it knows. Whoever
        is writing meanwhile has seen to that.

        Raises:
            ArchiveUnavailableError: none can.
        """
        part = self.path / f".{_LOCK}.{os.getpid()}.part"
        with self.locked(0) as mine, self.errors("written"):
            if not mine:
                return
            try:
                self.disk.unlink(part)
                self.disk.create(part)
                self._write(part, b"\n")
            finally:
                self.disk.unlink(part)

    def tidy(self) -> None:
        """Whoever writes: remove the unfinished files of those who were interrupted."""
        with self.errors("written"):
            for directory in (self.path, *self._months()):
                for name in os.listdir(directory):  # noqa: PTH208 - names
                    if _is_part(name):
                        self.disk.unlink(directory / name)

    # --- segments ----------------------------------------------------------------------------------------------

    def new_segment(self, now_ms: int) -> Path:
        """Where a further one goes; its directory is there."""
        now_ms = min(max(now_ms, 0), TIME_MS_MAX)  # a clock that is beside it makes no names that are none
        moment = datetime.fromtimestamp(now_ms // 1000, UTC)
        month = self.path / f"{moment:%Y-%m}"
        self.disk.make_directory(month)
        stamp = f"{moment:%Y%m%dT%H%M%S}{now_ms % 1000:03}Z"
        return month / f"{stamp}-{secrets.token_hex(8)}{_SEGMENT_ENDING}"

    def segments(self) -> list[str]:
        """The names of all segments, oldest first; what is called otherwise is none."""
        with self.errors("read"):
            return sorted(
                name
                for month in self._months()
                for name in os.listdir(month)  # noqa: PTH208 - names
                if _SEGMENT.fullmatch(name)
            )

    def lost(self) -> list[str]:
        """What should not be: manifests whose segment is not there, and months that are no directories. Names. Whoever
        writes meanwhile makes a segment before its manifest, and takes the manifest back first: so it is looked for
        manifests, then for segments, and then for the manifests of those that were not found."""
        with self.errors("read"):
            months = [each for each in os.scandir(self.path) if _MONTH.fullmatch(each.name)]
            strange = [each.name for each in months if not each.is_dir(follow_symlinks=False)]
            manifests = [
                name.removesuffix(_MANIFEST_ENDING) + _SEGMENT_ENDING
                for month in self._months()
                for name in os.listdir(month)  # noqa: PTH208 - names
                if name.endswith(_MANIFEST_ENDING)
            ]
        there = set(self.segments())
        alone = [name for name in manifests if _SEGMENT.fullmatch(name) and name not in there]
        return sorted([*strange, *(name for name in alone if os.path.lexists(_manifest_path(self.path_of(name))))])

    def is_segment(self, name: str) -> bool:
        """Whether a segment of this name is there."""
        return _SEGMENT.fullmatch(name) is not None and self.path_of(name).exists()

    def path_of(self, segment: str) -> Path:
        """Where the segment of this name stands.

        Raises:
            ArchiveDamagedError: this is no name of a segment.
        """
        if not _SEGMENT.fullmatch(segment):
            raise ArchiveDamagedError(f"{segment!r} is no name of a segment")
        return self.path / f"{segment[:4]}-{segment[4:6]}" / segment

    def manifest_of(self, segment: str) -> Manifest | None:
        """What stands beside it; None: nothing does.

        Raises:
            ArchiveFileError: it cannot be read.
            ArchiveDamagedError: it is no manifest, or that of another segment.
        """
        path = _manifest_path(self.path_of(segment))
        with self.errors_of(path):
            try:
                data = self.read_file(path, _MANIFEST_BYTES_MAX)
            except FileNotFoundError:
                return None
        try:
            manifest = decode_manifest(data)
        except ValueError as error:
            raise ArchiveDamagedError(f"manifest {str(path)!r} is damaged: {error}", hint=_REMEDY) from error
        if manifest.segment != segment:
            raise ArchiveDamagedError(f"manifest {str(path)!r} is of another segment", hint=_REMEDY)
        return manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Raises OSError."""
        with new_file(_manifest_path(self.path_of(manifest.segment)), self.disk) as part:
            self._write(part, encode_manifest(manifest))

    def take_back(self, segment: Path) -> None:
        """Remove a segment and its manifest, which goes for good before the segment does: it must never be there
        alone. Raises OSError."""
        self.disk.unlink(_manifest_path(segment))
        self.disk.sync_directory(segment.parent)
        self.disk.unlink(segment)

    # --- files -------------------------------------------------------------------------------------------------

    def open_file(self, path: Path) -> BinaryIO:
        """For reading; a regular file, and no link. Raises OSError, ArchiveUnavailableError."""
        if path.parent != self.path and stat.S_ISLNK(path.parent.lstat().st_mode):
            raise ArchiveUnavailableError(linked(path.parent), hint="put the directory that it leads to in its place")
        opened = open(path, "rb", opener=_no_link)  # noqa: SIM115 - whoever asks for it closes it
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            opened.close()
            raise ArchiveUnavailableError(f"{str(path)!r} is not a file")
        return opened

    def read_file(self, path: Path, bytes_max: int) -> bytes:
        """Raises OSError, ArchiveUnavailableError."""
        with self.open_file(path) as opened:
            data = opened.read(bytes_max + 1)
        if len(data) > bytes_max:
            raise ArchiveUnavailableError(f"{str(path)!r} is larger than {bytes_max} bytes: it is something else")
        return data

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("r+b") as opened:
            self.disk.write(opened, data)

    def _months(self) -> list[Path]:
        return [
            self.path / entry.name
            for entry in os.scandir(self.path)
            if _MONTH.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        ]


def linked(path: Path) -> str:
    """What is said of a symbolic link."""
    return f"{str(path)!r} is a symbolic link, and an archive has none"


def _of_link(path: Path, error: OSError) -> OSError | ArchiveUnavailableError:
    """The error of a file that is not opened because it is a symbolic link; any other as it is."""
    if error.errno != errno.ELOOP:
        return error
    return ArchiveUnavailableError(linked(path), hint="put the file that it leads to in its place")


_REMEDY: Final = "the segment may still be whole: move the manifest away, and `duroctl archive verify` makes it anew"


def _mount_points() -> set[str]:
    """Where volumes belong, the root of all aside; none where there is no such table."""
    try:
        lines = FSTAB.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return set()
    fields = [line.split() for line in lines if not line.lstrip().startswith("#")]
    written = {each[1] for each in fields if len(each) > 1 and each[1].startswith("/") and each[1] != "/"}
    return {re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), each).rstrip("/") for each in written}


def _manifest_path(segment: Path) -> Path:
    return segment.with_name(segment.name.removesuffix(_SEGMENT_ENDING) + _MANIFEST_ENDING)


def _is_part(name: str) -> bool:
    return _PART.fullmatch(name) is not None


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True

"""A disk as the files' names, what is in them for certain, and what was written and not synced.

A cut of power leaves of what was not synced whatever it likes: any subset of the writes and cuts of a file, the pieces
of a write that fell into any of its sectors, and any subset of the names that came, went or changed in a directory.
What a file system orders is the one subset that has everything up to the cut.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

SECTOR_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class Write:
    file: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    file: int


@dataclass(frozen=True, slots=True)
class Enter:
    """A name for a file, new or not; ``file`` None: for a directory."""

    name: str
    file: int | None


@dataclass(frozen=True, slots=True)
class Rename:
    """Within one directory; what had the new name has it no more."""

    name: str
    new: str
    file: int | None


@dataclass(frozen=True, slots=True)
class Unlink:
    name: str


@dataclass(frozen=True, slots=True)
class SyncDirectory:
    directory: str


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody was told that all of this has happened."""


ContentOperation: TypeAlias = Write | Truncate
NameOperation: TypeAlias = Enter | Rename | Unlink
Operation: TypeAlias = ContentOperation | NameOperation | Sync | SyncDirectory | Acknowledge

Kept: TypeAlias = tuple[int, int]
"""The piece of a write that reached the disk, from and to. A truncate did not when it is empty."""


def whole(operation: ContentOperation) -> Kept:
    return (0, len(operation.data)) if isinstance(operation, Write) else (0, 1)


NOTHING: Final[Kept] = (0, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What of that which was not synced is there: by file, a piece of each operation; and each operation on names."""

    files: Mapping[int, Sequence[Kept]]
    names: Sequence[bool]


@dataclass(slots=True)
class _File:
    synced: bytes = b""
    pending: list[ContentOperation] = field(default_factory=list)

    def content(self, kept: Sequence[Kept]) -> bytes:
        if not any(end > start for start, end in kept):
            return self.synced
        content = bytearray(self.synced)
        for operation, (start, end) in zip(self.pending, kept, strict=True):
            if start >= end:
                continue
            if isinstance(operation, Truncate):
                del content[operation.size :]
                content.extend(bytes(operation.size - len(content)))
                continue
            first = operation.offset + start
            if first > len(content):
                content.extend(bytes(first - len(content)))
            content[first : operation.offset + end] = operation.data[start:end]
        return bytes(content)


class Disk:
    """Follows operations (``apply``) and tells what a cut would leave."""

    def __init__(self, names: Mapping[str, int | None], contents: Mapping[int, bytes]) -> None:
        self._files = {number: _File(content) for number, content in contents.items()}
        self._names = dict(names)
        self.pending_names: list[NameOperation] = []

    @property
    def pending(self) -> dict[int, list[ContentOperation]]:
        """What was written and not synced, of the files that have any."""
        return {number: file.pending for number, file in self._files.items() if file.pending}

    @property
    def unsynced(self) -> list[ContentOperation | NameOperation]:
        """Everything that a cut may leave undone."""
        return [*(each for operations in self.pending.values() for each in operations), *self.pending_names]

    def apply(self, operation: Operation) -> None:
        match operation:
            case Write() | Truncate():
                self._files.setdefault(operation.file, _File()).pending.append(operation)
            case Sync(file=number):
                file = self._files[number]
                file.synced = file.content([whole(each) for each in file.pending])
                file.pending = []
            case SyncDirectory(directory=directory):
                for each in self.pending_names:
                    if posixpath.dirname(each.name) == directory:
                        _rename(self._names, each)
                self.pending_names = [each for each in self.pending_names if posixpath.dirname(each.name) != directory]
            case Enter(file=number):
                if number is not None:
                    self._files.setdefault(number, _File())
                self.pending_names.append(operation)
            case Rename() | Unlink():
                self.pending_names.append(operation)
            case Acknowledge():
                pass

    def everything(self) -> Outcome:
        files = {number: [whole(each) for each in pending] for number, pending in self.pending.items()}
        return Outcome(files, [True] * len(self.pending_names))

    def after(self, outcome: Outcome) -> dict[str, bytes | None]:
        """What is found under which name; None: a directory."""
        names = dict(self._names)
        for operation, happened in zip(self.pending_names, outcome.names, strict=True):
            if happened:
                _rename(names, operation)
        found: dict[str, bytes | None] = {}
        for name, number in sorted(names.items()):
            directory = posixpath.dirname(name)
            if directory and found.get(directory, b"") is not None:
                continue  # the directory itself is not there
            if number is None:
                found[name] = None
            else:
                file = self._files[number]
                found[name] = file.content(outcome.files.get(number, [NOTHING] * len(file.pending)))
        return found


def _rename(names: dict[str, int | None], operation: NameOperation) -> None:
    match operation:
        case Enter(name=name, file=number):
            names[name] = number
        case Unlink(name=name):
            names.pop(name, None)
        case Rename(name=name, new=new, file=number):
            names.pop(name, None)
            names[new] = number

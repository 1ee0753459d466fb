"""Segments on a disk: written, read back and checked; read, within bounds."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import zstandard

from duro.disk import new_file
from duro.errors import ArchiveDamagedError, ArchiveUnavailableError
from duro.maintenance.archive.format import (
    CONTENT_BYTES_MAX,
    LINE_BYTES_MAX,
    MANIFEST_SCHEMA,
    SEGMENT_SCHEMA,
    HistoryRead,
    InstanceLine,
    Manifest,
    SegmentEnd,
    SegmentHead,
    encode_history,
    encode_line,
    read_entries,
    read_head,
)
from duro.maintenance.archive.place import ArchivePlace
from duro.model.archive import ArchivableInstance, ArchivedHistory
from duro.version import __version__

_READ_BYTES: Final = 1024 * 1024
_PIECE_BYTES: Final = 256 * 1024
"""Packed at once; and, of what is unpacked, taken apart into lines at once: a line is an object of some 50 bytes,
however short it is."""

_STEP_BYTES: Final = 1024
"""Given to the decompressor at once: it makes 32 MiB of them at most, whatever they are."""

_WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of memory a segment may make the decompressor take; those of ours take 8 MiB at most."""

Entry: TypeAlias = ArchivableInstance | tuple[ArchivedHistory, bool]
"""An instance that was removed, or a history and whether it goes with the instance before it."""


class _Written:
    """A file that is written through a disk, and what was written, measured."""

    def __init__(self, place: ArchivePlace, opened: BinaryIO) -> None:
        self._place = place
        self._opened = opened
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self._place.disk.write(self._opened, data)
        self._digest.update(data)
        self.bytes += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def write_segment(place: ArchivePlace, entries: Iterable[Entry], *, store_id: str, now_ms: int, level: int) -> Manifest:
    """Write ``entries`` into a further segment, make it durable, read it back and compare; the manifest, which stands
    beside it then. In memory there is an entry at a time, or ``_PIECE_BYTES`` of short ones.

    Raises:
        ArchiveUnavailableError: it cannot be written, or what is read back is something else. There is no such segment.
    """
    with place.errors("written"):
        path = place.new_segment(now_ms)
        with new_file(path, place.disk) as part, part.open("r+b") as opened:
            written = _Written(place, opened)
            end, content_bytes = _write(written, entries, store_id=store_id, now_ms=now_ms, level=level)
        manifest = Manifest(
            schema=MANIFEST_SCHEMA,
            segment=path.name,
            store_id=store_id,
            made_at_ms=now_ms,
            duro_version=__version__,
            instances=end.instances,
            histories=end.histories,
            events=end.events,
            history_bytes=end.history_bytes,
            content_bytes=content_bytes,
            file_bytes=written.bytes,
            sha256=written.sha256,
        )
        try:
            _compare(place, path, manifest)
        except ArchiveDamagedError as error:
            place.disk.unlink(path)
            raise ArchiveUnavailableError(
                f"what was written to archive {str(place.path)!r} is not what is read back: {error.message}",
                hint="check the disk",
            ) from error
        try:
            place.write_manifest(manifest)
        except OSError:
            with contextlib.suppress(OSError):
                place.take_back(path)
            raise
    return manifest


def _write(
    written: _Written, entries: Iterable[Entry], *, store_id: str, now_ms: int, level: int
) -> tuple[SegmentEnd, int]:
    instances = histories = events = history_bytes = 0
    content_bytes = 0
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
    piece: list[bytes] = []
    piece_bytes = 0

    def add(data: bytes) -> None:
        nonlocal content_bytes, piece_bytes
        content_bytes += len(data)
        piece.append(data)
        piece_bytes += len(data)
        if piece_bytes >= _PIECE_BYTES:
            pack()

    def pack() -> None:
        """All of the piece at once: each call gives the interpreter's lock away, which then must be waited for."""
        nonlocal piece_bytes
        packed = compressor.compress(b"".join(piece))
        piece.clear()
        piece_bytes = 0
        if packed:
            written.write(packed)

    head = SegmentHead(schema=SEGMENT_SCHEMA, store_id=store_id, made_at_ms=now_ms, duro_version=__version__)
    add(encode_line(head))
    for entry in entries:
        if isinstance(entry, ArchivableInstance):
            add(encode_line(InstanceLine(instance=entry)))
            instances += 1
        else:
            history, with_instance = entry
            data, size = encode_history(history, with_instance=with_instance)
            add(data)
            histories += 1
            events += len(history.events)
            history_bytes += size
    end = SegmentEnd(instances=instances, histories=histories, events=events, history_bytes=history_bytes)
    add(encode_line(end))
    pack()
    written.write(compressor.flush())
    return end, content_bytes


def _compare(place: ArchivePlace, path: Path, manifest: Manifest) -> None:
    """The file as it can be read now, from the disk where that can be had: its bytes by their SHA-256, its content by
    unpacking it, which compares it with the checksum zstd made of it. Raises OSError, ArchiveDamagedError."""
    with place.open_file(path) as opened:
        with contextlib.suppress(OSError):
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        unpacked = _unpacked(_Measured(manifest).chunks(opened), manifest.content_bytes)
        content_bytes = sum(len(chunk) for chunk in unpacked)
    if content_bytes != manifest.content_bytes:
        raise ArchiveDamagedError(f"it has {content_bytes} bytes of content in place of {manifest.content_bytes}")


# --- reading -------------------------------------------------------------------------------------------------


def read_segment(place: ArchivePlace, manifest: Manifest) -> Iterator[HistoryRead]:
    """The histories of a segment, one at a time; the file and what stands in it are compared with the manifest.

    Raises:
        ArchiveFileError: it cannot be read.
        ArchiveDamagedError: it is not as it was written. This may come after some histories.
    """
    found: Manifest | None = None

    def finished(each: Manifest) -> None:
        nonlocal found
        found = each

    yield from _read(place, manifest.segment, manifest, finished)
    if found != manifest:
        raise _damaged(place, manifest.segment, "it is not what its manifest says")


def measure_segment(place: ArchivePlace, segment: str) -> Manifest:
    """The manifest that belongs beside a segment that has none.

    Raises: as ``read_segment``.
    """
    found: list[Manifest] = []
    for _ in _read(place, segment, None, found.append):
        pass
    return found[0]


def _read(
    place: ArchivePlace, segment: str, manifest: Manifest | None, finished: Callable[[Manifest], object]
) -> Iterator[HistoryRead]:
    path = place.path_of(segment)
    measured = _Measured(manifest)
    bound = CONTENT_BYTES_MAX if manifest is None else min(manifest.content_bytes, CONTENT_BYTES_MAX)
    try:
        with place.errors_of(path), place.open_file(path) as opened:
            lines = Lines(_unpacked(measured.chunks(opened), bound))
            head = read_head(lines)
            for each in read_entries(lines):
                if isinstance(each, HistoryRead):
                    yield each
                else:
                    end = each
            measured.check()
    except ArchiveDamagedError as error:
        raise _damaged(place, segment, error.message) from error
    finished(
        Manifest(
            schema=MANIFEST_SCHEMA,
            segment=segment,
            store_id=head.store_id,
            made_at_ms=head.made_at_ms,
            duro_version=head.duro_version,
            instances=end.instances,
            histories=end.histories,
            events=end.events,
            history_bytes=end.history_bytes,
            content_bytes=lines.bytes,
            file_bytes=measured.bytes,
            sha256=measured.sha256,
        )
    )


def _damaged(place: ArchivePlace, segment: str, problem: str) -> ArchiveDamagedError:
    return ArchiveDamagedError(
        f"segment {segment} of archive {str(place.path)!r} is damaged: {problem}",
        hint="take it from a copy of the archive; nothing else of the archive is concerned",
    )


class _Measured:
    """A file's bytes, as they are read."""

    def __init__(self, manifest: Manifest | None) -> None:
        self._manifest = manifest
        self._digest = hashlib.sha256()
        self.bytes = 0

    def chunks(self, opened: BinaryIO) -> Iterator[bytes]:
        while chunk := opened.read(_READ_BYTES):
            self._digest.update(chunk)
            self.bytes += len(chunk)
            yield chunk
        self.check()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def check(self) -> None:
        if self._manifest is not None and (self.bytes, self.sha256) != (
            self._manifest.file_bytes,
            self._manifest.sha256,
        ):
            raise ArchiveDamagedError("its SHA-256 is not the one in its manifest")


def _unpacked(chunks: Iterator[bytes], bytes_max: int) -> Iterator[bytes]:
    """Raises ArchiveDamagedError: it is not one whole frame, or more than ``bytes_max`` bytes unpacked."""
    unpacker = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).decompressobj(read_across_frames=False)
    total = 0
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _STEP_BYTES):
                if unpacker.eof:
                    raise ArchiveDamagedError("something stands behind its end")
                data = unpacker.decompress(chunk[start : start + _STEP_BYTES])
                total += len(data)
                if total > bytes_max:
                    raise ArchiveDamagedError(f"unpacked it is more than {bytes_max} bytes")
                for at in range(0, len(data), _PIECE_BYTES):
                    yield data[at : at + _PIECE_BYTES]
    except zstandard.ZstdError as error:
        raise ArchiveDamagedError(f"it cannot be unpacked: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ArchiveDamagedError("it is cut off" if not unpacker.eof else "something stands behind its end")


class Lines:
    """Lines of a stream of chunks, without their ends; ``bytes`` were read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._lines: list[bytes] = []
        self._at = 0
        self._rest: list[bytes] = []
        self._waiting = 0
        self._more = True
        self.bytes = 0

    def take(self, count: int) -> list[bytes]:
        """The next lines, fewer where they end."""
        while self._more and len(self._lines) - self._at < count:
            self._fill()
        taken = self._lines[self._at : self._at + count]
        self._at += count
        return taken

    def _fill(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            self._more = False
            if self._waiting:
                raise ArchiveDamagedError("its last line is cut off")
            return
        self.bytes += len(chunk)
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        self._waiting += len(first)
        if self._waiting > LINE_BYTES_MAX:
            raise ArchiveDamagedError(f"a line of it is longer than {LINE_BYTES_MAX} bytes")
        if others:
            last = others.pop()
            del self._lines[: self._at]
            self._at = 0
            self._lines.append(b"".join(self._rest))
            self._lines += others
            self._rest, self._waiting = [last], len(last)

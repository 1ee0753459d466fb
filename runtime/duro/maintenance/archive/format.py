"""What stands in a segment: JSON, a line each, versioned. Pure.

The first line is the segment's head, the last one its end with the counts. Between them stand histories: a head with
the execution's row, then its events, a line each, exactly as they were stored. Before the first history of an instance
that was removed as a whole stands a line with the instance.

Events are JSON without line breaks, as the codec writes them. Should a store hold one that is not (it is damaged, or
was written by something else), all events of its history are written as JSON texts (``as_text``): what is archived is
what was stored, whatever it was.
"""

import re
from collections.abc import Iterator
from typing import Final, Protocol, TypeAlias

import msgspec

from duro.errors import ArchiveDamagedError
from duro.model.archive import ArchivableExecution, ArchivableInstance, ArchivedHistory
from duro.model.limits import HISTORY_EVENTS_MAX

SEGMENT_SCHEMA: Final = "duro.archive_segment/1"
MANIFEST_SCHEMA: Final = "duro.archive_manifest/1"

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one line of a segment: the longest event is a fraction of it."""

EVENTS_MAX: Final = 4 * HISTORY_EVENTS_MAX
"""Of one history: twice what a store lets one become."""

CONTENT_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Of a segment, unpacked: what claims more is not unpacked. The largest history a store holds is an eighth of it."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line"):
    pass


class SegmentHead(_Line, frozen=True, kw_only=True, tag="segment"):
    """Of which store, when (by the store's clock) and by which duro."""

    schema: str
    store_id: str
    made_at_ms: int
    duro_version: str


class InstanceLine(_Line, frozen=True, kw_only=True, tag="instance"):
    """The histories that follow go with this instance, which was removed."""

    instance: ArchivableInstance


class HistoryHead(_Line, frozen=True, kw_only=True, tag="history", gc=False):
    """``events`` lines follow. ``with_instance``: it was live when its instance was removed."""

    execution: ArchivableExecution
    events: int
    with_instance: bool = False
    as_text: bool = False


class SegmentEnd(_Line, frozen=True, kw_only=True, tag="end"):
    """What stands before it. ``history_bytes`` are those of the events, without line breaks."""

    instances: int
    histories: int
    events: int
    history_bytes: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file beside a segment says about it. ``sha256`` is of the file as it stands (``file_bytes``);
    ``content_bytes`` of it unpacked. Everything in it can be found out from the segment."""

    schema: str
    segment: str
    store_id: str
    made_at_ms: int
    duro_version: str
    instances: int
    histories: int
    events: int
    history_bytes: int
    content_bytes: int
    file_bytes: int
    sha256: str


Line: TypeAlias = SegmentHead | InstanceLine | HistoryHead | SegmentEnd

_MANY_DIGITS: Final = re.compile(rb"[0-9]{19}")
_encoder: Final = msgspec.json.Encoder()
_lines: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)
_texts: Final = msgspec.json.Decoder(str)
_manifests: Final = msgspec.json.Decoder(Manifest)


def encode_line(line: Line) -> bytes:
    return _encoder.encode(line) + b"\n"


def encode_history(history: ArchivedHistory, *, with_instance: bool) -> tuple[bytes, int]:
    """Its head and its events; and the bytes of the events alone."""
    events = history.events
    joined = "\n".join(events)
    as_text = joined.count("\n") != max(len(events) - 1, 0)
    if as_text:
        joined = "\n".join(_encoder.encode(event).decode() for event in events)
    head = HistoryHead(execution=history.execution, events=len(events), with_instance=with_instance, as_text=as_text)
    if not events:
        return encode_line(head), 0
    body = _bytes(joined)
    size = sum(len(_bytes(event)) for event in events) if as_text else len(body) - len(events) + 1
    return b"".join((encode_line(head), body, b"\n")), size


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def encode_manifest(manifest: Manifest) -> bytes:
    return _encoder.encode(manifest) + b"\n"


def decode_manifest(data: bytes) -> Manifest:
    """Raises ValueError: it is none, or of a version this duro does not know."""
    manifest = _manifests.decode(data)
    _check_numbers(manifest, data)
    if manifest.schema != MANIFEST_SCHEMA or encode_manifest(manifest) != data:
        raise ValueError(f"it is no {MANIFEST_SCHEMA} as it was written")
    return manifest


def decode_line(data: bytes) -> Line:
    """Raises ValueError: it is none."""
    line = _lines.decode(data)
    _check_numbers(line, data)
    return line


def _check_numbers(decoded: msgspec.Struct, data: bytes) -> None:
    """Looked for only where ``data``, of which it was decoded, has as many digits as it takes.

    Raises:
        ValueError: one of its numbers is larger than any store or catalogue can hold.
    """
    if _MANY_DIGITS.search(data) is not None and not _fits(msgspec.to_builtins(decoded)):
        raise ValueError("a number of more than 64 bits")


def _fits(value: object) -> bool:
    match value:
        case int():
            return -(2**63) <= value < 2**63
        case dict():
            return all(map(_fits, value.values()))
        case list() | tuple():
            return all(map(_fits, value))
    return True


class HistoryRead(msgspec.Struct, frozen=True):
    """A history of a segment, and the instance it goes with, None: it was pruned by itself."""

    history: ArchivedHistory
    instance: ArchivableInstance | None


class LineSource(Protocol):
    """Lines without their ends, in order."""

    def take(self, count: int) -> list[bytes]:
        """The next lines, fewer where they end."""
        ...


def read_head(lines: LineSource) -> SegmentHead:
    """Raises ArchiveDamagedError: the first line is none."""
    head = _next(lines, 1)
    if not isinstance(head, SegmentHead):
        raise ArchiveDamagedError("it does not begin as a segment does")
    if head.schema != SEGMENT_SCHEMA:
        raise ArchiveDamagedError(
            f"it is a {head.schema!r}, and this duro reads {SEGMENT_SCHEMA}", hint="use the duro that wrote it"
        )
    return head


def read_entries(lines: LineSource) -> Iterator[HistoryRead | SegmentEnd]:
    """The histories of a segment behind its head; the last thing is its end, which was compared with them.

    Raises:
        ArchiveDamagedError: it is not as it was written.
    """
    instance: ArchivableInstance | None = None
    instances = histories = events = size = 0
    number = 1
    while True:
        number += 1
        line = _next(lines, number)
        match line:
            case InstanceLine():
                instance = line.instance
                instances += 1
            case HistoryHead():
                if line.with_instance and instance is None:
                    raise ArchiveDamagedError(f"line {number}: the instance of this history is missing")
                history, its_bytes = _history(lines, line, number)
                number += line.events
                histories += 1
                events += line.events
                size += its_bytes
                yield HistoryRead(history, instance if line.with_instance else None)
            case SegmentEnd():
                end = SegmentEnd(instances=instances, histories=histories, events=events, history_bytes=size)
                if line != end or lines.take(1):
                    raise ArchiveDamagedError(f"line {number}: the end does not fit what stands before it")
                yield end
                return
            case _:
                raise ArchiveDamagedError(f"line {number}: a segment in a segment")


def _next(lines: LineSource, number: int) -> Line:
    taken = lines.take(1)
    if not taken:
        raise ArchiveDamagedError("it has no end")
    return _decoded(taken[0], number)


def _history(lines: LineSource, head: HistoryHead, number: int) -> tuple[ArchivedHistory, int]:
    """With the bytes of its events."""
    if not 0 <= head.events <= EVENTS_MAX:
        raise ArchiveDamagedError(f"line {number}: a history of {head.events} events")
    taken = lines.take(head.events)
    if len(taken) < head.events:
        raise ArchiveDamagedError(f"it ends in the history at line {number}")
    joined = b"\n".join(taken)
    try:
        if head.as_text:
            events = [_texts.decode(each) for each in taken]
            size = sum(len(_bytes(event)) for event in events)
        else:
            events = joined.decode("utf-8", "surrogatepass").split("\n") if taken else []
            size = len(joined) - max(len(taken) - 1, 0)
    except ValueError as error:
        raise ArchiveDamagedError(f"in the history at line {number}: {error}") from error
    return ArchivedHistory(execution=head.execution, events=tuple(events)), size


def _decoded(data: bytes, number: int) -> Line:
    try:
        return decode_line(data)
    except ValueError as error:
        raise ArchiveDamagedError(f"line {number}: {error}") from error

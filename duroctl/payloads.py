"""JSON given on a command line, in a file or on standard input."""

import sys
from typing import TYPE_CHECKING, Final

from duro.codec import payload_from_text
from duro.errors import UsageError

if TYPE_CHECKING:
    import msgspec

_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes read of a file before it is refused: white space does not count against the limit of payloads, memory does."""


def payload_argument(text: str | None, file: str | None, options: tuple[str, str], what: str) -> "msgspec.Raw | None":
    """The payload that ``text`` or ``file`` holds, without white space between its parts; None when neither was given.

    Raises:
        UsageError: both were given, or the file cannot be read.
        InvalidInputError, PayloadTooLargeError: see ``duro.codec.payload_from_text``.
    """
    import msgspec

    if text is not None and file is not None:
        raise UsageError(f"{options[0]} and {options[1]} were given", hint="give one of them")
    given = _read(file, options[1]) if file is not None else text
    if given is None:
        return None
    encoded = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
    compact = encoded if len(encoded) > _FILE_BYTES_MAX else _compact(encoded)
    return msgspec.Raw(bytes(payload_from_text(compact, what)))


def payload_lines(file: str, option: str, what: str) -> "list[msgspec.Raw]":
    """The payloads in a file of JSON Lines (``-``: standard input), one a line; empty lines are passed over.

    Raises:
        UsageError: the file cannot be read, is larger than 64 MiB, or holds none.
        InvalidInputError, PayloadTooLargeError: see ``duro.codec.payload_from_text``; the message names the line.
    """
    import msgspec

    data = _read(file, option)
    if len(data) > _FILE_BYTES_MAX:
        raise UsageError(f"{option} {file!r} is larger than {_FILE_BYTES_MAX} bytes", hint="start it in several parts")
    payloads = [
        msgspec.Raw(bytes(payload_from_text(_compact(line), f"{what} on line {number}")))
        for number, line in enumerate(data.split(b"\n"), start=1)
        if line.strip()
    ]
    if not payloads:
        raise UsageError(f"{option} {file!r} holds no input", hint="write one JSON value a line")
    return payloads


def _compact(data: bytes) -> bytes:
    """Without white space between the parts; text that is no JSON unchanged, for the check that follows."""
    import msgspec

    try:
        return msgspec.json.format(data, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return data


def _read(file: str, option: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(_FILE_BYTES_MAX + 1)
    try:
        with open(file, "rb") as source:  # noqa: PTH123
            return source.read(_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{option} {file!r} cannot be read: {reason}", hint="check the path") from error

"""Text of the file that nobody can read: SQLite keeps whatever bytes a column has, and a flipped one is no UTF-8 any
more. apsw then raises ``UnicodeDecodeError`` instead of answering, whatever else the answer has.

Here is what to do about it, and nothing of it costs anything as long as all text can be read. Of histories, messages
and inputs, whose text somebody else decodes, the bytes are kept: those that are no UTF-8 come as lone surrogates
(``surrogateescape``), and the decoder of events says that this one cannot be read. Of all other columns the error says
in which row it is.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from duro.errors import RowUnreadableError
from duro.stores.sqlite.rows import Value

T = TypeVar("T")

UNREADABLE: Final = (UnicodeDecodeError, msgspec.DecodeError)
"""What reading raises where a row has what it cannot have."""

TOO_BIG: Final = (apsw.TooBigError, apsw.NoMemError)
"""What SQLite raises where an answer in one text would be of more than 1,000,000,000 bytes (its functions for JSON call
that a lack of memory). Whoever asked for it asks for less."""

_ROWS_NAMED: Final = 3


def row_of(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> Any:
    """The first row of a statement, or None; bytes that are no UTF-8 as lone surrogates."""
    try:
        return connection.execute(statement, values).fetchone()
    except UnicodeDecodeError:
        columns = len(connection.execute(statement, values).get_description())
        row: Any = connection.execute(as_bytes(statement, columns), values).fetchone()
        return tuple(_text(each) if isinstance(each, bytes) else each for each in row)


def as_bytes(statement: str, columns: int) -> str:
    """A statement that gives the same answer, so many columns, its texts as bytes."""
    names = [f"c{n}" for n in range(columns)]
    texts = ", ".join(f"iif(typeof({name}) = 'text', CAST({name} AS BLOB), {name})" for name in names)
    return f"WITH answer ({', '.join(names)}) AS ({statement}) SELECT {texts} FROM answer"  # noqa: S608 - a constant


def value_of(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> Any:
    """The first column of ``row_of``, or None."""
    row = row_of(connection, statement, values)
    return None if row is None else row[0]


def decoded(decoder: msgspec.json.Decoder[T], text: str) -> T:
    """``text`` as ``value_of`` gives it: lone surrogates stay in the texts they stand in."""
    try:
        return decoder.decode(text)
    except UnicodeEncodeError:
        return msgspec.convert(json.loads(text), decoder.type)


def readable(value: Any) -> Any:
    """A value out of JSON as ``value_of`` gives it, with U+FFFD in the places of what is no UTF-8."""
    match value:
        case list():
            return [readable(each) for each in value]
        case dict():
            return {key: readable(each) for key, each in value.items()}
        case str() if not _is_text(value):
            return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return value


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- where it is -----------------------------------------------------------------------------------------------


def add_function(connection: apsw.Connection) -> None:
    """``bad_texts``, for the statements of ``sql_check_texts``."""
    from duro.stores.sqlite.sql_check_texts import TEXTS

    def bad_texts(*values: Any) -> str | None:
        columns = zip(TEXTS[values[0]], values[1:], strict=True)
        bad = [column for column, text in columns if text and not _is_utf8(text)]
        return ", ".join(bad) or None

    connection.create_scalar_function("bad_texts", bad_texts, -1, deterministic=True)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def unreadable(connection: apsw.Connection, path: Path, error: Exception) -> RowUnreadableError:
    """What ``error`` (one of ``UNREADABLE``) means to the operator, with the rows that have such text. Histories are
    not looked through: they may be most of the file, and who reads one says itself which it is."""
    from duro.stores.sqlite.sql_check_texts import BAD_TEXTS, OTHER_WORDS  # only who met damage pays for it

    add_function(connection)
    is_text = not isinstance(error, UnicodeDecodeError)
    statement = OTHER_WORDS if is_text else BAD_TEXTS
    found = connection.execute(as_bytes(statement, 2), (_ROWS_NAMED,)).fetchall()
    said = "; ".join(f"{_shown(subject)}: {_shown(text)}" for subject, text in found)
    what = said or (str(error) if is_text else "an event of a history is no text (UTF-8)")
    return RowUnreadableError(
        f"{path} is damaged: a row of it cannot be read ({what})",
        hint="`duroctl doctor --deep` names every such row; keep a copy of the file and restore a backup",
    )


def _shown(data: object) -> str:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)

"""Lineages and members of families as values. Text of them that is no UTF-8 has U+FFFD in the places of what cannot be
read, and the value says so: it stands in a list with others, and keeps none of them from being read."""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import apsw
import msgspec

from duro.model.families import FinishedInstance
from duro.model.records import ChildRecord
from duro.model.status import InstanceStatus
from duro.stores.sqlite.rows import Value
from duro.stores.sqlite.texts import readable, value_of

_SHOWN: Final = 100
"""Characters of a text that cannot be read, as ``ChildRecord.unreadable`` shows it."""


class MemberRow(NamedTuple):
    """What one statement reads of a member of a family."""

    incarnation: int
    parent: int | None
    instance_id: str
    name: str
    status: InstanceStatus
    completed_at_ms: int | None
    versions: tuple[str, ...]
    executions: int
    events: int
    history_bytes: int
    is_unreadable: bool = False


_child = msgspec.json.Decoder(ChildRecord)
_children = msgspec.json.Decoder(list[ChildRecord])
_finished = msgspec.json.Decoder(list[FinishedInstance])
_members = msgspec.json.Decoder(list[MemberRow])
_counts = msgspec.json.Decoder(list[tuple[str, int]])
_texts = msgspec.json.Decoder(list[str])


def read_child(connection: apsw.Connection, statement: str, values: Sequence[Value]) -> ChildRecord | None:
    text = value_of(connection, statement, values)
    if text is None:
        return None
    try:
        return _child.decode(text)
    except UnicodeEncodeError:
        return _unreadable_child(json.loads(text))


def read_children(connection: apsw.Connection, statement: str, values: Sequence[Value]) -> list[ChildRecord]:
    text = value_of(connection, statement, values)
    try:
        return _children.decode(text)
    except UnicodeEncodeError:
        return [_unreadable_child(each) for each in json.loads(text)]


def _unreadable_child(record: dict[str, Any]) -> ChildRecord:
    """Or readable: one of several."""
    parent = record["parent"]
    texts = {"parent_instance_id": parent["instance_id"], **record}
    bad = [f"{place}: {readable(text)[:_SHOWN]}" for place, text in texts.items() if _is_bad(text)]
    whole = {**readable(record), "unreadable": [*readable(record["unreadable"]), *bad]}
    return msgspec.convert(whole, ChildRecord)


def _is_bad(value: Any) -> bool:
    return isinstance(value, str) and readable(value) != value


def read_finished(connection: apsw.Connection, statement: str, values: Sequence[Value]) -> tuple[FinishedInstance, ...]:
    text = value_of(connection, statement, values)
    try:
        return tuple(_finished.decode(text))
    except UnicodeEncodeError:
        return tuple(msgspec.convert(readable(json.loads(text)), list[FinishedInstance]))


def read_members(connection: apsw.Connection, statement: str, values: Sequence[Value]) -> list[MemberRow]:
    text = value_of(connection, statement, values)
    try:
        return _members.decode(text)
    except UnicodeEncodeError:
        rows = json.loads(text)
        return msgspec.convert([[*readable(row), readable(row) != row] for row in rows], list[MemberRow])


def read_texts(connection: apsw.Connection, statement: str, values: Sequence[Value] = ()) -> tuple[str, ...]:
    text = value_of(connection, statement, values)
    try:
        return tuple(_texts.decode(text))
    except UnicodeEncodeError:
        return tuple(readable(json.loads(text)))


def read_counts(connection: apsw.Connection, statement: str) -> dict[str, int]:
    text = value_of(connection, statement)
    try:
        return dict(_counts.decode(text))
    except UnicodeEncodeError:
        return dict(_counts.decode(json.dumps(readable(json.loads(text)))))

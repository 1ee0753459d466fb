"""Events as text, read from their stored form without knowing their classes: unknown and damaged ones are shown too."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from duro.model.records import HistoryRecord
from duro.model.retention import PruneOptions
from duroctl.render.records import encode
from duroctl.render.tables import Column, View
from duroctl.render.text import json_safe, visible, visible_field
from duroctl.render.units import counted, iso, size

_HEADER_FIELDS: Final = ("event_id", "at_ms", "type")
_QUIET_FIELDS: Final = frozenset(
    {"seed", "retry", "attempt_timeout_s", "total_timeout_s", "on_parent_continue", "on_parent_end"}
)
"""Left out of the compact form: how, not what."""


_INDENT: Final = " " * 7
_DIGITS_MAX: Final = 18
"""Of a count: what is longer is damaged, and too long for ``int`` if it is long enough."""


class ParsedEvent(NamedTuple):
    """``fields`` maps the other fields to their JSON text. Of a text that is no event only ``stored`` has meaning."""

    event_id: int
    at_ms: int
    type: str
    fields: dict[str, str]
    stored: str


def parse_event(stored: str) -> ParsedEvent:
    """Never fails: what cannot be read has type ``unreadable``, event id 0 and no fields."""
    try:
        raw = msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
        event_id, at_ms = (msgspec.json.decode(raw[key], type=int) for key in ("event_id", "at_ms"))
        tag = msgspec.json.decode(raw["type"], type=str)
    except (msgspec.DecodeError, KeyError, UnicodeError, RecursionError):
        return ParsedEvent(0, 0, "unreadable", {}, stored)
    fields = {key: bytes(value).decode() for key, value in raw.items() if key not in _HEADER_FIELDS}
    return ParsedEvent(event_id, at_ms, tag, fields, stored)


def is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def as_json(text: str) -> str:
    """A stored event as JSON: as it is or, where it is none, as a JSON text of it."""
    if is_json(text):
        return text
    try:
        return encode(text)
    except UnicodeEncodeError:  # bytes that are no UTF-8, as lone surrogates
        return json.dumps(text)


def summary(event: ParsedEvent) -> str:
    """What the event says, on one line: ``#2`` is the scheduled event it answers."""
    if event.type == "unreadable":
        return visible(event.stored)
    fields = dict(event.fields)
    parts = [*_parts_of_prune(fields), *_parts(fields)] if event.type == "HistoryPruned" else _parts(fields)
    return visible(" ".join(part for part in parts if part))


def _parts(fields: dict[str, str]) -> Iterator[str]:
    """Consumes the fields it knows, in the order they read best; what is left comes as ``key=value``."""
    if answered := fields.pop("scheduled_event_id", ""):
        yield f"#{answered}"
    name, version = _text(fields.pop("name", None)), _text(fields.pop("version", None))
    given = fields.pop("input", None)
    call = f"({'' if given == 'null' else given})" if given is not None else ""
    yield f"{name}{call}"
    yield f"version {version}" if version else ""
    if instance_id := fields.pop("instance_id", None):
        yield f"as {_text(instance_id)}"
    for key, sign in (("result", "→"), ("data", "=")):
        if key in fields:
            yield f"{sign} {fields.pop(key)}"
    if failure := fields.pop("failure", None):
        yield _failure(failure)
    if fire_at := fields.pop("fire_at_ms", None):
        yield f"fires at {iso(int(fire_at))}" if fire_at.lstrip("-").isdigit() else f"fires at {fire_at}"
    yield _text(fields.pop("reason", None))
    if parent := fields.pop("parent", None):
        yield _parent(parent)
    if options := fields.pop("options", None):
        yield _rules(options)
    yield from (f"{key}={value}" for key, value in fields.items() if key not in _QUIET_FIELDS)


def _parts_of_prune(fields: dict[str, str]) -> Iterator[str]:
    """What a prune did; a count that is not stored is 0. A field that holds something else is left to ``_parts``."""
    if answered := fields.pop("scheduled_event_id", ""):
        yield f"#{answered}"
    if error := fields.pop("error", None):
        yield f"failed: {_text(error)}"
        return
    executions, events, freed, remaining = (
        _count(fields, key) for key in ("executions_deleted", "events_deleted", "bytes_deleted", "remaining")
    )
    counts = f"{_many(executions, 'execution')} ({_many(events, 'event')}, {size(freed)})"
    yield f"pruned {counts}" if executions else "pruned nothing"
    yield f"and left {remaining}" if remaining else ""


def _count(fields: dict[str, str], key: str) -> int:
    value = fields.get(key, "")
    return int(fields.pop(key)) if value.isdigit() and len(value) <= _DIGITS_MAX else 0


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _rules(text: str) -> str:
    """``keep_last=3 keep_within=7d``; as stored, if this version does not know them."""
    try:
        return str(msgspec.json.decode(text, type=PruneOptions))
    except (msgspec.DecodeError, RecursionError):
        return f"options={text}"


def _failure(text: str) -> str:
    failure = _object(text)
    return ": ".join(str(part) for part in (failure.get("type"), failure.get("message")) if part) or text


def _parent(text: str) -> str:
    parent = _object(text)
    return f"child of {parent.get('instance_id')}/{parent.get('execution_id')}"


def detail_lines(event: ParsedEvent) -> Iterator[str]:
    """Every field on lines of its own, payloads indented, texts with newlines as lines."""
    if event.type == "unreadable":
        yield f"{_INDENT}{visible(event.stored)}"
        return
    for key, value in event.fields.items():
        block = list(_failure_block(_object(value))) if key == "failure" else _pretty(value)
        if key.endswith("_ms") and value.lstrip("-").isdigit():
            block = [f"{value} ({iso(int(value))})"]
        if len(block) == 1:
            yield f"{_INDENT}{visible(key)}: {block[0]}"
        else:
            yield f"{_INDENT}{visible(key)}:"
            yield from (f"{_INDENT}  {line}" for line in block)


def _failure_block(failure: dict[str, Any]) -> Iterator[str]:
    """A failure as Python would print it, its causes after it."""
    cause: object = failure
    while isinstance(cause, dict):
        prefix = "caused by " if cause is not failure else ""
        yield visible(f"{prefix}{cause.get('type')}: {cause.get('message')}".removesuffix(": "))
        yield from (f"  {visible(line)}" for line in str(cause.get("traceback") or "").splitlines())
        if cause.get("non_retryable"):
            yield "  not to be retried"
        cause = cause.get("cause")


def _pretty(value: str) -> list[str]:
    try:
        return json_safe(msgspec.json.format(value, indent=2)).split("\n")
    except RecursionError:
        return [visible(value)]


def _text(value: str | None) -> str:
    """A JSON string as its text; anything else as it is written."""
    if value is None or value == "null":
        return ""
    decoded = msgspec.json.decode(value) if value.startswith('"') else value
    return str(decoded)


def _object(value: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def as_line(text: str) -> str:
    """A stored event as a line of a file: as it is, unless it has line breaks of its own or is no JSON."""
    line = as_json(text)
    return msgspec.json.format(line, indent=-1) if "\n" in line or "\r" in line else line


EXPORTED: Final = View(
    "duroctl.exported_history/1",
    "history",
    (
        Column("instance_id", None, "id", lambda h: h.execution.instance_id),
        Column("execution_id", None, "number", lambda h: h.execution.execution_id),
        Column("event_count", None, "number", lambda h: len(h.events)),
    ),
    lambda h: {
        "instance_id": h.execution.instance_id,
        "execution_id": h.execution.execution_id,
        "event_count": len(h.events),
    },
    lambda h: f"{h.execution.instance_id}/{h.execution.execution_id}",
)


def exported_line(history: HistoryRecord, file: str) -> str:
    execution = history.execution
    return visible_field(
        f"wrote {counted(len(history.events), 'event')} of {execution.instance_id}/{execution.execution_id} to {file}"
    )

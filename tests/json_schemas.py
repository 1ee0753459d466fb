"""docs/schemas: JSON Schemas of what duroctl prints and writes, made of the table in ``tests.json_documents``.

This module has the words that table is written in, and turns it into files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

EVERY: Final = "every command"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TIME_PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"

Schema = dict[str, Any]
Fields = Mapping[str, Schema]
"""Name -> schema of its value. A name that ends in ``?`` is not always there."""

# --- values ----------------------------------------------------------------------------------------------------


def text(about: str, values: type[StrEnum] | Sequence[str] | None = None) -> Schema:
    """``values``: all there are."""
    return {"description": about, "type": "string"} | (
        {} if values is None else {"enum": [str(each) for each in values]}
    )


def count(about: str, minimum: int = 0) -> Schema:
    return {"description": about, "type": "integer", "minimum": minimum}


def size(about: str) -> Schema:
    return count(f"{about}, in bytes")


def time(about: str) -> Schema:
    return {
        "description": f"{about}, ISO-8601 in UTC",
        "type": "string",
        "format": "date-time",
        "pattern": TIME_PATTERN,
    }


def time_ms(about: str) -> Schema:
    return count(f"{about}, in Unix milliseconds")


def seconds(about: str) -> Schema:
    return {"description": f"{about}, in seconds", "type": "number", "minimum": 0}


def flag(about: str) -> Schema:
    return {"description": about, "type": "boolean"}


def payload(about: str) -> Schema:
    """Any JSON: what users wrote."""
    return {"description": about, "type": ["object", "array", "string", "number", "boolean", "null"]}


def each(items: Schema, about: str) -> Schema:
    return {"description": about, "type": "array", "items": items}


def shared(name: str, about: str = "") -> Schema:
    """A value of ``tests.json_documents.SHARED``."""
    return ({"description": about} if about else {}) | {"$ref": f"#/$defs/{name}"}


def maybe(schema: Schema) -> Schema:
    """Or null."""
    if "type" not in schema:
        rest = {key: value for key, value in schema.items() if key != "description"}
        choices = rest.pop("anyOf", None) or [rest]
        return {"description": schema.get("description", ""), "anyOf": [*choices, {"type": "null"}]}
    nullable = schema | {"type": [schema["type"], "null"]}
    return nullable | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def record(fields: Fields, about: str = "") -> Schema:
    """An object with these fields and no others."""
    return ({"description": about} if about else {}) | {
        "type": "object",
        "properties": {name.removesuffix("?"): schema for name, schema in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
        "additionalProperties": False,
    }


# --- documents -------------------------------------------------------------------------------------------------


class Document(NamedTuple):
    """``name``: what its field ``schema`` holds. ``printed_by``: commands without "duroctl", () for files. ``line``: a
    line with ``-o jsonl``, None: it is the document. ``defs``: values that stand in the file beside it."""

    name: str
    about: str
    printed_by: tuple[str, ...]
    body: Schema | None
    line: Schema | None = None
    defs: Mapping[str, Schema] = {}

    @property
    def file(self) -> str:
        return f"{self.name.replace('/', '.')}.json"


def one(name: str, about: str, printed_by: Sequence[str], fields: Fields) -> Document:
    """A document that is the same with ``-o json`` and with ``-o jsonl``."""
    return Document(name, about, tuple(printed_by), _named(name, fields))


def listing(
    name: str, about: str, printed_by: Sequence[str], field: str, fields: Fields, *, paged: bool = False
) -> Document:
    """Records in ``field``; with ``-o jsonl`` each of them alone. ``paged``: it takes --cursor."""
    if paged:
        following = maybe(text("What --cursor takes to go on behind the last record; null: there is no more"))
    else:
        following = {"description": "Always null: the command takes no --cursor", "type": "null"}
    records = each(shared("record"), "The records, in the order of the command")
    return of_records(name, about, printed_by, {field: records, "next": following}, fields)


def of_records(name: str, about: str, printed_by: Sequence[str], head: Fields, fields: Fields) -> Document:
    """A document of its own form with ``-o json`` (a field of it has ``shared("record")``); with ``-o jsonl`` the
    records alone."""
    return Document(
        name, about, tuple(printed_by), _named(name, head), _named(name, fields), {"record": record(fields)}
    )


def _named(name: str, fields: Fields) -> Schema:
    return record({"schema": {"description": "The name of this schema", "const": name, "type": "string"}, **fields})


# --- files -----------------------------------------------------------------------------------------------------


def schema_of(document: Document, values: Mapping[str, Schema]) -> Schema:
    """The whole file. ``values``: what ``shared`` names."""
    assert document.body is not None, f"{document.name} is no JSON"
    defs = dict(document.defs)
    body = document.body
    if document.line is not None:
        defs = {
            "document": {"description": "With -o json", **document.body},
            "line": {"description": "With -o jsonl: a line for each record", **document.line},
            **defs,
        }
        body = {"oneOf": [shared("document"), shared("line")]}
    waiting = [*_references(body), *(name for each in defs.values() for name in _references(each))]
    while waiting:
        name = waiting.pop(0)
        if name not in defs:
            defs[name] = values[name]
            waiting += _references(values[name])
    head = {"$schema": DIALECT, "title": document.name, "description": f"{document.about}."}
    return head | body | ({"$defs": defs} if defs else {})


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix("#/$defs/")
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def file_text(document: Document, values: Mapping[str, Schema]) -> str:
    return json.dumps(schema_of(document, values), indent=2, ensure_ascii=False) + "\n"


def objects(schema: Any) -> Iterator[Schema]:
    """Every schema of an object in ``schema``."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


_TOP: Final = """\
# JSON documents

<!-- Generated (`make generated`) from tests/json_documents.py; edit that instead. -->

What the commands of duroctl print with `-o json` and `-o jsonl`, and what it writes to files, as JSON Schemas
(2020-12). The field `schema` of a document names its schema, with a version: `duroctl.instances/1` is in
[duroctl.instances.1.json](duroctl.instances.1.json). A schema says everything: a field that it does not name is never
printed, a field that is not always there is not in its `required`, and what may be null says so.

- With `-o json` a list is one document: `{"schema": ..., FIELD: [...], "next": ...}`. With `-o jsonl` each record is a
  line of its own, `{"schema": ..., ...}`, and a list without records prints nothing. Schemas of lists have both forms
  (`$defs` `document` and `line`); everything else is printed alike in both.
- Events of histories are printed byte for byte as they are stored. `history show -o jsonl` therefore prints lines
  without `schema`: each is the `$defs` `stored_event` of [duroctl.history.1.json](duroctl.history.1.json).
- Errors go to standard error, also beside a document that tells what was done nevertheless.
- Times are ISO-8601 in UTC with milliseconds (`created_at`), or, in fields that end in `_ms`, Unix milliseconds. Sizes
  are in bytes.

```console
$ duroctl instances list -o json > instances.json
$ check-jsonschema --schemafile docs/schemas/duroctl.instances.1.json instances.json
```
"""


def index(documents: Sequence[Document]) -> str:
    """docs/schemas/README.md."""
    lines = [_TOP, "## Printed", "", "| schema | printed by | what it is |", "|---|---|---|"]
    printed = [document for document in documents if document.printed_by]
    for document in printed:
        commands = ", ".join(each if each == EVERY else f"`{each}`" for each in document.printed_by)
        lines.append(f"| {link(document)} | {commands} | {document.about} |")
    lines += ["", "## In files", "", "| schema | what it is |", "|---|---|"]
    lines += [f"| {link(document)} | {document.about} |" for document in documents if document not in printed]
    return "\n".join(lines) + "\n"


def link(document: Document, directory: str = "") -> str:
    """As Markdown; ``directory``: of the files, as the page sees it."""
    return f"`{document.name}`" if document.body is None else f"[`{document.name}`]({directory}{document.file})"

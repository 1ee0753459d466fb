"""What is generated from the table of fields: the commented default file, the JSON Schema, the reference page. Pure."""

import json
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from duro.durations import DURATION_PATTERN
from duro.settings.check import header, written_key, written_text, written_value
from duro.settings.fields import (
    ARCHIVE,
    DEFAULT_POLICY,
    NO_SHELL_PATTERN,
    ORPHANS,
    OVERRIDE,
    PRUNING,
    PURGE,
    PURGE_OVERRIDE,
    ROLLOUT,
    ROOT,
    STORE,
    Field,
    Section,
)
from duro.settings.places import Path

STORE_URL: Final = "sqlite:///duro.db"
_WIDTH: Final = 116
_NAME: Final = "EternalProcessor"
_TOP: Final = """\
Settings of duro and duroctl: every key, with its default. Keys that start with # have no default and are off.
duroctl finds this file as ./runtime_config.toml or ./config/runtime_config.toml, through --config or DUROCTL_CONFIG,
or as ~/.config/duro/runtime_config.toml. `duroctl policy check FILE` checks it.
Durations are one number and one unit: 90s 30m 12h 7d 2w."""


def default_file(store_url: str = STORE_URL) -> str:
    """runtime_config.toml with every key, its default and a comment; it says the same as one with this store alone."""
    blocks = [_comment(_TOP)]
    for section, path, written in (
        (STORE, ("store",), True),
        (PRUNING, ("pruning",), True),
        (ROLLOUT, ("pruning", "rollout"), True),
        (DEFAULT_POLICY, ("pruning", "default"), False),
        (OVERRIDE, ("pruning", "overrides", _NAME), False),
        (PURGE, ("purge",), True),
        (PURGE_OVERRIDE, ("purge", "overrides", _NAME), False),
        (ORPHANS, ("orphans",), True),
        (ARCHIVE, ("archive",), True),
    ):
        blocks.append("\n".join(_section_lines(section, path, written)))
    text = "\n\n".join(blocks) + "\n"
    return text.replace(f"url = {written_text(STORE_URL)}", f"url = {written_text(store_url)}")


def _section_lines(section: Section, path: Path, written: bool) -> Iterator[str]:
    """``written``: the table itself is in the file; else it is a comment as a whole, to be taken out key by key."""
    mark = "" if written else "# "
    yield _comment(section.doc)
    yield mark + header(path)
    for field in section.fields:
        value = field.default if field.default is not None else field.example
        known = field.default is not None or field.name == "url"
        yield _comment(field.doc) if written else _comment(field.doc, "#   ")
        yield ("" if written and known else "# ") + written_value(value, field)


def _comment(text: str, mark: str = "# ") -> str:
    return "\n".join(mark + line for line in text.split("\n"))


# --- JSON Schema -------------------------------------------------------------------------------------------


def json_schema() -> dict[str, Any]:
    """A JSON Schema (2020-12) that accepts what the reader accepts, but for sums over keys (rollout pause and cap)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runtime_config.toml",
        **_schema_of_section(ROOT),
    }


def schema_text() -> str:
    """``json_schema`` as the file beside the default one."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _schema_of_section(section: Section) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": _joined(section.doc), "type": "object"}
    if section.members:
        return schema | {"additionalProperties": _schema_of_section(section.members), "propertyNames": {"minLength": 1}}
    properties = {field.name: _schema_of_field(field) for field in section.fields}
    properties |= {child.name: _schema_of_section(child) for child in section.sections}
    schema |= {"properties": properties, "additionalProperties": False}
    if section.requires_one_of:
        rules = {"anyOf": [{"required": [name]} for name in section.requires_one_of]}
        schema |= rules
    if section.alone:
        alone = {"required": [section.alone], "maxProperties": 1}
        schema["anyOf"] = [*schema["anyOf"], alone]
        schema["if"], schema["then"] = {"required": [section.alone]}, alone
    if section.needs:
        schema["dependentRequired"] = {key: [needed] for key, needed in section.needs}
    if section.if_true:
        first, second = section.if_true
        schema["if"] = {"properties": {first: {"const": True}}, "required": [first]}
        schema["then"] = {"required": [second]}
    if section.not_both:
        schema["not"] = {"required": list(section.not_both)}
    return schema


def _schema_of_field(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": _joined(field.doc)}
    match field.kind:
        case "boolean":
            schema["type"] = "boolean"
        case "true":
            schema["const"] = True
        case "count":
            schema |= {"type": "integer", "minimum": field.minimum, "maximum": field.maximum}
        case "duration":
            zero = "" if field.minimum == 0 else "(?!0+[smhdw]$)"
            schema |= {"type": "string", "pattern": f"^{zero}{DURATION_PATTERN}$"}
        case "text":
            schema |= {"type": "string", "minLength": 1, "pattern": NO_SHELL_PATTERN}
        case "choice":
            schema["enum"] = list(field.choices)
        case _:
            items = {"enum": list(field.choices)}
            schema |= {"type": "array", "items": items, "minItems": 1, "uniqueItems": True}
    return schema if field.default is None else schema | {"default": field.default}


def _joined(doc: str) -> str:
    return doc.replace("\n", " ")


# --- the reference page ------------------------------------------------------------------------------------

_PAGE_TOP: Final = """\
# Configuration

<!-- Generated from the table of settings (`make generated`); edit runtime/duro/settings/fields.py instead. -->

`runtime_config.toml` says where the store is and how long past executions are kept. duroctl finds it as
`./runtime_config.toml` or `./config/runtime_config.toml`, through `--config` or `DUROCTL_CONFIG`, or as
`~/.config/duro/runtime_config.toml`. `duroctl init` writes one with every key, its default and a comment. One that is
found and cannot be read, such as a symbolic link to a file that is gone, is an error and never passed over. A program
of your own names it: `duro.Runtime(store, registry, config="runtime_config.toml")`.

`duroctl policy check FILE` reports everything that is wrong with a file, each with file, line and column, and with
`--strict` also what is said in vain. `duroctl policy set NAME --keep-last 3`, `unset` and `edit` change a file:
comments, order and formatting stay (a policy that is removed takes the comments between its lines along, and those
right below it that are indented deeper than its header), what the change lets go is shown first, and the file is
replaced whole or not at all. `duroctl policy schema` prints its JSON Schema, for editors. Durations are one number and
one unit: `90s 30m 12h 7d 2w`.

All rules are rules that *keep*: an execution is removed only when none of the rules given keeps it. What a more
specific policy says replaces a more general one as a whole; nothing is merged.
"""


def reference_page() -> str:
    """docs/configuration.md."""
    return "\n".join([_PAGE_TOP, *_section_pages(ROOT, ())])


def _section_pages(section: Section, path: Path) -> Iterator[str]:
    if section.fields:
        yield _section_page(section, path)
    for child in section.sections:
        yield from _section_pages(child, (*path, child.name))
    if section.members:
        yield from _section_pages(section.members, (*path, section.members.name))


def _section_page(section: Section, path: Path) -> str:
    lines = [f"## `{header(path)}`", "", *textwrap.wrap(_joined(section.doc), _WIDTH), ""]
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    for field in section.fields:
        default = "-" if field.default is None else f"`{written_value(field.default)}`"
        cells = (f"`{written_key(field.name)}`", field.expected, default, _joined(field.doc).replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"

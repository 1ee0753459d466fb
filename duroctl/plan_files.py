"""Plans in files: written whole or not at all, and read back with a word about what is wrong."""

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from duro.errors import UsageError
from duro.model.pruning import PrunePlan
from duroctl.render.plans import PLAN_SCHEMA, plan_json
from duroctl.render.records import encode

_FILE_BYTES_MAX: Final = 1024 * 1024 * 1024


def plan_document(plan: PrunePlan) -> dict[str, Any]:
    """What ``--plan-out`` and ``-o json`` write and ``--apply`` reads."""
    return {"schema": PLAN_SCHEMA, **plan_json(plan)}


def write_plan(file: str, plan: PrunePlan) -> None:
    """Raises UsageError: there is such a file already, or it cannot be written."""
    path = Path(file)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "x", encoding="utf-8", opener=_private) as opened:
            opened.write(encode(plan_document(plan)) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        os.link(temporary, path)
    except FileExistsError as error:
        raise UsageError(f"--plan-out {file!r} is there already", hint="choose another name, or remove it") from error
    except OSError as error:
        raise UsageError(f"--plan-out {file!r} cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_plan(file: str) -> PrunePlan:
    """Raises UsageError: the file cannot be read, or is no plan."""
    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            data = opened.read(_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--apply {file!r} cannot be read: {reason}", hint="check the path") from error
    try:
        document = msgspec.json.decode(data)
        schema = document.pop("schema", None) if isinstance(document, dict) else None
        if schema != PLAN_SCHEMA:
            raise UsageError(
                f"--apply {file!r} is no plan: its schema is {schema!r}, not {PLAN_SCHEMA!r}",
                hint="duroctl prune --plan-out writes one",
            )
        return msgspec.convert(document, PrunePlan)
    except (msgspec.DecodeError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--apply {file!r} is no plan: {error}", hint="duroctl prune --plan-out writes one") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

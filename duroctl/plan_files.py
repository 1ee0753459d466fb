"""Plans in files: written whole or not at all, and read back with a word about what is wrong."""

from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from duro.disk import new_file
from duro.errors import UsageError
from duro.model.families import RemovalPlan
from duro.model.pruning import PrunePlan
from duro.model.retention import NAMED
from duroctl.parsing import check_new_file
from duroctl.render.plans import PLAN_SCHEMA, plan_json
from duroctl.render.records import encode
from duroctl.render.removals import PLAN_SCHEMA as REMOVAL_SCHEMA
from duroctl.render.removals import plan_json as removal_json
from duroctl.render.units import counted

T = TypeVar("T")

_FILE_BYTES_MAX: Final = 1024 * 1024 * 1024


def plan_document(plan: PrunePlan) -> dict[str, Any]:
    """What ``--plan-out`` and ``-o json`` write and ``--apply`` reads."""
    return {"schema": PLAN_SCHEMA, **plan_json(plan)}


def removal_document(plan: RemovalPlan) -> dict[str, Any]:
    """The same for a plan of whole instances."""
    return {"schema": REMOVAL_SCHEMA, **removal_json(plan)}


def write_plan(file: str, plan: PrunePlan) -> None:
    """Raises UsageError: there is such a file already, or it cannot be written."""
    _write(file, plan_document(plan))


def write_removal_plan(file: str, plan: RemovalPlan) -> None:
    """Raises UsageError: there is such a file already, or it cannot be written."""
    _write(file, removal_document(plan))


def _write(file: str, document: dict[str, Any]) -> None:
    if file == "-":
        raise UsageError("--plan-out takes a file", hint="`--dry-run -o json` prints the plan")
    check_new_file(file, "--plan-out")
    try:
        with new_file(Path(file), tidy=True) as part:
            part.write_text(encode(document) + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(f"--plan-out {file!r} is there already", hint="choose another name, or remove it") from error
    except OSError as error:
        hint = "check the disk and the directory's permissions"
        raise UsageError(f"--plan-out {file!r} cannot be written: {error.strerror}", hint=hint) from error


def read_plan(file: str) -> PrunePlan:
    """Raises UsageError: the file cannot be read, or is no plan of a prune, or contradicts itself."""
    plan = _read(file, PLAN_SCHEMA, PrunePlan, "duroctl prune --plan-out writes one")
    for instance in plan.instances:
        going = [item.verdict for item in instance.items if not item.verdict.keep]
        were_named = instance.rules is not None and all(NAMED in verdict.reasons for verdict in going)
        if going and not instance.rules and not were_named:
            raise _contradiction(file, f"instance {_shown(instance.instance_id)} has executions that go, and no rules")
        for execution in (item.execution for item in instance.items):
            life = "" if execution.incarnation == instance.incarnation else " in another life"
            if life or execution.instance_id != instance.instance_id:
                named, found = _shown(instance.instance_id), _shown(execution.instance_id)
                raise _contradiction(file, f"instance {named} has an execution of {found}{life}")
    removed = sum(1 for _ in plan.removals())
    if plan.totals.executions_removed != removed:
        said = f"its totals remove {counted(plan.totals.executions_removed, 'execution')}, and its items {removed}"
        raise _contradiction(file, said)
    return plan


def read_removal_plan(file: str) -> RemovalPlan:
    """Raises UsageError: the file cannot be read, or is no plan of whole instances, or contradicts itself."""
    hint = "duroctl instances purge --plan-out and duroctl orphans cleanup --plan-out write one"
    plan = _read(file, REMOVAL_SCHEMA, RemovalPlan, hint)
    removed = sum(item.instances for item in plan.items if not item.verdict.keep)
    if plan.totals.instances_removed != removed:
        said = f"its totals remove {counted(plan.totals.instances_removed, 'instance')}, and its items {removed}"
        raise _contradiction(file, said)
    if plan.running and {each.instance_id for each in plan.running} != set(plan.running_orphans):
        raise _contradiction(file, "the instances it would ask to cancel are not those it says still run")
    return plan


def _contradiction(file: str, what: str) -> UsageError:
    return UsageError(f"--apply {file!r} contradicts itself: {what}", hint="make the plan again")


def _read(file: str, schema: str, kind: type[T], hint: str) -> T:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123
            data = opened.read(_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"--apply {file!r} cannot be read: {reason}", hint="check the path") from error
    try:
        document = msgspec.json.decode(data)
        found = document.pop("schema", None) if isinstance(document, dict) else None
        if found != schema:
            problem = f"its schema is {_shown(found)}, not {schema!r}"
            raise UsageError(f"--apply {file!r} is no plan: {problem}", hint=hint)
        return msgspec.convert(document, kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"--apply {file!r} is no plan: {_cut(str(error), _SAID_CHARACTERS_MAX)}", hint=hint) from error


_SHOWN_CHARACTERS_MAX: Final = 80
_SAID_CHARACTERS_MAX: Final = 500
"""Of what the file holds, in an error: it may be of any length."""


def _shown(value: object) -> str:
    return _cut(ascii(value), _SHOWN_CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else f"{text[: characters_max - 3]}..."

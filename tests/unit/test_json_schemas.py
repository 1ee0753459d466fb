"""docs/schemas: complete, and true to the code whose values are printed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from jsonschema import Draft202012Validator

from duro.maintenance.archive import format as segments
from duro.maintenance.explaining import PolicyExplanation
from duro.maintenance.exporting import ExportResult
from duro.maintenance.going import Removable, RemovableWhole
from duro.maintenance.simulating import PolicySimulation, SimulatedName
from duro.model.archive import ArchivableExecution, ArchivableInstance, ArchivedLedgerRow, ArchivedLineage
from duro.model.checkup import CheckResult, Finding, Repair
from duro.model.families import OrphanRules, PurgeOptions, RemovalItem, RemovalPlan, RemovalTotals, SkippedInstance
from duro.model.ledger import LedgerRange
from duro.model.policies import PolicyChain, PolicyLink, StatedPolicy, UnitedPolicy
from duro.model.pruning import (
    ExecutionFacts,
    Hold,
    HoldTarget,
    InstancePlan,
    PlanItem,
    PlannedChild,
    PlanTotals,
    PlanWarning,
    PrunePlan,
    SkippedExecution,
    Verdict,
)
from duro.model.records import StoreInfo
from duro.model.removal import UndoResult
from duro.model.retention import AutoPrune, PolicyOrigin, PruneOptions
from duro.model.space import CompactResult, FileSizes, MarkedUsage, NameUsage
from duroctl.app import build
from tests.generated import ROOT, SCHEMAS
from tests.json_documents import DOCUMENTS, WITHOUT, documents_of
from tests.json_schemas import DIALECT, EVERY, Schema, objects

FILES: Final = sorted(SCHEMAS.glob("*.json"))
SOURCES: Final = [*(ROOT / "duroctl").rglob("*.py"), *(ROOT / "runtime" / "duro").rglob("*.py")]


def read(file: Path) -> Schema:
    found: Schema = json.loads(file.read_text(encoding="utf-8"))
    return found


def schema(name: str) -> Schema:
    return read(SCHEMAS / f"{name.replace('/', '.')}.json")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_a_schema_and_says_of_every_field_what_it_is(file: Path) -> None:
    whole = read(file)
    assert whole["$schema"] == DIALECT
    assert file.name == f"{whole['title'].replace('/', '.')}.json"
    Draft202012Validator.check_schema(whole)
    for each in objects(whole):
        assert each.get("additionalProperties", None) is False or "event_id" in each["properties"]
        for name, field in each["properties"].items():
            said = field if "$ref" not in field else {**whole["$defs"][field["$ref"].removeprefix("#/$defs/")], **field}
            assert said.get("description") or said.get("anyOf"), f"{name} is not described"
            assert said.keys() & {"type", "anyOf", "$ref"}, f"{name} has no type"


def test_every_name_in_the_code_has_a_schema_and_every_schema_a_name_in_the_code() -> None:
    text = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES)
    named = set(re.findall(r'"(duro(?:ctl)?\.[a-z_]+/[0-9]+)"', text))
    assert 'f"duroctl.{word}/1"' in text
    named |= {f"duroctl.{word}/1" for word in re.findall(r'_touched\("([a-z_]+)"\)', text)}
    assert named == {each.name for each in DOCUMENTS}
    assert [each.name for each in DOCUMENTS if each.body is None] == ["duro.export/1"], "a file of SQLite"
    assert {file.name for file in FILES} == {each.file for each in DOCUMENTS if each.body is not None}


def _commands(command: Any, context: Any, path: str = "") -> Iterator[str]:
    names = command.list_commands(context) if hasattr(command, "list_commands") else ()
    for name in names:
        yield from _commands(command.get_command(context, name), context, f"{path} {name}".strip())
    for word in getattr(command, "words", ()):
        yield from _commands(command.command_of(word), context, f"{path} {word}")
    if not names:
        yield path


def test_of_every_command_it_is_said_what_it_prints() -> None:
    root = build()
    context = root.make_context("duroctl", ["--help-is-not-asked"], resilient_parsing=True)
    commands = set(_commands(root, context))
    assert {command for command in commands if not documents_of(command)} == set(WITHOUT)
    said = {how for document in DOCUMENTS for how in document.printed_by if how != EVERY}
    assert {how for how in said if not any(f"{how} ".startswith(f"{command} ") for command in commands)} == set()


def part(name: str, *path: str) -> Schema:
    """An object inside a schema, by the names that lead to it through properties, items and references."""
    whole = schema(name)
    found = whole["$defs"]["document"] if "document" in whole.get("$defs", {}) else whole
    for key in path:
        found = _object(whole, found["properties"][key] if key in found.get("properties", {}) else whole["$defs"][key])
    return found


def _object(whole: Schema, found: Schema) -> Schema:
    while "properties" not in found:
        if "$ref" in found:
            found = whole["$defs"][found["$ref"].removeprefix("#/$defs/")]
        else:
            found = found["items"] if "items" in found else found["anyOf"][0]
    return found


PLAN, REMOVAL, WHY, SEGMENT = (
    "duroctl.prune_plan/1",
    "duroctl.removal_plan/1",
    "duroctl.policy_explanation/1",
    "duro.archive_segment/1",
)
WRITTEN_AS_THEY_ARE: Final[list[tuple[type, Schema, set[str]]]] = [
    (PrunePlan, part(PLAN), {"schema"}),
    (InstancePlan, part(PLAN, "instances"), set()),
    (PlanItem, part(PLAN, "instances", "items"), set()),
    (ExecutionFacts, part(PLAN, "facts"), set()),
    (Verdict, part(PLAN, "verdict"), set()),
    (PlannedChild, part(PLAN, "instances", "children"), set()),
    (PruneOptions, part(PLAN, "rules"), set()),
    (PolicyOrigin, part(PLAN, "origin"), set()),
    (PlanTotals, part(PLAN, "totals"), set()),
    (PlanWarning, part(PLAN, "warnings"), set()),
    (SkippedExecution, part("duroctl.prune_result/1", "skipped"), set()),
    (UndoResult, part("duroctl.prune_undo/1"), {"schema"}),
    (RemovalPlan, part(REMOVAL), {"schema"}),
    (RemovalItem, part(REMOVAL, "items"), set()),
    (RemovalTotals, part(REMOVAL, "totals"), set()),
    (PurgeOptions, part(REMOVAL, "purge_rules"), {"type"}),
    (OrphanRules, part(REMOVAL, "orphan_rules"), {"type"}),
    (SkippedInstance, part("duroctl.removal_result/1", "skipped"), set()),
    (CheckResult, part("duroctl.doctor/1", "checks"), set()),
    (Finding, part("duroctl.doctor/1", "checks", "findings"), set()),
    (Repair, part("duroctl.repairs/1", "repairs"), set()),
    (StoreInfo, part("duroctl.stats/1", "store"), set()),
    (MarkedUsage, part("duroctl.stats/1", "marked"), set()),
    (Removable, part("duroctl.stats/1", "removable"), set()),
    (NameUsage, part("duroctl.stats/1", "names"), {"share", "removable", "removable_whole"}),
    (
        PolicySimulation,
        part("duroctl.policy_simulation/1"),
        {"schema", "now", "then", "whole_now", "whole_then", "executions_more", "instances_more"},
    ),
    (SimulatedName, part("duroctl.policy_simulation/1", "names"), set()),
    (RemovableWhole, part("duroctl.policy_simulation/1", "whole_then"), set()),
    (PolicyExplanation, part(WHY), {"schema", "executions"}),
    (PolicyChain, part(WHY, "chains"), set()),
    (PolicyLink, part(WHY, "link"), set()),
    (UnitedPolicy, part(WHY, "united"), set()),
    (AutoPrune, part(WHY, "auto_prune"), set()),
    (Hold, part(WHY, "holds"), set()),
    (HoldTarget, part(WHY, "holds", "target"), set()),
    (StatedPolicy, part("duroctl.policies/1", "policies"), {"worker_id", "enabled", "settings_hash"}),
    (CompactResult, part("duroctl.compact/1"), {"schema"}),
    (FileSizes, part("duroctl.compact/1", "before"), set()),
    (ExportResult, part("duroctl.export/1"), {"schema", "file"}),
    (segments.Manifest, part("duro.archive_manifest/1"), set()),
    (segments.SegmentHead, part(SEGMENT, "head"), {"line"}),
    (segments.InstanceLine, part(SEGMENT, "instance"), {"line"}),
    (segments.HistoryHead, part(SEGMENT, "history"), {"line"}),
    (segments.SegmentEnd, part(SEGMENT, "end"), {"line"}),
    (ArchivableExecution, part(SEGMENT, "kept_execution"), set()),
    (ArchivableInstance, part(SEGMENT, "kept_instance"), set()),
    (ArchivedLineage, part(SEGMENT, "kept_lineage"), set()),
    (ArchivedLedgerRow, part(SEGMENT, "kept_instance", "ledger"), set()),
    (LedgerRange, part(SEGMENT, "kept_range"), set()),
]
"""Values that are printed field by field, their schemas, and the fields that are put beside them."""

ADDED_LATER: dict[type, set[str]] = {ArchivedLineage: {"given_up_at_ms"}}
"""Fields that files of an older duro do not have."""


@pytest.mark.parametrize(
    ("kind", "said", "beside"), WRITTEN_AS_THEY_ARE, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_value_that_is_written_as_it_is_has_the_fields_of_its_schema(
    kind: type, said: Schema, beside: set[str]
) -> None:
    omits = kind.__struct_config__.omit_defaults  # type: ignore[attr-defined]
    fields = msgspec.structs.fields(kind)
    assert said["properties"].keys() - beside == {field.encode_name for field in fields}
    left_out = {field.encode_name for field in fields if omits and not field.required} | ADDED_LATER.get(kind, set())
    assert said["properties"].keys() - set(said["required"]) == left_out
    for field in fields:
        if not (omits and field.default is None):  # then None is left out, and never null
            nullable = type(None) in getattr(field.type, "__args__", ())
            assert _may_be_null(said["properties"][field.encode_name]) == nullable, field.name


def _may_be_null(field: Schema) -> bool:
    if "anyOf" in field:
        return any(map(_may_be_null, field["anyOf"]))
    return "null" in ([field["type"]] if isinstance(field.get("type"), str) else field.get("type", []))

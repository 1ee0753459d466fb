"""The default file, the schema and the reference page: true to the table of settings and to each other."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli

from duro.errors import SettingsError
from duro.settings.check import check_document
from duro.settings.documents import default_file, json_schema, reference_page
from duro.settings.fields import ROOT, Section
from duro.settings.reading import read_settings
from tests.generated import generated_files


@pytest.mark.parametrize(("path", "text"), generated_files().items(), ids=lambda value: getattr(value, "name", ""))
def test_a_generated_file_is_up_to_date(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, "run `make generated`"


def _fields(section: Section) -> list[str]:
    inner = (*section.sections, *((section.members,) if section.members else ()))
    return [field.name for field in section.fields] + [name for each in inner for name in _fields(each)]


def test_the_default_file_says_the_same_as_an_empty_one() -> None:
    settings, empty = read_settings(default_file().encode(), "f"), read_settings(b"", "f")
    assert settings.store_url == "sqlite:///duro.db"
    assert settings.pruning == empty.pruning
    assert settings.effective_hash == empty.effective_hash


def test_the_default_file_and_the_page_name_every_key() -> None:
    written = re.findall(r"^(?:# )?([a-z_]+) = ", default_file(), re.MULTILINE)
    assert sorted(written) == sorted(_fields(ROOT))
    assert sorted(re.findall(r"^\| `([a-z_]+)` \|", reference_page(), re.MULTILINE)) == sorted(_fields(ROOT))


def _uncommented(text: str) -> str:
    return re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)


def test_what_is_commented_out_in_the_default_file_can_be_taken_in() -> None:
    head, _, policies = default_file().partition("# The policy of orchestrations")
    default, _, rest = policies.partition("# The policy of one orchestration")
    override, _, purge = rest.partition("# Automatic removal of whole instances")
    assert read_settings(_uncommented(head).encode(), "f").pruning.default is not None
    rules = read_settings(_uncommented(f"#{default}").encode(), "f").pruning.default
    assert rules is not None
    assert rules.rules is not None
    assert (rules.rules.keep_last, rules.rules.interval_s) == (3, 3_600)
    never = "# never = true"
    assert never in override
    for text in (override.replace(never, ""), f'\n[pruning.overrides."EternalProcessor"]\n{never}'):
        (policy,) = read_settings(_uncommented(f"#{text}").encode(), "f").pruning.overrides
        assert policy.name == "EternalProcessor"
    purging = _uncommented(f"#{purge}").replace("never = true", "").encode()
    assert [policy.name for policy in read_settings(purging, "f").purge.policies] == [None, "EternalProcessor"]


@pytest.mark.parametrize("url", ["sqlite:////a b/duro.db", 'sqlite:///a"b\\c', "sqlite:///é\x01"])
def test_the_default_file_can_name_any_store(url: str) -> None:
    assert read_settings(default_file(url).encode(), "f").store_url == url


GOOD = [
    "",
    default_file(),
    (
        '[pruning]\nenabled = true\ndefault_keep_last = 5\ntriggers = ["continue_as_new"]\n'
        '[pruning.overrides."EternalProcessor"]\nkeep_last = 1\n'
    ),
    "[pruning.default]\nkeep_within = '007d'\nevery_n_executions = 3\ninterval = '1h'",
    "[pruning.default]\nkeep_last_per_version = 1\nkeep_versions = 3",
    "[pruning.overrides]\n'a.*'.never = true",
    "[pruning.rollout]\npause = '0d'",
    "[purge]\nkeep_within = '30d'\nkeep_failed_within = '90d'\nkeep_last = 10\nenabled = false\ninterval = '5m'",
    "[purge.overrides]\n'a.*'.never = true\nb.keep_last = 3",
    "[orphans]\nenabled = true\nmin_age = '0s'\nchild_status = ['failed']\non_parent_continue = 'cancel'",
    "[archive]\nenabled = true\ndirectory = 'archive'\ninterval = '1h'\nlevel = 19",
    "[archive]\nenabled = false",
    "[archive]\ndirectory = '/var/archive'",
    "[archive]\ndirectory = './~archive'",
]
BAD = [
    "x = 1",
    "store = 1",
    "store.url = ''",
    "store.uri = 'x'",
    "pruning.enabled = 1",
    "pruning.default_keep_last = true",
    "pruning.default_keep_last = 0",
    "pruning.default_keep_last = 1000000001",
    "pruning.default_keep_last = 1.5",
    "pruning.default_keep_last = 1\npruning.default.keep_last = 1",
    "pruning.triggers = []",
    "pruning.triggers = 'interval'",
    "pruning.triggers = ['interval', 'interval']",
    "pruning.children = 'settle'",
    "pruning.default = {}",
    "pruning.default.never = true",
    "pruning.default.interval = '1h'",
    "pruning.default.completed_before = '2024'",
    "pruning.default.keep_versions = 1",
    "pruning.default = {keep_last = 1, keep_versions = 1}",
    "pruning.overrides = 1",
    "pruning.overrides.a = 1",
    "pruning.overrides.a.keep_within = '0d'",
    "pruning.overrides.a.keep_within = '7 d'",
    "pruning.overrides.a.keep_within = '1w1'",
    "pruning.overrides.a = {never = true, keep_last = 1}",
    "pruning.overrides.a.never = false",
    "pruning.overrides.''.keep_last = 1",
    "pruning.rollout.cap = '0s'",
    "purge.keep_failed_within = '90d'",
    "purge.overrides.a = {}",
    "purge.overrides.a = {never = true, keep_last = 1}",
    "purge.keep_within = '0d'",
    "purge.completed_before = '2024'",
    "orphans.on_parent_end = 'kill'",
    "orphans.child_status = ['running']",
    "orphans.child_status = []",
    "archive.enabled = true",
    "archive.directory = ''",
    "archive.directory = '~/archive'",
    "store.url = 'sqlite:///~/duro.db'",
    "archive.level = 0",
    "archive.level = 20",
    "archive.interval = '0s'",
]


def _schema_accepts(document: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(document))


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("text", GOOD)
def test_the_schema_accepts_what_is_read(text: str) -> None:
    document = tomli.loads(text)
    assert check_document(document).findings == ()
    assert _schema_accepts(document)


@pytest.mark.parametrize("text", BAD)
def test_the_schema_refuses_what_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        read_settings(text.encode(), "f")
    assert not _schema_accepts(tomli.loads(text))

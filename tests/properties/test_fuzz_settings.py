"""Configuration files of any bytes, and every key with every wrong kind of value: read, or refused with all that is
wrong and its place, by whoever reads or edits them. ``make fuzz`` runs many more."""

import tracemalloc
from collections.abc import Iterator
from typing import Any, Final

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from duro.errors import DuroError, SettingsError, UsageError
from duro.settings import reading
from duro.settings.documents import default_file
from duro.settings.edit import edit_policy
from duro.settings.fields import ROOT, Field, Section
from duro.settings.reading import FILE_BYTES_MAX, read_settings
from duro.settings.strict import vain_rules
from tests.support.fuzzing import count, damaged, falsifies, fuzz, outcome_of, texts

FULL: Final = b"""\
# settings
[store]
url = "sqlite:///duro.db"

[pruning]
enabled = true
triggers = ["continue_as_new", "interval"]
children = "settled"

[pruning.default]
keep_last = 5
keep_within = "7d"
every_n_executions = 10
interval = "1h"

[pruning.overrides."billing.*"]
keep_last_per_version = 2
keep_versions = 3

[pruning.overrides]
'Never one' = { never = true }
A.keep_last = 0x10

[pruning.rollout]
pause = "24h"
cap = '''7d'''

[purge]
keep_within = "30d"
keep_failed_within = "90d"

[purge.overrides.B]
keep_last = 1_000

[orphans]
on_parent_continue = "abandon"
enabled = true
min_age = "1h"
child_status = [
  "completed", # no more
  "failed",
]
"""


def documented(operations_of: bytes, call: Any, *errors: type[DuroError]) -> tuple[Any, DuroError | None]:
    return outcome_of(call, *errors, operations=50_000 + 100 * len(operations_of))


def is_read_or_refused_with_its_places(data: bytes) -> None:
    read, error = documented(data, lambda: read_settings(data, "f.toml"), SettingsError)
    count("refused" if error else "read")
    if error is None:
        assert read_settings(data, "f.toml") == read
        return
    assert isinstance(error, SettingsError)
    lines = data.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    for problem in error.problems:
        assert problem.file == "f.toml"
        assert problem.message
        assert problem.hint
        assert (problem.line, problem.column) == (0, 0) or (
            1 <= problem.line <= len(lines) and 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        )
    assert list(error.problems) == sorted(error.problems, key=lambda each: (each.line, each.column))


def is_edited_or_refused(case: tuple[bytes, str | None, dict[str, Any] | None]) -> None:
    data, name, policy = case
    edited, error = documented(data * 20, lambda: edit_policy(data, "f.toml", name, policy), SettingsError, UsageError)
    count("refused" if error else "edited")
    assert error is not None or read_settings(edited, "f.toml")


LITERALS: Final = (
    *("true", "false", "0", "1", "-1", "+7", "0x10", "1_000", "1" * 30, "9" * 5000, "1.5", "-0.0", "1e400", "inf"),
    *("nan", '""', '"7d"', '"0s"', '"-7d"', '"999999999999w"', "'settled'", '"x"', '"\\u0000"', '"\\u202e\\u001b[31m"'),
    *('"""\n7d"""', '"' + "x" * 5000 + '"', "[]", "[1]", '["completed"]', '["completed", "completed"]', "[[[[]]]]"),
    *("[{}]", "{}", "{a = 1}", "{ keep_last = 1 }", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *("[" * 500 + "]" * 500, '"postgresql://u:p@h/d"'),
)
KEYS: Final = ("keep_last", "store", "pruning", "overrides", "default", "never", '""', '"a.b"', "'é'", "a.b", '"\\n"')
HEADERS: Final = ("store", "pruning", "pruning.default", "pruning.overrides.A", "[x]", "x")
LARGE: Final = (
    b"[" * 20_000,
    b"a." * 10_000 + b"a = 1",
    b"x = " + b"{a=" * 5_000,
    b"\n" * 9_000 + b"[",
    b"a=1\n" * 2_000,
)


def fields_of(section: Section, path: str = "") -> Iterator[tuple[str, Field]]:
    for field in section.fields:
        yield path, field
    for child in section.sections:
        inner = f"{path}.{child.name}" if path else child.name
        yield from fields_of(child, inner)
        if child.members is not None:
            yield from fields_of(child.members, f"{inner}.Some")


@pytest.mark.parametrize(("table", "field"), [*fields_of(ROOT)], ids=lambda each: getattr(each, "name", each))
def test_every_key_with_every_kind_of_value_is_read_or_refused_where_it_stands(table: str, field: Field) -> None:
    for literal in LITERALS:
        data = f"[{table}]\n{field.name} = {literal}\n".encode()
        is_read_or_refused_with_its_places(data)
        is_read_or_refused_with_its_places(data.replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("literal", LITERALS, ids=lambda each: ascii(each[:20]))
def test_every_table_that_is_something_else_is_refused_where_it_stands(literal: str) -> None:
    for table in ("store", "pruning", "purge", "orphans", "pruning.default", "pruning.overrides.A", "pruning.rollout"):
        is_read_or_refused_with_its_places(f"{table} = {literal}\n".encode())


lines = st.one_of(
    st.sampled_from(FULL.decode().splitlines()),
    st.builds("{} = {}".format, st.sampled_from(KEYS), st.sampled_from(LITERALS)),
    st.builds(
        "[{}]".format, st.sampled_from(["store", "pruning", "pruning.default", "pruning.overrides.A", "[x]", "x"])
    ),
    texts,
)
files = st.one_of(
    st.binary(max_size=60),
    damaged(st.just(FULL)),
    damaged(st.just(default_file().encode())),
    st.builds(
        lambda mark, chosen, end: mark + end.join(chosen).encode("utf-8", "surrogatepass"),
        st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xff\xfe"]),
        st.lists(lines, max_size=10),
        st.sampled_from(["\n", "\r\n", "\r", "\0\n"]),
    ),
    st.sampled_from(
        [b"[" * 20_000, b"a." * 10_000 + b"a = 1", b"x = " + b"{a=" * 5_000, b"\n" * 20_000 + b"[", b"a=1\n" * 5_000]
    ),
)
policies = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["keep_last", "keep_within", "never", "interval", "x"]),
        st.one_of(st.integers(), st.booleans(), st.sampled_from(["7d", "0s", ""]), texts, st.floats(), st.none()),
        max_size=3,
    ),
)


@fuzz()
@given(files)
def test_whatever_a_file_holds_is_read_or_refused_with_its_places(data: bytes) -> None:
    is_read_or_refused_with_its_places(data)


@fuzz()
@given(st.tuples(files, st.one_of(st.none(), st.sampled_from(["A", "billing.*"]), texts), policies))
def test_whatever_a_file_holds_is_edited_so_that_it_can_be_read_or_left_alone(
    case: tuple[bytes, str | None, dict[str, Any] | None],
) -> None:
    is_edited_or_refused(case)


@fuzz()
@given(files, st.one_of(st.none(), st.frozensets(texts, max_size=3)))
def test_whatever_a_file_holds_is_checked_strictly_or_refused(data: bytes, names: frozenset[str] | None) -> None:
    found, error = documented(data, lambda: vain_rules(data, "f.toml", names), SettingsError)
    assert error is not None or all(each.message and each.hint for each in found)


@pytest.mark.parametrize(
    "data",
    [b"[" * FILE_BYTES_MAX, b"a=[" * 300_000, b'x = "' + b"y" * 900_000, b"#" * 2 * FILE_BYTES_MAX, b"a.b=1\n" * 9],
)
def test_what_is_refused_takes_no_more_memory_than_a_few_times_its_own_size(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(SettingsError) as caught:
            read_settings(data, "f.toml")
        assert tracemalloc.get_traced_memory()[1] < 40 * len(data) + 4_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 2_000


def test_a_reader_that_lets_the_errors_of_toml_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "parse", lambda text, file: tomli.loads(text))
    falsifies(files, is_read_or_refused_with_its_places, tomli.TOMLDecodeError, RecursionError)


def test_a_place_that_is_one_column_too_far_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_column", lambda text, error: error.colno + 1)
    printable = files.filter(lambda data: len(data) < 10_000)  # hypothesis warns of what it finds and can hardly print
    falsifies(printable, is_read_or_refused_with_its_places, AssertionError)

"""Command lines of any arguments, for every command: an exit status that is documented, one line about what is wrong,
valid output in the format asked for, and nothing changed when it is refused. ``make fuzz`` runs many more."""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import duro
from duroctl import app, output, parsing, session
from tests.support.command_lines import ENDLESS, LEFT_OUT, commands, dump, filled, run, workplace
from tests.support.fuzzing import TooManyOperations, as_json, count, falsifies, fuzz, json_values, texts

DOCUMENTED: Final = {int(code) for code in re.findall(r"(?<= )(\d+)  ", app.EXIT_CODES)}
REFUSALS: Final = {2, 4, 5, 6, 10, 11, 12, 20}
"""Exit statuses that promise that nothing was changed."""

IDS: Final = (
    "loop-1",
    "loop-2",
    "loop-3/2",
    "ended-0",
    "ended-1",
    "parent",
    "orphan-1",
    "nobody",
    "-",
    "loop-1/1",
    "undo",
)
FILES: Final = (
    "new.json",
    "plan.json",
    "removal.json",
    "runtime_config.toml",
    "broken.toml",
    "data.json",
    ".",
    "",
    "-",
)
ODD_FILES: Final = ("no/such", "a\x1b[31m", "a\nb", "a\udcff", "x" * 300, "a\0b", "duro.db", "pipe")
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "N": ("0", "1", "2", "3", "100", "-1", "9" * 15, "9" * 16, "9" * 5000, "１", "x", "1.5", ""),
    "DURATION": ("0s", "1s", "7d", "2w", "999999999999w", "soon", "-1d", ""),
    "TIME": ("now", "7d", "2026-11-25T10:00:00Z", "2026-11-25", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00Z", ""),
    "CURSOR": ("i:1", "e:1:1", "o:1", "i:" + "9" * 30, "x"),
    "STATUS": ("completed", "running", "blocked", "terminated", "x"),
    "KIND": ("unknown", "parent-closed", "x"),
    "JSON": ("1", "null", '"x"', "{", "[" * 5000, '{"a":"\\u202e"}', ""),
    "GLOB": ("*", "Or*", "[", "", "Report"),
    "MODULE:REGISTRY": ("nomodule:registry", "json:dumps", "json", "", ":", "a.b:c"),
    "PORT": ("0", "-1", "99999999", "x"),
}


safe_texts = texts.filter(lambda text: "/" not in text and ".." not in text and "\0" not in text)
"""Operating systems have no NUL in arguments, and no file is to be made outside the directory of the test."""


def values_of(kind: str) -> st.SearchStrategy[str]:
    if "FILE" in kind or "DIR" in kind:
        return st.one_of(st.sampled_from(FILES), st.sampled_from(ODD_FILES), safe_texts)
    if "INSTANCE" in kind or kind == "ID":
        return st.one_of(st.sampled_from(IDS), safe_texts)
    if "MODULE" in kind:
        return st.sampled_from(VALUES[kind])
    return st.one_of(st.sampled_from(VALUES[kind]), safe_texts) if kind in VALUES else safe_texts


@st.composite
def command_lines(draw: st.DrawFn, paths: Sequence[tuple[str, ...]] = ()) -> tuple[str, ...]:
    """Of these commands; (): of any."""
    path = draw(st.sampled_from(paths or sorted(commands())))
    line = list(path)
    for parameter in draw(st.lists(st.sampled_from(commands()[path]), max_size=5)) if commands()[path] else ():
        for _ in range(draw(st.integers(1, 2)) if parameter.several else 1):
            if not parameter.kind:
                line.append(draw(st.sampled_from(parameter.flags)))
                continue
            value = draw(values_of(parameter.kind))
            match draw(st.integers(0, 3)) if parameter.flags else -1:
                case 0:
                    line.append(f"{parameter.flags[0]}={value}")
                case 1:
                    line.append(parameter.flags[0])  # and its value is forgotten
                case -1:
                    line.append(value)
                case _:
                    line += [draw(st.sampled_from(parameter.flags)), value]
    if path in ENDLESS:
        line.insert(1, draw(st.sampled_from(["--bogus", "--output=xml"])))
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(safe_texts))
    line += draw(
        st.sampled_from([(), ("-o", "json"), ("-o", "json"), ("-o", "jsonl"), ("-o", "csv"), ("-o", "ids"), ("-q",)])
    )
    line += draw(st.sampled_from([(), (), ("-y",), ("-v",)]))
    return tuple(each for each in line if not is_left_out(each))


def is_left_out(argument: str) -> bool:
    """Also its abbreviations, and with a value."""
    name = argument.partition("=")[0]
    return name in ("-h", "-f") or any(len(name) > 2 and long.startswith(name) for long in LEFT_OUT)


def format_of(line: tuple[str, ...]) -> str:
    chosen = "table"
    for position, each in enumerate(line):
        if each in ("-o", "--output") and position + 1 < len(line):
            chosen = line[position + 1]
    return "json" if "--json" in line else chosen


def steers_no_terminal(text: str) -> bool:
    return all(c.isprintable() or c in "\n\t\r" for c in text)


def is_answered_as_documented(case: tuple[tuple[str, ...], bytes]) -> None:
    line, stdin = case
    with workplace() as directory:
        before = dump(directory)
        ran = run(line, stdin)
        count(f"exit status {ran.code}")
        assert ran.code in DOCUMENTED, ran
        assert not re.search(r"unexpected [A-Z]", ran.err), ran.err
        assert "Traceback" not in ran.err or "-v" in line or "--verbose" in line, ran.err
        assert steers_no_terminal(ran.err), ran.err
        if ran.code in REFUSALS:
            assert dump(directory) == before
        if ran.code in REFUSALS - {20} and line[:2] != ("policy", "check"):  # whose result is what is wrong
            assert ran.out == ""
            assert ran.err
        chosen = format_of(line)
        if line[:2] == ("policy", "schema") or chosen == "json":
            assert not ran.out or json.loads(ran.out)
        elif chosen == "jsonl":
            assert all(isinstance(json.loads(each), dict) for each in ran.out.splitlines())
        elif chosen == "csv":
            rows = list(csv.reader(io.StringIO(ran.out, newline="")))
            assert len({len(row) for row in rows}) <= 1 or line[0] in ("init",), rows
        assert chosen == "csv" or steers_no_terminal(ran.out), ran.out


inputs = st.one_of(
    st.just(b""),
    st.binary(max_size=30),
    st.lists(st.sampled_from([b"loop-1", b'"loop-2"', b"loop-1/2", b"\xff", b'"', b"a\0b", b""])).map(b"\n".join),
    json_values.map(lambda each: as_json(each).encode("utf-8", "surrogatepass")),
)
cases = st.tuples(command_lines(), inputs)


@fuzz()
@given(cases)
def test_any_command_line_is_answered_as_documented(case: tuple[tuple[str, ...], bytes]) -> None:
    is_answered_as_documented(case)


def test_every_exit_status_that_is_documented_is_known_here() -> None:
    assert {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 20, 130, 141} == DOCUMENTED
    assert len(commands()) > 30


@pytest.mark.parametrize("path", sorted(commands()), ids=" ".join)
def test_every_command_answers_without_arguments_and_with_too_many(path: tuple[str, ...]) -> None:
    if path not in ENDLESS:
        is_answered_as_documented((path, b""))
        is_answered_as_documented(((*path, "-o", "json"), b""))
    is_answered_as_documented(((*path, *"abcdefghij"), b""))
    is_answered_as_documented(((*path, "--bogus", "-o", "json"), b""))


# --- what must be found --------------------------------------------------------------------------------------


def test_a_command_that_lets_an_error_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(text: str, option: str) -> int:
        return {"1": 1}[text]

    monkeypatch.setattr(parsing, "parse_count", careless)
    falsifies(cases, is_answered_as_documented, AssertionError)


def test_a_command_that_loops_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(text: str, option: str) -> int:
        while text.startswith(option[:0]):
            continue
        return 0

    monkeypatch.setattr(parsing, "parse_count", endless)
    falsifies(cases, is_answered_as_documented, TooManyOperations)


def test_a_note_among_the_results_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "note", lambda text: sys.stdout.write(f"{text}\n"))
    falsifies(cases, is_answered_as_documented, AssertionError, json.JSONDecodeError)


def test_text_that_steers_a_terminal_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "id_line", lambda text: text)
    listed = st.tuples(st.sampled_from([("instances", "list", "-o", "ids"), ("stats",)]), inputs)
    falsifies(listed, is_answered_as_documented, AssertionError)


def test_a_refusal_that_comes_after_something_was_done_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(self: duro.Client, *_: object, **__: object) -> None:
        self.terminate("loop-1")
        raise duro.StalePlanError("too late")

    filled()  # by the methods as they are
    monkeypatch.setattr(duro.Client, "cancel", hasty)
    monkeypatch.setattr(duro.Client, "add_hold", hasty)
    monkeypatch.setattr(duro.Client, "set_instance_policy", hasty)
    lines = command_lines([("instances", "cancel"), ("holds", "add"), ("policy", "set")])
    falsifies(st.tuples(lines, inputs), is_answered_as_documented, AssertionError)

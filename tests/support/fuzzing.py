"""What the fuzz tests share: how many examples, what may be raised, how much work an input may cost, and values and
texts that are nearly right.

``make fuzz`` runs the same tests with many more examples (``DURO_FUZZ_EXAMPLES``).
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from hypothesis import HealthCheck, Phase, currently_in_test_context, find, settings
from hypothesis import event as hypothesis_event
from hypothesis import strategies as st

from duro.errors import DuroError

EXAMPLES: Final = int(os.environ.get("DURO_FUZZ_EXAMPLES", "100"))

_UNHURRIED: Final = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]


def fuzz(*, part: int = 1) -> settings:
    """The settings of a fuzz test; ``part``: one that costs so many times more than others runs so much less often."""
    return settings(
        deadline=None, max_examples=max(EXAMPLES // part, 5), suppress_health_check=_UNHURRIED, print_blob=True
    )


# --- what may happen -----------------------------------------------------------------------------------------


class TooManyOperations(BaseException):
    """Code called more functions than its input is worth: it hangs, or would with a larger one."""


@contextmanager
def operations_at_most(calls: int) -> Iterator[None]:
    """Calls of functions, in Python and in C, of this thread. A deadline that does not depend on the machine."""
    left = calls

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        if event in ("call", "c_call"):
            left -= 1
            if left < 0:
                sys.setprofile(None)
                raise TooManyOperations(f"more than {calls} calls")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
    if left < 0:  # raised, and swallowed by somebody
        raise TooManyOperations(f"more than {calls} calls")


def outcome_of(
    call: Callable[[], Any], *documented: type[DuroError], operations: int = 100_000
) -> tuple[Any, DuroError | None]:
    """What ``call`` returns, or the documented error it raises; anything else it raises is raised here, too.

    Raises:
        AssertionError: the error says nothing, or not in text that can be written anywhere.
    """
    try:
        with operations_at_most(operations):
            return call(), None
    except documented as raised:
        refusal = raised
    assert refusal.message
    str(refusal).encode()
    assert refusal.hint is None or refusal.hint
    return None, refusal


def count(what: str) -> None:
    """For ``--hypothesis-show-statistics``: how often this happened."""
    if currently_in_test_context():
        hypothesis_event(what)


def falsifies(strategy: st.SearchStrategy[Any], broken: Callable[[Any], Any], *error: type[BaseException]) -> None:
    """A planted fault is found: among the examples of ``strategy`` is one for which ``broken`` raises ``error``.

    Raises:
        hypothesis.errors.NoSuchExample: the fuzz test that draws from it could not fail.
    """

    def fails(example: Any) -> bool:
        try:
            broken(example)
        except error:
            return True
        return False

    find(
        strategy,
        fails,
        settings=settings(fuzz(), max_examples=2_000, database=None, phases=[Phase.generate], derandomize=True),
    )


# --- values --------------------------------------------------------------------------------------------------

ODD_TEXTS: Final = (
    *("", " ", "\0", "a\0b", "\ud800", "a\udcff", "\ufeff", "\u202e", "\x1b[31m", "\n", "\r\n", "\x9b", "é" * 128),
    *("-", "--", "-1", "--help", "*", "[", "[!", "%s", "{}", "'", "''", '"', "'; DROP TABLE instances; --", "../x"),
    *("null", "true", "1", "0", "nan", "inf", "1e400", "９", "²", "now", "7d", "x" * 10_000, "sqlite:///x"),
)
ODD_NUMBERS: Final = (
    *(0, 1, -1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, 10**400, 10**5000),
    *(0.5, -0.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
)

texts: Final = st.one_of(st.sampled_from(ODD_TEXTS), st.text(st.characters(), max_size=12))
"""Among them NUL, lone surrogates, what steers a terminal, what steers SQL, and what is too long."""

numbers: Final[st.SearchStrategy[Any]] = st.one_of(st.sampled_from(ODD_NUMBERS), st.integers(), st.floats())

anything: Final[st.SearchStrategy[Any]] = st.one_of(
    st.none(), st.booleans(), numbers, texts, st.binary(max_size=8), st.lists(st.integers(), max_size=2)
)
"""A value of a kind, mostly a wrong one."""

json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)

DEEP: Final = ("[" * 20_000, '{"a":' * 4_000, "[" * 3_000 + "]" * 3_000, '{"x":' * 2_000 + "1" + "}" * 2_000)


# --- mutations -----------------------------------------------------------------------------------------------


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, each in inner:
        yield from _places(each, (*path, key))


@st.composite
def mutated_documents(draw: st.DrawFn, documents: st.SearchStrategy[Any], times: int = 3) -> Any:
    """A JSON document of ``documents`` in which up to ``times`` values were replaced, removed, doubled or renamed."""
    document: Any = json.loads(json.dumps(draw(documents)))
    for _ in range(draw(st.integers(1, times))):
        paths = [path for path in _places(document) if path]
        if not paths:
            break
        path = draw(st.sampled_from(paths))
        owner, last = document, path[-1]
        for key in path[:-1]:
            owner = owner[key]
        match draw(st.sampled_from(["replace", "nudge", "remove", "double", "rename"])):
            case "replace":
                owner[last] = draw(json_values)
            case "nudge" if isinstance(owner[last], int):
                owner[last] += draw(st.sampled_from([-1, 1, 2**31, 2**63, -(2**64)]))
            case "remove":
                del owner[last]
            case "double" if isinstance(owner, list):
                owner.append(owner[last])
            case "rename" if isinstance(owner, dict):
                owner[draw(texts)] = owner.pop(last)
    return document


def as_json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of ``whole`` that were cut, of which some were changed, or into which something was put."""
    data = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "change", "insert", "double"])):
            case "cut":
                data = data[:at]
            case "change":
                data = data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
            case "insert":
                data = (
                    data[:at]
                    + draw(st.sampled_from([b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b'"', b"9" * 5000]))
                    + data[at:]
                )
            case "double":
                data = data[:at] + data[max(0, at - 8) :]
    return data

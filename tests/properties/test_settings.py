"""Settings files in every legal form: places are where they are said to be, and an edit is right or refused."""

import os
from typing import Any, Final

import tomli
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from duro.errors import EditRefusedError, SettingsError
from duro.settings.check import check_document, written_text
from duro.settings.edit import edit_policy
from duro.settings.places import PARTS_MAX, scan
from duro.settings.reading import read_settings

EXAMPLES: Final = int(os.environ.get("DURO_PROPERTY_EXAMPLES", "300"))
properties = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])

NAMES: Final = ("A", "billing.*", 'quo"te', "back\\slash", "é ü", "# no comment", "b]", "a = 1", "keep_last")
ODD: Final = '"\\u00e9\\"\\\\ # = ]" '.strip()

# --- policies and files ------------------------------------------------------------------------------------

counts = st.integers(min_value=1, max_value=99)
spans = st.sampled_from(["90s", "30m", "12h", "7d", "2w"])
rules = st.builds(
    lambda kept, times: kept | times,
    st.one_of(
        st.fixed_dictionaries({"keep_last": counts}, optional={"keep_within": spans}),
        st.fixed_dictionaries({"keep_within": spans}),
    ),
    st.fixed_dictionaries({}, optional={"every_n_executions": counts, "interval": spans}),
)
policies = st.one_of(rules, st.just({"never": True}))
overrides = st.dictionaries(st.sampled_from(NAMES), policies, max_size=4)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A valid runtime_config.toml in one of many forms."""
    named = draw(overrides)
    default = draw(st.sampled_from([None, "short", "table"]))
    short = [f"default_keep_last = {draw(counts)}"] if default == "short" else []
    plain = draw(
        st.lists(st.sampled_from(['children = "keep"', "enabled = true", "rollout.pause = '1h'"]), unique=True)
    )
    form = draw(st.sampled_from(["headers", "dotted", "root", "inline", "all_inline", "root_inline"]))
    tail = ["[pruning.default]", "keep_last = 4"] if default == "table" else []
    match form:
        case "headers":
            lines = ["[pruning]", *short, *plain]
            for name, policy in named.items():
                lines += [f"[pruning.overrides.{draw(keys(name))}]", *pairs(draw, policy)]
        case "dotted":
            lines = ["[pruning]", *short, *plain]
            for name, policy in named.items():
                lines += [f"overrides . {draw(keys(name))}.{pair}" for pair in pairs(draw, policy)]
        case "root":
            lines = [f"pruning.{line}" for line in (*short, *plain)]
            for name, policy in named.items():
                lines += [f"pruning.overrides.{draw(keys(name))}.{pair}" for pair in pairs(draw, policy)]
        case "inline":
            lines = ["[pruning]", *short, *plain, "[pruning.overrides]"]
            lines += [f"{draw(keys(name))} = {inline(draw, policy)}" for name, policy in named.items()]
        case "all_inline":
            inner = ", ".join(f"{draw(keys(name))} = {inline(draw, policy)}" for name, policy in named.items())
            lines = ["[pruning]", *short, *plain, f"overrides = {{ {inner} }}"]
        case _:
            inner = ", ".join(f"{draw(keys(name))} = {inline(draw, policy)}" for name, policy in named.items())
            table = ["default = {keep_last = 4}"] if tail else []
            around = ", ".join([*short, *plain, *table, *([f"overrides = {{{inner}}}"] if named else [])])
            lines, tail = [f"pruning = {{{around}}}"], []
    store = ["[store]", "url = '''sqlite:///a\n# not a comment\n[x]'''"] if draw(st.booleans()) else []
    return rendered(draw, [*lines, *tail, *store])


def keys(name: str) -> st.SearchStrategy[str]:
    literal = [f"'{name}'"]
    bare = [name] if name.isascii() and name.replace("_", "").isalnum() else []
    return st.sampled_from([written_text(name), *literal, *bare])


def pairs(draw: st.DrawFn, policy: dict[str, Any]) -> list[str]:
    return [
        f"{draw(keys(key))}{draw(st.sampled_from([' = ', '=']))}{value(draw, each)}" for key, each in policy.items()
    ]


def inline(draw: st.DrawFn, policy: dict[str, Any]) -> str:
    return "{" + ", ".join(pairs(draw, policy)) + "}"


def value(draw: st.DrawFn, each: Any) -> str:
    if isinstance(each, bool):
        return "true"
    if isinstance(each, int):
        return draw(st.sampled_from([str(each), f"+{each}", hex(each)]))
    return draw(st.sampled_from([f'"{each}"', f"'{each}'", f'"""{each}"""', f"'''\n{each}'''"[:3] + f"{each}'''"]))


def rendered(draw: st.DrawFn, lines: list[str]) -> bytes:
    """With comments, blank lines and indentation anywhere, either line end, a byte order mark, no last line end."""
    text = ""
    for line in lines:
        text += draw(st.sampled_from(["", "", "\n", "# [pruning] x = {\n", "  # 'comment\n"]))
        text += draw(st.sampled_from(["", "", "  ", "\t"])) + line
        text += draw(st.sampled_from(["", "", " ", ' # trailing ] } "'])) + "\n"
    text += draw(st.sampled_from(["", "# the end\n"]))
    text = text if draw(st.booleans()) else text.removesuffix("\n")
    text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + text.encode()


# --- places ------------------------------------------------------------------------------------------------


def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, each in table.items():
        found |= leaves(each, (*path, key)) if isinstance(each, dict) else {(*path, key): each}
    return found


def tables(table: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    inner = {(*path, key): each for key, each in table.items() if isinstance(each, dict)}
    return set(inner).union(*(tables(each, name) for name, each in inner.items()))


@properties
@given(files())
def test_a_value_replaced_at_its_place_changes_that_key_and_no_other(data: bytes) -> None:
    text = data.decode().removeprefix("\ufeff")
    document = tomli.loads(text)
    places = scan(text)
    assert set(places) == set(leaves(document)) | tables(document)
    for path in leaves(document):
        place = places[path]
        marked = leaves(tomli.loads(text[: place.value] + '"marked"' + text[place.end :]))
        assert marked == leaves(document) | {path: "marked"}


scalars = st.sampled_from(
    [
        "1",
        "-1.5e3",
        "inf",
        "true",
        "1979-05-27 07:32:00Z",
        "07:32:00",
        '""',
        "''",
        '"a\\"#]"',
        '"""a""b\n"c"""""',
        "'''x''y'''''",
    ]
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: "[ " + ",# ]\n ".join(each) + "\n]"),
        st.lists(inner, max_size=3).map(
            lambda each: "{" + ", ".join(f'k{n} . "x.{n}" = {one}' for n, one in enumerate(each)) + "}"
        ),
    ),
    max_leaves=8,
)


@properties
@given(st.lists(st.tuples(values, st.sampled_from(["", " # [c] = ", "  "])), max_size=5), st.booleans())
def test_any_toml_is_scanned_like_its_reader_reads_it(lines: list[tuple[str, str]], header: bool) -> None:
    written = [f"{ODD}.k{number} = {each}{after}\n" for number, (each, after) in enumerate(lines)]
    text = ("[ 'a.b' . c ]\n" if header else "") + "".join(written) + "[[list]]\nx = 1\n"
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError:  # an array in a table on one line has line ends of its own in newer TOML only
        event("refused by the reader")
        return
    places = scan(text)
    for path in leaves(document):
        if path != ("list",) and len(path) <= PARTS_MAX:
            place = places[path]
            marked = tomli.loads(text[: place.value] + '"marked"' + text[place.end :])
            assert leaves(marked)[path] == "marked"


# --- edits -------------------------------------------------------------------------------------------------


def intended(document: dict[str, Any], name: str | None, policy: dict[str, Any] | None) -> dict[str, Any]:
    pruning = document.setdefault("pruning", {})
    if name is None:
        pruning.pop("default_keep_last", None)
        pruning.pop("default", None)
    holder, key = (pruning, "default") if name is None else (pruning.setdefault("overrides", {}), name)
    holder.pop(key, None)
    if policy is not None:
        holder[key] = policy
    return document


def effect(data: bytes) -> tuple[Any, ...]:
    """What the file does, without where it says so."""
    read = read_settings(data, "f")
    named = {policy.name: policy.rules for policy in read.pruning.overrides}
    return (
        read.store_url,
        read.pruning.default and read.pruning.default.rules,
        named,
        read.pruning._replace(default=None, overrides=()),
    )


def expected_effect(data: bytes, name: str | None, policy: dict[str, Any] | None) -> tuple[Any, ...]:
    """``effect`` of a file written anew with what is intended."""
    document = intended(tomli.loads(data.decode().removeprefix("\ufeff")), name, policy)
    lines = [
        f"{'.'.join(written_text(part) for part in path)} = {toml(each)}" for path, each in leaves(document).items()
    ]
    return effect("\n".join(lines).encode())


def toml(each: Any) -> str:
    if isinstance(each, bool):
        return "true" if each else "false"
    return str(each) if isinstance(each, int) else written_text(each)


def is_own(line: str, name: str | None) -> bool:
    """Whether a line may belong to the policy that is edited: generously, by the words on it."""
    words = ("default",) if name is None else (name, written_text(name)[1:-1])
    rule = ("keep_", "never", "every_n", "interval", "pruning = {", "overrides = {")
    return any(word in line for word in (*words, *rule))


@properties
@given(files(), st.sampled_from((*NAMES, "New", None)), st.one_of(st.none(), policies))
def test_an_edit_is_what_was_intended_and_leaves_every_other_line_alone_or_is_refused(
    data: bytes, name: str | None, policy: dict[str, Any] | None
) -> None:
    if name is None and policy == {"never": True}:
        policy = None
    try:
        edited = edit_policy(data, "f", name, policy)
    except EditRefusedError:
        event("refused")
        return
    event("edited" if edited != data else "nothing to do")
    assert effect(edited) == expected_effect(data, name, policy)
    remaining = iter(edited.decode().removeprefix("\ufeff").splitlines())
    for text in data.decode().removeprefix("\ufeff").splitlines():
        comment = not text or text.lstrip().startswith("#")
        if (comment and policy is not None) or not (comment or is_own(text, name)):
            assert text in remaining
    assert edited.startswith(b"\xef\xbb\xbf") == data.startswith(b"\xef\xbb\xbf")
    if b"\r\n" in data and b"\n" not in data.replace(b"\r\n", b""):
        assert b"\n" not in edited.replace(b"\r\n", b"")


@properties
@given(files(), st.sampled_from(NAMES), policies)
def test_a_policy_that_is_set_twice_is_set_once(data: bytes, name: str, policy: dict[str, Any]) -> None:
    try:
        once = edit_policy(data, "f", name, policy)
    except EditRefusedError:
        return
    assert edit_policy(once, "f", name, policy) == once


# --- any bytes ---------------------------------------------------------------------------------------------

words = ["true", "pruning", "overrides", "keep_last", "default", "0x" + "f" * 30]
lines = ["[pruning]\n", "[pruning.overrides.x]\n", "keep_last = 1\n"]
fragments = st.sampled_from([*"[]{}=.,\n\r#\"'\\\0\ufeff 1", '"""', *words, *lines])


@properties
@given(st.one_of(st.binary(max_size=40), st.lists(fragments, max_size=20).map(lambda each: "".join(each).encode())))
def test_whatever_a_file_holds_is_read_or_reported_with_its_place(data: bytes) -> None:
    try:
        read_settings(data, "f")
    except SettingsError as error:
        lines = data.decode(errors="replace").split("\n")
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), spans),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["pruning", "overrides", "default", "keep_last", "never", "rollout", "pause", "cap", "x"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@properties
@given(st.dictionaries(st.sampled_from(["store", "pruning", "x"]), json_values, max_size=3))
def test_no_document_makes_the_check_raise(document: dict[str, Any]) -> None:
    for finding in check_document(document).findings:
        assert finding.message
        assert finding.hint

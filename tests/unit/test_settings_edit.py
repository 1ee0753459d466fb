"""Edits of policies: the text that comes out, and what is refused."""

import re
from typing import Any

import pytest

from duro.errors import EditRefusedError, SettingsError, UsageError
from duro.settings import edit
from duro.settings.edit import edit_policy
from duro.settings.reading import read_settings

FILE = """\
# top
[pruning]
default_keep_last = 5 # five

# the eternal one
[pruning.overrides."A.b"]
keep_last = 1   # one
# why
keep_within = "7d"

# rollouts
[pruning.rollout]
pause = "1h"
"""
ROOT_KEYS = """\
pruning.enabled = true
  pruning.overrides.A.keep_last = 1 # x
store.url = "a"
"""
ON_ONE_LINE = """\
[pruning]
overrides = {A = {keep_last = 1}, B.keep_last = 2} # both
"""
Policy = dict[str, Any] | None


def _edited(text: str, name: str | None, policy: Policy) -> str:
    return edit_policy(text.encode(), "f", name, policy).decode()


@pytest.mark.parametrize(
    ("name", "policy", "before", "after"),
    [
        ("A.b", {"keep_last": 2, "keep_within": "7d"}, "keep_last = 1   # one", "keep_last = 2   # one"),
        ("A.b", {"keep_last": 1, "interval": "1h"}, 'keep_within = "7d"\n', 'interval = "1h"\n'),
        (
            "A.b",
            None,
            '[pruning.overrides."A.b"]\nkeep_last = 1   # one\n# why\nkeep_within = "7d"\n',
            "",
        ),
        ("New", {"never": True}, 'pause = "1h"\n', 'pause = "1h"\n\n[pruning.overrides."New"]\nnever = true\n'),
        (None, {"keep_last": 9}, "default_keep_last = 5 # five", "default_keep_last = 9 # five"),
        (None, None, "default_keep_last = 5 # five\n", ""),
    ],
)
def test_an_edit_changes_these_lines_of_a_file_and_no_other(
    name: str | None, policy: Policy, before: str, after: str
) -> None:
    assert FILE.count(before) == 1
    assert _edited(FILE, name, policy) == FILE.replace(before, after)


def test_a_default_that_keep_last_alone_does_not_say_becomes_a_table() -> None:
    expected = FILE.replace("default_keep_last = 5 # five\n", "") + '\n[pruning.default]\nkeep_within = "2w"\n'
    assert _edited(FILE, None, {"keep_within": "2w"}) == expected
    assert _edited(expected, None, {"keep_last": 3}) == expected.replace('keep_within = "2w"', "keep_last = 3")


@pytest.mark.parametrize(
    ("text", "name", "policy", "expected"),
    [
        ("", "A", {"keep_last": 1}, '[pruning.overrides."A"]\nkeep_last = 1\n'),
        (
            ROOT_KEYS,
            "A",
            {"keep_last": 4, "keep_within": "7d"},
            ROOT_KEYS.replace("1 # x\n", '4 # x\n  pruning.overrides.A.keep_within = "7d"\n'),
        ),
        (ROOT_KEYS, "A", None, ROOT_KEYS.replace("  pruning.overrides.A.keep_last = 1 # x\n", "")),
        (ROOT_KEYS, "B", {"never": True}, ROOT_KEYS + '\n[pruning.overrides."B"]\nnever = true\n'),
        (ON_ONE_LINE, "B", {"keep_last": 3}, ON_ONE_LINE.replace("B.keep_last = 2", "B.keep_last = 3")),
        (ON_ONE_LINE, "A", {"never": True}, ON_ONE_LINE.replace("{keep_last = 1}", "{never = true}")),
        (ON_ONE_LINE, "A", None, "[pruning]\noverrides = {B = {keep_last = 2}} # both\n"),
        (
            "pruning = {enabled = true}\n",
            None,
            {"keep_last": 3},
            "pruning = {enabled = true, default = {keep_last = 3}}\n",
        ),
        (
            "pruning = {enabled = false, default = {keep_last = 1}, 'rollout' = {}}\n",
            None,
            None,
            "pruning = {enabled = false, rollout = {}}\n",
        ),
        (
            ON_ONE_LINE,
            "x.y",
            {"keep_within": "7d"},
            ON_ONE_LINE.replace("B.keep_last = 2}", 'B = {keep_last = 2}, "x.y" = {keep_within = "7d"}}'),
        ),
        ("[pruning]\r\n", "A", {"keep_last": 1}, '[pruning]\r\n\r\n[pruning.overrides."A"]\r\nkeep_last = 1\r\n'),
        ("\ufeff[pruning]", "A", {"keep_last": 1}, '\ufeff[pruning]\n\n[pruning.overrides."A"]\nkeep_last = 1\n'),
    ],
)
def test_a_policy_is_edited_in_the_form_it_is_written_in(
    text: str, name: str | None, policy: Policy, expected: str
) -> None:
    assert _edited(text, name, policy) == expected


@pytest.mark.parametrize(
    ("name", "policy"),
    [("nobody", None), ("A.b", {"keep_last": 1, "keep_within": "7d"}), (None, {"keep_last": 5})],
)
def test_an_edit_that_changes_nothing_gives_the_file_itself(name: str | None, policy: Policy) -> None:
    data = FILE.encode()
    assert edit_policy(data, "f", name, policy) is data


def test_a_wrong_policy_is_refused_before_the_text_is_touched() -> None:
    with pytest.raises(UsageError, match=r"\[pruning.overrides.x\] keep_last must be a whole number"):
        _edited(FILE, "x", {"keep_last": 0})
    with pytest.raises(UsageError, match="never is for overrides only"):
        _edited("", None, {"never": True})


def test_a_value_that_no_file_can_hold_is_refused_in_text_that_can_be_printed() -> None:
    with pytest.raises(UsageError, match=r'not "\\ud800"') as refused:
        edit_policy(b"", "f.toml", None, {"keep_last": "\ud800"})
    assert str(refused.value).isascii()


def test_a_file_that_is_wrong_already_is_not_edited() -> None:
    with pytest.raises(SettingsError, match="f:1:2: unknown key"):
        _edited("[prunning]\n", "A", {"keep_last": 1})


@pytest.mark.parametrize(
    ("text", "name", "policy", "expected"),
    [
        (
            'pruning = { enabled = true, children = "keep", overrides = { "x y" = { keep_last = 3 } } } # agreed\n',
            "x y",
            None,
            'pruning = { enabled = true, children = "keep", overrides = {} } # agreed\n',
        ),
        (
            "pruning = { enabled = true, default_keep_last = 4 } # c\n",
            None,
            {"keep_within": "9d"},
            'pruning = {enabled = true, default = {keep_within = "9d"}} # c\n',
        ),
        ("pruning = {overrides = {A = {keep_last = 3}}} # all\n", "A", None, "pruning = {overrides = {}} # all\n"),
        (
            "pruning = {children = 'keep', overrides.A.keep_last = 3} # c\n",
            "A",
            {"keep_within": "7d"},
            'pruning = {children = "keep", overrides = {A = {keep_within = "7d"}}} # c\n',
        ),
    ],
)
def test_an_edit_inside_braces_keeps_what_else_is_in_them_and_the_comment_behind(
    text: str, name: str | None, policy: Policy, expected: str
) -> None:
    assert _edited(text, name, policy) == expected


HARD = "[pruning]\noverrides = {\n  A = {keep_last = 1}, # one\n}\n"
"""A table over several lines, with a comment inside: it cannot be written anew without losing the comment."""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HARD, HARD.replace("{\n  A", "{ New = {keep_last = 2},\n  A")),
        ("[pruning]\noverrides = { # none yet\n}\n", None),
        (
            "pruning = {\n enabled = true, # c\n}\n",
            "pruning = { overrides.New = {keep_last = 2},\n enabled = true, # c\n}\n",
        ),
    ],
)
def test_a_policy_is_added_to_a_table_in_braces_over_several_lines(text: str, expected: str | None) -> None:
    edited = _edited(text, "New", {"keep_last": 2})
    assert expected in (None, edited)
    assert [line for line in text.splitlines() if "#" in line and "{ #" not in line] == [
        line for line in edited.splitlines() if "#" in line and "{ #" not in line and "New" not in line
    ]


def _pasted(text: str, refused: EditRefusedError) -> str:
    """``text`` with the snippet where it is said to go."""
    lines = text.splitlines()
    numbers = [int(each) for each in re.findall(r"[0-9]+", refused.where)]
    if refused.where.startswith("in the braces"):
        lines[numbers[0] - 1] = lines[numbers[0] - 1].replace("{", "{" + refused.snippet.strip() + ",", 1)
    elif refused.where.startswith("in place"):
        lines[numbers[0] - 1 : numbers[-1]] = refused.snippet.splitlines()
    else:
        lines += refused.snippet.splitlines()
    return "\n".join(lines) + "\n"


def test_a_file_that_cannot_be_edited_safely_is_refused_with_what_to_write_and_where() -> None:
    text = '[pruning.overrides]\nqueue = {\n  keep_last = 3, # agreed\n  keep_within = "7d",\n}\n'
    with pytest.raises(EditRefusedError, match="f: it is written in a way that this edit could not keep") as caught:
        _edited(text, "queue", {"keep_last": 5})
    refused = caught.value
    assert (refused.snippet, refused.where) == ("queue = {keep_last = 5}\n", "in place of what lines 2 to 5 say of it")
    assert refused.hint == "write the policy by hand"
    assert read_settings(_pasted(text, refused).encode(), "f") == read_settings(
        b"[pruning.overrides]\nqueue = {keep_last = 5}\n", "f"
    )
    short = "pruning = {\n default_keep_last = 3, # c\n}\n"
    with pytest.raises(EditRefusedError) as caught:
        _edited(short, None, {"keep_within": "9d"})
    assert caught.value.where == "in the braces that open in line 1, in place of default_keep_last"
    assert read_settings(_pasted(short.replace("default_keep_last = 3,", ""), caught.value).encode(), "f")


def test_a_table_in_braces_with_comments_in_it_is_not_written_anew() -> None:
    written = "[pruning]\noverrides.queue = {keep_last = 3, # why three\n keep_within = '3d'}\n"
    with pytest.raises(EditRefusedError) as caught:
        _edited(written, "queue", {"keep_last": 5})
    assert caught.value.snippet == "overrides.queue = {keep_last = 5}\n"
    assert read_settings(_pasted(written, caught.value).encode(), "f")


def test_a_removal_that_cannot_be_made_safely_is_refused() -> None:
    text = "[pruning]\noverrides = { A.keep_last = 1,\n}\n"
    with pytest.raises(EditRefusedError) as caught:
        _edited(text, "A", None)
    assert caught.value.snippet == ""
    assert caught.value.hint == "remove the policy by hand"


@pytest.mark.parametrize(
    "wrong",
    [
        "[pruning",
        "[prunning]\n",
        FILE,
        FILE.replace("# top\n", "") + "overrides.New.keep_last = 2\n",
        FILE.replace("# rollouts", "# Rollouts") + "\n[pruning.overrides.New]\nkeep_last = 2\n",
        FILE.replace("keep_last = 1 ", "keep_last = 3 ") + "\n[pruning.overrides.New]\nkeep_last = 2\n",
    ],
)
def test_a_splice_that_went_wrong_is_never_taken(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit, "_candidates", lambda *_: iter([wrong]))
    with pytest.raises(EditRefusedError):
        _edited(FILE, "New", {"keep_last": 2})


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_policy_that_was_added_and_removed_again_leaves_the_file_as_it_was(newline: str) -> None:
    before = FILE.replace("\n", newline)
    added = _edited(before, "New", {"keep_last": 3})
    assert added != before
    assert _edited(added, "New", None) == before


@pytest.mark.parametrize(
    ("below", "left"),
    [
        ("  # indented\n\t# and more\n\n# later\n", "\n# later\n"),
        ("# at the margin\n", "# at the margin\n"),
        ('  # about b\n  [pruning.overrides."b"]\n  keep_last = 2\n', None),
        ("", ""),
    ],
)
def test_a_policy_that_is_removed_takes_the_comments_that_are_indented_below_it(below: str, left: str | None) -> None:
    text = '[pruning]\nenabled = true\n[pruning.overrides."a"]\nkeep_last = 3\n' + below
    assert _edited(text, "a", None) == "[pruning]\nenabled = true\n" + (below if left is None else left)

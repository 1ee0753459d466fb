"""What a runtime_config.toml says, and everything that is said about one that is wrong."""

from pathlib import Path

import pytest

from duro.errors import SettingsError
from duro.settings.reading import FILE_BYTES_MAX, read_settings
from duro.settings.values import (
    ArchiveSettings,
    OrphanSettings,
    PolicyRules,
    PruningSettings,
    PurgeRules,
    PurgeSettings,
    RuntimeSettings,
    SettingsPolicy,
    SettingsPurge,
)

GOLDEN = Path(__file__).parent / "golden"
PROPOSAL = """\
# runtime_config.toml
[pruning]
enabled = true
default_keep_last = 5
triggers = ["continue_as_new"]
[pruning.overrides."EternalProcessor"]
keep_last = 1
"""


def _read(text: str | bytes) -> RuntimeSettings:
    return read_settings(text if isinstance(text, bytes) else text.encode(), "f")


def _problems(text: str | bytes) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        _read(text)
    assert caught.value.exit_code == 6
    return [str(problem) for problem in caught.value.problems]


def test_a_wrong_value_hides_no_other_error_of_its_table() -> None:
    assert len(_problems("[archive]\nenabled = true\nlevel = 99\n")) == 2
    wrong = _problems('[pruning.default]\nkeep_versions = 0\ninterval = "1"\n')
    assert ["keep_last_per_version, which is not given" in each for each in wrong].count(True) == 1
    assert len(wrong) == 3
    for misled in ("keep_lsat = 3", "never = false\nkeep_last = 1"):
        assert len(_problems(f'[pruning.overrides."a"]\n{misled}\n')) == 1
    assert len(_problems('[pruning.rollout]\npause = 7\ncap = "1s"\n')) == 1


def test_an_empty_file_has_the_defaults() -> None:
    pruning = PruningSettings(
        enabled=True,
        triggers=("continue_as_new", "interval"),
        children="keep",
        default=None,
        overrides=(),
        rollout_pause_s=0,
        rollout_cap_s=604_800,
    )
    ends = ("completed", "failed", "cancelled", "terminated")
    assert _read("") == RuntimeSettings(
        "f",
        None,
        pruning,
        PurgeSettings(enabled=True, policies=(), interval_s=3_600),
        OrphanSettings("abandon", "cancel", enabled=False, min_age_s=3_600, child_status=ends, interval_s=600),
    )


def test_the_example_of_the_proposal_is_read_as_it_stands() -> None:
    settings = _read(PROPOSAL)
    assert settings.store_url is None
    assert settings.pruning == PruningSettings(
        enabled=True,
        triggers=("continue_as_new",),
        children="keep",
        default=SettingsPolicy(None, PolicyRules(keep_last=5), "f", 4),
        overrides=(SettingsPolicy("EternalProcessor", PolicyRules(keep_last=1), "f", 6),),
        rollout_pause_s=0,
        rollout_cap_s=604_800,
    )
    assert settings.pruning.overrides[0].origin == "f:6"


def test_every_key_is_read() -> None:
    settings = _read("""
[store]
url = "sqlite:///x.db"
[pruning]
enabled = false
triggers = ["interval"]
children = "settled"
[pruning.default]
keep_last = 3
keep_within = "7d"
keep_last_per_version = 2
keep_versions = 4
every_n_executions = 10
interval = "30m"
[pruning.overrides]
"billing.*" = { keep_within = "90s" }
audit.never = true
[pruning.rollout]
pause = "24h"
cap = "2w"
[purge]
enabled = false
keep_within = "30d"
keep_failed_within = "90d"
keep_last = 100
interval = "2h"
[purge.overrides]
"billing.*" = { keep_last = 7 }
audit.never = true
[orphans]
on_parent_continue = "cancel"
on_parent_end = "terminate"
enabled = true
min_age = "0s"
child_status = ["failed", "completed"]
interval = "1m"
[archive]
enabled = true
directory = "kept"
interval = "5m"
level = 9
""")
    everything = PolicyRules(
        keep_last=3,
        keep_within_s=604_800,
        keep_last_per_version=2,
        keep_versions=4,
        every_n_executions=10,
        interval_s=1_800,
    )
    overrides = (
        SettingsPolicy("billing.*", PolicyRules(keep_within_s=90), "f", 16),
        SettingsPolicy("audit", None, "f", 17),
    )
    default = SettingsPolicy(None, everything, "f", 8)
    pruning = PruningSettings(False, ("interval",), "settled", default, overrides, 86_400, 1_209_600)
    days = 86_400
    policies = (
        SettingsPurge(
            None, PurgeRules(keep_within_s=30 * days, keep_failed_within_s=90 * days, keep_last=100), "f", 21
        ),
        SettingsPurge("billing.*", PurgeRules(keep_last=7), "f", 28),
        SettingsPurge("audit", None, "f", 29),
    )
    purge = PurgeSettings(enabled=False, policies=policies, interval_s=7_200)
    orphans = OrphanSettings("cancel", "terminate", True, 0, ("failed", "completed"), 60)
    archive = ArchiveSettings(True, "kept", 300, 9)
    assert settings == RuntimeSettings("f", "sqlite:///x.db", pruning, purge, orphans, archive)
    assert settings.purge.policies[1].origin == "f:28"


def test_a_file_with_many_errors_is_reported_whole_in_the_order_of_the_file() -> None:
    reported = "".join(f"{line}\n" for line in _problems((GOLDEN / "many_errors.toml").read_bytes()))
    assert reported == (GOLDEN / "many_errors.txt").read_text()


def test_the_error_itself_shows_the_first_problem_and_counts_the_others() -> None:
    with pytest.raises(SettingsError) as caught:
        _read("[store]\nurl = 1\n[pruning]\nenabled = 1\n")
    assert str(caught.value) == (
        "f:2:7: [store] url must be a text that is not empty, not 1 (and 1 more: `duroctl policy check f` lists them); "
        'write it like url = "sqlite:///duro.db"'
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[store\n", "f:1:7: Expected ']' at the end of a table declaration; correct the TOML"),
        ('[store]\nurl = "a\n', "f:2:9: Illegal character '\\n'; correct the TOML"),
        ('"\\', "f:1:3: Unescaped '\\' in a string; correct the TOML"),
        ("[store]\nurl = ", "f:2:7: Invalid value; correct the TOML"),
        ('[store]\r\nurl = "\0"\r\n', "f:2:8: Illegal character '\\x00'; correct the TOML"),
        (b"[store]\n# \xff\n", "f:2:3: it is not UTF-8 text; save it as UTF-8"),
        ("# é\n".encode() + b"# \xff", "f:2:3: it is not UTF-8 text; save it as UTF-8"),
        ("\ufeffé = ".encode() + b"\xff", "f:1:5: it is not UTF-8 text; save it as UTF-8"),
        ("a = 1\nb = " + "[" * 60_000, "f:2:5: brackets or keys are nested too deeply; write it with fewer levels"),
        ("b = " + "[\n" * 5_000, "f:1:5: brackets or keys are nested too deeply; write it with fewer levels"),
        (
            "b.b = 1\n" + ".".join(["a"] * 2_000),
            "f:2:1: brackets or keys are nested too deeply; write it with fewer levels",
        ),
        ("a = 12\nb = " + "9" * 5_000, "f:2:5: a number has thousands of digits; write a smaller one"),
        (
            b" " * (FILE_BYTES_MAX + 1),
            "f: it has more than 1048576 bytes, which is the most that is read; name a runtime_config.toml",
        ),
    ],
    ids=range(13),
)
def test_what_is_no_toml_is_reported_with_its_place(text: str | bytes, problem: str) -> None:
    assert _problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[store]\nurl='a'\n# b\r\n  url='b'\n", "f:4:3: [store] url is given twice, first in line 2, column 1"),
        ("[store]\n[pruning]\n\n[store]\n[", "f:4:2: [store] is given twice, first in line 1, column 2"),
        ("a = 1\n'a' = [\n  2,\n]\nb", "f:2:1: a is given twice, first in line 1, column 1"),
        (
            "[pruning.overrides.\"a b\"]\nkeep_last = 2\n[pruning.overrides.'a b']\n",
            'f:3:2: [pruning.overrides."a b"] is given twice, first in line 1, column 2',
        ),
        ("[a]\nb = 1\n[a.b.c]\n", "f:3:2: [a.b] is given twice, first in line 2, column 1"),
        ("[a]\nb = 1\nb.c = 2\n", "f:3:1: [a] b is given twice, first in line 2, column 1"),
        ("a.b = 1\n[a]\n", "f:2:2: [a] is given twice, first in line 1, column 1"),
        ("[a]\nb = {c = {d = 1}, c = 2, ", "f:2:19: [a.b] c is given twice, first in line 2, column 6"),
        ("a = {b = 1, c = {d = '}', d = ", "f:1:31: Invalid value"),
        ("a = {b = 1, c = {d = '}', d = 2", "f:1:27: [a.c] d is given twice, first in line 1, column 18"),
        ("[[a]]\nb = 1\n[[a]]\nb = 1\nb = 2", "f:5:1: [a] b is given twice, first in line 4, column 1"),
        ("[[a]]\n[a]\n", "f:2:2: [a] is given twice, first in line 1, column 3"),
        ("a = {}\n[a.b]\nc = 1", "f:2:2: [a] is given twice, first in line 1, column 1"),
        ("a = {}\n\n a = {b = 1}", "f:3:2: a is given twice, first in line 1, column 1"),
        ("a = [{b = 1, b = 2}]", "f:1:19: Duplicate inline table key 'b'"),
        ("x.x.x.x.x.x.x.x.x = 1\nx.x.x.x.x.x.x.x.x = 2", "f:2:22: Cannot overwrite a value"),
    ],
    ids=range(16),
)
def test_what_is_given_twice_is_reported_with_both_places(text: str, problem: str) -> None:
    hint = "keep one of them" if " twice" in problem else "correct the TOML"
    assert _problems(text) == [f"{problem}; {hint}"]


COUNT = "must be a whole number from 1 to 1000000000, not"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keep_last = true", f"4:13: [pruning.overrides.x] keep_last {COUNT} true; write it like keep_last = 3"),
        ("keep_last = 0", f"4:13: [pruning.overrides.x] keep_last {COUNT} 0; write it like keep_last = 3"),
        ("keep_last = -1", f"4:13: [pruning.overrides.x] keep_last {COUNT} -1; write it like keep_last = 3"),
        ("keep_last = 1.5", f"4:13: [pruning.overrides.x] keep_last {COUNT} 1.5; write it like keep_last = 3"),
        ("keep_last = nan", f"4:13: [pruning.overrides.x] keep_last {COUNT} nan; write it like keep_last = 3"),
        ('keep_last = "3"', f'4:13: [pruning.overrides.x] keep_last {COUNT} "3"; write it like keep_last = 3'),
        ("keep_last = {}", f"4:13: [pruning.overrides.x] keep_last {COUNT} a table; write it like keep_last = 3"),
        (
            "keep_last = [0x" + "f" * 9_000 + "]",
            f"4:13: [pruning.overrides.x] keep_last {COUNT} an array of other things; write it like keep_last = 3",
        ),
        (
            "keep_last = 0x" + "f" * 9_000,
            (
                f"4:13: [pruning.overrides.x] keep_last {COUNT} a number of more than 20 digits; "
                "write it like keep_last = 3"
            ),
        ),
        (
            "keep_last = '" + "x" * 70 + "'",
            f'4:13: [pruning.overrides.x] keep_last {COUNT} "{"x" * 39}...{"x" * 9}"; write it like keep_last = 3',
        ),
        (
            "keep_last = 2024-01-01",
            f"4:13: [pruning.overrides.x] keep_last {COUNT} 2024-01-01; write it like keep_last = 3",
        ),
        (
            'keep_within = "7 d"',
            '4:15: [pruning.overrides.x] keep_within "7 d" is not a duration; write it like 90s, 30m, 12h, 7d or 2w',
        ),
        (
            "keep_within = 7",
            (
                "4:15: [pruning.overrides.x] keep_within must be a duration of at least 1s, not 7; "
                'write it like keep_within = "7d"'
            ),
        ),
        (
            'keep_within = "0d"',
            (
                '4:15: [pruning.overrides.x] keep_within must be a duration of at least 1s, not "0d"; '
                'write it like keep_within = "7d"'
            ),
        ),
        (
            'keep_within = "99999999w"',
            (
                '4:15: [pruning.overrides.x] keep_within "99999999w" is longer than a century; '
                "write it like 90s, 30m, 12h, 7d or 2w"
            ),
        ),
        ("never = false", "4:9: [pruning.overrides.x] never can only be true; leave it out"),
        ("never = 1", "4:9: [pruning.overrides.x] never must be true, not 1; write it like never = true"),
        ("never = true\nkeep_last = 1", "5:1: keep_last does not go with never = true; remove one of them"),
        (
            "# nothing",
            (
                "3:2: [pruning.overrides.x]: it names nothing to keep; "
                "give one of keep_last, keep_within, keep_last_per_version"
            ),
        ),
        (
            "interval = '1h'",
            (
                "3:2: [pruning.overrides.x]: it names nothing to keep; "
                "give one of keep_last, keep_within, keep_last_per_version"
            ),
        ),
        (
            "keep_versions = 2",
            (
                "4:1: keep_versions goes with keep_last_per_version, which is not given; "
                "give keep_last_per_version too, or remove keep_versions"
            ),
        ),
        (
            "completed_before = 2024-01-01",
            (
                "4:1: completed_before is for calls, not for policies: a date does not move on with time; "
                'write an age, such as keep_within = "7d"'
            ),
        ),
        ("kep_last = 3", '4:1: unknown key "kep_last" in [pruning.overrides.x]; did you mean keep_last?'),
        ("archive = 3", '4:1: unknown key "archive" in [pruning.overrides.x]; it is a table of its own: [archive]'),
        ("children = 3", '4:1: unknown key "children" in [pruning.overrides.x]; it belongs in [pruning]'),
        (
            "zzz = 3",
            (
                '4:1: unknown key "zzz" in [pruning.overrides.x]; known here: keep_last, keep_within, '
                "keep_last_per_version, keep_versions, every_n_executions, interval, never"
            ),
        ),
    ],
    ids=lambda value: value[:24],
)
def test_a_wrong_policy_is_reported_with_its_place(text: str, problem: str) -> None:
    assert _problems(f"\n\n[pruning.overrides.x]\n{text}\n") == [f"f:{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pruning = 5", "f:1:1: pruning is not a table; write [pruning] and its keys below"),
        ("[[pruning]]", "f:1:3: [pruning] is an array of tables; write it once, with single brackets"),
        ("pruning = []", "f:1:1: pruning is not a table; write [pruning] and its keys below"),
        (
            "[pruning]\noverrides.x = 1",
            "f:2:1: pruning.overrides.x is not a table; write [pruning.overrides.x] and its keys below",
        ),
        ("[pruning.default]\nnever = true", "f:2:1: never is for overrides only; leave [pruning.default] out"),
        ("[prune]", 'f:1:2: unknown key "prune"; did you mean pruning?'),
        ("[purges]", 'f:1:2: unknown key "purges"; did you mean purge?'),
        (
            "[pruning]\ndefault_keep_last = 2\n[pruning.default]\nkeep_last = 3",
            "f:2:1: default_keep_last and default are both given; keep one of them",
        ),
        (
            "[pruning.rollout]\npause = '8d'",
            "f:2:1: pause 8d is longer than cap 7d; raise cap or shorten pause",
        ),
        (
            '[pruning]\nchildren = "settle"',
            'f:2:12: [pruning] children must be one of "keep", "settled", not "settle"; did you mean "settled"?',
        ),
        (
            "[pruning]\nchildren = 1",
            'f:2:12: [pruning] children must be one of "keep", "settled", not 1; write it like children = "keep"',
        ),
        (
            "[pruning]\ntriggers = []",
            (
                'f:2:12: [pruning] triggers must be an array of one or more of "continue_as_new", "interval", not []; '
                'write it like triggers = ["continue_as_new", "interval"]'
            ),
        ),
        (
            '[pruning]\ntriggers = "interval"',
            (
                'f:2:12: [pruning] triggers must be an array of one or more of "continue_as_new", "interval", not '
                '"interval"; write it like triggers = ["continue_as_new", "interval"]'
            ),
        ),
        (
            '[pruning]\ntriggers = ["intervall"]',
            (
                'f:2:12: [pruning] triggers must be an array of one or more of "continue_as_new", "interval", '
                'not ["intervall"]; did you mean "interval"?'
            ),
        ),
        (
            '[pruning]\ntriggers = ["interval", "interval"]',
            'f:2:12: [pruning] triggers names something twice: ["interval", "interval"]; remove the second one',
        ),
        (
            "[pruning]\nenabled = 1",
            "f:2:11: [pruning] enabled must be true or false, not 1; write it like enabled = true",
        ),
        (
            '[store]\nurl = "a\\u0000"',
            'f:2:7: [store] url must be a text that is not empty, not "a\\u0000"; write it like url = "sqlite:///duro.db"',
        ),
        (
            '[pruning.overrides.""]\nkeep_last = 1',
            "f:1:2: orchestration name '' is empty; write the name of an orchestration, or a pattern",
        ),
        (
            f"[pruning.overrides.{'x' * 256}]\nkeep_last = 1",
            (
                f"f:1:2: orchestration name '{'x' * 39}...{'x' * 9}' is 256 bytes long, and at most 255 are allowed; "
                "write the name of an orchestration, or a pattern"
            ),
        ),
    ],
    ids=lambda value: value[:24],
)
def test_a_wrong_setting_is_reported_with_its_place(text: str, problem: str) -> None:
    assert _problems(text) == [problem]


@pytest.mark.parametrize("name", ["a.b", "billing.*", "a b", 'quo"te', "back\\slash", "é", "[x]", "#", "a=b"])
def test_names_with_dots_and_patterns_are_one_name(name: str) -> None:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    settings = _read(f'[pruning.overrides."{escaped}"]\nkeep_last = 2\n')
    assert [(policy.name, policy.line) for policy in settings.pruning.overrides] == [(name, 1)]


def test_a_byte_order_mark_and_windows_line_ends_are_read_and_do_not_shift_places() -> None:
    settings = _read(b"\xef\xbb\xbf[pruning]\r\ndefault_keep_last = 2\r\n")
    assert settings.pruning.default == SettingsPolicy(None, PolicyRules(keep_last=2), "f", 2)
    assert _problems(b"\xef\xbb\xbfx = 1\r\ny = 2\r\n") == [
        'f:1:1: unknown key "x"; known here: store, pruning, purge, orphans, archive',
        'f:2:1: unknown key "y"; known here: store, pruning, purge, orphans, archive',
    ]


def test_a_key_of_many_parts_is_an_unknown_key() -> None:
    known = "store, pruning, purge, orphans, archive"
    assert _problems(".".join(["a"] * 900) + " = 1") == [f'f:1:1: unknown key "a"; known here: {known}']


def test_the_hash_is_of_what_the_settings_do_and_not_of_how_they_are_written() -> None:
    one = _read(
        '[store]\nurl = "sqlite:///a.db"\n[pruning]\ndefault_keep_last = 2\n'
        "overrides.b.never = true\noverrides.a.keep_last = 1"
    )
    other = _read(
        "[pruning.overrides]\na = {keep_last = 1, every_n_executions = 1}\nb = {never = true}\n"
        '[pruning]\nchildren = "keep"\ntriggers = ["interval", "continue_as_new"]\ndefault.keep_last = 2'
    )
    assert one.effective_hash == other.effective_hash
    assert len(one.effective_hash) == 32


@pytest.mark.parametrize(
    "change",
    [
        "enabled = false",
        'triggers = ["interval"]',
        'children = "settled"',
        "default_keep_last = 1",
        "default.keep_within = '1d'",
        "overrides.a.keep_last = 1",
        "overrides.b.keep_last = 1",
        "overrides.a.never = true",
        "rollout.pause = '1h'",
        "rollout.cap = '1h'",
    ],
)
def test_every_setting_of_pruning_changes_the_hash(change: str) -> None:
    assert _read(f"[pruning]\n{change}\n").effective_hash != _read("").effective_hash


def test_an_archive_that_is_in_use_changes_the_hash_and_one_that_is_not_does_not() -> None:
    enabled = '[archive]\nenabled = true\ndirectory = "a"\n'
    assert _read(enabled).effective_hash != _read("").effective_hash
    assert _read(enabled.replace('"a"', '"b"')).effective_hash != _read(enabled).effective_hash
    assert _read('[archive]\ndirectory = "a"\n').effective_hash == _read("").effective_hash


def test_a_path_that_only_a_shell_expands_is_refused_at_its_place() -> None:
    text = b'[store]\nurl = "sqlite:///~/duro.db"\n[archive]\ndirectory = "~ann/kept"\n'
    assert _problems(text) == [
        'f:2:7: [store] url begins with ~, which only a shell expands: "sqlite:///~/duro.db"; write the whole path',
        'f:4:13: [archive] directory begins with ~, which only a shell expands: "~ann/kept"; write the whole path',
    ]


def test_an_archive_needs_a_directory() -> None:
    assert _problems(b"[archive]\nenabled = true\n") == [
        "f:2:1: enabled = true goes with directory, which is not given; give directory too"
    ]

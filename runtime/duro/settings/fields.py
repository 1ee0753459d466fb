"""Every key of runtime_config.toml, declared once. Pure.

This table drives reading and its error messages (``check``), the JSON Schema, the commented default file and the
reference page (``documents``). A further section is an entry here and a few lines in ``values``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from duro.durations import format_duration, parse_duration_s

Kind = Literal["boolean", "true", "count", "duration", "text", "choice", "choices"]

COUNT_MAX: Final = 1_000_000_000
"""Larger counts keep everything there will ever be; a number of thousands of digits is a slip, not a wish."""


class Conflict(NamedTuple):
    """Keys of one table that do not go together. ``key`` is the one to point at; None: the table itself."""

    key: str | None
    message: str
    hint: str


NO_SHELL_PATTERN: Final = "^(?!(sqlite:///)?~)"
"""A path that needs no shell: workers, sweeps and whoever else reads the file have homes of their own, or none."""


class Field(NamedTuple):
    """One key. ``default`` and ``example`` are as written in the file; a key without a default is off.

    ``minimum`` is for counts, and in seconds for durations; ``maximum`` is
    for counts. ``choices`` is for ``choice`` (one of them, a text) and for ``choices`` (several, an array).
    """

    name: str
    kind: Kind
    doc: str
    default: Any = None
    example: Any = None
    minimum: int = 1
    maximum: int = COUNT_MAX
    choices: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value must be, for error messages and the reference page."""
        match self.kind:
            case "boolean":
                return "true or false"
            case "true":
                return "true"
            case "count":
                return f"a whole number from {self.minimum} to {self.maximum}"
            case "duration":
                return f"a duration of at least {format_duration(self.minimum)}"
            case "text":
                return "a text that is not empty"
            case "choice":
                return "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
            case _:
                return "an array of one or more of " + ", ".join(f'"{choice}"' for choice in self.choices)


class Section(NamedTuple):
    """One table. ``members``: its keys are names of the user's choice, each a table of that section. ``optional``:
    without the table there is no value, else an absent table has its defaults.

    Which keys go together: at least one of ``requires_one_of``; ``alone`` with no other, and then it is enough; the
    first of each pair of ``needs`` with the second; where the first of ``if_true`` is true, with the second; never both
    of ``not_both``. ``conflicts`` finds what cannot be said so. These are looked at when all keys of the table are
    known, ``conflicts`` when they are right by themselves, too. ``redirects`` are keys that people try
    and that are refused with a message and a hint of their own.
    """

    name: str
    doc: str
    fields: tuple[Field, ...] = ()
    sections: tuple["Section", ...] = ()
    members: "Section | None" = None
    optional: bool = False
    requires_one_of: tuple[str, ...] = ()
    alone: str | None = None
    needs: tuple[tuple[str, str], ...] = ()
    if_true: tuple[str, str] | None = None
    not_both: tuple[str, str] | None = None
    conflicts: Callable[[Mapping[str, Any]], list[Conflict]] | None = None
    redirects: tuple[tuple[str, str, str], ...] = ()


_RULES: Final = (
    Field("keep_last", "count", "Keep this many executions of an instance, the current one among them.", example=3),
    Field("keep_within", "duration", "Keep what ended no longer ago than this.", example="7d"),
    Field(
        "keep_last_per_version",
        "count",
        "Keep this many executions of each version of the orchestration.",
        example=1,
    ),
    Field("keep_versions", "count", "keep_last_per_version looks at this many versions, the newest.", example=3),
)
_TIMES: Final = (
    Field("every_n_executions", "count", "Prune at every Nth execution that continues as new.", default=1, example=10),
    Field("interval", "duration", "Prune also this often by a sweep: what only grows old does not wait.", example="1h"),
)
_NEVER: Final = Field("never", "true", "Never prune these automatically. Goes with no other key.", example=True)
_REDIRECTS: Final = (
    (
        "completed_before",
        "completed_before is for calls, not for policies: a date does not move on with time",
        'write an age, such as keep_within = "7d"',
    ),
)
_PAUSE: Final = "0s"
_CAP: Final = "7d"
_NEEDS: Final = (("keep_versions", "keep_last_per_version"),)
_KEEPING: Final = ("keep_last", "keep_within", "keep_last_per_version")


def _rollout_conflicts(table: Mapping[str, Any]) -> list[Conflict]:
    pause, cap = table.get("pause", _PAUSE), table.get("cap", _CAP)
    if parse_duration_s(pause) > parse_duration_s(cap):
        return [Conflict("pause", f"pause {pause} is longer than cap {cap}", "raise cap or shorten pause")]
    return []


DEFAULT_POLICY: Final = Section(
    "default",
    "The policy of orchestrations that no other policy names, when default_keep_last is not enough. An execution is\n"
    "removed only when none of the rules given keeps it.",
    fields=(*_RULES, *_TIMES),
    optional=True,
    requires_one_of=_KEEPING,
    needs=_NEEDS,
    redirects=(*_REDIRECTS, ("never", "never is for overrides only", "leave [pruning.default] out")),
)
OVERRIDE: Final = Section(
    "NAME",
    "The policy of one orchestration, or of all whose names match: * ? [...] as in a shell. The exact name wins, then\n"
    "the longest pattern; of several of one length, the first by its text. It replaces the default and what the code\n"
    "registered as a whole; nothing is merged.",
    fields=(*_RULES, *_TIMES, _NEVER),
    requires_one_of=_KEEPING,
    alone="never",
    needs=_NEEDS,
    redirects=_REDIRECTS,
)
ROLLOUT: Final = Section(
    "rollout",
    "No automatic pruning of an orchestration for a while after a further version of it is first seen.",
    fields=(
        Field("pause", "duration", "How long; 0s: no pause.", default=_PAUSE, example="24h", minimum=0),
        Field("cap", "duration", "The longest pause in all, however many versions follow each other.", default=_CAP),
    ),
    conflicts=_rollout_conflicts,
)
PRUNING: Final = Section(
    "pruning",
    "Automatic pruning of past executions. Workers watch this file: a change is applied while they run.",
    fields=(
        Field("enabled", "boolean", "false stops all automatic pruning.", default=True),
        Field("default_keep_last", "count", "Keep this many executions where no other policy applies.", example=5),
        Field(
            "triggers",
            "choices",
            "When policies are applied: at continue-as-new, and in sweeps for policies that have an interval.",
            default=["continue_as_new", "interval"],
            choices=("continue_as_new", "interval"),
        ),
        Field(
            "children",
            "choice",
            '"settled": children that are finished, and observed or beyond being observed, go with the execution\n'
            'that spawned them, also those of [purge.overrides]: a hold keeps them. "keep": children stay.',
            default="keep",
            choices=("keep", "settled"),
        ),
    ),
    sections=(
        DEFAULT_POLICY,
        Section("overrides", "Policies by name of the orchestration.", members=OVERRIDE),
        ROLLOUT,
    ),
    not_both=("default_keep_last", "default"),
)
_PURGE_RULES: Final = (
    Field("keep_within", "duration", "Keep what ended no longer ago than this.", example="30d"),
    Field(
        "keep_failed_within",
        "duration",
        "Keep what failed for this long instead; goes with keep_within.",
        example="90d",
    ),
    Field("keep_last", "count", "Keep the newest so many of each orchestration that have ended.", example=1000),
)
_PURGE_NEEDS: Final = (("keep_failed_within", "keep_within"),)
PURGE_OVERRIDE: Final = Section(
    "NAME",
    "The same for one orchestration, or for all whose names match; it replaces the rules above as a whole. It also\n"
    "protects instances of that name below a root of another, and the root with them.",
    fields=(
        *_PURGE_RULES,
        Field(
            "never",
            "true",
            "Never purge these, nor let a sweep remove them as orphans. Goes with no other key. With [pruning]\n"
            'children = "settled" they still go with the execution that spawned them: only a hold keeps them then.',
            example=True,
        ),
    ),
    requires_one_of=("keep_within", "keep_last"),
    alone="never",
    needs=_PURGE_NEEDS,
    redirects=_REDIRECTS,
)
PURGE: Final = Section(
    "purge",
    "Automatic removal of whole instances that have ended, with all that depends on them. Without a rule here nothing\n"
    "is purged. An instance is removed only when none of the rules given keeps it.",
    fields=(
        Field("enabled", "boolean", "false stops all automatic purging.", default=True),
        *_PURGE_RULES,
        Field("interval", "duration", "How often a sweep looks.", default="1h"),
    ),
    sections=(Section("overrides", "Rules by name of the orchestration.", members=PURGE_OVERRIDE),),
    needs=_PURGE_NEEDS,
    redirects=_REDIRECTS,
)
_WORDS: Final = ("abandon", "cancel", "terminate")
_ENDS: Final = ("completed", "failed", "cancelled", "terminated")
ORPHANS: Final = Section(
    "orphans",
    "Children whose parent will never observe how they end.",
    fields=(
        Field(
            "on_parent_continue",
            "choice",
            "What happens to children that run when their parent continues as new. What a spawn says itself wins.",
            default="abandon",
            choices=_WORDS,
        ),
        Field(
            "on_parent_end",
            "choice",
            "What happens to children that run when their parent ends in any other way.",
            default="cancel",
            choices=_WORDS,
        ),
        Field("enabled", "boolean", "true: a sweep removes orphans that have ended.", default=False),
        Field("min_age", "duration", "Only those that have been orphans for this long.", default="1h", minimum=0),
        Field(
            "child_status", "choices", "Only those that ended in one of these ways.", default=[*_ENDS], choices=_ENDS
        ),
        Field("interval", "duration", "How often a sweep looks.", default="10m"),
    ),
)
STORE: Final = Section(
    "store",
    "Where all state lives.",
    fields=(
        Field(
            "url",
            "text",
            "One SQLite file. A relative path (three slashes) starts at the directory of this file, an absolute one\n"
            'has four: "sqlite:////var/lib/duro/duro.db". --store and DUROCTL_STORE win over it.',
            example="sqlite:///duro.db",
        ),
    ),
)
ARCHIVE: Final = Section(
    "archive",
    "Histories in files, before they are removed from the store: pruned, purged or cleaned up. Until a history is\n"
    "there, written, synced and read back, it stays in the store. `duroctl archive` looks into it and brings back.",
    fields=(
        Field("enabled", "boolean", "true: nothing is removed that is not in the archive.", default=False),
        Field(
            "directory",
            "text",
            "A directory of its own; a relative path starts at the directory of this file, and ~ is not expanded. It\n"
            "is made if it is not there and the directory above it is: an unmounted volume is not stood in for.",
            example="archive",
        ),
        Field("interval", "duration", "How long few histories may wait to become one segment.", default="10m"),
        Field("level", "count", "Of the zstd compression: 1 is fastest, 19 is smallest.", default=3, maximum=19),
    ),
    if_true=("enabled", "directory"),
)
ROOT: Final = Section("", "The settings of duro and duroctl.", sections=(STORE, PRUNING, PURGE, ORPHANS, ARCHIVE))

"""Retention as values: the rules that keep executions, the policies that apply them, and who said so.

All rules are rules that *keep*: an execution is removed only when none of the rules given keeps it. Rules that say
nothing are refused, so forgetting one never means "remove everything". ``duro.retention`` decides with these values;
what it decides about (facts, verdicts, plans, holds) is in ``duro.model.pruning``.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec

from duro.model.limits import KEEP_COUNT_MAX, RETENTION_S_MAX, TIME_MS_MAX
from duro.model.refusal import InvalidRulesError, shown_value

NEVER: Final = "never"
"""The policy of what is never pruned automatically."""

OR_NEVER: Final = f', or "{NEVER}"'
"""What else than rules a policy may be, in errors."""


NAMED: Final = "named"
"""Given instead of rules: those executions go that are named one by one."""


class PruneOptions(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, cache_hash=True
):
    """Which executions of an instance to keep. At least one rule that keeps must be given.

    ``keep_last``: the newest executions, the current one counted (inside ``continue_as_new``: the one being started).
    ``keep_within``: what ended no longer ago, in seconds or a ``timedelta``; kept as seconds.
    ``completed_before``: what ended at this time or later, a ``datetime`` with zone or Unix milliseconds; kept as Unix
    milliseconds. Only what completed before it may go.
    ``keep_last_per_version``: the newest executions of each version; ``keep_versions`` bounds that to the versions used
    last.

    An unknown field is refused when this is read from JSON: a rule nobody understands would keep nothing.

    Raises:
        InvalidRulesError: no rule that keeps is given, a count is no whole number from 1 to ``KEEP_COUNT_MAX``, a
            duration is not above 0 and at most ``RETENTION_S_MAX``, a time has no zone or lies before 1970, or
            ``keep_versions`` stands without ``keep_last_per_version``.
    """

    keep_last: int | None = None
    keep_within: float | timedelta | None = None
    completed_before: int | datetime | None = None
    keep_last_per_version: int | None = None
    keep_versions: int | None = None

    def __post_init__(self) -> None:
        _settle_rules(self, time_given=self.completed_before is not None)
        if self.completed_before is not None:
            time_ms = unix_ms("PruneOptions.completed_before", self.completed_before)
            msgspec.structs.force_setattr(self, "completed_before", time_ms)

    @property
    def keep_within_s(self) -> float | None:
        return seconds_of(self.keep_within)

    @property
    def completed_before_ms(self) -> int | None:
        assert not isinstance(self.completed_before, datetime), "settled when it was made"
        return self.completed_before

    def __str__(self) -> str:
        """``keep_last=3 keep_within=7d``: every rule given, always in this order."""
        rules = _rule_texts(self)
        if self.completed_before_ms is not None:
            rules["completed_before"] = format_time(self.completed_before_ms)
        return " ".join(f"{name}={text}" for name, text in rules.items())


class AutoPrune(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, cache_hash=True
):
    """A policy: rules (as in ``PruneOptions``, without a fixed time) and when they are applied.

    At every continue-as-new, or with ``every_n_executions`` at every so many; with ``interval`` (seconds or a
    ``timedelta``, kept as seconds) also that often by a sweep, so that what only grows old does not wait.

    Raises:
        InvalidRulesError: as ``PruneOptions``; ``every_n_executions`` is not at least 1, or ``interval`` not above 0.
    """

    keep_last: int | None = None
    keep_within: float | timedelta | None = None
    keep_last_per_version: int | None = None
    keep_versions: int | None = None
    every_n_executions: int = 1
    interval: float | timedelta | None = None

    def __post_init__(self) -> None:
        _settle_rules(self, time_given=False)
        check_keep_count("AutoPrune.every_n_executions", self.every_n_executions)
        if self.interval is not None:
            msgspec.structs.force_setattr(self, "interval", duration_s("AutoPrune.interval", self.interval))

    @property
    def keep_within_s(self) -> float | None:
        return seconds_of(self.keep_within)

    @property
    def interval_s(self) -> float | None:
        return seconds_of(self.interval)

    @property
    def options(self) -> PruneOptions:
        """The rules alone."""
        return _options_of(self)

    def __str__(self) -> str:
        """``keep_last=3 every_n_executions=10``: rules, then the triggers that are not the usual ones."""
        texts = _rule_texts(self)
        if self.every_n_executions != 1:
            texts["every_n_executions"] = str(self.every_n_executions)
        if self.interval_s is not None:
            texts["interval"] = format_seconds(self.interval_s)
        return " ".join(f"{name}={text}" for name, text in texts.items())


@lru_cache(maxsize=256)
def _options_of(policy: AutoPrune) -> PruneOptions:
    """Asked for in every turn that prunes; a program has a few policies."""
    return PruneOptions(
        keep_last=policy.keep_last,
        keep_within=policy.keep_within,
        keep_last_per_version=policy.keep_last_per_version,
        keep_versions=policy.keep_versions,
    )


Policy: TypeAlias = AutoPrune | Literal["never"]


class AutoPruneConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Automatic pruning as a program configures it for its whole runtime.

    ``overrides`` maps an orchestration name, or a pattern (``*``, ``?``, ``[...]`` as in a shell), to its policy or to
    ``"never"``; ``default`` is for all others. An int stands for ``keep_last``. ``enabled`` False stops all automatic
    pruning, whatever the file says; what code asks for itself is still carried out.

    Raises:
        InvalidRulesError: a name is empty, a value is no policy, or ``enabled`` is not True or False.
    """

    enabled: bool = True
    default: AutoPrune | int | None = None
    overrides: Mapping[str, AutoPrune | int | Literal["never"]] = {}

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise InvalidRulesError(f"AutoPruneConfig.enabled must be True or False, not {shown_value(self.enabled)}")
        if self.default is not None:
            default = as_auto_prune(self.default, "AutoPruneConfig.default")
            msgspec.structs.force_setattr(self, "default", default)
        if not isinstance(self.overrides, Mapping):
            raise InvalidRulesError(f"AutoPruneConfig.overrides must be a mapping, not {self.overrides!r}")
        overrides = {name: _as_override(name, value) for name, value in self.overrides.items()}
        msgspec.structs.force_setattr(self, "overrides", overrides)

    @property
    def default_policy(self) -> AutoPrune | None:
        assert not isinstance(self.default, int), "settled when it was made"
        return self.default

    @property
    def override_policies(self) -> dict[str, Policy]:
        """In the order they were given."""
        return {name: value for name, value in self.overrides.items() if not isinstance(value, int)}


class PolicyKind(StrEnum):
    """Where a policy can come from. ``rank``: the lowest that says anything applies, and replaces the others whole."""

    TURN = "turn"
    """``prune=`` at the ``continue_as_new`` of this very turn."""
    CALL = "call"
    """Rules given to a call or on the command line; no automatic policy is asked."""
    INSTANCE = "instance"
    FILE_OVERRIDE = "file_override"
    CODE_OVERRIDE = "code_override"
    REGISTRATION = "registration"
    FILE_DEFAULT = "file_default"
    CODE_DEFAULT = "code_default"
    NONE = "none"

    @property
    def rank(self) -> int:
        """1 (the strongest) to 8 (no policy at all)."""
        return _RANKS[self]


_RANKS: Final = {
    PolicyKind.TURN: 1,
    PolicyKind.CALL: 1,
    PolicyKind.INSTANCE: 2,
    PolicyKind.FILE_OVERRIDE: 3,
    PolicyKind.CODE_OVERRIDE: 4,
    PolicyKind.REGISTRATION: 5,
    PolicyKind.FILE_DEFAULT: 6,
    PolicyKind.CODE_DEFAULT: 7,
    PolicyKind.NONE: 8,
}


class PolicyOrigin(msgspec.Struct, frozen=True):
    """Who said it. ``text`` tells a person where to look: ``config/runtime_config.toml:12``, ``app.py:7``."""

    kind: PolicyKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else str(self.kind)


# --- ints stand for keep_last -------------------------------------------------------------------------------


def as_prune_options(value: PruneOptions | int, what: str = "prune options") -> PruneOptions:
    """``value``, or ``PruneOptions(keep_last=value)``. ``what`` names it in the error.

    Raises:
        InvalidRulesError: it is neither, or the int is not a possible ``keep_last``.
    """
    if isinstance(value, PruneOptions):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return PruneOptions(keep_last=value)
    raise InvalidRulesError(f"{what} must be PruneOptions or a whole number (keep_last), not {value!r}")


def as_auto_prune(value: AutoPrune | int, what: str = "auto_prune", others: str = "") -> AutoPrune:
    """``value``, or ``AutoPrune(keep_last=value)``. ``what`` names it in the error, ``others`` what else it may be.

    Raises:
        InvalidRulesError: it is neither, or the int is not a possible ``keep_last``.
    """
    if isinstance(value, AutoPrune):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return AutoPrune(keep_last=value)
    raise InvalidRulesError(f"{what} must be AutoPrune or a whole number (keep_last){others}, not {value!r}")


def _as_override(name: object, value: AutoPrune | int | Literal["never"]) -> Policy:
    if not isinstance(name, str) or not name:
        raise InvalidRulesError(f"AutoPruneConfig.overrides has the name {name!r}", hint="name an orchestration")
    if value == NEVER:
        return NEVER
    what = f"AutoPruneConfig.overrides[{name!r}]"
    if isinstance(value, int) and not isinstance(value, bool):
        check_keep_count(what, value)
    return as_auto_prune(value, what, OR_NEVER)


# --- checks and texts ---------------------------------------------------------------------------------------


def format_seconds(seconds: float) -> str:
    """``7d``, ``90m``, ``0.5s``: the largest of days, hours, minutes and seconds that takes ``seconds`` whole."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds!r}s"


def format_time(time_ms: int) -> str:
    """``2026-11-18T00:00:00Z``, with milliseconds where there are any. ``time_ms``: Unix milliseconds, 1970 to 9999."""
    text = (_EPOCH + timedelta(milliseconds=time_ms)).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return f"{text.removesuffix('.000')}Z"


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEEPING: Final = ("keep_last", "keep_within", "keep_last_per_version")
_COUNTS: Final = ("keep_last", "keep_last_per_version", "keep_versions")


def _settle_rules(rules: PruneOptions | AutoPrune, *, time_given: bool) -> None:
    owner = type(rules).__name__
    for field in _COUNTS:
        if (count := getattr(rules, field)) is not None:
            check_keep_count(f"{owner}.{field}", count)
    if rules.keep_within is not None:
        seconds = duration_s(f"{owner}.keep_within", rules.keep_within)
        msgspec.structs.force_setattr(rules, "keep_within", seconds)
    if rules.keep_versions is not None and rules.keep_last_per_version is None:
        raise InvalidRulesError(
            f"{owner}.keep_versions keeps nothing by itself", hint="give keep_last_per_version with it"
        )
    if not time_given and all(getattr(rules, field) is None for field in _KEEPING):
        raise InvalidRulesError(
            f"{owner} names nothing to keep", hint="give keep_last, keep_within or keep_last_per_version"
        )


def check_keep_count(what: str, count: object) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= KEEP_COUNT_MAX:
        raise InvalidRulesError(f"{what} must be a whole number from 1 to {KEEP_COUNT_MAX}, not {shown_value(count)}")


def duration_s(what: str, duration: object) -> float:
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.001 <= seconds <= RETENTION_S_MAX:
        raise InvalidRulesError(
            f"{what} must be seconds or a timedelta, from 0.001 s to a century, not {shown_value(duration)}"
        )
    return float(seconds)


def unix_ms(what: str, time: object) -> int:
    if isinstance(time, datetime):
        if time.utcoffset() is None:
            raise InvalidRulesError(
                f"{what} has no time zone: {time.isoformat()}", hint="give it one, such as datetime.UTC"
            )
        time = -((_EPOCH - time) // timedelta(milliseconds=1))  # up: completion times are whole ms
    if isinstance(time, bool) or not isinstance(time, int) or not 0 <= time <= TIME_MS_MAX:
        raise InvalidRulesError(
            f"{what} must be a datetime with zone, or Unix milliseconds, from 1970 to 9999, not {shown_value(time)}"
        )
    return time


def seconds_of(settled: float | timedelta | None) -> float | None:
    assert not isinstance(settled, timedelta), "settled when it was made"
    return settled


def _rule_texts(rules: PruneOptions | AutoPrune) -> dict[str, str]:
    texts = {}
    if rules.keep_last is not None:
        texts["keep_last"] = str(rules.keep_last)
    if rules.keep_within_s is not None:
        texts["keep_within"] = format_seconds(rules.keep_within_s)
    if rules.keep_last_per_version is not None:
        texts["keep_last_per_version"] = str(rules.keep_last_per_version)
    if rules.keep_versions is not None:
        texts["keep_versions"] = str(rules.keep_versions)
    return texts

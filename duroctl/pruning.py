"""Rules from the command line, and a prune that shows how far it is and ends when it is asked to."""

import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from duro.durations import DURATION_HINT, parse_duration_s
from duro.errors import UsageError
from duro.maintenance.pruning import PruneProgress
from duro.model.families import PurgeOptions, RemovalResult
from duro.model.limits import KEEP_COUNT_MAX, PRUNE_GRACE_S
from duro.model.pruning import PrunePlan, PruneResult
from duro.model.retention import PruneOptions
from duro.model.status import FINAL_INSTANCE_STATUSES, InstanceStatus
from duro.retention.names import matches
from duroctl.parsing import parse_count, parse_duration
from duroctl.render.text import visible
from duroctl.render.units import counted

if TYPE_CHECKING:
    from duro.client import Client
    from duroctl.output import Output
    from duroctl.render.outcomes import PlanWritten
    from duroctl.session import Session


WORK_FOUND: Final = 20
"""The exit code of ``--check`` that says so."""
_AGO: Final = re.compile(r" +ago\Z")
_STDERR: Final = 2
_LEFT_MAX: Final = 5
"""Files left behind that are told one by one."""
_STOPPING: Final = b"\nduroctl: stopping after this batch; press Ctrl-C again to stop now\n"


def grace_of(*, now: bool, grace: str | None) -> float:
    """Seconds.

    Raises:
        UsageError: both are given, or it is no duration.
    """
    if now and grace is not None:
        raise UsageError("--now and --grace do not go together", hint="choose one")
    if now:
        return 0.0
    return PRUNE_GRACE_S if grace is None else parse_duration(grace, "--grace")


def check_not_of_plan(plan_out: str | None, *, now: bool, grace: str | None, archive: str | None, reason: str) -> None:
    """Raises UsageError: a plan is to be written, which says what goes, and how it is to go was given as well."""
    given = [
        flag
        for flag, is_given in (
            ("--now", now),
            ("--grace", grace is not None),
            ("--archive", archive is not None),
            ("--reason", bool(reason)),
        )
        if is_given
    ]
    if plan_out is not None and given:
        go, them = ("goes", "it") if len(given) == 1 else ("go", "them")
        raise UsageError(
            f"{' and '.join(given)} {go} with --apply: a plan says what is to be removed, and does not keep {them}",
            hint=f"leave {them} out here, and give {them} with --apply",
        )


class Terms(NamedTuple):
    """How a removal is carried out; ``archive``: the directory it is kept in, None: none of its own."""

    grace_s: float
    reason: str
    archive: str | None


class Rules(NamedTuple):
    """As they were typed; None: not given."""

    keep_last: str | None
    keep_within: str | None
    completed_before: str | None
    keep_last_per_version: str | None
    keep_versions: str | None

    @property
    def given(self) -> bool:
        """Whether there is any. An empty text is one, and cannot be read: a variable that a script did not set must not
        stand for no rule."""
        return any(each is not None for each in self)


def parse_rules(rules: Rules, now_ms: int) -> PruneOptions | None:
    """The options that the rules make; None without any.

    Raises:
        UsageError: one of them cannot be read. InvalidRulesError: together they name nothing to keep.
    """
    if not rules.given:
        return None
    if rules.keep_versions is not None and rules.keep_last_per_version is None:
        raise UsageError("--keep-versions keeps nothing by itself", hint="give --keep-last-per-version N, too")
    return PruneOptions(
        keep_last=_count(rules.keep_last, "--keep-last"),
        keep_within=_kept_within_s(rules.keep_within, "--keep-within"),
        completed_before=None
        if rules.completed_before is None
        else parse_time_ms(rules.completed_before, "--completed-before", now_ms),
        keep_last_per_version=_count(rules.keep_last_per_version, "--keep-last-per-version"),
        keep_versions=_count(rules.keep_versions, "--keep-versions"),
    )


class PurgeRules(NamedTuple):
    """As they were typed; None: not given."""

    keep_within: str | None
    keep_failed_within: str | None
    completed_before: str | None
    keep_last: str | None
    statuses: tuple[str, ...]

    @property
    def given(self) -> bool:
        """Whether there is any, an empty text included, as with ``Rules``."""
        return bool(self.statuses) or any(each is not None for each in self[:-1])


def parse_purge_rules(rules: PurgeRules, now_ms: int) -> PurgeOptions | None:
    """The options that the rules make; None without any.

    Raises:
        UsageError: one of them cannot be read. InvalidRulesError: together they name nothing to keep.
    """
    if not rules.given:
        return None
    before, statuses = rules.completed_before, rules.statuses
    if wrong := [each for each in statuses if each not in FINAL_INSTANCE_STATUSES]:
        known = ", ".join(sorted(FINAL_INSTANCE_STATUSES))
        raise UsageError(f"--status {wrong[0]!r} is no end", hint=f"choose from {known}")
    within, failed = rules.keep_within, rules.keep_failed_within
    return PurgeOptions(
        keep_within=_kept_within_s(within, "--keep-within"),
        keep_failed_within=_kept_within_s(failed, "--keep-failed-within"),
        completed_before=None if before is None else parse_time_ms(before, "--completed-before", now_ms),
        keep_last=_count(rules.keep_last, "--keep-last"),
        statuses=tuple(InstanceStatus(each) for each in statuses) or None,
    )


def note_name(session: "Session", client: "Client", pattern: str | None) -> None:
    """Say so, if ``--name`` is of no orchestration of the store: a slip of the pen looks like a clean store."""
    if pattern and not any(matches(name, pattern) for name in client.store.orchestration_names()):
        session.note(visible(f"no orchestration of this store is called {pattern!r} or matches it"))


def _count(text: str | None, option: str) -> int | None:
    count = None if text is None else parse_count(text, option, least=1)
    if count is not None and count > KEEP_COUNT_MAX:
        raise UsageError(f"{option} {text} is more than there will ever be", hint=f"{KEEP_COUNT_MAX:,} is the most")
    return count


def _kept_within_s(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    if not (seconds := parse_duration(text, option)):
        raise UsageError(f"{option} {text!r} keeps nothing", hint="write how long, like 90s, 30m, 12h, 7d or 2w")
    return seconds


def parse_time_ms(text: str, option: str, now_ms: int, others: str = "now, or '7d ago'") -> int:
    """Unix milliseconds of a time with a zone in ISO-8601, of ``now``, or of a duration ago (``7d``, ``7d ago``).

    ``others``: what the error proposes beside a time.

    Raises:
        UsageError: it is none of these, or before 1970.
    """
    time_ms = now_ms if text == "now" else _time_ms(text, option, now_ms, others)
    if time_ms < 0:
        raise UsageError(f"{option} {text!r} is before 1970", hint="nothing in a store is so old")
    return time_ms


def _time_ms(text: str, option: str, now_ms: int, others: str) -> int:
    long_ago = _AGO.sub("", text)
    if long_ago != text or (text[:1].isdigit() and text[-1:] in "smhdw" and "-" not in text):
        try:
            return now_ms - parse_duration_s(long_ago) * 1000
        except ValueError as error:
            raise UsageError(f"{option} {text!r} {error}", hint=DURATION_HINT) from error
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        hint = f"write it like 2026-11-25T10:00:00Z, {others}"
        raise UsageError(f"{option} {text!r} is no time", hint=hint) from error
    if moment.utcoffset() is None:
        raise UsageError(f"{option} {text!r} has no time zone", hint=f"write {moment.isoformat()}Z for UTC")
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def check_forms(output: "Output") -> None:
    """Raises UsageError: --check cannot be printed in the format that was asked for."""
    output.only("table", "json", "jsonl", "csv", what="--check", instead="--dry-run -o ids prints what would go")


def print_written(session: "Session", plan: "PlanWritten", totals: Iterable[str], command: str) -> None:
    """Where a plan is that was written, and that ``command`` carries it out: to people on standard error."""
    from duroctl.render.outcomes import WRITTEN

    if session.output.format != "table":
        session.output.result(WRITTEN, plan, ())
    for line in totals:
        session.note(line)
    session.note(f"the plan is in {plan.file}; `{command} --apply {shlex.quote(plan.file)}` carries it out")


def apply_with_progress(
    session: "Session", client: "Client", plan: PrunePlan, terms: Terms
) -> tuple[PruneResult, bool]:
    """Carry the plan out, with a bar on a terminal. Ctrl-C ends it after the batch; the second value says so."""
    so_far = PruneProgress()
    with (
        note_quit(session, lambda: so_far.executions),
        interruptible() as interrupted,
        progress_bar(session, plan.totals.executions_removed, "pruning") as advance,
    ):

        def progress(done: PruneProgress) -> bool:
            nonlocal so_far
            so_far = done
            advance(done.executions)
            return not interrupted

        result = client.apply_plan(
            plan, grace_s=terms.grace_s, reason=terms.reason, archive=terms.archive, progress=progress
        )
    return result, bool(interrupted)


@contextmanager
def note_quit(session: "Session", executions: Callable[[], int]) -> Iterator[None]:
    """Whoever quits in the middle, without waiting for the batch, is told what was done by then."""
    try:
        yield
    except KeyboardInterrupt:
        session.note(f"quit in the middle: {executions():,} executions were removed by then, or a few more")
        session.note("`duroctl ledger list` names the run; `duroctl prune undo RUN` brings them back in their grace")
        raise


def reclaim_overdue(session: "Session", client: "Client") -> None:
    """What is past its grace is deleted by every command that removes, whether or not it finds anything to remove: no
    worker may be there to do it."""
    done = client.reclaim()
    if done.executions or done.instances:
        what = f"{counted(done.executions, 'execution')} and {counted(done.instances, 'instance')}"
        session.note(f"reclaimed {what} whose grace was over")


def check_interrupted(session: "Session", interrupted: object, result: PruneResult | RemovalResult) -> None:
    """Raises typer.Exit: a signal came, and something was left undone because of it."""
    waits = result.archived is not None and result.archived.waiting
    if interrupted and (result.remaining or waits):
        session.note("interrupted; what is above was done, and the rest was not")
        raise typer.Exit(130)


class _Advance:
    """Does nothing: there is no terminal."""

    def __call__(self, executions: int) -> None: ...


@contextmanager
def progress_bar(session: "Session", total: int, word: str) -> "Iterator[_Advance]":
    """On a terminal; call what it gives with the number of executions done."""
    if session.options.quiet or not sys.stderr.isatty():
        yield _Advance()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(word), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as shown:
        task = shown.add_task(word, total=total)

        class Shown(_Advance):
            def __call__(self, executions: int) -> None:
                shown.update(task, completed=executions)

        yield Shown()


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """The list gets the number of the signal that came, and a terminal a line; a second one interrupts as always."""
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        with contextlib.suppress(OSError):
            if os.isatty(_STDERR):
                os.write(_STDERR, _STOPPING)  # not through the stream: this may have interrupted a write to it

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def note_unfinished(session: "Session", file: str) -> None:
    """Say which files beside a new one were left by somebody who was killed while writing them."""
    from duro.disk import unfinished

    for left in unfinished(Path(file).parent)[:_LEFT_MAX]:
        session.note(f"{left} was left by a duroctl that was killed; remove it")


@contextmanager
def tidy_when_terminated() -> Iterator[None]:
    """Whoever is told to end (SIGTERM) removes what it has half written first, as with Ctrl-C."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""The client's methods about pruning, holds and policies: checked arguments in, values out.

What does the work is imported by the method that needs it: a command that only lists loads no planner.
"""

import math
import os
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from duro.errors import (
    ExecutionNotFoundError,
    HoldNotFoundError,
    InstanceNotFoundError,
    InstanceRemovedError,
    UsageError,
)
from duro.maintenance.pruned import no_instance, prunable_instance, was_pruned
from duro.model.families import RemovalPlan
from duro.model.ledger import LedgerTotals, RunSource
from duro.model.limits import PRUNE_GRACE_S, RETENTION_S_MAX, TIME_MS_MAX, UNDO_HOLD_S
from duro.model.policies import StatedPolicy
from duro.model.pruning import Hold, HoldTarget, PrunePlan, PruneResult
from duro.model.removal import (
    Backlog,
    LedgerEntry,
    PrunedExecution,
    PruneRun,
    PruneScope,
    ReclaimResult,
    UndoResult,
)
from duro.model.retention import (
    NAMED,
    NEVER,
    OR_NEVER,
    AutoPrune,
    Policy,
    PolicyKind,
    PolicyOrigin,
    PruneOptions,
    as_auto_prune,
    as_prune_options,
)
from duro.naming import check_count, check_execution_id, check_instance_id, check_name, check_text, shown
from duro.settings.values import RuntimeSettings
from duro.stores.base import Store
from duro.version import __version__

if TYPE_CHECKING:
    from duro.maintenance.explaining import PolicyExplanation
    from duro.maintenance.pruning import Progress, RunTerms
    from duro.maintenance.simulating import InstanceSimulation, PolicySimulation

_EVERYTHING: Final = PruneScope()

_ID_LETTERS: Final = 8
"""Of a random id that people type: 2**32 of them, and a taken one is refused."""


class Pruning:
    """Part of ``Client``; see there. Ids are made by ``_ids``."""

    store: Store
    _ids: Callable[[], str]
    _by_hand: bool
    configured_archive: str | None

    # --- pruning -----------------------------------------------------------------------------------------------

    def plan_prune(
        self,
        options: PruneOptions | int | Literal["named"] | None = None,
        *,
        scope: PruneScope = _EVERYTHING,
        only: Mapping[str, Collection[int]] | None = None,
    ) -> PrunePlan:
        """What a prune would remove and keep, execution by execution, with the reasons. Changes nothing, and reads no
        history.

        ``options`` (an int stands for ``keep_last``); None: the policy configured for each instance. ``only``: of the
        instances it names nothing but these executions may go (``{"queue-1": [3, 4]}``). With ``"named"`` as
        ``options`` all of them go that may, whatever policies say, and nothing else does.

        Raises:
            UsageError: an argument is wrong. InvalidRulesError: the options name nothing to keep.
            InstanceNotFoundError: an instance of ``scope`` or ``only`` does not exist.
            ExecutionNotFoundError: an execution of ``only`` never was. (One that was pruned before is among the
                plan's warnings.)
            PolicyUnknownError: no options, and no worker has published a policy.
        """
        from duro.maintenance import pruning

        named = options if options == NAMED else _options(options)
        if named == NAMED and not only:
            raise UsageError('"named" goes with only', hint='write plan_prune("named", only={"queue-1": [3, 4]})')
        return pruning.plan(self.store, named, checked_scope(scope), _checked_only(only))

    def apply_plan(
        self,
        plan: PrunePlan,
        *,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
        progress: "Progress | None" = None,
    ) -> PruneResult:
        """Remove exactly what ``plan`` shows, as far as it may still go; the rest is in ``PruneResult.skipped``, with
        why. See ``prune_executions_bulk`` for the other arguments.

        Raises:
            StalePlanError: it is of another store, or its policies have changed since.
        """
        from duro.maintenance import pruning

        if not isinstance(plan, PrunePlan):
            raise UsageError(f"plan must be a PrunePlan, not {plan!r}", hint="client.plan_prune makes one")
        return pruning.apply(self.store, plan, self._terms(grace_s, reason, by, plan, archive), progress)

    def check_plan(self, plan: PrunePlan | RemovalPlan) -> None:
        """Whether ``apply_plan`` or ``apply_removal`` would take ``plan`` now; nothing is changed.

        Raises:
            StalePlanError: it is of another store, or its policies have changed since.
        """
        from duro.maintenance import families, pruning
        from duro.maintenance.policies import ConfiguredPolicies

        if isinstance(plan, RemovalPlan):
            families.check_plan(self.store, plan)
        elif isinstance(plan, PrunePlan):
            pruning.check_plan(self.store, plan, ConfiguredPolicies(self.store))
        else:
            raise UsageError(
                f"plan must be a PrunePlan or a RemovalPlan, not {plan!r}", hint="client.plan_prune makes one"
            )

    def prune_executions(
        self,
        instance_id: str,
        options: PruneOptions | int | None = None,
        *,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
    ) -> PruneResult:
        """Prune one instance; see ``prune_executions_bulk``. An activity may prune its own (``ctx.client``): the ledger
        coalesces what activities prune, so it is no run, and ``undo_prune`` takes the instance's id.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        scope = PruneScope(instance_ids=(check_instance_id(instance_id),))
        return self.prune_executions_bulk(options, scope=scope, grace_s=grace_s, reason=reason, by=by, archive=archive)

    def prune_executions_bulk(
        self,
        options: PruneOptions | int | None = None,
        *,
        scope: PruneScope = _EVERYTHING,
        grace_s: float = PRUNE_GRACE_S,
        reason: str = "",
        by: str | None = None,
        archive: str | os.PathLike[str] | None = None,
        progress: "Progress | None" = None,
    ) -> PruneResult:
        """Prune every instance of ``scope``, oldest first, in small transactions, until nothing is left to prune.

        What is removed leaves every list at once. Its rows go ``grace_s`` seconds later (0: now), and until then
        ``undo_prune(result.run_id)`` brings it back. ``reason`` and ``by`` (None: the user of this process) stand in
        the ledger. ``progress`` is called after every batch; when it returns False, the prune ends there. ``archive``
        is a directory in which every history is kept before its rows go (None: the configured one, if there is one);
        it is written at once, and what it cannot take stays in the store (``result.archived``).

        Raises:
            UsageError: an argument is wrong. Nothing was changed.
            ArchiveUnavailableError: the directory cannot be used. Nothing was changed.
            InvalidRulesError: the options name nothing to keep.
            InstanceNotFoundError: an instance of ``scope`` does not exist.
            PolicyUnknownError: no options, and no worker has published a policy.
        """
        from duro.maintenance import pruning

        terms = self._terms(grace_s, reason, by, archive=archive)
        return pruning.prune_many(self.store, _options(options), checked_scope(scope), terms, progress)

    def undo_prune(self, run_or_instance_id: str, *, by: str | None = None) -> UndoResult:
        """Bring back what is still there of a manual run (of a prune, a purge or a clean-up), or of everything that was
        pruned of an instance, or an instance that was removed, with what it was removed with; and hold it for
        ``UNDO_HOLD_S`` so that the next prune does not take it again. An id that is a run's is taken for the run.

        Raises:
            InstanceNotFoundError: there is neither such a run nor such an instance.
        """
        run_id, instance_id = self._run_or_instance(run_or_instance_id)
        until_ms = self.store.now_ms() + round(UNDO_HOLD_S * 1000)
        hold_id = self._short_id("hold")
        return self.store.undo_prune(
            hold_id,
            until_ms,
            run_id=run_id,
            instance_id=instance_id,
            by=checked_by(by),
            source=source_of(None),
        )

    def _run_or_instance(self, asked: str) -> tuple[str, str]:
        asked = check_instance_id(asked)
        if self.store.get_prune_run(asked) is not None:
            return asked, ""
        if self.store.get_instance(asked) is None and self.store.find_removed(asked) is None:
            raise InstanceNotFoundError(
                f"there is neither a prune run nor an instance {asked!r}", hint="`duroctl ledger list` shows the runs"
            )
        return "", asked

    def reclaim(self) -> ReclaimResult:
        """Delete the rows of everything that was pruned and is past its grace, in small transactions. Workers do the
        same by themselves."""
        from duro.maintenance import pruning

        return pruning.reclaim_all(self.store)

    def backlog(self) -> Backlog:
        """What is pruned and not reclaimed, and what a sweep has yet to prune."""
        return self.store.backlog()

    # --- holds -------------------------------------------------------------------------------------------------

    def add_hold(
        self,
        instance_id: str | None = None,
        execution_id: int | None = None,
        *,
        name: str | None = None,
        version: str | None = None,
        reason: str,
        until: datetime | timedelta | None = None,
        by: str | None = None,
    ) -> Hold:
        """Keep an instance, one execution of it, or whatever has an orchestration name (or pattern) and a version, from
        every kind of removal, ``until`` then (a time with zone, or from now) or until the hold is removed.

        Raises:
            UsageError: no reason, or ``until`` is not in the future. InvalidRulesError: the target names nothing.
            InstanceNotFoundError, ExecutionNotFoundError: it names something that is not there. InstanceRemovedError,
                ExecutionPrunedError: that was there, and may be brought back (and then it can be held).
        """
        reason = check_text(reason, "the reason")
        if not reason.strip():
            raise UsageError("a hold needs a reason", hint="say why, for whoever finds it in a year")
        if instance_id is not None:
            check_instance_id(instance_id)
        target = HoldTarget(instance_id=instance_id, execution_id=execution_id, name=name, version=version)
        for given, what in ((name, "orchestration name"), (version, "version")):
            if given is not None:
                check_name(given, what)
        now_ms = self.store.now_ms()
        hold = Hold(
            hold_id=self._short_id("hold"),
            target=target,
            reason=reason,
            created_at_ms=now_ms,
            by=checked_by(by),
            until_ms=None if until is None else _until_ms(until, now_ms),
        )
        try:
            self.store.add_hold(hold)
        except InstanceNotFoundError as error:
            raise self._instance_error(instance_id, error) from None
        except ExecutionNotFoundError:
            pruned = self.store.find_pruned(instance_id or "", execution_id or 0)
            if pruned is not None:
                raise was_pruned(pruned, now_ms) from None
            raise
        return hold

    def list_holds(self) -> tuple[Hold, ...]:
        """All holds, oldest first; one that has expired holds nothing any more."""
        return self.store.list_holds()

    def remove_hold(self, hold_id: str) -> None:
        """Raises HoldNotFoundError: there is none of this id; InvalidInputError: it can be of none."""
        if not self.store.remove_hold(check_text(hold_id, "hold id")):
            raise HoldNotFoundError(f"there is no hold {hold_id!r}", hint="`duroctl holds list` shows those there are")

    # --- policies ----------------------------------------------------------------------------------------------

    def set_instance_policy(self, instance_id: str, policy: AutoPrune | int | Literal["never"] | None) -> None:
        """Give the instance an automatic policy of its own (an int stands for ``keep_last``), which goes before every
        configuration; ``"never"``: it is not pruned automatically; None: it has none of its own any more.

        Raises:
            InvalidRulesError: it is no policy. InstanceNotFoundError: there is no such instance.
        """
        instance_id = check_instance_id(instance_id)
        text = _policy_text(instance_id, policy)
        try:
            self.store.set_instance_policy(instance_id, text)
        except InstanceNotFoundError as error:
            raise self._instance_error(instance_id, error) from None

    def get_instance_policy(self, instance_id: str) -> Policy | None:
        """The automatic policy of its own that the instance has; None: it has none. ``"never"`` is also what one that
        this duro cannot read stands for.

        Raises: InstanceNotFoundError: there is no such instance.
        """
        from duro.maintenance.policies import decode_override

        instance_id = check_instance_id(instance_id)
        own = decode_override(prunable_instance(self.store, instance_id).policy)
        return None if own is None else own.policy

    def simulate_instance_policy(
        self, instance_id: str, policy: AutoPrune | int | Literal["never"] | None
    ) -> "InstanceSimulation":
        """What automatic pruning would let go of the instance if it had this policy of its own (None: none), beside
        what it may let go now. Changes nothing.

        Raises: as ``set_instance_policy``.
        """
        from duro.maintenance.simulating import simulate_instance

        instance_id = check_instance_id(instance_id)
        text = _policy_text(instance_id, policy)
        return simulate_instance(self.store, prunable_instance(self.store, instance_id), text)

    def explain_policy(
        self, instance_id: str | None = None, *, name: str | None = None, version: str = ""
    ) -> "PolicyExplanation":
        """Which automatic policy applies to an instance (or to any instance of an orchestration), where every other one
        that could stands, and why that one does not apply.

        Raises:
            UsageError: neither an instance nor a name is given, or both; the name or version can be of none.
            InstanceNotFoundError: there is no such instance.
        """
        from duro.maintenance.explaining import explain

        if (instance_id is None) == (name is None):
            raise UsageError("explain_policy takes an instance id or an orchestration's name, one of them")
        if instance_id is not None:
            return explain(self.store, check_instance_id(instance_id), None, "")
        if version != "":
            check_name(version, "version")
        return explain(self.store, None, check_name(name or "", "orchestration name"), version)

    def simulate_policies(
        self,
        settings: RuntimeSettings | str | os.PathLike[str],
        *,
        name: str | None = None,
        instead_of: RuntimeSettings | None = None,
    ) -> "PolicySimulation":
        """What automatic pruning would remove at once if every worker read this runtime_config.toml (a path, or
        settings that were read), beside what it may remove now (``instead_of``: beside what those settings
        would let go). Changes nothing. ``name``: only orchestrations of this name or pattern.

        Raises:
            SettingsError: the file is not there or cannot be used.
        """
        from duro.maintenance.simulating import simulate

        if not isinstance(settings, RuntimeSettings):
            from duro.settings.files import load_settings  # reading TOML costs a program that does not 12 ms

            settings = load_settings(Path(settings), os.fspath(settings))
        return simulate(self.store, settings, name=name, instead_of=instead_of)

    # --- the ledger --------------------------------------------------------------------------------------------

    def list_ledger(self, instance_id: str) -> tuple[LedgerEntry, ...]:
        """What was pruned of the instance, oldest first.

        Raises:
            InstanceNotFoundError: there is no such instance.
        """
        if self.store.get_instance(check_instance_id(instance_id)) is None:
            raise no_instance(self.store, instance_id)
        return self.store.list_ledger(instance_id)

    def list_prune_runs(self, *, limit: int = 0, before: str | None = None) -> tuple[PruneRun, ...]:
        """Prunes by hand and undos, newest first. ``limit`` 0: all. ``before``: go on after the run of this id.

        Raises:
            UsageError: ``limit`` is no whole number of at least 0, or there is no run ``before``.
        """
        place = None
        if before is not None:
            run = self.get_prune_run(before)
            if run is None:
                raise UsageError(f"there is no run {before!a} to go on after", hint="take it from the page before")
            place = run.started_at_ms, run.run_id
        return self.store.list_prune_runs(check_count(limit, "limit"), place)

    def get_prune_run(self, run_id: str) -> PruneRun | None:
        """The prune by hand, or undo, of this id; None: there is none.

        Raises:
            InvalidInputError: the id can be of none.
        """
        return self.store.get_prune_run(check_text(run_id, "run id"))

    def ledger_totals(self) -> tuple[LedgerTotals, ...]:
        """What was pruned of instances that are gone, by orchestration."""
        return self.store.ledger_totals()

    def find_pruned(self, instance_id: str, execution_id: int) -> PrunedExecution | None:
        """What is known of an execution that was pruned; None: it was not, or never was.

        Raises:
            UsageError: ``execution_id`` is no execution's number.
        """
        return self.store.find_pruned(check_instance_id(instance_id), check_execution_id(execution_id))

    # --- inside ------------------------------------------------------------------------------------------------

    def _instance_error(self, instance_id: str | None, error: InstanceNotFoundError) -> InstanceNotFoundError:
        """``error``, or that the instance was removed and how it comes back."""
        found = no_instance(self.store, instance_id or "")
        return found if isinstance(found, InstanceRemovedError) else error

    def _terms(
        self,
        grace_s: float,
        reason: str,
        by: str | None,
        plan: PrunePlan | RemovalPlan | None = None,
        archive: str | os.PathLike[str] | None = None,
    ) -> "RunTerms":
        from duro.maintenance.pruning import RunTerms

        if isinstance(grace_s, bool) or not isinstance(grace_s, int | float) or not 0 <= grace_s <= RETENTION_S_MAX:
            raise UsageError(f"grace_s must be seconds, 0 or more, not {shown(grace_s)}")
        reason = check_text(reason, "the reason")
        return RunTerms(
            run_id=self._short_id("run") if self._by_hand else "",
            grace_ms=math.ceil(grace_s * 1000),
            by=checked_by(by),
            reason=reason,
            source=source_of(plan),
            archive=None if archive is None else archive_path(archive),
            configured_archive=self.configured_archive,
        )

    def _short_id(self, kind: str) -> str:
        return f"{kind}-{self._ids()[:_ID_LETTERS]}"


def archive_path(archive: str | os.PathLike[str]) -> str:
    """The directory of an archive, absolute.

    Raises:
        UsageError: it is empty, or no path.
    """
    path = os.fspath(archive)
    if not isinstance(path, str) or not path or "\0" in path:
        raise UsageError(f"an archive is a directory, not {path!r}", hint="give its path")
    return os.path.abspath(path)  # noqa: PTH100 - as the user wrote it, links and all


def source_of(plan: PrunePlan | RemovalPlan | None) -> RunSource:
    """This machine, this duro, and the plan that is carried out."""
    digest = ""
    if plan is not None:
        import hashlib  # only who applies a plan pays for it

        digest = hashlib.sha256(msgspec.json.encode(plan, order="deterministic")).hexdigest()[:32]
    return RunSource(host=os.uname().nodename, duro_version=__version__, plan_hash=digest)


def _policy_text(instance_id: str, policy: AutoPrune | int | Literal["never"] | None) -> str | None:
    """As the store keeps an instance's own. Raises InvalidRulesError."""
    if policy is None:
        return None
    chosen: Policy = NEVER if policy == NEVER else as_auto_prune(policy, "policy", OR_NEVER)
    stated = StatedPolicy(policy=chosen, origin=PolicyOrigin(PolicyKind.INSTANCE, instance_id))
    return msgspec.json.encode(stated).decode()


def _options(options: PruneOptions | int | None) -> PruneOptions | None:
    return None if options is None else as_prune_options(options)


def checked_scope(scope: PruneScope) -> PruneScope:
    if not isinstance(scope, PruneScope):
        raise UsageError(f"scope must be a PruneScope, not {shown(scope)}")
    for instance_id in scope.instance_ids or ():
        instance_id = check_instance_id(instance_id)
    return scope


def _checked_only(only: Mapping[str, Collection[int]] | None) -> Mapping[str, Collection[int]] | None:
    if only is None:
        return None
    if not isinstance(only, Mapping) or not all(_are_executions(each) for each in only.values()):
        raise UsageError(
            f"only must be numbers of executions by instance, not {only!r}", hint='write {"queue-1": [3, 4]}'
        )
    for instance_id in only:
        instance_id = check_instance_id(instance_id)
    return only


def _are_executions(given: object) -> bool:
    if not isinstance(given, Collection):
        return False
    return all(isinstance(each, int) and not isinstance(each, bool) for each in given)


def _until_ms(until: datetime | timedelta, now_ms: int) -> int:
    if isinstance(until, timedelta):
        until_ms = now_ms + round(until.total_seconds() * 1000)
    elif not isinstance(until, datetime):
        raise UsageError(f"until must be a datetime or a timedelta, not {shown(until)}")
    elif until.utcoffset() is None:
        raise UsageError(f"until has no time zone: {until.isoformat()}", hint="give it one, such as datetime.UTC")
    else:
        until_ms = math.ceil(until.timestamp() * 1000)
    if until_ms <= now_ms:
        raise UsageError("until is not in the future, so it would hold nothing")
    if until_ms > TIME_MS_MAX:
        raise UsageError("until is after the year 9999", hint="leave it out: then it holds until it is removed")
    return until_ms


def checked_by(by: str | None) -> str:
    """Who does it; None: the user of this process.

    Raises:
        InvalidInputError: it is no text that can be stored.
    """
    return user_name() if by is None else check_text(by, "by")


def user_name() -> str:
    """Who runs this process; its number where the system has no name for it."""
    import getpass  # only those who write pay for it

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())

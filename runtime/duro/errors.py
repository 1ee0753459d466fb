"""Every error duro raises, in one tree, sorted by who must act.

::

    DuroError
      UsageError                      the caller: an argument is wrong, nothing was changed
        InvalidNameError  InvalidIdError  InvalidInputError
        LimitExceededError (PayloadTooLargeError)
        InvalidRulesError
        StoreUrlError  RegistryError (RegistryImportError)  UnknownOrchestrationError  UnknownActivityError
      StateError                      the caller: the thing is not in a state for this
        InstanceNotFoundError  ExecutionNotFoundError  InstanceExistsError
        InstanceFinishedError  MailboxFullError
        HoldExistsError  HoldNotFoundError  PruneRunNotFoundError
        ExecutionPrunedError  StalePlanError  PolicyUnknownError  RestoreRefusedError  NotArchivedError
      WaitTimeoutError                time: it may yet happen (also a TimeoutError)
      StoreError                      the operator: the store
        StoreNotFoundError  NotADatabaseError  NotADuroStoreError  SchemaTooNewError  SchemaTooOldError
        StoreReadOnlyError  StoreLockedError (retryable)  StoreFullError  StoreCorruptError
        StoreClosedError  StoreForkedError  CommitUnknownError
      ArchiveError                    the operator: the archive
        ArchiveUnavailableError  ArchiveDamagedError
      SettingsError                   the operator: runtime_config.toml (all its problems at once)
        EditRefusedError
      CodeError                       the developer: the code and its history
        NondeterminismError  HistoryFormatError  NonDurableAwaitError
      TaskFailedError                 raised inside orchestrations (and by ``result()``)
        ActivityFailedError  SubOrchestrationFailedError  OrchestrationFailedError
      FutureCancelledError            awaiting a future that lost a ``select``

    BaseException
      OrchestrationCancelled          raised in an orchestration that was asked to stop
      ActivityCancelled               raised by ``ActivityContext`` in an activity nobody waits for any more
      ContextSealed                   raised to code that runs while its coroutine is being dropped

``exit_code`` is the exit status of ``duroctl``; ``hint`` says what to do next. What goes wrong *in* a workflow is
data (``FailureDetails``), recorded and replayed; the classes here are raised.
"""

from collections.abc import Iterable

from duro.model.failure import FailureDetails
from duro.model.problem import FileProblem
from duro.model.refusal import DuroError as DuroError
from duro.model.refusal import InvalidRulesError as InvalidRulesError
from duro.model.refusal import UsageError as UsageError
from duro.model.removal import PrunedExecution

# --- the caller --------------------------------------------------------------------------------------------


class InvalidIdError(UsageError):
    """An instance id is empty, too long, or has characters no store can keep."""


class InvalidNameError(UsageError):
    """An orchestration, activity, event name or version is empty, too long, or has characters no store can keep."""


class InvalidInputError(UsageError):
    """A value is not JSON, or does not fit the annotation of the function it is for."""


class LimitExceededError(UsageError):
    """Something is larger than duro carries: the history of an execution, or what it asks for at once. See
    ``duro.model.limits``."""


class PayloadTooLargeError(LimitExceededError):
    """An encoded payload is larger than ``limits.PAYLOAD_BYTES_MAX``."""


class StoreUrlError(UsageError):
    """A store URL has an unknown scheme or no path."""


class RegistryError(UsageError):
    """A registration is not possible: a name registered twice, a function of the wrong kind."""


class RegistryImportError(RegistryError):
    """``MODULE:REGISTRY`` could not be imported or is no registry."""


class UnknownOrchestrationError(UsageError):
    """No orchestration of this name (or of this version) is registered."""


class UnknownActivityError(UsageError):
    """No activity of this name is registered."""


class StateError(DuroError):
    """The thing named exists or not, or is not in a state for what was asked. Nothing was changed."""


class InstanceNotFoundError(StateError):
    exit_code = 7


class InstanceRemovedError(InstanceNotFoundError):
    """The instance was there and has been removed as a whole; its rows are not yet reclaimed, or an archive has some of
    it."""

    exit_code = 8


class ExecutionNotFoundError(StateError):
    exit_code = 7


class InstanceExistsError(StateError):
    """The instance id is taken."""


class InstanceFinishedError(StateError):
    """The instance has ended and takes no more events or cancels."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint or "what has ended takes no events, and cannot be ended or resumed")


class MailboxFullError(StateError):
    """The instance holds ``limits.MAILBOX_EVENTS_MAX`` undelivered events."""


class HoldExistsError(StateError):
    """The hold's id is taken."""


class HoldNotFoundError(StateError):
    exit_code = 7


class PruneRunNotFoundError(StateError):
    exit_code = 7


class ExecutionPrunedError(StateError):
    """The execution was there and has been pruned. ``pruned``: what the ledger knows of it."""

    exit_code = 8

    def __init__(self, message: str, pruned: PrunedExecution, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.pruned = pruned


class NotAnOrphanError(StateError):
    """Adopting was asked for an instance whose parent may still observe it, has observed it, or that has none."""


class StalePlanError(StateError):
    """A plan no longer fits the store: it is of another one, or what anybody says about pruning has changed since."""

    exit_code = 5


class RestoreRefusedError(StateError):
    """Something is in the place of what an archive would bring back, or it does not fit. Nothing was changed."""

    exit_code = 5


class NotArchivedError(StateError):
    """The archive does not have what was asked for."""

    exit_code = 7


class PolicyUnknownError(StateError):
    """Nobody says what to prune: no rules were given and no policy is configured or published."""

    exit_code = 2


class WaitTimeoutError(DuroError, TimeoutError):
    """The wait ended before the orchestration did; the orchestration goes on."""


# --- the operator ------------------------------------------------------------------------------------------


class StoreError(DuroError):
    """The store could not do what was asked."""


class StoreNotFoundError(StoreError):
    exit_code = 10


class NotADatabaseError(StoreError):
    """The file is not a SQLite database."""

    exit_code = 10


class NotADuroStoreError(StoreError):
    """The database belongs to another application (or to none)."""

    exit_code = 10


class SchemaTooNewError(StoreError):
    """The store was written by a newer duro."""

    exit_code = 12


class SchemaTooOldError(StoreError):
    """The store must be migrated first, which was not allowed here (read-only)."""


class StoreReadOnlyError(StoreError):
    """The file or its directory cannot be written."""


class StoreLockedError(StoreError):
    """Another process kept the store locked for longer than the busy time-out."""

    exit_code = 11
    retryable = True


class StoreFullError(StoreError):
    """The disk is full."""


class BackupError(StoreError):
    """A backup or an export could not be made. There is no file of it."""


class StoreCorruptError(StoreError):
    """The database file is damaged."""


class RowUnreadableError(StoreCorruptError):
    """A row of the database has text that is no UTF-8, or a value that it cannot have. Others can be read."""


class StoreClosedError(StoreError):
    """The store was closed."""


class StoreForkedError(StoreError):
    """The store was opened in another process; a connection must not cross ``fork()``."""


class CommitUnknownError(StoreError):
    """The commit reported an error but may have succeeded: look it up, neither repeat nor report failure."""


class ArchiveError(DuroError):
    """The archive. Nothing that waits for it is lost: it stays in the store."""

    exit_code = 10


class ArchiveUnavailableError(ArchiveError):
    """The directory of an archive cannot be used: it is not there, is full, may not be written, or is no archive."""


class ArchiveDamagedError(ArchiveError):
    """A segment of an archive, or its manifest, is not what was written."""

    exit_code = 13


class SettingsError(DuroError):
    """A runtime_config.toml cannot be used. ``problems``: everything that is wrong with it, in the order of the file.

    The message and the hint are those of the first problem; the message counts the others.
    """

    exit_code = 6

    def __init__(self, problems: Iterable[FileProblem]) -> None:
        self.problems = tuple(problems)
        first, others = self.problems[0], len(self.problems) - 1
        counted = f" (and {others} more: `duroctl policy check {first.file}` lists them)" if others else ""
        super().__init__(f"{first.place}: {first.message}{counted}", hint=first.hint)


class EditRefusedError(SettingsError):
    """A runtime_config.toml could not be edited safely and was left as it is. ``snippet``: what to write there by
    hand, lines of TOML, and ``where`` ("at its end"); empty if lines are to be removed."""

    def __init__(self, problem: FileProblem, snippet: str, where: str = "") -> None:
        super().__init__([problem])
        self.snippet = snippet
        self.where = where


# --- the developer -----------------------------------------------------------------------------------------


class CodeError(DuroError):
    """Code and history, or code and the rules of orchestrations, do not fit together."""


class NondeterminismError(CodeError):
    """The code asked for something else than the history recorded."""


class HistoryFormatError(CodeError):
    """A stored event, message or history cannot be decoded by this version of duro."""


class NonDurableAwaitError(CodeError, TypeError):
    """An orchestration awaited something that is not durable."""


# --- raised inside orchestrations --------------------------------------------------------------------------


class TaskFailedError(DuroError):
    """Something an orchestration waited for failed. ``failure`` is what was recorded."""

    def __init__(self, message: str, failure: FailureDetails) -> None:
        super().__init__(message)
        self.failure = failure


class ActivityFailedError(TaskFailedError):
    """An activity failed for good: its retries are used up, or its error is not to be retried."""


class SubOrchestrationFailedError(TaskFailedError):
    """A sub-orchestration failed, was cancelled or terminated, or could not be started."""


class OrchestrationFailedError(TaskFailedError):
    """The orchestration whose result was asked for did not complete."""


class FutureCancelledError(DuroError):
    """This durable future lost a ``select`` and was cancelled; its result is never delivered."""


class OrchestrationCancelled(BaseException):
    """Raised at the awaiting point of an orchestration that was asked to stop; cleanup may run durable work.

    A BaseException, so that ``except Exception`` does not swallow it.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class ActivityCancelled(BaseException):
    """Raised by ``ActivityContext.raise_if_cancelled`` and ``heartbeat`` when nobody waits for this attempt any
    more."""


class ContextSealed(BaseException):
    """Raised to code that calls its context while the coroutine is being dropped from memory. Nothing it does
    counts."""

"""Whether what decides is what the configuration file at hand says."""

from typing import TYPE_CHECKING

from duro.errors import UsageError
from duro.model.retention import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from duro.client import Client
    from duro.model.pruning import PrunePlan
    from duro.model.retention import PolicyOrigin
    from duroctl.session import Session


def tell_unread(session: "Session", client: "Client", origins: "Iterable[PolicyOrigin]", *, removes: bool) -> None:
    """The policies that decide are those that workers were told: say so where the file at hand says something else and
    one of ``origins`` is a policy of a file or a program.

    Raises:
        UsageError: it ``removes``, and no worker lives that goes by what was told.
    """
    from duroctl.policy_files import unread_text

    own = (PolicyKind.CALL, PolicyKind.INSTANCE, PolicyKind.NONE)
    if all(origin.kind in own for origin in origins) or not (unread := unread_text(session, client)):
        return
    now_ms = client.store.now_ms()
    if removes and not any(worker.lease_until_ms > now_ms for worker in client.list_workers()):
        raise UsageError(
            f"no worker runs, and {session.config_file} is not what the one that stopped last was told",
            hint="start one, which reads it, or give rules, such as --keep-last 3; --dry-run goes by what was told",
        )
    session.note(unread)


def prune_origins(plan: "PrunePlan") -> "Iterator[PolicyOrigin]":
    """Whose rules remove something."""
    return (each.origin for each in plan.instances if not all(item.verdict.keep for item in each.items))

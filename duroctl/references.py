"""Which instance or execution a person means, asked of a store."""

from typing import TYPE_CHECKING, Final

from duro.errors import InstanceNotFoundError, InstanceRemovedError, InvalidIdError, UsageError
from duroctl.parsing import AN_EXECUTION_OF, Reference, parse_count, resolve_reference

if TYPE_CHECKING:
    from duro.client import Client

_WHOLE: Final = "{0} --whole"


def resolve_target(client: "Client", text: str, *, execution: str | None, whole: bool) -> Reference:
    """As ``resolve``, for commands that take instances as well as executions: with ``execution`` (the ``--execution``)
    or ``whole`` (``--whole``), ``text`` is the id of an instance, whatever slashes it has.

    Raises:
        UsageError: the execution is no number, both are given, or both readings exist.
        InstanceNotFoundError, InstanceRemovedError: see ``resolve``.
    """
    if whole and execution is not None:
        raise UsageError("--whole and --execution do not go together", hint="choose one")
    if whole or execution is not None:
        return Reference(text, None if execution is None else parse_count(execution, "--execution"))
    return resolve(client, text, _WHOLE)


def resolve(client: "Client", text: str, first_as: str = AN_EXECUTION_OF) -> Reference:
    """As ``resolve_reference``, by the instances of the store.

    Raises:
        InstanceRemovedError: no reading names an instance, and one names an instance that was removed as a whole.
        InstanceNotFoundError: no reading names an instance.
        UsageError: both do.
    """
    removed: list[InstanceRemovedError] = []

    def exists(instance_id: str) -> bool:
        try:
            client.get_instance(instance_id)
        except InstanceRemovedError as error:
            removed.append(error)
            return False
        except (InstanceNotFoundError, InvalidIdError):  # one of two readings may be too long for an id
            return False
        return True

    try:
        return resolve_reference(text, exists, first_as)
    except InstanceNotFoundError:
        if removed:
            raise removed[0] from None
        raise

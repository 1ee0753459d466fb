"""Which instance or execution a person means, asked of a store."""

from typing import TYPE_CHECKING

from duro.errors import InstanceNotFoundError, InstanceRemovedError, InvalidIdError
from duroctl.parsing import Reference, resolve_reference

if TYPE_CHECKING:
    from duro.client import Client


def resolve(client: "Client", text: str) -> Reference:
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
        return resolve_reference(text, exists)
    except InstanceNotFoundError:
        if removed:
            raise removed[0] from None
        raise

"""``MODULE:REGISTRY``: the user's code, imported on request."""

import importlib
import sys
from pathlib import Path

from duro.errors import RegistryImportError
from duro.registry import Registry

_HINT = "write it like package.module:registry, where registry = duro.Registry()"


def load_registry(reference: str, directory: Path) -> Registry:
    """The registry called ``REGISTRY`` in ``MODULE``, looked for in ``directory`` first.

    Raises:
        RegistryImportError: the reference is misspelt, the import failed, or what it names is no registry.
    """
    module_name, colon, attribute = reference.partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module_name.split("."))):
        raise RegistryImportError(f"{reference!r} is not of the form MODULE:REGISTRY", hint=_HINT)
    if not directory.is_dir():
        raise RegistryImportError(f"there is no directory {str(directory)!r} to import from", hint="check --directory")
    location = str(directory.resolve())
    if location not in sys.path:
        sys.path.insert(0, location)
    try:
        found: object = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise _import_failed(module_name, location, error) from error
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise RegistryImportError(f"module {module_name!r} has no {attribute!r}", hint=_HINT) from None
    if not isinstance(found, Registry):
        raise RegistryImportError(f"{reference!r} is of type {type(found).__name__}, not a duro.Registry", hint=_HINT)
    return found


def _import_failed(module_name: str, location: str, error: BaseException) -> RegistryImportError:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return RegistryImportError(
            f"there is no module {error.name!r} in {location} or among the installed packages",
            hint="start the worker where the module is, or pass --directory",
        )
    return RegistryImportError(
        f"module {module_name!r} could not be imported: {type(error).__name__}: {error}",
        hint="run again with -v for the traceback",
    )

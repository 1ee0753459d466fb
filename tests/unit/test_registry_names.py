"""Registries: what a function is called."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from duro import InvalidNameError, Registry, RegistryError


class _Callable:
    def __call__(self, ctx: Any) -> int:
        return 1


async def _wait(ctx: Any) -> int:
    return 1


@pytest.mark.parametrize("options", [{}, {"name": "given"}])
@pytest.mark.parametrize("register", [Registry.activity, Registry.orchestration])
def test_what_is_no_function_is_refused_with_the_remedy(register: Callable[..., Any], options: dict[str, str]) -> None:
    for given in (_Callable(), functools.partial(_wait)):
        registry = Registry()
        with pytest.raises(RegistryError, match="is not a function; define one with `def` that calls it"):
            register(registry, **options)(given) if options else register(registry, given)
        assert (registry.activities, registry.orchestrations) == ((), ())


@pytest.mark.parametrize("register", [Registry.activity, Registry.orchestration])
def test_an_empty_name_is_refused_and_not_taken_for_none(register: Callable[..., Any]) -> None:
    registry = Registry()
    with pytest.raises(InvalidNameError, match="is empty"):
        register(registry, name="")(_wait)
    assert (registry.activities, registry.orchestrations) == ((), ())

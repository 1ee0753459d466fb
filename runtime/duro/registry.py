"""Registries: which functions are orchestrations and activities, under which names and versions, of which types."""

import inspect
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args, get_origin, get_type_hints, overload

import msgspec

from duro.codec import NULL, check_annotation, decode_payload
from duro.errors import (
    InvalidInputError,
    InvalidRulesError,
    RegistryError,
    UnknownActivityError,
    UnknownOrchestrationError,
)
from duro.model.events import Json
from duro.model.policies import StatedPolicy
from duro.model.retention import AutoPrune, PolicyKind, PolicyOrigin, as_auto_prune
from duro.naming import check_name

if TYPE_CHECKING:
    from packaging.version import Version

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_VERSION: Final = "1.0.0"


_READ_AS_WRITTEN: Final = (int, str, bool)
"""Types whose every value that can be encoded is read again as it was. (Not float: NaN is written as null.)"""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What JSON becomes on the way in and out of a function ``(ctx)`` or ``(ctx, input)``."""

    takes_input: bool
    input_required: bool
    input_type: Any
    result_type: Any

    def arguments(self, data: Json | str, what: str) -> tuple[Any, ...]:
        """The arguments after ``ctx``: () or (input,). An absent input (JSON null) leaves a default in force.

        Raises:
            InvalidInputError: ``data`` does not fit the annotation, or the function takes no input.
        """
        absent = data in (NULL, "null")
        if not self.takes_input:
            if absent:
                return ()
            raise InvalidInputError(
                f"{what} takes no input, and one was given", hint="leave it out, or add a parameter"
            )
        if absent and not self.input_required:
            return ()
        return (decode_payload(data, self.input_type, f"input of {what}"),)

    def check_result(self, value: object, data: Json, what: str) -> None:
        """``data`` is ``value`` encoded.

        Raises:
            InvalidInputError: it does not fit the annotation, so whoever waits for it could not read it.
        """
        expected = self.result_type
        if expected is not Any and not (expected in _READ_AS_WRITTEN and type(value) is expected):
            decode_payload(data, expected, what)


class ActivityDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """``max_concurrent``: attempts that one worker has in hand at once; None leaves it to ``RuntimeOptions``."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    signature: Signature
    max_concurrent: int | None = None


class OrchestrationDefinition(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    function: Callable[..., Any]
    signature: Signature
    auto_prune: AutoPrune | None = None
    place: str = ""
    """Where it was registered: ``app.py:7``."""


class Registry:
    """The functions a worker can run. Filled at import time, read by runtimes and clients.

    ::

        registry = duro.Registry()

        @registry.activity
        async def charge(ctx: duro.ActivityContext, order: Order) -> Receipt: ...

        @registry.orchestration(version="2.0.0")
        async def sell(ctx: duro.OrchestrationContext, order: Order) -> Receipt: ...
    """

    def __init__(self) -> None:
        self._activities: dict[str, ActivityDefinition] = {}
        self._orchestrations: dict[str, dict[str, OrchestrationDefinition]] = {}
        self._newest: dict[str, OrchestrationDefinition] = {}
        self._names: dict[Callable[..., Any], str] = {}

    # --- filling ---------------------------------------------------------------------------------------------

    @overload
    def activity(self, function: F, /) -> F: ...
    @overload
    def activity(self, /, *, name: str | None = None, max_concurrent: int | None = None) -> Callable[[F], F]: ...
    def activity(self, function: Any = None, /, *, name: str | None = None, max_concurrent: int | None = None) -> Any:
        """Register an ``async def`` or plain function ``(ctx)`` or ``(ctx, input)`` as an activity.

        Its name is the function's, or ``name``. ``max_concurrent`` is how many of it a worker runs at once at most;
        what is beyond stays in the store, for any worker, and keeps no other activity waiting. An attempt that timed
        out or was cancelled and has not stopped yet no longer counts. The function is returned unchanged.

        Raises:
            RegistryError: the name is taken, the function has another shape, or ``max_concurrent`` is not at least 1.
        """

        def register(function: F) -> F:
            chosen = check_name(_chosen_name(name, function), "activity name")
            _check_maximum(max_concurrent, chosen)
            if chosen in self._activities:
                raise RegistryError(f"activity {chosen!r} is registered twice", hint="give one of them another name=")
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise RegistryError(f"activity {chosen!r} is a generator", hint="return the result instead of yielding")
            is_async = inspect.iscoroutinefunction(function)
            self._activities[chosen] = ActivityDefinition(
                name=chosen,
                function=function,
                is_async=is_async,
                signature=_signature(function, f"activity {chosen!r}"),
                max_concurrent=max_concurrent,
            )
            self._names[function] = chosen
            return function

        return register if function is None else register(function)

    @overload
    def orchestration(self, function: F, /) -> F: ...
    @overload
    def orchestration(
        self,
        /,
        *,
        name: str | None = None,
        version: str = DEFAULT_VERSION,
        auto_prune: AutoPrune | int | None = None,
    ) -> Callable[[F], F]: ...
    def orchestration(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        version: str = DEFAULT_VERSION,
        auto_prune: AutoPrune | int | None = None,
    ) -> Any:
        """Register an ``async def`` or generator function ``(ctx)`` or ``(ctx, input)`` as an orchestration.

        Several versions may stand side by side under one name; a version is a PEP 440 number such as ``1.4.0``.
        ``auto_prune`` is the policy by which its instances lose earlier executions (an int stands for ``keep_last``);
        a configuration or an instance of its own may say otherwise.

        Raises:
            RegistryError: the name and version are taken, the version is none, or the function has another shape.
            InvalidRulesError: ``auto_prune`` is no policy.
        """

        def register(function: F) -> F:
            chosen = check_name(_chosen_name(name, function), "orchestration name")
            policy = _policy(auto_prune, f"orchestration {chosen!r} version {version}")
            versions = self._orchestrations.setdefault(chosen, {})
            parsed = _parse_version(check_name(version, "version"))
            if any(_parse_version(other) == parsed for other in versions):
                raise RegistryError(
                    f"orchestration {chosen!r} is registered twice in version {version}",
                    hint="give one another version=",
                )
            if not (inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function)):
                raise RegistryError(
                    f"orchestration {chosen!r} is neither async nor a generator", hint="define it with `async def`"
                )
            definition = OrchestrationDefinition(
                name=chosen,
                version=version,
                function=function,
                signature=_signature(function, f"orchestration {chosen!r}"),
                auto_prune=policy,
                place=_place(function),
            )
            versions[version] = definition
            newest = self._newest.get(chosen)
            if newest is None or _parse_version(newest.version) < parsed:
                self._newest[chosen] = definition
            self._names[function] = chosen
            return function

        return register if function is None else register(function)

    # --- reading ---------------------------------------------------------------------------------------------

    def activity_name(self, function_or_name: Callable[..., Any] | str) -> str:
        """The name to schedule. A string may name an activity that only other workers have.

        Raises:
            UnknownActivityError: a function that is not registered here.
        """
        if isinstance(function_or_name, str):
            return check_name(function_or_name, "activity name")
        name = self._known_name(function_or_name)
        if name is None or name not in self._activities:
            raise UnknownActivityError(
                f"{_shown(function_or_name)} is not a registered activity", hint="decorate it with @registry.activity"
            )
        return name

    def orchestration_name(self, function_or_name: Callable[..., Any] | str) -> str:
        """The name to start. A string may name an orchestration that only other workers have.

        Raises:
            UnknownOrchestrationError: a function that is not registered here.
        """
        if isinstance(function_or_name, str):
            return check_name(function_or_name, "orchestration name")
        name = self._known_name(function_or_name)
        if name is None or name not in self._orchestrations:
            raise UnknownOrchestrationError(
                f"{_shown(function_or_name)} is not a registered orchestration",
                hint="decorate it with @registry.orchestration",
            )
        return name

    def _known_name(self, function: object) -> str | None:
        try:
            return self._names.get(function)  # type: ignore[call-overload, no-any-return]  # whatever the caller gave
        except TypeError:  # unhashable, so it was never registered
            return None

    def find_activity(self, name: str) -> ActivityDefinition | None:
        return self._activities.get(name)

    def find_orchestration(self, name: str, version: str = "") -> OrchestrationDefinition | None:
        """The definition of that version; of the newest one for ""."""
        return self._orchestrations.get(name, {}).get(version) if version else self._newest.get(name)

    @property
    def activities(self) -> tuple[str, ...]:
        """The names of all activities, sorted."""
        return tuple(sorted(self._activities))

    @property
    def policies(self) -> tuple[StatedPolicy, ...]:
        """What registrations say about automatic pruning, in the order of ``orchestrations``."""
        definitions = [self._orchestrations[name][version] for name, version in self.orchestrations]
        return tuple(
            StatedPolicy(
                policy=each.auto_prune,
                origin=PolicyOrigin(PolicyKind.REGISTRATION, each.place),
                name=each.name,
                version=each.version,
            )
            for each in definitions
            if each.auto_prune is not None
        )

    @property
    def orchestrations(self) -> tuple[tuple[str, str], ...]:
        """(name, version) of all orchestrations, sorted by name, versions from old to new."""
        return tuple(
            (name, version)
            for name in sorted(self._orchestrations)
            for version in sorted(self._orchestrations[name], key=_parse_version)
        )


def _policy(auto_prune: AutoPrune | int | None, whose: str) -> AutoPrune | None:
    if auto_prune is None:
        return None
    try:
        return as_auto_prune(auto_prune)
    except InvalidRulesError as error:
        raise InvalidRulesError(f"{whose} cannot be registered: {error.message}", hint=error.hint) from error


def _place(function: Callable[..., Any]) -> str:
    """The file and the line. The file as its module is imported, so that workers say the same wherever they run."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    file = Path(code.co_filename)
    module: str = getattr(inspect.unwrap(function), "__module__", None) or ""
    depth = module.count(".") + (2 if file.stem == "__init__" else 1)
    return f"{Path(*file.parts[-depth:]).as_posix()}:{code.co_firstlineno}"


def _chosen_name(name: str | None, function: object) -> str:
    own: str | None = getattr(function, "__name__", None)
    if own is None:
        raise RegistryError(f"{function!r} is not a function", hint="define one with `def` that calls it")
    return own if name is None else name


def _check_maximum(count: object, activity: str) -> None:
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise RegistryError(
            f"max_concurrent of activity {activity!r} must be a whole number of at least 1, not {count!r}",
            hint="leave it out for no limit of its own",
        )


def _parse_version(text: str) -> "Version":
    from packaging.version import InvalidVersion, Version  # only those who register pay for it

    try:
        return Version(text)
    except InvalidVersion:
        raise RegistryError(f"version {text!r} is not a version number", hint="write it like 1.2.0") from None


def _signature(function: Callable[..., Any], what: str) -> Signature:
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) != len(parameters) or not 1 <= len(positional) <= 2:
        raise RegistryError(f"{what} must take (ctx) or (ctx, input)", hint="gather several values in one dataclass")
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise RegistryError(
            f"the annotations of {what} cannot be resolved: {error}", hint="define the types at module level"
        ) from error
    takes_input = len(positional) == 2
    input_type = hints.get(positional[1].name, Any) if takes_input else Any
    result_type = hints.get("return", Any)
    if inspect.isgeneratorfunction(function):
        arguments = get_args(result_type) if get_origin(result_type) is Generator else ()
        result_type = arguments[2] if len(arguments) == 3 else Any
    for annotation, place in ((input_type, "input"), (result_type, "result")):
        try:
            check_annotation(annotation, f"the {place} of {what}")
        except InvalidInputError as error:
            raise RegistryError(str(error), hint="use plain types, dataclasses, TypedDict or msgspec types") from error
    return Signature(
        takes_input=takes_input,
        input_required=takes_input and positional[1].default is inspect.Parameter.empty,
        input_type=input_type,
        result_type=result_type,
    )


def _shown(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)

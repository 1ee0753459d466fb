"""Values to JSON text and back: events and messages by their wire tag, payloads by the annotations of functions."""

from typing import Any, Final, TypeVar

import msgspec

from duro.errors import HistoryFormatError, InvalidInputError, PayloadTooLargeError
from duro.model.events import AnyEvent, Event, Json, OrchestrationTerminated
from duro.model.failure import FailureDetails
from duro.model.limits import PAYLOAD_BYTES_MAX
from duro.model.messages import AnyMessage, ChildFailed, HistoryPruned, Message
from duro.model.pruning import PruneResult

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)
_message_decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
_raw_decoder: msgspec.json.Decoder[msgspec.Raw] = msgspec.json.Decoder(msgspec.Raw)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_opaque: dict[Any, Any] = {}

NULL = msgspec.Raw(b"null")


def event_json(event: Event) -> bytes:
    """``encode_event`` before it is text: its length is that of the event in a history."""
    return _encoder.encode(event)


def encode_event(event: Event) -> str:
    return event_json(event).decode()


def decode_event(data: str) -> AnyEvent:
    """Raises HistoryFormatError: not JSON, an unknown tag, or a field missing or of the wrong type."""
    try:
        return _event_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise HistoryFormatError(f"event {_excerpt(data)} cannot be read: {_said(error)}", hint=_FORMAT_HINT) from error


def encode_message(message: Message) -> str:
    return _encoder.encode(message).decode()


def decode_message(data: str) -> AnyMessage:
    """Raises HistoryFormatError: not JSON, an unknown tag, or a field missing or of the wrong type."""
    try:
        return _message_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        problem = f"message {_excerpt(data)} cannot be read: {_said(error)}"
        raise HistoryFormatError(problem, hint=_FORMAT_HINT) from error


def stored_payload(data: str, what: str) -> Json:
    """A payload as a store gives it. Raises HistoryFormatError: it is no text."""
    try:
        return msgspec.Raw(data.encode())
    except UnicodeEncodeError as error:
        raise HistoryFormatError(
            f"{what} {_excerpt(data)} cannot be read: {_said(error)}", hint=_FORMAT_HINT
        ) from error


def encode_payload(value: object, what: str) -> Json:
    """``value`` as JSON. ``what`` names it in errors ("input of activity 'charge'").

    Raises:
        InvalidInputError: it is not representable as JSON, or not as JSON every store can keep.
        PayloadTooLargeError: it is over ``PAYLOAD_BYTES_MAX`` bytes.
    """
    try:
        data = _encoder.encode(value)
        payload = _raw_decoder.decode(data)  # a msgspec.Raw inside is written as it is, and may be anything
    except (TypeError, ValueError, UnicodeError, RecursionError, OverflowError) as error:
        raise InvalidInputError(
            f"{what} is not JSON: {error}", hint="use plain values, dataclasses or msgspec types"
        ) from error
    _check_size(data, what)
    return payload


def payload_from_text(text: str | bytes, what: str) -> Json:
    """JSON text that came from outside, checked, without white space between its tokens, otherwise kept as it is.

    Raises:
        InvalidInputError: it is not JSON.
        PayloadTooLargeError: it is over ``PAYLOAD_BYTES_MAX`` bytes.
    """
    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        compact = msgspec.json.format(data, indent=-1)
        msgspec.json.decode(compact)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInputError(f"{what} is not JSON: {error}", hint='text needs quotes: "text"') from error
    _check_size(compact, what)
    return msgspec.Raw(compact)


def decode_payload(data: Json | str | bytes, annotation: Any, what: str) -> Any:
    """``data`` as a value of type ``annotation``.

    Raises:
        InvalidInputError: it does not fit the annotation, or a class in the annotation raised something while it was
            made.
    """
    try:
        return decode_value(data, annotation)
    except MemoryError:
        raise
    except Exception as error:  # the user's own classes are made here, and may raise anything
        raise misfit(error, annotation, what) from error


def decode_value(data: Json | str | bytes, annotation: Any) -> Any:
    """``decode_payload`` for who names what it is only when it does not fit: raises whatever the decoder, or a class in
    the annotation, raises."""
    return _decoder(annotation).decode(data)


def misfit(error: Exception, annotation: Any, what: str) -> InvalidInputError:
    """``what`` could not be decoded, because of ``error``."""
    return InvalidInputError(f"{what} does not fit {type_name(annotation)}: {_said(error)}")


def check_annotation(annotation: Any, what: str) -> None:
    """Raises InvalidInputError when JSON cannot be turned into ``annotation``, or into something it contains."""
    if annotation is Any:
        return
    try:
        _decoder(annotation)
        opaque = _opaque_class(annotation)
    except TypeError as error:
        raise InvalidInputError(
            f"{what} is annotated {type_name(annotation)}, which JSON cannot carry: {error}"
        ) from error
    if opaque is not None:
        inside = "" if opaque is annotation else f" because of {type_name(opaque)}"
        raise InvalidInputError(f"{what} is annotated {type_name(annotation)}, which JSON cannot carry{inside}")


def _opaque_class(annotation: Any) -> Any:
    """A class in the annotation that nothing but its own code can make; the decoder accepts it and fails at the first
    value. None if there is none."""
    try:
        return _opaque[annotation]
    except KeyError:
        found = _opaque[annotation] = _find_opaque(annotation)
        return found
    except TypeError:  # unhashable, as in ``_decoder``
        return _find_opaque(annotation)


def _find_opaque(annotation: Any) -> Any:
    from msgspec import inspect  # only who registers or waits for a typed event pays for it

    waiting: list[Any] = [inspect.type_info(annotation)]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, inspect.CustomType):
            if not _holds_plain_values(node.cls):
                return node.cls
        elif isinstance(node, tuple | list):
            waiting += node
        elif isinstance(node, inspect.Type | inspect.Field) and id(node) not in seen:
            seen.add(id(node))
            waiting += [getattr(node, name) for name in node.__struct_fields__ if name not in ("default", "cls")]
    return None


def _holds_plain_values(cls: Any) -> bool:
    """Whether what JSON gives can be an instance as it is: of ``object``, say, or of ``numbers.Number``."""
    return isinstance(cls, type) and any(issubclass(plain, cls) for plain in (dict, list, str, int, float))


def type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def child_failed_message(execution_id: int, scheduled_event_id: int, failure: FailureDetails) -> str:
    """The encoded message that tells a parent its child failed, where no turn of the child can write it."""
    return encode_message(
        ChildFailed(execution_id=execution_id, scheduled_event_id=scheduled_event_id, failure=failure)
    )


def history_pruned_message(execution_id: int, scheduled_event_id: int, result: PruneResult) -> str:
    """The encoded message that tells an orchestration what the prune it asked for did."""
    return encode_message(
        HistoryPruned(
            execution_id=execution_id,
            scheduled_event_id=scheduled_event_id,
            executions_deleted=result.executions_deleted,
            events_deleted=result.events_deleted,
            bytes_deleted=result.bytes_deleted,
            remaining=result.remaining,
            error=result.error,
        )
    )


def terminated_event(event_id: int, at_ms: int, reason: str) -> str:
    """The encoded event with which a store ends an execution from outside."""
    return encode_event(OrchestrationTerminated(event_id=event_id, at_ms=at_ms, reason=reason))


_FORMAT_HINT = "it was written by a newer duro, or damaged: `duroctl history show` prints it as stored"


def _decoder(annotation: Any) -> msgspec.json.Decoder[Any]:
    try:
        return _decoders[annotation]
    except KeyError:
        decoder = _decoders[annotation] = msgspec.json.Decoder(annotation)
        return decoder
    except TypeError:  # an unhashable annotation: rare, so not worth a cache
        return msgspec.json.Decoder(annotation)


def _check_size(data: bytes, what: str) -> None:
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLargeError(
            f"{what} is {len(data)} bytes of JSON, and at most {PAYLOAD_BYTES_MAX} are allowed",
            hint="keep large data elsewhere and pass a reference to it",
        )


_SAID_CHARACTERS_MAX: Final = 500
"""Of what the decoder says: it repeats a wrong value whole, however long it is."""


def _said(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (of a class of the user's)
        text = "(its message cannot be read)"
    if isinstance(error, UnicodeError):  # bytes that are none come from stores as lone surrogates
        text = "it is no text (UTF-8)"
    if not isinstance(error, msgspec.DecodeError | UnicodeError | RecursionError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _SAID_CHARACTERS_MAX else f"{text[: _SAID_CHARACTERS_MAX - 60]}...{text[-57:]}"


def _excerpt(data: str) -> str:
    return ascii(data if len(data) <= 80 else data[:77] + "...")

"""Ids and names, checked once, at the API, the same for every store."""

from duro.errors import InvalidIdError, InvalidInputError, InvalidNameError
from duro.model.limits import INSTANCE_ID_BYTES_MAX, NAME_BYTES_MAX, REASON_BYTES_MAX


def _problem(text: object, bytes_max: int) -> str | None:
    """What keeps ``text`` from being stored everywhere: PostgreSQL refuses NUL and lone surrogates, SQLite's
    ``length`` stops at NUL."""
    if not isinstance(text, str):
        return f"must be a string, not {type(text).__name__}"
    if not text:
        return "is empty"
    if "\0" in text:
        return "contains a NUL character"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "contains a lone surrogate (it is not valid Unicode)"
    if size > bytes_max:
        return f"is {size} bytes long, and at most {bytes_max} are allowed"
    return None


def check_instance_id(instance_id: str) -> str:
    """``instance_id`` itself.

    Raises:
        InvalidIdError: it is empty, over ``INSTANCE_ID_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(instance_id, INSTANCE_ID_BYTES_MAX):
        raise InvalidIdError(f"instance id {shown(instance_id)} {problem}", hint="choose another id")
    return instance_id


def check_request_id(request_id: str) -> str:
    """``request_id`` itself.

    Raises:
        InvalidIdError: it is empty, over ``INSTANCE_ID_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(request_id, INSTANCE_ID_BYTES_MAX):
        raise InvalidIdError(f"request id {shown(request_id)} {problem}", hint="choose another id")
    return request_id


def check_name(name: str, what: str) -> str:
    """``name`` itself; ``what`` names its kind in the error ("activity name", "version").

    Raises:
        InvalidNameError: it is empty, over ``NAME_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if problem := _problem(name, NAME_BYTES_MAX):
        raise InvalidNameError(f"{what} {shown(name)} {problem}", hint="choose another one")
    return name


def check_text(text: str, what: str) -> str:
    """``text`` itself: a reason, written by people, that may be empty.

    Raises:
        InvalidInputError: it is over ``REASON_BYTES_MAX`` bytes, or has a NUL or a lone surrogate.
    """
    if text != "" and (problem := _problem(text, REASON_BYTES_MAX)):
        raise InvalidInputError(f"{what} {shown(text)} {problem}", hint="write another one")
    return text


def shown(value: object) -> str:
    """``value`` as an error repeats it: in ASCII, and not at length."""
    try:
        text = ascii(value)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"

"""Text that came from a user, made safe to print: no control character, bidi mark or newline passes through."""

import re

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u2800\u3164\uffa0"
    "\U00013441\U00013442\U00016fe4\U0001d159"
) | {chr(code) for each in (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)) for code in each}
"""Characters Unicode calls letters, marks or symbols, so that ``isprintable`` lets them pass, and that nobody can see:
fillers and blanks, and those that only select a variant of the one before them."""
_PADDING = re.compile(r"^ +| {2,}| +$")


def visible(text: str) -> str:
    """``text`` on one line, with all that is not plainly visible written as escapes (``\\x1b``, ``\\u202e``, ``\\n``).

    Spaces, letters, marks and symbols of every script stay. Backslashes stay too, so that ordinary text is unchanged:
    the result is for people, and ``-o json`` is exact.
    """
    if text.isprintable() and _INVISIBLE.isdisjoint(text):
        return text
    return "".join(map(_escaped, text))


def visible_field(text: str) -> str:
    """``visible(text)`` for a text that stands among the program's own on a line for people: spaces that nobody can
    count, two or more or at an end, are written out too, so that it cannot pass for several texts or for a new line."""
    shown = visible(text)
    if "  " not in shown and shown == shown.strip(" "):
        return shown
    return _PADDING.sub(lambda spaces: "\\x20" * len(spaces[0]), shown)


def versioned(name: str, version: str) -> str:
    """An orchestration and its version, if it has one, as fields."""
    return " ".join(visible_field(each) for each in (name, version) if each)


def json_safe(text: str) -> str:
    """JSON text with the same meaning, in which no character inside a string can steer a terminal.

    Inside JSON strings the C0 controls are escaped already; this escapes the others (DEL, C1, bidi marks ...).
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(c if c in "\n\r\t" or _plain(c) else _json_escape(c) for c in text)


def id_line(instance_id: str) -> str:
    """An id as one line of ``-o ids``: itself, or a JSON string where a plain line would not be the same id again.

    ``parsing.id_from_line`` reads both. Without this an id with a newline in it would come back as two others.
    """
    if visible(instance_id) == instance_id and instance_id == instance_id.strip() and not instance_id.startswith('"'):
        return instance_id
    import json

    return json.dumps(instance_id)


def _plain(character: str) -> bool:
    return character.isprintable() and character not in _INVISIBLE


def _escaped(character: str) -> str:
    if _plain(character):
        return character
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

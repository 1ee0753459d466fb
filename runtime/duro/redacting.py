"""Store URLs as errors and notes may repeat them: without what may be a secret. Pure."""


def redacted(url: str) -> str:
    """``url`` without a name, a password or a query: ``postgresql://...@host/db``, ``postgresql://...``.

    The path of an SQLite file has none of them and stays. Of anything else that has a ``?`` or a ``#`` only the scheme
    is left: where a password with such a character ends cannot be told.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or (scheme == "sqlite" and rest.startswith("///")):
        return url
    slashes = "//" if rest.startswith("//") else ""
    if "?" in rest or "#" in rest:
        return f"{scheme}:{slashes}..."
    return f"{scheme}:{slashes}...@{rest.rpartition('@')[2]}" if "@" in rest else url

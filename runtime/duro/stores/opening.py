"""Store URLs. The one module that names the concrete stores; each is imported only when it is asked for."""

import os
from collections.abc import Callable
from typing import Final, Literal

from duro.clock import Clock, SystemClock
from duro.errors import StoreUrlError
from duro.redacting import redacted
from duro.stores.base import Store

Synchronous = Literal["FULL", "NORMAL", "EXTRA"]


_ids_ready: list[str] = []
os.register_at_fork(after_in_child=_ids_ready.clear)

_IDS_AT_ONCE: Final = 64
_ID_BYTES: Final = 16


def new_id() -> str:
    """128 random bits as 32 hex digits: instance ids, worker ids, seeds, commit tokens. Several are drawn at once: the
    system's generator costs little, but to ask it a thread gives up the GIL, and then waits for it."""
    try:
        return _ids_ready.pop()
    except IndexError:
        drawn = os.urandom(_IDS_AT_ONCE * _ID_BYTES)
    first, *others = (drawn[start : start + _ID_BYTES].hex() for start in range(0, len(drawn), _ID_BYTES))
    _ids_ready.extend(others)
    return first


def open_store(
    url: str | os.PathLike[str],
    *,
    clock: Clock | None = None,
    create: bool = True,
    read_only: bool = False,
    to_copy: bool = False,
    synchronous: Synchronous = "FULL",
    allow_network_fs: bool = False,
    ids: Callable[[], str] = new_id,
) -> Store:
    """Open the store at ``url``.

    ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db`` or a path object: one SQLite file, made if it is not
    there and ``create`` is true. ``memory:``: a store in this process's memory, new each time.
    ``to_copy``, with ``read_only``: a store for ``Client.backup`` alone, also of an older schema, which stays as it is.
    ``synchronous`` other than FULL trades acknowledged work for speed when the power fails.

    Raises:
        StoreUrlError: the scheme is unknown, or the path is missing.
        StoreError: see its subclasses; nothing was changed.
    """
    clock = clock or SystemClock()
    if isinstance(url, os.PathLike):
        url = f"sqlite:///{os.fspath(url)}"
    if url in ("memory:", "memory://"):
        from duro.stores.memory import MemoryStore

        return MemoryStore(clock=clock, new_id=ids)
    if not isinstance(url, str):
        raise StoreUrlError(
            f"a store is named by a URL or a path, not by something of type {type(url).__name__}",
            hint="write sqlite:///path/to/file.db",
        )
    path = sqlite_path(url)
    from duro.stores.sqlite import SqliteStore

    return SqliteStore.open(
        path,
        url=url,
        clock=clock,
        new_id=ids,
        create=create,
        read_only=read_only,
        to_copy=to_copy,
        synchronous=synchronous,
        allow_network_fs=allow_network_fs,
    )


def sqlite_path(url: str) -> str:
    """The file a ``sqlite:`` URL names.

    Raises:
        StoreUrlError: it is no ``sqlite:`` URL, or names no file.
    """
    scheme, separator, rest = url.partition(":")
    if not separator or scheme != "sqlite":
        raise StoreUrlError(
            f"store URL {redacted(url)!r} has an unknown scheme", hint="write sqlite:///path/to/file.db or memory:"
        )
    if rest == "///:memory:":
        raise StoreUrlError(f"store URL {url!r} would name a file", hint="write memory: for a store in memory")
    if not rest.startswith("///") or len(rest) == 3 or "\0" in rest:
        raise StoreUrlError(f"store URL {redacted(url)!r} names no file", hint="write sqlite:///path/to/file.db")
    return rest[3:]

"""Archives: histories in files, before they are removed from the store, and back.

::

    DIR/
      archive.json                  says that this is an archive, and of which version
      catalogue.db                  what is where (SQLite, for Datasette); made again from the segments when it is lost
      lock                          held by whoever writes
      2026-11/
        20261125T213000123Z-<16 hexadecimal digits>.jsonl.zst         a segment: one history after another
        20261125T213000123Z-<16 hexadecimal digits>.manifest.json     what it holds and its SHA-256

``format`` is the content of segments (pure), ``place`` the directory, ``segments`` the files, ``catalogue`` the index,
``archiver`` takes what waits in a store into it, ``reader`` finds, checks and restores.
"""

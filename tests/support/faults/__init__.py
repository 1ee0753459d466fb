"""A fault at every call: each scenario of ``tests.support.power`` runs until a system call of it fails, or kills it.

``python -m tests.support.faults`` is the long form (``make faults``); tests run short ones.

``operator``
    one who repeats what gave him an error, and what he sees.
``calls``, ``campaign``, ``planted``
    the system calls that SQLite makes, failing in this process; and mistakes in what is made of a failed call, each of
    which has to be found.
``traced``, ``server``, ``planted_processes``
    all system calls of a real process, failing or fatal, with ``strace``; and the same for them.
"""

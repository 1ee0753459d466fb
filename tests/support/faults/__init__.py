"""A fault at every call: each scenario of ``tests.support.power`` runs until a system call of it fails, or kills it.

``python -m tests.support.faults`` is the long form (``make faults``); tests run short ones.

``operator``
    one who repeats what gave him an error, and what he sees.
``verdict``
    what must be so when he is done.
``calls``
    the system calls that SQLite makes, failing in this process.
``traced``
    all that a real process makes, failing or fatal, with ``strace``.
``campaign``
    count the calls, and let each fail.
``planted``
    mistakes in what is made of a failed call, each of which has to be found.
"""

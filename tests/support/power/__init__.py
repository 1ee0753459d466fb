"""A cut of power at every operation: what a run does to its disk is recorded, every state that a cut could leave is
built from the recording, and the program has to find in it all that it had acknowledged.

``python -m tests.support.power --states 100000`` is the long form (``make power-loss``); a test runs a short one.

``recorder``
    what a run did to its files, in order, with its acknowledgements.
``disk``
    which contents of the files a cut may leave, given what has been synced.
``states``
    which of those are looked at.
``stage``
    a store, a clock and those who use it, to write scenarios with.
``scenarios``
    the runs. One more is a function and a line.
``judge``
    what a scenario comes to undisturbed, and whether what was left is allowed.
``campaign``
    record, build, look.
``planted``
    mistakes in the protocol, each of which has to be found.
"""

"""The whole runtime on a seeded schedule: workers, their sweeps, operators and clients on one store, with faults.

A seed gives *circumstances* (how many workers, which configuration, which store) and a list of *moves* (``moves``). A
``World`` makes the moves one after the other, without a thread and under a clock of its own; whatever an actor does
goes through a ``Gate`` to the store, where a call can fail, its outcome stay unknown, its caller die, or other actors
make moves in between. Beside the store a ``Chronicle`` remembers what was committed and promised, and says what must
be so. The same seed gives the same run, and the same moves do.

``python -m tests.support.simulated --seeds 100000`` is the long form (``make simulate``).
"""

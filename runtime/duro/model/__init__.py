"""Values: everything the engine, the stores and the clients say to each other.

Nothing in this package reads a clock, a disk, a database or a random number, and it imports no other part
of duro. Vocabulary (design words): an *event* has happened, an *action* is asked for, a *message* travels.
"""

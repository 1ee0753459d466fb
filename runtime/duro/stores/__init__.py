"""Stores: where instances, histories and queues live. ``base`` is the port, the rest implement it."""

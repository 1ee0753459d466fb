"""Keeping a store lean: what clients, sweeps and the command line do to it, as functions over the port.

They read, ask the planner (``duro.retention``) and write, in batches that other writers hardly notice.
"""

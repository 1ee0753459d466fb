"""Deciding what is kept and what is removed: values in, values out.

Nothing here reads a clock, a store or a file. The runtime, the sweeps, a dry run and the apply call the same
functions, so they cannot disagree.
"""

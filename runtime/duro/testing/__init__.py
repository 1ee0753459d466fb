"""What tests of duro, and of programs that use it, are made of: a clock moved by hand, builders of histories and
turns, a worker that does as it is told, the invariants of a store, and the contract suite every store passes.

Nothing here imports pytest but ``store_contract``.
"""

from duro.testing.clock import ManualClock
from duro.testing.invariants import INVARIANTS, check_invariants

__all__ = ["INVARIANTS", "ManualClock", "check_invariants"]

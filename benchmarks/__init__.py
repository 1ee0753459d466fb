"""duro beside its peers: the same work, one machine, one run. ``make bench``; see docs/performance.md."""

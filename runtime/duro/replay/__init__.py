"""The replay engine: (history, arrivals, now) in, one ``TurnCommit`` out. No clock, disk, thread or database inside."""

"""One program a system. Each runs one workload in a process of its own and prints one line of JSON."""

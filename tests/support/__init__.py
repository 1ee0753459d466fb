"""What the proofs of docs/reliability.md are made of: a workload, worker processes, traffic, and the evidence."""

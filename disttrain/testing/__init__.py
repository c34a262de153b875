"""Stand-ins for clocks, clusters and faults; imported by tests only."""

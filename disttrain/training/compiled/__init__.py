"""What `compile` was given: losses, metrics, and how they are summed and logged."""

"""A run's directory: what the run is, its timeline, its beats, its finished calls, what the viewer needs of it."""

"""The loop and the step over slices: ticks, the engine, the hooks, and who carries a call out."""

"""What there is to compute on, what was asked for, and what its faults mean. Loads no torch."""

"""Quantiles of data that come in batches, from a summary of bounded size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Summary = NDArray[np.float32]
"""(2, n): values in order, and how many numbers each stands for."""

EMPTY: Summary = np.zeros((2, 0), dtype="float32")


def summarize(values: NDArray[np.float32], epsilon: float) -> Summary:
    """About `1 / epsilon` of the values, evenly spread over their order; all of them where there are fewer."""
    values = np.sort(values.reshape(-1))
    step = max(values.size * epsilon, 1)
    chosen = values[int(step - 1) :: int(step)]
    return np.stack([chosen, np.full_like(chosen, step)])


def merge(one: Summary, other: Summary, epsilon: float) -> Summary:
    """The summary of both sets of numbers."""
    both = np.concatenate((one, other), axis=1)
    return compress(both[:, np.argsort(both[0])], epsilon)


def compress(summary: Summary, epsilon: float) -> Summary:
    """About `1 / epsilon` values of equal weight, by linear interpolation of the cumulative weight."""
    if summary.shape[1] * epsilon < 1:
        return summary
    shares = epsilon + np.arange(0.0, 1.0, epsilon)
    cumulative = summary[1].cumsum()
    values = np.interp(shares, cumulative / cumulative[-1], summary[0])
    weights = np.diff(np.interp(shares, cumulative / cumulative[-1], cumulative), prepend=0)
    return np.stack((values, weights)).astype("float32")


def boundaries(summary: Summary, bins: int) -> list[float]:
    """The `bins - 1` values between bins of equal weight."""
    found: list[float] = compress(summary, 1.0 / bins)[0, :-1].tolist()
    return found

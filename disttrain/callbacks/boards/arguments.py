"""What the TensorBoard callback may be given, checked where it enters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HISTOGRAMS = ("weights", "gradients", "activations")


def checked_number(name: str, value: Any) -> int:
    """A number of epochs, 0 or more.

    Raises:
        ValueError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"TensorBoard({name}={value!r}): expected a number of epochs, or 0 for never.")
    return value


def checked_update_freq(value: Any) -> str | int:
    """ "epoch", or the number of batches between two points.

    Raises:
        ValueError: anything else.
    """
    if value in ("epoch", "batch"):
        return 1 if value == "batch" else "epoch"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"TensorBoard(update_freq={value!r}): expected 'epoch', 'batch' or a number of batches, 1 or more.")
    return value


def checked_histograms(value: Sequence[str], histogram_freq: int, activation_samples: Any) -> tuple[str, ...]:
    """What there are histograms of.

    Raises:
        ValueError: an unknown kind, one that would never be written, activations without samples.
    """
    kinds = (value,) if isinstance(value, str) else tuple(value)
    for kind in kinds:
        if kind not in _HISTOGRAMS:
            raise ValueError(f"TensorBoard(histograms={value!r}): {kind!r} is none of {', '.join(_HISTOGRAMS)}.")
    if histogram_freq == 0 and set(kinds) - {"weights"}:
        raise ValueError(f"TensorBoard(histograms={value!r}): none would be written, as histogram_freq is 0.\n  try  histogram_freq=1")
    if "activations" in kinds and activation_samples is None:
        raise ValueError(f"TensorBoard(histograms={value!r}): activations of what?\n  try  activation_samples=x_test[:100]")
    return kinds


def checked_hparams(value: Any) -> dict[str, Any] | None:
    """Hyperparameters by name, as plain Python values.

    Raises:
        ValueError: not a dict with strings as keys.
    """
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"TensorBoard(hparams={value!r}): expected a dict of values by name, such as {{'units': 64}}.")
    return {key: entry.item() if hasattr(entry, "item") else entry for key, entry in value.items()}

"""What surrounds the forward pass of a step's slice, reused from step to step."""

from __future__ import annotations

from collections.abc import Callable

from disttrain.layers.context import CallContext


class StepContext(CallContext):
    """A `CallContext` for one slice after the other, whose key is computed only if something draws from it."""

    def __init__(self, training: bool | None) -> None:
        self._key: int | None = None
        self._make_key: Callable[[], int] | None = None
        super().__init__(training, None, 1.0, None)

    @property
    def key(self) -> int | None:
        """The random key of the slice."""
        if self._key is None and self._make_key is not None:
            self._key = self._make_key()
        return self._key

    @key.setter
    def key(self, value: int | None) -> None:
        self._key = value

    def begin(self, make_key: Callable[[], int], fraction: float, rows: tuple[int, int, int]) -> None:
        """Surround the next slice: nothing of the last one is left."""
        self._key, self._make_key = None, make_key
        self.slice_fraction, self.rows, self.masked = fraction, rows, False
        self.losses.clear()
        self.metrics.clear()
        self._draws.clear()

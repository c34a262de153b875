"""A device that copies in its own time: later than it was asked to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from disttrain.collectives.copies import HostCopies


class Late:
    """A copy that is made when somebody waits for it, or when the device comes to it."""

    def __init__(self, copy: Callable[[], Any]) -> None:
        self._copy: Callable[[], Any] | None = copy

    def done(self) -> bool:
        return self._copy is None

    def wait(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy()


class LateCopies(HostCopies):
    """Of a device that makes no copy down before it is waited for or `catch_up` is called, and reads what goes up as late."""

    def __init__(self) -> None:
        self.downs: list[Late] = []
        self.ups: list[Late] = []

    def down(self, host: torch.Tensor, source: torch.Tensor) -> Late:
        host.fill_(0)
        self.downs.append(Late(lambda: host.copy_(source)))
        return self.downs[-1]

    def up(self, target: torch.Tensor, host: torch.Tensor) -> Late:
        self.ups.append(Late(lambda: target.copy_(host)))
        return self.ups[-1]

    def catch_up(self) -> None:
        for copy in (*self.downs, *self.ups):
            copy.wait()

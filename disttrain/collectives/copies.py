"""Copies between a device and the memory of its host: begun in their turn on the device, and known to be over without a wait for it."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Done(Protocol):
    """A copy under way."""

    def done(self) -> bool:
        """Is it over?"""

    def wait(self) -> None:
        """Return when it is over."""


class Copies(Protocol):
    """How a device copies."""

    def memory(self, nbytes: int) -> Tensor:
        """Memory of the host that it copies from and to at full speed."""

    def down(self, host: Tensor, source: Tensor) -> Done:
        """Begin to copy `source`, once what was asked of the device before is done; whatever is asked of it next need not wait."""

    def up(self, target: Tensor, host: Tensor) -> Done:
        """Begin to copy `host`: whatever is asked of the device next finds it there."""


class _AtOnce:
    def done(self) -> bool:
        return True

    def wait(self) -> None:
        pass


class HostCopies:
    """Of a CPU, and of devices that say nothing of their streams: a copy is over when it returns."""

    def memory(self, nbytes: int) -> Tensor:
        return torch.empty(nbytes, dtype=torch.uint8)

    def down(self, host: Tensor, source: Tensor) -> Done:
        host.copy_(source)
        return _AtOnce()

    def up(self, target: Tensor, host: Tensor) -> Done:
        target.copy_(host)
        return _AtOnce()


class _Event:
    def __init__(self, event: Any) -> None:
        self._event = event

    def done(self) -> bool:
        over: bool = self._event.query()
        return over

    def wait(self) -> None:
        self._event.synchronize()


class CudaCopies:
    """Of a GPU: over pinned memory, down on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def memory(self, nbytes: int) -> Tensor:
        return torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)

    def down(self, host: Tensor, source: Tensor) -> Done:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            host.copy_(source, non_blocking=True)
            source.record_stream(self._stream)
            return _Event(self._stream.record_event())

    def up(self, target: Tensor, host: Tensor) -> Done:
        target.copy_(host, non_blocking=True)
        return _Event(torch.cuda.current_stream(self._device).record_event())


def copies_of(device: torch.device) -> Copies:
    """How that device copies."""
    return CudaCopies(device) if device.type == "cuda" else HostCopies()

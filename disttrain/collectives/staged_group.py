"""A group for tensors on a device, over one that moves the memory of the host: copied down before it is sent, up when it has come.

It keeps what is proven of the other: how waits end, how a break is heard, what is left of what is over. Two members may share a device.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from disttrain.collectives.port import Group, GroupBroken, Pending

_PAGE = 4096


class Staging:
    """Memory of the host that the device copies from and to at full speed: pinned where the device is CUDA's, kept for the next time.

    Never more is kept than was once used at the same time: a training uses the same few sizes in each step, but a state that is
    handed to a newcomer goes through here, too, tensor by tensor.

    Args:
        device: whose tensors are staged.
    """

    def __init__(self, device: torch.device) -> None:
        self._pinned = device.type == "cuda"
        self._free: list[Tensor] = []
        self._used = self._most = 0

    def take(self, like: Tensor) -> Tensor:
        """Memory for as many numbers as `like` has, of its dtype."""
        nbytes = max(_PAGE, -(-like.nbytes // _PAGE) * _PAGE)
        fitting = [buffer for buffer in self._free if nbytes <= buffer.nbytes <= 2 * nbytes]
        if fitting:
            buffer = min(fitting, key=lambda each: each.nbytes)
            self._free = [each for each in self._free if each is not buffer]
        else:
            buffer = torch.empty(nbytes, dtype=torch.uint8, pin_memory=self._pinned)
        self._used += buffer.nbytes
        self._most = max(self._most, self._used)
        self._trim()
        return buffer

    def give_back(self, buffer: Tensor) -> None:
        """Nobody reads or writes it any more."""
        self._used -= buffer.nbytes
        self._free.append(buffer)
        self._trim()

    def lose(self, buffer: Tensor) -> None:
        """Somebody may still write there: it is never used again."""
        self._used -= buffer.nbytes

    def _trim(self) -> None:
        while self._free and self._used + sum(buffer.nbytes for buffer in self._free) > self._most:
            del self._free[0]


def _as(buffer: Tensor, like: Tensor) -> Tensor:
    """The beginning of `buffer` as a flat tensor of `like`'s dtype and size."""
    return buffer[: like.nbytes].view(like.dtype)


class StagedGroup:
    """One member.

    Args:
        group: moves the memory of the host; closed with this one.
        staging: where that memory comes from.
    """

    def __init__(self, group: Group, staging: Staging) -> None:
        self.rank, self.size = group.rank, group.size
        self._group, self._staging = group, staging

    @property
    def on_wait(self) -> Callable[[bool], None] | None:
        return self._group.on_wait

    @on_wait.setter
    def on_wait(self, watching: Callable[[bool], None] | None) -> None:
        self._group.on_wait = watching

    def all_gather(self, output: Tensor, input: Tensor) -> Pending:
        return self._staged(input, output, lambda down, up: self._group.all_gather(up, down))

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int]) -> Pending:
        return self._staged(input, output, lambda down, up: self._group.all_to_all(up, down, output_splits, input_splits))

    def broadcast(self, tensor: Tensor, source: int) -> Pending:
        """`tensor` becomes the one of member `source`."""
        flat = tensor.reshape(-1)
        if self.rank == source:
            return self._staged(flat, flat[:0], lambda down, _: self._group.broadcast(down, source))
        return self._staged(flat[:0], flat, lambda _, up: self._group.broadcast(up, source))

    @property
    def usable(self) -> bool:
        return self._group.usable

    def rebind(self, aborted: threading.Event) -> None:
        self._group.rebind(aborted)

    def abort(self) -> None:
        self._group.abort()

    def close(self) -> None:
        self._group.close()

    def _staged(self, source: Tensor, target: Tensor, operation: Callable[[Tensor, Tensor], Pending]) -> Pending:
        below, above = self._staging.take(source), self._staging.take(target)
        down, up = _as(below, source), _as(above, target)
        down.copy_(source)  # returns when it is there: what is sent is read by the host's own threads
        try:
            pending = operation(down, up)
        except BaseException:
            self._staging.lose(below)
            self._staging.lose(above)
            raise
        return _StagedPending(pending, self._staging, below, above, up, target)


class _StagedPending:
    def __init__(self, pending: Pending, staging: Staging, below: Tensor, above: Tensor, up: Tensor, target: Tensor) -> None:
        self._pending, self._staging = pending, staging
        self._buffers: tuple[Tensor, ...] = (below, above)
        self._up: Tensor | None = up
        self._target = target
        self._broken = False

    def wait(self) -> None:
        if self._broken:
            raise GroupBroken("the operation was given up")
        if self._up is None:
            return
        settle = self._staging.lose
        try:
            self._pending.wait()
            self._target.copy_(self._up)  # returns when it is there, so that the memory may be used again
            settle = self._staging.give_back
        except BaseException:
            self._broken = True
            raise
        finally:
            self._up = None
            for buffer in self._buffers:
                settle(buffer)
            self._buffers = ()

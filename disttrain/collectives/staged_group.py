"""A group for tensors on a device, over one that moves the memory of the host: copied down before it is sent, up when it has come.

It keeps what is proven of the other: how waits end, how a break is heard, what is left of what is over. Two members may share a device.

Nobody waits for a copy down but who needs its result: what is to be sent is sent once it is there, in the order in which it was asked for,
so a backward pass goes on while the gradients of the layers behind it leave.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from disttrain.collectives.copies import Copies, Done, copies_of
from disttrain.collectives.port import Group, GroupBroken, Pending

_PAGE = 4096


class Staging:
    """Memory of the host that the device copies from and to at full speed, kept for the next time.

    Never more is kept than was once used at the same time: a training uses the same few sizes in each step, but a state that is
    handed to a newcomer goes through here, too, tensor by tensor.

    Args:
        device: whose tensors are staged.
        copies: how it copies.
    """

    def __init__(self, device: torch.device, copies: Copies | None = None) -> None:
        self.copies = copies or copies_of(device)
        self._free: list[tuple[Tensor, Done | None]] = []  # with the last copy out of it, which may still go on
        self._used = self._most = 0

    def take(self, like: Tensor) -> Tensor:
        """Memory for as many numbers as `like` has, of its dtype."""
        nbytes = max(_PAGE, -(-like.nbytes // _PAGE) * _PAGE)
        fitting = [(buffer, read) for buffer, read in self._free if nbytes <= buffer.nbytes <= 2 * nbytes]
        if fitting:
            buffer, read = min(fitting, key=lambda each: (each[1] is not None and not each[1].done(), each[0].nbytes))
            self._free = [each for each in self._free if each[0] is not buffer]
            if read is not None:
                read.wait()
        else:
            buffer = self.copies.memory(nbytes)
        self._used += buffer.nbytes
        self._most = max(self._most, self._used)
        self._trim()
        return buffer

    def give_back(self, buffer: Tensor, read: Done | None = None) -> None:
        """Nobody writes it any more, and nobody reads it once `read` is done."""
        self._used -= buffer.nbytes
        self._free.append((buffer, read))
        self._trim()

    def lose(self, buffer: Tensor) -> None:
        """Somebody may still write there: it is never used again."""
        self._used -= buffer.nbytes

    def _trim(self) -> None:
        while self._free and self._used + sum(buffer.nbytes for buffer, _ in self._free) > self._most:
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
        self._unsent: deque[_StagedPending] = deque()

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
        return not self._unsent and self._group.usable

    def rebind(self, aborted: threading.Event) -> None:
        self._group.rebind(aborted)

    def abort(self) -> None:
        self._group.abort()

    def close(self) -> None:
        self._group.close()

    def _staged(self, source: Tensor, target: Tensor, operation: Callable[[Tensor, Tensor], Pending]) -> Pending:
        self._send_copied()  # first: what is there leaves before anything else is asked of the device
        pending = _StagedPending(self, self._staging, source, target, operation)
        self._unsent.append(pending)
        self._send_copied()
        return pending

    def _send_copied(self) -> None:
        while self._unsent and self._unsent[0].copied:
            self._unsent.popleft().send()

    def send_up_to(self, pending: _StagedPending) -> None:
        """Send what was asked for up to this one, each once it is copied."""
        while pending in self._unsent:
            self._unsent.popleft().send()


class _StagedPending:
    def __init__(
        self, group: StagedGroup, staging: Staging, source: Tensor, target: Tensor, operation: Callable[[Tensor, Tensor], Pending]
    ) -> None:  # fmt: skip
        self._group, self._staging, self._operation = group, staging, operation
        self._below, self._above = staging.take(source), staging.take(target)
        self._down, self._up = _as(self._below, source), _as(self._above, target)
        self._target = target
        self._copy: Done | None = staging.copies.down(self._down, source)
        self._pending: Pending | None = None
        self._over = self._broken = False

    @property
    def copied(self) -> bool:
        """Is there what is to be sent?"""
        return self._copy is None or self._copy.done()

    def send(self) -> None:
        """Hand it on, once it is copied: what is sent is read by the host's own threads."""
        try:
            assert self._copy is not None
            self._copy.wait()
            self._pending = self._operation(self._down, self._up)
        except BaseException:
            self._give_up()
            raise

    def wait(self) -> None:
        if self._broken:
            raise GroupBroken("the operation was given up")
        if self._over:
            return
        try:
            self._group.send_up_to(self)
            assert self._pending is not None
            self._pending.wait()
            read = self._staging.copies.up(self._target, self._up)
        except BaseException:
            if not self._broken:
                self._give_up()
            raise
        self._over = True
        self._staging.give_back(self._below)
        self._staging.give_back(self._above, read)

    def _give_up(self) -> None:
        self._broken = True
        self._staging.lose(self._below)
        self._staging.lose(self._above)

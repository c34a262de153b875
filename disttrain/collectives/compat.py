"""What the runtime uses of torch.distributed that torch does not promise: all of it is here, and `test_torch_compat.py` names what breaks.

Found by reading and measuring gloo of torch 2.13, and the reason for each line below:

- The time limit of a group is for connecting; a collective takes its own from its options.
- A timed-out `Work.wait` of a collective only says so and changes nothing, which makes it a wait that can look around. An error of the
  operation itself makes the work complete first, so the two are told apart without reading words.
- gloo has no abort (`abort()` and `shutdown()` return and unblock nothing). But a *receive* that times out closes every connection of its
  group, which ends the operations under way: on this side at once, on the others' as soon as they see the sockets close.
- All but one kind: when a connection closes in the middle of a message, gloo forgets to tell the operation that this message belongs to. It
  ends with its own time limit, no sooner. So a collective must have one, and a short one, or each loss of a worker costs threads and memory
  for ever; that a wait has none all the same is the work of torch_group.py.
- The destructor of a group waits for its operations; once they have ended it takes a few milliseconds. Works keep the connections and the
  loop thread of their group alive, too.

What is used of NCCL stands in nccl.py.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from torch import Tensor

dist: Any = torch.distributed  # its types leave out most of what is used here
c10d: Any = torch._C._distributed_c10d

CONNECTING = timedelta(seconds=60)  # from the meeting of all members to the last connection; milliseconds unless somebody dies in between
_AT_ONCE = timedelta(milliseconds=1)
_TAG_OF_NOBODY = 0x7FFF_FFFF


class Transport:
    """A torch process group without torch's own ways of waiting and ending."""

    def __init__(self, group: Any, rank: int, size: int) -> None:
        self._group, self._rank, self._size = group, rank, size
        self._gathering: dict[int, Any] = {}  # options by their limit, made once: the same few are used in every step
        self._swapping: dict[int, Any] = {}

    def all_gather(self, output: Tensor, input: Tensor, limit_s: int) -> Any:
        options = self._gathering.get(limit_s) or _limited(self._gathering, c10d.AllgatherOptions(), limit_s)
        return self._group._allgather_base(output, input, options)

    def all_to_all(self, output: Tensor, input: Tensor, output_splits: list[int], input_splits: list[int], limit_s: int) -> Any:
        options = self._swapping.get(limit_s) or _limited(self._swapping, dist.AllToAllOptions(), limit_s)
        return self._group.alltoall_base(output, input, output_splits, input_splits, options)

    def broadcast(self, tensor: Tensor, source: int, limit_s: int) -> Any:
        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor, options.timeout = source, 0, timedelta(seconds=limit_s)
        return self._group.broadcast([tensor], options)

    def complete_within(self, work: Any, patience: timedelta) -> bool:
        """Wait so long at most; True as soon as `work` is complete, well or with an error that its own `wait` raises."""
        raise NotImplementedError

    def cut(self) -> None:
        """End every operation under way with an error, here and now, whatever the other members do."""
        raise NotImplementedError


def _limited(known: dict[int, Any], options: Any, limit_s: int) -> Any:
    options.timeout = timedelta(seconds=limit_s)
    known[limit_s] = options
    return options


class Gloo(Transport):
    """Connects on construction, which waits in native code for the other members: for `CONNECTING` at most.

    Raises:
        RuntimeError: no connection. Let go of it at once: its frames hold the listening socket, and gloo must not hear a late peer there.
    """

    def __init__(self, store: Any, rank: int, size: int, host: str) -> None:
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=host)]
        options._timeout, options._threads = CONNECTING, 2
        super().__init__(dist.ProcessGroupGloo(store, rank, size, options), rank, size)

    def complete_within(self, work: Any, patience: timedelta) -> bool:
        try:
            work.wait(patience)
        except RuntimeError:
            return bool(work.is_completed())
        return True

    def cut(self) -> None:
        nothing = torch.empty(1)
        for peer in range(self._size):
            if peer == self._rank:
                continue
            try:
                self._group.recv([nothing], peer, _TAG_OF_NOBODY).wait(_AT_ONCE)
            except RuntimeError:
                continue  # timed out, as it should, and all connections are closed; or this one was already

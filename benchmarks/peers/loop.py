"""The hand-written training loop that every peer runs: plain PyTorch, DistributedDataParallel, `torch.optim.Adam` defaults."""

from __future__ import annotations

import torch
import torch.distributed as dist
import workloads
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel


class Loop:
    """One process of a data-parallel job; the process group must be there.

    Args:
        workload: a name of `workloads.WORKLOADS`.
        steps: optimizer steps of an epoch.
    """

    def __init__(self, workload: str, steps: int) -> None:
        torch.set_num_threads(1)
        x, y = workloads.arrays(workload, steps)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.batch_size, self.steps = workloads.WORKLOADS[workload].batch_size, steps
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.network = workloads.torch_model(workload)
        self.model: nn.Module = DistributedDataParallel(self.network)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self._order, self._epoch = torch.empty(0), -1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This rank's share of the global batch of a step: each epoch visits every sample once, in an order drawn from its number."""
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            self._order, self._epoch = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(epoch)), epoch
        batch = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        mine = batch.tensor_split(self.world)[self.rank]
        return self.x.index_select(0, mine), self.y.index_select(0, mine)

    def train(self, x: Tensor, y: Tensor) -> None:
        """One optimizer step."""
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(x), y).backward()
        self.optimizer.step()

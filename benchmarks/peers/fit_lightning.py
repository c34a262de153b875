"""Lightning's Trainer over arrays in memory; batches are sliced, not collated sample by sample, which is its faster way."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator

import lightning
import torch
from fit_models import WORKLOADS, arrays, torch_model
from fit_server import serve
from torch import Tensor, nn

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Batches:
    """Batches in a new random order each epoch."""

    def __init__(self, x: Tensor, y: Tensor, size: int) -> None:
        self.x, self.y, self.size = x, y, size

    def __len__(self) -> int:
        return -(-len(self.x) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.x))
        for start in range(0, len(order), self.size):
            batch = order[start : start + self.size]
            yield self.x[batch], self.y[batch]


class Module(lightning.LightningModule):
    """A model with its loss and optimizer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.loss_fn = model, nn.CrossEntropyLoss()

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        loss: Tensor = self.loss_fn(self.model(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


def main(name: str) -> None:
    torch.set_num_threads(1)
    workload = WORKLOADS[name]
    x, y = (torch.from_numpy(array) for array in arrays(name))
    module = Module(torch_model(name))

    def train() -> int:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
        )
        trainer.fit(module, Batches(x, y, workload.batch_size))
        return workload.steps

    serve({"train": train})


if __name__ == "__main__":
    main(sys.argv[1])

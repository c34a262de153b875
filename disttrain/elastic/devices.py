"""Where a worker computes."""

from __future__ import annotations

import socket

import torch

from disttrain.errors import UsageError


def device_of(backend: str) -> torch.device:
    """The device that the tensors of this backend lie on.

    Raises:
        UsageError: GPUs were asked for, and torch finds none here.
    """
    if backend != "nccl":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(
            f"--gpus-per-worker: torch {torch.__version__} finds no GPU on {socket.gethostname()}, where Ray has placed a worker.\n"
            "  expected  a build of torch for the GPUs there, and a driver that it can use\n"
            "  try       python -c 'import torch; print(torch.cuda.is_available())' there; or --gpus-per-worker 0"
        )
    return torch.device("cuda", torch.cuda.current_device())

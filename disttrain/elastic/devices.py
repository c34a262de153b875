"""Where a worker computes."""

from __future__ import annotations

import socket

import torch

from disttrain.errors import InfrastructureError


def device_of(device: str) -> torch.device:
    """The device of that name here.

    Raises:
        InfrastructureError: GPUs were promised, and torch finds none on this machine: another may have one.
    """
    if device != "cuda":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InfrastructureError(
            f"--device cuda: torch {torch.__version__} finds no GPU on {socket.gethostname()}, where Ray has placed a worker.\n"
            "  expected  a build of torch for the GPUs there, and a driver that it can use\n"
            "  try       python -c 'import torch; print(torch.cuda.is_available())' there; or --device cpu"
        )
    return torch.device("cuda", torch.cuda.current_device())

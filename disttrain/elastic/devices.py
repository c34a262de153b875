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


def gpu_address(device: torch.device) -> str:
    """Where it sits in its machine, such as "0000:1b:00"; "" where that is not known.

    Parts of one GPU (MIG) have UUIDs of their own, and one address, by which NCCL knows that they are one.
    """
    if device.type != "cuda":
        return ""
    properties = torch.cuda.get_device_properties(device)
    numbers = [getattr(properties, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
    if any(number is None for number in numbers):
        return ""
    domain, bus, slot = numbers
    return f"{domain:04x}:{bus:02x}:{slot:02x}"

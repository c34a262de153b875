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


def gpu_uuid(device: torch.device) -> str | None:
    """What no other GPU in the world is called; None for a device that is none, or one of which torch does not know it."""
    if device.type != "cuda":
        return None
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return None if uuid is None else str(uuid)


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

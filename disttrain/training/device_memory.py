"""The memory of a GPU, as torch and its driver tell it."""

from __future__ import annotations

import gc

import torch

from disttrain.devices.memory import DeviceMemory


def read_memory(device: torch.device) -> DeviceMemory | None:
    """How full the device is; None for one that does not say, a CPU or a GPU that answers nothing any more."""
    if device.type != "cuda":
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
        name = torch.cuda.get_device_name(device)
        return DeviceMemory(
            f"GPU {device.index or 0}", name, total, free, torch.cuda.memory_reserved(device), torch.cuda.max_memory_allocated(device)
        )
    except RuntimeError:
        return None


def let_go_of_memory(device: torch.device) -> None:
    """Give back what nothing holds any more, so that what is free can be told, and others can have it."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()

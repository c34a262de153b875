"""What a worker computes on, in words, and what of those words its bits hang on."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import torch

_AFTER_GPU = "; "
_DRIVER = Path("/proc/driver/nvidia/version")


def processor(device: torch.device) -> str:
    """The processor's model and the instructions that torch uses on it, such as "AMD EPYC 7R13 Processor, AVX2".

    Of a GPU before that its model, and the versions of what computes there, such as "NVIDIA H200, CUDA 13.0, cuDNN 9.15.1, NCCL 2.28.9,
    driver 580.95.05".
    """
    words = f"{_model()}, {torch.backends.cpu.get_cpu_capability()}"
    return f"{_gpu(device)}{_AFTER_GPU}{words}" if device.type == "cuda" else words


def gpu_kind(words: str) -> str:
    """Of what `processor` says, that which must be the same in a group: a GPU's model, CUDA and cuDNN; "" for a worker on a CPU.

    The driver and NCCL are told and may differ: the one starts what the others have compiled, the other only moves bytes.
    """
    gpu, after, _ = words.partition(_AFTER_GPU)
    if not after:
        return ""
    return ", ".join(part for part in gpu.split(", ") if not part.startswith(("driver ", "NCCL ")))


def _gpu(device: torch.device) -> str:
    cudnn = torch.backends.cudnn.version()
    parts = [
        torch.cuda.get_device_name(device).replace(", ", " ").replace(_AFTER_GPU, " "),
        f"CUDA {torch.version.cuda or torch.version.hip}",
        f"cuDNN {_cudnn_version(cudnn)}" if cudnn else "no cuDNN",
        f"NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}" if torch.distributed.is_nccl_available() else "no NCCL",
        f"driver {driver_version(_text_of(_DRIVER))}",
    ]
    return ", ".join(parts)


def _cudnn_version(number: int) -> str:
    """91002 is 9.10.2; up to 8 there was a digit less before the others."""
    major, rest = divmod(number, 10000 if number >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"


def driver_version(text: str) -> str:
    """What /proc/driver/nvidia/version says of the kernel module."""
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return found[1] if found else "unknown"


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@cache
def _model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "cpu model", "cpu part")))
    return next(named, "unknown processor")

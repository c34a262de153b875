"""On what everything else was found."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import version

import torch

from disttrain.determinism import numerics
from disttrain.devices.drivers import gpus_here
from gpu.telling import Teller


def versions(tell: Teller) -> None:
    """Of everything that bits and speed may hang on."""
    tell.measured("python, system", f"{platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} CPUs")
    tell.measured("torch, ray", f"{torch.__version__}, {version('ray')}")
    tell.measured("numbers", numerics())
    tell.measured("GPUs that the driver knows", ", ".join(f"{gpu.name} ({gpu.memory_mib} MiB)" for gpu in gpus_here()) or "none")
    if not tell.on_gpu:
        return
    about = torch.cuda.get_device_properties(0)
    tell.measured("GPU", f"{about.name}, {about.multi_processor_count} SMs, {about.total_memory / 2**30:.0f} GiB")
    tell.measured("CUDA, cuDNN, NCCL", f"{torch.version.cuda}, {torch.backends.cudnn.version()}, {torch.cuda.nccl.version()}")
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=driver_version,compute_mode,mig.mode.current", "--format=csv,noheader"]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
        tell.measured("driver, mode, MIG", told.stdout.strip())

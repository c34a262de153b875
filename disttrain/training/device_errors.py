"""Errors of a GPU in words: what does not fit, and assertions of kernels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from disttrain.devices.faults import Fault, fault_of
from disttrain.devices.memory import DeviceMemory, StepSize, out_of_memory
from disttrain.errors import DeviceAssert
from disttrain.training.device_memory import read_memory
from disttrain.training.job import Job


def in_words(
    error: BaseException, device: torch.device, job: Job, *, workers: int | None, memory: DeviceMemory | None = None
) -> Exception | None:
    """What to raise in the place of `error`; None where its own words are the best.

    Args:
        workers: so many share the batch; None for a script that trains in its own process.
        memory: as it was then; read now unless told.
    """
    fault = fault_of(error)
    if fault is Fault.MEMORY:
        plan = job.program.plans[0][1]
        size = StepSize(min(plan.batch_size, plan.samples), job.virtual_workers, workers)
        return out_of_memory(read_memory(device) if memory is None else memory, size, _first_of(error))
    if fault is Fault.ASSERT:
        again = "set_device('cpu')" if workers is None else "--device cpu and another --run-dir"
        return DeviceAssert(
            f"a check inside a kernel of {device} has failed: {_first_of(error)}\n"
            "  expected  indices and labels within their range; that is what such checks look at, most often\n"
            "  found     after the fact: kernels run behind, so the line that the traceback shows need not be the one that did it\n"
            f"  try       {again}, where the line that does it raises; or CUDA_LAUNCH_BLOCKING=1 in the environment.\n"
            "            This process can use the GPU no more: begin it anew"
        )
    return None


@contextmanager
def device_errors(job: Job, device: torch.device) -> Iterator[None]:
    """Raise errors of the device, inside the block, in words; of a script that trains in its own process."""
    try:
        yield
    except Exception as error:
        told = in_words(error, device, job, workers=None) if device.type != "cpu" else None
        if told is None:
            raise
        raise told from error


def _first_of(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
